//! The log: it tells what the tenant saw, replaces nothing, and is never in the way.

use crate::support::{Ran, Scene, cast, check_promises, options};
use rollbook::sandbox::{Options, Route};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::Command;

const JOB: [&str; 7] = [
    "assign",
    "--status",
    "vip",
    "--rate",
    "unlimited",
    "--yes",
    "list.csv",
];

/// A job of so many people.
fn scene(people: u32, options: Options) -> Scene {
    let cast = cast(&options, people, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    scene
}

fn logged(scene: &Scene, arguments: &[&str], more: &[&str], level: &str) -> Ran {
    let mut command = scene.command(arguments);
    Ran::from(command.args(more).env("ROLLBOOK_LOG", level).output().unwrap())
}

/// The route of a request, as the log writes it.
fn template(route: Route) -> &'static str {
    match route {
        Route::Verify => "/auth/verify",
        Route::Tokens => "/auth/access-tokens",
        Route::Statuses => "/statuses",
        Route::Profiles => "/profiles",
        Route::Profile => "/profiles/{id}",
        Route::BatchWrite => "/profile/status/batch.json",
        Route::Batches => "/batches",
        Route::Batch => "/batches/{id}",
        Route::Other => "other",
    }
}

#[test]
fn each_request_stands_in_the_log_with_what_it_was_for() {
    let scene = scene(60, options());
    let ran = logged(
        &scene,
        &JOB,
        &["--log", "run.jsonl", "--log-format", "json"],
        "debug",
    )
    .expect(0);
    assert!(!ran.stderr.contains("rollbook::"), "{}", ran.stderr);
    let path = scene.path("run.jsonl");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let log = std::fs::read_to_string(path).unwrap();
    let events: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |message: &'static str| events.iter().filter(move |event| event["message"] == message);

    let (mut told, mut seen) = (BTreeMap::new(), BTreeMap::new());
    for event in of("request") {
        let route = event["route"].as_str().unwrap().to_owned();
        *told
            .entry((route, event["status"].as_u64().unwrap()))
            .or_insert(0) += 1;
    }
    for request in scene.tenant().requests() {
        *seen
            .entry((template(request.route).to_owned(), u64::from(request.status)))
            .or_insert(0) += 1;
    }
    assert_eq!(told, seen);

    let spans = |event: &Value| -> Vec<String> {
        let spans = event["spans"].as_array().into_iter().flatten();
        spans
            .map(|span| span["name"].as_str().unwrap().to_owned())
            .collect()
    };
    for answer in of("answer") {
        assert_eq!(
            (spans(answer), &answer["class"]),
            (
                ["run", "batch", "attempt"].map(String::from).into(),
                &"accepted".into()
            )
        );
    }
    assert_eq!(of("answer").count(), scene.tenant().writes().len());
    assert_eq!(of("settled").count(), scene.tenant().writes().len());
    assert!(of("commit").count() > 0 && of("pace").count() > 0);
    assert_eq!(of("planned").count(), 1);
    assert_eq!(events[0]["verb"], "assign");
    assert_eq!(events.last().unwrap()["exit_code"], 0);
}

#[test]
fn a_lost_answer_leaves_its_story() {
    let scene = scene(
        60,
        Options {
            lose_answers_percent: 100.0,
            ..options()
        },
    );
    logged(&scene, &JOB, &["--log", "run.log"], "").expect(0);
    check_promises(&scene, &scene.export());
    let log = std::fs::read_to_string(scene.path("run.log")).unwrap();
    let mut lines = log.lines();
    for words in [
        [
            "batch{no=1}:attempt{no=1}",
            "answer members=",
            "class=\"in_doubt\"",
        ],
        ["batch{no=1}:", "doubt decision=", "evidence=Evidence"],
        ["batch{no=1}:", "cleared up", "outcome="],
        ["rollbook::cli", "ended", "exit_code=0"],
    ] {
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(lines.any(is_it), "{words:?} does not follow: {log}");
    }
    assert!(!log.contains(" request "), "the usual level is info");
}

#[test]
fn a_log_takes_the_place_of_nothing() {
    let scene = scene(60, options());
    scene.write("token", "12|abcdefghijklmnopqrstuvwxyz01\n");
    scene
        .run(&["load", "list.csv", "--log", "rollbook.db"])
        .refused(2, &["is the ledger"]);
    assert_eq!(scene.names(), ["list.csv", "token"]);
    scene.run(&["load", "list.csv", "--log", "run.log"]).expect(0);
    let before = scene.files();
    for name in ["rollbook.db", "rollbook.db-wal", "list.csv", "token", "."] {
        scene
            .run(&["status", "--log", name])
            .refused(2, &["cannot write"]);
    }
    scene
        .run(&["status", "--log", "no/run.log"])
        .refused(2, &["no/run.log"]);
    scene.run(&["status", "--log-format", "json"]).expect(2);
    logged(&scene, &["status"], &["--log", "new.log"], "dbug").refused(2, &["ROLLBOOK_LOG"]);
    assert_eq!(scene.files(), before);
    scene.run(&["status", "--log", "run.log"]).expect(0);
    let log = std::fs::read_to_string(scene.path("run.log")).unwrap();
    assert_eq!(log.matches(": began").count(), 2);
}

#[test]
fn a_log_that_takes_nothing_ends_no_run() {
    let scene = scene(300, options());
    let ran = logged(&scene, &JOB, &["--log", "/dev/full"], "debug").expect(0);
    assert!(
        ran.stderr.contains("note: the log /dev/full lacks "),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.matches("the log").count(), 1);

    // A pipe that somebody has open and nobody reads.
    let pipe = scene.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let _open = std::fs::File::options()
        .read(true)
        .custom_flags(nonblock)
        .open(&pipe)
        .unwrap();
    let remove = [
        "remove",
        "--status",
        "vip",
        "--ledger",
        "b.db",
        "--rate",
        "unlimited",
        "--yes",
        "--resolve",
        "one",
    ];
    let ran = logged(
        &scene,
        &remove,
        &["--log", "pipe", "--log-format", "json", "list.csv"],
        "trace",
    )
    .expect(0);
    assert!(ran.stderr.contains("lacks its last lines"), "{}", ran.stderr);
}

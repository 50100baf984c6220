//! The token appears nowhere, and the people of a list on no stream but an export.

use crate::support::raw::{Bad, PEOPLE, Raw, Site, Stranger};
use crate::support::{Ran, Scene, TOKEN, cast, options};
use rollbook::sandbox::Options;
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Forms in which the token could slip out.
fn forms() -> [String; 3] {
    let hex: String = TOKEN.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent = TOKEN.replace('-', "%2D");
    [TOKEN.into(), hex, percent]
}

#[track_caller]
fn without_the_token(said: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{said} shows the token: {text}");
    }
}

/// Both streams show neither the token nor anybody on the list.
#[track_caller]
fn discreet(said: &str, ran: &Ran, people: &HashSet<String>) {
    for (stream, text) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
        let said = format!("{stream} of {said}");
        without_the_token(&said, text);
        let text = text.to_lowercase();
        for person in people {
            assert!(!text.contains(person), "{said} names {person}: {text}");
        }
        assert!(!shows_an_address(&text), "{said}: {text}");
    }
}

/// Whether there is an `@` between two letters or digits.
fn shows_an_address(text: &str) -> bool {
    let parts: Vec<&str> = text.split('@').collect();
    parts
        .windows(2)
        .any(|pair| pair[0].ends_with(char::is_alphanumeric) && pair[1].starts_with(char::is_alphanumeric))
}

/// No file in the folder holds the token, and all that the program made are for their owner alone.
#[track_caller]
fn discreet_files(scene: &Scene, given: &[&str]) {
    for (path, bytes) in scene.files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if given.contains(&name) {
            continue;
        }
        without_the_token(name, &String::from_utf8_lossy(&bytes));
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} has mode {mode:o}");
    }
}

/// What makes a command log all it can.
const LOGGED: [&str; 2] = ["--log", "run.log"];

fn run_logged(scene: &Scene, arguments: &[&str]) -> Ran {
    let mut command = scene.command(arguments);
    Ran::from(
        command
            .args(LOGGED)
            .env("ROLLBOOK_LOG", "trace")
            .output()
            .unwrap(),
    )
}

/// The log tells something, and neither the token nor an address, however it is written.
#[track_caller]
fn discreet_log(said: &str, scene: &Scene, people: &HashSet<String>) {
    let log = std::fs::read_to_string(scene.path("run.log"))
        .unwrap()
        .to_lowercase();
    assert!(log.contains("ended exit_code="), "{said}: {log}");
    without_the_token(said, &log);
    for sign in ["@", "＠", "%40", "%2540", "u0040"] {
        assert!(!log.contains(sign), "the log of {said} holds {sign}: {log}");
    }
    // What the log itself cuts out would still show who was let through as far as there.
    let of_a_name = |c: char| c.is_alphanumeric() || "._+-".contains(c);
    let words: HashSet<&str> = log.split(|c| !of_a_name(c)).collect();
    for person in people {
        let name = person.split('@').next().unwrap();
        assert!(!words.contains(name), "the log of {said} names {person}: {log}");
    }
}

fn people(options: &Options, count: u32) -> HashSet<String> {
    let emails = (0..count).map(|index| options.person(index).email.to_lowercase());
    emails.collect()
}

const VERBS: [&[&str]; 13] = [
    &["load", "list.csv"],
    &["assign", "--status", "vip", "list.csv"],
    &[
        "assign",
        "--status",
        "vip",
        "--rate",
        "unlimited",
        "--yes",
        "-v",
        "--limit",
        "20",
        "list.csv",
    ],
    &["status"],
    &["status", "--json"],
    &["resume", "--rate", "unlimited", "--progress", "json", "--yes"],
    &["resume", "--rate", "unlimited", "--json"],
    &["batches"],
    &["batches", "--json"],
    &["statuses"],
    &["doctor"],
    &["assign", "--status", "gold", "--yes", "list.csv"],
    &["export", "-o", "audit.csv"],
];

#[test]
fn no_verb_shows_the_token_or_the_people() {
    let options = options();
    let cast = cast(&options, 120, "already_assigned", "confirmed");
    let people = people(&options, 120);
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    for arguments in VERBS {
        let ran = run_logged(&scene, arguments);
        assert!(
            matches!(ran.code, Some(0 | 4 | 5 | 6)),
            "{arguments:?}: {}",
            ran.stderr
        );
        discreet(&format!("{arguments:?}"), &ran, &people);
    }
    discreet_log("all verbs", &scene, &people);
    cast.check(&scene.export());
    for arguments in [
        &["export"][..],
        &["export", "--format", "jsonl"],
        &["export", "--rows", "all"],
        &["--help"],
        &["assign", "--help"],
        &["sandbox", "--help"],
    ] {
        let ran = scene.run(arguments).expect(0);
        without_the_token(&format!("{arguments:?}"), &(ran.stdout + &ran.stderr));
    }
    discreet_files(&scene, &["list.csv"]);
}

#[test]
fn help_shows_no_environment() {
    let scene = Scene::with(options());
    for arguments in [
        &["assign", "--help"][..],
        &["doctor", "--help"],
        &["statuses", "--help"],
    ] {
        let ran = scene.run(arguments).expect(0);
        assert!(!ran.stdout.contains("127.0.0.1"), "{}", ran.stdout);
    }
}

#[test]
fn no_failure_shows_the_token_or_the_people() {
    let people: HashSet<String> = PEOPLE.map(str::to_owned).into();
    let stranger = Stranger::listening();
    let echo = r#"{"message":"ann@example.com has no right","errors":{"profiles.0.profile_id":["ann@example.com <bob@example.net> is unknown"]}}"#;
    let location = "Location: https://evil.example/?email=ann@example.com\r\n";
    let kinds = [
        ("a redirect", Bad::redirect("302 Found", stranger.address)),
        (
            "a lasting redirect",
            Bad::redirect("308 Permanent Redirect", stranger.address),
        ),
        (
            "a redirect with an address",
            Bad::answer("302 Found", location, ""),
        ),
        ("HTML", Bad::html("200 OK")),
        ("a 502", Bad::html("502 Bad Gateway")),
        ("silence", Bad::Silence),
        (
            "half an answer",
            Bad::cut("200 OK", r#"{"data":["ann@example.com"#),
        ),
        (
            "an odd shape",
            Bad::json("200 OK", r#"{"data":[{"id":["ann@example.com"]}]}"#),
        ),
        ("a 401", Bad::json("401 Unauthorized", echo)),
        ("a 403", Bad::json("403 Forbidden", echo)),
        ("a 400", Bad::json("400 Bad Request", echo)),
        ("a 422", Bad::json("422 Unprocessable Content", echo)),
        ("a 500", Bad::json("500 Internal Server Error", echo)),
    ];
    at_every_site(&kinds, |said, ran| discreet(said, ran, &people));
    stranger.heard_nothing();
}

#[test]
fn a_tenant_that_echoes_the_token_is_not_quoted() {
    let echo = format!(
        r#"{{"message":"Bearer {TOKEN} has no right","errors":{{"profiles.0.profile_id":["{TOKEN}"]}}}}"#
    );
    let kinds = [
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "422 Unprocessable Content",
    ]
    .map(|status| (status, Bad::json(status, &echo)));
    at_every_site(&kinds, |said, ran| {
        without_the_token(said, &ran.stdout);
        without_the_token(said, &ran.stderr);
    });
}

/// The job on tenants that answer badly at one site each, and what every verb shows of it.
fn at_every_site(kinds: &[(&str, Bad)], check: impl Fn(&str, &Ran) + Sync) {
    let check = &check;
    std::thread::scope(|scope| {
        for (said, bad) in kinds {
            for site in Site::ALL {
                scope.spawn(move || at_site(&format!("{site:?} with {said}"), site, bad, check));
            }
        }
    });
}

fn at_site(said: &str, site: Site, bad: &Bad, check: impl Fn(&str, &Ran)) {
    let scene = Scene::offline();
    scene.write("list.txt", PEOPLE.join("\n"));
    let raw = Raw::with(site, bad.clone(), 3, false);
    let mut job = vec!["assign", "--status", "vip", "--rate", "unlimited", "--yes", "-v"];
    job.extend(["--settle-deadline", "1s", "list.txt"]);
    job.extend(LOGGED);
    let mut command = raw.command(&scene, &job);
    check(
        said,
        &Ran::from(command.env("ROLLBOOK_LOG", "trace").output().unwrap()),
    );
    discreet_log(said, &scene, &PEOPLE.map(str::to_owned).into());
    if site == Site::Verify {
        raw.spoil(site, bad.clone(), 3, false);
        check(said, &raw.run(&scene, &["doctor"]));
    }
    if scene.path("rollbook.db").exists() {
        check(said, &raw.run(&scene, &["batches"]));
        check(said, &raw.run(&scene, &["batches", "--json"]));
        without_the_token(said, &scene.run(&["export"]).expect(0).stdout);
    }
    discreet_files(&scene, &["list.txt"]);
}

#[test]
fn a_token_that_is_refused_is_not_repeated_to_the_user() {
    let scene = Scene::with(Options {
        token: "another-one".into(),
        ..options()
    });
    scene.write("list.txt", "ann@example.com\n");
    for arguments in [
        &["assign", "--status", "vip", "--yes", "list.txt"][..],
        &["statuses"],
        &["doctor"],
    ] {
        discreet(
            &format!("{arguments:?}"),
            &scene.run(arguments).expect(5),
            &HashSet::from(["ann@example.com".into()]),
        );
    }
}

#[test]
fn a_token_where_it_does_not_belong_is_not_shown_either() {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\n");
    scene.write("token", format!("{TOKEN}\u{1}\n"));
    let nobody = "http://127.0.0.1:9/api/v3";
    for (name, value, arguments) in [
        ("OMNEO_TOKEN", format!("{TOKEN}\u{1}"), vec!["--base-url", nobody]),
        (
            "OMNEO_TOKEN",
            TOKEN.into(),
            vec!["--base-url", nobody, "--rate", "unlimited"],
        ),
        (
            "HOME",
            "/".into(),
            vec!["--base-url", nobody, "--token-file", "token"],
        ),
    ] {
        let mut command = scene.command(&["assign", "--status", "vip", "--yes", "list.txt"]);
        let ran = Ran::from(command.args(&arguments).env(name, value).output().unwrap());
        assert!(matches!(ran.code, Some(2 | 5)), "{arguments:?}: {}", ran.stderr);
        discreet(
            &format!("{arguments:?}"),
            &ran,
            &HashSet::from(["ann@example.com".into()]),
        );
    }
    for url in [
        format!("https://user:{TOKEN}@acme.example/api/v3"),
        format!("https://acme.example/api/v3?token={TOKEN}"),
    ] {
        let mut command = scene.command(&["statuses", "--base-url", &url]);
        let ran = Ran::from(command.env("OMNEO_TOKEN", "x").output().unwrap()).expect(2);
        without_the_token("a base URL with more in it", &(ran.stdout + &ran.stderr));
    }
}

#[test]
fn bad_rows_and_bad_lists_name_nobody() {
    let people = HashSet::from(["ann@example.com".to_owned(), "bob@example.com".into()]);
    for list in [
        "name,email\nAnn,ann@example.com@\nBob,bob@example.com,extra\n",
        "ann@example.com,bob@example.com\n",
        "name,contact\nAnn,x\n\"Bob,bob@example.com\n",
        "name,ann@example.com\n\"Bob,bob@example.com\n",
        "email,e-mail\nann@example.com,bob@example.com\n",
        "ann@example.com\n\"bob@example.com\n",
    ] {
        let scene = Scene::offline();
        scene.write("list.csv", list);
        let ran = scene.run(&["load", "list.csv"]);
        discreet(list, &ran, &people);
    }
}

#[test]
fn a_run_shows_no_token_to_the_neighbours() {
    let options = options();
    let cast = cast(&options, 400, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let mut child = scene.spawn(&[
        "assign",
        "--status",
        "vip",
        "--rate",
        "50/s",
        "--batch-size",
        "10",
        "--yes",
        "list.csv",
    ]);
    let since = Instant::now();
    while scene.tenant().writes().is_empty() {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "the run does not start"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let about = Path::new("/proc").join(child.id().to_string());
    for file in ["cmdline", "comm", "status"] {
        let text = std::fs::read(about.join(file)).unwrap();
        without_the_token(file, &String::from_utf8_lossy(&text));
    }
    for thread in std::fs::read_dir(about.join("task")).unwrap().flatten() {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        without_the_token("a thread's name", &name);
    }
    // The write-ahead log is there while the run goes on, and after the kill.
    discreet_files(&scene, &["list.csv"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let names = scene.names();
    for made in ["rollbook.db", "rollbook.db-wal", "rollbook.db.lock"] {
        assert!(names.iter().any(|name| name == made), "{names:?}");
    }
    discreet_files(&scene, &["list.csv"]);
}

#[test]
fn files_are_private_whatever_the_umask() {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\n");
    let program = scene.command(&[]).get_program().to_owned();
    let mut command = std::process::Command::new("/bin/sh");
    let script = "umask 000; \"$0\" load list.txt && \"$0\" export -o audit.csv";
    let ran = command
        .env_clear()
        .current_dir(scene.path(""))
        .args(["-c", script])
        .arg(program)
        .output()
        .unwrap();
    Ran::from(ran).expect(0);
    discreet_files(&scene, &["list.txt"]);
}

#[test]
fn a_run_leaves_no_core() {
    let scene = Scene::with(Options {
        latency: Duration::from_millis(200),
        ..options()
    });
    scene.write("list.csv", "email\nann@example.com\n");
    let mut child = scene.spawn(&["assign", "--status", "vip", "--yes", "list.csv"]);
    let path = format!("/proc/{}/limits", child.id());
    let core = || {
        let limits = std::fs::read_to_string(&path).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size"));
        line.unwrap().split_whitespace().nth(4).unwrap().to_owned()
    };
    let began = std::time::Instant::now();
    while core() != "0" {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "a core may be as large as {}",
            core()
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

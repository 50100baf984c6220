//! What people do about batches in doubt and copied ledgers, and what tenants do behind a run's back.

use crate::support::{Ran, Scene, cast, check_doctor, check_promises, copied_halfway, options};
use rollbook::sandbox::Options;
use std::time::{Duration, Instant};

const LIST: [&str; 4] = ["assign", "--status", "vip", "list.csv"];
const FAST: [&str; 3] = ["--rate", "unlimited", "--yes"];

fn plus<'a>(one: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [one, more].concat()
}

/// A job whose one batch never arrived and is held, on a tenant that is well again.
fn held() -> Scene {
    let deaf = Options {
        drop_writes_percent: 100.0,
        ..options()
    };
    let cast = cast(&deaf, 60, "already_assigned", "batched");
    let mut scene = Scene::with(deaf);
    scene.write("list.csv", &cast.list);
    let job = plus(&plus(&LIST, &FAST), &["--settle-deadline", "1s"]);
    scene.run(&job).expect(3);
    assert_eq!(scene.status()["batches"]["held"], 1);
    let port = scene.tenant().port();
    scene.close();
    scene.open(Options { port, ..options() });
    scene
}

fn rule(scene: &Scene, verdict: &str) -> Ran {
    let ruling = ["settle", "--batch", "1", "--as", verdict];
    let grounds = ["--by", "Ann Lee", "--because", "not in Omneo's log, ticket 4711"];
    scene.run(&plus(&ruling, &grounds))
}

fn write_requests(scene: &Scene) -> usize {
    let requests = scene.tenant().requests();
    let is_write = |seen: &&rollbook::sandbox::Seen| seen.route == rollbook::sandbox::Route::BatchWrite;
    requests.iter().filter(is_write).count()
}

#[test]
fn who_rules_a_batch_absent_has_it_sent_again_and_stands_in_the_export() {
    let scene = held();
    let ran = rule(&scene, "absent").expect(0);
    assert!(ran.stdout.contains("rollbook resume"), "{}", ran.stdout);
    assert_eq!(write_requests(&scene), 0, "a ruling contacts nobody");
    let began = Instant::now();
    scene.run(&["resume", "--rate", "unlimited"]).expect(0);
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "a ruling needs no quiet period"
    );
    assert_eq!(write_requests(&scene), 1);
    let export = scene.export();
    check_promises(&scene, &export);
    check_doctor(&scene, &scene.path("rollbook.db"));
    let confirmed: Vec<_> = export
        .values()
        .filter(|row| row["state"] == "confirmed")
        .collect();
    assert!(!confirmed.is_empty());
    for row in confirmed {
        assert_eq!(row["rung"], "ruled_absent");
        assert_eq!(
            row["ruling"],
            "absent by Ann Lee: not in Omneo's log, ticket 4711"
        );
    }
    let batches = scene.run(&["batches"]).expect(0).stdout;
    assert!(batches.contains("Ann Lee"), "{batches}");
}

/// That it was sent does not say that it has been applied: who does not show it fails when it can no longer be.
#[test]
fn who_rules_a_batch_sent_has_it_looked_at_and_nothing_is_sent() {
    let scene = held();
    rule(&scene, "sent").expect(0);
    let resume = ["resume", "--rate", "unlimited", "--settle-deadline", "2s"];
    let ran = scene.run(&resume).expect(4);
    assert!(ran.stderr.contains("it can still be made"), "{}", ran.stderr);
    let export = scene.export();
    for row in export.values().filter(|row| row["state"] == "batched") {
        scene
            .tenant()
            .set_statuses(&row["profile_id"], vec!["vip".into()]);
    }
    scene.run(&resume).expect(0);
    assert_eq!(write_requests(&scene), 0);
    let export = scene.export();
    let ruled = export.values().filter(|row| row["rung"] == "ruled_sent");
    let ruled: Vec<_> = ruled.collect();
    assert!(!ruled.is_empty());
    for row in ruled {
        assert_eq!(row["state"], "confirmed");
        assert!(row["ruling"].starts_with("sent by Ann Lee"), "{row:?}");
    }
    assert_eq!(scene.status()["finished"], true);
}

#[test]
fn a_ruling_that_the_profiles_contradict_is_not_acted_on() {
    let scene = held();
    let export = scene.export();
    let member = export.values().find(|row| row["state"] == "batched").unwrap();
    scene
        .tenant()
        .set_statuses(&member["profile_id"], vec!["vip".into()]);
    rule(&scene, "absent").expect(0);
    let ran = scene.run(&["resume", "--rate", "unlimited"]).expect(3);
    assert!(ran.stderr.contains("ruled absent, but"), "{}", ran.stderr);
    assert_eq!(write_requests(&scene), 0);
    assert_eq!(scene.status()["batches"]["held"], 1);
}

#[test]
fn rulings_that_make_no_sense_change_nothing() {
    let scene = held();
    let settle = |batch: &'static str, by: &'static str, because: &'static str| {
        let words = [
            "settle",
            "--batch",
            batch,
            "--as",
            "absent",
            "--by",
            by,
            "--because",
            because,
        ];
        scene.run(&words)
    };
    let before = scene.run(&["batches", "--json"]).expect(0).stdout;
    settle("7", "Ann", "x").refused(2, &["no batch 7"]);
    settle("1", " ", "x").refused(2, &["--by"]);
    settle("1", "Ann", "").refused(2, &["--because"]);
    settle("1", "Ann", "two\nlines").refused(2, &["--because"]);
    settle("one", "Ann", "x").expect(2);
    let elsewhere = [
        "settle",
        "--ledger",
        "none.db",
        "--batch",
        "1",
        "--as",
        "sent",
        "--by",
        "A",
        "--because",
        "b",
    ];
    scene.run(&elsewhere).refused(2, &["no ledger"]);
    scene
        .run(&["settle", "--batch", "1", "--as", "sent", "--by", "Ann"])
        .expect(2);
    assert_eq!(scene.run(&["batches", "--json"]).expect(0).stdout, before);
    // Once it is settled, there is nothing to rule on.
    rule(&scene, "absent").expect(0);
    rule(&scene, "absent").refused(2, &["batch 1 is in_doubt", "awaits a ruling"]);
    scene.run(&["resume", "--rate", "unlimited"]).expect(0);
    rule(&scene, "sent").refused(2, &["batch 1 is settled"]);
}

#[test]
fn a_running_ledger_takes_no_ruling() {
    let scene = held();
    let mut child = scene.spawn(&["resume", "--rate", "unlimited"]);
    let began = Instant::now();
    while !scene.run(&["status"]).stdout.contains("Now") {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not begin");
    }
    rule(&scene, "absent").refused(6, &["in use by rollbook resume"]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn of_two_doubts_alike_neither_takes_a_batch_that_names_nobody() {
    let options = Options {
        // The list tells of a batch, and nothing tells who is in it.
        not_found_for: Duration::from_secs(3600),
        ..options()
    };
    let cast = cast(&options, 60, "already_assigned", "batched");
    let needed = |wanted: &&String| cast.wanted[*wanted].0 == "batched";
    let two: Vec<&str> = cast
        .wanted
        .keys()
        .filter(needed)
        .take(2)
        .map(String::as_str)
        .collect();
    let mut scene = Scene::with(Options {
        drop_writes_percent: 100.0,
        ..options.clone()
    });
    scene.write("list.csv", two.join("\n"));
    let job = plus(
        &plus(&LIST, &FAST),
        &["--batch-size", "1", "--settle-deadline", "1s"],
    );
    scene.run(&job).expect(3);
    assert_eq!(scene.status()["batches"]["held"], 2);
    let port = scene.tenant().port();
    scene.close();
    scene.open(Options { port, ..options });
    // Somebody else's batch, of the size of both, for the first of the two.
    scene.write("theirs.csv", two[0]);
    let theirs = ["assign", "--status", "vip", "theirs.csv", "--ledger", "theirs.db"];
    scene.run(&plus(&plus(&theirs, &FAST), &["--settle-deadline", "1s"]));
    assert_eq!(write_requests(&scene), 1);
    scene
        .run(&["resume", "--rate", "unlimited", "--settle-deadline", "1s"])
        .expect(3);
    assert_eq!(write_requests(&scene), 1);
    let export = scene.export();
    let row = &export[two[0]];
    assert_eq!(
        (
            row["state"].as_str(),
            row["rung"].as_str(),
            row["batch_id"].as_str()
        ),
        ("confirmed", "reached", "")
    );
    assert_eq!(scene.status()["batches"]["held"], 1);
}

#[test]
fn with_hold_nothing_is_ever_sent_again_without_a_person() {
    let scene = held();
    for _ in 0..2 {
        let resume = ["resume", "--rate", "unlimited", "--in-doubt", "hold"];
        scene.run(&resume).expect(3);
    }
    assert_eq!(write_requests(&scene), 0);
    let batches = scene.run(&["batches"]).expect(0).stdout;
    assert!(batches.contains("held"), "{batches}");
}

#[test]
fn there_is_nothing_to_adopt_where_nothing_was_copied() {
    let scene = Scene::with(options());
    scene.write("list.csv", "email\nann@example.com\n");
    let job = plus(&plus(&LIST, &FAST), &["--adopt"]);
    scene.run(&job).refused(2, &["for a copied ledger"]);
    assert_eq!(scene.names(), ["list.csv"]);
}

#[test]
fn a_handle_that_is_deleted_stops_the_run_at_once() {
    let options = Options {
        profiles: 12_000,
        latency: Duration::from_millis(5),
        ..options()
    };
    let cast = cast(&options, 12_000, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let job = plus(
        &plus(&LIST, &FAST),
        &["--batch-size", "10", "--concurrency", "16"],
    );
    let mut child = scene
        .command(&job)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while scene.tenant().writes().len() < 20 {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    scene.tenant().delete_status("vip");
    let before = scene.tenant().writes().len();
    let ran = Ran::from(child_output(&mut child));
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("does not define the status `vip` any more"),
        "{}",
        ran.stderr
    );
    let after = scene.tenant().writes().len() - before;
    assert!(after < 100, "{after} batches after the handle was gone");
    // And a new start does not even begin.
    scene
        .run(&["resume", "--rate", "unlimited", "--yes"])
        .refused(5, &["vip"]);
}

fn child_output(child: &mut std::process::Child) -> std::process::Output {
    use std::io::Read;
    let mut stderr = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    std::process::Output {
        status: child.wait().unwrap(),
        stdout: Vec::new(),
        stderr,
    }
}

#[test]
fn profiles_that_go_between_look_up_and_send_fail_alone() {
    let options = options();
    let cast = cast(&options, 60, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    scene
        .run(&plus(&LIST, &["--rate", "unlimited", "--dry-run"]))
        .expect(0);
    let resolved: Vec<_> = scene
        .export()
        .into_values()
        .filter(|row| row["state"] == "resolved")
        .collect();
    scene.tenant().delete_profile(&resolved[3]["profile_id"]);
    // A merge: the other profile has taken the email over, and this one holds what the other held.
    scene
        .tenant()
        .set_email(&resolved[5]["profile_id"], "merged@example.org");
    scene.run(&["resume", "--rate", "unlimited", "--yes"]).expect(3);
    let export = scene.export();
    check_promises(&scene, &export);
    for (position, row) in resolved.iter().enumerate() {
        let state = if position == 3 { "failed" } else { "confirmed" };
        assert_eq!(export[&row["email"]]["state"], state, "{position}");
    }
}

#[test]
fn an_older_state_that_is_put_back_sends_nothing() {
    let scene = copied_halfway();
    let sent = write_requests(&scene);
    // In place, so that path and file are the same: only the epoch tells.
    std::fs::write(
        scene.path("rollbook.db"),
        std::fs::read(scene.path("copy.db")).unwrap(),
    )
    .unwrap();
    let resume = ["resume", "--rate", "unlimited", "--yes"];
    for _ in 0..20 {
        scene.run(&resume).refused(6, &["older state", "--adopt"]);
    }
    // Another file under the same name, beside a lock file that knows nothing.
    std::fs::remove_file(scene.path("rollbook.db")).unwrap();
    std::fs::remove_file(scene.path("rollbook.db.lock")).unwrap();
    std::fs::copy(scene.path("copy.db"), scene.path("rollbook.db")).unwrap();
    scene.run(&resume).refused(6, &["put in the place", "--adopt"]);
    assert_eq!(write_requests(&scene), sent);
}

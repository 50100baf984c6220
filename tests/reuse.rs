//! `--reuse`: a second job takes profiles from the ledger of the first, and proves every one of them.

use crate::support::share::pick;
use crate::support::{Scene, check_doctor, options};
use rollbook::sandbox::{Route, Seen};
use serde_json::Value;

const PEOPLE: u32 = 60;
const FAST: [&str; 5] = ["--rate", "unlimited", "--yes", "--resolve", "one"];

/// A tenant where nobody holds anything, and a first ledger, `first.db`, that has looked everybody up.
fn looked_up() -> Scene {
    looked_up_so_many(PEOPLE)
}

fn looked_up_so_many(people: u32) -> Scene {
    let scene = Scene::with(options());
    let mut list = String::from("email\nnobody@example.org\n");
    for index in 0..people {
        let person = scene.tenant().person(index);
        scene.tenant().set_statuses(&person.profile_id, vec![]);
        // Other people of the tenant may share the emails that it makes up.
        scene.tenant().set_email(&person.profile_id, &email(index));
        list += &format!("{}\n", email(index));
    }
    scene.write("list.csv", list);
    let first = ["assign", "--status", "vip", "--ledger", "first.db", "list.csv"];
    scene.run(&[&first[..], &FAST].concat()).expect(0);
    scene
}

fn reuse<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let job = ["assign", "--status", "gold", "--reuse", "first.db", "list.csv"];
    [&job[..], &FAST, more].concat()
}

/// How many questions about profiles were asked since so many requests.
fn lookups(scene: &Scene, since: usize) -> usize {
    let requests = scene.tenant().requests().split_off(since);
    let about_profiles = |seen: &&Seen| matches!(seen.route, Route::Profiles | Route::Profile);
    requests.iter().filter(about_profiles).count()
}

fn email(index: u32) -> String {
    format!("person{index}@example.com")
}

#[test]
fn a_second_job_asks_for_nobody_again_and_proves_everybody() {
    let scene = looked_up();
    let before = scene.tenant().requests().len();
    let ran = scene.run(&reuse(&["--confirm", "none"])).expect(0);
    assert!(
        ran.stderr
            .contains("60 entries with their profiles are taken from first.db"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains("1 entry to look up, at most 61 profiles to send"),
        "{}",
        ran.stderr
    );
    let asked = lookups(&scene, before);
    assert!(
        asked <= 6,
        "the preflight, one stranger twice with a witness, and the holders on one page: {asked}"
    );
    let export = scene.export();
    assert_eq!(scene.tenant().holders("gold").len(), PEOPLE as usize);
    for index in 0..PEOPLE {
        let row = &export[&email(index)];
        let proven = (row["state"].as_str(), row["evidence"].as_str());
        assert_eq!(
            proven,
            ("confirmed", "seen"),
            "read back, also with --confirm none"
        );
        assert!(
            row["reused"].starts_with("looked up 20") && row["reused"].ends_with(" min before"),
            "{row:?}"
        );
        assert_eq!(row["held_before"], "vip", "as the first job left it");
    }
    let nobody = &export["nobody@example.org"];
    assert_eq!(
        (nobody["reason"].as_str(), nobody["reused"].as_str()),
        ("not_found", "")
    );
    assert_eq!(scene.status()["reused"], 60);
    assert!(ran.stdout.contains("Reused    60 entries"), "{}", ran.stdout);
    check_doctor(&scene, &scene.path("rollbook.db"));
}

#[test]
fn not_found_is_taken_over_if_asked_for() {
    let scene = looked_up();
    let before = scene.tenant().requests().len();
    scene.run(&reuse(&["--reuse-not-found"])).expect(0);
    assert!(lookups(&scene, before) <= 2, "the preflight and the holders");
    let row = &scene.export()["nobody@example.org"];
    assert_eq!(
        (row["state"].as_str(), row["reason"].as_str()),
        ("skipped", "not_found")
    );
    assert!(row["reused"].starts_with("looked up "), "{row:?}");
}

#[test]
fn a_profile_that_bears_another_email_by_now_is_found_out() {
    for way in ["one", "many"] {
        let scene = looked_up();
        let person = scene.tenant().person(7);
        scene
            .tenant()
            .set_email(&person.profile_id, "somebody.else@example.com");
        let ran = scene
            .run(&[&reuse(&[])[..], &["--resolve", way]].concat())
            .expect(3);
        assert!(ran.stdout.contains("profile_changed"), "{}", ran.stdout);
        let export = scene.export();
        let row = &export[&email(7)];
        assert_eq!(
            (row["state"].as_str(), row["reason"].as_str()),
            ("failed", "profile_changed")
        );
        assert!(row["detail"].contains("another email"), "{row:?}");
        let others = export.values().filter(|row| row["state"] == "confirmed");
        assert_eq!(others.count(), PEOPLE as usize - 1);
    }
}

#[test]
fn old_knowledge_skips_nobody() {
    let scene = looked_up();
    // The first ledger knows them all as holders; by now one is none any more.
    scene
        .tenant()
        .set_statuses(&scene.tenant().person(3).profile_id, vec![]);
    let again = ["assign", "--status", "vip", "--reuse", "first.db", "list.csv"];
    scene.run(&[&again[..], &FAST].concat()).expect(0);
    let export = scene.export();
    assert_eq!(export[&email(3)]["state"], "confirmed");
    assert_eq!(export[&email(4)]["reason"], "already_assigned");
    assert_eq!(scene.status()["reused"], 0);
}

#[test]
fn refusals_change_neither_ledger() {
    let scene = looked_up();
    scene.write(
        "some.txt",
        "not a ledger, but long enough to be looked at ".repeat(20),
    );
    let whole = std::fs::read(scene.path("first.db")).unwrap();
    scene.write("cut off.db", &whole[..whole.len() / 2]);
    scene
        .run(&["load", "--ledger", "loaded.db", "list.csv"])
        .expect(0);
    scene.write("newer.db", &whole);
    let newer = rusqlite::Connection::open(scene.path("newer.db")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    std::os::unix::fs::symlink("first.db", scene.path("link.db")).unwrap();
    std::fs::hard_link(scene.path("first.db"), scene.path("hard.db")).unwrap();
    let elsewhere = Scene::with(options());
    std::fs::copy(scene.path("list.csv"), elsewhere.path("list.csv")).unwrap();
    let job = ["assign", "--status", "vip", "list.csv"];
    elsewhere.run(&[&job[..], &FAST].concat()).expect(0);
    std::fs::copy(elsewhere.path("rollbook.db"), scene.path("elsewhere.db")).unwrap();
    let files = |scene: &Scene| -> Vec<_> {
        let mut files = scene.files();
        // A reader may leave a log and its index beside a ledger, both empty of anything new.
        files.retain(|(path, _)| {
            !path.to_str().unwrap().ends_with("-shm") && !path.to_str().unwrap().ends_with("-wal")
        });
        files.sort();
        files
    };
    let (before, requests) = (files(&scene), scene.tenant().requests().len());
    let cases: [(&str, i32, &str); 6] = [
        ("missing.db", 2, "there is no ledger at missing.db"),
        ("some.txt", 6, "some.txt"),
        ("cut off.db", 6, "`rollbook doctor --ledger 'cut off.db'`"),
        ("newer.db", 6, "update rollbook"),
        ("loaded.db", 2, "has no job yet"),
        ("elsewhere.db", 6, "of another tenant"),
    ];
    for (other, code, words) in cases {
        for verb in ["assign", "plan"] {
            let job = [verb, "--status", "gold", "--reuse", other, "list.csv"];
            scene.run(&[&job[..], &FAST].concat()).refused(code, &[words]);
        }
    }
    assert_eq!(scene.tenant().requests().len(), requests, "nobody was asked");
    assert!(files(&scene) == before, "a file was changed");
    let first = scene.export_of(&scene.path("first.db"));
    for own in ["first.db", "link.db", "hard.db"] {
        for verb in ["resume", "plan"] {
            let job = [verb, "--ledger", "first.db", "--reuse", own];
            scene.run(&job).refused(2, &["this very ledger"]);
        }
    }
    std::fs::copy(scene.path("first.db"), scene.path("copy.db")).unwrap();
    scene
        .run(&["plan", "--ledger", "first.db", "--reuse", "copy.db"])
        .refused(2, &["copy.db is a copy of this very ledger"]);
    assert_eq!(scene.export_of(&scene.path("first.db")), first);
}

#[test]
fn ages_and_their_company_are_checked() {
    let scene = Scene::offline();
    for bad in ["0d", "0s", "-1d", "7", "7weeks", "400d", ""] {
        let age = format!("--max-age={bad}");
        let ran = scene.run(&["resume", "--reuse", "first.db", &age]).expect(2);
        assert!(
            ran.stderr.contains("an age such as") || bad.is_empty(),
            "{}",
            ran.stderr
        );
    }
    for alone in [&["--max-age", "7d"][..], &["--reuse-not-found"]] {
        let ran = scene.run(&[&["resume"], alone].concat()).expect(2);
        assert!(ran.stderr.contains("--reuse <LEDGER>"), "{}", ran.stderr);
    }
    let ran = scene.run(&["resume", "--reuse", "first.db", "--adopt"]).expect(2);
    assert!(ran.stderr.contains("cannot be used with"), "{}", ran.stderr);
    assert!(scene.names().is_empty());
}

#[test]
fn what_lies_ahead_of_this_clock_is_not_taken_and_it_is_said_why() {
    let scene = looked_up();
    // As though the first job had run on a machine whose clock goes an hour fast.
    let first = rusqlite::Connection::open(scene.path("first.db")).unwrap();
    first
        .execute("UPDATE entry SET resolved_at = resolved_at + 3600000", [])
        .unwrap();
    drop(first);
    let ran = scene.run(&reuse(&[])).expect(0);
    for words in [
        "0 entries with their profiles are taken from first.db",
        "60 more entries were looked up at a time that this machine's clock has not reached",
        "set it and run the same command again",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert_eq!(scene.status()["reused"], 0);
}

/// What a plan says, as scripts read it.
fn plan(scene: &Scene, more: &[&str]) -> Value {
    let job = ["plan", "--json", "--status", "gold", "--reuse", "first.db"];
    let ran = scene.run(&[&job[..], &FAST, more].concat()).expect(0);
    assert!(
        ran.stderr.contains("60 entries with their profiles"),
        "{}",
        ran.stderr
    );
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn a_plan_says_what_a_run_does_that_takes_over() {
    let (pending, most) = (Value::from(1), Value::from(61));
    for more in [&[][..], &["--reuse-not-found"]] {
        let scene = looked_up();
        let counted = plan(&scene, &[more, &["list.csv"]].concat());
        assert!(!scene.names().contains(&"rollbook.db".into()), "it keeps nothing");
        scene.run(&["load", "list.csv"]).expect(0);
        let before = scene.export();
        let standing = plan(&scene, more);
        assert_eq!(scene.export(), before);
        let ran = scene
            .run(&reuse(&[more, &["--progress", "json"]].concat()))
            .expect(0);
        let events = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap());
        let said: Value = events
            .into_iter()
            .find(|event: &Value| event["event"] == "planned")
            .unwrap();
        for field in ["pending", "send_at_most", "requests_by_kind"] {
            assert_eq!(
                (&counted[field], &standing[field]),
                (&said[field], &said[field]),
                "{field}"
            );
        }
        if more.is_empty() {
            assert_eq!((&said["pending"], &said["send_at_most"]), (&pending, &most));
        } else {
            assert_eq!((&said["pending"], &said["send_at_most"]), (&0.into(), &60.into()));
        }
    }
}

#[test]
fn a_plan_gets_its_idea_of_the_list_from_those_who_are_left() {
    let scene = looked_up();
    let strangers: String = (0..60).map(|n| format!("stranger{n}@example.org\n")).collect();
    let list = std::fs::read_to_string(scene.path("list.csv")).unwrap() + &strangers;
    scene.write("list.csv", list);
    let many = ["--resolve", "many", "list.csv"];
    let looking_up = |planned: Value| planned["requests_by_kind"]["looking_up"].as_u64().unwrap();
    // Whoever has no profile is asked for in two more groups, and fifty of them alone; those that are taken over all have one.
    assert_eq!(looking_up(plan(&scene, &many)), 1 + 2 + 50);
    scene.run(&["load", "list.csv"]).expect(0);
    assert_eq!(looking_up(plan(&scene, &many)), 1 + 2 + 50);
}

#[test]
fn a_plan_reckons_with_the_proofs_that_a_run_asks_for() {
    // How often a batch is polled depends on how fast both sides are just now.
    let but_polls = |seen: &&Seen| seen.route != Route::Batch;
    let jobs = [
        ("assign", "gold", "many", 2),
        // A remove first compares what lists and profiles say, and asks a witness now and then: a few more.
        ("remove", "vip", "one", 40),
        ("assign", "gold", "one", 6),
    ];
    for (verb, status, way, off) in jobs.into_iter().take(pick(2, 3, 3)) {
        let scene = looked_up_so_many(840);
        let job = [
            "--status",
            status,
            "--reuse",
            "first.db",
            "list.csv",
            "--yes",
            "--resolve",
            way,
        ];
        let job = [&job[..], &["--rate", "unlimited", "--concurrency", "1"]].concat();
        let detach: &[&str] = if verb == "remove" { &["--remove"] } else { &[] };
        let planned = scene.run(&[&["plan", "--json"], detach, &job].concat()).expect(0);
        let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
        let polls = planned["requests_by_kind"]["polling"].as_u64().unwrap();
        let requests = planned["requests"].as_u64().unwrap() - polls;
        let seen = || scene.tenant().requests().iter().filter(but_polls).count() as u64;
        let before = seen();
        scene.run(&[&[verb], &job[..]].concat()).expect(0);
        let made = seen() - before;
        println!("{verb} {way}: {requests} planned, {made} made");
        assert!(
            requests.abs_diff(made) <= off,
            "{verb} {way}: {made} made: {planned}"
        );
    }
}

#[test]
fn a_no_keeps_nothing_of_what_was_taken() {
    let scene = looked_up();
    let job = ["assign", "--status", "gold", "--reuse", "first.db", "list.csv"];
    scene
        .run(&job)
        .refused(5, &["60 entries with their profiles are taken", "--yes"]);
    assert!(!scene.names().contains(&"rollbook.db".into()));
}

#[test]
fn a_killed_run_goes_on_with_what_it_took() {
    let scene = looked_up();
    scene.tenant().set_latency(std::time::Duration::from_millis(60));
    let mut child = scene.spawn(&reuse(&["--batch-size", "5", "--concurrency", "2"]));
    let gold = |scene: &Scene| {
        let writes = scene.tenant().writes().into_iter();
        writes
            .filter(|write| {
                write
                    .members
                    .iter()
                    .any(|member| member.1.iter().any(|h| h == "gold"))
            })
            .count()
    };
    while gold(&scene) < 3 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it was done before it was killed"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    scene.tenant().set_latency(std::time::Duration::ZERO);
    scene
        .run(&["resume", "--rate", "unlimited", "--yes", "--reuse", "first.db"])
        .expect(0);
    let export = scene.export();
    let confirmed = export.values().filter(|row| row["state"] == "confirmed");
    assert_eq!(
        confirmed.filter(|row| !row["reused"].is_empty()).count(),
        PEOPLE as usize
    );
    let mut sent = std::collections::HashMap::<(String, String), usize>::new();
    for (profile, handles) in scene
        .tenant()
        .writes()
        .into_iter()
        .flat_map(|write| write.members)
    {
        for handle in handles {
            *sent.entry((profile.clone(), handle)).or_default() += 1;
        }
    }
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
    assert_eq!(
        scene.status()["reused"],
        60,
        "taken once, and not again by the second run"
    );
}

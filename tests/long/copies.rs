//! Copies of a ledger send nothing until they are adopted, and then wait for what their original may have sent: more than a
//! minute each, of real time.

use crate::support::{Scene, cast, check_doctor, copied_halfway, options};
use rollbook::sandbox::Options;
use std::time::Duration;

const JOB: [&str; 7] = [
    "assign",
    "--status",
    "vip",
    "list.csv",
    "--rate",
    "unlimited",
    "--yes",
];

fn plus<'a>(one: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [one, more].concat()
}

fn write_requests(scene: &Scene) -> usize {
    scene.tenant().writes().len()
}

#[test]
fn a_copy_sends_nothing_until_it_is_adopted() {
    let scene = copied_halfway();
    let sent = write_requests(&scene);
    let resume = ["resume", "--ledger", "copy.db", "--rate", "unlimited", "--yes"];
    scene.run(&resume).refused(
        6,
        &["not the ledger that was last used", "rollbook.db", "--adopt"],
    );
    let again = plus(&JOB, &["--ledger", "copy.db"]);
    scene.run(&again).refused(6, &["--adopt"]);
    assert_eq!(write_requests(&scene), sent);
    // Looking is no harm, and neither is loading.
    scene.run(&["status", "--ledger", "copy.db"]).expect(0);
    scene.run(&["load", "--ledger", "copy.db", "list.csv"]).expect(0);
    scene.run(&resume).refused(6, &["--adopt"]);

    let adopt = plus(&resume, &["--adopt"]);
    let ran = scene.run(&adopt).expect(0);
    assert!(ran.stderr.contains("this ledger is a copy"), "{}", ran.stderr);
    assert_eq!(write_requests(&scene), sent, "its original had sent everything");
    let times = scene.times_sent();
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    check_doctor(&scene, &scene.path("copy.db"));
    scene.run(&adopt).refused(2, &["for a copied ledger"]);
}

/// A walk in the copy has seen people without the handle, who have got it from the original since.
#[test]
fn a_copy_that_was_made_amid_a_scan_sends_nobody_what_its_original_sent() {
    let options = Options {
        profiles: 1_500,
        page_max: 25,
        latency: Duration::from_millis(5),
        ..options()
    };
    let cast = cast(&options, 300, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let scan = ["--resolve", "scan", "--concurrency", "2"];
    let job = plus(&JOB, &scan);
    let mut child = scene.spawn(&job);
    while scene.tenant().requests().len() < 50 {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::copy(scene.path("rollbook.db"), scene.path("copy.db")).unwrap();
    std::fs::copy(scene.path("rollbook.db-wal"), scene.path("copy.db-wal")).unwrap();
    let resume = plus(&["resume", "--rate", "unlimited", "--yes"], &scan);
    scene.run(&resume).expect(0);
    let sent = write_requests(&scene);
    let adopt = plus(&resume, &["--ledger", "copy.db", "--adopt"]);
    scene.run(&adopt).expect(0);
    assert_eq!(write_requests(&scene), sent, "its original had sent everything");
    check_doctor(&scene, &scene.path("copy.db"));
}

/// The last commits stand in the log; without it the ledger is an older state of itself, whatever else is the same.
#[test]
fn a_ledger_that_has_lost_its_log_sends_nothing_until_it_is_adopted() {
    let options = Options {
        profiles: 2_000,
        latency: Duration::from_millis(3),
        ..options()
    };
    let cast = cast(&options, 600, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let job = plus(&JOB, &["--batch-size", "10", "--resolve", "one"]);
    let mut child = scene.spawn(&job);
    while write_requests(&scene) < 6 {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_file(scene.path("rollbook.db-wal")).unwrap();
    let _ = std::fs::remove_file(scene.path("rollbook.db-shm"));
    let sent = write_requests(&scene);
    let doctor = scene.run(&["doctor"]).expect(6);
    assert!(doctor.stdout.contains("BROKEN"), "{}", doctor.stdout);
    // The load is what was committed last of all that is in the file, so it may be there or not.
    let resume = ["resume", "--rate", "unlimited", "--yes"];
    scene.run(&resume).refused(6, &["older state", "--adopt"]);
    scene.run(&job).refused(6, &["older state", "--adopt"]);
    assert_eq!(write_requests(&scene), sent);
    scene.run(&plus(&job, &["--adopt"])).expect(0);
    let times = scene.times_sent();
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    for (email, row) in scene.export() {
        // Whom the forgotten requests reached has it by now.
        let ends = ["confirmed", "skipped", "ambiguous"];
        assert!(ends.contains(&row["state"].as_str()), "{email}: {row:?}");
    }
    check_doctor(&scene, &scene.path("rollbook.db"));
    scene.run(&resume).expect(0);
}

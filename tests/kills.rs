//! SIGKILL at random moments, again and again, and afterwards the promises.

use crate::support::{Scene, cast, check_doctor, check_promises, options};
use rollbook::sandbox::Options;
use std::time::{Duration, Instant};

const KILLS: usize = 60;

/// One job, killed at random moments until it has been killed often enough, then let through.
///
/// A batch that died between its mark and its request never arrived, and in this version nobody may say so:
/// it ends `held`. Everything else must be as if nothing had happened.
#[test]
fn sixty_kills_over_one_job() {
    let seed = std::env::var("ROLLBOOK_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("ROLLBOOK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let options = Options {
        profiles: 18_000,
        // Four look-ups at a time at this latency cannot finish the list in the time that all kills leave.
        latency: Duration::from_millis(10),
        apply_delay: Duration::from_millis(60),
        ..options()
    };
    let cast = cast(&options, 16_000, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let mut job = vec![
        "assign",
        "--status",
        "vip",
        "list.csv",
        "--yes",
        "--rate",
        "unlimited",
    ];
    job.extend(["--batch-size", "20", "--concurrency", "4"]);
    let mut kills = 0;
    let deadline = Instant::now() + Duration::from_secs(150);
    while kills < KILLS {
        assert!(Instant::now() < deadline, "{kills} kills in the time allowed");
        let mut child = scene.spawn(&job);
        // The first second is the start after a kill, during which nothing is sent.
        std::thread::sleep(Duration::from_millis(random.u64(20..1_500)));
        if let Some(status) = child.try_wait().unwrap() {
            panic!("the job ended by itself after {kills} kills, with {status}: it is too small");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    println!(
        "{kills} kills, {} batches at the tenant",
        scene.tenant().writes().len()
    );
    let ending = scene.run(&[
        "resume",
        "--rate",
        "unlimited",
        "--settle-deadline",
        "5s",
        "--concurrency",
        "32",
    ]);
    let export = scene.export();
    check_promises(&scene, &export);
    check_doctor(&scene, &scene.path("rollbook.db"));
    let status = scene.status();
    let held = status["batches"]["held"].as_u64().unwrap();
    assert_eq!(
        ending.code,
        Some(if held == 0 { 0 } else { 3 }),
        "{}",
        ending.stderr
    );
    println!("{held} batches held");
    assert!(
        held <= 20,
        "{held} batches are held, which cannot all have died in the instant before their request"
    );
    let times = scene.times_sent();
    for (email, (state, reason)) in &cast.wanted {
        let row = &export[email];
        if row["state"] == "batched" {
            assert_eq!(*state, "confirmed", "{email}");
            assert!(
                !times.contains_key(&row["profile_id"]),
                "held, although the tenant has applied it: {email}"
            );
        } else {
            assert_eq!(
                (row["state"].as_str(), row["reason"].as_str()),
                (*state, *reason),
                "{email}"
            );
        }
    }
    assert_eq!(status["rows"], cast.rows);
}

/// Kills during the load: nothing of it, or all of it, and the same command again loads what is missing.
#[test]
fn kills_during_a_load() {
    let scene = Scene::offline();
    let rows = 300_000;
    let list: String = (0..rows).map(|index| format!("p{index}@example.com\n")).collect();
    scene.write("list.txt", &list);
    let mut random = fastrand::Rng::with_seed(7);
    let mut landed = 0;
    for _ in 0..12 {
        let mut child = scene.spawn(&["load", "list.txt"]);
        std::thread::sleep(Duration::from_millis(random.u64(1..600)));
        child.kill().unwrap();
        child.wait().unwrap();
        if scene.path("rollbook.db").exists() && scene.run(&["status", "--json"]).code == Some(0) {
            let entries = scene.status()["entries"].as_u64().unwrap();
            assert!(entries == 0 || entries == rows, "{entries}");
            landed += u64::from(entries > 0);
        }
    }
    println!("{landed} of 12 kills came after the load");
    scene.run(&["load", "list.txt"]).expect(0);
    assert_eq!(scene.status()["entries"], rows);
    check_doctor(&scene, &scene.path("rollbook.db"));
}

/// Two processes on one ledger: exactly one works, and the other says who.
#[test]
fn of_racing_starts_exactly_one_works() {
    let options = Options {
        latency: Duration::from_millis(30),
        ..options()
    };
    let cast = cast(&options, 100, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    scene.run(&["load", "list.csv"]).expect(0);
    let job = ["assign", "--status", "vip", "--rate", "100/s", "--yes"];
    let children: Vec<_> = (0..10).map(|_| scene.spawn(&job)).collect();
    let codes: Vec<_> = children
        .into_iter()
        .map(|mut child| child.wait().unwrap().code())
        .collect();
    assert_eq!(
        codes.iter().filter(|code| **code == Some(0)).count(),
        1,
        "{codes:?}"
    );
    assert_eq!(
        codes.iter().filter(|code| **code == Some(6)).count(),
        9,
        "{codes:?}"
    );
    check_promises(&scene, &scene.export());
}

/// The first TERM records what is under way; the job goes on as if nothing had happened.
#[test]
fn a_term_stops_cleanly() {
    let options = Options {
        latency: Duration::from_millis(10),
        ..options()
    };
    let cast = cast(&options, 1_000, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let child = scene.spawn(&[
        "assign",
        "--status",
        "vip",
        "list.csv",
        "--rate",
        "200/s",
        "--yes",
        "--batch-size",
        "20",
    ]);
    while scene.tenant().writes().len() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(4));
    assert_eq!(scene.status()["batches"]["in_doubt"], 0);
    assert_eq!(scene.status()["batches"]["sending"], 0);
    scene.run(&["resume", "--rate", "unlimited"]).expect(0);
    cast.check(&scene.export());
    check_promises(&scene, &scene.export());
}

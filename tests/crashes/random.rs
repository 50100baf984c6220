//! SIGKILL at random moments, again and again, and afterwards the promises.

use crate::proof::{GoOn, Running, pick, random, verdict};
use crate::support::share::{Share, share};
use crate::support::{Scene, cast, check_doctor, check_promises, options};
use rollbook::sandbox::Options;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// A large job with ever the same command, in which only so many look-ups are under way at a time.
const JOB: [&str; 12] = [
    "assign",
    "--status",
    "vip",
    "list.csv",
    "--yes",
    "--rate",
    "unlimited",
    "--batch-size",
    "50",
    "--concurrency",
    "4",
    "--quiet",
];

/// The same with its batches sent and settled as fast as they can be.
fn job_at(concurrency: &'static str) -> Vec<&'static str> {
    let mut job = JOB.to_vec();
    job[10] = concurrency;
    job
}

/// Whether what never arrived is waited for, which takes over a minute, or left to a person.
fn waits() -> bool {
    share() > Share::Quick
}

/// Waits until the tenant was asked so many more questions.
///
/// The moment of a kill is counted in requests and not in seconds, so that a faster machine does not end the job
/// before its kills are made.
fn wait_for_requests(scene: &Scene, child: &mut Running, more: usize) {
    let until = scene.tenant().requests_count() + more;
    while scene.tenant().requests_count() < until {
        assert!(
            child.is_alive(),
            "the job ended by itself after {more} more requests"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One job, killed at random moments until it has been killed often enough, then let through.
///
/// One by one, each entry costs a request at the least. The kills together wait for fewer requests than that, so the
/// job cannot end before the last of them.
#[test]
fn many_kills_over_one_job() {
    let mut random = random("random kills");
    let (kills, people) = pick((6, 600), (60, 16_000), (100, 87_000));
    let options = Options {
        profiles: people + people / 8,
        apply_delay: Duration::from_millis(60),
        ..options()
    };
    let most = people as usize * 9 / 10 / kills;
    let cast = cast(&options, people, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    for killed in 0..kills {
        let mut child = Running::start(&mut scene.command(&[&JOB[..], &["--resolve", "one"]].concat()));
        wait_for_requests(&scene, &mut child, random.usize(..=most));
        std::thread::sleep(Duration::from_micros(random.u64(..20_000)));
        assert!(child.kill(), "the job ended by itself after {killed} kills");
    }
    println!(
        "random kills: {} batches at the tenant after {kills} kills over {} rows",
        scene.tenant().writes().len(),
        cast.rows
    );
    scene.tenant().set_latency(Duration::ZERO);
    let started = Instant::now();
    let job = job_at("32");
    let go_on = GoOn {
        job: &job,
        resume: true,
        wait: waits(),
    };
    go_on.finish(&scene, &cast, "the run after all kills");
    println!("random kills: the last run took {:?}", started.elapsed());
    assert_eq!(scene.status()["rows"], cast.rows);
    verdict("random kills over one job", kills, 100);
}

/// A tenant that takes one write in ten and loses the answer, and a kill every two seconds.
#[test]
fn kills_while_answers_are_lost() {
    let (kills, people) = pick((1, 600), (4, 3_000), (20, 17_400));
    let options = Options {
        profiles: people + people / 8,
        latency: Duration::from_millis(25),
        lose_answers_percent: 10.0,
        ..options()
    };
    let cast = cast(&options, people, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let job = job_at("8");
    for killed in 0..kills {
        let mut child = Running::start(&mut scene.command(&job));
        std::thread::sleep(Duration::from_secs(2));
        assert!(
            child.kill(),
            "the job ended by itself after {killed} kills: it is too small"
        );
    }
    scene.tenant().set_latency(Duration::ZERO);
    let go_on = GoOn {
        job: &job,
        resume: true,
        wait: waits(),
    };
    let held = go_on.finish(&scene, &cast, "the run after all kills");
    let batches = scene.status()["batches"].clone();
    println!(
        "kills while answers are lost: {} rows, {} batches at the tenant, at the end {batches}",
        cast.rows,
        scene.tenant().writes().len()
    );
    assert!(!waits() || held == 0, "{held} held");
    let writes = scene.tenant().writes();
    let ids: HashSet<&str> = writes.iter().map(|write| write.batch_id.as_str()).collect();
    assert_eq!(ids.len(), writes.len());
    verdict("kills while one answer in ten is lost", kills, 20);
}

/// Kills all over a load, of a first list and of a later one: nothing of it is there, or all of it, and the same
/// command again ends where an undisturbed load does.
#[test]
fn kills_during_a_load() {
    let rows = pick(10_000, 150_000, 1_000_000);
    let mut random = fastrand::Rng::with_seed(7);
    let mut list = |first: u32, rows: u32| -> String {
        let row = |row| match random.u32(..100) {
            0 => "nobody\n".into(),
            1..5 => format!("P{}@example.com\n", random.u32(first..=first + row)),
            _ => format!("p{}@example.com\n", first + row),
        };
        (0..rows).map(row).collect()
    };
    let (first, later) = (list(0, rows), list(rows / 2, rows));
    let scene = || {
        let scene = Scene::offline();
        scene.write("first.txt", &first);
        scene.write("later.txt", &later);
        scene
    };
    let (calm, stormy) = (scene(), scene());
    let (mut kills, mut landed) = (0, 0);
    for list in ["first.txt", "later.txt"] {
        let before = entries(&stormy);
        let begun = Instant::now();
        calm.run(&["load", list]).expect(0);
        let (took, after) = (begun.elapsed(), entries(&calm));
        let points = pick(3, 10, 60);
        for point in 1..=points {
            let mut child = stormy.spawn(&["load", list]);
            std::thread::sleep(took * point / points);
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            let found = entries(&stormy);
            assert!(found == before || found == after, "{before}, {found} or {after}");
            landed += u32::from(found == after);
        }
        stormy.run(&["load", list]).expect(0);
    }
    println!("{kills} kills during loads of {rows} rows, {landed} of them when all was in");
    assert!(landed < kills, "no load was killed before its end");
    let status = |scene: &Scene| {
        let mut status = scene.status();
        for list in status["lists"].as_array_mut().unwrap() {
            // Where and when it was loaded is each scene's own.
            (list["path"], list["loaded_at"]) = Default::default();
        }
        status
    };
    assert_eq!(status(&calm), status(&stormy));
    let export = ["export", "--rows", "all", "--format", "csv"];
    let export = |scene: &Scene| scene.run(&export).expect(0).stdout;
    assert!(export(&calm) == export(&stormy), "the exports differ");
    check_doctor(&stormy, &stormy.path("rollbook.db"));
}

/// Entries that a ledger holds, none where there is no ledger yet.
fn entries(scene: &Scene) -> u64 {
    let ran = scene.run(&["status", "--json"]);
    match ran.code {
        Some(0) => serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()["entries"]
            .as_u64()
            .unwrap(),
        _ => 0,
    }
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

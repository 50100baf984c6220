//! Many starts at once on one ledger: exactly one works, and the others say at once who does.

use crate::proof::{GoOn, Running, verdict};
use crate::support::{Cast, Ran, Scene, cast, check_promises, options};
use rollbook::sandbox::Options;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

const STARTS: usize = 50;

const JOB: [&str; 10] = [
    "assign",
    "--status",
    "vip",
    "list.csv",
    "--yes",
    "--rate",
    "unlimited",
    "--concurrency",
    "2",
    "--quiet",
];

fn scene() -> (Scene, Cast) {
    let options = Options {
        profiles: 400,
        // The one that works must not be through before the last one has started.
        latency: Duration::from_millis(400),
        ..options()
    };
    let cast = cast(&options, 200, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    (scene, cast)
}

fn output(child: &mut Running) -> Ran {
    let code = child.0.wait().unwrap().code();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child
        .0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    child
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    Ran { code, stdout, stderr }
}

/// Starts so many at once, and lets the one that works finish when all others have given up.
fn race(scene: &Scene, about: &str) -> Vec<Ran> {
    let started = Instant::now();
    let start = |_| {
        let mut command = scene.command(&JOB);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    };
    let mut running: Vec<Running> = (0..STARTS).map(start).collect();
    let mut ended = Vec::new();
    while running.len() > 1 {
        running.retain_mut(|child| {
            let runs = child.0.try_wait().unwrap().is_none();
            if !runs {
                ended.push(output(child));
            }
            runs
        });
        let patience = Duration::from_secs(100);
        assert!(started.elapsed() < patience, "{about}: they do not give up");
        std::thread::sleep(Duration::from_millis(2));
    }
    println!("{about}: all but one had given up after {:?}", started.elapsed());
    scene.tenant().set_latency(Duration::ZERO);
    ended.extend(running.iter_mut().map(output));
    ended
}

/// One of them worked, and the others knew whom to name.
#[track_caller]
fn check(scene: &Scene, cast: &Cast, ended: &[Ran], about: &str) {
    let with = |code| ended.iter().filter(move |ran| ran.code == Some(code));
    let others: Vec<&Ran> = with(6).collect();
    let codes: Vec<_> = ended.iter().map(|ran| ran.code).collect();
    assert_eq!(
        (with(0).count(), others.len()),
        (1, STARTS - 1),
        "{about}: {codes:?}"
    );
    for other in others {
        let names = other.stderr.contains("rollbook assign, process");
        let just_made = other.stderr.contains("another process");
        assert!(names || just_made, "{about}: {}", other.stderr);
    }
    let export = scene.export();
    cast.check(&export);
    check_promises(scene, &export);
}

#[test]
fn of_fifty_starts_on_a_ledger_exactly_one_works() {
    let (scene, cast) = scene();
    scene.run(&["load", "list.csv"]).expect(0);
    let ended = race(&scene, "on a ledger");
    check(&scene, &cast, &ended, "on a ledger");
    verdict("racing starts on a ledger", ended.len(), STARTS);
}

#[test]
fn of_fifty_starts_without_a_ledger_exactly_one_works() {
    let (scene, cast) = scene();
    let ended = race(&scene, "without a ledger");
    check(&scene, &cast, &ended, "without a ledger");
    verdict("racing starts without a ledger", ended.len(), STARTS);
}

/// What a killed process leaves beside the ledger keeps nobody out.
#[test]
fn the_lock_of_the_dead_keeps_nobody_out() {
    let (scene, cast) = scene();
    let mut child = Running::start(&mut scene.command(&JOB));
    while !scene.path("rollbook.db.lock").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let refused = scene.run(&JOB).expect(6);
    assert!(
        refused.stderr.contains("rollbook assign, process"),
        "{}",
        refused.stderr
    );
    assert!(child.kill());
    let left = std::fs::read_to_string(scene.path("rollbook.db.lock")).unwrap();
    assert!(left.contains("process"), "{left}");
    scene.tenant().set_latency(Duration::ZERO);
    let go_on = GoOn {
        job: &JOB,
        resume: false,
        wait: true,
    };
    go_on.finish(&scene, &cast, "after a stale lock");
}

//! A run that was stopped, has its lock file taken away, and goes on when a successor has tried its luck.
//!
//! A process that was stopped with a request in its hands sends it when it wakes up, whatever has happened since; no
//! check of its own can come late enough. So as long as it lives it has no successor, lock file or not.

use crate::proof::{Running, ToldOnPanic, in_parallel, pick, random, signal, tally, verdict};
use crate::support::{Cast, Scene, cast, check_doctor, check_promises, options};
use crate::syscalls::{strace_works, under_strace};
use rollbook::sandbox::Options;
use std::time::{Duration, Instant};

/// Zombies that were stopped while they held the ledger.
const FIGURE: usize = 100;
const TRIED: usize = 240;
const LONG: usize = 16;
const QUICK: usize = 4;

const RESUME: [&str; 9] = [
    "resume",
    "--yes",
    "--rate",
    "unlimited",
    "--batch-size",
    "6",
    "--concurrency",
    "4",
    "--quiet",
];

/// When a run is stopped.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So many milliseconds after its start.
    After(u64),
    /// As a thread of it returns from its n-th call of a kind.
    Call(&'static str, usize),
}

/// How a zombie's story ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    /// It was too late to be stopped.
    NeverStopped,
    /// It still held the ledger itself.
    SuccessorKeptOut,
    /// It had not come that far, the successor finished, and it noticed and gave up.
    GaveUp,
    /// It had not come that far, the successor finished, and it had nothing left to do.
    NothingToDo,
}

/// Chance chooses, and more often where a request is about to leave.
fn moment(random: &mut fastrand::Rng) -> Moment {
    // The first connection asks who we are; each batch has one of its own.
    match random.u8(0..10) {
        0 => Moment::After(random.u64(950..1_500)),
        1..=3 => Moment::Call("connect", random.usize(2..4)),
        4 | 5 => Moment::Call("socket", random.usize(2..4)),
        6 => Moment::Call("writev", random.usize(1..12)),
        7 => Moment::Call("futex", random.usize(20..90)),
        8 => Moment::Call("epoll_ctl", random.usize(3..9)),
        _ => Moment::Call("fcntl", random.usize(40..150)),
    }
}

fn scene() -> (Scene, Cast) {
    let options = Options {
        profiles: 60,
        ..options()
    };
    let cast = cast(&options, 30, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    // Everybody is looked up, so that what follows is sending and settling.
    let job = ["assign", "--status", "vip", "list.csv", "--dry-run"];
    scene.run(&job).expect(0);
    (scene, cast)
}

/// Starts a run and stops it; `None` where it ended before the moment came.
fn stopped(scene: &Scene, moment: Moment) -> Option<(Running, u32)> {
    match moment {
        Moment::After(ms) => {
            let mut child = Running::start(&mut scene.command(&RESUME));
            std::thread::sleep(Duration::from_millis(ms));
            let pid = child.0.id();
            child.stop().then_some((child, pid))
        }
        Moment::Call(call, nth) => {
            let log = scene.path("strace.log");
            let inject = format!("inject={call}:signal=SIGSTOP:when={nth}");
            let trace = format!("trace={call}");
            let options = ["-f", "-qq", "-o", log.to_str().unwrap()];
            let options = [&options[..], &["-e", &trace, "-e", &inject]].concat();
            let mut child = Running::start(&mut under_strace(scene, &RESUME, &options));
            let deadline = Instant::now() + Duration::from_secs(60);
            while child.0.try_wait().unwrap().is_none() {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                if text.contains("stopped by SIGSTOP") {
                    let pid = child_of(child.0.id());
                    return Some((child, pid));
                }
                assert!(Instant::now() < deadline, "{moment:?}: neither stopped nor ended");
                std::thread::sleep(Duration::from_millis(5));
            }
            None
        }
    }
}

fn child_of(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

/// Lets a zombie go on, however often it stops, and waits for its end.
fn woken(mut zombie: Running, pid: u32, about: &str) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(status) = zombie.0.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            signal(pid, "KILL");
            panic!("{about}: it does not end");
        }
        signal(pid, "CONT");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn live(moment: Moment) -> (End, bool) {
    let about = format!("stopped at {moment:?}");
    let _told = ToldOnPanic(&about);
    let (scene, cast) = scene();
    let Some((zombie, pid)) = stopped(&scene, moment) else {
        cast.check(&scene.export());
        return (End::NeverStopped, false);
    };
    // A process that is only stopped still holds its lock. Somebody takes it for dead and clears up.
    std::fs::remove_file(scene.path("rollbook.db.lock")).unwrap();
    let began = Instant::now();
    let successor = scene.run(&RESUME);
    let sent_again = began.elapsed() > Duration::from_secs(60);
    if successor.code != Some(0) {
        assert_eq!(successor.code, Some(6), "{about}: {}", successor.stderr);
        assert!(
            successor.stderr.contains("still lives"),
            "{about}: {}",
            successor.stderr
        );
        woken(zombie, pid, &about);
        scene.run(&RESUME).expect(0);
        check(&scene, &cast);
        return (End::SuccessorKeptOut, false);
    }
    check(&scene, &cast);
    let (writes, export) = (scene.tenant().writes().len(), scene.export());
    let code = woken(zombie, pid, &about);
    check(&scene, &cast);
    assert_eq!(
        scene.export(),
        export,
        "{about}: the zombie wrote into the ledger"
    );
    let sent = scene.tenant().writes().len() - writes;
    assert_eq!(sent, 0, "{about}: the zombie sent");
    let end = match code {
        Some(6) => End::GaveUp,
        Some(0) => End::NothingToDo,
        other => panic!("{about}: the zombie ended with {other:?}"),
    };
    (end, sent_again)
}

#[track_caller]
fn check(scene: &Scene, cast: &Cast) {
    let export = scene.export();
    check_promises(scene, &export);
    cast.check(&export);
    check_doctor(scene, &scene.path("rollbook.db"));
}

#[test]
fn a_zombie_neither_writes_nor_sends() {
    if !strace_works("zombies") {
        return;
    }
    let mut random = random("zombies");
    let moments = (0..pick(QUICK, LONG, TRIED))
        .map(|_| moment(&mut random))
        .collect();
    let ends = in_parallel(pick(QUICK, LONG, 48), moments, live);
    println!("zombies: {:?}", tally(&ends));
    let kept_out = ends.iter().filter(|(end, _)| *end == End::SuccessorKeptOut);
    verdict("zombies that kept their successor out", kept_out.count(), FIGURE);
}

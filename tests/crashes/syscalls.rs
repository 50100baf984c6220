//! SIGKILL at the n-th system call of a kind, for every n that a small job gets to.
//!
//! strace delivers the signal as the call is entered, and it is not carried out: killed at the n-th is killed
//! after the one before. Calls are counted by thread, and the first thread to get there ends the process.

use crate::proof::{GoOn, in_parallel, is_whole, pick, random, tally, verdict};
use crate::support::{Cast, Scene, cast, options};
use rollbook::sandbox::Options;
use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};

const FIGURE: usize = 1_000;
/// Not every call is made in every run.
const TRIED: usize = 1_250;
const LONG: usize = 60;
const QUICK: usize = 8;

/// Calls that write, flush, lock, name or send; and of those that a start is full of, only every so many-th.
const CALLS: [(&str, usize); 22] = [
    ("pwrite64", 1),
    ("write", 1),
    ("fsync", 1),
    ("fdatasync", 1),
    ("ftruncate", 1),
    ("unlink", 1),
    ("rename", 1),
    ("fchown", 1),
    ("chmod", 1),
    ("flock", 1),
    ("fcntl", 1),
    ("socket", 1),
    ("connect", 1),
    ("sendto", 1),
    ("sendmsg", 1),
    ("writev", 1),
    ("recvfrom", 1),
    ("shutdown", 1),
    ("pread64", 1),
    ("epoll_wait", 4),
    ("openat", 10),
    ("close", 10),
];

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Life {
    /// `assign` with a list, from nothing.
    Fresh,
    /// `assign` with the list loaded before.
    Loaded,
    /// `resume` after a dry run: nothing but sending and settling.
    Resumed,
    /// `resume` after a kill at a write: with something in doubt, or sealed.
    Again,
    /// `remove`.
    Remove,
}

impl Life {
    const ALL: [Self; 5] = [
        Self::Fresh,
        Self::Loaded,
        Self::Resumed,
        Self::Again,
        Self::Remove,
    ];

    fn job(self) -> Vec<&'static str> {
        let mut job = match self {
            Self::Fresh | Self::Again | Self::Resumed => vec!["assign", "--status", "vip", "list.csv"],
            Self::Loaded => vec!["assign", "--status", "vip"],
            Self::Remove => vec!["remove", "--status", "vip", "list.csv"],
        };
        job.extend(["--yes", "--rate", "unlimited", "--batch-size", "6"]);
        job.extend(["--concurrency", "4"]);
        job
    }

    /// The command that is killed.
    fn command(self) -> Vec<&'static str> {
        match self {
            Self::Resumed | Self::Again => vec![
                "resume",
                "--yes",
                "--rate",
                "unlimited",
                "--batch-size",
                "6",
                "--in-doubt",
                "hold",
                "--settle-deadline",
                "1s",
            ],
            _ => self.job(),
        }
    }

    /// A scene in which the command is about to be run.
    fn scene(self) -> (Scene, Cast) {
        let options = Options {
            profiles: 60,
            holders_percent: if self == Self::Remove { 90 } else { 5 },
            duplicates_percent: 4.0,
            ..options()
        };
        let already = if self == Self::Remove {
            "not_assigned"
        } else {
            "already_assigned"
        };
        let cast = cast(&options, 30, already, "confirmed");
        let scene = Scene::with(options);
        scene.write("list.csv", &cast.list);
        match self {
            Self::Fresh | Self::Remove => {}
            Self::Loaded => drop(scene.run(&["load", "list.csv"]).expect(0)),
            Self::Resumed => drop(scene.run(&[&self.job()[..], &["--dry-run"]].concat()).expect(0)),
            Self::Again => {
                // The bodies of requests leave by writev: this is about the second batch.
                traced(&scene, &self.job(), "writev", 21);
            }
        }
        (scene, cast)
    }
}

/// Runs a command until its n-th call of a kind; whether that came.
fn traced(scene: &Scene, arguments: &[&str], call: &str, nth: usize) -> bool {
    let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
    let trace = format!("trace={call}");
    let options = ["-f", "-qq", "-o", "/dev/null"];
    let mut command = under_strace(
        scene,
        arguments,
        &[&options[..], &["-e", &trace, "-e", &inject]].concat(),
    );
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().unwrap();
    // strace ends as its child has: with the signal.
    status.code().is_none()
}

/// The same command below strace.
pub fn under_strace(scene: &Scene, arguments: &[&str], options: &[&str]) -> Command {
    let plain = scene.command(arguments);
    let mut command = Command::new("strace");
    command.env_clear().stdin(Stdio::null());
    command.current_dir(plain.get_current_dir().unwrap());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .args(options)
        .arg("--")
        .arg(plain.get_program())
        .args(plain.get_args());
    command
}

/// Whether strace is there and may do its work; otherwise a word about it.
pub fn strace_works(what: &str) -> bool {
    let inject = "inject=getpid:signal=SIGCONT:when=1000";
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", inject, "true"]);
    let works = command.output().is_ok_and(|output| output.status.success());
    if !works {
        println!("{what}: skipped, since strace is not here or may not trace");
    }
    works
}

/// How often an undisturbed run makes each call: the most of any thread.
fn counts(life: Life) -> HashMap<String, usize> {
    let (scene, _cast) = life.scene();
    let log = scene.path("strace.log");
    let names: Vec<&str> = CALLS.iter().map(|(call, _)| *call).collect();
    let trace = format!("trace={}", names.join(","));
    let options = ["-f", "-qq", "-o", log.to_str().unwrap(), "-e", &trace];
    under_strace(&scene, &life.command(), &options).output().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    let calls = text.lines().filter_map(|line| {
        let (thread, rest) = line.split_once(' ')?;
        let (call, _) = rest.trim_start().split_once('(')?;
        Some((thread.to_owned(), call.to_owned()))
    });
    let mut most: HashMap<String, usize> = HashMap::new();
    for ((_, call), times) in tally(calls) {
        let before = most.entry(call).or_default();
        *before = times.max(*before);
    }
    most
}

/// Lets only so many through at a time: what works hard must not make everything else late.
struct Turnstile(Mutex<usize>, Condvar);

impl Turnstile {
    fn pass<R>(&self, work: impl FnOnce() -> R) -> R {
        let mut free = self.0.lock().unwrap();
        while *free == 0 {
            free = self.1.wait(free).unwrap();
        }
        *free -= 1;
        drop(free);
        let result = work();
        *self.0.lock().unwrap() += 1;
        self.1.notify_one();
        result
    }
}

#[test]
fn killed_at_every_system_call() {
    if !strace_works("kills at system calls") {
        return;
    }
    let mut random = random("kills at system calls");
    let mut points = Vec::new();
    for (life, most) in in_parallel(Life::ALL.len(), Life::ALL.into(), |life| (life, counts(life))) {
        for (call, stride) in CALLS {
            let most = most.get(call).copied().unwrap_or(0);
            points.extend((1..=most).step_by(stride).map(|nth| (life, call, nth)));
        }
    }
    let possible = points.len();
    random.shuffle(&mut points);
    points.truncate(pick(QUICK, LONG, TRIED));
    let turnstile = Turnstile(Mutex::new(4), Condvar::new());
    let outcomes = in_parallel(pick(12, 12, 48), points, |(life, call, nth)| {
        let about = format!("{life:?} killed at {call} {nth}");
        let (scene, cast, killed) = turnstile.pass(|| {
            let (scene, cast) = life.scene();
            let killed = traced(&scene, &life.command(), call, nth);
            (scene, cast, killed)
        });
        let job = life.job();
        let go_on = GoOn {
            job: &job,
            resume: nth % 2 == 0,
            wait: is_whole(),
        };
        let held = go_on.finish(&scene, &cast, &about);
        (killed, life, held)
    });
    let killed: Vec<_> = outcomes.iter().filter(|(killed, ..)| *killed).collect();
    println!(
        "{possible} points, {} tried, killed by life: {:?}; {} left something held",
        outcomes.len(),
        tally(killed.iter().map(|(_, life, _)| life)),
        killed.iter().filter(|(.., held)| *held > 0).count()
    );
    verdict("kills at distinct system calls", killed.len(), FIGURE);
    assert!(killed.len() * 2 >= outcomes.len(), "strace seldom kills");
}

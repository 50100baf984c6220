//! What the proofs share: how much is to be run, by which seed, how a run is let finish, and the verdict.

pub use crate::support::share::{is_whole, pick};
use crate::support::{Cast, Ran, Scene, check_doctor, check_promises};
use std::collections::{HashMap, VecDeque};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Chance that can be repeated.
pub fn random(what: &str) -> fastrand::Rng {
    let given = std::env::var("ROLLBOOK_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("{what}: ROLLBOOK_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Prints what was done, and in the whole insists on the figure.
#[track_caller]
pub fn verdict(what: &str, done: usize, figure: usize) {
    println!("{what}: {done} (of the whole's {figure})");
    assert!(
        !is_whole() || done >= figure,
        "{what}: {done}, fewer than {figure}"
    );
}

/// Works on all items with so many threads; the first panic is everybody's.
pub fn in_parallel<I: Send, R: Send>(workers: usize, items: Vec<I>, work: impl Fn(I) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(VecDeque::from(items));
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop_front();
                    let Some(item) = next else { return };
                    // A failure empties the queue, so that it is heard of soon.
                    let emptied = Emptied(&queue);
                    let result = work(item);
                    std::mem::forget(emptied);
                    done.lock().unwrap().push(result);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

struct Emptied<'q, I>(&'q Mutex<VecDeque<I>>);

impl<I> Drop for Emptied<'_, I> {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(|poison| poison.into_inner()).clear();
    }
}

/// Says what was being tried when something went wrong.
pub struct ToldOnPanic<'a>(pub &'a str);

impl Drop for ToldOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was: {}", self.0);
        }
    }
}

/// A process that does not outlive the test.
pub struct Running(pub Child);

impl Running {
    /// Starts a command, its output into the void.
    pub fn start(command: &mut Command) -> Self {
        let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(silent.spawn().unwrap())
    }

    /// Whether it has not ended yet.
    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// SIGKILL; whether it was still there to be killed.
    pub fn kill(&mut self) -> bool {
        let alive = self.is_alive();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        alive
    }

    /// SIGSTOP, and waits until no thread of it moves; false where it has ended meanwhile.
    pub fn stop(&mut self) -> bool {
        signal(self.0.id(), "STOP");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_stopped(self.0.id()) {
            if self.0.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    let mut command = Command::new("kill");
    command.arg(format!("-{name}")).arg(pid.to_string());
    // Who has ended meanwhile needs no signal.
    let _ = command.stderr(Stdio::null()).status();
}

/// Whether every thread of a process is stopped.
fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let mut states = threads.flatten().map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().unwrap_or_default().trim().chars().next()
    });
    states.all(|state| matches!(state, Some('T' | 't')))
}

/// How a job goes on after a kill.
pub struct GoOn<'a> {
    /// The command that began it.
    pub job: &'a [&'a str],
    /// Whether `resume` is tried first; there may be nothing to resume yet.
    pub resume: bool,
    /// Whether batches that never arrived are waited for and sent again, or left to be held.
    pub wait: bool,
}

impl GoOn<'_> {
    /// Runs to the end, and checks the promises: nothing twice, nothing missing. Returns how many are held.
    #[track_caller]
    pub fn finish(&self, scene: &Scene, cast: &Cast, about: &str) -> usize {
        self.finish_with(scene, cast, about, |arguments| scene.run(arguments))
    }

    /// The same for a run that is not simply started.
    #[track_caller]
    pub fn finish_with(
        &self,
        scene: &Scene,
        cast: &Cast,
        about: &str,
        run: impl Fn(&[&str]) -> Ran,
    ) -> usize {
        let _told = ToldOnPanic(about);
        let further = ["--in-doubt", "hold", "--settle-deadline", "5s"];
        let further = if self.wait { &[][..] } else { &further[..] };
        let resume = self.resumption();
        let mut ran = None;
        if self.resume {
            ran = Some(run(&[&resume, further].concat())).filter(|ran| !matches!(ran.code, Some(2 | 6)));
        }
        let ran = ran.unwrap_or_else(|| run(&[self.job, further].concat()));
        let right = ran.code == Some(0) || (!self.wait && ran.code == Some(3));
        assert!(
            right,
            "{about}: exit {:?}\n{}\n{}",
            ran.code, ran.stdout, ran.stderr
        );
        let held = self.check(scene, cast, about);
        assert_eq!(ran.code, Some(if held == 0 { 0 } else { 3 }), "{about}");
        held
    }

    /// The promises, and that everything else is as if nothing had happened.
    #[track_caller]
    fn check(&self, scene: &Scene, cast: &Cast, about: &str) -> usize {
        let ledger = self.ledger(scene);
        let export = scene.export_of(&ledger);
        check_promises(scene, &export);
        check_doctor(scene, &ledger);
        let times = scene.times_sent();
        assert_eq!(export.len(), cast.wanted.len(), "{about}: entries");
        let mut held = 0;
        for (email, (state, reason)) in &cast.wanted {
            let row = &export[email];
            if !self.wait && row["state"] == "batched" {
                assert_eq!(*state, "confirmed", "{about}: {email}");
                let arrived = times.contains_key(&row["profile_id"]);
                assert!(!arrived, "{about}: held, although it arrived: {email}");
                held += 1;
            } else {
                let found = (row["state"].as_str(), row["reason"].as_str());
                assert_eq!(found, (*state, *reason), "{about}: {email}: {row:?}");
            }
        }
        held
    }

    /// `resume` with the job's options.
    fn resumption(&self) -> Vec<&str> {
        let mut resume = vec!["resume"];
        let mut words = self.job[1..].iter();
        while let Some(word) = words.next() {
            match *word {
                "--status" => drop(words.next()),
                "list.csv" => {}
                word => resume.push(word),
            }
        }
        resume
    }

    fn ledger(&self, scene: &Scene) -> std::path::PathBuf {
        let at = self.job.iter().position(|word| *word == "--ledger");
        at.map_or_else(|| scene.path("rollbook.db"), |at| self.job[at + 1].into())
    }
}

/// Times that each was counted, for the line at the end.
pub fn tally<T: std::hash::Hash + Eq>(things: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    for thing in things {
        *counts.entry(thing).or_default() += 1;
    }
    counts
}

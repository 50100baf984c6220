//! The tenant itself: memory, files, faults and clocks under one roof, shared by the server and the handle.
//!
//! All changes go through here, because each of them must reach the memory and the state file in the same order. This
//! file may not know about HTTP.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::SandboxError;
use super::hostile::Spoiler;
use super::journal::{Books, Line};
use super::log::Log;
use super::options::{Options, UnknownIds};
use super::queue::{Action, Batch, Millis, Queue, Rules, Write, millis};
use super::throttle::{Throttle, Verdict};
use super::world::{MOST_STATUSES, World};

/// Everything the server and the handle share.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) options: Options,
    /// The absolute address that all routes lie under.
    pub(super) address: String,
    pub(super) log: Log,
    memory: RwLock<Memory>,
    throttle: Option<Mutex<Throttle>>,
    latency: AtomicU64,
    revoked: AtomicBool,
    /// Changes the answers of a hostile tenant.
    pub(super) spoiler: Option<Mutex<Spoiler>>,
    /// Rung when there is a new batch to apply.
    bell: Notify,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) world: World,
    pub(super) queue: Queue,
    books: Books,
    faults: fastrand::Rng,
    /// Set when the server stops: requests that are still on their way must not reach the files any more.
    closed: bool,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is queued under this batch id.
    Queued(String),
    /// It is queued, and the answer gets lost.
    AnswerLost,
    /// It never arrived.
    Dropped,
    /// Entries at these positions name no profile.
    Unknown(Vec<usize>),
    /// The tenant cannot take writes now.
    Unavailable,
}

impl Tenant {
    /// A tenant as its options and its state file describe it.
    pub(super) fn open(options: Options, address: String) -> Result<Self, SandboxError> {
        if options.statuses.len() > MOST_STATUSES {
            return Err(SandboxError::TooManyStatuses(options.statuses.len()));
        }
        let (books, remembered) = Books::open(&options)?;
        let mut memory = Memory {
            world: World::new(&options),
            queue: Queue::default(),
            books,
            faults: fastrand::Rng::new(),
            closed: false,
        };
        for line in remembered {
            memory.replay(line);
        }
        // The dice go on with the number of writes, so that a restarted server does not throw the same ones again.
        let thrown = memory.queue.len() as u64;
        memory.faults.seed(options.seed.wrapping_add(thrown << 32));
        Ok(Self {
            address,
            log: Log::new(),
            memory: RwLock::new(memory),
            throttle: Throttle::of(&options, Instant::now()).map(Mutex::new),
            latency: AtomicU64::new(nanoseconds(options.latency)),
            revoked: AtomicBool::new(false),
            spoiler: options.hostile.map(|hostile| Mutex::new(Spoiler::new(hostile))),
            bell: Notify::new(),
            options,
        })
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().expect("BUG: the memory is poisoned")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().expect("BUG: the memory is poisoned")
    }

    /// Whether this is the tenant's own token and still good.
    pub(super) fn knows(&self, token: Option<&str>) -> bool {
        !self.revoked.load(Ordering::Relaxed) && token == Some(self.options.token.as_str())
    }

    pub(super) fn revoke_token(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_nanos(self.latency.load(Ordering::Relaxed))
    }

    pub(super) fn set_latency(&self, latency: Duration) {
        self.latency.store(nanoseconds(latency), Ordering::Relaxed);
    }

    /// Counts a request against the rate limit, if there is one.
    pub(super) fn knock(&self, token: Option<&str>) -> Option<Verdict> {
        let throttle = self.throttle.as_ref()?;
        let stranger = token != Some(self.options.token.as_str());
        let mut throttle = throttle.lock().expect("BUG: the throttle is poisoned");
        Some(throttle.knock(stranger, Instant::now()))
    }

    /// Takes a write, or finds out why not.
    pub(super) fn take(&self, action: Action, members: Vec<(String, Vec<String>)>) -> Taken {
        let mut guard = self.write();
        let memory = &mut *guard;
        if memory.closed {
            return Taken::Unavailable;
        }
        if self.options.unknown_ids == UnknownIds::Reject {
            let unknown = memory.unknown(&members);
            if !unknown.is_empty() {
                return Taken::Unknown(unknown);
            }
        }
        let dice = memory.faults.f64() * 100.0;
        if dice < self.options.drop_writes_percent {
            return Taken::Dropped;
        }
        let batch_id = memory.queue.next_id(self.options.seed);
        let write = Write {
            batch_id: batch_id.clone(),
            action,
            at: SystemTime::now(),
            members,
        };
        if memory.books.note_write(&write).is_err() {
            return Taken::Unavailable;
        }
        memory.queue.accept(write, &memory.world);
        drop(guard);
        self.bell.notify_one();
        if dice < self.options.drop_writes_percent + self.options.lose_answers_percent {
            return Taken::AnswerLost;
        }
        Taken::Queued(batch_id)
    }

    /// Whether a batch may be looked up by its id yet.
    pub(super) fn admits(&self, batch: &Batch) -> bool {
        let age = millis(SystemTime::now()).saturating_sub(batch.accepted);
        Duration::from_millis(age) >= self.options.not_found_for
    }

    /// Applies and shows batches when their time has come, for as long as the server runs.
    pub(super) async fn work(self: Arc<Self>) {
        loop {
            match self.advance(millis(SystemTime::now())) {
                Some(rest) => {
                    // Being woken early by a new batch is harmless: there is nothing to do yet, and the loop waits on.
                    let _ = tokio::time::timeout(rest, self.bell.notified()).await;
                }
                None => self.bell.notified().await,
            }
        }
    }

    /// Does what is due by now, and tells how long it is until something else is.
    fn advance(&self, now: Millis) -> Option<Duration> {
        let mut guard = self.write();
        let memory = &mut *guard;
        let apply_delay = |before: usize| {
            let usual = self.options.apply_delay;
            milliseconds(
                self.options
                    .hostile
                    .map_or(usual, |hostile| hostile.apply_delay(usual, before)),
            )
        };
        let show_delay = milliseconds(self.options.show_delay);
        let rules = Rules {
            unknown_pass: self.options.unknown_ids == UnknownIds::Silent,
            effective: !self.options.drop_handle_effect,
        };
        loop {
            if memory.closed {
                return None;
            }
            let hidden = memory
                .queue
                .first_hidden()
                .and_then(|batch| batch.applied.as_ref());
            let shows = hidden.map(|applied| applied.at_ms.saturating_add(show_delay));
            let waiting = memory.queue.first_waiting();
            let before = memory.queue.applied();
            let applies = waiting.map(|batch| batch.accepted.saturating_add(apply_delay(before)));
            // What was applied earlier is shown first, so effects keep the order of their batches.
            let line = if shows.is_some_and(|due| due <= now) {
                Line::Shown
            } else if applies.is_some_and(|due| due <= now) {
                Line::Applied(memory.queue.outcome(&memory.world, now, rules)?)
            } else {
                let next = shows.into_iter().chain(applies).min()?;
                return Some(Duration::from_millis(next - now));
            };
            memory.happen(line);
        }
    }

    /// Lets something happen that somebody else does to the tenant.
    pub(super) fn edit(&self, line: Line) {
        self.write().happen(line);
    }

    /// Ends all changes and lets go of the files.
    pub(super) fn close(&self) {
        // Even a poisoned memory must be closed, and a panic while something is dropped would end the whole process.
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        memory.closed = true;
        memory.books = Books::default();
    }
}

fn milliseconds(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Memory {
    /// The positions of the entries that name no profile.
    fn unknown(&self, members: &[(String, Vec<String>)]) -> Vec<usize> {
        let nobody = |(_, (id, _)): &(usize, &(String, Vec<String>))| self.world.find(id).is_none();
        let unknown = members.iter().enumerate().filter(nobody);
        unknown.map(|(position, _)| position).collect()
    }

    /// Writes a line down and carries it out.
    ///
    /// A failed append is not lost on the client: the books stay broken, and from then on no write is taken.
    fn happen(&mut self, line: Line) {
        let _ = self.books.note(&line);
        self.replay(line);
    }

    /// Carries out a line, live or from the state file.
    fn replay(&mut self, line: Line) {
        match line {
            // The header was compared when the file was opened.
            Line::Header(_) => {}
            Line::Accepted(write) => self.queue.accept(write, &self.world),
            Line::Applied(applied) => self.queue.apply(applied),
            Line::Shown => self.queue.show(&mut self.world),
            Line::ProfileDeleted { profile_id } => {
                if let Some(index) = self.world.find(&profile_id) {
                    self.world.delete(index);
                }
            }
            Line::StatusesSet { profile_id, statuses } => {
                if let Some(index) = self.world.find(&profile_id) {
                    let bits = self.world.bits(statuses.iter().map(String::as_str));
                    self.world.replace(index, bits);
                }
            }
            Line::EmailSet { profile_id, email } => {
                if let Some(index) = self.world.find(&profile_id) {
                    self.world.rename(index, email);
                }
            }
            Line::StatusDeleted { handle } => {
                self.world.delete_status(&handle);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::OpenFile;
    use super::*;
    use std::path::Path;

    fn open(options: &Options) -> Tenant {
        Tenant::open(options.clone(), "http://127.0.0.1:1/api/v3".to_owned()).unwrap()
    }

    fn members(tenant: &Tenant, indices: &[u32]) -> Vec<(String, Vec<String>)> {
        let memory = tenant.read();
        let member = |index: &u32| (memory.world.profile_id(*index), vec!["gold".to_owned()]);
        indices.iter().map(member).collect()
    }

    fn take(tenant: &Tenant, action: Action, indices: &[u32]) -> Taken {
        tenant.take(action, members(tenant, indices))
    }

    fn kept(path: &Path) -> Options {
        Options {
            profiles: 100,
            apply_delay: Duration::from_secs(60),
            show_delay: Duration::from_secs(60),
            state: Some(OpenFile::new(
                path,
                std::fs::File::options()
                    .create(true)
                    .truncate(false)
                    .read(true)
                    .write(true)
                    .open(path)
                    .unwrap(),
            )),
            ..Options::default()
        }
    }

    #[test]
    fn a_restart_finds_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let options = kept(&folder.path().join("state.jsonl"));
        let first = open(&options);
        let now = millis(SystemTime::now());
        take(&first, Action::Attach, &[1, 2, 3]);
        first.advance(now + 61_000);
        take(&first, Action::Detach, &[2]);
        let id = first.read().world.profile_id(9);
        first.edit(Line::EmailSet {
            profile_id: id,
            email: "late@example.com".to_owned(),
        });
        let before = first.read().queue.writes(&first.read().world);
        drop(first);

        let second = open(&options);
        assert_eq!(second.read().queue.writes(&second.read().world), before);
        assert!(
            second
                .read()
                .queue
                .newest_first()
                .last()
                .unwrap()
                .applied
                .is_some()
        );
        assert!(second.read().world.holders("gold").is_empty());
        assert_eq!(second.read().world.bearers("late@example.com"), [9]);
        second.advance(now + 130_000);
        assert_eq!(second.read().world.holders("gold").len(), 3);
        second.advance(now + 250_000);
        assert_eq!(second.read().world.holders("gold").len(), 2);
        let Taken::Queued(third) = take(&second, Action::Attach, &[5]) else {
            panic!("the restarted tenant took no write");
        };
        assert!(before.iter().all(|write| write.batch_id != third));
    }

    #[test]
    fn lost_answers_are_taken_and_dropped_writes_are_not() {
        let options = Options {
            profiles: 10,
            lose_answers_percent: 30.0,
            drop_writes_percent: 30.0,
            ..Options::default()
        };
        let tenant = open(&options);
        let taken: Vec<Taken> = (0..200).map(|_| take(&tenant, Action::Attach, &[1])).collect();
        let count = |wanted: &Taken| taken.iter().filter(|taken| *taken == wanted).count();
        let (lost, dropped) = (count(&Taken::AnswerLost), count(&Taken::Dropped));
        assert!((30..90).contains(&lost) && (30..90).contains(&dropped));
        assert_eq!(tenant.read().queue.len(), 200 - dropped);
    }

    #[test]
    fn unknown_ids_are_pointed_out_or_taken() {
        for (unknown_ids, refused) in [
            (UnknownIds::Reject, true),
            (UnknownIds::Item, false),
            (UnknownIds::Silent, false),
        ] {
            let tenant = open(&Options {
                profiles: 10,
                unknown_ids,
                ..Options::default()
            });
            let mut members = members(&tenant, &[1, 2]);
            members[1].0 = "nobody".to_owned();
            let taken = tenant.take(Action::Attach, members);
            assert_eq!(taken == Taken::Unknown(vec![1]), refused);
        }
    }

    #[test]
    fn a_closed_tenant_takes_nothing_and_frees_its_state() {
        let folder = tempfile::tempdir().unwrap();
        let options = kept(&folder.path().join("state.jsonl"));
        let tenant = open(&options);
        tenant.close();
        assert_eq!(take(&tenant, Action::Attach, &[1]), Taken::Unavailable);
        assert_eq!(open(&options).read().queue.len(), 0);
    }
}

//! Where a process finds the record: in the file that it shares with others, or in its own memory.
//!
//! A file that cannot be used (a full disk, a lock that nobody lets go of, another version's) is done without after a
//! second: the process goes on alone, at its own rate, with whatever others send counted as used at that moment, and says
//! why. It tries the file again every second, and then tells it what it has sent meanwhile.

use super::Past;
use super::budget::{self, Budget};
use super::ceiling::{Nanos, nanos};
use super::record::{Ask, Record, Reply, Told};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How soon others are told of answers, and of anything.
const UNTOLD: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_secs(1);
/// How soon a budget that cannot be used is tried again, and when it is done without until then.
const TRY_AGAIN: Duration = Duration::from_millis(20);
const ALONE_AFTER: Duration = Duration::from_secs(1);
/// When a process that is alone began, by a clock of its own: more than any window before.
const ALONE_EPOCH: Duration = Duration::from_secs(86_400);

/// Where the record is kept: with others, or by this process alone.
pub(super) struct Books {
    id: u64,
    /// One instant by both clocks.
    epoch: (Instant, Nanos),
    budget: Option<Budget>,
    is_guest: bool,
    /// This process's own record, and why it is used where one is to be shared.
    own: Option<Record>,
    pub(super) alone: Option<Arc<str>>,
    failing_since: Option<Instant>,
    pub(super) past: Past,
    asked: Option<Instant>,
    /// When requests were answered that the record has not been told of.
    untold: Vec<Nanos>,
    /// Requests that the tenant has accepted from us, and from the others.
    pub(super) accepted: u64,
    pub(super) others_accepted: Option<u64>,
    /// When a guest, which binds nobody, may go by its own rate.
    next_of_guest: Nanos,
}

impl Books {
    pub(super) fn open(budget: Option<Budget>, now: Instant) -> Self {
        // Alone, everything is reckoned from its own start, so that a simulation repeats itself.
        let epoch = if budget.is_some() {
            budget::now()
        } else {
            nanos(ALONE_EPOCH)
        };
        let epoch = (now, epoch);
        Self {
            id: if budget.is_some() { fastrand::u64(1..) } else { 0 },
            epoch,
            is_guest: budget.as_ref().is_some_and(|budget| !budget.binds),
            own: budget.is_none().then(|| Record::unknown(epoch.1)),
            budget,
            alone: None,
            failing_since: None,
            past: Past::Unknown,
            asked: None,
            untold: Vec::new(),
            accepted: 0,
            others_accepted: None,
            next_of_guest: 0,
        }
    }

    pub(super) fn nanos(&self, at: Instant) -> Nanos {
        let (here, there) = self.epoch;
        match at.checked_duration_since(here) {
            Some(since) => there.saturating_add(nanos(since)),
            None => there.saturating_sub(nanos(here - at)),
        }
    }

    pub(super) fn instant(&self, at: Nanos) -> Instant {
        let (here, there) = self.epoch;
        let before = || here.checked_sub(Duration::from_nanos(there - at)).unwrap_or(here);
        at.checked_sub(there)
            .map_or_else(before, |since| here + Duration::from_nanos(since))
    }

    pub(super) fn is_shared(&self) -> bool {
        self.budget.is_some()
    }

    pub(super) fn answered(&mut self, now: Instant) {
        self.untold.push(self.nanos(now));
    }

    /// When the record is to be asked although nobody wants to go.
    pub(super) fn next_sign(&self) -> Option<Instant> {
        let after = if self.untold.is_empty() || self.alone.is_some() {
            QUIET
        } else {
            UNTOLD
        };
        self.budget.as_ref()?;
        Some(self.asked.map_or(self.epoch.0, |asked| asked + after))
    }

    /// Others are to hear at once what has been learned.
    pub(super) fn sign_now(&mut self) {
        self.asked = None;
    }

    pub(super) async fn ask(&mut self, now: Instant, mut ask: Ask) -> Reply {
        ask.id = self.id;
        ask.now = self.nanos(now);
        ask.binds = !self.is_guest;
        ask.accepted = self.accepted;
        ask.answered = std::mem::take(&mut self.untold);
        if let Some(want) = &mut ask.want {
            want.from = want.from.max(self.next_of_guest);
            // Its own rate may be lower, so that it takes no turn ahead.
            want.more &= !self.is_guest;
        }
        let due = self.alone.is_none() || self.asked.is_none_or(|asked| asked + QUIET <= now);
        let shared = match self.budget.take_if(|_| due) {
            Some(budget) => self.ask_others(now, budget, &ask).await,
            None => None,
        };
        let reply = match (shared, &mut self.own) {
            (Some(reply), _) => reply,
            (None, Some(own)) => own.ask(&ask),
            (None, None) => {
                self.untold = std::mem::take(&mut ask.answered);
                return Reply {
                    turn: ask.want.and_then(|want| want.turn),
                    again: Some(ask.now + nanos(TRY_AGAIN)),
                    ..Reply::default()
                };
            }
        };
        self.others_accepted = Some(reply.accepted);
        if self.is_guest && reply.go {
            self.next_of_guest = ask.now + slowest(&ask.told);
        }
        reply
    }

    /// Asks the record that is shared. It is a file, so that is done where nobody else is held up.
    async fn ask_others(&mut self, now: Instant, mut budget: Budget, ask: &Ask) -> Option<Reply> {
        self.asked = Some(now);
        if let Some(own) = &self.own {
            budget.back(own.clone());
        }
        let ask = ask.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let reply = budget.ask(&ask);
            (budget, reply)
        });
        let (budget, reply) = match asked.await {
            Ok(asked) => asked,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The whole run ends.
            Err(_) => return None,
        };
        let reply = match reply {
            Ok(reply) => {
                (self.failing_since, self.alone, self.own) = (None, None, None);
                self.past = budget.past;
                Some(reply)
            }
            Err(why) => {
                let since = *self.failing_since.get_or_insert(now);
                if now - since >= ALONE_AFTER && self.own.is_none() {
                    let place = budget.folder().display();
                    self.alone =
                        Some(format!("the record of requests in {place} cannot be used ({why})").into());
                    self.own = Some(budget.alone(self.nanos(now)));
                }
                None
            }
        };
        self.budget = Some(budget);
        reply
    }
}

/// The time between two requests by the slowest of these.
fn slowest(told: &[Told]) -> Nanos {
    told.iter()
        .map(|told| told.length / u64::from(told.most.max(1)))
        .max()
        .unwrap_or(0)
}

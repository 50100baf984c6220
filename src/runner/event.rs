//! What a run tells the outside while it goes on. It names facts; how they look is a renderer's business.

pub use super::plan::{Plan, PlannedList};
pub use crate::api::pacing::Past;
use crate::ledger::Loaded;
use crate::model::batch::BatchState;
use crate::model::entry::EntryState;
use crate::model::ids::{BatchId, BatchNo};
use crate::model::spent::{CommandTime, Spent};
use std::sync::Arc;
use std::time::Duration;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A list is being read: its name, rows so far, and the share of its bytes that is read, where known.
    Loading {
        /// The list's name.
        list: String,
        /// Rows so far.
        rows: u64,
        /// Between 0 and 1.
        share: Option<f64>,
    },
    /// A list has been read to its end.
    ListRead {
        /// The list's name.
        list: String,
        /// How it was read, for people.
        layout: String,
        /// What became of it.
        loaded: Loaded,
    },
    /// The tenant is asked what it supports, before there is a plan.
    Asking {
        /// Requests made so far.
        requests: u64,
        /// About how many it will be.
        about: u64,
    },
    /// This is about to be done.
    Planned(Box<Plan>),
    /// The run has begun, or goes on from where an earlier one stopped.
    Began {
        /// How the ledger looked then.
        progress: Progress,
    },
    /// A batch was accepted by the tenant.
    Accepted {
        /// Which one.
        batch: BatchNo,
        /// How many members it has.
        members: usize,
        /// The tenant's id.
        batch_id: BatchId,
    },
    /// Something that somebody should know, in one line.
    Notice(String),
    /// How far the run is. Sent several times a second; a renderer may drop any of them.
    Progress(Progress),
    /// No new work is taken; what is under way is being recorded.
    Stopping {
        /// Whether a person asked for it just now.
        as_asked: bool,
        /// Why.
        why: String,
        /// Requests under way.
        under_way: usize,
    },
    /// The run is over, and so is the command but for what it says.
    Ended {
        /// Where its time went.
        time: Box<CommandTime>,
        /// Requests made by it.
        requests: u64,
    },
}

/// How far a run is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Entries by state: pending, resolved, batched, confirmed, skipped, ambiguous, failed.
    pub entries: [u64; 7],
    /// Batches that were accepted and are not settled.
    pub accepted: u64,
    /// Batches that may or may not have arrived.
    pub in_doubt: u64,
    /// Batches that wait for another look in a later run.
    pub held: u64,
    /// Batches that the tenant has accepted from this run.
    pub sent: u64,
    /// Batches that this run has settled.
    pub settled: u64,
    /// Questions that it took to settle them.
    pub settling_took: u64,
    /// Requests made by this run.
    pub requests: u64,
    /// Requests a second over the last seconds.
    pub per_second: f64,
    /// Time since the run began.
    pub elapsed: Duration,
    /// What that time was spent on.
    pub spent: Spent,
    /// About how long it will take, where that can be said.
    pub left: Option<Duration>,
    /// Why nothing moves, where nothing does.
    pub waiting: Option<String>,
}

impl Progress {
    /// Entries in a state.
    pub fn in_state(&self, state: EntryState) -> u64 {
        self.entries[state.code() as usize]
    }

    /// Moves one entry from a state to another.
    pub fn moved(&mut self, from: EntryState, to: EntryState) {
        self.entries[from.code() as usize] -= 1;
        self.entries[to.code() as usize] += 1;
    }

    /// All entries.
    pub fn total(&self) -> u64 {
        self.entries.iter().sum()
    }

    /// Entries with nothing left to do.
    pub fn done(&self) -> u64 {
        EntryState::ALL
            .into_iter()
            .filter(|state| state.is_final())
            .map(|state| self.in_state(state))
            .sum()
    }

    /// What most of the remaining work is.
    pub fn stage(&self) -> &'static str {
        if self.in_state(EntryState::Pending) > 0 {
            "resolving"
        } else if self.in_state(EntryState::Resolved) > 0 {
            "sending"
        } else if self.in_state(EntryState::Batched) > 0 {
            "settling"
        } else {
            "done"
        }
    }
}

/// Where events go. Cheap to clone; never blocks and never fails, whether anybody listens or not.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    /// Hands every event to `listener`, which must return at once.
    pub fn to(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Tells one event.
    pub fn tell(&self, event: Event) {
        log(&event);
        (self.0)(event);
    }

    /// Tells a line that somebody should know.
    pub fn notice(&self, line: impl Into<String>) {
        self.tell(Event::Notice(line.into()));
    }
}

/// What the log keeps of an event. Signs of life are too many, and lists may be named after people.
fn log(event: &Event) {
    match event {
        Event::Planned(plan) => {
            let (work, lookup, why) = (plan.work, plan.choice.way, plan.choice.because.as_str());
            let (requests, seconds) = (
                plan.forecast.requests.total(),
                plan.duration.map(|time| time.as_secs()),
            );
            tracing::info!(?work, ?lookup, why, requests, seconds, "planned");
        }
        Event::Accepted {
            batch,
            members,
            batch_id,
        } => tracing::info!(batch = batch.0, members, batch_id = batch_id.as_str(), "accepted"),
        Event::Notice(text) => tracing::info!(text, "notice"),
        Event::Stopping { why, under_way, .. } => tracing::info!(why, under_way, "stopping"),
        Event::Ended { time, requests } => {
            let unit = Duration::from_secs(1);
            let (seconds, before_s, [rate_s, slow_down_s, answers_s, outage_s, batches_s, own_work_s]) =
                time.in_units(unit);
            tracing::info!(
                requests,
                seconds,
                before_s,
                rate_s,
                slow_down_s,
                answers_s,
                outage_s,
                batches_s,
                own_work_s,
                "run ended"
            );
        }
        Event::Loading { .. }
        | Event::ListRead { .. }
        | Event::Asking { .. }
        | Event::Began { .. }
        | Event::Progress(_) => {}
    }
}

/// Batches by state, as a restart finds them.
pub fn count_batches(progress: &mut Progress, states: impl IntoIterator<Item = BatchState>) {
    for state in states {
        match state {
            BatchState::Accepted => progress.accepted += 1,
            BatchState::Sending | BatchState::InDoubt | BatchState::Held => progress.in_doubt += 1,
            BatchState::Sealed | BatchState::Settled | BatchState::Refused => {}
        }
    }
}

//! Keeps account of what the run waits for, from one turn to the next.

use crate::model::spent::{Cause, Spent};
use tokio::time::Instant;

/// Since when the run has waited for what, and for what before.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    spent: Spent,
    cause: Cause,
    since: Instant,
}

impl Account {
    /// Opens an account.
    pub(in crate::api) fn open(now: Instant) -> Self {
        Self {
            spent: Spent::default(),
            cause: Cause::OwnWork,
            since: now,
        }
    }

    /// From now on the run waits for this; says whether that is something else than before.
    pub(in crate::api) fn turn(&mut self, now: Instant, cause: Cause) -> bool {
        if cause == self.cause {
            return false;
        }
        self.spent = self.until(now);
        (self.cause, self.since) = (cause, now);
        self.spent.slow_downs += u64::from(cause == Cause::SlowDown);
        true
    }

    /// The account as it stands now.
    pub fn until(&self, now: Instant) -> Spent {
        let mut spent = self.spent;
        spent.add(self.cause, now.saturating_duration_since(self.since));
        spent
    }
}

/// What the gate sees at a moment in which nothing can go through it.
pub(in crate::api) struct Moment {
    /// Somebody wants to ask.
    pub waiting: bool,
    /// Requests under way.
    pub under_way: usize,
    /// No more may be.
    pub full: bool,
    /// Everybody is held until the tenant may be asked again.
    pub paused: bool,
    /// The tenant was not seen to be well since it last failed.
    pub failing: bool,
    /// Somebody has nothing to ask until the tenant has got on with its own work.
    pub resting: bool,
}

/// What the run waits for until the next thing happens at the gate.
pub(in crate::api) fn cause(moment: Moment) -> Cause {
    match moment {
        Moment {
            waiting: false,
            under_way: 0,
            resting,
            ..
        } if resting => Cause::Batches,
        Moment {
            waiting: false,
            under_way: 0,
            ..
        } => Cause::OwnWork,
        Moment { failing: true, .. } => Cause::Outage,
        Moment {
            waiting: true,
            paused: true,
            ..
        } => Cause::SlowDown,
        Moment {
            waiting: true,
            full: false,
            ..
        } => Cause::Rate,
        _ => Cause::Answers,
    }
}

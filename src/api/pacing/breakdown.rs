//! The time breakdown: what the run waits for, from one turn to the next.

use super::Message;
use crate::model::spent::{Cause, Spent};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Since when the run has waited for what, and for what before.
#[derive(Clone, Copy, Debug)]
pub struct TimeBreakdown {
    spent: Spent,
    cause: Cause,
    since: Instant,
    /// So many tasks wait for the tenant's own work.
    resting: u32,
}

impl TimeBreakdown {
    /// Begins with nothing.
    pub(super) fn begin(now: Instant) -> Self {
        Self {
            spent: Spent::default(),
            cause: Cause::OwnWork,
            since: now,
            resting: 0,
        }
    }

    /// From now on the run waits for this; says whether that is something else than before.
    pub(super) fn turn(&mut self, now: Instant, cause: Cause) -> bool {
        if cause == self.cause {
            return false;
        }
        self.settle(now);
        self.cause = cause;
        self.spent.slow_downs += u64::from(cause == Cause::SlowDown);
        true
    }

    /// From now on one task more, or one fewer, waits for the tenant's own work.
    pub(super) fn rest(&mut self, now: Instant, begins: bool) {
        self.settle(now);
        self.resting = if begins {
            self.resting + 1
        } else {
            self.resting - 1
        };
    }

    /// Whether any task waits for the tenant's own work.
    pub(super) fn is_resting(&self) -> bool {
        self.resting > 0
    }

    fn settle(&mut self, now: Instant) {
        self.spent = self.until(now);
        self.since = now;
    }

    /// What has been spent by now.
    pub fn until(&self, now: Instant) -> Spent {
        let mut spent = self.spent;
        let passed = now.saturating_duration_since(self.since);
        spent.add(self.cause, passed);
        spent.rested += passed * self.resting;
        spent
    }
}

/// What the gate sees at a moment in which nothing can go through it.
pub(super) struct Moment {
    /// Somebody wants to ask.
    pub waiting: bool,
    /// Requests in flight.
    pub in_flight: usize,
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
pub(super) fn cause(moment: Moment) -> Cause {
    match moment {
        Moment {
            waiting: false,
            in_flight: 0,
            resting,
            ..
        } if resting => Cause::Batches,
        Moment {
            waiting: false,
            in_flight: 0,
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

/// Says, for as long as it lives, that somebody waits for the tenant's own work and has nothing to ask.
#[derive(Debug)]
pub struct Rest(pub(super) mpsc::UnboundedSender<Message>);

impl Drop for Rest {
    fn drop(&mut self) {
        // The gate is gone only where the whole run is.
        let _ = self.0.send(Message::Rest(false));
    }
}

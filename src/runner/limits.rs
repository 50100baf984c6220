//! When a run ends by itself, and what it may still begin before that.
//!
//! Nothing new is begun where it could not be brought to its end: a look-up leaves enough for the batch that it may
//! lead to, and a batch is sent only where it can be settled. That is reckoned, so the gate itself lets nothing
//! through beyond the number either.

use super::coordinator::Left;
use std::time::Duration;

/// How long batches that are under way when the time is up are still polled and read back.
pub const GRACE: Duration = Duration::from_secs(60);

/// Requests that a look-up may take: a second spelling, a second page.
const LOOKUP: u64 = 2;

/// When a run ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// From when on nothing new is begun, in milliseconds since 1970 UTC.
    pub until_ms: Option<i64>,
    /// How many requests the run may make, those that looked around before it included.
    pub requests: Option<u64>,
}

/// What may still be begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Nothing at all.
    pub time_is_up: bool,
    /// So many requests, where they are limited.
    pub requests: Option<u64>,
    /// About how many it takes to send a batch and to settle it.
    pub batch: u64,
}

/// What is under way, and needs requests to come to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnderWay {
    /// Look-ups.
    pub lookups: usize,
    /// Batches that are being sent or settled, or in doubt.
    pub batches: usize,
}

impl Allowance {
    /// Whether one more look-up may begin; `leads_to_batch` where who is found will be sent.
    pub fn covers_lookup(&self, under_way: UnderWay, leads_to_batch: bool) -> bool {
        self.covers(under_way, LOOKUP + if leads_to_batch { self.batch } else { 0 })
    }

    /// Whether one more batch may be sent.
    pub fn covers_batch(&self, under_way: UnderWay) -> bool {
        self.covers(under_way, self.batch)
    }

    fn covers(&self, under_way: UnderWay, more: u64) -> bool {
        let reserved = under_way.lookups as u64 * LOOKUP + under_way.batches as u64 * self.batch;
        !self.time_is_up && self.requests.is_none_or(|left| reserved + more <= left)
    }

    /// Why the rest is left for later, if it is.
    pub fn cut_short(&self, leads_to_batch: bool) -> Option<Left> {
        match () {
            () if self.time_is_up => Some(Left::TimeIsUp),
            () if !self.covers_lookup(UnderWay::default(), leads_to_batch) => Some(Left::RequestsSpent),
            () => None,
        }
    }
}

/// A time as people say it: seconds up to two minutes, then minutes, rounded up.
pub(super) fn about(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1_000);
    if seconds <= 120 {
        format!("{seconds} s")
    } else {
        format!("{} min", seconds.div_ceil(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_provided_for() {
        let allowance = Allowance {
            requests: Some(30),
            batch: 10,
            ..Allowance::default()
        };
        let under_way = |lookups, batches| UnderWay { lookups, batches };
        assert!(allowance.covers_lookup(under_way(4, 1), true));
        assert!(!allowance.covers_lookup(under_way(5, 1), true));
        assert!(allowance.covers_lookup(under_way(9, 1), false));
        assert!(allowance.covers_batch(under_way(0, 2)));
        assert!(!allowance.covers_batch(under_way(1, 2)));
        assert_eq!(allowance.cut_short(true), None);
    }

    #[test]
    fn without_limits_everything_may_begin_and_after_the_time_nothing() {
        let free = Allowance {
            batch: u64::MAX / 1_000,
            ..Allowance::default()
        };
        let much = UnderWay {
            lookups: 500,
            batches: 60,
        };
        assert!(free.covers_lookup(much, true) && free.covers_batch(much));
        assert_eq!(free.cut_short(true), None);
        let late = Allowance {
            time_is_up: true,
            ..free
        };
        assert!(!late.covers_batch(UnderWay::default()));
        assert_eq!(late.cut_short(false), Some(Left::TimeIsUp));
        let spent = Allowance {
            requests: Some(1),
            ..free
        };
        assert_eq!(spent.cut_short(false), Some(Left::RequestsSpent));
    }
}

//! Departures at even distances, at a rate that may change from one to the next.
//!
//! The place after the last departure is reserved, however late its wake-up was; so nothing is lost to timers, which
//! are a millisecond coarse, and nothing is gained by a change of rate. What late wake-ups bunch, the windows bound.

use std::time::Duration;
use tokio::time::Instant;

/// How far a departure may lag behind its place without losing it.
const SLACK: Duration = Duration::from_millis(20);

/// When the next request departs, if the even pace is all that holds it up.
#[derive(Debug)]
pub(super) struct Spread {
    next: Instant,
    /// How many requests may be made up for after a moment in which there were none.
    ahead: u32,
}

impl Spread {
    /// Starts with nothing to make up for: what an earlier process left unused is not known.
    pub(super) fn new(now: Instant, ahead: u32) -> Self {
        Self { next: now, ahead }
    }

    /// The earliest departure.
    pub(super) fn next_departure(&self) -> Instant {
        self.next
    }

    /// Notes a departure, at a pace of so many a second.
    pub(super) fn depart(&mut self, now: Instant, per_second: f64) {
        let slack = Duration::from_secs_f64(f64::from(self.ahead) / per_second).max(SLACK);
        let lagging = now.checked_sub(slack).unwrap_or(now);
        self.next = self.next.max(lagging) + Duration::from_secs_f64(1.0 / per_second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn late_departures_keep_their_places_and_idle_ones_lose_them() {
        let start = Instant::now() + MS * 60_000;
        let mut spread = Spread::new(start, 0);
        for place in 0..10 {
            assert_eq!(spread.next_departure(), start + MS * 100 * place);
            spread.depart(start + MS * (100 * place + place), 10.0);
        }
        let later = start + MS * 5_000;
        spread.depart(later, 10.0);
        assert_eq!(
            spread.next_departure(),
            later + MS * 80,
            "only the slack is made up for"
        );
    }

    #[test]
    fn a_moment_without_requests_is_made_up_for_as_far_as_a_shorter_span_allows() {
        let start = Instant::now() + MS * 60_000;
        let mut spread = Spread::new(start, 4);
        let idle = start + MS * 30_000;
        let mut at_once = 0;
        while spread.next_departure() <= idle {
            spread.depart(idle, 10.0);
            at_once += 1;
        }
        assert_eq!(at_once, 4 + 1);
    }

    #[test]
    fn a_change_of_rate_neither_loses_nor_gains_a_place() {
        let start = Instant::now() + MS * 60_000;
        let mut spread = Spread::new(start, 0);
        spread.depart(start, 10.0);
        spread.depart(start + MS * 100, 20.0);
        assert_eq!(spread.next_departure(), start + MS * 150);
    }
}

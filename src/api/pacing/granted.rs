//! How much a tenant has granted since it last objected, and when.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The finest step in time.
const STEP: Duration = Duration::from_millis(250);
/// Steps that are kept; beyond, pairs of them become one.
const STEPS: usize = 512;
/// The shortest stretch and the fewest requests that a rate is read from.
const SHORTEST: Duration = Duration::from_secs(2);
const FEWEST: u64 = 20;
/// A hold that comes after so long a time, and is so short, is rounding but for the time of one request.
const LONG_AGO: Duration = Duration::from_secs(3);
const ROUNDING: Duration = Duration::from_secs(2);
/// A rate that was accepted for twice as long is no burst.
const PROOF: Duration = Duration::from_secs(5);

/// Accepted requests over time.
#[derive(Debug)]
pub(super) struct Granted {
    began: Instant,
    first: Option<Instant>,
    step: Duration,
    counts: VecDeque<u64>,
    total: u64,
}

impl Granted {
    pub(super) fn since(began: Instant) -> Self {
        Self {
            began,
            first: None,
            step: STEP,
            counts: VecDeque::new(),
            total: 0,
        }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// When the first answer came: the tenant cannot have begun to count later.
    pub(super) fn first(&self) -> Option<Instant> {
        self.first
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn add(&mut self, now: Instant, requests: u64) {
        self.first.get_or_insert(now);
        let age = now.saturating_duration_since(self.began);
        while age.as_nanos() / self.step.as_nanos() >= STEPS as u128 {
            let pairs = self.counts.make_contiguous().chunks(2);
            self.counts = pairs.map(|pair| pair.iter().sum()).collect();
            self.step *= 2;
        }
        let place = (age.as_nanos() / self.step.as_nanos()) as usize;
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += requests;
        self.total += requests;
    }

    /// What was kept up until the tenant objected; 0 unless that was for long enough to prove something.
    pub(super) fn kept_up(&self, objected: Instant) -> f64 {
        let active = objected.saturating_duration_since(self.began);
        let (mut sum, mut steps) = (0, 0);
        for count in self.counts.iter().rev() {
            sum += count;
            steps += 1;
            let stretch = self.step * steps;
            if stretch >= PROOF && sum >= FEWEST && stretch * 2 <= active {
                return sum as f64 / stretch.as_secs_f64();
            }
        }
        0.0
    }

    /// What the tenant grants a second, if it objected at `objected` and accepts again at `until`.
    ///
    /// Its window is of unknown length, but whatever it is, no stretch of that length that ends with the hold can
    /// have held more than the tenant grants; and about that much the right one did hold, or there would have been no
    /// objection. Too short a stretch is mostly hold, too long a one reaches back to when less was asked for: so it
    /// is the busiest one.
    pub(super) fn per_second(&self, objected: Instant, until: Instant) -> f64 {
        let hold = until.saturating_duration_since(objected);
        let active = objected.saturating_duration_since(self.began);
        let usual = active.as_secs_f64() / self.total.max(1) as f64;
        let held = if active >= LONG_AGO && hold <= ROUNDING {
            hold.min(Duration::from_secs_f64(usual))
        } else {
            hold
        };
        let (mut sum, mut best) = (0, 0.0_f64);
        for (place, count) in self.counts.iter().enumerate().rev() {
            sum += count;
            // Answers that were on their way come in after the objection.
            let stretch = active.saturating_sub(self.step * place as u32) + held;
            if stretch >= SHORTEST && sum >= FEWEST {
                best = best.max(sum as f64 / stretch.as_secs_f64());
            }
        }
        let whole = (active + held).max(Duration::from_millis(100));
        best.max(self.total as f64 / whole.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Accepts `each` requests a step, as many steps as there are numbers.
    fn granted(began: Instant, each: impl IntoIterator<Item = u64>) -> Granted {
        let mut granted = Granted::since(began);
        for (place, count) in each.into_iter().enumerate() {
            granted.add(began + STEP * place as u32, count);
        }
        granted
    }

    #[test]
    fn a_window_that_was_burnt_at_once_is_counted_with_its_hold() {
        let began = Instant::now();
        let burnt = granted(began, [100; 6]);
        let rate = burnt.per_second(began + STEP * 6, began + SECOND * 60);
        assert!((rate - 10.0).abs() < 0.01, "{rate}");
    }

    #[test]
    fn a_slow_beginning_does_not_count() {
        let began = Instant::now();
        let steps = [1; 400].into_iter().chain([10; 40]);
        let rate = granted(began, steps).per_second(began + STEP * 440, began + STEP * 444);
        assert!((38.0..41.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_long_time_is_kept_in_little_room() {
        let began = Instant::now();
        let long = granted(began, [2; 14_400]);
        assert!(long.counts.len() <= STEPS, "{}", long.counts.len());
        assert_eq!(long.total(), 28_800);
        let rate = long.per_second(began + SECOND * 3_600, began + SECOND * 3_601);
        assert!((7.9..8.4).contains(&rate), "{rate}");
    }
}

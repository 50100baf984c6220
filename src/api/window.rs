//! The promise that no window of time holds more requests than the rate allows, as the *server* counts.
//!
//! We know when a request departed and when its answer came; the server saw it somewhere in between. Spacing
//! departures evenly is therefore not enough: a request that is held up on its way and one that is not can
//! arrive closer together than they left. So a request keeps its place in the window from its departure
//! until it has certainly left the window: while it is under way it counts, and once answered it counts as
//! having arrived as late as its latency beyond the usual one allows. Where latencies are steady this costs
//! nothing; where they are not, it costs a little speed and keeps the promise.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;
use tokio::time::Instant;

/// What even steady latencies vary by, and a little for the server's clock.
const MARGIN: Duration = Duration::from_millis(4);

/// A window that may hold so many requests.
#[derive(Debug)]
pub(super) struct Window {
    most: usize,
    length: Duration,
    /// When requests that have been answered may have arrived at the latest.
    arrived: BinaryHeap<Reverse<Instant>>,
}

impl Window {
    /// A window as a process must take it to be that has just started: full.
    ///
    /// A one-second window is full as of now. A longer one is taken to have been filled evenly, which is how a
    /// run fills it; refusing to start for an hour after a kill would serve nobody.
    pub(super) fn full((most, length): (usize, Duration), now: Instant) -> Self {
        let mut window = Self {
            most,
            length: length + MARGIN,
            arrived: BinaryHeap::new(),
        };
        let spread = if length > Duration::from_secs(1) {
            length
        } else {
            Duration::ZERO
        };
        for place in 0..most {
            let age = spread.mul_f64(place as f64 / most as f64);
            window.note(now.checked_sub(age).unwrap_or(now));
        }
        window
    }

    /// Notes a request that may have arrived as late as `latest`.
    pub(super) fn note(&mut self, latest: Instant) {
        self.arrived.push(Reverse(latest));
    }

    /// When the next request may depart, while `under_way` others are; `None` until one of them is answered.
    pub(super) fn next_departure(&mut self, now: Instant, under_way: usize) -> Option<Instant> {
        while self
            .arrived
            .peek()
            .is_some_and(|Reverse(oldest)| *oldest + self.length <= now)
        {
            self.arrived.pop();
        }
        if self.arrived.len() + under_way < self.most {
            return Some(now);
        }
        // With the oldest gone there is one place more; it suffices unless the rest is under way.
        let Reverse(oldest) = self.arrived.peek()?;
        Some(*oldest + self.length)
    }
}

/// The usual latency: the lowest of late, creeping upwards so that a tenant may become slower for good.
#[derive(Debug, Default)]
pub(super) struct UsualLatency(Option<(Instant, Duration)>);

/// How much of itself the usual latency grows in a second without a lower one.
const CREEP_PER_SECOND: f64 = 0.01;

impl UsualLatency {
    /// The usual latency, once there was one.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.0.map(|(_, usual)| usual)
    }

    /// Takes a latency in and says by how much it exceeds the usual one.
    ///
    /// The very first one is all excess: it holds the handshake, and there is nothing to compare it with.
    pub(super) fn excess(&mut self, now: Instant, latency: Duration) -> Duration {
        let Some((since, usual)) = self.0 else {
            self.0 = Some((now, latency));
            return latency;
        };
        let crept = usual.mul_f64(1.0 + CREEP_PER_SECOND * (now - since).as_secs_f64());
        let usual = crept.min(latency);
        self.0 = Some((now, usual));
        latency.saturating_sub(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_window_fills_and_empties() {
        let start = Instant::now();
        let mut window = Window::full((2, SECOND), start);
        let later = start + SECOND + MARGIN;
        assert_eq!(
            window.next_departure(start, 0),
            Some(later),
            "after a start, a second passes first"
        );
        assert_eq!(window.next_departure(later, 1), Some(later));
        assert_eq!(
            window.next_departure(later, 2),
            None,
            "both may arrive at any moment"
        );
        window.note(later);
        assert_eq!(window.next_departure(later, 1), Some(later + SECOND + MARGIN));
    }

    #[test]
    fn a_long_window_was_filled_evenly() {
        let start = Instant::now() + SECOND * 100;
        let mut minute = Window::full((600, SECOND * 60), start);
        let wait = minute.next_departure(start, 0).unwrap() - start;
        assert!(wait < Duration::from_millis(200), "{wait:?}");
    }

    #[test]
    fn a_late_answer_counts_as_a_late_arrival() {
        let mut usual = UsualLatency::default();
        let (ms, now) = (Duration::from_millis, Instant::now());
        assert_eq!(usual.excess(now, ms(90)), ms(90), "the handshake");
        assert_eq!(usual.excess(now, ms(20)), ms(0));
        assert_eq!(usual.excess(now, ms(70)), ms(50));
        assert!(
            usual.excess(now + SECOND * 10, ms(70)) < ms(50),
            "a tenant may become slower for good"
        );
    }
}

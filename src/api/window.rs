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
    /// An empty window, or, after a run that may have ended this very moment, a full one.
    ///
    /// A full one-second window is full as of now. A longer one is taken to have been filled evenly, which
    /// is how a run fills it; refusing to start for an hour after a kill would serve nobody.
    pub(super) fn new((most, length): (usize, Duration), full_since: Option<Instant>) -> Self {
        let mut window = Self {
            most,
            length: length + MARGIN,
            arrived: BinaryHeap::new(),
        };
        if let Some(now) = full_since {
            let spread = if length > Duration::from_secs(1) {
                length
            } else {
                Duration::ZERO
            };
            for place in 0..most {
                let age = spread.mul_f64(place as f64 / most as f64);
                window.arrived.push(Reverse(now.checked_sub(age).unwrap_or(now)));
            }
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
pub(super) struct UsualLatency(Option<Duration>);

impl UsualLatency {
    /// Takes a latency in and says by how much it exceeds the usual one.
    pub(super) fn excess(&mut self, latency: Duration) -> Duration {
        let usual = self.0.map_or(latency, |usual| usual.mul_f64(1.01).min(latency));
        self.0 = Some(usual);
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
        let mut window = Window::new((2, SECOND), None);
        assert_eq!(window.next_departure(start, 0), Some(start));
        assert_eq!(window.next_departure(start, 1), Some(start));
        assert_eq!(
            window.next_departure(start, 2),
            None,
            "both may arrive at any moment"
        );
        window.note(start);
        assert_eq!(window.next_departure(start, 1), Some(start + SECOND + MARGIN));
        let later = start + SECOND + MARGIN;
        assert_eq!(window.next_departure(later, 1), Some(later));
    }

    #[test]
    fn after_a_kill_a_second_passes_first() {
        let start = Instant::now() + SECOND * 100;
        let mut second = Window::new((10, SECOND), Some(start));
        assert_eq!(second.next_departure(start, 0), Some(start + SECOND + MARGIN));
        let mut minute = Window::new((600, SECOND * 60), Some(start));
        let wait = minute.next_departure(start, 0).unwrap() - start;
        assert!(wait < Duration::from_millis(200), "{wait:?}");
    }

    #[test]
    fn a_late_answer_counts_as_a_late_arrival() {
        let mut usual = UsualLatency::default();
        let ms = Duration::from_millis;
        assert_eq!(usual.excess(ms(20)), ms(0));
        assert!(usual.excess(ms(70)) >= ms(49));
        assert_eq!(usual.excess(ms(10)), ms(0));
    }
}

//! The promise that no window of time holds more requests than the rate allows, as the *server* counts.
//!
//! We know when a request departed and when its answer came; the server saw it somewhere in between. Spacing
//! departures evenly is therefore not enough: a request that is held up on its way and one that is not can
//! arrive closer together than they left. So a request keeps its place in the window from its departure
//! until it has certainly left the window: while it is under way it counts, and once answered it counts as
//! having arrived as late as its latency beyond the usual one allows. Where latencies are steady this costs
//! nothing; where they are not, it costs a little speed and keeps the promise.

use super::steps::{STEPS, Steps};
use std::time::Duration;
use tokio::time::Instant;

/// What even steady latencies vary by, and a little for the server's clock.
const MARGIN: Duration = Duration::from_millis(4);

/// All windows that must hold.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// What we were told: how many in what time.
    own: Vec<(usize, Duration)>,
    each: Vec<Window>,
}

impl Windows {
    /// Windows as a process must take them to be that has just started.
    pub(super) fn full(own: Vec<(usize, Duration)>, now: Instant) -> Self {
        let each = own.iter().map(|window| Window::full(*window, now)).collect();
        Self { own, each }
    }

    /// What we were told.
    pub(super) fn own(&self) -> &[(usize, Duration)] {
        &self.own
    }

    /// Takes the windows to have been full at some time, and as known from then on.
    pub(super) fn restart(&mut self, known_since: Instant) {
        *self = Self::full(std::mem::take(&mut self.own), known_since);
    }

    /// Fills up whatever others may have sent until some time, since it is not known any more.
    pub(super) fn fill(&mut self, at: Instant) {
        for window in &mut self.each {
            let free = window.most.saturating_sub(window.arrived.total());
            window.arrived.add(at, free);
        }
    }

    /// Takes over what all processes have to keep to, and what the others sent; where nobody is bound, what we were
    /// told. A length that is new begins with what `ours` says that we sent.
    pub(super) fn adopt(
        &mut self,
        mut of_all: Vec<(usize, Duration)>,
        now: Instant,
        ours: impl Fn() -> Vec<(Instant, usize)>,
        others: impl Iterator<Item = (Instant, u32)> + Clone,
    ) {
        if of_all.is_empty() {
            of_all.clone_from(&self.own);
        }
        let mut before = std::mem::take(&mut self.each);
        for (most, length) in of_all {
            let known = before.iter().position(|window| window.length == length + MARGIN);
            let mut window = known.map_or_else(
                || Window::with((most, length), now, ours()),
                |place| before.swap_remove(place),
            );
            window.most = most;
            window.hear_of(now, others.clone());
            self.each.push(window);
        }
    }

    /// Notes a request that may have arrived as late as `latest`.
    pub(super) fn note(&mut self, latest: Instant) {
        for window in &mut self.each {
            window.arrived.add(latest, 1);
        }
    }

    /// When the next request may depart, while `under_way` others are; `None` until one of them is answered.
    pub(super) fn next_departure(&mut self, now: Instant, under_way: usize) -> Option<Instant> {
        let mut at = now;
        for window in &mut self.each {
            at = at.max(window.next_departure(now, under_way)?);
        }
        Some(at)
    }

    /// How many requests may depart at once; `None` where nothing holds them back.
    pub(super) fn room(&mut self, now: Instant, under_way: usize) -> Option<usize> {
        let rooms = self.each.iter_mut().map(|window| window.room(now, under_way));
        rooms.min()
    }
}

/// A window that may hold so many requests.
#[derive(Clone, Debug)]
struct Window {
    most: usize,
    length: Duration,
    /// When requests that have been answered may have arrived at the latest.
    arrived: Steps,
    /// The same of other processes.
    others: Steps,
}

impl Window {
    /// A window as a process must take it to be that has just started: full.
    ///
    /// A one-second window is full as of now. A longer one is taken to have been filled evenly, which is how a
    /// run fills it; refusing to start for an hour after a kill would serve nobody. So after a restart one goes on
    /// at the even pace, and may run ahead of it only by what the window has left since.
    fn full((most, length): (usize, Duration), now: Instant) -> Self {
        let spread = if length > Duration::from_secs(1) {
            length
        } else {
            Duration::ZERO
        };
        let steps = most.min(STEPS as usize);
        let step = |number: usize| {
            let (first, end) = (number * most / steps, (number + 1) * most / steps);
            let age = spread.mul_f64(first as f64 / most as f64);
            (now.checked_sub(age).unwrap_or(now), end - first)
        };
        Self::with((most, length), now, (0..steps).map(step))
    }

    fn with(
        (most, length): (usize, Duration),
        now: Instant,
        arrived: impl IntoIterator<Item = (Instant, usize)>,
    ) -> Self {
        let length = length + MARGIN;
        let mut window = Self {
            most,
            length,
            arrived: Steps::within(length, now),
            others: Steps::within(length, now),
        };
        for (at, count) in arrived {
            window.arrived.add(at, count);
        }
        window
    }

    /// Takes over what other processes sent.
    fn hear_of(&mut self, now: Instant, others: impl Iterator<Item = (Instant, u32)>) {
        self.others = Steps::within(self.length, now);
        for (at, count) in others.filter(|(at, _)| *at + self.length > now) {
            self.others.add(at, count as usize);
        }
    }

    fn room(&mut self, now: Instant, under_way: usize) -> usize {
        self.forget(now);
        self.most
            .saturating_sub(self.arrived.total() + self.others.total() + under_way)
    }

    /// Lets go of what has left the window.
    fn forget(&mut self, now: Instant) {
        let length = self.length;
        self.arrived.forget(|at| at + length <= now);
        self.others.forget(|at| at + length <= now);
    }

    fn next_departure(&mut self, now: Instant, under_way: usize) -> Option<Instant> {
        if self.room(now, under_way) > 0 {
            return Some(now);
        }
        // With the oldest gone there is a place more; it suffices unless the rest is under way.
        let oldest = self
            .arrived
            .oldest()
            .into_iter()
            .chain(self.others.oldest())
            .min()?;
        Some(oldest + self.length)
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
    use std::collections::VecDeque;

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
        window.arrived.add(later, 1);
        assert_eq!(window.next_departure(later, 1), Some(later + SECOND + MARGIN));
    }

    #[test]
    fn what_others_sent_counts_and_the_fewest_holds() {
        let start = Instant::now();
        let mut windows = Windows::full(vec![(10, SECOND)], start);
        let later = start + SECOND * 2;
        let none = Vec::new;
        windows.adopt(
            vec![(4, SECOND), (100, SECOND * 60)],
            later,
            none,
            [(start, 9), (later, 3)].into_iter(),
        );
        assert_eq!(
            windows.room(later, 0),
            Some(1),
            "what left the window counts no more"
        );
        assert_eq!(windows.next_departure(later, 1), Some(later + SECOND + MARGIN));
        windows.adopt(Vec::new(), later, none, [].into_iter());
        assert_eq!(
            windows.room(later, 0),
            Some(10),
            "nobody else is there, so our own word holds"
        );
        windows.adopt(Vec::new(), later, none, [(later, 9)].into_iter());
        windows.fill(later);
        windows.adopt(Vec::new(), later, none, [].into_iter());
        assert_eq!(
            windows.room(later, 0),
            Some(0),
            "what others sent is forgotten, not unsent"
        );
    }

    #[test]
    fn a_long_window_was_filled_evenly() {
        let start = Instant::now() + SECOND * 100;
        let mut minute = Window::full((600, SECOND * 60), start);
        let wait = minute.next_departure(start, 0).unwrap() - start;
        assert!(wait < Duration::from_millis(200), "{wait:?}");
    }

    #[test]
    fn a_window_of_millions_takes_little_room_and_still_holds() {
        let (most, hour, tick) = (36_000_000, SECOND * 3_600, SECOND / 4);
        let start = Instant::now();
        let mut window = Window::full((most, hour), start);
        assert_eq!(window.room(start, 0), 0);
        let (mut departures, mut within, mut busiest, mut largest) = (VecDeque::new(), 0, 0, 0);
        let ticks = 3 * 3_600 * 4;
        let mut departed = 0;
        for now in (0..ticks).map(|number| start + tick * number) {
            // Whatever there is room for departs at once; now and then nobody wants anything.
            let idle = (now - start).as_secs() % 600 < 60;
            let count = if idle { 0 } else { window.room(now, 0) };
            window.arrived.add(now, count);
            departures.push_back((now, count));
            (departed, within) = (departed + count, within + count);
            while departures.front().is_some_and(|(at, _)| *at + hour <= now) {
                within -= departures.pop_front().map_or(0, |(_, count)| count);
            }
            (busiest, largest) = (busiest.max(within), largest.max(window.arrived.steps()));
        }
        assert!(busiest <= most, "{busiest}");
        assert!(departed > most * 3 / 100 * 99, "{departed}");
        assert!(largest <= STEPS as usize + 1, "{largest}");
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

//! Requests over time, in so few steps that a window of any size takes little room.
//!
//! Requests that lie close together become one step, at the instant of the latest of them: so each is taken to have
//! arrived no earlier than it may have, and what a window holds is never too little.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Into how many steps a window is cut. What a request may lose by being taken for a later one is one of them.
pub(super) const STEPS: u32 = 10_000;

/// When requests may have arrived at the latest, and how many.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    /// Time is cut into cells of this length, from here on and back; a cell holds one step.
    origin: Instant,
    cell: Duration,
    /// In order.
    each: VecDeque<(Instant, usize)>,
    total: usize,
}

impl Steps {
    /// None yet, for a window of this length.
    pub(super) fn within(length: Duration, origin: Instant) -> Self {
        Self {
            origin,
            cell: (length / STEPS).max(Duration::from_nanos(1)),
            each: VecDeque::new(),
            total: 0,
        }
    }

    /// Adds requests that may have arrived as late as `latest`.
    pub(super) fn add(&mut self, latest: Instant, count: usize) {
        if count == 0 {
            return;
        }
        self.total += count;
        let cell = self.cell_of(latest);
        let place = self.each.partition_point(|(at, _)| *at <= latest);
        let (before, after) = (place.checked_sub(1), Some(place));
        let shares_cell = |place: &usize| {
            let step = self.each.get(*place);
            step.is_some_and(|(at, _)| self.cell_of(*at) == cell)
        };
        match before.into_iter().chain(after).find(shares_cell) {
            Some(place) => {
                let (at, before) = &mut self.each[place];
                *at = latest.max(*at);
                *before += count;
            }
            None => self.each.insert(place, (latest, count)),
        }
    }

    fn cell_of(&self, at: Instant) -> i64 {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let since = match at.checked_duration_since(self.origin) {
            Some(after) => nanos(after),
            None => -nanos(self.origin.saturating_duration_since(at)),
        };
        since.div_euclid(nanos(self.cell))
    }

    /// Lets go of the first steps, for as long as they have left.
    pub(super) fn forget(&mut self, has_left: impl Fn(Instant) -> bool) {
        while let Some((_, count)) = self.each.front().filter(|(at, _)| has_left(*at)) {
            self.total -= count;
            self.each.pop_front();
        }
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.each.front().map(|(at, _)| *at)
    }

    /// Requests in all steps.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.each.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_lies_apart_keeps_its_instant_and_what_lies_together_the_latest() {
        let origin = Instant::now();
        let mut steps = Steps::within(SECOND, origin);
        let cell = SECOND / STEPS;
        for (at, count) in [(cell * 15 / 10, 2), (cell * 12 / 10, 3), (cell * 25 / 10, 4)] {
            steps.add(origin + at, count);
        }
        let each: Vec<_> = steps.each.iter().copied().collect();
        assert_eq!(each, [(origin + cell * 15 / 10, 5), (origin + cell * 25 / 10, 4)]);
        steps.add(origin + cell * 18 / 10, 1);
        assert_eq!(steps.oldest(), Some(origin + cell * 18 / 10));
        steps.forget(|at| at < origin + cell * 2);
        assert_eq!((steps.total(), steps.steps()), (4, 1));
    }

    #[test]
    fn steps_are_bounded_in_whatever_order_they_come() {
        let origin = Instant::now() + SECOND * 10;
        let mut steps = Steps::within(SECOND, origin);
        let micros = |place: u64| Duration::from_micros(place * 7_919 % 1_000_000);
        for place in 0..100_000 {
            // As many before the origin as after it.
            steps.add(origin + micros(place) - SECOND / 2, 1);
        }
        assert_eq!(steps.total(), 100_000);
        assert!(steps.steps() <= STEPS as usize + 1, "{}", steps.steps());
        let each = steps.each.make_contiguous();
        assert!(each.is_sorted());
    }
}

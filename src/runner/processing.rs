//! How long the tenant takes over batches, as far as looks at them tell.
//!
//! The age of a batch at a look that does not show it finished is a lower bound of its processing time, and is written
//! down, so that a restart does not measure less. Its age at the first look that shows it is an upper bound. The clock is
//! the monotonic one; the wall clock may only lengthen the age of a batch that an earlier process left unfinished, and
//! only once a look has found it unfinished still. Time in which the tenant was away, or this process was held up, says
//! nothing about the tenant and is left out.

use crate::model::ids::BatchNo;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Batches that are not known to be finished, with their ages.
#[derive(Clone, Default)]
pub struct Processing(Arc<Mutex<HashMap<BatchNo, Age>>>);

#[derive(Clone, Copy)]
struct Age {
    /// How old it was, at least, at that instant.
    known: Duration,
    at: Instant,
    /// When it was sent or accepted, by the wall clock, where an earlier process did that and no look of this one has
    /// found it unfinished yet.
    since_ms: Option<i64>,
    /// Whether the tenant has accepted it and nothing of it shows.
    unshown: bool,
    /// Whether the tenant calls it finished.
    finished: bool,
}

impl Age {
    /// Its age now, without the time until the tenant was last away or this process held up.
    fn now(&self, disturbed: Option<Instant>) -> Duration {
        self.known
            + disturbed
                .map_or(self.at, |disturbed| disturbed.max(self.at))
                .elapsed()
    }
}

impl Processing {
    fn ages(&self) -> MutexGuard<'_, HashMap<BatchNo, Age>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tenant has accepted a batch just now.
    pub fn accepted(&self, no: BatchNo) {
        let age = Age {
            known: Duration::ZERO,
            at: Instant::now(),
            since_ms: None,
            unshown: true,
            finished: false,
        };
        self.ages().insert(no, age);
    }

    /// A request is about to leave.
    pub fn sent(&self, no: BatchNo) {
        let age = Age {
            known: Duration::ZERO,
            at: Instant::now(),
            since_ms: None,
            unshown: false,
            finished: false,
        };
        self.ages().insert(no, age);
    }

    /// A batch of an earlier process, or one in doubt, is looked at from now on.
    pub fn watch(&self, no: BatchNo, known: Duration, since_ms: Option<i64>, unshown: bool) {
        let age = Age {
            known,
            at: Instant::now(),
            since_ms,
            unshown,
            finished: false,
        };
        self.ages().entry(no).or_insert(age).unshown = unshown;
    }

    /// Some of a batch shows.
    pub fn shows(&self, no: BatchNo) {
        if let Some(age) = self.ages().get_mut(&no) {
            age.unshown = false;
        }
    }

    /// The tenant calls a batch finished, which says nothing about what shows.
    pub fn finished(&self, no: BatchNo) {
        if let Some(age) = self.ages().get_mut(&no) {
            age.finished = true;
        }
    }

    /// Nobody looks at a batch any more that is decided.
    pub fn over(&self, no: BatchNo) {
        self.ages().remove(&no);
    }

    /// The greatest age of a batch that was accepted and does not show. `disturbed`: when the tenant was last away, or this
    /// process held up.
    pub fn unshown(&self, disturbed: Option<Instant>) -> Duration {
        let ages = self.ages();
        let unshown = ages.values().filter(|age| age.unshown);
        unshown.map(|age| age.now(disturbed)).max().unwrap_or_default()
    }

    /// The same, but for one batch and those that the tenant calls finished.
    pub fn unfinished_beside(&self, no: BatchNo, disturbed: Option<Instant>) -> Duration {
        let ages = self.ages();
        let others = ages
            .iter()
            .filter(|(other, age)| **other != no && age.unshown && !age.finished);
        others
            .map(|(_, age)| age.now(disturbed))
            .max()
            .unwrap_or_default()
    }

    /// From when on the age of a batch is still to be counted.
    pub fn counted_to(&self, no: BatchNo) -> Option<Instant> {
        Some(self.ages().get(&no)?.at)
    }

    /// The age of a batch at an instant, at the most.
    pub fn age(&self, no: BatchNo, instant: Instant) -> Option<Duration> {
        let age = *self.ages().get(&no)?;
        Some(age.known + instant.saturating_duration_since(age.at))
    }

    /// A look that departed at this instant has found a batch unfinished; its age then, at least. `undisturbed`: whether
    /// the time since the last look says something about the tenant.
    pub fn unfinished(
        &self,
        no: BatchNo,
        looked: Instant,
        now_ms: i64,
        undisturbed: bool,
    ) -> Option<Duration> {
        let mut ages = self.ages();
        let age = ages.get_mut(&no)?;
        if undisturbed {
            age.known += looked.saturating_duration_since(age.at);
        }
        age.at = looked.max(age.at);
        if let Some(since_ms) = age.since_ms.take() {
            let by_wall_clock = u64::try_from(now_ms.saturating_sub(since_ms)).unwrap_or(0);
            age.known = age.known.max(Duration::from_millis(by_wall_clock));
        }
        Some(age.known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_does_not_show_counts_until_it_does() {
        let (processing, no) = (Processing::default(), BatchNo(1));
        processing.accepted(no);
        tokio::time::advance(100 * SECOND).await;
        assert_eq!(processing.unshown(None), 100 * SECOND);
        assert_eq!(processing.age(no, Instant::now()), Some(100 * SECOND));
        processing.shows(no);
        assert_eq!(processing.unshown(None), Duration::ZERO);
        processing.over(no);
        assert_eq!(processing.age(no, Instant::now()), None);
    }

    /// Whatever the wall clock says, an age never becomes less than what looks have shown.
    #[tokio::test(start_paused = true)]
    async fn a_restart_measures_no_less_and_only_what_is_unfinished_still() {
        for (now_ms, wall) in [(101_000, 100), (1_000, 7), (500, 7)] {
            let (processing, no) = (Processing::default(), BatchNo(1));
            processing.watch(no, 7 * SECOND, Some(1_000), true);
            assert_eq!(processing.age(no, Instant::now()), Some(7 * SECOND));
            assert_eq!(
                processing.unfinished(no, Instant::now(), now_ms, true),
                Some(wall * SECOND)
            );
            tokio::time::advance(2 * SECOND).await;
            let later = processing.unfinished(no, Instant::now(), 900_000, true);
            assert_eq!(later, Some((wall + 2) * SECOND), "the wall clock counts once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_an_outage_is_nobodys_age() {
        let (processing, no) = (Processing::default(), BatchNo(1));
        processing.accepted(no);
        tokio::time::advance(5 * SECOND).await;
        processing.unfinished(no, Instant::now(), 0, true);
        tokio::time::advance(3_600 * SECOND).await;
        assert_eq!(processing.unshown(Some(Instant::now())), 5 * SECOND);
        assert_eq!(
            processing.unfinished(no, Instant::now(), 0, false),
            Some(5 * SECOND)
        );
        tokio::time::advance(SECOND).await;
        assert_eq!(processing.unshown(None), 6 * SECOND);
    }
}

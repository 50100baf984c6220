//! Speed and time left, from what a run has seen of itself.

use super::event::Progress;
use crate::model::entry::EntryState;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// See the module's documentation.
pub struct Meter {
    done_before: u64,
    /// (when, requests) over the last seconds.
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Over how long the speed is averaged.
    const SPAN: Duration = Duration::from_secs(5);

    /// Begins to measure.
    pub fn new(progress: &Progress) -> Self {
        Self {
            done_before: Self::weight(progress),
            samples: VecDeque::new(),
        }
    }

    /// Work done, in about requests: nearly all of them are look-ups, one an entry.
    fn weight(progress: &Progress) -> u64 {
        progress.total() - progress.in_state(EntryState::Pending)
    }

    /// Takes a look, and says in `progress` what follows from it.
    pub fn update(&mut self, progress: &mut Progress, requests: u64) {
        let now = Instant::now();
        self.samples.push_back((now, requests));
        while self.samples.front().is_some_and(|(at, _)| now - *at > Self::SPAN) {
            self.samples.pop_front();
        }
        if let Some((at, before)) = self.samples.front()
            && now > *at
        {
            progress.per_second = (requests - before) as f64 / (now - *at).as_secs_f64();
        }
        progress.requests = requests;
        let done = Self::weight(progress) - self.done_before;
        let pending = progress.in_state(EntryState::Pending);
        let enough = done >= 20 && progress.elapsed > Duration::from_secs(1);
        progress.left =
            (enough && pending > 0).then(|| progress.elapsed.mul_f64(pending as f64 / done as f64));
    }
}

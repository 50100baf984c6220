//! How fast to go.

use crate::model::rate::Rate;
use std::time::Duration;
use tokio::time::Instant;

/// The rate aimed at: the user's ceiling, halved by each 429 and recovering by a twentieth a second.
pub(super) struct Tempo {
    ceiling: Option<f64>,
    pub(super) per_second: Option<f64>,
    changed: Instant,
}

impl Tempo {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let ceiling = rate.per_second();
        Self {
            ceiling,
            per_second: ceiling,
            changed: now,
        }
    }

    pub(super) fn slow_down(&mut self, now: Instant) {
        self.changed = now;
        if let (Some(ceiling), Some(rate)) = (self.ceiling, &mut self.per_second) {
            *rate = (*rate / 2.0).max(ceiling / 50.0);
        }
    }

    pub(super) fn speed_up(&mut self, now: Instant) {
        let (Some(ceiling), Some(rate)) = (self.ceiling, &mut self.per_second) else {
            return;
        };
        if *rate < ceiling && now.saturating_duration_since(self.changed) >= Duration::from_secs(1) {
            self.changed = now;
            *rate = (*rate + ceiling / 20.0).min(ceiling);
        }
    }
}

//! The task behind the gate: who waits, who is under way, and what holds everybody up.

use super::allowance::{Allowance, Words};
use super::spread::Spread;
use super::tempo::Tempo;
use super::window::{UsualLatency, Window};
use super::{Message, PaceSettings, PaceView, Pause, Permit, Signal};
use crate::model::backoff;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Trouble that lasts longer is an outage, and not a slip.
pub(super) const OUTAGE_AT_LEAST: Duration = Duration::from_secs(30);

pub(super) struct Keeper {
    settings: PaceSettings,
    messages: mpsc::WeakUnboundedSender<Message>,
    view: watch::Sender<PaceView>,
    waiting: [VecDeque<oneshot::Sender<Permit>>; 3],
    under_way: usize,
    windows: Vec<Window>,
    usual: UsualLatency,
    spread: Spread,
    tempo: Tempo,
    words: Words,
    pause: Option<Pause>,
    failures: u32,
    /// When the first of these failures was met.
    failing_since: Instant,
    told_to_slow: u32,
    /// Failures of requests that had departed before this belong to the episode that is known already.
    episode: Instant,
}

impl Keeper {
    pub(super) fn new(
        settings: PaceSettings,
        messages: mpsc::WeakUnboundedSender<Message>,
        view: watch::Sender<PaceView>,
    ) -> Self {
        let now = Instant::now();
        // What an earlier process sent in its last moments is not known, so the second begins used up.
        let window = |window| Window::full(window, now);
        let tempo = Tempo::new(settings.rate, now);
        let mut keeper = Self {
            settings,
            messages,
            view,
            waiting: Default::default(),
            under_way: 0,
            windows: settings.rate.windows().into_iter().map(window).collect(),
            usual: UsualLatency::default(),
            spread: Spread::new(now, settings.rate.ahead()),
            tempo,
            words: Words::default(),
            pause: None,
            failures: 0,
            failing_since: now,
            told_to_slow: 0,
            episode: now,
        };
        keeper.publish(|_| {});
        keeper
    }

    pub(super) async fn keep(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        loop {
            let departure = self.next_departure();
            let now = Instant::now();
            if departure.is_some_and(|at| at <= now) && self.let_through(now) {
                continue;
            }
            tokio::select! {
                biased;
                message = inbox.recv() => match message {
                    Some(Message::Enter(class, reply)) => self.waiting[class as usize].push_back(reply),
                    Some(Message::Heard(said)) => self.hear(said),
                    Some(Message::Left(departed, signal)) => self.left(departed, signal),
                    None => return,
                },
                () = sleep_until(departure) => {}
            }
        }
    }

    /// When the next of those who wait may go; `None` until a message changes something.
    fn next_departure(&mut self) -> Option<Instant> {
        if self.waiting.iter().all(VecDeque::is_empty) {
            return None;
        }
        // One at a time feels its way while the tenant is unwell or objects.
        let room = if self.failures > 0 || self.told_to_slow > 0 {
            1
        } else {
            self.settings.concurrency
        };
        if self.under_way >= room {
            return None;
        }
        let now = Instant::now();
        let mut at = now;
        if let Some(pause) = &self.pause {
            at = at.max(pause.until);
        }
        for window in &mut self.windows {
            at = at.max(window.next_departure(now, self.under_way)?);
        }
        Some(match self.tempo.per_second(now) {
            Some(_) => at.max(self.spread.next_departure()),
            None => at,
        })
    }

    /// Lets the first of the best class go.
    fn let_through(&mut self, now: Instant) -> bool {
        if self.pause.take().is_some() {
            self.publish(|_| {});
        }
        // A write that meets an outage ends in doubt, so a read goes ahead to see whether it is over.
        let order: [usize; 3] = if self.failures > 0 { [1, 2, 0] } else { [0, 1, 2] };
        for class in order {
            while let Some(reply) = self.waiting[class].pop_front() {
                let permit = Permit {
                    departed: now,
                    gate: self.messages.upgrade(),
                };
                match reply.send(permit) {
                    Ok(()) => {
                        self.under_way += 1;
                        if let Some(rate) = self.tempo.per_second(now) {
                            self.spread.depart(now, rate);
                        }
                        self.publish(|view| view.requests += 1);
                        return true;
                    }
                    // Whoever waited was cancelled. Its permit must not report a request that never was.
                    Err(mut permit) => permit.gate = None,
                }
            }
        }
        false
    }

    fn left(&mut self, departed: Instant, signal: Signal) {
        let now = Instant::now();
        self.under_way -= 1;
        let late = match signal {
            Signal::Unknown => now.saturating_duration_since(departed),
            _ => self.usual.excess(now, now.saturating_duration_since(departed)),
        };
        for window in &mut self.windows {
            window.note(departed + late);
        }
        match signal {
            Signal::Fine => self.fine(now, departed),
            Signal::SlowDown(retry_after) => self.slow_down(now, departed, retry_after),
            Signal::Trouble(why) => self.trouble(now, departed, &why),
            Signal::Unknown => {}
        }
    }

    fn fine(&mut self, now: Instant, departed: Instant) {
        // Good news from before the trouble began does not end it.
        if departed >= self.episode {
            if self.failures > 0 && now - self.failing_since >= OUTAGE_AT_LEAST {
                self.publish(|view| view.outage_ended = Some(now));
            }
            self.failures = 0;
            self.told_to_slow = 0;
            self.tempo.recovered(departed);
        }
        self.tempo.accepted(now, 1);
        self.publish(|view| view.successes += 1);
    }

    fn hear(&mut self, said: Allowance) {
        let now = Instant::now();
        if let Some(per_second) = self.words.hear(now, said, self.under_way) {
            self.tempo.told(now, per_second);
            self.publish(|_| {});
        }
    }

    fn slow_down(&mut self, now: Instant, departed: Instant, retry_after: Option<Duration>) {
        let mut wait = backoff::wait_as_told(retry_after, self.told_to_slow, fastrand::f64());
        if retry_after.is_none() {
            wait = self.tempo.wait_untold(now, wait);
        }
        let until = now + wait;
        if departed >= self.episode {
            self.told_to_slow += 1;
            self.episode = now;
            self.tempo.refused(now);
            self.words.doubt();
        }
        self.hold(until, "the tenant asks to slow down (429)".into());
        self.publish(|view| view.refusals += 1);
    }

    fn trouble(&mut self, now: Instant, departed: Instant, why: &str) {
        if departed >= self.episode {
            if self.failures == 0 {
                self.failing_since = now;
            }
            self.failures = self.failures.saturating_add(1);
            self.episode = now;
            self.hold(
                now + backoff::wait(self.failures, fastrand::f64()),
                why.to_owned(),
            );
        }
    }

    fn hold(&mut self, until: Instant, why: String) {
        let longer = self.pause.as_ref().is_none_or(|pause| pause.until < until);
        if longer {
            self.pause = Some(Pause { why, until });
        }
        self.publish(|_| {});
    }

    fn publish(&mut self, change: impl FnOnce(&mut PaceView)) {
        let (pause, per_second) = (self.pause.clone(), self.tempo.per_second(Instant::now()));
        self.view.send_modify(|view| {
            change(view);
            view.pause = pause;
            view.per_second = per_second;
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

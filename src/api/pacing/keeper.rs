//! The task behind the gate: who waits, who is under way, and what holds everybody up.

use super::allowance::{Allowance, Words};
use super::budget::Budget;
use super::shared::{Share, Standing};
use super::spread::Spread;
use super::tempo::Tempo;
use super::window::{UsualLatency, Windows};
use super::{Message, PaceSettings, PaceView, Pause, Permit, Signal};
use crate::api::account::{Account, Moment, cause};
use crate::model::backoff;
use crate::model::spent::Cause;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

/// How many requests of higher classes go before one of a lower class does: it gets one in four at the least.
const PATIENCE: u32 = 3;
/// The shortest wait.
const SOON: Duration = Duration::from_millis(1);
/// Trouble that lasts longer is an outage, and not a slip.
pub(super) const OUTAGE_AT_LEAST: Duration = Duration::from_secs(30);

pub(super) struct Keeper {
    settings: PaceSettings,
    messages: mpsc::WeakUnboundedSender<Message>,
    view: watch::Sender<PaceView>,
    /// Tells whoever would rather not wait for so long that a pause has begun, or has got longer.
    held: Arc<Notify>,
    waiting: [VecDeque<oneshot::Sender<Permit>>; 3],
    /// How often in a row each class has waited while a higher one went.
    passed_over: [u32; 3],
    under_way: usize,
    account: Account,
    /// How many requests may be let through, all in all.
    limit: u64,
    windows: Windows,
    usual: UsualLatency,
    spread: Spread,
    tempo: Tempo,
    words: Words,
    share: Option<Share>,
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
        budget: Option<Budget>,
        messages: mpsc::WeakUnboundedSender<Message>,
        view: watch::Sender<PaceView>,
        held: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        // What an earlier process sent in its last moments is not known, so the second begins used up.
        let tempo = Tempo::new(settings.rate, settings.reserve, now);
        let mut keeper = Self {
            settings,
            messages,
            view,
            held,
            waiting: Default::default(),
            passed_over: [0; 3],
            under_way: 0,
            account: Account::open(now),
            limit: u64::MAX,
            windows: Windows::full(settings.rate.windows(), now),
            usual: UsualLatency::default(),
            spread: Spread::new(now, settings.rate.ahead()),
            tempo,
            words: Words::default(),
            share: budget.map(|budget| Share::new(budget, now)),
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
            let sign = self.share.as_ref().map(|share| share.next_sign(now));
            if sign.is_some_and(|at| at <= now) {
                self.ask_others(now, false);
                continue;
            }
            let wake = departure.into_iter().chain(sign).min();
            if departure.is_some_and(|at| at <= now) && self.let_through(now) {
                continue;
            }
            if self.account.turn(now, self.cause(now)) {
                self.publish(|_| {});
            }
            tokio::select! {
                biased;
                message = inbox.recv() => match message {
                    Some(Message::Enter(class, reply)) => self.waiting[class as usize].push_back(reply),
                    Some(Message::Heard(said)) => self.hear(said),
                    Some(Message::Left(departed, signal)) => self.left(departed, signal),
                    Some(Message::Limit(requests)) => self.limit = requests,
                    Some(Message::Rest(begins)) => {
                        self.account.rest(Instant::now(), begins);
                        self.publish(|_| {});
                    }
                    // Whoever has gone meanwhile needs no answer.
                    Some(Message::Look(reply)) => drop(reply.send(self.view.borrow().clone())),
                    None => return,
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn cause(&self, now: Instant) -> Cause {
        cause(Moment {
            waiting: self.waiting.iter().any(|class| !class.is_empty()),
            under_way: self.under_way,
            full: self.under_way >= self.settings.concurrency,
            paused: self.pause.as_ref().is_some_and(|pause| pause.until > now),
            failing: self.failures > 0,
            resting: self.account.is_resting(),
        })
    }

    /// When the next of those who wait may go; `None` until a message changes something.
    fn next_departure(&mut self) -> Option<Instant> {
        if self.view.borrow().requests >= self.limit {
            let exhausted = self.under_way == 0 && self.waiting.iter().any(|class| !class.is_empty());
            if exhausted {
                self.publish(|view| view.exhausted = true);
            }
            return None;
        }
        if !self.is_held_by_pace() {
            return None;
        }
        let now = Instant::now();
        let at = self.earliest(now);
        let Some(share) = &self.share else { return at };
        if share.may_depart(now) {
            return at;
        }
        // Where others are all that holds us up, that they have moved on is in the record only.
        if at.is_some_and(|at| at > now) {
            return at;
        }
        let next = share.next_lease(now);
        if next > now {
            return Some(next);
        }
        self.ask_others(now, true);
        let share = self.share.as_ref()?;
        if share.may_depart(now) {
            self.earliest(now)
        } else {
            Some(share.next_lease(now).max(now + SOON))
        }
    }

    /// Whether somebody waits, and neither the tenant's state nor too many requests under way are why.
    fn is_held_by_pace(&self) -> bool {
        // One at a time feels its way while the tenant is unwell or objects.
        let room = if self.failures > 0 || self.told_to_slow > 0 {
            1
        } else {
            self.settings.concurrency
        };
        self.under_way < room && !self.waiting.iter().all(VecDeque::is_empty)
    }

    /// When the next request may depart, as far as we know by ourselves.
    fn earliest(&mut self, now: Instant) -> Option<Instant> {
        let open = self.under_way + self.share.as_ref().map_or(0, Share::others_open);
        let mut at = self.windows.next_departure(now, open)?;
        if let Some(pause) = &self.pause {
            at = at.max(pause.until);
        }
        Some(match self.pace(now) {
            Some(_) => at.max(self.spread.next_departure()),
            None => at,
        })
    }

    /// Requests a second to aim at now.
    fn pace(&self, now: Instant) -> Option<f64> {
        let own = self.tempo.per_second(now);
        match &self.share {
            Some(share) => share.pace(own, |ceiling| self.tempo.under(ceiling, now)),
            None => own,
        }
    }

    /// Tells other processes how we stand, and takes over what they have learned.
    fn ask_others(&mut self, now: Instant, wants: bool) {
        let (hungry, pace) = (self.is_held_by_pace(), self.pace(now));
        let Some(share) = &mut self.share else { return };
        let is_told = self.told_to_slow > 0;
        let news = share.ask(
            now,
            Standing {
                windows: &mut self.windows,
                under_way: self.under_way,
                wants,
                hungry: hungry && self.pause.as_ref().is_none_or(|pause| pause.until <= now),
                pace,
                hold: self.pause.as_ref().filter(|_| is_told).map(|pause| pause.until),
                limit: self.tempo.limit(),
            },
        );
        if let Some(limit) = news.limit {
            self.tempo.adopt(limit);
            self.told_to_slow = 0;
        }
        self.tempo.accepted(now, news.sent);
        if self.view.borrow().alone.is_some() != self.is_alone() {
            self.publish(|_| {});
        }
        if let Some(until) = news.hold {
            if self.told_to_slow == 0 {
                self.told_to_slow = 1;
                self.episode = now;
                self.tempo.refused(now);
            }
            self.hold(
                until,
                "the tenant asked another rollbook to slow down (429)".into(),
            );
        }
    }

    fn is_alone(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.alone().is_some())
    }

    /// Lets the first of the best class go.
    fn let_through(&mut self, now: Instant) -> bool {
        if self.pause.take().is_some() {
            self.publish(|_| {});
        }
        for class in self.order() {
            while let Some(reply) = self.waiting[class].pop_front() {
                let permit = Permit {
                    departed: now,
                    gate: self.messages.upgrade(),
                };
                match reply.send(permit) {
                    Ok(()) => {
                        self.under_way += 1;
                        self.count_passed_over(class);
                        if let Some(rate) = self.pace(now) {
                            self.spread.depart(now, rate);
                        }
                        if let Some(share) = &mut self.share {
                            share.depart();
                        }
                        self.publish(|view| {
                            view.requests += 1;
                            view.by_class[class] += 1;
                        });
                        return true;
                    }
                    // Whoever waited was cancelled. Its permit must not report a request that never was.
                    Err(mut permit) => permit.gate = None,
                }
            }
        }
        false
    }

    /// Who goes first. Everybody waits for the higher classes, but none of them for good.
    fn order(&self) -> [usize; 3] {
        if self.failures > 0 {
            // A write that meets an outage ends in doubt, so a read goes ahead to see whether it is over.
            return [1, 2, 0];
        }
        match self.passed_over {
            [_, settles, _] if settles >= PATIENCE => [1, 0, 2],
            [_, _, lookups] if lookups >= PATIENCE => [2, 0, 1],
            _ => [0, 1, 2],
        }
    }

    /// Notes who had to wait while this class went.
    fn count_passed_over(&mut self, class: usize) {
        self.passed_over[class] = 0;
        for lower in class + 1..3 {
            let waits = !self.waiting[lower].is_empty();
            self.passed_over[lower] = if waits { self.passed_over[lower] + 1 } else { 0 };
        }
    }

    fn left(&mut self, departed: Instant, signal: Signal) {
        let now = Instant::now();
        self.under_way -= 1;
        let late = match signal {
            Signal::Unknown => now.saturating_duration_since(departed),
            _ => self.usual.excess(now, now.saturating_duration_since(departed)),
        };
        self.windows.note(departed + late);
        if let Some(share) = &mut self.share {
            share.answered(departed + late);
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
            if self.tempo.recovered(departed) {
                self.ask_others(now, false);
            }
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
        self.ask_others(now, false);
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
        if longer {
            self.held.notify_waiters();
        }
    }

    fn publish(&mut self, change: impl FnOnce(&mut PaceView)) {
        let (pause, per_second) = (self.pause.clone(), self.pace(Instant::now()));
        let (latency, account) = (self.usual.latency(), self.account);
        let alone = self.share.as_ref().and_then(|share| share.alone().cloned());
        self.view.send_modify(|view| {
            change(view);
            view.latency = latency;
            view.account = Some(account);
            view.pause = pause;
            view.per_second = per_second;
            view.alone = alone;
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

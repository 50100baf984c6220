//! The gate that every request of the process passes: rate, concurrency, and when to hold still.
//!
//! One task owns all of it, so nobody backs off alone: a 429 or an outage that one request meets slows
//! everybody. Three things decide when the next request departs. The *windows* (`window.rs`) are the law:
//! no second holds more than the rate. The *limiter* spreads requests evenly within it. The *pause* holds
//! everything until the tenant may be asked again. Who goes first is decided by class.

use super::account::{Account, Moment, Rest, cause};
pub use super::permit::Permit;
use super::window::{UsualLatency, Window};
use crate::model::spent::{Cause, Spent};
use crate::model::{backoff, rate::Rate};
use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::Add;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// What a request is for. The order is the order at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A batch: few, and everything waits for them.
    Write,
    /// Polls and read-backs, a few for each batch.
    Settle,
    /// Look-ups: as many as there are entries.
    Lookup,
}

/// How a request went, as far as the pace is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The tenant is well, whatever it said.
    Fine,
    /// It told us to slow down.
    SlowDown(Option<Duration>),
    /// It cannot be reached, or answers rubbish.
    Trouble(String),
    /// The request was given up before anything could be learned.
    Unknown,
}

/// What the gate looks like from outside.
#[derive(Clone, Debug, Default)]
pub struct PaceView {
    /// Requests a second that are aimed at now; `None` where there is no limit.
    pub per_second: Option<f64>,
    /// Requests let through so far.
    pub requests: u64,
    /// Those of each class, in the order of the classes.
    pub by_class: [u64; 3],
    /// Answers of the tenant that it was well.
    pub successes: u64,
    /// 429s so far.
    pub refusals: u64,
    /// Why nothing departs, and until when.
    pub pause: Option<Pause>,
    /// The latency that the tenant's answers usually have, where there were any.
    pub latency: Option<Duration>,
    /// Whether somebody waits in vain: as many requests were let through as may be, and none is under way.
    pub exhausted: bool,
    /// What the run has waited for.
    pub account: Option<Account>,
    /// When the last outage of some length ended: the tenant may not have worked on anything while it lasted.
    pub outage_ended: Option<Instant>,
}

/// Trouble that lasts longer is an outage, and not a slip.
const OUTAGE_AT_LEAST: Duration = Duration::from_secs(30);

/// Why nothing departs for a while.
#[derive(Clone, Debug)]
pub struct Pause {
    /// In words for people.
    pub why: String,
    /// When the next request is tried.
    pub until: Instant,
}

/// How the gate is set.
#[derive(Clone, Copy, Debug)]
pub struct PaceSettings {
    /// The ceiling; the tenant may push us below it.
    pub rate: Rate,
    /// Requests under way at the same time.
    pub concurrency: usize,
}

/// A handle to the gate; clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    messages: mpsc::UnboundedSender<Message>,
    view: watch::Receiver<PaceView>,
}

pub(super) enum Message {
    Enter(Class, oneshot::Sender<Permit>),
    Left(Instant, Signal),
    /// No more requests than so many, all in all.
    Limit(u64),
    /// A task begins to wait for the tenant's own work, or has waited.
    Rest(bool),
}

impl Gate {
    /// Sets up the gate and the task that keeps it. The task ends with the last handle and permit.
    pub fn open(settings: PaceSettings) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (view, watched) = watch::channel(PaceView::default());
        let keeper = Keeper::new(settings, messages.downgrade(), view);
        tokio::spawn(keeper.keep(inbox));
        Self {
            messages,
            view: watched,
        }
    }

    /// Waits until a request of this class may depart.
    pub async fn enter(&self, class: Class) -> Permit {
        let (reply, permit) = oneshot::channel();
        let sent = self.messages.send(Message::Enter(class, reply));
        assert!(sent.is_ok(), "BUG: the gate's keeper has left");
        permit.await.expect("BUG: the gate's keeper has left")
    }

    /// Lets no more requests through than so many, those before this call included.
    pub fn limit(&self, requests: u64) {
        let _ = self.messages.send(Message::Limit(requests));
    }

    /// Waits until somebody waits in vain, because as many requests were made as may be.
    pub async fn exhausted(&self) {
        if self.view.clone().wait_for(|view| view.exhausted).await.is_err() {
            std::future::pending().await
        }
    }

    /// Notes that somebody has nothing to ask until the tenant has got on with its own work.
    pub fn rest(&self) -> Rest {
        let _ = self.messages.send(Message::Rest(true));
        Rest(self.messages.clone())
    }

    /// Where the time has gone since the gate was opened.
    pub fn spent(&self) -> Spent {
        let account = self.view.borrow().account;
        account.map_or_else(Spent::default, |account| account.until(Instant::now()))
    }

    /// What the gate looks like now.
    pub fn view(&self) -> PaceView {
        self.view.borrow().clone()
    }
}

struct Keeper {
    settings: PaceSettings,
    messages: mpsc::WeakUnboundedSender<Message>,
    view: watch::Sender<PaceView>,
    waiting: [VecDeque<oneshot::Sender<Permit>>; 3],
    under_way: usize,
    account: Account,
    limit: u64,
    windows: Vec<Window>,
    usual: UsualLatency,
    limiter: Option<Limiter>,
    tempo: Tempo,
    pause: Option<Pause>,
    failures: u32,
    /// When the first of these failures was met.
    failing_since: Instant,
    told_to_slow: u32,
    /// Failures of requests that had departed before this belong to the episode that is known already.
    episode: Instant,
}

impl Keeper {
    fn new(
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
            account: Account::open(now),
            limit: u64::MAX,
            windows: settings.rate.windows().into_iter().map(window).collect(),
            usual: UsualLatency::default(),
            limiter: tempo.limiter(),
            tempo,
            pause: None,
            failures: 0,
            failing_since: now,
            told_to_slow: 0,
            episode: now,
        };
        keeper.publish(|_| {});
        keeper
    }

    async fn keep(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        loop {
            let departure = self.next_departure();
            let now = Instant::now();
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
                    Some(Message::Left(departed, signal)) => self.left(departed, signal),
                    Some(Message::Limit(requests)) => self.limit = requests,
                    Some(Message::Rest(begins)) => {
                        self.account.rest(Instant::now(), begins);
                        self.publish(|_| {});
                    }
                    None => return,
                },
                () = sleep_until(departure) => {}
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
        if self.waiting.iter().all(VecDeque::is_empty) {
            return None;
        }
        if self.view.borrow().requests >= self.limit {
            let exhausted = self.under_way == 0;
            self.publish(|view| view.exhausted = exhausted);
            return None;
        }
        // One at a time feels its way while the tenant is unwell.
        let room = if self.failures > 0 {
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
        if at > now {
            return Some(at);
        }
        match self.limiter.as_ref().map(|limiter| limiter.check()) {
            Some(Err(wait)) => Some(
                now + wait
                    .wait_time_from(TokioInstant(now))
                    .max(Duration::from_micros(1)),
            ),
            _ => Some(now),
        }
    }

    /// Lets the first of the best class go. The limiter's place has been taken by then.
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
        }
        if self.tempo.speed_up(now) {
            self.limiter = self.tempo.limiter();
        }
        self.publish(|view| view.successes += 1);
    }

    fn slow_down(&mut self, now: Instant, departed: Instant, retry_after: Option<Duration>) {
        let wait = backoff::wait_as_told(retry_after, self.told_to_slow, fastrand::f64());
        let until = now + wait;
        if departed >= self.episode {
            self.told_to_slow += 1;
            self.episode = now;
            self.tempo.slow_down(now);
            self.limiter = self.tempo.limiter();
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
        let (pause, per_second) = (self.pause.clone(), self.tempo.per_second);
        let (latency, account) = (self.usual.latency(), self.account);
        self.view.send_modify(|view| {
            change(view);
            view.latency = latency;
            view.account = Some(account);
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

/// The rate aimed at: the user's ceiling, halved by each 429 and recovering by a twentieth a second.
struct Tempo {
    ceiling: Option<f64>,
    per_second: Option<f64>,
    changed: Instant,
}

impl Tempo {
    fn new(rate: Rate, now: Instant) -> Self {
        let ceiling = rate.per_second();
        Self {
            ceiling,
            per_second: ceiling,
            changed: now,
        }
    }

    fn slow_down(&mut self, now: Instant) {
        self.changed = now;
        if let (Some(ceiling), Some(rate)) = (self.ceiling, &mut self.per_second) {
            *rate = (*rate / 2.0).max(ceiling / 50.0);
        }
    }

    fn speed_up(&mut self, now: Instant) -> bool {
        let (Some(ceiling), Some(rate)) = (self.ceiling, &mut self.per_second) else {
            return false;
        };
        if *rate >= ceiling || now.saturating_duration_since(self.changed) < Duration::from_secs(1) {
            return false;
        }
        self.changed = now;
        *rate = (*rate + ceiling / 20.0).min(ceiling);
        true
    }

    /// A limiter cannot change its rate, so each change of tempo makes a new one.
    ///
    /// It lets a fiftieth of a second's worth go at once: timers are a millisecond coarse, and with no such
    /// slack each late wake-up would be lost for good. What that bunches, the windows bound.
    fn limiter(&self) -> Option<Limiter> {
        let rate = self.per_second?;
        let slack = NonZeroU32::new((rate / 50.0) as u32).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_secs_f64(1.0 / rate))?.allow_burst(slack);
        Some(RateLimiter::direct_with_clock(quota, TokioClock))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>;

/// The runtime's clock, so that tests can move it.
#[derive(Clone, Copy, Debug, Default)]
struct TokioClock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TokioInstant(Instant);

impl Clock for TokioClock {
    type Instant = TokioInstant;

    fn now(&self) -> TokioInstant {
        TokioInstant(Instant::now())
    }
}

impl Add<Nanos> for TokioInstant {
    type Output = Self;

    fn add(self, nanos: Nanos) -> Self {
        Self(self.0 + Duration::from(nanos))
    }
}

impl Reference for TokioInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(rate: &str, concurrency: usize) -> Gate {
        Gate::open(PaceSettings {
            rate: rate.parse().unwrap(),
            concurrency,
        })
    }

    /// Lets `count` requests through, each answered after `latency`, and says when each departed.
    async fn departures(gate: &Gate, count: usize, latency: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..count {
            let permit = gate.enter(Class::Lookup).await;
            times.push(start.elapsed());
            tokio::spawn(async move {
                tokio::time::sleep(latency).await;
                permit.leave(Signal::Fine);
            });
        }
        times
    }

    fn busiest_second(times: &[Duration]) -> usize {
        let within =
            |first: Duration| move |time: &&Duration| (first..first + Duration::from_secs(1)).contains(*time);
        times
            .iter()
            .map(|first| times.iter().filter(within(*first)).count())
            .max()
            .unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_holds_more_than_the_rate_and_little_is_lost() {
        for (rate, per_second) in [("10/s", 10), ("50/s", 50), ("1000/s", 1_000)] {
            let gate = gate(rate, 256);
            let times = departures(&gate, per_second * 20, Duration::from_millis(30)).await;
            assert!(
                busiest_second(&times) <= per_second,
                "{rate}: {}",
                busiest_second(&times)
            );
            let taken = *times.last().unwrap() - times[0];
            let achieved = (times.len() - 1) as f64 / taken.as_secs_f64();
            assert!(achieved > per_second as f64 * 0.985, "{rate}: {achieved}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_does_not_get_a_second_helping() {
        let gate = gate("10/s", 8);
        let times = departures(&gate, 12, Duration::from_millis(5)).await;
        assert!(times[0] >= Duration::from_secs(1), "{:?}", times[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_holds_everybody_and_the_pace_comes_back() {
        let gate = gate("100/s", 64);
        gate.enter(Class::Lookup)
            .await
            .leave(Signal::SlowDown(Some(Duration::from_secs(7))));
        let start = Instant::now();
        let permit = gate.enter(Class::Write).await;
        assert!(
            start.elapsed() >= Duration::from_millis(6_990),
            "{:?}",
            start.elapsed()
        );
        permit.leave(Signal::Fine);
        assert!(gate.view().per_second.unwrap() < 60.0);
        departures(&gate, 2_000, Duration::from_millis(5)).await;
        assert_eq!(gate.view().per_second, Some(100.0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_felt_for_one_at_a_time_and_reads_go_first() {
        let gate = gate("100/s", 64);
        gate.enter(Class::Lookup)
            .await
            .leave(Signal::Trouble("no route".into()));
        tokio::task::yield_now().await;
        let (mut order, mut permits) = (Vec::new(), tokio::task::JoinSet::new());
        for class in [Class::Write, Class::Lookup, Class::Settle] {
            let gate = gate.clone();
            permits.spawn(async move {
                let permit = gate.enter(class).await;
                permit.leave(Signal::Trouble("no route".into()));
                class
            });
        }
        while let Some(class) = permits.join_next().await {
            order.push(class.unwrap());
        }
        assert_eq!(order, [Class::Settle, Class::Lookup, Class::Write]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_outage_is_told_and_that_of_a_slip_is_not() {
        let gate = gate("100/s", 64);
        let trouble = || Signal::Trouble("no route".into());
        gate.enter(Class::Lookup).await.leave(trouble());
        gate.enter(Class::Lookup).await.leave(Signal::Fine);
        drop(gate.enter(Class::Lookup).await);
        assert_eq!(gate.view().outage_ended, None);
        let began = Instant::now();
        while began.elapsed() < OUTAGE_AT_LEAST {
            gate.enter(Class::Lookup).await.leave(trouble());
        }
        gate.enter(Class::Lookup).await.leave(Signal::Fine);
        drop(gate.enter(Class::Lookup).await);
        assert!(gate.view().outage_ended.is_some_and(|ended| ended > began));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_under_way_than_allowed() {
        let gate = gate("unlimited", 2);
        let (first, _second) = (gate.enter(Class::Lookup).await, gate.enter(Class::Lookup).await);
        let third = tokio::time::timeout(Duration::from_secs(5), gate.enter(Class::Write)).await;
        assert!(third.is_err());
        drop(first);
        gate.enter(Class::Write).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_instant_is_put_down_to_one_cause() {
        let seconds = |gate: &Gate, cause| gate.spent().on(cause).as_secs_f64().round() as u64;
        let began = Instant::now();
        let gate = gate("10/s", 2);
        let second = || tokio::time::sleep(Duration::from_secs(1));
        second().await;
        assert_eq!(seconds(&gate, Cause::OwnWork), 1, "nobody wants anything");
        departures(&gate, 31, Duration::from_millis(5)).await;
        assert_eq!(seconds(&gate, Cause::Rate), 3);
        let permits = (gate.enter(Class::Lookup).await, gate.enter(Class::Lookup).await);
        second().await;
        second().await;
        assert_eq!(seconds(&gate, Cause::Answers), 2);
        permits.0.leave(Signal::SlowDown(Some(Duration::from_secs(7))));
        permits.1.leave(Signal::Fine);
        gate.enter(Class::Lookup).await.leave(Signal::Fine);
        assert_eq!(seconds(&gate, Cause::SlowDown), 7);
        let rest = gate.rest();
        for _ in 0..5 {
            second().await;
        }
        drop(rest);
        assert_eq!(seconds(&gate, Cause::Batches), 5);
        for _ in 0..10 {
            let permit = gate.enter(Class::Lookup).await;
            permit.leave(Signal::Trouble("no route".into()));
        }
        let spent = gate.spent();
        assert!(spent.on(Cause::Outage) > Duration::from_secs(60), "{spent:?}");
        assert_eq!((spent.total(), spent.slow_downs), (began.elapsed(), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_holds_whoever_waits_and_is_told_once_all_answers_are_in() {
        let gate = gate("unlimited", 8);
        gate.limit(2);
        let permits = (gate.enter(Class::Lookup).await, gate.enter(Class::Write).await);
        let impatient = Duration::from_secs(5);
        let third = gate.enter(Class::Settle);
        tokio::pin!(third);
        assert!(tokio::time::timeout(impatient, &mut third).await.is_err());
        assert!(!gate.view().exhausted, "two may still learn something");
        drop(permits);
        gate.exhausted().await;
        assert!(tokio::time::timeout(impatient, third).await.is_err());
        assert_eq!(gate.view().requests, 2);
    }
}

//! The task behind the gate: who waits, who is in flight, and what holds everybody up.

use super::books::Books;
use super::breakdown::{Moment, TimeBreakdown, cause};
use super::budget::Budget;
use super::ceiling::{Nanos, nanos};
use super::headers::{Allowance, HeaderEstimator};
use super::record::{Ask, Reply, SharedLimit, Told, Want};
use super::tempo::{Limit, Source, Tempo};
use super::{Class, Message, PaceSettings, PaceView, Pause, Permit, Signal};
use crate::model::backoff;
use crate::model::spent::Cause;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

/// How many requests of other classes go before one of a class that waits: it gets one in four at the least.
const PATIENCE: u32 = 3;
/// A class that is refused more often, while another one is accepted, is limited by itself.
const TWICE: u32 = 2;
/// Trouble that lasts longer is an outage, and not a slip.
pub(super) const OUTAGE_AT_LEAST: Duration = Duration::from_secs(30);
/// How long nothing is waited for without a look: the pace may have risen by then.
const LOOK: Duration = Duration::from_secs(1);
/// The latency that answers usually have is the least of that many seconds, as in BBR (its RTprop filter).
const LATENCY_SPAN: Duration = Duration::from_secs(10);
/// A turn that was taken at a pace so much slower is given up.
const RISEN: f64 = 1.5;

/// How one class stands: the tenant may limit it by itself.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<oneshot::Sender<Permit>>,
    /// How often in a row it has waited while another one went.
    passed_over: u32,
    /// When the tenant first refused it; until it accepts it again.
    refused_since: Option<Instant>,
    /// When the last request departed that it accepted.
    accepted: Option<Instant>,
    /// Refusals in a row, each of a request that departed after the one before; and until when it waits alone.
    refusals: u32,
    last_refused: Option<Instant>,
    held_until: Option<Instant>,
}

pub(super) struct Pacer {
    settings: PaceSettings,
    told: Vec<Told>,
    messages: mpsc::WeakUnboundedSender<Message>,
    view: watch::Sender<PaceView>,
    /// Tells whoever would rather not wait for so long that a pause has begun, or has got longer.
    held: Arc<Notify>,
    queues: [Queue; 3],
    in_flight: u32,
    breakdown: TimeBreakdown,
    /// How many requests may be let through, all in all.
    limit: u64,
    latency: UsualLatency,
    tempo: Tempo,
    headers: HeaderEstimator,
    books: Books,
    /// The turn that has been taken, and the pace at that time.
    turn: Option<(Nanos, Option<f64>)>,
    /// When to ask for a place again, as far as the record told.
    again: Option<Instant>,
    pause: Option<Pause>,
    failures: u32,
    /// When the first of these failures was met.
    failing_since: Instant,
    /// How long the tenant said that it is unwell.
    unwell_until: Option<Instant>,
    told_to_slow: u32,
    /// Failures of requests that had departed before this belong to the episode that is known already.
    episode: Instant,
}

impl Pacer {
    pub(super) fn new(
        settings: PaceSettings,
        budget: Option<Budget>,
        messages: mpsc::WeakUnboundedSender<Message>,
        view: watch::Sender<PaceView>,
        held: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        let mut pacer = Self {
            told: told(&settings),
            messages,
            view,
            held,
            queues: Default::default(),
            in_flight: 0,
            breakdown: TimeBreakdown::begin(now),
            limit: u64::MAX,
            latency: UsualLatency::default(),
            tempo: Tempo::new(settings.rate, settings.reserve, now),
            headers: HeaderEstimator::default(),
            books: Books::open(budget, now),
            turn: None,
            again: None,
            pause: None,
            failures: 0,
            failing_since: now,
            unwell_until: None,
            told_to_slow: 0,
            episode: now,
            settings,
        };
        pacer.publish(|_| {});
        pacer
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        loop {
            let now = Instant::now();
            let sign = self.books.next_sign();
            if sign.is_some_and(|at| at <= now) {
                self.ask(None).await;
                continue;
            }
            let departure = self.next_departure(now);
            if departure.is_some_and(|at| at <= now) {
                self.depart(now).await;
                continue;
            }
            if self.breakdown.turn(now, self.cause(now)) {
                self.publish(|_| {});
            }
            // The pace may have risen by then.
            let look = departure.map(|at| at.min(now + LOOK));
            let wake = look.into_iter().chain(sign).min();
            tokio::select! {
                biased;
                message = inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Enter(class, reply) => self.queues[class as usize].waiting.push_back(reply),
            Message::Heard(said) => self.hear(said),
            Message::Unwell(wait) => {
                self.unwell_until = Some(Instant::now() + wait.min(backoff::LONGEST_RETRY_AFTER))
            }
            Message::Left(class, departed, signal) => self.left(class, departed, signal),
            Message::Limit(requests) => self.limit = requests,
            Message::Rest(begins) => {
                self.breakdown.rest(Instant::now(), begins);
                self.publish(|_| {});
            }
            // Whoever has gone meanwhile needs no answer.
            Message::Look(reply) => drop(reply.send(self.view.borrow().clone())),
        }
    }

    fn cause(&self, now: Instant) -> Cause {
        let waiting = || self.queues.iter().filter(|queue| !queue.waiting.is_empty());
        let held = |queue: &Queue| queue.held_until.is_some_and(|until| until > now);
        cause(Moment {
            waiting: waiting().next().is_some(),
            in_flight: self.in_flight as usize,
            full: self.in_flight as usize >= self.settings.concurrency,
            paused: self.pause.as_ref().is_some_and(|pause| pause.until > now) || waiting().all(held),
            failing: self.failures > 0,
            resting: self.breakdown.is_resting(),
        })
    }

    /// When the next of those who wait may go, as far as we know by ourselves; `None` until a message changes something.
    fn next_departure(&mut self, now: Instant) -> Option<Instant> {
        let waits = self.queues.iter().any(|queue| !queue.waiting.is_empty());
        if !waits {
            return None;
        }
        if self.view.borrow().requests >= self.limit {
            if self.in_flight == 0 && !self.view.borrow().exhausted {
                self.publish(|view| view.exhausted = true);
            }
            return None;
        }
        // One at a time feels its way while the tenant is unwell or objects.
        let feels = self.failures > 0 || self.told_to_slow > 0;
        let room = if feels { 1 } else { self.settings.concurrency };
        if self.in_flight as usize >= room {
            return None;
        }
        self.give_up_slow_turn(now);
        let held = self.queues.iter().filter(|queue| !queue.waiting.is_empty());
        let at = held.map(|queue| queue.held_until.unwrap_or(now)).min()?;
        let pause = self.pause.as_ref().map_or(now, |pause| pause.until);
        Some(at.max(pause).max(self.again.unwrap_or(now)))
    }

    /// A turn that was taken at a much slower pace is not waited for.
    fn give_up_slow_turn(&mut self, now: Instant) {
        let Some((_, Some(then))) = self.turn else { return };
        if self.tempo.limit_pace(now).is_none_or(|pace| pace > then * RISEN) {
            (self.turn, self.again) = (None, None);
        }
    }

    /// Lets the next one go, if the record has a turn and a place for it.
    async fn depart(&mut self, now: Instant) {
        let order = self.order(now);
        // Whoever waited may have been cancelled.
        for class in order {
            let queue = &mut self.queues[class].waiting;
            while queue.front().is_some_and(oneshot::Sender::is_closed) {
                queue.pop_front();
            }
        }
        let Some(class) = order.into_iter().find(|class| self.may_go(*class, now)) else {
            return;
        };
        let pace = self.tempo.limit_pace(now);
        let is_free = self.told.is_empty() && pace.is_none();
        if !is_free {
            let want = Want {
                turn: self.turn.map(|(turn, _)| turn),
                from: self.books.nanos(now),
                pace,
                more: self.queues.iter().map(|queue| queue.waiting.len()).sum::<usize>() > 1,
            };
            let reply = self.ask(Some(want)).await;
            self.turn = reply.turn.map(|turn| (turn, pace));
            self.again = reply.again.map(|again| self.books.instant(again));
            if !reply.go {
                // Where no answer to others is waited for, one to us changes everything.
                self.again = self.again.or(Some(now + LOOK));
                return;
            }
            self.again = self.turn.map(|(turn, _)| self.books.instant(turn));
        }
        self.let_go(class);
    }

    fn let_go(&mut self, class: usize) {
        if self.pause.take().is_some() {
            self.publish(|_| {});
        }
        let Some(reply) = self.queues[class].waiting.pop_front() else {
            return;
        };
        let permit = Permit {
            class: [Class::Write, Class::Settle, Class::Lookup][class],
            departed: Instant::now(),
            gate: self.messages.upgrade(),
        };
        match reply.send(permit) {
            Ok(()) => {
                self.in_flight += 1;
                self.count_passed_over(class);
                self.publish(|view| {
                    view.requests += 1;
                    view.by_class[class] += 1;
                });
            }
            // Whoever waited was cancelled. Its permit must not report a request that never was.
            Err(mut permit) => permit.gate = None,
        }
    }

    /// Tells the record how we stand, and takes over what others have learned.
    async fn ask(&mut self, want: Option<Want>) -> Reply {
        let now = Instant::now();
        let is_told = self.told_to_slow > 0;
        let hold = self
            .pause
            .as_ref()
            .filter(|_| is_told)
            .map_or(0, |pause| self.books.nanos(pause.until));
        let ask = Ask {
            told: self.told.clone(),
            in_flight: self.in_flight,
            hold,
            limit: self.shared_limit(),
            latency: self.latency.usual().unwrap_or_default(),
            want,
            ..Ask::default()
        };
        let was_alone = self.books.alone.is_some();
        let before = self.books.others_accepted;
        let reply = self.books.ask(now, ask).await;
        if let Some(limit) = reply.limit {
            match limit.per_second {
                Some(per_second) => self.tempo.adopt(self.own(limit, per_second)),
                None => self.tempo.lift(self.books.instant(limit.since)),
            }
            self.told_to_slow = 0;
        }
        let others = reply.accepted.saturating_sub(before.unwrap_or(reply.accepted));
        self.tempo.others_accepted(now, others);
        if let Some(until) = reply.hold.map(|until| self.books.instant(until)) {
            if self.told_to_slow == 0 {
                self.told_to_slow = 1;
                self.episode = now;
                self.tempo.refused(now, true);
            }
            self.hold(
                until,
                "the tenant asked another rollbook to slow down (429)".into(),
            );
        }
        if self.books.alone.is_some() != was_alone || self.view.borrow().past != self.books.past {
            self.publish(|_| {});
        }
        reply
    }

    fn shared_limit(&self) -> Option<SharedLimit> {
        let met = |limit: Limit| SharedLimit {
            per_second: Some(limit.per_second),
            since: self.books.nanos(limit.since),
            return_time: match limit.source {
                Source::Met(time) => Some(nanos(time)),
                Source::Told => None,
            },
        };
        let lifted = |since: Instant| SharedLimit {
            per_second: None,
            since: self.books.nanos(since),
            return_time: None,
        };
        self.tempo
            .limit()
            .map(met)
            .or_else(|| self.tempo.lifted().map(lifted))
    }

    fn own(&self, limit: SharedLimit, per_second: f64) -> Limit {
        let met = |time: Nanos| Source::Met(Duration::from_nanos(time.max(1)));
        Limit {
            per_second,
            since: self.books.instant(limit.since),
            source: limit.return_time.map_or(Source::Told, met),
        }
    }

    fn may_go(&self, class: usize, now: Instant) -> bool {
        let queue = &self.queues[class];
        !queue.waiting.is_empty() && queue.held_until.is_none_or(|until| until <= now)
    }

    /// Who goes first. Evidence does, but nobody waits for good.
    fn order(&self, now: Instant) -> [usize; 3] {
        const WRITE: usize = Class::Write as usize;
        const SETTLE: usize = Class::Settle as usize;
        const LOOKUP: usize = Class::Lookup as usize;
        if self.failures > 0 {
            // A write that meets an outage ends in doubt, so a read goes ahead to see whether it is over.
            return [SETTLE, LOOKUP, WRITE];
        }
        let mut order = [SETTLE, WRITE, LOOKUP];
        let is_overdue =
            |class: &usize| self.queues[*class].passed_over >= PATIENCE && self.may_go(*class, now);
        if let Some(place) = order.iter().rposition(is_overdue) {
            order[..=place].rotate_right(1);
        }
        // Whether the tenant limits one class by itself, shows in that it accepts another.
        order.sort_by_key(|class| self.queues[*class].refused_since.is_some());
        order
    }

    /// Notes who had to wait while this class went.
    fn count_passed_over(&mut self, class: usize) {
        for (other, queue) in self.queues.iter_mut().enumerate() {
            let waits = other != class && !queue.waiting.is_empty();
            queue.passed_over = if waits { queue.passed_over + 1 } else { 0 };
        }
    }

    fn left(&mut self, class: Class, departed: Instant, signal: Signal) {
        let now = Instant::now();
        self.in_flight -= 1;
        // There may be a place now.
        self.again = self.turn.map(|(turn, _)| self.books.instant(turn));
        if !self.told.is_empty() || self.books.is_shared() {
            self.books.answered(now);
        }
        if signal != Signal::Unknown {
            self.latency.take(now, now.saturating_duration_since(departed));
        }
        match signal {
            Signal::Fine => self.fine(class, now, departed),
            Signal::SlowDown(retry_after) => self.slow_down(class, now, departed, retry_after),
            Signal::Trouble(why) => self.trouble(now, departed, why),
            Signal::Unknown => {}
        }
    }

    fn fine(&mut self, class: Class, now: Instant, departed: Instant) {
        let queue = &mut self.queues[class as usize];
        queue.accepted = queue.accepted.max(Some(departed));
        if queue.refused_since.is_some_and(|since| departed > since) {
            (queue.refused_since, queue.held_until, queue.refusals) = (None, None, 0);
        }
        // Good news from before the trouble began does not end it.
        if departed >= self.episode {
            if self.failures > 0 && now - self.failing_since >= OUTAGE_AT_LEAST {
                self.publish(|view| view.outage_ended = Some(now));
            }
            self.failures = 0;
            self.told_to_slow = 0;
            if self.tempo.recovered(departed) {
                self.books.sign_now();
            }
        }
        self.tempo.accepted(now);
        self.books.accepted += 1;
        self.publish(|view| view.successes += 1);
    }

    fn hear(&mut self, said: Allowance) {
        let now = Instant::now();
        if let Some(per_second) = self.headers.hear(now, said, self.in_flight) {
            self.tempo.told(now, per_second);
            self.publish(|_| {});
        }
    }

    fn slow_down(&mut self, class: Class, now: Instant, departed: Instant, retry_after: Option<Duration>) {
        self.publish(|view| view.refusals += 1);
        let queue = &mut self.queues[class as usize];
        if queue.last_refused.is_none_or(|last| departed > last) {
            queue.refusals += 1;
            queue.last_refused = Some(now);
        }
        if self.limits_alone(class) {
            let queue = &mut self.queues[class as usize];
            let wait = backoff::wait_as_told(retry_after, queue.refusals, fastrand::f64());
            queue.held_until = queue.held_until.max(Some(now + wait));
            return;
        }
        self.queues[class as usize].refused_since.get_or_insert(now);
        let mut wait = backoff::wait_as_told(retry_after, self.told_to_slow, fastrand::f64());
        if retry_after.is_none() {
            wait = self.tempo.wait_untold(now, wait);
        }
        self.tempo.refused(now, departed >= self.episode);
        if departed >= self.episode {
            self.told_to_slow += 1;
            self.episode = now;
            self.headers.doubt();
        }
        self.hold(now + wait, why_slow(retry_after));
        self.books.sign_now();
    }

    /// Whether the tenant refuses this class time and again, and has accepted another one meanwhile.
    fn limits_alone(&self, class: Class) -> bool {
        let queue = &self.queues[class as usize];
        let Some(since) = queue.refused_since.filter(|_| queue.refusals > TWICE) else {
            return false;
        };
        let mut others = self
            .queues
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != class as usize);
        others.any(|(_, queue)| queue.accepted.is_some_and(|departed| departed > since))
    }

    fn trouble(&mut self, now: Instant, departed: Instant, why: String) {
        let told = self.unwell_until.take().filter(|until| *until > now);
        if departed >= self.episode {
            if self.failures == 0 {
                self.failing_since = now;
            }
            self.failures = self.failures.saturating_add(1);
            self.episode = now;
            let usual = || now + backoff::wait(self.failures, fastrand::f64());
            self.hold(told.unwrap_or_else(usual), why);
        } else if let Some(until) = told {
            self.hold(until, why);
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
        let (pause, per_second) = (self.pause.clone(), self.tempo.per_second(Instant::now()));
        self.view.send_modify(|view| {
            change(view);
            view.latency = self.latency.usual();
            view.breakdown = Some(self.breakdown);
            view.pause = pause;
            view.per_second = per_second;
            view.alone = self.books.alone.clone();
            view.past = self.books.past;
        });
    }
}

/// Why nothing departs, with what the tenant said where that is not obeyed as it stands.
fn why_slow(retry_after: Option<Duration>) -> String {
    let why = "the tenant asks to slow down (429)";
    match retry_after.filter(|told| *told > backoff::LONGEST_RETRY_AFTER) {
        Some(told) => format!("{why} for {} s, which is cut to an hour", told.as_secs()),
        None => why.into(),
    }
}

/// What the settings come to, as windows.
fn told(settings: &PaceSettings) -> Vec<Told> {
    let windows = settings.rate.windows();
    let named = settings.rate.named_windows();
    let told = |(place, (most, length)): (usize, (usize, Duration))| Told {
        most: u32::try_from(most).unwrap_or(u32::MAX),
        length: nanos(length),
        named: place < named,
    };
    windows.into_iter().enumerate().map(told).collect()
}

/// The least latency of late: a tenant may become slower for good.
#[derive(Debug, Default)]
struct UsualLatency {
    since: Option<Instant>,
    least: Option<Duration>,
    before: Option<Duration>,
}

impl UsualLatency {
    fn usual(&self) -> Option<Duration> {
        self.least.into_iter().chain(self.before).min()
    }

    fn take(&mut self, now: Instant, latency: Duration) {
        if self.since.is_none_or(|since| now - since >= LATENCY_SPAN / 2) {
            (self.since, self.before, self.least) = (Some(now), self.least, None);
        }
        self.least = Some(self.least.map_or(latency, |least| least.min(latency)));
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

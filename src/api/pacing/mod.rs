//! The gate that every request of the process passes: rate, concurrency, and when to wait.
//!
//! One task, the pacer, owns all of it, so nobody backs off alone: a 429 or an outage that one request meets slows
//! everybody. Several things decide when the next request departs:
//!
//! | file | holds |
//! |---|---|
//! | `pacer` | the task: who waits, who is in flight, what a pause or an outage holds up |
//! | `ceiling` | the user's rate: departures take turns, by governor |
//! | `record` | what is known of all requests: no window holds more than told, as the server counts |
//! | `books` | where that record is: shared with others, or this process's own |
//! | `budget` | the file in which processes on one host share that record |
//! | `tempo` | the tenant's own limit, found by a delivery-rate estimator and CUBIC |
//! | `headers` | what the tenant's own words tell of its limit, and how long to wait |
//! | `breakdown` | where the time of a run went |
//! | `told` | what the log says of it |

mod books;
mod breakdown;
mod budget;
mod ceiling;
pub mod headers;
mod pacer;
mod record;
mod tempo;
mod told;

use crate::model::rate::Rate;
use crate::model::reserve::Reserve;
use crate::model::spent::Spent;
pub use breakdown::{Rest, TimeBreakdown};
pub use budget::{Budget, Unshared};
use headers::Allowance;
use pacer::Pacer;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

/// What a request is for. Evidence goes first, then batches, then look-ups; each class gets one request in four at the
/// least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A batch.
    Write,
    /// Polls and read-backs: what becomes of a batch is measured by them, so they do not queue.
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
    pub breakdown: Option<TimeBreakdown>,
    /// Why nothing is shared with other processes any more, where that is so.
    pub alone: Option<Arc<str>>,
    /// What was known at first of what this host had sent before.
    pub past: Past,
    /// When the last outage of some length ended: the tenant may not have worked on anything while it lasted.
    pub outage_ended: Option<Instant>,
}

/// What is known of the requests that this host sent before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Past {
    /// Nothing: it may have sent as many as the rate allows, so the rate counts as used up.
    #[default]
    Unknown,
    /// It has sent none: it never had anything to do with this tenant.
    Nothing,
    /// All of them.
    Known,
}

impl Past {
    /// As a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Nothing => "none",
            Self::Known => "known",
        }
    }
}

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
    /// What is left to others of the tenant's limit; of the ceiling, as long as no lower limit is known.
    pub reserve: Reserve,
    /// Requests under way at the same time.
    pub concurrency: usize,
}

/// A handle to the gate; clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    messages: mpsc::UnboundedSender<Message>,
    view: watch::Receiver<PaceView>,
    held: Arc<Notify>,
}

#[derive(Debug)]
enum Message {
    Enter(Class, oneshot::Sender<Permit>),
    Heard(Allowance),
    /// The tenant is unwell, and says for how long.
    Unwell(Duration),
    Left(Class, Instant, Signal),
    /// No more requests than so many, all in all.
    Limit(u64),
    /// A task begins to wait for the tenant's own work, or has waited.
    Rest(bool),
    Look(oneshot::Sender<PaceView>),
}

/// Where what answers say of the tenant's limit is told, before the permit of the request is given back.
#[derive(Clone, Debug)]
pub struct Ear(mpsc::UnboundedSender<Message>);

impl Ear {
    /// Tells the gate what an answer says.
    pub fn hear(&self, said: Allowance) {
        // The gate is gone only where the whole run is.
        let _ = self.0.send(Message::Heard(said));
    }

    /// Tells it that an answer says for how long the tenant is unwell.
    pub fn hear_unwell(&self, wait: Duration) {
        let _ = self.0.send(Message::Unwell(wait));
    }
}

impl Gate {
    /// Sets up the gate and the task behind it. The task ends with the last handle and permit.
    pub fn open(settings: PaceSettings) -> Self {
        Self::sharing(settings, None)
    }

    /// The same, with a budget that is shared with other processes.
    pub fn sharing(settings: PaceSettings, budget: Option<Budget>) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (view, watched) = watch::channel(PaceView::default());
        let held = Arc::new(Notify::new());
        let pacer = Pacer::new(settings, budget, messages.downgrade(), view, held.clone());
        tokio::spawn(pacer.run(inbox));
        if tracing::enabled!(tracing::Level::INFO) {
            tokio::spawn(told::tell(watched.clone()));
        }
        Self {
            messages,
            view: watched,
            held,
        }
    }

    /// Waits until a request of this class may depart.
    pub async fn enter(&self, class: Class) -> Permit {
        let (reply, permit) = oneshot::channel();
        let sent = self.messages.send(Message::Enter(class, reply));
        assert!(sent.is_ok(), "BUG: the pacer has ended");
        permit.await.expect("BUG: the pacer has ended")
    }

    /// Waits until nothing may depart for longer than so long, and says how long it is. Only the tenant itself can
    /// ask for more than a minute: no other pause is longer.
    pub async fn held_beyond(&self, patience: Duration) -> Duration {
        loop {
            // Before the look, so that nothing is missed. Not the view's own watch: that wakes everybody who waits
            // with each answer, and in an order of chance, so that a simulation could not repeat itself.
            let held_again = self.held.notified();
            let until = self.view.borrow().pause.as_ref().map(|pause| pause.until);
            let left = until.map_or(Duration::ZERO, |until| {
                until.saturating_duration_since(Instant::now())
            });
            if left > patience {
                return left;
            }
            held_again.await;
        }
    }

    /// Where what answers say of the tenant's limit is to be told.
    pub fn ear(&self) -> Ear {
        Ear(self.messages.clone())
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
        let breakdown = self.view.borrow().breakdown;
        breakdown.map_or_else(Spent::default, |breakdown| breakdown.until(Instant::now()))
    }

    /// What the gate looked like a moment ago. It may not know yet how the request went that has just left it.
    pub fn view(&self) -> PaceView {
        self.view.borrow().clone()
    }

    /// What the gate looks like once it knows how everything went that has left it by now.
    pub async fn caught_up(&self) -> PaceView {
        let (reply, view) = oneshot::channel();
        // Messages are taken in their order, so that this one comes after those.
        let sent = self.messages.send(Message::Look(reply));
        assert!(sent.is_ok(), "BUG: the pacer has ended");
        view.await.expect("BUG: the pacer has ended")
    }
}

/// The right to have one request in flight, which is given back whatever becomes of it.
#[derive(Debug)]
pub struct Permit {
    class: Class,
    departed: Instant,
    gate: Option<mpsc::UnboundedSender<Message>>,
}

impl Permit {
    /// Gives the place back and says how it went.
    pub fn leave(mut self, signal: Signal) {
        self.give_back(signal);
    }

    fn give_back(&mut self, signal: Signal) {
        if let Some(gate) = self.gate.take() {
            // The gate is gone only where the whole run is.
            let _ = gate.send(Message::Left(self.class, self.departed, signal));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(Signal::Unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::pacer::OUTAGE_AT_LEAST;
    use super::*;
    use crate::model::spent::Cause;

    fn gate(rate: &str, concurrency: usize) -> Gate {
        Gate::open(PaceSettings {
            rate: rate.parse().unwrap(),
            reserve: Reserve::NONE,
            concurrency,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_objection_before_anything_was_accepted_leaves_no_pace_where_there_was_none() {
        let gate = gate("unlimited", 8);
        let second = Duration::from_secs(1);
        gate.enter(Class::Lookup)
            .await
            .leave(Signal::SlowDown(Some(second)));
        let began = Instant::now();
        let times = departures(&gate, 200, Duration::from_millis(20)).await;
        assert!(times[0] >= second, "the tenant asked for that much");
        assert!(began.elapsed() < 3 * second, "{:?}", began.elapsed());

        // What it grants is learned from the next one, before which it has accepted enough.
        gate.enter(Class::Lookup)
            .await
            .leave(Signal::SlowDown(Some(second)));
        departures(&gate, 2, Duration::from_millis(20)).await;
        assert!(gate.caught_up().await.per_second.is_some());
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

    /// The most of these ascending times that any window of this length holds.
    fn busiest(times: &[Duration], length: Duration) -> usize {
        let within = |place: usize| {
            times[place..]
                .iter()
                .take_while(move |time| **time < times[place] + length)
        };
        (0..times.len())
            .map(|place| within(place).count())
            .max()
            .unwrap_or(0)
    }

    fn busiest_second(times: &[Duration]) -> usize {
        busiest(times, Duration::from_secs(1))
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
            // Until it is answered, a request may arrive at any time.
            let most = per_second as f64 / 1.03;
            assert!(achieved > most * 0.985, "{rate}: {achieved}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn several_windows_hold_at_once_and_the_slowest_is_kept_up() {
        let gate = gate("10/s,300/min", 8);
        let latency = Duration::from_millis(30);
        let first = departures(&gate, 600, latency).await;
        assert!(busiest(&first, Duration::from_secs(60)) <= 300);
        assert!(first.last().unwrap().as_secs_f64() < 122.0, "{:?}", first.last());
        tokio::time::sleep(Duration::from_secs(5)).await;
        let rest = departures(&gate, 100, latency).await;
        let at_once = busiest(&rest, Duration::from_secs(1));
        assert!(
            (6..=10).contains(&at_once),
            "made up for within the second: {at_once}"
        );
        let all = first
            .iter()
            .copied()
            .chain(rest.iter().map(|at| *at + first[599] + Duration::from_secs(5)));
        assert!(busiest(&all.collect::<Vec<_>>(), Duration::from_secs(60)) <= 300);
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
        assert!(gate.view().per_second.unwrap() <= 100.0);
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
        assert_eq!(gate.caught_up().await.outage_ended, None);
        let began = Instant::now();
        while began.elapsed() < OUTAGE_AT_LEAST {
            gate.enter(Class::Lookup).await.leave(trouble());
        }
        gate.enter(Class::Lookup).await.leave(Signal::Fine);
        let ended = gate.caught_up().await.outage_ended;
        assert!(
            ended.is_some_and(|ended| ended > began),
            "whoever met its end knows of it"
        );
    }

    /// A record that is read, and that nothing can be written to.
    #[tokio::test(start_paused = true)]
    async fn a_record_that_cannot_be_written_is_done_without_and_that_is_known() {
        let folder = tempfile::tempdir().unwrap();
        for guest in [false, true] {
            let budget = Budget::open(folder.path(), "a").unwrap().on_a_full_disk();
            let budget = if guest { budget.as_guest() } else { budget };
            let settings = PaceSettings {
                rate: "40/s".parse().unwrap(),
                reserve: Reserve::NONE,
                concurrency: 8,
            };
            let gate = Gate::sharing(settings, Some(budget));
            let all = departures(&gate, 200, Duration::from_millis(5));
            let times = tokio::time::timeout(Duration::from_secs(30), all).await;
            let times = times.expect("it goes on alone");
            assert!(times[199] < Duration::from_secs(10), "{:?}", times[199]);
            assert!(busiest_second(&times) <= 40);
            let why = gate.caught_up().await.alone.expect("it says so");
            assert!(why.contains(folder.path().to_str().unwrap()), "{why}");
        }
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
    async fn no_class_starves_another() {
        use Class::{Lookup, Settle, Write};
        for (flood, others) in [
            (Lookup, vec![Write, Settle]),
            (Settle, vec![Lookup]),
            (Write, vec![Settle, Lookup]),
        ] {
            let gate = gate("100/s", 1);
            let (told, mut went) = mpsc::unbounded_channel();
            let all = std::iter::repeat_n(flood, 400).chain(others.iter().flat_map(|class| [*class; 20]));
            for class in all {
                let (gate, told) = (gate.clone(), told.clone());
                tokio::spawn(async move {
                    let permit = gate.enter(class).await;
                    // The last of them go when nobody counts any more.
                    let _ = told.send(class);
                    permit.leave(Signal::Fine);
                });
            }
            let mut order = Vec::new();
            while order.len() < 200 {
                order.push(went.recv().await.unwrap());
            }
            for class in others {
                let its = order.iter().filter(|went| **went == class).count();
                assert_eq!(its, 20, "{class:?} amid {flood:?}");
            }
        }
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

    #[tokio::test(start_paused = true)]
    async fn a_class_that_is_limited_by_itself_waits_by_itself() {
        let gate = gate("100/s", 8);
        let began = Instant::now();
        let refuses = |began: Instant| began.elapsed() < Duration::from_secs(25);
        let (mut writes, mut lookups) = (0, 0);
        while began.elapsed() < Duration::from_secs(60) {
            let permit = tokio::select! {
                permit = gate.enter(Class::Write) => permit,
                permit = gate.enter(Class::Lookup) => permit,
            };
            tokio::time::sleep(Duration::from_millis(10)).await;
            let is_write = permit.class == Class::Write;
            if is_write && refuses(began) {
                permit.leave(Signal::SlowDown(Some(Duration::from_secs(2))));
                continue;
            }
            permit.leave(Signal::Fine);
            if is_write { writes += 1 } else { lookups += 1 }
        }
        assert!(lookups > 1_000, "{lookups}");
        assert!(writes > 500, "{writes}");
        assert!(gate.view().refusals <= 14, "{}", gate.view().refusals);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_as_long_as_the_tenant_says() {
        let gate = gate("100/s", 8);
        let twelve = Duration::from_secs(12);
        let permit = gate.enter(Class::Lookup).await;
        let began = Instant::now();
        gate.ear().hear_unwell(twelve);
        permit.leave(Signal::Trouble("HTTP 503".into()));
        let next = gate.enter(Class::Lookup).await;
        assert!(
            (twelve..twelve + Duration::from_millis(50)).contains(&began.elapsed()),
            "{:?}",
            began.elapsed()
        );
        next.leave(Signal::Fine);
        assert!(gate.caught_up().await.pause.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_without_end_is_cut_and_said() {
        let gate = gate("100/s", 8);
        gate.enter(Class::Lookup)
            .await
            .leave(Signal::SlowDown(Some(Duration::MAX)));
        let pause = gate.caught_up().await.pause.unwrap();
        assert!(pause.why.contains("cut to an hour"), "{}", pause.why);
        assert_eq!(
            pause.until.saturating_duration_since(Instant::now()).as_secs(),
            3_600
        );
    }

    /// Beside a run at 60/s a command that asks little takes little, and each keeps to what was told.
    #[tokio::test(start_paused = true)]
    async fn a_guest_takes_no_more_than_it_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        let open = |rate: &str, guest: bool| {
            let budget = Budget::open(folder.path(), "a").unwrap();
            let settings = PaceSettings {
                rate: rate.parse().unwrap(),
                reserve: Reserve::NONE,
                concurrency: 8,
            };
            Gate::sharing(settings, Some(if guest { budget.as_guest() } else { budget }))
        };
        let (run, plan) = (open("60/s", false), open("10/s", true));
        let latency = Duration::from_millis(5);
        let all = tokio::spawn(async move { departures(&run, 600, latency).await });
        let few = departures(&plan, 50, latency).await;
        let all = all.await.unwrap();
        assert!(
            all[599] < Duration::from_secs_f64(600.0 / 60.0 * 1.2 + 1.0),
            "{:?}",
            all[599]
        );
        assert!(
            busiest_second(&few) <= 10 && few[49] < Duration::from_secs(7),
            "{:?}",
            few[49]
        );
    }
}

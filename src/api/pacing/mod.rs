//! The gate that every request of the process passes: rate, concurrency, and when to hold still.
//!
//! One task owns all of it, so nobody backs off alone: a 429 or an outage that one request meets slows
//! everybody. Several things decide when the next request departs:
//!
//! | file | holds |
//! |---|---|
//! | `keeper` | the task: who waits, who is under way, what a pause or an outage holds up |
//! | `window` | the law: no window of time holds more requests than allowed, as the server counts |
//! | `steps` | what such a window has to remember, in little room |
//! | `spread` | departures at even distances within it |
//! | `tempo` | how fast to go: the user's ceiling, and below it what the tenant was seen to take |
//! | `granted` | what the tenant took since it last objected |
//! | `allowance` | what its own words tell of its limit |
//! | `shared`, `record`, `budget` | the same across processes: one's part, what all know, the file |
//! | `told` | what the log says of it |

pub mod allowance;
mod budget;
mod granted;
mod keeper;
mod record;
mod shared;
mod spread;
mod steps;
mod tempo;
mod told;
mod window;

use crate::api::account::{Account, Rest};
pub use crate::api::permit::Permit;
use crate::model::rate::Rate;
use crate::model::reserve::Reserve;
use crate::model::spent::Spent;
use allowance::Allowance;
pub use budget::{Budget, Unshared};
use keeper::Keeper;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

/// What a request is for. The order is the order at the gate; a lower class gets one request in four at the least.
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
    /// Why nothing is shared with other processes any more, where that is so.
    pub alone: Option<Arc<str>>,
    /// When the last outage of some length ended: the tenant may not have worked on anything while it lasted.
    pub outage_ended: Option<Instant>,
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
pub(in crate::api) enum Message {
    Enter(Class, oneshot::Sender<Permit>),
    Heard(Allowance),
    Left(Instant, Signal),
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
}

impl Gate {
    /// Sets up the gate and the task that keeps it. The task ends with the last handle and permit.
    pub fn open(settings: PaceSettings) -> Self {
        Self::sharing(settings, None)
    }

    /// The same, with a budget that is shared with other processes.
    pub fn sharing(settings: PaceSettings, budget: Option<Budget>) -> Self {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (view, watched) = watch::channel(PaceView::default());
        let held = Arc::new(Notify::new());
        let keeper = Keeper::new(settings, budget, messages.downgrade(), view, held.clone());
        tokio::spawn(keeper.keep(inbox));
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
        assert!(sent.is_ok(), "BUG: the gate's keeper has left");
        permit.await.expect("BUG: the gate's keeper has left")
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
        let account = self.view.borrow().account;
        account.map_or_else(Spent::default, |account| account.until(Instant::now()))
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
        assert!(sent.is_ok(), "BUG: the gate's keeper has left");
        view.await.expect("BUG: the gate's keeper has left")
    }
}

#[cfg(test)]
mod tests {
    use super::keeper::OUTAGE_AT_LEAST;
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
        gate.enter(Class::Settle)
            .await
            .leave(Signal::SlowDown(Some(second)));
        let began = Instant::now();
        let times = departures(&gate, 200, Duration::from_millis(20)).await;
        assert!(times[0] >= second, "the tenant asked for that much");
        assert!(began.elapsed() < 3 * second, "{:?}", began.elapsed());

        // What it grants is learned from the next one, before which it has accepted enough.
        gate.enter(Class::Settle)
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
            assert!(achieved > per_second as f64 * 0.985, "{rate}: {achieved}");
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
}

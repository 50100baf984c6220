//! The tenant's own limit, found and kept: virtual minutes against simulated limiters of every kind.

use crate::support::share::pick;
use rollbook::api::pacing::headers::Allowance;
use rollbook::api::pacing::{Class, Gate, PaceSettings, Signal};
use rollbook::model::reserve::Reserve;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// How a limiter counts.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A window opens with its first request and has so many.
    Fixed,
    /// Any stretch of the window's length has so many.
    Sliding,
    /// So many tokens at the most, which come back evenly.
    Bucket,
    /// No limit.
    None,
}

/// What a 429 says of the time to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Seconds,
    Nothing,
    /// Seconds, and each answer says how many requests are left.
    Left,
}

/// A limiter of `count` requests in `per`.
#[derive(Debug)]
struct Limiter {
    kind: Kind,
    count: u32,
    per: Duration,
    opened: Option<Instant>,
    used: u32,
    passed: VecDeque<Instant>,
    tokens: f64,
    filled: Option<Instant>,
}

impl Limiter {
    fn new(kind: Kind, count: u32, per: Duration) -> Self {
        Self {
            kind,
            count,
            per,
            opened: None,
            used: 0,
            passed: VecDeque::new(),
            tokens: f64::from(count),
            filled: None,
        }
    }

    /// Lets a request pass, or says when the next one may.
    fn knock(&mut self, now: Instant) -> Result<(), Duration> {
        match self.kind {
            Kind::Fixed => {
                let opened = *self.opened.get_or_insert(now);
                let opened = if now - opened >= self.per { now } else { opened };
                if self.opened.replace(opened) != Some(opened) {
                    self.used = 0;
                }
                if self.used >= self.count {
                    return Err(opened + self.per - now);
                }
                self.used += 1;
            }
            Kind::Sliding => {
                while self.passed.front().is_some_and(|first| now - *first >= self.per) {
                    self.passed.pop_front();
                }
                if self.passed.len() >= self.count as usize {
                    return Err(self.passed[self.passed.len() - self.count as usize] + self.per - now);
                }
                self.passed.push_back(now);
            }
            Kind::Bucket => {
                let rate = f64::from(self.count) / self.per.as_secs_f64();
                let since = now - self.filled.replace(now).unwrap_or(now);
                self.tokens = (self.tokens + rate * since.as_secs_f64()).min(f64::from(self.count));
                if self.tokens < 1.0 {
                    return Err(Duration::from_secs_f64((1.0 - self.tokens) / rate));
                }
                self.tokens -= 1.0;
            }
            Kind::None => {}
        }
        Ok(())
    }
}

/// A tenant with a limiter, and what it saw.
struct World {
    limiter: Mutex<Limiter>,
    /// The share of requests that are refused whatever the pace.
    chance: f64,
    says: Says,
    latency: Duration,
    start: Instant,
    seen: Mutex<Vec<(Duration, bool)>>,
}

impl World {
    fn answer(&self) -> (Signal, Option<Allowance>) {
        let now = Instant::now();
        let mut limiter = self.limiter.lock().unwrap();
        let mut verdict = limiter.knock(now);
        if verdict.is_ok() && fastrand::f64() < self.chance {
            verdict = Err(SECOND);
        }
        let left = Allowance {
            limit: limiter.count,
            remaining: limiter.count - limiter.used,
            per_second: None,
        };
        self.seen
            .lock()
            .unwrap()
            .push((now - self.start, verdict.is_ok()));
        let signal = match verdict {
            Ok(()) => Signal::Fine,
            Err(wait) => {
                // Counted in whole seconds, as the header is.
                let seconds = SECOND * (wait.as_secs_f64().ceil() as u32).max(1);
                Signal::SlowDown((self.says != Says::Nothing).then_some(seconds))
            }
        };
        (signal, (self.says == Says::Left).then_some(left))
    }

    /// Somebody else's request.
    fn disturb(&self) {
        let _ = self.limiter.lock().unwrap().knock(Instant::now());
    }

    /// Gives the tenant another limit.
    fn change(&self, (count, seconds): (u32, u64)) {
        let mut limiter = self.limiter.lock().unwrap();
        *limiter = Limiter::new(limiter.kind, count, SECOND * seconds as u32);
    }

    /// Requests accepted a second, and the share of 429s, between two seconds of the story.
    fn between(&self, from: u64, to: u64) -> (f64, f64) {
        let seen = self.seen.lock().unwrap();
        let within = |(at, _): &&(Duration, bool)| (from..to).contains(&at.as_secs());
        let all = seen.iter().filter(within).count() as f64;
        let accepted = seen.iter().filter(within).filter(|(_, ok)| *ok).count() as f64;
        (accepted / (to - from) as f64, (all - accepted) / all.max(1.0))
    }
}

/// A story: what limiter, what latency, what pace asked for.
#[derive(Clone, Copy, Debug)]
struct Story {
    kind: Kind,
    limit: (u32, u64),
    says: Says,
    latency_ms: u64,
    rate: &'static str,
    reserve: &'static str,
    concurrency: usize,
    chance: f64,
}

/// What most stories have in common.
const USUAL: Story = Story {
    kind: Kind::Fixed,
    limit: (600, 60),
    says: Says::Seconds,
    latency_ms: 20,
    rate: "200/s",
    reserve: "0%",
    concurrency: 32,
    chance: 0.0,
};

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            limit: (count, seconds),
            says,
            latency_ms,
            rate,
            reserve,
            concurrency,
            chance,
        } = self;
        write!(
            f,
            "{kind:?} {count}/{seconds}s, retry after {says:?}, {latency_ms} ms, {concurrency} at a time, --rate {rate} \
             --reserve {reserve}, {:.0} % by chance",
            chance * 100.0
        )
    }
}

impl Story {
    fn limit_per_second(&self) -> f64 {
        f64::from(self.limit.0) / self.limit.1 as f64
    }

    async fn begin(self) -> Arc<World> {
        let world = Arc::new(World {
            limiter: Mutex::new(Limiter::new(
                self.kind,
                self.limit.0,
                SECOND * self.limit.1 as u32,
            )),
            chance: self.chance,
            says: self.says,
            latency: Duration::from_millis(self.latency_ms),
            start: Instant::now(),
            seen: Mutex::default(),
        });
        let gate = Gate::open(PaceSettings {
            rate: self.rate.parse().unwrap(),
            reserve: self.reserve.parse::<Reserve>().unwrap(),
            concurrency: self.concurrency,
        });
        for _ in 0..self.concurrency {
            let (gate, world) = (gate.clone(), world.clone());
            tokio::spawn(async move {
                loop {
                    let permit = gate.enter(Class::Lookup).await;
                    // On its way, and back: of no constant length.
                    sleep(world.latency.mul_f64(0.3 + 0.4 * fastrand::f64())).await;
                    let (signal, left) = world.answer();
                    sleep(world.latency.mul_f64(0.3 + 0.4 * fastrand::f64())).await;
                    if let Some(left) = left {
                        gate.ear().hear(left);
                    }
                    permit.leave(signal);
                }
            });
        }
        world
    }
}

/// Runs a story in virtual time.
fn play<F: Future>(story: F) -> F::Output {
    fastrand::seed(7);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(story)
}

fn stories() -> Vec<Story> {
    let mut stories = Vec::new();
    for kind in [Kind::Fixed, Kind::Sliding, Kind::Bucket] {
        for (limit, rate) in [
            ((60, 60), "10/s"),
            ((300, 60), "10/s"),
            ((600, 60), "unlimited"),
            ((10, 1), "unlimited"),
            ((50, 1), "200/s"),
            ((1_800, 60), "100/s"),
            ((3_000, 60), "100/s"),
            ((200, 1), "1000/s"),
        ] {
            for says in [Says::Seconds, Says::Nothing] {
                for (latency_ms, concurrency) in [(5, 32), (120, 32), (5, 1)] {
                    // One at a time asks no faster than it is answered.
                    if concurrency == 1 && limit == (200, 1) {
                        continue;
                    }
                    stories.push(Story {
                        kind,
                        limit,
                        says,
                        latency_ms,
                        rate,
                        concurrency,
                        ..USUAL
                    });
                }
            }
        }
    }
    stories
}

#[test]
fn the_limit_is_found_within_a_minute_and_kept() {
    let mut wrong = Vec::new();
    for story in stories().into_iter().step_by(pick(23, 1, 1)) {
        let limit = story.limit_per_second();
        let world = play(async move {
            let world = story.begin().await;
            sleep(SECOND * 360).await;
            world
        });
        let ((_, early), (kept, refused)) = (world.between(0, 60), world.between(60, 360));
        let first = world.between(60, 120).0;
        println!(
            "{story}: minute 1 {:.1} % refused; minute 2 {:.3} of the limit, 2-6 {:.3}, {:.2} % refused",
            early * 100.0,
            first / limit,
            kept / limit,
            refused * 100.0
        );
        // A window of a second counts what the line bunches; one of a minute, at one a second, is refused whole.
        let bunched = story.limit.1 == 1 && story.latency_ms > 100 && !matches!(story.kind, Kind::Bucket);
        let slow = limit <= 1.0;
        let few = story.limit.1 == 1 && story.limit.0 <= 10;
        let (soon, steady) = match (bunched, few) {
            // One request is a tenth of such a window.
            (_, true) => (0.7, 0.8),
            (true, _) => (0.7, 0.87),
            _ => (0.9, 0.95),
        };
        let found = first / limit > if slow { 0.6 } else { soon } && kept / limit > steady;
        // A bucket grants a burst at first, and looks like chance for a moment when that is over.
        let often = matches!(story.kind, Kind::Bucket) || slow;
        let polite = refused <= if often { 0.05 } else { 0.0165 } && early <= if few { 0.35 } else { 0.3 };
        if !(found && polite) {
            wrong.push(story.to_string());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Another limit from one moment to the next, in either direction, is found again.
#[test]
fn a_limit_that_changes_is_found_again() {
    for (number, kind) in [Kind::Fixed, Kind::Sliding, Kind::Bucket].into_iter().enumerate() {
        let changes = [
            ((600, 60), (300, 60)),
            ((300, 60), (600, 60)),
            ((100, 1), (30, 1)),
            ((20, 1), (60, 1)),
        ];
        for (before, after) in changes
            .into_iter()
            .skip(pick(number, 0, 0))
            .step_by(pick(4, 1, 1))
        {
            let story = Story {
                kind,
                limit: before,
                ..USUAL
            };
            let world = play(async move {
                let world = story.begin().await;
                sleep(SECOND * 300).await;
                world.change(after);
                sleep(SECOND * 480).await;
                world
            });
            let limit = f64::from(after.0) / after.1 as f64;
            let minutes: Vec<_> = (5..13)
                .map(|minute| world.between(minute * 60, minute * 60 + 60))
                .map(|(rate, refused)| format!("{:.2} {:.1} %", rate / limit, refused * 100.0))
                .collect();
            println!("{story}, then {}/{}s: {minutes:?}", after.0, after.1);
            let (kept, refused) = world.between(480, 780);
            // What a sliding window has granted too quickly it holds back later, twice over.
            let steady = if matches!(kind, Kind::Sliding) { 0.8 } else { 0.92 };
            assert!(kept / limit > steady, "{story}: {kept}");
            assert!(refused <= 0.01, "{story}: {refused}");
        }
    }
}

/// 429s that come whatever the pace set none: each is waited out, as the tenant says, and then it goes on.
#[test]
fn chance_sets_no_pace() {
    for (chance, least) in [(0.01, 60.0), (0.02, 50.0), (0.05, 20.0)] {
        let story = Story {
            kind: Kind::None,
            latency_ms: 5,
            rate: "5000/s",
            chance,
            ..USUAL
        };
        let world = play(async move {
            let world = story.begin().await;
            sleep(SECOND * 180).await;
            world
        });
        let (kept, refused) = world.between(60, 180);
        println!("{story}: {kept:.1}/s, {:.2} % refused", refused * 100.0);
        assert!(kept > least, "{story}: {kept}");
    }
}

/// Others take a part of the limit.
#[test]
fn what_others_leave_is_found() {
    for (number, kind) in [Kind::Fixed, Kind::Sliding, Kind::Bucket].into_iter().enumerate() {
        if number > pick(0, 2, 2) {
            break;
        }
        let story = Story {
            kind,
            rate: "100/s",
            ..USUAL
        };
        let world = play(async move {
            let world = story.begin().await;
            let busy = world.clone();
            tokio::spawn(async move {
                loop {
                    sleep(Duration::from_millis(300)).await;
                    busy.disturb();
                }
            });
            sleep(SECOND * 420).await;
            world
        });
        let (kept, refused) = world.between(120, 420);
        let share = kept / (story.limit_per_second() - 1.0 / 0.3);
        println!(
            "{story}, others 3.3/s: {share:.3} of the rest, {:.2} % refused",
            refused * 100.0
        );
        assert!(share > 0.8, "{story}: {share}");
        assert!(refused < 0.05, "{story}: {refused}");
    }
}

/// Where the tenant says what is left of its window, next to nothing is refused once a window has been seen, also where others
/// use a part of it.
#[test]
fn words_about_the_limit_are_believed() {
    for (limit, others_each_ms) in [((600, 60), None), ((6_000, 60), None), ((600, 60), Some(300))] {
        let story = Story {
            limit,
            says: Says::Left,
            latency_ms: 40,
            rate: "500/s",
            ..USUAL
        };
        let world = play(async move {
            let world = story.begin().await;
            let busy = world.clone();
            tokio::spawn(async move {
                while let Some(each) = others_each_ms {
                    sleep(Duration::from_millis(each)).await;
                    busy.disturb();
                }
            });
            sleep(SECOND * 420).await;
            world
        });
        let others = others_each_ms.map_or(0.0, |each| 1_000.0 / each as f64);
        let (kept, refused) = world.between(180, 420);
        let share = kept / (story.limit_per_second() - others);
        println!(
            "{story}, others {others:.1}/s: {share:.3} of what is left, {:.2} % refused",
            refused * 100.0
        );
        assert!((0.95..=1.01).contains(&share), "{story}: {share}");
        assert!(refused < 0.005, "{story}: {refused}");
    }
}

/// A reserve stays unused: of the tenant's limit where that is known, by its words or by its 429s, and else of the rate.
#[test]
fn a_reserve_is_left_to_others() {
    for (says, rate, limit, usual) in [
        (Says::Left, "500/s", (600, 60), 8.0),
        (Says::Seconds, "500/s", (600, 60), 8.0),
        (Says::Seconds, "10/s", (6_000, 60), 8.0),
    ] {
        let story = Story {
            limit,
            says,
            latency_ms: 40,
            rate,
            reserve: "20%",
            ..USUAL
        };
        let world = play(async move {
            let world = story.begin().await;
            sleep(SECOND * 420).await;
            world
        });
        let (kept, refused) = world.between(180, 420);
        println!("{story}: {kept:.2}/s, {:.2} % refused", refused * 100.0);
        assert!((usual * 0.94..=usual * 1.01).contains(&kept), "{story}: {kept}");
        assert_eq!(refused, 0.0, "{story}");
    }
}

//! One process's part in the budget that all processes on this host share.
//!
//! Nothing departs without a lease: the right to so many departures within the next moment, taken under the record's
//! lock from what all windows have left, counted by everybody as if it were used. So the windows hold whatever anybody
//! does, and the record is asked a few times a second instead of at each request.
//!
//! A record that cannot be used (a full disk, a lock that nobody lets go of, another version's file) changes nothing
//! here: what would follow from it takes effect only once it is written. After a second of that the process goes on
//! alone, at its own rate, and says why; it asks again every second.

use super::budget::Budget;
use super::record::{Member, Micros, Record, SharedLimit, fair_share};
use super::tempo::{Limit, Source};
use super::window::Windows;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How much is taken at once, and for how long it may be used.
const LEASE: Duration = Duration::from_millis(50);
const LEASE_LIFE: Duration = Duration::from_millis(100);
/// A lease where nothing limits anybody.
const UNLIMITED_LEASE: usize = 20_000;
/// How soon the record is asked again by who got no lease, by who has something to tell, and by anybody.
const WAITING: Duration = Duration::from_millis(10);
const UNTOLD: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_secs(1);
/// When a record that cannot be used is done without.
const PATIENCE: Duration = Duration::from_secs(1);
/// For how long it is kept what the record has not been told: the longest window.
const UNTOLD_FOR: Duration = Duration::from_secs(3_600);
/// Over what time it is reckoned how much somebody has use for, and how much more that may become.
const RECKONING: Duration = Duration::from_millis(500);
const HEADROOM: f64 = 1.2;
/// What a tenant told longer ago is not taken over.
const TOLD_LATELY: Micros = 600_000_000;

/// The part of one process.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    id: u64,
    lease: usize,
    lease_ends: Instant,
    /// Departures that have been answered and are not in the record yet: when at the latest.
    untold: Vec<Instant>,
    asked: Option<Instant>,
    /// Whether the last request for a lease was in vain.
    starved: bool,
    failing_since: Option<Instant>,
    /// Why the record is done without, where it is.
    alone: Option<Arc<str>>,
    joined: bool,
    /// Requests of others that are under way or leased, and what each of them has use for.
    others_open: usize,
    others_wish: Vec<Option<f64>>,
    ceiling: Option<f64>,
    reckoned: (Instant, u32, f64),
    sent: u64,
    /// What others had sent when the record was last asked, by their ids.
    others_sent: HashMap<u64, u64>,
}

/// How a process stands when it asks.
pub(super) struct Standing<'a> {
    pub(super) windows: &'a mut Windows,
    pub(super) under_way: usize,
    /// Whether somebody waits, and for nothing but the pace.
    pub(super) hungry: bool,
    /// Whether a request is to depart at once.
    pub(super) wants: bool,
    pub(super) pace: Option<f64>,
    pub(super) hold: Option<Instant>,
    pub(super) limit: Option<Limit>,
}

/// What others have made known.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) hold: Option<Instant>,
    pub(super) limit: Option<Limit>,
    /// Requests that others have sent since.
    pub(super) sent: u64,
}

/// The two clocks at one moment.
#[derive(Clone, Copy)]
struct Clocks {
    here: Instant,
    record: Micros,
}

impl Clocks {
    fn here(self, at: Micros) -> Instant {
        let micros = Duration::from_micros;
        match at.checked_sub(self.record) {
            Some(ahead) => self.here + micros(ahead),
            None => self
                .here
                .checked_sub(micros(self.record - at))
                .unwrap_or(self.here),
        }
    }

    fn record(self, at: Instant) -> Micros {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        match at.checked_duration_since(self.here) {
            Some(ahead) => self.record.saturating_add(micros(ahead)),
            None => self.record.saturating_sub(micros(self.here - at)),
        }
    }
}

impl Share {
    pub(super) fn new(budget: Budget, now: Instant) -> Self {
        Self {
            budget,
            id: fastrand::u64(1..),
            lease: 0,
            lease_ends: now,
            untold: Vec::new(),
            asked: None,
            starved: false,
            failing_since: None,
            alone: None,
            joined: false,
            others_open: 0,
            others_wish: Vec::new(),
            ceiling: None,
            reckoned: (now, 0, 0.0),
            sent: 0,
            others_sent: HashMap::new(),
        }
    }

    /// Whether a request may depart now, as far as the others are concerned.
    pub(super) fn may_depart(&self, now: Instant) -> bool {
        self.alone.is_some() || (self.lease > 0 && now < self.lease_ends)
    }

    /// Why the record has been of no use for so long that it is done without.
    pub(super) fn alone(&self) -> Option<&Arc<str>> {
        self.alone.as_ref()
    }

    pub(super) fn depart(&mut self) {
        self.lease = self.lease.saturating_sub(1);
        self.reckoned.1 += 1;
        self.sent += 1;
    }

    pub(super) fn answered(&mut self, latest: Instant) {
        self.untold.push(latest);
    }

    pub(super) fn others_open(&self) -> usize {
        self.others_open
    }

    /// When who waits for a lease may ask for one: at once, unless there was none a moment ago.
    pub(super) fn next_lease(&self, now: Instant) -> Instant {
        let asked = self
            .asked
            .filter(|_| self.starved || self.failing_since.is_some());
        asked.map_or(now, |asked| asked + WAITING)
    }

    /// When the record is to be asked although nobody waits.
    pub(super) fn next_sign(&self, now: Instant) -> Instant {
        let is_told = self.untold.is_empty() && self.lease == 0;
        let after = if is_told || self.alone.is_some() {
            QUIET
        } else {
            UNTOLD
        };
        self.asked.map_or(now, |asked| asked + after)
    }

    /// What of the pace of all is ours: a fair share of it, but no more than our own.
    pub(super) fn pace(
        &self,
        own: Option<f64>,
        under: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Option<f64> {
        if self.others_wish.is_empty() {
            return own;
        }
        let total = under(self.ceiling);
        let fair = total.map(|total| fair_share(total, &self.others_wish));
        match (fair, own) {
            (Some(fair), Some(own)) => Some(fair.min(own)),
            (fair, own) => fair.or(own),
        }
    }

    /// Tells the record how we stand, takes a new lease for the old one, and hears what is new.
    pub(super) fn ask(&mut self, now: Instant, standing: Standing<'_>) -> News {
        self.asked = Some(now);
        self.reckon(now);
        let wants = standing.wants;
        // What is learned from a record that cannot be written in the end would be learned again at each try.
        let mut learned = standing.windows.clone();
        let windows = standing.windows;
        let standing = Standing {
            windows: &mut learned,
            ..standing
        };
        let part = Part {
            id: self.id,
            binds: self.budget.binds,
            wish: (!standing.hungry).then_some(self.reckoned.2),
            untold: &self.untold,
            joined: self.joined,
            sent: self.sent,
            others_sent: &self.others_sent,
        };
        let asked = self.budget.change(|record, at| {
            let clocks = Clocks {
                here: now,
                record: at,
            };
            part.take_part(record, clocks, standing)
        });
        let (taken, news) = match asked {
            Ok(Some(taken)) => taken,
            Ok(None) => {
                self.fail(now, windows, "a process holds its lock and does not let go");
                return News::default();
            }
            Err(error) => {
                self.fail(now, windows, &error.to_string());
                return News::default();
            }
        };
        *windows = learned;
        self.untold.clear();
        (self.joined, self.failing_since, self.alone) = (true, None, None);
        (self.lease, self.lease_ends) = (taken.lease, now + LEASE_LIFE);
        (self.others_open, self.others_wish) = (taken.others_open, taken.others_wish);
        (self.ceiling, self.others_sent) = (taken.ceiling, taken.others_sent);
        self.starved = wants && self.lease == 0;
        news
    }

    /// The record could not be used: after a while it is done without, with nothing that it said.
    fn fail(&mut self, now: Instant, windows: &mut Windows, why: &str) {
        let since = *self.failing_since.get_or_insert(now);
        // Whatever is older counts in no window any more.
        self.untold
            .retain(|at| now.saturating_duration_since(*at) < UNTOLD_FOR);
        if now - since < PATIENCE || self.alone.is_some() {
            return;
        }
        let place = self.budget.folder().display();
        self.alone = Some(format!("the record of requests in {place} cannot be used ({why})").into());
        (self.lease, self.others_open, self.ceiling) = (0, 0, None);
        self.others_wish.clear();
        windows.restart(now);
    }

    fn reckon(&mut self, now: Instant) {
        let (since, departed, _) = self.reckoned;
        let elapsed = now - since;
        if elapsed >= RECKONING {
            let rate = f64::from(departed) / elapsed.as_secs_f64();
            self.reckoned = (now, 0, rate * HEADROOM);
        }
    }
}

/// What is taken under the lock.
struct Taken {
    lease: usize,
    others_open: usize,
    others_wish: Vec<Option<f64>>,
    ceiling: Option<f64>,
    others_sent: HashMap<u64, u64>,
}

/// What is told under the lock.
struct Part<'a> {
    id: u64,
    binds: bool,
    wish: Option<f64>,
    untold: &'a [Instant],
    joined: bool,
    sent: u64,
    others_sent: &'a HashMap<u64, u64>,
}

impl Part<'_> {
    fn take_part(&self, record: &mut Record, clocks: Clocks, mut standing: Standing<'_>) -> (Taken, News) {
        let now = clocks.record;
        let known = record.members.iter().any(|member| member.id == self.id);
        if !self.joined && self.sent == 0 {
            standing.windows.restart(clocks.here(record.since));
        } else if self.joined && !known && now.saturating_sub(record.since) < 2 * QUIET.as_micros() as u64 {
            // The record is younger than our part in it: what others did before is not known any more.
            standing.windows.fill(clocks.here(record.since));
        }
        for latest in self.untold {
            record.departed.push((self.id, clocks.record(*latest), 1));
        }
        record.members.retain(|member| member.id != self.id);
        let own = standing.windows.own().iter();
        let own = own.map(|(most, length)| (*most, length.as_micros() as Micros));
        record.members.push(Member {
            id: self.id,
            pid: rustix::process::getpid().as_raw_pid(),
            heard: now,
            windows: own.filter(|_| self.binds).collect(),
            open: 0,
            wish: self.wish,
            sent: self.sent,
        });
        let ceiling = self.adopt(record, clocks, standing.windows);
        let others_open = record.others(self.id).map(|member| member.open).sum();
        let alone = record.members.len() == 1;
        let lease = lease(&mut standing, clocks.here, others_open, alone);
        if let Some(member) = record.members.last_mut() {
            member.open = standing.under_way + lease;
        }
        let others_sent: HashMap<u64, u64> = record
            .others(self.id)
            .map(|member| (member.id, member.sent))
            .collect();
        let before = |id: &u64, sent: u64| *self.others_sent.get(id).unwrap_or(&sent);
        let news = News {
            hold: exchange_hold(record, clocks, standing.hold),
            limit: exchange_limit(record, clocks, standing.limit),
            sent: others_sent
                .iter()
                .map(|(id, sent)| sent.saturating_sub(before(id, *sent)))
                .sum(),
        };
        let taken = Taken {
            lease,
            others_open,
            others_wish: record.others(self.id).map(|member| member.wish).collect(),
            ceiling,
            others_sent,
        };
        (taken, news)
    }

    /// Makes the windows those of everybody, with what others sent; the pace that all of them allow.
    fn adopt(&self, record: &Record, clocks: Clocks, windows: &mut Windows) -> Option<f64> {
        let of_all = record.windows();
        let lengths = of_all
            .iter()
            .map(|(most, length)| (*most, Duration::from_micros(*length)));
        let departed = |ours: bool| {
            let chosen = record
                .departed
                .iter()
                .filter(move |(id, _, _)| (*id == self.id) == ours);
            chosen.map(move |(_, at, count)| (clocks.here(*at), *count))
        };
        windows.adopt(
            lengths.collect(),
            clocks.here,
            || departed(true).map(|(at, count)| (at, count as usize)).collect(),
            departed(false),
        );
        let paces = of_all
            .iter()
            .map(|(most, length)| *most as f64 * 1e6 / *length as f64);
        paces.min_by(f64::total_cmp)
    }
}

fn lease(standing: &mut Standing<'_>, now: Instant, others_open: usize, alone: bool) -> usize {
    if !standing.wants {
        return 0;
    }
    // Our own windows are asked at each departure anyway; the lease is for others to count.
    let want = match standing.pace {
        Some(pace) => (pace * LEASE.as_secs_f64()).ceil() as usize,
        None => UNLIMITED_LEASE,
    };
    let room = standing.windows.room(now, standing.under_way + others_open);
    let room = room.filter(|_| !alone).unwrap_or(usize::MAX);
    want.max(1).min(room)
}

/// The later of what we and others were told to wait for; news only where it is not our own.
fn exchange_hold(record: &mut Record, clocks: Clocks, ours: Option<Instant>) -> Option<Instant> {
    let ours = ours.map_or(0, |until| clocks.record(until));
    let theirs = record.hold;
    record.hold = ours.max(theirs);
    (theirs > ours.saturating_add(1_000) && theirs > clocks.record).then(|| clocks.here(theirs))
}

/// The newer of what we and others found out.
fn exchange_limit(record: &mut Record, clocks: Clocks, ours: Option<Limit>) -> Option<Limit> {
    let ours = ours.map(|limit| SharedLimit {
        per_second: limit.per_second,
        since: clocks.record(limit.since),
        return_time: match limit.source {
            Source::Met(time) => Some(time.as_micros() as Micros),
            Source::Told => None,
        },
    });
    let theirs = record.limit;
    let newer = |one: Option<SharedLimit>, other: Option<SharedLimit>| {
        // The clocks are read one after the other, so the same moment differs a little.
        one.is_some_and(|one| other.is_none_or(|other| one.since > other.since.saturating_add(1_000)))
    };
    if newer(ours, theirs) {
        record.limit = ours;
    }
    let theirs = theirs.filter(|_| newer(theirs, ours))?;
    let stale = theirs.return_time.is_none() && theirs.since + TOLD_LATELY < clocks.record;
    (!stale).then(|| Limit {
        per_second: theirs.per_second,
        since: clocks.here(theirs.since),
        source: theirs.return_time.map_or(Source::Told, |time| {
            Source::Met(Duration::from_micros(time.max(1)))
        }),
    })
}

//! How fast to go: the user's ceiling, and below it what the tenant was seen to take.
//!
//! A tenant does not say how fast it may be asked; it says 429 when it was too fast. What it accepted from one such
//! episode to the end of the next is what it grants. The pace then starts a little below that, comes back to it, lies
//! flat there for a while, and rises ever faster beyond, until the tenant objects again: on a flat stretch little is
//! lost and little refused, and a tenant that grants more is found soon. Where the tenant's answers tell of its
//! window (`allowance`), nothing has to be tried out.

use super::granted::Granted;
use crate::model::rate::Rate;
use crate::model::reserve::Reserve;
use std::time::Duration;
use tokio::time::Instant;

/// How far below its limit a pace starts, and how far beyond it is after the same time again, as a share.
const CAUTION: f64 = 0.03;
/// How long it takes to come back to a limit that was just met for the first time; doubles with each confirmation.
const SHORTEST_RETURN: Duration = Duration::from_secs(5);
const LONGEST_RETURN: Duration = Duration::from_secs(30);
/// How many requests coming back takes at least, for each second of patience.
const REQUESTS_PER_SECOND_OF_PATIENCE: f64 = 6.0;
/// The window that most tenants count in.
const MINUTE: Duration = Duration::from_secs(60);
/// How much later than that a tenant's clock may be.
const BEYOND_THE_MINUTE: Duration = Duration::from_millis(300);
/// The least of it where a reserve is to be left: a limit is tried out by going beyond it, which uses the reserve up.
const RESERVED_RETURN: Duration = Duration::from_secs(300);
/// No return takes longer, however long the tenant's window is.
const RETURN_LIMIT: Duration = Duration::from_secs(1_800);
/// A tenant that holds us off for longer counts in windows of about the time since it last did.
const LONG_HOLD: Duration = Duration::from_secs(5);
/// A limit that moved by a larger share is a new one.
const SAME_LIMIT: f64 = 0.15;
/// What fewer answers say about a limit may be chance.
const TOO_FEW: u64 = 10;
/// An objection is to the pace of so long ago.
const REACTION: Duration = Duration::from_secs(2);
/// What a tenant kept up until its last objection it grants now, but for so much: the next objection may be chance.
const STILL_PROVEN: f64 = 0.93;
/// The slowest pace that a tenant can drive us to, in requests a second: one in a minute.
const SLOWEST: f64 = 1.0 / 60.0;

/// The pace of all requests together.
#[derive(Debug)]
pub(super) struct Tempo {
    ceiling: Option<f64>,
    reserve: Reserve,
    limit: Option<Limit>,
    granted: Granted,
    /// When the tenant began to object, and what the pace was then; until it accepts again.
    objection: Option<(Instant, Option<f64>)>,
    /// How long it took to come back to the limit the last time, without regard to windows and numbers.
    patience: Duration,
    /// How long the tenant's window is, as far as its holds tell.
    window: Duration,
    /// What it accepted for a while before it last objected.
    proven: f64,
}

/// What the tenant grants, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limit {
    /// Requests a second.
    pub(super) per_second: f64,
    /// When it was learned.
    pub(super) since: Instant,
    /// How it was learned.
    pub(super) source: Source,
}

/// How a limit was learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Source {
    /// By going beyond it; it is tried again after a return that takes so long.
    Met(Duration),
    /// By the tenant's own words.
    Told,
}

impl Limit {
    /// The pace at which it is respected and, where it was met and not told, tried again.
    fn pace(&self, now: Instant) -> f64 {
        let Source::Met(return_time) = self.source else {
            return self.per_second;
        };
        let age = now.saturating_duration_since(self.since).as_secs_f64();
        let way = age / return_time.as_secs_f64() - 1.0;
        self.per_second * (1.0 + CAUTION * way.powi(3))
    }
}

impl Tempo {
    pub(super) fn new(rate: Rate, reserve: Reserve, now: Instant) -> Self {
        Self {
            ceiling: rate.per_second(),
            reserve,
            limit: None,
            granted: Granted::since(now),
            objection: None,
            patience: SHORTEST_RETURN,
            window: Duration::ZERO,
            proven: 0.0,
        }
    }

    /// Requests a second to aim at now; `None` where nothing limits them.
    pub(super) fn per_second(&self, now: Instant) -> Option<f64> {
        self.under(self.ceiling, now)
    }

    /// The same under another ceiling.
    pub(super) fn under(&self, ceiling: Option<f64>, now: Instant) -> Option<f64> {
        let usable = self.reserve.usable();
        let granted = self.limit.map(|limit| limit.pace(now) * usable);
        match (ceiling, granted) {
            (Some(ceiling), Some(granted)) => Some(ceiling.min(granted)),
            (Some(ceiling), None) => Some(ceiling * usable),
            (None, granted) => granted,
        }
    }

    /// What is known of the tenant's limit.
    pub(super) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Takes over what another process found out about the limit.
    pub(super) fn adopt(&mut self, limit: Limit) {
        self.limit = Some(limit);
        self.objection = None;
        self.granted = Granted::since(limit.since);
    }

    /// The tenant has taken requests.
    pub(super) fn accepted(&mut self, now: Instant, requests: u64) {
        if requests > 0 {
            self.granted.add(now, requests);
        }
    }

    /// The tenant objects to the pace.
    pub(super) fn refused(&mut self, now: Instant) {
        if self.objection.is_none() {
            self.objection = Some((now, self.per_second(now)));
        }
    }

    /// The tenant has accepted a request that departed after its objection; says whether there was one.
    pub(super) fn recovered(&mut self, departed: Instant) -> bool {
        let Some((since, pace)) = self.objection.take() else {
            return false;
        };
        let hold = departed.saturating_duration_since(since);
        if pace.is_none() && self.says_little(hold) {
            // There is no pace that it could be said of either: whatever the tenant grants is met soon enough.
            return true;
        }
        let age = departed.saturating_duration_since(self.granted.began());
        let mut measured = self.granted.per_second(since, departed);
        if let Some(limit) = &self.limit {
            measured = measured.min(limit.pace(since.checked_sub(REACTION).unwrap_or(since)));
        }
        if let Some(pace) = pace {
            measured = measured.min(pace);
            measured = measured.max(pace * self.least_share(hold));
        }
        // An objection that follows at once says less than the time before it.
        let measured = measured.max(self.proven * STILL_PROVEN).max(SLOWEST);
        // Where a window was used up, what went before proves nothing of what it holds.
        self.proven = if hold < LONG_HOLD {
            self.granted.kept_up(since)
        } else {
            0.0
        };
        if hold >= LONG_HOLD {
            self.window = age;
        }
        self.patience = match self.limit {
            Some(old) if (measured / old.per_second - 1.0).abs() < SAME_LIMIT => {
                (self.patience * 2).min(LONGEST_RETURN)
            }
            _ => SHORTEST_RETURN,
        };
        let requests = REQUESTS_PER_SECOND_OF_PATIENCE * self.patience.as_secs_f64();
        let by_number = Duration::from_secs_f64(requests / measured);
        let return_time = self
            .patience
            .max(by_number)
            .max(self.window / 2)
            .max(if self.reserve.is_none() {
                Duration::ZERO
            } else {
                RESERVED_RETURN
            })
            .min(RETURN_LIMIT);
        self.limit = Some(Limit {
            per_second: measured,
            since: departed,
            source: Source::Met(return_time),
        });
        if self.granted.total() >= TOO_FEW {
            self.granted = Granted::since(departed);
        }
        true
    }

    /// Whether so little was accepted before an objection that it may be chance, or what somebody else had left of a
    /// window.
    fn says_little(&self, hold: Duration) -> bool {
        match self.granted.total() {
            0 => true,
            accepted => accepted < TOO_FEW && hold < LONG_HOLD,
        }
    }

    /// What an objection leaves of the pace at least, however little was accepted before it.
    fn least_share(&self, hold: Duration) -> f64 {
        match self.granted.total() {
            TOO_FEW.. => 0.0,
            _ if self.says_little(hold) => 0.5,
            _ if self.limit.is_none() => 0.25,
            _ => 0.0,
        }
    }

    /// The tenant's own words tell its limit.
    pub(super) fn told(&mut self, now: Instant, per_second: f64) {
        if self.objection.is_none() {
            self.limit = Some(Limit {
                per_second: per_second.max(SLOWEST),
                since: now,
                source: Source::Told,
            });
        }
    }

    /// How long to wait after a 429 that does not say so, where the usual wait is so long.
    ///
    /// At least the time of a few requests, and not much longer than it has gone on already. At most until a minute has passed since the tenant began to count, and
    /// each further one: then the window of most tenants is over.
    pub(super) fn wait_untold(&self, now: Instant, usual: Duration) -> Duration {
        let pace = self.per_second(now).unwrap_or(f64::INFINITY);
        let few = Duration::from_secs_f64((3.0 / pace).min(10.0));
        let began = self.granted.first().unwrap_or(now);
        let age = now.saturating_duration_since(began).as_secs_f64();
        let left = MINUTE.mul_f64(1.0 - (age / MINUTE.as_secs_f64()).fract()) + BEYOND_THE_MINUTE;
        let overshoot = Duration::from_secs_f64(age / 3.0).max(few);
        usual.clamp(few, overshoot).min(left)
    }
}

//! The tempo: how fast the tenant itself lets us go, found by what it accepts and what it refuses (429).
//!
//! Two published methods work together. A *delivery-rate estimator*, as in BBR, says what the tenant grants: the busiest
//! stretch that ends with its objection, the wait included. *CUBIC* (RFC 9438) says how to try it again: the pace starts
//! a little below that rate, comes back to it, lies flat there for a while, and rises ever faster beyond, until the tenant
//! objects again. On the flat stretch little is lost and little refused, and a tenant that grants more is found soon.
//!
//! Not every 429 is about our pace: another client may share the limit, or a gateway sheds load. If the pace were the
//! cause, objections would stop once it is below what was accepted. So where one comes three times in a row although far
//! less was accepted than before the last one, they are taken for chance: they are waited out, as the tenant says, and
//! set no pace. That ends as soon as it refuses a fifth of what it is asked, which BBR's policer detection calls a limit.

use crate::model::rate::Rate;
use crate::model::reserve::Reserve;
use std::collections::VecDeque;
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
/// An objection within this part of the way back to a limit is early.
const EARLY_PART: f64 = 0.7;
/// After so many early objections in a row it is tried whether they are about the pace, and for so many more.
const EARLY: u32 = 2;
const EARLY_LIMIT: u32 = 16;
const TRIED: u32 = 5;
/// And after so many that were taken for chance, whether they still are.
const WATCHED: u32 = 12;
/// A smaller share is not told from this one by so few.
const FEW: f64 = 0.02;
/// By how much more, at the least, is accepted at one time than at another where that is chance.
const IRREGULAR: f64 = 1.5;
/// More than this share is refused by a limit, as in BBR's policer detection, and not by chance.
const CHANCE_AT_MOST: f64 = 0.10;
const MANY: f64 = 0.8;
/// So many times the share is another one.
const WORSE: f64 = 2.5;
/// The slowest pace that a tenant can drive us to, in requests a second: one in a minute.
const SLOWEST: f64 = 1.0 / 60.0;

/// The pace of all requests together.
#[derive(Debug)]
pub(super) struct Tempo {
    ceiling: Option<f64>,
    reserve: Reserve,
    limit: Option<Limit>,
    lifted: Option<Instant>,
    delivered: DeliveryRate,
    /// When the tenant began to object, and what the pace was then; until it accepts again.
    objection: Option<(Instant, Option<f64>)>,
    /// How long it took to come back to the limit the last time, without regard to windows and numbers.
    patience: Duration,
    /// How long the tenant's window is, as far as its holds tell.
    window: Duration,
    /// What it accepted for a while before it last objected.
    proven: f64,
    /// Objections in a row that followed at once.
    slips: u32,
    /// Whether objections are about the pace, and the answers by which that is told.
    chance: Chance,
    answers: Answers,
    /// How many early objections in a row make that worth a try; more after each that was in vain.
    early: u32,
}

/// Whether objections come by chance, whatever the pace.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Chance {
    /// They are about the pace, as far as is known.
    Unlikely,
    /// They came early time and again: it is tried whether more are refused without any pace. Such a share was.
    Tried(f64),
    /// No more were. Such a share is usual.
    Likely(f64),
}

/// Answers of a while.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    accepted: u32,
    refused: u32,
    /// Refusals that began an episode; and what was accepted since the last one, and the least and the most from one to
    /// the next.
    objections: u32,
    lately: u32,
    least: u32,
    most: u32,
}

impl Answers {
    fn object(&mut self) {
        let accepted = std::mem::take(&mut self.lately);
        self.least = if self.objections == 0 {
            accepted
        } else {
            self.least.min(accepted)
        };
        self.most = self.most.max(accepted);
        self.objections += 1;
    }

    /// Whether so many are refused that it is no chance.
    fn are_many(&self) -> bool {
        !self.may_be_chance() && f64::from(self.refused) * self.share() >= MANY
    }

    /// A limit objects after much the same number of requests each time, and chance does not.
    fn are_regular(&self) -> bool {
        f64::from(self.most) < f64::from(self.least) * IRREGULAR
    }

    fn share(&self) -> f64 {
        f64::from(self.refused) / f64::from(self.accepted + self.refused).max(1.0)
    }

    fn may_be_chance(&self) -> bool {
        self.share() < CHANCE_AT_MOST
    }
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
    /// Whether this is long before it is tried again.
    fn is_early(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        matches!(self.source, Source::Met(time) if age < time.mul_f64(EARLY_PART))
    }

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
            lifted: None,
            delivered: DeliveryRate::since(now),
            objection: None,
            patience: SHORTEST_RETURN,
            window: Duration::ZERO,
            proven: 0.0,
            slips: 0,
            chance: Chance::Unlikely,
            answers: Answers::default(),
            early: EARLY,
        }
    }

    /// Requests a second to aim at now; `None` where nothing limits them.
    pub(super) fn per_second(&self, now: Instant) -> Option<f64> {
        let limited = self.limit_pace(now);
        self.ceiling.into_iter().chain(limited).min_by(f64::total_cmp)
    }

    /// The same, where the ceiling alone is not what holds it; `None` where it is.
    pub(super) fn limit_pace(&self, now: Instant) -> Option<f64> {
        let usable = self.reserve.usable();
        let granted = self.limit.map(|limit| limit.pace(now) * usable);
        granted.or_else(|| Some(self.ceiling? * usable).filter(|_| !self.reserve.is_none()))
    }

    /// What is known of the tenant's limit.
    pub(super) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// When it was found that there is none, although there seemed to be one.
    pub(super) fn lifted(&self) -> Option<Instant> {
        self.lifted
    }

    /// There is no limit, as far as is known since then.
    pub(super) fn lift(&mut self, since: Instant) {
        self.limit = None;
        self.lifted = Some(since);
        self.begin_anew(since);
    }

    /// Takes over what another process found out about the limit.
    pub(super) fn adopt(&mut self, limit: Limit) {
        self.limit = Some(limit);
        self.objection = None;
        self.delivered = DeliveryRate::since(limit.since);
    }

    /// The tenant has accepted a request.
    pub(super) fn accepted(&mut self, now: Instant) {
        self.delivered.add(now, 1);
        self.answers.accepted += 1;
        self.answers.lately += 1;
    }

    /// It has accepted so many of other processes.
    pub(super) fn others_accepted(&mut self, now: Instant, requests: u64) {
        if requests > 0 {
            self.delivered.add(now, requests);
        }
    }

    /// The tenant refuses a request; whether that is news, and not of the episode that is known.
    pub(super) fn refused(&mut self, now: Instant, is_new: bool) {
        self.answers.refused += 1;
        if is_new && self.objection.is_none() {
            self.objection = Some((now, self.per_second(now)));
        }
    }

    /// The tenant has accepted a request that departed after its objection; says whether there was one.
    pub(super) fn recovered(&mut self, departed: Instant) -> bool {
        let Some((since, pace)) = self.objection.take() else {
            return false;
        };
        let hold = departed.saturating_duration_since(since);
        if self.says_nothing(pace, hold) || self.is_chance(since, departed, pace) {
            return true;
        }
        let measured = self.measured(since, departed, pace);
        // Where a window was used up, what went before proves nothing of what it holds.
        self.proven = if hold < LONG_HOLD {
            self.delivered.kept_up(since)
        } else {
            0.0
        };
        if hold >= LONG_HOLD {
            self.window = departed.saturating_duration_since(self.delivered.began());
        }
        self.patience = match self.limit {
            Some(old) if (measured / old.per_second - 1.0).abs() < SAME_LIMIT => {
                (self.patience * 2).min(LONGEST_RETURN)
            }
            _ => SHORTEST_RETURN,
        };
        self.limit = Some(Limit {
            per_second: measured,
            since: departed,
            source: Source::Met(self.return_time(measured)),
        });
        if self.delivered.total() >= TOO_FEW {
            self.begin_anew(departed);
        }
        true
    }

    fn begin_anew(&mut self, now: Instant) {
        self.delivered = DeliveryRate::since(now);
        self.slips = 0;
    }

    /// What the tenant grants, by an objection that came at this pace and is over.
    fn measured(&self, since: Instant, departed: Instant, pace: Option<f64>) -> f64 {
        let hold = departed.saturating_duration_since(since);
        let mut measured = self.delivered.per_second(since, departed);
        if let Some(limit) = &self.limit {
            measured = measured.min(limit.pace(since.checked_sub(REACTION).unwrap_or(since)));
        }
        if let Some(pace) = pace {
            let least = match self.delivered.total() {
                TOO_FEW.. => 0.0,
                _ if hold < LONG_HOLD => 0.5,
                _ if self.limit.is_none() => 0.25,
                _ => 0.0,
            };
            measured = measured.min(pace).max(pace * least);
        }
        // An objection that follows at once says less than the time before it.
        measured.max(self.proven * STILL_PROVEN).max(SLOWEST)
    }

    fn return_time(&self, measured: f64) -> Duration {
        let requests = REQUESTS_PER_SECOND_OF_PATIENCE * self.patience.as_secs_f64();
        let by_number = Duration::from_secs_f64(requests / measured);
        let reserved = if self.reserve.is_none() {
            Duration::ZERO
        } else {
            RESERVED_RETURN
        };
        let longest = self.patience.max(by_number).max(self.window / 2).max(reserved);
        longest.min(RETURN_LIMIT)
    }

    /// Whether an objection says nothing of a pace: so little was accepted before it that it belongs to the one before, as
    /// where a window slides and one place in it was free; or there is no pace that it could be said of.
    fn says_nothing(&mut self, pace: Option<f64>, hold: Duration) -> bool {
        let few = match self.delivered.total() {
            0 => true,
            accepted => accepted < TOO_FEW && hold < LONG_HOLD,
        };
        self.slips += u32::from(few);
        few && (pace.is_none() || self.slips == 1 && self.limit.is_some())
    }

    /// Whether an objection is to be waited out and no more: it is chance, or it is being tried out whether it is.
    fn is_chance(&mut self, since: Instant, departed: Instant, pace: Option<f64>) -> bool {
        let hold = departed.saturating_duration_since(since);
        let fell =
            |limit: Limit| self.measured(since, departed, pace) < limit.per_second * (1.0 - SAME_LIMIT);
        let below = self.limit.is_none_or(fell);
        let early = self.limit.is_some_and(|limit| limit.is_early(since));
        self.answers.object();
        match self.chance {
            Chance::Unlikely if early && hold < LONG_HOLD => {
                if self.answers.objections < self.early || !self.answers.may_be_chance() {
                    return false;
                }
                self.chance = Chance::Tried(std::mem::take(&mut self.answers).share());
                self.lift(departed);
                true
            }
            Chance::Unlikely => {
                self.answers = Answers::default();
                false
            }
            Chance::Tried(_)
                if hold < LONG_HOLD && self.answers.objections < TRIED && !self.answers.are_many() =>
            {
                true
            }
            Chance::Tried(before) => {
                let answers = std::mem::take(&mut self.answers);
                let is_chance = hold < LONG_HOLD
                    && answers.may_be_chance()
                    && !answers.are_regular()
                    && answers.share() < before.max(FEW) * WORSE;
                if is_chance {
                    self.chance = Chance::Likely(answers.share());
                } else {
                    self.take_as_meant();
                }
                is_chance
            }
            Chance::Likely(usual) => {
                if self.answers.objections >= WATCHED {
                    let answers = std::mem::take(&mut self.answers);
                    if !answers.may_be_chance()
                        || answers.are_regular()
                        || answers.share() > usual.max(FEW) * WORSE
                    {
                        self.take_as_meant();
                        return false;
                    }
                }
                hold < LONG_HOLD && below
            }
        }
    }

    fn take_as_meant(&mut self) {
        self.chance = Chance::Unlikely;
        self.early = (self.early * 3).min(EARLY_LIMIT);
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
        let began = self.delivered.first().unwrap_or(now);
        let age = now.saturating_duration_since(began).as_secs_f64();
        let left = MINUTE.mul_f64(1.0 - (age / MINUTE.as_secs_f64()).fract()) + BEYOND_THE_MINUTE;
        let overshoot = Duration::from_secs_f64(age / 3.0).max(few);
        usual.clamp(few, overshoot).min(left)
    }
}

/// The finest step in time.
const STEP: Duration = Duration::from_millis(250);
/// Steps that are kept; beyond, pairs of them become one.
const STEPS: usize = 512;
/// The shortest stretch and the fewest requests that a rate is read from.
const SHORTEST: Duration = Duration::from_secs(2);
const FEWEST: u64 = 20;
/// A rate that was accepted for twice as long is no burst.
const PROOF: Duration = Duration::from_secs(5);
/// A hold that comes after so long a time, and is so short, is rounding but for the time of one request.
const LONG_AGO: Duration = Duration::from_secs(3);
const ROUNDING: Duration = Duration::from_secs(2);

/// Accepted requests over time.
#[derive(Debug)]
struct DeliveryRate {
    began: Instant,
    first: Option<Instant>,
    step: Duration,
    counts: VecDeque<u64>,
    total: u64,
}

impl DeliveryRate {
    fn since(began: Instant) -> Self {
        Self {
            began,
            first: None,
            step: STEP,
            counts: VecDeque::new(),
            total: 0,
        }
    }

    fn began(&self) -> Instant {
        self.began
    }

    /// When the first answer came: the tenant cannot have begun to count later.
    fn first(&self) -> Option<Instant> {
        self.first
    }

    fn total(&self) -> u64 {
        self.total
    }

    fn add(&mut self, now: Instant, requests: u64) {
        self.first.get_or_insert(now);
        let age = now.saturating_duration_since(self.began);
        while age.as_nanos() / self.step.as_nanos() >= STEPS as u128 {
            let pairs = self.counts.make_contiguous().chunks(2);
            self.counts = pairs.map(|pair| pair.iter().sum()).collect();
            self.step *= 2;
        }
        let place = (age.as_nanos() / self.step.as_nanos()) as usize;
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += requests;
        self.total += requests;
    }

    /// What was kept up until the tenant objected; 0 unless that was for long enough to prove something.
    fn kept_up(&self, objected: Instant) -> f64 {
        let active = objected.saturating_duration_since(self.began);
        let (mut sum, mut steps) = (0, 0);
        for count in self.counts.iter().rev() {
            sum += count;
            steps += 1;
            let stretch = self.step * steps;
            if stretch >= PROOF && sum >= FEWEST && stretch * 2 <= active {
                return sum as f64 / stretch.as_secs_f64();
            }
        }
        0.0
    }

    /// What the tenant grants a second, if it objected at `objected` and accepts again at `until`.
    ///
    /// Its window is of unknown length, but whatever it is, no stretch of that length that ends with the hold can
    /// have held more than the tenant grants; and about that much the right one did hold, or there would have been no
    /// objection. Too short a stretch is mostly hold, too long a one reaches back to when less was asked for: so it
    /// is the busiest one.
    fn per_second(&self, objected: Instant, until: Instant) -> f64 {
        let hold = until.saturating_duration_since(objected);
        let active = objected.saturating_duration_since(self.began);
        let usual = active.as_secs_f64() / self.total.max(1) as f64;
        let held = if active >= LONG_AGO && hold <= ROUNDING {
            hold.min(Duration::from_secs_f64(usual))
        } else {
            hold
        };
        let (mut sum, mut best) = (0, 0.0_f64);
        for (place, count) in self.counts.iter().enumerate().rev() {
            sum += count;
            // Answers that were on their way come in after the objection.
            let stretch = active.saturating_sub(self.step * place as u32) + held;
            if stretch >= SHORTEST && sum >= FEWEST {
                best = best.max(sum as f64 / stretch.as_secs_f64());
            }
        }
        let whole = (active + held).max(Duration::from_millis(100));
        best.max(self.total as f64 / whole.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Accepts `each` requests a step, as many steps as there are numbers.
    fn granted(began: Instant, each: impl IntoIterator<Item = u64>) -> DeliveryRate {
        let mut granted = DeliveryRate::since(began);
        for (place, count) in each.into_iter().enumerate() {
            granted.add(began + STEP * place as u32, count);
        }
        granted
    }

    #[test]
    fn a_window_that_was_burnt_at_once_is_counted_with_its_hold() {
        let began = Instant::now();
        let burnt = granted(began, [100; 6]);
        let rate = burnt.per_second(began + STEP * 6, began + SECOND * 60);
        assert!((rate - 10.0).abs() < 0.01, "{rate}");
    }

    #[test]
    fn a_slow_beginning_does_not_count() {
        let began = Instant::now();
        let steps = [1; 400].into_iter().chain([10; 40]);
        let rate = granted(began, steps).per_second(began + STEP * 440, began + STEP * 444);
        assert!((38.0..41.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_long_time_is_kept_in_little_room() {
        let began = Instant::now();
        let long = granted(began, [2; 14_400]);
        assert!(long.counts.len() <= STEPS, "{}", long.counts.len());
        assert_eq!(long.total(), 28_800);
        let rate = long.per_second(began + SECOND * 3_600, began + SECOND * 3_601);
        assert!((7.9..8.4).contains(&rate), "{rate}");
    }
}

//! The rate limit of each token, counted in one of three ways.
//!
//! Counts and decides; the headers that tell of it are written elsewhere. Time comes in from outside, so that the
//! windows can be tested without waiting for them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::options::{Options, RateChange, RateKind, RateLimit};

/// The counters of the tenant's own token and of everything else that knocks.
#[derive(Debug)]
pub(super) struct Throttle {
    kind: RateKind,
    limit: RateLimit,
    /// The limit that comes later, and when.
    later: Option<(Instant, RateLimit)>,
    /// Strangers share one, so that made-up tokens cannot fill the memory or use up the real one's requests.
    counters: [Counter; 2],
}

/// What one token has used.
#[derive(Debug, Default)]
struct Counter {
    /// A fixed window: when it ends, and what it has let through.
    window: Option<(Instant, u32)>,
    /// A sliding one: what it has let through, and when.
    passed: VecDeque<Instant>,
    /// A bucket: when it was looked into, and how many tokens were left.
    bucket: Option<(Instant, f64)>,
}

/// What the throttle says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// How long until the window ends and a new one may begin.
    pub(super) resets_in: Duration,
}

impl Throttle {
    /// The throttle that the options ask for, if they do.
    pub(super) fn of(options: &Options, now: Instant) -> Option<Self> {
        let later = |change: RateChange| (now + change.after, change.limit);
        Some(Self {
            kind: options.rate_kind,
            limit: options.rate_limit?,
            later: options.rate_change.map(later),
            counters: Default::default(),
        })
    }

    /// Counts a request that arrives now. Requests beyond the limit are refused without being counted.
    pub(super) fn knock(&mut self, stranger: bool, now: Instant) -> Verdict {
        if let Some((_, limit)) = self.later.take_if(|(at, _)| *at <= now) {
            self.limit = limit;
            self.counters = Default::default();
        }
        let counter = &mut self.counters[usize::from(stranger)];
        let (allowed, remaining, resets_in) = match self.kind {
            RateKind::Fixed => counter.fixed(self.limit, now),
            RateKind::Sliding => counter.sliding(self.limit, now),
            RateKind::Bucket => counter.bucket(self.limit, now),
        };
        Verdict {
            allowed,
            limit: self.limit.count,
            remaining,
            resets_in,
        }
    }
}

impl Counter {
    /// A window opens with its first request, not on the beat of a clock.
    fn fixed(&mut self, limit: RateLimit, now: Instant) -> (bool, u32, Duration) {
        let open = self.window.filter(|(ends, _)| now < *ends);
        let (ends, used) = open.unwrap_or((now + limit.per, 0));
        let allowed = used < limit.count;
        let used = used + u32::from(allowed);
        self.window = Some((ends, used));
        (allowed, limit.count - used, ends.saturating_duration_since(now))
    }

    /// Any stretch of the window's length has so many.
    fn sliding(&mut self, limit: RateLimit, now: Instant) -> (bool, u32, Duration) {
        while self.passed.front().is_some_and(|first| now - *first >= limit.per) {
            self.passed.pop_front();
        }
        let allowed = self.passed.len() < limit.count as usize;
        if allowed {
            self.passed.push_back(now);
        }
        let first = self.passed.front().map_or(now, |first| *first + limit.per);
        let remaining = limit.count.saturating_sub(self.passed.len() as u32);
        (allowed, remaining, first.saturating_duration_since(now))
    }

    /// A full bucket holds the count, and fills evenly in the window's time.
    fn bucket(&mut self, limit: RateLimit, now: Instant) -> (bool, u32, Duration) {
        let most = f64::from(limit.count);
        let rate = most / limit.per.as_secs_f64();
        let (at, left) = self.bucket.unwrap_or((now, most));
        let tokens = (left + rate * now.saturating_duration_since(at).as_secs_f64()).min(most);
        let allowed = tokens >= 1.0;
        let tokens = if allowed { tokens - 1.0 } else { tokens };
        self.bucket = Some((now, tokens));
        let next = Duration::from_secs_f64((1.0 - tokens).max(0.0) / rate);
        (allowed, tokens as u32, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: RateKind, limit: RateLimit, change: Option<RateChange>) -> Throttle {
        let options = Options {
            rate_limit: Some(limit),
            rate_kind: kind,
            rate_change: change,
            ..Options::default()
        };
        Throttle::of(&options, Instant::now()).unwrap()
    }

    fn throttle() -> (Throttle, Instant) {
        let limit = RateLimit {
            count: 3,
            per: Duration::from_secs(1),
        };
        (of(RateKind::Fixed, limit, None), Instant::now())
    }

    #[test]
    fn a_window_lets_through_its_count_and_then_closes() {
        let (mut throttle, start) = throttle();
        let remaining: Vec<u32> = (0..3).map(|_| throttle.knock(false, start).remaining).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let late = start + Duration::from_millis(400);
        let verdict = throttle.knock(false, late);
        assert!(!verdict.allowed);
        assert_eq!(verdict.resets_in, Duration::from_millis(600));
    }

    #[test]
    fn a_new_window_opens_with_the_first_request_after_the_old_one() {
        let (mut throttle, start) = throttle();
        for _ in 0..5 {
            throttle.knock(false, start);
        }
        let just_before = start + Duration::from_millis(999);
        assert!(!throttle.knock(false, just_before).allowed);
        let later = start + Duration::from_millis(1_500);
        let verdict = throttle.knock(false, later);
        assert!(verdict.allowed);
        assert_eq!(verdict.remaining, 2);
        assert_eq!(verdict.resets_in, Duration::from_secs(1));
    }

    #[test]
    fn strangers_do_not_use_up_the_requests_of_the_token() {
        let (mut throttle, start) = throttle();
        for _ in 0..5 {
            throttle.knock(true, start);
        }
        assert!(throttle.knock(false, start).allowed);
        assert!(!throttle.knock(true, start).allowed);
    }

    /// What each kind lets through of one request every 100 ms, with 10 in a second allowed and used at once.
    #[test]
    fn each_kind_comes_back_in_its_own_way() {
        for (kind, right) in [
            (RateKind::Fixed, [false, false, true]),
            (RateKind::Sliding, [false, false, true]),
            (RateKind::Bucket, [false, true, true]),
        ] {
            let mut throttle = of(kind, "10/s".parse().unwrap(), None);
            let start = Instant::now();
            for _ in 0..10 {
                assert!(throttle.knock(false, start).allowed);
            }
            let times = [50, 150, 1_050].map(|ms| start + Duration::from_millis(ms));
            assert_eq!(times.map(|at| throttle.knock(false, at).allowed), right, "{kind}");
        }
    }

    #[test]
    fn a_limit_changes_when_its_time_has_come() {
        let change = "30s=1/min".parse().unwrap();
        let mut throttle = of(RateKind::Fixed, "100/s".parse().unwrap(), Some(change));
        let start = Instant::now();
        assert_eq!(throttle.knock(false, start).limit, 100);
        let later = start + Duration::from_secs(31);
        assert!(throttle.knock(false, later).allowed);
        assert!(!throttle.knock(false, later + Duration::from_secs(59)).allowed);
    }
}

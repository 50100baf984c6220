//! The rate limit: a fixed window of requests for each token.
//!
//! Counts and decides; the headers that tell of it are written elsewhere. Time comes in from outside, so that the
//! windows can be tested without waiting for them.

use std::time::{Duration, Instant};

use super::options::RateLimit;

/// The windows of the tenant's own token and of everything else that knocks.
#[derive(Debug)]
pub(super) struct Throttle {
    limit: RateLimit,
    /// Strangers share one window, so that made-up tokens cannot fill the memory or use up the real one's requests.
    windows: [Option<Window>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Window {
    ends: Instant,
    used: u32,
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
    pub(super) fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            windows: [None; 2],
        }
    }

    /// Counts a request that arrives now. Requests beyond the limit are refused without being counted.
    pub(super) fn knock(&mut self, stranger: bool, now: Instant) -> Verdict {
        let window = &mut self.windows[usize::from(stranger)];
        let mut current = match *window {
            Some(current) if now < current.ends => current,
            // A window opens with its first request, not on the beat of a clock.
            _ => Window {
                ends: now + self.limit.per,
                used: 0,
            },
        };
        let allowed = current.used < self.limit.count;
        current.used += u32::from(allowed);
        *window = Some(current);
        Verdict {
            allowed,
            limit: self.limit.count,
            remaining: self.limit.count - current.used,
            resets_in: current.ends.saturating_duration_since(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle() -> (Throttle, Instant) {
        let limit = RateLimit {
            count: 3,
            per: Duration::from_secs(1),
        };
        (Throttle::new(limit), Instant::now())
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
}

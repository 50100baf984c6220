//! What the tenant's own words, the `X-RateLimit-*` headers, tell of its limit.
//!
//! They say how many requests its window has and how many of them are left, but not how long the window is. That shows
//! when what is left jumps back up: from one jump to the next, one window has passed. Limiters without windows do not
//! jump, so nothing is learned from them here. What is used up beyond our own requests, others use.

use std::time::Duration;
use tokio::time::Instant;

/// What one answer says of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests in a window.
    pub limit: u32,
    /// How many of them are left.
    pub remaining: u32,
}

/// What windows usually last, in seconds.
const USUAL: [f64; 4] = [1.0, 10.0, 60.0, 3_600.0];
/// How much longer than its window the way from one jump to the next may be: a window opens with a request.
const LATE: f64 = 0.05;
/// Fewer requests in a window show no jump.
const FEWEST: u32 = 8;
/// How much of what is told is asked for.
const SHARE: f64 = 0.99;

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Words {
    limit: u32,
    /// The least that was left in this window.
    least: u32,
    /// Our own requests in it.
    own: u32,
    opened: Option<Instant>,
    /// How long the last window took, and whether that is taken for its length.
    took: Option<f64>,
    length: Option<f64>,
}

impl Words {
    /// Takes the words of an answer in, while so many requests are under way; says what is granted a second, where
    /// they bring anything new.
    pub(super) fn hear(&mut self, now: Instant, said: Allowance, under_way: usize) -> Option<f64> {
        let Allowance { limit, remaining } = said;
        if limit == 0 || remaining > limit {
            return None;
        }
        let abroad = u32::try_from(under_way).unwrap_or(u32::MAX);
        if limit != self.limit {
            let is_fresh = limit - remaining <= abroad.saturating_add(1);
            *self = Self {
                limit,
                least: remaining,
                own: 1,
                opened: (is_fresh && self.limit == 0).then_some(now),
                took: None,
                length: self.length,
            };
            return self.length.map(|length| f64::from(limit) / length * SHARE);
        }
        let (used, used_before) = (limit - remaining, limit - self.least);
        // An answer that was overtaken by others says what was left before them.
        let jumps = used_before >= abroad.saturating_mul(4).max(FEWEST) && used <= used_before / 2;
        if !jumps {
            self.least = self.least.min(remaining);
            self.own += 1;
            return None;
        }
        let others = used_before.saturating_sub(self.own);
        let took = self.opened.map(|opened| (now - opened).as_secs_f64());
        self.length = took.and_then(|took| self.length_by(took));
        self.took = took;
        self.opened = Some(now);
        self.least = remaining;
        self.own = 1;
        self.length
            .map(|length| f64::from(limit.saturating_sub(others).max(1)) / length * SHARE)
    }

    /// The tenant has objected nevertheless: what was concluded from its words is to be seen anew.
    pub(super) fn doubt(&mut self) {
        self.length = None;
    }

    /// The length of a window that took so long: a usual one, or what the one before took as well.
    fn length_by(&self, took: f64) -> Option<f64> {
        let about = |length: &f64| (1.0 - LATE / 5.0..1.0 + LATE).contains(&(took / length));
        let usual = USUAL.into_iter().find(about);
        usual.or_else(|| self.took.filter(|before| about(before) && took > 1.0))
    }
}

/// What an answer says, where it says something sensible.
pub(crate) fn allowance(limit: Option<&str>, remaining: Option<&str>) -> Option<Allowance> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let (limit, remaining) = (number(limit?)?, number(remaining?)?);
    (limit > 0 && remaining <= limit).then_some(Allowance { limit, remaining })
}

/// How long it is until the limit is reset, by a header that counts from now or from 1970; the second by the server's
/// own clock.
pub(crate) fn reset(value: &str, server_now: Option<i64>) -> Option<Duration> {
    const FROM_NOW_AT_MOST: i64 = 86_400;
    let seconds: i64 = value.trim().parse().ok()?;
    let left = if seconds <= FROM_NOW_AT_MOST {
        seconds
    } else {
        seconds.checked_sub(server_now?)?
    };
    (0..=FROM_NOW_AT_MOST)
        .contains(&left)
        .then(|| Duration::from_secs(left.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Asks once each `apart` for so long, in windows of `length` that open with a request; what was granted at last.
    fn granted(limit: u32, length: Duration, apart: Duration, span: Duration, others: u32) -> Option<f64> {
        let start = Instant::now();
        let (mut words, mut opened, mut used, mut last) = (Words::default(), start, 0, None);
        let mut now = start;
        while now < start + span {
            if now >= opened + length {
                (opened, used) = (now, 0);
            }
            used = (used + 1 + others).min(limit);
            let said = Allowance {
                limit,
                remaining: limit - used,
            };
            last = words.hear(now, said, 2).or(last);
            now += apart;
        }
        last
    }

    #[test]
    fn the_length_of_a_window_shows_when_it_jumps() {
        let ms = Duration::from_millis;
        let rate = granted(600, SECOND * 60, ms(150), SECOND * 70, 0).unwrap();
        assert!((9.8..10.0).contains(&rate), "{rate}");
        let odd = granted(90, SECOND * 45, ms(600), SECOND * 100, 0).unwrap();
        assert!((1.9..2.0).contains(&odd), "{odd}");
        assert_eq!(
            granted(90, SECOND * 45, ms(600), SECOND * 50, 0),
            None,
            "an odd length must show twice"
        );
    }

    #[test]
    fn what_others_use_is_not_ours() {
        let rate = granted(600, SECOND * 60, Duration::from_millis(300), SECOND * 130, 1).unwrap();
        assert!((6.0..7.0).contains(&rate), "{rate}");
    }

    #[test]
    fn absurd_words_are_not_heard() {
        assert_eq!(
            allowance(Some("60"), Some("59")),
            Some(Allowance {
                limit: 60,
                remaining: 59
            })
        );
        for (limit, remaining) in [
            ("0", "0"),
            ("10", "11"),
            ("-1", "0"),
            ("99999999999", "1"),
            ("ten", "1"),
        ] {
            assert_eq!(
                allowance(Some(limit), Some(remaining)),
                None,
                "{limit} {remaining}"
            );
        }
        assert_eq!(allowance(Some("60"), None), None);
        assert_eq!(reset("45", None), Some(SECOND * 45));
        assert_eq!(reset("1700000045", Some(1_700_000_000)), Some(SECOND * 45));
        assert_eq!(reset("1700000045", None), None);
        assert_eq!(reset("1600000000", Some(1_700_000_000)), None);
        assert_eq!(reset("-4", None), None);
    }
}

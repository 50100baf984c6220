//! What the headers of answers tell: how long to wait, and what the tenant's limit is.
//!
//! `Retry-After` is RFC 9110, 10.2.3; its dates come in the three forms of 5.6.7. Limits come as `X-RateLimit-*`, or by the
//! IETF's drafts: `RateLimit-Limit`, `-Remaining`, `-Reset` (to 06), `RateLimit: limit=…, remaining=…, reset=…` (07) and
//! `RateLimit: "name";r=…;t=…` (from 08), with `RateLimit-Policy: …;w=…` beside them.
//!
//! Where nobody says how long the window is, it shows when what is left jumps back up: from one jump to the next, one
//! window has passed. Limiters without windows do not jump, so nothing is learned from them here. What is used up beyond
//! our own requests, others use.

use jiff::Timestamp;
use jiff::fmt::{rfc2822, strtime};
use std::time::Duration;
use tokio::time::Instant;

/// What one answer says of the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Requests in a window.
    pub limit: u32,
    /// How many of them are left.
    pub remaining: u32,
    /// What that comes to in a second, where the length of the window is told.
    pub per_second: Option<f64>,
}

/// A number that is as large, and means an instant within a day from now, is one, in seconds since 1970.
const EPOCH_AT_LEAST: f64 = 1e8;
const DAY: f64 = 86_400.0;
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
pub(super) struct HeaderEstimator {
    limit: u32,
    /// The least that was left in this window.
    least: u32,
    /// Our own requests in it.
    own: u32,
    opened: Option<Instant>,
    /// How long the last window took, and whether that is taken for its length.
    took: Option<f64>,
    length: Option<f64>,
    /// What was told outright.
    per_second: Option<f64>,
}

impl HeaderEstimator {
    /// Takes the words of an answer in, while so many requests are in flight; says what is granted a second, where they
    /// bring anything new.
    pub(super) fn hear(&mut self, now: Instant, said: Allowance, in_flight: u32) -> Option<f64> {
        let Allowance {
            limit,
            remaining,
            per_second,
        } = said;
        if per_second.is_some() && self.per_second != per_second {
            self.per_second = per_second;
            return per_second.map(|rate| rate * SHARE);
        }
        if limit == 0 || remaining > limit || per_second.is_some() {
            return None;
        }
        if limit != self.limit {
            let is_fresh = limit - remaining <= in_flight.saturating_add(1);
            *self = Self {
                limit,
                least: remaining,
                own: 1,
                opened: (is_fresh && self.limit == 0).then_some(now),
                length: self.length,
                ..Self::default()
            };
            return self.length.map(|length| f64::from(limit) / length * SHARE);
        }
        let (used, used_before) = (limit - remaining, limit - self.least);
        // An answer that was overtaken by others says what was left before them. In a window that opens anew little has
        // been used; where it slides, it empties as it filled.
        let is_new = used <= in_flight.saturating_add(1).max(limit / 20);
        let jumps =
            is_new && used_before >= in_flight.saturating_mul(4).max(FEWEST) && used <= used_before / 2;
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

/// What an answer says of the limit, where it says something sensible.
pub(crate) fn allowance<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<Allowance> {
    let number = |text: &str| text.split([',', ';']).next()?.trim().parse::<u32>().ok();
    let either = |one: &str, other: &str| number(header(one).or_else(|| header(other))?);
    let both = header("ratelimit").unwrap_or_default();
    let policy = header("ratelimit-policy")
        .or_else(|| header("ratelimit-limit"))
        .unwrap_or_default();
    let policies: Vec<(Option<f64>, f64)> = policies(policy).collect();
    let limit = either("x-ratelimit-limit", "ratelimit-limit")
        .or_else(|| parameter(both, "limit").map(|limit| limit as u32))
        .or_else(|| {
            policies
                .first()
                .and_then(|(quota, _)| quota.map(|quota| quota as u32))
        })?;
    let remaining = either("x-ratelimit-remaining", "ratelimit-remaining").or_else(|| {
        parameter(both, "remaining")
            .or_else(|| parameter(both, "r"))
            .map(|left| left as u32)
    })?;
    let rates = policies
        .iter()
        .map(|(quota, window)| quota.unwrap_or(f64::from(limit)) / window);
    let per_second = rates.filter(|rate| *rate > 0.0).min_by(f64::total_cmp);
    (limit > 0 && remaining <= limit).then_some(Allowance {
        limit,
        remaining,
        per_second,
    })
}

/// The quota and the window of each policy that names a window: `100;w=60`, or `"name";q=100;w=60`.
fn policies(text: &str) -> impl Iterator<Item = (Option<f64>, f64)> {
    text.split(',').filter_map(|policy| {
        let window = parameter(policy, "w").filter(|window| *window >= 1.0)?;
        let first = policy
            .split(';')
            .next()
            .and_then(|first| first.trim().parse().ok());
        Some((parameter(policy, "q").or(first), window))
    })
}

fn parameter(text: &str, name: &str) -> Option<f64> {
    let pairs = text.split([',', ';']).filter_map(|part| part.split_once('='));
    let mut values = pairs
        .filter(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim());
    values
        .next()?
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite() && *value >= 0.0)
}

/// How long an answer asks to wait, where it does.
pub(crate) fn wait<'h>(header: impl Fn(&str) -> Option<&'h str>) -> Option<Duration> {
    let date = header("date");
    let both = header("ratelimit").unwrap_or_default();
    header("retry-after")
        .and_then(|value| retry_after(value, date))
        .or_else(|| reset(header("x-ratelimit-reset")?, date))
        .or_else(|| reset(header("ratelimit-reset")?, date))
        .or_else(|| from_now(parameter(both, "reset").or_else(|| parameter(both, "t"))?, date))
}

/// `Retry-After`: seconds, or a date, which counts from the server's own clock where it told it. Of several, the longest.
pub(crate) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    if let Some(until) = moment(value) {
        return Some(Duration::try_from(until.duration_since(now(date))).unwrap_or_default());
    }
    let each = value
        .split(',')
        .map(|part| decimal(part).and_then(|number| from_now(number, date)));
    each.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// How long it is until the limit is reset. What is further off than a day makes no sense.
fn reset(value: &str, date: Option<&str>) -> Option<Duration> {
    let wait = from_now(decimal(value.split(',').next()?)?, date)?;
    (wait.as_secs_f64() <= DAY).then_some(wait)
}

/// The most digits before the point. More of them are no time, however long.
const DIGITS: usize = 19;

/// Digits, perhaps with a fraction: what a header may hold. `1e3` and `inf` are no numbers there.
fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let digit = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let whole = text.split('.').next().unwrap_or_default();
    let is_number = text.bytes().all(digit) && whole.len() <= DIGITS;
    is_number.then(|| text.parse().ok())?
}

/// Seconds from now, or since 1970 where that is within a day from now.
fn from_now(number: f64, date: Option<&str>) -> Option<Duration> {
    let now = now(date).as_millisecond() as f64 / 1e3;
    let is_instant = number >= EPOCH_AT_LEAST && (number - now).abs() <= DAY;
    let seconds = if is_instant {
        (number - now).max(0.0)
    } else {
        number
    };
    // What is no length of time at all is the longest one.
    (seconds >= 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

fn now(date: Option<&str>) -> Timestamp {
    date.and_then(moment).unwrap_or_else(Timestamp::now)
}

/// A date of HTTP: as now, as by RFC 850, or as by C's `asctime`.
fn moment(date: &str) -> Option<Timestamp> {
    let date = date.trim();
    let old = |format: &str| {
        let parsed = strtime::parse(format, date).ok()?;
        jiff::tz::TimeZone::UTC
            .to_timestamp(parsed.to_datetime().ok()?)
            .ok()
    };
    let current = rfc2822::DateTimeParser::new().parse_timestamp(date).ok();
    current
        .or_else(|| old("%A, %d-%b-%y %H:%M:%S GMT"))
        .or_else(|| old("%a %b %e %H:%M:%S %Y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Asks once each `apart` for so long, in windows of `length` that open with a request; what was granted at last.
    fn granted(limit: u32, length: Duration, apart: Duration, span: Duration, others: u32) -> Option<f64> {
        let start = Instant::now();
        let (mut headers, mut opened, mut used, mut last) = (HeaderEstimator::default(), start, 0, None);
        let mut now = start;
        while now < start + span {
            if now >= opened + length {
                (opened, used) = (now, 0);
            }
            used = (used + 1 + others).min(limit);
            let said = Allowance {
                limit,
                remaining: limit - used,
                per_second: None,
            };
            last = headers.hear(now, said, 2).or(last);
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

    /// The header of that name among these.
    fn among<'h>(headers: &'h [(&str, &'h str)]) -> impl Fn(&str) -> Option<&'h str> {
        |name| {
            headers
                .iter()
                .find(|(other, _)| *other == name)
                .map(|(_, value)| *value)
        }
    }

    #[test]
    fn limits_are_read_in_all_their_forms() {
        let said = |headers: &[(&str, &str)]| {
            let said = allowance(among(headers));
            said.map(|said| (said.limit, said.remaining, said.per_second))
        };
        let x =
            |limit, remaining| said(&[("x-ratelimit-limit", limit), ("x-ratelimit-remaining", remaining)]);
        assert_eq!(x("60", "59"), Some((60, 59, None)));
        for (limit, remaining) in [
            ("0", "0"),
            ("10", "11"),
            ("-1", "0"),
            ("99999999999", "1"),
            ("ten", "1"),
        ] {
            assert_eq!(x(limit, remaining), None, "{limit} {remaining}");
        }
        assert_eq!(said(&[("x-ratelimit-limit", "60")]), None);
        let draft = |limit| said(&[("ratelimit-limit", limit), ("ratelimit-remaining", "9")]);
        assert_eq!(draft("10"), Some((10, 9, None)));
        assert_eq!(draft("10, 10;w=2, 1200;w=3600"), Some((10, 9, Some(1.0 / 3.0))));
        let draft = |both, policy| said(&[("ratelimit", both), ("ratelimit-policy", policy)]);
        assert_eq!(
            draft("limit=100, remaining=50, reset=5", "100;w=10"),
            Some((100, 50, Some(10.0)))
        );
        assert_eq!(
            draft("\"default\";r=50;t=30", "\"default\";q=100;w=60"),
            Some((100, 50, Some(100.0 / 60.0)))
        );
        assert_eq!(draft("\"default\";r=50;t=30", "\"default\";q=100;w=0"), None);
    }

    #[test]
    fn a_wait_is_read_in_all_its_forms() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let told = |name, value| wait(among(&[(name, value), date])).map(|wait| wait.as_secs_f64());
        for (value, seconds) in [
            ("7", 7.0),
            (" 3.7", 3.7),
            ("4, 4", 4.0),
            ("0", 0.0),
            ("Sun, 06 Nov 1994 08:49:47 GMT", 10.0),
            ("Sunday, 06-Nov-94 08:49:47 GMT", 10.0),
            ("Sun Nov  6 08:49:47 1994", 10.0),
            ("Sun, 06 Nov 1994 08:49:07 GMT", 0.0),
            ("784111782", 5.0),
            ("784111000", 0.0),
            ("1000000000000", 1e12),
        ] {
            assert_eq!(told("retry-after", value), Some(seconds), "{value}");
        }
        for value in [
            "soon",
            "-3",
            "",
            "4, soon",
            "NaN",
            "1e3",
            "99999999999999999999",
            "Sun, 99 Nov 1994",
        ] {
            assert_eq!(told("retry-after", value), None, "{value}");
        }
        for (name, value, seconds) in [
            ("x-ratelimit-reset", "45", Some(45.0)),
            ("x-ratelimit-reset", "784111782", Some(5.0)),
            ("x-ratelimit-reset", "1700000045", None),
            ("x-ratelimit-reset", "-4", None),
            ("ratelimit-reset", "4", Some(4.0)),
            ("ratelimit", "limit=100, remaining=0, reset=6", Some(6.0)),
            ("ratelimit", "\"default\";r=0;t=8", Some(8.0)),
        ] {
            assert_eq!(told(name, value), seconds, "{name}: {value}");
        }
    }

    #[test]
    fn an_instant_without_a_date_counts_from_our_own_clock() {
        let soon = (Timestamp::now().as_second() + 30).to_string();
        for name in ["retry-after", "x-ratelimit-reset"] {
            let told = wait(among(&[(name, &soon)])).unwrap();
            assert!((20..=30).contains(&told.as_secs()), "{name}: {told:?}");
        }
    }
}

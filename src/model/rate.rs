//! How fast the user lets us go.

use std::num::NonZeroU32;
use std::{fmt, str::FromStr, time::Duration};

/// Numbers of requests in spans of time, such as `10/s` or `10/s,400/min`; or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as the tenant lets us.
    Unlimited,
    /// All of these hold at once.
    Limited(Limits),
}

/// At least one number of requests in a span; of several, each holds back something that no other does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// By [`Span`].
    counts: [Option<NonZeroU32>; 3],
}

/// A span that requests can be counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// `s`
    Second,
    /// `min`
    Minute,
    /// `h`
    Hour,
}

impl Span {
    /// From the shortest to the longest.
    pub const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    /// How long it is, in seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }

    /// How long it is.
    pub const fn length(self) -> Duration {
        Duration::from_secs(self.seconds() as u64)
    }

    fn named(text: &str) -> Option<Self> {
        match text {
            "s" | "sec" | "second" => Some(Self::Second),
            "m" | "min" | "minute" => Some(Self::Minute),
            "h" | "hour" => Some(Self::Hour),
            _ => None,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "s",
            Self::Minute => "min",
            Self::Hour => "h",
        })
    }
}

/// What is wrong with a rate that somebody typed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It has no form that is known.
    #[error("expected a rate such as 10/s, 600/min, both as 10/s,400/min, or unlimited")]
    Form,
    /// Less than nothing.
    #[error("a rate cannot be negative; expected at least 1/h")]
    Negative,
    /// A part of a request.
    #[error("a rate is a whole number of requests; write 0.5/s as 30/min")]
    Fraction,
    /// Nothing would ever be sent.
    #[error("a rate of zero would never send anything; expected at least 1/h")]
    Zero,
    /// More than any tenant takes; surely a slip.
    #[error("more than {MOST_PER_SECOND} requests a second; write `unlimited` where that is meant")]
    Absurd,
    /// Two numbers for one span.
    #[error("there are two numbers for one span, {0}/{2} and {1}/{2}; keep the one that is meant")]
    Twice(u32, u32, Span),
    /// A longer span that holds nothing back.
    #[error("{0}/{1} is no limit beside {2}/{3}; leave it out, or write less than {4}/{1}")]
    Idle(u32, Span, u32, Span, u64),
    /// A shorter span that can never be full.
    #[error("{0}/{1} can never be reached within {2}/{3}; leave it out, or write less than {2}/{1}")]
    OutOfReach(u32, Span, u32, Span),
    /// A limit and none.
    #[error("`unlimited` says that there is no limit, so it stands alone; leave it out")]
    Mixed,
}

/// The highest rate that is taken as meant.
const MOST_PER_SECOND: u32 = 10_000;

impl Rate {
    /// A single limit.
    pub const fn at_most(count: NonZeroU32, span: Span) -> Self {
        let mut counts = [None; 3];
        counts[span as usize] = Some(count);
        Self::Limited(Limits { counts })
    }

    /// Requests a second that can be kept up, where there is a limit: what the slowest of the spans allows.
    pub fn per_second(self) -> Option<f64> {
        let Self::Limited(limits) = self else {
            return None;
        };
        let each = limits.each().map(|(count, span)| per_second(count, span));
        each.min_by(f64::total_cmp)
    }

    /// The windows that must hold: those that the user named and, always, one second.
    ///
    /// Where no second is named, it holds what the shortest span comes to. A rate below one a second cannot be cut
    /// into whole requests a second, so its second holds one.
    pub fn windows(self) -> Vec<(usize, Duration)> {
        let Self::Limited(limits) = self else {
            return Vec::new();
        };
        let mut windows: Vec<_> = limits
            .each()
            .map(|(count, span)| (count as usize, span.length()))
            .collect();
        if let Some((count, span)) = limits.each().next().filter(|(_, span)| *span != Span::Second) {
            let in_a_second = per_second(count, span).ceil() as usize;
            windows.push((in_a_second, Span::Second.length()));
        }
        windows
    }

    /// How many of these the user named: they come first.
    pub fn named_windows(self) -> usize {
        match self {
            Self::Limited(limits) => limits.each().count(),
            Self::Unlimited => 0,
        }
    }

    /// Requests a second that can be kept up at a tenant that takes so long to answer.
    ///
    /// A request may arrive at any time until it is answered, and has its place in every window that was named for as long.
    pub fn sustained(self, latency: Duration) -> Option<f64> {
        let Self::Limited(limits) = self else {
            return None;
        };
        let each = limits.each();
        let sustained = each.map(|(count, span)| f64::from(count) / (span.length() + latency).as_secs_f64());
        sustained.min_by(f64::total_cmp)
    }
}

fn per_second(count: u32, span: Span) -> f64 {
    f64::from(count) / f64::from(span.seconds())
}

impl Limits {
    /// What is named, from the shortest span to the longest.
    pub fn each(self) -> impl Iterator<Item = (u32, Span)> {
        let pairs = self.counts.into_iter().zip(Span::ALL);
        pairs.filter_map(|(count, span)| Some((count?.get(), span)))
    }

    /// Takes a part of what somebody typed in.
    fn add(&mut self, count: NonZeroU32, span: Span) -> Result<(), RateError> {
        let slot = &mut self.counts[span as usize];
        if let Some(there) = slot {
            return Err(RateError::Twice(there.get(), count.get(), span));
        }
        *slot = Some(count);
        Ok(())
    }

    /// Whether each holds back something that no other does; what does not is surely a slip.
    fn check(self) -> Result<(), RateError> {
        let each: Vec<_> = self.each().collect();
        for pair in each.windows(2) {
            let [(few, short), (many, long)] = pair else {
                continue;
            };
            if few >= many {
                return Err(RateError::OutOfReach(*few, *short, *many, *long));
            }
            let most = u64::from(*few) * u64::from(long.seconds() / short.seconds());
            if u64::from(*many) >= most {
                return Err(RateError::Idle(*many, *long, *few, *short, most));
            }
        }
        Ok(())
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text.trim() == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let mut limits = Limits { counts: [None; 3] };
        for part in text.split(',') {
            if part.trim() == "unlimited" {
                return Err(RateError::Mixed);
            }
            let (count, span) = one_limit(part)?;
            limits.add(count, span)?;
        }
        limits.check()?;
        Ok(Self::Limited(limits))
    }
}

fn one_limit(text: &str) -> Result<(NonZeroU32, Span), RateError> {
    let (count, span) = text.split_once('/').ok_or(RateError::Form)?;
    let span = Span::named(span.trim()).ok_or(RateError::Form)?;
    let count = count.trim();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(count) {
        return Err(match (count.strip_prefix('-'), count.split_once('.')) {
            (Some(number), _) if digits(&number.replacen('.', "", 1)) => RateError::Negative,
            (_, Some((whole, rest))) if digits(whole) && digits(rest) => RateError::Fraction,
            _ => RateError::Form,
        });
    }
    let count: u32 = count.parse().map_err(|_| RateError::Absurd)?;
    let count = NonZeroU32::new(count).ok_or(RateError::Zero)?;
    if u64::from(count.get()) > u64::from(MOST_PER_SECOND) * u64::from(span.seconds()) {
        return Err(RateError::Absurd);
    }
    Ok((count, span))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Limited(limits) = self else {
            return f.write_str("unlimited");
        };
        for (place, (count, span)) in limits.each().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{count}/{span}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    fn fault(text: &str) -> RateError {
        text.parse::<Rate>().unwrap_err()
    }

    #[test]
    fn rates_are_read_as_they_are_written() {
        for text in [
            "10/s",
            "600/min",
            "5/h",
            "10/s,400/min",
            "10/s,400/min,9000/h",
            "5/s,1000/h",
            "unlimited",
        ] {
            assert_eq!(rate(text).to_string(), text);
        }
        assert_eq!(rate(" 400 / minute , 10/sec ").to_string(), "10/s,400/min");
        assert_eq!(
            rate("600/min"),
            Rate::at_most(NonZeroU32::new(600).unwrap(), Span::Minute)
        );
    }

    #[test]
    fn a_slip_is_told_with_its_remedy() {
        for text in [
            "",
            ",",
            "10",
            "/s",
            "10/d",
            "ten/s",
            "+3/s",
            "10/s,",
            "10/s;400/min",
            "--1/s",
            "1.2.3/s",
            "-/s",
        ] {
            assert_eq!(fault(text), RateError::Form, "{text}");
        }
        for (text, right) in [
            ("-1/s", RateError::Negative),
            ("-0.5/s", RateError::Negative),
            ("1.5/s", RateError::Fraction),
            ("0/s", RateError::Zero),
            ("10/s,0/min", RateError::Zero),
            ("99999999/s", RateError::Absurd),
            ("99999999999999/s", RateError::Absurd),
            ("10/s,20/sec", RateError::Twice(10, 20, Span::Second)),
            ("10/s,unlimited", RateError::Mixed),
            (
                "10/s,600/min",
                RateError::Idle(600, Span::Minute, 10, Span::Second, 600),
            ),
            (
                "400/min,30000/h",
                RateError::Idle(30_000, Span::Hour, 400, Span::Minute, 24_000),
            ),
            (
                "5/min,10/s",
                RateError::OutOfReach(10, Span::Second, 5, Span::Minute),
            ),
        ] {
            assert_eq!(fault(text), right, "{text}");
        }
        assert_eq!(
            fault("10/s,1000/min").to_string(),
            "1000/min is no limit beside 10/s; leave it out, or write less than 600/min"
        );
        assert_eq!(
            fault("10/s,5/min").to_string(),
            "10/s can never be reached within 5/min; leave it out, or write less than 5/s"
        );
    }

    #[test]
    fn a_rate_is_so_many_a_second() {
        assert!("10000/s".parse::<Rate>().is_ok() && "600000/min".parse::<Rate>().is_ok());
        assert_eq!(fault("600001/min"), RateError::Absurd);
        let per_second = |text: &str| text.parse::<Rate>().unwrap().per_second();
        assert_eq!(per_second("10/s"), Some(10.0));
        assert_eq!(per_second("30/min"), Some(0.5));
        assert_eq!(per_second("unlimited"), None);
    }

    #[test]
    fn a_second_never_holds_more_than_its_share() {
        let windows = |text: &str| rate(text).windows();
        let second = Duration::from_secs(1);
        assert_eq!(windows("10/s"), [(10, second)]);
        assert_eq!(windows("600/min"), [(600, second * 60), (10, second)]);
        assert_eq!(windows("30/min"), [(30, second * 60), (1, second)]);
        assert_eq!(windows("10/s,400/min"), [(10, second), (400, second * 60)]);
        assert_eq!(windows("unlimited"), []);
        let both = windows("100/min,1000/h");
        assert_eq!(both, [(100, second * 60), (1_000, second * 3_600), (2, second)]);
    }

    #[test]
    fn the_slowest_span_is_what_can_be_kept_up() {
        assert_eq!(rate("10/s").per_second(), Some(10.0));
        assert_eq!(rate("10/s,300/min").per_second(), Some(5.0));
        assert_eq!(rate("10/s,300/min,3600/h").per_second(), Some(1.0));
        assert_eq!(rate("unlimited").per_second(), None);
        let second = Duration::from_secs(1);
        assert_eq!(rate("10/s").sustained(second), Some(5.0));
        assert_eq!(rate("10/s,300/min").sustained(second), Some(300.0 / 61.0));
        assert_eq!(rate("unlimited").sustained(second), None);
    }
}

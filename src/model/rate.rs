//! How fast the user lets us go.

use std::{fmt, str::FromStr, time::Duration};

/// A number of requests in a span of time, such as `10/s` or `600/min`; or no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as the tenant answers. Meant for the sandbox.
    Unlimited,
    /// At most `count` requests in any `per`.
    Limited {
        /// How many.
        count: u32,
        /// In which span.
        per: Duration,
    },
}

/// What is wrong with a rate that somebody typed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It has no form that is known.
    #[error("expected a rate such as 10/s, 600/min or unlimited")]
    Form,
    /// Nothing would ever be sent.
    #[error("a rate of zero would never send anything; expected at least 1/h")]
    Zero,
    /// More than any tenant takes; surely a slip.
    #[error("more than {MOST_PER_SECOND} requests a second; write `unlimited` where that is meant")]
    Absurd,
}

/// The highest rate that is taken as meant.
const MOST_PER_SECOND: u32 = 10_000;

impl Rate {
    /// Requests a second, where there is a limit.
    pub fn per_second(self) -> Option<f64> {
        match self {
            Self::Unlimited => None,
            Self::Limited { count, per } => Some(f64::from(count) / per.as_secs_f64()),
        }
    }

    /// The windows that must hold: the one that the user named and, always, one second.
    ///
    /// A rate below one a second cannot be cut into whole requests a second, so its second holds one.
    pub fn windows(self) -> Vec<(usize, Duration)> {
        let Self::Limited { count, per } = self else {
            return Vec::new();
        };
        let second = Duration::from_secs(1);
        if per == second {
            return vec![(count as usize, second)];
        }
        let in_a_second = (f64::from(count) / per.as_secs_f64()).ceil().max(1.0);
        vec![(count as usize, per), (in_a_second as usize, second)]
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let (count, unit) = text.split_once('/').ok_or(RateError::Form)?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3_600,
            _ => return Err(RateError::Form),
        };
        let digits = count.trim();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RateError::Form);
        }
        let count: u32 = digits.parse().map_err(|_| RateError::Absurd)?;
        if count == 0 {
            return Err(RateError::Zero);
        }
        if u64::from(count) > u64::from(MOST_PER_SECOND) * seconds {
            return Err(RateError::Absurd);
        }
        let per = Duration::from_secs(seconds);
        Ok(Self::Limited { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Limited { count, per } => match per.as_secs() {
                1 => write!(f, "{count}/s"),
                60 => write!(f, "{count}/min"),
                _ => write!(f, "{count}/h"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for text in ["10/s", "600/min", "5/h", "unlimited"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "10", "/s", "10/d", "-1/s", "ten/s", "1.5/s", "+3/s"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Form), "{text}");
        }
        assert_eq!("0/s".parse::<Rate>(), Err(RateError::Zero));
        assert_eq!("99999999/s".parse::<Rate>(), Err(RateError::Absurd));
        assert!("10000/s".parse::<Rate>().is_ok() && "600000/min".parse::<Rate>().is_ok());
        assert_eq!("600001/min".parse::<Rate>(), Err(RateError::Absurd));
        assert_eq!("99999999999999/s".parse::<Rate>(), Err(RateError::Absurd));
    }

    #[test]
    fn a_rate_is_so_many_a_second() {
        let per_second = |text: &str| text.parse::<Rate>().unwrap().per_second();
        assert_eq!(per_second("10/s"), Some(10.0));
        assert_eq!(per_second("30/min"), Some(0.5));
        assert_eq!(per_second("unlimited"), None);
    }

    #[test]
    fn a_second_never_holds_more_than_its_share() {
        let windows = |text: &str| text.parse::<Rate>().unwrap().windows();
        let second = Duration::from_secs(1);
        assert_eq!(windows("10/s"), [(10, second)]);
        assert_eq!(windows("600/min"), [(600, second * 60), (10, second)]);
        assert_eq!(windows("30/min"), [(30, second * 60), (1, second)]);
    }
}

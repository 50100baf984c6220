//! What is left to others of what a tenant allows.

use std::{fmt, str::FromStr};

/// A share of the tenant's limit that is left to others, such as the live shop; none unless asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    percent: u8,
}

/// What is wrong with a reserve that somebody typed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// It has no form that is known.
    #[error("expected a whole share in per cent, such as 20%")]
    Form,
    /// Next to nothing would be left to send with.
    #[error("{0}% would leave too little to send with; expected at most {MOST}%, or a lower --rate")]
    TooMuch(u32),
}

/// The largest reserve, in per cent.
const MOST: u8 = 90;

impl Reserve {
    /// Nothing is left to others on purpose.
    pub const NONE: Self = Self { percent: 0 };

    /// The share that may be used, above 0 and at most 1.
    pub fn usable(self) -> f64 {
        f64::from(100 - self.percent) / 100.0
    }

    /// Whether nothing is reserved.
    pub fn is_none(self) -> bool {
        self.percent == 0
    }
}

impl FromStr for Reserve {
    type Err = ReserveError;

    fn from_str(text: &str) -> Result<Self, ReserveError> {
        let digits = text.trim().trim_end_matches('%').trim_end();
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || text.matches('%').count() > 1 {
            return Err(ReserveError::Form);
        }
        let percent: u32 = digits.parse().map_err(|_| ReserveError::Form)?;
        match u8::try_from(percent) {
            Ok(percent) if percent <= MOST => Ok(Self { percent }),
            _ => Err(ReserveError::TooMuch(percent)),
        }
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserves_are_read_as_they_are_written() {
        for text in ["0%", "20%", "90%"] {
            assert_eq!(text.parse::<Reserve>().unwrap().to_string(), text);
        }
        assert_eq!("20".parse::<Reserve>().unwrap().usable(), 0.8);
        assert!("0".parse::<Reserve>().unwrap().is_none());
    }

    #[test]
    fn absurd_ones_are_told_so() {
        for text in ["", "%", "-20%", "20%%", "0.2", "a fifth", "99999999999%"] {
            assert_eq!(text.parse::<Reserve>(), Err(ReserveError::Form), "{text}");
        }
        assert_eq!("91%".parse::<Reserve>(), Err(ReserveError::TooMuch(91)));
        assert_eq!("400%".parse::<Reserve>(), Err(ReserveError::TooMuch(400)));
    }
}

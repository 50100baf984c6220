//! What a person chose for the safety of a job. It stays with the job until another choice is given by name.

use super::doubt::InDoubt;
use super::rate::{Rate, Span};
use super::reserve::Reserve;
use super::sample::Confirm;
use super::way::Resolve;
use std::num::NonZeroU32;
use std::time::Duration;

/// Requests a second unless another rate is chosen.
const USUAL_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("BUG: ten is not zero");

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// How far a batch in doubt is decided without a person.
    pub in_doubt: InDoubt,
    /// How many requests are made in a time.
    pub rate: Rate,
    /// What is left to others.
    pub reserve: Reserve,
    /// How much of each batch is read back.
    pub confirm: Confirm,
    /// Profiles in a batch at the most.
    pub batch_size: u16,
}

impl Default for Chosen {
    fn default() -> Self {
        Self {
            in_doubt: InDoubt::Verify,
            rate: Rate::at_most(USUAL_PER_SECOND, Span::Second),
            reserve: Reserve::NONE,
            confirm: Confirm::Sample,
            batch_size: 300,
        }
    }
}

impl Chosen {
    /// What differs from the usual, as the flags that would choose it; empty where nothing does.
    pub fn flags(&self) -> String {
        let usual = Self::default();
        let flags = [
            (self.in_doubt != usual.in_doubt).then(|| format!("--in-doubt {}", self.in_doubt.as_str())),
            (self.rate != usual.rate).then(|| format!("--rate {}", self.rate)),
            (self.reserve != usual.reserve).then(|| format!("--reserve {}", self.reserve)),
            (self.confirm != usual.confirm).then(|| format!("--confirm {}", self.confirm.as_str())),
            (self.batch_size != usual.batch_size).then(|| format!("--batch-size {}", self.batch_size)),
        ];
        let flags: Vec<String> = flags.into_iter().flatten().collect();
        flags.join(" ")
    }
}

/// All options of one run, as the ledger records them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// What stays with the job.
    pub chosen: Chosen,
    /// Requests under way at the same time.
    pub concurrency: u16,
    /// How emails become profiles.
    pub resolve: Resolve,
    /// How long a batch may stay unclear.
    pub settle_deadline: Duration,
    /// Whether nothing was to be sent.
    pub dry_run: bool,
    /// How many profiles were to be sent at the most.
    pub limit: Option<u64>,
    /// When it was to end by itself, in milliseconds since 1970 UTC.
    pub until_ms: Option<i64>,
    /// How many requests it was to make at the most.
    pub max_requests: Option<u64>,
    /// Whether a copy of a ledger was adopted.
    pub adopt: bool,
    /// How old a look-up might be.
    pub lookup_age: Duration,
    /// The ledger from which profiles were taken, as its path is shown.
    pub reuse: Option<String>,
    /// How old what was taken from there might be, where that was said.
    pub max_age: Option<Duration>,
    /// Whether it was taken as well that nobody has an email.
    pub reuse_not_found: bool,
    /// Whether failed entries were to be tried again.
    pub retry: bool,
    /// Who decided that members of accepted batches are tried again, where somebody did.
    pub by: Option<String>,
    /// Whether nobody was to be asked before sending.
    pub yes: bool,
    /// Whether lists were covered that the command did not name.
    pub all_lists: bool,
    /// Where the token was read from, as its path is shown.
    pub token_file: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unusual_is_named() {
        assert_eq!(Chosen::default().flags(), "");
        let chosen = Chosen {
            in_doubt: InDoubt::Hold,
            rate: "5/s,200/min".parse().unwrap(),
            reserve: "20%".parse().unwrap(),
            confirm: Confirm::All,
            batch_size: 50,
        };
        assert_eq!(
            chosen.flags(),
            "--in-doubt hold --rate 5/s,200/min --reserve 20% --confirm all --batch-size 50"
        );
    }
}

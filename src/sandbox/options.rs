//! Every switch of the embedded tenant, with its words for the command line.
//!
//! A switch exists wherever the public record is silent or unsure, so that the client is judged against each
//! possible answer. This file holds choices only; it may not know how any of them is carried out.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::hostile::Hostile;

/// The status handles a tenant has unless told otherwise: more than one page of fifteen.
const DEFAULT_STATUSES: [&str; 20] = [
    "vip",
    "gold",
    "staff",
    "newsletter",
    "silver",
    "bronze",
    "platinum",
    "founding_member",
    "early_access",
    "birthday_club",
    "student",
    "senior",
    "trade",
    "wholesale",
    "ambassador",
    "lapsed",
    "win_back",
    "beta_tester",
    "click_and_collect",
    "do_not_contact",
];

/// How the embedded tenant is set up and how it misbehaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// How many profiles the tenant starts with.
    pub profiles: u32,
    /// What every name, email and id is derived from.
    pub seed: u64,
    /// The one bearer token that is let in.
    pub token: String,
    /// The scopes the token carries.
    pub scopes: Vec<String>,
    /// The handles of the status definitions, at most 64.
    pub statuses: Vec<String>,
    /// How many profiles of a hundred hold the first status from the start.
    pub holders_percent: u8,
    /// The share of profiles, in percent, whose email another profile bears too.
    pub duplicates_percent: f64,
    /// How long every answer is held back after its request was recorded and carried out.
    pub latency: Duration,
    /// How many requests the token may make in a window; `None` lets all of them through.
    pub rate_limit: Option<RateLimit>,
    /// How they are counted.
    pub rate_kind: RateKind,
    /// Another limit from some time on.
    pub rate_change: Option<RateChange>,
    /// Whether answers carry the `X-RateLimit-…` headers.
    pub rate_headers: bool,
    /// What the `Retry-After` header of a 429 looks like.
    pub retry_after: RetryAfterStyle,
    /// How `filter[email]` compares.
    pub filter: FilterMode,
    /// What `filter[email][in]` does.
    pub filter_in: ListFilter,
    /// What `filter[id][in]` does.
    pub filter_ids: ListFilter,
    /// Whether `filter[statuses.handle]` is honoured; otherwise it is ignored.
    pub filter_holders: bool,
    /// Whether `sort=id` is honoured; otherwise it is ignored.
    pub sort: bool,
    /// The longest address in bytes; a gateway answers a longer one with 414.
    pub url_max: u32,
    /// How numbers are written in batches and in the page's meta block.
    pub counts: CountStyle,
    /// For how long after its 202 a batch is answered with 404.
    pub not_found_for: Duration,
    /// What happens to a write that names a profile which does not exist.
    pub unknown_ids: UnknownIds,
    /// Whether an unfinished batch reports `processing`, a state outside the documentation, for `pending`.
    pub unknown_state: bool,
    /// The time between accepting a batch and applying it.
    pub apply_delay: Duration,
    /// How much later than its `success` the effect of a batch shows on profiles.
    pub show_delay: Duration,
    /// The page size when none is asked for.
    pub page_default: u32,
    /// The largest page size; a larger wish is cut down to it.
    pub page_max: u32,
    /// The most entries one write may have; more are refused with a 422.
    pub batch_max: u32,
    /// The most entries that reach the application at all; more are refused by the gateway with a bare 413.
    pub payload_max: u32,
    /// Whether the list of statuses comes in pages.
    pub envelope: EnvelopeStyle,
    /// The share of writes, in percent, that are taken and then answered by a gateway's 502 page.
    pub lose_answers_percent: f64,
    /// The share of writes, in percent, that are not taken and answered by the same 502 page.
    pub drop_writes_percent: f64,
    /// Whether batches succeed without changing any profile, as if the handle had been deleted unseen.
    pub drop_handle_effect: bool,
    /// How answers are changed, where this tenant is hostile.
    pub hostile: Option<Hostile>,
    /// The file that keeps the tenant's memory across restarts.
    pub state: Option<OpenFile>,
    /// The file that gets one JSON line for every accepted write, for readers in another process.
    pub journal: Option<OpenFile>,
}

/// A file of the tenant's, opened by the caller for reading and writing: the sandbox makes and replaces none.
#[derive(Debug, Clone)]
pub struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
}

impl OpenFile {
    /// A file; the path is for messages.
    pub fn new(path: &Path, file: File) -> Self {
        Self {
            path: path.to_owned(),
            file: Arc::new(file),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            profiles: 20_000,
            seed: 1,
            token: "sandbox-token".to_owned(),
            scopes: ["read-profiles", "read-statuses", "update-profiles"]
                .map(str::to_owned)
                .to_vec(),
            statuses: DEFAULT_STATUSES.map(str::to_owned).to_vec(),
            holders_percent: 5,
            duplicates_percent: 0.5,
            latency: Duration::ZERO,
            rate_limit: None,
            rate_kind: RateKind::Fixed,
            rate_change: None,
            rate_headers: true,
            retry_after: RetryAfterStyle::Seconds,
            filter: FilterMode::Exact,
            filter_in: ListFilter::Honoured,
            filter_ids: ListFilter::Honoured,
            filter_holders: true,
            sort: true,
            url_max: 8_000,
            counts: CountStyle::Number,
            not_found_for: Duration::ZERO,
            unknown_ids: UnknownIds::Reject,
            unknown_state: false,
            apply_delay: Duration::from_millis(200),
            show_delay: Duration::ZERO,
            page_default: 15,
            page_max: 100,
            batch_max: 500,
            payload_max: u32::MAX,
            envelope: EnvelopeStyle::Paged,
            lose_answers_percent: 0.0,
            drop_writes_percent: 0.0,
            drop_handle_effect: false,
            hostile: None,
            state: None,
            journal: None,
        }
    }
}

/// Why a word on the command line is not a choice of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} '{given}', expected {expected}")]
pub struct UnknownWord {
    what: &'static str,
    given: String,
    expected: &'static str,
}

/// Declares a choice among words once, so that parsing and printing can never drift apart.
macro_rules! choice {
    (
        $(#[$outer:meta])*
        $name:ident, $what:literal, $expected:literal {
            $( $(#[$inner:meta])* $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$inner])* $variant, )+
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err(UnknownWord {
                        what: $what,
                        given: text.to_owned(),
                        expected: $expected,
                    }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(match self {
                    $( Self::$variant => $word, )+
                })
            }
        }
    };
}

choice! {
    /// How requests are counted against the rate limit.
    RateKind, "kind of rate limit", "fixed, sliding or bucket" {
        /// In windows that open with their first request.
        Fixed = "fixed",
        /// In any stretch of the window's length.
        Sliding = "sliding",
        /// As tokens that come back evenly.
        Bucket = "bucket",
    }
}

choice! {
    /// How the `Retry-After` header of a 429 is written.
    RetryAfterStyle, "retry-after style", "seconds, date or missing" {
        /// A whole number of seconds.
        Seconds = "seconds",
        /// An HTTP date.
        Date = "date",
        /// No such header.
        Missing = "missing",
    }
}

choice! {
    /// How the email filter compares.
    FilterMode, "filter mode", "exact, partial or ignored" {
        /// The whole address, letter case aside.
        Exact = "exact",
        /// Any address that contains the text, letter case aside.
        Partial = "partial",
        /// The filter has no effect.
        Ignored = "ignored",
    }
}

choice! {
    /// What a filter for a list of emails or ids does.
    ListFilter, "list filter", "honoured, ignored, broken, sensitive or short" {
        /// It finds whoever a filter for one email finds, for each of them.
        Honoured = "honoured",
        /// It has no effect.
        Ignored = "ignored",
        /// It is answered with a 500.
        Broken = "broken",
        /// Letter case matters, other than for one email.
        Sensitive = "sensitive",
        /// Only the first twenty emails count.
        Short = "short",
    }
}

choice! {
    /// How counts are written.
    CountStyle, "count style", "number, string or null" {
        /// As JSON numbers.
        Number = "number",
        /// As JSON strings of digits.
        String = "string",
        /// As null in batches; the numbers of pages stay numbers.
        Null = "null",
    }
}

choice! {
    /// What becomes of a write that names an unknown or deleted profile.
    UnknownIds, "answer to unknown ids", "reject, item or silent" {
        /// The whole request is refused with a 422 that names each such entry.
        Reject = "reject",
        /// The batch is taken, and the entry becomes a failed item.
        Item = "item",
        /// The batch is taken, and the entry passes for a success.
        Silent = "silent",
    }
}

choice! {
    /// How the list of statuses is wrapped.
    EnvelopeStyle, "envelope style", "paged or bare" {
        /// In pages, with `data`, `links` and `meta`.
        Paged = "paged",
        /// All of them at once, in nothing but `data`.
        Bare = "bare",
    }
}

/// So many requests in so long a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests a window lets through.
    pub count: u32,
    /// How long a window lasts.
    pub per: Duration,
}

impl FromStr for RateLimit {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        parse_rate(text).ok_or_else(|| UnknownWord {
            what: "rate limit",
            given: text.to_owned(),
            expected: "a count and a window such as 10/s, 600/min or 50/500ms",
        })
    }
}

/// A limit that holds from some time after the start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateChange {
    /// How long after the start.
    pub after: Duration,
    /// The limit from then on.
    pub limit: RateLimit,
}

impl FromStr for RateChange {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let parts = text.split_once('=').and_then(|(after, limit)| {
            let seconds: u32 = after.trim().strip_suffix('s')?.parse().ok()?;
            Some(Self {
                after: Duration::from_secs(u64::from(seconds)),
                limit: parse_rate(limit)?,
            })
        });
        parts.ok_or_else(|| UnknownWord {
            what: "change of the rate limit",
            given: text.to_owned(),
            expected: "seconds and a limit such as 90s=300/min",
        })
    }
}

/// Reads `COUNT/WINDOW`, where the window is a unit with an optional whole number before it.
fn parse_rate(text: &str) -> Option<RateLimit> {
    let (count, window) = text.split_once('/')?;
    let count: u32 = count.trim().parse().ok()?;
    let window = window.trim();
    let split = window
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(window.len());
    let (number, unit) = window.split_at(split);
    let number: u64 = if number.is_empty() {
        1
    } else {
        number.parse().ok()?
    };
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "sec" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let per = Duration::from_millis(number.checked_mul(milliseconds)?);
    (count > 0 && !per.is_zero()).then_some(RateLimit { count, per })
}

impl fmt::Display for RateLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_millis() {
            1_000 => write!(formatter, "{}/s", self.count),
            60_000 => write!(formatter, "{}/min", self.count),
            3_600_000 => write!(formatter, "{}/h", self.count),
            milliseconds => write!(formatter, "{}/{milliseconds}ms", self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_as_they_are_printed() {
        for mode in [FilterMode::Exact, FilterMode::Partial, FilterMode::Ignored] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        for style in [EnvelopeStyle::Paged, EnvelopeStyle::Bare] {
            assert_eq!(style.to_string().parse(), Ok(style));
        }
        assert_eq!("silent".parse(), Ok(UnknownIds::Silent));
        assert_eq!("date".parse(), Ok(RetryAfterStyle::Date));
        assert_eq!("null".parse(), Ok(CountStyle::Null));
    }

    #[test]
    fn an_unknown_word_is_told_what_would_have_done() {
        let error = "fuzzy".parse::<FilterMode>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown filter mode 'fuzzy', expected exact, partial or ignored"
        );
    }

    #[test]
    fn rates_are_read_in_every_unit() {
        for text in ["10/s", "600/min", "5/h", "50/500ms"] {
            let limit: RateLimit = text.parse().unwrap();
            assert_eq!(limit.to_string(), text);
        }
        for text in ["", "10", "0/s", "10/0s", "x/s", "10/day", "10/"] {
            assert!(text.parse::<RateLimit>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_default_statuses_need_a_second_page() {
        let options = Options::default();
        assert!(options.statuses.len() > options.page_default as usize);
        assert_eq!(options.statuses[0], "vip");
    }
}

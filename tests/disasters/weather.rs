//! How badly a tenant behaves for a time. What it is like for good is its [`Traits`].

use super::grammar::{Latency, Pace, Traits};
pub use super::grammar::{Listing, Strangers};
use std::ops::Range;
use std::time::Duration;

/// How badly it behaves. Shares are of a hundred.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Reads that bring no answer.
    pub bad_reads: u32,
    /// Writes whose answer says nothing, or no.
    pub bad_writes: u32,
    /// The first so many writes, which never arrive.
    pub lost_writes: u32,
    /// The first so many writes that arrive, whose answers never do.
    pub unheard_writes: u32,
    /// How often it may refuse the token, all in all.
    pub denials: u32,
    /// When nobody can reach it.
    pub outages: Vec<Range<Duration>>,
    /// When it answers 409, 423 or 425 to everything, where it does that.
    pub conflicts: Vec<Range<Duration>>,
    /// When its searches find nobody, where they do that.
    pub gaps: Vec<Range<Duration>>,
    /// When it works on nothing, where it does that.
    pub stalls: Vec<Range<Duration>>,
    /// From when on the list of batches may not be read, where that changes.
    pub access_ends: Duration,
    /// How long it may take with a batch, and how long after that it may show old profiles.
    pub applying_ms: u64,
    pub showing_ms: u64,
    /// How long a request and its answer may be on their way.
    pub travel_ms: u64,
    /// Members that it takes at once.
    pub size_limit: Option<usize>,
    /// What it tells about its batches.
    pub listing: Listing,
    /// Whether it calls its batches something that is documented nowhere.
    pub babbles: bool,
    /// Who else sends batches to it.
    pub strangers: Strangers,
    /// What it is like.
    pub traits: Traits,
}

impl Weather {
    /// The same tenant on its best day.
    pub fn calmed(&self) -> Self {
        Self {
            applying_ms: 500,
            travel_ms: 20,
            size_limit: self.size_limit,
            listing: self.listing,
            access_ends: self.access_ends,
            traits: Traits {
                pace: Pace::Steady,
                latency: Latency::Steady,
                strangers: Strangers::Nobody,
                ..self.traits
            },
            ..Self::default()
        }
    }
}

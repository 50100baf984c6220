//! How badly a tenant behaves.

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
}

/// What a tenant tells about its batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listing {
    /// It has no list.
    Missing,
    /// Their ids.
    Bare,
    /// Their sizes, too.
    Sized,
    /// Also whom they name, as the documentation has it.
    #[default]
    Itemised,
}

/// Who else sends batches while we do, each about as large as ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strangers {
    #[default]
    Nobody,
    /// Somebody who gives the handle to other people.
    ForOthers,
    /// Somebody who gives it to ours, too.
    ForOurs,
}

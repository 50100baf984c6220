//! The pure heart: words, lifecycles and verdicts. No clock, no input or output, no async.
//!
//! What is deliberately absent: anything that could fail for a reason outside of its arguments.

pub mod address;
pub mod backoff;
pub mod batch;
pub mod chosen;
pub mod doubt;
pub mod drift;
pub mod email;
pub mod entry;
pub mod forecast;
pub mod grouping;
pub mod guard;
pub mod ids;
pub mod listing;
pub mod lookup;
pub mod outcome;
pub mod rate;
pub mod reserve;
pub mod resume;
pub mod sample;
pub mod spent;
pub mod text;
pub mod walk;
pub mod way;

//! How much of each proof is run.
//!
//! `cargo test` runs a *quick* share of each, chosen by count and never by time. `ROLLBOOK_PROOF=long` runs the share
//! that CI runs after it, `ROLLBOOK_PROOF=full` the whole. `CONTRIBUTING.md` says how long each takes.

#![allow(dead_code, reason = "each test binary uses a part of it")]

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    Quick,
    Long,
    Whole,
}

/// What the environment asks for.
pub fn share() -> Share {
    match std::env::var("ROLLBOOK_PROOF").as_deref() {
        Err(_) | Ok("") => Share::Quick,
        Ok("long") => Share::Long,
        Ok("full") => Share::Whole,
        Ok(other) => panic!("ROLLBOOK_PROOF is `long` or `full`, not `{other}`"),
    }
}

/// The figure of the share that is run.
pub fn pick<T>(quick: T, long: T, whole: T) -> T {
    match share() {
        Share::Quick => quick,
        Share::Long => long,
        Share::Whole => whole,
    }
}

/// Whether the whole of each proof is run.
pub fn is_whole() -> bool {
    share() == Share::Whole
}

//! Proofs by simulation: the runner's real code against a disk, a tenant and a clock that one seed rules.
//!
//! `share.rs` says how much is run; `ROLLBOOK_SEED=n` repeats one world.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make and remove files of their own"
)]

mod cases;
mod cast;
mod copies;
mod disk;
mod evidence;
mod grammar;
mod hostile;
mod job;
mod patience;
mod power;
mod replies;
mod rungs;
#[path = "../support/share.rs"]
mod share;
mod storage;
mod truth;
mod vfs;
mod weather;
mod world;
mod worlds;

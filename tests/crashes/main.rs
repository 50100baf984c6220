//! The real binary, really killed: at system calls, at random moments, while the tenant holds an answer, with the
//! disk as a power cut leaves it, and by a second process that takes its place.
//!
//! `ROLLBOOK_PROOF=full cargo test --release --test crashes -- --nocapture` runs the whole, of which an ordinary
//! `cargo test` runs a share. `ROLLBOOK_SEED` repeats what chance chose.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make and remove files of their own"
)]

mod answers;
mod gate;
mod hostile;
mod loopback;
mod proof;
mod races;
mod random;
#[allow(
    dead_code,
    reason = "shared with the other integration tests, which use more of it"
)]
#[path = "../support/mod.rs"]
mod support;
mod syscalls;
mod zombies;

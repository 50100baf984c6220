//! Proofs by simulation: the runner's real code against a disk, a tenant and a clock that one seed rules.
//!
//! `cargo test` runs a share; `ROLLBOOK_PROOF=full` runs all of it, and `ROLLBOOK_SEED=n` repeats one world.

mod cases;
mod copies;
mod disk;
mod job;
mod patience;
mod power;
mod rungs;
mod storage;
mod vfs;
mod weather;
mod world;
mod worlds;

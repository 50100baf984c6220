//! The run: stages around a synchronous coordinator.
//!
//! `ingest` takes lists in (`count` only counts them), `preflight` checks, `survey` finds out what else the tenant
//! supports, `plan` reckons, and then `run` goes on with whatever the ledger says is left: `scan` and `resolve` look
//! entries up (`again` those of whom one answer is not enough), `send` sends batches, `settle` learns what became of those that were accepted, `doubt` whether the others
//! arrived, and `adoption` waits for what the original of a copied ledger has sent. The stages do not know each other;
//! `coordinator`, with `lookups`, `bursts` and `misses` in it, decides who is next, `run` carries it out. `look`, `readback`,
//! `handles`, `known` and `lists` are what several of them ask.
//!
//! Deliberately absent: printing. What happens is told as [`event::Event`]s.

mod adoption;
mod again;
mod bursts;
mod change;
pub mod commands;
pub mod context;
pub mod coordinator;
pub mod count;
pub mod doubt;
pub mod event;
mod handles;
pub mod ingest;
mod known;
mod lifetime;
pub mod limits;
mod listing;
mod lists;
mod look;
pub mod lookups;
mod members;
mod meter;
pub mod misses;
pub mod pilot;
pub mod plan;
mod polls;
pub mod preflight;
mod processing;
mod readback;
mod resolve;
mod retry;
pub mod run;
pub mod scan;
pub mod send;
pub mod settle;
mod sizes;
pub mod survey;
mod tasks;
pub mod verify;
mod witness;

//! The integration tests: the real binary, real sockets, real files, real kills. One binary, so that it links once.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make and remove files of their own"
)]

mod answers;
mod bad_input;
mod bystanders;
mod command_line;
mod doubts;
mod faults;
mod files;
mod flags;
mod forecast;
mod hostile;
mod identity;
mod journey;
mod ledger_files;
mod limits;
mod lists;
mod log;
mod lookups;
mod obstacles;
mod plan;
mod retry;
mod reuse;
mod scripting;
mod secrets;
mod show;
mod stages;
mod support;
mod terminal;
mod tidy;
mod verify;
mod ways;
mod wire;

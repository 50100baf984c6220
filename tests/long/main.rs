//! What only real time can show: the pace as the server counts it, copies that wait for what their original sent, and
//! batches in doubt that wait for the maximum request lifetime.
//!
//! Minutes of waiting, so `cargo test` leaves it to the long share: `cargo test --test long`.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make and remove files of their own"
)]

mod copies;
mod doubts;
mod hostile;
mod pace;
mod retry;
#[allow(
    dead_code,
    reason = "shared with the other integration tests, which use more of it"
)]
#[path = "../hostile/server.rs"]
mod server;
#[allow(
    dead_code,
    reason = "shared with the other integration tests, which use more of it"
)]
#[path = "../support/mod.rs"]
mod support;

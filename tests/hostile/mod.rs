//! Tenants that somebody thought of who knew the documentation only, each made to break one of the first promises.
//!
//! Those that must outwait the maximum request lifetime are in `tests/long/hostile.rs`.

mod reads;
#[allow(dead_code, reason = "the long ones use more of it")]
mod server;
mod writes;

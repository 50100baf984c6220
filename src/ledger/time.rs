//! The wall clock, as the ledger writes it down. Never used to decide anything that must be right.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    static STOPPED: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Milliseconds since 1970 UTC.
pub fn now_ms() -> i64 {
    if let Some(at_ms) = STOPPED.get() {
        return at_ms;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Stops the wall clock for this thread: a simulation in virtual time repeats itself only where no other time is told.
pub fn stop_wall_clock(at_ms: i64) {
    STOPPED.set(Some(at_ms));
}

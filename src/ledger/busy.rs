//! Waiting for another program that has locked the database, such as a backup or a browser for SQLite files.
//!
//! Another rollbook does not come that far: the lock beside the ledger keeps it out (`lock.rs`). The wait is bounded,
//! and whoever waits for longer than a moment is told for what.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// For how long a lock of another program is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is tried again. Checkpoints of SQLite itself end within milliseconds.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// When it is told that something is waited for.
const TOLD_AFTER: Duration = Duration::from_secs(1);

type Tell = Box<dyn Fn(&str) + Send>;

/// One for the process: any connection may have to wait, and at the latest one has to when nobody knows it.
static TELL: Mutex<Option<Tell>> = Mutex::new(None);

/// From now on calls this with a line for people where the ledger waits for another program.
pub fn tell_of_waiting(tell: impl Fn(&str) + Send + 'static) {
    *TELL.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tell));
}

/// What SQLite calls for each try of one wait, with the number of tries before; false gives up.
pub(super) fn handler(ledger: &Path) -> impl FnMut(i32) -> bool + Send + 'static {
    let ledger: PathBuf = ledger.to_owned();
    move |tries| {
        let waited = BETWEEN_TRIES * tries.unsigned_abs();
        if waited >= PATIENCE {
            return false;
        }
        if waited == TOLD_AFTER
            && let Some(tell) = &*TELL.lock().unwrap_or_else(PoisonError::into_inner)
        {
            tell(&format!(
                "another program has locked {}; waiting for it, for at most {} s",
                ledger.display(),
                PATIENCE.as_secs()
            ));
        }
        std::thread::sleep(BETWEEN_TRIES);
        true
    }
}

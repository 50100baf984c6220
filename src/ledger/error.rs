//! What can be wrong with a ledger, in words that name the remedy's reason.

use crate::model::entry::IllegalTransition;
use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};

/// A failure of the ledger. Cloned to everyone who waits for the same transaction.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such file.
    #[error("there is no ledger at {}", .0.display())]
    Missing(PathBuf),
    /// The file is something else.
    #[error("{} is not a rollbook ledger", .0.display())]
    NotALedger(PathBuf),
    /// The path leads somewhere that a ledger must not be.
    #[error("{}: {why}", path.display())]
    UnsafePath {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file, or one beside it, cannot be opened or made.
    #[error("cannot open {}: {why}", path.display())]
    CannotOpen {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A newer rollbook wrote it.
    #[error("{} has ledger version {found}; this rollbook knows versions up to {known}", path.display())]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The latest that this program knows.
        known: i64,
    },
    /// Another process writes to it.
    #[error("{} is in use by {holder}", path.display())]
    Locked {
        /// The ledger.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// A later process has taken the ledger over.
    #[error("another rollbook has taken this ledger over")]
    Superseded,
    /// A version before this one read the same list in the same way, and lost rows of it.
    #[error("{0} is in the ledger as an older rollbook read it, which lost rows of it")]
    ReadByOlder(String),
    /// It belongs to another job.
    #[error("this ledger belongs to another job: it will {pinned}, but was asked to {asked}")]
    OtherJob {
        /// What it is pinned to.
        pinned: String,
        /// What was asked for.
        asked: String,
    },
    /// It is a copy, or was put back from one.
    #[error("{} is not the ledger that was last used: {why}", path.display())]
    Copied {
        /// The ledger.
        path: PathBuf,
        /// How that is known.
        why: String,
    },
    /// Since it was opened, its file was deleted, moved or replaced.
    #[error("the ledger that this run works on is not at {} any more: {why}", path.display())]
    Replaced {
        /// The ledger.
        path: PathBuf,
        /// What was found there.
        why: String,
    },
    /// The user's state folder cannot be written, where it was before.
    #[error("cannot note in the state folder what is about to be sent: {0}")]
    State(String),
    /// Another program has locked the database, and has not let go of it in time.
    #[error("another program has locked the ledger, and did not let go of it within {0} s")]
    Busy(u64),
    /// Its content contradicts itself or cannot be read.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
    /// The disk is full, read-only or failing.
    #[error("cannot write the ledger: {0}")]
    Disk(String),
    /// Anything else that SQLite says.
    #[error("the ledger failed: {0}")]
    Sqlite(String),
}

impl LedgerError {
    /// Where a file that should be there cannot be opened.
    pub(super) fn from_open(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            _ => Self::from_make(path, error),
        }
    }

    /// Where a file cannot be made, or not be worked with.
    pub(super) fn from_make(path: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::FileTooLarge => {
                Self::Disk(format!("{}: {error}", path.display()))
            }
            _ => Self::CannotOpen {
                path: path.to_owned(),
                why: error.to_string(),
            },
        }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied,
            ) => Self::Disk(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Busy(super::busy::PATIENCE.as_secs())
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(text),
            _ => Self::Sqlite(text),
        }
    }
}

impl From<IllegalTransition> for LedgerError {
    /// The live code only makes moves that the lifecycle has, so the ledger must have said otherwise.
    fn from(illegal: IllegalTransition) -> Self {
        Self::Damaged(illegal.to_string())
    }
}

//! The ledger: one SQLite file that is one job.
//!
//! **Locking.** One process writes; it holds a lock on a file beside the ledger, raises the ledger's epoch,
//! and checks that epoch in each transaction of a run. Readers take no lock: in WAL mode they see the last commit
//! and hinder nobody.
//!
//! **Copies.** A ledger knows where it was last used, and is remembered beside it and in the user's state folder. A copy
//! of it, or an older state that was put in its place, sends nothing before it is adopted (`identity.rs`, `place.rs`,
//! `memory.rs`, `record.rs`).
//!
//! **Durability.** WAL with `synchronous=FULL`: a commit that returned is on the disk. That costs a fraction
//! of a millisecond; with `NORMAL`, a power cut can take back the commit that says a batch has left, and
//! the next run would send it a second time.
//!
//! **Order.** For a batch: *sealed* is flushed, then *sending* is flushed, then the request leaves, then its
//! answer is flushed. Whatever the power interrupts, the ledger says at least as much as happened.
//!
//! **Compatibility.** `user_version` counts the migrations. An older ledger is brought up to date in one
//! transaction; a newer one is refused untouched.
//!
//! Deliberately absent: any knowledge of the API, of the screen, or of why something is written. No type of
//! the SQL library leaves this folder, so that a ledger in a server could stand beside this one.

mod age;
mod busy;
mod chosen;
mod doubts;
mod error;
mod executor;
mod history;
mod identity;
mod intake;
mod lists;
mod load;
mod lock;
mod memory;
mod migrate;
mod open;
mod other;
mod place;
mod read;
mod record;
mod report;
mod retry;
mod reuse;
mod safety;
mod scans;
mod seen;
mod time;
mod unload;
mod verify;
mod wal;
mod walk;
mod write;
mod writer;

pub use age::Forgotten;
pub use busy::tell_of_waiting;
pub use doubts::{Absence, Doubt, RulingError, Unfinished, Verdict};
pub use error::LedgerError;
pub use history::{AbsenceRow, AttemptRow, EntryHistory, LineOf, MemberRow, Place, RetryRow, RulingRow};
pub use lists::{FindListError, ListRow, Unnamed};
pub use load::{ListCounts, ListIdentity, Loaded, Loading};
pub use lock::holder_of;
pub use memory::Remembered;
pub use open::Ledger;
pub use other::{Offer, OtherLedger};
pub use read::{
    Accepted, BatchOutcome, BatchRow, Counts, OpenBatch, PendingEntry, PinnedJob, Reader, SealedMember,
};
pub use report::{RunReport, RunRow, RunUnderWay, SentProfile};
pub use retry::{Decision, Failures, FreshLook};
pub use reuse::{ReuseError, Reused, Terms};
pub use scans::{BegunScan, ScanState, Seen, SeenOnce, Sighting};
pub use time::{now_ms, stop_wall_clock};
pub use unload::{UnloadError, Unloaded};
pub use verify::{Confirmed, Drifted, Population, Verification};
pub use walk::{EntryRow, RejectRow, RepeatRow, TakenOver};
pub use write::{AnswerRecord, MemberFate, Settlement};
pub use writer::{Writer, WriterThread};

use crate::model::batch::BatchState;
#[cfg(test)]
use open::open_for_reading;

impl Ledger {
    /// The job, where the ledger is pinned to one.
    pub fn job(&self) -> Result<Option<PinnedJob>, LedgerError> {
        read::job(&self.connection)
    }

    /// Entries by state.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        read::tally(&self.connection)
    }

    /// How many batches are in which state.
    pub fn batch_counts(&self) -> Result<Vec<(BatchState, u64)>, LedgerError> {
        read::batch_counts(&self.connection)
    }
}

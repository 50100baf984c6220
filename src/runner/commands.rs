//! What the coordinator asks for, and what it is told.

use super::bursts::Doubtful;
use super::context::Halt;
use super::doubt::Cleared;
use super::lookups::{LookedUp, Question};
use super::scan::Step;
use super::send::Sent;
use super::settle::Settled;
use crate::ledger::PendingEntry;
use crate::model::ids::{BatchNo, EntryId};
use crate::model::lookup::Verdict;

/// Something to be carried out.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// Fetch the next pending entries after this one.
    Refill(EntryId),
    /// Go on with reading all profiles, with so many requests at the most.
    Scan(Step, usize),
    /// Ask for entries.
    LookUp(Question),
    /// Ask once more for entries that nobody was found for, or that were refused.
    AskAgain(Doubtful),
    /// Take back what was concluded from groups alone.
    Release,
    /// Write verdicts down.
    Record(Vec<(EntryId, Verdict)>),
    /// Fix the members of a new batch: so many of the resolved entries.
    Seal(usize),
    /// Send a sealed batch.
    Send(BatchNo),
    /// Poll an accepted batch and read it back.
    Settle(BatchNo),
    /// Gather evidence about a batch in doubt; `again` where an earlier run has done so in vain.
    ClearUp {
        /// Which batch.
        no: BatchNo,
        /// Whether an earlier run has held it.
        again: bool,
    },
}

/// Something that has been carried out, or happened.
pub enum Report {
    /// These are the next pending entries; fewer than asked for means that there are no more.
    Refilled(Vec<PendingEntry>),
    /// The next few of them, until it is known how others are to be asked for.
    RefilledFew(Vec<PendingEntry>),
    /// The reading of all profiles goes on with this step; about so many pages are left.
    Scanning(Step, Option<u64>),
    /// The reading of all profiles is over, and so many entries were resolved by it.
    Scanned(u64),
    /// A question about so many entries was answered.
    LookedUp(usize, LookedUp),
    /// Entries were asked for once more.
    AskedAgain(AskedAgain),
    /// These are pending again, since groups do not say who is missing.
    Released(Vec<PendingEntry>),
    /// So many verdicts are written down, and so many of them are of entries that want to be sent.
    Recorded(usize, u64),
    /// A batch is sealed, with so many members.
    Sealed(BatchNo, usize),
    /// A batch was sent.
    Sent(BatchNo, usize, Sent),
    /// An accepted batch was looked into.
    Settled(BatchNo, Settled),
    /// A batch in doubt was looked into.
    Cleared(BatchNo, Cleared),
    /// Something could not be carried out, and the run must stop.
    Halted(Work, Halt),
}

/// What asking once more has led to.
pub struct AskedAgain {
    /// The entries with their verdicts.
    pub verdicts: Vec<(EntryId, Verdict)>,
    /// How many of them were found after all.
    pub found: usize,
}

/// What a halted command was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A refill.
    Refill,
    /// The reading of all profiles.
    Scan,
    /// A question about so many entries.
    LookUp(usize),
    /// Asking once more.
    AskAgain,
    /// Taking back.
    Release,
    /// The recording of so many verdicts.
    Record(usize),
    /// A seal.
    Seal,
    /// A send.
    Send,
    /// A settlement or a clearing up.
    Settle,
}

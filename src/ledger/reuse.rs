//! Taking profile ids from the ledger of an earlier job at the same tenant, instead of looking them up again.
//!
//! What an old look-up saw may have changed since, so only what leads to sending is taken, where a read-back proves
//! every single one, and, if asked for, that nobody bears an email. Whoever would be skipped by old knowledge is left
//! to be looked up. So is whatever the other ledger does not know for certain: ambiguous entries, failed ones, members
//! of batches that are not settled, and entries that led to another entry's profile.
//!
//! The other ledger is only read, from one moment to the end, and a run may go on beside it.

use super::error::LedgerError;
use super::load::Loading;
use super::other::{Given, Offer, OtherLedger};
use super::read;
use super::time::now_ms;
use super::write::{Tally, Transaction, save_tally};
use crate::model::entry::EntryState;
use crate::model::ids::EntryId;
use crate::model::lookup::Verdict;
use crate::model::text::printable_bytes;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::PathBuf;
use std::time::Duration;

/// Why nothing can be taken from another ledger. Neither ledger was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReuseError {
    /// It is the one that is written to.
    #[error("--reuse names this very ledger, {}", .0.display())]
    Itself(PathBuf),
    /// It has the id of the one that is written to.
    #[error("{} is a copy of this very ledger", .0.display())]
    Copy(PathBuf),
    /// Nothing was ever looked up with it.
    #[error("{} has no job yet, so it has looked nothing up", .0.display())]
    NoJob(PathBuf),
    /// Its profile ids mean nothing here.
    #[error("{} is of another tenant, {theirs}; this job is at {ours}", path.display())]
    OtherTenant {
        /// The other ledger.
        path: PathBuf,
        /// Its tenant.
        theirs: String,
        /// The tenant of this job.
        ours: String,
    },
    /// The original of this ledger may have sent something since the other ledger looked.
    #[error("this ledger was a copy once: what its original may have sent shows in a look-up only")]
    Adopted,
    /// Somebody wants it to stop.
    #[error("stopped as asked")]
    Stopped,
    /// The other ledger cannot be read.
    #[error("--reuse: {error}")]
    Theirs {
        /// The other ledger.
        path: PathBuf,
        /// Why.
        error: LedgerError,
    },
    /// This ledger cannot be written.
    #[error(transparent)]
    Ours(#[from] LedgerError),
}

/// What is to be taken.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long ago it may have been looked up.
    pub max_age: Duration,
    /// Whether to take also that nobody bears an email.
    pub not_found: bool,
}

/// How many entries were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reused {
    /// With a profile that needs the handles.
    pub resolved: u64,
    /// With a profile that another entry had led to already.
    pub same_profile: u64,
    /// With the knowledge that nobody bears the email.
    pub not_found: u64,
    /// Not taken: by this machine's clock they will be looked up in the future, so nobody can tell how old they are.
    pub ahead: u64,
}

impl Reused {
    /// All that were taken.
    pub fn total(&self) -> u64 {
        self.resolved + self.same_profile + self.not_found
    }

    /// Counts what is offered for one entry, and says whether it may be taken.
    pub(super) fn count(&mut self, given: &Given) -> bool {
        *match given.verdict {
            _ if given.is_ahead => &mut self.ahead,
            Verdict::Resolved { .. } => &mut self.resolved,
            _ => &mut self.not_found,
        } += 1;
        !given.is_ahead
    }
}

impl Loading<'_> {
    /// Takes what is offered about entries that are pending here.
    ///
    /// `stop` is asked now and then. After an error the load must not be committed.
    pub fn reuse(&mut self, offer: &Offer<'_>, stop: &dyn Fn() -> bool) -> Result<Reused, ReuseError> {
        let connection = self.file_rows()?;
        check_own(connection, offer.from())?;
        let mut taking = Taking::begin(connection)?;
        if read::tally(connection)?.in_state(EntryState::Pending) == 0 {
            return Ok(taking.reused);
        }
        offer.each(stop, |email, given| taking.take(email, &given))?;
        Ok(taking.end(offer.from())?)
    }
}

impl read::Reader {
    /// Counts what [`Loading::reuse`] would take, and takes nothing. Two entries that lead to one profile are counted
    /// as two.
    pub fn reusable(&self, offer: &Offer<'_>, stop: &dyn Fn() -> bool) -> Result<Reused, ReuseError> {
        check_own(&self.connection, offer.from())?;
        let mut reused = Reused::default();
        if self.counts()?.in_state(EntryState::Pending) == 0 {
            return Ok(reused);
        }
        offer.each(stop, |email, given| {
            if pending(&self.connection, email)?.is_some() {
                reused.count(&given);
            }
            Ok(())
        })?;
        Ok(reused)
    }

    /// How many entries were ever taken from other ledgers.
    pub fn reused(&self) -> Result<u64, LedgerError> {
        let reused = "SELECT coalesce(sum(taken), 0) FROM reuse";
        Ok(self
            .connection
            .query_row(reused, [], |row| read::unsigned(row, 0))?)
    }
}

/// The entry with this email, where it waits for its look-up.
fn pending(connection: &Connection, email: &str) -> Result<Option<EntryId>, LedgerError> {
    let id = connection
        .prepare_cached("SELECT id FROM entry WHERE email = ?1 AND state = 0")?
        .query_row(params![email], |row| row.get(0))
        .optional()?;
    Ok(id.map(EntryId))
}

fn check_own(connection: &Connection, other: &OtherLedger) -> Result<(), ReuseError> {
    let (id, adopted): (String, bool) = connection
        .query_row(
            "SELECT ledger_id, EXISTS (SELECT 1 FROM adoption) FROM meta",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(LedgerError::from)?;
    if adopted {
        return Err(ReuseError::Adopted);
    }
    if id == other.id {
        return Err(ReuseError::Copy(other.path.clone()));
    }
    Ok(())
}

/// One taking-over, as it goes on.
struct Taking<'c> {
    transaction: Transaction<'c>,
    /// Its number in the ledger.
    no: i64,
    reused: Reused,
}

impl<'c> Taking<'c> {
    fn begin(connection: &'c Connection) -> Result<Self, LedgerError> {
        let next = "SELECT coalesce(max(id), 0) + 1 FROM reuse";
        Ok(Self {
            transaction: Transaction {
                lock: None,
                connection,
                tally: Tally::default(),
                // No run has begun yet, and look-ups are of none.
                run: 0,
                departed: None,
            },
            no: connection.query_row(next, [], |row| row.get(0))?,
            reused: Reused::default(),
        })
    }

    fn take(&mut self, email: &str, given: &Given) -> Result<(), LedgerError> {
        let connection = self.transaction.connection;
        let Some(id) = pending(connection, email)? else {
            return Ok(());
        };
        if !self.reused.count(given) {
            return Ok(());
        }
        let state = self.transaction.lookup(id, &given.verdict)?;
        if matches!(given.verdict, Verdict::Resolved { .. }) && state != EntryState::Resolved {
            self.reused.resolved -= 1;
            self.reused.same_profile += 1;
        }
        connection
            .prepare_cached("UPDATE entry SET reused = ?2, reuse = ?3 WHERE id = ?1")?
            .execute(params![id.0, given.looked_up_at, self.no])?;
        Ok(())
    }

    /// Writes down what was taken from where, and the numbers of entries by state.
    fn end(self, other: &OtherLedger) -> Result<Reused, LedgerError> {
        let Transaction {
            connection, tally, ..
        } = self.transaction;
        save_tally(connection, &tally)?;
        let taken = self.reused.total();
        if taken > 0 {
            connection.execute(
                "INSERT INTO reuse (id, ledger_id, path, taken, taken_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    self.no,
                    other.id,
                    printable_bytes(other.path.as_os_str().as_encoded_bytes()),
                    taken as i64,
                    now_ms()
                ],
            )?;
        }
        Ok(self.reused)
    }
}

#[cfg(test)]
mod tests;

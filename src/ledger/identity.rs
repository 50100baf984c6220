//! Whether a ledger is the one that was last used, so that a copy of it does not send what its original may have sent.
//!
//! A run writes down the machine, the path and the file that it works on (`place.rs`): first in the transaction that
//! pins the job, so that whatever holds a job and no place has lost its log. The lock's file beside the ledger and a
//! record in the user's state folder remember how far it was used (`lock.rs`, `record.rs`). Another place, or a memory
//! that goes beyond the ledger, or none at all, mean that this is a copy, or one that was restored over a later state.
//! Adopting it throws away what may be out of date, and doubts what may have been sent.

use super::doubts::longest_processing_time;
use super::error::LedgerError;
use super::memory::WentBack;
use super::open::Ledger;
use super::place::Place;
use super::scans::FORGET_SCAN;
use super::time::now_ms;
use super::write::{Tally, save_tally};
use crate::model::batch::{self, BatchEvent, BatchState};
use crate::model::entry::{self, EntryEvent, EntryState};
use rusqlite::params;
use std::time::Duration;

impl Ledger {
    /// Why this ledger is a copy of the one that was last used, where it is.
    pub fn copied(&self) -> Result<Option<String>, LedgerError> {
        let (went_back, is_pinned): (i64, bool) = self.connection.query_row(
            "SELECT went_back, EXISTS (SELECT 1 FROM job) FROM meta",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if let Some(why) = WentBack::from_code(went_back) {
            return Ok(Some(why.to_string()));
        }
        match Place::last(&self.connection)? {
            Some(last) => Ok(last.differs(&Place::of(&self.path)?)),
            // The place is written by the very transaction that pins the job, so something is missing here.
            None if is_pinned => Ok(Some(
                "it has a job and does not say where it was used, so it was copied without its log (-wal)"
                    .into(),
            )),
            None => Ok(None),
        }
    }

    /// Writes down that the ledger is used here. To be called before anything is sent.
    ///
    /// The log is worked off, so that from the first request on the ledger's file by itself says which job it has and
    /// where it is used: whoever copies it without its log has a copy that knows to be one. A reader that still looks
    /// at an earlier state keeps that from happening until SQLite works the log off by itself, and is not waited for.
    pub fn claim(&self) -> Result<(), LedgerError> {
        Place::of(&self.path)?.save(&self.connection)?;
        let work_off = "PRAGMA wal_checkpoint(PASSIVE)";
        Ok(self.connection.query_row(work_off, [], |_| Ok(()))?)
    }

    /// Makes a copy the ledger that goes on, in one transaction.
    ///
    /// Its original may have gone on after the copy was made: what was looked up is looked up again, and batches
    /// that stand sealed are doubted. Until those are decided nothing is sent.
    ///
    /// The memories beside the ledger follow the transaction. If the power goes in between they know more than the
    /// ledger, which is a copy once more.
    pub fn adopt(&mut self, why: &str) -> Result<(), LedgerError> {
        let here = Place::of(&self.path)?;
        let original = Place::last(&self.connection)?;
        let beyond = self.memory.open(&here);
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO adoption (why, from_host, from_path, adopted_at) SELECT ?1, host, path, ?2 FROM meta",
            params![why, now_ms()],
        )?;
        here.save(&transaction)?;
        transaction.execute(
            "UPDATE meta SET epoch = max(epoch, ?1) + 1, adopting = 1, went_back = 0",
            [beyond],
        )?;
        let epoch = transaction.query_row("SELECT epoch FROM meta", [], |row| row.get(0))?;
        let pending = entry::apply(EntryState::Resolved, EntryEvent::Forget)?;
        let forgotten = transaction.execute(
            "UPDATE entry SET state = ?2, profile_id = NULL, held = NULL, resolved_at = NULL,
                 reused = NULL, reuse = NULL WHERE state = ?1",
            params![EntryState::Resolved.code(), pending.code()],
        )? as i64;
        let doubted = batch::apply(BatchState::Sealed, BatchEvent::LoseSight)?;
        transaction.execute(
            "UPDATE batch SET state = ?2, detail = 'the original of this ledger may have sent it' WHERE state = ?1",
            params![BatchState::Sealed.code(), doubted.code()],
        )?;
        let mut tally = Tally::default();
        tally.add(EntryState::Resolved, "", -forgotten);
        tally.add(pending, "", forgotten);
        save_tally(&transaction, &tally)?;
        // Whom a walk saw without the handle may have got it from the original since.
        transaction.execute_batch(FORGET_SCAN)?;
        let newest = "SELECT coalesce(max(id), 0) FROM attempt";
        let newest = transaction.query_row(newest, [], |row| row.get(0))?;
        transaction.commit()?;
        // What a later state of it had sent is settled by this adoption.
        self.epoch = epoch;
        self.lock.remember(self.memory.ledger_id(), epoch, newest);
        self.memory.begin(epoch, newest);
        if let Some(original) = original.filter(|original| *original != here) {
            self.memory.retire(&original);
        }
        Ok(())
    }

    /// Whether an adoption has begun and is not finished.
    pub fn is_adopting(&self) -> Result<bool, LedgerError> {
        let adopting = "SELECT adopting FROM meta";
        Ok(self.connection.query_row(adopting, [], |row| row.get(0))?)
    }
}

impl super::Writer {
    /// The longest time that the tenant was seen to take over a batch, where an adoption is not finished.
    pub async fn adoption(&self) -> Result<Option<Duration>, LedgerError> {
        self.vital(|transaction| {
            let adopting: bool =
                transaction
                    .connection
                    .query_row("SELECT adopting FROM meta", [], |row| row.get(0))?;
            let longest = longest_processing_time(transaction.connection)?;
            Ok(adopting.then_some(longest))
        })
        .await
    }

    /// Everything that the original may have sent is decided: what is pending may go. Vital.
    pub async fn end_adoption(&self) -> Result<(), LedgerError> {
        self.vital(|transaction| {
            transaction
                .connection
                .execute("UPDATE meta SET adopting = 0", [])?;
            Ok(())
        })
        .await
    }
}

//! Where a ledger is, so that a copy of it does not send what its original may have sent.
//!
//! A run writes down the machine, the path and the file that it worked on, and the lock's file beside the ledger
//! remembers the last epoch. Another machine, another place, another file or an epoch that has gone back mean
//! that this is a copy, or one that was restored over a later state. Adopting it throws away what may be out of
//! date, and doubts what may have been sent.

use super::doubts::longest_processing_time;
use super::error::LedgerError;
use super::open::Ledger;
use super::scans::FORGET_SCAN;
use super::time::now_ms;
use super::write::{Tally, save_tally};
use crate::model::batch::{self, BatchEvent, BatchState};
use crate::model::entry::{self, EntryEvent, EntryState};
use rusqlite::params;
use sha2::{Digest, Sha256};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Where systemd and its kin keep what tells machines apart. It is said to be confidential, so it is hashed.
const MACHINE_ID: &str = "/etc/machine-id";

/// Where a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    machine: String,
    host: String,
    path: String,
    inode: i64,
}

impl Place {
    fn of(path: &Path) -> Result<Self, LedgerError> {
        let failed = |error: std::io::Error| LedgerError::from_make(path, &error);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let id = std::fs::read_to_string(MACHINE_ID).unwrap_or_default();
        let id = if id.trim().is_empty() { &host } else { id.trim() };
        let digest = Sha256::digest(format!("rollbook {id}"));
        Ok(Self {
            machine: digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect(),
            host,
            path: path
                .canonicalize()
                .map_err(failed)?
                .to_string_lossy()
                .into_owned(),
            inode: std::fs::metadata(path).map_err(failed)?.ino() as i64,
        })
    }

    /// Why `self`, where the last run was, is not `here`.
    fn differs(&self, here: &Self) -> Option<String> {
        if self.machine != here.machine {
            Some(format!("it was last used on another machine ({})", self.host))
        } else if self.path != here.path {
            Some(format!("it was last used at {}", self.path))
        } else if self.inode != here.inode {
            Some("the file was put in the place of the one that was last used".into())
        } else {
            None
        }
    }
}

impl Ledger {
    /// Why this ledger is a copy of the one that was last used, where it is.
    pub fn copied(&self) -> Result<Option<String>, LedgerError> {
        let went_back: bool = self
            .connection
            .query_row("SELECT went_back FROM meta", [], |row| row.get(0))?;
        if went_back {
            return Ok(Some(
                "it is an older state of the ledger that was used here".into(),
            ));
        }
        match self.last_place()? {
            Some(last) => Ok(last.differs(&Place::of(&self.path)?)),
            None => Ok(None),
        }
    }

    /// Writes down that the ledger is used here. To be called before anything is sent.
    pub fn claim(&self) -> Result<(), LedgerError> {
        let here = Place::of(&self.path)?;
        self.connection.execute(
            "UPDATE meta SET machine = ?1, host = ?2, path = ?3, inode = ?4",
            params![here.machine, here.host, here.path, here.inode],
        )?;
        Ok(())
    }

    /// Makes a copy the ledger that goes on, in one transaction.
    ///
    /// Its original may have gone on after the copy was made: what was looked up is looked up again, and batches
    /// that stand sealed are doubted. Until those are decided nothing is sent.
    pub fn adopt(&mut self, why: &str) -> Result<(), LedgerError> {
        let here = Place::of(&self.path)?;
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO adoption (why, from_host, from_path, adopted_at) SELECT ?1, host, path, ?2 FROM meta",
            params![why, now_ms()],
        )?;
        transaction.execute(
            "UPDATE meta SET machine = ?1, host = ?2, path = ?3, inode = ?4, adopting = 1, went_back = 0",
            params![here.machine, here.host, here.path, here.inode],
        )?;
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
        self.lock.remember_attempt(newest);
        Ok(())
    }

    /// Whether an adoption has begun and is not finished.
    pub fn is_adopting(&self) -> Result<bool, LedgerError> {
        let adopting = "SELECT adopting FROM meta";
        Ok(self.connection.query_row(adopting, [], |row| row.get(0))?)
    }

    fn last_place(&self) -> Result<Option<Place>, LedgerError> {
        let place = self
            .connection
            .query_row("SELECT machine, host, path, inode FROM meta", [], |row| {
                let machine: Option<String> = row.get(0)?;
                machine
                    .map(|machine| {
                        Ok(Place {
                            machine,
                            host: row.get(1)?,
                            path: row.get(2)?,
                            inode: row.get(3)?,
                        })
                    })
                    .transpose()
            })?;
        Ok(place)
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

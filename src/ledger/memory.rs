//! What is remembered of a ledger outside of it: by the lock's file, and by the record in the user's state folder.

use super::error::LedgerError;
use super::lock::memory_of;
use super::open::Ledger;
use super::place::Place;
use super::read::Reader;
use super::record::{self, Known, Record, Said, Unusable};
use crate::model::ids::AttemptNo;
use rusqlite::Connection;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a ledger is not the newest state of itself, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WentBack {
    /// A memory goes beyond it.
    Older = 1,
    /// Nothing remembers it any more.
    Forgotten = 2,
    /// A copy was adopted since.
    Adopted = 3,
}

impl WentBack {
    /// What a stored number means; nothing for zero.
    pub(super) fn from_code(code: i64) -> Option<Self> {
        match code {
            0 => None,
            2 => Some(Self::Forgotten),
            3 => Some(Self::Adopted),
            // Earlier versions stored a truth value.
            _ => Some(Self::Older),
        }
    }
}

impl fmt::Display for WentBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Older => "it is an older state of the ledger that was used here",
            Self::Forgotten => {
                "its lock file is gone, and the state folder has no record of its newest state, so it may be an older one"
            }
            Self::Adopted => "a copy of it was adopted at another place since",
        })
    }
}

/// How a process found the ledger when it opened it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) epoch: i64,
    pub(super) attempt: i64,
    /// Whether it was last written by a version with these memories.
    remembered: bool,
}

impl Found {
    /// The ledger's id, and how far the ledger is.
    pub(super) fn read(connection: &Connection) -> Result<(String, Self), LedgerError> {
        let how = "SELECT ledger_id, epoch, (SELECT coalesce(max(id), 0) FROM attempt), remembered FROM meta";
        Ok(connection.query_row(how, [], |row| {
            let found = Self {
                epoch: row.get(1)?,
                attempt: row.get(2)?,
                remembered: row.get(3)?,
            };
            Ok((row.get(0)?, found))
        })?)
    }
}

/// The memory outside of a ledger that is open for writing.
#[derive(Debug)]
pub(super) struct Memory {
    ledger_id: String,
    found: Found,
    /// Whether the lock's file remembered the ledger.
    lock_knew: bool,
    folder: Option<PathBuf>,
    record: Option<Record>,
    notice: Option<String>,
}

impl Memory {
    pub(super) fn new(ledger_id: String, found: Found, lock_knew: bool) -> Self {
        Self {
            ledger_id,
            found,
            lock_knew,
            folder: None,
            record: None,
            notice: None,
        }
    }

    pub(super) fn ledger_id(&self) -> &str {
        &self.ledger_id
    }

    fn name(&self, place: &Place) -> String {
        record::name(&self.ledger_id, &place.machine, &place.path)
    }

    /// Opens the record of the ledger at a place; the answer is the epoch that it knows of.
    pub(super) fn open(&mut self, place: &Place) -> i64 {
        match self.look(place) {
            Ok((record, known)) => {
                self.record = Some(record);
                known.map_or(0, |known| known.epoch)
            }
            Err(why) => {
                self.tell_unusable(&why.0);
                0
            }
        }
    }

    fn look(&self, place: &Place) -> Result<(Record, Option<Known>), Unusable> {
        let folder = self.folder.as_deref().ok_or_else(no_folder)?;
        Record::open(folder, &self.name(place))
    }

    /// Notes how far the ledger is as this process begins to use it. Where that fails the record is done without.
    pub(super) fn begin(&mut self, epoch: i64, attempt: i64) {
        let begun = self.record.as_mut().map(|record| record.begin(epoch, attempt));
        if let Some(Err(error)) = begun {
            self.record = None;
            self.tell_unusable(&error.to_string());
        }
    }

    /// Notes that the ledger goes on at another place than this one.
    pub(super) fn retire(&self, original: &Place) {
        if let Some(folder) = &self.folder {
            Record::retire(folder, &self.name(original));
        }
    }

    /// Removes the record of a ledger that holds nothing.
    pub(super) fn forget(self) {
        if let Some(record) = self.record {
            record.forget();
        }
    }

    fn tell_unusable(&mut self, why: &str) {
        self.notice = Some(format!(
            "no record of this ledger can be kept ({why}); only its lock file tells whether it is its newest state"
        ));
    }
}

fn no_folder() -> Unusable {
    Unusable("neither ROLLBOOK_STATE_DIR, XDG_STATE_HOME nor HOME names a folder".into())
}

impl Ledger {
    /// Compares the ledger with its record in the user's state folder, and keeps that up from now on.
    ///
    /// A copy leaves the original's record alone until it is adopted. A folder that cannot be used is told, and done
    /// without.
    pub fn remember_in(&mut self, folder: Option<&Path>) -> Result<(), LedgerError> {
        self.memory.folder = folder.map(Path::to_owned);
        if self.copied()?.is_some() {
            return Ok(());
        }
        let place = Place::of(&self.path)?;
        let found = self.memory.found;
        let looked = self.memory.look(&place);
        let said = match &looked {
            Ok((_, known)) => Known::judge(*known, found.epoch, found.attempt),
            Err(_) => Said::Nothing,
        };
        let went_back = match said {
            Said::Newest => None,
            Said::Older => Some(WentBack::Older),
            Said::Adopted => Some(WentBack::Adopted),
            Said::Nothing => self.is_forgotten()?.then_some(WentBack::Forgotten),
        };
        if let Some(went_back) = went_back {
            // Kept, since from now on the lock's file remembers this state.
            self.connection
                .execute("UPDATE meta SET went_back = ?1", [went_back as i64])?;
            return Ok(());
        }
        match looked {
            Ok((record, _)) => {
                self.memory.record = Some(record);
                if said == Said::Nothing && found.remembered && found.attempt > 0 {
                    self.memory.notice = Some(format!(
                        "{} has no record of the newest state of this ledger; only its lock file tells that this is it",
                        folder.unwrap_or(Path::new("")).display()
                    ));
                }
                self.memory.begin(self.epoch, found.attempt);
            }
            Err(why) => self.memory.tell_unusable(&why.0),
        }
        Ok(())
    }

    /// Whether neither memory knows a ledger that both should know.
    fn is_forgotten(&self) -> Result<bool, LedgerError> {
        let memory = &self.memory;
        Ok(!memory.lock_knew && memory.found.remembered && self.job()?.is_some())
    }

    /// What whoever sends from this ledger should know about its memory.
    pub fn notice(&self) -> Option<&str> {
        self.memory.notice.as_deref()
    }

    /// Notes, outside of the ledger, that a request is about to leave whose mark is on the disk.
    pub(super) fn remember(&mut self, attempt: AttemptNo) -> Result<(), LedgerError> {
        self.lock.remember_attempt(attempt.0);
        match &mut self.memory.record {
            Some(record) => record.mark(self.epoch, attempt.0),
            None => Ok(()),
        }
    }
}

/// What is known about whether a ledger is its newest state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is, or nothing was ever sent from it.
    Newest,
    /// It is not: there was a later one, or it has lost its log.
    Older,
    /// Nothing, and why.
    Unknown(String),
}

impl Reader {
    /// Whether requests have left from the ledger at `path` of which it knows nothing any more.
    pub fn remembered(&self, path: &Path, folder: Option<&Path>) -> Result<Remembered, LedgerError> {
        let id: String = self
            .connection
            .query_row("SELECT ledger_id FROM meta", [], |row| row.get(0))?;
        // First what is remembered, so that a run beside us cannot make it look like more.
        let by_lock = memory_of(path, &id);
        let place = Place::of(path)?;
        let by_record = match folder {
            Some(folder) => Record::look(folder, &record::name(&id, &place.machine, &place.path)),
            None => Err(no_folder()),
        };
        let (_, found) = Found::read(&self.connection)?;
        if by_lock.attempt > found.attempt {
            return Ok(Remembered::Older);
        }
        Ok(match by_record {
            _ if found.attempt == 0 && by_record == Ok(None) => Remembered::Newest,
            Ok(known) => match Known::judge(known, found.epoch, found.attempt) {
                Said::Older | Said::Adopted => Remembered::Older,
                Said::Newest => Remembered::Newest,
                Said::Nothing => Remembered::Unknown("the state folder has no record of this state".into()),
            },
            Err(why) => Remembered::Unknown(why.0),
        })
    }
}

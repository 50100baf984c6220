//! One process writes at a time.
//!
//! The lock is taken on a file beside the ledger, never on the ledger itself: closing a descriptor of the
//! database would drop the locks that SQLite holds on it. The operating system releases the lock when the
//! process dies, however it dies, so there are no stale locks; the file's text only tells people who it is.
//!
//! Both files, and the log, are looked at again before each request leaves: a run whose ledger was deleted, moved or
//! replaced would mark what it sends in a file that nobody finds any more.

use super::error::LedgerError;
use crate::files;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const RETRIES: u32 = 3;
const RETRY_WAIT: Duration = Duration::from_millis(20);

/// The line that remembers the ledger's id, epoch and newest attempt.
const EPOCH_WORD: &str = "epoch";
/// The line that says that the ledger held nothing and was being removed.
const REMOVED_WORD: &str = "removed";
const TEXT_LIMIT_BYTES: u64 = 400;

/// The right to write to a ledger, for as long as it lives.
#[derive(Debug)]
pub struct Lock {
    /// Held beside the side file's lock, which anybody can remove while its holder only sleeps. Closed last of all,
    /// since closing it would drop SQLite's own locks.
    ledger: Option<File>,
    file: File,
    path: PathBuf,
    /// Which file the ledger is, and which its log.
    ledger_file: Option<FileNumber>,
    log_file: Option<FileNumber>,
    verb: String,
    /// What the file said about the ledger before it was taken.
    last: Option<Memory>,
}

/// The device and the inode of a file. No other file has both for as long as it is open.
type FileNumber = (u64, u64);

fn number_of(path: &Path) -> Option<FileNumber> {
    let there = std::fs::symlink_metadata(path).ok()?;
    Some((there.dev(), there.ino()))
}

/// What a lock's file remembers of a ledger. One that knows less is an older state of it, or has lost its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    ledger_id: String,
    /// The epoch in which it was last used here.
    pub epoch: i64,
    /// The newest request that may have left from here.
    pub attempt: i64,
}

impl Lock {
    /// Takes the lock of the ledger at `path`, or says who holds it.
    pub fn take(path: &Path, verb: &str) -> Result<Self, LedgerError> {
        let beside = lock_path(path);
        let failed = |error: std::io::Error| LedgerError::from_make(&beside, &error);
        if std::fs::symlink_metadata(&beside).is_ok_and(|there| !there.is_file()) {
            // What a link leads to would be overwritten.
            return Err(LedgerError::UnsafePath {
                path: beside,
                why: "is in the way of the ledger's lock; it must be a plain file or not be there".into(),
            });
        }
        let mut tries = 0;
        loop {
            let mut file = files::open_or_make(&beside).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                // `status` takes it for an instant to see who holds it; that instant passes.
                Err(TryLockError::WouldBlock) if tries < RETRIES => {
                    tries += 1;
                    std::thread::sleep(RETRY_WAIT);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(LedgerError::Locked {
                        path: path.to_owned(),
                        holder: holder(&mut file),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // An abandoned ledger takes its lock file along. A lock on a file that is no longer there
            // would keep nobody out.
            let ours = file.metadata().map_err(failed)?;
            let there = std::fs::metadata(&beside).is_ok_and(|there| there.ino() == ours.ino());
            if there {
                let last = memory(&mut file);
                let mut lock = Self {
                    ledger: None,
                    file,
                    path: path.to_owned(),
                    ledger_file: None,
                    log_file: None,
                    verb: verb.to_owned(),
                    last: last.clone(),
                };
                lock.sign(last.as_ref());
                return Ok(lock);
            }
        }
    }
}

impl Lock {
    /// Locks the ledger itself, which is there by now. To be called before SQLite opens it.
    ///
    /// Whoever wakes up after its lock file was taken away could send what its successor has sent again; so as
    /// long as it lives there is no successor. Elsewhere than on Linux such a lock would get in SQLite's way.
    pub fn hold(&mut self, path: &Path) -> Result<(), LedgerError> {
        self.ledger_file = number_of(path);
        if !cfg!(target_os = "linux") {
            return Ok(());
        }
        let failed = |error: std::io::Error| LedgerError::from_make(path, &error);
        let ledger = File::open(path).map_err(failed)?;
        match ledger.try_lock() {
            Ok(()) => {
                self.ledger = Some(ledger);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(LedgerError::Locked {
                path: path.to_owned(),
                holder: "a process that still lives, although its lock file is gone; it may only be stopped"
                    .into(),
            }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Notes which file is the log. To be called once there is one.
    pub fn note_log(&mut self) {
        self.log_file = number_of(&log_path(&self.path));
    }

    /// Refuses where the ledger, its log or the lock's file is not the one any more that this process works on.
    pub fn check_place(&self) -> Result<(), LedgerError> {
        let replaced = |why: &str| {
            Err(LedgerError::Replaced {
                path: self.path.clone(),
                why: why.into(),
            })
        };
        let there = number_of(&self.path);
        if self.ledger_file.is_some() && there != self.ledger_file {
            let links = self.ledger.as_ref().and_then(|ledger| ledger.metadata().ok());
            return replaced(match (there, links.map(|about| about.nlink())) {
                (Some(_), _) => "another file stands in its place",
                (None, Some(0)) => "it was deleted",
                (None, _) => "it was moved away or deleted",
            });
        }
        if self.log_file.is_some() && number_of(&log_path(&self.path)) != self.log_file {
            return replaced("its log (-wal) was taken away or replaced");
        }
        let ours = self.file.metadata().ok().map(|about| (about.dev(), about.ino()));
        if number_of(&lock_path(&self.path)) != ours {
            return replaced("its lock file (.lock) was taken away or replaced");
        }
        Ok(())
    }

    /// What is remembered of the ledger with this id; nothing where that is not known.
    pub fn remembers(&self, ledger_id: &str) -> Option<Memory> {
        self.last.clone().filter(|last| last.ledger_id == ledger_id)
    }

    /// Notes how far the ledger is, for whoever comes next. Not synced: after a power cut it may remember less, and
    /// never more than the ledger knows.
    pub fn remember(&mut self, ledger_id: &str, epoch: i64, attempt: i64) {
        let memory = Memory {
            ledger_id: ledger_id.to_owned(),
            epoch,
            attempt,
        };
        self.sign(Some(&memory));
        self.last = Some(memory);
    }

    /// Notes that a request is about to leave.
    pub fn remember_attempt(&mut self, attempt: i64) {
        if let Some(last) = self.last.take() {
            self.remember(&last.ledger_id, last.epoch, attempt);
        }
    }

    /// Notes that the ledger is about to be removed, since it holds nothing: a log that outlives it, after a kill or a power
    /// cut in between, is worth nothing either.
    pub fn note_removal(&mut self) -> std::io::Result<()> {
        self.write(&format!("rollbook {}\n{REMOVED_WORD}\n", self.verb))?;
        self.file.sync_all()
    }

    /// Who we are is a courtesy to the next one; a full disk must not keep us from reading.
    fn sign(&mut self, memory: Option<&Memory>) {
        let since = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
        let mut text = format!(
            "rollbook {}, process {}, since {since}\n",
            self.verb,
            std::process::id()
        );
        if let Some(Memory {
            ledger_id,
            epoch,
            attempt,
        }) = memory
        {
            text += &format!("{EPOCH_WORD} {ledger_id} {epoch} {attempt}\n");
        }
        let _ = self.write(&text);
    }

    /// Written over and then cut, so that no instant leaves the file without its memory.
    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

fn memory(file: &mut File) -> Option<Memory> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(TEXT_LIMIT_BYTES).read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(EPOCH_WORD))?;
    let mut words = line.split_whitespace();
    Some(Memory {
        ledger_id: words.next()?.to_owned(),
        epoch: words.next()?.parse().ok()?,
        // Earlier versions did not write it.
        attempt: words.next().map_or(Some(0), |word| word.parse().ok())?,
    })
}

/// What the lock's file beside the ledger at `path` remembers of the ledger with this id.
pub(super) fn memory_of(path: &Path, ledger_id: &str) -> Memory {
    let memory = File::open(lock_path(path))
        .ok()
        .and_then(|mut file| memory(&mut file));
    memory
        .filter(|memory| memory.ledger_id == ledger_id)
        .unwrap_or_default()
}

/// Whether the ledger at `path` held nothing when it was removed.
pub(super) fn was_removed(path: &Path) -> bool {
    let mut text = String::new();
    let file = File::open(lock_path(path));
    let read = file.and_then(|file| file.take(TEXT_LIMIT_BYTES).read_to_string(&mut text));
    read.is_ok() && text.lines().any(|line| line == REMOVED_WORD)
}

/// Who holds the ledger at `path` for writing, if anybody does.
pub fn holder_of(path: &Path) -> Option<String> {
    let mut file = File::open(lock_path(path)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder(&mut file)),
        _ => None,
    }
}

fn log_path(path: &Path) -> PathBuf {
    files::companion(path, "-wal")
}

pub(super) fn lock_path(path: &Path) -> PathBuf {
    files::companion(path, ".lock")
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // The text is foreign once the file has been: cut it and keep it on one line.
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.take(TEXT_LIMIT_BYTES).read_to_string(&mut text));
    let line = text.lines().next().unwrap_or_default();
    match read {
        Ok(_) if !line.is_empty() => line.chars().filter(|c| !c.is_control()).collect(),
        _ => "another process".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        assert_eq!(holder_of(&path), None);
        let first = Lock::take(&path, "assign").unwrap();
        let refusal = Lock::take(&path, "load").unwrap_err().to_string();
        assert!(refusal.contains("rollbook assign, process"), "{refusal}");
        assert!(holder_of(&path).unwrap().contains("rollbook assign"));
        drop(first);
        assert_eq!(holder_of(&path), None);
        Lock::take(&path, "load").unwrap();
    }

    #[test]
    fn what_was_remembered_outlives_its_writer_and_is_of_one_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut lock = Lock::take(&path, "assign").unwrap();
        assert_eq!(lock.remembers("one"), None);
        lock.remember("one", 3, 0);
        lock.remember_attempt(17);
        drop(lock);
        let lock = Lock::take(&path, "resume").unwrap();
        let last = lock.remembers("one").unwrap();
        assert_eq!((last.epoch, last.attempt), (3, 17));
        assert_eq!(lock.remembers("other"), None);
        assert_eq!(memory_of(&path, "one"), last);
        // As earlier versions wrote it.
        drop(lock);
        std::fs::write(lock_path(&path), "rollbook load\nepoch one 5\n").unwrap();
        let last = memory_of(&path, "one");
        assert_eq!((last.epoch, last.attempt), (5, 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_lock_file_that_is_taken_away_lets_nobody_in() {
        use crate::ledger::Ledger;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let first = Ledger::create(&path, "assign").unwrap();
        std::fs::remove_file(lock_path(&path)).unwrap();
        let refusal = Ledger::open(&path, "resume").map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains("still lives"), "{refusal}");
        drop(first);
        Ledger::open(&path, "resume").unwrap();
    }
}

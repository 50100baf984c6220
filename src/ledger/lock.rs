//! One process writes at a time.
//!
//! The lock is taken on a file beside the ledger, never on the ledger itself: closing a descriptor of the
//! database would drop the locks that SQLite holds on it. The operating system releases the lock when the
//! process dies, however it dies, so there are no stale locks; the file's text only tells people who it is.

use super::error::LedgerError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const RETRIES: u32 = 3;
const RETRY_WAIT: Duration = Duration::from_millis(20);

/// The line that remembers the ledger's id and epoch.
const EPOCH_WORD: &str = "epoch";
const TEXT_LIMIT_BYTES: u64 = 400;

/// The right to write to a ledger, for as long as it lives.
#[derive(Debug)]
pub struct Lock {
    /// Held beside the side file's lock, which anybody can remove while its holder only sleeps. Closed last of all,
    /// since closing it would drop SQLite's own locks.
    ledger: Option<File>,
    file: File,
    verb: String,
    /// What the file said about the ledger before it was taken: its id and its epoch.
    last: Option<(String, i64)>,
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
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&beside)
                .map_err(failed)?;
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
                let last = last_epoch(&mut file);
                let mut lock = Self {
                    ledger: None,
                    file,
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

    /// The epoch in which the ledger with this id was last used here; 0 where that is not known.
    pub fn remembers(&self, ledger_id: &str) -> i64 {
        let same = self.last.as_ref().filter(|(id, _)| id == ledger_id);
        same.map_or(0, |(_, epoch)| *epoch)
    }

    /// Notes the epoch for whoever comes next: an older one would mean that an older ledger was put back.
    pub fn remember(&mut self, ledger_id: &str, epoch: i64) {
        self.sign(Some(&(ledger_id.to_owned(), epoch)));
    }

    /// Who we are is a courtesy to the next one; a full disk must not keep us from reading.
    fn sign(&mut self, ledger: Option<&(String, i64)>) {
        let since = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
        let mut text = format!(
            "rollbook {}, process {}, since {since}\n",
            self.verb,
            std::process::id()
        );
        if let Some((id, epoch)) = ledger {
            text += &format!("{EPOCH_WORD} {id} {epoch}\n");
        }
        // Written over and then cut, so that no instant leaves the file without its memory.
        let _ = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.set_len(text.len() as u64));
    }
}

fn last_epoch(file: &mut File) -> Option<(String, i64)> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(TEXT_LIMIT_BYTES).read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(EPOCH_WORD))?;
    let (id, epoch) = line.trim().split_once(' ')?;
    Some((id.to_owned(), epoch.parse().ok()?))
}

/// Who holds the ledger at `path` for writing, if anybody does.
pub fn holder_of(path: &Path) -> Option<String> {
    let mut file = File::open(lock_path(path)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder(&mut file)),
        _ => None,
    }
}

pub(super) fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
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

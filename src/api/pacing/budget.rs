//! The file in which processes of one user on one host keep the record of their requests to one tenant.
//!
//! It is opened and locked for each change, and the system releases the lock of whoever dies. It lies in the user's
//! state folder, which a logout leaves alone. A file that was taken away is made anew with what it said; one that makes
//! no sense is replaced, and then what was sent counts as used. A file or folder of another user, or a file of another
//! version, is neither trusted nor changed. It holds nothing but numbers.

use super::Past;
use super::ceiling::Nanos;
use super::record::{Ask, Record, Reply};
use crate::files;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// For how long a lock is waited for that somebody holds; holders take some microseconds.
const PATIENCE: Duration = Duration::from_millis(50);
const BETWEEN_TRIES: Duration = Duration::from_micros(200);
/// No file is larger.
const LIMIT_BYTES: u64 = 1 << 20;
/// The version of the file that this program reads and writes.
const VERSION: u32 = 1;

/// The budget of all processes of this user on this host for one tenant.
#[derive(Debug)]
pub struct Budget {
    folder: PathBuf,
    path: PathBuf,
    boot: String,
    /// Whether nobody on this host has ever had this file.
    is_first: bool,
    /// What the file said when it was last changed, in case that it is taken away.
    known: Option<Record>,
    pub(super) binds: bool,
    pub(super) past: Past,
    #[cfg(test)]
    full: bool,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    /// The boot whose clock counts.
    boot: String,
    #[serde(flatten)]
    record: Record,
}

/// Why processes cannot share a budget here.
#[derive(Debug, thiserror::Error)]
pub enum Unshared {
    /// There is no place for the file.
    #[error("neither XDG_STATE_HOME nor HOME names a folder")]
    NoFolder,
    /// The place cannot be used.
    #[error("{0}")]
    Unusable(String),
}

impl Budget {
    /// Opens the file for a tenant in a folder of this user's own, which is made where it is missing.
    pub fn open(folder: &Path, base: &str) -> Result<Self, Unshared> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|error| Unshared::Unusable(format!("cannot tell this boot from another: {error}")))?;
        let path = folder.join(name(base));
        let is_first =
            matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
        open_in(folder, &path)?;
        Ok(Self {
            folder: folder.to_owned(),
            path,
            boot: boot.trim().to_owned(),
            is_first,
            known: None,
            binds: true,
            past: Past::Unknown,
            #[cfg(test)]
            full: false,
        })
    }

    /// Where the file is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// For a command that asks a handful of questions: it keeps to what others were told and tells them nothing.
    pub fn as_guest(mut self) -> Self {
        self.binds = false;
        self
    }

    /// What to go on with where the file cannot be used: all that is known, and what others sent since counts as used.
    pub(super) fn alone(&self, now: Nanos) -> Record {
        let mut record = self.known.clone().unwrap_or_default();
        record.forget(now);
        record
    }

    /// Takes note of what was sent while the file could not be used.
    pub(super) fn back(&mut self, mut alone: Record) {
        alone.lineage = 0;
        self.known = Some(alone);
    }

    /// Asks the record while nobody else does. Blocks for some microseconds, and at most for a moment.
    pub(super) fn ask(&mut self, ask: &Ask) -> Result<Reply, Unshared> {
        let unusable = |error: io::Error| Unshared::Unusable(error.to_string());
        let mut file = open_in(&self.folder, &self.path)?;
        lock(&file)?;
        let mut bytes = Vec::new();
        (&file)
            .take(LIMIT_BYTES)
            .read_to_end(&mut bytes)
            .map_err(unusable)?;
        let mut record = self.understand(&bytes, ask.now)?;
        if let Some(known) = self
            .known
            .as_ref()
            .filter(|known| known.lineage != record.lineage)
        {
            record.merge(known);
        }
        let reply = record.ask(ask);
        let content = Content {
            version: VERSION,
            boot: self.boot.clone(),
            record,
        };
        #[cfg(test)]
        if self.full {
            return Err(unusable(io::ErrorKind::StorageFull.into()));
        }
        let bytes = serde_json::to_vec(&content).map_err(|error| unusable(error.into()))?;
        file.seek(SeekFrom::Start(0)).map_err(unusable)?;
        file.write_all(&bytes).map_err(unusable)?;
        file.set_len(bytes.len() as u64).map_err(unusable)?;
        (self.known, self.is_first) = (Some(content.record), false);
        Ok(reply)
    }

    /// What the file says.
    fn understand(&mut self, bytes: &[u8], now: Nanos) -> Result<Record, Unshared> {
        let is_new = bytes.is_empty() && (self.is_first || self.known.is_some());
        let (mut record, past) = match serde_json::from_slice::<Content>(bytes) {
            Ok(content) if content.version == VERSION && content.boot == self.boot => {
                let past = if content.record.is_known() {
                    Past::Known
                } else {
                    Past::Unknown
                };
                (content.record, past)
            }
            // Whatever an earlier boot sent was sent before this one.
            Ok(content) if content.version == VERSION => (Record::unknown(0), Past::Known),
            // Another version is whole and not like ours; what was cut is not whole.
            Ok(_) => return Err(Unshared::Unusable("another version of rollbook wrote it".into())),
            Err(_) if serde_json::from_slice::<serde_json::Map<_, _>>(bytes).is_ok() => {
                return Err(Unshared::Unusable("another version of rollbook wrote it".into()));
            }
            Err(_) if is_new => (Record::default(), Past::Nothing),
            Err(_) => (Record::unknown(now), Past::Unknown),
        };
        if record.lineage == 0 {
            record.lineage = fastrand::u64(1..);
        }
        if self.known.is_none() {
            self.past = past;
        }
        Ok(record)
    }
}

fn lock(file: &File) -> Result<(), Unshared> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => std::thread::sleep(BETWEEN_TRIES),
            Err(TryLockError::WouldBlock) => {
                let why = "a process holds its lock and does not let go";
                return Err(Unshared::Unusable(why.into()));
            }
            Err(TryLockError::Error(error)) => return Err(Unshared::Unusable(error.to_string())),
        }
    }
}

/// Opens the file, and makes it and its folder where they are missing.
fn open_in(folder: &Path, path: &Path) -> Result<File, Unshared> {
    let failed =
        |what: &str, error: io::Error| Unshared::Unusable(format!("{what} {}: {error}", folder.display()));
    files::make_private_folder(folder).map_err(|error| failed("cannot make", error))?;
    let there = std::fs::metadata(folder).map_err(|error| failed("cannot look at", error))?;
    check_owner(&there, folder)?;
    let file = files::open_or_make(path).map_err(|error| failed("cannot write in", error))?;
    let there = file
        .metadata()
        .map_err(|error| failed("cannot look into", error))?;
    if !there.is_file() {
        return Err(Unshared::Unusable(format!("{} is no plain file", path.display())));
    }
    check_owner(&there, path)?;
    Ok(file)
}

fn check_owner(there: &Metadata, path: &Path) -> Result<(), Unshared> {
    let refused = |why| Err(Unshared::Unusable(format!("{} {why}", path.display())));
    files::not_ours(there).map_or(Ok(()), refused)
}

/// A name that says nothing of the tenant, and differs from host to host where they share a home.
fn name(base: &str) -> String {
    let host = rustix::system::uname();
    let mut hash = Sha256::new();
    hash.update(host.nodename().to_bytes());
    hash.update([0]);
    hash.update(base.as_bytes());
    let hex: String = hash
        .finalize()
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("budget-{hex}")
}

/// Now, by the clock that all processes of this boot share.
pub(super) fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
impl Budget {
    /// One whose disk is full.
    pub(super) fn on_a_full_disk(mut self) -> Self {
        self.full = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::pacing::record::{Told, Want};
    use std::os::unix::fs::PermissionsExt;

    const SECOND: Nanos = 1_000_000_000;

    /// Asks at a time after now, after so many answers.
    fn ask(budget: &mut Budget, id: u64, now: Nanos, answered: usize) -> Result<Reply, Unshared> {
        budget.ask(&Ask {
            id,
            now,
            told: vec![Told {
                most: 10,
                length: SECOND,
                named: true,
            }],
            binds: true,
            answered: vec![now; answered],
            want: Some(Want {
                from: now,
                ..Want::default()
            }),
            ..Ask::default()
        })
    }

    /// How many have been answered, by when there is a place again.
    fn is_full(budget: &mut Budget, now: Nanos) -> bool {
        let reply = ask(budget, 99, now + SECOND / 2, 0).unwrap();
        !reply.go
    }

    #[test]
    fn what_one_sends_the_other_knows() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("rollbook");
        let open = |base| Budget::open(&place, base).unwrap();
        let (mut one, mut other, mut elsewhere) = (open("a"), open("a"), open("b"));
        assert!(ask(&mut one, 1, SECOND, 10).unwrap().turn.is_some());
        assert!(is_full(&mut other, SECOND));
        assert!(!is_full(&mut elsewhere, SECOND));
        assert_eq!((one.past, other.past), (Past::Nothing, Past::Known));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join(name("a")))), (0o700, 0o600));
    }

    #[test]
    fn what_is_cut_or_empty_or_rubbish_counts_as_used() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Budget::open(folder.path(), "a").unwrap();
        ask(&mut one, 1, SECOND, 0).unwrap();
        let whole = std::fs::read(folder.path().join(name("a"))).unwrap();
        for bytes in [&whole[..whole.len() / 2], b"", b"rubbish"] {
            std::fs::write(folder.path().join(name("a")), bytes).unwrap();
            let mut late = Budget::open(folder.path(), "a").unwrap();
            let reply = ask(&mut late, 2, 100 * SECOND, 0).unwrap();
            assert!(!reply.go && late.past == Past::Unknown, "{reply:?}");
        }
    }

    #[test]
    fn another_boot_is_long_past_and_another_version_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name("a"));
        let mut one = Budget::open(folder.path(), "a").unwrap();
        ask(&mut one, 1, SECOND, 10).unwrap();
        let ours = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, ours.replacen(&one.boot, "another", 1)).unwrap();
        let mut late = Budget::open(folder.path(), "a").unwrap();
        assert!(ask(&mut late, 2, 100 * SECOND, 0).unwrap().go);
        for other in ["{}", &ours.replacen("\"version\":1", "\"version\":2", 1)] {
            std::fs::write(&path, other).unwrap();
            let refusal = ask(&mut late, 2, 100 * SECOND, 0).unwrap_err().to_string();
            assert!(refusal.contains("another version"), "{refusal}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), other);
        }
    }

    #[test]
    fn a_lock_that_is_held_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Budget::open(folder.path(), "a").unwrap();
        let stopped = File::open(folder.path().join(name("a"))).unwrap();
        stopped.lock().unwrap();
        let why = ask(&mut one, 1, SECOND, 0).unwrap_err().to_string();
        assert!(why.contains("does not let go"), "{why}");
        // What others send meanwhile is not known.
        let mut alone = one.alone(10 * SECOND);
        assert!(!alone.is_known());
        drop(stopped);
        alone.merge(&Record::default());
        one.back(alone);
        ask(&mut one, 1, 11 * SECOND, 0).unwrap();
    }

    #[test]
    fn a_file_that_is_taken_away_is_made_anew_with_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("rollbook");
        let mut one = Budget::open(&place, "a").unwrap();
        ask(&mut one, 1, SECOND, 10).unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        ask(&mut one, 1, SECOND, 0).unwrap();
        let mut late = Budget::open(&place, "a").unwrap();
        assert!(is_full(&mut late, SECOND));
        assert_eq!(late.past, Past::Known);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let refusal = Budget::open(folder.path(), "a").unwrap_err().to_string();
        assert!(refusal.contains("can be written by others"), "{refusal}");
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(Budget::open(&folder.path().join("file"), "a").is_err());
    }
}

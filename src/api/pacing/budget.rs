//! The file in which processes on one host keep the record of their requests to one tenant.
//!
//! It is locked for moments only, and the system releases the lock of whoever dies. A file that makes no sense is
//! replaced; then nothing is known, and everybody waits as after a start. It never holds anything but numbers.

use super::record::{Micros, Record};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// How often a lock that somebody holds is tried again at once; holders take some microseconds.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_micros(100);
/// No record is larger.
const LIMIT_BYTES: u64 = 1 << 20;
/// Who else may write there could make us send too fast, or not at all.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The budget of all processes of this user on this host for one tenant.
#[derive(Debug)]
pub struct Budget {
    file: File,
    boot: String,
    pub(super) binds: bool,
}

/// Why processes cannot share a budget here.
#[derive(Debug, thiserror::Error)]
pub enum Unshared {
    /// There is no place for the record.
    #[error("neither XDG_RUNTIME_DIR, XDG_STATE_HOME nor HOME names a folder")]
    NoFolder,
    /// The place cannot be used.
    #[error("{0}")]
    Unusable(String),
}

impl Budget {
    /// Opens the record for a tenant in a folder of this user's own, which is made where it is missing.
    pub fn open(folder: &Path, base: &str) -> Result<Self, Unshared> {
        let failed = |what: &str, error: io::Error| {
            Unshared::Unusable(format!("{what} {}: {error}", folder.display()))
        };
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|error| Unshared::Unusable(format!("cannot tell this boot from another: {error}")))?;
        let mut maker = DirBuilder::new();
        maker
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failed("cannot make", error))?;
        let there = std::fs::metadata(folder).map_err(|error| failed("cannot look at", error))?;
        check_owner(&there, folder)?;
        let path = folder.join(name(base));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32)
            .open(&path)
            .map_err(|error| failed("cannot write in", error))?;
        let there = file
            .metadata()
            .map_err(|error| failed("cannot look into", error))?;
        if !there.is_file() || there.file_type().is_fifo() {
            return Err(Unshared::Unusable(format!("{} is no plain file", path.display())));
        }
        check_owner(&there, &path)?;
        Ok(Self {
            file,
            boot: boot.trim().to_owned(),
            binds: true,
        })
    }

    /// For a command that asks a handful of questions: it keeps to what others were told and tells them nothing.
    pub fn as_guest(mut self) -> Self {
        self.binds = false;
        self
    }

    /// Changes the record while nobody else does; `None` where somebody holds it right now.
    pub(super) fn change<R>(
        &mut self,
        change: impl FnOnce(&mut Record, Micros) -> R,
    ) -> io::Result<Option<R>> {
        let mut tries = 0;
        loop {
            match self.file.try_lock() {
                Ok(()) => break,
                Err(std::fs::TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
        }
        let changed = self.change_locked(change);
        self.file.unlock()?;
        changed.map(Some)
    }

    fn change_locked<R>(&mut self, change: impl FnOnce(&mut Record, Micros) -> R) -> io::Result<R> {
        let now = now();
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&self.file).take(LIMIT_BYTES).read_to_end(&mut bytes)?;
        let record = Record::read(&bytes, &self.boot, now);
        let mut record = record.unwrap_or_else(|| Record::new(&self.boot, now));
        record.tidy(now, lives);
        let result = change(&mut record, now);
        let bytes = serde_json::to_vec(&record)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&bytes)?;
        self.file.set_len(bytes.len() as u64)?;
        Ok(result)
    }
}

fn check_owner(there: &std::fs::Metadata, path: &Path) -> Result<(), Unshared> {
    let ours = there.uid() == rustix::process::geteuid().as_raw();
    if ours && there.mode() & WRITABLE_BY_OTHERS == 0 {
        return Ok(());
    }
    Err(Unshared::Unusable(format!(
        "{} can be written by others",
        path.display()
    )))
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
    format!("pace-{hex}")
}

/// Now, by the clock that all processes of this boot share.
fn now() -> Micros {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000
}

fn lives(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else {
        return false;
    };
    !matches!(
        rustix::process::test_kill_process(pid),
        Err(rustix::io::Errno::SRCH)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_one_writes_the_other_reads_and_rubbish_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("rollbook");
        let mut one = Budget::open(&place, "https://api.example/api/v3").unwrap();
        let mut other = Budget::open(&place, "https://api.example/api/v3").unwrap();
        let mut elsewhere = Budget::open(&place, "https://other.example/api/v3").unwrap();
        one.change(|record, now| record.departed.push((1, now, 7)))
            .unwrap()
            .unwrap();
        let count = |record: &mut Record, _| record.departed.len();
        assert_eq!(other.change(count).unwrap(), Some(1));
        assert_eq!(elsewhere.change(count).unwrap(), Some(0));
        let path = place.join(name("https://api.example/api/v3"));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::write(&path, "rubbish").unwrap();
        let since = one
            .change(|record, now| (record.departed.len(), record.since == now))
            .unwrap();
        assert_eq!(
            since,
            Some((0, true)),
            "nothing is known any more, and that is known"
        );
    }

    #[test]
    fn a_lock_that_is_held_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Budget::open(folder.path(), "a").unwrap();
        let other = Budget::open(folder.path(), "a").unwrap();
        other.file.lock().unwrap();
        assert_eq!(one.change(|_, _| ()).unwrap(), None);
        drop(other);
        assert_eq!(one.change(|_, _| ()).unwrap(), Some(()));
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

//! The file in which processes on one host keep the record of their requests to one tenant.
//!
//! It is locked for moments only, and the system releases the lock of whoever dies. A file that makes no sense is
//! replaced; then nothing is known, and everybody waits as after a start. A file that is taken away, as systemd does
//! at logout, is made anew with what it said. A file or folder of another user, or a file of another version, is
//! neither trusted nor changed. It never holds anything but numbers.

use super::record::{Micros, Record};
use crate::files;
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a lock that somebody holds is tried again at once; holders take some microseconds.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_micros(100);
/// How often in a row a file is followed that is taken away again and again.
const FOLLOWED: u32 = 3;
/// No record is larger.
const LIMIT_BYTES: u64 = 1 << 20;

/// The budget of all processes of this user on this host for one tenant.
#[derive(Debug)]
pub struct Budget {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    /// Which file is open: another one at its path is another record.
    identity: Identity,
    boot: String,
    /// What a file said that was taken away, until the one in its place says it.
    lost: Option<Record>,
    pub(super) binds: bool,
}

/// The device and the number of a file. No other file has both for as long as it is open.
type Identity = (u64, u64);

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
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|error| Unshared::Unusable(format!("cannot tell this boot from another: {error}")))?;
        let path = folder.join(name(base));
        let (file, identity) = open_in(folder, &path)?;
        Ok(Self {
            folder: folder.to_owned(),
            path,
            file,
            identity,
            boot: boot.trim().to_owned(),
            lost: None,
            binds: true,
        })
    }

    /// Where the record is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
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
        for _ in 0..FOLLOWED {
            if !self.lock()? {
                return Ok(None);
            }
            // Where there can be no other file, those who hold this one still share it.
            if self.is_in_place() || !self.follow() {
                let changed = self.change_locked(change);
                self.file.unlock()?;
                return changed.map(Some);
            }
        }
        Ok(None)
    }

    fn lock(&self) -> io::Result<bool> {
        let mut tries = 0;
        loop {
            match self.file.try_lock() {
                Ok(()) => return Ok(true),
                Err(std::fs::TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(BETWEEN_TRIES);
                }
                Err(std::fs::TryLockError::WouldBlock) => return Ok(false),
                Err(std::fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Whether whoever comes next would open the very file that is open here.
    fn is_in_place(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|there| identity(&there) == self.identity)
    }

    /// Opens what stands in the place of the file that was taken away, or a new one; false where neither can be.
    ///
    /// What that file said is final: whoever locks it from now on sees what we saw, and leaves it, too.
    fn follow(&mut self) -> bool {
        let Ok((file, identity)) = open_in(&self.folder, &self.path) else {
            return false;
        };
        self.lost = self.read(now()).ok().or_else(|| self.lost.take());
        (self.file, self.identity) = (file, identity);
        true
    }

    fn change_locked<R>(&mut self, change: impl FnOnce(&mut Record, Micros) -> R) -> io::Result<R> {
        let now = now();
        let mut record = self.read(now)?;
        record.tidy(now, lives);
        let result = change(&mut record, now);
        let bytes = serde_json::to_vec(&record)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&bytes)?;
        self.file.set_len(bytes.len() as u64)?;
        self.lost = None;
        Ok(result)
    }

    /// What the file says, and what a lost one said beyond that.
    fn read(&mut self, now: Micros) -> io::Result<Record> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&self.file).take(LIMIT_BYTES).read_to_end(&mut bytes)?;
        let record = Record::read(&bytes, &self.boot, now).map_err(io::Error::other)?;
        let fresh = || Record::new(&self.boot, now);
        Ok(match self.lost.clone() {
            None => record.unwrap_or_else(fresh),
            // Nobody has sent anything by a record that nobody has written yet, so nothing is missing.
            Some(lost) if bytes.is_empty() => lost,
            Some(lost) => record.unwrap_or_else(fresh).with_lost(lost),
        })
    }
}

/// Opens the file of a record, and makes it and its folder where they are missing.
fn open_in(folder: &Path, path: &Path) -> Result<(File, Identity), Unshared> {
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
    Ok((file, identity(&there)))
}

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
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
impl Budget {
    /// One that can be read and locked, and never written.
    pub(super) fn on_a_full_disk(mut self) -> Self {
        self.file = File::open(&self.path).unwrap();
        self
    }
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
    fn a_record_of_another_version_is_neither_believed_nor_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Budget::open(folder.path(), "a").unwrap();
        let path = folder.path().join(name("a"));
        let mut record = Record::new(&one.boot, now());
        record.departed.push((1, now(), 3));
        let ours = serde_json::to_string(&record).unwrap();
        for newer in [
            "{}",
            "{\"version\":2}",
            &ours.replacen("\"version\":1", "\"version\":2", 1),
        ] {
            std::fs::write(&path, newer).unwrap();
            let refusal = one
                .change(|_, _| panic!("it was believed"))
                .unwrap_err()
                .to_string();
            assert!(refusal.contains("another version"), "{refusal}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
        }
        // Earlier programs did not write the version.
        std::fs::write(&path, ours.replacen("\"version\":1,", "", 1)).unwrap();
        assert_eq!(departed(&mut one), 3);
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

    fn departed(budget: &mut Budget) -> u32 {
        let count = |record: &mut Record, _| record.departed.iter().map(|(_, _, count)| count).sum();
        budget.change(count).unwrap().unwrap()
    }

    fn depart(budget: &mut Budget, id: u64, count: u32) {
        let note = |record: &mut Record, now| record.departed.push((id, now, count));
        budget.change(note).unwrap().unwrap();
    }

    /// Two that share a record in a folder in a folder, with five departures of the one and seven of the other.
    fn two() -> (tempfile::TempDir, PathBuf, Budget, Budget) {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("rollbook");
        let mut one = Budget::open(&place, "a").unwrap();
        let mut other = Budget::open(&place, "a").unwrap();
        depart(&mut one, 1, 5);
        depart(&mut other, 2, 7);
        (folder, place, one, other)
    }

    #[test]
    fn a_record_that_is_taken_away_is_made_anew_with_what_it_said() {
        let (_folder, place, mut one, mut other) = two();
        let since = one.change(|record, _| record.since).unwrap();
        std::fs::remove_dir_all(&place).unwrap();
        depart(&mut one, 1, 1);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join(name("a")))), (0o700, 0o600));
        let mut third = Budget::open(&place, "a").unwrap();
        assert_eq!(departed(&mut third), 5 + 7 + 1);
        assert_eq!(third.change(|record, _| record.since).unwrap(), since);
        depart(&mut other, 2, 1);
        assert_eq!(departed(&mut third), 5 + 7 + 2, "nothing is counted twice");
    }

    #[test]
    fn who_comes_between_the_loss_and_its_discovery_learns_what_was_lost() {
        let (_folder, place, mut one, mut other) = two();
        std::fs::remove_file(place.join(name("a"))).unwrap();
        let mut third = Budget::open(&place, "a").unwrap();
        depart(&mut third, 3, 2);
        assert_eq!(departed(&mut third), 2);
        for budget in [&mut one, &mut other, &mut third] {
            assert_eq!(departed(budget), 5 + 7 + 2);
        }
    }

    #[test]
    fn where_no_record_can_be_made_the_lost_one_is_still_shared() {
        let (_folder, place, mut one, mut other) = two();
        std::fs::remove_dir_all(&place).unwrap();
        std::fs::write(&place, "in the way").unwrap();
        depart(&mut one, 1, 1);
        assert_eq!(departed(&mut other), 5 + 7 + 1);
        std::fs::remove_file(&place).unwrap();
        depart(&mut other, 2, 1);
        assert_eq!(departed(&mut one), 5 + 7 + 2);
        assert!(place.is_dir(), "as soon as one can be made, it is");
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

//! Whether a file is one to keep emails and the memory of what was sent in. Looked at before SQLite opens it.

use super::error::LedgerError;
use super::lock::was_removed;
use super::migrate::APPLICATION_ID;
pub(super) use crate::files::folder_of;
use crate::files::{self, Kind};
use std::fs::{File, Metadata, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The header of a SQLite file.
const HEADER_BYTES: u64 = 100;
/// How a rollback journal begins, and where it says how many pages the file had before.
const JOURNAL_MAGIC: &[u8] = &[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
const JOURNAL_PAGES: usize = 16;
const JOURNAL_HEADER_BYTES: u64 = 28;
/// Whoever may write to a folder that is not sticky may put another file in the ledger's place.
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Refuses what is not a plain file of ours on a disk of this machine.
pub(super) fn check_file(path: &Path, about: &Metadata) -> Result<(), LedgerError> {
    let why = if about.is_symlink() {
        "is a symbolic link; name the ledger itself"
    } else if about.is_dir() {
        "is a folder; name a file in it"
    } else if !about.is_file() {
        "is not a regular file"
    } else if about.mode() & OTHERS_WRITE != 0 {
        "can be written by everybody, so anybody may have changed it; if you trust it, `chmod 600` it"
    } else {
        check_lock(path)?;
        check_logs(path)?;
        return check_header(path);
    };
    Err(unsafe_path(path, why))
}

/// Refuses folders in which a ledger would be anybody's, or whose locks mean nothing.
pub(super) fn check_folder(path: &Path) -> Result<(), LedgerError> {
    check_lock(path)?;
    check_logs(path)?;
    let folder = folder_of(path);
    let failed = |error: std::io::Error| LedgerError::from_make(path, &error);
    let mode = std::fs::metadata(folder).map_err(failed)?.mode();
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        let why = "lies in a folder that everybody can write to; use another one";
        return Err(unsafe_path(path, why));
    }
    match network_of(folder).map_err(failed)? {
        None => Ok(()),
        Some(name) => Err(unsafe_path(
            path,
            &format!(
                "lies on a network file system ({name}), whose locks and syncs cannot be relied on; use a local disk"
            ),
        )),
    }
}

/// Refuses a name that would make this ledger part of another, and a file of a person in the place of the lock.
fn check_lock(path: &Path) -> Result<(), LedgerError> {
    if files::is_beside_a_ledger(path) {
        return Err(unsafe_path(path, "would belong to another ledger by its name"));
    }
    match kind_beside(path, ".lock")? {
        None | Some((_, Kind::Nothing | Kind::Lock)) => Ok(()),
        Some((beside, _)) => Err(unsafe_path(&beside, IS_NONE)),
    }
}

/// Refuses where a file stands that SQLite would write over and that it did not make: a person's own, or the log of a
/// ledger that was moved away. Whether there is a ledger is asked last: another process may just make one.
fn check_logs(path: &Path) -> Result<(), LedgerError> {
    let is_there = || path.exists() || was_removed(path);
    for ending in ["-wal", "-shm", "-journal"] {
        match kind_beside(path, ending)? {
            None | Some((_, Kind::Nothing)) => {}
            Some((_, Kind::DatabaseLog | Kind::Binary)) if ending == "-shm" || is_there() => {}
            Some((beside, Kind::DatabaseLog)) => {
                let why =
                    "is the log of a ledger that is not there; put the ledger back, or move the log away";
                return Err(unsafe_path(&beside, why));
            }
            Some((beside, _)) => return Err(unsafe_path(&beside, IS_NONE)),
        }
    }
    Ok(())
}

const IS_NONE: &str = "has the name of one of the ledger's own files and is none; move it away";

/// The file with this ending beside a ledger, and what it is; `None` where there is none.
fn kind_beside(path: &Path, ending: &str) -> Result<Option<(PathBuf, Kind)>, LedgerError> {
    let beside = files::companion(path, ending);
    let Ok(about) = std::fs::symlink_metadata(&beside) else {
        return Ok(None);
    };
    if !about.is_file() {
        return Err(unsafe_path(
            &beside,
            "is in the way of the ledger's own files; it must be a plain file or not be there",
        ));
    }
    let kind = files::kind_of(&beside).map_err(|error| LedgerError::from_make(&beside, &error))?;
    Ok(Some((beside, kind)))
}

/// Takes rights away that a copy may have got on its way: nobody else is to read emails, in the log neither.
pub(super) fn make_private(path: &Path) {
    for ending in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        let is_open = |about: &Metadata| about.is_file() && about.mode() & 0o077 != 0;
        if std::fs::symlink_metadata(&name).is_ok_and(|about| is_open(&about)) {
            // Where it is not ours we cannot, and whoever owns it decides.
            let _ = std::fs::set_permissions(&name, Permissions::from_mode(0o600));
        }
    }
}

fn unsafe_path(path: &Path, why: &str) -> LedgerError {
    LedgerError::UnsafePath {
        path: path.to_owned(),
        why: why.into(),
    }
}

#[cfg(target_os = "linux")]
fn network_of(folder: &Path) -> std::io::Result<Option<&'static str>> {
    Ok(network_name(rustix::fs::statfs(folder)?.f_type as u32))
}

#[cfg(not(target_os = "linux"))]
fn network_of(_: &Path) -> std::io::Result<Option<&'static str>> {
    Ok(None)
}

/// Names of network, cluster and shared file systems by the numbers that statfs(2) and `stat` of coreutils list.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn network_name(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B => "SMB",
        0xFF53_4D42 => "CIFS",
        0xFE53_4D42 => "SMB2",
        0x564C => "NCP",
        0x0102_1997 => "9P",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x00C3_6400 => "Ceph",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x2003_0528 => "PVFS2 or OrangeFS",
        0xAAD7_AAEA => "PanFS",
        0x1980_0202 => "WekaFS",
        0xBEEF_DEAD => "StorNext",
        0x0131_11A8 => "IBRIX",
        0x6163_6673 => "ACFS",
        0x0116_1970 => "GFS2",
        0x7461_636F => "OCFS2",
        // Shared folders of virtual machines: the locks of the host are others.
        0x786F_4256 => "VirtualBox",
        0xBACB_ACBC => "VMware",
        0x7C7C_6673 => "Parallels",
        // What stands behind FUSE cannot be told. sshfs, GlusterFS and virtiofs are such, and lock here only.
        0x6573_5546 => "FUSE",
        _ => return None,
    })
}

/// Refuses, before anything is made beside it, a file that cannot be a ledger by its first bytes, and one that is
/// shorter than these say.
///
/// A header without an application id may be a ledger whose first commit is still in its log; SQLite knows. So
/// may be one that seems too short: as long as there is a log, the pages may stand in there. A file that was cut
/// while it was first written is made empty again by SQLite's own journal, whatever it holds now.
fn check_header(path: &Path) -> Result<(), LedgerError> {
    if was_begun_from_nothing(path) {
        return Ok(());
    }
    let failed = |error: std::io::Error| LedgerError::from_make(path, &error);
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let mut header = Vec::new();
    file.take(HEADER_BYTES).read_to_end(&mut header).map_err(failed)?;
    if header.is_empty() {
        return Ok(());
    }
    let is_sqlite =
        header.starts_with(b"SQLite format 3\0") && matches!(number(&header, 68), Some(0 | APPLICATION_ID));
    if !is_sqlite {
        return Err(LedgerError::NotALedger(path.to_owned()));
    }
    let wanted = bytes_wanted(&header);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = std::fs::metadata(PathBuf::from(log)).is_ok_and(|log| log.len() > 0);
    if has_log || wanted <= bytes {
        return Ok(());
    }
    Err(LedgerError::Damaged(format!(
        "it is cut off: {} has {bytes} of {wanted} bytes",
        path.display()
    )))
}

/// Whether a journal beside the file says that the file was empty before the transaction that was cut.
///
/// Only the making of a ledger uses such a journal. Whoever may write to the file carries it out; a reader cannot.
pub(super) fn was_begun_from_nothing(path: &Path) -> bool {
    let mut header = Vec::new();
    let read = File::open(crate::files::companion(path, "-journal"))
        .and_then(|journal| journal.take(JOURNAL_HEADER_BYTES).read_to_end(&mut header));
    let pages_before = header.get(JOURNAL_PAGES..JOURNAL_PAGES + 4);
    read.is_ok() && header.starts_with(JOURNAL_MAGIC) && pages_before.is_none_or(|pages| pages == [0; 4])
}

/// The size of the file by its header, where the header vouches for it.
fn bytes_wanted(header: &[u8]) -> u64 {
    let page = match header.get(16..18) {
        Some([0, 1]) => 65_536,
        Some(&[high, low]) => u64::from(u16::from_be_bytes([high, low])),
        _ => 0,
    };
    // Both count changes; where they differ, whoever wrote last did not keep the count of pages.
    let vouched = number(header, 24).is_some() && number(header, 24) == number(header, 92);
    let pages = number(header, 28).filter(|_| vouched).unwrap_or(0);
    page * pages as u64
}

fn number(header: &[u8], at: usize) -> Option<i64> {
    let bytes = header.get(at..at + 4)?;
    Some(
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | i64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ledger, Reader};

    #[test]
    fn what_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        drop(Ledger::create(&path, "load").unwrap());
        let with = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        with(0o646);
        let refusal = Ledger::open(&path, "load").map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains("chmod 600"), "{refusal}");
        with(0o644);
        drop(Ledger::open(&path, "load").unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let inside = open.join("b.db");
        let refusal = Ledger::create(&inside, "load")
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("everybody"), "{refusal}");
        std::fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        Ledger::create(&inside, "load").unwrap();
    }

    #[test]
    fn a_file_that_was_cut_off_is_damaged_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        drop(Ledger::create(&path, "load").unwrap());
        let whole = std::fs::read(&path).unwrap();
        for bytes in [whole.len() - 1, whole.len() / 2, 8_192, 100] {
            std::fs::write(&path, &whole[..bytes]).unwrap();
            let refusal = Ledger::open(&path, "load").map(|_| ()).unwrap_err().to_string();
            assert!(refusal.contains("cut off"), "{bytes}: {refusal}");
            assert!(Reader::open(&path).is_err());
            assert_eq!(std::fs::read(&path).unwrap().len(), bytes);
        }
        std::fs::write(&path, &whole).unwrap();
        Ledger::open(&path, "load").unwrap();
    }

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xFF53_4D42), Some("CIFS"));
        for (magic, name) in [
            (0x4750_4653, "GPFS"),
            (0x1983_0326, "BeeGFS"),
            (0x2003_0528, "PVFS2"),
            (0x00C3_6400, "Ceph"),
            (0x0102_1997, "9P"),
            (0x6573_5546, "FUSE"),
            (0xAAD7_AAEA, "PanFS"),
        ] {
            assert!(
                network_name(magic).is_some_and(|known| known.starts_with(name)),
                "{name}"
            );
        }
        // ext4, tmpfs, btrfs, xfs, overlay, f2fs, zfs, bcachefs, vfat, exfat, ntfs3, ecryptfs.
        for local in [
            0xEF53,
            0x0102_1994,
            0x9123_683E,
            0x5846_5342,
            0x794C_7630,
            0xF2F5_2010,
            0x2FC1_2FC1,
            0xCA45_1A4E,
            0x4D44,
            0x2011_BAB0,
            0x7366_746E,
            0xF15F,
        ] {
            assert_eq!(network_name(local), None, "{local:#x}");
        }
    }
}

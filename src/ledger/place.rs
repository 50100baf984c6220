//! Where a ledger is: the machine, the path, and the file that stands there.
//!
//! A path and an inode say little by themselves: a fresh volume that is mounted at the same place gives its files the
//! same numbers. So the file system's own id and the file's birth time count as well. What is not known, because the
//! system does not tell it or an earlier version did not ask, differs from nothing.
//!
//! | known by | where from | where it cannot be had |
//! |---|---|---|
//! | machine | `ROLLBOOK_MACHINE`, else `/etc/machine-id`, else the host's name | – |
//! | path | with all links followed | – |
//! | inode | the file | FAT and exFAT make it up anew at each mount: not compared there |
//! | birth time | statx(2) | ext3, XFS before version 5, old kernels: not compared |
//! | file system | `f_fsid` of statfs(2) where it is made from the UUID, else the UUID as udev knows it | tmpfs, overlay, XFS or F2FS in a container: not compared |
//!
//! The number of the device is deliberately absent: it changes with the order in which disks are found.

use super::error::LedgerError;
use crate::model::text::printable_bytes;
use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Names the machine where host names change, as in containers.
const MACHINE: &str = "ROLLBOOK_MACHINE";

/// Where systemd and its kin keep what tells machines apart. It is said to be confidential, so it is hashed.
const MACHINE_ID: &str = "/etc/machine-id";

/// File systems whose inode numbers last only as long as they are mounted: FAT and exFAT.
const INODES_CHANGE: [u32; 2] = [0x4D44, 0x2011_BAB0];

/// File systems whose `f_fsid` is made from their UUID: ext2 to ext4, btrfs, ZFS, bcachefs.
const FSID_OF_UUID: [u32; 4] = [0xEF53, 0x9123_683E, 0x2FC1_2FC1, 0xCA45_1A4E];

/// Where a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) machine: String,
    host: String,
    pub(super) path: String,
    inode: Option<i64>,
    born: Option<i64>,
    volume: Option<String>,
}

impl Place {
    /// The place of the file at a path, which has to be there.
    pub(super) fn of(path: &Path) -> Result<Self, LedgerError> {
        let failed = |error: std::io::Error| LedgerError::from_make(path, &error);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let id = std::fs::read_to_string(MACHINE_ID).unwrap_or_default();
        let (machine, host) = machine(std::env::var_os(MACHINE), &id, host);
        let about = std::fs::metadata(path).map_err(failed)?;
        let kind = kind_of(path);
        Ok(Self {
            machine,
            host,
            path: as_text(&path.canonicalize().map_err(failed)?),
            inode: (!INODES_CHANGE.contains(&kind)).then_some(about.ino() as i64),
            born: born(&about),
            volume: volume_of(path, kind, about.dev()),
        })
    }

    /// Where the last run was, where that is written down.
    pub(super) fn last(connection: &Connection) -> Result<Option<Self>, LedgerError> {
        let columns = "SELECT machine, host, path, inode, born, volume FROM meta";
        let place = |row: &Row<'_>| {
            let machine: Option<String> = row.get(0)?;
            let read = |machine| {
                Ok(Self {
                    machine,
                    host: row.get(1)?,
                    path: row.get(2)?,
                    inode: row.get(3)?,
                    born: row.get(4)?,
                    volume: row.get(5)?,
                })
            };
            machine.map(read).transpose()
        };
        Ok(connection.query_row(columns, [], place)?)
    }

    /// Writes down that the ledger is used here.
    pub(super) fn save(&self, connection: &Connection) -> Result<(), LedgerError> {
        connection.execute(
            "UPDATE meta SET machine = ?1, host = ?2, path = ?3, inode = ?4, born = ?5, volume = ?6",
            params![
                self.machine,
                self.host,
                self.path,
                self.inode,
                self.born,
                self.volume
            ],
        )?;
        Ok(())
    }

    /// Why `self`, where the last run was, is not `here`.
    pub(super) fn differs(&self, here: &Self) -> Option<String> {
        let replaced = "the file was put in the place of the one that was last used";
        if self.machine != here.machine {
            Some(format!(
                "it was last used on another machine ({}); where host names change, {MACHINE} names it",
                self.host
            ))
        } else if self.path != here.path {
            Some(format!("it was last used at {}", self.path))
        } else if differ(self.inode, here.inode) {
            Some(replaced.into())
        } else if volumes_differ(self.volume.as_deref(), here.volume.as_deref()) {
            Some("it lies on another file system than the one that was last used".into())
        } else if differ(self.born, here.born) {
            Some(format!("{replaced}: it was made at another time"))
        } else {
            None
        }
    }
}

/// A path as text. One that is no UTF-8 is told apart from every other by its escapes.
fn as_text(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => printable_bytes(path.as_os_str().as_encoded_bytes()),
    }
}

fn differ(one: Option<i64>, other: Option<i64>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one != other)
}

/// Ids from different sources say nothing about each other.
fn volumes_differ(one: Option<&str>, other: Option<&str>) -> bool {
    let source = |volume: &str| volume.split(' ').next().map(str::to_owned);
    matches!((one, other), (Some(one), Some(other)) if one != other && source(one) == source(other))
}

/// What a machine is known by, and what people know it by.
fn machine(named: Option<OsString>, id: &str, host: String) -> (String, String) {
    let named = named.map(|name| name.to_string_lossy().trim().to_owned());
    let (known_by, host) = match named.filter(|name| !name.is_empty()) {
        Some(name) => (format!("rollbook machine {name}"), name),
        None if id.trim().is_empty() => (format!("rollbook {host}"), host),
        None => (format!("rollbook {}", id.trim()), host),
    };
    (hex(&Sha256::digest(known_by), 8), host)
}

/// The first bytes of a digest.
pub(super) fn hex(digest: &[u8], bytes: usize) -> String {
    digest
        .iter()
        .take(bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// When a file was made. Zero is what file systems say that do not keep it.
fn born(about: &Metadata) -> Option<i64> {
    let time = about.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(time.as_nanos()).ok().filter(|nanos| *nanos > 0)
}

#[cfg(target_os = "linux")]
fn kind_of(path: &Path) -> u32 {
    rustix::fs::statfs(path).map_or(0, |about| about.f_type as u32)
}

#[cfg(not(target_os = "linux"))]
fn kind_of(_: &Path) -> u32 {
    0
}

/// The file system's own id, behind a word for where it comes from.
#[cfg(target_os = "linux")]
fn volume_of(path: &Path, kind: u32, device: u64) -> Option<String> {
    if FSID_OF_UUID.contains(&kind) {
        let id = rustix::fs::statvfs(path).ok()?.f_fsid;
        return (id != 0).then(|| format!("fsid {id:016x}"));
    }
    uuid_of(device).map(|uuid| format!("uuid {uuid}"))
}

#[cfg(not(target_os = "linux"))]
fn volume_of(_: &Path, _: u32, _: u64) -> Option<String> {
    None
}

/// The UUID of the file system on a block device, as udev found it.
#[cfg(target_os = "linux")]
fn uuid_of(device: u64) -> Option<String> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let known = std::fs::read_to_string(format!("/run/udev/data/b{major}:{minor}")).unwrap_or_default();
    let uuid = known.lines().find_map(|line| line.strip_prefix("E:ID_FS_UUID="));
    if let Some(uuid) = uuid {
        return Some(uuid.to_owned());
    }
    let mut links = std::fs::read_dir("/dev/disk/by-uuid").ok()?.flatten();
    let link = links.find(|link| std::fs::metadata(link.path()).is_ok_and(|to| to.rdev() == device))?;
    link.file_name().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            machine: "m".into(),
            host: "h".into(),
            path: "/a.db".into(),
            inode: Some(12),
            born: Some(7),
            volume: Some("fsid 1".into()),
        }
    }

    #[test]
    fn each_of_what_is_known_tells_files_apart() {
        let here = place();
        assert_eq!(here.differs(&here), None);
        let others = [
            Place {
                machine: "n".into(),
                ..place()
            },
            Place {
                path: "/b.db".into(),
                ..place()
            },
            Place {
                inode: Some(13),
                ..place()
            },
            Place {
                born: Some(8),
                ..place()
            },
            Place {
                volume: Some("fsid 2".into()),
                ..place()
            },
        ];
        for other in others {
            assert!(other.differs(&here).is_some(), "{other:?}");
            assert!(here.differs(&other).is_some(), "{other:?}");
        }
        // Only the name people know it by.
        let renamed = Place {
            host: "g".into(),
            ..place()
        };
        assert_eq!(renamed.differs(&here), None);
    }

    #[test]
    fn what_is_not_known_differs_from_nothing() {
        let here = place();
        let unknown = [
            Place {
                inode: None,
                ..place()
            },
            Place {
                born: None,
                ..place()
            },
            Place {
                volume: None,
                ..place()
            },
            Place {
                volume: Some("uuid 1".into()),
                ..place()
            },
            Place {
                inode: None,
                born: None,
                volume: None,
                ..place()
            },
        ];
        for other in unknown {
            assert_eq!(other.differs(&here), None, "{other:?}");
            assert_eq!(here.differs(&other), None, "{other:?}");
        }
    }

    #[test]
    fn names_that_are_no_text_are_told_apart() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &[u8]| {
            let path = folder.path().join(std::ffi::OsStr::from_bytes(name));
            std::fs::write(&path, "").unwrap();
            Place::of(&path).unwrap().path
        };
        let (one, other) = (at(b"caf\xe9.db"), at(b"caf\xe8.db"));
        assert_ne!(one, other);
        assert!(one.ends_with("caf\\xe9.db"), "{one}");
        assert!(at("café\u{200d}.db".as_bytes()).ends_with("café\u{200d}.db"));
    }

    #[test]
    fn a_machine_is_known_by_its_given_name_its_id_or_its_host_name() {
        let of = |named: Option<&str>, id, host: &str| machine(named.map(Into::into), id, host.into());
        let given = of(Some("worker"), "1234\n", "a");
        assert_eq!(given, of(Some(" worker "), "5678", "b"));
        assert_eq!(given.1, "worker");
        assert_ne!(given.0, of(None, "1234\n", "a").0);
        assert_ne!(given.0, of(Some("other"), "1234\n", "a").0);
        assert_eq!(of(Some(""), "1234", "a"), of(None, "1234\n", "a"));
        assert_eq!(of(None, "1234", "a").0, of(None, "1234", "b").0);
        assert_ne!(of(None, "", "a").0, of(None, "", "b").0);
        assert!(!of(None, "1234", "a").0.contains("1234"), "it is confidential");
    }

    #[test]
    fn a_file_on_this_disk_is_known_by_more_than_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        std::fs::write(&path, "").unwrap();
        let here = Place::of(&path).unwrap();
        assert_eq!(here, Place::of(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        let again = Place::of(&path).unwrap();
        assert!(here.born.is_none() || here.differs(&again).is_some(), "{again:?}");
    }
}

//! The few places where files and folders are made and removed.

use super::keep::{LEDGER_COMPANIONS, companion};
use super::target::folder_of;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Only the owner reads and writes: what is in there are emails, or what a run may do.
const PRIVATE: u32 = 0o600;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Makes a file that is not there yet.
#[expect(
    clippy::disallowed_methods,
    reason = "one of the few places where files are made"
)]
pub fn make_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)
}

/// Opens a file of the program's own for reading and writing, and makes it where it is missing. Follows no link at
/// its end, and waits for nobody.
#[expect(
    clippy::disallowed_methods,
    reason = "one of the few places where files are made"
)]
pub fn open_or_make(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32)
        .open(path)
}

/// Makes a folder of the program's own, and those that it lies in, where they are missing.
#[expect(
    clippy::disallowed_methods,
    reason = "one of the few places where folders are made"
)]
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Why a file or folder of the program's own is not to be believed, where that is so: others may have written to it.
pub fn not_ours(there: &Metadata) -> Option<&'static str> {
    if there.uid() != rustix::process::geteuid().as_raw() {
        Some("belongs to another user")
    } else if there.mode() & WRITABLE_BY_OTHERS != 0 {
        Some("can be written by others")
    } else {
        None
    }
}

/// Makes a folder that is not there yet.
#[expect(
    clippy::disallowed_methods,
    reason = "one of the few places where folders are made"
)]
pub fn make_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)
}

/// Removes a ledger that holds nothing or was a demo's. Only while its lock is held, or where nobody can hold it.
///
/// The ledger goes first, and for good before its log does: without the log it would be a damaged one. The lock's file,
/// which says that the log is worth nothing, goes last, and when the log's removal is durable: once it is gone another
/// process may begin a ledger here, and nothing of it may be taken away.
pub fn remove_ledger(path: &Path) -> io::Result<()> {
    remove(path)?;
    // Where the folder cannot be synced, a power cut may bring the ledger back with its log gone: it holds nothing.
    let _ = sync_folder(path);
    let (lock, logs) = LEDGER_COMPANIONS
        .split_last()
        .expect("BUG: a ledger has companions");
    for ending in logs {
        remove(&companion(path, ending))?;
    }
    let _ = sync_folder(path);
    remove(&companion(path, lock))
}

/// Removes what the program remembers of a ledger that held nothing.
pub fn remove_record(path: &Path) -> io::Result<()> {
    remove(path)
}

/// Removes a file; one that is gone already is no failure.
#[expect(clippy::disallowed_methods, reason = "the one place where files are removed")]
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in the folder of a file durable.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

//! The ledger's write-ahead log, before SQLite reads it.
//!
//! When a sync fails, Linux goes on as if the bytes were on the disk: the next process reads them from memory, and
//! no later sync writes them again. SQLite reads a log up to its first gap, so a power cut would then take away, with
//! those bytes, everything that was acknowledged after them; and what is not known to have been sent is sent
//! again. Therefore whatever is about to be read is first written once more, as it is, and synced.

use super::error::LedgerError;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BLOCK_BYTES: usize = 1 << 20;

/// Makes the log beside a ledger durable, where one was left behind. Only while the ledger's lock is held.
///
/// A log is left behind by processes that were killed or failed, so it costs nothing otherwise.
pub(super) fn make_durable(ledger: &Path) -> Result<(), LedgerError> {
    let mut path = ledger.as_os_str().to_owned();
    path.push("-wal");
    let path = PathBuf::from(path);
    if !std::fs::symlink_metadata(&path).is_ok_and(|there| there.is_file()) {
        return Ok(());
    }
    write_again(&path).map_err(|error| LedgerError::Disk(format!("{}: {error}", path.display())))
}

fn write_again(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut block, at)?;
        if read == 0 {
            return file.sync_all();
        }
        file.write_all_at(&block[..read], at)?;
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_written_again_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("a.db");
        make_durable(&ledger).unwrap();
        let log = folder.path().join("a.db-wal");
        let bytes: Vec<u8> = (0..BLOCK_BYTES * 2 + 7).map(|at| (at % 251) as u8).collect();
        std::fs::write(&log, &bytes).unwrap();
        let past = std::time::SystemTime::UNIX_EPOCH;
        let file = OpenOptions::new().write(true).open(&log).unwrap();
        file.set_modified(past).unwrap();
        make_durable(&ledger).unwrap();
        assert_eq!(std::fs::read(&log).unwrap(), bytes);
        assert!(file.metadata().unwrap().modified().unwrap() > past);
    }
}

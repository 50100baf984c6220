//! What the user's state folder remembers of a ledger: how far it was used at its place.
//!
//! The lock's file beside the ledger remembers the same (`lock.rs`). It is not synced, and whoever puts an older state
//! back may take it away. So the epoch and the newest attempt are kept here as well, in a folder that no logout
//! empties and that is not copied, moved or restored together with the ledger.
//!
//! **Order.** For each batch: the *sending* mark is flushed in the ledger, then the record is flushed, then the request
//! leaves. What a restart finds if the power goes after each step:
//!
//! 1. The mark of attempt n: the ledger says n, the record n−1. The batch is in doubt, and has not left.
//! 2. The record: both say n. In doubt, and has not left.
//! 3. The request: the same. In doubt.
//!
//! So the record never says more than the ledger that it is about, and a ledger that knows less than its record is an
//! older state, or has lost its log. The other order would make each crash between the two look like that, and a person
//! would be asked for nothing. For the same reason nothing is reserved in advance, in strides: up to a stride's length,
//! a ledger that was killed and one that was put back would look alike. An epoch is handled in the same way: raised in
//! the ledger, then noted here.
//!
//! **What it proves.** A record speaks for the ledger's state where its epoch is the ledger's own, and its attempt the
//! ledger's or the one before. An older epoch means that the ledger was used since by somebody whose state folder is
//! another one, or could not be written: such a record proves nothing, and nor does a missing one. That is *unknown*,
//! which is said. As long as the lock's file remembers the ledger, it suffices. Where that is gone as well, two places
//! have lost their memory and nobody can say whether this is the newest state: the ledger counts as a copy, and goes on
//! with `--adopt`. That costs a person a look and the job some minutes; the other mistake sends everything twice.
//! Ledgers that were last written by versions without this memory are excepted once.
//!
//! **A copy.** A record belongs to a ledger's id *and* its place, so that opening a copy touches nothing of the
//! original's. When a copy is adopted, the record of the place it came from is marked: a run that still goes on there
//! stops at its next mark, and a later one finds a copy.
//!
//! **On the disk.** Two lines of one length, each with a checksum; the one with the higher sequence counts, and the
//! other one is overwritten and flushed, in place. A torn line leaves the one before, which is one mark behind: step 1.
//! In place, since that needs no room on a full disk, and one flush of one block. Never an email, a name or a path.

use super::error::LedgerError;
use super::place::hex;
use crate::files;
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first line. Another number in it is another version.
const HEAD: &str = "rollbook ledger record 1\n";
const LINE_BYTES: usize = 86;
const FILE_BYTES: usize = HEAD.len() + 2 * LINE_BYTES;
/// How often a lock that somebody holds is tried again. Holders take as long as a flush.
const TRIES: u32 = 400;
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    sequence: u64,
    /// The epoch in which the ledger was last used here.
    pub(super) epoch: i64,
    /// The newest request that may have left.
    pub(super) attempt: i64,
    /// Whether a copy was adopted at another place since.
    adopted: bool,
}

/// What a record says about the state that a ledger is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is the newest.
    Newest,
    /// There was a later one.
    Older,
    /// A copy was adopted since.
    Adopted,
    /// Nothing.
    Nothing,
}

impl Known {
    /// What the record says about a ledger with this epoch and this newest attempt, where there is a record.
    pub(super) fn judge(known: Option<Self>, epoch: i64, attempt: i64) -> Said {
        match known {
            Some(known) if known.adopted => Said::Adopted,
            Some(known) if known.epoch > epoch || known.attempt > attempt => Said::Older,
            Some(known) if known.epoch == epoch && known.attempt + 1 >= attempt => Said::Newest,
            _ => Said::Nothing,
        }
    }

    fn line(&self) -> String {
        let word = if self.adopted { "adopted" } else { "current" };
        let said = format!(
            "{:020} {:020} {:020} {word}",
            self.sequence, self.epoch, self.attempt
        );
        let sum = hex(&Sha256::digest(&said), 7);
        format!("{said} {sum}\n")
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let mut words = text.split_whitespace();
        let known = Self {
            sequence: words.next()?.parse().ok()?,
            epoch: words.next()?.parse().ok()?,
            attempt: words.next()?.parse().ok()?,
            adopted: words.next()? == "adopted",
        };
        (known.line() == text).then_some(known)
    }
}

/// Why a record cannot be used. It is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(pub(super) String);

/// The record of one ledger at one place.
#[derive(Debug)]
pub(super) struct Record {
    folder: PathBuf,
    path: PathBuf,
    file: File,
}

/// The name of the record of a ledger at a place. It says nothing of either.
pub(super) fn name(ledger_id: &str, machine: &str, path: &str) -> String {
    let digest = Sha256::digest(format!("{ledger_id}\n{machine}\n{path}"));
    format!("ledger-{}", hex(&digest, 12))
}

impl Record {
    /// Opens a record in a folder of this user's own, both of which are made where they are missing.
    pub(super) fn open(folder: &Path, name: &str) -> Result<(Self, Option<Known>), Unusable> {
        files::make_private_folder(folder).map_err(|error| unusable(folder, "cannot make", &error))?;
        let record = Self::at(folder, name, true)?;
        let known = record.read()?;
        Ok((record, known))
    }

    /// What a record says; nothing is made.
    pub(super) fn look(folder: &Path, name: &str) -> Result<Option<Known>, Unusable> {
        if !folder.join(name).exists() {
            return Ok(None);
        }
        Self::at(folder, name, false)?.read()
    }

    fn at(folder: &Path, name: &str, make: bool) -> Result<Self, Unusable> {
        let there = std::fs::metadata(folder).map_err(|error| unusable(folder, "cannot look at", &error))?;
        check_owner(&there, folder)?;
        let path = folder.join(name);
        let file = if make {
            files::open_or_make(&path).map_err(|error| unusable(folder, "cannot write in", &error))?
        } else {
            File::open(&path).map_err(|error| unusable(folder, "cannot read in", &error))?
        };
        let there = file
            .metadata()
            .map_err(|error| unusable(&path, "cannot look at", &error))?;
        if !there.is_file() {
            return Err(Unusable(format!("{} is no plain file", path.display())));
        }
        check_owner(&there, &path)?;
        Ok(Self {
            folder: folder.to_owned(),
            path,
            file,
        })
    }

    /// What it says. One whose making was cut off says nothing yet; what somebody else wrote there is not used.
    fn read(&self) -> Result<Option<Known>, Unusable> {
        let mut bytes = vec![0; FILE_BYTES + 1];
        let failed = |error: io::Error| unusable(&self.path, "cannot read", &error);
        let mut filled = 0;
        loop {
            match self
                .file
                .read_at(&mut bytes[filled..], filled as u64)
                .map_err(failed)?
            {
                0 => break,
                more => filled += more,
            }
        }
        bytes.truncate(filled);
        let Some(lines) = bytes.strip_prefix(HEAD.as_bytes()) else {
            let is_begun = HEAD.as_bytes().starts_with(&bytes) || bytes.iter().all(|byte| *byte == 0);
            return if is_begun { Ok(None) } else { Err(self.foreign()) };
        };
        if lines.len() > 2 * LINE_BYTES {
            return Err(self.foreign());
        }
        let known = lines.chunks(LINE_BYTES).filter_map(Known::parse);
        Ok(known.max_by_key(|known| known.sequence))
    }

    fn foreign(&self) -> Unusable {
        Unusable(format!(
            "{} was written by another version of rollbook",
            self.path.display()
        ))
    }

    /// Notes that a process begins to use the ledger. When this returns, it is on the disk.
    pub(super) fn begin(&mut self, epoch: i64, attempt: i64) -> Result<(), LedgerError> {
        self.change(|_| Ok((epoch, attempt, false)))
    }

    /// Notes that a request is about to leave, unless another process has taken the ledger over, here or elsewhere.
    /// When this returns, it is on the disk.
    pub(super) fn mark(&mut self, epoch: i64, attempt: i64) -> Result<(), LedgerError> {
        self.change(|known| match known {
            Some(known) if known.adopted || known.epoch > epoch => Err(LedgerError::Superseded),
            _ => Ok((epoch, attempt, false)),
        })
    }

    /// Notes that a copy was adopted at another place, where there is a record to note it in.
    pub(super) fn retire(folder: &Path, name: &str) {
        if !folder.join(name).exists() {
            return;
        }
        // Whoever adopts has been told that the original must not be used any more. This only finds it out sooner.
        let _ = Self::open(folder, name).map(|(mut record, known)| {
            let (epoch, attempt) = known.map_or((0, 0), |known| (known.epoch, known.attempt));
            record.change(|_| Ok((epoch, attempt, true)))
        });
    }

    /// Removes the record of a ledger that holds nothing.
    pub(super) fn forget(self) {
        // One that stays behind is small, and is of nothing that anybody has.
        let _ = files::remove_record(&self.path);
    }

    /// Makes the record say something else, while nobody else does.
    fn change(
        &mut self,
        change: impl FnOnce(Option<Known>) -> Result<(i64, i64, bool), LedgerError>,
    ) -> Result<(), LedgerError> {
        self.follow()?;
        self.lock()?;
        let changed = self.change_locked(change);
        let unlocked = self.file.unlock().map_err(|error| self.failed(&error));
        changed.and(unlocked)
    }

    fn change_locked(
        &self,
        change: impl FnOnce(Option<Known>) -> Result<(i64, i64, bool), LedgerError>,
    ) -> Result<(), LedgerError> {
        let known = self.read().map_err(|error| LedgerError::State(error.0))?;
        let (epoch, attempt, adopted) = change(known)?;
        let next = Known {
            sequence: known.map_or(0, |known| known.sequence + 1),
            epoch,
            attempt,
            adopted,
        };
        let written = match known {
            Some(_) => self.overwrite(&next),
            None => self.write_anew(&next),
        };
        written.map_err(|error| self.failed(&error))
    }

    fn overwrite(&self, next: &Known) -> io::Result<()> {
        let line = HEAD.len() + (next.sequence % 2) as usize * LINE_BYTES;
        self.file.write_all_at(next.line().as_bytes(), line as u64)?;
        self.file.sync_data()
    }

    /// All of it, and its name: it must be there after a power cut.
    fn write_anew(&self, first: &Known) -> io::Result<()> {
        let blank = " ".repeat(LINE_BYTES - 1);
        let text = format!("{HEAD}{}{blank}\n", first.line());
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.sync_all()?;
        files::sync_folder(&self.path)
    }

    /// Goes on with the file at the record's place, where somebody has put another one there or taken it away.
    fn follow(&mut self) -> Result<(), LedgerError> {
        let is_same =
            |ours: &Metadata, there: &Metadata| (ours.dev(), ours.ino()) == (there.dev(), there.ino());
        let ours = self.file.metadata().map_err(|error| self.failed(&error))?;
        if std::fs::symlink_metadata(&self.path).is_ok_and(|there| is_same(&ours, &there)) {
            return Ok(());
        }
        let name = self
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (record, _) = Self::open(&self.folder, &name).map_err(|error| LedgerError::State(error.0))?;
        *self = record;
        Ok(())
    }

    fn lock(&self) -> Result<(), LedgerError> {
        for _ in 0..TRIES {
            match self.file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::Error(error)) => return Err(self.failed(&error)),
            }
        }
        let path = self.path.display();
        Err(LedgerError::State(format!(
            "another process holds {path} and does not let go"
        )))
    }

    fn failed(&self, error: &io::Error) -> LedgerError {
        LedgerError::State(format!("{}: {error}", self.path.display()))
    }
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> Unusable {
    Unusable(format!("{what} {}: {error}", path.display()))
}

fn check_owner(there: &Metadata, path: &Path) -> Result<(), Unusable> {
    let refused = |why| Err(Unusable(format!("{} {why}", path.display())));
    files::not_ours(there).map_or(Ok(()), refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NAME: &str = "ledger-1";

    fn said(folder: &Path) -> (i64, i64, bool) {
        let known = Record::look(folder, NAME).unwrap().unwrap();
        (known.epoch, known.attempt, known.adopted)
    }

    #[test]
    fn a_record_says_what_was_noted_last_and_keeps_its_size() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        assert_eq!(Record::look(&folder, NAME), Ok(None));
        let (mut record, known) = Record::open(&folder, NAME).unwrap();
        assert_eq!(known, None);
        record.begin(1, 0).unwrap();
        for attempt in 1..=25 {
            record.mark(1, attempt).unwrap();
            assert_eq!(said(&folder), (1, attempt, false));
            assert_eq!(
                std::fs::metadata(folder.join(NAME)).unwrap().len(),
                FILE_BYTES as u64
            );
        }
        assert_eq!(
            std::fs::metadata(folder.join(NAME)).unwrap().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_torn_line_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (mut record, _) = Record::open(folder.path(), NAME).unwrap();
        record.begin(1, 0).unwrap();
        record.mark(1, 1).unwrap();
        let path = folder.path().join(NAME);
        let before = std::fs::read(&path).unwrap();
        record.mark(1, 2).unwrap();
        let after = std::fs::read(&path).unwrap();
        for cut in 0..FILE_BYTES {
            let torn = [&after[..cut], &before[cut..]].concat();
            std::fs::write(&path, torn).unwrap();
            assert!(matches!(said(folder.path()), (1, 1 | 2, false)), "{cut}");
        }
        // While it was made: nothing yet, and then it can be made.
        for cut in 0..HEAD.len() + LINE_BYTES {
            std::fs::write(&path, &before[..cut]).unwrap();
            let (mut record, known) = Record::open(folder.path(), NAME).unwrap();
            assert_eq!(known, None, "{cut}");
            record.begin(3, 4).unwrap();
            assert_eq!(said(folder.path()), (3, 4, false));
        }
    }

    #[test]
    fn a_record_of_another_version_is_neither_believed_nor_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        for foreign in [
            "rollbook ledger record 2\nmore\n",
            "{}",
            &format!("{HEAD}{}", "x".repeat(400)),
        ] {
            std::fs::write(&path, foreign).unwrap();
            let refusal = Record::open(folder.path(), NAME).unwrap_err().to_string();
            assert!(refusal.contains("another version"), "{refusal}");
            Record::retire(folder.path(), NAME);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
        }
    }

    #[test]
    fn what_others_may_write_to_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut record, _) = Record::open(folder.path(), NAME).unwrap();
        record.begin(1, 0).unwrap();
        let with =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        for (path, usual) in [
            (folder.path().join(NAME), 0o600),
            (folder.path().to_owned(), 0o700),
        ] {
            with(&path, 0o777);
            assert!(Record::look(folder.path(), NAME).is_err());
            assert!(Record::open(folder.path(), NAME).is_err());
            with(&path, usual);
        }
        assert_eq!(said(folder.path()), (1, 0, false));
    }

    #[test]
    fn whoever_was_succeeded_marks_nothing_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, _) = Record::open(folder.path(), NAME).unwrap();
        first.begin(1, 0).unwrap();
        first.mark(1, 1).unwrap();
        let (mut second, _) = Record::open(folder.path(), NAME).unwrap();
        second.begin(2, 1).unwrap();
        assert!(matches!(first.mark(1, 2), Err(LedgerError::Superseded)));
        assert_eq!(said(folder.path()), (2, 1, false));
        Record::retire(folder.path(), NAME);
        assert!(matches!(second.mark(2, 2), Err(LedgerError::Superseded)));
        assert_eq!(said(folder.path()), (2, 1, true));
        Record::retire(folder.path(), "ledger-2");
        assert_eq!(Record::look(folder.path(), "ledger-2"), Ok(None));
    }

    #[test]
    fn a_record_that_is_taken_away_is_made_anew() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        let (mut record, _) = Record::open(&folder, NAME).unwrap();
        record.begin(1, 0).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        record.mark(1, 1).unwrap();
        assert_eq!(said(&folder), (1, 1, false));
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "in the way").unwrap();
        assert!(matches!(record.mark(1, 2), Err(LedgerError::State(_))));
    }

    #[test]
    fn a_record_speaks_for_the_very_state_that_it_is_about() {
        let known = |epoch, attempt, adopted| {
            Some(Known {
                sequence: 9,
                epoch,
                attempt,
                adopted,
            })
        };
        for (known, epoch, attempt, said) in [
            (known(5, 12, false), 5, 12, Said::Newest),
            // Killed between the mark and the record.
            (known(5, 12, false), 5, 13, Said::Newest),
            (known(5, 12, false), 5, 14, Said::Nothing),
            (known(5, 12, false), 5, 11, Said::Older),
            (known(5, 12, false), 4, 12, Said::Older),
            // Opened often enough since by something that does not send.
            (known(5, 12, false), 9, 11, Said::Older),
            // Used since with another state folder.
            (known(5, 12, false), 6, 12, Said::Nothing),
            (known(5, 12, true), 5, 12, Said::Adopted),
            (None, 5, 12, Said::Nothing),
        ] {
            assert_eq!(
                Known::judge(known, epoch, attempt),
                said,
                "{known:?}, {epoch}, {attempt}"
            );
        }
    }
}

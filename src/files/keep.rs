//! The files that an output must not replace, whatever name leads to them.

use super::kind::{Kind, kind_of};
use super::target::folder_of;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands beside a ledger, in the order in which it is removed after the ledger.
pub const LEDGER_COMPANIONS: [&str; 4] = ["-wal", "-shm", "-journal", ".lock"];

/// A file beside a ledger.
pub fn companion(ledger: &Path, ending: &str) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The files that must stay, each with what it is.
#[derive(Clone, Debug, Default)]
pub struct Keep(Vec<(PathBuf, &'static str)>);

impl Keep {
    /// A ledger and everything beside it.
    pub fn ledger(path: &Path) -> Self {
        let mut keep = Self::default();
        keep.add(path, "is the ledger");
        for ending in LEDGER_COMPANIONS {
            keep.add(&companion(path, ending), "belongs to the ledger");
        }
        keep
    }

    /// One more, and why it stays.
    pub fn add(&mut self, path: &Path, why: &'static str) {
        self.0.push((path.to_owned(), why));
    }

    /// Why the file that a path leads to must stay, or why no file may be made there.
    pub fn reason(&self, path: &Path) -> Option<&'static str> {
        let kept = self.0.iter().find(|(kept, _)| is_same(kept, path));
        kept.map(|(_, why)| *why)
            .or_else(|| by_content(path))
            .or_else(|| is_beside_a_ledger(path).then_some("belongs to another ledger"))
    }

    /// Why nothing may be written to the plain file that a stream was redirected to, such as `/dev/stdout`.
    ///
    /// Its content decides less than in [`Keep::reason`]: a log that is appended to may look like a lock or a token.
    pub fn reason_of_stream(&self, stream: &Path) -> Option<&'static str> {
        std::fs::metadata(stream).ok().filter(Metadata::is_file)?;
        let path = real_name(stream);
        let kept = self
            .0
            .iter()
            .find(|(kept, _)| is_same(kept, &path) || is_same(kept, stream));
        kept.map(|(_, why)| *why)
            .or_else(|| match kind_of(stream) {
                Ok(kind @ (Kind::Ledger | Kind::Database | Kind::DatabaseLog)) => kind.reason_to_keep(),
                _ => None,
            })
            .or_else(|| is_beside_a_ledger(&path).then_some("belongs to another ledger"))
    }
}

/// The name under which a file is known that this process has open, where it still has one.
fn real_name(stream: &Path) -> PathBuf {
    stream.canonicalize().unwrap_or_else(|_| stream.to_owned())
}

/// Why the plain file that a path leads to must stay, by what is in it.
fn by_content(path: &Path) -> Option<&'static str> {
    // A pipe is not read on trial.
    let is_file = std::fs::metadata(path).is_ok_and(|there| there.is_file());
    is_file.then(|| kind_of(path).ok()).flatten()?.reason_to_keep()
}

/// Whether two paths lead to one file, or would: to one folder and, but for upper and lower case, one name.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |there: &Metadata| (there.dev(), there.ino());
    let same = |one: &Path, other: &Path| match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => id(&one) == id(&other),
        _ => false,
    };
    same(one, other)
        || (is_same_name(one.file_name(), other.file_name()) && same(folder_of(one), folder_of(other)))
}

/// Some file systems do not tell `A.db` from `a.db`, and no person should have to.
fn is_same_name(one: Option<&OsStr>, other: Option<&OsStr>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one == other || one.to_string_lossy().to_lowercase() == other.to_string_lossy().to_lowercase()
        }
        _ => false,
    }
}

/// Whether a path has the name of something that stands beside a ledger or another database which is there.
pub fn is_beside_a_ledger(path: &Path) -> bool {
    let Some(name) = path.file_name().map(OsStr::as_encoded_bytes) else {
        return false;
    };
    LEDGER_COMPANIONS.iter().any(|ending| {
        let Some(base) = name.strip_suffix(ending.as_bytes()) else {
            return false;
        };
        // Cut off where ASCII begins, so that the rest is a name again.
        let base = std::os::unix::ffi::OsStrExt::from_bytes(base);
        let ledger = path.with_file_name::<&OsStr>(base);
        ledger.is_file() && matches!(kind_of(&ledger), Ok(Kind::Ledger | Kind::Database))
    })
}

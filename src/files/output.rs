//! A file that is there whole or not at all, and that takes the place of nothing that it may not replace.

use super::keep::Keep;
use super::leftovers::partial_name;
use super::make::{make_new, remove, sync_folder};
use super::target::{NoTarget, Target};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// A file that is being written: aside, readable by its owner only, until it is complete; or straight into a device or
/// a pipe.
#[derive(Debug)]
pub struct Output {
    file: File,
    aside: Option<Aside>,
}

/// Where the file is until it is complete, and where it will be.
#[derive(Debug)]
struct Aside {
    partial: PathBuf,
    path: PathBuf,
    replaces: bool,
    is_finished: bool,
}

/// Why no file can be written there. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A file is there, and nobody said that it may be replaced.
    #[error("it is there already")]
    Exists,
    /// What is there must stay, whoever says otherwise.
    #[error("it {0}")]
    Kept(&'static str),
    /// A folder, or a disk as such.
    #[error("it is {0}, expected a file")]
    NoFile(&'static str),
    /// What the system says.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

impl From<NoTarget> for OutputError {
    fn from(error: NoTarget) -> Self {
        match error {
            NoTarget::Folder => Self::NoFile("a folder"),
            NoTarget::Disk => Self::NoFile("a disk"),
            NoTarget::Failed(error) => Self::Failed(error),
        }
    }
}

impl Output {
    /// Begins a file that will be `path`. `owner` tells whose it is while it is not complete: a word of letters and
    /// digits.
    pub fn create(path: &Path, keep: &Keep, replaces: bool, owner: &str) -> Result<Self, OutputError> {
        let target = Target::of(path)?;
        if let Some(why) = keep.reason(target.path()) {
            return Err(OutputError::Kept(why));
        }
        let path = match target {
            Target::Open(path, number) => return Ok(Self::through(open(&path, number)?)),
            Target::Through(path) => return Ok(Self::through(append_to(&path)?)),
            Target::File(_) if !replaces => return Err(OutputError::Exists),
            Target::File(path) | Target::New(path) => path,
        };
        let partial = partial_name(&path, owner);
        let file = make_new(&partial)?;
        // Tells that its writer lives. Where locks are not to be had, the number of the process does.
        let _ = file.try_lock();
        let aside = Aside {
            partial,
            path,
            replaces,
            is_finished: false,
        };
        Ok(Self {
            file,
            aside: Some(aside),
        })
    }

    fn through(file: File) -> Self {
        Self { file, aside: None }
    }

    /// Makes what was written durable and gives it its name.
    pub fn finish(mut self) -> Result<(), OutputError> {
        let Some(aside) = &mut self.aside else {
            return Ok(self.file.flush()?);
        };
        self.file.sync_all()?;
        aside.take_place()?;
        aside.is_finished = true;
        Ok(sync_folder(&aside.path)?)
    }
}

/// What this process has open, at the place that it has come to.
fn open(path: &Path, number: u32) -> io::Result<File> {
    Ok(match number {
        1 => io::stdout().as_fd().try_clone_to_owned()?.into(),
        2 => io::stderr().as_fd().try_clone_to_owned()?.into(),
        _ => append_to(path)?,
    })
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}

impl Aside {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where files are given the name of another"
    )]
    fn take_place(&self) -> Result<(), OutputError> {
        if self.replaces {
            return Ok(std::fs::rename(&self.partial, &self.path)?);
        }
        // A second name can only be one that is free; another process may have made the file meanwhile.
        match std::fs::hard_link(&self.partial, &self.path) {
            Ok(()) => Ok(remove(&self.partial)?),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(OutputError::Exists),
            // Not every file system has second names.
            Err(_) if std::fs::symlink_metadata(&self.path).is_ok() => Err(OutputError::Exists),
            Err(_) => Ok(std::fs::rename(&self.partial, &self.path)?),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.is_finished {
            // Half an export is worse than none, and nobody is left to tell.
            let _ = remove(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn write(path: &Path, replaces: bool) -> Result<(), OutputError> {
        let mut output = Output::create(path, &Keep::default(), replaces, "me")?;
        output.write_all(b"whole")?;
        output.finish()
    }

    #[test]
    fn half_a_file_never_takes_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.csv");
        std::fs::write(&path, "old").unwrap();
        let mut output = Output::create(&path, &Keep::default(), true, "me").unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        write(&path, true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_appeared_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.csv");
        assert!(write(&path, false).is_ok());
        assert!(matches!(write(&path, false), Err(OutputError::Exists)));
        let path = folder.path().join("other.csv");
        let output = Output::create(&path, &Keep::default(), false, "me").unwrap();
        std::fs::write(&path, "old").unwrap();
        assert!(matches!(output.finish(), Err(OutputError::Exists)));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn links_stay_and_lead_to_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("old"), "old").unwrap();
        symlink("old", at("link")).unwrap();
        symlink(at("link"), at("chain")).unwrap();
        symlink("new", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        write(&at("chain"), true).unwrap();
        write(&at("dangling"), false).unwrap();
        assert_eq!(std::fs::read(at("old")).unwrap(), b"whole");
        assert_eq!(std::fs::read(at("new")).unwrap(), b"whole");
        for link in ["link", "chain", "dangling"] {
            assert!(at(link).is_symlink(), "{link}");
        }
        assert!(matches!(write(&at("loop"), true), Err(OutputError::Failed(_))));
        assert!(matches!(write(folder.path(), true), Err(OutputError::NoFile(_))));
        symlink("/dev/full", at("full")).unwrap();
        assert!(matches!(write(&at("full"), true), Err(OutputError::Failed(_))));
        symlink("/dev/null", at("null")).unwrap();
        write(&at("null"), true).unwrap();
        assert_eq!(std::fs::read_link(at("null")).unwrap(), Path::new("/dev/null"));
    }

    #[test]
    fn what_must_stay_stays_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::fs::write(at("a.db"), "the ledger").unwrap();
        std::fs::write(at("a.db.lock"), "").unwrap();
        std::fs::write(at("list"), "a list").unwrap();
        symlink(".", at("here")).unwrap();
        symlink("a.db", at("link")).unwrap();
        std::fs::hard_link(at("a.db"), at("hard")).unwrap();
        std::fs::hard_link(at("list"), at("second")).unwrap();
        let mut keep = Keep::ledger(&at("here/./a.db"));
        keep.add(&at("list"), "is a list");
        for name in [
            "a.db",
            "./a.db",
            "sub/..//a.db",
            "here/a.db",
            "link",
            "hard",
            "A.DB",
            "a.db-wal",
            "a.db-shm",
            "a.db-journal",
            "a.db.lock",
            "a.db-WAL",
            "list",
            "second",
        ] {
            let refused = Output::create(&at(name), &keep, true, "me");
            assert!(
                matches!(refused, Err(OutputError::Kept(_))),
                "{name}: {refused:?}"
            );
        }
        assert!(Output::create(&at("b.db"), &keep, true, "me").is_ok());
        assert_eq!(std::fs::read(at("a.db")).unwrap(), b"the ledger");
    }
}

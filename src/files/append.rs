//! A log: a file that lines are added to, that is never replaced, and that holds nothing of a person's.

use super::keep::Keep;
use super::kind::{Kind, kind_of};
use super::make::make_new;
use super::output::OutputError;
use super::target::Target;
use rustix::fs::{OFlags, fcntl_setfl};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens a log to add lines to it: a new file for its owner alone, an empty one, an earlier log, a device or a pipe.
pub fn append(path: &Path, keep: &Keep) -> Result<File, OutputError> {
    let target = Target::of(path)?;
    if let Some(why) = keep.reason(target.path()) {
        return Err(OutputError::Kept(why));
    }
    if let Target::New(path) = &target {
        match make_new(path) {
            // Another run with the same log was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => drop(made?),
        }
    }
    // A pipe that nobody reads is an error at once, and not a command that waits.
    let file = OpenOptions::new()
        .append(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(target.path())?;
    fcntl_setfl(&file, OFlags::APPEND).map_err(io::Error::from)?;
    let there = file.metadata()?;
    if there.is_file() && there.uid() != rustix::process::geteuid().as_raw() {
        return Err(OutputError::Kept("belongs to another user"));
    }
    if there.is_file() && there.len() > 0 && kind_of(target.path())? != Kind::Log {
        return Err(OutputError::Kept("is no log of rollbook"));
    }
    if file.is_terminal() {
        return Err(OutputError::NoFile("a terminal"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::{PermissionsExt, symlink};

    const LINE: &str = "2026-01-31T12:00:00.000001Z  INFO rollbook::cli: began verb=\"load\"\n";

    fn add(path: &Path) -> Result<(), OutputError> {
        Ok(append(path, &Keep::default())?.write_all(LINE.as_bytes())?)
    }

    #[test]
    fn a_log_grows_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.log");
        add(&path).unwrap();
        add(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), LINE.repeat(2));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let json = "{\"timestamp\":\"2026-01-31T12:00:00.000001Z\",\"target\":\"rollbook::cli\"}\n";
        std::fs::write(&path, json).unwrap();
        add(&path).unwrap();
    }

    #[test]
    fn what_is_no_log_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        for text in [
            "email\nann@example.com\n",
            "2026-01-31T12:00:00Z ate\n",
            "\0",
            " ",
        ] {
            std::fs::write(&path, text).unwrap();
            let refused = add(&path);
            assert!(
                matches!(refused, Err(OutputError::Kept(_))),
                "{text}: {refused:?}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::write(&path, "").unwrap();
        add(&path).unwrap();
        symlink("notes", folder.path().join("link")).unwrap();
        add(&folder.path().join("link")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), LINE.repeat(2));
        assert!(matches!(add(folder.path()), Err(OutputError::NoFile(_))));
        let ledger = folder.path().join("a.db");
        let keep = Keep::ledger(&ledger);
        for name in ["a.db", "a.db-wal", "A.db"] {
            let refused = append(&folder.path().join(name), &keep);
            assert!(
                matches!(refused, Err(OutputError::Kept(_))),
                "{name}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_pipe_is_written_through_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(add(&path), Err(OutputError::Failed(_))), "nobody reads");
        let mut reader = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(&path)
            .unwrap();
        add(&path).unwrap();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, LINE);
    }
}

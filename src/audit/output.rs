//! A file that is there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is written aside, readable by nobody else, and takes its name only when it is complete.
#[derive(Debug)]
pub struct Aside {
    file: Option<File>,
    aside: PathBuf,
    path: PathBuf,
}

impl Aside {
    /// Begins a file that will be `path`.
    pub fn create(path: &Path) -> io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::other("expected the name of a file"))?;
        if path.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", std::process::id()));
        let aside = path.with_file_name(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)?;
        Ok(Self {
            file: Some(file),
            aside,
            path: path.to_owned(),
        })
    }

    /// Makes what was written durable and gives it its name.
    pub fn finish(mut self) -> io::Result<()> {
        let file = self.file.take().expect("BUG: a file was finished twice");
        file.sync_all()?;
        std::fs::rename(&self.aside, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for Aside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file
            .as_mut()
            .expect("BUG: written to after the end")
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().expect("BUG: written to after the end").flush()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Half an export is worse than none, and nobody is left to tell.
            let _ = std::fs::remove_file(&self.aside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn half_a_file_never_takes_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.csv");
        std::fs::write(&path, "old").unwrap();
        let mut aside = Aside::create(&path).unwrap();
        aside.write_all(b"half").unwrap();
        drop(aside);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let mut aside = Aside::create(&path).unwrap();
        aside.write_all(b"whole").unwrap();
        aside.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

//! Where a list comes from: its name, whether it can be read at all, and its fingerprint.
//!
//! This file opens nothing but files and stdin, and knows nothing of what is written in them.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::error::ListError;
use super::stream::{CHUNK_BYTES, Stream};
use crate::model::text::printable_bytes;

/// Where a list comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, or anything else with a path that can be read from its beginning, such as a named pipe.
    File(PathBuf),
    /// Standard input, which can be read once.
    Stdin,
}

impl Source {
    /// The name for people: the path as it was given, or `(stdin)`. What steers a terminal is escaped, and so is what
    /// is no text, so that two files never have one name.
    pub fn name(&self) -> String {
        match self {
            Source::File(path) => printable_bytes(path.as_os_str().as_encoded_bytes()),
            Source::Stdin => "(stdin)".to_string(),
        }
    }

    /// Where the file is, all links followed, to tell two lists of one name apart.
    pub fn place(&self) -> Option<String> {
        let Source::File(path) = self else { return None };
        let place = path.canonicalize().ok()?;
        Some(printable_bytes(place.as_os_str().as_encoded_bytes()))
    }

    /// Finds cheaply what would stop the list from being opened, before anything else is done.
    pub fn check(&self) -> Result<(), ListError> {
        let Source::File(path) = self else { return Ok(()) };
        let metadata = self.metadata(path)?;
        // A pipe is not opened on trial: its writer would take our leaving for the end of all reading.
        if metadata.is_file() {
            File::open(path).map_err(|error| self.cannot_open(error))?;
        }
        Ok(())
    }

    /// The SHA-256 of the decompressed bytes, or `None` where reading them would use them up.
    pub fn digest(&self) -> Result<Option<Digest>, ListError> {
        let Source::File(path) = self else { return Ok(None) };
        if !self.metadata(path)?.is_file() {
            return Ok(None);
        }
        let mut stream = Stream::open(self)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut line = 1;
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(Some(stream.digest())),
                Ok(read) => line += chunk[..read].iter().filter(|&&byte| byte == b'\n').count() as u64,
                Err(error) => return Err(error.at(self.name(), line)),
            }
        }
    }

    /// Opens the bytes as they are stored, and gives their number where it is known.
    pub(super) fn open(&self) -> Result<(Box<dyn io::Read + Send>, Option<u64>), ListError> {
        match self {
            Source::Stdin => Ok((Box::new(io::stdin()), None)),
            Source::File(path) => {
                let metadata = self.metadata(path)?;
                let file = File::open(path).map_err(|error| self.cannot_open(error))?;
                Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
            }
        }
    }

    fn metadata(&self, path: &Path) -> Result<Metadata, ListError> {
        let metadata = path.metadata().map_err(|error| self.cannot_open(error))?;
        if metadata.is_dir() {
            return Err(ListError::Directory { list: self.name() });
        }
        Ok(metadata)
    }

    fn cannot_open(&self, source: io::Error) -> ListError {
        let list = self.name();
        match source.kind() {
            io::ErrorKind::NotFound => ListError::NotFound { list },
            _ => ListError::Unreadable { list, source },
        }
    }
}

/// The SHA-256 of a list's decompressed bytes, shown as hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_and_a_folder_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Source::File(folder.path().join("no.csv"));
        assert!(matches!(missing.check(), Err(ListError::NotFound { .. })));
        let folder = Source::File(folder.path().to_path_buf());
        assert!(matches!(folder.check(), Err(ListError::Directory { .. })));
        assert!(matches!(folder.digest(), Err(ListError::Directory { .. })));
    }

    #[test]
    fn the_digest_is_of_the_decompressed_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.csv");
        std::fs::write(&path, zstd::encode_all(&b"abc"[..], 1).unwrap()).unwrap();
        let digest = Source::File(path).digest().unwrap().unwrap();
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Source::Stdin.digest().unwrap(), None);
    }
}

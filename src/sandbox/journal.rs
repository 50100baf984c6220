//! The tenant's files: its memory across restarts, and the list of writes for readers in another process.
//!
//! Both are JSON lines that are only ever appended to. This file may not know what a line means for the world; it
//! hands the lines back in order and leaves the replaying to its caller.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Read as _, Seek, Write as _};
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SandboxError;
use super::options::{OpenFile, Options};
use super::queue::{Applied, Write};

/// How the two files begin.
const STATE_HEAD: &str = "{\"line\":\"header\"";
const JOURNAL_HEAD: &str = "{\"batch_id\":";

/// One line of the state file: something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(super) enum Line {
    Header(Header),
    Accepted(Write),
    Applied(Applied),
    Shown,
    ProfileDeleted {
        profile_id: String,
    },
    StatusesSet {
        profile_id: String,
        statuses: Vec<String>,
    },
    EmailSet {
        profile_id: String,
        email: String,
    },
    StatusDeleted {
        handle: String,
    },
}

/// What the file's first line says about the tenant it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    version: u32,
    seed: u64,
    profiles: u32,
    statuses: Vec<String>,
    holders_percent: u8,
    duplicates_percent: f64,
}

impl Header {
    pub(super) fn of(options: &Options) -> Self {
        Self {
            version: 1,
            seed: options.seed,
            profiles: options.profiles,
            statuses: options.statuses.clone(),
            holders_percent: options.holders_percent,
            duplicates_percent: options.duplicates_percent,
        }
    }

    /// The first point in which a saved header and the one asked for differ.
    fn difference(&self, saved: &Self) -> Option<&'static str> {
        // Reading a fraction back from text may change its last bit, which is no other share.
        let duplicates = (self.duplicates_percent - saved.duplicates_percent).abs();
        [
            ("version", self.version != saved.version),
            ("seed", self.seed != saved.seed),
            ("profiles", self.profiles != saved.profiles),
            ("statuses", self.statuses != saved.statuses),
            ("holders_percent", self.holders_percent != saved.holders_percent),
            ("duplicates_percent", duplicates > 1e-9),
        ]
        .into_iter()
        .find_map(|(name, differs)| differs.then_some(name))
    }
}

/// The open files of a tenant.
#[derive(Debug, Default)]
pub(super) struct Books {
    state: Option<Arc<File>>,
    journal: Option<Arc<File>>,
    /// Set by the first failed append. After half a line nothing may follow, or the file could not be read again.
    broken: bool,
}

impl Books {
    /// Opens the files that the options name, and returns what the state file remembers, oldest first.
    pub(super) fn open(options: &Options) -> Result<(Self, Vec<Line>), SandboxError> {
        let mut books = Self::default();
        let mut remembered = Vec::new();
        // Both are looked at before anything is written.
        if let Some(OpenFile { path, file }) = &options.journal {
            read_lines::<Write>(path, file, JOURNAL_HEAD)?;
        }
        if let Some(OpenFile { path, file }) = &options.state {
            remembered = take_up_state(path, file, options)?;
            books.state = Some(Arc::clone(file));
        }
        if let Some(OpenFile { path, file }) = &options.journal {
            take_up_journal(path, file, &remembered)?;
            books.journal = Some(Arc::clone(file));
        }
        Ok((books, remembered))
    }

    /// Appends a line to the state file, if there is one.
    pub(super) fn note(&mut self, line: &Line) -> io::Result<()> {
        self.guarded(|books| match &books.state {
            Some(file) => append(file, line),
            None => Ok(()),
        })
    }

    /// Appends an accepted write to both files.
    pub(super) fn note_write(&mut self, write: &Write) -> io::Result<()> {
        if self.state.is_some() {
            self.note(&Line::Accepted(write.clone()))?;
        }
        self.guarded(|books| match &books.journal {
            Some(file) => append(file, write),
            None => Ok(()),
        })
    }

    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write to the file failed"));
        }
        work(self).inspect_err(|_| self.broken = true)
    }
}

/// Hands a whole line to the operating system at once, so that killing this process cannot lose or split it.
fn append(mut file: &File, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)
}

fn trouble(path: &Path, source: io::Error) -> SandboxError {
    SandboxError::File {
        path: path.to_owned(),
        source,
    }
}

/// Cuts a file after its whole lines and goes on writing there.
fn cut(path: &Path, mut file: &File, whole: u64) -> Result<(), SandboxError> {
    file.set_len(whole)
        .and_then(|()| file.seek(io::SeekFrom::Start(whole)))
        .map(|_| ())
        .map_err(|source| trouble(path, source))
}

/// Takes the journal up and adds the writes that only the state file has.
///
/// A server that was killed between its two files has taken a write that the journal does not know of.
fn take_up_journal(path: &Path, file: &File, remembered: &[Line]) -> Result<(), SandboxError> {
    let (written, whole) = read_lines::<Write>(path, file, JOURNAL_HEAD)?;
    cut(path, file, whole)?;
    let known: HashSet<&str> = written.iter().map(|write| write.batch_id.as_str()).collect();
    for line in remembered {
        if let Line::Accepted(write) = line
            && !known.contains(write.batch_id.as_str())
        {
            append(file, write).map_err(|source| trouble(path, source))?;
        }
    }
    Ok(())
}

fn take_up_state(path: &Path, file: &File, options: &Options) -> Result<Vec<Line>, SandboxError> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(SandboxError::StateInUse(path.to_owned())),
        Err(TryLockError::Error(source)) => return Err(trouble(path, source)),
    }
    let (mut lines, whole) = read_lines(path, file, STATE_HEAD)?;
    let wanted = Header::of(options);
    if lines.is_empty() {
        cut(path, file, 0)?;
        append(file, &Line::Header(wanted)).map_err(|source| trouble(path, source))?;
        return Ok(lines);
    }
    match lines.remove(0) {
        Line::Header(saved) => match wanted.difference(&saved) {
            None => cut(path, file, whole).map(|()| lines),
            Some(field) => Err(SandboxError::StateMismatch {
                path: path.to_owned(),
                field,
            }),
        },
        _ => Err(corrupt(path, 1)),
    }
}

fn corrupt(path: &Path, line: usize) -> SandboxError {
    SandboxError::StateCorrupt {
        path: path.to_owned(),
        line,
    }
}

/// Reads the whole lines of a file, and how many bytes they take.
///
/// A last line without its end was being written when the server died. Nobody was told of it, so it never happened. A
/// file that does not begin with `head`, as far as it goes, is none of the sandbox's.
fn read_lines<T: DeserializeOwned>(
    path: &Path,
    mut file: &File,
    head: &str,
) -> Result<(Vec<T>, u64), SandboxError> {
    let mut beginning = Vec::new();
    file.seek(io::SeekFrom::Start(0))
        .and_then(|_| file.take(head.len() as u64).read_to_end(&mut beginning))
        .and_then(|_| file.seek(io::SeekFrom::Start(0)))
        .map_err(|source| trouble(path, source))?;
    if !head.as_bytes().starts_with(&beginning) {
        return Err(SandboxError::Foreign(path.to_owned()));
    }
    let mut reader = BufReader::new(file);
    let (mut lines, mut whole) = (Vec::new(), 0);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let length = reader
            .read_until(b'\n', &mut bytes)
            .map_err(|source| trouble(path, source))?;
        if bytes.last() != Some(&b'\n') {
            return Ok((lines, whole));
        }
        let line = serde_json::from_slice(&bytes).map_err(|_| corrupt(path, lines.len() + 1))?;
        lines.push(line);
        whole += length as u64;
    }
}

/// Reads the writes in a journal file that another process may still be appending to.
pub fn read_journal(path: &Path) -> Result<Vec<Write>, SandboxError> {
    let file = File::open(path).map_err(|source| trouble(path, source))?;
    read_lines(path, &file, JOURNAL_HEAD).map(|(writes, _)| writes)
}

#[cfg(test)]
mod tests {
    use super::super::queue::Action;
    use super::*;
    use std::fs;
    use std::time::UNIX_EPOCH;

    fn opened(path: &Path) -> Option<OpenFile> {
        let mut choices = File::options();
        let file = choices
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path);
        Some(OpenFile::new(path, file.unwrap()))
    }

    fn options(path: &Path) -> Options {
        Options {
            profiles: 10,
            state: opened(path),
            ..Options::default()
        }
    }

    #[test]
    fn lines_come_back_in_order_and_a_torn_tail_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let lines = [
            Line::Shown,
            Line::StatusDeleted {
                handle: "vip".to_owned(),
            },
        ];
        let (mut books, remembered) = Books::open(&options(&path)).unwrap();
        assert!(remembered.is_empty());
        for line in &lines {
            books.note(line).unwrap();
        }
        drop(books);
        let whole = fs::read(&path).unwrap();
        let torn = [&whole[..], br#"{"line":"sta"#].concat();
        fs::write(&path, torn).unwrap();
        let (mut books, remembered) = Books::open(&options(&path)).unwrap();
        assert_eq!(remembered, lines);
        assert_eq!(fs::read(&path).unwrap(), whole);
        books.note(&Line::Shown).unwrap();
        drop(books);
        assert_eq!(Books::open(&options(&path)).unwrap().1.len(), 3);
    }

    #[test]
    fn a_torn_header_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        fs::write(&path, r#"{"line":"hea"#).unwrap();
        assert!(Books::open(&options(&path)).unwrap().1.is_empty());
        assert!(Books::open(&options(&path)).unwrap().1.is_empty());
    }

    #[test]
    fn a_file_of_somebody_else_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("list.csv");
        for text in [
            "ann@example.com",
            "email\nann@example.com\n",
            "{\"line\":\"shown\"}\n",
            "{}",
        ] {
            fs::write(&foreign, text).unwrap();
            let state = folder.path().join("state.jsonl");
            let journal = Options {
                journal: opened(&foreign),
                ..options(&state)
            };
            for options in [options(&foreign), journal] {
                let error = Books::open(&options).unwrap_err();
                assert!(matches!(error, SandboxError::Foreign(_)), "{error}");
            }
            assert_eq!(fs::read_to_string(&foreign).unwrap(), text);
            assert_eq!(fs::metadata(state).unwrap().len(), 0, "nothing was begun");
        }
    }

    #[test]
    fn another_tenants_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        drop(Books::open(&options(&path)).unwrap());
        let other = Options {
            seed: 9,
            ..options(&path)
        };
        let error = Books::open(&other).unwrap_err();
        assert!(error.to_string().contains("another seed"), "{error}");
    }

    #[test]
    fn damage_before_the_end_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        drop(Books::open(&options(&path)).unwrap());
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("oops\n{\"line\":\"shown\"}\n");
        fs::write(&path, text).unwrap();
        let error = Books::open(&options(&path)).unwrap_err();
        assert!(matches!(error, SandboxError::StateCorrupt { line: 2, .. }));
    }

    #[test]
    fn a_state_file_serves_one_tenant_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let first = Books::open(&options(&path)).unwrap();
        let error = Books::open(&options(&path)).unwrap_err();
        assert!(matches!(error, SandboxError::StateInUse(_)));
        drop(first);
        assert!(Books::open(&options(&path)).is_ok());
    }

    #[test]
    fn a_journal_that_fell_behind_catches_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.jsonl");
        let journal = folder.path().join("journal.jsonl");
        let options = Options {
            journal: opened(&journal),
            ..options(&path)
        };
        let write = |batch_id: &str| Write {
            batch_id: batch_id.to_owned(),
            action: Action::Attach,
            at: UNIX_EPOCH,
            members: vec![("someone".to_owned(), vec!["vip".to_owned()])],
        };
        let (mut books, _) = Books::open(&options).unwrap();
        books.note_write(&write("one")).unwrap();
        books.note(&Line::Accepted(write("two"))).unwrap();
        drop(books);
        let torn = [&fs::read(&journal).unwrap()[..], br#"{"batch_id":"tw"#].concat();
        fs::write(&journal, torn).unwrap();
        assert_eq!(read_journal(&journal).unwrap(), [write("one")]);
        drop(Books::open(&options).unwrap());
        drop(Books::open(&options).unwrap());
        let both = [write("one"), write("two")];
        assert_eq!(read_journal(&journal).unwrap(), both);
    }
}

//! The file by which a demo knows, the next time, what it made.
//!
//! It names each file of the demo with what was in it. Whatever else stands in the folder, or has been changed since,
//! belongs to a person, and then nothing there is removed.

use super::keep::{LEDGER_COMPANIONS, companion};
use super::leftovers::owner_of;
use super::make::{make_new, remove, remove_ledger, sync_folder};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const NAME: &str = "made-by-rollbook-demo.txt";
const FIRST_LINE: &str =
    "`rollbook demo` made this folder, and removes these files when it is run here again:";
const LIMIT_BYTES: u64 = 64 << 10;

/// The marker of a demo's folder.
#[derive(Debug)]
pub struct Marker {
    folder: PathBuf,
    /// Names and what they stand for.
    lines: Vec<(String, String)>,
}

impl Marker {
    /// The owner of files that a demo has not completed.
    pub const OWNER: &str = "demo";

    /// Marks a folder that is empty.
    pub fn make(folder: &Path) -> io::Result<Self> {
        let marker = Self {
            folder: folder.to_owned(),
            lines: Vec::new(),
        };
        marker.write(&make_new(&folder.join(NAME))?)?;
        Ok(marker)
    }

    /// Reads the marker of a folder, where it has one.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(NAME);
        if !std::fs::symlink_metadata(&path).is_ok_and(|there| there.is_file()) {
            return Ok(None);
        }
        let mut text = String::new();
        File::open(path)?.take(LIMIT_BYTES).read_to_string(&mut text)?;
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Ok(None);
        }
        let lines = lines.filter_map(|line| {
            let (what, name) = line.split_once(' ')?;
            Some((name.to_owned(), what.to_owned()))
        });
        Ok(Some(Self {
            folder: folder.to_owned(),
            lines: lines.collect(),
        }))
    }

    /// Notes a file of the demo, as it is now.
    pub fn note_file(&mut self, name: &str) -> io::Result<()> {
        let digest = digest(&self.folder.join(name))?;
        self.note(name, digest)
    }

    /// Notes the ledger of the demo, which goes on changing, by its id.
    pub fn note_ledger(&mut self, name: &str, id: &str) -> io::Result<()> {
        self.note(name, format!("ledger-{id}"))
    }

    fn note(&mut self, name: &str, what: String) -> io::Result<()> {
        self.lines.push((name.to_owned(), what));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(self.folder.join(NAME))?;
        file.seek(SeekFrom::Start(0))?;
        self.write(&file)
    }

    fn write(&self, mut file: &File) -> io::Result<()> {
        let lines = self.lines.iter().map(|(name, what)| format!("{what} {name}\n"));
        let text = format!("{FIRST_LINE}\n{}", lines.collect::<String>());
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sync_folder(&self.folder.join(NAME))
    }

    /// Names in the folder that the demo did not make, or that have been changed since. `id_of` tells the id of a
    /// ledger.
    pub fn foreign(&self, id_of: impl Fn(&Path) -> Option<String>) -> io::Result<Vec<OsString>> {
        let mut foreign = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
            let is_file = std::fs::symlink_metadata(&path)?.is_file();
            let is_ours = is_file
                && name.to_str().is_some_and(|name| {
                    name == NAME
                        || self.is_companion(name)
                        || self.is_partial(name)
                        || self.is_as_noted(name, &path, &id_of)
                });
            if !is_ours {
                foreign.push(name);
            }
        }
        foreign.sort();
        Ok(foreign)
    }

    fn is_as_noted(&self, name: &str, path: &Path, id_of: impl Fn(&Path) -> Option<String>) -> bool {
        let Some((_, what)) = self.lines.iter().find(|line| line.0 == name) else {
            return false;
        };
        match what.strip_prefix("ledger-") {
            Some(id) => id_of(path).as_deref() == Some(id),
            None => digest(path).is_ok_and(|digest| digest == *what),
        }
    }

    fn is_companion(&self, name: &str) -> bool {
        let ledgers = self.lines.iter().filter(|line| line.1.starts_with("ledger-"));
        ledgers
            .flat_map(|line| LEDGER_COMPANIONS.map(|ending| companion(Path::new(&line.0), ending)))
            .any(|companion| companion == Path::new(name))
    }

    /// Whether a demo that was killed has left a file half-written: its list, or an export of its ledger.
    fn is_partial(&self, name: &str) -> bool {
        owner_of(name.as_ref()).is_some_and(|owner| {
            let is_id = |what: &String| {
                let id = what.strip_prefix("ledger-");
                id.is_some_and(|id| !owner.is_empty() && id.starts_with(owner))
            };
            owner == Self::OWNER || self.lines.iter().any(|line| is_id(&line.1))
        })
    }

    /// Removes what the demo made, and the marker last: until then another try goes on from here. Only where nothing
    /// is foreign.
    pub fn clear(self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| self.is_partial(name))
            {
                remove(&entry.path())?;
            }
        }
        for (name, what) in &self.lines {
            let path = self.folder.join(name);
            if what.starts_with("ledger-") {
                remove_ledger(&path)?;
            } else {
                remove(&path)?;
            }
        }
        remove(&self.folder.join(NAME))
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => hash.update(&block[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_noted_and_is_as_it_was_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let id_of = |path: &Path| std::fs::read_to_string(path).ok();
        let foreign = || {
            let marker = Marker::read(folder.path()).unwrap().unwrap();
            marker.foreign(id_of).unwrap()
        };
        assert!(Marker::read(folder.path()).unwrap().is_none());
        let mut marker = Marker::make(folder.path()).unwrap();
        std::fs::write(at("list"), "email\n").unwrap();
        std::fs::write(at("a.db"), "an-id").unwrap();
        std::fs::write(at("a.db.lock"), "").unwrap();
        assert_eq!(foreign(), ["a.db", "a.db.lock", "list"]);
        marker.note_file("list").unwrap();
        marker.note_ledger("a.db", "an-id").unwrap();
        assert!(foreign().is_empty());
        std::fs::write(at("list"), "email\nann@example.com\n").unwrap();
        std::fs::write(at("a.db"), "another").unwrap();
        std::fs::write(at("notes"), "").unwrap();
        assert_eq!(foreign(), ["a.db", "list", "notes"]);
        std::fs::write(at("list"), "email\n").unwrap();
        std::fs::write(at("a.db"), "an-id").unwrap();
        std::fs::remove_file(at("notes")).unwrap();
        std::fs::write(at(".list.demo-7.partial"), "em").unwrap();
        std::fs::write(at(".audit.an-7.partial"), "em").unwrap();
        assert!(foreign().is_empty());
        Marker::read(folder.path()).unwrap().unwrap().clear().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

//! A disk in memory that can lose its power, or fail, at any operation.
//!
//! It keeps what a file system keeps apart: what programs see, and what would be there after a power cut. A file's
//! bytes become durable when the file is synced, its name when the folder is. Between two syncs a cut may keep
//! any part of what was written, torn at 512 bytes. A sync that fails loses what it should have made durable, and
//! the next one does not bring it back: that is what Linux does.
//!
//! What the ledger does through `std::fs` (making the empty file, the lock, writing a log again) goes to a real
//! folder; [`Disk::show_log`], [`Disk::follow`] and [`Disk::restart`] keep the two in step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::UNIX_EPOCH;
use tokio::sync::Notify;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// The name of the one ledger on each disk.
const LEDGER: &str = "ledger.db";

/// A kind of operation, as far as errors are aimed at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes are written, cut off, or a file is removed.
    Write,
    /// A file is made durable.
    Sync,
    /// A file is opened or made.
    Open,
}

/// What a disk says when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageError {
    /// No space is left.
    Full,
    /// The device fails.
    Broken,
    /// The file system has become read-only.
    ReadOnly,
}

/// An error to come.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// At which operations.
    pub kind: Kind,
    /// At the how manieth of them, counted from 1.
    pub at: u64,
    /// What it is.
    pub error: StorageError,
    /// Whether all that follow fail too.
    pub lasting: bool,
}

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no power, or nobody is left to ask.
    Dead,
    /// There is no such file.
    Missing,
    /// The disk says no.
    Error(StorageError),
}

/// How a process ended that was not asked, and what is left on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process alone: the system still has everything that was written.
    Process,
    /// The power: nothing is left but what was synced.
    Dropped,
    /// The power, after everything had reached the disk by itself.
    Kept,
    /// The power: each sector that was not synced is there or not, by this seed.
    Torn(u64),
}

/// See the module's documentation.
pub struct Disk {
    state: Mutex<State>,
    folder: Option<tempfile::TempDir>,
}

/// The files of a disk as they once were.
pub struct Backup {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
}

#[derive(Default)]
struct State {
    files: Vec<File>,
    /// Names as programs see them, and as they would be after a power cut: indexes into `files`.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// The memory that connections share about a file, by its name.
    shared: BTreeMap<String, Vec<Box<[u64]>>>,
    operations: u64,
    counts: [u64; 3],
    cut_at: Option<u64>,
    fault: Option<Fault>,
    faults_met: u64,
    dead: bool,
    mourner: Option<Arc<Notify>>,
}

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// What was done to `bytes` and not to `durable`.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, written) => {
                if bytes.len() < at + written.len() {
                    bytes.resize(at + written.len(), 0);
                }
                bytes[*at..at + written.len()].copy_from_slice(written);
            }
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }

    /// Does a part of it, as chance wants.
    fn apply_torn(&self, bytes: &mut Vec<u8>, chance: &mut fastrand::Rng) {
        if chance.bool() {
            return;
        }
        let Self::Write(at, written) = self else {
            return self.apply(bytes);
        };
        let whole = chance.bool();
        for (number, sector) in written.chunks(SECTOR_BYTES).enumerate() {
            if whole || chance.u8(..4) > 0 {
                Self::Write(at + number * SECTOR_BYTES, sector.to_vec()).apply(bytes);
            }
        }
    }
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.pending.push(change);
    }

    fn after(&self, crash: Crash, chance: &mut fastrand::Rng) -> Self {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            match crash {
                Crash::Process => unreachable!("the disk goes on as it is"),
                Crash::Dropped => {}
                Crash::Kept => change.apply(&mut bytes),
                Crash::Torn(_) => change.apply_torn(&mut bytes, chance),
            }
        }
        Self {
            durable: bytes.clone(),
            bytes,
            pending: Vec::new(),
        }
    }
}

/// Whether an operation is the one at which the power fails. What it changes may or may not be there afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Ordinary,
    Last,
}

impl Turn {
    fn end(self) -> Result<(), Failure> {
        match self {
            Self::Ordinary => Ok(()),
            Self::Last => Err(Failure::Dead),
        }
    }
}

impl State {
    fn begin(&mut self, kind: Kind, counted: bool) -> Result<Turn, Failure> {
        if self.dead {
            return Err(Failure::Dead);
        }
        self.counts[kind as usize] += 1;
        let nth = self.counts[kind as usize];
        if let Some(fault) = self.fault.filter(|fault| fault.kind == kind)
            && (nth == fault.at || (fault.lasting && nth > fault.at))
        {
            self.faults_met += 1;
            return Err(Failure::Error(fault.error));
        }
        if !counted {
            return Ok(Turn::Ordinary);
        }
        self.operations += 1;
        if self.cut_at != Some(self.operations) {
            return Ok(Turn::Ordinary);
        }
        self.dead = true;
        if let Some(mourner) = &self.mourner {
            mourner.notify_one();
        }
        Ok(Turn::Last)
    }

    fn remove(&mut self, name: &str) {
        self.names.remove(name);
        self.shared.remove(name);
    }
}

impl Disk {
    /// A disk in a folder of its own.
    pub fn new() -> Arc<Self> {
        let in_memory = std::path::Path::new("/dev/shm");
        let mut builder = tempfile::Builder::new();
        builder.prefix("rollbook-proof-");
        let folder = if in_memory.is_dir() {
            builder.tempdir_in(in_memory)
        } else {
            builder.tempdir()
        };
        let disk = Arc::new(Self {
            state: Mutex::default(),
            folder: Some(folder.unwrap()),
        });
        super::vfs::mount(&disk);
        disk
    }

    /// A disk for a file that has no name.
    pub fn scratch() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            folder: None,
        })
    }

    /// Where it is, as SQLite names it.
    pub fn folder(&self) -> Option<PathBuf> {
        self.folder
            .as_ref()
            .map(|folder| folder.path().canonicalize().unwrap())
    }

    /// Where its ledger is.
    pub fn ledger(&self) -> PathBuf {
        self.folder.as_ref().unwrap().path().join(LEDGER)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Operations that changed something, since the last restart.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Operations of a kind, since the last restart.
    pub fn count(&self, kind: Kind) -> u64 {
        self.state().counts[kind as usize]
    }

    /// How often it failed as it was told to, since the last restart.
    pub fn faults_met(&self) -> u64 {
        self.state().faults_met
    }

    /// Lets the power fail at an operation from now on, counted from 1 since the last restart.
    pub fn cut_at(&self, operation: Option<u64>) {
        self.state().cut_at = operation;
    }

    /// Lets it fail from now on.
    pub fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Tells somebody when the power fails.
    pub fn tell(&self, mourner: Arc<Notify>) {
        self.state().mourner = Some(mourner);
    }

    /// Whether the power has failed.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Lets nobody do anything any more: what follows is only the tidying up that a killed process never does.
    pub fn freeze(&self) {
        self.state().dead = true;
    }

    /// Begins anew after a crash.
    pub fn restart(&self, crash: Crash) {
        let mut guard = self.state();
        let state = &mut *guard;
        if crash != Crash::Process {
            let mut chance = fastrand::Rng::with_seed(match crash {
                Crash::Torn(seed) => seed,
                _ => 0,
            });
            let every: Vec<String> = state
                .names
                .keys()
                .chain(state.durable_names.keys())
                .cloned()
                .collect();
            let mut left = BTreeMap::new();
            for name in every {
                let (seen, durable) = (state.names.get(&name), state.durable_names.get(&name));
                let there = match crash {
                    Crash::Dropped => durable,
                    Crash::Torn(_) if chance.bool() => durable,
                    _ => seen,
                };
                if let Some(file) = there {
                    left.insert(name, *file);
                }
            }
            state.files = state
                .files
                .iter()
                .map(|file| file.after(crash, &mut chance))
                .collect();
            state.names = left.clone();
            state.durable_names = left;
        }
        state.shared.clear();
        (state.operations, state.counts, state.faults_met) = (0, [0; 3], 0);
        (state.cut_at, state.fault, state.mourner) = (None, None, None);
        state.dead = false;
        self.show_ledger(guard);
    }

    /// Copies everything. For a disk that was just restarted.
    pub fn back_up(&self) -> Backup {
        let state = self.state();
        Backup {
            files: state.files.clone(),
            names: state.names.clone(),
        }
    }

    /// Puts everything back as it was.
    pub fn put_back(&self, backup: Backup) {
        let mut state = self.state();
        state.files = backup.files;
        (state.durable_names, state.names) = (backup.names.clone(), backup.names);
        for file in &mut state.files {
            file.durable = file.bytes.clone();
            file.pending.clear();
        }
        state.shared.clear();
        self.show_ledger(state);
    }

    /// Lets `std::fs` see whether there is a ledger.
    fn show_ledger(&self, state: MutexGuard<'_, State>) {
        let there = state.names.contains_key(&self.name_of_ledger());
        drop(state);
        if there {
            let opened = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(self.ledger());
            opened.unwrap();
        } else {
            let _ = std::fs::remove_file(self.ledger());
        }
    }

    /// Whether what the ledger's file says of itself is that it has a log ahead.
    pub fn logs_ahead(&self) -> bool {
        let state = self.state();
        let file = state.names.get(&self.name_of_ledger());
        file.is_some_and(|file| state.files[*file].bytes.get(18..20) == Some(&[2, 2]))
    }

    /// Shows a process that is about to begin the log that another one left behind.
    pub fn show_log(&self) {
        let name = self.name_of_ledger() + "-wal";
        let state = self.state();
        if let Some(file) = state.names.get(&name) {
            std::fs::write(&name, &state.files[*file].bytes).unwrap();
            let shown = std::fs::OpenOptions::new().write(true).open(&name).unwrap();
            shown.set_modified(UNIX_EPOCH).unwrap();
        }
    }

    /// Takes the log back before SQLite opens its database. One that was written again is durable.
    fn take_log_back(&self, state: &mut State, name: &str) {
        let name = format!("{name}-wal");
        let Ok(shown) = std::fs::metadata(&name) else {
            return;
        };
        if shown.modified().unwrap() != UNIX_EPOCH {
            let log = &mut state.files[state.names[&name]];
            assert!(std::fs::read(&name).unwrap() == log.bytes, "the log was changed");
            log.durable = log.bytes.clone();
            log.pending.clear();
        }
        std::fs::remove_file(&name).unwrap();
    }

    /// Takes over what a process removed through `std::fs`.
    pub fn follow(&self) {
        if !self.ledger().exists() {
            let name = self.name_of_ledger();
            let mut state = self.state();
            for ending in ["", "-wal", "-journal"] {
                state.remove(&format!("{name}{ending}"));
            }
            // Whoever removed the ledger has synced its folder before it removed anything else.
            state.durable_names.remove(&name);
            // Nor does the lock's file go before the folder was synced again.
            if !std::path::Path::new(&format!("{name}.lock")).exists() {
                for ending in ["-wal", "-journal"] {
                    state.durable_names.remove(&format!("{name}{ending}"));
                }
            }
        }
    }

    fn name_of_ledger(&self) -> String {
        let path = self.folder().unwrap().join(LEDGER);
        path.to_str().unwrap().to_owned()
    }
}

/// The operations, as the shim asks for them.
impl Disk {
    /// Opens a file; the answer is its number.
    pub fn open(&self, name: &str, create: bool) -> Result<usize, Failure> {
        let made_elsewhere = || self.folder.is_some() && std::path::Path::new(name).exists();
        let mut state = self.state();
        if name.ends_with(LEDGER) {
            self.take_log_back(&mut state, name);
        }
        if let Some(file) = state.names.get(name).copied() {
            return state.begin(Kind::Open, false).map(|_| file);
        }
        let by_std = !create && made_elsewhere();
        if !create && !by_std {
            return Err(if state.dead {
                Failure::Dead
            } else {
                Failure::Missing
            });
        }
        let turn = state.begin(Kind::Open, !by_std)?;
        state.files.push(File::default());
        let file = state.files.len() - 1;
        state.names.insert(name.to_owned(), file);
        turn.end().map(|()| file)
    }

    /// Reads as many bytes as there are; the answer is their number.
    pub fn read(&self, file: usize, at: usize, into: &mut [u8]) -> Result<usize, Failure> {
        let state = self.state();
        if state.dead {
            return Err(Failure::Dead);
        }
        let bytes = state.files[file].bytes.get(at..).unwrap_or_default();
        let read = bytes.len().min(into.len());
        into[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    /// Writes; where the disk is full, as much as fits.
    pub fn write(&self, file: usize, at: usize, bytes: &[u8]) -> Result<(), Failure> {
        let mut state = self.state();
        let turn = state.begin(Kind::Write, true);
        if turn == Err(Failure::Error(StorageError::Full)) {
            let fits = bytes[..bytes.len() / 2].to_vec();
            state.files[file].change(Change::Write(at, fits));
        }
        let turn = turn?;
        state.files[file].change(Change::Write(at, bytes.to_vec()));
        turn.end()
    }

    /// Cuts a file off.
    pub fn truncate(&self, file: usize, length: usize) -> Result<(), Failure> {
        let mut state = self.state();
        let turn = state.begin(Kind::Write, true)?;
        state.files[file].change(Change::Truncate(length));
        turn.end()
    }

    /// Makes a file durable, and the folder's names with it where asked to.
    pub fn sync(&self, file: usize, folder_too: bool) -> Result<(), Failure> {
        let mut state = self.state();
        let turn = state.begin(Kind::Sync, true);
        if let Err(Failure::Error(_)) = turn {
            state.files[file].pending.clear();
        }
        turn?.end()?;
        let synced = &mut state.files[file];
        for change in std::mem::take(&mut synced.pending) {
            change.apply(&mut synced.durable);
        }
        if folder_too {
            state.durable_names = state.names.clone();
        }
        Ok(())
    }

    /// How long a file is.
    pub fn size(&self, file: usize) -> usize {
        self.state().files[file].bytes.len()
    }

    /// Whether there is such a file, with something in it: SQLite's own VFS overlooks empty ones too.
    pub fn holds(&self, name: &str) -> bool {
        let state = self.state();
        let file = state.names.get(name);
        file.is_some_and(|file| !state.files[*file].bytes.is_empty())
    }

    /// Removes a file.
    pub fn remove(&self, name: &str, folder_too: bool) -> Result<(), Failure> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return Err(if state.dead {
                Failure::Dead
            } else {
                Failure::Missing
            });
        }
        let turn = state.begin(Kind::Write, true)?;
        state.remove(name);
        turn.end()?;
        if folder_too {
            state.durable_names = state.names.clone();
        }
        Ok(())
    }

    /// A region of the memory that connections to a file share. It stays where it is until the last lets go of it.
    pub fn shared(&self, name: &str, region: usize, bytes: usize, extend: bool) -> Option<*mut u64> {
        let mut state = self.state();
        let regions = state.shared.entry(name.to_owned()).or_default();
        while extend && regions.len() <= region {
            regions.push(vec![0; bytes.div_ceil(8)].into());
        }
        regions.get_mut(region).map(|region| region.as_mut_ptr())
    }

    /// Lets go of the shared memory of a file.
    pub fn unshare(&self, name: &str) {
        self.state().shared.remove(name);
    }
}

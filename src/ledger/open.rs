//! Opening a ledger: for writing under the lock, or for reading beside a run.
//!
//! The file is made with mode 0600 before SQLite sees it, and a symbolic link is refused, so that emails
//! never stand in a file that others can read. SQLite gives the WAL the same mode.

use super::error::LedgerError;
use super::lock::Lock;
use super::memory::{Found, Memory};
use super::migrate::{self, MIGRATIONS};
use super::place::Place;
use super::{busy, safety, wal};
use crate::files;
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Releases before this one could corrupt a WAL that several connections share.
const SQLITE_AT_LEAST: i32 = 3_051_003;

/// Earlier ledgers did not say where they were used.
const KNOWS_PLACES: i64 = 2;

/// 8 kB pages load and export faster than SQLite's 4 kB, and still fit what a commit writes.
const PAGE_SIZE_BYTES: i64 = 8_192;

/// Pages that the writing connection keeps in memory, and again as much while it sorts an index.
pub(super) const WRITER_CACHE_KIB: i64 = 64 * 1_024;

/// Pages that a reading connection keeps: it walks from one end to the other and comes back to little.
const READER_CACHE_KIB: i64 = 4 * 1_024;

/// A ledger that this process may write to.
pub struct Ledger {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) epoch: i64,
    pub(super) lock: Lock,
    pub(super) memory: Memory,
    /// What the next run was given, as a JSON object.
    pub(super) options: Option<String>,
    created: bool,
}

impl Ledger {
    /// Opens an existing ledger for writing, or says that there is none.
    pub fn open(path: &Path, verb: &str) -> Result<Option<Self>, LedgerError> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::from_make(path, &error)),
            Ok(about) => {
                safety::check_file(path, &about)?;
                safety::make_private(path);
            }
        }
        safety::check_folder(path)?;
        let mut lock = Lock::take(path, verb)?;
        lock.hold(path)?;
        wal::make_durable(path)?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        if is_blank(&connection)? {
            // Whoever made the file died before the first migration was committed: it holds nothing.
            furnish(path, &mut connection)?;
            return Self::take_over(path, lock, connection, true).map(Some);
        }
        let version = migrate::version(&connection, path)?;
        configure(&connection)?;
        migrate::migrate(&mut connection, version, MIGRATIONS)?;
        if version < KNOWS_PLACES {
            // Nobody can say whether it is a copy, and what is not known differs from nothing.
            Place::of(path)?.save(&connection)?;
        }
        Self::take_over(path, lock, connection, false).map(Some)
    }

    /// Makes a new ledger; fails where something stands in its place.
    pub fn create(path: &Path, verb: &str) -> Result<Self, LedgerError> {
        safety::check_folder(path)?;
        let mut lock = Lock::take(path, verb)?;
        files::make_new(path).map_err(|error| match error.kind() {
            // Somebody made it since this process looked.
            std::io::ErrorKind::AlreadyExists => LedgerError::Locked {
                path: path.to_owned(),
                holder: "another process, which has just made it".into(),
            },
            _ => LedgerError::from_make(path, &error),
        })?;
        lock.hold(path)?;
        let made = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).and_then(|mut connection| {
            furnish(path, &mut connection)?;
            Ok(connection)
        });
        match made {
            Ok(connection) => Self::take_over(path, lock, connection, true),
            Err(error) => {
                // What could not be furnished holds nothing, and would only be in the way. The lock is still
                // ours, so it is not somebody else's ledger by now.
                if lock.note_removal().is_ok() {
                    let _ = files::remove_ledger(path);
                }
                Err(error)
            }
        }
    }

    fn take_over(
        path: &Path,
        mut lock: Lock,
        connection: Connection,
        created: bool,
    ) -> Result<Self, LedgerError> {
        let (id, found) = Found::read(&connection)?;
        // Where the lock's file knows of more than the ledger does, this is an older state, put back, or one that has
        // lost its log.
        let last = lock.remembers(&id);
        let (epoch, attempt) = last.as_ref().map_or((0, 0), |last| (last.epoch, last.attempt));
        connection.execute(
            "UPDATE meta SET epoch = max(epoch, ?1) + 1, remembered = 1,
                 went_back = CASE WHEN went_back <> 0 THEN went_back ELSE ?1 > ?2 OR ?3 > ?4 END",
            [epoch, found.epoch, attempt, found.attempt],
        )?;
        lock.note_log();
        let epoch = connection.query_row("SELECT epoch FROM meta", [], |row| row.get(0))?;
        lock.remember(&id, epoch, attempt.max(found.attempt));
        Ok(Self {
            connection,
            path: path.to_owned(),
            epoch,
            memory: Memory::new(id, found, last.is_some()),
            lock,
            options: None,
            created,
        })
    }

    /// Gives the ledger up, and removes its file where this process made it and nothing was kept in it.
    pub fn abandon(self) {
        if !self.created {
            return;
        }
        let Self {
            connection,
            path,
            memory,
            mut lock,
            ..
        } = self;
        let kept = connection.query_row(
            "SELECT (SELECT count(*) FROM list) + (SELECT count(*) FROM job)",
            [],
            |row| row.get::<_, i64>(0),
        );
        drop(connection);
        if kept == Ok(0) && lock.note_removal().is_ok() {
            // An empty ledger that stays behind would be a nuisance and no loss.
            let _ = files::remove_ledger(&path);
            memory.forget();
        }
    }
}

/// Makes an empty file a ledger, and sees to it that it stays one.
fn furnish(path: &Path, connection: &mut Connection) -> Result<(), LedgerError> {
    // Somebody may have made the empty file with other rights than ours.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(|error| LedgerError::from_make(path, &error))?;
    connection.pragma_update(None, "page_size", PAGE_SIZE_BYTES)?;
    configure(connection)?;
    migrate::migrate(connection, 0, MIGRATIONS)?;
    // From here on the file and its name must survive a power cut: everything later builds on them.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    sync_with_folder(path)
}

/// Opens a ledger for reading; a run may be going on beside it.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, LedgerError> {
    let (connection, version) = open_any_version(path)?;
    if version < migrate::latest() {
        return Err(LedgerError::Sqlite(format!(
            "ledger version {version} is older than this rollbook; any command that writes brings it up to date"
        )));
    }
    Ok(connection)
}

/// Opens a ledger for reading, also one of an older version; says which it is.
pub(super) fn open_any_version(path: &Path) -> Result<(Connection, i64), LedgerError> {
    let about = std::fs::symlink_metadata(path).map_err(|error| LedgerError::from_open(path, &error))?;
    safety::check_file(path, &about)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| {
        if safety::was_begun_from_nothing(path) {
            LedgerError::Missing(path.to_owned())
        } else {
            error
        }
    })?;
    if is_blank(&connection)? {
        return Err(LedgerError::Missing(path.to_owned()));
    }
    let version = migrate::version(&connection, path)?;
    Ok((connection, version))
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, LedgerError> {
    assert!(
        rusqlite::version_number() >= SQLITE_AT_LEAST,
        "BUG: built with SQLite {}, which can corrupt a shared WAL",
        rusqlite::version()
    );
    let flags = mode | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // The folder may legitimately lie behind a link (/tmp often does); only the last step may not.
    let folder = safety::folder_of(path);
    let folder = folder
        .canonicalize()
        .map_err(|error| LedgerError::from_make(folder, &error))?;
    let name = path
        .file_name()
        .ok_or_else(|| LedgerError::NotALedger(path.to_owned()))?;
    let mut connection = Connection::open_with_flags(folder.join(name), flags)?;
    connection.busy_handler(Some(busy::handler(path)))?;
    // The first look into the file: one that is something else says so here.
    let foreign = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => LedgerError::NotALedger(path.to_owned()),
        _ => error.into(),
    };
    connection
        .pragma_update(None, "trusted_schema", false)
        .map_err(foreign)?;
    let reads_only = mode.contains(OpenFlags::SQLITE_OPEN_READ_ONLY);
    let cache_kib = if reads_only {
        READER_CACHE_KIB
    } else {
        WRITER_CACHE_KIB
    };
    connection
        .pragma_update(None, "cache_size", -cache_kib)
        .map_err(foreign)?;
    Ok(connection)
}

/// `synchronous=FULL` is what "flushed before it is acknowledged" means; with NORMAL a power cut takes
/// acknowledged commits back, and with them the knowledge that a batch has left.
fn configure(connection: &Connection) -> Result<(), LedgerError> {
    log_ahead(connection)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// Without a log ahead nobody reads beside a run, and a power cut brings a removed journal back, which takes an
/// acknowledged commit away.
///
/// The statement gives its row *before* it commits: only its end says whether the file has changed.
fn log_ahead(connection: &Connection) -> Result<(), LedgerError> {
    let mut change = connection.prepare("PRAGMA journal_mode = wal")?;
    let modes: Result<Vec<String>, _> = change.query_map([], |row| row.get(0))?.collect();
    match modes?.as_slice() {
        [mode] if mode == "wal" => Ok(()),
        modes => Err(LedgerError::Disk(format!(
            "it cannot have a log there: {modes:?}"
        ))),
    }
}

fn is_blank(connection: &Connection) -> Result<bool, LedgerError> {
    match connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
        row.get::<_, i64>(0)
    }) {
        Ok(objects) => {
            let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            Ok(objects == 0 && id == 0 && pages <= 1)
        }
        // Whatever it is, it is not blank; the version check finds the words.
        Err(_) => Ok(false),
    }
}

fn sync_with_folder(path: &Path) -> Result<(), LedgerError> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(path)
        .and_then(|()| sync(safety::folder_of(path)))
        .map_err(|error| LedgerError::from_make(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_new_ledger_is_private_and_syncs_fully() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let ledger = Ledger::create(&path, "load").unwrap();
        ledger
            .connection
            .execute_batch("UPDATE meta SET epoch = epoch")
            .unwrap();
        for name in ["a.db", "a.db-wal", "a.db-shm", "a.db.lock"] {
            let mode = std::fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let pragma = |name: &str| {
            ledger
                .connection
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
                .unwrap()
        };
        assert_eq!(pragma("synchronous"), rusqlite::types::Value::Integer(2));
        assert_eq!(pragma("journal_mode"), rusqlite::types::Value::Text("wal".into()));
        assert_eq!(
            pragma("page_size"),
            rusqlite::types::Value::Integer(PAGE_SIZE_BYTES)
        );
    }

    #[test]
    fn links_folders_and_foreign_files_are_refused_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real.db");
        drop(Ledger::create(&real, "load").unwrap());
        let link = folder.path().join("link.db");
        symlink(&real, &link).unwrap();
        let refusal = |path: &Path| Ledger::open(path, "load").map(|_| ()).unwrap_err().to_string();
        assert!(refusal(&link).contains("symbolic link"));
        assert!(refusal(folder.path()).contains("is a folder"));
        let text = folder.path().join("text.db");
        std::fs::write(&text, "ann@example.com\n".repeat(600)).unwrap();
        assert!(refusal(&text).contains("not a rollbook ledger"));
        assert_eq!(
            std::fs::read_to_string(&text).unwrap(),
            "ann@example.com\n".repeat(600)
        );
        assert!(
            Ledger::open(&folder.path().join("none.db"), "load")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_newer_ledger_is_refused_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let ledger = Ledger::create(&path, "load").unwrap();
        ledger.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(ledger);
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(
            Ledger::open(&path, "load"),
            Err(LedgerError::Newer { found: 99, .. })
        ));
        assert!(matches!(
            open_for_reading(&path),
            Err(LedgerError::Newer { found: 99, .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_file_without_a_log_is_no_ledger_to_work_with() {
        let in_memory = Connection::open_in_memory().unwrap();
        let refusal = configure(&in_memory).unwrap_err();
        assert!(matches!(refusal, LedgerError::Disk(_)), "{refusal}");
    }

    #[test]
    fn a_ledger_whose_making_was_cut_off_is_none_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        // What a crash leaves between the writing of the first page and the removal of the journal.
        let mut first_page = b"SQLite format 3\0".to_vec();
        first_page.resize(PAGE_SIZE_BYTES as usize, 0);
        std::fs::write(&path, first_page).unwrap();
        let journal = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
        std::fs::write(files::companion(&path, "-journal"), journal).unwrap();
        let refusal = open_for_reading(&path).map(drop).unwrap_err();
        assert!(matches!(refusal, LedgerError::Missing(_)), "{refusal}");
    }

    #[test]
    fn a_file_that_was_only_just_made_is_furnished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        File::create(&path).unwrap();
        let ledger = Ledger::open(&path, "load").unwrap().unwrap();
        assert_eq!(ledger.epoch, 1);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

//! Taking lists in: one transaction from the first row to the last, or nothing.
//!
//! A kill at any point leaves the ledger as it was, so a load is repeated, never repaired. Rows are written in
//! gatherings (`intake.rs`). Into an empty ledger they are appended without their indexes, which are built at the
//! end, and a set in memory tells new emails from repeats: 2 to 3 times faster than keeping a unique index up,
//! because an index over emails is hit at random. Into a ledger that has entries already, the unique index decides,
//! until more has come than there was: then the rest is appended, too.
//!
//! What is deliberately absent: removing entries. A corrected list adds what it has that is new.

use super::error::LedgerError;
use super::intake::Rows;
use super::open::{Ledger, WRITER_CACHE_KIB};
use super::place::Place;
use super::seen::SeenEmails;
use super::time::now_ms;
use super::write::{Tally, save_tally};
use crate::model::email::Email;
use crate::model::entry::EntryState;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;

const INDEXES: &str = "CREATE UNIQUE INDEX entry_email ON entry (email);
    CREATE INDEX entry_pending ON entry (id) WHERE state = 0;";
const NO_INDEXES: &str = "DROP INDEX entry_email; DROP INDEX entry_pending;";

/// Pages that a load keeps in memory: it goes from one end to the other, and comes back to little.
const LOAD_CACHE_KIB: i64 = 24 * 1_024;

/// What SQLite sorts at once while it builds an index: as much as stays in the processor's cache. With 64 MB it
/// takes twice as long.
const SORTER_CACHE_KIB: i64 = 2 * 1_024;

/// How a list came out. `rows = entries + repeats + rejects`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListCounts {
    /// Rows read; blank lines and the header are none.
    pub rows: u64,
    /// Rows that were the first to name their email.
    pub entries: u64,
    /// Rows whose email was known already.
    pub repeats: u64,
    /// Rows that hold no usable email.
    pub rejects: u64,
}

/// What became of a list that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is in.
    New(ListCounts),
    /// The same content was loaded before, under this name: nothing was changed.
    Known(String),
}

/// What a list is known by: its content, and how that was read. The same file read otherwise is another reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListIdentity {
    /// SHA-256 of its decompressed bytes.
    pub digest: [u8; 32],
    /// The column that was read, counted from 1.
    pub column: usize,
    /// Whether the first row was taken for a header.
    pub header: bool,
    /// What separates the cells, where anything does.
    pub delimiter: Option<char>,
    /// The sheet of a workbook, or the path of the key in JSON.
    pub part: String,
}

impl ListIdentity {
    /// The delimiter as the ledger keeps it.
    fn separator(&self) -> String {
        self.delimiter.map(String::from).unwrap_or_default()
    }
}

/// An open load. Dropped without [`Loading::commit`], it leaves the ledger as it was.
pub struct Loading<'l> {
    pub(super) connection: &'l Connection,
    path: &'l Path,
    known: Known,
    /// Entries that the ledger had when the load began.
    before: i64,
    next_entry: i64,
    open: Option<OpenList>,
    rows: Rows,
    added: u64,
    /// The lists that this load was asked for, those that turned out to be known included.
    named: Vec<i64>,
    finished: bool,
}

struct OpenList {
    id: i64,
    name: String,
    path: Option<String>,
    layout: String,
    counts: ListCounts,
}

/// How a repeat is recognised.
enum Known {
    /// By the set, while no unique index stands.
    Set(SeenEmails),
    /// By the unique index.
    Index,
}

impl Ledger {
    /// Begins a load.
    pub fn begin_load(&mut self) -> Result<Loading<'_>, LedgerError> {
        let connection = &self.connection;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        connection.pragma_update(None, "cache_size", -LOAD_CACHE_KIB)?;
        let last = "SELECT coalesce(max(id), 0) FROM entry";
        let before = connection.query_row(last, [], |row| row.get(0))?;
        let mut loading = Loading {
            connection,
            path: &self.path,
            known: Known::Index,
            before,
            next_entry: before + 1,
            open: None,
            rows: Rows::to_merge(),
            added: 0,
            named: Vec::new(),
            finished: false,
        };
        if before == 0 {
            loading.leave_index()?;
        }
        Ok(loading)
    }
}

impl Loading<'_> {
    /// Whether any list is in already, so that one that comes may be one of them.
    pub fn worth_hashing(&self) -> Result<bool, LedgerError> {
        let some = "SELECT EXISTS (SELECT 1 FROM list)";
        Ok(self.connection.query_row(some, [], |row| row.get(0))?)
    }

    /// The name under which this very list was loaded before.
    pub fn loaded_as(&mut self, identity: &ListIdentity) -> Result<Option<String>, LedgerError> {
        let known = loaded_as(self.connection, identity)?;
        self.named.extend(known.iter().map(|(list, _)| *list));
        Ok(known.map(|(_, name)| name))
    }

    /// The lists that this load was asked for, those that turned out to be known included.
    pub fn named(&self) -> &[i64] {
        &self.named
    }

    /// Opens the next list; `layout` is for people.
    pub fn begin_list(&mut self, name: &str, layout: &str) -> Result<(), LedgerError> {
        self.begin_list_at(name, None, layout)
    }

    /// Opens the next list, with the path of its file; `layout` is for people.
    pub fn begin_list_at(&mut self, name: &str, path: Option<&str>, layout: &str) -> Result<(), LedgerError> {
        assert!(self.open.is_none(), "BUG: a list was begun inside another");
        let id = self
            .connection
            .query_row("SELECT coalesce(max(id), 0) + 1 FROM list", [], |row| row.get(0))?;
        self.open = Some(OpenList {
            id,
            name: name.to_owned(),
            path: path.map(str::to_owned),
            layout: layout.to_owned(),
            counts: ListCounts::default(),
        });
        Ok(())
    }

    /// Takes a row in: a new entry, or a repeat of one.
    ///
    /// `email` is trimmed and case-folded; `written` is what the list said.
    pub fn email(&mut self, line: u64, email: &str, written: &str) -> Result<(), LedgerError> {
        let list = self.open.as_mut().expect("BUG: a row outside of a list");
        list.counts.rows += 1;
        self.rows.push(line, email, written);
        if self.rows.is_full() {
            self.write_rows()?;
            if matches!(self.known, Known::Index) && self.next_entry - 1 > self.before * 2 {
                self.leave_index()?;
            }
        }
        Ok(())
    }

    /// Gathers so many rows at once, whichever way they are written.
    #[cfg(test)]
    pub(super) fn gather(&mut self, rows: usize) {
        self.rows = Rows::up_to(rows);
    }

    /// Writes down what was gathered.
    fn write_rows(&mut self) -> Result<(), LedgerError> {
        let list = self.open.as_mut().expect("BUG: rows outside of a list");
        let (list_id, next) = (list.id, self.next_entry);
        let written = match &mut self.known {
            Known::Set(seen) => self.rows.append(self.connection, list_id, next, seen)?,
            Known::Index => self.rows.merge(self.connection, list_id, next)?,
        };
        list.counts.entries += written.entries;
        list.counts.repeats += written.repeats;
        self.next_entry += written.entries as i64;
        Ok(())
    }

    /// Goes on without the indexes, which [`Loading::commit`] builds again.
    fn leave_index(&mut self) -> Result<(), LedgerError> {
        let seen = SeenEmails::of(self.connection)?;
        self.connection.execute_batch(NO_INDEXES)?;
        self.known = Known::Set(seen);
        self.rows = Rows::to_append();
        Ok(())
    }

    /// Keeps a row that holds no usable email.
    pub fn reject(
        &mut self,
        line: u64,
        reason: &str,
        detail: &str,
        excerpt: &str,
    ) -> Result<(), LedgerError> {
        let list = self.open.as_mut().expect("BUG: a row outside of a list");
        list.counts.rows += 1;
        list.counts.rejects += 1;
        self.connection
            .prepare_cached(
                "INSERT INTO reject (list, line, reason, detail, excerpt) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![list.id, line as i64, reason, detail, excerpt])?;
        Ok(())
    }

    /// Closes the list. One that turns out to be known leaves nothing behind.
    pub fn end_list(&mut self, identity: &ListIdentity) -> Result<Loaded, LedgerError> {
        self.write_rows()?;
        let list = self
            .open
            .take()
            .expect("BUG: a list was ended before it was begun");
        let counts = list.counts;
        if let Some((known, name)) = loaded_as(self.connection, identity)? {
            if counts.entries > 0 {
                return Err(LedgerError::ReadByOlder(name));
            }
            self.named.push(known);
            self.take_back(list.id)?;
            return Ok(Loaded::Known(name));
        }
        assert_eq!(
            counts.rows,
            counts.entries + counts.repeats + counts.rejects,
            "BUG: a row of the list is not accounted for"
        );
        self.connection.execute(
            "INSERT INTO list (id, name, path, layout, column_no, header, delimiter, part, digest, rows, entries,
                 repeats, rejects, loaded_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            params![
                list.id,
                list.name,
                list.path,
                list.layout,
                identity.column as i64,
                identity.header,
                identity.separator(),
                identity.part,
                &identity.digest[..],
                counts.rows as i64,
                counts.entries as i64,
                counts.repeats as i64,
                counts.rejects as i64,
                now_ms(),
            ],
        )?;
        self.added += counts.entries;
        self.named.push(list.id);
        Ok(Loaded::New(counts))
    }

    /// Undoes what a list without new entries has left. A savepoint would do it too, at the price of a copy of each
    /// page that any list touches.
    fn take_back(&self, list: i64) -> Result<(), LedgerError> {
        let statements = [
            "UPDATE entry SET occurrences = occurrences - repeats FROM
                 (SELECT entry, count(*) AS repeats FROM repeated WHERE list = ?1 GROUP BY entry) AS known
                 WHERE entry.id = known.entry",
            "DELETE FROM repeated WHERE list = ?1",
            "DELETE FROM reject WHERE list = ?1",
        ];
        for statement in statements {
            self.connection.execute(statement, [list])?;
        }
        Ok(())
    }

    /// Entries in the ledger that have not been looked up, those of this load included.
    pub fn pending(&self) -> Result<u64, LedgerError> {
        Ok(self.added + super::read::tally(self.connection)?.in_state(EntryState::Pending))
    }

    /// So many entries that have not been looked up, each chosen at random; fewer where the dice fall twice on one.
    pub fn sample(&self, size: usize) -> Result<Vec<Email>, LedgerError> {
        super::read::sample(self.connection, size)
    }

    /// Entries in the ledger, those of this load included.
    pub fn entries(&self) -> u64 {
        (self.next_entry - 1) as u64
    }

    /// Pins the job, where it is not pinned yet, and notes up to how many entries somebody said yes to.
    ///
    /// Where the ledger is, is written in the same transaction: one that has a job and no place is a copy.
    pub fn pin(&mut self, job: &crate::model::ids::Job, confirmed: bool) -> Result<(), LedgerError> {
        let confirmed_entries = if confirmed { self.next_entry - 1 } else { 0 };
        if super::read::job(self.connection)?.is_none() {
            Place::of(self.path)?.save(self.connection)?;
        }
        super::write::pin(self.connection, job, confirmed_entries)
    }

    fn build_indexes(&self) -> Result<(), LedgerError> {
        let set = |pragma, value| self.connection.pragma_update(None, pragma, value);
        set("cache_size", -SORTER_CACHE_KIB)?;
        // A second thread sorts one part while the next is gathered.
        set("threads", 1)?;
        Ok(self.connection.execute_batch(INDEXES)?)
    }

    /// Makes the rows of this load entries like all others: found by the indexes, and counted.
    pub(super) fn file_rows(&mut self) -> Result<&Connection, LedgerError> {
        assert!(self.open.is_none(), "BUG: a load was filed inside a list");
        if matches!(self.known, Known::Set(_)) {
            self.build_indexes()?;
            self.known = Known::Index;
        }
        let mut tally = Tally::default();
        tally.add(EntryState::Pending, "", std::mem::take(&mut self.added) as i64);
        save_tally(self.connection, &tally)?;
        Ok(self.connection)
    }

    /// Builds what indexes are missing and makes everything durable.
    pub fn commit(mut self) -> Result<(), LedgerError> {
        self.file_rows()?.execute_batch("COMMIT")?;
        self.connection
            .pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // SQLite has rolled back by itself where the disk failed; a second try changes nothing.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

/// The number and the name of the list that was read in this very way before.
pub(super) fn loaded_as(
    connection: &Connection,
    identity: &ListIdentity,
) -> Result<Option<(i64, String)>, LedgerError> {
    let known = connection
        .query_row(
            "SELECT id, name FROM list
             WHERE digest = ?1 AND column_no = ?2 AND header = ?3 AND delimiter = ?4 AND part = ?5",
            params![
                &identity.digest[..],
                identity.column as i64,
                identity.header,
                identity.separator(),
                identity.part
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(known)
}

pub(super) fn entry_of(connection: &Connection, email: &str) -> Result<Option<i64>, LedgerError> {
    let mut query = connection.prepare_cached("SELECT id FROM entry WHERE email = ?1")?;
    Ok(query.query_row(params![email], |row| row.get(0)).optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(&folder.path().join("a.db"), "load").unwrap();
        (folder, ledger)
    }

    fn identity(content: u8) -> ListIdentity {
        ListIdentity {
            digest: [content; 32],
            column: 1,
            ..ListIdentity::default()
        }
    }

    fn load(ledger: &mut Ledger, content: u8, emails: &[&str]) -> Loaded {
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list("a.csv", "CSV").unwrap();
        for (line, email) in emails.iter().enumerate() {
            match *email {
                "" => loading.reject(line as u64 + 1, "empty", "no email", "").unwrap(),
                email => loading.email(line as u64 + 1, email, email).unwrap(),
            }
        }
        let loaded = loading.end_list(&identity(content)).unwrap();
        loading.commit().unwrap();
        loaded
    }

    fn count(ledger: &Ledger, what: &str) -> i64 {
        ledger.connection.query_row(what, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn repeats_are_found_with_and_without_the_index() {
        let (_folder, mut ledger) = ledger();
        let first = load(&mut ledger, 1, &["a@x.example", "b@x.example", "", "a@x.example"]);
        let counts = |rows, entries, repeats, rejects| ListCounts {
            rows,
            entries,
            repeats,
            rejects,
        };
        assert_eq!(first, Loaded::New(counts(4, 2, 1, 1)));
        let second = load(&mut ledger, 2, &["b@x.example", "c@x.example", "c@x.example"]);
        assert_eq!(second, Loaded::New(counts(3, 1, 2, 0)));
        assert_eq!(count(&ledger, "SELECT count(*) FROM entry"), 3);
        assert_eq!(count(&ledger, "SELECT sum(occurrences) FROM entry"), 6);
        assert_eq!(count(&ledger, "SELECT entries FROM tally WHERE state = 0"), 3);
    }

    #[test]
    fn the_same_list_again_changes_nothing() {
        let (_folder, mut ledger) = ledger();
        load(&mut ledger, 1, &["a@x.example", "b@x.example"]);
        let again = load(&mut ledger, 1, &["a@x.example", "b@x.example"]);
        assert_eq!(again, Loaded::Known("a.csv".into()));
        assert_eq!(count(&ledger, "SELECT sum(occurrences) FROM entry"), 2);
        assert_eq!(count(&ledger, "SELECT count(*) FROM repeated"), 0);
    }

    #[test]
    fn a_load_that_is_dropped_never_was() {
        let (_folder, mut ledger) = ledger();
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list("a.csv", "CSV").unwrap();
        loading.email(1, "a@x.example", "a@x.example").unwrap();
        drop(loading);
        assert_eq!(count(&ledger, "SELECT count(*) FROM entry"), 0);
        assert_eq!(
            count(
                &ledger,
                "SELECT count(*) FROM sqlite_schema WHERE name = 'entry_email'"
            ),
            1
        );
        assert!(matches!(load(&mut ledger, 1, &["a@x.example"]), Loaded::New(_)));
    }

    #[test]
    fn what_an_older_version_lost_of_a_known_list_is_not_passed_over() {
        let (_folder, mut ledger) = ledger();
        load(&mut ledger, 1, &["a@x.example"]);
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list("a.csv", "CSV").unwrap();
        loading.email(1, "a@x.example", "a@x.example").unwrap();
        loading.email(2, "b@x.example", "b@x.example").unwrap();
        let refused = loading.end_list(&identity(1)).unwrap_err();
        assert!(matches!(refused, LedgerError::ReadByOlder(_)), "{refused}");
        drop(loading);
        assert_eq!(count(&ledger, "SELECT count(*) FROM entry"), 1);
    }

    #[test]
    fn a_known_list_that_is_recognised_at_its_end_leaves_nothing_behind() {
        let (_folder, mut ledger) = ledger();
        load(&mut ledger, 1, &["a@x.example", "b@x.example", "a@x.example", ""]);
        let again = load(&mut ledger, 1, &["a@x.example", "b@x.example", "a@x.example", ""]);
        assert_eq!(again, Loaded::Known("a.csv".into()));
        assert_eq!(count(&ledger, "SELECT sum(occurrences) FROM entry"), 3);
        assert_eq!(count(&ledger, "SELECT count(*) FROM repeated"), 1);
        assert_eq!(count(&ledger, "SELECT count(*) FROM reject"), 1);
    }
}

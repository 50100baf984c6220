//! Rows on their way into the ledger: gathered, told apart as new emails and repeats, and written together.
//!
//! A statement a row costs more than the row, and an index over emails is hit at random. So rows are gathered:
//!
//! - *append*, while no unique index stands: the set tells what is new, and rows go in as they come;
//! - *merge*, into a ledger whose unique index stands: rows are sorted by email first, so that the index is walked
//!   from one end to the other once for each gathering instead of hit at random for each row.
//!
//! Both number entries in the order of the list, and write repeats down in that order.

use super::error::LedgerError;
use super::seen::SeenEmails;
use rusqlite::{CachedStatement, Connection, OptionalExtension, ToSql, params};
use std::ops::Range;

/// Entries in one statement while they are appended: more gain nothing.
const APPEND_A_STATEMENT: usize = 64;
/// In the midst of others each gets a statement of its own: one for several could fail half-way, so SQLite copies each
/// page aside before it touches it, four times what there is to write.
const MERGE_A_STATEMENT: usize = 1;
/// Rows that are appended together: as many as stay in the processor's cache.
const APPEND_ROWS: usize = 1_024;
/// Rows that are merged together: the more, the fewer walks over the index.
const MERGE_ROWS: usize = 400_000;
/// Text that is gathered at the most.
const TEXT_BYTES: usize = 16 << 20;
/// An email and its spelling in a cell of the longest kind.
const ROOM_FOR_ONE: usize = 128 << 10;

/// Rows that wait to be written, all of one list.
pub(super) struct Rows {
    text: String,
    rows: Vec<Row>,
    limit: usize,
}

struct Row {
    line: u64,
    email: Range<u32>,
    /// Up to here the list's own spelling; nothing where it is the email.
    written_end: u32,
}

/// What came of gathered rows.
pub(super) struct Outcome {
    pub(super) entries: u64,
    pub(super) repeats: u64,
}

impl Rows {
    /// Rows to be appended.
    pub(super) fn to_append() -> Self {
        Self::up_to(APPEND_ROWS)
    }

    /// Rows to be merged.
    pub(super) fn to_merge() -> Self {
        let mut rows = Self::up_to(MERGE_ROWS);
        // All the room at once: growing into it would take twice as much.
        rows.text.reserve_exact(TEXT_BYTES);
        rows
    }

    pub(super) fn up_to(limit: usize) -> Self {
        Self {
            text: String::new(),
            rows: Vec::with_capacity(limit),
            limit,
        }
    }

    pub(super) fn push(&mut self, line: u64, email: &str, written: &str) {
        let at = |text: &String| u32::try_from(text.len()).expect("BUG: more text than rows are gathered of");
        let start = at(&self.text);
        self.text.push_str(email);
        let end = at(&self.text);
        if written != email {
            self.text.push_str(written);
        }
        self.rows.push(Row {
            line,
            email: start..end,
            written_end: at(&self.text),
        });
    }

    /// Whether it is time to write them.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= self.limit || self.text.len() >= TEXT_BYTES - ROOM_FOR_ONE
    }

    fn email(&self, row: usize) -> &str {
        let Range { start, end } = self.rows[row].email;
        &self.text[start as usize..end as usize]
    }

    fn written(&self, row: usize) -> Option<&str> {
        let Row {
            email, written_end, ..
        } = &self.rows[row];
        (email.end < *written_end).then(|| &self.text[email.end as usize..*written_end as usize])
    }

    fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
    }

    /// Writes the rows behind the entry before `next`, where `seen` tells what is new. Leaves none.
    pub(super) fn append(
        &mut self,
        connection: &Connection,
        list: i64,
        next: i64,
        seen: &mut SeenEmails,
    ) -> Result<Outcome, LedgerError> {
        // Apart from the look at the set, so that the processor can wait for many of its places at once.
        let hashes: Vec<u64> = (0..self.rows.len())
            .map(|row| seen.hash(self.email(row)))
            .collect();
        let mut new: Vec<(i64, usize)> = Vec::with_capacity(self.rows.len());
        let mut repeats = Vec::new();
        let mut compare = connection.prepare_cached("SELECT email = ?2 FROM entry WHERE id = ?1")?;
        for (row, hash) in hashes.into_iter().enumerate() {
            let (id, email) = (next + new.len() as i64, self.email(row));
            let is_email_of = |known: i64| match usize::try_from(known - next) {
                Ok(gathered) => Ok(self.email(new[gathered].1) == email),
                Err(_) => compare.query_row(params![known, email], |row| row.get(0)),
            };
            match seen.first_or_insert(hash, email, id, is_email_of)? {
                Some(entry) => repeats.push((entry, row)),
                None => new.push((id, row)),
            }
        }
        self.write(connection, list, APPEND_A_STATEMENT, &new, &repeats)
    }

    /// Writes the rows behind the entry before `next`, where the unique index tells what is new. Leaves none.
    pub(super) fn merge(
        &mut self,
        connection: &Connection,
        list: i64,
        next: i64,
    ) -> Result<Outcome, LedgerError> {
        let mut sorted: Vec<usize> = (0..self.rows.len()).collect();
        sorted.sort_unstable_by(|one, other| (self.email(*one), one).cmp(&(self.email(*other), other)));
        let mut query = connection.prepare_cached("SELECT id FROM entry WHERE email = ?1")?;
        // Whose entry each row is: one of the ledger, or the first row here that bears the email.
        let mut owners = vec![Owner::Row(0); self.rows.len()];
        for same in sorted.chunk_by(|one, other| self.email(*one) == self.email(*other)) {
            let known = query
                .query_row([self.email(same[0])], |row| row.get(0))
                .optional()?;
            let owner = known.map_or(Owner::Row(same[0]), Owner::Entry);
            same.iter().for_each(|row| owners[*row] = owner);
        }
        let mut ids = vec![0; self.rows.len()];
        let (mut added, mut repeats) = (0, Vec::new());
        for (row, owner) in owners.iter().enumerate() {
            ids[row] = match *owner {
                Owner::Entry(id) => id,
                Owner::Row(first) if first == row => {
                    added += 1;
                    next + added - 1
                }
                Owner::Row(first) => ids[first],
            };
            if *owner != Owner::Row(row) {
                repeats.push((ids[row], row));
            }
        }
        let is_new = |row: &usize| owners[*row] == Owner::Row(*row);
        let new: Vec<(i64, usize)> = sorted
            .into_iter()
            .filter(is_new)
            .map(|row| (ids[row], row))
            .collect();
        drop((owners, ids));
        self.write(connection, list, MERGE_A_STATEMENT, &new, &repeats)
    }

    /// Writes new entries and repeats of entries down, in this order.
    fn write(
        &mut self,
        connection: &Connection,
        list: i64,
        at_once: usize,
        new: &[(i64, usize)],
        repeats: &[(i64, usize)],
    ) -> Result<Outcome, LedgerError> {
        let mut groups = new.chunks_exact(at_once);
        let mut insert = connection.prepare_cached(&insert_of(at_once))?;
        groups.try_for_each(|group| self.insert(&mut insert, list, group))?;
        let mut insert = connection.prepare_cached(&insert_of(1))?;
        groups
            .remainder()
            .iter()
            .try_for_each(|one| self.insert(&mut insert, list, std::slice::from_ref(one)))?;
        let mut insert = connection
            .prepare_cached("INSERT INTO repeated (list, line, entry, written) VALUES (?1, ?2, ?3, ?4)")?;
        for (entry, row) in repeats {
            insert.execute(params![
                list,
                self.rows[*row].line as i64,
                entry,
                self.written(*row)
            ])?;
        }
        count_repeats(connection, repeats)?;
        self.clear();
        Ok(Outcome {
            entries: new.len() as u64,
            repeats: repeats.len() as u64,
        })
    }

    fn insert(
        &self,
        statement: &mut CachedStatement<'_>,
        list: i64,
        group: &[(i64, usize)],
    ) -> Result<(), LedgerError> {
        for (at, (id, row)) in group.iter().enumerate() {
            let line = self.rows[*row].line as i64;
            let values: [&dyn ToSql; 5] = [id, &self.email(*row), &self.written(*row), &list, &line];
            for (column, value) in values.into_iter().enumerate() {
                statement.raw_bind_parameter(at * 5 + column + 1, value)?;
            }
        }
        Ok(statement.raw_execute().map(drop)?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Entry(i64),
    Row(usize),
}

fn insert_of(rows: usize) -> String {
    let values = vec!["(?, ?, ?, ?, ?)"; rows].join(", ");
    format!("INSERT INTO entry (id, email, written, list, line) VALUES {values}")
}

/// Raises the entries' occurrences, from the first entry to the last: they lie beside each other.
fn count_repeats(connection: &Connection, repeats: &[(i64, usize)]) -> Result<(), LedgerError> {
    let mut entries: Vec<i64> = repeats.iter().map(|(entry, _)| *entry).collect();
    entries.sort_unstable();
    let mut update =
        connection.prepare_cached("UPDATE entry SET occurrences = occurrences + ?2 WHERE id = ?1")?;
    for same in entries.chunk_by(i64::eq) {
        update.execute(params![same[0], same.len() as i64])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::ledger::{Ledger, ListIdentity, Loaded};
    use proptest::prelude::*;

    /// Loads lists one by one, so many rows at once, and gives all that the ledger says of them.
    fn load(lists: &[Vec<u8>], at_once: usize) -> (Vec<Loaded>, Vec<Vec<Option<String>>>) {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::create(&folder.path().join("a.db"), "load").unwrap();
        let mut loaded = Vec::new();
        for (number, list) in lists.iter().enumerate() {
            let mut loading = ledger.begin_load().unwrap();
            loading.gather(at_once);
            loading.begin_list("a.csv", "CSV").unwrap();
            for (line, name) in list.iter().enumerate() {
                let email = format!("{}@x.example", name / 2);
                let written = if name % 2 == 0 {
                    email.clone()
                } else {
                    email.to_uppercase()
                };
                loading.email(line as u64 + 1, &email, &written).unwrap();
            }
            let digest = [number as u8; 32];
            loaded.push(
                loading
                    .end_list(&ListIdentity {
                        digest,
                        column: 1,
                        ..ListIdentity::default()
                    })
                    .unwrap(),
            );
            loading.commit().unwrap();
        }
        let mut rows = Vec::new();
        for query in [
            "SELECT id, email, written, list, line, occurrences FROM entry ORDER BY id",
            "SELECT list, line, entry, written FROM repeated ORDER BY rowid",
            "SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY name",
            "SELECT * FROM pragma_integrity_check",
            "SELECT state, reason, entries FROM tally",
        ] {
            let mut query = ledger.connection.prepare(query).unwrap();
            let columns = query.column_count();
            let read = query.query_map([], |row| {
                let texts = (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at));
                texts.map(|value| Ok(Some(format!("{:?}", value?)))).collect()
            });
            rows.extend(read.unwrap().map(Result::unwrap));
        }
        (loaded, rows)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Row by row every repeat is found by itself; gathered it must come out the same, also where a later list
        /// makes the ledger leave its index.
        #[test]
        fn gathering_changes_nothing(lists in prop::collection::vec(prop::collection::vec(0u8..80, 0..150), 1..4)) {
            let alone = load(&lists, 1);
            let sum: u64 = lists.iter().map(|list| list.len() as u64).sum();
            let counted: u64 = alone.0.iter().map(|loaded| match loaded {
                Loaded::New(counts) => counts.entries + counts.repeats,
                Loaded::Known(_) => unreachable!("each list has its own digest"),
            }).sum();
            prop_assert_eq!(sum, counted);
            for at_once in [2, 7, 70, 1_000] {
                prop_assert_eq!(&load(&lists, at_once), &alone);
            }
        }
    }
}

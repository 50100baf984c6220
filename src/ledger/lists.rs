//! The lists of a ledger: how each was read and came out, what it is called, and which of them nobody has said yes to.

use super::ListCounts;
use super::error::LedgerError;
use super::load::Loading;
use super::read::{Reader, unsigned};
use crate::model::address;
use crate::model::ids::EntryId;
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A list, as it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRow {
    /// Its number in this ledger.
    pub id: i64,
    /// Its path as it was given, or more of it where two lists would have one name.
    pub name: String,
    /// Where its file was, where that is known.
    pub path: Option<String>,
    /// How it was read, for people.
    pub layout: String,
    /// The column with the emails, counted from 1.
    pub column: u64,
    /// Whether its first row was taken for a header.
    pub header: bool,
    /// What separates its cells, where anything does.
    pub delimiter: String,
    /// The sheet of a workbook, or the path of the key in JSON; else nothing.
    pub part: String,
    /// How it came out.
    pub counts: ListCounts,
    /// When it was loaded, in milliseconds since 1970 UTC.
    pub loaded_at: i64,
}

/// A list of which something would be sent although it was not named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// The list.
    pub name: String,
    /// Its entries that may be sent, that no list that was named has, and that nobody has said yes to.
    pub entries: u64,
}

/// Why it cannot be told which list is meant.
#[derive(Debug, thiserror::Error)]
pub enum FindListError {
    /// No list bears the name.
    #[error("the ledger has no list {typed}")]
    Unknown {
        /// What was typed.
        typed: String,
        /// The lists that there are.
        lists: Vec<ListRow>,
    },
    /// Several lists bear it.
    #[error("{typed} could be {} lists of the ledger", lists.len())]
    Ambiguous {
        /// What was typed.
        typed: String,
        /// Those lists.
        lists: Vec<ListRow>,
    },
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Reader {
    /// The list that is called `typed`, lies at `path`, or has that number.
    pub fn list(&self, typed: &str, path: Option<&str>) -> Result<ListRow, FindListError> {
        find(&self.connection, typed, path)
    }

    /// The lists, in the order in which they were loaded.
    pub fn lists(&self) -> Result<Vec<ListRow>, LedgerError> {
        lists(&self.connection)
    }
}

impl Loading<'_> {
    /// The lists, those of this load included.
    pub fn lists(&self) -> Result<Vec<ListRow>, LedgerError> {
        lists(self.connection)
    }

    /// Lists that this load was not asked for, with how many of their entries behind `confirmed_entries` may be sent.
    pub fn unnamed(&self, confirmed_entries: u64) -> Result<Vec<Unnamed>, LedgerError> {
        let named = self.named();
        if lists(self.connection)?
            .iter()
            .all(|list| named.contains(&list.id))
        {
            return Ok(Vec::new());
        }
        let named = serde_json::to_string(named).expect("BUG: numbers are always JSON");
        let names = names(self.connection)?;
        let mut query = self.connection.prepare(
            "SELECT list, count(*) FROM entry
             WHERE state IN (0, 1) AND id > ?1 AND list NOT IN (SELECT value FROM json_each(?2))
                 AND id NOT IN (SELECT entry FROM repeated WHERE list IN (SELECT value FROM json_each(?2)))
             GROUP BY list ORDER BY list",
        )?;
        let rows = query.query_map(params![confirmed_entries as i64, named], |row| {
            let list: i64 = row.get(0)?;
            Ok(Unnamed {
                name: names.get(&list).cloned().unwrap_or_default(),
                entries: unsigned(row, 1)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The spellings of an entry that differ from its email, trimmed, each once, the entry's own first.
///
/// A tenant whose filter heeds case knows an email only as it was written, and a list may write it in two ways.
pub(super) fn spellings(connection: &Connection, entry: EntryId) -> Result<Vec<String>, LedgerError> {
    let mut query = connection.prepare_cached(
        "SELECT email, written, 0 AS place FROM entry WHERE id = ?1 AND written IS NOT NULL
         UNION ALL
         SELECT email, repeated.written, repeated.rowid FROM repeated JOIN entry ON entry.id = repeated.entry
         WHERE repeated.entry = ?1 AND repeated.written IS NOT NULL
         ORDER BY place",
    )?;
    let mut rows = query.query(params![entry.0])?;
    let mut seen = HashSet::new();
    let mut spellings = Vec::new();
    while let Some(row) = rows.next()? {
        let (email, written): (String, String) = (row.get(0)?, row.get(1)?);
        let address = address::alone(&written);
        let written = address.as_deref().unwrap_or(&written).trim();
        if written != email && seen.insert(written.to_owned()) {
            spellings.push(written.to_owned());
        }
    }
    Ok(spellings)
}

pub(super) fn lists(connection: &Connection) -> Result<Vec<ListRow>, LedgerError> {
    let mut names = names(connection)?;
    let mut query = connection.prepare(
        "SELECT id, path, layout, column_no, header, delimiter, rows, entries, repeats, rejects, loaded_at, part
         FROM list ORDER BY id",
    )?;
    let rows = query.query_map([], |row| {
        let id = row.get(0)?;
        Ok(ListRow {
            id,
            name: names.remove(&id).unwrap_or_default(),
            path: row.get(1)?,
            layout: row.get(2)?,
            column: unsigned(row, 3)?,
            header: row.get(4)?,
            delimiter: row.get(5)?,
            counts: ListCounts {
                rows: unsigned(row, 6)?,
                entries: unsigned(row, 7)?,
                repeats: unsigned(row, 8)?,
                rejects: unsigned(row, 9)?,
            },
            loaded_at: row.get(10)?,
            part: row.get(11)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The one list that is called `typed`, lies at `path`, or has that number.
pub(super) fn find(
    connection: &Connection,
    typed: &str,
    path: Option<&str>,
) -> Result<ListRow, FindListError> {
    let all = lists(connection)?;
    let given = given_names(connection)?;
    let which =
        |fits: &dyn Fn(&ListRow) -> bool| all.iter().filter(|list| fits(list)).cloned().collect::<Vec<_>>();
    let by_path = which(&|list| path.is_some() && list.path.as_deref() == path);
    let by_name = which(&|list| list.name == typed || given.get(&list.id).is_some_and(|name| name == typed));
    let by_number = which(&|list| list.id.to_string() == typed);
    let found = [by_path, by_name, by_number]
        .into_iter()
        .find(|found| !found.is_empty());
    let typed = typed.to_owned();
    match found {
        None => Err(FindListError::Unknown { typed, lists: all }),
        Some(mut found) if found.len() == 1 => Ok(found.remove(0)),
        Some(lists) => Err(FindListError::Ambiguous { typed, lists }),
    }
}

/// What each list was called when it was given.
fn given_names(connection: &Connection) -> Result<HashMap<i64, String>, LedgerError> {
    let mut query = connection.prepare("SELECT id, name FROM list")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What each list is called: its name as it was given; its path where another list of that name lies elsewhere; with a
/// number behind it where that is not enough.
pub(super) fn names(connection: &Connection) -> Result<HashMap<i64, String>, LedgerError> {
    let mut query = connection.prepare("SELECT id, name, path FROM list ORDER BY id")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut of_one_name: BTreeMap<String, Vec<(i64, Option<String>)>> = BTreeMap::new();
    for row in rows {
        let (id, name, path) = row?;
        of_one_name.entry(name).or_default().push((id, path));
    }
    let mut names = HashMap::new();
    for (name, lists) in of_one_name {
        let in_one_place = lists.iter().all(|list| list.1 == lists[0].1);
        let mut times: HashMap<String, u32> = HashMap::new();
        for (id, path) in lists {
            let called = path.filter(|_| !in_one_place).unwrap_or_else(|| name.clone());
            let time = times.entry(called.clone()).or_default();
            *time += 1;
            names.insert(
                id,
                match time {
                    1 => called,
                    time => format!("{called} ({time})"),
                },
            );
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Ledger, ListIdentity};

    /// Loads a list of emails as they are written, and says which lists would be sent unnamed.
    fn load(ledger: &mut Ledger, (name, path): (&str, Option<&str>), written: &[&str]) -> Vec<Unnamed> {
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list_at(name, path, "CSV").unwrap();
        for (line, written) in written.iter().enumerate() {
            let email = written.trim().to_lowercase();
            loading.email(line as u64 + 1, &email, written).unwrap();
        }
        let mut digest = [0; 32];
        for (place, byte) in written.concat().bytes().enumerate() {
            digest[place % 32] ^= byte.rotate_left(place as u32);
        }
        let identity = ListIdentity {
            digest,
            column: 1,
            ..ListIdentity::default()
        };
        loading.end_list(&identity).unwrap();
        let unnamed = loading.unnamed(0).unwrap();
        loading.commit().unwrap();
        unnamed
    }

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(&folder.path().join("a.db"), "load").unwrap();
        (folder, ledger)
    }

    #[test]
    fn lists_of_one_name_are_told_apart() {
        let (_folder, mut ledger) = ledger();
        load(&mut ledger, ("a.csv", Some("/x/a.csv")), &["a@x.example"]);
        load(&mut ledger, ("b.csv", Some("/x/b.csv")), &["b@x.example"]);
        let called = |ledger: &Ledger| {
            let names = names(&ledger.connection).unwrap();
            (1..=names.len() as i64)
                .map(|id| names[&id].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(called(&ledger), ["a.csv", "b.csv"]);
        load(&mut ledger, ("a.csv", Some("/y/a.csv")), &["c@x.example"]);
        assert_eq!(called(&ledger), ["/x/a.csv", "b.csv", "/y/a.csv"]);
        load(&mut ledger, ("b.csv", Some("/x/b.csv")), &["d@x.example"]);
        load(&mut ledger, ("(stdin)", None), &["e@x.example"]);
        load(&mut ledger, ("(stdin)", None), &["f@x.example"]);
        let expected = [
            "/x/a.csv",
            "b.csv",
            "/y/a.csv",
            "b.csv (2)",
            "(stdin)",
            "(stdin) (2)",
        ];
        assert_eq!(called(&ledger), expected);
    }

    #[test]
    fn lists_that_were_not_named_are_told_with_what_they_alone_have() {
        let (_folder, mut ledger) = ledger();
        assert!(load(&mut ledger, ("a.csv", None), &["a@x.example", "b@x.example"]).is_empty());
        let unnamed = load(&mut ledger, ("b.csv", None), &["b@x.example", "c@x.example"]);
        let a = |entries| Unnamed {
            name: "a.csv".into(),
            entries,
        };
        assert_eq!(unnamed, [a(1)]);
        assert_eq!(
            load(
                &mut ledger,
                ("c.csv", None),
                &["a@x.example", "b@x.example", "c@x.example"]
            ),
            []
        );
        // The same list again is named, though it brings nothing.
        let unnamed = load(&mut ledger, ("b.csv", None), &["b@x.example", "c@x.example"]);
        assert_eq!(unnamed, [a(1)]);
    }

    #[test]
    fn every_spelling_is_kept_once() {
        let (_folder, mut ledger) = ledger();
        load(
            &mut ledger,
            ("a.csv", None),
            &[
                "Ann@x.example",
                "ann@x.example",
                " ANN@x.example",
                "bob@x.example",
            ],
        );
        load(
            &mut ledger,
            ("b.csv", None),
            &["ANN@x.example ", "aNN@x.example", "Bob@x.example"],
        );
        let of = |entry| spellings(&ledger.connection, EntryId(entry)).unwrap();
        assert_eq!(of(1), ["Ann@x.example", "ANN@x.example", "aNN@x.example"]);
        assert_eq!(of(2), ["Bob@x.example"]);
        // What is asked for is the address, whatever it wears.
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list_at("c.csv", None, "CSV").unwrap();
        loading.email(1, "cy@x.example", "Cy <Cy@x.example>").unwrap();
        loading.email(2, "cy@x.example", "mailto:cy@x.example").unwrap();
        loading.end_list(&ListIdentity::default()).unwrap();
        loading.commit().unwrap();
        assert_eq!(
            spellings(&ledger.connection, EntryId(3)).unwrap(),
            ["Cy@x.example"]
        );
    }
}

//! Later checks of what was confirmed: whom to look at, and what was seen. They change nothing else.

use super::error::LedgerError;
use super::open::Ledger;
use super::read::unsigned;
use super::time::now_ms;
use crate::model::drift::Drift;
use crate::model::email::Email;
use crate::model::ids::{EntryId, ProfileId};
use rusqlite::{Connection, OptionalExtension, params};

/// A confirmed entry that is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// Which one.
    pub id: EntryId,
    /// Its email.
    pub email: Email,
    /// Its profile.
    pub profile: ProfileId,
}

/// Whom a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Population {
    /// So many at random.
    Sample(u64),
    /// Everybody.
    All,
    /// Those that an earlier check looked at.
    Same(i64),
}

/// A profile that is not as it was confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drifted {
    /// The entry.
    pub id: EntryId,
    /// In which way.
    pub kind: Drift,
    /// More about it.
    pub detail: String,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Whether all confirmed entries were looked at.
    pub everybody: bool,
    /// How many there were.
    pub confirmed: u64,
    /// Who was looked at, with an answer.
    pub checked: Vec<EntryId>,
    /// Of how many the tenant could not tell.
    pub unanswered: u64,
    /// Whether it came to its end.
    pub complete: bool,
    /// When it began, in milliseconds since 1970 UTC.
    pub began_at: i64,
    /// Whoever is not as they were.
    pub drifted: Vec<Drifted>,
}

impl Ledger {
    /// The confirmed entries that a check looks at, in the order of the lists.
    pub fn confirmed(&self, population: Population) -> Result<Vec<Confirmed>, LedgerError> {
        let (which, bound) = match population {
            Population::All => ("?1 IS NOT NULL", 0),
            Population::Sample(size) => (
                "entry.id IN (SELECT id FROM entry WHERE state = 3 ORDER BY random() LIMIT ?1)",
                size as i64,
            ),
            Population::Same(earlier) => (
                "(entry.id IN (SELECT entry FROM verified WHERE verification = ?1)
                  OR EXISTS (SELECT 1 FROM verification WHERE verification.id = ?1 AND everybody))",
                earlier,
            ),
        };
        let sql =
            format!("SELECT entry.id, email, profile_id FROM entry WHERE state = 3 AND {which} ORDER BY id");
        let mut query = self.connection.prepare(&sql)?;
        let rows = query.query_map([bound], |row| {
            Ok(Confirmed {
                id: EntryId(row.get(0)?),
                email: Email::from_ledger(&row.get::<_, String>(1)?),
                profile: ProfileId::new(row.get::<_, String>(2)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The number of the last check, where there was one.
    pub fn last_verification(&self) -> Result<Option<i64>, LedgerError> {
        let last = "SELECT max(id) FROM verification";
        Ok(self.connection.query_row(last, [], |row| row.get(0))?)
    }

    /// When an earlier check ended and what it found, where there was such a check.
    pub fn drifted_then(&self, no: i64) -> Result<Option<(i64, Vec<Drifted>)>, LedgerError> {
        let ended = "SELECT ended_at FROM verification WHERE id = ?1";
        let ended = self
            .connection
            .query_row(ended, [no], |row| row.get(0))
            .optional()?;
        ended
            .map(|ended| Ok((ended, drifted(&self.connection, no)?)))
            .transpose()
    }

    /// Writes down what a check found, and returns its number.
    pub fn keep_verification(&mut self, found: &Verification) -> Result<i64, LedgerError> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO verification (everybody, confirmed, checked, unanswered, complete, began_at, ended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                found.everybody,
                found.confirmed as i64,
                found.checked.len() as i64,
                found.unanswered as i64,
                found.complete,
                found.began_at,
                now_ms()
            ],
        )?;
        let no = transaction.last_insert_rowid();
        if !found.everybody {
            let mut insert =
                transaction.prepare("INSERT INTO verified (verification, entry) VALUES (?1, ?2)")?;
            for id in &found.checked {
                insert.execute([no, id.0])?;
            }
        }
        for drift in &found.drifted {
            transaction.execute(
                "INSERT INTO drift (verification, entry, kind, detail) VALUES (?1, ?2, ?3, ?4)",
                params![no, drift.id.0, drift.kind.as_str(), drift.detail],
            )?;
        }
        transaction.commit()?;
        Ok(no)
    }

    /// How many entries are confirmed.
    pub fn confirmed_count(&self) -> Result<u64, LedgerError> {
        let all = "SELECT count(*) FROM entry WHERE state = 3";
        Ok(self.connection.query_row(all, [], |row| unsigned(row, 0))?)
    }
}

fn drifted(connection: &Connection, no: i64) -> Result<Vec<Drifted>, LedgerError> {
    let mut query = connection.prepare(
        "SELECT entry, kind, coalesce(detail, '') FROM drift WHERE verification = ?1 ORDER BY entry",
    )?;
    let rows = query.query_map([no], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?))
    })?;
    rows.map(|row| {
        let (id, kind, detail) = row?;
        let kind =
            Drift::from_word(&kind).ok_or_else(|| LedgerError::Damaged(format!("a drift of kind {kind}")))?;
        let id = EntryId(id);
        Ok(Drifted { id, kind, detail })
    })
    .collect()
}

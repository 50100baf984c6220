//! Taking a list out again, as long as nothing that came from it alone was sealed or sent.
//!
//! One transaction: a kill leaves the list in or out. What goes is what no other list names. Entries that another list
//! names, too, stay, and belong to that one from then on. Entries that were skipped since they led to the profile of one
//! that goes wait for their look-up again. Consent is forgotten: whoever said yes, said it to another set of people.
//! A walk through all profiles is forgotten, too, since numbers of entries may be given out a second time.

use super::error::LedgerError;
use super::lists::{self, FindListError, ListRow};
use super::open::Ledger;
use super::scans::FORGET_SCAN;
use super::time::now_ms;
use super::write::{Tally, save_tally};
use crate::model::entry::{self, EntryEvent, EntryState, SkipReason};
use rusqlite::{Connection, params};

/// Why a list stays where it is. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum UnloadError {
    /// It cannot be told which list is meant.
    #[error(transparent)]
    Find(#[from] FindListError),
    /// Some of its entries are in batches.
    #[error(
        "{name} stays: {entries} of the entries that came from it alone are in batches that were sealed or sent"
    )]
    Sent {
        /// The list.
        name: String,
        /// How many entries.
        entries: u64,
    },
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<rusqlite::Error> for UnloadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Ledger(error.into())
    }
}

/// What became of a list that was taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unloaded {
    /// The list.
    pub list: ListRow,
    /// Its entries that went with it.
    pub removed: u64,
    /// Its entries that other lists name, too.
    pub kept: u64,
    /// Entries of other lists that wait for their look-up again.
    pub released: u64,
}

impl Ledger {
    /// Takes out the list that is called `typed`, lies at `path`, or has that number.
    pub fn unload(&mut self, typed: &str, path: Option<&str>) -> Result<Unloaded, UnloadError> {
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let list = lists::find(&transaction, typed, path)?;
        transaction.execute_batch(SCRATCH)?;
        transaction.execute(GONE, [list.id])?;
        let entries = count(
            &transaction,
            // An entry that is tried again has been in one before.
            "SELECT count(*) FROM temp.gone JOIN entry USING (id) WHERE batch IS NOT NULL
                 OR id IN (SELECT entry FROM retry WHERE retry.batch IS NOT NULL)",
        )?;
        if entries > 0 {
            let name = list.name;
            return Err(UnloadError::Sent { name, entries });
        }
        let kept = pass_on(&transaction, list.id)?;
        let released = release(&transaction)?;
        let removed = remove(&transaction, &list)?;
        transaction.execute_batch(DROP_SCRATCH)?;
        transaction.commit()?;
        Ok(Unloaded {
            list,
            removed,
            kept,
            released,
        })
    }
}

/// gone: entries that no other list names. heir: the first row elsewhere that names an entry of the list.
const SCRATCH: &str = "CREATE TEMP TABLE gone (id INTEGER PRIMARY KEY);
    CREATE TEMP TABLE heir (entry INTEGER PRIMARY KEY, place INTEGER NOT NULL);";
const DROP_SCRATCH: &str = "DROP TABLE temp.gone; DROP TABLE temp.heir;";
const GONE: &str = "INSERT INTO temp.gone SELECT id FROM entry WHERE list = ?1
    AND id NOT IN (SELECT entry FROM repeated WHERE list <> ?1)";

const HEIRS: &str = "INSERT INTO temp.heir SELECT entry, min(repeated.rowid) FROM repeated
    JOIN entry ON entry.id = repeated.entry WHERE entry.list = ?1 AND repeated.list <> ?1 GROUP BY entry";
const PASS_ON: &str = "UPDATE list SET entries = entries + heirs, repeats = repeats - heirs FROM
        (SELECT repeated.list AS id, count(*) AS heirs FROM temp.heir JOIN repeated ON repeated.rowid = place
            GROUP BY 1) AS theirs
        WHERE list.id = theirs.id;
    UPDATE entry SET list = home.list, line = home.line, written = home.written, occurrences = occurrences - 1 FROM
        (SELECT heir.entry AS id, repeated.list, line, written FROM temp.heir
            JOIN repeated ON repeated.rowid = place) AS home
        WHERE entry.id = home.id;
    DELETE FROM repeated WHERE rowid IN (SELECT place FROM temp.heir);";

/// Gives the entries that other lists name, too, to those, and says how many they are.
fn pass_on(connection: &Connection, list: i64) -> Result<u64, LedgerError> {
    connection.execute(HEIRS, [list])?;
    connection.execute_batch(PASS_ON)?;
    for statement in [
        "UPDATE entry SET occurrences = occurrences - times FROM
             (SELECT entry AS id, count(*) AS times FROM repeated WHERE list = ?1 GROUP BY entry) AS there
             WHERE entry.id = there.id",
        "DELETE FROM repeated WHERE list = ?1",
        "DELETE FROM reject WHERE list = ?1",
    ] {
        connection.execute(statement, [list])?;
    }
    count(connection, "SELECT count(*) FROM temp.heir")
}

/// Lets entries wait for their look-up again that were skipped for the profile of one that goes.
fn release(connection: &Connection) -> Result<u64, LedgerError> {
    let from = EntryState::Skipped;
    let to = entry::apply(from, EntryEvent::Release)?;
    let reason = SkipReason::SameProfile.as_str();
    let released = connection.execute(
        "UPDATE entry SET state = ?1, reason = NULL, detail = NULL, profile_id = NULL, held = NULL, resolved_at = NULL,
             reused = NULL, reuse = NULL
         WHERE state = ?2 AND reason = ?3 AND id NOT IN (SELECT id FROM temp.gone) AND profile_id IN
             (SELECT profile_id FROM temp.gone JOIN entry USING (id) WHERE state IN (1, 2, 3, 6))",
        params![to.code(), from.code(), reason],
    )?;
    let mut tally = Tally::default();
    tally.add(from, reason, -(released as i64));
    tally.add(to, "", released as i64);
    save_tally(connection, &tally)?;
    Ok(released as u64)
}

/// Removes what is left of the list, and writes down that it was here.
fn remove(connection: &Connection, list: &ListRow) -> Result<u64, LedgerError> {
    connection.execute_batch(
        "UPDATE tally SET entries = entries - removed FROM
             (SELECT state AS of_state, coalesce(reason, evidence, '') AS filed_under, count(*) AS removed
                 FROM temp.gone JOIN entry USING (id) GROUP BY 1, 2)
             WHERE state = of_state AND reason = filed_under;
         DELETE FROM candidate WHERE entry IN (SELECT id FROM temp.gone);
         DELETE FROM entry WHERE id IN (SELECT id FROM temp.gone);
         UPDATE job SET confirmed_entries = 0;",
    )?;
    connection.execute_batch(FORGET_SCAN)?;
    let removed = count(connection, "SELECT count(*) FROM temp.gone")?;
    connection.execute(
        "INSERT INTO unloaded (name, path, digest, rows, removed, loaded_at, unloaded_at)
         SELECT ?2, path, digest, rows, ?3, loaded_at, ?4 FROM list WHERE id = ?1",
        params![list.id, list.name, removed as i64, now_ms()],
    )?;
    connection.execute("DELETE FROM list WHERE id = ?1", [list.id])?;
    Ok(removed)
}

fn count(connection: &Connection, sql: &str) -> Result<u64, LedgerError> {
    Ok(connection.query_row(sql, [], |row| super::read::unsigned(row, 0))?)
}

#[cfg(test)]
mod tests;

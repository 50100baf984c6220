//! Look-ups that are too old to be acted on: their entries wait for another one.
//!
//! Between a look-up and the request that rests on it, an email may have moved to another profile. What was looked up
//! longer ago than is allowed is forgotten, and so is what this machine's clock says will be looked up: nobody can tell
//! how old that is. A sealed batch that holds such an entry is taken apart, but only if it was never attempted and
//! nobody has concluded anything about it: whatever may have left is never regrouped.
//!
//! An answer that leads to no request ages in the same way, but only until the job's first request: a dry run may be
//! weeks old when somebody goes on from it. Later it is the result of the job, and a job that looked everybody up
//! again each day might never end.
//!
//! All of it happens in one transaction, before the run; nothing is sent by then, so a cut in between loses nothing.

use super::error::LedgerError;
use super::load::Loading;
use super::read::{Reader, unsigned};
use super::scans::FORGET_SCAN;
use super::time::now_ms;
use super::write::{Tally, save_tally};
use crate::model::entry::{self, EntryEvent, EntryState, SkipReason};
use rusqlite::{Connection, params};
use std::time::Duration;

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Entries that wait for a look-up again: those whose own was too old, and those that were skipped for the profile
    /// of one of them.
    pub entries: u64,
    /// Entries that wait for a batch after it.
    pub resolved: u64,
    /// Sealed batches that were taken apart.
    pub batches: u64,
}

/// Sealed batches that nothing has ever left for, with an entry whose look-up is too old.
const APART: &str = "SELECT id FROM batch WHERE state = 0 AND split_from IS NULL
    AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.batch = batch.id)
    AND NOT EXISTS (SELECT 1 FROM absence WHERE absence.batch = batch.id)
    AND NOT EXISTS (SELECT 1 FROM ruling WHERE ruling.batch = batch.id)
    AND EXISTS (SELECT 1 FROM entry WHERE entry.batch = batch.id
        AND (resolved_at IS NULL OR resolved_at NOT BETWEEN ?1 AND ?2))";
/// Entries that wait for a batch, those of the batches above included, and whose look-up is too old.
const OLD: &str =
    "SELECT id FROM entry WHERE (state = 1 OR state = 2 AND batch IN (SELECT id FROM temp.apart))
    AND (resolved_at IS NULL OR resolved_at NOT BETWEEN ?1 AND ?2)";
/// Old answers that lead to no request, unless something was sent.
const IDLE: &str = "SELECT id FROM entry
    WHERE (state = 5 OR state = 4 AND reason IN ('not_found', 'already_assigned', 'not_assigned'))
    AND (resolved_at IS NULL OR resolved_at NOT BETWEEN ?1 AND ?2)
    AND NOT EXISTS (SELECT 1 FROM attempt)";
/// Entries that were skipped since they led to the profile of an old one.
const FOLLOWERS: &str = "SELECT id FROM entry WHERE state = 4 AND reason = 'same_profile'
    AND profile_id IN (SELECT profile_id FROM temp.old JOIN entry USING (id))";

const SCRATCH: &str = "CREATE TEMP TABLE apart (id INTEGER PRIMARY KEY);
    CREATE TEMP TABLE old (id INTEGER PRIMARY KEY);
    CREATE TEMP TABLE idle (id INTEGER PRIMARY KEY);
    CREATE TEMP TABLE follower (id INTEGER PRIMARY KEY);";
const DROP_SCRATCH: &str =
    "DROP TABLE temp.apart; DROP TABLE temp.old; DROP TABLE temp.idle; DROP TABLE temp.follower;";
const FORGET: &str =
    "UPDATE entry SET state = ?1, reason = NULL, detail = NULL, profile_id = NULL, held = NULL,
    resolved_at = NULL, reused = NULL, reuse = NULL WHERE state = ?2 AND ";

impl Loading<'_> {
    /// Forgets look-ups that are older than this. Must not be asked of a copy whose original may have sent something.
    pub fn forget_lookups(&mut self, max_age: Duration) -> Result<Forgotten, LedgerError> {
        let connection = self.file_rows()?;
        let forgotten = choose(connection, max_age)?;
        let mut tally = Tally::default();
        let unsealed = entry::apply(EntryState::Batched, EntryEvent::Unseal)?;
        move_all(
            connection,
            &mut tally,
            (EntryState::Batched, "", unsealed),
            "UPDATE entry SET state = ?1, batch = NULL WHERE state = ?2 AND batch IN (SELECT id FROM temp.apart)",
        )?;
        connection.execute_batch(
            "DELETE FROM batch WHERE id IN (SELECT id FROM temp.apart);
             DELETE FROM candidate WHERE entry IN (SELECT id FROM temp.idle);",
        )?;
        let skips = [
            SkipReason::NotFound,
            SkipReason::AlreadyAssigned,
            SkipReason::NotAssigned,
        ];
        let skips = skips.map(|reason| (EntryState::Skipped, reason.as_str(), EntryEvent::Forget, "idle"));
        let others = [
            (
                EntryState::Skipped,
                SkipReason::SameProfile.as_str(),
                EntryEvent::Release,
                "follower",
            ),
            (EntryState::Ambiguous, "", EntryEvent::Forget, "idle"),
            (EntryState::Resolved, "", EntryEvent::Forget, "old"),
        ];
        for (from, filed_under, event, chosen) in skips.into_iter().chain(others) {
            let to = entry::apply(from, event)?;
            let statement = format!(
                "{FORGET} coalesce(reason, '') = '{filed_under}' AND id IN (SELECT id FROM temp.{chosen})"
            );
            move_all(connection, &mut tally, (from, filed_under, to), &statement)?;
        }
        save_tally(connection, &tally)?;
        if forgotten.entries > 0 {
            // A scan that was interrupted knows them as they were.
            connection.execute_batch(FORGET_SCAN)?;
        }
        connection.execute_batch(DROP_SCRATCH)?;
        Ok(forgotten)
    }
}

impl Reader {
    /// What [`Loading::forget_lookups`] would forget.
    pub fn old_lookups(&self, max_age: Duration) -> Result<Forgotten, LedgerError> {
        let forgotten = choose(&self.connection, max_age)?;
        self.connection.execute_batch(DROP_SCRATCH)?;
        Ok(forgotten)
    }
}

/// Notes in temporary tables what is too old, and says how much that is.
fn choose(connection: &Connection, max_age: Duration) -> Result<Forgotten, LedgerError> {
    let now = now_ms();
    let age = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
    // Without an age, what was looked up in this very moment is old as well.
    let (from, to) = if age == 0 {
        (1, 0)
    } else {
        (now.saturating_sub(age), now)
    };
    connection.execute_batch(SCRATCH)?;
    let note = |table: &str, chosen: &str| -> Result<u64, LedgerError> {
        let statement = format!("INSERT INTO temp.{table} {chosen}");
        Ok(connection.execute(&statement, params![from, to])? as u64)
    };
    let batches = note("apart", APART)?;
    let old = note("old", OLD)?;
    let idle = note("idle", IDLE)?;
    let followers = connection.execute(&format!("INSERT INTO temp.follower {FOLLOWERS}"), [])? as u64;
    let waiting =
        "SELECT count(*) FROM entry WHERE state = 1 OR state = 2 AND batch IN (SELECT id FROM temp.apart)";
    let waiting: u64 = connection.query_row(waiting, [], |row| unsigned(row, 0))?;
    Ok(Forgotten {
        entries: old + idle + followers,
        resolved: waiting - old,
        batches,
    })
}

/// Moves entries from one state, where they were filed under this, to another.
fn move_all(
    connection: &Connection,
    tally: &mut Tally,
    (from, filed_under, to): (EntryState, &str, EntryState),
    statement: &str,
) -> Result<(), LedgerError> {
    let moved = connection.execute(statement, params![to.code(), from.code()])?;
    tally.add(from, filed_under, -(moved as i64));
    tally.add(to, "", moved as i64);
    Ok(())
}

#[cfg(test)]
mod tests;

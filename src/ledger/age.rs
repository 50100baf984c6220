//! Look-ups that are too old to be sent by: their entries wait for another one.
//!
//! Between a look-up and the request that rests on it, an email may have moved to another profile. What was looked up
//! longer ago than is allowed is forgotten, and so is what this machine's clock says will be looked up: nobody can tell
//! how old that is. A sealed batch that holds such an entry is taken apart, but only if it was never attempted and
//! nobody has concluded anything about it: whatever may have left is never regrouped. All of it happens in one
//! transaction, before the run; nothing is sent by then, so a cut in between loses nothing.

use super::error::LedgerError;
use super::load::Loading;
use super::read::unsigned;
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
const APART: &str = "CREATE TEMP TABLE apart (id INTEGER PRIMARY KEY);
    CREATE TEMP TABLE old (id INTEGER PRIMARY KEY);";
const DROP_APART: &str = "DROP TABLE temp.apart; DROP TABLE temp.old;";
const CHOOSE: &str = "INSERT INTO temp.apart SELECT id FROM batch WHERE state = 0 AND split_from IS NULL
    AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.batch = batch.id)
    AND NOT EXISTS (SELECT 1 FROM absence WHERE absence.batch = batch.id)
    AND NOT EXISTS (SELECT 1 FROM ruling WHERE ruling.batch = batch.id)
    AND EXISTS (SELECT 1 FROM entry WHERE entry.batch = batch.id AND (resolved_at IS NULL OR resolved_at NOT BETWEEN ?1 AND ?2))";
const OLD: &str = "INSERT INTO temp.old SELECT id FROM entry
    WHERE state = ?3 AND (resolved_at IS NULL OR resolved_at NOT BETWEEN ?1 AND ?2)";
const FORGET: &str =
    "UPDATE entry SET state = ?1, reason = NULL, detail = NULL, profile_id = NULL, held = NULL,
    resolved_at = NULL, reused = NULL, reuse = NULL WHERE state = ?2 AND ";

impl Loading<'_> {
    /// Forgets look-ups that are older than this. Must not be asked of a copy whose original may have sent something.
    pub fn forget_lookups(&mut self, max_age: Duration) -> Result<Forgotten, LedgerError> {
        let connection = self.file_rows()?;
        let now = now_ms();
        let age = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        // Without an age, what was looked up in this very moment is old as well.
        let (from, to) = if age == 0 {
            (1, 0)
        } else {
            (now.saturating_sub(age), now)
        };
        connection.execute_batch(APART)?;
        let batches = connection.execute(CHOOSE, params![from, to])? as u64;
        let mut tally = Tally::default();
        let unsealed = entry::apply(EntryState::Batched, EntryEvent::Unseal)?;
        move_all(
            connection,
            &mut tally,
            (EntryState::Batched, "", unsealed),
            "UPDATE entry SET state = ?1, batch = NULL WHERE state = ?2 AND batch IN (SELECT id FROM temp.apart)",
        )?;
        connection.execute_batch("DELETE FROM batch WHERE id IN (SELECT id FROM temp.apart)")?;
        let resolved = EntryState::Resolved;
        connection.execute(OLD, params![from, to, resolved.code()])?;
        let released = entry::apply(EntryState::Skipped, EntryEvent::Release)?;
        let same_profile = SkipReason::SameProfile.as_str();
        let released = move_all(
            connection,
            &mut tally,
            (EntryState::Skipped, same_profile, released),
            &format!(
                "{FORGET} reason = '{same_profile}' AND profile_id IN (SELECT profile_id FROM temp.old JOIN entry USING (id))"
            ),
        )?;
        let forgotten = entry::apply(resolved, EntryEvent::Forget)?;
        let forgotten = move_all(
            connection,
            &mut tally,
            (resolved, "", forgotten),
            &format!("{FORGET} id IN (SELECT id FROM temp.old)"),
        )?;
        save_tally(connection, &tally)?;
        connection.execute_batch(DROP_APART)?;
        let count = "SELECT coalesce(sum(entries), 0) FROM tally WHERE state = ?1";
        Ok(Forgotten {
            entries: forgotten + released,
            resolved: connection.query_row(count, [resolved.code()], |row| unsigned(row, 0))?,
            batches,
        })
    }
}

/// Moves entries from one state, where they were filed under this, to another; says how many.
fn move_all(
    connection: &Connection,
    tally: &mut Tally,
    (from, filed_under, to): (EntryState, &str, EntryState),
    statement: &str,
) -> Result<u64, LedgerError> {
    let moved = connection.execute(statement, params![to.code(), from.code()])?;
    tally.add(from, filed_under, -(moved as i64));
    tally.add(to, "", moved as i64);
    Ok(moved as u64)
}

#[cfg(test)]
mod tests;

//! What a walk through all profiles has seen so far: enough to go on after a kill, and to conclude from at its end.

use super::error::LedgerError;
use super::read;
use super::time::now_ms;
use super::write::{Transaction, handles_json};
use super::writer::Writer;
use crate::model::ids::{EntryId, Handle, ProfileId};
use crate::model::lookup::Found;
use rusqlite::{OptionalExtension, params};

/// How far a walk has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanState {
    /// Everybody up to this profile has been seen; nobody yet where it is `None`.
    pub seen_to: Option<ProfileId>,
    /// About how many profiles that are.
    pub place: u64,
    /// Whether everybody has been seen.
    pub complete: bool,
}

/// A profile that bears the email of an entry, as the walk saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The profile, with its email folded as the ledger's emails are.
    pub found: Found,
    /// Whether it settles its entry if nobody else is seen.
    pub clear: bool,
}

/// The profiles that were seen for one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The entry.
    pub entry: EntryId,
    /// The profiles, with what each held where that is clear.
    pub profiles: Vec<(ProfileId, Option<Vec<Handle>>)>,
}

impl Writer {
    /// The walk that an earlier run left, or the beginning of a new one.
    pub async fn scan(&self) -> Result<ScanState, LedgerError> {
        self.vital(|transaction| transaction.scan()).await
    }

    /// Notes who was seen, and how far the walk is with that. Repeatable.
    pub async fn scanned(&self, sightings: Vec<Sighting>, state: ScanState) -> Result<(), LedgerError> {
        self.repeatable(move |transaction| transaction.scanned(&sightings, &state))
            .await
    }

    /// The next entries after `after` that somebody was seen for and that have no verdict yet.
    pub async fn seen_after(&self, after: EntryId, limit: usize) -> Result<Vec<Seen>, LedgerError> {
        self.vital(move |transaction| transaction.seen_after(after, limit))
            .await
    }

    /// Forgets the walk: its conclusions stand in the entries, or it cannot be gone on with.
    pub async fn forget_scan(&self) -> Result<(), LedgerError> {
        self.vital(|transaction| {
            transaction
                .connection
                .execute_batch("DELETE FROM sighting; DELETE FROM scan;")?;
            Ok(())
        })
        .await
    }
}

impl Transaction<'_> {
    fn scan(&mut self) -> Result<ScanState, LedgerError> {
        let found = self
            .connection
            .query_row("SELECT seen_to, place, complete FROM scan", [], |row| {
                let seen_to: String = row.get(0)?;
                Ok(ScanState {
                    seen_to: (!seen_to.is_empty()).then(|| ProfileId::new(seen_to)),
                    place: read::unsigned(row, 1)?,
                    complete: row.get(2)?,
                })
            })
            .optional()?;
        if let Some(state) = found {
            return Ok(state);
        }
        self.connection.execute(
            "INSERT INTO scan (only_row, entries, seen_to, place, began_at)
             VALUES (1, (SELECT coalesce(max(id), 0) FROM entry), '', 0, ?1)",
            params![now_ms()],
        )?;
        Ok(ScanState::default())
    }

    fn scanned(&mut self, sightings: &[Sighting], state: &ScanState) -> Result<(), LedgerError> {
        let mut note = self.connection.prepare_cached(
            "INSERT INTO sighting (entry, profile_id, held)
             SELECT id, ?2, ?3 FROM entry
             WHERE email = ?1 AND state = 0 AND id <= (SELECT entries FROM scan)
             ON CONFLICT DO NOTHING",
        )?;
        for Sighting { found, clear } in sightings {
            let held = found.held.as_deref().filter(|_| *clear).map(handles_json);
            note.execute(params![found.email, found.profile.as_str(), held])?;
        }
        let seen_to = state.seen_to.as_ref().map_or("", ProfileId::as_str);
        self.connection.execute(
            "UPDATE scan SET seen_to = ?1, place = ?2, complete = ?3",
            params![seen_to, state.place as i64, state.complete],
        )?;
        Ok(())
    }

    fn seen_after(&mut self, after: EntryId, limit: usize) -> Result<Vec<Seen>, LedgerError> {
        let mut query = self.connection.prepare_cached(
            "SELECT entry, sighting.profile_id, sighting.held FROM sighting JOIN entry ON entry.id = sighting.entry
             WHERE sighting.entry > ?1 AND entry.state = 0 AND sighting.entry <= (
                 SELECT max(entry) FROM (
                     SELECT DISTINCT entry FROM sighting JOIN entry AS waiting ON waiting.id = sighting.entry
                     WHERE entry > ?1 AND waiting.state = 0 ORDER BY entry LIMIT ?2))
             ORDER BY entry, sighting.profile_id",
        )?;
        let mut rows = query.query(params![after.0, limit as i64])?;
        let mut seen: Vec<Seen> = Vec::new();
        while let Some(row) = rows.next()? {
            let entry = EntryId(row.get(0)?);
            let held: Option<String> = row.get(2)?;
            let held = held.map(|held| read::handles_from_json(&held)).transpose()?;
            let profile = (ProfileId::new(row.get::<_, String>(1)?), held);
            match seen.last_mut().filter(|last| last.entry == entry) {
                Some(last) => last.profiles.push(profile),
                None => seen.push(Seen {
                    entry,
                    profiles: vec![profile],
                }),
            }
        }
        Ok(seen)
    }
}

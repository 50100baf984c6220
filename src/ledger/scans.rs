//! What a walk through all profiles has seen so far: enough to go on after a kill, and to conclude from at its end.

use super::error::LedgerError;
use super::read::{self, PendingEntry};
use super::time::now_ms;
use super::write::{Transaction, handles_json};
use super::writer::Writer;
use crate::model::ids::{EntryId, Handle, ProfileId};
use crate::model::lookup::Found;
use rusqlite::{OptionalExtension, params};
use std::time::Duration;

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

/// A walk as it stands in the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BegunScan {
    /// How far it has come.
    pub state: ScanState,
    /// How long ago it began; `None` where the clock says that it has yet to begin.
    pub age: Option<Duration>,
}

/// An entry that a walk settles: exactly one profile was seen for it.
#[derive(Clone, PartialEq, Eq)]
pub struct SeenOnce {
    /// The entry.
    pub entry: PendingEntry,
    /// The profile.
    pub profile: ProfileId,
}

/// A profile that bears the email of an entry, as the walk saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The profile, with its email folded as the ledger's emails are.
    pub found: Found,
    /// Whether it settles its entry if nobody else is seen.
    pub clear: bool,
}

/// What a walk says of an entry that it settles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The entry.
    pub entry: EntryId,
    /// The one profile that was seen for it.
    pub profile: ProfileId,
    /// What that held.
    pub held: Vec<Handle>,
}

impl Writer {
    /// The walk that an earlier run left, or the beginning of a new one.
    pub async fn scan(&self) -> Result<BegunScan, LedgerError> {
        self.vital(|transaction| transaction.scan()).await
    }

    /// Notes who was seen, and how far the walk is with that. Repeatable.
    pub async fn scanned(&self, sightings: Vec<Sighting>, state: ScanState) -> Result<(), LedgerError> {
        self.repeatable(move |transaction| transaction.scanned(&sightings, &state))
            .await
    }

    /// The next entries after `after` that the walk settles and that have no verdict yet.
    pub async fn seen_after(&self, after: EntryId, limit: usize) -> Result<Vec<Seen>, LedgerError> {
        self.vital(move |transaction| transaction.seen_after(after, limit))
            .await
    }

    /// How many entries the walk settles.
    pub async fn seen(&self) -> Result<u64, LedgerError> {
        self.vital(|transaction| transaction.seen()).await
    }

    /// So many of the entries that the walk settles, chosen at random.
    pub async fn some_seen(&self, entries: usize) -> Result<Vec<SeenOnce>, LedgerError> {
        self.vital(move |transaction| transaction.some_seen(entries))
            .await
    }

    /// Settles an entry no more by the walk.
    pub async fn unsee(&self, entry: EntryId) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            let mut forget = transaction
                .connection
                .prepare_cached("DELETE FROM sighting WHERE entry = ?1")?;
            Ok(forget.execute([entry.0]).map(drop)?)
        })
        .await
    }

    /// Forgets the walk: its conclusions stand in the entries, or it cannot be gone on with.
    pub async fn forget_scan(&self) -> Result<(), LedgerError> {
        self.vital(|transaction| Ok(transaction.connection.execute_batch(FORGET_SCAN)?))
            .await
    }
}

impl Transaction<'_> {
    fn scan(&mut self) -> Result<BegunScan, LedgerError> {
        let now = now_ms();
        let found = self
            .connection
            .query_row("SELECT seen_to, place, complete, began_at FROM scan", [], |row| {
                let seen_to: String = row.get(0)?;
                let state = ScanState {
                    seen_to: (!seen_to.is_empty()).then(|| ProfileId::new(seen_to)),
                    place: read::unsigned(row, 1)?,
                    complete: row.get(2)?,
                };
                let age_ms = now.saturating_sub(row.get(3)?);
                let age = u64::try_from(age_ms).ok().map(Duration::from_millis);
                Ok(BegunScan { state, age })
            })
            .optional()?;
        if let Some(begun) = found {
            return Ok(begun);
        }
        self.connection.execute(
            "INSERT INTO scan (only_row, entries, seen_to, place, began_at)
             VALUES (1, (SELECT coalesce(max(id), 0) FROM entry), '', 0, ?1)",
            params![now],
        )?;
        Ok(BegunScan {
            age: Some(Duration::ZERO),
            ..BegunScan::default()
        })
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
        let mut query = self.connection.prepare_cached(SEEN_AFTER)?;
        let mut rows = query.query(params![after.0, limit as i64])?;
        let mut seen = Vec::new();
        while let Some(row) = rows.next()? {
            seen.push(Seen {
                entry: EntryId(row.get(0)?),
                profile: ProfileId::new(row.get::<_, String>(1)?),
                held: read::handles_from_json(&row.get::<_, String>(2)?)?,
            });
        }
        Ok(seen)
    }

    fn seen(&mut self) -> Result<u64, LedgerError> {
        let count = format!("SELECT count(*) FROM ({SETTLED})");
        Ok(self
            .connection
            .query_row(&count, [], |row| read::unsigned(row, 0))?)
    }

    fn some_seen(&mut self, entries: usize) -> Result<Vec<SeenOnce>, LedgerError> {
        let mut query = self
            .connection
            .prepare(&format!("SELECT entry FROM ({SETTLED})"))?;
        let mut failure = None;
        let settled = query
            .query_map([], |row| row.get::<_, i64>(0))?
            .map_while(|id| id.map_err(|error| failure = Some(error)).ok());
        let chosen = fastrand::choose_multiple(settled, entries);
        if let Some(error) = failure {
            return Err(error.into());
        }
        let mut query = self.connection.prepare_cached(
            "SELECT email, sighting.profile_id FROM entry JOIN sighting ON sighting.entry = entry.id WHERE id = ?1",
        )?;
        let read = |id| {
            query.query_row([id], |row| {
                Ok(SeenOnce {
                    entry: PendingEntry {
                        id: EntryId(id),
                        email: row.get(0)?,
                        // A scan is for tenants that fold case.
                        spellings: Vec::new(),
                    },
                    profile: ProfileId::new(row.get::<_, String>(1)?),
                })
            })
        };
        Ok(chosen.into_iter().map(read).collect::<Result<_, _>>()?)
    }
}

/// Takes a walk away with all that it saw.
pub(super) const FORGET_SCAN: &str = "DELETE FROM sighting; DELETE FROM scan;";

/// What settles an entry: one profile, and no other, clear in what it says.
const SETTLED: &str = "SELECT entry, min(profile_id) AS profile_id, min(held) AS held FROM sighting
    GROUP BY entry HAVING count(*) = 1 AND count(held) = 1";

const SEEN_AFTER: &str = "SELECT entry, min(sighting.profile_id), min(sighting.held)
    FROM sighting JOIN entry ON entry.id = sighting.entry
    WHERE sighting.entry > ?1 AND entry.state = 0
    GROUP BY entry HAVING count(*) = 1 AND count(sighting.held) = 1 ORDER BY entry LIMIT ?2";

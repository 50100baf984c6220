//! The history of one entry or one batch: every fact that the ledger has about it, for those who ask afterwards.

use super::error::LedgerError;
use super::read::{Reader, handles_from_json, unsigned};
use crate::model::entry::EntryState;
use crate::model::ids::{BatchId, BatchNo, EntryId, Handle, ProfileId};
use rusqlite::{OptionalExtension, Row, params};

/// A row of a list that names an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the list is called.
    pub list: String,
    /// The line of the row.
    pub line: u64,
    /// How the row spells the email, where that differs.
    pub written: Option<String>,
    /// When the list was loaded, in milliseconds since 1970 UTC.
    pub loaded_at: Option<i64>,
}

/// An entry that was tried again: as it was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryRow {
    /// The batch of which it was a member.
    pub batch: Option<BatchNo>,
    /// Why it had failed, with the words that came with it.
    pub reason: Option<String>,
    /// Those words.
    pub detail: Option<String>,
    /// Who decided and why, where a person had to.
    pub decision: Option<(String, String)>,
    /// When, in milliseconds since 1970 UTC.
    pub retried_at: i64,
}

/// All that the ledger knows about an entry. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug)]
pub struct EntryHistory {
    /// Which one.
    pub id: EntryId,
    /// Its email, trimmed and case-folded.
    pub email: String,
    /// Where it stands.
    pub state: EntryState,
    /// Why.
    pub reason: Option<String>,
    /// The words that came with that.
    pub detail: Option<String>,
    /// On what its confirmation rests.
    pub evidence: Option<String>,
    /// Its profile.
    pub profile: Option<ProfileId>,
    /// The handles that the profile had when it was looked up.
    pub held: Option<Vec<Handle>>,
    /// The batch that it is a member of.
    pub batch: Option<BatchNo>,
    /// How many rows name it.
    pub occurrences: u64,
    /// The rows that name it, the first one first.
    pub places: Vec<Place>,
    /// The profiles that bear its email, where those are several.
    pub candidates: Vec<ProfileId>,
    /// The email of the entry that was sent in its place, where both lead to one profile.
    pub sent_as: Option<String>,
    /// When its look-up was concluded.
    pub resolved_at: Option<i64>,
    /// When its end was written down.
    pub settled_at: Option<i64>,
    /// The ledger that its look-up was taken from, and when that one made it.
    pub reused: Option<(String, i64)>,
    /// How often it was tried again.
    pub retries: Vec<RetryRow>,
}

/// What stands in a line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineOf {
    /// A row that names an entry.
    Entry(EntryId),
    /// A row without a usable email.
    Rejected {
        /// Why, as a word.
        reason: String,
        /// Why, in words.
        detail: String,
        /// What stood there.
        excerpt: String,
    },
}

/// One request for a batch. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRow {
    /// The run that made it.
    pub run: i64,
    /// How many profiles it was about.
    pub members: u64,
    /// When it was about to leave.
    pub sent_at: i64,
    /// The class of its answer, when it came, and the words that came with it; `None` where nobody saw one.
    pub answer: Option<(String, i64, Option<String>)>,
    /// The tenant's id for the batch.
    pub batch_id: Option<BatchId>,
    /// Why it was concluded that it never arrived, where it was.
    pub absence: Option<AbsenceRow>,
}

/// That a request never arrived, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsenceRow {
    /// The maximum request lifetime that was waited for, in milliseconds.
    pub lifetime_ms: u64,
    /// How many profiles were looked at, none of which showed the change.
    pub members: u64,
    /// Whether a person ruled so.
    pub by_ruling: bool,
    /// What the tenant's list of batches showed: `nothing` or `unreadable`.
    pub listed: String,
    /// When it was concluded.
    pub concluded_at: i64,
}

/// What a person decided about a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulingRow {
    /// `sent` or `absent`.
    pub verdict: String,
    /// Who.
    pub person: String,
    /// Why.
    pub because: String,
    /// When, in milliseconds since 1970 UTC.
    pub ruled_at: i64,
}

/// A member of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// Its email.
    pub email: String,
    /// Its profile.
    pub profile: ProfileId,
    /// Where it stands.
    pub state: EntryState,
    /// The evidence of its confirmation, or why it failed.
    pub reason: Option<String>,
}

impl Reader {
    /// The entry with an email, trimmed and case-folded.
    pub fn entry_of_email(&self, email: &str) -> Result<Option<EntryId>, LedgerError> {
        Ok(super::load::entry_of(&self.connection, email)?.map(EntryId))
    }

    /// The entries that a profile was found for, or could be meant by. Walks the entries.
    pub fn entries_of_profile(&self, profile: &str) -> Result<Vec<EntryId>, LedgerError> {
        let mut query = self.connection.prepare(
            "SELECT id FROM entry WHERE profile_id = ?1 COLLATE NOCASE
             UNION SELECT entry FROM candidate WHERE profile_id = ?1 COLLATE NOCASE ORDER BY 1",
        )?;
        let ids = query.query_map([profile], |row| Ok(EntryId(row.get(0)?)))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// What stands in a line of a list, by the list's number.
    pub fn line_of(&self, list: i64, line: u64) -> Result<Option<LineOf>, LedgerError> {
        let place = params![list, line as i64];
        let entry = "SELECT id FROM entry WHERE list = ?1 AND line = ?2
            UNION ALL SELECT entry FROM repeated WHERE list = ?1 AND line = ?2 LIMIT 1";
        let entry: Option<i64> = self
            .connection
            .query_row(entry, place, |row| row.get(0))
            .optional()?;
        if let Some(id) = entry {
            return Ok(Some(LineOf::Entry(EntryId(id))));
        }
        let reject = "SELECT reason, detail, excerpt FROM reject WHERE list = ?1 AND line = ?2 LIMIT 1";
        let rejected = |row: &Row<'_>| {
            Ok(LineOf::Rejected {
                reason: row.get(0)?,
                detail: row.get(1)?,
                excerpt: row.get(2)?,
            })
        };
        Ok(self.connection.query_row(reject, place, rejected).optional()?)
    }

    /// All that is known about an entry.
    pub fn history(&self, id: EntryId) -> Result<EntryHistory, LedgerError> {
        let mut history = self.connection.query_row(
            "SELECT email, state, reason, detail, evidence, profile_id, batch, occurrences, resolved_at, settled_at,
                 reused, (SELECT ledger_id FROM reuse WHERE reuse.id = entry.reuse), held
             FROM entry WHERE id = ?1",
            [id.0],
            |row| {
                let code: i64 = row.get(1)?;
                let source: Option<String> = row.get(11)?;
                let history = EntryHistory {
                    id,
                    email: row.get(0)?,
                    state: EntryState::from_code(code)
                        .ok_or(rusqlite::Error::IntegralValueOutOfRange(1, code))?,
                    reason: row.get(2)?,
                    detail: row.get(3)?,
                    evidence: row.get(4)?,
                    profile: row.get::<_, Option<String>>(5)?.map(ProfileId::new),
                    batch: row.get::<_, Option<i64>>(6)?.map(BatchNo),
                    occurrences: unsigned(row, 7)?,
                    resolved_at: row.get(8)?,
                    settled_at: row.get(9)?,
                    reused: source.zip(row.get(10)?),
                    held: None,
                    places: Vec::new(),
                    candidates: Vec::new(),
                    sent_as: None,
                    retries: Vec::new(),
                };
                Ok((history, row.get::<_, Option<String>>(12)?))
            },
        )?;
        history.0.held = history.1.map(|held| handles_from_json(&held)).transpose()?;
        let mut history = history.0;
        history.places = self.places(id)?;
        history.candidates = self.candidates(id)?;
        history.sent_as = self.sent_as(&history)?;
        history.retries = self.retries(id)?;
        Ok(history)
    }

    fn places(&self, id: EntryId) -> Result<Vec<Place>, LedgerError> {
        let names = super::lists::names(&self.connection)?;
        let mut query = self.connection.prepare(
            "SELECT named.list, named.line, named.written, loaded_at FROM
                 (SELECT list, line, written, 0 AS nth FROM entry WHERE id = ?1
                  UNION ALL SELECT list, line, written, rowid FROM repeated WHERE entry = ?1) AS named
             LEFT JOIN list ON list.id = named.list ORDER BY nth",
        )?;
        let rows = query.query_map([id.0], |row| {
            Ok(Place {
                list: names.get(&row.get(0)?).cloned().unwrap_or_default(),
                line: unsigned(row, 1)?,
                written: row.get(2)?,
                loaded_at: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn candidates(&self, id: EntryId) -> Result<Vec<ProfileId>, LedgerError> {
        let mut query = self
            .connection
            .prepare("SELECT profile_id FROM candidate WHERE entry = ?1 ORDER BY profile_id")?;
        let rows = query.query_map([id.0], |row| Ok(ProfileId::new(row.get::<_, String>(0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn sent_as(&self, history: &EntryHistory) -> Result<Option<String>, LedgerError> {
        let profile = history.profile.as_ref().map(ProfileId::as_str);
        let (Some(profile), EntryState::Skipped) = (profile, history.state) else {
            return Ok(None);
        };
        let other = "SELECT email FROM entry WHERE profile_id = ?1 AND state IN (1, 2, 3, 6) AND id <> ?2";
        let other = self
            .connection
            .query_row(other, params![profile, history.id.0], |row| row.get(0));
        Ok(other.optional()?)
    }

    fn retries(&self, id: EntryId) -> Result<Vec<RetryRow>, LedgerError> {
        let mut query = self.connection.prepare(
            "SELECT batch, reason, detail, person, because, retried_at FROM retry WHERE entry = ?1 ORDER BY id",
        )?;
        let rows = query.query_map([id.0], |row| {
            let person: Option<String> = row.get(3)?;
            Ok(RetryRow {
                batch: row.get::<_, Option<i64>>(0)?.map(BatchNo),
                reason: row.get(1)?,
                detail: row.get(2)?,
                decision: person.zip(row.get(4)?),
                retried_at: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The requests that were made for a batch, the first one first.
    pub fn attempts(&self, no: BatchNo) -> Result<Vec<AttemptRow>, LedgerError> {
        let mut query = self.connection.prepare(
            "SELECT attempt.run, attempt.members, attempt.sent_at, class, answered_at, answer.detail, answer.batch_id,
                 quiet_ms, absence.members, ruling IS NOT NULL, listed, concluded_at
             FROM attempt LEFT JOIN answer ON answer.attempt = attempt.id
             LEFT JOIN absence ON absence.attempt = attempt.id
             WHERE attempt.batch = ?1 ORDER BY attempt.id",
        )?;
        let rows = query.query_map([no.0], attempt)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What people decided about a batch, the first decision first.
    pub fn rulings(&self, no: BatchNo) -> Result<Vec<RulingRow>, LedgerError> {
        let mut query = self
            .connection
            .prepare("SELECT verdict, person, because, ruled_at FROM ruling WHERE batch = ?1 ORDER BY id")?;
        let rows = query.query_map([no.0], |row| {
            Ok(RulingRow {
                verdict: row.get(0)?,
                person: row.get(1)?,
                because: row.get(2)?,
                ruled_at: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The members that a batch has now, in the order of the lists.
    pub fn batch_members(&self, no: BatchNo) -> Result<Vec<MemberRow>, LedgerError> {
        let mut query = self.connection.prepare(
            "SELECT email, profile_id, state, coalesce(reason, evidence) FROM entry WHERE batch = ?1 ORDER BY id",
        )?;
        let rows = query.query_map([no.0], |row| {
            let code: i64 = row.get(2)?;
            Ok(MemberRow {
                email: row.get(0)?,
                profile: ProfileId::new(row.get::<_, String>(1)?),
                state: EntryState::from_code(code)
                    .ok_or(rusqlite::Error::IntegralValueOutOfRange(2, code))?,
                reason: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    let class: Option<String> = row.get(3)?;
    let concluded_at: Option<i64> = row.get(11)?;
    let absence = concluded_at.map(|concluded_at| {
        Ok::<_, rusqlite::Error>(AbsenceRow {
            lifetime_ms: unsigned(row, 7)?,
            members: unsigned(row, 8)?,
            by_ruling: row.get(9)?,
            listed: row.get(10)?,
            concluded_at,
        })
    });
    Ok(AttemptRow {
        run: row.get(0)?,
        members: unsigned(row, 1)?,
        sent_at: row.get(2)?,
        answer: class
            .map(|class| Ok::<_, rusqlite::Error>((class, row.get(4)?, row.get(5)?)))
            .transpose()?,
        batch_id: row.get::<_, Option<String>>(6)?.map(BatchId::new),
        absence: absence.transpose()?,
    })
}

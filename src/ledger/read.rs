//! Questions to a ledger. Answered at once whatever its size, unless the name says that it walks.

use super::error::LedgerError;
use super::load;
use super::open::open_for_reading;
use crate::model::batch::BatchState;
use crate::model::email::Email;
use crate::model::entry::EntryState;
use crate::model::ids::{Action, BatchId, BatchNo, EntryId, Handle, Job, ProfileId};
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};
use std::collections::HashMap;
use std::path::Path;

/// An entry that waits for its look-up.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingEntry {
    /// Which one.
    pub id: EntryId,
    /// Its email, trimmed and case-folded.
    pub email: String,
    /// How its lists spell it, where that differs from the email: each spelling once, trimmed.
    pub spellings: Vec<String>,
}

/// A member of a sealed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedMember {
    /// The entry.
    pub id: EntryId,
    /// The email that led to its profile.
    pub email: Email,
    /// Its profile.
    pub profile: ProfileId,
    /// What the profile held when it was looked up.
    pub held: Vec<Handle>,
    /// Whether that was seen by another ledger, and may have changed before this one sent anything.
    pub reused: bool,
}

/// A batch that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBatch {
    /// Its number in this ledger.
    pub no: BatchNo,
    /// Where it stands.
    pub state: BatchState,
    /// How many members it was sealed with.
    pub size: usize,
}

/// How it is known that the tenant has a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The tenant's id, where it named one.
    pub batch_id: Option<BatchId>,
    /// Whether a person said so.
    pub by_ruling: bool,
}

/// The pinned job, with how much of it somebody has said yes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedJob {
    /// The job.
    pub job: Job,
    /// Entries up to this one were in the ledger when the job was confirmed.
    pub confirmed_entries: u64,
}

impl PinnedJob {
    /// Refuses any other job, tenant or handle.
    pub fn same_as(&self, asked: &Job) -> Result<(), LedgerError> {
        if self.job == *asked {
            return Ok(());
        }
        let describe = |job: &Job| format!("{} {} at {}", job.action, job.handles_text(), job.tenant);
        Err(LedgerError::OtherJob {
            pinned: describe(&self.job),
            asked: describe(asked),
        })
    }
}

/// How many entries are in which state, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// (state, its reason or evidence or nothing, entries), in the order of the states.
    pub rows: Vec<(EntryState, String, u64)>,
}

impl Counts {
    /// Entries in a state.
    pub fn in_state(&self, state: EntryState) -> u64 {
        self.rows
            .iter()
            .filter(|row| row.0 == state)
            .map(|row| row.2)
            .sum()
    }

    /// All entries.
    pub fn total(&self) -> u64 {
        self.rows.iter().map(|row| row.2).sum()
    }
}

/// A batch, as `batches` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// Its number in this ledger.
    pub no: BatchNo,
    /// Where it stands.
    pub state: BatchState,
    /// How many members it was sealed with.
    pub size: u64,
    /// The refused batch whose members these were.
    pub split_from: Option<BatchNo>,
    /// The tenant's id.
    pub batch_id: Option<BatchId>,
    /// Which evidence decided it, where it was in doubt.
    pub rung: Option<String>,
    /// Who ruled on it, how and why, where a person did.
    pub ruling: Option<String>,
    /// The tenant's last word on it.
    pub tenant_status: Option<String>,
    /// The answer's words, or why it is held.
    pub detail: Option<String>,
    /// Requests that were made for it.
    pub attempts: u64,
    /// Times in milliseconds since 1970 UTC.
    pub sealed_at: i64,
    /// When the last attempt left.
    pub sent_at: Option<i64>,
    /// When it was settled.
    pub settled_at: Option<i64>,
    /// How its members came out.
    pub outcome: BatchOutcome,
    /// Members that failed and were taken up again since.
    pub retried: u64,
}

/// How the members of a batch came out so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchOutcome {
    /// Members that are confirmed.
    pub confirmed: u64,
    /// Members that failed.
    pub failed: u64,
    /// Why most of those failed: a word, and the words that came with it.
    pub failure: Option<(String, String)>,
    /// How many failed for that reason.
    most: u64,
}

/// A ledger that is being looked at; a run may be going on beside it.
pub struct Reader {
    pub(super) connection: Connection,
}

impl Reader {
    /// Opens a ledger for reading. Takes no lock and waits for nobody.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self {
            connection: open_for_reading(path)?,
        })
    }

    /// Holds on to the state of this moment, so that several questions get answers that agree.
    pub fn freeze(&self) -> Result<(), LedgerError> {
        self.connection.execute_batch("BEGIN")?;
        // A deferred transaction has no snapshot before its first read.
        self.connection
            .query_row("SELECT epoch FROM meta", [], |_| Ok(()))?;
        Ok(())
    }

    /// The job, where the ledger is pinned to one.
    pub fn job(&self) -> Result<Option<PinnedJob>, LedgerError> {
        job(&self.connection)
    }

    /// Entries by state.
    pub fn counts(&self) -> Result<Counts, LedgerError> {
        tally(&self.connection)
    }

    /// So many entries that have not been looked up, chosen at random.
    pub fn sample(&self, size: usize) -> Result<Vec<Email>, LedgerError> {
        sample(&self.connection, size)
    }

    /// Whether an email, trimmed and case-folded, is an entry.
    pub fn holds(&self, email: &str) -> Result<bool, LedgerError> {
        Ok(load::entry_of(&self.connection, email)?.is_some())
    }

    /// The number and the name under which this very list was loaded.
    pub fn loaded_as(&self, identity: &load::ListIdentity) -> Result<Option<(i64, String)>, LedgerError> {
        load::loaded_as(&self.connection, identity)
    }

    /// How many batches are in which state.
    pub fn batch_counts(&self) -> Result<Vec<(BatchState, u64)>, LedgerError> {
        batch_counts(&self.connection)
    }

    /// Whether a list with this content, decompressed, was loaded, however it was read.
    pub fn knows_content(&self, digest: &[u8; 32]) -> Result<bool, LedgerError> {
        let some = "SELECT EXISTS (SELECT 1 FROM list WHERE digest = ?1)";
        Ok(self.connection.query_row(some, [&digest[..]], |row| row.get(0))?)
    }

    /// What tells this ledger from all others.
    pub fn ledger_id(&self) -> Result<String, LedgerError> {
        let id = "SELECT ledger_id FROM meta";
        Ok(self.connection.query_row(id, [], |row| row.get(0))?)
    }

    /// Members that were chosen at random and seen, over all settled batches.
    pub fn sampled(&self) -> Result<u64, LedgerError> {
        let sampled = "SELECT coalesce(sum(sampled), 0) FROM batch";
        Ok(self.connection.query_row(sampled, [], |row| unsigned(row, 0))?)
    }

    /// All batches, oldest first.
    pub fn batches(&self) -> Result<Vec<BatchRow>, LedgerError> {
        self.batch_rows(None)
    }

    /// One batch.
    pub fn batch(&self, no: BatchNo) -> Result<Option<BatchRow>, LedgerError> {
        Ok(self.batch_rows(Some(no))?.pop())
    }

    fn batch_rows(&self, only: Option<BatchNo>) -> Result<Vec<BatchRow>, LedgerError> {
        let only = only.map(|no| no.0);
        let mut query = self.connection.prepare(
            "SELECT id, state, size, split_from, batch_id, rung, tenant_status, detail, sealed_at, sent_at, settled_at,
                    coalesce(attempts, 0), (SELECT verdict || ' by ' || person || ': ' || because FROM ruling
                        WHERE ruling.batch = batch.id ORDER BY ruling.id DESC LIMIT 1),
                    (SELECT count(*) FROM retry WHERE retry.batch = batch.id)
             FROM batch LEFT JOIN (SELECT batch AS no, count(*) AS attempts FROM attempt GROUP BY batch) ON no = id
             WHERE ?1 IS NULL OR id = ?1 ORDER BY id",
        )?;
        let mut rows = query.query([only])?;
        let mut batches = Vec::new();
        let mut outcomes = outcomes(&self.connection, only)?;
        while let Some(row) = rows.next()? {
            batches.push(BatchRow {
                outcome: outcomes.remove(&row.get(0)?).unwrap_or_default(),
                no: BatchNo(row.get(0)?),
                state: batch_state(row.get(1)?)?,
                size: unsigned(row, 2)?,
                split_from: row.get::<_, Option<i64>>(3)?.map(BatchNo),
                batch_id: row.get::<_, Option<String>>(4)?.map(BatchId::new),
                rung: row.get(5)?,
                tenant_status: row.get(6)?,
                detail: row.get(7)?,
                sealed_at: row.get(8)?,
                sent_at: row.get(9)?,
                settled_at: row.get(10)?,
                attempts: unsigned(row, 11)?,
                ruling: row.get(12)?,
                retried: unsigned(row, 13)?,
            });
        }
        Ok(batches)
    }
}

/// How the members of each batch, or of only one, came out. Walks the members.
fn outcomes(connection: &Connection, only: Option<i64>) -> Result<HashMap<i64, BatchOutcome>, LedgerError> {
    let mut query = connection.prepare(
        "SELECT batch, state, count(*), coalesce(reason, ''), coalesce(min(detail), '') FROM entry
         WHERE batch IS NOT NULL AND (?1 IS NULL OR batch = ?1) AND state IN (3, 6) GROUP BY batch, state, reason",
    )?;
    let mut rows = query.query([only])?;
    let mut outcomes: HashMap<i64, BatchOutcome> = HashMap::new();
    while let Some(row) = rows.next()? {
        let outcome = outcomes.entry(row.get(0)?).or_default();
        let members = unsigned(row, 2)?;
        if row.get::<_, i64>(1)? == EntryState::Confirmed.code() {
            outcome.confirmed += members;
            continue;
        }
        outcome.failed += members;
        if members > outcome.most {
            outcome.most = members;
            outcome.failure = Some((row.get(3)?, row.get(4)?));
        }
    }
    Ok(outcomes)
}

pub(super) fn job(connection: &Connection) -> Result<Option<PinnedJob>, LedgerError> {
    let row = connection
        .query_row(
            "SELECT tenant, action, handles, confirmed_entries FROM job",
            [],
            |row| {
                let texts: (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((texts, unsigned(row, 3)?))
            },
        )
        .optional()?;
    let Some(((tenant, action, handles), confirmed_entries)) = row else {
        return Ok(None);
    };
    let action =
        Action::from_word(&action).ok_or_else(|| LedgerError::Damaged(format!("action {action}")))?;
    let handles = handles_from_json(&handles)?;
    Ok(Some(PinnedJob {
        job: Job {
            tenant,
            action,
            handles,
        },
        confirmed_entries,
    }))
}

pub(super) fn batch_counts(connection: &Connection) -> Result<Vec<(BatchState, u64)>, LedgerError> {
    let mut query = connection.prepare("SELECT state, count(*) FROM batch GROUP BY state ORDER BY state")?;
    let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, unsigned(row, 1)?)))?;
    rows.map(|row| {
        let (code, batches) = row?;
        Ok((batch_state(code)?, batches))
    })
    .collect()
}

pub(super) fn tally(connection: &Connection) -> Result<Counts, LedgerError> {
    let mut query = connection
        .prepare("SELECT state, reason, entries FROM tally WHERE entries <> 0 ORDER BY state, reason")?;
    let rows = query.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get(1)?, unsigned(row, 2)?))
    })?;
    let mut counts = Counts::default();
    for row in rows {
        let (code, reason, entries) = row?;
        let state =
            EntryState::from_code(code).ok_or_else(|| LedgerError::Damaged(format!("entry state {code}")))?;
        counts.rows.push((state, reason, entries));
    }
    Ok(counts)
}

pub(super) fn pending_after(
    connection: &Connection,
    after: EntryId,
    limit: usize,
) -> Result<Vec<PendingEntry>, LedgerError> {
    let mut query = connection
        .prepare_cached("SELECT id, email FROM entry WHERE state = 0 AND id > ?1 ORDER BY id LIMIT ?2")?;
    pending(connection, query.query(params![after.0, limit as i64])?)
}

/// Entries from rows of their ids and emails, with how else they are spelled.
pub(super) fn pending(connection: &Connection, mut rows: Rows<'_>) -> Result<Vec<PendingEntry>, LedgerError> {
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let id = EntryId(row.get(0)?);
        entries.push(PendingEntry {
            id,
            email: row.get(1)?,
            spellings: super::lists::spellings(connection, id)?,
        });
    }
    Ok(entries)
}

/// Emails that led to a profile, with it: those of the newest batches, or else of entries that are in none.
pub(super) fn some_found(
    connection: &Connection,
    limit: usize,
) -> Result<Vec<(String, ProfileId)>, LedgerError> {
    let found = |which: &str| -> Result<Vec<(String, ProfileId)>, LedgerError> {
        let query = format!("SELECT email, profile_id FROM entry WHERE {which} LIMIT ?1");
        let mut query = connection.prepare_cached(&query)?;
        let rows = query.query_map(params![limit as i64], |row| {
            Ok((row.get(0)?, ProfileId::new(row.get::<_, String>(1)?)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    let members = found("batch IS NOT NULL AND profile_id IS NOT NULL ORDER BY batch DESC")?;
    if members.is_empty() {
        return found("state = 1 AND profile_id IS NOT NULL ORDER BY id DESC");
    }
    Ok(members)
}

/// How often the dice are thrown for one entry of a sample, where most of them have been looked up.
const THROWS: usize = 10;

/// So many pending entries, each as likely as any other; fewer where few are left, or far between.
pub(super) fn sample(connection: &Connection, size: usize) -> Result<Vec<Email>, LedgerError> {
    let end = |order: &str| {
        let end = format!("SELECT id FROM entry WHERE state = 0 ORDER BY id {order} LIMIT 1");
        connection
            .query_row(&end, [], |row| row.get::<_, i64>(0))
            .optional()
    };
    let (Some(first), Some(last)) = (end("ASC")?, end("DESC")?) else {
        return Ok(Vec::new());
    };
    let mut sample = std::collections::BTreeMap::new();
    for _ in 0..size * THROWS {
        if sample.len() == size {
            break;
        }
        let after = EntryId(fastrand::i64(first - 1..last));
        let next = pending_after(connection, after, 1)?;
        // The next one after any: those that were left over between others would come up far too often.
        let hit = next.into_iter().filter(|entry| entry.id.0 == after.0 + 1);
        sample.extend(hit.map(|entry| (entry.id, entry.email)));
    }
    let emails = sample.into_values();
    Ok(emails.map(|email| Email::from_ledger(&email)).collect())
}

/// The first entries that are resolved and in no batch.
pub(super) fn first_resolved(connection: &Connection, limit: usize) -> Result<Vec<EntryId>, LedgerError> {
    let mut query = connection.prepare_cached("SELECT id FROM entry WHERE state = 1 ORDER BY id LIMIT ?1")?;
    let rows = query.query_map(params![limit as i64], |row| Ok(EntryId(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn open_batches(connection: &Connection) -> Result<Vec<OpenBatch>, LedgerError> {
    let mut query = connection
        .prepare_cached("SELECT id, state, size FROM batch WHERE state NOT IN (3, 4) ORDER BY id")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, unsigned(row, 2)?)))?;
    rows.map(|row| {
        let (no, code, size): (i64, i64, u64) = row?;
        Ok(OpenBatch {
            no: BatchNo(no),
            state: batch_state(code)?,
            size: size as usize,
        })
    })
    .collect()
}

pub(super) fn members(connection: &Connection, no: BatchNo) -> Result<Vec<SealedMember>, LedgerError> {
    let mut query = connection.prepare_cached(
        "SELECT id, profile_id, held, email, reused IS NOT NULL FROM entry WHERE batch = ?1 ORDER BY id",
    )?;
    let rows = query.query_map(params![no.0], |row| {
        Ok((
            EntryId(row.get(0)?),
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, String>(3)?,
            row.get::<_, bool>(4)?,
        ))
    })?;
    rows.map(|row| sealed_member(row?)).collect()
}

fn sealed_member(
    (id, profile, held, email, reused): (EntryId, String, String, String, bool),
) -> Result<SealedMember, LedgerError> {
    Ok(SealedMember {
        id,
        email: Email::from_ledger(&email),
        profile: ProfileId::new(profile),
        held: handles_from_json(&held)?,
        reused,
    })
}

/// Confirmed entries that this ledger looked up itself, the last ones first.
pub(super) fn confirmed_last(
    connection: &Connection,
    limit: usize,
) -> Result<Vec<SealedMember>, LedgerError> {
    let mut query = connection.prepare_cached(
        "SELECT entry.id, profile_id, held, email FROM batch JOIN entry ON entry.batch = batch.id
         WHERE batch.state = 3 AND entry.state = 3 AND reused IS NULL AND profile_id IS NOT NULL AND held IS NOT NULL
         ORDER BY batch.id DESC LIMIT ?1",
    )?;
    let rows = query.query_map(params![limit as i64], |row| {
        Ok((EntryId(row.get(0)?), row.get(1)?, row.get(2)?, row.get(3)?, false))
    })?;
    rows.map(|row| sealed_member(row?)).collect()
}

/// Profiles that were looked up with a status that is none of these, with their emails, the last ones first.
pub(super) fn bearers_of_others(
    connection: &Connection,
    handles: &[Handle],
    limit: usize,
) -> Result<Vec<(ProfileId, Email)>, LedgerError> {
    let mut query = connection.prepare_cached(
        "SELECT profile_id, email FROM entry WHERE profile_id IS NOT NULL AND held IS NOT NULL
             AND EXISTS (SELECT 1 FROM json_each(entry.held) WHERE value NOT IN (SELECT value FROM json_each(?1)))
         ORDER BY id DESC LIMIT ?2",
    )?;
    let rows = query.query_map(
        params![super::write::handles_json(handles), limit as i64],
        |row| {
            Ok((
                ProfileId::new(row.get::<_, String>(0)?),
                Email::from_ledger(&row.get::<_, String>(1)?),
            ))
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn accepted(connection: &Connection, no: BatchNo) -> Result<Accepted, LedgerError> {
    let accepted = connection
        .prepare_cached("SELECT batch_id, rung IS 'ruled_sent' FROM batch WHERE id = ?1")?
        .query_row(params![no.0], |row| {
            Ok(Accepted {
                batch_id: row.get::<_, Option<String>>(0)?.map(BatchId::new),
                by_ruling: row.get(1)?,
            })
        })?;
    Ok(accepted)
}

pub(super) fn handles_from_json(text: &str) -> Result<Vec<Handle>, LedgerError> {
    let words: Vec<String> =
        serde_json::from_str(text).map_err(|error| LedgerError::Damaged(format!("handles: {error}")))?;
    Ok(words.into_iter().map(Handle::new).collect())
}

pub(super) fn batch_state(code: i64) -> Result<BatchState, LedgerError> {
    BatchState::from_code(code).ok_or_else(|| LedgerError::Damaged(format!("batch state {code}")))
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

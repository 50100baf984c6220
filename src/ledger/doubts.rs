//! What the ledger knows and keeps about batches in doubt: the evidence so far, absences, and rulings.

use super::error::LedgerError;
use super::open::Ledger;
use super::read::SealedMember;
use super::time::now_ms;
use super::write::Transaction;
use super::writer::Writer;
use crate::model::batch::{self, BatchEvent, BatchState};
use crate::model::doubt::Later;
use crate::model::email::Email;
use crate::model::ids::{BatchId, BatchNo, Handle, ProfileId};
use crate::model::listing::{Span, Standing};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashSet;
use std::time::Duration;

/// Accepted batches, the newest, by which the tenant's list is calibrated.
const ACCEPTED_LAST: i64 = 20;

/// A batch in doubt, as looking at it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Whether a member was ever observed with any of the change.
    pub effect_seen: bool,
    /// The maximum request lifetime, as an earlier look reckoned it.
    pub lifetime: Duration,
    /// Whether a person has ruled that this attempt never arrived.
    pub ruled_absent: bool,
    /// Whether a member was found absent by evidence before.
    pub absent_before: bool,
    /// Whether the tenant's list of batches could be read in any run of this ledger.
    pub list_is_readable: bool,
    /// The request left after all attempts below this one had been answered; `None` where it was the original's.
    pub began: Option<i64>,
    /// When the request left, by the wall clock, in milliseconds since 1970 UTC.
    pub sent_at: Option<i64>,
    /// Its age at the last look that did not show it.
    pub unfinished: Duration,
}

/// An accepted batch, as far as the time is concerned that the tenant takes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its age at the last look at which it was not finished.
    pub age: Duration,
    /// When it was accepted, by the wall clock, in milliseconds since 1970 UTC.
    pub since: Option<i64>,
}

/// Why a batch is sent once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The maximum request lifetime, which it was waited for.
    pub lifetime: Duration,
    /// How far apart the two looks were that showed nothing.
    pub looks_apart: Duration,
    /// Members that were looked at and showed nothing.
    pub members: usize,
    /// What batches sent later had shown.
    pub later: Later,
    /// Whether the tenant's list was readable and held nothing that could be it.
    pub listed: bool,
    /// The profile on which a change of this job was observed by a look of the same kind.
    pub effect_seen_on: Option<ProfileId>,
}

/// What a person decides about a held batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request arrived.
    Sent,
    /// It never did.
    Absent,
}

impl Verdict {
    /// The word that the ledger and the command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Absent => "absent",
        }
    }
}

/// Why a ruling was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RulingError {
    /// There is no such batch.
    #[error("there is no batch {0} in this ledger")]
    NoSuchBatch(BatchNo),
    /// It needs no ruling.
    #[error("batch {no} is {state}; only a batch that awaits a ruling (held) can be ruled on")]
    NotHeld {
        /// Which one.
        no: BatchNo,
        /// Where it stands.
        state: BatchState,
    },
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<rusqlite::Error> for RulingError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Ledger(error.into())
    }
}

impl Ledger {
    /// Writes a person's ruling on a held batch down. The next run acts on it.
    pub fn rule(
        &mut self,
        no: BatchNo,
        verdict: Verdict,
        person: &str,
        because: &str,
    ) -> Result<(), RulingError> {
        let transaction = self.connection.transaction()?;
        let code = transaction
            .query_row("SELECT state FROM batch WHERE id = ?1", params![no.0], |row| {
                row.get(0)
            })
            .optional()?
            .ok_or(RulingError::NoSuchBatch(no))?;
        let state = super::read::batch_state(code)?;
        let event = match verdict {
            Verdict::Sent => BatchEvent::RuleSent,
            Verdict::Absent => BatchEvent::RuleAbsent,
        };
        let next = batch::apply(state, event).map_err(|_| RulingError::NotHeld { no, state })?;
        transaction.execute(
            "INSERT INTO ruling (batch, attempt, verdict, person, because, ruled_at)
             VALUES (?1, (SELECT max(id) FROM attempt WHERE batch = ?1), ?2, ?3, ?4, ?5)",
            params![no.0, verdict.as_str(), person, because, now_ms()],
        )?;
        transaction.execute(
            "UPDATE batch SET state = ?2, rung = iif(?3, 'ruled_sent', rung) WHERE id = ?1",
            params![no.0, next.code(), verdict == Verdict::Sent],
        )?;
        transaction.commit()?;
        Ok(())
    }
}

impl Ledger {
    /// Writes down that a person says of a batch in the tenant's list that it is over: it changes nothing any more. What was
    /// said first stands.
    pub fn rule_over(&mut self, batch: &BatchId, person: &str, because: &str) -> Result<(), LedgerError> {
        self.connection.execute(
            "INSERT OR IGNORE INTO over_ruling (batch_id, person, because, ruled_at) VALUES (?1, ?2, ?3, ?4)",
            params![batch.as_str(), person, because, now_ms()],
        )?;
        Ok(())
    }
}

impl Writer {
    /// Batches in the tenant's list of which a person said that they are over.
    pub async fn ruled_over(&self) -> Result<HashSet<BatchId>, LedgerError> {
        self.vital(|transaction| {
            let mut query = transaction
                .connection
                .prepare_cached("SELECT batch_id FROM over_ruling")?;
            let ids = query.query_map([], |row| Ok(BatchId::new(row.get::<_, String>(0)?)))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Whether the tenant has refused it before, or a batch that its members were in then.
    pub async fn was_refused(&self, no: BatchNo) -> Result<bool, LedgerError> {
        self.vital(move |transaction| {
            let refused = "WITH RECURSIVE before (id) AS (SELECT ?1 UNION
                     SELECT split_from FROM batch JOIN before USING (id) WHERE split_from IS NOT NULL)
                 SELECT EXISTS (SELECT 1 FROM before JOIN attempt ON attempt.batch = before.id
                     JOIN answer ON answer.attempt = attempt.id WHERE class = 'refused')";
            let mut query = transaction.connection.prepare_cached(refused)?;
            Ok(query.query_row(params![no.0], |row| row.get(0))?)
        })
        .await
    }

    /// What is known about a batch in doubt.
    pub async fn doubt(&self, no: BatchNo) -> Result<Doubt, LedgerError> {
        self.vital(move |transaction| doubt(transaction.connection, no))
            .await
    }

    /// What batches sent after this one have shown.
    pub async fn later(&self, no: BatchNo) -> Result<Later, LedgerError> {
        self.vital(move |transaction| later(transaction.connection, no))
            .await
    }

    /// What these batches of the tenant's list are to this ledger, in their order, and under which of their ids it knows
    /// them. Each is given by all the ids that it goes by: one of them may be that of its 202.
    pub async fn recognise(
        &self,
        rows: Vec<Vec<BatchId>>,
    ) -> Result<Vec<(Option<BatchId>, Standing)>, LedgerError> {
        self.vital(move |transaction| {
            let known = |ids: &Vec<BatchId>| {
                for id in ids {
                    let standing = standing(transaction.connection, id)?;
                    if standing != Standing::Unknown {
                        return Ok((Some(id.clone()), standing));
                    }
                }
                Ok((None, Standing::Unknown))
            };
            rows.iter().map(known).collect()
        })
        .await
    }

    /// The batches that were accepted or identified last, with their attempts, newest first.
    pub async fn accepted_last(&self) -> Result<Vec<(BatchId, i64)>, LedgerError> {
        self.vital(|transaction| accepted_last(transaction.connection))
            .await
    }

    /// The batch that was accepted and settled last, under the id that the tenant gave it.
    pub async fn last_settled(&self) -> Result<Option<(BatchId, BatchNo)>, LedgerError> {
        self.vital(|transaction| {
            let last =
                "SELECT answer.batch_id, batch.id FROM answer JOIN attempt ON attempt.id = answer.attempt
                JOIN batch ON batch.id = attempt.batch
                WHERE class = 'accepted' AND answer.batch_id IS NOT NULL AND batch.state = 3
                ORDER BY answer.attempt DESC LIMIT 1";
            let named =
                |row: &rusqlite::Row<'_>| Ok((BatchId::new(row.get::<_, String>(0)?), BatchNo(row.get(1)?)));
            Ok(transaction.connection.query_row(last, [], named).optional()?)
        })
        .await
    }

    /// The longest time that the tenant took over any batch of this ledger, as far as that is known.
    pub async fn longest_processing_time(&self) -> Result<Duration, LedgerError> {
        self.vital(|transaction| longest_processing_time(transaction.connection))
            .await
    }

    /// Writes the maximum request lifetime of a batch down; that never becomes less. Vital.
    pub async fn require_lifetime(&self, no: BatchNo, lifetime: Duration) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            transaction.connection.execute(
                "UPDATE batch SET quiet_ms = max(quiet_ms, ?2) WHERE id = ?1",
                params![no.0, millis(lifetime)],
            )?;
            Ok(())
        })
        .await
    }

    /// What is known of the time that the tenant takes over a batch that it is not known to have finished.
    pub async fn unfinished(&self, no: BatchNo) -> Result<Unfinished, LedgerError> {
        self.vital(move |transaction| {
            let unfinished = transaction.connection.query_row(
                "SELECT unfinished_ms, coalesce(answered_at, sent_at) FROM batch WHERE id = ?1",
                params![no.0],
                |row| {
                    let age = Duration::from_millis(super::read::unsigned(row, 0)?);
                    let since = row.get(1)?;
                    Ok(Unfinished { age, since })
                },
            )?;
            Ok(unfinished)
        })
        .await
    }

    /// Writes down how old a batch was when a look did not show it finished; that never becomes less. Repeatable.
    pub async fn was_unfinished(&self, no: BatchNo, age: Duration) -> Result<(), LedgerError> {
        self.repeatable(move |transaction| {
            transaction.connection.execute(
                "UPDATE batch SET unfinished_ms = max(unfinished_ms, ?2) WHERE id = ?1",
                params![no.0, millis(age)],
            )?;
            Ok(())
        })
        .await
    }

    /// Profiles that were looked up with a status that is none of these, with their emails.
    pub async fn bearers_of_others(
        &self,
        handles: &[Handle],
        limit: usize,
    ) -> Result<Vec<(ProfileId, Email)>, LedgerError> {
        let handles = handles.to_vec();
        self.vital(move |transaction| super::read::bearers_of_others(transaction.connection, &handles, limit))
            .await
    }

    /// Entries that were confirmed last, of those that this ledger looked up itself.
    pub async fn confirmed_last(&self, limit: usize) -> Result<Vec<SealedMember>, LedgerError> {
        self.vital(move |transaction| super::read::confirmed_last(transaction.connection, limit))
            .await
    }

    /// Writes down that a member of a batch in doubt was seen with some of the change. Vital: absence must never
    /// be concluded afterwards, not even by a later process that sees it gone again.
    pub async fn moved(&self, no: BatchNo) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            transaction
                .connection
                .execute("UPDATE batch SET moved = 1 WHERE id = ?1", params![no.0])?;
            Ok(())
        })
        .await
    }

    /// Adopts the id under which the tenant lists a batch. Vital.
    pub async fn find(&self, no: BatchNo, id: BatchId) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            transaction.batch_event(no, BatchEvent::Find)?;
            transaction.connection.execute(
                "UPDATE batch SET batch_id = ?2, rung = 'found' WHERE id = ?1",
                params![no.0, id.as_str()],
            )?;
            Ok(())
        })
        .await
    }

    /// Seals a batch again, with the reason recorded in the same transaction. Vital.
    pub async fn absent(&self, no: BatchNo, absence: Absence) -> Result<(), LedgerError> {
        self.vital(move |transaction| transaction.absent(no, &absence))
            .await
    }

    /// Notes the batches at the top of the tenant's list before this run sends anything; none where it holds none.
    pub async fn baseline(&self, listed: Vec<BatchId>) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            let newest = listed.first().map_or("", BatchId::as_str);
            transaction.connection.execute(
                "UPDATE run SET newest_batch = ?2 WHERE id = ?1",
                params![transaction.run, newest],
            )?;
            let mut note = transaction
                .connection
                .prepare_cached("INSERT OR IGNORE INTO listed_before (batch_id, run) VALUES (?1, ?2)")?;
            for id in &listed {
                note.execute(params![id.as_str(), transaction.run])?;
            }
            Ok(())
        })
        .await
    }
}

impl Transaction<'_> {
    fn absent(&mut self, no: BatchNo, absence: &Absence) -> Result<(), LedgerError> {
        self.batch_event(no, BatchEvent::Absent)?;
        let later = match absence.later {
            Later::None => "none",
            Later::Waiting => "waiting",
            Later::Applied => "applied",
        };
        self.connection.execute(
            "INSERT INTO absence (batch, attempt, run, quiet_ms, members, later, listed, ruling, concluded_at,
                 effect_seen_on, looks_apart_ms)
             VALUES (?1, (SELECT max(id) FROM attempt WHERE batch = ?1), ?2, ?3, ?4, ?5, ?6, (
                 SELECT max(ruling.id) FROM ruling WHERE ruling.batch = ?1 AND verdict = 'absent'
                 AND ruling.attempt IS (SELECT max(id) FROM attempt WHERE batch = ?1)), ?7, ?8, ?9)",
            params![
                no.0,
                self.run,
                millis(absence.lifetime),
                absence.members as i64,
                later,
                if absence.listed { "nothing" } else { "unreadable" },
                now_ms(),
                absence.effect_seen_on.as_ref().map(ProfileId::as_str),
                millis(absence.looks_apart),
            ],
        )?;
        let absence = self.connection.last_insert_rowid();
        let ruled: bool = self.connection.query_row(
            "SELECT ruling IS NOT NULL FROM absence WHERE id = ?1",
            params![absence],
            |row| row.get(0),
        )?;
        if !ruled {
            self.connection.execute(
                "INSERT OR IGNORE INTO absent_profile (profile_id, absence)
                 SELECT profile_id, ?2 FROM entry WHERE batch = ?1 AND profile_id IS NOT NULL",
                params![no.0, absence],
            )?;
        }
        self.connection.execute(
            "UPDATE batch SET rung = ?2, moved = 0, unfinished_ms = 0, detail = NULL WHERE id = ?1",
            params![no.0, if ruled { "ruled_absent" } else { "absent" }],
        )?;
        Ok(())
    }
}

fn doubt(connection: &Connection, no: BatchNo) -> Result<Doubt, LedgerError> {
    let doubt = connection
        .prepare_cached(
            "SELECT moved, quiet_ms,
                 EXISTS (SELECT 1 FROM ruling WHERE ruling.batch = batch.id AND verdict = 'absent'
                     AND ruling.attempt IS (SELECT max(id) FROM attempt WHERE attempt.batch = batch.id))
                     AND NOT (SELECT adopting FROM meta),
                 EXISTS (SELECT 1 FROM entry JOIN absent_profile USING (profile_id) WHERE entry.batch = batch.id),
                 EXISTS (SELECT 1 FROM run WHERE newest_batch IS NOT NULL),
                 (SELECT coalesce(oldest_open, id) FROM attempt
                     WHERE id = (SELECT max(id) FROM attempt WHERE attempt.batch = batch.id)),
                 sent_at, unfinished_ms
             FROM batch WHERE id = ?1",
        )?
        .query_row(params![no.0], |row| {
            let ms = |column| {
                Ok::<_, rusqlite::Error>(Duration::from_millis(super::read::unsigned(row, column)?))
            };
            Ok(Doubt {
                effect_seen: row.get(0)?,
                lifetime: ms(1)?,
                ruled_absent: row.get(2)?,
                absent_before: row.get(3)?,
                list_is_readable: row.get(4)?,
                began: row.get(5)?,
                sent_at: row.get(6)?,
                unfinished: ms(7)?,
            })
        })?;
    Ok(doubt)
}

/// Of batches that took effect. One that was found unfinished, and was not watched when it finished, took at least as long
/// as it had until then.
pub(super) fn longest_processing_time(connection: &Connection) -> Result<Duration, LedgerError> {
    let longest =
        "SELECT coalesce(max(max(coalesce(took_ms, 0), unfinished_ms)), 0) FROM batch WHERE state = 3
        AND EXISTS (SELECT 1 FROM entry WHERE entry.batch = batch.id AND entry.state = 3)";
    let ms = connection.query_row(longest, [], |row| super::read::unsigned(row, 0))?;
    Ok(Duration::from_millis(ms))
}

fn accepted_last(connection: &Connection) -> Result<Vec<(BatchId, i64)>, LedgerError> {
    let mut query = connection.prepare_cached(
        "SELECT batch_id, attempt FROM answer WHERE class = 'accepted' AND batch_id IS NOT NULL
         UNION SELECT batch_id, (SELECT max(id) FROM attempt WHERE attempt.batch = batch.id) AS attempt FROM batch
             WHERE rung = 'found' AND NOT by_size AND batch_id IS NOT NULL AND attempt IS NOT NULL
         ORDER BY attempt DESC LIMIT ?1",
    )?;
    let rows = query.query_map(params![ACCEPTED_LAST], |row| {
        Ok((BatchId::new(row.get::<_, String>(0)?), row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Settled batches count as applied where members were read back; one that was merely called a success says nothing.
///
/// That one which was sent later has been applied says that this one's turn has been, as long as the tenant takes them
/// in turn. Where it still works on an earlier one, it does not. And where nothing later has been applied, whatever it
/// still works on may be as slow with this one.
fn later(connection: &Connection, no: BatchNo) -> Result<Later, LedgerError> {
    let (applied, earlier, waiting): (bool, bool, bool) = connection
        .prepare_cached(
            "WITH later AS (SELECT batch.id, batch.state FROM attempt JOIN batch ON batch.id = attempt.batch
                 WHERE attempt.id > coalesce((SELECT max(id) FROM attempt WHERE batch = ?1), (SELECT max(id) FROM attempt))
                 AND batch.id <> ?1)
             SELECT EXISTS (SELECT 1 FROM later JOIN entry ON entry.batch = later.id
                     WHERE later.state = 3 AND entry.state = 3 AND entry.evidence IN ('seen', 'sampled')),
                 EXISTS (SELECT 1 FROM batch WHERE state = 2 AND id <> ?1
                     AND id NOT IN (SELECT id FROM later)),
                 EXISTS (SELECT 1 FROM later WHERE state = 2 OR state = 3
                     AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.batch = later.id AND entry.state = 3))",
        )?
        .query_row(params![no.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(match (applied, earlier, waiting) {
        (_, true, _) | (false, _, true) => Later::Waiting,
        (true, false, _) => Later::Applied,
        (false, false, false) => Later::None,
    })
}

/// Judged by the order in which the ledger wrote things down: no clock, ours or the tenant's, has a say.
fn standing(connection: &Connection, id: &BatchId) -> Result<Standing, LedgerError> {
    let accepted = connection
        .prepare_cached(
            "SELECT attempt.id, coalesce(oldest_open, attempt.id), members FROM answer
             JOIN attempt ON attempt.id = answer.attempt
             WHERE answer.batch_id = ?1 AND class = 'accepted' ORDER BY attempt.id LIMIT 1",
        )?
        .query_row(params![id.as_str()], |row| {
            let span = Span {
                answered: row.get(0)?,
                began: Some(row.get(1)?),
            };
            Ok(Standing::Accepted(span, super::read::unsigned(row, 2)?))
        })
        .optional()?;
    if let Some(accepted) = accepted {
        return Ok(accepted);
    }
    let (found, listed): (bool, Option<i64>) = connection
        .prepare_cached(
            "WITH listed (run) AS (SELECT run FROM listed_before WHERE batch_id = ?1
                 UNION SELECT id FROM run WHERE newest_batch = ?1)
             SELECT EXISTS (SELECT 1 FROM batch WHERE batch_id = ?1 AND NOT by_size),
                 (SELECT coalesce(max(attempt.id), 0) FROM attempt WHERE run < (SELECT min(run) FROM listed)
                     HAVING EXISTS (SELECT 1 FROM listed))",
        )?
        .query_row(params![id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .unwrap_or_default();
    Ok(match listed {
        _ if found => Standing::Found,
        Some(answered) => Standing::Baseline(Span {
            answered,
            began: None,
        }),
        None => Standing::Unknown,
    })
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{AnswerRecord, ListIdentity, MemberFate, Settlement};
    use crate::model::entry::Evidence;
    use crate::model::ids::EntryId;

    const PEOPLE: [&str; 3] = ["ann@example.com", "bob@example.com", "cid@example.com"];

    /// A ledger in which each of three people stands in a sealed batch of their own.
    async fn sealed(path: &std::path::Path) -> (Writer, [BatchNo; 3]) {
        let mut ledger = Ledger::create(path, "assign").unwrap();
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list("a.csv", "CSV").unwrap();
        for (line, email) in PEOPLE.iter().enumerate() {
            loading.email(line as u64 + 1, email, email).unwrap();
        }
        let identity = ListIdentity {
            digest: [1; 32],
            column: 1,
            ..ListIdentity::default()
        };
        loading.end_list(&identity).unwrap();
        loading.commit().unwrap();
        let writer = ledger.into_immediate_writer("assign").unwrap();
        let resolved = |id: i64| {
            let profile = ProfileId::new(format!("p{id}"));
            (
                EntryId(id),
                crate::model::lookup::Verdict::Resolved {
                    profile,
                    held: vec![],
                },
            )
        };
        writer.lookups((1..=3).map(resolved).collect()).await.unwrap();
        let mut batches = Vec::new();
        for _ in PEOPLE {
            batches.push(writer.seal(1).await.unwrap());
        }
        (writer, batches.try_into().unwrap())
    }

    async fn accept(writer: &Writer, no: BatchNo) {
        let attempt = writer.depart(no).await.unwrap();
        let accepted = AnswerRecord {
            event: BatchEvent::Accept,
            class: "accepted",
            batch_id: Some(BatchId::new(format!("b{no}"))),
            detail: None,
        };
        writer.answer(no, attempt, accepted).await.unwrap();
    }

    async fn settle(writer: &Writer, no: BatchNo, evidence: Evidence) {
        let settlement = Settlement {
            fates: vec![(EntryId(no.0), MemberFate::Confirmed(evidence))],
            ..Settlement::default()
        };
        writer.settle(no, settlement).await.unwrap();
    }

    /// While the tenant is slow with one batch it may be as slow with another, whichever was sent first.
    #[tokio::test]
    async fn whoever_is_still_worked_on_keeps_others_from_being_called_absent() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, [first, doubtful, last]) = sealed(&folder.path().join("a.db")).await;
        accept(&writer, first).await;
        writer.depart(doubtful).await.unwrap();
        writer.batch_event(doubtful, BatchEvent::LoseSight).await.unwrap();
        let later = async || writer.later(doubtful).await.unwrap();
        assert_eq!(later().await, Later::Waiting, "an earlier one is not finished");
        settle(&writer, first, Evidence::Seen).await;
        assert_eq!(later().await, Later::None);
        accept(&writer, last).await;
        assert_eq!(later().await, Later::Waiting);
        settle(&writer, last, Evidence::Reported).await;
        assert_eq!(
            later().await,
            Later::None,
            "a mere word says nothing, for or against"
        );
    }

    #[tokio::test]
    async fn what_took_effect_after_it_says_that_its_turn_has_been() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, [first, doubtful, last]) = sealed(&folder.path().join("a.db")).await;
        accept(&writer, first).await;
        writer.depart(doubtful).await.unwrap();
        writer.batch_event(doubtful, BatchEvent::LoseSight).await.unwrap();
        accept(&writer, last).await;
        settle(&writer, last, Evidence::Seen).await;
        let later = async || writer.later(doubtful).await.unwrap();
        assert_eq!(
            later().await,
            Later::Waiting,
            "the tenant does not take them in turn"
        );
        settle(&writer, first, Evidence::Seen).await;
        assert_eq!(later().await, Later::Applied);
    }

    /// Whoever ruled knew nothing of what the original of a copy has done since.
    #[tokio::test]
    async fn a_ruling_says_nothing_about_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let (writer, [no, ..]) = sealed(&path).await;
        writer.depart(no).await.unwrap();
        writer.batch_event(no, BatchEvent::LoseSight).await.unwrap();
        writer.hold(no, "?".into()).await.unwrap();
        drop(writer);
        let mut ledger = Ledger::open(&path, "settle").unwrap().unwrap();
        ledger.rule(no, Verdict::Absent, "Ann", "the log").unwrap();
        let writer = ledger.into_immediate_writer("resume").unwrap();
        assert!(writer.doubt(no).await.unwrap().ruled_absent);
        drop(writer);
        let mut ledger = Ledger::open(&path, "resume").unwrap().unwrap();
        ledger.adopt("it was copied").unwrap();
        let writer = ledger.into_immediate_writer("resume").unwrap();
        assert!(!writer.doubt(no).await.unwrap().ruled_absent);
    }

    #[tokio::test]
    async fn what_moved_once_is_known_to_every_later_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let (writer, [no, ..]) = sealed(&path).await;
        writer.depart(no).await.unwrap();
        writer.batch_event(no, BatchEvent::LoseSight).await.unwrap();
        assert!(!writer.doubt(no).await.unwrap().effect_seen);
        writer.moved(no).await.unwrap();
        let longer = Duration::from_secs(90);
        writer.require_lifetime(no, longer).await.unwrap();
        writer
            .require_lifetime(no, Duration::from_secs(60))
            .await
            .unwrap();
        drop(writer);
        let later = Ledger::open(&path, "resume").unwrap().unwrap();
        let doubt = later
            .into_immediate_writer("resume")
            .unwrap()
            .doubt(no)
            .await
            .unwrap();
        assert!(doubt.effect_seen);
        assert_eq!(doubt.lifetime, longer, "it only grows");
    }
}

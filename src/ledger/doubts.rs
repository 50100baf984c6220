//! What the ledger knows and keeps about batches in doubt: the evidence so far, absences, and rulings.

use super::error::LedgerError;
use super::open::Ledger;
use super::time::now_ms;
use super::write::Transaction;
use super::writer::Writer;
use crate::model::batch::{self, BatchEvent, BatchState};
use crate::model::doubt::Later;
use crate::model::ids::{BatchId, BatchNo};
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

/// A batch in doubt, as a look at it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Whether a member was ever seen with any of the change.
    pub moved: bool,
    /// How long nothing may be concluded from absence, as an earlier run reckoned it.
    pub quiet: Duration,
    /// The longest time that the tenant was seen to take over any batch of this ledger.
    pub longest: Duration,
    /// Whether a person has ruled that this attempt never arrived.
    pub ruled_absent: bool,
    /// Other batches of the same size without a batch id that may have arrived.
    pub twins: u64,
    /// Whether the tenant's list of batches could be read in any run of this ledger.
    pub list_is_readable: bool,
}

/// What a batch in the tenant's list is to a batch in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was born before the doubtful request left, and so was all that stands below it.
    Before,
    /// Another batch of this ledger.
    Known,
    /// Nobody that we know for certain.
    Unknown,
}

impl Standing {
    /// What a batch is that goes by several ids.
    fn of_all(
        ids: &[BatchId],
        standing: impl Fn(&BatchId) -> Result<Self, LedgerError>,
    ) -> Result<Self, LedgerError> {
        let standings: Vec<Self> = ids.iter().map(standing).collect::<Result<_, _>>()?;
        let known = [Self::Before, Self::Known];
        let known = known.into_iter().find(|known| standings.contains(known));
        Ok(known.unwrap_or(Self::Unknown))
    }

    fn new(before: bool, known: bool) -> Self {
        match (before, known) {
            (true, _) => Self::Before,
            (false, true) => Self::Known,
            (false, false) => Self::Unknown,
        }
    }
}

/// Why a batch is sent once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// How long it was waited for.
    pub quiet: Duration,
    /// Members that were looked at and showed nothing.
    pub members: usize,
    /// What batches sent later had shown.
    pub later: Later,
    /// Whether the tenant's list was readable and held nothing that could be it.
    pub listed: bool,
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
    #[error("batch {no} is {state}, and only a held batch can be ruled on")]
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

impl Writer {
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

    /// What these batches of the tenant's list are to a batch in doubt, in their order.
    ///
    /// Each is given by all the ids that it goes by: one of them is the one of its 202.
    pub async fn recognise(
        &self,
        no: BatchNo,
        rows: Vec<Vec<BatchId>>,
    ) -> Result<Vec<Standing>, LedgerError> {
        self.vital(move |transaction| {
            let standing = |id: &BatchId| standing(transaction.connection, no, id);
            rows.iter().map(|ids| Standing::of_all(ids, standing)).collect()
        })
        .await
    }

    /// What these batches of the tenant's list are to the whole ledger, in their order: those that were accepted, or
    /// listed when a run began, are older than whatever a copy of it does not know.
    pub async fn recognise_any(&self, rows: Vec<Vec<BatchId>>) -> Result<Vec<Standing>, LedgerError> {
        self.vital(move |transaction| {
            let standing = |id: &BatchId| standing_at_all(transaction.connection, id);
            rows.iter().map(|ids| Standing::of_all(ids, standing)).collect()
        })
        .await
    }

    /// Writes down how long nothing may be concluded from absence; that never becomes less. Vital.
    pub async fn require_quiet(&self, no: BatchNo, quiet: Duration) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            transaction.connection.execute(
                "UPDATE batch SET quiet_ms = max(quiet_ms, ?2) WHERE id = ?1",
                params![no.0, millis(quiet)],
            )?;
            Ok(())
        })
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

    /// Adopts the id under which the tenant lists a batch; one that was found `by_size` alone remains a possible
    /// id of every other doubt of that size. Vital.
    pub async fn find(&self, no: BatchNo, id: BatchId, by_size: bool) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            transaction.batch_event(no, BatchEvent::Find)?;
            transaction.connection.execute(
                "UPDATE batch SET batch_id = ?2, rung = 'found', by_size = ?3 WHERE id = ?1",
                params![no.0, id.as_str(), by_size],
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

    /// Notes the newest batch in the tenant's list before this run sends anything; `None` where it holds none.
    pub async fn baseline(&self, newest: Option<BatchId>) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            let newest = newest.as_ref().map_or("", BatchId::as_str);
            transaction.connection.execute(
                "UPDATE run SET newest_batch = ?2 WHERE id = ?1",
                params![transaction.run, newest],
            )?;
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
            "INSERT INTO absence (batch, attempt, run, quiet_ms, members, later, listed, ruling, concluded_at)
             VALUES (?1, (SELECT max(id) FROM attempt WHERE batch = ?1), ?2, ?3, ?4, ?5, ?6, (
                 SELECT max(ruling.id) FROM ruling WHERE ruling.batch = ?1 AND verdict = 'absent'
                 AND ruling.attempt IS (SELECT max(id) FROM attempt WHERE batch = ?1)), ?7)",
            params![
                no.0,
                self.run,
                millis(absence.quiet),
                absence.members as i64,
                later,
                if absence.listed { "nothing" } else { "unreadable" },
                now_ms()
            ],
        )?;
        let ruled: bool = self.connection.query_row(
            "SELECT ruling IS NOT NULL FROM absence WHERE id = ?1",
            params![self.connection.last_insert_rowid()],
            |row| row.get(0),
        )?;
        self.connection.execute(
            "UPDATE batch SET rung = ?2, moved = 0, detail = NULL WHERE id = ?1",
            params![no.0, if ruled { "ruled_absent" } else { "absent" }],
        )?;
        Ok(())
    }
}

fn doubt(connection: &Connection, no: BatchNo) -> Result<Doubt, LedgerError> {
    let doubt = connection
        .prepare_cached(
            "SELECT moved, quiet_ms, (SELECT coalesce(max(took_ms), 0) FROM batch),
                 EXISTS (SELECT 1 FROM ruling WHERE ruling.batch = batch.id AND verdict = 'absent'
                     AND ruling.attempt IS (SELECT max(id) FROM attempt WHERE attempt.batch = batch.id))
                     AND NOT (SELECT adopting FROM meta),
                 (SELECT count(*) FROM batch AS other WHERE other.state IN (1, 5, 6) AND other.size = batch.size
                     AND other.id <> batch.id),
                 EXISTS (SELECT 1 FROM run WHERE newest_batch IS NOT NULL)
             FROM batch WHERE id = ?1",
        )?
        .query_row(params![no.0], |row| {
            let ms = |column| Ok::<_, rusqlite::Error>(Duration::from_millis(super::read::unsigned(row, column)?));
            Ok(Doubt {
                moved: row.get(0)?,
                quiet: ms(1)?,
                longest: ms(2)?,
                ruled_absent: row.get(3)?,
                twins: super::read::unsigned(row, 4)?,
                list_is_readable: row.get(5)?,
            })
        })?;
    Ok(doubt)
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
fn standing(connection: &Connection, no: BatchNo, id: &BatchId) -> Result<Standing, LedgerError> {
    let (before, known): (bool, bool) = connection
        .prepare_cached(
            "WITH doubtful AS (SELECT run, coalesce(oldest_open, id) AS bound FROM attempt
                 WHERE id = (SELECT max(id) FROM attempt WHERE batch = ?1))
             SELECT EXISTS (SELECT 1 FROM doubtful JOIN run ON run.id = doubtful.run WHERE run.newest_batch = ?2)
                 OR EXISTS (SELECT 1 FROM doubtful JOIN answer ON answer.attempt < doubtful.bound
                     WHERE answer.batch_id = ?2 AND class = 'accepted'),
                 EXISTS (SELECT 1 FROM batch WHERE batch_id = ?2 AND NOT by_size)",
        )?
        .query_row(params![no.0, id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Standing::new(before, known))
}

fn standing_at_all(connection: &Connection, id: &BatchId) -> Result<Standing, LedgerError> {
    let (before, known): (bool, bool) = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM run WHERE newest_batch = ?1)
                 OR EXISTS (SELECT 1 FROM answer WHERE batch_id = ?1 AND class = 'accepted'),
                 EXISTS (SELECT 1 FROM batch WHERE batch_id = ?1)",
        )?
        .query_row(params![id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Standing::new(before, known))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{AnswerRecord, ListIdentity, MemberFate, Settlement};
    use crate::model::entry::Evidence;
    use crate::model::ids::{EntryId, ProfileId};

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
        assert!(!writer.doubt(no).await.unwrap().moved);
        writer.moved(no).await.unwrap();
        let longer = Duration::from_secs(90);
        writer.require_quiet(no, longer).await.unwrap();
        writer.require_quiet(no, Duration::from_secs(60)).await.unwrap();
        drop(writer);
        let later = Ledger::open(&path, "resume").unwrap().unwrap();
        let doubt = later
            .into_immediate_writer("resume")
            .unwrap()
            .doubt(no)
            .await
            .unwrap();
        assert!(doubt.moved);
        assert_eq!(doubt.quiet, longer, "it only grows");
    }
}

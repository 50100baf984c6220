//! What a run writes, one function a fact. All of it happens inside a transaction of the writer thread.
//!
//! Each function names the state that it finds and the event; the lifecycle says what comes of it, and the
//! `WHERE` clause makes sure that the row still is where the caller believes it to be.

use super::error::LedgerError;
use super::lock::Lock;
use super::read::PendingEntry;
use super::time::now_ms;
use crate::model::batch::{self, BatchEvent, BatchState};
use crate::model::entry::{self, EntryEvent, EntryState, Evidence, IN_NO_GROUP, SkipReason};
use crate::model::ids::{AttemptNo, BatchId, BatchNo, EntryId, Handle, Job};
use crate::model::lookup::Verdict;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::time::Duration;

/// Changes to the numbers of entries by state, collected until the transaction ends.
#[derive(Default)]
pub(super) struct Tally(HashMap<(i64, String), i64>);

impl Tally {
    pub(super) fn add(&mut self, state: EntryState, reason: &str, entries: i64) {
        *self.0.entry((state.code(), reason.to_owned())).or_default() += entries;
    }
}

pub(super) fn save_tally(connection: &Connection, tally: &Tally) -> Result<(), LedgerError> {
    let mut update = connection.prepare_cached(
        "INSERT INTO tally (state, reason, entries) VALUES (?1, ?2, ?3)
         ON CONFLICT (state, reason) DO UPDATE SET entries = entries + excluded.entries",
    )?;
    for ((state, reason), entries) in tally.0.iter().filter(|(_, entries)| **entries != 0) {
        update.execute(params![state, reason, entries])?;
    }
    Ok(())
}

/// Pins the job, or compares it with what is pinned; raises the number of entries that were said yes to.
pub(super) fn pin(connection: &Connection, job: &Job, confirmed_entries: i64) -> Result<(), LedgerError> {
    match super::read::job(connection)? {
        Some(pinned) => pinned.same_as(job)?,
        None => {
            connection.execute(
                "INSERT INTO job (only_row, tenant, action, handles, pinned_at) VALUES (1, ?1, ?2, ?3, ?4)",
                params![
                    job.tenant,
                    job.action.as_str(),
                    handles_json(&job.handles),
                    now_ms()
                ],
            )?;
        }
    }
    connection.execute(
        "UPDATE job SET confirmed_entries = max(confirmed_entries, ?1)",
        params![confirmed_entries],
    )?;
    Ok(())
}

/// Handles as the ledger keeps them: a JSON array.
pub(super) fn handles_json(handles: &[Handle]) -> String {
    let words: Vec<&str> = handles.iter().map(Handle::as_str).collect();
    serde_json::to_string(&words).expect("BUG: strings are always JSON")
}

/// The answer to one attempt, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRecord {
    /// What happens to the batch.
    pub event: BatchEvent,
    /// The class of the answer, one word.
    pub class: &'static str,
    /// The tenant's batch id.
    pub batch_id: Option<BatchId>,
    /// The tenant's words, or the error's.
    pub detail: Option<String>,
}

/// What becomes of one member of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberFate {
    /// The change is known to have been made.
    Confirmed(Evidence),
    /// It is not: a word for the reason and what is known about it.
    Failed(&'static str, String),
}

/// How a batch came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Members with their fates.
    pub fates: Vec<(EntryId, MemberFate)>,
    /// Members that were chosen at random and seen.
    pub sampled: usize,
    /// The tenant's last word on the batch, where it had one.
    pub tenant_status: Option<String>,
    /// Which evidence decided a batch that was still in doubt.
    pub rung: Option<&'static str>,
    /// How long the tenant took over it, where that was seen.
    pub took: Option<Duration>,
}

/// A transaction of the writer thread.
pub(super) struct Transaction<'c> {
    pub(super) connection: &'c Connection,
    pub(super) tally: Tally,
    pub(super) run: i64,
    /// Held on to by whoever sends.
    pub(super) lock: Option<&'c Lock>,
    /// The request that is about to leave.
    pub(super) departed: Option<AttemptNo>,
}

impl Transaction<'_> {
    /// Refuses where what is written now would stand in a file that nobody finds any more.
    pub(super) fn check_place(&self) -> Result<(), LedgerError> {
        self.lock.map_or(Ok(()), Lock::check_place)
    }

    /// Moves an entry and keeps the tally, which files final states under their reason or evidence.
    fn step(
        &mut self,
        id: EntryId,
        from: EntryState,
        event: EntryEvent,
        filed_under: &str,
    ) -> Result<EntryState, LedgerError> {
        let reason = if event == EntryEvent::Confirm {
            ""
        } else {
            filed_under
        };
        let to = entry::apply(from, event)?;
        let moved = self
            .connection
            .prepare_cached(
                "UPDATE entry SET state = ?3, reason = nullif(?4, '') WHERE id = ?1 AND state = ?2",
            )?
            .execute(params![id.0, from.code(), to.code(), reason])?;
        if moved != 1 {
            return Err(LedgerError::Damaged(format!(
                "entry {id} is not {from}, as it should be"
            )));
        }
        if (from, to) != (EntryState::Batched, EntryState::Batched) {
            // Only final states are filed under anything, so the state that is left never is.
            self.tally.add(from, "", -1);
            self.tally.add(to, filed_under, 1);
        }
        Ok(to)
    }

    /// Writes a look-up's verdict down, and says what became of the entry: the ledger knows what a look-up cannot,
    /// that another entry has led to the same profile.
    pub(super) fn lookup(&mut self, id: EntryId, verdict: &Verdict) -> Result<EntryState, LedgerError> {
        let from = EntryState::Pending;
        match verdict {
            Verdict::Resolved { profile, held } => {
                let taken = self
                    .connection
                    .prepare_cached(
                        "SELECT id FROM entry WHERE profile_id = ?1 AND state IN (1, 2, 3, 6) AND profile_id IS NOT NULL",
                    )?
                    .query_row(params![profile.as_str()], |row| row.get::<_, i64>(0))
                    .optional()?;
                let to = match taken {
                    Some(_) => self.step(id, from, EntryEvent::Skip, SkipReason::SameProfile.as_str())?,
                    None => self.step(id, from, EntryEvent::Matched, "")?,
                };
                let detail = taken.map(|other| format!("entry {other} leads to the same profile"));
                self.describe(id, detail.as_deref(), Some(profile.as_str()), Some(held))?;
                Ok(to)
            }
            Verdict::Skipped { reason, profile } => {
                let to = self.step(id, from, EntryEvent::Skip, reason.as_str())?;
                let held = profile.as_ref().map(|(_, held)| held.as_slice());
                let profile = profile.as_ref().map(|(profile, _)| profile.as_str());
                self.describe(id, None, profile, held)?;
                Ok(to)
            }
            Verdict::InNoGroup => {
                let to = self.step(id, from, EntryEvent::Skip, SkipReason::NotFound.as_str())?;
                self.describe(id, None, None, None)?;
                self.connection
                    .prepare_cached("UPDATE entry SET evidence = ?2 WHERE id = ?1")?
                    .execute(params![id.0, IN_NO_GROUP])?;
                Ok(to)
            }
            Verdict::Ambiguous { candidates } => {
                let to = self.step(id, from, EntryEvent::FoundSeveral, "")?;
                self.describe(id, None, None, None)?;
                for candidate in candidates {
                    self.connection
                        .prepare_cached(
                            "INSERT OR IGNORE INTO candidate (entry, profile_id) VALUES (?1, ?2)",
                        )?
                        .execute(params![id.0, candidate.as_str()])?;
                }
                Ok(to)
            }
            Verdict::Failed { reason } => {
                let to = self.step(id, from, EntryEvent::LookupFailed, "lookup_failed")?;
                self.describe(id, Some(reason), None, None)?;
                Ok(to)
            }
        }
    }

    /// Takes back that entries are missing where that rests on groups alone.
    pub(super) fn release_missing(&mut self) -> Result<Vec<PendingEntry>, LedgerError> {
        let (from, reason) = (EntryState::Skipped, SkipReason::NotFound.as_str());
        let to = entry::apply(from, EntryEvent::Release)?;
        let mut update = self.connection.prepare_cached(
            "UPDATE entry SET state = ?2, reason = NULL, evidence = NULL, resolved_at = NULL
             WHERE state = ?1 AND reason = ?3 AND evidence = ?4 RETURNING id, email",
        )?;
        let rows = update.query(params![from.code(), to.code(), reason, IN_NO_GROUP])?;
        let mut entries = super::read::pending(self.connection, rows)?;
        entries.sort_by_key(|entry| entry.id);
        self.tally.add(from, reason, -(entries.len() as i64));
        self.tally.add(to, "", entries.len() as i64);
        Ok(entries)
    }

    fn describe(
        &self,
        id: EntryId,
        detail: Option<&str>,
        profile: Option<&str>,
        held: Option<&[Handle]>,
    ) -> Result<(), LedgerError> {
        self.connection
            .prepare_cached(
                "UPDATE entry SET detail = ?2, profile_id = ?3, held = ?4, resolved_at = ?5 WHERE id = ?1",
            )?
            .execute(params![id.0, detail, profile, held.map(handles_json), now_ms()])?;
        Ok(())
    }

    /// Fixes the members of a new batch for good: the first of the resolved entries.
    pub(super) fn seal(&mut self, size: usize) -> Result<BatchNo, LedgerError> {
        let members = super::read::first_resolved(self.connection, size)?;
        if members.len() != size {
            return Err(LedgerError::Damaged(format!(
                "{size} entries should be resolved and in no batch, and {} are",
                members.len()
            )));
        }
        let batch = self.new_batch(size, None)?;
        for id in members {
            self.step(id, EntryState::Resolved, EntryEvent::Seal, "")?;
            self.assign(id, batch)?;
        }
        Ok(batch)
    }

    fn new_batch(&self, size: usize, split_from: Option<BatchNo>) -> Result<BatchNo, LedgerError> {
        assert!(size > 0, "BUG: an empty batch was sealed");
        self.connection
            .prepare_cached("INSERT INTO batch (state, size, split_from, sealed_at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                BatchState::Sealed.code(),
                size as i64,
                split_from.map(|from| from.0),
                now_ms()
            ])?;
        Ok(BatchNo(self.connection.last_insert_rowid()))
    }

    fn assign(&self, id: EntryId, batch: BatchNo) -> Result<(), LedgerError> {
        self.connection
            .prepare_cached("UPDATE entry SET batch = ?2 WHERE id = ?1")?
            .execute(params![id.0, batch.0])?;
        Ok(())
    }

    /// Moves a batch along its lifecycle, from whatever state it is in.
    pub(super) fn batch_event(&mut self, no: BatchNo, event: BatchEvent) -> Result<BatchState, LedgerError> {
        let code: i64 = self
            .connection
            .prepare_cached("SELECT state FROM batch WHERE id = ?1")?
            .query_row(params![no.0], |row| row.get(0))?;
        let state = BatchState::from_code(code)
            .ok_or_else(|| LedgerError::Damaged(format!("batch {no} has the unknown state {code}")))?;
        let next = batch::apply(state, event)?;
        self.connection
            .prepare_cached("UPDATE batch SET state = ?2 WHERE id = ?1")?
            .execute(params![no.0, next.code()])?;
        Ok(next)
    }

    /// Marks a batch `sending` and opens an attempt. Must be flushed before the request leaves.
    pub(super) fn depart(&mut self, no: BatchNo) -> Result<AttemptNo, LedgerError> {
        self.batch_event(no, BatchEvent::Depart)?;
        let now = now_ms();
        self.connection
            .execute("UPDATE batch SET sent_at = ?2 WHERE id = ?1", params![no.0, now])?;
        self.connection.execute(
            "INSERT INTO attempt (batch, run, members, sent_at, oldest_open)
             SELECT id, ?2, size, ?3, (SELECT min(attempt.id) FROM batch AS open JOIN attempt ON attempt.batch = open.id
                 WHERE open.state NOT IN (3, 4) AND open.state = 1 AND open.id <> batch.id
                 AND NOT EXISTS (SELECT 1 FROM answer WHERE answer.attempt = attempt.id))
             FROM batch WHERE id = ?1",
            params![no.0, self.run, now],
        )?;
        let attempt = AttemptNo(self.connection.last_insert_rowid());
        self.departed = Some(attempt);
        Ok(attempt)
    }

    /// Writes down that a batch was marked, and its request did not leave after all.
    pub(super) fn did_not_leave(&mut self, no: BatchNo, why: &str) -> Result<(), LedgerError> {
        let newest = "SELECT max(id) FROM attempt WHERE batch = ?1";
        let attempt = self.connection.query_row(newest, [no.0], |row| row.get(0))?;
        let answer = AnswerRecord {
            event: BatchEvent::Return,
            class: "not_sent",
            batch_id: None,
            detail: Some(why.to_owned()),
        };
        self.answer(no, AttemptNo(attempt), &answer)
    }

    /// Writes the answer to an attempt down.
    pub(super) fn answer(
        &mut self,
        no: BatchNo,
        attempt: AttemptNo,
        answer: &AnswerRecord,
    ) -> Result<(), LedgerError> {
        self.batch_event(no, answer.event)?;
        let now = now_ms();
        let batch_id = answer.batch_id.as_ref().map(BatchId::as_str);
        self.connection.execute(
            "INSERT INTO answer (attempt, class, batch_id, detail, answered_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![attempt.0, answer.class, batch_id, answer.detail, now],
        )?;
        self.connection.execute(
            "UPDATE batch SET batch_id = ?2, detail = ?3, answered_at = ?4 WHERE id = ?1",
            params![no.0, batch_id, answer.detail, now],
        )?;
        Ok(())
    }

    /// Lets the named members of a refused batch fail and puts the rest into new, smaller batches.
    pub(super) fn regroup(
        &mut self,
        refused: BatchNo,
        failed: &[(EntryId, String)],
        groups: &[Vec<EntryId>],
    ) -> Result<Vec<BatchNo>, LedgerError> {
        for (id, reason) in failed {
            self.fate(*id, &MemberFate::Failed("refused", reason.clone()))?;
        }
        let mut batches = Vec::new();
        for group in groups {
            let batch = self.new_batch(group.len(), Some(refused))?;
            for id in group {
                self.step(*id, EntryState::Batched, EntryEvent::Regroup, "")?;
                self.assign(*id, batch)?;
            }
            batches.push(batch);
        }
        Ok(batches)
    }

    fn fate(&mut self, id: EntryId, fate: &MemberFate) -> Result<(), LedgerError> {
        let (event, filed_under, detail, evidence) = match fate {
            MemberFate::Confirmed(evidence) => (
                EntryEvent::Confirm,
                evidence.as_str(),
                None,
                Some(evidence.as_str()),
            ),
            MemberFate::Failed(reason, detail) => (EntryEvent::Fail, *reason, Some(detail), None),
        };
        self.step(id, EntryState::Batched, event, filed_under)?;
        self.connection
            .prepare_cached("UPDATE entry SET detail = ?2, evidence = ?3, settled_at = ?4 WHERE id = ?1")?
            .execute(params![id.0, detail, evidence, now_ms()])?;
        Ok(())
    }

    /// Writes down what became of every member of a batch, and that this is all.
    pub(super) fn settle(&mut self, no: BatchNo, settlement: &Settlement) -> Result<(), LedgerError> {
        if settlement.rung.is_some() {
            self.batch_event(no, BatchEvent::Reach)?;
        }
        self.batch_event(no, BatchEvent::Settle)?;
        for (id, fate) in &settlement.fates {
            self.fate(*id, fate)?;
        }
        let open: i64 = self.connection.query_row(
            "SELECT count(*) FROM entry WHERE batch = ?1 AND state = ?2",
            params![no.0, EntryState::Batched.code()],
            |row| row.get(0),
        )?;
        assert_eq!(
            open, 0,
            "BUG: batch {no} was settled with {open} members left open"
        );
        let took_ms = settlement
            .took
            .map(|took| i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
        self.connection.execute(
            "UPDATE batch SET rung = coalesce(?2, rung), tenant_status = ?3, sampled = ?4, settled_at = ?5, took_ms = ?6
             WHERE id = ?1",
            params![
                no.0,
                settlement.rung,
                settlement.tenant_status,
                settlement.sampled as i64,
                now_ms(),
                took_ms
            ],
        )?;
        Ok(())
    }

    /// Gives a batch up for now, with the reason.
    pub(super) fn hold(&mut self, no: BatchNo, why: &str) -> Result<(), LedgerError> {
        self.batch_event(no, BatchEvent::Hold)?;
        self.connection
            .execute("UPDATE batch SET detail = ?2 WHERE id = ?1", params![no.0, why])?;
        Ok(())
    }
}

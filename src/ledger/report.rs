//! What runs say of themselves: how the one that is under way stands, and whom the last one sent to.

use super::Writer;
use super::error::LedgerError;
use super::read::{Reader, unsigned};
use super::time::now_ms;
use crate::model::entry::EntryState;
use rusqlite::{OptionalExtension, params};
use std::time::Duration;

/// How a run stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunReport {
    /// Requests made so far.
    pub requests: u64,
    /// Requests a second over the last seconds.
    pub per_second: f64,
    /// About how long it will take yet, where that can be said.
    pub remaining: Option<Duration>,
    /// Why nothing moves, where nothing does.
    pub waiting: Option<String>,
}

/// A run that has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunUnderWay {
    /// What was typed.
    pub verb: String,
    /// When it began, in milliseconds since 1970 UTC.
    pub started_at: i64,
    /// When it last reported, and what.
    pub report: Option<(i64, RunReport)>,
}

/// A run of the ledger. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// Its number in this ledger.
    pub id: i64,
    /// What was typed.
    pub verb: String,
    /// The version of rollbook.
    pub version: String,
    /// When it began.
    pub started_at: i64,
    /// When it ended; `None` where it is under way or was killed.
    pub ended_at: Option<i64>,
    /// How it ended.
    pub ending: Option<String>,
    /// The requests that it last reported, and when.
    pub reported: Option<(u64, i64)>,
    /// All that it was given, as a JSON object.
    pub options: Option<String>,
    /// The batches that it sent.
    pub batches: u64,
}

/// A profile that was sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentProfile {
    /// The entry's email.
    pub email: String,
    /// The profile.
    pub profile_id: String,
    /// What became of it.
    pub state: EntryState,
    /// What people call it, where that was asked for: the ledger keeps no names.
    pub name: String,
}

impl Writer {
    /// Keeps how the run stands. May be lost.
    pub async fn report(&self, report: RunReport) -> Result<(), LedgerError> {
        self.repeatable(move |transaction| {
            let remaining = report.remaining.map(|time| time.as_millis() as i64);
            transaction.connection.execute(
                "UPDATE run SET reported_at = ?2, requests = ?3, per_second = ?4, remaining_ms = ?5, waiting = ?6
                 WHERE id = ?1",
                params![
                    transaction.run,
                    now_ms(),
                    report.requests as i64,
                    report.per_second,
                    remaining,
                    report.waiting
                ],
            )?;
            Ok(())
        })
        .await
    }
}

impl Reader {
    /// The run that has not ended, where the last one has not. Whether its process lives, the lock says.
    pub fn run_under_way(&self) -> Result<Option<RunUnderWay>, LedgerError> {
        let run = self
            .connection
            .query_row(
                "SELECT verb, started_at, reported_at, coalesce(requests, 0), coalesce(per_second, 0), remaining_ms,
                     waiting, ended_at FROM run ORDER BY id DESC LIMIT 1",
                [],
                |row| {
                    let report = RunReport {
                        requests: unsigned(row, 3)?,
                        per_second: row.get(4)?,
                        remaining: row.get::<_, Option<i64>>(5)?.map(|ms| Duration::from_millis(ms.unsigned_abs())),
                        waiting: row.get(6)?,
                    };
                    let reported_at: Option<i64> = row.get(2)?;
                    let run = RunUnderWay {
                        verb: row.get(0)?,
                        started_at: row.get(1)?,
                        report: reported_at.map(|at| (at, report)),
                    };
                    let ended: Option<i64> = row.get(7)?;
                    Ok(ended.is_none().then_some(run))
                },
            )
            .optional()?;
        Ok(run.flatten())
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> Result<Vec<RunRow>, LedgerError> {
        let mut query = self.connection.prepare(
            "SELECT id, verb, version, started_at, ended_at, ending, requests, reported_at, options,
                 (SELECT count(*) FROM attempt WHERE attempt.run = run.id) FROM run ORDER BY id",
        )?;
        let rows = query.query_map([], |row| {
            let reported_at: Option<i64> = row.get(7)?;
            let requests: Option<i64> = row.get(6)?;
            Ok(RunRow {
                id: row.get(0)?,
                verb: row.get(1)?,
                version: row.get(2)?,
                started_at: row.get(3)?,
                ended_at: row.get(4)?,
                ending: row.get(5)?,
                reported: requests.map(i64::unsigned_abs).zip(reported_at),
                options: row.get(8)?,
                batches: unsigned(row, 9)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The first so many profiles that the last run sent to.
    pub fn sent_by_last_run(&self, limit: usize) -> Result<Vec<SentProfile>, LedgerError> {
        let mut query = self.connection.prepare(
            "SELECT email, profile_id, state FROM entry WHERE profile_id IS NOT NULL AND batch IN
                 (SELECT batch FROM attempt WHERE run = (SELECT max(id) FROM run)) ORDER BY id LIMIT ?1",
        )?;
        let rows = query.query_map([limit as i64], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?))
        })?;
        rows.map(|row| {
            let (email, profile_id, code) = row?;
            let state = EntryState::from_code(code)
                .ok_or_else(|| LedgerError::Damaged(format!("entry state {code}")))?;
            Ok(SentProfile {
                email,
                profile_id,
                state,
                name: String::new(),
            })
        })
        .collect()
    }
}

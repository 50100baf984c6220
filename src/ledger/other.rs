//! The ledger of an earlier job at the same tenant, and what it has to offer to another job.
//!
//! It is only read, from one moment to the end. Which of its entries are certain enough to be offered, and why no
//! others are, stands in `reuse.rs`.

use super::error::LedgerError;
use super::open::open_any_version;
use super::read;
use super::reuse::{ReuseError, Reused, Terms};
use super::time::now_ms;
use crate::model::entry::{EntryState, SkipReason};
use crate::model::ids::{Action, Handle, Job, ProfileId};
use crate::model::lookup::{Verdict, judge};
use rusqlite::{Connection, Row, params};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ledgers from this version on know what they have taken over themselves.
const KNOWS_REUSED: i64 = 4;

/// How far ahead of ours a clock may have been that the other ledger was written by.
const CLOCK_SLACK: Duration = Duration::from_secs(120);

/// Entries between two looks at whether somebody wants it to stop.
pub(super) const ENTRIES_A_LOOK: u64 = 4_096;

/// The ledger of an earlier job at the same tenant, held on to as it was when it was opened.
pub struct OtherLedger {
    connection: Connection,
    pub(super) path: PathBuf,
    pub(super) id: String,
    version: i64,
    job: Job,
}

impl OtherLedger {
    /// Opens it for reading. `own` is the path of the ledger that is written to.
    pub fn open(path: &Path, own: &Path, tenant: &str) -> Result<Self, ReuseError> {
        if is_same_file(path, own) {
            return Err(ReuseError::Itself(path.to_owned()));
        }
        let other = Self::read(path).map_err(|error| ReuseError::Theirs {
            path: path.to_owned(),
            error,
        })?;
        let other = other.ok_or_else(|| ReuseError::NoJob(path.to_owned()))?;
        if other.job.tenant != tenant {
            return Err(ReuseError::OtherTenant {
                path: other.path,
                theirs: other.job.tenant,
                ours: tenant.to_owned(),
            });
        }
        Ok(other)
    }

    /// Holds on to a ledger, where it is pinned to a job.
    fn read(path: &Path) -> Result<Option<Self>, LedgerError> {
        let (connection, version) = open_any_version(path)?;
        connection.execute_batch("BEGIN")?;
        let id = "SELECT ledger_id FROM meta";
        let id: String = connection.query_row(id, [], |row| row.get(0))?;
        let pinned = read::job(&connection)?;
        Ok(pinned.map(|pinned| Self {
            connection,
            path: path.to_owned(),
            id,
            version,
            job: pinned.job,
        }))
    }

    fn theirs(&self, error: impl Into<LedgerError>) -> ReuseError {
        ReuseError::Theirs {
            path: self.path.clone(),
            error: error.into(),
        }
    }

    /// What is certain and young enough, as a question that more conditions may be added to.
    fn certain(&self) -> String {
        // What it took over itself is as old as it was there.
        let looked_up_at = if self.version >= KNOWS_REUSED {
            "coalesce(reused, resolved_at)"
        } else {
            "resolved_at"
        };
        format!(
            "SELECT email, {looked_up_at} AS looked_up_at, profile_id, held, state FROM entry
             WHERE looked_up_at >= ?1 AND ((profile_id IS NOT NULL AND held IS NOT NULL
                 AND (state IN (1, 3) OR (state = 4 AND reason IN ('already_assigned', 'not_assigned'))))
                 OR (state = 4 AND reason = 'not_found' AND evidence IS NULL))"
        )
    }

    /// The one profile that bears the email of an entry, and what that holds; nobody where it is `None`.
    fn bearer(&self, row: &Row<'_>) -> Result<Option<(ProfileId, Vec<Handle>)>, LedgerError> {
        if matches!(row.get_ref(2)?.as_str_or_null(), Ok(None)) {
            return Ok(None);
        }
        let mut held = read::handles_from_json(text(row, 3)?)?;
        if row.get::<_, i64>(4)? == EntryState::Confirmed.code() {
            held = self.after_its_job(held);
        }
        Ok(Some((ProfileId::new(text(row, 2)?), held)))
    }

    /// What a profile holds once that ledger's own job has been done for it.
    fn after_its_job(&self, mut held: Vec<Handle>) -> Vec<Handle> {
        held.retain(|handle| !self.job.handles.contains(handle));
        if self.job.action == Action::Assign {
            held.extend(self.job.handles.iter().cloned());
        }
        held
    }
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, LedgerError> {
    let text = row.get_ref(column)?.as_str();
    text.map_err(|error| LedgerError::Damaged(error.to_string()))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (std::fs::metadata(one), std::fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

/// What another ledger has to offer to a job. How old that is counts from the moment in which it is made.
pub struct Offer<'o> {
    other: &'o OtherLedger,
    job: &'o Job,
    not_found: bool,
    /// What was looked up earlier is too old.
    since: i64,
    /// What was looked up later lies in the future.
    until: i64,
}

/// What is offered for one entry.
pub(super) struct Given {
    /// What becomes of the entry by it.
    pub verdict: Verdict,
    /// When it was looked up.
    pub looked_up_at: i64,
    /// Whether that lies so far in the future that it must not be taken.
    pub is_ahead: bool,
}

impl<'o> Offer<'o> {
    /// What is offered on these terms.
    pub fn new(other: &'o OtherLedger, job: &'o Job, terms: Terms) -> Self {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let now = now_ms();
        Self {
            other,
            job,
            not_found: terms.not_found,
            since: now.saturating_sub(ms(terms.max_age)),
            until: now + ms(CLOCK_SLACK),
        }
    }

    /// The ledger that it comes from.
    pub(super) fn from(&self) -> &OtherLedger {
        self.other
    }

    /// Lends all of it to `visit`, until that fails or `stop` says so.
    pub(super) fn each(
        &self,
        stop: &dyn Fn() -> bool,
        mut visit: impl FnMut(&str, Given) -> Result<(), LedgerError>,
    ) -> Result<(), ReuseError> {
        let theirs = |error: rusqlite::Error| self.other.theirs(error);
        let certain = format!("{} ORDER BY id", self.other.certain());
        let mut query = self.other.connection.prepare(&certain).map_err(theirs)?;
        let mut rows = query.query(params![self.since]).map_err(theirs)?;
        let mut visited = 0_u64;
        while let Some(row) = rows.next().map_err(theirs)? {
            visited += 1;
            if visited.is_multiple_of(ENTRIES_A_LOOK) && stop() {
                return Err(ReuseError::Stopped);
            }
            let read = self.given(row).and_then(|given| Ok((text(row, 0)?, given)));
            if let (email, Some(given)) = read.map_err(|error| self.other.theirs(error))? {
                visit(email, given)?;
            }
        }
        Ok(())
    }

    /// Counts what would be taken for an entry with this email, and says whether anything would.
    pub fn count(&self, email: &str, reused: &mut Reused) -> Result<bool, ReuseError> {
        let given = self.given_for(email);
        let given = given.map_err(|error| self.other.theirs(error))?;
        Ok(given.is_some_and(|given| reused.count(&given)))
    }

    fn given_for(&self, email: &str) -> Result<Option<Given>, LedgerError> {
        let certain = format!("{} AND email = ?2", self.other.certain());
        let mut query = self.other.connection.prepare_cached(&certain)?;
        let mut rows = query.query(params![self.since, email])?;
        match rows.next()? {
            Some(row) => self.given(row),
            None => Ok(None),
        }
    }

    /// What an entry of the other ledger is good for; nothing where it is left to be looked up.
    fn given(&self, row: &Row<'_>) -> Result<Option<Given>, LedgerError> {
        let verdict = match self.other.bearer(row)? {
            Some((profile, held)) => judge(self.job, profile, held),
            None if self.not_found => Verdict::Skipped {
                reason: SkipReason::NotFound,
                profile: None,
            },
            None => return Ok(None),
        };
        if matches!(verdict, Verdict::Skipped { profile: Some(_), .. }) {
            // That it needs nothing may not be true any more, and no read-back would tell.
            return Ok(None);
        }
        let looked_up_at = row.get(1)?;
        Ok(Some(Given {
            verdict,
            looked_up_at,
            is_ahead: looked_up_at > self.until,
        }))
    }
}

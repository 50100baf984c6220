//! Questions that walk the whole ledger: every entry and every rejected row for the export, and the checks
//! that nothing contradicts anything else. Rows are lent one at a time, so memory stays flat.

use super::error::LedgerError;
use super::read::{Reader, unsigned};
use crate::model::entry::EntryState;
use rusqlite::{OptionalExtension, Statement, params};
use std::collections::HashMap;

/// An entry with everything that is known about it. Times are milliseconds since 1970 UTC.
#[derive(Debug)]
#[allow(
    missing_docs,
    reason = "the names are those of the export's columns, which audit/export.rs explains"
)]
pub struct EntryRow<'r> {
    pub email: &'r str,
    pub written: Option<&'r str>,
    pub state: EntryState,
    pub reason: Option<&'r str>,
    pub detail: Option<&'r str>,
    pub profile_id: Option<&'r str>,
    pub held: Option<&'r str>,
    pub batch: Option<i64>,
    pub batch_id: Option<&'r str>,
    pub evidence: Option<&'r str>,
    pub rung: Option<&'r str>,
    pub list: &'r str,
    pub line: u64,
    pub occurrences: u64,
    /// The ids of the profiles that bear an ambiguous email.
    pub candidates: Vec<String>,
    pub resolved_at: Option<i64>,
    pub sent_at: Option<i64>,
    pub settled_at: Option<i64>,
    pub ruling: Option<&'r str>,
    pub reused: Option<TakenOver<'r>>,
}

/// Where an entry's profile, or that it has none, was taken from instead of being looked up.
#[derive(Clone, Copy, Debug)]
pub struct TakenOver<'r> {
    /// The id of the other ledger.
    pub ledger: &'r str,
    /// When that looked the entry up, in milliseconds since 1970 UTC.
    pub looked_up_at: i64,
}

/// A row that held no usable email.
#[derive(Debug)]
#[allow(
    missing_docs,
    reason = "the names are those of the export's columns, which audit/export.rs explains"
)]
pub struct RejectRow<'r> {
    pub list: &'r str,
    pub line: u64,
    pub reason: &'r str,
    pub detail: &'r str,
    pub excerpt: &'r str,
}

/// A row whose email an earlier row had named already.
#[derive(Debug)]
#[allow(
    missing_docs,
    reason = "the names are those of the export's columns, which audit/export.rs explains"
)]
pub struct RepeatRow<'r> {
    pub list: &'r str,
    pub line: u64,
    pub email: &'r str,
    /// As this row has it.
    pub written: &'r str,
    /// Where the email was first named.
    pub first_list: &'r str,
    pub first_line: u64,
}

impl Reader {
    /// Lends every entry, in the order of the lists, to `visit` until that fails. A list that comes in meanwhile has
    /// no name, unless the reader is [frozen](Reader::freeze).
    pub fn each_entry<E: From<LedgerError>>(
        &self,
        mut visit: impl FnMut(EntryRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sqlite = LedgerError::from;
        let names = super::lists::names(&self.connection)?;
        let sources = self.names("SELECT id, ledger_id FROM reuse").map_err(sqlite)?;
        let prepare = |sql| self.connection.prepare(sql).map_err(sqlite);
        let mut candidates =
            prepare("SELECT profile_id FROM candidate WHERE entry = ?1 ORDER BY profile_id")?;
        let mut batches = prepare(BATCH)?;
        let mut query = prepare(ENTRIES)?;
        let decisions = self.names(DECISIONS).map_err(sqlite)?;
        let mut batch = BatchFacts::default();
        let mut rows = query.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let number = row.get(8).map_err(sqlite)?;
            if number != batch.number {
                // Entries of one batch mostly stand together: joining them costs more than looking now and then.
                batch = BatchFacts::of(&mut batches, number).map_err(sqlite)?;
            }
            let mut entry = entry_row(row, &batch, &names, &sources).map_err(sqlite)?;
            if !decisions.is_empty() {
                let id: i64 = row.get(0).map_err(sqlite)?;
                entry.ruling = decisions.get(&id).map_or(entry.ruling, |words| Some(words));
            }
            if entry.state == EntryState::Ambiguous {
                let id: i64 = row.get(0).map_err(sqlite)?;
                let ids = candidates
                    .query_map(params![id], |row| row.get(0))
                    .map_err(sqlite)?;
                entry.candidates = ids.collect::<Result<_, _>>().map_err(sqlite)?;
            }
            visit(entry)?;
        }
        Ok(())
    }

    /// Words by number: the ledgers that something was taken from, or decisions by entry. A handful at the most.
    fn names(&self, sql: &str) -> rusqlite::Result<HashMap<i64, String>> {
        let mut query = self.connection.prepare(sql)?;
        query
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    /// Lends every rejected row, in the order of the lists, to `visit` until that fails.
    pub fn each_reject<E: From<LedgerError>>(
        &self,
        mut visit: impl FnMut(RejectRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sqlite = LedgerError::from;
        let names = super::lists::names(&self.connection)?;
        let mut query = self
            .connection
            .prepare("SELECT list, line, reason, detail, excerpt FROM reject ORDER BY rowid")
            .map_err(sqlite)?;
        let mut rows = query.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            visit(reject_row(row, &names).map_err(sqlite)?)?;
        }
        Ok(())
    }

    /// Lends every repeat, in the order of the lists, to `visit` until that fails.
    pub fn each_repeat<E: From<LedgerError>>(
        &self,
        mut visit: impl FnMut(RepeatRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sqlite = LedgerError::from;
        let names = super::lists::names(&self.connection)?;
        let name = |list| names.get(&list).map_or("", String::as_str);
        let mut query = self.connection.prepare(REPEATS).map_err(sqlite)?;
        let mut rows = query.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let repeat = || -> rusqlite::Result<RepeatRow<'_>> {
                Ok(RepeatRow {
                    list: name(row.get(0)?),
                    line: unsigned(row, 1)?,
                    email: row.get_ref(2)?.as_str()?,
                    written: row.get_ref(3)?.as_str()?,
                    first_list: name(row.get(4)?),
                    first_line: unsigned(row, 5)?,
                })
            };
            visit(repeat().map_err(sqlite)?)?;
        }
        Ok(())
    }

    /// What SQLite says about the file's structure; empty where it is sound.
    pub fn structural_damage(&self) -> Result<Vec<String>, LedgerError> {
        let mut query = self.connection.prepare("PRAGMA quick_check(20)")?;
        let lines = query
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Runs a check that counts contradictions: zero is good.
    fn contradictions(&self, sql: &str) -> Result<u64, LedgerError> {
        Ok(self.connection.query_row(sql, [], |row| unsigned(row, 0))?)
    }

    /// What the ledger must never say, each with how often it does.
    pub fn contradictions_found(&self) -> Result<Vec<(&'static str, u64)>, LedgerError> {
        CONTRADICTIONS
            .iter()
            .map(|(what, sql)| Ok((*what, self.contradictions(sql)?)))
            .collect()
    }
}

/// The ledger's conservation laws, each as a query that counts what breaks it.
const CONTRADICTIONS: &[(&str, &str)] = &[
    (
        "every row of every list is an entry, a repeat or a reject",
        "SELECT count(*) FROM list WHERE rows <> entries + repeats + rejects
             OR entries <> (SELECT count(*) FROM entry WHERE entry.list = list.id)
             OR repeats <> (SELECT count(*) FROM repeated WHERE repeated.list = list.id)
             OR rejects <> (SELECT count(*) FROM reject WHERE reject.list = list.id)",
    ),
    (
        "occurrences count the entry and its repeats",
        "SELECT abs((SELECT coalesce(sum(occurrences), 0) FROM entry)
             - (SELECT count(*) FROM entry) - (SELECT count(*) FROM repeated))",
    ),
    (
        "the counts by state are the entries' states",
        "WITH kept AS (SELECT state, reason, entries FROM tally WHERE entries <> 0),
             counted AS (SELECT state, coalesce(reason, evidence, '') AS reason, count(*) AS entries
                 FROM entry GROUP BY 1, 2)
         SELECT (SELECT count(*) FROM (SELECT * FROM kept EXCEPT SELECT * FROM counted))
             + (SELECT count(*) FROM (SELECT * FROM counted EXCEPT SELECT * FROM kept))",
    ),
    (
        "no profile is in two places that were sent",
        "SELECT count(*) FROM (SELECT 1 FROM entry WHERE state IN (1, 2, 3, 6) AND profile_id IS NOT NULL
             GROUP BY profile_id HAVING count(*) > 1)",
    ),
    (
        "a batch has as many members as it was sealed with",
        "SELECT count(*) FROM batch WHERE state <> 4
             AND size <> (SELECT count(*) FROM entry WHERE entry.batch = batch.id)
                 + (SELECT count(DISTINCT entry) FROM retry JOIN entry AS now ON now.id = retry.entry
                     WHERE retry.batch = batch.id AND now.batch IS NOT batch.id)",
    ),
    (
        "who decided is recorded where a member of an accepted batch was tried again",
        "SELECT count(*) FROM retry JOIN batch ON batch.id = retry.batch
             WHERE batch.state <> 4 AND (person IS NULL OR because IS NULL)",
    ),
    (
        "nothing was sent again that had been accepted, or doubted without being found absent",
        "SELECT count(*) FROM attempt AS earlier JOIN attempt AS later
             ON later.batch = earlier.batch AND later.id > earlier.id
         LEFT JOIN answer ON answer.attempt = earlier.id
         WHERE answer.class IS 'accepted' OR ((answer.class IS NULL OR answer.class = 'in_doubt')
             AND NOT EXISTS (SELECT 1 FROM absence WHERE absence.attempt = earlier.id))",
    ),
    (
        "confirmed entries name their evidence, batch and profile",
        "SELECT count(*) FROM entry WHERE state = 3 AND (evidence IS NULL OR batch IS NULL OR profile_id IS NULL)",
    ),
    (
        "entries that were not looked up here name the ledger that they were taken from",
        "SELECT count(*) FROM entry WHERE (reused IS NULL) <> (reuse IS NULL)
             OR (reuse IS NOT NULL AND reuse NOT IN (SELECT id FROM reuse))",
    ),
    (
        "members of settled batches are confirmed or failed",
        "SELECT count(*) FROM entry JOIN batch ON batch.id = entry.batch
             WHERE batch.state = 3 AND entry.state NOT IN (3, 6)",
    ),
];

const ENTRIES: &str =
    "SELECT id, email, written, state, reason, detail, profile_id, held, batch, evidence, list, line,
        occurrences, resolved_at, settled_at, reused, reuse
    FROM entry ORDER BY id";

const REPEATS: &str =
    "SELECT repeated.list, repeated.line, email, coalesce(repeated.written, email), entry.list, entry.line
    FROM repeated JOIN entry ON entry.id = repeated.entry ORDER BY repeated.rowid";

/// Who decided that failed entries are tried again, by the entry; the last one counts.
const DECISIONS: &str = "SELECT entry, 'tried again by ' || person || ': ' || because FROM retry
    WHERE person IS NOT NULL ORDER BY id";

const BATCH: &str = "SELECT batch_id, rung, sent_at, CASE WHEN rung IN ('ruled_sent', 'ruled_absent') THEN
        (SELECT verdict || ' by ' || person || ': ' || because FROM ruling
            WHERE ruling.batch = batch.id ORDER BY id DESC LIMIT 1) END
    FROM batch WHERE id = ?1";

/// What an export says of an entry's batch.
#[derive(Default)]
struct BatchFacts {
    number: Option<i64>,
    batch_id: Option<String>,
    rung: Option<String>,
    sent_at: Option<i64>,
    ruling: Option<String>,
}

impl BatchFacts {
    fn of(batches: &mut Statement<'_>, number: Option<i64>) -> rusqlite::Result<Self> {
        let unknown = Self {
            number,
            ..Self::default()
        };
        let facts = batches.query_row([number], |row| {
            Ok(Self {
                number,
                batch_id: row.get(0)?,
                rung: row.get(1)?,
                sent_at: row.get(2)?,
                ruling: row.get(3)?,
            })
        });
        Ok(facts.optional()?.unwrap_or(unknown))
    }
}

fn entry_row<'r>(
    row: &'r rusqlite::Row<'_>,
    batch: &'r BatchFacts,
    lists: &'r HashMap<i64, String>,
    sources: &'r HashMap<i64, String>,
) -> Result<EntryRow<'r>, rusqlite::Error> {
    let text =
        |column: usize| -> rusqlite::Result<Option<&'r str>> { Ok(row.get_ref(column)?.as_str_or_null()?) };
    let code: i64 = row.get(3)?;
    Ok(EntryRow {
        email: row.get_ref(1)?.as_str()?,
        written: text(2)?,
        state: EntryState::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(3, code))?,
        reason: text(4)?,
        detail: text(5)?,
        profile_id: text(6)?,
        held: text(7)?,
        batch: batch.number,
        batch_id: batch.batch_id.as_deref(),
        evidence: text(9)?,
        rung: batch.rung.as_deref(),
        list: lists.get(&row.get(10)?).map_or("", String::as_str),
        line: unsigned(row, 11)?,
        occurrences: unsigned(row, 12)?,
        candidates: Vec::new(),
        resolved_at: row.get(13)?,
        sent_at: batch.sent_at,
        settled_at: row.get(14)?,
        ruling: batch.ruling.as_deref(),
        reused: taken_over(row, sources)?,
    })
}

fn taken_over<'r>(
    row: &rusqlite::Row<'_>,
    sources: &'r HashMap<i64, String>,
) -> rusqlite::Result<Option<TakenOver<'r>>> {
    let Some(looked_up_at) = row.get(15)? else {
        return Ok(None);
    };
    let ledger = sources.get(&row.get(16)?).map_or("", String::as_str);
    Ok(Some(TakenOver { ledger, looked_up_at }))
}

fn reject_row<'r>(
    row: &'r rusqlite::Row<'_>,
    lists: &'r HashMap<i64, String>,
) -> Result<RejectRow<'r>, rusqlite::Error> {
    Ok(RejectRow {
        list: lists.get(&row.get(0)?).map_or("", String::as_str),
        line: unsigned(row, 1)?,
        reason: row.get_ref(2)?.as_str()?,
        detail: row.get_ref(3)?.as_str()?,
        excerpt: row.get_ref(4)?.as_str()?,
    })
}

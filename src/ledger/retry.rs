//! Failed entries that are taken up again.
//!
//! A look-up that failed, and a profile in a request that the tenant refused, never were in an accepted request: they
//! are looked up again like any other entry. A member of an *accepted* batch may have got the change without showing
//! it, so a person has to decide, and a fresh look has to agree. Both stand in the table `retry`.

use super::error::LedgerError;
use super::load::Loading;
use super::open::Ledger;
use super::read::{handles_from_json, unsigned};
use super::scans::FORGET_SCAN;
use super::time::now_ms;
use super::write::{Tally, Transaction, save_tally};
use super::{SealedMember, Writer};
use crate::model::email::Email;
use crate::model::entry::{self, EntryEvent, EntryState, Evidence};
use crate::model::ids::{EntryId, ProfileId};
use rusqlite::{Connection, params};

/// How many failed entries there are, by whether the tenant ever accepted a request for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// In no batch, or in one that was refused.
    pub never_accepted: u64,
    /// Members of an accepted batch.
    pub accepted: u64,
}

/// Who decided that members of accepted batches are taken up again, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// A person's name.
    pub person: String,
    /// The grounds.
    pub because: String,
}

/// What a fresh look at a failed member of an accepted batch showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreshLook {
    /// It lacks the change: it is looked up, and sent, again.
    Lacking,
    /// It shows the change by now.
    Showing,
}

/// Failed entries that no accepted request was for.
const NEVER_ACCEPTED: &str =
    "state = 6 AND (batch IS NULL OR batch IN (SELECT id FROM batch WHERE state = 4))";

impl Ledger {
    /// How many failed entries there are.
    pub fn failures(&self) -> Result<Failures, LedgerError> {
        let sql =
            format!("SELECT count(*) FILTER (WHERE {NEVER_ACCEPTED}), count(*) FROM entry WHERE state = 6");
        let (never_accepted, all) = self
            .connection
            .query_row(&sql, [], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
        Ok(Failures {
            never_accepted,
            accepted: all - never_accepted,
        })
    }
}

impl Loading<'_> {
    /// Takes up again what failed without an accepted request; returns how many entries that are.
    pub fn retry_never_accepted(&mut self) -> Result<u64, LedgerError> {
        let connection = self.file_rows()?;
        let pending = entry::apply(EntryState::Failed, EntryEvent::Retry)?;
        let mut tally = Tally::default();
        let reasons =
            format!("SELECT coalesce(reason, ''), count(*) FROM entry WHERE {NEVER_ACCEPTED} GROUP BY 1");
        let mut query = connection.prepare(&reasons)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (reason, entries): (String, i64) = (row.get(0)?, row.get(1)?);
            tally.add(EntryState::Failed, &reason, -entries);
            tally.add(pending, "", entries);
        }
        record(connection, NEVER_ACCEPTED, None)?;
        let retried = start_over(connection, NEVER_ACCEPTED, pending)?;
        save_tally(connection, &tally)?;
        Ok(retried)
    }
}

/// Keeps what entries were before they are taken up again, and who decided, where a person had to.
fn record(connection: &Connection, which: &str, decision: Option<&Decision>) -> Result<(), LedgerError> {
    let (person, because) = decision.map(|by| (&by.person, &by.because)).unzip();
    connection.execute(
        &format!(
            "INSERT INTO retry (entry, batch, profile_id, reason, detail, person, because, retried_at)
             SELECT id, batch, profile_id, reason, detail, ?1, ?2, ?3 FROM entry WHERE {which}"
        ),
        params![person, because, now_ms()],
    )?;
    Ok(())
}

/// Forgets everything about these entries but their emails. A scan did not look for them from its beginning.
fn start_over(connection: &Connection, which: &str, pending: EntryState) -> Result<u64, LedgerError> {
    let entries = connection.execute(
        &format!(
            "UPDATE entry SET state = {}, reason = NULL, detail = NULL, profile_id = NULL, held = NULL, batch = NULL,
                 evidence = NULL, resolved_at = NULL, settled_at = NULL, reused = NULL, reuse = NULL WHERE {which}",
            pending.code()
        ),
        [],
    )?;
    connection.execute_batch(FORGET_SCAN)?;
    Ok(entries as u64)
}

impl Writer {
    /// The failed members of accepted batches.
    pub async fn failed_members(&self) -> Result<Vec<SealedMember>, LedgerError> {
        self.vital(|transaction| failed_members(transaction.connection))
            .await
    }

    /// Acts on fresh looks at failed members of accepted batches, by a person's decision. Vital, and one transaction.
    pub async fn retry_accepted(
        &self,
        looks: Vec<(EntryId, FreshLook)>,
        decision: Decision,
    ) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            looks
                .iter()
                .try_for_each(|(id, look)| transaction.retry_accepted(*id, *look, &decision))
        })
        .await
    }
}

fn failed_members(connection: &Connection) -> Result<Vec<SealedMember>, LedgerError> {
    let mut query = connection.prepare(
        "SELECT entry.id, profile_id, held, email, reused IS NOT NULL FROM entry JOIN batch ON batch.id = entry.batch
         WHERE entry.state = 6 AND batch.state = 3 AND profile_id IS NOT NULL ORDER BY entry.id",
    )?;
    let mut rows = query.query([])?;
    let mut members = Vec::new();
    while let Some(row) = rows.next()? {
        let held: Option<String> = row.get(2)?;
        members.push(SealedMember {
            id: EntryId(row.get(0)?),
            profile: ProfileId::new(row.get::<_, String>(1)?),
            held: handles_from_json(held.as_deref().unwrap_or("[]"))?,
            email: Email::from_ledger(&row.get::<_, String>(3)?),
            reused: row.get(4)?,
        });
    }
    Ok(members)
}

impl Transaction<'_> {
    fn retry_accepted(
        &mut self,
        id: EntryId,
        look: FreshLook,
        decision: &Decision,
    ) -> Result<(), LedgerError> {
        let this = format!("id = {}", id.0);
        let reason: String = self.connection.query_row(
            &format!("SELECT coalesce(reason, '') FROM entry WHERE {this} AND state = 6"),
            [],
            |row| row.get(0),
        )?;
        record(self.connection, &this, Some(decision))?;
        self.tally.add(EntryState::Failed, &reason, -1);
        match look {
            FreshLook::Lacking => {
                let pending = entry::apply(EntryState::Failed, EntryEvent::Retry)?;
                start_over(self.connection, &this, pending)?;
                self.tally.add(pending, "", 1);
            }
            FreshLook::Showing => {
                let confirmed = entry::apply(EntryState::Failed, EntryEvent::ConfirmLate)?;
                let seen = Evidence::Seen.as_str();
                self.connection.execute(
                    "UPDATE entry SET state = ?2, reason = NULL, detail = NULL, evidence = ?3, settled_at = ?4
                     WHERE id = ?1",
                    params![id.0, confirmed.code(), seen, now_ms()],
                )?;
                self.tally.add(confirmed, seen, 1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{AnswerRecord, ListIdentity, MemberFate, Reader, Settlement};
    use crate::model::batch::BatchEvent;
    use crate::model::ids::{BatchId, BatchNo};
    use crate::model::lookup::Verdict;
    use std::path::Path;

    /// A ledger whose entries have failed: one in its look-up, one in a refused batch, two in an accepted one.
    async fn failed(path: &Path) {
        let mut ledger = Ledger::create(path, "assign").unwrap();
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list("a.csv", "CSV").unwrap();
        for line in 1..=4 {
            let email = format!("p{line}@example.com");
            loading.email(line, &email, &email).unwrap();
        }
        let identity = ListIdentity {
            digest: [1; 32],
            column: 1,
            ..ListIdentity::default()
        };
        loading.end_list(&identity).unwrap();
        loading.commit().unwrap();
        let writer = ledger.into_immediate_writer("assign").unwrap();
        let reason = "no answer".to_owned();
        writer
            .lookups(vec![(EntryId(1), Verdict::Failed { reason })])
            .await
            .unwrap();
        for id in 2..=4 {
            let profile = ProfileId::new(format!("p{id}"));
            let verdict = Verdict::Resolved {
                profile,
                held: vec![],
            };
            writer.lookups(vec![(EntryId(id), verdict)]).await.unwrap();
        }
        let answer = |event, class, batch_id| AnswerRecord {
            event,
            class,
            batch_id,
            detail: None,
        };
        let (refused, accepted) = (writer.seal(1).await.unwrap(), writer.seal(2).await.unwrap());
        let attempt = writer.depart(refused).await.unwrap();
        let failed = vec![(EntryId(2), "HTTP 422".to_owned())];
        let no = answer(BatchEvent::Refuse, "refused", None);
        writer
            .refuse(refused, attempt, no, failed, Vec::new())
            .await
            .unwrap();
        let attempt = writer.depart(accepted).await.unwrap();
        let yes = answer(BatchEvent::Accept, "accepted", Some(BatchId::new("b-1")));
        writer.answer(accepted, attempt, yes).await.unwrap();
        let fate = |id| {
            (
                EntryId(id),
                MemberFate::Failed("not_confirmed", "it does not show".into()),
            )
        };
        let settlement = Settlement {
            fates: vec![fate(3), fate(4)],
            ..Settlement::default()
        };
        writer.settle(accepted, settlement).await.unwrap();
    }

    fn check(path: &Path) {
        for (law, broken) in Reader::open(path).unwrap().contradictions_found().unwrap() {
            assert_eq!(broken, 0, "{law}");
        }
    }

    fn in_state(path: &Path, state: EntryState) -> u64 {
        Reader::open(path).unwrap().counts().unwrap().in_state(state)
    }

    #[tokio::test]
    async fn only_what_no_accepted_request_was_for_is_simply_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        failed(&path).await;
        let mut ledger = Ledger::open(&path, "resume").unwrap().unwrap();
        let failures = Failures {
            never_accepted: 2,
            accepted: 2,
        };
        assert_eq!(ledger.failures().unwrap(), failures);
        let mut loading = ledger.begin_load().unwrap();
        assert_eq!(loading.retry_never_accepted().unwrap(), 2);
        assert_eq!(loading.pending().unwrap(), 2);
        loading.commit().unwrap();
        assert_eq!(
            (
                in_state(&path, EntryState::Pending),
                in_state(&path, EntryState::Failed)
            ),
            (2, 2)
        );
        check(&path);
        let batches = Reader::open(&path).unwrap().batches().unwrap();
        assert_eq!((batches[0].retried, batches[0].outcome.failed), (1, 0));
        assert_eq!((batches[1].no, batches[1].outcome.failed), (BatchNo(2), 2));
        // Who was in a request once stays in the ledger.
        let unloaded = ledger.unload("a.csv", None);
        assert!(
            matches!(unloaded, Err(crate::ledger::UnloadError::Sent { entries: 3, .. })),
            "{unloaded:?}"
        );
    }

    #[tokio::test]
    async fn a_member_of_an_accepted_batch_goes_by_a_look_and_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        failed(&path).await;
        let ledger = Ledger::open(&path, "resume").unwrap().unwrap();
        let writer = ledger.into_immediate_writer("resume").unwrap();
        let members = writer.failed_members().await.unwrap();
        let ids: Vec<i64> = members.iter().map(|member| member.id.0).collect();
        assert_eq!(ids, [3, 4]);
        let decision = Decision {
            person: "Ann Lee".into(),
            because: "ticket 4711".into(),
        };
        let looks = vec![(EntryId(3), FreshLook::Lacking), (EntryId(4), FreshLook::Showing)];
        writer.retry_accepted(looks, decision).await.unwrap();
        drop(writer);
        assert_eq!(
            (
                in_state(&path, EntryState::Pending),
                in_state(&path, EntryState::Confirmed)
            ),
            (1, 1)
        );
        check(&path);
    }
}

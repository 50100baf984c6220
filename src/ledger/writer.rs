//! What a run writes through: a handle to the one thread that writes while the run is going on.
//!
//! Two kinds of writes are sent to it. *Vital* ones (sealed, sending, answer, hold) are committed, and with
//! `synchronous=FULL` flushed, before the caller goes on: the protocol rests on their order. *Repeatable* ones
//! (a look-up's verdict, a settlement) are grouped, since asking the tenant again would bring them back.
//! The channel keeps everybody's order, so a vital write also flushes what was written before it.
//!
//! Under virtual time a thread would be a second clock: [`Ledger::into_immediate_writer`] writes on the caller's
//! thread instead, by the same code (`executor.rs`).

use super::error::LedgerError;
use super::executor::{Acknowledge, Executor, Message};
use super::open::Ledger;
use super::read::{self, Accepted, OpenBatch, PendingEntry, SealedMember};
use super::time::now_ms;
use super::write::{AnswerRecord, Settlement, Transaction};
use crate::model::batch::{BatchEvent, BatchState};
use crate::model::entry::EntryState;
use crate::model::ids::{AttemptNo, BatchNo, EntryId, ProfileId};
use crate::model::lookup::Verdict;
use rusqlite::params;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot};

/// Repeatable writes that may wait for the disk before their senders do.
const BACKLOG_LIMIT: usize = 4_096;

/// A handle to whatever writes; clones share it.
#[derive(Clone)]
pub struct Writer {
    queue: Queue,
    backlog: Arc<Semaphore>,
    failure: Arc<OnceLock<LedgerError>>,
    run: i64,
}

/// The way to the executor.
#[derive(Clone)]
enum Queue {
    /// It has a thread of its own.
    Thread(Sender<Message>),
    /// It works on the thread of whoever sends. Empty once a transaction has failed.
    Immediate(Arc<Mutex<Option<Executor>>>),
}

/// Nothing is executed any more.
struct Stopped;

impl Queue {
    fn send(&self, message: Message) -> Result<(), Stopped> {
        match self {
            Self::Thread(queue) => queue.send(message).map_err(|_| Stopped),
            Self::Immediate(executor) => {
                let mut executor = executor.lock().expect("BUG: a write panicked");
                let working = executor.as_mut().ok_or(Stopped)?;
                if !working.execute(message, || None) {
                    *executor = None;
                }
                Ok(())
            }
        }
    }
}

/// The writer thread itself. Dropping every [`Writer`] ends it; [`WriterThread::join`] waits for that.
pub struct WriterThread {
    thread: JoinHandle<()>,
}

impl WriterThread {
    /// Waits until the last write is done and the lock is given back.
    pub fn join(self) {
        if self.thread.join().is_err() {
            panic!("BUG: the ledger's writer thread panicked");
        }
    }
}

impl Ledger {
    /// Notes that a run begins, and hands the ledger to a thread of its own.
    pub fn into_writer(self, verb: &str) -> Result<(Writer, WriterThread), LedgerError> {
        let failure = Arc::new(OnceLock::new());
        let executor = self.into_executor(verb, failure.clone())?;
        let run = executor.run();
        let (queue, messages) = channel();
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || executor.serve(messages))
            .map_err(|error| LedgerError::Disk(error.to_string()))?;
        Ok((
            Writer::to(Queue::Thread(queue), failure, run),
            WriterThread { thread },
        ))
    }

    /// Notes that a run begins, and writes each message on the thread that sends it, in a transaction of its own.
    ///
    /// Blocks the caller for as long as the disk takes: for simulations, where time stands still meanwhile.
    /// Dropping every [`Writer`] gives the lock back.
    pub fn into_immediate_writer(self, verb: &str) -> Result<Writer, LedgerError> {
        let failure = Arc::new(OnceLock::new());
        let executor = self.into_executor(verb, failure.clone())?;
        let run = executor.run();
        let queue = Queue::Immediate(Arc::new(Mutex::new(Some(executor))));
        Ok(Writer::to(queue, failure, run))
    }

    fn into_executor(self, verb: &str, failure: Arc<OnceLock<LedgerError>>) -> Result<Executor, LedgerError> {
        self.connection.execute(
            "INSERT INTO run (verb, version, started_at, options) VALUES (?1, ?2, ?3, ?4)",
            params![verb, env!("CARGO_PKG_VERSION"), now_ms(), self.options],
        )?;
        let run = self.connection.last_insert_rowid();
        Ok(Executor::new(self, run, failure))
    }
}

impl Writer {
    fn to(queue: Queue, failure: Arc<OnceLock<LedgerError>>, run: i64) -> Self {
        Self {
            queue,
            backlog: Arc::new(Semaphore::new(BACKLOG_LIMIT)),
            failure,
            run,
        }
    }

    /// The number of the run that writes.
    pub fn run(&self) -> i64 {
        self.run
    }

    /// Writes verdicts down; the answer is the state in which each entry is then: the ledger knows what a single
    /// look-up cannot, that another entry has led to the same profile. Repeatable.
    pub async fn lookups(&self, verdicts: Vec<(EntryId, Verdict)>) -> Result<Vec<EntryState>, LedgerError> {
        self.repeatable(move |transaction| {
            let write = |(id, verdict): &(EntryId, Verdict)| transaction.lookup(*id, verdict);
            verdicts.iter().map(write).collect()
        })
        .await
    }

    /// Takes back that entries are missing where that rests on groups alone; returns them. Vital.
    pub async fn release_missing(&self) -> Result<Vec<PendingEntry>, LedgerError> {
        self.vital(|transaction| transaction.release_missing()).await
    }

    /// Writes down what became of every member of a batch. Repeatable.
    pub async fn settle(&self, no: BatchNo, settlement: Settlement) -> Result<(), LedgerError> {
        self.repeatable(move |transaction| transaction.settle(no, &settlement))
            .await
    }

    /// Fixes the members of a new batch: the first `size` of the resolved entries. Vital.
    pub async fn seal(&self, size: usize) -> Result<BatchNo, LedgerError> {
        self.vital(move |transaction| transaction.seal(size)).await
    }

    /// Marks a batch `sending`; when this returns, the mark is on the disk. Vital.
    ///
    /// Refused where the ledger is not at its place any more, or what is remembered of it outside cannot follow. That
    /// ends nothing else: what is under way is still answered and recorded, in a ledger that may only have been moved.
    pub async fn depart(&self, no: BatchNo) -> Result<AttemptNo, LedgerError> {
        let marked = self
            .vital(move |transaction| match transaction.check_place() {
                Ok(()) => transaction.depart(no).map(Ok),
                Err(replaced) => Ok(Err(replaced)),
            })
            .await;
        if let Err(why) = &marked
            && self.failure.get().is_none()
        {
            let why = why.to_string();
            self.vital(move |transaction| transaction.did_not_leave(no, &why))
                .await?;
        }
        marked?
    }

    /// Writes the answer to an attempt down. Vital.
    pub async fn answer(
        &self,
        no: BatchNo,
        attempt: AttemptNo,
        answer: AnswerRecord,
    ) -> Result<(), LedgerError> {
        self.vital(move |transaction| transaction.answer(no, attempt, &answer))
            .await
    }

    /// Writes down a refusal together with what it means for the members: some fail, the rest go into
    /// smaller batches. Vital, and one transaction: half of it would lose members.
    pub async fn refuse(
        &self,
        no: BatchNo,
        attempt: AttemptNo,
        answer: AnswerRecord,
        failed: Vec<(EntryId, String)>,
        groups: Vec<Vec<EntryId>>,
    ) -> Result<Vec<BatchNo>, LedgerError> {
        self.vital(move |transaction| {
            transaction.answer(no, attempt, &answer)?;
            transaction.regroup(no, &failed, &groups)
        })
        .await
    }

    /// Moves a batch along its lifecycle. Vital.
    pub async fn batch_event(&self, no: BatchNo, event: BatchEvent) -> Result<BatchState, LedgerError> {
        self.vital(move |transaction| transaction.batch_event(no, event))
            .await
    }

    /// Gives a batch up for now, with the reason. Vital.
    pub async fn hold(&self, no: BatchNo, why: String) -> Result<(), LedgerError> {
        self.vital(move |transaction| transaction.hold(no, &why)).await
    }

    /// Notes how the run ended, after so many requests. Vital. An error where the ledger that says so is not at its place
    /// any more.
    pub async fn end_run(&self, ending: &'static str, requests: u64) -> Result<(), LedgerError> {
        self.vital(move |transaction| {
            transaction.connection.execute(
                "UPDATE run SET ended_at = ?2, ending = ?3, requests = ?4, reported_at = ?2 WHERE id = ?1",
                params![transaction.run, now_ms(), ending, requests as i64],
            )?;
            Ok(transaction.check_place())
        })
        .await?
    }

    /// The next entries after `after` that have not been looked up.
    pub async fn pending_after(
        &self,
        after: EntryId,
        limit: usize,
    ) -> Result<Vec<PendingEntry>, LedgerError> {
        self.vital(move |transaction| read::pending_after(transaction.connection, after, limit))
            .await
    }

    /// Some emails that led to a profile, with it; none where nothing was found yet.
    pub async fn some_found(&self, limit: usize) -> Result<Vec<(String, ProfileId)>, LedgerError> {
        self.vital(move |transaction| read::some_found(transaction.connection, limit))
            .await
    }

    /// Batches that are not finished, oldest first.
    pub async fn open_batches(&self) -> Result<Vec<OpenBatch>, LedgerError> {
        self.vital(|transaction| read::open_batches(transaction.connection))
            .await
    }

    /// The members of a batch, with what each held when it was looked up.
    pub async fn members(&self, no: BatchNo) -> Result<Vec<SealedMember>, LedgerError> {
        self.vital(move |transaction| read::members(transaction.connection, no))
            .await
    }

    /// How it is known that the tenant has a batch.
    pub async fn accepted(&self, no: BatchNo) -> Result<Accepted, LedgerError> {
        self.vital(move |transaction| read::accepted(transaction.connection, no))
            .await
    }

    /// Returns once the write is on the disk.
    pub(super) async fn vital<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<R, LedgerError> + Send + 'static,
    ) -> Result<R, LedgerError> {
        let (reply, done) = oneshot::channel();
        let work = move |transaction: &mut Transaction<'_>| {
            let value = match work(transaction) {
                Ok(value) => value,
                Err(error) => return tell(reply, error),
            };
            let acknowledge = move |committed: Result<(), LedgerError>| {
                // Nobody waits where the caller was cancelled; what is written is written.
                let _ = reply.send(committed.map(|()| value));
            };
            Ok(Some(Box::new(acknowledge) as Acknowledge))
        };
        self.queue
            .send(Message::Vital(Box::new(work)))
            .map_err(|_| self.why_stopped())?;
        done.await.unwrap_or_else(|_| Err(self.why_stopped()))
    }

    /// Returns once the write is in the open transaction: whatever is written later cannot overtake it.
    pub(super) async fn repeatable<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<R, LedgerError> + Send + 'static,
    ) -> Result<R, LedgerError> {
        let place = self.backlog.clone().acquire_owned().await;
        let place = place.expect("BUG: the backlog is never closed");
        let (reply, done) = oneshot::channel();
        let work = move |transaction: &mut Transaction<'_>| match work(transaction) {
            Ok(value) => {
                let _ = reply.send(Ok(value));
                Ok(None)
            }
            Err(error) => tell(reply, error),
        };
        self.queue
            .send(Message::Repeatable(Box::new(work), place))
            .map_err(|_| self.why_stopped())?;
        done.await.unwrap_or_else(|_| Err(self.why_stopped()))
    }

    fn why_stopped(&self) -> LedgerError {
        // The executor sets this before it lets go of anything that somebody waits for.
        self.failure
            .get()
            .cloned()
            .unwrap_or_else(|| LedgerError::Sqlite("its writer has stopped".into()))
    }
}

/// Tells the caller why its write failed, and the executor too, which stops for it.
fn tell<R>(
    reply: oneshot::Sender<Result<R, LedgerError>>,
    error: LedgerError,
) -> Result<Option<Acknowledge>, LedgerError> {
    let _ = reply.send(Err(error.clone()));
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{ListIdentity, open_for_reading};
    use rusqlite::Connection;

    fn ledger_with(folder: &std::path::Path, entries: u64) -> Ledger {
        let mut ledger = Ledger::create(&folder.join("a.db"), "assign").unwrap();
        let mut loading = ledger.begin_load().unwrap();
        loading.begin_list("a.csv", "CSV").unwrap();
        for line in 1..=entries {
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
        ledger
    }

    fn resolved(profile: &str) -> Verdict {
        Verdict::Resolved {
            profile: ProfileId::new(profile),
            held: vec![],
        }
    }

    #[tokio::test]
    async fn a_batch_goes_its_way_and_the_tally_follows() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, thread) = ledger_with(folder.path(), 3).into_writer("assign").unwrap();
        for id in 1..=3 {
            // The third entry leads to the profile of the first.
            let profile = if id == 3 { "p1".into() } else { format!("p{id}") };
            let states = writer.lookups(vec![(EntryId(id), resolved(&profile))]).await;
            let expected = if id == 3 {
                EntryState::Skipped
            } else {
                EntryState::Resolved
            };
            assert_eq!(states.unwrap(), [expected]);
        }
        let batch = writer.seal(2).await.unwrap();
        let attempt = writer.depart(batch).await.unwrap();
        let answer = AnswerRecord {
            event: BatchEvent::Accept,
            class: "accepted",
            batch_id: Some(crate::model::ids::BatchId::new("b-1")),
            detail: None,
        };
        writer.answer(batch, attempt, answer).await.unwrap();
        let open = writer.open_batches().await.unwrap();
        assert_eq!(open[0].state, BatchState::Accepted);
        assert_eq!((open.len(), open[0].size), (1, 2));
        writer.end_run("done", 0).await.unwrap();
        drop(writer);
        thread.join();
        let reader = open_for_reading(&folder.path().join("a.db")).unwrap();
        let tally = read::tally(&reader).unwrap();
        assert_eq!(tally.in_state(crate::model::entry::EntryState::Batched), 2);
        assert_eq!(tally.in_state(crate::model::entry::EntryState::Skipped), 1);
        assert_eq!(tally.in_state(crate::model::entry::EntryState::Pending), 0);
    }

    #[tokio::test]
    async fn an_illegal_move_stops_the_writer_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, thread) = ledger_with(folder.path(), 1).into_writer("assign").unwrap();
        let error = writer.seal(1).await.unwrap_err();
        assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
        assert!(writer.end_run("done", 0).await.is_err());
        drop(writer);
        thread.join();
        let reader = open_for_reading(&folder.path().join("a.db")).unwrap();
        assert!(read::open_batches(&reader).unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_immediate_writer_commits_at_once_and_stops_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let writer = ledger_with(folder.path(), 2)
            .into_immediate_writer("assign")
            .unwrap();
        writer.lookups(vec![(EntryId(1), resolved("p1"))]).await.unwrap();
        let reader = open_for_reading(&path).unwrap();
        let tally = read::tally(&reader).unwrap();
        assert_eq!(tally.in_state(crate::model::entry::EntryState::Resolved), 1);
        // The second entry was never looked up: a seal of both is an error, and nothing comes after an error.
        let error = writer.seal(2).await.unwrap_err();
        assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
        let error = writer.seal(1).await.unwrap_err();
        assert!(matches!(error, LedgerError::Damaged(_)), "{error}");
        assert!(read::open_batches(&reader).unwrap().is_empty());
        assert!(
            Ledger::open(&path, "assign").unwrap().is_some(),
            "the lock is free"
        );
    }

    #[tokio::test]
    async fn a_zombie_cannot_write_into_its_successors_work() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger_with(folder.path(), 1);
        let successor = Connection::open(folder.path().join("a.db")).unwrap();
        successor
            .execute("UPDATE meta SET epoch = epoch + 1", [])
            .unwrap();
        let (writer, thread) = ledger.into_writer("assign").unwrap();
        assert!(matches!(
            writer.open_batches().await,
            Err(LedgerError::Superseded)
        ));
        drop(writer);
        thread.join();
    }

    #[tokio::test]
    async fn attempts_are_append_only() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, thread) = ledger_with(folder.path(), 1).into_writer("assign").unwrap();
        writer.lookups(vec![(EntryId(1), resolved("p1"))]).await.unwrap();
        let batch = writer.seal(1).await.unwrap();
        writer.depart(batch).await.unwrap();
        drop(writer);
        thread.join();
        let connection = Connection::open(folder.path().join("a.db")).unwrap();
        for change in ["UPDATE attempt SET members = 0", "DELETE FROM attempt"] {
            let refusal = connection.execute(change, []).unwrap_err().to_string();
            assert!(refusal.contains("append-only"), "{refusal}");
        }
    }
}

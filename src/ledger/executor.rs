//! Carries out what is sent to a [`Writer`](super::Writer): one transaction for a group of messages.
//!
//! The writer thread lets messages that come in time share a flush; without a thread each is a group of its own.
//!
//! After any error of the ledger nothing is executed any more, and everyone is told why: an fsync that failed must not be tried
//! again, because the kernel may have dropped the pages it could not write.

use super::error::LedgerError;
use super::open::Ledger;
use super::write::{Tally, Transaction, save_tally};
use rusqlite::Connection;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// Repeatable writes in one transaction at the most.
const GROUP_LIMIT: usize = 512;
/// How long a repeatable write waits for company.
const GROUP_WAIT: Duration = Duration::from_millis(20);

/// Tells somebody that the transaction is committed.
pub(super) type Acknowledge = Box<dyn FnOnce(Result<(), LedgerError>) + Send>;
type Work = Box<dyn FnOnce(&mut Transaction<'_>) -> Result<Option<Acknowledge>, LedgerError> + Send>;

/// A piece of work for a transaction.
pub(super) enum Message {
    /// Committed before anything else joins the transaction.
    Vital(Work),
    /// May wait for company; holds its place in the backlog until it is on the disk.
    Repeatable(Work, OwnedSemaphorePermit),
}

/// Executes messages until the first error.
pub(super) struct Executor {
    ledger: Ledger,
    run: i64,
    failure: Arc<OnceLock<LedgerError>>,
}

impl Executor {
    /// Executes for one run; why it stopped is left in `failure`.
    pub(super) fn new(ledger: Ledger, run: i64, failure: Arc<OnceLock<LedgerError>>) -> Self {
        Self { ledger, run, failure }
    }

    /// The number of the run that it executes for.
    pub(super) fn run(&self) -> i64 {
        self.run
    }

    /// Executes what comes until nobody can send any more, or a transaction fails.
    pub(super) fn serve(mut self, messages: Receiver<Message>) {
        let _run = tracing::info_span!("run", id = self.run).entered();
        while let Ok(first) = messages.recv() {
            let until = Instant::now() + GROUP_WAIT;
            let next = || {
                let wait = until.saturating_duration_since(Instant::now());
                messages.recv_timeout(wait).ok()
            };
            if !self.execute(first, next) {
                return;
            }
        }
    }

    /// Executes one transaction: the first message, and what `next` brings as long as more may join. False means
    /// that it failed, and that this must be the last.
    pub(super) fn execute(&mut self, first: Message, next: impl FnMut() -> Option<Message>) -> bool {
        let connection = &self.ledger.connection;
        let mut group = Group::default();
        let mut transaction = Transaction {
            connection,
            tally: Tally::default(),
            run: self.run,
            lock: Some(&self.ledger.lock),
            departed: None,
        };
        // Not inside `commit`: the first message, and with it its caller's reply, must outlive the failure.
        let done = match begin(connection, self.ledger.epoch) {
            Ok(()) => group.commit(&mut transaction, first, next),
            Err(error) => {
                group.refused = Some(first);
                Err(error)
            }
        };
        let departed = transaction.departed;
        match done {
            Ok(()) => {
                // Before anybody is told, and so before the request leaves. A failure concerns that request alone: the
                // ledger is sound, and has to be told that it did not leave.
                let remembered = departed.map_or(Ok(()), |attempt| self.ledger.remember(attempt));
                for acknowledge in group.acknowledgements {
                    acknowledge(remembered.clone());
                }
                true
            }
            Err(error) => {
                let _ = self.ledger.connection.execute_batch("ROLLBACK");
                // Set first: letting the group and the channel go is what tells everybody to look.
                let _ = self.failure.set(error);
                false
            }
        }
    }
}

/// Opens a transaction, unless a later process has taken the ledger over.
fn begin(connection: &Connection, epoch: i64) -> Result<(), LedgerError> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut query = connection.prepare_cached("SELECT epoch FROM meta")?;
    if query.query_row([], |row| row.get::<_, i64>(0))? == epoch {
        Ok(())
    } else {
        Err(LedgerError::Superseded)
    }
}

/// The writes of one transaction, and who is to be told once it is committed.
#[derive(Default)]
struct Group {
    acknowledgements: Vec<Acknowledge>,
    /// Kept until the commit, so that the backlog counts what is not yet on the disk.
    places: Vec<OwnedSemaphorePermit>,
    writes: usize,
    /// A message that no transaction could be opened for.
    refused: Option<Message>,
}

impl Group {
    fn commit(
        &mut self,
        transaction: &mut Transaction<'_>,
        first: Message,
        mut next: impl FnMut() -> Option<Message>,
    ) -> Result<(), LedgerError> {
        let mut message = first;
        while self.write(transaction, message)? {
            match next() {
                Some(joining) => message = joining,
                None => break,
            }
        }
        let began = Instant::now();
        save_tally(transaction.connection, &transaction.tally)?;
        transaction.connection.execute_batch("COMMIT")?;
        tracing::debug!(
            writes = self.writes,
            ms = began.elapsed().as_millis() as u64,
            "commit"
        );
        Ok(())
    }

    /// Does one message's work; the answer is whether another one may join.
    fn write(&mut self, transaction: &mut Transaction<'_>, message: Message) -> Result<bool, LedgerError> {
        let (work, vital) = match message {
            Message::Vital(work) => (work, true),
            Message::Repeatable(work, place) => {
                self.places.push(place);
                (work, false)
            }
        };
        self.acknowledgements.extend(work(transaction)?);
        self.writes += 1;
        Ok(!vital && self.writes < GROUP_LIMIT)
    }
}

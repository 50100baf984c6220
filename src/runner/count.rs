//! Lists, counted against a ledger that stays as it is: what a load would find, without a load.
//!
//! Writes nothing and takes no lock, so it works beside a run. What tells repeats from new entries is a set of hashes
//! in memory, 8 bytes for each new email and up to 20 while it grows: two emails of one hash in ten million come about
//! once in half a million lists, and would make a forecast wrong by one.

use super::event::{Event, Events};
use super::ingest::{IngestError, describe, told};
use crate::input::{ColumnChoice, List, RowContent, Source};
use crate::ledger::{LedgerError, ListCounts, ListIdentity, Loaded, Reader};
use crate::model::email::Email;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Rows between two signs of life.
const ROWS_PER_EVENT: u64 = 20_000;

/// See the module's documentation.
pub struct Counting<'r> {
    ledger: Option<&'r Reader>,
    hasher: RandomState,
    seen: HashSet<u64>,
    lists: Vec<(ListIdentity, String)>,
    /// New emails, each as likely to be among them as any other.
    sample: Vec<Email>,
}

/// New emails that are kept for a sample.
const SAMPLE_LIMIT: usize = 5_000;

impl<'r> Counting<'r> {
    /// Begins to count against a ledger, where there is one.
    pub fn new(ledger: Option<&'r Reader>) -> Self {
        Self {
            ledger,
            hasher: RandomState::new(),
            seen: HashSet::new(),
            lists: Vec::new(),
            sample: Vec::new(),
        }
    }

    /// Entries that the lists would bring.
    pub fn entries(&self) -> u64 {
        self.seen.len() as u64
    }

    /// So many emails that wait to be looked up, in the ledger or in the lists, chosen at random.
    pub fn sample(&self, size: usize) -> Result<Vec<Email>, LedgerError> {
        let waiting = self.ledger.map(|ledger| ledger.sample(size)).transpose()?;
        let mut sample = [waiting.unwrap_or_default(), self.sample.clone()].concat();
        fastrand::shuffle(&mut sample);
        sample.truncate(size);
        Ok(sample)
    }

    /// Keeps an email for the sample, in such a way that each of them is as likely to stay.
    fn draw(&mut self, email: &Email) {
        if self.sample.len() < SAMPLE_LIMIT {
            self.sample.push(email.clone());
        } else if let Some(place) = self.sample.get_mut(fastrand::usize(..self.seen.len())) {
            *place = email.clone();
        }
    }

    /// Counts one list.
    pub fn list(
        &mut self,
        source: &Source,
        column: &ColumnChoice,
        events: &Events,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), IngestError> {
        let mut list = List::open(source, column)?;
        let (name, layout) = (source.name(), describe(list.layout()));
        let column = list.layout().column;
        let mut counts = ListCounts::default();
        loop {
            if counts.rows % ROWS_PER_EVENT == 0 {
                let share = list
                    .total_bytes()
                    .map(|total| list.bytes_read() as f64 / total.max(1) as f64);
                let (list, rows) = (name.clone(), counts.rows);
                events.tell(Event::Loading { list, rows, share });
                if is_stopped() {
                    return Err(IngestError::Stopped);
                }
            }
            let Some(row) = list.next_row()? else { break };
            counts.rows += 1;
            match row.content {
                RowContent::Email { email, .. } if self.is_new(email.as_str())? => {
                    counts.entries += 1;
                    self.draw(email);
                }
                RowContent::Email { .. } => counts.repeats += 1,
                RowContent::Reject { .. } => counts.rejects += 1,
            }
        }
        let digest = *list.finish()?.as_bytes();
        let loaded = match self.known_as(&ListIdentity { digest, column })? {
            Some(known) => Loaded::Known(known),
            None => {
                self.lists.push((ListIdentity { digest, column }, name.clone()));
                Loaded::New(counts)
            }
        };
        told(events, name, layout, loaded);
        Ok(())
    }

    fn is_new(&mut self, email: &str) -> Result<bool, IngestError> {
        if let Some(ledger) = self.ledger
            && ledger.holds(email)?
        {
            return Ok(false);
        }
        Ok(self.seen.insert(self.hasher.hash_one(email)))
    }

    fn known_as(&self, identity: &ListIdentity) -> Result<Option<String>, IngestError> {
        let here = self.lists.iter().find(|list| list.0 == *identity);
        match (here, self.ledger) {
            (Some((_, name)), _) => Ok(Some(name.clone())),
            (None, Some(ledger)) => Ok(ledger.loaded_as(identity)?),
            (None, None) => Ok(None),
        }
    }
}

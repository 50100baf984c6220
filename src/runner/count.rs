//! Lists, counted against a ledger that stays as it is: what a load would find, without a load.
//!
//! Writes nothing and takes no lock, so it works beside a run. What tells repeats from new entries is a set of hashes
//! in memory, 8 bytes for each new email and up to 20 while it grows: two emails of one hash in ten million come about
//! once in half a million lists, and would make a forecast wrong by one.

use super::event::{Event, Events};
use super::ingest::{IngestError, ROWS_PER_EVENT, describe, told};
use crate::input::{ColumnChoice, List, RowContent, Source};
use crate::ledger::{ListCounts, ListIdentity, Loaded, Reader};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// See the module's documentation.
pub struct Counting<'r> {
    ledger: Option<&'r Reader>,
    hasher: RandomState,
    seen: HashSet<u64>,
    lists: Vec<(ListIdentity, String)>,
}

impl<'r> Counting<'r> {
    /// Begins to count against a ledger, where there is one.
    pub fn new(ledger: Option<&'r Reader>) -> Self {
        Self {
            ledger,
            hasher: RandomState::new(),
            seen: HashSet::new(),
            lists: Vec::new(),
        }
    }

    /// Entries that the lists would bring.
    pub fn entries(&self) -> u64 {
        self.seen.len() as u64
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
                RowContent::Email { email, .. } if self.is_new(email.as_str())? => counts.entries += 1,
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

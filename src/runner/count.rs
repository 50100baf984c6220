//! Lists, counted against a ledger that stays as it is: what a load would find, without a load.
//!
//! Writes nothing and takes no lock, so it works beside a run. What tells repeats from new entries is a set of hashes
//! in memory, 8 bytes for each new email and up to 20 while it grows: two emails of one hash in ten million come about
//! once in half a million lists, and would make a forecast wrong by one.
//!
//! Where another ledger offers what it knows, it is asked about each email that comes up for the first time. That takes
//! no memory, and only whoever is left to be looked up can be drawn for the sample.

use super::event::{Event, Events};
use super::ingest::{IngestError, describe, identity, told};
use super::plan::PlannedList;
use crate::input::{List, ListError, Reading, RowContent, Source};
use crate::ledger::{LedgerError, ListCounts, ListIdentity, Loaded, Offer, Reader, ReuseError, Reused};
use crate::model::email::Email;
use crate::model::forecast::Work;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Rows between two signs of life.
const ROWS_PER_EVENT: u64 = 20_000;

/// Why it cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// A list or the ledger cannot be read, or somebody wants it to stop.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// Nothing can be taken from the other ledger.
    #[error(transparent)]
    Reuse(#[from] ReuseError),
}

impl From<ListError> for CountError {
    fn from(error: ListError) -> Self {
        IngestError::from(error).into()
    }
}

impl From<LedgerError> for CountError {
    fn from(error: LedgerError) -> Self {
        IngestError::from(error).into()
    }
}

/// See the module's documentation.
pub struct Counting<'r> {
    ledger: Option<&'r Reader>,
    offer: Option<&'r Offer<'r>>,
    /// What would be taken from the other ledger.
    reused: Reused,
    hasher: RandomState,
    seen: HashSet<u64>,
    lists: Vec<(ListIdentity, String, ListCounts)>,
    /// Lists of the ledger that were named again.
    named: Vec<i64>,
    /// New emails that are to be looked up, each as likely to be among them as any other.
    sample: Vec<Email>,
    /// How many they were drawn from.
    drawn_from: usize,
}

/// New emails that are kept for a sample.
const SAMPLE_LIMIT: usize = 5_000;

impl<'r> Counting<'r> {
    /// Begins to count against a ledger, where there is one, and with what another ledger offers, where one does.
    pub fn new(
        ledger: Option<&'r Reader>,
        offer: Option<&'r Offer<'r>>,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Self, CountError> {
        let reused = match (ledger, offer) {
            (Some(ledger), Some(offer)) => ledger.reusable(offer, is_stopped)?,
            _ => Reused::default(),
        };
        Ok(Self {
            ledger,
            offer,
            reused,
            hasher: RandomState::new(),
            seen: HashSet::new(),
            lists: Vec::new(),
            named: Vec::new(),
            sample: Vec::new(),
            drawn_from: 0,
        })
    }

    /// What would be taken from the other ledger.
    pub fn reused(&self) -> Reused {
        self.reused
    }

    /// What is left to do of this once the lists are in, and what is offered is taken.
    pub fn left(&self, of: Work) -> Work {
        let pending = of.pending + self.seen.len() as u64;
        Work {
            // A run beside this one may have looked somebody up since.
            pending: pending.saturating_sub(self.reused.total()),
            resolved: of.resolved + self.reused.resolved,
            ..of
        }
    }

    /// So many emails that wait to be looked up, in the ledger or in the lists, chosen at random.
    pub fn sample(&self, size: usize) -> Result<Vec<Email>, CountError> {
        let mut sample = self.waiting(size)?;
        sample.extend(self.sample.iter().cloned());
        fastrand::shuffle(&mut sample);
        sample.truncate(size);
        Ok(sample)
    }

    /// So many emails that wait in the ledger and that the other one offers nothing about; fewer where it knows most.
    fn waiting(&self, size: usize) -> Result<Vec<Email>, CountError> {
        let Some(ledger) = self.ledger else {
            return Ok(Vec::new());
        };
        let drawn = match self.offer {
            Some(_) => SAMPLE_LIMIT,
            None => size,
        };
        let mut waiting = Vec::new();
        for email in ledger.sample(drawn)? {
            if !self.is_offered(&email, &mut Reused::default())? {
                waiting.push(email);
            }
        }
        // They come in the order of the ledger.
        fastrand::shuffle(&mut waiting);
        waiting.truncate(size);
        Ok(waiting)
    }

    fn is_offered(&self, email: &Email, reused: &mut Reused) -> Result<bool, ReuseError> {
        match self.offer {
            Some(offer) => offer.count(email.as_str(), reused),
            None => Ok(false),
        }
    }

    /// Takes note of an email that came up for the first time.
    fn note(&mut self, email: &Email) -> Result<(), ReuseError> {
        let mut reused = self.reused;
        if !self.is_offered(email, &mut reused)? {
            self.draw(email);
        }
        self.reused = reused;
        Ok(())
    }

    /// Keeps an email for the sample, in such a way that each of them is as likely to stay.
    fn draw(&mut self, email: &Email) {
        self.drawn_from += 1;
        if self.sample.len() < SAMPLE_LIMIT {
            self.sample.push(email.clone());
        } else if let Some(place) = self.sample.get_mut(fastrand::usize(..self.drawn_from)) {
            *place = email.clone();
        }
    }

    /// Counts one list.
    pub fn list(
        &mut self,
        source: &Source,
        reading: &Reading,
        events: &Events,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), CountError> {
        let mut list = List::open(source, reading)?;
        let (name, layout) = (source.name(), describe(list.layout()));
        let known_by = list.layout().clone();
        let mut counts = ListCounts::default();
        loop {
            if counts.rows % ROWS_PER_EVENT == 0 {
                let share = list
                    .total_bytes()
                    .map(|total| list.bytes_read() as f64 / total.max(1) as f64);
                let (list, rows) = (name.clone(), counts.rows);
                events.tell(Event::Loading { list, rows, share });
                if is_stopped() {
                    return Err(IngestError::Stopped.into());
                }
            }
            let Some(row) = list.next_row()? else { break };
            counts.rows += 1;
            match row.content {
                RowContent::Email { email, .. } if self.is_new(email.as_str())? => {
                    counts.entries += 1;
                    self.note(email)?;
                }
                RowContent::Email { .. } => counts.repeats += 1,
                RowContent::Reject { .. } => counts.rejects += 1,
            }
        }
        let identity = identity(&known_by, list.finish()?);
        let loaded = match self.known_as(&identity)? {
            Some(known) => Loaded::Known(known),
            None => {
                self.lists.push((identity, name.clone(), counts));
                Loaded::New(counts)
            }
        };
        told(events, name, layout, loaded);
        Ok(())
    }

    fn is_new(&mut self, email: &str) -> Result<bool, LedgerError> {
        if let Some(ledger) = self.ledger
            && ledger.holds(email)?
        {
            return Ok(false);
        }
        Ok(self.seen.insert(self.hasher.hash_one(email)))
    }

    fn known_as(&mut self, identity: &ListIdentity) -> Result<Option<String>, LedgerError> {
        if let Some((_, name, _)) = self.lists.iter().find(|list| list.0 == *identity) {
            return Ok(Some(name.clone()));
        }
        let Some(ledger) = self.ledger else {
            return Ok(None);
        };
        let known = ledger.loaded_as(identity)?;
        self.named.extend(known.iter().map(|(list, _)| *list));
        Ok(known.map(|(_, name)| name))
    }

    /// The lists of the ledger, and those that were counted.
    pub fn lists(&self) -> Result<Vec<PlannedList>, CountError> {
        let mut lists = Vec::new();
        if let Some(ledger) = self.ledger {
            lists.extend(ledger.lists()?.into_iter().map(|list| PlannedList {
                is_named: self.named.contains(&list.id),
                name: list.name,
                counts: list.counts,
            }));
        }
        lists.extend(self.lists.iter().map(|(_, name, counts)| PlannedList {
            name: name.clone(),
            counts: *counts,
            is_named: true,
        }));
        Ok(lists)
    }
}

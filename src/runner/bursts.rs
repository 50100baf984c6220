//! Which look-ups are believed that found nobody, or were refused. A part of the coordinator: without clock or I/O.
//!
//! A search that answers "nobody" for two seconds, or refuses everything, would leave many people out for good. So such
//! a result is provisional until the search is known to have worked at its time: one that stands between two look-ups
//! that found somebody, close together, is believed. Several in a row are a burst. Those of a burst are asked for once
//! more, after the search has found somebody whom it found before (`runner/known.rs`).
//!
//! Where bursts turn out to be true, as in a list of people whom the tenant does not know, they have to be longer and
//! longer to be doubted: each costs a request for each of its entries.

use crate::ledger::PendingEntry;
use crate::model::ids::EntryId;
use crate::model::lookup::Verdict;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Provisional results in a row that make a burst.
const BURST: usize = 4;
/// The longest burst that is waited for, however often they were true.
const LONGEST_BURST: usize = 64;
/// The longest time between two look-ups that found somebody for what stands between them to be believed: an outage that
/// fits in between is too short to be told from chance.
const CLOSE: Duration = Duration::from_secs(1);
/// Times at which somebody was found that are kept. Reports come in another order than answers.
const TIMES: usize = 64;

/// A look-up that found nobody, or was refused.
#[derive(Clone, PartialEq, Eq)]
pub struct Provisional {
    /// The entry.
    pub entry: PendingEntry,
    /// What it would lead to.
    pub verdict: Verdict,
    /// When the answer came.
    pub at: Instant,
}

/// Entries that are asked for once more.
#[derive(Clone, PartialEq, Eq)]
pub struct Doubtful {
    /// What was found out so far.
    pub results: Vec<Provisional>,
    /// When somebody was last found before them, where they are so few that they are believed if somebody is found soon
    /// after that.
    pub since: Option<Instant>,
}

impl Doubtful {
    /// Whether they are believed without being asked for again, if somebody is found now.
    pub fn is_bracketed(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now - since <= CLOSE)
    }
}

/// See the module's documentation.
pub struct Bursts {
    /// Since somebody was last found.
    row: Vec<Provisional>,
    /// To be asked for again.
    doubtful: Vec<Provisional>,
    /// Whether nobody else is to be asked for until then.
    is_burst: bool,
    /// Entries that are being asked for again.
    asking: usize,
    /// When somebody was found, lately.
    times: VecDeque<Instant>,
    burst: usize,
}

impl Bursts {
    /// Nothing has been asked.
    pub fn new() -> Self {
        Self {
            row: Vec::new(),
            doubtful: Vec::new(),
            is_burst: false,
            asking: 0,
            times: VecDeque::new(),
            burst: BURST,
        }
    }

    /// Takes a provisional result in.
    pub fn take(&mut self, result: Provisional) {
        if matches!(result.verdict, Verdict::Failed { .. }) {
            // Rare enough to be asked for again each time.
            self.doubtful.push(result);
            self.is_burst |= self.doubtful.len() >= self.burst;
            return;
        }
        self.row.push(result);
        if self.row.len() >= self.burst {
            self.doubtful.append(&mut self.row);
            self.is_burst = true;
        }
    }

    /// Somebody was found. Returns what is believed by that.
    pub fn found(&mut self, at: Instant) -> Vec<(EntryId, Verdict)> {
        self.note(at);
        let mut believed = Vec::new();
        for result in std::mem::take(&mut self.row) {
            let before = self.times.iter().filter(|time| **time <= result.at).max();
            let after = self.times.iter().filter(|time| **time >= result.at).min();
            match (before, after) {
                (_, None) => self.row.push(result),
                (Some(before), Some(after)) if *after - *before <= CLOSE => {
                    believed.push((result.entry.id, result.verdict));
                }
                _ => self.doubtful.push(result),
            }
        }
        believed
    }

    fn note(&mut self, at: Instant) {
        if self.times.len() == TIMES {
            self.times.pop_front();
        }
        self.times.push_back(at);
    }

    /// Entries that are provisional, or being asked for again.
    pub fn open(&self) -> usize {
        self.row.len() + self.doubtful.len() + self.asking
    }

    /// Whether entries are being asked for again.
    pub fn is_asking(&self) -> bool {
        self.asking > 0
    }

    /// Whether no other questions are to begin.
    pub fn holds_others(&self) -> bool {
        self.is_burst
    }

    /// What is to be asked for again now. `at_rest`: no other question is under way; `last`: none will follow.
    pub fn due(&mut self, at_rest: bool, last: bool) -> Option<Doubtful> {
        if self.asking > 0 || (self.is_burst && !at_rest) {
            return None;
        }
        let few = self.doubtful.is_empty();
        let mut results = std::mem::take(&mut self.doubtful);
        if self.is_burst || last {
            results.append(&mut self.row);
        }
        if results.is_empty() {
            return None;
        }
        self.asking = results.len();
        Some(Doubtful {
            since: self.times.iter().max().copied().filter(|_| few),
            results,
        })
    }

    /// They were asked for again, the search worked at this time, and so many of them were found after all.
    pub fn asked(&mut self, found: usize, at: Option<Instant>) {
        let was_burst = std::mem::take(&mut self.is_burst);
        self.burst = match (found, was_burst) {
            (0, true) => (self.burst * 2).min(LONGEST_BURST),
            (0, false) => self.burst,
            _ => BURST,
        };
        self.asking = 0;
        at.into_iter().for_each(|at| self.note(at));
        self.is_burst = self.doubtful.len() >= self.burst;
    }

    /// They could not be asked for again.
    pub fn gave_up(&mut self) {
        self.asking = 0;
        self.is_burst = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::SkipReason;

    fn nobody_at(id: i64, at: Instant) -> Provisional {
        Provisional {
            at,
            entry: PendingEntry {
                id: EntryId(id),
                email: format!("p{id}@example.com"),
                spellings: Vec::new(),
            },
            verdict: Verdict::Skipped {
                reason: SkipReason::NotFound,
                profile: None,
            },
        }
    }

    fn nobody(id: i64) -> Provisional {
        nobody_at(id, Instant::now())
    }

    fn ids(doubtful: Option<Doubtful>) -> Vec<i64> {
        let results = doubtful.map_or(Vec::new(), |doubtful| doubtful.results);
        results.iter().map(|result| result.entry.id.0).collect()
    }

    fn after(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_few_between_two_who_were_found_are_believed() {
        let (mut bursts, start) = (Bursts::new(), Instant::now());
        assert!(bursts.found(start).is_empty());
        (1..4).for_each(|id| bursts.take(nobody_at(id, start)));
        assert_eq!(bursts.open(), 3);
        assert!(bursts.due(true, false).is_none() && !bursts.holds_others());
        assert_eq!(bursts.found(after(1, start)).len(), 3);
        assert_eq!(bursts.open(), 0);
        // A report that comes late says nothing about what came after its answer.
        bursts.take(nobody_at(4, after(2, start)));
        assert!(bursts.found(after(1, start)).is_empty());
        assert_eq!((bursts.open(), bursts.due(true, false).is_none()), (1, true));
        // Whoever asks slowly may have asked in the middle of an outage.
        assert!(bursts.found(after(4, start)).is_empty());
        let doubtful = bursts.due(false, false).unwrap();
        assert_eq!(doubtful.since, None);
        assert!(bursts.is_asking() && !bursts.holds_others());
        bursts.asked(0, Some(after(5, start)));
        assert!(!bursts.is_asking() && bursts.open() == 0);
    }

    #[test]
    fn a_burst_holds_the_others_until_it_was_asked_for_again() {
        let (mut bursts, start) = (Bursts::new(), Instant::now());
        bursts.found(start);
        (1..=4).for_each(|id| bursts.take(nobody(id)));
        assert!(bursts.holds_others());
        assert!(bursts.due(false, false).is_none(), "others are still under way");
        bursts.take(nobody(5));
        assert_eq!(ids(bursts.due(true, false)), [1, 2, 3, 4, 5]);
        bursts.asked(0, Some(start));
        assert!(!bursts.holds_others());
        (6..13).for_each(|id| bursts.take(nobody(id)));
        assert!(!bursts.holds_others(), "true bursts have to be longer and longer");
        bursts.take(nobody(13));
        assert_eq!(ids(bursts.due(true, false)).len(), 8);
        bursts.asked(3, Some(start));
        (1..=4).for_each(|id| bursts.take(nobody(id)));
        assert!(bursts.holds_others(), "one that was false makes them short again");
    }

    #[test]
    fn what_comes_last_is_believed_if_somebody_is_found_soon() {
        let (mut bursts, start) = (Bursts::new(), Instant::now());
        bursts.found(start);
        bursts.take(nobody(1));
        let last = bursts.due(true, true).unwrap();
        assert!(last.is_bracketed(after(1, start)) && !last.is_bracketed(after(2, start)));
        bursts.asked(0, None);
        // Nobody was found at all.
        let mut bursts = Bursts::new();
        bursts.take(nobody(1));
        assert!(!bursts.due(true, true).unwrap().is_bracketed(start));
        assert!(bursts.due(true, true).is_none());
    }

    #[test]
    fn a_refusal_is_asked_for_again_each_time() {
        let (mut bursts, start) = (Bursts::new(), Instant::now());
        bursts.found(start);
        let refused = |id| Provisional {
            verdict: Verdict::Failed {
                reason: "HTTP 400".into(),
            },
            ..nobody(id)
        };
        bursts.take(refused(1));
        assert!(bursts.found(start).is_empty());
        assert_eq!(ids(bursts.due(false, false)), [1]);
        (2..6).for_each(|id| bursts.take(refused(id)));
        assert!(bursts.holds_others());
        bursts.asked(0, Some(start));
        assert_eq!(ids(bursts.due(true, false)), [2, 3, 4, 5]);
        bursts.gave_up();
        assert!(!bursts.holds_others());
    }
}

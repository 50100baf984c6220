//! Which look-ups one answer is not enough for. A part of the coordinator: without clock or I/O.
//!
//! A search that answers "nobody", once or for two seconds, or that refuses everything, would leave people out for good. So
//! such a result is provisional until it is asked for once more (`runner/again.rs`): many together, which costs a
//! request for each and a few for witnesses that the search works. Several in a row without anybody who was found are a
//! burst, and nobody else is asked for until they have been asked for again.
//!
//! Where bursts turn out to be true, as in a list of people whom the tenant does not know, they have to be longer and
//! longer to hold the others up.

use crate::ledger::PendingEntry;
use crate::model::lookup::Verdict;
use tokio::time::Instant;

/// Provisional results in a row that make a burst.
const BURST: usize = 4;
/// The longest burst that is waited for, however often they were true.
const LONGEST_BURST: usize = 64;
/// Provisional results that are worth being asked for again while others are still to be looked up.
const ENOUGH: usize = 64;

/// A look-up of which one answer is not enough.
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
}

/// See the module's documentation.
pub struct Bursts {
    /// Nobody was found for these since somebody was last found.
    row: Vec<Provisional>,
    /// To be asked for again.
    doubtful: Vec<Provisional>,
    /// How many of those were refused.
    refused: usize,
    /// Whether nobody else is to be asked for until then.
    is_burst: bool,
    /// Entries that are being asked for again, and whether they are a burst.
    asking: usize,
    asking_burst: bool,
    burst: usize,
}

impl Bursts {
    /// Nothing has been asked.
    pub fn new() -> Self {
        Self {
            row: Vec::new(),
            doubtful: Vec::new(),
            refused: 0,
            is_burst: false,
            asking: 0,
            asking_burst: false,
            burst: BURST,
        }
    }

    /// Takes a provisional result in.
    pub fn take(&mut self, result: Provisional) {
        match result.verdict {
            Verdict::Skipped { profile: None, .. } => {
                self.row.push(result);
                if self.row.len() >= self.burst {
                    self.doubtful.append(&mut self.row);
                    self.is_burst = true;
                }
            }
            Verdict::Failed { .. } => {
                self.doubtful.push(result);
                self.refused += 1;
                self.is_burst |= self.refused >= self.burst;
            }
            _ => self.doubtful.push(result),
        }
    }

    /// Somebody was found.
    pub fn found(&mut self) {
        self.doubtful.append(&mut self.row);
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
        self.is_burst || self.asking_burst
    }

    /// What is to be asked for again now. `at_rest`: no other question is under way; `last`: none will follow.
    pub fn due(&mut self, at_rest: bool, last: bool) -> Option<Doubtful> {
        let is_time = last || self.doubtful.len() >= ENOUGH || self.is_burst;
        if self.asking > 0 || !is_time || (self.is_burst && !at_rest) {
            return None;
        }
        let mut results = std::mem::take(&mut self.doubtful);
        if self.is_burst || last {
            results.append(&mut self.row);
        }
        self.refused = 0;
        self.asking = results.len();
        self.asking_burst = std::mem::take(&mut self.is_burst);
        (!results.is_empty()).then_some(Doubtful { results })
    }

    /// They were asked for again, and so many of them were found after all.
    pub fn asked(&mut self, found: usize) {
        self.burst = match (found, self.asking_burst) {
            (0, true) => (self.burst * 2).min(LONGEST_BURST),
            (0, false) => self.burst,
            _ => BURST,
        };
        self.gave_up();
    }

    /// They could not be asked for again.
    pub fn gave_up(&mut self) {
        self.asking = 0;
        self.asking_burst = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::entry::SkipReason;
    use crate::model::ids::EntryId;

    fn nobody(id: i64) -> Provisional {
        Provisional {
            at: Instant::now(),
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

    fn refused(id: i64) -> Provisional {
        Provisional {
            verdict: Verdict::Failed {
                reason: "HTTP 400".into(),
            },
            ..nobody(id)
        }
    }

    fn ids(doubtful: Option<Doubtful>) -> Vec<i64> {
        let results = doubtful.map_or(Vec::new(), |doubtful| doubtful.results);
        results.iter().map(|result| result.entry.id.0).collect()
    }

    #[test]
    fn whoever_is_not_found_is_asked_for_again_with_many_others_or_at_last() {
        let mut bursts = Bursts::new();
        bursts.found();
        (1..4).for_each(|id| bursts.take(nobody(id)));
        bursts.take(refused(4));
        bursts.found();
        assert_eq!(bursts.open(), 4);
        assert!(bursts.due(true, false).is_none() && !bursts.holds_others());
        assert_eq!(ids(bursts.due(true, true)), [4, 1, 2, 3]);
        assert!(bursts.is_asking() && !bursts.holds_others());
        assert!(bursts.due(true, true).is_none(), "they are being asked for");
        bursts.asked(0);
        assert!(!bursts.is_asking() && bursts.open() == 0);
        assert!(bursts.due(true, true).is_none() && !bursts.is_asking());
        for id in 1..=ENOUGH as i64 {
            assert!(bursts.due(true, false).is_none());
            bursts.take(nobody(id));
            bursts.found();
        }
        assert_eq!(ids(bursts.due(false, false)).len(), ENOUGH);
    }

    #[test]
    fn a_burst_holds_the_others_until_it_was_asked_for_again() {
        let mut bursts = Bursts::new();
        bursts.found();
        (1..=4).for_each(|id| bursts.take(nobody(id)));
        assert!(bursts.holds_others());
        assert!(bursts.due(false, false).is_none(), "others are still under way");
        bursts.take(nobody(5));
        assert_eq!(ids(bursts.due(true, false)), [1, 2, 3, 4, 5]);
        assert!(bursts.holds_others());
        bursts.asked(0);
        assert!(!bursts.holds_others());
        (6..13).for_each(|id| bursts.take(nobody(id)));
        assert!(!bursts.holds_others(), "true bursts have to be longer and longer");
        bursts.take(nobody(13));
        assert_eq!(ids(bursts.due(true, false)).len(), 8);
        bursts.asked(3);
        (1..=4).for_each(|id| bursts.take(nobody(id)));
        assert!(bursts.holds_others(), "one that was false makes them short again");
    }

    #[test]
    fn a_burst_that_begins_while_others_are_asked_for_again_holds_the_others() {
        let mut bursts = Bursts::new();
        bursts.take(refused(1));
        assert_eq!(ids(bursts.due(true, true)), [1]);
        (2..6).for_each(|id| bursts.take(refused(id)));
        bursts.asked(0);
        assert!(bursts.holds_others());
        assert_eq!(ids(bursts.due(true, false)), [2, 3, 4, 5]);
        bursts.gave_up();
        assert!(!bursts.holds_others());
    }
}

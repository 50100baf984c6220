//! Whom the answers to groups did not hold, and when that is believed. A part of the coordinator: without clock or I/O.
//!
//! That one answer holds nobody for an email is worth little: lists are cut off, or drop what they cannot read. So it
//! is asked for in two more groups, each of other company, in which known emails of the same kind of characters stand
//! first, last and between: such an answer counts only if all of those are found. A random share of those whom no answer
//! holds is asked for alone as well. One who is found after all, in whatever way, contradicts all of it: then everybody
//! whom groups did not hold is asked for alone, those included of whom it was concluded before.
//!
//! Emails with unusual characters are asked for in such company from the first time on, once a few of their kind were
//! found alone, so that what a tenant does to them shows on those who are known.

use crate::ledger::PendingEntry;
use crate::model::grouping::{Kind, cut};
use crate::model::ids::ProfileId;
use crate::model::way::{ASKED_ALONE_AT_LEAST, checks};
use std::collections::{BTreeMap, BTreeSet};

/// Groups that must not hold an email before its absence is believed.
const GROUPS: u8 = 3;
/// Known emails in a group at the least: the first, the last, and one between.
const COMPANY: usize = 3;
/// One in so many of a large group is a known one.
const COMPANY_ONE_IN: usize = 12;
/// Emails of an unusual kind that are asked for alone, before others of the kind wait for what becomes of them.
const TRIED: usize = 2 * COMPANY;
/// Known emails of a kind that are kept.
const KNOWN: usize = 60;
/// Kinds of which some are kept.
const KINDS: usize = 100;
/// Whoever no group holds is decided about together, so many at a time at the most.
const TOGETHER: usize = 10_000;

/// An email whose only bearer is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Known {
    /// The email, as it is asked for.
    pub email: String,
    /// Who bears it.
    pub profile: ProfileId,
}

/// An entry that the answers to so many groups did not hold; none, where it has an unusual email.
#[derive(Clone, PartialEq, Eq)]
pub struct Missed {
    /// The entry.
    pub entry: PendingEntry,
    /// To how many.
    pub times: u8,
}

/// What groups have said of an entry that is asked for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// Nothing.
    NotAsked,
    /// The answer to one held nobody for it.
    Missed,
    /// The same, and it is one of the share that speaks for all whom groups do not hold.
    Share,
}

/// What is to be asked next.
#[derive(PartialEq, Eq)]
pub enum Next {
    /// These in a group, with those who are known.
    Group(Vec<Missed>, Vec<Known>),
    /// These alone, of whom groups have said this.
    Alone(Vec<PendingEntry>, Groups),
    /// Nothing: these are believed to be missing.
    Believed(Vec<PendingEntry>),
}

/// See the module's documentation.
#[derive(Default)]
pub struct Misses {
    known: BTreeMap<Kind, Vec<Known>>,
    /// Kinds of which known ones were not found in a group.
    refused: BTreeSet<Kind>,
    /// How many of an unusual kind were asked for alone.
    tried: BTreeMap<Kind, usize>,
    /// Those who wait for others, by whether a group has missed them, and by kind.
    waiting: BTreeMap<(bool, Kind), Vec<Missed>>,
    /// Whom no group holds.
    missing: Vec<PendingEntry>,
    /// Those of whom a share is being asked for alone, and how many of that share have no answer yet.
    doubted: Vec<PendingEntry>,
    unanswered: usize,
    /// Whether anybody was believed to be missing.
    concluded: bool,
    /// Whether groups were contradicted.
    contradicted: bool,
}

impl Misses {
    /// Takes somebody in who was found, and whom nobody else shares the email with.
    pub fn note(&mut self, known: Known) {
        let kind = Kind::of(&known.email);
        if self.known.len() == KINDS && !self.known.contains_key(&kind) {
            return;
        }
        let of_kind = self.known.entry(kind).or_default();
        if of_kind.iter().any(|other| other.email == known.email) {
            return;
        }
        if of_kind.len() < KNOWN {
            of_kind.push(known);
        } else {
            let place = fastrand::usize(..KNOWN);
            of_kind[place] = known;
        }
    }

    /// Whether so many of a kind are known that others can be asked for in their company.
    fn knows(&self, kind: &Kind) -> bool {
        !self.refused.contains(kind) && self.known.get(kind).is_some_and(|known| known.len() >= COMPANY)
    }

    /// Known ones were not found in a group: their kind is asked for alone from here on.
    pub fn refuse(&mut self, kind: Kind) {
        self.refused.insert(kind);
    }

    /// Takes in whom a group did not hold, or who waits for company; returns who has to be asked for alone.
    pub fn take(&mut self, missed: Missed) -> Option<PendingEntry> {
        if self.contradicted {
            return Some(missed.entry);
        }
        if missed.times >= GROUPS {
            self.missing.push(missed.entry);
            return None;
        }
        let (again, kind) = (missed.times > 0, Kind::of(&missed.entry.email));
        if !again && !self.knows(&kind) {
            let tried = self.tried.entry(kind.clone()).or_default();
            if *tried < TRIED || self.refused.contains(&kind) {
                *tried += 1;
                return Some(missed.entry);
            }
        }
        self.waiting.entry((again, kind)).or_default().push(missed);
        None
    }

    /// One of those was found after all. Returns who has to be asked for alone now.
    pub fn contradict(&mut self) -> Vec<PendingEntry> {
        self.contradicted = true;
        self.unanswered = 0;
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        let mut alone: Vec<PendingEntry> = waiting.map(|missed| missed.entry).collect();
        alone.append(&mut self.missing);
        alone.append(&mut self.doubted);
        alone
    }

    /// Whether groups were contradicted.
    pub fn is_contradicted(&self) -> bool {
        self.contradicted
    }

    /// One of the share that is asked for alone was not found there either, or could not be asked for.
    pub fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Entries that are not decided about.
    pub fn open(&self) -> usize {
        self.waiting.values().map(Vec::len).sum::<usize>() + self.missing.len() + self.doubted.len()
    }

    /// What to do next, in groups of so many. `at_rest`: nothing else is under way, or to be asked.
    pub fn next(&mut self, size: usize, at_rest: bool) -> Option<Next> {
        if !self.doubted.is_empty() && self.unanswered == 0 {
            self.concluded = true;
            return Some(Next::Believed(std::mem::take(&mut self.doubted)));
        }
        if let Some(group) = self.group(size, at_rest, false) {
            return Some(group);
        }
        if at_rest && !self.concluded && self.open() <= ASKED_ALONE_AT_LEAST as usize {
            // As many would be asked for alone anyway.
            let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
            let mut few: Vec<_> = waiting.map(|missed| missed.entry).collect();
            few.append(&mut self.missing);
            return (!few.is_empty()).then_some(Next::Alone(few, Groups::Missed));
        }
        if let Some(group) = self.group(size, at_rest, true) {
            return Some(group);
        }
        let decides = self.missing.len() >= TOGETHER || (at_rest && !self.missing.is_empty());
        (decides && self.doubted.is_empty()).then(|| self.doubt())
    }

    /// A group of one kind, as full as can be, of those whom groups have missed, or of the others.
    fn group(&mut self, size: usize, at_rest: bool, again: bool) -> Option<Next> {
        let places = size.saturating_sub((size / COMPANY_ONE_IN).max(COMPANY));
        let enough = if at_rest { 1 } else { places.max(1) };
        let is_due = |(which, waiting): (&(bool, Kind), &Vec<Missed>)| {
            (which.0 == again && waiting.len() >= enough).then(|| which.clone())
        };
        let which = self.waiting.iter().find_map(is_due)?;
        let mut waiting = self.waiting.remove(&which).unwrap_or_default();
        if places <= COMPANY || waiting.len() <= COMPANY || !self.knows(&which.1) {
            let groups = if again { Groups::Missed } else { Groups::NotAsked };
            let alone = waiting.into_iter().map(|missed| missed.entry).collect();
            return Some(Next::Alone(alone, groups));
        }
        // Never again beside the same neighbours; whoever was missed most often first, so that few rounds are open.
        fastrand::shuffle(&mut waiting);
        waiting.sort_by_key(|missed| std::cmp::Reverse(missed.times));
        let company = self.company(&which.1, waiting.len().min(places));
        let texts = company.iter().map(|known| known.email.as_str());
        let all = texts.chain(waiting.iter().map(|missed| missed.entry.email.as_str()));
        let fitting = cut(all, places + company.len())
            .saturating_sub(company.len())
            .max(1);
        let rest = waiting.split_off(fitting.min(waiting.len()));
        if !rest.is_empty() {
            self.waiting.insert(which, rest);
        }
        Some(Next::Group(waiting, company))
    }

    /// Known ones to stand among so many, chosen at random.
    fn company(&self, kind: &Kind, among: usize) -> Vec<Known> {
        let mut known: Vec<&Known> = self.known.get(kind).into_iter().flatten().collect();
        fastrand::shuffle(&mut known);
        let most = (among / COMPANY_ONE_IN).max(COMPANY);
        known.into_iter().take(most).cloned().collect()
    }

    /// Has a random share of those who are missing asked for alone.
    fn doubt(&mut self) -> Next {
        let mut doubted = std::mem::take(&mut self.missing);
        fastrand::shuffle(&mut doubted);
        let share = usize::try_from(checks(doubted.len() as u64)).unwrap_or(usize::MAX);
        self.doubted = doubted.split_off(share.min(doubted.len()));
        self.unanswered = doubted.len();
        Next::Alone(doubted, Groups::Share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::EntryId;

    fn missed(id: i64, times: u8) -> Missed {
        let entry = PendingEntry {
            id: EntryId(id),
            email: format!("p{id}@example.com"),
            spellings: Vec::new(),
        };
        Missed { entry, times }
    }

    /// Some that are known, and so many whom one group has missed.
    fn misses(entries: i64) -> Misses {
        let mut misses = Misses::default();
        for id in 0..20 {
            let email = format!("k{id}@example.com");
            let profile = ProfileId::new(format!("k{id}"));
            misses.note(Known { email, profile });
        }
        (1..=entries).for_each(|id| assert!(misses.take(missed(id, 1)).is_none()));
        misses
    }

    #[test]
    fn whom_three_groups_do_not_hold_is_believed_to_be_missing_once_a_share_was_asked_for() {
        let mut misses = misses(2_000);
        let mut groups = 0;
        let share = loop {
            match misses.next(93, true) {
                Some(Next::Group(entries, company)) => {
                    groups += 1;
                    assert!(entries.len() + company.len() <= 93 && company.len() >= COMPANY);
                    for Missed { entry, times } in entries {
                        misses.take(Missed {
                            entry,
                            times: times + 1,
                        });
                    }
                }
                Some(Next::Alone(share, Groups::Share)) => break share,
                _ => panic!("nothing else is to be done"),
            }
        };
        assert!((44..=52).contains(&groups), "{groups}");
        assert_eq!((share.len(), misses.open()), (100, 1_900));
        for _ in 0..100 {
            assert!(
                misses.next(93, true).is_none(),
                "not before the whole share was asked for"
            );
            misses.answered();
        }
        let Some(Next::Believed(entries)) = misses.next(93, true) else {
            panic!("nobody contradicted it");
        };
        assert_eq!((entries.len(), misses.open()), (1_900, 0));
    }

    #[test]
    fn one_who_is_found_sends_everybody_back() {
        let mut misses = misses(300);
        assert!(matches!(misses.next(93, true), Some(Next::Group(..))));
        assert!(!misses.is_contradicted());
        let under_way = 93 - 7;
        assert_eq!(misses.contradict().len(), 300 - under_way);
        assert!(misses.take(missed(301, 2)).is_some() && misses.open() == 0);
    }

    #[test]
    fn few_are_asked_for_alone_and_so_is_who_has_no_company() {
        let mut few = misses(50);
        assert!(few.next(93, false).is_none(), "more may come");
        assert!(matches!(few.next(93, true), Some(Next::Alone(all, Groups::Missed)) if all.len() == 50));
        let mut strange = misses(0);
        for id in 0..200 {
            let mut odd = missed(id, 1);
            odd.entry.email = format!("o'{id}@example.com");
            strange.take(odd);
        }
        let Some(Next::Alone(alone, Groups::Missed)) = strange.next(93, false) else {
            panic!("nobody of their kind is known");
        };
        assert_eq!((alone.len(), strange.open()), (200, 0));
        let mut refused = misses(200);
        refused.refuse(Kind::of("p1@example.com"));
        assert!(matches!(refused.next(93, false), Some(Next::Alone(..))));
    }
}

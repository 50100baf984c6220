//! The tenant's memory: which profile holds which status, and what was edited by hand.
//!
//! A profile costs one word for its statuses and one index slot for its email; everything else is worked out from the
//! seed. This file may not know about requests, batches or files.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::options::Options;
use super::people::{self, Person, Roster};

/// How many status definitions fit into a profile's set of bits.
pub(super) const MOST_STATUSES: usize = 64;

/// A set of statuses; the bit at a definition's position says that it is held.
pub(super) type Held = u64;

/// One status definition.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) position: usize,
    pub(super) handle: Arc<str>,
    /// Deleted definitions keep their place, since the bits of profiles are counted by it.
    gone: bool,
}

/// One profile as it stood at one moment, free of the lock it was read under.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) index: u32,
    pub(super) email: String,
    pub(super) statuses: Vec<Definition>,
}

/// All that the tenant remembers about its profiles and statuses.
#[derive(Debug)]
pub(super) struct World {
    roster: Roster,
    held: Vec<Held>,
    definitions: Vec<Definition>,
    index: EmailIndex,
    edited_emails: HashMap<u32, String>,
    deleted: HashSet<u32>,
    /// All indices in the order of their profile ids, once somebody has asked for it.
    by_id: OnceLock<Vec<u32>>,
}

impl World {
    pub(super) fn new(options: &Options) -> Self {
        let roster = Roster::new(options);
        let definitions = options
            .statuses
            .iter()
            .enumerate()
            .map(|(position, handle)| Definition {
                position,
                handle: Arc::from(handle.as_str()),
                gone: false,
            })
            .collect::<Vec<_>>();
        let first = Held::from(!definitions.is_empty());
        let held = (0..roster.count)
            .map(|index| first * Held::from(roster.holds_first(index)))
            .collect();
        let index = EmailIndex::of(&roster);
        Self {
            roster,
            held,
            definitions,
            index,
            edited_emails: HashMap::new(),
            deleted: HashSet::new(),
            by_id: OnceLock::new(),
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.roster.count
    }

    /// The index of a profile that exists now.
    pub(super) fn find(&self, profile_id: &str) -> Option<u32> {
        people::index_of(self.roster.seed, profile_id).filter(|index| self.exists(*index))
    }

    pub(super) fn exists(&self, index: u32) -> bool {
        index < self.roster.count && !self.deleted.contains(&index)
    }

    /// Whether any profile was ever deleted; without one, positions in a list are plain sums.
    pub(super) fn is_whole(&self) -> bool {
        self.deleted.is_empty()
    }

    pub(super) fn profile_id(&self, index: u32) -> String {
        people::profile_id(self.roster.seed, index)
    }

    /// The indices of all profiles, deleted ones included, in the order of their ids.
    pub(super) fn by_id(&self) -> &[u32] {
        self.by_id.get_or_init(|| {
            let mut all: Vec<u32> = (0..self.count()).collect();
            all.sort_by_cached_key(|index| people::id_head(self.roster.seed, *index));
            all
        })
    }

    pub(super) fn email(&self, index: u32) -> String {
        let mut text = String::with_capacity(40);
        self.write_email(index, &mut text);
        text
    }

    /// Appends a profile's email to a text, so that a scan needs one buffer only.
    pub(super) fn write_email(&self, index: u32, text: &mut String) {
        match self.edited_emails.get(&index) {
            Some(edited) => text.push_str(edited),
            None => people::write_email(self.roster.seed, self.roster.bearer(index), text),
        }
    }

    /// The existing profiles whose email is this one, letter case aside, in order.
    pub(super) fn bearers(&self, email: &str) -> Vec<u32> {
        let folded = email.to_lowercase();
        let mut found: Vec<u32> = self
            .index
            .candidates(fingerprint(folded.bytes()))
            // The index may be stale or two emails may share a fingerprint, so the email itself decides.
            .filter(|index| self.exists(*index) && self.email(*index).to_lowercase() == folded)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    pub(super) fn holds(&self, index: u32, statuses: Held) -> bool {
        self.held[index as usize] & statuses != 0
    }

    /// The bits of the handles that are defined now; the others are dropped, as the documentation says.
    pub(super) fn bits<'a>(&self, handles: impl IntoIterator<Item = &'a str>) -> Held {
        handles
            .into_iter()
            .filter_map(|handle| self.definition(handle))
            .fold(0, |bits, definition| bits | 1 << definition.position)
    }

    fn definition(&self, handle: &str) -> Option<&Definition> {
        self.definitions()
            .find(|definition| *definition.handle == *handle)
    }

    /// The statuses that are defined now.
    pub(super) fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.iter().filter(|definition| !definition.gone)
    }

    pub(super) fn snapshot(&self, index: u32) -> Snapshot {
        let held = self.held[index as usize];
        Snapshot {
            index,
            email: self.email(index),
            statuses: self
                .definitions()
                .filter(|definition| held & (1 << definition.position) != 0)
                .cloned()
                .collect(),
        }
    }

    pub(super) fn person(&self, index: u32) -> Person {
        let snapshot = self.snapshot(index);
        Person {
            profile_id: self.profile_id(index),
            email: snapshot.email,
            statuses: snapshot
                .statuses
                .iter()
                .map(|definition| definition.handle.to_string())
                .collect(),
        }
    }

    /// The ids of the existing profiles that hold a status, in the order of the list.
    pub(super) fn holders(&self, handle: &str) -> Vec<String> {
        let bits = self.bits([handle]);
        (0..self.count())
            .filter(|index| self.holds(*index, bits) && self.exists(*index))
            .map(|index| self.profile_id(index))
            .collect()
    }

    pub(super) fn attach(&mut self, index: u32, statuses: Held) {
        self.held[index as usize] |= statuses;
    }

    pub(super) fn detach(&mut self, index: u32, statuses: Held) {
        self.held[index as usize] &= !statuses;
    }

    /// Makes a profile hold exactly these statuses.
    pub(super) fn replace(&mut self, index: u32, statuses: Held) {
        self.held[index as usize] = statuses;
    }

    pub(super) fn delete(&mut self, index: u32) {
        self.deleted.insert(index);
    }

    pub(super) fn rename(&mut self, index: u32, email: String) {
        let print = fingerprint(email.to_lowercase().bytes());
        self.index.add(print, index);
        self.edited_emails.insert(index, email);
    }

    /// Deletes a definition, which also takes it from everybody who held it.
    pub(super) fn delete_status(&mut self, handle: &str) -> bool {
        let bits = self.bits([handle]);
        for held in &mut self.held {
            *held &= !bits;
        }
        for definition in &mut self.definitions {
            definition.gone |= bits & (1 << definition.position) != 0;
        }
        bits != 0
    }
}

/// Which profiles may bear an email, by a fingerprint of it.
///
/// Almost every fingerprint leads to one profile, so the first one lives in the map itself and only shared emails pay
/// for a list.
#[derive(Debug)]
struct EmailIndex {
    first: HashMap<u64, u32>,
    others: HashMap<u64, Vec<u32>>,
}

impl EmailIndex {
    fn of(roster: &Roster) -> Self {
        let mut index = Self {
            first: HashMap::with_capacity(roster.count as usize),
            others: HashMap::new(),
        };
        let mut email = String::with_capacity(64);
        for number in 0..roster.count {
            email.clear();
            people::write_email(roster.seed, roster.bearer(number), &mut email);
            // Made-up emails are ASCII, where folding byte by byte agrees with folding the whole text.
            let folded = email.bytes().map(|byte| byte.to_ascii_lowercase());
            index.add(fingerprint(folded), number);
        }
        index
    }

    fn add(&mut self, print: u64, number: u32) {
        let first = *self.first.entry(print).or_insert(number);
        if first != number {
            self.others.entry(print).or_default().push(number);
        }
    }

    fn candidates(&self, print: u64) -> impl Iterator<Item = u32> {
        let others = self.others.get(&print).into_iter().flatten();
        self.first.get(&print).into_iter().chain(others).copied()
    }
}

/// A number that equal texts share and different ones rarely do.
fn fingerprint(folded: impl Iterator<Item = u8>) -> u64 {
    folded.fold(0xCBF2_9CE4_8422_2325, |print, byte| {
        (print ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(profiles: u32) -> World {
        World::new(&Options {
            profiles,
            ..Options::default()
        })
    }

    #[test]
    fn an_email_leads_to_its_bearers_letter_case_aside() {
        let world = world(2_000);
        for index in 0..2_000 {
            let bearers = world.bearers(&world.email(index).to_uppercase());
            assert!(bearers.contains(&index));
        }
        assert!(world.bearers("nobody@example.com").is_empty());
        let shared = (0..2_000)
            .filter(|index| world.bearers(&world.email(*index)).len() == 2)
            .count();
        assert_eq!(shared, 10);
    }

    #[test]
    fn attaching_adds_and_detaching_takes_only_what_was_named() {
        let mut world = world(10);
        world.replace(3, world.bits(["staff"]));
        world.attach(3, world.bits(["gold", "no_such_handle"]));
        assert_eq!(world.person(3).statuses, ["gold", "staff"]);
        world.detach(3, world.bits(["staff", "vip"]));
        assert_eq!(world.person(3).statuses, ["gold"]);
    }

    #[test]
    fn a_new_email_replaces_the_old_one() {
        let mut world = world(10);
        let old = world.email(4);
        world.rename(4, "Someone.New@example.com".to_owned());
        assert!(world.bearers(&old).is_empty());
        assert_eq!(world.bearers("someone.new@EXAMPLE.com"), [4]);
        world.rename(4, old.clone());
        assert_eq!(world.bearers(&old), [4]);
    }

    #[test]
    fn deleted_profiles_and_statuses_are_gone() {
        let mut world = world(100);
        let id = world.profile_id(7);
        world.delete(7);
        assert_eq!(world.find(&id), None);
        assert_eq!(world.holders("vip").len(), 5);
        assert!(world.delete_status("vip"));
        assert!(!world.delete_status("vip"));
        assert!(world.holders("vip").is_empty());
        assert_eq!(world.bits(["vip"]), 0);
    }
}

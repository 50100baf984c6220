//! The variants of the protocol, each with its verdict.
//!
//! A budget reads `[crashes, faults, adds, removals, strangers, rulings]`.

use crate::game::{LOST, MADE_UP, STUCK, TWICE};
use crate::rules::{
    Anchor, Budget, Copy, DESIGN, Departure, Fence, Later, List, Person, Removals, Rules, Trust,
};

type Size = (usize, [u8; 6]);

pub struct Variant {
    pub name: &'static str,
    /// Which promises it breaks; none where it is safe.
    pub breaks: &'static [&'static str],
    /// Which paths it takes, as letters.
    pub paths: &'static str,
    pub rules: Rules,
    /// How many batches and which budget, always and when the whole is explored.
    /// None: only explored with the whole.
    pub small: Option<Size>,
    pub whole: Size,
}

impl Variant {
    pub fn rules(&self, whole: bool) -> Option<Rules> {
        let size = if whole { Some(self.whole) } else { self.small };
        let (batches, [crashes, faults, adds, removals, strangers, rulings]) = size?;
        let budget = Budget {
            crashes,
            faults,
            adds,
            removals,
            strangers,
            rulings,
        };
        Some(Rules {
            batches,
            budget,
            ..self.rules
        })
    }
}

pub fn all() -> Vec<Variant> {
    [
        design(),
        people(),
        departures(),
        absences(),
        processes(),
        lists(),
        queues(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A variant for which there is more to explore.
fn two(
    name: &'static str,
    breaks: &'static [&'static str],
    paths: &'static str,
    rules: Rules,
    small: Size,
    whole: Size,
) -> Variant {
    Variant {
        name,
        breaks,
        paths,
        rules,
        small: Some(small),
        whole,
    }
}

/// A variant that takes long even when it is small.
fn late(
    name: &'static str,
    breaks: &'static [&'static str],
    paths: &'static str,
    rules: Rules,
    whole: Size,
) -> Variant {
    let small = None;
    Variant {
        small,
        ..one(name, breaks, paths, rules, whole)
    }
}

/// A variant for which the small size says it all.
fn one(
    name: &'static str,
    breaks: &'static [&'static str],
    paths: &'static str,
    rules: Rules,
    size: Size,
) -> Variant {
    two(name, breaks, paths, rules, size, size)
}

const SAFE: &[&str] = &[];
const ITEMS: Rules = Rules {
    list: List::Items,
    ..DESIGN
};
const SIZES: Rules = Rules {
    list: List::Sizes,
    ..DESIGN
};

#[rustfmt::skip]
fn design() -> Vec<Variant> {
    let no_deadline = Rules { deadline: false, ..DESIGN };
    vec![
        two("the design, no list", SAFE, "rah", DESIGN, (2, [0, 1, 0, 0, 0, 0]), (2, [2, 1, 0, 0, 0, 0])),
        two("the design, list of sizes", SAFE, "frah", SIZES, (2, [0, 1, 0, 0, 0, 0]), (2, [1, 1, 0, 0, 1, 0])),
        two("the design, list of members", SAFE, "frah", ITEMS, (2, [0, 1, 0, 0, 0, 0]), (2, [2, 1, 0, 0, 0, 0])),
        two("the design, crash after crash", SAFE, "ra2h", DESIGN, (1, [3, 1, 0, 0, 0, 0]), (1, [5, 4, 1, 0, 0, 0])),
        two("the design, others add the handle", SAFE, "frah", SIZES, (1, [1, 1, 2, 0, 0, 0]), (2, [1, 0, 2, 0, 0, 0])),
        one("the design, others' batches of our size", SAFE, "frah", SIZES, (1, [1, 1, 0, 0, 2, 0])),
        late("three batches", SAFE, "rah", DESIGN, (3, [0, 1, 0, 0, 0, 0])),
        two("no deadline, no list: evidence decides all", SAFE, "ra", no_deadline, (2, [1, 0, 0, 0, 0, 0]), (2, [2, 1, 0, 0, 0, 0])),
        two("no deadline, list of members: the same", SAFE, "fra2", Rules { deadline: false, ..ITEMS }, (1, [2, 1, 0, 0, 0, 0]), (2, [2, 1, 0, 0, 0, 0])),
        one("no deadline, others add: nothing decides", &[STUCK], "ra", no_deadline, (1, [1, 1, 1, 0, 0, 0])),
    ]
}

#[rustfmt::skip]
fn people() -> Vec<Variant> {
    let hold = Rules { verify: false, trust: Trust::Nothing, ..DESIGN };
    let seen = Rules { removals: Removals::AllAfterSeen, ..DESIGN };
    let all = Rules { removals: Removals::All, ..DESIGN };
    vec![
        two("--in-doubt hold, requests as late as they like", SAFE, "rh", hold, (2, [0, 1, 0, 0, 0, 0]), (2, [2, 1, 1, 0, 0, 0])),
        two("--in-doubt hold, and who rules knows", SAFE, "frahp", Rules { list: List::Sizes, ..hold }, (1, [1, 1, 1, 1, 0, 2]), (2, [1, 1, 0, 0, 0, 1])),
        one("--in-doubt verify, and who rules knows", SAFE, "ra2hp", DESIGN, (1, [2, 1, 1, 0, 0, 2])),
        two("lists of sizes, others' batches, and who rules knows", SAFE, "frahp", Rules { list: List::Sizes, ..hold }, (1, [0, 1, 0, 0, 1, 1]), (1, [1, 1, 0, 0, 2, 2])),
        one("who rules does not know", &[TWICE, LOST], "rahp", Rules { person: Person::Wrong, ..DESIGN }, (1, [1, 1, 0, 0, 0, 1])),
        two("one member is taken away", SAFE, "rah", DESIGN, (1, [1, 1, 1, 1, 0, 0]), (2, [1, 1, 0, 1, 0, 0])),
        one("one is, and some without is none with", &[TWICE], "rah", Rules { some_is_none: true, ..DESIGN }, (1, [1, 0, 0, 1, 0, 0])),
        two("all are taken away after one was seen", SAFE, "ra2h", seen, (1, [2, 1, 1, 1, 0, 0]), (2, [2, 1, 0, 1, 0, 0])),
        one("all are, and `moved` is forgotten", &[TWICE], "rah", Rules { moved_forgotten: true, ..seen }, (1, [1, 0, 0, 1, 0, 0])),
        one("all are before any was seen, no list", &[TWICE], "rh", all, (1, [0, 0, 0, 1, 0, 0])),
        one("the tenant leaves a member out", SAFE, "rah", Rules { tenant_drops: true, ..DESIGN }, (1, [1, 1, 1, 0, 0, 0])),
        one("it does, and its word confirms", &[MADE_UP], "rah", Rules { tenant_drops: true, poll_confirms: true, ..DESIGN }, (1, [1, 1, 0, 0, 0, 0])),
    ]
}

#[rustfmt::skip]
fn departures() -> Vec<Variant> {
    let unflushed = Rules { departure: Departure::Unflushed, ..DESIGN };
    vec![
        one("power cuts", SAFE, "ra2h", Rules { power_cuts: true, ..DESIGN }, (1, [2, 1, 0, 0, 0, 0])),
        one("mark not flushed, kills", SAFE, "ra2h", unflushed, (1, [2, 1, 0, 0, 0, 0])),
        one("mark not flushed, power cuts", &[TWICE], "rah", Rules { power_cuts: true, ..unflushed }, (1, [1, 0, 0, 0, 0, 0])),
        one("mark acknowledged before it is written", &[TWICE], "rah", Rules { departure: Departure::Unwritten, ..DESIGN }, (1, [1, 0, 0, 0, 0, 0])),
        one("sent, then marked", &[TWICE], "rh", Rules { departure: Departure::SendMark, ..DESIGN }, (1, [1, 0, 0, 0, 0, 0])),
        one("the HTTP library repeats", &[TWICE], "rah", Rules { library_repeats: true, ..DESIGN }, (1, [0, 1, 0, 0, 0, 0])),
        one("a 5xx is sent again at once", &[TWICE], "rah", Rules { retries_5xx: true, ..DESIGN }, (1, [0, 1, 0, 0, 0, 0])),
    ]
}

#[rustfmt::skip]
fn absences() -> Vec<Variant> {
    vec![
        one("no quiet period", &[TWICE], "rah", Rules { no_quiet: true, ..DESIGN }, (1, [0, 0, 0, 0, 0, 0])),
        one("no quiet period, list of members", &[TWICE], "frah", Rules { no_quiet: true, ..ITEMS }, (1, [0, 0, 0, 0, 0, 0])),
        one("quiet from the mark on, not anew after a crash", &[TWICE], "rah", Rules { quiet_from_mark: true, ..DESIGN }, (1, [1, 0, 0, 0, 0, 0])),
        one("a look from before the end of quiet counts", &[TWICE], "rah", Rules { old_look: true, ..DESIGN }, (1, [0, 0, 0, 0, 0, 0])),
        one("looks that never show a change: held", SAFE, "h", Rules { blind: true, ..DESIGN }, (1, [1, 1, 0, 0, 0, 0])),
        one("the same, and absence is concluded all the same", &[TWICE], "h", Rules { blind: true, uncalibrated: true, ..DESIGN }, (1, [0, 0, 0, 0, 0, 0])),
        one("quiet by a clock that jumps", &[TWICE], "rah", Rules { wall_clock: true, ..DESIGN }, (1, [0, 1, 0, 0, 0, 0])),
        two("no quiet needed: never sent again", SAFE, "frh", Rules { verify: false, trust: Trust::Nothing, list: List::Items, ..DESIGN }, (1, [1, 1, 0, 0, 0, 0]), (2, [1, 1, 0, 0, 0, 0])),
    ]
}

#[rustfmt::skip]
fn processes() -> Vec<Variant> {
    let fence = |fence| Rules { fence, ..DESIGN };
    vec![
        one("two processes, no lock and no epoch", &[TWICE], "rah", fence(Fence::Nothing), (1, [1, 0, 0, 0, 0, 0])),
        one("two processes, the epoch alone", SAFE, "ra2h", fence(Fence::Epoch { sleeps: false }), (1, [2, 1, 0, 0, 0, 0])),
        one("the same, the first sleeps through the quiet period", &[TWICE], "rah", fence(Fence::Epoch { sleeps: true }), (1, [1, 0, 0, 0, 0, 0])),
        one("a copy is used without adoption", &[TWICE], "rah", Rules { copy: Copy::Resumed, ..DESIGN }, (1, [0, 0, 0, 0, 0, 0])),
        two("a copy is adopted, and who rules knows", SAFE, "rahp", Rules { copy: Copy::Adopted, ..DESIGN }, (1, [0, 1, 0, 0, 0, 1]), (1, [1, 1, 0, 0, 0, 2])),
        one("a ruling goes on counting in a copy", &[TWICE], "rahp", Rules { copy: Copy::Adopted, copied_rulings_count: true, ..DESIGN }, (1, [0, 1, 0, 0, 0, 1])),
        one("a copy is adopted while the original goes on", &[TWICE], "rah", Rules { copy: Copy::AdoptedInParallel, ..DESIGN }, (1, [0, 0, 0, 0, 0, 0])),
        two("a copy is adopted, no list", SAFE, "rah", Rules { copy: Copy::Adopted, ..DESIGN }, (1, [1, 0, 1, 0, 0, 0]), (2, [1, 1, 0, 0, 0, 0])),
        two("a copy is adopted, list of members", SAFE, "frah", Rules { copy: Copy::Adopted, ..ITEMS }, (1, [1, 1, 0, 0, 0, 0]), (2, [0, 1, 0, 0, 0, 0])),
    ]
}

/// Others take the handle away from all members before anybody looked: then only the list can tell.
#[rustfmt::skip]
fn lists() -> Vec<Variant> {
    let items = Rules { removals: Removals::All, ..ITEMS };
    let sizes = Rules { removals: Removals::All, ..SIZES };
    let kept = Rules { found_by_size_vetoes: true, ..sizes };
    let early = Rules { list_ends_at_later: true, list_after_quiet: false, ..ITEMS };
    let blind = Rules { anchor: Anchor::Departed, failed_list_is_empty: true, ..early };
    let for_us = Rules { strangers_for_us: true, ..ITEMS };
    vec![
        two("all mistakes about the list, and nobody takes away", SAFE, "frah", blind, (2, [0, 1, 0, 0, 0, 0]), (2, [1, 1, 1, 0, 0, 0])),
        two("all taken away, list of members", SAFE, "frah", items, (1, [1, 1, 1, 1, 0, 0]), (2, [0, 1, 0, 1, 0, 0])),
        two("all taken away, list of sizes", SAFE, "frah", sizes, (1, [1, 1, 1, 1, 0, 0]), (2, [0, 1, 0, 1, 0, 0])),
        late("the same, and others add to another batch", &[TWICE], "frh", sizes, (2, [0, 0, 2, 1, 0, 0])),
        late("what was found by size goes on being a candidate", SAFE, "frh", kept, (2, [0, 0, 2, 1, 0, 0])),
        one("the list was read before the end of quiet", &[TWICE], "frh", Rules { list_after_quiet: false, ..items }, (1, [0, 0, 0, 1, 0, 0])),
        one("a list that fails once is an empty one", &[TWICE], "frah", Rules { failed_list_is_empty: true, ..items }, (1, [0, 1, 0, 1, 0, 0])),
        late("all taken away, read down to one that departed earlier", &[TWICE], "frah", Rules { anchor: Anchor::Departed, ..items }, (2, [0, 1, 0, 1, 0, 0])),
        one("all taken away, read down to where the list began this run", &[TWICE], "frah", Rules { anchor: Anchor::RunStart, ..items }, (1, [1, 0, 0, 1, 0, 0])),
        one("others' batches for our people, list of members", SAFE, "frah", for_us, (1, [0, 1, 1, 0, 1, 0])),
        one("the same, and one member identifies them", &[LOST], "frah", Rules { partly_identifies: true, ..for_us }, (1, [0, 1, 1, 0, 1, 0])),
        one("found by size, members not looked at", &[LOST], "frah", Rules { find_unseen: true, ..SIZES }, (1, [0, 1, 0, 0, 1, 0])),
    ]
}

/// The tenant's queue is slower than the quiet period.
#[rustfmt::skip]
fn queues() -> Vec<Variant> {
    let none = Rules { trust: Trust::TakenByThen, ..DESIGN };
    let items = Rules { list: List::Items, ..none };
    let sizes = Rules { list: List::Sizes, ..none };
    let kept = Rules { found_by_size_vetoes: true, ..sizes };
    let anchor = |anchor| Rules { anchor, ..items };
    let later = |later| Rules { later, ..none };
    vec![
        two("slow queue, no list", &[TWICE], "rah", none, (1, [0, 1, 0, 0, 0, 0]), (2, [1, 0, 0, 0, 0, 0])),
        two("slow queue, list of members", SAFE, "fra2h", items, (1, [2, 1, 1, 0, 0, 0]), (2, [2, 1, 0, 0, 0, 0])),
        two("slow queue, list of sizes", SAFE, "fra2h", sizes, (1, [2, 1, 0, 0, 1, 0]), (2, [2, 1, 0, 0, 0, 0])),
        late("slow queue, list of sizes, others add", &[TWICE], "frah", sizes, (2, [0, 1, 2, 0, 0, 0])),
        late("the same, what was found by size goes on being a candidate", SAFE, "frah", kept, (2, [0, 1, 2, 0, 0, 0])),
        one("slow queue, list read before the end of quiet", &[TWICE], "frah", Rules { list_after_quiet: false, ..items }, (1, [0, 0, 0, 0, 0, 0])),
        one("slow queue, read down to one that departed earlier", &[TWICE], "frah", anchor(Anchor::Departed), (2, [0, 0, 0, 0, 0, 0])),
        one("slow queue, read down to one answered or doubted earlier", &[TWICE], "frah", anchor(Anchor::AnsweredOrDoubted), (2, [0, 0, 0, 0, 0, 0])),
        one("slow queue, read down to where the list began this run", &[TWICE], "frah", anchor(Anchor::RunStart), (1, [1, 0, 0, 0, 0, 0])),
        one("slow queue, read from one that departed after the doubt", &[TWICE], "frah", Rules { list_ends_at_later: true, ..items }, (2, [0, 0, 0, 0, 0, 0])),
        one("slow queue, no list, one sent later was applied", &[TWICE], "rah", later(Later::One), (2, [0, 0, 0, 0, 0, 0])),
        two("slow queue, no list, one sent after quiet was applied", SAFE, "rah", later(Later::AfterQuiet), (2, [0, 1, 0, 0, 0, 0]), (2, [1, 1, 0, 0, 0, 0])),
        late("the same, and others add to that one", &[TWICE], "rah", later(Later::AfterQuiet), (2, [0, 0, 2, 0, 0, 0])),
    ]
}

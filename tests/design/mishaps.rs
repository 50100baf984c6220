//! What goes wrong, and what other people do. Each mishap uses up some of its budget.

use crate::rules::{Copy, Departure, Fence, List, Person, Removals, Rules};
use crate::state::{ALL, At, BLANK, Ghost, Hand, MEMBERS, Rung, STRANGER, World, bit};
use crate::steps::work_off;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mishap {
    Crash,
    PowerCut,
    /// A second process starts while the first one lives.
    Takeover,
    CopyLedger,
    /// The original has stopped, and the copy is used.
    UseCopy,
    LoseRequest(usize),
    /// A 429, or no connection: certainly not sent.
    NotSent(usize),
    LibraryRepeats(usize),
    Retry5xx(usize),
    ClockJumps(usize),
    ListFails(usize),
    LeaveMemberOut,
    Add(usize, u8),
    Remove(usize, u8),
    RemoveAll(usize),
    StrangersBatch,
    RuleSent(usize),
    RuleAbsent(usize),
}

/// All mishaps that can happen.
pub fn mishaps(rules: &Rules, world: &World) -> Vec<Mishap> {
    let mut out = Vec::new();
    if world.left.crashes > 0 {
        out.push(Mishap::Crash);
        if rules.power_cuts {
            out.push(Mishap::PowerCut);
        }
        if rules.fence != Fence::Lock {
            out.push(Mishap::Takeover);
        }
    }
    if rules.copy != Copy::Never {
        match world.copy {
            Some(_) => out.push(Mishap::UseCopy),
            None if !world.copied => out.push(Mishap::CopyLedger),
            None => {}
        }
    }
    if world.left.strangers > 0 {
        out.push(Mishap::StrangersBatch);
    }
    for b in 0..rules.batches {
        if world.left.faults > 0 {
            faults(rules, world, b, &mut out);
        }
        people(rules, world, b, &mut out);
    }
    let queued = world.taken.len() * usize::from(MEMBERS) > usize::from(world.applied);
    if rules.tenant_drops && world.left.faults > 0 && queued {
        out.push(Mishap::LeaveMemberOut);
    }
    out
}

fn faults(rules: &Rules, world: &World, b: usize, out: &mut Vec<Mishap>) {
    let (row, mind) = (&world.rows[b], &world.minds[b]);
    if world.flying[b] > 0 {
        out.push(Mishap::LoseRequest(b));
    }
    let refused = mind.hand == Hand::Awaiting && world.flying[b] > 0;
    if mind.hand == Hand::Ready || refused {
        out.push(Mishap::NotSent(b));
    }
    if mind.hand == Hand::Awaiting && rules.library_repeats {
        out.push(Mishap::LibraryRepeats(b));
    }
    if mind.hand == Hand::Awaiting && rules.retries_5xx {
        out.push(Mishap::Retry5xx(b));
    }
    let doubted = row.at == At::InDoubt;
    if rules.wall_clock && doubted && !mind.quiet {
        out.push(Mishap::ClockJumps(b));
    }
    if rules.failed_list_is_empty && doubted && rules.list != List::Unreadable && !mind.no_candidate {
        out.push(Mishap::ListFails(b));
    }
}

fn people(rules: &Rules, world: &World, b: usize, out: &mut Vec<Mishap>) {
    for m in 0..MEMBERS {
        if world.left.adds > 0 && world.holds[b] & (1 << m) == 0 {
            out.push(Mishap::Add(b, m));
        }
        if world.left.removals > 0 && rules.removals == Removals::OneMember && world.holds[b] & (1 << m) != 0
        {
            out.push(Mishap::Remove(b, m));
        }
    }
    let may_remove_all = match rules.removals {
        Removals::OneMember => false,
        Removals::AllAfterSeen => world.noticed & bit(b) != 0,
        Removals::All => true,
    };
    if world.left.removals > 0 && may_remove_all && world.holds[b] != 0 {
        out.push(Mishap::RemoveAll(b));
    }
    if world.left.rulings > 0 && world.rows[b].at == At::Held {
        let (arrived, may_arrive) = (world.times_taken(b) > 0, world.flying[b] > 0);
        if arrived || rules.person == Person::Wrong {
            out.push(Mishap::RuleSent(b));
        }
        if !(arrived || may_arrive) || rules.person == Person::Wrong {
            out.push(Mishap::RuleAbsent(b));
        }
    }
}

pub fn befall(rules: &Rules, world: &mut World, mishap: Mishap) {
    match mishap {
        Mishap::Crash | Mishap::PowerCut | Mishap::Takeover => stop(rules, world, mishap),
        Mishap::CopyLedger => world.copy = Some(world.rows),
        Mishap::UseCopy => use_copy(rules, world),
        Mishap::LoseRequest(b) => world.flying[b] -= 1,
        Mishap::NotSent(b) => {
            world.flying[b] -= u8::from(world.minds[b].hand == Hand::Awaiting);
            world.rows[b].at = At::Sealed;
            world.minds[b] = BLANK;
            world.answers[b] = false;
        }
        Mishap::LibraryRepeats(b) => world.flying[b] += 1,
        Mishap::Retry5xx(b) => {
            world.minds[b].hand = Hand::Ready;
            world.answers[b] = false;
        }
        Mishap::ClockJumps(b) => world.minds[b].quiet = true,
        Mishap::ListFails(b) => world.minds[b].no_candidate = true,
        Mishap::LeaveMemberOut => work_off(world, false),
        Mishap::Add(b, m) => {
            world.holds[b] |= 1 << m;
            world.given[b] |= 1 << m;
        }
        Mishap::Remove(b, m) => world.holds[b] &= !(1 << m),
        Mishap::RemoveAll(b) => world.holds[b] = 0,
        Mishap::StrangersBatch => world.taken.push(STRANGER),
        Mishap::RuleSent(b) => (world.rows[b].at, world.rows[b].rung) = (At::Accepted, Rung::Ruled),
        Mishap::RuleAbsent(b) => {
            world.rows[b].at = At::InDoubt;
            world.rows[b].ruled_absent = true;
        }
    }
    let left = &mut world.left;
    match mishap {
        Mishap::Crash | Mishap::PowerCut | Mishap::Takeover => left.crashes -= 1,
        Mishap::CopyLedger | Mishap::UseCopy => {}
        Mishap::Add(..) => left.adds -= 1,
        Mishap::Remove(..) | Mishap::RemoveAll(_) => left.removals -= 1,
        Mishap::StrangersBatch => left.strangers -= 1,
        Mishap::RuleSent(_) | Mishap::RuleAbsent(_) => left.rulings -= 1,
        _ => left.faults -= 1,
    }
}

fn stop(rules: &Rules, world: &mut World, how: Mishap) {
    for b in 0..rules.batches {
        let taken_back = how == Mishap::PowerCut || rules.departure == Departure::Unwritten;
        if world.rows[b].unsynced && taken_back && how != Mishap::Takeover {
            world.rows[b].at = At::Sealed;
            world.rows[b].unsynced = false;
        }
        if how == Mishap::Takeover {
            world.ghosts[b] = match (world.rows[b].at, world.minds[b].hand) {
                (_, Hand::Ready) => Ghost::Ready,
                (At::Sealed, _) if rules.fence == Fence::Nothing => Ghost::Unaware,
                _ => world.ghosts[b],
            };
        }
    }
    world.restart(rules);
    world.crashed += 1;
}

fn use_copy(rules: &Rules, world: &mut World) {
    let copy = world.copy.take().expect("a copy was made");
    world.copied = true;
    world.rows = copy;
    let known = |world: &World| {
        (0..rules.batches)
            .filter(|c| world.rows[*c].rung == Rung::Answer)
            .map(bit)
            .sum()
    };
    let anchors = if rules.list == List::Unreadable {
        0
    } else {
        known(world)
    };
    for b in 0..rules.batches {
        if rules.copy != Copy::Resumed && world.rows[b].at == At::Sealed {
            world.rows[b].at = At::InDoubt;
            world.rows[b].anchors = anchors;
            world.departed |= bit(b);
        }
        world.rows[b].ruled_absent &= rules.copy == Copy::Resumed || rules.copied_rulings_count;
        if rules.copy == Copy::AdoptedInParallel && world.departed & bit(b) != 0 {
            world.ghosts[b] = Ghost::Unaware;
        }
    }
    world.restart(rules);
}

/// Whether two requests of one batch were taken. What follows is of no interest.
pub fn is_twice(rules: &Rules, world: &World) -> bool {
    (0..rules.batches).any(|b| world.times_taken(b) > 1)
}

/// Whether a batch will never get to somebody who has not got it.
pub fn is_lost(rules: &Rules, world: &World) -> bool {
    let over = (0..rules.batches).all(|b| world.rows[b].at == At::Settled);
    let missed = |b: usize| world.times_taken(b) == 0 && world.flying[b] == 0 && world.given[b] != ALL;
    over && (0..rules.batches).any(missed)
}

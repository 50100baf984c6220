//! What happens when nothing goes wrong: the moves of the runner and of the tenant.

use crate::rules::{Departure, List, Rules};
use crate::state::{ALL, At, BLANK, Ghost, Hand, MEMBERS, Rung, STRANGER, World, bit};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The runner: the mark, its flush, the request, the answer or none.
    Mark(usize),
    Flush(usize),
    Send(usize),
    MarkLate(usize),
    Answer(usize),
    GiveUp(usize),
    /// The ladder.
    QuietIsOver(usize),
    ReadList(usize),
    Find(usize, u8),
    Look(usize, u8),
    Reach(usize),
    Absent(usize),
    Hold(usize),
    Settle(usize),
    /// Time passes between the mark and the request.
    Age(usize),
    /// The tenant.
    Take(usize),
    Apply,
    Show,
    /// An older process that still lives sends.
    GhostSends(usize),
}

/// All steps that can be taken.
pub fn steps(rules: &Rules, world: &World) -> Vec<Step> {
    let mut out = Vec::new();
    for b in 0..rules.batches {
        let (row, mind) = (&world.rows[b], &world.minds[b]);
        match row.at {
            At::Sealed | At::Sending => departing(rules, world, b, &mut out),
            At::InDoubt => ladder(rules, world, b, &mut out),
            At::Accepted if settles(rules, world, b) => out.push(Step::Settle(b)),
            At::Accepted | At::Held | At::Settled => {}
        }
        if row.unsynced {
            out.push(Step::Flush(b));
        }
        if rules.quiet_from_mark && row.at == At::Sending && mind.hand == Hand::Ready && !row.aged {
            out.push(Step::Age(b));
        }
        if world.flying[b] > 0 {
            out.push(Step::Take(b));
        }
        if world.ghosts[b] != Ghost::Gone {
            out.push(Step::GhostSends(b));
        }
    }
    if usize::from(world.applied) < world.taken.len() * usize::from(MEMBERS) {
        out.push(Step::Apply);
    }
    if world.shown != world.holds && !rules.blind {
        out.push(Step::Show);
    }
    out
}

/// Batches are alike, so it is no loss that they depart for the first time in their order.
fn departing(rules: &Rules, world: &World, b: usize, out: &mut Vec<Step>) {
    let in_turn = world.departed & (bit(b) - 1) == bit(b) - 1;
    match (world.rows[b].at, world.minds[b].hand) {
        (At::Sealed, Hand::Empty) if in_turn && rules.departure == Departure::SendMark => {
            out.push(Step::Send(b))
        }
        (At::Sealed, Hand::Empty) if in_turn => out.push(Step::Mark(b)),
        (At::Sending, Hand::Ready) => out.push(Step::Send(b)),
        (at, Hand::Awaiting) => {
            if at == At::Sealed {
                out.push(Step::MarkLate(b));
            }
            if world.answers[b] {
                out.push(Step::Answer(b));
            }
            out.push(Step::GiveUp(b));
        }
        _ => {}
    }
}

fn ladder(rules: &Rules, world: &World, b: usize, out: &mut Vec<Step>) {
    let (row, mind) = (&world.rows[b], &world.minds[b]);
    let is_quiet = mind.quiet || rules.no_quiet || (rules.quiet_from_mark && row.aged);
    let waits = rules.verify && !is_quiet;
    if waits && !world.can_still_take_effect(rules, b) {
        out.push(Step::QuietIsOver(b));
    }
    let candidates = world.candidates(rules, b);
    if let [only] = candidates[..] {
        // Somebody else's batch may be for the same people, and give them a part of it.
        let identified =
            rules.partly_identifies && rules.list == List::Items && (mind.with != 0 || row.moved);
        if identified || rules.find_unseen || mind.with == ALL {
            out.push(Step::Find(b, only));
        }
    }
    let list_is_needed = rules.list != List::Unreadable && !mind.no_candidate;
    let in_time = !rules.list_after_quiet || row.ruled_absent || world.may_conclude(rules, b);
    if list_is_needed && candidates.is_empty() && in_time {
        out.push(Step::ReadList(b));
    }
    for m in 0..MEMBERS {
        let unread = (mind.with | mind.without) & (1 << m) == 0;
        if unread || looks_again(rules, world, b) {
            out.push(Step::Look(b, m));
        }
    }
    let looked = mind.with | mind.without == ALL;
    if mind.with == ALL {
        out.push(Step::Reach(b));
    } else if looked && is_absent(rules, world, b) {
        out.push(Step::Absent(b));
    }
    let overruled = row.moved || !world.candidates_are_over(rules, b);
    let ruling_fails = looked && (mind.with != 0 || (!candidates.is_empty() && overruled));
    let gives_up = if row.ruled_absent {
        ruling_fails
    } else {
        rules.deadline
    };
    if gives_up {
        out.push(Step::Hold(b));
    }
}

/// A look that decided nothing is worth repeating when there is something new to see.
fn looks_again(rules: &Rules, world: &World, b: usize) -> bool {
    let mind = &world.minds[b];
    let looked = mind.with | mind.without == ALL;
    let counts_now = !mind.counts && (rules.old_look || world.may_conclude(rules, b));
    looked && mind.with != ALL && (mind.with != world.shown[b] || counts_now)
}

fn is_absent(rules: &Rules, world: &World, b: usize) -> bool {
    let (row, mind) = (&world.rows[b], &world.minds[b]);
    let listed = rules.list == List::Unreadable || mind.no_candidate;
    if row.ruled_absent {
        // What is over and shows nothing here has been somebody else's.
        return mind.with == 0 && (listed || (!row.moved && world.candidates_are_over(rules, b)));
    }
    let none = mind.with == 0 && !row.moved;
    let in_order = mind.counts && world.may_conclude(rules, b);
    let calibrated = !rules.blind || rules.uncalibrated;
    rules.verify && calibrated && listed && in_order && (none || rules.some_is_none)
}

/// Polled until the tenant calls it finished, then read back; and in the end, what does not show has failed.
fn settles(rules: &Rules, world: &World, b: usize) -> bool {
    let polled = world.rows[b].id.is_none_or(|id| world.is_applied(id));
    let own = world.is_applied(b as u8) && world.flying[b] == 0;
    let by_word = rules.poll_confirms && world.rows[b].id.is_some();
    polled && (by_word || world.shown[b] == ALL || (own && (rules.blind || world.shown == world.holds)))
}

pub fn take(rules: &Rules, world: &mut World, step: Step) {
    match step {
        Step::Mark(b) => {
            world.depart(rules, b);
            world.rows[b].at = At::Sending;
            world.rows[b].unsynced = rules.departure != Departure::MarkFlushSend;
            world.minds[b].hand = Hand::Ready;
        }
        Step::MarkLate(b) => world.rows[b].at = At::Sending,
        Step::Flush(b) => world.rows[b].unsynced = false,
        Step::Age(b) => world.rows[b].aged = true,
        Step::Send(b) => {
            if rules.departure == Departure::SendMark {
                world.depart(rules, b);
            }
            world.minds[b].hand = Hand::Awaiting;
            world.flying[b] += 1;
        }
        Step::Answer(b) => accept(world, b, Rung::Answer, Some(b as u8)),
        Step::GiveUp(b) => {
            world.rows[b].at = At::InDoubt;
            world.rows[b].aged = false;
            world.minds[b] = BLANK;
            world.answers[b] = false;
        }
        Step::Settle(b) => {
            let row = &mut world.rows[b];
            let by_word = rules.poll_confirms && row.id.is_some();
            (row.at, row.confirmed) = (At::Settled, if by_word { ALL } else { world.shown[b] });
        }
        Step::QuietIsOver(_)
        | Step::ReadList(_)
        | Step::Find(..)
        | Step::Look(..)
        | Step::Reach(_)
        | Step::Absent(_)
        | Step::Hold(_) => climb(rules, world, step),
        Step::Take(_) | Step::Apply | Step::Show | Step::GhostSends(_) => outside(world, step),
    }
}

fn climb(rules: &Rules, world: &mut World, step: Step) {
    match step {
        Step::QuietIsOver(b) => world.minds[b].quiet = true,
        Step::ReadList(b) => world.minds[b].no_candidate = true,
        Step::Find(b, id) => accept(world, b, Rung::Found, Some(id)),
        Step::Reach(b) => accept(world, b, Rung::Reached, None),
        Step::Look(b, m) => {
            let fresh = matches!(world.minds[b].with | world.minds[b].without, 0 | ALL);
            let counts = rules.old_look || world.may_conclude(rules, b);
            let mind = &mut world.minds[b];
            if fresh {
                (mind.with, mind.without, mind.counts) = (0, 0, counts);
            }
            if world.shown[b] & (1 << m) == 0 {
                mind.without |= 1 << m;
            } else {
                mind.with |= 1 << m;
                world.rows[b].moved = true;
                world.noticed |= bit(b);
            }
        }
        Step::Absent(b) => {
            let row = &mut world.rows[b];
            (row.at, row.absences) = (At::Sealed, row.absences + 1);
            (row.moved, row.ruled_absent) = (false, false);
            world.noticed &= !bit(b);
            world.minds[b] = BLANK;
        }
        Step::Hold(b) => {
            world.rows[b].at = At::Held;
            world.rows[b].ruled_absent = false;
            world.minds[b] = BLANK;
        }
        other => unreachable!("{other:?} is no rung"),
    }
}

fn accept(world: &mut World, b: usize, rung: Rung, id: Option<u8>) {
    let row = &mut world.rows[b];
    (row.at, row.rung, row.id) = (At::Accepted, rung, id);
    row.ruled_absent = false;
    world.minds[b] = BLANK;
    world.answers[b] = false;
}

fn outside(world: &mut World, step: Step) {
    match step {
        Step::Take(b) => {
            world.flying[b] -= 1;
            world.taken.push(b as u8);
            world.answers[b] = world.minds[b].hand == Hand::Awaiting;
        }
        Step::Apply => work_off(world, true),
        Step::Show => world.shown = world.holds,
        Step::GhostSends(b) => {
            world.ghosts[b] = Ghost::Gone;
            world.flying[b] += 1;
        }
        other => unreachable!("{other:?} is the runner's"),
    }
}

/// The tenant comes to the next member in its queue.
pub fn work_off(world: &mut World, takes_effect: bool) {
    let owner = world.taken[usize::from(world.applied / MEMBERS)];
    let member = 1 << (world.applied % MEMBERS);
    world.applied += 1;
    if owner != STRANGER && takes_effect {
        world.holds[usize::from(owner)] |= member;
        world.given[usize::from(owner)] |= member;
    }
}

//! The rules and the world as a model that stateright explores, and what must hold in every state of it.

use crate::mishaps::{Mishap, befall, is_lost, is_twice, mishaps};
use crate::rules::Rules;
use crate::state::{ALL, At, Rung, World};
use crate::steps::{Step, steps, take};
use stateright::{Model, Property};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    Step(Step),
    Mishap(Mishap),
}

/// No batch was taken twice.
pub const TWICE: &str = "twice";
/// When all is settled, every member was sent, or holds the handle anyway.
pub const LOST: &str = "lost";
/// As long as something is neither settled nor held, somebody has a step to take.
pub const STUCK: &str = "stuck";
/// Nobody is called confirmed who never got the handle.
pub const MADE_UP: &str = "made up";
/// In the order in which verdicts name them.
pub const PROMISES: [&str; 4] = [TWICE, LOST, STUCK, MADE_UP];

/// The paths that a variant takes, with the letter that tells of each.
pub const PATHS: [(&str, char); 6] = [
    ("found", 'f'),
    ("reached", 'r'),
    ("absent, sent again, confirmed", 'a'),
    ("absent, sent again, confirmed, after two crashes", '2'),
    ("held", 'h'),
    ("ruled", 'p'),
];

impl Model for Rules {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, moves: &mut Vec<Move>) {
        if !is_twice(self, world) {
            moves.extend(steps(self, world).into_iter().map(Move::Step));
            moves.extend(mishaps(self, world).into_iter().map(Move::Mishap));
        }
    }

    fn next_state(&self, world: &World, chosen: Move) -> Option<World> {
        let mut next = world.clone();
        match chosen {
            Move::Step(step) => take(self, &mut next, step),
            Move::Mishap(mishap) => befall(self, &mut next, mishap),
        }
        Some(next)
    }

    /// Where a variant sends without end, two or three requests show what follows.
    fn within_boundary(&self, world: &World) -> bool {
        world.flying.iter().all(|flying| *flying <= 2) && world.rows.iter().all(|row| row.absences <= 3)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TWICE, |rules, world| !is_twice(rules, world)),
            Property::always(LOST, |rules, world| !is_lost(rules, world)),
            Property::always(STUCK, |rules, world| !is_stuck(rules, world)),
            Property::always(MADE_UP, |_, world| !is_made_up(world)),
            Property::sometimes(PATHS[0].0, |_, world| {
                any(world, |world, b| world.rows[b].rung == Rung::Found)
            }),
            Property::sometimes(PATHS[1].0, |_, world| {
                any(world, |world, b| world.rows[b].rung == Rung::Reached)
            }),
            Property::sometimes(PATHS[2].0, |_, world| any(world, sent_again)),
            Property::sometimes(PATHS[3].0, |_, world: &World| {
                world.crashed > 1 && any(world, sent_again)
            }),
            Property::sometimes(PATHS[4].0, |_, world| {
                any(world, |world, b| world.rows[b].at == At::Held)
            }),
            Property::sometimes(PATHS[5].0, |_, world| any(world, ruled)),
        ]
    }
}

fn any(world: &World, holds: fn(&World, usize) -> bool) -> bool {
    (0..world.rows.len()).any(|b| holds(world, b))
}

fn sent_again(world: &World, b: usize) -> bool {
    let row = &world.rows[b];
    row.at == At::Settled && row.absences > 0 && row.confirmed == ALL
}

fn ruled(world: &World, b: usize) -> bool {
    world.rows[b].rung == Rung::Ruled || world.rows[b].ruled_absent
}

/// Steps can't go round in circles (see `moves_never_go_round_in_circles`), so that whoever always has a step to
/// take gets to the end: all is settled or held. What mishaps might bring does not count as a step.
fn is_stuck(rules: &Rules, world: &World) -> bool {
    let decided = |b: usize| matches!(world.rows[b].at, At::Settled | At::Held);
    !(0..rules.batches).all(decided) && !is_twice(rules, world) && steps(rules, world).is_empty()
}

fn is_made_up(world: &World) -> bool {
    any(world, |world, b| world.rows[b].confirmed & !world.given[b] != 0)
}

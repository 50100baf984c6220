//! A second, simpler explorer: it checks the first one, and finds shortest traces and circles.

use crate::game::Move;
use crate::rules::Rules;
use crate::state::World;
use stateright::{Checker, Model, Property};
use std::collections::HashMap;

/// All states, breadth first, each with the state and the move that led to it.
struct Walk {
    worlds: Vec<World>,
    from: Vec<Option<(usize, Move)>>,
    /// For each state, where its moves lead to.
    next: Vec<Vec<usize>>,
}

impl Walk {
    fn new(rules: &Rules, mut is_over: impl FnMut(&World) -> bool) -> Self {
        let start = World::new(rules);
        let mut known = HashMap::from([(start.clone(), 0)]);
        let mut walk = Self {
            worlds: vec![start],
            from: vec![None],
            next: Vec::new(),
        };
        while walk.next.len() < walk.worlds.len() && !is_over(&walk.worlds[walk.next.len()]) {
            let at = walk.next.len();
            let mut moves = Vec::new();
            rules.actions(&walk.worlds[at], &mut moves);
            let mut next = Vec::new();
            for chosen in moves {
                let Some(world) = rules.next_state(&walk.worlds[at], chosen) else {
                    continue;
                };
                if !rules.within_boundary(&world) {
                    continue;
                }
                let place = *known.entry(world.clone()).or_insert_with(|| {
                    walk.worlds.push(world);
                    walk.from.push(Some((at, chosen)));
                    walk.worlds.len() - 1
                });
                next.push(place);
            }
            walk.next.push(next);
        }
        walk
    }
}

/// The shortest way to break a promise.
pub fn trace(rules: &Rules, promise: &str) -> String {
    let promises: Vec<Property<Rules>> = rules.properties();
    let promise = promises
        .iter()
        .find(|property| property.name == promise)
        .expect("a promise by that name");
    let walk = Walk::new(rules, |world| !(promise.condition)(rules, world));
    let mut at = walk.next.len();
    let mut lines = Vec::new();
    while let Some(Some((before, chosen))) = walk.from.get(at) {
        lines.push(format!("    {chosen:?}\n"));
        at = *before;
    }
    lines.push(format!("  {}:\n", promise.name));
    lines.into_iter().rev().collect()
}

/// Whether some way through the moves comes back to where it was.
fn goes_round(walk: &Walk) -> bool {
    let mut pending = vec![0_usize; walk.worlds.len()];
    walk.next.iter().flatten().for_each(|place| pending[*place] += 1);
    let mut free: Vec<usize> = (0..pending.len()).filter(|at| pending[*at] == 0).collect();
    let mut sorted = 0;
    while let Some(at) = free.pop() {
        sorted += 1;
        for place in &walk.next[at] {
            pending[*place] -= 1;
            if pending[*place] == 0 {
                free.push(*place);
            }
        }
    }
    sorted < walk.worlds.len()
}

/// What "stuck" rests on: a world that always has a next step gets to its end. With one batch for all variants,
/// and for the design as it is.
#[test]
fn moves_never_go_round_in_circles() {
    for (at, variant) in crate::variants::all().into_iter().enumerate() {
        let Some(mut rules) = variant.rules(false) else {
            continue;
        };
        rules.batches = if at == 0 { rules.batches } else { 1 };
        let walk = Walk::new(&rules, |_| false);
        assert!(!goes_round(&walk), "{} goes round in circles", variant.name);
    }
}

#[test]
fn both_explorers_find_the_same_states() {
    for variant in crate::variants::all().into_iter().take(8) {
        let Some(mut rules) = variant.rules(false) else {
            continue;
        };
        rules.batches = 1;
        let states = rules.checker().spawn_bfs().join().unique_state_count();
        assert_eq!(
            Walk::new(&rules, |_| false).worlds.len(),
            states,
            "{}",
            variant.name
        );
    }
}

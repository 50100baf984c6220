//! A model of how batches are sent, explored exhaustively for small sizes by `stateright`: every order in which
//! requests and answers are delayed or lost, the process dies, the tenant works off its queue and other people
//! meddle. A table of variants says what each of them breaks, and the test holds it to that exactly: a design that
//! is called safe has to be, and a mistake that is called one has to be found.
//!
//! `ROLLBOOK_PROOF=full cargo test --release --test design -- --nocapture` explores the larger sizes, and with
//! `ROLLBOOK_TRACE=quiet` every variant with that word in its name tells the shortest way to what it breaks.
//!
//! What a table of verdicts is worth depends on what is in the model, so here is what is not: entries that the
//! tenant refuses by name, batches that are split for their size, the pace, the breaker, pages of the list, members
//! that no longer exist, several handles, a list that lags behind what was taken, and time in seconds: that the
//! quiet period is long enough is what the variants assume or do not, not what they show.

mod game;
mod mishaps;
mod rules;
#[path = "../support/share.rs"]
mod share;
mod state;
mod steps;
mod variants;
mod walk;

use game::{PATHS, PROMISES};
use rules::Rules;
use stateright::{Checker, Model};
use std::time::Instant;
use variants::Variant;

const STATES_OF_THE_WHOLE: usize = 5_000_000;

/// Explores one variant: how many states, and what is wrong with its verdict.
fn explore(variant: &Variant, rules: Rules, whole: bool) -> (usize, Option<String>) {
    let start = Instant::now();
    let checker = rules.checker().spawn_bfs().join();
    let seconds = start.elapsed().as_secs_f64();
    let discovered = checker.discoveries();
    let breaks: Vec<&str> = PROMISES
        .into_iter()
        .filter(|name| discovered.contains_key(name))
        .collect();
    let paths: String = PATHS
        .iter()
        .filter(|(name, _)| discovered.contains_key(name))
        .map(|(_, letter)| *letter)
        .collect();
    let verdict = if breaks.is_empty() {
        "safe".into()
    } else {
        format!("broken: {}", breaks.join(", "))
    };
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!(
        "{:<60} {states:>9} {depth:>4} {seconds:>6.1} s  {paths:<6} {verdict}",
        variant.name
    );
    let paths_fit = if whole {
        variant.paths.chars().all(|path| paths.contains(path))
    } else {
        paths == variant.paths
    };
    let fits = breaks == variant.breaks && paths_fit;
    let traces = || -> String { breaks.iter().map(|name| walk::trace(&rules, name)).collect() };
    if std::env::var("ROLLBOOK_TRACE").is_ok_and(|word| variant.name.contains(&word)) {
        print!("{}", traces());
    }
    let complaint = || {
        let traces = traces();
        let (name, promised, by) = (variant.name, variant.breaks, variant.paths);
        format!("{name}: expected {promised:?} by {by:?}, not {verdict} by {paths:?}\n{traces}")
    };
    (states, (!fits).then(complaint))
}

#[test]
fn every_variant_has_its_verdict() {
    let whole = share::is_whole();
    println!(
        "{:<60} {:>9} {:>4} {:>8}  paths  verdict",
        "variant", "states", "deep", "time"
    );
    let (mut states_of_safe, mut complaints) = (0, Vec::new());
    let variants = variants::all();
    // One variant of three: the quick share of each kind.
    for variant in variants.iter().step_by(share::pick(3, 1, 1)) {
        let Some(rules) = variant.rules(whole) else {
            println!("{:<60} with ROLLBOOK_PROOF=full", variant.name);
            continue;
        };
        let (states, complaint) = explore(variant, rules, whole);
        states_of_safe += if variant.breaks.is_empty() { states } else { 0 };
        complaints.extend(complaint);
    }
    println!(
        "{} variants, {states_of_safe} states of those that are safe",
        variants.len()
    );
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    assert!(
        !whole || states_of_safe >= STATES_OF_THE_WHOLE,
        "{states_of_safe}"
    );
}

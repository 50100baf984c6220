//! The power fails, or the process dies, at every point of a job: nothing twice, nothing missing.

use super::cases;
use super::disk::Crash;
use super::job::{Disturbance, End, Machine, to_be_sent, undisturbed};
use super::share::{is_whole, pick};
use super::weather::Weather;
use super::world::Death;

/// Cuts that the whole proof makes at the least.
const CUTS: usize = 25_000;
/// The quick share makes one cut of so many.
const QUICK_STEP: usize = 17;

/// A tenant that behaves well and takes its time.
fn fair() -> Weather {
    Weather {
        applying_ms: 3_000,
        showing_ms: 500,
        travel_ms: 80,
        ..Weather::default()
    }
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    seed: u64,
    at: u64,
    left: Crash,
    /// Where in the recovery the power fails again, in thousandths of the job's operations.
    again: Option<u64>,
    lingers: bool,
}

pub fn machine(seed: u64) -> Machine {
    fastrand::seed(seed);
    Machine::new(seed, fair())
}

/// Operations and calls of a job that nothing happens to.
pub fn points(seed: u64) -> (u64, u64) {
    let machine = machine(seed);
    let end = machine.live(&Disturbance::default());
    assert!(end.is_done(), "{end:?}");
    (machine.disk.operations(), machine.world.calls())
}

/// Runs to the end and compares. The answer is how many batches are held.
pub fn finish(machine: &Machine) -> Result<u64, String> {
    machine.finish()?;
    machine.check_promises()?;
    machine.check_entries(false)
}

fn cut(case: &Cut) -> Result<u64, String> {
    let machine = machine(case.seed);
    machine.disk.cut_at(Some(case.at));
    let disturbance = Disturbance {
        lingers: case.lingers,
        ..Disturbance::default()
    };
    let end = machine.live(&disturbance);
    if !matches!(end, End::Died) {
        return Err(format!("the power did not fail: {end:?}"));
    }
    machine.restart(case.left);
    if let Some(share) = case.again {
        machine.disk.cut_at(Some(1 + case.at * share / 1_000));
        if matches!(machine.live(&Disturbance::default()), End::Died) {
            machine.restart(Crash::Torn(case.seed ^ share));
        }
        machine.disk.cut_at(None);
    }
    finish(&machine)
}

#[test]
fn a_job_that_nothing_happens_to_ends_as_expected() {
    for seed in 0..20 {
        let machine = machine(seed);
        assert_eq!(machine.finish(), Ok(1));
        machine.check_promises().unwrap();
        assert_eq!(machine.entries().unwrap(), undisturbed());
        assert_eq!(machine.world.taken().len(), to_be_sent().len());
    }
}

#[test]
fn power_cuts_at_every_operation() {
    let wanted = if is_whole() { CUTS } else { 1 };
    let mut cuts = Vec::new();
    let mut most = 0;
    for seed in 0.. {
        if cuts.len() >= wanted {
            break;
        }
        let (operations, _) = points(seed);
        most = most.max(operations);
        for at in 1..=operations {
            let torn = seed << 20 | at;
            let mut add = |left, again, lingers| {
                cuts.push(Cut {
                    seed,
                    at,
                    left,
                    again,
                    lingers,
                });
            };
            add(
                Crash::Torn(torn),
                (at % 2 == 0).then_some(torn * 7_919 % 1_000),
                false,
            );
            if is_whole() {
                add(Crash::Dropped, None, true);
                add(Crash::Kept, Some(torn * 104_729 % 1_000), false);
                add(Crash::Torn(!torn), None, true);
            } else {
                add(if at % 2 == 0 { Crash::Dropped } else { Crash::Kept }, None, true);
            }
        }
    }
    // A step without a factor in common with the cuts of one point, so that no kind of cut is left out.
    let cuts: Vec<Cut> = cuts.into_iter().step_by(pick(QUICK_STEP, 1, 1)).collect();
    let held: u64 = cases::each(&cuts, cut).into_iter().sum();
    println!(
        "power cuts: {} at {most} I/O points, 0 duplicates, 0 missing, {held} held",
        cuts.len()
    );
    assert!(!is_whole() || cuts.len() >= CUTS);
}

#[test]
fn the_process_dies_at_every_call() {
    let seeds = pick(1, 2, 20);
    let mut deaths = Vec::new();
    for seed in 0..seeds {
        let (_, calls) = points(seed);
        let both = |call| [false, true].map(|after| (seed, Death { call, after }));
        deaths.extend((1..=calls).flat_map(both).step_by(pick(3, 1, 1)));
    }
    let held: u64 = cases::each(&deaths, |(seed, death)| {
        let machine = machine(*seed);
        let disturbance = Disturbance {
            death: Some(*death),
            ..Disturbance::default()
        };
        // The order of two tasks may differ from the job that counted the calls, and the last calls not be made.
        if matches!(machine.live(&disturbance), End::Died) {
            machine.restart(Crash::Process);
        }
        finish(&machine)
    })
    .into_iter()
    .sum();
    println!(
        "deaths at calls: {}, 0 duplicates, 0 missing, {held} held",
        deaths.len()
    );
}

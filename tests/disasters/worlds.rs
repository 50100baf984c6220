//! Whole worlds from one number: a bad tenant, a bad disk, impatient people, dying processes, clocks that jump,
//! somebody else who edits the same profiles and sends batches of their own, ledgers that are put back from a backup,
//! people who rule on what is held, and every way to look somebody up. Whatever happens, the promises hold.
//!
//! A world that fails is named by its seed; `ROLLBOOK_SEED=n` runs it alone and prints what happened in it, and
//! `ROLLBOOK_FIRST_SEED=n` runs as many others, `ROLLBOOK_SEEDS=n` only so many.

use super::cases;
use super::disk::{Crash, Fault, Kind, StorageError};
use super::job::{Disturbance, End, Machine, to_be_sent};
use super::share::pick;
use super::weather::{Listing, Strangers, Weather};
use super::world::Death;
use rollbook::model::way::Way;
use std::time::Duration;

/// Worlds of the whole proof.
const WORLDS: usize = 10_000;
/// Worlds of the long and the quick share.
const LONG: usize = 250;
const QUICK: usize = 60;

/// Of so many worlds, one may hold a batch that was merely lost: before any change was seen, or for the second time, or
/// where the tenant's list says that somebody sent something, and not whom it names.
const HELD_ONE_IN: u64 = 10;

/// What came of a world.
#[derive(Default)]
struct Story {
    trace: Vec<String>,
    processes: u64,
    crashes: u64,
    put_back: u64,
    ruled: u64,
    /// Batches that no evidence decided.
    held: u64,
    /// Of those, batches in worlds where nobody else had a hand in it.
    merely_lost: u64,
}

/// A time of any magnitude up to hours.
fn some_time(chance: &mut fastrand::Rng) -> Duration {
    let magnitude = chance.u32(..=7);
    Duration::from_millis(chance.u64(..=10_u64.pow(magnitude) * 4))
}

fn weather(chance: &mut fastrand::Rng, strangers: Strangers) -> Weather {
    let outages = (0..chance.usize(..3)).map(|_| {
        let from = some_time(chance);
        from..from + some_time(chance).min(Duration::from_secs(1_200))
    });
    let outages = outages.collect();
    let listing = [Listing::Missing, Listing::Bare, Listing::Sized, Listing::Itemised][chance.usize(..4)];
    // Beyond the quiet period only where the list shows what is taken: nothing else could tell.
    let slow = listing >= Listing::Sized && chance.bool();
    let slowest = if slow { 400_000 } else { 15_000 };
    let applying_ms = [0, 2_000, slowest][chance.usize(..3)];
    Weather {
        outages,
        bad_reads: [0, 5, 20, 40][chance.usize(..4)],
        bad_writes: [0, 20, 50, 80][chance.usize(..4)],
        lost_writes: 0,
        unheard_writes: 0,
        denials: chance.u32(..2),
        applying_ms,
        showing_ms: [0, 1_000, 5_000][chance.usize(..3)],
        travel_ms: [5, 100, 2_000][chance.usize(..3)],
        size_limit: chance.bool().then_some(2),
        listing,
        babbles: false,
        strangers,
    }
}

/// What happens to one process; the disk is told at once.
fn disturb(machine: &Machine, chance: &mut fastrand::Rng) -> Disturbance {
    if chance.u8(..4) == 0 {
        let within = [30, 150, 600][chance.usize(..3)];
        machine.disk.cut_at(Some(chance.u64(1..within)));
    }
    if chance.u8(..8) == 0 {
        let within = [8, 40, 200][chance.usize(..3)];
        machine.disk.fail(Some(Fault {
            kind: [Kind::Write, Kind::Sync, Kind::Open][chance.usize(..3)],
            at: chance.u64(1..within),
            error: [StorageError::Full, StorageError::Broken, StorageError::ReadOnly][chance.usize(..3)],
            lasting: chance.bool(),
        }));
    }
    let within = [6, 20, 60][chance.usize(..3)];
    let death = Death {
        call: chance.u64(1..within),
        after: chance.bool(),
    };
    Disturbance {
        stop: (chance.u8(..4) == 0).then(|| some_time(chance)),
        death: (chance.u8(..3) == 0).then_some(death),
        lingers: chance.bool(),
        jump: (chance.u8(..5) == 0).then(|| (some_time(chance), some_time(chance) * 3)),
    }
}

fn crash(chance: &mut fastrand::Rng) -> Crash {
    match chance.u8(..6) {
        0 => Crash::Dropped,
        1 => Crash::Kept,
        2 | 3 => Crash::Torn(chance.u64(..)),
        _ => Crash::Process,
    }
}

/// One process; whether it crashed.
fn live(machine: &Machine, chance: &mut fastrand::Rng) -> Result<bool, String> {
    let disturbance = disturb(machine, chance);
    let end = machine.live(&disturbance);
    if end.ledger_error().is_some() && machine.disk.faults_met() == 0 {
        return Err(format!("a sound disk is complained about: {end:?}"));
    }
    let crashed = matches!(end, End::Died);
    if !crashed {
        machine.disk.follow();
    }
    // What the process did not live to see is not for whoever looks at what it left.
    machine.disk.fail(None);
    machine.disk.cut_at(None);
    if end.ledger_error().is_none() {
        machine.check_progress(&end)?;
    }
    // The power may also fail when nobody is at work.
    machine.restart(crash(chance));
    if end.is_done() {
        machine.check_nothing_is_open()?;
    }
    machine.world.pass(some_time(chance));
    Ok(crashed)
}

/// What is put back from a backup, and when: before one of the processes, as it was before another.
struct Restoration {
    made: u64,
    put_back: u64,
}

fn restoration(chance: &mut fastrand::Rng, processes: u64) -> Option<Restoration> {
    if processes < 2 || chance.u8(..4) > 0 {
        return None;
    }
    let made = chance.u64(1..processes);
    Some(Restoration {
        made,
        put_back: chance.u64(made..processes) + 1,
    })
}

/// How emails become profiles. With what the tenant supports of it the weather has nothing to do.
fn way(chance: &mut fastrand::Rng) -> Way {
    let group = chance.usize(2..5);
    match chance.u8(..6) {
        0 => Way::Many { group },
        1 => Way::Scan { pages: 3, group },
        2 => Way::Scan { pages: 3, group: 1 },
        _ => Way::One,
    }
}

/// The processes that something may happen to, and what other people do between two of them.
fn disturbed(
    machine: &Machine,
    chance: &mut fastrand::Rng,
    processes: u64,
    restoration: Option<&Restoration>,
    story: &mut Story,
) -> Result<(), String> {
    let mut backup = None;
    for number in 0..=processes {
        if restoration.is_some_and(|planned| planned.put_back == number)
            && let Some(backup) = backup.take()
        {
            machine.put_back(backup);
            story.put_back += 1;
        }
        // Whoever puts a folder back as it was before there was a ledger begins another job.
        if restoration.is_some_and(|planned| planned.made == number) && machine.holds_ledger() {
            backup = Some(machine.disk.back_up());
        }
        if number == processes {
            break;
        }
        story.processes += 1;
        story.crashes += u64::from(live(machine, chance)?);
        if chance.bool() {
            story.ruled += machine.rule().map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn play(seed: u64) -> Result<Story, (String, Vec<String>)> {
    fastrand::seed(seed);
    let mut chance = fastrand::Rng::with_seed(!seed);
    let profiles = to_be_sent();
    let edits = if chance.u8(..3) == 0 {
        chance.usize(1..4)
    } else {
        0
    };
    let strangers = match chance.u8(..8) {
        0 => Strangers::ForOthers,
        1 => Strangers::ForOurs,
        _ => Strangers::Nobody,
    };
    let meddled = edits > 0 || strangers != Strangers::Nobody;
    let processes = chance.u64(..6);
    let restoration = restoration(&mut chance, processes);
    let weather = weather(&mut chance, strangers);
    let mut machine = Machine::new(seed, weather.clone());
    machine.settings.way = way(&mut chance);
    machine.settings.page_size = chance.u32(3..8);
    for _ in 0..edits {
        let profile = profiles[chance.usize(..profiles.len())];
        let at = Duration::from_millis(1) + some_time(&mut chance);
        machine.world.edit(profile, at, chance.bool());
    }
    let mut story = Story::default();
    let mut lives = || {
        disturbed(&machine, &mut chance, processes, restoration.as_ref(), &mut story)?;
        story.processes += machine.finish()?;
        machine.check_promises()?;
        // What was not calibrated, or found absent once already, a person rules on.
        story.held = machine.check_entries(true)?;
        if story.held == 0 {
            return Ok(());
        }
        // What no evidence decides, a person does.
        story.ruled += machine.rule().map_err(|error| error.to_string())?;
        story.processes += machine.finish()?;
        machine.check_promises()?;
        machine.check_entries(meddled).map(drop)
    };
    let ended = lives();
    story.trace = machine.world.trace();
    match ended {
        Ok(()) => {
            story.merely_lost = if meddled { 0 } else { story.held };
            Ok(story)
        }
        Err(why) => Err((why, story.trace)),
    }
}

#[test]
fn seeded_worlds() {
    let seeds: Vec<u64> = match cases::only_seed() {
        Some(seed) => vec![seed],
        None => {
            let worlds = pick(QUICK, LONG, WORLDS);
            (cases::first_seed()..).take(cases::how_many(worlds)).collect()
        }
    };
    let stories = cases::each(&seeds, |seed| {
        play(*seed).map_err(|(why, trace)| {
            if cases::only_seed().is_some() {
                println!("{}", trace.join("\n"));
            }
            format!("{why}; ROLLBOOK_SEED={seed} repeats it")
        })
    });
    let sum = |what: fn(&Story) -> u64| stories.iter().map(what).sum::<u64>();
    let merely_lost = sum(|story| story.merely_lost);
    println!(
        "seeded worlds: {}, {} processes, {} crashes, {} put back, {} held ({merely_lost} of them merely lost), {} ruled on, 0 duplicates, 0 missing",
        stories.len(),
        sum(|story| story.processes),
        sum(|story| story.crashes),
        sum(|story| story.put_back),
        sum(|story| story.held),
        sum(|story| story.ruled),
    );
    assert!(merely_lost * HELD_ONE_IN <= stories.len() as u64 || cases::only_seed().is_some());
}

#[test]
fn one_seed_is_one_world() {
    for seed in 0..pick(4, 40, 40) {
        let trace = || match play(seed) {
            Ok(story) => story.trace,
            Err((_, trace)) => trace,
        };
        let (one, other) = (trace(), trace());
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        if let Some(at) = differs {
            panic!("seed {seed} differs from line {at}:\n{}\n{}", one[at], other[at]);
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}

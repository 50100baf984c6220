//! An older state of the ledger that is put back while the tenant still works on what was sent since.

use super::cases;
use super::disk::Crash;
use super::grammar::{Traits, Word};
use super::job::{Disturbance, End, Machine};
use super::share::pick;
use super::weather::{Listing, Weather};
use rollbook::runner::context::Halt;
use rollbook::runner::coordinator::Left;
use rollbook::runner::run::{Ending, Outcome};
use std::time::Duration;

const SEEDS: u64 = 60;
const QUICK: u64 = 18;

/// Far slower than any quiet period, as nobody has seen yet.
fn slow(listing: Listing) -> Weather {
    Weather {
        applying_ms: 800_000,
        showing_ms: 5_000,
        travel_ms: 100,
        listing,
        ..Weather::default()
    }
}

fn stopped_after(time: Duration) -> Disturbance {
    Disturbance {
        stop: Some(time),
        ..Disturbance::default()
    }
}

/// A ledger that sends what an older state of it, which is put back then, knows nothing of.
fn put_back(seed: u64, weather: Weather) -> Machine {
    fastrand::seed(seed);
    let machine = Machine::new(seed, weather);
    machine.live(&stopped_after(Duration::from_millis(100 + 20 * seed)));
    machine.restart(Crash::Process);
    let backup = machine.disk.back_up();
    machine.live(&stopped_after(Duration::from_secs(20)));
    machine.restart(Crash::Process);
    machine.put_back(backup);
    machine
}

#[test]
fn what_the_original_sent_is_waited_for() {
    let seeds: Vec<u64> = (0..pick(QUICK, SEEDS, SEEDS)).collect();
    let ended = cases::each(&seeds, |seed| {
        let listing = [Listing::Bare, Listing::Sized, Listing::Itemised][*seed as usize % 3];
        let machine = put_back(*seed, slow(listing));
        let taken = machine.world.taken().len();
        machine.finish()?;
        machine.check_promises()?;
        machine.check_entries(listing == Listing::Bare)?;
        Ok::<_, String>(taken)
    });
    assert!(ended.iter().any(|taken| *taken > 0));
}

#[test]
fn while_the_tenant_works_on_it_nothing_is_sent_and_the_run_says_so() {
    let mut machine = put_back(3, slow(Listing::Itemised));
    let taken = machine.world.taken();
    assert!(!taken.is_empty());
    machine.settings.settle_deadline = Duration::from_secs(60);
    let End::Ran(outcome) = machine.live(&Disturbance::default()) else {
        panic!("it does not run");
    };
    let halted = matches!(&outcome.ending, Ending::Halted(Halt::OriginalAtWork(ids)) if !ids.is_empty());
    assert!(halted, "{:?}", outcome.ending);
    assert_eq!(machine.world.taken(), taken);
}

/// A tenant that never calls a batch finished: a person says that it is, and the copy goes on.
#[test]
fn what_is_pending_for_ever_is_over_where_a_person_says_so() {
    let pending = Weather {
        applying_ms: 1_000,
        traits: Traits {
            word: Word::PendingForEver,
            ..Traits::default()
        },
        ..slow(Listing::Itemised)
    };
    let machine = put_back(3, pending);
    let taken = machine.world.taken();
    assert!(!taken.is_empty());
    for _ in 0..2 {
        let End::Ran(outcome) = machine.live(&Disturbance::default()) else {
            panic!("it does not run");
        };
        let Ending::Halted(Halt::OriginalAtWork(ids)) = &outcome.ending else {
            panic!("{:?}", outcome.ending);
        };
        assert!(!ids.is_empty());
    }
    assert_eq!(machine.world.taken(), taken);
    machine.rule_over().unwrap();
    machine.finish().unwrap();
    machine.check_promises().unwrap();
    machine.check_entries(false).unwrap();
}

/// It has until the deadline, and nobody waits for ever for a word that may never come.
#[test]
fn a_word_that_nobody_knows_is_waited_for_until_the_deadline() {
    let babbling = Weather {
        applying_ms: 20_000,
        babbles: true,
        ..slow(Listing::Itemised)
    };
    let mut machine = put_back(3, babbling);
    machine.settings.settle_deadline = Duration::from_secs(1_800);
    let began = machine.world.age();
    machine.live(&Disturbance::default());
    assert!(machine.world.age() - began >= machine.settings.settle_deadline);
    machine.finish().unwrap();
    machine.check_promises().unwrap();
    machine.check_entries(false).unwrap();
}

/// Where nothing is to be settled, nobody asks but who waits, and so nobody else minds how often.
#[test]
fn the_waiting_ends_with_the_requests_of_the_run() {
    let seeds: Vec<u64> = (0..pick(QUICK, SEEDS, SEEDS) / 3).collect();
    cases::each(&seeds, |seed| {
        let mut machine = put_back(*seed, slow(Listing::Bare));
        machine.settings.limits.requests = Some(20);
        match machine.live(&Disturbance::default()) {
            End::Ran(Outcome {
                ending: Ending::Halted(Halt::RequestsSpent) | Ending::Unfinished(Left::RequestsSpent),
                ..
            }) => Ok(()),
            end => Err(format!("{end:?}")),
        }
    });
}

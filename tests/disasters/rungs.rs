//! On which evidence a batch is settled whose answer was lost on its way back, and under which of the tenant's ids.

use super::job::{Disturbance, Machine};
use super::weather::{Listing, Weather};
use super::world::{Death, WRITE_TIMEOUT};
use rollbook::ledger::{BatchRow, Reader};
use std::time::Duration;

/// What looking takes, where nothing has to be waited for.
const SOON: Duration = Duration::from_secs(20);

/// A tenant that takes the first so many writes and never says so.
fn mute(writes: u32, listing: Listing) -> Machine {
    fastrand::seed(1);
    Machine::new(
        1,
        Weather {
            unheard_writes: writes,
            travel_ms: 5,
            listing,
            ..Weather::default()
        },
    )
}

/// Runs until the job is done, which must be long before any quiet period is over.
#[track_caller]
fn run_without_waiting(machine: &Machine) {
    let began = machine.world.age();
    let end = machine.live(&Disturbance::default());
    let took = machine.world.age() - began;
    assert!(end.is_done(), "{end:?}");
    assert!(took < WRITE_TIMEOUT + SOON, "{took:?}");
    assert_eq!(machine.check_entries(false), Ok(0));
}

/// Rung and id of each batch that was in doubt.
fn decided(machine: &Machine) -> Vec<(String, Option<String>)> {
    let batches = Reader::open(&machine.disk.ledger()).unwrap().batches().unwrap();
    let id = |batch: &BatchRow| batch.batch_id.as_ref().map(|id| id.as_str().to_owned());
    batches
        .into_iter()
        .filter_map(|batch| Some((batch.rung.clone()?, id(&batch))))
        .collect()
}

fn found(id: &str) -> (String, Option<String>) {
    ("found".into(), Some(id.into()))
}

fn reached() -> (String, Option<String>) {
    ("reached".into(), None)
}

#[test]
fn where_there_is_no_list_its_members_show_that_it_arrived() {
    let machine = mute(1, Listing::Missing);
    run_without_waiting(&machine);
    assert_eq!(decided(&machine), [reached()]);
}

#[test]
fn one_that_is_listed_is_found_under_its_id() {
    for listing in [Listing::Sized, Listing::Itemised] {
        let machine = mute(1, listing);
        run_without_waiting(&machine);
        assert_eq!(decided(&machine), [found("b0")], "{listing:?}");
    }
}

/// Where the list does not name whom they are for, either could be the other.
#[test]
fn two_of_a_size_take_an_id_only_from_a_list_that_names_their_members() {
    for (listing, expected) in [
        (Listing::Sized, [reached(), reached()]),
        (Listing::Itemised, [found("b0"), found("b1")]),
    ] {
        let mut machine = mute(2, listing);
        machine.settings.batch_size = 1;
        machine.settings.concurrency = 1;
        run_without_waiting(&machine);
        assert_eq!(decided(&machine), expected, "{listing:?}");
    }
}

#[test]
fn a_batch_of_another_size_is_no_candidate() {
    let machine = mute(1, Listing::Sized);
    let calls = {
        let other = mute(0, Listing::Sized);
        other.live(&Disturbance::default());
        let trace = other.world.trace();
        let departures = trace.iter().filter(|line| line.ends_with("departs"));
        let first_write = departures.take_while(|line| !line.contains("write")).count();
        first_write as u64 + 1
    };
    let death = Some(Death {
        call: calls,
        after: true,
    });
    machine.live(&Disturbance {
        death,
        ..Disturbance::default()
    });
    machine.restart(super::disk::Crash::Process);
    machine.world.stranger(7);
    run_without_waiting(&machine);
    assert_eq!(decided(&machine), [found("b0")]);
}

//! On which evidence a batch is settled whose answer was lost, under which of the tenant's ids, and what is kept of it.

use super::disk::Crash;
use super::job::{Disturbance, Machine, to_be_sent};
use super::weather::{Listing, Weather};
use super::world::{Death, WRITE_TIMEOUT};
use rollbook::ledger::{BatchRow, Reader};
use rusqlite::Connection;
use rusqlite::types::FromSql;
use std::time::Duration;

/// What looking takes, where nothing has to be waited for.
const SOON: Duration = Duration::from_secs(20);

/// A tenant that takes the first so many writes and never says so.
fn mute(writes: u32, listing: Listing) -> Machine {
    machine(Weather {
        unheard_writes: writes,
        listing,
        ..Weather::default()
    })
}

/// One that never gets the first write.
fn lossy(listing: Listing) -> Machine {
    machine(Weather {
        lost_writes: 1,
        listing,
        ..Weather::default()
    })
}

fn machine(weather: Weather) -> Machine {
    fastrand::seed(1);
    let weather = Weather {
        travel_ms: 5,
        ..weather
    };
    Machine::new(1, weather)
}

/// Runs until the first write has been judged, and dies. When that is, one like it tells.
fn die_at_the_first_write(machine: &Machine, like: impl Fn() -> Machine) {
    let other = like();
    other.live(&Disturbance::default());
    let trace = other.world.trace();
    let departures = trace.iter().filter(|line| line.ends_with("departs"));
    let before = departures.take_while(|line| !line.contains("write")).count();
    let death = Some(Death {
        call: before as u64 + 1,
        after: true,
    });
    machine.live(&Disturbance {
        death,
        ..Disturbance::default()
    });
    machine.restart(Crash::Process);
}

/// A number or a word out of the ledger.
fn look<T: FromSql>(machine: &Machine, query: &str) -> T {
    let ledger = Connection::open(machine.disk.ledger()).unwrap();
    ledger.query_row(query, [], |row| row.get(0)).unwrap()
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
    let took: i64 = look(&machine, "SELECT took_ms FROM batch WHERE rung = 'reached'");
    assert!(took > 0, "{took} ms go into the quiet periods that follow");
}

#[test]
fn one_that_is_listed_is_found_under_its_id() {
    let machine = mute(1, Listing::Itemised);
    run_without_waiting(&machine);
    assert_eq!(decided(&machine), [found("b0")]);
    let others: i64 = look(
        &machine,
        "SELECT count(*) FROM batch WHERE tenant_status IS NOT 'success'",
    );
    assert_eq!(others, 0, "the tenant's own word is kept");
    // A size identifies nothing: then the members alone tell that it arrived.
    let machine = mute(1, Listing::Sized);
    run_without_waiting(&machine);
    assert_eq!(decided(&machine), [reached()]);
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

/// One of two arrived. Which one the list does not say, and what shows the change might have got it from somebody else.
#[test]
fn one_listed_batch_that_could_be_either_of_two_is_neither() {
    let mut machine = machine(Weather {
        lost_writes: 1,
        unheard_writes: 1,
        listing: Listing::Sized,
        ..Weather::default()
    });
    machine.settings.batch_size = 1;
    machine.settings.concurrency = 1;
    assert!(machine.live(&Disturbance::default()).is_done());
    assert_eq!(decided(&machine), [reached()]);
    assert_eq!(machine.held().len(), 1);
}

/// Sizes rule others out where those of our own batches are right.
#[test]
fn a_batch_of_another_size_is_no_candidate() {
    for (size, held) in [(7, 0), (3, 1)] {
        let machine = lossy(Listing::Sized);
        die_at_the_first_write(&machine, || lossy(Listing::Sized));
        machine.world.stranger(size);
        machine.live(&Disturbance::default());
        assert_eq!(machine.held().len(), held, "{:?}", machine.held());
    }
}

#[test]
fn what_an_absence_was_concluded_from_is_kept() {
    for (listing, said) in [(Listing::Missing, "unreadable"), (Listing::Itemised, "nothing")] {
        let machine = lossy(listing);
        assert!(machine.live(&Disturbance::default()).is_done());
        assert_eq!(machine.check_entries(false), Ok(0));
        let listed: String = look(&machine, "SELECT listed FROM absence");
        assert_eq!(listed, said);
        let apart: i64 = look(&machine, "SELECT looks_apart_ms FROM absence");
        assert!(apart >= 10_000, "{apart} ms between the looks");
        let shown: String = look(&machine, "SELECT effect_seen_on FROM absence");
        assert!(machine.world.taken().contains_key(&shown), "{shown}");
    }
}

/// Whom another ledger saw without the handle may have got it from anybody since.
#[test]
fn who_was_not_looked_up_here_proves_nothing_by_showing_the_change() {
    for known_from_elsewhere in [true, false] {
        let everybody = || {
            let mut machine = lossy(Listing::Missing);
            machine.settings.batch_size = 20;
            machine
        };
        let machine = everybody();
        die_at_the_first_write(&machine, everybody);
        if known_from_elsewhere {
            let ledger = Connection::open(machine.disk.ledger()).unwrap();
            let all = ledger.execute("UPDATE entry SET reused = 1 WHERE batch = 1", []);
            assert_eq!(all, Ok(to_be_sent().len()));
        }
        for profile in to_be_sent() {
            machine.world.edit(profile, machine.world.age(), true);
        }
        machine.live(&Disturbance::default());
        assert_eq!(machine.held().len(), usize::from(known_from_elsewhere));
    }
}

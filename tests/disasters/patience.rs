//! How long a batch whose answer was lost is waited for: as long as it takes to know, and no longer.

use super::cases;
use super::job::{Disturbance, Machine, to_be_sent};
use super::share::pick;
use super::weather::{Listing, Strangers, Weather};
use super::world::WRITE_TIMEOUT;
use rollbook::model::doubt::InDoubt;
use std::ops::Range;
use std::time::Duration;

const SEEDS: u64 = 30;
const QUICK: u64 = 8;
/// A run ends early where too many of its writes go wrong.
const RUNS_LIMIT: u32 = 4;
/// Far beyond the deadline of these jobs.
const OUTAGE: Duration = Duration::from_secs(3_600);
/// What a run needs beside the waiting.
const WORK: Duration = Duration::from_secs(15);

/// Profiles that show nothing, after which a look knows that it is not time yet.
const MISSES_A_LOOK: usize = 3;
/// Between the two looks that show that nothing is there.
const LOOKS_APART: Duration = Duration::from_secs(10);

fn seeds() -> Vec<u64> {
    (0..pick(QUICK, SEEDS, SEEDS)).collect()
}

/// A job in which answers to writes get lost, and the longest lifetime that a request was given. Nothing may be held
/// because of that.
fn job(seed: u64, weather: Weather) -> Result<Duration, String> {
    fastrand::seed(seed);
    let machine = Machine::new(
        seed,
        Weather {
            bad_writes: 40,
            ..weather
        },
    );
    for _ in 0..RUNS_LIMIT {
        let end = machine.live(&Disturbance::default());
        if end.is_done() {
            machine.check_nothing_is_open()?;
            machine.check_entries(true)?;
            let held = machine.held();
            return match held.iter().find(|why| why.contains("lifetime")) {
                None => Ok(machine.longest_lifetime()),
                Some(why) => Err(why.clone()),
            };
        }
    }
    Err("it does not get done".into())
}

/// Beyond the deadline nothing is waited for: what is not known then, a person rules on.
#[test]
fn a_lifetime_that_outgrows_the_deadline_ends_in_a_ruling() {
    let seeds = seeds();
    let slow = Weather {
        applying_ms: 800_000,
        ..Weather::default()
    };
    let held = cases::each(&seeds, |seed| {
        fastrand::seed(*seed);
        let weather = Weather {
            lost_writes: 1,
            ..slow.clone()
        };
        let machine = Machine::new(*seed, weather);
        let took = run_once(&machine);
        machine.check_promises()?;
        if took > machine.settings.settle_deadline * 2 {
            return Err(format!("{took:?}, held: {:?}", machine.held()));
        }
        Ok(machine.held().len())
    });
    let held = held.iter().sum::<usize>();
    assert!(held > seeds.len() / 2, "{held}");
}

#[test]
fn what_takes_long_and_shows_long_after_that_is_waited_for() {
    for seed in 0..5 {
        let late = Weather {
            applying_ms: 300_000,
            showing_ms: 600_000,
            ..Weather::default()
        };
        let machine = Machine::new(seed, late);
        run(&machine);
        assert_eq!(machine.check_entries(false), Ok(0));
    }
}

#[test]
fn an_outage_is_not_the_time_that_a_tenant_takes() {
    let seeds = seeds();
    let away = |began: u64| {
        let began = Duration::from_millis(began);
        Weather {
            applying_ms: 2_000,
            travel_ms: 50,
            outages: vec![began..began + OUTAGE],
            ..Weather::default()
        }
    };
    let lifetimes = cases::each(&seeds, |seed| job(*seed, away(150 + 10 * seed)));
    let longest = lifetimes.into_iter().max().unwrap();
    assert!(longest < OUTAGE / 2, "{longest:?}");
}

/// A tenant that loses the first write and is quick otherwise.
fn forgetful() -> Machine {
    forgetful_in(Weather::default())
}

fn forgetful_in(weather: Weather) -> Machine {
    fastrand::seed(1);
    let weather = Weather {
        lost_writes: 1,
        travel_ms: 5,
        ..weather
    };
    Machine::new(1, weather)
}

/// How long one run takes, however it ends.
fn run_once(machine: &Machine) -> Duration {
    let began = machine.world.age();
    machine.live(&Disturbance::default());
    machine.world.age() - began
}

/// How long one run takes, which must get done.
fn run(machine: &Machine) -> Duration {
    let began = machine.world.age();
    let end = machine.live(&Disturbance::default());
    assert!(end.is_done(), "{end:?}");
    machine.world.age() - began
}

#[track_caller]
fn assert_takes(took: Duration, waiting: Duration) {
    let expected: Range<Duration> = waiting..waiting + WORK;
    assert!(expected.contains(&took), "{took:?} and not {expected:?}");
}

/// The one batch is held, and says so of all its members.
#[track_caller]
fn assert_everybody_was_asked(machine: &Machine) {
    let held = machine.held();
    let everybody = format!("{} without)", to_be_sent().len());
    assert!(held.len() == 1 && held[0].contains(&everybody), "{held:?}");
}

#[test]
fn what_was_lost_is_sent_again_as_soon_as_its_quiet_period_is_over() {
    let machine = forgetful();
    assert_takes(
        run(&machine),
        WRITE_TIMEOUT + machine.settings.quiet + LOOKS_APART,
    );
    assert_eq!(machine.check_entries(false), Ok(0));
}

#[test]
fn no_time_is_quiet_while_the_tenant_is_away() {
    let ends = WRITE_TIMEOUT + OUTAGE;
    let machine = forgetful_in(Weather {
        outages: vec![WRITE_TIMEOUT + Duration::from_secs(20)..ends],
        ..Weather::default()
    });
    let took = run(&machine);
    assert!(took >= ends + machine.settings.quiet, "{took:?}");
    assert_eq!(machine.check_entries(false), Ok(0));
}

#[test]
fn a_tenant_that_is_never_quiet_is_not_waited_for_for_ever() {
    let away = |number: u64| {
        let from = WRITE_TIMEOUT + Duration::from_secs(90 * number);
        from..from + Duration::from_secs(60)
    };
    let machine = forgetful_in(Weather {
        outages: (0..200).map(away).collect(),
        ..Weather::default()
    });
    let took = run(&machine);
    assert!(took < OUTAGE * 2, "{took:?}");
    assert_eq!(machine.held().len(), 1);
    machine.world.calm();
    machine.world.pass(OUTAGE * 6);
    run(&machine);
    assert_eq!(machine.check_entries(false), Ok(0));
}

#[test]
fn a_look_that_cannot_decide_asks_few() {
    let machine = forgetful();
    assert_takes(
        run(&machine),
        WRITE_TIMEOUT + machine.settings.quiet + LOOKS_APART,
    );
    assert_eq!(machine.check_entries(false), Ok(0));
    let trace = machine.world.trace();
    let departs = |what: &str| {
        let departs = trace
            .iter()
            .filter(|line| line.contains(what) && line.ends_with("departs"));
        departs.count()
    };
    let (looks, asked) = (departs("list page"), departs("look at"));
    // Everybody at the last two looks, and those who are read back; and in between the first who show nothing.
    let everybody = 4 * to_be_sent().len();
    assert!(looks > 5, "{looks}");
    assert!(
        asked <= MISSES_A_LOOK * looks + everybody,
        "{asked} in {looks} looks"
    );
}

#[test]
fn what_was_listed_before_the_run_is_somebody_elses() {
    for listing in [Listing::Bare, Listing::Sized] {
        let machine = forgetful_in(Weather {
            listing,
            ..Weather::default()
        });
        machine.world.stranger(3);
        assert_takes(
            run(&machine),
            WRITE_TIMEOUT + machine.settings.quiet + LOOKS_APART,
        );
        assert_eq!(machine.check_entries(false), Ok(0));
    }
}

#[test]
fn a_deadline_that_is_shorter_than_any_lifetime_is_kept() {
    let mut machine = forgetful();
    machine.settings.settle_deadline = Duration::from_secs(40);
    assert_takes(run(&machine), WRITE_TIMEOUT + machine.settings.settle_deadline);
    assert_eq!(machine.held().len(), 1);
    // Nothing was concluded: with more patience it is.
    machine.settings.settle_deadline = machine.settings.quiet * 2;
    assert_takes(run(&machine), machine.settings.quiet + LOOKS_APART);
    assert_eq!(machine.check_entries(false), Ok(0));
}

#[test]
fn what_may_not_be_concluded_is_waited_for_once() {
    let mut machine = forgetful();
    machine.settings.in_doubt = InDoubt::Hold;
    assert_takes(run(&machine), WRITE_TIMEOUT + machine.settings.settle_deadline);
    assert_eq!(machine.held().len(), 1);
    assert_takes(run(&machine), Duration::ZERO);
    assert_eq!(machine.held().len(), 1);
    machine.settings.in_doubt = InDoubt::Verify;
    run(&machine);
    assert_eq!(machine.check_entries(false), Ok(0));
}

/// As long as nobody was ever seen with a change of this job, that nobody shows it says nothing about the request.
#[test]
fn where_no_change_was_ever_seen_nobody_is_called_absent() {
    let mut machine = forgetful();
    machine.settings.batch_size = 20;
    assert_takes(run(&machine), WRITE_TIMEOUT + machine.settings.settle_deadline);
    assert_everybody_was_asked(&machine);
    run(&machine);
    assert_everybody_was_asked(&machine);
    assert_eq!(machine.rule().unwrap(), 1);
    run(&machine);
    assert_eq!(machine.check_entries(false), Ok(0));
}

/// Once, a request may have been lost. Twice, there is something that is not understood.
#[test]
fn what_was_found_absent_once_is_held_the_second_time() {
    fastrand::seed(1);
    let weather = Weather {
        lost_writes: 2,
        travel_ms: 5,
        ..Weather::default()
    };
    let machine = Machine::new(1, weather);
    // One of two that leave side by side, and then that one again.
    machine.world.lose_writes_for("p-ann");
    let took = run(&machine);
    assert!(took >= machine.settings.settle_deadline, "{took:?}");
    let held = machine.held();
    assert!(
        held.len() == 1 && held[0].contains("found absent before"),
        "{held:?}"
    );
    assert_takes(run(&machine), Duration::ZERO);
    assert_eq!(machine.rule().unwrap(), 1);
    run(&machine);
    assert_eq!(machine.check_entries(false), Ok(0));
}

#[test]
fn what_somebody_else_has_touched_is_waited_for_once() {
    let machine = forgetful();
    let touched = WRITE_TIMEOUT + Duration::from_secs(10);
    for profile in ["p-ann", "p-eve", "p-gus"] {
        machine.world.edit(profile, touched, true);
    }
    let took = run(&machine);
    assert_eq!(machine.held().len(), 1, "{:?}", machine.world.trace());
    assert!(took >= machine.settings.settle_deadline, "{took:?}");
    assert_takes(run(&machine), Duration::ZERO);
    assert_eq!(machine.held().len(), 1);
}

#[test]
fn what_may_be_listed_is_looked_at_once_more_in_every_run() {
    let mut held = 0;
    for seed in seeds() {
        fastrand::seed(seed);
        let weather = Weather {
            lost_writes: 1,
            listing: Listing::Sized,
            strangers: Strangers::ForOthers,
            ..Weather::default()
        };
        let machine = Machine::new(seed, weather);
        let took = run(&machine);
        if machine.held().is_empty() {
            continue;
        }
        held += 1;
        let settings = &machine.settings;
        assert_takes(took, WRITE_TIMEOUT + settings.settle_deadline);
        assert_takes(run(&machine), settings.quiet);
    }
    assert!(held > 0);
}

//! How long a lost batch is waited for: as long as the tenant is slow, and no longer because it was away.

use super::cases;
use super::job::{Disturbance, Machine};
use super::world::Weather;
use std::time::Duration;

const SEEDS: u64 = 30;
/// A run ends early where too many of its writes go wrong.
const RUNS_LIMIT: u32 = 4;
/// Far beyond the deadline of these jobs.
const OUTAGE: Duration = Duration::from_secs(3_600);

/// A job in which answers to writes get lost, and the time at its end. Nothing may be held.
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
            machine.check_entries(false)?;
            return Ok(machine.world.age());
        }
    }
    Err("it does not get done".into())
}

#[test]
fn a_slow_tenant_is_waited_for_beyond_the_deadline() {
    let seeds: Vec<u64> = (0..SEEDS).collect();
    let slow = Weather {
        applying_ms: 800_000,
        ..Weather::default()
    };
    cases::each(&seeds, |seed| job(*seed, slow.clone()));
}

#[test]
fn an_outage_is_not_the_time_that_a_tenant_takes() {
    let seeds: Vec<u64> = (0..SEEDS).collect();
    let away = |began: u64| {
        let began = Duration::from_millis(began);
        Weather {
            applying_ms: 2_000,
            travel_ms: 50,
            outages: vec![began..began + OUTAGE],
            ..Weather::default()
        }
    };
    let ages = cases::each(&seeds, |seed| job(*seed, away(150 + 10 * seed)));
    let longest = ages.into_iter().max().unwrap();
    assert!(longest < OUTAGE * 2, "{longest:?}");
}

//! The ceiling: departures at even distances, by governor's GCRA (the generic cell rate algorithm).
//!
//! GCRA's whole state is one number, the *theoretical arrival time* (TAT): when the next request would be due if all
//! came evenly. It is kept outside of governor, since several processes share it; so a limiter is made for one decision.
//! Time is a number of nanoseconds that is handed in, so that simulated time works, and so that a turn can be taken
//! ahead of its time: whoever waits has its place, and nothing is lost to a timer that is late.

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos as GovernorNanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

/// Nanoseconds of a monotonic clock.
pub(super) type Nanos = u64;

/// How late a wake-up may be without losing its place. Timers are a millisecond coarse.
const SLACK: Duration = Duration::from_millis(4);
/// Of a longer window beside a shorter one, this part may be caught up at once after a moment without requests.
const CATCH_UP: u32 = 60;

type Limiter = RateLimiter<NotKeyed, Tat, Now, NoOpMiddleware<GovernorNanos>>;

/// Where a limiter finds its state.
struct Tat(Cell<Nanos>);

impl StateStore for Tat {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<GovernorNanos>) -> Result<(T, GovernorNanos), E>,
    {
        let (outcome, tat) = decide(Some(self.0.get().into()))?;
        self.0.set(tat.into());
        Ok(outcome)
    }
}

/// Where a limiter finds the time.
struct Now(Cell<Nanos>);

impl Clock for Now {
    type Instant = GovernorNanos;

    fn now(&self) -> GovernorNanos {
        self.0.get().into()
    }
}

/// So many in any window of such a length.
///
/// `Quota::per_second(n)` would let through nearly `2 n` in a second: a full burst, and what is replenished meanwhile.
pub(super) fn window(most: u32, length: Duration, beside_a_shorter: bool) -> Quota {
    let catch_up = if beside_a_shorter { most / CATCH_UP } else { 0 };
    let late = (SLACK.as_secs_f64() / length.as_secs_f64() * f64::from(most)) as u32;
    let burst = (1 + late).max(catch_up).min(most);
    quota(length / (most - burst + 1) + Duration::from_nanos(1), burst)
}

/// So many a second, evenly.
pub(super) fn even(per_second: f64) -> Quota {
    let burst = 1 + (SLACK.as_secs_f64() * per_second) as u32;
    quota(Duration::from_secs_f64(1.0 / per_second), burst)
}

fn quota(period: Duration, burst: u32) -> Quota {
    let period = period.max(Duration::from_nanos(1));
    let quota = Quota::with_period(period).expect("BUG: a period of nothing");
    quota.allow_burst(NonZeroU32::new(burst).expect("BUG: a burst of nothing"))
}

fn limiter(quota: Quota, tat: Nanos, now: Nanos) -> Limiter {
    // A limiter counts from the moment in which it is made.
    let limiter = RateLimiter::new(quota, Tat(Cell::new(tat)), Now(Cell::new(0)));
    limiter.clock().0.set(now);
    limiter
}

/// The earliest turn from now on.
pub(super) fn earliest(quota: Quota, tat: Nanos, now: Nanos) -> Nanos {
    match limiter(quota, tat, now).check() {
        Ok(()) => now,
        Err(not_until) => not_until.earliest_possible().as_u64(),
    }
}

/// Takes a turn that is free; the state after it.
pub(super) fn take(quota: Quota, tat: Nanos, turn: Nanos) -> Nanos {
    let limiter = limiter(quota, tat, turn);
    assert!(limiter.check().is_ok(), "BUG: the turn is not free");
    limiter.into_state_store().0.get()
}

/// The state after as many as may be have just departed: what to assume where nothing is known.
pub(super) fn used_up(quota: Quota, now: Nanos) -> Nanos {
    now + nanos(quota.replenish_interval()) * u64::from(quota.burst_size().get())
}

pub(super) fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The turns that somebody gets who takes each as early as may be, from these moments on.
    fn turns(quota: Quota, mut tat: Nanos, from: impl IntoIterator<Item = Nanos>) -> Vec<Nanos> {
        let mut now = 0;
        let next = |pause: Nanos| {
            now = earliest(quota, tat, now + pause);
            tat = take(quota, tat, now);
            now
        };
        from.into_iter().map(next).collect()
    }

    proptest! {
        #[test]
        fn no_window_holds_more_whenever_somebody_asks(
            most in 1_u32..200,
            seconds in prop_oneof![Just(1_u64), Just(60), Just(3_600)],
            beside in any::<bool>(),
            pauses in proptest::collection::vec(prop_oneof![Just(0_u64), 0..20_000_000_000_u64], 1..600),
        ) {
            let length = SECOND * seconds as u32;
            let times = turns(window(most, length, beside), 0, pauses);
            for (first, at) in times.iter().enumerate() {
                let within = times[first..].iter().take_while(|time| **time < at + nanos(length)).count();
                prop_assert!(within <= most as usize, "{within} of {most}");
            }
        }
    }

    #[test]
    fn who_asks_at_once_gets_what_was_told() {
        for most in [1, 10, 600, 10_000] {
            let times = turns(window(most, SECOND, false), 0, vec![0; most as usize * 10]);
            let achieved = times.len() as f64 / (*times.last().unwrap() as f64 / 1e9);
            assert!(achieved > f64::from(most) * 0.995, "{most}: {achieved}");
        }
    }

    #[test]
    fn a_state_that_is_not_known_leaves_no_second_helping() {
        let quota = window(300, SECOND * 60, true);
        let times = turns(quota, used_up(quota, 0), vec![0; 300]);
        assert!(times[0] > 0);
        let at_once = times.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert_eq!(at_once, 0);
    }
}

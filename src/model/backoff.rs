//! How long to wait after a failure.

use std::time::Duration;

const FIRST_WAIT_MS: u64 = 500;
const LONGEST_WAIT_MS: u64 = 60_000;

/// The longest `Retry-After` that is obeyed as it stands; a longer one is cut to this and asked again.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The wait after `failures` failures in a row, with `chance` in 0..1 as the jitter.
///
/// It doubles from half a second to a minute; half of it is certain and half is chance, so that clients
/// which failed together do not come back together, and none comes back at once.
pub fn wait(failures: u32, chance: f64) -> Duration {
    let doubled = FIRST_WAIT_MS.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let capped = doubled.min(LONGEST_WAIT_MS) as f64;
    Duration::from_millis((capped / 2.0 + capped / 2.0 * chance) as u64)
}

/// The wait that a 429 asks for, where it asks for something sensible.
pub fn wait_as_told(retry_after: Option<Duration>, refusals: u32, chance: f64) -> Duration {
    match retry_after {
        Some(told) => told.clamp(Duration::from_millis(100), LONGEST_RETRY_AFTER),
        None => wait(refusals + 1, chance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stop_growing() {
        assert_eq!(wait(1, 0.0), Duration::from_millis(250));
        assert_eq!(wait(1, 1.0), Duration::from_millis(500));
        assert_eq!(wait(3, 1.0), Duration::from_secs(2));
        assert_eq!(wait(u32::MAX, 1.0), Duration::from_secs(60));
    }

    #[test]
    fn an_absurd_retry_after_is_cut() {
        let told = Some(Duration::from_secs(1_000_000_000_000));
        assert_eq!(wait_as_told(told, 0, 0.5), LONGEST_RETRY_AFTER);
        assert_eq!(
            wait_as_told(Some(Duration::ZERO), 0, 0.5),
            Duration::from_millis(100)
        );
        assert_eq!(wait_as_told(None, 0, 1.0), Duration::from_millis(500));
        assert_eq!(wait_as_told(None, 2, 1.0), Duration::from_secs(2));
    }
}

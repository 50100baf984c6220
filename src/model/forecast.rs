//! How many requests the rest of a job takes, by kind, and how long: arithmetic over what is left.
//!
//! The same arithmetic serves before a run, with guesses for what a thing costs, and while it goes on, with what the
//! run has seen it cost.

use super::sample::{Confirm, requests, share};
use super::way::{Sample, Way};
use std::time::Duration;

/// What is left of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Entries that are still to be looked up.
    pub pending: u64,
    /// Entries that wait for a batch.
    pub resolved: u64,
    /// Batches that wait to be sent.
    pub sealed: u64,
    /// Batches that the tenant has, and that are not settled.
    pub accepted: u64,
    /// Batches that may or may not have arrived, held ones included.
    pub in_doubt: u64,
    /// Requests that were made already, to look around.
    pub made: u64,
}

/// What is to be done with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// How entries are looked up.
    pub way: Way,
    /// Members of a full batch, on average.
    pub batch_size: f64,
    /// How many entries outside of batches may be sent, where that is limited.
    pub room: Option<u64>,
    /// Look up, and send nothing.
    pub dry_run: bool,
}

/// What things cost, as far as anybody knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// The share of emails that no answer will hold.
    pub missing: f64,
    /// The share of emails that lead to somebody who is sent.
    pub sending: f64,
    /// Requests for what the way's own arithmetic counts as one: a second page, another spelling.
    pub lookup: f64,
    /// Polls until a batch is over.
    pub polls: f64,
    /// Requests to read a batch back.
    pub read_backs: f64,
}

/// A batch is polled when it is likely to be over, and now and then that is too early.
const POLLS: f64 = 1.5;
/// The same where batches follow each other so closely that one page of the tenant's list tells of several.
const SHARED_POLLS: f64 = 0.7;

/// A batch in doubt is looked for in the tenant's list, and compared with what stands there.
const LOOKS_AT_A_DOUBT: u64 = 2;

/// Before anything is sent, the newest batch in the tenant's list is noted.
const BASELINE: u64 = 1;

impl Costs {
    /// What is expected before anything was seen, for batches of so many members.
    pub fn expected(sample: &Sample, confirm: Confirm, members: u64, way: Way) -> Self {
        let members = usize::try_from(members).unwrap_or(usize::MAX);
        let read_back = confirm.members(members, share(way.group()));
        Self {
            missing: sample.missing_share(),
            sending: sample.sending_share(),
            lookup: 1.0,
            polls: if way.group() > 1 { SHARED_POLLS } else { POLLS },
            read_backs: requests(read_back, way.group()),
        }
    }

    /// Requests that it takes to settle a batch.
    pub fn settling(&self) -> f64 {
        self.polls + self.read_backs
    }
}

/// Requests by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Look-ups.
    pub looking_up: u64,
    /// Batches.
    pub sending: u64,
    /// Questions how far a batch is.
    pub polling: u64,
    /// Profiles that are looked at after their batch is over.
    pub reading_back: u64,
    /// Looking around before the run, and after batches in doubt.
    pub other: u64,
}

impl Requests {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.looking_up + self.sending + self.polling + self.reading_back + self.other
    }
}

/// What the rest of a job will take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Requests, about.
    pub requests: Requests,
    /// Entries outside of batches that will be sent, at the most.
    pub at_most: u64,
    /// As many of them as are expected to be sent.
    pub sent: u64,
}

/// How many emails are looked up: all that are pending, or the first so many, where no more may be sent than `room`.
pub fn looked_up(work: &Work, room: Option<u64>, sending: f64) -> u64 {
    let wanted = room.unwrap_or(u64::MAX).saturating_sub(work.resolved) as f64 / sending.max(f64::EPSILON);
    work.pending.min(wanted.ceil() as u64)
}

/// Reckons what is left.
pub fn forecast(work: &Work, terms: &Terms, costs: &Costs) -> Forecast {
    let room = terms.room.unwrap_or(u64::MAX);
    // In a dry run the limit does not count: everybody is looked up, and nobody sent.
    let wanted = if terms.dry_run { None } else { terms.room };
    let emails = looked_up(work, wanted, costs.sending);
    let (at_most, sending, sealed) = if terms.dry_run {
        (0, 0.0, 0)
    } else {
        let unsent = work.resolved as f64 + emails as f64 * costs.sending;
        let at_most = room.min(work.resolved + work.pending);
        (at_most, unsent.min(room as f64), work.sealed)
    };
    let sends = sealed + (sending / terms.batch_size).ceil() as u64;
    let settles = (sends + work.accepted + work.in_doubt) as f64;
    let looking_up = terms.way.lookups(emails, costs.missing) as f64 * costs.lookup;
    let baseline = if terms.dry_run { 0 } else { BASELINE };
    Forecast {
        requests: Requests {
            looking_up: looking_up.ceil() as u64,
            sending: sends,
            polling: (settles * costs.polls).ceil() as u64,
            reading_back: (settles * costs.read_backs).ceil() as u64,
            other: work.made + baseline + LOOKS_AT_A_DOUBT * work.in_doubt,
        },
        at_most,
        sent: sending.ceil() as u64,
    }
}

/// How fast requests can follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speed {
    /// The rate that is kept, where there is one.
    pub per_second: Option<f64>,
    /// Requests under way at the same time.
    pub concurrency: usize,
    /// How long an answer takes, where that was seen.
    pub latency: Option<Duration>,
}

impl Speed {
    /// Requests a second that can be kept up: what the rate allows, and what the latency does.
    pub fn sustained(&self) -> Option<f64> {
        let by_latency = self
            .latency
            .filter(|latency| !latency.is_zero())
            .map(|latency| self.concurrency as f64 / latency.as_secs_f64());
        match (self.per_second, by_latency) {
            (Some(rate), Some(most)) => Some(rate.min(most)),
            (one, other) => one.or(other),
        }
    }

    /// How long so many requests take, where that can be said.
    pub fn duration(&self, requests: u64) -> Option<Duration> {
        let seconds = requests as f64 / self.sustained()?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        way: Way::One,
        batch_size: 298.0,
        room: None,
        dry_run: false,
    };

    fn costs(sample: Sample) -> Costs {
        Costs::expected(&sample, Confirm::Sample, 300, Way::One)
    }

    #[test]
    fn each_kind_of_work_is_counted() {
        let work = Work {
            pending: 2_980,
            resolved: 298,
            sealed: 1,
            accepted: 2,
            in_doubt: 1,
            made: 4,
        };
        let forecast = forecast(&work, &TERMS, &costs(Sample::default()));
        let wanted = Requests {
            looking_up: 2_980,
            sending: 12,
            polling: 23,
            reading_back: 45,
            other: 7,
        };
        assert_eq!(forecast.requests, wanted);
        assert_eq!(forecast.requests.total(), 3_067);
        assert_eq!(forecast.at_most, 3_278);
    }

    #[test]
    fn who_is_missing_or_needs_nothing_is_not_sent() {
        let sample = Sample {
            asked: 100,
            missing: 10,
            needless: 40,
        };
        let work = Work {
            pending: 29_800,
            ..Work::default()
        };
        let many = Terms {
            way: Way::Many { group: 100 },
            ..TERMS
        };
        let forecast = forecast(&work, &many, &costs(sample));
        assert_eq!(forecast.requests.looking_up, 298 + 2 * 34 + 149);
        assert_eq!(forecast.requests.sending, 50);
        assert_eq!(forecast.at_most, 29_800, "they could all turn out to need it");
    }

    #[test]
    fn a_limit_ends_the_looking_up_too() {
        let work = Work {
            pending: 10_000,
            resolved: 20,
            ..Work::default()
        };
        let half = Sample {
            asked: 10,
            missing: 5,
            needless: 0,
        };
        let limited = Terms {
            room: Some(100),
            ..TERMS
        };
        let forecast = forecast(&work, &limited, &costs(half));
        assert_eq!((forecast.requests.looking_up, forecast.at_most), (240, 100));
        assert_eq!(forecast.requests.sending, 1);
    }

    #[test]
    fn a_dry_run_only_looks_up_and_settles_what_was_sent() {
        let work = Work {
            pending: 500,
            resolved: 100,
            sealed: 3,
            accepted: 2,
            ..Work::default()
        };
        let dry = Terms {
            dry_run: true,
            room: Some(10),
            ..TERMS
        };
        let Forecast {
            requests, at_most, ..
        } = forecast(&work, &dry, &costs(Sample::default()));
        assert_eq!((requests.looking_up, requests.sending, at_most), (500, 0, 0));
        assert_eq!((requests.polling, requests.reading_back), (3, 6));
        assert_eq!(requests.other, 0);
    }

    #[test]
    fn the_slower_of_rate_and_latency_decides() {
        let speed = |per_second, latency_ms: Option<u64>| Speed {
            per_second,
            concurrency: 8,
            latency: latency_ms.map(Duration::from_millis),
        };
        let seconds = |speed: Speed| speed.duration(1_000).map(|time| time.as_secs());
        assert_eq!(seconds(speed(Some(10.0), Some(80))), Some(100));
        assert_eq!(seconds(speed(Some(400.0), Some(80))), Some(10));
        assert_eq!(seconds(speed(None, Some(80))), Some(10));
        assert_eq!(seconds(speed(Some(10.0), None)), Some(100));
        assert_eq!(seconds(speed(None, None)), None);
    }
}

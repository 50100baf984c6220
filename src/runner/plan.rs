//! What is about to be done, for somebody to say yes to: the forecast of the rest of a job.

use super::context::RunSettings;
use super::limits::Limits;
use super::readback::WORTHWHILE_MEMBERS;
use super::sizes::mean_size;
use crate::api::pacing::{PaceSettings, PaceView, Past};
use crate::ledger::{ListCounts, now_ms};
use crate::model::batch::BatchState;
use crate::model::forecast::{self, Costs, Forecast, Speed, Terms, Work};
use crate::model::ids::{Action, Job};
use crate::model::rate::Rate;
use crate::model::sample::{looks, requests, share};
use crate::model::way::Choice;
use std::time::Duration;

/// What is about to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The job.
    pub job: Job,
    /// The ledger's path.
    pub ledger: String,
    /// The lists that it covers.
    pub lists: Vec<PlannedList>,
    /// What is left of it.
    pub work: Work,
    /// What that takes, the requests that were made already to look around included.
    pub forecast: Forecast,
    /// How long that takes, where it can be said.
    pub duration: Option<Duration>,
    /// When it would be done if it began now, in milliseconds since 1970 UTC.
    pub done_at_ms: Option<i64>,
    /// How entries are looked up, and why so.
    pub choice: Choice,
    /// Members of a batch at the most.
    pub batch_size: usize,
    /// Whether nothing is to be sent.
    pub dry_run: bool,
    /// The rate asked for.
    pub rate: Rate,
    /// Requests under way at the same time.
    pub concurrency: usize,
    /// When the run ends by itself.
    pub limits: Limits,
    /// What is known of the requests that this host has sent to the tenant before.
    pub sent_before: Past,
}

/// A list that a plan covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedList {
    /// What it is called.
    pub name: String,
    /// How it came out.
    pub counts: ListCounts,
    /// Whether the command names it; any other was loaded before.
    pub is_named: bool,
}

impl Plan {
    /// Reckons with what is left, how it is gone about, and what the tenant was seen to be like. So many of the
    /// entries that wait for a batch are `reused`: another ledger has looked them up.
    pub fn new(
        (job, ledger, lists): (Job, String, Vec<PlannedList>),
        (mut work, reused): (Work, u64),
        (settings, pace): (&RunSettings, PaceSettings),
        choice: Choice,
        seen: &PaceView,
    ) -> Self {
        work.made = seen.requests;
        let sealed = work.sealed.saturating_mul(settings.batch_size as u64);
        let terms = Terms {
            way: choice.way,
            batch_size: mean_size(settings.batch_size),
            room: settings.send_limit.map(|limit| limit.saturating_sub(sealed)),
            dry_run: settings.dry_run,
        };
        let reckon = |members| {
            let mut costs = Costs::expected(&settings.sample, settings.confirm, members, choice.way);
            costs.read_backs *= f64::from(looks(job.action));
            forecast::forecast(&work, &terms, &costs)
        };
        // How many members are read back depends on how large the batches come out.
        let full = settings.batch_size as u64;
        let first = reckon(full);
        let batches = first.requests.sending.saturating_sub(work.sealed);
        let members = first.sent.checked_div(batches).unwrap_or(full).min(full);
        let mut forecast = reckon(members);
        if batches > 0 {
            let (sampled, proved) = proofs(reused.min(forecast.sent), members, job.action, settings);
            let read_back = &mut forecast.requests.reading_back;
            let looks = f64::from(looks(job.action));
            *read_back = (*read_back as f64 + looks * (proved - sampled)).max(0.0).ceil() as u64;
        }
        let speed = Speed {
            per_second: sustained(pace, seen.latency),
            concurrency: pace.concurrency,
            latency: seen.latency,
        };
        let duration = speed.duration(forecast.requests.total() - work.made);
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self {
            job,
            ledger,
            lists,
            work,
            forecast,
            duration,
            done_at_ms: duration.map(|time| now_ms().saturating_add(ms(time))),
            choice,
            batch_size: settings.batch_size,
            dry_run: settings.dry_run,
            rate: pace.rate,
            concurrency: pace.concurrency,
            limits: settings.limits,
            sent_before: seen.past,
        }
    }

    /// Adds the requests for the names of those who are sent to, of so many at the most.
    pub fn ask_for_names(&mut self, at_most: usize) {
        let names = self.forecast.sent.min(at_most as u64);
        self.forecast.requests.other += names;
        let per_second = self.rate.per_second().unwrap_or(f64::INFINITY);
        let more = Duration::from_secs_f64(names as f64 / per_second);
        self.duration = self.duration.map(|time| time + more);
        let ms = i64::try_from(more.as_millis()).unwrap_or(i64::MAX);
        self.done_at_ms = self.done_at_ms.map(|at| at.saturating_add(ms));
    }

    /// Whether somebody has to say yes first: something may be sent, and not all of the ledger's `entries` have
    /// been said yes to.
    pub fn needs_consent(&self, entries: u64, confirmed_entries: u64) -> bool {
        self.forecast.at_most > 0 && entries > confirmed_entries
    }
}

/// Requests a second that the rate lets us keep up, as far as the latency was seen.
fn sustained(pace: PaceSettings, latency: Option<Duration>) -> Option<f64> {
    let rate = pace.rate.sustained(latency.unwrap_or_default());
    rate.map(|rate| rate * pace.reserve.usable())
}

/// How many requests it takes to read back the batches of those whom another ledger looked up: were a sample enough,
/// and as it is, where each of them is to be seen. They wait already, so they are the first to be sent.
fn proofs(reused: u64, members: u64, action: Action, settings: &RunSettings) -> (f64, f64) {
    let (group, confirm) = (settings.way.group(), settings.confirm);
    let sample = |members: u64| confirm.members(members as usize, share(group)) as u64;
    let requests = |read: u64| requests(read as usize, group);
    let (mut sampled, mut proved) = (0.0, 0.0);
    for batch in 0..reused.div_ceil(members) {
        let reused = (reused - batch * members).min(members);
        let read = reused + sample(members - reused);
        // Whoever cannot be asked for together is looked for among the holders, where those fill fewer pages.
        let holders = members * (batch + 1);
        let pages = holders.div_ceil(u64::from(settings.page_size));
        let by_holders = group == 1 && action == Action::Assign && read >= WORTHWHILE_MEMBERS as u64;
        sampled += requests(sample(members));
        proved += if by_holders {
            read.min(pages) as f64
        } else {
            requests(read)
        };
    }
    (sampled, proved)
}

/// What batches are left, by how many stand in which state.
pub fn open_batches(counts: &[(BatchState, u64)]) -> Work {
    let mut work = Work::default();
    for (state, batches) in counts {
        match state {
            BatchState::Sealed => work.sealed += batches,
            BatchState::Accepted => work.accepted += batches,
            BatchState::Sending | BatchState::InDoubt | BatchState::Held => work.in_doubt += batches,
            BatchState::Settled | BatchState::Refused => {}
        }
    }
    work
}

/// Whether a yes to this run is a yes to the whole job. One to a limit or a dry run is not: the point of those is
/// to look before the tap is opened.
pub fn consents_to_all(settings: &RunSettings) -> bool {
    !settings.dry_run && settings.send_limit.is_none()
}

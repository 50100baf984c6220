//! Speed and time left, from what a run has seen of itself. Has no clock of its own.
//!
//! The time left is what [`forecast`] says of the present state, with the costs that this run has measured, at the
//! pace that it has kept. The pace is taken over a minute or half of the run, whichever is longer, so that it is
//! steady; an outage counts for nothing in it, since the next one cannot be foreseen. Halts by 429s are expected to go
//! on taking the share of the time that they have taken so far.

use super::context::Context;
use super::event::Progress;
use super::sizes::mean_size;
use crate::api::Tenant;
use crate::api::pacing::{Class, PaceView};
use crate::model::entry::EntryState;
use crate::model::forecast::{self, Costs, Forecast, Terms, Work};
use crate::model::sample::looks;
use crate::model::spent::Cause;
use crate::model::way::{Way, missing_lookups};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Over how long the speed that is shown is averaged.
const SPEED_SPAN: Duration = Duration::from_secs(5);
/// The shortest memory of the pace, in seconds.
const MEMORY_SECONDS: f64 = 60.0;
/// So much of what was expected weighs as much as what was seen: look-ups, what came of them, and batches.
const EXPECTED_LOOKUPS: u64 = 20;
const ENTRIES_EXPECTED: f64 = 5.0;
const BATCHES_EXPECTED: f64 = 2.0;
/// Polls that are put by for a batch that takes longer than the others.
const SPARE_POLLS: f64 = 3.0;
/// How long it takes to settle a batch, in seconds, before one was seen.
const SETTLING_SECONDS: f64 = 1.0;
/// Full batches' worth that wait to be sent before sending is what holds the run up.
const BACKLOG: f64 = 3.0;
/// Batches that must have been sent before their pace says anything.
const SENDS_AT_LEAST: u64 = 5;

/// See the module's documentation.
pub struct Meter {
    terms: Terms,
    expected: Costs,
    start: (Progress, Seen),
    last: (Progress, Seen),
    /// (when, requests) over the last seconds.
    speed: VecDeque<(Duration, u64)>,
    pace: Fading,
    sends: Fading,
    /// When nothing was left to be sent.
    all_sent: Option<Duration>,
}

/// What the run has done by now, beside its progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// All requests of the process.
    pub requests: u64,
    /// Look-ups among them.
    pub lookups: u64,
    /// Polls and read-backs among them.
    pub settles: u64,
    /// How many entries outside of batches may still be sent, where that is limited.
    pub room: Option<u64>,
    /// Entries whose group has been answered, and that are still to be asked for alone.
    pub alone: u64,
    /// Entries of which one answer is known that is not enough: they are asked for once more.
    pub once_more: u64,
    /// Entries that no group has held, and that nothing is decided about yet.
    pub undecided: u64,
    /// About how many pages a scan still has to read; `None` once it is over.
    pub pages_left: Option<u64>,
    /// How long nothing departs from now on, as far as that is known.
    pub held: Duration,
}

impl Seen {
    /// What the gate has seen by now.
    pub fn at(view: &PaceView, now: Instant) -> Self {
        let held = view.pause.as_ref().map(|pause| pause.until);
        let held = held.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let of = |class: Class| view.by_class[class as usize];
        Self {
            requests: view.requests,
            lookups: of(Class::Lookup),
            settles: of(Class::Settle),
            held,
            ..Self::default()
        }
    }
}

/// An amount and the time that it took, of which what is long past fades.
#[derive(Default)]
struct Fading {
    amount: f64,
    seconds: f64,
}

impl Fading {
    fn add(&mut self, amount: u64, seconds: f64, memory: f64) {
        let kept = (-seconds / memory).exp();
        self.amount = self.amount * kept + amount as f64;
        self.seconds = self.seconds * kept + seconds;
    }

    /// Amount a second.
    fn rate(&self) -> Option<f64> {
        (self.amount > 0.0 && self.seconds > 0.0).then(|| self.amount / self.seconds)
    }
}

impl Meter {
    /// Begins to measure.
    pub fn new(progress: &Progress, seen: Seen, terms: Terms, expected: Costs) -> Self {
        Self {
            terms,
            expected,
            start: (progress.clone(), seen),
            last: (progress.clone(), seen),
            speed: VecDeque::new(),
            pace: Fading::default(),
            sends: Fading::default(),
            all_sent: None,
        }
    }

    /// Begins to measure a run.
    pub fn of<T: Tenant>(context: &Context<T>, progress: &Progress) -> Self {
        let settings = &context.settings;
        let terms = Terms {
            way: settings.way,
            batch_size: mean_size(settings.batch_size),
            room: settings.send_limit,
            dry_run: settings.dry_run,
        };
        let members = settings.batch_size as u64;
        let mut expected = Costs::expected(&settings.sample, settings.confirm, members, settings.way);
        expected.read_backs *= f64::from(looks(context.job.action));
        let seen = Seen::at(&context.tenant.gate().view(), Instant::now());
        Self::new(progress, seen, terms, expected)
    }

    /// Takes a look at a progress whose times are up to date, and says in it what follows.
    pub fn update(&mut self, progress: &mut Progress, seen: Seen) {
        let now = progress.elapsed;
        progress.requests = seen.requests;
        self.speed.push_back((now, seen.requests));
        while self.speed.front().is_some_and(|(at, _)| now - *at > SPEED_SPAN) {
            self.speed.pop_front();
        }
        if let Some((at, before)) = self.speed.front()
            && now > *at
        {
            progress.per_second = (seen.requests - before) as f64 / (now - *at).as_secs_f64();
        }
        self.measure(progress, seen);
        let enough = seen.requests - self.start.1.requests >= 20 && now > Duration::from_secs(1);
        progress.left = self.left(progress, seen).filter(|_| enough);
    }

    /// Takes in what was done since the last look, and how long that took.
    fn measure(&mut self, progress: &Progress, seen: Seen) {
        let (before, seen_before) = &self.last;
        let passed = progress.spent.since(&before.spent);
        let held = passed.on(Cause::Outage) + passed.on(Cause::SlowDown);
        let seconds = passed.total().saturating_sub(held).as_secs_f64();
        let memory = MEMORY_SECONDS.max(progress.elapsed.as_secs_f64() / 2.0);
        self.pace
            .add(seen.requests - seen_before.requests, seconds, memory);
        // The first ones only start the clock: how long they took to fill is nothing that happens again.
        if before.sent > 0 {
            self.sends.add(progress.sent - before.sent, seconds, memory);
        }
        self.last = (progress.clone(), seen);
    }

    fn left(&mut self, progress: &Progress, seen: Seen) -> Option<Duration> {
        let mut work = self.work(progress);
        work.pending = work.pending.saturating_sub(seen.once_more + seen.undecided);
        let terms = Terms {
            room: seen.room,
            way: self.way(seen),
            ..self.terms
        };
        let costs = self.costs(progress, seen);
        let left = forecast::forecast(&work, &terms, &costs);
        // What was asked already about those that are being settled.
        let asked = seen.settles - self.start.1.settles;
        let begun = asked.saturating_sub(progress.settling_took) as f64;
        let begun = begun.min(work.accepted as f64 * costs.settling());
        let unsent = left.requests.sending > 0;
        if !unsent && work.pending + seen.once_more + seen.undecided == 0 && work.accepted == 0 {
            // Doubts only, if anything: what decides them, and when, cannot be foreseen.
            return None;
        }
        let missing = self.missing(progress, &left) * costs.settling() * self.read_back_share();
        // Those are counted like everybody else, and cost a request of their own for certain.
        let alone = seen.alone as f64 * costs.lookup;
        // Those are decided about together with others that no group will hold.
        let (group, others) = (self.terms.way.group(), work.pending as f64 * costs.missing);
        let both = missing_lookups(others + seen.undecided as f64, group);
        let undecided = both - missing_lookups(others, group);
        let more = alone + undecided + seen.once_more as f64;
        let requests = left.requests.total() as f64 - begun - missing + more;
        let asking = requests.max(0.0) / self.pace.rate()?;
        let busy = asking.max(self.sending(&left, &work));
        // The halt that is on is known; further ones are only expected.
        let halted = (busy / (1.0 - self.halted(progress))).max(seen.held.as_secs_f64() + busy);
        let seconds = halted + self.settling(progress, unsent);
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// How the entries that are left are looked up.
    fn way(&self, seen: Seen) -> Way {
        match self.terms.way {
            Way::Scan { group, .. } => Way::Scan {
                pages: seen.pages_left.unwrap_or(0),
                group,
            },
            way => way,
        }
    }

    /// What is left, as far as the progress tells.
    fn work(&self, progress: &Progress) -> Work {
        let members = progress.in_state(EntryState::Batched) as f64;
        let known = progress.accepted + progress.in_doubt + progress.held;
        let least = u64::from(members > 0.0 && known == 0);
        let open = ((members / self.terms.batch_size).round() as u64).max(least);
        Work {
            pending: progress.in_state(EntryState::Pending),
            resolved: progress.in_state(EntryState::Resolved),
            sealed: open.saturating_sub(known),
            accepted: progress.accepted,
            in_doubt: progress.in_doubt,
            made: 0,
        }
    }

    /// What things cost, by what was expected and what was seen.
    fn costs(&self, progress: &Progress, seen: Seen) -> Costs {
        let (start, seen_first) = &self.start;
        let pending = |progress: &Progress| progress.in_state(EntryState::Pending);
        // Whoever is asked for once more counts as looked up, with what that will have cost.
        let open = seen.once_more + seen.undecided;
        let looked_up = pending(start).saturating_sub(pending(progress)) + open;
        let sending = [
            EntryState::Resolved,
            EntryState::Batched,
            EntryState::Confirmed,
            EntryState::Failed,
        ];
        let wanted =
            |progress: &Progress| -> u64 { sending.map(|state| progress.in_state(state)).iter().sum() };
        let wanted = wanted(progress).saturating_sub(wanted(start)) as f64;
        let way_costs = |emails| match self.terms.way {
            // Its pages come before all entries, so nothing can be said of what an entry costs.
            Way::Scan { .. } => 0,
            way => way.lookups(emails, self.expected.missing),
        };
        let by_arithmetic = way_costs(looked_up);
        let lookups = if by_arithmetic == 0 {
            0
        } else {
            let undecided = missing_lookups(seen.undecided as f64, self.terms.way.group());
            seen.lookups - seen_first.lookups + seen.once_more + undecided as u64
        };
        let few = way_costs(EXPECTED_LOOKUPS.max(self.terms.way.group() as u64)).max(1);
        let scanned = matches!(self.terms.way, Way::Scan { .. }) && seen.pages_left.is_none();
        Costs {
            // Whoever is left after a scan is asked for alone.
            missing: if scanned { 1.0 } else { self.expected.missing },
            sending: (self.expected.sending * ENTRIES_EXPECTED + wanted)
                / (ENTRIES_EXPECTED + looked_up as f64),
            lookup: (few + lookups) as f64 / (few + by_arithmetic) as f64,
            polls: self.settling_cost(progress),
            read_backs: 0.0,
        }
    }

    /// How many requests it takes to send a batch and to settle it, with something to spare for polls.
    pub fn batch_cost(&self, progress: &Progress) -> u64 {
        (1.0 + self.settling_cost(progress) * 1.25 + SPARE_POLLS).ceil() as u64
    }

    /// Polls and read-backs of a batch.
    fn settling_cost(&self, progress: &Progress) -> f64 {
        let expected = self.expected.settling() * BATCHES_EXPECTED;
        (expected + progress.settling_took as f64) / (BATCHES_EXPECTED + progress.settled as f64)
    }

    /// How many full batches are counted for members that there are not: the last one is hardly ever full.
    fn missing(&self, progress: &Progress, left: &Forecast) -> f64 {
        let members = left.sent + progress.in_state(EntryState::Batched);
        let counted = left.requests.sending + progress.accepted + progress.in_doubt;
        (counted as f64 - members as f64 / self.terms.batch_size).max(0.0)
    }

    /// The share of what it takes to settle a batch that depends on its size.
    fn read_back_share(&self) -> f64 {
        self.expected.read_backs / self.expected.settling()
    }

    /// How many seconds the rest of the batches takes to be sent, where that is what the others wait for.
    fn sending(&self, left: &Forecast, work: &Work) -> f64 {
        let backlog = work.resolved as f64 / self.terms.batch_size + work.sealed as f64;
        match self.sends.rate() {
            Some(rate) if backlog > BACKLOG && self.last.0.sent >= SENDS_AT_LEAST => {
                left.requests.sending as f64 / rate
            }
            _ => 0.0,
        }
    }

    /// The share of the time that 429s have taken.
    fn halted(&self, progress: &Progress) -> f64 {
        let spent = &progress.spent;
        let halted = spent.on(Cause::SlowDown).as_secs_f64();
        let well = spent
            .total()
            .saturating_sub(spent.on(Cause::Outage))
            .as_secs_f64();
        if well > 0.0 { (halted / well).min(0.9) } else { 0.0 }
    }

    /// How many seconds the last batches take to be settled, from now or, once all are sent, from then on.
    fn settling(&mut self, progress: &Progress, unsent: bool) -> f64 {
        if self.terms.dry_run && progress.accepted == 0 {
            return 0.0;
        }
        if unsent {
            self.all_sent = None;
        }
        let usual =
            (SETTLING_SECONDS + progress.spent.rested.as_secs_f64()) / (1.0 + progress.settled as f64);
        let since = match unsent {
            true => progress.elapsed,
            false => *self.all_sent.get_or_insert(progress.elapsed),
        };
        (usual - (progress.elapsed - since).as_secs_f64()).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::Confirm;
    use crate::model::way::Sample;

    const TICK: Duration = Duration::from_millis(200);

    /// A job at ten requests a second in which each group of a hundred emails leaves ten to be asked for alone,
    /// and nothing is sent. Returns by how much the end was told wrongly from the first tenth on, as a share; while
    /// the tenant is away for a minute nothing is asked of the meter.
    fn groups(entries: u64, outage: bool) -> f64 {
        let terms = Terms {
            way: Way::Many { group: 100 },
            batch_size: 298.0,
            room: None,
            dry_run: true,
        };
        let mut progress = Progress {
            entries: [entries, 0, 0, 0, 0, 0, 0],
            ..Progress::default()
        };
        let mut seen = Seen::default();
        let expected = Costs::expected(&Sample::default(), Confirm::Sample, 300, terms.way);
        let mut meter = Meter::new(&progress, seen, terms, expected);
        let away = if outage { 60.0 } else { 0.0 };
        let end = entries as f64 * 11.0 / 100.0 / 10.0 + away;
        let mut wrong = 0.0_f64;
        while progress.in_state(EntryState::Pending) > 0 {
            let now = progress.elapsed.as_secs_f64();
            if outage && now >= 20.0 && progress.spent.on(Cause::Outage).is_zero() {
                progress.spent.add(Cause::Outage, Duration::from_secs(60));
            }
            progress.spent.add(Cause::Rate, TICK);
            progress.elapsed = progress.spent.total();
            for _ in 0..2 {
                seen.requests += 1;
                seen.lookups += 1;
                let found = if seen.lookups % 11 == 1 { 90 } else { 1 };
                for _ in 0..found {
                    progress.moved(EntryState::Pending, EntryState::Resolved);
                }
            }
            meter.update(&mut progress, seen);
            let now = progress.elapsed.as_secs_f64();
            if let Some(left) = progress.left
                && now > away + end / 10.0
            {
                wrong = wrong.max((now + left.as_secs_f64() - end).abs() / end);
            }
        }
        wrong
    }

    #[test]
    fn groups_that_leave_some_to_be_asked_for_alone_are_reckoned_with() {
        let wrong = groups(100_000, false);
        assert!(wrong < 0.05, "{wrong}");
    }

    #[test]
    fn a_halt_that_is_on_is_waited_for() {
        let terms = Terms {
            way: Way::One,
            batch_size: 298.0,
            room: None,
            dry_run: true,
        };
        let mut progress = Progress {
            entries: [100, 0, 0, 0, 0, 0, 0],
            ..Progress::default()
        };
        let expected = Costs::expected(&Sample::default(), Confirm::Sample, 300, terms.way);
        let mut meter = Meter::new(&progress, Seen::default(), terms, expected);
        progress.spent.add(Cause::Rate, Duration::from_secs(5));
        progress.elapsed = progress.spent.total();
        progress.entries = [50, 0, 0, 0, 50, 0, 0];
        let held = Duration::from_secs(30);
        let seen = Seen {
            requests: 50,
            lookups: 50,
            held,
            ..Seen::default()
        };
        meter.update(&mut progress, seen);
        assert_eq!(progress.left.map(|left| left.as_secs()), Some(35));
    }

    #[test]
    fn an_outage_is_no_part_of_the_pace() {
        let wrong = groups(20_000, true);
        assert!(wrong < 0.05, "{wrong}");
    }
}

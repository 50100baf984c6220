//! The shell around the coordinator: it carries commands out as tasks, brings their reports back, and tells
//! the outside how far things are. It decides nothing.

use super::adoption::outlast_original;
use super::commands::{Command, Report};
use super::context::{Context, Halt, RunSettings};
use super::coordinator::{Bounds, Coordinator, Left};
use super::doubt::Cleared;
use super::event::{Event, Events, Progress, count_batches};
use super::known::Known;
use super::limits::{GRACE, about};
use super::listing::note_baseline;
use super::lists::Comparison;
use super::meter::{Meter, Seen};
use super::polls::Polls;
use super::processing::Processing;
use super::readback::Together;
use super::retry::retry_accepted;
use super::send::Sent;
use super::settle::Settled;
use super::tasks::Done;
use super::witness::Witnesses;
use super::{doubt, settle, tasks};
use crate::api::{Paced, Tenant};
use crate::ledger::{Counts, LedgerError, RunReport, Writer, now_ms};
use crate::model::batch::BatchState;
use crate::model::doubt::maximum_request_lifetime;
use crate::model::entry::EntryState;
use crate::model::ids::Job;
use crate::model::resume::{self, ResumeStep};
use crate::model::spent::Spent;
use crate::model::way::Way;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// What follows where the budget of all processes on this host cannot be shared.
pub const ALONE: &str = "so this run keeps its own rate, whatever others on this host send";

/// Between the first two reports that `status` can read, and between later ones: each is a write.
const FIRST_REPORT_INTERVAL: Duration = Duration::from_secs(2);
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Between two signs of life.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// How long a batch may take before people are told that it is waited for.
const SLOW: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// Everything is settled, or, in a dry run, looked up.
    Done,
    /// Nothing stopped it, and work is left all the same: a later run goes on.
    Unfinished(Left),
    /// Something stopped it before the end: a later run goes on.
    Halted(Halt),
}

/// What a run has to say when it is over.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// How things stand.
    pub progress: Progress,
}

/// Goes on with a job until nothing is left to do or something stops it.
///
/// `counts` is how the ledger stands. `stop_requested` becomes true when somebody wants it to stop.
pub async fn run<T: Tenant>(
    tenant: Paced<T>,
    ledger: Writer,
    job: Job,
    settings: RunSettings,
    counts: &Counts,
    events: Events,
    stop_requested: watch::Receiver<bool>,
) -> Result<Outcome, LedgerError> {
    let (halting, stop) = watch::channel(false);
    let together = Together::new(settings.way.group(), job.action);
    let context = Context {
        tenant: tenant.spelled(),
        ledger,
        job: Arc::new(job),
        settings: Arc::new(settings),
        events,
        handles_checked: Arc::default(),
        together,
        known: Known::default(),
        comparison: Comparison::default(),
        usual_time: Arc::default(),
        overslept: Arc::default(),
        lifetime_ends: Arc::default(),
        settle_ends: Arc::default(),
        processing: Processing::default(),
        polls: Polls::default(),
        useless_polls: Arc::default(),
        useless_looks: Arc::default(),
        calibrated: Arc::default(),
        witnesses: Witnesses::default(),
        asked: Arc::default(),
        stop,
    };
    let mut progress = Progress::default();
    for (state, _, entries) in &counts.rows {
        progress.entries[state.code() as usize] += entries;
    }
    let mut shell = Shell {
        coordinator: Coordinator::new(bounds(&context, &progress, true), 0, Vec::new(), Vec::new()),
        tasks: JoinSet::new(),
        meter: Meter::of(&context, &progress),
        closed: None,
        told_alone: false,
        reported: None,
        spent_before: context.tenant.gate().spent(),
        progress,
        context,
        stop_requested,
        halting,
    };
    if let Err(halt) = shell.begin().await {
        shell.coordinator.stop(halt);
    }
    let ending = shell.ending();
    let word = match &ending {
        Ending::Done => "done",
        Ending::Unfinished(_) => "unfinished",
        Ending::Halted(_) => "halted",
    };
    let requests = shell.context.tenant.gate().view().requests;
    match shell.context.ledger.end_run(word, requests).await {
        // What was to be written by then is not there, whatever else ended the run: its figures would be wrong.
        Err(error) if !matches!(ending, Ending::Halted(Halt::Ledger(_))) => return Err(error),
        _ => {}
    }
    shell.refresh();
    shell.context.events.tell(Event::Progress(shell.progress.clone()));
    Ok(Outcome {
        ending,
        progress: shell.progress,
    })
}

/// Turns what the ledger holds into the coordinator's first work, by the resume plan.
async fn take_up<T: Tenant>(
    context: &Context<T>,
    progress: &mut Progress,
    settle_only: bool,
) -> Result<Coordinator, LedgerError> {
    (progress.accepted, progress.in_doubt, progress.held) = (0, 0, 0);
    let (mut sealed, mut to_settle) = (Vec::new(), Vec::new());
    let batches = context.ledger.open_batches().await?;
    count_batches(progress, batches.iter().map(|batch| batch.state));
    for batch in batches {
        match resume::step(batch.state) {
            ResumeStep::Send => sealed.push((batch.no, batch.size)),
            ResumeStep::Settle => to_settle.push(Command::Settle(batch.no)),
            ResumeStep::Doubt(event) => {
                if let Some(event) = event {
                    context.ledger.batch_event(batch.no, event).await?;
                }
                let (no, again) = (batch.no, batch.state == BatchState::Held);
                to_settle.push(Command::ClearUp { no, again });
            }
            ResumeStep::Leave => {}
        }
    }
    let resolved = progress.in_state(EntryState::Resolved);
    let bounds = bounds(context, progress, settle_only);
    Ok(Coordinator::new(bounds, resolved, sealed, to_settle))
}

fn bounds<T>(context: &Context<T>, progress: &Progress, settle_only: bool) -> Bounds {
    let scan = match context.settings.way {
        Way::Scan { pages, .. } if progress.in_state(EntryState::Pending) > 0 => Some(pages),
        _ => None,
    };
    Bounds {
        lookups: context.settings.concurrency,
        group: context.settings.way.group(),
        scan,
        batch_size: context.settings.batch_size,
        send_limit: context.settings.send_limit,
        dry_run: context.settings.dry_run,
        settle_only,
    }
}

struct Shell<T> {
    context: Context<T>,
    coordinator: Coordinator,
    tasks: JoinSet<Done>,
    progress: Progress,
    meter: Meter,
    /// What had been waited for when the run began.
    spent_before: Spent,
    /// When the time of the run was up.
    closed: Option<Instant>,
    /// Whether it was told that the budget is not shared any more.
    told_alone: bool,
    /// When the next report is due, and what the last one said of waiting. None before the first tick.
    reported: Option<(Instant, bool)>,
    stop_requested: watch::Receiver<bool>,
    /// Tells every task not to wait and not to ask on. Set by whatever stops the run, not by signals alone:
    /// a run that cannot go on must give the ledger back, and not poll and sleep until a deadline.
    halting: watch::Sender<bool>,
}

/// Returns once the wall clock says so, which may be set meanwhile.
async fn time_is_up(until_ms: Option<i64>) {
    let Some(until) = until_ms else {
        return std::future::pending().await;
    };
    while now_ms() < until {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
    }
}

impl<T: Tenant> Shell<T> {
    async fn begin(&mut self) -> Result<(), Halt> {
        if let Some(longest) = self.context.ledger.adoption().await? {
            self.adopt(longest).await?;
        }
        self.retry().await?;
        self.coordinator = take_up(&self.context, &mut self.progress, false).await?;
        let progress = self.progress.clone();
        self.context.events.tell(Event::Began { progress });
        let mut stop = self.stop_requested.clone();
        if !self.context.settings.dry_run {
            tokio::select! {
                biased;
                Ok(_) = stop.wait_for(|stopped| *stopped) => return Err(Halt::Stopped),
                () = self.context.tenant.gate().exhausted() => return Err(Halt::RequestsSpent),
                noted = note_baseline(&self.context) => noted?,
            }
        }
        self.work().await;
        Ok(())
    }

    /// Takes failed members of accepted batches up again, where a person decided so.
    async fn retry(&mut self) -> Result<(), Halt> {
        let Some(decision) = self.context.settings.retry.clone() else {
            return Ok(());
        };
        let mut stop = self.stop_requested.clone();
        let retried = tokio::select! {
            biased;
            Ok(_) = stop.wait_for(|stopped| *stopped) => return Err(Halt::Stopped),
            () = self.context.tenant.gate().exhausted() => return Err(Halt::RequestsSpent),
            () = time_is_up(self.context.settings.limits.until_ms) => return Err(Halt::TimeIsUp),
            retried = retry_accepted(&self.context, &decision) => retried?,
        };
        let states = [
            (retried.lacking, EntryState::Pending),
            (retried.showing, EntryState::Confirmed),
        ];
        for (entries, to) in states {
            (0..entries).for_each(|_| self.progress.moved(EntryState::Failed, to));
        }
        Ok(())
    }

    /// Settles everything that the original of a copied ledger may have sent, before anybody is looked up.
    ///
    /// What the original sent last may still be under way, in batches that this copy has never heard of: hence
    /// the waiting even where nothing is in doubt here.
    async fn adopt(&mut self, longest: Duration) -> Result<(), Halt> {
        let lifetime = maximum_request_lifetime(self.context.settings.quiet, longest, Duration::ZERO);
        self.context.events.notice(format!(
            "this ledger is a copy: nothing is sent for {}, because its original may have sent something",
            about(lifetime)
        ));
        self.coordinator = take_up(&self.context, &mut self.progress, true).await?;
        let context = self.context.clone();
        let (mut stop, mut halted) = (self.stop_requested.clone(), self.context.stop.clone());
        let until_ms = context.settings.limits.until_ms;
        let gate = context.tenant.gate().clone();
        let _resting = gate.rest();
        let waited = async {
            tokio::select! {
                biased;
                Ok(_) = stop.wait_for(|stopped| *stopped) => Err(Halt::Stopped),
                // There may be nothing to settle, and then nobody else minds what this asks.
                () = gate.exhausted() => Err(Halt::RequestsSpent),
                () = time_is_up(until_ms) => Err(Halt::TimeIsUp),
                // Whatever halted it is told below.
                Ok(_) = halted.wait_for(|halted| *halted) => Ok(()),
                outlasted = outlast_original(&context, lifetime) => outlasted,
            }
        };
        let (waited, ()) = tokio::join!(waited, self.work());
        if let Some(halt) = self.coordinator.halt() {
            return Err(halt.clone());
        }
        waited?;
        Ok(self.context.ledger.end_adoption().await?)
    }

    async fn work(&mut self) {
        let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut stop = self.stop_requested.clone();
        let gate = self.context.tenant.gate().clone();
        loop {
            self.mind_limits();
            for command in self.coordinator.commands() {
                self.carry_out(command);
            }
            if self.tasks.is_empty() {
                assert!(
                    self.coordinator.is_idle(),
                    "BUG: work is under way that nobody does"
                );
                return;
            }
            tokio::select! {
                // In order of urgency, and without chance, so that a simulation can repeat itself.
                biased;
                Ok(_) = stop.wait_for(|stopped| *stopped), if self.coordinator.halt().is_none() => {
                    self.coordinator.stop(Halt::Stopped);
                    self.heed_halt();
                }
                () = gate.exhausted(), if self.coordinator.halt().is_none() => {
                    self.coordinator.stop(Halt::RequestsSpent);
                    self.heed_halt();
                }
                _ = tick.tick() => {
                    self.refresh();
                    self.context.events.tell(Event::Progress(self.progress.clone()));
                    self.report().await;
                }
                Some(done) = self.tasks.join_next() => {
                    self.take_in(done);
                    // What else is done by now is decided about together, and written down together.
                    while let Some(done) = self.tasks.try_join_next() {
                        self.take_in(done);
                    }
                }
            }
        }
    }

    /// Keeps now and then how things stand, for `status` beside this run.
    async fn report(&mut self) {
        let (now, waiting) = (Instant::now(), self.progress.waiting.is_some());
        let Some((due, was_waiting)) = self.reported else {
            self.reported = Some((now + FIRST_REPORT_INTERVAL, waiting));
            return;
        };
        if now < due && (waiting == was_waiting || now + REPORT_INTERVAL < due + FIRST_REPORT_INTERVAL) {
            return;
        }
        self.reported = Some((now + REPORT_INTERVAL, waiting));
        let report = RunReport {
            requests: self.progress.requests,
            per_second: self.progress.per_second,
            remaining: self.progress.left,
            waiting: self.progress.waiting.clone(),
        };
        tracing::info!(
            requests = report.requests,
            per_second = report.per_second,
            remaining_s = report.remaining.map(|time| time.as_secs()),
            under_way = self.coordinator.under_way(),
            done = self.progress.done(),
            entries = self.progress.total(),
            waiting = report.waiting,
            "progress"
        );
        // A ledger that cannot be written stops the run by its next other write, which is one that matters.
        let _ = self.context.ledger.report(report).await;
    }

    /// Tells the coordinator what it may still begin.
    fn mind_limits(&mut self) {
        let limits = self.context.settings.limits;
        let allowance = &mut self.coordinator.allowance;
        if let Some(most) = limits.requests {
            let made = self.context.tenant.gate().view().requests;
            allowance.requests = Some(most.saturating_sub(made));
            allowance.batch = self.meter.batch_cost(&self.progress);
        }
        let now = now_ms();
        if limits.until_ms.is_some_and(|until| until <= now) {
            allowance.time_is_up = true;
            let closed = *self.closed.get_or_insert_with(|| {
                let line = "--until is reached: finishing what was begun";
                self.context.events.notice(line);
                Instant::now()
            });
            if closed.elapsed() >= GRACE {
                self.coordinator.stop(Halt::TimeIsUp);
                self.heed_halt();
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        let span = match &command {
            Command::Send(no) | Command::Settle(no) | Command::ClearUp { no, .. } => {
                tracing::info_span!("batch", no = no.0)
            }
            _ => Span::current(),
        };
        let work = tasks::carry_out(self.context.clone(), command);
        self.tasks.spawn(work.instrument(span));
    }

    fn take_in(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let done = done.unwrap_or_else(|error| match error.try_into_panic() {
            // A broken invariant in a task is one of the run.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("BUG: a task was cancelled"),
        });
        done.change.count_in(&mut self.progress);
        self.tell(&done);
        self.coordinator.handle(done.report);
        for notice in self.coordinator.notices() {
            self.context.events.notice(notice);
        }
        self.heed_halt();
    }

    /// Passes on, once, that the coordinator takes no new work any more.
    fn heed_halt(&mut self) {
        if let Some(halt) = self.coordinator.halt()
            && !self.halting.send_replace(true)
        {
            self.context.events.tell(Event::Stopping {
                as_asked: matches!(halt, Halt::Stopped),
                why: halt.to_string(),
                under_way: self.coordinator.under_way(),
            });
        }
    }

    fn tell(&self, done: &Done) {
        let events = &self.context.events;
        match &done.report {
            Report::Sent(no, members, Sent::InDoubt(why)) => events.notice(format!(
                "batch {no} ({members} profiles) is in doubt: {why}; it is sent again only if it never arrived"
            )),
            Report::Sent(no, _, Sent::Refused { failed, regrouped, reason, too_large }) => {
                events.notice(if *too_large {
                    format!("batch {no} is too large for the tenant: sending it in {} parts", regrouped.len().max(1))
                } else {
                    format!("batch {no} was refused ({reason}): {failed} of its entries failed")
                });
            }
            Report::Cleared(no, cleared) => events.notice(match cleared {
                Cleared::Found => format!("batch {no} is in the tenant's list: it arrived"),
                Cleared::Reached(..) => format!("all profiles of batch {no} show the change: it arrived"),
                Cleared::Absent(_) => {
                    format!("batch {no} never arrived and no longer can: sending it again")
                }
                Cleared::Held(why) => format!("batch {no} awaits a ruling: {why}"),
            }),
            Report::Settled(no, Settled::StillApplying(why)) => {
                events.notice(format!("batch {no} is left for a later run: {why}"));
            }
            Report::Settled(no, Settled::Done { failed, .. }) if *failed > 0 => {
                events.notice(format!("{failed} profiles of batch {no} do not show the change"));
            }
            _ => {}
        }
    }

    fn refresh(&mut self) {
        let gate = self.context.tenant.gate();
        let view = gate.view();
        self.progress.spent = gate.spent().since(&self.spent_before);
        self.progress.elapsed = self.progress.spent.total();
        let now = Instant::now();
        let seen = Seen {
            room: self.coordinator.room(),
            alone: self.coordinator.alone(),
            once_more: self.coordinator.once_more(),
            undecided: self.coordinator.undecided(),
            pages_left: self.coordinator.pages_left(),
            ..Seen::at(&view, now)
        };
        self.meter.update(&mut self.progress, seen);
        if let Some(why) = view
            .alone
            .filter(|_| !std::mem::replace(&mut self.told_alone, true))
        {
            self.context.events.notice(format!("{why}; {ALONE}"));
        }
        let pause = view.pause.filter(|pause| pause.until > now).map(|pause| {
            let seconds = (pause.until - now).as_secs() + 1;
            format!("{}; next try in {seconds} s", pause.why)
        });
        self.progress.waiting = pause.or_else(|| self.awaited(now));
    }

    /// What is waited for where nothing is left to do but to look at batches.
    fn awaited(&self, now: Instant) -> Option<String> {
        if !self.coordinator.is_waiting_for_doubts() {
            return None;
        }
        let batches = |number: usize| if number == 1 { "batch" } else { "batches" };
        let doubts = doubt::lifetime_ends(&self.context);
        if let Some(first) = doubts.values().filter(|end| **end > now).min() {
            let (number, time) = (doubts.len(), about(*first - now));
            return Some(format!(
                "{number} {} in doubt: decided in {time} or more; sooner if evidence appears",
                batches(number)
            ));
        }
        let accepted = settle::settle_ends(&self.context);
        let deadline = self.context.settings.settle_deadline;
        let slow = accepted
            .values()
            .filter(|end| **end > now && **end + SLOW <= now + deadline);
        let (number, time) = (slow.clone().count(), about(*slow.max()? - now));
        Some(format!(
            "{number} accepted {} to show the change, for {time} at most (--settle-deadline)",
            batches(number)
        ))
    }

    fn ending(&self) -> Ending {
        match self.coordinator.halt() {
            Some(halt) => Ending::Halted(halt.clone()),
            None => self.coordinator.left().map_or(Ending::Done, Ending::Unfinished),
        }
    }
}

//! The shell around the coordinator: it carries commands out as tasks, brings their reports back, and tells
//! the outside how far things are. It decides nothing.

use super::context::{Context, Halt, RunSettings};
use super::coordinator::{Bounds, Command, Coordinator, Left, REFILL_ENTRIES, Report, Work};
use super::event::{Event, Events, Progress, count_batches};
use super::send::Sent;
use super::settle::Settled;
use super::{resolve, send, settle};
use crate::api::{Paced, Tenant};
use crate::ledger::{Counts, LedgerError, Writer};
use crate::model::batch::BatchState;
use crate::model::entry::EntryState;
use crate::model::ids::{BatchNo, EntryId, Job};
use crate::model::lookup::Verdict;
use crate::model::resume::{self, ResumeStep};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Between two signs of life.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

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
    let context = Context {
        tenant,
        ledger,
        job: Arc::new(job),
        settings: Arc::new(settings),
        events,
        stop,
    };
    let mut progress = Progress::default();
    for (state, _, entries) in &counts.rows {
        progress.entries[state.code() as usize] += entries;
    }
    let coordinator = take_up(&context, &mut progress).await?;
    let mut shell = Shell {
        coordinator,
        tasks: JoinSet::new(),
        meter: Meter::new(&progress),
        progress,
        context,
        stop_requested,
        halting,
    };
    shell.context.events.tell(Event::Began {
        progress: shell.progress.clone(),
    });
    shell.work().await;
    let ending = shell.ending();
    let word = match &ending {
        Ending::Done => "done",
        Ending::Unfinished(_) => "unfinished",
        Ending::Halted(_) => "halted",
    };
    match shell.context.ledger.end_run(word).await {
        // A ledger that cannot be written is what halted the run; that is the better story.
        Err(error) if !matches!(ending, Ending::Halted(_)) => return Err(error),
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
) -> Result<Coordinator, LedgerError> {
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
                to_settle.push(match batch.state {
                    BatchState::Held => Command::LookAgain(batch.no),
                    _ => Command::ClearUp(batch.no),
                });
            }
            ResumeStep::Leave => {}
        }
    }
    let mut resolved = Vec::new();
    loop {
        let after = resolved.last().copied().unwrap_or(EntryId(0));
        let more = context.ledger.resolved_after(after, REFILL_ENTRIES).await?;
        let last = more.len() < REFILL_ENTRIES;
        resolved.extend(more);
        if last {
            break;
        }
    }
    let bounds = Bounds {
        lookups: context.settings.concurrency,
        batch_size: context.settings.batch_size,
        send_limit: context.settings.send_limit,
        dry_run: context.settings.dry_run,
    };
    Ok(Coordinator::new(bounds, resolved, sealed, to_settle))
}

struct Shell<T> {
    context: Context<T>,
    coordinator: Coordinator,
    tasks: JoinSet<Done>,
    progress: Progress,
    meter: Meter,
    stop_requested: watch::Receiver<bool>,
    /// Tells every task not to wait and not to ask on. Set by whatever stops the run, not by signals alone:
    /// a run that cannot go on must give the ledger back, and not poll and sleep until a deadline.
    halting: watch::Sender<bool>,
}

/// What a task brings back: the report, and what it changes in the numbers.
struct Done {
    report: Report,
    change: Change,
}

enum Change {
    None,
    LookedUp(EntryState),
    Sealed(usize),
    Accepted,
    Doubted,
    Refused { failed: usize },
    Settled { from_doubt: bool, settled: Settled },
}

impl<T: Tenant> Shell<T> {
    async fn work(&mut self) {
        let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut stop = self.stop_requested.clone();
        loop {
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
                Some(done) = self.tasks.join_next() => self.take_in(done),
                _ = tick.tick() => {
                    self.refresh();
                    self.context.events.tell(Event::Progress(self.progress.clone()));
                }
                Ok(_) = stop.wait_for(|stopped| *stopped), if self.coordinator.halt().is_none() => {
                    self.coordinator.stop(Halt::Stopped);
                    self.heed_halt();
                }
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        let context = self.context.clone();
        match command {
            Command::Refill(after) => self.tasks.spawn(async move { refill(&context, after).await }),
            Command::LookUp(entry) => self.tasks.spawn(async move { look_up(&context, entry).await }),
            Command::Seal(members) => self.tasks.spawn(async move { seal(&context, members).await }),
            Command::Send(no) => self.tasks.spawn(async move { send_batch(&context, no).await }),
            Command::Settle(no) => self
                .tasks
                .spawn(async move { settled(no, false, settle::settle(&context, no).await) }),
            Command::ClearUp(no) => self.tasks.spawn(async move {
                let time = context.settings.settle_deadline;
                settled(no, true, settle::clear_up(&context, no, time).await)
            }),
            Command::LookAgain(no) => self.tasks.spawn(async move {
                settled(no, true, settle::clear_up(&context, no, Duration::ZERO).await)
            }),
        };
    }

    fn take_in(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let done = done.unwrap_or_else(|error| match error.try_into_panic() {
            // A broken invariant in a task is one of the run.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("BUG: a task was cancelled"),
        });
        self.count(&done.change);
        self.tell(&done);
        self.coordinator.handle(done.report);
        self.heed_halt();
    }

    /// Passes on, once, that the coordinator takes no new work any more.
    fn heed_halt(&mut self) {
        if let Some(halt) = self.coordinator.halt()
            && !self.halting.send_replace(true)
        {
            self.context.events.tell(Event::Stopping {
                why: halt.to_string(),
                under_way: self.coordinator.under_way(),
            });
        }
    }

    fn count(&mut self, change: &Change) {
        let progress = &mut self.progress;
        let mut moved = |from, to, members: usize| (0..members).for_each(|_| progress.moved(from, to));
        match change {
            Change::None => {}
            Change::LookedUp(to) => moved(EntryState::Pending, *to, 1),
            Change::Sealed(members) => moved(EntryState::Resolved, EntryState::Batched, *members),
            Change::Accepted => progress.accepted += 1,
            Change::Doubted => progress.in_doubt += 1,
            Change::Refused { failed } => moved(EntryState::Batched, EntryState::Failed, *failed),
            Change::Settled { from_doubt, settled } => {
                match settled {
                    Settled::Done { confirmed, failed } => {
                        moved(EntryState::Batched, EntryState::Confirmed, *confirmed);
                        moved(EntryState::Batched, EntryState::Failed, *failed);
                    }
                    Settled::StillApplying(_) => return,
                    Settled::Held(_) => progress.held += 1,
                }
                if *from_doubt {
                    progress.in_doubt -= 1;
                } else {
                    progress.accepted -= 1;
                }
            }
        }
    }

    fn tell(&self, done: &Done) {
        let events = &self.context.events;
        match &done.report {
            Report::Sent(no, members, Sent::InDoubt(why)) => events.notice(format!(
                "batch {no} ({members} profiles) is in doubt: {why}; its profiles are read back, it is not sent again"
            )),
            Report::Sent(no, _, Sent::Refused { failed, regrouped, reason, too_large }) => {
                events.notice(if *too_large {
                    format!("batch {no} is too large for the tenant; it is sent in {} parts", regrouped.len().max(1))
                } else {
                    format!("batch {no} was refused ({reason}); {failed} of its entries failed")
                });
            }
            Report::Settled(no, Settled::Held(why)) => events.notice(format!("batch {no} is held: {why}")),
            Report::Settled(no, Settled::StillApplying(why)) => {
                events.notice(format!("batch {no} is left for later: {why}"));
            }
            Report::Settled(no, Settled::Done { failed, .. }) if *failed > 0 => {
                events.notice(format!("{failed} profiles of batch {no} do not show the change"));
            }
            _ => {}
        }
    }

    fn refresh(&mut self) {
        let view = self.context.tenant.gate().view();
        self.meter.update(&mut self.progress, view.requests);
        let now = Instant::now();
        self.progress.waiting = view.pause.filter(|pause| pause.until > now).map(|pause| {
            let seconds = (pause.until - now).as_secs() + 1;
            format!("{}; next try in {seconds} s", pause.why)
        });
    }

    fn ending(&self) -> Ending {
        match self.coordinator.halt() {
            Some(halt) => Ending::Halted(halt.clone()),
            None if self.context.settings.dry_run => Ending::Done,
            None => self.coordinator.left().map_or(Ending::Done, Ending::Unfinished),
        }
    }
}

async fn refill<T: Tenant>(context: &Context<T>, after: EntryId) -> Done {
    match context.ledger.pending_after(after, REFILL_ENTRIES).await {
        Ok(entries) => Done {
            report: Report::Refilled(entries),
            change: Change::None,
        },
        Err(error) => halted(Work::Refill, error.into()),
    }
}

async fn look_up<T: Tenant>(context: &Context<T>, entry: crate::ledger::PendingEntry) -> Done {
    let id = entry.id;
    let verdict = match resolve::look_up(context, &entry).await {
        Ok(verdict) => verdict,
        Err(halt) => return halted(Work::LookUp, halt),
    };
    let mut state = match &verdict {
        Verdict::Resolved { .. } => EntryState::Resolved,
        Verdict::Skipped { .. } => EntryState::Skipped,
        Verdict::Ambiguous { .. } => EntryState::Ambiguous,
        Verdict::Failed { .. } => EntryState::Failed,
    };
    match context.ledger.lookup(id, verdict).await {
        Ok(None) => {}
        // The ledger knows what a single look-up cannot: that another entry has led to the same profile.
        Ok(Some(_)) => state = EntryState::Skipped,
        Err(error) => return halted(Work::LookUp, error.into()),
    }
    Done {
        report: Report::LookedUp(id, state == EntryState::Resolved),
        change: Change::LookedUp(state),
    }
}

async fn seal<T: Tenant>(context: &Context<T>, members: Vec<EntryId>) -> Done {
    let size = members.len();
    match context.ledger.seal(members).await {
        Ok(no) => Done {
            report: Report::Sealed(no, size),
            change: Change::Sealed(size),
        },
        Err(error) => halted(Work::Seal(size), error.into()),
    }
}

async fn send_batch<T: Tenant>(context: &Context<T>, no: BatchNo) -> Done {
    match send::send(context, no).await {
        Ok((members, sent)) => Done {
            change: match &sent {
                Sent::Accepted => Change::Accepted,
                Sent::InDoubt(_) => Change::Doubted,
                Sent::Refused { failed, .. } => Change::Refused { failed: *failed },
            },
            report: Report::Sent(no, members, sent),
        },
        Err(halt) => halted(Work::Send, halt),
    }
}

fn settled(no: BatchNo, from_doubt: bool, settled: Result<Settled, Halt>) -> Done {
    match settled {
        Ok(settled) => Done {
            change: Change::Settled {
                from_doubt,
                settled: settled.clone(),
            },
            report: Report::Settled(no, settled),
        },
        Err(halt) => halted(Work::Settle, halt),
    }
}

fn halted(work: Work, halt: Halt) -> Done {
    Done {
        report: Report::Halted(work, halt),
        change: Change::None,
    }
}

/// Speed and time left, from what this run has seen of itself.
struct Meter {
    began: Instant,
    done_before: u64,
    /// (when, requests) over the last seconds.
    samples: std::collections::VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Over how long the speed is averaged.
    const SPAN: Duration = Duration::from_secs(5);

    fn new(progress: &Progress) -> Self {
        Self {
            began: Instant::now(),
            done_before: Self::weight(progress),
            samples: std::collections::VecDeque::new(),
        }
    }

    /// Work done, in about requests: nearly all of them are look-ups, one an entry.
    fn weight(progress: &Progress) -> u64 {
        progress.total() - progress.in_state(EntryState::Pending)
    }

    fn update(&mut self, progress: &mut Progress, requests: u64) {
        let now = Instant::now();
        self.samples.push_back((now, requests));
        while self.samples.front().is_some_and(|(at, _)| now - *at > Self::SPAN) {
            self.samples.pop_front();
        }
        if let Some((at, before)) = self.samples.front()
            && now > *at
        {
            progress.per_second = (requests - before) as f64 / (now - *at).as_secs_f64();
        }
        progress.requests = requests;
        progress.elapsed = now - self.began;
        let done = Self::weight(progress) - self.done_before;
        let pending = progress.in_state(EntryState::Pending);
        let enough = done >= 20 && progress.elapsed > Duration::from_secs(1);
        progress.left =
            (enough && pending > 0).then(|| progress.elapsed.mul_f64(pending as f64 / done as f64));
    }
}

//! `load`, `assign`, `remove` and `resume`: everything that writes to a ledger.
//!
//! The order is what a user may rely on. First everything that can be refused without touching anything: the
//! settings, the lists' paths, the ledger's job. Then the tenant is asked, and only then is a ledger made. The
//! lists are taken in and the job is pinned in one transaction, which is kept only once somebody has said yes.

use super::args::{Common, ConnectionArgs, JobArgs, LoadArgs, ResumeArgs, RunArgs};
use super::asking::asking;
use super::error::{Failure, Kind, shown};
use super::export::free_name;
use super::lists::refuse_unnamed;
use super::reckon::reckon;
use super::retry::Retry;
use super::reuse::Reuse;
use super::{ending, settings, signals};
use crate::api::Paced;
use crate::api::client::Client;
use crate::audit::summary::Summary;
use crate::input::{Reading, Source};
use crate::ledger::{Forgotten, Ledger, LedgerError, ListRow, Loading, Reader, SentProfile, tell_of_waiting};
use crate::model::chosen::{Chosen, RunOptions};
use crate::model::entry::EntryState;
use crate::model::forecast::Work;
use crate::model::ids::{Action, Job};
use crate::model::spent::CommandTime;
use crate::model::text::{printable_json, printable_lines};
use crate::runner::context::{Halt, RunSettings};
use crate::runner::event::{Event, Events};
use crate::runner::ingest::ingest;
use crate::runner::pilot;
use crate::runner::plan;
use crate::runner::preflight;
use crate::runner::run::{self, Ending, Outcome};
use crate::ui::command::name_ledger;
use crate::ui::format::counted;
use crate::ui::plan::text as plan_text;
use crate::ui::{Mode, Screen, say, summary};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use tracing::Instrument;

/// Becomes true when somebody wants the run to stop.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// `load`: lists into the ledger, offline.
pub fn load(args: &LoadArgs, common: &Common) -> Result<ExitCode, Failure> {
    let sources = settings::sources(&args.lists)?;
    let runtime = settings::runtime()?;
    let stop = runtime.block_on(async { signals::stop_on_signals() });
    let screen = Screen::open(settings::mode(common.progress, common.quiet), common.verbose);
    let _told = WaitingTold::on(&screen, common);
    let mut ledger = open_or_create(&common.ledger, "load")?;
    let loaded = take_in(
        &mut ledger,
        &sources,
        &args.reading.reading(),
        &screen.events(),
        &stop,
    );
    screen.close();
    if let Err(failure) = loaded {
        ledger.abandon();
        return Err(failure);
    }
    drop(ledger);
    if !common.quiet {
        print_summary(&common.ledger, false)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn take_in(
    ledger: &mut Ledger,
    sources: &[Source],
    reading: &Reading,
    events: &Events,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut loading = ledger.begin_load()?;
    ingest_all(&mut loading, sources, reading, events, stop)?;
    Ok(loading.commit()?)
}

fn ingest_all(
    loading: &mut Loading<'_>,
    sources: &[Source],
    reading: &Reading,
    events: &Events,
    stop: &Stop,
) -> Result<(), Failure> {
    for source in sources {
        ingest(source, reading, loading, events, &|| *stop.borrow())?;
    }
    Ok(())
}

/// `assign` and `remove`.
pub fn start(action: Action, args: &JobArgs, common: &Common) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let sources = settings::sources(&args.lists)?;
    let ledger = settings::open_ledger(&common.ledger, action.as_str())?;
    let copied = check_place(ledger.as_ref(), &args.run, common)?;
    let pinned = ledger.as_ref().map(Ledger::job).transpose()?.flatten();
    let before = ledger.as_ref().map(Ledger::chosen).transpose()?.flatten();
    let base = settings::base_url(
        &args.connection,
        pinned.as_ref().map(|pinned| pinned.job.tenant.as_str()),
    )?;
    let job = settings::job(action, &args.status, &base)?;
    if let Some(pinned) = &pinned {
        pinned.same_as(&job)?;
    }
    if sources.is_empty()
        && ledger
            .as_ref()
            .map(Ledger::counts)
            .transpose()?
            .is_none_or(|counts| counts.total() == 0)
    {
        return Err(no_list(action.as_str(), &job));
    }
    let undertaking = Undertaking {
        verb: action.as_str(),
        job,
        sources: &sources,
        reading: args.reading.reading(),
        all_lists: args.all_lists || sources.is_empty(),
        run: &args.run,
        chosen: settings::chosen(&args.run, before),
        connection: &args.connection,
        common,
        retry: None,
        copied,
        began,
    };
    undertaking.carry_out(ledger)
}

/// `resume`.
pub fn resume(args: &ResumeArgs, common: &Common) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let Some(ledger) = settings::open_ledger(&common.ledger, "resume")? else {
        return Err(LedgerError::Missing(common.ledger.clone()).into());
    };
    let copied = check_place(Some(&ledger), &args.run, common)?;
    let counts = ledger.counts()?;
    let Some(pinned) = ledger.job()?.filter(|_| counts.total() > 0) else {
        if counts.total() == 0 {
            return Err(Failure::new(
                Kind::Usage,
                "the ledger has no list, so there is nothing to resume",
            )
            .hint("`rollbook assign --status HANDLE customers.csv` names one"));
        }
        return Err(Failure::new(
            Kind::Usage,
            "the ledger has lists but no job yet, so there is nothing to resume",
        )
        .hint("`rollbook assign --status HANDLE` begins a job with those lists"));
    };
    let base = settings::base_url(&args.connection, Some(&pinned.job.tenant))?;
    let mut job = pinned.job.clone();
    job.tenant = base.to_string();
    pinned.same_as(&job)?;
    let undertaking = Undertaking {
        verb: "resume",
        job,
        sources: &[],
        reading: Reading::default(),
        all_lists: true,
        run: &args.run,
        chosen: settings::chosen(&args.run, ledger.chosen()?),
        connection: &args.connection,
        common,
        retry: Retry::of(args, &ledger)?,
        copied,
        began,
    };
    undertaking.carry_out(Some(ledger))
}

/// A job that is to be begun or gone on with.
struct Undertaking<'a> {
    verb: &'static str,
    job: Job,
    sources: &'a [Source],
    reading: Reading,
    /// Whether lists that are in the ledger already and not named now are meant as well.
    all_lists: bool,
    run: &'a RunArgs,
    /// What holds for this run, and for the job from then on.
    chosen: Chosen,
    connection: &'a ConnectionArgs,
    common: &'a Common,
    /// What is tried again, where anything is.
    retry: Option<Retry>,
    /// Why the ledger is a copy, where it is one and is to be adopted.
    copied: Option<String>,
    /// When the command began.
    began: Instant,
}

impl Undertaking<'_> {
    fn carry_out(&self, ledger: Option<Ledger>) -> Result<ExitCode, Failure> {
        let token = settings::token(self.connection)?;
        let base = settings::base_url(self.connection, Some(&self.job.tenant))?;
        // Refused before anybody is asked and anything is written; what is taken is what stands there later.
        Reuse::open(&self.run.reuse, &self.common.ledger, &self.job)?;
        let runtime = settings::runtime()?;
        let mode = settings::mode(self.common.progress, self.common.quiet);
        let screen = Screen::open(mode, self.common.verbose);
        let _told = WaitingTold::on(&screen, self.common);
        let pace = settings::pace(self.run, &self.chosen);
        let outcome = runtime.block_on(async {
            let stop = signals::stop_on_signals();
            let budget = settings::budget(&base).map_err(|why| {
                screen.events().notice(format!("{why}; {}", run::ALONE));
            });
            let tenant = settings::tenant(&base, &token, pace, budget.ok())?;
            if let Some(most) = self.run.max_requests {
                tenant.gate().limit(most);
            }
            let checked = preflight::check(&tenant, &self.job);
            asking(
                &tenant,
                preflight::ABOUT_REQUESTS,
                (&screen.events(), &stop),
                checked,
            )
            .await?;
            let ledger = match ledger {
                Some(ledger) => ledger,
                None => settings::create_ledger(&self.common.ledger, self.verb)?,
            };
            let (ledger, run_settings) = self.agree(ledger, &tenant, &screen, mode, &stop).await?;
            self.work(ledger, run_settings, tenant, screen.events(), stop)
                .await
        });
        screen.close();
        let (outcome, time, sent) = outcome?;
        self.conclude(outcome, &time, sent)
    }

    /// Takes the lists in, says what will be done, asks, and keeps the load and the job if the answer is yes.
    async fn agree(
        &self,
        mut ledger: Ledger,
        tenant: &Paced<Client>,
        screen: &Screen,
        mode: Mode,
        stop: &Stop,
    ) -> Result<(Ledger, RunSettings), Failure> {
        let run_settings = match self
            .take_in_and_ask(&mut ledger, tenant, screen, mode, stop)
            .await
        {
            Ok(run_settings) => run_settings,
            Err(failure) => {
                ledger.abandon();
                return Err(failure);
            }
        };
        match &self.copied {
            Some(why) => ledger.adopt(why)?,
            None => ledger.claim()?,
        }
        if let Some(notice) = ledger.notice() {
            screen.events().notice(notice);
        }
        Ok((ledger, run_settings))
    }

    async fn take_in_and_ask(
        &self,
        ledger: &mut Ledger,
        tenant: &Paced<Client>,
        screen: &Screen,
        mode: Mode,
        stop: &Stop,
    ) -> Result<RunSettings, Failure> {
        let confirmed = ledger.job()?.map_or(0, |pinned| pinned.confirmed_entries);
        let kept = ledger.chosen()?.map_or(String::new(), |_| self.chosen.flags());
        if !kept.is_empty() {
            screen
                .events()
                .notice(format!("this job keeps its options: {kept}"));
        }
        let mut work = Work {
            resolved: ledger.counts()?.in_state(EntryState::Resolved),
            ..plan::open_batches(&ledger.batch_counts()?)
        };
        // What the original of a copy may have sent is settled as it stands.
        let is_copy = self.copied.is_some() || ledger.is_adopting()?;
        let mut loading = ledger.begin_load()?;
        if !is_copy {
            let forgotten = loading.forget_lookups(self.run.lookup_age)?;
            work.resolved = forgotten.resolved;
            work.sealed = work.sealed.saturating_sub(forgotten.batches);
            tell_forgotten(forgotten, &screen.events());
        }
        ingest_all(&mut loading, self.sources, &self.reading, &screen.events(), stop)?;
        if self.run.yes && !self.run.dry_run && !self.all_lists {
            refuse_unnamed(&loading.unnamed(confirmed)?)?;
        }
        let reused = self.reuse(&mut loading, &screen.events(), stop)?;
        if let Some(retry) = &self.retry {
            retry.take_up(&mut loading, &screen.events())?;
            work.pending = retry.of_accepted();
        }
        work.resolved += reused;
        work.pending += loading.pending()?;
        let sample = |size| Ok(loading.sample(size)?);
        let what = (&self.job, planned_lists(&loading)?, work, reused);
        let how = (self.run, &self.chosen);
        let (plan, mut run_settings) =
            reckon(tenant, what, how, self.common, sample, (&screen.events(), stop)).await?;
        let to_ask = plan.needs_consent(loading.entries(), confirmed) && !self.run.yes;
        if work.pending + work.resolved > 0 {
            screen.events().tell(Event::Planned(Box::new(plan.clone())));
        }
        screen.catch_up();
        if to_ask {
            // A person can only say yes to what was shown.
            let unseen = matches!(mode, Mode::None | Mode::Json).then(|| plan_text(&plan));
            self.ask(unseen, stop)?;
        }
        loading.pin(&self.job, plan::consents_to_all(&run_settings))?;
        loading.choose(&self.chosen)?;
        loading.commit()?;
        run_settings.retry = self.retry.as_ref().and_then(|retry| retry.decision.clone());
        Ok(run_settings)
    }

    fn reuse(&self, loading: &mut Loading<'_>, events: &Events, stop: &Stop) -> Result<u64, Failure> {
        match Reuse::open(&self.run.reuse, &self.common.ledger, &self.job)? {
            Some(reuse) => reuse.take_over(loading, &self.job, events, &|| *stop.borrow()),
            None => Ok(0),
        }
    }

    fn ask(&self, unseen: Option<String>, stop: &Stop) -> Result<(), Failure> {
        let refused = |message: &str| {
            Failure::new(Kind::Refused, message).hint("nothing was sent, and nothing was kept in the ledger")
        };
        let stdin_is_a_list = self.sources.iter().any(|source| matches!(source, Source::Stdin));
        if stdin_is_a_list || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(
                refused("somebody has to say yes to this, and there is no terminal to ask on")
                    .hint("add --yes to go ahead, or --dry-run to send nothing"),
            );
        }
        if let Some(plan) = unseen {
            say(plan);
        }
        match answer_to("Go ahead? [y/N] ", stop)?
            .trim()
            .to_lowercase()
            .as_str()
        {
            "y" | "yes" => Ok(()),
            _ => Err(refused("not confirmed")),
        }
    }

    /// Lets the run go on to its end, and gives its outcome, where the time of the command went, and whom a pilot sent
    /// to.
    async fn work(
        &self,
        mut ledger: Ledger,
        run_settings: RunSettings,
        tenant: Paced<Client>,
        events: Events,
        stop: Stop,
    ) -> Result<(Outcome, CommandTime, Vec<SentProfile>), Failure> {
        let counts = ledger.counts()?;
        let options = RunOptions {
            retry: self.retry.is_some(),
            by: self
                .retry
                .as_ref()
                .and_then(|retry| Some(retry.decision.as_ref()?.person.clone())),
            all_lists: self.all_lists,
            ..settings::options(self.run, &self.chosen, self.connection)
        };
        ledger.set_options(&options);
        let (writer, thread) = ledger.into_writer(self.verb)?;
        let span = tracing::info_span!("run", id = writer.run());
        span.in_scope(|| tracing::info!(action = self.verb, tenant = self.job.tenant, ?options, "run"));
        let before = self.began.elapsed();
        let (asked, asked_to_stop) = (tenant.clone(), stop.clone());
        let outcome = run::run(
            tenant,
            writer,
            self.job.clone(),
            run_settings,
            &counts,
            events.clone(),
            stop,
        )
        .instrument(span)
        .await;
        thread.join();
        let outcome = outcome?;
        let time = CommandTime::new(self.began.elapsed(), before, outcome.progress.spent);
        events.tell(Event::Ended {
            time: Box::new(time),
            requests: outcome.progress.requests,
        });
        let mut sent = Vec::new();
        if settings::is_pilot(self.run) && !matches!(outcome.ending, Ending::Halted(_)) {
            sent = Reader::open(&self.common.ledger)?.sent_by_last_run(settings::PILOT_SHOWN)?;
            pilot::name(&asked, &mut sent, asked_to_stop).await;
        }
        Ok((outcome, time, sent))
    }

    fn conclude(
        &self,
        outcome: Outcome,
        time: &CommandTime,
        sent: Vec<SentProfile>,
    ) -> Result<ExitCode, Failure> {
        if let Ending::Halted(Halt::Ledger(error @ LedgerError::Replaced { .. })) = outcome.ending {
            // What stands at its path now, if anything does, has nothing to say about this run.
            return Err(error.into());
        }
        let reader = Reader::open(&self.common.ledger)?;
        let mut summary = Summary::read(&reader)?;
        summary.pilot = sent;
        self.print(&summary, time, outcome.progress.requests)?;
        match ending::failure(outcome.ending, &summary) {
            Some(failure) => Err(failure),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    fn print(&self, summary: &Summary, time: &CommandTime, requests: u64) -> Result<(), Failure> {
        if self.run.json {
            let run = summary::run_object(time, requests);
            return print_json(&format!("{}\n", summary.to_json(Some(run))));
        }
        if self.common.quiet {
            return Ok(());
        }
        let ledger = &self.common.ledger;
        print(&format!(
            "{}{}{}{}",
            name_ledger(&summary::table(summary), &self.common.ledger),
            summary::pilot(summary),
            summary::time(time),
            summary::next(summary, ledger, &free_name(ledger))
        ))
    }
}

/// The lists of the ledger, with those that are being loaded.
fn planned_lists(loading: &Loading<'_>) -> Result<Vec<plan::PlannedList>, LedgerError> {
    let planned = |list: ListRow| plan::PlannedList {
        is_named: loading.named().contains(&list.id),
        name: list.name,
        counts: list.counts,
    };
    Ok(loading.lists()?.into_iter().map(planned).collect())
}

/// Says how many entries are looked up again, since that was too long ago.
pub fn tell_forgotten(forgotten: Forgotten, events: &Events) {
    if forgotten.entries > 0 {
        events.notice(format!(
            "{} again before anything is sent: the last look-up is older than --lookup-age, or later than this machine's \
             clock",
            counted(forgotten.entries, "entry is looked up", "entries are looked up")
        ));
    }
}

/// A copy of a ledger may only go on where somebody says that its original does not.
fn check_place(ledger: Option<&Ledger>, run: &RunArgs, common: &Common) -> Result<Option<String>, Failure> {
    let copied = ledger.map(Ledger::copied).transpose()?.flatten();
    let adopting = ledger.map(Ledger::is_adopting).transpose()?.unwrap_or(false);
    match copied {
        Some(why) if !run.adopt => {
            let path = common.ledger.clone();
            Err(LedgerError::Copied { path, why }.into())
        }
        None if run.adopt && !adopting => Err(Failure::new(
            Kind::Usage,
            format!(
                "--adopt is for a copied ledger, and {} is where it was last used",
                shown(&common.ledger)
            ),
        )
        .hint("leave --adopt out; nothing was changed")),
        copied => Ok(copied),
    }
}

/// For as long as it lives, what the ledger waits for is told on the screen, which may be drawing a bar.
struct WaitingTold {
    quiet: bool,
}

impl WaitingTold {
    fn on(screen: &Screen, common: &Common) -> Self {
        let events = screen.events();
        tell_of_waiting(move |line| events.notice(line));
        Self { quiet: common.quiet }
    }
}

impl Drop for WaitingTold {
    fn drop(&mut self) {
        let quiet = self.quiet;
        tell_of_waiting(move |line| {
            if !quiet {
                say(line);
            }
        });
    }
}

fn open_or_create(path: &Path, verb: &str) -> Result<Ledger, Failure> {
    match settings::open_ledger(path, verb)? {
        Some(ledger) => Ok(ledger),
        None => Ok(settings::create_ledger(path, verb)?),
    }
}

/// What somebody types, unless they press Ctrl-C instead.
///
/// Reading a terminal cannot be interrupted, so a thread of its own waits for the line; after a Ctrl-C it is left
/// waiting until the process ends, which is at once.
fn answer_to(question: &str, stop: &Stop) -> Result<String, Failure> {
    let _ = write!(std::io::stderr(), "{question}").and_then(|()| std::io::stderr().flush());
    let (reply, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        let _ = reply.send(line);
    });
    loop {
        match answer.recv_timeout(std::time::Duration::from_millis(50)) {
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) if !*stop.borrow() => {}
            Err(_) => {
                say("");
                return Err(stopped_early());
            }
            Ok(line) => return Ok(line),
        }
    }
}

/// What is missing where there is nobody to do anything for.
pub fn no_list(verb: &str, job: &Job) -> Failure {
    let status: Vec<&str> = job.handles.iter().map(|handle| handle.as_str()).collect();
    let status = status.join(",");
    Failure::new(Kind::Usage, "no list is given, and the ledger has none").hint(format!(
        "`rollbook {verb} --status {status} customers.csv` names one"
    ))
}

/// Stopped before anything was begun.
pub fn stopped_early() -> Failure {
    Failure::as_asked("before anything was sent, as asked").hint("nothing was kept in the ledger")
}

/// Out of requests before anything was begun.
pub fn spent_early() -> Failure {
    Failure::as_asked("at --max-requests, before anything could be sent")
        .hint("allow more requests; nothing was kept in the ledger")
}

/// How the job of a ledger stands, on stdout.
pub fn print_summary(path: &Path, json: bool) -> Result<(), Failure> {
    let summary = Summary::read(&Reader::open(path)?)?;
    if json {
        return print_json(&format!("{}\n", summary.to_json(None)));
    }
    print(&format!(
        "{}{}",
        name_ledger(&summary::table(&summary), path),
        summary::next(&summary, path, &free_name(path))
    ))
}

/// Writes an answer to stdout, of which nothing steers the terminal.
pub fn print(text: &str) -> Result<(), Failure> {
    write_out(&printable_lines(text))
}

/// Writes an answer for scripts to stdout: JSON.
pub fn print_json(text: &str) -> Result<(), Failure> {
    write_out(&printable_json(text))
}

/// A reader that has gone (`| head`) is no failure.
fn write_out(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(
            Kind::Unexpected,
            format!("cannot write to stdout: {error}"),
        )),
        _ => Ok(()),
    }
}

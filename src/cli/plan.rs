//! `plan`: what a run would take, without a run. Asks the tenant, and leaves the ledger as it is.

use super::args::{Common, PlanArgs};
use super::asking::asking;
use super::error::{Failure, Kind};
use super::job::{Stop, no_list, print, print_json, tell_forgotten};
use super::reckon::reckon;
use super::reuse::Reuse;
use super::{settings, signals};
use crate::api::Paced;
use crate::api::client::Client;
use crate::api::pacing::PaceSettings;
use crate::input::Source;
use crate::ledger::{Forgotten, LedgerError, Reader, holder_of};
use crate::model::chosen::Chosen;
use crate::model::entry::EntryState;
use crate::model::forecast::Work;
use crate::model::ids::{Action, Job};
use crate::model::rate::{Rate, Span};
use crate::runner::count::Counting;
use crate::runner::event::Events;
use crate::runner::plan::{Plan, open_batches};
use crate::runner::preflight;
use crate::ui::Screen;
use crate::ui::plan::{object, text};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

/// Requests a second that a plan takes from a run on the same ledger: a fifth of the usual rate.
const BESIDE_A_RUN_PER_SECOND: NonZeroU32 = NonZeroU32::new(2).expect("BUG: two is not zero");

/// `plan`.
pub fn plan(args: &PlanArgs, common: &Common) -> Result<ExitCode, Failure> {
    let sources = settings::sources(&args.lists)?;
    let ledger = match Reader::open(&common.ledger) {
        Ok(reader) => Some(reader),
        Err(LedgerError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let job = job(args, ledger.as_ref())?;
    let (standing, old) = match &ledger {
        Some(ledger) => standing(ledger, args.run.lookup_age)?,
        None => (Work::default(), Forgotten::default()),
    };
    if sources.is_empty()
        && ledger
            .as_ref()
            .map(Reader::counts)
            .transpose()?
            .is_none_or(|counts| counts.total() == 0)
    {
        return Err(no_list("plan", &job));
    }
    let token = settings::token(&args.connection)?;
    let base = settings::base_url(&args.connection, Some(&job.tenant))?;
    let before = ledger.as_ref().map(Reader::chosen).transpose()?.flatten();
    let planning = Planning {
        args,
        common,
        job,
        chosen: settings::chosen(&args.run, before),
        ledger,
        sources,
        standing,
    };
    let reuse = Reuse::open(&args.run.reuse, &common.ledger, &planning.job)?;
    let runtime = settings::runtime()?;
    let screen = Screen::open(settings::mode(common.progress, common.quiet), common.verbose);
    let events = screen.events();
    tell_forgotten(old, &events);
    let planned = runtime.block_on(async {
        let stop = signals::stop_on_signals();
        let pace = planning.pace(&events);
        let tenant = settings::tenant(&base, &token, pace, settings::as_guest(&base))?;
        planning.ask(&tenant, reuse.as_ref(), &events, &stop).await
    });
    screen.close();
    let planned = planned?;
    if args.run.json {
        print_json(&format!("{:#}\n", object(&planned)))?;
    } else {
        print(text(&planned).trim_start_matches('\n'))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be planned.
struct Planning<'a> {
    args: &'a PlanArgs,
    common: &'a Common,
    job: Job,
    chosen: Chosen,
    ledger: Option<Reader>,
    sources: Vec<Source>,
    standing: Work,
}

impl Planning<'_> {
    /// How fast this may ask. Beside a run on the same ledger, which shares its rate, it asks slowly and says so.
    fn pace(&self, events: &Events) -> PaceSettings {
        let own = settings::pace(&self.args.run, &self.chosen);
        let slower = |rate: f64| own.rate.per_second().is_none_or(|own| rate < own);
        if holder_of(&self.common.ledger).is_none() || !slower(BESIDE_A_RUN_PER_SECOND.get().into()) {
            return own;
        }
        events.notice(format!(
            "a run is under way on this ledger: this plan takes {BESIDE_A_RUN_PER_SECOND} requests a second of its \
             rate while it asks"
        ));
        PaceSettings {
            rate: Rate::at_most(BESIDE_A_RUN_PER_SECOND, Span::Second),
            ..own
        }
    }

    async fn ask(
        &self,
        tenant: &Paced<Client>,
        reuse: Option<&Reuse<'_>>,
        events: &Events,
        stop: &Stop,
    ) -> Result<Plan, Failure> {
        let checked = preflight::check(tenant, &self.job);
        asking(tenant, preflight::ABOUT_REQUESTS, (events, stop), checked).await?;
        let is_stopped = || *stop.borrow();
        let offer = reuse.map(|reuse| reuse.offer(&self.job));
        let mut counting = Counting::new(self.ledger.as_ref(), offer.as_ref(), &is_stopped)?;
        let reading = self.args.reading.reading();
        for source in &self.sources {
            counting.list(source, &reading, events, &is_stopped)?;
        }
        if let Some(reuse) = reuse {
            reuse.tell(counting.reused(), events);
        }
        let work = (counting.left(self.standing), counting.reused().resolved);
        let sample = |size| Ok(counting.sample(size)?);
        let how = (&self.args.run, &self.chosen);
        let (plan, _) = reckon(
            tenant,
            (&self.job, counting.lists()?, work.0, work.1),
            how,
            self.common,
            sample,
            (events, stop),
        )
        .await?;
        Ok(plan)
    }
}

/// The job that is meant: the ledger's own, where it has one, unless another is named, which is refused.
fn job(args: &PlanArgs, ledger: Option<&Reader>) -> Result<Job, Failure> {
    let pinned = ledger.map(Reader::job).transpose()?.flatten();
    let own = pinned.as_ref().map(|pinned| &pinned.job);
    let action = match own {
        _ if args.remove => Action::Remove,
        Some(job) => job.action,
        None => Action::Assign,
    };
    let status = match own {
        Some(job) if args.status.is_empty() => job
            .handles
            .iter()
            .map(|handle| handle.as_str().to_owned())
            .collect(),
        _ => args.status.clone(),
    };
    if status.is_empty() {
        return Err(
            Failure::new(Kind::Usage, "no status is named, and the ledger has no job yet")
                .hint("`rollbook plan --status HANDLE customers.csv` names one"),
        );
    }
    let base = settings::base_url(&args.connection, own.map(|job| job.tenant.as_str()))?;
    let job = settings::job(action, &status, &base)?;
    if let Some(pinned) = &pinned {
        pinned.same_as(&job)?;
    }
    Ok(job)
}

/// What is left of the ledger's job, and how much of it has to be looked up again.
fn standing(ledger: &Reader, lookup_age: Duration) -> Result<(Work, Forgotten), LedgerError> {
    let counts = ledger.counts()?;
    let old = ledger.old_lookups(lookup_age)?;
    let open = open_batches(&ledger.batch_counts()?);
    let work = Work {
        pending: counts.in_state(EntryState::Pending) + old.entries,
        resolved: old.resolved,
        sealed: open.sealed.saturating_sub(old.batches),
        ..open
    };
    Ok((work, old))
}

//! `plan`: what a run would take, without a run. Asks the tenant, and leaves the ledger as it is.

use super::args::{Common, PlanArgs};
use super::error::{Failure, Kind};
use super::job::{no_list, print, print_json, stopped_early};
use super::reckon::reckon;
use super::reuse::Reuse;
use super::{settings, signals};
use crate::ledger::{LedgerError, Reader};
use crate::model::entry::EntryState;
use crate::model::forecast::Work;
use crate::model::ids::{Action, Job};
use crate::runner::count::Counting;
use crate::runner::plan::open_batches;
use crate::runner::preflight;
use crate::ui::Screen;
use crate::ui::plan::{object, text};
use std::process::ExitCode;

/// `plan`.
pub fn plan(args: &PlanArgs, common: &Common) -> Result<ExitCode, Failure> {
    let sources = settings::sources(&args.lists)?;
    let ledger = match Reader::open(&common.ledger) {
        Ok(reader) => Some(reader),
        Err(LedgerError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let job = job(args, ledger.as_ref())?;
    let standing = match &ledger {
        Some(ledger) => standing(ledger)?,
        None => Work::default(),
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
    let reuse = Reuse::open(&args.run.reuse, &common.ledger, &job)?;
    let offer = reuse.as_ref().map(|reuse| reuse.offer(&job));
    let runtime = settings::runtime()?;
    let screen = Screen::open(settings::mode(common.progress, common.quiet), common.verbose);
    let planned = runtime.block_on(async {
        let mut stop = signals::stop_on_signals();
        let tenant = settings::tenant(
            &base,
            &token,
            settings::pace(&args.run),
            settings::as_guest(&base),
        )?;
        tokio::select! {
            checked = preflight::check(&tenant, &job) => checked?,
            Ok(_) = stop.wait_for(|stopped| *stopped) => return Err(stopped_early()),
        }
        let is_stopped = || *stop.borrow();
        let reading = args.reading.reading();
        let mut counting = Counting::new(ledger.as_ref(), offer.as_ref(), &is_stopped)?;
        for source in &sources {
            counting.list(source, &reading, &screen.events(), &is_stopped)?;
        }
        if let Some(reuse) = &reuse {
            reuse.tell(counting.reused(), &screen.events());
        }
        let (work, reused) = (counting.left(standing), counting.reused().resolved);
        let sample = |size| Ok(counting.sample(size)?);
        let (plan, _) = reckon(
            &tenant,
            (&job, counting.lists()?, work, reused),
            &args.run,
            common,
            sample,
            &stop,
        )
        .await?;
        Ok(plan)
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
        return Err(Failure::new(
            Kind::Usage,
            "no status is named, and the ledger is pinned to no job yet",
        )
        .hint("rollbook plan --status HANDLE customers.csv"));
    }
    let base = settings::base_url(&args.connection, own.map(|job| job.tenant.as_str()))?;
    let job = settings::job(action, &status, &base)?;
    if let Some(pinned) = &pinned {
        pinned.same_as(&job)?;
    }
    Ok(job)
}

/// What is left of the ledger's job.
fn standing(ledger: &Reader) -> Result<Work, LedgerError> {
    let counts = ledger.counts()?;
    Ok(Work {
        pending: counts.in_state(EntryState::Pending),
        resolved: counts.in_state(EntryState::Resolved),
        ..open_batches(&ledger.batch_counts()?)
    })
}

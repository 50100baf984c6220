//! What a run with these arguments will take, as `plan` says it and as somebody says yes to it.

use super::args::{Common, ResolveArg, RunArgs};
use super::asking::asking;
use super::error::{Failure, shown};
use super::job::Stop;
use super::settings;
use crate::api::Paced;
use crate::api::client::Client;
use crate::model::chosen::Chosen;
use crate::model::email::Email;
use crate::model::forecast::{Work, looked_up};
use crate::model::ids::Job;
use crate::model::way::{self, Supported, Survey};
use crate::runner::context::RunSettings;
use crate::runner::event::Events;
use crate::runner::plan::{Plan, PlannedList};
use crate::runner::survey::{self, Surveyed};

/// Finds out what the tenant supports, where that can pay, and reckons what a run with these arguments will take.
/// `reused` are those who wait for a batch since another ledger knows them; `sample` chooses so many emails that are to
/// be looked up at random.
pub async fn reckon(
    tenant: &Paced<Client>,
    (job, lists, work, reused): (&Job, Vec<PlannedList>, Work, u64),
    (run, chosen): (&RunArgs, &Chosen),
    common: &Common,
    sample: impl FnOnce(usize) -> Result<Vec<Email>, Failure>,
    (events, stop): (&Events, &Stop),
) -> Result<(Plan, RunSettings), Failure> {
    let worthwhile = work.pending + work.resolved >= survey::WORTHWHILE_EMAILS;
    let surveyed = if matches!(run.resolve, ResolveArg::One) || !worthwhile {
        unasked(run.resolve)
    } else {
        let sample = sample(survey::sample_size(work.pending, run.max_requests))?;
        let about = survey::about_requests(sample.len());
        asking(
            tenant,
            about,
            (events, stop),
            survey::survey(tenant, job, &sample),
        )
        .await?
    };
    let room = run.limit.filter(|_| !run.dry_run);
    let emails = looked_up(&work, room, surveyed.survey.sample.sending_share());
    let first = emails < work.pending;
    let choice = way::choose(run.resolve.into(), &surveyed.survey, emails, first);
    let run_settings = settings::run_settings(run, chosen, choice.way, &surveyed);
    let mut plan = Plan::new(
        (job.clone(), shown(&common.ledger), lists),
        (work, reused),
        (&run_settings, settings::pace(run, chosen)),
        choice,
        &tenant.gate().view(),
    );
    if settings::is_pilot(run) {
        plan.ask_for_names(settings::PILOT_SHOWN);
    }
    Ok((plan, run_settings))
}

/// What is known of a tenant that was not asked. A way that somebody asked for by name is not left without a word.
fn unasked(resolve: ResolveArg) -> Surveyed {
    let why = match resolve {
        ResolveArg::Many | ResolveArg::Scan => format!(
            "too few to be worth finding out what the tenant supports (below {})",
            survey::WORTHWHILE_EMAILS
        ),
        ResolveArg::Auto | ResolveArg::One => String::new(),
    };
    let survey = Survey {
        many: Supported::No(why.clone()),
        scan: Supported::No(why),
        ..Survey::default()
    };
    Surveyed {
        survey,
        page_size: None,
    }
}

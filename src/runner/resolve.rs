//! Looking an entry up: from an email to a verdict.
//!
//! Every page of the answer is read until it is sure, and every returned email is compared, because the
//! tenant's filter may be exact, partial or none at all.

use super::context::{Context, GaveUp, Halt, NOBODY};
use crate::api::{Slice, Tenant, Wanted};
use crate::api::pacing::Class;
use crate::ledger::PendingEntry;
use crate::model::email::Email;
use crate::model::entry::SkipReason;
use crate::model::lookup::{Found, Verdict, bearers, judge};
use std::sync::Arc;

/// Pages of one look-up that are read at the most. A partial filter that matches five thousand profiles for a
/// whole address is not a filter.
const PAGES_LIMIT: u32 = 50;

/// Looks one entry up.
pub async fn look_up<T: Tenant>(context: &Context<T>, entry: &PendingEntry) -> Result<Verdict, Halt> {
    match find(context, entry).await {
        Ok(verdict) => Ok(verdict),
        Err(GaveUp::Halt(halt)) => Err(halt),
        // Without the right to read profiles no look-up will ever work.
        Err(GaveUp::Denied(refusal)) => Err(Halt::Denied(refusal)),
        Err(GaveUp::Missing) => Err(Halt::Outage("GET /profiles answers 404".into())),
        Err(GaveUp::Refused(reason)) => Ok(Verdict::Failed { reason }),
    }
}

async fn find<T: Tenant>(context: &Context<T>, entry: &PendingEntry) -> Result<Verdict, GaveUp> {
    let asked = Email::from_ledger(&entry.email);
    let mut found = pages(context, &asked, &entry.email).await?;
    if bearers(&asked, &found).is_empty()
        && let Some(written) = entry.written.as_deref().map(str::trim)
        && written != entry.email
    {
        // A tenant that compares case by case may know it only as it was written.
        found = pages(context, &asked, written).await?;
    }
    if !found.is_empty() && found.iter().all(|item| is_foreign(&asked, item)) {
        // Not one of them resembles what was asked. On a connection that is kept, that is also what the answer
        // to another question looks like, and nobody may be passed over for it.
        found = pages(context, &asked, &entry.email).await?;
    }
    match bearers(&asked, &found).as_slice() {
        [] => Ok(Verdict::Skipped {
            reason: SkipReason::NotFound,
            profile: None,
        }),
        [only] => judge_bearer(context, only).await,
        several => Ok(Verdict::Ambiguous {
            candidates: several.iter().map(|found| found.profile.clone()).collect(),
        }),
    }
}

async fn judge_bearer<T: Tenant>(context: &Context<T>, only: &Found) -> Result<Verdict, GaveUp> {
    let profile = only.profile.clone();
    if let Some(held) = &only.held {
        return Ok(judge(&context.job, profile, held.clone()));
    }
    let id = &profile;
    match context
        .ask(Class::Lookup, |tenant| async move { tenant.held_by(id).await })
        .await
    {
        Ok(held) => Ok(judge(&context.job, profile, held)),
        // Deleted between two requests.
        Err(GaveUp::Missing) => Ok(Verdict::Skipped {
            reason: SkipReason::NotFound,
            profile: None,
        }),
        Err(gave_up) => Err(gave_up),
    }
}

/// All profiles that the tenant's filter finds under one spelling.
async fn pages<T: Tenant>(context: &Context<T>, asked: &Email, spelling: &str) -> Result<Vec<Found>, GaveUp> {
    let mut found: Vec<Found> = Vec::new();
    for number in 1..=PAGES_LIMIT {
        let question = |tenant: Arc<T>| async move { tenant.profiles(Wanted::Email(spelling), Slice::usual(number)).await };
        let page = context.ask(Class::Lookup, question).await?;
        if number == 1 && page.more && page.items.iter().any(|item| is_foreign(asked, item)) {
            // Either the filter has stopped filtering, and these are the first of everybody, or it takes
            // something in this address for a wildcard.
            check_filter(context).await?;
        }
        let before = found.len();
        found.extend(page.items);
        if !page.more {
            return Ok(found);
        }
        if found[before..]
            .iter()
            .all(|item| found[..before].iter().any(|known| known.profile == item.profile))
        {
            return Err(GaveUp::Refused(
                "the tenant announces more pages and sends the same one again".into(),
            ));
        }
    }
    Err(GaveUp::Refused(format!(
        "more than {PAGES_LIMIT} pages of profiles match this address"
    )))
}

/// Whether no filter that works would find it, be it exact or partial.
fn is_foreign(asked: &Email, found: &Found) -> bool {
    !found.email.is_empty() && !found.email.to_lowercase().contains(asked.as_str())
}

async fn check_filter<T: Tenant>(context: &Context<T>) -> Result<(), GaveUp> {
    let question = |tenant: Arc<T>| async move { tenant.profiles(Wanted::Email(NOBODY), Slice::usual(1)).await };
    let nobody = context.ask(Class::Lookup, question).await?;
    if nobody.items.is_empty() {
        Ok(())
    } else {
        Err(Halt::FilterIgnored.into())
    }
}

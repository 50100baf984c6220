//! Reading all profiles of the tenant, page by page, and joining them with the lists in the ledger.
//!
//! Worth it where the lists are a large part of the tenant. What it settles is what a look-up would: an entry for which
//! exactly one profile was seen, or several. Whoever was not seen, or was seen in a way that a look-up might judge
//! otherwise, is looked up afterwards. That nobody is missed although others come and go is the business of
//! [`crate::model::walk`]; where its conditions do not hold, everybody is looked up.
//!
//! The walk is kept in the ledger with what it saw, so a later run goes on from the same page.

use super::context::{Context, GaveUp, Halt};
use crate::api::pacing::Class;
use crate::api::{Page, Slice, Tenant, Wanted};
use crate::ledger::{ScanState, Seen, Sighting};
use crate::model::entry::EntryState;
use crate::model::ids::{EntryId, ProfileId};
use crate::model::lookup::{Found, Verdict, judge};
use crate::model::walk::{Step, Walk};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Entries concluded about at a time.
const CONCLUDED_AT_ONCE: usize = 1_000;

/// Reads everybody, and says in which state the entries are that were settled by it.
pub async fn scan<T: Tenant>(context: &Context<T>) -> Result<Vec<EntryState>, Halt> {
    let state = context.ledger.scan().await?;
    if !state.complete
        && let Err(why) = walk(context, state).await?
    {
        context
            .events
            .notice(format!("the scan is given up, and everybody is looked up: {why}"));
        context.ledger.forget_scan().await?;
        return Ok(Vec::new());
    }
    let concluded = conclude(context).await?;
    context.ledger.forget_scan().await?;
    Ok(concluded)
}

/// Walks to the end, or says why that cannot be.
async fn walk<T: Tenant>(context: &Context<T>, state: ScanState) -> Result<Result<(), String>, Halt> {
    let mut walk = Walk::new(context.settings.page_size, state.seen_to, state.place);
    let mut told = 0;
    loop {
        let windows = walk.ahead(context.settings.concurrency);
        let mut seen = Vec::new();
        let mut end = false;
        let mut total = None;
        for (window, page) in fetch(context, windows).await? {
            let page = match page {
                Ok(page) => page,
                Err(why) => return Ok(Err(why)),
            };
            total = page.total.or(total);
            let ids: Vec<&ProfileId> = page.items.iter().map(|found| &found.profile).collect();
            match walk.take(window, &ids, page.more) {
                Step::Forward => seen.extend(page.items),
                Step::End => {
                    seen.extend(page.items);
                    end = true;
                    break;
                }
                // What was fetched beyond it was chosen for a place that is not the right one.
                Step::Gap => break,
                Step::Lost => return Ok(Err("the tenant does not keep to the order of ids".into())),
            }
        }
        let (seen_to, place) = walk.so_far();
        let state = ScanState {
            seen_to: seen_to.cloned(),
            place,
            complete: end,
        };
        let sightings = seen.into_iter().filter_map(sighting).collect();
        context.ledger.scanned(sightings, state).await?;
        if end {
            return Ok(Ok(()));
        }
        told = tell(context, told, place, total);
    }
}

/// Says once in ten hundredths how far the walk is.
fn tell<T>(context: &Context<T>, told: u64, place: u64, total: Option<u64>) -> u64 {
    let Some(tenths) = total.filter(|total| *total > 0).map(|total| place * 10 / total) else {
        return told;
    };
    if tenths > told {
        context.events.notice(format!(
            "{} % of the tenant's profiles have been read",
            (tenths * 10).min(100)
        ));
    }
    tenths.max(told)
}

/// These pages, asked for at the same time.
async fn fetch<T: Tenant>(
    context: &Context<T>,
    windows: Vec<Slice>,
) -> Result<Vec<(Slice, Result<Page<Found>, String>)>, Halt> {
    let mut tasks = JoinSet::new();
    for (place, window) in windows.iter().copied().enumerate() {
        let context = context.clone();
        tasks.spawn(async move { (place, fetch_one(&context, window).await) });
    }
    let mut pages: Vec<_> = tasks.join_all().await;
    pages.sort_by_key(|(place, _)| *place);
    let pages = pages.into_iter().map(|(place, page)| Ok((windows[place], page?)));
    pages.collect()
}

async fn fetch_one<T: Tenant>(
    context: &Context<T>,
    slice: Slice,
) -> Result<Result<Page<Found>, String>, Halt> {
    let question = |tenant: Arc<T>| async move { tenant.profiles(Wanted::Everybody, slice).await };
    match context.ask(Class::Lookup, question).await {
        Ok(page) => Ok(Ok(page)),
        Err(GaveUp::Halt(halt)) => Err(halt),
        Err(GaveUp::Missing) => Ok(Err("the tenant does not list its profiles any more".into())),
        Err(GaveUp::Denied(refusal)) => Ok(Err(refusal.to_string())),
        Err(GaveUp::Refused(why)) => Ok(Err(why)),
    }
}

/// A profile as it may be on a list. One whose email a filter might not find as it is written settles nothing.
fn sighting(found: Found) -> Option<Sighting> {
    let trimmed = found.email.trim();
    if trimmed.is_empty() {
        return None;
    }
    // Folding of other letters than ASCII's is something that tenants do in different ways.
    let clear = trimmed.len() == found.email.len() && trimmed.is_ascii() && found.held.is_some();
    let email = trimmed.to_lowercase();
    Some(Sighting {
        found: Found { email, ..found },
        clear,
    })
}

/// Turns what was seen into verdicts.
async fn conclude<T: Tenant>(context: &Context<T>) -> Result<Vec<EntryState>, Halt> {
    let mut states = Vec::new();
    let mut after = EntryId(0);
    loop {
        if *context.stop.borrow() {
            return Err(Halt::Stopped);
        }
        let seen = context.ledger.seen_after(after, CONCLUDED_AT_ONCE).await?;
        let Some(last) = seen.last() else {
            return Ok(states);
        };
        after = last.entry;
        let verdicts = seen
            .into_iter()
            .filter_map(|seen| verdict(context, seen))
            .collect();
        states.extend(context.ledger.lookups(verdicts).await?);
    }
}

/// The verdict on an entry, where what was seen is beyond doubt.
fn verdict<T>(context: &Context<T>, seen: Seen) -> Option<(EntryId, Verdict)> {
    let profiles: Option<Vec<_>> = seen
        .profiles
        .into_iter()
        .map(|(profile, held)| Some((profile, held?)))
        .collect();
    let mut profiles = profiles?;
    let verdict = match profiles.len() {
        1 => {
            let (profile, held) = profiles.remove(0);
            judge(&context.job, profile, held)
        }
        _ => Verdict::Ambiguous {
            candidates: profiles.into_iter().map(|(profile, _)| profile).collect(),
        },
    };
    Some((seen.entry, verdict))
}

//! Reading all profiles of the tenant, page by page, and joining them with the lists in the ledger.
//!
//! Worth it where the lists are a large part of the tenant. What it settles is what a look-up would: an entry for which
//! exactly one profile was seen. Whoever was not seen, or was seen in a way that a look-up might judge otherwise, is
//! looked up afterwards: who was seen twice may have changed emails with somebody in between. That nobody is missed
//! although others come and go is the business of [`crate::model::walk`]; where its conditions do not hold, everybody
//! is looked up. So they are where the list of everybody and the email filter speak of different people, which a few
//! look-ups at the end of the walk find out before anything is concluded.
//!
//! The walk is kept in the ledger with what it saw, so a later run goes on from the same page, unless that was long
//! ago. It goes on in steps of a few requests each, so that whatever bounds a run bounds a scan, too.

use super::context::{Context, GaveUp, Halt};
use super::lists::{Lists, lists};
use super::resolve::agrees;
use crate::api::pacing::Class;
use crate::api::{Page, Slice, Tenant, Wanted};
use crate::ledger::{ScanState, Seen, Sighting};
use crate::model::entry::EntryState;
use crate::model::ids::{Action, EntryId, Handle, ProfileId};
use crate::model::lookup::{Found, Verdict, judge};
use crate::model::walk::{self, Walk};
use crate::model::way::checks;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Entries concluded about at a time.
const CONCLUDED_AT_ONCE: usize = 1_000;
/// What was seen longer ago says too little about today: profiles change their emails.
const STALE_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Look-ups that say otherwise before the scan is given up. One may be somebody who changed emails meanwhile.
const CONTRADICTIONS_LIMIT: usize = 2;

/// What is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find out how far an earlier run came.
    Begin,
    /// Read the next pages.
    Walk(Walk),
    /// Look so many of those up who were seen, and conclude if the answers agree.
    Conclude(u64),
}

/// What a step has led to.
#[derive(Debug)]
pub enum Scanned {
    /// There is more to do.
    Further {
        /// What.
        next: Step,
        /// About how many pages are left, where that is known.
        pages_left: Option<u64>,
    },
    /// It is over, and these entries were settled by it.
    Over(Vec<EntryState>),
}

impl Step {
    /// How many requests it can make good use of, where so many may be under way.
    pub fn requests(&self, places: usize) -> usize {
        match self {
            Self::Begin => 0,
            Self::Walk(_) => places,
            Self::Conclude(checks) => usize::try_from(*checks).unwrap_or(usize::MAX),
        }
    }
}

/// Carries a step out with at most so many requests.
pub async fn scan<T: Tenant>(context: &Context<T>, step: Step, requests: usize) -> Result<Scanned, Halt> {
    match step {
        Step::Begin => begin(context).await,
        Step::Walk(walk) => walk_on(context, walk, requests).await,
        Step::Conclude(_) => match contradictions(context, requests).await? {
            CONTRADICTIONS_LIMIT.. => {
                give_up(context, "look-ups and the list of all profiles disagree").await
            }
            _ => conclude(context).await,
        },
    }
}

async fn begin<T: Tenant>(context: &Context<T>) -> Result<Scanned, Halt> {
    // A scan settles entries by what a list says that their profiles have.
    let is_usable = match lists(context).await? {
        Lists::Agree => true,
        Lists::Unknown => context.job.action == Action::Assign,
        Lists::Disagree => false,
    };
    if !is_usable {
        return give_up(
            context,
            "the list and the profiles themselves disagree about statuses",
        )
        .await;
    }
    let mut begun = context.ledger.scan().await?;
    if begun.age.is_none_or(|age| age > STALE_AFTER) {
        context
            .events
            .notice("the earlier scan is too old to continue, so it starts again".to_owned());
        context.ledger.forget_scan().await?;
        begun = context.ledger.scan().await?;
    }
    let ScanState {
        seen_to,
        place,
        complete,
    } = begun.state;
    if complete {
        return walked(context).await;
    }
    let walk = Walk::new(context.settings.page_size, seen_to, place);
    Ok(Scanned::Further {
        next: Step::Walk(walk),
        pages_left: None,
    })
}

/// Everybody has been seen.
async fn walked<T: Tenant>(context: &Context<T>) -> Result<Scanned, Halt> {
    let checks = checks(context.ledger.seen().await?);
    Ok(Scanned::Further {
        next: Step::Conclude(checks),
        pages_left: Some(0),
    })
}

async fn give_up<T: Tenant>(context: &Context<T>, why: &str) -> Result<Scanned, Halt> {
    context
        .events
        .notice(format!("giving up the scan and looking emails up instead: {why}"));
    context.ledger.forget_scan().await?;
    Ok(Scanned::Over(Vec::new()))
}

/// Reads the next so many pages.
async fn walk_on<T: Tenant>(context: &Context<T>, mut walk: Walk, pages: usize) -> Result<Scanned, Halt> {
    let (_, place_before) = walk.so_far();
    let (mut seen, mut end, mut total) = (Vec::new(), false, None);
    for (window, page) in fetch(context, walk.ahead(pages)).await? {
        let page = match page {
            Ok(page) => page,
            Err(why) => return give_up(context, &why).await,
        };
        total = page.total.or(total);
        let ids: Vec<&ProfileId> = page.items.iter().map(|found| &found.profile).collect();
        match walk.take(window, &ids, page.more) {
            walk::Step::Forward => seen.extend(page.items),
            walk::Step::End => {
                seen.extend(page.items);
                end = true;
                break;
            }
            // What was fetched beyond it was chosen for a place that is not the right one.
            walk::Step::Gap => break,
            walk::Step::Lost => {
                return give_up(context, "the list is not in the order of ids").await;
            }
        }
    }
    let (seen_to, place) = walk.so_far();
    let state = ScanState {
        seen_to: seen_to.cloned(),
        place,
        complete: end,
    };
    let removes = context.job.action == Action::Remove;
    let sightings = seen
        .into_iter()
        .filter_map(|found| sighting(found, removes))
        .collect();
    context.ledger.scanned(sightings, state).await?;
    if end {
        return walked(context).await;
    }
    if let Some(total) = total {
        tell(context, place_before..place, total);
    }
    Ok(Scanned::Further {
        pages_left: total.map(|total| walk.pages_left(total)),
        next: Step::Walk(walk),
    })
}

/// Says once in ten hundredths how far the walk is.
fn tell<T>(context: &Context<T>, walked: std::ops::Range<u64>, total: u64) {
    let tenths = |place: u64| (place * 10 / total.max(1)).min(10);
    if tenths(walked.end) > tenths(walked.start) {
        let percent = tenths(walked.end) * 10;
        context
            .events
            .notice(format!("{percent} % of the tenant's profiles have been read"));
    }
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

/// A profile as it may be on a list. One whose email a filter might not find as it is written settles nothing, nor does one
/// that is shown with nothing that could be taken away.
fn sighting(found: Found, removes: bool) -> Option<Sighting> {
    let trimmed = found.email.trim();
    if trimmed.is_empty() {
        return None;
    }
    // Folding of other letters than ASCII's is something that tenants do in different ways.
    let says_something = |held: &Vec<Handle>| !(removes && held.is_empty());
    let says_something = found.held.as_ref().is_some_and(says_something);
    let clear = trimmed.len() == found.email.len() && trimmed.is_ascii() && says_something;
    let email = trimmed.to_lowercase();
    Some(Sighting {
        found: Found { email, ..found },
        clear,
    })
}

/// Looks so many entries up that were seen, and says for how many that says otherwise. Those are looked up once more
/// with all the others.
async fn contradictions<T: Tenant>(context: &Context<T>, checks: usize) -> Result<usize, Halt> {
    let mut left = context.ledger.some_seen(checks).await?.into_iter();
    let mut asking = JoinSet::new();
    let mut contradictions = 0;
    loop {
        while asking.len() < context.settings.concurrency
            && let Some(seen) = left.next()
        {
            let context = context.clone();
            asking.spawn(async move {
                let agrees = agrees(&context, &seen.entry, &seen.profile).await;
                (seen.entry.id, agrees)
            });
        }
        let Some(asked) = asking.join_next().await else {
            return Ok(contradictions);
        };
        let (entry, agrees) = asked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        if !agrees? {
            contradictions += 1;
            context.ledger.unsee(entry).await?;
        }
    }
}

/// Turns what was seen into verdicts.
async fn conclude<T: Tenant>(context: &Context<T>) -> Result<Scanned, Halt> {
    let mut states = Vec::new();
    let mut after = EntryId(0);
    loop {
        if *context.stop.borrow() {
            return Err(Halt::Stopped);
        }
        let seen = context.ledger.seen_after(after, CONCLUDED_AT_ONCE).await?;
        let Some(last) = seen.last() else {
            break;
        };
        after = last.entry;
        let verdict = |seen: Seen| (seen.entry, judge(&context.job, seen.profile, seen.held));
        let verdicts: Vec<(EntryId, Verdict)> = seen.into_iter().map(verdict).collect();
        states.extend(context.ledger.lookups(verdicts).await?);
    }
    context.ledger.forget_scan().await?;
    Ok(Scanned::Over(states))
}

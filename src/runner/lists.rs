//! Whether the tenant's lists say of a profile what the profile itself says.
//!
//! A list that leaves statuses out would let a removal skip everybody, and an assignment send to all who have the
//! status. So the two ways of seeing a profile are compared once in a run, on profiles that have statuses. A list that
//! disagrees is not used for that any more: each profile is asked for alone. Where no profile with statuses was found to
//! compare, what a list says is confirmed by the profile itself until one is found.

use super::context::{Context, GaveUp, Halt};
use crate::api::pacing::Class;
use crate::api::{Holding, Slice, Tenant, Wanted};
use crate::model::ids::{Action, Handle, ProfileId};
use crate::model::lookup::Found;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Profiles that are compared at the start, at the most.
const COMPARED: usize = 4;
/// Profiles with statuses of which both say the same before lists are believed.
const AGREEING: usize = 2;
/// Profiles without statuses of which both say so before an assignment believes lists: there may be no statuses yet.
const BARE: usize = 4;
/// Profiles on the page that they are chosen from.
const PAGE: Slice = Slice { size: 20, number: 1 };

/// What is known of the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lists {
    /// They say what profiles say.
    Agree,
    /// They say something else.
    Disagree,
    /// No profile with statuses was found to compare.
    #[default]
    Unknown,
}

/// What was compared so far.
#[derive(Clone, Default)]
pub struct Comparison {
    begun: Arc<OnceCell<()>>,
    counted: Arc<Mutex<Counted>>,
}

#[derive(Default)]
struct Counted {
    agreeing: usize,
    bare: usize,
    disagree: bool,
}

impl Comparison {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self, action: Action) -> Lists {
        let counted = self.counted();
        match () {
            () if counted.disagree => Lists::Disagree,
            () if counted.agreeing > 0 => Lists::Agree,
            () if counted.bare >= BARE && action == Action::Assign => Lists::Agree,
            () => Lists::Unknown,
        }
    }

    /// Takes note of what a list and a profile say.
    fn count(&self, listed: &[Handle], own: &[Handle]) {
        let set = |handles: &[Handle]| handles.iter().cloned().collect::<HashSet<_>>();
        let mut counted = self.counted();
        if set(listed) != set(own) {
            counted.disagree = true;
        } else if own.is_empty() {
            counted.bare += 1;
        } else {
            counted.agreeing += 1;
        }
    }
}

/// What is known of the lists; compares a few profiles where nothing is.
pub async fn lists<T: Tenant>(context: &Context<T>) -> Result<Lists, Halt> {
    let begin = || async { compare_some(context).await };
    context.comparison.begun.get_or_try_init(begin).await?;
    Ok(context.comparison.verdict(context.job.action))
}

/// What is known of the statuses of a profile that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It has these.
    Has(Vec<Handle>),
    /// It is shown with no status at all, and would keep the one that is to be taken away if that is not true: a replica
    /// that has just started says so of everybody. Believed when it is said twice, some time apart.
    Nothing,
    /// The answers contradict each other, or one is missing, so nothing is believed as long as they do; why.
    Unclear(String),
}

const BLANK: &str = "the tenant's list shows the status, and the profile itself shows no status at all";
const UNKNOWN_BY_ID: &str = "the tenant finds the profile by its email, and GET /profiles/{id} answers 404";
const UNREADABLE: &str =
    "the profile itself cannot be read, and lists are not known to say what profiles have";

/// What a profile has that a list says to have these.
///
/// Nobody is left out because one answer lacks something. Where a status is to be taken away, both the list and the
/// profile must lack it: a removal too many does no harm. Where one is to be given, what shows it was not made up, so
/// that a profile without any status does not outweigh a list that shows it.
pub async fn held_of<T: Tenant>(
    context: &Context<T>,
    profile: &ProfileId,
    listed: Option<&Vec<Handle>>,
) -> Result<Held, GaveUp> {
    let known = match listed {
        Some(_) => lists(context).await?,
        None => Lists::Disagree,
    };
    let removes = context.job.action == Action::Remove;
    if let (Lists::Agree, Some(listed)) = (known, listed) {
        return Ok(believed(removes, listed.clone()));
    }
    let shown: Vec<Handle> = listed.into_iter().flatten().cloned().collect();
    let shows_the_status = shown.iter().any(|handle| context.job.handles.contains(handle));
    let own = context.ask_profile(Class::Lookup, profile).await;
    match own {
        Ok(Holding { mut held, .. }) => {
            if let (Some(listed), Lists::Unknown) = (listed, known) {
                context.comparison.count(listed, &held);
            }
            if shows_the_status && !removes && held.is_empty() {
                return Ok(Held::Unclear(BLANK.into()));
            }
            if removes {
                let also = |handle: &Handle| context.job.handles.contains(handle) && !held.contains(handle);
                let also: Vec<Handle> = shown.into_iter().filter(also).collect();
                held.extend(also);
            }
            Ok(believed(removes, held))
        }
        Err(GaveUp::Halt(halt)) => Err(halt.into()),
        // There is nothing but the list.
        Err(_) if known == Lists::Unknown && (shows_the_status || !removes) => Ok(Held::Has(shown)),
        Err(_) if known == Lists::Unknown => Ok(Held::Unclear(UNREADABLE.into())),
        // Deleted between two requests, or not known yet where this one was answered.
        Err(GaveUp::Missing) => Ok(Held::Unclear(UNKNOWN_BY_ID.into())),
        Err(GaveUp::Refused(why)) => Ok(Held::Unclear(why)),
        Err(gave_up) => Err(gave_up),
    }
}

fn believed(removes: bool, held: Vec<Handle>) -> Held {
    if removes && held.is_empty() {
        Held::Nothing
    } else {
        Held::Has(held)
    }
}

async fn compare_some<T: Tenant>(context: &Context<T>) -> Result<(), Halt> {
    let mut left = COMPARED;
    let handle = &context.job.handles[0];
    for wanted in [Wanted::Holders(handle), Wanted::Everybody] {
        let question = |tenant: Arc<T>| async move { tenant.profiles(wanted, PAGE).await };
        let mut listed = match context.ask(Class::Lookup, question).await {
            Ok(page) => page.items,
            Err(GaveUp::Halt(halt)) => return Err(halt),
            Err(_) => continue,
        };
        // Those say most of whom the list says something.
        listed.sort_by_key(|found| found.held.as_ref().is_none_or(Vec::is_empty));
        for found in listed {
            if left == 0 || context.comparison.counted().agreeing >= AGREEING {
                return Ok(());
            }
            left -= usize::from(compare(context, found).await?);
        }
        if context.comparison.counted().agreeing > 0 || context.comparison.counted().disagree {
            return Ok(());
        }
    }
    Ok(())
}

/// Compares one profile. A difference counts if it is there twice: somebody may have edited it in between.
async fn compare<T: Tenant>(context: &Context<T>, found: Found) -> Result<bool, Halt> {
    let Some(mut listed) = found.held else {
        return Ok(false);
    };
    let (id, email) = (&found.profile, found.email.trim());
    for again in [false, true] {
        let own = context.ask_profile(Class::Lookup, id).await;
        let own = match own {
            Ok(Holding { held, .. }) => held,
            Err(GaveUp::Halt(halt)) => return Err(halt),
            Err(_) => return Ok(true),
        };
        let differ = listed.iter().any(|handle| !own.contains(handle))
            || own.iter().any(|handle| !listed.contains(handle));
        if !differ || again || email.is_empty() {
            context.comparison.count(&listed, &own);
            return Ok(true);
        }
        let question =
            |tenant: Arc<T>| async move { tenant.profiles(Wanted::Email(email), Slice::usual(1)).await };
        let anew = match context.ask(Class::Lookup, question).await {
            Ok(page) => page.items.into_iter().find(|anew| anew.profile == *id),
            Err(GaveUp::Halt(halt)) => return Err(halt),
            Err(_) => None,
        };
        let Some(anew) = anew.and_then(|anew| anew.held) else {
            return Ok(true);
        };
        listed = anew;
    }
    Ok(true)
}

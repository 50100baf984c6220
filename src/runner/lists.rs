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

/// What a profile has that a list says to have these; `None` where it is gone.
pub async fn held_of<T: Tenant>(
    context: &Context<T>,
    profile: &ProfileId,
    listed: Option<&Vec<Handle>>,
) -> Result<Option<Vec<Handle>>, GaveUp> {
    let known = match listed {
        Some(_) => lists(context).await?,
        None => Lists::Disagree,
    };
    if let (Lists::Agree, Some(listed)) = (known, listed) {
        return Ok(Some(listed.clone()));
    }
    let own = context
        .ask(
            Class::Lookup,
            |tenant| async move { tenant.held_by(profile).await },
        )
        .await;
    match (own, listed, known) {
        (Ok(Holding { held, .. }), listed, _) => {
            if let Some(listed) = listed
                && known == Lists::Unknown
            {
                context.comparison.count(listed, &held);
            }
            Ok(Some(held))
        }
        // There is nothing but the list.
        (Err(GaveUp::Missing | GaveUp::Denied(_) | GaveUp::Refused(_)), Some(listed), Lists::Unknown) => {
            Ok(Some(listed.clone()))
        }
        // Deleted between two requests.
        (Err(GaveUp::Missing), ..) => Ok(None),
        (Err(gave_up), ..) => Err(gave_up),
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
        let own = context
            .ask(Class::Lookup, |tenant| async move { tenant.held_by(id).await })
            .await;
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

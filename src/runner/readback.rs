//! Seeing many changed profiles with one request: by their emails, or among the holders of the handle.
//!
//! What is seen here is seen on the very profile, so it says as much as a look at that profile alone. Who is not seen
//! is not judged: filters may be late or leave somebody out, so a look at the profile itself has the last word.

use super::context::{Context, Halt};
use super::lists::{Lists, lists};
use super::look::{Sight, judge};
use super::resolve::{ask_briefly, ask_together};
use super::witness::known_by_email;
use crate::api::pacing::Class;
use crate::api::{Slice, Tenant, Wanted};
use crate::ledger::SealedMember;
use crate::model::email::Email;
use crate::model::grouping::{Grouping, cut, is_plain};
use crate::model::ids::{Action, EntryId, Handle, ProfileId};
use crate::model::lookup::Found;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Fewer than these are looked at one by one: what a filter has not caught up with would be asked for twice.
pub const WORTHWHILE_MEMBERS: usize = 4;
/// Looks that overlooked several members, after which they are looked at one by one.
const OVERLOOKED_LIMIT: u32 = 3;
/// Pages of holders that are read at the most in one go.
const HOLDER_PAGES_LIMIT: u64 = 500;

/// What is known by now about seeing many at once.
#[derive(Clone)]
pub struct Together(Arc<Mutex<Known>>);

struct Known {
    by_email: Grouping,
    /// How often it did not show what was there.
    overlooked: u32,
    /// How many pages the holders fill, as last seen; `None` where the tenant does not list them.
    holder_pages: Option<u64>,
}

impl Together {
    /// By so many emails at once at the most; 1 where the tenant takes one only.
    pub fn new(group: usize) -> Self {
        Self(Arc::new(Mutex::new(Known {
            by_email: Grouping::new(group),
            overlooked: 0,
            holder_pages: Some(0),
        })))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several profiles show a change right after the answer to a group did not. Once, that is a change that came in
    /// between; again and again, those answers are late, or do not say what profiles hold.
    pub fn overlooked(&self) {
        let mut known = self.known();
        known.overlooked += 1;
        if known.overlooked >= OVERLOOKED_LIMIT {
            known.by_email = Grouping::new(1);
        }
    }

    /// How many members one request may show; 1 where only single ones can be looked at.
    pub fn size(&self) -> usize {
        self.known().by_email.size()
    }
}

/// Those of the members that are seen with the whole change. A few requests at the most for each page of them.
pub async fn seen_together<T: Tenant>(
    context: &Context<T>,
    members: &[&SealedMember],
) -> Result<HashSet<EntryId>, Halt> {
    let mut seen = HashSet::new();
    if members.len() < WORTHWHILE_MEMBERS || !shows_absence(context).await? {
        return Ok(seen);
    }
    let (plain, odd): (Vec<_>, Vec<_>) = members
        .iter()
        .copied()
        .partition(|member| is_plain(member.email.as_str()));
    let mut rest = plain.as_slice();
    while rest.len() >= WORTHWHILE_MEMBERS && context.together.size() > 1 {
        // There is room for a witness.
        let room = usize::from(context.job.action == Action::Remove);
        let size = cut(
            rest.iter().map(|member| member.email.as_str()),
            (context.together.size() - room).max(1),
        );
        let (group, later) = rest.split_at(size);
        rest = later;
        by_email(context, group, &mut seen).await?;
    }
    let unseen: Vec<_> = [plain, odd]
        .concat()
        .into_iter()
        .filter(|member| !seen.contains(&member.id))
        .collect();
    if context.together.size() == 1 {
        among_holders(context, &unseen, &mut seen).await?;
    }
    Ok(seen)
}

/// Whether a list may say that a handle is gone: one that leaves handles out would say so of all.
pub async fn shows_absence<T: Tenant>(context: &Context<T>) -> Result<bool, Halt> {
    Ok(context.job.action == Action::Assign || lists(context).await? == Lists::Agree)
}

async fn by_email<T: Tenant>(
    context: &Context<T>,
    group: &[&SealedMember],
    seen: &mut HashSet<EntryId>,
) -> Result<(), Halt> {
    let mut emails: Vec<Email> = group.iter().map(|member| member.email.clone()).collect();
    let removes = context.job.action == Action::Remove;
    if removes {
        emails.extend(
            known_by_email(context)
                .await?
                .filter(|email| !emails.contains(email)),
        );
    }
    match ask_together(context, &emails, Class::Settle).await? {
        Ok(found) => {
            context.together.known().by_email.went_well();
            // An answer in which nobody has a status says of nobody that one is gone.
            let bears = |found: &Found| found.held.as_ref().is_some_and(|held| !held.is_empty());
            if removes && !found.iter().flatten().any(bears) {
                return Ok(());
            }
            for (member, found) in group.iter().zip(&found) {
                if found.iter().any(|found| shows(context, member, found)) {
                    seen.insert(member.id);
                }
            }
        }
        Err(setback) => {
            // The run has been told of what speaks against it; here it only costs requests.
            let _ = context.together.known().by_email.set_back(emails.len(), &setback);
        }
    }
    Ok(())
}

/// Whether this is the member's profile, with the whole change, and bears the member's email where only another ledger
/// has led to it.
fn shows<T>(context: &Context<T>, member: &SealedMember, found: &Found) -> bool {
    let sight = |held: &Vec<Handle>| judge(&context.job, member, held, Some(&found.email));
    found.profile == member.profile && found.held.as_ref().map(sight) == Some(Sight::Changed)
}

/// Reads the list of holders, where its pages are fewer than the members.
///
/// Only for what is attached: that somebody is missing from a list is no evidence.
async fn among_holders<T: Tenant>(
    context: &Context<T>,
    members: &[&SealedMember],
    seen: &mut HashSet<EntryId>,
) -> Result<(), Halt> {
    let handle = match context.job.handles.as_slice() {
        [handle, ..] if context.job.action == Action::Assign => handle.clone(),
        _ => return Ok(()),
    };
    let pays = |pages: u64| pages < (members.len() as u64).min(HOLDER_PAGES_LIMIT);
    if members.len() < WORTHWHILE_MEMBERS || !context.together.known().holder_pages.is_some_and(pays) {
        return Ok(());
    }
    let mut missing: HashMap<&ProfileId, &SealedMember> =
        members.iter().map(|member| (&member.profile, *member)).collect();
    let mut number = 1;
    while !missing.is_empty() {
        let Some((found, pages)) = holders(context, &handle, number).await? else {
            context.together.known().holder_pages = None;
            return Ok(());
        };
        for found in &found {
            if let Some(member) = missing
                .get(&found.profile)
                .filter(|member| shows(context, member, found))
            {
                seen.insert(member.id);
                missing.remove(&found.profile);
            }
        }
        context.together.known().holder_pages = Some(pages);
        if u64::from(number) >= pages || !pays(pages) {
            return Ok(());
        }
        number += 1;
    }
    Ok(())
}

/// A page of the holders, and how many pages there are; `None` where the tenant lists others, or does not say.
async fn holders<T: Tenant>(
    context: &Context<T>,
    handle: &Handle,
    number: u32,
) -> Result<Option<(Vec<Found>, u64)>, Halt> {
    let size = context.settings.page_size;
    let slice = Slice { size, number };
    let mut stop = context.stop.clone();
    let page = tokio::select! {
        biased;
        _ = stop.wait_for(|stopped| *stopped) => return Err(Halt::Stopped),
        page = ask_briefly(context, Wanted::Holders(handle), slice, Class::Settle) => page?,
    };
    let holds = |found: &Found| found.held.as_ref().is_some_and(|held| held.contains(handle));
    Ok(page.ok().and_then(|page| {
        let granted = page.size.unwrap_or(u64::from(size)).max(1);
        let pages = page.total?.div_ceil(granted);
        page.items.iter().all(holds).then_some((page.items, pages))
    }))
}

//! Seeing many changed profiles with one request: by their ids, by their emails, or among the holders of the handle.
//! Whoever wants to see a few, of another batch, shares a request with others.
//!
//! What is seen here is seen on the very profile, so it says as much as a look at that profile alone. Who is not seen
//! is not judged: filters may be late or leave somebody out, so a look at the profile itself has the last word.

use super::context::{Context, Halt};
use super::lists::{Lists, lists};
use super::look::{Sight, judge};
use super::resolve::{ask_briefly, ask_together};
use super::witness::{emptiness_counts, known_by_email};
use crate::api::pacing::Class;
use crate::api::{Slice, Tenant, Wanted};
use crate::ledger::SealedMember;
use crate::model::email::Email;
use crate::model::grouping::{Grouping, Setback, cut, is_plain};
use crate::model::ids::{Action, EntryId, Handle, ProfileId};
use crate::model::lookup::Found;
use crate::model::sample::share;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

/// Fewer than these are looked at one by one: what a filter has not caught up with would be asked for twice.
pub const WORTHWHILE_MEMBERS: usize = 4;
/// Looks that overlooked several members, after which they are looked at one by one.
const OVERLOOKED_LIMIT: u32 = 3;
/// Pages of holders that are read at the most in one go.
const HOLDER_PAGES_LIMIT: u64 = 500;

/// The share of the run's time, and the longest time, that a request waits for others to share it.
const GATHERING_SHARE: u32 = 20;
const LONGEST_GATHERING: Duration = Duration::from_millis(500);

/// What is known by now about seeing many at once.
#[derive(Clone)]
pub struct Together {
    known: Arc<Mutex<Known>>,
    began: Instant,
    wishes: Arc<Mutex<VecDeque<Wish>>>,
    /// Held by whoever asks for others, too.
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Known {
    by_id: Grouping,
    by_email: Grouping,
    /// How often it did not show what was there.
    overlooked: u32,
    /// How many pages the holders fill, as last seen; `None` where the tenant does not list them.
    holder_pages: Option<u64>,
}

/// Profiles that somebody wants to see, with their emails.
struct Wish {
    profiles: Vec<(ProfileId, Email)>,
    answer: oneshot::Sender<HashMap<ProfileId, Found>>,
}

impl Together {
    /// So many at once at the most; 1 where the tenant takes one only. Only what is attached is looked at by ids.
    pub fn new(group: usize, action: Action) -> Self {
        let known = Known {
            by_id: Grouping::new(if action == Action::Assign { group } else { 1 }),
            by_email: Grouping::new(group),
            overlooked: 0,
            holder_pages: Some(0),
        };
        Self {
            known: Arc::new(Mutex::new(known)),
            began: Instant::now(),
            wishes: Arc::default(),
            turn: Arc::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wishes(&self) -> MutexGuard<'_, VecDeque<Wish>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several profiles show a change right after the answer to a group did not. Once, that is a change that came in
    /// between; again and again, those answers are late, or do not say what profiles hold.
    pub fn overlooked(&self) {
        let mut known = self.known();
        known.overlooked += 1;
        if known.overlooked >= OVERLOOKED_LIMIT {
            known.overlooked = 0;
            let by_id = known.by_id.size() > 1;
            let late = if by_id {
                &mut known.by_id
            } else {
                &mut known.by_email
            };
            *late = Grouping::new(1);
        }
    }

    /// How many members one request may show; 1 where only single ones can be looked at.
    pub fn most(&self) -> usize {
        let known = self.known();
        match known.by_id.size() {
            1 => known.by_email.size(),
            by_id => by_id,
        }
    }

    /// How many emails one request may ask for.
    pub fn size(&self) -> usize {
        self.known().by_email.size()
    }

    /// How many members of one batch are seen for a share of a request.
    pub fn share(&self) -> usize {
        share(self.most())
    }

    fn are_asked_by_id(&self) -> bool {
        self.known().by_id.size() > 1
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
    match context.job.action {
        Action::Assign => shared(context, members, &mut seen).await?,
        Action::Remove => with_witness(context, members, &mut seen).await?,
    }
    if context.together.most() == 1 {
        let unseen = |member: &&SealedMember| !seen.contains(&member.id);
        let unseen: Vec<_> = members.iter().copied().filter(unseen).collect();
        among_holders(context, &unseen, &mut seen).await?;
    }
    Ok(seen)
}

/// Looks at what was attached, in requests that are shared with other batches.
async fn shared<T: Tenant>(
    context: &Context<T>,
    members: &[&SealedMember],
    seen: &mut HashSet<EntryId>,
) -> Result<(), Halt> {
    let mut rest = members.to_vec();
    while rest.len() >= WORTHWHILE_MEMBERS && context.together.are_asked_by_id() {
        let size = context.together.most().min(rest.len());
        by_sharing(context, &rest.drain(..size).collect::<Vec<_>>(), seen).await?;
    }
    if context.together.are_asked_by_id() {
        return Ok(());
    }
    let unseen = |member: &&SealedMember| !seen.contains(&member.id) && is_plain(member.email.as_str());
    rest = members.iter().copied().filter(unseen).collect();
    while rest.len() >= WORTHWHILE_MEMBERS && context.together.most() > 1 {
        let emails = rest.iter().map(|member| member.email.as_str());
        let size = cut(emails, context.together.most());
        by_sharing(context, &rest.drain(..size).collect::<Vec<_>>(), seen).await?;
    }
    Ok(())
}

/// Looks at what was taken away, beside somebody who is known to have a status: requests of their own.
async fn with_witness<T: Tenant>(
    context: &Context<T>,
    members: &[&SealedMember],
    seen: &mut HashSet<EntryId>,
) -> Result<(), Halt> {
    let plain = members.iter().filter(|member| is_plain(member.email.as_str()));
    let plain: Vec<&SealedMember> = plain.copied().collect();
    let mut rest = plain.as_slice();
    while rest.len() >= WORTHWHILE_MEMBERS && context.together.size() > 1 {
        // There is room for a witness.
        let emails = rest.iter().map(|member| member.email.as_str());
        let size = cut(emails, (context.together.size() - 1).max(1));
        let (group, later) = rest.split_at(size);
        rest = later;
        by_email(context, group, seen).await?;
    }
    Ok(())
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
    let witness = known_by_email(context).await?;
    emails.extend(witness.filter(|email| !emails.contains(email)));
    match ask_together(context, &emails, Class::Settle).await? {
        Ok(found) => {
            context.together.known().by_email.went_well();
            // Where nobody in an answer has a status, somebody else must show one for it to say that one is gone.
            let bears = |found: &Found| found.held.as_ref().is_some_and(|held| !held.is_empty());
            if !found.iter().flatten().any(bears) && emptiness_counts(context).await? != Some(true) {
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

/// Looks at these together with those whom others want to see by now.
async fn by_sharing<T: Tenant>(
    context: &Context<T>,
    group: &[&SealedMember],
    seen: &mut HashSet<EntryId>,
) -> Result<(), Halt> {
    let (answer, mut answered) = oneshot::channel();
    let named = |member: &&SealedMember| (member.profile.clone(), member.email.clone());
    let profiles: Vec<_> = group.iter().map(named).collect();
    context.together.wishes().push_back(Wish { profiles, answer });
    let _turn = context.together.turn.lock().await;
    let mut found = answered.try_recv();
    if matches!(found, Err(TryRecvError::Empty)) && group.len() * 2 < context.together.most() {
        let gathering = context.together.began.elapsed() / GATHERING_SHARE;
        context.pause(gathering.min(LONGEST_GATHERING)).await?;
    }
    while matches!(found, Err(TryRecvError::Empty)) {
        fulfil_some(context).await?;
        found = answered.try_recv();
    }
    // Without an answer nothing is known of anybody.
    let found = found.unwrap_or_default();
    for member in group {
        if found
            .get(&member.profile)
            .is_some_and(|found| shows(context, member, found))
        {
            seen.insert(member.id);
        }
    }
    Ok(())
}

/// Asks once for as many as can be asked for together, of those who have waited longest.
async fn fulfil_some<T: Tenant>(context: &Context<T>) -> Result<(), Halt> {
    let most = context.together.most();
    let (mut profiles, mut wishes) = (Vec::new(), Vec::new());
    {
        let mut waiting = context.together.wishes();
        while let Some(wish) = waiting.front()
            && (wishes.is_empty() || fit(profiles.iter().chain(&wish.profiles), most))
            && let Some(wish) = waiting.pop_front()
        {
            profiles.extend(wish.profiles.iter().cloned());
            wishes.push(wish);
        }
    }
    let by_id = context.together.are_asked_by_id();
    let asked = if by_id {
        ask_by_id(context, &profiles).await?
    } else {
        let emails: Vec<Email> = profiles.iter().map(|(_, email)| email.clone()).collect();
        let sorted = ask_together(context, &emails, Class::Settle).await?;
        sorted.map(|sorted| sorted.into_iter().flatten().collect::<Vec<_>>())
    };
    let mut found = HashMap::new();
    {
        let mut known = context.together.known();
        let grouping = if by_id {
            &mut known.by_id
        } else {
            &mut known.by_email
        };
        match asked {
            Ok(answer) => {
                grouping.went_well();
                found.extend(answer.into_iter().map(|found| (found.profile.clone(), found)));
            }
            // Nothing has shown yet that ids can be asked for in this way.
            Err(Setback::Contradicted(_) | Setback::Refused(_)) if by_id => *grouping = Grouping::new(1),
            Err(setback) => {
                // The run has been told of what speaks against it; here it only costs requests.
                let _ = grouping.set_back(profiles.len(), &setback);
            }
        }
    }
    for Wish { profiles, answer } in wishes {
        let own = profiles
            .iter()
            .filter_map(|(id, _)| found.remove_entry(id))
            .collect();
        // Nobody waits where the caller was cancelled.
        let _ = answer.send(own);
    }
    Ok(())
}

/// Whether so many can be asked for together.
fn fit<'p>(profiles: impl Iterator<Item = &'p (ProfileId, Email)> + Clone, most: usize) -> bool {
    let (all, emails) = (
        profiles.clone().count(),
        profiles.map(|(_, email)| email.as_str()),
    );
    all <= most && cut(emails, most) == all
}

/// The profiles with these ids, or why the answer says nothing.
async fn ask_by_id<T: Tenant>(
    context: &Context<T>,
    profiles: &[(ProfileId, Email)],
) -> Result<Result<Vec<Found>, Setback>, Halt> {
    let ids: Vec<&str> = profiles.iter().map(|(id, _)| id.as_str()).collect();
    let slice = Slice {
        size: context.settings.page_size,
        number: 1,
    };
    let mut stop = context.stop.clone();
    let page = tokio::select! {
        biased;
        _ = stop.wait_for(|stopped| *stopped) => return Err(Halt::Stopped),
        page = ask_briefly(context, Wanted::Ids(&ids), slice, Class::Settle) => page?,
    };
    Ok(page.and_then(|page| {
        let strange = |found: &Found| !ids.contains(&found.profile.as_str());
        if page.items.iter().any(strange) {
            return Err(Setback::Contradicted(
                "it returns profiles that were not asked for",
            ));
        }
        if page.items.is_empty() {
            return Err(Setback::Contradicted(
                "it returns none of them, though they exist",
            ));
        }
        Ok(page.items)
    }))
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

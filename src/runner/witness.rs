//! Whether the tenant shows statuses at all, at this moment.
//!
//! A profile from which its only status was taken shows nothing, and so does every profile at a tenant that has lost
//! sight of statuses for a while. So where an answer shows no status at all, somebody is looked at who is known to have
//! one: the witness. Where no witness shows any, the answer was none. Where nobody else at the tenant is known to have a
//! status, an empty answer is believed on two looks that lie apart, unless the tenant was seen to answer so wrongly.

use super::context::{Context, GaveUp, Halt};
use crate::api::pacing::Class;
use crate::api::{Holding, Slice, Tenant, Wanted};
use crate::model::email::Email;
use crate::model::ids::{Handle, ProfileId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Witnesses that are kept, and how many are looked at before the tenant counts as showing nothing.
const WITNESSES: usize = 8;
const WITNESSES_ASKED: usize = 3;
/// Statuses whose bearers are asked for where the ledger knows nobody.
const STATUSES_ASKED: usize = 5;
/// How long after they were looked for in vain, or all lost, witnesses are looked for again.
const FOUND_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// For how long one look at a witness speaks for other looks: much less than lies between the two looks that a lack needs,
/// so that one blank spell cannot fool both.
const SPEAKS_FOR: Duration = Duration::from_secs(2);
/// The page of bearers that is asked for.
const PAGE: Slice = Slice { size: 5, number: 1 };

/// A profile that is known to have some status.
#[derive(Clone, Debug)]
pub struct Witness {
    /// Which.
    pub profile: ProfileId,
    /// Its email, where this ledger knows it.
    pub email: Option<Email>,
    /// Whether this job takes nothing from it. One that only has what the job takes away may be on its lists.
    pub lasts: bool,
}

/// What witnesses say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Statuses show.
    Statuses,
    /// None of them shows any.
    Nothing,
    /// Nobody at this tenant is known to have a status.
    NoWitness,
}

/// See the module's documentation.
#[derive(Clone, Default)]
pub struct Witnesses {
    known: Arc<Mutex<Known>>,
    blank: Arc<AtomicBool>,
}

#[derive(Default)]
struct Known {
    /// The one that showed a status last comes first.
    witnesses: Vec<Witness>,
    /// When they were last looked for.
    found: Option<Instant>,
    /// When one of them last showed a status.
    shown: Option<Instant>,
}

impl Known {
    /// Looks for some where there are none, though not all the time.
    async fn fill<T: Tenant>(&mut self, context: &Context<T>) -> Result<(), Halt> {
        let lately = self
            .found
            .is_some_and(|found| found.elapsed() < FOUND_AGAIN_AFTER);
        if self.witnesses.is_empty() && !lately {
            self.witnesses = find(context).await?;
            self.found = Some(Instant::now());
        }
        Ok(())
    }
}

impl Witnesses {
    /// A profile that has statuses showed none.
    pub fn saw_blank(&self) {
        self.blank.store(true, Ordering::Relaxed);
    }

    /// Whether the tenant was seen to show nothing where there is something.
    pub fn was_blank(&self) -> bool {
        self.blank.load(Ordering::Relaxed)
    }
}

/// Looks at witnesses.
pub async fn statuses_show<T: Tenant>(context: &Context<T>) -> Result<Shown, Halt> {
    let mut known = context.witnesses.known.lock().await;
    if known.shown.is_some_and(|shown| shown.elapsed() < SPEAKS_FOR) {
        return Ok(Shown::Statuses);
    }
    known.fill(context).await?;
    if known.witnesses.is_empty() {
        return Ok(Shown::NoWitness);
    }
    let asked = known.witnesses.len().min(WITNESSES_ASKED);
    for number in 0..asked {
        let profile = &known.witnesses[number].profile;
        match context.ask_profile(Class::Settle, profile).await {
            Ok(Holding {
                held, is_kept: false, ..
            }) if !held.is_empty() => {
                known.witnesses.swap(0, number);
                known.shown = Some(Instant::now());
                return Ok(Shown::Statuses);
            }
            Err(GaveUp::Halt(halt)) => return Err(halt),
            Ok(_) | Err(_) => {}
        }
    }
    // They may have lost their statuses meanwhile: others are asked next time.
    known.shown = None;
    if !known.witnesses.drain(..asked).any(|witness| witness.lasts) {
        // Whoever has lost it by this job tells of no blank spell.
        return Ok(Shown::NoWitness);
    }
    context.witnesses.saw_blank();
    Ok(Shown::Nothing)
}

/// Whether what an answer says by showing no status at all may be believed: `None` where only a later look can tell, since
/// nobody has a status and the tenant was seen to show nothing where there is something.
pub async fn emptiness_counts<T: Tenant>(context: &Context<T>) -> Result<Option<bool>, Halt> {
    Ok(match statuses_show(context).await? {
        Shown::Statuses => Some(true),
        Shown::Nothing => Some(false),
        Shown::NoWitness => (!context.witnesses.was_blank()).then_some(true),
    })
}

/// A witness with an email, to be asked for together with others.
pub async fn known_by_email<T: Tenant>(context: &Context<T>) -> Result<Option<Email>, Halt> {
    let mut known = context.witnesses.known.lock().await;
    known.fill(context).await?;
    Ok(known.witnesses.iter().find_map(|witness| witness.email.clone()))
}

/// From the ledger, or else from the tenant: bearers of another status, or of the job's, who are not all on its lists.
async fn find<T: Tenant>(context: &Context<T>) -> Result<Vec<Witness>, Halt> {
    let handles = &context.job.handles;
    let known = context.ledger.bearers_of_others(handles, WITNESSES).await?;
    if !known.is_empty() {
        let witness = |(profile, email)| Witness {
            profile,
            email: Some(email),
            lasts: true,
        };
        return Ok(known.into_iter().map(witness).collect());
    }
    let mut asked: Vec<Handle> = match context
        .ask(Class::Settle, |tenant| async move { tenant.statuses(1).await })
        .await
    {
        Ok(page) => page.items.into_iter().map(|defined| defined.handle).collect(),
        Err(GaveUp::Halt(halt)) => return Err(halt),
        Err(_) => Vec::new(),
    };
    asked.retain(|handle| !handles.contains(handle));
    asked.truncate(STATUSES_ASKED);
    let mut witnesses = Vec::new();
    for handle in asked.iter().chain(handles) {
        let question = |tenant: Arc<T>| async move { tenant.profiles(Wanted::Holders(handle), PAGE).await };
        let page = match context.ask(Class::Settle, question).await {
            Ok(page) => page,
            Err(GaveUp::Halt(halt)) => return Err(halt),
            Err(_) => continue,
        };
        let bears = page
            .items
            .into_iter()
            .filter(|found| found.held.as_ref().is_some_and(|held| held.contains(handle)));
        witnesses.extend(bears.map(|found| Witness {
            profile: found.profile,
            email: None,
            lasts: !handles.contains(handle),
        }));
        if witnesses.len() >= WITNESSES_ASKED {
            break;
        }
    }
    witnesses.truncate(WITNESSES);
    Ok(witnesses)
}

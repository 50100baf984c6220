//! What this run knows the tenant's search to find: the witnesses that are asked where its answers are doubted.
//!
//! That nobody is found is believed only while somebody is found who was found before. Where the search finds none of
//! those either, it is asked again with growing waits, and after about a minute the run stops: whatever is looked up
//! then would be left out for good.

use super::context::{Context, GaveUp, Halt};
use crate::api::pacing::Class;
use crate::api::{Slice, Tenant, Wanted};
use crate::model::email::{Email, same};
use crate::model::grouping::is_plain;
use crate::model::lookup::Found;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Witnesses that are kept, the newest.
const WITNESSES: usize = 8;
/// Witnesses that are asked before the search counts as out of order: one may have left the tenant meanwhile.
const WITNESSES_ASKED: usize = 3;
/// The waits between two rounds of asking witnesses.
const ROUNDS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];

/// See the module's documentation.
#[derive(Clone, Default)]
pub struct Known {
    witnesses: Arc<Mutex<VecDeque<Witness>>>,
    folds_case: Arc<OnceCell<bool>>,
    /// How often in a row nothing became clear of those whom contradictory answers were about, however long it was waited.
    pub waited_in_vain: Arc<AtomicU64>,
}

/// A question whose answer is known.
#[derive(Clone)]
struct Witness {
    spelling: String,
    found: Found,
}

/// Whether the search works.
enum Search {
    Works,
    /// What it says instead.
    Fails(String),
    /// Nobody is known to it.
    NoWitness,
}

impl Known {
    fn witnesses(&self) -> MutexGuard<'_, VecDeque<Witness>> {
        self.witnesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody is known.
    pub fn has_witness(&self) -> bool {
        !self.witnesses().is_empty()
    }

    /// This spelling led to this profile.
    pub fn note(&self, spelling: &str, found: &Found) {
        let mut witnesses = self.witnesses();
        if witnesses.iter().any(|known| known.spelling == spelling) {
            return;
        }
        if witnesses.len() == WITNESSES {
            witnesses.pop_front();
        }
        witnesses.push_back(Witness {
            spelling: spelling.to_owned(),
            found: found.clone(),
        });
    }
}

/// That the search found somebody whom it had found before.
#[derive(Clone, Copy, Debug)]
pub struct Works {
    /// Whether it did so at the first try.
    pub at_once: bool,
}

/// Waits until the search finds somebody whom it found before, though not for ever. `None` where nobody is known to it.
pub async fn search_works<T: Tenant>(context: &Context<T>) -> Result<Option<Works>, Halt> {
    let mut why = String::new();
    for wait in [Duration::ZERO].into_iter().chain(ROUNDS) {
        if !wait.is_zero() {
            context.pause(wait).await?;
        }
        match ask_witnesses(context).await? {
            Search::Works => {
                let at_once = wait.is_zero();
                return Ok(Some(Works { at_once }));
            }
            Search::NoWitness => return Ok(None),
            Search::Fails(said) => why = said,
        }
        if wait.is_zero() {
            let line = "the tenant's search misses people whom it found before: nobody counts as not found until it works again";
            context.events.notice(line.to_owned());
        }
    }
    Err(Halt::SearchFails(why))
}

async fn ask_witnesses<T: Tenant>(context: &Context<T>) -> Result<Search, Halt> {
    learn(context).await?;
    let witnesses: Vec<Witness> = context.known.witnesses().iter().rev().cloned().collect();
    let mut said = Search::NoWitness;
    for witness in witnesses.into_iter().take(WITNESSES_ASKED) {
        said = match ask(context, &witness.spelling).await? {
            // Whoever bears it now: emails move from one profile to another.
            Ok(found) if !found.is_empty() => return Ok(Search::Works),
            Ok(_) => Search::Fails("it misses an email that it found before".into()),
            Err(why) => Search::Fails(why),
        };
    }
    Ok(said)
}

/// Finds somebody to ask for: in the ledger, or else in the list of all profiles.
pub async fn learn<T: Tenant>(context: &Context<T>) -> Result<(), Halt> {
    if !context.known.witnesses().is_empty() {
        return Ok(());
    }
    for (spelling, profile) in context.ledger.some_found(WITNESSES).await? {
        let found = Found {
            profile,
            email: spelling.clone(),
            held: None,
        };
        context.known.note(&spelling, &found);
    }
    if !context.known.witnesses().is_empty() {
        return Ok(());
    }
    let question = |tenant: Arc<T>| async move { tenant.profiles(Wanted::Everybody, Slice::usual(1)).await };
    let listed = match context.ask(Class::Lookup, question).await {
        Ok(page) => page.items,
        Err(GaveUp::Halt(halt)) => return Err(halt),
        Err(_) => return Ok(()),
    };
    let usable = listed
        .into_iter()
        .filter(|found| Email::parse(&found.email).is_ok() && is_plain(found.email.trim()));
    for found in usable.take(WITNESSES) {
        // Whether the search finds whoever is listed is not known yet, so only those are kept for whom it does.
        let spelling = found.email.trim().to_owned();
        if let Ok(answer) = ask(context, &spelling).await?
            && answer.iter().any(|known| known.profile == found.profile)
        {
            context.known.note(&spelling, &found);
            return Ok(());
        }
    }
    Ok(())
}

/// The bearers of an email as it is spelled, or why there is no answer.
async fn ask<T: Tenant>(context: &Context<T>, spelling: &str) -> Result<Result<Vec<Found>, String>, Halt> {
    let question = |tenant: Arc<T>| async move {
        let wanted = Wanted::Email(spelling);
        tenant.profiles(wanted, Slice::usual(1)).await
    };
    let asked = Email::from_ledger(&spelling.trim().to_lowercase());
    match context.ask(Class::Lookup, question).await {
        Ok(page) => {
            let bears = |found: &Found| same(&asked, &found.email);
            Ok(Ok(page.items.into_iter().filter(bears).collect()))
        }
        Err(GaveUp::Halt(halt)) => Err(halt),
        Err(GaveUp::Missing) => Ok(Err("GET /profiles answers 404".into())),
        Err(GaveUp::Denied(refusal)) if refusal.is_from_the_way() => Ok(Err(refusal.to_string())),
        // Without the right to read profiles no look-up will ever work.
        Err(GaveUp::Denied(refusal)) => Err(Halt::Denied(refusal)),
        Err(GaveUp::Refused(why)) => Ok(Err(why)),
    }
}

/// Whether the search is known to find an email in whatever case it is spelled. One request in a run.
///
/// Asked with the spelling under which a profile was found, in the other case: how the tenant spells the email in its answer
/// may be neither.
pub async fn folds_case<T: Tenant>(context: &Context<T>) -> Result<bool, Halt> {
    if let Some(folds) = context.known.folds_case.get() {
        return Ok(*folds);
    }
    let of_letters = |witness: &&Witness| other_case(&witness.spelling) != witness.spelling.trim();
    let Some(witness) = context.known.witnesses().iter().rev().find(of_letters).cloned() else {
        return Ok(false);
    };
    let try_it = || async {
        let found = ask(context, &other_case(&witness.spelling)).await?;
        // Somebody else may bear the email in the other case.
        let is_meant = |found: &Found| found.profile == witness.found.profile;
        Ok::<_, Halt>(found.is_ok_and(|found| found.iter().any(is_meant)))
    };
    context.known.folds_case.get_or_try_init(try_it).await.copied()
}

/// An email in another case than it is spelled in.
fn other_case(email: &str) -> String {
    let upper = email.trim().to_ascii_uppercase();
    if upper == email.trim() {
        email.trim().to_ascii_lowercase()
    } else {
        upper
    }
}

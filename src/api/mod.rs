//! The tenant, as the run sees it: six questions, and one request that writes.
//!
//! [`Tenant`] is what a tenant can be asked, [`client::Client`] asks over HTTP, and [`Paced`] lets nobody
//! ask faster than told: the run holds a `Paced` and nothing else, so no request escapes the pace.
//!
//! Deliberately absent: retries. A call here is one request; whether to ask again is the run's business,
//! because a write must never be repeated by anything that does not know the ledger.

mod answers;
mod asked;
pub mod base_url;
mod batches;
mod body;
pub mod client;
mod foreign;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod pacing;
mod spelling;

use crate::model::ids::{Action, BatchId, Handle, ProfileId};
use crate::model::lookup::Found;
use crate::model::outcome::{Member, ReadFailure, WriteAnswer};
pub use crate::model::walk::Slice;
use pacing::{Class, Gate, Permit, Signal};
pub use spelling::Spelled;
use spelling::Spelling;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// One page of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What stands on it.
    pub items: Vec<T>,
    /// Whether the tenant has another page after it.
    pub more: bool,
    /// How many items all pages have together, where the tenant says so.
    pub total: Option<u64>,
    /// How many items the tenant puts on a page, where it says so.
    pub size: Option<u64>,
}

impl<T> Page<T> {
    /// A page of which the tenant says no more than what is on it, and whether others follow.
    pub fn new(items: Vec<T>, more: bool) -> Self {
        Self {
            items,
            more,
            total: None,
            size: None,
        }
    }
}

/// Which profiles a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Those that the tenant's filter finds for an email: `filter[email]` \[sdk\].
    Email(&'a str),
    /// Those that it finds for any of these: `filter[email][in]` \[sdk\], with commas in between \[guess\].
    Emails(&'a [&'a str]),
    /// Those with these ids: `filter[id][in]` \[sdk\], with commas in between \[guess\].
    Ids(&'a [&'a str]),
    /// Those that hold a status: `filter[statuses.handle]` \[guess\].
    Holders(&'a Handle),
    /// Everybody, by id: `sort=id` \[guess\].
    Everybody,
}

/// A status that the tenant defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusDefinition {
    /// What it is addressed by.
    pub handle: Handle,
    /// What people call it; may be empty.
    pub name: String,
}

/// A profile, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The handles that it holds.
    pub held: Vec<Handle>,
    /// Its email, as the tenant wrote it; `None` where the answer did not say, empty where it has none.
    pub email: Option<String>,
    /// Whether the answer says that something on the way has kept it for a while (`Age`).
    pub is_kept: bool,
}

/// A batch, as the tenant reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchReport {
    /// The ids that it says it is about, a UUID first; empty where it names none. The client passes on no answer about
    /// another batch than the one that was asked for.
    pub ids: Vec<BatchId>,
    /// How far it is.
    pub progress: BatchProgress,
    /// The tenant's own word for that, cleaned.
    pub status: String,
    /// Members that the tenant calls failed, by either of the ids it gives them, with its reason.
    pub failed: Vec<(ProfileId, String)>,
    /// How many members failed, by the count or by the items, whichever is more.
    pub failures: u64,
    /// The ids that each of its items names. Which of them is the profile's is documented nowhere.
    pub items: Vec<Vec<ProfileId>>,
}

/// A batch, as it stands in the tenant's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBatch {
    /// The tenant's id; the UUID where the row names several, since that is what a 202 names.
    pub id: BatchId,
    /// Another id that the row gives it.
    pub other_id: Option<BatchId>,
    /// How many members it has, where the tenant says so.
    pub size: Option<u64>,
    /// How far it is, where the list says so.
    pub progress: Option<BatchProgress>,
    /// How many members failed and how many succeeded, where the list says so.
    pub failed: Option<u64>,
    /// See above.
    pub succeeded: Option<u64>,
}

impl ListedBatch {
    /// All ids that it goes by.
    pub fn ids(&self) -> Vec<BatchId> {
        [Some(&self.id), self.other_id.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchProgress {
    /// Not finished, as the tenant says.
    Pending,
    /// In a state that is documented nowhere.
    Unknown,
    /// Finished, as the tenant says. Proves nothing about a handle.
    Success,
    /// Finished, and some or all of it failed.
    Failed,
}

/// What a tenant can be asked. Each call is at most one request.
pub trait Tenant: Send + Sync + 'static {
    /// Whether the token is good: `GET /auth/verify`.
    fn verify_token(&self) -> impl Future<Output = Result<(), ReadFailure>> + Send;
    /// The scopes of the token, where the tenant tells them: `GET /auth/access-tokens?type=current` \[sdk\].
    fn token_scopes(&self) -> impl Future<Output = Result<Vec<String>, ReadFailure>> + Send {
        std::future::ready(Err(ReadFailure::Missing))
    }
    /// A page of the status definitions, counted from 1: `GET /statuses`.
    fn statuses(&self, page: u32)
    -> impl Future<Output = Result<Page<StatusDefinition>, ReadFailure>> + Send;
    /// A page of the profiles that the tenant finds: `GET /profiles`. Which of them were meant is for the caller to
    /// tell: filters may be inexact, or ignored.
    fn profiles(
        &self,
        wanted: Wanted<'_>,
        slice: Slice,
    ) -> impl Future<Output = Result<Page<Found>, ReadFailure>> + Send;
    /// What a profile holds now, and its email: `GET /profiles/{id}`.
    fn held_by(&self, profile: &ProfileId) -> impl Future<Output = Result<Holding, ReadFailure>> + Send;
    /// What people call a profile, by its first and last name; empty where it has none: `GET /profiles/{id}`.
    fn name_of(&self, _: &ProfileId) -> impl Future<Output = Result<String, ReadFailure>> + Send {
        std::future::ready(Err(ReadFailure::Missing))
    }
    /// How far a batch is: `GET /batches/{id}`.
    fn batch(&self, id: &BatchId) -> impl Future<Output = Result<BatchReport, ReadFailure>> + Send;
    /// A page of all batches, newest first, counted from 1: `GET /batches`.
    fn batches(&self, page: u32) -> impl Future<Output = Result<Page<ListedBatch>, ReadFailure>> + Send;
    /// The one write: `POST` or `DELETE /profile/status/batch.json`. Never repeats anything by itself.
    fn write(&self, action: Action, members: &[Member]) -> impl Future<Output = WriteAnswer> + Send;
}

/// A tenant that is never asked faster than told.
pub struct Paced<T> {
    tenant: Arc<T>,
    gate: Gate,
    spelling: Arc<OnceLock<Spelling>>,
}

impl<T> Clone for Paced<T> {
    fn clone(&self) -> Self {
        Self {
            tenant: self.tenant.clone(),
            gate: self.gate.clone(),
            spelling: self.spelling.clone(),
        }
    }
}

impl<T: Tenant> Paced<T> {
    /// Puts a gate before a tenant.
    pub fn new(tenant: T, gate: Gate) -> Self {
        Self {
            tenant: Arc::new(tenant),
            gate,
            spelling: Arc::default(),
        }
    }

    /// These are its handles.
    pub fn learn_handles(&self, defined: &[StatusDefinition]) {
        // What was learned first is kept: a run reads all answers in one way.
        let _ = self.spelling.set(Spelling::of(defined));
    }

    /// The same tenant, whose profiles show the handles that were learned as they are defined.
    pub fn spelled(&self) -> Paced<Spelled<T>> {
        let tenant = Spelled {
            tenant: self.tenant.clone(),
            spelling: self.spelling.clone(),
        };
        Paced {
            tenant: Arc::new(tenant),
            gate: self.gate.clone(),
            spelling: self.spelling.clone(),
        }
    }

    /// The gate, to look at.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Asks one question, once the pace allows it.
    pub async fn read<R, F>(&self, class: Class, question: impl FnOnce(Arc<T>) -> F) -> Result<R, ReadFailure>
    where
        F: Future<Output = Result<R, ReadFailure>>,
    {
        let permit = self.gate.enter(class).await;
        self.ask(permit, question).await
    }

    /// The same for those who have not decided to wait: where the tenant wants to be left alone for longer than they
    /// have patience, whoever was told so, they get the answer that it would give them.
    pub async fn read_soon<R, F>(
        &self,
        class: Class,
        patience: Duration,
        question: impl FnOnce(Arc<T>) -> F,
    ) -> Result<R, ReadFailure>
    where
        F: Future<Output = Result<R, ReadFailure>>,
    {
        tokio::select! {
            biased;
            permit = self.gate.enter(class) => self.ask(permit, question).await,
            left = self.gate.held_beyond(patience) => Err(ReadFailure::SlowDown(Some(left))),
        }
    }

    async fn ask<R, F>(&self, permit: Permit, question: impl FnOnce(Arc<T>) -> F) -> Result<R, ReadFailure>
    where
        F: Future<Output = Result<R, ReadFailure>>,
    {
        let answer = question(self.tenant.clone()).await;
        permit.leave(match &answer {
            Ok(_)
            | Err(
                ReadFailure::Missing
                | ReadFailure::Elsewhere
                | ReadFailure::Denied(_)
                | ReadFailure::Refused(_),
            ) => Signal::Fine,
            Err(ReadFailure::SlowDown(retry_after)) => Signal::SlowDown(*retry_after),
            Err(ReadFailure::Unreachable(why) | ReadFailure::Spoiled(why)) => Signal::Trouble(why.clone()),
        });
        answer
    }

    /// Waits for the right to send one write. Taken before the batch is marked `sending`, so that a batch
    /// does not stand in doubt while it merely waits its turn.
    pub async fn permit_to_write(&self) -> Permit {
        self.gate.enter(Class::Write).await
    }

    /// Sends one write.
    pub async fn write(&self, permit: Permit, action: Action, members: &[Member]) -> WriteAnswer {
        let answer = self.tenant.write(action, members).await;
        permit.leave(match &answer {
            WriteAnswer::SlowDown(retry_after) => Signal::SlowDown(*retry_after),
            WriteAnswer::NotSent(why) | WriteAnswer::InDoubt(why) => Signal::Trouble(why.clone()),
            _ => Signal::Fine,
        });
        answer
    }
}

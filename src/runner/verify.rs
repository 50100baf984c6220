//! Looks at confirmed profiles again, at any later time. Sends nothing and concludes nothing about batches.

use crate::api::pacing::Class;
use crate::api::{Paced, Slice, Tenant, Wanted};
use crate::ledger::{Confirmed, Drifted};
use crate::model::drift::{Drift, Single, is_unchanged, judge};
use crate::model::ids::{EntryId, Job};
use crate::model::lookup::Found;
use crate::model::outcome::ReadFailure;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often a question is asked that brings no answer; the gate waits in between, where the tenant is unwell.
const TRIES: u32 = 5;
/// After the first try without an answer; after each further one so much longer.
const BEFORE_ASKING_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks that both must lack something: a replica may be late.
const BEFORE_A_LACK_IS_BELIEVED: Duration = Duration::from_secs(2);

/// What the looks showed.
#[derive(Debug, Default)]
pub struct Looked {
    /// Whoever was looked at, with an answer.
    pub checked: Vec<EntryId>,
    /// Whoever is not as they were.
    pub drifted: Vec<Drifted>,
    /// Of how many the tenant could not tell.
    pub unanswered: u64,
    /// Why it broke off, where it did.
    pub broke_off: Option<String>,
}

/// Looks at all of these, so many at a time, and says now and then how many it has.
pub async fn verify<T: Tenant>(
    tenant: &Paced<T>,
    job: &Job,
    confirmed: Vec<Confirmed>,
    at_once: usize,
    stop: watch::Receiver<bool>,
    mut progress: impl FnMut(usize),
) -> Looked {
    let job = Arc::new(job.clone());
    let mut looked = Looked::default();
    let mut tasks = JoinSet::new();
    let mut waiting = confirmed.into_iter();
    loop {
        let stopped = *stop.borrow() || looked.broke_off.is_some();
        while !stopped && tasks.len() < at_once {
            let Some(entry) = waiting.next() else { break };
            let (tenant, job) = (tenant.clone(), job.clone());
            tasks.spawn(async move {
                let seen = look(&tenant, &job, &entry).await;
                (entry, seen)
            });
        }
        let Some(done) = tasks.join_next().await else {
            break;
        };
        let (entry, seen) = done.expect("BUG: a look panicked");
        match seen {
            Ok(drift) => {
                looked.checked.push(entry.id);
                looked.drifted.extend(drift.map(|(kind, detail)| Drifted {
                    id: entry.id,
                    kind,
                    detail,
                }));
            }
            Err(ReadFailure::Denied(refusal)) => looked.broke_off = Some(refusal.to_string()),
            Err(_) => looked.unanswered += 1,
        }
        progress(looked.checked.len());
    }
    if waiting.next().is_some() && looked.broke_off.is_none() {
        looked.broke_off = Some("stopped as asked".into());
    }
    looked.checked.sort();
    looked.drifted.sort_by_key(|drift| drift.id);
    looked
}

/// One email look-up shows most; a single read is believed over it, and a lack only if it is seen twice.
async fn look<T: Tenant>(
    tenant: &Paced<T>,
    job: &Job,
    entry: &Confirmed,
) -> Result<Option<(Drift, String)>, ReadFailure> {
    let found = bearing(tenant, entry).await?;
    if is_unchanged(job, &entry.email, &entry.profile, &found) {
        return Ok(None);
    }
    let first = judge(
        job,
        &entry.email,
        &entry.profile,
        &found,
        &single(tenant, entry).await?,
    );
    if first.is_none() {
        return Ok(None);
    }
    tokio::time::sleep(BEFORE_A_LACK_IS_BELIEVED).await;
    let found = bearing(tenant, entry).await?;
    Ok(judge(
        job,
        &entry.email,
        &entry.profile,
        &found,
        &single(tenant, entry).await?,
    ))
}

async fn bearing<T: Tenant>(tenant: &Paced<T>, entry: &Confirmed) -> Result<Vec<Found>, ReadFailure> {
    let ask = || {
        tenant.read(Class::Lookup, |tenant| async move {
            let page = tenant
                .profiles(Wanted::Email(entry.email.as_str()), Slice::usual(1))
                .await?;
            Ok(page.items)
        })
    };
    persist(ask).await
}

async fn single<T: Tenant>(tenant: &Paced<T>, entry: &Confirmed) -> Result<Single, ReadFailure> {
    let ask = || {
        tenant.read(Class::Settle, |tenant| async move {
            tenant.held_by(&entry.profile).await
        })
    };
    match persist(ask).await {
        Ok(holding) => Ok(Single::There(holding.held, holding.email)),
        Err(ReadFailure::Missing) => Ok(Single::Gone),
        Err(failure) => Err(failure),
    }
}

/// Asks again where no answer came.
async fn persist<R, F: Future<Output = Result<R, ReadFailure>>>(
    mut ask: impl FnMut() -> F,
) -> Result<R, ReadFailure> {
    let mut tries = 1;
    loop {
        match ask().await {
            Err(ReadFailure::Unreachable(_) | ReadFailure::Spoiled(_) | ReadFailure::SlowDown(_))
                if tries < TRIES =>
            {
                tokio::time::sleep(BEFORE_ASKING_AGAIN * tries).await;
                tries += 1;
            }
            answer => return answer,
        }
    }
}

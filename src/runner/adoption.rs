//! Waiting, in a copy of a ledger, for what its original has sent.
//!
//! The copy has never heard of the batches that left after it was made, and knows them by their effect alone. So nobody
//! is looked up before that can be seen: requests that are still on their way get the quiet period to arrive, what the
//! tenant's list calls unfinished has as long as any batch to be finished, and what has only just been finished gets a
//! quiet period to show. Where the list cannot be read, the quiet period has to do.

use super::context::{Context, GaveUp, Halt};
use super::doubt::{ANEW_LIMIT, LIST_PAGES_LIMIT, list_page};
use super::look::Patience;
use crate::api::pacing::Class;
use crate::api::{BatchProgress, ListedBatch, Tenant};
use crate::ledger::Standing;
use crate::model::ids::BatchId;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// Batches in the tenant's list that this ledger does not know and that are younger than whatever it knows.
#[derive(Default)]
struct Unknown {
    pending: usize,
    /// In states that are documented nowhere.
    unclear: usize,
    over: HashSet<BatchId>,
}

impl Unknown {
    fn add(&mut self, id: BatchId, progress: BatchProgress) {
        match progress {
            BatchProgress::Pending => self.pending += 1,
            BatchProgress::Unknown => self.unclear += 1,
            BatchProgress::Success | BatchProgress::Failed => drop(self.over.insert(id)),
        }
    }
}

/// Returns when all that the original may have sent shows.
pub async fn outlast_original<T: Tenant>(context: &Context<T>, quiet: Duration) -> Result<(), Halt> {
    let before = look(context).await?;
    keep_quiet(context, quiet).await;
    let after = look_until_finished(context).await?;
    if !after.over.is_subset(&before.over) {
        context.events.notice(format!(
            "what the tenant has finished of late gets another {} s to show",
            quiet.as_secs()
        ));
        keep_quiet(context, quiet).await;
    }
    Ok(())
}

async fn look_until_finished<T: Tenant>(context: &Context<T>) -> Result<Unknown, Halt> {
    let mut patience = Patience::new(context.settings.settle_deadline);
    let mut told = false;
    loop {
        let unknown = look(context).await?;
        let unfinished = unknown.pending + unknown.unclear;
        if unfinished == 0 {
            return Ok(unknown);
        }
        if !std::mem::replace(&mut told, true) {
            context.events.notice(format!(
                "the tenant has not finished with batches that this copy does not know ({unfinished}): they are waited for"
            ));
        }
        if !patience.next_look(context).await? {
            return match unknown.pending {
                // Whoever waited for a word that nobody knows might wait for ever.
                0 => Ok(unknown),
                pending => Err(Halt::OriginalAtWork(pending)),
            };
        }
    }
}

/// While the tenant was away, it may have worked on nothing either: none of that time was quiet.
async fn keep_quiet<T: Tenant>(context: &Context<T>, quiet: Duration) {
    for _ in 0..=ANEW_LIMIT {
        let began = Instant::now();
        tokio::time::sleep(quiet).await;
        if context.time_since(began).await.is_some() {
            return;
        }
    }
}

/// What the tenant's list holds down to the first batch that was accepted before the copy was made.
async fn look<T: Tenant>(context: &Context<T>) -> Result<Unknown, Halt> {
    let mut unknown = Unknown::default();
    for number in 1..=LIST_PAGES_LIMIT {
        let page = match list_page(context, number).await {
            Ok(page) => page,
            Err(GaveUp::Missing | GaveUp::Denied(_) | GaveUp::Refused(_)) => return Ok(unknown),
            Err(GaveUp::Halt(halt)) => return Err(halt),
        };
        let ids = page.items.iter().map(ListedBatch::ids).collect();
        let standings = context.ledger.recognise_any(ids).await?;
        for (batch, standing) in page.items.into_iter().zip(standings) {
            match standing {
                Standing::Before => return Ok(unknown),
                Standing::Known => {}
                Standing::Unknown => {
                    let progress = progress(context, &batch).await?;
                    unknown.add(batch.id, progress);
                }
            }
        }
        if !page.more {
            break;
        }
    }
    Ok(unknown)
}

async fn progress<T: Tenant>(context: &Context<T>, batch: &ListedBatch) -> Result<BatchProgress, Halt> {
    if let Some(progress) = batch.progress {
        return Ok(progress);
    }
    let id = &batch.id;
    match context
        .ask(Class::Settle, |tenant| async move { tenant.batch(id).await })
        .await
    {
        Ok(report) => Ok(report.progress),
        Err(GaveUp::Missing | GaveUp::Denied(_) | GaveUp::Refused(_)) => Ok(BatchProgress::Unknown),
        Err(GaveUp::Halt(halt)) => Err(halt),
    }
}

//! Reading the tenant's list of batches, as far down as something can stand that matters.

use super::context::{Context, GaveUp, Halt};
use crate::api::pacing::Class;
use crate::api::{BatchProgress, ListedBatch, Page, Tenant};
use crate::ledger::LedgerError;
use crate::model::doubt::{self, Match};
use crate::model::ids::{BatchId, ProfileId};
use crate::model::listing::{ROWS_BEYOND, Reading, Row};
use std::collections::HashSet;
use std::sync::PoisonError;

/// Pages of the list that are read at the most.
const PAGES_LIMIT: u32 = 20;
/// Pages of the list that are read when a run begins, where they are small.
const BASELINE_PAGES_LIMIT: u32 = 3;
/// Tries at a page of the list before a look goes on without it.
const TRIES: u32 = 3;

/// What came of reading the list.
pub enum ListRead {
    /// The tenant has none, or does not let this token read it.
    Missing,
    /// It gives no usable answer now.
    Failed,
    /// So far it was read.
    Rows(Reading),
}

/// Notes the batches at the top of the list, before this run sends anything.
pub async fn note_baseline<T: Tenant>(context: &Context<T>) -> Result<(), Halt> {
    let mut listed = Vec::new();
    for number in 1..=BASELINE_PAGES_LIMIT {
        match list_page(context, number).await {
            Ok(page) => {
                listed.extend(page.items.into_iter().flat_map(|batch| batch.ids()));
                if !page.more || listed.len() > ROWS_BEYOND {
                    break;
                }
            }
            Err(GaveUp::Halt(halt)) => return Err(halt),
            // A list that cannot be read is no reason not to go on.
            Err(_) if number == 1 => return Ok(()),
            Err(_) => break,
        }
    }
    Ok(context.ledger.baseline(listed).await?)
}

/// Reads the list down to where nothing can stand any more that is younger than a request that was sent then. Without
/// known order that is its end.
pub async fn read_list<T: Tenant>(context: &Context<T>, began: Option<i64>) -> Result<ListRead, Halt> {
    let mut reading = Reading::default();
    for number in 1..=PAGES_LIMIT {
        let page = match list_page(context, number).await {
            Ok(page) => page,
            Err(GaveUp::Halt(halt)) => return Err(halt),
            Err(GaveUp::Missing | GaveUp::Denied(_)) if number == 1 => return Ok(ListRead::Missing),
            Err(_) => return Ok(ListRead::Failed),
        };
        reading.whole = !page.more;
        reading.rows.extend(rows(context, page.items).await?);
        if reading.whole || reading.reaches_before(began) {
            break;
        }
    }
    Ok(ListRead::Rows(reading))
}

async fn rows<T: Tenant>(context: &Context<T>, listed: Vec<ListedBatch>) -> Result<Vec<Row>, LedgerError> {
    let ids = listed.iter().map(ListedBatch::ids).collect();
    let known = context.ledger.recognise(ids).await?;
    let over = context.ledger.ruled_over().await?;
    let row = |(batch, (known_as, standing)): (ListedBatch, (Option<BatchId>, _))| {
        let ruled_over = batch.ids().iter().any(|id| over.contains(id));
        Row {
            id: known_as.unwrap_or(batch.id),
            size: batch.size,
            finished: if ruled_over {
                Some(true)
            } else {
                batch.progress.and_then(is_finished)
            },
            ruled_over,
            standing,
        }
    };
    Ok(listed.into_iter().zip(known).map(row).collect())
}

/// Whether the tenant calls a batch finished; `None` where its word for it says nothing.
pub fn is_finished(progress: BatchProgress) -> Option<bool> {
    match progress {
        BatchProgress::Success | BatchProgress::Failed => Some(true),
        BatchProgress::Pending => Some(false),
        BatchProgress::Unknown => None,
    }
}

/// A page of the list. Whoever answers this question with errors, and no other, is soon asked no more.
async fn list_page<T: Tenant>(context: &Context<T>, number: u32) -> Result<Page<ListedBatch>, GaveUp> {
    let page = context
        .ask_within(Class::Settle, Some(TRIES), |tenant| async move {
            tenant.batches(number).await
        })
        .await;
    match page {
        Err(GaveUp::Halt(halt @ (Halt::Outage(_) | Halt::Later(_)))) => {
            Err(GaveUp::Refused(halt.to_string()))
        }
        page => page,
    }
}

/// Whether the items of a batch name profiles as we know them: those of one that the tenant accepted from us do.
pub async fn items_are_recognised<T: Tenant>(context: &Context<T>) -> Result<bool, Halt> {
    let known = || context.calibrated.lock().unwrap_or_else(PoisonError::into_inner);
    if known().items {
        return Ok(true);
    }
    let Some((id, no)) = context.ledger.last_settled().await? else {
        return Ok(false);
    };
    match context.ask_how_far(&id).await {
        Ok(report) => {
            let members = context.ledger.members(no).await?;
            let profiles: HashSet<&ProfileId> = members.iter().map(|member| &member.profile).collect();
            let recognised = doubt::compare(&report.items, &profiles) == Match::Ours;
            known().items |= recognised;
            Ok(recognised)
        }
        Err(GaveUp::Halt(halt)) => Err(halt),
        Err(_) => Ok(false),
    }
}

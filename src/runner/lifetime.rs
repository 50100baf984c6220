//! The maximum request lifetime, and the processing times that it rests on, as a run measures them.

use super::context::{Context, Halt};
use crate::api::Tenant;
use crate::ledger::{LedgerError, now_ms};
use crate::model::doubt::maximum_request_lifetime;
use crate::model::ids::BatchNo;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks that are to agree on what a profile lacks: longer than a replica that has just started answers with
/// less than it is to hold.
const LOOKS_APART: Duration = Duration::from_secs(10);

/// How far apart two looks are that are to agree on what a profile lacks: as long as a request lives at a tenant that was
/// seen to show nothing where there is something.
pub fn looks_apart<T>(context: &Context<T>) -> Duration {
    match context.witnesses.was_blank() {
        true => context.settings.quiet,
        false => LOOKS_APART.min(context.settings.quiet),
    }
}

/// A look that departed at this instant has not shown a batch finished. That is written down.
pub async fn was_unfinished<T: Tenant>(
    context: &Context<T>,
    no: BatchNo,
    looked: Instant,
) -> Result<(), LedgerError> {
    let Some(counted_to) = context.processing.counted_to(no) else {
        return Ok(());
    };
    let undisturbed = context.time_since(counted_to).await.is_some();
    match context.processing.unfinished(no, looked, now_ms(), undisturbed) {
        Some(age) => context.ledger.was_unfinished(no, age).await,
        None => Ok(()),
    }
}

/// How long the tenant took over a batch that was first seen finished at this instant, at the most; `None` where nobody
/// can tell.
pub async fn processing_time<T: Tenant>(
    context: &Context<T>,
    no: BatchNo,
    finished: Instant,
) -> Option<Duration> {
    context.time_since(context.processing.counted_to(no)?).await?;
    context.processing.age(no, finished)
}

/// The maximum request lifetime, from all that is known at this moment.
pub async fn request_lifetime<T: Tenant>(context: &Context<T>) -> Result<Duration, Halt> {
    let longest = context.ledger.longest_processing_time().await?;
    Ok(maximum_request_lifetime(
        context.settings.quiet,
        longest,
        context.processing.unshown(context.disturbed().await),
    ))
}

/// How long after its acceptance a change of this batch can still be made: as long as a request can live. Batches that the
/// tenant calls finished and that show nothing do not make each other wait.
pub async fn failure_lifetime<T: Tenant>(context: &Context<T>, no: BatchNo) -> Result<Duration, Halt> {
    let longest = context.ledger.longest_processing_time().await?;
    let unfinished = context
        .processing
        .unfinished_beside(no, context.disturbed().await);
    Ok(maximum_request_lifetime(
        context.settings.quiet,
        longest,
        unfinished,
    ))
}

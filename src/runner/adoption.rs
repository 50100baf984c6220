//! Waiting, in a copy of a ledger, for what its original has sent.
//!
//! The copy has never heard of the batches that left after it was made, and knows them by their effect alone. So nobody
//! is looked up before that can show: requests that are still on their way get the maximum request lifetime, what the
//! tenant's list calls unfinished has as long as any batch to be finished, and what has only just been finished gets a
//! lifetime to show. The list is read to its end unless its order is calibrated. Where it cannot be read, the lifetime has
//! to do.

use super::context::{Context, GaveUp, Halt};
use super::doubt::ANEW_LIMIT;
use super::listing::{ListRead, read_list};
use super::look::Patience;
use crate::api::{BatchProgress, Tenant};
use crate::model::ids::BatchId;
use crate::model::listing::{Reading, Standing};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// Batches of the list that are asked for alone in one look, where it does not call them finished.
const ASKED_LIMIT: usize = 20;

/// Batches in the tenant's list that this ledger does not know and that are younger than whatever it knows.
#[derive(Default)]
struct Unknown {
    pending: Vec<BatchId>,
    /// In states that are documented nowhere.
    unclear: usize,
    over: HashSet<BatchId>,
}

/// Returns when all that the original may have sent shows.
pub async fn outlast_original<T: Tenant>(context: &Context<T>, lifetime: Duration) -> Result<(), Halt> {
    let before = look(context).await?;
    pass(context, lifetime).await;
    let after = look_until_finished(context).await?;
    if !after.over.is_subset(&before.over) {
        context.events.notice(format!(
            "waiting another {} s, so that what the tenant has just finished can show",
            lifetime.as_secs()
        ));
        pass(context, lifetime).await;
    }
    Ok(())
}

async fn look_until_finished<T: Tenant>(context: &Context<T>) -> Result<Unknown, Halt> {
    let mut patience = Patience::new(context.settings.settle_deadline);
    let mut told = false;
    loop {
        let unknown = look(context).await?;
        let unfinished = unknown.pending.len() + unknown.unclear;
        if unfinished == 0 {
            return Ok(unknown);
        }
        if !std::mem::replace(&mut told, true) {
            context.events.notice(format!(
                "waiting for batches that the tenant is still working on and this copy does not know ({unfinished})"
            ));
        }
        if !patience.next_look(context).await? {
            // Whoever waited for a word that nobody knows might wait for ever.
            return match unknown.pending.is_empty() {
                true => Ok(unknown),
                false => Err(Halt::OriginalAtWork(unknown.pending)),
            };
        }
    }
}

/// While the tenant was away, it may have worked on nothing either: none of that time counts.
async fn pass<T: Tenant>(context: &Context<T>, lifetime: Duration) {
    for _ in 0..=ANEW_LIMIT {
        let began = Instant::now();
        tokio::time::sleep(lifetime).await;
        if context.time_since(began).await.is_some() {
            return;
        }
    }
}

/// What the tenant's list holds down to what was accepted before the copy was made. What of it cannot be read is unclear.
async fn look<T: Tenant>(context: &Context<T>) -> Result<Unknown, Halt> {
    let mut unknown = Unknown::default();
    // Whatever the copy knows was answered before it was made.
    let began = Some(i64::MAX);
    let reading = match read_list(context, began).await? {
        ListRead::Missing => return Ok(unknown),
        ListRead::Failed => Reading::default(),
        ListRead::Rows(reading) => reading,
    };
    if !(reading.whole || reading.reaches_before(began)) {
        unknown.unclear += 1;
    }
    let rows = reading.rows.into_iter();
    for (number, row) in rows.filter(|row| row.standing == Standing::Unknown).enumerate() {
        let progress = match row.finished {
            Some(true) => BatchProgress::Success,
            _ if number < ASKED_LIMIT => progress(context, &row.id).await?,
            _ => BatchProgress::Unknown,
        };
        match progress {
            BatchProgress::Pending => unknown.pending.push(row.id),
            BatchProgress::Unknown => unknown.unclear += 1,
            BatchProgress::Success | BatchProgress::Failed => drop(unknown.over.insert(row.id)),
        }
    }
    Ok(unknown)
}

async fn progress<T: Tenant>(context: &Context<T>, id: &BatchId) -> Result<BatchProgress, Halt> {
    match context.ask_how_far(id).await {
        Ok(report) => Ok(report.progress),
        Err(GaveUp::Halt(halt)) => Err(halt),
        Err(_) => Ok(BatchProgress::Unknown),
    }
}

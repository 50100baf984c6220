//! How far accepted batches are, asked for many at once: a page of the tenant's list tells of up to a hundred.
//!
//! A row of the list is taken for the report on its batch only where the two were seen to say the same, at first each time
//! and later now and then; one that differs ends it for the run. The batch itself is asked where its row is missing, says
//! anything but that it is pending or that all of it succeeded, or cannot be had.

use super::context::{Context, GaveUp};
use crate::api::pacing::Class;
use crate::api::{BatchProgress, BatchReport, ListedBatch, Tenant};
use crate::model::ids::BatchId;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Finished batches of which the list must say what they say themselves before it is believed.
const AGREEING: u32 = 2;
/// One in so many rows is compared after that.
const COMPARE_ONE_IN: u64 = 16;
/// Pages in a row that are of no use before no more are asked for.
const USELESS_LIMIT: u32 = 3;
/// Tries at a page.
const TRIES: u32 = 2;
/// The share of the run's time, and the longest time, that the first who wants to know waits for others.
const GATHERING_SHARE: u32 = 20;
const LONGEST_GATHERING: Duration = Duration::from_secs(2);

/// See the module's documentation.
#[derive(Clone)]
pub struct Polls {
    began: Instant,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// The last page, and when it was asked for.
    page: Option<(Instant, HashMap<BatchId, ListedBatch>)>,
    agreed: u32,
    useless: u32,
    rows: u64,
    /// Whether a batch that the last page calls pending was asked for as well.
    compared: bool,
    over: bool,
}

impl Default for Polls {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            shared: Arc::default(),
        }
    }
}

/// How far a batch is.
pub async fn ask_how_far<T: Tenant>(context: &Context<T>, id: &BatchId) -> Result<BatchReport, GaveUp> {
    let wanted = Instant::now();
    let row = listed(context, id, wanted).await?;
    let Some((row, compare)) = row else {
        return context.ask_how_far(id).await;
    };
    if !compare {
        return Ok(row);
    }
    let own = context.ask_how_far(id).await?;
    let mut shared = context.polls.shared.lock().await;
    let finished =
        |report: &BatchReport| matches!(report.progress, BatchProgress::Success | BatchProgress::Failed);
    if finished(&row) && (own.progress != row.progress || own.failures > 0) {
        shared.over = true;
    } else if finished(&row) {
        shared.agreed += 1;
    } else if finished(&own) {
        // It may have been finished in between. Time and again, the list is late.
        shared.useless += 1;
        shared.over |= shared.useless >= USELESS_LIMIT;
    }
    Ok(own)
}

/// What the list says of a batch, where that is a report, and whether it is to be compared with the batch's own.
async fn listed<T: Tenant>(
    context: &Context<T>,
    id: &BatchId,
    wanted: Instant,
) -> Result<Option<(BatchReport, bool)>, GaveUp> {
    let mut shared = context.polls.shared.lock().await;
    if shared.over {
        return Ok(None);
    }
    if shared.page.as_ref().is_none_or(|(asked, _)| *asked < wanted) {
        let gathering = (context.polls.began.elapsed() / GATHERING_SHARE).min(LONGEST_GATHERING);
        context.pause(gathering).await?;
        if !several_are_settled(context) {
            // Of a single batch it says no more than the batch itself.
            return Ok(None);
        }
        read_page(context, &mut shared).await?;
    }
    let row = shared.page.as_ref().and_then(|(_, rows)| rows.get(id)).cloned();
    let Some(report) = row.and_then(report) else {
        return Ok(None);
    };
    shared.useless = 0;
    shared.rows += 1;
    let is_new = shared.agreed < AGREEING
        && (report.progress == BatchProgress::Success || !std::mem::replace(&mut shared.compared, true));
    let compare = is_new || shared.rows.is_multiple_of(COMPARE_ONE_IN);
    Ok(Some((report, compare)))
}

fn several_are_settled<T>(context: &Context<T>) -> bool {
    context
        .settle_ends
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .len()
        > 1
}

/// Asks for the newest page.
async fn read_page<T: Tenant>(context: &Context<T>, shared: &mut Shared) -> Result<(), GaveUp> {
    let asked = Instant::now();
    let question = |tenant: Arc<T>| async move { tenant.batches(1).await };
    let page = match context.ask_within(Class::Settle, Some(TRIES), question).await {
        Ok(page) => page.items,
        Err(GaveUp::Halt(halt)) if *context.stop.borrow() => return Err(halt.into()),
        Err(GaveUp::Missing | GaveUp::Denied(_)) => {
            shared.over = true;
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    shared.compared = false;
    shared.useless += 1;
    shared.over |= shared.useless > USELESS_LIMIT;
    let by_id = |row: ListedBatch| row.ids().into_iter().map(move |id| (id, row.clone()));
    shared.page = Some((asked, page.into_iter().flat_map(by_id).collect()));
    Ok(())
}

/// A row as the report on its batch, where it says that nothing is done yet or that all of it succeeded.
fn report(row: ListedBatch) -> Option<BatchReport> {
    let (progress, status) = match row.progress? {
        BatchProgress::Pending => (BatchProgress::Pending, "pending"),
        BatchProgress::Success
            if row.failed == Some(0) && row.succeeded == row.size && row.size > Some(0) =>
        {
            (BatchProgress::Success, "success")
        }
        BatchProgress::Success | BatchProgress::Failed | BatchProgress::Unknown => return None,
    };
    Some(BatchReport {
        ids: row.ids(),
        progress,
        status: status.into(),
        failed: Vec::new(),
        failures: 0,
        items: Vec::new(),
    })
}

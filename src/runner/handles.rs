//! The tenant's status definitions: before a run, and again whenever a success shows on nobody.
//!
//! A handle that is not defined is dropped by the write endpoint without an error \[doc\]. If somebody deletes it
//! while a run goes on, its batches "succeed" and change nothing.

use super::context::{Context, GaveUp, Halt};
use crate::api::pacing::Class;
use crate::api::{Page, StatusDefinition, Tenant};
use std::time::Duration;
use tokio::time::Instant;

/// Pages of status definitions that are read at the most.
pub const PAGES_LIMIT: u32 = 200;

/// Between two checks of one run: many batches may ask at the same time.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// All definitions, page by page; `None` where they do not end.
pub async fn definitions<E, F>(page: impl Fn(u32) -> F) -> Result<Option<Vec<StatusDefinition>>, E>
where
    F: Future<Output = Result<Page<StatusDefinition>, E>>,
{
    let mut defined = Vec::new();
    for number in 1..=PAGES_LIMIT {
        let answer = page(number).await?;
        let before = defined.len();
        let is_new = |status: &StatusDefinition| {
            defined
                .iter()
                .all(|known: &StatusDefinition| known.handle != status.handle)
        };
        let new: Vec<_> = answer.items.into_iter().filter(is_new).collect();
        defined.extend(new);
        // A page that brings nothing new is one that was read before, however many are announced.
        if !answer.more || defined.len() == before {
            return Ok(Some(defined));
        }
    }
    Ok(None)
}

/// Stops the run where the tenant does not define one of the job's handles any more.
///
/// Where the tenant will not say, nothing is concluded: the definitions were read before the run began.
pub async fn check_again<T: Tenant>(context: &Context<T>) -> Result<(), Halt> {
    if !is_due(context) {
        return Ok(());
    }
    let page = |number| {
        context.ask(Class::Settle, move |tenant| async move {
            tenant.statuses(number).await
        })
    };
    match definitions(page).await {
        Ok(Some(defined)) => {
            let gone = context
                .job
                .handles
                .iter()
                .find(|handle| defined.iter().all(|status| status.handle != **handle));
            gone.map_or(Ok(()), |handle| Err(Halt::HandleGone(handle.clone())))
        }
        Ok(None) | Err(GaveUp::Missing | GaveUp::Denied(_) | GaveUp::Refused(_)) => Ok(()),
        Err(GaveUp::Halt(halt)) => Err(halt),
    }
}

fn is_due<T>(context: &Context<T>) -> bool {
    let now = Instant::now();
    let mut last = context
        .handles_checked
        .lock()
        .unwrap_or_else(|last| last.into_inner());
    let due = last.is_none_or(|last| now - last >= CHECK_INTERVAL);
    if due {
        *last = Some(now);
    }
    due
}

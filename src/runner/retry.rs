//! Taking failed members of accepted batches up again, by a person's decision.
//!
//! The tenant accepted a request for each of them, so a second one could give the status twice. The order is therefore:
//!
//! 1. the maximum request lifetime passes: what was accepted can no longer take effect behind the look.
//! 2. each profile is looked at, and again a while later where it lacks the change, since a replica may be late. One
//!    that shows the change is confirmed; one that cannot be read stays failed.
//! 3. one transaction records the decision and makes the others pending. Until then a restart finds nothing changed.
//! 4. they are looked up and sent like any other entry.

use super::context::{Context, Halt};
use super::lifetime::{looks_apart, request_lifetime};
use super::limits::about;
use super::look::{Sight, look_at};
use crate::api::Tenant;
use crate::ledger::{Decision, FreshLook, SealedMember};

/// What became of the failed members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// They lack the change and are pending again.
    pub lacking: usize,
    /// They show the change by now.
    pub showing: usize,
}

/// Waits, looks, and acts on what is seen.
pub async fn retry_accepted<T: Tenant>(context: &Context<T>, decision: &Decision) -> Result<Retried, Halt> {
    let members = context.ledger.failed_members().await?;
    if members.is_empty() {
        return Ok(Retried::default());
    }
    let lifetime = request_lifetime(context).await?;
    context.events.notice(format!(
        "waiting {} before {} failed profiles are looked at again: until then an accepted request could still take \
         effect",
        about(lifetime),
        members.len()
    ));
    context.pause(lifetime).await?;
    let mut looks = Vec::new();
    let mut lacking = Vec::new();
    for member in &members {
        match fresh_look(context, member).await? {
            Some(FreshLook::Lacking) => lacking.push(member),
            Some(FreshLook::Showing) => looks.push((member.id, FreshLook::Showing)),
            None => {}
        }
    }
    if !lacking.is_empty() {
        context.pause(looks_apart(context)).await?;
    }
    for member in lacking {
        looks.extend(fresh_look(context, member).await?.map(|look| (member.id, look)));
    }
    let showing = looks
        .iter()
        .filter(|(_, look)| *look == FreshLook::Showing)
        .count();
    let retried = Retried {
        lacking: looks.len() - showing,
        showing,
    };
    let left = members.len() - looks.len();
    context.ledger.retry_accepted(looks, decision.clone()).await?;
    context.events.notice(format!(
        "{} lack the change and are sent again, {} show it by now, {left} stay failed (profile gone or not readable)",
        retried.lacking, retried.showing
    ));
    Ok(retried)
}

/// What one look shows; `None` where that is not certain.
async fn fresh_look<T: Tenant>(
    context: &Context<T>,
    member: &SealedMember,
) -> Result<Option<FreshLook>, Halt> {
    Ok(match look_at(context, member).await? {
        Sight::Unchanged | Sight::Partly => Some(FreshLook::Lacking),
        Sight::Changed => Some(FreshLook::Showing),
        Sight::Stale | Sight::Bare | Sight::Renamed | Sight::Gone | Sight::Unanswered => None,
    })
}

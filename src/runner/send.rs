//! Sending a batch: the one place from which writes leave.
//!
//! The order of operations is the argument, so here it is, with what a restart finds if the power goes after
//! each step:
//!
//! 1. the batch was *sealed* and flushed. It has not left: it is sent.
//! 2. a place at the gate is awaited. Still only sealed.
//! 3. it is marked *sending* and flushed. It may have left: it is in doubt, and never sent again blindly.
//! 4. the request leaves, once, and soon after the mark or not at all: a process that was stopped in between and
//!    wakes up later must not surprise a successor that has waited the maximum request lifetime out. In doubt.
//! 5. the answer comes and is written down and flushed. Accepted, sealed again, refused, or in doubt.
//!
//! The writing client repeats nothing by itself (`api/client.rs`), so what follows from an answer is decided
//! here alone. Only three answers lead back to step 2: one that says nothing left, a 429, and, twice at the most, a
//! refusal of the whole batch: it took no effect either, and may be one of everything for a moment.
//!
//! A refusal may be less than true: a tenant may object to one member and take the others. So whoever was refused in
//! company is looked at before being sent again, when what it took would show. Where some of the change shows, the batch
//! is in doubt.

use super::context::{Context, Halt};
use super::event::Event;
use super::members::Reading;
use crate::api::Tenant;
use crate::ledger::{AnswerRecord, SealedMember};
use crate::model::batch::BatchEvent;
use crate::model::ids::{AttemptNo, BatchId, BatchNo, EntryId};
use crate::model::outcome::{Member, Refusal, WriteAnswer};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

/// How long after its mark a request may leave. The maximum request lifetime counts on it.
pub const DEPARTURE_LIMIT: Duration = Duration::from_secs(5);

/// The waits before a batch that was refused whole is sent again: a tenant that refuses everything for a few seconds
/// must not fail everybody for good. What the last of the tries is answered is believed.
const REFUSED_WAITS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

/// How long after a refusal it is seen whether it was true: as long as the tenant has ever taken over a batch, within
/// these bounds. And how many are looked at alone then that do not show the change.
const SHOWN_AT_LEAST_AFTER: Duration = Duration::from_secs(2);
const SHOWN_AT_MOST_AFTER: Duration = Duration::from_secs(60);
const LOOKED_AT_AFTER_REFUSAL: usize = 5;

/// What became of a batch that was to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The tenant has it.
    Accepted,
    /// It may or may not have arrived.
    InDoubt(String),
    /// It was refused: so many members failed, the rest stand in these smaller batches.
    Refused {
        /// Members that failed.
        failed: usize,
        /// The batches that took the others over, with their sizes.
        regrouped: Vec<(BatchNo, usize)>,
        /// The tenant's words.
        reason: String,
        /// Whether it was for its size.
        too_large: bool,
    },
}

/// Sends a sealed batch, and says how many members it has. A stop is heeded only before the request is on its way.
pub async fn send<T: Tenant>(context: &Context<T>, no: BatchNo) -> Result<(usize, Sent), Halt> {
    let sealed = context.ledger.members(no).await?;
    let members: Vec<Member> = sealed.iter().map(|member| to_send(context, member)).collect();
    let mut stop = context.stop.clone();
    let mut waits = REFUSED_WAITS.into_iter();
    let mut refused = context.ledger.was_refused(no).await?;
    if refused {
        time_to_show(context).await?;
    }
    loop {
        if refused && shows_all_the_same(context, &sealed).await? {
            let why = "the tenant refused it, and its profiles show the change all the same";
            context.ledger.batch_event(no, BatchEvent::LoseSight).await?;
            return Ok((sealed.len(), Sent::InDoubt(why.into())));
        }
        let permit = tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => return Err(Halt::Stopped),
            permit = context.tenant.permit_to_write() => permit,
        };
        let marking = Instant::now();
        context.processing.sent(no);
        let attempt = context.ledger.depart(no).await?;
        let span = tracing::info_span!("attempt", no = attempt.0);
        let answer = if marking.elapsed() < DEPARTURE_LIMIT {
            let writing = context.tenant.write(permit, context.job.action, &members);
            writing.instrument(span.clone()).await
        } else {
            WriteAnswer::NotSent("this process was suspended after it had marked the batch".into())
        };
        span.in_scope(|| tracing::info!(members = members.len(), class = answer.class(), "answer"));
        if let Some(refusal) = doubtful_refusal(&answer, sealed.len())
            && let Some(wait) = waits.next()
        {
            let record = note(BatchEvent::Return, "refused", None, Some(refusal.to_string()));
            context.ledger.answer(no, attempt, record).await?;
            context.pause(wait).await?;
            time_to_show(context).await?;
            refused = true;
            continue;
        }
        if let Some(sent) = record(context, no, attempt, &sealed, answer).await? {
            return Ok((sealed.len(), sent));
        }
    }
}

/// Waits for as long as a change needs to show here, as far as that is known or about to be.
async fn time_to_show<T: Tenant>(context: &Context<T>) -> Result<(), Halt> {
    let began = Instant::now();
    loop {
        let longest = context.ledger.longest_processing_time().await?;
        let about_to_be_known =
            longest.is_zero() && !context.processing.unshown(context.disturbed().await).is_zero();
        let needed = if about_to_be_known {
            SHOWN_AT_MOST_AFTER
        } else {
            longest.clamp(SHOWN_AT_LEAST_AFTER, SHOWN_AT_MOST_AFTER)
        };
        let left = needed.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        context.pause(left.min(SHOWN_AT_LEAST_AFTER)).await?;
    }
}

/// Whether some of the change shows on somebody. Many are asked for with one request, and a few alone.
async fn shows_all_the_same<T: Tenant>(context: &Context<T>, sealed: &[SealedMember]) -> Result<bool, Halt> {
    let mut members = sealed.to_vec();
    fastrand::shuffle(&mut members);
    let mut reading = Reading::of(members);
    reading.look(context, LOOKED_AT_AFTER_REFUSAL).await?;
    Ok(reading.anything_shows() || reading.somebody_shows_a_part())
}

/// A refusal of the whole batch, or of most of it, that may be one of everything, for a moment.
fn doubtful_refusal(answer: &WriteAnswer, size: usize) -> Option<&Refusal> {
    match answer {
        WriteAnswer::Refused { refusal, members } if members.is_empty() || members.len() * 2 > size => {
            Some(refusal)
        }
        WriteAnswer::TooLarge(refusal) if size == 1 => Some(refusal),
        _ => None,
    }
}

fn to_send<T>(context: &Context<T>, member: &SealedMember) -> Member {
    let handles = context.job.action.needed(&context.job.handles, &member.held);
    assert!(
        !handles.is_empty(),
        "BUG: a profile that needs nothing was put into a batch"
    );
    Member {
        profile: member.profile.clone(),
        handles,
    }
}

/// Writes an answer down; `None` means that the batch is sealed again and may be tried again.
async fn record<T: Tenant>(
    context: &Context<T>,
    no: BatchNo,
    attempt: AttemptNo,
    sealed: &[SealedMember],
    answer: WriteAnswer,
) -> Result<Option<Sent>, Halt> {
    match answer {
        WriteAnswer::Accepted(batch_id) => {
            let record = note(BatchEvent::Accept, "accepted", Some(batch_id.clone()), None);
            context.ledger.answer(no, attempt, record).await?;
            context.processing.accepted(no);
            let (batch, members) = (no, sealed.len());
            context.events.tell(Event::Accepted {
                batch,
                members,
                batch_id,
            });
            Ok(Some(Sent::Accepted))
        }
        WriteAnswer::InDoubt(why) => {
            let record = note(BatchEvent::LoseSight, "in_doubt", None, Some(why.clone()));
            context.ledger.answer(no, attempt, record).await?;
            Ok(Some(Sent::InDoubt(why)))
        }
        WriteAnswer::NotSent(why) => {
            let record = note(BatchEvent::Return, "not_sent", None, Some(why));
            context.processing.over(no);
            context.ledger.answer(no, attempt, record).await?;
            Ok(None)
        }
        WriteAnswer::SlowDown(_) => {
            let record = note(BatchEvent::Return, "slow_down", None, None);
            context.ledger.answer(no, attempt, record).await?;
            Ok(None)
        }
        WriteAnswer::Denied(refusal) => {
            let record = note(BatchEvent::Return, "denied", None, Some(refusal.to_string()));
            context.ledger.answer(no, attempt, record).await?;
            Err(Halt::Denied(refusal))
        }
        WriteAnswer::TooLarge(refusal) if sealed.len() > 1 => {
            let ids: Vec<EntryId> = sealed.iter().map(|member| member.id).collect();
            let groups = ids.chunks(ids.len().div_ceil(2)).map(<[_]>::to_vec).collect();
            refuse(context, no, attempt, "too_large", &refusal, Vec::new(), groups)
                .await
                .map(Some)
        }
        WriteAnswer::TooLarge(refusal) => {
            let failed = vec![(sealed[0].id, refusal.to_string())];
            refuse(context, no, attempt, "refused", &refusal, failed, Vec::new())
                .await
                .map(Some)
        }
        WriteAnswer::Refused { refusal, members } => {
            let (failed, rest) = split_by_objection(sealed, &refusal, &members);
            let groups = if rest.is_empty() { Vec::new() } else { vec![rest] };
            refuse(context, no, attempt, "refused", &refusal, failed, groups)
                .await
                .map(Some)
        }
    }
}

fn note(
    event: BatchEvent,
    class: &'static str,
    batch_id: Option<BatchId>,
    detail: Option<String>,
) -> AnswerRecord {
    AnswerRecord {
        event,
        class,
        batch_id,
        detail,
    }
}

/// Members that the tenant objects to by name fail; where it names nobody, all of them do.
///
/// A refusal is of the whole request, so the others took no effect and may be sent without the culprits.
fn split_by_objection(
    sealed: &[SealedMember],
    refusal: &Refusal,
    objections: &[(usize, String)],
) -> (Vec<(EntryId, String)>, Vec<EntryId>) {
    let mut failed = Vec::new();
    let mut rest = Vec::new();
    for (position, member) in sealed.iter().enumerate() {
        match objections.iter().find(|(objected, _)| *objected == position) {
            Some((_, why)) => failed.push((member.id, format!("HTTP {}: {why}", refusal.status))),
            None => rest.push(member.id),
        }
    }
    if failed.is_empty() {
        let everybody = rest.drain(..).map(|id| (id, refusal.to_string()));
        failed.extend(everybody);
    }
    (failed, rest)
}

async fn refuse<T: Tenant>(
    context: &Context<T>,
    no: BatchNo,
    attempt: AttemptNo,
    class: &'static str,
    refusal: &Refusal,
    failed: Vec<(EntryId, String)>,
    groups: Vec<Vec<EntryId>>,
) -> Result<Sent, Halt> {
    let record = note(BatchEvent::Refuse, class, None, Some(refusal.to_string()));
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let count = failed.len();
    let batches = context.ledger.refuse(no, attempt, record, failed, groups).await?;
    Ok(Sent::Refused {
        failed: count,
        regrouped: batches.into_iter().zip(sizes).collect(),
        reason: refusal.to_string(),
        too_large: class == "too_large",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::ProfileId;

    fn sealed(ids: &[i64]) -> Vec<SealedMember> {
        let member = |id: &i64| SealedMember {
            email: crate::model::email::Email::from_ledger(&format!("p{id}@example.com")),
            id: EntryId(*id),
            profile: ProfileId::new(format!("p{id}")),
            held: vec![],
            reused: false,
        };
        ids.iter().map(member).collect()
    }

    fn refusal() -> Refusal {
        Refusal {
            status: 422,
            message: "The given data was invalid.".into(),
        }
    }

    #[test]
    fn only_the_members_objected_to_fail() {
        let objections = [(1, "is unknown".to_string()), (9, "is nobody".to_string())];
        let (failed, rest) = split_by_objection(&sealed(&[7, 8, 9]), &refusal(), &objections);
        assert_eq!(failed, [(EntryId(8), "HTTP 422: is unknown".to_string())]);
        assert_eq!(rest, [EntryId(7), EntryId(9)]);
    }

    #[test]
    fn an_objection_to_nobody_is_one_to_all() {
        for objections in [vec![], vec![(9, "is nobody".to_string())]] {
            let (failed, rest) = split_by_objection(&sealed(&[7, 8]), &refusal(), &objections);
            assert_eq!(failed.len(), 2);
            assert!(rest.is_empty());
        }
    }
}

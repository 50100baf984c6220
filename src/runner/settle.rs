//! Learning for certain what became of a batch that the tenant accepted.
//!
//! It is polled until the tenant calls it finished, and then its members are read back, since a batch's
//! `success` proves nothing about a handle: the API drops unknown ones silently. Where a success shows on nobody,
//! the handle itself is asked for again, so that one that was deleted meanwhile stops the run. Nothing here
//! ever sends.
//!
//! A member fails only on evidence: the tenant blames it, or it was looked at, and still unchanged, after the
//! batch was over and time had been given for the change to show. Where evidence is missing the batch stays as
//! it is, and a later run looks again.

use super::context::{Context, GaveUp, Halt};
use super::handles;
use super::look::{FIRST_WAIT, LONGEST_WAIT, MISSES_A_LOOK, Patience, Sight, look_at};
use super::readback::{WORTHWHILE_MEMBERS, seen_together};
use crate::api::pacing::Class;
use crate::api::{BatchProgress, BatchReport, Tenant};
use crate::ledger::{MemberFate, SealedMember, Settlement};
use crate::model::entry::Evidence;
use crate::model::ids::{BatchId, BatchNo, EntryId, ProfileId};
use crate::model::sample::Confirm;
use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// How long the members of a batch that the tenant calls a failure get to show the change all the same.
const FAILURE_WAIT: Duration = Duration::from_secs(20);

/// How the settling of a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Every member's fate is known.
    Done {
        /// Members with the change.
        confirmed: usize,
        /// Members without.
        failed: usize,
    },
    /// The tenant has not finished with it in the time allowed; a later run looks again.
    StillApplying(String),
}

/// Members that are still to be seen with the change, and what was learned about the others.
#[derive(Default)]
struct Reading {
    unseen: Vec<Unseen>,
    fates: Vec<(EntryId, MemberFate)>,
    /// How many were seen with the change.
    shown: usize,
    /// When somebody was last seen with the change who had been looked at in vain before.
    turned: Option<Instant>,
}

struct Unseen {
    member: SealedMember,
    /// Whether its last look was an answer, and the answer was that nothing has changed.
    unchanged: bool,
}

impl Reading {
    fn of(members: impl IntoIterator<Item = SealedMember>) -> Self {
        let mut reading = Self::default();
        reading.add(members);
        reading
    }

    fn add(&mut self, members: impl IntoIterator<Item = SealedMember>) {
        let unseen = |member| Unseen {
            member,
            unchanged: false,
        };
        self.unseen.extend(members.into_iter().map(unseen));
    }

    /// Looks at everybody who is unseen, until so many showed nothing. Those come last in the next look, so
    /// that a few who never change cannot hide the others for ever.
    async fn look<T: Tenant>(&mut self, context: &Context<T>, misses_limit: usize) -> Result<(), Halt> {
        let together = context.together.size() > 1 && self.unseen.len() >= WORTHWHILE_MEMBERS;
        self.look_together(context).await?;
        let (mut missed, mut overlooked) = (Vec::new(), 0);
        let mut queue = std::mem::take(&mut self.unseen).into_iter();
        while missed.len() < misses_limit
            && let Some(Unseen { member, unchanged }) = queue.next()
        {
            let sight = look_at(context, &member).await?;
            if sight.shows_all() {
                self.shown += 1;
                overlooked += usize::from(together);
                if overlooked == MISSES_A_LOOK {
                    context.together.overlooked();
                }
                if unchanged {
                    self.turned = Some(Instant::now());
                }
            }
            match sight.fate() {
                Some(fate) => self.fates.push((member.id, fate)),
                None => missed.push(Unseen {
                    member,
                    unchanged: matches!(sight, Sight::Unchanged | Sight::Partly),
                }),
            }
        }
        self.unseen = queue.chain(missed).collect();
        Ok(())
    }

    /// Looks at many with one request, where the tenant lets us. Says nothing about who is not seen by it.
    async fn look_together<T: Tenant>(&mut self, context: &Context<T>) -> Result<(), Halt> {
        let members: Vec<&SealedMember> = self.unseen.iter().map(|unseen| &unseen.member).collect();
        let seen = seen_together(context, &members).await?;
        for Unseen { member, unchanged } in self
            .unseen
            .extract_if(.., |unseen| seen.contains(&unseen.member.id))
        {
            if unchanged {
                self.turned = Some(Instant::now());
            }
            self.shown += 1;
            self.fates
                .push((member.id, MemberFate::Confirmed(Evidence::Seen)));
        }
        Ok(())
    }

    /// Looks again and again until everybody is seen or the time is up.
    async fn look_until_seen<T: Tenant>(&mut self, context: &Context<T>, time: Duration) -> Result<(), Halt> {
        let mut patience = Patience::new(time);
        self.look(context, MISSES_A_LOOK).await?;
        while !self.unseen.is_empty() {
            handles::check_again(context).await?;
            if !patience.next_look(context).await? {
                break;
            }
            self.look(context, MISSES_A_LOOK).await?;
        }
        // The last word is asked of everybody: who was not looked at of late must not be judged.
        self.look(context, usize::MAX).await
    }

    fn anyone_seen(&self) -> bool {
        self.shown > 0
    }

    fn everyone_answered(&self) -> bool {
        self.unseen.iter().all(|unseen| unseen.unchanged)
    }

    /// Lets those fail whose change never showed.
    fn give_up_on_the_rest(&mut self, detail: &str) {
        let fate = |unseen: Unseen| {
            (
                unseen.member.id,
                MemberFate::Failed("not_confirmed", detail.to_owned()),
            )
        };
        self.fates.extend(self.unseen.drain(..).map(fate));
    }
}

/// Settles a batch that the tenant accepted.
pub async fn settle<T: Tenant>(context: &Context<T>, no: BatchNo) -> Result<Settled, Halt> {
    let began = Instant::now();
    let members = context.ledger.members(no).await?;
    let accepted = context.ledger.accepted(no).await?;
    let polled = match &accepted.batch_id {
        Some(id) => poll(context, id).await?,
        None if accepted.by_ruling => Polled::CannotTell("it was ruled to have been sent".into()),
        None => Polled::CannotTell("it has no batch id".into()),
    };
    let finished = context.time_since(began).await;
    let learned = match polled {
        Polled::Finished(report) => read_back(context, members, &report).await?,
        Polled::Unfinished(why) => ask_whether_all_show(context, members, why).await?,
        Polled::CannotTell(why) => ask_members(context, members, why, accepted.by_ruling).await?,
    };
    match learned {
        Ok((mut settlement, turned)) => {
            let undisturbed = context.time_since(began).await;
            settlement.took = match turned {
                Some(turned) => undisturbed.map(|_| turned - began),
                None => finished,
            };
            finish(context, no, settlement).await
        }
        Err(why) => Ok(Settled::StillApplying(why)),
    }
}

async fn finish<T: Tenant>(
    context: &Context<T>,
    no: BatchNo,
    settlement: Settlement,
) -> Result<Settled, Halt> {
    let is_confirmed = |fate: &&(_, MemberFate)| matches!(fate.1, MemberFate::Confirmed(_));
    let confirmed = settlement.fates.iter().filter(is_confirmed).count();
    let failed = settlement.fates.len() - confirmed;
    context.ledger.settle(no, settlement).await?;
    Ok(Settled::Done { confirmed, failed })
}

enum Polled {
    Finished(BatchReport),
    /// The tenant says itself that it is not finished.
    Unfinished(String),
    /// The token may not read batches, the tenant has forgotten it, or says what nobody knows: the members
    /// must speak.
    CannotTell(String),
}

async fn poll<T: Tenant>(context: &Context<T>, id: &BatchId) -> Result<Polled, Halt> {
    let mut patience = Patience::new(context.settings.settle_deadline);
    // A poll before it can be finished is a request for nothing.
    let began = Instant::now();
    let first = first_poll_after(context).min(context.settings.settle_deadline);
    context.pause(first).await?;
    let mut polls = 0;
    loop {
        polls += 1;
        let when_time_is_up = match context
            .ask(Class::Settle, |tenant| async move { tenant.batch(id).await })
            .await
        {
            Ok(report) => match report.progress {
                BatchProgress::Success | BatchProgress::Failed => {
                    note_usual_time(
                        context,
                        if polls == 1 {
                            first.mul_f64(0.9)
                        } else {
                            began.elapsed()
                        },
                    );
                    return Ok(Polled::Finished(report));
                }
                BatchProgress::Pending => Polled::Unfinished("the tenant still calls it pending".into()),
                BatchProgress::Unknown => Polled::CannotTell(format!(
                    "the tenant calls it `{}`, which says nothing",
                    report.status
                )),
            },
            // For a while after the 202 that is normal [open].
            Err(GaveUp::Missing) => Polled::CannotTell("the tenant does not know the batch (404)".into()),
            Err(GaveUp::Denied(refusal)) => return Ok(Polled::CannotTell(refusal.to_string())),
            Err(GaveUp::Refused(why)) => return Ok(Polled::CannotTell(why)),
            Err(GaveUp::Halt(halt)) => return Err(halt),
        };
        if !patience.next_look(context).await? {
            return Ok(when_time_is_up);
        }
    }
}

/// When a batch that was just accepted is worth a first poll: about when the others were finished. What is found finished
/// at once makes the next wait a little shorter.
fn first_poll_after<T>(context: &Context<T>) -> Duration {
    let usual = context.usual_time.lock().unwrap_or_else(PoisonError::into_inner);
    usual.unwrap_or(FIRST_WAIT).min(LONGEST_WAIT)
}

fn note_usual_time<T>(context: &Context<T>, time: Duration) {
    *context.usual_time.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
}

/// What became of the members and when the last of them turned, or why that cannot be said yet.
type Learned = Result<(Settlement, Option<Instant>), String>;

/// Reads a finished batch's members back, as many as asked for, and all of them as soon as one disagrees.
async fn read_back<T: Tenant>(
    context: &Context<T>,
    members: Vec<SealedMember>,
    report: &BatchReport,
) -> Result<Learned, Halt> {
    let complaints: HashMap<&ProfileId, &String> = report.failed.iter().map(|(id, why)| (id, why)).collect();
    let blamed = |member: &SealedMember| complaints.contains_key(&member.profile);
    let (refused, mut expected): (Vec<_>, Vec<_>) = members.into_iter().partition(blamed);
    // A failure that cannot be pinned to a member may be anybody's: then nobody is taken on trust.
    let all_pinned = refused.len() as u64 >= report.failures;
    let success = report.progress == BatchProgress::Success || !refused.is_empty();
    let confirm = if success && all_pinned {
        context.settings.confirm
    } else {
        Confirm::All
    };
    let mut settlement = Settlement {
        tenant_status: Some(report.status.clone()),
        ..Settlement::default()
    };
    for member in refused {
        let why = complaints[&member.profile].clone();
        settlement
            .fates
            .push((member.id, MemberFate::Failed("refused_by_tenant", why)));
    }
    fastrand::shuffle(&mut expected);
    let together = context.together.size();
    // Whom only another ledger has seen is never taken on trust.
    let (mut to_read, mut trusted): (Vec<_>, Vec<_>) = expected.into_iter().partition(|member| member.reused);
    let rest = trusted.split_off(confirm.members(trusted.len(), together));
    let sampled = trusted.len();
    to_read.append(&mut trusted);
    let all_to_read = to_read.len();
    let mut reading = Reading::of(to_read);
    // Where one request shows many, a few misses say that the change does not show yet; asking for each would not.
    let misses_limit = if together > 1 { MISSES_A_LOOK } else { usize::MAX };
    reading.look(context, misses_limit).await?;
    if reading.shown == all_to_read {
        let evidence = if sampled > 0 {
            Evidence::Sampled
        } else {
            Evidence::Reported
        };
        settlement.sampled = sampled;
        settlement.fates.extend(reading.fates);
        settlement.fates.extend(
            rest.into_iter()
                .map(|member| (member.id, MemberFate::Confirmed(evidence))),
        );
        return Ok(Ok((settlement, None)));
    }
    reading.add(rest);
    let time = context.settings.settle_deadline;
    reading
        .look_until_seen(context, if success { time } else { time.min(FAILURE_WAIT) })
        .await?;
    if !reading.everyone_answered() {
        return Ok(Err("the tenant does not let every profile be read back".into()));
    }
    reading.give_up_on_the_rest(&format!(
        "the tenant calls the batch `{}`, but the profile does not show the change",
        report.status
    ));
    settlement.fates.extend(reading.fates);
    Ok(Ok((settlement, reading.turned)))
}

/// Settles a batch that the tenant does not call finished, where everybody shows the change all the same. Nothing else
/// can be concluded while it may still be worked on.
async fn ask_whether_all_show<T: Tenant>(
    context: &Context<T>,
    members: Vec<SealedMember>,
    why: String,
) -> Result<Learned, Halt> {
    let mut reading = Reading::of(members);
    reading.look(context, MISSES_A_LOOK).await?;
    if !reading.unseen.is_empty() {
        return Ok(Err(why));
    }
    let settlement = Settlement {
        fates: reading.fates,
        ..Settlement::default()
    };
    Ok(Ok((settlement, reading.turned)))
}

/// Lets the members of an accepted batch speak where the tenant says nothing about the batch itself.
///
/// Once some show the change it has been worked on, so those that still do not when the time is up failed.
/// While none does, it may not have begun, unless a person ruled that it was sent.
async fn ask_members<T: Tenant>(
    context: &Context<T>,
    members: Vec<SealedMember>,
    why: String,
    by_ruling: bool,
) -> Result<Learned, Halt> {
    let mut reading = Reading::of(members);
    reading
        .look_until_seen(context, context.settings.settle_deadline)
        .await?;
    let worked_on = (reading.anyone_seen() || by_ruling) && reading.everyone_answered();
    if !reading.unseen.is_empty() && !worked_on {
        return Ok(Err(format!("{why}, and its profiles do not show the change yet")));
    }
    reading.give_up_on_the_rest(&format!("{why}, and this profile does not show the change"));
    let settlement = Settlement {
        fates: reading.fates,
        ..Settlement::default()
    };
    Ok(Ok((settlement, reading.turned)))
}

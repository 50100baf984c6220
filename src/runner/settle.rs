//! Learning for certain what became of a batch.
//!
//! An accepted batch is polled until the tenant calls it finished, and then its members are read back, since
//! a batch's `success` proves nothing about a handle: the API drops unknown ones silently. A batch in doubt has
//! no answer to poll; only its members can speak. Each of them was seen *without* the change when it was
//! looked up, so one that shows it now was reached. Nothing here ever sends.

use super::context::{Context, GaveUp, Halt};
use crate::api::pacing::Class;
use crate::api::{BatchProgress, BatchReport, Tenant};
use crate::ledger::{MemberFate, SealedMember, Settlement};
use crate::model::entry::Evidence;
use crate::model::ids::{BatchId, BatchNo, ProfileId};
use crate::model::sample::Confirm;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at the same thing: short at first, since many tenants are quick, and then ever longer.
const FIRST_WAIT: Duration = Duration::from_millis(400);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Members without the change in one look at a batch in doubt, after which the rest is not worth asking for yet.
const MISSES_A_LOOK: usize = 3;

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
    /// In doubt, and nothing cleared it up in the time allowed.
    Held(String),
}

/// The growing waits between looks, until a deadline.
struct Patience {
    deadline: Instant,
    wait: Duration,
}

impl Patience {
    fn new(time: Duration) -> Self {
        Self {
            deadline: Instant::now() + time,
            wait: FIRST_WAIT,
        }
    }

    /// Waits for the next look; false when the time is up.
    async fn next_look<T: Tenant>(&mut self, context: &Context<T>) -> Result<bool, Halt> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        context.pause(self.wait.min(left)).await?;
        self.wait = self.wait.mul_f64(1.6).min(LONGEST_WAIT);
        Ok(true)
    }
}

/// What a look at one member shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Changed,
    Unchanged,
    /// The profile is gone, and with it any evidence.
    Gone,
}

async fn look_at<T: Tenant>(context: &Context<T>, member: &SealedMember) -> Result<Sight, GaveUp> {
    let id = &member.profile;
    let sent = context.job.action.needed(&context.job.handles, &member.held);
    match context
        .ask(Class::Settle, |tenant| async move { tenant.held_by(id).await })
        .await
    {
        Ok(held) if context.job.action.shows(&sent, &held) => Ok(Sight::Changed),
        Ok(_) => Ok(Sight::Unchanged),
        Err(GaveUp::Missing) => Ok(Sight::Gone),
        Err(gave_up) => Err(gave_up),
    }
}

/// Members that are still to be seen with the change, and what was learned about the others.
struct Reading {
    unseen: Vec<SealedMember>,
    fates: Vec<(crate::model::ids::EntryId, MemberFate)>,
}

impl Reading {
    fn of(members: Vec<SealedMember>) -> Self {
        Self {
            unseen: members,
            fates: Vec::new(),
        }
    }

    /// Looks at everybody who is unseen, or, given up early, until so many showed nothing.
    async fn look<T: Tenant>(&mut self, context: &Context<T>, misses_limit: usize) -> Result<(), Halt> {
        let mut misses = 0;
        let mut later = Vec::new();
        let mut unseen = std::mem::take(&mut self.unseen).into_iter();
        while misses < misses_limit
            && let Some(member) = unseen.next()
        {
            match look_at(context, &member).await {
                Ok(Sight::Changed) => self
                    .fates
                    .push((member.id, MemberFate::Confirmed(Evidence::Seen))),
                Ok(Sight::Gone) => {
                    let fate = MemberFate::Failed("profile_gone", "the profile no longer exists".into());
                    self.fates.push((member.id, fate));
                }
                // Not being told is no evidence either way.
                Ok(Sight::Unchanged) | Err(GaveUp::Missing | GaveUp::Denied(_) | GaveUp::Refused(_)) => {
                    misses += 1;
                    later.push(member);
                }
                Err(GaveUp::Halt(halt)) => return Err(halt),
            }
        }
        later.extend(unseen);
        self.unseen = later;
        Ok(())
    }

    fn give_up_on_the_rest(&mut self, reason: &'static str, detail: &str) {
        let rest = self
            .unseen
            .drain(..)
            .map(|member| (member.id, MemberFate::Failed(reason, detail.to_owned())));
        self.fates.extend(rest);
    }
}

/// Settles a batch that the tenant accepted.
pub async fn settle<T: Tenant>(context: &Context<T>, no: BatchNo) -> Result<Settled, Halt> {
    let members = context.ledger.members(no).await?;
    let mut patience = Patience::new(context.settings.settle_deadline);
    let report = match context.ledger.batch_id(no).await? {
        Some(id) => match poll(context, &id, &mut patience).await? {
            Polled::Finished(report) => Some(report),
            Polled::CannotTell => None,
            Polled::TimeIsUp(why) => return Ok(Settled::StillApplying(why)),
        },
        None => None,
    };
    let settlement = match &report {
        Some(report) => read_back(context, members, report, patience).await?,
        None => match read_all(context, members, patience).await? {
            Some(settlement) => settlement,
            None => {
                return Ok(Settled::StillApplying(
                    "not every profile shows the change yet".into(),
                ));
            }
        },
    };
    finish(context, no, settlement).await
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
    /// The token may not read batches, or the tenant will not say: the members must speak.
    CannotTell,
    TimeIsUp(String),
}

async fn poll<T: Tenant>(
    context: &Context<T>,
    id: &BatchId,
    patience: &mut Patience,
) -> Result<Polled, Halt> {
    loop {
        let last = match context
            .ask(Class::Settle, |tenant| async move { tenant.batch(id).await })
            .await
        {
            Ok(report) if report.progress != BatchProgress::Pending => return Ok(Polled::Finished(report)),
            Ok(report) => format!("the tenant still calls it `{}`", report.status),
            // For a while after the 202 that is normal [open].
            Err(GaveUp::Missing) => "the tenant does not know the batch (404)".to_owned(),
            Err(GaveUp::Denied(_) | GaveUp::Refused(_)) => return Ok(Polled::CannotTell),
            Err(GaveUp::Halt(halt)) => return Err(halt),
        };
        if !patience.next_look(context).await? {
            return Ok(Polled::TimeIsUp(last));
        }
    }
}

/// Reads a finished batch's members back, as many as asked for, and all of them as soon as one disagrees.
async fn read_back<T: Tenant>(
    context: &Context<T>,
    members: Vec<SealedMember>,
    report: &BatchReport,
    mut patience: Patience,
) -> Result<Settlement, Halt> {
    let complaints: HashMap<&ProfileId, &String> = report.failed.iter().map(|(id, why)| (id, why)).collect();
    let blamed = |member: &SealedMember| complaints.contains_key(&member.profile);
    let (refused, mut expected): (Vec<_>, Vec<_>) = members.into_iter().partition(blamed);
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
    let trusted = report.progress == BatchProgress::Success || !complaints.is_empty();
    let confirm = if trusted {
        context.settings.confirm
    } else {
        Confirm::All
    };
    let rest = expected.split_off(confirm.members(expected.len()));
    let sampled = expected.len();
    let mut reading = Reading::of(expected);
    reading.look(context, usize::MAX).await?;
    let is_seen = |fate: &(_, MemberFate)| fate.1 == MemberFate::Confirmed(Evidence::Seen);
    if reading.fates.iter().filter(|fate| is_seen(fate)).count() == sampled {
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
        return Ok(settlement);
    }
    reading.unseen.extend(rest);
    reading.look(context, usize::MAX).await?;
    // What was called a failure is not waited for; a success may take its time to show.
    while trusted && !reading.unseen.is_empty() && patience.next_look(context).await? {
        reading.look(context, usize::MAX).await?;
    }
    let detail = format!(
        "the tenant calls the batch `{}`, but the profile does not show the change",
        report.status
    );
    reading.give_up_on_the_rest("not_confirmed", &detail);
    settlement.fates.extend(reading.fates);
    Ok(settlement)
}

/// Reads every member until all show the change; `None` when the time is up before that.
async fn read_all<T: Tenant>(
    context: &Context<T>,
    members: Vec<SealedMember>,
    mut patience: Patience,
) -> Result<Option<Settlement>, Halt> {
    let mut reading = Reading::of(members);
    loop {
        reading.look(context, MISSES_A_LOOK).await?;
        if reading.unseen.is_empty() {
            return Ok(Some(Settlement {
                fates: reading.fates,
                ..Settlement::default()
            }));
        }
        if !patience.next_look(context).await? {
            return Ok(None);
        }
    }
}

/// Clears up a batch that may or may not have arrived, as far as its members can tell.
pub async fn clear_up<T: Tenant>(context: &Context<T>, no: BatchNo) -> Result<Settled, Halt> {
    let members = context.ledger.members(no).await?;
    let patience = Patience::new(context.settings.settle_deadline);
    match read_all(context, members, patience).await? {
        Some(mut settlement)
            if settlement
                .fates
                .iter()
                .any(|fate| matches!(fate.1, MemberFate::Confirmed(_))) =>
        {
            settlement.rung = Some("reached");
            finish(context, no, settlement).await
        }
        _ => {
            let why = "its members do not show that it arrived, nor that it did not";
            context.ledger.hold(no, why.into()).await?;
            Ok(Settled::Held(why.into()))
        }
    }
}

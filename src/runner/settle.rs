//! Learning for certain what became of a batch that the tenant accepted.
//!
//! It is polled until the tenant calls it finished, and then its members are read back, since a batch's
//! `success` proves nothing about a handle: the API drops unknown ones silently. Where the tenant does not call it
//! finished, or says what nobody knows, its members are looked at all the same, from early on: when all show the change,
//! it is confirmed. Where a success shows on nobody, the handle itself is asked for again, so that one that was deleted
//! meanwhile stops the run. Nothing here ever sends.
//!
//! A member fails only on the evidence that absence needs: the maximum request lifetime is over since the batch was
//! accepted (or this process began), the batch was worked on, every member answered, and two looks, some time apart, show
//! nothing. Where evidence is missing the batch stays open, and a later run looks again. Polling and looking together
//! end with `--settle-deadline`.

use super::context::{Context, GaveUp, Halt};
use super::handles;
use super::lifetime::{failure_lifetime, looks_apart, processing_time, was_unfinished};
use super::look::{FIRST_WAIT, LONGEST_WAIT, MISSES_A_LOOK, Patience};
use super::members::Reading;
use super::polls::ask_how_far;
use crate::api::{BatchProgress, BatchReport, Tenant};
use crate::ledger::{Accepted, MemberFate, SealedMember, Settlement};
use crate::model::entry::Evidence;
use crate::model::ids::{BatchNo, ProfileId};
use crate::model::sample::Confirm;
use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a batch may be called pending before one of its members is looked at.
const FIRST_LOOK_AFTER: Duration = Duration::from_secs(5);
/// How long after one of them shows the change all are looked at, where the tenant still calls the batch pending.
const ALL_LOOKED_AT_AFTER: Duration = Duration::from_secs(30);
/// Polls in a row without a usable answer before nobody polls any more.
const USELESS_POLLS_LIMIT: u32 = 3;

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
    /// Not known in the time allowed; a later run looks again.
    StillApplying(String),
}

/// Settles a batch that the tenant accepted.
pub async fn settle<T: Tenant>(context: &Context<T>, no: BatchNo) -> Result<Settled, Halt> {
    let began = Instant::now();
    let members = context.ledger.members(no).await?;
    let accepted = context.ledger.accepted(no).await?;
    let unfinished = context.ledger.unfinished(no).await?;
    let processing = &context.processing;
    processing.watch(no, unfinished.age, unfinished.since, !accepted.by_ruling);
    let deadline = context.settings.settle_deadline;
    settle_ends(context).insert(no, began + deadline);
    let settling = Settling {
        context,
        no,
        since: processing.counted_to(no).unwrap_or(began),
        accepted,
        patience: Patience::new(deadline),
        useless_polls: 0,
        began,
        showed_at: None,
    };
    let learned = settling.learn(members).await;
    settle_ends(context).remove(&no);
    match learned? {
        Ok(settlement) => {
            processing.over(no);
            finish(context, no, settlement).await
        }
        Err(why) => Ok(Settled::StillApplying(why)),
    }
}

/// Accepted batches that are being looked at, and when that ends at the latest.
pub fn settle_ends<T>(context: &Context<T>) -> MutexGuard<'_, HashMap<BatchNo, Instant>> {
    context.settle_ends.lock().unwrap_or_else(PoisonError::into_inner)
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

/// When a batch that was just accepted is worth a first poll: about when the others were finished. What is found finished
/// at once makes the next wait a little shorter.
fn first_poll_after<T>(context: &Context<T>) -> Duration {
    let usual = context.usual_time.lock().unwrap_or_else(PoisonError::into_inner);
    usual.unwrap_or(FIRST_WAIT).min(LONGEST_WAIT)
}

fn note_usual_time<T>(context: &Context<T>, time: Duration) {
    *context.usual_time.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
}

/// What a poll says.
enum Polled {
    Finished(BatchReport),
    /// The tenant says itself that it is not finished.
    Unfinished(String),
    /// It says what nobody knows, or nothing: the members must speak.
    Unknown(String),
}

/// What became of the members, or why that cannot be said yet.
type Learned = Result<Settlement, String>;

/// One batch while it is settled.
struct Settling<'c, T> {
    context: &'c Context<T>,
    no: BatchNo,
    /// From when on the lifetime is counted: its acceptance, the begin of this process, or the end of an outage.
    since: Instant,
    accepted: Accepted,
    /// The deadline bounds the waiting for the tenant's word and for what shows.
    patience: Patience,
    useless_polls: u32,
    /// When it was first looked at.
    began: Instant,
    /// When one of its members first showed the change, where the tenant does not call the batch finished.
    showed_at: Option<Instant>,
}

impl<T: Tenant> Settling<'_, T> {
    async fn learn(mut self, members: Vec<SealedMember>) -> Result<Learned, Halt> {
        let mut first = None;
        if self.accepted.batch_id.is_some() {
            // A poll before it can be finished is a request for nothing.
            let wait = first_poll_after(self.context).min(self.context.settings.settle_deadline);
            self.context.pause(wait).await?;
            first = Some(wait);
        }
        let mut reading = Reading::of(members.clone());
        loop {
            let looked = Instant::now();
            let polled = self.poll().await?;
            match &polled {
                Polled::Finished(report) => {
                    note_usual_time(
                        self.context,
                        first.map_or(self.began.elapsed(), |first| first.mul_f64(0.9)),
                    );
                    return self.read_back(members, report).await;
                }
                Polled::Unfinished(_) | Polled::Unknown(_) => {
                    let pending = matches!(polled, Polled::Unfinished(_));
                    if self.everybody_shows(&mut reading, pending).await? {
                        let settlement = Settlement::default();
                        return Ok(Ok(self.settlement(settlement, reading, Instant::now()).await));
                    }
                }
            }
            first = None;
            was_unfinished(self.context, self.no, looked).await?;
            if !self.next_look(&reading).await? {
                return self.give_up(reading, polled).await;
            }
        }
    }

    /// Asks the tenant how far the batch is, as long as it gives answers.
    async fn poll(&mut self) -> Result<Polled, Halt> {
        let Some(id) = self.accepted.batch_id.clone() else {
            let why = if self.accepted.by_ruling {
                "it was ruled to have been sent"
            } else {
                "it has no batch id"
            };
            return Ok(Polled::Unknown(why.into()));
        };
        if self.useless_polls >= USELESS_POLLS_LIMIT {
            return Ok(Polled::Unknown("the tenant does not say how far it is".into()));
        }
        let answer = ask_how_far(self.context, &id).await;
        self.useless_polls = match &answer {
            Ok(_) | Err(GaveUp::Missing) => 0,
            // A token that may not ask now may not ask later either.
            Err(GaveUp::Denied(_)) => USELESS_POLLS_LIMIT,
            Err(_) => self.useless_polls + 1,
        };
        Ok(match answer {
            Ok(report) => match report.progress {
                BatchProgress::Success | BatchProgress::Failed => Polled::Finished(report),
                BatchProgress::Pending => Polled::Unfinished("the tenant still calls it pending".into()),
                BatchProgress::Unknown => Polled::Unknown(format!(
                    "the tenant calls it `{}`, a state that is not documented",
                    report.status
                )),
            },
            // For a while after the 202 that is normal [open].
            Err(GaveUp::Missing) => Polled::Unknown("the tenant does not know the batch (404)".into()),
            Err(GaveUp::Denied(refusal)) => Polled::Unknown(refusal.to_string()),
            Err(GaveUp::Refused(why)) => Polled::Unknown(why),
            Err(GaveUp::Halt(halt)) => return Err(halt),
        })
    }

    /// Whether everybody shows the change although the tenant does not call the batch finished. One member tells whether
    /// it is worth asking for all.
    async fn everybody_shows(&mut self, reading: &mut Reading, pending: bool) -> Result<bool, Halt> {
        if pending && self.began.elapsed() < FIRST_LOOK_AFTER {
            return Ok(false);
        }
        if !reading.anything_shows() {
            reading.look_at_one(self.context).await?;
        }
        if !reading.anything_shows() {
            return Ok(reading.is_over());
        }
        self.context.processing.shows(self.no);
        let showed_at = *self.showed_at.get_or_insert_with(Instant::now);
        if pending && showed_at.elapsed() < ALL_LOOKED_AT_AFTER {
            return Ok(false);
        }
        reading.look(self.context, MISSES_A_LOOK).await?;
        Ok(reading.is_over())
    }

    /// Waits for the next look; false when the time is up.
    async fn next_look(&mut self, reading: &Reading) -> Result<bool, Halt> {
        match reading.second_look(self.context) {
            Some(due) if due > Instant::now() && !self.patience.is_over() => {
                self.patience.next_look_by(self.context, due).await?;
                Ok(true)
            }
            _ => self.patience.next_look(self.context).await,
        }
    }

    /// Reads a finished batch's members back, as many as asked for, and all of them as soon as one disagrees.
    async fn read_back(mut self, members: Vec<SealedMember>, report: &BatchReport) -> Result<Learned, Halt> {
        let finished = Instant::now();
        self.context.processing.finished(self.no);
        // That it is finished is news: it is looked at often again, though no longer than until the deadline.
        self.patience.begin_anew();
        let complaints: HashMap<&ProfileId, &String> =
            report.failed.iter().map(|(id, why)| (id, why)).collect();
        let blamed = |member: &SealedMember| complaints.contains_key(&member.profile);
        let (refused, mut expected): (Vec<_>, Vec<_>) = members.into_iter().partition(blamed);
        // A failure that cannot be pinned to a member may be anybody's: then nobody is taken on trust.
        let all_pinned = refused.len() as u64 >= report.failures;
        let success = report.progress == BatchProgress::Success || !refused.is_empty();
        let confirm = if success && all_pinned {
            self.context.settings.confirm
        } else {
            Confirm::All
        };
        fastrand::shuffle(&mut expected);
        let together = self.context.together.most();
        let share = self.context.together.share();
        // Whom only another ledger has seen is never taken on trust.
        let (mut to_read, mut trusted): (Vec<_>, Vec<_>) =
            expected.into_iter().partition(|member| member.reused);
        let rest = trusted.split_off(confirm.members(trusted.len(), share));
        let sampled = trusted.len();
        to_read.append(&mut trusted);
        let all_to_read = to_read.len();
        let mut reading = Reading::of(to_read);
        // Where one request shows many, a few misses say that the change does not show yet; asking for each would not.
        let misses_limit = if together > 1 { MISSES_A_LOOK } else { usize::MAX };
        self.look_twice(&mut reading, misses_limit).await?;
        let mut settlement = Settlement {
            tenant_status: Some(report.status.clone()),
            ..Settlement::default()
        };
        if reading.shown == all_to_read {
            settlement.sampled = sampled;
            reading.trust(
                rest,
                if sampled > 0 {
                    Evidence::Sampled
                } else {
                    Evidence::Reported
                },
            );
        } else {
            reading.add(rest.into_iter().map(|member| (member, None)));
        }
        let with_blame = |member: SealedMember| {
            let why = complaints.get(&member.profile).map(|why| (*why).clone());
            (member, why)
        };
        reading.add(refused.into_iter().map(with_blame));
        self.look_until_seen(&mut reading, success).await?;
        let detail = format!(
            "the tenant calls the batch `{}`, but the profile does not show the change",
            report.status
        );
        self.conclude(reading, settlement, finished, true, &detail).await
    }

    /// A look, and the second one where the first rests on a lack.
    async fn look_twice(&mut self, reading: &mut Reading, misses_limit: usize) -> Result<(), Halt> {
        reading.look(self.context, misses_limit).await?;
        if !reading.is_over()
            && let Some(due) = reading.second_look(self.context)
        {
            let wait = due.saturating_duration_since(Instant::now());
            self.context.pause(wait).await?;
            reading.look(self.context, misses_limit).await?;
        }
        Ok(())
    }

    /// Looks again and again until everybody is seen or the time is up. What the tenant itself calls a failure is waited for
    /// as long as it could still be made.
    async fn look_until_seen(&mut self, reading: &mut Reading, success: bool) -> Result<(), Halt> {
        while !reading.is_over() {
            reading.look(self.context, MISSES_A_LOOK).await?;
            if reading.is_over() {
                break;
            }
            if reading.anything_shows() {
                self.context.processing.shows(self.no);
            } else {
                was_unfinished(self.context, self.no, Instant::now()).await?;
            }
            handles::check_again(self.context).await?;
            let hopeless = !success || reading.all_are_blamed();
            let nothing_to_come =
                hopeless && !reading.somebody_is_behind() && self.lifetime_is_over().await?;
            if nothing_to_come || !self.next_look(reading).await? {
                break;
            }
        }
        Ok(())
    }

    /// The time is up, and the tenant does not call the batch finished.
    async fn give_up(self, mut reading: Reading, polled: Polled) -> Result<Learned, Halt> {
        let (why, worked_on) = match polled {
            Polled::Unknown(why) => (why, self.accepted.by_ruling),
            Polled::Unfinished(why) => {
                reading.look(self.context, MISSES_A_LOOK).await?;
                if !reading.is_over() {
                    return Ok(Err(why));
                }
                (why, false)
            }
            Polled::Finished(_) => unreachable!("BUG: a finished batch is read back"),
        };
        let detail = format!("{why}, and this profile does not show the change");
        self.conclude(reading, Settlement::default(), Instant::now(), worked_on, &detail)
            .await
    }

    /// What became of everybody. Who was looked at in vain fails on two more looks, and only where the change can no longer
    /// be made: `worked_on` says that the tenant has begun with the batch, and so does each member that shows it.
    async fn conclude(
        mut self,
        mut reading: Reading,
        settlement: Settlement,
        finished: Instant,
        worked_on: bool,
        detail: &str,
    ) -> Result<Learned, Halt> {
        // The last word is asked of everybody: who was not looked at of late must not be judged.
        self.look_twice(&mut reading, usize::MAX).await?;
        if let Some(why) = self.obstacle_to_failure(&reading, worked_on).await? {
            return Ok(Err(why));
        }
        if !reading.is_over() {
            self.context.pause(looks_apart(self.context)).await?;
            reading.look(self.context, usize::MAX).await?;
        }
        // Whose second look has shown something else than the first is looked at again by a later run.
        let all_agree = reading.everyone_is_unchanged();
        if let Some(why) = self.obstacle_to_failure(&reading, worked_on).await? {
            return Ok(Err(why));
        } else if !all_agree {
            return Ok(Err("two looks at its profiles do not agree".into()));
        }
        reading.give_up_on_the_rest(detail);
        Ok(Ok(self.settlement(settlement, reading, finished).await))
    }

    /// The first thing that is missing before those who are left may be called failed.
    async fn obstacle_to_failure(
        &mut self,
        reading: &Reading,
        worked_on: bool,
    ) -> Result<Option<String>, Halt> {
        Ok(if reading.is_over() {
            None
        } else if reading.all_are_bare() {
            Some(
                "its profiles show no status any more, and no profile is known to show one, so that proves nothing: give \
                 some other profile a status, or believe the tenant with --confirm none"
                    .into(),
            )
        } else if !reading.everyone_answered() {
            Some("the tenant does not let every profile be read back".into())
        } else if !worked_on && !reading.anything_shows() {
            Some("its profiles do not show the change yet".into())
        } else if !self.lifetime_is_over().await? {
            Some("not all of its profiles show the change yet, and it can still be made".into())
        } else {
            None
        })
    }

    /// Whether the change can no longer be made. While the tenant was away it may not have worked on anything either.
    async fn lifetime_is_over(&mut self) -> Result<bool, Halt> {
        let outage_ended = self.context.tenant.gate().caught_up().await.outage_ended;
        self.since = outage_ended.map_or(self.since, |ended| ended.max(self.since));
        let lifetime = failure_lifetime(self.context, self.no).await?;
        Ok(self.since.elapsed() >= lifetime)
    }

    async fn settlement(&self, settlement: Settlement, reading: Reading, finished: Instant) -> Settlement {
        let finished = reading.turned.map_or(finished, |turned| turned.max(finished));
        let mut fates = settlement.fates;
        fates.extend(reading.fates);
        Settlement {
            fates,
            took: processing_time(self.context, self.no, finished).await,
            ..settlement
        }
    }
}

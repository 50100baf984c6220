//! What every stage is given: the tenant behind its gate, the ledger's writer, and how to ask with patience.
//!
//! A question is asked again for as long as its failure is the tenant's and not the question's. The gate does
//! the waiting, for everybody at once; what is decided here is only when to give up.

use super::event::Events;
use super::known::Known;
use super::limits::Limits;
use super::lists::Comparison;
use super::polls::Polls;
use super::processing::Processing;
use super::readback::Together;
use super::witness::Witnesses;
use crate::api::pacing::Class;
use crate::api::{BatchReport, Holding, Paced, Page, Slice, Tenant, Wanted};
use crate::ledger::{Decision, LedgerError, Writer};
use crate::model::backoff::LONGEST_RETRY_AFTER;
use crate::model::doubt::InDoubt;
use crate::model::ids::{BatchId, BatchNo, Handle, Job, ProfileId};
use crate::model::lookup::Found;
use crate::model::outcome::{ReadFailure, Refusal};
use crate::model::sample::Confirm;
use crate::model::way::{Sample, Way};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Worthless answers to one question before it is given up.
const SPOILED_LIMIT: u32 = 8;

/// Questions about batches in a row without a usable answer before no run asks them any more.
const USELESS_POLLS_LIMIT: u64 = 4;

/// Questions about single profiles in a row without a usable answer before they are asked only now and then.
const USELESS_LOOKS_LIMIT: u32 = 4;
/// How often they are asked then.
const BETWEEN_USELESS_LOOKS: Duration = Duration::from_secs(10);

/// Worthless answers, or none, to a question that settles a batch before it is seen whether others are answered. If so, it
/// is given up for now: what a batch has to say is learned from its members then.
const SPOILED_SETTLING_LIMIT: u32 = 3;

/// Failures of other kinds in a row, of a question about a batch or a profile, before somebody asks whether it is the
/// tenant or the question.
const SUSPICIOUS_FAILURES: u32 = 8;
/// Failures to reach the tenant with one question, while others reach it, before the question is given up.
const UNREACHABLE_LIMIT: u32 = 8;

/// Requests for slower asking in answer to one question before it is given up, where others are answered meanwhile.
const SLOWED_LIMIT: u32 = 100;

/// The same before anybody has decided to wait.
const SLOWED_LIMIT_IMPATIENT: u32 = 10;

/// Answers about another thing than was asked for before that is taken to be gone.
const ELSEWHERE_LIMIT: u32 = 3;

/// Batches that a message names.
const NAMED: usize = 5;

/// An address that no profile can bear: `.invalid` never exists (RFC 6761). A filter that finds profiles for it
/// filters nothing.
pub const NOBODY: &str = "rollbook-asks-for-nobody@nobody.invalid";

/// The longest wait that the tenant may ask for before anybody has decided to wait.
const IMPATIENT_WAIT_LIMIT: Duration = Duration::from_secs(60);

/// A pause that takes so much longer was not a pause of ours.
const OVERSLEPT_BY: Duration = Duration::from_secs(10);

/// How a run is to go about its work.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// Look-ups under way at the same time; the gate bounds all requests by the same number.
    pub concurrency: usize,
    /// How emails become profiles.
    pub way: Way,
    /// What became of some of the list's emails in advance.
    pub sample: Sample,
    /// Profiles on a page, as far as the tenant grants them.
    pub page_size: u32,
    /// Members of a batch at the most.
    pub batch_size: usize,
    /// How many members this run may send, where that is limited.
    pub send_limit: Option<u64>,
    /// Resolve and stop.
    pub dry_run: bool,
    /// How much is read back.
    pub confirm: Confirm,
    /// How long a batch may stay unclear before the run goes on without it.
    pub settle_deadline: Duration,
    /// How far a batch in doubt is cleared up without a person.
    pub in_doubt: InDoubt,
    /// The least maximum request lifetime: how long after sight of a request was lost it might still take effect, if
    /// the tenant takes no time at all. What it was seen to take comes on top.
    pub quiet: Duration,
    /// When it ends by itself.
    pub limits: Limits,
    /// Who decided that failed members of accepted batches are tried again, where a person did.
    pub retry: Option<Decision>,
}

/// What this run has seen to be evidence, on changes that are known to have been made.
#[derive(Default)]
pub struct Calibrated {
    /// Handles whose change a look at a single profile has shown, and on which profile.
    pub handles: HashMap<Handle, ProfileId>,
    /// Whether the items of a batch of ours named its profiles.
    pub items: bool,
}

/// What every stage is given.
pub struct Context<T> {
    /// The tenant, behind its gate.
    pub tenant: Paced<T>,
    /// The ledger.
    pub ledger: Writer,
    /// What is to be done.
    pub job: Arc<Job>,
    /// How.
    pub settings: Arc<RunSettings>,
    /// Where events go.
    pub events: Events,
    /// When the job's handles were last asked for because something did not show.
    pub handles_checked: Arc<Mutex<Option<Instant>>>,
    /// How many changed profiles can be seen with one request.
    pub together: Together,
    /// Whom the tenant's search is known to find.
    pub known: Known,
    /// Whether its lists say what profiles say.
    pub comparison: Comparison,
    /// How long the tenant usually takes over a batch, as far as this run has seen.
    pub usual_time: Arc<Mutex<Option<Duration>>>,
    /// When this process last slept longer than it had wanted to: it was stopped, or the machine was.
    pub overslept: Arc<Mutex<Option<Instant>>>,
    /// Batches in doubt, and when the maximum lifetime of each request is over: what a run that does nothing waits for.
    pub lifetime_ends: Arc<Mutex<HashMap<BatchNo, Instant>>>,
    /// Accepted batches that are looked at, and when that ends at the latest.
    pub settle_ends: Arc<Mutex<HashMap<BatchNo, Instant>>>,
    /// How long the tenant has been taking over batches that are not known to be finished.
    pub processing: Processing,
    /// How far batches are, asked for many at once.
    pub polls: Polls,
    /// Questions about batches in a row that brought no usable answer, in the whole run.
    pub useless_polls: Arc<AtomicU64>,
    /// Questions about single profiles in a row that brought no usable answer, and when the last of them was given up.
    pub useless_looks: Arc<Mutex<(u32, Option<Instant>)>>,
    /// What kinds of evidence are known to show what happened.
    pub calibrated: Arc<Mutex<Calibrated>>,
    /// Who shows whether statuses show at all.
    pub witnesses: Witnesses,
    /// Questions that were asked through this context: a stage that is to be measured gets one of its own.
    pub asked: Arc<AtomicU64>,
    /// Becomes true when no new work is to be taken, for whatever reason: nobody waits or asks on then.
    pub stop: watch::Receiver<bool>,
}

impl<T> Clone for Context<T> {
    fn clone(&self) -> Self {
        Self {
            tenant: self.tenant.clone(),
            ledger: self.ledger.clone(),
            job: self.job.clone(),
            settings: self.settings.clone(),
            events: self.events.clone(),
            handles_checked: self.handles_checked.clone(),
            together: self.together.clone(),
            known: self.known.clone(),
            comparison: self.comparison.clone(),
            usual_time: self.usual_time.clone(),
            overslept: self.overslept.clone(),
            lifetime_ends: self.lifetime_ends.clone(),
            settle_ends: self.settle_ends.clone(),
            processing: self.processing.clone(),
            polls: self.polls.clone(),
            useless_polls: self.useless_polls.clone(),
            useless_looks: self.useless_looks.clone(),
            calibrated: self.calibrated.clone(),
            witnesses: self.witnesses.clone(),
            asked: self.asked.clone(),
            stop: self.stop.clone(),
        }
    }
}

/// Why the run as a whole cannot go on now. Everything done so far stands; a later run continues.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Halt {
    /// Somebody said so.
    #[error("stopped as asked")]
    Stopped,
    /// The time that was set for the run is up, and so is the grace for what was under way.
    #[error("the time set with --until is up")]
    TimeIsUp,
    /// The run has made as many requests as it may.
    #[error("this run has made as many requests as --max-requests allows")]
    RequestsSpent,
    /// The token is not good, or not good enough, any more.
    #[error("the tenant refuses: {0}")]
    Denied(Refusal),
    /// The tenant wants to be left alone for so long, and nobody has decided to wait.
    #[error("the tenant asks to come back in {} s (429)", .0.as_secs().saturating_add(1))]
    Later(Duration),
    /// The tenant answers nothing usable to anybody.
    #[error("the tenant gives no usable answers: {0}")]
    Outage(String),
    /// Writes go wrong one after the other, so the next one would too.
    #[error("the tenant refuses batch after batch: {0}")]
    Refused(String),
    /// The handle has been deleted since the run began: its batches change nothing.
    #[error("the tenant does not define the status `{0}` any more, so batches change nothing")]
    HandleGone(Handle),
    /// The tenant calls batches a success, and nothing changes.
    #[error("the tenant reports success for batch after batch, and no profile shows the change")]
    NothingChanges,
    /// This ledger is a copy, and the tenant works on batches that its original may have sent.
    #[error(
        "this ledger is a copy, and the tenant is still working on {} batches that its original may have sent: {}",
        .0.len(),
        named(.0)
    )]
    OriginalAtWork(Vec<BatchId>),
    /// The tenant's search does not work, or not any more.
    #[error("the tenant's search does not work, so nobody can be reported as not found: {0}")]
    SearchFails(String),
    /// The tenant's filter does not filter.
    #[error("the tenant ignores the email filter: it returned profiles with other emails, page after page")]
    FilterIgnored,
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The first few ids of batches, for people.
fn named(batches: &[BatchId]) -> String {
    let mut names: Vec<&str> = batches.iter().take(NAMED).map(BatchId::as_str).collect();
    if batches.len() > NAMED {
        names.push("…");
    }
    names.join(", ")
}

/// Why one question was given up.
#[derive(Clone, Debug)]
pub enum GaveUp {
    /// The whole run has to stop.
    Halt(Halt),
    /// There is no such thing.
    Missing,
    /// The tenant will not say: the token may not ask this. What follows depends on the question.
    Denied(Refusal),
    /// The tenant will not answer this question, while it answers others.
    Refused(String),
}

impl From<Halt> for GaveUp {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl<T: Tenant> Context<T> {
    /// Asks until there is an answer, or until it is clear that there will be none.
    pub async fn ask<R, F>(&self, class: Class, question: impl Fn(Arc<T>) -> F) -> Result<R, GaveUp>
    where
        F: Future<Output = Result<R, ReadFailure>>,
    {
        self.ask_within(class, None, question).await
    }

    /// The same, but so many times at the most, where there is a number, at a tenant that cannot be reached or answers
    /// rubbish.
    pub async fn ask_within<R, F>(
        &self,
        class: Class,
        tries: Option<u32>,
        question: impl Fn(Arc<T>) -> F,
    ) -> Result<R, GaveUp>
    where
        F: Future<Output = Result<R, ReadFailure>>,
    {
        let mut stop = self.stop.clone();
        self.asked.fetch_add(1, Ordering::Relaxed);
        let tries = Tries {
            impatient: tries,
            enough: (class == Class::Settle).then_some(SPOILED_SETTLING_LIMIT),
            ..Tries::default()
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => Err(Halt::Stopped.into()),
            answer = ask_as_often(&self.tenant, class, tries, question) => answer,
        }
    }

    /// Whether questions about single profiles have brought no usable answer time and again.
    pub fn looks_are_useless(&self) -> bool {
        let useless = self.useless_looks.lock().unwrap_or_else(PoisonError::into_inner);
        useless.0 >= USELESS_LOOKS_LIMIT
    }

    /// What a profile has. Where the tenant has answered nothing usable time and again, it is asked now and then only: each
    /// such answer holds all other questions up.
    pub async fn ask_profile(&self, class: Class, profile: &ProfileId) -> Result<Holding, GaveUp> {
        let useless = || self.useless_looks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tries = Tries {
            enough: Some(SPOILED_SETTLING_LIMIT),
            ..Tries::default()
        };
        if let mut useless = useless()
            && useless.0 >= USELESS_LOOKS_LIMIT
        {
            if useless
                .1
                .is_some_and(|last| last.elapsed() < BETWEEN_USELESS_LOOKS)
            {
                return Err(GaveUp::Refused(
                    "the tenant does not say what single profiles have".into(),
                ));
            }
            // One of all those who ask tries whether it does by now, once.
            useless.1 = Some(Instant::now());
            tries.enough = Some(1);
        }
        let mut stop = self.stop.clone();
        self.asked.fetch_add(1, Ordering::Relaxed);
        let question = |tenant: Arc<T>| async move { tenant.held_by(profile).await };
        let answer = tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => return Err(Halt::Stopped.into()),
            answer = ask_as_often(&self.tenant, class, tries, question) => answer,
        };
        match &answer {
            Err(GaveUp::Refused(why)) => {
                let mut useless = useless();
                *useless = (useless.0 + 1, Some(Instant::now()));
                if useless.0 == USELESS_LOOKS_LIMIT {
                    self.events.notice(format!(
                        "the tenant gives no usable answers about single profiles ({why}): \
                         they are asked for now and then only"
                    ));
                }
            }
            Err(GaveUp::Halt(_)) => {}
            Ok(_) | Err(GaveUp::Missing | GaveUp::Denied(_)) => *useless() = (0, None),
        }
        answer
    }

    /// How far a batch is. Where the tenant has answered nothing usable time and again, nobody asks any more: each such
    /// answer holds all other questions up, and the members of batches speak for themselves.
    pub async fn ask_how_far(&self, id: &BatchId) -> Result<BatchReport, GaveUp> {
        if self.useless_polls.load(Ordering::Relaxed) >= USELESS_POLLS_LIMIT {
            return Err(GaveUp::Refused(
                "the tenant does not say how far its batches are".into(),
            ));
        }
        let question = |tenant: Arc<T>| async move { tenant.batch(id).await };
        let answer = self.ask(Class::Settle, question).await;
        match &answer {
            Err(GaveUp::Refused(_)) => drop(self.useless_polls.fetch_add(1, Ordering::Relaxed)),
            Err(GaveUp::Halt(_)) => {}
            Ok(_) | Err(GaveUp::Missing | GaveUp::Denied(_)) => {
                self.useless_polls.store(0, Ordering::Relaxed)
            }
        }
        answer
    }

    /// The same, counting what is asked through it from nothing.
    pub fn counting(&self) -> Self {
        Self {
            asked: Arc::default(),
            ..self.clone()
        }
    }

    /// Lets time pass, unless the run is to stop.
    pub async fn pause(&self, time: Duration) -> Result<(), Halt> {
        let mut stop = self.stop.clone();
        let began = Instant::now();
        let _resting = self.tenant.gate().rest();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => return Err(Halt::Stopped),
            () = tokio::time::sleep(time) => {}
        }
        if began.elapsed() > time + OVERSLEPT_BY {
            *self.overslept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok(())
    }

    /// When this process was last held up, or the tenant away.
    pub async fn disturbed(&self) -> Option<Instant> {
        let outage_ended = self.tenant.gate().caught_up().await.outage_ended;
        let overslept = *self.overslept.lock().unwrap_or_else(PoisonError::into_inner);
        overslept.max(outage_ended)
    }

    /// The time since an instant, as far as it says something about the tenant: not where this process was held up
    /// meanwhile, or the tenant was away.
    pub async fn time_since(&self, instant: Instant) -> Option<Duration> {
        self.disturbed()
            .await
            .is_none_or(|disturbed| disturbed < instant)
            .then(|| instant.elapsed())
    }
}

/// Asks for nobody: the question whose right answer is known.
pub async fn find_nobody<T: Tenant>(tenant: Arc<T>) -> Result<Page<Found>, ReadFailure> {
    tenant.profiles(Wanted::Email(NOBODY), Slice::usual(1)).await
}

/// Asks again for as long as that makes sense. `unreachable_limit` bounds the tries at a tenant that cannot be
/// reached at all, for questions that are asked before anybody has decided to wait out an outage. Nor do these wait
/// for long where the tenant has asked for it, be it another process: a hold outlives the run that it was told.
pub async fn ask_patiently<T: Tenant, R, F>(
    tenant: &Paced<T>,
    class: Class,
    unreachable_limit: Option<u32>,
    question: impl Fn(Arc<T>) -> F,
) -> Result<R, GaveUp>
where
    F: Future<Output = Result<R, ReadFailure>>,
{
    let tries = Tries {
        impatient: unreachable_limit,
        enough: (class == Class::Settle).then_some(SPOILED_SETTLING_LIMIT),
        ..Tries::default()
    };
    ask_as_often(tenant, class, tries, question).await
}

async fn ask_as_often<T: Tenant, R, F>(
    tenant: &Paced<T>,
    class: Class,
    mut tries: Tries,
    question: impl Fn(Arc<T>) -> F,
) -> Result<R, GaveUp>
where
    F: Future<Output = Result<R, ReadFailure>>,
{
    loop {
        // No question is asked without a bound, be it that the tenant answers every other one.
        if tries.are_suspicious() && tenant.read(class, find_nobody).await.is_ok() {
            return Err(GaveUp::Refused(
                "the tenant answers other requests but not this one".into(),
            ));
        }
        let answer = match tries.impatient {
            Some(_) => tenant.read_soon(class, IMPATIENT_WAIT_LIMIT, &question).await,
            None => tenant.read(class, &question).await,
        };
        let failed = answer
            .as_ref()
            .err()
            .map(|failure| (failure.class(), format!("{failure:?}")));
        match answer {
            Ok(answer) => return Ok(answer),
            Err(ReadFailure::SlowDown(wait)) => tries.slowed(tenant, class, wait).await?,
            Err(ReadFailure::Unreachable(why)) => tries.unreachable(tenant, class, why).await?,
            Err(ReadFailure::Spoiled(why)) => tries.spoiled(tenant, class, why).await?,
            Err(ReadFailure::Elsewhere) => tries.elsewhere()?,
            Err(ReadFailure::Missing) => return Err(GaveUp::Missing),
            Err(ReadFailure::Denied(refusal)) if refusal.status == 401 => {
                return Err(Halt::Denied(refusal).into());
            }
            Err(ReadFailure::Denied(refusal)) => return Err(GaveUp::Denied(refusal)),
            Err(ReadFailure::Refused(refusal)) if refusal.status < 400 => {
                return Err(Halt::Denied(refusal).into());
            }
            Err(ReadFailure::Refused(refusal)) => return Err(GaveUp::Refused(refusal.to_string())),
        }
        if let Some((reason, why)) = failed {
            tracing::info!(?class, reason, why, n = tries.all, "retry");
        }
    }
}

/// The tries at one question, by what came of them: none of it goes on for ever, unless the tenant is away for
/// everybody.
#[derive(Default)]
struct Tries {
    /// How many may fail before anybody has decided to wait.
    impatient: Option<u32>,
    /// How many failures are enough where the question is about one batch or profile, and others are answered: what it
    /// does not say may be learned in another way.
    enough: Option<u32>,
    slowed: u32,
    unreachable: u32,
    /// Those between which the tenant could be reached by others.
    shut_out: u32,
    spoiled: u32,
    elsewhere: u32,
    /// All of them.
    all: u32,
    /// Answers that the tenant had given to anybody when the question first failed.
    successes: Option<u64>,
}

impl Tries {
    /// Whether a question about a batch or a profile has failed so often that somebody has to ask which of the two it is.
    fn are_suspicious(&mut self) -> bool {
        let before = self.all;
        self.all += 1;
        self.enough.is_some() && before > 0 && before.is_multiple_of(SUSPICIOUS_FAILURES)
    }

    /// Whether anybody was answered since this was last asked, or since the first failure.
    fn others_succeed<T: Tenant>(&mut self, tenant: &Paced<T>, from_now_on: bool) -> bool {
        let now = tenant.gate().view().successes;
        // What went well before the first failure says nothing about an outage that began since.
        let before = *self.successes.get_or_insert(now);
        if from_now_on {
            self.successes = Some(now);
        }
        now > before
    }

    async fn slowed<T: Tenant>(
        &mut self,
        tenant: &Paced<T>,
        class: Class,
        wait: Option<Duration>,
    ) -> Result<(), GaveUp> {
        self.slowed += 1;
        let others = self.others_succeed(tenant, false);
        match (self.impatient, wait) {
            (Some(_), Some(wait)) if wait > IMPATIENT_WAIT_LIMIT => {
                Err(Halt::Later(wait.min(LONGEST_RETRY_AFTER)).into())
            }
            (Some(_), wait) if self.slowed >= SLOWED_LIMIT_IMPATIENT => {
                Err(Halt::Later(wait.unwrap_or_default()).into())
            }
            _ if self.slowed < SLOWED_LIMIT => Ok(()),
            // Perhaps there are no others any more.
            _ if others || tenant.read(class, find_nobody).await.is_ok() => Err(GaveUp::Refused(
                "the tenant asks to come back later each time (429)".into(),
            )),
            _ => Ok(()),
        }
    }

    async fn unreachable<T: Tenant>(
        &mut self,
        tenant: &Paced<T>,
        class: Class,
        why: String,
    ) -> Result<(), GaveUp> {
        self.unreachable += 1;
        if self.impatient.is_some_and(|limit| self.unreachable >= limit) {
            return Err(Halt::Outage(why).into());
        }
        let is_enough = self.enough.is_some_and(|enough| self.unreachable >= enough);
        if is_enough && tenant.read(class, find_nobody).await.is_ok() {
            return Err(GaveUp::Refused(why));
        }
        if self.others_succeed(tenant, true) {
            self.shut_out += 1;
        } else if self.unreachable >= UNREACHABLE_LIMIT {
            // Perhaps there are no others any more. If this is answered, it counts as one.
            drop(tenant.read(class, find_nobody).await);
        }
        if self.shut_out >= UNREACHABLE_LIMIT {
            return Err(GaveUp::Refused(why));
        }
        Ok(())
    }

    async fn spoiled<T: Tenant>(
        &mut self,
        tenant: &Paced<T>,
        class: Class,
        why: String,
    ) -> Result<(), GaveUp> {
        self.spoiled += 1;
        let others = self.others_succeed(tenant, false);
        let is_enough = self.enough.is_some_and(|enough| self.spoiled >= enough);
        if is_enough
            && self.spoiled < SPOILED_LIMIT
            && (others || tenant.read(class, find_nobody).await.is_ok())
        {
            return Err(GaveUp::Refused(why));
        }
        if self.spoiled < self.impatient.unwrap_or(SPOILED_LIMIT).min(SPOILED_LIMIT) {
            return Ok(());
        }
        // Did others get through meanwhile? Then it is this question; else it is the tenant.
        if others {
            return Err(GaveUp::Refused(why));
        }
        // Perhaps there are no others any more. What is well now may have been ill until now, so this one is asked once
        // more afterwards.
        if self.impatient.is_some() || tenant.read(class, find_nobody).await.is_err() {
            return Err(Halt::Outage(why).into());
        }
        Ok(())
    }

    fn elsewhere(&mut self) -> Result<(), GaveUp> {
        self.elsewhere += 1;
        // Answers are not mixed up time and again: what was asked for has become something else.
        if self.elsewhere >= ELSEWHERE_LIMIT {
            return Err(GaveUp::Missing);
        }
        Ok(())
    }
}

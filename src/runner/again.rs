//! Asking once more for entries of which one answer is not enough: nobody was found, the question was refused, answers
//! contradict each other, or a profile showed nothing at all.
//!
//! One wrong answer decides nothing. That nobody bears an email is said by two answers, with a search that was seen to
//! find somebody before the second and after it. That a profile has nothing to be taken away is said by two answers that lie
//! apart. Where answers contradict each other, such as a search that finds a profile which its id does not lead to, they
//! are asked for with growing waits, since a replica may be late; what is unclear after that has failed, and is nobody's
//! absence.

use super::bursts::{Doubtful, Provisional};
use super::commands::AskedAgain;
use super::context::{Context, GaveUp, Halt};
use super::known::search_works;
use super::lifetime::looks_apart;
use super::readback::WORTHWHILE_MEMBERS;
use super::resolve::{Finding, Trust, ask_together, find, given_up, is_of_somebody, judge_bearers};
use super::witness::{Shown, statuses_show};
use crate::api::Tenant;
use crate::api::pacing::Class;
use crate::ledger::PendingEntry;
use crate::model::email::Email;
use crate::model::entry::SkipReason;
use crate::model::grouping::{cut, is_plain};
use crate::model::ids::EntryId;
use crate::model::lookup::{Found, Verdict};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How often entries are asked for once more where the search works only now and then.
const ASKED_AGAIN_LIMIT: u32 = 3;
/// How long what was asked lies back before it is asked again where nobody can witness that the search works.
const WITHOUT_WITNESS: Duration = Duration::from_secs(10);
/// The waits before those are asked for once more of whom nothing clear is known.
const WAITS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];
/// The longest of them where single profiles are not shown at all: none of them would bring anything.
const LONGEST_WHILE_USELESS: Duration = Duration::from_secs(8);
/// Rows of such waits one after the other that made nothing clear before there is no more waiting.
const VAIN_LIMIT: u64 = 2;

/// Asks once more for all of these. What that leads to is believed where the search was seen to work before and after.
pub async fn ask_again<T: Tenant>(context: &Context<T>, doubtful: Doubtful) -> Result<AskedAgain, Halt> {
    for _ in 0..ASKED_AGAIN_LIMIT {
        let before = search_works(context).await?;
        if before.is_none() {
            context.pause(WITHOUT_WITNESS).await?;
        }
        let verdicts = settle_all(context, &doubtful.results, before.is_some()).await?;
        let is_found = |(_, verdict): &&(EntryId, Verdict)| is_of_somebody(verdict);
        let found = verdicts.iter().filter(is_found).count();
        let after = if found == verdicts.len() || before.is_none() {
            before
        } else {
            // Whatever ended in between may have begun again.
            search_works(context).await?
        };
        if after.is_none_or(|works| works.at_once) {
            return Ok(AskedAgain { verdicts, found });
        }
    }
    Err(Halt::SearchFails("it keeps finding nobody".into()))
}

/// An entry that is open, and what was last found out about it.
struct Open {
    entry: PendingEntry,
    last: Finding,
}

impl Open {
    fn of(result: &Provisional) -> Self {
        Self {
            entry: result.entry.clone(),
            last: Finding {
                verdict: result.verdict.clone(),
                at_once: false,
                at: result.at,
                trust: Trust::Again,
            },
        }
    }

    /// When it may be asked for again: what shows nothing at all is not asked for at once.
    fn is_due(&self, apart: Duration) -> Instant {
        if is_of_somebody(&self.last.verdict) {
            self.last.at + apart
        } else {
            self.last.at
        }
    }

    /// Whether what is found now is believed after what was found before.
    fn is_settled_by(&self, now: &Finding, apart: Duration) -> bool {
        match now.trust {
            Trust::Firm | Trust::GivenUp => true,
            Trust::Again => now.verdict == self.last.verdict && now.at >= self.is_due(apart),
            Trust::Unclear => false,
        }
    }

    /// What becomes of it where nothing clear was found out.
    fn give_up(self) -> (EntryId, Verdict) {
        let verdict = match self.last.verdict {
            Verdict::Failed { reason } => Verdict::Failed { reason },
            _ => Verdict::Failed {
                reason: "the tenant gives another answer each time it is asked".into(),
            },
        };
        (self.entry.id, verdict)
    }
}

/// Whether a profile is said to have nothing to be taken away by a tenant that shows no status to anybody just now.
async fn shows_nothing_to_anybody<T: Tenant>(context: &Context<T>, found: &Finding) -> Result<bool, Halt> {
    let bare = matches!(
        &found.verdict,
        Verdict::Skipped { reason: SkipReason::NotAssigned, profile: Some((_, held)) } if held.is_empty()
    );
    Ok(bare && found.trust == Trust::Again && statuses_show(context).await? == Shown::Nothing)
}

/// The verdicts on all of these. `witnessed`: the search works, so that what it refuses is the question's fault.
async fn settle_all<T: Tenant>(
    context: &Context<T>,
    results: &[Provisional],
    witnessed: bool,
) -> Result<Vec<(EntryId, Verdict)>, Halt> {
    let apart = looks_apart(context);
    let (mut open, mut verdicts): (Vec<Open>, Vec<_>) = (results.iter().map(Open::of).collect(), Vec::new());
    let in_vain = &context.known.waited_in_vain;
    for wait in [Duration::ZERO].into_iter().chain(WAITS) {
        let now = Instant::now();
        let due = open.iter().map(|open| open.is_due(apart)).max();
        let until = due.map_or(now, |due| due.max(now + wait));
        if until > now {
            context.pause(until - now).await?;
        }
        for (was, found) in find_all(context, std::mem::take(&mut open), witnessed).await? {
            if was.is_settled_by(&found, apart) && !shows_nothing_to_anybody(context, &found).await? {
                verdicts.push((was.entry.id, found.verdict));
            } else {
                open.push(Open { last: found, ..was });
            }
        }
        if open.is_empty() {
            in_vain.store(0, Ordering::Relaxed);
            return Ok(verdicts);
        }
        let useless = context.looks_are_useless() && wait >= LONGEST_WHILE_USELESS;
        if useless || in_vain.load(Ordering::Relaxed) >= VAIN_LIMIT {
            break;
        }
    }
    in_vain.fetch_add(1, Ordering::Relaxed);
    verdicts.extend(open.into_iter().map(Open::give_up));
    Ok(verdicts)
}

/// What is found out about each of these now.
async fn find_all<T: Tenant>(
    context: &Context<T>,
    open: Vec<Open>,
    witnessed: bool,
) -> Result<Vec<(Open, Finding)>, Halt> {
    // Of those whose profile is known one answer shows many.
    let in_groups = |open: &Open| {
        let entry = &open.entry;
        is_of_somebody(&open.last.verdict) && is_plain(&entry.email) && entry.spellings.is_empty()
    };
    let (mut grouped, mut alone): (Vec<Open>, Vec<Open>) = open.into_iter().partition(in_groups);
    let mut findings = Vec::new();
    while !grouped.is_empty() {
        let emails = grouped.iter().map(|open| open.entry.email.as_str());
        let later = grouped.split_off(cut(emails, context.together.size()));
        let group = std::mem::replace(&mut grouped, later);
        match find_together(context, &group).await? {
            Some(found) => findings.extend(group.into_iter().zip(found)),
            None => alone.extend(group),
        }
    }
    let mut left = alone.into_iter();
    let mut asking = JoinSet::new();
    loop {
        while asking.len() < context.settings.concurrency
            && let Some(open) = left.next()
        {
            let context = context.clone();
            asking.spawn(async move {
                let found = find(&context, &open.entry).await;
                (open, found)
            });
        }
        let Some(asked) = asking.join_next().await else {
            return Ok(findings);
        };
        let (open, found) = asked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let finding = match found {
            Ok(finding) => finding,
            Err(GaveUp::Denied(refusal)) if !witnessed => return Err(Halt::Denied(refusal)),
            Err(GaveUp::Missing) if !witnessed => {
                return Err(Halt::Outage("GET /profiles answers 404".into()));
            }
            Err(gave_up) => given_up(gave_up)?,
        };
        findings.push((open, finding));
    }
}

/// The same for a group with one question; nothing where it is not answered.
async fn find_together<T: Tenant>(
    context: &Context<T>,
    group: &[Open],
) -> Result<Option<Vec<Finding>>, Halt> {
    if group.len() < WORTHWHILE_MEMBERS {
        return Ok(None);
    }
    let email = |open: &Open| Email::from_ledger(&open.entry.email);
    let asked: Vec<Email> = group.iter().map(email).collect();
    let Ok(sorted) = ask_together(context, &asked, Class::Lookup).await? else {
        return Ok(None);
    };
    let (at, mut findings) = (Instant::now(), Vec::new());
    for found in sorted {
        let bearers: Vec<&Found> = found.iter().collect();
        let finding = judge_bearers(context, &bearers, true, at).await;
        findings.push(finding.or_else(given_up)?);
    }
    Ok(Some(findings))
}

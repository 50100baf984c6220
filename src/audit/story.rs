//! What became of one email or one batch, in order, as a colleague would tell it. Facts of the ledger only.

use super::export::time;
use crate::ledger::{
    AbsenceRow, AttemptRow, BatchRow, EntryHistory, LedgerError, Place, Reader, RetryRow, RulingRow,
};
use crate::model::batch::BatchState;
use crate::model::entry::{EntryState, SkipReason};
use crate::model::ids::{BatchNo, EntryId, Handle, Job, ProfileId};
use serde::Serialize;
use std::time::Duration;

/// Rows that name an entry again and are told one by one.
const PLACES_TOLD: usize = 5;
/// Refused batches that a batch may come from: each is half of the one before.
const SPLITS: usize = 16;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, as far as it is known; in milliseconds since 1970 UTC.
    #[serde(serialize_with = "iso")]
    pub at: Option<i64>,
    /// What kind of thing, as a word.
    pub event: &'static str,
    /// What, in words.
    pub text: String,
}

fn iso<S: serde::Serializer>(at: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(time).serialize(serializer)
}

/// The story of an entry.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// The version of what scripts read.
    pub schema_version: u32,
    /// Its email.
    pub email: String,
    /// Where it stands.
    pub state: &'static str,
    /// Why, or on which evidence.
    pub reason: Option<String>,
    /// Its profile.
    pub profile_id: Option<String>,
    /// The profiles that bear an ambiguous email.
    pub candidates: Vec<String>,
    /// Its batch, as the ledger numbers it.
    pub batch: Option<i64>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// What the tenant shows now, where it was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub now: Vec<String>,
}

impl Story {
    /// The story of an entry of the ledger.
    pub fn of_entry(reader: &Reader, id: EntryId) -> Result<Self, LedgerError> {
        let history = reader.history(id)?;
        let job = reader.job()?.map(|pinned| pinned.job);
        let mut events = listed(&history.places);
        for retry in &history.retries {
            if let Some(no) = retry.batch {
                events.extend(of_batch_and_its_origin(reader, no)?);
            }
            events.push(tried_again(retry));
        }
        events.extend(looked_up(&history));
        if let Some(no) = history.batch {
            events.extend(of_batch_and_its_origin(reader, no)?);
        }
        events.extend(ended(&history, job.as_ref()));
        Ok(Self {
            schema_version: super::SCHEMA_VERSION,
            state: history.state.as_str(),
            reason: history.reason.or(history.evidence),
            profile_id: history.profile.map(|id| id.as_str().to_owned()),
            candidates: ids(&history.candidates),
            batch: history.batch.map(|no| no.0),
            email: history.email,
            events,
            now: Vec::new(),
        })
    }
}

fn event(at: Option<i64>, event: &'static str, text: impl Into<String>) -> Event {
    let text = text.into();
    Event { at, event, text }
}

fn ids(profiles: &[ProfileId]) -> Vec<String> {
    profiles.iter().map(|id| id.as_str().to_owned()).collect()
}

fn words(handles: &[Handle]) -> String {
    match handles {
        [] => "no status".to_owned(),
        several => several.iter().map(Handle::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// ` (the words)`, where there are any.
fn in_brackets(words: Option<&str>) -> String {
    words.map_or_else(String::new, |words| format!(" ({words})"))
}

fn listed(places: &[Place]) -> Vec<Event> {
    let mut events = Vec::new();
    for (nth, place) in places.iter().take(PLACES_TOLD + 1).enumerate() {
        let again = if nth == 0 { "listed" } else { "listed again" };
        let spelling = place
            .written
            .as_ref()
            .map_or_else(String::new, |written| format!(" as {}", written.trim()));
        let text = format!("{again} in {}, line {}{spelling}", place.list, place.line);
        events.push(event(place.loaded_at, "listed", text));
    }
    if let Some(more @ 1..) = places.len().checked_sub(PLACES_TOLD + 1) {
        events.push(event(None, "listed", format!("and in {more} more rows")));
    }
    events
}

fn tried_again(retry: &RetryRow) -> Event {
    let why = retry.reason.as_deref().unwrap_or("for no recorded reason");
    let decision = retry
        .decision
        .as_ref()
        .map_or_else(String::new, |(who, why)| format!(", as {who} decided: {why}"));
    let text = format!(
        "had failed: {why}{}; tried again{decision}",
        in_brackets(retry.detail.as_deref())
    );
    event(Some(retry.retried_at), "retried", text)
}

/// What the look-up brought, where there was one.
fn looked_up(history: &EntryHistory) -> Option<Event> {
    let at = history.resolved_at;
    let profile = history.profile.as_ref().map_or("", ProfileId::as_str);
    let had = history.held.as_ref().map(|held| format!("had {}", words(held)));
    let reason = history.reason.as_deref();
    let is = |skip: SkipReason| reason == Some(skip.as_str());
    let found = match history.state {
        EntryState::Pending => return Some(event(None, "waiting", "not looked up yet")),
        EntryState::Ambiguous => format!(
            "{} profiles bear this email, so none was chosen: {}",
            history.candidates.len(),
            ids(&history.candidates).join(", ")
        ),
        EntryState::Skipped if is(SkipReason::NotFound) => "no profile bears this email".to_owned(),
        EntryState::Skipped if is(SkipReason::SameProfile) => format!(
            "profile {profile} bears it, and is sent as {}",
            history.sent_as.as_deref().unwrap_or("another email of the lists")
        ),
        EntryState::Failed if history.batch.is_none() => format!(
            "no usable answer: {}{}",
            reason.unwrap_or("unknown"),
            in_brackets(history.detail.as_deref())
        ),
        _ if profile.is_empty() => return None,
        _ => format!(
            "profile {profile} alone bears this email, and {}",
            had.unwrap_or_else(|| "its statuses were not kept".to_owned())
        ),
    };
    Some(match &history.reused {
        None => event(at, "looked_up", format!("looked up: {found}")),
        Some((ledger, looked_up_at)) => {
            let since = time(*looked_up_at);
            let text = format!("taken from ledger {ledger}, which looked it up {since}: {found}");
            event(at, "looked_up", text)
        }
    })
}

/// How it came out, where that is not told by the look-up.
fn ended(history: &EntryHistory, job: Option<&Job>) -> Option<Event> {
    let handles = job.map_or_else(|| "the change".to_owned(), |job| words(&job.handles));
    let (kind, text) = match history.state {
        EntryState::Skipped if history.reason.as_deref() == Some(SkipReason::AlreadyAssigned.as_str()) => {
            ("skipped", format!("skipped: it has {handles} already"))
        }
        EntryState::Skipped if history.reason.as_deref() == Some(SkipReason::NotAssigned.as_str()) => {
            ("skipped", format!("skipped: it does not have {handles}"))
        }
        EntryState::Confirmed => ("confirmed", confirmed(history.evidence.as_deref())),
        EntryState::Failed if history.batch.is_some() => {
            let why = history.reason.as_deref().unwrap_or("unknown");
            (
                "failed",
                format!("failed: {why}{}", in_brackets(history.detail.as_deref())),
            )
        }
        EntryState::Resolved => ("waiting", "waits to be sent".to_owned()),
        _ => return None,
    };
    Some(event(history.settled_at.or(history.resolved_at), kind, text))
}

fn confirmed(evidence: Option<&str>) -> String {
    let on = match evidence {
        Some("seen") => "this profile was read back, and shows the change",
        Some("sampled") => {
            "the tenant calls the batch a success, and all its members that were read back show the change"
        }
        Some("reported") => "the tenant calls the batch a success; nothing was read back (--confirm none)",
        _ => "on evidence that this version does not know",
    };
    format!("confirmed: {on}")
}

/// The story of a batch, with that of the refused batches that its members were in before.
pub fn of_batch_and_its_origin(reader: &Reader, no: BatchNo) -> Result<Vec<Event>, LedgerError> {
    let mut batches: Vec<BatchRow> = Vec::new();
    let mut next = Some(no);
    while let Some(no) = next.filter(|_| batches.len() < SPLITS) {
        let Some(batch) = reader.batch(no)? else { break };
        next = batch.split_from;
        batches.push(batch);
    }
    let mut events = Vec::new();
    for batch in batches.iter().rev() {
        events.extend(of_batch(
            batch,
            &reader.attempts(batch.no)?,
            &reader.rulings(batch.no)?,
        ));
    }
    Ok(events)
}

fn of_batch(batch: &BatchRow, attempts: &[AttemptRow], rulings: &[RulingRow]) -> Vec<Event> {
    let no = batch.no;
    let from = batch
        .split_from
        .map_or_else(String::new, |from| format!(", taken over from batch {from}"));
    let sealed = format!("put into batch {no} with {} profiles in all{from}", batch.size);
    let mut events = vec![event(Some(batch.sealed_at), "batched", sealed)];
    for (nth, attempt) in attempts.iter().enumerate() {
        events.extend(of_attempt(no, nth + 1, attempt));
    }
    events.extend(rulings.iter().map(|ruling| {
        let text = format!(
            "{} ruled that batch {no} was {}: {}",
            ruling.person, ruling.verdict, ruling.because
        );
        event(Some(ruling.ruled_at), "ruled", text)
    }));
    // Rulings and absences of one batch take turns.
    events[1..].sort_by_key(|event| event.at);
    events.extend(decided(batch));
    events
}

/// What decided a batch that was in doubt, or what it waits for.
fn decided(batch: &BatchRow) -> Option<Event> {
    let no = batch.no;
    let detail = in_brackets(batch.detail.as_deref());
    let (at, kind, text) = match (batch.state, batch.rung.as_deref()) {
        (BatchState::Held, _) => (
            None,
            "awaits_ruling",
            format!("no evidence decides batch {no}; it awaits a ruling{detail}"),
        ),
        (BatchState::InDoubt | BatchState::Sending, _) => {
            (None, "in_doubt", format!("batch {no} is in doubt{detail}"))
        }
        (BatchState::Refused, _) => (
            batch.settled_at,
            "refused",
            format!("batch {no} was refused{detail}"),
        ),
        (_, Some("found")) => (
            None,
            "found",
            format!("batch {no} was found in the tenant's list, and all its profiles show the change"),
        ),
        (_, Some("reached")) => (
            None,
            "reached",
            format!("all profiles of batch {no} show the change: it had arrived"),
        ),
        (BatchState::Accepted, _) => (None, "accepted", format!("batch {no} is not confirmed yet")),
        _ => return None,
    };
    Some(event(at, kind, text))
}

fn of_attempt(no: BatchNo, nth: usize, attempt: &AttemptRow) -> Vec<Event> {
    let sent = format!(
        "sent: request {nth} for batch {no}, {} profiles, in run {}",
        attempt.members, attempt.run
    );
    let mut events = vec![event(Some(attempt.sent_at), "sent", sent)];
    events.push(match &attempt.answer {
        None => event(None, "unanswered", "no answer was recorded: in doubt"),
        Some((class, at, detail)) => event(
            Some(*at),
            "answered",
            answer(
                class,
                detail.as_deref(),
                attempt.batch_id.as_ref().map(|id| id.as_str()),
            ),
        ),
    });
    events.extend(attempt.absence.as_ref().map(absent));
    events
}

fn answer(class: &str, detail: Option<&str>, batch_id: Option<&str>) -> String {
    let detail = in_brackets(detail);
    match (class, batch_id) {
        ("accepted", Some(id)) => format!("accepted by the tenant as {id}"),
        ("accepted", None) => "accepted by the tenant".to_owned(),
        ("in_doubt", _) => format!("the answer was lost or unclear: in doubt{detail}"),
        ("not_sent", _) => format!("it never left{detail}"),
        ("slow_down", _) => format!("the tenant asked to slow down{detail}"),
        ("refused", _) => format!("refused by the tenant{detail}"),
        (other, _) => format!("answered: {other}{detail}"),
    }
}

fn absent(absence: &AbsenceRow) -> Event {
    let waited = Duration::from_millis(absence.lifetime_ms).as_secs();
    let text = if absence.by_ruling {
        "ruled never to have arrived: may be sent once more".to_owned()
    } else {
        format!(
            "shown never to have arrived: after {waited} s none of its {} profiles shows the change, and the tenant's \
             list shows {}; sent once more",
            absence.members,
            match absence.listed.as_str() {
                "nothing" => "no batch that could be it",
                _ => "nothing, since it cannot be read",
            }
        )
    };
    event(Some(absence.concluded_at), "absent", text)
}

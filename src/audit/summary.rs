//! How a job stands, as one value: what `status` and the end of a run show.

use super::SCHEMA_VERSION;
use super::lists::JsonList;
use crate::ledger::{Counts, LedgerError, ListCounts, ListRow, PinnedJob, Reader, RunUnderWay, SentProfile};
use crate::model::batch::BatchState;
use crate::model::chosen::Chosen;
use crate::model::entry::{EntryState, Evidence};
use crate::model::sample;
use serde::Serialize;
use std::collections::BTreeMap;

/// How a job stands.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The job, where one is pinned.
    pub job: Option<PinnedJob>,
    /// What was chosen for the job, where anything was.
    pub chosen: Option<Chosen>,
    /// The lists, in the order in which they were loaded.
    pub lists: Vec<ListRow>,
    /// Entries by state and reason.
    pub counts: Counts,
    /// Batches by state.
    pub batches: Vec<(BatchState, u64)>,
    /// Members that were read back at random, all of which showed the change.
    pub sampled: u64,
    /// Entries that were taken from other ledgers instead of being looked up.
    pub reused: u64,
    /// The run that is under way, where one is.
    pub under_way: Option<RunUnderWay>,
    /// Profiles that a pilot has just sent to.
    pub pilot: Vec<SentProfile>,
}

/// A summary as scripts read it: `status --json`. Fields are only ever added.
#[derive(Serialize)]
struct Json<'s> {
    schema_version: u32,
    tenant: Option<&'s str>,
    action: Option<&'s str>,
    handles: Option<Vec<&'s str>>,
    options: JsonOptions,
    rows: u64,
    repeats: u64,
    rejected: u64,
    entries: u64,
    states: BTreeMap<&'static str, u64>,
    reasons: BTreeMap<&'s str, u64>,
    batches: BTreeMap<&'static str, u64>,
    sampled: u64,
    reused: u64,
    finished: bool,
    lists: Vec<JsonList<'s>>,
    under_way: Option<JsonUnderWay<'s>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pilot: Vec<JsonSent<'s>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<serde_json::Value>,
}

/// A run that is under way.
#[derive(Serialize)]
struct JsonUnderWay<'s> {
    verb: &'s str,
    started_at: Option<String>,
    reported_at: Option<String>,
    requests: Option<u64>,
    requests_per_second: Option<f64>,
    remaining_seconds: Option<u64>,
    waiting: Option<&'s str>,
}

impl<'s> From<&'s RunUnderWay> for JsonUnderWay<'s> {
    fn from(run: &'s RunUnderWay) -> Self {
        let report = run.report.as_ref().map(|(_, report)| report);
        Self {
            verb: &run.verb,
            started_at: iso_time(run.started_at),
            reported_at: run.report.as_ref().and_then(|(at, _)| iso_time(*at)),
            requests: report.map(|report| report.requests),
            requests_per_second: report.map(|report| (report.per_second * 10.0).round() / 10.0),
            remaining_seconds: report
                .and_then(|report| report.remaining)
                .map(|time| time.as_secs()),
            waiting: report.and_then(|report| report.waiting.as_deref()),
        }
    }
}

/// A profile that a pilot sent to.
#[derive(Serialize)]
struct JsonSent<'s> {
    email_masked: String,
    profile_id: &'s str,
    name: Option<&'s str>,
    state: &'static str,
}

/// An email as a person who knows it recognises it, and nobody else: `an…@example.com`.
pub fn masked(email: &str) -> String {
    let (local, domain) = email.split_once('@').unwrap_or((email, ""));
    let beginning: String = local.chars().take(2).collect();
    format!("{beginning}…@{domain}")
}

/// A moment as scripts read it, UTC: `2026-01-31T12:00:00Z`.
pub fn iso_time(ms: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// What holds for the job's next run.
#[derive(Serialize)]
struct JsonOptions {
    in_doubt: &'static str,
    rate: String,
    reserve: String,
    confirm: &'static str,
    batch_size: u16,
}

impl From<Chosen> for JsonOptions {
    fn from(chosen: Chosen) -> Self {
        Self {
            in_doubt: chosen.in_doubt.as_str(),
            rate: chosen.rate.to_string(),
            reserve: chosen.reserve.to_string(),
            confirm: chosen.confirm.as_str(),
            batch_size: chosen.batch_size,
        }
    }
}

impl Summary {
    /// Reads it from a ledger, all of one moment.
    pub fn read(reader: &Reader) -> Result<Self, LedgerError> {
        reader.freeze()?;
        Ok(Self {
            job: reader.job()?,
            chosen: reader.chosen()?,
            lists: reader.lists()?,
            counts: reader.counts()?,
            batches: reader.batch_counts()?,
            sampled: reader.sampled()?,
            reused: reader.reused()?,
            under_way: None,
            pilot: Vec::new(),
        })
    }

    /// All lists together.
    pub fn rows(&self) -> ListCounts {
        self.lists.iter().fold(ListCounts::default(), |mut sum, list| {
            sum.rows += list.counts.rows;
            sum.entries += list.counts.entries;
            sum.repeats += list.counts.repeats;
            sum.rejects += list.counts.rejects;
            sum
        })
    }

    /// Batches in a state.
    pub fn batches_in(&self, state: BatchState) -> u64 {
        self.batches
            .iter()
            .filter(|row| row.0 == state)
            .map(|row| row.1)
            .sum()
    }

    /// Whether every entry has come to its end.
    pub fn is_finished(&self) -> bool {
        let finished = self
            .counts
            .rows
            .iter()
            .filter(|row| row.0.is_final())
            .map(|row| row.2)
            .sum::<u64>();
        finished == self.counts.total()
    }

    /// Entries or batches that went wrong, or that nobody could clear up.
    pub fn is_unsettled(&self) -> bool {
        self.counts.in_state(EntryState::Failed) > 0 || self.batches_in(BatchState::Held) > 0
    }

    /// The share of sampled-only entries that could lack the change unnoticed, with 95 % confidence.
    pub fn unseen_share_at_most(&self) -> Option<f64> {
        let word = Evidence::Sampled.as_str();
        let rests_on_samples = self
            .counts
            .rows
            .iter()
            .any(|row| row.0 == EntryState::Confirmed && row.1 == word);
        sample::unseen_share_at_most(self.sampled).filter(|_| rests_on_samples)
    }

    /// The form for scripts; with what there is to say of the run that has just ended, where one has.
    pub fn to_json(&self, run: Option<serde_json::Value>) -> String {
        let rows = self.rows();
        let job = self.job.as_ref().map(|pinned| &pinned.job);
        let json = Json {
            schema_version: SCHEMA_VERSION,
            tenant: job.map(|job| job.tenant.as_str()),
            action: job.map(|job| job.action.as_str()),
            handles: job.map(|job| job.handles.iter().map(|handle| handle.as_str()).collect()),
            options: self.chosen.unwrap_or_default().into(),
            rows: rows.rows,
            repeats: rows.repeats,
            rejected: rows.rejects,
            entries: self.counts.total(),
            states: EntryState::ALL
                .map(|state| (state.as_str(), self.counts.in_state(state)))
                .into(),
            reasons: self
                .counts
                .rows
                .iter()
                .filter(|row| !row.1.is_empty())
                .map(|row| (row.1.as_str(), row.2))
                .collect(),
            batches: BatchState::ALL
                .map(|state| (state.as_str(), self.batches_in(state)))
                .into(),
            sampled: self.sampled,
            reused: self.reused,
            finished: self.is_finished(),
            lists: self.lists.iter().map(JsonList::from).collect(),
            under_way: self.under_way.as_ref().map(Into::into),
            pilot: self
                .pilot
                .iter()
                .map(|sent| JsonSent {
                    email_masked: masked(&sent.email),
                    profile_id: &sent.profile_id,
                    name: Some(sent.name.as_str()).filter(|name| !name.is_empty()),
                    state: sent.state.as_str(),
                })
                .collect(),
            run,
        };
        serde_json::to_string_pretty(&json).expect("BUG: a summary is always JSON")
    }
}

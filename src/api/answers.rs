//! The JSON shapes of the tenant's answers, read with distrust.
//!
//! Only the fields that matter are read. What may be missing is optional, numbers may come as strings, and
//! whatever has the wrong shape is an error with a short description: never a default that looks like data.

use super::{BatchProgress, BatchReport, Holding, ListedBatch, Page, StatusDefinition};
use crate::model::ids::{BatchId, Handle, ProfileId};
use crate::model::lookup::Found;
use crate::model::outcome::Complaint;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// Characters of a foreign message that are kept.
const MESSAGE_LIMIT_CHARS: usize = 300;

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    #[serde(default)]
    links: Option<Links>,
    #[serde(default)]
    meta: Option<Meta>,
}

/// Only whether there is a next page is read; the URL itself is never followed, it could lead anywhere.
#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    next: Option<Value>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    current_page: Option<Value>,
    #[serde(default)]
    last_page: Option<Value>,
    #[serde(default)]
    total: Option<Value>,
    #[serde(default)]
    per_page: Option<Value>,
}

#[derive(Deserialize)]
struct One<T> {
    data: T,
}

#[derive(Deserialize)]
struct Status {
    handle: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Profile {
    id: String,
    email: Option<String>,
    #[serde(default)]
    statuses: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct OneProfile {
    id: String,
    statuses: Vec<String>,
    #[serde(default, deserialize_with = "said_email")]
    email: Option<String>,
}

/// That an email is `null` says that there is none; where the field is missing nothing is said.
fn said_email<'de, D: serde::Deserializer<'de>>(email: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(email).map(|email| Some(email.unwrap_or_default()))
}

#[derive(Deserialize)]
struct Queued {
    batch_id: Value,
}

#[derive(Deserialize)]
struct Batch {
    status: String,
    #[serde(default)]
    failed_count: Option<Value>,
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct BatchInList {
    id: Value,
    #[serde(default)]
    total_count: Option<Value>,
    #[serde(default)]
    status: Option<Value>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    entity_id: Option<String>,
    #[serde(default)]
    external_id: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

/// What is wrong with a body, in words that hold nothing of it.
type Wrong = String;

fn parse<'b, T: Deserialize<'b>>(body: &'b [u8], what: &str) -> Result<T, Wrong> {
    serde_json::from_slice(body).map_err(|error| {
        let kind = if body.trim_ascii_start().starts_with(b"<") {
            "an HTML page".to_owned()
        } else if error.is_eof() {
            "cut off".to_owned()
        } else {
            // The error names fields and types, never values of strings.
            format!(
                "of the wrong shape at line {}, column {}",
                error.line(),
                error.column()
            )
        };
        format!("the answer to {what} is {kind}")
    })
}

/// A number that may have come as a string.
fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

impl<T> List<T> {
    /// Page `asked` of an answer, each of its items read by `read`.
    fn page<U>(self, asked: u32, read: impl FnMut(T) -> Result<Option<U>, Wrong>) -> Result<Page<U>, Wrong> {
        let more = self.has_more(asked)?;
        let told = |pick: fn(&Meta) -> Option<&Value>| self.meta.as_ref().and_then(|meta| number(pick(meta)));
        let total = told(|meta| meta.total.as_ref());
        let size = told(|meta| meta.per_page.as_ref());
        let items = self.data.into_iter().map(read).filter_map(Result::transpose);
        Ok(Page {
            items: items.collect::<Result<_, Wrong>>()?,
            more,
            total,
            size,
        })
    }

    /// Whether another page follows page `asked`, or that this is not the page asked for.
    ///
    /// `meta.last_page` decides where it is there, else `links.next`; with neither, the answer is bare and whole.
    fn has_more(&self, asked: u32) -> Result<bool, Wrong> {
        let page = |pick: fn(&Meta) -> Option<&Value>| self.meta.as_ref().and_then(|meta| number(pick(meta)));
        if self.data.is_empty() {
            let last = page(|meta| meta.last_page.as_ref()).unwrap_or(0);
            let total = page(|meta| meta.total.as_ref()).unwrap_or(0);
            // Nobody may be called not found because a page came without what it announces.
            return if last > u64::from(asked) || (asked == 1 && total > 0) {
                Err(format!("page {asked} is empty, and it says that there is more"))
            } else {
                Ok(false)
            };
        }
        let current = page(|meta| meta.current_page.as_ref()).unwrap_or(u64::from(asked));
        if current != u64::from(asked) {
            // Taken for the last one, it would hide whoever stands on the page that was asked for.
            return Err(format!("page {asked} was asked for, and page {current} came"));
        }
        if let Some(last) = page(|meta| meta.last_page.as_ref()) {
            return Ok(current < last);
        }
        let next = self.links.as_ref().and_then(|links| links.next.as_ref());
        Ok(next.is_some_and(|next| !next.is_null()))
    }
}

pub(super) fn statuses(body: &[u8], page: u32) -> Result<Page<StatusDefinition>, Wrong> {
    let list: List<Status> = parse(body, "Browse statuses")?;
    list.page(page, |status| {
        Ok(status.handle.map(|handle| StatusDefinition {
            handle: Handle::new(handle),
            name: clean(&status.name.unwrap_or_default()),
        }))
    })
}

pub(super) fn profiles(body: &[u8], page: u32) -> Result<Page<Found>, Wrong> {
    let list: List<Profile> = parse(body, "Browse profiles")?;
    list.page(page, |profile| {
        Ok(Some(Found {
            profile: ProfileId::new(profile.id),
            email: profile.email.unwrap_or_default(),
            held: profile
                .statuses
                .map(|held| held.into_iter().map(Handle::new).collect()),
        }))
    })
}

/// The profile that was asked for; nothing where the answer is about another one.
pub(super) fn holding(body: &[u8], asked: &ProfileId) -> Result<Option<Holding>, Wrong> {
    let profile = parse::<One<OneProfile>>(body, "one profile")?.data;
    Ok((profile.id == asked.as_str()).then(|| Holding {
        held: profile.statuses.into_iter().map(Handle::new).collect(),
        email: profile.email,
    }))
}

pub(super) fn queued(body: &[u8]) -> Result<BatchId, Wrong> {
    batch_id(parse::<One<Queued>>(body, "the batch")?.data.batch_id)
        .ok_or_else(|| "the answer to the batch names no batch id".into())
}

fn batch_id(value: Value) -> Option<BatchId> {
    match value {
        Value::String(id) if !id.is_empty() => Some(BatchId::new(id)),
        Value::Number(id) => Some(BatchId::new(id.to_string())),
        _ => None,
    }
}

pub(super) fn batches(body: &[u8], page: u32) -> Result<Page<ListedBatch>, Wrong> {
    let list: List<BatchInList> = parse(body, "the list of batches")?;
    list.page(page, |batch| {
        let id = batch_id(batch.id).ok_or("a batch in the list of batches has no id")?;
        Ok(Some(ListedBatch {
            id,
            size: number(batch.total_count.as_ref()),
            progress: batch.status.as_ref().and_then(Value::as_str).map(progress),
        }))
    })
}

/// What a word of the tenant means [sdk].
fn progress(status: &str) -> BatchProgress {
    match status {
        "success" => BatchProgress::Success,
        "failed" => BatchProgress::Failed,
        "pending" => BatchProgress::Pending,
        _ => BatchProgress::Unknown,
    }
}

pub(super) fn batch(body: &[u8]) -> Result<BatchReport, Wrong> {
    let batch = parse::<One<Batch>>(body, "one batch")?.data;
    let progress = progress(&batch.status);
    let mut failed = Vec::new();
    let mut failures = 0;
    let mut items = Vec::new();
    for item in batch.items.unwrap_or_default() {
        let ids = [&item.entity_id, &item.external_id].into_iter().flatten();
        items.push(ids.map(ProfileId::new).collect());
        let complains = item.error.as_ref().is_some_and(|error| !error.is_null());
        if item.status.as_deref() == Some("success") && !complains {
            continue;
        }
        failures += 1;
        if item.status.as_deref() != Some("failed") {
            continue;
        }
        let reason = match &item.error {
            Some(Value::String(text)) => clean(text),
            None | Some(Value::Null) => String::new(),
            Some(other) => clean(&other.to_string()),
        };
        // Which of the two ids is the profile's is documented nowhere; the run knows its members.
        for id in [item.entity_id, item.external_id].into_iter().flatten() {
            failed.push((ProfileId::new(id), reason.clone()));
        }
    }
    Ok(BatchReport {
        progress,
        status: clean(&batch.status),
        failed,
        failures: failures.max(number(batch.failed_count.as_ref()).unwrap_or(0)),
        items,
    })
}

/// The parts of an error body that matter; an error body need not be JSON.
pub(super) fn complaint(body: &[u8]) -> Complaint {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let html = body.trim_ascii_start().starts_with(b"<");
        let message = if html {
            "an HTML page".into()
        } else {
            String::new()
        };
        return Complaint {
            message,
            ..Complaint::default()
        };
    };
    let mut complaint = Complaint {
        message: value
            .get("message")
            .and_then(Value::as_str)
            .map(clean)
            .unwrap_or_default(),
        ..Complaint::default()
    };
    for (key, objections) in value
        .get("errors")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let objection = match objections {
            Value::Array(all) => all.first().and_then(Value::as_str).unwrap_or_default(),
            Value::String(text) => text,
            _ => "",
        };
        let mut steps = key.split('.');
        match (steps.next(), steps.next().map(str::parse)) {
            (Some("profiles"), None) => {
                complaint.about_the_list = true;
                complaint.message = clean(objection);
            }
            (Some("profiles"), Some(Ok(position))) => complaint.members.push((position, clean(objection))),
            _ => {}
        }
    }
    complaint
}

/// `Retry-After`, in seconds or as a date. A date counts from the server's own clock where it told it.
pub(super) fn retry_after(value: &str, server_date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let instant = |text: &str| {
        jiff::fmt::rfc2822::DateTimeParser::new()
            .parse_timestamp(text)
            .ok()
    };
    let until = instant(value)?;
    let now = server_date.and_then(instant).unwrap_or_else(jiff::Timestamp::now);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// The seconds since 1970 of a date in a header.
pub(super) fn moment(date: &str) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date);
    parsed.ok().map(jiff::Timestamp::as_second)
}

/// Foreign text made fit to be shown and kept: no control characters, no addresses, not too long.
pub(super) fn clean(text: &str) -> String {
    let words = text
        .split_whitespace()
        .map(|word| if holds_address(word) { "…@…" } else { word });
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_LIMIT_CHARS)
        .collect()
}

/// Whether a word may hold an email, as it is or as it stands in an address of the web.
fn holds_address(word: &str) -> bool {
    word.contains(['@', '＠']) || word.contains("%40") || word.contains("%2540")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_followed_by_number_and_end() {
        let more = |meta: &str, asked| {
            let body = format!(r#"{{"data":[{{"id":"p1","email":"a@example.com","statuses":[]}}]{meta}}}"#);
            profiles(body.as_bytes(), asked).map(|page| page.more)
        };
        assert_eq!(more(r#","meta":{"current_page":1,"last_page":3}"#, 1), Ok(true));
        assert_eq!(
            more(r#","meta":{"current_page":"2","last_page":"3"}"#, 2),
            Ok(true)
        );
        assert_eq!(more(r#","meta":{"current_page":3,"last_page":3}"#, 3), Ok(false));
        assert!(
            more(r#","meta":{"current_page":1,"last_page":3}"#, 2).is_err(),
            "it answers page 1 for ever"
        );
        assert_eq!(more(r#","links":{"next":"https://evil.example/"}"#, 1), Ok(true));
        assert_eq!(more(r#","links":{"next":null}"#, 1), Ok(false));
        assert_eq!(more("", 1), Ok(false));
    }

    #[test]
    fn a_list_of_batches_says_how_large_they_are_and_how_far_or_does_not() {
        let body =
            br#"{"data":[{"id":"b4","total_count":"300","status":"pending"},{"id":"b3","status":"queued"},
            {"id":2,"total_count":7,"status":"success"},{"id":"b1","total_count":null,"status":null}]}"#;
        let listed = batches(body, 1).unwrap().items.into_iter();
        let listed: Vec<_> = listed
            .map(|batch| (batch.id.as_str().to_owned(), batch.size, batch.progress))
            .collect();
        let batch = |id: &str, size, progress| (id.to_owned(), size, progress);
        assert_eq!(
            listed,
            [
                batch("b4", Some(300), Some(BatchProgress::Pending)),
                batch("b3", None, Some(BatchProgress::Unknown)),
                batch("2", Some(7), Some(BatchProgress::Success)),
                batch("b1", None, None),
            ]
        );
    }

    #[test]
    fn an_empty_page_that_announces_more_is_no_answer() {
        let empty = |meta: &str, asked| {
            let body = format!(r#"{{"data":[],"meta":{{{meta}}}}}"#);
            profiles(body.as_bytes(), asked).map(|page| page.more)
        };
        assert_eq!(empty(r#""current_page":1,"last_page":1,"total":0"#, 1), Ok(false));
        assert_eq!(empty("", 1), Ok(false));
        assert_eq!(
            empty(r#""current_page":4,"last_page":3,"total":60"#, 4),
            Ok(false)
        );
        assert!(empty(r#""current_page":1,"last_page":3"#, 1).is_err());
        assert!(empty(r#""last_page":"1","total":"2""#, 1).is_err());
        assert!(empty(r#""current_page":2,"last_page":3"#, 2).is_err());
    }

    #[test]
    fn what_a_profile_does_not_say_is_not_made_up() {
        let found = |body: &str| profiles(body.as_bytes(), 1).map(|page| page.items);
        assert_eq!(
            found(r#"{"data":[{"id":"p1","email":null}]}"#).unwrap()[0].held,
            None
        );
        assert!(found(r#"{"data":[{"email":"a@example.com"}]}"#).is_err());
        assert!(found(r#"{"data":[{"id":"p1","email":"a@example.com","statuses":"vip"}]}"#).is_err());
        assert!(found(r#"{"data":null}"#).is_err());
        assert_eq!(
            found("<html>").unwrap_err(),
            "the answer to Browse profiles is an HTML page"
        );
        assert_eq!(
            found(r#"{"data":[{"id":"#).unwrap_err(),
            "the answer to Browse profiles is cut off"
        );
        let id = ProfileId::new("p1");
        assert_eq!(
            holding(br#"{"data":{"id":"p2","statuses":["vip"]}}"#, &id),
            Ok(None)
        );
        assert!(holding(br#"{"data":{"id":"p1"}}"#, &id).is_err());
        let email = |field: &str| {
            let body = format!(r#"{{"data":{{"id":"p1","statuses":[]{field}}}}}"#);
            holding(body.as_bytes(), &id).map(|holding| holding.unwrap().email)
        };
        assert_eq!(email(""), Ok(None));
        assert_eq!(email(r#","email":null"#), Ok(Some(String::new())));
        let ann = "Ann@example.com".to_string();
        assert_eq!(email(r#","email":"Ann@example.com""#), Ok(Some(ann)));
    }

    #[test]
    fn batches_are_read_in_all_their_spellings() {
        let report = batch(
            br#"{"data":{"id":"b","total_count":"2","status":"failed","success_count":null,
                "items":[{"entity_id":"p1","status":"failed","error":"gone"},{"entity_id":"p2","status":"success"}]}}"#,
        )
        .unwrap();
        assert_eq!(report.progress, BatchProgress::Failed);
        assert_eq!(report.failed, [(ProfileId::new("p1"), "gone".to_string())]);
        let unknown = batch(br#"{"data":{"status":"brooding"}}"#).unwrap();
        assert_eq!(unknown.progress, BatchProgress::Unknown);
        let nameless =
            batch(br#"{"data":{"status":"failed","failed_count":"20","items":[{"status":"failed"}]}}"#);
        assert_eq!(nameless.unwrap().failures, 20);
        assert_eq!(queued(br#"{"data":{"batch_id":"b-1"}}"#), Ok(BatchId::new("b-1")));
        assert!(queued(br#"{"data":{"batch_id":""}}"#).is_err());
        assert!(queued(br#"{"data":{"batch_id":"b-1""#).is_err());
    }

    #[test]
    fn complaints_name_members_and_never_addresses() {
        let members = complaint(
            br#"{"message":"bad ann@example.com\u001b","errors":{"profiles.7.profile_id":["is unknown"]}}"#,
        );
        assert_eq!(members.members, [(7, "is unknown".to_string())]);
        assert_eq!(members.message, "bad …@…");
        let list =
            complaint(br#"{"message":"x","errors":{"profiles":["may not have more than 500 items"]}}"#);
        assert!(list.about_the_list && list.members.is_empty());
        assert_eq!(complaint(b"<html>").message, "an HTML page");
    }

    #[test]
    fn retry_after_comes_as_seconds_or_date() {
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        let date = retry_after(
            "Sun, 06 Nov 1994 08:49:37 GMT",
            Some("Sun, 06 Nov 1994 08:49:07 GMT"),
        );
        assert_eq!(date, Some(Duration::from_secs(30)));
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:49:37 GMT", None),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("soon", None), None);
        assert_eq!(retry_after("-3", None), None);
    }
}

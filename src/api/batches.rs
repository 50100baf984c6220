//! What the tenant says of batches, read with distrust.
//!
//! Its types are looser than its samples: counts, ids and states come as numbers, strings or null, and items may be
//! missing. What is not needed is not read, and what cannot be read of a batch means that its state is unknown: its
//! members speak then. An answer about another batch is no answer.

use super::answers::{List, One, Wrong, is_same_id, is_uuid, number, parse};
use super::foreign::Foreign;
use super::{BatchProgress, BatchReport, ListedBatch, Page};
use crate::model::ids::{BatchId, ProfileId};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Queued {
    batch_id: Value,
}

#[derive(Deserialize)]
struct BatchInList {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    uuid: Value,
    #[serde(default)]
    batch_id: Value,
    #[serde(default)]
    total_count: Option<Value>,
    #[serde(default)]
    failed_count: Option<Value>,
    #[serde(default)]
    success_count: Option<Value>,
    #[serde(default)]
    status: Option<Value>,
}

/// The id of a batch that the tenant has taken.
pub(super) fn queued(body: &[u8], foreign: &Foreign) -> Result<BatchId, Wrong> {
    let named = parse::<One<Queued>>(body, "the batch")?.data.batch_id;
    batch_id(&named, foreign).ok_or_else(|| "the answer to the batch names no batch id".into())
}

fn batch_id(value: &Value, foreign: &Foreign) -> Option<BatchId> {
    id(value).filter(|id| foreign.is_id(id)).map(BatchId::new)
}

/// An id, which may be a number.
fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// The ids that a batch goes by, without repeats. A UUID comes first, since that is what the 202 and the path take.
fn names<'v>(values: impl IntoIterator<Item = &'v Value>, foreign: &Foreign) -> Vec<BatchId> {
    let mut names: Vec<BatchId> = Vec::new();
    for name in values.into_iter().filter_map(|value| batch_id(value, foreign)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| !is_uuid(name.as_str()));
    names
}

/// Whether an answer that names these ids can be about this batch. Ids of another kind say nothing: rows may carry a
/// number where the path takes a UUID.
pub(super) fn is_about(named: &[BatchId], asked: &BatchId) -> bool {
    let kind = |id: &BatchId| id.as_str().bytes().all(|byte| byte.is_ascii_digit());
    named.iter().any(|id| is_same_id(id.as_str(), asked.as_str()))
        || named.iter().all(|id| kind(id) != kind(asked))
}

pub(super) fn batches(body: &[u8], page: u32, foreign: &Foreign) -> Result<Option<Page<ListedBatch>>, Wrong> {
    let list: List<BatchInList> = parse(body, "the list of batches")?;
    list.page(page, |batch| {
        let mut names = names([&batch.id, &batch.uuid, &batch.batch_id], foreign).into_iter();
        let id = names.next().ok_or("a batch in the list of batches has no id")?;
        Ok(Some(ListedBatch {
            id,
            other_id: names.next(),
            size: number(batch.total_count.as_ref()),
            failed: number(batch.failed_count.as_ref()),
            succeeded: number(batch.success_count.as_ref()),
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

/// How far a batch is. Whatever JSON comes, there is an answer: one that says nothing says that nothing is known.
pub(super) fn batch(body: &[u8], foreign: &Foreign) -> Result<BatchReport, Wrong> {
    let answer: Value = parse(body, "one batch")?;
    let batch = answer.get("data").unwrap_or(&answer);
    let field = |name: &str| batch.get(name).unwrap_or(&Value::Null);
    let status = match field("status") {
        Value::String(word) => foreign.clean(word),
        other => foreign.clean(&other.to_string()),
    };
    let items = field("items").as_array().map(Vec::as_slice).unwrap_or_default();
    let items: Vec<Item> = items.iter().map(|item| Item::read(item, foreign)).collect();
    let failures = items.iter().filter(|item| !item.succeeded).count() as u64;
    let blamed = items.iter().filter_map(|item| Some((item, item.blame.as_ref()?)));
    // Which of the two ids is the profile's is documented nowhere; the run knows its members.
    let failed = blamed.flat_map(|(item, why)| item.ids.iter().map(|id| (id.clone(), why.clone())));
    Ok(BatchReport {
        ids: names([field("id"), field("uuid"), field("batch_id")], foreign),
        progress: field("status").as_str().map_or(BatchProgress::Unknown, progress),
        status,
        failed: failed.collect(),
        failures: failures.max(number(Some(field("failed_count"))).unwrap_or(0)),
        items: items.into_iter().map(|item| item.ids).collect(),
    })
}

/// A member of a batch, as far as it can be read.
struct Item {
    ids: Vec<ProfileId>,
    /// Whether it is called a success, and nothing is said against it.
    succeeded: bool,
    /// Why it failed, where it is called failed.
    blame: Option<String>,
}

impl Item {
    fn read(item: &Value, foreign: &Foreign) -> Self {
        let field = |name: &str| item.get(name).unwrap_or(&Value::Null);
        let ids = ["entity_id", "external_id"]
            .into_iter()
            .filter_map(|name| id(field(name)));
        let (status, error) = (field("status").as_str(), field("error"));
        let why = match error {
            Value::Null => String::new(),
            Value::String(text) => foreign.clean(text),
            other => foreign.clean(&other.to_string()),
        };
        Self {
            ids: ids.filter(|id| foreign.is_id(id)).map(ProfileId::new).collect(),
            succeeded: status == Some("success") && error.is_null(),
            blame: (status == Some("failed")).then_some(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    const OURS: &str = "9c5b94b1-35ad-49bb-b118-8e8fc24abf80";
    const THEIRS: &str = "9c5b94b1-35ad-49bb-b118-8e8fc24abf81";

    fn foreign() -> Foreign {
        Foreign::new(&SecretString::from("a-token-of-nobody"))
    }

    /// The official client's own types allow all of these.
    #[test]
    fn whatever_is_said_of_a_batch_is_an_answer() {
        let read = |body: &str| batch(body.as_bytes(), &foreign()).unwrap();
        for body in [
            r#"{"data":{"status":null,"items":[{"entity_id":17,"status":null},{"entity_id":null},null,7]}}"#,
            r#"{"data":{"id":7,"status":{"is":"odd"},"items":{},"failed_count":"many"}}"#,
            r#"{"data":{}}"#,
            r#"{"data":[]}"#,
            r#"{"data":null}"#,
            "null",
            "[]",
        ] {
            assert_eq!(read(body).progress, BatchProgress::Unknown, "{body}");
        }
        let numeric = read(
            r#"{"data":{"status":"success","items":[{"entity_id":17,"external_id":"p1","status":"success"},
                {"entity_id":18,"status":"failed","error":{"code":3}}]}}"#,
        );
        let ids = |ids: &[&str]| ids.iter().map(|id| ProfileId::new(*id)).collect::<Vec<_>>();
        assert_eq!(numeric.items, [ids(&["17", "p1"]), ids(&["18"])]);
        assert_eq!(
            numeric.failed,
            [(ProfileId::new("18"), "{\"code\":3}".to_owned())]
        );
        assert!(batch(b"<html>", &foreign()).is_err() && batch(b"{\"data\":{", &foreign()).is_err());
        assert_eq!(
            read("\u{feff}{\"data\":{\"status\":\"success\"}}").progress,
            BatchProgress::Success
        );
    }

    #[test]
    fn an_answer_about_another_batch_is_none() {
        let about = |body: String, asked: &str| {
            is_about(
                &batch(body.as_bytes(), &foreign()).unwrap().ids,
                &BatchId::new(asked),
            )
        };
        let named = |id: &str| format!(r#"{{"data":{{"id":{id}}}}}"#);
        let both = |uuid: &str| format!(r#"{{"data":{{"id":7,"uuid":"{uuid}"}}}}"#);
        assert!(about(named(&format!("{OURS:?}")), OURS));
        assert!(about(named(&format!("{:?}", OURS.to_uppercase())), OURS));
        assert!(about(named("7"), OURS), "a number says nothing about a UUID");
        assert!(about(both(OURS), OURS) && about(both(OURS), "7"));
        assert!(about("{}".into(), OURS), "it names none");
        assert!(!about(named(&format!("{THEIRS:?}")), OURS));
        assert!(!about(both(THEIRS), OURS) && !about(both(THEIRS), "8"));
        assert!(!about(named("8"), "7") && !about(named(r#""b-2""#), "b-1"));
    }

    #[test]
    fn a_row_that_names_two_ids_goes_by_the_uuid() {
        let body =
            format!(r#"{{"data":[{{"id":7,"uuid":"{OURS}"}},{{"id":"{THEIRS}"}},{{"id":9,"uuid":null}}]}}"#);
        let rows = batches(body.as_bytes(), 1, &foreign()).unwrap().unwrap().items;
        let ids = rows
            .iter()
            .map(|row| (row.id.as_str(), row.other_id.as_ref().map(BatchId::as_str)));
        assert_eq!(
            ids.collect::<Vec<_>>(),
            [(OURS, Some("7")), (THEIRS, None), ("9", None)]
        );
        assert!(
            batches(br#"{"data":[{"id":null}]}"#, 1, &foreign()).is_err(),
            "an unknown batch is not hidden"
        );
    }

    #[test]
    fn a_batch_id_that_cannot_be_asked_for_is_none() {
        let queued = |id: &str| {
            queued(
                format!(r#"{{"data":{{"batch_id":{id}}}}}"#).as_bytes(),
                &foreign(),
            )
        };
        assert_eq!(queued("7"), Ok(BatchId::new("7")));
        for bad in [
            "null",
            r#""""#,
            r#""b a-token-of-nobody""#,
            r#""b\u001b[2J""#,
            "[]",
            "{}",
        ] {
            assert!(queued(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_of_batches_says_how_large_they_are_and_how_far_or_does_not() {
        let body =
            br#"{"data":[{"id":"b4","total_count":"300","status":"pending"},{"id":"b3","status":"queued"},
            {"id":2,"total_count":7,"status":"success"},{"id":"b1","total_count":null,"status":null}]}"#;
        let listed = batches(body, 1, &foreign()).unwrap().unwrap().items.into_iter();
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
    fn batches_are_read_in_all_their_spellings() {
        let report = batch(
            br#"{"data":{"id":"b","total_count":"2","status":"failed","success_count":null,
                "items":[{"entity_id":"p1","status":"failed","error":"gone"},{"entity_id":"p2","status":"success"}]}}"#,
            &foreign(),
        )
        .unwrap();
        assert_eq!(report.progress, BatchProgress::Failed);
        assert_eq!(report.failed, [(ProfileId::new("p1"), "gone".to_string())]);
        let unknown = batch(br#"{"data":{"status":"brooding"}}"#, &foreign()).unwrap();
        assert_eq!(unknown.progress, BatchProgress::Unknown);
        let nameless = batch(
            br#"{"data":{"status":"failed","failed_count":"20","items":[{"status":"failed"}]}}"#,
            &foreign(),
        );
        assert_eq!(nameless.unwrap().failures, 20);
        assert_eq!(
            queued(br#"{"data":{"batch_id":"b-1"}}"#, &foreign()),
            Ok(BatchId::new("b-1"))
        );
        assert!(queued(br#"{"data":{"batch_id":""}}"#, &foreign()).is_err());
        assert!(queued(br#"{"data":{"batch_id":"b-1""#, &foreign()).is_err());
    }
}

//! The body of a write: read, checked, and complained about as the tenant's framework does.
//!
//! Works on the text alone; whether the profiles exist is not known here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::options::Options;

/// The entries of a write, each with its profile id and its handles.
pub(super) type Members = Vec<(String, Vec<String>)>;

/// Why a body was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The gateway turned it away before the application saw it.
    TooLarge,
    /// The application found fault with these fields.
    Invalid(Faults),
}

/// Complaints by the field they are about.
pub(super) type Faults = BTreeMap<String, Vec<String>>;

/// Reads the entries out of a body.
pub(super) fn read(body: &[u8], options: &Options) -> Result<Members, Refusal> {
    // The framework treats a body that is not JSON like an empty form.
    let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
    let profiles = value.get_mut("profiles").map(Value::take);
    let entries = match profiles {
        None | Some(Value::Null) => return Err(single("The profiles field is required.")),
        Some(Value::Array(entries)) if entries.is_empty() => {
            return Err(single("The profiles field is required."));
        }
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(single("The profiles must be an array.")),
    };
    if entries.len() > options.payload_max as usize {
        return Err(Refusal::TooLarge);
    }
    if entries.len() > options.batch_max as usize {
        let most = options.batch_max;
        let complaint = format!("The profiles may not have more than {most} items.");
        return Err(single(&complaint));
    }
    let mut faults = Faults::new();
    let members = entries
        .into_iter()
        .enumerate()
        .filter_map(|(position, entry)| member(position, entry, &mut faults))
        .collect();
    if faults.is_empty() {
        Ok(members)
    } else {
        Err(Refusal::Invalid(faults))
    }
}

/// The complaints about entries that name no profile.
pub(super) fn unknown(positions: &[usize]) -> Faults {
    positions
        .iter()
        .map(|position| {
            let field = format!("profiles.{position}.profile_id");
            let complaint = format!("The selected {field} is invalid.");
            (field, vec![complaint])
        })
        .collect()
}

fn single(complaint: &str) -> Refusal {
    let complaints = vec![complaint.to_owned()];
    Refusal::Invalid(Faults::from([("profiles".to_owned(), complaints)]))
}

fn member(position: usize, mut entry: Value, faults: &mut Faults) -> Option<(String, Vec<String>)> {
    let id = match entry.get_mut("profile_id").map(Value::take) {
        Some(Value::String(id)) if !id.is_empty() => Some(id),
        other => {
            complain(
                faults,
                format!("profiles.{position}.profile_id"),
                other,
                "a string",
            );
            None
        }
    };
    let statuses = match entry.get_mut("statuses").map(Value::take) {
        Some(Value::Array(handles)) if !handles.is_empty() => self::handles(position, handles, faults),
        other => {
            complain(faults, format!("profiles.{position}.statuses"), other, "an array");
            None
        }
    };
    Some((id?, statuses?))
}

fn handles(position: usize, handles: Vec<Value>, faults: &mut Faults) -> Option<Vec<String>> {
    let mut read = Vec::with_capacity(handles.len());
    for (place, handle) in handles.into_iter().enumerate() {
        match handle {
            Value::String(handle) => read.push(handle),
            other => {
                let field = format!("profiles.{position}.statuses.{place}");
                complain(faults, field, Some(other), "a string");
                return None;
            }
        }
    }
    Some(read)
}

/// Adds a complaint about a field that is missing, empty or of the wrong kind.
fn complain(faults: &mut Faults, field: String, value: Option<Value>, kind: &str) {
    let empty = match &value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(things)) => things.is_empty(),
        Some(_) => false,
    };
    let complaint = if empty {
        format!("The {field} field is required.")
    } else {
        format!("The {field} must be {kind}.")
    };
    faults.insert(field, vec![complaint]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Vec<String> {
        match read(body.as_bytes(), &Options::default()) {
            Err(Refusal::Invalid(faults)) => faults.into_values().flatten().collect(),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn good_entries_are_read_in_order() {
        let body = r#"{"profiles":[{"profile_id":"b","statuses":["x","y"]},
            {"profile_id":"a","statuses":["x"]},{"profile_id":"b","statuses":["x"]}]}"#;
        let members = read(body.as_bytes(), &Options::default()).unwrap();
        let ids: Vec<&str> = members.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids, ["b", "a", "b"]);
        assert_eq!(members[0].1, ["x", "y"]);
    }

    #[test]
    fn faults_name_their_field() {
        for body in ["", "[1", "{}", r#"{"profiles":[]}"#] {
            assert_eq!(refused(body), ["The profiles field is required."]);
        }
        assert_eq!(refused(r#"{"profiles":"x"}"#), ["The profiles must be an array."]);
        let body = r#"{"profiles":[{"profile_id":7,"statuses":[]},3,{"profile_id":"a","statuses":[1]}]}"#;
        assert_eq!(
            refused(body),
            [
                "The profiles.0.profile_id must be a string.",
                "The profiles.0.statuses field is required.",
                "The profiles.1.profile_id field is required.",
                "The profiles.1.statuses field is required.",
                "The profiles.2.statuses.0 must be a string.",
            ]
        );
    }

    #[test]
    fn too_many_entries_are_refused_by_whoever_is_stricter() {
        let entry = r#"{"profile_id":"a","statuses":["x"]}"#;
        let body = format!(r#"{{"profiles":[{entry},{entry},{entry}]}}"#);
        let with = |batch_max, payload_max| {
            let options = Options {
                batch_max,
                payload_max,
                ..Options::default()
            };
            read(body.as_bytes(), &options)
        };
        assert!(with(3, 3).is_ok());
        assert_eq!(with(3, 2), Err(Refusal::TooLarge));
        let complaint = "The profiles may not have more than 2 items.";
        assert_eq!(with(2, 3), Err(single(complaint)));
    }
}

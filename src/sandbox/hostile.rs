//! A hostile tenant, drawn from one number: answers as the public record allows them and as nobody expects them.
//!
//! Everything happens to answers that are already made, so that what was really taken and applied stays with the rest
//! of the tenant. What it draws can be had again from the same number, and is told in one line of words.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::answers;
use super::log::Route;
use super::queue::Batch;

/// How far behind a late read is.
const LATE: Duration = Duration::from_secs(3);
/// How often, and for how long, searches find nobody and everything is answered with a conflict.
const GAP_EVERY: Duration = Duration::from_secs(20);
const GAP: Duration = Duration::from_secs(2);

macro_rules! properties {
    ($( $(#[$doc:meta])* $field:ident: $name:ident { $($value:ident),* $(,)? } )*) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            enum $name { $($value,)* }
        )*

        /// What a hostile tenant is like; the first value of each property is the documented one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Hostile {
            $( $(#[$doc])* $field: $name, )*
        }

        impl Hostile {
            /// Draws a tenant: some are nearly well, some are hostile in every way.
            pub fn draw(seed: u64) -> Self {
                let mut random = fastrand::Rng::with_seed(seed);
                let share = [0.1, 0.3, 0.6, 0.9][random.usize(..4)];
                Self {
                    $( $field: {
                        let values = [$($name::$value),*];
                        if random.f64() < share { values[random.usize(1..values.len())] } else { values[0] }
                    }, )*
                }
            }
        }

        impl fmt::Display for Hostile {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                let words = [$(format!("{}={:?}", stringify!($field), self.$field)),*];
                formatter.write_str(&words.join(" "))
            }
        }
    };
}

properties! {
    /// Whether the list of batches may be read.
    access: Access { Open, Denied }
    /// In which order it stands.
    order: Order { NewestFirst, OldestFirst, Tied }
    /// What it says of sizes.
    sizes: Sizes { Right, ZeroWhilePending, MissingWhilePending, Wrong }
    /// What stands for a batch in it.
    ids: Ids { Uuid, NumberAndUuid }
    /// Whom a report names.
    items: Items { Members, Late, OwnIds, Numeric }
    /// Whether a batch can be asked for.
    poll: Poll { Answered, Denied, Elsewhere }
    /// The word for a batch.
    word: Word { Documented, Foreign, Null, PendingForEver, Failed }
    /// How long batches take over a run.
    pace: Pace { Steady, Growing }
    /// How current a single read is.
    reads: Reads { Fresh, Flapping }
    /// How profiles show handles.
    handles: Handles { AsDefined, UpperCase }
    /// What lists of profiles say that these have.
    lists: Lists { AsReads, Empty, Unsaid }
    /// How they spell emails.
    emails: Emails { AsGiven, UpperCase }
    /// Whether a search finds anybody.
    search: Search { Always, Gaps }
    /// Whether everything is answered with 409 now and then.
    conflict: Conflict { Never, Seconds }
}

impl Hostile {
    /// How long a batch takes of which so many were taken before.
    pub(super) fn apply_delay(&self, usual: Duration, before: usize) -> Duration {
        match self.pace {
            Pace::Steady => usual,
            Pace::Growing => usual * (1 + u32::try_from(before / 2).unwrap_or(u32::MAX)).min(20),
        }
    }

    /// Puts the list of batches, newest first, into another order.
    pub(super) fn arrange(&self, batches: &mut [&Batch]) {
        match self.order {
            Order::NewestFirst => {}
            Order::OldestFirst => batches.reverse(),
            // Ids have nothing to do with time.
            Order::Tied => batches.sort_by(|one, other| one.id.cmp(&other.id)),
        }
    }
}

/// A hostile tenant at work.
#[derive(Debug)]
pub(super) struct Spoiler {
    hostile: Hostile,
    began: Instant,
    polls: u64,
    /// Profiles as a late replica knows them.
    late: HashMap<String, (Instant, Value)>,
}

impl Spoiler {
    pub(super) fn new(hostile: Hostile) -> Self {
        Self {
            hostile,
            began: Instant::now(),
            polls: 0,
            late: HashMap::new(),
        }
    }

    fn is_in_a_gap(&self) -> bool {
        let age = self.began.elapsed().as_millis() % GAP_EVERY.as_millis();
        age + GAP.as_millis() >= GAP_EVERY.as_millis()
    }

    /// What is answered before anything is looked at, where that is so.
    pub(super) fn turn_away(&self, route: Route) -> Option<Response> {
        let denied = || {
            Some(answers::message(
                StatusCode::FORBIDDEN,
                "Invalid scope(s) provided.",
            ))
        };
        let hostile = &self.hostile;
        match route {
            Route::Batches if hostile.access == Access::Denied => denied(),
            Route::Batch if hostile.poll == Poll::Denied => denied(),
            _ if hostile.conflict == Conflict::Seconds && self.is_in_a_gap() => {
                Some(answers::message(StatusCode::CONFLICT, "Try again."))
            }
            _ => None,
        }
    }

    /// Changes the body of a good answer.
    pub(super) fn spoil(&mut self, route: Route, body: &mut Value) {
        match route {
            Route::Profile => self.spoil_one_profile(body),
            Route::Profiles => self.spoil_profiles(body),
            Route::Batch => {
                self.polls += 1;
                self.spoil_batch(&mut body["data"]);
                if self.hostile.poll == Poll::Elsewhere && self.polls % 2 == 1 {
                    body["data"]["id"] = json!("00000000-0000-4000-8000-000000000000");
                    body["data"]["status"] = json!("success");
                }
            }
            Route::Batches => {
                let rows = body["data"].as_array_mut().into_iter().flatten();
                rows.for_each(|row| self.spoil_batch(row));
            }
            _ => {}
        }
    }

    fn spoil_one_profile(&mut self, body: &mut Value) {
        let id = body["data"]["id"].as_str().unwrap_or_default().to_owned();
        let now = Instant::now();
        let known = self.late.get(&id).filter(|(at, _)| now - *at < LATE);
        match known {
            Some((at, late))
                if self.hostile.reads == Reads::Flapping && (now - *at).subsec_millis().is_multiple_of(2) =>
            {
                *body = late.clone();
            }
            Some(_) => {}
            None => drop(self.late.insert(id, (now, body.clone()))),
        }
        self.spell(&mut body["data"]);
    }

    fn spoil_profiles(&self, body: &mut Value) {
        if self.hostile.search == Search::Gaps && self.is_in_a_gap() {
            *body = json!({ "data": [] });
        }
        for profile in body["data"].as_array_mut().into_iter().flatten() {
            self.spell(profile);
            match (self.hostile.lists, profile.as_object_mut()) {
                (Lists::Empty, Some(profile)) => drop(profile.insert("statuses".into(), json!([]))),
                (Lists::Unsaid, Some(profile)) => drop(profile.remove("statuses")),
                _ => {}
            }
            if let (Emails::UpperCase, Some(email)) = (self.hostile.emails, profile["email"].as_str()) {
                profile["email"] = json!(email.to_uppercase());
            }
        }
    }

    fn spell(&self, profile: &mut Value) {
        if self.hostile.handles == Handles::UpperCase {
            for handle in profile["statuses"].as_array_mut().into_iter().flatten() {
                *handle = json!(handle.as_str().unwrap_or_default().to_uppercase());
            }
        }
    }

    fn spoil_batch(&self, batch: &mut Value) {
        let hostile = &self.hostile;
        let pending = batch["status"] == "pending";
        match hostile.sizes {
            Sizes::ZeroWhilePending if pending => batch["total_count"] = json!("0"),
            Sizes::MissingWhilePending if pending => batch["total_count"] = Value::Null,
            Sizes::Wrong => batch["total_count"] = json!(batch["total_count"].as_u64().unwrap_or(0) + 1),
            _ => {}
        }
        match hostile.word {
            Word::Foreign => batch["status"] = json!("processing"),
            Word::Null => batch["status"] = Value::Null,
            Word::PendingForEver => batch["status"] = json!("pending"),
            Word::Failed if !pending => batch["status"] = json!("failed"),
            Word::Documented | Word::Failed => {}
        }
        if hostile.order == Order::Tied {
            batch["created_at"] = json!("2026-01-01 00:00:00");
        }
        let number = batch["id"]
            .as_str()
            .map(|id| id.bytes().map(u64::from).sum::<u64>());
        if batch.get("items").is_some() {
            for (place, item) in (0..).zip(batch["items"].as_array_mut().into_iter().flatten()) {
                match hostile.items {
                    Items::OwnIds => {
                        item["entity_id"] = json!(format!("00000000-0000-4000-8000-{place:012}"))
                    }
                    Items::Numeric => item["entity_id"] = json!(place),
                    Items::Members | Items::Late => {}
                }
            }
            if hostile.items == Items::Late && pending {
                batch["items"] = json!([]);
            }
        } else if hostile.ids == Ids::NumberAndUuid {
            batch["uuid"] = batch["id"].clone();
            batch["id"] = json!(number);
        }
    }
}

/// Takes an answer apart, lets it be spoilt, and puts it together again.
pub(super) async fn spoil(response: Response, change: impl FnOnce(&mut Value)) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return answers::bad_gateway();
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(head, Body::from(bytes));
    };
    change(&mut value);
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(value.to_string()))
}

/// The header in which every answer says what the tenant is like.
pub(super) fn label(hostile: Hostile) -> HeaderValue {
    HeaderValue::try_from(hostile.to_string()).expect("BUG: words are no header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_one_tenant_and_all_values_are_drawn() {
        let words = |seed| Hostile::draw(seed).to_string();
        assert_eq!(words(7), words(7));
        let drawn: String = (0..400).map(words).collect::<Vec<_>>().join(" ");
        for word in [
            "order=Tied",
            "word=Null",
            "ids=NumberAndUuid",
            "lists=Unsaid",
            "order=NewestFirst",
        ] {
            assert!(drawn.contains(word), "{word}");
        }
    }

    #[test]
    fn what_is_said_of_a_batch_is_changed_and_not_more() {
        let hostile = (0..)
            .map(Hostile::draw)
            .find(|hostile| hostile.sizes == Sizes::ZeroWhilePending && hostile.word == Word::Documented)
            .unwrap();
        let mut batch = json!({ "data": { "id": "x", "status": "pending", "total_count": 4 } });
        Spoiler::new(hostile).spoil(Route::Batch, &mut batch);
        assert_eq!(batch["data"]["total_count"], "0");
        let mut batch = json!({ "data": { "id": "x", "status": "success", "total_count": 4 } });
        Spoiler::new(hostile).spoil(Route::Batch, &mut batch);
        assert_eq!(batch["data"]["total_count"], 4);
    }
}

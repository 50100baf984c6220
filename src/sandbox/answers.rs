//! The tenant's answers: envelopes, lists, batches and error pages.
//!
//! These shapes are written from the documentation alone. They may not be shared with the client, since a mistake that
//! both sides make would be invisible.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::options::{CountStyle, EnvelopeStyle, Options};
use super::page::{Links, Page, Question};
use super::people::capitalised;
use super::queue::{Batch, Millis};
use super::submission::Faults;
use super::world::{Definition, World};

/// What a gateway says when what is behind it does not answer.
const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
    <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

/// What a gateway says to a body that it does not pass on.
const TOO_LARGE: &str = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n\
    <center><h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

const ADDRESS_TOO_LONG: &str = "<html>\r\n<head><title>414 Request-URI Too Large</title></head>\r\n<body>\r\n\
    <center><h1>414 Request-URI Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(value).expect("BUG: an answer has no JSON form");
    typed(status, "application/json", Body::from(bytes))
}

pub(super) fn text(text: &'static str) -> Response {
    typed(StatusCode::OK, "text/plain; charset=UTF-8", Body::from(text))
}

/// An error in the framework's manner.
pub(super) fn message(status: StatusCode, message: &str) -> Response {
    json(status, &serde_json::json!({ "message": message }))
}

pub(super) fn invalid(faults: &Faults) -> Response {
    json(
        StatusCode::UNPROCESSABLE_ENTITY,
        &serde_json::json!({ "message": "The given data was invalid.", "errors": faults }),
    )
}

pub(super) fn queued(batch_id: &str) -> Response {
    let data = serde_json::json!({ "message": "Queued for processing.", "batch_id": batch_id });
    json(StatusCode::ACCEPTED, &serde_json::json!({ "data": data }))
}

pub(super) fn bad_gateway() -> Response {
    typed(StatusCode::BAD_GATEWAY, "text/html", Body::from(BAD_GATEWAY))
}

pub(super) fn too_large() -> Response {
    typed(StatusCode::PAYLOAD_TOO_LARGE, "text/html", Body::from(TOO_LARGE))
}

/// What a gateway says to an address that it does not pass on.
pub(super) fn address_too_long() -> Response {
    typed(
        StatusCode::URI_TOO_LONG,
        "text/html",
        Body::from(ADDRESS_TOO_LONG),
    )
}

fn typed(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A thing in the `data` envelope.
#[derive(Debug, Serialize)]
pub(super) struct Wrapped<T> {
    pub(super) data: T,
}

/// A number in the style the tenant writes it in.
#[derive(Debug, Clone, Copy)]
struct Count(u64, CountStyle);

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            CountStyle::Number => serializer.serialize_u64(self.0),
            CountStyle::String => serializer.collect_str(&self.0),
            CountStyle::Null => serializer.serialize_none(),
        }
    }
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub(super) struct Listed<T> {
    data: Vec<T>,
    links: Links,
    meta: Meta,
}

#[derive(Debug, Serialize)]
struct Meta {
    current_page: Count,
    from: Option<Count>,
    last_page: Count,
    path: String,
    per_page: Count,
    to: Option<Count>,
    total: Count,
}

impl<T> Listed<T> {
    /// A page of the list at an absolute address.
    pub(super) fn new(
        data: Vec<T>,
        address: String,
        question: &Question,
        (page, total): (Page, u64),
        options: &Options,
    ) -> Self {
        let style = match options.counts {
            CountStyle::String => CountStyle::String,
            // A page without numbers could not be followed at all, so null is for batches only.
            CountStyle::Number | CountStyle::Null => CountStyle::Number,
        };
        let count = |number| Count(number, style);
        let (from, to) = (page.skipped() + 1, page.skipped() + data.len() as u64);
        Self {
            links: Links::new(&address, question, page, total),
            meta: Meta {
                current_page: count(page.number),
                from: (!data.is_empty()).then(|| count(from)),
                last_page: count(page.last(total)),
                path: address,
                per_page: count(page.size),
                to: (!data.is_empty()).then(|| count(to)),
                total: count(total),
            },
            data,
        }
    }
}

/// A status definition.
#[derive(Debug, Serialize)]
pub(super) struct StatusShape {
    id: usize,
    name: String,
    handle: String,
    sort_order: usize,
    description: Option<String>,
    icon: Option<String>,
    image_url: Option<String>,
    is_published: bool,
    created_at: &'static str,
    updated_at: &'static str,
}

impl StatusShape {
    pub(super) fn new(definition: &Definition) -> Self {
        let name = title(&definition.handle);
        Self {
            id: status_id(definition),
            description: Some(format!("Customers with the status {name}.")),
            name,
            handle: definition.handle.to_string(),
            sort_order: definition.position + 1,
            icon: None,
            image_url: None,
            is_published: true,
            created_at: "2022-02-01T00:00:00.000000Z",
            updated_at: "2022-02-01T00:00:00.000000Z",
        }
    }
}

/// The list of statuses in the tenant's envelope.
pub(super) fn statuses(
    shapes: Vec<StatusShape>,
    address: String,
    question: &Question,
    options: &Options,
) -> Response {
    match options.envelope {
        EnvelopeStyle::Bare => json(StatusCode::OK, &Wrapped { data: shapes }),
        EnvelopeStyle::Paged => {
            let page = Page::of(question, options);
            let total = shapes.len() as u64;
            let rows = page.cut(shapes.into_iter());
            let listed = Listed::new(rows, address, question, (page, total), options);
            json(StatusCode::OK, &listed)
        }
    }
}

/// The number a status definition is known by.
pub(super) fn status_id(definition: &Definition) -> usize {
    101 + definition.position
}

/// A handle as a name for people.
pub(super) fn title(handle: &str) -> String {
    let words: Vec<String> = handle.split(['_', '-']).map(capitalised).collect();
    words.join(" ")
}

/// A batch, with its items only where a single one is asked for.
#[derive(Debug, Serialize)]
pub(super) struct BatchShape {
    id: String,
    entity_type: &'static str,
    total_count: Count,
    status: &'static str,
    success_count: Count,
    failed_count: Count,
    processed_count: Count,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<ItemShape>>,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize)]
struct ItemShape {
    id: usize,
    entity_id: String,
    external_id: Option<String>,
    status: &'static str,
    error: Option<&'static str>,
}

impl BatchShape {
    /// A batch without its items.
    pub(super) fn new(batch: &Batch, options: &Options) -> Self {
        let total = batch.members.len();
        let (failed, processed) = match &batch.applied {
            Some(applied) => (applied.failed.len(), total),
            None => (0, 0),
        };
        let count = |number: usize| Count(number as u64, options.counts);
        let changed = batch.applied.as_ref().map(|applied| applied.at_ms);
        Self {
            id: batch.id.clone(),
            entity_type: "profile",
            total_count: count(total),
            status: match &batch.applied {
                None => unfinished(options),
                Some(_) if failed == total => "failed",
                Some(_) => "success",
            },
            success_count: count(processed - failed),
            failed_count: count(failed),
            processed_count: count(processed),
            items: None,
            created_at: plain_time(batch.accepted),
            updated_at: plain_time(changed.unwrap_or(batch.accepted)),
        }
    }

    /// A batch with all of its items.
    pub(super) fn with_items(batch: &Batch, world: &World, options: &Options) -> Self {
        let failed = |position: usize| {
            let failed = batch.applied.as_ref().map(|applied| &applied.failed);
            let position = u32::try_from(position).unwrap_or(u32::MAX);
            failed.map(|failed| failed.binary_search(&position).is_ok())
        };
        let items = batch.members.iter().enumerate().map(|(position, member)| {
            let (status, error) = match failed(position) {
                None => (unfinished(options), None),
                Some(false) => ("success", None),
                Some(true) => ("failed", Some("No query results for model [Profile].")),
            };
            ItemShape {
                id: position + 1,
                entity_id: batch.profile_id(member, world),
                external_id: None,
                status,
                error,
            }
        });
        Self {
            items: Some(items.collect()),
            ..Self::new(batch, options)
        }
    }
}

fn unfinished(options: &Options) -> &'static str {
    if options.unknown_state {
        "processing"
    } else {
        "pending"
    }
}

/// A moment in the database's manner, in UTC and without saying so.
fn plain_time(at: Millis) -> String {
    at_millis(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A moment in the manner of HTTP headers.
pub(super) fn header_time(at: Millis) -> String {
    at_millis(at).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn at_millis(at: Millis) -> Timestamp {
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_in_every_style() {
        for (style, expected) in [
            (CountStyle::Number, "7"),
            (CountStyle::String, "\"7\""),
            (CountStyle::Null, "null"),
        ] {
            let text = serde_json::to_string(&Count(7, style)).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn moments_are_written_for_databases_and_for_headers() {
        assert_eq!(plain_time(1_700_000_000_999), "2023-11-14 22:13:20");
        assert_eq!(header_time(1_700_000_000_000), "Tue, 14 Nov 2023 22:13:20 GMT");
    }

    #[test]
    fn handles_become_names() {
        assert_eq!(title("vip"), "Vip");
        assert_eq!(title("founding_member"), "Founding Member");
    }
}

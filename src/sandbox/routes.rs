//! What the tenant answers to each kind of request, once it has been let in.
//!
//! Reading a request, asking the tenant, and choosing an answer; whether the caller may ask at all was settled at the
//! door.

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use percent_encoding::percent_decode_str;

use super::answers::{self, BatchShape, Listed, StatusShape, Wrapped};
use super::log::Route;
use super::options::ListFilter;
use super::page::{Page, Question};
use super::profile::ProfileShape;
use super::queue::{Action, Batch};
use super::search::Criteria;
use super::submission::{self, Refusal};
use super::tenant::{Taken, Tenant};

/// The path that all routes lie under.
pub(super) const ROOT: &str = "/api/v3";

/// The kind of a request, and the id in its path if it has one.
pub(super) fn route_of(method: &Method, path: &str) -> (Route, String) {
    let path = path.strip_prefix(ROOT).unwrap_or_default();
    let words: Vec<&str> = path.split('/').skip(1).collect();
    let reads = method == Method::GET;
    let writes = method == Method::POST || method == Method::DELETE;
    let (route, id) = match words.as_slice() {
        ["auth", "verify"] if reads => (Route::Verify, ""),
        ["auth", "access-tokens"] if reads => (Route::Tokens, ""),
        ["statuses"] if reads => (Route::Statuses, ""),
        ["profiles"] if reads => (Route::Profiles, ""),
        ["profiles", id] if reads => (Route::Profile, *id),
        ["profile", "status", "batch.json"] if writes => (Route::BatchWrite, ""),
        ["batches"] if reads => (Route::Batches, ""),
        ["batches", id] if reads => (Route::Batch, *id),
        _ => (Route::Other, ""),
    };
    (route, percent_decode_str(id).decode_utf8_lossy().into_owned())
}

/// The scope a token needs for a kind of request.
pub(super) fn scope_of(route: Route) -> Option<&'static str> {
    match route {
        Route::Verify | Route::Tokens | Route::Other => None,
        Route::Statuses => Some("read-statuses"),
        Route::Profiles | Route::Profile | Route::Batches | Route::Batch => Some("read-profiles"),
        Route::BatchWrite => Some("update-profiles"),
    }
}

/// Answers a request that was let in.
pub(super) async fn answer(tenant: &Tenant, route: Route, id: &str, request: Request) -> Response {
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |address| address.as_str().len());
    if length > tenant.options.url_max as usize {
        return answers::address_too_long();
    }
    let question = || asked(request.uri());
    match route {
        Route::Verify => answers::text("OK"),
        Route::Tokens => answers::json(
            StatusCode::OK,
            &serde_json::json!([{ "name": "sandbox", "scopes": tenant.options.scopes, "revoked": false }]),
        ),
        Route::Statuses => statuses(tenant, &question()),
        Route::Profiles => profiles(tenant, &question()),
        Route::Profile => profile(tenant, id),
        Route::BatchWrite => batch_write(tenant, request).await,
        Route::Batches => batches(tenant, &question()),
        Route::Batch => batch(tenant, id),
        Route::Other => not_found("Route not found."),
    }
}

/// The pairs of an address; a part that cannot be decoded asks for nothing.
fn asked(uri: &Uri) -> Question {
    Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|Query(pairs)| Question(pairs))
        .unwrap_or_default()
}

fn not_found(text: &str) -> Response {
    answers::message(StatusCode::NOT_FOUND, text)
}

fn statuses(tenant: &Tenant, question: &Question) -> Response {
    let wanted = question.value("filter[handle]");
    let shapes = tenant
        .read()
        .world
        .definitions()
        .filter(|definition| wanted.is_none_or(|wanted| *definition.handle == *wanted))
        .map(StatusShape::new)
        .collect();
    let address = format!("{}/statuses", tenant.address);
    answers::statuses(shapes, address, question, &tenant.options)
}

fn profiles(tenant: &Tenant, question: &Question) -> Response {
    let options = &tenant.options;
    let lists = [
        ("filter[email][in]", options.filter_in),
        ("filter[id][in]", options.filter_ids),
    ];
    let breaks = |(key, filter)| filter == ListFilter::Broken && question.value(key).is_some();
    if lists.into_iter().any(breaks) {
        return answers::message(StatusCode::INTERNAL_SERVER_ERROR, "Server Error");
    }
    let page = Page::of(question, &tenant.options);
    let criteria = Criteria::of(question, &tenant.options);
    let (total, snapshots) = {
        let memory = tenant.read();
        let found = criteria.search(&memory.world, page);
        let rows = found.rows.into_iter();
        let snapshots: Vec<_> = rows.map(|index| memory.world.snapshot(index)).collect();
        (found.total, snapshots)
    };
    // The two kilobytes of each profile are made up outside the lock, where they hold up nobody.
    let seed = tenant.options.seed;
    let data = snapshots
        .into_iter()
        .map(|snapshot| ProfileShape::new(seed, snapshot))
        .collect();
    let address = format!("{}/profiles", tenant.address);
    let listed = Listed::new(data, address, question, (page, total), &tenant.options);
    answers::json(StatusCode::OK, &listed)
}

fn profile(tenant: &Tenant, id: &str) -> Response {
    let snapshot = {
        let memory = tenant.read();
        let index = memory.world.find(id);
        index.map(|index| memory.world.snapshot(index))
    };
    match snapshot {
        None => not_found("Profile not found."),
        Some(snapshot) => {
            let data = ProfileShape::new(tenant.options.seed, snapshot);
            answers::json(StatusCode::OK, &Wrapped { data })
        }
    }
}

async fn batch_write(tenant: &Tenant, request: Request) -> Response {
    let action = if request.method() == Method::DELETE {
        Action::Detach
    } else {
        Action::Attach
    };
    // A body that is too long or cut short never gets as far as the application.
    let Ok(body) = Bytes::from_request(request, &()).await else {
        return answers::too_large();
    };
    let members = match submission::read(&body, &tenant.options) {
        Ok(members) => members,
        Err(Refusal::TooLarge) => return answers::too_large(),
        Err(Refusal::Invalid(faults)) => return answers::invalid(&faults),
    };
    match tenant.take(action, members) {
        Taken::Queued(batch_id) => answers::queued(&batch_id),
        Taken::AnswerLost | Taken::Dropped => answers::bad_gateway(),
        Taken::Unknown(positions) => answers::invalid(&submission::unknown(&positions)),
        Taken::Unavailable => answers::message(StatusCode::SERVICE_UNAVAILABLE, "Server Error"),
    }
}

fn batches(tenant: &Tenant, question: &Question) -> Response {
    let page = Page::of(question, &tenant.options);
    let id = question.value("filter[uuid]");
    let count = question.value("filter[total_count]");
    let passes = |batch: &&Batch| {
        id.is_none_or(|id| batch.id == id)
            && count.is_none_or(|count| count.parse() == Ok(batch.members.len()))
    };
    let (total, data) = {
        let memory = tenant.read();
        let total = memory.queue.newest_first().filter(passes).count();
        let mut rows: Vec<&Batch> = memory.queue.newest_first().filter(passes).collect();
        if let Some(hostile) = tenant.options.hostile {
            hostile.arrange(&mut rows);
        }
        let rows = page.cut(rows.into_iter());
        let shape = |batch: &Batch| BatchShape::new(batch, &tenant.options);
        (total as u64, rows.into_iter().map(shape).collect::<Vec<_>>())
    };
    let address = format!("{}/batches", tenant.address);
    let listed = Listed::new(data, address, question, (page, total), &tenant.options);
    answers::json(StatusCode::OK, &listed)
}

fn batch(tenant: &Tenant, id: &str) -> Response {
    let shape = {
        let memory = tenant.read();
        let batch = memory.queue.find(id).filter(|batch| tenant.admits(batch));
        batch.map(|batch| BatchShape::with_items(batch, &memory.world, &tenant.options))
    };
    match shape {
        None => not_found("Batch not found."),
        Some(data) => answers::json(StatusCode::OK, &Wrapped { data }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_told_apart_by_method_and_path() {
        let route = |method: Method, path: &str| route_of(&method, path).0;
        assert_eq!(route(Method::GET, "/api/v3/auth/verify"), Route::Verify);
        assert_eq!(route(Method::GET, "/api/v3/profiles"), Route::Profiles);
        assert_eq!(route(Method::PUT, "/api/v3/profiles/x"), Route::Other);
        assert_eq!(route(Method::GET, "/profiles"), Route::Other);
        let batch = "/api/v3/profile/status/batch.json";
        assert_eq!(route(Method::POST, batch), Route::BatchWrite);
        assert_eq!(route(Method::DELETE, batch), Route::BatchWrite);
        assert_eq!(route(Method::GET, batch), Route::Other);
        let (route, id) = route_of(&Method::GET, "/api/v3/batches/a%2Db");
        assert_eq!((route, id.as_str()), (Route::Batch, "a-b"));
    }

    #[test]
    fn brackets_may_be_encoded_and_a_plus_is_a_space() {
        for key in ["filter[email]", "filter%5Bemail%5D"] {
            let uri = format!("/api/v3/profiles?{key}=a%2Bb+c%40example.com");
            let question = asked(&uri.parse().unwrap());
            assert_eq!(question.value("filter[email]"), Some("a+b c@example.com"));
        }
    }
}

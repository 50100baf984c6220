//! The door that every request comes through: it is recorded, counted, and asked for its token and scope.
//!
//! There is one handler for all paths, so that no route can be added that the log does not see. The door may not know
//! what is answered behind it.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::answers;
use super::hostile;
use super::log::Route;
use super::options::{Options, RetryAfterStyle};
use super::queue::{Millis, millis};
use super::routes;
use super::tenant::Tenant;
use super::throttle::Verdict;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const HOSTILE: HeaderName = HeaderName::from_static("x-sandbox-hostile");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Takes one request from arrival to answer.
pub(super) async fn serve(State(tenant): State<Arc<Tenant>>, request: Request) -> Response {
    let (route, id) = routes::route_of(request.method(), request.uri().path());
    let place = tenant.log.arrived(route);
    let token = bearer(request.headers());
    let verdict = tenant.knock(token);
    let refusal = refusal(&tenant, route, token, verdict);
    let mut response = match refusal {
        Some(response) => response,
        None => answer(&tenant, route, &id, request).await,
    };
    if let Some(verdict) = verdict {
        let now = millis(SystemTime::now());
        tell(response.headers_mut(), &tenant.options, verdict, now);
    }
    tenant.log.answered(place, response.status().as_u16());
    // Only the answer is held back. The request has been carried out by now, as it would be on a slow line home.
    let latency = tenant.latency();
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    response
}

/// The tenant's answer, changed where the tenant is hostile.
async fn answer(tenant: &Tenant, route: Route, id: &str, request: Request) -> Response {
    let Some(spoiler) = &tenant.spoiler else {
        return routes::answer(tenant, route, id, request).await;
    };
    let lock = || spoiler.lock().expect("BUG: the hostile tenant is poisoned");
    let turned_away = lock().turn_away(route);
    let mut response = match turned_away {
        Some(response) => response,
        None => {
            let response = routes::answer(tenant, route, id, request).await;
            match response.status().is_success() {
                true => hostile::spoil(response, |body| lock().spoil(route, body)).await,
                false => response,
            }
        }
    };
    if let Some(drawn) = tenant.options.hostile {
        response.headers_mut().insert(HOSTILE, hostile::label(drawn));
    }
    response
}

/// The token in a request's `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Why a request is turned away at the door, if it is.
fn refusal(tenant: &Tenant, route: Route, token: Option<&str>, verdict: Option<Verdict>) -> Option<Response> {
    if verdict.is_some_and(|verdict| !verdict.allowed) {
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Some(answers::message(status, "Too Many Attempts."));
    }
    if !tenant.knows(token) {
        let status = StatusCode::UNAUTHORIZED;
        return Some(answers::message(status, "Unauthenticated."));
    }
    let scope = routes::scope_of(route)?;
    let granted = tenant.options.scopes.iter().any(|held| held == scope);
    (!granted).then(|| answers::message(StatusCode::FORBIDDEN, "Invalid scope(s) provided."))
}

/// Writes the rate limit into an answer's headers, as far as this tenant tells of it.
fn tell(headers: &mut HeaderMap, options: &Options, verdict: Verdict, now: Millis) {
    if options.rate_headers {
        headers.insert(LIMIT, HeaderValue::from(verdict.limit));
        headers.insert(REMAINING, HeaderValue::from(verdict.remaining));
    }
    if verdict.allowed {
        return;
    }
    // Both forms count in whole seconds. Rounding down would send the client back before the window has ended.
    let reset = now.saturating_add(verdict.resets_in.as_millis() as Millis + 1);
    let reset_seconds = reset.div_ceil(1_000);
    if options.rate_headers {
        headers.insert(RESET, HeaderValue::from(reset_seconds));
    }
    let retry = match options.retry_after {
        RetryAfterStyle::Missing => return,
        RetryAfterStyle::Seconds => {
            let seconds = verdict.resets_in.as_millis().div_ceil(1_000).max(1);
            HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX))
        }
        RetryAfterStyle::Date => HeaderValue::try_from(answers::header_time(reset_seconds * 1_000))
            .expect("BUG: a date is no header"),
    };
    headers.insert(header::RETRY_AFTER, retry);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn told(options: &Options, allowed: bool) -> Vec<(String, String)> {
        let verdict = Verdict {
            allowed,
            limit: 10,
            remaining: 0,
            resets_in: Duration::from_millis(1_300),
        };
        let mut headers = HeaderMap::new();
        tell(&mut headers, options, verdict, 1_700_000_000_000);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let mut options = Options::default();
        let limits = [
            pair("x-ratelimit-limit", "10"),
            pair("x-ratelimit-remaining", "0"),
        ];
        assert_eq!(told(&options, true), limits);
        let headers = told(&options, false);
        assert!(headers.contains(&pair("retry-after", "2")));
        assert!(headers.contains(&pair("x-ratelimit-reset", "1700000002")));
        options.retry_after = RetryAfterStyle::Date;
        let date = pair("retry-after", "Tue, 14 Nov 2023 22:13:22 GMT");
        assert!(told(&options, false).contains(&date));
        options.rate_headers = false;
        assert_eq!(told(&options, false), [date]);
        options.retry_after = RetryAfterStyle::Missing;
        assert!(told(&options, false).is_empty());
    }

    #[test]
    fn only_a_bearer_token_is_a_token() {
        let token = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(token("bearer abc"), Some("abc".to_owned()));
        assert_eq!(token("Basic abc"), None);
        assert_eq!(token("abc"), None);
    }
}

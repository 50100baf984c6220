//! Asking a tenant over HTTP.
//!
//! Two clients, because two things must hold. The *reading* one pools its connections. The *writing* one is
//! built so that nothing but our own code can repeat a request: HTTP/1.1 only, no retries, no redirects, and
//! no pooled connection, since a write on a connection that the server is just closing would be lost or
//! doubted for nothing. Neither follows a redirect, so the token goes to the tenant's origin alone.

use super::answers;
use super::asked::Asked;
use super::base_url::BaseUrl;
use super::batches;
use super::body::Body;
use super::foreign::Foreign;
use super::pacing::{Ear, headers};
use super::{BatchReport, Holding, ListedBatch, Page, Slice, StatusDefinition, Tenant, Wanted};
use crate::model::ids::{Action, BatchId, Handle, ProfileId};
use crate::model::lookup::Found;
use crate::model::outcome::{self, Complaint, Member, ReadFailure, WriteAnswer};
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue,
    LOCATION,
};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// How long to wait for what, before a request counts as failed.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, with its TLS. Must be the shortest: what is given up later may have been sent.
    pub connect: Duration,
    /// For the first byte of a question's answer, and between two of its bytes.
    pub read_idle: Duration,
    /// For the whole of a question.
    pub read: Duration,
    /// For the first byte of a write's answer, and between two of its bytes.
    pub write_idle: Duration,
    /// For the whole of a write.
    pub write: Duration,
}

impl Timeouts {
    /// What a client has unless told otherwise.
    pub const USUAL: Self = Self {
        connect: Duration::from_secs(10),
        read_idle: Duration::from_secs(20),
        read: Duration::from_secs(30),
        // A write may be slow at the far side, and giving up on it costs certainty.
        write_idle: Duration::from_secs(45),
        write: Duration::from_secs(60),
    };
}

/// A tenant behind HTTP.
pub struct Client {
    base: BaseUrl,
    reader: reqwest::Client,
    writer: reqwest::Client,
    /// What is said to us is not quoted as it stands.
    foreign: Foreign,
    ear: Option<Ear>,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token has characters that no token has.
    #[error("the token holds characters that cannot stand in a header; was a line break copied along?")]
    Token,
    /// There is nothing to check a server's certificate with.
    #[error("this machine has no certificates of authorities, so no server can be told from another")]
    NoAuthorities,
    /// TLS is not usable.
    #[error("cannot set up HTTP: {0}")]
    Setup(String),
}

impl Client {
    /// A client for the tenant at `base`.
    pub fn new(base: BaseUrl, token: &SecretString) -> Result<Self, ClientError> {
        Self::with_timeouts(base, token, Timeouts::USUAL)
    }

    /// A client with patience of its own.
    pub fn with_timeouts(
        base: BaseUrl,
        token: &SecretString,
        timeouts: Timeouts,
    ) -> Result<Self, ClientError> {
        // Fails only where it was installed before, which is what we want.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret().trim()))
            .map_err(|_| ClientError::Token)?;
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, bearer),
            (ACCEPT, HeaderValue::from_static("application/json")),
            (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        let builder = || {
            let builder = reqwest::Client::builder()
                .default_headers(headers.clone())
                .user_agent(concat!("rollbook/", env!("CARGO_PKG_VERSION")))
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .tcp_nodelay(true)
                .connect_timeout(timeouts.connect);
            // A proxy is for the way out; what goes to this machine must not pass through one.
            let builder = if base.is_loopback() {
                builder.no_proxy()
            } else {
                builder
            };
            // Without TLS, a machine that has no certificates of authorities will do.
            if base.is_plain_http() {
                builder.tls_certs_only([])
            } else {
                builder
            }
        };
        let setup = |error: reqwest::Error| match describe(error) {
            why if why.contains("No CA certificates") => ClientError::NoAuthorities,
            why => ClientError::Setup(why),
        };
        let reader = builder()
            .read_timeout(timeouts.read_idle)
            .timeout(timeouts.read)
            .build()
            .map_err(setup)?;
        let writer = builder()
            .read_timeout(timeouts.write_idle)
            .timeout(timeouts.write)
            .pool_max_idle_per_host(0);
        // The system goes on for minutes to deliver what a process that died has handed to it; nothing may arrive after
        // the quiet period, which counts on this.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let writer = writer.tcp_user_timeout(timeouts.write);
        let writer = writer.build().map_err(setup)?;
        let foreign = Foreign::new(&SecretString::from(token.expose_secret().trim()));
        Ok(Self {
            base,
            reader,
            writer,
            foreign,
            ear: None,
        })
    }

    /// Tells what answers say of the tenant's limit.
    pub fn telling(mut self, ear: Ear) -> Self {
        self.ear = Some(ear);
        self
    }

    /// What any answer says beside its content: its status, and how long to wait where it is a 429.
    fn head(&self, response: &Response) -> (StatusCode, Option<Duration>) {
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (status, wait) = (response.status(), headers::wait(text));
        if let Some(ear) = &self.ear {
            if let Some(said) = headers::allowance(text) {
                ear.hear(said);
            }
            // Only what is meant for this: a limit's reset says nothing about an outage.
            if let Some(wait) = wait.filter(|_| status.is_server_error() && text("retry-after").is_some()) {
                ear.hear_unwell(wait);
            }
        }
        (status, wait)
    }

    /// One GET; the body of a 2xx, or why there is none.
    async fn get(&self, route: &'static str, url: Url) -> Result<Vec<u8>, ReadFailure> {
        self.get_or_kept(route, url).await.map(|(body, _)| body)
    }

    /// The same, and whether the answer says that something on the way has kept it for a while.
    async fn get_or_kept(&self, route: &'static str, url: Url) -> Result<(Vec<u8>, bool), ReadFailure> {
        let mut asked = Asked::now(Method::GET, route);
        let answer = self.ask(url, &mut asked).await;
        asked.over(answer.as_ref().map_or_else(ReadFailure::class, |_| "ok"));
        answer
    }

    async fn ask(&self, url: Url, asked: &mut Asked) -> Result<(Vec<u8>, bool), ReadFailure> {
        let request = self.reader.get(url).header(CACHE_CONTROL, "no-cache");
        let response = request.send().await.map_err(read_failure)?;
        asked.answered(response.status());
        let age = response.headers().get(AGE).and_then(|age| age.to_str().ok());
        let is_kept = age.is_some_and(|age| age.trim() != "0");
        let (status, retry_after) = self.head(&response);
        let location = self.location(&response);
        let body = body(response).await.map_err(ReadFailure::Spoiled)?;
        asked.bytes = body.len();
        if status.is_success() {
            return Ok((body, is_kept));
        }
        let complaint = self.complaint(&body, location);
        Err(outcome::classify_read(status.as_u16(), retry_after, complaint))
    }

    /// What an error says, fit to be shown and kept.
    fn complaint(&self, body: &[u8], location: Option<String>) -> Complaint {
        let mut complaint = answers::complaint(body, &self.foreign);
        if let Some(location) = location {
            complaint.message = location;
        }
        complaint
    }

    /// Where a redirect points, in words: it is shown and never followed.
    fn location(&self, response: &Response) -> Option<String> {
        let redirect = response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED;
        let target = response.headers().get(LOCATION)?.to_str().ok()?;
        let host = Url::parse(target)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned));
        redirect.then(|| match host {
            Some(host) => format!(
                "redirects to {}, which is not followed",
                self.foreign.clean(&host)
            ),
            None => "redirects, which is not followed".into(),
        })
    }

    async fn write_answer(&self, response: Response) -> WriteAnswer {
        let (status, retry_after) = self.head(&response);
        let location = self.location(&response);
        let body = match body(response).await {
            Ok(body) => body,
            // The status stands whatever became of the body: a refusal stays one.
            Err(why) if status.is_success() => return WriteAnswer::InDoubt(why),
            Err(_) => Vec::new(),
        };
        if status.is_success() {
            return match batches::queued(&body, &self.foreign) {
                Ok(batch_id) => WriteAnswer::Accepted(batch_id),
                Err(why) => WriteAnswer::InDoubt(why),
            };
        }
        outcome::classify_write(status.as_u16(), retry_after, self.complaint(&body, location))
    }
}

impl Tenant for Client {
    async fn verify_token(&self) -> Result<(), ReadFailure> {
        // The body need not be JSON, so that it came is all that is asked.
        self.get("/auth/verify", self.base.join(&["auth", "verify"]))
            .await
            .map(drop)
    }

    async fn token_scopes(&self) -> Result<Vec<String>, ReadFailure> {
        let mut url = self.base.join(&["auth", "access-tokens"]);
        url.query_pairs_mut().append_pair("type", "current");
        let body = self.get("/auth/access-tokens", url).await?;
        answers::token_scopes(&body).map_err(ReadFailure::Spoiled)
    }

    async fn statuses(&self, page: u32) -> Result<Page<StatusDefinition>, ReadFailure> {
        let mut url = self.base.join(&["statuses"]);
        paged(&mut url, Slice::usual(page));
        let body = self.get("/statuses", url).await?;
        asked_for(answers::statuses(&body, page, &self.foreign))
    }

    async fn profiles(&self, wanted: Wanted<'_>, slice: Slice) -> Result<Page<Found>, ReadFailure> {
        let mut url = self.base.join(&["profiles"]);
        // Encodes `+` as %2B, without which ann+news@ would be asked for as `ann news@`.
        match wanted {
            Wanted::Email(email) => url.query_pairs_mut().append_pair("filter[email]", email),
            Wanted::Emails(emails) => url
                .query_pairs_mut()
                .append_pair("filter[email][in]", &emails.join(",")),
            Wanted::Ids(ids) => url
                .query_pairs_mut()
                .append_pair("filter[id][in]", &ids.join(",")),
            Wanted::Holders(handle) => url
                .query_pairs_mut()
                .append_pair("filter[statuses.handle]", handle.as_str()),
            Wanted::Everybody => url.query_pairs_mut().append_pair("sort", "id"),
        };
        paged(&mut url, slice);
        let body = self.get("/profiles", url).await?;
        asked_for(answers::profiles(&body, slice.number, &self.foreign))
    }

    async fn held_by(&self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        let url = self.base.join(&["profiles", profile.as_str()]);
        let (body, is_kept) = self.get_or_kept("/profiles/{id}", url).await?;
        let holding = asked_for(answers::holding(&body, profile, &self.foreign))?;
        Ok(Holding { is_kept, ..holding })
    }

    async fn name_of(&self, profile: &ProfileId) -> Result<String, ReadFailure> {
        let body = self
            .get("/profiles/{id}", self.base.join(&["profiles", profile.as_str()]))
            .await?;
        asked_for(answers::name(&body, profile, &self.foreign))
    }

    async fn batch(&self, id: &BatchId) -> Result<BatchReport, ReadFailure> {
        let body = self
            .get("/batches/{id}", self.base.join(&["batches", id.as_str()]))
            .await?;
        let report = batches::batch(&body, &self.foreign).map_err(ReadFailure::Spoiled)?;
        // The answer to another question, which a connection that is kept or something in between has mixed up.
        if batches::is_about(&report.ids, id) {
            Ok(report)
        } else {
            Err(ReadFailure::Elsewhere)
        }
    }

    async fn batches(&self, page: u32) -> Result<Page<ListedBatch>, ReadFailure> {
        let mut url = self.base.join(&["batches"]);
        // Newest first is what the reader relies on least: whatever the order, what it finds is only evidence.
        url.query_pairs_mut().append_pair("sort", "-created_at");
        paged(&mut url, Slice::usual(page));
        let body = self.get("/batches", url).await?;
        asked_for(batches::batches(&body, page, &self.foreign))
    }

    async fn write(&self, action: Action, members: &[Member]) -> WriteAnswer {
        let method = match action {
            Action::Assign => Method::POST,
            Action::Remove => Method::DELETE,
        };
        let url = self.base.join(&["profile", "status", "batch.json"]);
        let mut asked = Asked::now(method.clone(), "/profile/status/batch.json");
        let request = self
            .writer
            .request(method, url)
            .header(CONTENT_TYPE, "application/json");
        let answer = match request.body(batch_body(members)).send().await {
            Ok(response) => {
                asked.answered(response.status());
                self.write_answer(response).await
            }
            // Not connected means that no byte of the request has left: the connection was to be its own.
            Err(error) if error.is_connect() || error.is_builder() => WriteAnswer::NotSent(describe(error)),
            Err(error) => WriteAnswer::InDoubt(describe(error)),
        };
        asked.over(answer.class());
        answer
    }
}

/// What was asked for; a sound answer about something else is none.
fn asked_for<R>(answer: Result<Option<R>, String>) -> Result<R, ReadFailure> {
    answer
        .map_err(ReadFailure::Spoiled)?
        .ok_or(ReadFailure::Elsewhere)
}

fn batch_body(members: &[Member]) -> String {
    let profile = |member: &Member| {
        let handles: Vec<&str> = member.handles.iter().map(Handle::as_str).collect();
        serde_json::json!({ "profile_id": member.profile.as_str(), "statuses": handles })
    };
    let profiles: Vec<_> = members.iter().map(profile).collect();
    serde_json::json!({ "profiles": profiles }).to_string()
}

fn paged(url: &mut Url, slice: Slice) {
    let mut query = url.query_pairs_mut();
    query.append_pair("page[size]", &slice.size.to_string());
    query.append_pair("page[number]", &slice.number.to_string());
}

/// Reads a body, but not more of it than any honest answer has.
async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Body::default();
    while let Some(chunk) = response.chunk().await.map_err(describe)? {
        body.extend(&chunk)?;
    }
    body.unpacked()
}

fn read_failure(error: reqwest::Error) -> ReadFailure {
    if error.is_connect() {
        ReadFailure::Unreachable(describe(error))
    } else {
        ReadFailure::Spoiled(describe(error))
    }
}

/// An error with its causes and without its URL, since the URL holds an address.
fn describe(error: reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "cannot connect"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the request failed"
    };
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let cause = cause.to_string();
    let kind = if cause.contains("invalid peer certificate") {
        outcome::BAD_CERTIFICATE
    } else {
        kind
    };
    let cause: String = cause.chars().filter(|c| !c.is_control()).take(300).collect();
    format!("{kind} ({cause})")
}

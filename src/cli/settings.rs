//! From arguments and environment to what a run needs: the tenant's address, the token, the lists.

use super::args::{Common, ConnectionArgs, ProgressArg, RunArgs};
use super::error::{Failure, Kind, shown};
use crate::api::base_url::BaseUrl;
use crate::api::client::{Client, Timeouts};
use crate::api::pacing::{Budget, Gate, PaceSettings, Unshared};
use crate::api::{Paced, Slice};
use crate::input::Source;
use crate::ledger::{Ledger, LedgerError};
use crate::model::chosen::{Chosen, RunOptions};
use crate::model::ids::{Action, Handle, Job};
use crate::model::sample::Confirm;
use crate::model::way::{Resolve, Way};
use crate::runner::context::RunSettings;
use crate::runner::limits::Limits;
use crate::runner::send::DEPARTURE_LIMIT;
use crate::runner::survey::Surveyed;
use crate::ui::Mode;
use secrecy::{ExposeSecret, SecretString};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest token file that is read.
const TOKEN_LIMIT_BYTES: u64 = 64 << 10;

/// How long after its mark a write may still arrive: until it leaves, until it is given up, and a margin for what
/// stands between us and the tenant.
const WRITE_LIFE: Duration = DEPARTURE_LIMIT
    .saturating_add(Timeouts::USUAL.write)
    .saturating_add(Duration::from_secs(10));
/// The least time for which nothing is concluded from absence.
const QUIET_AT_LEAST: Duration = Duration::from_secs(60);

/// The tenant's address: from the flags, or else from the environment, or else from what the ledger is pinned to.
pub fn base_url(args: &ConnectionArgs, pinned: Option<&str>) -> Result<BaseUrl, Failure> {
    if let Some(named) = named_base_url(args)? {
        return Ok(named);
    }
    let pinned = pinned.ok_or_else(|| {
        Failure::new(Kind::Usage, "no tenant is named")
            .hint("set OMNEO_TENANT=acme or --tenant acme; --base-url takes a whole address")
    })?;
    let base = BaseUrl::parse(pinned)?;
    if base.is_loopback() || base.is_omneo() {
        return Ok(base);
    }
    // A ledger may come from anybody, and the token would follow where it points.
    Err(Failure::new(
        Kind::Usage,
        format!("the ledger points to {base}, which is not an Omneo address"),
    )
    .hint(format!("if the token may go there, say so: --base-url {base}")))
}

/// The address that the flags name, or else the environment. Two names for different addresses are refused: the token
/// would go to one of them, and nobody said to which.
pub fn named_base_url(args: &ConnectionArgs) -> Result<Option<BaseUrl>, Failure> {
    // A variable that is set to nothing is as good as none; a flag without a value is a slip.
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let flags = (args.tenant.clone(), args.base_url.clone());
    let (names, (tenant, url)) = match flags {
        (None, None) => (
            ("OMNEO_TENANT", "OMNEO_BASE_URL"),
            (variable("OMNEO_TENANT"), variable("OMNEO_BASE_URL")),
        ),
        flags => (("--tenant", "--base-url"), flags),
    };
    let of_tenant = tenant.map(|name| BaseUrl::of_tenant(&name)).transpose()?;
    let of_url = url.map(|url| BaseUrl::parse(&url)).transpose()?;
    match (of_tenant, of_url) {
        (Some(tenant), Some(url)) if tenant != url => Err(Failure::new(
            Kind::Usage,
            format!("{} names {tenant}, and {} names {url}", names.0, names.1),
        )
        .hint("leave one of them out; nothing was sent")),
        (tenant, url) => Ok(url.or(tenant)),
    }
}

/// The token: from a file where one is named, or else from the environment. Never an argument.
pub fn token(args: &ConnectionArgs) -> Result<SecretString, Failure> {
    let text = match &args.token_file {
        Some(path) => token_from(path)?,
        None => SecretString::from(std::env::var("OMNEO_TOKEN").unwrap_or_default()),
    };
    let token = bare(text.expose_secret());
    if token.is_empty() {
        return Err(Failure::new(Kind::Usage, "there is no token")
            .hint("set OMNEO_TOKEN, or name a file that contains the token with --token-file"));
    }
    // What a token may be made of (RFC 6750), and the bar of Laravel's.
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=|".contains(&byte);
    let is_setting = token.starts_with("OMNEO_TOKEN=");
    if is_setting || !token.bytes().all(of_a_token) {
        return Err(Failure::new(
            Kind::Usage,
            "what is given as the token has characters that no token has: spaces, quotes, line breaks or others",
        )
        .hint("set OMNEO_TOKEN, or the token's file, to the bare token and nothing else; nothing was sent"));
    }
    Ok(SecretString::from(token))
}

/// A token without what it is often copied with: a byte-order mark, quotes, and the word before it in a header.
fn bare(text: &str) -> &str {
    let mut token = text.trim_start_matches('\u{feff}').trim();
    for quote in ['"', '\'', '`'] {
        let inside = token
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        token = inside.unwrap_or(token).trim();
    }
    for word in ["authorization:", "bearer "] {
        let named = token
            .get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word));
        token = if named { token[word.len()..].trim() } else { token };
    }
    // Nothing but the word.
    if token.eq_ignore_ascii_case("bearer") {
        ""
    } else {
        token
    }
}

fn token_from(path: &Path) -> Result<SecretString, Failure> {
    use std::io::Read;
    let failed = |error: std::io::Error| {
        Failure::new(
            Kind::Usage,
            format!("cannot read the token from {}: {error}", shown(path)),
        )
        .hint("--token-file names a file that contains the token and nothing else")
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(TOKEN_LIMIT_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(SecretString::from(text))
}

/// The job that is asked for: handles are trimmed, sorted and distinct.
pub fn job(action: Action, status: &[String], base: &BaseUrl) -> Result<Job, Failure> {
    let mut handles: Vec<Handle> = status.iter().map(|text| Handle::new(text.trim())).collect();
    handles.sort();
    handles.dedup();
    if handles.iter().any(|handle| handle.as_str().is_empty()) {
        return Err(Failure::new(Kind::Usage, "a status handle is empty")
            .hint("--status takes handles such as `vip`"));
    }
    Ok(Job {
        tenant: base.to_string(),
        action,
        handles,
    })
}

/// The tenant behind its gate. Must be called inside a runtime.
pub fn tenant(
    base: &BaseUrl,
    token: &SecretString,
    pace: PaceSettings,
    budget: Option<Budget>,
) -> Result<Paced<Client>, Failure> {
    let client = Client::new(base.clone(), token)?;
    let gate = Gate::sharing(pace, budget);
    Ok(Paced::new(client.telling(gate.ear()), gate))
}

/// A folder that a variable names. By the XDG rules, a path that is not absolute is as good as none.
fn folder_named(variable: &str, below: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(variable)?);
    path.is_absolute().then(|| path.join(below))
}

/// Where this user's state is kept for good. Never a folder that a logout empties.
pub fn state_folder() -> Option<PathBuf> {
    folder_named("ROLLBOOK_STATE_DIR", "")
        .or_else(|| folder_named("XDG_STATE_HOME", "rollbook"))
        .or_else(|| folder_named("HOME", ".local/state/rollbook"))
}

/// The budget that all processes of this user on this host share for a tenant.
pub fn budget(base: &BaseUrl) -> Result<Budget, Unshared> {
    let folder = state_folder().ok_or(Unshared::NoFolder)?;
    Budget::open(&folder, &base.to_string())
}

/// Opens a ledger for writing, where there is one, and compares it with what the user's state folder remembers of it.
pub fn open_ledger(path: &Path, verb: &str) -> Result<Option<Ledger>, LedgerError> {
    let Some(mut ledger) = Ledger::open(path, verb)? else {
        return Ok(None);
    };
    ledger.remember_in(state_folder().as_deref())?;
    Ok(Some(ledger))
}

/// Makes a new ledger, which the user's state folder remembers from now on.
pub fn create_ledger(path: &Path, verb: &str) -> Result<Ledger, LedgerError> {
    let mut ledger = Ledger::create(path, verb)?;
    ledger.remember_in(state_folder().as_deref())?;
    Ok(ledger)
}

/// The same for a command that asks a handful of questions, where there is one.
pub fn as_guest(base: &BaseUrl) -> Option<Budget> {
    budget(base).ok().map(Budget::as_guest)
}

/// What an argument names as a list.
pub fn source(list: &OsString) -> Source {
    match list.to_str() {
        Some("-") => Source::Stdin,
        _ => Source::File(list.into()),
    }
}

/// The lists; each is looked at before anything else is done.
pub fn sources(lists: &[OsString]) -> Result<Vec<Source>, Failure> {
    let sources: Vec<Source> = lists.iter().map(source).collect();
    if sources
        .iter()
        .filter(|source| matches!(source, Source::Stdin))
        .count()
        > 1
    {
        return Err(Failure::new(Kind::Usage, "stdin is named twice").hint("`-` can stand for one list only"));
    }
    for source in &sources {
        source.check()?;
    }
    Ok(sources)
}

/// What holds for a run: what is given now, or else what was chosen for this job before, or else what is usual.
pub fn chosen(args: &RunArgs, before: Option<Chosen>) -> Chosen {
    let before = before.unwrap_or_default();
    Chosen {
        in_doubt: args.in_doubt.map_or(before.in_doubt, Into::into),
        rate: args.rate.unwrap_or(before.rate),
        reserve: args.reserve.unwrap_or(before.reserve),
        confirm: args.confirm.map_or(before.confirm, Into::into),
        batch_size: args.batch_size.unwrap_or(before.batch_size),
    }
}

/// Profiles that a pilot sends to at the most: a larger share of a job is not looked at one by one.
const PILOT_AT_MOST: u64 = 100;
/// Profiles of a pilot that are shown by name: as many as a person can look at.
pub const PILOT_SHOWN: usize = 20;

/// Whether a run is there to be looked at before the rest is sent.
pub fn is_pilot(args: &RunArgs) -> bool {
    !args.dry_run && args.limit.is_some_and(|limit| limit <= PILOT_AT_MOST)
}

/// How a run goes about its work.
pub fn run_settings(args: &RunArgs, chosen: &Chosen, way: Way, surveyed: &Surveyed) -> RunSettings {
    RunSettings {
        concurrency: usize::from(args.concurrency),
        way,
        sample: surveyed.survey.sample,
        page_size: surveyed.page_size.unwrap_or(Slice::USUAL_SIZE),
        batch_size: usize::from(chosen.batch_size),
        send_limit: args.limit,
        dry_run: args.dry_run,
        // A pilot is read back as a whole, unless something else is asked for by name.
        confirm: if is_pilot(args) && args.confirm.is_none() {
            Confirm::All
        } else {
            chosen.confirm
        },
        settle_deadline: args.settle_deadline,
        in_doubt: chosen.in_doubt,
        quiet: WRITE_LIFE.max(QUIET_AT_LEAST),
        limits: Limits {
            until_ms: args.until,
            requests: args.max_requests,
        },
        retry: None,
    }
}

/// How fast a run may go.
pub fn pace(args: &RunArgs, chosen: &Chosen) -> PaceSettings {
    PaceSettings {
        rate: chosen.rate,
        reserve: chosen.reserve,
        concurrency: usize::from(args.concurrency),
    }
}

impl Common {
    /// Refuses what contradicts itself, as far as the arguments' own rules cannot.
    pub fn check(&self) -> Result<(), Failure> {
        let shows = matches!(
            self.progress,
            ProgressArg::Bar | ProgressArg::Plain | ProgressArg::Json
        );
        if self.quiet && shows {
            return Err(Failure::new(
                Kind::Usage,
                "--quiet shows no progress, and --progress asks for it",
            )
            .hint("leave one of them out"));
        }
        Ok(())
    }
}

/// How progress is shown.
pub fn mode(progress: ProgressArg, quiet: bool) -> Mode {
    match progress {
        _ if quiet => Mode::None,
        ProgressArg::Auto => Mode::automatic(),
        ProgressArg::Bar => Mode::Bar,
        ProgressArg::Plain => Mode::Plain,
        ProgressArg::Json => Mode::Json,
        ProgressArg::None => Mode::None,
    }
}

/// A runtime for one command.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Unexpected, format!("cannot start: {error}")))
}

/// All options of a run, as the ledger records them.
pub fn options(args: &RunArgs, chosen: &Chosen, connection: &ConnectionArgs) -> RunOptions {
    RunOptions {
        chosen: *chosen,
        concurrency: args.concurrency,
        resolve: Resolve::from(args.resolve),
        settle_deadline: args.settle_deadline,
        dry_run: args.dry_run,
        limit: args.limit,
        until_ms: args.until,
        max_requests: args.max_requests,
        adopt: args.adopt,
        lookup_age: args.lookup_age,
        reuse: args.reuse.reuse.as_deref().map(whole_path),
        max_age: args.reuse.max_age,
        reuse_not_found: args.reuse.reuse_not_found,
        retry: false,
        by: None,
        yes: args.yes,
        all_lists: false,
        token_file: connection.token_file.as_deref().map(whole_path),
    }
}

/// A path from the root, as it is shown.
fn whole_path(path: &Path) -> String {
    shown(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// Whether a file contains the token that the environment names.
pub fn is_the_token(path: &Path) -> bool {
    let named = std::env::var("OMNEO_TOKEN")
        .map(SecretString::from)
        .unwrap_or_default();
    let named = bare(named.expose_secret());
    !named.is_empty() && token_from(path).is_ok_and(|text| bare(text.expose_secret()) == named)
}

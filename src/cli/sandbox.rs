//! `sandbox`: the embedded tenant as a process of its own.

use super::args::{Common, parse_time};
use super::error::{Failure, Kind, unwritable};
use super::job::print;
use super::{settings, signals};
use crate::files::{Keep, Output, OutputError, open_or_make};
use crate::sandbox::{
    CountStyle, EnvelopeStyle, FilterMode, Hostile, ListFilter, OpenFile, Options, RateChange, RateKind,
    RateLimit, RetryAfterStyle, Sandbox, SandboxError, Seen, UnknownIds, realistic_list,
};
use crate::ui::say;
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What the contract leaves open is a switch here.
#[derive(Args, Debug)]
pub struct SandboxArgs {
    /// The port on 127.0.0.1; 0 takes any that is free
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Profiles in the tenant
    #[arg(long, default_value_t = 20_000)]
    profiles: u32,
    /// What the profiles are made from: the same seed, the same people
    #[arg(long, default_value_t = 1, hide_short_help = true)]
    seed: u64,
    /// The bearer token that is accepted
    #[arg(long, default_value = "sandbox-token")]
    token: String,
    /// The token's scopes
    #[arg(long, value_delimiter = ',', hide_short_help = true)]
    scopes: Option<Vec<String>>,
    /// Share of profiles that hold the first status already, in per cent
    #[arg(long, default_value_t = 5)]
    holders: u8,
    /// Share of profiles that share an email with another one, in per cent
    #[arg(long, default_value_t = 0.5)]
    duplicates: f64,
    /// Every answer takes this long
    #[arg(long, value_parser = parse_time, default_value = "0ms")]
    latency: Duration,
    /// Answers 429 beyond this, such as 600/min
    #[arg(long)]
    rate_limit: Option<RateLimit>,
    /// How that is counted: fixed or sliding windows, or a bucket of tokens
    #[arg(long, value_name = "KIND", default_value_t = RateKind::Fixed, hide_short_help = true)]
    rate_kind: RateKind,
    /// Another limit after so many seconds, such as 90s=300/min
    #[arg(
        long,
        value_name = "WHEN=LIMIT",
        requires = "rate_limit",
        hide_short_help = true
    )]
    rate_change: Option<RateChange>,
    /// Leaves the X-RateLimit-* headers out
    #[arg(long, hide_short_help = true)]
    no_rate_headers: bool,
    /// How a 429 says when to come back: seconds, date or missing
    #[arg(long, default_value_t = RetryAfterStyle::Seconds, hide_short_help = true)]
    retry_after: RetryAfterStyle,
    /// How the email filter compares: exact, partial or ignored
    #[arg(long, default_value_t = FilterMode::Exact, hide_short_help = true)]
    filter: FilterMode,
    /// What a filter for many emails does: honoured, ignored, broken, sensitive or short
    #[arg(long, default_value_t = ListFilter::Honoured, hide_short_help = true)]
    filter_in: ListFilter,
    /// What a filter for many ids does: honoured, ignored, broken or short
    #[arg(long, default_value_t = ListFilter::Honoured, hide_short_help = true)]
    filter_ids: ListFilter,
    /// Ignores `filter[statuses.handle]`
    #[arg(long, hide_short_help = true)]
    no_filter_holders: bool,
    /// Ignores `sort=id`
    #[arg(long, hide_short_help = true)]
    no_sort: bool,
    /// The longest address in bytes; a longer one is a 414
    #[arg(long, default_value_t = 8_000, hide_short_help = true)]
    url_max: u32,
    /// How counts are written: number, string or null
    #[arg(long, default_value_t = CountStyle::Number, hide_short_help = true)]
    counts: CountStyle,
    /// How the statuses come: paged or bare
    #[arg(long, default_value_t = EnvelopeStyle::Paged, hide_short_help = true)]
    envelope: EnvelopeStyle,
    /// What unknown profile ids lead to: reject, item or silent
    #[arg(long, default_value_t = UnknownIds::Reject, hide_short_help = true)]
    unknown_ids: UnknownIds,
    /// Reports an undocumented state while a batch is pending
    #[arg(long, hide_short_help = true)]
    unknown_state: bool,
    /// A batch is not found for so long after its 202
    #[arg(long, value_parser = parse_time, default_value = "0ms", hide_short_help = true)]
    not_found_for: Duration,
    /// From a batch's acceptance to its application
    #[arg(long, value_parser = parse_time, default_value = "200ms")]
    apply_delay: Duration,
    /// From a batch's success to its effect on the profiles
    #[arg(long, value_parser = parse_time, default_value = "0ms", hide_short_help = true)]
    show_delay: Duration,
    /// The largest page
    #[arg(long, default_value_t = 100, hide_short_help = true)]
    page_max: u32,
    /// The largest batch; a larger one is a 422
    #[arg(long, default_value_t = 500, hide_short_help = true)]
    batch_max: u32,
    /// The largest request; a larger one is a 413
    #[arg(long, hide_short_help = true)]
    payload_max: Option<u32>,
    /// Share of writes that are taken and answered by a gateway's 502, in per cent
    #[arg(long, default_value_t = 0.0)]
    lose_answers: f64,
    /// Share of writes that are not taken and answered by the same 502, in per cent
    #[arg(long, default_value_t = 0.0)]
    drop_writes: f64,
    /// Batches succeed and change nothing, as if the status had been deleted
    #[arg(long, hide_short_help = true)]
    drop_handle_effect: bool,
    /// Draws a hostile tenant from this number: the same number, the same tenant
    #[arg(long, value_name = "SEED")]
    hostile: Option<u64>,
    /// Writes a list about half of the profiles to this file first, to try things with
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Keeps the tenant's state in this file
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Writes every accepted write to this file, one JSON object a line
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    journal: Option<PathBuf>,
    /// At the end, writes when each request arrived, in seconds, and how it was answered, one a line
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    arrivals: Option<PathBuf>,
}

impl SandboxArgs {
    /// The files that it keeps, and what each is.
    pub fn files(&self) -> Vec<(PathBuf, &'static str)> {
        [&self.list, &self.state, &self.journal, &self.arrivals]
            .into_iter()
            .flatten()
            .map(|path| (path.clone(), "is a file that the sandbox keeps"))
            .collect()
    }

    fn options(&self) -> Result<Options, Failure> {
        let defaults = Options::default();
        Ok(Options {
            port: self.port,
            profiles: self.profiles,
            seed: self.seed,
            token: self.token.clone(),
            scopes: self.scopes.clone().unwrap_or(defaults.scopes),
            holders_percent: self.holders,
            duplicates_percent: self.duplicates,
            latency: self.latency,
            rate_limit: self.rate_limit,
            rate_kind: self.rate_kind,
            rate_change: self.rate_change,
            rate_headers: !self.no_rate_headers,
            retry_after: self.retry_after,
            filter: self.filter,
            filter_in: self.filter_in,
            filter_ids: self.filter_ids,
            filter_holders: !self.no_filter_holders,
            sort: !self.no_sort,
            url_max: self.url_max,
            counts: self.counts,
            envelope: self.envelope,
            unknown_ids: self.unknown_ids,
            unknown_state: self.unknown_state,
            not_found_for: self.not_found_for,
            apply_delay: self.apply_delay,
            show_delay: self.show_delay,
            page_max: self.page_max,
            batch_max: self.batch_max,
            payload_max: self.payload_max.unwrap_or(defaults.payload_max),
            lose_answers_percent: self.lose_answers,
            drop_writes_percent: self.drop_writes,
            drop_handle_effect: self.drop_handle_effect,
            hostile: self.hostile.map(Hostile::draw),
            state: self.state.as_deref().map(open).transpose()?,
            journal: self.journal.as_deref().map(open).transpose()?,
            statuses: defaults.statuses,
            page_default: defaults.page_default,
        })
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        let failure = Self::new(Kind::Usage, format!("the sandbox cannot start: {error}"));
        match error {
            SandboxError::Foreign(_) => failure.hint("nothing was touched; name another file"),
            _ => failure,
        }
    }
}

/// Opens a file that the sandbox goes on with, or makes it.
fn open(path: &Path) -> Result<OpenFile, Failure> {
    let file =
        open_or_make(path).map_err(|error| unwritable(path, &error.into(), "one that is not there yet"))?;
    Ok(OpenFile::new(path, file))
}

/// Whether a file holds what the server saw in an earlier run, so that it may be replaced.
fn is_arrivals(path: &Path) -> bool {
    let is_arrival = |line: &str| {
        let parts = line.split_once(' ').zip(line.split_once('.'));
        parts.is_some_and(|((at, status), (_, fraction))| {
            at.parse::<f64>().is_ok() && status.parse::<u16>().is_ok() && fraction.len() == "000000 200".len()
        })
    };
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().all(is_arrival))
}

/// The outputs of a sandbox, refused before anything is made.
struct Outputs<'a> {
    args: &'a SandboxArgs,
    keep: Keep,
}

impl Outputs<'_> {
    /// Begins the list for trying things out; `None` where the file holds it already.
    fn list(&self, options: &Options) -> Result<Option<(&Path, String, Output)>, Failure> {
        let Some(path) = self.args.list.as_deref() else {
            return Ok(None);
        };
        let list = realistic_list(options, options.profiles.div_ceil(2));
        if std::fs::read(path).is_ok_and(|there| there == list.as_bytes()) {
            return Ok(None);
        }
        let output = self.begin(path, false, "--list")?;
        Ok(Some((path, list, output)))
    }

    /// Begins the file for what the server saw, for whoever measures its clients.
    fn arrivals(&self) -> Result<Option<(&Path, Output)>, Failure> {
        let Some(path) = self.args.arrivals.as_deref() else {
            return Ok(None);
        };
        Ok(Some((path, self.begin(path, is_arrivals(path), "--arrivals")?)))
    }

    fn begin(&self, path: &Path, replaces: bool, flag: &str) -> Result<Output, Failure> {
        let other = format!("{flag} FILE");
        Output::create(path, &self.keep, replaces, "sandbox")
            .map_err(|error| unwritable(path, &error, &other))
    }
}

/// Writes a file that was begun.
pub fn complete(path: &Path, mut output: Output, text: &str) -> Result<(), Failure> {
    let written = output.write_all(text.as_bytes()).map_err(OutputError::from);
    let written = written.and_then(|()| output.finish());
    written.map_err(|error| unwritable(path, &error, "another one"))
}

/// `sandbox`: serves until it is told to stop.
pub fn serve(args: &SandboxArgs, common: &Common) -> Result<ExitCode, Failure> {
    settings::runtime()?.block_on(async {
        let mut stop = signals::stop_on_signals();
        let outputs = Outputs {
            args,
            keep: Keep::ledger(&common.ledger),
        };
        outputs.arrivals()?;
        let options = args.options()?;
        let list = outputs.list(&options)?;
        if let Some(hostile) = options.hostile {
            say(format_args!("hostile: {hostile}"));
        }
        let sandbox = Sandbox::start(options).await?;
        if let Some((path, list, output)) = list {
            complete(path, output, &list)?;
        }
        print(&format!(
            "# The embedded tenant, {} profiles. Ctrl-C ends it. In another terminal:\n\
             export OMNEO_BASE_URL={} OMNEO_TOKEN={}\n",
            crate::ui::format::count(u64::from(sandbox.profile_count())),
            sandbox.base_url(),
            sandbox.token(),
        ))?;
        // An error means that no signal can come; then only a kill ends it.
        if stop.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
        if let Some((path, output)) = outputs.arrivals()? {
            let line = |seen: &Seen| format!("{:.6} {}\n", seen.at.as_secs_f64(), seen.status);
            complete(
                path,
                output,
                &sandbox.requests().iter().map(line).collect::<String>(),
            )?;
        }
        say(format_args!(
            "{} requests, {} writes accepted, busiest second {}",
            sandbox.requests().len(),
            sandbox.writes().len(),
            sandbox.busiest_second()
        ));
        sandbox.stop().await;
        Ok(ExitCode::SUCCESS)
    })
}

//! The command line. Names here are relied on by scripts: they may be added to, not changed.

use super::help;
use super::reading::ReadingArgs;
use super::until::parse_until;
use crate::audit::export::{Format, Rows};
use crate::model::doubt::InDoubt;
use crate::model::rate::Rate;
use crate::model::reserve::Reserve;
use crate::model::sample::Confirm;
use crate::model::way::Resolve;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The ledger where no flag names one. A variable that is set to nothing is as good as none.
pub fn usual_ledger() -> PathBuf {
    let named = std::env::var_os("ROLLBOOK_LEDGER").filter(|path| !path.is_empty());
    named.map_or_else(|| "rollbook.db".into(), PathBuf::from)
}

/// What was looked up longer ago than a year says nothing about anybody.
const MAX_AGE_LIMIT: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Assign statuses to customer profiles in bulk: resumable, audited, never twice.
#[derive(Parser, Debug)]
#[command(name = "rollbook", version, before_help = help::ALL, after_long_help = help::EXIT_CODES, max_term_width = 100,
    args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub common: Common,
}

/// What every verb understands.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Global options")]
pub struct Common {
    /// The ledger: one file, one job [env: ROLLBOOK_LEDGER] [default: rollbook.db]
    #[arg(long, global = true, value_name = "PATH", default_value_os_t = usual_ledger(), hide_default_value = true)]
    pub ledger: PathBuf,
    /// Progress on stderr: auto, bar, plain, json or none [default: auto]
    #[arg(long, global = true, value_enum, value_name = "HOW", hide_possible_values = true, default_value_t = ProgressArg::Auto, hide_default_value = true, hide_short_help = true)]
    pub progress: ProgressArg,
    /// Show nothing but errors, and the answer that was asked for
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Show every batch
    #[arg(short, long, global = true, conflicts_with = "quiet", hide_short_help = true)]
    pub verbose: bool,
    /// Add to a log what was asked, and why it waits; ROLLBOOK_LOG=debug: each request, no emails
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub log: Option<PathBuf>,
    /// The log as text or json, one object a line [default: text]
    #[arg(long, global = true, value_enum, value_name = "HOW", requires = "log", hide_possible_values = true, default_value_t = LogFormat::Text, hide_default_value = true, hide_short_help = true)]
    pub log_format: LogFormat,
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// See it all on an embedded tenant: list, assign, kill, resume, export
    #[command(before_help = help::DEMO)]
    Demo(DemoArgs),
    /// Read lists into the ledger; contacts nobody
    #[command(before_help = help::LOAD)]
    Load(LoadArgs),
    /// The lists in the ledger, with their counts and how they were read
    #[command(before_help = help::LISTS)]
    Lists(JsonArg),
    /// Take a list out of the ledger again, unless something of it was sent
    #[command(before_help = help::UNLOAD)]
    Unload(UnloadArgs),
    /// What a run would take: requests, time, and when it would be done
    #[command(before_help = help::PLAN)]
    Plan(PlanArgs),
    /// Give a status to every profile on the lists; the same command again goes on
    #[command(before_help = help::ASSIGN)]
    Assign(JobArgs),
    /// Take a status from every profile on the lists that has it
    ///
    /// It is no undo: whoever had the status before any `assign` loses it, too. Profiles that do not have it are
    /// skipped. The plan says at most how many it can be; --dry-run looks everybody up and says exactly how many.
    #[command(before_help = help::REMOVE)]
    Remove(JobArgs),
    /// Go on with the ledger's job, after anything
    #[command(before_help = help::RESUME)]
    Resume(ResumeArgs),
    /// How the job stands, and a run beside it
    #[command(before_help = help::STATUS)]
    Status(JsonArg),
    /// What became of every line, as CSV or JSON lines
    #[command(before_help = help::EXPORT)]
    Export(ExportArgs),
    /// The whole story of one email, profile, line or batch
    #[command(before_help = help::SHOW)]
    Show(ShowArgs),
    /// The batches, one a line; or the members of one
    #[command(before_help = help::BATCHES)]
    Batches(BatchesArgs),
    /// The runs, one a line: when, how they ended, and their options
    #[command(before_help = help::RUNS)]
    Runs(JsonArg),
    /// Look at confirmed profiles again: does everybody still have it?
    #[command(before_help = help::VERIFY)]
    Verify(VerifyArgs),
    /// Rule on a batch that no evidence decides; `resume` acts on it
    #[command(before_help = help::SETTLE)]
    Settle(SettleArgs),
    /// The statuses that the tenant defines
    #[command(before_help = help::STATUSES)]
    Statuses(StatusesArgs),
    /// Check the ledger, and the connection where one is set
    #[command(before_help = help::DOCTOR)]
    Doctor(ConnectionArgs),
    /// Serve the embedded tenant, on this machine only
    #[command(before_help = help::SANDBOX)]
    Sandbox(Box<super::sandbox::SandboxArgs>),
}

/// Where the tenant is. The token is never an argument: arguments are visible to everybody on the machine.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Connection (the token comes from OMNEO_TOKEN or --token-file)")]
pub struct ConnectionArgs {
    /// The tenant's name [env: OMNEO_TENANT]
    // The environment is read in `settings`: for clap, a variable would contradict the other flag.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// The API's address, instead of the tenant's name [env: OMNEO_BASE_URL]
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// A file that contains the token, instead of OMNEO_TOKEN
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct LoadArgs {
    /// CSV, TSV or one email a line, also gzip or zstd; `-` is stdin
    #[arg(required = true, value_name = "LIST")]
    pub lists: Vec<OsString>,
    #[command(flatten)]
    pub reading: ReadingArgs,
}

#[derive(Args, Debug)]
pub struct UnloadArgs {
    /// The list: its name, its path, or its number, as `rollbook lists` shows them
    #[arg(value_name = "LIST")]
    pub list: OsString,
}

#[derive(Args, Debug)]
pub struct JobArgs {
    /// The status's handle; several with commas
    #[arg(long, required = true, value_name = "HANDLE", value_delimiter = ',')]
    pub status: Vec<String>,
    /// CSV, TSV or one email a line, also gzip or zstd; `-` is stdin [default: the lists already loaded]
    #[arg(value_name = "LIST")]
    pub lists: Vec<OsString>,
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// With --yes: send to the lists that are in the ledger already as well, though they are not named now
    #[arg(long, hide_short_help = true)]
    pub all_lists: bool,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The status's handle; several with commas [default: the ledger's own]
    #[arg(long, value_name = "HANDLE", value_delimiter = ',')]
    pub status: Vec<String>,
    /// Plan to detach it
    #[arg(long)]
    pub remove: bool,
    /// CSV, TSV or one email a line, also gzip or zstd; `-` is stdin [default: the lists already loaded]
    #[arg(value_name = "LIST")]
    pub lists: Vec<OsString>,
    #[command(flatten)]
    pub reading: ReadingArgs,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// Try failed entries again: look-ups that failed, and profiles whose request was refused
    #[arg(long, value_enum, value_name = "WHICH", hide_possible_values = true)]
    pub retry: Option<RetryArg>,
    /// Who decides to try members of accepted batches again as well, after a fresh look at each
    #[arg(long, value_name = "NAME", requires = "retry", requires = "because")]
    pub by: Option<String>,
    /// Why; both are kept in the ledger and shown in the export
    #[arg(long, value_name = "TEXT", requires = "by")]
    pub because: Option<String>,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Look every profile up and send nothing; `resume` goes on from there
    #[arg(long)]
    pub dry_run: bool,
    /// Send to the first N profiles and stop
    ///
    /// Up to 100 it is a pilot: all of them are read back, and shown at the end for a person to check.
    #[arg(long, value_name = "N", value_parser = parse_limit, conflicts_with = "dry_run")]
    pub limit: Option<u64>,
    /// Begin nothing new after this local time: 06:00, or 2026-11-25T06:00
    #[arg(long, value_name = "WHEN", value_parser = parse_until, hide_short_help = true)]
    pub until: Option<i64>,
    /// Make no more than N requests of any kind; leaves enough to settle what was sent
    #[arg(long, value_name = "N", value_parser = parse_max_requests, hide_short_help = true)]
    pub max_requests: Option<u64>,
    /// Do not ask before sending
    #[arg(short, long)]
    pub yes: bool,
    /// How many requests, such as 10/s, 600/min, 10/s,400/min or unlimited [default: 10/s]
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub rate: Option<Rate>,
    /// How emails are looked up: one, many, scan or auto
    ///
    /// One a request, many in a request, or by a scan of all profiles; auto takes what costs the fewest requests.
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true, default_value_t = ResolveArg::Auto, hide_short_help = true)]
    pub resolve: ResolveArg,
    /// The share that is left to others, such as the live shop [default: 0%]
    ///
    /// Of the tenant's limit where it is known, else of --rate.
    #[arg(
        long,
        value_name = "SHARE",
        allow_hyphen_values = true,
        hide_short_help = true
    )]
    pub reserve: Option<Reserve>,
    /// Requests under way at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512), hide_short_help = true)]
    pub concurrency: u16,
    /// Profiles in a batch at the most [default: 300]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500), hide_short_help = true)]
    pub batch_size: Option<u16>,
    /// How much of each batch is read back: sample, all or none [default: sample]
    ///
    /// One profile of a sample that does not show the change, and the whole batch is read back.
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true)]
    pub confirm: Option<ConfirmArg>,
    /// How long a run waits for a batch to become clear: 90s, 15min, 2h
    #[arg(long, value_name = "TIME", default_value = "15min", value_parser = parse_time, hide_short_help = true)]
    pub settle_deadline: Duration,
    /// Batches without a clear answer: verify, or hold for a person's ruling [default: verify]
    ///
    /// With verify, one that is shown never to have arrived is sent again; with hold, it awaits a ruling.
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub in_doubt: Option<InDoubtArg>,
    /// Go on with this copy of a ledger in place of its original; settles first what that may have sent
    #[arg(long, hide_short_help = true)]
    pub adopt: bool,
    /// The final summary as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Look entries up again before they are sent if that was longer ago: 0 is always
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_lookup_age, hide_short_help = true)]
    pub lookup_age: Duration,
    #[command(flatten)]
    pub reuse: ReuseArgs,
}

/// What is taken from an earlier ledger.
#[derive(Args, Debug, Clone, Default)]
pub struct ReuseArgs {
    /// Take profiles from the ledger of an earlier job at this tenant; each is read back
    #[arg(long, value_name = "LEDGER", conflicts_with = "adopt", hide_short_help = true)]
    pub reuse: Option<PathBuf>,
    /// How old its look-ups may be: 90min, 12h, 7d [default: 7d]
    #[arg(long, value_name = "TIME", requires = "reuse", value_parser = parse_age, hide_short_help = true)]
    pub max_age: Option<Duration>,
    /// Also take from it that no profile has an email; such entries are skipped
    #[arg(long, requires = "reuse", hide_short_help = true)]
    pub reuse_not_found: bool,
}

#[derive(Args, Debug, Clone, Copy)]
pub struct JsonArg {
    /// JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct BatchesArgs {
    /// A batch, whose members are shown; its number stands in `rollbook batches`
    #[arg(value_name = "N")]
    pub batch: Option<i64>,
    #[command(flatten)]
    pub output: JsonArg,
}

#[derive(Args, Debug)]
pub struct ShowArgs {
    /// An email, or a profile id
    #[arg(value_name = "WHO", required_unless_present_any = ["line", "batch"], conflicts_with_all = ["line", "batch"])]
    pub who: Option<String>,
    /// Whoever stands in line N of a list
    #[arg(long, value_name = "LIST:N", conflicts_with = "batch")]
    pub line: Option<String>,
    /// A batch, as `rollbook batches` numbers it
    #[arg(long, value_name = "N", conflicts_with = "now")]
    pub batch: Option<i64>,
    /// Ask the tenant as well what it shows now
    #[arg(long)]
    pub now: bool,
    /// JSON, one object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Look at N confirmed profiles, chosen at random [default: 300]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["all", "since"])]
    pub sample: Option<u64>,
    /// Look at every confirmed profile
    #[arg(long, conflicts_with = "since")]
    pub all: bool,
    /// Look at those that verification N looked at, and say what changed since [default: the last one]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub since: Option<i64>,
    /// How many requests, such as 10/s [default: the job's own]
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub rate: Option<Rate>,
    /// JSON instead of a table
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Args, Debug)]
pub struct SettleArgs {
    /// The batch, as `rollbook batches` numbers it
    #[arg(long, value_name = "N", required_unless_present = "tenant_batch")]
    pub batch: Option<i64>,
    /// A batch of the tenant's own, by its id there, that is over although the tenant calls it pending
    #[arg(long, value_name = "ID", conflicts_with = "batch")]
    pub tenant_batch: Option<String>,
    /// What became of the request: sent (it arrived) or absent (it never arrived); of a tenant's batch: over
    #[arg(long = "as", value_enum, value_name = "VERDICT", hide_possible_values = true)]
    pub verdict: VerdictArg,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    pub by: String,
    /// Why; both are kept in the ledger and shown in the export
    #[arg(long, value_name = "TEXT")]
    pub because: String,
}

#[derive(Args, Debug)]
pub struct StatusesArgs {
    #[command(flatten)]
    pub output: JsonArg,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Args, Debug)]
pub struct ExportArgs {
    /// csv, or jsonl for JSON lines
    #[arg(long, value_enum, hide_possible_values = true, default_value_t = FormatArg::Csv)]
    pub format: FormatArg,
    /// entries, repeats (rows that name one again), rejected (rows without a usable email) or all
    #[arg(long, value_enum, value_name = "WHICH", hide_possible_values = true, default_value_t = RowsArg::Entries)]
    pub rows: RowsArg,
    /// A file instead of stdout; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace FILE where it is there already
    #[arg(long, requires = "output")]
    pub force: bool,
}

#[derive(Args, Debug)]
pub struct DemoArgs {
    /// The folder that is made for it
    #[arg(long, value_name = "FOLDER", default_value = "rollbook-demo")]
    pub folder: PathBuf,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressArg {
    Auto,
    Bar,
    Plain,
    Json,
    None,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum ConfirmArg {
    Sample,
    All,
    None,
}

impl From<ConfirmArg> for Confirm {
    fn from(arg: ConfirmArg) -> Self {
        match arg {
            ConfirmArg::Sample => Self::Sample,
            ConfirmArg::All => Self::All,
            ConfirmArg::None => Self::None,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum ResolveArg {
    Auto,
    One,
    Many,
    Scan,
}

impl From<ResolveArg> for Resolve {
    fn from(arg: ResolveArg) -> Self {
        match arg {
            ResolveArg::Auto => Self::Auto,
            ResolveArg::One => Self::One,
            ResolveArg::Many => Self::Many,
            ResolveArg::Scan => Self::Scan,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum InDoubtArg {
    Verify,
    Hold,
}

impl From<InDoubtArg> for InDoubt {
    fn from(arg: InDoubtArg) -> Self {
        match arg {
            InDoubtArg::Verify => Self::Verify,
            InDoubtArg::Hold => Self::Hold,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum RetryArg {
    Failed,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum VerdictArg {
    Sent,
    Absent,
    Over,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum FormatArg {
    Csv,
    Jsonl,
}

impl From<FormatArg> for Format {
    fn from(arg: FormatArg) -> Self {
        match arg {
            FormatArg::Csv => Self::Csv,
            FormatArg::Jsonl => Self::JsonLines,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum RowsArg {
    Entries,
    Repeats,
    Rejected,
    All,
}

impl From<RowsArg> for Rows {
    fn from(arg: RowsArg) -> Self {
        match arg {
            RowsArg::Entries => Self::Entries,
            RowsArg::Repeats => Self::Repeats,
            RowsArg::Rejected => Self::Rejected,
            RowsArg::All => Self::All,
        }
    }
}

fn parse_limit(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a number of profiles, at least 1".into())
}

/// Looking around takes some already, and a batch that could not be settled is not begun.
const FEWEST_REQUESTS: u64 = 20;

fn parse_max_requests(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number >= FEWEST_REQUESTS);
    number.ok_or_else(|| format!("expected a number of requests, at least {FEWEST_REQUESTS}"))
}

/// Reads an age: more than nothing, and no more than anybody can mean.
fn parse_age(text: &str) -> Result<Duration, String> {
    let age = parse_time(text).ok();
    age.filter(|age| !age.is_zero() && *age <= MAX_AGE_LIMIT)
        .ok_or_else(|| "expected an age such as 90min, 12h or 7d, at most 366d".into())
}

/// Reads how old a look-up may be: nothing, or an age.
fn parse_lookup_age(text: &str) -> Result<Duration, String> {
    let age = if text == "0" {
        Ok(Duration::ZERO)
    } else {
        parse_time(text)
    };
    age.ok()
        .filter(|age| *age <= MAX_AGE_LIMIT)
        .ok_or_else(|| "expected 0 or an age such as 90min, 12h or 7d, at most 366d".into())
}

/// Reads `250ms`, `90s`, `15min`, `2h` or `7d`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 90s, 15min or 2h".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(expected)?;
    let number: u64 = text[..digits].parse().map_err(|_| expected())?;
    let ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    number
        .checked_mul(ms)
        .map(Duration::from_millis)
        .ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("2h"), Ok(Duration::from_secs(7_200)));
        for bad in ["", "10", "s", "-1s", "1.5h", "99999999999999999999h"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_look_up_may_have_no_age_at_all() {
        assert_eq!(parse_lookup_age("0"), Ok(Duration::ZERO));
        assert_eq!(parse_lookup_age("12h"), Ok(Duration::from_secs(43_200)));
        for bad in ["", "24", "-1h", "367d", "never"] {
            assert!(parse_lookup_age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_sensible() {
        assert_eq!(parse_age("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(parse_age("366d"), Ok(MAX_AGE_LIMIT));
        for bad in [
            "0d",
            "0s",
            "367d",
            "7",
            "7w",
            "-1d",
            "d",
            "7 d",
            "9999999999999999999d",
        ] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }
}

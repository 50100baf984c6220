//! The command line. Names here are relied on by scripts: they may be added to, not changed.

use super::reading::ReadingArgs;
use super::until::parse_until;
use crate::audit::export::{Format, Rows};
use crate::ledger::Verdict;
use crate::model::doubt::InDoubt;
use crate::model::rate::Rate;
use crate::model::reserve::Reserve;
use crate::model::sample::Confirm;
use crate::model::way::Resolve;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  rollbook demo                                    see it all on an embedded tenant
  export OMNEO_TENANT=acme OMNEO_TOKEN=...
  rollbook assign --status vip --dry-run list.csv  look everybody up, send nothing
  rollbook assign --status vip --limit 10 list.csv send the first ten, then look
  rollbook resume                                  go on, after anything
  rollbook export -o audit.csv                     what became of every line";

const ASSIGN_EXAMPLES: &str = "\
Examples:
  rollbook assign --status vip customers.csv            look, ask, send, settle
  rollbook assign --status vip --limit 10 customers.csv send the first ten and stop
  zcat *.csv.gz | rollbook assign --status vip --yes -  a list from stdin";

const PLAN_EXAMPLES: &str = "\
Examples:
  rollbook plan --status vip customers.csv              before anything is begun; keeps nothing
  rollbook plan --status vip --rate 20/s customers.csv  were it allowed to go faster?
  rollbook plan                                         what is left of the ledger's job, also beside a run";

const EXPORT_EXAMPLES: &str = "\
Examples:
  rollbook export -o audit.csv               what became of every entry
  rollbook export --rows rejected            rows that hold no usable email
  rollbook export --format jsonl -o all.jsonl --rows all";

const SETTLE_EXAMPLES: &str = "\
Examples:
  rollbook batches                           which are held, and why
  rollbook settle --batch 7 --as absent --by \"Ann Lee\" --because \"not in Omneo's own log, ticket 4711\"
  rollbook resume                            looks at its profiles once more, and sends it again
  rollbook settle --batch 7 --as sent --by \"Ann Lee\" --because \"Omneo support confirmed it\"";

const SANDBOX_EXAMPLES: &str = "\
Examples:
  rollbook sandbox --list customers.csv      20,000 profiles on http://127.0.0.1:8787, and a list
  rollbook sandbox --rate-limit 600/min --latency 80ms
  rollbook sandbox --lose-answers 10 --state tenant.jsonl";

/// What was looked up longer ago than a year says nothing about anybody.
const MAX_AGE_LIMIT: Duration = Duration::from_secs(366 * 24 * 3_600);

const EXIT_CODES: &str = "\
Exit codes:
  0 done   1 unexpected   2 usage   3 done, but something failed or is held
  4 stopped before the end, `rollbook resume` goes on
  5 refused before anything was sent   6 ledger in use, damaged, newer or of another job";

/// Assign statuses to customer profiles in bulk: resumable, audited, never twice.
#[derive(Parser, Debug)]
#[command(name = "rollbook", version, before_help = EXAMPLES, after_help = EXIT_CODES, max_term_width = 100,
    args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub common: Common,
}

/// What every verb understands.
#[derive(Args, Debug, Clone)]
pub struct Common {
    /// The ledger: one file, one job
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "ROLLBOOK_LEDGER",
        default_value = "rollbook.db"
    )]
    pub ledger: PathBuf,
    /// Progress on stderr: auto, bar, plain, json or none
    #[arg(long, global = true, value_enum, value_name = "HOW", hide_possible_values = true, default_value_t = ProgressArg::Auto)]
    pub progress: ProgressArg,
    /// Show nothing but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Tell of every batch
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// The whole story on the embedded tenant: list, assign, kill, resume, export
    Demo(DemoArgs),
    /// Take lists into the ledger offline
    Load(LoadArgs),
    /// The lists in the ledger, with their counts and how they were read
    Lists(JsonArg),
    /// Take a list out of the ledger again, unless something of it was sent
    Unload(UnloadArgs),
    /// What a run would take: requests, time, and when it would be done
    #[command(before_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Attach a status to everybody on the lists; the same command again goes on
    #[command(before_help = ASSIGN_EXAMPLES)]
    Assign(JobArgs),
    /// Detach a status from everybody on the lists
    Remove(JobArgs),
    /// Go on with what the ledger says is left
    Resume(ResumeArgs),
    /// How the job stands, also while a run is going on
    Status(JsonArg),
    /// What became of every line, as CSV or JSON lines
    #[command(before_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// The batches, one a line
    Batches(JsonArg),
    /// Rule on a batch of which no evidence says whether it arrived; `resume` acts on it
    #[command(before_help = SETTLE_EXAMPLES)]
    Settle(SettleArgs),
    /// The statuses that the tenant defines
    Statuses(StatusesArgs),
    /// Check the ledger, and the connection where one is set
    Doctor(ConnectionArgs),
    /// The embedded tenant, on this machine only
    #[command(before_help = SANDBOX_EXAMPLES)]
    Sandbox(Box<super::sandbox::SandboxArgs>),
}

/// Where the tenant is. The token is never an argument: arguments are visible to everybody on the machine.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Connection (the token comes from OMNEO_TOKEN or --token-file)")]
pub struct ConnectionArgs {
    /// The tenant's name
    #[arg(long, env = "OMNEO_TENANT", value_name = "NAME")]
    pub tenant: Option<String>,
    /// The API's address, instead of the tenant's name
    #[arg(long, env = "OMNEO_BASE_URL", value_name = "URL", hide_env_values = true)]
    pub base_url: Option<String>,
    /// A file that holds the token
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
    /// CSV, TSV or one email a line, also gzip or zstd; `-` is stdin. None: the lists already loaded
    #[arg(value_name = "LIST")]
    pub lists: Vec<OsString>,
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// With --yes: send to the lists that are in the ledger already as well, though they are not named now
    #[arg(long)]
    pub all_lists: bool,
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The status's handle; several with commas. None: the ledger's own
    #[arg(long, value_name = "HANDLE", value_delimiter = ',')]
    pub status: Vec<String>,
    /// Plan to detach it
    #[arg(long)]
    pub remove: bool,
    /// CSV, TSV or one email a line, also gzip or zstd; `-` is stdin. None: the lists already loaded
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
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Look everybody up and send nothing; `resume` goes on from there
    #[arg(long)]
    pub dry_run: bool,
    /// Send to the first N profiles and stop there
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    pub limit: Option<u64>,
    /// Begin nothing new from then on, local time: 06:00, or 2026-11-25T06:00
    #[arg(long, value_name = "WHEN", value_parser = parse_until)]
    pub until: Option<i64>,
    /// Make no more requests than that, all kinds together; what is sent can still be settled
    #[arg(long, value_name = "N", value_parser = parse_max_requests)]
    pub max_requests: Option<u64>,
    /// Do not ask before sending
    #[arg(short, long)]
    pub yes: bool,
    /// Requests in a time, all kinds together: 10/s, 600/min, both as 10/s,400/min, unlimited
    #[arg(long, value_name = "RATE", default_value = "10/s", allow_hyphen_values = true)]
    pub rate: Rate,
    /// How emails become profiles: one by one, many in a request, a scan of everybody, or auto (the fewest requests)
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true, default_value_t = ResolveArg::Auto)]
    pub resolve: ResolveArg,
    /// What is left to others, such as the live shop: of what the tenant allows, or else of --rate
    #[arg(long, value_name = "SHARE", default_value_t = Reserve::NONE, allow_hyphen_values = true)]
    pub reserve: Reserve,
    /// Requests under way at the same time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub concurrency: u16,
    /// Profiles in a batch at the most
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub batch_size: u16,
    /// How much of each batch is read back: sample (one miss and it is all), all or none
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true, default_value_t = ConfirmArg::Sample)]
    pub confirm: ConfirmArg,
    /// How long a batch may stay unclear: 90s, 15min, 2h
    #[arg(long, value_name = "TIME", default_value = "15min", value_parser = parse_time)]
    pub settle_deadline: Duration,
    /// A batch in doubt that proves absent is sent again (verify), or left for a person to rule on (hold)
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true, default_value_t = InDoubtArg::Verify)]
    pub in_doubt: InDoubtArg,
    /// This ledger is a copy that goes on in place of its original: settle what that may have sent, first
    #[arg(long)]
    pub adopt: bool,
    /// The final summary as JSON on stdout
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reuse: ReuseArgs,
}

/// What is taken from an earlier ledger.
#[derive(Args, Debug, Clone, Default)]
pub struct ReuseArgs {
    /// Take profiles from this ledger of an earlier job at the same tenant; a read-back proves every one
    #[arg(long, value_name = "LEDGER", conflicts_with = "adopt")]
    pub reuse: Option<PathBuf>,
    /// How long ago they may have been looked up: 90min, 12h, 7d [default: 7d]
    #[arg(long, value_name = "TIME", requires = "reuse", value_parser = parse_age)]
    pub max_age: Option<Duration>,
    /// Take from it also that nobody bears an email; such an entry is skipped
    #[arg(long, requires = "reuse")]
    pub reuse_not_found: bool,
}

#[derive(Args, Debug, Clone, Copy)]
pub struct JsonArg {
    /// JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct SettleArgs {
    /// The batch, as `rollbook batches` numbers it
    #[arg(long, value_name = "N")]
    pub batch: i64,
    /// What became of its request: sent (it arrived) or absent (it never did)
    #[arg(long = "as", value_enum, value_name = "VERDICT", hide_possible_values = true)]
    pub verdict: VerdictArg,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    pub by: String,
    /// On what grounds; both are kept in the ledger and stand in the export
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
    /// entries, repeats (rows that name one again), rejected (rows without a usable email) or all (entries and rejected)
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
pub enum VerdictArg {
    Sent,
    Absent,
}

impl From<VerdictArg> for Verdict {
    fn from(arg: VerdictArg) -> Self {
        match arg {
            VerdictArg::Sent => Self::Sent,
            VerdictArg::Absent => Self::Absent,
        }
    }
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

//! `demo`: the whole story on the embedded tenant, with the real binary as a child process and a real kill.

use super::args::DemoArgs;
use super::error::{Failure, Kind};
use super::settings;
use crate::sandbox::{Options, Sandbox, realistic_list};
use crate::ui::format::{count, duration};
use crate::ui::summary;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

/// `println!`, but somebody who stops reading (`| head`) is no failure.
macro_rules! tell {
    ($($text:tt)*) => {
        let _ = writeln!(std::io::stdout(), $($text)*);
    };
}

const PROFILES: u32 = 20_000;
/// People of the tenant that the list names, from the first on.
const LISTED_PEOPLE: u32 = 11_000;
/// Slow enough that there is a half-way.
const RATE: &str = "60/s";
/// Batches that the tenant has taken when the first run is killed: about half of them.
const HALF_OF_THE_BATCHES: usize = 15;
const HANDLE: &str = "vip";
/// Look-ups take this long, so that it feels like a network and the kill finds something under way.
const LATENCY: Duration = Duration::from_millis(15);

/// `demo`.
pub fn demo(args: &DemoArgs) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let stage = Stage::set(&args.folder)?;
    let runtime = settings::runtime()?;
    let options = Options {
        profiles: PROFILES,
        latency: LATENCY,
        ..Options::default()
    };
    let rows = stage.write_list(&options)?;
    let sandbox = runtime.block_on(Sandbox::start(options))?;
    tell!(
        "\nA tenant with {} profiles runs on {}.\n{} has {} rows: repeats, mixed case, padding, typos,\n\
         strangers, shared addresses, and people who are `{HANDLE}` already.",
        count(u64::from(PROFILES)),
        sandbox.base_url(),
        quoted(&stage.list),
        count(rows),
    );
    let list = stage.list.display().to_string();
    let child = stage.begin(
        &sandbox,
        &["assign", "--status", HANDLE, "--rate", RATE, "--yes", &list],
    )?;
    let batches = kill_half_way(child, &sandbox)?;
    tell!(
        "\nKilled with SIGKILL half-way: {batches} batches had reached the tenant. Nothing was tidied up.\n\
         The ledger knows what was under way:"
    );
    // A batch that cannot be cleared up is `held` after this long instead of after a quarter of an hour.
    let resumed = finish(stage.begin(&sandbox, &["resume", "--rate", RATE, "--settle-deadline", "20s"])?)?;
    let audit = stage.audit.display().to_string();
    let exported = finish(stage.begin(&sandbox, &["export", "--format", "csv", "-o", &audit])?)?;
    let twice = tell_what_the_tenant_saw(&sandbox, began);
    runtime.block_on(sandbox.stop());
    stage.look_further();
    match (twice, resumed, exported) {
        (0, Some(0), Some(0)) => Ok(ExitCode::SUCCESS),
        (0, Some(3), Some(0)) => Err(Failure::new(
            Kind::Unsettled,
            "the kill hit a batch in the instant before it left",
        )
        .hint(
            "it is held, and `batches` shows it: whether it arrived cannot be told, so it is not sent again",
        )),
        (0, resumed, _) => Err(Failure::new(
            Kind::Unexpected,
            format!("the resumed run ended with {resumed:?}"),
        )
        .hint("its own message above says why")),
        (_, _, _) => Err(Failure::new(
            Kind::Unexpected,
            "BUG: the tenant saw a profile twice",
        )),
    }
}

/// The files of the demo.
struct Stage {
    list: PathBuf,
    ledger: PathBuf,
    audit: PathBuf,
}

impl Stage {
    fn set(folder: &Path) -> Result<Self, Failure> {
        let stage = Self {
            list: folder.join("customers.csv"),
            ledger: folder.join("rollbook.db"),
            audit: folder.join("audit.csv"),
        };
        let failed = |error: std::io::Error| {
            Failure::new(Kind::Usage, format!("cannot make {}: {error}", folder.display()))
                .hint("--folder names another place")
        };
        match std::fs::create_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                // Only what an earlier demo left is cleared away; anything else there is somebody's.
                if !stage.list.is_file() || !stage.ledger.is_file() {
                    return Err(Failure::new(
                        Kind::Usage,
                        format!("{} exists and is not a demo's folder", folder.display()),
                    )
                    .hint("--folder names another place"));
                }
                std::fs::remove_dir_all(folder).map_err(failed)?;
                std::fs::create_dir(folder).map_err(failed)?;
            }
            other => other.map_err(failed)?,
        }
        Ok(stage)
    }

    fn write_list(&self, options: &Options) -> Result<u64, Failure> {
        let list = realistic_list(options, LISTED_PEOPLE);
        super::sandbox::write_list(&self.list, &list)?;
        Ok(list.lines().count() as u64 - 1)
    }

    /// Shows a command as it would be typed, and starts it: this very program, as a process of its own.
    fn begin(&self, sandbox: &Sandbox, arguments: &[&str]) -> Result<Child, Failure> {
        let typed: Vec<String> = arguments
            .iter()
            .map(|argument| summary::quoted(argument))
            .collect();
        tell!("\n$ rollbook {}", typed.join(" "));
        let failed = |error: std::io::Error| {
            Failure::new(Kind::Unexpected, format!("cannot start the child: {error}"))
        };
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_remove("OMNEO_TENANT")
            .env("ROLLBOOK_LEDGER", &self.ledger)
            .env("OMNEO_BASE_URL", sandbox.base_url())
            .env("OMNEO_TOKEN", sandbox.token());
        command.spawn().map_err(failed)
    }

    fn look_further(&self) {
        let ledger = quoted(&self.ledger);
        tell!("\nIt is all still there. To look further:");
        tell!("  rollbook --ledger {ledger} status");
        tell!("  rollbook --ledger {ledger} batches");
        tell!("  rollbook --ledger {ledger} export --rows rejected");
        tell!("  grep ambiguous {}", quoted(&self.audit));
        tell!("  rollbook --ledger {ledger} doctor");
    }
}

fn quoted(path: &Path) -> String {
    summary::quoted(&path.display().to_string())
}

/// Waits for a child and gives its exit code.
fn finish(mut child: Child) -> Result<Option<i32>, Failure> {
    let status = child.wait();
    let status = status
        .map_err(|error| Failure::new(Kind::Unexpected, format!("cannot wait for the child: {error}")))?;
    Ok(status.code())
}

/// Judges the run by what the tenant saw, and says how many profiles it was sent twice.
fn tell_what_the_tenant_saw(sandbox: &Sandbox, began: Instant) -> usize {
    let mut times: HashMap<String, usize> = HashMap::new();
    for write in sandbox.writes() {
        for (profile, _) in write.members {
            *times.entry(profile).or_default() += 1;
        }
    }
    let twice = times.values().filter(|times| **times > 1).count();
    tell!(
        "\nWhat the tenant saw: {} batches, {} profiles, {twice} of them sent twice; {} hold `{HANDLE}` now.\n\
         Its busiest second had {} requests. All of it took {}.",
        sandbox.writes().len(),
        count(times.len() as u64),
        count(sandbox.holders(HANDLE).len() as u64),
        sandbox.busiest_second(),
        duration(began.elapsed()),
    );
    twice
}

/// Kills the child, as a power cut would, once half of the batches have been taken.
fn kill_half_way(mut child: Child, sandbox: &Sandbox) -> Result<usize, Failure> {
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::new(
                Kind::Unexpected,
                format!("the first run ended by itself with {status}"),
            ));
        }
        if sandbox.writes().len() >= HALF_OF_THE_BATCHES {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = child.kill().and_then(|()| child.wait());
    killed.map_err(|error| Failure::new(Kind::Unexpected, format!("cannot kill the child: {error}")))?;
    Ok(sandbox.writes().len())
}

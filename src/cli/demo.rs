//! `demo`: the whole story on the embedded tenant, with the real binary as a child process and a real kill.

use super::args::DemoArgs;
use super::error::{Failure, Kind};
use super::settings;
use crate::sandbox::{Options, Sandbox, realistic_list};
use crate::ui::format::{count, duration};
use crate::ui::summary::quoted;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

const PROFILES: u32 = 20_000;
/// People of the tenant that the list names, from the first on.
const LISTED_PEOPLE: u32 = 11_000;
const RATE: &str = "400/s";
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
    say(&format!(
        "A tenant with {} profiles runs on {}.\n{} has {} rows: repeats, mixed case, padding,\ntypos, strangers, shared addresses, and people who are `{HANDLE}` already.",
        count(u64::from(PROFILES)),
        sandbox.base_url(),
        quoted(&stage.list.display().to_string()),
        count(rows),
    ));
    stage.tell_command(&format!(
        "assign --status {HANDLE} --rate {RATE} --yes {}",
        quoted(&stage.list.display().to_string())
    ));
    let list = stage.list.display().to_string();
    let child = stage.spawn(
        &sandbox,
        &["assign", "--status", HANDLE, "--rate", RATE, "--yes", &list],
    )?;
    let writes = kill_half_way(child, &sandbox)?;
    say(&format!(
        "Killed with SIGKILL half-way: {writes} batches had reached the tenant. Nothing was tidied up.\nThe ledger knows what was under way:"
    ));
    stage.tell_command(&format!("resume --rate {RATE}"));
    // A dead batch is `held` after this long instead of after a quarter of an hour.
    let resumed = stage
        .spawn(&sandbox, &["resume", "--rate", RATE, "--settle-deadline", "20s"])?
        .wait();
    let resumed = resumed
        .map_err(|error| Failure::new(Kind::Unexpected, format!("cannot wait for the child: {error}")))?;
    stage.tell_command(&format!(
        "export --format csv -o {}",
        quoted(&stage.audit.display().to_string())
    ));
    let audit = stage.audit.display().to_string();
    stage.wait(&sandbox, &["export", "--format", "csv", "-o", &audit])?;
    let twice = sent_twice(&sandbox);
    let holders = sandbox.holders(HANDLE).len();
    say(&format!(
        "What the tenant saw: {} batches, {} profiles, {twice} of them sent twice; {} hold `{HANDLE}` now.\nIts busiest second had {} requests. All of it took {}.",
        sandbox.writes().len(),
        count(
            sandbox
                .writes()
                .iter()
                .map(|write| write.members.len() as u64)
                .sum()
        ),
        count(holders as u64),
        sandbox.busiest_second(),
        duration(began.elapsed()),
    ));
    runtime.block_on(sandbox.stop());
    stage.look_further();
    match (twice, resumed.code()) {
        (0, Some(0)) => Ok(ExitCode::SUCCESS),
        (0, Some(code)) => Err(Failure::new(
            Kind::Unsettled,
            format!("the resumed run ended with exit code {code}"),
        )
        .hint("its own message above says why")),
        (_, _) => Err(Failure::new(
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

    fn command(&self, sandbox: &Sandbox, arguments: &[&str]) -> Result<Command, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Kind::Unexpected, format!("cannot find myself: {error}")))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_remove("OMNEO_TENANT")
            .env("ROLLBOOK_LEDGER", &self.ledger)
            .env("OMNEO_BASE_URL", sandbox.base_url())
            .env("OMNEO_TOKEN", sandbox.token());
        Ok(command)
    }

    fn spawn(&self, sandbox: &Sandbox, arguments: &[&str]) -> Result<Child, Failure> {
        let child = self.command(sandbox, arguments)?.spawn();
        child.map_err(|error| Failure::new(Kind::Unexpected, format!("cannot start the child: {error}")))
    }

    fn wait(&self, sandbox: &Sandbox, arguments: &[&str]) -> Result<(), Failure> {
        match self.command(sandbox, arguments)?.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(
                Kind::Unexpected,
                format!("`rollbook {}` ended with {status}", arguments[0]),
            )),
            Err(error) => Err(Failure::new(
                Kind::Unexpected,
                format!("cannot start the child: {error}"),
            )),
        }
    }

    fn tell_command(&self, arguments: &str) {
        println!("\n$ rollbook {arguments}");
    }

    fn look_further(&self) {
        let ledger = quoted(&self.ledger.display().to_string());
        println!("\nIt is all still there. To look further:");
        println!("  rollbook --ledger {ledger} status");
        println!("  rollbook --ledger {ledger} batches");
        println!("  rollbook --ledger {ledger} export --rows rejected");
        println!("  grep ambiguous {}", quoted(&self.audit.display().to_string()));
        println!("  rollbook --ledger {ledger} doctor");
    }
}

fn say(text: &str) {
    println!("\n{text}");
}

/// Kills the child, as a power cut would, once half of the look-ups have been made.
fn kill_half_way(mut child: Child, sandbox: &Sandbox) -> Result<usize, Failure> {
    let half = LISTED_PEOPLE as usize / 2;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Failure::new(
                Kind::Unexpected,
                format!("the first run ended by itself with {status}"),
            ));
        }
        if sandbox.requests().len() >= half {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = child.kill().and_then(|()| child.wait());
    killed.map_err(|error| Failure::new(Kind::Unexpected, format!("cannot kill the child: {error}")))?;
    Ok(sandbox.writes().len())
}

fn sent_twice(sandbox: &Sandbox) -> usize {
    let mut times: HashMap<String, usize> = HashMap::new();
    for write in sandbox.writes() {
        for (profile, _) in write.members {
            *times.entry(profile).or_default() += 1;
        }
    }
    times.values().filter(|times| **times > 1).count()
}

//! `demo`: the whole story on the embedded tenant, with the real binary as a child process and a real kill.

use super::args::{Common, DemoArgs, LogFormat};
use super::error::{Failure, Kind, shown, unwritable};
use super::settings;
use crate::api::base_url::BaseUrl;
use crate::files::{self, Keep, Marker, Output};
use crate::ledger::{Ledger, Reader, holder_of};
use crate::sandbox::{Options, Sandbox, realistic_list};
use crate::ui::format::{count, duration};
use crate::ui::{say, summary};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
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
pub fn demo(args: &DemoArgs, common: &Common) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let mut stage = Stage::set(&args.folder)?;
    stage.log = log_of(common);
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
    let child = stage.begin(
        &sandbox,
        &[
            &"assign",
            &"--status",
            &HANDLE,
            &"--rate",
            &RATE,
            &"--yes",
            &stage.list,
        ],
    )?;
    let batches = kill_half_way(child, &sandbox)?;
    tell!(
        "\nKilled with SIGKILL half-way: {batches} batches had reached the tenant. Nothing was tidied up.\n\
         The ledger knows what was under way:"
    );
    // A batch that cannot be cleared up awaits a ruling after this long instead of after a quarter of an hour.
    let resume = stage.begin(
        &sandbox,
        &[&"resume", &"--rate", &RATE, &"--settle-deadline", &"20s"],
    )?;
    let resumed = finish(resume)?;
    let exported = finish(stage.begin(&sandbox, &[&"export", &"-o", &stage.audit])?)?;
    if exported == Some(0) {
        stage.note(AUDIT);
    }
    let twice = tell_what_the_tenant_saw(&sandbox, began);
    runtime.block_on(sandbox.stop());
    stage.look_further();
    match (twice, resumed, exported) {
        (0, Some(0), Some(0)) => Ok(ExitCode::SUCCESS),
        (0, Some(3), Some(0)) => Err(Failure::new(
            Kind::Unsettled,
            "the kill hit one batch while it was being sent",
        )
        .hint(
            "that batch awaits a ruling, and `batches` shows it: whether it arrived is not known, so it is not sent again",
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

const LIST: &str = "customers.csv";
const LEDGER: &str = "rollbook.db";
const AUDIT: &str = "audit.csv";

/// The files of a demo in a folder, and what each is.
pub fn files(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    [LIST, LEDGER, AUDIT]
        .into_iter()
        .map(|name| (folder.join(name), "is a file of the demo"))
        .collect()
}

/// The files of the demo.
struct Stage {
    list: PathBuf,
    ledger: PathBuf,
    audit: PathBuf,
    marker: Marker,
    /// What makes each command of the demo write into the log, where there is one.
    log: Vec<OsString>,
}

fn log_of(common: &Common) -> Vec<OsString> {
    let Some(path) = &common.log else {
        return Vec::new();
    };
    let format = match common.log_format {
        LogFormat::Text => "--log-format=text",
        LogFormat::Json => "--log-format=json",
    };
    vec!["--log".into(), path.into(), format.into()]
}

/// Removes what an earlier demo made, and refuses a folder with anything else in it.
fn clear(folder: &Path, at: impl Fn(std::io::Error) -> Failure) -> Result<(), Failure> {
    let refused = |why: String| {
        Failure::new(Kind::Usage, format!("{} {why}", shown(folder)))
            .hint("nothing there was touched; --folder names another place")
    };
    let Some(marker) = Marker::read(folder).map_err(&at)? else {
        let is_empty = std::fs::read_dir(folder).map_err(&at)?.next().is_none();
        return if is_empty {
            Ok(())
        } else {
            Err(refused("is there already, and no demo made it".into()))
        };
    };
    let foreign = marker.foreign(demo_ledger).map_err(&at)?;
    if !foreign.is_empty() {
        let names: Vec<String> = foreign.iter().map(|name| shown(Path::new(name))).collect();
        return Err(refused(format!(
            "contains files that the demo did not make, or that were changed since: {}",
            names.join(", ")
        )));
    }
    if let Some(holder) = holder_of(&folder.join(LEDGER)) {
        return Err(refused(format!("is in use by {holder}")));
    }
    marker.clear().map_err(at)
}

/// The id of a ledger in which there is no job but one of a demo.
fn demo_ledger(path: &Path) -> Option<String> {
    let reader = Reader::open(path).ok()?;
    let is_played = match reader.job().ok()? {
        Some(pinned) => BaseUrl::parse(&pinned.job.tenant).is_ok_and(|base| base.is_loopback()),
        None => true,
    };
    let has_other_lists = reader.lists().ok()?.len() > 1;
    reader.ledger_id().ok().filter(|_| is_played && !has_other_lists)
}

impl Stage {
    /// Makes the folder, or clears it of what an earlier demo made.
    fn set(folder: &Path) -> Result<Self, Failure> {
        let at = |error: std::io::Error| {
            let message = format!("cannot use {}: {error}", shown(folder));
            Failure::new(Kind::Usage, message).hint("--folder names another place")
        };
        match files::make_folder(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => clear(folder, at)?,
            other => other.map_err(at)?,
        }
        let ledger = folder.join(LEDGER);
        let mut marker = Marker::make(folder).map_err(at)?;
        // Made and noted before the first run, which may be interrupted.
        drop(Ledger::create(&ledger, "demo")?);
        let id = Reader::open(&ledger)?.ledger_id()?;
        marker.note_ledger(LEDGER, &id).map_err(at)?;
        Ok(Self {
            list: folder.join(LIST),
            ledger,
            audit: folder.join(AUDIT),
            marker,
            log: Vec::new(),
        })
    }

    fn write_list(&mut self, options: &Options) -> Result<u64, Failure> {
        let list = realistic_list(options, LISTED_PEOPLE);
        let output = Output::create(&self.list, &Keep::default(), false, Marker::OWNER);
        let output = output.map_err(|error| unwritable(&self.list, &error, "with another --folder"))?;
        super::sandbox::complete(&self.list, output, &list)?;
        self.note(LIST);
        Ok(list.lines().count() as u64 - 1)
    }

    /// Notes a file of the demo. One that is not noted stays, the next time.
    fn note(&mut self, name: &str) {
        if let Err(error) = self.marker.note_file(name) {
            say(format_args!(
                "note: the next demo will leave {name} alone: {error}"
            ));
        }
    }

    /// Shows a command as it would be typed, and starts it: this very program, as a process of its own.
    fn begin(&self, sandbox: &Sandbox, arguments: &[&dyn AsRef<OsStr>]) -> Result<Child, Failure> {
        let arguments: Vec<&OsStr> = arguments.iter().map(|argument| argument.as_ref()).collect();
        let typed: Vec<String> = arguments.iter().map(summary::quoted).collect();
        tell!("\n$ rollbook {}", typed.join(" "));
        let failed = |error: std::io::Error| {
            Failure::new(Kind::Unexpected, format!("cannot start the child: {error}"))
        };
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(&self.log)
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
    summary::quoted(path)
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
        "\nWhat the tenant saw: {} batches, {} profiles, {twice} of them sent twice; {} have `{HANDLE}` now.\n\
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

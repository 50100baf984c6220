//! The command line: arguments, settings, one function a verb, and failures with their remedies.
//!
//! Holds no business rules. What is deliberately absent: a token among the arguments.

mod args;
mod asking;
mod demo;
mod doctor;
mod ending;
mod error;
mod export;
mod help;
mod job;
mod lists;
mod log;
mod look;
mod plan;
mod reading;
mod reckon;
mod retry;
mod reuse;
mod sandbox;
mod settings;
mod settle;
mod show;
mod signals;
mod streams;
mod until;
mod verify;

use crate::ledger::tell_of_waiting;
use crate::model::ids::{Action, BatchNo};
use crate::model::text::printable;
use crate::ui::say;
use args::{Cli, Common, Verb};
use clap::{CommandFactory, FromArgMatches};
use error::Failure;
use log::Log;
use std::borrow::Cow;
use std::ffi::OsString;
use std::process::ExitCode;

/// A core file would hold the token and emails, for whoever finds it.
fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // Where the system will not, it keeps its own rules about cores.
    let _ = setrlimit(Resource::Core, nothing);
}

/// Shows the help that was asked for, or what is wrong with the arguments. These may be the names of files, which a
/// pattern of the shell has put there.
fn refuse(error: &clap::Error) -> ExitCode {
    let given = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let hostile = given.into_iter().find_map(|argument| match printable(&argument) {
        Cow::Owned(shown) => Some(shown),
        Cow::Borrowed(_) => None,
    });
    match hostile {
        // In colour, and help on stdout. Where it cannot be written there is nobody to tell.
        None => drop(error.print()),
        // The text would quote the argument as it is, on several lines.
        Some(shown) => {
            let what = error.kind().as_str().unwrap_or("the arguments make no sense");
            say(format_args!("error: {what}; one of the arguments is {shown}"));
            say(
                "hint: `rollbook --help` shows what can be given; a file's name that begins with - is given as ./-name",
            );
        }
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

/// A file that may not grow beyond a limit (`ulimit -f`) is an I/O error like a full disk, and no reason to be killed
/// in the middle of a write.
fn outlive_file_limits() {
    use rustix::process::Signal;
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let _guard = runtime.enter();
    // A handler that is registered once stays for as long as the process lives. Where there can be none, the system's
    // own rule goes on: it ends the process, and what that leaves is as good as after any kill.
    let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
}

/// Whether a program reads what is said: then errors are JSON as well, also those about the arguments themselves.
fn wants_json() -> bool {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let is = |argument: &OsString, text: &str| argument == text;
    arguments
        .iter()
        .any(|argument| is(argument, "--json") || is(argument, "--progress=json"))
        || arguments
            .windows(2)
            .any(|pair| is(&pair[0], "--progress") && is(&pair[1], "json"))
}

/// The arguments, and the verb as it was typed.
fn parse() -> Result<(Cli, String), clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let verb = matches.subcommand_name().unwrap_or_default().to_owned();
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut Cli::command()))?;
    Ok((cli, verb))
}

/// Shows help, or what is wrong with the arguments, unless that would be written to a file which must stay.
fn without_arguments(error: &clap::Error, as_json: bool) -> ExitCode {
    match streams::check_usual() {
        Err(refused) => refused.report("".as_ref(), as_json),
        Ok(()) if as_json && error.use_stderr() => Failure::of_usage(error).report("".as_ref(), true),
        Ok(()) => refuse(error),
    }
}

/// Parses the arguments, does what they say, and returns the exit code.
pub fn main() -> ExitCode {
    leave_no_core();
    outlive_file_limits();
    let as_json = wants_json();
    let (cli, verb) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => return without_arguments(&error, as_json),
    };
    let common = &cli.common;
    if let Err(refused) = streams::check(&cli) {
        return refused.report(&common.ledger, as_json);
    }
    if let Err(failure) = common.check() {
        return failure.report(&common.ledger, as_json);
    }
    if !common.quiet {
        tell_of_waiting(|line| say(line));
    }
    let log = match Log::open(common) {
        Ok(log) => log,
        Err(failure) => return failure.report(&common.ledger, as_json),
    };
    tracing::info!(verb, version = env!("CARGO_PKG_VERSION"), process = std::process::id(), ledger = ?common.ledger, "began");
    let done = carry_out(&cli.verb, common);
    let (exit_code, why) = done.as_ref().map_or_else(Failure::for_the_log, |_| (0, None));
    tracing::info!(exit_code, why, "ended");
    if let Some(log) = log {
        log.close(as_json);
    }
    done.unwrap_or_else(|failure| failure.report(&common.ledger, as_json))
}

fn carry_out(verb: &Verb, common: &Common) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Demo(args) => demo::demo(args, common),
        Verb::Load(args) => job::load(args, common),
        Verb::Lists(args) => lists::lists(*args, common),
        Verb::Unload(args) => lists::unload(args, common),
        Verb::Plan(args) => plan::plan(args, common),
        Verb::Assign(args) => job::start(Action::Assign, args, common),
        Verb::Remove(args) => job::start(Action::Remove, args, common),
        Verb::Resume(args) => job::resume(args, common),
        Verb::Status(args) => look::status(*args, common),
        Verb::Export(args) => export::export_rows(args, common),
        Verb::Show(args) => show::show(args, common),
        Verb::Batches(args) => match args.batch {
            Some(no) => show::members(BatchNo(no), args.output, common),
            None => look::batches(args.output, common),
        },
        Verb::Runs(args) => show::runs(*args, common),
        Verb::Verify(args) => verify::verify(args, common),
        Verb::Settle(args) => settle::settle(args, common),
        Verb::Statuses(args) => look::statuses(args),
        Verb::Doctor(args) => doctor::doctor(args, common),
        Verb::Sandbox(args) => sandbox::serve(args, common),
    }
}

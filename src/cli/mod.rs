//! The command line: arguments, settings, one function a verb, and failures with their remedies.
//!
//! Holds no business rules. What is deliberately absent: a token among the arguments.

mod args;
mod demo;
mod doctor;
mod ending;
mod error;
mod job;
mod look;
mod plan;
mod reckon;
mod reuse;
mod sandbox;
mod settings;
mod settle;
mod signals;
mod until;

use crate::model::ids::Action;
use args::{Cli, Verb};
use clap::Parser;
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

/// Parses the arguments, does what they say, and returns the exit code.
pub fn main() -> ExitCode {
    leave_no_core();
    let cli = Cli::parse();
    let common = &cli.common;
    let done = match &cli.verb {
        Verb::Demo(args) => demo::demo(args),
        Verb::Load(args) => job::load(args, common),
        Verb::Plan(args) => plan::plan(args, common),
        Verb::Assign(args) => job::start(Action::Assign, args, common),
        Verb::Remove(args) => job::start(Action::Remove, args, common),
        Verb::Resume(args) => job::resume(args, common),
        Verb::Status(args) => look::status(*args, common),
        Verb::Export(args) => look::export_rows(args, common),
        Verb::Batches(args) => look::batches(*args, common),
        Verb::Settle(args) => settle::settle(args, common),
        Verb::Statuses(args) => look::statuses(args),
        Verb::Doctor(args) => doctor::doctor(args, common),
        Verb::Sandbox(args) => sandbox::serve(args),
    };
    done.unwrap_or_else(|failure| failure.report())
}

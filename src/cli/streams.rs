//! Where a shell has redirected stdout and stderr to, before a word is written there.
//!
//! `rollbook status >> rollbook.db` is a slip of the hand like `export -o rollbook.db`, and no less final. A file that a
//! shell's `>` has emptied cannot be brought back from here, but nothing more is done to what stands beside it.

use super::args::{Cli, Verb, usual_ledger};
use super::error::{Failure, Kind};
use super::job::{print, print_json};
use super::{demo, export};
use crate::files::Keep;
use crate::ledger::Reader;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is written to, and by which name this process finds it.
const STREAMS: [(&str, &str); 2] = [("stdout", STDOUT), ("stderr", STDERR)];
const STDIN: &str = "/dev/stdin";
const STDOUT: &str = "/dev/stdout";
const STDERR: &str = "/dev/stderr";
const LIST: &str = "is a list that is read";

/// A stream that leads to a file which must stay.
pub struct Refused {
    failure: Failure,
    /// Where it can be said, if anywhere.
    loud: Option<&'static str>,
}

impl Refused {
    /// Says so, where that harms nothing, and gives the exit code.
    pub fn report(&self, ledger: &Path, as_json: bool) -> ExitCode {
        match self.loud {
            Some(STDERR) => self.failure.report(ledger, as_json),
            Some(_) => {
                // Where stdout cannot be written either, there is nobody to tell.
                let _ = if as_json {
                    print_json(&format!("{}\n", self.failure.json(ledger)))
                } else {
                    print(&format!("{}\n", self.failure.text(ledger)))
                };
                self.failure.exit_code()
            }
            None => self.failure.exit_code(),
        }
    }
}

/// Refuses to write to a file that must stay: the ledger, what belongs to it, a list, the token.
pub fn check(cli: &Cli) -> Result<(), Refused> {
    check_files(&cli.common.ledger, &named(&cli.verb))
}

/// The same where the arguments make no sense: for the ledger that is meant where nobody says otherwise.
pub fn check_usual() -> Result<(), Refused> {
    check_files(&usual_ledger(), &[])
}

fn check_files(ledger: &Path, named: &[(PathBuf, &'static str)]) -> Result<(), Refused> {
    if !STREAMS.iter().any(|(_, path)| Path::new(path).is_file()) {
        return Ok(());
    }
    let mut keep = Keep::ledger(ledger);
    for (path, why) in named {
        keep.add(path, why);
    }
    // First, since even reading changes what stands beside a ledger that was emptied.
    refuse(&keep)?;
    // A ledger that cannot be read has no lists to protect, and the verb says why.
    let lists = Reader::open(ledger)
        .ok()
        .and_then(|reader| export::kept(&reader, ledger, None).ok());
    lists.map_or(Ok(()), |keep| refuse(&keep))
}

fn refuse(keep: &Keep) -> Result<(), Refused> {
    let led_astray = |path: &str| keep.reason_of_stream(Path::new(path));
    let Some((stream, path, why)) = STREAMS
        .into_iter()
        .find_map(|(stream, path)| Some((stream, path, led_astray(path)?)))
    else {
        return Ok(());
    };
    let loud = [STDERR, STDOUT]
        .into_iter()
        .find(|path| led_astray(path).is_none());
    let is_empty = std::fs::metadata(path).is_ok_and(|there| there.len() == 0);
    let mut failure = Failure::new(
        Kind::Usage,
        format!("{stream} is redirected to a file that must stay: it {why}"),
    )
    .hint("nothing was written there; redirect to another file");
    if is_empty {
        failure = failure
            .hint("the file is empty now, which a shell's > does before rollbook begins: put a copy back");
    }
    Err(Refused { failure, loud })
}

/// The files that a verb reads or makes, and what each is.
fn named(verb: &Verb) -> Vec<(PathBuf, &'static str)> {
    let lists = |lists: &[OsString]| -> Vec<(PathBuf, &'static str)> {
        let path = |list: &OsString| if list == "-" { STDIN.into() } else { list.into() };
        lists.iter().map(|list| (path(list), LIST)).collect()
    };
    let (mut files, connection) = match verb {
        Verb::Load(args) => (lists(&args.lists), None),
        Verb::Plan(args) => (lists(&args.lists), Some(&args.connection)),
        Verb::Assign(args) | Verb::Remove(args) => (lists(&args.lists), Some(&args.connection)),
        Verb::Resume(args) => (Vec::new(), Some(&args.connection)),
        Verb::Statuses(args) => (Vec::new(), Some(&args.connection)),
        Verb::Show(args) => (Vec::new(), Some(&args.connection)),
        Verb::Verify(args) => (Vec::new(), Some(&args.connection)),
        Verb::Doctor(connection) => (Vec::new(), Some(connection)),
        Verb::Sandbox(args) => (args.files(), None),
        Verb::Demo(args) => (demo::files(&args.folder), None),
        Verb::Lists(_)
        | Verb::Unload(_)
        | Verb::Status(_)
        | Verb::Export(_)
        | Verb::Batches(_)
        | Verb::Settle(_)
        | Verb::Runs(_) => (Vec::new(), None),
    };
    let token = connection.and_then(|connection| connection.token_file.clone());
    files.extend(token.map(|path| (path, "holds the token")));
    files
}

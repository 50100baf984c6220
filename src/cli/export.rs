//! `export`: what became of every line, to stdout or into a file that replaces nothing unasked.

use super::args::{Common, ExportArgs};
use super::error::{Failure, shown, unwritable};
use super::settings;
use crate::audit::export::{EXPORT_HEADS, ExportError, export};
use crate::files::{Keep, Output, OutputError, folder_of, remove_leftovers};
use crate::input::Source;
use crate::ledger::{LedgerError, Reader};
use crate::model::text::bytes_shown_as;
use crate::ui::format::counted;
use crate::ui::say;
use crate::ui::summary::quoted;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Names that are tried before it is left to a person to find one.
const NAMES: u32 = 1_000;
/// As much of a ledger's id as tells its half-written exports from others'.
const OWNER_CHARACTERS: usize = 8;

/// `export`.
pub fn export_rows(args: &ExportArgs, common: &Common) -> Result<ExitCode, Failure> {
    let reader = Reader::open(&common.ledger)?;
    let path = args.output.as_deref().unwrap_or(Path::new("/dev/stdout"));
    let keep = kept(&reader, &common.ledger, args.output.as_deref())?;
    let failed = |error| failure(path, &error, &common.ledger);
    if args.output.is_none() {
        return done(export(&reader, args.format.into(), args.rows.into(), io::stdout().lock()).map(|_| ()));
    }
    let owner = owner(&reader)?;
    let mut output = Output::create(path, &keep, args.force, &owner).map_err(failed)?;
    tidy(path, common, &owner);
    let written = match export(&reader, args.format.into(), args.rows.into(), &mut output) {
        Ok(written) => written,
        Err(error) => return done(Err(error)),
    };
    output.finish().map_err(failed)?;
    if !common.quiet {
        say(format_args!(
            "{}: {}",
            shown(path),
            counted(written, "row", "rows")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The ledger, the lists that were loaded, by where they were and by what is in them, and the files of tokens.
pub fn kept(reader: &Reader, ledger: &Path, output: Option<&Path>) -> Result<Keep, Failure> {
    const LIST: &str = "is a list of this ledger";
    const TOKEN: &str = "holds the token";
    let mut keep = Keep::ledger(ledger);
    for list in reader.lists()? {
        // Older ledgers know the name only, as it was given.
        for path in paths_shown_as(&list.path.unwrap_or(list.name)) {
            keep.add(&path, LIST);
            keep.add(&folder_of(ledger).join(path), LIST);
        }
    }
    for shown in reader.token_files()? {
        for path in paths_shown_as(&shown) {
            keep.add(&path, TOKEN);
        }
    }
    // Only where it is there can it be one, and a pipe would be used up.
    if let Some(path) = output.filter(|path| path.is_file()) {
        if settings::is_the_token(path) {
            keep.add(path, TOKEN);
        }
        if let Ok(Some(digest)) = Source::File(path.to_owned()).digest()
            && reader.knows_content(digest.as_bytes())?
        {
            keep.add(path, LIST);
        }
    }
    Ok(keep)
}

/// The paths that may be meant by what is shown of one: itself, and what it stands for where parts of it are escapes.
fn paths_shown_as(shown: &str) -> [PathBuf; 2] {
    let bytes = bytes_shown_as(shown);
    [PathBuf::from(shown), PathBuf::from(OsString::from_vec(bytes))]
}

/// A reader that has gone (`| head`) is no failure.
fn done(written: Result<(), ExportError>) -> Result<ExitCode, Failure> {
    match written {
        Err(ExportError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        other => Ok(other.map(|()| ExitCode::SUCCESS)?),
    }
}

/// By what a ledger's half-written exports are known.
pub fn owner(reader: &Reader) -> Result<String, LedgerError> {
    Ok(reader.ledger_id()?.chars().take(OWNER_CHARACTERS).collect())
}

/// The folders in which exports of a ledger are looked for.
pub fn folders(ledger: &Path, output: Option<&Path>) -> Vec<PathBuf> {
    let output = output.map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    let mut folders: Vec<PathBuf> = [output.as_deref(), Some(ledger), Some(Path::new("rollbook.db"))]
        .into_iter()
        .flatten()
        .filter_map(|path| folder_of(path).canonicalize().ok())
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// Removes what exports of this ledger that were killed have left: hidden files with addresses in them.
fn tidy(path: &Path, common: &Common, owner: &str) {
    for folder in folders(&common.ledger, Some(path)) {
        let removed = remove_leftovers(&folder, owner, &EXPORT_HEADS);
        // What cannot be removed harms no export; `doctor` names it.
        if let Ok(removed @ 1..) = removed
            && !common.quiet
        {
            let files = counted(removed as u64, "half-written export", "half-written exports");
            say(format_args!(
                "note: removed {files} that was left in {}",
                shown(&folder)
            ));
        }
    }
}

/// A name for an export of a ledger that no file has: `vip.audit.csv` for `vip.db`.
pub fn free_name(ledger: &Path) -> PathBuf {
    let stem = ledger.file_stem().unwrap_or("rollbook".as_ref());
    let name = |number: u32| {
        let mut name = stem.to_owned();
        name.push(match number {
            1 => ".audit.csv".to_owned(),
            _ => format!(".audit-{number}.csv"),
        });
        PathBuf::from(name)
    };
    let is_free = |path: &PathBuf| std::fs::symlink_metadata(path).is_err();
    (1..NAMES).map(name).find(is_free).unwrap_or_else(|| name(NAMES))
}

fn failure(path: &Path, error: &OutputError, ledger: &Path) -> Failure {
    let failure = unwritable(path, error, &format!("-o {}", quoted(free_name(ledger))));
    match error {
        OutputError::Exists => failure.hint("--force replaces the one that is there"),
        _ => failure,
    }
}

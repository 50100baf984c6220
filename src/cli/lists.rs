//! `lists` and `unload`: which lists the ledger has, and taking one out again.

use super::args::{Common, JsonArg, UnloadArgs};
use super::error::{Failure, Kind};
use super::job::{print, print_json};
use super::settings;
use crate::audit::lists::to_json;
use crate::ledger::{FindListError, LedgerError, ListRow, Reader, UnloadError, Unnamed};
use crate::model::text::printable;
use crate::ui::format::counted;
use crate::ui::lists::table;
use std::process::ExitCode;

/// `lists`.
pub fn lists(args: JsonArg, common: &Common) -> Result<ExitCode, Failure> {
    let lists = Reader::open(&common.ledger)?.lists()?;
    if args.json {
        print_json(&(to_json(&lists) + "\n"))?;
    } else {
        print(&table(&lists))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `unload`.
pub fn unload(args: &UnloadArgs, common: &Common) -> Result<ExitCode, Failure> {
    let Some(mut ledger) = settings::open_ledger(&common.ledger, "unload")? else {
        return Err(LedgerError::Missing(common.ledger.clone()).into());
    };
    let source = settings::source(&args.list);
    let done = ledger.unload(&source.name(), source.place().as_deref())?;
    drop(ledger);
    if common.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    let mut said = format!(
        "{}: taken out, {} with it",
        done.list.name,
        counted(done.removed, "entry", "entries")
    );
    if done.kept > 0 {
        said += &format!(
            "; {} stay, since other lists name them",
            counted(done.kept, "entry", "entries")
        );
    }
    if done.released > 0 {
        said += &format!(
            "; {} to look up again",
            counted(done.released, "entry is", "entries are")
        );
    }
    print(&format!("{}\n", printable(&said)))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses to send, unasked, to the people of lists that were not named.
pub fn refuse_unnamed(unnamed: &[Unnamed]) -> Result<(), Failure> {
    let Some(first) = unnamed.first() else {
        return Ok(());
    };
    let lists: Vec<String> = unnamed
        .iter()
        .map(|list| format!("{} ({})", list.name, counted(list.entries, "entry", "entries")))
        .collect();
    let message = format!(
        "--yes would also send to lists of this ledger that the command does not name: {}",
        lists.join(", ")
    );
    Err(Failure::new(Kind::Refused, message)
        .hint(format!(
            "take one out with `rollbook unload {}`, name them all, or add --all-lists",
            crate::ui::summary::quoted(&first.name)
        ))
        .hint("nothing was sent, and nothing was kept in the ledger"))
}

impl From<UnloadError> for Failure {
    fn from(error: UnloadError) -> Self {
        let message = error.to_string();
        match error {
            UnloadError::Ledger(error) => error.into(),
            UnloadError::Find(error) => error.into(),
            UnloadError::Sent { .. } => Self::new(Kind::Usage, message)
                .hint("`rollbook export` says which they are; nothing was changed"),
        }
    }
}

impl From<FindListError> for Failure {
    fn from(error: FindListError) -> Self {
        let failure = Self::new(Kind::Usage, error.to_string());
        match error {
            FindListError::Ledger(error) => error.into(),
            FindListError::Unknown { lists, .. } if lists.is_empty() => failure.hint("it has none yet"),
            FindListError::Unknown { lists, .. } => failure.hint(format!("it has {}", numbered(&lists))),
            FindListError::Ambiguous { lists, .. } => {
                failure.hint(format!("say which one by its number: {}", numbered(&lists)))
            }
        }
    }
}

fn numbered(lists: &[ListRow]) -> String {
    let numbered: Vec<String> = lists
        .iter()
        .map(|list| format!("{} {}", list.id, list.name))
        .collect();
    numbered.join(", ")
}

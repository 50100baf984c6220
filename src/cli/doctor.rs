//! `doctor`: is the ledger sound, and does the connection work? Changes nothing.

use super::args::{Common, ConnectionArgs};
use super::error::{Failure, Kind, shown};
use super::export;
use super::job::print;
use super::look::GENTLE;
use super::settings;
use crate::audit::export::EXPORT_HEADS;
use crate::files::leftovers;
use crate::ledger::{LedgerError, Reader, Remembered, holder_of};
use crate::model::text::printable;
use crate::runner::preflight;
use crate::ui::command::on_ledger;
use std::path::Path;
use std::process::ExitCode;

/// `doctor`.
pub fn doctor(args: &ConnectionArgs, common: &Common) -> Result<ExitCode, Failure> {
    let ledger = check_ledger(common)?;
    let connection = check_connection(args, common.quiet)?;
    match (ledger, connection) {
        (0, true) => Ok(ExitCode::SUCCESS),
        (0, false) => Err(Failure::new(Kind::Refused, "the connection does not work")
            .hint("see above; the ledger is sound")),
        (_, _) => Err(Failure::new(Kind::Ledger, "the ledger is damaged")
            .hint("keep the file as it is, and go on with a sound copy of it in another folder")),
    }
}

/// Prints a line for each check and returns how many failed.
fn check_ledger(common: &Common) -> Result<u64, Failure> {
    let path = &common.ledger;
    let note = |line: &str| if common.quiet { Ok(()) } else { print(line) };
    let reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(LedgerError::Missing(_)) => {
            note(&format!("ledger      {}: there is none yet\n", shown(path)))?;
            return Ok(0);
        }
        Err(error) => return Err(error.into()),
    };
    note(&format!("ledger      {}\n", shown(path)))?;
    if let Some(holder) = holder_of(path) {
        note(&format!("in use by   {}\n", printable(&holder)))?;
    }
    // Asked before the ledger stands still for us, and told where it is sound enough to be believed.
    let remembered = reader.remembered(path, settings::state_folder().as_deref());
    reader.freeze()?;
    let mut failed = 0;
    let damage = reader.structural_damage()?;
    verdict(
        "the file's structure is sound",
        damage.len() as u64,
        &mut failed,
        common.quiet,
    )?;
    for line in &damage {
        print(&format!("            {}\n", printable(line)))?;
    }
    if damage.is_empty() {
        match remembered? {
            Remembered::Unknown(why) => note(&format!(
                "unknown     it knows of every request that left from here: {why}\n"
            ))?,
            newest_or_older => {
                let lost = newest_or_older == Remembered::Older;
                verdict(
                    "it knows of every request that left from here",
                    lost.into(),
                    &mut failed,
                    common.quiet,
                )?;
                if lost {
                    print(&format!(
                        "            it is an older state of itself, or has lost its log (-wal):\n            `{}` settles what it forgot\n",
                        on_ledger(path, "resume --adopt")
                    ))?;
                }
            }
        }
        for (law, contradictions) in reader.contradictions_found()? {
            verdict(law, contradictions, &mut failed, common.quiet)?;
        }
    }
    name_leftovers(&reader, path)?;
    Ok(failed)
}

/// What exports of this ledger that were killed have left, where exports are usually written.
fn name_leftovers(reader: &Reader, path: &Path) -> Result<(), Failure> {
    let owner = export::owner(reader)?;
    for folder in export::folders(path, None) {
        for file in leftovers(&folder, &owner, &EXPORT_HEADS) {
            print(&format!(
                "left over   {}: half an export, with addresses in it; the next export there removes it\n",
                shown(&file)
            ))?;
        }
    }
    Ok(())
}

/// A line for a check; to the quiet only where it fails.
fn verdict(law: &str, contradictions: u64, failed: &mut u64, quiet: bool) -> Result<(), Failure> {
    if quiet && contradictions == 0 {
        return Ok(());
    }
    let word = if contradictions == 0 { "ok" } else { "BROKEN" };
    *failed += u64::from(contradictions > 0);
    print(&format!("{word:<10}  {law}\n"))
}

fn check_connection(args: &ConnectionArgs, quiet: bool) -> Result<bool, Failure> {
    let Some(base) = settings::named_base_url(args)? else {
        if !quiet {
            print("connection  not checked: no tenant is named\n")?;
        }
        return Ok(true);
    };
    let token = settings::token(args)?;
    let runtime = settings::runtime()?;
    let answer = runtime.block_on(async {
        let tenant = settings::tenant(&base, &token, GENTLE, settings::as_guest(&base))?;
        let verified = preflight::verify(&tenant).await;
        let lacking = match &verified {
            Ok(()) => preflight::lacking_scopes(&tenant).await,
            Err(_) => Vec::new(),
        };
        Ok::<_, Failure>((verified, lacking))
    })?;
    let (verified, lacking) = answer;
    let mut broken = 0;
    let line = match &verified {
        Ok(()) => format!("{base} accepts the token"),
        Err(objection) => format!("{base}: {}", printable(&objection.to_string())),
    };
    verdict(&line, verified.is_err().into(), &mut broken, quiet)?;
    for scope in lacking {
        let line = format!("the token lacks the scope {scope}: a run would be refused");
        verdict(&line, 1, &mut broken, quiet)?;
    }
    Ok(broken == 0)
}

//! `settle`: a person rules on a batch that no evidence decides. Contacts nobody; `resume` acts on it.

use super::args::{Common, SettleArgs, VerdictArg};
use super::error::{Failure, Kind};
use super::job::print;
use super::settings;
use crate::ledger::{LedgerError, RulingError};
use crate::model::ids::BatchNo;
use crate::ui::command::on_ledger;
use std::process::ExitCode;

/// `settle`.
pub fn settle(args: &SettleArgs, common: &Common) -> Result<ExitCode, Failure> {
    let (person, because) = (said(&args.by, "--by")?, said(&args.because, "--because")?);
    let Some(mut ledger) = settings::open_ledger(&common.ledger, "settle")? else {
        return Err(LedgerError::Missing(common.ledger.clone()).into());
    };
    let no = BatchNo(args.batch);
    ledger
        .rule(no, args.verdict.into(), person, because)
        .map_err(refusal)?;
    if !common.quiet {
        let (word, next) = match args.verdict {
            VerdictArg::Sent => (
                "sent",
                "reads its profiles back; those without the change have failed",
            ),
            VerdictArg::Absent => (
                "never arrived",
                "looks at its profiles again and sends it if none shows the change",
            ),
        };
        print(&format!(
            "Batch {no} counts as {word}, by {person}.\nNext      {}\n          {next}\n",
            on_ledger(&common.ledger, "resume")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An auditor will read it: it has to say something, on one line.
pub fn said<'a>(text: &'a str, flag: &str) -> Result<&'a str, Failure> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(
            Failure::new(Kind::Usage, format!("{flag} must say something, on one line"))
                .hint("a ruling is kept in the ledger, so that an auditor can see who decided what, and why"),
        );
    }
    Ok(text)
}

fn refusal(error: RulingError) -> Failure {
    let hint = "`rollbook batches` shows them; nothing was changed";
    match error {
        RulingError::Ledger(error) => error.into(),
        other => Failure::new(Kind::Usage, other.to_string()).hint(hint),
    }
}

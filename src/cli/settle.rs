//! `settle`: a person rules on a batch that no evidence decides, or on one of the tenant's that is never called finished. Contacts nobody; `resume` acts on it.

use super::args::{Common, SettleArgs, VerdictArg};
use super::error::{Failure, Kind};
use super::job::print;
use super::settings;
use crate::ledger::{Ledger, LedgerError, RulingError, Verdict};
use crate::model::ids::{BatchId, BatchNo};
use crate::ui::command::on_ledger;
use std::process::ExitCode;

/// `settle`.
pub fn settle(args: &SettleArgs, common: &Common) -> Result<ExitCode, Failure> {
    let (person, because) = (said(&args.by, "--by")?, said(&args.because, "--because")?);
    let Some(mut ledger) = settings::open_ledger(&common.ledger, "settle")? else {
        return Err(LedgerError::Missing(common.ledger.clone()).into());
    };
    let (batch, next) = match (args.batch, &args.tenant_batch, args.verdict) {
        (Some(no), None, VerdictArg::Sent) => {
            rule(&mut ledger, no, Verdict::Sent, (person, because))?;
            let next = "reads its profiles back; those without the change have failed";
            (format!("Batch {no} counts as sent"), next)
        }
        (Some(no), None, VerdictArg::Absent) => {
            rule(&mut ledger, no, Verdict::Absent, (person, because))?;
            let next = "looks at its profiles again and sends it if none shows the change";
            (format!("Batch {no} counts as never arrived"), next)
        }
        (None, Some(id), VerdictArg::Over) => {
            ledger.rule_over(&BatchId::new(id.trim()), person, because)?;
            (
                format!("The tenant's batch {} counts as over", id.trim()),
                "waits for it no longer",
            )
        }
        _ => {
            let message = "--as over goes with --tenant-batch, and sent and absent with --batch";
            return Err(Failure::new(Kind::Usage, message).hint("`rollbook settle --help` shows both"));
        }
    };
    if !common.quiet {
        print(&format!(
            "{batch}, by {person}.\nNext      {}\n          {next}\n",
            on_ledger(&common.ledger, "resume")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rule(
    ledger: &mut Ledger,
    no: i64,
    verdict: Verdict,
    (person, because): (&str, &str),
) -> Result<(), Failure> {
    ledger
        .rule(BatchNo(no), verdict, person, because)
        .map_err(refusal)
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

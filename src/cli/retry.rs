//! `resume --retry failed`: which failed entries are taken up again, and who decides that.

use super::args::ResumeArgs;
use super::error::{Failure, Kind};
use super::settle::said;
use crate::ledger::{Decision, Failures, Ledger, Loading};
use crate::runner::event::Events;
use crate::ui::format::counted;

/// What a person wants to be tried again.
pub struct Retry {
    failures: Failures,
    /// Who decided about members of accepted batches, where a person did.
    pub decision: Option<Decision>,
}

impl Retry {
    /// Looks what has failed; refuses where nothing of it may be taken up without a person's name.
    pub fn of(args: &ResumeArgs, ledger: &Ledger) -> Result<Option<Self>, Failure> {
        if args.retry.is_none() {
            return Ok(None);
        }
        let decision = match (&args.by, &args.because) {
            (Some(person), Some(because)) => Some(Decision {
                person: said(person, "--by")?.to_owned(),
                because: said(because, "--because")?.to_owned(),
            }),
            _ => None,
        };
        let failures = ledger.failures()?;
        if failures.never_accepted == 0 && failures.accepted > 0 && decision.is_none() {
            let entries = counted(failures.accepted, "failed entry", "failed entries");
            return Err(Failure::new(
                Kind::Usage,
                format!("{entries} cannot simply be sent again: the tenant accepted their batches"),
            )
            .hint("if it has to be, add --by NAME --because TEXT: each profile is looked at first")
            .hint("`rollbook batches` shows which batches those are; nothing was changed"));
        }
        Ok(Some(Self { failures, decision }))
    }

    /// Makes those pending again that no accepted request was for, and says what is done about the others.
    pub fn take_up(&self, loading: &mut Loading<'_>, events: &Events) -> Result<(), Failure> {
        let Failures {
            never_accepted,
            accepted,
        } = self.failures;
        if never_accepted + accepted == 0 {
            events.notice("nothing has failed, so there is nothing to retry");
        }
        if never_accepted > 0 {
            let retried = loading.retry_never_accepted()?;
            events.notice(format!(
                "{} again: no request for them was ever accepted",
                counted(retried, "failed entry is tried", "failed entries are tried")
            ));
        }
        if accepted > 0 && self.decision.is_none() {
            events.notice(format!(
                "{} failed: the tenant accepted their batches; --by NAME --because TEXT takes them up, too",
                counted(accepted, "entry stays", "entries stay")
            ));
        }
        Ok(())
    }

    /// How many entries more may have to be looked up.
    pub fn of_accepted(&self) -> u64 {
        self.decision.as_ref().map_or(0, |_| self.failures.accepted)
    }
}

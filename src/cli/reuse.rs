//! `--reuse`: what an earlier ledger of the same tenant knows is not asked for again.

use super::args::ReuseArgs;
use super::error::{Failure, Kind, shown};
use super::job::stopped_early;
use crate::ledger::{LedgerError, Loading, Offer, OtherLedger, ReuseError, Reused, Terms};
use crate::model::ids::Job;
use crate::runner::event::Events;
use crate::ui::command::quoted;
use crate::ui::format::counted;
use std::path::Path;
use std::time::Duration;

/// Beyond this the profiles of too many people have changed.
const USUAL_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The other ledger, as it is at this moment, and what is to be taken from it.
pub struct Reuse<'a> {
    other: OtherLedger,
    path: &'a Path,
    terms: Terms,
}

impl<'a> Reuse<'a> {
    /// Opens the other ledger where one is named, or refuses one that nothing can be taken from. `own` is the path of
    /// the ledger that takes.
    pub fn open(args: &'a ReuseArgs, own: &Path, job: &Job) -> Result<Option<Self>, Failure> {
        let Some(path) = args.reuse.as_deref() else {
            return Ok(None);
        };
        let other = OtherLedger::open(path, own, &job.tenant)?;
        let terms = Terms {
            max_age: args.max_age.unwrap_or(USUAL_MAX_AGE),
            not_found: args.reuse_not_found,
        };
        Ok(Some(Self { other, path, terms }))
    }

    /// Takes what the other ledger knows about entries that wait for their look-up; returns how many are resolved by
    /// it.
    pub fn take_over(
        &self,
        loading: &mut Loading<'_>,
        job: &Job,
        events: &Events,
        stop: &dyn Fn() -> bool,
    ) -> Result<u64, Failure> {
        let reused = loading.reuse(&self.offer(job), stop)?;
        self.tell(reused, events);
        Ok(reused.resolved)
    }

    /// What the other ledger offers to a job.
    pub fn offer<'o>(&'o self, job: &'o Job) -> Offer<'o> {
        Offer::new(&self.other, job, self.terms)
    }

    /// Says how many entries are taken, and why some are not.
    pub fn tell(&self, reused: Reused, events: &Events) {
        let not_found = match reused.not_found {
            0 => String::new(),
            some => format!(" and {} that have none", counted(some, "entry", "entries")),
        };
        events.notice(format!(
            "--reuse: {} with their profiles{not_found} are taken from {} and not looked up again",
            counted(reused.resolved + reused.same_profile, "entry", "entries"),
            shown(self.path)
        ));
        if reused.ahead > 0 {
            events.notice(format!(
                "--reuse: {} {} looked up at a time that this machine's clock has not reached, so they are looked up \
                 again; if this clock is wrong, set it and run the same command again",
                counted(reused.ahead, "more entry", "more entries"),
                if reused.ahead == 1 { "was" } else { "were" },
            ));
        }
    }
}

impl From<ReuseError> for Failure {
    fn from(error: ReuseError) -> Self {
        let failure = |kind| Self::new(kind, error.to_string());
        let whom = "--reuse takes the ledger of an earlier job at the same tenant";
        match &error {
            ReuseError::Ours(error) => error.clone().into(),
            ReuseError::Stopped => {
                stopped_early()
            }
            ReuseError::Itself(_) | ReuseError::Copy(_) => failure(Kind::Usage)
                .hint("name another one: what a ledger knows it does not ask for again anyway"),
            ReuseError::NoJob(_) => failure(Kind::Usage).hint(whom),
            ReuseError::OtherTenant { .. } => failure(Kind::Ledger).hint(whom),
            ReuseError::Adopted => {
                failure(Kind::Ledger).hint("leave --reuse out, and every email is looked up")
            }
            ReuseError::Theirs { path, error } => match error {
                LedgerError::Missing(_) => failure(Kind::Usage).hint(whom),
                LedgerError::Newer { .. } => failure(Kind::Ledger)
                    .hint("update rollbook, or leave --reuse out: every email is looked up then"),
                _ => failure(Kind::Ledger).hint(format!(
                    "`rollbook doctor --ledger {}` says more about it; without --reuse every email is looked up",
                    quoted(path)
                )),
            },
        }
    }
}

//! `--reuse`: what an earlier ledger of the same tenant knows is not asked for again.

use super::args::ReuseArgs;
use super::error::{Failure, Kind};
use crate::ledger::{LedgerError, Loading, OtherLedger, ReuseError, Terms};
use crate::model::ids::Job;
use crate::runner::event::Events;
use crate::ui::format::counted;
use std::path::Path;
use std::time::Duration;

/// Beyond this the profiles of too many people have changed.
const USUAL_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Refuses another ledger that nothing can be taken from, before anybody is asked and anything is written.
pub fn check(args: &ReuseArgs, own: &Path, job: &Job) -> Result<(), Failure> {
    open(args, own, job).map(drop)
}

/// Takes what the other ledger knows about entries that wait for their look-up; returns how many are resolved by it.
pub fn take_over(
    args: &ReuseArgs,
    loading: &mut Loading<'_>,
    (own, job): (&Path, &Job),
    events: &Events,
    stop: &dyn Fn() -> bool,
) -> Result<u64, Failure> {
    let Some(other) = open(args, own, job)? else {
        return Ok(0);
    };
    let terms = Terms {
        max_age: args.max_age.unwrap_or(USUAL_MAX_AGE),
        not_found: args.reuse_not_found,
    };
    let reused = loading.reuse(&other, terms, job, stop)?;
    let not_found = match reused.not_found {
        0 => String::new(),
        some => format!(" and {} that have none", counted(some, "entry", "entries")),
    };
    events.notice(format!(
        "--reuse: {} with their profiles{not_found} are taken from {} and not looked up again",
        counted(reused.resolved + reused.same_profile, "entry", "entries"),
        args.reuse.as_deref().unwrap_or(own).display()
    ));
    Ok(reused.resolved)
}

fn open(args: &ReuseArgs, own: &Path, job: &Job) -> Result<Option<OtherLedger>, Failure> {
    let open = |path: &std::path::PathBuf| OtherLedger::open(path, own, &job.tenant);
    Ok(args.reuse.as_ref().map(open).transpose()?)
}

impl From<ReuseError> for Failure {
    fn from(error: ReuseError) -> Self {
        let whom = "--reuse takes the ledger of an earlier job at the same tenant";
        let (kind, hint) = match &error {
            ReuseError::Ours(error) => return error.clone().into(),
            ReuseError::Stopped => (
                Kind::Stopped,
                "nothing was sent, and nothing was kept in the ledger",
            ),
            ReuseError::Itself(_) | ReuseError::Copy(_) => (
                Kind::Usage,
                "name another one: what a ledger knows it does not ask for again anyway",
            ),
            ReuseError::NoJob(_) => (Kind::Usage, whom),
            ReuseError::OtherTenant { .. } => (Kind::Ledger, whom),
            ReuseError::Adopted => (Kind::Ledger, "leave --reuse out, and everybody is looked up"),
            ReuseError::Theirs(LedgerError::Missing(_)) => (Kind::Usage, whom),
            ReuseError::Theirs(LedgerError::Newer { .. }) => (
                Kind::Ledger,
                "update rollbook, or leave --reuse out: everybody is looked up then",
            ),
            ReuseError::Theirs(_) => (
                Kind::Ledger,
                "`rollbook doctor --ledger` says more about it; without --reuse everybody is looked up",
            ),
        };
        Self::new(kind, error.to_string()).hint(hint)
    }
}

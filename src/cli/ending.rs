//! What the end of a run means for the person who started it: an exit code, and what to type next.

use super::error::{Failure, GATEWAY, Kind};
use crate::audit::summary::Summary;
use crate::ledger::LedgerError;
use crate::model::batch::BatchState;
use crate::model::entry::EntryState;
use crate::runner::context::Halt;
use crate::runner::coordinator::Left;
use crate::runner::run::Ending;
use crate::ui::format::counted;

const GO_ON: &str = "`rollbook resume` goes on from here";

/// Why a run that ended like this was no success.
pub fn failure(ending: Ending, summary: &Summary) -> Option<Failure> {
    match ending {
        Ending::Halted(halt) => Some(halted(halt)),
        Ending::Unfinished(left) => Some(unfinished(left)),
        Ending::Done => unsettled(summary),
    }
}

/// Done, and something failed or awaits a ruling.
fn unsettled(summary: &Summary) -> Option<Failure> {
    let failed = summary.counts.in_state(EntryState::Failed);
    let held = summary.batches_in(BatchState::Held);
    let parts: Vec<String> = [
        (failed > 0).then(|| format!("{} failed", counted(failed, "entry", "entries"))),
        (held > 0).then(|| {
            let word = if held == 1 { "awaits" } else { "await" };
            format!("{} {word} a ruling", counted(held, "batch", "batches"))
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        return None;
    }
    let mut failure = Failure::new(Kind::Unsettled, format!("done, but {}", parts.join(" and ")));
    if failed > 0 {
        failure = failure.hint("`rollbook export` gives the reason for each failed entry");
    }
    if held > 0 {
        failure = failure.hint(
            "`rollbook batches` shows which and why; `rollbook settle --help` says how to rule on them",
        );
    }
    Some(failure)
}

fn halted(halt: Halt) -> Failure {
    let failure = Failure::new(Kind::Stopped, halt.to_string());
    match halt {
        Halt::Ledger(LedgerError::Disk(_)) => failure.hint("make room").hint(GO_ON),
        Halt::Ledger(LedgerError::State(_)) => failure
            .hint("make room there, or name another folder with ROLLBOOK_STATE_DIR")
            .hint(GO_ON),
        Halt::Ledger(LedgerError::Busy(_)) => failure
            .hint("close the program that has the ledger open; `fuser -v LEDGER` names it")
            .hint(GO_ON),
        Halt::Ledger(error) => error.into(),
        Halt::Stopped => Failure::as_asked("before the end, as asked").hint(GO_ON),
        Halt::TimeIsUp => unfinished(Left::TimeIsUp),
        Halt::RequestsSpent => unfinished(Left::RequestsSpent),
        Halt::Denied(refusal) if refusal.status < 400 => failure
            .hint("check --tenant or --base-url: the API itself does not redirect")
            .hint(GO_ON),
        Halt::Denied(refusal) if refusal.is_from_the_way() => failure.hint(GATEWAY).hint(GO_ON),
        Halt::Denied(_) => failure
            .hint("set OMNEO_TOKEN to a valid token with the scopes read-profiles and update-profiles")
            .hint(GO_ON),
        Halt::Refused(_) => failure
            .hint("`rollbook export` names the entries that failed; find out what the tenant objects to")
            .hint(GO_ON),
        Halt::OriginalAtWork(_) => failure.hint("`rollbook resume` waits for them again").hint(
            "where one is over, or changes none of this job's profiles, rule so: \
                 `rollbook settle --tenant-batch ID --as over --by NAME --because TEXT`",
        ),
        _ => failure.hint(GO_ON),
    }
}

fn unfinished(left: Left) -> Failure {
    let failure = |message: &str| Failure::new(Kind::Stopped, message);
    match left {
        Left::LimitReached => Failure::as_asked("at --limit, as asked")
            .hint("check the profiles above in Omneo, then `rollbook resume` asks before it sends the rest"),
        Left::LimitTooSmall => failure("the next batch was made earlier and has more profiles than --limit")
            .hint("raise --limit, or leave it out"),
        Left::TooManyDoubts => failure("no more was sent, because several batches got no clear answer")
            .hint("`rollbook batches` shows what the tenant answered")
            .hint(GO_ON),
        Left::TimeIsUp => Failure::as_asked("at --until, as asked").hint(GO_ON),
        Left::RequestsSpent => Failure::as_asked("at --max-requests, as asked").hint(GO_ON),
        Left::StillApplying => failure("the tenant is still working on some batches").hint(GO_ON),
    }
}

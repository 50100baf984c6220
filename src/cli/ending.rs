//! What the end of a run means for whoever started it: an exit code, and what to type next.

use super::error::{Failure, GATEWAY, Kind};
use crate::ledger::LedgerError;
use crate::runner::context::Halt;
use crate::runner::coordinator::Left;
use crate::runner::run::Ending;

const GO_ON: &str = "`rollbook resume` goes on from here";

/// Why a run that ended like this was no success; `unsettled` where something failed or is held.
pub fn failure(ending: Ending, unsettled: bool) -> Option<Failure> {
    match ending {
        Ending::Halted(halt) => Some(halted(halt)),
        Ending::Unfinished(left) => Some(unfinished(left)),
        Ending::Done => unsettled.then(|| {
            Failure::new(Kind::Unsettled, "done, but not everything went well")
                .hint("`rollbook export` names each failed entry with its reason; `rollbook batches` shows what is held")
        }),
    }
}

fn stopped(message: &str) -> Failure {
    Failure::new(Kind::Stopped, message)
}

fn halted(halt: Halt) -> Failure {
    let failure = stopped(&halt.to_string());
    match halt {
        Halt::Ledger(LedgerError::Disk(_)) => failure.hint("make room").hint(GO_ON),
        Halt::Ledger(LedgerError::State(_)) => failure
            .hint("make room there, or name another folder with ROLLBOOK_STATE_DIR")
            .hint(GO_ON),
        Halt::Ledger(LedgerError::Busy(_)) => failure
            .hint("close the program that has the ledger open; `fuser -v LEDGER` names it")
            .hint(GO_ON),
        Halt::Ledger(error) => error.into(),
        Halt::Stopped => stopped("stopped on request before the end").hint(GO_ON),
        Halt::TimeIsUp => unfinished(Left::TimeIsUp),
        Halt::RequestsSpent => unfinished(Left::RequestsSpent),
        Halt::Denied(refusal) if refusal.status < 400 => failure
            .hint("check --tenant or --base-url: the API itself does not redirect")
            .hint(GO_ON),
        Halt::Denied(refusal) if refusal.is_from_the_way() => failure.hint(GATEWAY).hint(GO_ON),
        Halt::Denied(_) => failure
            .hint("set OMNEO_TOKEN to a good token with the scopes read-profiles and update-profiles")
            .hint(GO_ON),
        Halt::Refused(_) => failure
            .hint("`rollbook export` names the entries that failed; find out what the tenant objects to")
            .hint(GO_ON),
        _ => failure.hint(GO_ON),
    }
}

fn unfinished(left: Left) -> Failure {
    match left {
        Left::LimitReached => stopped("stopped at --limit, as asked")
            .hint("look at `rollbook export`, then `rollbook resume`; it asks again, or takes --yes"),
        Left::LimitTooSmall => stopped("a batch that was sealed earlier has more profiles than --limit")
            .hint("raise --limit, or leave it out"),
        Left::TooManyDoubts => stopped("several batches ended in doubt, so no more were sent")
            .hint("`rollbook batches` shows what the tenant answered")
            .hint(GO_ON),
        Left::TimeIsUp => stopped("stopped at --until, as asked").hint(GO_ON),
        Left::RequestsSpent => stopped("stopped at --max-requests, as asked").hint(GO_ON),
        Left::StillApplying => stopped("the tenant has not finished with every batch").hint(GO_ON),
    }
}

//! What the run's commands are carried out by: one task a command, which brings back a report.

use super::bursts::Doubtful;
use super::change::Change;
use super::commands::{Command, Report, Work};
use super::context::{Context, Halt};
use super::doubt::Doubted;
use super::lookups::{Question, REFILL_ENTRIES};
use super::scan::Scanned;
use super::send::Sent;
use super::{again, doubt, known, resolve, scan, send, settle};
use crate::api::Tenant;
use crate::model::entry::EntryState;
use crate::model::ids::{BatchNo, EntryId};
use crate::model::lookup::Verdict;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// Entries that are spelled in several ways before it is worth finding out whether that matters.
const SPELLED: usize = 4;
/// Entries that are taken in at once where nobody is known yet by whom that could be told.
const UNWITNESSED: usize = 32;

/// What a task brings back: the report, and what it changes in the numbers.
pub struct Done {
    pub report: Report,
    pub change: Change,
}

/// Carries one command out.
pub async fn carry_out<T: Tenant>(context: Context<T>, command: Command) -> Done {
    let context = &context;
    match command {
        Command::Refill(after) => refill(context, after).await,
        Command::Scan(step, requests) => scan(context, step, requests).await,
        Command::LookUp(question) => look_up(context, question).await,
        Command::AskAgain(doubtful) => ask_again(context, doubtful).await,
        Command::Release => release(context).await,
        Command::Record(verdicts) => record(context, verdicts).await,
        Command::Seal(size) => seal(context, size).await,
        Command::Send(no) => send_batch(context, no).await,
        Command::Settle(no) => settle_batch(context, no).await,
        Command::ClearUp { no, again } => {
            let since = Instant::now();
            clear_up(context, Doubted { no, since, again }).await
        }
    }
}

async fn refill<T: Tenant>(context: &Context<T>, after: EntryId) -> Done {
    match next_pending(context, after).await {
        Ok(report) => Done {
            report,
            change: Change::None,
        },
        Err(halt) => halted(Work::Refill, halt),
    }
}

async fn next_pending<T: Tenant>(context: &Context<T>, after: EntryId) -> Result<Report, Halt> {
    let mut entries = context.ledger.pending_after(after, REFILL_ENTRIES).await?;
    let spelled = entries.iter().filter(|entry| !entry.spellings.is_empty());
    if spelled.count() < SPELLED {
        return Ok(Report::Refilled(entries));
    }
    // Where the search folds case, one spelling is as good as another, and many can be asked for together.
    known::learn(context).await?;
    if !context.known.has_witness() && entries.len() > UNWITNESSED {
        // Whoever of these is found tells how the others are to be asked for.
        entries.truncate(UNWITNESSED);
        return Ok(Report::RefilledFew(entries));
    }
    if known::folds_case(context).await? {
        entries.iter_mut().for_each(|entry| entry.spellings.clear());
    }
    Ok(Report::Refilled(entries))
}

async fn scan<T: Tenant>(context: &Context<T>, step: scan::Step, requests: usize) -> Done {
    match scan::scan(context, step, requests).await {
        Ok(Scanned::Further { next, pages_left }) => Done {
            report: Report::Scanning(next, pages_left),
            change: Change::None,
        },
        Ok(Scanned::Over(states)) => Done {
            report: Report::Scanned(resolved(&states)),
            change: Change::LookedUp(states),
        },
        Err(halt) => halted(Work::Scan, halt),
    }
}

fn resolved(states: &[EntryState]) -> u64 {
    let resolved = states.iter().filter(|state| **state == EntryState::Resolved);
    resolved.count() as u64
}

async fn look_up<T: Tenant>(context: &Context<T>, question: Question) -> Done {
    let asked = question.entries();
    match resolve::look_up(context, question).await {
        Ok(looked_up) => Done {
            report: Report::LookedUp(asked, looked_up),
            change: Change::None,
        },
        Err(halt) => halted(Work::LookUp(asked), halt),
    }
}

async fn ask_again<T: Tenant>(context: &Context<T>, doubtful: Doubtful) -> Done {
    match again::ask_again(context, doubtful).await {
        Ok(asked) => Done {
            report: Report::AskedAgain(asked),
            change: Change::None,
        },
        Err(halt) => halted(Work::AskAgain, halt),
    }
}

async fn release<T: Tenant>(context: &Context<T>) -> Done {
    match context.ledger.release_missing().await {
        Ok(entries) => Done {
            change: Change::Released(entries.len()),
            report: Report::Released(entries),
        },
        Err(error) => halted(Work::Release, error.into()),
    }
}

async fn record<T: Tenant>(context: &Context<T>, verdicts: Vec<(EntryId, Verdict)>) -> Done {
    let size = verdicts.len();
    match context.ledger.lookups(verdicts).await {
        Ok(states) => Done {
            report: Report::Recorded(size, resolved(&states)),
            change: Change::LookedUp(states),
        },
        Err(error) => halted(Work::Record(size), error.into()),
    }
}

async fn seal<T: Tenant>(context: &Context<T>, size: usize) -> Done {
    match context.ledger.seal(size).await {
        Ok(no) => Done {
            report: Report::Sealed(no, size),
            change: Change::Sealed(size),
        },
        Err(error) => halted(Work::Seal, error.into()),
    }
}

async fn send_batch<T: Tenant>(context: &Context<T>, no: BatchNo) -> Done {
    match send::send(context, no).await {
        Ok((members, sent)) => Done {
            change: match &sent {
                Sent::Accepted => Change::Accepted,
                Sent::InDoubt(_) => Change::Doubted,
                Sent::Refused { failed, .. } => Change::Refused { failed: *failed },
            },
            report: Report::Sent(no, members, sent),
        },
        Err(halt) => halted(Work::Send, halt),
    }
}

async fn settle_batch<T: Tenant>(context: &Context<T>, no: BatchNo) -> Done {
    let context = &context.counting();
    match settle::settle(context, no).await {
        Ok(settled) => {
            let asked = context.asked.load(Ordering::Relaxed);
            tracing::info!(outcome = ?settled, asked, "settled");
            Done {
                change: Change::Settled(settled.clone(), asked),
                report: Report::Settled(no, settled),
            }
        }
        Err(halt) => halted(Work::Settle, halt),
    }
}

async fn clear_up<T: Tenant>(context: &Context<T>, doubted: Doubted) -> Done {
    match doubt::clear_up(context, doubted).await {
        Ok(cleared) => {
            tracing::info!(outcome = ?cleared, "cleared up");
            Done {
                change: Change::Cleared(cleared.clone()),
                report: Report::Cleared(doubted.no, cleared),
            }
        }
        Err(halt) => halted(Work::Settle, halt),
    }
}

fn halted(work: Work, halt: Halt) -> Done {
    Done {
        report: Report::Halted(work, halt),
        change: Change::None,
    }
}

//! What is about to be done, in the words that somebody says yes to.

use super::format::{count, counted, duration};
use crate::runner::event::Plan;

/// The plan as a small table, with an empty line around it.
pub fn text(plan: &Plan) -> String {
    let estimate = &plan.estimate;
    let entries = counted(estimate.pending, "entry", "entries");
    let what = if plan.dry_run {
        format!("{entries} to look up, nothing to send (--dry-run)")
    } else {
        let most = counted(estimate.at_most, "profile", "profiles");
        format!(
            "{entries} to look up, at most {most} to send in batches of {}",
            plan.batch_size
        )
    };
    let time = match estimate.duration {
        Some(time) => format!(", about {} at {}", duration(time), plan.rate),
        None => String::new(),
    };
    format!(
        "\nPlan      {} {}\nat        {}\nledger    {}\nentries   {what}\nrequests  about {}{time}\n",
        plan.job.action,
        plan.job.handles_text(),
        plan.job.tenant,
        plan.ledger,
        count(estimate.requests),
    )
}

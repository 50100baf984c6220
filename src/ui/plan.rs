//! What is about to be done, in the words that somebody says yes to.

use super::command::on_ledger;
use super::format::{clock, count, counted, duration, fit, put};
use crate::audit::SCHEMA_VERSION;
use crate::audit::summary::iso_time;
use crate::ledger::now_ms;
use crate::model::ids::Action;
use crate::model::rate::Rate;
use crate::model::text::printable;
use crate::model::way::Way;
use crate::runner::event::{Past, Plan, PlannedList};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// The plan as a small table, with an empty line around it.
pub fn text(plan: &Plan) -> String {
    let mut text = String::from("\n");
    put(
        &mut text,
        "Plan",
        &format!("{} {}", plan.job.action, plan.job.handles_text()),
    );
    put(&mut text, "at", &plan.job.tenant);
    put(&mut text, "ledger", &plan.ledger);
    text += &super::lists::planned(&plan.lists);
    put(&mut text, "entries", &entries(plan));
    if plan.job.action == Action::Remove {
        let whom = "every profile that has it loses it, also those that had it before any run";
        put(&mut text, "note", whom);
    }
    if plan.sent_before == Past::Unknown && plan.rate != Rate::Unlimited {
        let used = "what this host has sent before is not known, so the rate counts as used up at first";
        put(&mut text, "note", used);
    }
    text.push('\n');
    let requests = &plan.forecast.requests;
    let total = count(requests.total());
    let width = total.len().max(7);
    let kinds = [
        ("looking up", requests.looking_up, way(plan)),
        ("sending", requests.sending, String::new()),
        ("polling", requests.polling, String::new()),
        ("reading back", requests.reading_back, String::new()),
        ("other", requests.other, String::new()),
    ];
    for (kind, number, note) in kinds.into_iter().filter(|kind| kind.1 > 0) {
        let line = format!("  {kind:<12}{:>width$}   {note}", count(number));
        text += &fit(line.trim_end(), 17 + width);
    }
    let line = format!("  {:<12}{total:>width$}   {}", "requests", time(plan));
    let _ = writeln!(text, "  {}", "─".repeat(12 + width));
    text += &fit(line.trim_end(), 17 + width);
    if let Some(end) = end(plan) {
        let ends = format!(
            "This run ends by itself {end}; `{}` goes on.",
            on_ledger(Path::new(&plan.ledger), "resume")
        );
        text.push('\n');
        text += &fit(&ends, 0);
    }
    text
}

/// Where the run ends before the job is done.
fn end(plan: &Plan) -> Option<String> {
    let limits = &plan.limits;
    let most = limits
        .requests
        .filter(|most| *most < plan.forecast.requests.total());
    let until = limits
        .until_ms
        .filter(|until| plan.done_at_ms.is_none_or(|done| *until < done));
    let ends = [
        until.map(|until| format!("at {} (--until)", clock(until, now_ms()))),
        most.map(|most| format!("after {} requests (--max-requests)", count(most))),
    ];
    let ends: Vec<String> = ends.into_iter().flatten().collect();
    (!ends.is_empty()).then(|| ends.join(" or "))
}

fn entries(plan: &Plan) -> String {
    let pending = counted(plan.work.pending, "entry", "entries");
    if plan.dry_run {
        return format!("{pending} to look up, nothing to send (--dry-run)");
    }
    format!(
        "{pending} to look up, at most {} to send in batches of {}",
        counted(plan.forecast.at_most, "profile", "profiles"),
        plan.batch_size
    )
}

fn way(plan: &Plan) -> String {
    let way = match plan.choice.way {
        Way::One => "one by one".into(),
        Way::Many { group } => format!("up to {} at once", count(group as u64)),
        Way::Scan { pages, .. } => format!("all profiles, {}", counted(pages, "page", "pages")),
    };
    match plan.choice.because.as_str() {
        "" => way,
        because => format!("{way}: {}", printable(because)),
    }
}

fn time(plan: &Plan) -> String {
    let (Some(time), Some(done_at)) = (plan.duration, plan.done_at_ms) else {
        return String::new();
    };
    let speed = match plan.rate {
        Rate::Unlimited => format!("with {} at a time", plan.concurrency),
        limited => format!("at {limited}"),
    };
    let done_at = clock(done_at, now_ms());
    format!("about {} {speed}, done at {done_at}", duration(time))
}

/// The plan as scripts read it. Fields are only ever added.
pub fn object(plan: &Plan) -> Value {
    let requests = &plan.forecast.requests;
    let seconds = plan.duration.map(|time| time.as_secs());
    json!({
        "schema_version": SCHEMA_VERSION,
        "action": plan.job.action.as_str(),
        "tenant": plan.job.tenant,
        "handles": plan.job.handles.iter().map(|handle| handle.as_str()).collect::<Vec<_>>(),
        "lists": plan.lists.iter().map(list).collect::<Vec<_>>(),
        "pending": plan.work.pending,
        "send_at_most": plan.forecast.at_most,
        "requests": requests.total(),
        "requests_by_kind": {
            "looking_up": requests.looking_up,
            "sending": requests.sending,
            "polling": requests.polling,
            "reading_back": requests.reading_back,
            "other": requests.other,
        },
        "way": plan.choice.way.to_string(),
        "lookup_strategy": plan.choice.way.to_string(),
        "because": plan.choice.because,
        "dry_run": plan.dry_run,
        "batch_size": plan.batch_size,
        "rate": plan.rate.to_string(),
        "sent_before": plan.sent_before.as_str(),
        "seconds": seconds,
        "duration_seconds": seconds,
        "done_at": plan.done_at_ms.and_then(iso_time),
    })
}

fn list(list: &PlannedList) -> Value {
    json!({
        "list": list.name,
        "rows": list.counts.rows,
        "entries": list.counts.entries,
        "repeats": list.counts.repeats,
        "rejected": list.counts.rejects,
        "named": list.is_named,
    })
}

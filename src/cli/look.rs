//! `status`, `batches` and `statuses`: looking, which changes nothing.

use super::args::{Common, JsonArg, StatusesArgs};
use super::error::Failure;
use super::export::free_name;
use super::job::{print, print_json};
use super::settings;
use crate::api::StatusDefinition;
use crate::api::pacing::PaceSettings;
use crate::audit::SCHEMA_VERSION;
use crate::audit::summary::{Summary, iso_time};
use crate::ledger::{BatchRow, Reader, holder_of};
use crate::model::rate::{Rate, Span};
use crate::model::reserve::Reserve;
use crate::model::text::printable;
use crate::runner::preflight;
use crate::ui::command::name_ledger;
use crate::ui::format::{count, moment};
use crate::ui::summary;
use std::fmt::Write;
use std::num::NonZeroU32;
use std::process::ExitCode;

/// `status`.
pub fn status(args: JsonArg, common: &Common) -> Result<ExitCode, Failure> {
    let holder = holder_of(&common.ledger);
    let reader = Reader::open(&common.ledger)?;
    let mut summary = Summary::read(&reader)?;
    // A run that was killed has not ended either: only the lock tells that it lives.
    summary.under_way = holder.as_ref().map_or(Ok(None), |_| reader.run_under_way())?;
    if args.json {
        print_json(&format!("{}\n", summary.to_json(None)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = summary::under_way(&summary, holder.as_deref());
    let next = summary::next(&summary, &common.ledger, &free_name(&common.ledger));
    print(&format!(
        "{}{}",
        name_ledger(&summary::table(&summary), &common.ledger),
        if now.is_empty() { next } else { now }
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// `batches`.
pub fn batches(args: JsonArg, common: &Common) -> Result<ExitCode, Failure> {
    let batches = Reader::open(&common.ledger)?.batches()?;
    if args.json {
        let lines = batches.iter().map(|batch| format!("{}\n", json(batch)));
        print_json(&lines.collect::<String>())?;
    } else if batches.is_empty() {
        print("No batches yet.\n")?;
    } else {
        print(&table(&batches))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(batches: &[BatchRow]) -> String {
    let mut text = format!(
        "{:>6}  {:<9} {:>7}  {:>5}  {:<19}  {:<36}  NOTE\n",
        "BATCH", "STATE", "MEMBERS", "TRIES", "SENT (UTC)", "BATCH ID"
    );
    for batch in batches {
        let mut notes: Vec<String> = batch
            .rung
            .iter()
            .map(|rung| format!("was in doubt: {rung}"))
            .collect();
        notes.extend(batch.ruling.iter().map(|ruling| format!("ruled {ruling}")));
        notes.extend(failures(batch));
        if batch.retried > 0 {
            notes.push(format!("{} tried again since", count(batch.retried)));
        }
        notes.extend(batch.split_from.map(|from| format!("from batch {from}")));
        notes.extend(batch.detail.clone());
        let line = format!(
            "{:>6}  {:<9} {:>7}  {:>5}  {:<19}  {:<36}  {}",
            batch.no,
            batch.state,
            count(batch.size),
            batch.attempts,
            batch.sent_at.map(moment).unwrap_or_default(),
            batch.batch_id.as_ref().map(|id| id.as_str()).unwrap_or_default(),
            notes.join("; "),
        );
        let _ = writeln!(text, "{}", printable(line.trim_end()));
    }
    text
}

/// How many members failed and why, where any did.
fn failures(batch: &BatchRow) -> Option<String> {
    let failed = batch.outcome.failed;
    let (reason, detail) = batch.outcome.failure.as_ref()?;
    let comma = if detail.is_empty() { "" } else { ", " };
    Some(if failed == batch.size {
        format!("all {} failed: {reason}{comma}{detail}", count(failed))
    } else {
        let of = format!("{} of {} failed", count(failed), count(batch.size));
        format!("{of}, most of them: {reason}{comma}{detail}")
    })
}

/// A batch as scripts read it.
pub fn json(batch: &BatchRow) -> serde_json::Value {
    let time = |ms: Option<i64>| ms.and_then(iso_time);
    serde_json::json!({
        "schema_version": SCHEMA_VERSION,
        "batch": batch.no.0,
        "state": batch.state.as_str(),
        "members": batch.size,
        "attempts": batch.attempts,
        "batch_id": batch.batch_id.as_ref().map(|id| id.as_str()),
        "split_from": batch.split_from.map(|from| from.0),
        "rung": batch.rung,
        "evidence": batch.rung,
        "ruling": batch.ruling,
        "confirmed": batch.outcome.confirmed,
        "failed": batch.outcome.failed,
        "failure_reason": batch.outcome.failure.as_ref().map(|(reason, _)| reason),
        "failure_detail": batch.outcome.failure.as_ref().map(|(_, detail)| detail),
        "retried": batch.retried,
        "tenant_status": batch.tenant_status,
        "detail": batch.detail,
        "sealed_at": iso_time(batch.sealed_at),
        "sent_at": time(batch.sent_at),
        "settled_at": time(batch.settled_at),
        "sealed_at_ms": batch.sealed_at,
        "sent_at_ms": batch.sent_at,
        "settled_at_ms": batch.settled_at,
    })
}

/// `statuses`.
pub fn statuses(args: &StatusesArgs) -> Result<ExitCode, Failure> {
    let base = settings::base_url(&args.connection, None)?;
    let token = settings::token(&args.connection)?;
    let runtime = settings::runtime()?;
    let mut defined = runtime.block_on(async {
        let tenant = settings::tenant(&base, &token, GENTLE, settings::as_guest(&base))?;
        Ok::<_, Failure>(preflight::statuses(&tenant).await?)
    })?;
    defined.sort_by(|one, other| one.handle.cmp(&other.handle));
    if args.output.json {
        let line = |status: &StatusDefinition| {
            let object = serde_json::json!({
                "schema_version": SCHEMA_VERSION,
                "handle": status.handle.as_str(),
                "name": status.name,
            });
            format!("{object}\n")
        };
        print_json(&defined.iter().map(line).collect::<String>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = defined
        .iter()
        .map(|status| (printable(status.handle.as_str()), printable(&status.name)));
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
    let lines = rows
        .iter()
        .map(|(handle, name)| format!("{handle:<width$}  {name}\n"));
    print(&lines.collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

/// The pace of commands that ask a handful of questions.
pub const GENTLE: PaceSettings = PaceSettings {
    rate: Rate::at_most(NonZeroU32::MIN.saturating_add(4), Span::Second),
    reserve: Reserve::NONE,
    concurrency: 1,
};

//! How a job stands, as a table: the end of a run, and `status`.

use super::command::on_ledger;
pub use super::command::quoted;
use super::format::{COLUMNS, LABEL, at_most_percent, count, counted, duration, fit, put, rate, shortened};
use crate::audit::summary::{Summary, masked};
use crate::ledger::now_ms;
use crate::model::batch::BatchState;
use crate::model::entry::EntryState;
use crate::model::ids::Action;
use crate::model::spent::{Cause, CommandTime};
use crate::model::text::printable;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// The whole table. It adds up: rows = entries + repeats + rejected, and the states add up to the entries.
pub fn table(summary: &Summary) -> String {
    let mut text = String::new();
    if let Some(pinned) = &summary.job {
        let job = &pinned.job;
        let what = format!("{} {} at {}", job.action, job.handles_text(), job.tenant);
        put(&mut text, "Job", &what);
    }
    options(&mut text, summary);
    lists(&mut text, summary);
    entries(&mut text, summary);
    batches(&mut text, summary);
    reused(&mut text, summary);
    sample(&mut text, summary);
    if let Some(job) = summary.job.as_ref().map(|pinned| &pinned.job)
        && job.action == Action::Remove
    {
        let note = format!(
            "remove takes {} from every listed profile that has it, also from those that had it before any run",
            job.handles_text()
        );
        put(&mut text, "Note", &note);
    }
    if summary.batches.is_empty() {
        text.push('\n');
    }
    text
}

/// What was chosen for the job and is not the usual: it holds for the next run, too.
fn options(text: &mut String, summary: &Summary) {
    let flags = summary.chosen.map(|chosen| chosen.flags()).unwrap_or_default();
    if !flags.is_empty() {
        put(text, "Options", &flags);
    }
}

fn lists(text: &mut String, summary: &Summary) {
    let rows = summary.rows();
    let _ = writeln!(text, "Lists     {}", super::lists::names(&summary.lists));
    if rows.rows > 0 {
        let what = format!(
            "{} = {} + {} + {} rejected",
            count(rows.rows),
            counted(rows.entries, "entry", "entries"),
            counted(rows.repeats, "repeat", "repeats"),
            count(rows.rejects),
        );
        put(text, "Rows", &what);
    }
    text.push('\n');
}

fn entries(text: &mut String, summary: &Summary) {
    let total = count(summary.counts.total());
    let width = total.len().max(7);
    for state in EntryState::ALL {
        let number = summary.counts.in_state(state);
        // What never happened needs no line; that nothing failed is worth one.
        if number == 0 && !matches!(state, EntryState::Confirmed | EntryState::Failed) {
            continue;
        }
        let reasons: Vec<String> = summary
            .counts
            .rows
            .iter()
            .filter(|row| row.0 == state && !row.1.is_empty())
            .map(|row| format!("{} {}", count(row.2), printable(&row.1)))
            .collect();
        let line = format!("  {state:<10}{:>width$}   {}", count(number), reasons.join(" · "));
        *text += &fit(line.trim_end(), 15 + width);
    }
    let _ = writeln!(
        text,
        "  {}\n  {:<10}{total:>width$}",
        "─".repeat(10 + width),
        "entries"
    );
}

fn batches(text: &mut String, summary: &Summary) {
    if summary.batches.is_empty() {
        return;
    }
    let states: Vec<String> = summary
        .batches
        .iter()
        .map(|(state, number)| format!("{} {state}", count(*number)))
        .collect();
    text.push('\n');
    put(text, "Batches", &states.join(" · "));
}

fn reused(text: &mut String, summary: &Summary) {
    if summary.reused > 0 {
        let entries = counted(summary.reused, "entry", "entries");
        let what =
            format!("{entries} taken from another ledger and not looked up again (the export says how old)");
        put(text, "Reused", &what);
    }
}

fn sample(text: &mut String, summary: &Summary) {
    let Some(share) = summary.unseen_share_at_most() else {
        return;
    };
    let what = format!(
        "{} read back at random, and all show the change: with 95 % confidence at most {} of the confirmed \
         ones do not (--confirm all reads every one)",
        counted(summary.sampled, "profile", "profiles"),
        at_most_percent(share),
    );
    put(text, "Sample", &what);
}

/// Words for what a run waited for.
fn word(cause: Cause) -> &'static str {
    match cause {
        Cause::Rate => "rate",
        Cause::SlowDown => "told to wait",
        Cause::Answers => "answers",
        Cause::Outage => "outage",
        Cause::Batches => "batches",
        Cause::OwnWork => "own work",
    }
}

/// Where the time of a command went, as one line that adds up.
pub fn time(time: &CommandTime) -> String {
    let (whole, before, causes) = time.in_units(Duration::from_secs(1));
    if whole == 0 {
        return String::new();
    }
    let shown = |seconds| duration(Duration::from_secs(seconds));
    let causes = Cause::ALL.map(word).into_iter().zip(causes);
    let parts: Vec<String> = std::iter::once(("before the run", before))
        .chain(causes)
        .filter(|(_, part)| *part > 0)
        .map(|(word, part)| format!("{} {word}", shown(part)))
        .collect();
    let mut text = String::new();
    put(
        &mut text,
        "Time",
        &format!("{} = {}", shown(whole), parts.join(" + ")),
    );
    text
}

/// A run as scripts read it: how long it took, what that time was spent on, how many requests were made, and how long
/// the command took before the run and in all.
pub fn run_object(time: &CommandTime, requests: u64) -> Value {
    let (whole, before, causes) = time.in_units(Duration::from_millis(1));
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let mut by_cause = serde_json::Map::new();
    for (cause, part) in Cause::ALL.into_iter().zip(causes) {
        by_cause.insert(word(cause).replace(' ', "_"), seconds(part).into());
    }
    json!({
        "seconds": seconds(whole - before),
        "requests": requests,
        "seconds_by_cause": by_cause,
        "seconds_before": seconds(before),
        "seconds_in_all": seconds(whole),
    })
}

/// The run that is under way, where one is: who, how fast, how long yet, and why it waits.
pub fn under_way(summary: &Summary, holder: Option<&str>) -> String {
    let Some(holder) = holder else {
        return String::new();
    };
    let mut text = String::new();
    put(&mut text, "Now", holder);
    let Some((at, report)) = summary.under_way.as_ref().and_then(|run| run.report.as_ref()) else {
        return text;
    };
    let ago = now_ms().saturating_sub(*at).max(0) as u64;
    let remaining = report
        .remaining
        .map(|time| format!(", about {} to go", duration(time)))
        .unwrap_or_default();
    let pace = format!(
        "{}{remaining} ({} ago)",
        rate(report.per_second),
        duration(Duration::from_millis(ago))
    );
    put(&mut text, "Pace", &pace);
    if let Some(waiting) = &report.waiting {
        put(&mut text, "Waiting", waiting);
    }
    text
}

/// The profiles that a pilot sent to, for a person to look at.
pub fn pilot(summary: &Summary) -> String {
    if summary.pilot.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    put(
        &mut text,
        "Pilot",
        "check these profiles in Omneo before you send the rest:",
    );
    for sent in &summary.pilot {
        let email = masked(&sent.email);
        let told = match sent.state {
            EntryState::Confirmed => email,
            state => format!("{state} {email}"),
        };
        let _ = writeln!(
            text,
            "  {:<36}  {:<20}  {}",
            printable(&sent.profile_id),
            shortened(&sent.name, 20),
            shortened(&told, 18)
        );
    }
    text
}

/// What to type next. `audit` is a name for an export that no file has.
pub fn next(summary: &Summary, ledger: &Path, audit: &Path) -> String {
    let command = |verb: &str| on_ledger(ledger, verb);
    if summary.job.is_none() {
        return format!("Next      {}   begins\n", command("assign --status HANDLE"));
    }
    let (held, finished) = (summary.batches_in(BatchState::Held), summary.is_finished());
    let mut commands = Vec::new();
    if !finished || held > 0 {
        let why = if held > 0 {
            "looks at those batches again"
        } else {
            "goes on with the rest"
        };
        commands.push((command("resume"), why));
    }
    if held > 0 {
        commands.push((command("batches"), "which await a ruling"));
    }
    if summary.rows().rejects > 0 && finished {
        commands.push((command("export --rows rejected"), "the rejected rows"));
    }
    commands.push((
        command(&format!("export -o {}", quoted(audit))),
        "what became of each entry",
    ));
    let width = commands
        .iter()
        .map(|(command, _)| command.len())
        .max()
        .unwrap_or(0);
    let longest = commands.iter().map(|(_, why)| why.len()).max().unwrap_or(0);
    let one_line = LABEL + width + 3 + longest <= COLUMNS;
    let mut text = String::new();
    for (position, (command, why)) in commands.iter().enumerate() {
        let head = if position == 0 { "Next" } else { "" };
        // A command is never broken: it is to be copied.
        let _ = if one_line {
            writeln!(text, "{head:<LABEL$}{command:<width$}   {why}")
        } else {
            writeln!(text, "{head:<LABEL$}{command}\n{:<LABEL$}  {why}", "")
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spent::Spent;

    #[test]
    fn the_time_is_told_in_one_line_that_adds_up() {
        assert_eq!(time(&CommandTime::default()), "");
        let mut spent = Spent::default();
        spent.add(Cause::Rate, Duration::from_millis(340_400));
        spent.add(Cause::SlowDown, Duration::from_millis(20_300));
        spent.add(Cause::OwnWork, Duration::from_millis(11_500));
        let command = |before: Duration| CommandTime::new(before + spent.total(), before, spent);
        assert_eq!(
            time(&command(Duration::ZERO)),
            "Time      6 min 12 s = 5 min 40 s rate + 20 s told to wait + 12 s own work\n"
        );
        let asked_first = command(Duration::from_secs(63));
        assert_eq!(
            time(&asked_first),
            "Time      7 min 15 s = 1 min 03 s before the run + 5 min 40 s rate + 20 s told\n          to wait + 12 s own work\n"
        );
        let object = run_object(&asked_first, 7);
        assert_eq!(
            (&object["seconds_before"], &object["seconds_in_all"]),
            (&63.0.into(), &435.2.into())
        );
        assert_eq!(
            (&object["seconds"], &object["requests"]),
            (&372.2.into(), &7.into())
        );
        assert_eq!(object["seconds_by_cause"]["own_work"], 11.5);
        assert_eq!(object["seconds_by_cause"].as_object().unwrap().len(), 6);
    }
}

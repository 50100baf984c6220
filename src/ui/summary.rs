//! How a job stands, as a table: the end of a run, and `status`.

use super::format::{at_most_percent, count, counted, duration};
use crate::audit::summary::Summary;
use crate::model::batch::BatchState;
use crate::model::entry::EntryState;
use crate::model::spent::{Cause, CommandTime};
use crate::model::text::printable;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// The whole table. It adds up: rows = entries + repeats + rejected, and the states add up to the entries.
pub fn table(summary: &Summary) -> String {
    let mut text = String::new();
    if let Some(pinned) = &summary.job {
        let job = &pinned.job;
        let _ = writeln!(
            text,
            "Job       {} {} at {}",
            job.action,
            printable(&job.handles_text()),
            printable(&job.tenant)
        );
    }
    lists(&mut text, summary);
    entries(&mut text, summary);
    batches(&mut text, summary);
    reused(&mut text, summary);
    sample(&mut text, summary);
    if summary.batches.is_empty() {
        text.push('\n');
    }
    text
}

fn lists(text: &mut String, summary: &Summary) {
    let rows = summary.rows();
    let _ = writeln!(text, "Lists     {}", super::lists::names(&summary.lists));
    if rows.rows > 0 {
        let _ = writeln!(
            text,
            "Rows      {} = {} + {} + {} rejected",
            count(rows.rows),
            counted(rows.entries, "entry", "entries"),
            counted(rows.repeats, "repeat", "repeats"),
            count(rows.rejects),
        );
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
        let _ = writeln!(text, "{}", line.trim_end());
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
    let _ = writeln!(text, "\nBatches   {}", states.join(" · "));
}

fn reused(text: &mut String, summary: &Summary) {
    if summary.reused > 0 {
        let entries = counted(summary.reused, "entry", "entries");
        let _ = writeln!(
            text,
            "Reused    {entries} taken from another ledger and not looked up again (the export says how old)"
        );
    }
}

fn sample(text: &mut String, summary: &Summary) {
    let Some(share) = summary.unseen_share_at_most() else {
        return;
    };
    let _ = writeln!(
        text,
        "Sample    {} read back at random, all as they should be: with 95 % confidence\n          \
         at most {} of the confirmed ones are not (--confirm all reads every one)",
        counted(summary.sampled, "profile", "profiles"),
        at_most_percent(share),
    );
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
    format!("Time      {} = {}\n", shown(whole), parts.join(" + "))
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

/// What to type next. `audit` is a name for an export that no file has.
pub fn next(summary: &Summary, ledger: &Path, audit: &Path) -> String {
    let command = |verb: &str| match ledger.to_str() {
        Some("rollbook.db") => format!("rollbook {verb}"),
        _ => format!("rollbook --ledger {} {verb}", quoted(ledger)),
    };
    if summary.job.is_none() {
        return format!("Next      {}   begins\n", command("assign --status HANDLE"));
    }
    let (held, finished) = (summary.batches_in(BatchState::Held), summary.is_finished());
    let mut commands = Vec::new();
    if !finished || held > 0 {
        let why = if held > 0 {
            "looks at the held batches again"
        } else {
            "goes on with what is left"
        };
        commands.push((command("resume"), why));
    }
    if held > 0 {
        commands.push((command("batches"), "shows which they are"));
    }
    if summary.rows().rejects > 0 && finished {
        commands.push((command("export --rows rejected"), "shows the rejected rows"));
    }
    commands.push((
        command(&format!("export -o {}", quoted(audit))),
        "says what became of every entry",
    ));
    let width = commands
        .iter()
        .map(|(command, _)| command.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (position, (command, why)) in commands.iter().enumerate() {
        let head = if position == 0 { "Next" } else { "" };
        let _ = writeln!(text, "{head:<10}{command:<width$}   {why}");
    }
    text
}

/// An argument as a shell takes it, also one that is no text or that would steer a terminal.
pub fn quoted(argument: impl AsRef<OsStr>) -> String {
    let bytes = argument.as_ref().as_encoded_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(is_plain) => text.to_owned(),
        Ok(text) if matches!(printable(text), Cow::Borrowed(_)) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let escaped = bytes.iter().map(|byte| match byte {
                b' '..=b'~' if !matches!(byte, b'\'' | b'\\') => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            });
            format!("$'{}'", escaped.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spent::Spent;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn an_argument_is_quoted_as_a_shell_takes_it() {
        assert_eq!(quoted("out/vip.audit.csv"), "out/vip.audit.csv");
        assert_eq!(quoted("it's new é"), r"'it'\''s new é'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a\u{1b}[2J\\'"), r"$'a\x1b[2J\x5c\x27'");
        assert_eq!(quoted(OsStr::from_bytes(b"caf\xe9.csv")), r"$'caf\xe9.csv'");
    }

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
            "Time      7 min 15 s = 1 min 03 s before the run + 5 min 40 s rate + 20 s told to wait + 12 s own work\n"
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

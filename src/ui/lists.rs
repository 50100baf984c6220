//! The lists of a ledger, as a table and in the words of a plan.

use super::format::{count, counted, moment};
use crate::ledger::{ListCounts, ListRow};
use crate::model::text::printable;
use crate::runner::event::PlannedList;
use std::borrow::Cow;
use std::fmt::Write;

/// How many lists a summary names.
const NAMED_LISTS: usize = 4;

/// One line a list.
pub fn table(lists: &[ListRow]) -> String {
    if lists.is_empty() {
        return "No lists yet.\n".into();
    }
    let width = lists
        .iter()
        .map(|list| list.name.chars().count())
        .max()
        .unwrap_or(0)
        .max(4);
    let mut text = format!(
        "{:>2}  {:<width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:<19}  READ AS\n",
        "NO", "LIST", "ROWS", "ENTRIES", "REPEATS", "REJECTED", "SINCE (UTC)"
    );
    for list in lists {
        let ListCounts {
            rows,
            entries,
            repeats,
            rejects,
        } = list.counts;
        let _ = writeln!(
            text,
            "{:>2}  {:<width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:<19}  {}",
            list.id,
            printable(&list.name),
            count(rows),
            count(entries),
            count(repeats),
            count(rejects),
            moment(list.loaded_at),
            printable(&list.layout),
        );
    }
    text
}

/// Names of lists, where they are few.
pub fn names(lists: &[ListRow]) -> String {
    match lists.len() {
        0 => "none yet".to_owned(),
        1..=NAMED_LISTS => {
            let names: Vec<Cow<str>> = lists.iter().map(|list| printable(&list.name)).collect();
            names.join(", ")
        }
        several => format!(
            "{} (`rollbook lists` names them)",
            counted(several as u64, "list", "lists")
        ),
    }
}

/// The lists that a plan covers, one a line, the first behind the word.
pub fn planned(lists: &[PlannedList]) -> String {
    let is_any_named = lists.iter().any(|list| list.is_named);
    let mut text = String::new();
    for (place, list) in lists.iter().enumerate() {
        let head = match (place, lists.len()) {
            (0, 1) => "list",
            (0, _) => "lists",
            _ => "",
        };
        let note = if is_any_named && !list.is_named {
            "; loaded before, not named now"
        } else {
            ""
        };
        let ListCounts {
            rows,
            entries,
            repeats,
            rejects,
        } = list.counts;
        let _ = writeln!(
            text,
            "{head:<10}{}: {} = {} + {} + {} rejected{note}",
            printable(&list.name),
            counted(rows, "row", "rows"),
            counted(entries, "entry", "entries"),
            counted(repeats, "repeat", "repeats"),
            count(rejects),
        );
    }
    text
}

//! A list as scripts read it.

use super::export::time;
use crate::ledger::ListRow;
use serde::Serialize;

/// A list of the ledger: `lists --json`, and the `lists` of `status --json`. Fields are only ever added.
#[derive(Serialize)]
pub struct JsonList<'l> {
    list: &'l str,
    layout: &'l str,
    rows: u64,
    entries: u64,
    repeats: u64,
    rejected: u64,
    number: i64,
    path: Option<&'l str>,
    column: u64,
    header: bool,
    delimiter: &'l str,
    part: Option<&'l str>,
    loaded_at: String,
}

impl<'l> From<&'l ListRow> for JsonList<'l> {
    fn from(list: &'l ListRow) -> Self {
        Self {
            list: &list.name,
            layout: &list.layout,
            rows: list.counts.rows,
            entries: list.counts.entries,
            repeats: list.counts.repeats,
            rejected: list.counts.rejects,
            number: list.id,
            path: list.path.as_deref(),
            column: list.column,
            header: list.header,
            delimiter: &list.delimiter,
            part: Some(list.part.as_str()).filter(|part| !part.is_empty()),
            loaded_at: time(list.loaded_at),
        }
    }
}

/// The lists of a ledger: `lists --json`.
#[derive(Serialize)]
struct JsonLists<'l> {
    schema_version: u32,
    lists: Vec<JsonList<'l>>,
}

/// The lists as one JSON document.
pub fn to_json(lists: &[ListRow]) -> String {
    let lists = JsonLists {
        schema_version: super::SCHEMA_VERSION,
        lists: lists.iter().map(JsonList::from).collect(),
    };
    serde_json::to_string_pretty(&lists).expect("BUG: lists are always JSON")
}

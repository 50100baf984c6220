//! The audit: what became of every line, as CSV or JSON lines, streamed in constant memory.
//!
//! | column | meaning |
//! |---|---|
//! | `email` | trimmed and case-folded, as it was compared; of a rejected row, what stood there |
//! | `state`, `reason` | where the entry stands (`rejected` for rows without a usable email, `repeat` for those that name one again), and why |
//! | `profile_id` | the one profile that bears the email |
//! | `batch`, `batch_id` | the ledger's number of the batch, and the tenant's id |
//! | `evidence` | on what a confirmation rests: `seen`, `sampled` or `reported`; `groups` for a `not_found` that groups say |
//! | `list`, `line` | where the email was first named |
//! | `occurrences` | how many rows named it |
//! | `candidates` | the profiles that bear an ambiguous email, separated by blanks |
//! | `written` | the row's own spelling |
//! | `held_before` | the handles that the profile held when it was looked up, separated by blanks |
//! | `rung` | which evidence decided the batch, where it was in doubt: `found`, `reached`, `absent` (it was sent once more), `ruled_sent` or `ruled_absent` |
//! | `detail` | anything else that is known |
//! | `resolved_at`, `sent_at`, `settled_at` | UTC |
//! | `ruling` | who ruled on the batch, how and why, where a person did |
//! | `reused` | where it was not looked up by this ledger: when and by which other ledger it was, and how long before |
//!
//! A CSV cell that a spreadsheet would run as a formula gets an apostrophe in front, which a load takes off again. What
//! steers a terminal is escaped in CSV cells, but for blanks of all kinds around a list's own spelling, which become
//! blanks: that cell can be loaded again. JSON lines mean what was written.

use crate::ledger::{EntryRow, LedgerError, Reader, RejectRow, RepeatRow, TakenOver};
use crate::model::guard::guarded;
use crate::model::text::{printable, printable_json};
use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;

/// How the export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated, with a header.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The entries.
    Entries,
    /// The rows whose email an earlier row had named already.
    Repeats,
    /// The rows that held no usable email.
    Rejected,
    /// Every row of every list: entries, then repeats, then rejected rows.
    All,
}

/// Why an export broke off.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The output could not be written.
    #[error("cannot write the export: {0}")]
    Output(#[from] std::io::Error),
}

/// How what is exported begins, whole or cut off: as CSV, and as JSON lines.
pub const EXPORT_HEADS: [&str; 2] = ["email,state,reason,", "{\"email\":"];

const COLUMNS: [&str; 20] = [
    "email",
    "state",
    "reason",
    "profile_id",
    "batch",
    "batch_id",
    "evidence",
    "list",
    "line",
    "occurrences",
    "candidates",
    "written",
    "held_before",
    "rung",
    "detail",
    "resolved_at",
    "sent_at",
    "settled_at",
    "ruling",
    "reused",
];

/// One exported row. The fields stand in the order of [`COLUMNS`].
#[derive(Default, Serialize)]
struct Record<'r> {
    email: &'r str,
    state: &'r str,
    reason: Option<&'r str>,
    profile_id: Option<&'r str>,
    batch: Option<i64>,
    batch_id: Option<&'r str>,
    evidence: Option<&'r str>,
    list: &'r str,
    line: u64,
    occurrences: Option<u64>,
    candidates: &'r [String],
    written: Option<&'r str>,
    held_before: Vec<String>,
    rung: Option<&'r str>,
    detail: Option<&'r str>,
    resolved_at: Option<&'r str>,
    sent_at: Option<&'r str>,
    settled_at: Option<&'r str>,
    ruling: Option<&'r str>,
    reused: Option<String>,
}

impl<'r> Record<'r> {
    fn of_entry(row: &'r EntryRow<'r>, times: &'r Times) -> Self {
        let [resolved_at, sent_at, settled_at] = times.texts();
        Self {
            email: row.email,
            state: row.state.as_str(),
            reason: row.reason,
            profile_id: row.profile_id,
            batch: row.batch,
            batch_id: row.batch_id,
            evidence: row.evidence,
            list: row.list,
            line: row.line,
            occurrences: Some(row.occurrences),
            candidates: &row.candidates,
            written: Some(row.written.unwrap_or(row.email)),
            held_before: row
                .held
                .map(|json| serde_json::from_str(json).unwrap_or_default())
                .unwrap_or_default(),
            rung: row.rung,
            detail: row.detail,
            resolved_at,
            sent_at,
            settled_at,
            ruling: row.ruling,
            reused: row.reused.map(|from| taken_over(from, row.resolved_at)),
        }
    }

    fn of_repeat(row: &RepeatRow<'r>, first: &'r str) -> Self {
        Self {
            email: row.email,
            state: "repeat",
            list: row.list,
            line: row.line,
            written: Some(row.written),
            detail: Some(first),
            ..Self::default()
        }
    }

    fn of_reject(row: &RejectRow<'r>) -> Self {
        Self {
            email: row.excerpt,
            state: "rejected",
            reason: Some(row.reason),
            list: row.list,
            line: row.line,
            detail: Some(row.detail),
            ..Self::default()
        }
    }
}

/// Writes what was asked for and returns the number of rows.
pub fn export(reader: &Reader, format: Format, rows: Rows, output: impl Write) -> Result<u64, ExportError> {
    reader.freeze()?;
    let mut writer = RecordWriter::new(format, output)?;
    if matches!(rows, Rows::Entries | Rows::All) {
        let mut times = Times::default();
        reader.each_entry(|row| {
            times.follow([row.resolved_at, row.sent_at, row.settled_at]);
            writer.write(&Record::of_entry(&row, &times))
        })?;
    }
    if matches!(rows, Rows::Repeats | Rows::All) {
        reader.each_repeat(|row| {
            let first = format!("first named in {}, line {}", row.first_list, row.first_line);
            writer.write(&Record::of_repeat(&row, &first))
        })?;
    }
    if matches!(rows, Rows::Rejected | Rows::All) {
        reader.each_reject(|row| writer.write(&Record::of_reject(&row)))?;
    }
    writer.finish()
}

/// The times of a row as text. Rows that follow one another mostly share theirs, and writing one takes longer than
/// anything else in a row.
#[derive(Default)]
struct Times([Option<(i64, String)>; 3]);

impl Times {
    fn follow(&mut self, milliseconds: [Option<i64>; 3]) {
        for (known, at) in self.0.iter_mut().zip(milliseconds) {
            let second = at.map(|ms| ms.div_euclid(1_000));
            if known.as_ref().map(|(second, _)| *second) != second {
                *known = second.zip(at.map(time));
            }
        }
    }

    fn texts(&self) -> [Option<&str>; 3] {
        self.0
            .each_ref()
            .map(|known| known.as_ref().map(|(_, text)| text.as_str()))
    }
}

enum Sink<W: Write> {
    Csv(Box<CsvRows<W>>),
    JsonLines(std::io::BufWriter<W>),
}

struct RecordWriter<W: Write> {
    sink: Sink<W>,
    rows: u64,
}

impl<W: Write> RecordWriter<W> {
    fn new(format: Format, output: W) -> Result<Self, ExportError> {
        let sink = match format {
            Format::JsonLines => Sink::JsonLines(std::io::BufWriter::with_capacity(64 << 10, output)),
            Format::Csv => Sink::Csv(Box::new(CsvRows::new(output)?)),
        };
        Ok(Self { sink, rows: 0 })
    }

    fn write(&mut self, record: &Record<'_>) -> Result<(), ExportError> {
        self.rows += 1;
        match &mut self.sink {
            Sink::Csv(rows) => rows.write(record),
            Sink::JsonLines(writer) => {
                let line = serde_json::to_string(record).map_err(std::io::Error::from)?;
                writer.write_all(printable_json(&line).as_bytes())?;
                Ok(writer.write_all(b"\n")?)
            }
        }
    }

    fn finish(self) -> Result<u64, ExportError> {
        match self.sink {
            Sink::Csv(mut rows) => rows.writer.flush()?,
            Sink::JsonLines(mut writer) => writer.flush()?,
        }
        Ok(self.rows)
    }
}

/// Rows as CSV. The cells of a row are gathered first: written one by one they take half as long again.
struct CsvRows<W: Write> {
    writer: csv::Writer<W>,
    cells: csv::ByteRecord,
}

impl<W: Write> CsvRows<W> {
    fn new(output: W) -> Result<Self, ExportError> {
        let mut writer = csv::WriterBuilder::new()
            .buffer_capacity(64 << 10)
            .from_writer(output);
        writer.write_record(COLUMNS).map_err(csv_error)?;
        let cells = csv::ByteRecord::new();
        Ok(Self { writer, cells })
    }

    fn write(&mut self, record: &Record<'_>) -> Result<(), ExportError> {
        self.cells.clear();
        self.foreign(record.email);
        self.own(record.state);
        self.foreign(record.reason.unwrap_or_default());
        self.foreign(record.profile_id.unwrap_or_default());
        self.number(record.batch.map(i64::unsigned_abs));
        self.foreign(record.batch_id.unwrap_or_default());
        self.own(record.evidence.unwrap_or_default());
        self.foreign(record.list);
        self.number(Some(record.line));
        self.number(record.occurrences);
        self.foreign(&record.candidates.join(" "));
        self.foreign(&blank_padding(record.written.unwrap_or_default()));
        self.foreign(&record.held_before.join(" "));
        self.own(record.rung.unwrap_or_default());
        self.foreign(record.detail.unwrap_or_default());
        for at in [record.resolved_at, record.sent_at, record.settled_at] {
            self.own(at.unwrap_or_default());
        }
        self.foreign(record.ruling.unwrap_or_default());
        self.foreign(record.reused.as_deref().unwrap_or_default());
        self.writer.write_byte_record(&self.cells).map_err(csv_error)
    }

    /// A cell in rollbook's own words.
    fn own(&mut self, cell: &str) {
        self.cells.push_field(cell.as_bytes());
    }

    /// A cell that others may have filled.
    fn foreign(&mut self, cell: &str) {
        match guarded(cell) {
            Some(guarded) => self.own(&printable(&guarded)),
            None => self.own(&printable(cell)),
        }
    }

    fn number(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.own(itoa::Buffer::new().format(number)),
            None => self.own(""),
        }
    }
}

fn csv_error(error: csv::Error) -> ExportError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ExportError::Output(error),
        other => panic!("BUG: a row of the export has the wrong shape: {other:?}"),
    }
}

/// A spelling with whatever blanks stand around it as plain ones.
fn blank_padding(written: &str) -> Cow<'_, str> {
    let email = written.trim();
    if email.len() == written.len() {
        return Cow::Borrowed(written);
    }
    let blank = |character: char| if character.is_whitespace() { ' ' } else { character };
    Cow::Owned(written.chars().map(blank).collect())
}

/// Whose look-up it was, and how old it was when it was taken over.
fn taken_over(from: TakenOver<'_>, taken_at: Option<i64>) -> String {
    let TakenOver { ledger, looked_up_at } = from;
    let minutes = taken_at.map_or(0, |at| at.saturating_sub(looked_up_at).max(0)) / 60_000;
    let age = match minutes {
        0..120 => format!("{minutes} min"),
        _ => format!("{} h", minutes / 60),
    };
    format!(
        "looked up {} in ledger {ledger}, {age} before",
        time(looked_up_at)
    )
}

/// RFC 3339, UTC, to the second.
pub(super) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| ms.to_string(),
        |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv_of(record: &Record<'_>) -> String {
        let mut bytes = Vec::new();
        let mut writer = RecordWriter::new(Format::Csv, &mut bytes).unwrap();
        writer.write(record).unwrap();
        writer.finish().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_row_has_a_cell_for_every_column() {
        let record = Record {
            email: "a@example.com",
            state: "confirmed",
            batch: Some(12),
            line: 7,
            occurrences: Some(2),
            ..Record::default()
        };
        let text = csv_of(&record);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let row: std::collections::HashMap<String, String> = reader.deserialize().next().unwrap().unwrap();
        assert_eq!(row.len(), COLUMNS.len());
        assert_eq!(
            (
                row["batch"].as_str(),
                row["line"].as_str(),
                row["occurrences"].as_str()
            ),
            ("12", "7", "2")
        );
        let json = serde_json::to_value(&record).unwrap();
        assert!(text.starts_with(EXPORT_HEADS[0]));
        assert!(
            serde_json::to_string(&record)
                .unwrap()
                .starts_with(EXPORT_HEADS[1])
        );
        let names: Vec<&str> = COLUMNS.into();
        let object = json.as_object().unwrap();
        assert!(names.iter().all(|name| object.contains_key(*name)) && object.len() == names.len());
    }

    #[test]
    fn formulas_are_defused() {
        for cell in [
            "=1+1",
            "+a@example.com",
            "-a@example.com",
            "@SUM(A1)",
            "＝1",
            "\tx",
        ] {
            let record = Record {
                email: cell,
                ..Record::default()
            };
            let shown = printable(cell);
            assert!(csv_of(&record).contains(&format!("'{shown}")), "{cell}");
        }
    }

    #[test]
    fn the_age_of_what_was_taken_over_is_said() {
        let (ledger, looked_up_at) = ("0a1b", 1_795_440_000_000);
        let said = |later| taken_over(TakenOver { ledger, looked_up_at }, Some(looked_up_at + later));
        let when = "looked up 2026-11-23T13:20:00Z in ledger 0a1b";
        assert_eq!(said(75 * 3_600_000), format!("{when}, 75 h before"));
        assert_eq!(said(119 * 60_000 + 59_999), format!("{when}, 119 min before"));
        assert_eq!(said(-5), format!("{when}, 0 min before"));
    }

    #[test]
    fn a_rows_times_are_its_own() {
        let mut times = Times::default();
        times.follow([Some(0), None, Some(999)]);
        let epoch = Some("1970-01-01T00:00:00Z");
        assert_eq!(times.texts(), [epoch, None, epoch]);
        times.follow([Some(999), Some(-1), None]);
        assert_eq!(times.texts(), [epoch, Some("1969-12-31T23:59:59Z"), None]);
        times.follow([Some(1_000), Some(0), None]);
        assert_eq!(times.texts(), [Some("1970-01-01T00:00:01Z"), epoch, None]);
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_795_440_000_999), "2026-11-23T13:20:00Z");
    }
}

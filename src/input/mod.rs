//! Lists: a file or stdin in, rows or rejects with their line numbers out.
//!
//! ```text
//! source → stream → text → lines → table  → column, row
//! where    decompress  encoding    records    which cell, judged
//!                    │      └────→ json  ─┤
//!                    └───────────→ sheets ┘ rows of a grid
//! ```
//!
//! Every row that is not a blank line comes out once, as an email or as a reject, so that rows can be counted
//! against the file. A fault of the list as a whole (a quote that is never closed, a cut archive) is a
//! [`ListError`]: what was taken of that list is to be undone. This module knows the model and nothing else,
//! neither ledger nor screen.
//!
//! The layout is guessed from the first 64 kB: `delimiter.rs`, `column.rs` and `header.rs` say by which rules.
//!
//! Memory does not grow with the list. Between device and row there are two buffers of 64 kB; one of a row, a few times
//! [`ROW_LIMIT_BYTES`] at the most; one of its cells, up to [`ROW_LIMIT_FIELDS`]; and the decoder's own window, 32 kB for
//! gzip and at most 128 MB for zstd, what its own tool accepts. What is longer is read past, and rejected. A compressed
//! list that expands to more than a hundred times its size is refused. A workbook is kept in memory as it is stored;
//! `sheets/mod.rs` says what comes on top of that.

mod candidate;
mod cells;
mod column;
mod delimiter;
mod error;
mod foreign;
mod grid;
mod gzip;
mod head;
mod header;
mod json;
mod lines;
mod names;
mod reading;
mod record;
mod records;
mod row;
mod sample;
#[cfg(feature = "sheets")]
mod sheets;
mod source;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use candidate::{Candidate, SheetCandidate};
pub use column::{ColumnChoice, InvalidColumnChoice};
pub use error::ListError;
pub use header::HeaderChoice;
pub use reading::{DelimiterChoice, InvalidDelimiter, Reading};
pub use record::{FIELD_LIMIT_BYTES, ROW_LIMIT_BYTES, ROW_LIMIT_FIELDS};
pub use row::{EXCERPT_LIMIT_CHARACTERS, RejectReason, Row, RowContent, UnknownReason};
pub use source::{Digest, Source};

use crate::model::email::Email;
use column::Column;
use record::{Flaw, Record, RecordLine};
use records::Records;
use row::{Judge, Rival};
use stream::Stream;
use text::Text;

/// What was found out about a list before its first row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The format in words for people, such as `CSV, semicolons, gzip, UTF-16`.
    pub format: String,
    /// Whether the first row names the columns, and so is no row.
    pub has_header: bool,
    /// The column with the emails, counted from 1.
    pub column: usize,
    /// Its name, where there is a header.
    pub column_name: Option<String>,
    /// How many fields the first row has.
    pub columns: usize,
    /// What separates them, where anything does.
    pub delimiter: Option<char>,
    /// What the list is known by besides its column, where it has several tables or keys: the sheet of a workbook, or
    /// the path of the key in JSON.
    pub part: String,
}

impl Layout {
    fn new(records: &Records, column: &Column, columns: usize) -> Layout {
        Layout {
            format: records.words(columns).join(", "),
            has_header: column.has_header,
            column: column.index + 1,
            column_name: column.name.clone(),
            columns,
            delimiter: records.delimiter().map(|delimiter| delimiter.byte.into()),
            part: records
                .rows()
                .map_or_else(String::new, |rows| rows.part(column.index)),
        }
    }
}

/// A list being read, row by row.
pub struct List {
    name: String,
    records: Records,
    layout: Layout,
    column: Column,
    judge: Judge,
    /// The first row was read to learn the layout, and is data.
    first_is_due: bool,
    /// The line of the last record that is to be rejected next, where its lines are rejected one by one.
    line_is_due: Option<RecordLine>,
    rows: u64,
    usable: u64,
    /// The first reject: its line, and what was wrong.
    first_reject: Option<(u64, String)>,
    /// The first email that it gave out.
    example: Option<Email>,
    failed: bool,
}

impl List {
    /// Opens a list and finds out its layout.
    pub fn open(source: &Source, reading: &Reading) -> Result<List, ListError> {
        List::over(source.name(), Stream::open(source)?, reading)
    }

    fn over(name: String, stream: Stream, reading: &Reading) -> Result<List, ListError> {
        let text = Text::begin(&name, stream)?;
        let (mut records, sample) = Records::open(&name, text, reading)?;
        let is_keyed = records.rows().is_some_and(|rows| rows.is_keyed());
        let Some(first) = records.next_record()? else {
            return Err(ListError::Empty { list: name });
        };
        let detail = match first.flaw {
            Some(Flaw::NulByte) | None if first.fields <= ROW_LIMIT_FIELDS => None,
            Some(flaw) => Some(flaw.detail(first.first_line)),
            None => Some(format!("{} fields", first.fields)),
        };
        if let Some(detail) = detail {
            return Err(ListError::FirstRow {
                line: first.first_line,
                list: name,
                detail,
            });
        }
        let columns = first.fields;
        let first = first.cells().map(row::decode).collect();
        let header = if is_keyed {
            HeaderChoice::Yes
        } else {
            reading.header
        };
        let column = column::find(&name, first, &sample, &reading.column, header)?;
        let layout = Layout::new(&records, &column, columns);
        let is_alone = column.is_found && !column.has_header;
        // A row without a header may lack cells that others have.
        let usual = if column.has_header {
            0
        } else {
            sample.usual_width()
        };
        let fields = columns.max(usual).max(column.index + 1);
        let delimiter = records.delimiter().map(|delimiter| delimiter.byte);
        let judge = Judge::new(column.index, fields, delimiter, is_alone);
        Ok(List {
            name,
            records,
            layout,
            judge,
            first_is_due: !column.has_header,
            line_is_due: None,
            column,
            rows: 0,
            usable: 0,
            first_reject: None,
            example: None,
            failed: false,
        })
    }

    /// The list's name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was found out about the list.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Reads one row, or finds the end.
    ///
    /// After an error the list stays failed, and whatever was taken from it is to be undone.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, ListError> {
        if self.failed {
            return Err(self.failed_before());
        }
        match self.advance() {
            Ok(true) => Ok(Some(self.judged())),
            Ok(false) => Ok(None),
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }

    /// Goes on to the next row, and says whether there is one.
    fn advance(&mut self) -> Result<bool, ListError> {
        while let Some(line) = self.line_is_due.take() {
            self.line_is_due = self.records.last_record().line_after(Some(line));
            // Blank lines are no rows.
            if self
                .line_is_due
                .as_ref()
                .is_some_and(|line| !line.range.is_empty())
            {
                return Ok(true);
            }
        }
        if !std::mem::take(&mut self.first_is_due) && self.records.next_record()?.is_none() {
            self.check_end()?;
            return Ok(false);
        }
        let record = self.records.last_record();
        if record.last_line > record.first_line && self.judge.swallows(record) {
            self.line_is_due = record.line_after(None);
        }
        Ok(true)
    }

    /// The row that reading has come to.
    fn judged(&mut self) -> Row<'_> {
        self.rows += 1;
        let record = self.records.last_record();
        let mut row = match &self.line_is_due {
            None => self.judge.judge(record),
            Some(line) => swallowed(record, line),
        };
        if let RowContent::Reject { reason, detail, .. } = &mut row.content
            && *reason == RejectReason::Empty
            && let Some(rows) = self.records.rows()
            && let Some(why) = rows.why_empty(row.line, self.column.index)
        {
            *detail = why;
        }
        match &row.content {
            RowContent::Email { email, .. } => {
                self.usable += 1;
                if self.example.is_none() {
                    self.example = Some((*email).clone());
                }
            }
            RowContent::Reject { detail, .. } if self.first_reject.is_none() => {
                self.first_reject = Some((row.line, detail.clone()));
            }
            RowContent::Reject { .. } => {}
        }
        row
    }

    /// What shows only at the end: that nothing could be used, or that another column could have been meant as well.
    fn check_end(&self) -> Result<(), ListError> {
        let list = self.name.clone();
        if self.rows == 0 {
            return Err(ListError::Empty { list });
        }
        if self.usable == 0 {
            let (line, detail) = self.first_reject.clone().unwrap_or_default();
            return Err(ListError::NothingUsable {
                list,
                rows: self.rows,
                column: self.layout.column,
                line,
                detail,
                columns: self.candidates(|emails| emails > 0),
            });
        }
        let competes = |emails| column::competes(emails, self.usable, self.rows, self.column.is_named);
        let mut columns = self.candidates(competes);
        if !self.column.is_found || columns.is_empty() {
            return Ok(());
        }
        let own = Rival {
            rows: self.usable,
            example: self.example.clone(),
        };
        columns.push(self.candidate(self.column.index, &own));
        columns.sort_by_key(|candidate| candidate.number);
        Err(ListError::AmbiguousColumn { list, columns })
    }

    /// Other columns by how many rows hold an email in them.
    fn candidates(&self, is_one: impl Fn(u64) -> bool) -> Vec<Candidate> {
        let rivals = self.judge.rivals().iter().enumerate();
        rivals
            .filter(|(_, rival)| is_one(rival.rows))
            .map(|(index, rival)| self.candidate(index, rival))
            .collect()
    }

    fn candidate(&self, index: usize, holds: &Rival) -> Candidate {
        let named = self.column.names.get(index).filter(|_| self.column.has_header);
        let late = || self.records.rows().and_then(|rows| rows.late_name(index));
        Candidate {
            number: index + 1,
            name: named.cloned().or_else(late),
            emails: holds.rows,
            rows: self.rows,
            example: holds.example.clone(),
        }
    }

    /// Stands for an error that was given out before. A decoder that is asked again may well report a
    /// peaceful end, which would make half a list look whole.
    fn failed_before(&self) -> ListError {
        let source = std::io::Error::other("reading had failed before");
        ListError::Read {
            list: self.name.clone(),
            line: self.records.line(),
            source,
        }
    }

    /// How many rows were given out so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many email cells were not UTF-8 and were taken for Windows-1252.
    pub fn windows_1252_cells(&self) -> u64 {
        self.judge.windows_1252_cells()
    }

    /// How many bytes of the stored, perhaps compressed list were read, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.records.stored().0
    }

    /// How many bytes the list has as it is stored, where that is known and says how far reading is.
    pub fn total_bytes(&self) -> Option<u64> {
        self.records.stored().1
    }

    /// Ends the reading and gives the SHA-256 of the decompressed list, to be called after the last row.
    pub fn finish(self) -> Result<Digest, ListError> {
        if self.failed {
            return Err(self.failed_before());
        }
        self.records.digest(&self.name)
    }
}

/// A line that a quoted cell runs over, although it or a line beside it is a row by itself.
fn swallowed<'a>(record: Record<'a>, line: &RecordLine) -> Row<'a> {
    Row {
        line: line.number,
        content: RowContent::Reject {
            reason: RejectReason::StrayQuote,
            detail: format!(
                "within quotes that run from line {} to line {} over what could be rows of their own",
                record.first_line, record.last_line
            ),
            excerpt: row::excerpt(&record.raw[line.range.clone()]),
        },
    }
}

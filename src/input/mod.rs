//! Lists: a file or stdin in, rows or rejects with their line numbers out.
//!
//! ```text
//! source → stream → text → table → column, row
//! where    decompress  encoding  records  which cell, judged
//! ```
//!
//! Every row that is not a blank line comes out once, as an email or as a reject, so that rows can be counted
//! against the file. A fault of the list as a whole (a quote that is never closed, a cut archive) is a
//! [`ListError`]: what was taken of that list is to be undone. This module knows the model and nothing else,
//! neither ledger nor screen.
//!
//! Memory does not grow with the list. Between device and row there are three buffers of 64 kB; one of a
//! row's cells, up to [`ROW_LIMIT_BYTES`]; one of their ends, up to [`ROW_LIMIT_FIELDS`]; and the decoder's
//! own window, 32 kB for gzip and at most 128 MB for zstd, what its own tool accepts. What is longer is read
//! past, and rejected. A compressed list that expands to more than a hundred times its size is refused.

mod column;
mod delimiter;
mod error;
mod head;
mod record;
mod row;
mod source;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use column::{ColumnChoice, InvalidColumnChoice};
pub use error::ListError;
pub use record::{FIELD_LIMIT_BYTES, ROW_LIMIT_BYTES, ROW_LIMIT_FIELDS};
pub use row::{EXCERPT_LIMIT_CHARACTERS, RejectReason, Row, RowContent, UnknownReason};
pub use source::{Digest, Source};

use column::Column;
use record::Flaw;
use row::Judge;
use stream::Stream;
use table::Table;
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
    /// What separates them.
    pub delimiter: char,
}

impl Layout {
    fn new(table: &Table, column: &Column, columns: usize) -> Layout {
        let parts = if columns == 1 {
            "one email a line"
        } else {
            table.delimiter().word()
        };
        let packing = table.text().stream().compression().word();
        let encoding = table.text().encoding().word();
        let words: Vec<&str> = [Some(parts), packing, encoding].into_iter().flatten().collect();
        Layout {
            format: words.join(", "),
            has_header: column.has_header,
            column: column.index + 1,
            column_name: column.name.clone(),
            columns,
            delimiter: table.delimiter().byte.into(),
        }
    }
}

/// A list being read, row by row.
pub struct List {
    name: String,
    table: Table,
    layout: Layout,
    judge: Judge,
    /// The first row was read to learn the layout, and is data.
    first_is_due: bool,
    rows: u64,
    failed: bool,
}

impl List {
    /// Opens a list and finds out its layout.
    pub fn open(source: &Source, column: &ColumnChoice) -> Result<List, ListError> {
        List::over(source.name(), Stream::open(source)?, column)
    }

    fn over(name: String, stream: Stream, choice: &ColumnChoice) -> Result<List, ListError> {
        let mut table = Table::open(&name, Text::open(&name, stream)?)?;
        let Some(first) = table.next_record()? else {
            return Err(ListError::Empty { list: name });
        };
        let detail = match first.flaw {
            Some(flaw @ (Flaw::FieldTooLong | Flaw::RowTooLong)) => Some(flaw.detail()),
            _ if first.fields > ROW_LIMIT_FIELDS => Some(format!("{} fields", first.fields)),
            _ => None,
        };
        if let Some(detail) = detail {
            return Err(ListError::FirstRow {
                line: first.first_line,
                list: name,
                detail,
            });
        }
        let fields = first.fields;
        let column = column::find(&name, first, choice)?;
        let layout = Layout::new(&table, &column, fields);
        let judge = Judge::new(column.index, fields, table.delimiter().byte);
        Ok(List {
            name,
            table,
            layout,
            judge,
            first_is_due: !column.has_header,
            rows: 0,
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
        let record = if std::mem::take(&mut self.first_is_due) {
            self.table.last_record()
        } else {
            match self.table.next_record() {
                Ok(Some(record)) => record,
                Ok(None) if self.rows == 0 => {
                    return Err(ListError::Empty {
                        list: self.name.clone(),
                    });
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.failed = true;
                    return Err(error);
                }
            }
        };
        self.rows += 1;
        Ok(Some(self.judge.judge(record)))
    }

    /// Stands for an error that was given out before. A decoder that is asked again may well report a
    /// peaceful end, which would make half a list look whole.
    fn failed_before(&self) -> ListError {
        let source = std::io::Error::other("reading had failed before");
        ListError::Read {
            list: self.name.clone(),
            line: self.table.line(),
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
        self.table.text().stream().stored_read()
    }

    /// How many bytes the list has as it is stored, where that is known.
    pub fn total_bytes(&self) -> Option<u64> {
        self.table.text().stream().stored_total()
    }

    /// Ends the reading and gives the SHA-256 of the decompressed list, to be called after the last row.
    pub fn finish(self) -> Result<Digest, ListError> {
        if self.failed {
            return Err(self.failed_before());
        }
        let line = self.table.line();
        self.table
            .into_text()
            .digest()
            .map_err(|error| error.at(self.name, line))
    }
}

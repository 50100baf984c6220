//! The records of a list of any format.

use super::delimiter::Delimiter;
use super::error::ListError;
use super::grid::{Grid, Rows};
use super::json;
use super::lines::Lines;
use super::reading::{DelimiterChoice, Reading};
use super::record::Record;
use super::sample::Sample;
#[cfg(feature = "sheets")]
use super::sheets;
use super::source::Digest;
use super::table::Table;
use super::text::Text;

/// A list's records, in order, once.
pub(super) enum Records {
    /// Lines of text, parted at a delimiter.
    Text(Box<Table>),
    /// Rows whose cells are parted already.
    Grid(Grid),
}

impl Records {
    /// Finds out what the list is, and what its first rows hold.
    pub(super) fn open(list: &str, text: Text, reading: &Reading) -> Result<(Records, Sample), ListError> {
        let grid = |rows: Box<dyn Rows>| Grid::open(rows).map(|(grid, sample)| (Records::Grid(grid), sample));
        #[cfg(feature = "sheets")]
        if sheets::is_one(text.head()) {
            return grid(sheets::open(list, text, reading.sheet.as_deref())?);
        }
        let text = text.encoded(list)?;
        if reading.sheet.is_some() {
            return Err(ListError::NoWorkbook { list: list.into() });
        }
        let lines = Lines::open(text).map_err(|error| error.at(list.to_string(), 1))?;
        if json::is_one(lines.first_chunk().0) {
            return grid(json::open(list, lines, &reading.column)?);
        }
        let (table, sample) = Table::open(list, lines, reading.delimiter.map(DelimiterChoice::byte))?;
        Ok((Records::Text(Box::new(table)), sample))
    }

    /// Reads one record, or finds the end.
    pub(super) fn next_record(&mut self) -> Result<Option<Record<'_>>, ListError> {
        match self {
            Records::Text(table) => table.next_record(),
            Records::Grid(grid) => grid.next_record(),
        }
    }

    /// The record read last, once more.
    pub(super) fn last_record(&self) -> Record<'_> {
        match self {
            Records::Text(table) => table.last_record(),
            Records::Grid(grid) => grid.last_record(),
        }
    }

    /// What separates the cells, where anything does.
    pub(super) fn delimiter(&self) -> Option<Delimiter> {
        match self {
            Records::Text(table) => Some(table.delimiter()),
            Records::Grid(_) => None,
        }
    }

    pub(super) fn rows(&self) -> Option<&dyn Rows> {
        match self {
            Records::Text(_) => None,
            Records::Grid(grid) => Some(grid.rows()),
        }
    }

    /// The format in words for people.
    pub(super) fn words(&self, columns: usize) -> Vec<String> {
        match self {
            Records::Text(table) => {
                let cells = match columns {
                    1 => "one email a line".to_owned(),
                    _ => table.delimiter().word(),
                };
                let packing = table.text().stream().compression().word();
                let encoding = table.text().encoding().word();
                let others = [packing, encoding].into_iter().flatten().map(str::to_owned);
                [cells].into_iter().chain(others).collect()
            }
            Records::Grid(grid) => grid.rows().words(),
        }
    }

    /// The line or row that reading has come to.
    pub(super) fn line(&self) -> u64 {
        match self {
            Records::Text(table) => table.line(),
            Records::Grid(grid) => grid.row(),
        }
    }

    /// Bytes read as they are stored, and how many there are, where that says how far reading is.
    pub(super) fn stored(&self) -> (u64, Option<u64>) {
        match self {
            Records::Text(table) => table.text().stream().stored(),
            Records::Grid(grid) => grid.rows().stored(),
        }
    }

    /// The digest of the whole list, to be called after the last record.
    pub(super) fn digest(self, list: &str) -> Result<Digest, ListError> {
        match self {
            Records::Text(table) => {
                let line = table.line();
                table
                    .into_text()
                    .digest()
                    .map_err(|error| error.at(list.into(), line))
            }
            Records::Grid(grid) => grid.digest(),
        }
    }
}

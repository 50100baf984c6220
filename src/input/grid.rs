//! Rows whose cells are parted already: those of a workbook and of JSON. They come in portions of bounded size.

use std::ops::Range;

use super::error::ListError;
use super::record::{FIELD_LIMIT_BYTES, Flaw, ROW_LIMIT_BYTES, ROW_LIMIT_FIELDS, Record};
use super::row::decode;
use super::sample::{SAMPLE_ROWS, Sample};
use super::source::Digest;

/// Rows of a portion, and the bytes of text or the cells that end it before.
const PORTION_ROWS: usize = 1_024;
const PORTION_BYTES: usize = 256 << 10;
const PORTION_CELLS: usize = 64 << 10;
/// What is kept of a row that is too long, to show it.
const SHOWN_BYTES: usize = 1_024;

/// Where the rows come from.
pub(super) trait Rows: Send {
    /// The rows that follow, in the order of their numbers; none at the end. The old portion may be used again.
    fn next(&mut self, old: Portion) -> Result<Portion, ListError>;
    /// The format in words for people.
    fn words(&self) -> Vec<String>;
    /// What a list of several tables or keys is known by besides its column: its sheet, or the path of its key.
    fn part(&self, column: usize) -> String;
    /// Whether the first row is made of names that no row of the list is.
    fn is_keyed(&self) -> bool;
    /// The name of a column that the first row did not have.
    fn late_name(&self, _column: usize) -> Option<String> {
        None
    }
    /// Why a cell is empty, where that is known.
    fn why_empty(&self, _row: u64, _column: usize) -> Option<String> {
        None
    }
    /// Bytes read as they are stored, and how many there are, where that says how far reading is.
    fn stored(&self) -> (u64, Option<u64>);
    /// The digest of the whole list, to be called at its end.
    fn digest(self: Box<Self>) -> Result<Digest, ListError>;
}

/// The cells of one row, in buffers that are used again.
#[derive(Default)]
pub(super) struct GridCells {
    texts: Vec<String>,
    used: usize,
}

impl GridCells {
    /// The text of a cell, to be written.
    pub(super) fn cell(&mut self, column: usize) -> &mut String {
        self.used = self.used.max(column + 1);
        if self.texts.len() < self.used {
            self.texts.resize(self.used, String::new());
        }
        &mut self.texts[column]
    }

    /// The texts up to the last cell that was written.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts[..self.used]
    }

    /// Forgets the row.
    pub(super) fn clear(&mut self) {
        self.texts[..self.used].iter_mut().for_each(String::clear);
        self.used = 0;
    }
}

/// Some rows that follow one another.
#[derive(Default)]
pub(super) struct Portion {
    text: Vec<u8>,
    cells: Vec<Range<u32>>,
    rows: Vec<GridRow>,
}

struct GridRow {
    number: u64,
    text: Range<usize>,
    cells: Range<usize>,
    flaw: Option<Flaw>,
}

impl Portion {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.cells.clear();
        self.rows.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= PORTION_ROWS
            || self.text.len() >= PORTION_BYTES
            || self.cells.len() >= PORTION_CELLS
    }

    /// Adds a row with its cells.
    pub(super) fn push(&mut self, number: u64, texts: &[String]) {
        let bytes: usize = texts.iter().map(|text| text.len() + 1).sum();
        if bytes > ROW_LIMIT_BYTES {
            let shown: Vec<u8> = texts
                .iter()
                .flat_map(|text| text.bytes().chain([b'\t']))
                .take(SHOWN_BYTES)
                .collect();
            return self.push_flawed(number, &shown, Flaw::RowTooLong);
        }
        let (text, cells) = (self.text.len(), self.cells.len());
        let mut flaw = None;
        for (index, cell) in texts.iter().enumerate() {
            if index > 0 {
                self.text.push(b'\t');
            }
            // A portion ends long before 4 GB.
            let start = self.text.len() as u32;
            self.text.extend_from_slice(cell.as_bytes());
            self.cells.push(start..self.text.len() as u32);
            if cell.len() > FIELD_LIMIT_BYTES {
                flaw = Some(Flaw::FieldTooLong);
            } else if flaw.is_none() && memchr::memchr(0, cell.as_bytes()).is_some() {
                flaw = Some(Flaw::NulByte);
            }
        }
        self.rows.push(GridRow {
            number,
            text: text..self.text.len(),
            cells: cells..self.cells.len(),
            flaw,
        });
    }

    /// Adds a row that is unfit before anybody looks at its cells; of how it is written the beginning is kept.
    pub(super) fn push_flawed(&mut self, number: u64, raw: &[u8], flaw: Flaw) {
        let text = self.text.len();
        self.text.extend_from_slice(&raw[..raw.len().min(SHOWN_BYTES)]);
        self.rows.push(GridRow {
            number,
            text: text..self.text.len(),
            cells: 0..0,
            flaw: Some(flaw),
        });
    }

    /// Adds the rows of another portion behind its own.
    pub(super) fn append(&mut self, other: Portion) {
        let (text, cells) = (self.text.len(), self.cells.len());
        self.text.extend_from_slice(&other.text);
        let moved = |range: Range<u32>| range.start + text as u32..range.end + text as u32;
        self.cells.extend(other.cells.into_iter().map(moved));
        self.rows.extend(other.rows.into_iter().map(|row| GridRow {
            text: row.text.start + text..row.text.end + text,
            cells: row.cells.start + cells..row.cells.end + cells,
            ..row
        }));
    }

    fn record(&self, index: usize) -> Record<'_> {
        let row = &self.rows[index];
        let cells = &self.cells[row.cells.clone()];
        Record::new(
            &self.text[row.text.clone()],
            (&self.text, cells),
            cells.len(),
            (row.number, row.number),
            row.flaw,
        )
    }
}

/// A list's rows, one at a time.
pub(super) struct Grid {
    rows: Box<dyn Rows>,
    portion: Portion,
    /// The row of the portion that comes next.
    next: usize,
}

impl Grid {
    /// Reads the first portion, on which the guesses about the columns rest.
    pub(super) fn open(mut rows: Box<dyn Rows>) -> Result<(Grid, Sample), ListError> {
        let portion = rows.next(Portion::default())?;
        let first = (0..portion.rows.len().min(SAMPLE_ROWS)).map(|index| portion.record(index));
        let rows_of_sample = first.map(|record| record.cells().map(decode).collect()).collect();
        let grid = Grid {
            rows,
            portion,
            next: 0,
        };
        Ok((grid, Sample { rows: rows_of_sample }))
    }

    pub(super) fn next_record(&mut self) -> Result<Option<Record<'_>>, ListError> {
        if self.next == self.portion.rows.len() && self.next > 0 {
            self.portion = self.rows.next(std::mem::take(&mut self.portion))?;
            self.next = 0;
        }
        if self.portion.is_empty() {
            return Ok(None);
        }
        self.next += 1;
        Ok(Some(self.last_record()))
    }

    /// The record read last, once more.
    pub(super) fn last_record(&self) -> Record<'_> {
        self.portion.record(self.next - 1)
    }

    /// The number of the row that reading has come to.
    pub(super) fn row(&self) -> u64 {
        let last = self
            .next
            .checked_sub(1)
            .and_then(|last| self.portion.rows.get(last));
        last.map_or(0, |row| row.number)
    }

    pub(super) fn rows(&self) -> &dyn Rows {
        self.rows.as_ref()
    }

    pub(super) fn digest(self) -> Result<Digest, ListError> {
        self.rows.digest()
    }
}

/// The most columns that are told apart.
pub(super) const COLUMNS: usize = ROW_LIMIT_FIELDS;

//! One record as it was read: its cells, its lines, what is wrong with it, and the limits.

use std::ops::Range;

/// The longest field that is taken: 64 kB.
pub const FIELD_LIMIT_BYTES: usize = 64 * 1024;
/// The longest row that is kept in memory: 1 MB. What is longer is read past and rejected.
pub const ROW_LIMIT_BYTES: usize = 1024 * 1024;
/// The most fields of a row that are told apart, as many as the widest spreadsheet has columns.
pub const ROW_LIMIT_FIELDS: usize = 16 * 1024;

/// What makes a record unfit before anybody looks at its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    FieldTooLong,
    RowTooLong,
    NulByte,
    /// A quote opens on the first line and is closed on this one in the middle of a cell. The record is its first line
    /// alone; the others are read as records of their own.
    StrayQuote(u64),
    /// The row is no JSON, from this byte of it on.
    NoJson(usize),
    /// An object of the row has a key twice.
    RepeatedKey,
}

impl Flaw {
    /// The flaw in words for people.
    pub(super) fn detail(self, line: u64) -> String {
        match self {
            Flaw::FieldTooLong => format!("a field is longer than {} kB", FIELD_LIMIT_BYTES / 1024),
            Flaw::RowTooLong => format!("the row is longer than {} MB", ROW_LIMIT_BYTES / 1024 / 1024),
            Flaw::NulByte => "the row holds a NUL byte".to_string(),
            Flaw::NoJson(place) => format!("the row is no JSON from character {place} on"),
            Flaw::RepeatedKey => "a key stands twice in one object, so that its value is not known".into(),
            Flaw::StrayQuote(end) if end == line => {
                "text follows a closing quote; a quote inside quotes is doubled".into()
            }
            Flaw::StrayQuote(end) => {
                format!("a quote opens here and closes on line {end} in the middle of a cell")
            }
        }
    }
}

/// One record, borrowed from the table until the next is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// The record as it is written, without its last line end; cut where it is too long.
    pub(super) raw: &'a [u8],
    text: &'a [u8],
    cells: &'a [Range<u32>],
    /// How many fields the record has; none is told where it is too long.
    pub(super) fields: usize,
    pub(super) first_line: u64,
    pub(super) last_line: u64,
    pub(super) flaw: Option<Flaw>,
}

impl<'a> Record<'a> {
    pub(super) fn new(
        raw: &'a [u8],
        (text, cells): (&'a [u8], &'a [Range<u32>]),
        fields: usize,
        (first_line, last_line): (u64, u64),
        flaw: Option<Flaw>,
    ) -> Record<'a> {
        Record {
            raw,
            text,
            cells,
            fields,
            first_line,
            last_line,
            flaw,
        }
    }

    /// A cell by its index, where the record has one that was kept.
    pub(super) fn cell(&self, index: usize) -> Option<&'a [u8]> {
        let cell = self.cells.get(index)?;
        self.text.get(cell.start as usize..cell.end as usize)
    }

    /// The cells that were kept.
    pub(super) fn cells(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.cells.len()).filter_map(move |index| self.cell(index))
    }

    /// The record's lines as they are written.
    pub(super) fn lines(self) -> impl Iterator<Item = &'a [u8]> {
        let mut line = None;
        std::iter::from_fn(move || {
            line = self.line_after(line.take());
            line.as_ref()
                .map(|line: &RecordLine| &self.raw[line.range.clone()])
        })
    }

    /// The line behind another one, or the first.
    pub(super) fn line_after(&self, line: Option<RecordLine>) -> Option<RecordLine> {
        let (number, start) = match line {
            None => (self.first_line, 0),
            Some(line) => {
                let behind = &self.raw[line.range.end..];
                let is_crlf = behind.starts_with(b"\r\n");
                behind.first()?;
                (line.number + 1, line.range.end + 1 + usize::from(is_crlf))
            }
        };
        let length = memchr::memchr2(b'\n', b'\r', &self.raw[start..]);
        let end = length.map_or(self.raw.len(), |length| start + length);
        Some(RecordLine {
            number,
            range: start..end,
        })
    }
}

/// A line of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordLine {
    /// Its number in the list.
    pub(super) number: u64,
    /// Where it stands in the record as it is written.
    pub(super) range: Range<usize>,
}

//! A record's cells: parted at the delimiter, and unquoted by the letter of RFC 4180.
//!
//! A quoted cell begins with its quote, and its closing quote is followed by blanks at the most before the delimiter or
//! the end of the row. Whatever else follows says that the quote was a stray one. A quote in the middle of a cell that
//! does not begin with one is an ordinary character.

use std::ops::Range;

use super::record::ROW_LIMIT_FIELDS;

const QUOTE: u8 = b'"';

/// How far a line took the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The record ends with the line.
    Whole,
    /// A quote is open at the end of the line.
    Open,
    /// A quote was closed in the middle of a cell.
    Stray,
}

/// The cells of a record, in buffers that are used again.
#[derive(Default)]
pub(super) struct Cells {
    /// The text of cells that stand in quotes, and of all others of such a record.
    unquoted: Vec<u8>,
    /// Where the cells stand: in `unquoted`, or else in the record as it is written.
    ranges: Vec<Range<u32>>,
    fields: usize,
    has_quotes: bool,
    /// The place in `unquoted` where the open cell begins.
    open: usize,
}

impl Cells {
    /// Reads a line that begins a record.
    pub(super) fn first_line(&mut self, line: &[u8], delimiter: u8) -> Progress {
        self.ranges.clear();
        self.fields = 0;
        self.has_quotes = memchr::memchr(QUOTE, line).is_some();
        if self.has_quotes {
            self.unquoted.clear();
            self.cells(line, 0, false, delimiter)
        } else {
            self.plain(line, delimiter);
            Progress::Whole
        }
    }

    /// Reads a line that goes on with an open quote; `line_end` stood before it.
    pub(super) fn next_line(&mut self, line_end: &[u8], line: &[u8], delimiter: u8) -> Progress {
        self.unquoted.extend_from_slice(line_end);
        self.cells(line, 0, true, delimiter)
    }

    /// Forgets all cells.
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
        self.fields = 0;
    }

    /// How many cells there are.
    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// The text in which the cells stand, and where. `raw` is the record as it is written.
    pub(super) fn view<'a>(&'a self, raw: &'a [u8]) -> (&'a [u8], &'a [Range<u32>]) {
        (if self.has_quotes { &self.unquoted } else { raw }, &self.ranges)
    }

    fn plain(&mut self, line: &[u8], delimiter: u8) {
        let mut start = 0;
        for end in memchr::memchr_iter(delimiter, line) {
            self.push(start..end);
            start = end + 1;
        }
        self.push(start..line.len());
    }

    fn push(&mut self, cell: Range<usize>) {
        self.fields += 1;
        if self.ranges.len() < ROW_LIMIT_FIELDS {
            // A record ends at a megabyte.
            self.ranges.push(cell.start as u32..cell.end as u32);
        }
    }

    /// Reads cells from a place on: where one begins, or inside of a quoted one.
    fn cells(&mut self, line: &[u8], mut at: usize, mut is_quoted: bool, delimiter: u8) -> Progress {
        loop {
            if !is_quoted {
                self.open = self.unquoted.len();
                is_quoted = line.get(at) == Some(&QUOTE);
                at += usize::from(is_quoted);
            }
            if is_quoted {
                match self.quoted(line, at, delimiter) {
                    Ok(end) => at = end,
                    Err(progress) => return progress,
                }
                is_quoted = false;
            } else {
                let end = memchr::memchr(delimiter, &line[at..]).map_or(line.len(), |length| at + length);
                self.unquoted.extend_from_slice(&line[at..end]);
                at = end;
            }
            self.push(self.open..self.unquoted.len());
            if at == line.len() {
                return Progress::Whole;
            }
            at += 1;
        }
    }

    /// Reads the inside of a quoted cell, and gives the place behind its closing quote and the blanks that follow.
    fn quoted(&mut self, line: &[u8], mut at: usize, delimiter: u8) -> Result<usize, Progress> {
        loop {
            let Some(length) = memchr::memchr(QUOTE, &line[at..]) else {
                self.unquoted.extend_from_slice(&line[at..]);
                return Err(Progress::Open);
            };
            self.unquoted.extend_from_slice(&line[at..at + length]);
            at += length + 1;
            if line.get(at) != Some(&QUOTE) {
                break;
            }
            self.unquoted.push(QUOTE);
            at += 1;
        }
        while let Some(b' ' | b'\t') = line.get(at)
            && line[at] != delimiter
        {
            at += 1;
        }
        match line.get(at) {
            Some(byte) if *byte != delimiter => Err(Progress::Stray),
            _ => Ok(at),
        }
    }
}

/// Cells of a line taken by itself, as if no quote meant anything but the edge of a cell.
pub(super) fn naive(line: &[u8], delimiter: u8) -> impl Iterator<Item = &[u8]> {
    line.split(move |byte| *byte == delimiter).map(|cell| {
        let cell = cell.trim_ascii();
        let cell = cell.strip_prefix(b"\"").unwrap_or(cell);
        cell.strip_suffix(b"\"").unwrap_or(cell).trim_ascii()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Progress, Vec<String>) {
        let mut cells = Cells::default();
        let progress = cells.first_line(line.as_bytes(), b',');
        let (text, ranges) = cells.view(line.as_bytes());
        let cell = |range: &Range<u32>| {
            String::from_utf8(text[range.start as usize..range.end as usize].to_vec()).unwrap()
        };
        (progress, ranges.iter().map(cell).collect())
    }

    #[test]
    fn cells_are_unquoted() {
        for (line, cells) in [
            ("a,b,", vec!["a", "b", ""]),
            ("", vec![""]),
            ("\"a, b\",c", vec!["a, b", "c"]),
            ("\"say \"\"yes\"\"\" ,\"\",x", vec!["say \"yes\"", "", "x"]),
            ("the \"great\", \"b\",c\"", vec!["the \"great\"", " \"b\"", "c\""]),
            ("\"C:\\dir\\\",c", vec!["C:\\dir\\", "c"]),
        ] {
            assert_eq!(
                read(line),
                (Progress::Whole, cells.into_iter().map(str::to_owned).collect()),
                "{line}"
            );
        }
    }

    #[test]
    fn a_quote_that_closes_inside_a_cell_is_stray() {
        for line in [
            "\"Ann\" Lee,a",
            "a,\"say \\\"hi\\\"\",b",
            "\"\"x\",b",
            "\"a\"\"\" b",
        ] {
            assert_eq!(read(line).0, Progress::Stray, "{line}");
        }
        assert_eq!(read("a,\"b").0, Progress::Open);
        assert_eq!(read("a,\"b\"\"").0, Progress::Open);
    }

    #[test]
    fn a_quote_may_go_on_over_lines() {
        let mut cells = Cells::default();
        assert_eq!(cells.first_line(b"a,\"b", b','), Progress::Open);
        assert_eq!(cells.next_line(b"\r\n", b"", b','), Progress::Open);
        assert_eq!(cells.next_line(b"\n", b"c\"\"\",d", b','), Progress::Whole);
        let (text, ranges) = cells.view(b"");
        assert_eq!(text, b"ab\r\n\nc\"d");
        assert_eq!((ranges.len(), cells.fields()), (3, 3));
    }
}

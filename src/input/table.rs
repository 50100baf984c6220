//! Records, one at a time, within limits, with the lines they stand on.
//!
//! A record is a line, or several where a quoted cell goes on over them. A quote that closes in the middle of a cell was
//! a stray one: its line is a record by itself, flawed, and reading goes on with the line behind, so that no row between
//! two stray quotes is lost. A quote that does not close at all, or not within [`ROW_LIMIT_BYTES`], is an error of the
//! list. Memory does not grow with the list. This file does not know which column matters.

use super::cells::{Cells, Progress};
use super::delimiter::{self, Delimiter};
use super::error::ListError;
use super::lines::{Line, Lines, Next};
use super::record::{FIELD_LIMIT_BYTES, Flaw, ROW_LIMIT_BYTES, Record};
use super::sample::Sample;
use super::stream::StreamError;
use super::text::Text;

/// What is kept of a line that is too long, to show it.
const SHOWN_BYTES: usize = 1024;

/// A list's records, in order, once.
pub(super) struct Table {
    list: String,
    lines: Lines,
    delimiter: Delimiter,
    cells: Cells,
    last: Last,
    /// The beginning of a line that was too long.
    cut: Vec<u8>,
}

/// The record that was read last.
struct Last {
    /// How many bytes it takes without its line end.
    bytes: usize,
    first_line: u64,
    last_line: u64,
    flaw: Option<Flaw>,
}

impl Table {
    /// Refuses what is no list, and finds out what separates the cells, where that is not said.
    pub(super) fn open(
        list: &str,
        mut lines: Lines,
        delimiter: Option<u8>,
    ) -> Result<(Table, Sample), ListError> {
        let (chunk, is_whole) = lines.first_chunk();
        super::foreign::check(list, chunk)?;
        let (delimiter, sample) = delimiter::sniff(chunk, is_whole, delimiter);
        lines.pass(delimiter.declared_bytes);
        let last = Last {
            bytes: 0,
            first_line: 1,
            last_line: 1,
            flaw: None,
        };
        let table = Table {
            list: list.to_string(),
            lines,
            delimiter,
            cells: Cells::default(),
            last,
            cut: Vec::new(),
        };
        Ok((table, sample))
    }

    /// Reads one record, or finds the end.
    pub(super) fn next_record(&mut self) -> Result<Option<Record<'_>>, ListError> {
        if !self.lines.begin_record().map_err(|error| self.at_line(error))? {
            return Ok(None);
        }
        let number = self.lines.number();
        match self.lines.line().map_err(|error| self.at_line(error))? {
            Next::Line(line) => self.read_record(line, number)?,
            Next::TooLong => self.pass_line(number)?,
            Next::End => return Ok(None),
        }
        Ok(Some(self.last_record()))
    }

    /// The record read last, once more.
    pub(super) fn last_record(&self) -> Record<'_> {
        let Last {
            bytes,
            first_line,
            last_line,
            flaw,
        } = self.last;
        if flaw == Some(Flaw::RowTooLong) && !self.cut.is_empty() {
            return Record::new(&self.cut, (&[], &[]), 0, (first_line, last_line), flaw);
        }
        let raw = &self.lines.record()[..bytes];
        Record::new(
            raw,
            self.cells.view(raw),
            self.cells.fields(),
            (first_line, last_line),
            flaw,
        )
    }

    pub(super) fn delimiter(&self) -> Delimiter {
        self.delimiter
    }

    pub(super) fn text(&self) -> &Text {
        self.lines.text()
    }

    pub(super) fn into_text(self) -> Text {
        self.lines.into_text()
    }

    /// The line that reading has come to.
    pub(super) fn line(&self) -> u64 {
        self.lines.number()
    }

    fn at_line(&self, error: StreamError) -> ListError {
        error.at(self.list.clone(), self.lines.number())
    }

    fn read_record(&mut self, first: Line, number: u64) -> Result<(), ListError> {
        let delimiter = self.delimiter.byte;
        let line = &self.lines.record()[first.range.clone()];
        let mut progress = self.cells.first_line(line, delimiter);
        self.lines.take(&first);
        let (mut end, mut behind, mut opened) = (first.range.end, first.next, number);
        while progress == Progress::Open {
            let next = match self.lines.line().map_err(|error| self.at_line(error))? {
                Next::Line(next) => next,
                Next::End | Next::TooLong => {
                    return Err(ListError::UnclosedQuote {
                        list: self.list.clone(),
                        line: opened,
                    });
                }
            };
            let fields = self.cells.fields();
            let record = self.lines.record();
            progress = self
                .cells
                .next_line(&record[end..behind], &record[next.range.clone()], delimiter);
            if self.cells.fields() > fields {
                opened = self.lines.number();
            }
            self.lines.take(&next);
            (end, behind) = (next.range.end, next.next);
        }
        self.cut.clear();
        let last_line = self.lines.number() - 1;
        self.last = match progress {
            Progress::Stray => {
                self.lines.go_back(&first, number);
                // Cells that a stray quote made mean nothing.
                self.cells.clear();
                Last {
                    bytes: first.range.end,
                    first_line: number,
                    last_line: number,
                    flaw: Some(Flaw::StrayQuote(last_line)),
                }
            }
            Progress::Whole | Progress::Open => Last {
                bytes: end,
                first_line: number,
                last_line,
                flaw: self.flaw(end),
            },
        };
        Ok(())
    }

    /// Reads past a line that is beyond the limit.
    fn pass_line(&mut self, number: u64) -> Result<(), ListError> {
        self.cut.clear();
        self.cut.extend(&self.lines.record()[..SHOWN_BYTES]);
        self.lines.pass_line().map_err(|error| self.at_line(error))?;
        self.last = Last {
            bytes: 0,
            first_line: number,
            last_line: number,
            flaw: Some(Flaw::RowTooLong),
        };
        Ok(())
    }

    fn flaw(&self, bytes: usize) -> Option<Flaw> {
        let raw = &self.lines.record()[..bytes];
        if bytes > ROW_LIMIT_BYTES {
            return Some(Flaw::RowTooLong);
        }
        let is_long = |cell: &std::ops::Range<u32>| cell.len() > FIELD_LIMIT_BYTES;
        if bytes > FIELD_LIMIT_BYTES && self.cells.view(raw).1.iter().any(is_long) {
            return Some(Flaw::FieldTooLong);
        }
        memchr::memchr(0, raw).map(|_| Flaw::NulByte)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::ROW_LIMIT_FIELDS;
    use super::super::stream::{CHUNK_BYTES, Stream};
    use super::*;

    fn table(bytes: &[u8]) -> Table {
        let text = Text::open("list", Stream::of(bytes)).unwrap();
        Table::open("list", Lines::open(text).unwrap(), Some(b','))
            .unwrap()
            .0
    }

    /// A record's lines, its number of fields and its flaw.
    type Seen = (u64, u64, usize, Option<Flaw>);

    fn read(bytes: &[u8]) -> Result<Vec<Seen>, ListError> {
        let mut table = table(bytes);
        let mut records = Vec::new();
        while let Some(record) = table.next_record()? {
            records.push((record.first_line, record.last_line, record.fields, record.flaw));
        }
        Ok(records)
    }

    fn unclosed(bytes: &[u8]) -> u64 {
        match read(bytes) {
            Err(ListError::UnclosedQuote { line, .. }) => line,
            other => panic!("expected an unclosed quote, got {other:?}"),
        }
    }

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        for text in [
            "a,b\nc,d\n\ne,f",
            "a,b\r\nc,d\r\n\r\ne,f\r\n",
            "a,b\rc,d\r\re,f\r",
        ] {
            let lines: Vec<u64> = read(text.as_bytes())
                .unwrap()
                .iter()
                .map(|record| record.0)
                .collect();
            assert_eq!(lines, [1, 2, 4], "{text:?}");
        }
        assert_eq!(
            read(b"a,\"b\r\nb\r\rb\"\nc,d").unwrap(),
            [(1, 4, 2, None), (5, 5, 2, None)]
        );
    }

    #[test]
    fn a_record_gives_its_lines() {
        let mut table = table(b"\na,\"b\r\n\rc\n\"\n");
        let record = table.next_record().unwrap().unwrap();
        let lines: Vec<_> = record.lines().collect();
        let expected: [&[u8]; 4] = [b"a,\"b", b"", b"c", b"\""];
        assert_eq!((record.first_line, lines.as_slice()), (2, &expected[..]));
        let mut last = None;
        while let Some(line) = record.line_after(last.clone()) {
            last = Some(line);
        }
        assert_eq!(last.map(|line| line.number), Some(5));
    }

    #[test]
    fn an_endless_field_is_one_flawed_record_and_the_next_is_fine() {
        for quote in ["", "\""] {
            let long = format!("a,b\n{quote}{}{quote},x\r\nc,d\n", "y".repeat(5_000_000));
            let expected = [
                (1, 1, 2, None),
                (2, 2, 0, Some(Flaw::RowTooLong)),
                (3, 3, 2, None),
            ];
            assert_eq!(read(long.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn the_buffers_stay_within_their_limits() {
        let mut long = format!("{},", "y".repeat(1000)).repeat(3000) + "\n";
        long += &",".repeat(3_000_000);
        let mut table = table(long.as_bytes());
        while table.next_record().unwrap().is_some() {}
        assert!(table.lines.room() <= 4 * ROW_LIMIT_BYTES);
        assert!(table.cells.view(b"").1.len() <= ROW_LIMIT_FIELDS);
    }

    #[test]
    fn fields_and_rows_are_measured_at_their_limits() {
        let at = |field: usize| read(format!("a,{}\n", "y".repeat(field)).as_bytes()).unwrap()[0].3;
        assert_eq!(at(FIELD_LIMIT_BYTES), None);
        assert_eq!(at(FIELD_LIMIT_BYTES + 1), Some(Flaw::FieldTooLong));
        let row = |bytes: usize| {
            let text = format!("{},", "y".repeat(1023)).repeat(bytes / 1024) + &"z".repeat(bytes % 1024);
            read(text.as_bytes()).unwrap()[0].3
        };
        assert_eq!(row(ROW_LIMIT_BYTES - 1), None);
        assert_eq!(row(ROW_LIMIT_BYTES + 1), Some(Flaw::RowTooLong));
    }

    #[test]
    fn fields_beyond_telling_apart_are_counted() {
        let wide = ",".repeat(ROW_LIMIT_FIELDS + 5) + "\na,b\n";
        assert_eq!(
            read(wide.as_bytes()).unwrap(),
            [(1, 1, ROW_LIMIT_FIELDS + 6, None), (2, 2, 2, None)]
        );
    }

    #[test]
    fn an_unclosed_quote_is_found_where_it_opens() {
        assert_eq!(unclosed(b"a,b\nc,\"d\ne,f\n"), 2);
        assert_eq!(unclosed(b"a\n\"b\nb\",\"c\n\n\nd\n"), 3);
        assert_eq!(unclosed(b"\""), 1);
        let rest = "x,y\n".repeat(1_000_000);
        assert_eq!(unclosed(format!("a,b\nc,\"{rest}").as_bytes()), 2);
        // The row is beyond its limit before the quote opens.
        let long = "y".repeat(ROW_LIMIT_BYTES);
        assert_eq!(unclosed(format!("a\nb,{long},\"c\nd\",\"{rest}").as_bytes()), 3);
        assert_eq!(read(b"a,\"\"").unwrap(), [(1, 1, 2, None)]);
    }

    #[test]
    fn no_row_between_two_stray_quotes_is_lost() {
        let between = "x,y\n".repeat(500);
        let records = read(format!("a,b\nc,\"d\n{between}e,\"f\"\ng,h\n").as_bytes()).unwrap();
        assert_eq!(records[1], (2, 2, 0, Some(Flaw::StrayQuote(503))));
        let lines: Vec<u64> = records.iter().map(|record| record.0).collect();
        assert_eq!(lines, (1..=504).collect::<Vec<_>>());
        let flawed = records.iter().filter(|record| record.3.is_some()).count();
        assert_eq!(flawed, 1);
    }

    #[test]
    fn a_nul_is_a_flaw_of_its_row_only() {
        let flaws: Vec<_> = read(b"a\nb\0\n\0\nc\n")
            .unwrap()
            .iter()
            .map(|record| record.3)
            .collect();
        assert_eq!(flaws, [None, Some(Flaw::NulByte), Some(Flaw::NulByte), None]);
    }

    #[test]
    fn a_record_may_lie_across_chunks_anywhere() {
        for offset in 0..8 {
            let first = "x".repeat(CHUNK_BYTES - 6 + offset - 2);
            let text = format!("{first}\r\n\"a\r\nb\"\r\n\r\nc");
            let records = read(text.as_bytes()).unwrap();
            let lines: Vec<_> = records.iter().map(|record| (record.0, record.1)).collect();
            assert_eq!(lines, [(1, 1), (2, 3), (5, 5)]);
        }
    }
}

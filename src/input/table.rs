//! Records over `csv-core`: one at a time, within limits, with the lines they stand on.
//!
//! `csv-core` is fed from one fixed buffer and writes into another, so that nothing grows with the file;
//! `csv`'s own reader would hold a whole record, however long. A line ends with LF, CRLF or CR, in any
//! mixture: a lone CR is what old Mac exports write, and what editors count. This file does not know which
//! column matters.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::delimiter::{self, Delimiter};
use super::error::ListError;
use super::record::{Record, State, count_line_ends};
use super::stream::CHUNK_BYTES;
use super::text::Text;

/// The room for bytes that are read past.
const PAST_BYTES: usize = 4 * 1024;

/// A list's records, in order, once.
pub(super) struct Table {
    list: String,
    text: Text,
    reader: Reader,
    delimiter: Delimiter,
    chunk: Vec<u8>,
    position: usize,
    filled: usize,
    at_end: bool,
    /// The line of the next byte.
    line: u64,
    after_cr: bool,
    record: State,
    /// Where the bytes of a record beyond its limits go.
    past: [u8; PAST_BYTES],
}

impl Table {
    /// Reads the first chunk and finds out what parts its cells.
    pub(super) fn open(list: &str, mut text: Text) -> Result<Table, ListError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let filled = text
            .fill(&mut chunk)
            .map_err(|error| error.at(list.to_string(), 1))?;
        let delimiter = delimiter::sniff(&chunk[..filled]);
        Ok(Table {
            list: list.to_string(),
            text,
            reader: ReaderBuilder::new().delimiter(delimiter.byte).build(),
            delimiter,
            chunk,
            position: delimiter.declared_bytes,
            filled,
            at_end: false,
            line: 1,
            after_cr: false,
            record: State::new(),
            past: [0; PAST_BYTES],
        })
    }

    /// Reads one record, or finds the end.
    pub(super) fn next_record(&mut self) -> Result<Option<Record<'_>>, ListError> {
        if !self.skip_line_ends()? {
            return Ok(None);
        }
        self.record.restart(self.line);
        let mut sentinel_fed = false;
        loop {
            if self.position == self.filled && !self.refill()? {
                if sentinel_fed {
                    return Err(ListError::UnclosedQuote {
                        list: self.list.clone(),
                        line: self.open_line(),
                    });
                }
                // A line end closes any record unless a quote is open, so this one, which the file does not
                // have, proves whether the last row was a row or the rest of the file.
                sentinel_fed = true;
                (self.chunk[0], self.position, self.filled) = (b'\n', 0, 1);
            }
            if self.step() {
                return Ok(Some(self.last_record()));
            }
        }
    }

    /// The record read last, once more.
    pub(super) fn last_record(&self) -> Record<'_> {
        self.record.view()
    }

    pub(super) fn delimiter(&self) -> Delimiter {
        self.delimiter
    }

    pub(super) fn text(&self) -> &Text {
        &self.text
    }

    pub(super) fn into_text(self) -> Text {
        self.text
    }

    /// The line that reading has come to.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Passes blank lines, and says whether a record follows.
    fn skip_line_ends(&mut self) -> Result<bool, ListError> {
        loop {
            while self.position < self.filled {
                let byte = self.chunk[self.position];
                if byte != b'\n' && byte != b'\r' {
                    self.after_cr = false;
                    return Ok(true);
                }
                self.line += count_line_ends(&[byte], &mut self.after_cr);
                self.position += 1;
            }
            if !self.refill()? {
                return Ok(false);
            }
        }
    }

    /// Fetches the next chunk, and says whether there was one.
    fn refill(&mut self) -> Result<bool, ListError> {
        if self.at_end {
            return Ok(false);
        }
        self.position = 0;
        self.filled = 0;
        self.filled = self
            .text
            .fill(&mut self.chunk)
            .map_err(|error| error.at(self.list.clone(), self.line))?;
        self.at_end = self.filled == 0;
        Ok(!self.at_end)
    }

    /// Feeds the tokenizer what there is, and says whether that ended the record.
    fn step(&mut self) -> bool {
        let record = &mut self.record;
        let input = &self.chunk[self.position..self.filled];
        let mut past_end = [0; 1];
        // Reading past takes one field at a time, which is what makes the line of an unclosed quote known.
        let (output, ends) = match record.drain {
            Some(_) => (&mut self.past[..], &mut past_end[..]),
            None => (
                &mut record.output[record.written..],
                &mut record.ends[record.ended..],
            ),
        };
        let (result, read, written, ended) = self.reader.read_record(input, output, ends);
        let is_end = result == ReadRecordResult::Record;
        self.position += read;
        record.taken += read;
        self.line += account(&input[..read], is_end, record, &mut self.after_cr);
        match &mut record.drain {
            Some(drain) => {
                drain.fields += ended;
                if ended > 0 {
                    drain.field_line = self.line;
                }
            }
            None => {
                record.written += written;
                record.ended += ended;
                record.make_room(&result);
            }
        }
        if is_end {
            record.last_line = self.line;
            self.line += 1;
        }
        is_end
    }

    /// The line on which the field begins that the end of the file found open.
    fn open_line(&self) -> u64 {
        match &self.record.drain {
            Some(drain) => drain.field_line,
            None => self.record.open_field_line(),
        }
    }
}

/// Looks for lines and NUL bytes in what the tokenizer took, and gives the number of lines completed before
/// the record's own end.
///
/// Nearly every record is one line of printable bytes, which one pass without a branch can tell.
fn account(taken: &[u8], is_end: bool, record: &mut State, after_cr: &mut bool) -> u64 {
    let (body, terminator) = if is_end {
        taken.split_at(taken.len() - 1)
    } else {
        (taken, &[][..])
    };
    let has_control = body
        .iter()
        .fold(false, |seen, &byte| seen | ((byte < b' ') & (byte != b'\t')));
    let mut lines = 0;
    if has_control {
        lines = count_line_ends(body, after_cr);
        record.has_nul |= body.contains(&0);
    } else if !body.is_empty() {
        *after_cr = false;
    }
    if is_end {
        *after_cr = terminator == b"\r";
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::record::{FIELD_LIMIT_BYTES, Flaw, ROW_LIMIT_BYTES, ROW_LIMIT_FIELDS};
    use super::super::stream::Stream;
    use super::*;

    fn table(bytes: &[u8]) -> Table {
        let text = Text::open("list", Stream::of(bytes)).unwrap();
        Table::open("list", text).unwrap()
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
    fn an_endless_field_is_one_flawed_record_and_the_next_is_fine() {
        for quote in ["", "\""] {
            let long = format!("a,b\n{quote}{}{quote},x\nc,d\n", "y".repeat(5_000_000));
            let expected = [
                (1, 1, 2, None),
                (2, 2, 2, Some(Flaw::RowTooLong)),
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
        assert!(table.record.output.len() <= ROW_LIMIT_BYTES + 1);
        assert!(table.record.ends.len() <= ROW_LIMIT_FIELDS);
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

//! Lines over the text of a list, with a look back to where the record began.
//!
//! A line ends with LF, CRLF or CR, in any mixture: a lone CR is what old Mac exports write, and what editors count. The
//! text stays in memory from the beginning of the record on, so that a record that turns out to be none can be read
//! again, line by line. This file knows neither quotes nor cells.

use std::ops::Range;

use super::record::ROW_LIMIT_BYTES;
use super::stream::{CHUNK_BYTES, StreamError};
use super::text::Text;

/// One line of the record, without its line end.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Where it stands, counted from the beginning of the record.
    pub(super) range: Range<usize>,
    /// Where the next one begins.
    pub(super) next: usize,
}

/// What comes next.
pub(super) enum Next {
    Line(Line),
    /// The record is longer than [`ROW_LIMIT_BYTES`] before this line ends.
    TooLong,
    End,
}

/// A list's text as lines, once.
pub(super) struct Lines {
    text: Text,
    buffer: Vec<u8>,
    /// Where the record begins that is being read.
    record: usize,
    /// Where the line begins that was not taken yet.
    next: usize,
    filled: usize,
    at_end: bool,
    /// The number of the line at `next`.
    number: u64,
}

impl Lines {
    /// Reads the first chunk.
    pub(super) fn open(mut text: Text) -> Result<Lines, StreamError> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let filled = text.fill(&mut buffer)?;
        Ok(Lines {
            text,
            buffer,
            record: 0,
            next: 0,
            filled,
            at_end: filled == 0,
            number: 1,
        })
    }

    /// What was read first, and whether the text ends with it.
    pub(super) fn first_chunk(&self) -> (&[u8], bool) {
        // The text fills a chunk but for less than one character.
        (&self.buffer[..self.filled], self.filled + 4 <= CHUNK_BYTES)
    }

    /// Passes over bytes that are no row. Only before the first record.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.next += bytes;
    }

    pub(super) fn text(&self) -> &Text {
        &self.text
    }

    /// The text, and what was read of it first with how much that is. Only before the first record.
    pub(super) fn into_parts(self) -> (Text, Vec<u8>, usize) {
        (self.text, self.buffer, self.filled)
    }

    pub(super) fn into_text(self) -> Text {
        self.text
    }

    /// The number of the line that comes next, counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The text from the beginning of the record on.
    pub(super) fn record(&self) -> &[u8] {
        &self.buffer[self.record..self.filled]
    }

    /// How much room the buffer takes.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.buffer.len()
    }

    /// Begins a record at the next line that is not blank, and says whether there is one.
    pub(super) fn begin_record(&mut self) -> Result<bool, StreamError> {
        loop {
            self.record = self.next;
            match self.buffer[self.next..self.filled].first().copied() {
                Some(b'\n' | b'\r') => {
                    let line = self.line_ending_at(self.next)?;
                    self.take(&line);
                }
                Some(_) => return Ok(true),
                None if self.fill()? => {}
                None => return Ok(false),
            }
        }
    }

    /// The next line, which is not taken yet.
    pub(super) fn line(&mut self) -> Result<Next, StreamError> {
        let mut searched = self.next - self.record;
        loop {
            let ahead = &self.buffer[self.record + searched..self.filled];
            if let Some(at) = memchr::memchr2(b'\n', b'\r', ahead) {
                return Ok(Next::Line(self.line_ending_at(self.record + searched + at)?));
            }
            searched = self.filled - self.record;
            if searched > ROW_LIMIT_BYTES {
                return Ok(Next::TooLong);
            }
            if !self.fill()? {
                let range = self.next - self.record..searched;
                return Ok(match range.is_empty() {
                    true => Next::End,
                    false => Next::Line(Line {
                        range,
                        next: searched,
                    }),
                });
            }
        }
    }

    /// The line whose end stands at a place of the buffer.
    fn line_ending_at(&mut self, end: usize) -> Result<Line, StreamError> {
        let mut end = end;
        // Whether an LF belongs to this CR is not known before the next byte is.
        if end + 1 == self.filled && self.buffer[end] == b'\r' {
            let record = self.record;
            self.fill()?;
            end -= record - self.record;
        }
        let is_crlf = self.buffer[end] == b'\r' && self.buffer[..self.filled].get(end + 1) == Some(&b'\n');
        Ok(Line {
            range: self.next - self.record..end - self.record,
            next: end + 1 + usize::from(is_crlf) - self.record,
        })
    }

    /// Goes on to what follows the line.
    pub(super) fn take(&mut self, line: &Line) {
        self.next = self.record + line.next;
        self.number += 1;
    }

    /// Goes back to what follows the first line of the record, which has this number.
    pub(super) fn go_back(&mut self, first: &Line, number: u64) {
        self.next = self.record + first.next;
        self.number = number + 1;
    }

    /// Passes a line that is too long to be kept.
    pub(super) fn pass_line(&mut self) -> Result<(), StreamError> {
        loop {
            self.record = self.next;
            let ahead = &self.buffer[self.next..self.filled];
            if let Some(at) = memchr::memchr2(b'\n', b'\r', ahead) {
                let line = self.line_ending_at(self.next + at)?;
                self.take(&line);
                return Ok(());
            }
            self.next = self.filled;
            self.record = self.filled;
            if !self.fill()? {
                self.number += 1;
                return Ok(());
            }
        }
    }

    /// Reads on, and says whether there was more. The record moves to the front.
    fn fill(&mut self) -> Result<bool, StreamError> {
        if self.at_end {
            return Ok(false);
        }
        self.buffer.copy_within(self.record..self.filled, 0);
        self.next -= self.record;
        self.filled -= self.record;
        self.record = 0;
        let room = self.filled + CHUNK_BYTES;
        if room > self.buffer.len() {
            // Doubling keeps what is copied in proportion; a record ends at its limit.
            self.buffer.resize(room.max(self.buffer.len() * 2), 0);
        }
        let read = self.text.fill(&mut self.buffer[self.filled..room])?;
        self.filled += read;
        self.at_end = read == 0;
        Ok(read > 0)
    }
}

//! One record as it is read: what is kept of it, the limits to that, and what is only counted.
//!
//! This file holds the buffers and the arithmetic; the table feeds it.

use csv_core::ReadRecordResult;

/// The longest field that is taken: 64 kB.
pub const FIELD_LIMIT_BYTES: usize = 64 * 1024;
/// The longest row that is kept in memory: 1 MB. What is longer is read past and rejected.
pub const ROW_LIMIT_BYTES: usize = 1024 * 1024;
/// The most fields of a row that are told apart, as many as the widest spreadsheet has columns.
pub const ROW_LIMIT_FIELDS: usize = 16 * 1024;

const FIRST_OUTPUT_BYTES: usize = 16 * 1024;
const FIRST_ENDS_FIELDS: usize = 64;
/// What makes a record unfit before anybody looks at its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    FieldTooLong,
    RowTooLong,
    NulByte,
}

impl Flaw {
    /// The flaw in words for people.
    pub(super) fn detail(self) -> String {
        match self {
            Flaw::FieldTooLong => format!("a field is longer than {} kB", FIELD_LIMIT_BYTES / 1024),
            Flaw::RowTooLong => format!("the row is longer than {} MB", ROW_LIMIT_BYTES / 1024 / 1024),
            Flaw::NulByte => "the row holds a NUL byte".to_string(),
        }
    }
}

/// One record, borrowed from the table until the next is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// The cells' bytes without quotes and delimiters; cut short where the record is flawed by its length.
    pub(super) bytes: &'a [u8],
    ends: &'a [usize],
    /// How many fields the record has, also those that were read past.
    pub(super) fields: usize,
    pub(super) first_line: u64,
    pub(super) last_line: u64,
    pub(super) flaw: Option<Flaw>,
}

impl<'a> Record<'a> {
    /// A cell by its index, where the record has one that was kept.
    pub(super) fn cell(&self, index: usize) -> Option<&'a [u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.bytes[start..end])
    }

    /// The cells that were kept.
    pub(super) fn cells(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.ends.len()).filter_map(move |index| self.cell(index))
    }
}

/// Counts the lines that bytes complete, a CRLF once even where two pieces part it.
pub(super) fn count_line_ends(bytes: &[u8], after_cr: &mut bool) -> u64 {
    let mut count = 0;
    for &byte in bytes {
        if byte == b'\r' || (byte == b'\n' && !*after_cr) {
            count += 1;
        }
        *after_cr = byte == b'\r';
    }
    count
}

/// The record being read, or the one read last.
pub(super) struct State {
    pub(super) output: Vec<u8>,
    pub(super) written: usize,
    pub(super) ends: Vec<usize>,
    pub(super) ended: usize,
    /// How many bytes of the file it took so far.
    pub(super) taken: usize,
    pub(super) first_line: u64,
    pub(super) last_line: u64,
    pub(super) has_nul: bool,
    pub(super) drain: Option<Drain>,
}

/// The record is beyond a limit: the rest is read past, and only counted.
pub(super) struct Drain {
    pub(super) flaw: Option<Flaw>,
    pub(super) fields: usize,
    /// The line on which the field being read past begins, for the case that a quote never closes.
    pub(super) field_line: u64,
}

impl State {
    pub(super) fn new() -> State {
        State {
            output: vec![0; FIRST_OUTPUT_BYTES],
            written: 0,
            ends: vec![0; FIRST_ENDS_FIELDS],
            ended: 0,
            taken: 0,
            first_line: 1,
            last_line: 1,
            has_nul: false,
            drain: None,
        }
    }

    /// The record as it stands.
    pub(super) fn view(&self) -> Record<'_> {
        Record {
            bytes: &self.output[..self.written],
            ends: &self.ends[..self.ended],
            fields: self.drain.as_ref().map_or(self.ended, |drain| drain.fields),
            first_line: self.first_line,
            last_line: self.last_line,
            flaw: self.flaw(),
        }
    }

    pub(super) fn restart(&mut self, line: u64) {
        (self.written, self.ended, self.taken) = (0, 0, 0);
        (self.first_line, self.last_line) = (line, line);
        self.has_nul = false;
        self.drain = None;
    }

    /// Grows a full buffer up to its limit, and beyond that gives up keeping the record.
    pub(super) fn make_room(&mut self, result: &ReadRecordResult) {
        if *result == ReadRecordResult::Record {
            return;
        }
        let open_field = self.written - self.kept_end();
        if self.taken > ROW_LIMIT_BYTES {
            self.give_up(Some(Flaw::RowTooLong));
        } else if open_field > FIELD_LIMIT_BYTES {
            self.give_up(Some(Flaw::FieldTooLong));
        } else if self.written == self.output.len() {
            // One byte more than is kept, so that a row of just the limit can show that it ends there.
            self.output
                .resize((self.output.len() * 2).min(ROW_LIMIT_BYTES + 1), 0);
        } else if self.ended == ROW_LIMIT_FIELDS {
            // So many fields are ragged against any first row that was accepted, unless the row is too long
            // besides.
            self.give_up(None);
        } else if self.ended == self.ends.len() {
            self.ends.resize(self.ends.len() * 2, 0);
        }
    }

    fn give_up(&mut self, flaw: Option<Flaw>) {
        self.drain = Some(Drain {
            flaw,
            fields: self.ended,
            field_line: self.open_field_line(),
        });
    }

    fn kept_end(&self) -> usize {
        self.ended.checked_sub(1).map_or(0, |last| self.ends[last])
    }

    /// The line on which the field after the kept ones begins. Line ends inside quotes are kept as they are
    /// written, so that the kept cells tell it.
    pub(super) fn open_field_line(&self) -> u64 {
        self.first_line + count_line_ends(&self.output[..self.kept_end()], &mut false)
    }

    fn flaw(&self) -> Option<Flaw> {
        if self.taken > ROW_LIMIT_BYTES {
            return Some(Flaw::RowTooLong);
        }
        if let Some(flaw) = self.drain.as_ref().and_then(|drain| drain.flaw) {
            return Some(flaw);
        }
        let mut start = 0;
        for &end in self.ends[..self.ended]
            .iter()
            .take_while(|_| self.written > FIELD_LIMIT_BYTES)
        {
            if end - start > FIELD_LIMIT_BYTES {
                return Some(Flaw::FieldTooLong);
            }
            start = end;
        }
        self.has_nul.then_some(Flaw::NulByte)
    }
}

//! A row as the caller gets it: an email, or a reject with its reason, and the line it stands on.
//!
//! This file judges one record at a time and keeps nothing of it but reused buffers.

use std::fmt;
use std::str::FromStr;

use encoding_rs::WINDOWS_1252;

use super::record::{Flaw, Record};
use crate::model::email::Email;
use crate::model::text;

/// How much of a rejected cell or row is shown.
pub const EXCERPT_LIMIT_CHARACTERS: usize = 200;

/// One row of a list, borrowed until the next is read.
#[derive(Debug)]
pub struct Row<'a> {
    /// The line on which the row begins, counted from 1 in the decompressed file. A line ends with LF, CRLF
    /// or CR.
    pub line: u64,
    /// What the row holds.
    pub content: RowContent<'a>,
}

/// What a row holds.
pub enum RowContent<'a> {
    /// A valid email.
    Email {
        /// The email, trimmed and case-folded. It is overwritten by the next row.
        email: &'a Email,
        /// The cell as the list has it, untrimmed, without quotes.
        written: &'a str,
    },
    /// A row without one.
    Reject {
        /// The class of fault.
        reason: RejectReason,
        /// The fault in a few words for people, without an email in it.
        detail: String,
        /// Up to 200 characters of the offending cell or row, with control and invisible characters escaped.
        excerpt: String,
    },
}

/// Leaves out what may be personal: the text of the cell.
impl fmt::Debug for RowContent<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowContent::Email { email, .. } => formatter.debug_tuple("Email").field(email).finish(),
            RowContent::Reject { reason, detail, .. } => formatter
                .debug_tuple("Reject")
                .field(reason)
                .field(detail)
                .finish(),
        }
    }
}

/// Why a row was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// The cell holds something, and it is no email.
    InvalidEmail,
    /// The cell holds nothing.
    Empty,
    /// The row has more or fewer fields than the first one.
    Ragged,
    /// A field or the row is beyond its limit.
    TooLong,
    /// The row holds a NUL byte, so that it is damaged.
    NulByte,
}

impl RejectReason {
    /// Every reason there is.
    pub const ALL: [RejectReason; 5] = [
        RejectReason::InvalidEmail,
        RejectReason::Empty,
        RejectReason::Ragged,
        RejectReason::TooLong,
        RejectReason::NulByte,
    ];

    /// The reason's name in ledgers and exports.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::InvalidEmail => "invalid_email",
            RejectReason::Empty => "empty",
            RejectReason::Ragged => "ragged",
            RejectReason::TooLong => "too_long",
            RejectReason::NulByte => "nul_byte",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for RejectReason {
    type Err = UnknownReason;

    fn from_str(name: &str) -> Result<Self, UnknownReason> {
        RejectReason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == name)
            .ok_or(UnknownReason)
    }
}

/// The text names no reason for rejecting a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown reason for a rejected row")]
pub struct UnknownReason;

/// Turns records into rows, with buffers that are used again for every one.
pub(super) struct Judge {
    column: usize,
    fields: usize,
    delimiter: u8,
    email: Email,
    decoded: String,
    windows_1252_cells: u64,
}

impl Judge {
    /// A judge of rows with so many fields, whose emails are in the column with this index.
    pub(super) fn new(column: usize, fields: usize, delimiter: u8) -> Judge {
        let email =
            Email::parse("nobody@example.com").expect("BUG: the buffer's first value is a valid email");
        Judge {
            column,
            fields,
            delimiter,
            email,
            decoded: String::new(),
            windows_1252_cells: 0,
        }
    }

    /// How many email cells were not UTF-8 and were taken for Windows-1252.
    pub(super) fn windows_1252_cells(&self) -> u64 {
        self.windows_1252_cells
    }

    /// Judges one record. A damaged row counts as damaged, whatever else is wrong with it.
    pub(super) fn judge<'a>(&'a mut self, record: Record<'a>) -> Row<'a> {
        let line = record.first_line;
        let reject = |reason, detail, excerpt| Row {
            line,
            content: RowContent::Reject {
                reason,
                detail,
                excerpt,
            },
        };
        if let Some(flaw) = record.flaw {
            let reason = match flaw {
                Flaw::FieldTooLong | Flaw::RowTooLong => RejectReason::TooLong,
                Flaw::NulByte => RejectReason::NulByte,
            };
            return reject(reason, flaw.detail(), row_excerpt(record, self.delimiter));
        }
        let cell = match record.cell(self.column) {
            Some(cell) if record.fields == self.fields => cell,
            _ => {
                return reject(
                    RejectReason::Ragged,
                    self.ragged(record),
                    row_excerpt(record, self.delimiter),
                );
            }
        };
        let written = match std::str::from_utf8(cell) {
            Ok(text) => text,
            Err(_) => {
                self.windows_1252_cells += 1;
                self.decoded.clear();
                self.decoded
                    .push_str(&WINDOWS_1252.decode_without_bom_handling(cell).0);
                self.decoded.as_str()
            }
        };
        match self.email.replace(written) {
            Ok(()) => Row {
                line,
                content: RowContent::Email {
                    email: &self.email,
                    written,
                },
            },
            Err(_) if written.trim().is_empty() => {
                let detail = "the email cell is empty".to_string();
                reject(RejectReason::Empty, detail, row_excerpt(record, self.delimiter))
            }
            Err(error) => {
                let excerpt = printable(written, EXCERPT_LIMIT_CHARACTERS);
                reject(RejectReason::InvalidEmail, error.to_string(), excerpt)
            }
        }
    }

    fn ragged(&self, record: Record<'_>) -> String {
        let plural = if record.fields == 1 { "" } else { "s" };
        let counts = format!("{} field{plural}, expected {}", record.fields, self.fields);
        if record.last_line == record.first_line {
            return counts;
        }
        format!(
            "{counts}; spans lines {}-{}, look for a stray quote",
            record.first_line, record.last_line
        )
    }
}

/// Reads a cell as UTF-8, or as Windows-1252 where it is not.
pub(super) fn decode(cell: &[u8]) -> String {
    match std::str::from_utf8(cell) {
        Ok(text) => text.to_string(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(cell).0.into_owned(),
    }
}

/// Makes foreign text safe for a terminal and a report: what steers or hides is escaped, what is long is cut.
pub(super) fn printable(text: &str, limit_characters: usize) -> String {
    match text.char_indices().nth(limit_characters) {
        Some((end, _)) => format!("{}…", text::printable(&text[..end])),
        None => text::printable(text).into_owned(),
    }
}

fn row_excerpt(record: Record<'_>, delimiter: u8) -> String {
    // No character takes more than four bytes, so what is beyond cannot be shown, and need not be copied.
    let limit_bytes = EXCERPT_LIMIT_CHARACTERS * 4 + 1;
    let mut row = Vec::new();
    let mut kept = 0;
    for cell in record.cells() {
        if kept > 0 {
            row.push(delimiter);
        }
        row.extend_from_slice(&cell[..cell.len().min(limit_bytes)]);
        kept += cell.len();
        if row.len() >= limit_bytes {
            break;
        }
    }
    // What is left belongs to a field that was too long to keep whole.
    let rest = record.bytes.get(kept..).unwrap_or_default();
    row.extend_from_slice(&rest[..rest.len().min(limit_bytes)]);
    // The cut may have parted a character.
    while row.len() >= limit_bytes && row.last().is_some_and(|byte| !byte.is_ascii()) {
        row.pop();
    }
    printable(&decode(&row), EXCERPT_LIMIT_CHARACTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_found_by_their_names() {
        for reason in RejectReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert_eq!("other".parse::<RejectReason>(), Err(UnknownReason));
    }

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[31m\r\n\u{202e}b", 50),
            "a\\u{1b}[31m\\r\\n\\u{202e}b"
        );
        assert_eq!(printable("abcdef", 3), "abc…");
    }
}

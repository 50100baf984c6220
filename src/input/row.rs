//! A row as the caller gets it: an email, or a reject with its reason, and the line it stands on.
//!
//! A row may lack cells at its end, or have empty ones too many: spreadsheets write both, and neither says anything about
//! the email. A row that holds the addresses of several people is rejected, since half of it would be lost.

use std::fmt;
use std::str::FromStr;

use encoding_rs::WINDOWS_1252;

use super::cells;
use super::record::{Flaw, Record};
use crate::model::email::{Email, InvalidEmail};
use crate::model::guard::unguarded;
use crate::model::text;

/// How much of a rejected cell or row is shown.
pub const EXCERPT_LIMIT_CHARACTERS: usize = 200;

/// What spreadsheets show where a formula has no result.
const FORMULA_ERRORS: [&str; 10] = [
    "#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!", "#CALC!", "#DATA!",
];

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
        /// The cell as the list has it, untrimmed, without quotes, and without the apostrophe by which an export keeps
        /// spreadsheets from running it as a formula.
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
    /// The cell or the row holds the addresses of several people.
    SeveralEmails,
    /// The row ends before the email's cell, or has more cells with something in them than the first one.
    Ragged,
    /// The row begins with, or lies within, quotes that contradict the rows around it.
    StrayQuote,
    /// A field or the row is beyond its limit.
    TooLong,
    /// The row holds a NUL byte, so that it is damaged.
    NulByte,
    /// The row is no JSON although its list is, or has a key twice.
    InvalidJson,
}

impl RejectReason {
    /// Every reason there is.
    pub const ALL: [RejectReason; 8] = [
        RejectReason::InvalidEmail,
        RejectReason::Empty,
        RejectReason::SeveralEmails,
        RejectReason::Ragged,
        RejectReason::StrayQuote,
        RejectReason::TooLong,
        RejectReason::NulByte,
        RejectReason::InvalidJson,
    ];

    /// The reason's name in ledgers and exports.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectReason::InvalidEmail => "invalid_email",
            RejectReason::Empty => "empty",
            RejectReason::SeveralEmails => "several_emails",
            RejectReason::Ragged => "ragged",
            RejectReason::StrayQuote => "stray_quote",
            RejectReason::TooLong => "too_long",
            RejectReason::NulByte => "nul_byte",
            RejectReason::InvalidJson => "invalid_json",
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
    /// Whether cells cannot slip into another column: a missing one is empty, and one too many says nothing.
    is_grid: bool,
    /// Whether an address beside the email's cell makes the row one of several people: nothing says what it is else.
    is_alone: bool,
    email: Email,
    decoded: String,
    windows_1252_cells: u64,
    /// For each column, who stands in it beside the rows' own emails.
    rivals: Vec<Rival>,
}

/// The emails in a column that is not the one that is read.
#[derive(Clone, Default)]
pub(super) struct Rival {
    /// How many rows hold another email in it than their own.
    pub(super) rows: u64,
    /// The first of those.
    pub(super) example: Option<Email>,
}

impl Judge {
    /// A judge of rows with so many fields, whose emails are in the column with this index.
    pub(super) fn new(column: usize, fields: usize, delimiter: Option<u8>, is_alone: bool) -> Judge {
        let email =
            Email::parse("nobody@example.com").expect("BUG: the buffer's first value is a valid email");
        Judge {
            column,
            fields,
            delimiter: delimiter.unwrap_or(b','),
            is_grid: delimiter.is_none(),
            is_alone,
            email,
            decoded: String::new(),
            windows_1252_cells: 0,
            rivals: Vec::new(),
        }
    }

    /// How many email cells were not UTF-8 and were taken for Windows-1252.
    pub(super) fn windows_1252_cells(&self) -> u64 {
        self.windows_1252_cells
    }

    /// The emails in each column that are not the rows' own; columns at the end may be missing.
    pub(super) fn rivals(&self) -> &[Rival] {
        &self.rivals
    }

    /// Whether a record of several lines has swallowed rows: some line by itself would be a row with an email that is
    /// not the record's own.
    pub(super) fn swallows(&mut self, record: Record<'_>) -> bool {
        let own = record
            .cell(self.column)
            .filter(|_| record.flaw.is_none() && self.fits(record))
            .and_then(|cell| Email::in_cell(&decode(cell)).ok());
        record.lines().any(|line| {
            let mut cells = cells::naive(line, self.delimiter);
            let Some(email) = cells
                .nth(self.column)
                .and_then(|cell| Email::in_cell(&decode(cell)).ok())
            else {
                return false;
            };
            let beyond = cells.skip((self.fields - 1).saturating_sub(self.column));
            own.as_ref() != Some(&email) && beyond.into_iter().all(<[u8]>::is_empty)
        })
    }

    /// Judges one record. A damaged row counts as damaged, whatever else is wrong with it.
    pub(super) fn judge<'a>(&'a mut self, record: Record<'a>) -> Row<'a> {
        let line = record.first_line;
        if let Some(flaw) = record.flaw {
            let reason = match flaw {
                Flaw::FieldTooLong | Flaw::RowTooLong => RejectReason::TooLong,
                Flaw::NulByte => RejectReason::NulByte,
                Flaw::StrayQuote(_) => RejectReason::StrayQuote,
                Flaw::NoJson(_) | Flaw::RepeatedKey => RejectReason::InvalidJson,
            };
            return reject(line, reason, flaw.detail(line), excerpt(record.raw));
        }
        let cell = match record.cell(self.column) {
            Some(cell) if self.fits(record) => cell,
            None if self.is_grid => b"",
            _ => {
                return reject(
                    line,
                    RejectReason::Ragged,
                    self.ragged(record),
                    excerpt(record.raw),
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
        let written = unguarded(written);
        match self.email.replace_by_cell(written) {
            Ok(()) => {}
            Err(_) if written.trim().is_empty() => {
                note_others(record, self.column, None, &mut self.rivals);
                let detail = "the email cell is empty".to_string();
                return reject(line, RejectReason::Empty, detail, excerpt(record.raw));
            }
            Err(error) => {
                note_others(record, self.column, None, &mut self.rivals);
                return no_email(line, written, &error);
            }
        }
        let is_of_several = record.fields > 1
            && memchr::memchr_iter(b'@', record.raw).nth(1).is_some()
            && note_others(record, self.column, Some(&self.email), &mut self.rivals)
            && is_of_several(record, self.column, &self.email, self.is_alone);
        if is_of_several {
            let detail = "another cell of the row holds an address, too".to_string();
            return reject(line, RejectReason::SeveralEmails, detail, excerpt(record.raw));
        }
        Row {
            line,
            content: RowContent::Email {
                email: &self.email,
                written,
            },
        }
    }

    /// Whether a record has the email's cell, and nothing but empty cells beyond the first row's.
    fn fits(&self, record: Record<'_>) -> bool {
        if record.fields == self.fields || self.is_grid {
            return true;
        }
        let is_blank = |cell: &[u8]| cell.iter().all(u8::is_ascii_whitespace);
        record.fields < self.fields
            || (record.cells().count() == record.fields && record.cells().skip(self.fields).all(is_blank))
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

fn reject<'a>(line: u64, reason: RejectReason, detail: String, excerpt: String) -> Row<'a> {
    Row {
        line,
        content: RowContent::Reject {
            reason,
            detail,
            excerpt,
        },
    }
}

/// A row whose email cell holds something else.
fn no_email<'a>(line: u64, written: &str, error: &InvalidEmail) -> Row<'a> {
    let (reason, detail) = match addresses(written) {
        0 if FORMULA_ERRORS.contains(&written.trim()) => {
            (RejectReason::InvalidEmail, "the error of a formula".to_owned())
        }
        0 | 1 => (RejectReason::InvalidEmail, error.to_string()),
        several => (
            RejectReason::SeveralEmails,
            format!("the email cell holds {several} addresses"),
        ),
    };
    reject(line, reason, detail, printable(written, EXCERPT_LIMIT_CHARACTERS))
}

/// Notes the emails in other cells that are not the row's own, and says whether another cell holds an `@` at all.
fn note_others(record: Record<'_>, column: usize, own: Option<&Email>, rivals: &mut Vec<Rival>) -> bool {
    let mut is_any = false;
    let others = record
        .cells()
        .enumerate()
        .filter(|(index, cell)| *index != column && cell.contains(&b'@'));
    for (index, cell) in others {
        is_any = true;
        let other = Email::in_cell(unguarded(&decode(cell))).ok();
        let Some(other) = other.filter(|other| Some(other) != own) else {
            continue;
        };
        if rivals.len() <= index {
            rivals.resize(index + 1, Rival::default());
        }
        let rival = &mut rivals[index];
        rival.rows += 1;
        rival.example.get_or_insert(other);
    }
    is_any
}

/// Whether a row is a list of addresses: one of its other cells holds one, where nothing says what else it could be.
fn is_of_several(record: Record<'_>, column: usize, own: &Email, is_alone: bool) -> bool {
    let others = record.cells().enumerate().filter(|(index, _)| *index != column);
    others.map(|(_, cell)| decode(cell)).any(|cell| {
        let is_own = Email::in_cell(unguarded(&cell)).is_ok_and(|email| email == *own);
        !is_own && addresses(&cell) > 0 && (is_alone || begins_like_mail(&cell))
    })
}

/// How many addresses a text holds: words with an `@` amid of them.
fn addresses(text: &str) -> usize {
    let separates = |character: char| character.is_whitespace() || ",;<>|/\"()[]".contains(character);
    let is_address = |word: &&str| {
        word.split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.'))
    };
    text.split(separates).filter(is_address).count()
}

/// Whether a cell is the line of a mail that says to whom it goes or from whom it is.
fn begins_like_mail(cell: &str) -> bool {
    let Some((word, _)) = cell.split_once(':') else {
        return false;
    };
    [
        "to", "cc", "bcc", "from", "an", "von", "à", "de", "para", "a", "da",
    ]
    .contains(&word.trim().to_lowercase().as_str())
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

/// The beginning of a text as it is written, made safe to show.
pub(super) fn excerpt(raw: &[u8]) -> String {
    // No character takes more than four bytes, so what is beyond cannot be shown, and need not be copied.
    let limit_bytes = EXCERPT_LIMIT_CHARACTERS * 4 + 1;
    let mut shown = &raw[..raw.len().min(limit_bytes)];
    // The cut may have parted a character.
    while shown.len() >= limit_bytes
        && let Some((last, rest)) = shown.split_last()
        && !last.is_ascii()
    {
        shown = rest;
    }
    printable(&decode(shown), EXCERPT_LIMIT_CHARACTERS)
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

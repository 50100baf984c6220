//! What the first bytes of a list give away: its encoding, or that it is no text.
//!
//! This file looks and judges; it reads nothing and changes nothing.

use super::error::ListError;

/// How many of the first bytes are looked at.
const HEAD_BYTES: usize = 8 * 1024;
/// How many control bytes make a file suspicious at all, so that a short list with a damaged row stays a
/// list.
const CONTROL_BYTES_ALLOWED: usize = 32;

/// How the characters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8, with or without a mark. Cells that break it are taken for Windows-1252 one by one.
    Utf8,
    Utf16Le,
    Utf16Be,
}

impl Encoding {
    /// The word for people, where there is something to say.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Encoding::Utf8 => None,
            Encoding::Utf16Le | Encoding::Utf16Be => Some("UTF-16"),
        }
    }
}

const WORKBOOK: (&str, &str) = (
    "this is a workbook or zip archive",
    "save it as CSV (UTF-8) in your spreadsheet program, or unpack the archive, and load that",
);
const PICTURE: (&str, &str) = ("this is a picture", "check the path, this file is no list");
const PROGRAM: (&str, &str) = ("this is a program", "check the path, this file is no list");
const TWICE: (&str, &str) = (
    "this is compressed twice",
    "decompress it once and load the result",
);
const ARCHIVE: (&str, &str) = ("this is an archive", "unpack it and load the text file inside");

/// Formats that people hand over for lists: where their mark stands, the mark, what they are, what to do.
const FORMATS: &[(usize, &[u8], (&str, &str))] = &[
    (0, b"PK\x03\x04", WORKBOOK),
    (0, b"PK\x05\x06", WORKBOOK),
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        (
            "this is an old Office document",
            "save it as CSV (UTF-8) and load that",
        ),
    ),
    (
        0,
        b"%PDF-",
        ("this is a PDF", "ask for the list as CSV, a PDF holds no rows"),
    ),
    (
        0,
        b"SQLite format 3\0",
        (
            "this is an SQLite database",
            "export the emails as CSV; a ledger is named with --ledger",
        ),
    ),
    (
        0,
        b"{\\rtf",
        (
            "this is a rich text document",
            "save it as plain text and load that",
        ),
    ),
    (0, b"\x89PNG", PICTURE),
    (0, b"GIF8", PICTURE),
    (0, b"\xff\xd8\xff", PICTURE),
    (0, b"\x7fELF", PROGRAM),
    (
        0,
        b"PAR1",
        ("this is a Parquet file", "export the emails as CSV and load that"),
    ),
    (0, b"\x1f\x8b", TWICE),
    (0, b"\x28\xb5\x2f\xfd", TWICE),
    (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (0, b"\xfd7zXZ\0", ARCHIVE),
    (0, b"Rar!\x1a\x07", ARCHIVE),
    (257, b"ustar", ARCHIVE),
];

/// Judges a head: the encoding and how many bytes its mark takes, or why this is no text that we read.
pub(super) fn inspect(list: &str, head: &[u8]) -> Result<(Encoding, usize), ListError> {
    let head = &head[..head.len().min(HEAD_BYTES)];
    let list = || list.to_string();
    if head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff") {
        return Err(ListError::Encoding {
            list: list(),
            found: "UTF-32",
        });
    }
    for &(offset, mark, (found, remedy)) in FORMATS {
        if head.get(offset..).is_some_and(|rest| rest.starts_with(mark)) {
            return Err(ListError::Binary {
                list: list(),
                found,
                remedy,
            });
        }
    }
    if head.starts_with(b"\xef\xbb\xbf") {
        return Ok((Encoding::Utf8, 3));
    }
    if head.starts_with(b"\xff\xfe") {
        return Ok((Encoding::Utf16Le, 2));
    }
    if head.starts_with(b"\xfe\xff") {
        return Ok((Encoding::Utf16Be, 2));
    }
    if is_unmarked_utf16(head) {
        return Err(ListError::Encoding {
            list: list(),
            found: "UTF-16 without a byte order mark",
        });
    }
    if is_binary(head) {
        return Err(ListError::Binary {
            list: list(),
            found: "this is a binary file",
            remedy: "save or export the list as CSV in UTF-8, and load that",
        });
    }
    Ok((Encoding::Utf8, 0))
}

/// Recognises UTF-16 by its zero halves: nearly every second byte, and nearly none of the others.
fn is_unmarked_utf16(head: &[u8]) -> bool {
    let pairs = head.len() / 2;
    let zeros = |offset: usize| {
        head.iter()
            .skip(offset)
            .step_by(2)
            .filter(|&&byte| byte == 0)
            .count()
    };
    let (even, odd) = (zeros(0), zeros(1));
    pairs >= 4 && even.max(odd) * 2 > pairs && even.min(odd) * 10 < pairs
}

fn is_binary(head: &[u8]) -> bool {
    let control = head
        .iter()
        .filter(|&&byte| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | b'\x0c'))
        .count();
    control > CONTROL_BYTES_ALLOWED && control * 10 > head.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_name_the_encoding() {
        assert_eq!(inspect("l", b"\xef\xbb\xbfemail").unwrap(), (Encoding::Utf8, 3));
        assert_eq!(inspect("l", b"\xff\xfee\0").unwrap(), (Encoding::Utf16Le, 2));
        assert_eq!(inspect("l", b"\xfe\xff\0e").unwrap(), (Encoding::Utf16Be, 2));
        assert_eq!(inspect("l", b"").unwrap(), (Encoding::Utf8, 0));
    }

    #[test]
    fn what_is_no_text_is_named_with_its_remedy() {
        let error = inspect("l.xlsx", b"PK\x03\x04rest").unwrap_err();
        assert_eq!(
            error.to_string(),
            "l.xlsx: this is a workbook or zip archive, expected text"
        );
        assert!(error.hint().contains("CSV"));
        assert!(matches!(
            inspect("l", b"SQLite format 3\0x"),
            Err(ListError::Binary { .. })
        ));
        assert!(matches!(inspect("l", &[1; 4000]), Err(ListError::Binary { .. })));
    }

    #[test]
    fn utf16_without_a_mark_is_refused_and_a_damaged_row_is_not() {
        for big in [false, true] {
            let bytes: Vec<u8> = "email\nann@example.com\n"
                .encode_utf16()
                .flat_map(|unit| {
                    if big {
                        unit.to_be_bytes()
                    } else {
                        unit.to_le_bytes()
                    }
                })
                .collect();
            assert!(matches!(inspect("l", &bytes), Err(ListError::Encoding { .. })));
        }
        assert!(inspect("l", b"email\na\0nn@example.com\n\0\0\0\n").is_ok());
    }
}

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

/// Where workbooks are read, none comes here.
const SAVE_AS_CSV: &str = "this rollbook was built without its feature `sheets`: build it with that, or save as CSV \
     (UTF-8) in your spreadsheet program";
const EXCEL: (&str, &str) = ("this is an Excel workbook (.xlsx)", SAVE_AS_CSV);
const OPEN_DOCUMENT: (&str, &str) = ("this is an OpenDocument file, such as .ods", SAVE_AS_CSV);
const NUMBERS: (&str, &str) = (
    "this is an Apple Numbers document",
    "export it as CSV, and load that",
);
const WORD: (&str, &str) = (
    "this is a Word document (.docx)",
    "save the list as plain text, and load that",
);
const ZIP: (&str, &str) = ("this is a zip archive", "unpack it and load the text file inside");
const OLE: (&str, &str) = (
    "this is an old Office document, such as .xls, or an Outlook message",
    "save it as CSV (UTF-8) and load that",
);
const PDF: (&str, &str) = ("this is a PDF", "ask for the list as CSV, a PDF holds no rows");
const SQLITE: (&str, &str) = (
    "this is an SQLite database",
    "export the emails as CSV; a ledger is named with --ledger",
);
const PICTURE: (&str, &str) = ("this is a picture", "check the path, this file is no list");
const PROGRAM: (&str, &str) = ("this is a program", "check the path, this file is no list");
const TWICE: (&str, &str) = (
    "this is compressed twice",
    "decompress it once and load the result",
);
const BZIP2: (&str, &str) = (
    "this is compressed with bzip2",
    "decompress it: bunzip2 FILE, or bzcat FILE | rollbook load -",
);
const XZ: (&str, &str) = (
    "this is compressed with xz",
    "decompress it: unxz FILE, or xzcat FILE | rollbook load -",
);
const LZ4: (&str, &str) = (
    "this is compressed with lz4",
    "decompress it: unlz4 FILE, and load the result",
);
const LZIP: (&str, &str) = (
    "this is compressed with lzip",
    "decompress it: lzip -d FILE, and load the result",
);
const COMPRESS: (&str, &str) = (
    "this is compressed with compress (.Z)",
    "decompress it: uncompress FILE, and load the result",
);
const SEVEN_ZIP: (&str, &str) = (
    "this is a 7-Zip archive",
    "unpack it and load the text file inside",
);
const RAR: (&str, &str) = ("this is a RAR archive", "unpack it and load the text file inside");
const TAR: (&str, &str) = ("this is a tar archive", "unpack it and load the text file inside");
const ARCHIVE: (&str, &str) = ("this is an archive", "unpack it and load the text file inside");
const PARQUET: (&str, &str) = ("this is a Parquet file", "export the emails as CSV and load that");
const TABLE: (&str, &str) = (
    "this is a table in a format for analysis (Arrow, Feather, Avro, ORC or HDF5)",
    "export the emails as CSV and load that",
);
const OUTLOOK: (&str, &str) = (
    "this is an Outlook data file (.pst)",
    "export the contacts as CSV, and load that",
);
const TNEF: (&str, &str) = (
    "this is a winmail.dat of Outlook (TNEF)",
    "ask for the list as a plain attachment",
);
const ACCESS: (&str, &str) = (
    "this is an Access database",
    "export the emails as CSV and load that",
);
const PROPERTIES: (&str, &str) = (
    "this is a binary property list",
    "export the list as CSV, and load that",
);
const DUCKDB: (&str, &str) = (
    "this is a DuckDB database",
    "export the emails as CSV and load that",
);

/// Formats that people hand over for lists: where their mark stands, the mark, what they are and what to do.
const FORMATS: &[(usize, &[u8], (&str, &str))] = &[
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (0, b"%PDF-", PDF),
    (0, b"SQLite format 3\0", SQLITE),
    (8, b"DUCK", DUCKDB),
    (0, b"\x89PNG", PICTURE),
    (0, b"GIF8", PICTURE),
    (0, b"\xff\xd8\xff", PICTURE),
    (0, b"II*\0", PICTURE),
    (0, b"MM\0*", PICTURE),
    (8, b"WEBP", PICTURE),
    (0, b"\x7fELF", PROGRAM),
    (0, b"MZ\x90\0", PROGRAM),
    (0, b"\xca\xfe\xba\xbe", PROGRAM),
    (0, b"PAR1", PARQUET),
    (0, b"ARROW1", TABLE),
    (0, b"FEA1", TABLE),
    (0, b"Obj\x01", TABLE),
    (0, b"\x89HDF", TABLE),
    (0, b"\x1f\x8b", TWICE),
    (0, b"\x28\xb5\x2f\xfd", TWICE),
    (0, b"BZh1", BZIP2),
    (0, b"BZh2", BZIP2),
    (0, b"BZh3", BZIP2),
    (0, b"BZh4", BZIP2),
    (0, b"BZh5", BZIP2),
    (0, b"BZh6", BZIP2),
    (0, b"BZh7", BZIP2),
    (0, b"BZh8", BZIP2),
    (0, b"BZh9", BZIP2),
    (0, b"\xfd7zXZ\0", XZ),
    (0, b"\x5d\0\0\x80\0", XZ),
    (0, b"\x5d\0\0\0\x04", XZ),
    (0, b"\x04\x22\x4d\x18", LZ4),
    (0, b"LZIP\x01", LZIP),
    (0, b"\x1f\x9d", COMPRESS),
    (0, b"7z\xbc\xaf\x27\x1c", SEVEN_ZIP),
    (0, b"Rar!\x1a\x07", RAR),
    (257, b"ustar", TAR),
    (0, b"!<arch>\n", ARCHIVE),
    (0, b"070701", ARCHIVE),
    (0, b"MSCF\0", ARCHIVE),
    (0, b"!BDN", OUTLOOK),
    (0, b"\x78\x9f\x3e\x22", TNEF),
    (4, b"Standard Jet DB", ACCESS),
    (4, b"Standard ACE DB", ACCESS),
    (0, b"bplist0", PROPERTIES),
];

/// What a zip archive is by the names of the files in it, which stand in it as they are.
const ZIPPED: &[(&[u8], (&str, &str))] = &[
    (b"vnd.oasis.opendocument", OPEN_DOCUMENT),
    (b"Index/Document.iwa", NUMBERS),
    (b"Index.zip", NUMBERS),
    (b"xl/", EXCEL),
    (b"word/", WORD),
    // Excel puts this first, and the rest may be further down than is looked at.
    (b"[Content_Types].xml", EXCEL),
];

/// What a zip archive holds.
fn zipped(head: &[u8]) -> Option<(&'static str, &'static str)> {
    if ![&b"PK\x03\x04"[..], b"PK\x05\x06", b"PK\x07\x08"]
        .iter()
        .any(|mark| head.starts_with(mark))
    {
        return None;
    }
    let holds = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    Some(
        ZIPPED
            .iter()
            .find(|(name, _)| holds(name))
            .map_or(ZIP, |(_, what)| *what),
    )
}

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
    let marked = |(offset, mark, _): &&(usize, &[u8], _)| {
        head.get(*offset..).is_some_and(|rest| rest.starts_with(mark))
    };
    let known = FORMATS.iter().find(marked).map(|(_, _, what)| *what);
    if let Some((found, remedy)) = known.or_else(|| zipped(head)) {
        return Err(ListError::Binary {
            list: list(),
            found,
            remedy,
        });
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
        let error = inspect("l.xlsx", b"PK\x03\x04\x14\0[Content_Types].xml").unwrap_err();
        assert_eq!(
            error.to_string(),
            "l.xlsx: this is an Excel workbook (.xlsx), expected text"
        );
        assert!(error.hint().contains("built without its feature `sheets`"));
        for (head, words) in [
            (
                &b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet"[..],
                "OpenDocument",
            ),
            (b"PK\x03\x04\x14list.csv", "zip archive"),
            (b"BZh91AY&SY", "bzip2"),
            (b"7z\xbc\xaf\x27\x1c\0\x04", "7-Zip"),
            (b"\xfd7zXZ\0\0", "xz"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".xls"),
        ] {
            let error = inspect("l", head).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
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

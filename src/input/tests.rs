//! The promise of this module as a whole: every row that a list holds comes out once, at its line, as what it
//! is.
//!
//! Lists are built from rows whose meaning is known, in every dress that a list may wear, and read back.

use std::io::Write;

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::stream::Stream;
use super::*;

mod grid;
mod json;
#[cfg(feature = "sheets")]
mod sheets;
mod whole;
mod wild;
#[cfg(feature = "sheets")]
#[path = "../../tests/support/workbooks.rs"]
mod workbooks;

fn open(bytes: &[u8]) -> Result<List, ListError> {
    open_at(bytes, &ColumnChoice::Auto)
}

fn open_at(bytes: &[u8], choice: &ColumnChoice) -> Result<List, ListError> {
    open_as(bytes, &choice.clone().into())
}

fn open_as(bytes: &[u8], reading: &Reading) -> Result<List, ListError> {
    List::over("list.csv".to_string(), Stream::of(bytes), reading)
}

/// A row in short: its line, and its email or the reason.
fn rows(bytes: &[u8]) -> Result<Vec<(u64, String)>, ListError> {
    rows_of(open(bytes)?)
}

fn rows_of(mut list: List) -> Result<Vec<(u64, String)>, ListError> {
    let mut rows = Vec::new();
    while let Some(row) = list.next_row()? {
        rows.push((row.line, short(&row.content)));
    }
    Ok(rows)
}

fn short(content: &RowContent<'_>) -> String {
    match content {
        RowContent::Email { email, .. } => email.as_str().to_string(),
        RowContent::Reject { reason, .. } => reason.to_string(),
    }
}

#[test]
fn a_list_is_read_with_its_layout() {
    let mut list = open(b"\xef\xbb\xbfName;E-Mail\r\n\"Lee; Ann\"; Ann@Example.com \r\n").unwrap();
    let expected = Layout {
        format: "CSV, semicolons".into(),
        has_header: true,
        column: 2,
        column_name: Some("E-Mail".into()),
        columns: 2,
        delimiter: Some(';'),
        part: String::new(),
    };
    assert_eq!(*list.layout(), expected);
    match list.next_row().unwrap().unwrap() {
        Row {
            line: 2,
            content: RowContent::Email { email, written },
        } => {
            assert_eq!(
                (email.as_str(), written),
                ("ann@example.com", " Ann@Example.com ")
            );
        }
        other => panic!("unexpected {other:?}"),
    }
    assert!(list.next_row().unwrap().is_none());
    assert_eq!(list.rows(), 1);
}

/// What a row of a made-up list is meant to be.
#[derive(Clone, Debug)]
enum Meant {
    Email {
        local: String,
        quoted: bool,
        spaced: bool,
    },
    Invalid(&'static str),
    Empty,
    Ragged {
        extra: bool,
    },
    Short,
    Long,
    Nul,
    TooLong,
    Blank,
}

fn meant() -> impl Strategy<Value = Meant> {
    let email = (
        "[a-zA-Z0-9]{1,9}(é|ü)?([.+_-][a-z0-9]{1,4})?",
        any::<bool>(),
        any::<bool>(),
    );
    prop_oneof![
        12 => email.prop_map(|(local, quoted, spaced)| Meant::Email { local, quoted, spaced }),
        2 => prop::sample::select(vec!["nobody", "ann@", "ann@example", "a b@example.com", "ann\u{200b}@example.com"])
            .prop_map(Meant::Invalid),
        1 => Just(Meant::Empty),
        2 => any::<bool>().prop_map(|extra| Meant::Ragged { extra }),
        1 => Just(Meant::Short),
        1 => Just(Meant::Long),
        1 => Just(Meant::Nul),
        1 => Just(Meant::TooLong),
        2 => Just(Meant::Blank),
    ]
}

/// How a made-up list is written.
#[derive(Clone, Debug)]
struct Dress {
    delimiter: char,
    columns: usize,
    column: usize,
    line_end: &'static str,
    encoding: &'static str,
    packing: &'static str,
    has_header: bool,
    ends_open: bool,
}

fn dress() -> impl Strategy<Value = Dress> {
    (
        prop::sample::select(vec![',', ';', '\t', '|']),
        (1usize..5).prop_flat_map(|columns| (Just(columns), 0..columns)),
        prop::sample::select(vec!["\n", "\r\n", "\r"]),
        prop::sample::select(vec![
            "utf-8",
            "utf-8 with mark",
            "windows-1252",
            "utf-16le",
            "utf-16be",
        ]),
        prop::sample::select(vec!["none", "gzip", "two gzips", "zstd"]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(delimiter, (columns, column), line_end, encoding, packing, has_header, ends_open)| Dress {
                // A single column has no delimiter to be recognised by, and gets the comma.
                delimiter: if columns == 1 { ',' } else { delimiter },
                columns,
                column,
                line_end,
                encoding,
                packing,
                has_header,
                ends_open,
            },
        )
}

/// Cells beside the email, with how many line ends each holds.
fn filler(seed: usize, dress: &Dress) -> (String, u64) {
    match seed % 7 {
        0 => (String::new(), 0),
        1 => ("\"two\nlines\"".to_string(), 1),
        2 => ("\"a\r\n\r\nb\"".to_string(), 2),
        3 => (format!("\"x{}y\"", dress.delimiter), 0),
        4 => ("\"say \"\"yes\"\"\"".to_string(), 0),
        5 => ("Zo\u{e9} the \"great\"".to_string(), 0),
        _ => ("plain".to_string(), 0),
    }
}

/// Writes one row, and says how many lines it takes and what must come of it.
fn write_row(text: &mut String, meant: &Meant, seed: usize, dress: &Dress) -> (u64, Option<String>) {
    let (cell, expected) = match meant {
        Meant::Blank => return (1, None),
        Meant::Email {
            local,
            quoted,
            spaced,
        } => {
            let pad = if *spaced { " " } else { "" };
            let quote = if *quoted { "\"" } else { "" };
            let cell = format!("{quote}{pad}{local}@Example.com{pad}{quote}");
            (cell, format!("{}@example.com", local.to_lowercase()))
        }
        Meant::Invalid(written) => (written.to_string(), "invalid_email".to_string()),
        Meant::Empty => ("\"\"".to_string(), "empty".to_string()),
        Meant::Ragged { .. } => ("ann@example.com".to_string(), "ragged".to_string()),
        Meant::Short | Meant::Long => ("short@example.com".to_string(), "short@example.com".to_string()),
        Meant::Nul => ("\"ann\0@example.com\"".to_string(), "nul_byte".to_string()),
        Meant::TooLong => (
            "y".repeat(FIELD_LIMIT_BYTES + 1 + seed % 3),
            "too_long".to_string(),
        ),
    };
    let mut cells = Vec::new();
    let mut breaks = 0;
    for index in 0..dress.columns {
        if index == dress.column {
            cells.push(cell.clone());
        } else if matches!(meant, Meant::Ragged { .. } | Meant::Short) {
            cells.push("plain".to_string());
        } else {
            let (other, inside) = filler(seed + index, dress);
            cells.push(other);
            breaks += inside;
        }
    }
    match meant {
        // It ends before the email's cell, where it can.
        Meant::Ragged { extra: false } if dress.column > 0 => cells.truncate(dress.column),
        Meant::Ragged { .. } => cells.push("more".to_string()),
        Meant::Short => cells.truncate(dress.column + 1),
        Meant::Long => cells.extend([String::new(), " ".to_string()]),
        _ => {}
    }
    text.push_str(&cells.join(&dress.delimiter.to_string()));
    (1 + breaks, Some(expected))
}

/// Writes a list, and says what must come out of it, line by line.
fn write_list(rows: &[(Meant, usize)], dress: &Dress) -> (String, Vec<(u64, String)>) {
    let mut text = String::new();
    let mut line = 1;
    if dress.has_header {
        let name = |index| {
            if index == dress.column {
                "Email".to_string()
            } else {
                format!("other {index}")
            }
        };
        let header: Vec<String> = (0..dress.columns).map(name).collect();
        text.push_str(&header.join(&dress.delimiter.to_string()));
    } else {
        let cells: Vec<&str> = (0..dress.columns)
            .map(|index| {
                if index == dress.column {
                    "first@example.com"
                } else {
                    "x"
                }
            })
            .collect();
        text.push_str(&cells.join(&dress.delimiter.to_string()));
    }
    text.push_str(dress.line_end);
    let mut expected = Vec::new();
    if !dress.has_header {
        expected.push((line, "first@example.com".to_string()));
    }
    line += 1;
    for (index, (meant, seed)) in rows.iter().enumerate() {
        // Without a header nothing says that a row has a cell too many.
        let meant = match meant {
            Meant::Ragged { .. } if !dress.has_header && dress.column > 0 => &Meant::Ragged { extra: false },
            Meant::Ragged { .. } if !dress.has_header => &Meant::Invalid("nobody"),
            meant => meant,
        };
        let (lines, outcome) = write_row(&mut text, meant, *seed, dress);
        expected.extend(outcome.map(|outcome| (line, outcome)));
        line += lines;
        if index + 1 < rows.len() || !dress.ends_open {
            text.push_str(dress.line_end);
        }
    }
    (text, expected)
}

fn encode(text: &str, encoding: &str) -> Vec<u8> {
    let units = || std::iter::once(0xfeff_u16).chain(text.encode_utf16());
    match encoding {
        "utf-8" => text.as_bytes().to_vec(),
        "utf-8 with mark" => ["\u{feff}", text].concat().into_bytes(),
        "utf-16le" => units().flat_map(u16::to_le_bytes).collect(),
        "utf-16be" => units().flat_map(u16::to_be_bytes).collect(),
        // As Windows writes it: one byte where there is one, else UTF-8, which makes the file a mixture.
        _ => text.chars().fold(Vec::new(), |mut bytes, character| {
            match u8::try_from(character) {
                Ok(byte) => bytes.push(byte),
                Err(_) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            bytes
        }),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("memory can be written")
}

fn pack(bytes: &[u8], packing: &str) -> Vec<u8> {
    match packing {
        "gzip" => gzip(bytes),
        "two gzips" => {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            [gzip(first), gzip(second)].concat()
        }
        "zstd" => zstd::encode_all(bytes, 1).expect("memory can be written"),
        _ => bytes.to_vec(),
    }
}

/// Reads whatever it is to its end, and gives the rows if it is a list.
fn exhaust(bytes: &[u8], choice: &ColumnChoice) -> Option<u64> {
    let mut list = open_at(bytes, choice).ok()?;
    let mut line = 0;
    loop {
        match list.next_row() {
            Ok(Some(row)) => {
                assert!(row.line >= line, "lines never go back");
                line = row.line;
                let _ = format!("{row:?}");
            }
            Ok(None) => break,
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.hint().is_empty());
                return None;
            }
        }
        assert!(list.rows() <= bytes.len() as u64, "more rows than bytes");
    }
    let rows = list.rows();
    list.finish().ok().map(|_| rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_row_comes_out_once_at_its_line_as_what_it_is(
        rows in prop::collection::vec((meant(), 0usize..1000), 1..40),
        dress in dress(),
    ) {
        let (text, expected) = write_list(&rows, &dress);
        let bytes = encode(&text, dress.encoding);
        let packed = pack(&bytes, dress.packing);
        let mut found = Vec::new();
        if expected.is_empty() {
            let is_empty = matches!(super::tests::rows(&packed), Err(ListError::Empty { .. }));
            prop_assert!(is_empty);
            return Ok(());
        }
        if !expected.iter().any(|row| row.1.contains('@')) {
            let is_useless = matches!(super::tests::rows(&packed), Err(ListError::NothingUsable { .. }));
            prop_assert!(is_useless);
            return Ok(());
        }
        let mut list = open(&packed).unwrap();
        prop_assert_eq!(list.layout().column, dress.column + 1);
        prop_assert_eq!(list.layout().has_header, dress.has_header);
        while let Some(row) = list.next_row().unwrap() {
            found.push((row.line, short(&row.content)));
        }
        prop_assert_eq!(list.rows(), expected.len() as u64);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(list.bytes_read(), packed.len() as u64);
        let digest = list.finish().unwrap();
        prop_assert_eq!(&digest.as_bytes()[..], &Sha256::digest(&bytes)[..]);
    }

    /// Whatever quotes are put into a list of one line a row, every line is told of.
    #[test]
    fn every_line_is_accounted_for_wherever_quotes_stray(
        notes in prop::collection::vec(
            prop::sample::select(vec!["x", "\"x\"", "\"x", "x\"", "\"", "\"\"", "\\\"x", "\"x\"y", "\"x\"\"", "", " \"x"]),
            1..30,
        ),
    ) {
        let mut text = String::from("email,note\nfirst@example.com,\n");
        for (row, note) in notes.iter().enumerate() {
            text += &format!("p{row}@example.com,{note}\n");
        }
        match rows(text.as_bytes()) {
            Err(error) => prop_assert!(matches!(error, ListError::UnclosedQuote { .. }), "{}", error),
            Ok(found) => {
                let lines: Vec<u64> = found.iter().map(|row| row.0).collect();
                prop_assert_eq!(lines, (2..=notes.len() as u64 + 2).collect::<Vec<_>>());
                for (row, what) in found {
                    let own = format!("p{}@example.com", row.wrapping_sub(3));
                    prop_assert!(row == 2 || what == own || what == "stray_quote", "{}: {}", row, what);
                }
            }
        }
    }

    #[test]
    fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..2000), number in 1usize..4) {
        exhaust(&bytes, &ColumnChoice::Auto);
        exhaust(&bytes, &ColumnChoice::Number(number));
        exhaust(&gzip(&bytes), &ColumnChoice::Number(number));
        exhaust(&[b"\xff\xfe", &bytes[..]].concat(), &ColumnChoice::Number(number));
    }

    #[test]
    fn any_punctuation_comes_to_an_end(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["\"", ",", ";", "\n", "\r", "\0", "@", "a@example.com", "email", " ", "\u{feff}"]),
            0..60,
        ),
    ) {
        let text = pieces.concat();
        exhaust(text.as_bytes(), &ColumnChoice::Auto);
        exhaust(text.as_bytes(), &ColumnChoice::Number(1));
        exhaust(format!("email\n{text}").as_bytes(), &ColumnChoice::Auto);
    }
}

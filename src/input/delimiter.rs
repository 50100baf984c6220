//! What separates the cells of a row.
//!
//! In this order: what `--delimiter` says; what the file declares by a `sep=` line; of the usual ones that the first
//! line has, the one under which the most rows have a cell that is an email; then the one under which a cell of the
//! first row names one; then the one on whose number the first lines agree. A wrong guess would make every row ragged
//! or every email invalid.

use super::names::{self, Rank};
use super::sample::Sample;

/// How many of the first lines are compared.
const SAMPLE_LINES: usize = 50;

/// The candidates, the likeliest first.
const CANDIDATES: [u8; 4] = [b',', b'\t', b';', b'|'];

/// What separates the cells, and how it became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delimiter {
    pub(super) byte: u8,
    /// The length of the `sep=;` that spreadsheets put before the first row, up to but without its line end.
    pub(super) declared_bytes: usize,
}

impl Delimiter {
    /// The format in words for people.
    pub(super) fn word(self) -> String {
        match self.byte {
            b',' => "CSV".into(),
            b'\t' => "TSV".into(),
            b';' => "CSV, semicolons".into(),
            b'|' => "CSV, pipes".into(),
            other => format!("CSV, separated by {:?}", char::from(other)),
        }
    }
}

/// Whether a byte can separate cells: it is no part of an email, a quote, or a line end.
pub(super) fn can_separate(byte: u8) -> bool {
    byte == b'\t' || (byte.is_ascii_punctuation() && !b"\"'@.-_+".contains(&byte)) || byte == b' '
}

/// Finds the delimiter of a text from its first chunk, and the rows as they are under it. A single column gets the
/// comma.
pub(super) fn sniff(text: &[u8], is_whole: bool, chosen: Option<u8>) -> (Delimiter, Sample) {
    let (declared_bytes, declared) = declared(text).unwrap_or_default();
    let rest = &text[declared_bytes..];
    let found = |byte| {
        (
            Delimiter { byte, declared_bytes },
            Sample::of(rest, is_whole, byte),
        )
    };
    if let Some(chosen) = chosen {
        return found(chosen);
    }
    let counts = sample(rest);
    let first = |byte: u8| counts.first().map_or(0, |line| line[usize::from(byte)]);
    // A declaration that was saved with other delimiters since is an old one.
    if let Some(byte) = declared
        && (first(byte) > 0 || CANDIDATES.iter().all(|candidate| first(*candidate) == 0))
    {
        return found(byte);
    }
    // What the first line lacks separates nothing, however many lines lack it too.
    let candidates = CANDIDATES.into_iter().filter(|byte| first(*byte) > 0);
    let judged = candidates.map(|byte| {
        let (delimiter, sample) = found(byte);
        let first_row = sample.rows.first().into_iter().flatten();
        let named = first_row
            .filter(|cell| !cell.contains('@'))
            .map(|cell| names::rank(cell))
            .filter(|rank| *rank != Rank::Unknown)
            .max();
        let agreeing = counts
            .iter()
            .filter(|line| line[usize::from(byte)] == first(byte))
            .count();
        let score = (sample.rows_with_emails(), named, agreeing, first(byte));
        (score, delimiter, sample)
    });
    // Earlier candidates win ties.
    let best = judged.reduce(|best, next| if next.0 > best.0 { next } else { best });
    match best {
        Some((_, delimiter, sample)) => (delimiter, sample),
        None => found(b','),
    }
}

/// The length of a `sep=` line, and what it declares.
///
/// Spreadsheets write it bare, quoted as a cell, in capitals, and, once it was opened and saved again, with the
/// delimiters of empty cells behind it.
fn declared(text: &[u8]) -> Option<(usize, Option<u8>)> {
    let end = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
    let line = text[..end].strip_prefix(b"\"").unwrap_or(&text[..end]);
    let (head, rest) = line.split_at_checked(4)?;
    if !head.eq_ignore_ascii_case(b"sep=") {
        return None;
    }
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    let (declared, behind) = match rest {
        [b'\\', b't', behind @ ..] => (Some(b'\t'), behind),
        [byte, behind @ ..] if can_separate(*byte) => (Some(*byte), behind),
        behind => (None, behind),
    };
    let is_filler = |byte: &u8| b"\"\t ,;|".contains(byte) || Some(*byte) == declared;
    behind.iter().all(is_filler).then_some((end, declared))
}

/// Counts all bytes of each of the first lines that are not blank, outside quotes.
fn sample(text: &[u8]) -> Vec<[usize; 256]> {
    let mut lines = Vec::new();
    let mut line = [0; 256];
    let (mut in_quotes, mut at_cell_start, mut is_blank) = (false, true, true);
    for &byte in text {
        if in_quotes {
            in_quotes = byte != b'"';
            continue;
        }
        match byte {
            b'\n' | b'\r' => {
                if !is_blank {
                    lines.push(std::mem::replace(&mut line, [0; 256]));
                }
                if lines.len() == SAMPLE_LINES {
                    return lines;
                }
                (at_cell_start, is_blank) = (true, true);
                continue;
            }
            // A doubled quote inside quotes looks like closing and opening again, which comes to the same. A
            // quote in the middle of a cell is an ordinary character, as it is for the table.
            b'"' if at_cell_start => in_quotes = true,
            _ => {}
        }
        is_blank = false;
        at_cell_start = CANDIDATES.contains(&byte) || byte == b'"';
        line[usize::from(byte)] += 1;
    }
    // The last line may be cut by the end of the chunk, and counts only where there is no other.
    if lines.is_empty() && !is_blank {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(text: &str) -> char {
        sniff(text.as_bytes(), true, None).0.byte.into()
    }

    #[test]
    fn the_first_line_names_it_and_the_others_agree() {
        assert_eq!(byte("name,email\nAnn,ann@example.com\n"), ',');
        assert_eq!(byte("\n\nname\temail\nAnn\tann@example.com\n"), '\t');
        assert_eq!(
            byte("name, first;email\nAnn;ann@example.com\nBob;bob@example.com\n"),
            ';'
        );
        assert_eq!(
            byte("id|email|note\n1|ann@example.com|a, b, c\n2|bob@example.com|d\n"),
            '|'
        );
        assert_eq!(byte("a;b"), ';');
    }

    #[test]
    fn where_two_fit_the_emails_decide() {
        for (text, expected) in [
            (
                "Name, Vorname;E-Mail\nLee, Ann;ann@example.com\nRay, Bob;bob@example.com\n",
                ';',
            ),
            ("Lee, Ann;ann@example.com\nRay, Bob;bob@example.com\n", ';'),
            ("a|b,ann@example.com\nc|d,bob@example.com\n", ','),
            ("name;title,email\nLee;Dr,ann@example.com\n", ','),
            // No row holds an email, so the header has to do.
            ("name, first;email\nLee, Ann;\nRay, Bob;\n", ';'),
        ] {
            assert_eq!(byte(text), expected, "{text}");
        }
    }

    #[test]
    fn quotes_hide_what_is_inside() {
        assert_eq!(
            byte("\"Lee, Ann, \"\"A, B\"\"\nSouth\";ann@example.com\n\"Ray, Bob, C\";bob@example.com\n"),
            ';'
        );
        assert_eq!(byte("name,email\nthe \"big, fat; one,ann@example.com\n"), ',');
    }

    #[test]
    fn a_single_column_has_the_comma() {
        assert_eq!(byte("ann@example.com\nbob;x@example.com\n"), ',');
        assert_eq!(byte("ann@example.com\nbob@example.com,x\n"), ',');
        assert_eq!(byte(""), ',');
    }

    #[test]
    fn a_declaration_is_believed_and_passed_over() {
        for (text, byte, length) in [
            ("sep=;\r\na,b;c\n", b';', 5),
            ("\"sep=;\"\r\na,b;c\n", b';', 7),
            ("SEP=;\ra,b;c\r", b';', 5),
            ("Sep=;;;\na,b;c;d\n", b';', 7),
            ("\"sep=\t\"\na,b\tc\n", b'\t', 7),
            ("sep=\\t\na,b\tc\n", b'\t', 6),
            ("sep=^\na,b^c\n", b'^', 5),
            ("sep=\"|\"\na,b|c\n", b'|', 7),
            ("sep=;   \na;b\n", b';', 8),
            // It was saved with commas since.
            ("sep=;,\na,b\n", b',', 6),
            ("sep=\na;b\n", b';', 4),
            ("sep=;\nann@example.com\n", b';', 5),
        ] {
            let expected = Delimiter {
                byte,
                declared_bytes: length,
            };
            assert_eq!(sniff(text.as_bytes(), true, None).0, expected, "{text:?}");
        }
        for text in ["sep=,email\n", "separate,email\n", "sep,email\n", "sep=x\n"] {
            assert_eq!(sniff(text.as_bytes(), true, None).0.declared_bytes, 0, "{text:?}");
        }
    }

    #[test]
    fn what_is_chosen_is_taken() {
        let (delimiter, sample) = sniff(b"sep=;\na,b;c\n", true, Some(b','));
        assert_eq!((delimiter.byte, delimiter.declared_bytes), (b',', 5));
        assert_eq!(sample.rows, [["a", "b;c"]]);
    }
}

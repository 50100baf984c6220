//! Whether the first row is a header.
//!
//! The rule that no row may be lost decides every doubt: a first row that is taken for a header wrongly is in no count,
//! one that is taken for data wrongly costs a reject. So it is a header only where it looks like one and the rows behind
//! it do not:
//!
//! - it holds no email, and the cell above the emails is neither empty nor a word for nothing (`n/a`);
//! - that cell, or another one, is a word that headers are made of; or some column holds numbers, dates or yes and no in
//!   all rows but this one.

use super::names;
use super::sample::is_email;

/// How the first row is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderChoice {
    /// By what it looks like.
    #[default]
    Auto,
    /// As a header.
    Yes,
    /// As a row.
    No,
}

/// Words for nothing.
const NOTHING: &[&str] = &[
    "", "na", "none", "null", "nil", "nan", "unknown", "missing", "empty", "keine", "leer", "無", "なし",
];

/// Whether the first row is a header over emails in this column.
pub(super) fn is_header(first: &[String], rest: &[Vec<String>], column: usize) -> bool {
    looks_like_one(first, column, rest) && {
        let others = rest.iter().filter(|row| has_header_words(row, column)).count();
        others * 2 <= rest.len()
    }
}

fn looks_like_one(first: &[String], column: usize, rest: &[Vec<String>]) -> bool {
    if first.iter().any(|cell| is_email(cell)) || first.get(column).is_some_and(|cell| cell.contains('@')) {
        return false;
    }
    has_header_words(first, column) || (is_something(first, column) && breaks_a_pattern(first, rest, column))
}

fn has_header_words(row: &[String], column: usize) -> bool {
    let words = row.iter().filter(|cell| names::is_header_word(cell)).count();
    words >= 2 || (words == 1 && is_something(row, column))
}

fn is_something(row: &[String], column: usize) -> bool {
    let says = |cell: &String| !NOTHING.contains(&names::joined(cell).as_str());
    row.get(column).is_some_and(says)
}

/// Whether some other column holds numbers, dates or yes and no in all rows but the first.
fn breaks_a_pattern(first: &[String], rest: &[Vec<String>], emails: usize) -> bool {
    let breaks = |column: usize| {
        is_something(first, column)
            && !is_pattern(&first[column])
            && rest
                .iter()
                .all(|row| row.get(column).is_some_and(|cell| is_pattern(cell)))
    };
    rest.len() >= 2 && (0..first.len()).any(|column| column != emails && breaks(column))
}

/// Whether a cell is a number, a date, or yes or no.
fn is_pattern(cell: &str) -> bool {
    let cell = cell.trim();
    let is_number = cell.bytes().any(|byte| byte.is_ascii_digit())
        && cell
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.,:/ TZ%()".contains(&byte));
    is_number
        || ["yes", "no", "true", "false", "ja", "nein", "y", "n"].contains(&cell.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str, column: usize) -> bool {
        let mut rows = text
            .split(';')
            .map(|row| row.split(',').map(str::to_owned).collect::<Vec<_>>());
        let first = rows.next().unwrap();
        is_header(&first, &rows.collect::<Vec<_>>(), column)
    }

    #[test]
    fn a_header_looks_like_one() {
        for (text, column) in [
            ("email;ann@example.com", 0),
            ("customers;ann@example.com", 0),
            ("name,email;Ann,ann@example.com", 1),
            ("氏名,連絡先;Ann,ann@example.com", 1),
            ("Zorb,Quux;12,ann@example.com;13,bob@example.com", 1),
            ("id,name,;1,Ann,ann@example.com", 2),
            ("email_opt_in,contact;yes,ann@example.com", 1),
        ] {
            assert!(judged(text, column), "{text}");
        }
    }

    #[test]
    fn a_row_is_no_header() {
        for (text, column) in [
            ("Ann Lee;bob@example.com", 0),
            ("ann.at.example.com;bob@example.com", 0),
            ("4711;bob@example.com", 0),
            ("Ann,n/a;Bob,bob@example.com", 1),
            ("Ann,;Bob,bob@example.com", 1),
            ("name,ann@example.com;Bob,bob@example.com", 1),
            ("name,n/a;Bob,bob@example.com", 1),
            ("12,ann.at.example.com;13,bob@example.com;14,cy@example.com", 1),
            ("mail;mail;phone", 0),
        ] {
            assert!(!judged(text, column), "{text}");
        }
    }
}

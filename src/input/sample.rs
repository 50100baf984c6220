//! The first rows of a list, as they look under one delimiter: what the guesses about its layout rest on.

use super::cells::{Cells, Progress};
use super::row::decode;
use crate::model::email::Email;
use crate::model::guard::unguarded;

/// How many rows are looked at, at the most; the first 64 kB mostly hold fewer.
pub(super) const SAMPLE_ROWS: usize = 2_000;

/// The first rows of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Their cells.
    pub(super) rows: Vec<Vec<String>>,
}

impl Sample {
    /// Reads the rows of a text. Unless it is whole, its last line may be cut, and is left out.
    pub(super) fn of(text: &[u8], is_whole: bool, delimiter: u8) -> Sample {
        let mut sample = Sample::default();
        let mut cells = Cells::default();
        let (mut start, mut place) = (0, 0);
        let mut progress = Progress::Whole;
        let mut behind = 0;
        while place < text.len() && sample.rows.len() < SAMPLE_ROWS {
            let end = memchr::memchr2(b'\n', b'\r', &text[place..]).map(|length| place + length);
            if end.is_none() && !is_whole {
                break;
            }
            let end = end.unwrap_or(text.len());
            let line = &text[place..end];
            progress = match progress {
                Progress::Open => cells.next_line(&text[behind..place], line, delimiter),
                _ if line.is_empty() => Progress::Stray,
                _ => {
                    start = place;
                    cells.first_line(line, delimiter)
                }
            };
            behind = end;
            let is_crlf = text[end..].starts_with(b"\r\n");
            place = (end + 1 + usize::from(is_crlf)).min(text.len());
            if progress == Progress::Whole {
                let (text, ranges) = cells.view(&text[start..end]);
                let cell =
                    |range: &std::ops::Range<u32>| decode(&text[range.start as usize..range.end as usize]);
                sample.rows.push(ranges.iter().map(cell).collect());
            }
        }
        sample
    }

    /// How many cells more than half of the rows have; none, where they differ.
    pub(super) fn usual_width(&self) -> usize {
        let mut widths = std::collections::BTreeMap::new();
        self.rows
            .iter()
            .for_each(|row| *widths.entry(row.len()).or_insert(0) += 1);
        let usual = widths.into_iter().find(|(_, rows)| rows * 2 > self.rows.len());
        usual.map_or(0, |(width, _)| width)
    }

    /// How many rows have a cell that is an email.
    pub(super) fn rows_with_emails(&self) -> usize {
        let has_email = |row: &&Vec<String>| row.iter().any(|cell| is_email(cell));
        self.rows.iter().filter(has_email).count()
    }
}

/// Whether a cell is an email and nothing else.
pub(super) fn is_email(cell: &str) -> bool {
    cell.contains('@') && Email::in_cell(unguarded(cell)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, is_whole: bool) -> Vec<String> {
        let sample = Sample::of(text.as_bytes(), is_whole, b';');
        sample.rows.iter().map(|row| row.join("|")).collect()
    }

    #[test]
    fn the_last_line_counts_where_it_is_whole() {
        assert_eq!(rows("a;b\r\n\r\nc;d", true), ["a|b", "c|d"]);
        assert_eq!(rows("a;b\r\n\r\nc;d", false), ["a|b"]);
        assert_eq!(rows("a;\"b\nc\"\nd;\"e", false), ["a|b\nc"]);
    }

    #[test]
    fn emails_are_whole_cells() {
        let sample = Sample::of(
            b"a;ann@example.com\nb;see bob@example.com\n'+1@example.com;c\n",
            true,
            b';',
        );
        assert_eq!(sample.rows_with_emails(), 2);
    }
}

//! What parts the cells of a row, judged from the first lines.
//!
//! A wrong guess would make every row ragged or every email invalid, so the guess rests on several lines, and
//! a file that declares its delimiter is believed.

/// How many of the first lines are compared.
const SAMPLE_LINES: usize = 50;

/// The candidates, the likeliest first.
const CANDIDATES: [u8; 4] = [b',', b'\t', b';', b'|'];

/// What parts the cells, and how it became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delimiter {
    pub(super) byte: u8,
    /// The length of the `sep=;` that spreadsheets put before the first row, up to but without its line end.
    pub(super) declared_bytes: usize,
}

impl Delimiter {
    /// The format in words for people.
    pub(super) fn word(self) -> &'static str {
        match self.byte {
            b'\t' => "TSV",
            b';' => "CSV, semicolons",
            b'|' => "CSV, pipes",
            _ => "CSV",
        }
    }
}

/// Finds the delimiter of a text from its first chunk. A single column gets the comma.
pub(super) fn sniff(text: &[u8]) -> Delimiter {
    if let Some(byte) = declared(text) {
        return Delimiter {
            byte,
            declared_bytes: b"sep=;".len(),
        };
    }
    let counts = sample(text);
    let best = |candidate: &usize| {
        let index = *candidate;
        let first = counts.first().map_or(0, |line| line[index]);
        // What the first line lacks parts nothing, however many lines lack it too.
        let agreeing = counts
            .iter()
            .filter(|line| first > 0 && line[index] == first)
            .count();
        // Earlier candidates win ties, which `max_by_key` gives to the last.
        (agreeing, first, CANDIDATES.len() - index)
    };
    let index = (0..CANDIDATES.len()).max_by_key(best).unwrap_or(0);
    Delimiter {
        byte: CANDIDATES[index],
        declared_bytes: 0,
    }
}

fn declared(text: &[u8]) -> Option<u8> {
    let rest = text.strip_prefix(b"sep=")?;
    let is_alone = rest.len() == 1 || matches!(rest.get(1), Some(b'\r' | b'\n'));
    rest.first()
        .copied()
        .filter(|byte| is_alone && CANDIDATES.contains(byte))
}

/// Counts the candidates of each of the first lines that are not blank, outside quotes.
fn sample(text: &[u8]) -> Vec<[usize; CANDIDATES.len()]> {
    let mut lines = Vec::new();
    let mut line = [0; CANDIDATES.len()];
    let (mut in_quotes, mut at_cell_start, mut is_blank) = (false, true, true);
    for &byte in text {
        if in_quotes {
            in_quotes = byte != b'"';
            continue;
        }
        match byte {
            b'\n' | b'\r' => {
                if !is_blank {
                    lines.push(line);
                }
                if lines.len() == SAMPLE_LINES {
                    return lines;
                }
                (line, at_cell_start, is_blank) = ([0; CANDIDATES.len()], true, true);
                continue;
            }
            // A doubled quote inside quotes looks like closing and opening again, which comes to the same. A
            // quote in the middle of a cell is an ordinary character, as it is for the table.
            b'"' if at_cell_start => in_quotes = true,
            _ => {}
        }
        is_blank = false;
        let candidate = CANDIDATES.iter().position(|&candidate| candidate == byte);
        at_cell_start = candidate.is_some() || byte == b'"';
        if let Some(index) = candidate {
            line[index] += 1;
        }
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
        sniff(text.as_bytes()).byte.into()
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
        assert_eq!(
            sniff(b"sep=;\r\na,b;c\n"),
            Delimiter {
                byte: b';',
                declared_bytes: 5
            }
        );
        assert_eq!(
            sniff(b"sep=,email\n"),
            Delimiter {
                byte: b',',
                declared_bytes: 0
            }
        );
    }
}

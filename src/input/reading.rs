//! What somebody says about how a list is to be read. All of it belongs to what the list is known by.

use std::str::FromStr;

use super::column::ColumnChoice;
use super::delimiter::can_separate;
use super::header::HeaderChoice;

/// How a list is to be read; whatever is not said is found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The column with the emails.
    pub column: ColumnChoice,
    /// Whether the first row is a header.
    pub header: HeaderChoice,
    /// What separates the cells.
    pub delimiter: Option<DelimiterChoice>,
    /// Which sheet of a workbook is meant.
    pub sheet: Option<String>,
}

impl From<ColumnChoice> for Reading {
    fn from(column: ColumnChoice) -> Self {
        Reading {
            column,
            ..Reading::default()
        }
    }
}

/// What separates the cells, as somebody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelimiterChoice(u8);

impl DelimiterChoice {
    /// The delimiter.
    pub(super) fn byte(self) -> u8 {
        self.0
    }
}

impl FromStr for DelimiterChoice {
    type Err = InvalidDelimiter;

    /// The character itself, or its name.
    fn from_str(text: &str) -> Result<Self, InvalidDelimiter> {
        let byte = match text.to_lowercase().as_str() {
            "comma" => b',',
            "tab" | "\\t" => b'\t',
            "semicolon" => b';',
            "pipe" => b'|',
            _ => match text.as_bytes() {
                [byte] if can_separate(*byte) => *byte,
                _ => return Err(InvalidDelimiter),
            },
        };
        Ok(DelimiterChoice(byte))
    }
}

/// The text names no delimiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a delimiter: expected comma, semicolon, tab, pipe, or the character itself")]
pub struct InvalidDelimiter;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_have_names() {
        for (text, byte) in [
            ("comma", b','),
            (";", b';'),
            ("TAB", b'\t'),
            ("\\t", b'\t'),
            ("\t", b'\t'),
            ("^", b'^'),
        ] {
            assert_eq!(text.parse(), Ok(DelimiterChoice(byte)), "{text:?}");
        }
        for text in ["", ",,", "x", "@", ".", "\"", "\n", "é"] {
            assert_eq!(text.parse::<DelimiterChoice>(), Err(InvalidDelimiter), "{text:?}");
        }
    }
}

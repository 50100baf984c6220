//! The values of a JSON document, one at a time: those of an array, or values that follow one another.
//!
//! Only what parts them is looked at: strings, brackets and commas. A value beyond the limit of a row is passed over to
//! its own end.

use crate::input::error::ListError;
use crate::input::lines::Lines;
use crate::input::record::ROW_LIMIT_BYTES;
use crate::input::stream::{CHUNK_BYTES, StreamError};
use crate::input::text::Text;

/// Why a document cannot be read on.
pub(super) enum What {
    Stream(StreamError),
    /// It ends before its values do.
    Cut,
    /// This value is no JSON.
    NoJson(u64),
    /// Something else stands where a value or a comma should.
    Between(u64),
    /// Something follows the array.
    Behind,
    /// There are more keys than are told apart.
    Keys,
}

impl From<StreamError> for What {
    fn from(error: StreamError) -> Self {
        What::Stream(error)
    }
}

impl What {
    pub(super) fn at(self, list: &str, line: u64) -> ListError {
        let detail = match self {
            What::Stream(error) => return error.at(list.to_owned(), line),
            What::Cut => "it ends in the middle of a value".into(),
            What::NoJson(number) => format!("value {number} is not valid"),
            What::Between(number) => format!("something else than a comma follows value {number}"),
            What::Behind => "something follows the array".into(),
            What::Keys => format!(
                "it has more than {} different keys",
                crate::input::ROW_LIMIT_FIELDS
            ),
        };
        ListError::Json {
            list: list.to_owned(),
            line,
            detail,
        }
    }
}

/// A value as it is written.
pub(super) struct WrittenValue<'a> {
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) text: &'a [u8],
    /// Whether the text was cut at the limit.
    pub(super) is_too_long: bool,
}

/// The values of a document, in order, once.
pub(super) struct Values {
    text: Text,
    chunk: Vec<u8>,
    at: usize,
    filled: usize,
    line: u64,
    is_array: bool,
    is_begun: bool,
    is_over: bool,
    count: u64,
    value: Vec<u8>,
}

impl Values {
    pub(super) fn new(lines: Lines) -> Values {
        let is_array = lines.first_chunk().0.trim_ascii_start().starts_with(b"[");
        let (text, chunk, filled) = lines.into_parts();
        Values {
            text,
            chunk,
            at: 0,
            filled,
            line: 1,
            is_array,
            is_begun: false,
            is_over: false,
            count: 0,
            value: Vec::new(),
        }
    }

    pub(super) fn is_array(&self) -> bool {
        self.is_array
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn text(&self) -> &Text {
        &self.text
    }

    pub(super) fn into_text(self) -> Text {
        self.text
    }

    /// The next value, or the end.
    pub(super) fn next(&mut self) -> Result<Option<WrittenValue<'_>>, What> {
        if !self.is_over && self.is_array {
            self.part_of_array()?;
        }
        if self.is_over {
            return Ok(None);
        }
        let Some(first) = self.behind_blanks()? else {
            return if self.is_array { Err(What::Cut) } else { Ok(None) };
        };
        self.count += 1;
        let is_too_long = self.read_value(first)?;
        Ok(Some(WrittenValue {
            number: self.count,
            text: &self.value,
            is_too_long,
        }))
    }

    /// Passes what stands before a value of an array, or finds its end.
    fn part_of_array(&mut self) -> Result<(), What> {
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        if is_first {
            self.behind_blanks()?;
            self.at += 1;
        }
        match self.behind_blanks()? {
            None => return Err(What::Cut),
            Some(b']') => {
                self.at += 1;
                self.is_over = true;
                return match self.behind_blanks()? {
                    None => Ok(()),
                    Some(_) => Err(What::Behind),
                };
            }
            Some(_) if is_first => return Ok(()),
            Some(b',') => self.at += 1,
            Some(_) => return Err(What::Between(self.count)),
        }
        match self.behind_blanks()? {
            None => Err(What::Cut),
            Some(b',' | b']') => Err(What::NoJson(self.count + 1)),
            Some(_) => Ok(()),
        }
    }

    /// Reads the value that begins here, and says whether it is beyond the limit.
    fn read_value(&mut self, first: u8) -> Result<bool, What> {
        self.value.clear();
        let is_nested = matches!(first, b'{' | b'[');
        let (mut depth, mut in_string, mut is_escaped) = (0_u64, false, false);
        let mut is_too_long = false;
        while let Some(byte) = self.peek()? {
            let ends_scalar = matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            if !is_nested && !in_string && ends_scalar && !self.value.is_empty() {
                return Ok(is_too_long);
            }
            self.pass(byte);
            if self.value.len() <= ROW_LIMIT_BYTES {
                self.value.push(byte);
            } else {
                is_too_long = true;
            }
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_string => is_escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
            if is_nested && depth == 0 && !in_string {
                return Ok(is_too_long);
            }
        }
        if is_nested || in_string {
            Err(What::Cut)
        } else {
            Ok(is_too_long)
        }
    }

    /// The next byte that is no blank, which is not passed.
    fn behind_blanks(&mut self) -> Result<Option<u8>, What> {
        loop {
            match self.peek()? {
                Some(byte) if byte.is_ascii_whitespace() => self.pass(byte),
                other => return Ok(other),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, StreamError> {
        if self.at == self.filled {
            self.chunk.resize(CHUNK_BYTES, 0);
            self.filled = self.text.fill(&mut self.chunk)?;
            self.at = 0;
        }
        Ok(self.chunk[..self.filled].get(self.at).copied())
    }

    fn pass(&mut self, byte: u8) {
        self.at += 1;
        self.line += u64::from(byte == b'\n');
    }
}

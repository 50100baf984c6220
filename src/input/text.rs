//! The text of a list: bytes without their mark, UTF-16 turned into UTF-8, in chunks of fixed size.
//!
//! Line ends and broken UTF-8 pass untouched: the table counts the former, the row judges the latter cell by
//! cell.

use encoding_rs::{CoderResult, Decoder, UTF_16BE, UTF_16LE};

use super::error::ListError;
use super::head::{self, Encoding};
use super::source::Digest;
use super::stream::{CHUNK_BYTES, Stream, StreamError};

/// The least room that lets the decoder go on: one character.
const CHARACTER_BYTES: usize = 4;

/// A list's text, in order, once.
pub(super) struct Text {
    stream: Stream,
    encoding: Encoding,
    /// What turns UTF-16 into UTF-8, until it has said its last.
    decoder: Option<Decoder>,
    raw: Vec<u8>,
    start: usize,
    end: usize,
    /// An error that came after good bytes: those are handed out first, so that the line it is reported at is
    /// right.
    deferred: Option<StreamError>,
}

impl Text {
    /// Looks at the first bytes and makes ready to hand out what follows the mark.
    #[cfg(test)]
    pub(super) fn open(list: &str, stream: Stream) -> Result<Text, ListError> {
        Text::begin(list, stream)?.encoded(list)
    }

    /// Reads the first bytes.
    pub(super) fn begin(list: &str, stream: Stream) -> Result<Text, ListError> {
        let raw = vec![0; CHUNK_BYTES];
        let mut text = Text {
            stream,
            encoding: Encoding::Utf8,
            decoder: None,
            raw,
            start: 0,
            end: 0,
            deferred: None,
        };
        text.fill_raw().map_err(|error| error.at(list.to_string(), 1))?;
        Ok(text)
    }

    /// The first bytes. Only before any are handed out.
    pub(super) fn head(&self) -> &[u8] {
        &self.raw[..self.end]
    }

    /// Looks at the first bytes, and makes ready to hand out what follows the mark, unless they are no text.
    pub(super) fn encoded(mut self, list: &str) -> Result<Text, ListError> {
        let (encoding, mark) = head::inspect(list, self.head())?;
        self.encoding = encoding;
        self.start = mark;
        self.decoder = match encoding {
            Encoding::Utf8 => None,
            Encoding::Utf16Le => Some(UTF_16LE.new_decoder_without_bom_handling()),
            Encoding::Utf16Be => Some(UTF_16BE.new_decoder_without_bom_handling()),
        };
        Ok(self)
    }

    /// All bytes as they are, with their digest, where there are so many at the most. Only before any are handed out.
    #[cfg(feature = "sheets")]
    pub(super) fn spool(mut self, limit: usize) -> Result<Option<(Vec<u8>, Digest)>, StreamError> {
        let mut bytes = std::mem::take(&mut self.raw);
        bytes.truncate(self.end);
        if let Some(error) = self.deferred.take() {
            return Err(error);
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match self.stream.read(&mut chunk)? {
                0 => return Ok(Some((bytes, self.stream.digest()))),
                read if bytes.len() + read > limit => return Ok(None),
                read => bytes.extend_from_slice(&chunk[..read]),
            }
        }
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Fills a buffer as far as the text goes; nothing means the end.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize, StreamError> {
        let mut filled = 0;
        while out.len() - filled >= CHARACTER_BYTES {
            match self.step(&mut out[filled..]) {
                Ok(0) => break,
                Ok(written) => filled += written,
                Err(error) if filled == 0 => return Err(error),
                Err(error) => {
                    self.deferred = Some(error);
                    break;
                }
            }
        }
        Ok(filled)
    }

    fn step(&mut self, out: &mut [u8]) -> Result<usize, StreamError> {
        if self.encoding != Encoding::Utf8 {
            return self.decode(out);
        }
        if self.start < self.end {
            let count = out.len().min(self.end - self.start);
            out[..count].copy_from_slice(&self.raw[self.start..self.start + count]);
            self.start += count;
            return Ok(count);
        }
        match self.deferred.take() {
            Some(error) => Err(error),
            None => self.stream.read(out),
        }
    }

    /// Decodes until something comes out. A lone half of a character becomes U+FFFD, which no email may hold.
    fn decode(&mut self, out: &mut [u8]) -> Result<usize, StreamError> {
        loop {
            if self.start == self.end {
                self.fill_raw()?;
            }
            let last = self.start == self.end;
            let Some(decoder) = &mut self.decoder else {
                return Ok(0);
            };
            let (result, read, written, _) =
                decoder.decode_to_utf8(&self.raw[self.start..self.end], out, last);
            self.start += read;
            if last && result == CoderResult::InputEmpty {
                self.decoder = None;
            }
            if written > 0 || last || result == CoderResult::OutputFull {
                return Ok(written);
            }
        }
    }

    /// Refills the raw buffer as far as the stream goes.
    fn fill_raw(&mut self) -> Result<(), StreamError> {
        (self.start, self.end) = (0, 0);
        if let Some(error) = self.deferred.take() {
            return Err(error);
        }
        while self.end < self.raw.len() {
            match self.stream.read(&mut self.raw[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if self.end == 0 => return Err(error),
                Err(error) => {
                    self.deferred = Some(error);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads what is left unseen, so that the digest is of the whole list.
    pub(super) fn digest(mut self) -> Result<Digest, StreamError> {
        if let Some(error) = self.deferred.take() {
            return Err(error);
        }
        while self.stream.read(&mut self.raw)? > 0 {}
        Ok(self.stream.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8], step: usize) -> String {
        let mut text = Text::open("list", Stream::of(bytes)).unwrap();
        let mut out = vec![0; step];
        let mut all = Vec::new();
        loop {
            match text.fill(&mut out).unwrap() {
                0 => return String::from_utf8(all).unwrap(),
                filled => all.extend_from_slice(&out[..filled]),
            }
        }
    }

    #[test]
    fn utf16_of_either_order_becomes_utf8_whatever_the_chunk() {
        let written = "Größe;email\r\n日本;jürgen@example.com\n".repeat(9000) + "🙂";
        let units = || std::iter::once(0xfeff_u16).chain(written.encode_utf16());
        let little: Vec<u8> = units().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = units().flat_map(u16::to_be_bytes).collect();
        for step in [7, 1000, CHUNK_BYTES] {
            assert_eq!(read_all(&little, step), written);
            assert_eq!(read_all(&big, step), written);
        }
    }

    #[test]
    fn half_a_character_at_the_end_is_shown_not_dropped() {
        assert_eq!(read_all(b"\xff\xfea\0b", 64), "a\u{fffd}");
    }

    #[test]
    fn utf8_loses_its_mark_and_nothing_else() {
        assert_eq!(read_all(b"\xef\xbb\xbfemail\r\n", 5), "email\r\n");
        assert_eq!(read_all(b"", 64), "");
    }
}

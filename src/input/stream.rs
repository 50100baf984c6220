//! The bytes of a list: decompressed, counted, hashed, and stopped where they grow beyond reason.
//!
//! Compression is recognised by its first bytes, never by the file's name. This file does not look at the
//! text.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use super::error::ListError;
use super::gzip::{Members, Trailing};
use super::source::{Digest, Source};

/// How many bytes every buffer between the file and the table holds.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;

/// How far a list may expand before the ratio is looked at: a small file of equal lines compresses very well.
const RATIO_FREE_BYTES: u64 = 10_000_000;
/// How many times its stored size a list may hold. Text that is not one line repeated stays far below.
const RATIO_LIMIT: u64 = 100;
/// The largest zstd window, as a power of two: 128 MiB, what `zstd` itself accepts without being asked for
/// more.
const ZSTD_WINDOW_LOG_LIMIT: u32 = 27;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const MAGIC_BYTES: usize = 4;

/// How far so many stored bytes may expand.
pub(super) fn allowed_bytes(stored: u64) -> u64 {
    stored.saturating_mul(RATIO_LIMIT).max(RATIO_FREE_BYTES)
}

/// How the bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn detect(head: &[u8]) -> Compression {
        // Parallel zstd tools put a skippable frame first, with any of sixteen magic numbers.
        let skippable =
            head.len() == MAGIC_BYTES && head[0] & 0xf0 == 0x50 && head[1..] == [0x2a, 0x4d, 0x18];
        if head.starts_with(&GZIP_MAGIC) {
            Compression::Gzip
        } else if head == ZSTD_MAGIC || skippable {
            Compression::Zstd
        } else {
            Compression::None
        }
    }

    /// The word for people, where there is something to say.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some("gzip"),
            Compression::Zstd => Some("zstd"),
        }
    }
}

/// What went wrong between the device and us; the table adds where.
#[derive(Debug)]
pub(super) enum StreamError {
    Io(io::Error),
    Truncated(&'static str),
    Corrupt(&'static str, String),
    Trailing(&'static str),
    Bomb,
}

impl StreamError {
    pub(super) fn at(self, list: String, line: u64) -> ListError {
        match self {
            StreamError::Io(source) => ListError::Read { list, line, source },
            StreamError::Truncated(format) => ListError::Truncated { list, line, format },
            StreamError::Corrupt(format, detail) => ListError::Corrupt {
                list,
                line,
                format,
                detail,
            },
            StreamError::Trailing(format) => ListError::Trailing { list, line, format },
            StreamError::Bomb => ListError::Bomb {
                list,
                line,
                ratio: RATIO_LIMIT,
            },
        }
    }
}

/// A list's decompressed bytes, in order, once.
pub(super) struct Stream {
    reader: Box<dyn Read + Send>,
    compression: Compression,
    stored: Arc<AtomicU64>,
    total: Option<u64>,
    produced: u64,
    hash: Sha256,
}

impl Stream {
    pub(super) fn open(source: &Source) -> Result<Stream, ListError> {
        let (raw, total) = source.open()?;
        Stream::over(raw, total).map_err(|error| error.at(source.name(), 1))
    }

    fn over(raw: Box<dyn Read + Send>, total: Option<u64>) -> Result<Stream, StreamError> {
        let stored = Arc::new(AtomicU64::new(0));
        let mut raw = Counted {
            inner: raw,
            count: Arc::clone(&stored),
        };
        let mut head = Vec::with_capacity(MAGIC_BYTES);
        raw.by_ref()
            .take(MAGIC_BYTES as u64)
            .read_to_end(&mut head)
            .map_err(StreamError::Io)?;
        let compression = Compression::detect(&head);
        let whole = Cursor::new(head).chain(raw);
        let reader: Box<dyn Read + Send> = match compression {
            Compression::None => Box::new(whole),
            Compression::Gzip => Box::new(Members::new(BufReader::with_capacity(CHUNK_BYTES, whole))),
            Compression::Zstd => {
                let buffered = BufReader::with_capacity(CHUNK_BYTES, whole);
                let mut decoder = zstd::Decoder::with_buffer(buffered).map_err(StreamError::Io)?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_LIMIT)
                    .map_err(StreamError::Io)?;
                Box::new(decoder)
            }
        };
        Ok(Stream {
            reader,
            compression,
            stored,
            total,
            produced: 0,
            hash: Sha256::new(),
        })
    }

    /// Reads some bytes; none means the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        let read = loop {
            match self.reader.read(buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.classify(error)),
            }
        };
        self.hash.update(&buffer[..read]);
        self.produced += read as u64;
        if self.compression != Compression::None && self.produced > allowed_bytes(self.stored().0) {
            return Err(StreamError::Bomb);
        }
        Ok(read)
    }

    /// Tells a device's failure, which bears the system's error number, from a decoder's complaint, which
    /// does not.
    fn classify(&self, error: io::Error) -> StreamError {
        match self.compression.word() {
            Some(format) if error.raw_os_error().is_none() => {
                // The zstd library says what it looked for behind the last frame in these words.
                let is_trailing = error.get_ref().is_some_and(|inner| inner.is::<Trailing>())
                    || (self.produced > 0 && error.to_string().contains("Unknown frame descriptor"));
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    StreamError::Truncated(format)
                } else if is_trailing {
                    StreamError::Trailing(format)
                } else {
                    StreamError::Corrupt(format, error.to_string())
                }
            }
            _ => StreamError::Io(error),
        }
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// How many bytes were read as they are stored, and how many are, where that is known.
    pub(super) fn stored(&self) -> (u64, Option<u64>) {
        (self.stored.load(Ordering::Relaxed), self.total)
    }

    /// The digest of every byte read so far.
    pub(super) fn digest(self) -> Digest {
        Digest::from(<[u8; 32]>::from(self.hash.finalize()))
    }
}

/// Counts what is taken from the device, beneath the decoder, so that a bar can show it and the ratio be
/// judged.
struct Counted {
    inner: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
impl Stream {
    /// A stream over bytes in memory.
    pub(super) fn of(bytes: &[u8]) -> Stream {
        Stream::over(Box::new(Cursor::new(bytes.to_vec())), Some(bytes.len() as u64))
            .expect("BUG: memory can be read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<u8>, StreamError> {
        let mut stream = Stream::of(bytes);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut all = Vec::new();
        loop {
            match stream.read(&mut chunk)? {
                0 => return Ok(all),
                read => all.extend_from_slice(&chunk[..read]),
            }
        }
    }

    #[test]
    fn members_and_frames_follow_one_another() {
        assert_eq!(
            read_all(&[gzip(b"one\n"), gzip(b"two\n")].concat()).unwrap(),
            b"one\ntwo\n"
        );
        let frame = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        assert_eq!(
            read_all(&[frame(b"one\n"), frame(b"two\n")].concat()).unwrap(),
            b"one\ntwo\n"
        );
    }

    #[test]
    fn a_cut_or_damaged_file_is_told_from_its_end() {
        let text: Vec<u8> = (0..20_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        for packed in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
            for cut in [5, packed.len() / 2, packed.len() - 1] {
                assert!(
                    matches!(read_all(&packed[..cut]), Err(StreamError::Truncated(_))),
                    "cut at {cut}"
                );
            }
        }
        let mut damaged = gzip(&text);
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        assert!(matches!(read_all(&damaged), Err(StreamError::Corrupt("gzip", _))));
    }

    #[test]
    fn nuls_behind_gzip_are_fine_and_nothing_else_is() {
        let nuls = vec![0; 70_000];
        assert_eq!(
            read_all(&[gzip(b"one\n"), nuls.clone()].concat()).unwrap(),
            b"one\n"
        );
        assert_eq!(
            read_all(&[gzip(b"one\n"), nuls, gzip(b"two\n")].concat()).unwrap(),
            b"one\ntwo\n"
        );
        for rest in [
            &b"bob@example.com\n"[..],
            b"\0\0x",
            b"\x1fand more of this",
            b"\x1f\x8b\x07garbage",
        ] {
            let found = read_all(&[&gzip(b"one\n")[..], rest].concat());
            assert!(matches!(found, Err(StreamError::Trailing("gzip"))), "{found:?}");
        }
        let zstd = zstd::encode_all(&b"one\n"[..], 1).unwrap();
        let found = read_all(&[&zstd[..], b"bob@example.com\n"].concat());
        assert!(matches!(found, Err(StreamError::Trailing("zstd"))), "{found:?}");
        let cut = [gzip(b"one\n"), gzip(b"two\n")[..9].to_vec()].concat();
        assert!(matches!(read_all(&cut), Err(StreamError::Truncated("gzip"))));
    }

    #[test]
    fn a_bomb_is_stopped_soon_after_the_free_bytes() {
        let packed = zstd::encode_all(io::repeat(b'a').take(50_000_000), 3).unwrap();
        assert!(matches!(read_all(&packed), Err(StreamError::Bomb)));
        let harmless = zstd::encode_all(io::repeat(b'a').take(RATIO_FREE_BYTES), 3).unwrap();
        assert_eq!(read_all(&harmless).unwrap().len() as u64, RATIO_FREE_BYTES);
    }
}

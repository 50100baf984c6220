//! gzip as it comes: several members after one another, and NULs behind the last, which tapes and some tools leave.
//! Whatever else follows a member is an error, since half of a list could be in it.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

const MAGIC: u8 = 0x1f;

/// Something else follows the compressed data.
#[derive(Debug, thiserror::Error)]
#[error("something else follows the compressed data")]
pub(super) struct Trailing;

/// The members of a gzip file, one after the other.
pub(super) struct Members<R: BufRead> {
    /// Nothing is left behind the last one.
    decoder: Option<GzDecoder<R>>,
    /// Whether a whole member was read.
    is_first_over: bool,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(reader: R) -> Members<R> {
        Members {
            decoder: Some(GzDecoder::new(reader)),
            is_first_over: false,
        }
    }

    /// Goes on behind a member.
    fn next_member(&mut self) -> io::Result<()> {
        let Some(decoder) = self.decoder.take() else {
            return Ok(());
        };
        self.is_first_over = true;
        let mut reader = decoder.into_inner();
        loop {
            let ahead = match reader.fill_buf() {
                Ok(ahead) => ahead,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let Some(&first) = ahead.first() else {
                return Ok(());
            };
            if first == MAGIC {
                self.decoder = Some(GzDecoder::new(reader));
                return Ok(());
            }
            let nuls = ahead.iter().take_while(|byte| **byte == 0).count();
            if nuls == 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, Trailing));
            }
            reader.consume(nuls);
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let is_untouched = decoder.header().is_none();
            match decoder.read(buffer) {
                Ok(0) if !buffer.is_empty() => self.next_member()?,
                // A byte that began like a member did not begin one.
                Err(error)
                    if self.is_first_over && is_untouched && error.kind() == io::ErrorKind::InvalidInput =>
                {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, Trailing));
                }
                read => return read,
            }
        }
        Ok(0)
    }
}

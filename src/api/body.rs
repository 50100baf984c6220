//! The bytes of an answer: bounded, and unpacked where they are packed.
//!
//! Whether a body is packed is told by the body itself, since the header that says so comes in many spellings, and
//! where something in between has unpacked it already, the header may have stayed. JSON never begins like gzip.

use flate2::bufread::GzDecoder;
use std::io::Read;

/// A page of a hundred profiles is below half a megabyte.
const LIMIT_BYTES: usize = 8 << 20;
/// What a gzip member begins with.
const GZIP: &[u8] = b"\x1f\x8b";
/// How often a body may be packed.
const LAYERS_LIMIT: usize = 3;

/// A body as it comes.
#[derive(Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
}

impl Body {
    /// Takes the next bytes in, as long as they are not more than any honest answer has.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.bytes.len() + bytes.len() > LIMIT_BYTES {
            return Err(too_large());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The whole of it, unpacked.
    pub(super) fn unpacked(self) -> Result<Vec<u8>, String> {
        let mut bytes = self.bytes;
        for _ in 0..LAYERS_LIMIT {
            if !bytes.starts_with(GZIP) {
                break;
            }
            bytes = gunzip(&bytes)?;
        }
        Ok(bytes)
    }
}

/// All members of a gzip file, one after the other. Zeros after the last one are padding.
fn gunzip(mut packed: &[u8]) -> Result<Vec<u8>, String> {
    let broken = |_| "the answer broke off (it is packed, and cannot be unpacked)".to_owned();
    let mut bytes = Vec::new();
    while packed.starts_with(GZIP) {
        let mut member = GzDecoder::new(packed);
        let room = (LIMIT_BYTES - bytes.len()) as u64 + 1;
        member
            .by_ref()
            .take(room)
            .read_to_end(&mut bytes)
            .map_err(broken)?;
        if bytes.len() > LIMIT_BYTES {
            return Err(too_large());
        }
        packed = member.into_inner();
    }
    if packed.iter().any(|byte| *byte != 0) {
        return Err(broken(std::io::ErrorKind::InvalidData.into()));
    }
    Ok(bytes)
}

fn too_large() -> String {
    format!("the answer is larger than {} MB", LIMIT_BYTES >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> Result<String, String> {
        let mut body = Body::default();
        body.extend(bytes)?;
        body.unpacked().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_body_is_unpacked_for_as_long_as_it_is_packed() {
        let members = [gzip("{\"da"), gzip("ta\":[]}")].concat();
        for packed in [
            b"{\"data\":[]}".to_vec(),
            members.clone(),
            [&members[..], &[0; 512]].concat(),
            gzip("{\"data\":[]}"),
        ] {
            assert_eq!(unpacked(&packed).as_deref(), Ok("{\"data\":[]}"));
        }
        assert_eq!(unpacked(b"").as_deref(), Ok(""));
    }

    #[test]
    fn what_cannot_be_unpacked_whole_is_no_answer() {
        let whole = gzip("{\"data\":[]}");
        for broken in [
            &whole[..whole.len() - 3],
            &whole[..5],
            &[&whole[..], b"{}"].concat(),
        ] {
            assert!(unpacked(broken).unwrap_err().contains("broke off"));
        }
        let most = " ".repeat(LIMIT_BYTES);
        assert_eq!(unpacked(&gzip(&most)).map(|text| text.len()), Ok(LIMIT_BYTES));
        let more = [gzip(&most), gzip(" ")].concat();
        assert!(unpacked(&more).unwrap_err().contains("larger than"));
    }
}

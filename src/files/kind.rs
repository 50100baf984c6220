//! What a file is, by its first bytes, where that says that it must not be written over.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What marks a SQLite file as a rollbook ledger: `RLBK`.
pub const LEDGER_APPLICATION_ID: i64 = 0x524C_424B;

const SQLITE: &[u8] = b"SQLite format 3\0";
const APPLICATION_ID_AT: usize = 68;
/// The first bytes of a write-ahead log, in either byte order, of its index, and of a rollback journal.
const LOGS: [&[u8]; 5] = [
    &[0x37, 0x7f, 0x06, 0x82],
    &[0x37, 0x7f, 0x06, 0x83],
    &[0x18, 0xe2, 0x2d, 0x00],
    &[0x00, 0x2d, 0xe2, 0x18],
    &[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7],
];
/// A token is one word of at least so many characters.
const SHORTEST_TOKEN: usize = 20;
const HEAD_BYTES: u64 = 8 << 10;
/// Zeros that no file of a person begins with.
const ZEROS: usize = 16;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A ledger.
    Ledger,
    /// A database of something else.
    Database,
    /// The log, index or journal of a database.
    DatabaseLog,
    /// What says who uses a ledger.
    Lock,
    /// One word that nobody could remember.
    Token,
    /// Lines that `--log` has written.
    Log,
    /// No bytes, or zeros at first, as a kill or a power cut leaves what SQLite had not headed yet.
    Nothing,
    /// Bytes that are no text: as a kill leaves a log whose head was not written yet.
    Binary,
    /// Anything else.
    Other,
}

impl Kind {
    /// Why it must not be written over; `None` where a person may decide that.
    pub fn reason_to_keep(self) -> Option<&'static str> {
        match self {
            Self::Ledger => Some("is a ledger"),
            Self::Database => Some("is a database"),
            Self::DatabaseLog => Some("belongs to a database"),
            Self::Lock => Some("is the lock of a ledger"),
            Self::Token => Some("looks like the file of a token"),
            Self::Log | Self::Nothing | Self::Binary | Self::Other => None,
        }
    }
}

/// What the plain file at a path is.
pub fn kind_of(path: &Path) -> io::Result<Kind> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(kind(&head))
}

fn kind(head: &[u8]) -> Kind {
    if head.starts_with(SQLITE) {
        let id = head.get(APPLICATION_ID_AT..APPLICATION_ID_AT + 4);
        let id = id.map(|bytes| bytes.iter().fold(0, |id, byte| id << 8 | i64::from(*byte)));
        return if id == Some(LEDGER_APPLICATION_ID) {
            Kind::Ledger
        } else {
            Kind::Database
        };
    }
    if head.iter().take(ZEROS).all(|byte| *byte == 0) {
        return Kind::Nothing;
    }
    match std::str::from_utf8(head) {
        _ if LOGS.iter().any(|log| head.starts_with(log)) => Kind::DatabaseLog,
        _ if head.contains(&0) => Kind::Binary,
        Ok(text) if is_lock(text) => Kind::Lock,
        Ok(text) if is_token(text) => Kind::Token,
        Ok(text) if is_log(text) => Kind::Log,
        _ => Kind::Other,
    }
}

/// Whether a text is the lock's of a ledger: who holds it, with a verb, and what is remembered. A full disk may have cut
/// it off.
fn is_lock(text: &str) -> bool {
    const FIRST: &str = "rollbook ";
    let Some(rest) = text.strip_prefix(FIRST) else {
        return FIRST.starts_with(text);
    };
    let end = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
    end > 0 && matches!(rest.as_bytes().get(end), None | Some(b',' | b'\n'))
}

/// Whether a text begins with a line of a log: when, as text or JSON, and what part of the program speaks.
fn is_log(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let time = first
        .strip_prefix("{\"timestamp\":\"")
        .unwrap_or(first)
        .as_bytes();
    let shape = b"0000-00-00T00:00:00";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    };
    time.len() > shape.len() && time.iter().zip(shape).all(fits) && first.contains("rollbook::")
}

/// Whether a text is a bearer token and nothing else, as people keep them: bare, quoted, or with its word before it.
fn is_token(text: &str) -> bool {
    let word = text.trim_start_matches('\u{feff}').trim();
    let word = word.strip_prefix("Authorization:").unwrap_or(word).trim();
    let word = word.strip_prefix("OMNEO_TOKEN=").unwrap_or(word);
    let word = word.trim_matches(['"', '\'']);
    let word = match word.get(..7) {
        Some(prefix) if prefix.eq_ignore_ascii_case("bearer ") => word[7..].trim(),
        _ => word,
    };
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=|:".contains(&byte);
    word.len() >= SHORTEST_TOKEN && word.bytes().all(of_a_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_what_is_in_it() {
        let mut ledger = vec![0; 100];
        ledger[..16].copy_from_slice(SQLITE);
        assert_eq!(kind(&ledger), Kind::Database);
        ledger[68..72].copy_from_slice(b"RLBK");
        assert_eq!(kind(&ledger), Kind::Ledger);
        assert_eq!(kind(&[0x37, 0x7f, 0x06, 0x82, 0]), Kind::DatabaseLog);
        for lock in [
            "rollbook load, process 7, since x\n",
            "rollbook load\nepoch 1 2\n",
            "rollb",
        ] {
            assert_eq!(kind(lock.as_bytes()), Kind::Lock, "{lock}");
        }
        for token in [
            "12|abcdefghijklmnopqrstuvwxyz01\n",
            "\u{feff}\"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0\"",
            "Bearer secret-canary-4f1e9d",
            "OMNEO_TOKEN=secret-canary-4f1e9d",
        ] {
            assert_eq!(kind(token.as_bytes()), Kind::Token, "{token}");
        }
        assert_eq!((kind(b""), kind(&[0; 9])), (Kind::Nothing, Kind::Nothing));
        // An index whose pages were written before its head.
        let index: Vec<u8> = [[0; 64], [7; 64]].concat();
        assert_eq!(kind(&index), Kind::Nothing);
        for other in [
            "email\nann@example.com\n",
            "email,state,reason,profile_id\n",
            "what stood there before",
            "rollbook is what I use",
            "ann.at.a.very.long.place@example.com",
        ] {
            assert_eq!(kind(other.as_bytes()), Kind::Other, "{other}");
        }
    }
}

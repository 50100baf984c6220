//! Foreign text made fit to be shown: names of files, cells of lists, words of a tenant.
//!
//! Such text may hold what steers a terminal (escape sequences, bells), reverses what stands beside it (bidirectional
//! controls) or ends the line that it stands in. All of that is shown as an escape; nothing is left out.

use super::email::is_invisible;
use std::borrow::Cow;
use std::fmt::Write;

/// Foreign text for one line: what steers, hides or ends the line is escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, steers)
}

/// Text of several lines: the line ends of the program stay, everything else is escaped as in [`printable`].
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character != '\n' && steers(character))
}

/// JSON text in which the strings show nothing but what they say. It means the same: what is escaped can stand in
/// strings only, and JSON has its own escapes for it.
pub fn printable_json(text: &str) -> Cow<'_, str> {
    let steers = |character| character != '\n' && steers(character);
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if steers(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// The bytes of a path for one line. A byte that is no UTF-8 is shown as `\xe9`, so that two names never look alike
/// for want of a letter.
pub fn printable_bytes(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&printable(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// The bytes that [`printable_bytes`] may have shown like this. Another name may look like it, if it holds backslashes.
pub fn bytes_shown_as(shown: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        let (meant, length) = meant_by(escape).unwrap_or((b"\\".to_vec(), 1));
        bytes.extend(meant);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// What the escape means that a text begins with, and how long it is.
fn meant_by(escape: &str) -> Option<(Vec<u8>, usize)> {
    let short = |meant: u8| Some((vec![meant], 2));
    match escape.as_bytes().get(1)? {
        b'n' => short(b'\n'),
        b'r' => short(b'\r'),
        b't' => short(b'\t'),
        b'x' => Some((vec![u8::from_str_radix(escape.get(2..4)?, 16).ok()?], 4)),
        b'u' => {
            let digits = escape.strip_prefix("\\u{")?.split_once('}')?.0;
            let meant = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            Some((meant.to_string().into_bytes(), digits.len() + 4))
        }
        _ => None,
    }
}

fn escaped(text: &str, steers: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Nearly every text is plain, and an export asks for each of its cells.
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_plain || !text.chars().any(&steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' if steers(character) => shown.extend(character.escape_default()),
            other if steers(other) => shown.extend(other.escape_unicode()),
            other => shown.push(other),
        }
    }
    Cow::Owned(shown)
}

/// Whether a character does something else than to be seen. The two that emojis and lost text are made of stay.
fn steers(character: char) -> bool {
    (character.is_control() || is_invisible(character)) && !matches!(character, '\u{FE0F}' | '\u{FFFD}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;x\u{7}\r\n\u{202e}b\u{9b}2Jé";

    #[test]
    fn nothing_steers_and_nothing_is_left_out() {
        let shown = printable(HOSTILE);
        assert_eq!(shown, "a\\u{1b}]0;x\\u{7}\\r\\n\\u{202e}b\\u{9b}2Jé");
        assert_eq!(printable_lines("a\n\tb\u{1b}"), "a\n\\tb\\u{1b}");
        assert!(matches!(printable("Élodie ❤\u{fe0f} vip"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_means_the_same() {
        let text = serde_json::json!({ "note": HOSTILE, "tag": "\u{e0041}" }).to_string();
        let shown = printable_json(&text);
        assert!(!shown.chars().any(steers), "{shown}");
        let (one, other): (serde_json::Value, serde_json::Value) = (
            serde_json::from_str(&text).unwrap(),
            serde_json::from_str(&shown).unwrap(),
        );
        assert_eq!(one, other);
    }

    #[test]
    fn bytes_that_are_no_text_stay_apart() {
        assert_eq!(printable_bytes(b"caf\xe9.csv"), "caf\\xe9.csv");
        assert_ne!(printable_bytes(b"caf\xe9.csv"), printable_bytes(b"caf\xe8.csv"));
        assert_eq!(printable_bytes("café\n.csv".as_bytes()), "café\\n.csv");
        for name in [
            &b"caf\xe9\t.csv"[..],
            b"\x1b[1m\xff\xfe",
            "a\u{202e}b\r\n".as_bytes(),
            b"",
            b"a\\",
        ] {
            assert_eq!(bytes_shown_as(&printable_bytes(name)), name);
        }
        for odd in ["\\", "\\x", "\\xg0", "\\u{", "\\u{110000}", "\\xé9", "a\\q"] {
            assert_eq!(bytes_shown_as(odd), odd.as_bytes());
        }
    }
}

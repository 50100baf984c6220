//! Commands as they are typed: hints name the next one, for the very ledger that is meant.

use crate::model::text::printable;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

/// The ledger that is meant where no flag names one.
const USUAL_LEDGER: &str = "rollbook.db";

/// Verbs that work on a ledger.
const LEDGER_VERBS: [&str; 12] = [
    "load", "lists", "unload", "plan", "assign", "remove", "resume", "status", "export", "batches", "settle",
    "doctor",
];

/// A command on this ledger.
pub fn on_ledger(ledger: &Path, command: &str) -> String {
    if ledger == Path::new(USUAL_LEDGER) {
        return format!("rollbook {command}");
    }
    format!("rollbook --ledger {} {command}", quoted(ledger))
}

/// A text in which every command names this ledger, unless it names one already.
pub fn name_ledger(text: &str, ledger: &Path) -> String {
    let mut named = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("rollbook ") {
        let (before, from) = rest.split_at(at);
        let command = &from["rollbook ".len()..];
        let verb: String = command.chars().take_while(char::is_ascii_alphanumeric).collect();
        let whole = command.split('`').next().unwrap_or_default();
        let works_on_it = LEDGER_VERBS.contains(&verb.as_str()) && !whole.contains("--ledger");
        named += before;
        named += &if works_on_it {
            on_ledger(ledger, "")
        } else {
            "rollbook ".into()
        };
        rest = command;
    }
    named + rest
}

/// An argument as a shell takes it, also one that is no text or that would steer a terminal.
pub fn quoted(argument: impl AsRef<OsStr>) -> String {
    let bytes = argument.as_ref().as_encoded_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && bytes.iter().all(is_plain) => text.to_owned(),
        Ok(text) if matches!(printable(text), Cow::Borrowed(_)) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => {
            let escaped = bytes.iter().map(|byte| match byte {
                b' '..=b'~' if !matches!(byte, b'\'' | b'\\') => char::from(*byte).to_string(),
                _ => format!("\\x{byte:02x}"),
            });
            format!("$'{}'", escaped.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn an_argument_is_quoted_as_a_shell_takes_it() {
        assert_eq!(quoted("out/vip.audit.csv"), "out/vip.audit.csv");
        assert_eq!(quoted("it's new é"), r"'it'\''s new é'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("a\u{1b}[2J\\'"), r"$'a\x1b[2J\x5c\x27'");
        assert_eq!(quoted(OsStr::from_bytes(b"caf\xe9.csv")), r"$'caf\xe9.csv'");
    }

    #[test]
    fn every_command_names_the_ledger_that_is_meant() {
        let named = |text: &str| name_ledger(text, Path::new("vip list.db"));
        assert_eq!(
            named("`rollbook batches` says why, then `rollbook resume`; rollbook export > a.csv"),
            "`rollbook --ledger 'vip list.db' batches` says why, then `rollbook --ledger 'vip list.db' resume`; \
             rollbook --ledger 'vip list.db' export > a.csv"
        );
        for left in [
            "`rollbook statuses` lists them",
            "update rollbook; nothing was touched",
            "`rollbook doctor --ledger other.db` says more",
            "another rollbook",
        ] {
            assert_eq!(named(left), left);
        }
        let usual = "`rollbook resume` goes on";
        assert_eq!(name_ledger(usual, Path::new("rollbook.db")), usual);
    }
}

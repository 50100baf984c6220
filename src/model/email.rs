//! An email as this program compares it, and the rules by which a text may become one.
//!
//! Emails are personal data: nothing here prints one in full unless the caller asks for the text by name.
//! This file knows neither lists nor the tenant, it only says which texts are addresses and when two of them
//! are the same.

use std::borrow::Cow;
use std::fmt;

use email_address::{EmailAddress, Error as Malformed, Options};

use super::address;

/// The longest address that mail can carry: 256 bytes of a path less its two brackets (RFC 5321, 4.5.3.1.3).
pub const EMAIL_LIMIT_BYTES: usize = 254;

const LOCAL_LIMIT_BYTES: usize = 64;
const LABEL_LIMIT_BYTES: usize = 63;

/// A valid email, trimmed and case-folded, so that equal emails are equal values.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email {
    text: String,
}

impl Email {
    /// Trims, folds and validates one text.
    pub fn parse(raw: &str) -> Result<Email, InvalidEmail> {
        let folded = check(raw.trim())?;
        Ok(Email {
            text: folded.into_owned(),
        })
    }

    /// The email that a cell of a list holds alone, in the dress of a link or behind a name where it wears one.
    pub fn in_cell(cell: &str) -> Result<Email, InvalidEmail> {
        Email::parse(cell).or_else(|error| match address::alone(cell) {
            Some(address) => Email::parse(&address).map_err(|_| error),
            None => Err(error),
        })
    }

    /// Takes the value of what a cell of a list holds alone, like [`Email::in_cell`], or keeps its own.
    pub fn replace_by_cell(&mut self, cell: &str) -> Result<(), InvalidEmail> {
        self.replace(cell).or_else(|error| match address::alone(cell) {
            Some(address) => self.replace(&address).map_err(|_| error),
            None => Err(error),
        })
    }

    /// Takes the value of another text, or keeps its own where that text is no email.
    ///
    /// A list of millions reuses one buffer this way instead of allocating for every row.
    pub fn replace(&mut self, raw: &str) -> Result<(), InvalidEmail> {
        let trimmed = raw.trim();
        if is_plain(trimmed.as_bytes()) {
            self.text.clear();
            self.text.push_str(trimmed);
            self.text.make_ascii_lowercase();
        } else {
            self.text = check(trimmed)?.into_owned();
        }
        Ok(())
    }

    /// Takes a text that was an email when it was written down, trimmed and folded, and is one still.
    pub fn from_ledger(folded: &str) -> Email {
        Email {
            text: folded.to_owned(),
        }
    }

    /// The full address. Personal data: for the ledger and the tenant, not for logs.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Shows the first character and the domain, which is enough to recognise an entry and too little to write to
/// it.
impl fmt::Display for Email {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, domain) = self.text.rsplit_once('@').unwrap_or(("", ""));
        let first = local.chars().next().unwrap_or('…');
        write!(formatter, "{first}…@{domain}")
    }
}

/// Redacted like `Display`, so that a derived `Debug` around an email leaks nothing.
impl fmt::Debug for Email {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Email({self})")
    }
}

/// Says whether a profile's email is the very one that was asked for: trimmed, case-folded, and nothing
/// looser.
///
/// An ASCII email is matched by ASCII only. Full folding would turn a Kelvin sign into a `k`, and so one
/// person's address into another's.
pub fn same(asked: &Email, returned: &str) -> bool {
    let returned = returned.trim();
    if asked.text.is_ascii() {
        asked.text.eq_ignore_ascii_case(returned)
    } else {
        asked.text == returned.to_lowercase()
    }
}

/// Why a text is no email, in few words that never contain the text itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEmail {
    /// Nothing, or nothing but space.
    #[error("empty")]
    Empty,
    /// Longer than mail can carry.
    #[error("longer than {EMAIL_LIMIT_BYTES} bytes")]
    TooLong,
    /// No separator.
    #[error("no @")]
    NoAt,
    /// Two addresses in one cell, mostly.
    #[error("more than one @")]
    SeveralAts,
    /// A space of any kind between two visible characters.
    #[error("space inside: {}", code_point(*.0))]
    Space(char),
    /// A character that steers a terminal or a machine.
    #[error("control character {}", code_point(*.0))]
    Control(char),
    /// A character that nobody can see: zero-width, bidirectional control, filler, variation selector.
    #[error("invisible character {}", code_point(*.0))]
    Invisible(char),
    /// A character that folding would turn into an ASCII letter, so that two different texts became one
    /// email.
    #[error("character {} that would become an ASCII letter in lower case", code_point(*.0))]
    Lookalike(char),
    /// A domain that holds what no host name holds.
    #[error("character {} in the domain", code_point(*.0))]
    DomainCharacter(char),
    /// The quoted form of the part before the @, legal on paper and refused nearly everywhere.
    #[error("quoted part before the @")]
    Quoted,
    /// Any other break with the grammar, in words.
    #[error("{0}")]
    Grammar(&'static str),
}

fn code_point(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

/// Validates a trimmed text and gives its folded form, which is what gets compared and therefore what must be
/// valid.
fn check(trimmed: &str) -> Result<Cow<'_, str>, InvalidEmail> {
    if is_plain(trimmed.as_bytes()) {
        return Ok(fold_ascii(trimmed));
    }
    if trimmed.is_empty() {
        return Err(InvalidEmail::Empty);
    }
    // Before folding, which costs in proportion, and so that a megabyte of text is refused for its length
    // alone.
    if trimmed.len() > EMAIL_LIMIT_BYTES {
        return Err(InvalidEmail::TooLong);
    }
    trimmed.chars().try_for_each(check_character)?;
    let folded = trimmed.to_lowercase();
    check_grammar(&folded)?;
    Ok(Cow::Owned(folded))
}

fn fold_ascii(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn check_character(character: char) -> Result<(), InvalidEmail> {
    if character.is_control() {
        Err(InvalidEmail::Control(character))
    } else if is_invisible(character) {
        Err(InvalidEmail::Invisible(character))
    } else if character.is_whitespace() {
        Err(InvalidEmail::Space(character))
    } else if !character.is_ascii() && character.to_lowercase().any(|lower| lower.is_ascii()) {
        Err(InvalidEmail::Lookalike(character))
    } else {
        Ok(())
    }
}

/// Says whether a character shows nothing, or changes how its neighbours show.
///
/// Unicode's default-ignorable characters, the bidirectional controls among them, and the signs that stand
/// for lost text.
pub fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFD}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Applies the grammar to a folded text, odd forms refused.
fn check_grammar(folded: &str) -> Result<(), InvalidEmail> {
    if folded.len() > EMAIL_LIMIT_BYTES {
        return Err(InvalidEmail::TooLong);
    }
    let Some((local, domain)) = folded.rsplit_once('@') else {
        return Err(InvalidEmail::NoAt);
    };
    if local.starts_with('"') {
        return Err(InvalidEmail::Quoted);
    }
    if local.contains('@') {
        return Err(InvalidEmail::SeveralAts);
    }
    let options = Options::default()
        .with_required_tld()
        .without_domain_literal()
        .without_display_text();
    EmailAddress::parse_with_options(folded, options).map_err(in_our_words)?;
    // The crate lets a label hold anything that may stand before the @, such as `!` or `/`. An underscore is
    // tolerated: no host bears one, but some tenants store it, and a look-up that finds nothing does no harm.
    match domain
        .chars()
        .find(|&c| c.is_ascii() && !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | '_'))
    {
        Some(character) => Err(InvalidEmail::DomainCharacter(character)),
        None => Ok(()),
    }
}

/// The kinds that are left; spaces, quotes and lengths have been refused by now.
fn in_our_words(error: Malformed) -> InvalidEmail {
    InvalidEmail::Grammar(match error {
        Malformed::LocalPartEmpty => "nothing before the @",
        Malformed::LocalPartTooLong => "more than 64 bytes before the @",
        Malformed::DomainEmpty => "nothing after the @",
        Malformed::SubDomainEmpty => "a stray dot in the domain",
        Malformed::SubDomainTooLong => "a part of the domain longer than 63 bytes",
        Malformed::DomainTooFew => "no dot in the domain",
        Malformed::UnsupportedDomainLiteral => "an IP address for a domain",
        _ => "a character or dot that an email cannot hold there",
    })
}

const ATOM: u8 = 1;
const HOST: u8 = 2;
const ALPHANUMERIC: u8 = 4;

/// What an ASCII byte may be part of: an atom before the @, a label after it, the edge of a label.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let here = byte as u8;
        if here.is_ascii_alphanumeric() {
            classes[byte] = ATOM | HOST | ALPHANUMERIC;
        } else if here == b'-' {
            classes[byte] = ATOM | HOST;
        } else if matches!(here, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~')
        {
            classes[byte] = ATOM;
        }
        byte += 1;
    }
    classes
};

/// Says whether a text is an ASCII address of the ordinary shape, which needs no further look.
///
/// This accepts a strict subset of what [`check_grammar`] accepts (a property test holds it to that) and
/// refuses nothing for good: what it does not take goes the long way. It is here because ten million
/// addresses pass through.
fn is_plain(text: &[u8]) -> bool {
    let Some(at) = text.iter().position(|&byte| byte == b'@') else {
        return false;
    };
    text.len() <= EMAIL_LIMIT_BYTES && is_plain_local(&text[..at]) && is_plain_domain(&text[at + 1..])
}

fn is_plain_local(local: &[u8]) -> bool {
    let mut after_dot = true;
    for &byte in local {
        if byte == b'.' {
            if after_dot {
                return false;
            }
            after_dot = true;
        } else if CLASSES[usize::from(byte)] & ATOM != 0 {
            after_dot = false;
        } else {
            return false;
        }
    }
    // An empty part is refused here too, since it ends as it begins: after a dot, as it were.
    !after_dot && local.len() <= LOCAL_LIMIT_BYTES
}

fn is_plain_domain(domain: &[u8]) -> bool {
    let mut labels = 1;
    let mut label_length = 0;
    let mut previous = 0;
    for &byte in domain {
        if byte == b'.' {
            if previous & ALPHANUMERIC == 0 || label_length > LABEL_LIMIT_BYTES {
                return false;
            }
            labels += 1;
            label_length = 0;
            previous = 0;
            continue;
        }
        let class = CLASSES[usize::from(byte)];
        let allowed = if label_length == 0 { ALPHANUMERIC } else { HOST };
        if class & allowed == 0 {
            return false;
        }
        label_length += 1;
        previous = class;
    }
    labels >= 2 && previous & ALPHANUMERIC != 0 && label_length <= LABEL_LIMIT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason(raw: &str) -> String {
        Email::parse(raw).expect_err("should be refused").to_string()
    }

    #[test]
    fn trims_and_folds() {
        for raw in [
            " Ann.Lee+News@Example.COM\t",
            "\u{a0}ANN.LEE+NEWS@EXAMPLE.com\r\n",
        ] {
            assert_eq!(
                Email::parse(raw).map(|email| email.as_str().to_owned()),
                Ok("ann.lee+news@example.com".to_string())
            );
        }
        assert_eq!(
            Email::parse("JÜRGEN@BÜCHER.example").unwrap().as_str(),
            "jürgen@bücher.example"
        );
    }

    #[test]
    fn refuses_odd_forms_in_words_of_its_own() {
        assert_eq!(reason("  "), "empty");
        assert_eq!(reason("ann.example.com"), "no @");
        assert_eq!(reason("ann@example"), "no dot in the domain");
        assert_eq!(reason("a@example.com,b@example.com"), "more than one @");
        assert_eq!(reason("Ann <ann@example.com>"), "space inside: U+0020");
        assert_eq!(reason("\"ann\"@example.com"), "quoted part before the @");
        assert_eq!(reason("ann@[192.0.2.1]"), "an IP address for a domain");
        assert_eq!(reason("ann@exam/ple.com"), "character U+002F in the domain");
        assert_eq!(reason("ann@example..com"), "a stray dot in the domain");
        assert_eq!(reason("@example.com"), "nothing before the @");
        assert_eq!(reason("ann@"), "nothing after the @");
        assert_eq!(
            reason(&format!("ann@{}.com", "a".repeat(64))),
            "a part of the domain longer than 63 bytes"
        );
        assert_eq!(
            reason(&format!("{}@example.com", "a".repeat(65))),
            "more than 64 bytes before the @"
        );
        assert_eq!(
            reason(&"a".repeat(EMAIL_LIMIT_BYTES + 1)),
            "longer than 254 bytes"
        );
    }

    #[test]
    fn counts_bytes_to_the_last() {
        let of_length = |bytes: usize| {
            let domain = "b".repeat(60) + "." + &"c".repeat(60) + "." + &"d".repeat(60) + ".example";
            "ü".to_owned() + &"a".repeat(bytes - 3 - domain.len()) + "@" + &domain
        };
        assert_eq!(of_length(EMAIL_LIMIT_BYTES).len(), EMAIL_LIMIT_BYTES);
        assert!(Email::parse(&of_length(EMAIL_LIMIT_BYTES)).is_ok());
        assert_eq!(reason(&of_length(EMAIL_LIMIT_BYTES + 1)), "longer than 254 bytes");
        let with_space = "a b".to_owned() + &"a".repeat(EMAIL_LIMIT_BYTES);
        assert_eq!(
            reason(&with_space),
            "longer than 254 bytes",
            "whatever else is wrong"
        );
    }

    #[test]
    fn ordinary_addresses_take_the_short_way() {
        for plain in ["ann-marie.o'neil+news@my-shop.example.com", "1_2@3.example"] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
    }

    #[test]
    fn names_what_cannot_be_seen() {
        assert_eq!(reason("ann\u{200b}@example.com"), "invisible character U+200B");
        assert_eq!(reason("\u{feff}ann@example.com"), "invisible character U+FEFF");
        assert_eq!(reason("ann\u{202e}@example.com"), "invisible character U+202E");
        assert_eq!(reason("ann\u{7}@example.com"), "control character U+0007");
        assert_eq!(reason("ann\u{a0}lee@example.com"), "space inside: U+00A0");
        assert!(reason("\u{212a}im@example.com").starts_with("character U+212A"));
    }

    #[test]
    fn shows_little() {
        let email = Email::parse("ann.lee@example.com").unwrap();
        assert_eq!(email.to_string(), "a…@example.com");
        assert_eq!(format!("{email:?}"), "Email(a…@example.com)");
    }

    #[test]
    fn compares_trimmed_and_folded_but_not_across_alphabets() {
        let asked = Email::parse("kim@example.com").unwrap();
        assert!(same(&asked, " KIM@Example.com "));
        assert!(!same(&asked, "\u{212a}im@example.com"));
        assert!(!same(&asked, "kim@example.com.au"));
        assert!(same(
            &Email::parse("jürgen@example.com").unwrap(),
            "JÜRGEN@EXAMPLE.COM"
        ));
    }

    #[test]
    fn keeps_its_value_when_the_next_text_is_no_email() {
        let mut email = Email::parse("ann@example.com").unwrap();
        assert_eq!(email.replace("nobody"), Err(InvalidEmail::NoAt));
        assert_eq!(email.as_str(), "ann@example.com");
        email.replace("Bob@example.com").unwrap();
        assert_eq!(email.as_str(), "bob@example.com");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_fast_path_accepts_nothing_that_the_grammar_refuses(
            raw in "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~@\" <>-]{0,12}@?[a-cA-C0-9._!-]{0,8}[.]?[a-z-]{0,4}|\\PC{0,9}@\\PC{0,9}"
        ) {
            if is_plain(raw.as_bytes()) {
                prop_assert!(raw.chars().try_for_each(check_character).is_ok());
                prop_assert_eq!(check_grammar(&raw.to_lowercase()), Ok(()));
                prop_assert_eq!(fold_ascii(&raw).into_owned(), raw.to_lowercase());
            }
        }

        #[test]
        fn every_length_agrees_with_the_grammar(local in 0usize..70, label in 0usize..70, more in 0usize..130) {
            let raw = format!("{}@{}.{}.example", "a".repeat(local), "b".repeat(label), "c.".repeat(more) + "d");
            prop_assert_eq!(is_plain(raw.as_bytes()), check_grammar(&raw).is_ok());
        }

        #[test]
        fn an_email_is_its_own_folded_form(raw in "\\PC{1,8}@\\PC{1,6}\\.\\PC{1,4}|[A-ZÀ-ÖΣİK]{1,5}@[a-zß]{1,4}\\.[A-Z]{2}") {
            if let Ok(email) = Email::parse(&raw) {
                prop_assert_eq!(&Email::parse(email.as_str()).unwrap(), &email);
                prop_assert!(same(&email, &raw));
                let mut again = Email::parse("x@example.com").unwrap();
                again.replace(&raw).unwrap();
                prop_assert_eq!(again, email);
            }
        }
    }
}

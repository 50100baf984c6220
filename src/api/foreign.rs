//! Text that others wrote, made fit to be kept and shown: without the token, control characters and addresses.
//!
//! The token is taken out before the text is cut, and so is any part of it that is long enough to be of use: a text
//! that was cut first, here or by the tenant, would keep all but the end of it.

use secrecy::{ExposeSecret, SecretString};

/// Characters of a text that are kept.
const KEPT_CHARS: usize = 300;
/// Characters of a text that are looked at. More than is kept, since what is taken out makes room for what follows.
const READ_CHARS: usize = 4_000;
/// The shortest part of a token that is taken out.
const SHORTEST_PART_CHARS: usize = 8;
/// The longest id that is believed to be one.
const ID_LIMIT_BYTES: usize = 200;

/// What is known of the token that answers must not echo.
pub(super) struct Foreign {
    token: SecretString,
}

impl Foreign {
    /// Takes this token out of all texts.
    pub(super) fn new(token: &SecretString) -> Self {
        Self { token: token.clone() }
    }

    /// A text on one line.
    pub(super) fn clean(&self, text: &str) -> String {
        let text: String = text.chars().take(READ_CHARS).collect();
        let visible = |word: &str| word.chars().filter(|c| !c.is_control()).collect::<String>();
        let words = text.split_whitespace().map(visible);
        let words = words.map(|word| {
            if holds_address(&word) {
                "…@…".to_owned()
            } else {
                word
            }
        });
        let line = words.collect::<Vec<_>>().join(" ");
        self.without_token(&line).chars().take(KEPT_CHARS).collect()
    }

    /// A name that is compared, so that only the whole token is taken out of it.
    pub(super) fn name(&self, text: String) -> String {
        if self.holds_token(&text) {
            "…".to_owned()
        } else {
            text
        }
    }

    /// Whether a text can be an id that is asked for and written down.
    pub(super) fn is_id(&self, text: &str) -> bool {
        let plain = |c: char| !c.is_control() && !c.is_whitespace();
        !text.is_empty() && text.len() <= ID_LIMIT_BYTES && text.chars().all(plain) && !self.holds_token(text)
    }

    fn holds_token(&self, text: &str) -> bool {
        let token = self.token.expose_secret().to_ascii_lowercase();
        !token.is_empty() && text.to_ascii_lowercase().contains(&token)
    }

    fn without_token(&self, text: &str) -> String {
        let folded = |text: &str| -> Vec<char> { text.chars().map(|c| c.to_ascii_lowercase()).collect() };
        let (token, line) = (folded(self.token.expose_secret()), folded(text));
        let shortest = token.len().clamp(1, SHORTEST_PART_CHARS);
        let characters: Vec<char> = text.chars().collect();
        let (mut kept, mut at) = (String::new(), 0);
        while at < characters.len() {
            let part = longest_part(&token, &line[at..]);
            kept.push(if part < shortest { characters[at] } else { '…' });
            at += if part < shortest { 1 } else { part };
        }
        kept
    }
}

/// How many characters the longest part of a token has that a text begins with.
fn longest_part(token: &[char], text: &[char]) -> usize {
    let common = |start: usize| {
        let pairs = token[start..].iter().zip(text);
        pairs.take_while(|(one, other)| one == other).count()
    };
    (0..token.len()).map(common).max().unwrap_or(0)
}

/// Whether a word may hold an email, as it is or as it stands in an address of the web.
fn holds_address(word: &str) -> bool {
    word.contains(['@', '＠']) || word.contains("%40") || word.contains("%2540")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "12|abcdefghijklmnopqrstuvwxyz01";

    fn foreign() -> Foreign {
        Foreign::new(&SecretString::from(TOKEN))
    }

    #[test]
    fn a_token_is_taken_out_before_a_text_is_cut() {
        for blanks in [0, 1, 260, 270, 285, 299, 300, 400] {
            let text = format!("{} {TOKEN} is not good", "x".repeat(blanks));
            let clean = foreign().clean(&text);
            assert!(!clean.contains("abcdefgh"), "{blanks}: {clean}");
            assert!(clean.chars().count() <= KEPT_CHARS);
        }
        let said = foreign().clean(&format!("bad {TOKEN} and {TOKEN}."));
        assert_eq!(said, "bad … and ….");
    }

    #[test]
    fn a_part_of_a_token_is_taken_out_too_however_it_is_written() {
        let most = &TOKEN[..TOKEN.len() - 2];
        assert_eq!(foreign().clean(&format!("bad `{most}…`")), "bad `……`");
        assert_eq!(foreign().clean(&TOKEN.to_uppercase()), "…");
        assert_eq!(foreign().clean("x12|abcd\u{0}efghij\u{7}kl!"), "x…!");
        assert_eq!(
            foreign().clean("abcdefg is no part that helps"),
            "abcdefg is no part that helps"
        );
        let short = Foreign::new(&SecretString::from("abc"));
        assert_eq!(short.clean("xabcx ab"), "x…x ab");
        let none = Foreign::new(&SecretString::from(""));
        assert_eq!(none.clean("all of it"), "all of it");
    }

    #[test]
    fn what_may_not_be_shown_is_not() {
        assert_eq!(foreign().clean("bad ann@example.com\u{1b}[2J\n\tx"), "bad …@… x");
        assert_eq!(foreign().clean("see /p?email=ann%40example.com"), "see …@…");
    }

    #[test]
    fn an_id_is_one_that_can_be_asked_for() {
        for good in ["7", "9c5b94b1-35ad-49bb-b118-8e8fc24abf80", "p/1"] {
            assert!(foreign().is_id(good), "{good}");
        }
        for bad in ["", "a b", "a\u{1b}", &"x".repeat(201), &format!("b-{TOKEN}")] {
            assert!(!foreign().is_id(bad), "{bad}");
        }
        assert_eq!(foreign().name("vip".into()), "vip");
        assert_eq!(foreign().name(TOKEN.into()), "…");
    }
}

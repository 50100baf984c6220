//! An address in the dress in which people copy it out of mail and web pages: `Ann <ann@example.com>`, `<ann@example.com>`
//! and `mailto:ann@example.com`. It is taken only where it is the one address in the text.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The address that a dressed text holds alone, as it is written there; nothing where the text is not dressed.
///
/// What comes out may still be no email: that is for [`Email`](super::email::Email) to say.
pub fn alone(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    if text.bytes().filter(|byte| *byte == b'@').count() != 1 {
        return None;
    }
    let inside = text
        .strip_suffix('>')
        .and_then(|text| text.split_once('<'))
        .map(|(_name, inside)| inside.trim());
    match (inside, linked(inside.unwrap_or(text))) {
        (_, Some(address)) => Some(address),
        (inside, None) => inside.map(Cow::Borrowed),
    }
}

/// The address of a `mailto:` link, unless the link names other recipients as well.
fn linked(text: &str) -> Option<Cow<'_, str>> {
    let (scheme, rest) = text.split_at_checked("mailto:".len())?;
    if !scheme.eq_ignore_ascii_case("mailto:") {
        return None;
    }
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let names_others = query.contains('@') || query.to_ascii_lowercase().contains("%40");
    (!names_others)
        .then(|| percent_decode_str(address).decode_utf8().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_in_its_dress_is_found() {
        for (text, address) in [
            ("Ann <ann@example.com>", "ann@example.com"),
            (" \"Lee, Ann\" <Ann@Example.com> ", "Ann@Example.com"),
            ("<ann@example.com>", "ann@example.com"),
            ("< ann@example.com >", "ann@example.com"),
            ("mailto:ann@example.com", "ann@example.com"),
            (
                "MailTo:ann%2Bnews@example.com?subject=Hello",
                "ann+news@example.com",
            ),
            ("Ann <mailto:ann@example.com>", "ann@example.com"),
            ("Ann <a<b@example.com>", "a<b@example.com"),
        ] {
            assert_eq!(alone(text).as_deref(), Some(address), "{text}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "ann@example.com",
            "Ann ann@example.com",
            "see <ann@example.com> there",
            "Ann <ann@example.com>, Bob <bob@example.com>",
            "ann@example.org <ann@example.com>",
            "mailto:ann@example.com,bob@example.com",
            "mailto:?to=ann@example.com",
            "mailto:ann@example.com?cc=bob%40example.com",
            "mailto:ann%ff@example.com",
            "mailto:ann%40example.com",
            "mailtö",
        ] {
            assert_eq!(alone(text), None, "{text}");
        }
    }
}

//! Any text, taken for an email.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook::model::email::{Email, EMAIL_LIMIT_BYTES, is_invisible, same};

fuzz_target!(|raw: &str| {
    let mut replaced = Email::parse("x@example.com").expect("an email");
    let outcome = replaced.replace(raw);
    let email = match Email::parse(raw) {
        Ok(email) => email,
        Err(why) => {
            assert_eq!(outcome, Err(why.clone()));
            assert_eq!(replaced.as_str(), "x@example.com");
            assert!(why.to_string().is_ascii(), "a reason repeats what it found");
            return;
        }
    };
    assert_eq!((outcome, &replaced), (Ok(()), &email));
    let text = email.as_str();
    assert!(text.len() <= EMAIL_LIMIT_BYTES);
    assert_eq!(text.matches('@').count(), 1);
    let unfit = |c: char| c.is_control() || c.is_whitespace() || is_invisible(c);
    assert!(!text.contains(unfit), "{text:?}");
    assert_eq!(Email::parse(text).as_ref(), Ok(&email), "not its own folded form");
    assert!(same(&email, raw));
    assert_eq!(Email::from_ledger(text), email);
    // What is shown of it is not enough to write to it.
    let (local, domain) = text.split_once('@').expect("one @");
    let shown = email.to_string();
    assert!(shown.ends_with(domain) && (local.chars().count() < 2 || !shown.contains(text)));
});

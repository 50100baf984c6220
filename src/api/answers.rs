//! The JSON shapes of the tenant's answers, read with distrust.
//!
//! Only the fields that matter are read. What may be missing is optional, numbers may come as strings, and
//! whatever has the wrong shape is an error with a short description: never a default that looks like data.

use super::foreign::Foreign;
use super::{Holding, Page, StatusDefinition};
use crate::model::ids::{Handle, ProfileId};
use crate::model::lookup::Found;
use crate::model::outcome::{self, Complaint};
use serde::Deserialize;
use serde_json::Value;

/// Some programs begin a text with this mark, which is no part of JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Deserialize)]
pub(super) struct List<T> {
    data: Vec<T>,
    #[serde(default)]
    links: Option<Links>,
    #[serde(default)]
    meta: Option<Meta>,
    /// Laravel's plain paginator says the same beside `data`.
    #[serde(flatten)]
    beside: Meta,
}

/// Only whether there is a next page is read; the URL itself is never followed, it could lead anywhere.
#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    next: Option<Value>,
}

#[derive(Deserialize, Default)]
struct Meta {
    #[serde(default)]
    current_page: Option<Value>,
    #[serde(default)]
    last_page: Option<Value>,
    #[serde(default)]
    total: Option<Value>,
    #[serde(default)]
    per_page: Option<Value>,
    #[serde(default)]
    next_page_url: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct One<T> {
    pub(super) data: T,
}

#[derive(Deserialize)]
struct Status {
    handle: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Profile {
    id: String,
    email: Option<String>,
    #[serde(default)]
    statuses: Option<Value>,
    #[serde(default)]
    statuses_original: Option<Value>,
}

#[derive(Deserialize)]
struct OneProfile {
    id: String,
    statuses: Vec<String>,
    #[serde(default)]
    statuses_original: Option<Value>,
    #[serde(default, deserialize_with = "said_email")]
    email: Option<String>,
}

/// That an email is `null` says that there is none; where the field is missing nothing is said.
fn said_email<'de, D: serde::Deserializer<'de>>(email: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(email).map(|email| Some(email.unwrap_or_default()))
}

/// What is wrong with a body, in words that hold nothing of it.
pub(super) type Wrong = String;

pub(super) fn parse<'b, T: Deserialize<'b>>(body: &'b [u8], what: &str) -> Result<T, Wrong> {
    let body = unmarked(body);
    serde_json::from_slice(body).map_err(|error| {
        let kind = if body.trim_ascii_start().starts_with(b"<") {
            "an HTML page".to_owned()
        } else if error.is_eof() {
            "cut off".to_owned()
        } else {
            // The error names fields and types, never values of strings.
            format!(
                "of the wrong shape at line {}, column {}",
                error.line(),
                error.column()
            )
        };
        format!("the answer to {what} is {kind}")
    })
}

/// A body without the mark that it may begin with.
fn unmarked(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// A number that may have come as a string.
pub(super) fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

impl<T> List<T> {
    /// Page `asked` of an answer, each of its items read by `read`; nothing where it says that it is another page: taken
    /// for the last one, it would hide whoever stands on the page that was asked for.
    pub(super) fn page<U>(
        self,
        asked: u32,
        read: impl FnMut(T) -> Result<Option<U>, Wrong>,
    ) -> Result<Option<Page<U>>, Wrong> {
        let current = self.told(|meta| meta.current_page.as_ref());
        if !self.data.is_empty() && current.is_some_and(|current| current != u64::from(asked)) {
            return Ok(None);
        }
        let more = self.has_more(asked)?;
        let total = self.told(|meta| meta.total.as_ref());
        let size = self.told(|meta| meta.per_page.as_ref());
        let items = self.data.into_iter().map(read).filter_map(Result::transpose);
        Ok(Some(Page {
            items: items.collect::<Result<_, Wrong>>()?,
            more,
            total,
            size,
        }))
    }

    /// A number that the answer says of its pages.
    fn told(&self, pick: fn(&Meta) -> Option<&Value>) -> Option<u64> {
        let meta = self.meta.as_ref().and_then(|meta| number(pick(meta)));
        meta.or_else(|| number(pick(&self.beside)))
    }

    /// Whether another page follows page `asked`.
    ///
    /// Another page follows where anything says so: `meta.last_page`, a next link, or a total above what all pages up to
    /// this one hold. An answer that says nothing of the kind is bare and whole.
    fn has_more(&self, asked: u32) -> Result<bool, Wrong> {
        let asked_page = u64::from(asked);
        let last = self.told(|meta| meta.last_page.as_ref());
        let total = self.told(|meta| meta.total.as_ref());
        if self.data.is_empty() {
            // Nobody may be called not found because a page came without what it announces.
            return if last.is_some_and(|last| last > asked_page)
                || (asked == 1 && total.is_some_and(|total| total > 0))
            {
                Err(format!("page {asked} is empty, and it says that there is more"))
            } else {
                Ok(false)
            };
        }
        // How many stand before a later page is known only where pages have a size.
        let size = self
            .told(|meta| meta.per_page.as_ref())
            .or((asked == 1).then_some(0));
        let so_far = size.map(|size| {
            (asked_page - 1)
                .saturating_mul(size)
                .saturating_add(self.data.len() as u64)
        });
        let is_short = total.zip(so_far).is_some_and(|(total, so_far)| so_far < total);
        Ok(last.is_some_and(|last| asked_page < last) || is_short || self.has_next_link())
    }

    fn has_next_link(&self) -> bool {
        let link = self.links.as_ref().and_then(|links| links.next.as_ref());
        let links = [link, self.beside.next_page_url.as_ref()];
        links.into_iter().flatten().any(|link| !link.is_null())
    }
}

/// The scopes of the one token that is listed: a bare array, or one in an envelope.
pub(super) fn token_scopes(body: &[u8]) -> Result<Vec<String>, Wrong> {
    #[derive(Deserialize)]
    struct Token {
        scopes: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Tokens {
        Bare(Vec<Token>),
        Wrapped { data: Vec<Token> },
    }
    let tokens: Tokens = parse(body, "the list of tokens")?;
    let (Tokens::Bare(tokens) | Tokens::Wrapped { data: tokens }) = tokens;
    match <[Token; 1]>::try_from(tokens) {
        Ok([token]) => Ok(token.scopes),
        Err(tokens) => Err(format!("it lists {} tokens as the current one", tokens.len())),
    }
}

pub(super) fn statuses(
    body: &[u8],
    page: u32,
    foreign: &Foreign,
) -> Result<Option<Page<StatusDefinition>>, Wrong> {
    let list: List<Status> = parse(body, "Browse statuses")?;
    list.page(page, |status| {
        Ok(status.handle.map(|handle| StatusDefinition {
            handle: Handle::new(foreign.name(handle)),
            name: foreign.clean(&status.name.unwrap_or_default()),
        }))
    })
}

pub(super) fn profiles(body: &[u8], page: u32, foreign: &Foreign) -> Result<Option<Page<Found>>, Wrong> {
    let list: List<Profile> = parse(body, "Browse profiles")?;
    list.page(page, |profile| {
        if !foreign.is_id(&profile.id) {
            return Err("a profile in the answer to Browse profiles has an id that is none".into());
        }
        Ok(Some(Found {
            profile: ProfileId::new(profile.id),
            email: profile.email.unwrap_or_default(),
            held: profile
                .statuses
                .and_then(|held| handles(held, profile.statuses_original.as_ref(), foreign)),
        }))
    })
}

/// What a list says that a profile holds; nothing where it says so in another way than is known.
fn handles(held: Value, details: Option<&Value>, foreign: &Foreign) -> Option<Vec<Handle>> {
    let words: Vec<String> = serde_json::from_value(held).ok()?;
    Some(held_handles(without_display_names(words, details)?, foreign))
}

/// The handles behind the words that a profile shows, by its own details (`statuses_original`). A word that is the handle of
/// no detail and the display name of one stands for that one's handle; nothing where it is the name of several.
///
/// A display name may be the handle of another status.
fn without_display_names(words: Vec<String>, details: Option<&Value>) -> Option<Vec<String>> {
    let details = details.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is = |text: &Value, word: &str| {
        let text = text.as_str().map(|text| text.trim().to_lowercase());
        text == Some(word.trim().to_lowercase())
    };
    let handle = |word: String| {
        if details.iter().any(|detail| is(&detail["handle"], &word)) {
            return Some(word);
        }
        let named = details.iter().filter(|detail| is(&detail["name"], &word));
        let mut handles = named.filter_map(|detail| detail["handle"].as_str());
        match (handles.next(), handles.next()) {
            (None, _) => Some(word),
            (Some(handle), None) => Some(handle.to_owned()),
            (Some(_), Some(_)) => None,
        }
    };
    words.into_iter().map(handle).collect()
}

fn held_handles(words: Vec<String>, foreign: &Foreign) -> Vec<Handle> {
    let handle = |word| Handle::new(foreign.name(word));
    words.into_iter().map(handle).collect()
}

/// The profile that was asked for; nothing where the answer is about another one.
/// What people call a profile: its first and last name, as far as the tenant says.
pub(super) fn name(body: &[u8], asked: &ProfileId, foreign: &Foreign) -> Result<Option<String>, Wrong> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
        #[serde(default)]
        first_name: Option<String>,
        #[serde(default)]
        last_name: Option<String>,
    }
    let profile = parse::<One<Named>>(body, "one profile")?.data;
    let names = [profile.first_name, profile.last_name];
    let name = names.map(Option::unwrap_or_default).join(" ");
    Ok(is_same_id(&profile.id, asked.as_str()).then(|| foreign.clean(&name)))
}

pub(super) fn holding(body: &[u8], asked: &ProfileId, foreign: &Foreign) -> Result<Option<Holding>, Wrong> {
    let profile = parse::<One<OneProfile>>(body, "one profile")?.data;
    let Some(statuses) = without_display_names(profile.statuses, profile.statuses_original.as_ref()) else {
        return Err("the answer for one profile shows statuses by a name that several have".into());
    };
    Ok(is_same_id(&profile.id, asked.as_str()).then(|| Holding {
        held: held_handles(statuses, foreign),
        email: profile.email,
        is_kept: false,
    }))
}

/// Whether two ids are one: opaque, so byte for byte, but that a UUID is the same in capitals.
pub(super) fn is_same_id(one: &str, other: &str) -> bool {
    one == other || (is_uuid(one) && one.eq_ignore_ascii_case(other))
}

/// Whether an id is written as a UUID is.
pub(super) fn is_uuid(id: &str) -> bool {
    let hyphens = [8, 13, 18, 23];
    let fits = |(at, byte): (usize, u8)| {
        if hyphens.contains(&at) {
            byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    };
    id.len() == 36 && id.bytes().enumerate().all(fits)
}

/// The parts of an error body that matter; an error body need not be JSON.
pub(super) fn complaint(body: &[u8], foreign: &Foreign) -> Complaint {
    let body = unmarked(body);
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        let message = match body.trim_ascii_start() {
            [] => String::new(),
            [b'<', ..] => outcome::HTML_PAGE.to_owned(),
            _ => outcome::NO_JSON.to_owned(),
        };
        return Complaint {
            message,
            ..Complaint::default()
        };
    };
    let said = value.get("message").and_then(Value::as_str);
    let mut complaint = Complaint {
        message: said.map(|text| foreign.clean(text)).unwrap_or_default(),
        ..Complaint::default()
    };
    for (key, objections) in value
        .get("errors")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let objection = match objections {
            Value::Array(all) => all.first().and_then(Value::as_str).unwrap_or_default(),
            Value::String(text) => text,
            _ => "",
        };
        let mut steps = key.split('.');
        match (steps.next(), steps.next().map(str::parse)) {
            (Some("profiles"), None) => {
                complaint.about_the_list = true;
                complaint.message = foreign.clean(objection);
            }
            (Some("profiles"), Some(Ok(position))) => {
                complaint.members.push((position, foreign.clean(objection)));
            }
            _ => {}
        }
    }
    complaint
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    fn foreign() -> Foreign {
        Foreign::new(&SecretString::from("a-token-of-nobody"))
    }

    /// The profiles on a page, or that it is another one.
    fn found_on(body: &[u8], asked: u32) -> Result<Page<Found>, Wrong> {
        profiles(body, asked, &foreign())?.ok_or_else(|| "another page".into())
    }

    #[test]
    fn pages_are_followed_by_number_and_end() {
        let more = |meta: &str, asked| {
            let body = format!(r#"{{"data":[{{"id":"p1","email":"a@example.com","statuses":[]}}]{meta}}}"#);
            found_on(body.as_bytes(), asked).map(|page| page.more)
        };
        assert_eq!(more(r#","meta":{"current_page":1,"last_page":3}"#, 1), Ok(true));
        assert_eq!(
            more(r#","meta":{"current_page":"2","last_page":"3"}"#, 2),
            Ok(true)
        );
        assert_eq!(more(r#","meta":{"current_page":3,"last_page":3}"#, 3), Ok(false));
        assert!(
            more(r#","meta":{"current_page":1,"last_page":3}"#, 2).is_err(),
            "it answers page 1 for ever"
        );
        assert_eq!(more(r#","links":{"next":"https://evil.example/"}"#, 1), Ok(true));
        assert_eq!(more(r#","links":{"next":null}"#, 1), Ok(false));
        assert_eq!(more("", 1), Ok(false));
    }

    #[test]
    fn an_empty_page_that_announces_more_is_no_answer() {
        let empty = |meta: &str, asked| {
            let body = format!(r#"{{"data":[],"meta":{{{meta}}}}}"#);
            found_on(body.as_bytes(), asked).map(|page| page.more)
        };
        assert_eq!(empty(r#""current_page":1,"last_page":1,"total":0"#, 1), Ok(false));
        assert_eq!(empty("", 1), Ok(false));
        assert_eq!(
            empty(r#""current_page":4,"last_page":3,"total":60"#, 4),
            Ok(false)
        );
        assert!(empty(r#""current_page":1,"last_page":3"#, 1).is_err());
        assert!(empty(r#""last_page":"1","total":"2""#, 1).is_err());
        assert!(empty(r#""current_page":2,"last_page":3"#, 2).is_err());
    }

    #[test]
    fn what_a_profile_does_not_say_is_not_made_up() {
        let found = |body: &str| found_on(body.as_bytes(), 1).map(|page| page.items);
        assert_eq!(
            found(r#"{"data":[{"id":"p1","email":null}]}"#).unwrap()[0].held,
            None
        );
        assert!(found(r#"{"data":[{"email":"a@example.com"}]}"#).is_err());
        assert!(found(r#"{"data":null}"#).is_err());
        assert_eq!(
            found("<html>").unwrap_err(),
            "the answer to Browse profiles is an HTML page"
        );
        assert_eq!(
            found(r#"{"data":[{"id":"#).unwrap_err(),
            "the answer to Browse profiles is cut off"
        );
        let id = ProfileId::new("p1");
        assert_eq!(
            holding(br#"{"data":{"id":"p2","statuses":["vip"]}}"#, &id, &foreign()),
            Ok(None)
        );
        assert!(holding(br#"{"data":{"id":"p1"}}"#, &id, &foreign()).is_err());
        let email = |field: &str| {
            let body = format!(r#"{{"data":{{"id":"p1","statuses":[]{field}}}}}"#);
            holding(body.as_bytes(), &id, &foreign()).map(|holding| holding.unwrap().email)
        };
        assert_eq!(email(""), Ok(None));
        assert_eq!(email(r#","email":null"#), Ok(Some(String::new())));
        let ann = "Ann@example.com".to_string();
        assert_eq!(email(r#","email":"Ann@example.com""#), Ok(Some(ann)));
    }

    #[test]
    fn complaints_name_members_and_never_addresses() {
        let members = complaint(
            br#"{"message":"bad ann@example.com\u001b","errors":{"profiles.7.profile_id":["is unknown"]}}"#,
            &foreign(),
        );
        assert_eq!(members.members, [(7, "is unknown".to_string())]);
        assert_eq!(members.message, "bad …@…");
        let list = complaint(
            br#"{"message":"x","errors":{"profiles":["may not have more than 500 items"]}}"#,
            &foreign(),
        );
        assert!(list.about_the_list && list.members.is_empty());
        assert_eq!(complaint(b"<html>", &foreign()).message, "an HTML page");
    }

    #[test]
    fn a_total_above_what_stands_there_announces_more() {
        let page = |pages: &str, asked| {
            let body = format!(r#"{{"data":[{{"id":"p1","email":"a@example.com"}}],{pages}}}"#);
            found_on(body.as_bytes(), asked).map(|page| (page.more, page.total))
        };
        for total in ["2", r#""2""#] {
            assert_eq!(
                page(&format!(r#""meta":{{"total":{total}}}"#), 1),
                Ok((true, Some(2)))
            );
            assert_eq!(
                page(&format!(r#""total":{total},"last_page":1"#), 1),
                Ok((true, Some(2)))
            );
        }
        assert_eq!(
            page(r#""meta":{"total":1,"last_page":1}"#, 1),
            Ok((false, Some(1)))
        );
        assert_eq!(
            page(r#""meta":{"total":101,"per_page":100}"#, 2),
            Ok((false, Some(101)))
        );
        assert_eq!(
            page(r#""meta":{"total":201,"per_page":100}"#, 2),
            Ok((true, Some(201)))
        );
        // What contradicts itself is read on.
        assert_eq!(
            page(r#""meta":{"last_page":1},"links":{"next":"/2"}"#, 1),
            Ok((true, None))
        );
        assert_eq!(page(r#""next_page_url":"/2""#, 1), Ok((true, None)));
        assert_eq!(page(r#""meta":{"total":"lots"}"#, 1), Ok((false, None)));
        assert!(page(r#""current_page":1"#, 2).is_err(), "page[number] is ignored");
    }

    #[test]
    fn a_mark_before_an_answer_is_no_part_of_it() {
        let marked = |text: &str| [BYTE_ORDER_MARK, text.as_bytes()].concat();
        let body = marked(r#"{"data":[{"id":"p1","email":"a@example.com"}]}"#);
        assert_eq!(found_on(&body, 1).unwrap().items.len(), 1);
        assert_eq!(
            complaint(&marked(r#"{"message":"no"}"#), &foreign()).message,
            "no"
        );
        assert_eq!(
            complaint(&marked("<html>"), &foreign()).message,
            outcome::HTML_PAGE
        );
        assert_eq!(complaint(b"access denied", &foreign()).message, outcome::NO_JSON);
        assert_eq!(complaint(b" ", &foreign()).message, "");
    }

    #[test]
    fn handles_in_another_shape_are_not_known() {
        let held = |statuses: &str| {
            let body = format!(r#"{{"data":[{{"id":"p1","email":"a@example.com","statuses":{statuses}}}]}}"#);
            found_on(body.as_bytes(), 1).unwrap().items.remove(0).held
        };
        assert_eq!(held(r#"["vip"]"#), Some(vec![Handle::new("vip")]));
        for odd in ["null", r#""vip""#, r#"[{"handle":"vip"}]"#, "7"] {
            assert_eq!(held(odd), None, "{odd}");
        }
    }
    #[test]
    fn statuses_by_display_name_are_read_by_handle() {
        let id = ProfileId::new("p1");
        let both = |words: &str, details: &str| {
            let profile = format!(
                r#"{{"id":"p1","email":"a@example.com","statuses":{words},"statuses_original":{details}}}"#
            );
            let one = holding(format!(r#"{{"data":{profile}}}"#).as_bytes(), &id, &foreign());
            let listed = profiles(format!(r#"{{"data":[{profile}]}}"#).as_bytes(), 1, &foreign());
            let listed = listed.unwrap().unwrap().items.remove(0).held;
            assert_eq!(one.ok().flatten().map(|one| one.held), listed, "{profile}");
            listed
        };
        let gold = Some(vec![Handle::new("gold")]);
        assert_eq!(both(r#"["vip"]"#, r#"[{"handle":"gold","name":"vip"}]"#), gold);
        let vip = Some(vec![Handle::new("vip")]);
        assert_eq!(
            both(r#"["Very VIP"]"#, r#"[{"handle":"vip","name":"Very vip"}]"#),
            vip
        );
        let several = r#"[{"handle":"gold","name":"Best"},{"handle":"vip","name":"Best"}]"#;
        assert_eq!(both(r#"["Best"]"#, several), None);
        for details in [
            "null",
            "[]",
            r#"["vip"]"#,
            r#"[{"name":"vip"}]"#,
            r#"[{"name":"vip","handle":null}]"#,
            r#"[{"handle":"VIP","name":"vip"}]"#,
            r#"[{"handle":"gold","name":"vip"},{"handle":"vip","name":"x"}]"#,
        ] {
            assert_eq!(
                both(r#"["vip"]"#, details),
                Some(vec![Handle::new("vip")]),
                "{details}"
            );
        }
    }
}

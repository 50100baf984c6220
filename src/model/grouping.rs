//! How many emails are asked for in one question, and when a tenant is no longer trusted to answer such questions.
//!
//! That a tenant answers for many emails at once is documented, how they are separated is not. A probe says whether
//! it can be used; while it is used, whatever speaks against it makes the groups smaller or ends them. Nothing is
//! concluded from an answer that something speaks against: its emails are asked for alone.

use super::email::Email;
use super::ids::ProfileId;
use super::lookup::{Found, bearers};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Bytes of all emails of a group, about as they stand in an address: far below the 8 kB that common servers take.
const GROUP_BYTES: usize = 4_500;
/// Characters that separate lists somewhere, or that some filter takes for a wildcard.
const SEPARATORS: [char; 8] = [',', ';', '|', '"', ' ', '%', '*', '\\'];
/// What stands for all characters beyond ASCII in a kind.
const BEYOND_ASCII: char = 'é';
/// Characters that are in so many emails that a probe without them would be none.
const USUAL: [char; 2] = ['-', '_'];
/// Answers that contradict what is known otherwise, after which no more groups are asked for.
const CONTRADICTIONS_LIMIT: u32 = 3;
/// Groups in a row that the tenant refused, after which no more are asked for.
const REFUSALS_LIMIT: u32 = 3;
/// Whether this group, by its number, is checked by asking for one of its emails alone: one in eight at first, one in
/// sixteen later.
pub fn is_checked(number: u64) -> bool {
    number.is_multiple_of(if number < 64 { 8 } else { 16 })
}

/// Why nothing was learned from the answer to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setback {
    /// The question was too long for the tenant, or for something on the way to it.
    TooLong,
    /// The answer did not fit on one page of so many.
    Overflow(usize),
    /// The tenant would not answer.
    Refused(String),
    /// The answer was not the one to this question, or another answer contradicts it.
    Contradicted(&'static str),
}

/// How large groups are now.
#[derive(Clone, Debug)]
pub struct Grouping {
    size: usize,
    refusals: u32,
    contradictions: u32,
}

impl Grouping {
    /// Groups of at most so many; of one where the tenant takes no groups.
    pub fn new(size: usize) -> Self {
        Self {
            size: size.max(1),
            refusals: 0,
            contradictions: 0,
        }
    }

    /// How many emails the next question may hold; 1 where groups are not used, or no more.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Takes note of a group that was answered.
    pub fn went_well(&mut self) {
        self.refusals = 0;
    }

    /// Takes note of a group of so many that was not. What it says is for people, once: that groups have ended.
    pub fn set_back(&mut self, asked: usize, setback: &Setback) -> Option<String> {
        let before = self.size;
        match setback {
            Setback::TooLong => self.size = self.size.min(asked / 2),
            Setback::Overflow(page) => self.size = self.size.min(most_on(*page)),
            Setback::Refused(_) => {
                self.refusals += 1;
                self.size = self.size.min(asked.div_ceil(2));
            }
            Setback::Contradicted(_) => self.contradictions += 1,
        }
        if self.refusals >= REFUSALS_LIMIT || self.contradictions >= CONTRADICTIONS_LIMIT {
            self.size = 1;
        }
        self.size = self.size.max(1);
        (before > 1 && self.size == 1).then(|| match setback {
            Setback::TooLong => "the tenant takes no long questions".into(),
            Setback::Overflow(_) => "the tenant's pages are too small".into(),
            Setback::Refused(why) => format!("the tenant does not answer: {why}"),
            Setback::Contradicted(why) => (*why).into(),
        })
    }
}

/// How many emails may be asked for where a page holds so many profiles. A few places are left for emails that
/// several profiles bear: an answer that fills more than a page counts for nothing.
pub fn most_on(page: usize) -> usize {
    page - page.div_ceil(16).min(page)
}

/// How many of these emails, from the first on, make one group.
pub fn cut<'a>(emails: impl IntoIterator<Item = &'a str>, most: usize) -> usize {
    let mut bytes = 0;
    let fits = |email: &&str| {
        // `@`, `+` and the comma take three bytes each.
        bytes += email.len() + 7;
        bytes <= GROUP_BYTES
    };
    emails.into_iter().take(most).take_while(fits).count().max(1)
}

/// Which characters an email has that a filter may treat in a way of its own: a list of emails of one kind is read as each
/// of them is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind(BTreeSet<char>);

impl Kind {
    /// The kind of an email.
    pub fn of(email: &str) -> Self {
        let unusual = |letter: &char| !(letter.is_ascii_alphanumeric() || ['@', '.'].contains(letter));
        let name = |letter: char| if letter.is_ascii() { letter } else { BEYOND_ASCII };
        let all: BTreeSet<char> = email.chars().filter(unusual).map(name).collect();
        // What all lists take makes no kind of its own beside what some may not.
        let odd: BTreeSet<char> = all
            .iter()
            .copied()
            .filter(|letter| !USUAL.contains(letter))
            .collect();
        Self(if odd.is_empty() { all } else { odd })
    }
}

/// Whether an email has nothing but the characters that all lists take.
pub fn is_plain(email: &str) -> bool {
    Kind::of(email).0.iter().all(|letter| USUAL.contains(letter))
}

/// Whether an email can stand in a list at all.
pub fn may_stand_in_list(email: &str) -> bool {
    !email.contains(SEPARATORS)
}

/// Sorts an answer by the emails that were asked for.
///
/// A profile that bears none of them means that this is not an answer to this question, or that the filter does
/// something else than it is taken to do: then nothing is concluded from it.
pub fn sort_out(asked: &[Email], found: Vec<Found>) -> Result<Vec<Vec<Found>>, Setback> {
    let places: HashMap<&str, usize> = asked
        .iter()
        .enumerate()
        .map(|(place, email)| (email.as_str(), place))
        .collect();
    let mut sorted: Vec<Vec<Found>> = asked.iter().map(|_| Vec::new()).collect();
    let distinct: HashSet<&ProfileId> = found.iter().map(|found| &found.profile).collect();
    if distinct.len() < found.len() {
        // Whoever a repeated row has taken the place of is on no page.
        return Err(Setback::Contradicted("it returns one profile several times"));
    }
    for found in found {
        let folded = found.email.trim().to_lowercase();
        match places.get(folded.as_str()) {
            Some(place) => sorted[*place].push(found),
            None => {
                return Err(Setback::Contradicted(
                    "it returned profiles that were not asked for",
                ));
            }
        }
    }
    for (email, found) in asked.iter().zip(&mut sorted) {
        // `bearers` has the last word on what bearing an email is.
        let distinct: Vec<Found> = bearers(email, found).into_iter().cloned().collect();
        *found = distinct;
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_shrink_with_what_the_tenant_takes() {
        let mut grouping = Grouping::new(90);
        assert_eq!(grouping.set_back(90, &Setback::TooLong), None);
        assert_eq!(grouping.size(), 45);
        assert_eq!(grouping.set_back(45, &Setback::Overflow(15)), None);
        assert_eq!(grouping.size(), 14);
        assert_eq!(
            grouping.set_back(10, &Setback::Overflow(100)),
            None,
            "a page for which more would fit"
        );
        assert_eq!(grouping.size(), 14);
        for _ in 0..3 {
            grouping.set_back(grouping.size(), &Setback::TooLong);
        }
        assert_eq!(grouping.size(), 1);
        assert_eq!(grouping.set_back(1, &Setback::TooLong), None, "it is said once");
    }

    #[test]
    fn a_tenant_that_refuses_or_contradicts_itself_is_asked_one_by_one() {
        let refused = Setback::Refused("HTTP 500".into());
        let mut grouping = Grouping::new(64);
        grouping.set_back(64, &refused);
        grouping.set_back(32, &refused);
        grouping.went_well();
        assert_eq!(grouping.set_back(32, &refused), None, "not in a row");
        grouping.set_back(16, &refused);
        let said = grouping.set_back(8, &refused).unwrap();
        assert!(said.contains("HTTP 500"), "{said}");
        assert_eq!(grouping.size(), 1);

        let mut grouping = Grouping::new(64);
        let contradicted = Setback::Contradicted("it lies");
        for _ in 0..CONTRADICTIONS_LIMIT - 1 {
            assert_eq!(grouping.set_back(64, &contradicted), None);
            grouping.went_well();
        }
        assert_eq!(grouping.set_back(64, &contradicted), Some("it lies".into()));
    }

    #[test]
    fn a_group_is_bounded_by_its_length_too() {
        let long = format!("{}@example.com", "x".repeat(200));
        let group = cut(std::iter::repeat_n(long.as_str(), 100), 90);
        assert!((15..25).contains(&group), "{group}");
        assert_eq!(cut(["a@example.com"; 100], 90), 90);
        assert_eq!(cut(["a@example.com"; 3], 90), 3);
        assert_eq!(
            cut([format!("{}@example.com", "x".repeat(9_000)).as_str()], 90),
            1
        );
        assert!(is_plain("b.c-d_e@example.com"));
        for odd in ["o+b@example.com", "o'b@example.com", "\u{f6}@example.com"] {
            assert!(!is_plain(odd) && may_stand_in_list(odd), "{odd}");
        }
        assert!(!may_stand_in_list("\"a,b\"@example.com"));
        assert_eq!(
            Kind::of("a'b+\u{e4}+c@example.com"),
            Kind::of("\u{f6}'+'@example.org")
        );
        assert_ne!(Kind::of("a+b@example.com"), Kind::of("ab@example.com"));
    }

    #[test]
    fn an_answer_is_sorted_by_what_was_asked() {
        let email = |text| Email::parse(text).unwrap();
        let asked = [
            email("ann@example.com"),
            email("bob@example.com"),
            email("cy@example.com"),
        ];
        let found = |id: &str, email: &str| Found {
            profile: ProfileId::new(id),
            email: email.into(),
            held: Some(vec![]),
        };
        let answer = vec![
            found("p2", "Bob@example.com "),
            found("p1", "ann@example.com"),
            found("p3", "bob@EXAMPLE.com"),
        ];
        let sorted = sort_out(&asked, answer.clone()).unwrap();
        let counts: Vec<usize> = sorted.iter().map(Vec::len).collect();
        assert_eq!(counts, [1, 2, 0]);
        let twice = [answer.clone(), vec![found("p1", "ann@example.com")]].concat();
        assert!(matches!(sort_out(&asked, twice), Err(Setback::Contradicted(_))));
        let stray = vec![found("p9", "joann@example.com")];
        assert!(matches!(
            sort_out(&asked, [answer, stray].concat()),
            Err(Setback::Contradicted(_))
        ));
    }
}

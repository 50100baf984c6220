//! Who the tenant's people are: names, emails and profile ids, all derived from a seed and an index.
//!
//! Nothing here is stored. An email or an id is worked out when it is needed, which keeps a million profiles in a few
//! dozen megabytes and lets a list of emails be written without any server. This file may not know what happens to
//! people later; that is the world's business.

use super::names::{FIRST, LAST, TAGS};
use super::options::Options;

/// One person as the tenant knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The opaque id of the profile.
    pub profile_id: String,
    /// The email as it is stored, letter case included.
    pub email: String,
    /// The handles the profile holds.
    pub statuses: Vec<String>,
}

/// The person behind an index, before anybody shares an email or holds a status.
///
/// A tenant with duplicates lets some of its profiles bear another one's email; [`Options::person`] knows which.
pub fn person(seed: u64, index: u32) -> Person {
    Person {
        profile_id: profile_id(seed, index),
        email: email(seed, index),
        statuses: Vec::new(),
    }
}

impl Options {
    /// The person behind an index as a tenant with these options starts out, without starting one.
    pub fn person(&self, index: u32) -> Person {
        let roster = Roster::new(self);
        let mut person = person(self.seed, roster.bearer(index));
        person.profile_id = profile_id(self.seed, index);
        if roster.holds_first(index) {
            person.statuses.extend(self.statuses.first().cloned());
        }
        person
    }
}

/// The facts about a tenant's people as a whole: how many, who shares an email, who holds the first status.
#[derive(Debug, Clone)]
pub(super) struct Roster {
    pub(super) seed: u64,
    pub(super) count: u32,
    /// How many pairs of profiles share an email.
    pairs: u64,
    holders_percent: u64,
}

impl Roster {
    pub(super) fn new(options: &Options) -> Self {
        let wanted = f64::from(options.profiles) * options.duplicates_percent / 200.0;
        Self {
            seed: options.seed,
            count: options.profiles,
            // A float cast saturates, so a senseless percentage ends as none or as everybody.
            pairs: (wanted.round() as u64).min(u64::from(options.profiles / 2)),
            holders_percent: u64::from(options.holders_percent.min(100)),
        }
    }

    /// The index whose email this profile bears: its own, unless it is the borrowing half of a pair.
    ///
    /// The profiles are cut into as many stretches as there are pairs, and each stretch has one pair at random places.
    /// That makes the share exact and the answer a sum, not a table.
    pub(super) fn bearer(&self, index: u32) -> u32 {
        let (count, index_wide) = (u64::from(self.count), u64::from(index));
        if self.pairs == 0 || index_wide >= count {
            return index;
        }
        let stretch = index_wide * self.pairs / count;
        let start = (stretch * count).div_ceil(self.pairs);
        let length = count / self.pairs;
        let lender = mix(self.seed, stretch, Salt::Lender) % length;
        let step = 1 + mix(self.seed, stretch, Salt::Borrower) % (length - 1);
        let borrower = (lender + step) % length;
        if index_wide == start + borrower {
            narrow(start + lender)
        } else {
            index
        }
    }

    /// Whether this profile holds the tenant's first status from the start: exactly so many in each hundred.
    pub(super) fn holds_first(&self, index: u32) -> bool {
        let hundred = u64::from(index / 100);
        let place = u64::from(index % 100) + mix(self.seed, hundred, Salt::Holders) % 100;
        place * 37 % 100 < self.holders_percent
    }
}

/// The uses random bits are put to; each gets its own stream, so that they are independent of each other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Salt {
    Identity = 1,
    Order,
    Look,
    Lender,
    Borrower,
    Holders,
    Batch,
    Details,
}

/// Sixty-four well-mixed bits for a seed, a number and a use.
pub(super) fn mix(seed: u64, number: u64, salt: Salt) -> u64 {
    let mut bits = seed
        .wrapping_mul(0xD6E8_FEB8_6659_FD93)
        .wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add((salt as u64).wrapping_mul(0xA24B_AED4_963E_E407));
    for _ in 0..2 {
        bits = (bits ^ (bits >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    }
    bits ^ (bits >> 32)
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("BUG: an index outgrew the number of profiles")
}

/// The positions of a person's names in the two lists, and how many namesakes came before them.
///
/// Each run of as many people as there are pairs of names uses every pair once, in an order that the seed decides.
/// So the pair and the number of the run together never repeat, and neither does the email made of them.
fn name_parts(seed: u64, index: u32) -> (usize, usize, u64) {
    // Primes larger than the number of pairs share no factor with it, so multiplying by one is a permutation.
    const STRIDES: [u64; 4] = [1_000_003, 15_485_863, 32_452_843, 49_979_687];
    let pairs = (FIRST.len() * LAST.len()) as u64;
    let (run, place) = (u64::from(index) / pairs, u64::from(index) % pairs);
    let order = mix(seed, run, Salt::Order);
    let stride = STRIDES[(order % 4) as usize];
    let place = ((place * stride + (order >> 8) % pairs) % pairs) as usize;
    (place % FIRST.len(), place / FIRST.len(), run)
}

/// The given and the family name, capitalised.
pub(super) fn names(seed: u64, index: u32) -> (String, String) {
    let (first, last, _) = name_parts(seed, index);
    (capitalised(FIRST[first]), capitalised(LAST[last]))
}

/// The text with its first ASCII letter in upper case.
pub(super) fn capitalised(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// The email of a person, on its own.
pub(super) fn email(seed: u64, index: u32) -> String {
    let mut text = String::with_capacity(40);
    write_email(seed, index, &mut text);
    text
}

/// Appends the email of a person to a text, for callers that go through all of them with one buffer.
pub(super) fn write_email(seed: u64, index: u32, text: &mut String) {
    let (first, last, run) = name_parts(seed, index);
    let look = mix(seed, u64::from(index), Salt::Look);
    let start = text.len();
    text.push_str(FIRST[first]);
    text.push(match look % 16 {
        0 => '_',
        1 => '-',
        _ => '.',
    });
    let family = text.len() - start;
    text.push_str(LAST[last]);
    if run > 0 {
        text.push_str(&(run + 1).to_string());
    }
    if (look >> 8).is_multiple_of(12) {
        text.push('+');
        text.push_str(TAGS[(look >> 16) as usize % TAGS.len()]);
    }
    text.push('@');
    let domain = text.len() - start;
    text.push_str(match (look >> 24) % 20 {
        0..=13 => "example.com",
        14..=16 => "example.net",
        _ => "example.org",
    });
    // Some people write their address with capitals, and tenants keep what was typed.
    if (look >> 32).is_multiple_of(16) {
        for place in [0, family, domain] {
            text[start + place..start + place + 1].make_ascii_uppercase();
        }
    }
}

/// The profile id behind an index, in the shape of a version 4 UUID.
pub(super) fn profile_id(seed: u64, index: u32) -> String {
    uuid(
        id_head(seed, index),
        mix(seed, u64::from(index), Salt::Identity),
        mix(seed, u64::from(index), Salt::Details),
    )
}

/// The first eight digits of a profile id. No two profiles of a tenant share them.
pub(super) fn id_head(seed: u64, index: u32) -> u32 {
    let key = mix(seed, 0, Salt::Identity);
    scramble(index ^ (key as u32))
}

/// The index behind a profile id, if it is an id that this seed gives out.
///
/// The first eight digits are the index in disguise and the others are a check on it, so no table of ids is needed.
pub(super) fn index_of(seed: u64, id: &str) -> Option<u32> {
    let head = id.get(..8)?;
    let key = mix(seed, 0, Salt::Identity);
    let index = unscramble(u32::from_str_radix(head, 16).ok()?) ^ (key as u32);
    (profile_id(seed, index) == id).then_some(index)
}

/// Batch ids count on from one run of the server to the next, so a restart never gives an old one out again.
pub(super) fn batch_id(seed: u64, ordinal: u64) -> String {
    let head = mix(seed, ordinal, Salt::Batch);
    let tail = mix(!seed, ordinal, Salt::Batch);
    uuid(head as u32, tail, head >> 32)
}

fn uuid(head: u32, middle: u64, tail: u64) -> String {
    format!(
        "{head:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        middle & 0xFFFF,
        (middle >> 16) & 0xFFF,
        0x8000 | ((middle >> 32) & 0x3FFF),
        tail & 0xFFFF_FFFF_FFFF,
    )
}

const FIRST_FACTOR: u32 = 0x9E37_79B1;
const SECOND_FACTOR: u32 = 0x85EB_CA6B;

fn scramble(number: u32) -> u32 {
    let number = number.wrapping_mul(FIRST_FACTOR);
    (number ^ (number >> 16)).wrapping_mul(SECOND_FACTOR)
}

fn unscramble(number: u32) -> u32 {
    let number = number.wrapping_mul(inverse(SECOND_FACTOR));
    // Folding the upper half onto the lower one undoes itself.
    (number ^ (number >> 16)).wrapping_mul(inverse(FIRST_FACTOR))
}

/// The number that undoes a multiplication by an odd one, modulo two to the 32nd.
const fn inverse(odd: u32) -> u32 {
    let mut guess = odd;
    let mut round = 0;
    // An odd number is its own inverse in three bits, and each round doubles the bits that are right.
    while round < 4 {
        guess = guess.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(guess)));
        round += 1;
    }
    guess
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    fn options(profiles: u32) -> Options {
        Options {
            profiles,
            ..Options::default()
        }
    }

    #[test]
    fn a_person_is_a_function_of_seed_and_index() {
        assert_eq!(person(7, 123), person(7, 123));
        assert_ne!(person(7, 123), person(8, 123));
        assert_ne!(person(7, 123), person(7, 124));
    }

    #[test]
    fn emails_are_unique_letter_case_aside() {
        let mut seen = HashSet::new();
        for index in 0..50_000 {
            let email = email(3, index);
            assert!(seen.insert(email.to_ascii_lowercase()), "{email} repeats");
        }
    }

    #[test]
    fn emails_show_the_oddities_that_real_lists_have() {
        let emails: Vec<String> = (0..2_000).map(|index| email(1, index)).collect();
        let share = |test: fn(&str) -> bool| emails.iter().filter(|email| test(email)).count();
        assert!((80..300).contains(&share(|email| email.contains('+'))));
        assert!((60..250).contains(&share(|email| email.contains("@E"))));
        assert!(share(|email| email.ends_with(".org")) > 100);
        assert!(emails.iter().all(|email| email.is_ascii()));
    }

    #[test]
    fn ids_lead_back_to_their_index_and_to_nothing_else() {
        for index in (0..3_000).chain([u32::MAX, u32::MAX - 1]) {
            let id = profile_id(5, index);
            assert_eq!(index_of(5, &id), Some(index));
            assert_eq!(index_of(6, &id), None);
            assert_eq!((id.len(), &id[14..15]), (36, "4"));
        }
        for id in ["", "x", "00000000-0000-4000-8000-000000000000", "ééééééééé"] {
            assert_eq!(index_of(5, id), None);
        }
    }

    #[test]
    fn the_share_of_duplicates_is_the_one_asked_for() {
        for (percent, expected) in [(0.0, 0), (0.5, 50), (10.0, 1_000), (100.0, 10_000)] {
            let options = Options {
                duplicates_percent: percent,
                ..options(10_000)
            };
            let mut bearers: HashMap<String, u32> = HashMap::new();
            for index in 0..10_000 {
                *bearers.entry(options.person(index).email).or_default() += 1;
            }
            let sharing: u32 = bearers.values().filter(|count| **count > 1).sum();
            assert_eq!(sharing, expected, "at {percent} percent");
        }
    }

    #[test]
    fn the_share_of_holders_is_the_one_asked_for() {
        for percent in [0, 5, 33, 100] {
            let options = Options {
                holders_percent: percent,
                ..options(1_000)
            };
            let holders = (0..1_000)
                .filter(|index| options.person(*index).statuses == ["vip"])
                .count();
            assert_eq!(holders, usize::from(percent) * 10);
        }
    }
}

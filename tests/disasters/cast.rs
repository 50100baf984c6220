//! Who a job is about: the list, the profiles behind it, what they have, and how every entry comes out where nothing
//! happens.

use rollbook::model::entry::EntryState;
use rollbook::model::ids::{Action, Handle};
use std::collections::BTreeMap;

/// The handle of the usual job.
pub const VIP: &str = "vip";
/// A status that no job is about, and that half of the profiles have.
pub const STAFF: &str = "staff";
/// Who has the handles from the beginning, or lacks them where they are to be removed.
const MEMBER: &str = "p-member";
/// Two emails that lead to one profile: one of them is sent, and the other is skipped.
pub const ALIASES: [&str; 2] = ["gus@example.com", "gus.old@example.com"];

/// Everybody in the usual list, in its order, and the profiles that bear the email.
const PEOPLE: [(&str, &[&str]); 12] = [
    ("ann@example.com", &["p-ann"]),
    ("bob@example.com", &["p-bob"]),
    ("nobody@example.com", &[]),
    ("cid@example.com", &["p-cid"]),
    ("dot@example.com", &["p-dot"]),
    ("member@example.com", &["p-member"]),
    ("eve@example.com", &["p-eve"]),
    ("twins@example.com", &["p-twin-1", "p-twin-2"]),
    ("fay@example.com", &["p-fay"]),
    ("gus@example.com", &["p-gus"]),
    ("gus.old@example.com", &["p-gus"]),
    ("hal@example.com", &["p-hal"]),
];

/// The profiles that the usual job is to change, in the order of the list.
pub fn usual_profiles() -> Vec<&'static str> {
    let needy = |(_, profiles): (&str, &'static [&'static str])| match profiles {
        [only] if *only != MEMBER => Some(*only),
        _ => None,
    };
    let mut profiles: Vec<&str> = PEOPLE.into_iter().filter_map(needy).collect();
    profiles.dedup();
    profiles
}

/// How the ledger says that every entry came out: state, and reason.
pub type Entries = BTreeMap<String, (EntryState, Option<String>)>;

/// One line of the list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// As the list spells it.
    pub written: String,
    /// The profiles that bear it, with the tenant's spelling.
    pub profiles: Vec<(String, String)>,
}

impl Listed {
    /// As the ledger keeps it.
    pub fn email(&self) -> String {
        self.written.to_lowercase()
    }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Cast {
    pub action: Action,
    /// Sorted.
    pub handles: Vec<&'static str>,
    pub people: Vec<Listed>,
}

impl Cast {
    /// `vip` for twelve people.
    pub fn usual() -> Self {
        let listed = |(email, profiles): (&str, &[&str])| Listed {
            written: email.into(),
            profiles: profiles.iter().map(|id| ((*id).into(), email.into())).collect(),
        };
        Self {
            action: Action::Assign,
            handles: vec![VIP],
            people: PEOPLE.into_iter().map(listed).collect(),
        }
    }

    /// Any job, and people whose emails are not spelled alike.
    pub fn draw(chance: &mut fastrand::Rng) -> Self {
        let mut cast = Self::usual();
        if chance.u8(..3) == 0 {
            cast.action = Action::Remove;
        }
        if chance.u8(..3) == 0 {
            cast.handles = vec!["gold", VIP];
        }
        let spelled = |written: &str, profiles: &[(&str, &str)]| Listed {
            written: written.into(),
            profiles: profiles
                .iter()
                .map(|(id, email)| ((*id).into(), (*email).into()))
                .collect(),
        };
        cast.people
            .push(spelled("Kim.Oh@Example.com", &[("p-kim", "Kim.Oh@Example.com")]));
        cast.people.push(spelled(
            "Ann.Lee@Example.com",
            &[
                ("p-lee-1", "Ann.Lee@Example.com"),
                ("p-lee-2", "ann.lee@example.com"),
            ],
        ));
        cast
    }

    /// The job's handles.
    pub fn job_handles(&self) -> Vec<Handle> {
        self.handles.iter().map(|handle| Handle::new(*handle)).collect()
    }

    /// All profiles, each once, with the emails that it bears and what it has from the beginning.
    pub fn profiles(&self) -> BTreeMap<String, (Vec<String>, Vec<&'static str>)> {
        let mut profiles = BTreeMap::<String, (Vec<String>, Vec<&str>)>::new();
        for (id, email) in self.people.iter().flat_map(|listed| &listed.profiles) {
            let number = profiles.len();
            let profile = profiles
                .entry(id.clone())
                .or_insert_with(|| (vec![], self.has_before(id, number)));
            profile.0.push(email.clone());
        }
        profiles
    }

    fn has_before(&self, id: &str, number: usize) -> Vec<&'static str> {
        let (first, all) = (self.handles[0], self.handles.as_slice());
        // Of two handles, some have one already.
        let mut has = match (self.action, id) {
            (Action::Assign, MEMBER) => all.to_vec(),
            (Action::Assign, "p-cid" | "p-fay") if all.len() > 1 => vec![first],
            (Action::Assign, _) | (Action::Remove, MEMBER) => vec![],
            (Action::Remove, "p-cid" | "p-fay") => vec![first],
            (Action::Remove, _) => all.to_vec(),
        };
        if number.is_multiple_of(2) {
            has.push(STAFF);
        }
        has
    }

    /// The profile that an email leads to and that needs something, where it leads to one.
    pub fn bearer(&self, email: &str) -> Option<&str> {
        let listed = self.people.iter().find(|listed| listed.email() == email)?;
        match listed.profiles.as_slice() {
            [(only, _)] if only != MEMBER => Some(only),
            _ => None,
        }
    }

    /// Profiles that need something, in the order of the list.
    pub fn to_be_sent(&self) -> Vec<String> {
        let emails = self.people.iter().map(Listed::email);
        let mut profiles: Vec<String> = emails
            .filter_map(|email| self.bearer(&email).map(str::to_owned))
            .collect();
        profiles.dedup();
        profiles
    }

    /// Everything as it comes out when nothing happens to it.
    pub fn undisturbed(&self) -> Entries {
        let state = |listed: &Listed| {
            let skipped = |reason: &str| (EntryState::Skipped, Some(reason.to_owned()));
            let outcome = match listed.profiles.as_slice() {
                [] => skipped("not_found"),
                [_, _, ..] => (EntryState::Ambiguous, None),
                [(only, _)] if only == MEMBER => skipped(match self.action {
                    Action::Assign => "already_assigned",
                    Action::Remove => "not_assigned",
                }),
                _ if listed.written == ALIASES[1] => skipped("same_profile"),
                _ => (EntryState::Confirmed, None),
            };
            (listed.email(), outcome)
        };
        self.people.iter().map(state).collect()
    }
}

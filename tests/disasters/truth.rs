//! What is really so, and what a person who knows all of it says of each entry.
//!
//! This is the oracle. It knows every change of every profile, with its time and its author, and every request that was
//! accepted; it knows nothing of the ledger, of evidence, or of how the engine decides. It is asked after a world has
//! ended: was anything accepted twice, and is anything that the ledger says not so?

use super::cast::Cast;
use rollbook::model::entry::EntryState;
use rollbook::model::ids::Action;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

/// The part of the maximum request lifetime that does not depend on the tenant.
const LEAST_LIFETIME: Duration = Duration::from_secs(60);

/// One change of one profile.
#[derive(Clone, Debug)]
struct Change {
    at: Duration,
    handle: String,
    gets: bool,
    /// Whether a request of this job made it.
    ours: bool,
}

/// A profile and its history.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    changes: Vec<Change>,
    /// Which emails it bears from when on.
    emails: Vec<(Duration, Vec<String>)>,
    gone: Vec<Range<Duration>>,
    /// Whether others changed what this job is about, or the profile itself.
    pub touched: bool,
}

impl Profile {
    pub fn exists(&self, at: Duration) -> bool {
        !self.emails.is_empty() && self.emails[0].0 <= at && !self.gone.iter().any(|gone| gone.contains(&at))
    }

    pub fn emails(&self, at: Duration) -> &[String] {
        let known = self.emails.iter().rev().find(|(from, _)| *from <= at);
        known.map_or(&[], |(_, emails)| emails)
    }

    fn has(&self, handle: &str, at: Duration) -> bool {
        let of_handle = self
            .changes
            .iter()
            .filter(|change| change.handle == handle && change.at <= at);
        // The later of two at the same moment counts.
        of_handle
            .max_by_key(|change| change.at)
            .is_some_and(|change| change.gets)
    }

    /// What it has at a time, sorted.
    pub fn held(&self, at: Duration) -> Vec<String> {
        let handles: BTreeSet<&String> = self.changes.iter().map(|change| &change.handle).collect();
        handles
            .into_iter()
            .filter(|handle| self.has(handle, at))
            .cloned()
            .collect()
    }

    fn bears(&self, email: &str, at: Duration) -> bool {
        self.exists(at) && self.emails(at).iter().any(|known| known.to_lowercase() == email)
    }

    fn moments(&self) -> impl Iterator<Item = Duration> {
        let gone = self.gone.iter().flat_map(|gone| [gone.start, gone.end]);
        let changes = self.changes.iter().map(|change| change.at);
        changes
            .chain(self.emails.iter().map(|(from, _)| *from))
            .chain(gone)
    }
}

/// A request that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The profiles and the handles that it names.
    pub members: Vec<(String, Vec<String>)>,
    pub at: Duration,
    /// When its client gave it up at the earliest.
    pub lost: Duration,
    /// Whether its client got the answer.
    pub answered: bool,
    pub finished: Duration,
    /// When each member really changes, where it does.
    pub effects: Vec<Option<Duration>>,
}

/// A profile and handle in two accepted requests, and when these were accepted.
#[derive(Clone, Debug)]
pub struct Twice {
    pub profile: String,
    #[expect(dead_code, reason = "it is told to people, by Debug")]
    handle: String,
    #[expect(dead_code, reason = "it is told to people, by Debug")]
    at: (Duration, Duration),
}

/// A reason, and whether it applies to two requests for the same profile and handle.
type Exemption = (&'static str, fn(&Truth, &Accepted, &Accepted) -> bool);

/// Where a request that is accepted twice is not held against the engine: what no client can see. A list of batches
/// that tells of everything tells of these, too, once they are accepted.
pub const EXEMPTIONS: [Exemption; 3] = [
    (
        "one of them showed on nobody within the maximum request lifetime (assumptions 1 and 2)",
        Truth::outlived,
    ),
    (
        "the first changed nobody it named (assumption 1)",
        Truth::had_no_effect,
    ),
    (
        "others undid the first for all it named before the second left (assumption 5)",
        Truth::was_undone,
    ),
];

/// What a ledger says of an entry.
#[derive(Clone, Debug)]
pub struct Said {
    pub email: String,
    pub state: EntryState,
    pub reason: Option<String>,
    pub profile: Option<String>,
}

/// See the module's documentation.
pub struct Truth {
    pub action: Action,
    pub handles: Vec<String>,
    pub profiles: BTreeMap<String, Profile>,
    pub accepted: Vec<Accepted>,
    /// How much later than the truth single reads may be.
    pub reads_lag: Duration,
    /// Whether the list of batches tells of every batch, when it was accepted, whom it names, and whether it is over.
    pub list_tells: bool,
}

impl Truth {
    pub fn new(cast: &Cast) -> Self {
        let mut truth = Self {
            action: cast.action,
            handles: cast.handles.iter().map(|handle| (*handle).to_owned()).collect(),
            profiles: BTreeMap::new(),
            accepted: Vec::new(),
            reads_lag: Duration::ZERO,
            list_tells: false,
        };
        for (id, (emails, has)) in cast.profiles() {
            truth.add(&id, Duration::ZERO, emails);
            for handle in has {
                truth.change(&id, handle, Duration::ZERO, true, false);
            }
        }
        truth
    }

    fn outlived(&self, first: &Accepted, second: &Accepted) -> bool {
        // Either may be the one that was given up: what was sent instead of it may have overtaken it.
        self.shows_late(first, second.at) || self.shows_late(second, first.at)
    }

    /// Whether a request shows later than the maximum request lifetime, as it was known when another one left for it.
    fn shows_late(&self, request: &Accepted, known_at: Duration) -> bool {
        let Some(effect) = request.effects.iter().flatten().min() else {
            return false;
        };
        let shows = if self.list_tells {
            request.at
        } else {
            *effect + self.reads_lag
        };
        let known = |other: &&Accepted| other.answered && other.at != request.at && other.at < known_at;
        let others = self.accepted.iter().filter(known);
        let longest = others.map(|other| other.finished.min(known_at) - other.at).max();
        shows.saturating_sub(request.lost) > LEAST_LIFETIME + longest.unwrap_or_default()
    }

    fn had_no_effect(&self, first: &Accepted, _: &Accepted) -> bool {
        !self.list_tells && first.effects.iter().all(Option::is_none)
    }

    fn was_undone(&self, first: &Accepted, second: &Accepted) -> bool {
        let undone = |((profile, handles), effect): (&(String, Vec<String>), &Option<Duration>)| {
            let Some(effect) = effect else { return true };
            let others = self.profiles[profile]
                .changes
                .iter()
                .filter(|change| !change.ours);
            let mut meanwhile = others.filter(|change| change.at >= *effect && change.at <= second.at);
            meanwhile.any(|change| handles.contains(&change.handle) && change.gets != self.gives())
        };
        !self.list_tells && first.members.iter().zip(&first.effects).all(undone)
    }

    fn gives(&self) -> bool {
        self.action == Action::Assign
    }

    fn add(&mut self, id: &str, at: Duration, emails: Vec<String>) {
        self.profiles
            .entry(id.into())
            .or_default()
            .emails
            .push((at, emails));
    }

    pub fn change(&mut self, id: &str, handle: &str, at: Duration, gets: bool, ours: bool) {
        let about_the_job = self.handles.iter().any(|known| known == handle);
        let profile = self.profiles.get_mut(id).expect("a profile of the world");
        profile.touched |= !ours && about_the_job && at > Duration::ZERO;
        let handle = handle.to_owned();
        profile.changes.push(Change {
            at,
            handle,
            gets,
            ours,
        });
    }

    /// A profile goes, for a time.
    pub fn take_out(&mut self, id: &str, time: Range<Duration>) {
        let profile = self.profiles.get_mut(id).expect("a profile of the world");
        profile.touched = true;
        profile.gone.push(time);
    }

    /// What a profile bears goes to a new one; the old one gets another email.
    pub fn move_emails(&mut self, id: &str, at: Duration) {
        let emails = self.profiles[id].emails(at).to_vec();
        let old = emails.iter().map(|email| format!("old.{email}")).collect();
        self.add(id, at, old);
        let successor = format!("{id}-2");
        self.add(&successor, at, emails);
        for id in [id, successor.as_str()] {
            self.profiles.get_mut(id).expect("it was added").touched = true;
        }
    }

    /// How often each profile was named in an accepted request, for the handle for which that is most.
    pub fn times_taken(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::<String, usize>::new();
        for ((profile, _), requests) in self.by_change() {
            let most = times.entry(profile.to_owned()).or_default();
            *most = requests.len().max(*most);
        }
        times
    }

    fn by_change(&self) -> BTreeMap<(&str, &str), Vec<&Accepted>> {
        let mut by_change = BTreeMap::<(&str, &str), Vec<&Accepted>>::new();
        for request in &self.accepted {
            for (profile, handles) in &request.members {
                for handle in handles {
                    by_change.entry((profile, handle)).or_default().push(request);
                }
            }
        }
        by_change
    }

    /// Profiles and handles that two accepted requests name, where nothing exempts them.
    pub fn twice(&self) -> Vec<Twice> {
        let mut twice = Vec::new();
        for ((profile, handle), requests) in self.by_change() {
            for pair in requests.windows(2) {
                let (first, second) = (pair[0], pair[1]);
                let exempt = EXEMPTIONS.iter().any(|(_, applies)| applies(self, first, second));
                if !exempt {
                    twice.push(Twice {
                        profile: profile.to_owned(),
                        handle: handle.to_owned(),
                        at: (first.at, second.at),
                    });
                }
            }
        }
        twice
    }

    /// Whether a profile is at a time as the job wants it to be.
    pub fn is_as_wished(&self, profile: &str, at: Duration) -> bool {
        let profile = &self.profiles[profile];
        self.handles
            .iter()
            .all(|handle| profile.has(handle, at) == self.gives())
    }

    fn was_ever_as_wished(&self, profile: &str) -> bool {
        let moments: Vec<Duration> = self.profiles[profile].moments().collect();
        moments.into_iter().any(|at| self.is_as_wished(profile, at))
    }

    /// Whether an accepted request named a profile and changed it.
    pub fn was_given_by_us(&self, profile: &str) -> bool {
        let named = |request: &Accepted| {
            let mut members = request.members.iter().zip(&request.effects);
            members.any(|((id, _), effect)| id == profile && effect.is_some())
        };
        self.accepted.iter().any(named)
    }

    /// Whether an accepted request named a profile and did not change it.
    pub fn was_ever_dropped(&self, profile: &str) -> bool {
        let dropped = |request: &Accepted| {
            let mut members = request.members.iter().zip(&request.effects);
            members.any(|((id, _), effect)| id == profile && effect.is_none())
        };
        self.accepted.iter().any(dropped)
    }

    /// Whether a request that names a profile was accepted, and none changed it.
    pub fn was_never_applied(&self, profile: &str) -> bool {
        let mut named = self.accepted.iter().flat_map(|request| &request.members);
        named.any(|(id, _)| id == profile) && !self.was_given_by_us(profile)
    }

    fn bearers(&self, email: &str, at: Duration) -> Vec<&str> {
        let bear = self
            .profiles
            .iter()
            .filter(|(_, profile)| profile.bears(email, at));
        bear.map(|(id, _)| id.as_str()).collect()
    }

    /// Whether this was so of the bearers of an email at some time.
    fn ever(&self, email: &str, so: impl Fn(&[&str]) -> bool) -> bool {
        let moments = self.profiles.values().flat_map(Profile::moments);
        let moments: BTreeSet<Duration> = moments
            .chain([Duration::ZERO])
            .filter(|at| *at < Duration::MAX)
            .collect();
        moments.into_iter().any(|at| so(&self.bearers(email, at)))
    }

    /// What is wrong with what a ledger says of an entry, if anything is.
    pub fn objection(&self, said: &Said) -> Option<String> {
        let email = said.email.as_str();
        let profile = said.profile.as_deref();
        let reason = said.reason.as_deref().unwrap_or_default();
        let wrong = match said.state {
            EntryState::Confirmed => return self.objection_to_confirmed(email, profile?),
            EntryState::Skipped => match (reason, profile) {
                ("not_found", _) => !self.ever(email, |bearers| bearers.is_empty()),
                ("already_assigned" | "not_assigned", Some(profile)) => {
                    !self.ever(email, |bearers| bearers == [profile]) || !self.was_ever_as_wished(profile)
                }
                ("same_profile", Some(profile)) => !self.ever(email, |bearers| bearers == [profile]),
                _ => true,
            },
            EntryState::Ambiguous => !self.ever(email, |bearers| bearers.len() > 1),
            EntryState::Failed => match (reason, profile) {
                ("profile_gone", Some(profile)) => self.profiles[profile].gone.is_empty(),
                (_, Some(profile)) => {
                    let known = &self.profiles[profile];
                    // What single reads show later than the maximum request lifetime nobody sees (assumption 2).
                    let visible = self.reads_lag < LEAST_LIFETIME;
                    let has = self.was_given_by_us(profile) && self.is_as_wished(profile, Duration::MAX);
                    visible && !known.touched && has
                }
                (_, None) => false,
            },
            EntryState::Pending | EntryState::Resolved | EntryState::Batched => false,
        };
        wrong.then(|| {
            format!(
                "{email} is called {:?} ({reason}), and is not: {profile:?}",
                said.state
            )
        })
    }

    fn objection_to_confirmed(&self, email: &str, id: &str) -> Option<String> {
        let profile = &self.profiles[id];
        let why = if !self.ever(email, |bearers| bearers == [id]) {
            "was not its only bearer at any time"
        } else if !self.was_given_by_us(id) && !profile.touched {
            "was given nothing"
        } else if !profile.touched && !self.was_ever_as_wished(id) {
            "was never as it is to be"
        } else if !profile.touched && !self.is_as_wished(id, Duration::MAX) {
            "is not as it is to be"
        } else {
            return None;
        };
        Some(format!("{email} is called confirmed, and {id} {why}"))
    }
}

//! The theory of evidence: what decides a batch in doubt. `docs/guarantee.md` says the same for people.
//!
//! There are three verdicts. *It happened*: all members, which had been observed without the change, show it; where the
//! tenant's list holds a batch for exactly these members, under the id of that batch. *It did not happen and cannot
//! happen any more*: the maximum request lifetime is over, and then nobody shows any of the change, at a tenant at which
//! such looks and such a list have been calibrated with batches that are known to have happened. *Not known*: everything
//! else. Time alone turns *not known* into nothing: it is held, and a person rules.
//!
//! Absence is looked for only *after* the request can no longer take effect: looking before, and sending again because
//! nothing is there yet, is how duplicates are made. Pure: what was observed comes in, what follows goes out.

use super::ids::{Action, BatchId, ProfileId};
use std::collections::HashSet;
use std::time::Duration;

/// How often the longest completed processing time goes into the maximum request lifetime.
const LONGEST_TIMES: u32 = 3;

/// How far a run may conclude by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InDoubt {
    /// What is shown to be absent is sent again.
    Verify,
    /// Absence rests on an assumption about the tenant, so it is not concluded: such a batch is held.
    Hold,
}

impl InDoubt {
    /// The word that the ledger and the command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Hold => "hold",
        }
    }

    /// Reads the word back.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Verify, Self::Hold]
            .into_iter()
            .find(|way| way.as_str() == word)
    }
}

/// What the tenant's list of batches says about one that is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The tenant has never let it be read: no evidence either way.
    Unreadable,
    /// It is not known to show what was accepted, or was not read far enough: it might hold this batch. Why.
    Unclear(&'static str),
    /// It shows what was accepted, was read far enough, and no batch in it could be this one.
    Nothing,
    /// Its items name exactly our members. What it does to them no list says: it may be another job's.
    Identified {
        /// The tenant's id.
        id: BatchId,
        /// Whether the tenant has finished with it, and with all others that could be it; `None` where it does not say.
        finished: Option<bool>,
    },
    /// It holds batches that could be it.
    Possible {
        /// Whether the tenant has finished with all of them; `None` where it does not say.
        finished: Option<bool>,
    },
}

/// Whether batches that were sent after this one have been seen to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// No batch can say anything of this one's turn.
    None,
    /// The tenant still works on an earlier batch; or on a later one, or has come to no good end with one, and none that
    /// was sent later has been seen to take effect.
    Waiting,
    /// One was seen to take effect, and nothing that was sent earlier is still worked on: this one's turn has been.
    Applied,
}

/// How many members were observed how, in one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sightings {
    /// With the whole change, now or in an earlier look.
    pub changed: usize,
    /// With a part of it.
    pub partly: usize,
    /// Without any of it.
    pub unchanged: usize,
    /// The profile is gone.
    pub gone: usize,
    /// Not asked, or there was no answer that says anything.
    pub unknown: usize,
}

/// What is known about a batch in doubt after one look at it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The tenant's list.
    pub listed: Listed,
    /// The members.
    pub seen: Sightings,
    /// Whether one that shows the change was observed without it by this ledger: whom only another ledger saw without it
    /// may have got it from anybody since.
    pub turned: bool,
    /// Whether any member was ever observed with any of the change since the request left.
    pub effect_seen: bool,
    /// Whether the maximum request lifetime was over before this look began.
    pub lifetime_over: bool,
    /// Batches that were sent later, as they stood before this look began.
    pub later: Later,
    /// Whether each handle of the change was observed on a profile that has it from this job, by a look of this kind.
    pub looks_calibrated: bool,
    /// Whether a member was found absent by evidence before, in this batch or in another.
    pub absent_before: bool,
    /// Whether a person has ruled that it never arrived.
    pub ruled_absent: bool,
    /// Whether the time for looking is over.
    pub time_is_up: bool,
}

/// What follows from the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// All members show the change, and it is this batch of the tenant's.
    Found(BatchId),
    /// All members show the change.
    Reached,
    /// No member can have been reached, as all their profiles are gone.
    Gone,
    /// It never arrived.
    Absent,
    /// Look again.
    Wait,
    /// Not decided in time; why, for people.
    Hold(String),
}

impl Decision {
    /// Whether it rests on what profiles lack, so that one look, which a stale replica may have answered, is not enough.
    pub fn rests_on_lack(&self, action: Action, seen: &Sightings) -> bool {
        match self {
            Self::Absent | Self::Gone => true,
            Self::Found(_) | Self::Reached => action == Action::Remove || seen.gone > 0,
            Self::Wait | Self::Hold(_) => false,
        }
    }
}

impl Sightings {
    /// Whether everybody who still exists shows the change, and somebody does.
    fn all_changed(&self) -> bool {
        self.changed > 0 && self.partly + self.unchanged + self.unknown == 0
    }

    /// Whether everybody who still exists was asked and shows none of it, and somebody was.
    pub fn none_changed(&self) -> bool {
        self.unchanged > 0 && self.changed + self.partly + self.unknown == 0
    }

    fn all_gone(&self) -> bool {
        self.gone > 0 && self.changed + self.partly + self.unchanged + self.unknown == 0
    }
}

/// Says what follows.
pub fn decide(evidence: &Evidence, in_doubt: InDoubt) -> Decision {
    let seen = &evidence.seen;
    if seen.all_changed() {
        if let Listed::Identified { id, .. } = &evidence.listed {
            return Decision::Found(id.clone());
        }
        if evidence.turned {
            return Decision::Reached;
        }
    }
    if seen.all_gone() {
        return Decision::Gone;
    }
    let obstacle = if evidence.ruled_absent {
        obstacle_to_ruling(evidence)
    } else {
        obstacle_to_absence(evidence, in_doubt)
    };
    match obstacle {
        None => Decision::Absent,
        // Time alone makes nothing of a person's word but this.
        Some(UNKNOWN_BATCH) if evidence.ruled_absent && !evidence.time_is_up => Decision::Wait,
        Some(why) if evidence.time_is_up || evidence.ruled_absent => {
            Decision::Hold(format!("{why} ({})", counts(seen)))
        }
        Some(_) => Decision::Wait,
    }
}

/// What speaks against a person's word that the request never arrived. What is over and shows nothing here does not, nor
/// what nobody says to be over once the lifetime is: then it can change no more than what the list does not hold.
fn obstacle_to_ruling(evidence: &Evidence) -> Option<&'static str> {
    let Evidence { seen, listed, .. } = evidence;
    let candidate = match listed {
        Listed::Identified { finished, .. } | Listed::Possible { finished } => Some(*finished),
        Listed::Unreadable | Listed::Unclear(_) | Listed::Nothing => None,
    };
    match candidate {
        _ if seen.changed + seen.partly > 0 => {
            Some("it was ruled absent, but some of its profiles show the change")
        }
        Some(Some(false)) => {
            Some("it was ruled absent, but the tenant is still working on a batch that could be it")
        }
        Some(_) if evidence.effect_seen => {
            Some("it was ruled absent, but some of its profiles have shown the change")
        }
        Some(None) if !evidence.lifetime_over => Some(UNKNOWN_BATCH),
        _ if !seen.none_changed() => Some(NOT_EVERYBODY),
        _ => None,
    }
}

const UNKNOWN_BATCH: &str = "it was ruled absent, but the tenant lists a batch that could be it, and does not say whether that is over";

const NOT_EVERYBODY: &str = "not every profile could be looked at";

/// The first thing that is missing before the request is known to have had no effect and to have none any more.
fn obstacle_to_absence(evidence: &Evidence, in_doubt: InDoubt) -> Option<&'static str> {
    let seen = &evidence.seen;
    match &evidence.listed {
        Listed::Identified {
            finished: Some(true), ..
        } => Some(
            "the tenant has finished a batch for exactly its profiles, and not all of them show the change: it may have \
             been another job's",
        ),
        Listed::Identified { .. } => Some("the tenant is still working on a batch for exactly its profiles"),
        Listed::Possible { finished: Some(true) } => Some("the tenant lists a batch that could be it"),
        Listed::Possible { .. } => {
            Some("the tenant lists a batch that could be it and is still working on it")
        }
        Listed::Unclear(why) => Some(why),
        _ if evidence.effect_seen || seen.changed + seen.partly > 0 => {
            Some("some of its profiles show or have shown the change, so it may have arrived")
        }
        _ if in_doubt == InDoubt::Hold => {
            Some("its profiles do not show the change, and with --in-doubt hold a person decides")
        }
        _ if evidence.absent_before => Some(
            "it, or one of its profiles, was found absent before and sent again: the second time a person decides",
        ),
        _ if !evidence.lifetime_over => {
            Some("its request could still take effect: the run ended before the maximum request lifetime did")
        }
        _ if evidence.later == Later::Waiting => Some("the tenant is still working on other batches"),
        _ if !seen.none_changed() => Some(NOT_EVERYBODY),
        _ if !evidence.looks_calibrated => {
            Some("no profile has shown a change of this job yet, so seeing none here proves nothing")
        }
        Listed::Nothing | Listed::Unreadable => None,
    }
}

fn counts(seen: &Sightings) -> String {
    let Sightings {
        changed,
        partly,
        unchanged,
        gone,
        unknown,
    } = *seen;
    let mut counts = format!("{} with the change, {} without", changed + partly, unchanged);
    for (number, what) in [(gone, "gone"), (unknown, "not asked")] {
        if number > 0 {
            counts += &format!(", {number} {what}");
        }
    }
    counts
}

/// The time after which an unanswered request can no longer take effect, from all that is known by now.
///
/// `base` covers the life of the request itself, `longest` is the longest completed processing time, and `unshown` the
/// greatest age of an accepted batch that does not show yet: as slow as with that one the tenant may be with this one.
pub fn maximum_request_lifetime(base: Duration, longest: Duration, unshown: Duration) -> Duration {
    base.saturating_add(longest.saturating_mul(LONGEST_TIMES).max(unshown))
}

/// Whether a batch in the tenant's list can be ours, judged by the ids that its items name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It names exactly our members.
    Ours,
    /// Its items say nothing that decides.
    Possible,
    /// It names somebody else.
    Foreign,
}

/// Compares the items of a listed batch with the members of ours.
///
/// Which of an item's ids is the profile's is documented nowhere, and it may be none of them. So an item speaks against
/// us only where it names an id that looks like our profiles' and is not one of them; and that counts only where the
/// items of a batch that is known to be ours have been recognised.
pub fn compare(items: &[Vec<ProfileId>], members: &HashSet<&ProfileId>) -> Match {
    let is_ours = |item: &&Vec<ProfileId>| item.iter().any(|id| members.contains(id));
    let alike = |id: &ProfileId| {
        members
            .iter()
            .any(|member| same_shape(id.as_str(), member.as_str()))
    };
    let ours: HashSet<_> = items.iter().flatten().filter(|id| members.contains(id)).collect();
    if items.len() == members.len() && ours.len() == members.len() {
        Match::Ours
    } else if items
        .iter()
        .filter(|item| !is_ours(item))
        .any(|item| item.iter().any(alike))
    {
        Match::Foreign
    } else {
        Match::Possible
    }
}

/// Whether two ids are written alike: same length, same characters where they are neither letter nor digit.
fn same_shape(one: &str, other: &str) -> bool {
    let shape = |id: &str| -> Vec<Option<char>> {
        id.chars()
            .map(|c| (!c.is_ascii_alphanumeric()).then_some(c))
            .collect()
    };
    shape(one) == shape(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFY: InDoubt = InDoubt::Verify;

    fn seen(changed: usize, partly: usize, unchanged: usize, gone: usize, unknown: usize) -> Sightings {
        Sightings {
            changed,
            partly,
            unchanged,
            gone,
            unknown,
        }
    }

    /// Everything that absence needs.
    fn evidence() -> Evidence {
        Evidence {
            listed: Listed::Nothing,
            seen: seen(0, 0, 3, 0, 0),
            turned: true,
            effect_seen: false,
            lifetime_over: true,
            later: Later::Applied,
            looks_calibrated: true,
            absent_before: false,
            ruled_absent: false,
            time_is_up: false,
        }
    }

    fn identified(finished: bool) -> Listed {
        let id = BatchId::new("b");
        let finished = Some(finished);
        Listed::Identified { id, finished }
    }

    fn held(decision: Decision) -> String {
        match decision {
            Decision::Hold(why) => why,
            other => panic!("{other:?} and not held"),
        }
    }

    /// Every condition of absence alone keeps a batch from being sent again, and people are told which it was.
    #[test]
    fn absence_needs_every_one_of_its_conditions() {
        assert_eq!(decide(&evidence(), VERIFY), Decision::Absent);
        let unreadable = Evidence {
            listed: Listed::Unreadable,
            later: Later::None,
            ..evidence()
        };
        assert_eq!(decide(&unreadable, VERIFY), Decision::Absent);
        assert_eq!(decide(&evidence(), InDoubt::Hold), Decision::Wait);
        type Spoil = fn(&mut Evidence);
        let spoilt: [(Spoil, &str); 14] = [
            (|e| e.lifetime_over = false, "maximum request lifetime"),
            (|e| e.effect_seen = true, "show or have shown"),
            (|e| e.later = Later::Waiting, "other batches"),
            (|e| e.looks_calibrated = false, "proves nothing"),
            (|e| e.absent_before = true, "a person decides"),
            (
                |e| e.listed = Listed::Possible { finished: Some(true) },
                "lists a batch that could be it",
            ),
            (
                |e| {
                    e.listed = Listed::Possible {
                        finished: Some(false),
                    }
                },
                "still working on it",
            ),
            (|e| e.listed = identified(true), "another job's"),
            (|e| e.listed = identified(false), "still working on a batch"),
            (|e| e.listed = Listed::Unclear("it is cut"), "it is cut"),
            (|e| e.seen.changed = 1, "show or have shown"),
            (|e| e.seen.partly = 1, "show or have shown"),
            (|e| e.seen.unknown = 1, "not every profile"),
            (|e| e.seen = seen(0, 0, 0, 1, 1), "not every profile"),
        ];
        for (spoil, why) in spoilt {
            let mut evidence = evidence();
            spoil(&mut evidence);
            assert_eq!(decide(&evidence, VERIFY), Decision::Wait, "{why}");
            evidence.time_is_up = true;
            let told = held(decide(&evidence, VERIFY));
            assert!(told.contains(why), "{why}: {told}");
        }
        let mut counted = evidence();
        (counted.seen, counted.time_is_up) = (seen(1, 2, 4, 8, 16), true);
        let told = held(decide(&counted, VERIFY));
        assert!(
            told.ends_with("(3 with the change, 4 without, 8 gone, 16 not asked)"),
            "{told}"
        );
    }

    /// A batch is ours only where it is for exactly our members and all of them show the whole change.
    #[test]
    fn who_shows_a_part_of_the_change_identifies_nothing() {
        let look = |listed: Listed, seen| Evidence {
            listed,
            seen,
            ..evidence()
        };
        let found = Decision::Found(BatchId::new("b"));
        for finished in [true, false] {
            let all = look(identified(finished), seen(3, 0, 0, 0, 0));
            assert_eq!(decide(&all, InDoubt::Hold), found);
            for partly in [
                seen(0, 3, 0, 0, 0),
                seen(2, 1, 0, 0, 0),
                seen(2, 0, 1, 0, 0),
                seen(0, 1, 2, 0, 0),
            ] {
                let mut partly = look(identified(finished), partly);
                assert_eq!(decide(&partly, VERIFY), Decision::Wait);
                partly.time_is_up = true;
                held(decide(&partly, VERIFY));
            }
        }
        for listed in [
            Listed::Possible { finished: Some(true) },
            Listed::Unreadable,
            Listed::Unclear("it is cut"),
            Listed::Nothing,
        ] {
            let all = look(listed, seen(3, 0, 0, 0, 0));
            assert_eq!(decide(&all, InDoubt::Hold), Decision::Reached);
        }
    }

    /// What only another ledger saw without the change may have got it from anybody; a list may still tell.
    #[test]
    fn whom_another_ledger_looked_up_proves_nothing_alone() {
        let look = |listed| Evidence {
            listed,
            seen: seen(3, 0, 0, 0, 0),
            turned: false,
            ..evidence()
        };
        assert_eq!(decide(&look(Listed::Nothing), VERIFY), Decision::Wait);
        let found = Decision::Found(BatchId::new("b"));
        assert_eq!(decide(&look(identified(true)), VERIFY), found);
    }

    #[test]
    fn some_are_not_all_and_the_gone_say_nothing() {
        let decided = |seen| decide(&Evidence { seen, ..evidence() }, VERIFY);
        assert_eq!(decided(seen(2, 0, 1, 0, 0)), Decision::Wait);
        assert_eq!(decided(seen(2, 0, 0, 1, 0)), Decision::Reached);
        assert_eq!(decided(seen(0, 0, 2, 1, 0)), Decision::Absent);
        assert_eq!(decided(seen(0, 0, 0, 3, 0)), Decision::Gone);
    }

    #[test]
    fn one_that_says_otherwise_is_enough_against_all() {
        for number in 0..3_usize.pow(5) {
            let [changed, partly, unchanged, gone, unknown] =
                [1, 3, 9, 27, 81].map(|digit| number / digit % 3);
            let seen = seen(changed, partly, unchanged, gone, unknown);
            let none = |counts: &[usize]| counts.iter().all(|count| *count == 0);
            assert_eq!(
                seen.all_changed(),
                changed > 0 && none(&[partly, unchanged, unknown]),
                "{seen:?}"
            );
            assert_eq!(
                seen.none_changed(),
                unchanged > 0 && none(&[changed, partly, unknown]),
                "{seen:?}"
            );
            assert_eq!(
                seen.all_gone(),
                gone > 0 && none(&[changed, partly, unchanged, unknown]),
                "{seen:?}"
            );
        }
    }

    #[test]
    fn what_rests_on_lack_is_looked_at_twice() {
        let all = seen(3, 0, 0, 0, 0);
        let rests = |decision: Decision, action| decision.rests_on_lack(action, &all);
        assert!(!rests(Decision::Reached, Action::Assign));
        assert!(!rests(Decision::Found(BatchId::new("b")), Action::Assign));
        assert!(rests(Decision::Reached, Action::Remove));
        assert!(rests(Decision::Absent, Action::Assign));
        assert!(Decision::Reached.rests_on_lack(Action::Assign, &seen(2, 0, 0, 1, 0)));
    }

    #[test]
    fn a_ruling_is_acted_on_only_where_the_profiles_agree() {
        let ruled = Evidence {
            ruled_absent: true,
            lifetime_over: false,
            looks_calibrated: false,
            absent_before: true,
            listed: Listed::Unclear("it is cut"),
            ..evidence()
        };
        assert_eq!(decide(&ruled, InDoubt::Hold), Decision::Absent);
        let mut contradicted = ruled.clone();
        contradicted.seen.changed = 1;
        let why = held(decide(&contradicted, VERIFY));
        assert!(
            why.contains("ruled absent") && why.contains("1 with the change"),
            "{why}"
        );
        for (listed, finished) in [
            (identified(true), true),
            (identified(false), false),
            (Listed::Possible { finished: Some(true) }, true),
            (
                Listed::Possible {
                    finished: Some(false),
                },
                false,
            ),
        ] {
            let mut listed = Evidence {
                listed,
                ..ruled.clone()
            };
            let sent_again = decide(&listed, VERIFY) == Decision::Absent;
            assert_eq!(sent_again, finished, "any of them may still do it");
            listed.effect_seen = true;
            held(decide(&listed, VERIFY));
        }
    }

    /// Where the tenant may not be asked for a batch, or has a word for it that nobody knows.
    #[test]
    fn a_ruling_is_acted_on_in_the_end_where_nobody_says_that_a_candidate_is_over() {
        let mut ruled = Evidence {
            ruled_absent: true,
            lifetime_over: false,
            time_is_up: false,
            listed: Listed::Possible { finished: None },
            ..evidence()
        };
        assert_eq!(decide(&ruled, VERIFY), Decision::Wait);
        ruled.lifetime_over = true;
        assert_eq!(decide(&ruled, VERIFY), Decision::Absent);
        let without_a_word = Evidence {
            ruled_absent: false,
            time_is_up: true,
            ..ruled.clone()
        };
        held(decide(&without_a_word, VERIFY));
        ruled.effect_seen = true;
        held(decide(&ruled, VERIFY));
        let in_vain = Evidence {
            effect_seen: false,
            lifetime_over: false,
            time_is_up: true,
            ..ruled
        };
        assert!(held(decide(&in_vain, VERIFY)).contains("does not say whether that is over"));
    }

    #[test]
    fn items_speak_for_and_against() {
        let ids = ["aa-1", "bb-2"].map(ProfileId::new);
        let members: HashSet<&ProfileId> = ids.iter().collect();
        let item = |words: &[&str]| words.iter().map(|word| ProfileId::new(*word)).collect::<Vec<_>>();
        let compare = |items: &[Vec<ProfileId>]| super::compare(items, &members);
        assert_eq!(compare(&[item(&["17", "aa-1"]), item(&["bb-2"])]), Match::Ours);
        assert_eq!(compare(&[item(&["aa-1"]), item(&["aa-1"])]), Match::Possible);
        assert_eq!(
            compare(&[item(&["aa-1"])]),
            Match::Possible,
            "it may still be filling"
        );
        assert_eq!(compare(&[item(&["aa-1"]), item(&["cc-3"])]), Match::Foreign);
        assert_eq!(
            compare(&[item(&["17"]), item(&["18"])]),
            Match::Possible,
            "other ids altogether"
        );
        assert_eq!(compare(&[]), Match::Possible);
    }

    #[test]
    fn the_lifetime_grows_with_what_the_tenant_has_shown() {
        let seconds = Duration::from_secs;
        let lifetime =
            |longest, unshown| maximum_request_lifetime(seconds(75), seconds(longest), seconds(unshown));
        assert_eq!(lifetime(0, 0), seconds(75));
        assert_eq!(lifetime(40, 0), seconds(195));
        assert_eq!(
            lifetime(40, 101),
            seconds(195),
            "three times what was completed is more"
        );
        assert_eq!(lifetime(0, 101), seconds(176), "what is not over counts once");
    }
}

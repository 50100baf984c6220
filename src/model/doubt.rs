//! The ladder on which a batch in doubt is decided: by evidence, rung after rung, and never by guessing.
//!
//! *Found*: the tenant's own list holds it. *Reached*: all members, which had been seen without the change, show
//! it. *Absent*: the request can no longer take effect, and then nobody shows it. What none of these decides in
//! time is *held*, and a person may rule. The first two need no assumption about the tenant. The third
//! rests on one, the quiet period, and on the order of things: looking *before* the request can no longer
//! arrive, and sending again because nothing is there yet, is how duplicates are made. Pure: what was seen comes
//! in, what follows goes out.

use super::ids::{BatchId, ProfileId};
use std::collections::HashSet;
use std::time::Duration;

/// How often the longest time that the tenant has taken over a batch goes into the quiet period.
const LONGEST_TIMES: u32 = 3;

/// How far up the ladder a run may go by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InDoubt {
    /// All of it: what is shown to be absent is sent again.
    Verify,
    /// Not to absence, which rests on an assumption about the tenant: such a batch is held.
    Hold,
}

/// What the tenant's list of batches says about one that is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The tenant does not let it be read: no evidence either way.
    Unreadable,
    /// It can be read at other times, or not far enough back now: it might hold this batch.
    Unclear,
    /// No batch in it could be this one.
    Nothing,
    /// Exactly one batch could be this one. `identified`: it names exactly our members.
    One {
        /// The tenant's id.
        id: BatchId,
        /// Whether its items leave no doubt about whom it is for. What it does to them no list says: it may be
        /// another job's, for the same people.
        identified: bool,
        /// Whether the tenant has finished with it.
        finished: bool,
    },
    /// Several could be it.
    Several {
        /// Whether the tenant has finished with all of them.
        finished: bool,
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

/// How many members were seen how, in one look.
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
    /// Not asked, or the tenant would not say.
    pub unknown: usize,
}

/// What is known about a batch in doubt after one look at it.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The tenant's list.
    pub listed: Listed,
    /// The members.
    pub seen: Sightings,
    /// Whether any member was ever seen with any of the change since the request left.
    pub moved: bool,
    /// Whether the quiet period had ended before this look began.
    pub quiet: bool,
    /// Batches that were sent later, as they stood before this look began.
    pub later: Later,
    /// Whether a person has ruled that it never arrived.
    pub ruled_absent: bool,
    /// Whether the time for looking is over.
    pub time_is_up: bool,
}

/// What follows from the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is this batch of the tenant's.
    Found {
        /// The tenant's id.
        id: BatchId,
        /// Whether nothing but its size and its time speaks for it, beside the members.
        by_size: bool,
    },
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

impl Sightings {
    /// Whether everybody who still exists shows the change, and somebody does.
    fn all_changed(&self) -> bool {
        self.changed > 0 && self.partly + self.unchanged + self.unknown == 0
    }

    /// Whether everybody who still exists was asked and shows none of it, and somebody was.
    fn none_changed(&self) -> bool {
        self.unchanged > 0 && self.changed + self.partly + self.unknown == 0
    }

    fn all_gone(&self) -> bool {
        self.gone > 0 && self.changed + self.partly + self.unchanged + self.unknown == 0
    }
}

impl Evidence {
    /// Whether any of the change shows, or ever did.
    fn any_changed(&self) -> bool {
        self.moved || self.seen.changed + self.seen.partly > 0
    }

    /// Whether everybody was asked, and none of the change shows, or ever did.
    fn nothing_changed(&self) -> bool {
        !self.moved && self.seen.none_changed()
    }
}

/// Takes the first rung that gives evidence.
pub fn decide(evidence: &Evidence, in_doubt: InDoubt) -> Decision {
    let seen = &evidence.seen;
    match &evidence.listed {
        Listed::One { id, identified, .. }
            if seen.all_changed() || (*identified && (evidence.any_changed() || seen.all_gone())) =>
        {
            return Decision::Found {
                id: id.clone(),
                by_size: !identified,
            };
        }
        _ if seen.all_changed() => return Decision::Reached,
        // It is over and has done nothing here: no reason to doubt the word of a person who says that it was not ours.
        Listed::One { finished: true, .. } | Listed::Several { finished: true }
            if evidence.ruled_absent && evidence.nothing_changed() =>
        {
            return Decision::Absent;
        }
        Listed::One { .. } | Listed::Several { .. } => {}
        Listed::Nothing | Listed::Unreadable | Listed::Unclear => {
            if seen.all_gone() {
                return Decision::Gone;
            }
            let by_ruling = evidence.ruled_absent && seen.none_changed();
            if by_ruling || (in_doubt == InDoubt::Verify && is_absent(evidence)) {
                return Decision::Absent;
            }
        }
    }
    if evidence.time_is_up || evidence.ruled_absent {
        Decision::Hold(why_undecided(evidence, in_doubt))
    } else {
        Decision::Wait
    }
}

/// Whether the request can no longer take effect and has had none.
///
/// The order is what makes it safe: first it can no longer arrive, and what was sent later has been applied,
/// and only *then* everybody is looked at. One member that ever showed any of the change is enough against it.
fn is_absent(evidence: &Evidence) -> bool {
    // What might be listed might have arrived.
    let unlisted = matches!(evidence.listed, Listed::Nothing | Listed::Unreadable);
    unlisted && evidence.quiet && evidence.later != Later::Waiting && evidence.nothing_changed()
}

fn why_undecided(evidence: &Evidence, in_doubt: InDoubt) -> String {
    let Sightings {
        changed,
        partly,
        unchanged,
        gone,
        unknown,
    } = evidence.seen;
    let why = match &evidence.listed {
        Listed::Several { .. } => "the tenant lists several batches that could be it",
        Listed::One { .. } => {
            "the tenant lists a batch that could be it, and its profiles do not show the change"
        }
        Listed::Unclear => "the tenant's list of batches could not be read far enough back",
        _ if evidence.ruled_absent => "it was ruled absent, but some of its profiles show the change",
        _ if evidence.moved => "some of its profiles show or have shown the change, so it may have arrived",
        _ if in_doubt == InDoubt::Hold => {
            "its profiles do not show the change, and --in-doubt hold goes no further"
        }
        _ if !evidence.quiet => {
            "its request could still arrive: the quiet period was not over in the time allowed"
        }
        _ if evidence.later == Later::Waiting => "the tenant has not finished with other batches yet",
        _ => "not every profile could be looked at",
    };
    let mut counts = format!("{} with the change, {} without", changed + partly, unchanged);
    for (number, what) in [(gone, "gone"), (unknown, "not asked")] {
        if number > 0 {
            counts += &format!(", {number} {what}");
        }
    }
    format!("{why} ({counts})")
}

/// How long nothing may be concluded from absence. `least` covers the life of the request itself; `longest` is
/// the longest time that the tenant was seen to take over a batch.
pub fn quiet_period(least: Duration, longest: Duration) -> Duration {
    least.saturating_add(longest.saturating_mul(LONGEST_TIMES))
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
/// Which of an item's ids is the profile's is documented nowhere, and it may be none of them; so an item speaks
/// against us only where it names an id that looks like our profiles' and is not one of them.
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

    fn evidence() -> Evidence {
        Evidence {
            listed: Listed::Nothing,
            seen: Sightings {
                unchanged: 3,
                ..Sightings::default()
            },
            moved: false,
            quiet: true,
            later: Later::Applied,
            ruled_absent: false,
            time_is_up: false,
        }
    }

    fn one(identified: bool) -> Listed {
        Listed::One {
            id: BatchId::new("b"),
            identified,
            finished: false,
        }
    }

    /// Every condition of absence alone keeps a batch from being sent again.
    #[test]
    fn absence_needs_every_one_of_its_conditions() {
        let verify = InDoubt::Verify;
        assert_eq!(decide(&evidence(), verify), Decision::Absent);
        let unreadable = Evidence {
            listed: Listed::Unreadable,
            later: Later::None,
            ..evidence()
        };
        assert_eq!(decide(&unreadable, verify), Decision::Absent);
        assert_eq!(decide(&evidence(), InDoubt::Hold), Decision::Wait);
        let spoilt: [fn(&mut Evidence); 9] = [
            |e| e.quiet = false,
            |e| e.moved = true,
            |e| e.later = Later::Waiting,
            |e| e.listed = Listed::Several { finished: true },
            |e| e.listed = Listed::Unclear,
            |e| e.seen.changed = 1,
            |e| e.seen.partly = 1,
            |e| e.seen.unknown = 1,
            |e| e.seen.unchanged = 0,
        ];
        for (number, spoil) in spoilt.into_iter().enumerate() {
            let mut evidence = evidence();
            spoil(&mut evidence);
            assert_eq!(decide(&evidence, verify), Decision::Wait, "condition {number}");
            evidence.time_is_up = true;
            assert!(
                matches!(decide(&evidence, verify), Decision::Hold(_)),
                "condition {number}"
            );
        }
    }

    #[test]
    fn what_the_tenant_lists_is_found_once_it_is_certain() {
        let all = Sightings {
            changed: 3,
            ..Sightings::default()
        };
        let listed = |listed, seen| Evidence {
            listed,
            seen,
            ..evidence()
        };
        let found = |by_size| {
            let id = BatchId::new("b");
            Decision::Found { id, by_size }
        };
        let some = Sightings {
            changed: 1,
            unchanged: 2,
            ..Sightings::default()
        };
        assert_eq!(decide(&listed(one(true), some), InDoubt::Hold), found(false));
        assert_eq!(decide(&listed(one(false), all), InDoubt::Verify), found(true));
        assert_eq!(
            decide(&listed(one(false), evidence().seen), InDoubt::Verify),
            Decision::Wait
        );
        assert_eq!(
            decide(&listed(Listed::Several { finished: true }, all), InDoubt::Verify),
            Decision::Reached
        );
        assert_eq!(
            decide(&listed(Listed::Unreadable, all), InDoubt::Hold),
            Decision::Reached
        );
    }

    #[test]
    fn some_are_not_all_and_the_gone_say_nothing() {
        let look = |changed, unchanged, gone| Evidence {
            seen: Sightings {
                changed,
                unchanged,
                gone,
                ..Sightings::default()
            },
            moved: changed > 0,
            ..evidence()
        };
        assert_eq!(decide(&look(2, 1, 0), InDoubt::Verify), Decision::Wait);
        assert_eq!(decide(&look(2, 0, 1), InDoubt::Verify), Decision::Reached);
        assert_eq!(decide(&look(0, 2, 1), InDoubt::Verify), Decision::Absent);
        assert_eq!(decide(&look(0, 0, 3), InDoubt::Verify), Decision::Gone);
    }

    #[test]
    fn one_that_says_otherwise_is_enough_against_all() {
        for number in 0..3_usize.pow(5) {
            let [changed, partly, unchanged, gone, unknown] =
                [1, 3, 9, 27, 81].map(|digit| number / digit % 3);
            let seen = Sightings {
                changed,
                partly,
                unchanged,
                gone,
                unknown,
            };
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

    /// Whoever rules needs to know what kept the batch from being decided.
    #[test]
    fn a_held_batch_says_what_is_missing() {
        let held = |spoil: fn(&mut Evidence), in_doubt| {
            let mut evidence = evidence();
            spoil(&mut evidence);
            why_undecided(&evidence, in_doubt)
        };
        let verify = |spoil| held(spoil, InDoubt::Verify);
        let counts = "(0 with the change, 3 without)";
        for (why, expected) in [
            (
                verify(|e| e.listed = Listed::Several { finished: false }),
                "lists several batches that could be it",
            ),
            (
                verify(|e| e.listed = one(false)),
                "lists a batch that could be it",
            ),
            (
                verify(|e| e.listed = Listed::Unclear),
                "could not be read far enough back",
            ),
            (verify(|e| e.ruled_absent = true), "it was ruled absent, but"),
            (
                verify(|e| e.moved = true),
                "show or have shown the change, so it may have arrived",
            ),
            (held(|_| {}, InDoubt::Hold), "--in-doubt hold goes no further"),
            (verify(|e| e.quiet = false), "the quiet period was not over"),
            (
                verify(|e| e.later = Later::Waiting),
                "the tenant has not finished with other batches yet",
            ),
            (verify(|_| {}), "not every profile could be looked at"),
        ] {
            assert!(
                why.contains(expected) && why.ends_with(counts),
                "{expected}: {why}"
            );
        }
        let why = verify(|e| {
            e.seen = Sightings {
                changed: 1,
                partly: 2,
                unchanged: 4,
                gone: 8,
                unknown: 16,
            }
        });
        assert!(
            why.ends_with("(3 with the change, 4 without, 8 gone, 16 not asked)"),
            "{why}"
        );
    }

    #[test]
    fn a_ruling_is_acted_on_only_where_the_profiles_agree() {
        let ruled = Evidence {
            ruled_absent: true,
            quiet: false,
            ..evidence()
        };
        assert_eq!(decide(&ruled, InDoubt::Hold), Decision::Absent);
        let mut contradicted = ruled.clone();
        contradicted.seen.changed = 1;
        let Decision::Hold(why) = decide(&contradicted, InDoubt::Verify) else {
            panic!("sent again although a profile shows the change");
        };
        assert!(
            why.contains("ruled absent") && why.contains("1 with the change"),
            "{why}"
        );
        let mut listed = Evidence {
            listed: one(true),
            ..ruled
        };
        assert!(
            matches!(decide(&listed, InDoubt::Verify), Decision::Hold(_)),
            "it may still do it"
        );
        let Listed::One { finished, .. } = &mut listed.listed else {
            unreachable!()
        };
        *finished = true;
        assert_eq!(decide(&listed, InDoubt::Verify), Decision::Absent);
        for finished in [true, false] {
            let several = Evidence {
                listed: Listed::Several { finished },
                ..listed.clone()
            };
            let sent_again = decide(&several, InDoubt::Verify) == Decision::Absent;
            assert_eq!(sent_again, finished, "any of them may still do it");
        }
        listed.moved = true;
        assert!(matches!(decide(&listed, InDoubt::Verify), Decision::Found { .. }));
    }

    #[test]
    fn a_listed_batch_for_the_same_people_need_not_be_this_one() {
        let listed = |seen: Sightings| Evidence {
            listed: one(true),
            seen,
            ..evidence()
        };
        let unchanged = Sightings {
            unchanged: 3,
            ..Sightings::default()
        };
        assert_eq!(decide(&listed(unchanged), InDoubt::Verify), Decision::Wait);
        let mut over = listed(unchanged);
        over.listed = Listed::One {
            id: BatchId::new("b"),
            identified: true,
            finished: true,
        };
        assert_eq!(decide(&over, InDoubt::Verify), Decision::Wait, "nobody has ruled");
        over.ruled_absent = true;
        over.seen.changed = 1;
        assert!(matches!(decide(&over, InDoubt::Verify), Decision::Found { .. }));
        for seen in [
            Sightings {
                changed: 1,
                unchanged: 2,
                ..unchanged
            },
            Sightings {
                partly: 1,
                unchanged: 2,
                ..unchanged
            },
            Sightings {
                unchanged: 0,
                gone: 3,
                ..unchanged
            },
        ] {
            assert!(
                matches!(decide(&listed(seen), InDoubt::Verify), Decision::Found { .. }),
                "{seen:?}"
            );
        }
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
    fn the_quiet_period_grows_with_what_the_tenant_has_shown() {
        let seconds = Duration::from_secs;
        assert_eq!(quiet_period(seconds(75), Duration::ZERO), seconds(75));
        assert_eq!(quiet_period(seconds(75), seconds(40)), seconds(195));
    }
}

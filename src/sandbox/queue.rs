//! Batches: what was accepted, in which order it is applied, and when it shows.
//!
//! Decides nothing about requests and keeps no files. Every step that changes the queue is a method that can be called
//! again with the same facts after a restart, so that live running and replaying are the same code.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::people;
use super::world::World;

/// Milliseconds since 1970, the only clock that still means something after a restart.
pub(super) type Millis = u64;

/// What a write does to the profiles it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The handles are added to what the profile holds.
    Attach,
    /// The handles are taken from what the profile holds.
    Detach,
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Attach => "attach",
            Self::Detach => "detach",
        })
    }
}

/// One write that the tenant accepted, word for word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The id of the batch it became.
    pub batch_id: String,
    /// What it does.
    pub action: Action,
    /// When it was accepted, to the millisecond.
    #[serde(rename = "at_ms", with = "milliseconds")]
    pub at: SystemTime,
    /// Each entry of the request in its order, repeated and unknown ids included.
    pub members: Vec<(String, Vec<String>)>,
}

/// Moments as whole milliseconds since 1970.
mod milliseconds {
    use super::{Duration, SystemTime, UNIX_EPOCH, millis};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        millis(*at).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let number = u64::deserialize(from)?;
        UNIX_EPOCH
            .checked_add(Duration::from_millis(number))
            .ok_or_else(|| serde::de::Error::custom("a moment beyond the end of time"))
    }
}

/// A moment in milliseconds; one before 1970 counts as 1970.
pub(super) fn millis(at: SystemTime) -> Millis {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// One entry of a batch, small enough for millions of them.
#[derive(Debug)]
pub(super) struct Member {
    who: Who,
    /// Neighbours mostly carry the same handles and then share one list of them.
    statuses: Arc<[String]>,
}

#[derive(Debug)]
enum Who {
    Known(u32),
    /// The id as it was sent; it belonged to no profile when it came.
    Foreign(Box<str>),
}

/// One batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) id: String,
    pub(super) accepted: Millis,
    pub(super) members: Vec<Member>,
    pub(super) applied: Option<Applied>,
    action: Action,
}

/// How a batch went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Applied {
    pub(super) at_ms: Millis,
    /// The positions of the entries that failed, in order.
    pub(super) failed: Vec<u32>,
    /// Whether profiles change at all.
    pub(super) effective: bool,
}

impl Batch {
    /// The profile id of an entry, as it was sent.
    pub(super) fn profile_id(&self, member: &Member, world: &World) -> String {
        match &member.who {
            Who::Known(index) => world.profile_id(*index),
            Who::Foreign(id) => id.to_string(),
        }
    }

    fn written(&self, world: &World) -> Write {
        Write {
            batch_id: self.id.clone(),
            action: self.action,
            at: UNIX_EPOCH + Duration::from_millis(self.accepted),
            members: self
                .members
                .iter()
                .map(|member| (self.profile_id(member, world), member.statuses.to_vec()))
                .collect(),
        }
    }
}

/// All batches, and those among them that still have something to do.
#[derive(Debug, Default)]
pub(super) struct Queue {
    batches: Vec<Batch>,
    places: HashMap<String, usize>,
    /// Accepted and not applied yet, oldest first.
    waiting: VecDeque<usize>,
    /// Applied, but not to be seen on profiles yet, oldest first.
    hidden: VecDeque<usize>,
}

impl Queue {
    /// The id that the next batch is going to have.
    pub(super) fn next_id(&self, seed: u64) -> String {
        people::batch_id(seed, self.batches.len() as u64)
    }

    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// How many have been applied.
    pub(super) fn applied(&self) -> usize {
        self.batches.len() - self.waiting.len()
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter().rev()
    }

    pub(super) fn find(&self, id: &str) -> Option<&Batch> {
        self.places.get(id).map(|place| &self.batches[*place])
    }

    /// Every accepted write, in order.
    pub(super) fn writes(&self, world: &World) -> Vec<Write> {
        self.batches.iter().map(|batch| batch.written(world)).collect()
    }

    /// Takes a write in.
    pub(super) fn accept(&mut self, write: Write, world: &World) {
        let mut handles: Arc<[String]> = Arc::from([]);
        let members = write.members.into_iter().map(|(profile_id, statuses)| {
            if *handles != *statuses {
                handles = Arc::from(statuses);
            }
            Member {
                who: match world.find(&profile_id) {
                    Some(index) => Who::Known(index),
                    None => Who::Foreign(profile_id.into_boxed_str()),
                },
                statuses: Arc::clone(&handles),
            }
        });
        let batch = Batch {
            members: members.collect(),
            accepted: millis(write.at),
            applied: None,
            action: write.action,
            id: write.batch_id,
        };
        let place = self.batches.len();
        self.places.insert(batch.id.clone(), place);
        self.batches.push(batch);
        self.waiting.push_back(place);
    }

    /// The oldest batch that has not been applied.
    pub(super) fn first_waiting(&self) -> Option<&Batch> {
        self.waiting.front().map(|place| &self.batches[*place])
    }

    /// The oldest batch that has been applied and does not show yet.
    pub(super) fn first_hidden(&self) -> Option<&Batch> {
        self.hidden.front().map(|place| &self.batches[*place])
    }

    /// How the oldest waiting batch would go if it were applied now.
    pub(super) fn outcome(&self, world: &World, now: Millis, rules: Rules) -> Option<Applied> {
        let members = &self.first_waiting()?.members;
        let fails = |member: &Member| match member.who {
            Who::Known(index) => !world.exists(index),
            Who::Foreign(_) => true,
        };
        let failed = (0u32..)
            .zip(members)
            .filter(|(_, member)| !rules.unknown_pass && fails(member))
            .map(|(position, _)| position);
        Some(Applied {
            at_ms: now,
            failed: failed.collect(),
            effective: rules.effective,
        })
    }

    /// Marks the oldest waiting batch as applied.
    pub(super) fn apply(&mut self, applied: Applied) {
        if let Some(place) = self.waiting.pop_front() {
            self.batches[place].applied = Some(applied);
            self.hidden.push_back(place);
        }
    }

    /// Lets the oldest applied batch show on the profiles.
    pub(super) fn show(&mut self, world: &mut World) {
        let Some(place) = self.hidden.pop_front() else {
            return;
        };
        let batch = &self.batches[place];
        let Some(applied) = batch.applied.as_ref().filter(|applied| applied.effective) else {
            return;
        };
        for (position, member) in (0u32..).zip(&batch.members) {
            let Who::Known(index) = member.who else {
                continue;
            };
            if !world.exists(index) || applied.failed.binary_search(&position).is_ok() {
                continue;
            }
            let statuses = world.bits(member.statuses.iter().map(String::as_str));
            match batch.action {
                Action::Attach => world.attach(index, statuses),
                Action::Detach => world.detach(index, statuses),
            }
        }
    }
}

/// How batches are applied on this tenant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Unknown ids pass for successes.
    pub(super) unknown_pass: bool,
    /// Profiles change at all.
    pub(super) effective: bool,
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::*;

    const RULES: Rules = Rules {
        unknown_pass: false,
        effective: true,
    };

    fn world() -> World {
        World::new(&Options {
            profiles: 50,
            holders_percent: 0,
            ..Options::default()
        })
    }

    fn write(queue: &Queue, action: Action, members: &[(&str, &[&str])]) -> Write {
        Write {
            batch_id: queue.next_id(1),
            action,
            at: UNIX_EPOCH + Duration::from_millis(5),
            members: members
                .iter()
                .map(|(id, statuses)| {
                    let statuses = statuses.iter().map(|handle| (*handle).to_owned());
                    ((*id).to_owned(), statuses.collect())
                })
                .collect(),
        }
    }

    fn run(queue: &mut Queue, world: &mut World, rules: Rules) -> Applied {
        let applied = queue.outcome(world, 7, rules).unwrap();
        queue.apply(applied.clone());
        queue.show(world);
        applied
    }

    #[test]
    fn batches_attach_and_detach_in_order() {
        let (mut world, mut queue) = (world(), Queue::default());
        let id = world.profile_id(3);
        let add = write(&queue, Action::Attach, &[(&id, &["vip", "gold", "made_up"])]);
        queue.accept(add, &world);
        let take = write(&queue, Action::Detach, &[(&id, &["gold", "staff"])]);
        queue.accept(take, &world);
        run(&mut queue, &mut world, RULES);
        assert_eq!(world.person(3).statuses, ["vip", "gold"]);
        run(&mut queue, &mut world, RULES);
        assert_eq!(world.person(3).statuses, ["vip"]);
        assert!(queue.first_waiting().is_none() && queue.first_hidden().is_none());
    }

    #[test]
    fn nothing_shows_before_it_is_shown() {
        let (mut world, mut queue) = (world(), Queue::default());
        let id = world.profile_id(3);
        let add = write(&queue, Action::Attach, &[(&id, &["vip"])]);
        queue.accept(add, &world);
        let applied = queue.outcome(&world, 7, RULES).unwrap();
        queue.apply(applied);
        assert!(world.person(3).statuses.is_empty());
        queue.show(&mut world);
        assert_eq!(world.person(3).statuses, ["vip"]);
    }

    #[test]
    fn unknown_and_deleted_ids_fail_or_pass() {
        for (unknown_pass, failed) in [(false, vec![0, 2]), (true, vec![])] {
            let (mut world, mut queue) = (world(), Queue::default());
            let ids = [world.profile_id(1), world.profile_id(2)];
            let members: [(&str, &[&str]); 3] =
                [("nobody", &["vip"]), (&ids[0], &["vip"]), (&ids[1], &["vip"])];
            queue.accept(write(&queue, Action::Attach, &members), &world);
            world.delete(2);
            let rules = Rules {
                unknown_pass,
                effective: true,
            };
            assert_eq!(run(&mut queue, &mut world, rules).failed, failed);
            assert_eq!(world.holders("vip"), [ids[0].clone()]);
        }
    }

    #[test]
    fn a_batch_may_succeed_and_change_nothing() {
        let (mut world, mut queue) = (world(), Queue::default());
        let id = world.profile_id(3);
        queue.accept(write(&queue, Action::Attach, &[(&id, &["vip"])]), &world);
        let rules = Rules {
            unknown_pass: false,
            effective: false,
        };
        assert!(run(&mut queue, &mut world, rules).failed.is_empty());
        assert!(world.holders("vip").is_empty());
    }

    #[test]
    fn writes_are_kept_word_for_word() {
        let (world, mut queue) = (world(), Queue::default());
        let id = world.profile_id(3);
        let members: [(&str, &[&str]); 4] = [
            (&id, &["vip"]),
            (&id, &["vip", "made_up"]),
            ("nobody", &[]),
            (&id, &["vip"]),
        ];
        let sent = write(&queue, Action::Detach, &members);
        queue.accept(sent.clone(), &world);
        assert_eq!(queue.writes(&world), std::slice::from_ref(&sent));
        let text = serde_json::to_string(&sent).unwrap();
        assert!(text.contains(r#""action":"detach","at_ms":5,"#), "{text}");
        assert_eq!(serde_json::from_str::<Write>(&text).unwrap(), sent);
    }
}

//! Looking at the members of a batch until all show the change, and what was learned about each.
//!
//! What a handle's presence shows counts at once. What a lack shows, a status that is gone or a profile that is, counts when
//! two looks agree that lie some time apart: a stale replica lacks things, too.

use super::context::{Context, Halt};
use super::lifetime::looks_apart;
use super::look::{Behind, MISSES_A_LOOK, Sight, look_at};
use super::readback::{WORTHWHILE_MEMBERS, seen_together};
use crate::api::Tenant;
use crate::ledger::{MemberFate, SealedMember};
use crate::model::entry::Evidence;
use crate::model::ids::{Action, EntryId};
use std::time::Duration;
use tokio::time::Instant;

/// Members that are still to be seen with the change, and what was learned about the others.
#[derive(Default)]
pub struct Reading {
    unseen: Vec<Unseen>,
    /// What became of those that are not to be looked at any more.
    pub fates: Vec<(EntryId, MemberFate)>,
    /// How many were seen with the change.
    pub shown: usize,
    /// When a member was last seen with the change that had been looked at in vain before.
    pub turned: Option<Instant>,
}

struct Unseen {
    member: SealedMember,
    /// Why the tenant says that this member failed.
    blame: Option<String>,
    /// Whether its last look was an answer, and the answer was that nothing has changed.
    unchanged: bool,
    /// What its looks have agreed on since then, where that rests on a lack.
    lacked: Option<(Sight, Instant)>,
    behind: Behind,
    /// Whether its last look showed no status, where nobody is known to show any.
    bare: bool,
    /// Whether it showed a part of the change.
    partly: bool,
}

impl Unseen {
    fn is_due(&self, now: Instant, apart: Duration) -> bool {
        self.lacked.is_none_or(|(_, since)| since + apart <= now)
    }
}

impl Reading {
    /// Of members that are expected to show the change.
    pub fn of(members: impl IntoIterator<Item = SealedMember>) -> Self {
        let mut reading = Self::default();
        reading.add(members.into_iter().map(|member| (member, None)));
        reading
    }

    /// Adds members, each with why the tenant says that it failed, where it does.
    pub fn add(&mut self, members: impl IntoIterator<Item = (SealedMember, Option<String>)>) {
        let unseen = |(member, blame)| Unseen {
            member,
            blame,
            unchanged: false,
            lacked: None,
            behind: Behind::default(),
            bare: false,
            partly: false,
        };
        self.unseen.extend(members.into_iter().map(unseen));
    }

    /// Whether nobody is left to look at.
    pub fn is_over(&self) -> bool {
        self.unseen.is_empty()
    }

    /// Whether any of the change shows.
    pub fn anything_shows(&self) -> bool {
        let lacks = |unseen: &Unseen| matches!(unseen.lacked, Some((Sight::Changed, _)));
        self.shown > 0 || self.unseen.iter().any(lacks)
    }

    /// Whether somebody shows a part of the change.
    pub fn somebody_shows_a_part(&self) -> bool {
        self.unseen.iter().any(|unseen| unseen.partly)
    }

    /// Whether there is an answer about everybody who is left.
    pub fn everyone_answered(&self) -> bool {
        let answered = |unseen: &Unseen| unseen.unchanged || unseen.lacked.is_some();
        self.unseen.iter().all(answered)
    }

    /// Whether somebody is left whose answers are late as yet.
    pub fn somebody_is_behind(&self) -> bool {
        self.unseen.iter().any(|unseen| unseen.behind.is_known())
    }

    /// Whether all who are left show no status, and nobody is known to show any.
    pub fn all_are_bare(&self) -> bool {
        self.unseen.iter().all(|unseen| unseen.bare)
    }

    /// Whether everybody who is left was looked at and has not changed.
    pub fn everyone_is_unchanged(&self) -> bool {
        self.unseen.iter().all(|unseen| unseen.unchanged)
    }

    /// Whether the tenant itself says of everybody who is left that they failed.
    pub fn all_are_blamed(&self) -> bool {
        self.unseen.iter().all(|unseen| unseen.blame.is_some())
    }

    /// When to look again, where nobody is left but those whose second look is to come.
    pub fn second_look<T>(&self, context: &Context<T>) -> Option<Instant> {
        let apart = looks_apart(context);
        let due = self.unseen.iter().map(|unseen| Some(unseen.lacked?.1 + apart));
        due.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Looks at one member.
    pub async fn look_at_one<T: Tenant>(&mut self, context: &Context<T>) -> Result<(), Halt> {
        if let Some(unseen) = self.unseen.pop() {
            let looked = Instant::now();
            let sight = look_at(context, &unseen.member).await?;
            let left = self.note(context, unseen, sight, looked);
            self.unseen.splice(0..0, left);
        }
        Ok(())
    }

    /// Looks at everybody who is left, until so many showed nothing. Those come last in the next look, so
    /// that a few who never change cannot hide the others for ever.
    pub async fn look<T: Tenant>(&mut self, context: &Context<T>, misses_limit: usize) -> Result<(), Halt> {
        let together = context.together.most() > 1 && self.unseen.len() >= WORTHWHILE_MEMBERS;
        self.look_together(context).await?;
        let apart = looks_apart(context);
        let (mut missed, mut misses, mut overlooked) = (Vec::new(), 0, 0);
        let mut queue = std::mem::take(&mut self.unseen).into_iter();
        while misses < misses_limit
            && let Some(unseen) = queue.next()
        {
            let looked = Instant::now();
            if !unseen.is_due(looked, apart) {
                missed.push(unseen);
                continue;
            }
            let sight = look_at(context, &unseen.member).await?;
            overlooked += usize::from(together && sight.shows_all() && unseen.lacked.is_none());
            if overlooked == MISSES_A_LOOK {
                context.together.overlooked();
            }
            if let Some(left) = self.note(context, unseen, sight, looked) {
                misses += usize::from(left.lacked.is_none());
                missed.push(left);
            }
        }
        self.unseen = queue.chain(missed).collect();
        Ok(())
    }

    /// Looks at many with one request, where the tenant lets us. Says nothing about who is not seen by it.
    async fn look_together<T: Tenant>(&mut self, context: &Context<T>) -> Result<(), Halt> {
        let (looked, apart) = (Instant::now(), looks_apart(context));
        let due = self.unseen.iter().filter(|unseen| unseen.is_due(looked, apart));
        let members: Vec<&SealedMember> = due.map(|unseen| &unseen.member).collect();
        let seen = seen_together(context, &members).await?;
        if seen.is_empty() {
            return Ok(());
        }
        for unseen in std::mem::take(&mut self.unseen) {
            let left = if seen.contains(&unseen.member.id) {
                self.note(context, unseen, Sight::Changed, looked)
            } else {
                Some(unseen)
            };
            self.unseen.extend(left);
        }
        Ok(())
    }

    /// Takes in what a look has shown; the member, where it is to be looked at again.
    fn note<T>(
        &mut self,
        context: &Context<T>,
        mut unseen: Unseen,
        sight: Sight,
        looked: Instant,
    ) -> Option<Unseen> {
        unseen.behind.note(context, &mut unseen.member, sight, looked);
        unseen.bare = sight == Sight::Bare;
        unseen.partly = sight == Sight::Partly;
        let Some(mut fate) = sight.fate() else {
            unseen.unchanged = matches!(sight, Sight::Unchanged | Sight::Partly);
            unseen.lacked = None;
            return Some(unseen);
        };
        if let (MemberFate::Failed(..), Some(why)) = (&fate, &unseen.blame) {
            // The tenant and the profile say the same.
            fate = MemberFate::Failed("refused_by_tenant", why.clone());
        } else if sight == Sight::Gone || context.job.action == Action::Remove {
            let since = match unseen.lacked {
                Some((before, since)) if before == sight => since,
                _ => looked,
            };
            if since + looks_apart(context) > looked {
                if std::mem::take(&mut unseen.unchanged) && sight.shows_all() {
                    self.turned = Some(Instant::now());
                }
                unseen.lacked = Some((sight, since));
                return Some(unseen);
            }
        }
        self.shown += usize::from(sight.shows_all());
        if unseen.unchanged && sight.shows_all() {
            self.turned = Some(Instant::now());
        }
        self.fates.push((unseen.member.id, fate));
        None
    }

    /// Confirms members that were not looked at.
    pub fn trust(&mut self, members: impl IntoIterator<Item = SealedMember>, evidence: Evidence) {
        let fates = members
            .into_iter()
            .map(|member| (member.id, MemberFate::Confirmed(evidence)));
        self.fates.extend(fates);
    }

    /// Lets those fail whose change never showed.
    pub fn give_up_on_the_rest(&mut self, detail: &str) {
        let fate = |unseen: Unseen| {
            let fate = match unseen.blame {
                Some(why) => MemberFate::Failed("refused_by_tenant", why),
                None => MemberFate::Failed("not_confirmed", detail.to_owned()),
            };
            (unseen.member.id, fate)
        };
        self.fates.extend(self.unseen.drain(..).map(fate));
    }
}

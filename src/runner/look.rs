//! Looking at profiles, again and again, with growing waits in between. What the looks mean is for the stages
//! to say.

use super::context::{Context, GaveUp, Halt};
use super::readback::shows_absence;
use super::witness::emptiness_counts;
use crate::api::pacing::Class;
use crate::api::{Holding, Slice, Tenant, Wanted};
use crate::ledger::{MemberFate, SealedMember};
use crate::model::email::same;
use crate::model::entry::Evidence;
use crate::model::ids::{Action, Handle, Job};
use crate::model::lookup::Found;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at the same thing: short at first, since many tenants are quick, and then ever longer.
pub const FIRST_WAIT: Duration = Duration::from_millis(400);
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Between the first 404 for a profile and the second, which is believed.
const BEFORE_GONE: Duration = Duration::from_secs(1);

/// Members without the change in one look, after which the rest is not worth asking for yet.
pub const MISSES_A_LOOK: usize = 3;

/// Why a member fails whose profile was known from another ledger and was not that person's any more.
const PROFILE_CHANGED: &str = "profile_changed";

/// Since when a member has been seen only without a status that it had when it was looked up. An answer is that late for
/// so long as a request may live; then it is so, and somebody else has taken the status away.
#[derive(Clone, Copy, Default)]
pub struct Behind(Option<Instant>);

impl Behind {
    /// Takes in a look.
    pub fn note<T>(
        &mut self,
        context: &Context<T>,
        member: &mut SealedMember,
        sight: Sight,
        looked: Instant,
    ) {
        if sight != Sight::Stale {
            self.0 = None;
            return;
        }
        let since = *self.0.get_or_insert(looked);
        if looked - since >= context.settings.quiet {
            member.held.retain(|handle| context.job.handles.contains(handle));
        }
    }

    /// Whether it is behind.
    pub fn is_known(self) -> bool {
        self.0.is_some()
    }
}

/// The growing waits between looks. What is bounded is the waiting: the time that answers take, be it an hour of
/// maintenance, is not held against anybody.
pub struct Patience {
    left: Duration,
    wait: Duration,
}

impl Patience {
    /// Waits for so long in all.
    pub fn new(time: Duration) -> Self {
        Self {
            left: time,
            wait: FIRST_WAIT,
        }
    }

    /// Looks often again, within the same time.
    pub fn begin_anew(&mut self) {
        self.wait = FIRST_WAIT;
    }

    /// Whether there is no time for another look.
    pub fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    /// Waits for the next look; false when the time is up.
    pub async fn next_look<T: Tenant>(&mut self, context: &Context<T>) -> Result<bool, Halt> {
        if self.is_over() {
            return Ok(false);
        }
        let wait = self.wait.min(self.left);
        self.left -= wait;
        self.wait(context, wait).await?;
        Ok(true)
    }

    /// Waits for the next look, but not beyond an instant that lies ahead, whether the time is up or not.
    pub async fn next_look_by<T: Tenant>(
        &mut self,
        context: &Context<T>,
        instant: Instant,
    ) -> Result<(), Halt> {
        let ahead = instant.saturating_duration_since(Instant::now());
        let wait = self.wait.min(ahead);
        self.left = self.left.saturating_sub(wait);
        self.wait(context, wait).await
    }

    async fn wait<T: Tenant>(&mut self, context: &Context<T>, wait: Duration) -> Result<(), Halt> {
        context.pause(wait).await?;
        self.wait = self.wait.mul_f64(1.6).min(LONGEST_WAIT);
        Ok(())
    }
}

/// What a look at one member shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The whole change.
    Changed,
    /// The whole change, on a profile that bears another email than when another ledger looked it up.
    Renamed,
    /// A part of it: one of several handles.
    Partly,
    /// None of it.
    Unchanged,
    /// The profile is gone, and with it any evidence.
    Gone,
    /// It lacks what the profile surely has, or something on the way has kept it: the answer may be older than the
    /// change. No evidence either way.
    Stale,
    /// It shows no status at all, as it should, and nobody at this tenant is known to show any. No evidence either way.
    Bare,
    /// The tenant would not say. No evidence either way.
    Unanswered,
}

/// Looks at one member. That a profile is gone is final, and a gateway says 404 for less: it is asked for twice, and then
/// by its email.
pub async fn look_at<T: Tenant>(context: &Context<T>, member: &SealedMember) -> Result<Sight, Halt> {
    match look_once(context, member).await? {
        Sight::Gone => {
            context.pause(BEFORE_GONE).await?;
            match look_once(context, member).await? {
                Sight::Gone => look_by_email(context, member).await,
                sight => Ok(sight),
            }
        }
        sight => Ok(sight),
    }
}

/// Whoever is still found by email is not gone: then it is the way by the id that is out of order. What is found there may
/// be late, so that it does not show the change is no evidence.
async fn look_by_email<T: Tenant>(context: &Context<T>, member: &SealedMember) -> Result<Sight, Halt> {
    let question = |tenant: Arc<T>| async move {
        let wanted = Wanted::Email(member.email.as_str());
        tenant.profiles(wanted, Slice::usual(1)).await
    };
    match context.ask(Class::Settle, question).await {
        Ok(page) => {
            let same_profile = |found: &Found| found.profile == member.profile;
            Ok(match page.items.into_iter().find(same_profile) {
                None => Sight::Gone,
                Some(Found { held: None, .. }) => Sight::Unanswered,
                Some(Found {
                    held: Some(held),
                    email,
                    ..
                }) => match judge(&context.job, member, &held, Some(&email)) {
                    Sight::Unchanged => Sight::Unanswered,
                    // No witness speaks for a list.
                    _ if context.job.action == Action::Remove && held.is_empty() => Sight::Unanswered,
                    _ if !shows_absence(context).await? => Sight::Unanswered,
                    sight => sight,
                },
            })
        }
        Err(GaveUp::Halt(halt)) => Err(halt),
        // Whoever may not say it has not said that the profile is gone.
        Err(GaveUp::Denied(_) | GaveUp::Missing | GaveUp::Refused(_)) => Ok(Sight::Unanswered),
    }
}

/// Whether a profile of which this ledger has only heard is not the one that was meant any more.
fn bears_another_email(member: &SealedMember, email: Option<&str>) -> bool {
    member.reused && email.is_some_and(|email| !same(&member.email, email))
}

/// What a profile that holds these, and bears this email where that is known, says of the change.
pub fn judge(job: &Job, member: &SealedMember, held: &[Handle], email: Option<&str>) -> Sight {
    let sent = job.action.needed(&job.handles, &member.held);
    let shows = job.action.shows(&sent, held);
    // What is attached shows by its presence, and that needs nothing else.
    let by_presence = job.action == Action::Assign && job.action.shows_any(&sent, held);
    if !by_presence && lacks_the_rest(job, member, held) {
        Sight::Stale
    } else if shows {
        if bears_another_email(member, email) {
            Sight::Renamed
        } else {
            Sight::Changed
        }
    } else if job.action.shows_any(&sent, held) {
        Sight::Partly
    } else {
        Sight::Unchanged
    }
}

/// Whether an answer lacks a status that the profile had when it was looked up and that nothing of ours takes away.
fn lacks_the_rest(job: &Job, member: &SealedMember, held: &[Handle]) -> bool {
    let removed = |handle: &Handle| job.action == Action::Remove && job.handles.contains(handle);
    member
        .held
        .iter()
        .any(|handle| !removed(handle) && !held.contains(handle))
}

impl Sight {
    /// Whether the whole change shows.
    pub fn shows_all(self) -> bool {
        matches!(self, Self::Changed | Self::Renamed)
    }

    /// What becomes of a member whose last sight this is, where that is certain.
    pub fn fate(self) -> Option<MemberFate> {
        let failed = |reason, detail: &str| Some(MemberFate::Failed(reason, detail.into()));
        match self {
            Self::Changed => Some(MemberFate::Confirmed(Evidence::Seen)),
            Self::Renamed => failed(
                PROFILE_CHANGED,
                "the change was made, but the profile has another email now: \
                 check whether it belongs there, and which profile has this email",
            ),
            Self::Gone => failed("profile_gone", "the profile no longer exists"),
            Self::Partly | Self::Unchanged | Self::Stale | Self::Bare | Self::Unanswered => None,
        }
    }
}

/// Whether a look at this one profile shows the change of this handle.
pub async fn shows_alone<T: Tenant>(
    context: &Context<T>,
    member: &SealedMember,
    handle: &Handle,
) -> Result<bool, Halt> {
    let id = &member.profile;
    match context.ask_profile(Class::Settle, id).await {
        Ok(Holding { held, is_kept, .. }) => {
            let stale = context.job.action == Action::Remove
                && (is_kept || lacks_the_rest(&context.job, member, &held));
            Ok(!stale && context.job.action.shows(std::slice::from_ref(handle), &held))
        }
        Err(GaveUp::Halt(halt)) => Err(halt),
        Err(_) => Ok(false),
    }
}

/// What shows by the lack of any status is so where somebody else shows one right afterwards.
async fn witnessed<T: Tenant>(context: &Context<T>, sight: Sight, held: &[Handle]) -> Result<Sight, Halt> {
    let bare = context.job.action == Action::Remove && held.is_empty();
    if bare && sight == Sight::Stale {
        context.witnesses.saw_blank();
    }
    if !(bare && sight.shows_all()) {
        return Ok(sight);
    }
    Ok(match emptiness_counts(context).await? {
        Some(true) => sight,
        Some(false) => Sight::Stale,
        None => Sight::Bare,
    })
}

async fn look_once<T: Tenant>(context: &Context<T>, member: &SealedMember) -> Result<Sight, Halt> {
    match context.ask_profile(Class::Settle, &member.profile).await {
        Ok(Holding { held, email, is_kept }) => {
            let sight = judge(&context.job, member, &held, email.as_deref());
            // What something on the way has kept may be older than the change, whatever it lacks.
            let by_presence = context.job.action == Action::Assign && sight.shows_all();
            if is_kept && !by_presence {
                return Ok(Sight::Stale);
            }
            witnessed(context, sight, &held).await
        }
        Err(GaveUp::Missing) => Ok(Sight::Gone),
        Err(GaveUp::Denied(_) | GaveUp::Refused(_)) => Ok(Sight::Unanswered),
        Err(GaveUp::Halt(halt)) => Err(halt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::email::Email;
    use crate::model::ids::{EntryId, ProfileId};

    fn handles(names: &[&str]) -> Vec<Handle> {
        names.iter().map(|name| Handle::new(*name)).collect()
    }

    fn job(action: Action) -> Job {
        Job {
            tenant: "https://api.acme.getomneo.com/api/v3".into(),
            action,
            handles: handles(&["vip", "gold"]),
        }
    }

    /// Somebody who held this when they were looked up, here or by another ledger.
    fn member(held: &[&str], reused: bool) -> SealedMember {
        SealedMember {
            id: EntryId(1),
            profile: ProfileId::new("p"),
            held: handles(held),
            email: Email::parse("ann@example.com").unwrap(),
            reused,
        }
    }

    #[test]
    fn of_several_handles_all_make_the_change_and_some_make_a_part_of_it() {
        let look = |action, before: &[&str], now: &[&str]| {
            judge(&job(action), &member(before, false), &handles(now), None)
        };
        for (action, before, now, sight) in [
            (
                Action::Assign,
                &[][..],
                &["gold", "new", "vip"][..],
                Sight::Changed,
            ),
            (Action::Assign, &["new"], &["gold", "new"], Sight::Partly),
            // A stale answer lacks more than the change.
            (Action::Assign, &["new"], &[], Sight::Stale),
            (Action::Assign, &["new"], &["gold"], Sight::Partly),
            (Action::Assign, &["new"], &["gold", "vip"], Sight::Changed),
            (Action::Remove, &["gold", "new", "vip"], &[], Sight::Stale),
            (Action::Remove, &["gold", "new", "vip"], &["gold"], Sight::Stale),
            (Action::Remove, &["gold", "new", "vip"], &["new"], Sight::Changed),
            (Action::Assign, &["new"], &["new"], Sight::Unchanged),
            // Only what was sent to somebody says anything.
            (Action::Assign, &["gold"], &["gold"], Sight::Unchanged),
            (Action::Assign, &["gold"], &["gold", "vip"], Sight::Changed),
            (Action::Remove, &["gold", "vip"], &["new"], Sight::Changed),
            (Action::Remove, &["gold", "vip"], &["vip"], Sight::Partly),
            (
                Action::Remove,
                &["gold", "vip"],
                &["gold", "vip"],
                Sight::Unchanged,
            ),
            (Action::Remove, &["vip"], &[], Sight::Changed),
        ] {
            assert_eq!(look(action, before, now), sight, "{action:?} {before:?} {now:?}");
        }
    }

    #[test]
    fn only_who_was_never_looked_up_here_can_turn_out_to_be_somebody_else() {
        let vip = handles(&["gold", "vip"]);
        let look = |reused, email| judge(&job(Action::Assign), &member(&[], reused), &vip, email);
        assert_eq!(look(true, Some("bob@example.com")), Sight::Renamed);
        assert_eq!(look(true, Some(" Ann@Example.com")), Sight::Changed);
        assert_eq!(look(true, None), Sight::Changed);
        assert_eq!(look(false, Some("bob@example.com")), Sight::Changed);
        let unchanged = judge(
            &job(Action::Assign),
            &member(&[], true),
            &[],
            Some("bob@example.com"),
        );
        assert_eq!(unchanged, Sight::Unchanged);
    }
}

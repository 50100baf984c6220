//! From the profiles that the tenant returned to a verdict on the entry.
//!
//! The filter is never trusted: what counts is the email on each returned profile. Exactly one match
//! resolves; everything else is written down and left alone.

use super::email::{Email, same};
use super::entry::SkipReason;
use super::ids::{Handle, Job, ProfileId};

/// A profile as a look-up returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub profile: ProfileId,
    /// Its email, as the tenant wrote it.
    pub email: String,
    /// The handles that it holds; `None` where the answer did not say.
    pub held: Option<Vec<Handle>>,
}

/// What a look-up means for its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exactly one profile bears the email and needs the handles.
    Resolved {
        /// The profile.
        profile: ProfileId,
        /// What it held before we touched it.
        held: Vec<Handle>,
    },
    /// Nothing to do.
    Skipped {
        /// Why.
        reason: SkipReason,
        /// The profile and what it holds, where there is one.
        profile: Option<(ProfileId, Vec<Handle>)>,
    },
    /// Nobody bears the email, as groups say: nobody was asked for it alone.
    InNoGroup,
    /// Several profiles bear the email.
    Ambiguous {
        /// All of them, in the tenant's order.
        candidates: Vec<ProfileId>,
    },
    /// The tenant gave no usable answer to this one question, while it answered others.
    Failed {
        /// What it said.
        reason: String,
    },
}

/// The distinct profiles among `found` that bear the very email asked for.
pub fn bearers<'a>(asked: &Email, found: &'a [Found]) -> Vec<&'a Found> {
    let mut bearers: Vec<&Found> = Vec::new();
    for profile in found.iter().filter(|profile| same(asked, &profile.email)) {
        // A page that is delivered twice must not make a profile ambiguous with itself.
        if bearers.iter().all(|known| known.profile != profile.profile) {
            bearers.push(profile);
        }
    }
    bearers
}

/// Judges the one bearer of an email by what it holds.
pub fn judge(job: &Job, profile: ProfileId, held: Vec<Handle>) -> Verdict {
    if !job.action.needed(&job.handles, &held).is_empty() {
        return Verdict::Resolved { profile, held };
    }
    let reason = match job.action {
        super::ids::Action::Assign => SkipReason::AlreadyAssigned,
        super::ids::Action::Remove => SkipReason::NotAssigned,
    };
    Verdict::Skipped {
        reason,
        profile: Some((profile, held)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::Action;

    fn found(id: &str, email: &str) -> Found {
        Found {
            profile: ProfileId::new(id),
            email: email.into(),
            held: Some(vec![]),
        }
    }

    #[test]
    fn only_the_very_email_counts() {
        let asked = Email::parse("ann@example.com").unwrap();
        let answer = [
            found("p1", "joann@example.com"),
            found("p2", " Ann@Example.com "),
            found("p3", "ann@example.com.au"),
            found("p2", "ann@example.com"),
        ];
        let ids: Vec<_> = bearers(&asked, &answer)
            .iter()
            .map(|p| p.profile.as_str().to_owned())
            .collect();
        assert_eq!(ids, ["p2"]);
    }

    #[test]
    fn who_needs_nothing_is_skipped() {
        let vip = vec![Handle::new("vip")];
        let mut job = Job {
            tenant: "http://127.0.0.1/".into(),
            action: Action::Assign,
            handles: vip.clone(),
        };
        let id = || ProfileId::new("p");
        assert!(matches!(judge(&job, id(), vec![]), Verdict::Resolved { .. }));
        let skip = |verdict| match verdict {
            Verdict::Skipped { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(skip(judge(&job, id(), vip.clone())), SkipReason::AlreadyAssigned);
        job.action = Action::Remove;
        assert!(matches!(judge(&job, id(), vip), Verdict::Resolved { .. }));
        assert_eq!(skip(judge(&job, id(), vec![])), SkipReason::NotAssigned);
    }
}

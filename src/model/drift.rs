//! What has become of a confirmed profile since, judged by what the tenant shows now.

use super::email::{Email, same};
use super::ids::{Action, Handle, Job, ProfileId};
use super::lookup::{Found, bearers};

/// How a profile differs from what was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// It does not show the change any more.
    StatusChanged,
    /// The profile is gone, and its email with it.
    ProfileGone,
    /// The profile is gone, and its email leads to another one.
    ProfileMerged,
    /// The profile bears another email.
    EmailMoved,
    /// Several profiles bear the email now.
    Ambiguous,
}

impl Drift {
    /// All kinds, the gravest first.
    pub const ALL: [Self; 5] = [
        Self::StatusChanged,
        Self::ProfileGone,
        Self::ProfileMerged,
        Self::EmailMoved,
        Self::Ambiguous,
    ];

    /// The word that the ledger and scripts know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StatusChanged => "status_changed",
            Self::ProfileGone => "profile_gone",
            Self::ProfileMerged => "profile_merged",
            Self::EmailMoved => "email_moved",
            Self::Ambiguous => "ambiguous",
        }
    }

    /// Reads the word back.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|drift| drift.as_str() == word)
    }
}

/// What the single profile shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Single {
    /// It is there, with these handles and this email, where the tenant tells it.
    There(Vec<Handle>, Option<String>),
    /// It is gone.
    Gone,
}

/// Whether the answer to a look-up by email alone shows that all is as it was. That a status is gone it cannot show: a
/// list may leave statuses out.
pub fn is_unchanged(job: &Job, email: &Email, profile: &ProfileId, found: &[Found]) -> bool {
    match bearers(email, found)[..] {
        [only] if job.action == Action::Assign => {
            only.profile == *profile
                && only
                    .held
                    .as_ref()
                    .is_some_and(|held| job.action.shows(&job.handles, held))
        }
        _ => false,
    }
}

/// Judges what both ways of looking show, with words about it; `None` where all is as it was.
///
/// That an email leads to nobody is no drift while its profile bears it: the search may heed letter case.
pub fn judge(
    job: &Job,
    email: &Email,
    profile: &ProfileId,
    found: &[Found],
    single: &Single,
) -> Option<(Drift, String)> {
    let bearers = bearers(email, found);
    let others = || {
        let others = bearers.iter().filter(|found| found.profile != *profile);
        others
            .map(|found| found.profile.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    match single {
        Single::Gone if bearers.is_empty() => Some((Drift::ProfileGone, String::new())),
        Single::Gone => Some((Drift::ProfileMerged, others())),
        Single::There(held, _) if !job.action.shows(&job.handles, held) => {
            let held: Vec<&str> = held.iter().map(Handle::as_str).collect();
            Some((
                Drift::StatusChanged,
                format!("has {}", or_nothing(&held.join(" "))),
            ))
        }
        Single::There(_, Some(now)) if !same(email, now) => Some((Drift::EmailMoved, others())),
        Single::There(..) if bearers.len() > 1 => Some((Drift::Ambiguous, others())),
        Single::There(..) => None,
    }
}

fn or_nothing(words: &str) -> &str {
    if words.is_empty() { "no status" } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ann@example.com";

    fn found(id: &str, email: &str, held: &[&str]) -> Found {
        Found {
            profile: ProfileId::new(id),
            email: email.into(),
            held: Some(held.iter().map(|handle| Handle::new(*handle)).collect()),
        }
    }

    fn judged(action: Action, found: &[Found], single: &Single) -> Option<Drift> {
        let job = Job {
            tenant: "http://127.0.0.1/".into(),
            action,
            handles: vec![Handle::new("vip")],
        };
        let (email, profile) = (Email::parse(ANN).unwrap(), ProfileId::new("p1"));
        judge(&job, &email, &profile, found, single).map(|(drift, _)| drift)
    }

    #[test]
    fn each_drift_has_its_kind() {
        let there = |held: &[&str], email: &str| {
            Single::There(
                held.iter().map(|handle| Handle::new(*handle)).collect(),
                Some(email.into()),
            )
        };
        let own = found("p1", ANN, &["vip"]);
        let other = found("p2", ANN, &[]);
        let assign = |found: &[Found], single: &Single| judged(Action::Assign, found, single);
        assert_eq!(
            assign(
                std::slice::from_ref(&own),
                &there(&["gold", "vip"], "Ann@Example.com")
            ),
            None
        );
        assert_eq!(
            assign(&[], &there(&["vip"], ANN)),
            None,
            "a search that heeds case"
        );
        assert_eq!(
            assign(std::slice::from_ref(&own), &there(&[], ANN)),
            Some(Drift::StatusChanged)
        );
        assert_eq!(assign(&[], &Single::Gone), Some(Drift::ProfileGone));
        assert_eq!(
            assign(std::slice::from_ref(&other), &Single::Gone),
            Some(Drift::ProfileMerged)
        );
        assert_eq!(
            assign(&[], &there(&["vip"], "ann@example.org")),
            Some(Drift::EmailMoved)
        );
        assert_eq!(
            assign(&[own, other], &there(&["vip"], ANN)),
            Some(Drift::Ambiguous)
        );
        assert_eq!(
            judged(Action::Remove, &[], &there(&["vip"], ANN)),
            Some(Drift::StatusChanged)
        );
        assert_eq!(judged(Action::Remove, &[], &there(&["gold"], ANN)), None);
    }

    #[test]
    fn words_lead_back() {
        for drift in Drift::ALL {
            assert_eq!(Drift::from_word(drift.as_str()), Some(drift));
        }
    }
}

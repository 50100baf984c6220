//! Names for the things that a job is made of.
//!
//! Numbers and strings that must not be confused get a type each. Nothing here reads or writes anything.

use std::fmt;

macro_rules! number {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! text {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// One distinct email of the ledger, in the order in which the lists named it.
    EntryId
}
number! {
    /// A batch, as this ledger counts them. Not the tenant's `batch_id`.
    BatchNo
}
number! {
    /// One write request as it happened.
    AttemptNo
}
text! {
    /// The tenant's id of a profile: opaque, compared byte for byte.
    ProfileId
}
text! {
    /// The tenant's id of a batch that it accepted: opaque.
    BatchId
}
text! {
    /// A status handle such as `vip`, compared exactly.
    Handle
}

/// What the job does with its handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Attach the handles: the additive `POST`.
    Assign,
    /// Detach the handles: the `DELETE` on the same path.
    Remove,
}

impl Action {
    /// The word that the ledger and the command line use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Assign => "assign",
            Self::Remove => "remove",
        }
    }

    /// Reads the word back.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Assign, Self::Remove]
            .into_iter()
            .find(|action| action.as_str() == word)
    }

    /// Which of the job's handles must be sent for a profile that holds `held` now.
    ///
    /// Assigning sends only what is missing and removing only what is there: a handle that needs no
    /// change is not sent, because the side effects of sending it again are unknown.
    pub fn needed(self, handles: &[Handle], held: &[Handle]) -> Vec<Handle> {
        let wanted = |handle: &&Handle| match self {
            Self::Assign => !held.contains(handle),
            Self::Remove => held.contains(handle),
        };
        handles.iter().filter(wanted).cloned().collect()
    }

    /// Whether a profile that holds `held` shows that `sent` took effect.
    pub fn shows(self, sent: &[Handle], held: &[Handle]) -> bool {
        match self {
            Self::Assign => sent.iter().all(|handle| held.contains(handle)),
            Self::Remove => sent.iter().all(|handle| !held.contains(handle)),
        }
    }

    /// Whether a profile that holds `held` shows any part of what `sent` is to do.
    pub fn shows_any(self, sent: &[Handle], held: &[Handle]) -> bool {
        match self {
            Self::Assign => sent.iter().any(|handle| held.contains(handle)),
            Self::Remove => sent.iter().any(|handle| !held.contains(handle)),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a ledger is pinned to for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The tenant's base URL, without a slash at its end.
    pub tenant: String,
    /// Attach or detach.
    pub action: Action,
    /// The handles, sorted and distinct; never empty.
    pub handles: Vec<Handle>,
}

impl Job {
    /// The handles as people read them: `vip, gold`.
    pub fn handles_text(&self) -> String {
        self.handles
            .iter()
            .map(Handle::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handles(words: &[&str]) -> Vec<Handle> {
        words.iter().map(|word| Handle::new(*word)).collect()
    }

    #[test]
    fn words_are_what_ledgers_hold() {
        for (action, word) in [(Action::Assign, "assign"), (Action::Remove, "remove")] {
            assert_eq!(action.to_string(), word);
            assert_eq!(Action::from_word(word), Some(action));
        }
        assert_eq!(Action::from_word("replace"), None);
        let job = Job {
            tenant: "https://api.acme.getomneo.com/api/v3".into(),
            action: Action::Assign,
            handles: handles(&["gold", "vip"]),
        };
        assert_eq!(job.handles_text(), "gold, vip");
    }

    #[test]
    fn only_what_changes_is_sent() {
        let job = handles(&["gold", "vip"]);
        assert_eq!(
            Action::Assign.needed(&job, &handles(&["vip"])),
            handles(&["gold"])
        );
        assert_eq!(Action::Remove.needed(&job, &handles(&["vip"])), handles(&["vip"]));
        assert!(
            Action::Assign
                .needed(&job, &handles(&["vip", "gold", "staff"]))
                .is_empty()
        );
        assert!(Action::Remove.needed(&job, &[]).is_empty());
    }

    #[test]
    fn the_evidence_for_remove_is_the_mirror_image() {
        let sent = handles(&["vip"]);
        assert!(Action::Assign.shows(&sent, &handles(&["staff", "vip"])));
        assert!(!Action::Assign.shows(&sent, &handles(&["staff"])));
        assert!(Action::Remove.shows(&sent, &handles(&["staff"])));
        assert!(!Action::Remove.shows(&sent, &handles(&["vip"])));
        let sent = handles(&["gold", "vip"]);
        assert!(Action::Assign.shows_any(&sent, &handles(&["vip"])));
        assert!(!Action::Assign.shows_any(&sent, &handles(&["staff"])));
        assert!(Action::Remove.shows_any(&sent, &handles(&["vip"])));
        assert!(!Action::Remove.shows_any(&sent, &handles(&["vip", "gold"])));
    }
}

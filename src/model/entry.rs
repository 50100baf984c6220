//! The life of an entry: one function from (state, event) to state.
//!
//! The same function judges live writes and what a restart finds; a move that it does not list cannot be
//! written. Pure: no clock, no input or output.

use std::fmt;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryState {
    /// Not looked up yet.
    Pending,
    /// Exactly one profile bears the email, and it needs the handles.
    Resolved,
    /// Member of a sealed batch.
    Batched,
    /// Done: the evidence says on what that rests.
    Confirmed,
    /// Nothing to do, for a reason.
    Skipped,
    /// Several profiles bear the email; none was chosen.
    Ambiguous,
    /// It could not be done, for a reason.
    Failed,
}

/// What happens to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryEvent {
    /// The look-up found exactly one profile, and it needs the handles.
    Matched,
    /// The look-up found nothing to do.
    Skip,
    /// The look-up found several profiles.
    FoundSeveral,
    /// The look-up cannot be answered.
    LookupFailed,
    /// Its look-up may be out of date, and is made again.
    Forget,
    /// What it was skipped for has left the ledger, or does not hold any more.
    Release,
    /// Its batch was taken apart: nothing has ever left for it.
    Unseal,
    /// It became a member of a batch.
    Seal,
    /// Its batch was refused whole, and it goes into a smaller one.
    Regroup,
    /// The change is known to have been made.
    Confirm,
    /// The change is known, or must be assumed, not to have been made.
    Fail,
    /// A person has it tried again.
    Retry,
    /// A later look shows the change on a profile that was taken for failed.
    ConfirmLate,
}

/// A move that the lifecycle does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no way from {from} by {event}")]
pub struct IllegalTransition {
    /// The state that it was in.
    pub from: String,
    /// What was said to have happened.
    pub event: String,
}

/// Applies one event. Total: everything that is not listed is an [`IllegalTransition`].
pub fn apply(state: EntryState, event: EntryEvent) -> Result<EntryState, IllegalTransition> {
    use EntryEvent as E;
    use EntryState as S;
    match (state, event) {
        (S::Pending, E::Matched) => Ok(S::Resolved),
        (S::Pending, E::Skip) => Ok(S::Skipped),
        (S::Pending, E::FoundSeveral) => Ok(S::Ambiguous),
        (S::Pending, E::LookupFailed) => Ok(S::Failed),
        (S::Resolved | S::Skipped | S::Ambiguous, E::Forget) => Ok(S::Pending),
        (S::Skipped, E::Release) => Ok(S::Pending),
        (S::Resolved, E::Seal) => Ok(S::Batched),
        (S::Batched, E::Unseal) => Ok(S::Resolved),
        (S::Batched, E::Regroup) => Ok(S::Batched),
        (S::Batched, E::Confirm) => Ok(S::Confirmed),
        (S::Batched, E::Fail) => Ok(S::Failed),
        (S::Failed, E::Retry) => Ok(S::Pending),
        (S::Failed, E::ConfirmLate) => Ok(S::Confirmed),
        _ => Err(IllegalTransition {
            from: state.to_string(),
            event: format!("{event:?}"),
        }),
    }
}

impl EntryState {
    /// All states, in the order in which people read them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Resolved,
        Self::Batched,
        Self::Confirmed,
        Self::Skipped,
        Self::Ambiguous,
        Self::Failed,
    ];

    /// The word that the export shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Resolved => "resolved",
            Self::Batched => "batched",
            Self::Confirmed => "confirmed",
            Self::Skipped => "skipped",
            Self::Ambiguous => "ambiguous",
            Self::Failed => "failed",
        }
    }

    /// The number that the ledger keeps. Never renumber: ledgers outlive versions.
    pub fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Resolved => 1,
            Self::Batched => 2,
            Self::Confirmed => 3,
            Self::Skipped => 4,
            Self::Ambiguous => 5,
            Self::Failed => 6,
        }
    }

    /// Reads the number back.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Whether the run has nothing more to do for such an entry.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Confirmed | Self::Skipped | Self::Ambiguous | Self::Failed
        )
    }
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why an entry was skipped. An answer, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// No profile bears the email, neither folded nor as written.
    NotFound,
    /// The profile holds every handle of the job already.
    AlreadyAssigned,
    /// The profile holds none of the handles that are to be removed.
    NotAssigned,
    /// Another entry of this ledger has led to the same profile: a profile is sent a handle once.
    SameProfile,
}

impl SkipReason {
    /// The word that the ledger and the export show.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyAssigned => "already_assigned",
            Self::NotAssigned => "not_assigned",
            Self::SameProfile => "same_profile",
        }
    }
}

/// The word for a `not_found` that rests on groups: nobody was asked for the email alone. Without it somebody was.
pub const IN_NO_GROUP: &str = "groups";

/// On what a confirmation rests, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// This very profile was read back and shows the change.
    Seen,
    /// The tenant called the batch a success and every sampled member shows the change.
    Sampled,
    /// The tenant called the batch a success; nothing was read back (`--confirm none`).
    Reported,
}

impl Evidence {
    /// The word that the ledger and the export show.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Sampled => "sampled",
            Self::Reported => "reported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [EntryEvent; 13] = [
        EntryEvent::Matched,
        EntryEvent::Skip,
        EntryEvent::FoundSeveral,
        EntryEvent::LookupFailed,
        EntryEvent::Forget,
        EntryEvent::Release,
        EntryEvent::Unseal,
        EntryEvent::Seal,
        EntryEvent::Regroup,
        EntryEvent::Confirm,
        EntryEvent::Fail,
        EntryEvent::Retry,
        EntryEvent::ConfirmLate,
    ];

    /// One row a state, one column an event, in the orders above; `.` is illegal.
    const TABLE: [(&str, &str); 7] = [
        ("pending", "r s a f . . . . . . . . ."),
        ("resolved", ". . . . p . . b . . . . ."),
        ("batched", ". . . . . . r . b c f . ."),
        ("confirmed", ". . . . . . . . . . . . ."),
        ("skipped", ". . . . p p . . . . . . ."),
        ("ambiguous", ". . . . p . . . . . . . ."),
        ("failed", ". . . . . . . . . . . p c"),
    ];

    #[test]
    fn every_pair_is_as_the_table_says() {
        for (state, (name, row)) in EntryState::ALL.into_iter().zip(TABLE) {
            assert_eq!(state.as_str(), name);
            assert_eq!(format!("{state:>9}"), format!("{name:>9}"));
            for (event, cell) in EVENTS.into_iter().zip(row.split(' ')) {
                let first = apply(state, event).map(|next| next.as_str()[..1].to_string());
                assert_eq!(first.unwrap_or_else(|_| ".".into()), cell, "{state} by {event:?}");
            }
        }
    }

    /// Ledgers and exports outlive versions, so these never change.
    #[test]
    fn words_are_what_ledgers_hold() {
        let skips = [
            SkipReason::NotFound,
            SkipReason::AlreadyAssigned,
            SkipReason::NotAssigned,
            SkipReason::SameProfile,
        ];
        let words = ["not_found", "already_assigned", "not_assigned", "same_profile"];
        assert_eq!(skips.map(SkipReason::as_str), words);
        let evidence = [Evidence::Seen, Evidence::Sampled, Evidence::Reported];
        assert_eq!(evidence.map(Evidence::as_str), ["seen", "sampled", "reported"]);
    }

    #[test]
    fn a_run_has_no_way_out_of_final_states() {
        for state in EntryState::ALL {
            // Releases come of taking a list out, or of evidence that was contradicted. What is too old is forgotten before a run, and failed
            // entries are tried again only where a person says so.
            let of_others = [
                EntryEvent::Forget,
                EntryEvent::Release,
                EntryEvent::Retry,
                EntryEvent::ConfirmLate,
            ];
            let mut of_a_run = EVENTS.into_iter().filter(|event| !of_others.contains(event));
            let stuck = of_a_run.all(|event| apply(state, event).is_err());
            assert_eq!(stuck, state.is_final(), "{state}");
            assert_eq!(EntryState::from_code(state.code()), Some(state));
        }
    }
}

//! The life of a batch: one function from (state, event) to state.
//!
//! The rule that everything rests on is readable in [`apply`]: the only way into `sending` leads out of
//! `sealed`, and the only way from a doubt back to `sealed` is [`BatchEvent::Absent`], for which
//! [`super::doubt`] says what must be known. Pure: no clock, no input or output.

use super::entry::IllegalTransition;
use std::fmt;

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchState {
    /// Its members are fixed; it has not left, or is known not to have taken effect.
    Sealed,
    /// Flushed to disk before its request leaves: whoever finds it after a crash must doubt it.
    Sending,
    /// The tenant has it: a 202 with a batch id, or the evidence of its members.
    Accepted,
    /// What became of every member is known.
    Settled,
    /// The tenant refused it whole; nothing of it took effect.
    Refused,
    /// The request may or may not have arrived.
    InDoubt,
    /// In doubt, and not cleared up in the time allowed. A later run looks again.
    Held,
}

/// What happens to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEvent {
    /// Its request is about to leave.
    Depart,
    /// The request certainly had no effect and may be repeated: not connected, or told to slow down.
    Return,
    /// The tenant accepted it and named a batch id.
    Accept,
    /// The tenant refused it for good.
    Refuse,
    /// The answer is missing or worthless, or a restart found it `sending`; or it stood `sealed` in a ledger
    /// that was copied, whose original may have sent it.
    LoseSight,
    /// The tenant's own list holds it: its batch id is known after all.
    Find,
    /// Every member was seen with the change that it had been seen without.
    Reach,
    /// It never arrived, and can no longer arrive: it may be sent once more.
    Absent,
    /// Nothing cleared it up in the time allowed.
    Hold,
    /// A later run looks at a held batch again.
    LookAgain,
    /// A person rules that a held batch arrived.
    RuleSent,
    /// A person rules that a held batch never arrived. It is looked at once more before that is acted on.
    RuleAbsent,
    /// The fate of every member is known.
    Settle,
}

/// Applies one event. Total: everything that is not listed is an [`IllegalTransition`].
pub fn apply(state: BatchState, event: BatchEvent) -> Result<BatchState, IllegalTransition> {
    use BatchEvent as E;
    use BatchState as S;
    match (state, event) {
        (S::Sealed, E::Depart) => Ok(S::Sending),
        (S::Sending, E::Return) => Ok(S::Sealed),
        (S::Sending, E::Accept) => Ok(S::Accepted),
        (S::Sending, E::Refuse) => Ok(S::Refused),
        (S::Sending | S::Sealed, E::LoseSight) => Ok(S::InDoubt),
        (S::InDoubt, E::Find | E::Reach) => Ok(S::Accepted),
        (S::InDoubt, E::Absent) => Ok(S::Sealed),
        (S::InDoubt, E::Hold) => Ok(S::Held),
        (S::Held, E::LookAgain | E::RuleAbsent) => Ok(S::InDoubt),
        (S::Held, E::RuleSent) => Ok(S::Accepted),
        (S::Accepted, E::Settle) => Ok(S::Settled),
        _ => Err(IllegalTransition {
            from: state.to_string(),
            event: format!("{event:?}"),
        }),
    }
}

impl BatchState {
    /// All states, in the order of a batch's life.
    pub const ALL: [Self; 7] = [
        Self::Sealed,
        Self::Sending,
        Self::Accepted,
        Self::Settled,
        Self::Refused,
        Self::InDoubt,
        Self::Held,
    ];

    /// The word that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Sending => "sending",
            Self::Accepted => "accepted",
            Self::Settled => "settled",
            Self::Refused => "refused",
            Self::InDoubt => "in_doubt",
            Self::Held => "held",
        }
    }

    /// The number that the ledger keeps. Never renumber: ledgers outlive versions.
    pub fn code(self) -> i64 {
        match self {
            Self::Sealed => 0,
            Self::Sending => 1,
            Self::Accepted => 2,
            Self::Settled => 3,
            Self::Refused => 4,
            Self::InDoubt => 5,
            Self::Held => 6,
        }
    }

    /// Reads the number back.
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// Whether nothing is left to do for such a batch.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Settled | Self::Refused)
    }
}

impl fmt::Display for BatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [BatchEvent; 13] = [
        BatchEvent::Depart,
        BatchEvent::Return,
        BatchEvent::Accept,
        BatchEvent::Refuse,
        BatchEvent::LoseSight,
        BatchEvent::Find,
        BatchEvent::Reach,
        BatchEvent::Absent,
        BatchEvent::Hold,
        BatchEvent::LookAgain,
        BatchEvent::RuleSent,
        BatchEvent::RuleAbsent,
        BatchEvent::Settle,
    ];

    /// One row a state, one column an event, in the orders above; `.` is illegal.
    const TABLE: [&str; 7] = [
        "sending . . . in_doubt . . . . . . . .",
        ". sealed accepted refused in_doubt . . . . . . . .",
        ". . . . . . . . . . . . settled",
        ". . . . . . . . . . . . .",
        ". . . . . . . . . . . . .",
        ". . . . . accepted accepted sealed held . . . .",
        ". . . . . . . . . in_doubt accepted in_doubt .",
    ];

    #[test]
    fn every_pair_is_as_the_table_says() {
        for (state, row) in BatchState::ALL.into_iter().zip(TABLE) {
            for (event, cell) in EVENTS.into_iter().zip(row.split(' ')) {
                let next = apply(state, event).map_or(".", BatchState::as_str);
                assert_eq!(next, cell, "{state} by {event:?}");
            }
            assert_eq!(format!("{state:>9}"), format!("{:>9}", state.as_str()));
            assert_eq!(BatchState::from_code(state.code()), Some(state));
        }
    }

    /// The heart of "nothing is sent twice": a batch that may have arrived departs again only where its absence
    /// was concluded, whatever else happens.
    #[test]
    fn what_was_doubted_departs_again_only_by_absence() {
        let mut reached = vec![BatchState::InDoubt];
        let mut open = reached.clone();
        while let Some(state) = open.pop() {
            let others = EVENTS.into_iter().filter(|event| *event != BatchEvent::Absent);
            for next in others.filter_map(|event| apply(state, event).ok()) {
                if !reached.contains(&next) {
                    reached.push(next);
                    open.push(next);
                }
            }
        }
        assert!(!reached.contains(&BatchState::Sending), "{reached:?}");
        assert!(!reached.contains(&BatchState::Sealed), "{reached:?}");
        assert_eq!(
            apply(BatchState::InDoubt, BatchEvent::Absent),
            Ok(BatchState::Sealed)
        );
    }
}

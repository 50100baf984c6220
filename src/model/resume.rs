//! What a run does with each batch that it finds in the ledger.
//!
//! A pure table, so that the plan of a restart can be read and tested without a restart.

use super::batch::{BatchEvent, BatchState};

/// The next step for a batch that a run finds when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeStep {
    /// It never left: send it.
    Send,
    /// It has been accepted: poll it and read back.
    Settle,
    /// It may have arrived: record the event where one is named, then gather evidence. Never send it.
    Doubt(Option<BatchEvent>),
    /// Nothing is left to do.
    Leave,
}

/// Says what is to be done for a batch in `state`.
pub fn step(state: BatchState) -> ResumeStep {
    match state {
        BatchState::Sealed => ResumeStep::Send,
        // Whoever marked it died before it could write down an answer.
        BatchState::Sending => ResumeStep::Doubt(Some(BatchEvent::LoseSight)),
        BatchState::Accepted => ResumeStep::Settle,
        BatchState::InDoubt => ResumeStep::Doubt(None),
        // Looking costs a few reads and sends nothing; the tenant may have caught up since.
        BatchState::Held => ResumeStep::Doubt(Some(BatchEvent::LookAgain)),
        BatchState::Settled | BatchState::Refused => ResumeStep::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch;

    /// An oracle built differently: walk the lifecycle itself instead of reading the table.
    #[test]
    fn only_a_batch_that_may_depart_is_sent() {
        for state in BatchState::ALL {
            let may_depart = batch::apply(state, BatchEvent::Depart).is_ok();
            assert_eq!(step(state) == ResumeStep::Send, may_depart, "{state}");
            assert_eq!(step(state) == ResumeStep::Leave, state.is_final(), "{state}");
            if let ResumeStep::Doubt(event) = step(state) {
                let next = event.map_or(Ok(state), |event| batch::apply(state, event));
                assert_eq!(next, Ok(BatchState::InDoubt), "{state}");
            }
        }
    }
}

//! What the tasks of a run change in its numbers.

use super::doubt::Cleared;
use super::event::Progress;
use super::settle::Settled;
use crate::model::entry::EntryState;

/// What a task changes in the numbers.
pub enum Change {
    None,
    LookedUp(Vec<EntryState>),
    /// So many are pending again who were skipped.
    Released(usize),
    Sealed(usize),
    Accepted,
    Doubted,
    Refused {
        failed: usize,
    },
    /// How it was settled, and how many questions that took.
    Settled(Settled, u64),
    Cleared(Cleared),
}

impl Change {
    /// Counts it in.
    pub fn count_in(&self, progress: &mut Progress) {
        let mut moved = |from, to, members: usize| (0..members).for_each(|_| progress.moved(from, to));
        match self {
            Change::None => {}
            Change::LookedUp(states) => states.iter().for_each(|to| moved(EntryState::Pending, *to, 1)),
            Change::Released(entries) => moved(EntryState::Skipped, EntryState::Pending, *entries),
            Change::Sealed(members) => moved(EntryState::Resolved, EntryState::Batched, *members),
            Change::Accepted => {
                progress.accepted += 1;
                progress.sent += 1;
            }
            Change::Doubted => progress.in_doubt += 1,
            Change::Refused { failed } => moved(EntryState::Batched, EntryState::Failed, *failed),
            Change::Settled(Settled::StillApplying(_), _) => {}
            Change::Settled(Settled::Done { confirmed, failed }, asked) => {
                moved(EntryState::Batched, EntryState::Confirmed, *confirmed);
                moved(EntryState::Batched, EntryState::Failed, *failed);
                progress.accepted -= 1;
                progress.settled += 1;
                progress.settling_took += asked;
            }
            Change::Cleared(cleared) => {
                match cleared {
                    Cleared::Found => progress.accepted += 1,
                    Cleared::Reached(confirmed, failed) => {
                        moved(EntryState::Batched, EntryState::Confirmed, *confirmed);
                        moved(EntryState::Batched, EntryState::Failed, *failed);
                    }
                    Cleared::Absent(_) => {}
                    Cleared::Held(_) => progress.held += 1,
                }
                progress.in_doubt -= 1;
            }
        }
    }
}

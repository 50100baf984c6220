//! The world in which the protocol is played: the ledger, the process, the wire, the tenant.

use crate::rules::{Anchor, Budget, Copy, Fence, Later, List, Rules, Trust};

/// Room for batches; a variant may use fewer.
pub const ROOM: usize = 3;
/// All members of a batch, as a mask. Two are enough for "some".
pub const ALL: u8 = 0b11;
pub const MEMBERS: u8 = 2;
/// A batch of somebody else's in the tenant's list.
pub const STRANGER: u8 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    Sealed,
    Sending,
    InDoubt,
    Held,
    Accepted,
    Settled,
}

/// What made a batch accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rung {
    None,
    Answer,
    Found,
    Reached,
    Ruled,
}

/// What the ledger knows about a batch. It outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub at: At,
    pub rung: Rung,
    /// The tenant's batch: whose request made it, or a stranger's.
    pub id: Option<u8>,
    /// A member was seen with the handle since the request left.
    pub moved: bool,
    pub ruled_absent: bool,
    pub absences: u8,
    pub confirmed: u8,
    /// Batches that departed before this one.
    pub earlier: u8,
    /// Batches that may end the reading of the list.
    pub anchors: u8,
    /// Batches that departed when this one had been doubted, or when its quiet period was over.
    pub after: u8,
    /// The quiet period has passed since the mark (only where it is counted so).
    pub aged: bool,
    /// The mark may be taken back.
    pub unsynced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hand {
    Empty,
    /// Marked; the request has not left.
    Ready,
    /// The request has left; its answer is awaited.
    Awaiting,
}

/// What the process remembers about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mind {
    pub hand: Hand,
    pub quiet: bool,
    /// The list was read and holds no candidate.
    pub no_candidate: bool,
    /// Members seen with and without the handle in this look.
    pub with: u8,
    pub without: u8,
    /// This look began late enough for absence.
    pub counts: bool,
}

/// What an older process that still lives may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ghost {
    Gone,
    /// It has marked the batch and may send it.
    Ready,
    /// It believes that the batch has not left.
    Unaware,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub rows: [Row; ROOM],
    pub minds: [Mind; ROOM],
    pub ghosts: [Ghost; ROOM],
    pub copy: Option<[Row; ROOM]>,
    pub copied: bool,
    /// Requests under way, and answers under way to who awaits them.
    pub flying: [u8; ROOM],
    pub answers: [bool; ROOM],
    /// The tenant's queue and list at once: whose requests were taken, in order.
    pub taken: Vec<u8>,
    /// How many members have been worked off from the front of the queue.
    pub applied: u8,
    /// Who holds the handle, and who is shown to hold it. Reads lag behind as a whole.
    pub holds: [u8; ROOM],
    pub shown: [u8; ROOM],
    /// How long the list was when this process began.
    pub baseline: u8,
    /// Who ever held the handle. For the properties only.
    pub given: [u8; ROOM],
    /// Batches of which a member was seen with the handle. Limits what other people do.
    pub noticed: u8,
    pub departed: u8,
    pub crashed: u8,
    pub left: Budget,
}

const ROW: Row = Row {
    at: At::Sealed,
    rung: Rung::None,
    id: None,
    moved: false,
    ruled_absent: false,
    absences: 0,
    confirmed: 0,
    earlier: 0,
    anchors: 0,
    after: 0,
    aged: false,
    unsynced: false,
};

pub const BLANK: Mind = Mind {
    hand: Hand::Empty,
    quiet: false,
    no_candidate: false,
    with: 0,
    without: 0,
    counts: false,
};

pub fn bit(b: usize) -> u8 {
    1 << b
}

impl World {
    pub fn new(rules: &Rules) -> Self {
        Self {
            rows: [ROW; ROOM],
            minds: [BLANK; ROOM],
            ghosts: [Ghost::Gone; ROOM],
            copy: None,
            copied: false,
            flying: [0; ROOM],
            answers: [false; ROOM],
            taken: Vec::new(),
            applied: 0,
            holds: [0; ROOM],
            shown: [0; ROOM],
            baseline: 0,
            given: [0; ROOM],
            noticed: 0,
            departed: 0,
            crashed: 0,
            left: rules.budget,
        }
    }

    pub fn times_taken(&self, b: usize) -> usize {
        self.taken
            .iter()
            .filter(|owner| usize::from(**owner) == b)
            .count()
    }

    /// Whether the tenant has worked off all of a batch.
    pub fn is_applied(&self, owner: u8) -> bool {
        let place = self.taken.iter().rposition(|other| *other == owner);
        place.is_none_or(|place| usize::from(self.applied) >= (place + 1) * usize::from(MEMBERS))
    }

    /// Whether a request of this batch can take effect, or become visible, after this moment, as far as the
    /// end of the quiet period is trusted to exclude it.
    pub fn can_still_take_effect(&self, rules: &Rules, b: usize) -> bool {
        let sleeps = rules.fence == Fence::Epoch { sleeps: true } || rules.copy == Copy::AdoptedInParallel;
        let leaves = self.flying[b] > 0 || (self.ghosts[b] != Ghost::Gone && !sleeps);
        let unshown = self.shown[b] != self.holds[b] && !rules.blind;
        let queued = !self.is_applied(b as u8) || unshown;
        match rules.trust {
            Trust::Whole => leaves || queued,
            Trust::TakenByThen => leaves,
            Trust::Nothing => false,
        }
    }

    /// Batches in the list that could be this one.
    pub fn candidates(&self, rules: &Rules, b: usize) -> Vec<u8> {
        if rules.list == List::Unreadable {
            return Vec::new();
        }
        let row = &self.rows[b];
        let place = |c: usize| {
            let id = self.rows[c].id?;
            self.taken.iter().position(|owner| *owner == id)
        };
        let among = |mask: u8| (0..rules.batches).filter(move |c| mask & bit(*c) != 0);
        let start = match rules.anchor {
            Anchor::RunStart => usize::from(self.baseline),
            _ => among(row.anchors)
                .filter_map(place)
                .map(|place| place + 1)
                .max()
                .unwrap_or(0),
        };
        let end = if rules.list_ends_at_later {
            among(row.after).filter_map(place).min()
        } else {
            None
        };
        let end = end.unwrap_or(self.taken.len());
        let inside = self
            .taken
            .iter()
            .enumerate()
            .filter(|(at, _)| (start..end).contains(at));
        inside
            .map(|(_, owner)| *owner)
            .filter(|owner| self.could_be(rules, *owner, b))
            .collect()
    }

    fn could_be(&self, rules: &Rules, owner: u8, b: usize) -> bool {
        if rules.list == List::Items {
            return usize::from(owner) == b || (rules.strangers_for_us && owner == STRANGER);
        }
        let holder = self.rows.iter().find(|row| row.id == Some(owner));
        holder.is_none_or(|row| rules.found_by_size_vetoes && row.rung == Rung::Found)
    }

    /// Whether the tenant has finished with everything in the list that could be this one.
    pub fn candidates_are_over(&self, rules: &Rules, b: usize) -> bool {
        self.candidates(rules, b)
            .into_iter()
            .all(|owner| self.is_applied(owner))
    }

    /// Whether the order of things allows absence: quiet, and what was sent later has been applied.
    pub fn may_conclude(&self, rules: &Rules, b: usize) -> bool {
        let quiet = self.minds[b].quiet || rules.no_quiet || (rules.quiet_from_mark && self.rows[b].aged);
        let others = || (0..rules.batches).filter(|c| *c != b);
        let took_effect = |c: &usize| self.rows[*c].at == At::Settled && self.rows[*c].confirmed != 0;
        let later = match rules.later {
            Later::IfAny | Later::One => {
                let later = || others().filter(|c| self.rows[*c].earlier & bit(b) != 0);
                let accepted = |c: usize| matches!(self.rows[c].at, At::Accepted | At::Settled);
                let none = rules.later == Later::IfAny && !later().any(accepted);
                // The tenant does not take them in turn.
                let overtaken =
                    others().any(|c| self.rows[b].earlier & bit(c) != 0 && self.rows[c].at == At::Accepted);
                !overtaken && (none || later().any(|c| took_effect(&c)))
            }
            Later::AfterQuiet => others().any(|c| {
                self.rows[b].after & bit(c) != 0 && took_effect(&c) && self.rows[c].rung == Rung::Answer
            }),
        };
        quiet && later
    }

    /// The old process is gone, and a new one has read the ledger.
    pub fn restart(&mut self, rules: &Rules) {
        for b in 0..rules.batches {
            let row = &mut self.rows[b];
            if row.at == At::Sending || (row.at == At::Held && !row.ruled_absent) {
                row.at = At::InDoubt;
            }
            row.moved &= !rules.moved_forgotten;
            if rules.later == Later::AfterQuiet {
                row.after = 0;
            }
            self.minds[b] = BLANK;
            self.answers[b] = false;
        }
        if rules.anchor == Anchor::RunStart {
            self.baseline = self.taken.len() as u8;
        }
    }

    /// The request is about to leave: who departed before, and which known batches are certainly older.
    pub fn depart(&mut self, rules: &Rules, b: usize) {
        let earlier = self.departed & !bit(b);
        let mut anchors = 0;
        for c in (0..rules.batches).filter(|c| earlier & bit(*c) != 0) {
            let at = self.rows[c].at;
            let older = match rules.anchor {
                Anchor::Answered => matches!(at, At::Accepted | At::Settled),
                Anchor::AnsweredOrDoubted => at != At::Sending,
                Anchor::Departed => true,
                Anchor::RunStart => false,
            };
            anchors |= if older && rules.list != List::Unreadable {
                bit(c)
            } else {
                0
            };
        }
        for c in 0..rules.batches {
            self.rows[c].earlier &= !bit(b);
            let counts = match rules.later {
                Later::AfterQuiet => self.minds[c].quiet,
                Later::IfAny | Later::One => rules.list_ends_at_later && self.rows[c].at == At::InDoubt,
            };
            self.rows[c].after |= if counts && c != b { bit(b) } else { 0 };
        }
        let row = &mut self.rows[b];
        (row.earlier, row.anchors, row.after, row.aged) = (earlier, anchors, 0, false);
        self.departed |= bit(b);
    }
}

//! Decides what is done next. Synchronous, without clock or I/O, so that every decision can be tested.
//!
//! The shell (`run.rs`) carries commands out and brings reports back; between two reports the coordinator is
//! asked once for all commands that may begin now. What it keeps is what is under way in this process; what
//! must outlive the process is in the ledger before a report arrives here.

use super::context::Halt;
use super::doubt::Cleared;
use super::limits::{Allowance, UnderWay};
use super::send::Sent;
use super::settle::Settled;
use super::sizes::sizes;
use crate::ledger::PendingEntry;
use crate::model::ids::{BatchNo, EntryId};
use std::collections::VecDeque;

/// Pending entries fetched from the ledger at a time.
pub const REFILL_ENTRIES: usize = 2_000;
/// Batches on their way at the same time. Few, so that a lost connection leaves few in doubt.
const SENDING_LIMIT: usize = 2;
/// Batches that came into doubt in this run and are not decided, at the most: each may need a person in the end.
const DOUBTS_LIMIT: usize = 10;
/// Writes in a row that end in doubt before the next one waits until one of them is decided. If the way to the
/// tenant is broken, every further batch would only add to the doubts.
const DOUBTS_IN_A_ROW_LIMIT: usize = 3;
/// Batches in a row that turn out never to have arrived before no more is sent: the next would not either.
const ABSENCES_LIMIT: usize = 3;
/// Accepted batches that have not been read back, at the most: if they change nothing, no more are to follow.
const UNPROVEN_LIMIT: usize = 50;
/// Batches in a row that the tenant calls a success and that changed nobody, before the run stops.
const WITHOUT_EFFECT_LIMIT: usize = 3;
/// Refusals in a row after which the run stops: one that repeats would fail every entry of the job. One that
/// fails a whole batch weighs as much as so many that name single members.
const REFUSALS_LIMIT: usize = 20;
const WHOLE_REFUSAL: usize = 10;

/// Something to be carried out.
#[derive(Clone, PartialEq, Eq)]
pub enum Command {
    /// Fetch the next pending entries after this one.
    Refill(EntryId),
    /// Look an entry up.
    LookUp(PendingEntry),
    /// Fix the members of a new batch.
    Seal(Vec<EntryId>),
    /// Send a sealed batch.
    Send(BatchNo),
    /// Poll an accepted batch and read it back.
    Settle(BatchNo),
    /// Gather evidence about a batch in doubt; `again` where an earlier run has done so in vain.
    ClearUp {
        /// Which batch.
        no: BatchNo,
        /// Whether an earlier run has held it.
        again: bool,
    },
}

/// Something that has been carried out, or happened.
pub enum Report {
    /// These are the next pending entries; fewer than asked for means that there are no more.
    Refilled(Vec<PendingEntry>),
    /// An entry has a verdict; `true` where it is resolved and wants to be sent.
    LookedUp(EntryId, bool),
    /// A batch is sealed, with so many members.
    Sealed(BatchNo, usize),
    /// A batch was sent.
    Sent(BatchNo, usize, Sent),
    /// An accepted batch was looked into.
    Settled(BatchNo, Settled),
    /// A batch in doubt was looked into.
    Cleared(BatchNo, Cleared),
    /// Something could not be carried out, and the run must stop.
    Halted(Work, Halt),
}

/// What a halted command was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A refill.
    Refill,
    /// A look-up.
    LookUp,
    /// A seal of so many members.
    Seal(usize),
    /// A send.
    Send,
    /// A settlement or a clearing up.
    Settle,
}

/// The bounds that a coordinator works in.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Look-ups under way at the same time.
    pub lookups: usize,
    /// Members of a batch at the most.
    pub batch_size: usize,
    /// Members that may be sent.
    pub send_limit: Option<u64>,
    /// Look up, and send nothing.
    pub dry_run: bool,
    /// Begin nothing new: only settle and clear up what is under way.
    pub settle_only: bool,
}

/// See the module's documentation.
pub struct Coordinator {
    bounds: Bounds,
    /// What may still be begun; kept up to date from outside.
    pub allowance: Allowance,
    pending: VecDeque<PendingEntry>,
    cursor: EntryId,
    no_more_pending: bool,
    refilling: bool,
    lookups: usize,
    resolved: VecDeque<EntryId>,
    sealing: usize,
    sealed: VecDeque<(BatchNo, usize)>,
    sending: usize,
    to_settle: Vec<Command>,
    settling: usize,
    /// Members of batches that this run has sealed, sent, or found sealed.
    claimed: u64,
    /// Batches made so far, for their sizes.
    made: usize,
    /// Batches that came into doubt in this run and have not been cleared up. Held ones stay.
    doubts: Vec<BatchNo>,
    doubts_in_a_row: usize,
    absences_in_a_row: usize,
    /// Accepted batches that have not been read back.
    unproven: usize,
    without_effect: usize,
    refused_in_a_row: usize,
    left: Option<Left>,
    halt: Option<Halt>,
}

/// Why work is left although nothing stopped the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// As many were sent as were to be sent.
    LimitReached,
    /// A sealed batch cannot be cut, and is larger than what may still be sent.
    LimitTooSmall,
    /// Too many batches ended in doubt; sending more would add to them.
    TooManyDoubts,
    /// The tenant has not finished with what it accepted.
    StillApplying,
    /// The time that was set for the run is up.
    TimeIsUp,
    /// The run has made as many requests as it may.
    RequestsSpent,
}

impl Coordinator {
    /// Begins with what the ledger holds: entries that are resolved, batches that are sealed (with their
    /// sizes), and those that are to be settled or cleared up.
    pub fn new(
        bounds: Bounds,
        resolved: Vec<EntryId>,
        sealed: Vec<(BatchNo, usize)>,
        to_settle: Vec<Command>,
    ) -> Self {
        let is_accepted = |command: &&Command| matches!(command, Command::Settle(_));
        let unproven = to_settle.iter().filter(is_accepted).count();
        let mut coordinator = Self {
            bounds,
            allowance: Allowance::default(),
            pending: VecDeque::new(),
            cursor: EntryId(0),
            no_more_pending: false,
            refilling: false,
            lookups: 0,
            resolved: resolved.into(),
            sealing: 0,
            sealed: VecDeque::new(),
            sending: 0,
            to_settle,
            settling: 0,
            claimed: 0,
            made: 0,
            doubts: Vec::new(),
            doubts_in_a_row: 0,
            absences_in_a_row: 0,
            unproven,
            without_effect: 0,
            refused_in_a_row: 0,
            left: None,
            halt: None,
        };
        for (no, size) in sealed {
            coordinator.adopt_sealed(no, size);
        }
        coordinator
    }

    /// A batch that is sealed already cannot be cut: it is sent if it fits the limit, and left otherwise.
    fn adopt_sealed(&mut self, no: BatchNo, size: usize) {
        if self.bounds.dry_run {
            return;
        }
        if self
            .bounds
            .send_limit
            .is_none_or(|limit| self.claimed + size as u64 <= limit)
        {
            self.claimed += size as u64;
            self.sealed.push_back((no, size));
        } else {
            self.left = Some(Left::LimitTooSmall);
        }
    }

    /// Takes a report in.
    pub fn handle(&mut self, report: Report) {
        match report {
            Report::Refilled(entries) => {
                self.refilling = false;
                self.no_more_pending = entries.len() < REFILL_ENTRIES;
                if let Some(last) = entries.last() {
                    self.cursor = last.id;
                }
                self.pending.extend(entries);
            }
            Report::LookedUp(id, resolved) => {
                self.lookups -= 1;
                if resolved {
                    self.resolved.push_back(id);
                }
            }
            Report::Sealed(no, members) => {
                self.sealing -= members;
                self.sealed.push_back((no, members));
            }
            Report::Sent(no, members, sent) => self.sent(no, members, sent),
            Report::Settled(_, settled) => self.settled(settled),
            Report::Cleared(no, cleared) => self.cleared(no, cleared),
            Report::Halted(work, halt) => self.halted(work, halt),
        }
    }

    fn sent(&mut self, no: BatchNo, members: usize, sent: Sent) {
        self.sending -= 1;
        match sent {
            Sent::Accepted => {
                self.refused_in_a_row = 0;
                self.doubts_in_a_row = 0;
                self.absences_in_a_row = 0;
                self.unproven += 1;
                self.to_settle.push(Command::Settle(no));
            }
            Sent::InDoubt(_) => {
                self.doubts.push(no);
                self.doubts_in_a_row += 1;
                self.to_settle.push(Command::ClearUp { no, again: false });
            }
            Sent::Refused {
                regrouped,
                too_large,
                reason,
                ..
            } => {
                if too_large && members > 1 {
                    // The next ones need not be refused to learn the same.
                    self.bounds.batch_size = self.bounds.batch_size.min(members.div_ceil(2));
                } else {
                    self.refused_in_a_row += if regrouped.is_empty() { WHOLE_REFUSAL } else { 1 };
                }
                if self.refused_in_a_row >= REFUSALS_LIMIT {
                    self.stop(Halt::Refused(reason));
                }
                self.sealed.extend(regrouped);
            }
        }
    }

    fn settled(&mut self, settled: Settled) {
        self.settling -= 1;
        self.unproven -= 1;
        match settled {
            Settled::Done { confirmed: 0, failed } if failed > 0 => {
                self.without_effect += 1;
                if self.without_effect >= WITHOUT_EFFECT_LIMIT {
                    self.stop(Halt::NothingChanges);
                }
            }
            Settled::Done { .. } => self.without_effect = 0,
            Settled::StillApplying(_) => {
                // Not proven, and nobody looks any more in this run.
                self.unproven += 1;
                self.left = Some(Left::StillApplying);
            }
        }
    }

    fn cleared(&mut self, no: BatchNo, cleared: Cleared) {
        self.settling -= 1;
        if matches!(cleared, Cleared::Held(_)) {
            return;
        }
        let of_this_run = self.doubts.contains(&no);
        self.doubts.retain(|doubt| *doubt != no);
        match cleared {
            Cleared::Found => {
                self.doubts_in_a_row = 0;
                self.unproven += 1;
                self.to_settle.push(Command::Settle(no));
            }
            // The write went through: it is the answers that get lost.
            Cleared::Reached(..) => self.doubts_in_a_row = 0,
            Cleared::Absent(members) => {
                // One more may try whether the way is open again.
                self.doubts_in_a_row = self.doubts_in_a_row.min(DOUBTS_IN_A_ROW_LIMIT - 1);
                self.absences_in_a_row += 1;
                if of_this_run {
                    self.sealed.push_back((no, members));
                } else {
                    self.adopt_sealed(no, members);
                }
            }
            Cleared::Held(_) => {}
        }
    }

    fn halted(&mut self, work: Work, halt: Halt) {
        match work {
            Work::Refill => self.refilling = false,
            Work::LookUp => self.lookups -= 1,
            Work::Seal(members) => self.sealing -= members,
            Work::Send => self.sending -= 1,
            Work::Settle => self.settling -= 1,
        }
        self.stop(halt);
    }

    /// Takes no new work from now on. The first reason is kept: the others tend to follow from it.
    pub fn stop(&mut self, halt: Halt) {
        self.halt.get_or_insert(halt);
    }

    /// Why no new work is taken.
    pub fn halt(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    /// All commands that may begin now.
    pub fn commands(&mut self) -> Vec<Command> {
        if self.halt.is_some() {
            return Vec::new();
        }
        let mut commands = std::mem::take(&mut self.to_settle);
        self.settling += commands.len();
        if self.bounds.settle_only {
            return commands;
        }
        self.send(&mut commands);
        self.look_up(&mut commands);
        self.seal(&mut commands);
        commands
    }

    fn send(&mut self, commands: &mut Vec<Command>) {
        while self.may_send()
            && let Some((no, _)) = self.sealed.pop_front()
        {
            self.sending += 1;
            commands.push(Command::Send(no));
        }
    }

    /// Those under way count as doubts and as unproven, since they may become either.
    fn may_send(&self) -> bool {
        self.sending < SENDING_LIMIT
            && self.doubts.len() + self.sending < DOUBTS_LIMIT
            && self.doubts_in_a_row + self.sending < DOUBTS_IN_A_ROW_LIMIT
            && self.absences_in_a_row < ABSENCES_LIMIT
            && self.unproven + self.sending < UNPROVEN_LIMIT
            && self.allowance.covers_batch(self.to_be_ended())
    }

    fn look_up(&mut self, commands: &mut Vec<Command>) {
        while self.lookups < self.bounds.lookups
            && !self.is_limit_claimed()
            && self
                .allowance
                .covers_lookup(self.to_be_ended(), !self.bounds.dry_run)
        {
            let Some(entry) = self.pending.pop_front() else {
                break;
            };
            self.lookups += 1;
            commands.push(Command::LookUp(entry));
        }
        let low = self.pending.len() < REFILL_ENTRIES / 2;
        // Also where the limit is claimed: whether anything is left behind it decides how the run ends.
        if low && !self.no_more_pending && !self.refilling {
            self.refilling = true;
            commands.push(Command::Refill(self.cursor));
        }
    }

    /// Whether as many entries are resolved, or may be by look-ups under way, as may be sent.
    ///
    /// Stopping here, and not when that many are resolved, is what makes "the first N" the first: every
    /// entry that was looked up is sent or was skipped, and none behind them was touched.
    fn is_limit_claimed(&self) -> bool {
        let limit = self.bounds.send_limit.filter(|_| !self.bounds.dry_run);
        limit.is_some_and(|limit| self.claimed + (self.resolved.len() + self.lookups) as u64 >= limit)
    }

    /// How many entries outside of batches may still be sent, where that is limited.
    pub fn room(&self) -> Option<u64> {
        let limit = self.bounds.send_limit?;
        Some(limit.saturating_sub(self.claimed))
    }

    fn seal(&mut self, commands: &mut Vec<Command>) {
        if self.bounds.dry_run || self.allowance.cut_short(true).is_some() {
            return;
        }
        loop {
            let room = self.room().unwrap_or(u64::MAX);
            let wanted = self.next_size();
            let size = self
                .resolved
                .len()
                .min(wanted)
                .min(usize::try_from(room).unwrap_or(usize::MAX));
            let full = size == wanted;
            if size == 0 || !(full || self.nothing_more_will_be_resolved()) {
                return;
            }
            let members: Vec<EntryId> = self.resolved.drain(..size).collect();
            self.claimed += size as u64;
            self.made += 1;
            self.sealing += size;
            commands.push(Command::Seal(members));
        }
    }

    fn next_size(&self) -> usize {
        self.bounds.batch_size - self.made % sizes(self.bounds.batch_size)
    }

    fn nothing_more_will_be_resolved(&self) -> bool {
        self.lookups == 0 && (self.is_limit_claimed() || self.everything_is_looked_up())
    }

    fn everything_is_looked_up(&self) -> bool {
        self.no_more_pending && self.pending.is_empty() && self.lookups == 0
    }

    /// Whether nothing is under way. After [`Coordinator::commands`] came back empty, the run is over.
    pub fn is_idle(&self) -> bool {
        self.is_waiting_for_doubts() && self.settling == 0
    }

    /// Whether nothing is under way but settling and clearing up.
    pub fn is_waiting_for_doubts(&self) -> bool {
        !self.refilling && self.lookups == 0 && self.sealing == 0 && self.sending == 0
    }

    /// How many requests or writes are under way.
    pub fn under_way(&self) -> usize {
        self.lookups + self.sending + self.settling
    }

    fn to_be_ended(&self) -> UnderWay {
        UnderWay {
            lookups: self.lookups,
            batches: self.sending + self.settling,
        }
    }

    /// Why work is left, where any is, once the run is over.
    pub fn left(&self) -> Option<Left> {
        let nothing_to_send = self.sealed.is_empty() && self.resolved.is_empty();
        let finished = self.everything_is_looked_up() && (self.bounds.dry_run || nothing_to_send);
        if !finished && let Some(cut) = self.allowance.cut_short(!self.bounds.dry_run) {
            return Some(cut);
        }
        if self.bounds.dry_run {
            return None;
        }
        if !self.sealed.is_empty() {
            let unproven = self.unproven >= UNPROVEN_LIMIT;
            return Some(if unproven {
                Left::StillApplying
            } else {
                Left::TooManyDoubts
            });
        }
        let unsent = !self.resolved.is_empty() || !self.everything_is_looked_up();
        self.left.or(unsent.then_some(Left::LimitReached))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(send_limit: Option<u64>) -> Bounds {
        Bounds {
            lookups: 4,
            batch_size: 3,
            send_limit,
            dry_run: false,
            settle_only: false,
        }
    }

    const DONE: Settled = Settled::Done {
        confirmed: 0,
        failed: 0,
    };

    fn entry(id: i64) -> PendingEntry {
        PendingEntry {
            id: EntryId(id),
            email: format!("p{id}@example.com"),
            written: None,
        }
    }

    /// A world in which every command succeeds at once; each entry whose id is divisible by five is skipped.
    /// Returns the members of the batches that were sent.
    fn play(coordinator: &mut Coordinator, entries: i64) -> Vec<Vec<i64>> {
        let mut batches: Vec<Vec<i64>> = Vec::new();
        let mut sent = Vec::new();
        loop {
            let commands = coordinator.commands();
            if commands.is_empty() {
                assert!(coordinator.is_idle());
                return sent;
            }
            for command in commands {
                coordinator.handle(match command {
                    Command::Refill(after) => {
                        let next = after.0 + 1..=entries.min(after.0 + REFILL_ENTRIES as i64);
                        Report::Refilled(next.map(entry).collect())
                    }
                    Command::LookUp(entry) => Report::LookedUp(entry.id, entry.id.0 % 5 != 0),
                    Command::Seal(members) => {
                        batches.push(members.iter().map(|id| id.0).collect());
                        Report::Sealed(BatchNo(batches.len() as i64), members.len())
                    }
                    Command::Send(no) => {
                        let members = &batches[no.0 as usize - 1];
                        sent.push(members.clone());
                        Report::Sent(no, members.len(), Sent::Accepted)
                    }
                    Command::Settle(no) => Report::Settled(no, DONE),
                    Command::ClearUp { no, .. } => Report::Cleared(no, Cleared::Reached(3, 0)),
                });
            }
        }
    }

    #[test]
    fn everything_is_sent_once_and_in_full_batches() {
        let mut coordinator = Coordinator::new(bounds(None), vec![], vec![], vec![]);
        let sent = play(&mut coordinator, 5_001);
        let mut ids: Vec<i64> = sent.iter().flatten().copied().collect();
        ids.sort_unstable();
        let wanted: Vec<i64> = (1..=5_001).filter(|id| id % 5 != 0).collect();
        assert_eq!(ids, wanted);
        assert_eq!(sent.iter().filter(|batch| batch.len() < 3).count(), 1);
        assert_eq!(coordinator.left(), None);
    }

    #[test]
    fn the_limit_sends_exactly_the_first() {
        for limit in [1, 3, 7, 100] {
            let mut coordinator = Coordinator::new(bounds(Some(limit)), vec![], vec![], vec![]);
            let sent: Vec<i64> = play(&mut coordinator, 5_000).into_iter().flatten().collect();
            let first: Vec<i64> = (1..=5_000)
                .filter(|id| id % 5 != 0)
                .take(limit as usize)
                .collect();
            assert_eq!(sent, first, "limit {limit}");
            assert_eq!(coordinator.left(), Some(Left::LimitReached));
        }
    }

    #[test]
    fn a_limit_that_reaches_to_the_end_leaves_nothing() {
        let mut coordinator = Coordinator::new(bounds(Some(4)), vec![], vec![], vec![]);
        assert_eq!(play(&mut coordinator, 4).concat(), [1, 2, 3, 4]);
        assert_eq!(coordinator.left(), None);
    }

    #[test]
    fn what_an_earlier_run_left_counts_towards_the_limit() {
        let resolved = vec![EntryId(1), EntryId(2)];
        let sealed = vec![(BatchNo(90), 2), (BatchNo(91), 3)];
        let mut coordinator = Coordinator::new(bounds(Some(4)), resolved, sealed, vec![]);
        let commands = coordinator.commands();
        let sends = commands
            .iter()
            .filter(|command| matches!(command, Command::Send(_)))
            .count();
        let seals = commands
            .iter()
            .filter(|command| matches!(command, Command::Seal(_)))
            .count();
        assert_eq!(
            (sends, seals),
            (1, 1),
            "the second sealed batch would exceed the limit"
        );
    }

    #[test]
    fn a_dry_run_sends_nothing() {
        let dry = Bounds {
            dry_run: true,
            ..bounds(None)
        };
        let mut coordinator = Coordinator::new(dry, vec![EntryId(1)], vec![(BatchNo(1), 3)], vec![]);
        assert_eq!(play(&mut coordinator, 100), Vec::<Vec<i64>>::new());
    }

    #[test]
    fn after_a_halt_nothing_new_begins() {
        let mut coordinator = Coordinator::new(bounds(None), vec![], vec![(BatchNo(1), 3)], vec![]);
        assert_eq!(coordinator.commands().len(), 2);
        coordinator.handle(Report::Halted(Work::Send, Halt::Stopped));
        coordinator.handle(Report::Refilled(vec![entry(1)]));
        assert!(coordinator.commands().is_empty());
        assert!(coordinator.is_idle());
    }

    #[test]
    fn a_batch_that_was_too_large_makes_the_next_ones_smaller() {
        let mut coordinator = Coordinator::new(bounds(None), vec![], vec![(BatchNo(1), 3)], vec![]);
        coordinator.commands();
        let refused = Sent::Refused {
            failed: 0,
            regrouped: vec![(BatchNo(2), 2), (BatchNo(3), 1)],
            reason: "too many".into(),
            too_large: true,
        };
        coordinator.handle(Report::Sent(BatchNo(1), 3, refused));
        assert_eq!(coordinator.bounds.batch_size, 2);
        let sends = coordinator
            .commands()
            .into_iter()
            .filter(|command| matches!(command, Command::Send(_)));
        assert_eq!(sends.count(), 2);
    }

    /// Carries out every send with `sent`, until nothing begins any more, and counts them.
    fn send_all(
        coordinator: &mut Coordinator,
        sent: impl Fn() -> Sent,
        cleared: impl Fn() -> Cleared,
    ) -> usize {
        let mut sends = 0;
        loop {
            let commands = coordinator.commands();
            if commands.is_empty() {
                return sends;
            }
            for command in commands {
                match command {
                    Command::Send(no) => {
                        sends += 1;
                        coordinator.handle(Report::Sent(no, 3, sent()));
                    }
                    Command::ClearUp { no, .. } => coordinator.handle(Report::Cleared(no, cleared())),
                    _ => coordinator.handle(Report::Refilled(vec![])),
                }
            }
        }
    }

    #[test]
    fn writes_that_end_in_doubt_one_after_the_other_are_stopped() {
        let sealed = (1..=30).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), vec![], sealed, vec![]);
        let held = || Cleared::Held("?".into());
        let in_doubt = || Sent::InDoubt("502".into());
        assert_eq!(send_all(&mut coordinator, in_doubt, held), DOUBTS_IN_A_ROW_LIMIT);
        assert_eq!(coordinator.left(), Some(Left::TooManyDoubts));
    }

    #[test]
    fn doubts_that_are_decided_keep_nobody_waiting() {
        let sealed = (1..=30).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), vec![], sealed, vec![]);
        let in_doubt = || Sent::InDoubt("502".into());
        let reached = || Cleared::Reached(3, 0);
        assert_eq!(send_all(&mut coordinator, in_doubt, reached), 30);
        assert_eq!(coordinator.left(), None);
    }

    #[test]
    fn what_never_arrives_is_not_sent_for_ever() {
        let sealed = (1..=30).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), vec![], sealed, vec![]);
        let in_doubt = || Sent::InDoubt("503".into());
        let sent = send_all(&mut coordinator, in_doubt, || Cleared::Absent(3));
        assert!((ABSENCES_LIMIT..=2 * ABSENCES_LIMIT).contains(&sent), "{sent}");
        assert_eq!(coordinator.left(), Some(Left::TooManyDoubts));
    }

    #[test]
    fn what_is_absent_goes_back_to_the_others_and_is_sent() {
        let sealed = vec![(BatchNo(1), 3)];
        let in_doubt = vec![Command::ClearUp {
            no: BatchNo(7),
            again: false,
        }];
        let mut coordinator = Coordinator::new(bounds(None), vec![], sealed, in_doubt);
        assert_eq!(coordinator.commands().len(), 3, "to clear up, to send, to refill");
        coordinator.handle(Report::Cleared(BatchNo(7), Cleared::Absent(2)));
        coordinator.handle(Report::Sent(BatchNo(1), 3, Sent::Accepted));
        let sends = |command: &Command| matches!(command, Command::Send(BatchNo(7)));
        assert_eq!(
            coordinator
                .commands()
                .iter()
                .filter(|command| sends(command))
                .count(),
            1
        );
    }

    #[test]
    fn the_run_does_not_get_far_ahead_of_its_proofs() {
        let sealed = (1..=300).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), vec![], sealed, vec![]);
        let mut settles = Vec::new();
        loop {
            let commands = coordinator.commands();
            if commands.is_empty() {
                break;
            }
            for command in commands {
                match command {
                    Command::Send(no) => coordinator.handle(Report::Sent(no, 3, Sent::Accepted)),
                    Command::Settle(no) => settles.push(no),
                    _ => coordinator.handle(Report::Refilled(vec![])),
                }
            }
        }
        assert_eq!(settles.len(), UNPROVEN_LIMIT);
        for no in settles {
            let nobody = Settled::Done {
                confirmed: 0,
                failed: 3,
            };
            coordinator.handle(Report::Settled(no, nobody));
        }
        assert!(matches!(coordinator.halt(), Some(Halt::NothingChanges)));
    }

    #[test]
    fn sizes_tell_batches_apart() {
        let bounds = Bounds {
            batch_size: 300,
            ..bounds(None)
        };
        let resolved = (1..=1_800).map(EntryId).collect();
        let mut coordinator = Coordinator::new(bounds, resolved, vec![], vec![]);
        coordinator.handle(Report::Refilled(vec![]));
        let size = |command| match command {
            Command::Seal(members) => Some(members.len()),
            _ => None,
        };
        let sizes: Vec<usize> = coordinator.commands().into_iter().filter_map(size).collect();
        assert_eq!(sizes, [300, 299, 298, 297, 296, 300, 10]);
    }

    #[test]
    fn a_refusal_of_everything_stops_the_run() {
        let sealed = (1..=30).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), vec![], sealed, vec![]);
        let refused = || Sent::Refused {
            failed: 3,
            regrouped: vec![],
            reason: "HTTP 415".into(),
            too_large: false,
        };
        assert_eq!(
            send_all(&mut coordinator, refused, || Cleared::Found),
            REFUSALS_LIMIT / WHOLE_REFUSAL
        );
        assert!(matches!(coordinator.halt(), Some(Halt::Refused(_))));
    }

    #[test]
    fn halted_seals_are_counted_one_by_one() {
        let resolved = (1..=6).map(EntryId).collect();
        let mut coordinator = Coordinator::new(bounds(None), resolved, vec![], vec![]);
        coordinator.handle(Report::Refilled(vec![]));
        let seals = coordinator
            .commands()
            .into_iter()
            .filter(|command| matches!(command, Command::Seal(_)));
        assert_eq!(seals.count(), 2);
        coordinator.handle(Report::Halted(Work::Seal(3), Halt::Stopped));
        coordinator.handle(Report::Sealed(BatchNo(1), 3));
        assert!(coordinator.is_idle());
    }
}

//! Decides what is done next. Synchronous, without clock or I/O, so that every decision can be tested.
//!
//! The shell (`run.rs`) carries commands out and brings reports back; between two reports the coordinator is
//! asked once for all commands that may begin now. What it keeps is what is under way in this process; what
//! must outlive the process is in the ledger before a report arrives here.

use super::commands::{Command, Report, Work};
use super::context::Halt;
use super::doubt::Cleared;
use super::limits::{Allowance, UnderWay};
use super::lookups::Lookups;
use super::send::Sent;
use super::settle::Settled;
use super::sizes::sizes;
use crate::model::grouping::Grouping;
use crate::model::ids::BatchNo;
use std::collections::VecDeque;

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

/// The bounds that a coordinator works in.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Look-ups under way at the same time.
    pub lookups: usize,
    /// Emails that one look-up may ask for.
    pub group: usize,
    /// Read all profiles first, on about so many pages.
    pub scan: Option<u64>,
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
    lookups: Lookups,
    /// Entries that are resolved and in no batch.
    resolved: u64,
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
    notices: Vec<String>,
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
    /// Begins with what the ledger holds: how many entries are resolved, batches that are sealed (with their
    /// sizes), and those that are to be settled or cleared up.
    pub fn new(
        bounds: Bounds,
        resolved: u64,
        sealed: Vec<(BatchNo, usize)>,
        to_settle: Vec<Command>,
    ) -> Self {
        let is_accepted = |command: &&Command| matches!(command, Command::Settle(_));
        let unproven = to_settle.iter().filter(is_accepted).count();
        let mut coordinator = Self {
            lookups: Lookups::new(bounds.lookups, Grouping::new(bounds.group), bounds.scan),
            bounds,
            allowance: Allowance::default(),
            resolved,
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
            notices: Vec::new(),
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
            Report::Refilled(entries) => self.lookups.refilled(entries),
            Report::Scanning(step, pages_left) => self.lookups.scanning(step, pages_left),
            Report::Scanned(resolved) => {
                self.lookups.scanned();
                self.resolved += resolved;
            }
            Report::LookedUp(asked, looked_up) => {
                if let Some(why) = self.lookups.looked_up(asked, looked_up) {
                    self.notices
                        .push(format!("from here on every email is asked for alone: {why}"));
                }
            }
            Report::Recorded(verdicts, resolved) => {
                self.lookups.recorded(verdicts);
                self.resolved += resolved;
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
            Work::Refill => self.lookups.refill_failed(),
            Work::Scan => self.lookups.scanned(),
            Work::LookUp(asked) => self.lookups.gave_up(asked),
            Work::Record(verdicts) => self.lookups.recorded(verdicts),
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

    /// What somebody should know, once.
    pub fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// All commands that may begin now.
    pub fn commands(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        // Also after a halt: an answer that has come is not thrown away.
        self.lookups.record(&mut commands);
        if self.halt.is_some() {
            return commands;
        }
        self.settling += self.to_settle.len();
        commands.append(&mut self.to_settle);
        if self.bounds.settle_only {
            return commands;
        }
        self.send(&mut commands);
        let room = self.room_to_look_up();
        let (allowance, under_way) = (self.allowance, self.to_be_ended());
        let may_ask = |questions: usize| {
            let lookups = under_way.lookups + questions;
            let under_way = UnderWay { lookups, ..under_way };
            allowance.covers_lookup(under_way, !self.bounds.dry_run)
        };
        self.lookups.commands(room, may_ask, &mut commands);
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

    /// How many entries more may be looked up: all, or as many as may be sent beyond those that are resolved or may
    /// be by look-ups under way.
    ///
    /// Stopping here, and not when that many are resolved, is what makes "the first N" the first: every
    /// entry that was looked up is sent or was skipped, and none behind them was touched.
    fn room_to_look_up(&self) -> u64 {
        let limit = self.bounds.send_limit.filter(|_| !self.bounds.dry_run);
        limit.map_or(u64::MAX, |limit| {
            limit.saturating_sub(self.claimed + self.resolved + self.lookups.open() as u64)
        })
    }

    /// How many entries outside of batches may still be sent, where that is limited.
    pub fn room(&self) -> Option<u64> {
        let limit = self.bounds.send_limit?;
        Some(limit.saturating_sub(self.claimed))
    }

    /// Entries that no group has settled, and that are still to be asked for alone.
    pub fn alone(&self) -> u64 {
        self.lookups.follow_ups() as u64
    }

    /// About how many pages a scan still has to read; `None` where there is none, or no more.
    pub fn pages_left(&self) -> Option<u64> {
        self.lookups.pages_left()
    }

    fn seal(&mut self, commands: &mut Vec<Command>) {
        if self.bounds.dry_run || self.allowance.cut_short(true).is_some() {
            return;
        }
        loop {
            let room = self.room().unwrap_or(u64::MAX);
            let wanted = self.next_size() as u64;
            let size = self.resolved.min(wanted).min(room);
            let full = size == wanted;
            if size == 0 || !(full || self.nothing_more_will_be_resolved()) {
                return;
            }
            self.resolved -= size;
            self.claimed += size;
            self.made += 1;
            self.sealing += size as usize;
            commands.push(Command::Seal(size as usize));
        }
    }

    fn next_size(&self) -> usize {
        self.bounds.batch_size - self.made % sizes(self.bounds.batch_size)
    }

    fn nothing_more_will_be_resolved(&self) -> bool {
        self.lookups.open() == 0 && (self.room_to_look_up() == 0 || self.lookups.is_over())
    }

    /// Whether nothing is under way. After [`Coordinator::commands`] came back empty, the run is over.
    pub fn is_idle(&self) -> bool {
        self.is_waiting_for_doubts() && self.settling == 0
    }

    /// Whether nothing is under way but settling and clearing up.
    pub fn is_waiting_for_doubts(&self) -> bool {
        self.lookups.is_idle() && self.sealing == 0 && self.sending == 0
    }

    /// How many requests or writes are under way.
    pub fn under_way(&self) -> usize {
        self.lookups.under_way() + self.sending + self.settling
    }

    fn to_be_ended(&self) -> UnderWay {
        UnderWay {
            lookups: self.lookups.under_way(),
            batches: self.sending + self.settling,
        }
    }

    /// Why work is left, where any is, once the run is over.
    pub fn left(&self) -> Option<Left> {
        let nothing_to_send = self.sealed.is_empty() && self.resolved == 0;
        let finished = self.lookups.is_over() && (self.bounds.dry_run || nothing_to_send);
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
        let unsent = self.resolved > 0 || !self.lookups.is_over();
        self.left.or(unsent.then_some(Left::LimitReached))
    }
}

#[cfg(test)]
mod tests {
    use super::super::lookups::{LookedUp, Question, REFILL_ENTRIES};
    use super::*;
    use crate::ledger::PendingEntry;
    use crate::model::ids::{EntryId, ProfileId};
    use crate::model::lookup::Verdict;

    fn bounds(send_limit: Option<u64>) -> Bounds {
        Bounds {
            lookups: 4,
            group: 1,
            scan: None,
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
        let mut resolved = std::collections::BTreeSet::new();
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
                    Command::Scan(..) => Report::Scanned(0),
                    Command::LookUp(question) => Report::LookedUp(question.entries(), answer(question)),
                    Command::Record(verdicts) => {
                        let before = resolved.len();
                        let wanting = verdicts.iter().filter(|(id, _)| id.0 % 5 != 0);
                        resolved.extend(wanting.map(|(id, _)| id.0));
                        Report::Recorded(verdicts.len(), (resolved.len() - before) as u64)
                    }
                    Command::Seal(size) => {
                        let first: Vec<i64> = resolved.iter().copied().take(size).collect();
                        assert_eq!(first.len(), size);
                        resolved.retain(|id| !first.contains(id));
                        batches.push(first);
                        Report::Sealed(BatchNo(batches.len() as i64), size)
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

    /// Every seventh entry is missing from the answers to groups.
    fn answer(question: Question) -> LookedUp {
        let verdict = |entry: PendingEntry| {
            let (profile, held) = (ProfileId::new(format!("p{}", entry.id)), vec![]);
            (entry.id, Verdict::Resolved { profile, held })
        };
        match question {
            Question::Alone { entry, .. } => LookedUp {
                verdicts: vec![verdict(entry)],
                ..LookedUp::default()
            },
            Question::Group { entries, .. } => {
                let (missed, found): (Vec<_>, Vec<_>) =
                    entries.into_iter().partition(|entry| entry.id.0 % 7 == 0);
                LookedUp {
                    verdicts: found.into_iter().map(verdict).collect(),
                    missed,
                    ..LookedUp::default()
                }
            }
        }
    }

    #[test]
    fn everything_is_sent_once_and_in_full_batches() {
        for group in [1, 90] {
            let bounds = Bounds {
                group,
                ..bounds(None)
            };
            sends_everything_once(Coordinator::new(bounds, 0, vec![], vec![]));
        }
    }

    fn sends_everything_once(mut coordinator: Coordinator) {
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
        for (limit, group) in [(1, 1), (3, 1), (7, 1), (100, 1), (3, 90), (100, 90), (1_000, 90)] {
            let bounds = Bounds {
                group,
                ..bounds(Some(limit))
            };
            let mut coordinator = Coordinator::new(bounds, 0, vec![], vec![]);
            let mut sent = play(&mut coordinator, 5_000).concat();
            sent.sort_unstable();
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
        let mut coordinator = Coordinator::new(bounds(Some(4)), 0, vec![], vec![]);
        assert_eq!(play(&mut coordinator, 4).concat(), [1, 2, 3, 4]);
        assert_eq!(coordinator.left(), None);
    }

    #[test]
    fn what_an_earlier_run_left_counts_towards_the_limit() {
        let sealed = vec![(BatchNo(90), 2), (BatchNo(91), 3)];
        let mut coordinator = Coordinator::new(bounds(Some(4)), 2, sealed, vec![]);
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

    fn sends(coordinator: &mut Coordinator) -> usize {
        let commands = coordinator.commands().into_iter();
        commands
            .filter(|command| matches!(command, Command::Send(_)))
            .count()
    }

    #[test]
    fn a_sealed_batch_that_is_beyond_the_limit_stays() {
        let sealed = vec![(BatchNo(90), 1), (BatchNo(91), 1)];
        let mut coordinator = Coordinator::new(bounds(Some(1)), 0, sealed, vec![]);
        assert_eq!(sends(&mut coordinator), 1);
        assert_eq!(coordinator.left(), Some(Left::LimitTooSmall));
    }

    #[test]
    fn few_are_on_their_way_together() {
        let sealed = (1..=30).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, vec![Command::Settle(BatchNo(40))]);
        assert!(coordinator.is_idle());
        assert_eq!(sends(&mut coordinator), SENDING_LIMIT);
        assert_eq!(coordinator.under_way(), SENDING_LIMIT + 1);
        assert!(!coordinator.is_waiting_for_doubts());
        coordinator.handle(Report::Refilled(vec![entry(1)]));
        assert_eq!(coordinator.commands().len(), 1, "one to look up, and that is all");
        assert_eq!(coordinator.under_way(), SENDING_LIMIT + 2);
        coordinator.handle(Report::LookedUp(1, LookedUp::default()));
        for no in 1..=SENDING_LIMIT as i64 {
            coordinator.handle(Report::Sent(BatchNo(no), 3, Sent::InDoubt("502".into())));
        }
        assert!(coordinator.is_waiting_for_doubts());
        assert!(!coordinator.is_idle(), "one is still being settled");
    }

    #[test]
    fn a_member_that_is_too_large_by_itself_is_refused() {
        let mut coordinator = Coordinator::new(bounds(None), 0, vec![(BatchNo(1), 1)], vec![]);
        coordinator.commands();
        let refused = Sent::Refused {
            failed: 1,
            regrouped: vec![],
            reason: "too large".into(),
            too_large: true,
        };
        coordinator.handle(Report::Sent(BatchNo(1), 1, refused));
        assert_eq!(coordinator.bounds.batch_size, 3, "the others are not to blame");
        assert_eq!(coordinator.refused_in_a_row, WHOLE_REFUSAL);
    }

    #[test]
    fn a_dry_run_sends_nothing() {
        let dry = Bounds {
            dry_run: true,
            ..bounds(None)
        };
        let mut coordinator = Coordinator::new(dry, 1, vec![(BatchNo(1), 3)], vec![]);
        assert_eq!(play(&mut coordinator, 100), Vec::<Vec<i64>>::new());
    }

    #[test]
    fn after_a_halt_nothing_new_begins() {
        let mut coordinator = Coordinator::new(bounds(None), 0, vec![(BatchNo(1), 3)], vec![]);
        assert_eq!(coordinator.commands().len(), 2);
        coordinator.handle(Report::Halted(Work::Send, Halt::Stopped));
        coordinator.handle(Report::Refilled(vec![entry(1)]));
        assert!(coordinator.commands().is_empty());
        assert!(coordinator.is_idle());
    }

    #[test]
    fn a_batch_that_was_too_large_makes_the_next_ones_smaller() {
        let mut coordinator = Coordinator::new(bounds(None), 0, vec![(BatchNo(1), 3)], vec![]);
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
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, vec![]);
        let held = || Cleared::Held("?".into());
        let in_doubt = || Sent::InDoubt("502".into());
        assert_eq!(send_all(&mut coordinator, in_doubt, held), DOUBTS_IN_A_ROW_LIMIT);
        assert_eq!(coordinator.left(), Some(Left::TooManyDoubts));
    }

    #[test]
    fn doubts_that_nobody_decides_are_kept_few() {
        let sealed = (1..=99).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, vec![]);
        let number = std::cell::Cell::new(0);
        let every_second = || {
            number.set(number.get() + 1);
            match number.get() % 2 {
                0 => Sent::Accepted,
                _ => Sent::InDoubt("502".into()),
            }
        };
        send_all(&mut coordinator, every_second, || Cleared::Held("?".into()));
        assert_eq!(coordinator.doubts.len(), DOUBTS_LIMIT);
        assert_eq!(coordinator.left(), Some(Left::TooManyDoubts));
    }

    #[test]
    fn what_became_of_a_doubt_is_counted_once() {
        let sealed = (1..=9).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, vec![]);
        coordinator.handle(Report::Refilled(vec![]));
        let in_doubt = |no| Report::Sent(BatchNo(no), 3, Sent::InDoubt("502".into()));
        assert_eq!(sends(&mut coordinator), 2);
        coordinator.handle(in_doubt(1));
        coordinator.handle(in_doubt(2));
        assert_eq!(sends(&mut coordinator), 1);
        coordinator.handle(in_doubt(3));
        assert_eq!(sends(&mut coordinator), 0, "three in a row");
        coordinator.handle(Report::Cleared(BatchNo(3), Cleared::Absent(3)));
        assert_eq!(coordinator.doubts, [BatchNo(1), BatchNo(2)]);
        assert_eq!(sends(&mut coordinator), 1, "one may try");
        coordinator.handle(Report::Sent(BatchNo(4), 3, Sent::Accepted));
        coordinator.handle(Report::Cleared(BatchNo(1), Cleared::Found));
        assert_eq!((coordinator.unproven, coordinator.doubts.len()), (2, 1));
        let settles = coordinator.commands();
        let settles = settles
            .iter()
            .filter(|command| matches!(command, Command::Settle(_)));
        assert_eq!(settles.count(), 2);
        let held = Cleared::Held("?".into());
        coordinator.handle(Report::Cleared(BatchNo(2), held));
        let applying = || Settled::StillApplying("pending".into());
        coordinator.handle(Report::Settled(BatchNo(4), applying()));
        coordinator.handle(Report::Settled(BatchNo(1), applying()));
        assert_eq!((coordinator.unproven, coordinator.settling), (2, 0));
    }

    #[test]
    fn doubts_that_are_decided_keep_nobody_waiting() {
        let sealed = (1..=30).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, vec![]);
        let in_doubt = || Sent::InDoubt("502".into());
        let reached = || Cleared::Reached(3, 0);
        assert_eq!(send_all(&mut coordinator, in_doubt, reached), 30);
        assert_eq!(coordinator.left(), None);
    }

    #[test]
    fn what_never_arrives_is_not_sent_for_ever() {
        let sealed = (1..=30).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, vec![]);
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
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, in_doubt);
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
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, vec![]);
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
        assert_eq!(coordinator.left(), Some(Left::StillApplying));
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
    fn a_few_batches_that_change_nobody_stop_the_run_and_one_that_does_begins_anew() {
        let to_settle: Vec<_> = (1..=9).map(|no| Command::Settle(BatchNo(no))).collect();
        let mut coordinator = Coordinator::new(bounds(None), 0, vec![], to_settle);
        coordinator.commands();
        let mut settled = |confirmed, failed| {
            let done = Settled::Done { confirmed, failed };
            coordinator.handle(Report::Settled(BatchNo(1), done));
            coordinator.halt().is_some()
        };
        for _ in 0..2 {
            assert!((1..WITHOUT_EFFECT_LIMIT).all(|_| !settled(0, 3)));
            assert!(!settled(1, 2));
        }
        assert!((1..WITHOUT_EFFECT_LIMIT).all(|_| !settled(0, 3)));
        assert!(settled(0, 3));
    }

    #[test]
    fn sizes_tell_batches_apart() {
        let bounds = Bounds {
            batch_size: 300,
            ..bounds(None)
        };
        let mut coordinator = Coordinator::new(bounds, 1_800, vec![], vec![]);
        coordinator.handle(Report::Refilled(vec![]));
        let size = |command| match command {
            Command::Seal(size) => Some(size),
            _ => None,
        };
        let sizes: Vec<usize> = coordinator.commands().into_iter().filter_map(size).collect();
        assert_eq!(sizes, [300, 299, 298, 297, 296, 300, 10]);
    }

    #[test]
    fn a_refusal_of_everything_stops_the_run() {
        let sealed = (1..=30).map(|no| (BatchNo(no), 3)).collect();
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, vec![]);
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
    fn what_was_halted_is_no_longer_under_way() {
        let settle = vec![Command::Settle(BatchNo(9))];
        let sealed = vec![(BatchNo(1), 3)];
        let mut coordinator = Coordinator::new(bounds(None), 0, sealed, settle);
        coordinator.commands();
        coordinator.handle(Report::Refilled((1..=4).map(entry).collect()));
        coordinator.commands();
        assert_eq!(coordinator.under_way(), 6);
        for (work, left) in [(Work::LookUp(1), 5), (Work::Send, 4), (Work::Settle, 3)] {
            coordinator.handle(Report::Halted(work, Halt::Stopped));
            assert_eq!(coordinator.under_way(), left, "{work:?}");
        }
        (2..=4).for_each(|_| coordinator.handle(Report::LookedUp(1, LookedUp::default())));
        assert!(coordinator.is_idle());
    }

    #[test]
    fn halted_seals_are_counted_one_by_one() {
        let mut coordinator = Coordinator::new(bounds(None), 6, vec![], vec![]);
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

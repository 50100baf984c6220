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
/// Batches that are made and have not left, at the most: enough that sending never waits for the disk. What has been
/// sealed cannot be cut any more, so each that is made before the tenant says what is too large costs a refusal.
const SEALED_AHEAD_LIMIT: usize = 4;
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
    /// Batches that are being made.
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
            Report::RefilledFew(entries) => self.lookups.refilled_few(entries),
            Report::Scanning(step, pages_left) => self.lookups.scanning(step, pages_left),
            Report::Scanned(resolved) => {
                self.lookups.scanned();
                self.resolved += resolved;
            }
            Report::LookedUp(asked, looked_up) => {
                if let Some(why) = self.lookups.looked_up(asked, looked_up) {
                    self.notices
                        .push(format!("emails are looked up one by one from here on: {why}"));
                }
            }
            Report::AskedAgain(asked) => self.lookups.asked_again(asked),
            Report::Released(entries) => self.lookups.released(entries),
            Report::Recorded(verdicts, resolved) => {
                self.lookups.recorded(verdicts);
                self.resolved += resolved;
            }
            Report::Sealed(no, members) => {
                self.sealing -= 1;
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
            Work::AskAgain => self.lookups.gave_up_asking_again(),
            Work::Release => self.lookups.release_failed(),
            Work::Record(verdicts) => self.lookups.recorded(verdicts),
            Work::Seal => self.sealing -= 1,
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

    /// Entries that no group has held, and that nothing is decided about yet.
    pub fn undecided(&self) -> u64 {
        self.lookups.undecided() as u64
    }

    /// Entries of which one answer is known that is not enough.
    pub fn once_more(&self) -> u64 {
        self.lookups.once_more() as u64
    }

    /// About how many pages a scan still has to read; `None` where there is none, or no more.
    pub fn pages_left(&self) -> Option<u64> {
        self.lookups.pages_left()
    }

    fn seal(&mut self, commands: &mut Vec<Command>) {
        if self.bounds.dry_run || self.allowance.cut_short(true).is_some() {
            return;
        }
        while self.sealed.len() + self.sealing < SEALED_AHEAD_LIMIT {
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
            self.sealing += 1;
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
mod tests;

//! Which emails are looked up next: in groups, alone, or all at once by a scan. A part of the coordinator, and as
//! synchronous.
//!
//! A question keeps its place only until it is answered; writing its verdicts down is another piece of work, so that
//! the tenant never waits for the disk.

use super::bursts::{Bursts, Provisional};
use super::commands::{AskedAgain, Command};
use super::misses::{Groups, Known, Missed, Misses, Next};
use super::scan::Step;
use crate::ledger::PendingEntry;
use crate::model::grouping::{Grouping, Kind, Setback, cut, is_checked, is_plain, may_stand_in_list};
use crate::model::ids::EntryId;
use crate::model::lookup::Verdict;
use std::collections::VecDeque;

/// Pending entries fetched from the ledger at a time.
pub const REFILL_ENTRIES: usize = 2_000;
/// Verdicts that may wait to be written down before no more questions are asked.
const RECORDING_LIMIT: usize = 4_096;

/// One question to the tenant.
#[derive(Clone, PartialEq, Eq)]
pub enum Question {
    /// Who bears one email.
    Alone {
        /// The entry.
        entry: PendingEntry,
        /// What groups have said of it, which somebody found now contradicts.
        groups: Groups,
    },
    /// Who bears these emails.
    Group {
        /// The entries.
        entries: Vec<PendingEntry>,
        /// Whether one of them is asked for alone as well, to see whether the answers agree.
        check: bool,
    },
    /// Who bears these emails, some of which no group has held: asked in the company of known ones of the same kind.
    InCompany {
        /// The entries.
        entries: Vec<Missed>,
        /// Those who must be found for the answer to count.
        company: Vec<Known>,
    },
}

impl Question {
    /// How many entries it is about.
    pub fn entries(&self) -> usize {
        match self {
            Self::Alone { .. } => 1,
            Self::Group { entries, .. } => entries.len(),
            Self::InCompany { entries, .. } => entries.len(),
        }
    }
}

/// What a question led to. Each of its entries is in exactly one of the first five lists.
#[derive(Default)]
pub struct LookedUp {
    /// Entries with their verdicts.
    pub verdicts: Vec<(EntryId, Verdict)>,
    /// Entries that the answer to their group held nobody for.
    pub missed: Vec<Missed>,
    /// Entries that are to be asked for alone as if for the first time: nobody could witness that the search worked, or
    /// that groups can hold such emails.
    pub unwitnessed: Vec<PendingEntry>,
    /// Entries of which one answer is not enough.
    pub provisional: Vec<Provisional>,
    /// Whether somebody was found.
    pub found: bool,
    /// Entries about which nothing was learned.
    pub again: Vec<PendingEntry>,
    /// What speaks against asking in groups.
    pub setback: Option<Setback>,
    /// Emails of which it is known now who bears them.
    pub known: Vec<Known>,
    /// Known ones of this kind were not found in a group.
    pub refused: Option<Kind>,
    /// Whether the question was about one of a share.
    pub of_share: bool,
}

/// See the module's documentation.
pub struct Lookups {
    places: usize,
    grouping: Grouping,
    groups: u64,
    /// All profiles may be read first.
    scan: Scan,
    /// About how many pages that still is; `None` where there is no scan, or no more.
    pages_left: Option<u64>,
    pending: VecDeque<PendingEntry>,
    cursor: EntryId,
    no_more_pending: bool,
    refilling: bool,
    /// Whether those that were taken in last are to be asked for before others follow.
    few_first: bool,
    /// Questions that follow from the answers to others. They go first.
    follow_ups: VecDeque<Question>,
    questions: usize,
    /// Entries that the questions under way are about.
    asked: usize,
    bursts: Bursts,
    misses: Misses,
    /// Whether what was concluded from groups in this ledger is to be taken back, or is being taken back.
    release: Option<Release>,
    to_record: Vec<(EntryId, Verdict)>,
    recording: usize,
}

/// How far it is taken back what was concluded from groups.
#[derive(Debug, PartialEq, Eq)]
enum Release {
    Due,
    UnderWay,
}

/// Where the reading of all profiles is.
#[derive(Debug, PartialEq, Eq)]
enum Scan {
    Due(Step),
    /// With so many requests.
    UnderWay(usize),
    Over,
}

impl Lookups {
    /// Asks so many questions at the same time, about so many emails each, after a scan of so many pages.
    pub fn new(places: usize, grouping: Grouping, scan: Option<u64>) -> Self {
        Self {
            places,
            grouping,
            groups: 0,
            scan: scan.map_or(Scan::Over, |_| Scan::Due(Step::Begin)),
            pages_left: scan,
            pending: VecDeque::new(),
            cursor: EntryId(0),
            no_more_pending: false,
            refilling: false,
            few_first: false,
            follow_ups: VecDeque::new(),
            questions: 0,
            asked: 0,
            bursts: Bursts::new(),
            misses: Misses::default(),
            release: None,
            to_record: Vec::new(),
            recording: 0,
        }
    }

    /// Takes the next pending entries in.
    pub fn refilled(&mut self, entries: Vec<PendingEntry>) {
        let is_last = entries.len() < REFILL_ENTRIES;
        self.refilled_few(entries);
        self.no_more_pending = is_last;
        self.few_first = false;
    }

    /// Takes a few pending entries in, behind which there may be others: those follow once these have been asked for.
    pub fn refilled_few(&mut self, entries: Vec<PendingEntry>) {
        self.refilling = false;
        self.few_first = true;
        if let Some(last) = entries.last() {
            self.cursor = last.id;
        }
        self.pending.extend(entries);
    }

    /// Takes the answer to a question about so many entries in. What it says is for people.
    pub fn looked_up(&mut self, asked: usize, looked_up: LookedUp) -> Option<String> {
        self.gave_up(asked);
        let LookedUp {
            verdicts,
            missed,
            unwitnessed,
            provisional,
            found,
            again,
            setback,
            known,
            refused,
            of_share,
        } = looked_up;
        self.to_record.extend(verdicts);
        if found {
            self.bursts.found();
        }
        provisional
            .into_iter()
            .for_each(|result| self.bursts.take(result));
        known.into_iter().for_each(|known| self.misses.note(known));
        refused.into_iter().for_each(|kind| self.misses.refuse(kind));
        if of_share {
            self.misses.answered();
        }
        if let Some(Setback::Contradicted(_)) = setback {
            self.contradict();
        }
        let alone: Vec<_> = missed
            .into_iter()
            .filter_map(|missed| self.misses.take(missed))
            .collect();
        self.ask_alone(alone, Groups::Missed);
        self.ask_alone(unwitnessed, Groups::NotAsked);
        let Some(setback) = setback else {
            if asked > 1 {
                self.grouping.went_well();
            }
            return None;
        };
        let said = self.grouping.set_back(asked, &setback);
        let size = match setback {
            // What one group does not settle, smaller ones will not.
            Setback::Contradicted(_) => 1,
            _ => self.grouping.size().min(asked.div_ceil(2)),
        };
        let mut again = again.into_iter().peekable();
        while again.peek().is_some() {
            self.follow_ups
                .push_back(question(again.by_ref().take(size).collect(), false));
        }
        said
    }

    fn ask_alone(&mut self, entries: impl IntoIterator<Item = PendingEntry>, groups: Groups) {
        let alone = |entry| Question::Alone { entry, groups };
        self.follow_ups.extend(entries.into_iter().map(alone));
    }

    /// An answer to a group was not true: nothing that rests on whom groups do not hold stands any more.
    fn contradict(&mut self) {
        if !self.misses.is_contradicted() {
            self.release = Some(Release::Due);
        }
        let alone = self.misses.contradict();
        self.ask_alone(alone, Groups::Missed);
    }

    /// What was concluded from groups is taken back: these are to be asked for alone.
    pub fn released(&mut self, entries: Vec<PendingEntry>) {
        self.release = None;
        self.ask_alone(entries, Groups::Missed);
    }

    /// It was not taken back.
    pub fn release_failed(&mut self) {
        self.release = None;
    }

    /// A question about so many entries will not be answered.
    pub fn gave_up(&mut self, asked: usize) {
        self.questions -= 1;
        self.asked -= asked;
    }

    /// Takes in what asking once more has led to.
    pub fn asked_again(&mut self, asked: AskedAgain) {
        self.bursts.asked(asked.found);
        self.to_record.extend(asked.verdicts);
    }

    /// Nobody will be asked for once more.
    pub fn gave_up_asking_again(&mut self) {
        self.bursts.gave_up();
    }

    /// So many verdicts are written down, or will not be.
    pub fn recorded(&mut self, verdicts: usize) {
        self.recording -= verdicts;
    }

    /// A refill failed.
    pub fn refill_failed(&mut self) {
        self.refilling = false;
    }

    /// The scan goes on with this step, and about so many pages are left.
    pub fn scanning(&mut self, step: Step, pages_left: Option<u64>) {
        self.scan = Scan::Due(step);
        self.pages_left = pages_left.or(self.pages_left);
    }

    /// The scan is over.
    pub fn scanned(&mut self) {
        self.scan = Scan::Over;
        self.pages_left = None;
    }

    /// About how many pages a scan still has to read; `None` where there is none, or no more.
    pub fn pages_left(&self) -> Option<u64> {
        self.pages_left
    }

    /// Entries that may turn out to be resolved.
    pub fn open(&self) -> usize {
        self.asked
            + self.follow_ups()
            + self.bursts.open()
            + self.misses.open()
            + self.to_record.len()
            + self.recording
    }

    /// Entries that no group has held, and that nothing is decided about yet.
    pub fn undecided(&self) -> usize {
        self.misses.open()
    }

    /// Entries that questions are about which follow from the answers to others.
    pub fn follow_ups(&self) -> usize {
        self.follow_ups.iter().map(Question::entries).sum()
    }

    /// Entries of which one answer is known that is not enough.
    pub fn once_more(&self) -> usize {
        self.bursts.open()
    }

    /// Questions under way.
    pub fn under_way(&self) -> usize {
        let scanning = match self.scan {
            Scan::UnderWay(requests) => requests.max(1),
            Scan::Due(_) | Scan::Over => 0,
        };
        self.questions + scanning + usize::from(self.bursts.is_asking())
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        let is_releasing = self.release == Some(Release::UnderWay);
        self.under_way() == 0 && self.recording == 0 && !self.refilling && !is_releasing
    }

    /// Whether every entry of the ledger has its verdict.
    pub fn is_over(&self) -> bool {
        let is_asked = self.scan == Scan::Over && self.no_more_pending && self.pending.is_empty();
        is_asked && self.open() == 0 && self.release.is_none()
    }

    /// Has what was learned written down, all of it at once.
    pub fn record(&mut self, commands: &mut Vec<Command>) {
        if !self.to_record.is_empty() {
            let verdicts = std::mem::take(&mut self.to_record);
            self.recording += verdicts.len();
            commands.push(Command::Record(verdicts));
        }
    }

    /// What may be asked now, where at most `room` entries more may be looked up, and `may_ask` says whether another
    /// question may follow those that begin now.
    pub fn commands(&mut self, room: u64, may_ask: impl Fn(usize) -> bool, commands: &mut Vec<Command>) {
        if self.scan != Scan::Over {
            commands.extend(self.next_of_scan(may_ask));
            return;
        }
        if self.release.is_some() {
            self.take_back(commands);
            return;
        }
        let mut room = usize::try_from(room).unwrap_or(usize::MAX);
        let before = self.questions;
        while !self.bursts.holds_others()
            && self.questions < self.places
            && self.recording < RECORDING_LIMIT
            && may_ask(self.questions - before)
            && let Some(question) = self.next_question(&mut room)
        {
            self.questions += 1;
            self.asked += question.entries();
            commands.push(Command::LookUp(question));
        }
        self.record(commands);
        let at_rest = self.questions == 0 && self.recording == 0 && self.misses.open() == 0;
        if may_ask(self.questions - before)
            && let Some(doubtful) = self.bursts.due(self.questions == 0, at_rest && !self.refilling)
        {
            commands.push(Command::AskAgain(doubtful));
        }
        let low = match self.few_first {
            true => self.pending.is_empty(),
            false => self.pending.len() < REFILL_ENTRIES / 2,
        };
        // Also where there is no room: whether anything is left behind it decides how the run ends.
        if low && !self.no_more_pending && !self.refilling {
            self.refilling = true;
            commands.push(Command::Refill(self.cursor));
        }
    }

    /// The next step of the scan, as far as that may be asked.
    fn next_of_scan(&mut self, may_ask: impl Fn(usize) -> bool) -> Option<Command> {
        let Scan::Due(step) = &self.scan else {
            return None;
        };
        let useful = step.requests(self.places);
        let requests = (0..useful).take_while(|asked| may_ask(*asked)).count();
        if useful > 0 && requests == 0 {
            return None;
        }
        let step = step.clone();
        self.scan = Scan::UnderWay(requests);
        Some(Command::Scan(step, requests))
    }

    /// Has it taken back what was concluded from groups, once all of that is written down.
    fn take_back(&mut self, commands: &mut Vec<Command>) {
        if self.release == Some(Release::Due) && self.recording == 0 {
            self.release = Some(Release::UnderWay);
            commands.push(Command::Release);
        }
    }

    /// The next question: one that follows from others, then about entries that nobody has asked for, then about those whom
    /// groups did not hold, in groups that are full, or where nothing else is left.
    fn next_question(&mut self, room: &mut usize) -> Option<Question> {
        loop {
            if let Some(question) = self.follow_ups.pop_front() {
                return Some(question);
            }
            if let Some(question) = self.of_the_missed(false) {
                return Some(question);
            }
            if self.follow_ups.is_empty()
                && let Some(question) = self.next(room)
            {
                return Some(question);
            }
            if !self.follow_ups.is_empty() {
                continue;
            }
            let all_asked = self.pending.is_empty() && self.no_more_pending || *room == 0;
            let at_rest = self.questions == 0 && !self.refilling && all_asked;
            if !at_rest {
                return None;
            }
            let question = self.of_the_missed(true);
            if question.is_some() || self.follow_ups.is_empty() {
                return question;
            }
        }
    }

    /// The next question about those whom groups did not hold; what else becomes of them is done.
    fn of_the_missed(&mut self, at_rest: bool) -> Option<Question> {
        loop {
            match self.misses.next(self.grouping.size(), at_rest)? {
                Next::Group(entries, company) => return Some(Question::InCompany { entries, company }),
                Next::Believed(entries) => {
                    let verdict = |entry: PendingEntry| (entry.id, Verdict::InNoGroup);
                    self.to_record.extend(entries.into_iter().map(verdict));
                }
                Next::Alone(entries, groups) => {
                    self.ask_alone(entries, groups);
                    return None;
                }
            }
        }
    }

    /// The next question about entries that nobody has asked for. Those that cannot stand among the others on the way to it
    /// become questions of their own, or wait for others of their kind.
    fn next(&mut self, room: &mut usize) -> Option<Question> {
        let most = self.grouping.size().min(*room);
        if most > 1 && self.pending.len() < most && !self.no_more_pending && !self.few_first {
            // A few more are on their way from the ledger, and half a group costs as much as a whole one.
            return None;
        }
        let mut group: Vec<PendingEntry> = Vec::new();
        while group.len() < most.min(group.len() + *room)
            && let Some(entry) = self.pending.pop_front()
        {
            *room -= 1;
            // One that may have to be spelled in several ways is asked for in all of them.
            if most == 1 || !entry.spellings.is_empty() || !may_stand_in_list(&entry.email) {
                self.ask_alone([entry], Groups::NotAsked);
                if most == 1 {
                    return None;
                }
            } else if is_plain(&entry.email) {
                group.push(entry);
            } else {
                let alone = self.misses.take(Missed { entry, times: 0 });
                self.ask_alone(alone, Groups::NotAsked);
            }
        }
        if group.is_empty() {
            return None;
        }
        let size = cut(group.iter().map(|entry| entry.email.as_str()), most);
        for entry in group.drain(size..).rev() {
            *room += 1;
            self.pending.push_front(entry);
        }
        let check = is_checked(self.groups);
        self.groups += 1;
        Some(question(group, check))
    }
}

fn question(mut entries: Vec<PendingEntry>, check: bool) -> Question {
    if entries.len() > 1 {
        return Question::Group { entries, check };
    }
    let entry = entries.pop().expect("BUG: a question about nobody");
    Question::Alone {
        entry,
        groups: Groups::NotAsked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::walk::Walk;

    fn entry(id: i64) -> PendingEntry {
        PendingEntry {
            id: EntryId(id),
            email: format!("p{id}@example.com"),
            spellings: Vec::new(),
        }
    }

    fn lookups(group: usize, entries: i64) -> Lookups {
        let mut lookups = Lookups::new(4, Grouping::new(group), None);
        lookups.refilling = true;
        lookups.refilled((1..=entries).map(entry).collect());
        lookups
    }

    fn sizes(lookups: &mut Lookups, room: u64) -> Vec<usize> {
        let mut commands = Vec::new();
        lookups.commands(room, |_| true, &mut commands);
        let size = |command: &Command| match command {
            Command::LookUp(question) => Some(question.entries()),
            _ => None,
        };
        commands.iter().filter_map(size).collect()
    }

    #[test]
    fn groups_are_full_and_keep_to_the_room() {
        assert_eq!(sizes(&mut lookups(50, 120), u64::MAX), [50, 50, 20]);
        assert_eq!(sizes(&mut lookups(50, 120), 70), [50, 20]);
        assert_eq!(sizes(&mut lookups(1, 120), 2), [1, 1]);
        assert_eq!(sizes(&mut lookups(50, 120), 0), [0; 0]);
    }

    #[test]
    fn a_few_are_asked_for_before_the_others_follow() {
        let mut lookups = Lookups::new(1, Grouping::new(2), None);
        let refills = |lookups: &mut Lookups| {
            let mut commands = Vec::new();
            lookups.commands(u64::MAX, |_| true, &mut commands);
            let refill = |command: &Command| match command {
                Command::Refill(after) => Some(after.0),
                _ => None,
            };
            commands.iter().find_map(refill)
        };
        assert_eq!(refills(&mut lookups), Some(0));
        lookups.refilled_few((1..=3).map(entry).collect());
        assert_eq!(refills(&mut lookups), None, "the third has not been asked for");
        lookups.looked_up(2, LookedUp::default());
        assert_eq!(
            refills(&mut lookups),
            Some(3),
            "less than a group is asked for as well"
        );
        assert!(!lookups.is_over());
        lookups.refilled((4..=4).map(entry).collect());
        assert_eq!(refills(&mut lookups), None, "there are no others");
    }

    #[test]
    fn what_cannot_stand_in_a_list_is_asked_for_alone() {
        let mut lookups = lookups(50, 2);
        let odd = PendingEntry {
            email: "\"a,b\"@example.com".into(),
            ..entry(3)
        };
        lookups.pending.push_back(odd);
        lookups.pending.push_back(entry(4));
        assert_eq!(sizes(&mut lookups, u64::MAX), [3, 1]);
    }

    #[test]
    fn who_was_missed_is_asked_for_alone_whatever_the_room() {
        let mut lookups = lookups(50, 100);
        assert_eq!(sizes(&mut lookups, 50), [50]);
        let looked_up = LookedUp {
            missed: [7, 9]
                .map(|id| Missed {
                    entry: entry(id),
                    times: 1,
                })
                .into(),
            ..LookedUp::default()
        };
        assert_eq!(lookups.looked_up(50, looked_up), None);
        assert_eq!(lookups.open(), 2);
        assert_eq!(sizes(&mut lookups, 0), [1, 1]);
    }

    #[test]
    fn a_question_that_was_too_long_is_asked_in_parts_and_in_order() {
        let mut lookups = lookups(50, 50);
        assert_eq!(sizes(&mut lookups, u64::MAX), [50]);
        let looked_up = LookedUp {
            again: (1..=50).map(entry).collect(),
            setback: Some(Setback::TooLong),
            ..LookedUp::default()
        };
        lookups.looked_up(50, looked_up);
        assert!(matches!(&lookups.follow_ups[0], Question::Group { entries, .. } if entries[0] == entry(1)));
        assert_eq!(sizes(&mut lookups, 0), [25, 25], "they have their room already");
        let looked_up = LookedUp {
            again: (1..=25).map(entry).collect(),
            setback: Some(Setback::Overflow(100)),
            ..LookedUp::default()
        };
        lookups.looked_up(25, looked_up);
        assert_eq!(
            sizes(&mut lookups, 0),
            [13, 12],
            "a page that holds too many bearers of few emails"
        );
    }

    #[test]
    fn after_a_contradiction_the_whole_group_is_asked_one_by_one() {
        let mut lookups = lookups(3, 3);
        assert_eq!(sizes(&mut lookups, u64::MAX), [3]);
        let looked_up = LookedUp {
            again: (1..=3).map(entry).collect(),
            setback: Some(Setback::Contradicted("it lies")),
            ..LookedUp::default()
        };
        lookups.looked_up(3, looked_up);
        let mut commands = Vec::new();
        lookups.commands(u64::MAX, |_| true, &mut commands);
        assert!(
            commands == [Command::Release],
            "what rested on groups is taken back first"
        );
        lookups.released(vec![entry(9)]);
        assert_eq!(sizes(&mut lookups, u64::MAX), [1, 1, 1, 1]);
    }

    #[test]
    fn nothing_is_asked_while_too_much_is_to_be_written_down() {
        let mut lookups = lookups(1, 10);
        lookups.recording = RECORDING_LIMIT;
        assert_eq!(sizes(&mut lookups, u64::MAX), [0; 0]);
        lookups.recorded(1);
        assert_eq!(sizes(&mut lookups, u64::MAX), [1; 4]);
    }

    #[test]
    fn a_scan_goes_first_and_asks_no_more_than_it_may() {
        let mut lookups = Lookups::new(4, Grouping::new(1), Some(30));
        let next = |lookups: &mut Lookups, may: usize| {
            let mut commands = Vec::new();
            lookups.commands(10, |asked| asked < may, &mut commands);
            commands
        };
        assert!(
            next(&mut lookups, 0) == [Command::Scan(Step::Begin, 0)],
            "that asks nobody"
        );
        assert!(next(&mut lookups, 9).is_empty() && !lookups.is_idle());
        let walk = || Step::Walk(Walk::new(100, None, 0));
        lookups.scanning(walk(), None);
        assert_eq!(lookups.pages_left(), Some(30));
        assert!(next(&mut lookups, 0).is_empty() && lookups.is_idle() && !lookups.is_over());
        assert!(next(&mut lookups, 9) == [Command::Scan(walk(), 4)]);
        assert_eq!(lookups.under_way(), 4);
        lookups.scanning(Step::Conclude(20), Some(0));
        assert!(next(&mut lookups, 9) == [Command::Scan(Step::Conclude(20), 9)]);
        lookups.scanned();
        assert_eq!(lookups.pages_left(), None);
        assert!(next(&mut lookups, 9) == [Command::Refill(EntryId(0))]);
    }
}

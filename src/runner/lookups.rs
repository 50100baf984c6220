//! Which emails are looked up next: in groups, alone, or all at once by a scan. A part of the coordinator, and as
//! synchronous.
//!
//! A question keeps its place only until it is answered; writing its verdicts down is another piece of work, so that
//! the tenant never waits for the disk.

use super::bursts::{Bursts, Provisional};
use super::commands::{AskedAgain, Command};
use super::scan::Step;
use crate::ledger::PendingEntry;
use crate::model::grouping::{CHECK_ONE_IN, Grouping, Setback, cut, is_plain};
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
        /// Whether the answer to a group held nobody for it, so that somebody found now contradicts that answer.
        missed: bool,
    },
    /// Who bears these emails.
    Group {
        /// The entries.
        entries: Vec<PendingEntry>,
        /// Whether one of them is asked for alone as well, to see whether the answers agree.
        check: bool,
    },
}

impl Question {
    /// How many entries it is about.
    pub fn entries(&self) -> usize {
        match self {
            Self::Alone { .. } => 1,
            Self::Group { entries, .. } => entries.len(),
        }
    }
}

/// What a question led to. Each of its entries is in exactly one of the five lists.
#[derive(Default)]
pub struct LookedUp {
    /// Entries with their verdicts.
    pub verdicts: Vec<(EntryId, Verdict)>,
    /// Entries that the answer to their group held nobody for: they are asked for alone.
    pub missed: Vec<PendingEntry>,
    /// The same, where nobody could witness that the search worked: they are asked for alone as if for the first time.
    pub unwitnessed: Vec<PendingEntry>,
    /// Entries of which one answer is not enough.
    pub provisional: Vec<Provisional>,
    /// Whether somebody was found.
    pub found: bool,
    /// Entries about which nothing was learned.
    pub again: Vec<PendingEntry>,
    /// What speaks against asking in groups.
    pub setback: Option<Setback>,
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
    to_record: Vec<(EntryId, Verdict)>,
    recording: usize,
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
        } = looked_up;
        self.to_record.extend(verdicts);
        if found {
            self.bursts.found();
        }
        provisional
            .into_iter()
            .for_each(|result| self.bursts.take(result));
        let alone = |entry| Question::Alone { entry, missed: true };
        self.follow_ups.extend(missed.into_iter().map(alone));
        self.follow_ups
            .extend(unwitnessed.into_iter().map(|entry| question(vec![entry], false)));
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
        self.asked + self.follow_ups() + self.bursts.open() + self.to_record.len() + self.recording
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
        self.under_way() == 0 && self.recording == 0 && !self.refilling
    }

    /// Whether every entry of the ledger has its verdict.
    pub fn is_over(&self) -> bool {
        self.scan == Scan::Over && self.no_more_pending && self.pending.is_empty() && self.open() == 0
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
        let mut room = usize::try_from(room).unwrap_or(usize::MAX);
        let before = self.questions;
        while !self.bursts.holds_others()
            && self.questions < self.places
            && self.recording < RECORDING_LIMIT
            && may_ask(self.questions - before)
        {
            let question = match self.follow_ups.pop_front() {
                Some(question) => question,
                None => match self.next(room) {
                    Some(question) => {
                        room -= question.entries();
                        question
                    }
                    None => break,
                },
            };
            self.questions += 1;
            self.asked += question.entries();
            commands.push(Command::LookUp(question));
        }
        let at_rest = self.questions == 0 && self.recording == 0 && self.to_record.is_empty();
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

    /// The next question about entries that nobody has asked for.
    fn next(&mut self, room: usize) -> Option<Question> {
        let most = self.grouping.size().min(room);
        if most == 0 {
            return None;
        }
        // One that may have to be spelled in several ways is asked for in all of them.
        let plain = |entry: &PendingEntry| is_plain(&entry.email) && entry.spellings.is_empty();
        if most == 1 || !self.pending.front().is_some_and(plain) {
            let entry = self.pending.pop_front()?;
            return Some(question(vec![entry], false));
        }
        if self.pending.len() < most && !self.no_more_pending && !self.few_first {
            // A few more are on their way from the ledger, and half a group costs as much as a whole one.
            return None;
        }
        let neighbours = self.pending.iter().take_while(|entry| plain(entry));
        let size = cut(neighbours.map(|entry| entry.email.as_str()), most);
        let entries = self.pending.drain(..size).collect();
        let check = self.groups.is_multiple_of(CHECK_ONE_IN);
        self.groups += 1;
        Some(question(entries, check))
    }
}

fn question(mut entries: Vec<PendingEntry>, check: bool) -> Question {
    if entries.len() > 1 {
        return Question::Group { entries, check };
    }
    let entry = entries.pop().expect("BUG: a question about nobody");
    Question::Alone { entry, missed: false }
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
        assert_eq!(sizes(&mut lookups, u64::MAX), [2, 1, 1]);
    }

    #[test]
    fn who_was_missed_is_asked_for_alone_whatever_the_room() {
        let mut lookups = lookups(50, 100);
        assert_eq!(sizes(&mut lookups, 50), [50]);
        let looked_up = LookedUp {
            missed: vec![entry(7), entry(9)],
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
        assert_eq!(sizes(&mut lookups, u64::MAX), [1, 1, 1]);
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

//! What a variant may differ in: how the runner plays, what is assumed about the tenant, and what goes wrong.

/// What the end of the quiet period may be trusted to mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The request can no longer be taken, and what was taken has been applied and shows. What the README says.
    Whole,
    /// It can no longer be taken; the tenant's own queue may be as slow as it likes.
    TakenByThen,
    /// Nothing at all: a request may be taken at any time after its sender gave up.
    Nothing,
}

/// What the tenant's list of batches says. It shows a batch as soon as that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Unreadable,
    /// Ids and sizes, and all batches have the same size.
    Sizes,
    /// The members of each batch too.
    Items,
}

/// Where the reading of the list may stop: at a batch that is known and older than the one in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its answer had come before the one in doubt departed.
    Answered,
    /// Its answer had come, or its sender had given up on it, before the one in doubt departed.
    AnsweredOrDoubted,
    /// It departed before the one in doubt.
    Departed,
    /// Whatever stood in the list when this process began.
    RunStart,
}

/// Which batch has to have been applied before absence is concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// One that departed later than the one in doubt, if there is any that was accepted.
    IfAny,
    /// One that departed later than the one in doubt, always.
    One,
    /// One that departed after the quiet period was over, always.
    AfterQuiet,
}

/// How the runner departs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Marked, flushed, sent.
    MarkFlushSend,
    /// Marked and sent; the mark is written, not flushed: a power cut takes it back (`synchronous=NORMAL`).
    Unflushed,
    /// Marked and sent; the mark is acknowledged before it is written: any crash takes it back.
    Unwritten,
    /// Sent, then marked.
    SendMark,
}

/// What a second process can do while the first one lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// It cannot start: the lock.
    Lock,
    /// It starts, and the first one may write no more, but what it had marked may leave yet: the epoch alone,
    /// and `sleeps`: even after a whole quiet period.
    Epoch { sleeps: bool },
    /// Neither.
    Nothing,
}

/// What becomes of a copy of the ledger that is made at some time and used when the original has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    Never,
    /// Whatever may have been sent is doubted.
    Adopted,
    /// The same, but the original has not stopped and sends what it has not sent.
    AdoptedInParallel,
    /// It is resumed like the original.
    Resumed,
}

/// What other people may take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removals {
    /// From one member at a time.
    OneMember,
    /// From all members of a batch that the runner has seen with the handle.
    AllAfterSeen,
    /// From all members of a batch.
    All,
}

/// Who rules on held batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    /// Who knows the truth.
    Right,
    Wrong,
}

/// How often each mishap may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub crashes: u8,
    pub faults: u8,
    pub adds: u8,
    pub removals: u8,
    /// Batches of other people, of our size.
    pub strangers: u8,
    pub rulings: u8,
}

#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub batches: usize,
    pub budget: Budget,
    pub trust: Trust,
    pub list: List,
    pub anchor: Anchor,
    /// The list counts only below the first known batch that departed after the doubt arose.
    pub list_ends_at_later: bool,
    /// The list that allows absence was asked for when the quiet period was over.
    pub list_after_quiet: bool,
    /// A list that could not be read this once counts as one without candidates.
    pub failed_list_is_empty: bool,
    /// A batch found by its size alone, its members not looked at.
    pub find_unseen: bool,
    /// Other people's batches are for our people, too.
    pub strangers_for_us: bool,
    /// One member with the handle makes a listed batch for our people ours.
    pub partly_identifies: bool,
    /// No look ever shows a change: profiles show another spelling of the handle.
    pub blind: bool,
    /// Absence is concluded although no look has ever shown a change.
    pub uncalibrated: bool,
    /// A batch that was found by its size goes on being a candidate for the other doubts.
    pub found_by_size_vetoes: bool,
    pub later: Later,
    /// `--in-doubt verify`.
    pub verify: bool,
    /// There is a time at which the runner holds what is undecided.
    pub deadline: bool,
    pub departure: Departure,
    pub fence: Fence,
    pub copy: Copy,
    /// A ruling that was made before the copy counts while the copy is adopted.
    pub copied_rulings_count: bool,
    pub removals: Removals,
    pub person: Person,
    /// Absence without any quiet period.
    pub no_quiet: bool,
    /// A look that began before the quiet period was over counts.
    pub old_look: bool,
    /// The quiet period is counted from the mark, and goes on over a crash.
    pub quiet_from_mark: bool,
    /// The quiet period is measured by a clock that jumps.
    pub wall_clock: bool,
    /// What shows the handle is not written down.
    pub moved_forgotten: bool,
    /// Absence needs one member without the handle, not all.
    pub some_is_none: bool,
    /// The HTTP library sends a write again on its own.
    pub library_repeats: bool,
    /// A 5xx is answered by sending again.
    pub retries_5xx: bool,
    /// Power cuts beside kills.
    pub power_cuts: bool,
    /// The tenant may call a batch done and have left a member out.
    pub tenant_drops: bool,
    /// The tenant's word that a batch is done confirms its members.
    pub poll_confirms: bool,
}

/// The design.
pub const DESIGN: Rules = Rules {
    batches: 2,
    budget: Budget {
        crashes: 0,
        faults: 0,
        adds: 0,
        removals: 0,
        strangers: 0,
        rulings: 0,
    },
    trust: Trust::Whole,
    list: List::Unreadable,
    anchor: Anchor::Answered,
    list_ends_at_later: false,
    list_after_quiet: true,
    failed_list_is_empty: false,
    find_unseen: false,
    strangers_for_us: false,
    partly_identifies: false,
    blind: false,
    uncalibrated: false,
    found_by_size_vetoes: false,
    later: Later::IfAny,
    verify: true,
    deadline: true,
    departure: Departure::MarkFlushSend,
    fence: Fence::Lock,
    copy: Copy::Never,
    copied_rulings_count: false,
    removals: Removals::OneMember,
    person: Person::Right,
    no_quiet: false,
    old_look: false,
    quiet_from_mark: false,
    wall_clock: false,
    moved_forgotten: false,
    some_is_none: false,
    library_repeats: false,
    retries_5xx: false,
    power_cuts: false,
    tenant_drops: false,
    poll_confirms: false,
};

use super::super::lookups::{LookedUp, Question, REFILL_ENTRIES};
use super::super::misses::{Groups, Known, Missed};
use super::*;
use crate::ledger::PendingEntry;
use crate::model::grouping::Setback;
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
        spellings: Vec::new(),
    }
}

/// A world in which every command succeeds at once; each entry whose id is divisible by five is skipped.
/// Returns the members of the batches that were sent.
fn play(coordinator: &mut Coordinator, entries: i64) -> Vec<Vec<i64>> {
    let mut resolved = std::collections::BTreeSet::new();
    let mut batches: Vec<Vec<i64>> = Vec::new();
    let (mut sent, mut in_no_group) = (Vec::new(), Vec::new());
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
                Command::AskAgain(_) => unreachable!("everybody is found"),
                Command::Release => Report::Released(std::mem::take(&mut in_no_group)),
                Command::Record(verdicts) => {
                    let before = resolved.len();
                    let (found, missing): (Vec<_>, Vec<_>) = verdicts
                        .iter()
                        .partition(|(_, verdict)| *verdict != Verdict::InNoGroup);
                    in_no_group.extend(missing.into_iter().map(|(id, _)| entry(id.0)));
                    let wanting = found.into_iter().filter(|(id, _)| id.0 % 5 != 0);
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
        Question::Alone { entry, groups } => LookedUp {
            verdicts: vec![verdict(entry)],
            of_share: groups == Groups::Share,
            setback: (groups != Groups::NotAsked).then_some(Setback::Contradicted("it left one out")),
            ..LookedUp::default()
        },
        Question::Group { entries, .. } => {
            let missed = entries.into_iter().map(|entry| Missed { entry, times: 0 });
            of_group(missed.collect(), verdict)
        }
        Question::InCompany { entries, .. } => of_group(entries, verdict),
    }
}

fn of_group(entries: Vec<Missed>, verdict: impl Fn(PendingEntry) -> (EntryId, Verdict)) -> LookedUp {
    let (missed, found): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|missed| missed.entry.id.0 % 7 == 0);
    let more = |Missed { entry, times }| Missed {
        entry,
        times: times + 1,
    };
    let found = found.into_iter().map(|missed| missed.entry);
    LookedUp {
        known: found.clone().map(known).collect(),
        verdicts: found.map(verdict).collect(),
        missed: missed.into_iter().map(more).collect(),
        ..LookedUp::default()
    }
}

fn known(entry: PendingEntry) -> Known {
    Known {
        profile: ProfileId::new(format!("p{}", entry.id)),
        email: entry.email,
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
fn send_all(coordinator: &mut Coordinator, sent: impl Fn() -> Sent, cleared: impl Fn() -> Cleared) -> usize {
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
    let mut sizes = Vec::new();
    loop {
        let commands = coordinator.commands();
        if commands.is_empty() {
            break;
        }
        for command in commands {
            coordinator.handle(match command {
                Command::Seal(size) => {
                    sizes.push(size);
                    Report::Sealed(BatchNo(sizes.len() as i64), size)
                }
                Command::Send(no) => Report::Sent(no, 1, Sent::Accepted),
                Command::Settle(no) => Report::Settled(no, DONE),
                _ => unreachable!("nobody is left to look up"),
            });
        }
    }
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
    coordinator.handle(Report::Halted(Work::Seal, Halt::Stopped));
    coordinator.handle(Report::Sealed(BatchNo(1), 3));
    assert!(coordinator.is_idle());
}

#[test]
fn few_batches_are_made_before_they_can_leave() {
    let mut coordinator = Coordinator::new(bounds(None), 300, vec![], vec![]);
    coordinator.handle(Report::Refilled(vec![]));
    let (mut made, mut sizes) = (0, Vec::new());
    for command in coordinator.commands() {
        if let Command::Seal(size) = command {
            made += 1;
            sizes.push(size);
            coordinator.handle(Report::Sealed(BatchNo(made), size));
        }
    }
    assert_eq!(sizes.len(), SEALED_AHEAD_LIMIT);
    let commands = coordinator.commands();
    let sends = commands
        .iter()
        .filter(|command| matches!(command, Command::Send(_)));
    let seals = commands
        .iter()
        .filter(|command| matches!(command, Command::Seal(_)));
    assert_eq!((sends.count(), seals.count()), (SENDING_LIMIT, SENDING_LIMIT));

    // The first is too large: those that are made already are so too, and no other is.
    let too_large = Sent::Refused {
        failed: 0,
        regrouped: vec![],
        reason: "HTTP 413".into(),
        too_large: true,
    };
    coordinator.handle(Report::Sent(BatchNo(1), sizes[0], too_large));
    coordinator.handle(Report::Sealed(BatchNo(5), 3));
    let later = coordinator.commands();
    let size = |command: &Command| match command {
        Command::Seal(size) => Some(*size),
        _ => None,
    };
    let later: Vec<usize> = later.iter().filter_map(size).collect();
    assert_eq!(later, [sizes[0].div_ceil(2)]);
}

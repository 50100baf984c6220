//! Tenants that once fooled a run, and others of their kinds: nobody gets a handle twice, and nothing false is said.

use super::hostile::{Items, Order, Other, Poll, SECOND, Stage, Traits, Write};
use super::share::pick;
use rollbook::api::BatchProgress;
use rollbook::model::entry::EntryState;
use rollbook::model::ids::Action;
use std::time::Duration;

/// A job that assigns `vip` to so many people who hold nothing.
fn assign(people: usize, traits: Traits) -> Stage {
    Stage::new(traits, people, Action::Assign, &["vip"], &[])
}

/// A long life: as many runs as it may take, each undisturbed.
fn live(stage: &Stage, runs: usize) {
    for _ in 0..runs {
        stage.live(None);
        stage.check();
    }
}

// ---- never twice

/// The first is accepted and shows late, the second's answer is lost, and it is applied later still.
#[test]
fn what_does_not_show_yet_makes_the_lifetime_longer() {
    for (first, second) in [(101, 116), (101, 130), (200, 260), (95, 140), (280, 290)] {
        for killed in [None, Some(30), Some(90)] {
            let stage = assign(
                6,
                Traits {
                    writes: vec![Write::Accepted, Write::Unheard],
                    applying: vec![first * SECOND, second * SECOND],
                    ..Traits::default()
                },
            );
            if let Some(seconds) = killed {
                stage.live(Some(seconds * SECOND));
            }
            live(&stage, 2);
            assert_eq!(stage.taken(), 2, "{first} {second} {killed:?}");
            assert_eq!(
                stage.count(EntryState::Confirmed),
                6,
                "{first} {second} {killed:?}"
            );
            let took = stage.number("SELECT max(max(coalesce(took_ms, 0), unfinished_ms)) FROM batch");
            let known = killed.map_or(first, |killed| first.saturating_sub(killed)) as i64;
            assert!(took >= known * 1000, "{took} ms of {first} s, killed {killed:?}");
        }
    }
}

/// Nobody is ever seen with the handle, since profiles show another spelling of it.
#[test]
fn where_no_change_ever_shows_nothing_is_sent_again() {
    for people in [9, 3, 30].into_iter().take(pick(1, 3, 3)) {
        for order in [Order::None, Order::NewestFirst] {
            let stage = assign(
                people,
                Traits {
                    writes: vec![Write::Unheard; 100],
                    shouts: true,
                    order,
                    ..Traits::default()
                },
            );
            live(&stage, 3);
            assert_eq!(stage.taken(), stage.held().len(), "{people}");
        }
    }
}

/// The list is told as nobody would, and what was lost had arrived: it takes so long that only the list could tell.
#[test]
fn a_list_that_is_not_calibrated_proves_nothing() {
    let orders = [Order::NewestFirst, Order::OldestFirst, Order::Anyhow];
    for order in orders.into_iter().take(pick(1, 3, 3)) {
        for items in [Items::Missing, Items::Ours, Items::TheirOwn] {
            for pending_size_is_zero in [false, true] {
                let stage = assign(
                    30,
                    Traits {
                        writes: [vec![Write::Accepted; 5], vec![Write::Unheard]].concat(),
                        applying: [vec![SECOND; 5], vec![700 * SECOND], vec![SECOND]].concat(),
                        order,
                        items,
                        pending_size_is_zero,
                        ..Traits::default()
                    },
                );
                live(&stage, 2);
                assert_eq!(stage.taken(), 10, "{order:?} {items:?} {pending_size_is_zero}");
            }
        }
    }
}

/// What never arrived is found absent where the list is calibrated, and only then.
#[test]
fn a_calibrated_list_lets_what_was_lost_be_sent_again() {
    for (order, items, sent_again) in [
        (Order::None, Items::Missing, true),
        (Order::NewestFirst, Items::Missing, true),
        (Order::NewestFirst, Items::TheirOwn, true),
        (Order::OldestFirst, Items::Ours, true),
    ] {
        let stage = assign(
            12,
            Traits {
                writes: vec![Write::Accepted, Write::Lost],
                order,
                items,
                ..Traits::default()
            },
        );
        live(&stage, 1);
        assert_eq!(
            stage.held().is_empty(),
            sent_again,
            "{order:?} {items:?}: {:?}",
            stage.held()
        );
        assert_eq!(stage.taken() == 4, sent_again, "{order:?} {items:?}");
    }
}

/// Another job's batch is pending when ours is looked for: it could be ours, whatever its size is said to be.
#[test]
fn an_unknown_batch_that_is_not_finished_blocks_absence() {
    let stage = assign(
        12,
        Traits {
            writes: vec![Write::Accepted, Write::Unheard],
            applying: vec![SECOND, 800 * SECOND, SECOND],
            order: Order::NewestFirst,
            pending_size_is_zero: true,
            ..Traits::default()
        },
    );
    live(&stage, 2);
    assert_eq!(stage.taken(), 4);
}

/// The tenant objects to one member by name, or to all, and takes the others all the same.
#[test]
fn who_was_refused_in_company_is_looked_at_before_being_sent_again() {
    for write in [Write::RefusedByName, Write::RefusedWhole] {
        for (action, held) in [(Action::Assign, vec![]), (Action::Remove, vec!["staff", "vip"])] {
            for applying in [SECOND / 5, 20 * SECOND] {
                for killed in [None, Some(31), Some(33)] {
                    let traits = Traits {
                        // By the first of them it is known how long a change takes here.
                        writes: vec![Write::Accepted, write, Write::Accepted, write],
                        applying: vec![applying],
                        ..Traits::default()
                    };
                    let mut stage = Stage::new(traits, 12, action, &["vip"], &held);
                    stage.settings.concurrency = 1;
                    if let Some(seconds) = killed {
                        stage.live(Some(seconds * SECOND));
                    }
                    live(&stage, 2);
                    assert!(
                        stage.count(EntryState::Confirmed) >= 10,
                        "{write:?} {applying:?} {killed:?}"
                    );
                }
            }
        }
    }
}

// ---- never lost

/// Our request never arrived; another job gave the same people one of the two handles, in a batch of the same size.
#[test]
fn another_jobs_batch_for_the_same_people_is_not_ours() {
    for items in [Items::Missing, Items::Ours] {
        for order in [Order::None, Order::NewestFirst] {
            let handles = [vec!["gold"], vec!["vip"], vec!["staff"]];
            for handles in handles.into_iter().take(pick(1, 3, 3)) {
                let other = |members: Vec<usize>| Other {
                    at: SECOND,
                    members,
                    handles: handles.clone(),
                };
                let traits = Traits {
                    writes: vec![Write::Lost],
                    order,
                    items,
                    others: vec![other(vec![0, 1, 2]), other(vec![3, 4, 5])],
                    ..Traits::default()
                };
                let stage = Stage::new(traits, 12, Action::Assign, &["gold", "vip"], &[]);
                live(&stage, 2);
                assert_eq!(
                    stage.count(EntryState::Failed),
                    0,
                    "{items:?} {order:?} {handles:?}"
                );
            }
        }
    }
}

/// A replica answers for a while as if nobody had any status.
#[test]
fn a_stale_answer_takes_nothing_away() {
    for blank in [9, 2, 5, 60].into_iter().take(pick(1, 4, 4)) {
        for held in [&["vip"][..], &["staff", "vip"]] {
            if blank > 10 && held.len() == 1 {
                // Nobody has another status, so two looks are believed that lie ten seconds apart.
                continue;
            }
            for writes in [vec![], vec![Write::Lost], vec![Write::Unheard]] {
                let traits = Traits {
                    writes,
                    applying: vec![100 * SECOND],
                    blank: vec![Duration::from_millis(40)..blank * SECOND],
                    ..Traits::default()
                };
                let stage = Stage::new(traits, 6, Action::Remove, &["vip"], held);
                live(&stage, 2);
            }
        }
    }
}

/// Who has nothing else shows nothing, before and after. Somebody who has a status says which of the two it is; where
/// nobody does, and the tenant was never seen to be blank, two looks are believed.
#[test]
fn that_an_only_status_is_gone_is_witnessed_by_somebody_who_has_one() {
    for (bystander, blanks) in [(true, &[0, 60, 300][..]), (false, &[0])] {
        for &blank in blanks {
            let traits = Traits {
                applying: vec![100 * SECOND],
                blank: vec![Duration::from_millis(40)..Duration::from_millis(40) + blank * SECOND],
                bystander,
                ..Traits::default()
            };
            let stage = Stage::new(traits, 6, Action::Remove, &["vip"], &["vip"]);
            live(&stage, 2);
            let confirmed = stage.count(EntryState::Confirmed);
            assert_eq!(confirmed, 6, "{bystander} {blank}");
        }
    }
}

/// Another job has taken another status away for good: the answers that lack it are no late ones.
#[test]
fn who_has_lost_another_status_for_good_is_judged_in_the_end() {
    for members in [vec![0], vec![0, 1, 2, 3]] {
        let theft = Other {
            at: SECOND / 10,
            members,
            handles: vec!["staff"],
        };
        let traits = Traits {
            applying: vec![SECOND],
            thieves: vec![theft],
            ..Traits::default()
        };
        let stage = Stage::new(traits, 6, Action::Remove, &["vip"], &["staff", "vip"]);
        live(&stage, 1);
        assert_eq!(stage.count(EntryState::Confirmed), 6);
    }
}

// ---- accounted for

/// Polls say nothing, and what was accepted is applied by and by.
#[test]
fn who_does_not_show_it_yet_has_not_failed() {
    for poll in [
        Poll::Forbidden,
        Poll::WrongShape,
        Poll::Unreachable,
        Poll::Always(BatchProgress::Success),
        Poll::Always(BatchProgress::Failed),
        Poll::Always(BatchProgress::Unknown),
    ] {
        for in_halves in [SECOND, 30 * SECOND, 70 * SECOND] {
            let stage = assign(
                12,
                Traits {
                    poll,
                    in_halves,
                    applying: vec![3 * SECOND],
                    ..Traits::default()
                },
            );
            live(&stage, 1);
            assert_eq!(stage.count(EntryState::Confirmed), 12, "{poll:?} {in_halves:?}");
        }
    }
}

/// A replica is behind, and the tenant calls the batch failed, item by item or as a whole.
#[test]
fn what_is_called_a_failure_is_looked_at_until_it_can_no_longer_be_made() {
    for lag in [40, 5, 25, 60].into_iter().take(pick(1, 4, 4)) {
        for items in [Items::Missing, Items::Ours] {
            for blames in [true, false] {
                let poll = if blames {
                    Poll::Honest
                } else {
                    Poll::Always(BatchProgress::Failed)
                };
                let stage = assign(
                    12,
                    Traits {
                        poll,
                        blames,
                        items,
                        lag: lag * SECOND,
                        ..Traits::default()
                    },
                );
                live(&stage, 1);
                assert_eq!(stage.count(EntryState::Failed), 0, "{lag} {items:?} {blames}");
            }
        }
    }
}

// ---- every run ends

/// Whatever the polls say, the members are looked at, and the run ends long before the deadline.
#[test]
fn members_speak_where_the_tenant_says_nothing_or_for_ever_the_same() {
    for poll in [
        Poll::Always(BatchProgress::Unknown),
        Poll::Always(BatchProgress::Pending),
        Poll::Forbidden,
        Poll::WrongShape,
        Poll::Unreachable,
    ] {
        let stage = assign(
            30,
            Traits {
                poll,
                applying: vec![3 * SECOND],
                ..Traits::default()
            },
        );
        let outcome = stage.live(None).unwrap();
        stage.check();
        assert_eq!(stage.count(EntryState::Confirmed), 30, "{poll:?}: {outcome:?}");
        // Answers that are no answers make the gate slow down for everybody.
        let trouble = matches!(poll, Poll::WrongShape | Poll::Unreachable);
        let deadline = stage.settings.settle_deadline;
        let bound = if trouble { deadline } else { deadline / 3 };
        assert!(stage.age() < bound, "{poll:?}: {:?}", stage.age());
    }
}

/// What is called finished late, and then never shows, has no second deadline.
#[test]
fn one_deadline_bounds_the_waiting_for_the_word_and_for_what_shows() {
    let traits = Traits {
        applying: vec![800 * SECOND],
        lag: 100_000 * SECOND,
        ..Traits::default()
    };
    let stage = assign(3, traits);
    stage.live(None);
    let deadline = stage.settings.settle_deadline;
    assert!(stage.age() < deadline + deadline / 4, "{:?}", stage.age());
}

/// What never comes is waited for until the deadline.
#[test]
fn no_wait_is_without_end() {
    for poll in [
        Poll::Honest,
        Poll::Always(BatchProgress::Unknown),
        Poll::Always(BatchProgress::Pending),
        Poll::Always(BatchProgress::Success),
        Poll::Forbidden,
        Poll::WrongShape,
        Poll::Unreachable,
    ] {
        let writes = [vec![], vec![Write::Lost; 10], vec![Write::Unheard; 10]];
        for writes in writes.into_iter().take(pick(1, 3, 3)) {
            let stage = assign(
                9,
                Traits {
                    poll,
                    writes,
                    applying: vec![100_000 * SECOND],
                    order: Order::NewestFirst,
                    ..Traits::default()
                },
            );
            stage.live(None);
            let deadline = stage.settings.settle_deadline;
            assert!(stage.age() < deadline * 3, "{poll:?}: {:?}", stage.age());
            assert_eq!(stage.twice(), [], "{poll:?}");
        }
    }
}

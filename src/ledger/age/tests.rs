use super::*;
use crate::ledger::{AnswerRecord, Ledger, ListIdentity, Reader, Writer};
use crate::model::batch::BatchEvent;
use crate::model::ids::{BatchNo, EntryId, ProfileId};
use crate::model::lookup::Verdict;
use std::path::{Path, PathBuf};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A ledger with so many entries, and what a run does with it.
async fn after(folder: &Path, entries: i64, work: impl AsyncFnOnce(&Writer)) -> PathBuf {
    let path = folder.join("a.db");
    let mut ledger = Ledger::create(&path, "assign").unwrap();
    let mut loading = ledger.begin_load().unwrap();
    loading.begin_list("a.csv", "CSV").unwrap();
    for line in 1..=entries {
        let email = format!("p{line}@example.com");
        loading.email(line as u64, &email, &email).unwrap();
    }
    loading.end_list(&ListIdentity::default()).unwrap();
    loading.commit().unwrap();
    let writer = ledger.into_immediate_writer("assign").unwrap();
    let verdict = |id: i64| {
        // The last one leads to the profile of the first.
        let profile = ProfileId::new(format!("p{}", if id == entries { 1 } else { id }));
        (
            EntryId(id),
            Verdict::Resolved {
                profile,
                held: vec![],
            },
        )
    };
    writer
        .lookups((1..=entries).map(verdict).collect())
        .await
        .unwrap();
    work(&writer).await;
    path
}

/// Changes when everybody was looked up.
fn looked_up(path: &Path, ago: i64) {
    let connection = Connection::open(path).unwrap();
    let change = "UPDATE entry SET resolved_at = ?1 WHERE resolved_at IS NOT NULL";
    connection.execute(change, [now_ms() - ago]).unwrap();
}

fn forget(path: &Path, age: Duration) -> Forgotten {
    let mut ledger = Ledger::open(path, "resume").unwrap().unwrap();
    let mut loading = ledger.begin_load().unwrap();
    let forgotten = loading.forget_lookups(age).unwrap();
    loading.commit().unwrap();
    drop(ledger);
    for (what, wrong) in Reader::open(path).unwrap().contradictions_found().unwrap() {
        assert_eq!(wrong, 0, "{what}");
    }
    forgotten
}

fn states(path: &Path) -> [u64; 4] {
    let counts = Reader::open(path).unwrap().counts().unwrap();
    [
        EntryState::Pending,
        EntryState::Resolved,
        EntryState::Batched,
        EntryState::Skipped,
    ]
    .map(|state| counts.in_state(state))
}

#[tokio::test]
async fn what_is_too_old_or_not_yet_is_looked_up_again() {
    let hour = 3_600_000;
    for (ago, forgotten) in [(23 * hour, false), (25 * hour, true), (-hour, true)] {
        let folder = tempfile::tempdir().unwrap();
        let path = after(folder.path(), 4, async |_| {}).await;
        assert_eq!(states(&path), [0, 3, 0, 1]);
        looked_up(&path, ago);
        let found = forget(&path, DAY);
        let (entries, resolved) = if forgotten { (4, 0) } else { (0, 3) };
        assert_eq!(
            found,
            Forgotten {
                entries,
                resolved,
                batches: 0
            },
            "{ago}"
        );
        assert_eq!(
            states(&path),
            [entries, resolved, 0, u64::from(!forgotten)],
            "{ago}"
        );
    }
}

#[tokio::test]
async fn without_an_age_everything_is_looked_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = after(folder.path(), 4, async |writer| {
        assert_eq!(writer.seal(2).await.unwrap(), BatchNo(1));
    })
    .await;
    let found = forget(&path, Duration::ZERO);
    assert_eq!(
        found,
        Forgotten {
            entries: 4,
            resolved: 0,
            batches: 1
        }
    );
    assert_eq!(states(&path), [4, 0, 0, 0]);
}

#[tokio::test]
async fn a_sealed_batch_is_taken_apart_only_if_nothing_ever_left_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = after(folder.path(), 7, async |writer| {
        for _ in 0..3 {
            writer.seal(2).await.unwrap();
        }
        // One that was told to slow down is sealed again.
        let attempt = writer.depart(BatchNo(2)).await.unwrap();
        let answer = AnswerRecord {
            event: BatchEvent::Return,
            class: "slow_down",
            batch_id: None,
            detail: None,
        };
        writer.answer(BatchNo(2), attempt, answer).await.unwrap();
    })
    .await;
    looked_up(&path, 0);
    let connection = Connection::open(&path).unwrap();
    let old = now_ms() - 30 * 24 * 3_600_000;
    connection
        .execute("UPDATE entry SET resolved_at = ?1 WHERE id IN (1, 3)", [old])
        .unwrap();
    drop(connection);
    let found = forget(&path, DAY);
    // The first goes with the one that was skipped for its profile, and its neighbour waits for another batch.
    assert_eq!(
        found,
        Forgotten {
            entries: 2,
            resolved: 1,
            batches: 1
        }
    );
    assert_eq!(states(&path), [2, 1, 4, 0]);
    let batches = Reader::open(&path).unwrap().batches().unwrap();
    assert_eq!(batches.iter().map(|batch| batch.no.0).collect::<Vec<_>>(), [2, 3]);
}

/// One entry of each answer that leads to no request, and one that waits for a batch.
async fn answered(folder: &Path) -> PathBuf {
    after(folder, 2, async |_| {}).await;
    let path = folder.join("a.db");
    let mut ledger = Ledger::open(&path, "load").unwrap().unwrap();
    let mut loading = ledger.begin_load().unwrap();
    loading.begin_list("b.csv", "CSV").unwrap();
    for line in 1..=4 {
        let email = format!("q{line}@example.com");
        loading.email(line, &email, &email).unwrap();
    }
    let identity = ListIdentity {
        digest: [7; 32],
        ..ListIdentity::default()
    };
    loading.end_list(&identity).unwrap();
    loading.commit().unwrap();
    let writer = ledger.into_immediate_writer("assign").unwrap();
    let skip = |reason, profile: Option<&str>| Verdict::Skipped {
        reason,
        profile: profile.map(|id| (ProfileId::new(id), vec![])),
    };
    let verdicts = vec![
        (EntryId(3), skip(SkipReason::NotFound, None)),
        (EntryId(4), skip(SkipReason::AlreadyAssigned, Some("x"))),
        (EntryId(5), skip(SkipReason::NotAssigned, Some("y"))),
        (
            EntryId(6),
            Verdict::Ambiguous {
                candidates: vec![ProfileId::new("one"), ProfileId::new("other")],
            },
        ),
    ];
    writer.lookups(verdicts).await.unwrap();
    path
}

fn ambiguous(path: &Path) -> u64 {
    let counts = Reader::open(path).unwrap().counts().unwrap();
    counts.in_state(EntryState::Ambiguous)
}

#[tokio::test]
async fn answers_of_an_old_dry_run_are_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = answered(folder.path()).await;
    assert_eq!((states(&path), ambiguous(&path)), ([0, 1, 0, 4], 1));
    looked_up(&path, 0);
    assert_eq!(forget(&path, DAY).entries, 0);
    looked_up(&path, 25 * 3_600_000);
    let old = Reader::open(&path).unwrap().old_lookups(DAY).unwrap();
    assert_eq!((old.entries, old.resolved, old.batches), (6, 0, 0));
    assert_eq!(forget(&path, DAY), old, "what was announced");
    assert_eq!((states(&path), ambiguous(&path)), ([6, 0, 0, 0], 0));
    let candidates: u64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM candidate", [], |row| unsigned(row, 0))
        .unwrap();
    assert_eq!(candidates, 0);
    assert_eq!(forget(&path, DAY), Forgotten::default());
}

/// Else a job that takes days would look up the same people each day, and never end.
#[tokio::test]
async fn answers_stay_once_something_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let path = answered(folder.path()).await;
    let writer = Ledger::open(&path, "resume")
        .unwrap()
        .unwrap()
        .into_immediate_writer("resume")
        .unwrap();
    let no = writer.seal(1).await.unwrap();
    writer.depart(no).await.unwrap();
    drop(writer);
    looked_up(&path, 25 * 3_600_000);
    assert_eq!(Reader::open(&path).unwrap().old_lookups(DAY).unwrap().entries, 0);
    assert_eq!(forget(&path, DAY).entries, 0);
    assert_eq!((states(&path), ambiguous(&path)), ([0, 0, 1, 4], 1));
}

#[tokio::test]
async fn a_plan_counts_what_a_run_would_forget() {
    let folder = tempfile::tempdir().unwrap();
    let path = after(folder.path(), 5, async |writer| {
        writer.seal(2).await.unwrap();
        writer.seal(2).await.unwrap();
    })
    .await;
    looked_up(&path, 0);
    let connection = Connection::open(&path).unwrap();
    let old = now_ms() - 30 * 24 * 3_600_000;
    connection
        .execute("UPDATE entry SET resolved_at = ?1 WHERE id = 1", [old])
        .unwrap();
    drop(connection);
    let announced = Reader::open(&path).unwrap().old_lookups(DAY).unwrap();
    assert_eq!(
        announced,
        Forgotten {
            entries: 2,
            resolved: 1,
            batches: 1
        }
    );
    assert_eq!(forget(&path, DAY), announced);
}

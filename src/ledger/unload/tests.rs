//! A list that is taken out leaves the ledger as if it had never been there, but for what other lists share with it.

use super::*;
use crate::ledger::{ListIdentity, Reader};
use crate::model::ids::{Action, BatchNo, EntryId, Handle, Job, ProfileId};
use crate::model::lookup::Verdict;

fn ledger() -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::create(&folder.path().join("a.db"), "load").unwrap();
    (folder, ledger)
}

fn load(ledger: &mut Ledger, name: &str, written: &[&str]) {
    let mut loading = ledger.begin_load().unwrap();
    loading
        .begin_list_at(name, Some(&format!("/x/{name}")), "CSV")
        .unwrap();
    for (line, written) in written.iter().enumerate() {
        match *written {
            "" => loading.reject(line as u64 + 1, "empty", "no email", "").unwrap(),
            email => loading
                .email(line as u64 + 1, &email.to_lowercase(), email)
                .unwrap(),
        }
    }
    let digest = [name.as_bytes()[0]; 32];
    let identity = ListIdentity {
        digest,
        column: 1,
        ..ListIdentity::default()
    };
    loading.end_list(&identity).unwrap();
    loading.pin(&job(), true).unwrap();
    loading.commit().unwrap();
}

fn job() -> Job {
    Job {
        tenant: "https://api.acme.example/api/v3".into(),
        action: Action::Assign,
        handles: vec![Handle::new("vip")],
    }
}

/// All that a ledger says of its lists, without the numbers of entries, which depend on what was there before.
fn told(folder: &tempfile::TempDir) -> Vec<String> {
    let reader = Reader::open(&folder.path().join("a.db")).unwrap();
    let mut told: Vec<String> = reader
        .lists()
        .unwrap()
        .iter()
        .map(|list| format!("{} {:?}", list.name, list.counts))
        .collect();
    reader
        .each_entry(|row| {
            told.push(format!(
                "{} {:?} {} {} {} {}",
                row.email, row.written, row.list, row.line, row.occurrences, row.state
            ));
            Ok::<_, LedgerError>(())
        })
        .unwrap();
    reader
        .each_repeat(|row| {
            told.push(format!("{} {} {} {}", row.email, row.written, row.list, row.line));
            Ok::<_, LedgerError>(())
        })
        .unwrap();
    told.extend(reader.counts().unwrap().rows.iter().map(|row| format!("{row:?}")));
    for (what, times) in reader.contradictions_found().unwrap() {
        assert_eq!(times, 0, "{what}");
    }
    told.sort();
    told
}

#[test]
fn what_only_it_named_goes_and_what_others_share_stays() {
    let (folder, mut ledger) = ledger();
    load(
        &mut ledger,
        "a.csv",
        &["Ann@x.example", "bob@x.example", "", "ANN@x.example"],
    );
    load(
        &mut ledger,
        "b.csv",
        &["ANN@X.example", "cy@x.example", "ann@x.example", "bob@x.example"],
    );
    load(&mut ledger, "c.csv", &["aNN@x.example", "dan@x.example", ""]);
    let done = ledger.unload("a.csv", None).unwrap();
    assert_eq!((done.removed, done.kept, done.released), (0, 2, 0));
    assert_eq!(
        ledger.job().unwrap().unwrap().confirmed_entries,
        0,
        "consent is asked anew"
    );
    let (expected, mut fresh) = super::tests::ledger();
    load(
        &mut fresh,
        "b.csv",
        &["ANN@X.example", "cy@x.example", "ann@x.example", "bob@x.example"],
    );
    load(&mut fresh, "c.csv", &["aNN@x.example", "dan@x.example", ""]);
    drop((ledger, fresh));
    assert_eq!(told(&folder), told(&expected));
}

#[test]
fn a_list_that_is_taken_out_can_come_again() {
    let (folder, mut ledger) = ledger();
    load(&mut ledger, "a.csv", &["ann@x.example"]);
    load(&mut ledger, "b.csv", &["bob@x.example", "ann@x.example"]);
    let before = told(&folder);
    let done = ledger.unload("2", None).unwrap();
    assert_eq!(
        (done.list.name.as_str(), done.removed, done.kept),
        ("b.csv", 1, 0)
    );
    load(&mut ledger, "b.csv", &["bob@x.example", "ann@x.example"]);
    drop(ledger);
    assert_eq!(told(&folder), before);
}

fn resolved(profile: &str) -> Verdict {
    Verdict::Resolved {
        profile: ProfileId::new(profile),
        held: vec![],
    }
}

/// Looks two entries up that lead to one profile, and seals so many.
fn look_up(ledger: Ledger, seal: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let writer = ledger.into_immediate_writer("assign").unwrap();
        writer
            .lookups(vec![(EntryId(1), resolved("p1")), (EntryId(2), resolved("p1"))])
            .await
            .unwrap();
        if seal > 0 {
            assert_eq!(writer.seal(seal).await.unwrap(), BatchNo(1));
        }
    });
}

#[test]
fn who_was_skipped_for_one_that_goes_waits_again() {
    let (folder, mut ledger) = ledger();
    load(&mut ledger, "a.csv", &["ann@x.example"]);
    load(&mut ledger, "b.csv", &["ann.lee@x.example"]);
    look_up(ledger, 0);
    let mut ledger = Ledger::open(&folder.path().join("a.db"), "unload")
        .unwrap()
        .unwrap();
    let done = ledger.unload("a.csv", None).unwrap();
    assert_eq!((done.removed, done.released), (1, 1));
    drop(ledger);
    let told = told(&folder);
    assert!(
        told.contains(&"ann.lee@x.example None b.csv 1 1 pending".to_owned()),
        "{told:?}"
    );
}

#[test]
fn what_was_sealed_keeps_its_list() {
    let (folder, mut ledger) = ledger();
    load(&mut ledger, "a.csv", &["ann@x.example"]);
    load(&mut ledger, "b.csv", &["bob@x.example"]);
    look_up(ledger, 1);
    let before = told(&folder);
    let mut ledger = Ledger::open(&folder.path().join("a.db"), "unload")
        .unwrap()
        .unwrap();
    let refused = ledger.unload("/x/elsewhere/a.csv", Some("/x/a.csv")).unwrap_err();
    assert!(
        matches!(refused, UnloadError::Sent { entries: 1, .. }),
        "{refused}"
    );
    assert!(matches!(
        ledger.unload("d.csv", None),
        Err(UnloadError::Find(FindListError::Unknown { .. }))
    ));
    drop(ledger);
    assert_eq!(told(&folder), before);
    // The other one was only skipped, so it may go.
    let mut ledger = Ledger::open(&folder.path().join("a.db"), "unload")
        .unwrap()
        .unwrap();
    assert_eq!(ledger.unload("b.csv", None).unwrap().removed, 1);
}

#[test]
fn a_name_that_two_lists_bear_is_not_guessed() {
    let (_folder, mut ledger) = ledger();
    load(&mut ledger, "a.csv", &["ann@x.example"]);
    let mut loading = ledger.begin_load().unwrap();
    loading.begin_list_at("a.csv", Some("/y/a.csv"), "CSV").unwrap();
    loading.email(1, "bob@x.example", "bob@x.example").unwrap();
    loading.end_list(&ListIdentity::default()).unwrap();
    loading.commit().unwrap();
    match ledger.unload("a.csv", None) {
        Err(UnloadError::Find(FindListError::Ambiguous { lists, .. })) => assert_eq!(lists.len(), 2),
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(ledger.unload("/y/a.csv", None).unwrap().list.id, 2);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Whatever lists there are: without one of them the ledger is as if it had never been loaded.
    #[test]
    fn a_ledger_forgets_what_only_one_list_said(
        lists in proptest::collection::vec(proptest::collection::vec(0u8..24, 1..20), 2..5),
        which in 0usize..5,
    ) {
        let which = which % lists.len();
        let (folder, mut ledger) = ledger();
        let (expected, mut fresh) = super::tests::ledger();
        for (number, list) in lists.iter().enumerate() {
            let name = format!("{}.csv", char::from(b'a' + number as u8));
            let spell = |seed: &u8| match seed % 4 {
                0 => format!("p{}@x.example", seed / 4),
                1 => format!("P{}@x.example", seed / 4),
                2 => format!("P{}@X.example", seed / 4),
                _ => String::new(),
            };
            let rows: Vec<String> = list.iter().map(spell).collect();
            let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
            load(&mut ledger, &name, &rows);
            if number != which {
                load(&mut fresh, &name, &rows);
            }
        }
        ledger.unload(&(which + 1).to_string(), None).unwrap();
        drop((ledger, fresh));
        proptest::prop_assert_eq!(told(&folder), told(&expected));
    }
}

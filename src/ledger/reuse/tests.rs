use super::super::other::ENTRIES_A_LOOK;
use super::*;
use crate::ledger::{Ledger, ListIdentity, Reader};
use crate::model::ids::{Action, Handle, Job};
use std::path::Path;

const TENANT: &str = "https://acme.example/api/v3";
const DAY_MS: i64 = 86_400_000;
const TERMS: Terms = Terms {
    max_age: Duration::from_secs(7 * 86_400),
    not_found: false,
};

fn job(action: Action, handle: &str) -> Job {
    Job {
        tenant: TENANT.into(),
        action,
        handles: vec![Handle::new(handle)],
    }
}

fn load<'l>(ledger: &'l mut Ledger, emails: &[&str]) -> Loading<'l> {
    let mut loading = ledger.begin_load().unwrap();
    loading.begin_list("a.csv", "CSV").unwrap();
    for (line, email) in (1..).zip(emails) {
        loading.email(line, email, email).unwrap();
    }
    let identity = ListIdentity {
        digest: [1; 32],
        column: 1,
        ..ListIdentity::default()
    };
    loading.end_list(&identity).unwrap();
    loading
}

/// A ledger with a job, whose entries stand as these rows say: email, state, reason, profile, held, and how many
/// milliseconds ago it was looked up.
type Told = (
    &'static str,
    EntryState,
    &'static str,
    &'static str,
    &'static str,
    i64,
);

fn told(folder: &Path, job: &Job, rows: &[Told]) -> PathBuf {
    let path = folder.join("other.db");
    let mut ledger = Ledger::create(&path, "assign").unwrap();
    let emails: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let mut loading = load(&mut ledger, &emails);
    loading.pin(job, true).unwrap();
    loading.commit().unwrap();
    for (email, state, reason, profile, held, age) in rows {
        let told = "UPDATE entry SET state = ?2, reason = nullif(?3, ''), profile_id = nullif(?4, ''),
            held = nullif(?5, ''), resolved_at = ?6 WHERE email = ?1";
        let at = now_ms() - age;
        let row = params![email, state.code(), reason, profile, held, at];
        ledger.connection.execute(told, row).unwrap();
    }
    path
}

fn other(path: &Path) -> OtherLedger {
    OtherLedger::open(path, Path::new("own.db"), TENANT).unwrap()
}

/// Takes what is known about these emails into a new ledger: the numbers, and how each entry stands then.
fn taken(
    folder: &Path,
    from: &Path,
    emails: &[&str],
    (job, terms): (&Job, Terms),
) -> (Reused, Vec<(String, String)>) {
    let path = folder.join("own.db");
    let mut ledger = Ledger::create(&path, "assign").unwrap();
    let mut loading = load(&mut ledger, emails);
    let other = other(from);
    let offer = Offer::new(&other, job, terms);
    let reused = loading.reuse(&offer, &|| false).unwrap();
    assert_eq!(
        counted(folder, &offer, emails),
        reused.total(),
        "a plan counts as many"
    );
    assert_eq!(
        loading.pending().unwrap() + reused.total(),
        emails.len() as u64,
        "the plan counts what is left"
    );
    loading.commit().unwrap();
    drop(ledger);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.reused().unwrap(), reused.total());
    for (what, wrong) in reader.contradictions_found().unwrap() {
        assert_eq!(wrong, 0, "{what}");
    }
    let mut rows = Vec::new();
    reader
        .each_entry(|row| {
            let is_taken = row.reused.map_or("", |from| {
                assert_eq!(from.ledger.len(), 32);
                assert!(from.looked_up_at <= row.resolved_at.unwrap() + 120_000);
                "taken"
            });
            let stands = [
                row.state.as_str(),
                row.reason.unwrap_or(""),
                row.profile_id.unwrap_or(""),
                row.held.unwrap_or(""),
                is_taken,
            ];
            rows.push((row.email.to_owned(), stands.join(" ").trim_end().to_owned()));
            Ok::<_, LedgerError>(())
        })
        .unwrap();
    (reused, rows)
}

/// How many a plan counts, of entries that wait in a ledger and, one by one, of emails that stand in none.
fn counted(folder: &Path, offer: &Offer<'_>, emails: &[&str]) -> u64 {
    let path = folder.join("planned.db");
    let mut ledger = Ledger::create(&path, "load").unwrap();
    load(&mut ledger, emails).commit().unwrap();
    let waiting = Reader::open(&path).unwrap().reusable(offer, &|| false).unwrap();
    let mut named = Reused::default();
    for email in emails {
        let before = named.total();
        let is_taken = offer.count(email, &mut named).unwrap();
        assert_eq!(is_taken, named.total() > before, "{email}");
    }
    assert_eq!(waiting, named);
    named.total()
}

#[test]
fn only_what_is_certain_and_leads_to_sending_is_taken() {
    use EntryState as S;
    let folder = tempfile::tempdir().unwrap();
    let from = told(
        folder.path(),
        &job(Action::Assign, "vip"),
        &[
            ("resolved@example.com", S::Resolved, "", "p1", r#"["old"]"#, 5),
            ("confirmed@example.com", S::Confirmed, "", "p2", "[]", 5),
            (
                "holds@example.com",
                S::Skipped,
                "already_assigned",
                "p3",
                r#"["vip"]"#,
                5,
            ),
            ("gold@example.com", S::Resolved, "", "p4", r#"["gold"]"#, 5),
            ("same@example.com", S::Skipped, "same_profile", "p1", "[]", 5),
            ("batched@example.com", S::Batched, "", "p6", "[]", 5),
            ("failed@example.com", S::Failed, "not_confirmed", "p7", "[]", 5),
            ("several@example.com", S::Ambiguous, "", "", "", 5),
            ("nobody@example.com", S::Skipped, "not_found", "", "", 5),
            (
                "twin@example.com",
                S::Skipped,
                "already_assigned",
                "p2",
                r#"["vip"]"#,
                5,
            ),
            ("stranger@example.com", S::Resolved, "", "p9", "[]", 5),
        ],
    );
    let emails = [
        "gold@example.com",
        "several@example.com",
        "resolved@example.com",
        "confirmed@example.com",
        "holds@example.com",
        "twin@example.com",
        "same@example.com",
        "batched@example.com",
        "failed@example.com",
        "nobody@example.com",
        "new@example.com",
    ];
    let gold = job(Action::Assign, "gold");
    let (reused, rows) = taken(folder.path(), &from, &emails, (&gold, TERMS));
    let stands: Vec<_> = rows.iter().map(|row| row.1.as_str()).collect();
    assert_eq!(
        stands,
        [
            "pending",
            "pending",
            r#"resolved  p1 ["old"] taken"#,
            r#"resolved  p2 ["vip"] taken"#,
            r#"resolved  p3 ["vip"] taken"#,
            r#"skipped same_profile p2 ["vip"] taken"#,
            "pending",
            "pending",
            "pending",
            "pending",
            "pending",
        ]
    );
    let numbers = (reused.resolved, reused.same_profile, reused.not_found);
    assert_eq!(numbers, (3, 1, 0));
}

#[test]
fn what_that_job_changed_is_judged_as_it_is_now() {
    use EntryState as S;
    let rows = [
        ("had@example.com", S::Confirmed, "", "p1", r#"["vip","x"]"#, 5),
        ("has@example.com", S::Resolved, "", "p2", r#"["vip"]"#, 5),
    ];
    for (action, expected) in [
        (Action::Assign, [r#"resolved  p1 ["x"] taken"#, "pending"]),
        (Action::Remove, ["pending", r#"resolved  p2 ["vip"] taken"#]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let from = told(folder.path(), &job(Action::Remove, "vip"), &rows);
        let emails = [rows[0].0, rows[1].0];
        let (_, rows) = taken(folder.path(), &from, &emails, (&job(action, "vip"), TERMS));
        assert_eq!([rows[0].1.as_str(), rows[1].1.as_str()], expected, "{action}");
    }
}

#[test]
fn not_found_is_taken_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let vip = job(Action::Assign, "vip");
    let nobody = ("n@example.com", EntryState::Skipped, "not_found", "", "", 5);
    let from = told(folder.path(), &vip, &[nobody]);
    let terms = Terms {
        not_found: true,
        ..TERMS
    };
    let (reused, rows) = taken(folder.path(), &from, &["n@example.com"], (&vip, terms));
    assert_eq!((reused.not_found, reused.total()), (1, 1));
    assert_eq!(rows[0].1, "skipped not_found   taken");
}

#[test]
fn neither_the_old_nor_the_future_is_taken() {
    let row = |email, age| (email, EntryState::Resolved, "", email, "[]", age);
    let rows = [
        row("young@example.com", 6 * DAY_MS),
        row("old@example.com", 8 * DAY_MS),
        row("ahead@example.com", -60_000),
        row("future@example.com", -3_600_000),
    ];
    let folder = tempfile::tempdir().unwrap();
    let vip = job(Action::Assign, "vip");
    let from = told(folder.path(), &vip, &rows);
    let (reused, stands) = taken(folder.path(), &from, &rows.map(|row| row.0), (&vip, TERMS));
    assert_eq!((reused.resolved, reused.ahead), (2, 1));
    let taken: Vec<_> = stands.iter().map(|row| row.1.ends_with("taken")).collect();
    assert_eq!(taken, [true, false, true, false]);
}

#[test]
fn what_was_taken_over_there_grows_no_younger() {
    let folder = tempfile::tempdir().unwrap();
    let vip = job(Action::Assign, "vip");
    let from = told(
        folder.path(),
        &vip,
        &[("a@example.com", EntryState::Resolved, "", "p1", "[]", 5)],
    );
    let eight_days_ago = now_ms() - 8 * DAY_MS;
    Connection::open(&from)
        .unwrap()
        .execute("UPDATE entry SET reused = ?1, reuse = 1", params![eight_days_ago])
        .unwrap();
    let (reused, _) = taken(folder.path(), &from, &["a@example.com"], (&vip, TERMS));
    assert_eq!(reused.total(), 0);
}

#[test]
fn an_older_ledger_serves_as_well_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let mut connection = Connection::open(&path).unwrap();
    let before = &super::super::migrate::MIGRATIONS[..3];
    super::super::migrate::migrate(&mut connection, 0, before).unwrap();
    let handles = r#"["vip"]"#;
    connection
        .execute(
            "INSERT INTO job (only_row, tenant, action, handles, pinned_at) VALUES (1, ?1, 'assign', ?2, 0)",
            params![TENANT, handles],
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO entry (email, list, line, state, profile_id, held, resolved_at)
             VALUES ('a@example.com', 1, 1, 1, 'p1', '[]', ?1)",
            params![now_ms()],
        )
        .unwrap();
    drop(connection);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let vip = job(Action::Assign, "vip");
    let (reused, _) = taken(folder.path(), &path, &["a@example.com"], (&vip, TERMS));
    assert_eq!(reused.resolved, 1);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_copy_an_adopted_ledger_and_a_stop_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vip = job(Action::Assign, "vip");
    let rows = [("a@example.com", EntryState::Resolved, "", "p1", "[]", 5)];
    let from = told(folder.path(), &vip, &rows);
    let own = folder.path().join("own.db");
    let mut ledger = Ledger::create(&own, "assign").unwrap();
    load(&mut ledger, &["a@example.com"]).commit().unwrap();
    let mut refusal = |sql: &str| {
        ledger.connection.execute_batch(sql).unwrap();
        let mut loading = ledger.begin_load().unwrap();
        let other = other(&from);
        let offer = Offer::new(&other, &vip, TERMS);
        let refused = loading.reuse(&offer, &|| true).unwrap_err();
        drop(loading);
        let planned = Reader::open(&own)
            .unwrap()
            .reusable(&offer, &|| true)
            .unwrap_err();
        assert_eq!(planned.to_string(), refused.to_string());
        refused
    };
    let id = other(&from).id;
    let renamed = "UPDATE meta SET ledger_id = 'own'";
    assert!(matches!(
        refusal(&format!("UPDATE meta SET ledger_id = '{id}'")),
        ReuseError::Copy(_)
    ));
    let adopted = format!("{renamed}; INSERT INTO adoption (why, adopted_at) VALUES ('moved', 0)");
    assert!(matches!(refusal(&adopted), ReuseError::Adopted));
}

#[test]
fn nothing_is_kept_of_a_load_that_was_stopped_while_it_took_over() {
    let folder = tempfile::tempdir().unwrap();
    let vip = job(Action::Assign, "vip");
    let emails: Vec<String> = (0..ENTRIES_A_LOOK).map(|n| format!("p{n}@example.com")).collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let from = folder.path().join("other.db");
    let mut ledger = Ledger::create(&from, "assign").unwrap();
    let mut loading = load(&mut ledger, &emails);
    loading.pin(&vip, true).unwrap();
    loading.commit().unwrap();
    let told = "UPDATE entry SET state = 1, profile_id = 'p' || id, held = '[]', resolved_at = ?1";
    ledger.connection.execute(told, params![now_ms()]).unwrap();
    let mut own = Ledger::create(&folder.path().join("own.db"), "assign").unwrap();
    let mut loading = load(&mut own, &emails);
    let other = other(&from);
    let stopped = loading.reuse(&Offer::new(&other, &vip, TERMS), &|| true);
    assert!(matches!(stopped, Err(ReuseError::Stopped)));
    drop(loading);
    assert_eq!(own.counts().unwrap().total(), 0);
    let indexes = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'entry'";
    let indexes: i64 = own.connection.query_row(indexes, [], |row| row.get(0)).unwrap();
    assert_eq!(indexes, 5);
}

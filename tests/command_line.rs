//! What people read, word for word, and the exit codes that scripts rely on.

use crate::support::{Ran, Scene, TOKEN, check_doctor, options, tame};
use insta::assert_snapshot;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const LIST: &str = "\
name,email
Yara,yara.price@example.com
Yara again, YARA.PRICE@example.com
Liam,liam-perkins@example.com
Edgar,edgar.owens@example.net
Lena,lena.wood@example.com
Nobody,nobody@example.org
Typo,yara.price.example.com
Empty,
";

/// A tenant where Yara and Lena need the status, Liam holds it, and two profiles bear Edgar's address.
fn small() -> Scene {
    let scene = Scene::with(options());
    let tenant = scene.tenant();
    tenant.set_statuses(&tenant.person(1).profile_id, vec!["vip".into()]);
    tenant.set_email(&tenant.person(5).profile_id, "edgar.owens@example.net");
    scene.write("list.csv", LIST);
    scene
}

/// The small job, done.
fn done() -> Scene {
    let scene = small();
    scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "--rate",
            "unlimited",
            "--yes",
            "list.csv",
        ])
        .expect(0);
    scene
}

fn writes(scene: &Scene) -> usize {
    scene.tenant().writes().len()
}

#[test]
fn the_help_fits_on_a_screen() {
    let short = Scene::offline().run(&["-h"]).expect(0);
    assert!(short.stdout.lines().count() <= 50, "{}", short.stdout);
    let ran = Scene::offline().run(&["--help"]).expect(0);
    assert_snapshot!(ran.stdout, @r"
    Examples:
      rollbook demo                                    see it all on an embedded tenant
      export OMNEO_TENANT=acme OMNEO_TOKEN=...
      rollbook assign --status vip --dry-run list.csv  look everybody up, send nothing
      rollbook resume --limit 10                       send to the first ten, then check them
      rollbook resume                                  send the rest; goes on after anything
      rollbook export -o audit.csv                     what became of every line

    Assign statuses to customer profiles in bulk: resumable, audited, never twice

    Usage: rollbook [OPTIONS] <COMMAND>

    Commands:
      demo      See it all on an embedded tenant: list, assign, kill, resume, export
      load      Read lists into the ledger; contacts nobody
      lists     The lists in the ledger, with their counts and how they were read
      unload    Take a list out of the ledger again, unless something of it was sent
      plan      What a run would take: requests, time, and when it would be done
      assign    Give a status to every profile on the lists; the same command again goes on
      remove    Take a status from every profile on the lists that has it
      resume    Go on with the ledger's job, after anything
      status    How the job stands, and a run beside it
      export    What became of every line, as CSV or JSON lines
      show      The whole story of one email, profile, line or batch
      batches   The batches, one a line; or the members of one
      runs      The runs, one a line: when, how they ended, and their options
      verify    Look at confirmed profiles again: does everybody still have it?
      settle    Rule on a batch that no evidence decides; `resume` acts on it
      statuses  The statuses that the tenant defines
      doctor    Check the ledger, and the connection where one is set
      sandbox   Serve the embedded tenant, on this machine only
      help      Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Global options:
          --ledger <PATH>
              The ledger: one file, one job [env: ROLLBOOK_LEDGER] [default: rollbook.db]

          --progress <HOW>
              Progress on stderr: auto, bar, plain, json or none [default: auto]

      -q, --quiet
              Show nothing but errors, and the answer that was asked for

      -v, --verbose
              Show every batch

          --log <FILE>
              Add to a log what was asked, and why it waits; ROLLBOOK_LOG=debug: each request, no emails

          --log-format <HOW>
              The log as text or json, one object a line [default: text]

    Exit codes:
      0 done   1 unexpected   2 usage   3 done, but something failed or awaits a ruling
      4 stopped before the end, `rollbook resume` goes on
      5 refused before anything was sent   6 ledger locked, damaged, newer or of another job
    ");
}

#[test]
fn load_says_what_became_of_each_row() {
    let scene = Scene::offline();
    scene.write("list.csv", LIST);
    let ran = scene.run(&["load", "list.csv"]).expect(0);
    assert_snapshot!(ran.stderr, @r"list.csv: 8 rows = 5 new entries + 1 repeat + 2 rejected (CSV; column 2, header: email)");
    assert_snapshot!(ran.stdout, @r"
    Lists     list.csv
    Rows      8 = 5 entries + 1 repeat + 2 rejected

      pending         5
      confirmed       0
      failed          0
      ─────────────────
      entries         5

    Next      rollbook assign --status HANDLE   begins
    ");
    let again = scene.run(&["load", "list.csv"]).expect(0);
    assert_snapshot!(again.stderr, @r"list.csv: already in the ledger, nothing to add");
    assert_eq!(again.stdout, ran.stdout);
}

#[test]
fn assign_says_what_it_will_do_and_how_it_ended() {
    let scene = small();
    let ran = scene
        .run(&["assign", "--status", "vip", "--yes", "list.csv"])
        .expect(0);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    list.csv: 8 rows = 5 new entries + 1 repeat + 2 rejected (CSV; column 2, header: email)

    Plan      assign vip
    at        https://tenant.example/api/v3
    ledger    rollbook.db
    list      list.csv: 8 rows = 5 entries + 1 repeat + 2 rejected
    entries   5 entries to look up, at most 5 profiles to send in batches of 300

      looking up        5   one by one
      sending           1
      polling           2
      reading back      2
      other             4
      ───────────────────
      requests         14   about 1 s at 10/s, done at 12:00 UTC
    ");
    assert_snapshot!(tame(&scene, &ran.stdout), @r"
    Job       assign vip at https://tenant.example/api/v3
    Lists     list.csv
    Rows      8 = 5 entries + 1 repeat + 2 rejected

      confirmed       2   2 seen
      skipped         2   1 already_assigned · 1 not_found
      ambiguous       1
      failed          0
      ─────────────────
      entries         5

    Batches   1 settled
    Next      rollbook export --rows rejected         the rejected rows
              rollbook export -o rollbook.audit.csv   what became of each entry
    ");
}

#[test]
fn nothing_is_sent_or_kept_that_nobody_confirmed() {
    let scene = small();
    let ran = scene
        .run(&["assign", "--status", "vip", "list.csv"])
        .refused(5, &["--yes", "--dry-run"]);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    list.csv: 8 rows = 5 new entries + 1 repeat + 2 rejected (CSV; column 2, header: email)

    Plan      assign vip
    at        https://tenant.example/api/v3
    ledger    rollbook.db
    list      list.csv: 8 rows = 5 entries + 1 repeat + 2 rejected
    entries   5 entries to look up, at most 5 profiles to send in batches of 300

      looking up        5   one by one
      sending           1
      polling           2
      reading back      2
      other             4
      ───────────────────
      requests         14   about 1 s at 10/s, done at 12:00 UTC

    error: somebody has to say yes to this, and there is no terminal to ask on
    hint: nothing was sent, and nothing was kept in the ledger
    hint: add --yes to go ahead, or --dry-run to send nothing
    ");
    assert_eq!(writes(&scene), 0);
    assert_eq!(scene.names(), ["list.csv"]);
}

#[test]
fn an_unconfirmed_list_leaves_an_existing_ledger_as_it_was() {
    let scene = small();
    scene.write("first.txt", "ann@example.com\n");
    scene.run(&["load", "first.txt"]).expect(0);
    let before = scene.status();
    scene
        .run(&["assign", "--status", "vip", "list.csv"])
        .refused(5, &["--yes"]);
    assert_eq!(scene.status(), before);
    assert_eq!(
        before["action"],
        Value::Null,
        "and the ledger is still free for any job"
    );
    scene
        .run(&["remove", "--status", "gold", "--rate", "unlimited", "--yes"])
        .expect(0);
}

#[test]
fn a_later_list_needs_a_yes_of_its_own() {
    let scene = done();
    let before = scene.status();
    scene.write("more.txt", format!("{}\n", scene.tenant().person(7).email));
    scene
        .run(&["assign", "--status", "vip", "more.txt"])
        .refused(5, &["--yes"]);
    assert_eq!((scene.status(), writes(&scene)), (before, 1));
}

#[test]
fn status_shows_the_same_table_later() {
    let scene = done();
    let ran = scene.run(&["status"]).expect(0);
    assert_snapshot!(tame(&scene, &ran.stdout), @r"
    Job       assign vip at https://tenant.example/api/v3
    Options   --rate unlimited
    Lists     list.csv
    Rows      8 = 5 entries + 1 repeat + 2 rejected

      confirmed       2   2 seen
      skipped         2   1 already_assigned · 1 not_found
      ambiguous       1
      failed          0
      ─────────────────
      entries         5

    Batches   1 settled
    Next      rollbook export --rows rejected         the rejected rows
              rollbook export -o rollbook.audit.csv   what became of each entry
    ");
    assert_eq!(ran.stderr, "");
}

#[test]
fn status_as_json_adds_up() {
    let scene = done();
    let status = scene.status();
    let sum = |object: &Value| -> u64 {
        let numbers = object.as_object().unwrap().values();
        numbers.map(|number| number.as_u64().unwrap()).sum()
    };
    let number = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(
        number("rows"),
        number("entries") + number("repeats") + number("rejected")
    );
    assert_eq!(number("entries"), sum(&status["states"]));
    assert_eq!(sum(&status["batches"]), 1);
    assert_eq!(status["lists"][0]["rows"], status["rows"]);
    assert_eq!(status["finished"], true);
    assert_eq!(status["handles"], serde_json::json!(["vip"]));
    assert_eq!(status["states"]["confirmed"], 2);
    assert_eq!(status["reasons"]["not_found"], 1);
}

#[test]
fn the_final_summary_as_json_is_that_of_status_and_tells_of_the_run() {
    let scene = small();
    let ran = scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "--rate",
            "unlimited",
            "--yes",
            "--json",
            "list.csv",
        ])
        .expect(0);
    let mut summary = serde_json::from_str::<Value>(&ran.stdout).unwrap();
    let run = summary.as_object_mut().unwrap().remove("run").unwrap();
    assert_eq!(summary, scene.status());
    assert_eq!(run["requests"], scene.tenant().requests().len());
    let causes = run["seconds_by_cause"].as_object().unwrap().values();
    let sum: f64 = causes.map(|seconds| seconds.as_f64().unwrap()).sum();
    let seconds = |field: &str| run[field].as_f64().unwrap();
    assert!((sum - seconds("seconds")).abs() < 1e-6, "{run}");
    let whole = seconds("seconds_before") + seconds("seconds");
    assert!((whole - seconds("seconds_in_all")).abs() < 1e-6, "{run}");
}

#[test]
fn the_time_of_a_command_is_told_from_its_start_to_its_end() {
    let scene = Scene::with(rollbook::sandbox::Options {
        latency: std::time::Duration::from_millis(400),
        ..options()
    });
    scene.write("list.csv", LIST);
    let began = std::time::Instant::now();
    let job = [
        "assign",
        "--status",
        "vip",
        "--yes",
        "--json",
        "--progress",
        "json",
        "list.csv",
    ];
    let ran = scene.run(&job).expect(0);
    let passed = began.elapsed().as_secs_f64();
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let run = &summary["run"];
    let (before, whole) = (
        run["seconds_before"].as_f64().unwrap(),
        run["seconds_in_all"].as_f64().unwrap(),
    );
    assert!(
        before >= 3.0 * 0.4,
        "three questions come before any run, one after the other: {run}"
    );
    assert!(whole <= passed, "{run}");
    let mut ended: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    let ended_at = ended.as_object_mut().unwrap();
    assert_eq!(ended_at.remove("event").unwrap(), "ended");
    assert!(ended_at.remove("at").is_some() && ended_at.remove("schema_version").is_some());
    assert_eq!(ended, *run);
}

#[test]
fn batches_are_listed_one_a_line() {
    let scene = done();
    let ran = scene.run(&["batches"]).expect(0);
    assert_snapshot!(tame(&scene, &ran.stdout), @r"
    BATCH  STATE     MEMBERS  TRIES  SENT (UTC)           BATCH ID                              NOTE
        1  settled         2      1  2026-01-31 12:00:00  00000000-0000-0000-0000-000000000001
    ");
    let json = scene.run(&["batches", "--json"]).expect(0);
    let batch: Value = serde_json::from_str(json.stdout.trim_end()).unwrap();
    assert_eq!(batch["batch_id"], scene.tenant().writes()[0].batch_id);
    assert_eq!(
        (&batch["members"], &batch["attempts"]),
        (&Value::from(2), &Value::from(1))
    );
    let empty = Scene::offline();
    empty.write("list.csv", LIST);
    empty.run(&["load", "list.csv"]).expect(0);
    assert_snapshot!(empty.run(&["batches"]).expect(0).stdout, @r"No batches yet.");
}

#[test]
fn the_tenants_statuses_are_listed() {
    let scene = Scene::with(rollbook::sandbox::Options {
        statuses: ["vip", "gold", "early_access"].map(str::to_owned).to_vec(),
        ..options()
    });
    assert_snapshot!(scene.run(&["statuses"]).expect(0).stdout, @r"
    early_access  Early Access
    gold          Gold
    vip           Vip
    ");
    assert_snapshot!(scene.run(&["statuses", "--json"]).expect(0).stdout, @r#"
    {"handle":"early_access","name":"Early Access","schema_version":1}
    {"handle":"gold","name":"Gold","schema_version":1}
    {"handle":"vip","name":"Vip","schema_version":1}
    "#);
}

#[test]
fn the_export_says_what_became_of_every_entry() {
    let scene = done();
    let ran = scene.run(&["export"]).expect(0);
    assert_snapshot!(tame(&scene, &ran.stdout), @r"
    email,state,reason,profile_id,batch,batch_id,evidence,list,line,occurrences,candidates,written,held_before,rung,detail,resolved_at,sent_at,settled_at,ruling,reused
    yara.price@example.com,confirmed,,0e2d92be-980d-48c5-a1ee-3b1349ecd451,1,00000000-0000-0000-0000-000000000001,seen,list.csv,2,2,,yara.price@example.com,,,,2026-01-31T12:00:00Z,2026-01-31T12:00:00Z,2026-01-31T12:00:00Z,,
    liam-perkins@example.com,skipped,already_assigned,09720601-6384-4313-b7c1-bd6b1d089f29,,,,list.csv,4,1,,liam-perkins@example.com,vip,,,2026-01-31T12:00:00Z,,,,
    edgar.owens@example.net,ambiguous,,,,,,list.csv,5,1,05fdf553-e737-439a-932f-aafe60c41db0 11242463-cad4-4396-8ad5-6f8acf6334cd,edgar.owens@example.net,,,,2026-01-31T12:00:00Z,,,,
    lena.wood@example.com,confirmed,,3fcd3ff0-b658-4b55-aa18-aff035c6184d,1,00000000-0000-0000-0000-000000000001,seen,list.csv,6,1,,lena.wood@example.com,,,,2026-01-31T12:00:00Z,2026-01-31T12:00:00Z,2026-01-31T12:00:00Z,,
    nobody@example.org,skipped,not_found,,,,,list.csv,7,1,,nobody@example.org,,,,2026-01-31T12:00:00Z,,,,
    ");
    assert_eq!(ran.stderr, "");
}

#[test]
fn the_export_comes_as_json_lines_too() {
    let scene = done();
    let ran = scene.run(&["export", "--format", "jsonl"]).expect(0);
    assert_snapshot!(tame(&scene, ran.stdout.lines().next().unwrap()), @r#"{"email":"yara.price@example.com","state":"confirmed","reason":null,"profile_id":"0e2d92be-980d-48c5-a1ee-3b1349ecd451","batch":1,"batch_id":"00000000-0000-0000-0000-000000000001","evidence":"seen","list":"list.csv","line":2,"occurrences":2,"candidates":[],"written":"yara.price@example.com","held_before":[],"rung":null,"detail":null,"resolved_at":"2026-01-31T12:00:00Z","sent_at":"2026-01-31T12:00:00Z","settled_at":"2026-01-31T12:00:00Z","ruling":null,"reused":null}"#);
    let csv = scene.run(&["export"]).expect(0).stdout;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let columns: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    for line in ran.stdout.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        let mut keys: Vec<&String> = object.as_object().unwrap().keys().collect();
        let mut wanted: Vec<&String> = columns.iter().collect();
        keys.sort();
        wanted.sort();
        assert_eq!(keys, wanted);
    }
    assert_eq!(ran.stdout.lines().count(), reader.records().count());
}

#[test]
fn the_rejected_rows_are_exported_with_line_and_reason() {
    let scene = Scene::offline();
    scene.write("list.csv", LIST);
    scene.run(&["load", "list.csv"]).expect(0);
    let ran = scene.run(&["export", "--rows", "rejected"]).expect(0);
    assert_snapshot!(ran.stdout, @r#"
    email,state,reason,profile_id,batch,batch_id,evidence,list,line,occurrences,candidates,written,held_before,rung,detail,resolved_at,sent_at,settled_at,ruling,reused
    yara.price.example.com,rejected,invalid_email,,,,,list.csv,8,,,,,,no @,,,,,
    "Empty,",rejected,empty,,,,,list.csv,9,,,,,,the email cell is empty,,,,,
    "#);
    let all = scene.run(&["export", "--rows", "all"]).expect(0);
    assert_eq!(
        all.stdout.lines().count(),
        1 + 5 + 1 + 2,
        "a line for every row of the list"
    );
}

#[test]
fn an_exported_cell_is_never_run_as_a_formula() {
    let scene = Scene::offline();
    scene.write(
        "list.csv",
        "email\n=cmd|'/c calc'!A0\n+sum@example.com\n-x@example.com\n",
    );
    scene.run(&["load", "list.csv"]).expect(0);
    let ran = scene.run(&["export", "--rows", "all"]).expect(0);
    let mut reader = csv::Reader::from_reader(ran.stdout.as_bytes());
    for record in reader.records() {
        for cell in &record.unwrap() {
            assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell}");
        }
    }
}

#[test]
fn an_export_file_is_private_and_appears_complete() {
    let scene = done();
    let stdout = scene.run(&["export"]).expect(0).stdout;
    scene.write("audit.csv", "what stood there before");
    let ran = scene.run(&["export", "--force", "-o", "audit.csv"]).expect(0);
    assert_snapshot!(ran.stderr, @r"audit.csv: 5 rows");
    assert_eq!(ran.stdout, "");
    assert_eq!(std::fs::read_to_string(scene.path("audit.csv")).unwrap(), stdout);
    let mode = std::fs::metadata(scene.path("audit.csv"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let names = scene.names();
    let left: Vec<&String> = names
        .iter()
        .filter(|name| !name.starts_with("rollbook.db"))
        .collect();
    assert_eq!(left, ["audit.csv", "list.csv"], "no partial file stays behind");
}

#[test]
fn an_export_that_cannot_be_written_leaves_what_was_there() {
    let scene = done();
    scene
        .run(&["export", "-o", "none/audit.csv"])
        .refused(2, &["none/audit.csv"]);
    let list: String = (0..2_000).map(|n| format!("n{n}@example.com\n")).collect();
    scene.write("list.txt", list);
    scene.run(&["load", "--ledger", "large.db", "list.txt"]).expect(0);
    scene.write("audit.csv", "what stood there before");
    let arguments = ["export", "--ledger", "large.db", "--force", "-o", "audit.csv"];
    scene
        .run_with_files_limited(100, &arguments)
        .refused(1, &["cannot write"]);
    assert_eq!(
        std::fs::read_to_string(scene.path("audit.csv")).unwrap(),
        "what stood there before"
    );
    assert!(
        scene
            .names()
            .iter()
            .all(|name| !name.contains("partial") && !name.contains("tmp"))
    );
}

#[test]
fn a_typo_in_the_handle_is_caught_before_anything_is_made() {
    let scene = small();
    let ran = scene
        .run(&["assign", "--status", "vipp", "--yes", "list.csv"])
        .refused(5, &["did you mean"]);
    assert_snapshot!(ran.stderr, @r"
    error: the tenant has no status with the handle `vipp`
    hint: did you mean `vip`?
    hint: `rollbook statuses` lists what the tenant defines; an unknown handle would silently do nothing
    ");
    assert_eq!(scene.names(), ["list.csv"]);
    assert_eq!(writes(&scene), 0);
}

#[test]
fn two_swapped_letters_are_a_typo_too() {
    let scene = small();
    scene
        .run(&["assign", "--status", "vpi", "--yes", "list.csv"])
        .refused(5, &["did you mean `vip`"]);
}

#[test]
fn a_handle_in_another_case_is_another_handle() {
    let scene = small();
    scene
        .run(&["assign", "--status", "VIP", "--yes", "list.csv"])
        .refused(5, &["did you mean `vip`"]);
}

#[test]
fn a_ledger_is_one_job() {
    let scene = done();
    let requests = scene.tenant().requests().len();
    let other = |arguments: &[&str]| scene.run(arguments).refused(6, &["--ledger"]);
    let ran = other(&["assign", "--status", "gold", "--yes", "list.csv"]);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    error: this ledger belongs to another job: it will assign vip at https://tenant.example/api/v3, but was asked to assign gold at https://tenant.example/api/v3
    hint: a ledger is one job: give this one its own with --ledger PATH
    ");
    let ran = other(&["remove", "--status", "vip", "--yes", "list.csv"]);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    error: this ledger belongs to another job: it will assign vip at https://tenant.example/api/v3, but was asked to remove vip at https://tenant.example/api/v3
    hint: a ledger is one job: give this one its own with --ledger PATH
    ");
    let ran = other(&["assign", "--status", "vip,gold", "--yes", "list.csv"]);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    error: this ledger belongs to another job: it will assign vip at https://tenant.example/api/v3, but was asked to assign gold, vip at https://tenant.example/api/v3
    hint: a ledger is one job: give this one its own with --ledger PATH
    ");
    let elsewhere = "http://127.0.0.1:9/api/v3";
    let moved = ["assign", "--status", "vip", "--base-url", elsewhere, "list.csv"];
    let ran = other(&moved);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    error: this ledger belongs to another job: it will assign vip at https://tenant.example/api/v3, but was asked to assign vip at http://127.0.0.1:9/api/v3
    hint: a ledger is one job: give this one its own with --ledger PATH
    ");
    let ran = other(&["resume", "--base-url", elsewhere]);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    error: this ledger belongs to another job: it will assign vip at https://tenant.example/api/v3, but was asked to assign vip at http://127.0.0.1:9/api/v3
    hint: a ledger is one job: give this one its own with --ledger PATH
    ");
    assert_eq!(scene.tenant().requests().len(), requests, "nobody was asked");
}

#[test]
fn resuming_needs_something_to_resume() {
    let scene = small();
    let ran = scene.run(&["resume"]).refused(2, &[]);
    assert_snapshot!(ran.stderr, @r"
    error: there is no ledger at rollbook.db
    hint: `rollbook assign --status HANDLE LIST` makes one; --ledger PATH names another
    ");
    assert_eq!(scene.names(), ["list.csv"]);
    scene.run(&["load", "list.csv"]).expect(0);
    let ran = scene.run(&["resume"]).refused(2, &[]);
    assert_snapshot!(ran.stderr, @r"
    error: the ledger has lists but no job yet, so there is nothing to resume
    hint: `rollbook assign --status HANDLE` begins a job with those lists
    ");
}

#[test]
fn looking_needs_something_to_look_at() {
    let scene = Scene::offline();
    for verb in ["status", "export", "batches"] {
        scene
            .run(&[verb])
            .refused(2, &["there is no ledger at rollbook.db"]);
    }
    assert!(scene.names().is_empty());
}

#[test]
fn assigning_needs_a_list_once() {
    let scene = small();
    let ran = scene.run(&["assign", "--status", "vip", "--yes"]).refused(2, &[]);
    assert_snapshot!(ran.stderr, @r"
    error: no list is given, and the ledger has none
    hint: `rollbook assign --status vip customers.csv` names one
    ");
    assert_eq!(scene.names(), ["list.csv"]);
    assert!(scene.tenant().requests().is_empty());
    scene.run(&["load", "list.csv"]).expect(0);
    scene
        .run(&["assign", "--status", "vip", "--rate", "unlimited", "--yes"])
        .expect(0);
    assert_eq!(writes(&scene), 1);
}

#[test]
fn senseless_numbers_are_refused_in_clear_words() {
    let scene = small();
    let ran = |flag: &str, value: &str| {
        let ran = scene
            .run(&["assign", "--status", "vip", "--yes", flag, value, "list.csv"])
            .expect(2);
        assert_eq!(ran.stdout, "");
        ran.stderr.lines().next().unwrap_or_default().to_owned()
    };
    assert_snapshot!(ran("--rate", "0/s"), @r"error: invalid value '0/s' for '--rate <RATE>': a rate of zero would never send anything; expected at least 1/h");
    assert_snapshot!(ran("--rate", "fast"), @r"error: invalid value 'fast' for '--rate <RATE>': expected a rate such as 10/s, 600/min, both as 10/s,400/min, or unlimited");
    assert_snapshot!(ran("--rate", "-3/s"), @r"error: invalid value '-3/s' for '--rate <RATE>': a rate cannot be negative; expected at least 1/h");
    assert_snapshot!(ran("--rate", "10/s,600/min"), @r"error: invalid value '10/s,600/min' for '--rate <RATE>': 600/min is no limit beside 10/s; leave it out, or write less than 600/min");
    assert_snapshot!(ran("--reserve", "95%"), @r"error: invalid value '95%' for '--reserve <SHARE>': 95% would leave too little to send with; expected at most 90%, or a lower --rate");
    assert_snapshot!(ran("--reserve", "-5%"), @r"error: invalid value '-5%' for '--reserve <SHARE>': expected a whole share in per cent, such as 20%");
    assert_snapshot!(ran("--batch-size", "501"), @r"error: invalid value '501' for '--batch-size <N>': 501 is not in 1..=500");
    assert_snapshot!(ran("--batch-size", "0"), @r"error: invalid value '0' for '--batch-size <N>': 0 is not in 1..=500");
    let words = ran("--limit", "0");
    assert!(!words.contains("18446744073709551615"), "{words}");
    assert_snapshot!(ran("--concurrency", "0"), @r"error: invalid value '0' for '--concurrency <N>': 0 is not in 1..=512");
    assert_snapshot!(ran("--settle-deadline", "soon"), @r"error: invalid value 'soon' for '--settle-deadline <TIME>': expected a time such as 90s, 15min or 2h");
    assert_eq!(scene.names(), ["list.csv"]);
    assert!(scene.tenant().requests().is_empty());
}

/// A run that goes on for long, and ends with the test.
struct LongRun(Child);

impl LongRun {
    fn start(scene: &Scene) -> Self {
        let options = options();
        let emails: Vec<String> = (0..1_000).map(|index| options.person(index).email).collect();
        scene.write("long.txt", emails.join("\n"));
        let run = Self(scene.spawn(&[
            "assign",
            "--status",
            "vip",
            "--rate",
            "20/s",
            "--batch-size",
            "5",
            "--yes",
            "long.txt",
        ]));
        let since = Instant::now();
        while scene.tenant().writes().is_empty() {
            assert!(
                since.elapsed() < Duration::from_secs(30),
                "the run does not start"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        run
    }
}

impl Drop for LongRun {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_ledger_is_written_by_nobody_else() {
    let scene = small();
    let run = LongRun::start(&scene);
    let holder = format!("rollbook assign, process {}", run.0.id());
    for arguments in [
        vec!["resume"],
        vec!["load", "list.csv"],
        vec!["assign", "--status", "vip", "--yes", "list.csv"],
        vec!["remove", "--status", "vip", "--yes", "list.csv"],
    ] {
        scene.run(&arguments).refused(6, &[&holder]);
    }
    let ran = scene.run(&["resume"]).expect(6);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    error: rollbook.db is in use by rollbook assign, process 123, since 2026-01-31 12:00:00 UTC
    hint: wait for it or stop it; `rollbook status` and `rollbook export` work meanwhile
    ");
}

#[test]
fn looking_works_beside_a_run() {
    let scene = small();
    let mut run = LongRun::start(&scene);
    let status = scene.run(&["status"]).expect(0);
    assert!(
        status
            .stdout
            .contains(&format!("rollbook assign, process {}", run.0.id())),
        "{}",
        status.stdout
    );
    let status = scene.status();
    assert_eq!(
        (&status["rows"], &status["finished"]),
        (&1_000.into(), &false.into())
    );
    let export = scene.run(&["export", "-o", "audit.csv"]).expect(0);
    assert!(export.stderr.contains("audit.csv: "), "{}", export.stderr);
    assert!(scene.run(&["batches"]).expect(0).stdout.lines().count() > 1);
    check_doctor(&scene, &scene.path("rollbook.db"));
    assert!(run.0.try_wait().unwrap().is_none(), "and the run goes on");
}

#[test]
fn progress_as_json_ends_with_the_true_numbers() {
    let scene = small();
    let ran = scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "--rate",
            "20/s",
            "--yes",
            "--progress",
            "json",
            "list.csv",
        ])
        .expect(0);
    let events: Vec<Value> = ran
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(events.iter().all(|event| event["event"].is_string()));
    let last = events.iter().rfind(|event| event["done"].is_u64()).unwrap();
    let seen = scene.tenant().requests().len() as u64;
    assert_eq!(last["entries"], 5);
    assert_eq!(last["done"], 5, "{last}");
    assert_eq!(last["confirmed"], 2, "{last}");
    assert_eq!(last["skipped"], 2, "{last}");
    assert_eq!(last["ambiguous"], 1, "{last}");
    let requests = last["requests"].as_u64().unwrap();
    assert!(requests > 5 && requests <= seen, "{last} of {seen}");
    let read = events.iter().find(|event| event["event"] == "list_read").unwrap();
    assert_eq!((&read["rows"], &read["rejected"]), (&8.into(), &2.into()));
}

#[test]
fn quiet_means_silence_where_nothing_is_wrong() {
    let scene = small();
    for arguments in [
        vec!["load", "-q", "list.csv"],
        vec!["assign", "-q", "--status", "vip", "--rate", "unlimited", "--yes"],
        vec!["resume", "-q"],
        vec!["export", "-q", "-o", "audit.csv"],
    ] {
        let ran = scene.run(&arguments).expect(0);
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("", ""),
            "{arguments:?}"
        );
    }
    scene
        .run(&["assign", "-q", "--status", "gold", "--yes", "list.csv"])
        .refused(6, &[]);
}

#[test]
fn a_plan_comes_before_a_dry_run_too_and_resuming_it_needs_a_yes() {
    let scene = small();
    let ran = scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "--rate",
            "unlimited",
            "--dry-run",
            "list.csv",
        ])
        .expect(0);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    list.csv: 8 rows = 5 new entries + 1 repeat + 2 rejected (CSV; column 2, header: email)

    Plan      assign vip
    at        https://tenant.example/api/v3
    ledger    rollbook.db
    list      list.csv: 8 rows = 5 entries + 1 repeat + 2 rejected
    entries   5 entries to look up, nothing to send (--dry-run)

      looking up        5   one by one
      other             3
      ───────────────────
      requests          8   about 0 s with 8 at a time, done at 12:00 UTC
    ");
    assert_snapshot!(tame(&scene, &ran.stdout), @r"
    Job       assign vip at https://tenant.example/api/v3
    Options   --rate unlimited
    Lists     list.csv
    Rows      8 = 5 entries + 1 repeat + 2 rejected

      resolved        2
      confirmed       0
      skipped         2   1 already_assigned · 1 not_found
      ambiguous       1
      failed          0
      ─────────────────
      entries         5

    Next      rollbook resume                         goes on with the rest
              rollbook export -o rollbook.audit.csv   what became of each entry
    ");
    assert_eq!(writes(&scene), 0);
    let before = scene.status();
    let ran = scene
        .run(&["resume", "--rate", "unlimited"])
        .refused(5, &["--yes"]);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    note: this job keeps its options: --rate unlimited

    Plan      assign vip
    at        https://tenant.example/api/v3
    ledger    rollbook.db
    list      list.csv: 8 rows = 5 entries + 1 repeat + 2 rejected
    entries   0 entries to look up, at most 2 profiles to send in batches of 300

      sending           1
      polling           2
      reading back      2
      other             4
      ───────────────────
      requests          9   about 0 s with 8 at a time, done at 12:00 UTC

    error: somebody has to say yes to this, and there is no terminal to ask on
    hint: nothing was sent, and nothing was kept in the ledger
    hint: add --yes to go ahead, or --dry-run to send nothing
    ");
    assert_eq!((scene.status(), writes(&scene)), (before, 0));
    scene.run(&["resume", "--rate", "unlimited", "--yes"]).expect(0);
    assert_eq!(writes(&scene), 1);
    assert_eq!(scene.status()["states"]["confirmed"], 2);
}

#[test]
fn a_yes_to_a_limit_is_no_yes_to_the_rest() {
    let scene = small();
    let job = ["assign", "--status", "vip", "--rate", "unlimited", "list.csv"];
    let ran = scene
        .run(&[&job[..], &["--yes", "--limit", "1"]].concat())
        .refused(4, &["--limit"]);
    assert_snapshot!(tame(&scene, &ran.stderr), @r"
    list.csv: 8 rows = 5 new entries + 1 repeat + 2 rejected (CSV; column 2, header: email)

    Plan      assign vip
    at        https://tenant.example/api/v3
    ledger    rollbook.db
    list      list.csv: 8 rows = 5 entries + 1 repeat + 2 rejected
    entries   5 entries to look up, at most 1 profile to send in batches of 300

      looking up        1   one by one
      sending           1
      polling           2
      reading back      1
      other             5
      ───────────────────
      requests         10   about 0 s with 8 at a time, done at 12:00 UTC

    stopped: at --limit, as asked
    hint: check the profiles above in Omneo, then `rollbook resume` asks before it sends the rest
    ");
    for again in [&job[..], &["resume", "--rate", "unlimited"]] {
        scene.run(again).refused(5, &["--yes"]);
    }
    assert_eq!(writes(&scene), 1);
    scene.run(&["resume", "--rate", "unlimited", "--yes"]).expect(0);
    assert_eq!(writes(&scene), 2);
}

#[test]
fn a_job_that_was_confirmed_is_resumed_without_another_yes() {
    let scene = small();
    let mut run = LongRun::start(&scene);
    run.0.kill().unwrap();
    run.0.wait().unwrap();
    scene.run(&["resume", "--rate", "unlimited"]).expect(0);
    assert_eq!(scene.status()["finished"], true);
}

#[test]
fn a_list_can_come_through_a_pipe() {
    let scene = small();
    let mut child = scene
        .command(&["assign", "--status", "vip", "--rate", "unlimited", "--yes", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), LIST.as_bytes()).unwrap();
    Ran::from(child.wait_with_output().unwrap()).expect(0);
    assert_eq!(scene.status()["states"]["confirmed"], 2);
}

#[test]
fn stdout_may_be_closed_early() {
    let scene = done();
    for verb in ["status", "export", "batches", "--help"] {
        let mut child = scene
            .command(&[verb])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{verb}");
        assert_eq!(output.status.code(), Some(0), "{verb}");
    }
}

#[test]
fn the_doctor_says_what_it_checked() {
    let scene = done();
    let ran = scene.run(&["doctor"]).expect(0);
    assert_snapshot!(tame(&scene, &ran.stdout), @r"
    ledger      rollbook.db
    ok          the file's structure is sound
    ok          it knows of every request that left from here
    ok          every row of every list is an entry, a repeat or a reject
    ok          occurrences count the entry and its repeats
    ok          the counts by state are the entries' states
    ok          no profile is in two places that were sent
    ok          a batch has as many members as it was sealed with
    ok          who decided is recorded where a member of an accepted batch was tried again
    ok          nothing was sent again that had been accepted, or doubted without being found absent
    ok          confirmed entries name their evidence, batch and profile
    ok          entries that were not looked up here name the ledger that they were taken from
    ok          members of settled batches are confirmed or failed
    ok          https://tenant.example/api/v3 accepts the token
    ");
    let without = Scene::offline().run(&["doctor"]).expect(0);
    assert_snapshot!(without.stdout, @r"
    ledger      rollbook.db: there is none yet
    connection  not checked: no tenant is named
    ");
}

#[test]
fn a_token_file_does_as_well_as_the_environment() {
    let scene = small();
    scene.write("token", format!("{TOKEN}\n"));
    let mut command = scene.command(&["statuses", "--token-file", "token"]);
    Ran::from(command.env_remove("OMNEO_TOKEN").output().unwrap()).expect(0);
}

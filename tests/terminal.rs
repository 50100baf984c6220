//! Foreign text at the terminal: whatever a tenant, a list, a file's name or a ledger says, nothing steers it.

use super::support::raw::{Bad, Raw, Site};
use super::support::{Ran, Scene, TOKEN};
use crate::support::share::pick;
use rollbook::sandbox::Options;
use std::process::Command;

/// What sets a title, rings, moves the cursor, reverses the line and ends it.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\n\u{202e}\u{9b}1A";
/// The same as JSON has it.
const IN_JSON: &str = r"\u001b]0;owned\u0007\u001b[2J\r\n\u202e\u009b1A";

/// Nothing in a text does anything but to be seen.
#[track_caller]
fn harmless(said: &str, text: &str) {
    let steers = |c: &char| {
        *c != '\n'
            && (c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    };
    let found = text.chars().find(steers);
    assert_eq!(found, None, "{said}: {text:?}");
}

/// The same of a run, of which every message takes one line.
#[track_caller]
fn harmless_run(said: &str, ran: Ran) -> Ran {
    harmless(said, &ran.stdout);
    harmless(said, &ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{said}: {}", ran.stderr);
    // The line that a foreign line end would begin.
    for line in ran.stdout.lines().chain(ran.stderr.lines()) {
        assert!(!line.starts_with("\\u{202e}"), "{said}: {line}");
    }
    ran
}

fn run(command: &mut Command) -> Ran {
    Ran::from(command.output().unwrap())
}

#[test]
fn names_of_files_and_cells_of_lists_steer_nothing() {
    let status = format!("v{HOSTILE}ip");
    let scene = Scene::with(Options {
        statuses: vec!["vip".into(), status.clone()],
        ..super::support::options()
    });
    let list = format!("l{HOSTILE}.csv");
    let ledger = format!("d{HOSTILE}.db");
    let padded = " \t\u{a0}bob@example.com\u{2028}\t ";
    let text = format!(
        "\"Na{HOSTILE}me\",\"E{HOSTILE}mail\"\nx,ann@example.com\n\"{HOSTILE}\",\"a{HOSTILE}b\"\nx,\"{padded}\"\n"
    );
    scene.write(&list, text);
    let verbs: [&[&str]; 23] = [
        &["load", "--column", "2", &list],
        &["load", "--column", "2", &list],
        &["load", &format!("none{HOSTILE}")],
        &["load", "--column", &format!("none{HOSTILE}"), &list],
        &["plan", "--status", &status],
        &["plan", "--status", &status, "--json"],
        &["assign", "--status", "vipp", "--yes"],
        &["assign", "--status", &format!("v{HOSTILE}p"), "--yes"],
        &["assign", "--status", &status, "--yes", "-v"],
        &["assign", "--status", "vip", "--yes"],
        &["resume", "--progress", "json"],
        &["status"],
        &["status", "--json"],
        &["batches"],
        &["doctor"],
        &["statuses"],
        &["statuses", "--json"],
        &["lists"],
        &["lists", "--json"],
        &["unload", &format!("none{HOSTILE}")],
        &["load", "--progress", "json", "--column", "2", &list],
        &["load", "--progress", "json", &format!("none{HOSTILE}")],
        &["load", "--progress", "json", &format!("--none{HOSTILE}")],
    ];
    for arguments in verbs {
        let ran = run(scene.command(arguments).env("ROLLBOOK_LEDGER", &ledger));
        let ran = harmless_run(&format!("{arguments:?}"), ran);
        if arguments.contains(&"json") && arguments[0] == "load" {
            let objects = ran.stderr.lines().map(serde_json::from_str::<serde_json::Value>);
            assert!(objects.map(Result::unwrap).count() > 0, "{arguments:?}");
        }
    }
    for format in ["csv", "jsonl"] {
        let arguments = ["export", "--rows", "all", "--format", format];
        let ran = run(scene.command(&arguments).env("ROLLBOOK_LEDGER", &ledger)).expect(0);
        let ran = harmless_run(format, ran);
        let header = usize::from(format == "csv");
        assert_eq!(ran.stdout.lines().count(), 4 + header, "{}", ran.stdout);
    }
    harmless_run("a flag", run(&mut scene.command(&[&format!("--{HOSTILE}")])));
    harmless_run("a verb", run(&mut scene.command(&[HOSTILE])));
    harmless_run(
        "no ledger",
        scene.run(&["status", "--ledger", &format!("none{HOSTILE}")]),
    );
    harmless_run(
        "no token",
        scene.run(&["statuses", "--token-file", &format!("none{HOSTILE}")]),
    );
    harmless_run(
        "no folder",
        scene.run(&["export", "--ledger", &ledger, "-o", &format!("none{HOSTILE}/x")]),
    );
    harmless_run(
        "a demo",
        scene.run(&["demo", "--folder", &format!("none{HOSTILE}/x")]),
    );
}

#[test]
fn an_exported_email_column_is_the_same_emails() {
    let scene = Scene::offline();
    let list = "email\n\tann@example.com\u{a0}\n\"bob@example.com\r\n\"\n\u{2028}Cara@Example.com\n élodie@example.com\n";
    scene.write("list.csv", list);
    scene.run(&["load", "list.csv"]).expect(0);
    scene.run(&["export", "-o", "audit.csv"]).expect(0);
    let emails: Vec<String> = scene.export().into_keys().collect();
    assert_eq!(emails.len(), 4);
    for column in ["email", "written"] {
        let ledger = scene.path(&format!("{column}.db"));
        let name = ledger.to_str().unwrap();
        scene
            .run(&["load", "--ledger", name, "--column", column, "audit.csv"])
            .expect(0);
        let again: Vec<String> = scene.export_of(&ledger).into_keys().collect();
        assert_eq!(again, emails, "{column}");
    }
}

#[test]
fn words_of_a_tenant_steer_nothing() {
    let message = format!(r#"{{"message":"no {IN_JSON} way"}}"#);
    let taken = format!(r#"{{"data":{{"message":"x","batch_id":"b{IN_JSON}-1"}}}}"#);
    let polled = format!(
        r#"{{"data":{{"id":"b-1","status":"failed{IN_JSON}","total_count":3,"items":[{{"status":"failed","message":"{IN_JSON}"}}]}}}}"#
    );
    let statuses = format!(r#"{{"data":[{{"id":1,"name":"V{IN_JSON}P","handle":"vi{IN_JSON}q"}}]}}"#);
    let profile = format!(
        r#"{{"data":[{{"id":"p{IN_JSON}","email":"ann@example.com","statuses":[{{"handle":"{IN_JSON}"}}]}}]}}"#
    );
    let cases = [
        (Site::Verify, "401 Unauthorized", &message),
        (Site::Statuses, "403 Forbidden", &message),
        (Site::Statuses, "200 OK", &statuses),
        (Site::LookUp, "422 Unprocessable Content", &message),
        (Site::LookUp, "200 OK", &profile),
        (Site::Write, "422 Unprocessable Content", &message),
        (Site::Write, "202 Accepted", &taken),
        (Site::Poll, "200 OK", &polled),
        (Site::Poll, "404 Not Found", &message),
        (Site::ReadBack, "403 Forbidden", &message),
    ];
    for (site, status, body) in cases.into_iter().step_by(pick(3, 1, 1)) {
        let raw = Raw::with(site, Bad::json(status, body), usize::MAX, true);
        let scene = Scene::offline();
        scene.write("list.txt", "ann@example.com\nbob@example.net\n");
        let said = format!("{site:?} {status}");
        let assign = [
            "assign",
            "--status",
            "vip",
            "--yes",
            "-v",
            "--rate",
            "unlimited",
            "--settle-deadline",
            "1s",
        ];
        harmless_run(&said, raw.run(&scene, &[&assign[..], &["list.txt"]].concat()));
        for verb in [
            &["statuses"][..],
            &["status"],
            &["batches"],
            &["batches", "--json"],
            &["export"],
            &["doctor"],
        ] {
            let ran = harmless_run(&said, raw.run(&scene, verb));
            assert!(!ran.stdout.contains(TOKEN));
        }
    }
}

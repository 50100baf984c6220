//! What programs read: one schema, word for word. `docs/scripting.md` names every field.

use crate::support::{Ran, Scene, options, tame};
use insta::assert_snapshot;
use rollbook::sandbox::Options;
use serde_json::Value;

const JOB: [&str; 7] = [
    "assign",
    "--status",
    "vip",
    "--rate",
    "unlimited",
    "--yes",
    "list.txt",
];

/// Three profiles, none of which has the status.
fn scene() -> Scene {
    let options = Options {
        holders_percent: 0,
        duplicates_percent: 0.0,
        ..options()
    };
    let emails: Vec<String> = (0..3).map(|index| options.person(index).email).collect();
    let scene = Scene::with(options);
    scene.write("list.txt", emails.join("\n"));
    scene
}

/// A value with everything tamed that differs from run to run.
fn shown(scene: &Scene, text: &str) -> String {
    let tamed = tame(scene, text);
    let mut value: Value = serde_json::from_str(&tamed).unwrap_or_else(|error| panic!("{error}: {text}"));
    blank(&mut value);
    format!("{value:#}")
}

/// Numbers that measure time are another each run.
fn blank(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let measured =
                    name.ends_with("seconds") || name.ends_with("_ms") || name.starts_with("seconds");
                if measured && value.is_number() {
                    *value = "measured".into();
                } else if name == "requests" && value.is_number() {
                    *value = "counted".into();
                } else if name == "seconds_by_cause" {
                    *value = "by cause".into();
                }
                blank(value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(blank),
        _ => {}
    }
}

/// Every field name in a value, those within others included.
fn names(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                into.push(name.clone());
                names(value, into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, into)),
        _ => {}
    }
}

#[test]
fn the_answers_are_as_documented() {
    let scene = scene();
    let plan = scene
        .run(&["plan", "--status", "vip", "--json", "list.txt"])
        .expect(0);
    assert_snapshot!(shown(&scene, &plan.stdout), @r#"
    {
      "action": "assign",
      "batch_size": 300,
      "because": "",
      "done_at": "2026-01-31T12:00:00Z",
      "dry_run": false,
      "duration_seconds": "measured",
      "handles": [
        "vip"
      ],
      "lists": [
        {
          "entries": 3,
          "list": "list.txt",
          "named": true,
          "rejected": 0,
          "repeats": 0,
          "rows": 3
        }
      ],
      "lookup_strategy": "one",
      "pending": 3,
      "rate": "10/s",
      "requests": "counted",
      "requests_by_kind": {
        "looking_up": 3,
        "other": 4,
        "polling": 2,
        "reading_back": 2,
        "sending": 1
      },
      "schema_version": 1,
      "seconds": "measured",
      "send_at_most": 3,
      "sent_before": "none",
      "tenant": "https://tenant.example/api/v3",
      "way": "one"
    }
    "#);
    let summary = scene.run(&[&JOB[..], &["--json"]].concat()).expect(0);
    assert_snapshot!(shown(&scene, &summary.stdout), @r#"
    {
      "action": "assign",
      "batches": {
        "accepted": 0,
        "held": 0,
        "in_doubt": 0,
        "refused": 0,
        "sealed": 0,
        "sending": 0,
        "settled": 1
      },
      "entries": 3,
      "finished": true,
      "handles": [
        "vip"
      ],
      "lists": [
        {
          "column": 1,
          "delimiter": ",",
          "entries": 3,
          "header": false,
          "layout": "one email a line",
          "list": "list.txt",
          "loaded_at": "2026-01-31T12:00:00Z",
          "number": 1,
          "part": null,
          "path": "FOLDER/list.txt",
          "rejected": 0,
          "repeats": 0,
          "rows": 3
        }
      ],
      "options": {
        "batch_size": 300,
        "confirm": "sample",
        "in_doubt": "verify",
        "rate": "unlimited",
        "reserve": "0%"
      },
      "reasons": {
        "sampled": 1,
        "seen": 2
      },
      "rejected": 0,
      "repeats": 0,
      "reused": 0,
      "rows": 3,
      "run": {
        "requests": "counted",
        "seconds": "measured",
        "seconds_before": "measured",
        "seconds_by_cause": "by cause",
        "seconds_in_all": "measured"
      },
      "sampled": 2,
      "schema_version": 1,
      "states": {
        "ambiguous": 0,
        "batched": 0,
        "confirmed": 3,
        "failed": 0,
        "pending": 0,
        "resolved": 0,
        "skipped": 0
      },
      "tenant": "https://tenant.example/api/v3",
      "under_way": null
    }
    "#);
    let batches = scene.run(&["batches", "--json"]).expect(0);
    assert_snapshot!(shown(&scene, &batches.stdout), @r#"
    {
      "attempts": 1,
      "batch": 1,
      "batch_id": "00000000-0000-0000-0000-000000000001",
      "confirmed": 3,
      "detail": null,
      "evidence": null,
      "failed": 0,
      "failure_detail": null,
      "failure_reason": null,
      "members": 3,
      "retried": 0,
      "ruling": null,
      "rung": null,
      "schema_version": 1,
      "sealed_at": "2026-01-31T12:00:00Z",
      "sealed_at_ms": "measured",
      "sent_at": "2026-01-31T12:00:00Z",
      "sent_at_ms": "measured",
      "settled_at": "2026-01-31T12:00:00Z",
      "settled_at_ms": "measured",
      "split_from": null,
      "state": "settled",
      "tenant_status": "success"
    }
    "#);
    let statuses = scene.run(&["statuses", "--json"]).expect(0);
    assert_snapshot!(shown(&scene, statuses.stdout.lines().next().unwrap()), @r#"
    {
      "handle": "ambassador",
      "name": "Ambassador",
      "schema_version": 1
    }
    "#);
    for answer in [&plan, &summary, &batches] {
        let first: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(first["schema_version"], 1, "{first}");
        documented(&first);
    }
}

/// Insists that the page names every field.
fn documented(value: &Value) {
    let page = include_str!("../docs/scripting.md");
    let mut all = Vec::new();
    names(value, &mut all);
    for name in all {
        // Reasons and causes are words of their own, and milliseconds are named with their times.
        let word = name.strip_suffix("_ms").unwrap_or(&name);
        let known = ["own_work", "answers", "batches", "told_to_wait", "outage", "rate"].contains(&word);
        assert!(
            known || page.contains(&format!("`{word}`")),
            "docs/scripting.md lacks `{name}`"
        );
    }
}

#[test]
fn every_event_is_json_with_its_version_and_time() {
    let scene = scene();
    let ran = scene.run(&[&JOB[..], &["--progress", "json"]].concat()).expect(0);
    let events: Vec<Value> = ran
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for event in &events {
        assert_eq!(event["schema_version"], 1, "{event}");
        assert!(event["at"].as_str().unwrap().ends_with('Z'), "{event}");
        documented(event);
    }
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    for kind in [
        "asking",
        "list_read",
        "planned",
        "began",
        "accepted",
        "progress",
        "ended",
    ] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}

/// The one object that an error is.
fn error(ran: &Ran) -> Value {
    let last = ran.stderr.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|why| panic!("{why}: {}", ran.stderr))
}

#[test]
fn errors_are_json_where_a_program_reads() {
    let scene = scene();
    let unknown = ["assign", "--status", "vipp", "--yes", "--json", "list.txt"];
    let ran = scene.run(&unknown).expect(5);
    assert_snapshot!(format!("{:#}", error(&ran)), @r#"
    {
      "event": "error",
      "exit_code": 5,
      "hints": [
        "did you mean `vip`?",
        "`rollbook statuses` lists what the tenant defines; an unknown handle would silently do nothing"
      ],
      "kind": "refused",
      "message": "the tenant has no status with the handle `vipp`",
      "schema_version": 1
    }
    "#);
    assert_eq!(ran.stdout, "");
    for usage in [
        &["status", "--json"][..],
        &[
            "assign",
            "--progress",
            "json",
            "--rate",
            "fast",
            "--status",
            "vip",
        ],
        &["assign", "--progress=json", "--no-such-flag"],
    ] {
        let error = error(&scene.run(usage).expect(2));
        assert_eq!(
            (&error["event"], &error["kind"]),
            (&"error".into(), &"usage".into())
        );
        assert_eq!(error["exit_code"], 2);
        assert!(!error["hints"].as_array().unwrap().is_empty(), "{error}");
    }
    let limited = ["--limit", "1", "--progress", "json", "--json"];
    let ran = scene.run(&[&JOB[..], &limited].concat()).expect(4);
    let stopped = error(&ran);
    assert_eq!(
        (&stopped["event"], &stopped["kind"]),
        (&"stopped".into(), &"stopped".into())
    );
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let pilot = summary["pilot"].as_array().unwrap();
    assert_eq!(pilot.len(), 1, "{summary}");
    assert_eq!(pilot[0]["profile_id"], scene.tenant().writes()[0].members[0].0);
    assert_eq!(pilot[0]["state"], "confirmed");
}

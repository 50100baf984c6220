//! `show`, `runs` and `batches N`: the story of an email, a profile, a line, a batch and a run.

use crate::support::{Scene, cast, options};
use rollbook::sandbox::Options;

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.trim()).unwrap()
}

/// What happened, as words in their order.
fn kinds(story: &serde_json::Value) -> Vec<&str> {
    let events = story["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect()
}

#[test]
fn each_entry_has_a_story_that_agrees_with_the_export() {
    let options = options();
    let cast = cast(&options, 200, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("people.csv", &cast.list);
    scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "--rate",
            "unlimited",
            "--yes",
            "people.csv",
        ])
        .expect(0);
    let rejected = cast
        .list
        .lines()
        .position(|line| line.ends_with("not-an-email"))
        .unwrap()
        + 1;
    let mut told = std::collections::BTreeSet::new();
    for (email, row) in scene.export() {
        if !told.insert((row["state"].clone(), row["reason"].clone())) {
            continue;
        }
        let story = json(
            &scene
                .run(&["show", &email.to_uppercase(), "--json"])
                .expect(0)
                .stdout,
        );
        assert_eq!(story["email"], email.as_str());
        assert_eq!(story["state"], row["state"].as_str());
        let line = format!("line {}", row["line"]);
        assert!(
            story["events"][0]["text"].as_str().unwrap().contains(&line),
            "{story}"
        );
        let sent: &[&str] = &["batched", "sent", "answered", "confirmed"];
        let tells_of_sending = sent.iter().all(|kind| kinds(&story).contains(kind));
        assert_eq!(tells_of_sending, row["state"] == "confirmed", "{story}");
        // By its line and by its profile, it is the same story.
        let by_line = ["show", "--line", &format!("people.csv:{}", row["line"]), "--json"];
        assert_eq!(json(&scene.run(&by_line).expect(0).stdout), story);
        let profile = row["profile_id"].to_uppercase();
        if !profile.is_empty() {
            assert_eq!(
                json(&scene.run(&["show", &profile, "--json"]).expect(0).stdout),
                story
            );
        }
        if row["state"] == "ambiguous" {
            let candidates = story["candidates"].as_array().unwrap();
            assert!(candidates.len() > 1, "{story}");
            // Each of them leads back, and the tenant is asked what tells them apart.
            let candidate = candidates[1].as_str().unwrap();
            scene.run(&["show", candidate]).expect(0);
            let now = scene.run(&["show", "--now", &email]).expect(0).stdout;
            assert_eq!(now.matches("has ").count(), candidates.len(), "{now}");
        }
    }
    assert!(told.len() >= 4, "{told:?}");
    let shown = scene
        .run(&["show", "--line", &format!("people.csv:{rejected}")])
        .expect(0)
        .stdout;
    assert!(
        shown.contains("rejected") && shown.contains("not-an-email"),
        "{shown}"
    );
}

#[test]
fn a_lost_answer_is_part_of_the_story() {
    let scene = Scene::with(Options {
        lose_answers_percent: 100.0,
        holders_percent: 0,
        duplicates_percent: 0.0,
        ..options()
    });
    let emails: Vec<String> = (0..5).map(|index| options().person(index).email).collect();
    scene.write("list.txt", emails.join("\n"));
    scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "--rate",
            "unlimited",
            "--yes",
            "list.txt",
        ])
        .expect(0);
    let batch = json(&scene.run(&["show", "--batch", "1", "--json"]).expect(0).stdout);
    assert_eq!(kinds(&batch), ["batched", "sent", "answered", "found"]);
    assert!(
        batch["events"][2]["text"].as_str().unwrap().contains("in doubt"),
        "{batch}"
    );
    let story = scene.run(&["show", &emails[0]]).expect(0).stdout;
    assert!(story.contains("found in the tenant's list"), "{story}");
    assert!(story.lines().all(|line| line.chars().count() <= 80), "{story}");

    let members = scene.run(&["batches", "1", "--json"]).expect(0).stdout;
    let members: Vec<_> = members.lines().map(json).collect();
    assert_eq!(members.len(), 5);
    assert!(
        members
            .iter()
            .all(|member| member["state"] == "confirmed" && member["batch"] == 1)
    );
}

#[test]
fn runs_tell_how_they_ended_and_what_they_were_given() {
    let scene = Scene::with(options());
    assert_eq!(scene.run(&["load", "/dev/null"]).expect(2).stdout, "");
    let emails: Vec<String> = (0..30).map(|index| options().person(index).email).collect();
    scene.write("list.txt", emails.join("\n"));
    let job = ["assign", "--status", "vip", "--rate", "50/s", "--yes", "list.txt"];
    scene.run(&[&job[..], &["--dry-run"]].concat()).expect(0);
    scene.run(&["resume", "--yes"]).expect(0);
    let runs = scene.run(&["runs", "--json"]).expect(0).stdout;
    let runs: Vec<_> = runs.lines().map(json).collect();
    let verbs: Vec<_> = runs.iter().map(|run| run["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["assign", "resume"]);
    assert_eq!(runs[0]["options"]["dry_run"], true);
    assert_eq!(runs[1]["options"]["rate"], "50/s");
    assert_eq!((&runs[0]["batches"], &runs[1]["batches"]), (&0.into(), &1.into()));
    assert!(
        runs.iter()
            .all(|run| run["requests"].as_u64().unwrap() > 0 && run["ended_at"].is_string())
    );
    let table = scene.run(&["runs"]).expect(0).stdout;
    assert!(table.contains("--dry-run") && table.contains("done"), "{table}");
}

#[test]
fn who_is_nowhere_is_said_to_be() {
    let scene = Scene::with(options());
    scene.write("list.txt", "ann@example.com\nbob@example.com\n");
    scene.run(&["load", "list.txt"]).expect(0);
    scene
        .run(&["show", "cara@example.com"])
        .refused(2, &["names cara@example.com"]);
    scene.run(&["show", "5f1c"]).refused(2, &["profile 5f1c"]);
    scene
        .run(&["show", "--line", "list.txt:9"])
        .refused(2, &["line 9 of list.txt"]);
    scene
        .run(&["show", "--line", "list.txt"])
        .refused(2, &["no line of a list"]);
    scene
        .run(&["show", "--line", "other.csv:1"])
        .refused(2, &["no list"]);
    scene.run(&["show", "--batch", "1"]).refused(2, &["no batch 1"]);
    scene.run(&["batches", "1"]).refused(2, &["no batch 1"]);
    scene.run(&["show"]).expect(2);
    scene.run(&["show", "ann@example.com", "--batch", "1"]).expect(2);
    let waiting = scene.run(&["show", "Ann@Example.com"]).expect(0).stdout;
    assert!(waiting.contains("not looked up yet"), "{waiting}");
    assert_eq!(scene.run(&["runs"]).expect(0).stdout, "No runs yet.\n");
}

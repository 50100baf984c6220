//! What rollbook says that a run will take, and what it then took.

use crate::support::share::pick;
use crate::support::{Scene, cast, options, tame};
use insta::assert_snapshot;
use rollbook::sandbox::{Options, Route};
use serde_json::Value;

const JOB: [&str; 5] = ["--status", "vip", "--rate", "unlimited", "list.csv"];

/// A tenant and a list of people of whom none holds the status, so that everybody is sent.
fn scene() -> (Scene, u64) {
    let options = Options {
        holders_percent: 0,
        duplicates_percent: 0.0,
        ..options()
    };
    let cast = cast(&options, 600, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    (scene, cast.wanted.len() as u64)
}

fn plan(scene: &Scene, arguments: &[&str]) -> Value {
    let ran = scene.run(&[&["plan", "--json"], arguments].concat()).expect(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn assign(scene: &Scene, more: &[&str]) {
    scene
        .run(&[&["assign", "--yes"], &JOB[..], more].concat())
        .expect(0);
}

#[test]
fn a_plan_is_a_table_that_adds_up() {
    let (scene, _) = scene();
    let ran = scene
        .run(&[
            "plan",
            "--status",
            "vip",
            "--rate",
            "1200/min",
            "--resolve",
            "one",
            "list.csv",
        ])
        .expect(0);
    assert_snapshot!(tame(&scene, &ran.stdout), @r"
    Plan      assign vip
    at        https://tenant.example/api/v3
    ledger    rollbook.db
    list      list.csv: 690 rows = 630 entries + 30 repeats + 30 rejected
    entries   630 entries to look up, at most 630 profiles to send in batches of 300

      looking up      630   one by one: as asked for
      sending           3
      polling           5
      reading back      9
      other             4
      ───────────────────
      requests        651   about 32 s at 1200/min, done at 12:00 UTC
    ");
    assert!(ran.stderr.contains("list.csv: "), "{}", ran.stderr);
}

#[test]
fn a_plan_keeps_nothing_and_sends_nothing() {
    let (scene, _) = scene();
    plan(&scene, &JOB);
    assert_eq!(scene.names(), ["list.csv"], "no ledger was made");
    scene.write("first.txt", "ann@example.com\n");
    scene.run(&["load", "first.txt"]).expect(0);
    let ledger = || std::fs::read(scene.path("rollbook.db")).unwrap();
    let (before, status) = (ledger(), scene.status());
    let with_both = plan(&scene, &JOB);
    assert_eq!((ledger(), scene.status()), (before, status));
    assert_eq!(with_both["pending"], 631);
    let writes = |seen: &rollbook::sandbox::Seen| seen.route == Route::BatchWrite;
    assert!(!scene.tenant().requests().iter().any(writes));
}

#[test]
fn a_plan_counts_as_a_load_does() {
    let (scene, entries) = scene();
    assert_eq!(
        plan(&scene, &[&JOB[..], &["list.csv"]].concat())["pending"],
        entries
    );
    let more = std::fs::read_to_string(scene.path("list.csv")).unwrap() + "x,one.more@example.org\n";
    scene.write("more.csv", more);
    scene.run(&["load", "list.csv"]).expect(0);
    let planned = |lists: &[&str]| {
        plan(
            &scene,
            &[&["--status", "vip", "--rate", "unlimited"], lists].concat(),
        )["pending"]
            .clone()
    };
    assert_eq!(planned(&[]), entries);
    assert_eq!(planned(&["list.csv"]), entries, "it is in the ledger");
    assert_eq!(planned(&["more.csv", "list.csv", "more.csv"]), entries + 1);
}

#[test]
fn as_many_requests_are_made_as_were_planned() {
    // How many will not be found is told by a sample, and those cost a request each: where many are asked for at once
    // only a list of people whom the tenant knows leaves nothing to chance. How often a batch is polled depends on how
    // fast both sides are just now, so that is left out. Where each is asked for alone no sample is taken, and one in 25
    // is unknown and asked for twice.
    let but_polls = |seen: &&rollbook::sandbox::Seen| seen.route != Route::Batch;
    let jobs = [
        ("one", 12, &["--batch-size", "50"][..]),
        ("many", 3, &["--confirm", "all"]),
        ("scan", 3, &[]),
        ("one", 12, &["--dry-run"]),
        ("one", 12, &[]),
        ("many", 3, &[]),
    ];
    for (way, share, more) in jobs.into_iter().take(pick(3, 6, 6)) {
        let (scene, _) = scene();
        if way != "one" {
            let people = (0..600).map(|index| options().person(index).email + "\n");
            scene.write("list.csv", people.collect::<String>());
        }
        let more = &[more, &["--resolve", way]].concat();
        let planned = plan(&scene, &[&JOB[..], more].concat());
        let seen = || scene.tenant().requests().iter().filter(but_polls).count() as u64;
        let before = seen();
        assign(&scene, more);
        let made = seen() - before;
        let polls = planned["requests_by_kind"]["polling"].as_u64().unwrap();
        let requests = planned["requests"].as_u64().unwrap() - polls;
        println!("{more:?}: {requests} planned, {made} made");
        // Whether lists and search can be believed is found out by a few more, whatever there is to do; a small list that is
        // asked for in groups is not planned for exactly.
        let more_or_less = if way == "many" { 20 } else { 8 };
        assert!(
            requests.abs_diff(made) <= requests / share + more_or_less,
            "{more:?}: {planned}, and {made} were made"
        );
    }
}

#[test]
fn a_way_that_is_not_taken_for_so_few_is_not_left_without_a_word() {
    let (scene, _) = scene();
    let list = |people: u32| -> String {
        (0..people)
            .map(|index| options().person(index).email + "\n")
            .collect()
    };
    let because = |people: u32, way: &str| {
        scene.write("few.csv", list(people));
        let planned = plan(&scene, &["--status", "vip", "--resolve", way, "few.csv"]);
        assert_eq!(planned["way"], if people < 50 { "one" } else { way });
        planned["because"].as_str().unwrap().to_owned()
    };
    for way in ["many", "scan"] {
        let few = because(20, way);
        assert_eq!(
            few, "too few to be worth finding out what the tenant supports (below 50)",
            "{way}"
        );
        assert_eq!(because(120, way), "as asked for");
    }
    assert_eq!(
        (because(20, "auto"), because(20, "one")),
        (String::new(), "as asked for".into())
    );
}

#[test]
fn what_is_left_can_be_planned_without_naming_it_again() {
    let (scene, entries) = scene();
    scene
        .run(&[&["remove", "--dry-run"], &JOB[..]].concat())
        .expect(0);
    scene.write("more.txt", "one.more@example.org\n");
    let left = plan(&scene, &["more.txt"]);
    assert_eq!((&left["action"], &left["pending"]), (&"remove".into(), &1.into()));
    assert_eq!(left["handles"], serde_json::json!(["vip"]));
    assert!(entries > 1);
    scene
        .run(&["plan", "--status", "gold"])
        .refused(6, &["another job"]);
}

#[test]
fn a_plan_refuses_what_a_run_refuses() {
    let (scene, _) = scene();
    scene
        .run(&["plan", "--status", "vpi", "list.csv"])
        .refused(5, &["did you mean `vip`"]);
    scene
        .run(&["plan", "list.csv"])
        .refused(2, &["no status is named"]);
    scene
        .run(&["plan", "--status", "vip"])
        .refused(2, &["no list is given"]);
    scene
        .run(&["plan", "--status", "vip", "none.csv"])
        .refused(2, &["none.csv"]);
    scene.write(
        "rollbook.db",
        "not a ledger, and long enough to look like some other file".repeat(20),
    );
    scene
        .run(&["plan", "--status", "vip", "list.csv"])
        .refused(6, &["rollbook.db"]);
    let offline = Scene::offline();
    offline.write("list.csv", "ann@example.com\n");
    offline
        .run(&["plan", "--status", "vip", "list.csv"])
        .refused(2, &["no tenant is named"]);
    assert_eq!(offline.names(), ["list.csv"]);
}

/// The seconds that a run says it spent, by cause, after it has said so in one line.
fn time(scene: &Scene, arguments: &[&str]) -> serde_json::Map<String, Value> {
    let ran = scene.run(&[arguments, &["--json"]].concat()).expect(0);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    println!("{}", summary["run"]);
    summary["run"]["seconds_by_cause"].as_object().unwrap().clone()
}

#[test]
fn it_is_told_where_the_time_went() {
    // Which of the causes is the largest does not depend on how fast this machine is.
    let causes = |options: Options, more: &[&str]| {
        let cast = cast(&options, 60, "already_assigned", "confirmed");
        let scene = Scene::with(options);
        scene.write("list.csv", &cast.list);
        let job = ["assign", "--status", "vip", "list.csv", "--yes"];
        time(&scene, &[&job[..], more].concat())
    };
    let largest = |options: Options, more: &[&str]| {
        let causes = causes(options, more);
        let largest = causes
            .iter()
            .max_by(|one, other| one.1.as_f64().unwrap().total_cmp(&other.1.as_f64().unwrap()));
        largest.unwrap().0.clone()
    };
    let ms = std::time::Duration::from_millis;
    assert_eq!(
        largest(options(), &["--rate", "30/s", "--resolve", "one"]),
        "rate"
    );
    let slow = Options {
        latency: ms(400),
        ..options()
    };
    assert_eq!(
        largest(slow, &["--rate", "unlimited", "--resolve", "one"]),
        "answers"
    );
    let busy = Options {
        apply_delay: ms(4_000),
        ..options()
    };
    assert_eq!(largest(busy, &["--rate", "unlimited"]), "batches");
    let strict = Options {
        rate_limit: Some("30/s".parse().unwrap()),
        ..options()
    };
    // After a 429 the pace stays below what the tenant took: from then on it is the rate that is waited for.
    let told = causes(strict, &["--rate", "unlimited", "--resolve", "one"]);
    assert!(told["told_to_wait"].as_f64().unwrap() > 0.5, "{told:?}");
}

#[test]
fn no_more_requests_are_made_than_allowed_and_what_was_sent_is_settled() {
    for (most, more) in [
        (20, &["--resolve", "one"][..]),
        (40, &["--resolve", "one"]),
        (150, &["--batch-size", "20", "--resolve", "one"]),
        (300, &["--concurrency", "64", "--resolve", "one"]),
    ] {
        let (scene, _) = scene();
        let limit = most.to_string();
        let job = [&["assign", "--yes"], &JOB[..], &["--max-requests", &limit], more].concat();
        let ran = scene.run(&job).refused(4, &["--max-requests", "rollbook resume"]);
        assert!(
            ran.stderr.contains(&format!("after {most} requests")),
            "{}",
            ran.stderr
        );
        let made = scene.tenant().requests().len();
        let batches = scene.status()["batches"].clone();
        println!("{most}: {made} made, {batches}");
        assert!(made <= most, "{made} of {most}");
        assert!(
            made + 80 >= most || most <= 40,
            "{made} of {most}: hardly any are left over"
        );
        assert_eq!(
            (&batches["accepted"], &batches["in_doubt"]),
            (&0.into(), &0.into())
        );
        scene.run(&["resume", "--rate", "unlimited", "--yes"]).expect(0);
        let export = scene.export();
        crate::support::check_promises(&scene, &export);
        assert!(export.values().all(|row| row["state"] != "pending"));
    }
}

/// Finding out what a long list is like must not use up what few requests there are, or wait for more.
#[test]
fn few_requests_and_a_long_list_end_as_they_should() {
    let (scene, _) = scene();
    let list: String = (0..50_000)
        .map(|number| format!("stranger{number}@example.org\n"))
        .collect();
    scene.write("long.txt", list);
    let job = [
        "assign",
        "--status",
        "vip",
        "long.txt",
        "--yes",
        "--max-requests",
        "20",
        "--rate",
        "unlimited",
    ];
    scene.run(&job).refused(4, &["--max-requests"]);
    assert!(scene.tenant().requests().len() <= 20);
}

#[test]
fn many_short_runs_end_where_one_long_one_does() {
    let (scene, entries) = scene();
    let more = ["--batch-size", "100", "--resolve", "one"];
    let job = [&["assign", "--yes"], &JOB[..], &more].concat();
    let mut runs = 0;
    loop {
        let before = scene.tenant().requests().len();
        let ran = scene.run(&[&job[..], &["--max-requests", "120"]].concat());
        assert!(scene.tenant().requests().len() - before <= 120);
        runs += 1;
        assert!(runs < 30, "they get nowhere: {ran:?}");
        if ran.code == Some(0) {
            break;
        }
        ran.refused(4, &["--max-requests"]);
    }
    assert!(runs > 5, "{runs}");
    let status = scene.status();
    assert_eq!(status["finished"], true);
    assert_eq!(status["entries"], entries);
    crate::support::check_promises(&scene, &scene.export());
}

#[test]
fn senseless_ends_are_refused_before_anybody_is_asked() {
    let (scene, _) = scene();
    for (flag, value, words) in [
        ("--max-requests", "0", "at least 20"),
        ("--max-requests", "-5", "at least 20"),
        ("--max-requests", "many", "at least 20"),
        ("--until", "soon", "06:00"),
        ("--until", "25:00", "06:00"),
        ("--until", "2020-01-01T06:00", "past"),
        ("--until", "3026-01-01T06:00", "slip"),
    ] {
        let ran = scene
            .run(&[&["assign", "--yes"], &JOB[..], &[&format!("{flag}={value}")]].concat())
            .expect(2);
        assert!(ran.stderr.contains(words), "{flag} {value}: {}", ran.stderr);
    }
    assert_eq!(scene.names(), ["list.csv"]);
    assert!(scene.tenant().requests().is_empty());
}

#[test]
fn at_the_time_set_nothing_new_is_begun_and_what_was_sent_is_settled() {
    let (scene, entries) = scene();
    let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(5);
    let soon = soon.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let job = [
        "assign",
        "--yes",
        "--status",
        "vip",
        "--rate",
        "40/s",
        "--batch-size",
        "20",
        "list.csv",
        "--resolve",
        "one",
        "--until",
        &soon,
    ];
    let mut command = scene.command(&job);
    let ran = crate::support::Ran::from(command.env("TZ", "UTC").output().unwrap());
    let ran = ran.refused(4, &["--until", "rollbook resume"]);
    assert!(ran.stderr.contains("finishing what was begun"), "{}", ran.stderr);
    let status = scene.status();
    assert_eq!(
        (&status["batches"]["accepted"], &status["batches"]["sealed"]),
        (&0.into(), &0.into()),
        "{status}"
    );
    let pending = status["states"]["pending"].as_u64().unwrap();
    assert!(0 < pending && pending < entries, "{status}");
    scene.run(&["resume", "--rate", "unlimited"]).expect(0);
    assert_eq!(scene.status()["finished"], true);
    crate::support::check_promises(&scene, &scene.export());
}

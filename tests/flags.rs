//! Flags, the environment, and what a job keeps of them.

use crate::support::{Ran, Scene, TOKEN, cast, options};
use rollbook::sandbox::Options;

const FAST: [&str; 3] = ["--rate", "unlimited", "--yes"];

/// A command with this environment, in a scene whose tenant is not in the environment.
fn run_in(scene: &Scene, environment: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = scene.command(arguments);
    command
        .env_remove("OMNEO_BASE_URL")
        .env("OMNEO_TOKEN", TOKEN)
        .envs(environment.iter().copied());
    Ran::from(command.output().unwrap())
}

#[test]
fn a_flag_beats_the_environment() {
    let (one, other) = (Scene::with(options()), Scene::with(options()));
    let (first, second) = (one.tenant().base_url(), other.tenant().base_url());
    let in_environment = [("OMNEO_BASE_URL", first.as_str())];
    run_in(&one, &in_environment, &["statuses", "--base-url", &second]).expect(0);
    assert!(one.tenant().requests().is_empty(), "the flag names another");
    assert!(!other.tenant().requests().is_empty());
    // No request leaves for a tenant that the environment names while a flag names another.
    let tenant = ["statuses", "--tenant", "no-such-tenant-4f1e9d"];
    let ran = run_in(&one, &in_environment, &tenant);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(one.tenant().requests().is_empty(), "the flag names another");
    let ran = run_in(
        &one,
        &[("OMNEO_TENANT", "acme")],
        &["statuses", "--base-url", &first],
    );
    ran.expect(0);
}

#[test]
fn what_contradicts_is_refused() {
    let scene = Scene::with(options());
    let url = scene.tenant().base_url();
    let flags = ["statuses", "--tenant", "acme", "--base-url", &url];
    run_in(&scene, &[], &flags).refused(2, &["--tenant", "--base-url", "acme", &url]);
    let both = [("OMNEO_TENANT", "acme"), ("OMNEO_BASE_URL", url.as_str())];
    run_in(&scene, &both, &["statuses"]).refused(2, &["OMNEO_TENANT", "OMNEO_BASE_URL"]);
    run_in(&scene, &[("OMNEO_BASE_URL", &url)], &["statuses", "--tenant", ""])
        .refused(2, &["cannot be a tenant"]);
    assert!(scene.tenant().requests().is_empty());
    // Said twice is no contradiction, and a flag settles what the environment leaves open.
    run_in(&scene, &both, &["statuses", "--base-url", &url]).expect(0);
}

#[test]
fn a_variable_that_is_set_to_nothing_is_as_good_as_none() {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\n");
    let empty = [
        ("ROLLBOOK_LEDGER", ""),
        ("OMNEO_TENANT", " "),
        ("OMNEO_BASE_URL", ""),
    ];
    run_in(&scene, &empty, &["load", "list.txt"]).expect(0);
    assert!(scene.path("rollbook.db").exists());
    run_in(
        &scene,
        &[("ROLLBOOK_LEDGER", "other.db")],
        &["status", "--ledger", "rollbook.db"],
    )
    .expect(0);
    run_in(
        &scene,
        &[("ROLLBOOK_LEDGER", "rollbook.db")],
        &["status", "--ledger", "other.db"],
    )
    .refused(2, &["other.db"]);
}

#[test]
fn a_token_file_beats_the_environment() {
    let scene = Scene::with(options());
    scene.write("token", "another-token");
    let url = scene.tenant().base_url();
    let arguments = ["statuses", "--token-file", "token"];
    run_in(&scene, &[("OMNEO_BASE_URL", &url)], &arguments).refused(5, &["token"]);
}

/// A job of two batches at a tenant that loses every write, which are held for a person.
fn two_held() -> Scene {
    let deaf = Options {
        drop_writes_percent: 100.0,
        ..options()
    };
    let mut scene = Scene::with(deaf.clone());
    scene.write("list.csv", cast(&deaf, 60, "already_assigned", "batched").list);
    let job = [
        "assign",
        "--status",
        "vip",
        "--in-doubt",
        "hold",
        "--batch-size",
        "30",
    ];
    let once = ["--settle-deadline", "1s", "list.csv"];
    scene.run(&[&job[..], &FAST, &once].concat()).expect(3);
    assert!(scene.status()["batches"]["held"].as_u64().unwrap() >= 2);
    let port = scene.tenant().port();
    scene.close();
    scene.open(Options { port, ..options() });
    scene
}

#[test]
fn what_was_chosen_for_safety_stays_with_the_job() {
    let scene = two_held();
    let status = scene.run(&["status"]).expect(0).stdout;
    let kept = "--in-doubt hold --rate unlimited --batch-size 30";
    assert!(status.contains(&format!("Options   {kept}\n")), "{status}");
    let ruling = [
        "settle",
        "--batch",
        "1",
        "--as",
        "absent",
        "--by",
        "Ann Lee",
        "--because",
        "ticket 4711",
    ];
    scene.run(&ruling).expect(0);
    let held = scene.status()["batches"]["held"].as_u64().unwrap();
    let ran = scene.run(&["resume"]).expect(3);
    assert!(ran.stderr.contains(kept), "{}", ran.stderr);
    assert_eq!(scene.tenant().writes().len(), 1, "only what was ruled on is sent");
    assert_eq!(scene.status()["batches"]["held"], held);
    assert_eq!(scene.status()["options"]["in_doubt"], "hold");
}

#[test]
fn a_choice_is_changed_by_naming_another_one() {
    let scene = Scene::with(options());
    scene.write(
        "list.csv",
        cast(&options(), 20, "already_assigned", "confirmed").list,
    );
    let job = ["assign", "--status", "vip", "list.csv"];
    let first = [
        "--rate",
        "200/s",
        "--reserve",
        "10%",
        "--confirm",
        "all",
        "--dry-run",
    ];
    scene.run(&[&job[..], &first].concat()).expect(0);
    scene.run(&["resume", "--rate", "unlimited", "--yes"]).expect(0);
    let kept = &scene.status()["options"];
    assert_eq!(
        kept,
        &serde_json::json!({"in_doubt": "verify", "rate": "unlimited", "reserve": "10%", "confirm": "all", "batch_size": 300})
    );
    // Nobody said yes to this one, so nothing of it is kept.
    scene.write("more.txt", format!("{}\n", options().person(40).email));
    let more = ["assign", "--status", "vip", "more.txt", "--confirm", "none"];
    scene.run(&more).refused(5, &["--yes"]);
    assert_eq!(&scene.status()["options"], kept);
    let runs = run_options(&scene);
    let rates: Vec<&str> = runs.iter().map(|run| run["rate"].as_str().unwrap()).collect();
    assert_eq!(rates, ["200/s", "unlimited"]);
    assert_eq!(
        (&runs[0]["dry_run"], &runs[1]["dry_run"]),
        (&true.into(), &false.into())
    );
    assert_eq!(runs[1]["settle_deadline_seconds"], 900.0);
}

/// The options of each run, as the ledger recorded them.
fn run_options(scene: &Scene) -> Vec<serde_json::Value> {
    let ledger = rusqlite::Connection::open(scene.path("rollbook.db")).unwrap();
    let mut query = ledger.prepare("SELECT options FROM run ORDER BY id").unwrap();
    let texts = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    texts
        .map(|text| serde_json::from_str(&text.unwrap()).unwrap())
        .collect()
}

#[test]
fn a_dry_run_and_a_resume_prove_as_much_as_one_run() {
    let tenant = Options {
        holders_percent: 0,
        ..options()
    };
    let list = cast(&tenant, 1_200, "already_assigned", "confirmed").list;
    let sampled = |dry_first: bool| {
        let scene = Scene::with(tenant.clone());
        scene.write("list.csv", &list);
        let job = [&["assign", "--status", "vip", "list.csv"][..], &FAST].concat();
        if dry_first {
            scene.run(&[&job[..], &["--dry-run"]].concat()).expect(0);
            scene.run(&["resume", "--yes"]).expect(0);
        } else {
            scene.run(&job).expect(0);
        }
        scene.status()["sampled"].as_u64().unwrap()
    };
    let (at_once, dry_first) = (sampled(false), sampled(true));
    assert!(dry_first * 10 >= at_once * 9, "{dry_first} of {at_once}");
}

const VERBS: [&str; 15] = [
    "demo", "load", "lists", "unload", "plan", "assign", "remove", "resume", "status", "export", "batches",
    "settle", "statuses", "doctor", "sandbox",
];

#[test]
fn every_help_begins_with_examples_and_fits_a_screen() {
    let scene = Scene::offline();
    for verb in VERBS {
        let short = scene.run(&[verb, "-h"]).expect(0).stdout;
        let whole = scene.run(&[verb, "--help"]).expect(0).stdout;
        assert!(short.starts_with("Examples:\n  rollbook "), "{verb}: {short}");
        assert!(whole.starts_with("Examples:\n  rollbook "), "{verb}");
        let lines = short.lines().count();
        assert!(lines <= 40, "{verb} -h has {lines} lines:\n{short}");
        assert!(
            short.lines().all(|line| line.chars().count() <= 100),
            "{verb}: {short}"
        );
        let (own, global) = whole.split_once("Global options:").unwrap();
        assert!(
            global.contains("--ledger") && !own.contains("  --ledger <PATH>"),
            "{verb}: {whole}"
        );
    }
    let short = scene.run(&["-h"]).expect(0).stdout;
    assert!(short.lines().count() <= 40, "{short}");
    let resume = scene.run(&["resume", "--help"]).expect(0).stdout;
    for flag in [
        "--settle-deadline",
        "--adopt",
        "--max-requests",
        "--reuse-not-found",
        "--progress",
    ] {
        assert!(resume.contains(flag), "{flag}: {resume}");
    }
    assert!(
        scene
            .run(&["remove", "--help"])
            .expect(0)
            .stdout
            .contains("no undo")
    );
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    let scene = Scene::with(options());
    scene.write("list.txt", "ann@example.com\n");
    let job = ["assign", "--status", "vip", "--yes", "list.txt"];
    for pair in [
        &["--dry-run", "--limit", "3"][..],
        &["--quiet", "--verbose"],
        &["--quiet", "--progress", "json"],
        &["--quiet", "--progress", "bar"],
        &["--reuse", "other.db", "--adopt"],
        &["--max-age", "7d"],
    ] {
        let ran = scene.run(&[&job[..], pair].concat()).expect(2);
        assert!(ran.stderr.contains("error"), "{pair:?}: {}", ran.stderr);
    }
    assert_eq!(scene.names(), ["list.txt"]);
    assert!(scene.tenant().requests().is_empty());
}

#[test]
fn every_hint_names_the_ledger() {
    let scene = Scene::with(options());
    let other = ["--ledger", "vip list.db"];
    let commands = |ran: &Ran| -> Vec<String> {
        let said = format!("{}{}", ran.stdout, ran.stderr);
        let lines = said.lines().filter(|line| line.contains("rollbook "));
        lines.map(str::to_owned).collect()
    };
    let check = |ran: Ran| {
        let lines = commands(&ran);
        assert!(!lines.is_empty(), "{ran:?}");
        for line in lines {
            assert!(line.contains("--ledger 'vip list.db'"), "{line}");
        }
    };
    check(scene.run(&[&["resume"][..], &other].concat()));
    scene.write(
        "list.csv",
        cast(&options(), 60, "already_assigned", "confirmed").list,
    );
    check(scene.run(&[&["load", "list.csv"][..], &other].concat()));
    check(scene.run(&[&["resume"][..], &other].concat()));
    let job = ["assign", "--status", "vip", "--rate", "unlimited", "--yes"];
    check(
        scene
            .run(&[&job[..], &other, &["--limit", "5"]].concat())
            .expect(4),
    );
    check(
        scene
            .run(&[&["resume", "--yes", "--max-requests", "20"][..], &other].concat())
            .expect(4),
    );
    check(scene.run(&[&["status"][..], &other].concat()));
}

#[test]
fn quiet_is_quiet_everywhere() {
    let scene = Scene::with(options());
    scene.write(
        "list.csv",
        cast(&options(), 20, "already_assigned", "confirmed").list,
    );
    let job = [
        "assign",
        "-q",
        "--status",
        "vip",
        "--rate",
        "unlimited",
        "--yes",
        "list.csv",
    ];
    for command in [
        &["load", "-q", "list.csv"][..],
        &job,
        &["resume", "-q"],
        &["doctor", "-q"],
    ] {
        let ran = scene.run(command).expect(0);
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("", ""),
            "{command:?}"
        );
    }
    // What was asked for is the answer; nothing comes beside it.
    for command in [
        &["status", "-q"][..],
        &["plan", "-q"],
        &["batches", "-q"],
        &["statuses", "-q"],
        &["export", "-q"],
    ] {
        let ran = scene.run(command).expect(0);
        assert_eq!(ran.stderr, "", "{command:?}");
        assert!(!ran.stdout.is_empty(), "{command:?}");
    }
    scene.write("more.txt", format!("{}\n", options().person(500).email));
    let ran = scene
        .run(&["assign", "-q", "--status", "vip", "more.txt"])
        .refused(5, &["--yes"]);
    assert!(!ran.stderr.contains("Plan "), "{}", ran.stderr);
}

#[test]
fn every_run_records_its_options() {
    let scene = Scene::with(options());
    scene.write("list.txt", "nobody@example.com\n");
    scene.write("tok", super::support::TOKEN);
    let job = ["assign", "--status", "vip", "--yes", "--rate", "unlimited"];
    scene
        .run(&[&job[..], &["--ledger", "earlier.db", "list.txt"]].concat())
        .expect(0);
    let reuse = [
        "--reuse",
        "earlier.db",
        "--max-age",
        "12h",
        "--reuse-not-found",
        "--lookup-age",
        "90min",
        "--token-file",
        "tok",
        "list.txt",
    ];
    scene.run(&[&job[..], &reuse].concat()).expect(0);
    scene
        .run(&[
            "resume",
            "--retry",
            "failed",
            "--by",
            "Ann",
            "--because",
            "they asked",
        ])
        .expect(0);
    let connection = rusqlite::Connection::open(scene.path("rollbook.db")).unwrap();
    let mut query = connection.prepare("SELECT options FROM run ORDER BY id").unwrap();
    let rows = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let rows: Vec<serde_json::Value> = rows
        .map(|options| serde_json::from_str(&options.unwrap()).unwrap())
        .collect();
    let path = |name: &str| scene.path(name).canonicalize().unwrap().display().to_string();
    assert_eq!(rows[0]["reuse"], path("earlier.db"));
    assert_eq!(rows[0]["max_age_seconds"], 43_200.0);
    assert_eq!(rows[0]["reuse_not_found"], true);
    assert_eq!(rows[0]["lookup_age_seconds"], 5_400.0);
    assert_eq!(rows[0]["token_file"], path("tok"));
    assert_eq!(rows[0]["yes"], true);
    assert_eq!(rows[0]["retry"], serde_json::Value::Null);
    assert_eq!(rows[1]["retry"], "failed");
    assert_eq!(rows[1]["by"], "Ann");
    assert_eq!(rows[1]["reuse"], serde_json::Value::Null);
}

#[test]
fn a_pilot_is_read_back_whole_and_shown() {
    let tenant = Options {
        holders_percent: 0,
        duplicates_percent: 0.0,
        ..options()
    };
    let emails: Vec<String> = (0..400).map(|index| tenant.person(index).email).collect();
    let scene = Scene::with(tenant);
    scene.write("list.txt", emails.join("\n"));
    let job = [
        "assign",
        "--status",
        "vip",
        "--rate",
        "unlimited",
        "--yes",
        "--limit",
        "10",
        "list.txt",
    ];
    let ran = scene.run(&job).expect(4);
    assert!(!ran.stderr.contains("error:"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("stopped: at --limit, as asked"),
        "{}",
        ran.stderr
    );
    assert_eq!(scene.status()["reasons"]["seen"], 10, "every one was read back");
    for index in 0..10 {
        let person = scene.tenant().person(index);
        let shown = ran.stdout.lines().find(|line| line.contains(&person.profile_id));
        let shown = shown.unwrap_or_else(|| panic!("{} is missing: {}", person.email, ran.stdout));
        let (local, domain) = person.email.split_once('@').unwrap();
        let beginning: String = local.to_lowercase().chars().take(2).collect();
        assert!(
            shown.contains(&format!("{beginning}…@{}", domain.to_lowercase())),
            "{shown}"
        );
        // The sandbox makes emails of names.
        let name = shown
            .split("  ")
            .filter(|part| !part.is_empty())
            .nth(1)
            .unwrap()
            .trim();
        let folded = name.to_lowercase().replace(' ', "");
        let letters = local.to_lowercase().replace(['.', '-', '_'], "");
        assert!(
            name.contains(' ') && letters.starts_with(&folded),
            "{name}: {}",
            person.email
        );
    }
    assert!(
        ran.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        ran.stdout
    );
    // What a pilot reads back is no choice for the job.
    assert_eq!(scene.status()["options"]["confirm"], "sample");
}

#[test]
fn the_doctor_notices_a_token_without_the_right_to_write() {
    let scene = Scene::with(Options {
        scopes: vec!["read-profiles".into(), "read-statuses".into()],
        ..options()
    });
    let ran = scene.run(&["doctor"]).refused_with_answer(5);
    assert!(
        ran.contains("BROKEN      the token lacks the scope update-profiles"),
        "{ran}"
    );
    let quiet = scene.run(&["doctor", "-q"]).refused_with_answer(5);
    assert!(
        quiet.starts_with("BROKEN") && quiet.lines().count() == 1,
        "{quiet}"
    );
}

#[test]
fn status_beside_a_run_says_how_fast_how_long_and_why_it_waits() {
    let tenant = Options {
        profiles: 4_000,
        ..options()
    };
    let emails: Vec<String> = (0..3_000).map(|index| tenant.person(index).email).collect();
    let scene = Scene::with(tenant);
    scene.write("list.txt", emails.join("\n"));
    let job = [
        "assign",
        "--status",
        "vip",
        "--rate",
        "20/s",
        "--resolve",
        "one",
        "--yes",
        "list.txt",
    ];
    let mut run = scene.spawn(&job);
    let began = std::time::Instant::now();
    let status = loop {
        let ran = scene.run(&["status"]);
        if ran.stdout.contains("Pace ") || began.elapsed() > std::time::Duration::from_secs(60) {
            break ran.stdout;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let json = scene.status();
    let plan = scene.run(&["plan", "--limit", "5"]);
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(status.contains("Now       rollbook assign, process "), "{status}");
    assert!(
        status.contains("/s, about ") && status.contains(" to go ("),
        "{status}"
    );
    let now = &json["under_way"];
    assert_eq!(now["verb"], "assign");
    assert!(now["requests_per_second"].as_f64().unwrap() > 0.0, "{now}");
    assert!(now["remaining_seconds"].as_u64().unwrap() > 0, "{now}");
    assert!(now["started_at"].as_str().unwrap().ends_with('Z'), "{now}");
    assert!(
        plan.expect(0)
            .stderr
            .contains("a run is under way on this ledger")
    );
    // A run that was killed has not ended, and is not under way either.
    assert_eq!(scene.status()["under_way"], serde_json::Value::Null);
}

#[test]
fn stopping_as_asked_is_no_error() {
    let tenant = Options {
        latency: std::time::Duration::from_millis(300),
        ..options()
    };
    let emails: Vec<String> = (0..1_000).map(|index| tenant.person(index).email).collect();
    let scene = Scene::with(tenant);
    scene.write("list.txt", emails.join("\n"));
    let job = [
        "assign",
        "--status",
        "vip",
        "--rate",
        "20/s",
        "--resolve",
        "one",
        "--yes",
        "list.txt",
    ];
    let child = scene
        .command(&[&job[..], &["--ledger", "vip.db"]].concat())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while scene.tenant().requests().len() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap()).expect(4);
    assert!(!ran.stderr.contains("error:"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("stopped: before the end, as asked"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("`rollbook --ledger vip.db resume` goes on"),
        "{}",
        ran.stderr
    );
    let stopping = ran
        .stderr
        .lines()
        .find(|line| line.starts_with("Stopping"))
        .unwrap();
    assert!(
        stopping.contains("finishing") && stopping.ends_with("Ctrl-C again quits now."),
        "{stopping}"
    );
}

//! The whole job, in every way in which a tenant may behave, judged by what the tenant saw.

use crate::support::{Cast, Scene, TOKEN, cast, check_doctor, check_promises, options};
use rollbook::sandbox::{
    CountStyle, EnvelopeStyle, FilterMode, OpenFile, Options, RetryAfterStyle, UnknownIds,
};
use std::time::Duration;

const FAST: [&str; 5] = ["--rate", "unlimited", "--yes", "--settle-deadline", "20s"];

/// Runs a whole job and checks the ending against the cast, the promises and the books.
fn journey(options: Options, more: &[&str]) -> Scene {
    let cast = cast(&options, 400, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let mut arguments = vec!["assign", "--status", "vip", "list.csv", "--batch-size", "50"];
    arguments.extend(FAST);
    arguments.extend(more);
    scene.run(&arguments).expect(0);
    check(&scene, &cast);
    scene
}

fn check(scene: &Scene, cast: &Cast) {
    let export = scene.export();
    cast.check(&export);
    check_promises(scene, &export);
    check_doctor(scene, &scene.path("rollbook.db"));
    let status = scene.status();
    assert_eq!(status["rows"], cast.rows);
    assert_eq!(status["repeats"], cast.repeats);
    assert_eq!(status["rejected"], cast.rejected);
    assert_eq!(
        status["rows"],
        status["entries"].as_u64().unwrap() + cast.repeats + cast.rejected
    );
    assert_eq!(status["states"]["confirmed"], cast.count("confirmed"));
    let sent: usize = scene
        .tenant()
        .writes()
        .iter()
        .map(|write| write.members.len())
        .sum();
    assert_eq!(sent, cast.count("confirmed"));
}

#[test]
fn exact_filter() {
    journey(options(), &[]);
}

#[test]
fn partial_filter() {
    journey(
        Options {
            filter: FilterMode::Partial,
            page_max: 3,
            ..options()
        },
        &[],
    );
}

#[test]
fn many_duplicates_over_pages() {
    journey(
        Options {
            duplicates_percent: 20.0,
            page_max: 1,
            page_default: 1,
            ..options()
        },
        &[],
    );
}

#[test]
fn counts_as_strings_and_a_bare_envelope() {
    journey(
        Options {
            counts: CountStyle::String,
            envelope: EnvelopeStyle::Bare,
            ..options()
        },
        &[],
    );
}

#[test]
fn counts_as_null_and_unknown_states() {
    journey(
        Options {
            counts: CountStyle::Null,
            unknown_state: true,
            ..options()
        },
        &[],
    );
}

#[test]
fn a_batch_is_not_found_for_a_while() {
    journey(
        Options {
            not_found_for: Duration::from_millis(700),
            ..options()
        },
        &[],
    );
}

#[test]
fn effects_show_late() {
    let scene = journey(
        Options {
            show_delay: Duration::from_millis(900),
            ..options()
        },
        &[],
    );
    // The sample missed, so every member was read.
    assert!(
        scene
            .export()
            .values()
            .all(|row| row["state"] != "confirmed" || row["evidence"] == "seen")
    );
}

#[test]
fn every_profile_is_read_back_on_request() {
    let scene = journey(options(), &["--confirm", "all"]);
    assert!(
        scene
            .export()
            .values()
            .all(|row| row["state"] != "confirmed" || row["evidence"] == "seen")
    );
}

#[test]
fn the_tenants_word_is_taken_on_request() {
    let scene = journey(options(), &["--confirm", "none"]);
    assert!(
        scene
            .export()
            .values()
            .all(|row| row["state"] != "confirmed" || row["evidence"] == "reported")
    );
}

#[test]
fn rate_limits_in_all_spellings() {
    for retry_after in [
        RetryAfterStyle::Seconds,
        RetryAfterStyle::Date,
        RetryAfterStyle::Missing,
    ] {
        journey(
            Options {
                rate_limit: Some("300/s".parse().unwrap()),
                rate_headers: retry_after == RetryAfterStyle::Seconds,
                retry_after,
                ..options()
            },
            &[],
        );
    }
}

#[test]
fn a_batch_that_is_too_large_is_split() {
    for payload in [false, true] {
        let scene = journey(
            Options {
                batch_max: if payload { 500 } else { 20 },
                payload_max: if payload { 20 } else { u32::MAX },
                ..options()
            },
            &[],
        );
        assert!(
            scene
                .tenant()
                .writes()
                .iter()
                .all(|write| write.members.len() <= 20)
        );
    }
}

#[test]
fn who_is_too_large_alone_fails_and_is_not_split_for_ever() {
    let scene = Scene::with(Options {
        payload_max: 0,
        ..options()
    });
    let ann = scene.tenant().person(1);
    scene.tenant().set_statuses(&ann.profile_id, Vec::new());
    scene.write("list.txt", format!("{}\n", ann.email));
    let arguments = [&["assign", "--status", "vip", "list.txt"], &FAST[..]].concat();
    scene.run(&arguments).expect(3);
    let row = &scene.export()[&ann.email.to_lowercase()];
    assert_eq!(
        (row["state"].as_str(), row["reason"].as_str()),
        ("failed", "refused")
    );
    assert!(row["detail"].contains("413"), "{row:?}");
}

#[test]
fn remove_is_the_mirror_image() {
    let options = Options {
        holders_percent: 60,
        ..options()
    };
    let cast = cast(&options, 400, "not_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let mut arguments = vec!["remove", "--status", "vip", "list.csv"];
    arguments.extend(FAST);
    scene.run(&arguments).expect(0);
    check(&scene, &cast);
    let confirmed: Vec<String> = scene
        .export()
        .into_values()
        .filter(|row| row["state"] == "confirmed")
        .map(|row| row["profile_id"].clone())
        .collect();
    let holders = scene.tenant().holders("vip");
    assert!(confirmed.iter().all(|profile| !holders.contains(profile)));
}

#[test]
fn nothing_is_replaced() {
    let scene = Scene::with(options());
    let ann = scene.tenant().person(1);
    scene
        .tenant()
        .set_statuses(&ann.profile_id, vec!["gold".into(), "staff".into()]);
    scene.write("list.txt", format!("{}\n", ann.email));
    scene
        .run(&[&["assign", "--status", "vip,gold", "list.txt"], &FAST[..]].concat())
        .expect(0);
    let mut now = scene.tenant().person(1).statuses;
    now.sort();
    assert_eq!(now, ["gold", "staff", "vip"]);
    // What the profile held already was not sent, and what it held is on record.
    assert_eq!(scene.tenant().writes()[0].members[0].1, ["vip"]);
    assert_eq!(
        scene.export()[&ann.email.to_lowercase()]["held_before"],
        "gold staff"
    );
}

#[test]
fn unknown_profiles_fail_alone() {
    for unknown_ids in [UnknownIds::Reject, UnknownIds::Item, UnknownIds::Silent] {
        let options = Options {
            unknown_ids,
            ..options()
        };
        let cast = cast(&options, 100, "already_assigned", "confirmed");
        let scene = Scene::with(options);
        scene.write("list.csv", &cast.list);
        let job = ["assign", "--status", "vip", "list.csv"];
        scene.run(&[&job[..], &FAST, &["--dry-run"]].concat()).expect(0);
        assert_eq!(scene.tenant().writes().len(), 0);
        let export = scene.export();
        let lost = export.values().find(|row| row["state"] == "resolved").unwrap();
        scene.tenant().delete_profile(&lost["profile_id"]);
        // A profile that is gone is seen to be gone only where everybody is read.
        scene
            .run(&[&["resume", "--confirm", "all"], &FAST[..]].concat())
            .expect(3);
        let export = scene.export();
        let states = |state: &str| export.values().filter(|row| row["state"] == state).count();
        assert_eq!(states("failed"), 1, "{unknown_ids}");
        assert_eq!(states("confirmed"), cast.count("confirmed") - 1, "{unknown_ids}");
        assert_eq!(export[&lost["email"]]["state"], "failed");
        check_promises(&scene, &export);
        check_doctor(&scene, &scene.path("rollbook.db"));
    }
}

#[test]
fn a_success_that_changed_nothing_is_noticed() {
    let options = Options {
        drop_handle_effect: true,
        ..options()
    };
    let scene = Scene::with(options.clone());
    let emails: Vec<String> = (0..30).map(|index| options.person(index).email).collect();
    scene.write("list.txt", emails.join("\n"));
    let mut arguments = vec!["assign", "--status", "gold", "list.txt"];
    arguments.extend(FAST);
    arguments.extend(["--settle-deadline", "1s"]);
    arguments.retain(|argument| *argument != "20s");
    let position = arguments
        .iter()
        .position(|argument| *argument == "--settle-deadline")
        .unwrap();
    arguments.remove(position);
    // Nothing of it shows, and a second is too short to know that nothing will.
    scene.run(&arguments).expect(4);
    let export = scene.export();
    assert!(
        export.values().all(|row| row["state"] != "confirmed"),
        "a batch's success proves nothing"
    );
    assert!(export.values().any(|row| row["state"] == "batched"));
}

#[test]
fn lost_answers_are_found_in_the_tenants_list() {
    let options = Options {
        lose_answers_percent: 50.0,
        ..options()
    };
    let cast = cast(&options, 400, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    scene
        .run(
            &[
                &["assign", "--status", "vip", "list.csv", "--batch-size", "25"],
                &FAST[..],
            ]
            .concat(),
        )
        .expect(0);
    check(&scene, &cast);
    let export = scene.export();
    let found: Vec<_> = export.values().filter(|row| row["rung"] == "found").collect();
    assert!(!found.is_empty(), "half of the answers were lost");
    let taken = scene.tenant().writes();
    for row in found {
        let right = taken.iter().find(|write| write.batch_id == row["batch_id"]);
        let members = &right.expect("a batch id of the tenant's").members;
        assert!(
            members.iter().any(|member| member.0 == row["profile_id"]),
            "{row:?}"
        );
    }
}

#[test]
fn a_write_that_never_arrived_is_held_and_never_sent_blindly() {
    let options = Options {
        drop_writes_percent: 100.0,
        ..options()
    };
    let cast = cast(&options, 60, "already_assigned", "batched");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let job = [
        "assign",
        "--status",
        "vip",
        "list.csv",
        "--rate",
        "unlimited",
        "--yes",
        "--settle-deadline",
        "1s",
    ];
    scene.run(&job).expect(3);
    cast.check(&scene.export());
    assert_eq!(scene.status()["batches"]["held"], 1);
    // Going on looks again and, without the last rung, still does not send.
    scene
        .run(&["resume", "--rate", "unlimited", "--in-doubt", "hold"])
        .expect(3);
    assert_eq!(
        scene
            .tenant()
            .requests()
            .iter()
            .filter(|seen| is_write(seen))
            .count(),
        1
    );
}

fn is_write(seen: &rollbook::sandbox::Seen) -> bool {
    seen.route == rollbook::sandbox::Route::BatchWrite
}

#[test]
fn the_limit_sends_exactly_the_first() {
    let options = options();
    let cast = cast(&options, 200, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let job = ["assign", "--status", "vip", "list.csv"];
    scene
        .run(&[&job[..], &FAST, &["--limit", "10"]].concat())
        .expect(4);
    let export = scene.export();
    let mut by_line: Vec<(u64, &str)> = export
        .values()
        .map(|row| (row["line"].parse().unwrap(), row["state"].as_str()))
        .collect();
    by_line.sort_unstable();
    let last = by_line
        .iter()
        .rposition(|(_, state)| *state == "confirmed")
        .unwrap();
    assert_eq!(
        by_line.iter().filter(|(_, state)| *state == "confirmed").count(),
        10
    );
    assert!(
        by_line[..last].iter().all(|(_, state)| *state != "pending"),
        "the first ten, not any ten"
    );
    scene.run(&[&job[..], &FAST].concat()).expect(0);
    check(&scene, &cast);
}

#[test]
fn the_same_command_again_repeats_nothing() {
    let scene = journey(options(), &[]);
    let before = (scene.tenant().writes().len(), scene.tenant().requests().len());
    let again = scene
        .run(&[&["assign", "--status", "vip", "list.csv"], &FAST[..]].concat())
        .expect(0);
    assert!(again.stderr.contains("already in the ledger"), "{}", again.stderr);
    assert_eq!(scene.tenant().writes().len(), before.0);
    assert!(
        scene.tenant().requests().len() - before.1 <= 6,
        "only the preflight"
    );
    // A corrected list brings what is new, and nothing else.
    let options = options();
    let more = format!(
        "{}n,{}\n",
        std::fs::read_to_string(scene.path("list.csv")).unwrap(),
        options.person(500).email
    );
    scene.write(
        "list-2.csv",
        more.replace("not-an-email", &options.person(501).email),
    );
    scene
        .run(&[&["assign", "--status", "vip", "list-2.csv"], &FAST[..]].concat())
        .expect(0);
    let status = scene.status();
    assert_eq!(status["lists"][1]["entries"], 2);
    check_promises(&scene, &scene.export());
}

#[test]
fn two_emails_of_one_profile_send_it_once() {
    let scene = Scene::with(options());
    let (ann, email) = (scene.tenant().person(3), scene.tenant().person(3).email);
    scene.write("list.txt", format!("{email}\nnew-address@example.com\n"));
    // The profile's address changes between the two look-ups.
    scene
        .run(
            &[
                &["assign", "--status", "gold", "list.txt", "--limit", "1"],
                &FAST[..],
            ]
            .concat(),
        )
        .expect(4);
    scene
        .tenant()
        .set_email(&ann.profile_id, "new-address@example.com");
    scene.tenant().set_statuses(&ann.profile_id, vec![]);
    scene.run(&[&["resume"], &FAST[..]].concat()).expect(0);
    assert_eq!(
        scene.export()["new-address@example.com"]["reason"],
        "same_profile"
    );
    check_promises(&scene, &scene.export());
}

#[test]
fn a_token_that_is_revoked_stops_the_run_and_a_new_one_goes_on() {
    let mut scene = Scene::offline();
    let state = scene.path("tenant.jsonl");
    let options = Options {
        latency: Duration::from_millis(5),
        state: Some(OpenFile::new(
            &state,
            rollbook::files::open_or_make(&state).unwrap(),
        )),
        ..options()
    };
    let cast = cast(&options, 400, "already_assigned", "confirmed");
    scene.open(options.clone());
    scene.write("list.csv", &cast.list);
    let mut child = scene.spawn(
        &[
            &[
                "assign",
                "--status",
                "vip",
                "list.csv",
                "--batch-size",
                "50",
                "--resolve",
                "one",
            ],
            &FAST[..],
        ]
        .concat(),
    );
    while scene.tenant().requests().len() < 150 {
        std::thread::sleep(Duration::from_millis(5));
    }
    scene.tenant().revoke_token();
    assert_eq!(child.wait().unwrap().code(), Some(4));
    let refused = scene.run(&[&["resume"], &FAST[..]].concat()).expect(5);
    assert!(refused.stderr.contains("OMNEO_TOKEN"), "{}", refused.stderr);
    assert!(!refused.stderr.contains(TOKEN));
    // Restarted under the same address, the tenant takes the token again.
    let port = scene.tenant().port();
    scene.close();
    scene.open(Options { port, ..options });
    scene.run(&[&["resume"], &FAST[..]].concat()).expect(0);
    check(&scene, &cast);
}

#[test]
fn a_demo_leaves_a_folder_that_no_demo_made() {
    let scene = Scene::offline();
    let at = |name: &str| scene.path("real").join(name);
    std::fs::create_dir(scene.path("real")).unwrap();
    std::fs::write(at("customers.csv"), "email\nann@example.com\n").unwrap();
    std::fs::write(at("archive.zip"), "PK").unwrap();
    let ledger = at("rollbook.db");
    let list = at("customers.csv");
    scene
        .run(&[
            "load",
            "--ledger",
            ledger.to_str().unwrap(),
            list.to_str().unwrap(),
        ])
        .expect(0);
    let read = || -> std::collections::BTreeMap<_, _> {
        let entries = std::fs::read_dir(scene.path("real")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    };
    let before = read();
    scene
        .run(&["demo", "--folder", "real"])
        .refused(2, &["no demo made it"]);
    scene
        .run(&["demo", "--folder", "real/archive.zip"])
        .refused(2, &["archive.zip"]);
    scene
        .run(&["demo", "--folder", "real/none/deep"])
        .refused(2, &["deep"]);
    assert!(read() == before);
}

#[test]
fn what_a_slow_tenant_did_is_not_called_a_failure() {
    let scene = journey(
        Options {
            apply_delay: Duration::from_millis(1_500),
            show_delay: Duration::from_millis(1_500),
            ..options()
        },
        // Polls and looks share it.
        &["--batch-size", "300", "--settle-deadline", "10s"],
    );
    assert_eq!(scene.status()["states"]["failed"], 0);
}

#[test]
fn a_batch_that_the_tenant_has_forgotten_is_settled_by_its_members() {
    let scene = journey(
        Options {
            not_found_for: Duration::from_secs(3_600),
            ..options()
        },
        &["--settle-deadline", "2s"],
    );
    assert!(
        scene
            .export()
            .values()
            .all(|row| row["state"] != "confirmed" || row["evidence"] == "seen")
    );
}

#[test]
fn writes_that_all_end_in_doubt_are_stopped() {
    let options = Options {
        drop_writes_percent: 100.0,
        ..options()
    };
    let cast = cast(&options, 300, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let job = [
        "assign",
        "--status",
        "vip",
        "list.csv",
        "--batch-size",
        "10",
        "--settle-deadline",
        "1s",
    ];
    let ran = scene
        .run(&[&job[..], &["--rate", "unlimited", "--yes"]].concat())
        .expect(4);
    assert!(ran.stderr.contains("in doubt"), "{}", ran.stderr);
    assert_eq!(
        scene
            .tenant()
            .requests()
            .iter()
            .filter(|seen| is_write(seen))
            .count(),
        3
    );
    assert_eq!(scene.status()["batches"]["held"], 3);
}

#[test]
fn a_yes_to_ten_is_not_a_yes_to_all() {
    let scene = Scene::with(options());
    let list: Vec<String> = (0..100).map(|index| scene.tenant().person(index).email).collect();
    scene.write("list.txt", list.join("\n"));
    scene
        .run(&[
            "assign",
            "--status",
            "gold",
            "list.txt",
            "--limit",
            "10",
            "--yes",
            "--rate",
            "unlimited",
        ])
        .expect(4);
    let writes = scene.tenant().writes().len();
    let refused = scene.run(&["resume", "--rate", "unlimited"]).expect(5);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(scene.tenant().writes().len(), writes);
    scene.run(&["resume", "--rate", "unlimited", "--yes"]).expect(0);
    // Said yes to once, the job goes on without asking.
    scene.run(&["resume", "--rate", "unlimited"]).expect(0);
}

/// A run that cannot go on gives the ledger back, instead of polling and waiting until a deadline.
#[test]
fn a_run_that_must_stop_stops_at_once() {
    let options = Options {
        drop_writes_percent: 100.0,
        latency: Duration::from_millis(5),
        ..options()
    };
    let cast = cast(&options, 400, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    let job = [
        "assign",
        "--status",
        "vip",
        "list.csv",
        "--rate",
        "100/s",
        "--yes",
        "--batch-size",
        "20",
    ];
    let mut child = scene.spawn(&job);
    while !scene.tenant().requests().iter().any(is_write) {
        std::thread::sleep(Duration::from_millis(5));
    }
    scene.tenant().revoke_token();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        assert!(
            std::time::Instant::now() < deadline,
            "it goes on although nothing can be asked any more"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(child.wait().unwrap().code(), Some(4));
}

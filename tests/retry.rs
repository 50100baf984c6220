//! `resume --retry failed`: what failed is tried again, and never behind anybody's back.

use crate::support::{Scene, check_doctor, options};
use rollbook::sandbox::{Options, UnknownIds};

const JOB: [&str; 6] = ["assign", "--status", "vip", "--rate", "unlimited", "--yes"];
const RETRY: [&str; 3] = ["resume", "--retry", "failed"];

fn nobody_has_it() -> Options {
    Options {
        holders_percent: 0,
        duplicates_percent: 0.0,
        ..options()
    }
}

/// A scene whose first so many profiles are on the list, on a tenant with these options.
fn listed(people: u32, options: Options) -> Scene {
    let emails: Vec<String> = (0..people).map(|index| options.person(index).email).collect();
    let scene = Scene::with(options);
    scene.write("list.txt", emails.join("\n"));
    scene
}

/// The same tenant at the same address, with other options, and without what happened to it.
fn mend(scene: &mut Scene) {
    let port = scene.tenant().port();
    scene.close();
    scene.open(Options {
        port,
        ..nobody_has_it()
    });
}

#[test]
fn what_was_refused_is_tried_again() {
    let mut scene = listed(
        1,
        Options {
            payload_max: 0,
            ..nobody_has_it()
        },
    );
    scene.run(&[&JOB[..], &["list.txt"]].concat()).expect(3);
    assert_eq!(scene.status()["states"]["failed"], 1);
    let batches = scene.run(&["batches"]).expect(0).stdout;
    assert!(batches.contains("all 1 failed: refused"), "{batches}");
    mend(&mut scene);
    scene.run(&["resume"]).expect(3);
    assert!(scene.tenant().writes().is_empty(), "not without being told");
    let ran = scene.run(&RETRY).expect(0);
    assert!(
        ran.stderr.contains("1 failed entry is tried again"),
        "{}",
        ran.stderr
    );
    assert_eq!(scene.status()["states"]["confirmed"], 1);
    assert_eq!(scene.tenant().writes().len(), 1);
    check_doctor(&scene, &scene.path("rollbook.db"));
    let batches = scene.run(&["batches"]).expect(0).stdout;
    assert!(batches.contains("1 tried again since"), "{batches}");
}

#[test]
fn where_nothing_failed_it_says_so_and_goes_on() {
    let scene = listed(3, nobody_has_it());
    scene.run(&[&JOB[..], &["list.txt"]].concat()).expect(0);
    let ran = scene.run(&RETRY).expect(0);
    assert!(ran.stderr.contains("nothing has failed"), "{}", ran.stderr);
    assert_eq!(scene.tenant().writes().len(), 1);
}

#[test]
fn half_of_a_decision_is_refused() {
    let scene = listed(1, nobody_has_it());
    scene.run(&["load", "list.txt"]).expect(0);
    for half in [
        &["resume", "--retry", "failed", "--by", "Ann Lee"][..],
        &["resume", "--retry", "failed", "--because", "ticket 4711"],
        &["resume", "--by", "Ann Lee", "--because", "ticket 4711"],
        &["resume", "--retry", "everything"],
    ] {
        let ran = scene.run(half).expect(2);
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
}

/// A job whose one batch was accepted, and whose members all failed: they were gone when it was worked on, and are
/// back again.
fn accepted_and_failed() -> Scene {
    let mut scene = listed(
        3,
        Options {
            unknown_ids: UnknownIds::Item,
            ..nobody_has_it()
        },
    );
    scene
        .run(&[&JOB[..], &["--dry-run", "list.txt"]].concat())
        .expect(0);
    for index in 0..3 {
        let profile = scene.tenant().person(index).profile_id;
        scene.tenant().delete_profile(&profile);
    }
    scene.run(&["resume", "--yes"]).expect(3);
    assert_eq!(scene.status()["states"]["failed"], 3);
    mend(&mut scene);
    scene
}

#[test]
fn a_batch_whose_members_all_failed_is_shown_as_such() {
    let scene = accepted_and_failed();
    let batches = scene.run(&["batches"]).expect(0).stdout;
    assert!(batches.contains("all 3 failed: refused_by_tenant, "), "{batches}");
    let json = scene.run(&["batches", "--json"]).expect(0).stdout;
    let batch: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&batch["failed"], &batch["confirmed"]), (&3.into(), &0.into()));
    assert_eq!(batch["failure_reason"], "refused_by_tenant");
}

#[test]
fn a_member_of_an_accepted_batch_is_not_tried_again_without_a_name() {
    let scene = accepted_and_failed();
    let before = scene.status();
    scene.run(&RETRY).refused(2, &["--by", "--because", "accepted"]);
    let blank = [&RETRY[..], &["--by", " ", "--because", "x"]].concat();
    scene.run(&blank).refused(2, &["--by"]);
    assert_eq!(scene.status(), before);
    assert!(scene.tenant().writes().is_empty());
}

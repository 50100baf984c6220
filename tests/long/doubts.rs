//! What is concluded when the maximum request lifetime of the real program is over.

use crate::support::raw::{Bad, PEOPLE, Raw, Site};
use crate::support::{Scene, check_doctor, options};
use rollbook::sandbox::Options;

const JOB: [&str; 8] = [
    "assign",
    "--status",
    "vip",
    "list.txt",
    "--rate",
    "unlimited",
    "--yes",
    "--settle-deadline",
];

fn column(scene: &Scene, name: &str) -> Vec<String> {
    let rows = scene.export().into_values();
    rows.map(|row| row[name].clone()).collect()
}

fn job(raw: &Raw, deadline: &str, more: &[&str]) -> (Scene, crate::support::Ran) {
    let scene = Scene::offline();
    scene.write("list.txt", PEOPLE.join("\n"));
    let ran = raw.run(&scene, &[&JOB[..], &[deadline], more].concat());
    (scene, ran)
}

/// The first of three requests never arrives; the others have shown what a change looks like.
#[test]
fn a_request_that_never_arrived_is_sent_again_once() {
    let raw = Raw::with(Site::Write, Bad::Deafness, 1, false);
    let (scene, ran) = job(&raw, "200s", &["--batch-size", "1"]);
    ran.expect(0);
    assert_eq!(raw.count(Site::Write), 4);
    assert_eq!(column(&scene, "state"), ["confirmed"; 3]);
    let rungs = column(&scene, "rung");
    assert_eq!(
        rungs.iter().filter(|rung| *rung == "absent").count(),
        1,
        "{rungs:?}"
    );
    check_doctor(&scene, &scene.path("rollbook.db"));
}

/// A person's word that it was sent says that it has been, and not that it took effect.
#[test]
fn what_was_ruled_sent_and_never_shows_fails() {
    let raw = Raw::with(Site::Write, Bad::Deafness, 1, false);
    let (scene, ran) = job(&raw, "1s", &[]);
    ran.expect(3);
    let ruling = [
        "settle",
        "--batch",
        "1",
        "--as",
        "sent",
        "--by",
        "Ann",
        "--because",
        "x",
    ];
    raw.run(&scene, &ruling).expect(0);
    let resume = ["resume", "--rate", "unlimited", "--settle-deadline", "80s"];
    raw.run(&scene, &resume).expect(3);
    assert_eq!(raw.count(Site::Write), 1);
    assert_eq!(column(&scene, "reason"), ["not_confirmed"; 3]);
    assert_eq!(scene.status()["finished"], true);
}

/// What the tenant calls a success and nobody shows fails when it can no longer be made, and not before.
#[test]
fn a_success_that_never_shows_fails_in_the_end() {
    let options = Options {
        drop_handle_effect: true,
        ..options()
    };
    let emails: Vec<String> = (0..9).map(|index| options.person(index).email).collect();
    let scene = Scene::with(options);
    scene.write("list.txt", emails.join("\n"));
    scene.run(&[&JOB[..], &["80s"]].concat()).expect(3);
    let reasons = column(&scene, "reason");
    assert!(
        reasons.iter().any(|reason| reason == "not_confirmed"),
        "{reasons:?}"
    );
    assert!(column(&scene, "state").iter().all(|state| state != "confirmed"));
}

//! A member of an accepted batch that is tried again, in real time.

use crate::support::{Scene, check_doctor, options};
use rollbook::sandbox::{Options, UnknownIds};

/// The batch was accepted while its members were gone. They are back, and one has got the status from somebody else.
#[test]
fn a_member_of_an_accepted_batch_is_tried_again_by_name_and_after_a_look() {
    let tenant = Options {
        holders_percent: 0,
        duplicates_percent: 0.0,
        unknown_ids: UnknownIds::Item,
        ..options()
    };
    let emails: Vec<String> = (0..3).map(|index| tenant.person(index).email).collect();
    let mut scene = Scene::with(tenant.clone());
    scene.write("list.txt", emails.join("\n"));
    let job = [
        "assign",
        "--status",
        "vip",
        "--rate",
        "unlimited",
        "--dry-run",
        "list.txt",
    ];
    scene.run(&job).expect(0);
    for index in 0..3 {
        let profile = scene.tenant().person(index).profile_id;
        scene.tenant().delete_profile(&profile);
    }
    scene.run(&["resume", "--yes"]).expect(3);
    let port = scene.tenant().port();
    scene.close();
    scene.open(Options { port, ..tenant });
    let profile = scene.tenant().person(0).profile_id;
    scene.tenant().set_statuses(&profile, vec!["vip".into()]);
    let by = [
        "resume",
        "--retry",
        "failed",
        "--by",
        "Ann Lee",
        "--because",
        "ticket 4711",
    ];
    let ran = scene.run(&by).expect(0);
    let said = "2 lack the change and are sent again, 1 show it by now, 0 stay failed";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    let sent: usize = scene
        .tenant()
        .writes()
        .iter()
        .map(|write| write.members.len())
        .sum();
    assert_eq!(sent, 2);
    assert_eq!(scene.status()["states"]["confirmed"], 3);
    check_doctor(&scene, &scene.path("rollbook.db"));
    for row in scene.export().values() {
        assert_eq!(row["ruling"], "tried again by Ann Lee: ticket 4711", "{row:?}");
    }
}

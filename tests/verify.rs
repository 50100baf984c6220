//! `verify`: what has become of confirmed profiles since, told by kind, and nothing else changed.

use crate::support::{Scene, check_doctor, options};
use rollbook::sandbox::Options;

const PEOPLE: u32 = 40;

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.trim()).unwrap()
}

/// A finished job of forty people.
fn done() -> Scene {
    let options = Options {
        holders_percent: 0,
        duplicates_percent: 0.0,
        ..options()
    };
    let emails: Vec<String> = (0..PEOPLE).map(|index| options.person(index).email).collect();
    let scene = Scene::with(options);
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
    scene
}

#[test]
fn drift_is_told_by_its_kind() {
    let scene = done();
    let export = scene.export();
    let writes = scene.tenant().writes().len();
    let all = json(&scene.run(&["verify", "--all", "--json"]).expect(0).stdout);
    assert_eq!(
        (&all["checked"], &all["unchanged"]),
        (&PEOPLE.into(), &PEOPLE.into())
    );

    let id = |index| scene.tenant().person(index).profile_id;
    let email = |index| scene.tenant().person(index).email;
    scene.tenant().set_statuses(&id(0), vec!["gold".into()]);
    scene.tenant().delete_profile(&id(1));
    scene.tenant().set_email(&id(2), "elsewhere@example.org");
    scene.tenant().set_email(&id(PEOPLE + 1), &email(3));
    let (merged, heir) = (id(4), id(PEOPLE + 2));
    let merged_email = email(4);
    scene.tenant().delete_profile(&merged);
    scene.tenant().set_email(&heir, &merged_email);

    let ran = scene.run(&["verify", "--all", "--json"]).expect(3);
    assert!(
        ran.stderr.contains("5 profiles are not as confirmed"),
        "{}",
        ran.stderr
    );
    let found = json(&ran.stdout);
    for kind in [
        "status_changed",
        "profile_gone",
        "email_moved",
        "ambiguous",
        "profile_merged",
    ] {
        assert_eq!(found["drift"][kind], 1, "{kind}: {found}");
    }
    assert_eq!(found["unchanged"], PEOPLE - 5);
    let profiles = found["profiles"].as_array().unwrap();
    let lost = profiles
        .iter()
        .find(|drift| drift["kind"] == "profile_merged")
        .unwrap();
    assert_eq!(
        (&lost["profile_id"], &lost["detail"]),
        (&merged.into(), &heir.into())
    );

    // What a person sees names nobody in full.
    let table = scene.run(&["verify", "--all"]).expect(3).stdout;
    assert!(
        table.contains("status_changed") && !table.contains(&merged_email),
        "{table}"
    );

    // Mended and drifted since, of the same ones.
    scene.tenant().set_statuses(&id(0), vec!["vip".into()]);
    scene.tenant().set_statuses(&id(5), vec![]);
    let since = json(&scene.run(&["verify", "--since", "--json"]).expect(3).stdout);
    assert_eq!(
        (&since["drifted_since"], &since["mended_since"]),
        (&1.into(), &1.into()),
        "{since}"
    );
    let first = json(&scene.run(&["verify", "--since=1", "--json"]).expect(3).stdout);
    assert_eq!(
        (&first["drifted_since"], &first["mended_since"]),
        (&5.into(), &0.into()),
        "{first}"
    );

    // It looked, and that is all.
    assert_eq!(scene.tenant().writes().len(), writes);
    assert_eq!(scene.export(), export);
    check_doctor(&scene, &scene.path("rollbook.db"));
}

#[test]
fn a_sample_says_how_much_it_proves() {
    let scene = done();
    let found = json(
        &scene
            .run(&["verify", "--sample", "20", "--json"])
            .expect(0)
            .stdout,
    );
    assert_eq!(found["checked"], 20);
    let most = found["share_at_most"].as_f64().unwrap();
    assert!((0.15..0.17).contains(&most), "{found}");
    let table = scene.run(&["verify", "--sample", "20"]).expect(0).stdout;
    assert!(
        table.contains("with 95 % confidence at most 16.2 % of all"),
        "{table}"
    );
}

#[test]
fn what_cannot_be_verified_is_refused() {
    let scene = Scene::with(options());
    scene.run(&["verify"]).refused(2, &["no ledger"]);
    scene.write("list.txt", "ann@example.com\n");
    scene.run(&["load", "list.txt"]).expect(0);
    scene.run(&["verify"]).refused(2, &["no job"]);
    scene
        .run(&["assign", "--status", "vip", "--dry-run", "--yes", "list.txt"])
        .expect(0);
    scene.run(&["verify"]).refused(2, &["no entry is confirmed"]);
    let scene = done();
    scene
        .run(&["verify", "--since"])
        .refused(2, &["no verification yet"]);
    scene.run(&["verify", "--sample", "0"]).expect(2);
    scene.run(&["verify", "--all", "--sample", "3"]).expect(2);
    scene.run(&["verify", "--all"]).expect(0);
    scene
        .run(&["verify", "--since=9"])
        .refused(2, &["no verification 9"]);
    scene.tenant().revoke_token();
    scene.run(&["verify"]).refused(4, &["broke off"]);
}

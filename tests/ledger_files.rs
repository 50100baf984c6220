//! Files that are no ledger of ours, or not any more: refused with a word, and never touched.

use crate::support::{Ran, Scene, check_doctor};
use rusqlite::Connection;
use std::path::PathBuf;

/// Verbs that open a ledger, those that write first.
const VERBS: [&[&str]; 7] = [
    &["load", "list.txt"],
    &["assign", "--status", "vip", "--yes", "list.txt"],
    &["remove", "--status", "vip", "--yes"],
    &["resume"],
    &["status"],
    &["export"],
    &["batches"],
];

/// A folder with a list, and a ledger of two thousand entries.
fn loaded() -> (Scene, PathBuf) {
    let scene = Scene::offline();
    let list: String = (0..2_000).map(|n| format!("n{n}@example.com\n")).collect();
    scene.write("list.txt", list);
    scene.run(&["load", "list.txt"]).expect(0);
    let path = scene.path("rollbook.db");
    // A ledger at rest: all of it in the one file.
    let connection = Connection::open(&path).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(connection);
    (scene, path)
}

/// A verb, with a tenant named that nobody will get to ask.
fn run(scene: &Scene, arguments: &[&str]) -> Ran {
    let mut command = scene.command(arguments);
    command
        .env("OMNEO_BASE_URL", "http://127.0.0.1:9/api/v3")
        .env("OMNEO_TOKEN", crate::support::TOKEN);
    Ran::from(command.output().unwrap())
}

/// Every verb refuses the file with these words and leaves each of its bytes.
#[track_caller]
fn refused_untouched(scene: &Scene, words: &[&str]) {
    let path = scene.path("rollbook.db");
    let before = std::fs::read(&path).unwrap();
    for arguments in VERBS {
        run(scene, arguments).refused(6, words);
        assert!(
            std::fs::read(&path).unwrap() == before,
            "{arguments:?} changed the file"
        );
    }
    let mut command = scene.command(&["doctor"]);
    Ran::from(command.output().unwrap()).refused(6, words);
    assert!(std::fs::read(&path).unwrap() == before, "doctor changed the file");
}

#[test]
fn a_ledger_of_a_newer_rollbook() {
    let (scene, path) = loaded();
    let connection = Connection::open(&path).unwrap();
    let version: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    connection
        .pragma_update(None, "user_version", version + 1)
        .unwrap();
    drop(connection);
    refused_untouched(
        &scene,
        &[&format!("ledger version {}", version + 1), "update rollbook"],
    );
}

#[test]
fn a_text_file() {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\n");
    for content in [
        "ann@example.com\n".repeat(1_000),
        "x".into(),
        "SQLite format 3\0".into(),
        "SQLite format 3\0".to_owned() + &"nothing of the kind".repeat(1_000),
    ] {
        scene.write("rollbook.db", content);
        refused_untouched(&scene, &["not a rollbook ledger", "--ledger"]);
    }
}

#[test]
fn a_database_of_somebody_else() {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\n");
    let connection = Connection::open(scene.path("rollbook.db")).unwrap();
    connection
        .execute_batch("CREATE TABLE entry (email TEXT); INSERT INTO entry VALUES ('ann@example.com')")
        .unwrap();
    drop(connection);
    refused_untouched(&scene, &["not a rollbook ledger", "--ledger"]);
}

#[test]
fn an_empty_database_that_somebody_marked_as_theirs() {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\n");
    let connection = Connection::open(scene.path("rollbook.db")).unwrap();
    connection.pragma_update(None, "application_id", 77).unwrap();
    connection.pragma_update(None, "user_version", 3).unwrap();
    drop(connection);
    refused_untouched(&scene, &["not a rollbook ledger"]);
}

#[test]
fn a_symbolic_link() {
    let (scene, path) = loaded();
    let real = scene.path("real.db");
    std::fs::rename(&path, &real).unwrap();
    std::os::unix::fs::symlink(&real, &path).unwrap();
    refused_untouched(&scene, &["symbolic link", "--ledger"]);
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(scene.path("nowhere.db"), &path).unwrap();
    for arguments in VERBS {
        run(&scene, arguments).refused(6, &["symbolic link"]);
    }
    assert!(
        !scene.path("nowhere.db").exists(),
        "nothing is made at the end of a link"
    );
}

#[test]
fn a_folder() {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\n");
    std::fs::create_dir(scene.path("rollbook.db")).unwrap();
    for arguments in VERBS {
        run(&scene, arguments).refused(6, &["is a folder"]);
    }
}

/// The doctor finds the damage, nobody panics, and no verb makes the damage worse.
#[track_caller]
fn damaged(scene: &Scene, said: &str) {
    let path = scene.path("rollbook.db");
    let before = std::fs::read(&path).unwrap();
    let ran = scene.run(&["doctor"]);
    assert_eq!(ran.code, Some(6), "{said}: {}{}", ran.stdout, ran.stderr);
    ran.refused(6, &[]);
    for arguments in [&["status"][..], &["export"], &["batches"], &["resume"]] {
        let ran = run(scene, arguments);
        assert!(
            !ran.stderr.contains("panicked"),
            "{said}, {arguments:?}: {}",
            ran.stderr
        );
        assert_ne!(ran.code, Some(101), "{said}, {arguments:?}");
    }
    let after = std::fs::read(&path).unwrap();
    assert_eq!(
        after.len(),
        before.len(),
        "{said}: the file was made anew or mended by guesswork"
    );
}

#[test]
fn a_ledger_that_was_cut_short() {
    for share in [10, 50, 90] {
        let (scene, path) = loaded();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() * share / 100]).unwrap();
        damaged(&scene, &format!("{share} % are left"));
    }
}

#[test]
fn a_ledger_with_pages_of_rubbish() {
    let pages = std::fs::metadata(loaded().1).unwrap().len() / 8_192;
    for page in [1, pages / 3, pages / 2, pages * 2 / 3] {
        let (scene, path) = loaded();
        let mut bytes = std::fs::read(&path).unwrap();
        let start = usize::try_from(page).unwrap() * 8_192;
        for byte in &mut bytes[start..start + 8_192] {
            *byte = !*byte;
        }
        std::fs::write(&path, bytes).unwrap();
        damaged(&scene, &format!("page {page} of {pages} is flipped"));
    }
}

#[test]
fn a_ledger_whose_first_page_is_rubbish_after_its_head() {
    let (scene, path) = loaded();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..8_192].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    damaged(&scene, "first page");
}

#[test]
fn a_ledger_whose_books_do_not_add_up() {
    for (said, sql) in [
        (
            "a lost entry",
            "DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)",
        ),
        ("a row made up", "UPDATE list SET rows = rows + 1"),
    ] {
        let (scene, path) = loaded();
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        let ran = scene.run(&["doctor"]).expect(6);
        assert!(ran.stdout.contains("BROKEN"), "{said}: {}", ran.stdout);
    }
}

#[test]
fn a_file_of_no_length_becomes_a_ledger() {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\n");
    scene.write("rollbook.db", "");
    scene.run(&["load", "list.txt"]).expect(0);
    assert_eq!(scene.status()["entries"], 1);
    check_doctor(&scene, &scene.path("rollbook.db"));
}

#[test]
fn a_file_of_no_length_is_no_foreign_ledger_to_those_who_look() {
    let scene = Scene::offline();
    scene.write("rollbook.db", "");
    for verb in ["status", "export", "batches"] {
        let ran = scene.run(&[verb]).refused(2, &["rollbook.db"]);
        assert!(!ran.stderr.contains("not a rollbook ledger"), "{}", ran.stderr);
    }
    assert_eq!(std::fs::read(scene.path("rollbook.db")).unwrap(), b"");
}

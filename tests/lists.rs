//! The lists of a ledger: shown, told apart, named by every plan, taken out again, exported and loaded again.

use crate::support::{Ran, Scene, check_doctor, check_promises, options};
use rollbook::sandbox::Options;
use serde_json::Value;

/// A tenant in which nobody holds the status and no two people share an email, and a list of so many of its people.
fn scene() -> Scene {
    Scene::with(nobody_holds())
}

fn nobody_holds() -> Options {
    Options {
        holders_percent: 0,
        duplicates_percent: 0.0,
        ..options()
    }
}

fn people(range: std::ops::Range<u32>) -> String {
    let options = nobody_holds();
    "email\n".to_owned()
        + &range
            .map(|index| options.person(index).email + "\n")
            .collect::<String>()
}

fn assign(scene: &Scene, more: &[&str]) -> Ran {
    scene.run(&[&["assign", "--status", "vip", "--rate", "unlimited"], more].concat())
}

fn lists(scene: &Scene) -> Vec<Value> {
    let ran = scene.run(&["lists", "--json"]).expect(0);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    document["lists"].as_array().unwrap().clone()
}

fn sent(scene: &Scene) -> usize {
    scene.times_sent().len()
}

#[test]
fn a_yes_to_one_list_sends_to_no_other() {
    let scene = scene();
    scene.write("wrong.csv", people(0..56));
    scene.write("right.csv", people(50..70));
    assign(&scene, &["--dry-run", "wrong.csv"]).expect(0);
    let before = scene.status();
    assign(&scene, &["--yes", "right.csv"]).refused(
        5,
        &[
            "wrong.csv (50 entries)",
            "rollbook unload wrong.csv",
            "--all-lists",
        ],
    );
    assert_eq!(
        (scene.status(), sent(&scene)),
        (before, 0),
        "nothing was kept or sent"
    );
    // A dry run sends nothing, and says which lists it covers.
    let ran = assign(&scene, &["--dry-run", "right.csv"]).expect(0);
    assert!(
        ran.stderr.contains(
            "wrong.csv: 56 rows = 56 entries + 0 repeats + 0 rejected; loaded before, not named now"
        ),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains("right.csv: 20 rows = 14 entries + 6 repeats + 0 rejected\n"),
        "{}",
        ran.stderr
    );
    let ran = scene.run(&["unload", "wrong.csv"]).expect(0);
    assert_eq!(
        ran.stdout,
        "wrong.csv: taken out, 50 entries with it; 6 entries stay, since other lists name them\n"
    );
    check_doctor(&scene, &scene.path("rollbook.db"));
    assign(&scene, &["--yes", "right.csv"]).expect(0);
    let export = scene.export();
    assert_eq!((export.len(), sent(&scene)), (20, 20));
    check_promises(&scene, &export);
}

#[test]
fn all_lists_and_lists_that_were_said_yes_to_go_on() {
    let scene = scene();
    scene.write("first.csv", people(0..10));
    scene.write("second.csv", people(10..20));
    scene.write("third.csv", people(20..30));
    assign(&scene, &["--yes", "--limit", "3", "first.csv"]).expect(4);
    // A yes to a limit was no yes to the list.
    assign(&scene, &["--yes", "second.csv"]).refused(5, &["first.csv (7 entries)"]);
    assign(&scene, &["--yes", "--all-lists", "second.csv"]).expect(0);
    assert_eq!(sent(&scene), 20);
    assign(&scene, &["--yes", "third.csv"]).expect(0);
    scene.run(&["resume", "--yes"]).expect(0);
    scene.run(&["resume"]).expect(0);
    assert_eq!(sent(&scene), 30);
    // Whoever names no list means those that are loaded.
    scene.write("fourth.csv", people(30..35));
    scene.run(&["load", "fourth.csv"]).expect(0);
    assign(&scene, &["--yes"]).expect(0);
    assert_eq!(sent(&scene), 35);
}

#[test]
fn consent_is_asked_anew_after_a_list_was_taken_out() {
    let scene = scene();
    scene.write("first.csv", people(0..100));
    scene.write("second.csv", people(100..120));
    scene.run(&["load", "first.csv", "second.csv"]).expect(0);
    // The requests are used up long before the second list's turn comes.
    assign(&scene, &["--yes", "--max-requests", "20", "--resolve", "one"]).expect(4);
    scene.run(&["unload", "second.csv"]).expect(0);
    let resume = ["resume", "--rate", "unlimited"];
    scene.run(&resume).refused(5, &["has to say yes"]);
    scene.run(&[&resume[..], &["--yes"]].concat()).expect(0);
    assert_eq!(sent(&scene), 100);
}

#[test]
fn what_cannot_be_taken_out_stays() {
    let scene = scene();
    scene.run(&["unload", "list.csv"]).refused(2, &["rollbook.db"]);
    scene.write("sent.csv", people(0..5));
    scene.write("other.csv", people(5..9));
    assign(&scene, &["--yes", "sent.csv"]).expect(0);
    scene.run(&["load", "other.csv"]).expect(0);
    let before = scene.status();
    scene
        .run(&["unload", "sent.csv"])
        .refused(2, &["sent.csv stays: 5 of the entries that came from it alone"]);
    scene
        .run(&["unload", "none.csv"])
        .refused(2, &["no list none.csv", "1 sent.csv, 2 other.csv"]);
    assert_eq!(scene.status(), before);
    scene.run(&["unload"]).expect(2);
    scene.run(&["unload", "2"]).expect(0);
    assert_eq!(lists(&scene).len(), 1);
    check_doctor(&scene, &scene.path("rollbook.db"));
}

#[test]
fn lists_are_shown_as_they_were_read() {
    let scene = Scene::offline();
    scene.run(&["lists"]).refused(2, &["rollbook.db"]);
    scene.write(
        "a.csv",
        "Name;E-Mail\nAnn;ann@example.com\nBob;bob@example.com\nCy;\nAnn;ANN@example.com\n",
    );
    scene.write("b.csv", "bob@example.com\n");
    scene.run(&["load", "a.csv", "b.csv"]).expect(0);
    let shown = lists(&scene);
    let of = |list: usize, names: &[&str]| {
        names
            .iter()
            .map(|name| shown[list][name].to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let names = [
        "list",
        "rows",
        "entries",
        "repeats",
        "rejected",
        "header",
        "column",
        "delimiter",
    ];
    assert_eq!(of(0, &names), "\"a.csv\" 4 2 1 1 true 2 \";\"");
    // A list of nothing but repeats is one of them.
    assert_eq!(of(1, &names), "\"b.csv\" 1 0 1 0 false 1 \",\"");
    assert!(shown[0]["loaded_at"].as_str().unwrap().ends_with('Z'));
    let table = scene.run(&["lists"]).expect(0).stdout;
    assert!(
        table.contains("header: E-Mail") && table.lines().count() == 3,
        "{table}"
    );
    assert!(
        scene
            .run(&["status"])
            .expect(0)
            .stdout
            .contains("Lists     a.csv, b.csv\n")
    );
}

#[test]
fn two_lists_of_one_name_are_told_apart() {
    let scene = Scene::offline();
    let ledger = scene.path("rollbook.db");
    for (folder, content) in [
        ("east", "ann@example.com\nann@example.com\n"),
        ("west", "ann@example.com\nbob@example.com\nnobody\n"),
    ] {
        std::fs::create_dir(scene.path(folder)).unwrap();
        std::fs::write(scene.path(folder).join("list.csv"), content).unwrap();
        let mut command = scene.command(&["load", "list.csv", "--ledger", ledger.to_str().unwrap()]);
        Ran::from(command.current_dir(scene.path(folder)).output().unwrap()).expect(0);
    }
    let names: Vec<String> = lists(&scene)
        .iter()
        .map(|list| list["list"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        names[0].ends_with("/east/list.csv") && names[1].ends_with("/west/list.csv"),
        "{names:?}"
    );
    let export = scene.export();
    assert_eq!(
        (
            &export["ann@example.com"]["list"],
            &export["bob@example.com"]["list"]
        ),
        (&names[0], &names[1])
    );
    let rejected = scene.run(&["export", "--rows", "rejected"]).expect(0).stdout;
    assert!(rejected.contains(&format!("{},3", names[1])), "{rejected}");
    scene
        .run(&["unload", "list.csv"])
        .refused(2, &["could be 2 lists", "1 /", "2 /"]);
    scene.run(&["unload", "east/list.csv"]).expect(0);
    assert_eq!(scene.export()["ann@example.com"]["line"], "1");
}

/// The rows of an export, by column.
fn rows(scene: &Scene, arguments: &[&str]) -> Vec<crate::support::Row> {
    let ran = scene.run(&[&["export"], arguments].concat()).expect(0);
    let mut reader = csv::Reader::from_reader(ran.stdout.as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

#[test]
fn repeats_are_exported_as_they_were_written() {
    let scene = Scene::offline();
    scene.write(
        "a.csv",
        "email\nann@example.com\n ANN@example.com\nbob@example.com\n",
    );
    scene.write("b.csv", "email\nBob@Example.com\nann@example.com\n");
    scene.run(&["load", "a.csv", "b.csv"]).expect(0);
    let repeats = rows(&scene, &["--rows", "repeats"]);
    let told: Vec<String> = repeats
        .iter()
        .map(|row| {
            ["email", "written", "state", "list", "line", "detail"]
                .map(|column| row[column].as_str())
                .join("|")
        })
        .collect();
    assert_eq!(
        told,
        [
            "ann@example.com| ANN@example.com|repeat|a.csv|3|first named in a.csv, line 2",
            "bob@example.com|Bob@Example.com|repeat|b.csv|2|first named in a.csv, line 4",
            "ann@example.com|ann@example.com|repeat|b.csv|3|first named in a.csv, line 2",
        ]
    );
}

#[test]
fn what_was_exported_is_the_same_when_it_is_loaded_again() {
    let scene = Scene::offline();
    let emails = [
        "+1@example.com",
        "-ann@example.com",
        "'+2@example.com",
        "=x@example.com",
        "o'neil@example.com",
        "Cy@Example.com",
    ];
    scene.write("list.csv", format!("email\n{}\n", emails.join("\n")));
    scene.run(&["load", "list.csv"]).expect(0);
    scene.run(&["export", "-o", "all.csv"]).expect(0);
    let ran = scene.run(&["load", "all.csv"]).expect(0);
    assert!(
        ran.stderr
            .contains("6 rows = 0 new entries + 6 repeats + 0 rejected (CSV; column 1, header: email)"),
        "{}",
        ran.stderr
    );
    // As somebody pastes the column elsewhere.
    let pasted: String = rows(&scene, &[])
        .iter()
        .map(|row| row["email"].clone() + "\n")
        .collect();
    scene.write("pasted.txt", pasted);
    let ran = scene.run(&["load", "pasted.txt"]).expect(0);
    assert!(
        ran.stderr
            .contains("6 rows = 0 new entries + 6 repeats + 0 rejected"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_same_file_read_otherwise_is_another_reading() {
    let scene = Scene::offline();
    scene.write("list.csv", "login;email\nann@example.com;bob@example.com\n");
    let load = |more: &[&str]| {
        scene
            .run(&[&["load", "list.csv"], more].concat())
            .expect(0)
            .stderr
    };
    assert!(load(&["--column", "email"]).contains("1 new entry"));
    assert!(load(&["--column", "2"]).contains("already in the ledger"));
    assert!(load(&["--column", "2", "--header", "no"]).contains("1 repeat + 1 rejected"));
    assert!(load(&["--column", "1"]).contains("1 new entry"));
    assert!(load(&["--column", "1", "--delimiter", ";"]).contains("already in the ledger"));
    scene
        .run(&["load", "list.csv", "--delimiter", "comma"])
        .refused(2, &["its only row"]);
    assert_eq!(lists(&scene).len(), 3);
}

#[test]
fn every_row_of_every_list_is_exported_once() {
    let scene = Scene::offline();
    scene.write("one.csv", "email\nann@example.com\nAnn@Example.com\nnobody\n");
    scene.write("other.csv", "email\nbob@example.com\nann@example.com\n,\n");
    scene.run(&["load", "one.csv", "other.csv"]).expect(0);
    let ran = scene.run(&["export", "--rows", "all"]).expect(0);
    let mut rows: Vec<(String, u64, String)> = csv::Reader::from_reader(ran.stdout.as_bytes())
        .records()
        .map(|row| row.unwrap())
        .map(|row| (row[7].to_owned(), row[8].parse().unwrap(), row[1].to_owned()))
        .collect();
    rows.sort();
    let row = |list: &str, line, state: &str| (list.to_owned(), line, state.to_owned());
    assert_eq!(
        rows,
        [
            row("one.csv", 2, "pending"),
            row("one.csv", 3, "repeat"),
            row("one.csv", 4, "rejected"),
            row("other.csv", 2, "pending"),
            row("other.csv", 3, "repeat"),
            row("other.csv", 4, "rejected"),
        ]
    );
}

#[test]
fn a_choice_that_shows_late_is_shown_with_examples() {
    let scene = Scene::offline();
    let rows = (0..9_000).map(|number| match number {
        0..8_000 => format!("p{number}@example.com,\n"),
        _ => format!("p{number}@example.com,x{number}@example.org\n"),
    });
    scene.write(
        "list.csv",
        "email,backup\n".to_owned() + &rows.collect::<String>(),
    );
    scene.run(&["load", "list.csv"]).refused(
        2,
        &[
            "--column 1: \"email\", 100 % emails, such as p…@e….com",
            "--column 2: \"backup\", 11 % emails, such as x…@e….org",
        ],
    );
}

#[test]
fn a_list_from_stdin_is_taken_out_by_the_name_it_was_given() {
    let scene = scene();
    scene.write("list.csv", people(0..3));
    let list = std::fs::File::open(scene.path("list.csv")).unwrap();
    let loaded = scene.command(&["load", "-"]).stdin(list).output().unwrap();
    Ran::from(loaded).expect(0);
    scene.run(&["unload", "-"]).expect(0);
    assert!(lists(&scene).is_empty());
    // There is nothing to go on with, and nothing that was done.
    scene.run(&["resume"]).refused(2, &["no list", "customers.csv"]);
    scene.write("list.csv", people(0..3));
    assign(&scene, &["--dry-run", "list.csv"]).expect(0);
    scene.run(&["unload", "list.csv"]).expect(0);
    scene
        .run(&["resume", "--yes"])
        .refused(2, &["no list", "customers.csv"]);
    assert_eq!(sent(&scene), 0);
}

/// Rows as a table, with a header.
const TABLE: [[&str; 3]; 7] = [
    ["no", "E-Mail", "city"],
    ["1", "Ann@example.com", "Ulm"],
    ["2", "Bob <bob@example.com>", "Bonn"],
    ["3", "nobody", "Köln"],
    ["4", "", "Rom"],
    ["5", "ann@example.com", "Ulm"],
    ["6", "mailto:cy@example.com", "Ulm"],
];

fn as_json() -> Vec<String> {
    let object = |row: &[&str; 3]| {
        let pairs = TABLE[0].iter().zip(row);
        let object: serde_json::Map<_, _> = pairs
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        serde_json::to_string(&object).unwrap()
    };
    TABLE[1..].iter().map(object).collect()
}

/// What a ledger holds of a list: entries and repeats as they were written, and rejects, each with its row from 1.
fn taken(scene: &Scene, list: &str, content: &[u8], first_row: u32) -> Vec<String> {
    let ledger = format!("{list}.db");
    scene.write(list, content);
    scene.run(&["load", list, "--ledger", &ledger]).expect(0);
    let mut taken = Vec::new();
    for kind in ["entries", "repeats", "rejected"] {
        for row in rows(scene, &["--rows", kind, "--ledger", &ledger]) {
            let line: u32 = row["line"].parse().unwrap();
            let said = |column| row.get(column).map_or("", String::as_str);
            // Where the first one is differs by what the list counts from.
            let detail = said("detail")
                .split(", line")
                .next()
                .unwrap()
                .replace(list, "LIST");
            taken.push(format!(
                "{kind} {} {} {} {} {detail}",
                line + 1 - first_row,
                Some(said("email"))
                    .filter(|_| said("reason") != "empty")
                    .unwrap_or_default(),
                said("written"),
                said("reason"),
            ));
        }
    }
    check_doctor(scene, &scene.path(&ledger));
    taken
}

#[test]
fn one_table_is_the_same_list_in_every_text() {
    let scene = Scene::offline();
    let csv: String = TABLE.iter().map(|row| row.join(",") + "\n").collect();
    let expected = taken(&scene, "list.csv", csv.as_bytes(), 2);
    assert_eq!(expected.len(), 6, "{expected:?}");
    let json = as_json();
    assert_eq!(
        taken(&scene, "list.jsonl", json.join("\n").as_bytes(), 1),
        expected
    );
    let array = format!("[\n{}\n]", json.join(",\n"));
    assert_eq!(taken(&scene, "list.json", array.as_bytes(), 1), expected);
}

#[cfg(feature = "sheets")]
mod workbooks {
    use super::*;
    use crate::support::workbooks::{ods, ods_table, table, xlsb, xlsx};

    fn people(first: &str) -> String {
        table(&[vec!["email"], vec![first], vec!["bob@example.com"]])
    }

    #[test]
    fn one_table_is_the_same_list_in_every_workbook() {
        let scene = Scene::offline();
        let csv: String = TABLE.iter().map(|row| row.join(",") + "\n").collect();
        let expected = taken(&scene, "list.csv", csv.as_bytes(), 2);
        let cells: Vec<Vec<&str>> = TABLE.iter().map(|row| row.to_vec()).collect();
        assert_eq!(
            taken(&scene, "list.xlsx", &xlsx(&[("S", &table(&cells))]), 2),
            expected
        );
        assert_eq!(
            taken(&scene, "list.ods", &ods(&ods_table("S", &cells)), 2),
            expected
        );
        assert_eq!(taken(&scene, "list.xlsb", &xlsb("S", &cells), 2), expected);
    }

    #[test]
    fn the_sheet_belongs_to_what_a_list_is_known_by() {
        let scene = Scene::offline();
        scene.write(
            "book.xlsx",
            xlsx(&[
                ("East", &people("ann@example.com")),
                ("West & more", &people("cy@example.com")),
            ]),
        );
        scene.run(&["load", "book.xlsx"]).refused(
            2,
            &[
                "more than one sheet holds emails",
                "--sheet \"East\": 2 rows with emails, such as a…@e….com",
            ],
        );
        assert!(!scene.path("rollbook.db").exists(), "nothing was kept");
        let load = |sheet: &str| {
            scene
                .run(&["load", "book.xlsx", "--sheet", sheet])
                .expect(0)
                .stderr
        };
        let told = load("East");
        assert!(
            told.contains("2 new entries") && told.contains("XLSX, sheet \"East\""),
            "{told}"
        );
        assert!(load("East").contains("already in the ledger"));
        assert!(load("West & more").contains("1 new entry + 1 repeat"));
        let shown = lists(&scene);
        let said: Vec<_> = shown
            .iter()
            .map(|list| {
                (
                    list["part"].as_str().unwrap(),
                    list["delimiter"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(said, [("East", ""), ("West & more", "")]);
        scene
            .run(&["load", "book.xlsx", "--sheet", "North"])
            .refused(2, &["no sheet \"North\"", "\"East\""]);
        scene.write("list.csv", "ann@example.com\n");
        scene
            .run(&["load", "list.csv", "--sheet", "East"])
            .refused(2, &["no workbook"]);
        scene
            .run(&["unload", "book.xlsx"])
            .refused(2, &["could be 2 lists"]);
        scene.run(&["unload", "2"]).expect(0);
        check_doctor(&scene, &scene.path("rollbook.db"));
    }

    #[test]
    fn a_workbook_comes_by_stdin_too() {
        let scene = Scene::offline();
        let book = xlsx(&[("S", &people("ann@example.com"))]);
        let mut command = scene.command(&["load", "-"]);
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), &book).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap()).expect(0);
        assert!(ran.stderr.contains("2 rows = 2 new entries"), "{}", ran.stderr);
        // It is the same list as the file's.
        scene.write("book.xlsx", book);
        assert!(
            scene
                .run(&["load", "book.xlsx"])
                .expect(0)
                .stderr
                .contains("already in the ledger")
        );
    }
}

//! The house rules that neither the compiler nor clippy checks: who may import whom, where each crate lives, and a few
//! words that must not stand in the sources. Everything else of the kind is a lint (`src/lib.rs`, `clippy.toml`).
//!
//! Reads the sources as text, without comment lines and without the tests at a file's end.

use std::path::{Path, PathBuf};

/// Which modules each module may import. What is not named here may import nothing.
const DIRECTIONS: [(&str, &[&str]); 12] = [
    ("model", &[]),
    ("files", &[]),
    ("input", &["model"]),
    ("ledger", &["model", "files"]),
    ("api", &["model", "files"]),
    ("runner", &["model", "input", "ledger", "api"]),
    ("audit", &["model", "ledger"]),
    ("ui", &["model", "ledger", "audit", "runner::event"]),
    ("sandbox", &[]),
    (
        "cli",
        &[
            "model", "files", "input", "ledger", "api", "runner", "audit", "ui", "sandbox",
        ],
    ),
    ("main.rs", &["cli"]),
    (
        "lib.rs",
        &[
            "model", "files", "input", "ledger", "api", "runner", "audit", "ui", "sandbox", "cli",
        ],
    ),
];

/// Where each crate lives.
const HOMES: [(&str, &[&str]); 12] = [
    ("rusqlite", &["ledger/"]),
    ("reqwest", &["api/"]),
    ("indicatif", &["ui/"]),
    ("clap", &["cli/"]),
    ("tracing_subscriber", &["cli/"]),
    ("csv", &["input/", "audit/"]),
    ("csv_core", &["input/", "audit/"]),
    ("calamine", &["input/sheets/"]),
    ("zip", &["input/sheets/"]),
    ("axum", &["sandbox/"]),
    ("email_address", &["model/"]),
    ("governor", &["api/pacing/"]),
];

/// Words that say that something is unfinished, or hidden. Assembled, since this file is searched as well.
const LEFTOVERS: [&str; 4] = [
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
    concat!("#[ign", "ore"),
];

/// A file of `src/`.
struct Source {
    /// From `src/` on, such as `api/client.rs`.
    path: String,
    /// Without comment lines, and without the tests at its end; as many lines as before.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let uncommented = |line: &str| match line.trim_start().starts_with("//") {
            true => String::from("\n"),
            false => format!("{line}\n"),
        };
        Self {
            path: path.into(),
            code: code.lines().map(uncommented).collect(),
        }
    }

    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Where a word stands by itself, as line and what follows it.
    fn after<'s>(&'s self, word: &'s str) -> impl Iterator<Item = (usize, &'s str)> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '"';
        self.code.match_indices(word).filter_map(move |(at, _)| {
            let alone = word.starts_with('.') || !self.code[..at].ends_with(is_word);
            let line = 1 + self.code[..at].matches('\n').count();
            alone.then(|| (line, &self.code[at + word.len()..]))
        })
    }

    fn complaint(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("src/{}:{line}: {what}", self.path)
    }
}

/// Imports go by full paths, so that a path tells where it leads.
fn directions(source: &Source) -> Vec<String> {
    let own = source.module();
    let rule = DIRECTIONS.iter().find(|rule| rule.0 == own);
    let allowed = rule.map_or(&[][..], |rule| rule.1);
    let mut complaints = Vec::new();
    for prefix in ["crate::", "rollbook::"] {
        for (line, path) in source.after(prefix) {
            let may = |module: &&str| {
                path.strip_prefix(*module)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            if !may(&own) && !allowed.iter().any(may) {
                let path: String = path.chars().take_while(|c| !";,( \n".contains(*c)).collect();
                complaints.push(source.complaint(line, format!("`{own}` may not import `{path}`")));
            }
        }
    }
    let climbs = match source.path.ends_with("/mod.rs") {
        true => "super::",
        false => "super::super::",
    };
    let out = source.after(climbs);
    complaints.extend(out.map(|(line, _)| source.complaint(line, "leaves its module by `super`")));
    complaints
}

fn homes(source: &Source) -> Vec<String> {
    let elsewhere = |home: &&(&str, &[&str])| !home.1.iter().any(|home| source.path.starts_with(home));
    let mut complaints = Vec::new();
    for (name, homes) in HOMES.iter().filter(elsewhere) {
        for (line, rest) in source.after(name) {
            if rest.starts_with("::") {
                complaints.push(source.complaint(line, format!("`{name}` lives in {homes:?}")));
            }
        }
    }
    complaints
}

/// A panic is a broken invariant of ours and says so; clippy forbids `unwrap`.
fn panics_are_bugs(source: &Source) -> Vec<String> {
    source
        .after(".expect(")
        .filter(|(_, message)| !message.trim_start().starts_with("\"BUG: "))
        .map(|(line, _)| source.complaint(line, "the message of expect does not begin with BUG:"))
        .collect()
}

/// A `PUT` replaces a profile's whole set of statuses.
fn nothing_is_replaced(source: &Source) -> Vec<String> {
    if source.module() != "api" {
        return Vec::new();
    }
    let words = ["PUT", ".put(", "::put("];
    words
        .iter()
        .flat_map(|word| source.code.match_indices(word))
        .map(|(at, word)| source.complaint(1 + source.code[..at].matches('\n').count(), word))
        .collect()
}

fn opens_with_its_purpose(path: &Path, text: &str, mark: &str) -> Option<String> {
    (!text.starts_with(mark)).then(|| format!("{} does not open with `{mark}`", path.display()))
}

/// All files below a folder with an ending, and their texts.
fn files(folder: &str, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

type Rule = fn(&Source) -> Vec<String>;

#[track_caller]
fn holds(rule: Rule) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = files("src", "rs").into_iter();
    let complaints: Vec<String> = sources
        // Unit tests in files of their own.
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .flat_map(|(path, text)| {
            let path = path.strip_prefix(&root).unwrap();
            rule(&Source::new(path.to_str().unwrap(), &text))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// A rule is only worth something if it can fail, and does not fail for nothing.
#[track_caller]
fn tells(rule: Rule, path: &str, bad: &[&str], good: &[&str]) {
    for text in bad {
        let complaints = rule(&Source::new(path, text));
        assert!(!complaints.is_empty(), "{path} passes: {text}");
    }
    for text in good {
        assert_eq!(rule(&Source::new(path, text)), [""; 0], "{path}: {text}");
    }
}

#[test]
fn modules_import_only_what_they_may() {
    let bad = [
        "use crate::ledger::Reader;",
        "fn f() { crate::api::x() }",
        "use super::super::ledger;",
        "use crate::{model::ids, api};",
        "use crate::models::x;",
    ];
    let good = [
        "use crate::model::ids::Job;",
        "use super::ids::Job;",
        "//! [`crate::ledger`]",
        "#[cfg(test)]\nmod tests { use crate::ledger::Reader; }",
    ];
    tells(directions, "model/x.rs", &bad, &good);
    tells(
        directions,
        "model/mod.rs",
        &["use super::ledger;"],
        &["pub mod ids;"],
    );
    tells(directions, "sandbox/x.rs", &["use crate::model::ids::Job;"], &[]);
    tells(
        directions,
        "ui/x.rs",
        &["use crate::runner::run::Ending;"],
        &["use crate::runner::event::Event;"],
    );
    tells(
        directions,
        "newcomer/x.rs",
        &["use crate::model::ids;"],
        &["use crate::newcomer::y;"],
    );
    holds(directions);
}

#[test]
fn each_crate_lives_in_one_place() {
    let bad = [
        "use rusqlite::Connection;",
        "fn f(e: reqwest::Error) {}",
        "use clap::Parser;",
    ];
    let good = ["// rusqlite::Connection", "let csv = 1;", "use mycsv::x;"];
    tells(homes, "runner/x.rs", &bad, &good);
    tells(
        homes,
        "audit/x.rs",
        &["use rusqlite::Row;"],
        &["use csv::Writer;"],
    );
    holds(homes);
}

#[test]
fn a_panic_is_a_bug_and_says_so() {
    let bad = ["x.expect(\"a number\");", "x.expect(&format!(\"BUG: {y}\"));"];
    let good = [
        "x\n    .expect(\n        \"BUG: always there\",\n    )",
        "// x.expect(\"y\")",
    ];
    tells(panics_are_bugs, "model/x.rs", &bad, &good);
    holds(panics_are_bugs);
}

#[test]
fn the_client_has_no_way_to_replace() {
    let bad = ["Method::PUT", "client.put(url)", "request(\"PUT\", url)"];
    tells(
        nothing_is_replaced,
        "api/client.rs",
        &bad,
        &["Method::POST", "// never PUT"],
    );
    holds(nothing_is_replaced);
}

#[test]
fn nothing_unfinished_or_hidden_stays_behind() {
    let found: Vec<String> = [
        ("src", "rs"),
        ("tests", "rs"),
        ("migrations", "sql"),
        ("benches", "sh"),
    ]
    .into_iter()
    .flat_map(|(folder, ending)| files(folder, ending))
    .flat_map(|(path, text)| {
        let there = LEFTOVERS.iter().filter(|word| text.contains(**word));
        there
            .map(|word| format!("{}: {word}", path.display()))
            .collect::<Vec<_>>()
    })
    .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let of = |folder, ending, mark| {
        let files = files(folder, ending).into_iter();
        let unit_tests = |path: &Path| path.ends_with("tests.rs");
        let files = files.filter(move |(path, _)| !unit_tests(path));
        files.filter_map(move |(path, text)| opens_with_its_purpose(&path, &text, mark))
    };
    let complaints: Vec<String> = of("src", "rs", "//! ")
        .chain(of("migrations", "sql", "-- "))
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    assert!(opens_with_its_purpose(Path::new("x.rs"), "use x;", "//! ").is_some());
}

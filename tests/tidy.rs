//! The house rules that no compiler checks: who may know whom, where each crate lives, and what must not stay behind.
//!
//! Reads the source as text. Each rule is a function from one file to complaints, and is itself tried on a file that
//! breaks it.

use std::ops::Range;
use std::path::{Path, PathBuf};

const FILE_LIMIT_LINES: usize = 500;
const FUNCTION_LIMIT_LINES: usize = 70;

/// Which modules each module may import. What is not named here may import nothing.
const DIRECTIONS: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("input", &["model"]),
    ("ledger", &["model"]),
    ("api", &["model"]),
    ("runner", &["model", "input", "ledger", "api"]),
    ("audit", &["model", "ledger"]),
    ("ui", &["model", "ledger", "audit", "runner"]),
    ("sandbox", &[]),
    (
        "cli",
        &[
            "model", "input", "ledger", "api", "runner", "audit", "ui", "sandbox",
        ],
    ),
    ("main.rs", &["cli"]),
];

/// Where each crate lives.
const HOMES: [(&str, &[&str]); 8] = [
    ("rusqlite", &["ledger/"]),
    ("reqwest", &["api/"]),
    ("indicatif", &["ui/"]),
    ("clap", &["cli/"]),
    ("csv", &["input/", "audit/"]),
    ("csv_core", &["input/", "audit/"]),
    ("axum", &["sandbox/"]),
    ("email_address", &["model/"]),
];

const STAGES: [&str; 4] = ["ingest", "resolve", "send", "settle"];

/// A file of `src/`. All texts have the same length, so that a place in one is the same place in all.
struct Source {
    /// From `src/` on, such as `api/client.rs`.
    path: String,
    text: String,
    /// Without comments and tests.
    uncommented: String,
    /// Without comments, tests and what stands between quotes.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let (mut uncommented, mut code) = (text.to_owned(), text.to_owned());
        for (place, is_comment) in not_code(text) {
            blank(&mut code, place.clone());
            if is_comment {
                blank(&mut uncommented, place);
            }
        }
        for place in test_items(&code) {
            blank(&mut code, place.clone());
            blank(&mut uncommented, place);
        }
        Self {
            path: path.into(),
            text: text.into(),
            uncommented,
            code,
        }
    }

    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    fn complaint(&self, place: usize, what: impl std::fmt::Display) -> String {
        format!("src/{}:{}: {what}", self.path, line_of(&self.text, place))
    }
}

fn line_of(text: &str, place: usize) -> usize {
    1 + text[..place].matches('\n').count()
}

/// Overwrites a place with blanks and leaves the line breaks.
fn blank(text: &mut String, place: Range<usize>) {
    let blanks: String = text[place.clone()]
        .bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect();
    text.replace_range(place, &blanks);
}

/// The comments (true) and the insides of string and character literals (false).
fn not_code(text: &str) -> Vec<(Range<usize>, bool)> {
    let bytes = text.as_bytes();
    let mut places = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let raw = raw_string(rest).filter(|_| !is_word_before(bytes, at));
        if rest.starts_with("//") {
            let end = at + rest.find('\n').unwrap_or(rest.len());
            places.push((at..end, true));
            at = end;
        } else if rest.starts_with("/*") {
            let end = at + rest.find("*/").map_or(rest.len(), |end| end + 2);
            places.push((at..end, true));
            at = end;
        } else if let Some((open, length)) = raw {
            places.push((at + open..at + open + length, false));
            at += open + length + open - 1;
        } else if rest.starts_with('"') {
            let length = quoted(&bytes[at + 1..], b'"');
            places.push((at + 1..at + 1 + length, false));
            at += length + 2;
        } else if let Some(length) = character(rest) {
            places.push((at + 1..at + 1 + length, false));
            at += length + 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    places
}

fn is_word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && is_word(bytes[at - 1]) && bytes[at - 1] != b'b'
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of the opening and of the inside of a raw string that a text begins with.
fn raw_string(text: &str) -> Option<(usize, usize)> {
    let hashes = text
        .strip_prefix('r')?
        .bytes()
        .take_while(|byte| *byte == b'#')
        .count();
    let inside = text.get(1 + hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some((hashes + 2, inside.find(&end)?))
}

/// How long it is until a quote that no backslash precedes.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// The length of the inside of a character literal that a text begins with; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    if first == '\\' {
        return Some(quoted(inside.as_bytes(), b'\''));
    }
    inside[first.len_utf8()..]
        .starts_with('\'')
        .then(|| first.len_utf8())
}

/// The items that are there for tests only.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let starts = code.match_indices("#[cfg(test)]").map(|(start, _)| start);
    starts
        .map(|start| start..item_end(code, start + "#[cfg(test)]".len()))
        .collect()
}

/// Where an item ends: at its `;`, or with the brace that closes its first one.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Where a word stands by itself.
fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let bytes = code.as_bytes();
        let before = *at == 0 || !is_word(bytes[at - 1]);
        let after = bytes.get(at + word.len()).is_none_or(|byte| !is_word(*byte));
        before && after
    })
}

/// The paths that follow a prefix such as `crate`, groups taken apart: place and at most two steps.
fn paths_after(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, prefix) {
        let Some(rest) = code[at + prefix.len()..].strip_prefix("::") else {
            continue;
        };
        for path in heads(rest) {
            found.push((at, path));
        }
    }
    found
}

/// `a::b` of `a::b::c`, and of every member of a group `{a::b, c::{d, e}}`.
fn heads(text: &str) -> Vec<String> {
    let Some(group) = text.strip_prefix('{') else {
        let first: String = text
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let tails = match text[first.len()..].strip_prefix("::") {
            Some(rest) if !first.is_empty() => heads(rest),
            _ => return vec![first],
        };
        let second = |tail: String| match tail.split("::").next() {
            Some(second) if !second.is_empty() => format!("{first}::{second}"),
            _ => first.clone(),
        };
        return tails.into_iter().map(second).collect();
    };
    let mut depth = 0_i32;
    let mut members = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            break;
        }
        if c == ',' && depth == 0 {
            members.push(String::new());
        } else if let Some(member) = members.last_mut() {
            member.push(c);
        }
    }
    let members = members.iter().map(|member| member.trim());
    members
        .filter(|member| !member.is_empty())
        .flat_map(heads)
        .collect()
}

fn module_directions(source: &Source) -> Vec<String> {
    let own = source.module();
    if own == "lib.rs" {
        return Vec::new();
    }
    let allowed = DIRECTIONS
        .iter()
        .find(|direction| direction.0 == own)
        .map_or(&[][..], |direction| direction.1);
    let mut complaints = Vec::new();
    let paths = paths_after(&source.code, "crate")
        .into_iter()
        .chain(paths_after(&source.code, "rollbook"));
    for (at, path) in paths {
        let module = path.split("::").next().unwrap_or_default();
        if module != own && !allowed.contains(&module) {
            complaints.push(source.complaint(at, format!("`{own}` may not import `{path}`")));
        } else if own == "ui" && module == "runner" && path != "runner::event" {
            complaints.push(source.complaint(at, format!("`ui` knows the runner's events, not `{path}`")));
        }
    }
    let climbs = |way: &'static str| words(&source.code, way).collect::<Vec<_>>();
    let out = if source.path.ends_with("/mod.rs") {
        climbs("super")
    } else {
        climbs("super::super")
    };
    complaints.extend(
        out.into_iter()
            .map(|at| source.complaint(at, "leaves its module by `super`; say `crate::`")),
    );
    complaints
}

fn crates_at_home(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, homes) in HOMES {
        if homes.iter().any(|home| source.path.starts_with(home)) {
            continue;
        }
        for at in words(&source.code, name) {
            let is_path = source.code[at + name.len()..].starts_with("::");
            let is_import = source.code[..at].trim_end().ends_with("use");
            if is_path || is_import {
                complaints.push(source.complaint(at, format!("`{name}` lives in {homes:?}")));
            }
        }
    }
    complaints
}

fn stages_apart(source: &Source) -> Vec<String> {
    let Some(own) = source
        .path
        .strip_prefix("runner/")
        .and_then(|file| file.strip_suffix(".rs"))
        .filter(|stage| STAGES.contains(stage))
    else {
        return Vec::new();
    };
    let beside = paths_after(&source.code, "super").into_iter();
    let beside = beside.map(|(at, path)| (at, path.split("::").next().unwrap_or_default().to_owned()));
    let by_name = paths_after(&source.code, "crate").into_iter();
    let by_name = by_name.filter_map(|(at, path)| Some((at, path.strip_prefix("runner::")?.to_owned())));
    beside
        .chain(by_name)
        .filter(|(_, stage)| stage != own && STAGES.contains(&stage.as_str()))
        .map(|(at, stage)| source.complaint(at, format!("the stage `{own}` imports the stage `{stage}`")))
        .collect()
}

fn output_at_the_edge(source: &Source) -> Vec<String> {
    let edge = ["ui", "cli", "main.rs"].contains(&source.module());
    let macros = ["println!", "eprintln!", "print!", "eprint!"];
    let found = macros.iter().filter(|_| !edge).flat_map(|name| {
        let bare = name.trim_end_matches('!');
        words(&source.code, bare)
            .filter(move |at| source.code[*at..].starts_with(name))
            .map(move |at| source.complaint(at, format!("{name} outside ui and cli")))
    });
    found.collect()
}

fn no_leftovers(source: &Source) -> Vec<String> {
    let calls = ["todo", "unimplemented", "dbg"].into_iter().flat_map(|name| {
        words(&source.text, name)
            .filter(move |at| source.text[at + name.len()..].starts_with('!'))
            .map(move |at| (at, name))
    });
    let notes = ["FIXME", "TODO", "XXX"]
        .into_iter()
        .flat_map(|name| words(&source.text, name).map(move |at| (at, name)));
    let ignored = source
        .text
        .match_indices("#[ignore")
        .map(|(at, _)| (at, "#[ignore]"));
    calls
        .chain(notes)
        .chain(ignored)
        .map(|(at, name)| source.complaint(at, format!("{name} stays behind")))
        .collect()
}

fn nothing_unsafe(source: &Source) -> Vec<String> {
    words(&source.code, "unsafe")
        .map(|at| source.complaint(at, "unsafe"))
        .collect()
}

fn exits_in_one_place(source: &Source) -> Vec<String> {
    if source.module() == "cli" {
        return Vec::new();
    }
    let exits = source.code.match_indices("process::exit");
    exits
        .map(|(at, _)| source.complaint(at, "process::exit outside cli"))
        .collect()
}

fn panics_are_bugs(source: &Source) -> Vec<String> {
    let unwraps = source.code.match_indices(".unwrap()");
    let mut complaints: Vec<String> = unwraps
        .map(|(at, _)| source.complaint(at, ".unwrap() outside tests"))
        .collect();
    for (at, call) in source.code.match_indices(".expect(") {
        let message = source.uncommented[at + call.len()..].trim_start();
        if !message.starts_with("\"BUG:") {
            complaints.push(source.complaint(at, "expect's message does not begin with BUG:"));
        }
    }
    complaints
}

fn nothing_is_replaced(source: &Source) -> Vec<String> {
    if source.module() != "api" {
        return Vec::new();
    }
    let methods = words(&source.uncommented, "PUT")
        .chain(words(&source.code, "put").filter(|at| source.code[..*at].ends_with(['.', ':'])));
    methods
        .map(|at| source.complaint(at, "PUT replaces a profile's whole set of statuses"))
        .collect()
}

fn files_in_proportion(source: &Source) -> Vec<String> {
    let code: Vec<&str> = source.text.lines().collect();
    let tested: usize = test_items(&source.code_with_tests())
        .into_iter()
        .map(|place| source.text[place].lines().count())
        .sum();
    let lines = code.len() - tested;
    if lines > FILE_LIMIT_LINES {
        return vec![format!(
            "src/{}: {lines} lines, at most {FILE_LIMIT_LINES}",
            source.path
        )];
    }
    Vec::new()
}

impl Source {
    /// Without comments and what stands between quotes.
    fn code_with_tests(&self) -> String {
        let mut code = self.text.clone();
        for (place, _) in not_code(&self.text) {
            blank(&mut code, place);
        }
        code
    }
}

fn functions_in_proportion(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for at in words(&source.code, "fn") {
        let name = source.code[at + 2..].trim_start();
        if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            continue;
        }
        let end = item_end(&source.code, at);
        let lines = source.code[at..end].lines().count();
        if lines > FUNCTION_LIMIT_LINES {
            let name: String = name
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            complaints.push(source.complaint(
                at,
                format!("`{name}` has {lines} lines, at most {FUNCTION_LIMIT_LINES}"),
            ));
        }
    }
    complaints
}

fn every_file_says_what_it_is_for(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") {
        Vec::new()
    } else {
        vec![format!("src/{}: does not begin with //!", source.path)]
    }
}

/// All files below a folder with an ending, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The sources that a rule is for; files of unit tests are their modules' own affair.
fn sources(with_tests: bool) -> Vec<Source> {
    let folder = root().join("src");
    let paths = files(&folder, "rs").into_iter();
    let read = paths.map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        Source::new(path.strip_prefix(&folder).unwrap().to_str().unwrap(), &text)
    });
    read.filter(|source| with_tests || !source.path.ends_with("/tests.rs"))
        .collect()
}

/// A rule from one file to complaints.
type Rule = fn(&Source) -> Vec<String>;

#[track_caller]
fn holds(rule: Rule) {
    let sources = sources(false);
    assert!(sources.len() > 50, "the sources are not where they were");
    let complaints: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// A rule is only worth something if it can fail, and does not fail for nothing.
#[track_caller]
fn tells(rule: Rule, path: &str, bad: &[&str], good: &[&str]) {
    for text in bad {
        assert!(
            !rule(&Source::new(path, text)).is_empty(),
            "{path} passes: {text}"
        );
    }
    for text in good {
        assert_eq!(rule(&Source::new(path, text)), [""; 0], "{path}: {text}");
    }
}

#[test]
fn modules_know_only_those_they_may_know() {
    let rule = module_directions;
    tells(
        rule,
        "model/x.rs",
        &[
            "use crate::ledger::Reader;",
            "fn f() { crate::api::x() }",
            "use super::super::ledger;",
            "use crate::{model::ids, api};",
        ],
        &[
            "use crate::model::ids::Job;",
            "use super::ids::Job;",
            "//! [`crate::ledger`]",
            "#[cfg(test)]\nmod tests { use crate::ledger::Reader; }",
        ],
    );
    tells(rule, "model/mod.rs", &["use super::ledger;"], &["pub mod ids;"]);
    tells(
        rule,
        "input/x.rs",
        &["use crate::ledger::Reader;", "use crate::runner;"],
        &["use crate::model::email::Email;"],
    );
    tells(
        rule,
        "ui/x.rs",
        &[
            "use crate::runner::run::Ending;",
            "use crate::runner::{event::Event, run};",
        ],
        &[
            "use crate::runner::event::{Event, Progress};",
            "use crate::audit::summary::Summary;",
        ],
    );
    tells(
        rule,
        "sandbox/x.rs",
        &["use crate::model::ids::Handle;", "use crate::api;"],
        &["use super::names::FIRST;"],
    );
    tells(
        rule,
        "audit/x.rs",
        &["use crate::ui;"],
        &["use crate::ledger::Reader;"],
    );
    tells(
        rule,
        "newcomer/x.rs",
        &["use crate::model::ids;"],
        &["use crate::newcomer::y;"],
    );
    holds(rule);
}

#[test]
fn each_crate_lives_in_one_place() {
    let rule = crates_at_home;
    tells(
        rule,
        "runner/x.rs",
        &[
            "use rusqlite::Connection;",
            "fn f(e: reqwest::Error) {}",
            "use csv;",
            "use clap::Parser;",
        ],
        &["// rusqlite::Connection", "let csv = 1;", "let x = \"axum::x\";"],
    );
    tells(
        rule,
        "api/client.rs",
        &["use axum::Router;"],
        &["use reqwest::Client;"],
    );
    tells(
        rule,
        "audit/x.rs",
        &["use rusqlite::Row;"],
        &["use csv::Writer;", "use csv_core::Reader;"],
    );
    holds(rule);
}

#[test]
fn stages_do_not_know_each_other() {
    let rule = stages_apart;
    tells(
        rule,
        "runner/send.rs",
        &[
            "use super::settle::Settled;",
            "use super::{context::Context, resolve};",
            "use crate::runner::settle;",
        ],
        &["use super::context::Halt;", "use super::send::x;"],
    );
    tells(
        rule,
        "runner/run.rs",
        &[],
        &["use super::{resolve, send, settle};"],
    );
    holds(rule);
}

#[test]
fn only_the_edge_prints() {
    tells(
        output_at_the_edge,
        "runner/x.rs",
        &["println!(\"x\");", "eprintln!();", "print!(\"\")"],
        &["writeln!(f)", "// println!", "let s = \"println!\";"],
    );
    tells(output_at_the_edge, "ui/x.rs", &[], &["eprintln!(\"x\");"]);
    holds(output_at_the_edge);
}

#[test]
fn nothing_unfinished_stays_behind() {
    let rule = no_leftovers;
    let bad = [
        "todo!()",
        "// TODO later",
        "dbg!(x)",
        "/* FIXME */",
        "#[ignore]\nfn f() {}",
        "unimplemented!()",
        "#[cfg(test)] mod tests { #[ignore = \"slow\"] fn f() {} }",
    ];
    tells(rule, "model/x.rs", &bad, &["let todos = 1;", "// a METHOD"]);
    let of_tests = files(&root().join("tests"), "rs").into_iter();
    let others = of_tests.filter(|path| !path.ends_with("tidy.rs")).map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        Source::new(path.to_str().unwrap(), &text)
    });
    let complaints: Vec<String> = sources(true)
        .into_iter()
        .chain(others)
        .flat_map(|source| rule(&source))
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn nothing_is_unsafe() {
    tells(
        nothing_unsafe,
        "model/x.rs",
        &["unsafe { x() }", "unsafe fn f() {}"],
        &["#![forbid(unsafe_code)]", "// unsafe"],
    );
    holds(nothing_unsafe);
}

#[test]
fn only_the_command_line_ends_the_process() {
    tells(
        exits_in_one_place,
        "runner/x.rs",
        &["std::process::exit(1)", "process::exit(1)"],
        &["std::process::id()"],
    );
    tells(exits_in_one_place, "cli/x.rs", &[], &["std::process::exit(4)"]);
    holds(exits_in_one_place);
}

#[test]
fn a_panic_is_a_bug_and_says_so() {
    tells(
        panics_are_bugs,
        "model/x.rs",
        &[
            "x.unwrap();",
            "x.expect(\"a number\");",
            "x.expect(&format!(\"BUG: {y}\"));",
        ],
        &[
            "x.expect(\"BUG: always there\");",
            "x\n    .expect(\n        \"BUG: always there\",\n    )",
            "x.unwrap_or_default()",
            "#[cfg(test)]\nmod tests { fn f() { x.unwrap(); } }",
        ],
    );
    holds(panics_are_bugs);
}

#[test]
fn the_client_has_no_way_to_replace() {
    tells(
        nothing_is_replaced,
        "api/client.rs",
        &[
            "Method::PUT",
            "client.put(url)",
            "request(\"PUT\", url)",
            "reqwest::Client::put(url)",
        ],
        &[
            "Method::POST",
            "// never PUT",
            "let input = output;",
            "let put = 1;",
        ],
    );
    holds(nothing_is_replaced);
}

#[test]
fn files_and_functions_stay_in_proportion() {
    let long = "//! x\n".to_owned() + &"fn f() {}\n".repeat(FILE_LIMIT_LINES);
    let tests = format!(
        "//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        "fn f() {}\n".repeat(FILE_LIMIT_LINES)
    );
    tells(files_in_proportion, "model/x.rs", &[&long], &[&tests]);
    let body = "    x();\n";
    let longest = format!(
        "fn f(x: [u8; 2]) {{\n{}}}\n",
        body.repeat(FUNCTION_LIMIT_LINES - 2)
    );
    let too_long = format!("fn f() {{\n{}}}\n", body.repeat(FUNCTION_LIMIT_LINES - 1));
    tells(
        functions_in_proportion,
        "model/x.rs",
        &[&too_long],
        &[&longest, &"fn f() {\n}\n".repeat(100)],
    );
    holds(files_in_proportion);
    holds(functions_in_proportion);
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let rule = every_file_says_what_it_is_for;
    tells(
        rule,
        "model/x.rs",
        &["use x;", "// x", ""],
        &["//! What it is for."],
    );
    holds(rule);
    for path in files(&root().join("migrations"), "sql") {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("-- "),
            "{} does not open with why",
            path.display()
        );
    }
}

#[test]
fn the_reader_of_sources_tells_code_from_the_rest() {
    let text = r###"fn f<'a>(x: &'a str) -> char { let s = r#"un"wrap"#; let c = '"'; let d = '\''; g("a\"b", b"x") } // "c
/* d */ fn h() {}"###;
    let code = Source::new("model/x.rs", text).code;
    assert_eq!(code.len(), text.len());
    for gone in ["wrap", "a\\", "// ", "/* d */"] {
        assert!(!code.contains(gone), "{gone}: {code}");
    }
    for kept in [
        "fn f<'a>(x: &'a str) -> char {",
        "g(\"    \", b\" \") }",
        "fn h() {}",
    ] {
        assert!(code.contains(kept), "{kept}: {code}");
    }
    assert_eq!(
        heads("{model::ids::{Job, Handle}, api::{self}, runner::{event, run}, x}"),
        [
            "model::ids",
            "model::ids",
            "api::self",
            "runner::event",
            "runner::run",
            "x"
        ]
    );
}

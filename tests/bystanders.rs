//! A newcomer walks through everything in a folder full of files that are dear to somebody.

use super::support::{Scene, options};
use rollbook::sandbox::Options;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a file is, as far as its owner could notice: kind and rights, when it was changed, and what is in it.
type Known = (u32, i64, i64, Vec<u8>);

/// Files of somebody's, all through a folder and those in it.
struct Precious(BTreeMap<PathBuf, Known>);

impl Precious {
    fn in_folder(folder: &Path) -> Self {
        let mut all = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let known = known(&path).unwrap();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else {
                    all.insert(path, known);
                }
            }
        }
        Self(all)
    }

    /// All of them are as they were.
    #[track_caller]
    fn check(&self, after: &str) {
        for (path, before) in &self.0 {
            assert!(
                known(path).as_ref() == Some(before),
                "{after}: {}",
                path.display()
            );
        }
    }
}

fn known(path: &Path) -> Option<Known> {
    let about = std::fs::symlink_metadata(path).ok()?;
    let content = match std::fs::read_link(path) {
        Ok(to) => to.into_os_string().into_encoded_bytes(),
        Err(_) if about.is_file() => std::fs::read(path).ok()?,
        Err(_) => Vec::new(),
    };
    Some((about.mode(), about.mtime(), about.mtime_nsec(), content))
}

/// A folder as people have them: another job with its ledger, lists, archives, notes, links, and files with the names
/// that this program might use.
fn furnish(scene: &Scene) -> Precious {
    scene.write("last-year.csv", "email\nold@example.com\nolder@example.com\n");
    scene
        .run(&["load", "--ledger", "last-year.db", "last-year.csv"])
        .expect(0);
    for (name, content) in [
        ("audit.csv", "email,state\nthe audit of last year,x\n"),
        ("rollbook.audit.csv", "the audit that was signed"),
        ("rollbook.audit-2.csv", ""),
        ("vip.audit.csv", "another one"),
        ("customers.csv", "email\nreal@example.com\n"),
        ("list.txt", "not the list of this walk"),
        ("rollbook.db.bak", "SQLite format 3\0 a backup"),
        ("rollbook.db.old-wal", "notes"),
        ("rollbook.db.lock.txt", "notes"),
        (".audit.csv.4711.partial", "notes that begin with a dot"),
        (
            ".mine.csv.last-year-12.partial",
            "email,state,reason,profile_id,batch,batch_id\n",
        ),
        ("made-by-rollbook-demo.txt", "not by that demo"),
        ("state.jsonl", "{\"line\":\"of another program\"}\n"),
        ("journal.jsonl", "{\"batch\":1}\n"),
        ("tenant.jsonl", "one line without an end"),
        ("arrivals", "0.5 at the airport\n"),
        ("token", "12|abcdefghijklmnopqrstuvwxyz01"),
        ("core", "a core"),
        ("archive.tar.gz", "\u{1f}\u{8b}not really"),
        ("2025.zip", "PK\u{3}\u{4}"),
        ("nohup.out", "of another program"),
    ] {
        scene.write(name, content);
    }
    for folder in ["rollbook-demo", "real", "real/sub", "empty"] {
        std::fs::create_dir(scene.path(folder)).unwrap();
    }
    scene.write("rollbook-demo/customers.csv", "email\nreal@example.com\n");
    scene.write("rollbook-demo/rollbook.db", "kept for the auditors");
    scene.write("real/sub/customers.csv", "email\nreal@example.com\n");
    let real = ["load", "--ledger", "real/rollbook.db", "real/sub/customers.csv"];
    scene.run(&real).expect(0);
    std::fs::hard_link(scene.path("last-year.db"), scene.path("second-name.db")).unwrap();
    symlink("last-year.db", scene.path("link.csv")).unwrap();
    symlink("not-there.csv", scene.path("dangling")).unwrap();
    symlink("/dev/null", scene.path("nothing")).unwrap();
    symlink(".", scene.path("here")).unwrap();
    Precious::in_folder(&scene.path(""))
}

/// First the demo, as the README says; the folder that it wants is taken.
#[test]
fn a_demo_is_killed_half_way_comes_to_its_end_and_touches_nothing_else() {
    let scene = Scene::offline();
    let precious = furnish(&scene);
    scene.run(&["demo"]).refused(2, &["--folder"]);
    precious.check("demo");
    let ran = scene.run(&["demo", "--folder", "play"]);
    // On a busy machine the kill may meet a batch before it left: that one is held, and a person is asked.
    let is_held = ran.stdout.contains("1 held");
    assert_eq!(ran.code, Some(if is_held { 3 } else { 0 }), "{}", ran.stdout);
    let told = ran.stdout + &ran.stderr;
    assert!(told.contains("Killed with SIGKILL half-way"), "{told}");
    assert!(told.contains("0 of them sent twice"), "{told}");
    precious.check("demo --folder play");
    the_folder_of_a_demo_is_cleared_of_what_it_made_only(&scene, "play");
    precious.check("demos that were refused");
}

fn the_folder_of_a_demo_is_cleared_of_what_it_made_only(scene: &Scene, name: &str) {
    let folder = scene.path(name);
    let files = || -> std::collections::BTreeMap<_, _> {
        let entries = std::fs::read_dir(&folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect()
    };
    let refused = |words: &[&str]| {
        let before = files();
        scene.run(&["demo", "--folder", name]).refused(2, words);
        assert!(files() == before, "{words:?}");
    };
    let list = std::fs::read(folder.join("customers.csv")).unwrap();
    std::fs::write(folder.join("customers.csv"), "email\nann@example.com\n").unwrap();
    refused(&["customers.csv"]);
    std::fs::write(folder.join("customers.csv"), list).unwrap();
    std::fs::write(folder.join("notes.txt"), "do not lose").unwrap();
    refused(&["notes.txt"]);
    std::fs::remove_file(folder.join("notes.txt")).unwrap();
    // A genuine job under the names of the demo's files.
    std::fs::rename(folder.join("rollbook.db"), scene.path("kept.db")).unwrap();
    scene.write("list-of-a-job.txt", "ann@example.com\n");
    let real = folder.join("rollbook.db");
    scene
        .run(&["load", "--ledger", real.to_str().unwrap(), "list-of-a-job.txt"])
        .expect(0);
    refused(&["rollbook.db"]);
    std::fs::rename(scene.path("kept.db"), &real).unwrap();
    std::fs::write(folder.join("rollbook.db.lock"), "").unwrap();
    // As it was: another demo begins. It need not come to its end.
    let mut child = scene
        .command(&["demo", "--folder", name])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("A tenant with") {
        assert!(
            std::io::BufRead::read_line(&mut told, &mut line).unwrap() > 0,
            "{line}"
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.join("audit.csv").exists());
}

/// Every mistake that a tired person might make; each is refused as one of usage, or of the ledger.
fn mistakes(scene: &Scene, precious: &Precious) {
    let outputs = [
        "audit.csv",
        "rollbook.audit.csv",
        "customers.csv",
        "last-year.db",
        "last-year.db-wal",
        "second-name.db",
        "link.csv",
        "here/last-year.csv",
        "rollbook.db",
        "rollbook.db.lock",
        "rollbook.db-wal",
        "token",
        "rollbook-demo/customers.csv",
        "archive.tar.gz",
        "real",
        ".",
    ];
    for output in outputs {
        scene.run(&["export", "-o", output]).refused(2, &["cannot write"]);
        precious.check(&format!("export -o {output}"));
    }
    for kept in [
        "last-year.db",
        "second-name.db",
        "link.csv",
        "real/rollbook.db",
        "rollbook.db",
        "token",
        "people.csv",
    ] {
        scene
            .run(&["export", "--force", "-o", kept])
            .refused(2, &["cannot write"]);
        precious.check(&format!("export --force -o {kept}"));
    }
    for folder in ["rollbook-demo", "real", ".", "here", "audit.csv"] {
        scene.run(&["demo", "--folder", folder]).refused(2, &["--folder"]);
        precious.check(&format!("demo --folder {folder}"));
    }
    for flag in ["--list", "--state", "--journal", "--arrivals"] {
        for file in [
            "customers.csv",
            "tenant.jsonl",
            "journal.jsonl",
            "arrivals",
            "last-year.db",
            "link.csv",
        ] {
            let sandbox = ["sandbox", "--port", "0", "--profiles", "20", flag, file];
            scene.run(&sandbox).refused(2, &[file]);
            precious.check(&format!("sandbox {flag} {file}"));
        }
    }
    for ledger in [
        "customers.csv",
        "rollbook.db.bak",
        "archive.tar.gz",
        "link.csv",
        "last-year.db-wal",
        "nothing",
        "real",
    ] {
        let ran = scene.run(&["load", "--ledger", ledger, "people.csv"]);
        assert_ne!(ran.code, Some(0), "{ledger}");
        precious.check(&format!("load --ledger {ledger}"));
    }
}

/// Runs the export that a summary suggests, word for word.
fn export_as_suggested(scene: &Scene, summary: &str) {
    let line = summary.lines().find(|line| line.contains("export -o ")).unwrap();
    let typed = line[line.find("rollbook ").unwrap()..]
        .split("   ")
        .next()
        .unwrap();
    let arguments: Vec<&str> = typed.split(' ').skip(1).collect();
    scene.run(&arguments).expect(0);
}

#[test]
fn a_walk_through_everything_leaves_every_other_file_as_it_was() {
    let tenant = Options {
        latency: Duration::from_millis(3),
        ..options()
    };
    let mut scene = Scene::offline();
    let precious = furnish(&scene);
    scene.open(tenant.clone());
    let people: String = (0..600)
        .map(|index| format!("{}\n", tenant.person(index).email))
        .collect();
    scene.write("people.csv", format!("email\n{people}"));
    scene.run(&["load", "people.csv"]).expect(0);
    precious.check("load");
    mistakes(&scene, &precious);
    scene.run(&["plan", "--status", "vip"]).expect(0);
    scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "--dry-run",
            "--rate",
            "unlimited",
            "people.csv",
        ])
        .expect(0);
    precious.check("a dry run");
    let pilot = scene
        .run(&["resume", "--limit", "10", "--yes", "--rate", "unlimited"])
        .expect(4);
    precious.check("a pilot");
    export_as_suggested(&scene, &pilot.stdout);
    precious.check("an export");

    let all = ["resume", "--yes", "--rate", "200/s", "--batch-size", "50"];
    let mut child = scene.spawn(&all);
    let began = scene.tenant().writes().len();
    while scene.tenant().writes().len() < began + 3 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    precious.check("a kill");
    let ended = scene.run(&all).expect(0);
    precious.check("a resumed run");
    export_as_suggested(&scene, &ended.stdout);
    for arguments in [
        &["export", "-o", "dangling-no-more.csv"][..],
        &["export", "--force", "-o", "dangling-no-more.csv"],
        &["export", "-o", "nothing"],
        &["export", "-o", "/dev/null"],
        &["status"],
        &["batches"],
        &["doctor"],
        &["assign", "--status", "vip", "people.csv"],
    ] {
        scene.run(arguments).expect(0);
        precious.check(&format!("{arguments:?}"));
    }
    // A link to a name that is free: the file is made, and the link stays.
    scene.run(&["export", "-o", "dangling"]).expect(0);
    assert!(scene.path("not-there.csv").is_file());
    precious.check("an export through a link");
    mistakes(&scene, &precious);
}

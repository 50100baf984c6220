//! Files that belong to a person: what an output may replace, what it leaves, and what is written through.

use super::support::{Ran, Scene};
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;

/// A scene with a loaded list.
fn loaded() -> Scene {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\nbob@example.com\n");
    scene.run(&["load", "list.txt"]).expect(0);
    scene
}

/// Every byte of every file in the folder, and where links lead.
fn digests(scene: &Scene) -> BTreeMap<String, Vec<u8>> {
    let names = scene.names().into_iter().map(|name| {
        let path = scene.path(&name);
        let content = match std::fs::read_link(&path) {
            Ok(to) => to.into_os_string().into_encoded_bytes(),
            Err(_) if path.is_file() => std::fs::read(&path).unwrap(),
            Err(_) => Vec::new(),
        };
        (name, content)
    });
    names.collect()
}

/// An export that must be refused and touch nothing.
#[track_caller]
fn refused_untouched(scene: &Scene, arguments: &[&str], words: &[&str]) {
    let before = digests(scene);
    scene.run(arguments).refused(2, words);
    assert_eq!(digests(scene), before, "{arguments:?}");
}

#[test]
fn no_export_replaces_the_ledger_or_what_belongs_to_it() {
    let scene = loaded();
    std::fs::create_dir(scene.path("sub")).unwrap();
    symlink("rollbook.db", scene.path("link.csv")).unwrap();
    symlink("rollbook.db-wal", scene.path("dangling.csv")).unwrap();
    symlink(".", scene.path("here")).unwrap();
    std::fs::hard_link(scene.path("rollbook.db"), scene.path("hard.csv")).unwrap();
    std::fs::hard_link(scene.path("rollbook.db.lock"), scene.path("second.csv")).unwrap();
    let absolute = scene.path("rollbook.db");
    for name in [
        "rollbook.db",
        "./rollbook.db",
        ".//sub/..//rollbook.db",
        "here/rollbook.db",
        "ROLLBOOK.DB",
        "rollbook.db-wal",
        "rollbook.db-shm",
        "rollbook.db-journal",
        "rollbook.db.lock",
        "link.csv",
        "dangling.csv",
        "hard.csv",
        "second.csv",
        absolute.to_str().unwrap(),
    ] {
        refused_untouched(&scene, &["export", "-o", name], &["cannot write"]);
        refused_untouched(
            &scene,
            &["export", "-o", name, "--force"],
            &["ledger", "-o rollbook.audit.csv"],
        );
    }
    scene.run(&["status"]).expect(0);
}

#[test]
fn no_export_replaces_another_ledger_a_list_or_a_token() {
    let scene = loaded();
    scene.run(&["load", "--ledger", "other.db", "list.txt"]).expect(0);
    scene.write("token", "12|abcdefghijklmnopqrstuvwxyz01\n");
    std::fs::rename(scene.path("list.txt"), scene.path("moved.txt")).unwrap();
    scene.write("new.csv", "email\ncara@example.com\n");
    scene.run(&["load", "new.csv"]).expect(0);
    scene.write("new.csv", "email\ndora@example.com\n");
    for name in ["moved.txt", "new.csv", "list.txt"] {
        refused_untouched(
            &scene,
            &["export", "--force", "-o", name],
            &["is a list of this ledger"],
        );
    }
    scene.write("database", "SQLite format 3\0 of somebody else");
    for name in ["other.db", "other.db-wal", "other.db.lock", "token", "database"] {
        refused_untouched(
            &scene,
            &["export", "--force", "-o", name],
            &["nothing was touched"],
        );
    }
}

/// Runs a command with stdout or stderr at the end of a file, as a shell's `>>` and `2>>` do.
fn appended(scene: &Scene, arguments: &[&str], stream: &str, name: &str) -> Ran {
    let file = std::fs::OpenOptions::new()
        .append(true)
        .open(scene.path(name))
        .unwrap();
    let mut command = scene.command(arguments);
    match stream {
        "stdout" => command.stdout(file),
        _ => command.stderr(file),
    };
    Ran::from(command.output().unwrap())
}

#[test]
fn no_stream_may_lead_to_the_ledger_a_list_or_the_token() {
    let scene = loaded();
    let other = scene.write("other.txt", "cara@example.com\n");
    scene
        .run(&["load", "--ledger", "other.db", "other.txt"])
        .expect(0);
    scene.write("tok", "short");
    let before = digests(&scene);
    for arguments in [
        &["status"][..],
        &["lists"],
        &["batches"],
        &["doctor", "--token-file", "tok"],
        &["export"],
        &["export", "-o", "/dev/stdout"],
        &["load", "other.txt"],
        &["unload", "list.txt"],
        &["plan", "--status", "vip", "--token-file", "tok", "other.txt"],
        &["assign", "--status", "vip", "--token-file", "tok", "other.txt"],
        &["statuses", "--token-file", "tok"],
        &["--help"],
        &["no-such-verb"],
    ] {
        for name in [
            "rollbook.db",
            "rollbook.db.lock",
            "list.txt",
            "other.db",
            "other.txt",
            "tok",
        ] {
            if matches!(name, "other.txt" | "tok") && !arguments.contains(&name) {
                continue;
            }
            let ran = appended(&scene, arguments, "stdout", name);
            assert!(
                ran.stderr.contains("stdout is redirected"),
                "{arguments:?} {name}: {ran:?}"
            );
            ran.refused(2, &["must stay", "another file"]);
            let ran = appended(&scene, arguments, "stderr", name).expect(2);
            assert!(
                ran.stdout.contains("stderr is redirected"),
                "{arguments:?} {name}: {ran:?}"
            );
        }
    }
    assert_eq!(digests(&scene), before, "{}", other.display());
}

#[test]
fn a_ledger_that_a_shell_has_emptied_is_left_as_it_is() {
    let scene = loaded();
    let file = std::fs::File::create(scene.path("rollbook.db")).unwrap();
    let before = digests(&scene);
    let ran = scene.command(&["status"]).stdout(file).output().unwrap();
    Ran::from(ran).refused(2, &["it is the ledger", "put a copy back"]);
    assert_eq!(digests(&scene), before);
}

#[test]
fn a_list_is_not_appended_to_while_it_is_read_from_stdin() {
    let scene = loaded();
    scene.write("more.txt", "cara@example.com\n");
    let open = || {
        std::fs::OpenOptions::new()
            .append(true)
            .read(true)
            .open(scene.path("more.txt"))
            .unwrap()
    };
    let before = digests(&scene);
    let mut command = scene.command(&["load", "-"]);
    let ran = command.stdin(open()).stdout(open()).output().unwrap();
    Ran::from(ran).refused(2, &["a list that is read"]);
    assert_eq!(digests(&scene), before);
}

#[test]
fn logs_of_any_look_are_appended_to() {
    let scene = loaded();
    for begins in [
        "",
        "2026-11-30T20:00:00Z\n",
        "rollbook load\n",
        "12|abcdefghijklmnopqrstuvwxyz01\n",
    ] {
        scene.write("log", begins);
        appended(&scene, &["status"], "stdout", "log").expect(0);
        appended(&scene, &["load", "list.txt"], "stderr", "log").expect(0);
        let log = std::fs::read_to_string(scene.path("log")).unwrap();
        assert!(
            log.starts_with(begins) && log.contains("list.txt: already in the ledger"),
            "{log}"
        );
    }
}

#[test]
fn the_token_is_kept_whatever_it_looks_like() {
    let scene = Scene::with(super::support::options());
    scene.write("list.txt", "nobody@example.com\n");
    // No word that anybody would take for a token.
    scene.write("tok", format!("\"{}\"\n", super::support::TOKEN));
    scene.write("notes", "a token is not here");
    let job = [
        "assign",
        "--status",
        "vip",
        "--yes",
        "--rate",
        "unlimited",
        "list.txt",
    ];
    let export = ["export", "--force", "-o"];
    // By what is in it.
    scene.run(&[&job[..], &["--ledger", "a.db"]].concat()).expect(0);
    refused_untouched(
        &scene,
        &[&export[..], &["tok", "--ledger", "a.db"]].concat(),
        &["it holds the token"],
    );
    // By its name, which the ledger knows.
    scene
        .run(&[&job[..], &["--token-file", "tok"]].concat())
        .expect(0);
    scene.write("tok", "another one");
    refused_untouched(&scene, &[&export[..], &["tok"]].concat(), &["it holds the token"]);
    let ran = appended(&scene, &["status"], "stdout", "tok");
    ran.refused(2, &["it holds the token"]);
    scene.run(&[&export[..], &["notes"]].concat()).expect(0);
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_said_that_it_may_go() {
    let scene = loaded();
    scene.write("audit.csv", "an earlier audit");
    refused_untouched(
        &scene,
        &["export", "-o", "audit.csv"],
        &["--force", "-o rollbook.audit.csv"],
    );
    scene.run(&["export", "--force", "-o", "audit.csv"]).expect(0);
    let now = std::fs::read_to_string(scene.path("audit.csv")).unwrap();
    assert!(now.starts_with("email,state,"), "{now}");
    refused_untouched(
        &scene,
        &["export", "--force", "-o", "none/audit.csv"],
        &["none/audit.csv"],
    );
    std::fs::create_dir(scene.path("folder")).unwrap();
    refused_untouched(&scene, &["export", "--force", "-o", "folder"], &["a folder"]);
    let ran = scene.run(&["export", "--force"]).expect(2);
    assert!(ran.stderr.contains("--output"), "{}", ran.stderr);
}

#[test]
fn devices_pipes_and_links_keep_their_node() {
    let scene = loaded();
    symlink("/dev/full", scene.path("full")).unwrap();
    symlink("/dev/null", scene.path("null")).unwrap();
    symlink("old.csv", scene.path("link")).unwrap();
    symlink("new.csv", scene.path("free")).unwrap();
    scene.write("old.csv", "old");
    scene
        .run(&["export", "-o", "full"])
        .refused(1, &["No space left on device"]);
    scene.run(&["export", "-o", "null"]).expect(0);
    scene.run(&["export", "-o", "/dev/null"]).expect(0);
    assert!(
        std::fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
    scene.run(&["export", "-o", "free"]).expect(0);
    scene.run(&["export", "--force", "-o", "link"]).expect(0);
    let audit = scene.run(&["export"]).expect(0).stdout;
    for name in ["old.csv", "new.csv"] {
        assert_eq!(std::fs::read_to_string(scene.path(name)).unwrap(), audit);
    }
    for (link, to) in [
        ("full", "/dev/full"),
        ("null", "/dev/null"),
        ("link", "old.csv"),
        ("free", "new.csv"),
    ] {
        assert_eq!(std::fs::read_link(scene.path(link)).unwrap(), Path::new(to));
    }
    assert_eq!(
        scene.run(&["export", "-o", "/dev/stdout"]).expect(0).stdout,
        audit
    );
    assert!(scene.names().iter().all(|name| !name.contains("partial")));
}

#[test]
fn a_named_pipe_is_written_through() {
    let scene = loaded();
    let pipe = scene.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read_to_string(pipe).unwrap()
    });
    scene.run(&["export", "-o", "pipe"]).expect(0);
    assert_eq!(reader.join().unwrap(), scene.run(&["export"]).expect(0).stdout);
    assert!(std::fs::symlink_metadata(pipe).unwrap().file_type().is_fifo());
}

#[test]
fn stdout_as_a_file_is_written_where_it_stands() {
    let scene = loaded();
    let script = "{ echo before; \"$0\" export -o /dev/stdout; echo after; } > all.txt";
    let program = scene.command(&[]).get_program().to_owned();
    let ran = std::process::Command::new("/bin/sh")
        .current_dir(scene.path(""))
        .args(["-c", script])
        .arg(program)
        .output()
        .unwrap();
    Ran::from(ran).expect(0);
    let all = std::fs::read_to_string(scene.path("all.txt")).unwrap();
    assert!(all.starts_with("before\nemail,state,"), "{all}");
    assert!(
        all.contains("bob@example.com") && all.ends_with("\nafter\n"),
        "{all}"
    );
}

#[test]
fn the_name_that_is_suggested_is_the_ledgers_and_is_free() {
    let scene = Scene::offline();
    scene.write("list.txt", "ann@example.com\n");
    let load = ["load", "--ledger", "vip.db", "list.txt"];
    let told = scene.run(&load).expect(0).stdout;
    assert!(!told.contains('>'), "{told}");
    let assigned = |told: &str| told.contains("rollbook --ledger vip.db assign");
    assert!(assigned(&told), "{told}");
    // The same command as a summary shows it, typed.
    let hint = |name: &str| {
        let ran = scene
            .run(&["export", "--ledger", "vip.db", "-o", "list.txt"])
            .expect(2);
        assert!(ran.stderr.contains(&format!("-o {name}")), "{}", ran.stderr);
        scene.run(&["export", "--ledger", "vip.db", "-o", name]).expect(0);
    };
    hint("vip.audit.csv");
    hint("vip.audit-2.csv");
    hint("vip.audit-3.csv");
}

/// A sandbox that must be refused and touch nothing.
#[track_caller]
fn no_sandbox(scene: &Scene, arguments: &[&str]) {
    let start = ["sandbox", "--port", "0", "--profiles", "20"];
    refused_untouched(scene, &[&start[..], arguments].concat(), &[arguments[1]]);
}

#[test]
fn a_sandbox_writes_over_nothing_that_it_did_not_make() {
    let scene = loaded();
    scene.write("customers.csv", "email\nann@example.com\n");
    scene.write("token", "12|abcdefghijklmnopqrstuvwxyz01");
    scene.write("lines.jsonl", "{\"a\":1}\n");
    symlink("customers.csv", scene.path("link.csv")).unwrap();
    for name in [
        "customers.csv",
        "token",
        "lines.jsonl",
        "link.csv",
        "rollbook.db",
        "rollbook.db.lock",
    ] {
        for flag in ["--list", "--state", "--journal", "--arrivals"] {
            no_sandbox(&scene, &[flag, name]);
        }
    }
    // Nothing of what it would make is made where another file is refused.
    no_sandbox(&scene, &["--arrivals", "customers.csv", "--list", "new.csv"]);
    no_sandbox(&scene, &["--list", "rollbook.db-wal"]);
}

#[test]
fn a_sandbox_goes_on_with_what_it_made() {
    let scene = Scene::offline();
    let arguments = [
        "sandbox",
        "--port",
        "0",
        "--profiles",
        "20",
        "--list",
        "list.csv",
        "--state",
        "state.jsonl",
        "--journal",
        "journal.jsonl",
        "--arrivals",
        "arrivals",
    ];
    let run = || {
        let mut child = scene
            .command(&arguments)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("OMNEO_TOKEN") {
            assert!(
                std::io::BufRead::read_line(&mut told, &mut line).unwrap() > 0,
                "{line}"
            );
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        digests(&scene)
    };
    let first = run();
    assert_eq!(first.len(), 4, "{:?}", first.keys());
    assert_eq!(run(), first);
}

#[test]
fn files_with_the_names_of_a_ledgers_own_stay() {
    for ending in ["-wal", "-shm", "-journal", ".lock"] {
        let scene = Scene::offline();
        scene.write("list.txt", "ann@example.com\n");
        let name = format!("rollbook.db{ending}");
        let notes = scene.write(&name, "do not lose: where the keys are, and who has them");
        let mode = || std::fs::metadata(&notes).unwrap().permissions();
        let before = (digests(&scene), mode());
        scene
            .run(&["load", "list.txt"])
            .refused(6, &[&name, "move it away"]);
        assert_eq!((digests(&scene), mode()), before);
        // Beside a ledger as well, to whoever writes and whoever reads.
        scene.run(&["load", "--ledger", "other.db", "list.txt"]).expect(0);
        for ending in ["-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(scene.path(&format!("other.db{ending}")));
        }
        let notes = scene.write(&format!("other.db{ending}"), "do not lose");
        scene.write("more.txt", "bob@example.com\n");
        let before = digests(&scene);
        for arguments in [&["load", "more.txt"][..], &["status"], &["export"], &["resume"]] {
            scene
                .run(&[arguments, &["--ledger", "other.db"]].concat())
                .refused(6, &["move it away"]);
        }
        assert_eq!(digests(&scene), before, "{}", notes.display());
    }
}

#[test]
fn a_ledger_is_not_made_where_it_would_belong_to_another_or_forget_one() {
    let scene = loaded();
    for ending in ["-wal", "-journal"] {
        let name = format!("rollbook.db{ending}");
        let _ = std::fs::remove_file(scene.path(&name));
        scene
            .run(&["load", "--ledger", &name, "list.txt"])
            .refused(6, &["another ledger"]);
        assert!(!scene.path(&name).exists());
    }
    std::fs::rename(scene.path("rollbook.db"), scene.path("kept.db")).unwrap();
    let log = [&[0x37, 0x7f, 0x06, 0x82][..], &[0; 60]].concat();
    scene.write("rollbook.db-wal", log);
    let before = digests(&scene);
    scene
        .run(&["load", "list.txt"])
        .refused(6, &["put the ledger back"]);
    assert_eq!(digests(&scene), before);
}

#[test]
fn names_that_are_no_text_are_names() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::with(super::support::options());
    let name = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let at = |bytes: &'static [u8]| scene.path("").join(name(bytes));
    std::fs::write(at(b"caf\xe9.csv"), "email\nann@example.com\n").unwrap();
    std::fs::write(at(b"caf\xe8.csv"), "email\nbob@example.com\n").unwrap();
    std::fs::write(at(b"tok\xe9n"), format!("{}\n", super::support::TOKEN)).unwrap();
    let run = |arguments: &[&OsStr]| {
        let mut command = scene.command(&[]);
        command.env("ROLLBOOK_LEDGER", name(b"l\xe9dger.db"));
        Ran::from(command.args(arguments).output().unwrap())
    };
    let word = OsStr::new;
    let load = run(&[word("load"), name(b"caf\xe9.csv"), name(b"caf\xe8.csv")]).expect(0);
    assert!(load.stderr.contains("caf\\xe9.csv: 1 row"), "{}", load.stderr);
    assert!(load.stderr.contains("caf\\xe8.csv: 1 row"), "{}", load.stderr);
    let assign = [
        word("assign"),
        word("--status"),
        word("vip"),
        word("--yes"),
        word("--token-file"),
        name(b"tok\xe9n"),
        name(b"caf\xe9.csv"),
        name(b"caf\xe8.csv"),
    ];
    run(&assign).expect(0);
    let told = run(&[word("status")]).expect(0).stdout;
    assert!(told.contains("--ledger $'l\\xe9dger.db'"), "{told}");
    assert!(told.contains("-o $'l\\xe9dger.audit.csv'"), "{told}");
    run(&[word("export"), word("-o"), name(b"\xe9.csv")]).expect(0);
    let audit = std::fs::read_to_string(at(b"\xe9.csv")).unwrap();
    assert!(
        audit.contains("caf\\xe9.csv") && audit.contains("caf\\xe8.csv"),
        "{audit}"
    );
    run(&[word("export"), word("--force"), word("-o"), name(b"caf\xe9.csv")]).refused(2, &["is a list"]);
    std::fs::write(at(b"caf\xe8.csv"), "email\ncara@example.com\n").unwrap();
    run(&[word("export"), word("--force"), word("-o"), name(b"caf\xe8.csv")]).refused(2, &["is a list"]);
    run(&[word("load"), name(b"n\xe9.csv")]).refused(2, &["n\\xe9.csv: no such file"]);
    run(&[word("doctor")]).expect(0);
}

#[test]
fn a_killed_export_is_named_by_the_doctor_and_removed_by_the_next() {
    let scene = Scene::offline();
    let list: String = (0..60_000).map(|n| format!("n{n}@example.com\n")).collect();
    scene.write("list.txt", list);
    scene.run(&["load", "list.txt"]).expect(0);
    scene.write(".notes.csv.12.partial", "do not lose");
    let partial = |scene: &Scene| {
        let names = scene.names().into_iter();
        names
            .filter(|name| name.ends_with(".partial") && name.starts_with(".audit"))
            .collect::<Vec<_>>()
    };
    let left = loop {
        let mut child = scene.spawn(&["export", "-o", "audit.csv"]);
        while partial(&scene).is_empty() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        match partial(&scene).pop() {
            Some(left) => break left,
            None => std::fs::remove_file(scene.path("audit.csv")).unwrap(),
        }
    };
    scene.write(
        ".older.csv.2147483646.partial",
        "email,state,reason,profile_id\nann@exam",
    );
    let told = scene.run(&["doctor"]).expect(0).stdout;
    assert!(
        told.contains(&left) && told.contains(".older.csv.2147483646.partial"),
        "{told}"
    );
    let told = scene.run(&["export", "-o", "audit.csv"]).expect(0).stderr;
    assert!(told.contains("2 half-written exports"), "{told}");
    let hidden = scene.names().into_iter().filter(|name| name.starts_with('.'));
    assert_eq!(hidden.collect::<Vec<_>>(), [".notes.csv.12.partial"]);
    assert!(!scene.run(&["doctor"]).expect(0).stdout.contains("partial"));
}

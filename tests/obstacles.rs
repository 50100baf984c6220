//! What the machine puts in the way: files that may not grow, locks of other programs, state folders that are of no use.

use crate::support::{Ran, Scene, check_doctor, check_promises, options};
use rollbook::sandbox::Options;
use rusqlite::Connection;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const JOB: [&str; 7] = ["assign", "--status", "vip", "list.txt", "--yes", "--rate", "40/s"];

fn scene(people: u32) -> Scene {
    let options = Options {
        profiles: 200,
        holders_percent: 0,
        ..options()
    };
    let list: String = (0..people)
        .map(|index| options.person(index).email + "\n")
        .collect();
    let scene = Scene::with(options);
    scene.write("list.txt", list);
    scene
}

/// Runs the binary where no file may grow beyond so many blocks of 512 bytes, as `ulimit` leaves it.
fn run_cut(scene: &Scene, blocks: u32, arguments: &[&str]) -> Ran {
    let plain = scene.command(arguments);
    let mut command = Command::new("/bin/sh");
    command
        .env_clear()
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(scene.path("."))
        .args(["-c", &format!("ulimit -f {blocks}; exec \"$@\""), "sh"])
        .arg(plain.get_program())
        .args(arguments)
        .stdin(Stdio::null());
    Ran::from(command.output().unwrap())
}

#[test]
fn a_first_load_that_is_cut_by_a_limit_is_begun_again() {
    for blocks in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
        let scene = Scene::offline();
        let list: String = (0..3_000)
            .map(|number| format!("n{number}@example.com\n"))
            .collect();
        scene.write("list.txt", list);
        let ran = run_cut(&scene, blocks, &["load", "list.txt"]);
        assert_eq!(ran.code, Some(1), "{blocks} blocks: {}", ran.stderr);
        ran.refused(1, &["cannot write the ledger", "make room"]);
        scene.run(&["load", "list.txt"]).expect(0);
        assert_eq!(scene.status()["entries"], 3_000, "{blocks} blocks");
        check_doctor(&scene, &scene.path("rollbook.db"));
    }
}

/// What such a cut left behind when it still killed the program: a part of the first page, and the journal that takes
/// it back.
#[test]
fn a_ledger_that_was_cut_while_it_was_made_is_begun_again() {
    let whole = Scene::offline();
    whole.write("list.txt", "ann@example.com\n");
    whole.run(&["load", "list.txt"]).expect(0);
    let page = std::fs::read(whole.path("rollbook.db")).unwrap();
    // Magic, no records, a nonce, no pages before, and the sizes of a sector and of a page.
    let mut journal = vec![
        0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7, 0, 0, 0, 0, 1, 2, 3, 4,
    ];
    journal.extend([0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 32, 0]);
    journal.resize(512, 0);
    for bytes in [1, 50, 512, 1_024, 4_096, 8_192] {
        let scene = Scene::offline();
        scene.write("list.txt", "ann@example.com\n");
        scene.write("rollbook.db", &page[..bytes]);
        scene.write("rollbook.db-journal", &journal);
        for verb in ["status", "export"] {
            scene.run(&[verb]).refused(2, &["there is no ledger"]);
        }
        scene.run(&["load", "list.txt"]).expect(0);
        assert_eq!(scene.status()["entries"], 1, "{bytes} bytes");
        check_doctor(&scene, &scene.path("rollbook.db"));
    }
}

/// A program that writes to the ledger, and holds its lock until it is told to let go.
fn lock(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

/// Reads what a run says until it says that it waits; the answer is what it said.
fn until_it_waits(child: &mut Child) -> BufReader<std::process::ChildStderr> {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("another program has locked") {
        assert!(
            lines.read_line(&mut said).unwrap() > 0,
            "it ended without a word of waiting: {said}"
        );
    }
    assert!(said.contains("rollbook.db; waiting for it"), "{said}");
    lines
}

fn spawn(scene: &Scene, arguments: &[&str]) -> Child {
    let mut command = scene.command(arguments);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_lock_of_another_program_is_waited_for_and_that_is_said() {
    let scene = scene(20);
    scene.run(&["load", "list.txt"]).expect(0);
    let locked = lock(&scene.path("rollbook.db"));
    let mut child = spawn(&scene, &JOB);
    let mut rest = until_it_waits(&mut child);
    drop(locked);
    let mut said = String::new();
    rest.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    check_promises(&scene, &scene.export());
}

#[test]
fn a_lock_that_is_never_let_go_of_is_not_waited_for_for_ever() {
    let scene = scene(20);
    scene.run(&["load", "list.txt"]).expect(0);
    let _locked = lock(&scene.path("rollbook.db"));
    let loading = spawn(&scene, &["load", "list.txt"]);
    let ran = Ran::from(loading.wait_with_output().unwrap());
    ran.refused(6, &["another program has locked the ledger", "fuser"]);
}

#[test]
fn a_run_that_is_locked_out_stops_and_can_be_resumed() {
    let scene = scene(60);
    let slowly = [
        "20/s",
        "--batch-size",
        "5",
        "--resolve",
        "one",
        "--progress",
        "plain",
    ];
    let slowly = [&JOB[..6], &slowly].concat();
    let mut child = spawn(&scene, &slowly);
    while scene.tenant().requests().len() < 20 {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let locked = lock(&scene.path("rollbook.db"));
    let ran = Ran::from(child.wait_with_output().unwrap());
    ran.refused(4, &["another program has locked the ledger", "fuser", "resume"]);
    drop(locked);
    scene.run(&JOB).expect(0);
    check_promises(&scene, &scene.export());
    check_doctor(&scene, &scene.path("rollbook.db"));
}

/// The job is done, and it is said once that nothing is shared or remembered there.
#[track_caller]
fn goes_on_alone(scene: &Scene, state: &Path, said: &str) {
    let mut command = scene.command(&JOB);
    command.env("ROLLBOOK_STATE_DIR", state);
    let ran = Ran::from(command.output().unwrap()).expect(0);
    assert_eq!(
        ran.stderr.matches("keeps its own rate").count(),
        1,
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains(said), "`{said}` is missing: {}", ran.stderr);
    assert!(scene.tenant().busiest_second() <= 40);
    check_promises(scene, &scene.export());
    assert_eq!(scene.times_sent().len(), 60);
}

fn state_folder(scene: &Scene) -> PathBuf {
    let state = scene.path("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    state
}

#[test]
fn a_state_folder_that_others_may_write_to_is_not_used() {
    let scene = scene(60);
    let state = state_folder(&scene);
    std::fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    goes_on_alone(&scene, &state, "can be written by others");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn a_state_folder_of_another_user_is_not_used() {
    let scene = scene(60);
    let state = state_folder(&scene);
    if std::os::unix::fs::chown(&state, Some(12_345), Some(12_345)).is_err() {
        println!("state folder of another user: skipped, since we cannot give one away");
        return;
    }
    goes_on_alone(&scene, &state, "belongs to another user");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn a_state_folder_that_is_none_is_not_used() {
    let scene = scene(60);
    scene.write("state", "in the way");
    goes_on_alone(&scene, &scene.path("state"), "cannot");
}

#[test]
fn files_of_another_version_are_neither_believed_nor_changed() {
    let scene = scene(60);
    scene.run(&["load", "list.txt"]).expect(0);
    // A run that is stopped at once leaves the files of a job in the state folder.
    scene.run(&[&JOB[..], &["--limit", "1"]].concat());
    let taken = scene.tenant().writes().len();
    let files: Vec<PathBuf> = std::fs::read_dir(scene.state())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    let newer = "{\"version\": 2, \"something\": \"else\"}";
    for file in &files {
        std::fs::write(file, newer).unwrap();
    }
    goes_on_alone(&scene, scene.state(), "another version of rollbook");
    assert!(scene.tenant().writes().len() > taken);
    for file in &files {
        assert_eq!(std::fs::read_to_string(file).unwrap(), newer);
    }
}

/// A small file system in memory, for as long as this lives.
struct Small(PathBuf);

impl Small {
    fn at(path: PathBuf, options: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path);
        let mounted = mount.stderr(Stdio::null()).status().ok()?.success();
        mounted.then_some(Self(path))
    }

    fn fill(&self) {
        let zeros = vec![0; 4_096];
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_state_folder_is_done_without() {
    let scene = scene(60);
    let Some(small) = Small::at(state_folder(&scene), "size=64k,mode=0700") else {
        println!("a full state folder: skipped, since nothing can be mounted here");
        return;
    };
    small.fill();
    goes_on_alone(&scene, &small.0, "No space left on device");
}

#[test]
fn a_state_folder_that_fills_up_in_mid_run_is_done_without() {
    let scene = scene(60);
    let Some(small) = Small::at(state_folder(&scene), "size=64k,mode=0700") else {
        println!("a state folder that fills up: skipped, since nothing can be mounted here");
        return;
    };
    let mut command = scene.command(&JOB);
    command
        .env("ROLLBOOK_STATE_DIR", &small.0)
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    while scene.tenant().requests().len() < 10 {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    small.fill();
    let ran = Ran::from(child.wait_with_output().unwrap()).expect(0);
    assert!(
        ran.stderr.matches("keeps its own rate").count() <= 1,
        "{}",
        ran.stderr
    );
    assert_eq!(scene.times_sent().len(), 60);
    check_promises(&scene, &scene.export());
}

#[test]
fn a_state_folder_that_cannot_be_written_is_done_without() {
    let scene = scene(60);
    let Some(small) = Small::at(state_folder(&scene), "ro,size=64k,mode=0700") else {
        println!("a read-only state folder: skipped, since nothing can be mounted here");
        return;
    };
    goes_on_alone(&scene, &small.0, "Read-only file system");
}

/// The record of the ledger cannot be written any more: nothing leaves that it does not know of, and that is said.
#[test]
fn a_run_whose_record_cannot_be_written_any_more_stops_and_can_be_resumed() {
    let scene = scene(60);
    let state = scene.path("state");
    let mut command = scene.command(&[&JOB[..5], &["--rate", "20/s", "--batch-size", "5"]].concat());
    command
        .env("ROLLBOOK_STATE_DIR", &state)
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    while scene.tenant().writes().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    // Whoever clears up there puts something else in its place.
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::write(&state, "in the way").unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    ran.refused(4, &["state folder", "ROLLBOOK_STATE_DIR", "resume"]);
    assert!(scene.times_sent().len() < 60);
    // Nothing is in doubt: it is known that what was marked did not leave.
    assert_eq!(scene.status()["batches"]["in_doubt"], 0, "{}", scene.status());
    scene.run(&JOB).expect(0);
    check_promises(&scene, &scene.export());
    assert_eq!(scene.times_sent().len(), 60);
}

//! Ledgers that were copied, put back, moved or taken away, judged by what the tenant took.

use crate::support::{Ran, Scene, check_doctor, check_promises, options, side_by_side};
use rollbook::sandbox::Options;
use rusqlite::Connection;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PEOPLE: usize = 60;
const JOB: [&str; 10] = [
    "assign",
    "--status",
    "vip",
    "list.txt",
    "--yes",
    "--rate",
    "unlimited",
    "--batch-size",
    "6",
    "--quiet",
];

/// A tenant of whom nobody has the status, and a list of the first of its people.
fn scene(latency: Duration) -> Scene {
    let options = Options {
        profiles: 200,
        holders_percent: 0,
        latency,
        ..options()
    };
    let list: String = (0..PEOPLE as u32)
        .map(|index| options.person(index).email + "\n")
        .collect();
    let scene = Scene::with(options);
    scene.write("list.txt", list);
    scene
}

fn ledger(scene: &Scene) -> PathBuf {
    scene.path("rollbook.db")
}

fn companion(scene: &Scene, ending: &str) -> PathBuf {
    scene.path(&format!("rollbook.db{ending}"))
}

/// Takes away whatever SQLite and we put beside a ledger, or a part of it.
fn take_away(scene: &Scene, endings: &[&str]) {
    for ending in endings {
        let _ = std::fs::remove_file(companion(scene, ending));
    }
}

/// Starts a job and waits until the tenant has taken so many batches.
fn started(scene: &Scene, arguments: &[&str], batches: usize) -> Child {
    let mut child = scene
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while scene.tenant().writes().len() < batches {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        assert!(Instant::now() < deadline, "it sends nothing");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// Runs a job until the tenant has taken so many batches, and kills it.
fn killed(scene: &Scene, arguments: &[&str], batches: usize) {
    let mut child = started(scene, arguments, batches);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A job that is killed in its midst, with answers that take a while.
fn killed_job(before: &[&[&str]]) -> Scene {
    let scene = scene(Duration::from_millis(40));
    for arguments in before {
        scene.run(arguments).expect(0);
    }
    killed(&scene, &[&JOB[..], &["--concurrency", "2"]].concat(), 3);
    scene.tenant().set_latency(Duration::ZERO);
    scene
}

fn nobody_twice(scene: &Scene) {
    let twice: Vec<_> = scene
        .times_sent()
        .into_iter()
        .filter(|(_, times)| *times > 1)
        .collect();
    assert!(twice.is_empty(), "sent twice: {twice:?}");
}

/// Starts a run and kills it once it has said something.
fn killed_once_it_says(scene: &Scene, arguments: &[&str], words: &str) {
    let mut command = scene.command(arguments);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut said, mut is_said) = (Vec::new(), false);
    for line in lines.map_while(Result::ok) {
        is_said |= line.contains(words);
        said.push(line);
        if is_said {
            break;
        }
    }
    assert!(is_said, "it ended without a word of `{words}`: {said:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What an adoption says while it waits, sending nothing.
const WAITS: &str = "this ledger is a copy: nothing is sent for ";

#[test]
fn a_ledger_that_was_copied_without_its_log_is_a_copy() {
    for before in [
        &[][..],
        &[&["load", "list.txt"][..]],
        &[&["assign", "--status", "vip", "list.txt", "--dry-run"][..]],
    ] {
        let scene = killed_job(before);
        assert!(std::fs::metadata(companion(&scene, "-wal")).unwrap().len() > 0);
        let copy = scene.path("copy.db");
        std::fs::copy(ledger(&scene), &copy).unwrap();
        let taken = scene.tenant().writes().len();
        for job in [&JOB[..], &["resume", "--yes"]] {
            let there = [job, &["--ledger", "copy.db"]].concat();
            scene.run(&there).refused(6, &["copy.db", "--adopt"]);
        }
        assert_eq!(scene.tenant().writes().len(), taken);
        // The original has not noticed.
        check_doctor(&scene, &ledger(&scene));
    }
}

/// A ledger whose job went on after this state of it was kept, and which is then written into the same file.
fn put_back(before: &[&str]) -> Scene {
    let scene = scene(Duration::ZERO);
    scene.run(before).expect(if before[0] == "load" { 0 } else { 4 });
    take_away(&scene, &["-wal", "-shm"]);
    let older = std::fs::read(ledger(&scene)).unwrap();
    let inode = std::fs::metadata(ledger(&scene)).unwrap().ino();
    scene.run(&JOB).expect(0);
    assert_eq!(scene.times_sent().len(), PEOPLE);
    std::fs::write(ledger(&scene), older).unwrap();
    take_away(&scene, &["-wal", "-shm"]);
    assert_eq!(std::fs::metadata(ledger(&scene)).unwrap().ino(), inode);
    scene
}

fn refuses_to_go_on(scene: &Scene, why: &str) {
    let taken = scene.tenant().writes().len();
    // Said again, whoever opens it in the meantime.
    for _ in 0..2 {
        scene.run(&JOB).refused(6, &[why, "--adopt"]);
        scene.run(&["load", "list.txt"]).expect(0);
    }
    assert_eq!(scene.tenant().writes().len(), taken, "it sent something");
}

fn pilot() -> Vec<&'static str> {
    [&JOB[..], &["--limit", "12"]].concat()
}

#[test]
fn an_older_state_in_the_same_file_is_known_by_the_state_folder() {
    for before in [pilot(), vec!["load", "list.txt"]] {
        let scene = put_back(&before);
        take_away(&scene, &[".lock"]);
        refuses_to_go_on(&scene, "older state");
        let doctor = scene.run(&["doctor"]);
        assert!(doctor.stdout.contains("BROKEN"), "{}", doctor.stdout);
        nobody_twice(&scene);
    }
}

#[test]
fn an_older_state_without_any_memory_counts_as_a_copy() {
    let scene = put_back(&pilot());
    take_away(&scene, &[".lock"]);
    std::fs::remove_dir_all(scene.state()).unwrap();
    refuses_to_go_on(&scene, "its lock file is gone");
    nobody_twice(&scene);
}

/// What an adoption waits for stands in `tests/disasters/copies.rs`, where time costs nothing.
#[test]
fn an_older_state_that_is_adopted_is_the_newest_from_then_on() {
    let scene = put_back(&pilot());
    take_away(&scene, &[".lock"]);
    let taken = scene.tenant().writes().len();
    killed_once_it_says(&scene, &["resume", "--yes", "--adopt"], WAITS);
    // Neither memory is beyond the ledger any more: it goes on with its adoption, and is not refused.
    killed_once_it_says(&scene, &["resume", "--yes"], WAITS);
    take_away(&scene, &[".lock"]);
    killed_once_it_says(&scene, &["resume", "--yes"], WAITS);
    assert_eq!(scene.tenant().writes().len(), taken);
    check_doctor(&scene, &ledger(&scene));
}

/// One memory suffices, and that it is only one is said.
#[test]
fn the_loss_of_one_memory_is_no_reason_to_stop() {
    let scene = scene(Duration::ZERO);
    scene.run(&pilot()).expect(4);
    take_away(&scene, &[".lock"]);
    let ran = scene.run(&pilot()).expect(4);
    assert!(
        !ran.stderr.contains("lock file"),
        "the record knows: {}",
        ran.stderr
    );
    std::fs::remove_dir_all(scene.state()).unwrap();
    let loud: Vec<&str> = JOB.into_iter().filter(|word| *word != "--quiet").collect();
    let unknown = scene.run(&["doctor"]).expect(0);
    assert!(unknown.stdout.contains("unknown"), "{}", unknown.stdout);
    let ran = scene.run(&loud).expect(0);
    let said = ran.stderr.matches("no record of the newest state").count();
    assert_eq!(said, 1, "{}", ran.stderr);
    let known = scene.run(&["doctor"]).expect(0);
    assert!(!known.stdout.contains("unknown"), "{}", known.stdout);
    nobody_twice(&scene);
}

/// A ledger that two users take turns with: what one of them remembers is out of date, and says nothing.
#[test]
fn a_record_that_is_out_of_date_does_not_vouch() {
    let scene = scene(Duration::ZERO);
    scene.run(&pilot()).expect(4);
    let other_state = tempfile::tempdir().unwrap();
    let elsewhere = |arguments: &[&str]| {
        let mut command = scene.command(arguments);
        Ran::from(
            command
                .env("ROLLBOOK_STATE_DIR", other_state.path())
                .output()
                .unwrap(),
        )
    };
    elsewhere(&pilot()).expect(4);
    let older = std::fs::read(ledger(&scene)).unwrap();
    elsewhere(&pilot()).expect(4);
    std::fs::write(ledger(&scene), older).unwrap();
    take_away(&scene, &["-wal", "-shm", ".lock"]);
    let taken = scene.tenant().writes().len();
    scene.run(&JOB).refused(6, &["its lock file is gone", "--adopt"]);
    assert_eq!(scene.tenant().writes().len(), taken);
}

#[test]
fn an_original_notices_that_its_copy_was_adopted() {
    let scene = killed_job(&[]);
    for ending in ["", "-wal"] {
        std::fs::copy(companion(&scene, ending), scene.path(&format!("copy.db{ending}"))).unwrap();
    }
    // Whoever only looks at the copy, or is refused, does not disturb the original.
    scene
        .run(&["resume", "--ledger", "copy.db"])
        .refused(6, &["--adopt"]);
    scene.run(&["load", "list.txt", "--ledger", "copy.db"]).expect(0);
    check_doctor(&scene, &ledger(&scene));
    let adopting = ["resume", "--adopt", "--yes", "--ledger", "copy.db"];
    killed_once_it_says(&scene, &adopting, WAITS);
    let taken = scene.tenant().writes().len();
    scene
        .run(&JOB)
        .refused(6, &["a copy of it was adopted", "--adopt"]);
    assert_eq!(scene.tenant().writes().len(), taken);
    nobody_twice(&scene);
}

/// Two that go on with one ledger at the same time are one too many.
#[test]
fn a_run_stops_whose_ledger_is_adopted_elsewhere() {
    let scene = scene(Duration::from_millis(250));
    let arguments = [&JOB[..9], &["--concurrency", "1", "--progress", "plain"]].concat();
    let child = started(&scene, &arguments, 2);
    for ending in ["", "-wal"] {
        let copy = scene.path(&format!("copy.db{ending}"));
        std::fs::copy(companion(&scene, ending), copy).unwrap();
    }
    let adopting = ["resume", "--adopt", "--yes", "--ledger", "copy.db"];
    killed_once_it_says(&scene, &adopting, WAITS);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(6), "{}", ran.stderr);
    assert!(ran.stderr.contains("taken this ledger over"), "{}", ran.stderr);
    assert!(scene.times_sent().len() < PEOPLE, "it had been done by then");
}

/// What happens to a ledger while its run sends, and how that is told.
fn disturbed(disturb: impl FnOnce(&Scene), said: &str) -> Scene {
    let scene = scene(Duration::from_millis(60));
    let arguments = [&JOB[..9], &["--concurrency", "2", "--progress", "plain"]].concat();
    let child = started(&scene, &arguments, 2);
    disturb(&scene);
    let taken = scene.tenant().writes().len();
    let ran = Ran::from(child.wait_with_output().unwrap());
    let after = scene.tenant().writes().len() - taken;
    ran.refused(6, &[said, "rollbook.db", "resume"]);
    assert!(after <= 2, "{after} more batches were sent");
    assert!(scene.times_sent().len() < PEOPLE, "it had been done by then");
    scene.tenant().set_latency(Duration::ZERO);
    scene
}

#[test]
fn a_run_stops_whose_ledger_is_deleted() {
    disturbed(
        |scene| std::fs::remove_file(ledger(scene)).unwrap(),
        "it was deleted",
    );
}

#[test]
fn a_run_stops_whose_ledger_is_moved_and_goes_on_once_it_is_back() {
    let endings = ["", "-wal", "-shm", ".lock"];
    let to = |scene: &Scene, ending: &str| scene.path(&format!("moved.db{ending}"));
    let scene = disturbed(
        |scene| {
            for ending in endings {
                std::fs::rename(companion(scene, ending), to(scene, ending)).unwrap();
            }
        },
        "moved away",
    );
    assert!(scene.names().iter().all(|name| !name.starts_with("rollbook.db")));
    for ending in endings {
        let _ = std::fs::rename(to(&scene, ending), companion(&scene, ending));
    }
    scene.run(&JOB).expect(0);
    check_promises(&scene, &scene.export());
    assert_eq!(scene.times_sent().len(), PEOPLE);
}

#[test]
fn a_run_stops_whose_ledger_is_replaced() {
    disturbed(
        |scene| {
            scene.run(&["load", "list.txt", "--ledger", "other.db"]).expect(0);
            std::fs::rename(scene.path("other.db"), ledger(scene)).unwrap();
        },
        "another file",
    );
}

#[test]
fn a_run_stops_whose_log_or_lock_file_is_taken_away() {
    for (ending, said) in [("-wal", "its log"), (".lock", "its lock file")] {
        let scene = disturbed(|scene| take_away(scene, &[ending]), said);
        if ending == ".lock" {
            scene.run(&JOB).expect(0);
            check_promises(&scene, &scene.export());
        }
    }
}

/// After the last batch is sent nothing is marked any more, and a run that has nowhere to say so is not done.
#[test]
fn a_run_is_not_done_where_its_ledger_is_gone_at_the_end() {
    let scene = scene(Duration::from_millis(60));
    let child = started(&scene, &JOB, PEOPLE / 6);
    std::fs::remove_file(ledger(&scene)).unwrap();
    Ran::from(child.wait_with_output().unwrap()).refused(6, &["it was deleted"]);
}

#[test]
fn the_machine_is_the_one_that_is_named() {
    let scene = scene(Duration::ZERO);
    let on = |machine: &str, arguments: &[&str]| {
        let mut command = scene.command(arguments);
        Ran::from(command.env("ROLLBOOK_MACHINE", machine).output().unwrap())
    };
    on("worker", &pilot()).expect(4);
    on("other", &pilot()).refused(6, &["another machine (worker)", "--adopt"]);
    scene.run(&pilot()).refused(6, &["another machine", "--adopt"]);
    on("worker", &JOB).expect(0);
    nobody_twice(&scene);
}

/// An ext4 file system of its own in a file, mounted for as long as this lives.
struct Volume {
    image: PathBuf,
    at: PathBuf,
}

impl Volume {
    /// `None` where nothing can be mounted here.
    fn fresh(scene: &Scene, name: &str) -> Option<Self> {
        let image = scene.path(name);
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let mut make = Command::new("mkfs.ext4");
        is_done(make.args(["-q", "-F"]).arg(&image))?;
        let at = scene.path("volume");
        std::fs::create_dir_all(&at).unwrap();
        let volume = Self { image, at };
        volume.mount().then_some(volume)
    }

    fn mount(&self) -> bool {
        is_done(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&self.image)
                .arg(&self.at),
        )
        .is_some()
    }

    fn unmount(&self) {
        is_done(Command::new("umount").arg(&self.at));
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn is_done(command: &mut Command) -> Option<()> {
    let ran = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
    ran.ok().filter(|status| status.success()).map(drop)
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_remount_is_no_copy_and_a_fresh_volume_is_one() {
    let scene = scene(Duration::ZERO);
    let Some(volume) = Volume::fresh(&scene, "one.img") else {
        println!("volumes: skipped, since nothing can be mounted here");
        return;
    };
    let there = [&pilot()[..], &["--ledger", "volume/rollbook.db"]].concat();
    scene.run(&there).expect(4);
    let inode = std::fs::metadata(volume.at.join("rollbook.db")).unwrap().ino();
    volume.unmount();
    assert!(volume.mount());
    scene.run(&there).expect(4);
    // The folder as it is, on a fresh volume: the numbers of files there begin anew.
    let kept = scene.path("kept");
    std::fs::create_dir(&kept).unwrap();
    copy_all(&volume.at, &kept);
    drop(volume);
    let volume = Volume::fresh(&scene, "two.img").unwrap();
    for number in 0.. {
        assert!(number < 64, "no file there gets the number of the first ledger");
        let name = volume.at.join(format!("{number}"));
        std::fs::write(&name, "").unwrap();
        if std::fs::metadata(&name).unwrap().ino() == inode {
            std::fs::rename(&name, volume.at.join("rollbook.db")).unwrap();
            break;
        }
    }
    copy_all(&kept, &volume.at);
    assert_eq!(
        std::fs::metadata(volume.at.join("rollbook.db")).unwrap().ino(),
        inode
    );
    let taken = scene.tenant().writes().len();
    scene.run(&there).refused(6, &["another file system", "--adopt"]);
    assert_eq!(scene.tenant().writes().len(), taken);
}

/// A ledger of an earlier version, as it was used here, with nobody looked up yet.
fn ledger_of_version(scene: &Scene, version: usize) {
    let donor = scene.path("donor.db");
    let dry = [
        "assign",
        "--status",
        "vip",
        "list.txt",
        "--dry-run",
        "--quiet",
        "--ledger",
        "donor.db",
    ];
    scene.run(&dry).expect(0);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let path = ledger(scene);
    let connection = Connection::open(&path).unwrap();
    for name in &names[..version] {
        connection
            .execute_batch(&std::fs::read_to_string(name).unwrap())
            .unwrap();
    }
    connection
        .pragma_update(None, "application_id", 0x524C_424B)
        .unwrap();
    connection
        .pragma_update(None, "user_version", version as i64)
        .unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = wal; ATTACH '{}' AS donor;
             INSERT INTO job (only_row, tenant, action, handles, pinned_at, confirmed_entries)
                 SELECT only_row, tenant, action, handles, pinned_at, 1000 FROM donor.job;
             INSERT INTO list (id, name, layout, column_no, digest, rows, entries, repeats, rejects, loaded_at)
                 SELECT id, name, layout, column_no, digest, rows, entries, repeats, rejects, loaded_at FROM donor.list;
             INSERT INTO entry (id, email, list, line) SELECT id, email, list, line FROM donor.entry;
             INSERT INTO tally (state, reason, entries) SELECT 0, '', count(*) FROM donor.entry;",
            donor.display()
        ))
        .unwrap();
    if version > 1 {
        let inode = std::fs::metadata(&path).unwrap().ino() as i64;
        let place = path.canonicalize().unwrap().to_str().unwrap().to_owned();
        connection
            .execute(
                "UPDATE meta SET machine = (SELECT machine FROM donor.meta), host = 'here', path = ?1, inode = ?2",
                rusqlite::params![place, inode],
            )
            .unwrap();
    }
    drop(connection);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn ledgers_of_every_earlier_version_go_on_and_know_their_place_from_then_on() {
    side_by_side(1..=4, |version| {
        let scene = scene(Duration::ZERO);
        ledger_of_version(&scene, version);
        scene.run(&pilot()).expect(4);
        check_doctor(&scene, &ledger(&scene));
        // Written over in the same file: from now on that is noticed.
        let connection = Connection::open(ledger(&scene)).unwrap();
        let known = "SELECT born IS NOT NULL AND volume IS NOT NULL AND inode IS NOT NULL FROM meta";
        let known: bool = connection.query_row(known, [], |row| row.get(0)).unwrap();
        let can_be_known = std::fs::metadata(ledger(&scene)).unwrap().created().is_ok();
        assert!(known || !can_be_known, "version {version}");
        drop(connection);
        scene.run(&JOB).expect(0);
        check_promises(&scene, &scene.export());
        assert_eq!(scene.times_sent().len(), PEOPLE, "version {version}");
        check_doctor(&scene, &ledger(&scene));
    });
}

#[test]
fn a_ledger_of_an_earlier_version_that_was_copied_is_a_copy() {
    side_by_side(2..=4, |version| {
        let scene = scene(Duration::ZERO);
        ledger_of_version(&scene, version);
        std::fs::copy(ledger(&scene), scene.path("copy.db")).unwrap();
        let there = [&JOB[..], &["--ledger", "copy.db"]].concat();
        scene.run(&there).refused(6, &["it was last used at", "--adopt"]);
        assert!(scene.tenant().writes().is_empty());
    });
}

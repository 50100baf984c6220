//! What the tests share: a scene with a tenant, a folder and a way to run the real binary in it.

pub mod raw;
pub mod share;
#[cfg(feature = "sheets")]
pub mod workbooks;

use rollbook::sandbox::{Options, Sandbox};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The token of every sandbox in the tests; no stream and no file may ever show it.
pub const TOKEN: &str = "secret-canary-4f1e9d";

/// A folder, and a tenant where one is wanted.
pub struct Scene {
    folder: tempfile::TempDir,
    /// Where the processes of the scene share their budget.
    state: tempfile::TempDir,
    tenant: Option<Sandbox>,
}

/// Tenant options for tests: no waiting that nothing is learned from.
pub fn options() -> Options {
    Options {
        profiles: 2_000,
        token: TOKEN.into(),
        apply_delay: std::time::Duration::from_millis(20),
        ..Options::default()
    }
}

/// Runs a future to its end on a runtime of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Tries cases at the same time that wait more than they work; the first panic is everybody's.
pub fn side_by_side<C: Send>(cases: impl IntoIterator<Item = C>, each: impl Fn(C) + Sync) {
    std::thread::scope(|scope| {
        let each = &each;
        for case in cases {
            scope.spawn(move || each(case));
        }
    });
}

impl Scene {
    /// A folder without a tenant.
    pub fn offline() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
            tenant: None,
        }
    }

    /// A folder and a tenant.
    pub fn with(options: Options) -> Self {
        let mut scene = Self::offline();
        scene.open(options);
        scene
    }

    /// Starts a tenant.
    pub fn open(&mut self, options: Options) {
        self.tenant = Some(block_on(Sandbox::start(options)).unwrap());
    }

    /// Pulls the tenant's plug.
    pub fn close(&mut self) {
        block_on(self.tenant.take().unwrap().stop());
    }

    /// The tenant.
    pub fn tenant(&self) -> &Sandbox {
        self.tenant.as_ref().unwrap()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the processes of the scene share their budget.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// The real binary in the folder, with nothing of our own environment but the tenant's address and token.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollbook"));
        command
            .env_clear()
            .current_dir(self.folder.path())
            .env("ROLLBOOK_STATE_DIR", self.state.path())
            .args(arguments)
            .stdin(Stdio::null());
        if let Some(tenant) = &self.tenant {
            command
                .env("OMNEO_BASE_URL", tenant.base_url())
                .env("OMNEO_TOKEN", TOKEN);
        }
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.command(arguments).output().unwrap())
    }

    /// Runs the binary in a world where no file can grow beyond so many blocks of 512 bytes: what a full disk
    /// is like, without one.
    pub fn run_with_files_limited(&self, blocks: u32, arguments: &[&str]) -> Ran {
        let limited = self.command(arguments);
        let mut command = Command::new("/bin/sh");
        command
            .env_clear()
            .envs(
                limited
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(self.folder.path())
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""))
            .args(["sh", env!("CARGO_BIN_EXE_rollbook")])
            .args(arguments)
            .stdin(Stdio::null());
        Ran::from(command.output().unwrap())
    }

    /// Starts the binary, its output into the void.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The export, by email.
    pub fn export(&self) -> BTreeMap<String, Row> {
        self.export_of(&self.path("rollbook.db"))
    }

    /// The export of a ledger wherever it is, by email.
    pub fn export_of(&self, ledger: &Path) -> BTreeMap<String, Row> {
        let ledger = ledger.to_str().unwrap();
        let ran = self
            .run(&["export", "--format", "csv", "--ledger", ledger])
            .expect(0);
        let mut reader = csv::Reader::from_reader(ran.stdout.as_bytes());
        let rows = reader.deserialize::<Row>().map(|row| row.unwrap());
        rows.map(|row| (row["email"].clone(), row)).collect()
    }

    /// `status --json`.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.run(&["status", "--json"]).expect(0).stdout).unwrap()
    }

    /// How often each profile was sent, as the tenant saw it.
    pub fn times_sent(&self) -> HashMap<String, usize> {
        let mut times = HashMap::new();
        for write in self.tenant().writes() {
            for (profile, _) in write.members {
                *times.entry(profile).or_default() += 1;
            }
        }
        times
    }

    /// The names in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Every byte of every file in the folder.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
            .collect()
    }
}

/// Text of the program with everything replaced that differs from run to run: the tenant's address, the
/// folder, batch ids, times, process ids and signs of life. Columns keep their widths.
pub fn tame(scene: &Scene, text: &str) -> String {
    let mut text = text.replace(&scene.folder.path().display().to_string(), "FOLDER");
    if let Some(tenant) = &scene.tenant {
        text = text.replace(&tenant.base_url(), "https://tenant.example/api/v3");
        for (position, write) in tenant.writes().into_iter().enumerate() {
            let name = format!("00000000-0000-0000-0000-{:012}", position + 1);
            text = text.replace(&write.batch_id, &name);
        }
    }
    let text = tame_numbers(&tame_clock(&text));
    // Whether there is time for a sign of life is chance, and so is where the time went.
    let is_progress = |line: &&str| {
        line.starts_with("Time      ")
            || line.starts_with("asking the tenant ")
            || (line.contains(" confirmed, ") && line.contains(" skipped, "))
    };
    let lines = text.trim_start_matches('\n').lines();
    lines
        .filter(|line| !is_progress(line))
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// When it would be done is another minute in each run.
fn tame_clock(text: &str) -> String {
    let tamed = text
        .split_inclusive('\n')
        .map(|line| match line.split_once("done at ") {
            Some((before, _)) => format!("{before}done at 12:00 UTC\n"),
            None => line.to_owned(),
        });
    tamed.collect()
}

fn tame_numbers(text: &str) -> String {
    let mut tamed = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let time = time_at(rest);
        if time > 0 {
            let sample = "2026-01-31 12:00:00";
            let zeroes = |c: char| if c.is_ascii_digit() { '0' } else { c };
            tamed += &sample.replace(' ', &rest[10..11]);
            tamed.extend(rest[sample.len()..time].chars().map(zeroes));
            rest = &rest[time..];
        } else if let Some(after) = rest.strip_prefix("process ") {
            tamed += "process 123";
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        } else {
            tamed.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    tamed
}

/// How long the time is that a text begins with: `2026-01-31T12:00:00.123Z` or `2026-01-31 12:00:00`.
fn time_at(text: &str) -> usize {
    let shape = b"0000-00-00 00:00:00";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        b' ' => matches!(byte, b' ' | b'T'),
        other => byte == other,
    };
    if text.len() < shape.len() || !text.as_bytes().iter().zip(shape).all(fits) {
        return 0;
    }
    let tail = text[shape.len()..]
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'Z'));
    shape.len() + tail.count()
}

/// A row of the export, by column.
pub type Row = HashMap<String, String>;

/// What a run of the binary left.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Insists on an exit code, and shows everything where it is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(
            self.code,
            Some(code),
            "\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        );
        self
    }

    /// Insists on an exit code and gives what stands on stdout: an answer that says what is wrong.
    #[track_caller]
    pub fn refused_with_answer(self, code: i32) -> String {
        self.expect(code).stdout
    }

    /// Insists on one clear message with a remedy, and nothing on stdout.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        let ran = self.expect(code);
        let lines = |start: &str| ran.stderr.lines().filter(|line| line.starts_with(start)).count();
        // That it stopped as it was asked to is no error.
        assert_eq!(
            lines("error: ") + lines("stopped: "),
            1,
            "one message: {}",
            ran.stderr
        );
        assert!(lines("hint: ") >= 1, "no remedy: {}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        assert!(!ran.stderr.contains('\u{0}'), "{:?}", ran.stderr);
        for word in words {
            assert!(ran.stderr.contains(word), "`{word}` is missing: {}", ran.stderr);
        }
        ran
    }
}

/// A list as people have it, and what must become of each of its emails.
pub struct Cast {
    pub list: String,
    /// Folded email → the state and reason that are right for it.
    pub wanted: BTreeMap<String, (&'static str, &'static str)>,
    pub rows: u64,
    pub repeats: u64,
    pub rejected: u64,
}

/// Names the first `people` of a tenant in a list, with repeats, other spellings, strangers and rubbish.
pub fn cast(options: &Options, people: u32, already: &'static str, needed: &'static str) -> Cast {
    let handle = &options.statuses[0];
    let mut bearers: HashMap<String, u32> = HashMap::new();
    for index in 0..options.profiles {
        *bearers
            .entry(options.person(index).email.to_lowercase())
            .or_default() += 1;
    }
    let mut cast = Cast {
        list: "name,email\n".into(),
        wanted: BTreeMap::new(),
        rows: 0,
        repeats: 0,
        rejected: 0,
    };
    for index in 0..people {
        let person = options.person(index);
        let email = person.email.to_lowercase();
        let holds = person.statuses.contains(handle);
        let skip = if already == "already_assigned" {
            holds
        } else {
            !holds
        };
        let right = match (bearers[&email] > 1, skip) {
            (true, _) => ("ambiguous", ""),
            (false, true) => ("skipped", already),
            (false, false) => (needed, ""),
        };
        cast.name(index, &person.email, &email, right);
        match index % 20 {
            3 => cast.name(
                index,
                &format!(" {} ", person.email.to_uppercase()),
                &email,
                right,
            ),
            7 => {
                let stranger = format!("stranger{index}@example.org");
                cast.name(index, &stranger, &stranger, ("skipped", "not_found"));
            }
            11 => {
                cast.list += &format!("n{index},not-an-email\n");
                cast.rows += 1;
                cast.rejected += 1;
            }
            _ => {}
        }
    }
    cast
}

impl Cast {
    fn name(&mut self, index: u32, cell: &str, email: &str, right: (&'static str, &'static str)) {
        self.list += &format!("n{index},{cell}\n");
        self.rows += 1;
        if self.wanted.insert(email.to_owned(), right).is_some() {
            self.repeats += 1;
        }
    }

    /// Compares an export with what is right, entry by entry.
    #[track_caller]
    pub fn check(&self, export: &BTreeMap<String, Row>) {
        assert_eq!(export.len(), self.wanted.len(), "entries");
        for (email, (state, reason)) in &self.wanted {
            let row = &export[email];
            assert_eq!(
                (row["state"].as_str(), row["reason"].as_str()),
                (*state, *reason),
                "{email}: {row:?}"
            );
        }
    }

    /// How many entries are to end in a state.
    pub fn count(&self, state: &str) -> usize {
        self.wanted.values().filter(|right| right.0 == state).count()
    }
}

/// The promises that hold at the end of any run on a tenant that keeps its word: nothing twice, nobody
/// guessed, and exactly those changed who were to be changed.
#[track_caller]
pub fn check_promises(scene: &Scene, export: &BTreeMap<String, Row>) {
    let times = scene.times_sent();
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "sent twice: {twice:?}");
    let confirmed: Vec<&Row> = export
        .values()
        .filter(|row| row["state"] == "confirmed")
        .collect();
    for row in &confirmed {
        assert!(
            times.contains_key(&row["profile_id"]),
            "confirmed, but never sent: {row:?}"
        );
        assert!(!row["evidence"].is_empty() && !row["batch"].is_empty(), "{row:?}");
    }
    let accounted: std::collections::HashSet<&str> = export
        .values()
        .filter(|row| matches!(row["state"].as_str(), "confirmed" | "batched" | "failed"))
        .map(|row| row["profile_id"].as_str())
        .collect();
    for profile in times.keys() {
        assert!(
            accounted.contains(profile.as_str()),
            "sent, but not in the ledger: {profile}"
        );
    }
}

/// Whether a file is a sound ledger, by its own doctor.
#[track_caller]
pub fn check_doctor(scene: &Scene, ledger: &Path) {
    let mut command = scene.command(&["doctor", "--ledger", ledger.to_str().unwrap()]);
    let ran = Ran::from(command.env_remove("OMNEO_BASE_URL").output().unwrap()).expect(0);
    assert!(!ran.stdout.contains("BROKEN"), "{}", ran.stdout);
}

/// Everything is looked up, and half of it is sent, when the ledger is copied; then its original ends the job.
pub fn copied_halfway() -> Scene {
    let options = options();
    let cast = cast(&options, 100, "already_assigned", "confirmed");
    let scene = Scene::with(options);
    scene.write("list.csv", &cast.list);
    scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "list.csv",
            "--rate",
            "unlimited",
            "--yes",
            "--limit",
            "20",
        ])
        .expect(4);
    std::fs::copy(scene.path("rollbook.db"), scene.path("copy.db")).unwrap();
    scene.run(&["resume", "--rate", "unlimited", "--yes"]).expect(0);
    cast.check(&scene.export());
    scene
}

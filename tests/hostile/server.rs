//! A tenant whose every answer a test can replace. It keeps the truth: who has what, and every request that it accepted.
//!
//! A test is judged by these two and by the ledger's export, never by what the client says of itself.

use crate::support::{Ran, Row, Scene, TOKEN, check_doctor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// After so long a process counts as one that never ends.
const NEVER: Duration = Duration::from_secs(420);
/// How often a job is resumed at the most.
const RESUMES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    Verify,
    Statuses,
    Search,
    Profile,
    Write,
    Batches,
    Batch,
    Other,
}

/// A request as it was read, to its last byte.
#[derive(Clone)]
pub struct Ask {
    pub site: Site,
    /// The last part of the path, such as a profile's id.
    pub name: String,
    pub query: BTreeMap<String, String>,
    pub target: String,
    pub detach: bool,
    pub body: Value,
    /// Connections are counted from 0.
    pub connection: usize,
    /// Requests to this site before this one.
    pub earlier: usize,
}

impl Ask {
    /// The email that is asked for alone.
    pub fn email(&self) -> Option<&str> {
        let names = ["filter[email]", "filter[email][eq]"];
        names
            .iter()
            .find_map(|name| self.query.get(*name))
            .map(String::as_str)
    }

    /// The page that is asked for, from 1.
    pub fn page(&self) -> usize {
        let page = self.query.get("page[number]");
        page.and_then(|page| page.parse().ok()).unwrap_or(1)
    }

    fn members(&self) -> Vec<(String, Vec<String>)> {
        let member = |member: &Value| {
            let handles = member["statuses"].as_array().unwrap().iter();
            let handles = handles.map(|handle| handle.as_str().unwrap().to_owned());
            (
                member["profile_id"].as_str().unwrap().to_owned(),
                handles.collect(),
            )
        };
        let members = self.body["profiles"].as_array().unwrap().iter();
        members.map(member).collect()
    }
}

/// What a request is answered with.
pub enum Reply {
    Json(u16, Value),
    /// Status, headers, body.
    Whole(u16, &'static str, Vec<u8>),
    /// These bytes, and the end.
    Bytes(Vec<u8>),
    /// A reset of the connection, once the whole request has been read.
    Reset,
    /// The good answer, and at once another that nobody asked for.
    AndMore(Vec<u8>),
    /// The client is killed, and gets no answer.
    Kill,
    /// The client gets no answer for as long as it stays.
    Hang,
}

#[derive(Clone, Debug)]
pub struct Person {
    pub id: String,
    pub email: String,
    pub has: BTreeSet<String>,
}

impl Person {
    /// As the official client's types have it.
    pub fn shown(&self) -> Value {
        let original: Vec<Value> = self
            .has
            .iter()
            .map(|handle| json!({"handle": handle, "name": handle.to_uppercase(), "is_active": true}))
            .collect();
        json!({"id": self.id, "email": self.email, "statuses": self.has, "statuses_original": original})
    }
}

/// A batch, ours or another's.
#[derive(Clone, Debug)]
pub struct Batch {
    pub id: String,
    pub members: Vec<(String, Vec<String>)>,
    pub detach: bool,
    pub status: &'static str,
    /// Whether the client under test sent it.
    pub ours: bool,
}

impl Batch {
    pub fn row(&self, number: usize) -> Value {
        json!({"id": self.id, "entity_type": "profile-status", "total_count": self.members.len(), "status": self.status,
            "success_count": 0, "failed_count": 0, "items": [], "created_at": format!("2026-11-30 10:00:{number:02}")})
    }
}

/// The header of a JSON answer.
pub const JSON: &str = "Content-Type: application/json\r\n";

type Event = Box<dyn FnOnce(&mut World) + Send>;

/// The truth.
pub struct World {
    pub people: Vec<Person>,
    /// What people and their statuses were, from when on.
    past: Vec<(Instant, Vec<Person>)>,
    /// Everything that was accepted, in its order.
    pub batches: Vec<Batch>,
    /// How long a batch takes, unless a test says otherwise.
    pub takes: Duration,
    /// Profiles to which batches do nothing, without a word.
    pub ignored: BTreeSet<String>,
    /// What a test remembers.
    pub memory: HashMap<String, usize>,
    /// The client is killed amid its request of this number, once that has had its effect.
    pub kill_at: Option<usize>,
    later: Vec<(Instant, Event)>,
    asked: HashMap<Site, usize>,
    kill: bool,
    trace: Vec<String>,
}

impl World {
    /// What will happen in a while, whether anybody asks or not.
    pub fn later(&mut self, after: Duration, event: impl FnOnce(&mut Self) + Send + 'static) {
        self.later.push((Instant::now() + after, Box::new(event)));
    }

    /// Accepts the write of a request, and applies it in a while; where it stands among the batches.
    pub fn accept(&mut self, ask: &Ask, takes: Duration) -> usize {
        self.take_in(ask.members(), ask.detach, true, takes)
    }

    /// Somebody else's batch.
    pub fn accept_of_others(&mut self, members: &[String], handle: &str, takes: Duration) -> usize {
        let member = |id: &String| (id.clone(), vec![handle.to_owned()]);
        self.take_in(members.iter().map(member).collect(), false, false, takes)
    }

    fn take_in(
        &mut self,
        members: Vec<(String, Vec<String>)>,
        detach: bool,
        ours: bool,
        takes: Duration,
    ) -> usize {
        let number = self.batches.len();
        self.batches.push(Batch {
            id: format!("b0000000-0000-4000-8000-{number:012}"),
            members,
            detach,
            status: "pending",
            ours,
        });
        self.later(takes, move |world| world.apply(number));
        number
    }

    fn apply(&mut self, number: usize) {
        self.batches[number].status = "success";
        let Batch { members, detach, .. } = self.batches[number].clone();
        for (id, handles) in members {
            if !self.ignored.contains(&id) {
                self.change(&id, &handles, detach);
            }
        }
    }

    /// A profile is given handles, or they are taken from it.
    pub fn change(&mut self, id: &str, handles: &[String], detach: bool) {
        if let Some(person) = self.people.iter_mut().find(|person| person.id == id) {
            for handle in handles {
                if detach {
                    person.has.remove(handle);
                } else {
                    person.has.insert(handle.clone());
                }
            }
        }
        self.remember();
    }

    /// From now on people are as they are now.
    pub fn remember(&mut self) {
        self.past.push((Instant::now(), self.people.clone()));
    }

    /// Everybody as they were so long ago, or at the beginning.
    pub fn people_ago(&self, lag: Duration) -> &[Person] {
        let seen = |past: &&(Instant, Vec<Person>)| past.0.elapsed() >= lag;
        let past = self.past.iter().rev().find(seen);
        &past.unwrap_or(&self.past[0]).1
    }

    fn run_events(&mut self, all: bool) {
        loop {
            let due = |event: &(Instant, Event)| all || event.0 <= Instant::now();
            let next = (0..self.later.len()).filter(|at| due(&self.later[*at]));
            let Some(next) = next.min_by_key(|at| self.later[*at].0) else {
                return;
            };
            let (_, event) = self.later.remove(next);
            event(self);
        }
    }

    /// What a tenant without malice answers.
    pub fn good(&mut self, ask: &Ask) -> Reply {
        match ask.site {
            Site::Verify => Reply::Json(200, json!({"ok": true})),
            Site::Statuses => Reply::Json(
                200,
                json!({"data": [{"id": 1, "name": "Very important", "handle": "vip"},
                {"id": 2, "name": "Golden", "handle": "gold"}]}),
            ),
            Site::Search => {
                let found: Vec<Value> = self.found(ask).iter().map(Person::shown).collect();
                paged(ask, &found)
            }
            Site::Profile => found(self.people.iter().find(|person| person.id == ask.name)),
            Site::Write => {
                let number = self.accept(ask, self.takes);
                accepted(&self.batches[number].id)
            }
            Site::Batches => {
                let rows = self.batches.iter().enumerate().rev();
                let rows: Vec<Value> = rows.map(|(number, batch)| batch.row(number)).collect();
                paged(ask, &rows)
            }
            Site::Batch => {
                let mut rows = self.batches.iter().enumerate();
                let row = rows.find(|(_, batch)| batch.id == ask.name);
                match row {
                    Some((number, batch)) => Reply::Json(200, json!({"data": batch.row(number)})),
                    None => missing(),
                }
            }
            Site::Other => missing(),
        }
    }

    /// Whom a search is right to find.
    pub fn found(&self, ask: &Ask) -> Vec<Person> {
        let wanted: Option<Vec<String>> = match (ask.email(), ask.query.get("filter[email][in]")) {
            (Some(email), _) => Some(vec![email.to_lowercase()]),
            (None, Some(emails)) => Some(emails.split(',').map(str::to_lowercase).collect()),
            (None, None) => None,
        };
        let handle = ask.query.get("filter[statuses.handle]");
        let fits = |person: &&Person| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&person.email))
                && handle.is_none_or(|handle| person.has.contains(handle))
        };
        self.people.iter().filter(fits).cloned().collect()
    }

    /// Whether anybody who bears the email has the handle, and how many bear it.
    fn bearers(&self, email: &str, handle: &str) -> (usize, bool) {
        let bearers = self.people.iter().filter(|person| person.email == email);
        let bearers: Vec<&Person> = bearers.collect();
        (
            bearers.len(),
            bearers.iter().any(|person| person.has.contains(handle)),
        )
    }
}

pub fn missing() -> Reply {
    Reply::Json(404, json!({"message": "Not found."}))
}

pub fn accepted(batch_id: &str) -> Reply {
    let data = json!({"message": "Queued for processing.", "batch_id": batch_id});
    Reply::Json(202, json!({"data": data}))
}

pub fn found(person: Option<&Person>) -> Reply {
    person.map_or_else(missing, |person| {
        Reply::Json(200, json!({"data": person.shown()}))
    })
}

/// A page of rows, of the size and number that were asked for.
pub fn paged(ask: &Ask, rows: &[Value]) -> Reply {
    let size = ask.query.get("page[size]").and_then(|size| size.parse().ok());
    let size: usize = size.unwrap_or(15).clamp(1, 100);
    let last = rows.len().div_ceil(size).max(1);
    let page: Vec<&Value> = rows.iter().skip((ask.page() - 1) * size).take(size).collect();
    let meta = json!({"current_page": ask.page(), "last_page": last, "per_page": size, "total": rows.len()});
    Reply::Json(200, json!({"data": page, "meta": meta}))
}

type Manners = dyn Fn(&Ask, &mut World) -> Option<Reply> + Send + Sync;

/// The tenant. Its threads end with the process.
pub struct Tenant {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    handle: &'static str,
    /// Whom each email meant when the job began.
    meant: HashMap<String, Vec<String>>,
}

/// So many people with an email each, who have nothing.
pub fn people(count: usize) -> Vec<Person> {
    let person = |number| Person {
        id: format!("a0000000-0000-4000-8000-{number:012}"),
        email: format!("m{number}@example.com"),
        has: BTreeSet::new(),
    };
    (0..count).map(person).collect()
}

impl Tenant {
    /// A tenant that answers as a test says, and well where it says nothing.
    pub fn with(
        people: Vec<Person>,
        manners: impl Fn(&Ask, &mut World) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut meant: HashMap<String, Vec<String>> = HashMap::new();
        for person in &people {
            meant
                .entry(person.email.clone())
                .or_default()
                .push(person.id.clone());
        }
        let world = Arc::new(Mutex::new(World {
            past: vec![(Instant::now(), people.clone())],
            people,
            batches: Vec::new(),
            takes: Duration::from_millis(200),
            ignored: BTreeSet::new(),
            memory: HashMap::new(),
            kill_at: None,
            later: Vec::new(),
            asked: HashMap::new(),
            kill: false,
            trace: Vec::new(),
        }));
        let manners: Arc<Manners> = Arc::new(manners);
        let shared = world.clone();
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (world, manners) = (shared.clone(), manners.clone());
                // A client that hangs up early is not our concern.
                std::thread::spawn(move || {
                    stream.and_then(|stream| serve(stream, connection, &world, &*manners))
                });
            }
        });
        Self {
            address,
            world,
            handle: "vip",
            meant,
        }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// An email that nobody bears is on the list as well.
    pub fn is_asked_for(&mut self, email: &str) {
        self.meant.insert(email.to_owned(), Vec::new());
    }

    /// A folder with a list of everybody's email.
    pub fn scene(&self) -> Scene {
        let scene = Scene::offline();
        let mut emails: Vec<&String> = self.meant.keys().collect();
        emails.sort();
        let emails: Vec<&str> = emails.into_iter().map(String::as_str).collect();
        scene.write("list.txt", emails.join("\n"));
        scene
    }

    /// One process, to its end or to its death.
    pub fn run(&self, scene: &Scene, arguments: &[&str]) -> Ran {
        let file = |name: &str| std::fs::File::create(scene.path(name)).unwrap();
        let mut child = scene
            .command(arguments)
            .env("OMNEO_BASE_URL", format!("http://{}/api/v3", self.address))
            .env("OMNEO_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(file("stdout.log"))
            .stderr(file("stderr.log"))
            .spawn()
            .unwrap();
        let code = self.watch(&mut child);
        let text = |name: &str| std::fs::read_to_string(scene.path(name)).unwrap();
        let ran = Ran {
            code,
            stdout: text("stdout.log"),
            stderr: text("stderr.log"),
        };
        // Shown where the test fails.
        println!("{arguments:?} → {code:?}\n{}{}", ran.stderr, ran.stdout);
        ran
    }

    fn watch(&self, child: &mut Child) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            if std::mem::take(&mut self.world().kill) {
                child.kill().unwrap();
                return child.wait().unwrap().code();
            }
            if began.elapsed() > NEVER {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it does not end:\n{}", self.world().trace.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A job, resumed until nothing is left that a run could still do; the last of its processes.
    pub fn live(&self, scene: &Scene, verb: &str, options: &[&str]) -> Ran {
        let common = ["--rate", "unlimited", "--yes"];
        let job = [&[verb, "--status", self.handle, "list.txt"], &common[..], options].concat();
        let mut ran = self.run(scene, &job);
        for _ in 0..RESUMES {
            if !matches!(ran.code, None | Some(4)) {
                break;
            }
            ran = self.run(scene, &[&["resume"], &common[..], options].concat());
        }
        ran
    }

    /// Compares the ledger with the truth, once everything has happened that is under way; the rows by email.
    #[track_caller]
    pub fn judge(&self, scene: &Scene, verb: &str) -> BTreeMap<String, Row> {
        let mut world = self.world();
        world.run_events(true);
        let trace = world.trace.join("\n");
        let mut given: HashMap<&String, usize> = HashMap::new();
        for batch in world.batches.iter().filter(|batch| batch.ours) {
            assert_eq!(batch.detach, verb == "remove", "the wrong action\n{trace}");
            for (id, handles) in &batch.members {
                assert_eq!(handles, &[self.handle], "the wrong handle\n{trace}");
                *given.entry(id).or_default() += 1;
                let right = self.meant.values().any(|ids| ids == std::slice::from_ref(id));
                assert!(
                    right,
                    "{id} is not the only one whom a listed email means\n{trace}"
                );
            }
        }
        let twice: Vec<_> = given.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "accepted twice: {twice:?}\n{trace}");
        check_doctor(scene, &scene.path("rollbook.db"));
        let export = scene.export();
        for email in self.meant.keys() {
            let row = &export[email];
            let (bearers, has) = world.bearers(email, self.handle);
            let sent = given.contains_key(&row["profile_id"]);
            let changed = has == (verb == "assign");
            let truthful = match (row["state"].as_str(), row["reason"].as_str()) {
                ("confirmed", _) => {
                    bearers == 1 && changed && self.meant[email] == [row["profile_id"].clone()]
                }
                ("skipped", "already_assigned" | "not_assigned") => changed && !sent,
                ("skipped", "not_found") => bearers == 0,
                ("ambiguous", _) => bearers > 1,
                ("failed", "lookup_failed") => !sent,
                ("failed", _) => !changed,
                // Said to be unfinished.
                ("batched" | "resolved" | "pending", _) => true,
                _ => false,
            };
            assert!(
                truthful,
                "{email} (borne by {bearers}, has it: {has}) is a lie: {row:?}\n{trace}"
            );
        }
        export
    }
}

/// How many rows are in a state.
pub fn count(export: &BTreeMap<String, Row>, state: &str) -> usize {
    export.values().filter(|row| row["state"] == state).count()
}

fn serve(
    stream: TcpStream,
    connection: usize,
    world: &Mutex<World>,
    manners: &Manners,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let mut ask = read(&String::from_utf8_lossy(&head), &mut reader)?;
        ask.connection = connection;
        let reply = {
            let mut world = world.lock().unwrap();
            world.run_events(false);
            let earlier = world.asked.entry(ask.site).or_default();
            ask.earlier = *earlier;
            *earlier += 1;
            let mut reply = manners(&ask, &mut world).unwrap_or_else(|| world.good(&ask));
            if world.kill_at == Some(world.trace.len()) {
                reply = Reply::Kill;
            }
            let line = trace(&ask, &reply);
            world.kill |= matches!(reply, Reply::Kill);
            world.trace.push(line);
            reply
        };
        let bytes = match reply {
            Reply::Json(status, body) => whole(status, JSON, body.to_string().as_bytes()),
            Reply::Whole(status, headers, body) => whole(status, headers, &body),
            Reply::AndMore(bytes) => bytes,
            Reply::Bytes(bytes) => return reader.get_mut().write_all(&bytes),
            Reply::Reset => return reset(reader.into_inner()),
            Reply::Kill | Reply::Hang => {
                let _ = reader.read(&mut [0])?;
                return Ok(());
            }
        };
        reader.get_mut().write_all(&bytes)?;
    }
}

/// An answer on the wire.
pub fn whole(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn read(head: &str, reader: &mut impl Read) -> std::io::Result<Ask> {
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|line| line.0.eq_ignore_ascii_case(name))
            .map(|line| line.1)
    };
    assert_eq!(
        header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str()),
        "{head}"
    );
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_start_matches("/api/v3/");
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let site = match (method, path) {
        ("GET", "auth/verify") => Site::Verify,
        ("GET", "statuses") => Site::Statuses,
        ("GET", "profiles") => Site::Search,
        ("POST" | "DELETE", "profile/status/batch.json") => Site::Write,
        ("GET", "batches") => Site::Batches,
        ("GET", path) if path.starts_with("profiles/") => Site::Profile,
        ("GET", path) if path.starts_with("batches/") => Site::Batch,
        _ => Site::Other,
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    Ok(Ask {
        site,
        name,
        query: pairs
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect(),
        target: target.to_owned(),
        detach: method == "DELETE",
        body: serde_json::from_slice(&body).unwrap_or_default(),
        connection: 0,
        earlier: 0,
    })
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text)
        .decode_utf8_lossy()
        .into_owned()
}

fn trace(ask: &Ask, reply: &Reply) -> String {
    let said = match reply {
        Reply::Json(status, body) => format!("{status} {body}"),
        Reply::Whole(status, headers, body) => {
            format!("{status} {headers:?} {}", String::from_utf8_lossy(body))
        }
        Reply::Bytes(bytes) => format!("the end after {} bytes", bytes.len()),
        Reply::AndMore(_) => "the good answer and one more".into(),
        Reply::Reset => "reset".into(),
        Reply::Kill => "kill".into(),
        Reply::Hang => "no answer".into(),
    };
    let body = if ask.body.is_null() {
        String::new()
    } else {
        ask.body.to_string()
    };
    let target = percent_encoding::percent_decode_str(&ask.target).decode_utf8_lossy();
    format!("[{}] {target} {body}\n      {said:.300}", ask.connection)
}

/// Tokio knows how to close a connection with a reset.
fn reset(stream: TcpStream) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    stream.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(stream)?.set_zero_linger()
}

//! A tenant of sockets that breaks one request in one chosen way, and counts what it was asked to do.

use super::kinds::{Act, Door, End, Kind};
use crate::support::TOKEN;
use crate::support::raw::Site;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::thread::sleep;
use std::time::Duration;

/// People who exist: `m0@example.com` bears profile `p-0`, and so on.
pub const PEOPLE: usize = 6;

/// What a good answer would be.
pub struct Good {
    pub status: &'static str,
    pub body: String,
}

impl Good {
    /// The whole answer on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        self.with("")
    }

    /// The whole answer with more headers.
    pub fn with(&self, headers: &str) -> Vec<u8> {
        plain(
            self.status,
            &format!("Content-Type: application/json\r\n{headers}"),
            self.body.as_bytes(),
        )
    }
}

/// An answer with its length.
pub fn plain(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What the tenant knows and what happened to it.
#[derive(Default)]
pub struct World {
    /// How often a profile was taken.
    pub taken: BTreeMap<String, usize>,
    /// Requests that arrived, whole or not.
    pub arrived: HashMap<Site, usize>,
    /// How often each set of members arrived.
    pub writes: BTreeMap<Vec<String>, usize>,
    /// Requests without our token, or to no place that exists.
    pub strange: Vec<String>,
    /// Faults that have happened.
    pub struck: usize,
    /// The batches that were taken, oldest first; the n-th is `b-n`.
    batches: Vec<Vec<String>>,
    calls: HashMap<Site, usize>,
    faults: Vec<Fault>,
    door: Option<Door>,
}

/// The request of this number at this site is answered in this way.
#[derive(Clone, Copy)]
pub struct Fault {
    pub kind: &'static Kind,
    pub site: Site,
    pub position: usize,
    /// And so is every later one.
    pub lasting: bool,
}

impl Fault {
    pub fn once(kind: &'static Kind, site: Site, position: usize) -> Self {
        Self {
            kind,
            site,
            position,
            lasting: false,
        }
    }

    /// Whether it befalls the request of this number at this site.
    fn befalls(&self, site: Site, number: usize) -> bool {
        self.site == site && (self.position == number || (self.lasting && self.position < number))
    }
}

/// The tenant. Its threads end with the process.
pub struct Server {
    pub address: SocketAddr,
    world: Mutex<World>,
    streams: Mutex<Vec<TcpStream>>,
    shut: AtomicBool,
}

impl Server {
    /// A tenant that has these faults and answers everything else well.
    pub fn with(faults: &[Fault]) -> Arc<Self> {
        let server = Self::good();
        server.world().faults = faults.to_vec();
        server
    }

    /// A tenant that answers well.
    pub fn good() -> Arc<Self> {
        // An address of its own, so that nobody else gets the port while it refuses connections.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let own = Ipv4Addr::new(127, 77, (number / 250) as u8, (number % 250) as u8 + 1);
        let listener = TcpListener::bind((own, 0)).unwrap();
        let server = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            world: Mutex::default(),
            streams: Mutex::default(),
            shut: AtomicBool::new(false),
        });
        server.listen(listener);
        server
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// From now on everything is answered well.
    pub fn heal(self: &Arc<Self>) {
        {
            let mut world = self.world();
            world.faults.clear();
            world.door = None;
        }
        // Whoever was stopped in front of a shut door has not opened it again.
        self.open_again();
    }

    /// The client is about to ask here; gives back whether the door is now prepared for it.
    pub fn announce(self: &Arc<Self>, site: Site) -> bool {
        let door = {
            let mut world = self.world();
            let calls = world.calls.entry(site).or_default();
            *calls += 1;
            let call = *calls;
            let struck = |fault: &&Fault| fault.befalls(site, call);
            match world.faults.iter().find(struck).map(|fault| &fault.kind.act) {
                Some(Act::Door(door)) => *door,
                _ => return false,
            }
        };
        // Whatever is pooled ends, so that the request comes through the door.
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if matches!(door, Door::Refuse) {
            self.shut.store(true, Ordering::SeqCst);
            let _ = TcpStream::connect(self.address);
            // The listener is closed once connecting fails.
            while TcpStream::connect(self.address).is_ok() {
                sleep(Duration::from_micros(100));
            }
            self.world().struck += 1;
        } else {
            self.world().door = Some(door);
        }
        true
    }

    /// What was announced is over.
    pub fn open_again(self: &Arc<Self>) {
        if self.shut.swap(false, Ordering::SeqCst) {
            let listener = TcpListener::bind(self.address).expect("nobody else has this address");
            self.listen(listener);
        }
    }

    fn listen(self: &Arc<Self>, listener: TcpListener) {
        let server = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.shut.load(Ordering::SeqCst) {
                    return;
                }
                let server = server.clone();
                // A client that hangs up early is not our concern.
                std::thread::spawn(move || server.serve(stream));
            }
        });
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let door = self.world().door.take();
        self.world().struck += usize::from(door.is_some());
        match door {
            Some(Door::Close) => return Ok(()),
            Some(Door::Reset) => return reset(stream),
            Some(Door::Speak(words)) => return (&stream).write_all(words.as_bytes()),
            Some(Door::SpeakAndListen(words)) => (&stream).write_all(words.as_bytes())?,
            Some(Door::Refuse) | None => {}
        }
        self.streams.lock().unwrap().push(stream.try_clone()?);
        let answered = self.answer_all(&stream);
        // A connection ends with the last handle to it.
        let peer = stream.peer_addr()?;
        self.streams
            .lock()
            .unwrap()
            .retain(|open| open.peer_addr().is_ok_and(|open| open != peer));
        match answered {
            Ok(End::Reset) => reset(stream),
            Ok(End::Hang) => hang(&stream),
            _ => stream.shutdown(Shutdown::Both),
        }
    }

    /// Answers one request after the other until the connection is to end, and says how.
    fn answer_all(&self, stream: &TcpStream) -> std::io::Result<End> {
        let mut reader = BufReader::new(stream);
        let mut writer = stream;
        loop {
            let Some(request) = Request::read_head(&mut reader)? else {
                return Ok(End::Close);
            };
            let kind = self.world().arrive(&request);
            if let Some(Act::Deaf(end)) = kind.map(|kind| &kind.act) {
                return Ok(*end);
            }
            let mut body = vec![0; request.length];
            reader.read_exact(&mut body)?;
            let good = self.world().answer(&request, &body, kind);
            let Some(kind) = kind else {
                writer.write_all(&good.bytes())?;
                continue;
            };
            match perform(&kind.act, stream, &good)? {
                End::Keep => {}
                end => return Ok(end),
            }
        }
    }
}

/// Answers badly.
fn perform(act: &Act, stream: &TcpStream, good: &Good) -> std::io::Result<End> {
    let mut writer = stream;
    match act {
        Act::Say(words, end) => {
            writer.write_all(&words(good))?;
            Ok(*end)
        }
        Act::Drip(words) => {
            for byte in words(good) {
                writer.write_all(&[byte])?;
                sleep(Duration::from_millis(40));
            }
            Ok(End::Close)
        }
        Act::Endless(head, unit, rest) => {
            writer.write_all(head.as_bytes())?;
            let chunk = unit.repeat(16_384 / unit.len());
            loop {
                writer.write_all(chunk.as_bytes())?;
                sleep(*rest);
            }
        }
        Act::Twice(apart) => {
            writer.write_all(&good.bytes())?;
            sleep(*apart);
            writer.write_all(&good.bytes())?;
            Ok(End::Keep)
        }
        Act::GoodThenLeave(time) => {
            writer.write_all(&good.bytes())?;
            sleep(*time);
            Ok(End::Close)
        }
        Act::GoodThenResetTheNext => {
            writer.write_all(&good.bytes())?;
            // As soon as the next request begins to arrive.
            let _ = stream.peek(&mut [0]);
            Ok(End::Reset)
        }
        Act::Deaf(_) | Act::Door(_) => unreachable!("BUG: done before there is a request"),
    }
}

/// Says nothing until the other side has had enough.
fn hang(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = stream;
    while reader.read(&mut [0; 512])? > 0 {}
    stream.shutdown(Shutdown::Both)
}

/// Ends a connection with an RST.
fn reset(stream: TcpStream) -> std::io::Result<()> {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_io()
            .build()
            .unwrap()
    });
    // The standard library cannot set SO_LINGER yet.
    let _inside = RUNTIME.enter();
    stream.set_nonblocking(true)?;
    tokio::net::TcpStream::from_std(stream)?.set_zero_linger()
}

struct Request {
    site: Option<Site>,
    path: String,
    query: String,
    length: usize,
    authorized: bool,
}

impl Request {
    /// Reads a head; `None` where the connection ends before one.
    fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self {
            site: Site::of(method, path),
            path: path.to_owned(),
            query: query.to_owned(),
            length: 0,
            authorized: false,
        };
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 {
                return Ok(None);
            }
            let Some((name, value)) = header.trim_end().split_once(": ") else {
                return Ok(Some(request));
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => request.length = value.parse().unwrap(),
                "authorization" => request.authorized = value == format!("Bearer {TOKEN}"),
                _ => {}
            }
        }
    }

    fn last_step(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

impl World {
    /// Counts a request, and gives back how it is to be answered badly, if it is.
    fn arrive(&mut self, request: &Request) -> Option<&'static Kind> {
        if !request.authorized || request.site.is_none() {
            self.strange.push(request.path.clone());
        }
        let site = request.site?;
        let number = self.arrived.entry(site).or_default();
        *number += 1;
        let number = *number;
        let strikes = |fault: &Fault| fault.befalls(site, number) && !matches!(fault.kind.act, Act::Door(_));
        let place = self.faults.iter().position(strikes)?;
        let fault = self.faults[place];
        if !fault.lasting {
            self.faults.swap_remove(place);
        }
        self.struck += 1;
        Some(fault.kind)
    }

    /// Does what is asked, unless the fault is that it is not done, and says what a good answer would be.
    fn answer(&mut self, request: &Request, body: &[u8], kind: Option<&Kind>) -> Good {
        let ok = |body: String| Good {
            status: "200 OK",
            body,
        };
        match request.site {
            Some(Site::Verify) => ok(r#"{"data":{}}"#.into()),
            Some(Site::Statuses) => ok(r#"{"data":[{"id":1,"name":"VIP","handle":"vip"}]}"#.into()),
            Some(Site::LookUp) => ok(format!(r#"{{"data":[{}]}}"#, self.found(&request.query))),
            Some(Site::Write) => {
                let members = members(body);
                *self.writes.entry(members.clone()).or_default() += 1;
                if kind.is_none_or(|kind| kind.taken) {
                    for member in &members {
                        *self.taken.entry(member.clone()).or_default() += 1;
                    }
                    self.batches.push(members);
                }
                let id = self.batches.len();
                Good {
                    status: "202 Accepted",
                    body: format!(r#"{{"data":{{"message":"Queued for processing.","batch_id":"b-{id}"}}}}"#),
                }
            }
            Some(Site::Poll) => {
                let number = request.last_step().trim_start_matches("b-").parse().unwrap_or(0);
                match self.batches.get(usize::wrapping_sub(number, 1)) {
                    Some(members) => ok(format!(r#"{{"data":{}}}"#, batch(number, members))),
                    None => not_found(),
                }
            }
            Some(Site::ReadBack) => ok(format!(r#"{{"data":{}}}"#, self.profile(request.last_step()))),
            Some(Site::List) => {
                let newest_first = self.batches.iter().enumerate().rev();
                let all: Vec<_> = newest_first
                    .map(|(number, members)| batch(number + 1, members))
                    .collect();
                ok(format!(
                    r#"{{"data":[{}],"meta":{{"current_page":1,"last_page":1}}}}"#,
                    all.join(",")
                ))
            }
            None => not_found(),
        }
    }

    fn found(&self, query: &str) -> String {
        (0..PEOPLE)
            .find(|number| query.contains(&format!("=m{number}%40example.com")))
            .map_or_else(String::new, |number| self.profile(&format!("p-{number}")))
    }

    fn profile(&self, id: &str) -> String {
        let number = id.trim_start_matches("p-");
        let statuses = if self.taken.contains_key(id) {
            r#""vip""#
        } else {
            ""
        };
        format!(r#"{{"id":"{id}","email":"m{number}@example.com","statuses":[{statuses}]}}"#)
    }
}

fn not_found() -> Good {
    Good {
        status: "404 Not Found",
        body: r#"{"message":"Not found."}"#.into(),
    }
}

fn batch(number: usize, members: &[String]) -> String {
    let items: Vec<_> = members
        .iter()
        .map(|id| format!(r#"{{"entity_id":"{id}","status":"success"}}"#))
        .collect();
    format!(
        r#"{{"id":"b-{number}","status":"success","total_count":"{}","items":[{}]}}"#,
        members.len(),
        items.join(",")
    )
}

fn members(body: &[u8]) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    let profiles = body["profiles"].as_array().unwrap();
    let mut members: Vec<_> = profiles
        .iter()
        .map(|member| member["profile_id"].as_str().unwrap().to_owned())
        .collect();
    members.sort();
    members
}

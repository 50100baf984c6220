//! A tenant made of sockets: it answers well, except where and how it is told to answer badly.

use super::{Ran, Scene, TOKEN};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The people of every such tenant; their profiles are `p-0`, `p-1`, …
pub const PEOPLE: [&str; 3] = ["ann@example.com", "bob@example.net", "cleo@example.org"];

/// Where the tenant is asked something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    Verify,
    Statuses,
    LookUp,
    Write,
    Poll,
    ReadBack,
    /// All batches, newest first.
    List,
}

impl Site {
    /// All of them, but for the list of batches.
    pub const ALL: [Self; 6] = [
        Self::Verify,
        Self::Statuses,
        Self::LookUp,
        Self::Write,
        Self::Poll,
        Self::ReadBack,
    ];

    /// Where nothing is written.
    pub const READS: [Self; 5] = [
        Self::Verify,
        Self::Statuses,
        Self::LookUp,
        Self::Poll,
        Self::ReadBack,
    ];

    pub fn of(method: &str, path: &str) -> Option<Self> {
        match (method, path) {
            ("GET", "/api/v3/auth/verify") => Some(Self::Verify),
            ("GET", "/api/v3/statuses") => Some(Self::Statuses),
            ("GET", "/api/v3/profiles") => Some(Self::LookUp),
            ("POST" | "DELETE", "/api/v3/profile/status/batch.json") => Some(Self::Write),
            ("GET", "/api/v3/batches") => Some(Self::List),
            ("GET", path) if path.starts_with("/api/v3/batches/") => Some(Self::Poll),
            ("GET", path) if path.starts_with("/api/v3/profiles/") => Some(Self::ReadBack),
            _ => None,
        }
    }
}

/// A bad answer.
#[derive(Clone, Debug)]
pub enum Bad {
    /// These bytes and then the end.
    Bytes(Vec<u8>),
    /// This head, and then blanks for so many bytes.
    Flood(String, usize),
    /// The end, once the request has been read.
    Silence,
    /// The end, before the request's body has been read.
    Deafness,
    /// The good answer, but later.
    Late(Duration),
    /// The good answer with these headers, its body made into another one.
    Repacked(&'static str, fn(&[u8]) -> Vec<u8>),
}

impl Bad {
    /// A whole answer.
    pub fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
            body.len()
        );
        Self::Bytes([head.as_bytes(), body].concat())
    }

    /// A whole answer in JSON.
    pub fn json(status: &str, body: &str) -> Self {
        Self::answer(status, "Content-Type: application/json\r\n", body)
    }

    /// A page of some gateway.
    pub fn html(status: &str) -> Self {
        Self::answer(
            status,
            "Content-Type: text/html\r\n",
            "<html><body><h1>Oops</h1></body></html>",
        )
    }

    /// A body that is shorter than it was announced to be.
    pub fn cut(status: &str, body: &str) -> Self {
        let length = body.len() + 100;
        Self::Bytes(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into())
    }

    /// A redirect.
    pub fn redirect(status: &str, to: SocketAddr) -> Self {
        Self::answer(status, &format!("Location: http://{to}/api/v3/elsewhere\r\n"), "")
    }
}

/// A request as it was read.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub site: Option<Site>,
    pub body: String,
    pub authorized: bool,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    bad: HashMap<Site, (Bad, usize)>,
    /// Whether a write takes effect although it is answered badly.
    takes_hold: bool,
    changed: Vec<String>,
    /// Whether everybody holds the status from the start, so that a change takes it away.
    held: bool,
    /// Bytes of floods that the client took.
    flooded: usize,
}

/// The tenant. Its threads end with the process.
pub struct Raw {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Raw {
    /// A tenant that answers badly at one site, so many times; whether a write takes hold all the same.
    pub fn with(site: Site, bad: Bad, times: usize, takes_hold: bool) -> Self {
        let raw = Self::good();
        raw.spoil(site, bad, times, takes_hold);
        raw
    }

    /// A tenant that answers well.
    pub fn good() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = shared.clone();
                // A client that hangs up early is not our concern.
                std::thread::spawn(move || stream.and_then(|stream| serve(stream, &state)));
            }
        });
        Self { address, state }
    }

    /// From now on it answers badly at a site, so many times.
    pub fn spoil(&self, site: Site, bad: Bad, times: usize, takes_hold: bool) {
        let mut state = self.state.lock().unwrap();
        state.bad.insert(site, (bad, times));
        state.takes_hold = takes_hold;
    }

    /// Everybody holds the status; a write takes it away.
    pub fn let_everybody_hold_it(&self) {
        self.state.lock().unwrap().held = true;
    }

    /// How often it was asked at a site.
    pub fn count(&self, site: Site) -> usize {
        let state = self.state.lock().unwrap();
        state
            .asked
            .iter()
            .filter(|asked| asked.site == Some(site))
            .count()
    }

    /// Every request.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// The profiles that were changed, as often as they were.
    pub fn changed(&self) -> Vec<String> {
        self.state.lock().unwrap().changed.clone()
    }

    /// Bytes of floods that the client took.
    pub fn flooded(&self) -> usize {
        self.state.lock().unwrap().flooded
    }

    /// Runs the binary against it.
    pub fn run(&self, scene: &Scene, arguments: &[&str]) -> Ran {
        Ran::from(self.command(scene, arguments).output().unwrap())
    }

    /// The binary, set to it.
    pub fn command(&self, scene: &Scene, arguments: &[&str]) -> Command {
        let mut command = scene.command(arguments);
        command
            .env("OMNEO_BASE_URL", format!("http://{}/api/v3", self.address))
            .env("OMNEO_TOKEN", TOKEN);
        command
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let site = Site::of(method, path);
    let bad = site.and_then(|site| take_bad(&mut state.lock().unwrap(), site));
    let header = |name: &str| {
        head.lines()
            .find_map(|line| Some(line.split_once(": ")?).filter(|(key, _)| key.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value.to_owned())
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    if !matches!(bad, Some(Bad::Deafness)) {
        stream.read_exact(&mut body)?;
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    let authorized = header("authorization") == Some(format!("Bearer {TOKEN}"));
    let good = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked {
            method: method.to_owned(),
            site,
            body: body.clone(),
            authorized,
        });
        let takes_hold = bad.is_none() || state.takes_hold;
        good(&mut state, site, path, query, &body, takes_hold)
    };
    match bad {
        None => stream.write_all(&good),
        Some(Bad::Silence | Bad::Deafness) => Ok(()),
        Some(Bad::Bytes(bytes)) => stream.write_all(&bytes),
        Some(Bad::Repacked(headers, repack)) => {
            let end = good.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
            let status =
                String::from_utf8_lossy(&good[9..good.iter().position(|byte| *byte == b'\r').unwrap()])
                    .into_owned();
            let Bad::Bytes(bytes) = Bad::answer(&status, headers, repack(&good[end + 4..])) else {
                unreachable!("BUG: a whole answer is bytes")
            };
            stream.write_all(&bytes)
        }
        Some(Bad::Late(time)) => {
            std::thread::sleep(time);
            stream.write_all(&good)
        }
        Some(Bad::Flood(head, bytes)) => {
            stream.write_all(head.as_bytes())?;
            for _ in 0..bytes / 65_536 {
                stream.write_all(&[b' '; 65_536])?;
                state.lock().unwrap().flooded += 65_536;
            }
            Ok(())
        }
    }
}

fn take_bad(state: &mut State, site: Site) -> Option<Bad> {
    let (bad, times) = state.bad.get_mut(&site)?;
    *times = times.checked_sub(1)?;
    Some(bad.clone())
}

fn good(
    state: &mut State,
    site: Option<Site>,
    path: &str,
    query: &str,
    body: &str,
    takes_hold: bool,
) -> Vec<u8> {
    let (status, body) = match site {
        Some(Site::Verify) => ("200 OK", "ok".to_owned()),
        Some(Site::Statuses) => (
            "200 OK",
            r#"{"data":[{"id":1,"name":"VIP","handle":"vip"}]}"#.to_owned(),
        ),
        Some(Site::LookUp) => ("200 OK", format!(r#"{{"data":[{}]}}"#, found(state, query))),
        Some(Site::Write) => {
            if takes_hold {
                change(state, body);
            }
            let body = r#"{"data":{"message":"Queued for processing.","batch_id":"b-1"}}"#;
            ("202 Accepted", body.to_owned())
        }
        Some(Site::Poll) => (
            "200 OK",
            r#"{"data":{"id":"b-1","status":"success","total_count":"3","items":[]}}"#.to_owned(),
        ),
        Some(Site::ReadBack) => {
            let id = path.rsplit('/').next().unwrap_or_default();
            ("200 OK", format!(r#"{{"data":{}}}"#, profile(state, id)))
        }
        // As one that cannot be read.
        Some(Site::List) | None => ("404 Not Found", r#"{"message":"Not found."}"#.to_owned()),
    };
    let Bad::Bytes(bytes) = Bad::json(status, &body) else {
        unreachable!("BUG: a whole answer is bytes")
    };
    bytes
}

fn change(state: &mut State, body: &str) {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    for member in body["profiles"].as_array().into_iter().flatten() {
        let id = member["profile_id"].as_str().unwrap_or_default();
        state.changed.push(id.to_owned());
    }
}

fn found(state: &State, query: &str) -> String {
    let wanted = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| decoded(name) == "filter[email]")
        .map(|(_, value)| decoded(value));
    let position = PEOPLE.iter().position(|email| Some(*email) == wanted.as_deref());
    position.map_or_else(String::new, |position| profile(state, &format!("p-{position}")))
}

fn profile(state: &State, id: &str) -> String {
    let position: usize = id.trim_start_matches("p-").parse().unwrap_or_default();
    let statuses = if state.held != state.changed.iter().any(|changed| changed == id) {
        r#"["vip"]"#
    } else {
        "[]"
    };
    format!(
        r#"{{"id":"{id}","email":"{}","statuses":{statuses}}}"#,
        PEOPLE[position]
    )
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                let hex = std::str::from_utf8(&[*high, *low]).unwrap().to_owned();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                rest = after;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// A server of somebody else: it answers nothing, and tells whether anybody came and what was said.
pub struct Stranger {
    pub address: SocketAddr,
    heard: Arc<Mutex<(usize, Vec<u8>)>>,
}

impl Stranger {
    pub fn listening() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new((0, Vec::new())));
        let shared = heard.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                shared.lock().unwrap().0 += 1;
                let mut buffer = [0; 4_096];
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let read = stream.read(&mut buffer).unwrap_or(0);
                shared.lock().unwrap().1.extend(&buffer[..read]);
            }
        });
        Self { address, heard }
    }

    /// Insists that nobody came.
    #[track_caller]
    pub fn heard_nothing(&self) {
        let heard = self.heard.lock().unwrap();
        assert_eq!(
            (heard.0, String::from_utf8_lossy(&heard.1).into_owned()),
            (0, String::new())
        );
    }
}

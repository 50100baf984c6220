//! What stands before the tenant and holds one request up: before the tenant sees it, or after it answered.

use crate::proof::Running;
use crate::support::{Ran, Scene};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Site {
    LookUp,
    Write,
    Poll,
    ReadBack,
}

impl Site {
    fn of(method: &str, path: &str) -> Option<Self> {
        match (method, path.trim_start_matches("/api/v3")) {
            ("POST" | "DELETE", "/profile/status/batch.json") => Some(Self::Write),
            ("GET", path) if path.starts_with("/profiles?") => Some(Self::LookUp),
            ("GET", path) if path.starts_with("/batches/") => Some(Self::Poll),
            ("GET", path) if path.starts_with("/profiles/") => Some(Self::ReadBack),
            _ => None,
        }
    }
}

/// What becomes of the request that is held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The tenant never sees it.
    Dropped,
    /// The tenant sees it so much later, whatever has become of whoever sent it.
    Late(Duration),
    /// The tenant has answered it, and the answer goes no further.
    Answered,
}

/// One request to be held up: the n-th of its kind.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    pub site: Site,
    pub nth: usize,
    pub fate: Fate,
}

#[derive(Default)]
struct State {
    hold: Option<Hold>,
    seen: usize,
    holding: bool,
}

/// The gate. Its threads end with the process.
pub struct Gate {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Gate {
    /// A gate before the tenant of a scene.
    pub fn before(scene: &Scene, hold: Hold) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let tenant = scene.tenant().port();
        let state = State {
            hold: Some(hold),
            ..State::default()
        };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = of_thread.clone();
                // A client that hangs up early is what this is about.
                std::thread::spawn(move || pass(stream, tenant, &shared));
            }
        });
        Self { port, shared }
    }

    /// The binary, sent through the gate.
    pub fn command(&self, scene: &Scene, arguments: &[&str]) -> Command {
        let mut command = scene.command(arguments);
        command.env("OMNEO_BASE_URL", format!("http://127.0.0.1:{}/api/v3", self.port));
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, scene: &Scene, arguments: &[&str]) -> Ran {
        Ran::from(self.command(scene, arguments).output().unwrap())
    }

    /// Runs the binary until its request is held up, and kills it then; whether that came.
    pub fn kill_while_holding(&self, scene: &Scene, arguments: &[&str]) -> bool {
        let mut child = Running::start(&mut self.command(scene, arguments));
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        while !state.holding && child.0.try_wait().unwrap().is_none() {
            state = changed.wait_timeout(state, Duration::from_millis(20)).unwrap().0;
        }
        let holding = state.holding;
        drop(state);
        child.kill() && holding
    }
}

fn pass(mut client: TcpStream, tenant: u16, shared: &(Mutex<State>, Condvar)) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&request).into_owned();
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body)?;
    // One request for each connection, so that the answer ends where the connection does.
    let mut forwarded: Vec<u8> = head.replacen("\r\n", "\r\nconnection: close\r\n", 1).into();
    forwarded.extend(body);
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut tenant = TcpStream::connect((Ipv4Addr::LOCALHOST, tenant))?;
        tenant.write_all(&forwarded)?;
        let mut answer = Vec::new();
        tenant.read_to_end(&mut answer)?;
        Ok(answer)
    };
    match taken(Site::of(method, path), shared) {
        None => client.write_all(&ask()?),
        Some(Fate::Dropped) => {
            say_holding(shared);
            until_gone(&mut client);
            Ok(())
        }
        Some(Fate::Late(time)) => {
            say_holding(shared);
            std::thread::sleep(time);
            ask().map(drop)
        }
        Some(Fate::Answered) => {
            ask()?;
            say_holding(shared);
            until_gone(&mut client);
            Ok(())
        }
    }
}

/// What is to become of a request, where it is the one that is to be held up.
fn taken(site: Option<Site>, shared: &(Mutex<State>, Condvar)) -> Option<Fate> {
    let mut state = shared.0.lock().unwrap();
    let hold = state.hold.filter(|hold| Some(hold.site) == site)?;
    state.seen += 1;
    if state.seen < hold.nth {
        return None;
    }
    state.hold = None;
    Some(hold.fate)
}

fn say_holding(shared: &(Mutex<State>, Condvar)) {
    shared.0.lock().unwrap().holding = true;
    shared.1.notify_all();
}

fn until_gone(client: &mut TcpStream) {
    let mut byte = [0];
    while matches!(client.read(&mut byte), Ok(1..)) {}
}

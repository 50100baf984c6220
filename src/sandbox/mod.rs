//! A tenant on loopback: a real HTTP server that behaves like the documented API, or misbehaves as it is told to.
//!
//! It is there to be tried out without an account (`rollbook sandbox`, `rollbook demo`) and to judge the client by what
//! a server sees (the integration tests). It has its own JSON shapes, its own memory and its own idea of every rule,
//! and imports nothing from the rest of the crate: a mistake that both sides shared would be invisible.
//!
//! | file | holds |
//! |---|---|
//! | `options` | every switch, with its words for the command line |
//! | `names`, `people` | who the people are, derived from a seed |
//! | `world` | which profile holds what |
//! | `search`, `page` | filters and pages |
//! | `hostile` | answers as nobody expects them |
//! | `queue` | batches, from accepted to shown |
//! | `journal` | the files on disk |
//! | `throttle` | the rate limit |
//! | `log` | every request that was seen |
//! | `tenant` | all of these under one roof |
//! | `door`, `routes`, `submission`, `answers`, `profile` | HTTP |
//!
//! The server runs on a runtime of its own, so it goes on answering while a test blocks its thread to wait for a
//! child process, and it keeps true time where a test has paused the clock.

mod answers;
mod door;
mod hostile;
mod journal;
mod listing;
mod log;
mod names;
mod options;
mod page;
mod people;
mod profile;
mod queue;
mod routes;
mod search;
mod submission;
mod tenant;
mod throttle;
mod world;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::serve::ListenerExt;
use tokio::runtime::Runtime;

pub use self::hostile::Hostile;
pub use self::journal::read_journal;
pub use self::listing::realistic_list;
pub use self::log::{Route, Seen};
pub use self::options::{
    CountStyle, EnvelopeStyle, FilterMode, ListFilter, OpenFile, Options, RateChange, RateKind, RateLimit,
    RetryAfterStyle, UnknownIds, UnknownWord,
};
pub use self::people::{Person, person};
pub use self::queue::{Action, Write};

use self::journal::Line;
use self::tenant::Tenant;

/// The largest body the server reads; the switches for entries are meant to bite long before it.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// How long stopping waits for tasks that will not end by themselves.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The port is taken, or the machine has no loopback.
    #[error("cannot listen on 127.0.0.1:{port}: {source}")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The server's threads could not be started.
    #[error("cannot start the sandbox's threads: {0}")]
    Threads(#[source] io::Error),
    /// A state or journal file cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another sandbox is using the state file.
    #[error("{} is in use by another sandbox", .0.display())]
    StateInUse(PathBuf),
    /// The state file belongs to a tenant with other people or statuses.
    #[error("{} was made with another {field}", path.display())]
    StateMismatch {
        /// The file.
        path: PathBuf,
        /// The first option that differs.
        field: &'static str,
    },
    /// A file that is there was not made by a sandbox.
    #[error("{} was not made by a sandbox", .0.display())]
    Foreign(PathBuf),
    /// A line of a file makes no sense.
    #[error("{} is damaged at line {line}", path.display())]
    StateCorrupt {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// There are more status handles than a profile has room for.
    #[error("{0} statuses are too many, at most 64 are possible")]
    TooManyStatuses(usize),
}

/// A running tenant. Dropping it stops the server.
#[derive(Debug)]
pub struct Sandbox {
    tenant: Arc<Tenant>,
    port: u16,
    /// Taken out only to be shut down.
    runtime: Option<Runtime>,
}

impl Sandbox {
    /// Binds 127.0.0.1 and starts answering.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        let wanted = options.port;
        let refused = |source| SandboxError::Listen { port: wanted, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let port = listener.local_addr().map_err(refused)?.port();
        let tenant = Arc::new(Tenant::open(options, address(port))?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("sandbox")
            .enable_all()
            .build()
            .map_err(SandboxError::Threads)?;
        let sandbox = Self {
            tenant,
            port,
            runtime: Some(runtime),
        };
        sandbox.spawn(listener).map_err(refused)?;
        Ok(sandbox)
    }

    fn spawn(&self, listener: TcpListener) -> io::Result<()> {
        let runtime = self.runtime.as_ref().expect("BUG: started without threads");
        let entered = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
            // Without this, small answers may wait for an acknowledgement; a failure only makes them slower.
            let _ = stream.set_nodelay(true);
        });
        drop(entered);
        let router = Router::new()
            .fallback(door::serve)
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .with_state(Arc::clone(&self.tenant));
        runtime.spawn(Arc::clone(&self.tenant).work());
        // Serving ends only with the runtime.
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(())
    }

    /// The address that the routes lie under, such as `http://127.0.0.1:8080/api/v3`.
    pub fn base_url(&self) -> String {
        self.tenant.address.clone()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The token it lets in.
    pub fn token(&self) -> &str {
        &self.tenant.options.token
    }

    /// Every write it accepted, in order, those of earlier runs on the same state file included.
    pub fn writes(&self) -> Vec<Write> {
        let memory = self.tenant.read();
        memory.queue.writes(&memory.world)
    }

    /// Every request it saw, in the order of their arrival.
    pub fn requests(&self) -> Vec<Seen> {
        self.tenant.log.all()
    }

    /// How many requests it saw.
    pub fn requests_count(&self) -> usize {
        self.tenant.log.count()
    }

    /// The most requests that arrived in any stretch of one second, whatever became of them.
    pub fn busiest_second(&self) -> usize {
        self.tenant.log.busiest_second()
    }

    /// The ids of the profiles that hold a status now, as far as it shows.
    pub fn holders(&self, handle: &str) -> Vec<String> {
        self.tenant.read().world.holders(handle)
    }

    /// The person behind an index as they are now, deleted or not.
    ///
    /// # Panics
    ///
    /// If there are not so many profiles.
    pub fn person(&self, index: u32) -> Person {
        self.tenant.read().world.person(index)
    }

    /// How many profiles it started with.
    pub fn profile_count(&self) -> u32 {
        self.tenant.read().world.count()
    }

    /// Holds all later answers back for so long.
    pub fn set_latency(&self, latency: Duration) {
        self.tenant.set_latency(latency);
    }

    /// Deletes a profile, as somebody else might; an unknown id changes nothing.
    pub fn delete_profile(&self, id: &str) {
        self.tenant.edit(Line::ProfileDeleted {
            profile_id: id.to_owned(),
        });
    }

    /// Makes a profile hold exactly these statuses; unknown handles are dropped, an unknown id changes nothing.
    pub fn set_statuses(&self, id: &str, statuses: Vec<String>) {
        self.tenant.edit(Line::StatusesSet {
            profile_id: id.to_owned(),
            statuses,
        });
    }

    /// Gives a profile another email; an unknown id changes nothing.
    pub fn set_email(&self, id: &str, email: &str) {
        self.tenant.edit(Line::EmailSet {
            profile_id: id.to_owned(),
            email: email.to_owned(),
        });
    }

    /// Deletes a status definition, which also takes it from everybody who held it.
    pub fn delete_status(&self, handle: &str) {
        self.tenant.edit(Line::StatusDeleted {
            handle: handle.to_owned(),
        });
    }

    /// Stops letting the token in, until the next start.
    pub fn revoke_token(&self) {
        self.tenant.revoke_token();
    }

    /// Pulls the plug: connections drop, the port and the files are free again when this returns.
    pub async fn stop(mut self) {
        self.tenant.close();
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        let (gone, waits) = tokio::sync::oneshot::channel();
        // A runtime may not be waited for on another runtime's thread, so the waiting is done on a plain one.
        std::thread::spawn(move || {
            runtime.shutdown_timeout(STOP_PATIENCE);
            let _ = gone.send(());
        });
        let _ = waits.await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            self.tenant.close();
            runtime.shutdown_background();
        }
    }
}

fn address(port: u16) -> String {
    format!("http://127.0.0.1:{port}{}", routes::ROOT)
}

#[cfg(test)]
mod tests;

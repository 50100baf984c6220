//! The real client and the real run over a real ledger, and what the ledger says afterwards.

use super::BATCH_SIZE;
use super::server::{PEOPLE, Server};
use crate::support::TOKEN;
use crate::support::raw::Site;
use rollbook::api::base_url::BaseUrl;
use rollbook::api::client::{Client, Timeouts};
use rollbook::api::pacing::{Gate, PaceSettings};
use rollbook::api::{
    BatchReport, Holding, ListedBatch, Paced, Page, Slice, StatusDefinition, Tenant, Wanted,
};
use rollbook::ledger::{EntryRow, Ledger, LedgerError, ListIdentity, Reader};
use rollbook::model::doubt::InDoubt;
use rollbook::model::entry::EntryState;
use rollbook::model::ids::{Action, BatchId, Handle, Job, ProfileId};
use rollbook::model::lookup::Found;
use rollbook::model::outcome::{Member, ReadFailure, WriteAnswer};
use rollbook::model::rate::Rate;
use rollbook::model::reserve::Reserve;
use rollbook::model::sample::Confirm;
use rollbook::model::way::{Sample, Way};
use rollbook::runner::context::RunSettings;
use rollbook::runner::event::Events;
use rollbook::runner::limits::Limits;
use rollbook::runner::run::{Outcome, run};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A run that takes longer waits without end.
const ENDLESS: Duration = Duration::from_secs(90);

/// A client that dies of nothing and waits for little.
fn client(server: &Server) -> Client {
    let base = BaseUrl::parse(&format!("http://{}/api/v3", server.address)).unwrap();
    let timeouts = Timeouts {
        connect: Duration::from_millis(900),
        read_idle: Duration::from_secs(1),
        read: Duration::from_millis(1_500),
        write_idle: Duration::from_secs(1),
        write: Duration::from_millis(1_500),
    };
    Client::with_timeouts(base, &TOKEN.to_owned().into(), timeouts).unwrap()
}

/// The real client; the server is told of each call beforehand, so that it can be found shut.
#[derive(Clone)]
struct Announced {
    client: Arc<Client>,
    server: Arc<Server>,
}

impl Announced {
    async fn at<R>(&self, site: Site, question: impl Future<Output = R>) -> R {
        let prepared = self.server.announce(site);
        if prepared {
            // Until the pool has noticed.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let answer = question.await;
        if prepared {
            self.server.open_again();
        }
        answer
    }
}

impl Tenant for Announced {
    async fn verify_token(&self) -> Result<(), ReadFailure> {
        self.client.verify_token().await
    }

    async fn statuses(&self, page: u32) -> Result<Page<StatusDefinition>, ReadFailure> {
        self.client.statuses(page).await
    }

    async fn profiles(&self, wanted: Wanted<'_>, slice: Slice) -> Result<Page<Found>, ReadFailure> {
        self.at(Site::LookUp, self.client.profiles(wanted, slice)).await
    }

    async fn held_by(&self, profile: &ProfileId) -> Result<Holding, ReadFailure> {
        self.at(Site::ReadBack, self.client.held_by(profile)).await
    }

    async fn batch(&self, id: &BatchId) -> Result<BatchReport, ReadFailure> {
        self.at(Site::Poll, self.client.batch(id)).await
    }

    async fn batches(&self, page: u32) -> Result<Page<ListedBatch>, ReadFailure> {
        self.at(Site::List, self.client.batches(page)).await
    }

    async fn write(&self, action: Action, members: &[Member]) -> WriteAnswer {
        self.at(Site::Write, self.client.write(action, members)).await
    }
}

fn job() -> Job {
    Job {
        tenant: "http://127.0.0.1/api/v3".into(),
        action: Action::Assign,
        handles: vec![Handle::new("vip")],
    }
}

pub fn create(path: &Path) -> Ledger {
    let mut ledger = Ledger::create(path, "assign").unwrap();
    let mut loading = ledger.begin_load().unwrap();
    loading.begin_list("list.txt", "text").unwrap();
    for number in 0..PEOPLE {
        let email = format!("m{number}@example.com");
        loading.email(number as u64 + 1, &email, &email).unwrap();
    }
    let identity = ListIdentity {
        digest: [0; 32],
        column: 1,
        ..ListIdentity::default()
    };
    loading.end_list(&identity).unwrap();
    loading.pin(&job(), true).unwrap();
    loading.commit().unwrap();
    ledger
}

/// Runs over a ledger, one after the other, with one client: to build one takes longer than all the rest.
pub struct Stage {
    runtime: tokio::runtime::Runtime,
    tenant: Announced,
    concurrency: usize,
}

impl Stage {
    pub fn new(server: &Arc<Server>, concurrency: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let tenant = Announced {
            client: client(server).into(),
            server: server.clone(),
        };
        Self {
            runtime,
            tenant,
            concurrency,
        }
    }

    /// One run. It is stopped as soon as it is told to wait for long, and where somebody's patience ends.
    pub fn run(&self, ledger: Ledger, patience: Option<Duration>) -> Result<Outcome, String> {
        let settings = RunSettings {
            way: Way::One,
            sample: Sample::default(),
            page_size: 100,
            concurrency: self.concurrency,
            batch_size: BATCH_SIZE,
            send_limit: None,
            dry_run: false,
            confirm: Confirm::All,
            settle_deadline: Duration::from_secs(30),
            in_doubt: InDoubt::Verify,
            // Longer than the client waits for a write, so that none is under way any more.
            quiet: Duration::from_secs(1),
            limits: Limits::default(),
            retry: None,
        };
        let pace = PaceSettings {
            rate: Rate::Unlimited,
            reserve: Reserve::NONE,
            concurrency: self.concurrency,
        };
        self.runtime.block_on(async {
            let counts = ledger.counts().unwrap();
            let (writer, thread) = ledger.into_writer("assign").unwrap();
            let gate = Gate::open(pace);
            let tenant = Paced::new(self.tenant.clone(), gate.clone());
            let (stop, stopping) = tokio::sync::watch::channel(false);
            let watch = tokio::spawn(async move {
                let began = tokio::time::Instant::now();
                loop {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let now = tokio::time::Instant::now();
                    let pause = gate.view().pause.map(|pause| pause.until - now);
                    let long = pause.is_some_and(|pause| pause > Duration::from_secs(60));
                    if long || patience.is_some_and(|patience| began.elapsed() > patience) {
                        stop.send_replace(true);
                    }
                }
            });
            let run = run(
                tenant,
                writer,
                job(),
                settings,
                &counts,
                Events::to(drop),
                stopping,
            );
            let outcome = tokio::time::timeout(ENDLESS, run)
                .await
                .map_err(|_| "it waits without end".to_owned())?;
            watch.abort();
            thread.join();
            outcome.map_err(|error| format!("the ledger fails: {error}"))
        })
    }
}

/// What the ledger says when nobody writes to it.
pub struct Books {
    /// Profile, state and reason of each entry.
    pub entries: Vec<(Option<String>, EntryState, Option<String>)>,
    pub attempts: u64,
    pub unsound: Vec<String>,
}

impl Books {
    pub fn read(path: &Path) -> Self {
        let reader = Reader::open(path).unwrap();
        let mut entries = Vec::new();
        let note = |row: EntryRow<'_>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            entries.push((own(row.profile_id), row.state, own(row.reason)));
            Ok::<_, LedgerError>(())
        };
        reader.each_entry(note).unwrap();
        let batches = reader.batches().unwrap();
        let mut unsound = reader.structural_damage().unwrap();
        for (what, times) in reader.contradictions_found().unwrap() {
            if times > 0 {
                unsound.push(format!("not true {times} times: {what}"));
            }
        }
        Self {
            entries,
            attempts: batches.iter().map(|batch| batch.attempts).sum(),
            unsound,
        }
    }

    pub fn in_state(&self, state: EntryState) -> usize {
        self.entries.iter().filter(|entry| entry.1 == state).count()
    }
}

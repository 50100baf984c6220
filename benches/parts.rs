//! The parts of a run whose speed matters, each on its own: taking a list in, looking emails up, taking a job up
//! again, and exporting it. `cargo bench` prints the median and the fastest and slowest of each; compare on one machine in
//! one sitting only. `cargo bench -- WORD` runs those whose names have the word.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make and remove files of their own"
)]
#![allow(clippy::print_stdout, reason = "what it measures is what it is for")]

use rollbook::api::base_url::BaseUrl;
use rollbook::api::client::Client;
use rollbook::api::pacing::{Class, Gate, PaceSettings, Signal};
use rollbook::api::{Paced, Slice, Tenant, Wanted};
use rollbook::audit::export::{Format, Rows, export};
use rollbook::audit::summary::Summary;
use rollbook::input::{Reading, Source};
use rollbook::ledger::{Ledger, Reader};
use rollbook::model::rate::Rate;
use rollbook::model::reserve::Reserve;
use rollbook::runner::event::Events;
use rollbook::runner::ingest::ingest;
use rollbook::sandbox::{Options, Sandbox};
use std::path::Path;
use std::time::{Duration, Instant};

const ROWS: u64 = 200_000;

/// A part is measured for so long, and at least so many times.
const MEASURED: Duration = Duration::from_secs(5);
const TIMES_AT_LEAST: usize = 10;

/// Measures a part, and prints how long it takes and what that is a second, where it works on many elements.
fn measure(name: &str, elements: Option<u64>, mut part: impl FnMut()) {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
        return;
    }
    // The first time is for the caches.
    part();
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < MEASURED || times.len() < TIMES_AT_LEAST {
        let began = Instant::now();
        part();
        times.push(began.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2];
    let each_second = elements.map(|elements| elements as f64 / median.as_secs_f64());
    let each_second = each_second.map_or(String::new(), |pace| format!(", {pace:.0} a second"));
    let (fastest, slowest) = (times[0], times[times.len() - 1]);
    println!("{name}: {median:.2?} ({fastest:.2?} to {slowest:.2?}){each_second}");
}

fn list(folder: &Path) -> Source {
    let path = folder.join("list.csv");
    let rows = (0..ROWS).map(|row| format!("C-{row:07},customer.{row}@example.com,2026-01-01\n"));
    std::fs::write(&path, format!("no,email,joined\n{}", rows.collect::<String>())).unwrap();
    Source::File(path)
}

fn load(ledger: &Path, source: &Source) {
    let mut ledger = Ledger::create(ledger, "load").unwrap();
    let mut loading = ledger.begin_load().unwrap();
    ingest(
        source,
        &Reading::default(),
        &mut loading,
        &Events::to(drop),
        &|| false,
    )
    .unwrap();
    loading.commit().unwrap();
}

fn ingesting() {
    let folder = tempfile::tempdir().unwrap();
    let source = list(folder.path());
    let mut number = 0;
    measure("ingest: first load", Some(ROWS), || {
        number += 1;
        load(&folder.path().join(format!("{number}.db")), &source);
    });
}

/// The gate by itself: what it lets through a second where nothing holds it back.
fn passing() {
    const EACH: u64 = 200;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    let gate = runtime.block_on(async {
        Gate::open(PaceSettings {
            rate: Rate::Unlimited,
            reserve: Reserve::NONE,
            concurrency: 64,
        })
    });
    measure("gate: passes, 64 at a time", Some(64 * EACH), || {
        runtime.block_on(async {
            let mut askers = tokio::task::JoinSet::new();
            for _ in 0..64 {
                let gate = gate.clone();
                askers.spawn(async move {
                    for _ in 0..EACH {
                        gate.enter(Class::Lookup).await.leave(Signal::Fine);
                    }
                });
            }
            while askers.join_next().await.is_some() {}
        });
    });
}

fn resolving() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let options = Options::default();
    let emails: Vec<String> = (0..512).map(|index| options.person(index).email).collect();
    let sandbox = runtime.block_on(Sandbox::start(options)).unwrap();
    let tenant = runtime.block_on(async {
        let base = BaseUrl::parse(&sandbox.base_url()).unwrap();
        let client = Client::new(base, &sandbox.token().to_owned().into()).unwrap();
        let pace = PaceSettings {
            rate: Rate::Unlimited,
            reserve: Reserve::NONE,
            concurrency: 64,
        };
        Paced::new(client, Gate::open(pace))
    });
    let people = emails.len() as u64;
    measure("resolve: look-ups, 64 at a time", Some(people), || {
        runtime.block_on(async {
            let mut lookups = tokio::task::JoinSet::new();
            for email in emails.clone() {
                let tenant = tenant.clone();
                lookups.spawn(async move {
                    let question = |tenant: std::sync::Arc<Client>| async move {
                        tenant.profiles(Wanted::Email(&email), Slice::usual(1)).await
                    };
                    tenant.read(Class::Lookup, question).await
                });
            }
            while let Some(answer) = lookups.join_next().await {
                assert!(!answer.unwrap().unwrap().items.is_empty());
            }
        });
    });
}

fn resuming_and_exporting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    load(&path, &list(folder.path()));
    measure("ledger of 200,000 entries: open for writing", None, || {
        Ledger::open(&path, "resume").unwrap().unwrap().counts().unwrap();
    });
    measure("ledger of 200,000 entries: status", None, || {
        Summary::read(&Reader::open(&path).unwrap()).unwrap();
    });
    measure("ledger of 200,000 entries: export as CSV", Some(ROWS), || {
        let reader = Reader::open(&path).unwrap();
        export(&reader, Format::Csv, Rows::Entries, std::io::sink()).unwrap();
    });
}

fn main() {
    ingesting();
    passing();
    resolving();
    resuming_and_exporting();
}

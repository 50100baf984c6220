//! The parts of a run whose speed matters, each on its own: taking a list in, looking emails up, taking a job up
//! again, and exporting it. `cargo bench` prints them; compare on one machine in one sitting only.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make and remove files of their own"
)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
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
use std::path::{Path, PathBuf};

const ROWS: u64 = 200_000;

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

fn ingesting(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let source = list(folder.path());
    let mut number = 0;
    let mut fresh = || -> PathBuf {
        number += 1;
        folder.path().join(format!("{number}.db"))
    };
    let mut group = criterion.benchmark_group("ingest");
    group.sample_size(10).throughput(Throughput::Elements(ROWS));
    group.bench_function("first load", |bencher| {
        bencher.iter_batched(
            &mut fresh,
            |ledger| load(&ledger, &source),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The gate by itself: what it lets through a second where nothing holds it back.
fn passing(criterion: &mut Criterion) {
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
    let mut group = criterion.benchmark_group("gate");
    group.throughput(Throughput::Elements(64 * EACH));
    group.bench_function("passes, 64 at a time", |bencher| {
        bencher.iter(|| {
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
    });
    group.finish();
}

fn resolving(criterion: &mut Criterion) {
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
    let mut group = criterion.benchmark_group("resolve");
    group.throughput(Throughput::Elements(emails.len() as u64));
    group.bench_function("look-ups, 64 at a time", |bencher| {
        bencher.iter(|| {
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
    });
    group.finish();
}

fn resuming_and_exporting(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    load(&path, &list(folder.path()));
    let mut group = criterion.benchmark_group("ledger of 200,000 entries");
    group.bench_function("open for writing", |bencher| {
        bencher.iter(|| Ledger::open(&path, "resume").unwrap().unwrap().counts().unwrap());
    });
    group.bench_function("status", |bencher| {
        bencher.iter(|| Summary::read(&Reader::open(&path).unwrap()).unwrap());
    });
    group.sample_size(10).throughput(Throughput::Elements(ROWS));
    group.bench_function("export as CSV", |bencher| {
        bencher.iter(|| {
            export(
                &Reader::open(&path).unwrap(),
                Format::Csv,
                Rows::Entries,
                std::io::sink(),
            )
            .unwrap()
        });
    });
    group.finish();
}

criterion_group!(parts, ingesting, passing, resolving, resuming_and_exporting);
criterion_main!(parts);

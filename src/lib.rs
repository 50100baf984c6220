//! rollbook assigns statuses to customer profiles in bulk: resumable, audited, never twice.
//!
//! This page is the map of the code. The README says what the tool is for; `rollbook --help` how to use it.
//!
//! # The one idea
//!
//! A batch request cannot be made idempotent from outside, and its answer can get lost. So the ledger says what
//! is *about* to happen before it happens, and after any interruption it says at least as much as did. Each
//! batch is sealed, flushed; marked `sending`, flushed; sent, once; and its answer is flushed. Whatever a restart
//! finds `sending` is in doubt, and only evidence gets it out of there. That order stands in [`runner::send`],
//! the lifecycle that forbids everything else in [`model::batch`], and the ladder of evidence in
//! [`model::doubt`].
//!
//! # How data flows
//!
//! ```text
//!  list ──► input ──► ledger ──► resolve ──► send ──► settle ──► audit
//!           rows,     entries,   one email,  a few    what       what became
//!           rejects   repeats    one profile hundred  became     of every line
//!                                or none     at once  of it
//! ```
//!
//! | module | what it is | what it must never do |
//! |---|---|---|
//! | [`model`] | words, lifecycles, verdicts, waits: pure functions | touch clock, files, SQL, HTTP |
//! | [`input`] | lists of any common kind, as rows and rejects with lines | know the ledger |
//! | [`ledger`] | all SQL: lock, migrations, loads, the writer thread, queries | know the API or the screen |
//! | [`api`] | the tenant as a trait, the HTTP client, the gate that paces it | know the ledger, repeat a request |
//! | [`runner`] | the stages, the synchronous coordinator, events | print |
//! | [`audit`] | summary and export | write to the ledger |
//! | [`files`] | makes, replaces and removes files, and knows whose they are | know what is in them |
//! | [`ui`] | renders events and summaries | block or fail a run |
//! | [`sandbox`] | a tenant on loopback, with its own shapes and journal | share code with `api` |
//! | [`cli`] | arguments, settings, one function a verb, failures with hints | hold business rules |
//!
//! `tests/tidy.rs` holds these directions, and that each crate stays where it belongs: rusqlite in `ledger`,
//! reqwest in `api`, and so on.
//!
//! # Where to change what
//!
//! - Something new can happen to an entry or a batch: its `apply` in [`model`], then the compiler leads on.
//! - What a restart does with a batch: [`model::resume`]. What decides a doubt: [`model::doubt`], with what the tenant's
//!   list is worth in [`model::listing`]; how the evidence is gathered: [`runner::doubt`], `runner/listing.rs`; how long a
//!   request may live: `runner/lifetime.rs`. What became of an accepted batch: `runner/settle.rs`, `runner/members.rs`.
//! - When a ledger counts as a copy, and what adopting it does: `ledger/identity.rs`, with where it is in `ledger/place.rs`
//!   and what is remembered of it elsewhere in `ledger/record.rs`; what is waited for then: `runner/adoption.rs`.
//! - How a list is understood: `input/delimiter.rs`, `input/column.rs` and `input/header.rs` each begin with their rules,
//!   `input/cells.rs` holds the quotes, `input/foreign.rs` and `input/head.rs` what is no list. Workbooks are
//!   `input/sheets/`, JSON is `input/json/`, and what both come out as is `input/grid.rs`.
//! - What taking a list out again does: `ledger/unload.rs`.
//! - What is taken from an earlier ledger instead of being looked up, and how old it may be: `ledger/reuse.rs` and
//!   `ledger/other.rs`.
//! - What an HTTP status means: [`model::outcome`]. How a body is read: `api/answers.rs`.
//! - What is done next, and how much at once: [`runner::coordinator`]; what a run may still begin: [`runner::limits`].
//! - What a run will take: [`model::forecast`]; what is said of it: [`runner::plan`], `ui/plan.rs`; while
//!   it goes on: `runner/meter.rs`.
//! - How emails become profiles: [`model::way`] chooses, [`runner::survey`] finds out what the tenant supports,
//!   [`runner::lookups`] forms the questions, `runner/resolve.rs` and `runner/scan.rs` ask them.
//! - When one answer is not enough: `runner/bursts.rs` says for which entries, `runner/again.rs` asks again, with the
//!   witnesses of `runner/known.rs`; whether lists say what profiles have: `runner/lists.rs`; which handle is meant by a
//!   word in another case: `api/spelling.rs`; how old a look-up may be: `ledger/age.rs`.
//! - Outages and who goes first: `api/pacing/pacer.rs`; the promise that no window holds too much: `ceiling.rs` and
//!   `record.rs` there; how the tenant's own limit is found: `tempo.rs`, `headers.rs`; what processes on one host share:
//!   `budget.rs`.
//! - What is told of one entry or batch: `ledger/history.rs` has the facts, [`audit::story`] the words.
//! - What may be written over or removed: [`files`]. How foreign text is shown: [`model::text`].
//! - Where the time of a run went: `api/pacing/breakdown.rs`. What the log tells: each event stands where it happens, as a macro of
//!   `tracing`; `cli/log.rs` alone says where it goes, `api/asked.rs` and `api/pacing/told.rs` what requests and pace tell.
//! - A new column of the ledger: a new file in `migrations/`, never an edit of an old one.
//! - A new verb: `cli/args.rs` and one function beside the others.
//!
//! # What is deliberately absent
//!
//! - The profile `PUT` and the import: they replace a profile's whole set of statuses.
//! - Retries in the HTTP client: whether to ask again is decided where the ledger is known.
//! - A way to send a batch that is in doubt, but the one over its absence: concluded from evidence after the maximum
//!   request lifetime, or ruled by a person, and recorded either way.
//! - The wall clock in decisions about what was sent: it is only ever written down. Order comes from the ledger's
//!   own sequence and the tenant's list, waiting from the monotonic clock.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(
    clippy::dbg_macro,
    clippy::exit,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::todo,
    clippy::too_many_lines,
    clippy::unimplemented,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests make and remove files of their own"
    )
)]

pub mod api;
pub mod audit;
pub mod cli;
pub mod files;
pub mod input;
pub mod ledger;
pub mod model;
pub mod runner;
pub mod sandbox;
pub mod ui;

//! Everything that can go wrong on the wire, at every kind of request, against the real client and the real run.
//!
//! A job of six people in batches of two meets one fault, at one request of one site; then the tenant is well
//! and the job is resumed. The table in `kinds.rs` says how it has to end. What must never be, whatever it
//! says: anybody taken twice, anybody confirmed who was not taken, a panic, a wait without end, a request to
//! somebody else, a ledger that contradicts itself.
//!
//! The long share breaks one request of each site by each kind, the whole the first, one in the middle, and the last;
//! the quick share takes one of so many. `ROLLBOOK_FAULT` names one kind to try alone. A second test does the same to a run that
//! has a write in doubt and gathers evidence about it, a third breaks every request of a site until somebody stops the
//! run; `client.rs` tries the client without a run.

mod client;
mod kinds;
mod server;
mod stage;

use crate::support::raw::Site;
use crate::support::share::{is_whole, pick};
use kinds::{Act, KINDS, Kind, Right, SITES, STRANGER, named};
use rollbook::ledger::{Ledger, LedgerError};
use rollbook::model::entry::EntryState;
use rollbook::runner::context::Halt;
use rollbook::runner::run::Ending;
use server::{Fault, PEOPLE, Server};
use stage::{Books, Stage, create};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const BATCH_SIZE: usize = 2;
/// How long somebody watches a run that meets nothing but faults before they stop it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Jobs at the same time. They wait more than they work.
const WORKERS: usize = 32;

/// The quick share makes one trial of so many; without a factor in common with the sites, so that each has its turn.
const QUICK_STEP: usize = 17;

/// How often a good run asks at a site.
const fn requests(site: Site) -> usize {
    match site {
        Site::List => 1,
        Site::LookUp | Site::ReadBack => PEOPLE,
        _ => PEOPLE / BATCH_SIZE,
    }
}

fn shared<T>(trials: Vec<T>) -> Vec<T> {
    trials.into_iter().step_by(pick(QUICK_STEP, 1, 1)).collect()
}

fn positions(site: Site) -> [usize; 3] {
    let last = requests(site);
    [1, last.div_ceil(2), last]
}

/// What was found in one trial.
#[derive(Default)]
struct Findings {
    twice: usize,
    missing: usize,
    complaints: Vec<String>,
    slowest: Duration,
}

impl Findings {
    fn check(&mut self, fine: bool, complaint: impl FnOnce() -> String) {
        if !fine {
            self.complaints.push(complaint());
        }
    }

    /// What must hold at any time.
    fn invariants(&mut self, server: &Server, books: &Books) {
        let world = server.world();
        self.twice += world.taken.values().filter(|times| **times > 1).count();
        self.check(world.taken.values().all(|times| *times == 1), || {
            format!("taken twice: {:?}", world.taken)
        });
        for (profile, state, _) in &books.entries {
            let taken = profile
                .as_ref()
                .is_some_and(|profile| world.taken.contains_key(profile));
            self.check(*state != EntryState::Confirmed || taken, || {
                format!("{profile:?} is confirmed and was not taken")
            });
        }
        let arrived = world.arrived.get(&Site::Write).copied().unwrap_or(0) as u64;
        self.check(arrived <= books.attempts, || {
            format!("{arrived} writes arrived, the ledger knows of {}", books.attempts)
        });
        self.check(world.strange.is_empty(), || {
            format!("strange requests: {:?}", world.strange)
        });
        self.check(books.unsound.is_empty(), || books.unsound.join("; "));
    }
}

/// A job that meets these faults and is then resumed, and what the ledger said after either run.
struct Played {
    findings: Findings,
    first: Ending,
    books: [Books; 2],
}

/// Opens a ledger that a run in this process has just given back. A child that another test starts holds a copy of
/// every open file, and so of the lock, for the moment until it has become another program.
fn reopen(path: &Path) -> Ledger {
    let began = Instant::now();
    loop {
        match Ledger::open(path, "resume") {
            Err(LedgerError::Locked { .. }) if began.elapsed() < Duration::from_secs(10) => {}
            opened => return opened.unwrap().unwrap(),
        }
    }
}

fn play(faults: &[Fault]) -> Result<Played, Findings> {
    let mut findings = Findings::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let server = Server::with(faults);
    // What comes through a door must be the request that it was prepared for.
    let alone = faults.iter().any(|fault| matches!(fault.kind.act, Act::Door(_)));
    let lasting = faults.iter().any(|fault| fault.lasting);
    let stage = Stage::new(&server, if alone { 1 } else { 3 });
    let first = match stage.run(create(&path), lasting.then_some(PATIENCE)) {
        Ok(outcome) => outcome.ending,
        Err(why) => {
            findings.complaints.push(format!("first run: {why}"));
            return Err(findings);
        }
    };
    let before = Books::read(&path);
    let struck = server.world().struck;
    let halted = matches!(first, Ending::Halted(_));
    findings.check(
        struck == faults.len() || ((halted || lasting) && struck > 0),
        || format!("{struck} of {} faults happened", faults.len()),
    );
    findings.invariants(&server, &before);
    let writes_before = server.world().writes.clone();

    server.heal();
    match stage.run(reopen(&path), None) {
        Ok(outcome) => findings.check(matches!(outcome.ending, Ending::Done), || {
            format!("the resumed run ends {:?}", outcome.ending)
        }),
        Err(why) => findings.complaints.push(format!("resumed run: {why}")),
    }
    let after = Books::read(&path);
    findings.invariants(&server, &after);
    if matches!(first, Ending::Done) {
        findings.check(server.world().writes == writes_before, || {
            "the resumed run wrote although nothing was left".into()
        });
    }
    Ok(Played {
        findings,
        first,
        books: [before, after],
    })
}

/// One job that meets one fault, judged by the table.
fn trial(fault: Fault) -> Findings {
    let right = fault.kind.right(fault.site);
    match play(&[fault]) {
        Err(findings) => findings,
        Ok(Played {
            mut findings,
            first,
            books: [before, after],
        }) => {
            judge_first(&mut findings, right, fault.site, &first, &before);
            judge_end(&mut findings, right, fault.site, &after);
            findings
        }
    }
}

/// One job with a write in doubt, that meets another fault while it looks for evidence.
fn trial_in_doubt(lost: bool, fault: Fault) -> Findings {
    let kind = named(if lost {
        "closed after the request"
    } else {
        "taken, then closed"
    });
    let doubtful = Fault::once(kind, Site::Write, 1);
    match play(&[doubtful, fault]) {
        Err(findings) => findings,
        Ok(Played {
            mut findings,
            books: [_, after],
            ..
        }) => {
            // A profile that is said to be gone may be sent again with the others, and is there then.
            let failed = after.in_state(EntryState::Failed);
            let may_fail = fault.kind.right(fault.site) == Right::Fail;
            findings.check(failed <= usize::from(may_fail), || format!("{failed} failed"));
            let confirmed = after.in_state(EntryState::Confirmed);
            if confirmed + failed != PEOPLE {
                findings.missing += PEOPLE - confirmed - failed;
                findings.complaints.push(format!("it stands {:?}", after.entries));
            }
            findings
        }
    }
}

/// One job that meets the same fault again and again, until somebody stops it. Where the tenant says no to a question as
/// often as it is asked, that is its word; everything else is only late.
fn trial_lasting(fault: Fault) -> Findings {
    match play(&[fault]) {
        Err(findings) => findings,
        Ok(Played {
            mut findings,
            books: [_, after],
            ..
        }) => {
            let Fault { kind, site, .. } = fault;
            // A batch of one that is too large is refused. And who is not among those who are found is not found.
            let refused = kind.right(site) == Right::Fail || (kind.name == "413" && site == Site::Write);
            let hidden = kind.name == "somebody else's answer" && site == Site::LookUp;
            // As long as nobody was seen with a change of this job, evidence calls no request absent: a person does.
            let never_seen = site == Site::Write && !kind.taken;
            let as_told = |state| match state {
                EntryState::Confirmed => true,
                EntryState::Failed => refused,
                EntryState::Skipped => hidden,
                EntryState::Batched => never_seen,
                _ => false,
            };
            let other = after.entries.iter().filter(|entry| !as_told(entry.1)).count();
            if other > 0 {
                findings.missing += other;
                findings.complaints.push(format!("it stands {:?}", after.entries));
            }
            findings
        }
    }
}

/// Whether the run that met the fault ended as it should.
fn judge_first(findings: &mut Findings, right: Right, site: Site, ending: &Ending, books: &Books) {
    let fine = match right {
        Right::Complete | Right::Fail | Right::Doubt => matches!(ending, Ending::Done),
        Right::Wait => matches!(ending, Ending::Halted(Halt::Stopped)),
        Right::Halt => matches!(ending, Ending::Halted(Halt::Denied(_) | Halt::Outage(_))),
    };
    findings.check(fine, || format!("{right:?}, but the first run ends {ending:?}"));
    if !matches!(right, Right::Wait | Right::Halt) {
        judge_end(findings, right, site, books);
    }
}

/// Whether everything became of the entries that should.
fn judge_end(findings: &mut Findings, right: Right, site: Site, books: &Books) {
    let failing = match (right, site) {
        (Right::Fail, Site::Write) => BATCH_SIZE,
        (Right::Fail, _) => 1,
        _ => 0,
    };
    let (confirmed, failed) = (
        books.in_state(EntryState::Confirmed),
        books.in_state(EntryState::Failed),
    );
    if (confirmed, failed) != (PEOPLE - failing, failing) {
        findings.missing += PEOPLE.saturating_sub(confirmed + failing);
        findings
            .complaints
            .push(format!("{right:?}, but it stands {:?}", books.entries));
    }
}

/// Tries everything, many at a time.
fn try_all<T: Sync>(trials: &[T], name: fn(&T) -> String, trial: fn(&T) -> Findings) -> Findings {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Findings::default());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(one) = trials.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let began = Instant::now();
                    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trial(one)));
                    let found = found.unwrap_or_else(|_| Findings {
                        complaints: vec!["it panicked".into()],
                        ..Findings::default()
                    });
                    let mut all = all.lock().unwrap();
                    all.twice += found.twice;
                    all.missing += found.missing;
                    let said = |complaint| format!("{}: {complaint}", name(one));
                    all.complaints.extend(found.complaints.into_iter().map(said));
                    all.slowest = all.slowest.max(began.elapsed());
                }
            });
        }
    });
    all.into_inner().unwrap()
}

impl Findings {
    #[track_caller]
    fn conclude(&self) {
        let Self { complaints, .. } = self;
        assert!(
            complaints.is_empty(),
            "{} complaints:\n{}",
            complaints.len(),
            complaints.join("\n")
        );
        STRANGER.heard_nothing();
    }

    fn sum(&self) -> String {
        format!(
            "{} twice, {} missing; the slowest took {:.0} s",
            self.twice,
            self.missing,
            self.slowest.as_secs_f64()
        )
    }
}

/// The kinds to try, numbered: all, or the one that was asked for.
fn kinds() -> Vec<(usize, &'static Kind)> {
    let only = std::env::var("ROLLBOOK_FAULT").ok();
    let wanted = |kind: &Kind| only.as_ref().is_none_or(|only| kind.name == only);
    KINDS
        .iter()
        .enumerate()
        .filter(|(_, kind)| wanted(kind))
        .collect()
}

#[test]
fn a_job_without_faults_asks_as_often_as_is_assumed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let server = Server::with(&[]);
    let outcome = Stage::new(&server, 3).run(create(&path), None).unwrap();
    assert!(matches!(outcome.ending, Ending::Done), "{:?}", outcome.ending);
    for site in SITES.into_iter().chain([Site::List]) {
        // Whether lists say what profiles say is found out by a few more.
        let more = match site {
            Site::LookUp | Site::ReadBack => 8,
            // Whether the list tells how far batches are is found out by one page.
            Site::List => 1,
            _ => 0,
        };
        let arrived = server.world().arrived[&site];
        let assumed = requests(site)..=requests(site) + more;
        assert!(assumed.contains(&arrived), "{site:?}: {arrived}");
    }
    assert_eq!(Books::read(&path).in_state(EntryState::Confirmed), PEOPLE);
}

#[test]
fn no_fault_on_the_wire_doubles_or_loses_anything() {
    let mut faults = Vec::new();
    for (number, kind) in kinds() {
        for (column, site) in SITES.into_iter().enumerate() {
            for (turn, position) in positions(site).into_iter().enumerate() {
                if is_whole() || turn == (number + column) % 3 {
                    faults.push(Fault::once(kind, site, position));
                }
            }
        }
    }
    let faults = shared(faults);
    let name = |fault: &Fault| format!("{} at {:?} {}", fault.kind.name, fault.site, fault.position);
    let all = try_all(&faults, name, |fault| trial(*fault));
    println!(
        "wire faults: {} kinds × {} sites × {} positions = {} runs, {}",
        kinds().len(),
        SITES.len(),
        if is_whole() { 3 } else { 1 },
        faults.len(),
        all.sum()
    );
    all.conclude();
}

#[test]
fn no_fault_that_lasts_doubles_or_loses_anything() {
    let mut faults = Vec::new();
    for (number, kind) in kinds() {
        for (column, site) in SITES.into_iter().enumerate() {
            if is_whole() || column == number % SITES.len() {
                faults.push(Fault {
                    lasting: true,
                    ..Fault::once(kind, site, 1)
                });
            }
        }
    }
    let faults = shared(faults);
    let name = |fault: &Fault| format!("{} at {:?}, again and again", fault.kind.name, fault.site);
    let all = try_all(&faults, name, |fault| trial_lasting(*fault));
    println!(
        "wire faults that last: {} kinds, {} runs, {}",
        kinds().len(),
        faults.len(),
        all.sum()
    );
    all.conclude();
}

/// The tenant's list of batches is asked for once before anything is sent, and again for each doubt.
#[test]
fn no_fault_while_evidence_is_gathered_doubles_or_loses_anything() {
    // The first look at the list comes before anything is sent.
    const PLACES: [(Site, usize); 4] = [
        (Site::List, 1),
        (Site::List, 2),
        (Site::ReadBack, 1),
        (Site::ReadBack, 2),
    ];
    let mut trials = Vec::new();
    for (number, kind) in kinds() {
        for (turn, (site, position)) in PLACES.into_iter().enumerate() {
            for lost in [true, false] {
                if is_whole() || 2 * turn + usize::from(lost) == number % 16 {
                    trials.push((lost, Fault::once(kind, site, position)));
                }
            }
        }
    }
    let trials = shared(trials);
    let name = |(lost, fault): &(bool, Fault)| {
        let became = if *lost { "lost" } else { "taken" };
        format!(
            "a write {became}, then {} at {:?} {}",
            fault.kind.name, fault.site, fault.position
        )
    };
    let all = try_all(&trials, name, |(lost, fault)| trial_in_doubt(*lost, *fault));
    println!(
        "wire faults amid a doubt: {} kinds, {} runs, {}",
        kinds().len(),
        trials.len(),
        all.sum()
    );
    all.conclude();
}

#[test]
fn the_table_is_as_large_as_it_says() {
    let mut names = BTreeSet::new();
    for kind in KINDS {
        assert!(names.insert(kind.name), "{} stands there twice", kind.name);
        for site in SITES {
            let doubtful = kind.right(site) == Right::Doubt;
            assert!(!doubtful || (site == Site::Write && !kind.taken), "{}", kind.name);
        }
    }
    assert!(names.len() >= 36, "{}", names.len());
}

//! The disk fails at every write, sync and opening of a job: the run stops with an error that says so, and once the
//! disk is well again a later run ends as if nothing had happened, even if the power fails in between.

use super::cases;
use super::disk::{Crash, Fault, Kind, StorageError};
use super::job::Disturbance;
use super::power::{finish, machine, points};
use super::share::{is_whole, pick};
use rollbook::ledger::LedgerError;
use std::time::Duration;

/// Errors that the whole proof injects at the least.
const ERRORS: usize = 300;
/// Errors that the long and the quick share inject, about.
const LONG: usize = 150;
const QUICK: usize = 30;

#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    fault: Fault,
    after: After,
}

/// What happens once the process has stopped.
#[derive(Clone, Copy, Debug)]
enum After {
    /// Somebody makes room, and goes on.
    GoesOn,
    /// The machine is restarted: what a failed sync did not make durable is gone.
    PowerCut,
    /// Somebody goes on, and then the power fails: what the failed sync lost must not take later work along.
    GoesOnAndPowerCut(u64),
}

fn fail(case: &Case) -> Result<bool, String> {
    let machine = machine(case.seed);
    machine.disk.fail(Some(case.fault));
    let end = machine.live(&Disturbance::default());
    if machine.disk.faults_met() == 0 {
        return Err(format!("the disk did not fail, and the run ended so: {end:?}"));
    }
    let stopped = match end.ledger_error() {
        Some(LedgerError::Disk(_)) => true,
        // The error was met in the tidying up, which may fail.
        None if end.is_done() => false,
        _ => return Err(format!("the run ended so: {end:?}")),
    };
    machine.disk.follow();
    machine.disk.fail(None);
    match case.after {
        After::GoesOn => machine.restart(Crash::Process),
        After::PowerCut => machine.restart(Crash::Dropped),
        After::GoesOnAndPowerCut(operation) => {
            machine.restart(Crash::Process);
            machine.disk.cut_at(Some(operation));
            machine.live(&Disturbance::default());
            machine.restart(Crash::Dropped);
        }
    }
    finish(&machine).map(|_| stopped)
}

fn every_case() -> Vec<Case> {
    let seed = 1;
    let machine = machine(seed);
    assert!(machine.live(&Disturbance::default()).is_done());
    let (operations, _) = points(seed);
    let mut all = Vec::new();
    let errors = [StorageError::Full, StorageError::Broken, StorageError::ReadOnly];
    for kind in [Kind::Write, Kind::Sync, Kind::Open] {
        for at in 1..=machine.disk.count(kind) {
            for (error, lasting) in errors
                .into_iter()
                .flat_map(|error| [(error, false), (error, true)])
            {
                let fault = Fault {
                    kind,
                    at,
                    error,
                    lasting,
                };
                let again = 1 + (all.len() as u64 * 7_919) % operations;
                let after = match all.len() % 3 {
                    0 => After::GoesOn,
                    1 => After::PowerCut,
                    _ => After::GoesOnAndPowerCut(again),
                };
                all.push(Case { seed, fault, after });
            }
        }
    }
    all
}

#[test]
fn storage_errors_at_every_operation() {
    let mut all = every_case();
    if !is_whole() {
        // The step must not keep to one error or one sequel.
        let step = all.len() / pick(QUICK, LONG, LONG) / 6 * 6 + 1;
        let all_of_them = all.into_iter().enumerate();
        // Nobody has noticed yet what fails first: a ledger that is being made has its own ways.
        let share = all_of_them.filter(|(number, case)| number % step == 0 || case.fault.at == 1);
        all = share.map(|(_, case)| case).collect();
    }
    let stopped = cases::each(&all, fail)
        .into_iter()
        .filter(|stopped| *stopped)
        .count();
    println!(
        "storage errors: {}, of which {stopped} stopped a run, 0 duplicates, 0 missing",
        all.len()
    );
    assert!(!is_whole() || all.len() >= ERRORS);
    assert!(stopped * 2 > all.len(), "most errors must be noticed");
}

/// What was answered before somebody stopped the run is still written down then. If that fails, the run says so, and
/// not that it was stopped, with figures that the ledger does not hold.
#[test]
fn a_run_that_is_stopped_while_the_disk_fails_says_that_it_failed() {
    let writes = {
        let machine = machine(1);
        machine.live(&Disturbance::default());
        machine.disk.count(Kind::Write)
    };
    let cases: Vec<(u64, u64)> = (1..=writes)
        .step_by(pick(15, 5, 1))
        .flat_map(|at| [5, 20, 60, 200].map(|after| (at, after)))
        .collect();
    let ended = cases::each(&cases, |(at, after)| {
        let machine = machine(1);
        machine.disk.fail(Some(Fault {
            kind: Kind::Write,
            at: *at,
            error: StorageError::Full,
            lasting: true,
        }));
        let end = machine.live(&Disturbance {
            stop: Some(Duration::from_millis(*after)),
            ..Disturbance::default()
        });
        let failed = end.ledger_error().is_some();
        machine.disk.follow();
        machine.disk.fail(None);
        if !failed {
            machine.check_progress(&end)?;
        }
        Ok::<_, String>(failed)
    });
    assert!(ended.iter().any(|failed| *failed) && ended.iter().any(|failed| !*failed));
}

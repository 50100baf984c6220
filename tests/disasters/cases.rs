//! Many cases side by side: how many, which, and what came of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Failures that are printed.
const PRINTED_LIMIT: usize = 20;

/// The one seed that is to be repeated.
pub fn only_seed() -> Option<u64> {
    let seed = std::env::var("ROLLBOOK_SEED").ok()?;
    Some(seed.parse().expect("ROLLBOOK_SEED is a number"))
}

/// The one tenant that all worlds are to have, in the words of the grammar.
pub fn only_tenant() -> Option<String> {
    std::env::var("ROLLBOOK_TENANT").ok()
}

/// Where the seeds begin: other people may try other ones.
pub fn first_seed() -> u64 {
    std::env::var("ROLLBOOK_FIRST_SEED")
        .map_or(0, |seed| seed.parse().expect("ROLLBOOK_FIRST_SEED is a number"))
}

/// How many seeds: as many as usual, unless somebody wants fewer.
pub fn how_many(usual: usize) -> usize {
    std::env::var("ROLLBOOK_SEEDS").map_or(usual, |seeds| seeds.parse().expect("ROLLBOOK_SEEDS is a number"))
}

/// Runs all cases on all processors; the answers are in the order of the cases. Panics with the first failures.
pub fn each<C: Sync + std::fmt::Debug, R: Send>(
    cases: &[C],
    case: impl Fn(&C) -> Result<R, String> + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some(one) = cases.get(number)
        {
            let result = catch_unwind(AssertUnwindSafe(|| case(one)))
                .unwrap_or_else(|panic| Err(format!("panic: {}", words(panic.as_ref()))));
            results.lock().unwrap().push((number, result));
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        (0..workers).for_each(|_| drop(scope.spawn(work)));
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(number, _)| *number);
    let (mut answers, mut failures) = (Vec::new(), Vec::new());
    for (number, result) in results {
        match result {
            Ok(answer) => answers.push(answer),
            Err(why) => failures.push(format!("{:?}: {why}", cases[number])),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        cases.len(),
        failures[..failures.len().min(PRINTED_LIMIT)].join("\n")
    );
    answers
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}

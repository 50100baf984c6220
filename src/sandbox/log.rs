//! What the server saw: every request, when it arrived and how it was answered.
//!
//! The log is the judge of the client, so it only records. It may not know why a request was answered as it was.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The kinds of requests the tenant tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// `GET /auth/verify`
    Verify,
    /// `GET /auth/access-tokens`
    Tokens,
    /// `GET /statuses`
    Statuses,
    /// `GET /profiles`
    Profiles,
    /// `GET /profiles/{id}`
    Profile,
    /// `POST` or `DELETE /profile/status/batch.json`
    BatchWrite,
    /// `GET /batches`
    Batches,
    /// `GET /batches/{id}`
    Batch,
    /// Everything else, wrong methods included.
    Other,
}

/// One request as the server saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When its head arrived, counted from the start of the server and before any latency.
    pub at: Duration,
    /// What it asked for.
    pub route: Route,
    /// The status it was answered with; 0 while there is no answer, or if the client left before its body was whole.
    pub status: u16,
}

/// The requests of one run of the server, in the order of their arrival.
#[derive(Debug)]
pub(super) struct Log {
    started: Instant,
    seen: Mutex<Vec<Seen>>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            seen: Mutex::new(Vec::new()),
        }
    }

    /// Records an arrival and returns its place for the answer.
    pub(super) fn arrived(&self, route: Route) -> usize {
        let mut seen = self.seen.lock().expect("BUG: the request log is poisoned");
        // The clock is read under the lock, so that the order of the log is the order of the times in it.
        let at = self.started.elapsed();
        seen.push(Seen { at, route, status: 0 });
        seen.len() - 1
    }

    pub(super) fn answered(&self, place: usize, status: u16) {
        let mut seen = self.seen.lock().expect("BUG: the request log is poisoned");
        seen[place].status = status;
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        let seen = self.seen.lock().expect("BUG: the request log is poisoned");
        seen.clone()
    }

    /// How many there were.
    pub(super) fn count(&self) -> usize {
        self.seen.lock().expect("BUG: the request log is poisoned").len()
    }

    /// The most requests in any stretch of one second, its start included and its end not.
    pub(super) fn busiest_second(&self) -> usize {
        let seen = self.seen.lock().expect("BUG: the request log is poisoned");
        let times = seen.iter().map(|seen| seen.at).collect::<Vec<_>>();
        busiest(&times, Duration::from_secs(1))
    }
}

/// The most of these ascending times that any window of this length holds.
fn busiest(times: &[Duration], length: Duration) -> usize {
    let mut oldest = 0;
    let mut most = 0;
    for (newest, time) in times.iter().enumerate() {
        while *time - times[oldest] >= length {
            oldest += 1;
        }
        most = most.max(newest + 1 - oldest);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_window_leaves_its_end_out() {
        let busiest = |milliseconds: &[u64]| {
            let times: Vec<_> = milliseconds.iter().map(|at| Duration::from_millis(*at)).collect();
            super::busiest(&times, Duration::from_secs(1))
        };
        assert_eq!(busiest(&[]), 0);
        assert_eq!(busiest(&[0, 1_000, 2_000]), 1);
        assert_eq!(busiest(&[0, 999, 1_000]), 2);
        assert_eq!(busiest(&[0, 500, 900, 1_400, 1_450, 1_899]), 4);
    }

    #[test]
    fn answers_find_their_request() {
        let log = Log::new();
        let first = log.arrived(Route::Verify);
        let second = log.arrived(Route::Batch);
        log.answered(second, 404);
        log.answered(first, 200);
        let seen = log.all();
        assert_eq!((seen[0].status, seen[1].status), (200, 404));
        assert!(seen[0].at <= seen[1].at);
        assert_eq!(log.busiest_second(), 2);
    }
}

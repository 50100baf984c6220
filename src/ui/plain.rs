//! A line now and then, for logs and pipes.

use super::format::{count, counted, duration, rate};
use super::{Renderer, say};
use crate::ledger::Loaded;
use crate::model::entry::EntryState;
use crate::model::text::printable;
use crate::runner::event::{Event, Progress};
use std::time::{Duration, Instant};

/// The first lines come soon, so that somebody who looks sees that it works; later ones are rarer.
const FIRST_INTERVAL: Duration = Duration::from_secs(2);
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Plain {
    next: Instant,
    interval: Duration,
    waiting: bool,
    verbose: bool,
}

impl Plain {
    pub(super) fn new(verbose: bool) -> Self {
        Self {
            verbose,
            next: Instant::now() + FIRST_INTERVAL,
            interval: FIRST_INTERVAL,
            waiting: false,
        }
    }

    fn progress(&mut self, progress: &Progress) {
        // A new wait is news; that it goes on is not.
        let news = progress.waiting.is_some() && !self.waiting;
        self.waiting = progress.waiting.is_some();
        if self.is_due(news) {
            say(line(progress));
        }
    }

    /// Whether it is time for another line, or there is news.
    fn is_due(&mut self, news: bool) -> bool {
        if !news && Instant::now() < self.next {
            return false;
        }
        self.interval = self.interval.mul_f64(1.5).min(LONGEST_INTERVAL);
        self.next = Instant::now() + self.interval;
        true
    }
}

impl Renderer for Plain {
    fn render(&mut self, event: &Event) {
        match event {
            Event::Progress(progress) => self.progress(progress),
            Event::Asking { requests, about } => {
                if self.is_due(false) {
                    say(asking(*requests, *about));
                }
            }
            other => {
                if let Some(line) = told(other, self.verbose) {
                    say(&line);
                }
            }
        }
    }
}

/// What an event other than progress says, where it is worth a line. Each batch is worth one to the verbose. A plan
/// takes several.
pub(super) fn told(event: &Event, verbose: bool) -> Option<String> {
    match event {
        Event::Planned(plan) => Some(super::plan::text(plan)),
        other => told_in_a_line(other, verbose).map(|line| printable(&line).into_owned()),
    }
}

fn told_in_a_line(event: &Event, verbose: bool) -> Option<String> {
    match event {
        Event::ListRead { list, layout, loaded } => Some(match loaded {
            Loaded::New(counts) => format!(
                "{list}: {} = {} + {} + {} rejected ({layout})",
                counted(counts.rows, "row", "rows"),
                counted(counts.entries, "new entry", "new entries"),
                counted(counts.repeats, "repeat", "repeats"),
                count(counts.rejects),
            ),
            Loaded::Known(name) if name == list => format!("{list}: already in the ledger, nothing to add"),
            Loaded::Known(name) => format!("{list}: already in the ledger as {name}, nothing to add"),
        }),
        Event::Began { progress } if is_under_way(progress) => {
            let doubts = match progress.in_doubt {
                0 => String::new(),
                some => format!(", {} in doubt", counted(some, "batch", "batches")),
            };
            let entries = counted(progress.total(), "entry", "entries");
            Some(format!(
                "Resuming: {} of {entries} done{doubts}.",
                count(progress.done())
            ))
        }
        Event::Notice(line) => Some(format!("note: {line}")),
        Event::Stopping {
            as_asked,
            why,
            under_way,
        } => Some(stopping(*as_asked, why, *under_way as u64)),
        Event::Accepted {
            batch,
            members,
            batch_id,
        } if verbose => Some(format!(
            "batch {batch}: {} accepted, batch_id {batch_id}",
            counted(*members as u64, "profile", "profiles")
        )),
        // The end of a run is told by its summary.
        Event::Ended { .. } => None,
        Event::Asking { .. }
        | Event::Loading { .. }
        | Event::Planned(_)
        | Event::Began { .. }
        | Event::Accepted { .. }
        | Event::Progress(_) => None,
    }
}

/// Whether an earlier run has done something, and something is left.
fn is_under_way(progress: &Progress) -> bool {
    let begun = progress.done() + progress.in_state(EntryState::Batched) > 0;
    begun && progress.done() < progress.total()
}

/// That no new work is taken, why, and what is still being finished.
fn stopping(as_asked: bool, why: &str, under_way: u64) -> String {
    let requests = counted(under_way, "request", "requests");
    match (as_asked, under_way) {
        (true, 0) => "Stopping.".into(),
        (true, _) => format!("Stopping: finishing {requests}. Ctrl-C again quits now."),
        (false, 0) => format!("Stopping: {why}."),
        (false, _) => format!("Stopping: {why}. Finishing {requests}; Ctrl-C quits now."),
    }
}

/// A sign of life before there is a plan.
pub(super) fn asking(requests: u64, about: u64) -> String {
    format!(
        "asking the tenant what it supports, {} of about {}",
        count(requests),
        counted(about, "request", "requests")
    )
}

/// Progress in one line.
fn line(progress: &Progress) -> String {
    let mut line = format!(
        "{}: {} of {} done, {} confirmed, {} skipped, {}",
        progress.stage(),
        count(progress.done()),
        count(progress.total()),
        count(progress.in_state(EntryState::Confirmed)),
        count(progress.in_state(EntryState::Skipped) + progress.in_state(EntryState::Ambiguous)),
        rate(progress.per_second),
    );
    if let Some(left) = progress.left {
        line += &format!(", about {} left", duration(left));
    }
    if let Some(waiting) = &progress.waiting {
        line += &format!(" (waiting: {})", printable(waiting));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_it_stops_is_said_in_a_sentence() {
        assert_eq!(
            stopping(true, "", 28),
            "Stopping: finishing 28 requests. Ctrl-C again quits now."
        );
        assert_eq!(stopping(true, "", 0), "Stopping.");
        assert_eq!(
            stopping(false, "the token is not valid", 1),
            "Stopping: the token is not valid. Finishing 1 request; Ctrl-C quits now."
        );
    }

    #[test]
    fn a_line_says_what_how_far_and_why_it_waits() {
        let progress = Progress {
            entries: [600, 0, 100, 200, 95, 5, 0],
            per_second: 9.96,
            left: Some(Duration::from_secs(61)),
            waiting: Some("the tenant asks to slow down (429); next try in 7 s".into()),
            ..Progress::default()
        };
        assert_eq!(
            line(&progress),
            "resolving: 300 of 1,000 done, 200 confirmed, 100 skipped, 10.0/s, about 1 min 01 s left \
             (waiting: the tenant asks to slow down (429); next try in 7 s)"
        );
    }
}

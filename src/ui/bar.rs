//! A bar on a terminal: stage, counts, rate, time left, and why it waits.

use super::Renderer;
use super::format::{count, duration, rate};
use super::plain::told;
use crate::model::entry::EntryState;
use crate::runner::event::{Event, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str = "{prefix:>9} {bar:24.cyan/dim} {percent:>3}%  {wide_msg}";

pub(super) struct Bar {
    bar: ProgressBar,
    verbose: bool,
}

impl Bar {
    pub(super) fn new(verbose: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
        let style = ProgressStyle::with_template(TEMPLATE).expect("BUG: the bar's template is well-formed");
        bar.set_style(style.progress_chars("━╸─"));
        Self { bar, verbose }
    }

    fn progress(&self, progress: &Progress) {
        self.bar.set_length(progress.total());
        self.bar.set_position(progress.done());
        self.bar.set_prefix(progress.stage());
        self.bar.set_message(message(progress));
    }
}

impl Renderer for Bar {
    fn render(&mut self, event: &Event) {
        match event {
            Event::Progress(progress) => self.progress(progress),
            Event::Loading { list, rows, share } => {
                self.bar.set_length(1_000);
                self.bar.set_position((share.unwrap_or(0.0) * 1_000.0) as u64);
                self.bar.set_prefix("loading");
                self.bar.set_message(format!("{list}: {} rows", count(*rows)));
            }
            other => {
                if let Some(line) = told(other, self.verbose) {
                    self.bar.suspend(|| eprintln!("{line}"));
                }
                // The question that follows a load must not be drawn over.
                if matches!(other, Event::ListRead { .. }) {
                    self.bar.set_draw_target(ProgressDrawTarget::hidden());
                }
                if matches!(other, Event::Began { .. }) {
                    self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
                }
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn message(progress: &Progress) -> String {
    if let Some(waiting) = &progress.waiting {
        return format!("waiting: {waiting}");
    }
    let skipped = progress.in_state(EntryState::Skipped) + progress.in_state(EntryState::Ambiguous);
    let mut parts = vec![
        format!("{}/{}", count(progress.done()), count(progress.total())),
        rate(progress.per_second),
    ];
    if let Some(left) = progress.left {
        parts.push(format!("{} left", duration(left)));
    }
    parts.push(format!(
        "{} confirmed",
        count(progress.in_state(EntryState::Confirmed))
    ));
    parts.push(format!("{} skipped", count(skipped)));
    for (number, word) in [
        (progress.in_state(EntryState::Failed), "failed"),
        (progress.accepted, "batches out"),
        (progress.in_doubt, "in doubt"),
    ] {
        if number > 0 {
            parts.push(format!("{} {word}", count(number)));
        }
    }
    parts.join(" · ")
}

//! A bar on a terminal: stage, counts, rate, time left, and why it waits.

use super::format::{count, duration, rate};
use super::plain::told;
use super::{Renderer, say};
use crate::model::entry::EntryState;
use crate::model::text::printable;
use crate::runner::event::{Event, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const TEMPLATE: &str = "{prefix:>9} {bar:24.cyan/dim} {percent:>3}%  {wide_msg}";

/// A list's length is only known in bytes, so its bar counts shares.
const LOADING_STEPS: f64 = 1_000.0;

pub(super) struct Bar {
    /// None while there is nothing to draw, or a question that must not be drawn over.
    bar: Option<ProgressBar>,
    verbose: bool,
}

impl Bar {
    pub(super) fn new(verbose: bool) -> Self {
        Self { bar: None, verbose }
    }

    fn draw(&mut self, stage: &'static str, position: u64, length: u64, message: String) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
            let style =
                ProgressStyle::with_template(TEMPLATE).expect("BUG: the bar's template is well-formed");
            bar.with_style(style.progress_chars("━╸─"))
        });
        bar.set_length(length);
        bar.set_position(position);
        bar.set_prefix(stage);
        bar.set_message(printable(&message).into_owned());
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Renderer for Bar {
    fn render(&mut self, event: &Event) {
        match event {
            Event::Progress(progress) => {
                self.draw(
                    progress.stage(),
                    progress.done(),
                    progress.total(),
                    message(progress),
                );
            }
            Event::Loading { list, rows, share } => {
                let position = (share.unwrap_or(0.0) * LOADING_STEPS) as u64;
                self.draw(
                    "loading",
                    position,
                    LOADING_STEPS as u64,
                    format!("{list}: {} rows", count(*rows)),
                );
            }
            other => {
                if matches!(other, Event::ListRead { .. }) {
                    self.clear();
                }
                if let Some(line) = told(other, self.verbose) {
                    self.say(&line);
                }
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.clear();
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
    let batches = match progress.accepted {
        1 => "batch out",
        _ => "batches out",
    };
    for (number, word) in [
        (progress.in_state(EntryState::Failed), "failed"),
        (progress.accepted, batches),
        (progress.in_doubt, "in doubt"),
    ] {
        if number > 0 {
            parts.push(format!("{} {word}", count(number)));
        }
    }
    parts.join(" · ")
}

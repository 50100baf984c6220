//! A bar on a terminal: stage, counts, rate, time left, and why it waits.

use super::format::{COLUMNS, count, duration, rate};
use super::plain::{asking, told};
use super::{Renderer, say};
use crate::model::entry::EntryState;
use crate::model::text::printable;
use crate::runner::event::{Event, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What a line shows beside its message: the longer that is, the less.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Bar,
    Share,
    /// Broken over several lines where it must be: a reason is never cut.
    Nothing,
}

impl Layout {
    /// Columns that are not the message's.
    fn columns(self) -> usize {
        match self {
            Self::Bar => 41,
            Self::Share => 16,
            Self::Nothing => 0,
        }
    }

    /// The richest that leaves room for a message.
    fn of(message: &str, width: usize) -> Self {
        let fits = |layout: &Self| layout.columns() + message.chars().count() < width;
        [Self::Bar, Self::Share]
            .into_iter()
            .find(fits)
            .unwrap_or(Self::Nothing)
    }

    fn style(self) -> ProgressStyle {
        let template = match self {
            Self::Bar => "{prefix:>9} {bar:24.cyan/dim} {percent:>3}%  {wide_msg}",
            Self::Share => "{prefix:>9} {percent:>3}%  {wide_msg}",
            Self::Nothing => "{msg}",
        };
        let style = ProgressStyle::with_template(template).expect("BUG: the bar's template is well-formed");
        style.progress_chars("━╸─")
    }
}

/// Columns of the terminal.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { COLUMNS } else { columns }
}

/// A list's length is only known in bytes, so its bar counts shares.
const LOADING_STEPS: f64 = 1_000.0;

pub(super) struct Bar {
    /// None while there is nothing to draw, or a question that must not be drawn over.
    bar: Option<ProgressBar>,
    layout: Option<Layout>,
    verbose: bool,
}

impl Bar {
    pub(super) fn new(verbose: bool) -> Self {
        Self {
            bar: None,
            layout: None,
            verbose,
        }
    }

    fn draw(&mut self, stage: &'static str, position: u64, length: u64, message: String) {
        let bar = self.bar.get_or_insert_with(|| {
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8))
        });
        let layout = Layout::of(&message, width());
        if self.layout.replace(layout) != Some(layout) {
            bar.set_style(layout.style());
        }
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
        self.layout = None;
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
                    message(progress, width()),
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
            Event::Asking { requests, about } => {
                self.draw("asking", *requests, *about, asking(*requests, *about));
            }
            other => {
                if matches!(other, Event::ListRead { .. } | Event::Planned(_)) {
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

/// How far a run is, in as many parts as there is room for beside the bar. Why it waits comes before all others, and
/// is never cut.
fn message(progress: &Progress, width: usize) -> String {
    let done = format!("{}/{}", count(progress.done()), count(progress.total()));
    if let Some(waiting) = &progress.waiting {
        return format!("waiting: {waiting}");
    }
    let in_state = |state| progress.in_state(state);
    let skipped = in_state(EntryState::Skipped) + in_state(EntryState::Ambiguous);
    let some = |number: u64, what: &str| (number > 0).then(|| format!("{} {what}", count(number)));
    let out = if progress.accepted == 1 {
        "batch out"
    } else {
        "batches out"
    };
    let to_go = progress.left.map(|left| format!("{} left", duration(left)));
    // In the order of the line, each with its importance: the largest number is left out first.
    let parts = [
        (0, Some(done)),
        (4, Some(rate(progress.per_second))),
        (1, to_go),
        (
            6,
            Some(format!("{} confirmed", count(in_state(EntryState::Confirmed)))),
        ),
        (7, Some(format!("{} skipped", count(skipped)))),
        (2, some(in_state(EntryState::Failed), "failed")),
        (5, some(progress.accepted, out)),
        (3, some(progress.in_doubt, "in doubt")),
    ];
    let mut parts: Vec<(u8, String)> = parts
        .into_iter()
        .filter_map(|(importance, part)| Some((importance, part?)))
        .collect();
    let joined = |parts: &[(u8, String)]| {
        let texts: Vec<&str> = parts.iter().map(|(_, part)| part.as_str()).collect();
        texts.join(" · ")
    };
    while parts.len() > 1 && Layout::of(&joined(&parts), width) != Layout::Bar {
        let least = parts.iter().map(|part| part.0).max();
        parts.retain(|part| Some(part.0) != least);
    }
    joined(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn progress() -> Progress {
        Progress {
            entries: [3_000, 0, 291, 6_260, 639, 0, 12],
            accepted: 1,
            per_second: 40.0,
            left: Some(Duration::from_secs(61)),
            ..Progress::default()
        }
    }

    #[test]
    fn the_least_important_parts_go_first() {
        let wide =
            "6,911/10,202 · 40/s · 1 min 01 s left · 6,260 confirmed · 639 skipped · 12 failed · 1 batch out";
        assert_eq!(message(&progress(), 160), wide);
        assert_eq!(message(&progress(), 80), "6,911/10,202 · 1 min 01 s left");
        assert_eq!(message(&progress(), 20), "6,911/10,202");
    }

    #[test]
    fn why_it_waits_is_never_cut() {
        let why = "the tenant asks to slow down (429); next try in 7 s";
        let waiting = Progress {
            waiting: Some(why.into()),
            ..progress()
        };
        for width in [20, 80, 160] {
            let message = message(&waiting, width);
            assert!(message.ends_with(why), "{message}");
            let layout = Layout::of(&message, width);
            let fits = layout.columns() + message.chars().count() < width;
            assert!(fits || layout == Layout::Nothing);
        }
    }
}

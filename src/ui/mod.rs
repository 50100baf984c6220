//! What people and scripts see of a run. Renders events; decides nothing, blocks nothing, fails nothing.
//!
//! Events are handed over through a channel to a thread of its own, so that a slow terminal slows no request.
//! Progress goes to stderr; stdout belongs to the answer.

mod bar;
pub mod command;
pub mod format;
mod json;
pub mod lists;
mod plain;
pub mod plan;
pub mod summary;

use crate::model::text::{printable_json, printable_lines};
use crate::runner::event::{Event, Events};
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Writes a line to stderr, or several, of which nothing steers the terminal. A log on a full disk, or one that nobody
/// reads any more, must not end a run, and `eprintln!` would.
pub fn say(lines: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", printable_lines(&lines.to_string()));
}

/// Writes a JSON object on a line of stderr.
pub fn say_json(object: &serde_json::Value) {
    let _ = writeln!(std::io::stderr(), "{}", printable_json(&object.to_string()));
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A bar that is redrawn.
    Bar,
    /// A line now and then.
    Plain,
    /// A JSON object a line.
    Json,
    /// Not at all.
    None,
}

impl Mode {
    /// A bar on a terminal, lines elsewhere.
    pub fn automatic() -> Self {
        if std::io::stderr().is_terminal() {
            Self::Bar
        } else {
            Self::Plain
        }
    }
}

/// Something that turns events into text.
trait Renderer {
    fn render(&mut self, event: &Event);
}

struct Silence;

impl Renderer for Silence {
    fn render(&mut self, _: &Event) {}
}

enum Message {
    Show(Box<Event>),
    /// Everything before this has been shown once the sender is dropped.
    Barrier(Sender<()>),
    Close,
}

/// The screen, for as long as a run goes on.
pub struct Screen {
    queue: Sender<Message>,
    thread: JoinHandle<()>,
}

impl Screen {
    /// Sets up a screen; a verbose one tells of every batch.
    pub fn open(mode: Mode, verbose: bool) -> Self {
        let (queue, messages) = channel();
        let thread = std::thread::spawn(move || {
            let mut renderer: Box<dyn Renderer> = match mode {
                Mode::Bar => Box::new(bar::Bar::new(verbose)),
                Mode::Plain => Box::new(plain::Plain::new(verbose)),
                Mode::Json => Box::new(json::Json),
                Mode::None => Box::new(Silence),
            };
            loop {
                match messages.recv() {
                    Ok(Message::Show(event)) => renderer.render(&event),
                    Ok(Message::Barrier(_shown)) => {}
                    Ok(Message::Close) | Err(_) => return,
                }
            }
        });
        Self { queue, thread }
    }

    /// Where events go.
    pub fn events(&self) -> Events {
        let queue = self.queue.clone();
        Events::to(move |event| {
            // The screen closes last; should it be gone, there is nothing to see.
            let _ = queue.send(Message::Show(Box::new(event)));
        })
    }

    /// Waits until everything told so far is shown, so that what is printed next comes after it.
    pub fn catch_up(&self) {
        let (shown, wait) = channel();
        let _ = self.queue.send(Message::Barrier(shown));
        // Nothing is ever sent through it: that the other end is dropped is the sign.
        let _ = wait.recv();
    }

    /// Shows what is still to be shown and gives the terminal back.
    pub fn close(self) {
        let _ = self.queue.send(Message::Close);
        // A renderer that panicked has shown that itself; the run's outcome does not depend on it.
        let _ = self.thread.join();
    }
}

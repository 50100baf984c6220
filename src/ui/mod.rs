//! What people and scripts see of a run. Renders events; decides nothing, blocks nothing, fails nothing.
//!
//! Events are handed over through a channel to a thread of its own, so that a slow terminal slows no request.
//! Progress goes to stderr; stdout belongs to the answer.

mod bar;
pub mod format;
mod json;
mod plain;
pub mod summary;

use crate::runner::event::{Event, Events};
use std::io::IsTerminal;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

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

/// The screen, for as long as a run goes on.
pub struct Screen {
    queue: Sender<Option<Event>>,
    thread: JoinHandle<()>,
}

impl Screen {
    /// Sets up a screen.
    pub fn open(mode: Mode) -> Self {
        let (queue, events) = channel::<Option<Event>>();
        let thread = std::thread::spawn(move || {
            let mut renderer: Box<dyn Renderer> = match mode {
                Mode::Bar => Box::new(bar::Bar::new()),
                Mode::Plain => Box::new(plain::Plain::new()),
                Mode::Json => Box::new(json::Json),
                Mode::None => Box::new(Silence),
            };
            while let Ok(Some(event)) = events.recv() {
                renderer.render(&event);
            }
        });
        Self { queue, thread }
    }

    /// Where events go.
    pub fn events(&self) -> Events {
        let queue = self.queue.clone();
        Events::to(move |event| {
            // The screen closes last; should it be gone, there is nothing to see.
            let _ = queue.send(Some(event));
        })
    }

    /// Shows what is still to be shown and gives the terminal back.
    pub fn close(self) {
        let _ = self.queue.send(None);
        // A renderer that panicked has shown that itself; the run's outcome does not depend on it.
        let _ = self.thread.join();
    }
}

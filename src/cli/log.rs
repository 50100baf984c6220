//! The log of one command: what it did and how it went, for whoever has to find out why a run crawls. Off unless
//! `--log` names a file.
//!
//! It is never in the way: lines wait in a queue of bounded length for a thread of their own, and what does not fit, or
//! what the file does not take, is counted and told at the end. It holds ids and figures; that no part of the program
//! puts a token or an address into it is what the types are for, and an address that gets here all the same is cut out.

use super::args::{Common, LogFormat};
use super::error::{Failure, Kind, shown, unwritable};
use crate::audit::SCHEMA_VERSION;
use crate::files::{Keep, append};
use crate::ui::format::counted;
use crate::ui::{say, say_json};
use serde_json::json;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt, registry};

/// Lines that may wait for the disk: about a megabyte, and some seconds of the fastest run.
const QUEUE_LINES: usize = 4_096;
/// How long the end of a command waits for the last lines, where the log is a pipe that nobody reads on.
const LAST_LINES: Duration = Duration::from_secs(2);
/// What the names of all parts of the program begin with. Others' words may hold addresses: they are left out.
const PROGRAM: &str = "rollbook";

/// The lines on their way to the file.
struct Queue {
    lines: Mutex<Option<SyncSender<Vec<u8>>>>,
    lost: AtomicU64,
    why: OnceLock<io::Error>,
}

/// A log that is being written.
pub struct Log {
    path: PathBuf,
    queue: Arc<Queue>,
    /// Nothing comes through it: that the other end is dropped is the sign that all is written.
    written: Receiver<()>,
}

impl Write for &Queue {
    /// Takes one line, or counts it as lost; never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = lines
            .as_ref()
            .is_some_and(|lines| lines.try_send(line.to_vec()).is_ok());
        self.lost.fetch_add(u64::from(!taken), Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    /// Writes lines down until there are no more. One that was cut off is ended before the next.
    fn write_down(&self, mut file: File, lines: Receiver<Vec<u8>>) {
        let mut end = "";
        for line in lines {
            let text = String::from_utf8_lossy(&line);
            let text = format!("{end}{}", without_addresses(&text));
            end = "";
            if let Err(error) = file.write_all(text.as_bytes()) {
                end = "\n";
                self.lost.fetch_add(1, Ordering::Relaxed);
                let _ = self.why.set(error);
            }
        }
    }
}

impl Log {
    /// Begins the log that is asked for, where one is.
    pub fn open(common: &Common) -> Result<Option<Self>, Failure> {
        let Some(path) = &common.log else {
            return Ok(None);
        };
        let filter = filter(&std::env::var("ROLLBOOK_LOG").unwrap_or_default())?;
        let file = append(path, &Keep::ledger(&common.ledger))
            .map_err(|error| unwritable(path, &error, "--log rollbook.log"))?;
        let (sender, lines) = sync_channel(QUEUE_LINES);
        let queue = Arc::new(Queue {
            lines: Mutex::new(Some(sender)),
            lost: AtomicU64::new(0),
            why: OnceLock::new(),
        });
        let (last, written) = channel();
        let writing = queue.clone();
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || {
            writing.write_down(file, lines);
            drop::<std::sync::mpsc::Sender<()>>(last);
        });
        thread.map_err(|error| Failure::new(Kind::Unexpected, format!("cannot start the log: {error}")))?;
        let layer = fmt::layer().with_writer(queue.clone()).log_internal_errors(false);
        let layer = match common.log_format {
            LogFormat::Text => layer.boxed(),
            LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
        };
        tracing::subscriber::set_global_default(registry().with(layer).with(filter))
            .expect("BUG: there is one log");
        let path = path.clone();
        Ok(Some(Self { path, queue, written }))
    }

    /// Writes the last lines and tells how many are missing, where any are.
    pub fn close(self, as_json: bool) {
        drop(
            self.queue
                .lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let is_over = self.written.recv_timeout(LAST_LINES) != Err(RecvTimeoutError::Timeout);
        let lost = self.queue.lost.load(Ordering::Relaxed);
        let why = self
            .queue
            .why
            .get()
            .map_or("it was too slow".into(), io::Error::to_string);
        let what = match (is_over, lost) {
            (true, 0) => return,
            (true, lost) => format!("{}: {why}", counted(lost, "line", "lines")),
            (false, _) => "its last lines: nobody reads on".into(),
        };
        let text = format!("the log {} lacks {what}", shown(&self.path));
        if as_json {
            say_json(&json!({ "schema_version": SCHEMA_VERSION, "event": "notice", "text": text }));
        } else {
            say(format_args!("note: {text}"));
        }
    }
}

/// What is logged: a level such as `debug`, and levels of parts of the program such as `rollbook::api=trace`. What no
/// word is said about is logged from `info` on.
fn filter(text: &str) -> Result<Targets, Failure> {
    let text = if text.is_empty() { "info" } else { text };
    let of_a_part = |c: char| c.is_ascii_lowercase() || "_:".contains(c);
    let is_ours = |target: &str| target.starts_with(PROGRAM) && target.chars().all(of_a_part);
    let asked = text.parse::<Targets>().ok();
    let asked = asked.filter(|asked| asked.iter().all(|(target, _)| is_ours(target)));
    let asked = asked.ok_or_else(|| {
        Failure::new(
            Kind::Usage,
            "ROLLBOOK_LOG names neither a level nor a part of the program with a level",
        )
        .hint("set it to error, warn, info, debug or trace, or to something like info,rollbook::api=debug")
    })?;
    let usual = asked.default_level().unwrap_or(LevelFilter::INFO);
    Ok(Targets::new().with_target(PROGRAM, usual).with_targets(asked))
}

/// A line in which nothing can be an address: each `@`, however it is written, is cut out with the word around it.
fn without_addresses(line: &str) -> Cow<'_, str> {
    const SIGNS: [&str; 4] = ["@", "＠", "%40", "\\u0040"];
    let sign = |text: &str| SIGNS.into_iter().find(|sign| text.starts_with(sign));
    if !SIGNS.into_iter().any(|sign| line.contains(sign)) {
        return Cow::Borrowed(line);
    }
    let of_a_word = |c: char| c.is_alphanumeric() || "._%+-~!#$&*'/^`|?＠@".contains(c);
    let mut kept = String::new();
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        if let Some(sign) = sign(rest) {
            kept.truncate(kept.trim_end_matches(of_a_word).len());
            kept.push('…');
            rest = rest[sign.len()..].trim_start_matches(of_a_word);
        } else {
            kept.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_of_parts() {
        let says = |text: &str| filter(text).ok().map(|targets| targets.to_string());
        assert_eq!(says(""), Some("rollbook=info".into()));
        assert_eq!(says("debug"), Some("rollbook=debug".into()));
        let both = filter("warn,rollbook::api=debug").unwrap();
        let is_on = |target: &str, level| both.would_enable(target, &level);
        assert!(is_on("rollbook::api::client", tracing::Level::DEBUG));
        assert!(!is_on("rollbook::runner", tracing::Level::INFO));
        assert!(!is_on("reqwest", tracing::Level::ERROR));
        for bad in ["dbug", "hyper=trace", "info,rollbook=loud", "rollbook[batch]"] {
            assert_eq!(says(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_address_is_cut_out_and_json_stays_json() {
        for (line, cut) in [
            ("list=\"ann.lee+x@example.com.csv\" rows=7", "list=\"…\" rows=7"),
            ("a%40b%2Ec d", "… d"),
            ("x ＠y", "x …"),
            ("no sign", "no sign"),
            ("{\"why\":\"ann@example.com\",\"n\":1}", "{\"why\":\"…\",\"n\":1}"),
            ("a\\u0040b c", "… c"),
        ] {
            assert_eq!(without_addresses(line), cut);
        }
    }

    #[test]
    fn what_the_queue_cannot_hold_is_counted() {
        let (sender, lines) = sync_channel(1);
        let queue = Queue {
            lines: Mutex::new(Some(sender)),
            lost: AtomicU64::new(0),
            why: OnceLock::new(),
        };
        for _ in 0..3 {
            (&queue).write_all(b"line\n").unwrap();
        }
        assert_eq!(queue.lost.load(Ordering::Relaxed), 2);
        queue.lines.lock().unwrap().take();
        queue.write_down(File::options().append(true).open("/dev/full").unwrap(), lines);
        assert_eq!(queue.lost.load(Ordering::Relaxed), 3);
        assert_eq!(queue.why.get().unwrap().kind(), io::ErrorKind::StorageFull);
    }
}

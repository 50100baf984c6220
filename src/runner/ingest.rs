//! Lists into an open load of the ledger. Contacts nobody.
//!
//! One thread reads and judges rows while the caller's writes them: each keeps a core busy. Rows go over in portions,
//! of which few wait, so that memory stays flat.

use super::event::{Event, Events};
use crate::input::{Digest, Layout, List, ListError, Reading, RejectReason, RowContent, Source};
use crate::ledger::{LedgerError, ListIdentity, Loaded, Loading};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Portions between two signs of life: some twenty thousand rows.
const PORTIONS_PER_EVENT: usize = 20;
/// Rows in a portion, and their text at the least that ends it.
const PORTION_ROWS: usize = 1_024;
const PORTION_BYTES: usize = 256 << 10;
/// Portions that wait to be written.
const PORTIONS_WAITING: usize = 4;

/// Why a list could not be taken in. Nothing of the whole load is kept.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The list is at fault.
    #[error(transparent)]
    List(#[from] ListError),
    /// The ledger is.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Somebody wants it to stop.
    #[error("while a list was being read, as asked")]
    Stopped,
}

/// Takes one list in.
///
/// A file that is given again is recognised by its hash before it is read, where the ledger has any lists:
/// "the same command again" must not load ten million rows to find that it knows them.
pub fn ingest(
    source: &Source,
    reading: &Reading,
    loading: &mut Loading<'_>,
    events: &Events,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Loaded, IngestError> {
    let list = List::open(source, reading)?;
    let name = source.name();
    let layout = describe(list.layout());
    let known_by = list.layout().clone();
    let digest = loading
        .worth_hashing()?
        .then(|| source.digest())
        .transpose()?
        .flatten();
    if let Some(digest) = digest
        && let Some(known) = loading.loaded_as(&identity(&known_by, digest))?
    {
        return Ok(told(events, name, layout, Loaded::Known(known)));
    }
    loading.begin_list_at(&name, source.place().as_deref(), &layout)?;
    let digest = std::thread::scope(|scope| {
        let (portions, read) = sync_channel(PORTIONS_WAITING);
        let reader = scope.spawn(|| read_rows(list, portions));
        // Returning early drops the receiver, which is what ends the reader.
        write_rows(read, loading, |rows, share| {
            let list = name.clone();
            events.tell(Event::Loading { list, rows, share });
            is_stopped()
        })?;
        match reader.join() {
            Ok(digest) => digest.map_err(IngestError::from),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let digest = digest.expect("BUG: a list was not read to its end");
    let loaded = loading.end_list(&identity(&known_by, digest))?;
    Ok(told(events, name, layout, loaded))
}

/// What a list is known by: its content, and how it was read.
pub(super) fn identity(layout: &Layout, digest: Digest) -> ListIdentity {
    ListIdentity {
        digest: *digest.as_bytes(),
        column: layout.column,
        header: layout.has_header,
        delimiter: layout.delimiter,
        part: layout.part.clone(),
    }
}

/// Some rows that follow one another.
#[derive(Default)]
struct Portion {
    /// What they hold, one after the other.
    text: String,
    rows: Vec<(u64, Content)>,
    /// How much of the list is read, between 0 and 1, where that is known.
    share: Option<f64>,
}

enum Content {
    /// Up to where in the text the email goes, and then the list's spelling.
    Email { email_end: usize, written_end: usize },
    Reject {
        reason: RejectReason,
        detail: String,
        excerpt: String,
    },
}

/// Reads a list to its end, or until nobody takes the rows any more.
fn read_rows(mut list: List, portions: SyncSender<Portion>) -> Result<Option<Digest>, ListError> {
    loop {
        let mut portion = Portion::default();
        while portion.rows.len() < PORTION_ROWS && portion.text.len() < PORTION_BYTES {
            let Some(row) = list.next_row()? else { break };
            let content = match row.content {
                RowContent::Email { email, written } => {
                    portion.text.push_str(email.as_str());
                    let email_end = portion.text.len();
                    portion.text.push_str(written);
                    let written_end = portion.text.len();
                    Content::Email {
                        email_end,
                        written_end,
                    }
                }
                RowContent::Reject {
                    reason,
                    detail,
                    excerpt,
                } => Content::Reject {
                    reason,
                    detail,
                    excerpt,
                },
            };
            portion.rows.push((row.line, content));
        }
        portion.share = list
            .total_bytes()
            .map(|total| list.bytes_read() as f64 / total.max(1) as f64);
        if portion.rows.is_empty() {
            return list.finish().map(Some);
        }
        if portions.send(portion).is_err() {
            return Ok(None);
        }
    }
}

/// Writes rows as they come; `tell` says how far it is, and whether somebody wants it to stop.
fn write_rows(
    portions: Receiver<Portion>,
    loading: &mut Loading<'_>,
    tell: impl Fn(u64, Option<f64>) -> bool,
) -> Result<(), IngestError> {
    let mut rows = 0;
    for (number, portion) in portions.into_iter().enumerate() {
        if number.is_multiple_of(PORTIONS_PER_EVENT) && tell(rows, portion.share) {
            return Err(IngestError::Stopped);
        }
        let mut start = 0;
        rows += portion.rows.len() as u64;
        for (line, content) in portion.rows {
            match content {
                Content::Email {
                    email_end,
                    written_end,
                } => {
                    let (email, written) = (
                        &portion.text[start..email_end],
                        &portion.text[email_end..written_end],
                    );
                    loading.email(line, email, written)?;
                    start = written_end;
                }
                Content::Reject {
                    reason,
                    detail,
                    excerpt,
                } => {
                    loading.reject(line, reason.as_str(), &detail, &excerpt)?;
                }
            }
        }
    }
    Ok(())
}

/// A layout in words for people: `CSV, gzip; column 2, header: Customer Email`.
pub(super) fn describe(layout: &Layout) -> String {
    match &layout.column_name {
        Some(name) => format!("{}; column {}, header: {name}", layout.format, layout.column),
        None if layout.columns == 1 => layout.format.clone(),
        None => format!("{}; column {}, no header", layout.format, layout.column),
    }
}

pub(super) fn told(events: &Events, list: String, layout: String, loaded: Loaded) -> Loaded {
    events.tell(Event::ListRead {
        list,
        layout,
        loaded: loaded.clone(),
    });
    loaded
}

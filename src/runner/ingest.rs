//! Lists into an open load of the ledger, row by row. Contacts nobody.

use super::event::{Event, Events};
use crate::input::{ColumnChoice, Layout, List, ListError, RowContent, Source};
use crate::ledger::{LedgerError, ListIdentity, Loaded, Loading};

/// Rows between two signs of life.
pub(super) const ROWS_PER_EVENT: u64 = 20_000;

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
    #[error("stopped on request while loading")]
    Stopped,
}

/// Takes one list in.
///
/// A file that is given again is recognised by its hash before it is read, where the ledger has any lists:
/// "the same command again" must not load ten million rows to find that it knows them.
pub fn ingest(
    source: &Source,
    column: &ColumnChoice,
    loading: &mut Loading<'_>,
    events: &Events,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Loaded, IngestError> {
    let mut list = List::open(source, column)?;
    let name = source.name();
    let layout = describe(list.layout());
    let column = list.layout().column;
    if let Some(digest) = loading
        .worth_hashing()?
        .then(|| source.digest())
        .transpose()?
        .flatten()
    {
        let identity = ListIdentity {
            digest: *digest.as_bytes(),
            column,
        };
        if let Some(known) = loading.loaded_as(&identity)? {
            return Ok(told(events, name, layout, Loaded::Known(known)));
        }
    }
    loading.begin_list(&name, &layout)?;
    let mut rows = 0;
    loop {
        if rows % ROWS_PER_EVENT == 0 {
            let share = list
                .total_bytes()
                .map(|total| list.bytes_read() as f64 / total.max(1) as f64);
            let list = name.clone();
            events.tell(Event::Loading { list, rows, share });
            if is_stopped() {
                return Err(IngestError::Stopped);
            }
        }
        let Some(row) = list.next_row()? else { break };
        rows += 1;
        match row.content {
            RowContent::Email { email, written } => loading.email(row.line, email.as_str(), written)?,
            RowContent::Reject {
                reason,
                detail,
                excerpt,
            } => {
                loading.reject(row.line, reason.as_str(), &detail, &excerpt)?;
            }
        }
    }
    let identity = ListIdentity {
        digest: *list.finish()?.as_bytes(),
        column,
    };
    let loaded = loading.end_list(&identity)?;
    Ok(told(events, name, layout, loaded))
}

/// A layout in words for people: `CSV, gzip; column 2, Customer Email`.
pub(super) fn describe(layout: &Layout) -> String {
    match &layout.column_name {
        Some(name) => format!("{}; column {}, {name}", layout.format, layout.column),
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

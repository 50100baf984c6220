//! Workbooks: XLSX, XLSM, XLSB, XLS and ODS, a sheet of which is a list.
//!
//! ```text
//! text → parts, or refused → book → reader's thread → grid
//! whole, hashed   bounds      the sheet   a row at a time
//! ```
//!
//! A row is a row of the sheet under its own number; one without anything in it is none, like a blank line. Hidden rows
//! are rows like others, and how many there are is said where the format tells it. Of merged cells the first one holds
//! what they hold, the others are empty. A cell is what it shows as its value: a formula its stored result, an error its
//! name, a date its ISO form.
//!
//! The sheet is the one that holds emails. Where several do, nobody guesses.
//!
//! Memory: the workbook as it is stored, [`STORED_LIMIT_BYTES`] at the most, and what its format makes necessary. Of
//! XLSX and XLSB that is the table of strings, which every cell may refer to; their rows are read one at a time. Of XLS
//! and ODS it is all cells, since that is how calamine reads them. `parts.rs` bounds what a workbook expands to before
//! anything is made of it.

mod book;
mod ole;
mod parts;

use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::input::candidate::SheetCandidate;
use crate::input::error::ListError;
use crate::input::grid::{GridCells, Portion, Rows};
use crate::input::row::printable;
use crate::input::sample::is_email;
use crate::input::source::Digest;
use crate::input::text::Text;
use crate::model::email::Email;
use crate::model::guard::unguarded;
use book::{Book, Bytes, Sheet};
use parts::Merged;

/// The largest workbook, as it is stored: 256 MB.
pub(super) const STORED_LIMIT_BYTES: usize = 256 << 20;
/// Portions that wait to be read.
const PORTIONS_WAITING: usize = 2;
/// How much of a foreign name or complaint is shown.
const SHOWN_CHARACTERS: usize = 100;

/// Why a workbook cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Protected,
    TooLarge(String),
    Damaged(&'static str, String),
    /// It is none.
    NoWorkbook,
}

impl Trouble {
    fn at(self, list: &str, head: &[u8]) -> ListError {
        let list = list.to_owned();
        match self {
            Trouble::Protected => ListError::Protected { list },
            Trouble::TooLarge(detail) => ListError::TooLarge { list, detail },
            Trouble::Damaged(format, detail) => {
                let detail = printable(&detail, SHOWN_CHARACTERS);
                ListError::Damaged { list, format, detail }
            }
            Trouble::NoWorkbook => match crate::input::head::inspect(&list, head) {
                Err(error) => error,
                Ok(_) => ListError::Damaged {
                    list,
                    format: "zip",
                    detail: "it holds no sheets".into(),
                },
            },
        }
    }
}

/// Whether a file may be a workbook by its first bytes.
pub(super) fn is_one(head: &[u8]) -> bool {
    parts::ZIP_MARKS.iter().any(|mark| head.starts_with(mark)) || head.starts_with(parts::OLE_MARK)
}

/// Opens a workbook, and makes ready to hand out the rows of its sheet.
pub(super) fn open(list: &str, text: Text, wanted: Option<&str>) -> Result<Box<dyn Rows>, ListError> {
    let head = text.head().to_vec();
    let packing = text.stream().compression().word();
    let spooled = text
        .spool(STORED_LIMIT_BYTES)
        .map_err(|error| error.at(list.to_owned(), 1))?;
    let Some((bytes, digest)) = spooled else {
        let detail = format!("it has more than {} MB", STORED_LIMIT_BYTES >> 20);
        return Err(Trouble::TooLarge(detail).at(list, &head));
    };
    let parts = guarded("zipped", || parts::look(&bytes)).map_err(|trouble| trouble.at(list, &head))?;
    let format = parts.format.word();
    let book = guarded(format, || Book::open(parts.format, Bytes::from(bytes)));
    let mut book = book.map_err(|trouble| trouble.at(list, &head))?;
    let sheets = book.sheets();
    let sheet = choose(list, &sheets, wanted, |sheet, limit| {
        guarded(format, || book.emails(sheet, limit)).map_err(|trouble| trouble.at(list, &head))
    })?;
    let mut words = vec![
        format.to_owned(),
        format!("sheet \"{}\"", printable(&sheet.name, SHOWN_CHARACTERS)),
    ];
    let merged = book.merged(sheet).unwrap_or_else(|| parts.merged(sheet.index));
    let hidden = parts.hidden_rows(sheet.index);
    if hidden > 0 {
        words.push(format!("{hidden} of its rows hidden and read like the others"));
    }
    words.extend(packing.map(str::to_owned));
    Ok(Box::new(Reading {
        list: list.to_owned(),
        format,
        portions: read_apart(format, book, sheet.clone()).map_err(|source| ListError::Read {
            list: list.to_owned(),
            line: 1,
            source,
        })?,
        words,
        sheet: sheet.name.clone(),
        merged,
        digest,
    }))
}

/// Runs what reads foreign bytes: a panic in there says that they are damaged.
fn guarded<T>(format: &'static str, read: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    let panicked = || Trouble::Damaged(format, "it contradicts itself".into());
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(panicked()))
}

/// The sheet that is meant. `emails` says how many rows of a sheet hold an email, up to a limit, and shows one.
fn choose<'s>(
    list: &str,
    sheets: &'s [Sheet],
    wanted: Option<&str>,
    mut emails: impl FnMut(&Sheet, u64) -> Result<(u64, Option<Email>), ListError>,
) -> Result<&'s Sheet, ListError> {
    let list = || list.to_owned();
    let names = || sheets.iter().map(|sheet| shown(&sheet.name)).collect();
    if let Some(wanted) = wanted {
        let similar = |sheet: &&Sheet| sheet.name.trim().to_lowercase() == wanted.trim().to_lowercase();
        let exact = sheets.iter().find(|sheet| sheet.name == wanted);
        return exact
            .or_else(|| sheets.iter().find(similar))
            .ok_or_else(|| ListError::SheetNotFound {
                list: list(),
                wanted: shown(wanted),
                sheets: names(),
            });
    }
    if let [only] = sheets {
        return Ok(only);
    }
    let mut holders = Vec::new();
    for sheet in sheets {
        if emails(sheet, 1)?.0 > 0 {
            holders.push(sheet);
        }
    }
    match holders[..] {
        [] => Err(ListError::NoEmailSheet {
            list: list(),
            sheets: names(),
        }),
        [only] => Ok(only),
        _ => {
            let candidates = holders.into_iter().map(|sheet| {
                let (emails, example) = emails(sheet, u64::MAX)?;
                Ok(SheetCandidate {
                    name: shown(&sheet.name),
                    is_hidden: sheet.is_hidden,
                    emails,
                    example,
                })
            });
            Err(ListError::AmbiguousSheet {
                list: list(),
                sheets: candidates.collect::<Result<_, ListError>>()?,
            })
        }
    }
}

fn shown(name: &str) -> String {
    printable(name, SHOWN_CHARACTERS)
}

impl Book {
    /// How many rows of a sheet hold an email in any cell, up to a limit, and the first of them.
    fn emails(&mut self, sheet: &Sheet, limit: u64) -> Result<(u64, Option<Email>), Trouble> {
        let (mut rows, mut example) = (0, None);
        self.each_row(sheet, &mut |_, cells| {
            if let Some(cell) = cells.texts().iter().find(|cell| is_email(cell)) {
                rows += 1;
                example = example.take().or_else(|| Email::in_cell(unguarded(cell)).ok());
            }
            if rows < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok((rows, example))
    }
}

type Sent = Result<Portion, Trouble>;

/// Reads a sheet in a thread of its own, which ends when nobody takes the rows any more. The reader of a sheet borrows
/// its workbook, and so cannot be kept beside it.
fn read_apart(format: &'static str, book: Book, sheet: Sheet) -> io::Result<Receiver<Sent>> {
    let (sender, receiver) = sync_channel(PORTIONS_WAITING);
    let read = move || {
        let result = guarded(format, || send_rows(book, &sheet, &sender));
        if let Err(trouble) = result {
            // Whoever has left needs no error.
            let _ = sender.send(Err(trouble));
        }
    };
    let thread = std::thread::Builder::new().name("workbook".into());
    thread.spawn(read)?;
    Ok(receiver)
}

fn send_rows(mut book: Book, sheet: &Sheet, sender: &SyncSender<Sent>) -> Result<(), Trouble> {
    let mut portion = Portion::default();
    book.each_row(sheet, &mut |row, cells: &GridCells| {
        portion.push(row, cells.texts());
        if portion.is_full() && sender.send(Ok(std::mem::take(&mut portion))).is_err() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    // An empty portion is the end; without one the thread ended otherwise.
    for last in [portion, Portion::default()] {
        let _ = sender.send(Ok(last));
    }
    Ok(())
}

/// A sheet being read.
struct Reading {
    list: String,
    format: &'static str,
    portions: Receiver<Sent>,
    words: Vec<String>,
    sheet: String,
    merged: Vec<Merged>,
    digest: Digest,
}

impl Rows for Reading {
    fn next(&mut self, _old: Portion) -> Result<Portion, ListError> {
        match self.portions.recv() {
            Ok(Ok(portion)) => Ok(portion),
            Ok(Err(trouble)) => Err(trouble.at(&self.list, &[])),
            Err(_) => {
                Err(Trouble::Damaged(self.format, "reading it was broken off".into()).at(&self.list, &[]))
            }
        }
    }

    fn words(&self) -> Vec<String> {
        self.words.clone()
    }

    fn part(&self, _column: usize) -> String {
        self.sheet.clone()
    }

    fn is_keyed(&self) -> bool {
        false
    }

    fn why_empty(&self, row: u64, column: usize) -> Option<String> {
        let column = column as u64;
        let holds = |merged: &&Merged| {
            (merged.rows.0..=merged.rows.1).contains(&row)
                && (merged.columns.0..=merged.columns.1).contains(&column)
                && (row, column) != (merged.rows.0, merged.columns.0)
        };
        let merged = self.merged.iter().find(holds)?;
        Some(format!(
            "the email cell is merged with one of row {}, and empty itself",
            merged.rows.0
        ))
    }

    fn stored(&self) -> (u64, Option<u64>) {
        (0, None)
    }

    fn digest(self: Box<Self>) -> Result<Digest, ListError> {
        Ok(self.digest)
    }
}

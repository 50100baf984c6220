//! Why a list cannot be read at all, and what to do next.
//!
//! A fault of one row is no error, it is a rejected row. What stands here ends the list, and the caller
//! undoes what it took from it. No message quotes an email.

use std::io;

use super::candidate::{self, Candidate, SheetCandidate};
use super::record::ROW_LIMIT_BYTES;

/// Why a whole list is refused. `list` is its name as given, `line` the line that was reached or is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the fields are named for what they are, and the messages use every one of them"
)]
pub enum ListError {
    /// Nothing bears that name.
    #[error("{list}: no such file")]
    NotFound { list: String },
    /// The name is a folder's.
    #[error("{list}: is a folder, expected a file")]
    Directory { list: String },
    /// The file is there and will not open.
    #[error("{list}: cannot be opened: {source}")]
    Unreadable { list: String, source: io::Error },
    /// The device or pipe failed on the way.
    #[error("{list}, line {line}: reading failed: {source}")]
    Read {
        list: String,
        line: u64,
        source: io::Error,
    },
    /// Compressed data that stops before its own end.
    #[error("{list}, line {line}: the {format} data ends here, before its end mark")]
    Truncated {
        list: String,
        line: u64,
        format: &'static str,
    },
    /// Compressed data that contradicts itself.
    #[error("{list}, line {line}: the {format} data is damaged ({detail})")]
    Corrupt {
        list: String,
        line: u64,
        format: &'static str,
        detail: String,
    },
    /// Compressed data with something else behind its end.
    #[error("{list}, line {line}: the {format} data ends here, and something else follows it")]
    Trailing {
        list: String,
        line: u64,
        format: &'static str,
    },
    /// Compressed data that grows beyond reason.
    #[error("{list}, line {line}: expands to more than {ratio} times its size, expected a list of emails")]
    Bomb { list: String, line: u64, ratio: u64 },
    /// A known format that is no text, or a head full of control bytes.
    #[error("{list}: {found}, expected text")]
    Binary {
        list: String,
        found: &'static str,
        remedy: &'static str,
    },
    /// Text in an encoding that does not say its name.
    #[error("{list}: looks like {found}, expected UTF-8 or UTF-16 with a byte order mark")]
    Encoding { list: String, found: &'static str },
    /// No rows, or a header and nothing after it.
    #[error("{list}: holds no rows")]
    Empty { list: String },
    /// A quote that swallows everything after it.
    #[error("{list}, line {line}: a quote opens here and is never closed, or not within {} MB", ROW_LIMIT_BYTES >> 20)]
    UnclosedQuote { list: String, line: u64 },
    /// A first row beyond the limits, or with a stray quote, so that nothing can be known of the columns.
    #[error("{list}, line {line}: the first row cannot be read: {detail}")]
    FirstRow { list: String, line: u64, detail: String },
    /// No column is named like an email, and none of the first rows holds one.
    #[error("{list}: no email column, the first row has: {}", candidate::names(columns))]
    NoEmailColumn { list: String, columns: Vec<Candidate> },
    /// Several columns could be it.
    #[error("{list}: more than one email column: {}", candidate::names(columns))]
    AmbiguousColumn { list: String, columns: Vec<Candidate> },
    /// The column asked for is not there.
    #[error(
        "{list}: no column {wanted}, the first row has: {}",
        candidate::names(columns)
    )]
    ColumnNotFound {
        list: String,
        wanted: String,
        columns: Vec<Candidate>,
    },
    /// A column is asked for by name where the first row is said to name none.
    #[error("{list}: no column \"{name}\", since --header no says that the first row names none")]
    NameWithoutHeader {
        list: String,
        name: String,
        columns: Vec<Candidate>,
    },
    /// Text that begins like JSON and does not go on like it.
    #[error("{list}, line {line}: the JSON is not valid: {detail}")]
    Json { list: String, line: u64, detail: String },
    /// A workbook that nobody reads without its password.
    #[error("{list}: this workbook is protected by a password")]
    Protected { list: String },
    /// A workbook that contradicts itself, or is cut.
    #[error("{list}: the {format} workbook is damaged ({detail})")]
    Damaged {
        list: String,
        format: &'static str,
        detail: String,
    },
    /// A workbook beyond what is kept in memory.
    #[error("{list}: this workbook is too large: {detail}")]
    TooLarge { list: String, detail: String },
    /// Several sheets could be it.
    #[error("{list}: more than one sheet holds emails: {}", candidate::quoted(sheets.iter().map(|sheet| sheet.name.as_str())))]
    AmbiguousSheet {
        list: String,
        sheets: Vec<SheetCandidate>,
    },
    /// The sheet asked for is not there.
    #[error("{list}: no sheet \"{wanted}\", the workbook has: {}", candidate::quoted(sheets.iter().map(String::as_str)))]
    SheetNotFound {
        list: String,
        wanted: String,
        sheets: Vec<String>,
    },
    /// No sheet holds an email.
    #[error("{list}: no sheet holds an email, the workbook has: {}", candidate::quoted(sheets.iter().map(String::as_str)))]
    NoEmailSheet { list: String, sheets: Vec<String> },
    /// A sheet is asked for where there are none.
    #[error("{list}: is no workbook and has no sheets, but --sheet names one")]
    NoWorkbook { list: String },
    /// Rows, and not one with a usable email.
    #[error("{list}: {} a usable email in column {column}; line {line}: {detail}", none_of(*rows))]
    NothingUsable {
        list: String,
        rows: u64,
        column: usize,
        line: u64,
        detail: String,
        columns: Vec<Candidate>,
    },
}

fn none_of(rows: u64) -> String {
    match rows {
        1 => "its only row does not hold".into(),
        several => format!("none of its {several} rows holds"),
    }
}

impl ListError {
    /// What to do next, a sentence each, the first one first.
    pub fn hints(&self) -> Vec<String> {
        let mut hints = vec![self.hint()];
        if let Self::AmbiguousColumn { columns, .. } = self {
            hints.extend(candidate::hints(columns));
        }
        if let Self::AmbiguousSheet { sheets, .. } = self {
            hints.extend(sheets.iter().map(SheetCandidate::to_string));
        }
        hints
    }

    /// What to do next, in one sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::NotFound { .. } => "check the path, or use - to read the list from stdin".into(),
            Self::Directory { .. } => "name the files inside it instead".into(),
            Self::Unreadable { list, .. } => format!("check who may read it: ls -l {list}"),
            Self::Read { .. } => {
                "run the same command again, from a local copy of the list if it fails twice".into()
            }
            Self::Truncated { .. } => "copy or download the file again, it was cut short".into(),
            Self::Corrupt { .. } => {
                "copy or download the file again, or decompress it yourself and load the text".into()
            }
            Self::Trailing { .. } => "decompress it yourself, look at what comes out, and load that".into(),
            Self::Bomb { .. } => {
                "if this is really your list, decompress it yourself and load the text".into()
            }
            Self::Binary { remedy, .. } => (*remedy).into(),
            Self::Encoding { .. } => "save the file as UTF-8 and load it again".into(),
            Self::Empty { .. } => {
                "check that this is the right file, and that its export had finished".into()
            }
            Self::UnclosedQuote { line, .. } => format!(
                "close or remove the quote on line {line}, since it turns the rest of the list into one row"
            ),
            Self::FirstRow { line, .. } => {
                format!("look at line {line} for a stray quote, and check that the file is a list")
            }
            Self::NoEmailColumn { .. } => {
                "say which one it is with --column NAME, or --column 1 for the first".into()
            }
            Self::AmbiguousColumn { .. } | Self::AmbiguousSheet { .. } => "say which one is meant".into(),
            Self::Json { .. } => {
                "write one object a line, such as with jq -c '.[]', so that a broken one is rejected alone"
                    .into()
            }
            Self::Protected { .. } => {
                "open it with its password, save a copy without one, and load that".into()
            }
            Self::Damaged { .. } => {
                "open it in a spreadsheet program and save it again, or save the sheet as CSV (UTF-8)".into()
            }
            Self::TooLarge { .. } => "save the sheet as CSV (UTF-8) and load that".into(),
            Self::SheetNotFound { .. } => "use the name as it stands on the sheet's tab".into(),
            Self::NoEmailSheet { .. } => {
                "check that this is the right file; what is in pictures or linked files is not read".into()
            }
            Self::NoWorkbook { .. } => "leave --sheet away, or load the workbook alone".into(),
            Self::ColumnNotFound { columns, .. } => candidate::hint(columns).unwrap_or_else(|| {
                "use a name from the first row, or --column N where the list has no header".into()
            }),
            Self::NameWithoutHeader { columns, .. } => candidate::hint(columns)
                .unwrap_or_else(|| "choose the column by its number: --column N".into()),
            Self::NothingUsable { columns, .. } => candidate::hint(columns).unwrap_or_else(|| {
                "check that this is the right file, and the right column (--column)".into()
            }),
        }
    }
}

//! A workbook as calamine reads it, whatever its format: its sheets, and the cells of one as texts.

use std::fmt::{Display, Write};
use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::Arc;

use calamine::{
    Cell, Data, DataRef, Dimensions, ExcelDateTime, Ods, OdsError, Range, Reader, SheetType, SheetVisible,
    Xls, XlsError, Xlsb, XlsbError, Xlsx, XlsxError,
};

use super::Trouble;
use super::parts::{Format, Merged};
use crate::input::grid::GridCells;

/// The stored workbook, shared by everything that reads it.
#[derive(Clone)]
pub(super) struct Bytes(Arc<Vec<u8>>);

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(Arc::new(bytes))
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A sheet with cells.
#[derive(Clone)]
pub(super) struct Sheet {
    /// Its place among all sheets, those without cells included.
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) is_hidden: bool,
}

/// What a row is given to: its number from 1, and its cells.
pub(super) type Take<'t> = dyn FnMut(u64, &GridCells) -> ControlFlow<()> + 't;

/// An open workbook.
pub(super) enum Book {
    Xlsx(Xlsx<Cursor<Bytes>>),
    Xlsb(Xlsb<Cursor<Bytes>>),
    Xls(Xls<Cursor<Bytes>>),
    Ods(Ods<Cursor<Bytes>>),
}

impl Book {
    pub(super) fn open(format: Format, bytes: Bytes) -> Result<Book, Trouble> {
        let cursor = Cursor::new(bytes);
        match format {
            Format::Xlsx => Xlsx::new(cursor).map(Book::Xlsx).map_err(Trouble::from),
            Format::Xlsb => Xlsb::new(cursor).map(Book::Xlsb).map_err(Trouble::from),
            Format::Xls => Xls::new(cursor).map(Book::Xls).map_err(Trouble::from),
            Format::Ods => Ods::new(cursor).map(Book::Ods).map_err(Trouble::from),
        }
    }

    /// The sheets that have cells.
    pub(super) fn sheets(&self) -> Vec<Sheet> {
        let sheets = match self {
            Book::Xlsx(book) => book.sheets_metadata(),
            Book::Xlsb(book) => book.sheets_metadata(),
            Book::Xls(book) => book.sheets_metadata(),
            Book::Ods(book) => book.sheets_metadata(),
        };
        let with_cells = sheets
            .iter()
            .enumerate()
            .filter(|(_, sheet)| sheet.typ == SheetType::WorkSheet);
        let sheet = |(index, sheet): (usize, &calamine::Sheet)| Sheet {
            index,
            name: sheet.name.clone(),
            is_hidden: sheet.visible != SheetVisible::Visible,
        };
        with_cells.map(sheet).collect()
    }

    /// The merged cells of a sheet, where calamine keeps them at no price.
    pub(super) fn merged(&self, sheet: &Sheet) -> Option<Vec<Merged>> {
        let Book::Xls(book) = self else { return None };
        let merged = book.merge_cells_by_sheet_name(&sheet.name).ok()?;
        Some(merged.iter().map(Merged::from).collect())
    }

    /// Gives the rows of a sheet that hold anything, in their order, until they are not taken any more.
    pub(super) fn each_row(&mut self, sheet: &Sheet, take: &mut Take<'_>) -> Result<(), Trouble> {
        match self {
            Book::Xlsx(book) => {
                let mut cells = book.worksheet_cells_reader(&sheet.name)?;
                each_row_of(Format::Xlsx, || Ok(cells.next_cell()?), take)
            }
            Book::Xlsb(book) => {
                let mut cells = book.worksheet_cells_reader(&sheet.name)?;
                each_row_of(Format::Xlsb, || Ok(cells.next_cell()?), take)
            }
            Book::Xls(book) => each_row_in(&book.worksheet_range(&sheet.name)?, take),
            Book::Ods(book) => each_row_in(&book.worksheet_range(&sheet.name)?, take),
        }
    }
}

impl From<&Dimensions> for Merged {
    fn from(area: &Dimensions) -> Self {
        Merged {
            rows: (u64::from(area.start.0) + 1, u64::from(area.end.0) + 1),
            columns: (u64::from(area.start.1), u64::from(area.end.1)),
        }
    }
}

/// Puts cells that come one after the other together as rows. A workbook in which they go back is damaged: which of two
/// cells counts would be a guess.
fn each_row_of<'c>(
    format: Format,
    mut next: impl FnMut() -> Result<Option<Cell<DataRef<'c>>>, Trouble>,
    take: &mut Take<'_>,
) -> Result<(), Trouble> {
    let mut row = GridCells::default();
    let mut last: Option<(u32, u32)> = None;
    while let Some(cell) = next()? {
        let place = cell.get_position();
        if last.is_some_and(|last| place <= last) {
            let detail = format!("row {} stands out of order", place.0 + 1);
            return Err(Trouble::Damaged(format.word(), detail));
        }
        if let Some((number, _)) = last
            && number < place.0
            && !row.texts().is_empty()
        {
            if take(u64::from(number) + 1, &row).is_break() {
                return Ok(());
            }
            row.clear();
        }
        last = Some(place);
        if let Some(value) = Value::from_ref(cell.get_value()) {
            value.write(row.cell(place.1 as usize));
        }
    }
    if let Some((number, _)) = last
        && !row.texts().is_empty()
    {
        let _ = take(u64::from(number) + 1, &row);
    }
    Ok(())
}

fn each_row_in(range: &Range<Data>, take: &mut Take<'_>) -> Result<(), Trouble> {
    let Some((first_row, first_column)) = range.start() else {
        return Ok(());
    };
    let mut row = GridCells::default();
    for (number, cells) in (u64::from(first_row) + 1..).zip(range.rows()) {
        row.clear();
        for (column, cell) in (first_column as usize..).zip(cells) {
            if let Some(value) = Value::from_owned(cell) {
                value.write(row.cell(column));
            }
        }
        if !row.texts().is_empty() && take(number, &row).is_break() {
            break;
        }
    }
    Ok(())
}

/// What a cell holds, if anything.
enum Value<'v> {
    Shown(&'v dyn Display),
    Text(&'v str),
    Date(&'v ExcelDateTime),
}

impl<'v> Value<'v> {
    fn from_ref(cell: &'v DataRef<'_>) -> Option<Value<'v>> {
        Some(match cell {
            DataRef::Empty => return None,
            DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
                Value::Text(text)
            }
            DataRef::SharedString(text) => Value::Text(text),
            DataRef::Int(number) => Value::Shown(number),
            DataRef::Float(number) => Value::Shown(number),
            DataRef::Bool(value) => Value::Shown(value),
            DataRef::Error(error) => Value::Shown(error),
            DataRef::DateTime(date) => Value::Date(date),
        })
        .filter(|value| !matches!(value, Value::Text("")))
    }

    fn from_owned(cell: &'v Data) -> Option<Value<'v>> {
        Some(match cell {
            Data::Empty => return None,
            Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => Value::Text(text),
            Data::Int(number) => Value::Shown(number),
            Data::Float(number) => Value::Shown(number),
            Data::Bool(value) => Value::Shown(value),
            Data::Error(error) => Value::Shown(error),
            Data::DateTime(date) => Value::Date(date),
        })
        .filter(|value| !matches!(value, Value::Text("")))
    }

    fn write(self, text: &mut String) {
        let _ = match self {
            Value::Text(written) => {
                text.push_str(written);
                Ok(())
            }
            Value::Shown(value) => write!(text, "{value}"),
            Value::Date(date) if !date.is_datetime() => write!(text, "{date}"),
            Value::Date(date) => {
                let (year, month, day, hour, minute, second, _) = date.to_ymd_hms_milli();
                let time = match (hour, minute, second) {
                    (0, 0, 0) => String::new(),
                    _ => format!(" {hour:02}:{minute:02}:{second:02}"),
                };
                write!(text, "{year:04}-{month:02}-{day:02}{time}")
            }
        };
    }
}

impl From<XlsxError> for Trouble {
    fn from(error: XlsxError) -> Self {
        match error {
            XlsxError::Password => Trouble::Protected,
            other => Trouble::Damaged(Format::Xlsx.word(), other.to_string()),
        }
    }
}

impl From<XlsbError> for Trouble {
    fn from(error: XlsbError) -> Self {
        match error {
            XlsbError::Password => Trouble::Protected,
            other => Trouble::Damaged(Format::Xlsb.word(), other.to_string()),
        }
    }
}

impl From<OdsError> for Trouble {
    fn from(error: OdsError) -> Self {
        match error {
            OdsError::Password => Trouble::Protected,
            other => Trouble::Damaged(Format::Ods.word(), other.to_string()),
        }
    }
}

impl From<XlsError> for Trouble {
    fn from(error: XlsError) -> Self {
        match error {
            XlsError::Password => Trouble::Protected,
            other => Trouble::Damaged(Format::Xls.word(), other.to_string()),
        }
    }
}

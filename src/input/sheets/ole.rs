//! The stored form of XLS: a file system in a file, with the workbook as one stream of records in it.
//!
//! Read here is only what bounds a workbook before calamine makes room for it at its word, the ranges that its cells
//! span, and which rows are hidden. What looks damaged is left for calamine to say.

use std::collections::BTreeSet;

use super::Trouble;
use super::parts::{CELLS_LIMIT, Format, Noted};

/// Rows and columns that XLS can have.
const ROWS: u32 = 65_536;
const COLUMNS: u32 = 256;
/// Sectors from here on are none.
const NO_SECTOR: u32 = 0xffff_fffa;

/// What the sheets of a stored workbook say, by their places; nothing where there is no workbook in it.
pub(super) fn sheets(bytes: &[u8]) -> Result<Option<Vec<Noted>>, Trouble> {
    let Some(stream) = File::open(bytes).and_then(|file| file.stream(&["Workbook", "Book"])) else {
        return Ok(None);
    };
    let places: Vec<usize> = records(&stream)
        .take_while(|(kind, _)| *kind != 0x000a)
        .filter(|(kind, _)| *kind == 0x0085)
        .filter_map(|(_, content)| Some(u32_at(content, 0)? as usize))
        .collect();
    let mut cells = 0;
    let mut sheets = Vec::new();
    for place in places {
        let sheet = Sheet::of(stream.get(place..).unwrap_or_default())?;
        cells += sheet.cells();
        if cells > CELLS_LIMIT {
            return Err(Trouble::TooLarge(format!(
                "its cells span more than {CELLS_LIMIT}"
            )));
        }
        sheets.push(sheet.noted());
    }
    Ok(Some(sheets))
}

/// What a sheet spans.
struct Sheet {
    rows: (u32, u32),
    columns: (u32, u32),
    hidden: BTreeSet<u32>,
    filled: BTreeSet<u32>,
}

impl Sheet {
    fn of(stream: &[u8]) -> Result<Sheet, Trouble> {
        let mut sheet = Sheet {
            rows: (u32::MAX, 0),
            columns: (u32::MAX, 0),
            hidden: BTreeSet::new(),
            filled: BTreeSet::new(),
        };
        let mut depth = 0;
        for (kind, content) in records(stream) {
            match kind {
                0x0809 => depth += 1,
                0x000a if depth <= 1 => break,
                0x000a => depth -= 1,
                _ if depth > 1 => {}
                0x0200 => sheet.dimensions(content)?,
                0x0208 => {
                    let is_hidden = u16_at(content, 12).is_some_and(|flags| flags & 0x20 != 0);
                    sheet.hidden.extend(u16_at(content, 0).filter(|_| is_hidden));
                }
                // Numbers, texts, truth values, errors, formulas.
                0x0203 | 0x0204 | 0x00d6 | 0x0205 | 0x027e | 0x00fd | 0x0006 => {
                    sheet.cell(content, u16_at(content, 2))?;
                }
                // Several numbers in a row, with the last one's column at the end.
                0x00bd => sheet.cell(content, u16_at(content, content.len().saturating_sub(2)))?,
                _ => {}
            }
        }
        Ok(sheet)
    }

    fn dimensions(&self, content: &[u8]) -> Result<(), Trouble> {
        let said = match content.len() {
            10 => (u16_at(content, 2), u16_at(content, 6)),
            _ => (u32_at(content, 4), u16_at(content, 10)),
        };
        match said {
            (Some(rows), Some(columns)) if rows <= ROWS && columns <= COLUMNS => Ok(()),
            _ => Err(Trouble::Damaged(
                Format::Xls.word(),
                "a sheet is larger than can be".into(),
            )),
        }
    }

    fn cell(&mut self, content: &[u8], last: Option<u32>) -> Result<(), Trouble> {
        let (Some(row), Some(first), Some(last)) = (u16_at(content, 0), u16_at(content, 2), last) else {
            return Ok(());
        };
        if first.max(last) >= COLUMNS {
            let detail = format!("a cell stands in column {}", first.max(last) + 1);
            return Err(Trouble::Damaged(Format::Xls.word(), detail));
        }
        self.rows = (self.rows.0.min(row), self.rows.1.max(row));
        self.columns = (self.columns.0.min(first), self.columns.1.max(last));
        self.filled.insert(row);
        Ok(())
    }

    /// How many cells its range has, those that are empty included.
    fn cells(&self) -> u64 {
        let length = |(first, last): (u32, u32)| u64::from((last + 1).saturating_sub(first));
        length(self.rows) * length(self.columns)
    }

    fn noted(&self) -> Noted {
        Noted {
            hidden_rows: self.hidden.intersection(&self.filled).count() as u64,
            merged: Vec::new(),
        }
    }
}

/// The records of a stream: their kinds and contents.
fn records(stream: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = stream;
    std::iter::from_fn(move || {
        let (kind, length) = (u16_at(rest, 0)?, u16_at(rest, 2)? as usize);
        let content = rest.get(4..4 + length)?;
        rest = &rest[4 + length..];
        Some((kind, content))
    })
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u32> {
    let bytes = bytes.get(place..place + 2)?;
    Some(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u16_at(bytes, place)? | u16_at(bytes, place + 2)? << 16)
}

/// The file system.
struct File<'b> {
    bytes: &'b [u8],
    sector: usize,
    /// The sector that follows each.
    next: Vec<u32>,
    directory: Vec<u8>,
}

impl<'b> File<'b> {
    fn open(bytes: &'b [u8]) -> Option<File<'b>> {
        let sector = match u16_at(bytes, 30)? {
            9 => 512,
            12 => 4_096,
            _ => return None,
        };
        let mut file = File {
            bytes,
            sector,
            next: Vec::new(),
            directory: Vec::new(),
        };
        let mut tables: Vec<u32> = (0..109)
            .filter_map(|index| u32_at(bytes, 76 + 4 * index))
            .collect();
        let mut more = u32_at(bytes, 68)?;
        // A file has no more tables of tables than sectors.
        for _ in 0..bytes.len() / sector {
            let Some(part) = file.sector(more) else { break };
            let numbers = part.as_chunks::<4>().0;
            let (last, numbers) = numbers.split_last()?;
            tables.extend(numbers.iter().map(|number| u32::from_le_bytes(*number)));
            more = u32::from_le_bytes(*last);
        }
        for table in tables
            .into_iter()
            .filter(|table| *table < NO_SECTOR)
            .take(bytes.len() / sector)
        {
            let numbers = file.sector(table)?.as_chunks::<4>().0;
            let numbers: Vec<u32> = numbers.iter().map(|number| u32::from_le_bytes(*number)).collect();
            file.next.extend(numbers);
        }
        file.directory = file.chain(u32_at(bytes, 48)?);
        Some(file)
    }

    fn sector(&self, number: u32) -> Option<&'b [u8]> {
        let start = (number as usize).checked_add(1)?.checked_mul(self.sector)?;
        self.bytes.get(start..start + self.sector)
    }

    /// The sectors from one on, put together; the last one may be cut.
    fn chain(&self, first: u32) -> Vec<u8> {
        let mut content = Vec::new();
        let mut number = first;
        while number < NO_SECTOR && content.len() < self.bytes.len() {
            let start = (number as usize).saturating_add(1).saturating_mul(self.sector);
            let end = start.saturating_add(self.sector).min(self.bytes.len());
            let Some(part) = self.bytes.get(start..end) else {
                break;
            };
            content.extend_from_slice(part);
            let Some(next) = self.next.get(number as usize) else {
                break;
            };
            number = *next;
        }
        content
    }

    /// The first stream that there is of these names.
    fn stream(&self, names: &[&str]) -> Option<Vec<u8>> {
        let entries = || self.directory.as_chunks::<128>().0.iter();
        let called = |name: &&str| {
            let name: Vec<u8> = name
                .encode_utf16()
                .chain([0])
                .flat_map(u16::to_le_bytes)
                .collect();
            entries().find(|entry| entry.starts_with(&name))
        };
        let entry = names.iter().find_map(called)?;
        let (first, size) = (u32_at(entry, 116)?, u32_at(entry, 120)? as usize);
        if size >= u32_at(self.bytes, 56)? as usize {
            let mut content = self.chain(first);
            content.truncate(size);
            return Some(content);
        }
        // Small streams lie in that of the root, in sectors of 64 bytes.
        let small = self.chain(u32_at(entries().next()?, 116)?);
        let table = self.chain(u32_at(self.bytes, 60)?);
        let mut content = Vec::new();
        let mut number = first;
        while number < NO_SECTOR && content.len() < size {
            content.extend_from_slice(small.get(number as usize * 64..)?.get(..64)?);
            number = u32_at(&table, number as usize * 4)?;
        }
        content.truncate(size);
        Some(content)
    }
}

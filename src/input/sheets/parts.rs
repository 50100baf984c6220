//! The parts of a stored workbook, before anything is made of them: which format it is, and whether what it expands to
//! is bounded.
//!
//! Every part is decompressed once, to be counted and checked against its sum, and is not kept. What calamine would make
//! room for at its word is compared with what is there. Hidden rows and merged cells are noted on the way, since calamine
//! does not tell the former, and reads the whole sheet again for the latter.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::{Trouble, ole};
use crate::input::stream::{CHUNK_BYTES, allowed_bytes};

/// What all parts together may expand to: 2 GB, and a hundred times what is stored.
const EXPANDED_LIMIT_BYTES: u64 = 2 << 30;
/// What a part may expand to that is kept in memory: the table of strings, the content of ODS, and what is no sheet.
const KEPT_LIMIT_BYTES: u64 = 512 << 20;
/// The longest tag, or text between two.
const RUN_LIMIT_BYTES: usize = 1 << 20;
/// How many cells ODS and XLS may have, since all of them are kept.
pub(super) const CELLS_LIMIT: u64 = 40_000_000;
/// How many parts there may be; a workbook of a hundred sheets has some three hundred.
const PARTS_LIMIT: usize = 10_000;
/// How many merged areas are noted.
const MERGED_LIMIT: usize = 10_000;

pub(super) const ZIP_MARKS: [&[u8]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"];
pub(super) const OLE_MARK: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

/// What kind of workbook it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Xlsx,
    Xlsb,
    Xls,
    Ods,
}

impl Format {
    /// The word for people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Format::Xlsx => "XLSX",
            Format::Xlsb => "XLSB",
            Format::Xls => "XLS",
            Format::Ods => "ODS",
        }
    }
}

/// Merged cells: rows from 1, columns from 0, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) rows: (u64, u64),
    pub(super) columns: (u64, u64),
}

/// What the parts of a workbook say.
pub(super) struct Parts {
    pub(super) format: Format,
    /// By the place of the sheet among all.
    sheets: Vec<Noted>,
}

/// What was noted of a sheet.
#[derive(Clone, Default)]
pub(super) struct Noted {
    pub(super) hidden_rows: u64,
    pub(super) merged: Vec<Merged>,
}

impl Parts {
    /// How many rows of a sheet are hidden and hold something.
    pub(super) fn hidden_rows(&self, sheet: usize) -> u64 {
        self.sheets.get(sheet).map_or(0, |noted| noted.hidden_rows)
    }

    pub(super) fn merged(&self, sheet: usize) -> Vec<Merged> {
        self.sheets
            .get(sheet)
            .map_or_else(Vec::new, |noted| noted.merged.clone())
    }
}

/// Looks at a stored workbook.
pub(super) fn look(bytes: &[u8]) -> Result<Parts, Trouble> {
    if bytes.starts_with(OLE_MARK) {
        return ole(bytes);
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|_| no_archive(bytes))?;
    let format = {
        let has = |name: &str| archive.index_for_name(name).is_some();
        if has("xl/workbook.bin") {
            Format::Xlsb
        } else if archive
            .file_names()
            .flatten()
            .any(|name| name.to_ascii_lowercase().ends_with("workbook.xml"))
        {
            Format::Xlsx
        } else if has("content.xml") && has("mimetype") {
            Format::Ods
        } else {
            return Err(Trouble::NoWorkbook);
        }
    };
    if archive.len() > PARTS_LIMIT {
        return Err(Trouble::TooLarge(format!("it has more than {PARTS_LIMIT} parts")));
    }
    let mut look = Look {
        format,
        budget: allowed_bytes(bytes.len() as u64).min(EXPANDED_LIMIT_BYTES),
        ids: Vec::new(),
        targets: HashMap::new(),
        of_parts: HashMap::new(),
        tables: Vec::new(),
    };
    for index in 0..archive.len() {
        let part = archive.by_index(index).map_err(|error| look.unreadable(&error))?;
        let name = part.name().map_err(|error| look.unreadable(&error))?.into_owned();
        look.part(&name, part)?;
    }
    Ok(look.into_parts())
}

/// What begins like an archive and is none: a workbook that was cut, if its first names say so.
fn no_archive(bytes: &[u8]) -> Trouble {
    let holds = |name: &str| memchr::memmem::find(bytes, name.as_bytes()).is_some();
    let detail = || "it ends before its directory, or was changed".into();
    if holds("opendocument.spreadsheet") {
        Trouble::Damaged(Format::Ods.word(), detail())
    } else if holds("xl/") || holds("[Content_Types].xml") {
        Trouble::Damaged(Format::Xlsx.word(), detail())
    } else {
        Trouble::NoWorkbook
    }
}

/// What the office programs wrote before 2007, and what they write encrypted.
fn ole(bytes: &[u8]) -> Result<Parts, Trouble> {
    let holds = |name: &str| {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        memchr::memmem::find(bytes, &name).is_some()
    };
    if holds("EncryptedPackage") {
        return Err(Trouble::Protected);
    }
    if !holds("Workbook") && !holds("Book") {
        return Err(Trouble::NoWorkbook);
    }
    let Some(sheets) = ole::sheets(bytes)? else {
        let detail = "it is cut, or contradicts itself".into();
        return Err(Trouble::Damaged(Format::Xls.word(), detail));
    };
    Ok(Parts {
        format: Format::Xls,
        sheets,
    })
}

/// The parts of a zipped workbook on the way.
struct Look {
    format: Format,
    /// How many bytes may still come out.
    budget: u64,
    /// The sheets of XLSX by the id of their part.
    ids: Vec<String>,
    /// The part of each id.
    targets: HashMap<String, String>,
    of_parts: HashMap<String, Noted>,
    /// The sheets of ODS.
    tables: Vec<Noted>,
}

impl Look {
    fn damaged(&self, detail: impl Into<String>) -> Trouble {
        Trouble::Damaged(self.format.word(), detail.into())
    }

    fn unreadable(&self, error: &ZipError) -> Trouble {
        match error {
            ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => Trouble::Protected,
            other => self.damaged(other.to_string()),
        }
    }

    fn part(&mut self, name: &str, part: impl Read) -> Result<(), Trouble> {
        let lower = name.to_ascii_lowercase();
        match self.format {
            Format::Xlsx if lower.ends_with("workbook.xml") => {
                let mut ids = Vec::new();
                self.tags(part, u64::MAX, |tag| {
                    if local(tag) == b"sheet" {
                        ids.push(attribute_ending(tag, ":id").unwrap_or_default().to_owned());
                    }
                    Ok(())
                })?;
                self.ids = ids;
            }
            Format::Xlsx if lower.ends_with("workbook.xml.rels") => {
                let mut targets = HashMap::new();
                self.tags(part, u64::MAX, |tag| {
                    if let (Some(id), Some(target)) = (attribute(tag, "Id"), attribute(tag, "Target")) {
                        targets.insert(
                            id.to_owned(),
                            target.trim_start_matches(['.', '/']).to_ascii_lowercase(),
                        );
                    }
                    Ok(())
                })?;
                self.targets = targets;
            }
            Format::Xlsx if lower.ends_with("sharedstrings.xml") => self.strings(part)?,
            Format::Xlsx if lower.ends_with(".xml") && lower.contains("sheets/") => {
                let noted = self.sheet(part)?;
                self.of_parts.insert(lower, noted);
            }
            Format::Ods if lower == "content.xml" => self.content(part)?,
            // What is no sheet is kept by calamine, if it is read at all.
            _ => self
                .tags(
                    part,
                    if lower.contains("sheets/") {
                        u64::MAX
                    } else {
                        KEPT_LIMIT_BYTES
                    },
                    |_| Ok(()),
                )
                .or_else(|trouble| match trouble {
                    // What is no XML may well have a long way from one sign to the next.
                    Trouble::TooLarge(_) if self.budget > 0 && !lower.ends_with(".xml") => Ok(()),
                    other => Err(other),
                })?,
        }
        Ok(())
    }

    /// Makes sure that there are about as many strings as the table says, since room is made for so many.
    fn strings(&mut self, part: impl Read) -> Result<(), Trouble> {
        let (mut said, mut found) = (0_u64, 0_u64);
        self.tags(part, KEPT_LIMIT_BYTES, |tag| {
            match local(tag) {
                b"sst" => {
                    said = attribute(tag, "uniqueCount")
                        .and_then(|count| count.parse().ok())
                        .unwrap_or(0)
                }
                b"si" => found += 1,
                _ => {}
            }
            Ok(())
        })?;
        if said > 2 * found + 1_000 {
            return Err(self.damaged(format!("its table of strings has {found} of {said} strings")));
        }
        Ok(())
    }

    /// The hidden rows and merged cells of a sheet of XLSX.
    fn sheet(&mut self, part: impl Read) -> Result<Noted, Trouble> {
        let mut noted = Noted::default();
        let (mut is_hidden, mut holds_something) = (false, false);
        self.tags(part, u64::MAX, |tag| {
            match local(tag) {
                b"row" => {
                    is_hidden = matches!(attribute(tag, "hidden"), Some("1" | "true"));
                    holds_something = false;
                }
                b"v" | b"t" => holds_something = true,
                b"/row" if is_hidden && holds_something => noted.hidden_rows += 1,
                b"mergeCell" if noted.merged.len() < MERGED_LIMIT => {
                    noted.merged.extend(attribute(tag, "ref").and_then(area));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(noted)
    }

    /// The hidden rows of the sheets of ODS, and how many cells there are, since few of them may stand for many.
    fn content(&mut self, part: impl Read) -> Result<(), Trouble> {
        let mut tables: Vec<Noted> = Vec::new();
        let (mut cells, mut of_row, mut empty) = (0_u64, 0_u64, 0_u64);
        let (mut repeats, mut is_hidden, mut holds_something) = (1_u64, false, false);
        let number = |tag: &[u8], name| {
            attribute(tag, name)
                .and_then(|number| number.parse().ok())
                .unwrap_or(1_u64)
        };
        self.tags(part, KEPT_LIMIT_BYTES, |tag| {
            match tag
                .split(|byte| byte.is_ascii_whitespace() || *byte == b'/')
                .next()
                .unwrap_or_default()
            {
                b"table:table" => tables.push(Noted::default()),
                b"table:table-row" => {
                    repeats = number(tag, "table:number-rows-repeated");
                    is_hidden = matches!(attribute(tag, "table:visibility"), Some("collapse" | "filter"));
                    (of_row, empty, holds_something) = (0, 0, false);
                }
                b"table:table-cell" | b"table:covered-table-cell" => {
                    let columns = number(tag, "table:number-columns-repeated");
                    let is_something = attribute(tag, "office:value-type").is_some()
                        || attribute(tag, "table:formula").is_some();
                    if is_something {
                        of_row = of_row.saturating_add(empty).saturating_add(columns);
                        empty = 0;
                        holds_something = true;
                    } else {
                        empty = empty.saturating_add(columns);
                    }
                }
                // The end of a row.
                b"" if tag == b"/table:table-row" && holds_something => {
                    cells = cells.saturating_add(of_row.saturating_mul(repeats));
                    if cells > CELLS_LIMIT {
                        return Err(Trouble::TooLarge(format!("it has more than {CELLS_LIMIT} cells")));
                    }
                    if let Some(table) = tables.last_mut().filter(|_| is_hidden) {
                        table.hidden_rows += repeats;
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        self.tables = tables;
        Ok(())
    }

    /// Reads a part to its end, and shows each tag without its brackets.
    fn tags(
        &mut self,
        mut part: impl Read,
        limit: u64,
        mut see: impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut tag = Vec::new();
        let (mut in_tag, mut run, mut total) = (false, 0, 0);
        let mut is_too_long = false;
        loop {
            let read = part
                .read(&mut buffer)
                .map_err(|error| self.damaged(error.to_string()))?;
            if read == 0 {
                break;
            }
            total += read as u64;
            self.budget = self.budget.saturating_sub(read as u64);
            if self.budget == 0 || total > limit {
                self.budget = 0;
                return Err(Trouble::TooLarge(
                    "it expands to more than is kept in memory".into(),
                ));
            }
            let mut rest = &buffer[..read];
            while !rest.is_empty() {
                let mark = if in_tag { b'>' } else { b'<' };
                let end = memchr::memchr(mark, rest);
                let before = &rest[..end.unwrap_or(rest.len())];
                run += before.len();
                is_too_long |= run > RUN_LIMIT_BYTES;
                if in_tag && !is_too_long {
                    tag.extend_from_slice(before);
                }
                let Some(end) = end else { break };
                if in_tag {
                    see(&tag)?;
                    tag.clear();
                }
                in_tag = !in_tag;
                run = 0;
                rest = &rest[end + 1..];
            }
        }
        if is_too_long {
            return Err(Trouble::TooLarge(format!(
                "a cell has more than {} MB",
                RUN_LIMIT_BYTES >> 20
            )));
        }
        Ok(())
    }

    fn into_parts(self) -> Parts {
        let noted = |id: &String| {
            let target = self.targets.get(id)?;
            let part = self
                .of_parts
                .iter()
                .find(|(part, _)| part.ends_with(target.as_str()))?;
            Some(part.1.clone())
        };
        let sheets = match self.format {
            Format::Ods => self.tables,
            _ => self.ids.iter().map(|id| noted(id).unwrap_or_default()).collect(),
        };
        Parts {
            format: self.format,
            sheets,
        }
    }
}

/// The name of a tag without what is before its colon; with the slash where it ends an element.
fn local(tag: &[u8]) -> &[u8] {
    let end = tag
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || *byte == b'/')
        .filter(|end| *end > 0);
    let name = &tag[..end.unwrap_or(tag.len())];
    let prefix = memchr::memchr(b':', name).map_or(0, |colon| colon + 1);
    match tag.first() {
        Some(b'/') if prefix > 0 => b"",
        _ => &name[prefix..],
    }
}

/// The attributes of a tag, as they are written.
fn attributes(tag: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = tag;
    std::iter::from_fn(move || {
        let equals = memchr::memchr(b'=', rest)?;
        let name = rest[..equals]
            .rsplit(|byte| byte.is_ascii_whitespace())
            .find(|name| !name.is_empty())?;
        let value = rest[equals + 1..].trim_ascii_start();
        let (quote, value) = value.split_first()?;
        let end = memchr::memchr(*quote, value)?;
        rest = &value[end + 1..];
        Some((
            std::str::from_utf8(name).ok()?,
            std::str::from_utf8(&value[..end]).ok()?,
        ))
    })
}

fn attribute<'t>(tag: &'t [u8], name: &str) -> Option<&'t str> {
    attributes(tag)
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

fn attribute_ending<'t>(tag: &'t [u8], end: &str) -> Option<&'t str> {
    attributes(tag)
        .find(|(found, _)| found.ends_with(end))
        .map(|(_, value)| value)
}

/// An area such as `A2:B4`.
fn area(text: &str) -> Option<Merged> {
    let place = |text: &str| {
        let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
        let column = text[..letters].bytes().take(4).fold(0, |column: u64, letter| {
            column * 26 + u64::from(letter.to_ascii_uppercase() - b'A') + 1
        });
        Some((text[letters..].parse::<u64>().ok()?, column.checked_sub(1)?))
    };
    let (first, last) = text.split_once(':')?;
    let (first, last) = (place(first)?, place(last)?);
    Some(Merged {
        rows: (first.0, last.0),
        columns: (first.1, last.1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_names_and_attributes() {
        for (tag, name) in [
            ("row r=\"1\"", "row"),
            ("x:row r='1'", "row"),
            ("/row", "/row"),
            ("v", "v"),
            ("c r=\"A1\"/", "c"),
            ("t/", "t"),
        ] {
            assert_eq!(local(tag.as_bytes()), name.as_bytes(), "{tag}");
        }
        let tag = b"row r=\"4\" spans=\"1:2\" hidden='1' x = \"y\"";
        assert_eq!(attribute(tag, "hidden"), Some("1"));
        assert_eq!(attribute(tag, "x"), Some("y"));
        assert_eq!(attribute(tag, "idden"), None);
        assert_eq!(
            attribute_ending(b"sheet name=\"a\" r:id=\"rId1\"", ":id"),
            Some("rId1")
        );
    }

    #[test]
    fn areas_are_read() {
        let merged = |rows, columns| Some(Merged { rows, columns });
        assert_eq!(area("A2:B4"), merged((2, 4), (0, 1)));
        assert_eq!(area("AA10:AB11"), merged((10, 11), (26, 27)));
        for text in ["", "A2", "2:3", "A:B", "A0x:B1"] {
            assert_eq!(area(text), None, "{text}");
        }
    }
}

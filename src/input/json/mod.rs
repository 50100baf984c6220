//! JSON: one value a line, or an array of values; mostly objects.
//!
//! Keys are columns, and those of objects in objects are named by their path: `user.email`. An array is no object: its
//! values stand in the column of its key, one after the other, so that two emails are the emails of several people. The
//! columns are numbered as their keys first appear.
//!
//! Of JSON lines each is a row by itself, and one that is no JSON is rejected. Any other text is one document: where it
//! breaks, no later value can be told from it, and the list is refused. Its values are numbered from 1.

mod flat;
mod values;

use crate::input::column::ColumnChoice;
use crate::input::error::ListError;
use crate::input::grid::{GridCells, Portion, Rows};
use crate::input::lines::{Lines, Next};
use crate::input::record::Flaw;
use crate::input::source::Digest;
use crate::input::stream::StreamError;
use flat::{Fault, Paths};
use values::{Values, What};

/// Whether a text is JSON by what it begins with: an object or an array with something in it that JSON has there.
pub(super) fn is_one(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let inside = |open: u8| text.strip_prefix(&[open]).map(<[u8]>::trim_ascii_start);
    let begins = |rest: &[u8], with: &[u8]| rest.first().is_some_and(|first| with.contains(first));
    let in_object = inside(b'{').is_some_and(|rest| begins(rest, b"\"}"));
    let in_array = inside(b'[').is_some_and(|rest| {
        begins(rest, b"\"{[") || (begins(rest, b"]") && rest[1..].trim_ascii().is_empty())
    });
    in_object || in_array
}

/// Opens a list of JSON. A column that is asked for by its path may well be missing from the first rows.
pub(super) fn open(list: &str, lines: Lines, column: &ColumnChoice) -> Result<Box<dyn Rows>, ListError> {
    let source = match has_a_value_a_line(&lines) {
        true => Source::Lines(lines),
        false => Source::Values(Values::new(lines)),
    };
    let mut json = Json {
        list: list.to_owned(),
        source,
        paths: Paths::default(),
        cells: GridCells::default(),
        is_begun: false,
        waiting: None,
    };
    let first = json.read(Portion::default())?;
    // What the first rows show decides where they are all there is.
    if let ColumnChoice::Name(path) = column
        && first.is_full()
    {
        json.paths.column(path);
    }
    json.waiting = Some(first);
    Ok(Box::new(json))
}

/// Whether the first line is a value by itself, or at least ends like nothing that goes on.
fn has_a_value_a_line(lines: &Lines) -> bool {
    let (text, is_whole) = lines.first_chunk();
    let text = text.trim_ascii_start();
    if !text.starts_with(b"{") {
        return false;
    }
    match memchr::memchr2(b'\n', b'\r', text) {
        None => flat::is_value(text) || (!is_whole && !flat::begins_with_value(text)),
        Some(end) => {
            let line = text[..end].trim_ascii_end();
            flat::is_value(line) || !line.last().is_some_and(|last| b"{[,:".contains(last))
        }
    }
}

enum Source {
    Lines(Lines),
    Values(Values),
}

struct Json {
    list: String,
    source: Source,
    paths: Paths,
    cells: GridCells,
    /// Whether the names of the columns were given out.
    is_begun: bool,
    /// The first rows, which were read to learn those names.
    waiting: Option<Portion>,
}

impl Json {
    fn read(&mut self, mut portion: Portion) -> Result<Portion, ListError> {
        portion.clear();
        while !portion.is_full() {
            let is_more = match &mut self.source {
                Source::Lines(lines) => read_line(lines, &mut self.paths, &mut self.cells, &mut portion)
                    .map_err(|error| error.at(self.list.clone(), lines.number()))?,
                Source::Values(values) => {
                    let read = read_value(values, &mut self.paths, &mut self.cells, &mut portion);
                    read.map_err(|what| what.at(&self.list, values.line()))?
                }
            };
            if self.paths.is_beyond() {
                return Err(What::Keys.at(&self.list, self.line()));
            }
            if !is_more {
                break;
            }
        }
        Ok(portion)
    }

    fn line(&self) -> u64 {
        match &self.source {
            Source::Lines(lines) => lines.number(),
            Source::Values(values) => values.line(),
        }
    }
}

/// Reads one line as a row, and says whether there was one.
fn read_line(
    lines: &mut Lines,
    paths: &mut Paths,
    cells: &mut GridCells,
    portion: &mut Portion,
) -> Result<bool, StreamError> {
    if !lines.begin_record()? {
        return Ok(false);
    }
    let number = lines.number();
    match lines.line()? {
        Next::End => return Ok(false),
        Next::TooLong => {
            portion.push_flawed(number, lines.record(), Flaw::RowTooLong);
            lines.pass_line()?;
        }
        Next::Line(line) => {
            let raw = &lines.record()[line.range.clone()];
            match flat::read(raw, paths, cells) {
                Ok(()) => portion.push(number, cells.texts()),
                Err(Fault::Syntax(place)) => portion.push_flawed(number, raw, Flaw::NoJson(place)),
                Err(Fault::RepeatedKey) => portion.push_flawed(number, raw, Flaw::RepeatedKey),
            }
            lines.take(&line);
        }
    }
    Ok(true)
}

/// Reads one value of a document as a row, and says whether there was one.
fn read_value(
    values: &mut Values,
    paths: &mut Paths,
    cells: &mut GridCells,
    portion: &mut Portion,
) -> Result<bool, What> {
    let Some(value) = values.next()? else {
        return Ok(false);
    };
    if value.is_too_long {
        portion.push_flawed(value.number, value.text, Flaw::RowTooLong);
        return Ok(true);
    }
    match flat::read(value.text, paths, cells) {
        Ok(()) => portion.push(value.number, cells.texts()),
        Err(Fault::RepeatedKey) => portion.push_flawed(value.number, value.text, Flaw::RepeatedKey),
        Err(Fault::Syntax(_)) => return Err(What::NoJson(value.number)),
    }
    Ok(true)
}

impl Rows for Json {
    fn next(&mut self, old: Portion) -> Result<Portion, ListError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            let mut names = Portion::default();
            if self.waiting.as_ref().is_some_and(|first| !first.is_empty()) {
                names.push(0, self.paths.names());
            }
            let first = self.waiting.take().unwrap_or_default();
            names.append(first);
            return Ok(names);
        }
        self.read(old)
    }

    fn words(&self) -> Vec<String> {
        let (format, text) = match &self.source {
            Source::Lines(lines) => ("JSON lines", lines.text()),
            Source::Values(values) if values.is_array() => ("JSON array", values.text()),
            Source::Values(values) => ("JSON values", values.text()),
        };
        let packing = text.stream().compression().word();
        let words = [Some(format), packing, text.encoding().word()];
        words.into_iter().flatten().map(str::to_owned).collect()
    }

    fn part(&self, column: usize) -> String {
        self.paths.names().get(column).cloned().unwrap_or_default()
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn late_name(&self, column: usize) -> Option<String> {
        self.paths.names().get(column).cloned()
    }

    fn stored(&self) -> (u64, Option<u64>) {
        match &self.source {
            Source::Lines(lines) => lines.text().stream().stored(),
            Source::Values(values) => values.text().stream().stored(),
        }
    }

    fn digest(self: Box<Self>) -> Result<Digest, ListError> {
        let (line, list) = (self.line(), self.list);
        let text = match self.source {
            Source::Lines(lines) => lines.into_text(),
            Source::Values(values) => values.into_text(),
        };
        text.digest().map_err(|error| error.at(list, line))
    }
}

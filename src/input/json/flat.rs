//! One JSON value as the cells of a row.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::input::grid::{COLUMNS, GridCells};

/// What stands between the values of an array.
const BETWEEN: &str = ", ";
/// The column of values that are in no object.
const NAMELESS: &str = "value";

/// The paths of keys, as columns.
#[derive(Default)]
pub(super) struct Paths {
    columns: HashMap<String, usize>,
    names: Vec<String>,
}

impl Paths {
    /// The column of a path.
    pub(super) fn column(&mut self, path: &str) -> usize {
        if let Some(column) = self.columns.get(path) {
            return *column;
        }
        let column = self.names.len();
        self.columns.insert(path.to_owned(), column);
        self.names.push(path.to_owned());
        column
    }

    /// The paths, in the order of their columns.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether there are more than are told apart.
    pub(super) fn is_beyond(&self) -> bool {
        self.names.len() > COLUMNS
    }
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is no JSON, at this byte of its last line.
    Syntax(usize),
    /// An object has a key twice, and it cannot be known which value counts.
    RepeatedKey,
}

/// Whether a text is one JSON value.
pub(super) fn is_value(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// Whether a text begins with a whole JSON value.
pub(super) fn begins_with_value(text: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    values.next().is_some_and(|value| value.is_ok())
}

/// Reads a value into cells.
pub(super) fn read(text: &[u8], paths: &mut Paths, cells: &mut GridCells) -> Result<(), Fault> {
    cells.clear();
    let mut is_repeated = false;
    let mut path = String::new();
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = Value {
        paths,
        cells,
        path: &mut path,
        is_repeated: &mut is_repeated,
    };
    let read = value.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| Fault::Syntax(error.column()))?;
    if is_repeated {
        Err(Fault::RepeatedKey)
    } else {
        Ok(())
    }
}

struct Value<'a> {
    paths: &'a mut Paths,
    cells: &'a mut GridCells,
    path: &'a mut String,
    is_repeated: &'a mut bool,
}

impl Value<'_> {
    fn inner(&mut self) -> Value<'_> {
        Value {
            paths: self.paths,
            cells: self.cells,
            path: self.path,
            is_repeated: self.is_repeated,
        }
    }

    fn scalar<E>(self, text: impl fmt::Display) -> Result<(), E> {
        use fmt::Write;
        let name = if self.path.is_empty() { NAMELESS } else { self.path };
        let column = self.paths.column(name);
        // Beyond them the list is refused as soon as this row is read.
        if column < COLUMNS {
            let cell = self.cells.cell(column);
            if !cell.is_empty() {
                cell.push_str(BETWEEN);
            }
            let _ = write!(cell, "{text}");
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let length = self.path.len();
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            // An object of nothing but empty keys has the path of what it is in.
            *self.is_repeated |= !keys.insert(key);
            map.next_value_seed(self.inner())?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.scalar(text)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.scalar(number)
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.scalar(number)
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.scalar(number)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str) -> Result<Vec<String>, Fault> {
        let (mut paths, mut cells) = (Paths::default(), GridCells::default());
        read(text.as_bytes(), &mut paths, &mut cells)?;
        let cell = |(name, text): (&String, &String)| format!("{name}={text}");
        Ok(paths.names().iter().zip(cells.texts()).map(cell).collect())
    }

    #[test]
    fn keys_are_columns_by_their_paths() {
        for (text, expected) in [
            (
                r#"{"email":"ann@example.com","id":7}"#,
                vec!["email=ann@example.com", "id=7"],
            ),
            (
                r#"{"user":{"email":"a@b.example","x":{"y":true}}}"#,
                vec!["user.email=a@b.example", "user.x.y=true"],
            ),
            (
                r#"{"to":["a@b.example","c@b.example"],"n":1.5}"#,
                vec!["to=a@b.example, c@b.example", "n=1.5"],
            ),
            (
                r#"{"to":[{"email":"a","n":1},{"email":"b"}]}"#,
                vec!["to.email=a, b", "to.n=1"],
            ),
            (r#""ann@example.com""#, vec!["value=ann@example.com"]),
            (
                r#"{"email":"ann\u0040example.com","none":null}"#,
                vec!["email=ann@example.com"],
            ),
            ("{}", vec![]),
        ] {
            assert_eq!(cells(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn faults_are_told_apart() {
        assert_eq!(cells(r#"{"email":"a","email":"b"}"#), Err(Fault::RepeatedKey));
        assert_eq!(cells(r#"{"u":{"e":1,"e":2}}"#), Err(Fault::RepeatedKey));
        for text in [
            "{\"email\":",
            "{\"email\" 1}",
            "{} {}",
            "nobody",
            "{\"a\":\"\u{1}\"}",
            "",
        ] {
            assert!(matches!(cells(text), Err(Fault::Syntax(_))), "{text}");
        }
        assert!(matches!(cells(&"[".repeat(100_000)), Err(Fault::Syntax(_))));
    }
}

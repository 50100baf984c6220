//! Which column holds the emails, and whether the first row names the columns or is one of the rows.
//!
//! The rule that no row may be lost decides every doubt: a first row that holds an `@` where the email would
//! be is data, to be taken or rejected like any other. Only what cannot be an email is a header.

use std::str::FromStr;

use super::error::ListError;
use super::record::Record;
use super::row::{decode, printable};
use crate::model::email::Email;

/// How many columns, and how much of each name, an error shows.
const SHOWN_COLUMNS: usize = 20;
const SHOWN_CHARACTERS: usize = 40;

/// Names of an email column, normalised; longer ones may end with them.
const NAMES: [&str; 4] = ["email", "emailaddress", "mail", "mailaddress"];

/// How the column with the emails is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ColumnChoice {
    /// By the header, or by the only email of the first row.
    #[default]
    Auto,
    /// By a name in the header.
    Name(String),
    /// By its number, counted from 1.
    Number(usize),
}

impl FromStr for ColumnChoice {
    type Err = InvalidColumnChoice;

    /// Digits alone are a number, anything else is a name.
    fn from_str(text: &str) -> Result<Self, InvalidColumnChoice> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidColumnChoice);
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(ColumnChoice::Name(text.to_string()));
        }
        match text.parse() {
            Ok(0) | Err(_) => Err(InvalidColumnChoice),
            Ok(number) => Ok(ColumnChoice::Number(number)),
        }
    }
}

/// The text chooses no column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a column: expected a name, or a number from 1")]
pub struct InvalidColumnChoice;

/// Where the emails are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// Counted from 0.
    pub(super) index: usize,
    pub(super) has_header: bool,
    /// The header's cell, where there is a header.
    pub(super) name: Option<String>,
}

/// Finds the column from the first row.
pub(super) fn find(list: &str, first: Record<'_>, choice: &ColumnChoice) -> Result<Column, ListError> {
    let row = FirstRow {
        list,
        cells: first.cells().map(decode).collect(),
    };
    match choice {
        ColumnChoice::Auto => row.by_itself(),
        ColumnChoice::Name(name) => row.by_name(name),
        ColumnChoice::Number(number) => row.by_number(*number),
    }
}

struct FirstRow<'a> {
    list: &'a str,
    cells: Vec<String>,
}

impl FirstRow<'_> {
    fn by_itself(&self) -> Result<Column, ListError> {
        // Before any name, since a row that holds an email is no header, whatever its other cells say.
        let emails = self.which(|cell| Email::parse(cell).is_ok());
        if !emails.is_empty() {
            return Ok(self.data(self.only(&emails)?));
        }
        if let [cell] = &self.cells[..] {
            return Ok(if cell.contains('@') {
                self.data(0)
            } else {
                self.header(0)
            });
        }
        let is_name = |cell: &str| !cell.contains('@') && NAMES.contains(&normalised(cell).as_str());
        let ends_with_name =
            |cell: &str| !cell.contains('@') && NAMES.iter().any(|name| normalised(cell).ends_with(name));
        for candidates in [self.which(is_name), self.which(ends_with_name)] {
            if !candidates.is_empty() {
                return Ok(self.header(self.only(&candidates)?));
            }
        }
        Err(ListError::NoEmailColumn {
            list: self.list.to_string(),
            columns: self.all_shown(),
        })
    }

    fn by_name(&self, name: &str) -> Result<Column, ListError> {
        let exact = self.which(|cell| cell.trim() == name);
        let similar = self.which(|cell| normalised(cell) == normalised(name));
        let candidates = if exact.is_empty() { similar } else { exact };
        if candidates.is_empty() {
            return Err(self.not_found(format!("\"{}\"", printable(name, SHOWN_CHARACTERS))));
        }
        Ok(self.header(self.only(&candidates)?))
    }

    fn by_number(&self, number: usize) -> Result<Column, ListError> {
        let index = number.wrapping_sub(1);
        match self.cells.get(index) {
            None => Err(self.not_found(number.to_string())),
            // An empty cell names no column, and as a row it costs one reject.
            Some(cell) if cell.contains('@') || cell.trim().is_empty() => Ok(self.data(index)),
            Some(_) => Ok(self.header(index)),
        }
    }

    fn which(&self, matches: impl Fn(&str) -> bool) -> Vec<usize> {
        (0..self.cells.len())
            .filter(|&index| matches(&self.cells[index]))
            .collect()
    }

    fn only(&self, candidates: &[usize]) -> Result<usize, ListError> {
        match candidates {
            [index] => Ok(*index),
            _ => Err(ListError::AmbiguousColumn {
                list: self.list.to_string(),
                columns: self.shown(candidates),
            }),
        }
    }

    fn header(&self, index: usize) -> Column {
        let name = printable(self.cells[index].trim(), SHOWN_CHARACTERS);
        Column {
            index,
            has_header: true,
            name: Some(name),
        }
    }

    fn data(&self, index: usize) -> Column {
        Column {
            index,
            has_header: false,
            name: None,
        }
    }

    fn not_found(&self, wanted: String) -> ListError {
        ListError::ColumnNotFound {
            list: self.list.to_string(),
            wanted,
            columns: self.all_shown(),
        }
    }

    fn all_shown(&self) -> Vec<String> {
        let all: Vec<usize> = (0..self.cells.len()).collect();
        self.shown(&all)
    }

    /// Columns by number and name. The first row may be data, so that a cell with an `@` is not shown.
    fn shown(&self, indexes: &[usize]) -> Vec<String> {
        let mut shown: Vec<String> = indexes
            .iter()
            .take(SHOWN_COLUMNS)
            .map(|&index| self.show(index))
            .collect();
        if indexes.len() > SHOWN_COLUMNS {
            shown.push(format!("and {} more", indexes.len() - SHOWN_COLUMNS));
        }
        shown
    }

    fn show(&self, index: usize) -> String {
        let cell = self.cells[index].trim();
        let number = index + 1;
        if cell.contains('@') {
            format!("{number} (holds an @)")
        } else if cell.is_empty() {
            format!("{number} (empty)")
        } else {
            format!("{number} \"{}\"", printable(cell, SHOWN_CHARACTERS))
        }
    }
}

/// A name without what spellings differ in: case, spaces, `_`, `-` and `.`.
fn normalised(name: &str) -> String {
    let kept = |&character: &char| !character.is_whitespace() && !matches!(character, '_' | '-' | '.');
    name.chars().filter(kept).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> FirstRow<'_> {
        FirstRow {
            list: "list.csv",
            cells: text.split(',').map(str::to_string).collect(),
        }
    }

    fn found(column: Result<Column, ListError>) -> (usize, bool) {
        let column = column.unwrap();
        (column.index, column.has_header)
    }

    #[test]
    fn a_header_names_the_column_in_many_spellings() {
        for (header, index) in [
            ("name,email", 1),
            ("E-Mail Address,name", 0),
            ("id,Customer Email,email_opt_in", 1),
            ("id,Work E_Mail,email", 2),
            ("id,MAIL", 1),
        ] {
            assert_eq!(found(row(header).by_itself()), (index, true), "{header}");
        }
    }

    #[test]
    fn a_row_with_an_email_is_data() {
        assert_eq!(found(row("Ann,ann@example.com").by_itself()), (1, false));
        assert_eq!(found(row("ann@example.com,by mail").by_itself()), (0, false));
    }

    #[test]
    fn a_single_column_never_loses_a_row() {
        assert_eq!(found(row("ann@example").by_itself()), (0, false));
        assert_eq!(found(row("customers").by_itself()), (0, true));
        assert_eq!(found(row("ann@example.com").by_itself()), (0, false));
    }

    #[test]
    fn doubt_is_an_error_that_names_the_columns_and_no_email() {
        let error = row("home email,work email,x").by_itself().unwrap_err();
        assert_eq!(
            error.to_string(),
            "list.csv: more than one email column: 1 \"home email\", 2 \"work email\""
        );
        let error = row("id,email_opt_in,bob@nowhere,").by_itself().unwrap_err();
        assert_eq!(
            error.to_string(),
            "list.csv: no email column, the first row has: 1 \"id\", 2 \"email_opt_in\", 3 (holds an @), 4 (empty)"
        );
        assert!(error.hint().contains("--column"));
        assert!(matches!(
            row("a@example.com,b@example.com").by_itself(),
            Err(ListError::AmbiguousColumn { .. })
        ));
    }

    #[test]
    fn a_chosen_column_must_exist() {
        assert_eq!(found(row("Login,login,id").by_name("login")), (1, true));
        assert_eq!(found(row("id,User Login").by_name("user_login")), (1, true));
        assert!(matches!(
            row("id,name").by_name("email"),
            Err(ListError::ColumnNotFound { .. })
        ));
        assert!(matches!(
            row("Login,LOGIN").by_name("login"),
            Err(ListError::AmbiguousColumn { .. })
        ));
        assert!(matches!(
            row("id,name").by_number(3),
            Err(ListError::ColumnNotFound { .. })
        ));
        assert_eq!(found(row("id,name").by_number(2)), (1, true));
        assert_eq!(found(row("1,ann@example.com").by_number(2)), (1, false));
        assert_eq!(found(row("1,ann@example").by_number(2)), (1, false));
        assert_eq!(found(row("1,").by_number(2)), (1, false));
    }

    #[test]
    fn digits_choose_by_number() {
        assert_eq!("2".parse(), Ok(ColumnChoice::Number(2)));
        assert_eq!(
            " Work Email ".parse(),
            Ok(ColumnChoice::Name("Work Email".into()))
        );
        assert_eq!("0".parse::<ColumnChoice>(), Err(InvalidColumnChoice));
        assert_eq!("".parse::<ColumnChoice>(), Err(InvalidColumnChoice));
    }
}

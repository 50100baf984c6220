//! Which column holds the emails. Name *and* content decide, and a column is taken only if it is the one that can be
//! meant.
//!
//! Of the columns that hold emails in the first rows, the one with the best name is meant ([`names::rank`]), and of
//! those of one rank the one with the most. It is refused, with all that could be meant shown, where
//!
//! - another column holds an email that is not the same row's, unless the taken one is named for emails and holds them
//!   in half of the rows at least, and the other one in less than one of twenty;
//! - another column is named for emails, the taken one is not, and that other one is not empty; or the taken one is
//!   named for the emails of others.
//!
//! So an empty column is no competition, and neither is one that repeats the emails as they were written. The first rule
//! is applied to the whole list once it is read, too: what the first rows do not show is refused at the end. Where the
//! first rows hold no email at all the name alone decides, and it must be the only one. A header in an unknown language
//! is no reason to refuse. Who names a column by `--column` is believed.

use std::str::FromStr;

use super::candidate::Candidate;
use super::error::ListError;
use super::header::{self, HeaderChoice};
use super::names::{self, Rank};
use super::row::printable;
use super::sample::{Sample, is_email};
use crate::model::email::Email;
use crate::model::guard::unguarded;

/// How much of a name an error shows.
const SHOWN_CHARACTERS: usize = 40;

/// How the column with the emails is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ColumnChoice {
    /// By name and content.
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
    /// Whether it was found here, and not chosen by a person.
    pub(super) is_found: bool,
    /// Whether its name says that it holds emails.
    pub(super) is_named: bool,
    /// What all columns are called, for an error that comes later.
    pub(super) names: Vec<String>,
}

/// Whether a column with emails that are not the taken column's leaves a doubt about which is meant.
pub(super) fn competes(others: u64, own: u64, rows: u64, is_named: bool) -> bool {
    others > 0 && !(is_named && own * 2 >= rows && others * 20 < rows)
}

/// Finds the column. `first` is the first row; the sample begins with it, unless it is empty.
pub(super) fn find(
    list: &str,
    first: Vec<String>,
    sample: &Sample,
    column: &ColumnChoice,
    header: HeaderChoice,
) -> Result<Column, ListError> {
    let first_is_data = first.iter().any(|cell| is_email(cell));
    let can_be_header = match header {
        HeaderChoice::Auto => !first_is_data,
        HeaderChoice::Yes => true,
        HeaderChoice::No => false,
    };
    let rest = sample.rows.get(1..).unwrap_or_default();
    let rows = if can_be_header || sample.rows.is_empty() {
        rest
    } else {
        &sample.rows
    };
    let finder = Finder {
        list,
        first,
        rest,
        rows,
        header,
        can_be_header,
    };
    match column {
        ColumnChoice::Auto => finder.by_itself(),
        ColumnChoice::Name(name) => finder.by_name(name),
        ColumnChoice::Number(number) => finder.by_number(*number),
    }
}

struct Finder<'a> {
    list: &'a str,
    first: Vec<String>,
    /// The rows behind the first.
    rest: &'a [Vec<String>],
    /// The rows that hold emails, if any does.
    rows: &'a [Vec<String>],
    header: HeaderChoice,
    /// Whether the first row may name the columns.
    can_be_header: bool,
}

impl Finder<'_> {
    fn by_itself(&self) -> Result<Column, ListError> {
        let columns = self
            .rows
            .iter()
            .map(Vec::len)
            .max()
            .unwrap_or(0)
            .max(self.first.len());
        let holders: Vec<usize> = (0..columns).filter(|column| self.emails(*column) > 0).collect();
        if holders.is_empty() {
            return self.by_its_name_alone();
        }
        let best = |column: &&usize| (self.rank(**column), self.emails(**column), columns - **column);
        let taken = *holders.iter().max_by_key(best).unwrap_or(&0);
        let rank = self.rank(taken);
        let is_named = rank >= Rank::Emails;
        let rows = self.rows.len() as u64;
        let is_rival =
            |other: &usize| competes(self.differing(taken, *other), self.emails(taken), rows, is_named);
        let is_better_named = |other: &usize| {
            let is_empty = self.rows.iter().all(|row| cell(row, *other).trim().is_empty());
            self.rank(*other) >= Rank::Emails && !is_named && (!is_empty || rank == Rank::Others)
        };
        let doubtful = |other: &usize| *other != taken && (is_rival(other) || is_better_named(other));
        let mut candidates: Vec<usize> = (0..columns).filter(doubtful).collect();
        if candidates.is_empty() {
            return Ok(self.column(taken, true));
        }
        candidates.push(taken);
        candidates.sort_unstable();
        Err(self.ambiguous(&candidates))
    }

    /// Where no row holds an email, and where a list has one column.
    fn by_its_name_alone(&self) -> Result<Column, ListError> {
        if self.first.len() == 1 {
            return Ok(self.column(0, true));
        }
        for rank in [Rank::Plain, Rank::Emails, Rank::Others] {
            let named: Vec<usize> = (0..self.first.len())
                .filter(|column| self.rank(*column) == rank)
                .collect();
            match named[..] {
                [] => {}
                [column] => return Ok(self.column(column, true)),
                _ => return Err(self.ambiguous(&named)),
            }
        }
        Err(ListError::NoEmailColumn {
            list: self.list.to_string(),
            columns: self.candidates(&self.all()),
        })
    }

    fn by_name(&self, name: &str) -> Result<Column, ListError> {
        if self.header == HeaderChoice::No {
            return Err(ListError::NameWithoutHeader {
                list: self.list.to_string(),
                name: printable(name, SHOWN_CHARACTERS),
                columns: self.holders(),
            });
        }
        // A cell that is an email names nothing, whatever is asked for.
        let which = |fits: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let names = |column: &usize| !is_email(&self.first[*column]) && fits(&self.first[*column]);
            (0..self.first.len()).filter(names).collect()
        };
        let exact = which(&|cell| cell.trim() == name);
        let similar = which(&|cell| names::joined(cell) == names::joined(name));
        let candidates = if exact.is_empty() { similar } else { exact };
        match candidates[..] {
            [] => Err(self.not_found(format!("\"{}\"", printable(name, SHOWN_CHARACTERS)))),
            [column] => Ok(Column {
                has_header: true,
                ..self.named_column(column)
            }),
            _ => Err(self.ambiguous(&candidates)),
        }
    }

    fn by_number(&self, number: usize) -> Result<Column, ListError> {
        let index = number.wrapping_sub(1);
        let is_there = self.rows.iter().chain([&self.first]).any(|row| index < row.len());
        if is_there {
            Ok(self.column(index, false))
        } else {
            Err(self.not_found(number.to_string()))
        }
    }

    fn column(&self, index: usize, is_found: bool) -> Column {
        let has_header = match self.header {
            HeaderChoice::Auto => header::is_header(&self.first, self.rest, index),
            HeaderChoice::Yes => true,
            HeaderChoice::No => false,
        };
        let column = self.named_column(index);
        Column {
            has_header,
            is_found,
            is_named: has_header && column.is_named,
            name: column.name.filter(|_| has_header),
            ..column
        }
    }

    fn named_column(&self, index: usize) -> Column {
        let name = |cell: &String| printable(cell.trim(), SHOWN_CHARACTERS);
        Column {
            index,
            has_header: true,
            name: self.first.get(index).map(name),
            is_found: false,
            is_named: self.rank(index) >= Rank::Emails,
            names: match self.can_be_header {
                true => self.first.iter().map(name).collect(),
                false => Vec::new(),
            },
        }
    }

    fn rank(&self, column: usize) -> Rank {
        match self.first.get(column) {
            Some(cell) if self.can_be_header && !cell.contains('@') => names::rank(cell),
            _ => Rank::Unknown,
        }
    }

    /// How many rows hold an email in this column.
    fn emails(&self, column: usize) -> u64 {
        self.rows.iter().filter(|row| is_email(cell(row, column))).count() as u64
    }

    /// How many rows hold an email in the other column that is not the one in the taken column.
    fn differing(&self, taken: usize, other: usize) -> u64 {
        let differs = |row: &&Vec<String>| match parsed(row, other) {
            None => false,
            email => email != parsed(row, taken),
        };
        self.rows.iter().filter(differs).count() as u64
    }

    fn all(&self) -> Vec<usize> {
        (0..self.first.len()).collect()
    }

    /// The columns that hold emails, for a hint.
    fn holders(&self) -> Vec<Candidate> {
        let holders: Vec<usize> = self
            .all()
            .into_iter()
            .filter(|column| self.emails(*column) > 0)
            .collect();
        self.candidates(&holders)
    }

    fn candidates(&self, columns: &[usize]) -> Vec<Candidate> {
        let candidate = |&index: &usize| Candidate {
            number: index + 1,
            name: self.first.get(index).filter(|_| self.can_be_header).map(|name| {
                if name.contains('@') {
                    "holds an @".to_owned()
                } else {
                    printable(name.trim(), SHOWN_CHARACTERS)
                }
            }),
            emails: self.emails(index),
            rows: self.rows.len() as u64,
            example: self.rows.iter().find_map(|row| parsed(row, index)),
        };
        columns.iter().map(candidate).collect()
    }

    fn ambiguous(&self, columns: &[usize]) -> ListError {
        ListError::AmbiguousColumn {
            list: self.list.to_string(),
            columns: self.candidates(columns),
        }
    }

    fn not_found(&self, wanted: String) -> ListError {
        ListError::ColumnNotFound {
            list: self.list.to_string(),
            wanted,
            columns: self.candidates(&self.all()),
        }
    }
}

fn cell(row: &[String], column: usize) -> &str {
    row.get(column).map_or("", String::as_str)
}

fn parsed(row: &[String], column: usize) -> Option<Email> {
    let cell = cell(row, column);
    cell.contains('@')
        .then(|| Email::in_cell(unguarded(cell)).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(text: &str, column: &ColumnChoice, header: HeaderChoice) -> Result<Column, ListError> {
        let rows: Vec<Vec<String>> = text
            .split(';')
            .map(|row| row.split(',').map(str::to_string).collect())
            .collect();
        find("list.csv", rows[0].clone(), &Sample { rows }, column, header)
    }

    fn by_itself(text: &str) -> Result<Column, ListError> {
        find_in(text, &ColumnChoice::Auto, HeaderChoice::Auto)
    }

    fn found(column: Result<Column, ListError>) -> (usize, bool) {
        let column = column.unwrap();
        (column.index, column.has_header)
    }

    #[test]
    fn name_and_content_decide_together() {
        for (text, index) in [
            ("name,email;Ann,ann@example.com", 1),
            ("E-Mail Address,name;ann@example.com,Ann", 0),
            ("id,Customer Email,email_opt_in;1,ann@example.com,yes", 1),
            ("id,Email Hash,Email;1,3f2a,ann@example.com", 2),
            ("email,email 2;ann@example.com,;bob@example.com,", 0),
            ("email,written;ann@example.com, Ann@example.com", 0),
            ("Zorb,Quux;Ann,ann@example.com", 1),
            ("Kontakt,E-Mail;ann@example.com,", 0),
            ("氏名,メールアドレス;Ann,ann@example.com", 1),
            ("Ann,ann@example.com;Bob,bob@example.com", 1),
            ("name,email,note;Ann,ann@example.com,see bob@example.com", 1),
        ] {
            assert_eq!(by_itself(text).unwrap().index, index, "{text}");
        }
    }

    #[test]
    fn what_could_be_meant_as_well_is_refused() {
        for text in [
            "Email Address [Required],Recovery Email;ann@example.com,ann@example.org",
            "Name,Email 1,Assistant Email;Ann,ann@example.com,boss@example.com",
            "Name,E-Mail-Adresse,Alternative E-Mail;Ann,ann@example.com,a@example.org",
            "Email 1,Email 2;ann@example.com,a@example.org",
            "ann@example.com,Ann,boss@example.com",
            // The only emails are those of assistants, or under a name that says nothing.
            "Email,Assistant Email;,boss@example.com",
            "Email,Referrer;ann at example.com,boss@example.com",
            "home email,work email,x;,,1",
        ] {
            let error = by_itself(text).unwrap_err();
            assert!(
                matches!(error, ListError::AmbiguousColumn { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn few_emails_besides_are_no_competition_for_a_full_column_with_its_name() {
        let rows = |others: usize, name: &str| {
            let mut text = format!("{name},Referrer");
            for row in 0..100 {
                let other = if row < others {
                    format!("r{row}@example.com")
                } else {
                    String::new()
                };
                text += &format!(";p{row}@example.com,{other}");
            }
            by_itself(&text)
        };
        assert_eq!(found(rows(4, "Email")), (0, true));
        assert!(rows(5, "Email").is_err());
        assert!(rows(1, "Kontakt").is_err());
    }

    #[test]
    fn a_row_with_an_email_is_data() {
        assert_eq!(found(by_itself("Ann,ann@example.com")), (1, false));
        assert_eq!(found(by_itself("ann@example.com,by mail")), (0, false));
        assert_eq!(found(by_itself("Ann,n/a;Bob,bob@example.com")), (1, false));
    }

    #[test]
    fn a_single_column_never_loses_a_row() {
        assert_eq!(found(by_itself("ann@example;bob@example.com")), (0, false));
        assert_eq!(found(by_itself("customers;bob@example.com")), (0, true));
        for first in ["Ann Lee", "ann.at.example.com", "4711", "ann@example.com"] {
            assert_eq!(
                found(by_itself(&format!("{first};bob@example.com"))),
                (0, false),
                "{first}"
            );
        }
    }

    #[test]
    fn doubt_is_an_error_that_shows_the_columns_and_no_email() {
        let error =
            by_itself("home email,work email,x;ann@example.com,bob.lee@mail.example.org,1").unwrap_err();
        assert_eq!(
            error.to_string(),
            "list.csv: more than one email column: 1 \"home email\", 2 \"work email\""
        );
        assert_eq!(
            error.hints(),
            [
                "say which one is meant",
                "--column 1: \"home email\", 100 % emails, such as a…@e….com",
                "--column 2: \"work email\", 100 % emails, such as b…@m….org",
            ]
        );
        let error = by_itself("id,email_opt_in,bob@nowhere,;1,yes,bob,").unwrap_err();
        assert_eq!(
            error.to_string(),
            "list.csv: no email column, the first row has: 1 \"id\", 2 \"email_opt_in\", 3 (holds an @), 4 (empty)"
        );
        assert!(error.hint().contains("--column"));
    }

    #[test]
    fn a_chosen_column_must_exist() {
        let by_name = |text, name: &str| find_in(text, &ColumnChoice::Name(name.into()), HeaderChoice::Auto);
        let by_number = |text, number| find_in(text, &ColumnChoice::Number(number), HeaderChoice::Auto);
        assert_eq!(found(by_name("Login,login,id;a,b,1", "login")), (1, true));
        assert_eq!(found(by_name("id,User Login;1,a", "user_login")), (1, true));
        let error = by_name("id,name;1,ann@example.com", "email").unwrap_err();
        assert!(error.hint().contains("--column 2"), "{}", error.hint());
        assert!(matches!(
            by_name("Login,LOGIN;a,b", "login"),
            Err(ListError::AmbiguousColumn { .. })
        ));
        assert!(matches!(
            by_name("ann@example.com,Ann", "ann@example.com"),
            Err(ListError::ColumnNotFound { .. })
        ));
        assert!(matches!(
            by_number("id,name;1,a", 3),
            Err(ListError::ColumnNotFound { .. })
        ));
        assert_eq!(found(by_number("id,name;1,a", 2)), (1, true));
        assert_eq!(found(by_number("1,ann@example.com", 2)), (1, false));
        assert_eq!(found(by_number("Ann,n/a;Bob,bob@example.com", 2)), (1, false));
        assert_eq!(found(by_number("1,ann@example", 2)), (1, false));
        assert_eq!(found(by_number("1,", 2)), (1, false));
    }

    #[test]
    fn what_is_said_of_the_first_row_is_believed() {
        let header = |text, header| found(find_in(text, &ColumnChoice::Auto, header));
        assert_eq!(
            header("Ann,n/a;Bob,bob@example.com", HeaderChoice::Yes),
            (1, true)
        );
        assert_eq!(
            header("a@example.com;bob@example.com", HeaderChoice::Yes),
            (0, true)
        );
        assert_eq!(
            header("name,email;Bob,bob@example.com", HeaderChoice::No),
            (1, false)
        );
        let name = ColumnChoice::Name("email".into());
        let error = find_in("name,email;Bob,bob@example.com", &name, HeaderChoice::No).unwrap_err();
        assert!(matches!(error, ListError::NameWithoutHeader { .. }));
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

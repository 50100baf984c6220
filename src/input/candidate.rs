//! A column as people are shown it, when they have to choose: number, name, how many of its cells are emails, and one of
//! those with little of it left.

use std::fmt;

use crate::model::email::Email;

/// How many columns an error shows.
const SHOWN_COLUMNS: usize = 20;

/// A column that could be meant.
#[derive(Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Counted from 1.
    pub number: usize,
    /// What the first row calls it, where that may be a header.
    pub name: Option<String>,
    /// How many of the rows that were looked at hold an email in it.
    pub emails: u64,
    /// How many rows were looked at.
    pub rows: u64,
    /// One of the emails.
    pub example: Option<Email>,
}

impl Candidate {
    /// Number and name.
    fn called(&self) -> String {
        match self.name.as_deref() {
            None => format!("{}", self.number),
            Some("") => format!("{} (empty)", self.number),
            Some("holds an @") => format!("{} (holds an @)", self.number),
            Some(name) => format!("{} \"{name}\"", self.number),
        }
    }
}

/// What to type for it, and what would be taken. Shows no email.
impl fmt::Display for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = match (self.emails * 100).checked_div(self.rows) {
            Some(0) if self.emails > 0 => "below 1 %".to_owned(),
            None => "0 %".to_owned(),
            Some(share) => format!("{share} %"),
        };
        write!(formatter, "--column {}: ", self.number)?;
        if let Some(name) = self.name.as_deref().filter(|name| !name.is_empty()) {
            write!(formatter, "\"{name}\", ")?;
        }
        write!(formatter, "{share} emails")?;
        if let Some(example) = &self.example {
            write!(formatter, ", such as {}", masked(example))?;
        }
        Ok(())
    }
}

/// Leaves out what may be personal.
impl fmt::Debug for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Candidate({self})")
    }
}

/// A sheet that could be meant.
#[derive(Clone, PartialEq, Eq)]
pub struct SheetCandidate {
    /// Its name, made safe to show.
    pub name: String,
    /// Whether a spreadsheet program hides it.
    pub is_hidden: bool,
    /// How many of its rows hold an email.
    pub emails: u64,
    /// One of the emails.
    pub example: Option<Email>,
}

/// What to type for it, and what would be taken. Shows no email.
impl fmt::Display for SheetCandidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.emails == 1 { "row" } else { "rows" };
        write!(
            formatter,
            "--sheet \"{}\": {} {plural} with emails",
            self.name, self.emails
        )?;
        if let Some(example) = &self.example {
            write!(formatter, ", such as {}", masked(example))?;
        }
        formatter.write_str(if self.is_hidden { " (hidden)" } else { "" })
    }
}

/// Leaves out what may be personal.
impl fmt::Debug for SheetCandidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SheetCandidate({self})")
    }
}

/// Names in quotes, in one line.
pub(super) fn quoted<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(SHOWN_COLUMNS);
    let mut shown: Vec<String> = names
        .take(SHOWN_COLUMNS)
        .map(|name| format!("\"{name}\""))
        .collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// The first letters, and the end: `a…@e….com`.
fn masked(email: &Email) -> String {
    let (local, domain) = email.as_str().rsplit_once('@').unwrap_or_default();
    let first = |text: &str| text.chars().next().unwrap_or('…');
    let end = domain.rsplit('.').next().unwrap_or_default();
    format!("{}…@{}….{end}", first(local), first(domain))
}

/// What to type for each, and what would be taken.
pub(super) fn hints(candidates: &[Candidate]) -> Vec<String> {
    candidates
        .iter()
        .take(SHOWN_COLUMNS)
        .map(Candidate::to_string)
        .collect()
}

/// What columns are called, in one line.
pub(super) fn names(candidates: &[Candidate]) -> String {
    let mut names: Vec<String> = candidates
        .iter()
        .take(SHOWN_COLUMNS)
        .map(Candidate::called)
        .collect();
    if candidates.len() > SHOWN_COLUMNS {
        names.push(format!("and {} more", candidates.len() - SHOWN_COLUMNS));
    }
    names.join(", ")
}

/// Which columns hold emails, and what to type for one, where any does.
pub(super) fn hint(candidates: &[Candidate]) -> Option<String> {
    let best = candidates.iter().max_by_key(|candidate| candidate.emails)?;
    (best.emails > 0).then(|| {
        let holds = if candidates.iter().filter(|candidate| candidate.emails > 0).count() == 1 {
            "one column alone holds emails"
        } else {
            "the most emails are in column"
        };
        format!("{holds}, {best}")
    })
}

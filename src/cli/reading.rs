//! What the command line says about how lists are to be read.

use crate::input::{ColumnChoice, DelimiterChoice, HeaderChoice, Reading};
use clap::{Args, ValueEnum};

/// How lists are read; what is not said is found out.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Lists")]
pub struct ReadingArgs {
    /// The column with the emails: its name or path, or its number from 1
    #[arg(long, value_name = "NAME")]
    pub column: Option<ColumnChoice>,
    /// Whether the first row names the columns: yes, no or auto
    #[arg(long, value_enum, value_name = "WORD", hide_possible_values = true, hide_short_help = true, default_value_t = HeaderArg::Auto)]
    pub header: HeaderArg,
    /// What separates the cells: comma, semicolon, tab, pipe, or the character itself
    #[arg(long, value_name = "WHAT", allow_hyphen_values = true, hide_short_help = true)]
    pub delimiter: Option<DelimiterChoice>,
    /// The sheet of a workbook, by the name on its tab
    #[arg(long, value_name = "NAME")]
    pub sheet: Option<String>,
}

impl ReadingArgs {
    /// What it says about reading a list.
    pub fn reading(&self) -> Reading {
        Reading {
            column: self.column.clone().unwrap_or_default(),
            header: self.header.into(),
            delimiter: self.delimiter,
            sheet: self.sheet.clone(),
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, Default)]
pub enum HeaderArg {
    Yes,
    No,
    #[default]
    Auto,
}

impl From<HeaderArg> for HeaderChoice {
    fn from(arg: HeaderArg) -> Self {
        match arg {
            HeaderArg::Yes => Self::Yes,
            HeaderArg::No => Self::No,
            HeaderArg::Auto => Self::Auto,
        }
    }
}

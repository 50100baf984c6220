//! The apostrophe that keeps a spreadsheet from running a cell as a formula, and its removal.
//!
//! Exports put it in front; lists that are loaded lose it again. A cell that begins with an apostrophe and could be
//! taken for a guarded one gets one more, so that whatever was exported comes back as it was.

/// What a formula begins with; the full-width forms count in some spreadsheets.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// The cell as it is exported, where that differs.
pub fn guarded(cell: &str) -> Option<String> {
    // Nearly every cell is empty, or begins with a letter or a digit.
    let is_plain = cell
        .bytes()
        .next()
        .is_none_or(|first| first.is_ascii_alphanumeric());
    (!is_plain && cell.trim_start_matches('\'').starts_with(FORMULA)).then(|| format!("'{cell}"))
}

/// The cell as it was before it was exported.
pub fn unguarded(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(FORMULA) => rest,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formulas_are_guarded() {
        for cell in [
            "=1+1",
            "+a@example.com",
            "-a@example.com",
            "@SUM(A1)",
            "＝1",
            "\tx",
        ] {
            assert_eq!(guarded(cell), Some(format!("'{cell}")));
        }
        for cell in ["", "ann=b@example.com", "'ann@example.com", "o'neil@example.com"] {
            assert_eq!((guarded(cell), unguarded(cell)), (None, cell));
        }
    }

    proptest! {
        #[test]
        fn what_was_exported_comes_back_as_it_was(cell in "['=+@＋a-]{0,4}[a-z@.]{0,5}") {
            let exported = guarded(&cell).unwrap_or_else(|| cell.clone());
            prop_assert_eq!(unguarded(&exported), cell);
        }
    }
}

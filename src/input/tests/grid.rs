//! Every row of a table comes out once, at its number, as what it is, in whatever it is kept.

use proptest::prelude::*;

use super::{gzip, rows};
use crate::input::ListError;

/// What an email cell may hold, and what is to come of it.
const CELLS: [(&str, &str); 9] = [
    ("Ann@Example.com", "ann@example.com"),
    (" bob@example.com ", "bob@example.com"),
    ("jürgen@example.com", "jürgen@example.com"),
    ("Cy \"C\" <cy@example.com>", "cy@example.com"),
    ("mailto:dan@example.com", "dan@example.com"),
    ("", "empty"),
    ("no\tbody\\", "invalid_email"),
    ("e@example.com, f@example.com", "several_emails"),
    ("{[\"&<", "invalid_email"),
];

fn json(row: &[String]) -> String {
    serde_json::json!({"no": row[0], "who": {"email": row[1]}}).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_row_comes_out_once_at_its_number(
        cells in prop::collection::vec(0..CELLS.len(), 1..60),
        many in prop::sample::select(vec![1, 1, 1, 40]),
        is_packed in any::<bool>(),
    ) {
        let cells = cells.repeat(many);
        let header = vec!["no".to_owned(), "email".to_owned()];
        let table: Vec<Vec<String>> = std::iter::once(header)
            .chain(cells.iter().enumerate().map(|(no, cell)| vec![no.to_string(), CELLS[*cell].0.to_owned()]))
            .collect();
        let expected: Vec<(u64, String)> =
            (1..).zip(&cells).map(|(row, cell)| (row, CELLS[*cell].1.to_owned())).collect();
        let objects: Vec<String> = table[1..].iter().map(|row| json(row)).collect();
        let mut lists = vec![
            ("lines", objects.join("\n").into_bytes(), 0),
            ("array", format!("[{}]", objects.join(" ,\n")).into_bytes(), 0),
            ("values", objects.join(" ").into_bytes(), 0),
        ];
        #[cfg(feature = "sheets")]
        {
            use super::workbooks::{ods, ods_table, table as xml, xlsb, xlsx};
            lists.extend([
                ("xlsx", xlsx(&[("S", &xml(&table))]), 1),
                ("ods", ods(&ods_table("S", &table)), 1),
                ("xlsb", xlsb("S", &table), 1),
            ]);
        }
        for (kind, bytes, headers) in lists {
            let bytes = if is_packed { gzip(&bytes) } else { bytes };
            match rows(&bytes) {
                Ok(found) => {
                    let found: Vec<_> = found.into_iter().map(|(row, what)| (row - headers, what)).collect();
                    prop_assert_eq!(&found, &expected, "{}", kind);
                }
                Err(ListError::NothingUsable { rows, .. }) => {
                    prop_assert_eq!(rows as usize, expected.len(), "{}", kind);
                    prop_assert!(expected.iter().all(|(_, what)| !what.contains('@')), "{}", kind);
                }
                Err(error) => prop_assert!(false, "{kind}: {error}"),
            }
        }
    }
}

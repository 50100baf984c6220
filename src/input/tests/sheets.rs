//! Workbooks as lists.

use super::workbooks::{ods, ods_text, table, text, xlsb, xlsx, zipped};
use super::{gzip, open, open_as, rows, rows_of, short};
use crate::input::*;

/// Rows with what came of them, and the words of rejects.
fn told(bytes: &[u8]) -> Vec<(u64, String)> {
    let mut list = open(bytes).unwrap();
    let mut told = Vec::new();
    while let Some(row) = list.next_row().unwrap() {
        let what = match &row.content {
            RowContent::Reject { detail, .. } => format!("{}: {detail}", short(&row.content)),
            content => short(content),
        };
        told.push((row.line, what));
    }
    told
}

#[track_caller]
fn check(bytes: &[u8], expected: &[(u64, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(line, what)| (*line, (*what).to_owned()))
        .collect();
    assert_eq!(told(bytes), expected);
}

#[test]
fn a_sheet_is_a_list_with_its_own_row_numbers() {
    let sheet = format!(
        r#"<sheetData><row r="3">{}{}</row><row r="4">{}{}</row><row r="5"/><row r="7" hidden="1">{}{}</row><row r="9">{}<c r="C9"/></row><row r="10"><c r="A10"><v>7</v></c></row></sheetData>"#,
        text("A3", "Name"),
        text("C3", "E-Mail"),
        text("A4", "Ann"),
        text("C4", "Ann@example.com"),
        text("C7", "bob@example.com"),
        text("D7", "a note beyond the header"),
        text("A9", "Cy"),
    );
    let bytes = xlsx(&[("People", &sheet)]);
    let list = open(&bytes).unwrap();
    assert_eq!(
        *list.layout(),
        Layout {
            format: "XLSX, sheet \"People\", 1 of its rows hidden and read like the others".into(),
            has_header: true,
            column: 3,
            column_name: Some("E-Mail".into()),
            columns: 3,
            delimiter: None,
            part: "People".into(),
        }
    );
    check(
        &bytes,
        &[
            (4, "ann@example.com"),
            (7, "bob@example.com"),
            (9, "empty: the email cell is empty"),
            (10, "empty: the email cell is empty"),
        ],
    );
    assert_eq!(told(&gzip(&bytes)), told(&bytes));
}

#[test]
fn values_of_every_kind_are_texts() {
    let sheet = format!(
        r##"<sheetData><row r="1">{}</row>
        <row r="2"><c r="A2" s="1"><v>46356</v></c></row>
        <row r="3"><c r="A3" s="1"><v>46356.5</v></c></row>
        <row r="4"><c r="A4"><v>1.5</v></c></row>
        <row r="5"><c r="A5" t="b"><v>1</v></c></row>
        <row r="6"><c r="A6" t="e"><f>NA()</f><v>#N/A</v></c></row>
        <row r="7"><c r="A7" t="str"><f>LOWER("ANN@EXAMPLE.COM")</f><v>ann@example.com</v></c></row>
        <row r="8"><c r="A8"><f>"bob@example.com"</f></c>{}</row></sheetData>"##,
        text("A1", "email"),
        text("B8", "x"),
    );
    let mut list = open(&xlsx(&[("S", &sheet)])).unwrap();
    let mut shown = Vec::new();
    while let Some(row) = list.next_row().unwrap() {
        shown.push(match row.content {
            RowContent::Email { email, .. } => email.as_str().to_owned(),
            RowContent::Reject { excerpt, detail, .. } => format!("{excerpt} ({detail})"),
        });
    }
    assert_eq!(
        shown,
        [
            "2026-11-30 (no @)",
            "2026-11-30 12:00:00 (space inside: U+0020)",
            "1.5 (no @)",
            "true (no @)",
            "#N/A (the error of a formula)",
            "ann@example.com",
            "\\tx (the email cell is empty)",
        ]
    );
}

#[test]
fn merged_cells_are_one_and_it_is_said() {
    let sheet = format!(
        r#"<sheetData><row r="1">{}{}</row><row r="2">{}{}</row><row r="3">{}</row></sheetData><mergeCells count="1"><mergeCell ref="A2:A3"/></mergeCells>"#,
        text("A1", "email"),
        text("B1", "city"),
        text("A2", "ann@example.com"),
        text("B2", "Ulm"),
        text("B3", "Bonn"),
    );
    check(
        &xlsx(&[("S", &sheet)]),
        &[
            (2, "ann@example.com"),
            (
                3,
                "empty: the email cell is merged with one of row 2, and empty itself",
            ),
        ],
    );
}

#[test]
fn the_sheet_with_emails_is_meant_unless_there_are_several() {
    let people = table(&[vec!["email"], vec!["ann@example.com"]]);
    let others = table(&[
        vec!["email"],
        vec!["bob@example.com"],
        vec!["Cy <cy@example.com>"],
    ]);
    let notes = table(&[vec!["made by"], vec!["hand"]]);
    let one = xlsx(&[("Notes", &notes), ("People & more", &people)]);
    assert_eq!(open(&one).unwrap().layout().part, "People & more");
    let two = xlsx(&[("People", &people), ("Notes", &notes), ("Others", &others)]);
    let refused = open(&two).err().unwrap();
    assert_eq!(
        refused.hints(),
        [
            "say which one is meant",
            "--sheet \"People\": 1 row with emails, such as a…@e….com",
            "--sheet \"Others\": 2 rows with emails, such as b…@e….com",
        ]
    );
    let named = |sheet: &str| {
        let reading = Reading {
            sheet: Some(sheet.into()),
            ..Reading::default()
        };
        open_as(&two, &reading)
    };
    assert_eq!(named("others").unwrap().layout().part, "Others");
    assert!(matches!(named("Other"), Err(ListError::SheetNotFound { .. })));
    // A sheet that is named is taken at its word, and says what is wrong with it.
    assert!(matches!(
        named("Notes").and_then(rows_of),
        Err(ListError::NothingUsable { .. })
    ));
    assert!(matches!(
        open(&xlsx(&[("A", &notes), ("B", &notes)])),
        Err(ListError::NoEmailSheet { .. })
    ));
    let many: Vec<(String, &str)> = (0..100)
        .map(|n| (format!("S{n}"), if n == 70 { &*people } else { &*notes }))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, xml)| (name.as_str(), *xml)).collect();
    assert_eq!(open(&xlsx(&many)).unwrap().layout().part, "S70");
}

#[test]
fn open_document_is_a_workbook_like_others() {
    let row = |cells: &str, more: &str| format!("<table:table-row{more}>{cells}</table:table-row>");
    let table = [
        row(&(ods_text("name") + &ods_text("email")), ""),
        row(&(ods_text("Ann") + &ods_text("ann@example.com")), ""),
        row(
            "<table:table-cell table:number-columns-repeated=\"1024\"/>",
            " table:number-rows-repeated=\"3\"",
        ),
        row(
            &(ods_text("Bob") + &ods_text("bob@example.com")),
            " table:visibility=\"collapse\"",
        ),
        row(&ods_text("Cy"), " table:number-rows-repeated=\"2\""),
        row(
            "<table:table-cell table:number-columns-repeated=\"1024\"/>",
            " table:number-rows-repeated=\"1048000\"",
        ),
    ]
    .concat();
    let bytes = ods(&format!(
        "<table:table table:name=\"People\">{table}</table:table>"
    ));
    assert_eq!(
        open(&bytes).unwrap().layout().format,
        "ODS, sheet \"People\", 1 of its rows hidden and read like the others"
    );
    check(
        &bytes,
        &[
            (2, "ann@example.com"),
            (6, "bob@example.com"),
            (7, "empty: the email cell is empty"),
            (8, "empty: the email cell is empty"),
        ],
    );
}

#[test]
fn the_binary_formats_are_workbooks_like_others() {
    let people = [
        vec!["name", "email"],
        vec!["Ann", "Ann@example.com"],
        vec!["Bob", "nobody"],
    ];
    let bytes = xlsb("People", &people);
    assert_eq!(open(&bytes).unwrap().layout().format, "XLSB, sheet \"People\"");
    check(&bytes, &[(2, "ann@example.com"), (3, "invalid_email: no @")]);
    // Written by xlwt: a sheet of notes, and one with a date, a gap, merged cells and a hidden row.
    let bytes = include_bytes!("../../../tests/data/people.xls");
    assert_eq!(
        open(bytes).unwrap().layout().format,
        "XLS, sheet \"People\", 1 of its rows hidden and read like the others"
    );
    check(
        bytes,
        &[
            (2, "ann@example.com"),
            (3, "invalid_email: no @"),
            (5, "cy@example.com"),
            (
                6,
                "empty: the email cell is merged with one of row 5, and empty itself",
            ),
            (7, "dan@example.com"),
        ],
    );
    for cut in [600, bytes.len() / 2, bytes.len() - 1_000] {
        assert!(open(&bytes[..cut]).and_then(rows_of).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_workbook_that_is_cut_or_changed_is_refused() {
    let rows: Vec<Vec<String>> = (0..2_000)
        .map(|n| vec![format!("p{}@example.com", n * 7_919 % 50_021)])
        .collect();
    let whole = xlsx(&[("S", &table(&rows))]);
    for cut in [4, 100, whole.len() / 2, whole.len() - 1] {
        let refused = open(&whole[..cut]).err().unwrap();
        assert!(
            matches!(refused, ListError::Damaged { .. } | ListError::Binary { .. }),
            "{cut}: {refused}"
        );
    }
    let mut changed = 0;
    for place in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x20;
        match open(&bytes).and_then(rows_of) {
            Ok(found) => assert_eq!(found.len(), 2_000, "changed at {place}"),
            Err(error) => {
                changed += 1;
                assert!(!error.to_string().is_empty() && !error.hint().is_empty());
            }
        }
    }
    assert!(changed > 10, "a changed byte is noticed: {changed}");
}

#[test]
fn what_expands_without_end_is_refused() {
    let blanks = " ".repeat(40_000_000);
    let bomb = xlsx(&[("S", &format!("<sheetData>{blanks}</sheetData>"))]);
    assert!(matches!(open(&bomb), Err(ListError::TooLarge { .. })));
    // A few letters stand for more cells than there are.
    let cell = r#"<table:table-cell office:value-type="string" table:number-columns-repeated="16384"><text:p>x</text:p></table:table-cell>"#;
    let table = format!(
        "<table:table table:name=\"S\"><table:table-row table:number-rows-repeated=\"1048576\">{cell}</table:table-row></table:table>"
    );
    assert!(matches!(open(&ods(&table)), Err(ListError::TooLarge { .. })));
    // Room is asked for strings that are not there.
    let strings = r#"<sst uniqueCount="99999999999"><si><t>x</t></si></sst>"#;
    let lying = zipped(&[
        ("xl/workbook.xml", "<workbook><sheets/></workbook>"),
        ("xl/sharedStrings.xml", strings),
    ]);
    assert!(matches!(open(&lying), Err(ListError::Damaged { .. })));
}

#[test]
fn rows_out_of_order_are_refused() {
    let sheet = format!(
        "<sheetData><row r=\"2\">{}</row><row r=\"1\">{}</row></sheetData>",
        text("A2", "ann@example.com"),
        text("A1", "email")
    );
    assert!(matches!(
        rows(&xlsx(&[("S", &sheet)])),
        Err(ListError::Damaged { .. })
    ));
}

#[test]
fn what_is_protected_is_named() {
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let ole = [
        &b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"[..],
        &[0; 600],
        &name,
        &[0; 600],
    ]
    .concat();
    assert!(matches!(open(&ole), Err(ListError::Protected { .. })));
    let manifest = r#"<manifest:manifest><manifest:file-entry><manifest:encryption-data/></manifest:file-entry></manifest:manifest>"#;
    let ods = zipped(&[
        ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
        ("META-INF/manifest.xml", manifest),
        ("content.xml", "no XML, since it is encrypted"),
    ]);
    assert!(matches!(open(&ods), Err(ListError::Protected { .. })));
}

#[test]
fn other_archives_keep_their_names() {
    for (files, words) in [
        (&[("word/document.xml", "<x/>")][..], "Word document"),
        (&[("Index/Document.iwa", "x")], "Numbers"),
        (&[("list.csv", "email\nann@example.com\n")], "zip archive"),
    ] {
        let refused = open(&zipped(files)).err().unwrap().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    let ole = [&b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"[..], &[0; 600]].concat();
    assert!(open(&ole).err().unwrap().to_string().contains("Outlook message"));
}

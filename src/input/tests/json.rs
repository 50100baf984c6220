//! JSON as a list.

use std::fmt::Write as _;

use super::{gzip, open, open_as, open_at, rows, rows_of};
use crate::input::*;

#[track_caller]
fn check(text: &str, format: &str, expected: &[(u64, &str)]) {
    assert_eq!(open(text.as_bytes()).unwrap().layout().format, format, "{text}");
    let expected: Vec<_> = expected
        .iter()
        .map(|(line, what)| (*line, (*what).to_owned()))
        .collect();
    assert_eq!(rows(text.as_bytes()).unwrap(), expected, "{text}");
}

const THREE: [(u64, &str); 3] = [(1, "ann@example.com"), (2, "empty"), (3, "bob@example.com")];

#[test]
fn the_same_objects_are_the_same_rows_in_every_shape() {
    let objects = [
        r#"{"id": 7, "email": "Ann@example.com"}"#,
        r#"{"id": 8, "email": null, "more": [1, {"x": "[{,"}]}"#,
        r#"{"email": "bob@example.com", "id": 9}"#,
    ];
    check(&objects.join("\n"), "JSON lines", &THREE);
    check(&(objects.join("\r\n") + "\r\n"), "JSON lines", &THREE);
    check(&format!("[{}]", objects.join(",")), "JSON array", &THREE);
    check(
        &format!("\n[\n  {}\n]\n", objects.join(",\n  ")),
        "JSON array",
        &THREE,
    );
    // As jq writes them for people.
    let pretty = objects
        .join("\n")
        .replace("{\"", "{\n  \"")
        .replace(", ", ",\n  ");
    check(&pretty, "JSON values", &THREE);
    check(&objects.join(" "), "JSON values", &THREE);
    check(
        r#"["ann@example.com", null, "bob@example.com"]"#,
        "JSON array",
        &THREE,
    );
}

#[test]
fn a_column_is_a_path() {
    let text = br#"{"user":{"email":"ann@example.com"},"boss":{"email":"boss@example.org"}}"#;
    assert!(matches!(open(text), Err(ListError::AmbiguousColumn { .. })));
    let layout = |choice: &str| {
        let mut list = open_at(text, &choice.parse().unwrap())?;
        let row = list.next_row()?.map(|row| super::short(&row.content));
        Ok((
            list.layout().column,
            list.layout().part.clone(),
            row.unwrap_or_default(),
        ))
    };
    let ann = || (1, "user.email".to_owned(), "ann@example.com".to_owned());
    assert_eq!(layout("user.email").unwrap(), ann());
    assert_eq!(layout("1").unwrap(), ann());
    assert_eq!(layout("boss.email").unwrap().2, "boss@example.org");
    assert!(matches!(
        layout("email"),
        Err::<(_, _, String), _>(ListError::ColumnNotFound { .. })
    ));
    // What a list of text is told about its first row and its delimiter means nothing here.
    let reading = Reading {
        column: ColumnChoice::Name("boss.email".into()),
        header: HeaderChoice::No,
        delimiter: Some(";".parse().unwrap()),
        sheet: None,
    };
    assert_eq!(rows_of(open_as(text, &reading).unwrap()).unwrap().len(), 1);
}

#[test]
fn a_line_that_is_no_json_is_rejected_alone() {
    check(
        "{\"email\":\"ann@example.com\"}\n{\"email\":\"bob@example.com\"\n\nnobody\n{\"email\":\"a\",\"email\":\"b\"}\n\
         {\"email\":[\"cy@example.com\"]}\n{\"email\":[\"dan@example.com\",\"d@example.com\"]}\n7\n{}",
        "JSON lines",
        &[
            (1, "ann@example.com"),
            (2, "invalid_json"),
            (4, "invalid_json"),
            (5, "invalid_json"),
            (6, "cy@example.com"),
            (7, "several_emails"),
            (8, "empty"),
            (9, "empty"),
        ],
    );
}

#[test]
fn a_document_that_breaks_is_refused_where_it_does() {
    for (text, line, words) in [
        (
            "[{\"email\":\"ann@example.com\"},\n{\"email\":}]",
            2,
            "value 2 is not valid",
        ),
        (
            "[{\"email\":\"ann@example.com\"}\n{\"email\":\"b\"}]",
            2,
            "comma follows value 1",
        ),
        ("[{\"email\":\"ann@example.com\"},\n", 2, "middle of a value"),
        ("[{\"email\":\"ann@example.com\"}", 1, "middle of a value"),
        ("[{\"email\":\"ann@example.com\"}]\n{}", 2, "follows the array"),
        ("[{\"email\":\"ann@example.com\"},]", 1, "value 2 is not valid"),
        (
            "{\n\"email\":\"ann@example.com\"\n}\n}",
            4,
            "value 2 is not valid",
        ),
    ] {
        match rows(text.as_bytes()) {
            Err(error @ ListError::Json { line: at, .. }) => {
                assert!(at == line && error.to_string().contains(words), "{text}: {error}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(matches!(rows(b"[]"), Err(ListError::Empty { .. })));
    assert!(matches!(rows(b" [ ] \n"), Err(ListError::Empty { .. })));
}

#[test]
fn what_is_too_long_is_passed_and_the_next_row_is_fine() {
    let long = "y".repeat(5_000_000);
    let objects = [
        "{\"email\":\"ann@example.com\"}",
        &format!("{{\"x\":\"{long}\"}}"),
        "{\"email\":\"bob@example.com\"}",
    ];
    let expected = [(1, "ann@example.com"), (2, "too_long"), (3, "bob@example.com")];
    check(&objects.join("\n"), "JSON lines", &expected);
    check(&format!("[{}]", objects.join(",")), "JSON array", &expected);
    let field = "y".repeat(FIELD_LIMIT_BYTES + 1);
    let text = format!("{{\"email\":\"{field}\"}}\n{{\"email\":\"ann@example.com\"}}\n");
    check(&text, "JSON lines", &[(1, "too_long"), (2, "ann@example.com")]);
}

#[test]
fn keys_that_come_late_count() {
    let mut text = String::new();
    (0..3_000).for_each(|n| writeln!(text, "{{\"email\":\"p{n}@example.com\"}}").unwrap());
    (0..3_000).for_each(|n| {
        writeln!(
            text,
            "{{\"email\":\"q{n}@example.com\",\"late\":\"r{n}@example.com\"}}"
        )
        .unwrap()
    });
    let refused = rows(text.as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("2 \"late\""), "{refused}");
    let chosen = open_at(text.as_bytes(), &"late".parse().unwrap()).unwrap();
    assert_eq!(chosen.layout().part, "late");
    let found = rows_of(chosen).unwrap();
    assert_eq!(found.iter().filter(|(_, what)| what == "empty").count(), 3_000);
    // So many keys are no table.
    let mut text = String::from("{\"email\":\"ann@example.com\"}\n");
    (0..=ROW_LIMIT_FIELDS).for_each(|n| writeln!(text, "{{\"k{n}\":1}}").unwrap());
    assert!(matches!(rows(text.as_bytes()), Err(ListError::Json { .. })));
}

#[test]
fn json_may_be_packed_and_in_utf16() {
    let text = "{\"email\":\"jürgen@example.com\"}\n";
    let expected = [(1, "jürgen@example.com".to_owned())];
    let packed = gzip(text.as_bytes());
    assert_eq!(open(&packed).unwrap().layout().format, "JSON lines, gzip");
    assert_eq!(rows(&packed).unwrap(), expected);
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(rows(&utf16).unwrap(), expected);
    // Whatever part of a list is to be chosen, this one has no sheets.
    let reading = Reading {
        sheet: Some("Sheet1".into()),
        ..Reading::default()
    };
    assert!(matches!(
        open_as(text.as_bytes(), &reading),
        Err(ListError::NoWorkbook { .. })
    ));
}

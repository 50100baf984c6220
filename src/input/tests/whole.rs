//! Lists as a whole: what they begin and end with, and what refuses them.

use super::{gzip, open, open_at, rows, short};
use crate::input::*;

#[test]
fn a_plain_list_loses_no_row() {
    let plain = b"ann@example.com\nbob@example.com,x\n\nnobody\n   \n";
    let expected = [
        (1, "ann@example.com"),
        (2, "ragged"),
        (4, "invalid_email"),
        (5, "empty"),
    ];
    let found = rows(plain).unwrap();
    assert_eq!(found, expected.map(|(line, what)| (line, what.to_string())));
    assert_eq!(
        rows(b"ann@example\nbob@example.com").unwrap()[0],
        (1, "invalid_email".into())
    );
    assert!(open(b"customers\nbob@example.com").unwrap().layout().has_header);
}

#[test]
fn a_list_without_rows_is_refused() {
    for bytes in [
        &b""[..],
        b"\xef\xbb\xbf",
        b"\r\n\n",
        b"email\n",
        b"name,email\r\n\r\n",
    ] {
        assert!(matches!(rows(bytes), Err(ListError::Empty { .. })), "{bytes:?}");
    }
}

#[test]
fn a_quote_that_swallows_the_rest_is_an_error_with_its_line() {
    let text = format!(
        "email,name\nann@example.com,\"Ann\n{}",
        "bob@example.com,Bob\n".repeat(200_000)
    );
    assert!(matches!(
        rows(text.as_bytes()),
        Err(ListError::UnclosedQuote { line: 2, .. })
    ));
    assert!(matches!(
        rows(b"\"email,name\nann@example.com,x\n"),
        Err(ListError::UnclosedQuote { line: 1, .. })
    ));
}

#[test]
fn a_cut_archive_gives_its_rows_and_then_the_line_it_ends_at() {
    let text: String = (0..50_000)
        .map(|n| format!("user{}@example.com\n", n * 7919 % 50_021))
        .collect();
    let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
    let mut list = open(&packed[..packed.len() * 3 / 4]).unwrap();
    let reached = loop {
        match list.next_row() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the cut was not noticed"),
            Err(ListError::Truncated { line, .. }) => break line,
            Err(other) => panic!("unexpected {other}"),
        }
    };
    assert!(
        reached > 10_000 && reached >= list.rows(),
        "{reached} after {} rows",
        list.rows()
    );
}

#[test]
fn a_declared_delimiter_is_no_row() {
    let text = b"sep=;\r\nname;email\r\nAnn;ann@example.com\r\n";
    assert_eq!(rows(text).unwrap(), [(3, "ann@example.com".to_string())]);
}

#[test]
fn a_file_is_read_like_its_bytes_and_its_digest_is_known_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("customers.csv");
    std::fs::write(&path, gzip(b"email\nann@example.com\n")).unwrap();
    let source = Source::File(path);
    source.check().unwrap();
    let mut list = List::open(&source, &Reading::default()).unwrap();
    assert_eq!(list.layout().format, "one email a line, gzip");
    while list.next_row().unwrap().is_some() {}
    assert_eq!(Some(list.bytes_read()), list.total_bytes());
    assert_eq!(source.digest().unwrap(), Some(list.finish().unwrap()));
}

#[test]
fn a_column_may_be_chosen() {
    let text = b"login,email\nann@example.com,a@example.com\n";
    let first = |choice: &str| {
        let mut list = open_at(text, &choice.parse().unwrap()).unwrap();
        let row = list.next_row().unwrap().unwrap();
        (row.line, short(&row.content))
    };
    assert_eq!(first("Login"), (2, "ann@example.com".to_string()));
    assert_eq!(first("2"), (2, "a@example.com".to_string()));
    assert!(matches!(
        open_at(text, &ColumnChoice::Number(3)),
        Err(ListError::ColumnNotFound { .. })
    ));
}

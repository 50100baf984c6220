//! Lists as people hand them over: stray quotes, cells that are missing, addresses side by side.

use super::{open, open_as, open_at, rows, rows_of};
use crate::input::*;

/// Line, reason, detail and excerpt of each reject, and the emails beside them.
fn told(bytes: &[u8]) -> Vec<(u64, String)> {
    let mut list = open(bytes).unwrap();
    let mut told = Vec::new();
    while let Some(row) = list.next_row().unwrap() {
        told.push((
            row.line,
            match row.content {
                RowContent::Email { email, .. } => email.as_str().to_owned(),
                RowContent::Reject {
                    reason,
                    detail,
                    excerpt,
                } => format!("{reason}: {detail}: {excerpt}"),
            },
        ));
    }
    told
}

#[track_caller]
fn check(text: &str, expected: &[(u64, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(line, what)| (*line, (*what).to_owned()))
        .collect();
    assert_eq!(rows(text.as_bytes()).unwrap(), expected, "{text}");
}

#[test]
fn no_line_is_swallowed_by_a_stray_quote() {
    check(
        "email,note\nann@example.com,\"called\nbob@example.com,\"vip\"\ncy@example.com,\"ok\"\n",
        &[(2, "stray_quote"), (3, "bob@example.com"), (4, "cy@example.com")],
    );
    // The second quote closes where one may, so only the lines themselves tell.
    check(
        "email,note\nann@example.com,\"called\n\nbob@example.com,vip\ncy@example.com,ok\"\ndan@example.com,x\n",
        &[
            (2, "stray_quote"),
            (4, "stray_quote"),
            (5, "stray_quote"),
            (6, "dan@example.com"),
        ],
    );
    check(
        "name,email\n\"Ann,ann@example.com\nBob\",bob@example.com\nCy,cy@example.com\n",
        &[(2, "stray_quote"), (3, "stray_quote"), (4, "cy@example.com")],
    );
    check(
        "name,email\n\"say \\\"hi\\\", Ann\",ann@example.com\n\"Bob\" Lee,bob@example.com\n\"C:\\\",cy@example.com\n",
        &[(2, "stray_quote"), (3, "stray_quote"), (4, "cy@example.com")],
    );
    // In a list of one column a cell with two addresses is two lines with one each.
    check(
        "email\n\"ann@example.com\nbob@example.com\"\ncy@example.com\n",
        &[(2, "stray_quote"), (3, "stray_quote"), (4, "cy@example.com")],
    );
}

#[test]
fn nothing_between_two_stray_quotes_is_lost() {
    for last in ["z@example.com,\"x\"", "z@example.com,x\""] {
        let between: String = (0..500).map(|n| format!("p{n}@example.com,\"\"\n")).collect();
        let text = format!("email,note\nann@example.com,\"x\n{between}{last}\nbob@example.com,\n");
        let found = rows(text.as_bytes()).unwrap();
        let lines: Vec<u64> = found.iter().map(|row| row.0).collect();
        assert_eq!(lines, (2..=504).collect::<Vec<_>>(), "{last}");
    }
}

#[test]
fn a_cell_with_line_breaks_that_is_closed_stays_right() {
    check(
        "email,note,city\nann@example.com,\"two\r\nlines, and a comma\",Ulm\nbob@example.com,\"see\ncy@example.com\",Ulm\n",
        &[(2, "ann@example.com"), (4, "stray_quote"), (5, "stray_quote")],
    );
    check(
        "name,email,note\n\"Lee,\nAnn\",ann@example.com,\"write to\nbob@example.com,\nor to ann@example.com\"\n",
        &[(2, "ann@example.com")],
    );
    // Nobody is lost by a line that names the row's own email.
    check(
        "email,note\nann@example.com,\"Regards\nANN@example.com\"\n",
        &[(2, "ann@example.com")],
    );
}

#[test]
fn rejects_say_what_is_wrong() {
    let text =
        b"email,name\nann@example.com,\"x\nbob@example.com,\"y\nno one,\"z\"\ncy@example.com,\"x\n\",y\n";
    let expected = [
        (
            2,
            "stray_quote: a quote opens here and closes on line 3 in the middle of a cell: ann@example.com,\"x",
        ),
        (
            3,
            "stray_quote: a quote opens here and closes on line 4 in the middle of a cell: bob@example.com,\"y",
        ),
        (4, "invalid_email: space inside: U+0020: no one"),
        (
            5,
            "stray_quote: within quotes that run from line 5 to line 6 over what could be rows of their own: cy@example.com,\"x",
        ),
        (
            6,
            "stray_quote: within quotes that run from line 5 to line 6 over what could be rows of their own: \",y",
        ),
        (7, "ann@example.com"),
    ];
    let text = [&text[..], b"ann@example.com\n"].concat();
    assert_eq!(told(&text), expected.map(|(line, what)| (line, what.to_owned())));
    let text = b"email,name\nann@example.com,x\nno,\"x\ny\",z\n";
    let ragged = "ragged: 3 fields, expected 2; spans lines 3-4, look for a stray quote: no,\"x\\ny\",z";
    assert_eq!(told(text)[1], (3, ragged.to_owned()));
}

#[test]
fn missing_and_empty_cells_at_the_end_are_harmless() {
    check(
        "name,email,note,city\nAnn,ann@example.com\nBob,bob@example.com,x,Ulm,,\nCy,cy@example.com,x,Ulm, ,z\nDan\n",
        &[
            (2, "ann@example.com"),
            (3, "bob@example.com"),
            (4, "ragged"),
            (5, "ragged"),
        ],
    );
    check(
        "Ann,ann@example.com\nBob,bob@example.com,note\nCy,cy@example.com,note\n",
        &[
            (1, "ann@example.com"),
            (2, "bob@example.com"),
            (3, "cy@example.com"),
        ],
    );
}

#[test]
fn a_list_of_addresses_is_not_loaded_by_half() {
    for text in [
        "To: helen@example.com, cara@example.com\n",
        "helen@example.com; cara@example.com; dan@example.com",
        "Ann <ann@example.com>, Bob <bob@example.com>\n",
    ] {
        let refused = rows(text.as_bytes()).unwrap_err();
        assert!(
            matches!(
                refused,
                ListError::NothingUsable { .. }
                    | ListError::AmbiguousColumn { .. }
                    | ListError::NoEmailColumn { .. }
            ),
            "{text}: {refused}"
        );
    }
    check(
        "email\n\"helen@example.com, cara@example.com\"\nhelen@example.com;cara@example.com\ndan@example.com\nann@b@example.com\n",
        &[
            (2, "several_emails"),
            (3, "several_emails"),
            (4, "dan@example.com"),
            (5, "invalid_email"),
        ],
    );
    check(
        "name,email\nTo: helen@example.com,cara@example.com\nsee bob@example.com,dan@example.com\n",
        &[(2, "several_emails"), (3, "dan@example.com")],
    );
    check(
        "Ann,ann@example.com\nsee cy@example.com,dan@example.com\n",
        &[(1, "ann@example.com"), (2, "several_emails")],
    );
}

#[test]
fn one_address_in_its_dress_is_an_email() {
    let text = "name,email\nAnn,Ann <Ann@example.com>\nBob,mailto:bob@example.com\nCy,<cy@example.com>\n\
        Dan,Dan <dan@example.com> or <d@example.com>\nEve,Eve <eve@example>\n";
    check(
        text,
        &[
            (2, "ann@example.com"),
            (3, "bob@example.com"),
            (4, "cy@example.com"),
            (5, "several_emails"),
            (6, "invalid_email"),
        ],
    );
    let mut list = open(text.as_bytes()).unwrap();
    assert!(matches!(
        list.next_row().unwrap().unwrap().content,
        RowContent::Email {
            written: "Ann <Ann@example.com>",
            ..
        }
    ));
    // One of two columns: the one that repeats the emails in another dress is no competition.
    check(
        "Email,From\nann@example.com,Ann <ann@example.com>\n",
        &[(2, "ann@example.com")],
    );
}

#[test]
fn the_apostrophe_of_an_export_is_taken_off() {
    check(
        "email\n'+1@example.com\n''+1@example.com\n'-ann@example.com\no'neil@example.com\n'ann@example.com\n",
        &[
            (2, "+1@example.com"),
            (3, "'+1@example.com"),
            (4, "-ann@example.com"),
            (5, "o'neil@example.com"),
            (6, "'ann@example.com"),
        ],
    );
}

#[test]
fn a_list_without_a_usable_row_is_refused() {
    let refused = rows(b"name,email\nAnn,n/a\nBob,\n").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "list.csv: none of its 2 rows holds a usable email in column 2; line 2: no @"
    );
    // The hint names the column that does hold emails.
    let list = open_at(
        b"name,email\nann@example.com,n/a\nbob@example.com,\n",
        &ColumnChoice::Number(2),
    )
    .unwrap();
    let refused = rows_of(list).unwrap_err();
    assert!(refused.hint().contains("--column 1"), "{}", refused.hint());
}

#[test]
fn what_the_first_rows_do_not_show_is_refused_at_the_end() {
    let mut text = String::from("Email,Recovery Email\n");
    (0..5_000).for_each(|n| text += &format!("p{n}@example.com,\n"));
    assert_eq!(rows(text.as_bytes()).unwrap().len(), 5_000);
    (0..1_000).for_each(|n| text += &format!("q{n}@example.com,r{n}@example.org\n"));
    let hints = rows(text.as_bytes()).unwrap_err().hints();
    assert_eq!(
        hints[2],
        "--column 2: \"Recovery Email\", 16 % emails, such as r…@e….org"
    );
    let chosen = open_at(text.as_bytes(), &ColumnChoice::Number(2)).unwrap();
    assert_eq!(rows_of(chosen).unwrap().len(), 6_000);
}

#[test]
fn the_first_row_is_what_it_is_said_to_be() {
    let text = b"Ann,n/a\nBob,bob@example.com\n";
    let read = |header, delimiter: Option<&str>| {
        let reading = Reading {
            column: ColumnChoice::Number(2),
            header,
            delimiter: delimiter.map(|text| text.parse().unwrap()),
            sheet: None,
        };
        open_as(text, &reading).and_then(rows_of).map(|rows| rows.len())
    };
    assert_eq!(read(HeaderChoice::Auto, None).unwrap(), 2);
    assert_eq!(read(HeaderChoice::Yes, None).unwrap(), 1);
    assert!(matches!(
        read(HeaderChoice::Auto, Some("tab")),
        Err(ListError::ColumnNotFound { .. })
    ));
}

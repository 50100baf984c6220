//! Text that is no list: web pages, mail, address cards and the like, named for what they are.
//!
//! Only the beginning is looked at, and only what no list begins with is refused: a list may well hold angle brackets
//! or braces further down.

use super::error::ListError;

/// How much of the text is looked at.
const LOOKED_AT_BYTES: usize = 8 * 1024;
/// How many of the first lines may be headers of a mail.
const MAIL_LINES: usize = 40;

const HTML: (&str, &str) = (
    "this is a web page (HTML)",
    "the download was perhaps a sign-in page: open the link in a browser, and export the list as CSV",
);
const XML: (&str, &str) = (
    "this is XML, such as a spreadsheet program can save",
    "save the list as CSV (UTF-8), and load that",
);
const CARDS: (&str, &str) = (
    "these are address cards (vCard)",
    "export the contacts as CSV, and load that",
);
const CALENDAR: (&str, &str) = (
    "this is a calendar (iCalendar)",
    "export the guests as CSV, and load that",
);
const MAIL: (&str, &str) = (
    "this is mail as a mail program saves it",
    "save the attachment with the list, or copy the addresses into a text file, one a line",
);
const MIME: (&str, &str) = (
    "this is an upload or mail with its MIME headers",
    "save the part that is the list as a file of its own, and load that",
);
const LDIF: (&str, &str) = (
    "this is a directory export (LDIF)",
    "export the mail attribute as CSV, and load that",
);
const SQL: (&str, &str) = (
    "this is a database dump (SQL)",
    "export the emails as CSV, and load that",
);
const PGP: (&str, &str) = (
    "this is encrypted or signed (PGP)",
    "decrypt it, and load the text inside",
);
const POINTER: (&str, &str) = (
    "this is a pointer to a file that Git LFS keeps",
    "fetch the file itself: git lfs pull",
);
const RICH: (&str, &str) = (
    "this is a rich text document",
    "save it as plain text and load that",
);
const SYLK: (&str, &str) = (
    "this is a SYLK file, as old spreadsheet programs save it",
    "save it as CSV (UTF-8), and load that",
);
const DIF: (&str, &str) = (
    "this is a DIF file, as old spreadsheet programs save it",
    "save it as CSV (UTF-8), and load that",
);
const SHORTCUT: (&str, &str) = (
    "this is a shortcut to a web page",
    "open it in a browser, and export the list as CSV",
);

/// What texts begin with, in small letters, blanks before it left out.
const BEGINNINGS: &[(&str, (&str, &str))] = &[
    ("<!doctype html", HTML),
    ("<?xml", XML),
    ("<!doctype", XML),
    ("<!--", HTML),
    ("begin:vcard", CARDS),
    ("begin:vcalendar", CALENDAR),
    ("-----begin pgp", PGP),
    ("version https://git-lfs", POINTER),
    ("{\\rtf", RICH),
    ("[internetshortcut]", SHORTCUT),
    ("table\n0,1\n", DIF),
    ("table\r\n0,1\r\n", DIF),
    ("dn: ", LDIF),
    ("version: 1\ndn:", LDIF),
    ("version: 1\r\ndn:", LDIF),
    ("-- mysql dump", SQL),
    ("-- mariadb dump", SQL),
    ("-- postgresql database dump", SQL),
    ("--\n-- postgresql database dump", SQL),
    ("insert into ", SQL),
    ("create table ", SQL),
    ("pragma foreign_keys", SQL),
];

/// What every mail has some of.
const MAIL_HEADERS: &[&str] = &[
    "return-path",
    "received",
    "delivered-to",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "dkim-signature",
    "x-mozilla-status",
    "x-gm-thrid",
    "x-gmail-labels",
    "subject",
    "date",
    "from",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "sender",
    "in-reply-to",
    "references",
    "envelope-to",
    "arc-seal",
    "authentication-results",
];

/// Refuses a text that is no list.
pub(super) fn check(list: &str, text: &[u8]) -> Result<(), ListError> {
    match recognised(text) {
        None => Ok(()),
        Some((found, remedy)) => Err(ListError::Binary {
            list: list.to_string(),
            found,
            remedy,
        }),
    }
}

fn recognised(text: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = String::from_utf8_lossy(&text[..text.len().min(LOOKED_AT_BYTES)]).to_lowercase();
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let beginning = BEGINNINGS
        .iter()
        .find(|(beginning, _)| text.starts_with(beginning));
    if let Some((_, what)) = beginning {
        return Some(*what);
    }
    if is_sylk(text) {
        return Some(SYLK);
    }
    if let Some(tag) = tag(text) {
        let of_a_page = [
            "html", "head", "body", "table", "div", "p", "script", "meta", "title", "span", "tr", "style",
            "center",
        ];
        return Some(if of_a_page.contains(&tag) { HTML } else { XML });
    }
    if text.starts_with("from ")
        && text
            .lines()
            .nth(1)
            .is_some_and(|line| mail_header(line).is_some())
    {
        return Some(MAIL);
    }
    mail_or_mime(text)
}

/// A first record that names a program, and one of a cell: a list may well begin with `ID;Person`.
fn is_sylk(text: &str) -> bool {
    let is_cell = |line: &str| (line.starts_with("c;y") || line.starts_with("c;x")) && line.contains(";k");
    text.starts_with("id;p") && text.lines().any(is_cell)
}

/// The name of the tag that a text begins with; `<ann@example.com>` is none.
fn tag(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('<')?;
    let end = rest.find('>')?;
    let inside = &rest[..end];
    let name = inside.split([' ', '\t', '\r', '\n', '/']).next()?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ":-_".contains(c));
    let has_attributes_or_nothing =
        inside.len() == name.len() || inside.contains('=') || inside.ends_with('/');
    (is_name && has_attributes_or_nothing).then_some(name)
}

/// The name of the mail header that a line is.
fn mail_header(line: &str) -> Option<&'static str> {
    let (name, _) = line.split_once(':')?;
    MAIL_HEADERS.iter().find(|header| **header == name).copied()
}

/// Mail begins with headers, three different ones at least; an upload with a boundary and a header or two.
fn mail_or_mime(text: &str) -> Option<(&'static str, &'static str)> {
    let mut lines = text.lines();
    if text.starts_with("--") {
        let has_header = lines.nth(1).is_some_and(|line| line.starts_with("content-"));
        return has_header.then_some(MIME);
    }
    let mut headers = Vec::new();
    for line in lines.take(MAIL_LINES) {
        let folded = line.starts_with([' ', '\t']);
        match mail_header(line) {
            Some(header) if !headers.contains(&header) => headers.push(header),
            Some(_) => {}
            None if folded
                || line
                    .split_once(':')
                    .is_some_and(|(name, _)| name.starts_with("x-")) => {}
            None => break,
        }
    }
    let is_mime = |header: &&str| header.starts_with("content-") || *header == "mime-version";
    match headers.len() {
        0 => None,
        _ if headers.iter().all(is_mime) => Some(MIME),
        1 | 2 => None,
        _ => Some(MAIL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_is_named() {
        for (text, words) in [
            ("ID;PWXL;N;E\r\nC;Y1;X1;K\"ann@example.com\"\r\nE\r\n", "SYLK"),
            ("TABLE\r\n0,1\r\n\"EXCEL\"\r\n", "DIF"),
            ("<!DOCTYPE html>\n<html lang=\"en\">", "web page"),
            ("\n\n  <html><head>", "web page"),
            ("<table border=1><tr><td>ann@example.com", "web page"),
            ("<?xml version=\"1.0\"?><Workbook>", "XML"),
            ("<contacts>\n<contact/>", "XML"),
            ("BEGIN:VCARD\r\nVERSION:3.0", "address cards"),
            ("BEGIN:VCALENDAR\r\n", "calendar"),
            (
                "From ann@example.com Mon Nov 30 12:00:00 2026\nReturn-Path: <ann@example.com>\n",
                "mail",
            ),
            (
                "Return-Path: <a@example.com>\nReceived: by mx\n\tfrom x\nSubject: hello\nTo: b@example.com\n\nHi",
                "mail",
            ),
            (
                "From: <Saved by Browser>\nSubject: list\nMIME-Version: 1.0\n",
                "mail",
            ),
            ("MIME-Version: 1.0\nContent-Type: text/csv\n\nemail\n", "MIME"),
            (
                "--0001\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\nemail\r\n",
                "MIME",
            ),
            ("dn: cn=Ann,dc=example\nmail: ann@example.com", "LDIF"),
            ("-- MySQL dump 10.13\n", "SQL"),
            ("INSERT INTO people VALUES (1,'ann@example.com');", "SQL"),
            ("-----BEGIN PGP MESSAGE-----\n", "PGP"),
            ("version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        ] {
            match check("list.csv", text.as_bytes()) {
                Err(error) => assert!(error.to_string().contains(words), "{text}: {error}"),
                Ok(()) => panic!("{text} is taken for a list"),
            }
        }
    }

    #[test]
    fn lists_are_none_of_these() {
        for text in [
            "",
            "email\nann@example.com\n",
            "<ann@example.com>, <bob@example.com>\n",
            "<Ann Lee> ann@example.com\n",
            "[Email]\nann@example.com\n",
            "To: helen@example.com, cara@example.com\n",
            "to,from,subject\na@example.com,b,c\n",
            "date: today\nann@example.com\n",
            "From ann\nbob@example.com\n",
            "--\nann@example.com\n",
            "{email}\nann@example.com\n",
            "dn,mail\nx,ann@example.com\n",
            "ID;Person;Email\nc;Kim;ann@example.com\n",
            "table\nann@example.com\n",
        ] {
            assert_eq!(recognised(text.as_bytes()), None, "{text}");
        }
    }
}

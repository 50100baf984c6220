//! Any bytes, taken for a list; the first one says how they are packed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollbook::input::{List, Reading, RowContent, Source};
use std::io::Write;

fuzz_target!(|bytes: &[u8]| {
    let Some((&packing, text)) = bytes.split_first() else { return };
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let path = folder.path().join("list");
    std::fs::write(&path, pack(packing, text)).expect("written");
    let Ok(mut list) = List::open(&Source::File(path), &Reading::default()) else { return };
    let (mut told, mut line) = (0, 0);
    loop {
        match list.next_row() {
            Err(error) => return assert!(!error.hint().is_empty()),
            Ok(None) => break,
            Ok(Some(row)) => {
                assert!(row.line > line, "line {} after {line}", row.line);
                line = row.line;
                told += 1;
                if let RowContent::Email { email, written } = row.content {
                    assert_eq!(rollbook::model::email::Email::in_cell(written).as_ref(), Ok(email));
                }
            }
        }
    }
    assert_eq!(list.rows(), told, "every row is an email or a reject");
    list.finish().expect("it was read to its end");
});

fn pack(how: u8, text: &[u8]) -> Vec<u8> {
    let units = || String::from_utf8_lossy(text).encode_utf16().collect::<Vec<_>>();
    match how % 8 {
        1 => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(text).and_then(|()| packer.finish()).expect("packed")
        }
        2 => zstd::encode_all(text, 1).expect("packed"),
        3 => [&b"\xff\xfe"[..], &units().into_iter().flat_map(u16::to_le_bytes).collect::<Vec<_>>()].concat(),
        4 => [&b"\xfe\xff"[..], &units().into_iter().flat_map(u16::to_be_bytes).collect::<Vec<_>>()].concat(),
        5 => workbook(&[
            ("_rels/.rels", br#"<Relationships><Relationship Id="a" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#),
            ("xl/workbook.xml", br#"<workbook><sheets><sheet name="S" sheetId="1" r:id="b"/></sheets></workbook>"#),
            ("xl/_rels/workbook.xml.rels", br#"<Relationships><Relationship Id="b" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#),
            ("xl/worksheets/sheet1.xml", text),
        ]),
        6 => workbook(&[
            ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
            ("META-INF/manifest.xml", b"<manifest:manifest/>"),
            ("content.xml", text),
        ]),
        _ => text.to_vec(),
    }
}

fn workbook(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).expect("begun");
        zip.write_all(content).expect("packed");
    }
    zip.finish().expect("packed").into_inner()
}

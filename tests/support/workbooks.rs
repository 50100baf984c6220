//! Workbooks, written by hand: what is in them is what a test says, and nothing that some program adds.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{Cursor, Write as _};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A zip archive of these files.
pub fn zipped<B: AsRef<[u8]>>(files: &[(&str, B)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_ref()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006/relationships";

/// The relations of a package or workbook: id, kind and target of each.
fn relations(each: &[(String, &str, String)]) -> String {
    let one = |(id, kind, target): &(String, &str, String)| {
        format!(r#"<Relationship Id="{id}" Type="{RELATIONS}/{kind}" Target="{target}"/>"#)
    };
    let each: String = each.iter().map(one).collect();
    format!(r#"<Relationships xmlns="{PACKAGE}">{each}</Relationships>"#)
}

/// A workbook of XLSX whose sheets have these names and this XML in them. Style 1 is a date.
pub fn xlsx(sheets: &[(&str, &str)]) -> Vec<u8> {
    let (mut names, mut parts, mut targets) = (String::new(), Vec::new(), Vec::new());
    for (index, (name, xml)) in sheets.iter().enumerate() {
        let number = index + 1;
        let name = escaped(name);
        names += &format!(r#"<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>"#);
        targets.push((
            format!("rId{number}"),
            "worksheet",
            format!("worksheets/sheet{number}.xml"),
        ));
        parts.push((
            format!("xl/worksheets/sheet{number}.xml"),
            format!(r#"<worksheet xmlns="{MAIN}">{xml}</worksheet>"#),
        ));
    }
    let package = relations(&[("rId1".into(), "officeDocument", "xl/workbook.xml".into())]);
    let workbook =
        format!(r#"<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets>{names}</sheets></workbook>"#);
    let styles =
        r#"<styleSheet><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>"#;
    let targets = relations(&targets);
    let mut files = vec![
        ("[Content_Types].xml", "<Types/>"),
        ("_rels/.rels", package.as_str()),
        ("xl/workbook.xml", workbook.as_str()),
        ("xl/_rels/workbook.xml.rels", targets.as_str()),
        ("xl/styles.xml", styles),
    ];
    files.extend(parts.iter().map(|(name, xml)| (name.as_str(), xml.as_str())));
    zipped(&files)
}

/// A cell of XLSX that holds a text.
pub fn text(place: &str, text: &str) -> String {
    let text = escaped(text);
    format!(r#"<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>"#)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Rows of texts for a sheet of XLSX, from its first row on.
pub fn table<C: AsRef<str>>(rows: &[Vec<C>]) -> String {
    let row = |(row, cells): (usize, &Vec<C>)| {
        let place = |column: usize| format!("{}{}", char::from(b'A' + column as u8), row + 1);
        let cells: String = (0..cells.len())
            .map(|column| text(&place(column), cells[column].as_ref()))
            .collect();
        format!(r#"<row r="{}">{cells}</row>"#, row + 1)
    };
    let rows: String = rows.iter().enumerate().map(row).collect();
    format!("<sheetData>{rows}</sheetData>")
}

/// A workbook of ODS with these tables.
pub fn ods(tables: &str) -> Vec<u8> {
    zipped(&[
        ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
        ("META-INF/manifest.xml", "<manifest:manifest/>"),
        (
            "content.xml",
            &format!(
                "<office:document-content><office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body>\
                 </office:document-content>"
            ),
        ),
    ])
}

/// A cell of ODS that holds a text.
pub fn ods_text(text: &str) -> String {
    let text = escaped(text);
    format!(r#"<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>"#)
}

/// A table of ODS with rows of texts.
pub fn ods_table<C: AsRef<str>>(name: &str, rows: &[Vec<C>]) -> String {
    let row = |cells: &Vec<C>| {
        let cells: String = cells.iter().map(|cell| ods_text(cell.as_ref())).collect();
        format!("<table:table-row>{cells}</table:table-row>")
    };
    let rows: String = rows.iter().map(row).collect();
    format!("<table:table table:name=\"{name}\">{rows}</table:table>")
}

/// A record of XLSB.
fn record(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = match kind {
        0..0x80 => vec![kind as u8],
        _ => vec![kind as u8 & 0x7f | 0x80, (kind >> 7) as u8],
    };
    let mut length = content.len();
    loop {
        let more = if length > 0x7f { 0x80 } else { 0 };
        bytes.push(length as u8 & 0x7f | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

fn wide(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().collect();
    let length = (units.len() as u32).to_le_bytes();
    length
        .into_iter()
        .chain(units.into_iter().flat_map(u16::to_le_bytes))
        .collect()
}

/// A workbook of XLSB with one sheet of texts.
pub fn xlsb<C: AsRef<str>>(name: &str, rows: &[Vec<C>]) -> Vec<u8> {
    let mut sheet = [record(0x0094, &[0; 16]), record(0x0091, &[])].concat();
    for (number, cells) in rows.iter().enumerate() {
        sheet.extend(record(
            0x0000,
            &[&(number as u32).to_le_bytes()[..], &[0; 13]].concat(),
        ));
        for (column, cell) in cells.iter().enumerate() {
            let content = [&(column as u32).to_le_bytes()[..], &[0; 4], &wide(cell.as_ref())].concat();
            sheet.extend(record(0x0006, &content));
        }
    }
    sheet.extend(record(0x0092, &[]));
    let bundle = [&[0; 8][..], &wide("rId1"), &wide(name)].concat();
    let workbook = [record(0x009c, &bundle), record(0x0090, &[]), record(0x009d, &[])].concat();
    let package = relations(&[("rId1".into(), "officeDocument", "xl/workbook.bin".into())]);
    let targets = relations(&[("rId1".into(), "worksheet", "worksheets/sheet1.bin".into())]);
    zipped(&[
        ("_rels/.rels", package.as_bytes()),
        ("xl/workbook.bin", &workbook),
        ("xl/_rels/workbook.bin.rels", targets.as_bytes()),
        ("xl/worksheets/sheet1.bin", &sheet),
    ])
}

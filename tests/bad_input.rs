//! Whatever is wrong with what we are given: one clear message, the right exit code, and a ledger that is still good.

use crate::support::share::pick;
use crate::support::{Ran, Scene, TOKEN, cast, check_doctor, check_promises, options};
use rollbook::sandbox::{FilterMode, Options, Route};
use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

const GOOD: &str = "email\nann@example.com\nbob@example.com\n";

/// A list that is refused as a whole: the words, and neither a new ledger nor an old one shows a trace of it.
#[track_caller]
fn refused(content: &[u8], words: &[&str]) {
    let scene = Scene::offline();
    scene.write("bad.csv", content);
    scene.run(&["load", "bad.csv"]).refused(2, words);
    assert_eq!(scene.names(), ["bad.csv"], "no ledger is left behind");

    scene.write("good.csv", GOOD);
    scene.run(&["load", "good.csv"]).expect(0);
    let before = scene.status();
    scene.run(&["load", "bad.csv"]).refused(2, words);
    scene.write("more.csv", "email\ncleo@example.com\n");
    scene.run(&["load", "more.csv", "bad.csv"]).refused(2, words);
    assert_eq!(scene.status(), before, "all lists of a command or none");
    check_doctor(&scene, &scene.path("rollbook.db"));
}

/// A list that is loaded: rows, entries and rejects, and what the rejected rows say.
#[track_caller]
fn loaded(content: &[u8], counts: [u64; 3], rejects: &[&str]) -> Scene {
    let scene = Scene::offline();
    scene.write("list.csv", content);
    let ran = scene.run(&["load", "list.csv"]).expect(0);
    assert!(!ran.stderr.contains("error"), "{}", ran.stderr);
    let status = scene.status();
    let number = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(
        [number("rows"), number("entries"), number("rejected")],
        counts,
        "{}",
        ran.stderr
    );
    let exported = scene.run(&["export", "--rows", "rejected"]).expect(0).stdout;
    for words in rejects {
        assert!(exported.contains(words), "`{words}` is missing: {exported}");
    }
    check_doctor(&scene, &scene.path("rollbook.db"));
    scene
}

fn utf16(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    [0xff, 0xfe].into_iter().chain(units).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_file_that_is_not_there() {
    let scene = Scene::with(options());
    let words = ["none.csv: no such file"];
    scene.run(&["load", "none.csv"]).refused(2, &words);
    scene
        .run(&["assign", "--status", "vip", "--yes", "none.csv"])
        .refused(2, &words);
    assert!(scene.names().is_empty());
    assert!(
        scene.tenant().requests().is_empty(),
        "nobody is asked for a list that is not there"
    );
}

#[test]
fn a_folder() {
    let scene = Scene::offline();
    std::fs::create_dir(scene.path("lists")).unwrap();
    scene.run(&["load", "lists"]).refused(2, &["lists: is a folder"]);
    assert_eq!(scene.names(), ["lists"]);
}

#[test]
fn an_empty_file() {
    refused(b"", &["bad.csv: holds no rows"]);
    refused(b"\n\n  \n", &["bad.csv"]);
}

#[test]
fn a_header_and_nothing_else() {
    refused(b"name,email\n", &["bad.csv: holds no rows"]);
}

#[test]
fn an_empty_stdin() {
    let scene = Scene::offline();
    scene.run(&["load", "-"]).refused(2, &["(stdin): holds no rows"]);
    assert!(scene.names().is_empty());
}

#[test]
fn no_email_column() {
    refused(
        b"Customer No,Name\n1,Ann\n2,Bob\n",
        &["no email column", "Customer No", "Name", "--column"],
    );
}

#[test]
fn several_email_columns() {
    refused(
        b"Billing Email,Shipping Email\na@example.com,b@example.com\n",
        &[
            "more than one email column",
            "Billing Email",
            "Shipping Email",
            "--column",
        ],
    );
}

/// Lists from the wild of which one column is meant and another one holds emails as well.
#[test]
fn the_column_of_somebody_else() {
    for (list, columns) in [
        (
            "First Name [Required],Email Address [Required],Recovery Email\nAnn,ann@example.com,ann.private@example.org\n",
            [
                "hint: --column 2: \"Email Address [Required]\", 100 % emails, such as a…@e….com",
                "3 \"Recovery Email\"",
            ],
        ),
        (
            "Name,Email 1,Assistant Email\nAnn,ann@example.com,boss@example.com\n",
            [
                "2 \"Email 1\"",
                "--column 3: \"Assistant Email\", 100 % emails, such as b…@e….com",
            ],
        ),
        (
            "Name;E-Mail-Adresse;Alternative E-Mail\nAnn;ann@example.com;ann.private@example.org\n",
            ["2 \"E-Mail-Adresse\"", "3 \"Alternative E-Mail\""],
        ),
        (
            "Name,Email,Manager Email\nAnn,,boss@example.com\n",
            ["--column 2: \"Email\", 0 % emails", "3 \"Manager Email\""],
        ),
        (
            "ann@example.com,Ann,boss@example.com\n",
            [
                "--column 1: 100 % emails, such as a…@e….com",
                "--column 3: 100 % emails",
            ],
        ),
    ] {
        refused(
            list.as_bytes(),
            &[&["bad.csv: more than one email column"], &columns[..]].concat(),
        );
    }
}

#[test]
fn a_header_in_any_language_over_the_only_emails() {
    for header in [
        "Nombre,Zbx",
        "氏名,メール",
        "Nimi,Sähköposti",
        "name,contact",
        "Email Hash,Kontakt",
        "email_opt_in,E-Mail",
    ] {
        let list = format!("{header}\n1,ann@example.com\n2,bob@example.com\n");
        let scene = loaded(list.as_bytes(), [2, 2, 0], &[]);
        let layout = scene.status()["lists"][0]["layout"].as_str().unwrap().to_owned();
        let named = header.split_once(',').unwrap().1;
        assert!(
            layout.ends_with(&format!("column 2, header: {named}")),
            "{layout}"
        );
    }
    let scene = Scene::offline();
    scene.write("list.csv", "Nombre;Zbx\n1;ann@example.com\n2;bob@example.com\n");
    scene.run(&["load", "--column", "email", "list.csv"]).refused(
        2,
        &[
            "no column \"email\"",
            "one column alone holds emails",
            "--column 2",
        ],
    );
}

#[test]
fn an_empty_second_column_is_no_competition() {
    loaded(
        b"Email,Email 2\nann@example.com,\nbob@example.com,\n",
        [2, 2, 0],
        &[],
    );
}

#[test]
fn the_first_row_is_lost_to_nobody() {
    for first in ["Ann Lee", "ann.at.example.com", "4711"] {
        loaded(
            format!("{first}\nbob@example.com\n").as_bytes(),
            [2, 1, 1],
            &["list.csv,1"],
        );
    }
    let scene = Scene::offline();
    scene.write("list.csv", "Ann,n/a\nBob,bob@example.com\n");
    let load = |more: &[&str]| {
        scene
            .run(&[&["load", "list.csv"], more].concat())
            .expect(0)
            .stderr
    };
    let said = load(&["--column", "2"]);
    assert!(
        said.contains("2 rows = 1 new entry + 0 repeats + 1 rejected (CSV; column 2, no header)"),
        "{said}"
    );
    // Read otherwise it is another reading.
    let said = load(&["--column", "2", "--header", "yes"]);
    assert!(
        said.contains("1 row = 0 new entries + 1 repeat + 0 rejected (CSV; column 2, header: n/a)"),
        "{said}"
    );
    assert!(load(&["--header", "no"]).contains("already in the ledger"));
    let other = scene
        .run(&["load", "list.csv", "--delimiter", "tab"])
        .refused(2, &["none of its 2 rows"]);
    assert!(other.stdout.is_empty());
    scene.run(&["load", "list.csv", "--header", "maybe"]).expect(2);
    scene.run(&["load", "list.csv", "--delimiter", "ab"]).expect(2);
    scene
        .run(&["load", "list.csv", "--header", "no", "--column", "name"])
        .refused(2, &["--header no", "--column 2"]);
}

#[test]
fn a_stray_quote_swallows_no_line() {
    loaded(
        b"email,note\nann@example.com,\"called\nbob@example.com,\"vip\"\ncy@example.com,\"ok\"\n",
        [3, 2, 1],
        &["list.csv,2", "stray_quote", "closes on line 3"],
    );
    loaded(
        b"email,note\nann@example.com,\"called\nbob@example.com,vip\"\ncy@example.com,\"a\nb\"\n",
        [3, 1, 2],
        &["list.csv,2", "list.csv,3"],
    );
}

#[test]
fn web_pages_and_others_are_no_lists() {
    for (content, words) in [
        (&b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body>help@example.com</body></html>"[..], "web page (HTML)"),
        (b"BEGIN:VCARD\nEMAIL:ann@example.com\nEND:VCARD\n", "vCard"),
        (b"Subject: hello\nFrom: ann@example.com\nTo: bob@example.com\nDate: today\n\nHi", "mail program"),
        (b"BZh91AY&SY\0\0", "bzip2"),
    ] {
        refused(content, &["bad.csv: th", words]);
        refused(&gzip(content), &[words]);
    }
    refused(
        &utf16("<html><table><tr><td>ann@example.com</td></tr></table>"),
        &["web page"],
    );
}

#[test]
fn a_list_of_which_nothing_can_be_used() {
    refused(
        b"email\nann\nbob\n",
        &["none of its 2 rows holds a usable email", "line 2: no @"],
    );
    refused(
        b"To: helen@example.com, cara@example.com\n",
        &["bad.csv: its only row does not hold"],
    );
    refused(
        b"helen@example.com; cara@example.com\n",
        &["more than one email column"],
    );
}

#[test]
fn what_spreadsheets_leave_at_the_end() {
    loaded(
        b"name,email,note\nAnn,ann@example.com\nBob,bob@example.com,x,,\n",
        [2, 2, 0],
        &[],
    );
    for declared in ["sep=;\r\n", "\"sep=;\"\r\n", "SEP=;;\r\n", "\u{feff}sep=;\r"] {
        loaded(
            format!("{declared}name;email\r\nLee, Ann;ann@example.com\r\n").as_bytes(),
            [1, 1, 0],
            &[],
        );
    }
}

#[test]
fn what_follows_a_compressed_list() {
    loaded(&[gzip(GOOD.as_bytes()), vec![0; 1_000]].concat(), [2, 2, 0], &[]);
    refused(
        &[&gzip(GOOD.as_bytes())[..], b"cy@example.com\n"].concat(),
        &["gzip", "something else follows it"],
    );
}

#[test]
fn a_column_that_is_not_there() {
    let scene = Scene::offline();
    scene.write("list.csv", "name,email\nAnn,ann@example.com\n");
    for column in ["mail adress", "3", "99999999999999999999"] {
        scene.run(&["load", "--column", column, "list.csv"]).expect(2);
    }
    scene
        .run(&["load", "--column", "phone", "list.csv"])
        .refused(2, &["no column", "phone", "name", "email"]);
    assert_eq!(scene.names(), ["list.csv"]);
}

#[test]
fn nul_bytes_in_a_row_reject_that_row() {
    loaded(
        b"email\nann@example.com\nbo\0b@example.com\ncleo@example.com\n",
        [3, 2, 1],
        &["list.csv,3"],
    );
}

#[test]
fn a_field_of_five_megabytes_is_one_reject() {
    let mut list = b"name,email\nAnn,ann@example.com\n".to_vec();
    list.extend(b"\"");
    list.extend(vec![b'x'; 5_000_000]);
    list.extend(b"\",bob@example.com\nCleo,cleo@example.com\n");
    let scene = loaded(&list, [3, 2, 1], &["list.csv,3"]);
    let ledger = std::fs::metadata(scene.path("rollbook.db")).unwrap().len();
    assert!(ledger < 1_000_000, "{ledger} bytes");
}

#[test]
fn an_email_of_five_megabytes_is_one_reject() {
    let mut list = b"email\nann@example.com\n".to_vec();
    list.extend(vec![b'x'; 5_000_000]);
    list.extend(b"@example.com\ncleo@example.com\n");
    loaded(&list, [3, 2, 1], &["list.csv,3"]);
}

#[test]
fn a_ragged_row_is_rejected_with_its_line() {
    loaded(
        b"name,email\nAnn,ann@example.com\nBob\nCleo,cleo@example.com,extra\nDan,dan@example.com\n",
        [4, 2, 2],
        &["list.csv,3", "list.csv,4"],
    );
}

#[test]
fn a_quote_that_is_never_closed_refuses_the_list() {
    refused(
        b"name,email\nAnn,ann@example.com\n\"Bob,bob@example.com\nCleo,cleo@example.com\n",
        &["bad.csv, line 3", "never closed"],
    );
}

#[test]
fn binary_files_are_no_lists() {
    let mut random = noise(20_000);
    random[0] = 0x07;
    refused(&random, &["bad.csv"]);
    let mut workbook = b"PK\x03\x04\x14\0\x06\0".to_vec();
    workbook.extend(noise(5_000));
    refused(&workbook, &["bad.csv", "expected text"]);
    let mut picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    picture.extend(noise(5_000));
    refused(&picture, &["picture", "expected text"]);
    refused(
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0",
        &["bad.csv", "expected text"],
    );
}

/// Bytes that look like nothing, the same in every run.
fn noise(count: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..count).map(|_| random.u8(..)).collect()
}

#[test]
fn the_encodings_that_people_have() {
    loaded(
        &utf16("Name;E-Mail\r\nJürgen;ann@example.com\r\n"),
        [1, 1, 0],
        &[],
    );
    let be: Vec<u8> = utf16("email\nann@example.com\n")
        .chunks(2)
        .flat_map(|pair| [pair[1], pair[0]])
        .collect();
    loaded(&be, [1, 1, 0], &[]);
    loaded(b"Name,E-Mail\nJ\xfcrgen,ann@example.com\n", [1, 1, 0], &[]);
    loaded("\u{feff}email\nann@example.com\n".as_bytes(), [1, 1, 0], &[]);
    loaded(b"ann@example.com\r\nbob@example.com", [2, 2, 0], &[]);
}

#[test]
fn gzip_and_zstd_of_a_list() {
    loaded(&gzip(GOOD.as_bytes()), [2, 2, 0], &[]);
    loaded(&zstd::encode_all(GOOD.as_bytes(), 3).unwrap(), [2, 2, 0], &[]);
    let scene = loaded(GOOD.as_bytes(), [2, 2, 0], &[]);
    scene.write("again.csv.gz", gzip(GOOD.as_bytes()));
    let ran = scene.run(&["load", "again.csv.gz"]).expect(0);
    assert!(
        ran.stderr.contains("already in the ledger as list.csv"),
        "{}",
        ran.stderr
    );
}

#[test]
fn compressed_lists_that_were_cut_short() {
    let list: String = (0..5_000).map(|n| format!("n{n}@example.com\n")).collect();
    let packed = gzip(list.as_bytes());
    refused(&packed[..packed.len() / 2], &["gzip", "before its end mark"]);
    refused(&packed[..packed.len() - 4], &["gzip", "before its end mark"]);
    let packed = zstd::encode_all(list.as_bytes(), 3).unwrap();
    refused(&packed[..packed.len() / 2], &["zstd", "before its end mark"]);
}

#[test]
fn a_compressed_list_that_is_damaged() {
    let list: String = (0..5_000).map(|n| format!("n{n}@example.com\n")).collect();
    let mut packed = gzip(list.as_bytes());
    let middle = packed.len() / 2;
    packed[middle..middle + 8].fill(0xff);
    refused(&packed, &["bad.csv, line"]);
}

#[test]
fn a_compressed_list_that_grows_without_bounds() {
    let bomb = gzip(&b"ann@example.com\n".repeat(2_000_000));
    assert!(bomb.len() < 1_000_000);
    let began = Instant::now();
    refused(&bomb, &["expands to more than 100 times"]);
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_bad_list_is_refused_before_a_run_and_leaves_nothing() {
    let scene = Scene::with(options());
    scene.write("bad.csv", "name,email\n\"Ann,ann@example.com\n");
    scene
        .run(&["assign", "--status", "vip", "--yes", "bad.csv"])
        .refused(2, &["never closed"]);
    assert_eq!(scene.names(), ["bad.csv"]);
    assert!(scene.tenant().writes().is_empty());
}

/// `assign` in a folder without a tenant, with the connection that is given.
fn connect(environment: &[(&str, &str)], arguments: &[&str]) -> (Scene, Ran) {
    let scene = Scene::offline();
    scene.write("list.csv", GOOD);
    let mut command = scene.command(&["assign", "--status", "vip", "--yes", "list.csv"]);
    command.args(arguments).envs(environment.iter().copied());
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(scene.names(), ["list.csv"], "no ledger is left behind");
    (scene, ran)
}

#[test]
fn no_tenant_is_named() {
    let (_, ran) = connect(&[("OMNEO_TOKEN", TOKEN)], &[]);
    ran.refused(2, &["no tenant", "OMNEO_TENANT"]);
    let scene = Scene::offline();
    scene
        .run(&["statuses"])
        .refused(2, &["no tenant", "OMNEO_TENANT"]);
}

#[test]
fn names_that_no_tenant_has() {
    for tenant in [
        "acme.evil.example/",
        "a b",
        "acme/../x",
        "-acme",
        "ac@me",
        "ünder",
    ] {
        let (_, ran) = connect(&[("OMNEO_TENANT", tenant), ("OMNEO_TOKEN", TOKEN)], &[]);
        ran.refused(2, &["cannot be a tenant", "acme"]);
    }
}

#[test]
fn a_tenant_that_is_an_empty_word() {
    let (_, ran) = connect(&[("OMNEO_TENANT", ""), ("OMNEO_TOKEN", TOKEN)], &[]);
    ran.refused(2, &["OMNEO_TENANT"]);
}

#[test]
fn plain_http_leaves_this_machine_for_nobody() {
    for url in [
        "http://api.acme.getomneo.com/api/v3",
        "http://192.0.2.1/api/v3",
        "http://localhost.example.com/api/v3",
    ] {
        let (_, ran) = connect(&[("OMNEO_BASE_URL", url), ("OMNEO_TOKEN", TOKEN)], &[]);
        ran.refused(2, &["plain http", "https"]);
    }
}

#[test]
fn addresses_that_are_none() {
    for url in [
        "acme",
        "ftp://acme.example/api/v3",
        "https://",
        "https://user:pw@acme.example/api/v3",
    ] {
        let (_, ran) = connect(&[("OMNEO_BASE_URL", url), ("OMNEO_TOKEN", TOKEN)], &[]);
        let ran = ran.refused(2, &[]);
        assert!(!ran.stderr.contains("user:pw"), "{}", ran.stderr);
    }
}

#[test]
fn no_token() {
    let (_, ran) = connect(&[("OMNEO_TENANT", "acme")], &[]);
    ran.refused(2, &["there is no token", "OMNEO_TOKEN", "--token-file"]);
    let (_, ran) = connect(&[("OMNEO_TENANT", "acme"), ("OMNEO_TOKEN", " \n")], &[]);
    ran.refused(2, &["there is no token"]);
    let (_, ran) = connect(&[("OMNEO_TENANT", "acme")], &["--token-file", "none"]);
    ran.refused(2, &["cannot read the token from none"]);
}

#[test]
fn a_token_with_a_line_break_inside() {
    let broken = format!("{TOKEN}\nmore");
    let (_, ran) = connect(&[("OMNEO_TENANT", "acme"), ("OMNEO_TOKEN", &broken)], &[]);
    let ran = ran.refused(2, &["OMNEO_TOKEN"]);
    assert!(!ran.stderr.contains(TOKEN));
}

#[test]
fn a_wrong_token() {
    let scene = Scene::with(options());
    scene.write("list.csv", GOOD);
    for arguments in [
        vec!["assign", "--status", "vip", "--yes", "list.csv"],
        vec!["statuses"],
    ] {
        let mut command = scene.command(&arguments);
        let ran = Ran::from(command.env("OMNEO_TOKEN", "wrong-canary-77").output().unwrap());
        let ran = ran.refused(5, &["does not accept the token", "OMNEO_TOKEN"]);
        assert!(!ran.stderr.contains("wrong-canary-77"));
    }
    let mut command = scene.command(&["doctor"]);
    let ran = Ran::from(command.env("OMNEO_TOKEN", "wrong-canary-77").output().unwrap()).expect(5);
    assert!(ran.stdout.contains("BROKEN"), "{}", ran.stdout);
    assert_eq!(scene.names(), ["list.csv"]);
    assert!(
        scene.tenant().requests().len() <= 4,
        "a wrong token is not tried again"
    );
}

#[test]
fn a_token_without_the_scope() {
    for missing in ["read-statuses", "read-profiles"] {
        let mut options = options();
        options.scopes.retain(|scope| scope != missing);
        let scene = Scene::with(options);
        scene.write("list.csv", GOOD);
        scene
            .run(&["assign", "--status", "vip", "--yes", "list.csv"])
            .refused(5, &[missing]);
        assert_eq!(scene.names(), ["list.csv"]);
        assert!(scene.tenant().requests().len() <= 6);
    }
}

#[test]
fn a_token_that_may_not_write_stops_the_run_with_nothing_lost() {
    let mut only_reads = options();
    only_reads.scopes.retain(|scope| scope != "update-profiles");
    let cast = cast(&only_reads, 60, "already_assigned", "confirmed");
    let mut scene = Scene::with(only_reads);
    scene.write("list.csv", &cast.list);
    scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "--rate",
            "unlimited",
            "--yes",
            "list.csv",
        ])
        .refused(4, &["update-profiles", "rollbook resume"]);
    assert!(scene.tenant().writes().is_empty());
    let port = scene.tenant().port();
    scene.close();
    scene.open(Options { port, ..options() });
    scene.run(&["resume", "--rate", "unlimited"]).expect(0);
    cast.check(&scene.export());
    check_promises(&scene, &scene.export());
}

#[test]
fn nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/api/v3");
    let began = Instant::now();
    let (_, ran) = connect(&[("OMNEO_BASE_URL", &url), ("OMNEO_TOKEN", TOKEN)], &[]);
    ran.refused(5, &["cannot connect", "check the network"]);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn a_name_that_does_not_resolve() {
    let (_, ran) = connect(
        &[
            ("OMNEO_BASE_URL", "https://tenant.invalid/api/v3"),
            ("OMNEO_TOKEN", TOKEN),
        ],
        &[],
    );
    ran.refused(5, &["cannot connect", "check the network"]);
}

#[test]
fn an_address_without_the_api() {
    let scene = Scene::with(options());
    scene.write("list.csv", GOOD);
    let url = scene.tenant().base_url().replace("/api/v3", "/shop");
    scene
        .run(&[
            "assign",
            "--status",
            "vip",
            "--yes",
            "--base-url",
            &url,
            "list.csv",
        ])
        .refused(5, &["no Omneo API", "--base-url"]);
}

#[test]
fn a_filter_that_is_ignored_is_noticed_at_once() {
    let scene = Scene::with(Options {
        filter: FilterMode::Ignored,
        ..options()
    });
    scene.write("list.csv", GOOD);
    scene
        .run(&["assign", "--status", "vip", "--yes", "list.csv"])
        .refused(5, &["ignores the email filter"]);
    let pages = scene.tenant().requests();
    let pages = pages.iter().filter(|seen| seen.route == Route::Profiles).count();
    assert!(pages <= 2, "{pages} pages");
    assert_eq!(scene.names(), ["list.csv"]);
}

#[test]
fn a_folder_where_no_ledger_can_be() {
    let scene = Scene::with(options());
    scene.write("list.csv", GOOD);
    scene.write("file", "");
    for ledger in ["file/rollbook.db", "none/rollbook.db", "/proc/rollbook.db"] {
        for arguments in [
            vec!["load", "--ledger", ledger, "list.csv"],
            vec![
                "assign", "--status", "vip", "--yes", "--ledger", ledger, "list.csv",
            ],
        ] {
            let ran = scene.run(&arguments);
            assert!(
                matches!(ran.code, Some(2 | 4 | 5 | 6)),
                "{:?}: {}",
                ran.code,
                ran.stderr
            );
            let code = ran.code.unwrap();
            let ran = ran.refused(code, &["rollbook.db"]);
            assert!(ran.stderr.contains("folder"), "{}", ran.stderr);
            assert!(!ran.stderr.contains("there is no ledger"), "{}", ran.stderr);
        }
    }
    assert_eq!(scene.names(), ["file", "list.csv"]);
    assert!(scene.tenant().writes().is_empty());
}

fn many(count: u32) -> String {
    (0..count)
        .map(|n| format!("customer-number-{n}@example.com\n"))
        .collect()
}

#[test]
fn a_full_disk_while_loading_loses_nothing_and_keeps_nothing() {
    let scene = Scene::offline();
    scene.write("good.csv", GOOD);
    scene.run(&["load", "good.csv"]).expect(0);
    let before = scene.status();
    scene.write("many.txt", many(30_000));
    let ran = scene.run_with_files_limited(2_000, &["load", "many.txt"]);
    disk_is_full(ran);
    assert_eq!(scene.status(), before);
    check_doctor(&scene, &scene.path("rollbook.db"));
    scene.run(&["load", "many.txt"]).expect(0);
    assert_eq!(scene.status()["entries"], 30_002);
    check_doctor(&scene, &scene.path("rollbook.db"));
}

/// Loading has no half-way state to resume from, so either of the two codes is honest.
#[track_caller]
fn disk_is_full(ran: Ran) {
    let code = ran.code.unwrap();
    assert!(matches!(code, 1 | 4), "{code}: {}", ran.stderr);
    ran.refused(code, &["cannot write the ledger", "make room"]);
}

#[test]
fn a_disk_that_is_full_from_the_start_harms_nothing() {
    for blocks in [0, 1, 20, 64, 200] {
        let scene = Scene::offline();
        scene.write("list.csv", GOOD);
        disk_is_full(scene.run_with_files_limited(blocks, &["load", "list.csv"]));
        scene.run(&["load", "list.csv"]).expect(0);
        assert_eq!(scene.status()["entries"], 2);
        check_doctor(&scene, &scene.path("rollbook.db"));
    }
}

#[test]
fn what_a_full_disk_left_of_a_new_ledger_is_called_by_its_name() {
    let scene = Scene::offline();
    scene.write("list.csv", GOOD);
    disk_is_full(scene.run_with_files_limited(64, &["load", "list.csv"]));
    for verb in ["status", "doctor", "export"] {
        let ran = scene.run(&[verb]);
        assert!(
            !ran.stderr.contains("is not a rollbook ledger"),
            "{verb}: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_log_on_a_full_disk_changes_no_outcome() {
    let scene = Scene::with(options());
    scene.write("list.csv", GOOD);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let code = |arguments: &[&str]| {
        let mut command = scene.command(arguments);
        command.stderr(full()).stdout(std::process::Stdio::null());
        command.status().unwrap().code()
    };
    assert_eq!(code(&["load", "none.csv"]), Some(2));
    let job = ["assign", "--status", "vip", "--rate", "unlimited", "list.csv"];
    assert_eq!(code(&job), Some(5));
    for progress in ["plain", "json", "bar"] {
        let more = ["--yes", "--progress", progress];
        assert_eq!(code(&[&job[..], &more].concat()), Some(0), "{progress}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let scene = Scene::offline();
    scene.write("list.csv", GOOD);
    scene.run(&["load", "list.csv"]).expect(0);
    for verb in ["status", "export"] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = Ran::from(scene.command(&[verb]).stdout(full).output().unwrap());
        ran.expect(1);
    }
}

#[test]
fn a_full_disk_during_a_run_stops_it_and_nothing_is_sent_twice() {
    let options = options();
    let cast = cast(&options, 600, "already_assigned", "confirmed");
    let mut codes = Vec::new();
    let limits = [500, 700, 900, 1_100, 1_500, 2_000];
    for blocks in limits.into_iter().step_by(pick(2, 1, 1)) {
        let scene = Scene::with(options.clone());
        scene.write("list.csv", &cast.list);
        let job = [
            "assign",
            "--status",
            "vip",
            "--rate",
            "unlimited",
            "--batch-size",
            "10",
            "--yes",
            "list.csv",
        ];
        let ran = scene.run_with_files_limited(blocks, &job);
        codes.push(ran.code);
        if ran.code == Some(0) {
            break;
        }
        disk_is_full(ran);
        scene
            .run(&[&job[..], &["--settle-deadline", "10s"]].concat())
            .expect(0);
        let export = scene.export();
        cast.check(&export);
        check_promises(&scene, &export);
        check_doctor(&scene, &scene.path("rollbook.db"));
    }
    assert!(codes.contains(&Some(4)), "some run got under way: {codes:?}");
}

//! Answers as they really come: marked, packed and loosely typed, about other things, or from something on the way.

use crate::support::raw::{Bad, PEOPLE, Raw, Site};
use crate::support::share::pick;
use crate::support::{Ran, Scene, TOKEN, check_doctor};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

const JOB: [&str; 9] = [
    "assign",
    "--status",
    "vip",
    "--rate",
    "unlimited",
    "--yes",
    "--settle-deadline",
    "1s",
    "list.txt",
];

fn scene() -> Scene {
    let scene = Scene::offline();
    scene.write("list.txt", PEOPLE.join("\n"));
    scene
}

fn states(scene: &Scene) -> Vec<String> {
    scene
        .export()
        .into_values()
        .map(|row| row["state"].clone())
        .collect()
}

/// The same bad answer for ever at one site: everybody is confirmed all the same, by one write.
#[track_caller]
fn overcomes_for_ever(said: &str, site: Site, bad: Bad) {
    let raw = Raw::with(site, bad, usize::MAX, true);
    let scene = scene();
    let ran = raw.run(&scene, &JOB);
    assert_eq!(ran.code, Some(0), "{said}: {}", ran.stderr);
    assert_eq!(states(&scene), ["confirmed"; 3], "{said}");
    assert_eq!(raw.count(Site::Write), 1, "{said}");
    check_doctor(&scene, &scene.path("rollbook.db"));
}

#[test]
fn a_batch_of_which_little_can_be_read_is_settled_by_its_members() {
    std::thread::scope(|scope| {
        for body in [
            r#"{"data":{"id":"b-1","status":null}}"#,
            r#"{"data":{"id":7,"status":null,"items":[{"id":1,"entity_id":17,"status":null}]}}"#,
            r#"{"data":{"id":"b-1","status":"success","items":[{"entity_id":17,"status":"success"}]}}"#,
            r#"{"data":{"id":"b-1","status":"success","total_count":null,"items":null}}"#,
            r#"{"data":{"id":"b-1","status":{"name":"success"},"items":"none"}}"#,
            r#"{"data":[]}"#,
            r#"{"data":null}"#,
        ] {
            scope.spawn(move || overcomes_for_ever(body, Site::Poll, Bad::json("200 OK", body)));
        }
    });
}

/// It blames all members, and says that all is over: of another batch.
#[test]
fn the_report_of_another_batch_is_not_believed() {
    let body = r#"{"data":{"id":"b-2","status":"failed","items":[
        {"entity_id":"p-0","status":"failed","error":"no"},{"entity_id":"p-1","status":"failed","error":"no"},
        {"entity_id":"p-2","status":"failed","error":"no"}]}}"#;
    overcomes_for_ever("another batch", Site::Poll, Bad::json("200 OK", body));
}

fn marked(body: &[u8]) -> Vec<u8> {
    [b"\xEF\xBB\xBF", body].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn in_two_members(body: &[u8]) -> Vec<u8> {
    let (first, second) = body.split_at(body.len() / 2);
    [gzip(first), gzip(second)].concat()
}

#[test]
fn answers_are_read_however_they_are_packed() {
    let json = "Content-Type: application/json\r\n";
    std::thread::scope(|scope| {
        for site in Site::ALL {
            for (said, bad) in [
                ("marked", Bad::Repacked(json, marked)),
                ("GZIP", Bad::Repacked("Content-Encoding: GZIP\r\n", gzip)),
                ("x-gzip", Bad::Repacked("Content-Encoding: x-gzip\r\n", gzip)),
                (
                    "two members",
                    Bad::Repacked("Content-Encoding: gzip\r\n", in_two_members),
                ),
                (
                    "packed already",
                    Bad::Repacked("Content-Encoding: gzip\r\n", <[u8]>::to_vec),
                ),
                ("packed, not said", Bad::Repacked(json, gzip)),
            ] {
                scope.spawn(move || overcomes_for_ever(said, site, bad));
            }
        }
    });
}

#[test]
fn a_gateway_that_refuses_is_not_taken_for_the_tenant() {
    for bad in [
        Bad::html("403 Forbidden"),
        Bad::html("401 Unauthorized"),
        Bad::answer(
            "403 Forbidden",
            "Content-Type: text/plain\r\n",
            "RBAC: access denied",
        ),
    ] {
        let raw = Raw::with(Site::Statuses, bad, usize::MAX, false);
        let ran = raw
            .run(&scene(), &JOB)
            .refused(5, &["on the way to the tenant", "gateway"]);
        assert!(!ran.stderr.contains("scope"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("OMNEO_TOKEN"), "{}", ran.stderr);
    }
}

/// The token at every place around the one where texts are cut.
#[test]
fn a_token_that_is_echoed_is_taken_out_before_a_text_is_cut() {
    let parts: Vec<&str> = (0..=TOKEN.len() - 8).map(|at| &TOKEN[at..at + 8]).collect();
    let nowhere = |said: &str, text: &str| {
        for part in &parts {
            assert!(!text.contains(part), "{said} shows `{part}` of the token: {text}");
        }
    };
    // Each position waits ten seconds for a refusal that lasts.
    let positions = [290, 0, 281, 285, 295, 299];
    for before in positions.into_iter().take(pick(1, 3, 6)) {
        let echo = format!("{}{TOKEN}", "x".repeat(before));
        let message = format!(r#"{{"message":"{echo}"}}"#);
        let raw = Raw::with(
            Site::Write,
            Bad::json("400 Bad Request", &message),
            usize::MAX,
            false,
        );
        let scene = scene();
        let ran = raw.run(&scene, &[&JOB[..], &["-v"]].concat()).expect(3);
        nowhere("stderr", &ran.stderr);
        nowhere("stdout", &ran.stdout);
        for (path, bytes) in scene.files() {
            nowhere(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
    for (site, body) in [
        (
            Site::Statuses,
            format!(r#"{{"data":[{{"handle":"vip"}},{{"handle":"{TOKEN}","name":"{TOKEN}"}}]}}"#),
        ),
        (Site::Write, format!(r#"{{"data":{{"batch_id":"{TOKEN}"}}}}"#)),
        (
            Site::Poll,
            format!(r#"{{"data":{{"id":"{TOKEN}","status":"{TOKEN}"}}}}"#),
        ),
    ] {
        let raw = Raw::with(site, Bad::json("200 OK", &body), usize::MAX, true);
        let scene = scene();
        let ran = raw.run(&scene, &[&JOB[..], &["-v"]].concat()).expect(0);
        let statuses = raw.run(&scene, &["statuses"]);
        let batches = raw.run(&scene, &["batches"]);
        for text in [&ran.stderr, &ran.stdout, &statuses.stdout, &batches.stdout] {
            nowhere(&format!("{site:?}"), text);
        }
        for (path, bytes) in scene.files() {
            nowhere(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

/// A machine without any certificates of authorities.
fn without_authorities(mut command: std::process::Command) -> Ran {
    command
        .env("SSL_CERT_FILE", "/nonexistent/certificates.pem")
        .env("SSL_CERT_DIR", "/nonexistent/certificates");
    Ran::from(command.output().unwrap())
}

#[test]
fn a_machine_without_authorities_reaches_itself_and_says_what_to_install() {
    let raw = Raw::good();
    let scene = scene();
    without_authorities(raw.command(&scene, &JOB)).expect(0);
    assert_eq!(states(&scene), ["confirmed"; 3]);
    let mut command = raw.command(&scene, &["statuses"]);
    command.env("OMNEO_BASE_URL", "https://localhost:9/api/v3");
    without_authorities(command).refused(
        2,
        &["certificates of authorities", "ca-certificates", "SSL_CERT_FILE"],
    );
}

/// A server with a certificate of its own making.
fn untrusted() -> SocketAddr {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = include_bytes!("data/untrusted.crt.der").as_slice().into();
    let key =
        rustls::pki_types::PrivatePkcs8KeyDer::from(include_bytes!("data/untrusted.key.der").as_slice());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let _ = rustls::Stream::new(&mut connection, &mut stream).read(&mut [0; 100]);
        }
    });
    address
}

#[test]
fn a_server_that_no_known_authority_vouches_for_is_no_fault_of_the_network() {
    let scene = Scene::offline();
    // Any authority will do that is not its own.
    let authority = scene.write("authority.pem", include_str!("data/authority.pem"));
    let mut command = scene.command(&["statuses"]);
    command
        .env("OMNEO_BASE_URL", format!("https://{}/api/v3", untrusted()))
        .env("OMNEO_TOKEN", TOKEN)
        .env("SSL_CERT_FILE", authority);
    let ran = Ran::from(command.output().unwrap())
        .refused(5, &["certificate is not trusted", "SSL_CERT_FILE", "proxy"]);
    assert!(!ran.stderr.contains("check the network"), "{}", ran.stderr);
}

#[test]
fn a_token_is_taken_as_it_was_meant() {
    let scene = scene();
    let raw = Raw::good();
    for text in [
        format!("{TOKEN}\n"),
        format!("\u{feff}{TOKEN}\r\n"),
        format!("\"{TOKEN}\""),
        format!("'{TOKEN}'\n\n"),
        format!("Bearer {TOKEN}\n"),
        format!("\u{feff}\"bearer  {TOKEN}\"\n"),
        format!("Authorization: Bearer {TOKEN}"),
    ] {
        scene.write("token", &text);
        let mut command = raw.command(&scene, &["statuses", "--token-file", "token"]);
        Ran::from(command.env_remove("OMNEO_TOKEN").output().unwrap()).expect(0);
        let mut command = raw.command(&scene, &["statuses"]);
        Ran::from(command.env("OMNEO_TOKEN", &text).output().unwrap()).expect(0);
    }
    assert!(raw.asked().iter().all(|asked| asked.authorized));
}

#[test]
fn what_is_no_token_is_not_sent() {
    let scene = scene();
    let raw = Raw::good();
    for text in [
        "\"\"",
        "Bearer ",
        "\u{feff}\n",
        "one token\nanother token",
        "one two",
        "OMNEO_TOKEN=abc",
        "t\u{f6}ken",
        "tok\u{200b}en",
        "\"half a quote",
        "<html>",
        "{\"token\":\"abc\"}",
    ] {
        scene.write("token", text);
        let ran = raw
            .run(&scene, &["statuses", "--token-file", "token"])
            .refused(2, &["token"]);
        assert!(!ran.stderr.contains("abc"), "{}", ran.stderr);
    }
    assert!(raw.asked().is_empty(), "{:?}", raw.asked());
}

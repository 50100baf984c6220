//! Every kind of bad answer at every place where the tenant is asked, over real sockets, judged by what arrived.

use crate::support::raw::{Bad, PEOPLE, Raw, Site, Stranger};
use crate::support::{Ran, Scene, check_doctor, side_by_side};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

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

/// The job on a tenant, to its end.
fn job(raw: &Raw) -> (Scene, Ran) {
    let scene = Scene::offline();
    scene.write("list.txt", PEOPLE.join("\n"));
    let ran = raw.run(&scene, &JOB);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    (scene, ran)
}

/// The value of a column in every row of the export.
fn column(scene: &Scene, name: &str) -> Vec<String> {
    scene
        .export()
        .into_values()
        .map(|row| row[name].clone())
        .collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// One bad answer, and then good ones: the job ends as if nothing had been.
#[track_caller]
fn overcome(site: Site, bad: Bad) -> Raw {
    let said = format!("{site:?}");
    let raw = Raw::with(site, bad, 1, false);
    let (scene, ran) = job(&raw);
    assert_eq!(ran.code, Some(0), "{said}: {}", ran.stderr);
    assert_eq!(column(&scene, "state"), ["confirmed"; 3], "{said}");
    assert_eq!(raw.count(Site::Write), 1, "{said}");
    assert_eq!(sorted(raw.changed()), ["p-0", "p-1", "p-2"], "{said}");
    assert!(raw.asked().iter().all(|asked| asked.authorized));
    check_doctor(&scene, &scene.path("rollbook.db"));
    raw
}

/// The same bad answer once at every place where nothing is written.
fn overcome_everywhere(bad: Bad) {
    std::thread::scope(|scope| {
        for site in Site::READS {
            let bad = bad.clone();
            scope.spawn(move || overcome(site, bad));
        }
    });
}

fn gzip_bomb() -> Bad {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let blanks = vec![b' '; 1 << 20];
    for _ in 0..200 {
        encoder.write_all(&blanks).unwrap();
    }
    Bad::answer(
        "200 OK",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        encoder.finish().unwrap(),
    )
}

#[test]
fn a_good_tenant_is_served_well() {
    let raw = Raw::good();
    let (scene, ran) = job(&raw);
    ran.expect(0);
    assert_eq!(column(&scene, "state"), ["confirmed"; 3]);
    assert!(raw.count(Site::LookUp) > 3, "each of them, and the filter");
}

#[test]
fn html_instead_of_an_answer() {
    // What `auth/verify` answers need not be JSON.
    std::thread::scope(|scope| {
        for site in [Site::Statuses, Site::LookUp, Site::Poll, Site::ReadBack] {
            scope.spawn(move || overcome(site, Bad::html("200 OK")));
        }
    });
}

#[test]
fn an_answer_that_breaks_off() {
    overcome_everywhere(Bad::cut("200 OK", r#"{"data":[{"id":"p-0","em"#));
}

#[test]
fn an_answer_that_is_cut_and_looks_whole() {
    overcome_everywhere(Bad::cut("200 OK", r#"{"data":[]}"#));
}

#[test]
fn an_answer_without_end_is_not_taken_in() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n";
    std::thread::scope(|scope| {
        for site in Site::READS {
            scope.spawn(move || {
                let raw = overcome(site, Bad::Flood(head.into(), 200_000_000));
                assert!(raw.flooded() < 40_000_000, "{site:?}: {} bytes", raw.flooded());
            });
        }
    });
}

#[test]
fn an_answer_that_inflates_without_end() {
    overcome_everywhere(gzip_bomb());
}

#[test]
fn answers_of_the_wrong_shape() {
    std::thread::scope(|scope| {
        for (site, body) in [
            (Site::Statuses, r#"{"data":{"handle":"vip"}}"#),
            (Site::Statuses, "[]"),
            (Site::LookUp, r#"{"data":null}"#),
            (
                Site::LookUp,
                r#"{"data":[{"id":7,"email":"ann@example.com","statuses":[]}]}"#,
            ),
            (Site::LookUp, r#"{"message":"ok"}"#),
            (Site::ReadBack, r#"{"data":{"id":"p-9","statuses":["vip"]}}"#),
            (Site::ReadBack, r#"{"data":{"statuses":["vip"]}}"#),
            (Site::ReadBack, r#"{"data":[]}"#),
            (Site::Poll, r#"{"data":{"status":7}}"#),
            (Site::Poll, "null"),
            (Site::Poll, ""),
        ] {
            scope.spawn(move || overcome(site, Bad::json("200 OK", body)));
        }
    });
}

#[test]
fn a_connection_that_is_closed_without_an_answer() {
    overcome_everywhere(Bad::Silence);
}

#[test]
fn servers_that_are_ill() {
    for status in [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
    ] {
        overcome_everywhere(Bad::html(status));
    }
}

#[test]
fn something_else_that_is_under_way() {
    for status in ["409 Conflict", "423 Locked", "425 Too Early"] {
        overcome_everywhere(Bad::json(
            status,
            r#"{"message":"Another request is under way."}"#,
        ));
    }
}

#[test]
fn an_answer_that_takes_its_time() {
    overcome_everywhere(Bad::Late(Duration::from_secs(2)));
}

#[test]
fn bytes_that_are_no_http() {
    overcome_everywhere(Bad::Bytes(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()));
}

#[test]
fn a_batch_that_is_not_known_yet() {
    overcome(
        Site::Poll,
        Bad::json("404 Not Found", r#"{"message":"Not found."}"#),
    );
}

/// A refusal while something is looked up stops the run; a later one goes on.
fn stops_and_goes_on(site: Site, bad: Bad, code: i32) {
    let raw = Raw::with(site, bad, 1, false);
    let (scene, ran) = job(&raw);
    ran.refused(code, &[]);
    let written = raw.count(Site::Write);
    if code == 5 {
        assert_eq!(scene.names(), ["list.txt"]);
    }
    raw.run(&scene, &JOB).expect(0);
    assert_eq!(column(&scene, "state"), ["confirmed"; 3]);
    assert_eq!(raw.count(Site::Write), written.max(1));
    assert_eq!(sorted(raw.changed()), ["p-0", "p-1", "p-2"]);
}

#[test]
fn a_token_that_is_refused_before_the_run() {
    let unauthenticated = || Bad::json("401 Unauthorized", r#"{"message":"Unauthenticated."}"#);
    let no_scope = || Bad::json("403 Forbidden", r#"{"message":"Invalid scope(s) provided."}"#);
    stops_and_goes_on(Site::Verify, unauthenticated(), 5);
    stops_and_goes_on(Site::Statuses, unauthenticated(), 5);
    stops_and_goes_on(Site::Statuses, no_scope(), 5);
    stops_and_goes_on(Site::LookUp, no_scope(), 5);
}

#[test]
fn a_token_that_expires_while_batches_are_settled() {
    let unauthenticated = || Bad::json("401 Unauthorized", r#"{"message":"Unauthenticated."}"#);
    stops_and_goes_on(Site::Poll, unauthenticated(), 4);
    stops_and_goes_on(Site::ReadBack, unauthenticated(), 4);
}

#[test]
fn a_token_that_may_not_read_batches_reads_their_members() {
    let forbidden = Bad::json("403 Forbidden", r#"{"message":"Invalid scope(s) provided."}"#);
    let raw = Raw::with(Site::Poll, forbidden, usize::MAX, false);
    let (scene, ran) = job(&raw);
    ran.expect(0);
    assert_eq!(column(&scene, "evidence"), ["seen"; 3]);
    // Each once to be compared with what the search says, and once to see the change.
    assert_eq!((raw.count(Site::Write), raw.count(Site::ReadBack)), (1, 6));
}

#[test]
fn a_redirect_is_followed_nowhere() {
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        std::thread::scope(|scope| {
            for site in Site::ALL {
                scope.spawn(move || {
                    let stranger = Stranger::listening();
                    let raw = Raw::with(site, Bad::redirect(status, stranger.address), usize::MAX, false);
                    let (_, ran) = job(&raw);
                    assert!(
                        matches!((site, ran.code), (Site::Poll, Some(0 | 4)) | (_, Some(3..=5))),
                        "{status} at {site:?}: {:?} {}",
                        ran.code,
                        ran.stderr
                    );
                    stranger.heard_nothing();
                    assert!(raw.count(Site::Write) <= 1);
                });
            }
        });
    }
}

#[test]
fn a_redirect_before_the_run_names_the_place_and_the_remedy() {
    let stranger = Stranger::listening();
    let raw = Raw::with(
        Site::Verify,
        Bad::redirect("302 Found", stranger.address),
        usize::MAX,
        false,
    );
    let (scene, ran) = job(&raw);
    ran.refused(5, &["redirects to 127.0.0.1", "not followed"]);
    assert_eq!(scene.names(), ["list.txt"]);
    stranger.heard_nothing();
}

/// The ways in which nobody can know whether a write arrived.
fn doubtful() -> Vec<(&'static str, Bad)> {
    let flood = "HTTP/1.1 202 Accepted\r\nContent-Length: 200000000\r\n\r\n";
    vec![
        ("closed after the request", Bad::Silence),
        ("no http", Bad::Bytes(b"\0\0\0".to_vec())),
        (
            "cut 202",
            Bad::cut("202 Accepted", r#"{"data":{"batch_id":"b-1"}}"#),
        ),
        (
            "cut in the head",
            Bad::Bytes(b"HTTP/1.1 202 Accepted\r\nContent-".to_vec()),
        ),
        ("202 with rubbish", Bad::answer("202 Accepted", "", "\u{1}\u{2}")),
        ("202 with HTML", Bad::html("202 Accepted")),
        ("202 with nothing", Bad::answer("202 Accepted", "", "")),
        (
            "202 without batch_id",
            Bad::json("202 Accepted", r#"{"data":{"message":"Queued."}}"#),
        ),
        (
            "202 with a null",
            Bad::json("202 Accepted", r#"{"data":{"batch_id":null}}"#),
        ),
        ("204", Bad::answer("204 No Content", "", "")),
        ("202 without end", Bad::Flood(flood.into(), 200_000_000)),
        ("302", Bad::redirect("302 Found", ([127, 0, 0, 1], 9).into())),
        ("408", Bad::html("408 Request Timeout")),
        ("409", Bad::json("409 Conflict", r#"{"message":"In progress."}"#)),
        ("423", Bad::json("423 Locked", r#"{"message":"Locked."}"#)),
        ("500", Bad::html("500 Internal Server Error")),
        ("502", Bad::html("502 Bad Gateway")),
        ("503", Bad::html("503 Service Unavailable")),
        ("504", Bad::html("504 Gateway Timeout")),
    ]
}

#[test]
fn a_doubtful_write_that_arrived_is_found_out_and_never_repeated() {
    std::thread::scope(|scope| {
        for (said, bad) in doubtful() {
            scope.spawn(move || {
                let raw = Raw::with(Site::Write, bad, usize::MAX, true);
                let (scene, ran) = job(&raw);
                assert_eq!(ran.code, Some(0), "{said}: {}", ran.stderr);
                assert_eq!(column(&scene, "state"), ["confirmed"; 3], "{said}");
                assert_eq!(column(&scene, "rung"), ["reached"; 3], "{said}");
                assert_eq!(column(&scene, "evidence"), ["seen"; 3], "{said}");
                raw.run(&scene, &JOB).expect(0);
                assert_eq!(raw.count(Site::Write), 1, "{said}");
                check_doctor(&scene, &scene.path("rollbook.db"));
            });
        }
    });
}

#[test]
fn a_doubtful_write_that_does_not_show_is_held_until_a_person_rules() {
    std::thread::scope(|scope| {
        for (said, bad) in doubtful() {
            scope.spawn(move || {
                let raw = Raw::with(Site::Write, bad, 1, false);
                let (scene, ran) = job(&raw);
                assert_eq!(ran.code, Some(3), "{said}: {}", ran.stderr);
                assert_eq!(scene.status()["batches"]["held"], 1, "{said}");
                assert_eq!(column(&scene, "state"), ["batched"; 3], "{said}");
                // The tenant is well again, and still nothing may be sent without evidence.
                let hold = [&JOB[..], &["--in-doubt", "hold"]].concat();
                raw.run(&scene, &hold).expect(3);
                assert_eq!(raw.count(Site::Write), 1, "{said}");
                // No profile has ever shown a change of this job, so evidence alone never calls it absent.
                let ruling = [
                    "settle",
                    "--batch",
                    "1",
                    "--as",
                    "absent",
                    "--by",
                    "Ann",
                    "--because",
                    "x",
                ];
                raw.run(&scene, &ruling).expect(0);
                raw.run(&scene, &["resume", "--rate", "unlimited"]).expect(0);
                assert_eq!(raw.count(Site::Write), 2, "{said}");
                assert_eq!(column(&scene, "state"), ["confirmed"; 3], "{said}");
                assert_eq!(column(&scene, "rung"), ["ruled_absent"; 3], "{said}");
                check_doctor(&scene, &scene.path("rollbook.db"));
            });
        }
    });
}

#[test]
fn a_doubtful_removal_is_found_out_too() {
    side_by_side([true, false], |takes_hold| {
        let scene = Scene::offline();
        scene.write("list.txt", PEOPLE.join("\n"));
        let raw = Raw::with(Site::Write, Bad::Silence, 1, takes_hold);
        raw.let_everybody_hold_it();
        let mut remove = JOB;
        remove[0] = "remove";
        raw.run(&scene, &remove).expect(if takes_hold { 0 } else { 3 });
        let state = if takes_hold { "confirmed" } else { "batched" };
        assert_eq!(column(&scene, "state"), [state; 3]);
        assert_eq!(raw.count(Site::Write), 1);
        assert_eq!(
            raw.asked()
                .iter()
                .filter(|asked| asked.method == "DELETE")
                .count(),
            1
        );
    });
}

#[test]
fn a_write_whose_body_was_not_read_is_in_doubt() {
    let raw = Raw::with(Site::Write, Bad::Deafness, 1, false);
    let (scene, ran) = job(&raw);
    ran.refused(3, &[]);
    assert_eq!(scene.status()["batches"]["held"], 1);
    assert_eq!(raw.count(Site::Write), 1);
}

#[test]
fn a_definite_refusal_fails_the_batch_in_the_tenants_words() {
    side_by_side(["400 Bad Request", "422 Unprocessable Content"], |status| {
        let words = r#"{"message":"The moon is in the wrong phase."}"#;
        let raw = Raw::with(Site::Write, Bad::json(status, words), usize::MAX, false);
        let (scene, ran) = job(&raw);
        ran.refused(3, &["rollbook export"]);
        assert_eq!(column(&scene, "state"), ["failed"; 3], "{status}");
        for detail in column(&scene, "detail") {
            assert!(
                detail.contains("The moon is in the wrong phase."),
                "{status}: {detail}"
            );
            assert!(detail.contains(&status[..3]), "{status}: {detail}");
        }
        raw.run(
            &scene,
            &["resume", "--rate", "unlimited", "--settle-deadline", "1s"],
        )
        .expect(3);
        assert_eq!(
            raw.count(Site::Write),
            3,
            "{status}: it is tried three times before it is believed"
        );
        assert!(raw.changed().is_empty());
        check_doctor(&scene, &scene.path("rollbook.db"));
    });
}

#[test]
fn a_refusal_that_all_would_meet_stops_the_run_and_a_later_one_goes_on() {
    let stranger = Stranger::listening();
    for bad in [
        Bad::json("401 Unauthorized", r#"{"message":"Unauthenticated."}"#),
        Bad::json("403 Forbidden", r#"{"message":"Invalid scope(s) provided."}"#),
        Bad::json("404 Not Found", r#"{"message":"Not found."}"#),
        Bad::html("405 Method Not Allowed"),
        Bad::redirect("301 Moved Permanently", stranger.address),
        Bad::redirect("307 Temporary Redirect", stranger.address),
        Bad::redirect("308 Permanent Redirect", stranger.address),
    ] {
        let raw = Raw::with(Site::Write, bad, 1, false);
        let (scene, ran) = job(&raw);
        ran.refused(4, &["rollbook resume"]);
        assert_eq!(raw.count(Site::Write), 1);
        assert!(raw.changed().is_empty());
        raw.run(&scene, &JOB).expect(0);
        assert_eq!(raw.count(Site::Write), 2);
        assert_eq!(sorted(raw.changed()), ["p-0", "p-1", "p-2"]);
    }
    stranger.heard_nothing();
}

#[test]
fn a_429_is_obeyed_and_the_write_repeated_once() {
    let body = r#"{"message":"Too Many Attempts."}"#;
    for headers in ["Retry-After: 1\r\n", ""] {
        let raw = Raw::with(
            Site::Write,
            Bad::answer("429 Too Many Requests", headers, body),
            1,
            false,
        );
        let (scene, ran) = job(&raw);
        ran.expect(0);
        assert_eq!(column(&scene, "state"), ["confirmed"; 3]);
        assert_eq!(raw.count(Site::Write), 2);
        assert_eq!(sorted(raw.changed()), ["p-0", "p-1", "p-2"]);
    }
}

/// The hold that the tenant asked for stands in the record that all processes share, and outlives the run that was told.
#[test]
fn a_long_hold_ends_what_nobody_has_agreed_to_and_no_run_that_goes_on() {
    let held = Bad::answer("429 Too Many Requests", "Retry-After: 90\r\n", "{}");
    let raw = Raw::with(Site::Write, held, 1, false);
    let scene = Scene::offline();
    scene.write("list.txt", PEOPLE.join("\n"));
    let mut command = raw.command(&scene, &JOB);
    let void = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut agreed = void.spawn().unwrap();
    let is_held = || {
        let entries = std::fs::read_dir(scene.state()).unwrap().flatten();
        entries.into_iter().any(|entry| {
            let record = std::fs::read(entry.path()).unwrap();
            serde_json::from_slice::<serde_json::Value>(&record)
                .is_ok_and(|record| record["hold"].as_u64() > Some(0))
        })
    };
    let mut looks = 0;
    while !is_held() {
        looks += 1;
        assert!(
            looks < 1_500,
            "the run was told to wait, and its record does not say so"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let another = [JOB.as_slice(), &["--ledger", "another.db"]].concat();
    for arguments in [&["statuses"], another.as_slice()] {
        let words = [
            "asks to come back in ",
            "nothing was sent; run the same command again after ",
        ];
        raw.run(&scene, arguments).refused(5, &words);
    }
    assert!(agreed.try_wait().unwrap().is_none(), "the run waits");
    agreed.kill().unwrap();
    agreed.wait().unwrap();
    assert_eq!(raw.count(Site::Write), 1);
}

#[test]
fn only_the_additive_endpoint_is_written_to() {
    let raw = Raw::good();
    job(&raw).1.expect(0);
    let asked = raw.asked();
    for asked in &asked {
        let method = if asked.site == Some(Site::Write) {
            "POST"
        } else {
            "GET"
        };
        assert_eq!(asked.method, method, "{asked:?}");
    }
    let bodies: Vec<&str> = asked
        .iter()
        .filter(|asked| asked.site == Some(Site::Write))
        .map(|asked| asked.body.as_str())
        .collect();
    let mut sent: serde_json::Value = serde_json::from_str(bodies[0]).unwrap();
    let members = sent["profiles"].as_array_mut().unwrap();
    members.sort_by_key(|member| member["profile_id"].as_str().unwrap().to_owned());
    assert_eq!(
        sent,
        serde_json::json!({"profiles": [
            {"profile_id": "p-0", "statuses": ["vip"]},
            {"profile_id": "p-1", "statuses": ["vip"]},
            {"profile_id": "p-2", "statuses": ["vip"]},
        ]})
    );
}

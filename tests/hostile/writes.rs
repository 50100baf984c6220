//! Tenants that lose, garble, delay or misreport what was written.

use super::server::{JSON, Reply, Site, Tenant, World, accepted, count, missing, paged, people, whole};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

const HOLD: [&str; 4] = ["--in-doubt", "hold", "--settle-deadline", "5s"];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every row under a number, whose UUID stands beside it, all of one size and made in the same second.
fn alike(world: &World, number: usize) -> Value {
    let mut row = world.batches[number].row(0);
    row["uuid"] = std::mem::replace(&mut row["id"], json!(7_000 + number));
    row["total_count"] = json!(row["total_count"].to_string());
    row["items"] = Value::Null;
    row
}

/// Two answers are lost in a row, and the first takes thirty times as long as the second. The list of batches has five of
/// the same size by others, numeric ids, nobody's name, and shows each second page in the reverse order.
/// Attacks "nothing is sent twice": either doubt could take the other's batch, or a stranger's, for its own.
#[test]
fn answers_lost_in_pairs_among_batches_that_look_alike() {
    let tenant = Tenant::with(people(12), |ask, world| match ask.site {
        Site::Write if ask.earlier < 2 => {
            let takes = [seconds(6), Duration::from_millis(200)][ask.earlier];
            world.accept(ask, takes);
            let theirs: Vec<String> = (0..3).map(|n| format!("theirs-{n}-{}", ask.earlier)).collect();
            world.accept_of_others(&theirs, "vip", seconds(2));
            Some(Reply::Reset)
        }
        Site::Batches => {
            let mut numbers: Vec<usize> = (0..world.batches.len()).rev().collect();
            if ask.page().is_multiple_of(2) {
                numbers.reverse();
            }
            let rows: Vec<Value> = numbers.iter().map(|number| alike(world, *number)).collect();
            let page: Vec<&Value> = rows.iter().skip((ask.page() - 1) * 2).take(2).collect();
            let meta =
                json!({"current_page": ask.page(), "last_page": rows.len().div_ceil(2), "per_page": "2"});
            Some(Reply::Json(200, json!({"data": page, "meta": meta})))
        }
        _ => None,
    });
    {
        let mut world = tenant.world();
        for batch in 0..5 {
            let theirs: Vec<String> = (0..3).map(|n| format!("theirs-{batch}-{n}")).collect();
            world.accept_of_others(&theirs, "vip", seconds(0));
        }
    }
    let scene = tenant.scene();
    tenant.live(&scene, "assign", &["--batch-size", "3"]).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 12);
}

/// Our first write never arrives. At that very moment another job gives the handle to half of its members and to as many
/// others, and the list shows that job's batch as the only one of our size, its items under numbers.
/// Attacks "silently missed": half of the members show what we would have done, so all might be believed.
#[test]
fn another_job_reaches_half_of_a_batch_that_never_arrived() {
    let tenant = Tenant::with(people(12), |ask, world| match ask.site {
        Site::Write if ask.earlier == 0 => {
            let members = ask.body["profiles"].as_array().unwrap().iter();
            let ids = members.map(|member| member["profile_id"].as_str().unwrap().to_owned());
            let mut theirs: Vec<String> = ids.take(3).collect();
            theirs.extend((0..3).map(|n| format!("theirs-{n}")));
            world.accept_of_others(&theirs, "vip", seconds(1));
            Some(Reply::Reset)
        }
        Site::Batches => {
            let row = |number: usize| {
                let mut row = alike(world, number);
                let items = (0..world.batches[number].members.len())
                    .map(|n| json!({"id": n, "entity_id": 100 + n, "external_id": null, "status": null}));
                row["items"] = items.collect();
                row
            };
            let rows: Vec<Value> = (0..world.batches.len()).rev().map(row).collect();
            Some(paged(ask, &rows))
        }
        _ => None,
    });
    let scene = tenant.scene();
    tenant.world().kill_at = Some(20);
    let options = [&HOLD[..], &["--batch-size", "6"]].concat();
    // On a busy machine more than the doubtful batch may be open after five seconds, so only the truth is insisted on.
    tenant.live(&scene, "assign", &options);
    tenant.judge(&scene, "assign");
    // A person who is wrong about it is contradicted by the three who show it.
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
    tenant.run(&scene, &ruling);
    tenant.run(
        &scene,
        &[&["resume", "--rate", "unlimited", "--yes"], &HOLD[..]].concat(),
    );
    tenant.judge(&scene, "assign");
}

/// The batch is called failed, every item with an error, and for the second one only some. All are applied half a minute
/// later.
/// Attacks "silently missed": `failed` for those who have it.
#[test]
fn a_batch_called_failed_is_applied_all_the_same() {
    let tenant = Tenant::with(people(12), |ask, world| match ask.site {
        Site::Write => {
            let number = world.accept(ask, seconds(9));
            world.batches[number].status = "failed";
            Some(accepted(&world.batches[number].id.clone()))
        }
        Site::Batch => {
            let number = world.batches.iter().position(|batch| batch.id == ask.name)?;
            let mut row = world.batches[number].row(number);
            let items = world.batches[number].members.iter().enumerate();
            let items = items.map(|(at, (id, _))| {
                let failed = number == 0 || at % 2 == 0;
                json!({"id": at, "entity_id": id, "status": if failed { "failed" } else { "success" },
                    "error": if failed { json!("Profile locked") } else { Value::Null }})
            });
            row["items"] = items.collect();
            row["status"] = json!("failed");
            row["failed_count"] = json!("6");
            Some(Reply::Json(200, json!({"data": row})))
        }
        _ => None,
    });
    let scene = tenant.scene();
    tenant.world().kill_at = Some(19);
    tenant.live(
        &scene,
        "assign",
        &["--batch-size", "6", "--settle-deadline", "15s"],
    );
    tenant.judge(&scene, "assign");
}

fn half_of_a_gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    whole[..whole.len() / 2].to_vec()
}

const HTML: &str = "Content-Type: text/html\r\n";

/// The answer to one accepted write after the other is no answer: a login page with 200, half a gzip, a kill, a 503 with
/// words for a time, a batch without an id, a reset. Looks amid these doubts meet 429s with every odd `Retry-After`.
/// Attacks "nothing is sent twice", and "every run ends" with a pause of three trillion years.
#[test]
fn no_answer_to_a_write_is_an_answer() {
    let tenant = Tenant::with(people(16), |ask, world| {
        const ODD: [&str; 7] = [
            "Retry-After: -5\r\n",
            "Retry-After: 1e3\r\n",
            "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            "Retry-After: 99999999999999999999\r\n",
            "Retry-After: 0.5\r\n",
            "Retry-After: \r\n",
            "Retry-After: Thu, 31 Dec 9999 23:59:59 GMT\r\n",
        ];
        match ask.site {
            Site::Write => {
                let number = world.accept(ask, seconds(1 + ask.earlier as u64 % 3));
                let good = format!(
                    r#"{{"data":{{"message":"Queued","batch_id":"{}"}}}}"#,
                    world.batches[number].id
                );
                match ask.earlier {
                    0 => Some(Reply::Whole(
                        200,
                        HTML,
                        b"<html><body>Please log in</body></html>".to_vec(),
                    )),
                    1 => Some(Reply::Whole(
                        202,
                        "Content-Encoding: gzip\r\n",
                        half_of_a_gzip(&good),
                    )),
                    2 => Some(Reply::Kill),
                    3 => Some(Reply::Whole(
                        503,
                        "Retry-After: as soon as possible\r\n",
                        Vec::new(),
                    )),
                    4 => Some(Reply::Json(
                        202,
                        json!({"data": {"message": "Queued", "batch_id": ""}}),
                    )),
                    5 => Some(Reply::Reset),
                    6 => Some(Reply::Bytes(
                        format!("HTTP/1.1 202 Accepted\r\n{JSON}Content-Length: 900\r\n\r\n{good}").into(),
                    )),
                    _ => Some(accepted(&world.batches[number].id.clone())),
                }
            }
            Site::Profile if !ask.earlier.is_multiple_of(2) => {
                let odd = ODD.get(ask.earlier / 2)?;
                Some(Reply::Whole(429, odd, b"Too Many Attempts.".to_vec()))
            }
            Site::Batches => Some(missing()),
            _ => None,
        }
    });
    let scene = tenant.scene();
    let options = ["--batch-size", "2", "--concurrency", "1"];
    tenant.live(&scene, "assign", &options).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 16);
}

/// The list of batches goes by a cursor and heeds no page number: each page is the same two batches of others, of our
/// size, and there are four billion of them. Our answer is lost and we are killed amid it; one member is passed over.
/// Attacks "every run ends" and "silently missed".
#[test]
fn a_list_of_batches_without_end_in_which_ours_never_appears() {
    let tenant = Tenant::with(people(10), |ask, world| match ask.site {
        Site::Write if ask.earlier == 0 => {
            world.accept(ask, seconds(3));
            Some(Reply::Kill)
        }
        Site::Batches => {
            let rows: Vec<Value> = (0..2).map(|number| alike(world, number)).collect();
            let links = json!({"next": format!("http://127.0.0.1:1/api/v3/batches?cursor={}", ask.earlier)});
            let meta =
                json!({"last_page": "4000000000", "total": null, "current_page": ask.page().to_string()});
            Some(Reply::Json(
                200,
                json!({"data": rows, "links": links, "meta": meta}),
            ))
        }
        _ => None,
    });
    {
        let mut world = tenant.world();
        for batch in 0..2 {
            let theirs: Vec<String> = (0..5).map(|n| format!("theirs-{batch}-{n}")).collect();
            world.accept_of_others(&theirs, "vip", seconds(0));
        }
        let ignored = world.people[1].id.clone();
        world.ignored.insert(ignored);
    }
    let scene = tenant.scene();
    let options = [&HOLD[..], &["--batch-size", "5", "--confirm", "all"]].concat();
    tenant.live(&scene, "assign", &options);
    let export = tenant.judge(&scene, "assign");
    assert_ne!(export["m1@example.com"]["state"], "confirmed");
}

/// On kept connections every third answer to a question is followed by an answer too many: that a batch was accepted,
/// under the id of a batch by others that is a success and of our size.
/// Attacks "nothing is sent twice" and "silently missed": the next write on it could take that answer for its own.
#[test]
fn a_connection_holds_an_answer_that_nobody_asked_for() {
    let tenant = Tenant::with(people(20), |ask, world| {
        let asks = matches!(ask.site, Site::Search | Site::Profile | Site::Batch);
        if !asks || !ask.earlier.is_multiple_of(3) {
            return None;
        }
        let Reply::Json(status, body) = world.good(ask) else {
            return None;
        };
        let Reply::Json(202, more) = accepted(&world.batches[0].id) else {
            return None;
        };
        let answers = [(status, body), (202, more)];
        let bytes = answers.map(|(status, body)| whole(status, JSON, body.to_string().as_bytes()));
        Some(Reply::AndMore(bytes.concat()))
    });
    {
        let mut world = tenant.world();
        let theirs: Vec<String> = (0..2).map(|n| format!("theirs-{n}")).collect();
        world.accept_of_others(&theirs, "vip", seconds(0));
        world.kill_at = Some(40);
    }
    let scene = tenant.scene();
    let options = ["--batch-size", "2", "--concurrency", "2"];
    tenant.live(&scene, "assign", &options).expect(0);
    let export = tenant.judge(&scene, "assign");
    assert_eq!(count(&export, "confirmed"), 20);
}

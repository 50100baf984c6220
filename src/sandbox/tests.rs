//! The tenant as a client meets it: over a socket, with a client of a few lines so that no other crate is needed.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

const BATCH: &str = "/profile/status/batch.json";

/// One answer, taken apart.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }
}

fn send_as(token: &str, sandbox: &Sandbox, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", sandbox.port())).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} /api/v3{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head[9..12].parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

fn send(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> Answer {
    send_as(sandbox.token(), sandbox, method, path, body)
}

fn get(sandbox: &Sandbox, path: &str) -> Answer {
    send(sandbox, "GET", path, "")
}

async fn start(change: impl FnOnce(&mut Options)) -> Sandbox {
    let mut options = Options {
        profiles: 500,
        apply_delay: Duration::from_millis(20),
        ..Options::default()
    };
    change(&mut options);
    Sandbox::start(options).await.unwrap()
}

fn entries(sandbox: &Sandbox, indices: &[u32], handle: &str) -> String {
    let entry = |index: &u32| json!({"profile_id": sandbox.person(*index).profile_id, "statuses": [handle]});
    json!({"profiles": indices.iter().map(entry).collect::<Vec<_>>()}).to_string()
}

/// Waits for a batch to leave its unfinished state, and returns it.
fn settled(sandbox: &Sandbox, queued: &Answer) -> Value {
    assert_eq!(queued.status, 202, "{}", queued.body);
    let id = queued.json()["data"]["batch_id"].as_str().unwrap().to_owned();
    let patience = Instant::now() + Duration::from_secs(10);
    while Instant::now() < patience {
        let answer = get(sandbox, &format!("/batches/{id}"));
        if answer.status == 200 && answer.json()["data"]["status"] != "pending" {
            return answer.json()["data"].clone();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the batch {id} never settled");
}

#[tokio::test]
async fn tokens_and_scopes_decide_who_is_let_in() {
    let sandbox = start(|options| options.scopes = vec!["read-profiles".to_owned()]).await;
    let verified = get(&sandbox, "/auth/verify");
    assert_eq!((verified.status, verified.body.as_str()), (200, "OK"));
    assert_eq!(get(&sandbox, "/profiles").status, 200);
    assert_eq!(get(&sandbox, "/statuses").status, 403);
    assert_eq!(send(&sandbox, "POST", BATCH, "{}").status, 403);
    let stranger = send_as("wrong", &sandbox, "GET", "/auth/verify", "");
    assert_eq!(stranger.status, 401);
    assert_eq!(stranger.json()["message"], "Unauthenticated.");
    sandbox.revoke_token();
    assert_eq!(get(&sandbox, "/profiles").status, 401);
    let routes: Vec<_> = sandbox
        .requests()
        .iter()
        .map(|seen| (seen.route, seen.status))
        .collect();
    assert_eq!(routes[..2], [(Route::Verify, 200), (Route::Profiles, 200)]);
    assert_eq!(routes[3], (Route::BatchWrite, 403));
}

#[tokio::test]
async fn people_are_found_by_email_and_by_id() {
    let sandbox = start(|options| options.duplicates_percent = 0.0).await;
    let person = sandbox.person(17);
    let email = person.email.replace('+', "%2B").to_uppercase();
    for key in ["filter[email]", "filter%5Bemail%5D"] {
        let found = get(&sandbox, &format!("/profiles?{key}={email}")).json();
        assert_eq!(found["data"][0]["id"], person.profile_id.as_str());
        assert_eq!(found["data"][0]["email"], person.email.as_str());
        assert_eq!(found["meta"]["total"], 1);
    }
    let one = get(&sandbox, &format!("/profiles/{}", person.profile_id));
    assert_eq!(one.json()["data"]["email"], person.email.as_str());
    sandbox.set_email(&person.profile_id, "moved@example.com");
    let found = get(&sandbox, &format!("/profiles?filter[email]={email}")).json();
    assert_eq!(found["meta"]["total"], 0);
    assert_eq!(found["meta"]["from"], Value::Null);
    sandbox.delete_profile(&person.profile_id);
    assert_eq!(
        get(&sandbox, &format!("/profiles/{}", person.profile_id)).status,
        404
    );
}

#[tokio::test]
async fn lists_come_in_pages_with_absolute_links() {
    let sandbox = start(|options| options.counts = CountStyle::String).await;
    let page = get(&sandbox, "/profiles?page[size]=200&page[number]=5").json();
    assert_eq!(page["data"].as_array().unwrap().len(), 100);
    assert_eq!(page["meta"]["last_page"], "5");
    assert_eq!(page["links"]["next"], Value::Null);
    let first = page["links"]["first"].as_str().unwrap();
    assert!(first.starts_with(&sandbox.base_url()), "{first}");
    let statuses = get(&sandbox, "/statuses").json();
    assert_eq!(statuses["data"].as_array().unwrap().len(), 15);
    let vip = get(&sandbox, "/statuses?filter[handle]=vip").json();
    assert_eq!(vip["data"].as_array().unwrap().len(), 1);
    let bare = start(|options| options.envelope = EnvelopeStyle::Bare).await;
    let statuses = get(&bare, "/statuses").json();
    assert_eq!(statuses["data"].as_array().unwrap().len(), 20);
    assert!(statuses.get("meta").is_none());
}

#[tokio::test]
async fn a_write_is_queued_applied_and_taken_back() {
    let sandbox = start(|options| options.holders_percent = 0).await;
    let body = entries(&sandbox, &[1, 2, 2], "gold");
    let batch = settled(&sandbox, &send(&sandbox, "POST", BATCH, &body));
    assert_eq!(batch["status"], "success");
    assert_eq!(
        (&batch["total_count"], &batch["success_count"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(
        batch["items"][2]["entity_id"],
        sandbox.person(2).profile_id.as_str()
    );
    assert_eq!(sandbox.holders("gold").len(), 2);
    assert_eq!(sandbox.writes()[0].members.len(), 3);
    let body = entries(&sandbox, &[1], "gold");
    settled(&sandbox, &send(&sandbox, "DELETE", BATCH, &body));
    assert_eq!(sandbox.holders("gold"), [sandbox.person(2).profile_id]);
    assert_eq!(sandbox.writes()[1].action, Action::Detach);
    let list = get(&sandbox, "/batches").json();
    assert_eq!(list["data"][1]["id"], batch["id"]);
    let some = get(&sandbox, "/batches?filter[total_count]=3").json();
    assert_eq!(some["meta"]["total"], 1);
    let held = get(&sandbox, "/profiles?filter[statuses.handle]=gold").json();
    assert_eq!(held["data"][0]["statuses"], json!(["gold"]));
}

#[tokio::test]
async fn unknown_ids_are_rejected_failed_or_passed_over() {
    let body = json!({"profiles": [{"profile_id": "nobody", "statuses": ["vip"]}]}).to_string();
    for (unknown_ids, status) in [
        (UnknownIds::Reject, ""),
        (UnknownIds::Item, "failed"),
        (UnknownIds::Silent, "success"),
    ] {
        let sandbox = start(|options| options.unknown_ids = unknown_ids).await;
        let answer = send(&sandbox, "POST", BATCH, &body);
        if unknown_ids == UnknownIds::Reject {
            assert_eq!(answer.status, 422);
            assert!(answer.json()["errors"]["profiles.0.profile_id"].is_array());
            assert!(sandbox.writes().is_empty());
        } else {
            assert_eq!(settled(&sandbox, &answer)["status"], status);
        }
    }
}

#[tokio::test]
async fn large_writes_are_refused_with_and_without_words() {
    let sandbox = start(|options| (options.batch_max, options.payload_max) = (2, 3)).await;
    let answer = send(&sandbox, "POST", BATCH, &entries(&sandbox, &[1, 2, 3], "vip"));
    assert_eq!(answer.status, 422);
    let complaint = "The profiles may not have more than 2 items.";
    assert_eq!(answer.json()["errors"]["profiles"][0], complaint);
    let answer = send(&sandbox, "POST", BATCH, &entries(&sandbox, &[1, 2, 3, 4], "vip"));
    assert_eq!(answer.status, 413);
    assert!(answer.body.starts_with("<html>"));
}

#[tokio::test]
async fn answers_can_be_lost_and_writes_dropped() {
    for (lost, dropped, taken) in [(100.0, 0.0, 1), (0.0, 100.0, 0)] {
        let sandbox = start(|options| {
            (options.lose_answers_percent, options.drop_writes_percent) = (lost, dropped);
        })
        .await;
        let answer = send(&sandbox, "POST", BATCH, &entries(&sandbox, &[1], "vip"));
        assert_eq!(answer.status, 502);
        assert!(answer.head.contains("text/html"));
        assert_eq!(sandbox.writes().len(), taken);
    }
}

#[tokio::test]
async fn batches_can_be_late_odd_and_without_effect() {
    let sandbox = start(|options| {
        options.not_found_for = Duration::from_millis(150);
        options.unknown_state = true;
        options.apply_delay = Duration::from_secs(60);
        options.counts = CountStyle::Null;
    })
    .await;
    let queued = send(&sandbox, "POST", BATCH, &entries(&sandbox, &[1], "gold")).json();
    let path = format!("/batches/{}", queued["data"]["batch_id"].as_str().unwrap());
    assert_eq!(get(&sandbox, &path).status, 404);
    std::thread::sleep(Duration::from_millis(200));
    let batch = get(&sandbox, &path).json();
    assert_eq!(batch["data"]["status"], "processing");
    assert_eq!(batch["data"]["total_count"], Value::Null);
    let sandbox = start(|options| options.drop_handle_effect = true).await;
    let queued = send(&sandbox, "POST", BATCH, &entries(&sandbox, &[1], "gold"));
    assert_eq!(settled(&sandbox, &queued)["status"], "success");
    assert!(sandbox.holders("gold").is_empty());
}

#[tokio::test]
async fn effects_show_later_than_success_if_told_to() {
    let sandbox = start(|options| options.show_delay = Duration::from_millis(300)).await;
    let queued = send(&sandbox, "POST", BATCH, &entries(&sandbox, &[1], "gold"));
    settled(&sandbox, &queued);
    assert!(sandbox.holders("gold").is_empty());
    let patience = Instant::now() + Duration::from_secs(10);
    while sandbox.holders("gold").is_empty() {
        assert!(Instant::now() < patience, "the effect never showed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn the_rate_limit_refuses_and_tells() {
    let sandbox = start(|options| {
        options.rate_limit = Some("3/min".parse().unwrap());
    })
    .await;
    let remaining = |answer: &Answer| answer.head.contains("x-ratelimit-remaining: 2");
    assert!(remaining(&get(&sandbox, "/auth/verify")));
    get(&sandbox, "/profiles");
    assert_eq!(get(&sandbox, "/no/such/route").status, 404);
    let refused = get(&sandbox, "/auth/verify");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["message"], "Too Many Attempts.");
    assert!(refused.head.contains("retry-after: 60") && refused.head.contains("x-ratelimit-reset"));
    assert_eq!(sandbox.requests()[3].status, 429);
    assert_eq!(sandbox.busiest_second(), 4);
}

#[tokio::test]
async fn latency_comes_after_the_arrival_and_the_deed() {
    let sandbox = start(|_| ()).await;
    sandbox.set_latency(Duration::from_millis(120));
    let began = Instant::now();
    get(&sandbox, "/auth/verify");
    assert!(began.elapsed() >= Duration::from_millis(120));
    assert!(sandbox.requests()[0].at < Duration::from_secs(5));
}

fn opened(path: &std::path::Path) -> OpenFile {
    let mut choices = std::fs::File::options();
    let file = choices
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path);
    OpenFile::new(path, file.unwrap())
}

#[tokio::test]
async fn a_stopped_tenant_starts_again_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (state, journal) = (folder.path().join("state"), folder.path().join("journal"));
    let mut options = Options {
        profiles: 100,
        apply_delay: Duration::from_millis(400),
        state: Some(opened(&state)),
        journal: Some(opened(&journal)),
        ..Options::default()
    };
    let sandbox = Sandbox::start(options.clone()).await.unwrap();
    options.port = sandbox.port();
    let queued = send(&sandbox, "POST", BATCH, &entries(&sandbox, &[1, 2], "gold"));
    sandbox.delete_status("staff");
    let writes = sandbox.writes();
    sandbox.stop().await;
    let sandbox = Sandbox::start(options.clone()).await.unwrap();
    assert_eq!(sandbox.writes(), writes);
    settled(&sandbox, &queued);
    assert_eq!(sandbox.holders("gold").len(), 2);
    let staff = get(&sandbox, "/statuses?filter[handle]=staff").json();
    assert_eq!(staff["data"], json!([]));
    assert_eq!(read_journal(&journal).unwrap(), writes);
    drop(sandbox);
    options.seed += 1;
    options.port = 0;
    let error = Sandbox::start(options).await.unwrap_err();
    assert!(matches!(error, SandboxError::StateMismatch { field: "seed", .. }));
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let first = start(|_| ()).await;
    let options = Options {
        port: first.port(),
        profiles: 1,
        ..Options::default()
    };
    let error = Sandbox::start(options).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on 127.0.0.1:"));
}

//! What the client does by itself: nothing. And what an HTTP client does by itself that is not told so.

use super::kinds::STRANGER;
use super::server::plain;
use crate::support::TOKEN;
use rollbook::api::base_url::BaseUrl;
use rollbook::api::client::{Client, Timeouts};
use rollbook::api::{Slice, Tenant, Wanted};
use rollbook::model::ids::{Action, BatchId, Handle, ProfileId};
use rollbook::model::outcome::{Member, ReadFailure, WriteAnswer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const QUEUED: &[u8] = br#"{"data":{"message":"Queued for processing.","batch_id":"b-1"}}"#;
/// What `client.rs` takes of a body at the most.
const LIMIT: usize = 8 << 20;

/// What a listener does about a request. The connection ends afterwards, unless it is kept.
enum Reply {
    Say(Vec<u8>),
    Keep(Vec<u8>),
    /// So many bytes a second.
    Drip(Vec<u8>, u64),
}

/// A server that does with each request what it is told, and remembers them: the first line and the body.
struct Listener {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<(String, String)>>>,
}

impl Listener {
    /// `reply` is given the request's number on the whole and on its connection, from 1.
    fn new(reply: impl Fn(usize, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (all, reply) = (heard.clone(), Arc::new(reply));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, reply) = (all.clone(), reply.clone());
                std::thread::spawn(move || serve(&stream, &all, &*reply));
            }
        });
        Self { address, heard }
    }

    fn saying(answer: Vec<u8>) -> Self {
        Self::new(move |_, _| Reply::Keep(answer.clone()))
    }

    fn client(&self) -> Client {
        client_for(self.address, Timeouts::USUAL)
    }

    fn lines(&self) -> Vec<String> {
        self.heard
            .lock()
            .unwrap()
            .iter()
            .map(|(line, _)| line.clone())
            .collect()
    }

    /// How often a profile was named in a body.
    fn times(&self, profile: &str) -> usize {
        let named = format!("\"{profile}\"");
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(_, body)| body.contains(&named)).count()
    }
}

fn serve(
    stream: &TcpStream,
    all: &Mutex<Vec<(String, String)>>,
    reply: &dyn Fn(usize, usize) -> Reply,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    for here in 1.. {
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first)?;
        if first.is_empty() {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let number = {
            let mut all = all.lock().unwrap();
            all.push((
                first.trim_end().to_owned(),
                String::from_utf8_lossy(&body).into_owned(),
            ));
            all.len()
        };
        match reply(number, here) {
            Reply::Say(bytes) => return writer.write_all(&bytes),
            Reply::Keep(bytes) => writer.write_all(&bytes)?,
            Reply::Drip(bytes, a_second) => {
                for byte in bytes {
                    writer.write_all(&[byte])?;
                    std::thread::sleep(Duration::from_millis(1_000 / a_second));
                }
            }
        }
    }
    Ok(())
}

fn client_for(address: SocketAddr, timeouts: Timeouts) -> Client {
    let base = BaseUrl::parse(&format!("http://{address}/api/v3")).unwrap();
    Client::with_timeouts(base, &TOKEN.to_owned().into(), timeouts).unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn write(client: &Client, number: usize) -> WriteAnswer {
    let member = Member {
        profile: ProfileId::new(format!("p-{number}")),
        handles: vec![Handle::new("vip")],
    };
    client.write(Action::Assign, &[member]).await
}

fn queued() -> Vec<u8> {
    plain("202 Accepted", "", QUEUED)
}

fn to_the_stranger(status: &str) -> Vec<u8> {
    plain(
        status,
        &format!("Location: http://{}/\r\n", STRANGER.address),
        b"",
    )
}

/// The control: what `reqwest` does where it is not told otherwise.
#[test]
fn a_client_left_to_itself_posts_to_whomever_it_is_sent_and_ours_does_not() {
    for status in ["307 Temporary Redirect", "308 Permanent Redirect"] {
        let other = Listener::saying(queued());
        let location = format!("Location: http://{}/elsewhere\r\n", other.address);
        let server = Listener::saying(plain(status, &location, b""));
        // Building any client before ours would need this.
        let client = server.client();
        block_on(async {
            let careless = reqwest::Client::builder().no_proxy().build().unwrap();
            let url = format!("http://{}/write", server.address);
            careless.post(url).body(r#""p-1""#).send().await.unwrap();
            assert_eq!(other.times("p-1"), 1, "the control does not bite");
            let answer = write(&client, 2).await;
            assert!(matches!(answer, WriteAnswer::Denied(_)), "{answer:?}");
        });
        assert_eq!((server.times("p-2"), other.times("p-2")), (1, 0));
        assert_eq!(other.lines(), ["POST /elsewhere HTTP/1.1"]);
    }
}

/// A server that keeps a connection open and hangs up on the second request of each.
///
/// A client that pools its connections learns nothing of what became of every second write; ours uses each
/// connection once, so nothing is lost, and no more arrives than was sent.
#[test]
fn pooled_connections_make_doubts_and_ours_are_not_pooled() {
    const WRITES: usize = 100;
    let hangs_up_on_the_second = |_, here| match here {
        1 => Reply::Keep(queued()),
        _ => Reply::Say(vec![]),
    };
    let server = Listener::new(hangs_up_on_the_second);
    let client = server.client();
    block_on(async {
        for number in 0..WRITES {
            let answer = write(&client, number).await;
            assert_eq!(answer, WriteAnswer::Accepted(BatchId::new("b-1")), "{number}");
        }
    });
    assert_eq!(server.lines().len(), WRITES);
    let careless = Listener::new(hangs_up_on_the_second);
    let failed = block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/write", careless.address);
        let mut failed = 0;
        for number in 0..WRITES {
            let answer = client.post(&url).body(number.to_string()).send().await;
            match answer {
                Ok(answer) => drop(answer.bytes().await),
                Err(_) => failed += 1,
            }
        }
        failed
    });
    println!("of {WRITES} writes: pooled {failed} without an answer, ours 0");
    assert!(failed >= WRITES / 3, "the control does not bite: {failed}");
}

/// The race of the idle connection: it ends just after the answer, about when the next request is written.
#[test]
fn a_connection_that_ends_behind_the_answer_costs_nothing() {
    const WRITES: usize = 300;
    let server = Listener::new(|number, _| {
        if number % 3 == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        Reply::Say(queued())
    });
    let client = server.client();
    block_on(async {
        for number in 0..WRITES {
            let answer = write(&client, number).await;
            assert_eq!(answer, WriteAnswer::Accepted(BatchId::new("b-1")), "{number}");
        }
    });
    assert_eq!(server.lines().len(), WRITES);
}

/// Whatever becomes of a write, it arrives at most once, and the class says whether it can have arrived.
#[test]
fn each_write_leaves_once_and_is_classed_by_what_can_have_become_of_it() {
    const WRITES: usize = 120;
    let server = Listener::new(|number, _| match number % 4 {
        0 => Reply::Say(vec![]),
        1 => Reply::Keep(queued()),
        2 => Reply::Say(b"HTTP/1.1 202 Acc".to_vec()),
        _ => Reply::Keep(plain("500 Internal Server Error", "", b"")),
    });
    // Nobody listens there.
    let nowhere = TcpListener::bind("127.77.254.1:0").unwrap().local_addr().unwrap();
    let absent = client_for(nowhere, Timeouts::USUAL);
    let client = server.client();
    block_on(async {
        for number in 1..=WRITES {
            let answer = write(&client, number).await;
            let right = match number % 4 {
                1 => matches!(answer, WriteAnswer::Accepted(_)),
                _ => matches!(answer, WriteAnswer::InDoubt(_)),
            };
            assert!(right, "{number}: {answer:?}");
            assert_eq!(server.times(&format!("p-{number}")), 1);
            let answer = write(&absent, number).await;
            assert!(matches!(answer, WriteAnswer::NotSent(_)), "{number}: {answer:?}");
        }
    });
    assert_eq!(server.lines().len(), WRITES);
}

#[test]
fn no_question_is_carried_to_another_host() {
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Moved",
        "308 Moved",
    ] {
        let server = Listener::saying(to_the_stranger(status));
        let client = server.client();
        let (profile, batch) = (ProfileId::new("p-1"), BatchId::new("b-1"));
        block_on(async {
            let failures = [
                client.verify_token().await.unwrap_err(),
                client.statuses(1).await.unwrap_err(),
                client
                    .profiles(Wanted::Email("a@example.com"), Slice::usual(1))
                    .await
                    .unwrap_err(),
                client.held_by(&profile).await.unwrap_err(),
                client.batch(&batch).await.unwrap_err(),
            ];
            for failure in failures {
                let ReadFailure::Refused(refusal) = failure else {
                    panic!("{status}: {failure:?}")
                };
                assert!(refusal.message.contains("not followed"), "{refusal}");
            }
            let answer = write(&client, 1).await;
            let denied = matches!(answer, WriteAnswer::Denied(_));
            let doubtful = matches!(answer, WriteAnswer::InDoubt(_));
            assert!(denied || doubtful, "{status}: {answer:?}");
        });
        assert_eq!(server.lines().len(), 6);
    }
    STRANGER.heard_nothing();
}

#[test]
fn the_next_page_is_asked_for_at_home_wherever_the_link_leads() {
    let there = STRANGER.address;
    let body = format!(
        r#"{{"data":[{{"id":"p-1","email":"a@example.com","statuses":[],"handle":"vip","name":"x"}}],
            "links":{{"next":"http://{there}/api/v3/profiles?page[number]=2"}}}}"#
    );
    let server = Listener::saying(plain(
        "200 OK",
        &format!("Link: <http://{there}/2>; rel=\"next\"\r\n"),
        body.as_bytes(),
    ));
    let client = server.client();
    block_on(async {
        assert!(client.statuses(1).await.unwrap().more);
        assert!(
            client
                .profiles(Wanted::Email("a@example.com"), Slice::usual(1))
                .await
                .unwrap()
                .more
        );
        assert!(
            client
                .profiles(Wanted::Email("a@example.com"), Slice::usual(2))
                .await
                .unwrap()
                .more
        );
    });
    let lines = server.lines();
    assert!(lines[2].contains("page%5Bnumber%5D=2"), "{lines:?}");
    STRANGER.heard_nothing();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A body is bounded by what it is once inflated, to the byte.
#[test]
fn bodies_are_bounded_after_they_are_inflated() {
    let body = |size: usize| {
        let mut body = br#"{"data":[]}"#.to_vec();
        body.resize(size, b' ');
        body
    };
    let packed = "Content-Encoding: gzip\r\n";
    for (fits, answer) in [
        (true, plain("200 OK", "", &body(LIMIT))),
        (false, plain("200 OK", "", &body(LIMIT + 1))),
        (true, plain("200 OK", packed, &gzip(&body(LIMIT)))),
        (false, plain("200 OK", packed, &gzip(&body(LIMIT + 1)))),
        (
            true,
            plain(
                "200 OK",
                "Content-Encoding: gzip, gzip\r\n",
                &gzip(&gzip(&body(20))),
            ),
        ),
    ] {
        let size = answer.len();
        let server = Listener::saying(answer);
        let answer = block_on(server.client().statuses(1));
        assert_eq!(answer.is_ok(), fits, "{size} on the wire: {answer:?}");
    }
    let bomb = gzip(&body(LIMIT * 4));
    for (status, doubtful) in [("202 Accepted", true), ("422 Unprocessable Content", false)] {
        let server = Listener::saying(plain(status, packed, &bomb));
        let answer = block_on(write(&server.client(), 1));
        assert_eq!(matches!(answer, WriteAnswer::InDoubt(_)), doubtful, "{answer:?}");
        assert_eq!(
            matches!(answer, WriteAnswer::Refused { .. }),
            !doubtful,
            "{answer:?}"
        );
    }
}

#[test]
fn a_connection_a_first_byte_and_a_whole_answer_each_have_their_time() {
    let usual = Timeouts::USUAL;
    assert!(usual.connect < usual.read_idle && usual.read_idle < usual.read);
    assert!(usual.connect < usual.write_idle && usual.write_idle <= usual.write);
    let hour = Duration::from_secs(3_600);
    let short = Duration::from_millis(300);
    let of = |idle, total| Timeouts {
        connect: short,
        read_idle: idle,
        read: total,
        write_idle: idle,
        write: total,
    };
    let answer = plain("202 Accepted", "", QUEUED);
    for (what, reply, timeouts) in [
        ("no first byte", Vec::new(), of(short, hour)),
        (
            "no last byte",
            answer[..answer.len() - 1].to_vec(),
            of(short, hour),
        ),
    ] {
        let server = Listener::new(move |_, _| Reply::Keep(reply.clone()));
        times_out(what, &client_for(server.address, timeouts));
        assert_eq!(server.lines().len(), 2);
    }
    let drip = Listener::new(move |_, _| Reply::Drip(answer.clone(), 20));
    times_out("drop by drop", &client_for(drip.address, of(hour, short * 2)));
}

fn times_out(what: &str, client: &Client) {
    let began = Instant::now();
    block_on(async {
        let answer = client.statuses(1).await;
        assert!(
            matches!(answer, Err(ReadFailure::Spoiled(_))),
            "{what}: {answer:?}"
        );
        let answer = write(client, 1).await;
        let WriteAnswer::InDoubt(why) = &answer else {
            panic!("{what}: {answer:?}")
        };
        assert!(
            why.contains("timed out") || why.contains("broke off"),
            "{what}: {why}"
        );
    });
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{what}: {:?}",
        began.elapsed()
    );
}

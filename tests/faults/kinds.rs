//! The table of faults, with what is right for each at each site.

use super::server::{Good, plain};
use crate::support::raw::{Site, Stranger};
use std::io::Write;
use std::sync::LazyLock;
use std::time::Duration;

/// Whoever looks a kind up by its name wants one that is there.
pub fn named(name: &str) -> &'static Kind {
    KINDS
        .iter()
        .find(|kind| kind.name == name)
        .expect("a kind of the table")
}

/// The sites, in the order of the letters.
pub const SITES: [Site; 4] = [Site::LookUp, Site::Write, Site::Poll, Site::ReadBack];

/// Where every redirect points. Nobody may ever come.
pub static STRANGER: LazyLock<Stranger> = LazyLock::new(Stranger::listening);

/// One way to break a request.
pub struct Kind {
    pub name: &'static str,
    /// A letter for each of [`SITES`]; see [`Kind::right`].
    letters: &'static str,
    /// Whether a write takes effect all the same.
    pub taken: bool,
    pub act: Act,
}

/// What is broken, and how.
pub enum Act {
    /// Before there is a request.
    Door(Door),
    /// Once the request's head has been read.
    Deaf(End),
    /// These bytes instead of the answer.
    Say(fn(&Good) -> Vec<u8>, End),
    /// These bytes, one by one and slowly.
    Drip(fn(&Good) -> Vec<u8>),
    /// This head, and then this again and again, with a rest after every 16 kB.
    Endless(&'static str, &'static str, Duration),
    /// The good answer, and so much later the same again.
    Twice(Duration),
    /// The good answer, and so much later the end of a connection that was to be kept.
    GoodThenLeave(Duration),
    /// The good answer, and an end just as the next request arrives.
    GoodThenResetTheNext,
}

#[derive(Clone, Copy)]
pub enum Door {
    Refuse,
    Close,
    Reset,
    Speak(&'static str),
    SpeakAndListen(&'static str),
}

/// What becomes of the connection.
#[derive(Clone, Copy)]
pub enum End {
    Close,
    Reset,
    Keep,
    /// It stays open, and nothing is said until the client leaves.
    Hang,
}

/// How a job has to end that met a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// As if nothing had been, in the first run.
    Complete,
    /// The run stops and says why; the next one completes the job.
    Halt,
    /// The run waits, can be stopped while it does; the next one completes the job.
    Wait,
    /// A write was not taken, and its answer does not say so: it is in doubt.
    Doubt,
    /// What the request was about fails, in the tenant's words; everything else completes.
    Fail,
}

impl Kind {
    pub fn right(&self, site: Site) -> Right {
        // Whatever cannot be learned about batches, be it one or all, is asked of the members.
        let site = if site == Site::List { Site::Poll } else { site };
        let column = SITES.iter().position(|other| *other == site).unwrap();
        match self.letters.as_bytes()[column] {
            b'C' => Right::Complete,
            b'H' => Right::Halt,
            b'W' => Right::Wait,
            b'D' => Right::Doubt,
            b'F' => Right::Fail,
            other => unreachable!("no such letter: {other}"),
        }
    }
}

const fn lost(name: &'static str, letters: &'static str, act: Act) -> Kind {
    Kind {
        name,
        letters,
        taken: false,
        act,
    }
}

const fn taken(name: &'static str, letters: &'static str, act: Act) -> Kind {
    Kind {
        name,
        letters,
        taken: true,
        act,
    }
}

use Act::{Deaf, Drip, Endless, GoodThenLeave, GoodThenResetTheNext, Say, Twice};
use End::{Close, Hang, Keep, Reset};

const fn door(door: Door) -> Act {
    Act::Door(door)
}

/// At full speed, an unoptimised build on one thread does not get round to its timers.
const REST: Duration = Duration::from_millis(20);
const UNSOLICITED: &str = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const HTML: &[u8] = b"<!DOCTYPE html><html><body><h1>Oops</h1></body></html>";

/// Letters: look-up, write, poll, read-back.
#[rustfmt::skip]
pub static KINDS: &[Kind] = &[
    // No connection, or none for long.
    lost("refused connection",                "CCCC", door(Door::Refuse)),
    lost("accepted and closed",               "CDCC", door(Door::Close)),
    lost("accepted and reset",                "CDCC", door(Door::Reset)),
    lost("408 before the request, then gone", "CDCC", door(Door::Speak(UNSOLICITED))),
    // Whether the request still leaves is a race; where it does, it is taken.
    lost("408 before the request, then well", "CDCC", door(Door::SpeakAndListen(UNSOLICITED))),
    lost("closed after the head",             "CDCC", Deaf(Close)),
    lost("reset after the head",              "CDCC", Deaf(Reset)),
    lost("closed after the request",          "CDCC", Say(|_| vec![], Close)),
    taken("taken, then closed",               "CCCC", Say(|_| vec![], Close)),
    lost("reset after the request",           "CDCC", Say(|_| vec![], Reset)),
    taken("taken, then reset",                "CCCC", Say(|_| vec![], Reset)),
    // Answers that break off.
    lost("half a status line",                "CDCC", Say(|_| b"HTTP/1.1 20".to_vec(), Close)),
    taken("half a status line, taken",        "CCCC", Say(|_| b"HTTP/1.1 20".to_vec(), Reset)),
    taken("status line only",                 "CCCC", Say(|good| format!("HTTP/1.1 {}\r\n", good.status).into(), Close)),
    lost("headers cut",                       "CDCC", Say(|good| format!("HTTP/1.1 {}\r\nContent-Le", good.status).into(), Close)),
    taken("headers cut, taken",               "CCCC", Say(|good| format!("HTTP/1.1 {}\r\nContent-Le", good.status).into(), Reset)),
    taken("length too long, body whole",      "CCCC", Say(|good| length(good, good.body.len() + 40), Close)),
    taken("length too short, kept alive",     "CCCC", Say(|good| length(good, good.body.len() - 7), Keep)),
    lost("body cut within a character",       "CDCC", Say(cut_within_a_character, Close)),
    taken("chunks without their end",         "CCCC", Say(|good| chunked(&good.body, ""), Close)),
    taken("a chunk cut, reset",               "CCCC", Say(|good| chunked("", &format!("ffff\r\n{}", good.body)), Reset)),
    lost("garbage for a chunk's size",        "CDCC", Say(|_| chunked("", "zz-top\r\n{}\r\n0\r\n\r\n"), Close)),
    lost("a chunk of 2^70 bytes",             "CDCC", Say(|_| chunked("", "400000000000000000\r\n{}"), Close)),
    // Time.
    lost("slow drip of nothing",              "CDCC", Drip(|good| format!("HTTP/1.1 {}\r\nX-Pad: {}", good.status, "x".repeat(200)).into())),
    taken("slow drip of a good answer",       "CCCC", Drip(Good::bytes)),
    lost("silence",                           "CDCC", Say(|_| vec![], Hang)),
    taken("silence, taken",                   "CCCC", Say(|_| vec![], Hang)),
    taken("silence amid the body",            "CCCC", Say(|good| length(good, good.body.len() + 1), Hang)),
    lost("deaf and silent after the head",    "CDCC", Deaf(Hang)),
    // Answers that say nothing.
    lost("200 with HTML",                     "CDCC", Say(|_| plain("200 OK", "Content-Type: text/html\r\n", HTML), Keep)),
    taken("202 with HTML, taken",             "CCCC", Say(|_| plain("202 Accepted", "Content-Type: text/html\r\n", HTML), Keep)),
    lost("empty body",                        "CDCC", Say(|good| plain(good.status, "", b""), Keep)),
    taken("empty body, taken",                "CCCC", Say(|good| plain(good.status, "", b""), Close)),
    lost("204",                               "CDCC", Say(|_| b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), Keep)),
    lost("truncated JSON",                    "CDCC", Say(|good| plain(good.status, "", &good.body.as_bytes()[..good.body.len() / 2]), Keep)),
    lost("JSON of another shape",             "CDCC", Say(|good| plain(good.status, "", br#"{"data":[[{"id":{}}]],"batch_id":"b-1"}"#), Keep)),
    lost("JSON nested without end",           "CDCC", Say(|good| plain(good.status, "", "[".repeat(100_000).as_bytes()), Keep)),
    lost("invalid UTF-8",                     "CDCC", Say(not_unicode, Keep)),
    lost("gzip garbage",                      "CDCC", Say(|good| plain(good.status, GZIP, b"\x1f\x8b\x08\0nothing of the kind"), Keep)),
    lost("gzip bomb",                         "CDCC", Say(|good| plain(good.status, GZIP, &BOMB), Keep)),
    taken("gzip bomb, taken",                 "CCCC", Say(|good| plain(good.status, GZIP, &BOMB), Keep)),
    lost("12 MB of blanks",                   "CDCC", Say(|good| plain(good.status, "", &vec![b' '; 12 << 20]), Close)),
    lost("a body without end",                "CDCC", Endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", " ", Duration::ZERO)),
    lost("chunks without end",                "CDCC", Endless("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", Duration::ZERO)),
    lost("many headers",                      "CDCC", Say(|good| good.with(&"X-Bomb: x\r\n".repeat(5_000)), Close)),
    lost("one huge header",                   "CDCC", Say(|good| good.with(&format!("X-Bomb: {}\r\n", "x".repeat(2 << 20))), Close)),
    lost("headers without end",               "CDCC", Endless("HTTP/1.1 200 OK\r\n", "X-Bomb: xxxxxxxx\r\n", Duration::ZERO)),
    // Interim answers.
    taken("100 Continue first",               "CCCC", Say(|good| interim("100 Continue", 1, good), Keep)),
    taken("2,000 interim answers first",      "CCCC", Say(|good| interim("103 Early Hints", 2_000, good), Keep)),
    lost("interim answers without end",       "CDCC", Endless("", "HTTP/1.1 102 Processing\r\n\r\n", REST)),
    lost("101 to another protocol",           "CDCC", Say(|_| b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n".to_vec(), Close)),
    // Redirects, which lead to a stranger.
    lost("301",                               "HHHH", Say(|_| redirect("301 Moved Permanently"), Keep)),
    lost("302",                               "HDHH", Say(|_| redirect("302 Found"), Keep)),
    taken("302, taken",                       "HCHH", Say(|_| redirect("302 Found"), Close)),
    lost("307",                               "HHHH", Say(|_| redirect("307 Temporary Redirect"), Keep)),
    lost("308",                               "HHHH", Say(|_| redirect("308 Permanent Redirect"), Keep)),
    // Refusals.
    lost("400",                               "CCCC", Say(|_| refusal("400 Bad Request"), Keep)),
    lost("401",                               "HHHH", Say(|_| refusal("401 Unauthorized"), Keep)),
    lost("403",                               "CHCC", Say(|_| refusal("403 Forbidden"), Keep)),
    lost("404",                               "CHCC", Say(|_| refusal("404 Not Found"), Keep)),
    lost("408",                               "CDCC", Say(|_| refusal("408 Request Timeout"), Close)),
    taken("408, taken",                       "CCCC", Say(|_| refusal("408 Request Timeout"), Keep)),
    lost("409",                               "CDCC", Say(|_| refusal("409 Conflict"), Keep)),
    lost("413",                               "CCCC", Say(|_| refusal("413 Content Too Large"), Keep)),
    lost("422 that names nobody",             "CCCC", Say(|_| refusal("422 Unprocessable Content"), Keep)),
    lost("422 that is cut",                   "CCCC", Say(|_| b"HTTP/1.1 422 No\r\nContent-Length: 900\r\n\r\n{\"errors\":{\"pro".to_vec(), Close)),
    // Too fast.
    lost("429",                               "CCCC", Say(|_| too_fast(""), Keep)),
    lost("429 for a second",                  "CCCC", Say(|_| too_fast("Retry-After: 1\r\n"), Keep)),
    lost("429 for 10^12 seconds",             "WWWW", Say(|_| too_fast("Retry-After: 1000000000000\r\n"), Keep)),
    lost("429 for a negative time",           "CCCC", Say(|_| too_fast("Retry-After: -86400\r\n"), Keep)),
    lost("429 until a day long past",         "CCCC", Say(|_| too_fast("Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), Keep)),
    lost("429 by a clock of 1970",            "WWWW", Say(|_| too_fast("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nRetry-After: Fri, 31 Dec 2100 23:59:59 GMT\r\n"), Keep)),
    // Trouble behind the gateway.
    lost("500",                               "CDCC", Say(|_| refusal("500 Internal Server Error"), Keep)),
    taken("500, taken",                       "CCCC", Say(|_| refusal("500 Internal Server Error"), Close)),
    lost("502 with HTML",                     "CDCC", Say(|_| plain("502 Bad Gateway", "Content-Type: text/html\r\n", HTML), Keep)),
    taken("502 with HTML, taken",             "CCCC", Say(|_| plain("502 Bad Gateway", "Content-Type: text/html\r\n", HTML), Close)),
    lost("503 with HTML and a time",          "CDCC", Say(|_| plain("503 Service Unavailable", "Retry-After: 1\r\n", HTML), Keep)),
    lost("504",                               "CDCC", Say(|_| plain("504 Gateway Timeout", "", HTML), Keep)),
    taken("504, taken",                       "CCCC", Say(|_| plain("504 Gateway Timeout", "", HTML), Close)),
    // The protocol itself.
    taken("one length given twice",           "CCCC", Say(|good| good.with(&format!("Content-Length: {}\r\n", good.body.len())), Keep)),
    taken("two lengths that differ",          "CCCC", Say(|good| good.with("Content-Length: 5\r\n"), Keep)),
    taken("length and chunks together",       "CCCC", Say(|good| good.with("Transfer-Encoding: chunked\r\n"), Close)),
    taken("two answers at once",              "CCCC", Say(|good| [good.bytes(), good.bytes()].concat(), Keep)),
    taken("the same answer again, at once",   "CCCC", Twice(Duration::from_micros(200))),
    taken("somebody else's answer",           "CCCC", Say(somebody_elses, Keep)),
    taken("an answer, then an unasked 408",   "CCCC", Say(|good| [&good.bytes(), UNSOLICITED.as_bytes()].concat(), Close)),
    taken("HTTP/1.0",                         "CCCC", Say(|good| format!("HTTP/1.0 {}\r\n\r\n{}", good.status, good.body).into(), Close)),
    lost("HTTP/2 preface",                    "CDCC", Say(|_| b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), Close)),
    lost("no HTTP at all",                    "CDCC", Say(|_| b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), Close)),
    taken("closed soon after the answer",     "CCCC", GoodThenLeave(Duration::from_micros(300))),
    taken("closed right after the answer",    "CCCC", GoodThenLeave(Duration::ZERO)),
    taken("reset as the next request comes",  "CCCC", GoodThenResetTheNext),
    taken("a wrong Date",                     "CCCC", Say(|good| good.with("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"), Keep)),
    taken("a Location on a good answer",      "CCCC", Say(|good| good.with(&format!("Location: http://{0}/\r\nContent-Location: http://{0}/\r\nRefresh: 0; url=http://{0}/\r\n", STRANGER.address)), Keep)),
];

const GZIP: &str = "Content-Encoding: gzip\r\nContent-Type: application/json\r\n";

static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let blanks = vec![b' '; 1 << 20];
    for _ in 0..64 {
        encoder.write_all(&blanks).unwrap();
    }
    encoder.finish().unwrap()
});

/// The good body under a length of our own.
fn length(good: &Good, length: usize) -> Vec<u8> {
    format!(
        "HTTP/1.1 {}\r\nContent-Length: {length}\r\n\r\n{}",
        good.status, good.body
    )
    .into()
}

/// The good body with a two-byte character in it, up to the middle of that.
fn cut_within_a_character(good: &Good) -> Vec<u8> {
    let mut bytes = length(good, good.body.len() + 2);
    bytes.truncate(bytes.len() - 2);
    bytes.push("é".as_bytes()[0]);
    bytes
}

fn not_unicode(good: &Good) -> Vec<u8> {
    let mut body = good.body.clone().into_bytes();
    // Within every identifier and every batch id.
    for at in 1..body.len() {
        if matches!(&body[at - 1..=at], b"p-" | b"b-") {
            body[at] = 0xff;
        }
    }
    plain(good.status, "", &body)
}

/// As if the answer to another question had been left over on the connection.
fn somebody_elses(good: &Good) -> Vec<u8> {
    let body = &good.body;
    let other = body
        .replace("\"id\":\"p-", "\"id\":\"p-9")
        .replace("\"email\":\"m", "\"email\":\"m9");
    plain(
        good.status,
        "",
        other.replace("\"id\":\"b-", "\"id\":\"b-9").as_bytes(),
    )
}

fn chunked(whole: &str, rest: &str) -> Vec<u8> {
    let chunk = if whole.is_empty() {
        String::new()
    } else {
        format!("{:x}\r\n{whole}\r\n", whole.len())
    };
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}{rest}").into()
}

fn interim(status: &str, times: usize, good: &Good) -> Vec<u8> {
    let one = format!("HTTP/1.1 {status}\r\nLink: </style.css>\r\n\r\n");
    [one.repeat(times).into_bytes(), good.bytes()].concat()
}

fn redirect(status: &str) -> Vec<u8> {
    let to = format!("Location: http://{}/api/v3/elsewhere\r\n", STRANGER.address);
    plain(status, &to, b"")
}

fn refusal(status: &str) -> Vec<u8> {
    let words = br#"{"message":"The moon is in the wrong phase."}"#;
    plain(status, "Content-Type: application/json\r\n", words)
}

fn too_fast(headers: &str) -> Vec<u8> {
    plain(
        "429 Too Many Requests",
        headers,
        br#"{"message":"Too Many Attempts."}"#,
    )
}

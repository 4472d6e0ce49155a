//! A connection is the same function of its bytes however they come and go: any split into reads and any limit on the
//! writes gives the same replies. And it is bounded in memory and in time.

use std::collections::VecDeque;
use std::io;

use lab::http::{
    Connection, Expired, HELLO, Inbox, MAX_BODY, MAX_HEAD, MAX_PENDING, Outbox, Parser, Timeouts, whole_gets,
};
use proptest::prelude::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
/// As a stage reads.
const READ: usize = 16 * 1024;

/// A server's loop around one connection, as the stages have it; returns what the client got. Reads are of the lengths
/// of `reads` and writes take no more than `writes`, each list again and again; a 0 among the writes is `EAGAIN`.
fn serve(stream: &[u8], reads: &[usize], writes: &[usize]) -> Vec<u8> {
    let (mut connection, mut replies, mut got) = (Connection::new(0), Vec::new(), Vec::new());
    let (mut reads, mut writes) = (reads.iter().cycle(), writes.iter().cycle());
    let (mut stream, mut rounds) = (stream, 0);
    while !stream.is_empty() || connection.wants_write() {
        rounds += 1;
        assert!(rounds < 1_000_000, "it goes on for ever");
        if connection.wants_read() && !stream.is_empty() {
            let n = stream.len().min(*reads.next().expect("they begin again"));
            connection.receive(&stream[..n], 0, &mut replies);
            stream = &stream[n..];
        }
        let limit = *writes.next().expect("they begin again");
        let write = |bytes: &[u8]| {
            if limit == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = bytes.len().min(limit);
            got.extend_from_slice(&bytes[..n]);
            Ok(n)
        };
        flush(&mut connection, &mut replies, 0, write);
        assert!(connection.pending() < MAX_PENDING + 5 * READ, "{} bytes wait", connection.pending());
    }
    got
}

/// As a stage does: what is not written is the connection's to keep.
fn flush(connection: &mut Connection, replies: &mut Vec<u8>, now: u32, write: impl FnMut(&[u8]) -> io::Result<usize>) {
    connection.flush(replies, now, write).expect("nothing goes wrong");
    replies.clear();
}

fn whole(stream: &[u8]) -> Vec<u8> {
    serve(stream, &[usize::MAX], &[usize::MAX])
}

/// As the stages have it that keep a buffer of 4,096 bytes around a [`Parser`]; with what is sent, and how many replies
/// are final.
fn serve_from_a_buffer(stream: &[u8], reads: &[usize]) -> (Vec<u8>, u64) {
    let (mut parser, mut got, mut answers) = (Parser::new(), Vec::new(), 0);
    let (mut receive, mut filled) = ([0; 4096], 0);
    let (mut reads, mut stream) = (reads.iter().cycle(), stream);
    while !stream.is_empty() {
        let n = stream.len().min(*reads.next().expect("they begin again")).min(receive.len() - filled);
        assert!(n > 0, "a full buffer is never left full");
        receive[filled..filled + n].copy_from_slice(&stream[..n]);
        stream = &stream[n..];
        filled += n;
        loop {
            let step = parser.advance(&receive[..filled], filled == receive.len());
            receive.copy_within(step.consumed..filled, 0);
            filled -= step.consumed;
            let Some(reply) = step.reply else { break };
            let mut send = [0; 256];
            let length = reply.write_to(&mut send);
            got.extend_from_slice(&send[..length]);
            answers += u64::from(reply.is_final());
        }
    }
    (got, answers)
}

/// The bytes of a reply: its status, then `hello`, `stored` and a number, `head`, `close`.
fn reply(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let (is_head, closes) = (words.contains(&"head"), words.contains(&"close"));
    let (status, body) = match words[0] {
        "100" => return "HTTP/1.1 100 Continue\r\n\r\n".to_string(),
        "200" if words[1] == "stored" => ("200 OK", format!("{} bytes stored\n", words[2])),
        "200" => ("200 OK", "Hello, World!".to_string()),
        "400" => ("400 Bad Request", String::new()),
        "404" => ("404 Not Found", String::new()),
        "411" => ("411 Length Required", String::new()),
        "413" => ("413 Content Too Large", String::new()),
        "431" => ("431 Request Header Fields Too Large", String::new()),
        "501" => ("501 Not Implemented", String::new()),
        other => panic!("{other} is no status"),
    };
    let body = if body.is_empty() { format!("{status}\n") } else { body };
    let close = if closes { "Connection: close\r\n" } else { "" };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{close}\r\n", body.len());
    if is_head { head } else { head + &body }
}

/// What `\r`, `\n`, `\t`, `\\` and `\xNN` stand for.
fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next().expect("something is escaped") {
                b'r' => b'\r',
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).expect("two digits")
                }
                itself => itself,
            },
            byte => byte,
        });
    }
    bytes
}

/// Every case of `tests/http/conformance.txt`: where it begins, what is sent, and what is due.
fn cases() -> Vec<(usize, Vec<u8>, String)> {
    let mut cases: Vec<(usize, Vec<u8>, String)> = Vec::new();
    let mut is_new = true;
    for (number, line) in (1..).zip(include_str!("http/conformance.txt").lines()) {
        if line.is_empty() || line.starts_with('#') {
            is_new = true;
            continue;
        }
        if std::mem::take(&mut is_new) {
            cases.push((number, Vec::new(), String::new()));
        }
        let (_, sent, due) = cases.last_mut().expect("one has begun");
        match line.split_at(2) {
            ("> ", bytes) => sent.extend_from_slice(&unescape(bytes)),
            ("< ", text) => due.push_str(&reply(text)),
            _ => panic!("line {number} is neither sent nor a reply"),
        }
    }
    cases
}

#[test]
fn each_request_of_the_rfcs_is_answered_as_they_say_whole_and_in_any_pieces() {
    let cases = cases();
    assert!(cases.len() > 150, "{} cases", cases.len());
    for (line, sent, due) in cases {
        let finals = due.matches("HTTP/1.1 ").count() - due.matches("HTTP/1.1 100 ").count();
        assert_eq!(Inbox::new().receive(&sent, &mut Vec::new()), finals as u64, "line {line}");
        let pieces = (1..=sent.len()).map(|first| vec![first, usize::MAX]).chain([vec![1], vec![3, 1]]);
        for pieces in pieces {
            assert_eq!(text(&serve(&sent, &pieces, &[usize::MAX])), due, "line {line}, pieces of {pieces:?}");
            let (got, _) = serve_from_a_buffer(&sent, &pieces);
            assert_eq!(text(&got), due, "line {line}, from a buffer, pieces of {pieces:?}");
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What chunks are made of, to be put together well or badly.
const FRAMING: [&str; 16] = [
    "0\r\n\r\n",
    "0\r\n",
    "\r\n",
    "5\r\nhello\r\n",
    "0A\r\n0\r\n\r\nGET /\r\n",
    "3;x=\"y\"\r\nabc\r\n",
    "5",
    "f",
    " ",
    ";x",
    "X: y\r\n",
    "\r",
    "\n",
    "hello",
    "fffff\r\n",
    ":",
];

/// Requests of every kind, good and bad.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        GET,
        "GET /?q HTTP/1.1\r\nHost: lab\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: lab\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: lab\r\n\r\n",
        "HEAD /nothing HTTP/1.1\r\nHost: lab\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: lab\r\n\r\n",
        "GET / HTTP/1.1\nHost: lab\nX: bare line feeds\n\n",
        "GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "POST /u HTTP/1.1\r\nHost: lab\r\n\r\n",
        "POST /u HTTP/1.1\r\nHost: lab\r\nContent-Length: x\r\n\r\n",
        "POST /u HTTP/1.1\r\nHost: lab\r\nContent-Length: 99999999999\r\n\r\n",
        "POST /u HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: chunked\r\n\r\n",
        "BREW / HTTP/1.1\r\nHost: lab\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\0",
    ]);
    let chunks = prop::collection::vec(prop::sample::select(FRAMING.to_vec()), 0..12).prop_map(|parts| {
        format!("POST /u HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: chunked\r\n\r\n{}", parts.concat())
    });
    let post = (0..20_000_usize, any::<bool>()).prop_map(|(length, expects)| {
        let expects = if expects { "Expect: 100-continue\r\n" } else { "" };
        format!("POST /u HTTP/1.1\r\nHost: lab\r\n{expects}Content-Length: {length}\r\n\r\n{}", "G".repeat(length))
    });
    // Around the limits on a head and on its headers.
    let long = (MAX_HEAD - 60..MAX_HEAD + 9000)
        .prop_map(|n| format!("GET / HTTP/1.1\r\nHost: lab\r\nX: {}\r\n\r\n", "x".repeat(n)));
    let broken = (MAX_HEAD - 60..MAX_HEAD + 60)
        .prop_map(|n| format!("GET / HTTP/1.1\r\nHost: lab\r\nX: {}\0\r\n\r\n", "x".repeat(n)));
    let many = (60..70_usize).prop_map(|n| format!("GET / HTTP/1.1\r\nHost: lab\r\n{}\r\n", "X: y\r\n".repeat(n)));
    prop_oneof![
        12 => fixed.prop_map(|text| text.as_bytes().to_vec()),
        4 => post.prop_map(String::into_bytes),
        4 => chunks.prop_map(String::into_bytes),
        1 => long.prop_map(String::into_bytes),
        1 => broken.prop_map(String::into_bytes),
        1 => many.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// A request, and the replies that are due, as [`reply`] has them.
#[derive(Clone, Debug)]
struct Asked {
    bytes: Vec<u8>,
    due: Vec<String>,
}

/// How a request says where its body ends.
#[derive(Clone, Debug)]
enum Framing {
    Nothing,
    Counted(usize),
    /// Of each chunk the length, and what follows that; then the trailers.
    Chunks(Vec<(usize, &'static str)>, &'static str),
    CountedAndChunks,
}

/// A request put together from what it means, so that what is due is known without reading it.
fn asked() -> impl Strategy<Value = Asked> {
    let sizes = prop_oneof![Just(1_usize), 1..20_usize, 1..5000_usize];
    let extensions = prop::sample::select(vec!["", ";a", ";a=b", " ; a=\"b\""]);
    let trailers = prop::sample::select(vec!["", "X: y\r\n", "Content-Length: 3\r\nHost: x y\r\n"]);
    let framing = prop_oneof![
        3 => Just(Framing::Nothing),
        3 => prop_oneof![Just(0_usize), 1..40_usize, 1..20_000_usize].prop_map(Framing::Counted),
        3 => (prop::collection::vec((sizes, extensions), 0..6), trailers).prop_map(|(c, t)| Framing::Chunks(c, t)),
        1 => Just(Framing::CountedAndChunks),
    ];
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "BREW"]);
    let target = prop::sample::select(vec![("/", true), ("/?q", true), ("HTTP://lab", true), ("/x", false)]);
    let hosts = prop_oneof![12 => Just(1_usize), 1 => Just(0_usize), 1 => Just(2_usize)];
    (method, target, hosts, framing, any::<(bool, bool)>(), prop::bool::weighted(0.1), prop::bool::weighted(0.1))
        .prop_map(|(method, (target, is_root), hosts, framing, (host_first, expects), closes, old)| {
            let mut fields = Vec::new();
            if expects {
                fields.push("Expect: 100-continue\r\n".to_string());
            }
            if closes {
                fields.push("Connection: close\r\n".to_string());
            }
            let is_chunked = matches!(framing, Framing::Chunks(..) | Framing::CountedAndChunks);
            if is_chunked {
                fields.push("Transfer-Encoding: chunked\r\n".to_string());
            }
            let mut body = Vec::new();
            let mut length = 0;
            match &framing {
                Framing::Nothing => {}
                Framing::Counted(bytes) => {
                    fields.push(format!("Content-Length: {bytes}\r\n"));
                    length = *bytes;
                    body = GET.bytes().cycle().take(length).collect();
                }
                Framing::Chunks(chunks, trailers) => {
                    for (size, extension) in chunks {
                        body.extend_from_slice(format!("{size:x}{extension}\r\n").as_bytes());
                        body.extend(GET.bytes().cycle().take(*size));
                        body.extend_from_slice(b"\r\n");
                        length += size;
                    }
                    body.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
                }
                Framing::CountedAndChunks => {
                    fields.push("Content-Length: 5\r\n".to_string());
                    body = b"0\r\n\r\n".to_vec();
                }
            }
            let has_body = length > 0 || is_chunked;
            for _ in 0..hosts {
                fields.insert(if host_first { 0 } else { fields.len() }, "Host: lab\r\n".to_string());
            }
            let version = if old { "1.0" } else { "1.1" };
            let mut bytes = format!("{method} {target} HTTP/{version}\r\n{}\r\n", fields.concat()).into_bytes();
            bytes.append(&mut body);

            let is_ambiguous = is_chunked && (old || matches!(framing, Framing::CountedAndChunks));
            let (mut answer, refused) = if hosts == 2 || (hosts == 0 && !old) || is_ambiguous {
                ("400".to_string(), true)
            } else if method == "BREW" {
                ("501".to_string(), true)
            } else if method == "POST" {
                match framing {
                    Framing::Nothing => ("411".to_string(), true),
                    _ => (format!("200 stored {length}"), false),
                }
            } else if is_root {
                ("200 hello".to_string(), false)
            } else {
                ("404".to_string(), has_body)
            };
            if method == "HEAD" {
                answer.push_str(" head");
            }
            if refused || closes || old {
                answer.push_str(" close");
            }
            let go_on = expects && has_body && !refused && !old;
            let due = go_on.then(|| "100".to_string()).into_iter().chain([answer]).collect();
            Asked { bytes, due }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_reads_and_any_limit_on_the_writes_gives_the_same_replies(
        requests in prop::collection::vec(request(), 1..8),
        reads in prop::collection::vec(prop_oneof![1..8_usize, 1..300_usize, 1..READ], 1..9),
        mut writes in prop::collection::vec(prop_oneof![Just(0_usize), 1..8_usize, 1..300_usize, 1..100_000_usize], 1..9),
    ) {
        writes.push(1 + writes.len());
        let stream = requests.concat();
        prop_assert_eq!(text(&serve(&stream, &reads, &writes)), text(&whole(&stream)));
    }

    #[test]
    fn each_request_has_its_own_reply_and_no_other_in_any_pieces(
        asked in prop::collection::vec(asked(), 1..8),
        reads in prop::collection::vec(prop_oneof![1..8_usize, 1..300_usize, 1..READ], 1..9),
        mut writes in prop::collection::vec(prop_oneof![Just(0_usize), 1..8_usize, 1..300_usize], 1..9),
    ) {
        writes.push(1);
        let stream: Vec<u8> = asked.iter().flat_map(|one| one.bytes.clone()).collect();
        let mut due = Vec::new();
        for one in asked {
            due.extend(one.due);
            if due.last().is_some_and(|last| last.ends_with("close")) {
                break;
            }
        }
        let finals = due.iter().filter(|reply| *reply != "100").count() as u64;
        let due: String = due.iter().map(|due| reply(due)).collect();
        prop_assert_eq!(text(&serve(&stream, &reads, &writes)), due.clone());
        let mut replies = Vec::new();
        let answers: u64 = {
            let mut inbox = Inbox::new();
            stream.chunks(reads[0]).map(|piece| inbox.receive(piece, &mut replies)).sum()
        };
        prop_assert_eq!((text(&replies), answers), (due.clone(), finals));
        let (got, answers) = serve_from_a_buffer(&stream, &reads);
        prop_assert_eq!((text(&got), answers), (due, finals));
    }
}

#[test]
fn a_pipeline_is_answered_in_order_and_up_to_the_last_request() {
    let stream = format!(
        "{GET}HEAD / HTTP/1.1\r\nHost: lab\r\n\r\nPOST /u HTTP/1.1\r\nHost: lab\r\nContent-Length: 2\r\n\r\nxx\
         GET /n HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n{GET}"
    );
    let expected = format!(
        "{}HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n2 bytes stored\n\
         HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\nConnection: close\r\n\r\n404 Not Found\n",
        text(HELLO)
    );
    assert_eq!(text(&whole(stream.as_bytes())), expected);
}

#[test]
fn the_longest_upload_is_taken_and_one_byte_more_is_not() {
    let post = |length: u64| format!("POST /u HTTP/1.1\r\nHost: lab\r\nContent-Length: {length}\r\n\r\n");
    let (mut connection, mut replies) = (Connection::new(0), Vec::new());
    assert_eq!(connection.receive(post(MAX_BODY).as_bytes(), 0, &mut replies), 0);
    let mut left = MAX_BODY as usize;
    while left > 0 {
        assert!(replies.is_empty());
        let n = left.min(READ);
        left -= n;
        assert_eq!(connection.receive(&[b'x'; READ][..n], 0, &mut replies), u64::from(left == 0));
    }
    assert!(text(&replies).ends_with("10485760 bytes stored\n"));
    assert!(text(&whole(post(MAX_BODY + 1).as_bytes())).starts_with("HTTP/1.1 413 "));
}

#[test]
fn who_never_reads_is_read_from_no_more_and_costs_no_more() {
    let requests = GET.repeat(READ / GET.len());
    let (mut connection, mut replies) = (Connection::new(0), Vec::new());
    let mut reads = 0;
    while connection.wants_read() {
        reads += 1;
        assert!(reads < 1000, "it reads for ever");
        connection.receive(requests.as_bytes(), 0, &mut replies);
        flush(&mut connection, &mut replies, 0, |_| Err(io::ErrorKind::WouldBlock.into()));
    }
    assert_eq!(reads, MAX_PENDING.div_ceil(requests.len() / GET.len() * HELLO.len()));
    // It takes what waits, a little at a time, and is read from again when less than the limit waits.
    let mut taken = 0;
    while connection.wants_write() {
        assert_eq!(connection.wants_read(), connection.pending() < MAX_PENDING);
        let take = |bytes: &[u8]| Ok(bytes.len().min(1000));
        let before = connection.pending();
        flush(&mut connection, &mut replies, 0, take);
        taken += before - connection.pending();
        assert!(before > connection.pending(), "it writes for ever");
    }
    assert_eq!(taken, reads * (requests.len() / GET.len()) * HELLO.len());
    assert!(!connection.is_over());
}

#[test]
fn a_broken_connection_says_so() {
    let (mut connection, mut replies) = (Connection::new(0), Vec::new());
    connection.receive(GET.as_bytes(), 0, &mut replies);
    let broken = connection.flush(&replies, 0, |_| Err(io::ErrorKind::BrokenPipe.into()));
    assert_eq!(broken.expect_err("it is broken").kind(), io::ErrorKind::BrokenPipe);
}

const TIMEOUTS: Timeouts = Timeouts { idle: 60, request: 10 };

/// When the clock is looked at every second: what is found first, and when. Nothing more comes from the client.
fn expires(connection: &mut Connection, from: u32) -> (u32, Expired) {
    let mut replies = Vec::new();
    (from..from + 1000)
        .map(|now| (now, connection.expire(now, TIMEOUTS, &mut replies)))
        .find(|(_, expired)| *expired != Expired::No)
        .expect("it expires")
}

#[test]
fn an_idle_client_is_closed_a_minute_after_its_last_reply() {
    let (mut connection, mut replies) = (Connection::new(7), Vec::new());
    assert_eq!(expires(&mut connection, 7), (67, Expired::Close));
    connection.receive(GET.as_bytes(), 60, &mut replies);
    flush(&mut connection, &mut replies, 60, |bytes| Ok(bytes.len()));
    assert_eq!(expires(&mut connection, 60), (120, Expired::Close));
}

#[test]
fn a_head_that_trickles_is_refused_in_time_and_the_refusal_is_waited_for_in_turn() {
    let (mut connection, mut replies) = (Connection::new(0), Vec::new());
    // A byte a second gains no time.
    let trickle: VecDeque<u8> = GET.bytes().take(10).collect();
    for (second, byte) in (50..).zip(trickle) {
        assert_eq!(connection.expire(second, TIMEOUTS, &mut replies), Expired::No, "second {second}");
        connection.receive(&[byte], second, &mut replies);
    }
    assert_eq!(connection.expire(60, TIMEOUTS, &mut replies), Expired::Request);
    assert!(text(&replies).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert!(!connection.is_over() || !replies.is_empty());
    flush(&mut connection, &mut replies, 60, |bytes| Ok(bytes.len()));
    assert!(connection.is_over());
    assert_eq!(connection.receive(GET.as_bytes(), 61, &mut replies), 0);
    assert_eq!((replies.len(), expires(&mut connection, 61)), (0, (70, Expired::Close)));
}

#[test]
fn a_body_needs_64_kib_in_each_span_and_may_be_as_slow_as_that() {
    let head = format!("POST /u HTTP/1.1\r\nHost: lab\r\nContent-Length: {}\r\n\r\n", 1 << 20);
    let start = |connection: &mut Connection| connection.receive(head.as_bytes(), 0, &mut Vec::new());
    let (mut fast, mut slow, mut replies) = (Connection::new(0), Connection::new(0), Vec::new());
    start(&mut fast);
    start(&mut slow);
    for second in (9..140).step_by(9) {
        assert_eq!(fast.expire(second, TIMEOUTS, &mut replies), Expired::No, "second {second}");
        fast.receive(&[b'x'; 64 << 10], second, &mut replies);
    }
    slow.receive(&[b'x'; 1000], 9, &mut replies);
    // The first byte of a body begins a step, the next step is far.
    slow.receive(&[b'x'; 1000], 10, &mut replies);
    assert_eq!(expires(&mut slow, 10), (19, Expired::Request));
    // A short one has no steps.
    let mut short = Connection::new(0);
    short.receive(b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 100\r\n\r\n", 0, &mut replies);
    short.receive(b"x", 9, &mut replies);
    assert_eq!(expires(&mut short, 9), (10, Expired::Request));
}

#[test]
fn who_takes_no_replies_is_closed_and_each_byte_taken_gains_time() {
    let (mut connection, mut replies) = (Connection::new(0), Vec::new());
    connection.receive(GET.repeat(100).as_bytes(), 0, &mut replies);
    flush(&mut connection, &mut replies, 0, |_| Ok(1));
    flush(&mut connection, &mut replies, 5, |_| Ok(1));
    flush(&mut connection, &mut replies, 9, |_| Err(io::ErrorKind::WouldBlock.into()));
    assert_eq!(expires(&mut connection, 9), (15, Expired::Close));
}

/// The time runs from the request and from the refusal, whether or not anything of the reply could be written.
#[test]
fn a_reply_for_which_there_is_no_room_has_its_own_time() {
    let no_room = |_: &[u8]| Err(io::ErrorKind::WouldBlock.into());
    let (mut connection, mut replies) = (Connection::new(0), Vec::new());
    connection.receive(GET.as_bytes(), 59, &mut replies);
    flush(&mut connection, &mut replies, 59, no_room);
    assert_eq!(expires(&mut connection, 59), (69, Expired::Close));
    let mut connection = Connection::new(0);
    connection.receive(b"GET / HT", 50, &mut replies);
    assert_eq!(connection.expire(65, TIMEOUTS, &mut replies), Expired::Request);
    flush(&mut connection, &mut replies, 65, no_room);
    assert_eq!(expires(&mut connection, 65), (75, Expired::Close));
}

/// The clock of a reactor is a number that begins again.
#[test]
fn time_is_measured_across_the_end_of_the_clock() {
    let mut connection = Connection::new(u32::MAX - 9);
    assert_eq!(connection.expire(49, TIMEOUTS, &mut Vec::new()), Expired::No);
    assert_eq!(connection.expire(50, TIMEOUTS, &mut Vec::new()), Expired::Close);
}

#[test]
fn the_limits_are_those_of_the_book() {
    assert_eq!((MAX_HEAD, MAX_PENDING, MAX_BODY), (8 << 10, 64 << 10, 10 << 20));
    assert_eq!(Timeouts::default(), TIMEOUTS);
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 48, "{} bytes", size_of::<Connection>());
}

/// A `POST` whose body comes in chunks.
fn chunked(body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes()
}

/// The same from any server: what it sends, whole and in pieces.
fn answers(sent: &[u8], due: &str) {
    for pieces in [&[usize::MAX][..], &[1], &[4095, 1], &[4096], &[READ]] {
        let start = text(&sent[..sent.len().min(100)]);
        assert_eq!(text(&serve(sent, pieces, &[usize::MAX])), reply(due), "{start}, pieces of {pieces:?}");
        assert_eq!(text(&serve_from_a_buffer(sent, pieces).0), reply(due), "{start}, from a buffer, {pieces:?}");
    }
}

#[test]
fn what_is_skipped_in_a_chunked_body_is_bounded_in_all() {
    const SKIPPED: usize = 4096;
    // The `0` of the last chunk is one of them.
    let extension = |bytes: usize| chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(bytes - 2)));
    answers(&extension(SKIPPED), "200 stored 5");
    answers(&extension(SKIPPED + 1), "400 close");
    let many = |chunks: usize| chunked(&format!("{}0\r\n\r\n", "1;x\r\ny\r\n".repeat(chunks)));
    answers(&many(SKIPPED / 2 - 1), &format!("200 stored {}", SKIPPED / 2 - 1));
    answers(&many(SKIPPED / 2), "400 close");
    let blanks = |bytes: usize| chunked(&format!("5{};\r\nhello\r\n0\r\n\r\n", " ".repeat(bytes - 2)));
    answers(&blanks(SKIPPED), "200 stored 5");
    answers(&blanks(SKIPPED + 1), "400 close");
    let zeros = |bytes: usize| chunked(&format!("{}\r\n\r\n", "0".repeat(bytes)));
    answers(&zeros(SKIPPED), "200 stored 0");
    answers(&zeros(SKIPPED + 1), "400 close");
    let value = |bytes: usize| chunked(&format!("0\r\nX:{}\r\n\r\n", "y".repeat(bytes - 3)));
    answers(&value(SKIPPED), "200 stored 0");
    answers(&value(SKIPPED + 1), "431 close");
    let name = |bytes: usize| chunked(&format!("0\r\n{}:\r\n\r\n", "X".repeat(bytes - 2)));
    answers(&name(SKIPPED), "200 stored 0");
    answers(&name(SKIPPED + 1), "431 close");
    answers(&name(SKIPPED + 2), "431 close");
    // The numbers themselves may be as many as there are chunks.
    answers(
        &chunked(&format!("{}0\r\n\r\n", "1\r\ny\r\n".repeat(2 * SKIPPED))),
        &format!("200 stored {}", 2 * SKIPPED),
    );
}

#[test]
fn chunks_are_taken_up_to_the_longest_upload_and_the_byte_after_it_is_not() {
    let body = MAX_BODY as usize;
    let two = |second: usize| {
        let (x, y) = ("x".repeat(body - 3), "y".repeat(second));
        chunked(&format!("{:X}\r\n{x}\r\n{second:x}\r\n{y}\r\n0\r\n\r\n", body - 3))
    };
    assert_eq!(text(&whole(&two(3))), reply(&format!("200 stored {body}")));
    assert_eq!(text(&whole(&two(4))), reply("413 close"));
    assert_eq!(text(&serve(&two(3), &[4096, 1], &[usize::MAX])), reply(&format!("200 stored {body}")));
    let one = |length: usize| chunked(&format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length)));
    assert_eq!(text(&serve_from_a_buffer(&one(body), &[4096]).0), reply(&format!("200 stored {body}")));
    assert_eq!(text(&serve_from_a_buffer(&one(body + 1), &[4096]).0), reply("413 close"));
}

#[test]
fn the_framing_of_chunks_is_not_kept_wherever_it_is_cut() {
    let sent = chunked("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n");
    let head = sent.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    for cut in head..=sent.len() {
        let mut inbox = Inbox::new();
        assert_eq!(inbox.receive(&sent[..cut], &mut Vec::new()), u64::from(cut == sent.len()));
        assert_eq!(inbox.kept(), 0, "cut at {cut}");
    }
}

#[test]
fn a_head_of_the_longest_length_is_taken_and_one_byte_more_is_not() {
    let get =
        |length: usize| format!("GET / HTTP/1.1\r\nHost: lab\r\nX: {}\r\n\r\n", "x".repeat(length - 34)).into_bytes();
    for pieces in [&[usize::MAX][..], &[1], &[MAX_HEAD - 1, 1], &[4096]] {
        assert_eq!(text(&serve(&get(MAX_HEAD), pieces, &[usize::MAX])), text(HELLO), "{pieces:?}");
        assert_eq!(text(&serve(&get(MAX_HEAD + 1), pieces, &[usize::MAX])), reply("431 close"), "{pieces:?}");
        let (got, answers) = serve_from_a_buffer(&get(4096), pieces);
        assert_eq!((text(&got), answers), (text(HELLO), 1), "{pieces:?}");
        let (got, answers) = serve_from_a_buffer(&get(4097), pieces);
        assert_eq!((text(&got), answers), (reply("431 close"), 1), "{pieces:?}");
        // Behind another request it begins elsewhere in a buffer, and is as long.
        let behind = |length: usize| [GET.as_bytes(), &get(length)].concat();
        assert_eq!(text(&serve(&behind(MAX_HEAD), pieces, &[usize::MAX])), text(HELLO).repeat(2), "{pieces:?}");
        let refused = text(HELLO) + &reply("431 close");
        assert_eq!(text(&serve(&behind(MAX_HEAD + 1), pieces, &[usize::MAX])), refused, "{pieces:?}");
    }
}

#[test]
fn sixty_four_headers_are_taken_and_one_more_is_not() {
    let get = |headers: usize| format!("GET / HTTP/1.1\r\n{}Host: lab\r\n\r\n", "X: y\r\n".repeat(headers - 1));
    answers(get(64).as_bytes(), "200 hello");
    answers(get(65).as_bytes(), "431 close");
}

#[test]
fn a_server_without_memory_answers_whole_gets_and_nothing_else() {
    for count in 1..4 {
        assert_eq!(whole_gets(GET.repeat(count).as_bytes()), count);
    }
    let with = |behind: &str| whole_gets(format!("{GET}{behind}").as_bytes());
    assert_eq!(with("GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\n\r\n"), 2);
    for other in [
        "G",
        "HEAD / HTTP/1.1\r\nHost: lab\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\0",
    ] {
        assert_eq!(with(other), 0, "{other:?}");
    }
    assert_eq!(whole_gets(b""), 0);
}

#[test]
fn the_framing_of_chunks_gains_no_time_and_their_data_does() {
    let start = |connection: &mut Connection| connection.receive(&chunked(""), 0, &mut Vec::new());
    let (mut fast, mut slow, mut replies) = (Connection::new(0), Connection::new(0), Vec::new());
    start(&mut fast);
    start(&mut slow);
    fast.receive(b"100000\r\n", 0, &mut replies);
    for second in (9..140).step_by(9) {
        assert_eq!(fast.expire(second, TIMEOUTS, &mut replies), Expired::No, "second {second}");
        fast.receive(&[b'x'; 64 << 10], second, &mut replies);
    }
    for (second, byte) in (1..).zip(b"5;xxxxxxx") {
        assert_eq!(slow.expire(second, TIMEOUTS, &mut replies), Expired::No, "second {second}");
        slow.receive(&[*byte], second, &mut replies);
    }
    assert_eq!(expires(&mut slow, 9), (10, Expired::Request));
    // Nor does a number that promises much.
    let mut promising = Connection::new(0);
    start(&mut promising);
    promising.receive(b"40000\r\n", 9, &mut replies);
    assert_eq!(expires(&mut promising, 9), (10, Expired::Request));
    // Everything has come but the end.
    let mut late = Connection::new(0);
    let all = format!("{MAX_BODY:x}\r\n{}\r\n", "x".repeat(MAX_BODY as usize));
    late.receive(&chunked(&all), 0, &mut replies);
    assert_eq!(expires(&mut late, 0), (10, Expired::Request));
}

#[test]
fn a_reply_in_place_of_one_to_a_head_has_no_body() {
    for part in ["HEAD / HT", "HEAD / HTTP/1.1\r\nHost: lab\r\nContent-Length: 5\r\n\r\nGET ", "GET / HT"] {
        let (mut connection, mut replies) = (Connection::new(0), Vec::new());
        connection.receive(part.as_bytes(), 0, &mut replies);
        assert_eq!(connection.expire(10, TIMEOUTS, &mut replies), Expired::Request);
        let end = if part.starts_with("HEAD") { "\r\n\r\n" } else { "\r\n\r\n408 Request Timeout\n" };
        assert!(text(&replies).ends_with(&format!("Connection: close{end}")), "{part:?}: {}", text(&replies));
        assert!(text(&replies).contains("Content-Length: 20\r\n"), "{}", text(&replies));
    }
}

#[test]
fn a_part_of_a_head_is_kept_as_long_as_it_is_one() {
    let mut inbox = Inbox::new();
    let mut out = Vec::new();
    assert_eq!((inbox.receive(GET.as_bytes(), &mut out), inbox.kept()), (1, 0));
    let long = format!("{}GET / HT", GET.repeat(READ / GET.len()));
    for piece in [
        &long.as_bytes()[..long.len() - 8],
        b"GET / HT",
        b"TP/1.1\r\nHost: lab\r\n\r\nGET ",
        b"/ HTTP/1.1\r\nHost: lab\r\n\r\n",
    ] {
        inbox.receive(piece, &mut out);
        assert!(inbox.kept() <= MAX_HEAD, "{} bytes", inbox.kept());
    }
    assert_eq!(inbox.kept(), 0);
    // What came with the end of one head does not stay with the part of the next.
    inbox.receive(b"GET / HT", &mut out);
    let rest = format!("TP/1.1\r\nHost: lab\r\n\r\n{}GET / HT", GET.repeat(2 * READ / GET.len()));
    inbox.receive(rest.as_bytes(), &mut out);
    assert!((8..=MAX_HEAD).contains(&inbox.kept()), "{} bytes", inbox.kept());
}

#[test]
fn a_send_in_flight_is_completed_before_the_next_begins() {
    let (mut connection, mut replies) = (Connection::new(0), Vec::new());
    assert_eq!(connection.begin_send(&mut replies), None);
    assert!(!connection.wants_write());
    connection.receive(GET.as_bytes(), 0, &mut replies);
    assert_eq!(connection.begin_send(&mut replies).as_deref(), Some(HELLO));
    assert!(replies.is_empty() && connection.wants_write());
    assert_eq!(connection.pending(), HELLO.len());
    // The last send is not complete: no other begins, and nothing is lost.
    assert_eq!(connection.begin_send(&mut replies), None);
    assert_eq!(connection.pending(), HELLO.len());
    connection.receive(format!("{GET}{GET}").as_bytes(), 0, &mut replies);
    assert_eq!(connection.begin_send(&mut replies), None);
    connection.receive(GET.as_bytes(), 0, &mut replies);
    assert_eq!(connection.begin_send(&mut replies), None);
    assert!(replies.is_empty());
    assert_eq!(connection.pending(), 4 * HELLO.len());
    assert_eq!(connection.complete_send(50, 5), 2);
    assert_eq!(connection.complete_send(0, 7), 2);
    assert_eq!(connection.pending(), 3 * HELLO.len() + 2);
    // Bytes that were written gain time, and none gain none.
    assert_eq!(expires(&mut connection, 7), (15, Expired::Close));
    assert_eq!(connection.complete_send(2, 8), 0);
    // What has waited goes first, and takes with it what has just come.
    connection.receive(GET.as_bytes(), 8, &mut replies);
    assert_eq!(connection.begin_send(&mut replies), Some(HELLO.repeat(4)));
    assert!(replies.is_empty());
    assert_eq!(connection.begin_send(&mut replies), None);
    assert_eq!(connection.complete_send(4 * HELLO.len(), 8), 0);
    assert!(!connection.wants_write());
    // A connection that was over is over when the loan is written.
    connection.receive(b"\0", 9, &mut replies);
    let last = connection.begin_send(&mut replies).expect("a refusal");
    assert!(!connection.is_over());
    connection.complete_send(last.len(), 9);
    assert!(connection.is_over());
}

#[test]
fn as_much_as_may_wait_is_in_flight_and_stops_the_reading() {
    let mut outbox = Outbox::new();
    assert_eq!(outbox.begin_send(&mut vec![b'x'; MAX_PENDING - 1]).map(|loan| loan.len()), Some(MAX_PENDING - 1));
    assert!(!outbox.is_full() && !outbox.is_empty());
    assert_eq!(outbox.begin_send(&mut vec![b'y']), None);
    assert!(outbox.is_full());
    assert_eq!((outbox.complete_send(MAX_PENDING - 1), outbox.len()), (0, 1));
    assert!(!outbox.is_full() && !outbox.is_empty());
}

#[test]
fn the_last_byte_of_the_replies_waits_like_the_others() {
    let (mut outbox, mut taken) = (Outbox::new(), Vec::new());
    for (limit, left) in [(HELLO.len() - 3, 3), (1, 2), (0, 2), (1, 1), (1, 0)] {
        let replies = if taken.is_empty() { HELLO } else { &[] };
        let written = outbox.flush(replies, |bytes| {
            taken.extend_from_slice(&bytes[..limit]);
            Ok(limit)
        });
        assert_eq!(written.expect("nothing goes wrong"), limit);
        assert_eq!((outbox.len(), outbox.is_empty()), (left, left == 0));
    }
    assert_eq!(taken, HELLO);
}

#[test]
fn with_nothing_to_write_nothing_is_written() {
    let mut connection = Connection::new(0);
    connection.flush(&[], 5, |_| panic!("there is nothing to write")).expect("nothing goes wrong");
    assert_eq!(expires(&mut connection, 5), (60, Expired::Close));
}

//! A connection is the same function of its bytes however they come and go: any split into reads and any limit on the
//! writes gives the same replies. And it is bounded in memory and in time.

use std::collections::VecDeque;
use std::io;

use lab::http::{Connection, Expired, HELLO, MAX_BODY, MAX_HEAD, MAX_PENDING, Timeouts};
use proptest::prelude::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
/// As a stage reads.
const READ: usize = 16 * 1024;

/// A server's loop around one connection, as the stages have it; returns what the client got. Reads are of the lengths of
/// `reads` and writes take no more than `writes`, each list again and again; a 0 among the writes is `EAGAIN`.
fn serve(stream: &[u8], reads: &[usize], writes: &[usize]) -> Vec<u8> {
    let (mut connection, mut replies, mut got) = (Connection::new(0), Vec::new(), Vec::new());
    let (mut reads, mut writes) = (reads.iter().cycle(), writes.iter().cycle());
    let mut stream = stream;
    while !stream.is_empty() || connection.wants_write() {
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Requests of every kind, good and bad.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        GET,
        "GET /?q HTTP/1.1\r\n\r\n",
        "GET /nothing HTTP/1.1\r\n\r\n",
        "HEAD / HTTP/1.1\r\n\r\n",
        "HEAD /nothing HTTP/1.1\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\nHost: bare line feeds\n\n",
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "POST /u HTTP/1.1\r\n\r\n",
        "POST /u HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "POST /u HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        "POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "BREW / HTTP/1.1\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\0",
    ]);
    let post = (0..20_000_usize, any::<bool>()).prop_map(|(length, expects)| {
        let expects = if expects { "Expect: 100-continue\r\n" } else { "" };
        format!("POST /u HTTP/1.1\r\n{expects}Content-Length: {length}\r\n\r\n{}", "G".repeat(length))
    });
    // Around the limits on a head and on its headers.
    let long = (MAX_HEAD - 60..MAX_HEAD + 9000).prop_map(|n| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(n)));
    let broken =
        (MAX_HEAD - 60..MAX_HEAD + 60).prop_map(|n| format!("GET / HTTP/1.1\r\nX: {}\0\r\n\r\n", "x".repeat(n)));
    let many = (60..70_usize).prop_map(|n| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(n)));
    prop_oneof![
        12 => fixed.prop_map(|text| text.as_bytes().to_vec()),
        4 => post.prop_map(String::into_bytes),
        1 => long.prop_map(String::into_bytes),
        1 => broken.prop_map(String::into_bytes),
        1 => many.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
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
}

#[test]
fn a_pipeline_is_answered_in_order_and_up_to_the_last_request() {
    let stream = format!(
        "{GET}HEAD / HTTP/1.1\r\n\r\nPOST /u HTTP/1.1\r\nContent-Length: 2\r\n\r\nxxGET /n HTTP/1.1\r\nConnection: close\r\n\r\n{GET}"
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
    let post = |length: u64| format!("POST /u HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
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
    (from..)
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
    let head = format!("POST /u HTTP/1.1\r\nContent-Length: {}\r\n\r\n", 1 << 20);
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

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 48, "{} bytes", size_of::<Connection>());
}

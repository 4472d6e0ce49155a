//! Any bytes, cut anywhere, are answered like the same bytes at once, with one reply a request, and keep little.
//!
//! The first four bytes of an input are the lengths of the reads, the rest is the stream.
#![no_main]

use lab::http::{Inbox, MAX_HEAD, Parser};
use libfuzzer_sys::fuzz_target;

const BUFFER: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((lengths, stream)) = input.split_at_checked(4) else { return };
    let whole = receive(stream, &[usize::MAX]);
    let lengths: Vec<usize> = lengths.iter().map(|byte| 1 + usize::from(*byte) * usize::from(*byte)).collect();
    assert_eq!(receive(stream, &lengths), whole);
    assert_eq!(receive(stream, &[1]), whole);
    // A smaller buffer refuses more heads, but is as indifferent to where the stream is cut.
    let buffered = receive_in_a_buffer(stream, &[BUFFER]);
    assert_eq!(receive_in_a_buffer(stream, &lengths), buffered);
    if stream.len() < BUFFER {
        assert_eq!(buffered, whole);
    }
});

/// What a server sends that keeps an [`Inbox`], after it was checked.
fn receive(stream: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut inbox, mut out, mut answers, mut rest) = (Inbox::new(), Vec::new(), 0, stream);
    for length in lengths.iter().cycle() {
        let (now, later) = rest.split_at(rest.len().min(*length));
        answers += inbox.receive(now, &mut out);
        assert!(inbox.kept() <= MAX_HEAD, "{} bytes are kept", inbox.kept());
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    // What is sent back is the server's own words, so its status lines can be counted.
    let text = String::from_utf8(out).expect("replies are ASCII");
    let count = |line: &str| text.matches(line).count();
    let replies = count("HTTP/1.1 ") - count("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(answers, replies as u64);
    assert!(count("Connection: close\r\n") <= 1);
    assert_eq!(count("Connection: close\r\n") == 1, inbox.is_over());
    // The shortest request has 18 bytes, and an error is the last reply.
    assert!(replies <= stream.len() / 18 + 1, "{replies} replies to {} bytes", stream.len());
    text.into_bytes()
}

/// The same of a stage that keeps a buffer around a [`Parser`].
fn receive_in_a_buffer(stream: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut parser, mut out, mut rest) = (Parser::new(), Vec::new(), stream);
    let (mut buffer, mut filled) = ([0; BUFFER], 0);
    for length in lengths.iter().cycle() {
        let n = rest.len().min(*length).min(BUFFER - filled);
        assert!(n > 0 || rest.is_empty(), "a full buffer is left full");
        let (now, later) = rest.split_at(n);
        buffer[filled..filled + n].copy_from_slice(now);
        filled += n;
        rest = later;
        loop {
            let step = parser.advance(&buffer[..filled], filled == BUFFER);
            buffer.copy_within(step.consumed..filled, 0);
            filled -= step.consumed;
            let Some(reply) = step.reply else { break };
            let mut bytes = [0; 256];
            let length = reply.write_to(&mut bytes);
            out.extend_from_slice(&bytes[..length]);
        }
        if rest.is_empty() {
            break;
        }
    }
    out
}

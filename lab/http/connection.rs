//! One client's connection: what has arrived of a request that is not complete, the replies that the client has not
//! taken, and how long it has been waited for.

use std::io;

use super::{Parser, Reply};

/// The longest head that is taken, in bytes, with its empty line.
pub const MAX_HEAD: usize = 8 * 1024;
/// With so many bytes of replies untaken, no more is read from a client. What one read more brings comes on top, at
/// most five times its own length.
pub const MAX_PENDING: usize = 64 * 1024;
/// A body comes forward when so many bytes more of it have come.
const BODY_STEP: u32 = 64 * 1024;

/// The reading side: bytes in, replies out. A connection between two requests keeps no buffer here.
#[derive(Default)]
pub struct Inbox {
    parser: Parser,
    /// The part of a head that is there; `None` when it is empty.
    #[expect(clippy::box_collection, reason = "few have one at a time, and everybody else saves 16 bytes")]
    part: Option<Box<Vec<u8>>>,
}

impl Inbox {
    /// At the start of a stream.
    pub fn new() -> Inbox {
        Inbox::default()
    }

    /// Takes what a read brought, puts the replies to it behind `out`, and returns how many requests were answered.
    pub fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> u64 {
        if self.part.is_none() {
            let (consumed, replies) = answer(&mut self.parser, bytes, out);
            if consumed < bytes.len() {
                self.part = Some(Box::new(bytes[consumed..].to_vec()));
            }
            return replies;
        }
        let mut part = self.part.take().expect("it was looked at");
        part.extend_from_slice(bytes);
        let (consumed, replies) = answer(&mut self.parser, &part, out);
        if consumed < part.len() {
            part.drain(..consumed);
            // A part is at most a head long, whatever came together with what stood before it.
            part.shrink_to(MAX_HEAD);
            self.part = Some(part);
        }
        replies
    }

    /// Whether the last reply was given: what still comes is dropped.
    pub fn is_over(&self) -> bool {
        self.parser.is_over()
    }

    /// Bytes of heap that it keeps.
    pub fn kept(&self) -> usize {
        self.part.as_ref().map_or(0, |part| part.capacity())
    }
}

/// Answers what is complete in `bytes`: how many bytes are done with, and how many requests were answered.
fn answer(parser: &mut Parser, bytes: &[u8], out: &mut Vec<u8>) -> (usize, u64) {
    let (mut at, mut replies) = (0, 0);
    // The `GET` that ends at `at`, all of it. What a client sends in one go is mostly the same request again, and the same
    // bytes in the same place mean the same.
    let mut last: &[u8] = &[];
    while at < bytes.len() {
        if !last.is_empty() && bytes[at..].starts_with(last) {
            put(Reply::Hello, out);
            at += last.len();
            replies += 1;
            continue;
        }
        let is_start = parser.is_at_start();
        // No head is looked for further than it may reach, so that one read and many give the same replies.
        let within = &bytes[at..bytes.len().min(at + MAX_HEAD)];
        let step = parser.advance(within, within.len() == MAX_HEAD);
        last = if is_start && step.reply == Some(Reply::Hello) { &within[..step.consumed] } else { &[] };
        at += step.consumed;
        match step.reply {
            Some(reply) => {
                put(reply, out);
                replies += u64::from(reply.is_final());
            }
            // The rest is a part of a head.
            None if step.consumed == 0 => break,
            None => {}
        }
    }
    (at, replies)
}

fn put(reply: Reply, out: &mut Vec<u8>) {
    if reply == Reply::Hello {
        return out.extend_from_slice(super::HELLO);
    }
    let mut bytes = [0; 256];
    let length = reply.write_to(&mut bytes);
    out.extend_from_slice(&bytes[..length]);
}

/// The writing side: the replies that the client has not taken. A connection that has taken everything keeps nothing
/// here.
#[derive(Default)]
pub struct Outbox {
    pending: Option<Box<Pending>>,
    /// Bytes of the send that is in flight: [`Outbox::begin_send`].
    in_flight: u32,
}

struct Pending {
    bytes: Vec<u8>,
    /// So many of them, from the front, are written.
    written: usize,
}

impl Outbox {
    /// Nothing to write.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Bytes that wait for room.
    pub fn len(&self) -> usize {
        self.in_flight as usize + self.pending.as_ref().map_or(0, |pending| pending.bytes.len() - pending.written)
    }

    /// Whether everything was taken.
    pub fn is_empty(&self) -> bool {
        self.pending.is_none() && self.in_flight == 0
    }

    /// Whether so much waits that no more is to be read.
    pub fn is_full(&self) -> bool {
        self.len() >= MAX_PENDING
    }

    /// Writes what waits, and then `replies`, with one call of `write`; what there was no room for is kept. Returns how
    /// many bytes were written: 0 if `write` says `WouldBlock`.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn flush(&mut self, replies: &[u8], mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut write = |bytes: &[u8]| match write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        };
        let Some(pending) = &mut self.pending else {
            if replies.is_empty() {
                return Ok(0);
            }
            let written = write(replies)?;
            if written < replies.len() {
                self.pending = Some(Box::new(Pending { bytes: replies[written..].to_vec(), written: 0 }));
            }
            return Ok(written);
        };
        pending.bytes.extend_from_slice(replies);
        let written = write(&pending.bytes[pending.written..])?;
        pending.written += written;
        if pending.written == pending.bytes.len() {
            self.pending = None;
        } else if pending.written >= MAX_PENDING {
            // What is written goes when it is as long as what may wait: each byte is moved about once.
            pending.bytes.drain(..pending.written);
            pending.written = 0;
        }
        Ok(written)
    }

    /// For writes that are answered later (io_uring): all that waits, with `replies` behind it, for somebody to write.
    /// `None` if that is nothing, or if a send is in flight: then `replies` wait. They are empty afterwards. What is in
    /// flight counts as waiting until [`Outbox::complete_send`].
    pub fn begin_send(&mut self, replies: &mut Vec<u8>) -> Option<Vec<u8>> {
        if self.in_flight > 0 || self.pending.is_some() {
            let pending = self.pending.get_or_insert_with(|| Box::new(Pending { bytes: Vec::new(), written: 0 }));
            pending.bytes.append(replies);
        }
        if self.in_flight > 0 {
            self.pending.take_if(|pending| pending.bytes.is_empty());
            return None;
        }
        let sent = self.pending.take().map_or_else(|| std::mem::take(replies), |pending| pending.bytes);
        self.in_flight = sent.len() as u32;
        (!sent.is_empty()).then_some(sent)
    }

    /// So many more bytes of the send in flight are written; says how many are not, which are its last.
    pub fn complete_send(&mut self, written: usize) -> usize {
        self.in_flight -= written as u32;
        self.in_flight as usize
    }
}

/// How long a client is waited for, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the next request, from the last one on.
    pub idle: u32,
    /// For a whole head from its first byte on, for 64 KiB more of a body, for any room for a reply, and for the
    /// client's own end after the last reply.
    pub request: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { idle: 60, request: 10 }
    }
}

/// What [`Connection::expire`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// There is time left.
    No,
    /// The request took too long, and `408 Request Timeout` is to be written.
    Request,
    /// There is nothing to wait for: close it.
    Close,
}

/// Both sides of one connection, and the clock. Between two requests it keeps no memory outside of itself.
pub struct Connection {
    inbox: Inbox,
    outbox: Outbox,
    /// When what it waits for came forward last: seconds of the reactor's clock.
    since: u32,
}

impl Connection {
    /// A client that has just come, at `now` seconds of the reactor's clock.
    pub fn new(now: u32) -> Connection {
        Connection { inbox: Inbox::new(), outbox: Outbox::new(), since: now }
    }

    /// Takes what a read brought, puts the replies behind `replies`, and returns how many requests were answered. To be
    /// followed by [`Connection::flush`].
    pub fn receive(&mut self, bytes: &[u8], now: u32, replies: &mut Vec<u8>) -> u64 {
        let before = self.waits_for();
        let answered = self.inbox.receive(bytes, replies);
        let after = self.waits_for();
        if answered > 0 || before != after {
            self.since = now;
        }
        answered
    }

    /// Writes what waits, and then `replies`, with at most one call of `write`; what there was no room for is kept.
    ///
    /// # Errors
    /// Those of `write`, without `WouldBlock`: the connection is broken.
    pub fn flush(&mut self, replies: &[u8], now: u32, write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        if self.outbox.flush(replies, write)? > 0 {
            self.since = now;
        }
        Ok(())
    }

    /// As [`Connection::flush`] for writes that are answered later: what is to be written now ([`Outbox::begin_send`]).
    pub fn begin_send(&mut self, replies: &mut Vec<u8>) -> Option<Vec<u8>> {
        self.outbox.begin_send(replies)
    }

    /// The answer: so many more bytes of the send in flight are written. Says how many are not
    /// ([`Outbox::complete_send`]).
    pub fn complete_send(&mut self, written: usize, now: u32) -> usize {
        if written > 0 {
            self.since = now;
        }
        self.outbox.complete_send(written)
    }

    /// Whether to read on: not while the client leaves [`MAX_PENDING`] bytes of replies untaken.
    pub fn wants_read(&self) -> bool {
        !self.outbox.is_full()
    }

    /// Whether replies wait for room.
    pub fn wants_write(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Whether the last reply is written: the stream to the client is to be ended (`shutdown(2)`), and what the client
    /// still sends is to be read until it ends too; closing at once could take the reply back.
    pub fn is_over(&self) -> bool {
        self.inbox.is_over() && self.outbox.is_empty()
    }

    /// Looks at the clock. With [`Expired::Request`], the reply that says so is behind `replies` and is to be flushed.
    pub fn expire(&mut self, now: u32, timeouts: Timeouts, replies: &mut Vec<u8>) -> Expired {
        let waits_for = self.waits_for();
        let limit = if waits_for == WaitsFor::Request { timeouts.idle } else { timeouts.request };
        if now.wrapping_sub(self.since) < limit {
            return Expired::No;
        }
        match waits_for {
            WaitsFor::Head | WaitsFor::Body(_) => {
                let part = self.inbox.part.as_ref().map_or(&[][..], |part| &part[..]);
                put(self.inbox.parser.refuse_now(part, "408 Request Timeout"), replies);
                self.since = now;
                Expired::Request
            }
            WaitsFor::Request | WaitsFor::Room | WaitsFor::End => Expired::Close,
        }
    }

    /// Bytes of replies that wait for room.
    pub fn pending(&self) -> usize {
        self.outbox.len()
    }

    fn waits_for(&self) -> WaitsFor {
        if !self.outbox.is_empty() {
            WaitsFor::Room
        } else if self.inbox.is_over() {
            WaitsFor::End
        } else if self.inbox.part.is_some() {
            WaitsFor::Head
        } else {
            match self.inbox.parser.body_left() {
                None => WaitsFor::Request,
                Some(left) => WaitsFor::Body(left / BODY_STEP),
            }
        }
    }
}

/// What is the client's to do next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    /// To send a request.
    Request,
    /// To send the rest of a head.
    Head,
    /// To send the rest of a body: so many steps are left, at most.
    Body(u32),
    /// To take its replies.
    Room,
    /// To close its side.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that is always behind and takes a little: what it has taken does not stay.
    #[test]
    fn what_is_written_is_kept_no_longer_than_as_much_may_wait() {
        const STEP: usize = 8 * 1024;
        let (mut outbox, mut taken, mut given) = (Outbox::new(), Vec::new(), Vec::new());
        for round in 0..100_u8 {
            given.extend([round; STEP]);
            let written = outbox.flush(&[round; STEP], |bytes| {
                let n = if round == 0 { 1 } else { STEP };
                taken.extend_from_slice(&bytes[..n]);
                Ok(n)
            });
            assert_eq!(written.expect("nothing goes wrong"), if round == 0 { 1 } else { STEP });
            let pending = outbox.pending.as_ref().expect("it is behind");
            assert!(pending.written < MAX_PENDING, "{} written bytes are kept in round {round}", pending.written);
            assert_eq!(pending.bytes.len() - pending.written, outbox.len());
            assert_eq!(outbox.len(), STEP - 1);
        }
        assert_eq!(taken, given[..taken.len()]);
        outbox.flush(&[], |bytes| Ok(bytes.len())).expect("nothing goes wrong");
        assert!(outbox.pending.is_none());
    }

    /// The replies to a stream that comes in one read, which must be those to its bytes one by one; with how many requests
    /// were answered.
    fn replies(stream: &[u8]) -> (String, u64) {
        let (mut at_once, mut one_by_one) = ((Inbox::new(), Vec::new()), (Inbox::new(), Vec::new()));
        let answered = at_once.0.receive(stream, &mut at_once.1);
        let each = stream.iter().map(|byte| one_by_one.0.receive(&[*byte], &mut one_by_one.1)).sum();
        let [at_once, one_by_one] = [at_once.1, one_by_one.1].map(|out| String::from_utf8(out).expect("it is ASCII"));
        assert_eq!((&at_once, answered), (&one_by_one, each));
        (at_once, answered)
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
    const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";

    #[test]
    fn the_same_request_again_is_answered_again() {
        assert_eq!(replies(GET.repeat(5).as_bytes()), (HELLO.repeat(5), 5));
        let body = "GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(replies(body.repeat(3).as_bytes()), (HELLO.repeat(3), 3));
        // With the same beginning, and something else behind it.
        let (text, answered) = replies(format!("{GET}{GET}{}", &GET[..20]).as_bytes());
        assert_eq!((text, answered), (HELLO.repeat(2), 2));
        let (text, answered) = replies(format!("{GET}{}X{}{GET}", &GET[..24], &GET[24..]).as_bytes());
        assert_eq!((text, answered), (HELLO.repeat(3), 3), "another host");
        // The last is the last, and another method is not a GET.
        let close = "GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
        assert_eq!(replies(close.repeat(2).as_bytes()).1, 1);
        let head = GET.replace("GET", "HEAD");
        assert!(replies(head.repeat(2).as_bytes()).0.ends_with("Content-Length: 13\r\n\r\n"));
        assert!(replies("GET /x HTTP/1.1\r\nHost: lab\r\n\r\n".repeat(2).as_bytes()).0.ends_with("404 Not Found\n"));
    }

    /// What is a request in one place is a body in another.
    #[test]
    fn the_same_bytes_in_a_body_are_no_request() {
        let post = |body: &str| format!("POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let stored = |bytes: &str| format!("\r\n\r\n{bytes} bytes stored\n");
        let (text, answered) = replies(format!("{GET}{}{GET}", post(&GET.repeat(2))).as_bytes());
        assert!(answered == 3 && text.contains(&stored(&(2 * GET.len()).to_string())), "{text}");
        // A body that is longer than a head may be is taken in pieces. Wherever one ends, there may be a request behind it.
        for before in 0..GET.len() {
            let body = "X".repeat(before) + &GET.repeat(300);
            let (text, answered) = replies(format!("{GET}{}{GET}", post(&body)).as_bytes());
            assert!(answered == 3 && text.contains(&stored(&body.len().to_string())), "{text}");
        }
        // The rest of a body, which has come with an earlier read in front of it, and then the same again.
        let mut inbox = Inbox::new();
        let mut out = Vec::new();
        let head = "GET / HTTP/1.1\r\nHost: lab\r\nContent-Length: 30\r\n\r\n";
        assert_eq!(inbox.receive(format!("{head}X").as_bytes(), &mut out), 0);
        assert_eq!(inbox.receive(format!("{GET}{GET}{GET}").as_bytes(), &mut out), 3);
        out.clear();
        assert_eq!(inbox.receive(format!("{head}X\r\n").as_bytes(), &mut out), 0);
        let rest = &GET[2..];
        assert_eq!(inbox.receive(format!("{rest}{rest}").as_bytes(), &mut out), 2);
        assert!(String::from_utf8_lossy(&out).contains("501 Not Implemented"), "`T / HTTP/1.1` is no request");
    }
}

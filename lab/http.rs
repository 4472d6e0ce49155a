//! As much HTTP/1.1 as the stages speak: `GET`, and `POST` with a `Content-Length`. Heads are parsed by httparse.

use std::io::Write;

/// The reply to a `GET`: 52 bytes, 13 of them body.
pub const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";

/// The longest body that is taken, in bytes: the 10 MiB of the upload.
pub const MAX_BODY: u64 = 10 * 1024 * 1024;

const MAX_HEADERS: usize = 64;

/// How many whole `GET` requests `bytes` is made of; 0 if it is anything else. For a server that keeps nothing between
/// two reads, and so can only answer what arrives whole.
pub fn whole_gets(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        match parse_head(bytes) {
            Ok(Some(head)) if head.is_get && head.body == 0 => bytes = &bytes[head.length..],
            _ => return 0,
        }
        count += 1;
    }
    count
}

struct Head {
    is_get: bool,
    /// Bytes of the head itself, with its empty line.
    length: usize,
    /// Bytes of the body that follows.
    body: u64,
}

/// `Ok(None)` while the head is not complete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Reply> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Reply::Refused("431 Request Header Fields Too Large")),
        Err(_) => return Err(Reply::Refused("400 Bad Request")),
    };
    let is_get = match request.method {
        Some("GET") => true,
        Some("POST") => false,
        _ => return Err(Reply::Refused("501 Not Implemented")),
    };
    let mut body = None;
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("Transfer-Encoding") {
            return Err(Reply::Refused("501 Not Implemented"));
        }
        if header.name.eq_ignore_ascii_case("Content-Length") {
            let digits = Some(header.value).filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit));
            let Some(value) = digits.and_then(|digits| std::str::from_utf8(digits).ok()) else {
                return Err(Reply::Refused("400 Bad Request"));
            };
            // More digits than fit are a length past every limit, not a malformed one.
            let length = value.parse().unwrap_or(u64::MAX);
            if body.replace(length).is_some_and(|earlier| earlier != length) {
                return Err(Reply::Refused("400 Bad Request"));
            }
        }
    }
    match body {
        None if !is_get => Err(Reply::Refused("411 Length Required")),
        Some(length) if length > MAX_BODY => Err(Reply::Refused("413 Content Too Large")),
        body => Ok(Some(Head { is_get, length, body: body.unwrap_or(0) })),
    }
}

/// One connection's place in its stream of requests.
pub struct Parser {
    state: State,
}

enum State {
    Head,
    Body {
        is_get: bool,
        length: u64,
        left: u64,
    },
    /// After a request that was refused, the rest of the stream means nothing.
    Refused,
}

/// What [`Parser::advance`] made of the bytes it was given.
pub struct Step {
    /// Bytes from the front that are done with.
    pub consumed: usize,
    /// The reply that is due, if a request was completed. There may be more behind it: call again.
    pub reply: Option<Reply>,
}

/// A reply, not yet written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a `GET`.
    Hello,
    /// To a `POST`: how many bytes its body had.
    Stored(u64),
    /// The status line of an error; nothing after it on this connection is answered.
    Refused(&'static str),
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// At the start of a stream.
    pub fn new() -> Self {
        Parser { state: State::Head }
    }

    /// Takes the bytes that are there and says how many are done with. A head is consumed when it is complete, a body
    /// as it comes, so between two calls only a part of a head stays with the caller. With `bytes` of a full buffer
    /// and no complete head in it, the request is refused.
    pub fn advance(&mut self, bytes: &[u8], full: bool) -> Step {
        match &mut self.state {
            State::Refused => Step { consumed: bytes.len(), reply: None },
            State::Head => match parse_head(bytes) {
                Ok(Some(head)) => {
                    self.state = State::Body { is_get: head.is_get, length: head.body, left: head.body };
                    let rest = self.advance(&bytes[head.length..], false);
                    Step { consumed: head.length + rest.consumed, ..rest }
                }
                Ok(None) if full => self.refuse(bytes, Reply::Refused("431 Request Header Fields Too Large")),
                Ok(None) => Step { consumed: 0, reply: None },
                Err(reply) => self.refuse(bytes, reply),
            },
            State::Body { is_get, length, left } => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                if *left > 0 {
                    return Step { consumed: taken, reply: None };
                }
                let reply = if *is_get { Reply::Hello } else { Reply::Stored(*length) };
                self.state = State::Head;
                Step { consumed: taken, reply: Some(reply) }
            }
        }
    }

    fn refuse(&mut self, bytes: &[u8], reply: Reply) -> Step {
        self.state = State::Refused;
        Step { consumed: bytes.len(), reply: Some(reply) }
    }
}

impl Reply {
    /// Puts the reply into `out` and returns its length in bytes. 256 bytes are always enough.
    pub fn write_to(self, out: &mut [u8]) -> usize {
        if self == Reply::Hello {
            out[..HELLO.len()].copy_from_slice(HELLO);
            return HELLO.len();
        }
        let room = out.len();
        let mut left = &mut out[..];
        match self {
            Reply::Hello => unreachable!("written above"),
            Reply::Stored(bytes) => {
                let digits = bytes.checked_ilog10().unwrap_or(0) + 1;
                let length = digits as usize + " bytes stored\n".len();
                write!(left, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{bytes} bytes stored\n")
            }
            Reply::Refused(status) => {
                let length = status.len() + 1;
                write!(left, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{status}\n")
            }
        }
        .expect("the buffer holds 256 bytes");
        room - left.len()
    }

    /// Whether the connection ends with this reply.
    pub fn is_last(self) -> bool {
        matches!(self, Reply::Refused(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stream: &[u8], piece: usize) -> (Vec<Reply>, usize) {
        let (mut parser, mut buffer, mut replies) = (Parser::new(), Vec::new(), Vec::new());
        for part in stream.chunks(piece) {
            buffer.extend_from_slice(part);
            loop {
                let step = parser.advance(&buffer, buffer.len() >= 4096);
                buffer.drain(..step.consumed);
                let Some(reply) = step.reply else { break };
                replies.push(reply);
            }
        }
        (replies, buffer.len())
    }

    #[test]
    fn the_reply_to_a_get_is_the_origins_52_bytes() {
        let mut out = [0; 256];
        assert_eq!(Reply::Hello.write_to(&mut out), 52);
        assert!(HELLO.ends_with(b"\r\n\r\nHello, World!"));
    }

    #[test]
    fn any_split_gives_the_same_replies() {
        let stream = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /u HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n";
        for piece in 1..=stream.len() {
            assert_eq!(
                run(stream, piece),
                (vec![Reply::Hello, Reply::Stored(5), Reply::Hello], 0),
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_once_and_the_rest_is_dropped() {
        for (request, status) in [
            ("BREW / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", "501 Not Implemented"),
            ("POST / HTTP/1.1\r\n\r\n", "411 Length Required"),
            ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400 Bad Request"),
            ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\nx", "400 Bad Request"),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "400 Bad Request"),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\nx", "413 Content Too Large"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "501 Not Implemented"),
            ("\0\r\n\r\n", "400 Bad Request"),
        ] {
            let (replies, kept) = run(request.as_bytes(), 7);
            assert_eq!((replies, kept), (vec![Reply::Refused(status)], 0), "{request:?}");
        }
    }

    #[test]
    fn a_head_that_fills_the_buffer_is_refused_and_a_long_body_is_not() {
        let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(5000));
        assert_eq!(run(head.as_bytes(), 512).0, [Reply::Refused("431 Request Header Fields Too Large")]);
        let body = format!("POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n{}", "x".repeat(9000));
        assert_eq!(run(body.as_bytes(), 512).0, [Reply::Stored(9000)]);
    }

    #[test]
    fn only_whole_gets_count_for_a_server_without_memory() {
        assert_eq!(whole_gets(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"), 2);
        assert_eq!(whole_gets(b"GET / HTTP/1.1\r\n\r\nGET / HT"), 0);
        assert_eq!(whole_gets(b"xxxx"), 0);
    }
}

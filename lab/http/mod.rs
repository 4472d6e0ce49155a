//! As much HTTP/1.1 as the stages speak (RFC 9112): `GET` and `HEAD` of `/`, and `POST` with a `Content-Length` or in
//! chunks. Heads are parsed by httparse.
//!
//! - [`Parser`] finds requests in the bytes of a connection, and allocates nothing. The stages that are about something
//!   else keep a receive buffer of their own around it.
//! - [`Connection`] is the rest of what a server of strangers needs: it keeps what is not complete, and what the client
//!   has not taken yet, bounds both, and knows when a client has been waited for too long.
//!
//! Both are plain logic: no system call, no clock.

mod body;
mod connection;

use std::io::Write;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;

use body::Body;
pub use body::MAX_BODY;
pub use connection::{Connection, Expired, Inbox, MAX_HEAD, MAX_PENDING, Outbox, Timeouts};

/// The reply to a `GET`: 52 bytes, 13 of them body.
pub const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";

const MAX_HEADERS: usize = 64;

/// How many whole `GET` requests `bytes` is made of; 0 if it is anything else. For a server that keeps nothing between
/// two reads, and so can only answer what arrives whole.
pub fn whole_gets(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        match parse_head(bytes) {
            Ok(Some(head)) if head.method == Method::Get && head.body.is_over() => bytes = &bytes[head.length..],
            _ => return 0,
        }
        count += 1;
    }
    count
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Head,
    Post,
}

struct Head {
    method: Method,
    /// Whether there is something at its path.
    found: bool,
    /// The client asks for the end of the connection, or speaks HTTP/1.0.
    last: bool,
    /// The client waits for `100 Continue` before it sends the body.
    expects: bool,
    /// Bytes of the head itself, with its empty line.
    length: usize,
    /// The body that follows.
    body: Body,
}

/// `Ok(None)` while the head is not complete; the status line of the error, if it is refused.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("431 Request Header Fields Too Large"),
        Err(_) => return Err("400 Bad Request"),
    };
    let method = match request.method {
        Some("GET") => Some(Method::Get),
        Some("HEAD") => Some(Method::Head),
        Some("POST") => Some(Method::Post),
        _ => None,
    };
    let target = Target::of(request.path.unwrap_or_default());
    let old = request.version == Some(0);
    let (mut host, mut counted, mut coding) = (false, None, None);
    let (mut last, mut expects) = (old, false);
    for header in request.headers.iter() {
        // The length tells nearly every other header from these.
        match header.name.len() {
            4 if header.name.eq_ignore_ascii_case("Host") => {
                let is_second = std::mem::replace(&mut host, true);
                if is_second || !is_host(header.value) {
                    return Err("400 Bad Request");
                }
            }
            6 if header.name.eq_ignore_ascii_case("Expect") => {
                expects = !old && header.value.eq_ignore_ascii_case(b"100-continue");
            }
            10 if header.name.eq_ignore_ascii_case("Connection") => {
                let mut options = header.value.split(|byte| *byte == b',');
                last |= options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
            14 if header.name.eq_ignore_ascii_case("Content-Length") => {
                let digits = header.value;
                if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                    return Err("400 Bad Request");
                }
                // More digits than fit are a length past every limit, not a malformed one.
                let digit = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
                let length = digits.iter().fold(0, digit);
                if counted.replace(length).is_some_and(|earlier| earlier != length) {
                    return Err("400 Bad Request");
                }
            }
            17 if header.name.eq_ignore_ascii_case("Transfer-Encoding") => {
                // Two lines are a list that somebody in between may put together in another way, or not at all.
                coding = Some(if coding.is_none() { Coding::of(header.value) } else { Coding::Invalid });
            }
            _ => {}
        }
    }
    // With both lengths, or with chunks that HTTP/1.0 does not know, two readers may see two ends of the body.
    let is_ambiguous = coding.is_some() && (old || counted.is_some());
    if (!host && !old) || target == Target::Invalid || coding == Some(Coding::Invalid) || is_ambiguous {
        return Err("400 Bad Request");
    }
    let (Some(method), None | Some(Coding::Chunked)) = (method, coding) else {
        return Err("501 Not Implemented");
    };
    // What is uploaded is counted and not kept, so any name will do for it.
    let found = method == Method::Post || target == Target::Root;
    let body = match (coding, counted) {
        (None, None) if method == Method::Post => return Err("411 Length Required"),
        (None, Some(length)) if length > MAX_BODY => return Err("413 Content Too Large"),
        (None, length) => Body::counted(length.unwrap_or(0) as u32),
        (Some(_), _) => Body::chunked(),
    };
    if !found && !body.is_over() {
        // It would be read for nothing.
        return Err("404 Not Found");
    }
    Ok(Some(Head { method, found, last, expects: expects && !body.is_over(), length, body }))
}

/// What a `Transfer-Encoding` comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Something else, and then chunks: the body has an end, but cannot be read.
    Unknown,
    /// Its end cannot be found (RFC 9112, 6.3): the last coding is another one, or there are chunks in chunks.
    Invalid,
}

impl Coding {
    fn of(value: &[u8]) -> Coding {
        let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
        let mut codings = value.rsplit(|byte| *byte == b',');
        if !codings.next().is_some_and(is_chunked) || codings.clone().any(is_chunked) {
            Coding::Invalid
        } else if codings.next().is_some() {
            Coding::Unknown
        } else {
            Coding::Chunked
        }
    }
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// `/`, with a query or without, or the same in its absolute form.
    Root,
    Other,
    /// An absolute form without a host, or with what cannot be one.
    Invalid,
}

impl Target {
    fn of(target: &str) -> Target {
        const SCHEME: &[u8] = b"http://";
        let bytes = target.as_bytes();
        let path = match bytes.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => {
                let (host, path) =
                    rest.split_at(rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len()));
                if matches!(host, [] | [b':', ..]) || !is_host(host) {
                    return Target::Invalid;
                }
                if matches!(path, [] | [b'?', ..]) {
                    return Target::Root;
                }
                path
            }
            _ => bytes,
        };
        if matches!(path, [b'/'] | [b'/', b'?', ..]) { Target::Root } else { Target::Other }
    }
}

/// Whether that is a host, or nothing, and perhaps a port: `uri-host [ ":" port ]` (RFC 9112, 3.2; RFC 3986, 3.2.2). Of
/// addresses in brackets there are those of IPv6.
fn is_host(value: &[u8]) -> bool {
    let is_port = |rest: &[u8]| matches!(rest, [] | [b':', ..]) && rest.iter().skip(1).all(u8::is_ascii_digit);
    if let [b'[', rest @ ..] = value {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        let is_address = str::from_utf8(&rest[..end]).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok());
        return is_address && is_port(&rest[end + 1..]);
    }
    let mut rest = value;
    loop {
        rest = &rest[rest.iter().position(|byte| !is_of_a_name(*byte)).unwrap_or(rest.len())..];
        match rest {
            [b'%', first, second, behind @ ..] if first.is_ascii_hexdigit() && second.is_ascii_hexdigit() => {
                rest = behind
            }
            _ => return is_port(rest),
        }
    }
}

/// Of a registered name: unreserved, or a sub-delimiter.
fn is_of_a_name(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=')
}

/// One connection's place in its stream of requests.
///
/// ```
/// use lab::http::{Parser, Reply};
///
/// let mut parser = Parser::new();
/// // Half a head stays with the caller.
/// let step = parser.advance(b"GET / HTTP/1.1\r\nHo", false);
/// assert_eq!((step.consumed, step.reply), (0, None));
/// // With its rest it is a request, and the one behind it waits for the next call.
/// let bytes = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\nPOST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 3\r\n\r\nabc";
/// let first = parser.advance(bytes, false);
/// assert_eq!((first.consumed, first.reply), (29, Some(Reply::Hello)));
/// let second = parser.advance(&bytes[29..], false);
/// assert_eq!(second.reply, Some(Reply::Stored(3)));
/// ```
pub struct Parser {
    state: State,
}

enum State {
    Head,
    Body {
        method: Method,
        found: bool,
        last: bool,
        body: Body,
    },
    /// After a request that was refused, or that asked to be the last, the rest of the stream means nothing.
    Over,
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
    /// The same to a `HEAD`: without a body.
    RefusedHead(&'static str),
    /// `100 Continue`: the client may send its body. The reply itself comes when that is there.
    Continue,
    /// To a `HEAD`: the head of [`Reply::Hello`].
    HelloHead,
    /// To a `GET` of something that is not there.
    NotFound,
    /// To a `HEAD` of something that is not there.
    NotFoundHead,
    /// To a request that asked for the end of the connection; nothing after it is answered.
    Last(Answer),
}

/// What a request is answered, if nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As [`Reply::Hello`].
    Hello,
    /// As [`Reply::HelloHead`].
    HelloHead,
    /// As [`Reply::NotFound`].
    NotFound,
    /// As [`Reply::NotFoundHead`].
    NotFoundHead,
    /// As [`Reply::Stored`].
    Stored(u32),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Reply {
        match answer {
            Answer::Hello => Reply::Hello,
            Answer::HelloHead => Reply::HelloHead,
            Answer::NotFound => Reply::NotFound,
            Answer::NotFoundHead => Reply::NotFoundHead,
            Answer::Stored(bytes) => Reply::Stored(u64::from(bytes)),
        }
    }
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
            State::Over => Step { consumed: bytes.len(), reply: None },
            State::Head => match parse_head(bytes) {
                Ok(Some(Head { method, found, last, expects, length, body })) => {
                    self.state = State::Body { method, found, last, body };
                    if expects {
                        return Step { consumed: length, reply: Some(Reply::Continue) };
                    }
                    let rest = self.advance(&bytes[length..], false);
                    Step { consumed: length + rest.consumed, ..rest }
                }
                Ok(None) if full => self.refuse(bytes, "431 Request Header Fields Too Large"),
                Ok(None) => Step { consumed: 0, reply: None },
                Err(status) => self.refuse(bytes, status),
            },
            State::Body { method, found, last, body } => {
                let consumed = match body.take(bytes) {
                    Ok(consumed) => consumed,
                    Err(status) => return self.refuse(bytes, status),
                };
                if !body.is_over() {
                    return Step { consumed, reply: None };
                }
                let answer = match (*method, *found) {
                    (Method::Get, true) => Answer::Hello,
                    (Method::Get, false) => Answer::NotFound,
                    (Method::Head, true) => Answer::HelloHead,
                    (Method::Head, false) => Answer::NotFoundHead,
                    (Method::Post, _) => Answer::Stored(body.taken()),
                };
                let last = *last;
                self.state = if last { State::Over } else { State::Head };
                Step { consumed, reply: Some(if last { Reply::Last(answer) } else { answer.into() }) }
            }
        }
    }

    fn refuse(&mut self, bytes: &[u8], status: &'static str) -> Step {
        Step { consumed: bytes.len(), reply: Some(self.refuse_now(bytes, status)) }
    }

    /// Ends the stream of requests here, with this status. `bytes` are what is there of the head or of the body.
    fn refuse_now(&mut self, bytes: &[u8], status: &'static str) -> Reply {
        let is_head = match self.state {
            State::Body { method, .. } => method == Method::Head,
            // What is wrong with a request may hide its method from httparse, but comes after it, and after no more
            // than the empty lines that httparse skips.
            _ => {
                let mut rest = bytes;
                while let Some(behind) = rest.strip_prefix(b"\r\n").or(rest.strip_prefix(b"\n")) {
                    rest = behind;
                }
                rest.starts_with(b"HEAD ")
            }
        };
        self.state = State::Over;
        if is_head { Reply::RefusedHead(status) } else { Reply::Refused(status) }
    }

    /// Bytes of a body that are still to come, at most; `None` outside of one.
    fn body_left(&self) -> Option<u32> {
        if let State::Body { body, .. } = &self.state { Some(body.left()) } else { None }
    }

    /// Whether a request begins with the next byte.
    fn is_at_start(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Whether the rest of the stream means nothing.
    fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
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
        let (reply, close) = match self {
            Reply::Last(answer) => (answer.into(), "Connection: close\r\n"),
            Reply::Refused(_) | Reply::RefusedHead(_) => (self, "Connection: close\r\n"),
            _ => (self, ""),
        };
        let mut head =
            |status: &str, length: usize| write!(left, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{close}\r\n");
        match reply {
            Reply::Hello => head("200 OK", 13).and_then(|()| left.write_all(b"Hello, World!")),
            Reply::HelloHead => head("200 OK", 13),
            Reply::NotFoundHead => head("404 Not Found", "404 Not Found\n".len()),
            Reply::NotFound => {
                head("404 Not Found", "404 Not Found\n".len()).and_then(|()| writeln!(left, "404 Not Found"))
            }
            Reply::Stored(bytes) => {
                let digits = bytes.checked_ilog10().unwrap_or(0) + 1;
                head("200 OK", digits as usize + " bytes stored\n".len())
                    .and_then(|()| writeln!(left, "{bytes} bytes stored"))
            }
            Reply::Refused(status) => head(status, status.len() + 1).and_then(|()| writeln!(left, "{status}")),
            Reply::RefusedHead(status) => head(status, status.len() + 1),
            Reply::Continue => left.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"),
            Reply::Last(_) => unreachable!("an answer is no last reply"),
        }
        .expect("the buffer holds 256 bytes");
        room - left.len()
    }

    /// Whether the connection ends with this reply.
    pub fn is_last(self) -> bool {
        matches!(self, Reply::Refused(_) | Reply::RefusedHead(_) | Reply::Last(_))
    }

    /// Whether a request is answered by this; `100 Continue` comes before the answer.
    pub fn is_final(self) -> bool {
        self != Reply::Continue
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
        let stream =
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST /u HTTP/1.1\r\nHost: lab\r\nContent-Length: 5\r\n\r\nhello\
                       GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
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
            ("BREW / HTTP/1.1\r\nHost: lab\r\n\r\nGET / HTTP/1.1\r\nHost: lab\r\n\r\n", "501 Not Implemented"),
            ("POST / HTTP/1.1\r\nHost: lab\r\n\r\n", "411 Length Required"),
            ("POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: -1\r\n\r\n", "400 Bad Request"),
            ("POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: +1\r\n\r\nx", "400 Bad Request"),
            ("POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "400 Bad Request"),
            (
                "POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
                "413 Content Too Large",
            ),
            ("POST / HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: br, chunked\r\n\r\n0\r\n\r\n", "501 Not Implemented"),
            ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request"),
            ("\0\r\n\r\n", "400 Bad Request"),
        ] {
            let (replies, kept) = run(request.as_bytes(), 7);
            assert_eq!((replies, kept), (vec![Reply::Refused(status)], 0), "{request:?}");
        }
    }

    #[test]
    fn a_head_that_is_refused_gets_no_body() {
        let long = format!("HEAD / HTTP/1.1\r\nHost: lab\r\nA: {}", "a".repeat(5000));
        for (request, status) in [
            ("HEAD / HTTP/1.1\r\nHost: lab\r\nContent-Length: x\r\n\r\n", "400 Bad Request"),
            ("\r\nHEAD / HTTP/9.9\r\n\r\n", "400 Bad Request"),
            ("HEAD /x HTTP/1.1\r\nHost: lab\r\nContent-Length: 1\r\n\r\n", "404 Not Found"),
            (&long, "431 Request Header Fields Too Large"),
        ] {
            for piece in [7, 4096] {
                assert_eq!(run(request.as_bytes(), piece).0, [Reply::RefusedHead(status)], "{request:?}");
            }
            let mut out = [0; 256];
            let length = Reply::RefusedHead(status).write_to(&mut out);
            let text = String::from_utf8_lossy(&out[..length]).into_owned();
            assert!(text.contains(&format!("Content-Length: {}\r\n", status.len() + 1)), "{text}");
            assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
        }
    }

    #[test]
    fn each_method_and_each_path_has_its_reply() {
        let not_found = Reply::NotFound;
        for (request, reply) in [
            ("GET / HTTP/1.1\r\nHost: lab\r\n\r\n", Reply::Hello),
            ("GET /?q=1 HTTP/1.1\r\nHost: lab\r\n\r\n", Reply::Hello),
            ("GET http://lab/ HTTP/1.1\r\nHost: lab\r\n\r\n", Reply::Hello),
            ("GET http://lab?q HTTP/1.1\r\nHost: lab\r\n\r\n", Reply::Hello),
            ("GET http://lab HTTP/1.1\r\nHost: lab\r\n\r\n", Reply::Hello),
            ("GET http://lab/x HTTP/1.1\r\nHost: lab\r\n\r\n", not_found),
            ("GET /favicon.ico HTTP/1.1\r\nHost: lab\r\n\r\n", not_found),
            ("GET // HTTP/1.1\r\nHost: lab\r\n\r\n", not_found),
            ("HEAD / HTTP/1.1\r\nHost: lab\r\n\r\n", Reply::HelloHead),
            ("HEAD /x HTTP/1.1\r\nHost: lab\r\n\r\n", Reply::NotFoundHead),
            ("POST /any HTTP/1.1\r\nHost: lab\r\ncontent-length: 0\r\n\r\n", Reply::Stored(0)),
            ("GET / HTTP/1.0\r\n\r\n", Reply::Last(Answer::Hello)),
            ("GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n", Reply::Last(Answer::Hello)),
            ("HEAD / HTTP/1.1\r\nHost: lab\r\nconnection: TE , CLOSE\r\n\r\n", Reply::Last(Answer::HelloHead)),
            ("GET / HTTP/1.1\r\nHost: lab\r\nConnection: keep-alive\r\n\r\n", Reply::Hello),
            ("GET /x HTTP/1.0\r\n\r\n", Reply::Last(Answer::NotFound)),
            ("GET /x HTTP/1.1\r\nHost: lab\r\nContent-Length: 1\r\n\r\n", Reply::Refused("404 Not Found")),
        ] {
            assert_eq!(run(request.as_bytes(), 7).0, [reply], "{request:?}");
        }
    }

    #[test]
    fn a_body_that_is_waited_for_is_asked_for_once() {
        let post = b"POST / HTTP/1.1\r\nHost: lab\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc\
                     GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
        for piece in [1, 10, post.len()] {
            let (replies, _) = run(post, piece);
            assert_eq!(replies, [Reply::Continue, Reply::Stored(3), Reply::Hello], "pieces of {piece}");
        }
        let nothing = b"POST / HTTP/1.1\r\nHost: lab\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(run(nothing, 9).0, [Reply::Stored(0)]);
        let old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(run(old, 9).0, [Reply::Last(Answer::Stored(1))]);
        let long = b"POST / HTTP/1.1\r\nHost: lab\r\nExpect: 100-continue\r\nContent-Length: 10485761\r\n\r\n";
        assert_eq!(run(long, 9).0, [Reply::Refused("413 Content Too Large")]);
    }

    #[test]
    fn a_reply_says_how_long_it_is_and_whether_it_is_the_last() {
        let all =
            [Answer::Hello, Answer::HelloHead, Answer::NotFound, Answer::NotFoundHead, Answer::Stored(10_485_760)];
        let replies = all.into_iter().flat_map(|answer| [answer.into(), Reply::Last(answer)]);
        let status = "431 Request Header Fields Too Large";
        for reply in replies.chain([Reply::Refused(status), Reply::RefusedHead(status)]) {
            let mut out = [0; 256];
            let length = reply.write_to(&mut out);
            let text = std::str::from_utf8(&out[..length]).expect("it is ASCII");
            let (head, body) = text.split_once("\r\n\r\n").expect("there is an empty line");
            let says: usize = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .and_then(|n| n.parse().ok())
                .expect("a length");
            let is_head = matches!(
                reply,
                Reply::HelloHead
                    | Reply::NotFoundHead
                    | Reply::RefusedHead(_)
                    | Reply::Last(Answer::HelloHead | Answer::NotFoundHead)
            );
            assert_eq!(body.len(), if is_head { 0 } else { says }, "{text:?}");
            assert_eq!(head.contains("\r\nConnection: close"), reply.is_last(), "{text:?}");
            let ends = matches!(reply, Reply::Last(_) | Reply::Refused(_) | Reply::RefusedHead(_));
            assert_eq!(reply.is_last(), ends, "{text:?}");
        }
        assert_eq!(Reply::Continue.write_to(&mut [0; 256]), 25);
    }

    #[test]
    fn a_head_that_fills_the_buffer_is_refused_and_a_long_body_is_not() {
        let head = format!("GET / HTTP/1.1\r\nHost: lab\r\nX: {}\r\n\r\n", "x".repeat(5000));
        assert_eq!(run(head.as_bytes(), 512).0, [Reply::Refused("431 Request Header Fields Too Large")]);
        let body = format!("POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 9000\r\n\r\n{}", "x".repeat(9000));
        assert_eq!(run(body.as_bytes(), 512).0, [Reply::Stored(9000)]);
    }

    #[test]
    fn only_whole_gets_count_for_a_server_without_memory() {
        assert_eq!(whole_gets(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\nGET / HTTP/1.1\r\nHost: lab\r\n\r\n"), 2);
        assert_eq!(whole_gets(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\nGET / HT"), 0);
        assert_eq!(whole_gets(b"xxxx"), 0);
    }
}

//! The lab's own client: a closed loop. Each connection sends a batch of requests (one, if there is no pipeline), waits
//! for the last of their replies, and sends the next. The threads share nothing; each waits in an epoll of its own.
//!
//! Before it sends, it waits until the socket can be written to, as wrk does. That makes three system calls of one,
//! nearly always for nothing; but on a machine that client and server share, what a client costs is what the server has
//! not, and the figures of two clients can only be set side by side if they cost alike. So each wait has a limit too,
//! for which the kernel sets a timer, and takes it back.
//!
//! A latency is the time from the sending of a batch to its last reply. It is not corrected for coordinated omission:
//! while a connection waits, it sends nothing, so a stall is one long latency, not one for each request that a client
//! with a timetable would have sent meanwhile.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use super::model::{Errors, Load, Work};
use crate::runner::explain;
use crate::server::STOP;
use crate::tools::cost::connect_from;
use crate::world::kernel::{Epoll, Event, Events, Interest, Stop};

/// Who waits longer than this for a reply counts it as late; so does wrk.
const LATE: Duration = Duration::from_secs(2);
/// For a reply to a single request.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest latency that is told from longer ones, in microseconds.
const LONGEST: u64 = 60_000_000;
/// Connections from one address of this machine: an address has some 28,000 ports for them.
const FROM_ONE_ADDRESS: usize = 20_000;
const READ: usize = 64 * 1024;
/// Every so many connections the client waits until the server has accepted all of them.
pub const SAMPLE: usize = 50;

/// A connection to a server.
///
/// # Errors
/// Those of `connect(2)`.
pub fn connect(to: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let stream = match to.ip().is_loopback() && to.is_ipv4() {
        // From the next address when one has no ports left.
        true => connect_from(Ipv4Addr::new(127, 0, 0, 1 + (index / FROM_ONE_ADDRESS % 250) as u8), to),
        false => TcpStream::connect(to),
    }?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The request, as wrk sends it.
pub fn request(to: SocketAddr) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {to}\r\n\r\n").into_bytes()
}

/// What a server replies, learned from its first replies.
pub struct Expected {
    body: Vec<u8>,
    /// The body is the same each time.
    constant: bool,
}

/// The front of what has arrived.
#[derive(Debug, PartialEq, Eq)]
enum Front {
    /// A reply of so many bytes.
    Reply { length: usize, good: Good },
    /// Only a part of one, which has so many bytes in all, if that is known yet.
    Part(usize),
    /// Something else.
    Garbage,
}

/// What is good about a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Good {
    Everything,
    /// The body is another one than it was.
    Status,
    Nothing,
}

impl Expected {
    /// Asks twice.
    ///
    /// # Errors
    /// If nobody replies, or in a way that this client does not read.
    pub fn learn(to: SocketAddr) -> Result<Expected> {
        let mut stream = connect(to, 0).with_context(|| format!("nobody listens on {to}"))?;
        let (first, second) = (ask(&mut stream, to)?, ask(&mut stream, to)?);
        let constant = first == second;
        Ok(Expected { body: first, constant })
    }

    /// Whether a reply can be told from another one by its body.
    pub fn is_constant(&self) -> bool {
        self.constant
    }

    /// Whether this body is the one that is due.
    pub fn is_right(&self, body: &[u8]) -> bool {
        !self.constant || body == self.body
    }

    fn front(&self, bytes: &[u8]) -> Front {
        let (status, head, body) = match head(bytes) {
            Ok(Some(head)) => head,
            Ok(None) => return Front::Part(0),
            Err(_) => return Front::Garbage,
        };
        let length = head + body;
        let Some(body) = bytes.get(head..length) else { return Front::Part(length) };
        let good = match () {
            () if status != 200 => Good::Nothing,
            () if !self.is_right(body) => Good::Status,
            () => Good::Everything,
        };
        Front::Reply { length, good }
    }

    /// One reply on a connection of its own, compared: `Ok(false)` if it is another one.
    ///
    /// # Errors
    /// If there is none.
    pub fn check(&self, stream: &mut TcpStream, to: SocketAddr) -> Result<bool> {
        Ok(self.is_right(&ask(stream, to)?))
    }
}

/// Status, length of the head, length of the body; `None` while the head is not complete.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut reply = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = reply.parse(bytes).context("this is no HTTP reply")? else {
        return Ok(None);
    };
    let value = reply.headers.iter().find(|header| header.name.eq_ignore_ascii_case("Content-Length"));
    let digits = value.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    let body = digits.context("a reply has no Content-Length, and this client needs one; take --client wrk")?;
    Ok(Some((reply.code.unwrap_or_default(), length, body)))
}

/// Asks for one reply, and waits for it. Gives its body.
fn ask(stream: &mut TcpStream, to: SocketAddr) -> Result<Vec<u8>> {
    stream.write_all(&request(to)).context("a request could not be sent")?;
    answer(stream)
}

/// Waits for one reply. Gives its body.
///
/// # Errors
/// If it does not come within 30 s, is no HTTP, or has another status than 200.
pub fn answer(stream: &mut TcpStream) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some((status, head, body)) = head(&bytes)?
            && bytes.len() >= head + body
        {
            ensure!(status == 200, "a reply has the status {status}");
            return Ok(bytes[head..head + body].to_vec());
        }
        match stream.read(&mut buffer) {
            Ok(0) => bail!("the server closed the connection without a reply"),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("no reply came"),
        }
    }
}

/// Connections that are open, a part for each thread.
pub struct Crowd<'a> {
    parts: Vec<Vec<Connection>>,
    to: SocketAddr,
    pipeline: usize,
    expected: &'a Expected,
    failed: u64,
}

struct Connection {
    /// Read and written as a file is (`read(2)`, `write(2)`), as wrk does it: of the network's own calls each is a
    /// little cheaper.
    stream: File,
    index: usize,
    /// A part of a reply.
    kept: Vec<u8>,
    /// It is not worth looking at what is kept before there is so much of it.
    enough: usize,
    /// Replies that are still to come.
    due: usize,
    /// Of the batch, what has been sent.
    sent: usize,
    /// It waits until it can send.
    sends: bool,
    since: Instant,
}

/// What a thread counts.
struct Tally {
    requests: u64,
    /// Replies that came after the end.
    drained: u64,
    latency: Histogram<u64>,
    errors: Errors,
}

fn tally() -> Tally {
    Tally { requests: 0, drained: 0, latency: histogram(), errors: Errors::default() }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order")
}

/// A thread of the client.
fn start<'scope, R: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    body: impl FnOnce() -> R + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, R>> {
    let thread = thread::Builder::new().spawn_scoped(scope, body);
    thread.map_err(|error| explain(error, "not every thread of the client could begin"))
}

impl<'a> Crowd<'a> {
    /// Opens the connections: each thread its own, one after the other, from where it runs. One of every [`SAMPLE`] is asked at
    /// once: its reply says that all before it are accepted, so that the listener's queue does not overflow.
    ///
    /// # Errors
    /// If not even one can be opened, or the kernel has no thread for us.
    pub fn connect(work: &Work, to: SocketAddr, expected: &'a Expected) -> Result<Crowd<'a>> {
        let threads = work.threads.min(work.connections);
        let open_part = |first: usize| {
            let of_each = (first..work.connections).step_by(threads);
            let opened = of_each.map(|index| Connection::open(to, index, index / threads % SAMPLE == SAMPLE - 1));
            opened.flatten().collect()
        };
        let parts: Vec<Vec<Connection>> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..threads).map(|first| start(scope, move || open_part(first))).collect::<Result<_>>()?;
            anyhow::Ok(threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect())
        })?;
        let failed = work.connections - parts.iter().map(Vec::len).sum::<usize>();
        ensure!(failed < work.connections, "nobody listens on {to}");
        Ok(Crowd { parts, to, pipeline: work.pipeline, expected, failed: failed as u64 })
    }

    /// Keeps all of them busy for so long.
    ///
    /// # Errors
    /// If the kernel has no epoll instance, eventfd or thread for us.
    pub fn ask_for(&mut self, time: Duration) -> Result<Load> {
        let stop = Stop::new().context("no eventfd(2) to stop the client with")?;
        let (to, pipeline, expected) = (self.to, self.pipeline, self.expected);
        let batch = request(to).repeat(pipeline);
        let begun = Instant::now();
        let (tallies, seconds) = thread::scope(|scope| {
            let (batch, stop) = (&batch, &stop);
            let driver = || Driver { to, pipeline, batch, expected, over: false };
            let parts = self.parts.iter_mut();
            let threads: Result<Vec<_>> = parts.map(|part| start(scope, move || driver().drive(part, stop))).collect();
            if threads.is_ok() {
                thread::sleep(time);
            }
            // Where one was refused, those that have begun end too, and the scope with them.
            stop.raise();
            let seconds = begun.elapsed().as_secs_f64();
            let tallies: Vec<_> = threads?.into_iter().map(|thread| thread.join().expect("no thread panics")).collect();
            anyhow::Ok((tallies, seconds))
        })?;
        let mut all = tally();
        all.errors.connect = std::mem::take(&mut self.failed);
        for tally in tallies {
            let tally = tally.context("a thread of the client could not go on")?;
            all.requests += tally.requests;
            all.drained += tally.drained;
            all.latency.add(&tally.latency).expect("they have the same bounds");
            all.errors += tally.errors;
        }
        let at = |quantile| all.latency.value_at_quantile(quantile);
        Ok(Load {
            requests: all.requests,
            answered: all.requests + all.drained,
            seconds,
            latency: [at(0.5), at(0.9), at(0.99), at(0.999), all.latency.max()].map(Some),
            errors: all.errors,
            checked: if expected.constant { all.requests + all.drained } else { 0 },
            cpu: None,
        })
    }
}

impl Connection {
    /// What to wait for until the batch is sent: with replies to its first requests behind it, too.
    const SENDS: Interest = Interest::READ.and(Interest::WRITE);

    /// A new one, which is asked for one reply if it is a `sample`.
    fn open(to: SocketAddr, index: usize, sample: bool) -> Result<Connection> {
        let mut stream = connect(to, index)?;
        if sample {
            ask(&mut stream, to)?;
        }
        stream.set_nonblocking(true)?;
        let (stream, kept, since) = (File::from(OwnedFd::from(stream)), Vec::new(), Instant::now());
        Ok(Connection { stream, index, kept, enough: 0, due: 0, sent: 0, sends: true, since })
    }
}

struct Driver<'a> {
    to: SocketAddr,
    pipeline: usize,
    batch: &'a [u8],
    expected: &'a Expected,
    /// The time is over: replies are taken, and nothing more is asked.
    over: bool,
}

impl Driver<'_> {
    fn drive(mut self, connections: &mut [Connection], stop: &Stop) -> io::Result<Tally> {
        let mut tally = tally();
        let epoll = Epoll::new()?;
        epoll.add(stop, STOP, Interest::READ)?;
        for (token, connection) in (0..).zip(&mut *connections) {
            connection.sends = true;
            epoll.add(&connection.stream, token, Connection::SENDS)?;
            // Whose last reply never came is of no more use.
            if connection.due > 0 {
                self.again(connection, token, &epoll, &mut tally)?;
            }
        }
        let (mut events, mut buffer) = (Events::with_capacity(512), vec![0; READ]);
        'asking: loop {
            epoll.wait_for(&mut events, Some(1))?;
            for event in events.iter() {
                if event.token == STOP {
                    break 'asking;
                }
                let connection = &mut connections[event.token as usize];
                if self.turn(connection, event, &epoll, &mut buffer, &mut tally).is_err() {
                    self.again(connection, event.token, &epoll, &mut tally)?;
                }
            }
        }
        // What has been asked is still answered; who is then without a reply has waited too long.
        self.over = true;
        let (in_time, end) = (tally.requests, Instant::now());
        while connections.iter().any(|connection| connection.due > 0) && end.elapsed() < LATE {
            epoll.poll(&mut events)?;
            for event in events.iter().filter(|event| event.token != STOP) {
                let connection = &mut connections[event.token as usize];
                if connection.due > 0 && self.turn(connection, event, &epoll, &mut buffer, &mut tally).is_err() {
                    tally.errors.lost += 1;
                    connection.due = 0;
                    epoll.delete(&connection.stream)?;
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        (tally.requests, tally.drained) = (in_time, tally.requests - in_time);
        tally.errors.late += connections.iter().filter(|connection| connection.due > 0).count() as u64;
        Ok(tally)
    }

    /// An event of a connection; an error if it is of no more use.
    fn turn(
        &self,
        connection: &mut Connection,
        event: Event,
        epoll: &Epoll,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> io::Result<()> {
        if event.readable() || event.hung_up() {
            self.take(connection, buffer, tally)?;
        }
        if connection.sends && event.writable() {
            self.send(connection)?;
        }
        // The next batch is due, or all of this one is sent.
        let sends = match connection.due {
            0 => !self.over,
            _ => connection.sent < self.batch.len(),
        };
        if sends != std::mem::replace(&mut connection.sends, sends) {
            epoll.modify(&connection.stream, event.token, if sends { Connection::SENDS } else { Interest::READ })?;
        }
        Ok(())
    }

    /// Sends what the kernel takes: of the next batch, if nothing is due.
    fn send(&self, connection: &mut Connection) -> io::Result<()> {
        if connection.due == 0 {
            (connection.due, connection.sent, connection.since) = (self.pipeline, 0, Instant::now());
        }
        match connection.stream.write(&self.batch[connection.sent..]) {
            Ok(n) => connection.sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes what has arrived; an error if the connection is of no more use.
    fn take(&self, connection: &mut Connection, buffer: &mut [u8], tally: &mut Tally) -> io::Result<()> {
        let n = match connection.stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut kept = std::mem::take(&mut connection.kept);
        let bytes = if kept.is_empty() {
            &buffer[..n]
        } else {
            kept.extend_from_slice(&buffer[..n]);
            &kept[..]
        };
        let mut at = 0;
        while connection.due > 0 && at < bytes.len() && bytes.len() >= connection.enough {
            match self.expected.front(&bytes[at..]) {
                Front::Reply { length, good } => {
                    (at, connection.enough) = (at + length, 0);
                    connection.due -= 1;
                    tally.requests += 1;
                    match good {
                        Good::Everything => {}
                        Good::Status => tally.errors.body += 1,
                        Good::Nothing => tally.errors.status += 1,
                    }
                }
                Front::Part(length) => {
                    connection.enough = length;
                    break;
                }
                Front::Garbage => return Err(ErrorKind::InvalidData.into()),
            }
        }
        if connection.due > 0 {
            connection.kept = bytes[at..].to_vec();
            return Ok(());
        }
        // Nobody has asked for more.
        if at < bytes.len() {
            return Err(ErrorKind::InvalidData.into());
        }
        if self.over {
            return Ok(());
        }
        let micros = connection.since.elapsed().as_micros() as u64;
        tally.latency.saturating_record(micros.max(1));
        if micros > LATE.as_micros() as u64 {
            tally.errors.late += 1;
        }
        Ok(())
    }

    /// A connection in the place of one that was lost.
    fn again(&self, connection: &mut Connection, token: u64, epoll: &Epoll, tally: &mut Tally) -> io::Result<()> {
        tally.errors.lost += 1;
        match Connection::open(self.to, connection.index, false) {
            Ok(fresh) => {
                // The old one leaves the interest list as it is closed.
                *connection = fresh;
                epoll.add(&connection.stream, token, Connection::SENDS)
            }
            Err(_) => {
                tally.errors.connect += 1;
                connection.due = 0;
                epoll.delete(&connection.stream)
            }
        }
    }
}

/// While another client loads the server, one more connection asks now and then, and looks at each reply.
pub struct Sampler {
    checked: AtomicU64,
    wrong: AtomicU64,
    lost: AtomicU64,
}

/// Between two requests of the sampler: few enough not to count beside the load.
const PAUSE: Duration = Duration::from_millis(10);

impl Sampler {
    /// Runs `other`, and samples until it is done. Gives what it gave, and adds what was found to it.
    ///
    /// # Errors
    /// Those of `other`; and if the kernel has no thread for the sampler.
    pub fn beside(to: SocketAddr, expected: &Expected, other: impl FnOnce() -> Result<Load>) -> Result<Load> {
        let sampler = Sampler { checked: AtomicU64::new(0), wrong: AtomicU64::new(0), lost: AtomicU64::new(0) };
        let done = AtomicBool::new(false);
        let mut load = thread::scope(|scope| {
            start(scope, || sampler.sample(to, expected, &done))?;
            let load = other();
            done.store(true, Ordering::Relaxed);
            load
        })?;
        load.errors.body += sampler.wrong.into_inner();
        load.errors.lost += sampler.lost.into_inner();
        load.checked += sampler.checked.into_inner();
        Ok(load)
    }

    fn sample(&self, to: SocketAddr, expected: &Expected, done: &AtomicBool) {
        let mut stream = None;
        while !done.load(Ordering::Relaxed) {
            let open = match stream.take() {
                Some(open) => Ok(open),
                None => connect(to, 0),
            };
            match open.map_err(Into::into).and_then(|mut open| Ok((expected.check(&mut open, to)?, open))) {
                Ok((right, open)) => {
                    self.checked.fetch_add(1, Ordering::Relaxed);
                    self.wrong.fetch_add(u64::from(!right), Ordering::Relaxed);
                    stream = Some(open);
                }
                Err::<_, anyhow::Error>(_) => _ = self.lost.fetch_add(1, Ordering::Relaxed),
            }
            thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_of_a_stream_is_a_reply_however_it_is_cut() {
        let expected = Expected { body: b"Hello".to_vec(), constant: true };
        let reply = b"HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: 5\r\n\r\nHello";
        let two = reply.repeat(2);
        let head = reply.len() - 5;
        for cut in 0..two.len() {
            let due = match cut {
                cut if cut < head => Front::Part(0),
                cut if cut < reply.len() => Front::Part(reply.len()),
                _ => Front::Reply { length: reply.len(), good: Good::Everything },
            };
            assert_eq!(expected.front(&two[..cut]), due, "{cut} bytes");
        }
    }

    #[test]
    fn a_wrong_body_a_wrong_status_and_garbage_are_told_apart() {
        let expected = Expected { body: b"Hello".to_vec(), constant: true };
        let good = |text: &str| match expected.front(text.as_bytes()) {
            Front::Reply { good, .. } => Some(good),
            _ => None,
        };
        assert_eq!(good("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHellO"), Some(Good::Status));
        assert_eq!(good("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nHell"), Some(Good::Status));
        assert_eq!(good("HTTP/1.1 500 Oh\r\nContent-Length: 5\r\n\r\nHello"), Some(Good::Nothing));
        assert_eq!(expected.front(b"HELO\r\n\r\n"), Front::Garbage);
        let any = Expected { constant: false, ..expected };
        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(any.front(reply), Front::Reply { length: reply.len(), good: Good::Everything });
    }
}

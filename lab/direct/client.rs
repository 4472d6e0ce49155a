//! The client: a TCP connection from outside the server's process.
//!
//! Its directed steps end when they have arrived: sent bytes when they wait in the server's socket, or have been
//! acknowledged (`SIOCOUTQ` of `tcp(7)` is 0), a FIN when it is, an RST when the server's side is gone (`sockets.rs`).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::panic::Location;
use std::time::{Duration, Instant};

use crate::direct::schedule::{MAX_SEND, Plan};
use crate::direct::sockets::{CLOSE_WAIT, CLOSED, ESTABLISHED, server_side};
use crate::record::blackbox::{Blackbox, CLIENT};
use crate::record::event::Kind;
use crate::words::remedy;

const CHUNK: usize = 64 * 1024;
/// Bytes that have not even been sent for so long, with all before them acknowledged, have no room on the other side.
const HELD_BACK: Duration = Duration::from_millis(500);

/// The lowest number of a client's descriptor. Where server and client are one process, the server's sockets must get
/// the numbers that they would get without a client beside them.
const LOWEST: libc::c_int = 24;

/// One client and what it has done.
pub struct Client {
    blackbox: Blackbox,
    role: usize,
    server: SocketAddr,
    plan: Plan,
    stream: Option<TcpStream>,
    /// Received and not yet understood.
    pending: Vec<u8>,
    totals: ClientTotals,
    limit: Duration,
    /// The sending side is closed: what is left of the plan stays unsent.
    closed: bool,
    finished: bool,
    misdelivery: Option<Misdelivery>,
    failure: Option<io::Error>,
}

impl Client {
    /// A client of the server at `port` of 127.0.0.1. No single wait is longer than `limit`.
    pub fn new(blackbox: Blackbox, port: u16, plan: Plan, limit: Duration) -> Client {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let totals = ClientTotals::default();
        Client {
            blackbox,
            role: CLIENT,
            server,
            plan,
            stream: None,
            pending: Vec::new(),
            totals,
            limit,
            closed: false,
            finished: false,
            misdelivery: None,
            failure: None,
        }
    }

    /// The same client in another role than the first client's.
    pub fn playing(self, role: usize) -> Client {
        Client { role, ..self }
    }

    /// Its role in the box.
    pub fn role(&self) -> usize {
        self.role
    }

    /// What it has to send, in all.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// What it got that was not the reply that is due, if it ever did.
    pub fn misdelivery(&self) -> Option<&Misdelivery> {
        self.misdelivery.as_ref()
    }

    /// Whether it has closed its sending side in order.
    pub fn has_closed(&self) -> bool {
        self.closed
    }

    /// Why it did not get what it is owed, if that failed.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// What it has done so far.
    pub fn totals(&self) -> ClientTotals {
        self.totals
    }

    #[track_caller]
    fn note(&self, kind: Kind, a: u64, b: u64) {
        self.blackbox.record(self.role, kind, "", Location::caller(), a, b, 0);
    }

    fn stream(&self) -> io::Result<&TcpStream> {
        self.stream.as_ref().ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Connects, and waits until the server's kernel has the connection too.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub fn connect(&mut self) -> io::Result<()> {
        let stream = out_of_the_way(TcpStream::connect_timeout(&self.server, self.limit)?);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.limit))?;
        stream.set_write_timeout(Some(self.limit))?;
        let port = stream.local_addr()?.port();
        self.note(Kind::ClientConnect, u64::from(port), 0);
        self.stream = Some(stream);
        self.wait_until("the connection", || Ok(self.server_state(port)? == Some(ESTABLISHED)))
    }

    /// Sends the next `bytes` of the plan, and waits until they have arrived. The server's side must stand still
    /// meanwhile.
    ///
    /// # Errors
    /// Those of `write(2)`, and `StorageFull` if the other side has no room for them.
    pub fn send(&mut self, bytes: u64) -> io::Result<()> {
        let unread = |client: &Client| client.connection().ok().map(|connection| connection.unread);
        let before = unread(self);
        self.write(bytes)?;
        let start = Instant::now();
        self.wait_until("the bytes", || {
            // The acknowledgement of a few bytes may be delayed by 40 ms; that they wait there is seen at once.
            let there = before.map(|before| before + bytes);
            let unacknowledged = unacknowledged(self.stream()?)?;
            if unacknowledged == 0 || (there.is_some() && unread(self) == there) {
                return Ok(true);
            }
            if start.elapsed() > HELD_BACK && unsent(self.stream()?)? == unacknowledged {
                return Err(ErrorKind::StorageFull.into());
            }
            Ok(false)
        })
    }

    /// Sends the next `bytes` of the plan, and does not wait for them to arrive.
    fn write(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let mut chunk = vec![0; CHUNK.min(left as usize)];
            self.plan.fill(self.totals.sent, &mut chunk);
            self.stream()?.write_all(&chunk)?;
            self.totals.sent += chunk.len() as u64;
            left -= chunk.len() as u64;
        }
        self.note(Kind::ClientSend, bytes, self.totals.sent);
        Ok(())
    }

    /// Closes the sending side, and waits until the server's kernel knows.
    ///
    /// # Errors
    /// Those of `shutdown(2)`.
    pub fn fin(&mut self) -> io::Result<()> {
        self.stream()?.shutdown(Shutdown::Write)?;
        self.closed = true;
        self.note(Kind::ClientFin, 0, 0);
        // The FIN counts as one byte that is to be acknowledged.
        self.wait_until("the FIN", || Ok(unacknowledged(self.stream()?)? == 0))
    }

    /// Breaks the connection off: with a linger time of 0, close(2) sends an RST (`socket(7)`).
    ///
    /// # Errors
    /// Those of `setsockopt(2)`.
    pub fn reset(&mut self) -> io::Result<()> {
        let stream = self.stream.take().ok_or(ErrorKind::NotConnected)?;
        let port = stream.local_addr()?.port();
        break_off(stream)?;
        self.finished = true;
        self.note(Kind::ClientReset, 0, 0);
        self.wait_until("the RST", || Ok(self.server_state(port)?.is_none_or(|state| state == CLOSED)))
    }

    /// The state of the server's side of the connection that has this port here.
    fn server_state(&self, port: u16) -> io::Result<Option<u8>> {
        Ok(server_side(self.server.port(), port)?.map(|socket| socket.state))
    }

    /// Takes the replies that the server has written.
    ///
    /// # Errors
    /// Those of `read(2)`, and `InvalidData` for a reply that is not the one that is due.
    pub fn receive(&mut self) -> io::Result<()> {
        // A server that has closed its side has nothing under way any more.
        self.wait_until("the replies", || Ok(self.connection().map_or(0, |connection| connection.untaken) == 0))?;
        self.without_waiting(Client::receive_some).map(|_| ())
    }

    /// Reads once; `Ok(0)` is the end of the stream.
    fn receive_some(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let n = self.stream()?.read(&mut buffer)?;
        self.pending.extend_from_slice(&buffer[..n]);
        self.totals.received += n as u64;
        match n {
            0 => self.note(Kind::ClientEnd, 0, 0),
            n => self.note(Kind::ClientReceive, n as u64, self.totals.received),
        }
        while let Some(length) = self.check_reply()? {
            self.pending.drain(..length);
            self.totals.replies += 1;
        }
        Ok(n)
    }

    /// The length of the first reply, once it is there whole.
    fn check_reply(&mut self) -> io::Result<Option<usize>> {
        // A reply too many is nobody's due, however well it reads.
        let is_due = self.totals.replies < self.plan.replies_to(self.totals.sent);
        let whole = if is_due { self.plan.reply() } else { Vec::new() };
        if self.pending.is_empty() {
            return Ok(None);
        }
        let length = whole.len();
        let there = self.pending.len().min(length);
        if !is_due || self.pending[..there] != whole[..there] {
            let misdelivery = Misdelivery { client: self.role, got: self.pending.clone(), due: whole, made_for: None };
            self.misdelivery.get_or_insert(misdelivery);
            let text = String::from_utf8_lossy(&self.pending).into_owned();
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("the reply is not the one that is due: {text:?}"),
            ));
        }
        Ok((there == length).then_some(length))
    }

    /// Does what is left of the plan: sends the rest, unless it has closed its side, takes every reply that is due, and
    /// closes. Nothing after a reset.
    ///
    /// # Errors
    /// Those of `read(2)` and `write(2)`; `InvalidData` for a wrong reply; `UnexpectedEof` where one is missing.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.finished || self.stream.is_none() {
            return Ok(());
        }
        self.write_rest()?;
        while self.owed() > 0 {
            self.receive_more()?;
        }
        self.stream = None;
        self.finished = true;
        self.note(Kind::ClientFin, 0, 0);
        Ok(())
    }

    /// Sends what is left of the plan. Between two pieces it takes the replies that are there: a server that is asked
    /// much at once reads on only when they are taken, or gives the client up.
    fn write_rest(&mut self) -> io::Result<()> {
        let (rest, mut piece) = (self.left(), vec![0; CHUNK]);
        while self.left() > 0 {
            let piece = &mut piece[..CHUNK.min(self.left() as usize)];
            self.plan.fill(self.totals.sent, piece);
            if let Err(error) = self.without_waiting(|client| client.write_some(piece)) {
                return self.fails(error);
            }
            while self.left() > 0 && self.poll(libc::POLLIN | libc::POLLOUT)? & libc::POLLIN != 0 {
                self.receive_more()?;
            }
        }
        if rest > 0 {
            self.note(Kind::ClientSend, rest, self.totals.sent);
        }
        Ok(())
    }

    /// Reads once, and keeps why that failed; the end of the stream is a failure, too.
    fn receive_more(&mut self) -> io::Result<()> {
        match self.receive_some() {
            Ok(0) => self.fails(ErrorKind::UnexpectedEof.into()),
            Err(error) => self.fails(error),
            Ok(_) => Ok(()),
        }
    }

    fn fails(&mut self, error: io::Error) -> io::Result<()> {
        let copy = || error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error);
        self.failure.get_or_insert_with(copy);
        Err(error)
    }

    /// Sleeps until one of these events has come (`poll(2)`), and gives those that have.
    fn poll(&self, events: libc::c_short) -> io::Result<libc::c_short> {
        let mut watch = libc::pollfd { fd: self.stream()?.as_raw_fd(), events, revents: 0 };
        let limit = i32::try_from(self.limit.as_millis()).unwrap_or(-1);
        // SAFETY: the kernel reads and writes this one struct.
        match unsafe { libc::poll(&mut watch, 1, limit) } {
            0 => Err(ErrorKind::TimedOut.into()),
            1.. => Ok(watch.revents),
            _ => match io::Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }

    /// Writes once. Counted before anything is received: what is due depends on it.
    fn write_some(&mut self, piece: &[u8]) -> io::Result<usize> {
        let sent = self.stream()?.write(piece)?;
        self.totals.sent += sent as u64;
        Ok(sent)
    }

    /// Does `call`, in which reads and writes do not wait; `None` if one would have had to.
    fn without_waiting<R>(&mut self, call: impl FnOnce(&mut Client) -> io::Result<R>) -> io::Result<Option<R>> {
        self.stream()?.set_nonblocking(true)?;
        let result = call(self);
        self.stream()?.set_nonblocking(false)?;
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            result => result.map(Some),
        }
    }

    /// As [`Client::finish`], and the sending side is closed right after the last byte, before any reply is taken.
    ///
    /// # Errors
    /// Those of [`Client::finish`], and of `shutdown(2)`.
    pub fn send_rest_and_half_close(&mut self) -> io::Result<()> {
        if !self.finished && self.stream.is_some() {
            self.write(self.left())?;
            self.stream()?.shutdown(Shutdown::Write)?;
            self.closed = true;
            self.note(Kind::ClientFin, 0, 0);
        }
        self.finish()
    }

    /// As [`Client::finish`], and what is left to send goes out in two writes, one right after the other. Nagle's
    /// algorithm is off, so each is a packet of its own.
    ///
    /// # Errors
    /// Those of [`Client::finish`].
    pub fn finish_in_two_writes(&mut self) -> io::Result<()> {
        if !self.finished && self.stream.is_some() {
            self.write(self.left() / 3)?;
        }
        self.finish()
    }

    /// Whether it has sent all of its plan and has every reply.
    pub fn is_served(&self) -> bool {
        self.finished || self.stream.is_none() || (self.left() == 0 && self.owed() == 0)
    }

    /// Replies that are still to come.
    pub fn owed(&self) -> u64 {
        let due = if self.closed { self.plan.replies_to(self.totals.sent) } else { self.plan.replies() };
        due.saturating_sub(self.totals.replies)
    }

    /// Bytes of the plan that are still to be sent.
    fn left(&self) -> u64 {
        if self.closed {
            return 0;
        }
        self.plan.length().map_or(0, |length| length - self.totals.sent)
    }

    /// Does what can be done of the plan without waiting: sends a piece, if there is room, and takes what has come.
    ///
    /// # Errors
    /// Those of `read(2)` and `write(2)`; `InvalidData` for a wrong reply; `UnexpectedEof` where one is missing.
    pub fn go_on(&mut self) -> io::Result<()> {
        let mut piece = vec![0; MAX_SEND.min(self.left()) as usize];
        self.plan.fill(self.totals.sent, &mut piece);
        let sent =
            if piece.is_empty() { Ok(Some(0)) } else { self.without_waiting(|client| client.write_some(&piece)) };
        let received = self.without_waiting(Client::receive_some);
        match sent {
            Ok(Some(sent @ 1..)) => self.note(Kind::ClientSend, sent as u64, self.totals.sent),
            Ok(_) => {}
            Err(error) => return self.fails(error),
        }
        match received {
            Ok(Some(0)) if self.owed() > 0 => self.fails(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) => self.fails(error),
        }
    }

    /// What waits in the two queues of the server's socket.
    ///
    /// # Errors
    /// `NotFound` if the server's side is gone; `NotConnected` if there was none.
    pub fn connection(&self) -> io::Result<SocketQueues> {
        connection(self.stream()?, self.server.port())?.ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// A second look at the connection, for whoever judges it while this client waits.
    ///
    /// # Errors
    /// Those of `dup(2)`; `NotConnected` if there is none.
    pub fn wire(&self) -> io::Result<ConnectionProbe> {
        Ok(ConnectionProbe { stream: self.stream()?.try_clone()?, server: self.server.port() })
    }

    /// Streams `bytes` of no meaning and breaks the connection off at once. Says nothing of a server that is gone.
    pub fn stream_and_reset(&mut self, bytes: u64) {
        let chunk = [b'x'; CHUNK];
        let mut left = bytes;
        while left > 0 {
            let Ok(stream) = self.stream() else { return };
            let Ok(n) = (&mut &*stream).write(&chunk[..CHUNK.min(left as usize)]) else { return };
            self.totals.sent += n as u64;
            left -= n as u64;
        }
        let _ = self.reset();
    }

    /// Waits until what was done has arrived. Asks again and again: there is nothing to sleep on.
    fn wait_until(&self, what: &str, arrived: impl Fn() -> io::Result<bool>) -> io::Result<()> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(10);
        while !arrived()? {
            if start.elapsed() > self.limit {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("{what} did not arrive")));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// What the machine lacks, if that is why a client could not go on, and the error.
pub fn lacks(error: &io::Error) -> Option<String> {
    if error.kind() == ErrorKind::StorageFull {
        let why =
            "its bytes have no room on the other side until that reads; send less, or allow more (`net.ipv4.tcp_rmem`)";
        return Some(why.to_string());
    }
    let why = error.raw_os_error().and_then(remedy)?;
    Some(format!("{why}: {error}"))
}

/// Closes with an RST.
pub(crate) fn break_off(stream: TcpStream) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option is read from a linger of its own size.
    let result = unsafe {
        let size = size_of::<libc::linger>() as libc::socklen_t;
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
    };
    if result != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One visit of a crowd, which nobody records: connects, sends all of `plan`, waits for the reply if it `stays`, and
/// breaks the connection off.
///
/// # Errors
/// `InvalidData` for a reply that is not its own, `UnexpectedEof` for none, and those of `connect(2)`, `read(2)` and
/// `write(2)`: `WouldBlock` when nothing came within `limit`.
pub fn visit(port: u16, plan: Plan, stays: bool, limit: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut request = vec![0; plan.length().unwrap_or(0) as usize];
    plan.fill(0, &mut request);
    stream.write_all(&request)?;
    if stays {
        let due = plan.reply();
        let mut got = vec![0; due.len()];
        stream.read_exact(&mut got)?;
        if got != due {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    // No end of a stream stays behind, so that a machine does not run out of ports.
    break_off(stream)
}

/// The same connection under a higher number, where the limit on descriptors allows it.
fn out_of_the_way(stream: TcpStream) -> TcpStream {
    // SAFETY: fcntl(2) on an open descriptor; the new one has no other owner.
    unsafe {
        match libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, LOWEST) {
            -1 => stream,
            fd => TcpStream::from_raw_fd(fd),
        }
    }
}

/// A connection, for whoever judges it beside the client. Nothing is read or written through it.
pub struct ConnectionProbe {
    stream: TcpStream,
    server: u16,
}

impl ConnectionProbe {
    /// What waits in the two queues of the server's socket; `None` if that is gone.
    ///
    /// # Errors
    /// Those of reading `/proc/net/tcp`.
    pub fn connection(&self) -> io::Result<Option<SocketQueues>> {
        connection(&self.stream, self.server)
    }

    /// Bytes of the client that are on their way: sent, and neither acknowledged nor held back because the other side
    /// has no room for them.
    ///
    /// # Errors
    /// Those of `ioctl(2)`.
    pub fn in_flight(&self) -> io::Result<i32> {
        Ok(unacknowledged(&self.stream)? - unsent(&self.stream)?)
    }

    /// Ends the connection from the client's side: a client that waits in it wakes.
    pub fn cut(&self) {
        // The only error, ENOTCONN, means that it has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn connection(stream: &TcpStream, server: u16) -> io::Result<Option<SocketQueues>> {
    let socket = server_side(server, stream.local_addr()?.port())?;
    Ok(socket.map(|socket| {
        // A FIN has a number in the order of the bytes, and is none: FIONREAD leaves it out too.
        let fin = u64::from(socket.state == CLOSE_WAIT);
        SocketQueues { unread: socket.received.saturating_sub(fin), untaken: socket.written, inode: socket.inode }
    }))
}

/// Of the bytes that [`unacknowledged`] counts, those that wait for room on the other side (`SIOCOUTQNSD`). None where the
/// kernel does not know the call (an emulator, a sandbox): all of them may be on their way then, and less can be proved.
fn unsent(stream: &TcpStream) -> io::Result<i32> {
    // linux/sockios.h; libc does not have it.
    const SIOCOUTQNSD: libc::Ioctl = 0x894B;
    let mut bytes = 0;
    // SAFETY: SIOCOUTQNSD writes an int.
    match unsafe { libc::ioctl(stream.as_raw_fd(), SIOCOUTQNSD, &mut bytes) } {
        0 => Ok(bytes),
        _ => match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::ENOTTY)) => Ok(0),
            error => Err(error),
        },
    }
}

/// Bytes that were sent and not yet acknowledged, a FIN counting as one.
fn unacknowledged(stream: &TcpStream) -> io::Result<i32> {
    let mut bytes = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ, writes an int.
    match unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) } {
        0 => Ok(bytes),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What waits in the server's socket, in bytes (`sock_diag(7)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketQueues {
    /// Received by the kernel and not read by the server: what FIONREAD says of that socket.
    pub unread: u64,
    /// Written by the server and not acknowledged by the client's kernel.
    pub untaken: u64,
    /// The inode of that socket: `/proc/PID/fd` names it too.
    pub inode: u64,
}

/// What the client saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientTotals {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Replies received whole.
    pub replies: u64,
}

impl std::iter::Sum for ClientTotals {
    fn sum<I: Iterator<Item = ClientTotals>>(totals: I) -> ClientTotals {
        totals.fold(ClientTotals::default(), |sum, one| ClientTotals {
            sent: sum.sent + one.sent,
            received: sum.received + one.received,
            replies: sum.replies + one.replies,
        })
    }
}

/// Bytes that a client got and that are not the reply that it is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misdelivery {
    /// The role of the client that got them.
    pub client: usize,
    /// What it got.
    pub got: Vec<u8>,
    /// What it is owed.
    pub due: Vec<u8>,
    /// The role of the client that they were made for, if that is known.
    pub made_for: Option<usize>,
}

#[cfg(test)]
mod tests;

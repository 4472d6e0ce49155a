//! The kernel as these stages see it, as one value: a listener, TCP connections, one epoll instance. Nothing here blocks
//! or runs by itself; whoever calls says what happens next.
//!
//! What it follows is `epoll(7)` and `tcp(7)` as Linux does them: bytes that came before an RST stay readable, a one-shot
//! source is silent until it is modified, and a MOD or ADD of a source that is ready reports it at once.
//! `tests/kernel_model.rs` compares it call by call with Linux.
//!
//! What it leaves out: full buffers, the errors of `epoll_ctl(2)`, and EPOLLEXCLUSIVE. Where it differs: Linux reports HUP
//! and ERR at once also to a MOD or ADD that asks for neither IN nor RDHUP; here the next wake-up reports them.

use std::collections::{BTreeMap, VecDeque};

pub const IN: u32 = 0x1;
pub const OUT: u32 = 0x4;
pub const ERR: u32 = 0x8;
pub const HUP: u32 = 0x10;
pub const RDHUP: u32 = 0x2000;
pub const ONESHOT: u32 = 1 << 30;
pub const ET: u32 = 1 << 31;
/// Whatever is asked for.
const ANY: u32 = IN | OUT | ERR | HUP | RDHUP;

pub const LISTENER_FD: u64 = 5;
pub const STOP_FD: u64 = 4;
pub const LIMIT_FD: u64 = 3;

#[derive(Clone, Debug, Default, Hash)]
pub struct Net {
    /// Connections that nobody has accepted yet.
    backlog: VecDeque<usize>,
    pub connections: Vec<Connection>,
    pub interest: BTreeMap<u64, Entry>,
    /// The sources that have something to report, in the order in which they came.
    ready: VecDeque<u64>,
    /// The server was told to stop.
    pub stopped: bool,
}

/// One connection, seen from the server.
#[derive(Clone, Debug, Default, Hash)]
pub struct Connection {
    /// Sent by the client and not read yet.
    pub unread: VecDeque<u8>,
    /// How many bytes were read.
    pub read: u64,
    pub fin: bool,
    pub reset: bool,
    /// A read has already said ECONNRESET.
    reported: bool,
    /// The server has ended its sending side.
    pub shut: bool,
    /// The server has closed it.
    pub closed: bool,
    /// The server's descriptor, while it is open.
    pub fd: Option<u64>,
    /// Written by the server.
    pub written: u64,
}

/// One line of the interest list.
#[derive(Clone, Debug, Hash)]
pub struct Entry {
    pub token: u64,
    pub mask: u32,
    /// False between a one-shot report and the next MOD.
    pub armed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// EAGAIN
    WouldBlock,
    /// ECONNRESET
    Reset,
    /// EPIPE
    BrokenPipe,
}

impl Connection {
    /// The server has closed it, and did not read what its client had sent.
    pub fn is_discarded(&self) -> bool {
        self.closed && !self.unread.is_empty() && !self.reset
    }
}

impl Net {
    /// The client connects.
    pub fn connect(&mut self) {
        self.connections.push(Connection::default());
        self.backlog.push_back(self.connections.len() - 1);
        self.wake(LISTENER_FD, IN);
    }

    /// Bytes of the client arrive.
    pub fn arrive(&mut self, connection: usize, bytes: &[u8]) {
        self.connections[connection].unread.extend(bytes);
        self.wake_connection(connection, IN);
    }

    /// The client closes its sending side.
    pub fn fin(&mut self, connection: usize) {
        self.connections[connection].fin = true;
        self.wake_connection(connection, ANY);
    }

    /// The client breaks the connection off.
    pub fn reset(&mut self, connection: usize) {
        let Connection { fin, shut, reset, .. } = &mut self.connections[connection];
        // Where both sides have ended theirs there is nothing to break.
        if !(*fin && *shut) {
            *reset = true;
            self.wake_connection(connection, ANY);
        }
    }

    /// The operator tells the server to stop.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.wake(STOP_FD, IN);
    }

    /// Whether nobody has accepted that connection.
    pub fn waits(&self, connection: usize) -> bool {
        self.backlog.contains(&connection)
    }

    fn wake_connection(&mut self, connection: usize, what: u32) {
        if let Some(fd) = self.connections[connection].fd {
            self.wake(fd, what);
        }
    }

    /// Something happened at `fd`: it is looked at by the next wait if somebody asked for `what`.
    fn wake(&mut self, fd: u64, what: u32) {
        let asked = self.interest.get(&fd).is_some_and(|entry| entry.armed && (entry.mask | HUP | ERR) & what != 0);
        if asked && !self.ready.contains(&fd) {
            self.ready.push_back(fd);
        }
    }

    /// The event mask of `fd` now, as `poll(2)` would give it.
    fn state(&self, fd: u64) -> u32 {
        if fd == LISTENER_FD {
            return if self.backlog.is_empty() { 0 } else { IN };
        }
        if fd == STOP_FD {
            return if self.stopped { IN } else { 0 };
        }
        let Some(connection) = self.of(fd).map(|at| &self.connections[at]) else { return 0 };
        if connection.reset {
            // The error is there until somebody has been told of it.
            return IN | RDHUP | HUP | if connection.reported { 0 } else { ERR };
        }
        let input = !connection.unread.is_empty() || connection.fin;
        let over = connection.fin && connection.shut;
        (if input { IN } else { 0 }) | if connection.fin { RDHUP } else { 0 } | if over { HUP } else { 0 }
    }

    /// Which connection has that descriptor.
    pub fn of(&self, fd: u64) -> Option<usize> {
        self.connections.iter().position(|connection| connection.fd == Some(fd))
    }

    pub fn accept(&mut self) -> Option<u64> {
        let connection = self.backlog.pop_front()?;
        let taken = |fd: &u64| self.connections.iter().any(|connection| connection.fd == Some(*fd));
        let fd = (LISTENER_FD + 1..).find(|fd| !taken(fd)).expect("numbers do not run out");
        self.connections[connection].fd = Some(fd);
        Some(fd)
    }

    /// ADD and MOD.
    pub fn control(&mut self, fd: u64, token: u64, mask: u32) {
        self.interest.insert(fd, Entry { token, mask, armed: true });
        if self.state(fd) & mask != 0 {
            self.wake(fd, ANY);
        }
    }

    /// Whether `epoll_wait(2)` would return at once.
    pub fn has_event(&self) -> bool {
        self.ready.iter().any(|fd| self.report(*fd) != 0)
    }

    fn report(&self, fd: u64) -> u32 {
        // HUP and ERR are reported whether or not they were asked for.
        self.interest.get(&fd).filter(|entry| entry.armed).map_or(0, |entry| self.state(fd) & (entry.mask | HUP | ERR))
    }

    /// What `epoll_wait(2)` gives: tokens and masks.
    pub fn events(&mut self) -> Vec<(u64, u32)> {
        let mut events = Vec::new();
        for fd in std::mem::take(&mut self.ready) {
            let mask = self.report(fd);
            if mask == 0 {
                continue;
            }
            let entry = self.interest.get_mut(&fd).expect("it was reported");
            events.push((entry.token, mask));
            if entry.mask & ONESHOT != 0 {
                entry.armed = false;
            } else if entry.mask & ET == 0 {
                self.ready.push_back(fd);
            }
        }
        events
    }

    /// `read(2)` on a socket that does not block.
    pub fn read(&mut self, fd: u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        let at = self.of(fd).expect("an open socket");
        let connection = &mut self.connections[at];
        let count = connection.unread.len().min(buffer.len());
        for (to, byte) in buffer.iter_mut().zip(connection.unread.drain(..count)) {
            *to = byte;
        }
        connection.read += count as u64;
        match count {
            0 if connection.fin => Ok(0),
            0 if connection.reset && !connection.reported => {
                connection.reported = true;
                Err(Failure::Reset)
            }
            0 if connection.reset => Ok(0),
            0 => Err(Failure::WouldBlock),
            count => Ok(count),
        }
    }

    /// `send(2)`, to a client that always has room.
    pub fn write(&mut self, fd: u64, bytes: usize) -> Result<usize, Failure> {
        let at = self.of(fd).expect("an open socket");
        let connection = &mut self.connections[at];
        if !connection.reset && !connection.shut {
            connection.written += bytes as u64;
            return Ok(bytes);
        }
        let told = connection.reported || !connection.reset;
        connection.reported |= connection.reset;
        // Where the end came first, an RST is a broken pipe.
        Err(if told || connection.fin { Failure::BrokenPipe } else { Failure::Reset })
    }

    /// `shutdown(2)` of the sending side.
    pub fn shutdown_write(&mut self, fd: u64) {
        let at = self.of(fd).expect("an open socket");
        self.connections[at].shut = true;
        self.wake(fd, ANY);
    }

    /// The last descriptor of a socket is closed: it leaves the interest list too.
    pub fn close(&mut self, fd: u64) {
        if let Some(at) = self.of(fd) {
            self.connections[at].fd = None;
            self.connections[at].closed = true;
        }
        self.forget(fd);
    }

    /// It leaves the interest list.
    pub fn forget(&mut self, fd: u64) {
        self.interest.remove(&fd);
        self.ready.retain(|other| *other != fd);
    }
}

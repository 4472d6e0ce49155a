//! The kernel as these stages see it, as one value: a listener, TCP connections, one epoll instance. Nothing here blocks
//! or runs by itself; whoever calls says what happens next.
//!
//! What it follows is `epoll(7)` and `tcp(7)` as Linux does them: bytes that came before an RST stay readable, a one-shot
//! source is silent until it is modified, and a MOD or ADD of a source that is ready reports it at once.

use std::collections::{BTreeMap, VecDeque};

pub const IN: u32 = 0x1;
pub const OUT: u32 = 0x4;
pub const ERR: u32 = 0x8;
pub const HUP: u32 = 0x10;
pub const RDHUP: u32 = 0x2000;
pub const ONESHOT: u32 = 1 << 30;
pub const ET: u32 = 1 << 31;

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

impl Net {
    /// The client connects.
    pub fn connect(&mut self) {
        self.connections.push(Connection::default());
        self.backlog.push_back(self.connections.len() - 1);
        self.wake(LISTENER_FD);
    }

    /// Bytes of the client arrive.
    pub fn arrive(&mut self, connection: usize, bytes: &[u8]) {
        self.connections[connection].unread.extend(bytes);
        self.wake_connection(connection);
    }

    /// The client closes its sending side.
    pub fn fin(&mut self, connection: usize) {
        self.connections[connection].fin = true;
        self.wake_connection(connection);
    }

    /// The client breaks the connection off.
    pub fn reset(&mut self, connection: usize) {
        self.connections[connection].reset = true;
        self.wake_connection(connection);
    }

    /// The operator tells the server to stop.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.wake(STOP_FD);
    }

    fn wake_connection(&mut self, connection: usize) {
        if let Some(fd) = self.connections[connection].fd {
            self.wake(fd);
        }
    }

    /// Something changed at `fd`: it is reported if somebody asked for it.
    fn wake(&mut self, fd: u64) {
        let asked = self.interest.get(&fd).is_some_and(|entry| entry.armed);
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
        (if input { IN } else { 0 }) | if connection.fin { RDHUP } else { 0 }
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
            self.wake(fd);
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
            0 if connection.reset && !connection.reported => {
                connection.reported = true;
                Err(Failure::Reset)
            }
            0 if connection.reset || connection.fin => Ok(0),
            0 => Err(Failure::WouldBlock),
            count => Ok(count),
        }
    }

    /// `send(2)`, to a client that always has room.
    pub fn write(&mut self, fd: u64, bytes: usize) -> Result<usize, Failure> {
        let at = self.of(fd).expect("an open socket");
        let connection = &mut self.connections[at];
        match connection.reset {
            true if connection.reported => Err(Failure::BrokenPipe),
            true => {
                connection.reported = true;
                Err(Failure::Reset)
            }
            false => {
                connection.written += bytes as u64;
                Ok(bytes)
            }
        }
    }

    /// The last descriptor of a socket is closed: it leaves the interest list too.
    pub fn close(&mut self, fd: u64) {
        if let Some(at) = self.of(fd) {
            self.connections[at].fd = None;
        }
        self.forget(fd);
    }

    /// It leaves the interest list.
    pub fn forget(&mut self, fd: u64) {
        self.interest.remove(&fd);
        self.ready.retain(|other| *other != fd);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};
    use std::time::Duration;

    use real::direct::client::Client;
    use real::kernel::{Epoll, Events, Interest, Listener, Socket};
    use real::record::blackbox::Blackbox;
    use real::schedule::Plan;

    use super::*;

    const SESSION: u64 = 1;

    /// Linux and the model of it, side by side.
    struct Both {
        net: Net,
        epoll: Epoll,
        listener: Listener,
        client: Client,
        socket: Option<(Socket, u64)>,
        interest: Interest,
        /// What was done, for a failed test.
        log: Vec<String>,
    }

    impl Both {
        fn new(interest: Interest) -> io::Result<Both> {
            let (epoll, listener) = (Epoll::new()?, Listener::bind("127.0.0.1:0".parse().expect("an address"))?);
            let mut net = Net::default();
            epoll.add(&listener, 0, Interest::READ)?;
            net.control(LISTENER_FD, 0, Interest::READ.bits());
            let port = listener.local_addr()?.port();
            let client = Client::new(Blackbox::new(64)?, port, Plan::Raw, Duration::from_secs(10));
            Ok(Both { net, epoll, listener, client, socket: None, interest, log: Vec::new() })
        }

        fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, linux: T, model: T) {
            self.log.push(format!("{what}: {linux:?}"));
            assert_eq!(linux, model, "Linux, and the model: {:#?}", self.log);
        }

        fn wait(&mut self) -> io::Result<()> {
            let mut events = Events::with_capacity(8);
            self.epoll.poll(&mut events)?;
            let linux: Vec<_> = events.iter().map(|event| (event.token, event.mask)).collect();
            let might = self.net.has_event();
            let model = self.net.events();
            assert_eq!(might, !model.is_empty(), "it knows before it waits");
            self.same("wait", linux, model);
            Ok(())
        }

        fn accept(&mut self) -> io::Result<()> {
            let (linux, model) = (self.listener.accept()?, self.net.accept());
            self.same("accept", linux.is_some(), model.is_some());
            if let Some((socket, fd)) = linux.zip(model) {
                self.epoll.add(&socket, SESSION, self.interest)?;
                self.net.control(fd, SESSION, self.interest.bits());
                self.socket = Some((socket, fd));
            }
            Ok(())
        }

        /// One call on the session's socket; the number says which.
        fn call(&mut self, which: usize) -> io::Result<()> {
            let Some((socket, fd)) = self.socket.take() else { return self.accept() };
            let told = |result: io::Result<usize>| result.map_err(|error| error.kind());
            let model = |result: Result<usize, Failure>| result.map_err(|failure| io::Error::from(failure).kind());
            match which {
                0 => {
                    let (mut one, mut other) = ([0; 3000], [0; 3000]);
                    let linux: Result<usize, ErrorKind> = told(socket.read(&mut one));
                    let modelled = model(self.net.read(fd, &mut other));
                    self.same("read", linux, modelled);
                }
                1 => {
                    let (linux, modelled) = (told(socket.write(b"reply")), model(self.net.write(fd, 5)));
                    self.same("write", linux, modelled);
                }
                2 => {
                    self.epoll.modify(&socket, SESSION, self.interest)?;
                    self.net.control(fd, SESSION, self.interest.bits());
                    self.log.push("modify".to_string());
                }
                _ => {
                    drop(socket);
                    self.net.close(fd);
                    self.log.push("close".to_string());
                    return Ok(());
                }
            }
            self.socket = Some((socket, fd));
            Ok(())
        }
    }

    /// What stages can do to the kernel, in orders chosen at random, does to the model what it does to Linux.
    #[test]
    fn the_model_of_the_kernel_does_what_linux_does() -> io::Result<()> {
        let edge = Interest::READ.edge_triggered();
        let mut random = 1_u64;
        let mut choose = |count: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % count
        };
        for round in 0..300 {
            let mut both = Both::new([Interest::READ, edge, edge.one_shot()][round % 3])?;
            both.client.connect()?;
            both.net.connect();
            let (mut over, mut closed) = (false, false);
            for _ in 0..25 {
                match choose(10) {
                    0 | 1 if !over && !closed => {
                        let bytes = [1, 2048, 5000][choose(3)];
                        both.client.send(bytes as u64)?;
                        both.net.arrive(0, &vec![b'x'; bytes]);
                        both.log.push(format!("send {bytes}"));
                    }
                    2 if !over && !closed => {
                        over = true;
                        // An RST after a FIN is another story, which no scenario tells.
                        if choose(2) == 0 {
                            both.client.fin()?;
                            both.net.fin(0);
                            both.log.push("fin".to_string());
                        } else {
                            both.client.reset()?;
                            both.net.reset(0);
                            both.log.push("reset".to_string());
                        }
                    }
                    3..=5 => both.wait()?,
                    6 | 7 => both.call(0)?,
                    8 => both.call(1 + choose(2))?,
                    9 if choose(4) == 0 && both.socket.is_some() => {
                        both.call(3)?;
                        closed = true;
                    }
                    _ => {}
                }
                if closed {
                    break;
                }
            }
            both.wait()?;
        }
        Ok(())
    }
}

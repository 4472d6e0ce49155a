//! Stage 8: several reactors at one port. Each has an epoll instance of its own, waits there for new clients and for its
//! own sessions, and shares no session with anybody. What they share is where clients come from.
//!
//! `stage8_broken` and `stage8_fixed` are the same file but for what stands between the `lesson` anchors:
//! whom a new connection wakes.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use lab::http::{Connection, Expired, Timeouts};
use lab::kernel::{self, Epoll, Event, Events, Interest, Listener, Socket};
use lab::point::point;
use lab::runner::{self, Counts, LISTENER, STOP, Served, Server};
use lab::sync::{self, Arc, AtomicU64, Ordering};

/// The longest read, in bytes.
const READ: usize = 16 * 1024;
const TIMEOUTS: Timeouts = Timeouts { idle: 60, request: 10 };

// ANCHOR: lesson
/// One reactor is enough for a client. Where each has a listener of its own, nobody else waits there.
fn arrivals(server: &Server) -> Interest {
    if server.flags.reuseport { Interest::READ } else { Interest::READ.exclusive() }
}
// ANCHOR_END: lesson

struct Totals {
    received: AtomicU64,
    replies: AtomicU64,
}

fn main() -> ExitCode {
    runner::main(module_path!(), serve)
}

// ANCHOR: serve
/// Starts the reactors, and waits for their end.
pub fn serve(server: Server) -> io::Result<Served> {
    let totals = Arc::new(Totals { received: AtomicU64::new(0), replies: AtomicU64::new(0) });
    let interest = arrivals(&server);
    // ANCHOR: lesson
    let mut listeners = vec![Arc::new(server.listener)];
    while listeners.len() < server.workers {
        let first = &listeners[0];
        listeners.push(if server.flags.reuseport { Arc::new(first.sibling()?) } else { first.clone() });
    }
    // ANCHOR_END: lesson
    let mut reactors = Vec::new();
    for (n, listener) in (1..).zip(listeners) {
        let reactor = Reactor::new(n, listener, interest, totals.clone())?;
        reactor.listen()?;
        // It stays raised, nobody reads it, and it is not exclusive: each of them hears of it once.
        reactor.epoll.add(&server.stop, STOP, Interest::READ.edge_triggered())?;
        reactors.push(reactor);
    }
    let start = |reactor: Reactor| sync::spawn(&format!("reactor-{}", reactor.number), move || reactor.run());
    let threads: Vec<_> = reactors.into_iter().map(start).collect();
    for thread in threads {
        thread.join();
    }
    Ok(Served { received: totals.received.load(Ordering::Relaxed), replies: totals.replies.load(Ordering::Relaxed) })
}
// ANCHOR_END: serve

// ANCHOR: reactor
/// One thread, its epoll instance, and the sessions that it accepted.
struct Reactor {
    number: usize,
    epoll: Epoll,
    listener: Arc<Listener>,
    /// How it waits for the listener.
    interest: Interest,
    /// There was no descriptor left for a client: it does not wait for the listener until there may be one.
    full: bool,
    sessions: HashMap<u64, Session>,
    last: u64,
    /// The second in which it last looked for clients who are too slow.
    looked: u32,
    /// When it was told to stop.
    stopped: Option<u32>,
    buffer: Vec<u8>,
    replies: Vec<u8>,
    counts: Counts,
    totals: Arc<Totals>,
}

impl Reactor {
    /// Its thread's whole life.
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        while self.stopped.is_none() || !self.sessions.is_empty() {
            point("wait");
            let limit = (self.full || !self.sessions.is_empty()).then_some(1);
            self.epoll.wait_for(&mut events, limit).expect("epoll_wait(2) has no reason to fail");
            let now = kernel::seconds();
            for event in events.iter() {
                match event.token {
                    STOP => self.stop(now),
                    // The stop was in the same batch, and has accepted everybody.
                    LISTENER if self.stopped.is_some() => {}
                    LISTENER => self.accept(now),
                    id => self.turn(id, event, now),
                }
            }
            if now != self.looked {
                self.look(now);
            }
        }
        runner::tell(self.number, self.counts);
    }

    /// A client is said to be waiting. One a wake-up: while more wait, the listener stays readable, and others wake too.
    fn accept(&mut self, now: u32) {
        self.counts.woken += 1;
        point("accept");
        match self.listener.try_accept() {
            Ok(Some(socket)) => self.insert(socket, now),
            // Somebody else was faster.
            Ok(None) => self.counts.empty += 1,
            // ANCHOR: full
            // The client waits on, and the listener stays readable: whoever asked again at once would spin.
            Err(_) => {
                self.counts.exhausted += 1;
                self.full = self.epoll.delete(&*self.listener).is_ok();
            }
        }
        // ANCHOR_END: full
    }

    fn insert(&mut self, socket: Socket, now: u32) {
        self.counts.accepted += 1;
        self.last += 1;
        // A client that cannot be watched cannot be served: its socket is closed here.
        if self.epoll.add(&socket, self.last, Interest::READ).is_ok() {
            self.sessions.insert(self.last, Session::new(socket, now));
        }
    }

    // ANCHOR: stop
    /// From now on nobody new; a client that is here gets the replies to what has arrived.
    fn stop(&mut self, now: u32) {
        while let Ok(Some(socket)) = self.listener.try_accept() {
            self.insert(socket, now);
        }
        if !self.full {
            self.epoll.delete(&*self.listener).expect("it is on the list");
        }
        self.stopped = Some(now);
        let mut ids: Vec<u64> = self.sessions.keys().copied().collect();
        // In the order in which they came.
        ids.sort_unstable();
        for id in ids {
            self.turn(id, Event::READABLE, now);
        }
    }
    // ANCHOR_END: stop
    // ANCHOR_END: reactor

    fn new(number: usize, listener: Arc<Listener>, interest: Interest, totals: Arc<Totals>) -> io::Result<Reactor> {
        let (epoll, sessions, counts) = (Epoll::new()?, HashMap::new(), Counts::default());
        let (looked, buffer, replies) = (kernel::seconds(), vec![0; READ], Vec::new());
        Ok(Reactor {
            number,
            epoll,
            listener,
            interest,
            full: false,
            sessions,
            last: 0,
            looked,
            stopped: None,
            buffer,
            replies,
            counts,
            totals,
        })
    }

    fn listen(&self) -> io::Result<()> {
        self.epoll.add(&*self.listener, LISTENER, self.interest)
    }

    /// There may be a descriptor again. Asking for the listener anew finds who waits there, so nobody is forgotten.
    fn listen_again(&mut self) {
        if self.full && self.stopped.is_none() {
            self.full = self.listen().is_err();
        }
    }

    /// An event of a session.
    fn turn(&mut self, id: u64, event: Event, now: u32) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let goes_on = session.read(event, now, &mut self.buffer, &mut self.replies, &self.totals)
            && session.write(now, &mut self.replies)
            && !(self.stopped.is_some() && session.has_all())
            && session.arm(id, &self.epoll);
        if !goes_on {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        point("remove");
        self.sessions.remove(&id);
        self.listen_again();
    }

    /// Once a second: who lets this server wait for too long goes.
    fn look(&mut self, now: u32) {
        self.looked = now;
        let over = self.stopped.is_some_and(|at| now - at >= TIMEOUTS.request);
        let mut late = Vec::new();
        for (id, session) in &mut self.sessions {
            let stays = match session.connection.expire(now, TIMEOUTS, &mut self.replies) {
                Expired::No => !over,
                Expired::Request => session.write(now, &mut self.replies) && session.arm(*id, &self.epoll),
                Expired::Close => false,
            };
            if !stays {
                late.push(*id);
            }
        }
        for id in late {
            self.remove(id);
        }
        // A descriptor may have been another reactor's.
        self.listen_again();
    }
}

/// One client.
struct Session {
    socket: Socket,
    connection: Connection,
    armed: Interest,
    /// The client has closed its side.
    ended: bool,
    /// The server has closed its side.
    shut: bool,
    /// The last read left nothing in the socket.
    emptied: bool,
}

impl Session {
    fn new(socket: Socket, now: u32) -> Session {
        let connection = Connection::new(now);
        Session { socket, connection, armed: Interest::READ, ended: false, shut: false, emptied: false }
    }

    /// Reads once, if there is something and the client takes its replies; `false` when the connection is broken.
    fn read(&mut self, event: Event, now: u32, buffer: &mut [u8], replies: &mut Vec<u8>, totals: &Totals) -> bool {
        if !event.readable() || self.ended || !self.connection.wants_read() {
            self.emptied &= self.connection.wants_read();
            // An error is reported whatever was asked for; the write that is due will tell.
            return !event.hung_up() || self.connection.wants_write();
        }
        point("read");
        match self.socket.read(buffer) {
            Ok(0) => self.ended = true,
            Ok(n) => {
                self.emptied = n < READ;
                totals.received.fetch_add(n as u64, Ordering::Relaxed);
                totals.replies.fetch_add(self.connection.receive(&buffer[..n], now, replies), Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.emptied = true,
            Err(_) => return false,
        }
        true
    }

    /// Writes what there is room for; `false` when the connection is over.
    fn write(&mut self, now: u32, replies: &mut Vec<u8>) -> bool {
        if !replies.is_empty() || self.connection.wants_write() {
            point("write");
            let written = self.connection.flush(replies, now, |bytes| self.socket.write(bytes));
            replies.clear();
            if written.is_err() {
                return false;
            }
        }
        if self.connection.is_over() && !self.shut {
            self.socket.shutdown_write();
            self.shut = true;
        }
        !self.ended || self.connection.wants_write()
    }

    /// Whether it has the replies to everything that had arrived.
    fn has_all(&self) -> bool {
        self.emptied && !self.connection.wants_write()
    }

    /// Asks for what there is to wait for; `false` when the kernel cannot.
    fn arm(&mut self, id: u64, epoll: &Epoll) -> bool {
        let reads = self.connection.wants_read() && !self.ended;
        let interest = match (reads, self.connection.wants_write()) {
            (true, false) => Interest::READ,
            (true, true) => Interest::READ.and(Interest::WRITE),
            (false, _) => Interest::WRITE,
        };
        let is_new = interest != std::mem::replace(&mut self.armed, interest);
        !is_new || epoll.modify(&self.socket, id, interest).is_ok()
    }
}

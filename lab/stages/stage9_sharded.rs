//! Stage 9: a reactor for every core, and nothing between them. Each has a listener of its own on the same port, an epoll
//! instance and its clients; the kernel deals the connections out. There is no task queue, no lock and no re-arming, since
//! no client ever meets a second thread.
//!
//! What is left is to make few system calls, and to be interrupted by few: one read takes all that has come, one write gives
//! back all the replies to it, and nobody is written to before everybody in the batch is read.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use lab::http::{Connection, Expired, Timeouts};
use lab::kernel::{self, Epoll, Event, Events, Interest, Listener, Socket, Timer};
use lab::point::point;
use lab::runner::{self, LISTENER, STOP, Served, Server, TICK};
use lab::sync::{self, Arc, AtomicU64, Ordering};

/// The longest read, in bytes.
const READ: usize = 16 * 1024;
/// The most events of one wait, and the most clients that are accepted at once. Between its read and its write a socket is to
/// stay in the processor's cache.
const BATCH: usize = 64;
/// So many bytes of replies are not put off any longer.
const MAX_REPLIES: usize = 64 * 1024;
const TIMEOUTS: Timeouts = Timeouts { idle: 60, request: 10 };

struct Totals {
    received: AtomicU64,
    replies: AtomicU64,
}

fn main() -> ExitCode {
    runner::main(module_path!(), serve)
}

// ANCHOR: serve
/// Starts a reactor for each listener, and waits for their end.
pub fn serve(server: Server) -> io::Result<Served> {
    let mut reactors = vec![Reactor::new(server.listener)?];
    while reactors.len() < server.workers {
        reactors.push(Reactor::new(reactors[0].listener.sibling()?)?);
    }
    // Whose packets arrive on one core are served there.
    reactors[0].listener.steer_by_cpu(reactors.len())?;
    for reactor in &reactors {
        // The event stays raised and nobody takes it back, so it reaches every reactor; each hears of it once.
        reactor.epoll.add(&server.stop, STOP, Interest::READ.edge_triggered())?;
    }
    let totals = Arc::new(Totals { received: AtomicU64::new(0), replies: AtomicU64::new(0) });
    let count = reactors.len();
    let start = |(n, reactor): (usize, Reactor)| {
        let totals = totals.clone();
        sync::spawn(&format!("reactor-{}", n + 1), move || {
            kernel::pin_thread(n, count);
            let served = reactor.run();
            totals.received.fetch_add(served.received, Ordering::Relaxed);
            totals.replies.fetch_add(served.replies, Ordering::Relaxed);
        })
    };
    let threads: Vec<_> = (0..).zip(reactors).map(start).collect();
    for thread in threads {
        thread.join();
    }
    Ok(Served { received: totals.received.load(Ordering::Relaxed), replies: totals.replies.load(Ordering::Relaxed) })
}
// ANCHOR_END: serve

// ANCHOR: reactor
/// One thread, and all that it needs.
struct Reactor {
    epoll: Epoll,
    /// Wakes this thread once a second, so that it looks at the clock.
    ticks: Timer,
    listener: Listener,
    clients: Clients,
    scratch: Scratch,
    /// There was no descriptor left for a client: the listener is off the interest list until there may be one.
    full: bool,
    /// When it was told to stop.
    stopped: Option<u32>,
}

/// What a reactor has once for all its clients.
struct Scratch {
    buffer: Vec<u8>,
    /// The replies of a batch, one client's behind the other's.
    replies: Vec<u8>,
    /// Whose they are, and where they end.
    pending: Vec<(u64, usize)>,
    /// The coarse clock: looked at once for each batch of events.
    now: u32,
    served: Served,
}

impl Reactor {
    fn new(listener: Listener) -> io::Result<Reactor> {
        let epoll = Epoll::new()?;
        epoll.add(&listener, LISTENER, Interest::READ)?;
        let ticks = Timer::every_second()?;
        epoll.add(&ticks, TICK, Interest::READ)?;
        let served = Served { received: 0, replies: 0 };
        let (buffer, now) = (vec![0; READ], kernel::seconds());
        let scratch = Scratch { buffer, replies: Vec::new(), pending: Vec::new(), now, served };
        Ok(Reactor { epoll, ticks, listener, clients: Clients::default(), scratch, full: false, stopped: None })
    }

    /// Its thread's whole life.
    fn run(mut self) -> Served {
        let mut events = Events::with_capacity(BATCH);
        while self.stopped.is_none() || !self.clients.is_empty() {
            point("wait");
            self.epoll.wait(&mut events).expect("epoll_wait(2) has no reason to fail");
            let before = std::mem::replace(&mut self.scratch.now, kernel::seconds());
            for event in events.iter() {
                match event.token {
                    STOP => self.stop(),
                    // It has woken us: the clock is looked at below.
                    TICK => self.ticks.take(),
                    // The stop was in the same batch, and has accepted everybody.
                    LISTENER if self.stopped.is_some() => {}
                    // While more wait, the listener stays readable.
                    LISTENER => _ = self.accept(),
                    token => self.read(token, event),
                }
            }
            self.write();
            if self.scratch.now != before {
                self.look_at_the_clock();
            }
        }
        self.scratch.served
    }

    /// An event of a client.
    fn read(&mut self, token: u64, event: Event) {
        // A batch may name a client that has gone since (the stop lets several go at once), and a slot is used again: the
        // token tells.
        let Some(client) = self.clients.get(token) else { return };
        if client.read(event, &mut self.scratch) {
            self.defer(token);
        } else {
            self.remove(token);
        }
    }

    /// The replies that were just put together are this client's, and are written with those of the others.
    fn defer(&mut self, token: u64) {
        self.scratch.pending.push((token, self.scratch.replies.len()));
        if self.scratch.replies.len() >= MAX_REPLIES {
            self.write();
        }
    }

    /// Writes what was put off. A write wakes a client, who may take the core from this thread.
    fn write(&mut self) {
        let mut start = 0;
        for at in 0..self.scratch.pending.len() {
            let (token, end) = self.scratch.pending[at];
            let replies = &self.scratch.replies[start..end];
            start = end;
            let client =
                self.clients.get(token).expect("a client is removed only after its deferred replies are written");
            let goes_on = client.write(replies, self.scratch.now);
            let stays = goes_on && !(self.stopped.is_some() && client.has_all()) && client.arm(token, &self.epoll);
            if !stays {
                self.remove(token);
            }
        }
        self.scratch.pending.clear();
        self.scratch.replies.clear();
    }
    // ANCHOR_END: reactor

    /// Takes a batch of those who wait; says whether there may be more.
    fn accept(&mut self) -> bool {
        for _ in 0..BATCH {
            point("accept");
            match self.listener.try_accept() {
                Ok(Some(socket)) => {
                    let epoll = &self.epoll;
                    let client = Client::new(socket, self.scratch.now);
                    let (token, client) = self.clients.insert(client);
                    if epoll.add(&client.socket, token, Interest::READ).is_err() {
                        // A client that cannot be watched cannot be served.
                        self.clients.remove(token);
                    }
                }
                Ok(None) => return false,
                // The client waits on, and the listener stays readable: whoever asked again at once would spin.
                Err(_) => {
                    self.full |= self.epoll.delete(&self.listener).is_ok();
                    return false;
                }
            }
        }
        true
    }

    fn remove(&mut self, token: u64) {
        point("remove");
        self.clients.remove(token);
        self.listen_again();
    }

    /// There may be a descriptor again. Asking for the listener anew finds who waits there, so nobody is forgotten.
    fn listen_again(&mut self) {
        if self.full && self.stopped.is_none() {
            self.full = self.epoll.add(&self.listener, LISTENER, Interest::READ).is_err();
        }
    }

    // ANCHOR: stop
    /// From now on nobody new; who is here gets the replies to what has arrived.
    fn stop(&mut self) {
        self.write();
        while self.accept() {}
        if !self.full {
            self.epoll.delete(&self.listener).expect("it is on the list");
        }
        self.stopped = Some(self.scratch.now);
        for token in self.clients.tokens() {
            self.read(token, Event::READABLE);
        }
        self.write();
    }
    // ANCHOR_END: stop

    // ANCHOR: clock
    /// Once a second: who lets this server wait for too long goes.
    fn look_at_the_clock(&mut self) {
        let over = self.stopped.is_some_and(|at| self.scratch.now - at >= TIMEOUTS.request);
        for token in self.clients.tokens() {
            let Some(client) = self.clients.get(token) else { continue };
            match client.connection.expire(self.scratch.now, TIMEOUTS, &mut self.scratch.replies) {
                Expired::No if !over => {}
                Expired::Request => self.defer(token),
                Expired::No | Expired::Close => self.remove(token),
            }
        }
        self.write();
        // A descriptor may have been another reactor's.
        self.listen_again();
    }
    // ANCHOR_END: clock
}

// ANCHOR: client
/// One client. It owns no buffer while it waits for a request: that is a few bytes in its connection.
struct Client {
    socket: Socket,
    armed: Interest,
    connection: Connection,
    /// The client has closed its side.
    ended: bool,
    /// The server has closed its side.
    shut: bool,
    /// The last read left nothing in the socket.
    emptied: bool,
}

impl Client {
    fn new(socket: Socket, now: u32) -> Client {
        let connection = Connection::new(now);
        Client { socket, armed: Interest::READ, connection, ended: false, shut: false, emptied: false }
    }

    /// One read, if there is something and the client takes its replies; `false` when the connection is broken.
    fn read(&mut self, event: Event, scratch: &mut Scratch) -> bool {
        if !event.readable() || self.ended || !self.connection.wants_read() {
            self.emptied &= self.connection.wants_read();
            // An error is reported whatever was asked for; the write that is pending will tell.
            return !event.hung_up() || self.connection.wants_write();
        }
        point("read");
        match self.socket.read(&mut scratch.buffer) {
            Ok(0) => self.ended = true,
            Ok(n) => {
                self.emptied = n < READ;
                scratch.served.received += n as u64;
                scratch.served.replies +=
                    self.connection.receive(&scratch.buffer[..n], scratch.now, &mut scratch.replies);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.emptied = true,
            Err(_) => return false,
        }
        true
    }

    /// One write, of all the replies; what there is no room for stays with the connection. `false` when it is over.
    fn write(&mut self, replies: &[u8], now: u32) -> bool {
        if !replies.is_empty() || self.connection.wants_write() {
            point("write");
            if self.connection.flush(replies, now, |bytes| self.socket.write(bytes)).is_err() {
                return false;
            }
        }
        if self.connection.is_over() && !self.shut {
            self.socket.shutdown_write();
            self.shut = true;
        }
        !self.ended || self.connection.wants_write()
    }

    /// Asks for what there is to wait for: not a system call, unless the client has begun or ceased to take its replies.
    fn arm(&mut self, token: u64, epoll: &Epoll) -> bool {
        let reads = self.connection.wants_read() && !self.ended;
        let interest = match (reads, self.connection.wants_write()) {
            (true, false) => Interest::READ,
            (true, true) => Interest::READ.and(Interest::WRITE),
            (false, _) => Interest::WRITE,
        };
        let is_new = interest != std::mem::replace(&mut self.armed, interest);
        !is_new || epoll.modify(&self.socket, token, interest).is_ok()
    }

    /// Whether it has the replies to everything that had arrived.
    fn has_all(&self) -> bool {
        self.emptied && !self.connection.wants_write()
    }
}
// ANCHOR_END: client

// ANCHOR: clients
/// The clients of one reactor. A slot is used again and again, so a token names the slot and its generation, which is
/// another one for each client.
#[derive(Default)]
struct Clients {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    client: Option<Client>,
}

impl Clients {
    fn insert(&mut self, client: Client) -> (u64, &Client) {
        let at = self.free.pop().unwrap_or(self.slots.len() as u32);
        if at as usize == self.slots.len() {
            self.slots.push(Slot { generation: 0, client: None });
        }
        let slot = &mut self.slots[at as usize];
        // Never 0, so that no client's token is the listener's.
        slot.generation = slot.generation.wrapping_add(1).max(1);
        (u64::from(slot.generation) << 32 | u64::from(at), slot.client.insert(client))
    }

    fn get(&mut self, token: u64) -> Option<&mut Client> {
        let slot = self.slots.get_mut(token as u32 as usize)?;
        if slot.generation == (token >> 32) as u32 { slot.client.as_mut() } else { None }
    }

    /// Drops the client, which closes its socket and so takes it off the interest list.
    fn remove(&mut self, token: u64) {
        if self.get(token).is_some() {
            self.slots[token as u32 as usize].client = None;
            self.free.push(token as u32);
        }
    }

    fn tokens(&self) -> Vec<u64> {
        let slots = (0..).zip(&self.slots).filter(|(_, slot)| slot.client.is_some());
        slots.map(|(at, slot): (u64, _)| u64::from(slot.generation) << 32 | at).collect()
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }
}
// ANCHOR_END: clients

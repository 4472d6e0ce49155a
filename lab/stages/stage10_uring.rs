//! Stage 10: the server of stage 9 on io_uring. There are still a reactor for every core and nothing between them; but a
//! reactor no longer asks whether a socket is ready, to read from it then. It has told the kernel once what it wants, finds
//! the bytes there, and hands over its replies together, in the call in which it sleeps.
//!
//! What is new: between a request and its answer, memory and socket are the kernel's too.

use std::io;
use std::process::ExitCode;

use lab::http::{Connection, Expired, Timeouts};
use lab::kernel::{self, Listener, Stop};
use lab::point::point;
use lab::runner::{self, LISTENER, STOP, Served, Server};
use lab::sync::{self, Arc, Mutex};
use lab::uring::{Event, Outcome, Ring, Room, Socket};

const TIMEOUTS: Timeouts = Timeouts { idle: 60, request: 10 };
/// How many empty buffers are kept for the next replies, and the largest of them in bytes.
const SPARE: (usize, usize) = (1024, 4096);

fn main() -> ExitCode {
    runner::main(module_path!(), serve)
}

/// Serves with rings of the usual size.
pub fn serve(server: Server) -> io::Result<Served> {
    serve_in(server, Room::default(), TIMEOUTS)
}

// ANCHOR: serve
/// Starts a reactor for each listener, and waits for their end.
pub fn serve_in(server: Server, room: Room, timeouts: Timeouts) -> io::Result<Served> {
    let mut listeners = vec![server.listener];
    while listeners.len() < server.workers {
        listeners.push(listeners[0].sibling()?);
    }
    listeners[0].steer_by_cpu(listeners.len())?;
    let totals = Arc::new(Mutex::new(Ok(Served { received: 0, replies: 0 })));
    let count = listeners.len();
    let start = |(n, listener): (usize, Listener)| {
        let (stop, totals) = (server.stop.try_clone()?, totals.clone());
        Ok(sync::spawn(&format!("reactor-{}", n + 1), move || {
            kernel::pin_thread(n, count);
            // A ring belongs to the thread that makes it.
            let served = Reactor::new(room, timeouts).and_then(|reactor| reactor.run(&listener, &stop));
            if served.is_err() {
                // Its listener would go on taking clients whom nobody serves.
                stop.raise();
            }
            add(&mut totals.lock(), served);
        }))
    };
    let threads: io::Result<Vec<_>> = (0..).zip(listeners).map(start).collect();
    for thread in threads? {
        thread.join();
    }
    std::mem::replace(&mut *totals.lock(), Ok(Served { received: 0, replies: 0 }))
}
// ANCHOR_END: serve

/// The sum, or the first reason why there is none.
fn add(total: &mut io::Result<Served>, served: io::Result<Served>) {
    match (&mut *total, served) {
        (Ok(sum), Ok(served)) => {
            sum.received += served.received;
            sum.replies += served.replies;
        }
        (Ok(_), Err(error)) => *total = Err(error),
        (Err(_), _) => {}
    }
}

// ANCHOR: reactor
/// One thread, and all that it needs.
struct Reactor {
    ring: Ring,
    clients: Clients,
    timeouts: Timeouts,
    /// Where the next replies are put together, and empty buffers for those after them.
    replies: Vec<u8>,
    spare: Vec<Vec<u8>>,
    /// The coarse clock: looked at once for each batch of answers.
    now: u32,
    /// There was no descriptor left for a client: nobody is accepted until there may be one.
    full: bool,
    /// When it was told to stop.
    stopped: Option<u32>,
    served: Served,
}

impl Reactor {
    fn new(room: Room, timeouts: Timeouts) -> io::Result<Reactor> {
        Ok(Reactor {
            ring: Ring::new(room)?,
            clients: Clients::default(),
            timeouts,
            replies: Vec::new(),
            spare: Vec::new(),
            now: kernel::seconds(),
            full: false,
            stopped: None,
            served: Served { received: 0, replies: 0 },
        })
    }

    /// Its thread's whole life.
    fn run(mut self, listener: &Listener, stop: &Stop) -> io::Result<Served> {
        self.ring.watch(stop, STOP)?;
        self.ring.accept(listener, LISTENER)?;
        while self.stopped.is_none() || !self.clients.is_empty() {
            point("wait");
            // With nobody to be late, there is no clock to look at.
            let limit = (self.full || !self.clients.is_empty()).then_some(1);
            self.ring.wait_for(limit)?;
            let before = std::mem::replace(&mut self.now, kernel::seconds());
            let mut may_have_closed = self.now != before;
            while let Some(event) = self.ring.next_event() {
                match event.token {
                    STOP => self.stop()?,
                    LISTENER => self.accepted(event, listener)?,
                    _ => {
                        self.turn(event)?;
                        may_have_closed = true;
                    }
                }
            }
            if self.now != before {
                self.look_at_the_clock()?;
            }
            // There may be a descriptor again: one of this reactor's clients may have gone, or in a second another's.
            if self.full && may_have_closed {
                self.full = false;
                self.ring.accept(listener, LISTENER)?;
            }
        }
        Ok(self.served)
    }
    // ANCHOR_END: reactor

    fn accepted(&mut self, event: Event, listener: &Listener) -> io::Result<()> {
        point("accept");
        match event.outcome {
            Outcome::Accepted(Ok(socket)) => {
                let token = self.clients.insert(Client::new(socket, self.now));
                self.ask(token)?;
            }
            // The client waits on; who asked again at once would be answered the same.
            Outcome::Accepted(Err(_)) => self.full = true,
            _ => {}
        }
        if event.more || self.full { Ok(()) } else { self.ring.accept(listener, LISTENER) }
    }

    // ANCHOR: turn
    /// The kernel's answer about a client: what it means, and what to ask for next.
    fn turn(&mut self, event: Event) -> io::Result<()> {
        let token = event.token;
        // The client may have gone since it was asked for, and somebody else may have the slot: the token tells.
        let Some(client) = self.clients.get(token) else { return Ok(()) };
        match event.outcome {
            Outcome::Received(Ok(bytes)) => {
                point("receive");
                client.ended = bytes.is_empty();
                self.served.received += bytes.len() as u64;
                self.served.replies += client.connection.receive(&bytes, self.now, &mut self.replies);
            }
            Outcome::Sent(Ok(count), bytes) => match client.connection.complete_send(count, self.now) {
                0 => self.keep(bytes),
                // There was room for a part of it.
                left => {
                    let from = bytes.len() - left;
                    self.ring.send(&client.socket, token, bytes, from)?;
                }
            },
            // No buffer was free, or it was stopped: there may be more.
            Outcome::Stalled => {}
            Outcome::Emptied => client.emptied = true,
            // The connection is broken.
            _ => {
                self.clients.remove(token);
                return Ok(());
            }
        }
        self.ask(token)
    }

    /// Asks for what the client needs next: that its replies be sent, and, unless it leaves too many untaken, that more be
    /// received. A client that needs nothing more goes.
    fn ask(&mut self, token: u64) -> io::Result<()> {
        let Some(client) = self.clients.get(token) else { return Ok(()) };
        if let Some(bytes) = client.connection.begin_send(&mut self.replies) {
            point("send");
            self.ring.send(&client.socket, token, bytes, 0)?;
            self.replies = self.spare.pop().unwrap_or_default();
        }
        if client.connection.is_over() && !client.shut {
            client.socket.shutdown_write();
            client.shut = true;
        }
        if client.ended || client.emptied {
            if !client.connection.wants_write() {
                self.clients.remove(token);
            }
            return Ok(());
        }
        match (client.connection.wants_read(), self.stopped) {
            (false, _) => self.ring.stop_receiving(&client.socket),
            (true, None) => self.ring.receive(&client.socket, token),
            (true, Some(_)) => self.ring.receive_rest(&client.socket, token),
        }
    }
    // ANCHOR_END: turn

    /// Keeps an empty buffer for the next replies.
    fn keep(&mut self, mut bytes: Vec<u8>) {
        let (count, size) = SPARE;
        if self.spare.len() < count && bytes.capacity() <= size {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    // ANCHOR: stop
    /// From now on a client gets the replies to what has arrived, and goes. So does who comes before the last has gone.
    fn stop(&mut self) -> io::Result<()> {
        self.stopped = Some(self.now);
        for token in self.clients.tokens() {
            self.ask(token)?;
        }
        Ok(())
    }
    // ANCHOR_END: stop

    /// Once a second: who lets this server wait for too long goes.
    fn look_at_the_clock(&mut self) -> io::Result<()> {
        let over = self.stopped.is_some_and(|at| self.now - at >= self.timeouts.request);
        for token in self.clients.tokens() {
            let Some(client) = self.clients.get(token) else { continue };
            match client.connection.expire(self.now, self.timeouts, &mut self.replies) {
                Expired::No if !over => {}
                Expired::Request if !over => self.ask(token)?,
                _ => self.clients.remove(token),
            }
        }
        Ok(())
    }
}

// ANCHOR: client
/// One client. Its bytes are elsewhere: those that come in the ring's buffers, those that go in the ring's requests.
struct Client {
    socket: Socket,
    connection: Connection,
    /// The client has closed its side.
    ended: bool,
    /// The server stops, and has received all that had arrived.
    emptied: bool,
    /// The server has closed its side.
    shut: bool,
}

impl Client {
    fn new(socket: Socket, now: u32) -> Client {
        Client { socket, connection: Connection::new(now), ended: false, emptied: false, shut: false }
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
    fn insert(&mut self, client: Client) -> u64 {
        let at = self.free.pop().unwrap_or(self.slots.len() as u32);
        if at as usize == self.slots.len() {
            self.slots.push(Slot { generation: 0, client: None });
        }
        let slot = &mut self.slots[at as usize];
        // Never 0, so that no client's token is the listener's.
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.client = Some(client);
        u64::from(slot.generation) << 32 | u64::from(at)
    }

    fn get(&mut self, token: u64) -> Option<&mut Client> {
        let slot = self.slots.get_mut(token as u32 as usize)?;
        if slot.generation == (token >> 32) as u32 { slot.client.as_mut() } else { None }
    }

    /// Drops the client. What the kernel still does with its socket comes to an end, and is answered to nobody.
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

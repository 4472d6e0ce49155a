//! Stage 10: the server of stage 9 on io_uring. A reactor per core, nothing shared; but the reactor does not ask whether a
//! socket is ready, and then reads. It has told the kernel once what it wants, and finds the bytes there; its replies go to
//! the kernel together, with the call in which it sleeps.

use std::io;
use std::process::ExitCode;

use lab::http::{Connection, Expired, Timeouts};
use lab::kernel::{Listener, Stop, seconds};
use lab::point::point;
use lab::runner::{self, LISTENER, STOP, Served, Server};
use lab::sync::{self, Arc, Mutex};
use lab::uring::{self, Event, Outcome, Ring, Room, Socket};

/// Send buffers that are kept for the next replies, and the largest of them in bytes.
const SPARE: (usize, usize) = (1024, 4096);

// ANCHOR: client
/// One client: its socket, its place in the conversation, and what is left of the connection.
struct Client {
    socket: Socket,
    connection: Connection,
    /// It sends no more.
    finished: bool,
    /// It was told that nothing more comes.
    ended: bool,
}
// ANCHOR_END: client

fn main() -> ExitCode {
    runner::main(module_path!(), serve)
}

/// A reactor for each worker that was asked for, and the sum of what they did.
pub fn serve(server: Server) -> io::Result<Served> {
    serve_in(server, Room::default(), Timeouts::default())
}

/// The same with rings of this size, and these limits.
pub fn serve_in(server: Server, room: Room, timeouts: Timeouts) -> io::Result<Served> {
    let total = Arc::new(Mutex::new(Ok(Served { received: 0, replies: 0 })));
    let reactors: Vec<_> = (1..=server.workers)
        .map(|n| {
            let (listener, stop, total) = (server.listener.another()?, server.stop.try_clone()?, total.clone());
            Ok(sync::spawn(&format!("reactor-{n}"), move || {
                let served = Reactor::new(room, timeouts).and_then(|reactor| reactor.run(&listener, &stop));
                if served.is_err() {
                    // One that cannot go on takes the others with it: their clients would be served, and its own not.
                    stop.raise();
                }
                add(&mut total.lock(), served);
            }))
        })
        .collect::<io::Result<_>>()?;
    drop(server.listener);
    for reactor in reactors {
        reactor.join();
    }
    std::mem::replace(&mut *total.lock(), Ok(Served { received: 0, replies: 0 }))
}

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

struct Reactor {
    ring: Ring,
    clients: Clients,
    timeouts: Timeouts,
    /// Where the next replies are put together.
    replies: Vec<u8>,
    spare: Vec<Vec<u8>>,
    /// Seconds, read once for each wait.
    now: u32,
    served: Served,
}

impl Reactor {
    fn new(room: Room, timeouts: Timeouts) -> io::Result<Reactor> {
        uring::prefer_batches();
        Ok(Reactor {
            ring: Ring::new(room)?,
            clients: Clients::default(),
            timeouts,
            replies: Vec::new(),
            spare: Vec::new(),
            now: seconds(),
            served: Served { received: 0, replies: 0 },
        })
    }

    // ANCHOR: reactor
    fn run(mut self, listener: &Listener, stop: &Stop) -> io::Result<Served> {
        self.ring.watch(stop, STOP)?;
        self.ring.accept(listener, LISTENER)?;
        let mut accepting = true;
        let mut looked = self.now;
        loop {
            point("wait");
            self.ring.wait((!accepting || !self.clients.is_empty()).then_some(1000))?;
            self.now = seconds();
            while let Some(event) = self.ring.next_event() {
                match event {
                    Event { token: STOP, .. } => return Ok(self.served),
                    Event { token: LISTENER, more, outcome } => {
                        match outcome {
                            Outcome::Accepted(Ok(socket)) => self.welcome(socket)?,
                            // No descriptor is free. Whoever waits can wait until some client has gone.
                            Outcome::Accepted(Err(_)) => accepting = false,
                            _ => {}
                        }
                        if !more && accepting {
                            self.ring.accept(listener, LISTENER)?;
                        }
                    }
                    event => self.go_on(event)?,
                }
            }
            if self.now != looked {
                looked = self.now;
                self.let_go_of_the_slow()?;
                if !accepting {
                    accepting = true;
                    self.ring.accept(listener, LISTENER)?;
                }
            }
        }
    }
    // ANCHOR_END: reactor

    fn welcome(&mut self, socket: Socket) -> io::Result<()> {
        let connection = Connection::new(self.now);
        let token = self.clients.insert(Client { socket, connection, finished: false, ended: false });
        self.ask(token)
    }

    // ANCHOR: go_on
    /// The kernel's answer about one client: what it means, and what to ask for next.
    fn go_on(&mut self, event: Event) -> io::Result<()> {
        // It may have been asked for a client who has gone, and whose place another has now.
        let Some(client) = self.clients.get(event.token) else { return Ok(()) };
        match event.outcome {
            Outcome::Received(Ok(bytes)) => {
                point("receive");
                client.finished = bytes.is_empty();
                self.served.received += bytes.len() as u64;
                self.served.replies += client.connection.receive(&bytes, self.now, &mut self.replies);
            }
            Outcome::Sent(Ok(count), bytes) => {
                match client.connection.settle(count, self.now) {
                    0 => self.keep(bytes),
                    // There was no room for all of it.
                    left => {
                        let from = bytes.len() - left;
                        self.ring.send(&client.socket, event.token, bytes, from)?;
                    }
                }
            }
            // The receive ended for want of a buffer, or because it was stopped. Nothing is lost.
            Outcome::Stalled => {}
            // The connection is broken.
            _ => {
                self.clients.remove(event.token);
                return Ok(());
            }
        }
        self.ask(event.token)
    }

    /// Asks for what a client needs next: that its replies be sent, and, unless it leaves too many of them untaken, that
    /// more be received.
    fn ask(&mut self, token: u64) -> io::Result<()> {
        let Some(client) = self.clients.get(token) else { return Ok(()) };
        if let Some(bytes) = client.connection.lend(&mut self.replies) {
            point("send");
            self.ring.send(&client.socket, token, bytes, 0)?;
            self.replies = self.spare.pop().unwrap_or_default();
        }
        if client.finished && !client.connection.wants_write() {
            self.clients.remove(token);
            return Ok(());
        }
        if client.connection.is_over() && !client.ended {
            client.ended = true;
            client.socket.shutdown_write();
        }
        if client.finished {
            Ok(())
        } else if client.connection.wants_read() {
            self.ring.receive(&client.socket, token)
        } else {
            self.ring.stop_receiving(&client.socket)
        }
    }
    // ANCHOR_END: go_on

    /// Keeps a buffer for the next replies.
    fn keep(&mut self, mut bytes: Vec<u8>) {
        let (count, size) = SPARE;
        if self.spare.len() < count && bytes.capacity() <= size {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Ends what has been waited for too long.
    fn let_go_of_the_slow(&mut self) -> io::Result<()> {
        for index in 0..self.clients.slots.len() {
            let token = self.clients.token(index as u32);
            let Some(client) = self.clients.get(token) else { continue };
            match client.connection.expire(self.now, self.timeouts, &mut self.replies) {
                Expired::No => {}
                Expired::Request => self.ask(token)?,
                Expired::Close => self.clients.remove(token),
            }
        }
        Ok(())
    }
}

// ANCHOR: clients
/// Who is connected, by slot. A slot is used again, with another generation: a token is both, so that an answer that was
/// meant for an earlier client finds nobody.
#[derive(Default)]
struct Clients {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    client: Option<Client>,
}

impl Clients {
    fn insert(&mut self, client: Client) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        // From 1 on: the token of the listener is 0. The one that would look like `STOP` is not reached in years.
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slot.client = Some(client);
        self.token(index)
    }

    fn get(&mut self, token: u64) -> Option<&mut Client> {
        let slot = &mut self.slots[token as u32 as usize];
        slot.client.as_mut().filter(|_| slot.generation == (token >> 32) as u32)
    }

    fn remove(&mut self, token: u64) {
        if self.get(token).is_some() {
            self.slots[token as u32 as usize].client = None;
            self.free.push(token as u32);
        }
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// The token of whoever has this slot, or had it last.
    fn token(&self, index: u32) -> u64 {
        u64::from(self.slots[index as usize].generation) << 32 | u64::from(index)
    }
}
// ANCHOR_END: clients

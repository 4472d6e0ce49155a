//! Stage 6: a server that answers at once. A worker finds its session, drains the socket, answers what is complete, and
//! arms the socket again: it alone can, since a one-shot event switches the socket off.
//!
//! `stage6_broken` and `stage6_fixed` are the same file but for what stands between the `lesson` anchors: what makes
//! sure that the socket is armed again. There is no crash in either.

use std::io;
use std::process::ExitCode;

use lab::http::{Parser, Reply};
use lab::kernel::{self, Epoll, Events, Interest, Socket};
use lab::point::point;
use lab::runner::{self, LISTENER, STOP, Served, Server};
// ANCHOR: lesson
use lab::sync::{self, Arc, AtomicU64, Mutex, MutexGuard, Ordering, Queue};
// ANCHOR_END: lesson

const BUFFER: usize = 4096;
/// Between two requests: input, and the end of it.
const INPUT: Interest = Interest::READ.edge_triggered().one_shot();
/// When all input is read: only the end is left.
const END: Interest = Interest::HANG_UP.edge_triggered().one_shot();

// ANCHOR: session
/// One client: its socket, and what only the worker that serves it may touch.
struct Session {
    key: u64,
    socket: Socket,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    /// What has arrived and is not consumed yet: the first `filled` bytes.
    receive: Vec<u8>,
    filled: usize,
    parser: Parser,
    /// The end of the input was read.
    ended: bool,
}
// ANCHOR_END: session

// ANCHOR: table
/// The sessions. Each has the slot of its socket's number, so a key leads to it without a search.
struct Table {
    slots: Mutex<Vec<Slot>>,
}

#[derive(Default)]
struct Slot {
    /// How many sessions have had this slot.
    generation: u32,
    session: Option<Arc<Session>>,
}

/// A key is a slot and its generation: it means one session, and never another one.
fn key_of(slot: usize, generation: u32) -> u64 {
    u64::from(generation) << 32 | slot as u64
}

impl Table {
    /// Takes a new connection in.
    fn insert(&self, socket: Socket) -> Arc<Session> {
        let inbox = Inbox { receive: vec![0; BUFFER], filled: 0, parser: Parser::new(), ended: false };
        let number = socket.number();
        let mut slots = self.slots.lock();
        if slots.len() <= number {
            slots.resize_with(number + 1, Slot::default);
        }
        let slot = &mut slots[number];
        slot.generation = slot.generation.wrapping_add(1);
        let key = key_of(number, slot.generation);
        let session = Arc::new(Session { key, socket, inbox: Mutex::new(inbox) });
        slot.session = Some(session.clone());
        session
    }

    /// The session that a key means, if it is still there.
    fn find(&self, key: u64) -> Option<Arc<Session>> {
        let slots = self.slots.lock();
        let slot = slots.get(key as u32 as usize).filter(|slot| slot.generation == (key >> 32) as u32)?;
        slot.session.clone()
    }

    /// Gives the session up: its socket is closed with its last owner.
    fn remove(&self, key: u64) {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(key as u32 as usize).filter(|slot| slot.generation == (key >> 32) as u32);
        let session = slot.and_then(|slot| slot.session.take());
        drop(slots);
        drop(session);
    }
}
// ANCHOR_END: table

struct Totals {
    received: AtomicU64,
    replies: AtomicU64,
}

fn main() -> ExitCode {
    runner::main(module_path!(), serve)
}

// ANCHOR: reactor
/// The reactor: one thread that accepts, waits for events and hands keys to the workers.
pub fn serve(server: Server) -> io::Result<Served> {
    let epoll = Arc::new(Epoll::new()?);
    let queue = Arc::new(Queue::new());
    let table = Arc::new(Table { slots: Mutex::new(Vec::new()) });
    let totals = Arc::new(Totals { received: AtomicU64::new(0), replies: AtomicU64::new(0) });
    let workers: Vec<_> = (1..=server.workers)
        .map(|n| {
            let (epoll, queue, table, totals) = (epoll.clone(), queue.clone(), table.clone(), totals.clone());
            sync::spawn(&format!("worker-{n}"), move || work(&epoll, &queue, &table, &totals))
        })
        .collect();

    epoll.add(&server.listener, LISTENER, Interest::READ)?;
    epoll.add(&server.stop, STOP, Interest::READ)?;
    let mut events = Events::with_capacity(64);
    'serving: loop {
        point("wait");
        epoll.wait(&mut events)?;
        for event in events.iter() {
            match event.token {
                STOP => break 'serving,
                LISTENER => {
                    while let Some(socket) = server.listener.accept()? {
                        let session = table.insert(socket);
                        if epoll.add(&session.socket, session.key, INPUT).is_err() {
                            // A client that cannot be watched cannot be served.
                            table.remove(session.key);
                        }
                    }
                }
                // What has come is read first; the end of the input comes back as an event of its own.
                key if event.readable() => {
                    point("queue");
                    queue.push(key);
                }
                key => {
                    point("remove");
                    table.remove(key);
                }
            }
        }
    }
    queue.close();
    for worker in workers {
        worker.join();
    }
    Ok(Served { received: totals.received.load(Ordering::Relaxed), replies: totals.replies.load(Ordering::Relaxed) })
}
// ANCHOR_END: reactor

fn work(epoll: &Epoll, queue: &Queue<u64>, table: &Table, totals: &Totals) {
    loop {
        point("take");
        let Some(key) = queue.pop() else { return };
        handle(key, epoll, table, totals);
    }
}

// ANCHOR: worker
// ANCHOR: lesson
/// A worker's turn with a session. However it ends, the socket is armed again, and only then is the lock given back: what
/// has a `Drop` is dropped before its fields are.
struct Turn<'a> {
    session: &'a Session,
    epoll: &'a Epoll,
    inbox: MutexGuard<'a, Inbox>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        point("rearm");
        let Session { key, socket, .. } = self.session;
        let next = if self.inbox.ended { END } else { INPUT };
        self.epoll.modify(socket, *key, next).expect("the session keeps its socket open and registered");
    }
}
// ANCHOR_END: lesson

/// One event of one session: drain the socket, answer what is complete, arm the socket again.
fn handle(key: u64, epoll: &Epoll, table: &Table, totals: &Totals) {
    point("find");
    let Some(session) = table.find(key) else { return };
    // ANCHOR: lesson
    let mut turn = Turn { session: &session, epoll, inbox: session.inbox.lock() };
    let inbox = &mut *turn.inbox;
    // ANCHOR_END: lesson
    let replies = read_requests(&session.socket, inbox, totals);
    if replies.is_empty() && !inbox.ended {
        // The request is not complete. The rest of it will come as an event of its own.
        return;
    }
    if !replies.is_empty() {
        answer(&session.socket, &replies, totals);
    }
    // ANCHOR: lesson
    // ANCHOR_END: lesson
}
// ANCHOR_END: worker

/// Reads until the socket is empty. Returns the replies that are due.
fn read_requests(socket: &Socket, inbox: &mut Inbox, totals: &Totals) -> Vec<Reply> {
    let mut replies = Vec::new();
    loop {
        point("read");
        let n = match socket.read(&mut inbox.receive[inbox.filled..]) {
            Ok(n @ 1..) => n,
            Err(error) if kernel::is_transient(&error) => return replies,
            // The end of the stream, or a broken one.
            Ok(_) | Err(_) => {
                inbox.ended = true;
                return replies;
            }
        };
        totals.received.fetch_add(n as u64, Ordering::Relaxed);
        inbox.filled += n;
        loop {
            let step = inbox.parser.advance(&inbox.receive[..inbox.filled], inbox.filled == BUFFER);
            inbox.receive.copy_within(step.consumed..inbox.filled, 0);
            inbox.filled -= step.consumed;
            let Some(reply) = step.reply else { break };
            replies.push(reply);
        }
    }
}

/// Writes the replies, in one call.
fn answer(socket: &Socket, replies: &[Reply], totals: &Totals) {
    let mut bytes = Vec::new();
    for reply in replies {
        let mut one = [0; 256];
        let length = reply.write_to(&mut one);
        bytes.extend_from_slice(&one[..length]);
    }
    point("write");
    // Replies that there is no room for end the stream: the next one must not stand behind a gap.
    if socket.write_or_end(&bytes) {
        totals.replies.fetch_add(replies.len() as u64, Ordering::Relaxed);
    }
    if replies.iter().any(|reply| reply.is_last()) {
        socket.shutdown_write();
    }
}

//! Stage 5: a session that is let go as soon as its client is. While a reply is prepared, the worker owns nothing of the
//! session: it keeps a key, and looks the session up again. So a client that breaks off costs no descriptor meanwhile.
//!
//! `stage5_broken` and `stage5_fixed` are the same file but for what stands between the `lesson` anchors: what a key is.
//! There is no `unsafe` in either, and nothing that a compiler could object to.

use std::io;
use std::process::ExitCode;

use lab::http::{Parser, Reply};
use lab::kernel::{self, Epoll, Events, Interest, Socket};
use lab::point::point;
use lab::runner::{self, LISTENER, STOP, Served, Server};
use lab::sync::{self, Arc, AtomicU64, Mutex, Ordering, Queue};

const BUFFER: usize = 4096;
/// Between two requests: input, and the end of it.
const INPUT: Interest = Interest::READ.edge_triggered().one_shot();
/// While a reply is prepared: a client that has said all it had to say still gets it, one that is gone does not.
const ERROR_ONLY: Interest = Interest::ERROR_ONLY.edge_triggered().one_shot();
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
    // ANCHOR: lesson
    /// How many sessions have had this slot.
    generation: u32,
    // ANCHOR_END: lesson
    session: Option<Arc<Session>>,
}

// ANCHOR: lesson
/// A key is a slot and its generation: it means one session, and never another one.
fn key_of(slot: usize, generation: u32) -> u64 {
    u64::from(generation) << 32 | slot as u64
}
// ANCHOR_END: lesson

impl Table {
    /// Takes a new connection in, and watches it.
    fn insert(&self, socket: Socket, epoll: &Epoll) -> io::Result<()> {
        let inbox = Inbox { receive: vec![0; BUFFER], filled: 0, parser: Parser::new(), ended: false };
        let number = socket.number();
        let mut slots = self.slots.lock();
        if slots.len() <= number {
            slots.resize_with(number + 1, Slot::default);
        }
        let slot = &mut slots[number];
        // ANCHOR: lesson
        slot.generation = slot.generation.wrapping_add(1);
        let key = key_of(number, slot.generation);
        // ANCHOR_END: lesson
        epoll.add(&socket, key, INPUT)?;
        slot.session = Some(Arc::new(Session { key, socket, inbox: Mutex::new(inbox) }));
        Ok(())
    }

    /// The session that a key means, if it is still there.
    fn find(&self, key: u64) -> Option<Arc<Session>> {
        let slots = self.slots.lock();
        // ANCHOR: lesson
        let slot = slots.get(key as u32 as usize).filter(|slot| slot.generation == (key >> 32) as u32)?;
        // ANCHOR_END: lesson
        slot.session.clone()
    }

    /// Gives the session up: its socket is closed with its last owner.
    fn remove(&self, key: u64) {
        let mut slots = self.slots.lock();
        // ANCHOR: lesson
        let slot = slots.get_mut(key as u32 as usize).filter(|slot| slot.generation == (key >> 32) as u32);
        // ANCHOR_END: lesson
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
                        // A client that cannot be watched cannot be served: its socket is closed.
                        _ = table.insert(socket, &epoll);
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
/// One event of one session: drain the socket, prepare the replies, write them, arm the socket again.
fn handle(key: u64, epoll: &Epoll, table: &Table, totals: &Totals) {
    point("find");
    let Some(session) = table.find(key) else { return };
    let replies = read_requests(&session, epoll, totals);
    // It may take long to prepare a reply. Meanwhile nothing of the session is ours, and if its client breaks off, the
    // reactor lets it go.
    drop(session);
    let bytes = prepare(&replies);

    point("return");
    let Some(session) = table.find(key) else { return };
    let inbox = session.inbox.lock();
    if !bytes.is_empty() {
        point("write");
        // Replies that there is no room for end the stream: the next one must not stand behind a gap.
        if session.socket.write_or_end(&bytes) {
            totals.replies.fetch_add(replies.len() as u64, Ordering::Relaxed);
        }
    }
    if replies.iter().any(|reply| reply.is_last()) {
        session.socket.shutdown_write();
    }
    point("rearm");
    let next = if inbox.ended { END } else { INPUT };
    epoll.modify(&session.socket, session.key, next).expect("the session keeps its socket open and registered");
}
// ANCHOR_END: worker

/// Reads until the socket is empty. Returns the replies that are due, and leaves the socket armed for a break only.
fn read_requests(session: &Session, epoll: &Epoll, totals: &Totals) -> Vec<Reply> {
    let mut guard = session.inbox.lock();
    let inbox = &mut *guard;
    let mut replies = Vec::new();
    loop {
        point("read");
        let n = match session.socket.read(&mut inbox.receive[inbox.filled..]) {
            Ok(n @ 1..) => n,
            Err(error) if kernel::is_transient(&error) => break,
            // The end of the stream, or a broken one.
            Ok(_) | Err(_) => {
                inbox.ended = true;
                break;
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
    point("leave");
    epoll.modify(&session.socket, session.key, ERROR_ONLY).expect("the session keeps its socket open and registered");
    replies
}

/// The replies as they go over the wire.
fn prepare(replies: &[Reply]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for reply in replies {
        let mut one = [0; 256];
        let length = reply.write_to(&mut one);
        bytes.extend_from_slice(&one[..length]);
    }
    bytes
}

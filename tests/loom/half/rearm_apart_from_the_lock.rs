//! Half a fix: a guard arms the socket again, whichever way a worker leaves, and the guard and the session's lock are
//! two things. Which of them goes first is up to the order of two lines. `FIRST`: the guard goes first, and waits for
//! the lock that its own thread still holds. Otherwise the lock goes first, and the socket is armed outside of it.

use std::io;

use lab::http::{Parser, Reply};
use lab::kernel::{Epoll, Events, Interest, Socket};
use lab::point::point;
use lab::runner::{LISTENER, STOP, Served, Server};
use lab::sync::{self, Arc, AtomicU64, Mutex, Ordering, Queue};

const BUFFER: usize = 4096;
/// Between two requests: input, and the end of it.
const INPUT: Interest = Interest::READ.edge_triggered().one_shot();
/// When all input is read: only the end is left.
const END: Interest = Interest::HANG_UP.edge_triggered().one_shot();
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

struct Totals {
    received: AtomicU64,
    replies: AtomicU64,
}

/// The reactor: one thread that accepts, waits for events and hands keys to the workers.
pub fn serve<const FIRST: bool>(server: Server) -> io::Result<Served> {
    let epoll = Arc::new(Epoll::new()?);
    let queue = Arc::new(Queue::new());
    let table = Arc::new(Table { slots: Mutex::new(Vec::new()) });
    let totals = Arc::new(Totals { received: AtomicU64::new(0), replies: AtomicU64::new(0) });
    let workers: Vec<_> = (1..=server.workers)
        .map(|n| {
            let (epoll, queue, table, totals) = (epoll.clone(), queue.clone(), table.clone(), totals.clone());
            sync::spawn(&format!("worker-{n}"), move || work::<FIRST>(&epoll, &queue, &table, &totals))
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
                        epoll.add(&session.socket, session.key, INPUT)?;
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

fn work<const FIRST: bool>(epoll: &Epoll, queue: &Queue<u64>, table: &Table, totals: &Totals) {
    loop {
        point("take");
        let Some(key) = queue.pop() else { return };
        handle::<FIRST>(key, epoll, table, totals);
    }
}
/// Arms the socket again when it is dropped.
struct Rearm<'a> {
    session: &'a Session,
    epoll: &'a Epoll,
}

impl Drop for Rearm<'_> {
    fn drop(&mut self) {
        let ended = self.session.inbox.lock().ended;
        point("rearm");
        let Session { key, socket, .. } = self.session;
        let next = if ended { END } else { INPUT };
        self.epoll.modify(socket, *key, next).expect("the session keeps its socket open and registered");
    }
}

/// One event of one session: what is declared last is dropped first.
fn handle<const FIRST: bool>(key: u64, epoll: &Epoll, table: &Table, totals: &Totals) {
    point("find");
    let Some(session) = table.find(key) else { return };
    if FIRST {
        let mut inbox = session.inbox.lock();
        let _rearm = Rearm { session: &session, epoll };
        serve_requests(&session.socket, &mut inbox, totals);
    } else {
        let _rearm = Rearm { session: &session, epoll };
        let mut inbox = session.inbox.lock();
        serve_requests(&session.socket, &mut inbox, totals);
    }
}

/// Drains the socket, and answers what is complete.
fn serve_requests(socket: &Socket, inbox: &mut Inbox, totals: &Totals) {
    let replies = read_requests(socket, inbox, totals);
    if replies.is_empty() && !inbox.ended {
        // The request is not complete. The rest of it will come as an event of its own.
        return;
    }
    if !replies.is_empty() {
        answer(socket, &replies, totals);
    }
}

/// Reads until the socket is empty. Returns the replies that are due.
fn read_requests(socket: &Socket, inbox: &mut Inbox, totals: &Totals) -> Vec<Reply> {
    let mut replies = Vec::new();
    loop {
        point("read");
        let n = match socket.read(&mut inbox.receive[inbox.filled..]) {
            Ok(n @ 1..) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return replies,
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
    if socket.write(&bytes).is_ok_and(|written| written == bytes.len()) {
        totals.replies.fetch_add(replies.len() as u64, Ordering::Relaxed);
    }
    if replies.iter().any(|reply| reply.is_last()) {
        socket.shutdown_write();
    }
}

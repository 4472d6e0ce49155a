//! Stage 7: a server that stops as well as it serves. Told to stop, it takes nobody new, finishes what is under way within a
//! limit, ends its workers, and accounts for every byte. It owns its task queue: a lock, and a condition variable to sleep in.
//!
//! `stage7_broken` and `stage7_fixed` are the same file but for what stands between the `lesson` anchors: under which lock
//! the order to stop is given, and what is done first when input and its end are reported together.

use std::collections::VecDeque;
use std::io;
use std::process::ExitCode;

use lab::http::{Parser, Reply};
use lab::kernel::{self, Epoll, Events, Interest, Listener, Socket, Timer};
use lab::point::point;
use lab::runner::{self, LIMIT, LISTENER, STOP, Served, Server};
// ANCHOR: lesson
use lab::sync::{self, Arc, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};
// ANCHOR_END: lesson

const BUFFER: usize = 4096;
/// The most reads in one turn: a client that never stops sending gets another turn, and does not keep its worker.
const READS: usize = 64;
/// Between two requests: input, and the end of it.
const INPUT: Interest = Interest::READ.edge_triggered().one_shot();
/// Replies wait for room: no request is read before they are out.
const OUTPUT: Interest = Interest::WRITE.edge_triggered().one_shot();
/// When all input is read: only the end is left.
const END: Interest = Interest::HANG_UP.edge_triggered().one_shot();

// ANCHOR: queue
/// A worker's next turn.
struct Task {
    key: u64,
    /// After this turn the session takes no request that is not under way.
    last: bool,
}

/// The tasks, and the order to stop. Whoever finds neither sleeps until `changed` is notified.
struct Queue {
    // ANCHOR: lesson
    tasks: Mutex<Tasks>,
    // ANCHOR_END: lesson
    changed: Condvar,
}

// ANCHOR: lesson
struct Tasks {
    waiting: VecDeque<Task>,
    closed: bool,
}
// ANCHOR_END: lesson

impl Queue {
    fn new() -> Queue {
        // ANCHOR: lesson
        Queue { tasks: Mutex::new(Tasks { waiting: VecDeque::new(), closed: false }), changed: Condvar::new() }
        // ANCHOR_END: lesson
    }

    /// Adds a task at the end and wakes a worker.
    fn push(&self, task: Task) {
        // ANCHOR: lesson
        self.tasks.lock().waiting.push_back(task);
        // ANCHOR_END: lesson
        // The lock is free again. To notify now is as good as under it: who comes in between sees the task.
        self.changed.notify_one();
    }

    /// Waits for a task and takes the first; `None` once there is none left and the server stops.
    fn pop(&self) -> Option<Task> {
        let mut tasks = self.tasks.lock();
        loop {
            // ANCHOR: lesson
            if let Some(task) = tasks.waiting.pop_front() {
                return Some(task);
            }
            if tasks.closed {
                return None;
            }
            // ANCHOR_END: lesson
            point("sleep");
            tasks = self.changed.wait(tasks);
        }
    }

    /// No more tasks come: workers finish what is there, and end.
    fn close(&self) {
        point("close");
        // ANCHOR: lesson
        self.tasks.lock().closed = true;
        // ANCHOR_END: lesson
        point("notify");
        self.changed.notify_all();
    }
}
// ANCHOR_END: queue

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
    /// Bytes of a request that is not complete.
    unanswered: u64,
    /// Replies that are due. Of the first one so many bytes are written.
    replies: VecDeque<Reply>,
    written: usize,
    /// No request is taken after the one that is under way.
    last: bool,
    /// Our side of the stream is closed.
    shut: bool,
    /// The end of the input was read.
    ended: bool,
}
// ANCHOR_END: session

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
        let inbox = Inbox {
            receive: vec![0; BUFFER],
            filled: 0,
            parser: Parser::new(),
            unanswered: 0,
            replies: VecDeque::new(),
            written: 0,
            last: false,
            shut: false,
            ended: false,
        };
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

    /// All sessions.
    fn all(&self) -> Vec<Arc<Session>> {
        self.slots.lock().iter().filter_map(|slot| slot.session.clone()).collect()
    }

    /// Gives the session up: its socket is closed with its last owner. Says whether it was there.
    fn remove(&self, key: u64) -> bool {
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(key as u32 as usize).filter(|slot| slot.generation == (key >> 32) as u32);
        let session = slot.and_then(|slot| slot.session.take());
        drop(slots);
        session.is_some()
    }
}

struct Totals {
    received: AtomicU64,
    replies: AtomicU64,
}

fn main() -> ExitCode {
    runner::main(module_path!(), serve)
}

// ANCHOR: reactor
/// The reactor: one thread that accepts, waits for events and hands keys to the workers, until it is told to stop and the
/// last session is gone, or the limit is over.
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

    let mut listener = Some(server.listener);
    epoll.add(listener.as_ref().expect("just put there"), LISTENER, Interest::READ)?;
    epoll.add(&server.stop, STOP, Interest::READ)?;
    let mut events = Events::with_capacity(64);
    let (mut open, mut limit) = (0, None);
    'serving: loop {
        point("wait");
        epoll.wait(&mut events)?;
        for event in events.iter() {
            match event.token {
                LISTENER => open += accept(&listener, &table, &epoll)?,
                STOP => {
                    // Who has connected by now is served. Then the listener is closed: nobody new.
                    open += accept(&listener, &table, &epoll)?;
                    listener = None;
                    epoll.delete(&server.stop)?;
                    let timer = limit.insert(Timer::after(server.drain)?);
                    epoll.add(timer, LIMIT, Interest::READ)?;
                    point("drain");
                    for session in table.all() {
                        queue.push(Task { key: session.key, last: true });
                    }
                }
                LIMIT => break 'serving,
                // ANCHOR: lesson
                // What has come is read first; the end of the input comes back as an event of its own.
                key if event.readable() || event.writable() => {
                    // ANCHOR_END: lesson
                    point("queue");
                    queue.push(Task { key, last: false });
                }
                key => {
                    point("remove");
                    open -= usize::from(table.remove(key));
                }
            }
        }
        if limit.is_some() && open == 0 {
            break;
        }
    }
    queue.close();
    for worker in workers {
        worker.join();
    }
    // Whoever is left has used up the limit. What it loses by that is said.
    for session in table.all() {
        let inbox = session.inbox.lock();
        runner::cut(&session.socket, inbox.unanswered, inbox.replies.len() as u64);
    }
    Ok(Served { received: totals.received.load(Ordering::Relaxed), replies: totals.replies.load(Ordering::Relaxed) })
}
// ANCHOR_END: reactor

/// Takes in who has connected, as long as there is a listener. Returns how many.
fn accept(listener: &Option<Listener>, table: &Table, epoll: &Epoll) -> io::Result<usize> {
    let mut accepted = 0;
    let Some(listener) = listener else { return Ok(accepted) };
    while let Some(socket) = listener.accept()? {
        let session = table.insert(socket);
        match epoll.add(&session.socket, session.key, INPUT) {
            Ok(()) => accepted += 1,
            // A client that cannot be watched cannot be served.
            Err(_) => _ = table.remove(session.key),
        }
    }
    Ok(accepted)
}

fn work(epoll: &Epoll, queue: &Queue, table: &Table, totals: &Totals) {
    loop {
        point("take");
        let Some(task) = queue.pop() else { return };
        handle(task, epoll, table, totals);
    }
}

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
        let next = match &*self.inbox {
            inbox if !inbox.replies.is_empty() => OUTPUT,
            inbox if inbox.ended => END,
            _ => INPUT,
        };
        self.epoll.modify(socket, *key, next).expect("the session keeps its socket open and registered");
    }
}

// ANCHOR: worker
/// One turn: write what is due, read what is there, answer what is complete, arm the socket again.
fn handle(task: Task, epoll: &Epoll, table: &Table, totals: &Totals) {
    point("find");
    let Some(session) = table.find(task.key) else { return };
    let socket = &session.socket;
    let mut turn = Turn { session: &session, epoll, inbox: session.inbox.lock() };
    let inbox = &mut *turn.inbox;
    inbox.last |= task.last;
    let (mut more, mut reads) = (true, 0);
    while more && reads < READS {
        answer(socket, inbox, totals);
        more = inbox.replies.is_empty() && !inbox.ended && read(socket, inbox, totals);
        reads += 1;
    }
    // Told to stop, and nothing is under way: our side says so. The client's is read to its end, whatever still comes.
    let idle = !more && inbox.unanswered == 0 && inbox.replies.is_empty();
    if inbox.last && idle && !inbox.shut && !inbox.ended {
        inbox.shut = true;
        point("shut");
        socket.shutdown_write();
    }
}
// ANCHOR_END: worker

/// Reads once. Says whether there may be more.
fn read(socket: &Socket, inbox: &mut Inbox, totals: &Totals) -> bool {
    point("read");
    let n = match socket.read(&mut inbox.receive[inbox.filled..]) {
        Ok(n @ 1..) => n,
        Err(error) if kernel::is_transient(&error) => return false,
        // The end of the stream, or a broken one.
        Ok(_) | Err(_) => {
            inbox.ended = true;
            return false;
        }
    };
    totals.received.fetch_add(n as u64, Ordering::Relaxed);
    inbox.filled += n;
    inbox.unanswered += n as u64;
    loop {
        let step = inbox.parser.advance(&inbox.receive[..inbox.filled], inbox.filled == BUFFER);
        inbox.receive.copy_within(step.consumed..inbox.filled, 0);
        inbox.filled -= step.consumed;
        let Some(reply) = step.reply else { return true };
        inbox.replies.push_back(reply);
        inbox.unanswered = inbox.filled as u64;
    }
}

/// Writes the replies that are due, as far as there is room. One that is written whole is counted, and no other.
fn answer(socket: &Socket, inbox: &mut Inbox, totals: &Totals) {
    while let Some(reply) = inbox.replies.front().copied() {
        let mut bytes = [0; 256];
        let length = reply.write_to(&mut bytes);
        point("write");
        match socket.write(&bytes[inbox.written..length]) {
            Ok(n) if inbox.written + n < length => inbox.written += n,
            Ok(_) => {
                totals.replies.fetch_add(1, Ordering::Relaxed);
                if reply.is_last() {
                    inbox.shut = true;
                    socket.shutdown_write();
                }
                inbox.written = 0;
                inbox.replies.pop_front();
            }
            Err(error) if kernel::is_transient(&error) => return,
            // Nobody will get it.
            Err(_) => inbox.replies.clear(),
        }
    }
}

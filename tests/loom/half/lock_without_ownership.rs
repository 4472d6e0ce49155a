//! Half a fix: the session has its lock, as stage 4 teaches, and is a bare pointer, as before stage 3. Only one worker
//! is in it at a time, and the reactor frees it with the lock in it.

use std::collections::HashMap;
use std::io;

use lab::heap::{Buffer, Raw};
use lab::http::Parser;
use lab::kernel::{Epoll, Events, Interest, Socket};
use lab::point::point;
use lab::runner::{LISTENER, STOP, Served, Server};
use lab::sync::{self, Arc, AtomicU64, Mutex, Ordering, Queue};

const BUFFER: usize = 4096;
const ONCE: Interest = Interest::READ.edge_triggered().one_shot();

/// One client: its socket, and what only the worker that serves it may touch.
struct Session {
    id: u64,
    socket: Socket,
    inbox: Mutex<Inbox>,
}

struct Inbox {
    /// What has arrived and is not consumed yet: the first `filled` bytes.
    receive: Buffer,
    filled: usize,
    /// Where replies are put together.
    send: Buffer,
    parser: Parser,
}

struct Totals {
    received: AtomicU64,
    replies: AtomicU64,
}

/// The reactor: one thread that accepts, waits for events and hands sessions to the workers.
pub fn serve(server: Server) -> io::Result<Served> {
    let epoll = Arc::new(Epoll::new()?);
    let queue = Arc::new(Queue::new());
    let totals = Arc::new(Totals { received: AtomicU64::new(0), replies: AtomicU64::new(0) });
    let workers: Vec<_> = (1..=server.workers)
        .map(|n| {
            let (epoll, queue, totals) = (epoll.clone(), queue.clone(), totals.clone());
            sync::spawn(&format!("worker-{n}"), move || work(&epoll, &queue, &totals))
        })
        .collect();

    epoll.add(&server.listener, LISTENER, Interest::READ)?;
    epoll.add(&server.stop, STOP, Interest::READ)?;
    let mut sessions: HashMap<u64, Raw<Session>> = HashMap::new();
    let mut accepted = 0;
    let mut events = Events::with_capacity(64);
    'serving: loop {
        point("wait");
        epoll.wait(&mut events)?;
        for event in events.iter() {
            match event.token {
                STOP => break 'serving,
                LISTENER => {
                    while let Some(socket) = server.listener.accept()? {
                        accepted += 1;
                        let (receive, send) = (Buffer::new(BUFFER), Buffer::new(BUFFER));
                        let inbox = Inbox { receive, filled: 0, send, parser: Parser::new() };
                        let session = Raw::new(Session { id: accepted, socket, inbox: Mutex::new(inbox) });
                        let socket = unsafe { &(*session.get()).socket };
                        epoll.add(socket, accepted, ONCE)?;
                        sessions.insert(accepted, session);
                    }
                }
                id => {
                    let Some(session) = sessions.get(&id) else { continue };
                    if event.readable() {
                        point("queue");
                        queue.push(session.clone());
                    }
                    if event.hung_up() {
                        point("remove");
                        let session = sessions.remove(&id).expect("it was found above");
                        unsafe { session.free() };
                    }
                }
            }
        }
    }
    queue.close();
    for worker in workers {
        worker.join();
    }
    sessions.into_values().for_each(|session| unsafe { session.free() });
    Ok(Served { received: totals.received.load(Ordering::Relaxed), replies: totals.replies.load(Ordering::Relaxed) })
}

fn work(epoll: &Epoll, queue: &Queue<Raw<Session>>, totals: &Totals) {
    loop {
        point("take");
        let Some(session) = queue.pop() else { return };
        handle(unsafe { &*session.get() }, epoll, totals);
    }
}

/// One event of one session: drain the socket, arm it again, and hand on what was received.
fn handle(session: &Session, epoll: &Epoll, totals: &Totals) {
    point("enter");
    let mut guard = session.inbox.lock();
    let inbox = &mut *guard;
    let received = drain(&session.socket, inbox, totals);

    // The kernel may watch the socket again while the rest is done.
    point("rearm");
    epoll.modify(&session.socket, session.id, ONCE).expect("the session keeps its socket open and registered");

    // The message goes on with its buffer; the session gets an empty one for the next.
    totals.received.fetch_add(received, Ordering::Relaxed);
    if received > 0 && inbox.filled == 0 {
        inbox.receive = Buffer::new(BUFFER);
    }
}

/// Reads until the socket is empty and answers each request that is complete. Returns how many bytes came.
fn drain(socket: &Socket, inbox: &mut Inbox, totals: &Totals) -> u64 {
    let mut received = 0;
    loop {
        point("read");
        // An empty socket says EAGAIN; a finished one says 0; a broken one is the reactor's to remove.
        let Ok(n @ 1..) = socket.read(&mut inbox.receive[inbox.filled..]) else { return received };
        received += n as u64;
        inbox.filled += n;
        loop {
            let step = inbox.parser.advance(&inbox.receive[..inbox.filled], inbox.filled == BUFFER);
            inbox.receive.copy_within(step.consumed..inbox.filled, 0);
            inbox.filled -= step.consumed;
            let Some(reply) = step.reply else { break };
            let length = reply.write_to(&mut inbox.send);
            point("write");
            if socket.write(&inbox.send[..length]).is_ok() {
                totals.replies.fetch_add(1, Ordering::Relaxed);
            }
            if reply.is_last() {
                socket.shutdown_write();
            }
        }
    }
}

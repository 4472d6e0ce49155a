//! Half a fix: the session is shared by `Arc`, as stage 3 teaches, and has a receive buffer, as stage 4 needs. Nobody
//! is freed too early, and two workers are in one buffer.

use std::collections::HashMap;
use std::io;

use lab::heap::Buffer;
use lab::http::Parser;
use lab::kernel::{Epoll, Events, Interest, Socket};
use lab::point::point;
use lab::runner::{LISTENER, STOP, Served, Server};
use lab::sync::{self, Arc, AtomicU64, Ordering, Queue, UnsafeCell};

const BUFFER: usize = 4096;
const EDGE: Interest = Interest::READ.edge_triggered();

/// One client: its socket, and what only the worker that serves it may touch.
struct Session {
    socket: Socket,
    inbox: UnsafeCell<Inbox>,
}

struct Inbox {
    /// What has arrived and is not consumed yet: the first `filled` bytes.
    receive: Buffer,
    filled: usize,
    /// Where replies are put together.
    send: Buffer,
    parser: Parser,
}

// SAFETY: the map and every task own the session, so it lives as long as anybody uses it. (As if that were enough.)
unsafe impl Sync for Session {}

struct Totals {
    received: AtomicU64,
    replies: AtomicU64,
}

/// The reactor: one thread that accepts, waits for events and hands sessions to the workers.
pub fn serve(server: Server) -> io::Result<Served> {
    let epoll = Epoll::new()?;
    let queue = Arc::new(Queue::new());
    let totals = Arc::new(Totals { received: AtomicU64::new(0), replies: AtomicU64::new(0) });
    let workers: Vec<_> = (1..=server.workers)
        .map(|n| {
            let (queue, totals) = (queue.clone(), totals.clone());
            sync::spawn(&format!("worker-{n}"), move || work(&queue, &totals))
        })
        .collect();

    epoll.add(&server.listener, LISTENER, Interest::READ)?;
    epoll.add(&server.stop, STOP, Interest::READ)?;
    let mut sessions: HashMap<u64, Arc<Session>> = HashMap::new();
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
                        let session = Arc::new(Session { socket, inbox: UnsafeCell::new(inbox) });
                        epoll.add(&session.socket, accepted, EDGE)?;
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
                        sessions.remove(&id);
                    }
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

fn work(queue: &Queue<Arc<Session>>, totals: &Totals) {
    loop {
        point("take");
        let Some(session) = queue.pop() else { return };
        handle(&session, totals);
    }
}

/// One event of one session: drain the socket, and hand on what was received.
fn handle(session: &Session, totals: &Totals) {
    point("enter");
    let inbox = unsafe { &mut *session.inbox.get() };
    let received = drain(&session.socket, inbox, totals);

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

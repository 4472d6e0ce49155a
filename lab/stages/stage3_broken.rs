//! Stage 3: a pool of workers. The reactor accepts and waits; the workers read, count and answer.
//!
//! `stage3_broken` and `stage3_fixed` are the same file but for what stands between the `lesson` anchors:
//! who owns a session.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

// ANCHOR: lesson
use lab::heap::Raw;
// ANCHOR_END: lesson
use lab::http;
use lab::kernel::{self, Epoll, Events, Interest, Socket};
use lab::point::point;
use lab::runner::{self, LISTENER, STOP, Served, Server};
use lab::sync::{self, Arc, AtomicU64, Ordering, Queue};

// ANCHOR: session
/// One client. The session keeps no bytes between two reads: it counts them.
struct Session {
    socket: Socket,
    received: AtomicU64,
}
// ANCHOR_END: session

// ANCHOR: lesson
// ANCHOR: handle
/// What the map and every task hold: the bare address of a session. The reactor frees it at hang-up.
type Handle = Raw<Session>;
// ANCHOR_END: handle
// ANCHOR_END: lesson

struct Totals {
    received: AtomicU64,
    replies: AtomicU64,
}

fn main() -> ExitCode {
    runner::main(module_path!(), serve)
}

// ANCHOR: reactor
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
    let mut sessions: HashMap<u64, Handle> = HashMap::new();
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
                        let session = Session { socket, received: AtomicU64::new(0) };
                        // ANCHOR: lesson
                        let session = Raw::new(session);
                        let socket = unsafe { &(*session.get()).socket };
                        // ANCHOR_END: lesson
                        if epoll.add(socket, accepted, Interest::READ.edge_triggered()).is_err() {
                            // A client that cannot be watched cannot be served.
                            release(session);
                            continue;
                        }
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
                        release(session);
                    }
                }
            }
        }
    }
    queue.close();
    for worker in workers {
        worker.join();
    }
    sessions.into_values().for_each(release);
    Ok(Served { received: totals.received.load(Ordering::Relaxed), replies: totals.replies.load(Ordering::Relaxed) })
}
// ANCHOR_END: reactor

// ANCHOR: release
/// The map gives a session up.
fn release(session: Handle) {
    // ANCHOR: lesson
    // SAFETY: the client has hung up, so nobody needs the session any more.
    unsafe { session.free() };
    // ANCHOR_END: lesson
}
// ANCHOR_END: release

// ANCHOR: worker
/// A worker: takes a session that has something to read, and reads until the socket is empty.
fn work(queue: &Queue<Handle>, totals: &Totals) {
    let mut buffer = [0; 16 * 1024];
    loop {
        point("take");
        let Some(session) = queue.pop() else { return };
        loop {
            point("read");
            // ANCHOR: lesson
            let read = unsafe { (*session.get()).socket.read(&mut buffer) };
            // ANCHOR_END: lesson
            let n = match read {
                Ok(n @ 1..) => n,
                // No memory for it now: what has come is there, and no edge will tell of it again.
                Err(error) if kernel::is_transient(&error) && error.kind() != ErrorKind::WouldBlock => continue,
                // An empty socket says EAGAIN; a finished one says 0; a broken one is the reactor's to remove.
                Ok(_) | Err(_) => break,
            };
            point("count");
            totals.received.fetch_add(n as u64, Ordering::Relaxed);
            // ANCHOR: lesson
            unsafe { (*session.get()).received.fetch_add(n as u64, Ordering::Relaxed) };
            // ANCHOR_END: lesson
            for _ in 0..http::whole_gets(&buffer[..n]) {
                point("write");
                // ANCHOR: lesson
                let written = unsafe { (*session.get()).socket.write_or_end(http::HELLO) };
                // ANCHOR_END: lesson
                if written {
                    totals.replies.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
// ANCHOR_END: worker

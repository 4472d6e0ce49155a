//! Stage 1: a thread for every connection. A read sleeps until its client sends something, so the whole conversation is
//! one function from top to bottom, and what the server remembers of a client stands on that thread's stack.

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;

use lab::http::Parser;
use lab::kernel::Stream;
use lab::point::point;
use lab::runner::{self, Served, Server};
use lab::sync::{self, Arc, AtomicU64, JoinHandle, Mutex, Ordering};

const BUFFER: usize = 4096;

// ANCHOR: shared
/// What the threads share.
struct Shared {
    connections: Mutex<Connections>,
    received: AtomicU64,
    replies: AtomicU64,
}

struct Connections {
    /// Those that are served now. `main` needs them when it is told to stop.
    open: HashMap<u64, Arc<Stream>>,
    /// Those whose threads can be joined.
    ended: Vec<u64>,
}
// ANCHOR_END: shared

fn main() -> ExitCode {
    runner::main(module_path!(), serve)
}

// ANCHOR: main
/// `main` accepts, and gives every client a thread of its own.
pub fn serve(server: Server) -> io::Result<Served> {
    let connections = Mutex::new(Connections { open: HashMap::new(), ended: Vec::new() });
    let shared = Arc::new(Shared { connections, received: AtomicU64::new(0), replies: AtomicU64::new(0) });
    let mut threads: HashMap<u64, JoinHandle> = HashMap::new();
    let mut accepted = 0;
    loop {
        point("accept");
        let Some(stream) = server.listener.accept_or_stop(&server.stop)? else { break };
        accepted += 1;
        let (id, stream) = (accepted, Arc::new(stream));
        let mut connections = shared.connections.lock();
        connections.open.insert(id, stream.clone());
        let ended = std::mem::take(&mut connections.ended);
        drop(connections);
        // A thread that is over keeps its stack until it is joined.
        for id in ended {
            threads.remove(&id).expect("a thread ends once").join();
        }
        let theirs = shared.clone();
        let thread = sync::try_spawn(&format!("conn-{id}"), move || {
            converse(&stream, &theirs);
            point("close");
            let mut connections = theirs.connections.lock();
            connections.open.remove(&id);
            connections.ended.push(id);
        })?;
        threads.insert(id, thread);
    }
    // Nobody can call a thread out of a blocking read: the connection is ended under it.
    for stream in shared.connections.lock().open.values() {
        stream.shutdown();
    }
    threads.into_values().for_each(JoinHandle::join);
    Ok(Served { received: shared.received.load(Ordering::Relaxed), replies: shared.replies.load(Ordering::Relaxed) })
}
// ANCHOR_END: main

// ANCHOR: converse
/// One client, from its first byte to its last.
fn converse(stream: &Stream, shared: &Shared) {
    let mut parser = Parser::new();
    let mut receive = [0; BUFFER];
    let mut filled = 0;
    let mut send = [0; 256];
    loop {
        point("read");
        // The thread sleeps here until its client sends something. 0 is the end of the stream; an error ends it too.
        let Ok(n @ 1..) = stream.read(&mut receive[filled..]) else { return };
        shared.received.fetch_add(n as u64, Ordering::Relaxed);
        filled += n;
        loop {
            let step = parser.advance(&receive[..filled], filled == BUFFER);
            receive.copy_within(step.consumed..filled, 0);
            filled -= step.consumed;
            let Some(reply) = step.reply else { break };
            let length = reply.write_to(&mut send);
            point("write");
            if stream.write_all(&send[..length]).is_err() {
                return;
            }
            shared.replies.fetch_add(1, Ordering::Relaxed);
            if reply.is_last() {
                stream.shutdown_write();
            }
        }
    }
}
// ANCHOR_END: converse

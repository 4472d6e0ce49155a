//! What a stage is given, and what it gives back.

use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::record::blackbox;
use crate::record::event::Kind;
pub use crate::record::names::{LIMIT, LISTENER, STOP, TICK};
use crate::record::wakeups::{Counts, Herd};
pub use crate::terms::Served;
use crate::world::kernel::{self, Listener, Socket, Stop};
use crate::world::point::tracing_enabled;

/// Listens as a server with these threads does: one listener for all, or the first of several.
pub(crate) fn listen(threads: Threads, address: SocketAddr) -> io::Result<Listener> {
    if threads != Threads::Shards {
        return Listener::bind(address);
    }
    kernel::check_is_free(address)?;
    Listener::bind_shared(address)
}

/// What a stage is given.
pub struct Server {
    /// Where clients come from.
    pub listener: Listener,
    /// Readable when the server is to stop.
    pub stop: Stop,
    /// How many worker threads to start.
    pub workers: usize,
    /// How to wait and read, where the reader has a choice: stages 2 and 8.
    pub flags: Flags,
    /// How long the sessions that are open may take once the server is told to stop, in milliseconds: stage 7 only.
    pub drain: u64,
}

/// The sessions that used up the limit of a drain, and what they lost by that: connections, bytes without an answer,
/// replies not written.
pub(crate) static CUT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Says that a session is given up with its client not served: so many bytes that it read are of a request without an
/// answer, and so many replies are not written. What waits in the socket is without an answer too.
#[track_caller]
pub fn cut(socket: &Socket, unanswered: u64, replies: u64) {
    let unanswered = unanswered + socket.unread().unwrap_or(0) as u64;
    if tracing_enabled() {
        blackbox::note(Kind::ForcedClose, "", Location::caller(), [socket.number() as u64, unanswered, replies]);
    }
    for (count, more) in CUT.iter().zip([1, unanswered, replies]) {
        count.fetch_add(more, Ordering::Relaxed);
    }
}

/// The reader's choice between edge and level, and between reading until `EAGAIN` and reading once. The default is what
/// a server should do under edge-triggered epoll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Level-triggered, not edge-triggered.
    pub level: bool,
    /// One read for each event, not until `EAGAIN`.
    pub once: bool,
    /// A listener for each reactor, on the same port (`SO_REUSEPORT`), not one for all.
    pub reuseport: bool,
    /// Stage 7: the exhibit of the last bytes, and not that of the lost wake-up. The server is the same.
    pub tail: bool,
}

/// A stage's server: runs until it is told to stop.
pub type Serve = fn(Server) -> io::Result<Served>;

/// Which threads a stage has besides `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// As many workers as the reader asks for: `worker-1`, `worker-2` ...
    Workers,
    /// One for every connection: `conn-1`, `conn-2` ...
    PerConnection,
    /// None.
    None,
    /// Reactors, as many as the reader asks for, with one listener for all: `reactor-1`, `reactor-2` ...
    Reactors,
    /// The same, each with a listener of its own on the same port.
    Shards,
}

static TOLD: Mutex<Vec<(usize, Counts)>> = Mutex::new(Vec::new());

/// What the reactor `number` (from 1) has counted, at its end. The report, the odds and the last line of `--serve` show
/// it.
pub fn tell(number: usize, counts: Counts) {
    let counts = Counts { slept: kernel::voluntary_context_switches(), ..counts };
    TOLD.lock().unwrap_or_else(PoisonError::into_inner).push((number, counts));
}

/// What was told in this process, once all reactors have ended.
pub(crate) fn told() -> Herd {
    let mut told = std::mem::take(&mut *TOLD.lock().unwrap_or_else(PoisonError::into_inner));
    told.sort_unstable_by_key(|(number, _)| *number);
    Herd { reactors: told.into_iter().map(|(_, counts)| counts).collect() }
}

//! The plain data in which a stage deals with its world: the same in every world. So this file knows no other, and the models
//! mount it (`tests/loom/world/`).

use std::io;

/// The token of the listener's events.
pub const LISTENER: u64 = 0;
/// The token of the event that stops the server.
pub const STOP: u64 = u64::MAX;
/// The token of the event that says that the limit of a drain is over.
pub const LIMIT: u64 = u64::MAX - 1;
/// The token of the event that says that another second is over.
pub const TICK: u64 = u64::MAX - 2;

/// Which events are asked for, and how (`epoll_ctl(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u32);

impl Interest {
    /// Input, and the hang-up of the other side: `EPOLLIN | EPOLLRDHUP`. Level-triggered.
    pub const READ: Interest = Interest((libc::EPOLLIN | libc::EPOLLRDHUP) as u32);

    /// Room for output: `EPOLLOUT`. Level-triggered. Hang-ups and errors are reported with every interest.
    pub const WRITE: Interest = Interest(libc::EPOLLOUT as u32);

    /// Both.
    pub const fn and(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }

    /// The hang-up of the other side, and no input: `EPOLLRDHUP`.
    pub const HANG_UP: Interest = Interest(libc::EPOLLRDHUP as u32);

    /// Only what is reported in any case: a connection that is broken, or closed from both sides (`EPOLLHUP`,
    /// `EPOLLERR`).
    pub const ERROR_ONLY: Interest = Interest(0);

    /// Reported when something changes, not while it lasts: `EPOLLET`.
    pub const fn edge_triggered(self) -> Interest {
        Interest(self.0 | libc::EPOLLET as u32)
    }

    /// Reported once, then not again until [`Epoll::modify`](crate::kernel::Epoll::modify): `EPOLLONESHOT`.
    pub const fn one_shot(self) -> Interest {
        Interest(self.0 | libc::EPOLLONESHOT as u32)
    }

    /// Of several instances that ask for the same source in this way and sleep, a change wakes one or more, not all:
    /// `EPOLLEXCLUSIVE`. Only with [`Epoll::add`](crate::kernel::Epoll::add); the kernel takes no `EPOLLRDHUP` with it, so that
    /// is left out.
    pub const fn exclusive(self) -> Interest {
        Interest((self.0 & !(libc::EPOLLRDHUP as u32)) | libc::EPOLLEXCLUSIVE as u32)
    }

    /// The bits of `epoll_event.events`.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// One event, as `epoll_wait(2)` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number that was given to [`Epoll::add`](crate::kernel::Epoll::add).
    pub token: u64,
    /// The bits of `epoll_event.events`.
    pub mask: u32,
}

impl Event {
    /// An event that nobody has reported: a thread looks by itself whether there is something to read.
    pub const READABLE: Event = Event { token: 0, mask: libc::EPOLLIN as u32 };

    /// There is something to read, if only the end of the stream.
    pub fn readable(self) -> bool {
        self.mask & libc::EPOLLIN as u32 != 0
    }

    /// There is room for output.
    pub fn writable(self) -> bool {
        self.mask & libc::EPOLLOUT as u32 != 0
    }

    /// The other side has closed its end, or the connection is broken.
    pub fn hung_up(self) -> bool {
        self.mask & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0
    }
}

/// Whether an error of a read or a write on a socket says nothing of the connection, and the same call may succeed later: there
/// is nothing to read or no room now (`EAGAIN`), or no memory (`ENOBUFS`, `ENOMEM`).
pub fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

/// What one reactor counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Wake-ups in which its epoll reported the listener.
    pub woken: u64,
    /// Of these, the ones in which `accept4(2)` then found nobody (`EAGAIN`).
    pub empty: u64,
    /// Connections that it accepted.
    pub accepted: u64,
    /// Wake-ups in which a client waited, and there was no descriptor left for it (`EMFILE`).
    pub exhausted: u64,
    /// How often its thread went to sleep in its life, for whatever reason: voluntary context switches (`getrusage(2)`). Not the
    /// stage's to count: `tell` asks the kernel. A wake-up that the kernel itself finds to be in vain is only here: the thread
    /// runs, `epoll_wait(2)` looks, and sleeps again without returning.
    pub slept: u64,
}

/// What a stage counted, when it came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Bytes received.
    pub received: u64,
    /// Replies written.
    pub replies: u64,
}

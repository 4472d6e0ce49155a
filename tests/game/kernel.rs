//! The kernel of the game: [`net`](crate::net) behind the facade's names. What a call did is said in the reader's
//! words.
//!
//! A wait is of one of two kinds, as in a directed run: in [`Epoll::wait`] a role stands until there is an event, and then
//! looks what it is; in [`Epoll::wait_for`], where it matters whom the kernel wakes, it sleeps in the kernel.

use std::io;

pub use real::kernel::{Event, Interest, is_transient};

use crate::net::{Errno, Fd, Net};
use crate::point::point;
use crate::runner::{LIMIT, LISTENER, STOP};
use crate::world::{State, Until, act, role_of_this_thread};

/// The number of the first client's socket: before it come the standard streams, the listener, the stop event and the
/// epoll instance.
pub const FIRST_SOCKET: u64 = 6;

fn result<T: Default>(result: Option<Result<T, Errno>>) -> io::Result<T> {
    result.unwrap_or(Ok(T::default())).map_err(io::Error::from_raw_os_error)
}

/// A system call by which a descriptor comes to be.
#[track_caller]
fn open(what: impl FnOnce(&mut Net) -> Fd) -> Fd {
    let fd = act(Until::Always, |state, role| {
        let fd = what(&mut state.net);
        state.seen(role, ("open", fd));
        fd
    });
    fd.unwrap_or_default()
}

/// A descriptor is closed, after `say` has said so.
fn close(fd: Fd, say: impl FnOnce(&mut State)) {
    act(Until::Always, |state, role| {
        say(state);
        _ = state.net.close(fd);
        state.seen(role, ("close", fd));
    });
}

pub struct Events {
    events: Vec<Event>,
    room: usize,
}

impl Events {
    pub fn with_capacity(capacity: usize) -> Events {
        Events { events: Vec::new(), room: capacity }
    }

    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.events.iter().copied()
    }
}

/// What can stand on the interest list.
pub trait Source {
    fn fd(&self) -> Fd;
}

pub struct Epoll {
    fd: Fd,
}

impl Epoll {
    #[track_caller]
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll { fd: open(Net::epoll_create) })
    }

    #[track_caller]
    pub fn add(&self, source: &impl Source, token: u64, interest: Interest) -> io::Result<()> {
        let fd = source.fd();
        result(act(Until::Always, |state, role| {
            state.say(format!("adds to the interest list: {}", source_name(token)));
            let added = state.net.add(self.fd, fd, token, interest.bits());
            state.seen(role, ("add", fd, added));
            added
        }))
    }

    #[track_caller]
    #[allow(dead_code)]
    pub fn modify(&self, source: &impl Source, token: u64, interest: Interest) -> io::Result<()> {
        let fd = source.fd();
        result(act(Until::Always, |state, role| {
            state.say(format!("re-arms: {}", source_name(token)));
            let armed = state.net.modify(self.fd, fd, token, interest.bits());
            state.seen(role, ("modify", fd, armed));
            armed
        }))
    }

    #[track_caller]
    #[allow(dead_code)]
    pub fn delete(&self, source: &impl Source) -> io::Result<()> {
        let fd = source.fd();
        result(act(Until::Always, |state, role| {
            let deleted = state.net.delete(self.fd, fd);
            state.seen(role, ("delete", fd, deleted));
            deleted
        }))
    }

    #[track_caller]
    pub fn wait(&self, events: &mut Events) -> io::Result<()> {
        let room = events.room;
        let there = result(act(Until::Event(self.fd), |state, role| {
            let there = state.net.poll(self.fd, room);
            for (token, mask) in there.iter().flatten() {
                state.say(format!("epoll_wait: {} {}", source_name(*token), mask_names(*mask)));
            }
            state.seen(role, &there);
            there
        }))?;
        events.events = there.into_iter().map(|(token, mask)| Event { token, mask }).collect();
        Ok(())
    }
}

impl Epoll {
    /// To go in is a move: it finds an event, or falls asleep. Who has one, at once or when it is woken, stands at `woken`.
    /// No limit is ever over.
    #[track_caller]
    pub fn wait_for(&self, events: &mut Events, _: Option<u32>) -> io::Result<()> {
        act(Until::Always, |state, role| state.go_in(role, self.fd, events.room));
        point("woken");
        let there = act(Until::Woken(role_of_this_thread()), |state, role| {
            let there = state.come_out(role);
            for (token, mask) in &there {
                state.say(format!("epoll_wait: {} {}", source_name(*token), mask_names(*mask)));
            }
            state.seen(role, &there);
            there
        });
        events.events = there.into_iter().flatten().map(|(token, mask)| Event { token, mask }).collect();
        Ok(())
    }
}

/// No time passes.
pub fn seconds() -> u32 {
    0
}

impl Drop for Epoll {
    fn drop(&mut self) {
        close(self.fd, |_| ());
    }
}

/// Whom a token names.
pub fn source_name(token: u64) -> String {
    match token {
        LISTENER => "the listener".to_string(),
        STOP => "the stop event".to_string(),
        LIMIT => "the limit".to_string(),
        key if key >> 32 != 0 => format!("fd {} (gen {})", key as u32, key >> 32),
        // Sessions are counted from 1, and there are not so many of them.
        number if number >= FIRST_SOCKET => format!("fd {number}"),
        session => format!("session {session}"),
    }
}

/// The names of the bits, without the prefix that they share.
pub fn mask_names(mask: u32) -> String {
    let names = [
        (libc::EPOLLIN, "IN"),
        (libc::EPOLLRDHUP, "RDHUP"),
        (libc::EPOLLHUP, "HUP"),
        (libc::EPOLLERR, "ERR"),
        (libc::EPOLLET, "ET"),
        (libc::EPOLLONESHOT, "ONESHOT"),
        (libc::EPOLLEXCLUSIVE, "EXCLUSIVE"),
    ];
    names.iter().filter(|(bit, _)| mask & *bit as u32 != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

pub struct Listener {
    pub fd: Fd,
}

impl Listener {
    #[track_caller]
    pub fn accept(&self) -> io::Result<Option<Socket>> {
        let fd = result(act(Until::Always, |state, role| {
            let accepted = state.net.accept(self.fd);
            state.seen(role, ("accept", accepted));
            if let Ok(Some(fd)) = accepted {
                state.say(format!("accepts fd {fd}"));
            }
            accepted
        }))?;
        Ok(fd.map(|fd| Socket { fd }))
    }

    /// As [`Listener::accept`]; here it fails for no other reason than that nobody waits.
    #[track_caller]
    pub fn try_accept(&self) -> io::Result<Option<Socket>> {
        let socket = self.accept()?;
        if socket.is_none() {
            act(Until::Always, |state, role| {
                state.in_vain.push(role);
                state.say("accept says EAGAIN: nobody waits");
            });
        }
        Ok(socket)
    }

    /// One more on the same port.
    pub fn sibling(&self) -> io::Result<Listener> {
        Ok(Listener { fd: open(Net::listen) })
    }
}

impl Source for Listener {
    fn fd(&self) -> Fd {
        self.fd
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        close(self.fd, |state| state.say("closes the listener"));
    }
}

/// A timer that never goes off: in this world no time passes.
#[allow(dead_code)]
pub struct Timer {
    fd: Fd,
}

#[allow(dead_code)]
impl Timer {
    #[track_caller]
    pub fn after(_: u64) -> io::Result<Timer> {
        Ok(Timer { fd: open(Net::eventfd) })
    }
}

impl Source for Timer {
    fn fd(&self) -> Fd {
        self.fd
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        close(self.fd, |_| ());
    }
}

pub struct Stop {
    pub fd: Fd,
}

impl Source for Stop {
    fn fd(&self) -> Fd {
        self.fd
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        close(self.fd, |_| ());
    }
}

pub struct Socket {
    fd: Fd,
}

impl Socket {
    #[allow(dead_code)]
    pub fn number(&self) -> usize {
        self.fd
    }

    #[track_caller]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        result(act(Until::Always, |state, role| {
            let read = state.net.read(self.fd, buffer);
            if let Ok(1..) = read {
                state.roles[role].read_from = state.net.stream_of(self.fd);
            }
            state.say(match read {
                Ok(0) => "reads the end of the stream".to_string(),
                Ok(count) => format!("reads {} bytes", grouped(count)),
                Err(error) => format!("read says {}", errno(error)),
            });
            state.seen(role, ("read", read, &buffer[..read.unwrap_or(0)]));
            read
        }))
    }

    #[track_caller]
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        result(act(Until::Always, |state, role| {
            let written = state.net.write(self.fd, bytes);
            if written.is_ok() {
                state.answered(self.fd, bytes);
            }
            state.say(match written {
                Ok(count) => format!("writes a reply of {count} bytes"),
                Err(error) => format!("write says {}", errno(error)),
            });
            state.seen(role, ("write", written));
            written
        }))
    }

    /// Here a write is never short.
    #[track_caller]
    #[allow(dead_code)]
    pub fn write_or_end(&self, bytes: &[u8]) -> bool {
        self.write(bytes).is_ok()
    }

    #[track_caller]
    #[allow(dead_code)]
    pub fn shutdown_write(&self) {
        act(Until::Always, |state, _| {
            state.say("closes its sending side");
            _ = state.net.shutdown_write(self.fd);
        });
    }
}

fn errno(error: Errno) -> &'static str {
    match error {
        libc::EAGAIN => "EAGAIN: the socket is empty",
        libc::ECONNRESET => "ECONNRESET",
        libc::EPIPE => "EPIPE",
        _ => "an error",
    }
}

/// 16384 as `16,384`.
pub fn grouped(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        close(self.fd, |state| state.say(format!("closes fd {}", self.fd)));
    }
}

impl Source for Socket {
    fn fd(&self) -> Fd {
        self.fd
    }
}

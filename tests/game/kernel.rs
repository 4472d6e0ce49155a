//! The kernel's facade over [`Net`](crate::net::Net).

use std::io;

use crate::net::{self, Failure, LIMIT_FD, LISTENER_FD, STOP_FD};
use crate::runner::{LIMIT, LISTENER, STOP};
use crate::world::{Until, act};

#[derive(Clone, Copy)]
pub struct Interest(u32);

#[allow(dead_code)]
impl Interest {
    pub const READ: Interest = Interest(net::IN | net::RDHUP);
    pub const WRITE: Interest = Interest(net::OUT | net::RDHUP);
    pub const HANG_UP: Interest = Interest(net::RDHUP);
    pub const BREAK: Interest = Interest(0);

    pub const fn edge_triggered(self) -> Interest {
        Interest(self.0 | net::ET)
    }

    pub const fn one_shot(self) -> Interest {
        Interest(self.0 | net::ONESHOT)
    }
}

#[derive(Clone, Copy)]
pub struct Event {
    pub token: u64,
    mask: u32,
}

impl Event {
    pub fn readable(self) -> bool {
        self.mask & net::IN != 0
    }

    #[allow(dead_code)]
    pub fn writable(self) -> bool {
        self.mask & net::OUT != 0
    }

    #[allow(dead_code)]
    pub fn hung_up(self) -> bool {
        self.mask & (net::RDHUP | net::HUP | net::ERR) != 0
    }
}

pub struct Events(Vec<Event>);

impl Events {
    pub fn with_capacity(_: usize) -> Events {
        Events(Vec::new())
    }

    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.0.iter().copied()
    }
}

/// What can stand on the interest list.
pub trait Source {
    fn fd(&self) -> u64;
}

pub struct Epoll;

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll)
    }

    #[track_caller]
    pub fn add(&self, source: &impl Source, token: u64, interest: Interest) -> io::Result<()> {
        self.control(source.fd(), token, interest, "adds to the interest list")
    }

    #[track_caller]
    #[allow(dead_code)]
    pub fn modify(&self, source: &impl Source, token: u64, interest: Interest) -> io::Result<()> {
        self.control(source.fd(), token, interest, "re-arms")
    }

    #[track_caller]
    #[allow(dead_code)]
    pub fn delete(&self, source: &impl Source) -> io::Result<()> {
        act(Until::Always, |state, _| state.net.forget(source.fd()));
        Ok(())
    }

    #[track_caller]
    fn control(&self, fd: u64, token: u64, interest: Interest, what: &str) -> io::Result<()> {
        act(Until::Always, |state, role| {
            state.say(format!("{what}: {}", source_name(token)));
            state.net.control(fd, token, interest.0);
            state.seen(role, ("control", fd));
        });
        Ok(())
    }

    #[track_caller]
    pub fn wait(&self, events: &mut Events) -> io::Result<()> {
        let there = act(Until::Event, |state, role| {
            let there = state.net.events();
            for (token, mask) in &there {
                state.say(format!("epoll_wait: {} {}", source_name(*token), mask_names(*mask)));
            }
            state.seen(role, &there);
            there
        });
        events.0 = there.unwrap_or_default().into_iter().map(|(token, mask)| Event { token, mask }).collect();
        Ok(())
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
        number if number > LISTENER_FD => format!("fd {number}"),
        session => format!("session {session}"),
    }
}

/// The names of the bits, without the prefix that they share.
pub fn mask_names(mask: u32) -> String {
    let names = [
        (net::IN, "IN"),
        (net::RDHUP, "RDHUP"),
        (net::HUP, "HUP"),
        (net::ERR, "ERR"),
        (net::ET, "ET"),
        (net::ONESHOT, "ONESHOT"),
    ];
    names.iter().filter(|(bit, _)| mask & bit != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

pub struct Listener;

impl Listener {
    #[track_caller]
    pub fn accept(&self) -> io::Result<Option<Socket>> {
        let fd = act(Until::Always, |state, role| {
            let fd = state.net.accept();
            state.seen(role, ("accept", fd));
            if let Some(fd) = fd {
                state.say(format!("accepts fd {fd}"));
            }
            fd
        });
        Ok(fd.flatten().map(|fd| Socket { fd }))
    }
}

impl Source for Listener {
    fn fd(&self) -> u64 {
        LISTENER_FD
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        act(Until::Always, |state, _| {
            state.say("closes the listener");
            state.net.forget(LISTENER_FD);
        });
    }
}

/// A timer that never goes off: in this world no time passes.
#[allow(dead_code)]
pub struct Timer;

#[allow(dead_code)]
impl Timer {
    pub fn after(_: u64) -> io::Result<Timer> {
        Ok(Timer)
    }
}

impl Source for Timer {
    fn fd(&self) -> u64 {
        LIMIT_FD
    }
}

pub struct Stop;

impl Source for Stop {
    fn fd(&self) -> u64 {
        STOP_FD
    }
}

pub struct Socket {
    fd: u64,
}

impl Socket {
    #[allow(dead_code)]
    pub fn number(&self) -> usize {
        self.fd as usize
    }

    #[track_caller]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = act(Until::Always, |state, role| {
            let result = state.net.read(self.fd, buffer);
            state.say(match result {
                Ok(0) => "reads the end of the stream".to_string(),
                Ok(count) => format!("reads {} bytes", grouped(count)),
                Err(failure) => format!("read says {}", errno(failure)),
            });
            // Which bytes they are follows from whose they are, and from how many came before.
            let from = state.net.of(self.fd).map(|at| (at, state.net.connections[at].read));
            state.seen(role, ("read", &result, from));
            result
        });
        Ok(result.unwrap_or(Ok(0))?)
    }

    #[track_caller]
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let result = act(Until::Always, |state, role| {
            let reset = state.net.of(self.fd).is_some_and(|at| state.net.connections[at].reset);
            if !reset {
                state.answer(self.fd, bytes);
            }
            let result = state.net.write(self.fd, bytes.len());
            state.say(match result {
                Ok(count) => format!("writes a reply of {count} bytes"),
                Err(failure) => format!("write says {}", errno(failure)),
            });
            state.seen(role, ("write", &result));
            result
        });
        Ok(result.unwrap_or(Ok(0))?)
    }

    #[track_caller]
    #[allow(dead_code)]
    pub fn shutdown_write(&self) {
        act(Until::Always, |state, _| {
            state.say("closes its sending side");
            state.net.shutdown_write(self.fd);
        });
    }
}

fn errno(failure: Failure) -> &'static str {
    match failure {
        Failure::WouldBlock => "EAGAIN: the socket is empty",
        Failure::Reset => "ECONNRESET",
        Failure::BrokenPipe => "EPIPE",
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
        act(Until::Always, |state, role| {
            state.say(format!("closes fd {}", self.fd));
            state.net.close(self.fd);
            state.seen(role, ("close", self.fd));
        });
    }
}

impl Source for Socket {
    fn fd(&self) -> u64 {
        self.fd
    }
}

//! Faults by construction: a system call of a stage fails at a chosen line, at a chosen time, in a chosen way.
//!
//! The kernel's rarer answers (no memory, no descriptor, a short write) come when they are least wanted and not when a
//! test asks for them. Here a plan names the call, the line of the stage, and the answer. Without a plan it costs
//! nothing: the look whether there is one is the look whether anybody watches.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::panic::Location;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::record::blackbox;
use crate::world::point::tracing_enabled;

/// A system call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `accept4(2)`
    Accept,
    /// One more connection of a multishot accept (`io_uring_prep_multishot_accept(3)`): this one comes, and then the
    /// request ends with the error.
    Accepted,
    /// `epoll_ctl(2)` with `EPOLL_CTL_ADD`
    Add,
    /// `epoll_ctl(2)` with `EPOLL_CTL_MOD`
    Modify,
    /// `epoll_ctl(2)` with `EPOLL_CTL_DEL`
    Delete,
    /// `epoll_wait(2)`
    Wait,
    /// `poll(2)`
    Poll,
    /// `recv(2)`
    Read,
    /// `send(2)`
    Write,
    /// `socket(2)`, `bind(2)` and `listen(2)`
    Listen,
    /// `epoll_create1(2)`
    Epoll,
    /// `eventfd(2)`, and another descriptor of one
    Event,
    /// `timerfd_create(2)`
    Timer,
    /// `pthread_create(3)`
    Spawn,
    /// `io_uring_setup(2)`
    Ring,
}

/// What a call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This error, and nothing was done.
    Errno(i32),
    /// It succeeds, with one byte.
    Short,
}

impl Call {
    /// All of them, with their names.
    pub const ALL: [(Call, &str); 15] = [
        (Call::Accept, "accept"),
        (Call::Accepted, "accepted"),
        (Call::Add, "add"),
        (Call::Modify, "modify"),
        (Call::Delete, "delete"),
        (Call::Wait, "wait"),
        (Call::Poll, "poll"),
        (Call::Read, "read"),
        (Call::Write, "write"),
        (Call::Listen, "listen"),
        (Call::Epoll, "epoll"),
        (Call::Event, "event"),
        (Call::Timer, "timer"),
        (Call::Spawn, "spawn"),
        (Call::Ring, "ring"),
    ];

    /// What the call can answer besides what a test sees anyway: the errors of its manual page that a sound program
    /// meets.
    pub fn answers(self) -> &'static [Answer] {
        use Answer::{Errno, Short};
        match self {
            Call::Accept | Call::Accepted => &[
                Errno(libc::EINTR),
                Errno(libc::EMFILE),
                Errno(libc::ENFILE),
                Errno(libc::ENOBUFS),
                Errno(libc::ENOMEM),
                Errno(libc::ECONNABORTED),
                Errno(libc::EPROTO),
                Errno(libc::EPERM),
                Errno(libc::ENETDOWN),
                Errno(libc::EHOSTUNREACH),
            ],
            Call::Add => &[Errno(libc::ENOMEM), Errno(libc::ENOSPC)],
            Call::Modify | Call::Delete => &[Errno(libc::ENOMEM)],
            Call::Wait => &[Errno(libc::EINTR)],
            // Linux has room on its stack for the few descriptors that a stage waits for, and no other answer.
            Call::Poll => &[Errno(libc::EINTR)],
            Call::Read => {
                &[Errno(libc::EINTR), Errno(libc::ENOMEM), Errno(libc::ENOBUFS), Errno(libc::ECONNRESET), Short]
            }
            Call::Write => &[
                Errno(libc::EINTR),
                Errno(libc::EAGAIN),
                Errno(libc::ENOMEM),
                Errno(libc::ENOBUFS),
                Errno(libc::EPIPE),
                Errno(libc::ECONNRESET),
                Short,
            ],
            Call::Listen => &[
                Errno(libc::EADDRINUSE),
                Errno(libc::EACCES),
                Errno(libc::EMFILE),
                Errno(libc::ENFILE),
                Errno(libc::ENOBUFS),
                Errno(libc::ENOMEM),
            ],
            Call::Epoll | Call::Event | Call::Timer | Call::Ring => {
                &[Errno(libc::EMFILE), Errno(libc::ENFILE), Errno(libc::ENOMEM)]
            }
            Call::Spawn => &[Errno(libc::EAGAIN)],
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = Call::ALL.iter().find(|(call, _)| call == self).expect("each has a name");
        f.write_str(name)
    }
}

/// One fault: `write:154:2:105` lets the second `write` of line 154 of the stage fail with `ENOBUFS`, and
/// `write:154:2:short` write one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which call.
    pub call: Call,
    /// The stage's line; 0 for any.
    pub line: u32,
    /// The how-manieth call there, from 1 on.
    pub number: u64,
    /// What it answers.
    pub answer: Answer,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { call, line, number, answer } = self;
        match answer {
            Answer::Errno(errno) => write!(f, "{call}:{line}:{number}:{errno}"),
            Answer::Short => write!(f, "{call}:{line}:{number}:short"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let wrong = || format!("`{text}` is not CALL:LINE:NUMBER:ERRNO, nor CALL:LINE:NUMBER:short");
        let words: Vec<&str> = text.split(':').collect();
        let [call, line, number, answer] = words[..] else { return Err(wrong()) };
        let (call, _) = Call::ALL.into_iter().find(|(_, name)| *name == call).ok_or_else(wrong)?;
        let answer = match answer {
            "short" => Answer::Short,
            errno => Answer::Errno(errno.parse().map_err(|_| wrong())?),
        };
        let (line, number) = (line.parse().map_err(|_| wrong())?, number.parse().map_err(|_| wrong())?);
        Ok(Fault { call, line, number, answer })
    }
}

#[derive(Default)]
struct Plan {
    faults: Vec<Fault>,
    /// How often each call was made, by line.
    made: BTreeMap<(Call, u32), u64>,
}

static PLAN: Mutex<Option<Plan>> = Mutex::new(None);

/// From here on calls fail as planned in this process, and each is counted.
pub fn plan(faults: Vec<Fault>) {
    *PLAN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Plan { faults, ..Plan::default() });
    blackbox::expect_faults();
}

/// How often each call was made since [`plan`], by the stage's line.
pub fn made() -> Vec<(Call, u32, u64)> {
    let plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
    plan.iter().flat_map(|plan| &plan.made).map(|((call, line), count)| (*call, *line, *count)).collect()
}

/// What this call is to answer, if it is planned.
#[inline(always)]
pub(super) fn next(call: Call, at: &'static Location<'static>) -> Option<Answer> {
    if tracing_enabled() { look_up(call, at.line()) } else { None }
}

/// The error that this call is to answer, if one is planned.
#[inline(always)]
pub(super) fn check(call: Call, at: &'static Location<'static>) -> io::Result<()> {
    match next(call, at) {
        Some(Answer::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

/// The call on `fd` fails so. Where that means a broken connection, the connection is broken.
#[cold]
pub(super) fn fail(errno: i32, fd: RawFd) -> io::Error {
    if matches!(errno, libc::ECONNRESET | libc::EPIPE) {
        // SAFETY: the caller has the descriptor open.
        unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
    }
    io::Error::from_raw_os_error(errno)
}

#[cold]
fn look_up(call: Call, line: u32) -> Option<Answer> {
    let mut plan = PLAN.lock().unwrap_or_else(PoisonError::into_inner);
    let plan = plan.as_mut()?;
    let made = plan.made.entry((call, line)).or_default();
    *made += 1;
    let is_it = |fault: &&Fault| fault.call == call && (fault.line == 0 || fault.line == line) && fault.number == *made;
    plan.faults.iter().find(is_it).map(|fault| fault.answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        for (call, _) in Call::ALL {
            for &answer in call.answers() {
                let fault = Fault { call, line: 17, number: 2, answer };
                assert_eq!(fault.to_string().parse(), Ok(fault));
            }
        }
        for wrong in
            ["", "write", "write:1:2", "wrote:1:2:3", "write:x:2:3", "write:1:x:3", "write:1:2:long", "write:1:2:3:4"]
        {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }
}

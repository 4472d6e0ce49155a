//! io_uring: requests go to the kernel through one ring in shared memory, and its answers come back through another
//! (`io_uring(7)`). One system call, `io_uring_enter(2)`, hands over all that was asked since the last one, and sleeps
//! until something is answered.
//!
//! epoll says that a call would succeed now. io_uring makes the call, and says how it went: until it has, the memory of
//! the call belongs to the kernel. So this facade owns it. Bytes to send are moved in, and come back with their
//! completion; bytes that arrive are lent out of a set of buffers that the kernel takes from, and go back to it when
//! they are dropped.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::Location;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::{fmt, io, ptr, slice};

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::record::blackbox;
use crate::record::event::{Kind, Waiting};
use crate::world::fault::{self, Answer, Call};
use crate::world::kernel::{Stop, is_about_one_connection};
use crate::world::point::{asleep, kernel_chooses_wakeups, point, tracing_enabled, try_or_park};

/// The kernel's number for the ring's one group of buffers.
const GROUP: u16 = 0;
/// The user data of requests whose completion says nothing.
const UNNAMED: u64 = u64::MAX;
/// No receive is armed.
const NONE: u32 = u32::MAX;

/// How much room a ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Requests that one system call can hand over; a power of two. When it is full, a system call more is made.
    pub requests: u32,
    /// Completions that can wait to be looked at; a power of two. What comes beyond waits inside the kernel.
    pub completions: u32,
    /// Buffers for what arrives; a power of two, at most 32,768.
    pub buffers: u16,
    /// Bytes of each of them.
    pub buffer: usize,
}

impl Default for Room {
    /// For thousands of connections: some 3 MiB for each ring.
    fn default() -> Self {
        Room { requests: 2048, completions: 8192, buffers: 1024, buffer: 2048 }
    }
}

/// A pair of rings, and all memory that the kernel works on through them. It belongs to the thread that made it.
pub struct Ring {
    ring: IoUring,
    /// What the kernel is busy with; the index is the request's user data. An entry stays until the request's last
    /// completion, and with it the memory and the socket of the request.
    requests: Vec<Option<Request>>,
    /// Requests that were not handed over, since they are to fail so, with a negated errno ([`fault`]).
    planned: VecDeque<(u32, i32)>,
    /// Entries of `requests` that are free.
    free: Vec<u32>,
    buffers: Rc<Buffers>,
    /// How often the kernel was entered.
    entered: u64,
}

struct Request {
    token: u64,
    work: Work,
}

enum Work {
    Watch,
    Accept,
    /// An accept that a planned fault has ended, and that the kernel has not heard of yet.
    Ended,
    /// The socket stays open for as long as the kernel has a request of it, even one that is not handed over yet: until
    /// then the request names the socket by a number, and a number that is closed is soon somebody else's.
    Receive(Rc<Open>),
    Send(Rc<Open>, Vec<u8>),
}

/// The answer to a request.
#[derive(Debug)]
pub struct Event {
    /// The number that was given with the request.
    pub token: u64,
    /// Whether the same request will have more answers. If not, who wants more must ask again.
    pub more: bool,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The event that was watched has been raised.
    Raised,
    /// Somebody has connected.
    Accepted(io::Result<Socket>),
    /// Bytes have arrived; none is the end of the stream.
    Received(io::Result<Bytes>),
    /// The request is over, and nothing is lost: all buffers were out, or the receive was stopped, or somebody had gone
    /// again before it was accepted. Who wants more asks again.
    Stalled,
    /// All that had arrived was received: the answer to [`Ring::receive_rest`].
    Emptied,
    /// How many of the bytes have gone, and all of them back: from the first of them that was to be sent.
    Sent(io::Result<usize>, Vec<u8>),
}

/// One connection. When it is dropped both directions end, so that what the kernel still does with it comes to an end
/// too; it is closed with the last such request.
#[derive(Debug)]
pub struct Socket {
    open: Rc<Open>,
}

#[derive(Debug)]
struct Open {
    fd: OwnedFd,
    /// The request that receives, or `NONE`.
    receive: Cell<u32>,
}

impl Socket {
    fn new(fd: OwnedFd) -> Socket {
        Socket { open: Rc::new(Open { fd, receive: Cell::new(NONE) }) }
    }

    /// Ends the stream to the other side (`shutdown(2)`, `SHUT_WR`); what it still sends can be received.
    #[track_caller]
    pub fn shutdown_write(&self) {
        shutdown(&self.open.fd, libc::SHUT_WR);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody else has a share, so the close that comes next ends both directions.
        if Rc::strong_count(&self.open) > 1 {
            shutdown(&self.open.fd, libc::SHUT_RDWR);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        note(Kind::Close, blackbox::last_place(), self.fd.as_raw_fd(), 0);
    }
}

#[track_caller]
fn shutdown(fd: &OwnedFd, how: libc::c_int) {
    note(Kind::Shutdown, Location::caller(), fd.as_raw_fd(), 0);
    // SAFETY: the descriptor is open. The only error, ENOTCONN, means that the other side was faster.
    unsafe { libc::shutdown(fd.as_raw_fd(), how) };
}

impl Ring {
    /// A ring for this thread.
    ///
    /// # Errors
    /// `Unsupported`, with a sentence, where the kernel has no io_uring, forbids it, or has one that is too old.
    /// Otherwise those of `io_uring_setup(2)` and `mmap(2)`.
    #[track_caller]
    pub fn new(room: Room) -> io::Result<Ring> {
        fault::check(Call::Ring, Location::caller())?;
        let ring = IoUring::builder()
            // One thread asks, and looks at the answers when it chooses to: the kernel need not interrupt it.
            .setup_single_issuer()
            .setup_defer_taskrun()
            // One request that is refused does not hold up those behind it.
            .setup_submit_all()
            .setup_cqsize(room.completions)
            .build(room.requests)
            .map_err(refused)?;
        let buffers = Rc::new(Buffers::new(room.buffers, room.buffer)?);
        // SAFETY: the mapping is page-aligned, has room for so many entries, and lives until the ring is gone.
        unsafe { ring.submitter().register_buf_ring_with_flags(buffers.base as u64, room.buffers, GROUP, 0) }
            .map_err(refused)?;
        for id in 0..room.buffers {
            buffers.give(id);
        }
        let (requests, planned, free) = (Vec::new(), VecDeque::new(), Vec::new());
        Ok(Ring { ring, requests, planned, free, buffers, entered: 0 })
    }

    /// Asks to be told when `stop` is raised: [`Outcome::Raised`], once.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`, if there was no room for the request.
    pub fn watch(&mut self, stop: &Stop, token: u64) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(stop.as_fd().as_raw_fd()), libc::POLLIN as u32).build();
        self.ask(token, Work::Watch, entry).map(drop)
    }

    /// Accepts whoever connects, one [`Outcome::Accepted`] for each, until one has `more` unset.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`, if there was no room for the request.
    #[track_caller]
    pub fn accept(&mut self, listener: &impl AsFd, token: u64) -> io::Result<()> {
        let planned = fault::next(Call::Accept, Location::caller());
        let fd = Fd(listener.as_fd().as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.ask_or_fail(token, Work::Accept, entry, planned).map(drop)
    }

    /// Receives what arrives, one [`Outcome::Received`] for each buffer full, until one has `more` unset. Does nothing
    /// if the socket is receiving.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`, if there was no room for the request.
    #[track_caller]
    pub fn receive(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        self.receive_with(socket, token, 0)
    }

    /// Receives what has arrived, without waiting for more: [`Outcome::Emptied`] comes behind it. A receive that waits
    /// has to be stopped first; it ends with [`Outcome::Stalled`], and who still wants the rest asks again.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`, if there was no room for the request.
    #[track_caller]
    pub fn receive_rest(&mut self, socket: &Socket, token: u64) -> io::Result<()> {
        self.stop_receiving(socket)?;
        self.receive_with(socket, token, libc::MSG_DONTWAIT)
    }

    #[track_caller]
    fn receive_with(&mut self, socket: &Socket, token: u64, flags: libc::c_int) -> io::Result<()> {
        if socket.open.receive.get() == NONE {
            let planned = fault::next(Call::Read, Location::caller());
            let entry = opcode::RecvMulti::new(Fd(socket.open.fd.as_raw_fd()), GROUP).flags(flags).build();
            let request = self.ask_or_fail(token, Work::Receive(socket.open.clone()), entry, planned)?;
            socket.open.receive.set(request);
        }
        Ok(())
    }

    /// Asks the kernel to receive no more. What it has received comes, and then an event with `more` unset. Something
    /// may have arrived that is not received.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`, if there was no room for the request.
    pub fn stop_receiving(&mut self, socket: &Socket) -> io::Result<()> {
        let request = socket.open.receive.get();
        if request == NONE {
            return Ok(());
        }
        self.push(&opcode::AsyncCancel::new(u64::from(request)).build().user_data(UNNAMED))
    }

    /// Sends `bytes`, from the one at `from`, and gives them back with [`Outcome::Sent`]. One at a time for each
    /// socket: the order of two is the kernel's to choose. A peer that is gone gives an error, never a signal.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`, if there was no room for the request.
    ///
    /// # Panics
    /// If `from` is past the end of `bytes`.
    #[track_caller]
    pub fn send(&mut self, socket: &Socket, token: u64, bytes: Vec<u8>, from: usize) -> io::Result<()> {
        let planned = fault::next(Call::Write, Location::caller());
        let rest = if planned == Some(Answer::Short) { &bytes[from..][..1] } else { &bytes[from..] };
        let (fd, length) = (Fd(socket.open.fd.as_raw_fd()), u32::try_from(rest.len()).unwrap_or(u32::MAX));
        let entry = opcode::Send::new(fd, rest.as_ptr(), length).flags(libc::MSG_NOSIGNAL).build();
        // A Vec's bytes stay where they are when the Vec moves.
        self.ask_or_fail(token, Work::Send(socket.open.clone(), bytes), entry, planned).map(drop)
    }

    /// Hands over what was asked, and sleeps until there is an answer, or for `seconds`, if there is a limit. In a
    /// directed run there is none, as time stands still ([`crate::world::kernel::seconds`]).
    ///
    /// In between, whoever else is to run on this core does (`sched_yield(2)`): a client that has its reply sends its next
    /// request, and then one system call, without a sleep and a wake-up, brings what many have sent.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`, without those that mean "look at the answers first".
    pub fn wait_for(&mut self, seconds: Option<u32>) -> io::Result<()> {
        if !self.planned.is_empty() {
            return self.enter(0, None);
        }
        if kernel_chooses_wakeups() {
            // Who was woken first is chance; who goes on first is the director's.
            asleep(|| self.enter(1, None))?;
            point("woken");
            return Ok(());
        }
        if tracing_enabled() {
            let address = self.ring.as_raw_fd() as u64;
            let look = || match self.enter(1, Some(0)) {
                Ok(()) => (!self.ring.completion().is_empty()).then_some(Ok(())),
                Err(error) => Some(Err(error)),
            };
            if let Some(directed) = try_or_park(Waiting::Event, address, || 0, look) {
                return directed;
            }
        }
        if !self.ring.submission().is_empty() {
            self.enter(0, None)?;
            std::thread::yield_now();
        }
        self.enter(1, seconds)
    }

    /// The next answer that is there. Whoever waits has looked at all of them before.
    #[track_caller]
    pub fn next_event(&mut self) -> Option<Event> {
        let at = Location::caller();
        if let Some((index, result)) = self.planned.pop_front() {
            return Some(self.event(index, result, 0, at));
        }
        loop {
            let completion = self.ring.completion().next()?;
            if completion.user_data() == UNNAMED {
                continue;
            }
            let index = completion.user_data() as u32;
            let request = self.requests[index as usize].as_ref();
            if completion.result() < 0 && request.is_some_and(|request| matches!(request.work, Work::Ended)) {
                self.requests[index as usize] = None;
                self.free.push(index);
                continue;
            }
            return Some(self.event(index, completion.result(), completion.flags(), at));
        }
    }

    /// How often the kernel was entered: system calls.
    pub fn entered(&self) -> u64 {
        self.entered
    }

    fn event(&mut self, index: u32, answer: i32, flags: u32, at: &'static Location<'static>) -> Event {
        let result = match answer {
            negative @ ..0 => Err(io::Error::from_raw_os_error(-negative)),
            count => Ok(count as usize),
        };
        let Request { token, work } =
            self.requests[index as usize].take().expect("the kernel answers what was asked, until `more` is unset");
        let (more, is_ended) = (cqueue::more(flags), matches!(work, Work::Ended));
        let (work, outcome) = match work {
            Work::Watch => (work, Outcome::Raised),
            Work::Accept | Work::Ended => match result {
                Ok(fd) => {
                    note(Kind::Accept, at, fd as RawFd, 0);
                    // SAFETY: the descriptor is new, and nobody else owns it.
                    let socket = Socket::new(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
                    let work = if more { self.end_as_planned(index, token, work, at) } else { work };
                    (work, Outcome::Accepted(Ok(socket)))
                }
                // Who knocked has gone again.
                Err(error) if is_about_one_connection(&error) => (work, Outcome::Stalled),
                Err(error) => (work, Outcome::Accepted(Err(error))),
            },
            Work::Receive(open) => {
                note(Kind::Read, at, open.fd.as_raw_fd(), answer);
                if !more {
                    open.receive.set(NONE);
                }
                // Whatever the result is: a buffer that comes with it is ours to give back.
                let mut bytes = Bytes { id: cqueue::buffer_select(flags), length: 0, buffers: self.buffers.clone() };
                let outcome = match result {
                    Ok(length) => {
                        bytes.length = length;
                        Outcome::Received(Ok(bytes))
                    }
                    Err(error) => match error.raw_os_error() {
                        Some(libc::ENOBUFS | libc::ECANCELED) => Outcome::Stalled,
                        Some(libc::EAGAIN) => Outcome::Emptied,
                        _ => Outcome::Received(Err(error)),
                    },
                };
                (Work::Receive(open), outcome)
            }
            Work::Send(open, bytes) => {
                note(Kind::Write, at, open.fd.as_raw_fd(), answer);
                self.free.push(index);
                return Event { token, more: false, outcome: Outcome::Sent(result, bytes) };
            }
        };
        if more {
            self.requests[index as usize] = Some(Request { token, work });
        } else {
            self.free.push(index);
        }
        // After the error of an accept that was ended as planned, one more connection is of the next accept.
        Event { token, more: more || is_ended, outcome }
    }

    /// Where a fault is planned for this connection, the kernel is told to accept no more, and the error comes next.
    fn end_as_planned(&mut self, index: u32, token: u64, work: Work, at: &'static Location<'static>) -> Work {
        let Some(Answer::Errno(errno)) = fault::next(Call::Accepted, at) else { return work };
        // Without room for the request the accept goes on, and nobody is left out.
        _ = self.push(&opcode::AsyncCancel::new(u64::from(index)).build().user_data(UNNAMED));
        let number = self.number(token, Work::Accept);
        self.planned.push_back((number, -errno));
        Work::Ended
    }

    /// Names a request: its number.
    fn number(&mut self, token: u64, work: Work) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.requests.push(None);
            (self.requests.len() - 1) as u32
        });
        self.requests[index as usize] = Some(Request { token, work });
        index
    }

    /// As [`Ring::ask`]; or the kernel is not asked, and the answer is the planned error.
    fn ask_or_fail(
        &mut self,
        token: u64,
        work: Work,
        entry: squeue::Entry,
        planned: Option<Answer>,
    ) -> io::Result<u32> {
        let Some(Answer::Errno(errno)) = planned else { return self.ask(token, work, entry) };
        if let Work::Receive(open) | Work::Send(open, _) = &work {
            fault::fail(errno, open.fd.as_raw_fd());
        }
        let index = self.number(token, work);
        self.planned.push_back((index, -errno));
        Ok(index)
    }

    /// Puts a request into the ring, and returns its number.
    fn ask(&mut self, token: u64, work: Work, entry: squeue::Entry) -> io::Result<u32> {
        let index = self.number(token, work);
        let pushed = self.push(&entry.user_data(u64::from(index)));
        if pushed.is_err() {
            self.requests[index as usize] = None;
            self.free.push(index);
        }
        pushed.map(|()| index)
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: what a request points to, the bytes of a send, is owned by its entry in `requests` until the
            // kernel's last word on it. Received bytes go to `buffers`, which outlives the ring.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.enter(0, None)?;
        }
    }

    /// Hands over what was asked, and waits for `wanted` completions.
    fn enter(&mut self, wanted: usize, seconds: Option<u32>) -> io::Result<()> {
        let mut arguments = SubmitArgs::new();
        let time;
        if let Some(seconds) = seconds {
            time = Timespec::new().sec(u64::from(seconds));
            arguments = arguments.timespec(&time);
        }
        self.entered += 1;
        match self.ring.submitter().submit_with_args(wanted, &arguments) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is over; a signal; more completions than the kernel has room for: look at those that are there.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(refused(error)),
            },
        }
    }

    /// Ends all that the kernel is busy with.
    fn finish(&mut self) -> io::Result<()> {
        if self.requests.iter().any(Option::is_some) {
            self.push(&opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(UNNAMED))?;
        }
        loop {
            while self.next_event().is_some() {}
            if self.requests.iter().all(Option::is_none) {
                return Ok(());
            }
            self.enter(1, None)?;
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.finish().is_err() {
            // The kernel may still write into this memory, so nobody else may have it.
            std::mem::forget(std::mem::take(&mut self.requests));
            std::mem::forget(self.buffers.clone());
        }
    }
}

/// What has arrived: bytes in a buffer that the kernel gets back when this is dropped.
pub struct Bytes {
    id: Option<u16>,
    length: usize,
    buffers: Rc<Buffers>,
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let Some(id) = self.id else { return &[] };
        // SAFETY: the kernel has written so many bytes into this buffer, and leaves it alone until it is given back.
        unsafe { slice::from_raw_parts(self.buffers.buffer(id), self.length) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.buffers.give(id);
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// The buffers that the kernel receives into, and the ring by which they are given to it
/// (`io_uring_register_buf_ring(3)`). One mapping: first the ring, then the buffers.
struct Buffers {
    base: *mut BufRingEntry,
    mapped: usize,
    /// How many; a power of two.
    count: u16,
    /// Bytes of each.
    size: usize,
    /// The next free place in the ring, not yet reduced to its size.
    tail: Cell<u16>,
}

impl Buffers {
    fn new(count: u16, size: usize) -> io::Result<Buffers> {
        assert!(count.is_power_of_two() && size > 0, "the kernel wants a power of two");
        let mapped = Buffers::ring_bytes(count) + usize::from(count) * Buffers::stride(size);
        // Present from the start: what a server takes once is not to look as if its clients had taken it.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a fresh private mapping touches nothing that exists.
        let base = unsafe { libc::mmap(ptr::null_mut(), mapped, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Buffers { base: base.cast(), mapped, count, size, tail: Cell::new(0) })
    }

    /// Bytes of the ring, as a multiple of the buffers' alignment.
    fn ring_bytes(count: u16) -> usize {
        (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(4096)
    }

    /// Bytes from one buffer to the next. Not a power of two: the first lines of all buffers, which are the ones in
    /// use, would fall into a few sets of the processor's cache.
    fn stride(size: usize) -> usize {
        size.next_multiple_of(64) + 64
    }

    /// Where a buffer begins.
    fn buffer(&self, id: u16) -> *mut u8 {
        assert!(id < self.count, "the kernel names a buffer that it was given");
        // SAFETY: the buffer lies in the mapping.
        unsafe {
            self.base.cast::<u8>().add(Buffers::ring_bytes(self.count) + usize::from(id) * Buffers::stride(self.size))
        }
    }

    /// Gives a buffer to the kernel.
    fn give(&self, id: u16) {
        let (tail, start) = (self.tail.get(), self.buffer(id));
        // SAFETY: the place is in the ring. There are as many places as buffers, so this one is not the kernel's: it
        // reads those before the tail only. The tail is the 16 bits that `BufRingEntry::tail` finds, and shared as an
        // atomic.
        unsafe {
            let place = &mut *self.base.add(usize::from(tail & (self.count - 1)));
            place.set_addr(start as u64);
            place.set_len(self.size as u32);
            place.set_bid(id);
            AtomicU16::from_ptr(BufRingEntry::tail(self.base).cast_mut())
                .store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever could look into it holds a share of this.
        unsafe { libc::munmap(self.base.cast(), self.mapped) };
    }
}

/// What it means that the kernel does not let us have a ring.
fn refused(error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => "it has no io_uring (ENOSYS), or a sandbox hides it",
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here (EPERM): by a container's seccomp filter, or by /proc/sys/kernel/io_uring_disabled"
        }
        Some(libc::EINVAL) => "its io_uring is too old (EINVAL): this stage needs Linux 6.1 or later",
        _ => return error,
    };
    io::Error::new(io::ErrorKind::Unsupported, format!("the kernel refuses: {why}"))
}

fn note(kind: Kind, at: impl Into<blackbox::Place>, fd: RawFd, result: i32) {
    if tracing_enabled() {
        blackbox::note(kind, "", at, [fd as u64, i64::from(result) as u64, 0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// The smallest ring that works.
    const TINY: Room = Room { requests: 2, completions: 4, buffers: 2, buffer: 16 };

    /// A ring, or nothing where the kernel has none to give: then the tests of the stage say so.
    fn ring(room: Room) -> Option<Ring> {
        match Ring::new(room) {
            Ok(ring) => Some(ring),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// A connection: the client's end and the server's.
    fn pair(listener: &TcpListener) -> (TcpStream, Socket) {
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
        let server = listener.accept().expect("the client is there").0;
        (client, Socket::new(server.into()))
    }

    fn next(ring: &mut Ring) -> Event {
        loop {
            if let Some(event) = ring.next_event() {
                return event;
            }
            ring.wait_for(None).expect("it waits");
        }
    }

    fn received(event: Event) -> Bytes {
        match event.outcome {
            Outcome::Received(Ok(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_listener_that_does_not_block_is_accepted_from_as_often_as_somebody_comes() {
        let Some(mut ring) = ring(TINY) else { return };
        let (listener, address) = listener();
        listener.set_nonblocking(true).expect("it can");
        ring.accept(&listener, 7).expect("it asks");
        for _ in 0..20 {
            let mut client = TcpStream::connect(address).expect("it listens");
            let event = next(&mut ring);
            assert!(event.more && event.token == 7);
            let Outcome::Accepted(Ok(socket)) = event.outcome else { panic!("{event:?}") };
            ring.send(&socket, 8, b"hello".to_vec(), 1).expect("it asks");
            let event = next(&mut ring);
            assert!(matches!(&event.outcome, Outcome::Sent(Ok(4), bytes) if bytes == b"hello"), "{event:?}");
            drop(socket);
            let mut said = String::new();
            client.read_to_string(&mut said).expect("it sends and closes");
            assert_eq!(said, "ello");
        }
    }

    /// Both buffers are out, and the third piece of the stream waits in the socket until one is back.
    #[test]
    fn without_a_free_buffer_a_receive_stalls_and_loses_nothing() {
        let Some(mut ring) = ring(TINY) else { return };
        let (listener, _) = listener();
        let (mut client, socket) = pair(&listener);
        let sent: Vec<u8> = (0..100).collect();
        client.write_all(&sent).expect("it takes them");
        ring.receive(&socket, 1).expect("it asks");
        let mut got = Vec::new();
        let mut stalls = 0;
        while got.len() < sent.len() {
            let mut held = Vec::new();
            loop {
                let event = next(&mut ring);
                match event.outcome {
                    Outcome::Received(Ok(bytes)) => held.push(bytes),
                    Outcome::Stalled => break assert!(!event.more),
                    other => panic!("{other:?}"),
                }
                if got.len() + held.iter().map(|bytes| bytes.len()).sum::<usize>() == sent.len() {
                    break;
                }
            }
            stalls += 1;
            got.extend(held.iter().flat_map(|bytes| bytes.to_vec()));
            drop(held);
            ring.receive(&socket, 1).expect("it asks again");
        }
        assert_eq!(got, sent);
        // Two buffers of 16 bytes at a time.
        assert_eq!(stalls, 4);
    }

    #[test]
    fn the_rest_is_what_has_arrived_and_no_more_is_waited_for() {
        let Some(mut ring) = ring(Room { buffers: 8, ..TINY }) else { return };
        let (listener, _) = listener();
        let (mut client, socket) = pair(&listener);
        ring.receive(&socket, 1).expect("it asks");
        ring.wait_for(Some(0)).expect("it hands over");
        for sent in [50, 0] {
            client.write_all(&vec![b'x'; sent]).expect("it takes them");
            let (mut got, mut stalls) = (0, 0);
            loop {
                ring.receive_rest(&socket, 1).expect("it asks");
                let event = next(&mut ring);
                match event.outcome {
                    Outcome::Received(Ok(bytes)) => got += bytes.len(),
                    Outcome::Stalled => stalls += 1,
                    Outcome::Emptied => break,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((got, stalls), (sent, usize::from(sent > 0)), "the one that waited had to be stopped");
        }
    }

    #[test]
    fn a_receive_that_is_stopped_ends_and_can_be_taken_up_again() {
        let Some(mut ring) = ring(TINY) else { return };
        let (listener, _) = listener();
        let (mut client, socket) = pair(&listener);
        ring.receive(&socket, 1).expect("it asks");
        client.write_all(b"one").expect("it takes it");
        assert_eq!(*received(next(&mut ring)), *b"one");
        ring.stop_receiving(&socket).expect("it asks");
        let event = next(&mut ring);
        assert!(matches!(event, Event { token: 1, more: false, outcome: Outcome::Stalled }), "{event:?}");
        client.write_all(b"two").expect("it takes it");
        ring.wait_for(Some(0)).expect("it waits");
        assert!(ring.next_event().is_none(), "nobody receives");
        ring.stop_receiving(&socket).expect("there is nothing to stop");
        ring.receive(&socket, 2).expect("it asks");
        let event = next(&mut ring);
        assert_eq!(event.token, 2);
        assert_eq!(*received(event), *b"two");
        drop(client);
        let event = next(&mut ring);
        assert!(!event.more);
        assert!(received(event).is_empty(), "the end of the stream");
    }

    /// A request names its socket by the number, so the number must not go to somebody else before the request is over.
    #[test]
    fn a_dropped_socket_keeps_its_number_until_the_kernel_is_done_with_it() {
        let Some(mut ring) = ring(TINY) else { return };
        let (listener, _) = listener();
        let (_client, socket) = pair(&listener);
        let (number, open) = (socket.open.fd.as_raw_fd(), Rc::downgrade(&socket.open));
        ring.send(&socket, 1, b"for the first".to_vec(), 0).expect("it asks");
        drop(socket);
        // Not handed over yet.
        let (mut stranger, second) = pair(&listener);
        assert_ne!(second.open.fd.as_raw_fd(), number);
        let event = next(&mut ring);
        assert!(matches!(event.outcome, Outcome::Sent(Err(_), _)), "both directions have ended: {event:?}");
        drop(second);
        let mut said = Vec::new();
        stranger.read_to_end(&mut said).expect("it closes");
        assert_eq!(said, b"", "a stranger's bytes");
        assert_eq!(open.strong_count(), 0, "it is closed with the last request");
    }

    /// A send that has no room waits inside the kernel; dropping the socket ends it, and the bytes come back.
    #[test]
    fn a_send_without_room_ends_with_its_socket() {
        let Some(mut ring) = ring(TINY) else { return };
        let (listener, _) = listener();
        let (_client, socket) = pair(&listener);
        let mut sent = 0;
        let rest = loop {
            ring.send(&socket, 1, vec![b'x'; 1 << 20], 0).expect("it asks");
            ring.wait_for(Some(0)).expect("it waits");
            match ring.next_event() {
                Some(Event { outcome: Outcome::Sent(Ok(count), _), .. }) => sent += count,
                Some(other) => panic!("{other:?}"),
                None => break ring.requests.iter().flatten().count(),
            }
        };
        assert!(sent > 0 && rest == 1, "{sent} bytes, {rest} requests");
        drop(socket);
        let event = next(&mut ring);
        assert!(matches!(&event.outcome, Outcome::Sent(Err(_), bytes) if bytes.len() == 1 << 20), "{event:?}");
    }

    /// More answers than the completion ring has room for wait in the kernel, in order, and none is lost.
    #[test]
    fn more_completions_than_there_is_room_for_come_later() {
        let Some(mut ring) = ring(Room { buffers: 64, ..TINY }) else { return };
        let (listener, _) = listener();
        let mut pairs: Vec<_> = (0..50).map(|_| pair(&listener)).collect();
        for (token, (client, socket)) in (0..).zip(&mut pairs) {
            ring.receive(socket, token).expect("it asks");
            client.write_all(&[token as u8]).expect("it takes it");
        }
        let mut got = vec![0; pairs.len()];
        while got.contains(&0) {
            let event = next(&mut ring);
            let (token, more) = (event.token, event.more);
            let bytes = received(event);
            assert_eq!(*bytes, [token as u8]);
            got[token as usize] += 1;
            if !more {
                ring.receive(&pairs[token as usize].1, token).expect("it asks again");
            }
        }
        assert_eq!(got, vec![1; pairs.len()]);
        assert!(ring.ring.completion().capacity() < pairs.len());
    }

    #[test]
    fn a_ring_that_is_dropped_ends_what_it_was_busy_with() {
        let Some(mut ring) = ring(TINY) else { return };
        let (listener, address) = listener();
        let stop = Stop::new().expect("an eventfd");
        let (mut client, socket) = pair(&listener);
        ring.watch(&stop, 0).expect("it asks");
        ring.accept(&listener, 1).expect("it asks");
        ring.receive(&socket, 2).expect("it asks");
        ring.wait_for(Some(0)).expect("it hands over");
        let (buffers, waiting) = (ring.buffers.clone(), TcpStream::connect(address).expect("it listens"));
        drop(ring);
        assert_eq!(Rc::strong_count(&buffers), 1, "no received bytes are left, and nothing is leaked");
        assert_eq!(Rc::strong_count(&socket.open), 1, "no request is left");
        // A receive that was still armed would take this.
        client.write_all(b"late").expect("it takes it");
        let mut late = [0; 4];
        let (fd, length) = (socket.open.fd.as_raw_fd(), late.len());
        // SAFETY: the kernel writes at most so many bytes into the array.
        let got = unsafe { libc::recv(fd, late.as_mut_ptr().cast(), length, libc::MSG_DONTWAIT) };
        assert_eq!((got, &late), (4, b"late"), "somebody else has received it");
        drop((socket, listener, waiting));
        assert_eq!(client.read(&mut [0; 1]).expect("it closes"), 0);
    }

    /// The kernel hands out twenty or so at once, or all.
    #[test]
    fn what_many_have_sent_comes_with_few_calls() {
        let Some(mut ring) = ring(Room::default()) else { return };
        let (listener, _) = listener();
        let mut pairs: Vec<_> = (0..32).map(|_| pair(&listener)).collect();
        for (token, (_, socket)) in (0..).zip(&pairs) {
            ring.receive(socket, token).expect("it asks");
        }
        let mut calls = Vec::new();
        for _ in 0..3 {
            pairs.iter_mut().for_each(|(client, _)| client.write_all(b"x").expect("it takes it"));
            let before = ring.entered();
            (0..pairs.len()).for_each(|_| assert_eq!(*received(next(&mut ring)), *b"x"));
            calls.push(ring.entered() - before);
        }
        eprintln!("{calls:?}");
        assert!((1..=2).contains(&calls[2]), "{calls:?}");
    }

    /// Each wait hands over the replies to the one before, whose answers are there at once. Who waited for so many others
    /// besides would receive more each time, until no buffer is left.
    #[test]
    fn however_many_have_sent_the_buffers_are_enough() {
        let Some(mut ring) = ring(Room { buffers: 256, ..Room::default() }) else { return };
        let (listener, _) = listener();
        let count = 1_000;
        crate::world::kernel::raise_file_limit(2 * count + 100);
        let mut pairs: Vec<_> = (0..count).map(|_| pair(&listener)).collect();
        for (token, (_, socket)) in (0..).zip(&pairs) {
            ring.receive(socket, token).expect("it asks");
        }
        ring.wait_for(Some(0)).expect("it hands over");
        pairs.iter_mut().for_each(|(client, _)| client.write_all(b"x").expect("it takes it"));
        let mut left = count;
        while left > 0 {
            ring.wait_for(Some(5)).expect("it waits");
            let mut came = Vec::new();
            while let Some(Event { token, outcome, .. }) = ring.next_event() {
                match outcome {
                    Outcome::Received(Ok(bytes)) => came.push((token, bytes.to_vec())),
                    Outcome::Sent(..) => left -= 1,
                    // Before Linux 6.13 a wait received for everybody, however few were waited for.
                    Outcome::Stalled if left == count => return eprintln!("skipped: this kernel has no bound"),
                    other => panic!("{other:?}, with {left} to go"),
                }
            }
            for (token, bytes) in came {
                ring.send(&pairs[token as usize].1, token, bytes, 0).expect("it asks");
            }
        }
    }

    #[test]
    fn a_raised_stop_is_seen_even_when_it_was_raised_before() {
        let Some(mut ring) = ring(TINY) else { return };
        let stop = Stop::new().expect("an eventfd");
        stop.raise();
        ring.watch(&stop, 9).expect("it asks");
        let event = next(&mut ring);
        assert!(matches!(event, Event { token: 9, more: false, outcome: Outcome::Raised }), "{event:?}");
    }

    /// accept(2), "Error handling": such a connection is gone, and the next one is to be accepted at once.
    #[test]
    fn who_went_before_it_was_accepted_is_no_error_and_a_limit_is_one() {
        let Some(mut ring) = ring(TINY) else { return };
        for errno in [libc::ECONNABORTED, libc::EPROTO, libc::EPERM, libc::EMFILE, libc::ENOMEM, libc::EINVAL] {
            let index = ring.number(7, Work::Accept);
            ring.planned.push_back((index, -errno));
            let event = next(&mut ring);
            assert!(event.token == 7 && !event.more, "{event:?}");
            match event.outcome {
                Outcome::Stalled => assert!(is_about_one_connection(&io::Error::from_raw_os_error(errno)), "{errno}"),
                Outcome::Accepted(Err(error)) => {
                    assert_eq!(error.raw_os_error(), Some(errno));
                    assert!(!is_about_one_connection(&error), "{error}");
                }
                other => panic!("{errno}: {other:?}"),
            }
        }
        assert!(ring.requests.iter().all(Option::is_none));
    }

    /// The kernel's last word on it is nobody's, but whom it still accepts is a client.
    #[test]
    fn an_accept_that_was_ended_as_planned_says_no_more_and_loses_nobody() {
        let Some(mut ring) = ring(TINY) else { return };
        let (listener, address) = listener();
        for is_last in [false, true] {
            ring.accept(&listener, 7).expect("it asks");
            ring.wait_for(Some(0)).expect("it hands over");
            let index = ring.requests.iter().position(Option::is_some).expect("it is asked for");
            ring.requests[index].as_mut().expect("it is there").work = Work::Ended;
            if is_last {
                let _client = TcpStream::connect(address).expect("it listens");
                let event = next(&mut ring);
                assert!(event.more && matches!(event.outcome, Outcome::Accepted(Ok(_))), "{event:?}");
            }
            ring.push(&opcode::AsyncCancel::new(index as u64).build().user_data(UNNAMED)).expect("it asks");
            ring.wait_for(Some(0)).expect("it hands over");
            assert!(ring.next_event().is_none(), "{is_last}");
            assert!(ring.requests.iter().all(Option::is_none), "{is_last}");
        }
    }
}

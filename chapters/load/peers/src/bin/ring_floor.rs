//! The least that an io_uring server can do for a request, with what is said to make it quicker as words on the command
//! line. As `floor`, it counts bytes and does not look at them. `ring_floor PORT [WORD ...]`:
//!
//! - `plain`: without `SINGLE_ISSUER` and `DEFER_TASKRUN`, the flags of stage 10's rings
//! - `direct`: connections are entries of the ring's own table, never descriptors (`io_uring_register_files(3)`)
//! - `skip`: a send that succeeds has no completion (`IOSQE_CQE_SKIP_SUCCESS`)
//! - `registered`: the ring itself is entered by an index of the thread's, not by its descriptor
//! - `reno`: another congestion control than the kernel's first choice
//! - `linger`: waits for as many completions as the last time brought, at most 50 microseconds
//! - `yield`: hands over, lets others have the core, and asks then

use std::alloc::{Layout, alloc_zeroed};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::{io, ptr};

use io_uring::types::{BufRingEntry, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use peers::{HELLO, run};

const BUFFERS: u16 = 1024;
const BUFFER: usize = 2048;
/// Entries of the ring's own table of connections.
const TABLE: u32 = 16_384;

/// What a completion is about: the kind in the lowest byte of the user data, the connection above it.
const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;

fn main() {
    run(serve);
}

fn has(word: &str) -> bool {
    std::env::args().skip(2).any(|other| other == word)
}

struct Server {
    ring: IoUring,
    /// What the ring is entered by, if not by its descriptor.
    index: Option<u32>,
    direct: bool,
    skip: bool,
    many: Vec<u8>,
}

impl Server {
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what an entry points to, the replies and the buffers, lives as long as the process.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.enter(0, false);
        }
    }

    fn receive(&mut self, client: u32) {
        let entry = match self.direct {
            true => opcode::RecvMulti::new(Fixed(client), 0).build(),
            false => opcode::RecvMulti::new(Fd(client as i32), 0).build(),
        };
        self.push(&entry.user_data(u64::from(client) << 8 | RECEIVE));
    }

    fn send(&mut self, client: u32, requests: usize) {
        let (bytes, length) = (self.many.as_ptr(), (HELLO.len() * requests.min(512)) as u32);
        let entry = match self.direct {
            true => opcode::Send::new(Fixed(client), bytes, length).flags(libc::MSG_NOSIGNAL).build(),
            false => opcode::Send::new(Fd(client as i32), bytes, length).flags(libc::MSG_NOSIGNAL).build(),
        };
        let flags = if self.skip { squeue::Flags::SKIP_SUCCESS } else { squeue::Flags::empty() };
        self.push(&entry.flags(flags).user_data(u64::from(client) << 8 | SEND));
    }

    fn close(&mut self, client: u32) {
        match self.direct {
            true => {
                let entry = opcode::Close::new(Fixed(client)).build().flags(squeue::Flags::SKIP_SUCCESS);
                self.push(&entry.user_data(SEND));
            }
            // SAFETY: the connection is ours, and nothing is asked of it any more.
            false => _ = unsafe { libc::close(client as i32) },
        }
    }

    /// Hands over what was asked, and waits for `wanted` completions; if `bounded`, not for long.
    fn enter(&mut self, wanted: usize, bounded: bool) {
        let result = match self.index {
            Some(index) => {
                const GET_EVENTS: u32 = 1;
                const REGISTERED: u32 = 1 << 4;
                let given = self.ring.submission().len();
                let none = ptr::null::<libc::sigset_t>();
                // SAFETY: the index stands for this ring in this thread.
                let done = unsafe {
                    libc::syscall(libc::SYS_io_uring_enter, index, given, wanted, GET_EVENTS | REGISTERED, none, 0)
                };
                if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
            }
            None => {
                let time = Timespec::new().nsec(50_000);
                let arguments = if bounded { SubmitArgs::new().timespec(&time) } else { SubmitArgs::new() };
                self.ring.submitter().submit_with_args(wanted, &arguments).map(drop)
            }
        };
        if let Err(error) = result {
            let known = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN];
            assert!(error.raw_os_error().is_some_and(|errno| known.contains(&errno)), "{error}");
        }
    }
}

/// The ring's buffers, and a ring of their own in which they are given to the kernel.
struct Buffers {
    base: *mut BufRingEntry,
    memory: Vec<u8>,
    tail: u16,
}

impl Buffers {
    fn new(ring: &IoUring) -> Buffers {
        let size = usize::from(BUFFERS) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(size, 4096).expect("it is small");
        // SAFETY: the size is not 0; the memory is page-aligned and never freed.
        let base = unsafe { alloc_zeroed(layout) }.cast::<BufRingEntry>();
        // SAFETY: as above, and there is room for so many entries.
        unsafe { ring.submitter().register_buf_ring(base as u64, BUFFERS, 0) }.expect("the kernel is 5.19 or later");
        let mut buffers = Buffers { base, memory: vec![0; usize::from(BUFFERS) * BUFFER], tail: 0 };
        (0..BUFFERS).for_each(|id| buffers.give(id));
        buffers
    }

    fn buffer(&self, id: u16) -> &[u8] {
        &self.memory[usize::from(id) * BUFFER..][..BUFFER]
    }

    fn give(&mut self, id: u16) {
        // SAFETY: the index is one of the ring's; the kernel looks at entries before the tail alone.
        unsafe {
            let entry = &mut *self.base.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(self.buffer(id).as_ptr() as u64);
            entry.set_len(BUFFER as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            (*BufRingEntry::tail(self.base).cast::<AtomicU16>()).store(self.tail, Ordering::Release);
        }
    }
}

fn serve(listener: TcpListener) {
    if has("reno") {
        // SAFETY: the name is that long. Whoever is accepted has it from the listener.
        let (fd, name) = (listener.as_raw_fd(), c"reno");
        let done = unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, name.as_ptr().cast(), 4) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }
    let mut builder = IoUring::builder();
    builder.setup_cqsize(8192).setup_submit_all();
    if !has("plain") {
        builder.setup_single_issuer().setup_defer_taskrun();
    }
    let ring = builder.build(2048).expect("the kernel is 6.1 or later");
    let mut buffers = Buffers::new(&ring);
    let (direct, skip, linger, yields) = (has("direct"), has("skip"), has("linger"), has("yield"));
    if direct {
        ring.submitter().register_files_sparse(TABLE).expect("the table has room");
    }
    let index = has("registered").then(|| registered(&ring));
    let mut server = Server { ring, index, direct, skip, many: HELLO.repeat(512) };
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).allocate_file_index(direct).build();
    server.push(&accept.clone().user_data(ACCEPT));
    let (mut parts, mut length, mut batch) = (Vec::<usize>::new(), 0, 1);
    loop {
        if linger {
            server.enter(batch, true);
            if server.ring.completion().is_empty() {
                server.enter(1, false);
            }
        } else {
            if yields && !server.ring.submission().is_empty() {
                server.enter(0, false);
                std::thread::yield_now();
            }
            server.enter(1, false);
        }
        batch = server.ring.completion().len().max(1);
        while let Some(done) = { server.ring.completion().next() } {
            let (client, result) = ((done.user_data() >> 8) as u32, done.result());
            match done.user_data() & 0xff {
                ACCEPT => {
                    if let Ok(client) = u32::try_from(result) {
                        parts.resize(parts.len().max(client as usize + 1), 0);
                        parts[client as usize] = 0;
                        server.receive(client);
                    }
                    if !cqueue::more(done.flags()) {
                        server.push(&accept.clone().user_data(ACCEPT));
                    }
                }
                RECEIVE => {
                    if let (Some(id), Ok(got @ 1..)) = (cqueue::buffer_select(done.flags()), usize::try_from(result)) {
                        if length == 0 {
                            let bytes = &buffers.buffer(id)[..got];
                            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
                            length = 4 + end.expect("a whole request first");
                        }
                        let all = parts[client as usize] + got;
                        parts[client as usize] = all % length;
                        buffers.give(id);
                        if all >= length {
                            server.send(client, all / length);
                        }
                    }
                    match cqueue::more(done.flags()) {
                        true => {}
                        false if result > 0 || result == -libc::ENOBUFS => server.receive(client),
                        false => server.close(client),
                    }
                }
                _ => {}
            }
        }
    }
}

/// Gives the ring a place in this thread's own table of rings.
fn registered(ring: &IoUring) -> u32 {
    const REGISTER_RING_FDS: libc::c_long = 20;
    #[repr(C)]
    struct Update {
        offset: u32,
        zero: u32,
        data: u64,
    }
    let mut update = Update { offset: u32::MAX, zero: 0, data: ring.as_raw_fd() as u64 };
    // SAFETY: the kernel reads and writes this one struct.
    let done =
        unsafe { libc::syscall(libc::SYS_io_uring_register, ring.as_raw_fd(), REGISTER_RING_FDS, &raw mut update, 1) };
    assert_eq!(done, 1, "{}", io::Error::last_os_error());
    update.offset
}

//! The kernel: epoll, a listener, sockets, and the event that stops a server. Thin covers over the system calls, with
//! owned descriptors; each call is recorded when somebody watches.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::Location;

use crate::record::blackbox;
use crate::record::event::{Kind, Waiting};
pub use crate::terms::{Event, Interest, is_transient};
use crate::world::fault::{self, Answer, Call};
use crate::world::point::{asleep, directed, kernel_chooses_wakeups, point, tracing_enabled, try_or_park};

#[track_caller]
fn note(kind: Kind, numbers: [u64; 3]) {
    if tracing_enabled() {
        blackbox::note(kind, "", Location::caller(), numbers);
    }
}

/// The result of a system call; retried by the caller on `EINTR`.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What `read(2)` or `write(2)` gave, as one number: bytes, or a negated errno.
fn outcome(result: &io::Result<usize>) -> u64 {
    match result {
        Ok(n) => *n as u64,
        Err(error) => -i64::from(error.raw_os_error().unwrap_or(libc::EIO)) as u64,
    }
}

/// Room for the events of one wait.
pub struct Events {
    raw: Vec<libc::epoll_event>,
    count: usize,
}

impl Events {
    /// Room for at most `capacity` events a wait.
    pub fn with_capacity(capacity: usize) -> Events {
        Events { raw: vec![libc::epoll_event { events: 0, u64: 0 }; capacity], count: 0 }
    }

    /// The events of the last wait, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.raw[..self.count].iter().map(|raw| Event { token: raw.u64, mask: raw.events })
    }
}

/// An epoll instance (`epoll(7)`).
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// A new instance, with an empty interest list.
    ///
    /// # Errors
    /// Those of `epoll_create1(2)`.
    #[track_caller]
    pub fn new() -> io::Result<Epoll> {
        fault::check(Call::Epoll, Location::caller())?;
        // SAFETY: the result is checked, and nobody else owns the new descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Epoll { fd })
    }

    fn control(&self, operation: i32, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.bits(), u64: token };
        // SAFETY: both descriptors are open, and the kernel copies the event before it returns.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd.as_raw_fd(), &mut event) })?;
        Ok(())
    }

    /// Puts `source` on the interest list; its events carry `token`.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`: `EEXIST` if it is there already.
    #[track_caller]
    pub fn add(&self, source: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        note(Kind::Add, [source.as_fd().as_raw_fd() as u64, token, u64::from(interest.bits())]);
        fault::check(Call::Add, Location::caller())?;
        self.control(libc::EPOLL_CTL_ADD, source.as_fd(), token, interest)
    }

    /// Changes what is asked of `source`, and arms a one-shot source again. If it is ready, its event is queued before
    /// this returns.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`: `ENOENT` if it is not on the list.
    #[track_caller]
    pub fn modify(&self, source: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        note(Kind::Modify, [source.as_fd().as_raw_fd() as u64, token, u64::from(interest.bits())]);
        fault::check(Call::Modify, Location::caller())?;
        self.control(libc::EPOLL_CTL_MOD, source.as_fd(), token, interest)
    }

    /// Takes `source` off the interest list.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`: `ENOENT` if it is not on the list.
    #[track_caller]
    pub fn delete(&self, source: &impl AsFd) -> io::Result<()> {
        fault::check(Call::Delete, Location::caller())?;
        self.control(libc::EPOLL_CTL_DEL, source.as_fd(), 0, Interest::ERROR_ONLY)
    }

    /// Sleeps until there is an event, and puts what there is into `events`.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`, without `EINTR`.
    #[track_caller]
    pub fn wait(&self, events: &mut Events) -> io::Result<()> {
        self.wait_for(events, None)
    }

    /// As [`Epoll::wait`], but for at most `seconds`, if there is a limit: then there may be no event. In a directed
    /// run there is none, as time stands still ([`seconds`]). Where a directed run is about which thread the kernel
    /// wakes, there is a point `woken` at the end.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`, without `EINTR`.
    #[track_caller]
    pub fn wait_for(&self, events: &mut Events, seconds: Option<u32>) -> io::Result<()> {
        let at = Location::caller();
        let timeout_ms = seconds.map_or(-1, |seconds| seconds.saturating_mul(1000).min(i32::MAX as u32) as i32);
        let count = if kernel_chooses_wakeups() {
            // Time stands still here, too. Who was woken first is chance; who goes on first is the director's.
            let count = asleep(|| self.wait_at_most(events, -1, at))?;
            point("woken");
            count
        } else if tracing_enabled() {
            let directed = try_or_park(
                Waiting::Event,
                self.fd.as_raw_fd() as u64,
                || 0,
                || self.wait_at_most(events, 0, at).map(|count| (count > 0).then_some(count)).transpose(),
            );
            directed.unwrap_or_else(|| self.wait_at_most(events, timeout_ms, at))?
        } else {
            self.wait_at_most(events, timeout_ms, at)?
        };
        events.count = count;
        if tracing_enabled() {
            note(Kind::Wait, [count as u64, 0, 0]);
            for event in events.iter() {
                note(Kind::Ready, [event.token, u64::from(event.mask), 0]);
            }
        }
        Ok(())
    }

    /// As [`Epoll::wait`], but without sleeping: there may be no event.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`, without `EINTR`.
    #[track_caller]
    pub fn poll(&self, events: &mut Events) -> io::Result<()> {
        events.count = self.wait_at_most(events, 0, Location::caller())?;
        Ok(())
    }

    fn wait_at_most(&self, events: &mut Events, timeout_ms: i32, at: &'static Location<'static>) -> io::Result<usize> {
        retried(Call::Wait, at, &self.fd, events.raw.len(), |room| {
            // SAFETY: the kernel writes at most `room` events, for which there is room.
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.raw.as_mut_ptr(), room as i32, timeout_ms) as isize }
        })
    }
}

/// Tells the scheduler that this thread, and those that it starts, work through batches (`sched(7)`, `SCHED_BATCH`):
/// who is woken waits until who runs has had its turn. Meanwhile more arrives, and one wake-up does for all of it.
/// Without effect where it is forbidden.
pub fn set_sched_batch() {
    // SAFETY: all zeroes is a sched_param, which musl has with more fields. The kernel reads it; 0 is the calling
    // thread.
    unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &parameters);
    }
}

/// Keeps this thread on the cores `n`, `n + count` and so on (`sched_setaffinity(2)`), where the packets of listener
/// `n` arrive after [`Listener::steer_by_cpu`]. Cores that the process may not use are left out (`taskset(1)`, a
/// container's limit); where none is left, and in a directed run, it is without effect.
pub fn pin_thread(n: usize, count: usize) {
    if !directed() {
        // A thread on the wrong core is slower, and no worse.
        let _ = pin_to_cores(|core| core % count == n);
    }
}

/// Keeps this thread to those of its cores that `keeps` names; it is asked for each, from the lowest on. If it names
/// none, nothing changes.
///
/// # Errors
/// Those of `sched_getaffinity(2)`: `EINVAL` on a machine with more than 1,024 cores.
pub(crate) fn pin_to_cores(mut keeps: impl FnMut(usize) -> bool) -> io::Result<()> {
    // SAFETY: a zeroed set is valid and empty; both calls get its true size.
    unsafe {
        let (mut now, mut kept): (libc::cpu_set_t, libc::cpu_set_t) = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        check(libc::sched_getaffinity(0, size, &mut now))?;
        for core in (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &now)) {
            if keeps(core) {
                libc::CPU_SET(core, &mut kept);
            }
        }
        if libc::CPU_COUNT(&kept) > 0 {
            check(libc::sched_setaffinity(0, size, &kept))?;
        }
    }
    Ok(())
}

/// The time, in whole seconds since some fixed moment: a coarse clock, read without a system call
/// (`CLOCK_MONOTONIC_COARSE` of `clock_gettime(2)`). In a directed run it stands still, so that nobody is late who was
/// made to wait.
pub fn seconds() -> u32 {
    if directed() {
        return 0;
    }
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a timespec. The clock is there since Linux 2.6.32; without it, the time would be 0.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
    now.tv_sec as u32
}

/// How many connections may wait to be accepted. The kernel's own limit (`net.core.somaxconn`) may be lower.
const BACKLOG: libc::c_int = 4096;

/// A listening TCP socket that does not block.
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// Listens on `address`; port 0 lets the kernel choose one.
    ///
    /// # Errors
    /// Those of `bind(2)` and `listen(2)`: `EADDRINUSE` if somebody has the port.
    #[track_caller]
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        fault::check(Call::Listen, Location::caller())?;
        let inner = TcpListener::bind(address)?;
        inner.set_nonblocking(true)?;
        // std asks for a queue of 128, and listen(2) may be called again to ask for another.
        // SAFETY: the descriptor is open.
        check(unsafe { libc::listen(inner.as_raw_fd(), BACKLOG) })?;
        set_for_replies(&inner);
        Ok(Listener { inner })
    }

    /// Listens on `address`, and lets others of this user do so too (`SO_REUSEPORT` of `socket(7)`): the kernel gives
    /// each connection to one of them.
    ///
    /// In a directed run the first one gets every connection, since the kernel's own choice goes by the client's port.
    ///
    /// # Errors
    /// Those of `socket(2)`, `setsockopt(2)`, `bind(2)` and `listen(2)`.
    #[track_caller]
    pub fn bind_shared(address: SocketAddr) -> io::Result<Listener> {
        fault::check(Call::Listen, Location::caller())?;
        let fd = stream_socket(address)?;
        set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, &1_i32)?;
        bind(&fd, address)?;
        // SAFETY: the descriptor is open.
        check(unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) })?;
        if directed() {
            attach_cbpf(&fd, &[(libc::BPF_RET | libc::BPF_K, 0)])?;
        }
        set_for_replies(&fd);
        Ok(Listener { inner: TcpListener::from(fd) })
    }

    /// One more listener on the same address, for a thread of its own. This one must come from
    /// [`Listener::bind_shared`].
    ///
    /// # Errors
    /// Those of [`Listener::bind_shared`]: `EADDRINUSE` if the address is not shared.
    #[track_caller]
    pub fn sibling(&self) -> io::Result<Listener> {
        Listener::bind_shared(self.local_addr()?)
    }

    /// Of the `count` listeners on this address, each connection goes to the one that was made as number `n` if its
    /// first packet is dealt with on a core `n`, `n + count` and so on (`SO_ATTACH_REUSEPORT_CBPF` of `socket(7)`);
    /// before, a hash of both addresses decides. The reactor that is woken for it is then, as a rule, on the core that
    /// has its packets in the cache. On the loopback interface that is the core where the client runs.
    ///
    /// In a directed run the first one gets every connection, as before.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`: `EINVAL` if the address is not shared.
    pub fn steer_by_cpu(&self, count: usize) -> io::Result<()> {
        let load_core = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32);
        let modulo = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count as u32);
        match directed() {
            true => Ok(()),
            false => attach_cbpf(&self.inner, &[load_core, modulo, (libc::BPF_RET | BPF_A, 0)]),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// The next connection; `None` when nobody waits, and also when there is no descriptor or no memory for who does.
    /// It waits on then, and the listener stays readable: so that a reactor that asks again at once does not spin, this
    /// takes a millisecond.
    ///
    /// # Errors
    /// Those of [`Listener::try_accept`] that are left.
    #[track_caller]
    pub fn accept(&self) -> io::Result<Option<Socket>> {
        match self.try_accept() {
            Err(error) if is_out_of_resources(&error) => {
                std::thread::sleep(EXHAUSTED_PAUSE);
                Ok(None)
            }
            accepted => accepted,
        }
    }

    /// As [`Listener::accept`], for a reactor that stops waiting for the listener while there is no descriptor.
    ///
    /// # Errors
    /// Those of `accept4(2)`, without `EAGAIN`, `EINTR` and those that are about one connection: `EMFILE` when the file
    /// limit is reached.
    #[track_caller]
    pub fn try_accept(&self) -> io::Result<Option<Socket>> {
        let fd = self.accept_with(libc::SOCK_NONBLOCK)?;
        Ok(fd.map(|fd| Socket { fd }))
    }

    /// Sleeps until somebody connects, and gives a connection whose calls block; `None` when `stop` was raised.
    ///
    /// `accept(2)` alone would hear of the client only, so this sleeps in `poll(2)`, which watches both. While there is
    /// no descriptor or no memory for who waits, it asks again every a millisecond.
    ///
    /// # Errors
    /// Those of `poll(2)` and [`Listener::accept`].
    #[track_caller]
    pub fn accept_or_stop(&self, stop: &Stop) -> io::Result<Option<Stream>> {
        let at = Location::caller();
        loop {
            let waits_for = self.inner.as_raw_fd() as u64;
            let come = try_or_park(Waiting::Connection, waits_for, || 0, || self.readiness(stop, 0, at).transpose());
            match come.unwrap_or_else(|| self.readiness(stop, -1, at).map(|come| come.unwrap_or(Readiness::Neither)))? {
                Readiness::Stop => return Ok(None),
                // Who knocked may have gone again.
                Readiness::Neither => {}
                Readiness::Client => match self.accept_with(0) {
                    Ok(Some(fd)) => return Ok(Some(Stream { fd })),
                    Ok(None) => {}
                    Err(error) if is_out_of_resources(&error) => std::thread::sleep(EXHAUSTED_PAUSE),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    fn readiness(&self, stop: &Stop, timeout_ms: i32, at: &'static Location<'static>) -> io::Result<Option<Readiness>> {
        let watch = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut both = [watch(stop.fd.as_raw_fd()), watch(self.inner.as_raw_fd())];
        // SAFETY: the kernel reads and writes these two structs.
        let mut poll = || check(unsafe { libc::poll(both.as_mut_ptr(), 2, timeout_ms) });
        match fault::check(Call::Poll, at).and_then(|()| poll()) {
            Ok(0) => Ok(None),
            Ok(_) if both[0].revents != 0 => Ok(Some(Readiness::Stop)),
            Ok(_) => Ok(Some(Readiness::Client)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Some(Readiness::Neither)),
            Err(error) => Err(error),
        }
    }

    #[track_caller]
    fn accept_with(&self, flags: libc::c_int) -> io::Result<Option<OwnedFd>> {
        let at = Location::caller();
        loop {
            let (nowhere, flags) = (std::ptr::null_mut(), flags | libc::SOCK_CLOEXEC);
            let accepted = retried(Call::Accept, at, &self.inner, 0, |_| {
                // SAFETY: no address is asked for.
                unsafe { libc::accept4(self.inner.as_raw_fd(), nowhere, std::ptr::null_mut(), flags) as isize }
            });
            match accepted {
                Ok(fd) => {
                    note(Kind::Accept, [fd as u64, 0, 0]);
                    // SAFETY: the descriptor is new, and nobody else owns it.
                    return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }));
                }
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                    if kernel_chooses_wakeups() {
                        note(Kind::AcceptEagain, [self.inner.as_raw_fd() as u64, 0, 0]);
                    }
                    return Ok(None);
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// How long a listener is left alone for which there is no descriptor: a server at its limit asks a thousand times a
/// second.
const EXHAUSTED_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

/// Whether a call failed because the process, or the machine, has no descriptor or no memory left for a connection
/// (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` of `accept(2)`). The connection stays in the queue, and the listener
/// readable: who asks again at once is told so at once.
fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Whether an error of `accept(2)` is about the connection that was next, which is gone with it, and not about the
/// listener: a client that has left, a firewall that forbids it (`EPERM`), and what the network said of it meanwhile
/// ("Error handling").
pub(crate) fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}

/// How often the calling thread went to sleep in its life: `ru_nvcsw` of `getrusage(2)`.
pub(crate) fn voluntary_context_switches() -> u64 {
    // SAFETY: all zeroes is an rusage, and the kernel writes just that.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        usage.ru_nvcsw as u64
    }
}

/// Who woke a sleeping listener.
enum Readiness {
    Client,
    Stop,
    Neither,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// What connections inherit from their listener (`tcp(7)`): small replies go at once (`TCP_NODELAY`), and the
/// congestion control is the plainest, which keeps no timer to pace each connection by as BBR does. Both are only
/// faster: where the kernel refuses one, it is left out.
fn set_for_replies(listener: &impl AsFd) {
    let _ = set_option(listener, libc::IPPROTO_TCP, libc::TCP_NODELAY, &1_i32);
    let _ = set_option(listener, libc::IPPROTO_TCP, libc::TCP_CONGESTION, b"reno");
}

/// In a program for the kernel's packet filter (BPF): what is returned is the accumulator (`linux/filter.h`).
const BPF_A: u32 = 0x10;

/// As `sock_fprog`, with a name for what lies between its fields: the kernel reads that, too.
#[repr(C)]
struct Program {
    length: u16,
    pad: [u8; PAD],
    steps: *mut libc::sock_filter,
}

const PAD: usize = size_of::<libc::sock_fprog>() - size_of::<u16>() - size_of::<*mut libc::sock_filter>();

/// A program that says for each connection to a shared address which listener gets it, by its number: pairs of what to
/// do and the number to do it with.
fn attach_cbpf(one_of_them: &impl AsFd, program: &[(u32, u32)]) -> io::Result<()> {
    let step = |&(code, k): &(u32, u32)| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut steps: Vec<_> = program.iter().map(step).collect();
    let program = Program { length: steps.len() as u16, pad: [0; PAD], steps: steps.as_mut_ptr() };
    set_option(one_of_them, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

fn set_option<T>(fd: &impl AsFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `size` bytes of `value`.
    check(unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size) })?;
    Ok(())
}

/// Looks whether the address can be had by one who does not share it: who shares it gets no error where others do so
/// too.
///
/// # Errors
/// Those of `socket(2)` and `bind(2)`: `EADDRINUSE` if somebody listens there.
pub(crate) fn check_is_free(address: SocketAddr) -> io::Result<()> {
    bind(&stream_socket(address)?, address)
}

/// For a listener whose address may be that of one whose last connections are not forgotten yet (`SO_REUSEADDR`).
fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let domain = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the result is checked, and nobody else owns the new descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(domain, kind, 0))?) };
    set_option(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1_i32)?;
    Ok(fd)
}

fn bind(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let result = match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the kernel reads the struct and no more.
            unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t) }
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: the kernel reads the struct and no more.
            unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t) }
        }
    };
    check(result)?;
    Ok(())
}

/// One connection, which does not block. It is closed when it is dropped.
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// The number of its descriptor. When the socket is closed, the next one to be opened may get the same.
    pub fn number(&self) -> usize {
        self.fd.as_raw_fd() as usize
    }

    /// Reads what is there; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// Those of `recv(2)`, without `EINTR`: `WouldBlock` when there is nothing now.
    #[track_caller]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = self.fd.as_raw_fd();
        // As read(2), but straight to the socket, past what the kernel does for files of all kinds.
        // SAFETY: the kernel writes at most the buffer's length into it.
        let result = retried(Call::Read, Location::caller(), &self.fd, buffer.len(), |length| unsafe {
            libc::recv(fd, buffer.as_mut_ptr().cast(), length, 0)
        });
        note(Kind::Read, [fd as u64, outcome(&result), 0]);
        result
    }

    /// Writes as much as there is room for. A peer that is gone gives an error, never a signal.
    ///
    /// # Errors
    /// Those of `send(2)`, without `EINTR`: `WouldBlock` when there is no room now.
    #[track_caller]
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: the kernel reads the slice and no more.
        let result = retried(Call::Write, Location::caller(), &self.fd, bytes.len(), |length| unsafe {
            libc::send(fd, bytes.as_ptr().cast(), length, libc::MSG_NOSIGNAL)
        });
        note(Kind::Write, [fd as u64, outcome(&result), 0]);
        result
    }

    /// Writes all of `bytes` and says so; or else ends the stream after what there was room for, so that nothing that
    /// is written later stands behind the gap.
    #[track_caller]
    pub fn write_or_end(&self, bytes: &[u8]) -> bool {
        let written = self.write(bytes);
        // What is broken has ended by itself.
        let is_broken = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET));
        let is_whole = written.as_ref().ok() == Some(&bytes.len());
        if !is_whole && !written.as_ref().is_err_and(is_broken) {
            self.shutdown_write();
        }
        is_whole
    }

    /// Ends the stream to the other side (`shutdown(2)`, `SHUT_WR`); what it still sends can be read.
    #[track_caller]
    pub fn shutdown_write(&self) {
        shutdown(&self.fd, libc::SHUT_WR);
    }
}

#[track_caller]
fn shutdown(fd: &OwnedFd, how: libc::c_int) {
    note(Kind::Shutdown, [fd.as_raw_fd() as u64, 0, 0]);
    // SAFETY: the descriptor is open. The only error, ENOTCONN, means that the other side was faster.
    unsafe { libc::shutdown(fd.as_raw_fd(), how) };
}

/// One connection whose calls block. It is closed when it is dropped.
pub struct Stream {
    fd: OwnedFd,
}

impl Stream {
    /// Sleeps until something is there, and reads it; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// Those of `recv(2)`, without `EINTR`.
    #[track_caller]
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = self.fd.as_raw_fd();
        let at = Location::caller();
        let mut receive = |flags| {
            retried(Call::Read, at, &self.fd, buffer.len(), |length| {
                // SAFETY: the kernel writes at most the buffer's length into it.
                unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), length, flags) }
            })
        };
        let result = if tracing_enabled() {
            let directed = try_or_park(Waiting::Bytes, fd as u64, || 0, || unless_blocked(receive(libc::MSG_DONTWAIT)));
            directed.unwrap_or_else(|| receive(0))
        } else {
            receive(0)
        };
        note(Kind::Read, [fd as u64, outcome(&result), 0]);
        result
    }

    /// Sleeps until all of `bytes` is written. A peer that is gone gives an error, never a signal.
    ///
    /// # Errors
    /// Those of `send(2)`, without `EINTR`.
    #[track_caller]
    pub fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        let (fd, at) = (self.fd.as_raw_fd(), Location::caller());
        while !bytes.is_empty() {
            let send = |flags| {
                let flags = flags | libc::MSG_NOSIGNAL;
                retried(Call::Write, at, &self.fd, bytes.len(), |length| {
                    // SAFETY: the kernel reads the slice and no more.
                    unsafe { libc::send(fd, bytes.as_ptr().cast(), length, flags) }
                })
            };
            let result = if tracing_enabled() {
                let directed = try_or_park(Waiting::Room, fd as u64, || 0, || unless_blocked(send(libc::MSG_DONTWAIT)));
                directed.unwrap_or_else(|| send(0))
            } else {
                send(0)
            };
            note(Kind::Write, [fd as u64, outcome(&result), 0]);
            bytes = &bytes[result?..];
        }
        Ok(())
    }

    /// Ends the stream to the other side (`shutdown(2)`, `SHUT_WR`); what it still sends can be read.
    #[track_caller]
    pub fn shutdown_write(&self) {
        shutdown(&self.fd, libc::SHUT_WR);
    }

    /// Ends the connection (`shutdown(2)`, `SHUT_RDWR`). A thread that sleeps in [`Stream::read`] wakes and reads the
    /// end of the stream; closing the descriptor would not wake it.
    #[track_caller]
    pub fn shutdown(&self) {
        shutdown(&self.fd, libc::SHUT_RDWR);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        note_close(&self.fd);
    }
}

/// `None` for a call that would have blocked.
fn unless_blocked(result: io::Result<usize>) -> Option<io::Result<usize>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        result => Some(result),
    }
}

/// A system call on so many bytes, or whatever it is that it takes; again for as long as a signal comes in between.
fn retried(
    call: Call,
    at: &'static Location<'static>,
    fd: &impl AsRawFd,
    length: usize,
    mut system_call: impl FnMut(usize) -> isize,
) -> io::Result<usize> {
    loop {
        let error = match fault::next(call, at) {
            Some(Answer::Errno(errno)) => fault::fail(errno, fd.as_raw_fd()),
            answer => {
                let result = system_call(if answer == Some(Answer::Short) { length.min(1) } else { length });
                if result >= 0 {
                    return Ok(result as usize);
                }
                io::Error::last_os_error()
            }
        };
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        note_close(&self.fd);
    }
}

/// The close itself is the descriptor's own drop, which comes next.
fn note_close(fd: &OwnedFd) {
    if tracing_enabled() {
        blackbox::note(Kind::Close, "", blackbox::last_place(), [fd.as_raw_fd() as u64, 0, 0]);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// Bytes that have arrived and that nobody has read (`FIONREAD`, `tcp(7)`).
    ///
    /// # Errors
    /// Those of `ioctl(2)`.
    pub fn unread(&self) -> io::Result<usize> {
        let mut bytes = 0;
        // SAFETY: FIONREAD writes an int.
        check(unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::FIONREAD, &mut bytes) })?;
        Ok(bytes as usize)
    }
}

/// Time as an event: readable once it is over, and from then on (`timerfd_create(2)`).
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// Begins now, and is over in so many milliseconds of `CLOCK_MONOTONIC`; 0 is over at once.
    ///
    /// # Errors
    /// Those of `timerfd_create(2)` and `timerfd_settime(2)`.
    #[track_caller]
    pub fn after(milliseconds: u64) -> io::Result<Timer> {
        // An all-zero time would switch the timer off.
        let nanos = (milliseconds % 1000 * 1_000_000).max(1);
        let seconds = (milliseconds / 1000).try_into().unwrap_or(i32::MAX.into());
        let first = libc::timespec { tv_sec: seconds, tv_nsec: nanos as libc::c_long };
        Timer::start(first, libc::timespec { tv_sec: 0, tv_nsec: 0 })
    }

    /// Over every second; who hears of it takes it back ([`Timer::take`]), and the next second counts. In a directed
    /// run it does not begin, as time stands still ([`seconds`]).
    ///
    /// Who has no other use for time than to look at the clock now and then should not give a limit to each wait
    /// instead: the kernel would set a timer and cancel it with each.
    ///
    /// # Errors
    /// Those of `timerfd_create(2)` and `timerfd_settime(2)`.
    #[track_caller]
    pub fn every_second() -> io::Result<Timer> {
        let period = libc::timespec { tv_sec: if directed() { 0 } else { 1 }, tv_nsec: 0 };
        Timer::start(period, period)
    }

    /// Takes the event back until it is time again (`read(2)`).
    pub fn take(&self) {
        let mut times = 0_u64;
        // SAFETY: the kernel writes at most eight bytes into the number. The only error, EAGAIN, means that it was not
        // time.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut times).cast(), size_of_val(&times)) };
    }

    #[track_caller]
    fn start(first: libc::timespec, then: libc::timespec) -> io::Result<Timer> {
        fault::check(Call::Timer, Location::caller())?;
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: the result is checked, and nobody else owns the new descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::timerfd_create(libc::CLOCK_MONOTONIC, flags))?) };
        let times = libc::itimerspec { it_interval: then, it_value: first };
        // SAFETY: the kernel reads the struct, and writes nothing where no old value is asked for.
        check(unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &times, std::ptr::null_mut()) })?;
        Ok(Timer { fd })
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The event that tells a server to stop (`eventfd(2)`). It stays readable once raised.
pub struct Stop {
    fd: OwnedFd,
}

impl Stop {
    /// Not raised yet.
    ///
    /// # Errors
    /// Those of `eventfd(2)`.
    #[track_caller]
    pub fn new() -> io::Result<Stop> {
        fault::check(Call::Event, Location::caller())?;
        // SAFETY: the result is checked, and nobody else owns the new descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?) };
        Ok(Stop { fd })
    }

    /// Tells the server to stop. May be called from a signal handler: it is one `write(2)`.
    pub fn raise(&self) {
        raise_fd(self.fd.as_raw_fd());
    }

    /// The same event, for another thread.
    ///
    /// # Errors
    /// Those of `fcntl(2)`: `EMFILE` when the file limit is reached.
    #[track_caller]
    pub fn try_clone(&self) -> io::Result<Stop> {
        fault::check(Call::Event, Location::caller())?;
        Ok(Stop { fd: self.fd.try_clone()? })
    }
}

/// Raises the limit on this process's open files, which its children inherit, to `wanted`, or as near as the hard limit
/// lets it. Gives what holds afterwards; all of it 0 if the kernel does not say (`getrlimit(2)`).
pub(crate) fn raise_file_limit(wanted: libc::rlim_t) -> libc::rlimit {
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes, and setrlimit(2) reads, the struct.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut files);
        if files.rlim_cur < wanted.min(files.rlim_max) {
            let raised = libc::rlimit { rlim_cur: wanted.min(files.rlim_max), ..files };
            libc::setrlimit(libc::RLIMIT_NOFILE, &raised);
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut files);
        }
    }
    files
}

/// Raises the [`Stop`] behind a descriptor: for the signal handler, which can keep only a number.
pub(crate) fn raise_fd(fd: i32) {
    let one = 1_u64;
    // SAFETY: eight bytes of a local are written to an eventfd.
    unsafe { libc::write(fd, (&raw const one).cast(), 8) };
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Any port of the loopback address.
pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv6Addr, Shutdown, TcpStream};
    use std::time::Duration;

    use super::*;

    /// A connection: the client's end and the server's.
    fn pair() -> (TcpStream, Socket) {
        let listener = Listener::bind(any_port()).expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("it has one")).expect("it listens");
        let server = until(|| listener.accept().expect("nothing is wrong with it"));
        (client, server)
    }

    /// Asks until there is an answer: a packet takes its time.
    fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if let Some(answer) = ask() {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no answer in twenty seconds");
    }

    fn is_readable(source: &impl AsFd) -> bool {
        let mut poll = libc::pollfd { fd: source.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the kernel reads and writes this struct.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    #[test]
    fn the_errors_of_accept_are_the_processs_or_one_connections_or_the_listeners() {
        let all = |is: fn(&io::Error) -> bool| -> Vec<i32> {
            (1..=133).filter(|errno| is(&io::Error::from_raw_os_error(*errno))).collect()
        };
        let sorted = |mut errors: Vec<i32>| {
            errors.sort_unstable();
            errors
        };
        // accept(2), "ERRORS" and "Error handling".
        let ours = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        let one = [
            libc::ECONNABORTED,
            libc::EPERM,
            libc::ENETDOWN,
            libc::EPROTO,
            libc::ENOPROTOOPT,
            libc::EHOSTDOWN,
            libc::ENONET,
            libc::EHOSTUNREACH,
            libc::EOPNOTSUPP,
            libc::ENETUNREACH,
        ];
        assert_eq!(all(is_out_of_resources), sorted(ours.to_vec()));
        assert_eq!(all(is_about_one_connection), sorted(one.to_vec()));
    }

    /// Who slept and asked again, as at the limit of descriptors, would do so for ever.
    #[test]
    fn a_listener_that_does_not_listen_is_an_error_and_not_waited_for() {
        let socket = stream_socket(any_port()).expect("a socket");
        let broken = Listener { inner: socket.into() };
        let stop = Stop::new().expect("an eventfd");
        let errors = [broken.accept().err(), broken.try_accept().err(), broken.accept_or_stop(&stop).err()];
        assert_eq!(errors.map(|error| error.expect("it does not listen").raw_os_error()), [Some(libc::EINVAL); 3]);
        stop.raise();
        assert!(broken.accept_or_stop(&stop).expect("it was told to stop").is_none());
    }

    /// Who asked again after a time, however short the sleep, would wake an idle machine.
    #[test]
    fn who_waits_for_a_client_sleeps_until_one_comes() {
        let (listener, stop) = (Listener::bind(any_port()).expect("a port"), Stop::new().expect("an eventfd"));
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let (listener, stop) = (&listener, &stop);
            scope.spawn(move || {
                // SAFETY: the call has no preconditions.
                tell.send(unsafe { libc::gettid() }).expect("the test waits");
                let client = listener.accept_or_stop(stop).expect("nothing is wrong with it");
                assert!(client.is_some());
                tell.send(0).expect("the test waits");
                assert!(listener.accept_or_stop(stop).expect("nothing is wrong with it").is_none());
            });
            let status = format!("/proc/self/task/{}/status", told.recv().expect("it begins"));
            let switches = || {
                let status = std::fs::read_to_string(&status).expect("it is there");
                let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
                (status.contains("\nState:\tS"), line.expect("it is counted").to_string())
            };
            let rests = (0..400).any(|_| {
                let before = switches();
                std::thread::sleep(Duration::from_millis(50));
                before.0 && switches() == before
            });
            let _client = TcpStream::connect(listener.local_addr().expect("it has one")).expect("it listens");
            told.recv().expect("it accepts");
            stop.raise();
            assert!(rests, "it looks again and again");
        });
    }

    #[test]
    fn a_listener_in_the_other_family_has_its_address_and_its_port_and_is_not_free_then() {
        let any = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let listener = match Listener::bind_shared(any) {
            Err(error) => return eprintln!("skipped: no IPv6 here: {error}"),
            Ok(listener) => listener,
        };
        let address = listener.local_addr().expect("it has one");
        assert_eq!(address.ip(), any.ip());
        let mut client = TcpStream::connect(address).expect("it listens");
        let server = until(|| listener.accept().expect("nothing is wrong with it"));
        client.write_all(b"six").expect("there is room");
        let mut got = [0; 9];
        assert_eq!(until(|| server.read(&mut got).ok()), 3);
        assert_eq!(check_is_free(address).expect_err("somebody listens").raw_os_error(), Some(libc::EADDRINUSE));
        let other = listener.sibling().expect("it is shared");
        assert_eq!(other.local_addr().expect("it has one"), address);
        drop((listener, other, server, client));
        check_is_free(address).expect("nobody listens any more");
    }

    #[test]
    fn what_nobody_has_read_is_counted() {
        let (mut client, server) = pair();
        assert_eq!(server.unread().expect("it says"), 0);
        client.write_all(b"seven b").expect("there is room");
        until(|| (server.unread().expect("it says") == 7).then_some(()));
        let mut two = [0; 2];
        assert_eq!(server.read(&mut two).expect("it is there"), 2);
        assert_eq!(server.unread().expect("it says"), 5);
    }

    #[test]
    fn a_stream_that_takes_not_all_ends_behind_what_it_took() {
        let (mut client, server) = pair();
        assert!(server.write_or_end(b"whole"));
        // More than any queue holds.
        assert!(!server.write_or_end(&vec![b'x'; 64 << 20]));
        assert!(!server.write_or_end(b"behind the gap"));
        client.write_all(b"still read").expect("there is room");
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("it ends in order");
        assert!(got.starts_with(b"whole") && got.len() > 5 && got[5..].iter().all(|byte| *byte == b'x'));
        let mut said = [0; 20];
        assert_eq!(until(|| server.read(&mut said).ok()), 10);
    }

    /// No signal, and no end of a stream that is broken.
    #[test]
    fn a_client_that_is_gone_is_an_error_to_write_to() {
        let (client, server) = pair();
        until(|| server.write(b"unread").ok());
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        set_option(&client, libc::SOL_SOCKET, libc::SO_LINGER, &at_once).expect("it can");
        drop(client);
        let error = until(|| server.write(b"x").err());
        assert!(matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)), "{error}");
        assert!(!server.write_or_end(b"x"));
    }

    #[test]
    fn only_a_call_that_would_block_is_waited_for() {
        let error = |errno| Err(io::Error::from_raw_os_error(errno));
        assert!(unless_blocked(error(libc::EAGAIN)).is_none());
        for errno in [libc::ECONNRESET, libc::EPIPE, libc::EBADF, libc::ENOMEM] {
            let told = unless_blocked(error(errno)).expect("it is over").expect_err("it is an error");
            assert_eq!(told.raw_os_error(), Some(errno));
        }
        assert!(matches!(unless_blocked(Ok(0)), Some(Ok(0))));
    }

    #[test]
    fn each_direction_ends_alone() {
        let (mut client, server) = pair();
        server.shutdown_write();
        assert_eq!(client.read(&mut [0; 1]).expect("it ends"), 0);
        client.write_all(b"up").expect("there is room");
        let mut got = [0; 2];
        assert_eq!(until(|| server.read(&mut got).ok()), 2);
        client.shutdown(Shutdown::Write).expect("it can");
        assert_eq!(until(|| server.read(&mut got).ok()), 0);
    }

    #[test]
    fn a_thread_that_sleeps_in_a_read_wakes_when_the_connection_is_ended() {
        let (mut client, server) = pair();
        // SAFETY: the descriptor is open.
        unsafe { libc::fcntl(server.fd.as_raw_fd(), libc::F_SETFL, 0) };
        let number = server.number() as RawFd;
        std::mem::forget(server);
        // SAFETY: the one who had it is forgotten.
        let stream = Stream { fd: unsafe { OwnedFd::from_raw_fd(number) } };
        stream.write_all(b"down").expect("there is room");
        let mut got = [0; 4];
        client.read_exact(&mut got).expect("it comes");
        assert_eq!(&got, b"down");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| stream.read(&mut [0; 1]));
            stream.shutdown();
            assert_eq!(reader.join().expect("it does not panic").expect("it ends"), 0);
        });
        assert_eq!(client.read(&mut got).expect("it ends"), 0);
    }

    #[test]
    fn a_timer_is_over_once_and_taken_back() {
        let now = Timer::after(0).expect("a timer");
        until(|| is_readable(&now).then_some(()));
        now.take();
        assert!(!is_readable(&now), "it was taken back, and does not begin again");
        now.take();
        for later in [3_600_000, u64::MAX] {
            assert!(!is_readable(&Timer::after(later).expect("a timer")));
        }
        let start = std::time::Instant::now();
        let soon = Timer::after(1_020).expect("a timer");
        until(|| is_readable(&soon).then_some(()));
        assert!(start.elapsed() >= Duration::from_millis(1_020));
        let each = Timer::every_second().expect("a timer");
        for _ in 0..2 {
            until(|| is_readable(&each).then_some(()));
            each.take();
        }
        assert!(start.elapsed() >= Duration::from_millis(3_000));
    }

    #[test]
    fn a_stop_that_is_raised_is_so_for_all_and_stays_so() {
        let stop = Stop::new().expect("an eventfd");
        let other = stop.try_clone().expect("a descriptor");
        assert!(!is_readable(&stop) && !is_readable(&other));
        other.raise();
        other.raise();
        assert!(is_readable(&stop) && is_readable(&other));
    }

    #[test]
    fn a_second_is_the_clocks() {
        let clock = || {
            let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the kernel writes a timespec.
            unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
            now.tv_sec as u32
        };
        let (before, now, after) = (clock(), seconds(), clock());
        assert!((before..=after).contains(&now), "{before} {now} {after}");
    }

    #[test]
    fn who_sleeps_has_gone_to_sleep() {
        let before = voluntary_context_switches();
        std::thread::sleep(Duration::from_millis(2));
        assert!(voluntary_context_switches() > before);
    }

    /// In a thread of its own, since it moves.
    #[test]
    fn a_thread_keeps_to_the_cores_that_it_is_dealt_and_may_use() {
        let cores = || {
            let mut cores = Vec::new();
            pin_to_cores(|core| {
                cores.push(core);
                false
            })
            .expect("there are not so many");
            cores
        };
        std::thread::spawn(move || {
            let all = cores();
            for count in [1, 2] {
                let dealt: Vec<usize> = all.iter().copied().filter(|core| core % count == count - 1).collect();
                pin_thread(count - 1, count);
                let expected = if dealt.is_empty() { all.clone() } else { dealt };
                assert_eq!(cores(), expected, "of {all:?}");
            }
            let now = cores();
            pin_thread(5000, 5001);
            assert_eq!(cores(), now, "there is none");
        })
        .join()
        .expect("it does not panic");
    }

    #[test]
    fn an_interest_that_is_changed_is_the_last_one_and_one_that_is_gone_is_told_no_more() {
        let (mut client, server) = pair();
        let (epoll, mut events) = (Epoll::new().expect("an instance"), Events::with_capacity(4));
        let told = |events: &mut Events| {
            epoll.poll(events).expect("it looks");
            events.iter().map(|event| event.token).collect::<Vec<_>>()
        };
        assert_eq!(epoll.modify(&server, 1, Interest::READ).expect_err("it is new").raw_os_error(), Some(libc::ENOENT));
        epoll.add(&server, 1, Interest::READ).expect("it is new");
        assert_eq!(epoll.add(&server, 1, Interest::READ).expect_err("it is there").raw_os_error(), Some(libc::EEXIST));
        assert_eq!(told(&mut events), [0; 0]);
        client.write_all(b"x").expect("there is room");
        until(|| (told(&mut events) == [1]).then_some(()));
        epoll.modify(&server, 2, Interest::READ).expect("it is there");
        epoll.wait_for(&mut events, Some(5)).expect("it waits");
        assert_eq!(events.iter().map(|event| event.token).collect::<Vec<_>>(), [2]);
        epoll.delete(&server).expect("it is there");
        assert_eq!(told(&mut events), [0; 0]);
        assert_eq!(epoll.delete(&server).expect_err("it is gone").raw_os_error(), Some(libc::ENOENT));
        let start = std::time::Instant::now();
        epoll.wait_for(&mut events, Some(1)).expect("it waits");
        assert!(start.elapsed() >= Duration::from_secs(1) && events.iter().count() == 0);
    }
}

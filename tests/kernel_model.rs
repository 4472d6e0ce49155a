//! The modelled network, loom's and the game's, against Linux: the same random scripts of calls to both, every result
//! and every event compared.
//!
//! `LAB_SCRIPTS=100000 cargo test --test kernel_model -- --nocapture` runs more of them, from a new seed.
//!
//! The real side is the facade that the stages use. Each thread runs on one processor, so that a packet of the loopback
//! interface is not half processed elsewhere, and each send, FIN and RST is waited for by asking the kernel about it.
#![allow(dead_code)]

#[path = "support/net.rs"]
mod net;

use std::cell::Cell;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lab::kernel::{Epoll, Event, Events, Interest, Listener, Socket, Stop};
use net::Net;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// What is put on the interest list.
#[derive(Clone, Copy, Debug)]
enum Source {
    Listener,
    Stop,
    /// The nth that was accepted.
    Socket(usize),
}

/// One call. Numbers are taken modulo what there is; a call that nothing is there for is left out on both sides.
#[derive(Clone, Copy, Debug)]
enum Call {
    Connect,
    Accept,
    Add(Source, Interest),
    Modify(Source, Interest),
    Delete(Source),
    Wait { room: usize },
    Read(usize, usize),
    Write(usize, usize),
    ShutdownWrite(usize),
    Close(usize),
    Raise,
    Send(usize, usize),
    Fin(usize),
    Reset(usize),
    Receive(usize),
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gave {
    Done,
    Number(usize),
    Error(i32),
    Nobody,
    Events(Vec<(u64, u32)>),
    Received(usize, bool),
    NothingThere,
}

/// A kernel with a server's side and its clients.
trait Kernel {
    fn call(&mut self, number: u64, call: Call) -> Gave;
}

fn gave(result: Result<usize, i32>) -> Gave {
    result.map_or_else(Gave::Error, Gave::Number)
}

fn done(result: Result<(), i32>) -> Gave {
    result.map_or_else(Gave::Error, |()| Gave::Done)
}

fn errno<T>(result: io::Result<T>) -> Result<T, i32> {
    result.map_err(|error| error.raw_os_error().expect("an error of the kernel's"))
}

/// Which open thing a number means.
fn pick<T>(things: &[Option<T>], number: usize) -> Option<usize> {
    let open: Vec<usize> = (0..things.len()).filter(|n| things[*n].is_some()).collect();
    (!open.is_empty()).then(|| open[number % open.len()])
}

/// What may be wrong with the model, on purpose: the comparison must see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    OneShotIsForgotten,
    EndIsForgotten,
    NoRdhup,
    OneShotStaysArmed,
    EdgeIsLevel,
    ModifyForgets,
    LateNumbers,
    ResetDropsBytes,
}

struct Model {
    net: Net,
    epoll: usize,
    listener: usize,
    stop: usize,
    sockets: Vec<Option<usize>>,
    clients: Vec<Option<(usize, bool)>>,
    flaw: Flaw,
    armed: Vec<(u64, usize, u32)>,
}

impl Model {
    fn new(flaw: Flaw) -> Model {
        let mut net = Net::default();
        let (epoll, listener, stop) = (net.epoll_create(), net.listen(), net.eventfd());
        Model { net, epoll, listener, stop, sockets: vec![], clients: vec![], flaw, armed: vec![] }
    }

    fn source(&self, source: Source) -> Option<usize> {
        match source {
            Source::Listener => Some(self.listener),
            Source::Stop => Some(self.stop),
            Source::Socket(n) => pick(&self.sockets, n).and_then(|n| self.sockets[n]),
        }
    }

    fn bits(&self, interest: Interest) -> u32 {
        match self.flaw {
            Flaw::EdgeIsLevel => interest.bits() & !(libc::EPOLLET as u32),
            Flaw::OneShotIsForgotten => interest.bits() & !(libc::EPOLLONESHOT as u32),
            _ => interest.bits(),
        }
    }
}

impl Kernel for Model {
    fn call(&mut self, number: u64, call: Call) -> Gave {
        let socket = |n| pick(&self.sockets, n);
        let client = |n| pick(&self.clients, n);
        match call {
            Call::Connect => {
                let client = self.net.connect();
                self.clients.push(Some((client, false)));
                Gave::Done
            }
            Call::Accept => match self.net.accept(self.listener) {
                Ok(Some(fd)) => {
                    self.sockets.push(Some(fd));
                    Gave::Number(if self.flaw == Flaw::LateNumbers { self.sockets.len() + 2 } else { fd })
                }
                Ok(None) => Gave::Nobody,
                Err(error) => Gave::Error(error),
            },
            Call::Add(source, interest) => {
                let Some(fd) = self.source(source) else { return Gave::NothingThere };
                self.armed.push((number, fd, self.bits(interest)));
                done(self.net.add(self.epoll, fd, number, self.bits(interest)))
            }
            Call::Modify(source, interest) => {
                let Some(fd) = self.source(source) else { return Gave::NothingThere };
                if self.flaw == Flaw::ModifyForgets && self.net.delete(self.epoll, fd).is_ok() {
                    _ = self.net.add(self.epoll, fd, number, 0);
                    return Gave::Done;
                }
                self.armed.push((number, fd, self.bits(interest)));
                done(self.net.modify(self.epoll, fd, number, self.bits(interest)))
            }
            Call::Delete(source) => match self.source(source) {
                Some(fd) => done(self.net.delete(self.epoll, fd)),
                None => Gave::NothingThere,
            },
            Call::Wait { room } => {
                let might = self.net.has_event(self.epoll);
                let mut events = self.net.poll(self.epoll, room).expect("it is an epoll");
                assert_eq!(might, !events.is_empty(), "it knows before it waits");
                if self.flaw == Flaw::NoRdhup {
                    events.iter_mut().for_each(|(_, mask)| *mask &= !(libc::EPOLLRDHUP as u32));
                }
                if self.flaw == Flaw::OneShotStaysArmed {
                    for (token, _) in &events {
                        let armed = self.armed.iter().find(|(number, ..)| number == token).copied();
                        if let Some((number, fd, bits)) = armed.filter(|a| a.2 & libc::EPOLLONESHOT as u32 != 0) {
                            _ = self.net.modify(self.epoll, fd, number, bits);
                        }
                    }
                }
                Gave::Events(events)
            }
            Call::Read(n, size) => match socket(n).and_then(|n| self.sockets[n]) {
                Some(fd) => gave(self.net.read(fd, &mut vec![0; size])),
                None => Gave::NothingThere,
            },
            Call::Write(n, size) => match socket(n).and_then(|n| self.sockets[n]) {
                Some(fd) => gave(self.net.write(fd, &vec![b'w'; size])),
                None => Gave::NothingThere,
            },
            Call::ShutdownWrite(n) => match socket(n).and_then(|n| self.sockets[n]) {
                Some(fd) => done(self.net.shutdown_write(fd)),
                None => Gave::NothingThere,
            },
            Call::Close(n) => match socket(n).and_then(|n| self.sockets[n].take()) {
                Some(fd) => done(self.net.close(fd)),
                None => Gave::NothingThere,
            },
            Call::Raise => done(self.net.raise(self.stop)),
            Call::Send(n, size) => match client(n).and_then(|n| self.clients[n]) {
                Some((client, false)) => {
                    self.net.send(client, &vec![b'c'; size]);
                    Gave::Done
                }
                _ => Gave::NothingThere,
            },
            Call::Fin(n) => match client(n) {
                Some(n) if self.clients[n].is_some_and(|(_, fin)| !fin) => {
                    let (client, fin) = self.clients[n].as_mut().expect("it is open");
                    if self.flaw != Flaw::EndIsForgotten {
                        self.net.fin(*client);
                    }
                    *fin = true;
                    Gave::Done
                }
                _ => Gave::NothingThere,
            },
            Call::Reset(n) => match client(n).and_then(|n| self.clients[n].take()) {
                Some((client, _)) => {
                    if self.flaw == Flaw::ResetDropsBytes {
                        self.net.drop_unread(client);
                    }
                    self.net.reset(client);
                    Gave::Done
                }
                None => Gave::NothingThere,
            },
            Call::Receive(n) => match client(n).and_then(|n| self.clients[n]) {
                Some((client, _)) => {
                    let (bytes, ended) = self.net.receive(client);
                    Gave::Received(bytes, ended)
                }
                None => Gave::NothingThere,
            },
        }
    }
}

struct Client {
    stream: TcpStream,
    fin: bool,
    /// Which of the accepted sockets is its other end.
    peer: Option<usize>,
}

struct Linux {
    epoll: Epoll,
    listener: Listener,
    stop: Stop,
    sockets: Vec<Option<Socket>>,
    clients: Vec<Option<Client>>,
    /// Clients in the order of their connections, as they will be accepted.
    waiting: std::collections::VecDeque<usize>,
    /// The lowest free descriptors, in order, before the script began.
    numbers: Vec<i32>,
}

fn ask(fd: i32, level: i32, option: i32, value: i32) {
    // SAFETY: the option is read from an int of its own size.
    unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), size_of::<i32>() as u32) };
}

fn unacknowledged(fd: i32) -> i32 {
    let mut bytes = 0;
    // SAFETY: TIOCOUTQ writes an int.
    unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &mut bytes) };
    bytes
}

/// The state of a TCP socket, as `tcp(7)` numbers it.
fn state(fd: i32) -> u8 {
    // SAFETY: all zeroes is a tcp_info, and the kernel writes at most its size.
    unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut size = size_of::<libc::tcp_info>() as u32;
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &mut size);
        info.tcpi_state
    }
}

fn polled(fd: i32, events: i16) -> i16 {
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd.
    unsafe { libc::poll(&mut poll, 1, 0) };
    poll.revents
}

const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;

/// Asks again until it is so; after a while the script is the test's own mistake.
fn until(what: &str, so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed().as_secs() < 10, "{what} does not come");
        std::thread::yield_now();
    }
}

impl Linux {
    fn new() -> Linux {
        let probe = || std::fs::File::open("/dev/null").expect("there is one");
        let probes: Vec<_> = (0..64).map(|_| probe()).collect();
        let numbers = probes.iter().map(|file| file.as_raw_fd()).collect();
        drop(probes);
        let epoll = Epoll::new().expect("there is a descriptor");
        let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("there is a port");
        let stop = Stop::new().expect("there is a descriptor");
        let (sockets, clients, waiting) = (vec![], vec![], Default::default());
        Linux { epoll, listener, stop, sockets, clients, waiting, numbers }
    }

    fn fd(&self, n: usize) -> Option<i32> {
        self.sockets[n].as_ref().map(|socket| socket.as_fd().as_raw_fd())
    }

    /// The server's descriptor of a client, if it is accepted and open.
    fn peer(&self, client: usize) -> Option<i32> {
        self.clients[client].as_ref().and_then(|client| client.peer).and_then(|n| self.fd(n))
    }

    /// Whether the server has closed its end.
    fn is_closed(&self, client: usize) -> bool {
        self.clients[client].as_ref().and_then(|client| client.peer).is_some_and(|n| self.sockets[n].is_none())
    }

    /// Acknowledge what arrives at once, not after a while.
    fn hurry(&self) {
        let of_clients = self.clients.iter().flatten().map(|client| client.stream.as_raw_fd());
        let of_server = self.sockets.iter().flatten().map(|socket| socket.as_fd().as_raw_fd());
        for fd in of_clients.chain(of_server) {
            ask(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, 1);
        }
    }

    fn connect(&mut self) {
        let stream = TcpStream::connect(self.listener.local_addr().expect("it listens")).expect("somebody listens");
        stream.set_nodelay(true).expect("an option");
        stream.set_nonblocking(true).expect("an option");
        // The clients keep out of the server's numbers.
        // SAFETY: the new descriptor is nobody's yet.
        let high = unsafe { OwnedFd::from_raw_fd(libc::fcntl(stream.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 200)) };
        drop(stream);
        self.clients.push(Some(Client { stream: high.into(), fin: false, peer: None }));
        self.waiting.push_back(self.clients.len() - 1);
        let listener = self.listener.as_fd().as_raw_fd();
        until("the connection", || polled(listener, libc::POLLIN) != 0);
    }

    fn on(&self, source: Source, call: impl Fn(&Linux, &dyn Fn(&Epoll) -> io::Result<()>) -> Gave, act: Act) -> Gave {
        let run = |epoll: &Epoll| match source {
            Source::Listener => act.on(epoll, &self.listener),
            Source::Stop => act.on(epoll, &self.stop),
            Source::Socket(n) => {
                let n = pick(&self.sockets, n).expect("it was looked for");
                act.on(epoll, self.sockets[n].as_ref().expect("it is open"))
            }
        };
        call(self, &run)
    }

    fn control(&self, source: Source, act: Act) -> Gave {
        if matches!(source, Source::Socket(n) if pick(&self.sockets, n).is_none()) {
            return Gave::NothingThere;
        }
        self.on(source, |linux, run| done(errno(run(&linux.epoll))), act)
    }

    fn reset(&mut self, n: usize) {
        let (peer, closed) = (self.peer(n), self.is_closed(n));
        let client = self.clients[n].take().expect("it is open");
        let accepted = client.peer.is_some();
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the option is read from a linger of its own size.
        unsafe {
            let size = size_of::<libc::linger>() as u32;
            let fd = client.stream.as_raw_fd();
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size);
        }
        drop(client);
        if let Some(peer) = peer {
            until("the RST", || state(peer) == CLOSE);
        }
        let _ = (closed, accepted);
    }
}

#[derive(Clone, Copy)]
enum Act {
    Add(u64, Interest),
    Modify(u64, Interest),
    Delete,
}

impl Act {
    fn on(self, epoll: &Epoll, source: &impl AsFd) -> io::Result<()> {
        match self {
            Act::Add(token, interest) => epoll.add(source, token, interest),
            Act::Modify(token, interest) => epoll.modify(source, token, interest),
            Act::Delete => epoll.delete(source),
        }
    }
}

impl Kernel for Linux {
    fn call(&mut self, number: u64, call: Call) -> Gave {
        self.hurry();
        match call {
            Call::Connect => {
                self.connect();
                Gave::Done
            }
            Call::Accept => match errno(self.listener.accept()) {
                Ok(Some(socket)) => {
                    let fd = socket.as_fd().as_raw_fd();
                    let client = self.waiting.pop_front().expect("somebody has connected");
                    self.sockets.push(Some(socket));
                    let n = self.sockets.len() - 1;
                    if let Some(client) = &mut self.clients[client] {
                        client.peer = Some(n);
                    }
                    Gave::Number(self.numbers.iter().position(|other| *other == fd).expect("it is among the lowest"))
                }
                Ok(None) => Gave::Nobody,
                Err(error) => Gave::Error(error),
            },
            Call::Add(source, interest) => self.control(source, Act::Add(number, interest)),
            Call::Modify(source, interest) => self.control(source, Act::Modify(number, interest)),
            Call::Delete(source) => self.control(source, Act::Delete),
            Call::Wait { room } => {
                let mut events = Events::with_capacity(room);
                match errno(self.epoll.poll(&mut events)) {
                    Ok(()) => Gave::Events(events.iter().map(|Event { token, mask }| (token, mask)).collect()),
                    Err(error) => Gave::Error(error),
                }
            }
            Call::Read(n, size) => match pick(&self.sockets, n) {
                Some(n) => gave(errno(self.sockets[n].as_ref().expect("it is open").read(&mut vec![0; size]))),
                None => Gave::NothingThere,
            },
            Call::Write(n, size) => match pick(&self.sockets, n) {
                Some(n) => gave(errno(self.sockets[n].as_ref().expect("it is open").write(&vec![b'w'; size]))),
                None => Gave::NothingThere,
            },
            Call::ShutdownWrite(n) => match pick(&self.sockets, n) {
                Some(n) => {
                    let fd = self.fd(n).expect("it is open");
                    self.sockets[n].as_ref().expect("it is open").shutdown_write();
                    until("the server's FIN", || matches!(state(fd), FIN_WAIT2 | CLOSE));
                    Gave::Done
                }
                None => Gave::NothingThere,
            },
            Call::Close(n) => match pick(&self.sockets, n) {
                Some(n) => {
                    self.sockets[n] = None;
                    if let Some(client) = self.clients.iter().flatten().find(|client| client.peer == Some(n)) {
                        let end = libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR;
                        until("the server's end", || polled(client.stream.as_raw_fd(), end) != 0);
                    }
                    Gave::Done
                }
                None => Gave::NothingThere,
            },
            Call::Raise => {
                self.stop.raise();
                Gave::Done
            }
            Call::Send(n, size) => match pick(&self.clients, n) {
                Some(n) if !self.clients[n].as_ref().expect("it is open").fin => {
                    let stream = &self.clients[n].as_ref().expect("it is open").stream;
                    let sent = io::Write::write(&mut &*stream, &vec![b'c'; size]);
                    if !self.is_closed(n) {
                        assert_eq!(sent.ok(), Some(size), "a short send");
                        until("the bytes", || unacknowledged(stream.as_raw_fd()) == 0);
                    }
                    Gave::Done
                }
                _ => Gave::NothingThere,
            },
            Call::Fin(n) => match pick(&self.clients, n) {
                Some(n) if !self.clients[n].as_ref().expect("it is open").fin => {
                    let (peer, closed) = (self.peer(n), self.is_closed(n));
                    let client = self.clients[n].as_mut().expect("it is open");
                    client.fin = true;
                    let _ = client.stream.shutdown(std::net::Shutdown::Write);
                    let stream = client.stream.as_raw_fd();
                    match peer {
                        Some(peer) => until("the FIN", || matches!(state(peer), CLOSE_WAIT | CLOSE)),
                        None if closed => {}
                        None => until("the FIN", || unacknowledged(stream) == 0),
                    }
                    Gave::Done
                }
                _ => Gave::NothingThere,
            },
            Call::Reset(n) => match pick(&self.clients, n) {
                Some(n) => {
                    self.reset(n);
                    Gave::Done
                }
                None => Gave::NothingThere,
            },
            Call::Receive(n) => match pick(&self.clients, n) {
                Some(n) => {
                    if let Some(peer) = self.peer(n) {
                        until("the replies", || unacknowledged(peer) == 0);
                    }
                    let stream = &self.clients[n].as_ref().expect("it is open").stream;
                    let (mut bytes, mut buffer) = (0, [0; 4096]);
                    loop {
                        match io::Read::read(&mut &*stream, &mut buffer) {
                            Ok(0) => return Gave::Received(bytes, true),
                            Ok(n) => bytes += n,
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                return Gave::Received(bytes, false);
                            }
                            Err(_) => return Gave::Received(bytes, true),
                        }
                    }
                }
                None => Gave::NothingThere,
            },
        }
    }
}

impl Drop for Linux {
    /// No connection is left behind to wait its time out.
    fn drop(&mut self) {
        for n in 0..self.clients.len() {
            if self.clients[n].is_some() {
                self.reset(n);
            }
        }
    }
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![1 => Just(Source::Listener), 1 => Just(Source::Stop), 6 => (0..4_usize).prop_map(Source::Socket)]
}

fn interest() -> impl Strategy<Value = Interest> {
    let read = Interest::READ;
    // Of the others only the end, or nothing but what is always reported.
    let (end, none) = (Interest::HANG_UP.edge_triggered(), Interest::ERROR_ONLY.edge_triggered());
    prop_oneof![
        2 => Just(read),
        2 => Just(read.edge_triggered()),
        2 => Just(read.one_shot()),
        2 => Just(read.edge_triggered().one_shot()),
        1 => Just(end.one_shot()),
        1 => Just(none.one_shot()),
        1 => Just(none),
        1 => Just(read.exclusive()),
        1 => Just(read.edge_triggered().exclusive()),
        // The kernel takes no EPOLLONESHOT with it.
        1 => Just(read.one_shot().exclusive()),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let (n, size) = (0..4_usize, prop_oneof![Just(1_usize), Just(7), Just(100)]);
    prop_oneof![
        3 => Just(Call::Connect),
        4 => Just(Call::Accept),
        5 => (source(), interest()).prop_map(|(source, interest)| Call::Add(source, interest)),
        4 => (source(), interest()).prop_map(|(source, interest)| Call::Modify(source, interest)),
        1 => source().prop_map(Call::Delete),
        9 => prop_oneof![Just(1_usize), Just(2), Just(16)].prop_map(|room| Call::Wait { room }),
        4 => (n.clone(), size.clone()).prop_map(|(n, size)| Call::Read(n, size)),
        2 => (n.clone(), size.clone()).prop_map(|(n, size)| Call::Write(n, size)),
        1 => n.clone().prop_map(Call::ShutdownWrite),
        2 => n.clone().prop_map(Call::Close),
        1 => Just(Call::Raise),
        5 => (n.clone(), size).prop_map(|(n, size)| Call::Send(n, size)),
        2 => n.clone().prop_map(Call::Fin),
        2 => n.clone().prop_map(Call::Reset),
        2 => n.prop_map(Call::Receive),
    ]
}

/// Each script begins with two clients accepted, and goes on with up to 30 calls.
fn compare(calls: &[Call], model: &mut Model) -> Result<(), String> {
    let mut linux = Linux::new();
    let opening = [Call::Connect, Call::Connect, Call::Accept, Call::Accept];
    for (number, call) in (1..).zip(opening.iter().chain(calls)) {
        let (modelled, real) = (model.call(number, *call), linux.call(number, *call));
        if modelled != real {
            return Err(format!("call {number}, {call:?}: the model gives {modelled:?}, Linux {real:?}"));
        }
    }
    Ok(())
}

static ALONE: Mutex<()> = Mutex::new(());

/// The thread stays on one processor, the nth of those that it may use, and its descriptors are its own, since another test
/// opens and closes some at the same time. In a sandbox that does not let it have its own (`unshare(2)`) it waits for the other.
fn apart(nth: usize) -> Option<MutexGuard<'static, ()>> {
    // SAFETY: all zeroes is an empty set, and the calls read and write just that. No descriptor of another thread is used here.
    let has_its_own = unsafe {
        let (mut set, size): (libc::cpu_set_t, usize) = (std::mem::zeroed(), size_of::<libc::cpu_set_t>());
        libc::sched_getaffinity(0, size, &mut set);
        let all: Vec<usize> = (0..libc::CPU_SETSIZE as usize).filter(|n| libc::CPU_ISSET(*n, &set)).collect();
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(all[nth % all.len()], &mut set);
        libc::sched_setaffinity(0, size, &set);
        libc::unshare(libc::CLONE_FILES) == 0
    };
    (!has_its_own).then(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// So many scripts; of these only every second one for each of two threads that share them.
fn run(scripts: u32, rng: TestRng, flaw: Flaw, half: Option<u32>) -> Result<(), String> {
    let config = Config { cases: scripts, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let script = proptest::collection::vec(call(), 1..=30);
    let (number, shrinks) = (Cell::new(0), Cell::new(false));
    TestRunner::new_with_rng(config, rng)
        .run(&script, |calls| {
            let is_mine = half.is_none_or(|half| number.replace(number.get() + 1) % 2 == half);
            if !is_mine && !shrinks.get() {
                return Ok(());
            }
            let same = compare(&calls, &mut Model::new(flaw));
            shrinks.set(shrinks.get() || same.is_err());
            same.map_err(TestCaseError::fail)
        })
        .map_err(|error| error.to_string())
}

fn fixed_seed() -> TestRng {
    TestRng::deterministic_rng(RngAlgorithm::ChaCha)
}

fn new_seed() -> TestRng {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    let seed: Vec<u8> = now.as_nanos().to_le_bytes().into_iter().cycle().take(32).collect();
    TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
}

#[test]
fn the_model_and_linux_give_the_same_for_every_call() {
    let wanted = std::env::var("LAB_SCRIPTS").ok().and_then(|text| text.parse().ok());
    let rng = if wanted.is_some() { new_seed() } else { fixed_seed() };
    let (scripts, start) = (wanted.unwrap_or(2000), std::time::Instant::now());
    let halves = [0, 1].map(|half| {
        let rng = rng.clone();
        std::thread::spawn(move || {
            let _alone = apart(half);
            run(scripts, rng, Flaw::None, Some(half as u32))
        })
    });
    for half in halves {
        if let Err(difference) = half.join().expect("it runs") {
            panic!("{difference}");
        }
    }
    println!("{scripts} scripts of up to 30 calls: no difference, {:.1} s", start.elapsed().as_secs_f64());
}

#[test]
fn a_flaw_in_the_model_is_seen() {
    let _alone = apart(1);
    for flaw in [
        Flaw::OneShotIsForgotten,
        Flaw::EndIsForgotten,
        Flaw::NoRdhup,
        Flaw::OneShotStaysArmed,
        Flaw::EdgeIsLevel,
        Flaw::ModifyForgets,
        Flaw::LateNumbers,
        Flaw::ResetDropsBytes,
    ] {
        assert!(run(1000, fixed_seed(), flaw, None).is_err(), "nobody saw {flaw:?}");
    }
}

//! Whom a connection wakes: the modelled kernel against Linux, for every way in which three epoll instances can wait
//! for one listener: each exclusively or not, and each with a thread asleep in it or not.
//!
//! Nothing here is timed. A thread sleeps when the kernel says so, and which thread a connection wakes is settled once
//! the client's first bytes are acknowledged: until then the kernel holds the lock of the new connection while it
//! wakes.
#![allow(dead_code)]

#[path = "support/net.rs"]
mod net;

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use lab::kernel::{Epoll, Events, Interest, Listener, Stop};
use net::Net;

/// How an instance waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    exclusive: bool,
    asleep: bool,
}

const LISTENER: u64 = 1;
const STOP: u64 = 2;

impl Way {
    fn interest(self) -> Interest {
        if self.exclusive { Interest::READ.exclusive() } else { Interest::READ }
    }
}

/// Every way in which `count` instances can wait.
fn all(count: usize) -> Vec<Vec<Way>> {
    let way = |bits: usize| Way { exclusive: bits & 1 != 0, asleep: bits & 2 != 0 };
    (0..4_usize.pow(count as u32)).map(|n| (0..count).map(|i| way(n >> (2 * i))).collect()).collect()
}

/// Which of them hear of a connection, in the model.
fn modelled(ways: &[Way]) -> Vec<bool> {
    let mut net = Net::default();
    let listener = net.listen();
    let epolls: Vec<_> = ways.iter().map(|_| net.epoll_create()).collect();
    for (epoll, way) in epolls.iter().zip(ways) {
        net.add(*epoll, listener, LISTENER, way.interest().bits()).expect("it is a listener");
    }
    net.asleep = epolls.iter().zip(ways).filter(|(_, way)| way.asleep).map(|(epoll, _)| *epoll).collect();
    net.connect();
    epolls.iter().map(|epoll| net.has_ready(*epoll)).collect()
}

/// A thread that sleeps in an instance until there is an event there.
struct Sleeper {
    thread: std::thread::JoinHandle<()>,
    id: Arc<AtomicU32>,
    woken_by: Arc<Mutex<Option<u64>>>,
}

impl Sleeper {
    fn new(epoll: Arc<Epoll>) -> Sleeper {
        let (id, woken_by) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(None)));
        let (its_id, its_token) = (id.clone(), woken_by.clone());
        let thread = std::thread::spawn(move || {
            // SAFETY: gettid(2) has no preconditions.
            its_id.store(unsafe { libc::gettid() } as u32, Ordering::Release);
            let mut events = Events::with_capacity(2);
            epoll.wait(&mut events).expect("it waits");
            *its_token.lock().expect("nobody panics with it") = events.iter().map(|event| event.token).next();
        });
        let sleeper = Sleeper { thread, id, woken_by };
        until("the sleep", || sleeper.is_in_epoll_wait() && sleeper.sleeps());
        sleeper
    }

    fn proc(&self, file: &str) -> String {
        let id = self.id.load(Ordering::Acquire);
        std::fs::read_to_string(format!("/proc/self/task/{id}/{file}")).unwrap_or_default()
    }

    fn sleeps(&self) -> bool {
        self.proc("stat").rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'))
    }

    /// Whether that is the system call that it is in.
    fn is_in_epoll_wait(&self) -> bool {
        let number = self.proc("syscall").split(' ').next().and_then(|number| number.parse().ok());
        #[cfg(target_arch = "x86_64")]
        if number == Some(libc::SYS_epoll_wait) {
            return true;
        }
        number == Some(libc::SYS_epoll_pwait)
    }

    fn woken_by(&self) -> Option<u64> {
        *self.woken_by.lock().expect("nobody panics with it")
    }

    /// Whether the listener woke it. One on its way out of the kernel is waited for.
    fn heard(&self) -> bool {
        loop {
            let asleep = self.sleeps() && self.is_in_epoll_wait();
            match self.woken_by() {
                None if asleep => return false,
                None => std::thread::yield_now(),
                Some(token) => return token == LISTENER,
            }
        }
    }
}

fn until(what: &str, so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed().as_secs() < 20, "{what} does not come");
        std::thread::yield_now();
    }
}

fn unacknowledged(stream: &TcpStream) -> i32 {
    let mut bytes = 0;
    // SAFETY: TIOCOUTQ writes an int.
    unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    bytes
}

/// Which of them hear of a connection, on Linux.
fn real(ways: &[Way]) -> Vec<bool> {
    let listener = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("there is a port");
    let stop = Stop::new().expect("there is a descriptor");
    let epolls: Vec<_> = ways.iter().map(|_| Arc::new(Epoll::new().expect("there is a descriptor"))).collect();
    for (epoll, way) in epolls.iter().zip(ways) {
        epoll.add(&listener, LISTENER, way.interest()).expect("it is a listener");
        epoll.add(&stop, STOP, Interest::READ).expect("it is an eventfd");
    }
    let sleepers: Vec<_> =
        epolls.iter().zip(ways).map(|(epoll, way)| way.asleep.then(|| Sleeper::new(epoll.clone()))).collect();

    let mut client = TcpStream::connect(listener.local_addr().expect("it listens")).expect("somebody listens");
    client.write_all(b"x").expect("it is connected");
    until("the byte", || unacknowledged(&client) == 0);

    let heard = |(epoll, sleeper): (&Arc<Epoll>, &Option<Sleeper>)| match sleeper {
        Some(sleeper) => sleeper.heard(),
        None => {
            let mut events = Events::with_capacity(2);
            epoll.poll(&mut events).expect("it polls");
            events.iter().any(|event| event.token == LISTENER)
        }
    };
    let heard = epolls.iter().zip(&sleepers).map(heard).collect();
    stop.raise();
    for sleeper in sleepers.into_iter().flatten() {
        sleeper.thread.join().expect("it does not panic");
    }
    heard
}

#[test]
fn the_model_and_linux_wake_the_same() {
    for ways in all(3) {
        assert_eq!(modelled(&ways), real(&ways), "{ways:?}");
    }
}

#[test]
fn exclusive_means_one_or_more() {
    let (asleep, busy) = (Way { exclusive: true, asleep: true }, Way { exclusive: true, asleep: false });
    assert_eq!(real(&[asleep; 3]), [true, false, false], "of those who sleep, one");
    assert_eq!(real(&[busy, asleep, asleep]), [true, true, false], "one that does not sleep hears of it beside it");
    assert_eq!(real(&[busy; 3]), [true; 3], "and where nobody sleeps, everybody hears of it");
    let shared = Way { exclusive: false, ..asleep };
    assert_eq!(real(&[shared; 3]), [true; 3], "without it, everybody");
}

/// Each listener of a port has connections of its own: a hash of the client's address and port chooses.
#[test]
fn a_connection_goes_to_one_listener_of_a_port() {
    let first = Listener::bind_shared("127.0.0.1:0".parse().expect("an address")).expect("there is a port");
    let listeners = [first.sibling().expect("it is shared"), first.sibling().expect("it is shared"), first];
    for _ in 0..50 {
        let mut client = TcpStream::connect(listeners[0].local_addr().expect("it listens")).expect("somebody listens");
        client.write_all(b"x").expect("it is connected");
        until("the byte", || unacknowledged(&client) == 0);
        let has = |listener: &Listener| listener.accept().expect("it accepts").is_some();
        assert_eq!(listeners.iter().filter(|listener| has(listener)).count(), 1);
    }
}

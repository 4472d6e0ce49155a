//! A small server with a fault to choose: for what each check of the model looks for there is one that does it.
//!
//! It answers each piece that arrives with the one reply that the scripts know, and counts. Threads beside its reactor
//! are there only where the fault is between two of them.

use std::collections::HashMap;
use std::io;

use lab::heap::Raw;
use lab::http::HELLO;
use lab::kernel::{Epoll, Events, Interest, Socket};
use lab::point::point;
use lab::runner::{self, Counts, LISTENER, STOP, Served, Server};
use lab::sync::{self, Arc, AtomicBool, Handoff, Mutex, Ordering};

pub const NONE: u8 = 0;
pub const NO_REARM: u8 = 1;
pub const NO_CLOSE: u8 = 2;
pub const ONE_READ: u8 = 3;
pub const MISCOUNT: u8 = 4;
pub const LEAK: u8 = 5;
pub const FREE_TWICE: u8 = 6;
pub const FORGET_THE_SOCKET: u8 = 7;
pub const CLOSE_TWICE: u8 = 8;
pub const USE_AFTER_CLOSE: u8 = 9;
pub const FORGET_A_GUARD: u8 = 10;
pub const ACCEPT_ONE: u8 = 11;
pub const DISMISS: u8 = 12;
pub const TELL_WRONG: u8 = 13;
pub const ANSWER_TWICE: u8 = 14;
pub const NO_ANSWER: u8 = 15;
pub const COUNT_NO_REPLY: u8 = 16;
pub const LEAK_A_DESCRIPTOR: u8 = 17;
pub const LEAK_A_SHARE: u8 = 18;
pub const ANSWER_JUNK: u8 = 19;
pub const SPIN: u8 = 20;
pub const PANIC: u8 = 21;
pub const ENTER_TOGETHER: u8 = 22;
pub const HAND_OVER_RELAXED: u8 = 23;
pub const HAND_OVER_IN_ORDER: u8 = 24;
pub const WAIT_FOR_ITSELF: u8 = 25;
pub const SPIN_AND_GIVE_WAY: u8 = 26;

/// What two threads share, where the fault is between two of them.
struct Shared {
    cell: Handoff<u64>,
    flag: AtomicBool,
}

/// The first of two threads leaves the cell and sets the flag; the second enters once it has seen it set. Only a
/// release and an acquire make that an order of what they do inside.
fn hand_over(set: Ordering, look: Ordering) {
    let shared = Arc::new(Shared { cell: Handoff::new(0), flag: AtomicBool::new(false) });
    let other = shared.clone();
    let first = sync::spawn("first", move || {
        // SAFETY: it is the first, and the flag keeps the second one out.
        *unsafe { other.cell.enter() } += 1;
        other.flag.store(true, set);
    });
    let second = sync::spawn("second", move || {
        if shared.flag.load(look) {
            // SAFETY: the first one has left; that it did so before is what the orders say, or do not.
            *unsafe { shared.cell.enter() } += 1;
        }
    });
    first.join();
    second.join();
}

/// A thread enters while the one that started it is inside.
fn enter_together() {
    let shared = Arc::new(Shared { cell: Handoff::new(0), flag: AtomicBool::new(false) });
    let other = shared.clone();
    // SAFETY: none for the second one, which is the fault.
    let inside = unsafe { shared.cell.enter() };
    sync::spawn("second", move || *unsafe { other.cell.enter() } += 1).join();
    drop(inside);
}

/// A thread that waits for a flag that its reactor sets when the first bytes have come.
fn spin(flag: &AtomicBool, fault: u8) {
    while !flag.load(Ordering::Acquire) {
        if fault == SPIN_AND_GIVE_WAY {
            sync::yield_now();
        }
    }
}

pub fn serve<const FAULT: u8>(server: Server) -> io::Result<Served> {
    let epoll = Epoll::new()?;
    epoll.add(&server.listener, LISTENER, Interest::READ)?;
    epoll.add(&server.stop, STOP, Interest::READ)?;
    let once = Interest::READ.edge_triggered().one_shot();
    let mut sockets: HashMap<u64, Socket> = HashMap::new();
    let mut served = Served { received: 0, replies: 0 };
    let (mut events, mut id, mut buffer) = (Events::with_capacity(8), 0, [0; 8]);
    let note = Raw::new(0_u64);
    let mut helpers = Vec::new();
    'serving: loop {
        point("wait");
        epoll.wait(&mut events)?;
        for event in events.iter() {
            match event.token {
                STOP => break 'serving,
                LISTENER => {
                    while let Some(socket) = server.listener.accept()? {
                        id += 1;
                        epoll.add(&socket, id, once)?;
                        sockets.insert(id, socket);
                        if FAULT == ACCEPT_ONE {
                            epoll.delete(&server.listener)?;
                            break;
                        }
                    }
                }
                id => {
                    let Some(socket) = sockets.get(&id) else { continue };
                    point("read");
                    let before = served.received;
                    while let Ok(n @ 1..) = socket.read(&mut buffer) {
                        served.received += if FAULT == MISCOUNT { 1 } else { n as u64 };
                        if FAULT == ONE_READ {
                            break;
                        }
                    }
                    let replies = match FAULT {
                        _ if served.received == before => 0,
                        NO_ANSWER | NO_REARM => 0,
                        ANSWER_TWICE => 2,
                        _ => 1,
                    };
                    for _ in 0..replies {
                        let reply: &[u8] = if FAULT == ANSWER_JUNK { b"junk" } else { HELLO };
                        if socket.write(reply).is_ok() {
                            served.replies += u64::from(FAULT != COUNT_NO_REPLY);
                        }
                    }
                    match FAULT {
                        _ if served.received == before => {}
                        PANIC => panic!("it is wrong"),
                        ENTER_TOGETHER => enter_together(),
                        HAND_OVER_RELAXED => hand_over(Ordering::Relaxed, Ordering::Relaxed),
                        HAND_OVER_IN_ORDER => hand_over(Ordering::Release, Ordering::Acquire),
                        CLOSE_TWICE | USE_AFTER_CLOSE => {
                            // SAFETY: none: a second owner of one descriptor is the fault.
                            let other = unsafe { std::ptr::read(socket) };
                            drop(other);
                            if FAULT == USE_AFTER_CLOSE {
                                _ = socket.read(&mut buffer);
                            }
                            sockets.remove(&id);
                            continue;
                        }
                        FORGET_A_GUARD => {
                            let lock = Arc::new(Mutex::new(0));
                            let other = lock.clone();
                            std::mem::forget(lock.lock());
                            helpers.push(sync::spawn("helper", move || *other.lock() += 1));
                        }
                        SPIN | SPIN_AND_GIVE_WAY => {
                            let flag = Arc::new(AtomicBool::new(false));
                            let other = flag.clone();
                            helpers.push(sync::spawn("helper", move || spin(&other, FAULT)));
                            if FAULT == SPIN_AND_GIVE_WAY {
                                flag.store(true, Ordering::Release);
                            }
                        }
                        WAIT_FOR_ITSELF => {
                            let lock = Mutex::new(0);
                            let guard = lock.lock();
                            drop(lock.lock());
                            drop(guard);
                        }
                        _ => {}
                    }
                    if FAULT == DISMISS || event.hung_up() && FAULT != NO_CLOSE {
                        let socket = sockets.remove(&id);
                        if FAULT == FORGET_THE_SOCKET {
                            std::mem::forget(socket);
                        }
                    } else if FAULT != NO_REARM && !event.hung_up() {
                        point("rearm");
                        epoll.modify(socket, id, once)?;
                    }
                }
            }
        }
    }
    helpers.into_iter().for_each(sync::JoinHandle::join);
    match FAULT {
        LEAK => return Ok(served),
        LEAK_A_DESCRIPTOR => std::mem::forget(Epoll::new()?),
        LEAK_A_SHARE => std::mem::forget(Arc::new(0)),
        TELL_WRONG => runner::tell(0, Counts { woken: 2, empty: 0, accepted: id, ..Counts::default() }),
        _ => {}
    }
    let again = note.clone();
    // SAFETY: nobody else has it; the second time is the fault.
    unsafe {
        note.free();
        if FAULT == FREE_TWICE {
            again.free();
        }
    }
    Ok(served)
}

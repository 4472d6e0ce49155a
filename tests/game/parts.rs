//! For each part of the fingerprint a program with two states that differ in it: taken for one, they would be told
//! apart by whoever plays on.
//!
//! Much of the world follows from what each role has seen, so most parts are there twice. Where it is so, the histories
//! are left out too: with the part the graph is right, without it wrong.

use std::io;

use lab::heap::{Buffer, Raw};
use lab::kernel::{Epoll, Events, Interest};
use lab::point::point;
use lab::runner::{STOP, Serve, Served, Server};
use lab::sync::{self, Arc, AtomicBool, AtomicU64, Condvar, Mutex, Ordering, Queue, yield_now};

use crate::check::Part;
use crate::explore::{Act, Scenario, explore};
use crate::replay_every_way;

/// Two states of it differ in this part, and, but for those parts, in no other.
fn program(part: Part) -> (Scenario, &'static [Part]) {
    const PASTS: &[Part] = &[Part::Histories];
    let workers = |count: usize, serve: Serve| Scenario::new(serve, count, Vec::new());
    match part {
        Part::Net => (workers(2, who_modifies_last), &[]),
        Part::Blocks => (workers(2, who_frees), PASTS),
        Part::Queues => (workers(2, who_queues_first), &[]),
        Part::Closed => (workers(2, who_closes), PASTS),
        // Who has entered, and has not left, has left traces too.
        Part::Locks => (workers(2, who_locks), &[Part::Histories, Part::Cells]),
        Part::Cells => (workers(2, who_writes_last), PASTS),
        Part::Verdict => (workers(2, who_is_late), &[]),
        Part::Flags => (workers(2, who_sets_last), &[]),
        Part::Numbers => (workers(2, who_stores_last), &[]),
        Part::Sleepers => (workers(3, who_is_asleep), &[Part::Histories, Part::Cells]),
        Part::Histories => (workers(2, who_was_first), &[]),
        Part::Stands => (workers(0, how_far), PASTS),
        Part::Memory => (workers(2, who_fills_last), PASTS),
        Part::Client => (Scenario::new(how_far, 0, vec![Act::Connect, Act::Fin, Act::Fin]), &[]),
    }
}

#[test]
fn without_any_one_part_of_the_fingerprint_some_graph_is_wrong() {
    for part in Part::ALL {
        let (mut scenario, base) = program(*part);
        let mut is_right = |without: Vec<Part>| {
            scenario.without = without;
            let graph = explore(&scenario, 1_000).expect("it is small");
            replay_every_way(&scenario, &graph).is_ok()
        };
        assert!(is_right(vec![]), "{part:?}");
        assert!(is_right(base.to_vec()), "without {base:?}, and with {part:?}");
        assert!(!is_right([base, &[*part]].concat()), "nobody misses {part:?}");
    }
}

/// Two threads, which the server outlives.
pub fn two(one: impl FnOnce() + Send + 'static, other: impl FnOnce() + Send + 'static) {
    let threads = [sync::spawn("worker-1", one), sync::spawn("worker-2", other)];
    threads.into_iter().for_each(sync::JoinHandle::join);
}

pub fn served() -> io::Result<Served> {
    Ok(Served { received: 0, replies: 0 })
}

/// Ends, or waits for ever: whoever plays sees which.
fn ends_if(yes: bool) -> io::Result<Served> {
    if !yes {
        Epoll::new()?.wait(&mut Events::with_capacity(1))?;
    }
    served()
}

fn who_modifies_last(server: Server) -> io::Result<Served> {
    let both = Arc::new((Epoll::new()?, server.stop));
    let (epoll, stop) = &*both;
    epoll.add(stop, STOP, Interest::READ)?;
    let as_session = |number: u64| {
        let both = both.clone();
        move || {
            yield_now();
            let (epoll, stop) = &*both;
            epoll.modify(stop, number, Interest::READ).expect("it is on the list");
        }
    };
    two(as_session(1), as_session(2));
    served()
}

fn who_frees(_: Server) -> io::Result<Served> {
    struct Session;
    let session = Arc::new(Session);
    let other = session.clone();
    let lets_go = |session: Arc<Session>| {
        move || {
            yield_now();
            drop(session);
        }
    };
    two(lets_go(session), lets_go(other));
    served()
}

fn who_queues_first(_: Server) -> io::Result<Served> {
    let queue = Arc::new(Queue::new());
    let queues = |task: u64| {
        let queue = queue.clone();
        move || {
            yield_now();
            queue.push(task);
        }
    };
    two(queues(1), queues(2));
    served()
}

/// What the first thread does if it is the first.
fn if_first(what: impl FnOnce() + Send + 'static) {
    let taken = Arc::new(AtomicBool::new(false));
    // The last owner is this thread in any order.
    let (also, _kept) = (taken.clone(), taken.clone());
    let first = move || {
        yield_now();
        if !taken.swap(true, Ordering::SeqCst) {
            what();
        }
    };
    let second = move || {
        yield_now();
        also.swap(true, Ordering::SeqCst);
    };
    two(first, second);
}

fn who_closes(_: Server) -> io::Result<Served> {
    let queue = Arc::new(Queue::<u64>::new());
    let other = queue.clone();
    if_first(move || other.close());
    queue.pop();
    served()
}

fn who_locks(_: Server) -> io::Result<Served> {
    let lock = Arc::new(Mutex::new(0_u64));
    let other = lock.clone();
    if_first(move || std::mem::forget(other.lock()));
    drop(lock.lock());
    served()
}

fn who_writes_last(_: Server) -> io::Result<Served> {
    let number = Arc::new(Mutex::new(0));
    let writes = |value: u64| {
        let number = number.clone();
        move || {
            yield_now();
            *number.lock() = value;
        }
    };
    two(writes(1), writes(2));
    let last = *number.lock();
    ends_if(last == 1)
}

fn who_is_late(_: Server) -> io::Result<Served> {
    let one = Raw::new(0_u64);
    let other = one.clone();
    let uses = move || {
        yield_now();
        one.get();
    };
    let frees = move || {
        yield_now();
        // SAFETY: none: it may be used afterwards.
        unsafe { other.free() };
    };
    two(uses, frees);
    served()
}

fn who_sets_last(_: Server) -> io::Result<Served> {
    let flag = Arc::new(AtomicBool::new(false));
    let sets = |value: bool| {
        let flag = flag.clone();
        move || {
            yield_now();
            flag.store(value, Ordering::SeqCst);
        }
    };
    two(sets(true), sets(false));
    served()
}

fn who_stores_last(_: Server) -> io::Result<Served> {
    let number = Arc::new(AtomicU64::new(0));
    let stores = |value: u64| {
        let number = number.clone();
        move || {
            yield_now();
            number.store(value, Ordering::SeqCst);
        }
    };
    two(stores(1), stores(2));
    ends_if(number.load(Ordering::SeqCst) == 1)
}

/// Two of them, in either order; one is notified, if it sleeps by then.
fn who_is_asleep(_: Server) -> io::Result<Served> {
    let (lock, changed) = (Arc::new(Mutex::new(0_u64)), Arc::new(Condvar::new()));
    let sleeps = || {
        let (lock, changed) = (lock.clone(), changed.clone());
        move || {
            yield_now();
            drop(changed.wait(lock.lock()));
        }
    };
    let (one, other, notifier) = (sleeps(), sleeps(), changed.clone());
    sync::spawn("worker-1", one);
    sync::spawn("worker-2", other);
    sync::spawn("worker-3", move || {
        yield_now();
        notifier.notify_one();
    });
    served()
}

fn who_was_first(_: Server) -> io::Result<Served> {
    let flag = Arc::new(AtomicBool::new(false));
    let queue = Arc::new(Queue::new());
    let takes = |task: u64| {
        let (flag, queue) = (flag.clone(), queue.clone());
        move || {
            yield_now();
            let taken = flag.swap(true, Ordering::SeqCst);
            yield_now();
            if !taken {
                queue.push(task);
            }
        }
    };
    two(takes(1), takes(2));
    served()
}

fn how_far(_: Server) -> io::Result<Served> {
    let flag = AtomicBool::new(false);
    for name in ["one", "other"] {
        point(name);
        flag.load(Ordering::SeqCst);
    }
    served()
}

fn who_fills_last(_: Server) -> io::Result<Served> {
    let buffer = Raw::new(Buffer::new(1));
    let fills = |value: u8| {
        let buffer = buffer.clone();
        move || {
            yield_now();
            // SAFETY: one thread runs at a time.
            unsafe { (&mut *buffer.get().cast_mut())[0] = value };
        }
    };
    two(fills(1), fills(2));
    // SAFETY: as above.
    ends_if(unsafe { &*buffer.get() }[0] == 1)
}

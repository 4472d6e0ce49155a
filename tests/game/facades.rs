//! What the facades of this world do: small programs, and all that can come of them in any order.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use lab::heap::{Buffer, Raw};
use lab::kernel::{Epoll, Events, Interest, Listener, Socket, Stop};
use lab::runner::{LISTENER, STOP, Serve, Served, Server};
use lab::sync::{self, Arc, AtomicBool, AtomicU64, Condvar, Mutex, Ordering, Queue, UnsafeCell, Weak, yield_now};

use crate::check::{Check, Part};
use crate::explore::{Act, Graph, Scenario, explore};
use crate::parts::{served, two};
use crate::replay_every_way;

const ORDER: Ordering = Ordering::SeqCst;

/// Ends the play: this came of it.
fn tell(what: impl ToString) -> ! {
    // A panic that prints nothing.
    std::panic::resume_unwind(Box::new(what.to_string()))
}

fn graph(serve: Serve, workers: usize, client: &[Act]) -> Graph {
    explore(&Scenario::new(serve, workers, client.to_vec()), 5_000).expect("it is small")
}

/// What was told, or where everybody stands, at each end that there is.
fn outcomes(serve: Serve, workers: usize) -> BTreeSet<String> {
    let graph = graph(serve, workers, &[]);
    let ends = graph.nodes.iter().filter_map(|node| Some((node, node.end.as_ref()?)));
    let said = ends.map(|(node, end)| match end.text.strip_prefix("panic: ") {
        Some(told) => told.to_string(),
        None => node.stands[1..].join(", "),
    });
    said.collect()
}

#[track_caller]
fn all_that_comes_of(serve: Serve, workers: usize, expected: &[&str]) {
    let expected: BTreeSet<_> = expected.iter().map(|text| text.to_string()).collect();
    assert_eq!(outcomes(serve, workers), expected);
}

/// A lock with a condition variable, and two queues of notes.
struct Room {
    lock: Mutex<u64>,
    changed: Condvar,
    other: Condvar,
    first: Queue<u64>,
    second: Queue<u64>,
}

fn room() -> Arc<Room> {
    let (changed, other) = (Condvar::new(), Condvar::new());
    Arc::new(Room { lock: Mutex::new(0), changed, other, first: Queue::new(), second: Queue::new() })
}

/// Two threads, each in the wait of an instance of its own, or on its way there. Whoever's wait is over ends.
fn with_two_in_a_wait(server: Server, interest: Interest, are_awake: bool) -> io::Result<Served> {
    let listener = Arc::new(server.listener);
    let waits = || {
        let (epoll, listener) = (Epoll::new().expect("it is made"), listener.clone());
        epoll.add(&*listener, LISTENER, interest).expect("it is new");
        move || {
            if are_awake {
                yield_now();
            }
            let mut events = Events::with_capacity(1);
            epoll.wait_for(&mut events, Some(1)).expect("it waits");
            assert_eq!(events.iter().map(|event| event.token).collect::<Vec<_>>(), [LISTENER]);
        }
    };
    let (one, other) = (waits(), waits());
    two(one, other);
    served()
}

#[test]
fn a_connection_wakes_everybody_or_the_first_that_sleeps_and_who_is_awake_hears_of_it() {
    let ends = |serve: Serve| {
        let graph = graph(serve, 2, &[Act::Connect]);
        let ends = graph.nodes.into_iter().filter(|node| node.end.is_some());
        ends.map(|node| node.stands[2..].join(", ")).collect::<BTreeSet<_>>()
    };
    const BOTH: &str = "has ended, has ended";
    const FIRST: &str = "has ended, sleeps in epoll_wait: there is no event";
    let of = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(ends(|server| with_two_in_a_wait(server, Interest::READ, false)), of(&[BOTH]));
    assert_eq!(ends(|server| with_two_in_a_wait(server, Interest::READ, true)), of(&[BOTH]));
    assert_eq!(ends(|server| with_two_in_a_wait(server, Interest::READ.exclusive(), false)), of(&[FIRST]));
    assert_eq!(ends(|server| with_two_in_a_wait(server, Interest::READ.exclusive(), true)), of(&[BOTH, FIRST]));
}

/// Two threads fall asleep, the first before the second; then `what` is done.
fn with_two_sleepers(the_second_in_another: bool, what: fn(&Room)) -> io::Result<Served> {
    let room = room();
    let (one, other) = (room.clone(), room.clone());
    sync::spawn("worker-1", move || {
        let guard = one.lock.lock();
        one.first.push(1);
        drop(one.changed.wait(guard));
    });
    sync::spawn("worker-2", move || {
        other.first.pop();
        let guard = other.lock.lock();
        other.second.push(1);
        let condvar = if the_second_in_another { &other.other } else { &other.changed };
        drop(condvar.wait(guard));
    });
    room.second.pop();
    // Free when the second one is asleep too.
    drop(room.lock.lock());
    what(&room);
    served()
}

const SLEEPS: &str = "sleeps until it is notified";

#[test]
fn notify_one_wakes_the_one_that_has_slept_longest_and_no_other() {
    let one = |_: Server| with_two_sleepers(false, |room| room.changed.notify_one());
    all_that_comes_of(one, 2, &[&format!("has ended, has ended, {SLEEPS}")]);
}

#[test]
fn notify_all_wakes_everybody() {
    let all = |_: Server| with_two_sleepers(false, |room| room.changed.notify_all());
    all_that_comes_of(all, 2, &["has ended, has ended, has ended"]);
    let twice = |_: Server| {
        with_two_sleepers(false, |room| {
            room.changed.notify_one();
            room.changed.notify_one();
        })
    };
    all_that_comes_of(twice, 2, &["has ended, has ended, has ended"]);
}

#[test]
fn who_sleeps_in_another_condition_variable_sleeps_on() {
    let all = |_: Server| with_two_sleepers(true, |room| room.changed.notify_all());
    all_that_comes_of(all, 2, &[&format!("has ended, has ended, {SLEEPS}")]);
    let the_other = |_: Server| with_two_sleepers(true, |room| room.other.notify_one());
    all_that_comes_of(the_other, 2, &[&format!("has ended, {SLEEPS}, has ended")]);
    let nobody = |_: Server| with_two_sleepers(true, |_| ());
    all_that_comes_of(nobody, 2, &[&format!("has ended, {SLEEPS}, {SLEEPS}")]);
}

#[test]
fn a_notification_is_not_kept_for_who_falls_asleep_later() {
    let serve = |_: Server| {
        let (room, sleeper) = (room(), room());
        let notifier = sleeper.clone();
        let sleeps = move || {
            yield_now();
            drop(sleeper.changed.wait(sleeper.lock.lock()));
        };
        two(sleeps, move || {
            yield_now();
            notifier.changed.notify_all();
        });
        drop(room);
        served()
    };
    let waits = format!("waits for the end of worker-1, {SLEEPS}, has ended");
    all_that_comes_of(serve, 2, &[&waits, "has ended, has ended, has ended"]);
}

#[test]
fn who_wakes_has_the_lock_again() {
    let serve = |_: Server| {
        let room = room();
        let (sleeper, notifier) = (room.clone(), room.clone());
        let sleeps = move || {
            let mut guard = sleeper.lock.lock();
            sleeper.first.push(1);
            guard = sleeper.changed.wait(guard);
            let before = *guard;
            yield_now();
            tell(format!("{before} {}", *guard));
        };
        let notifies = move || {
            notifier.first.pop();
            let mut guard = notifier.lock.lock();
            notifier.changed.notify_one();
            yield_now();
            *guard = 1;
            drop(guard);
            yield_now();
            *notifier.lock.lock() = 2;
        };
        two(sleeps, notifies);
        served()
    };
    all_that_comes_of(serve, 2, &["1 1", "2 2"]);
}

struct Shared(UnsafeCell<u64>);
// SAFETY: one thread runs at a time.
unsafe impl Sync for Shared {}

#[test]
fn a_lock_is_held_by_one_at_a_time_and_a_cell_is_not() {
    let locked = |_: Server| {
        let number = Arc::new(Mutex::new(0));
        let adds = || {
            let number = number.clone();
            move || {
                yield_now();
                let mut guard = number.lock();
                let before = *guard;
                yield_now();
                *guard = before + 1;
            }
        };
        two(adds(), adds());
        tell(*number.lock())
    };
    all_that_comes_of(locked, 2, &["2"]);
    let bare = |_: Server| {
        let number = Arc::new(Shared(UnsafeCell::new(0)));
        let adds = || {
            let number = number.clone();
            move || {
                yield_now();
                // SAFETY: as above.
                let before = unsafe { *number.0.get() };
                yield_now();
                // SAFETY: as above.
                unsafe { *number.0.get() = before + 1 };
            }
        };
        two(adds(), adds());
        // SAFETY: as above.
        tell(unsafe { *number.0.get() })
    };
    all_that_comes_of(bare, 2, &["1", "2"]);
}

#[test]
fn try_lock_does_not_wait() {
    let serve = |_: Server| {
        let lock = Arc::new(Mutex::new(0_u64));
        let (holder, other) = (lock.clone(), lock.clone());
        let holds = move || {
            let guard = holder.lock();
            yield_now();
            drop(guard);
        };
        two(holds, move || {
            yield_now();
            let taken = other.try_lock();
            yield_now();
            let again = other.try_lock().is_some();
            tell(format!("{} {again}", taken.is_some()));
        });
        served()
    };
    // Where it has the lock it has not it again. Where it has not, it may have been given back in between.
    all_that_comes_of(serve, 2, &["true false", "false true", "false false"]);
}

#[test]
fn a_wait_with_a_limit_is_over_when_nobody_else_can_move_and_not_before() {
    let alone = |_: Server| {
        let room = room();
        let (guard, late) = room.changed.wait_timeout(room.lock.lock(), Duration::from_secs(1));
        // It holds the lock, and sleeps no more.
        let busy = room.lock.try_lock().is_none();
        drop(guard);
        room.changed.notify_all();
        tell(format!("late: {late}, has the lock: {busy}"))
    };
    all_that_comes_of(alone, 0, &["late: true, has the lock: true"]);

    fn with_a_notifier(_: Server) -> io::Result<Served> {
        let room = room();
        let (sleeper, notifier) = (room.clone(), room.clone());
        let sleeps = move || {
            yield_now();
            let guard = sleeper.lock.lock();
            let (guard, late) = sleeper.changed.wait_timeout(guard, Duration::ZERO);
            tell(format!("late: {late}, {}", *guard));
        };
        let notifies = move || {
            yield_now();
            *notifier.lock.lock() = 1;
            yield_now();
            notifier.changed.notify_one();
        };
        two(sleeps, notifies);
        served()
    }
    // Late only where the notification came too early; who is notified is not late.
    all_that_comes_of(with_a_notifier, 2, &["late: true, 1", "late: false, 1"]);

    // A client that can go on is somebody else too.
    let timed = |node: &&crate::explore::Node| node.moves.iter().any(|chosen| chosen.did.contains("its time is over"));
    let graph = graph(|_| with_two_timed_sleepers(), 1, &[Act::Stop]);
    let of_late: Vec<_> = graph.nodes.iter().filter(timed).collect();
    assert!(!of_late.is_empty());
    assert!(of_late.iter().all(|node| node.moves.iter().all(|chosen| chosen.role != crate::explore::CLIENT)));
    // Where two are late, either may wake first.
    assert_eq!(of_late[0].moves.len(), 2);
}

fn with_two_timed_sleepers() -> io::Result<Served> {
    let room = room();
    let other = room.clone();
    let sleep = |room: &Room| drop(room.changed.wait_timeout(room.lock.lock(), Duration::from_millis(1)));
    sync::spawn("worker-1", move || sleep(&other));
    sleep(&room);
    served()
}

#[test]
fn a_queue_gives_the_oldest_task_first_and_what_is_left_when_it_is_closed() {
    let serve = |_: Server| {
        let room = room();
        let (pusher, popper) = (room.clone(), room.clone());
        let pushes = move || {
            yield_now();
            pusher.first.push(1);
            // Not this queue.
            pusher.second.close();
            yield_now();
            pusher.first.push(2);
            yield_now();
            pusher.first.close();
        };
        two(pushes, move || {
            let popped: Vec<_> = (0..4).map(|_| popper.first.pop()).collect();
            tell(format!("{popped:?}"));
        });
        served()
    };
    all_that_comes_of(serve, 2, &["[Some(1), Some(2), None, None]"]);
    let never_closed = |_: Server| {
        room().first.pop();
        served()
    };
    all_that_comes_of(never_closed, 0, &["sleeps: the task queue is empty"]);
}

#[test]
fn a_task_goes_to_one() {
    let serve = |_: Server| {
        let room = room();
        let takes = || {
            let room = room.clone();
            move || {
                if let Some(task) = room.first.pop() {
                    *room.lock.lock() += task;
                }
            }
        };
        let threads = [sync::spawn("worker-1", takes()), sync::spawn("worker-2", takes())];
        yield_now();
        room.first.push(1);
        yield_now();
        room.first.close();
        threads.into_iter().for_each(sync::JoinHandle::join);
        tell(*room.lock.lock())
    };
    all_that_comes_of(serve, 2, &["1"]);
}

#[test]
fn a_flag_is_what_was_last_put_there() {
    let alone = |_: Server| {
        let flag = AtomicBool::new(true);
        let mut found = vec![flag.load(ORDER)];
        flag.store(false, ORDER);
        found.push(flag.load(ORDER));
        found.push(flag.swap(true, ORDER));
        found.push(flag.load(ORDER));
        let exchanged =
            [flag.compare_exchange(false, false, ORDER, ORDER), flag.compare_exchange(true, false, ORDER, ORDER)];
        found.push(flag.load(ORDER));
        tell(format!("{found:?} {exchanged:?}"))
    };
    all_that_comes_of(alone, 0, &["[true, false, false, true, false] [Err(true), Ok(true)]"]);

    fn who_is_first(takes: fn(&AtomicBool) -> bool) -> ! {
        let (flag, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tries = || {
            let (flag, count) = (flag.clone(), count.clone());
            move || {
                yield_now();
                if takes(&flag) {
                    count.fetch_add(1, ORDER);
                }
            }
        };
        two(tries(), tries());
        tell(count.load(ORDER))
    }
    all_that_comes_of(|_| who_is_first(|flag| !flag.swap(true, ORDER)), 2, &["1"]);
    all_that_comes_of(|_| who_is_first(|flag| flag.compare_exchange(false, true, ORDER, ORDER).is_ok()), 2, &["1"]);
    fn in_two_steps(flag: &AtomicBool) -> bool {
        let free = !flag.load(ORDER);
        yield_now();
        flag.store(true, ORDER);
        free
    }
    all_that_comes_of(|_| who_is_first(in_two_steps), 2, &["1", "2"]);
}

#[test]
fn a_number_is_what_was_last_put_there() {
    let alone = |_: Server| {
        let number = AtomicU64::new(5);
        let found = [number.load(ORDER), number.fetch_add(3, ORDER), number.fetch_sub(2, ORDER), number.swap(9, ORDER)];
        number.store(number.load(ORDER) + 1, ORDER);
        let exchanged = [number.compare_exchange(9, 1, ORDER, ORDER), number.compare_exchange(10, 0, ORDER, ORDER)];
        number.fetch_sub(1, ORDER);
        tell(format!("{found:?} {exchanged:?} {}", number.load(ORDER) == u64::MAX))
    };
    all_that_comes_of(alone, 0, &["[5, 5, 8, 6] [Err(10), Ok(10)] true"]);
    fn count(adds: fn(&AtomicU64)) -> ! {
        let number = Arc::new(AtomicU64::new(0));
        let again = || {
            let number = number.clone();
            move || {
                yield_now();
                adds(&number);
            }
        };
        two(again(), again());
        tell(number.load(ORDER))
    }
    all_that_comes_of(|_| count(|number| _ = number.fetch_add(1, ORDER)), 2, &["2"]);
    fn in_two_steps(number: &AtomicU64) {
        let before = number.load(ORDER);
        yield_now();
        number.store(before + 1, ORDER);
    }
    all_that_comes_of(|_| count(in_two_steps), 2, &["1", "2"]);
}

struct Session;

#[test]
fn what_is_shared_lives_as_long_as_it_has_an_owner() {
    let serve = |_: Server| {
        let session = Arc::new(Session);
        let (owner, weak) = (session.clone(), Arc::downgrade(&session));
        let lets_go = move || {
            yield_now();
            drop(session);
            yield_now();
            drop(owner);
        };
        two(lets_go, move || {
            yield_now();
            let found = weak.clone().upgrade();
            yield_now();
            let again = weak.upgrade();
            // What was found is an owner.
            tell(format!("{} {}", found.is_some(), again.is_some()));
        });
        served()
    };
    all_that_comes_of(serve, 2, &["true true", "false false"]);
}

#[test]
fn the_last_owner_frees_and_the_panel_counts_them() {
    let serve = |_: Server| {
        let session = Arc::new(Session);
        let weak = Arc::downgrade(&session);
        let other = weak.upgrade().expect("it is there");
        let lets_go = |session: Arc<Session>| {
            move || {
                yield_now();
                drop(session);
            }
        };
        two(lets_go(session), lets_go(other));
        served()
    };
    let graph = graph(serve, 2, &[]);
    let memory = |node: &crate::explore::Node| node.panel.0[2][0].1.clone();
    let ends = graph.nodes.iter().filter(|node| node.end.is_some()).map(memory).collect::<BTreeSet<_>>();
    assert_eq!(ends, BTreeSet::from(["freed by worker-1", "freed by worker-2"].map(String::from)));
    let all: BTreeSet<_> = graph.nodes.iter().map(memory).collect();
    let live = ["live, 1 owner", "live, 2 owners"].map(String::from);
    assert_eq!(all.difference(&ends).cloned().collect::<BTreeSet<_>>(), BTreeSet::from(live));
}

#[test]
fn join_waits_for_the_end() {
    let serve = |_: Server| {
        let flag = Arc::new(AtomicBool::new(false));
        let other = flag.clone();
        let thread = sync::spawn("worker-1", move || {
            yield_now();
            other.store(true, ORDER);
        });
        yield_now();
        thread.join();
        tell(flag.load(ORDER))
    };
    all_that_comes_of(serve, 1, &["true"]);
}

#[test]
fn who_asks_for_ever_is_found() {
    let serve = |_: Server| {
        let flag = AtomicBool::new(false);
        while !flag.load(ORDER) {
            yield_now();
        }
        served()
    };
    let refusal = explore(&Scenario::new(serve, 0, vec![]), 100).err().expect("it has no end");
    assert_eq!((refusal.check, refusal.text.as_str()), (Check::TooManyStates, "more than 100 states"));
}

#[test]
fn a_reactor_sleeps_until_there_is_an_event() {
    let serve = |server: Server| {
        let (epoll, mut events) = (Epoll::new()?, Events::with_capacity(8));
        epoll.add(&server.listener, LISTENER, Interest::READ)?;
        epoll.add(&server.stop, STOP, Interest::READ)?;
        epoll.wait(&mut events)?;
        let tokens: Vec<_> =
            events.iter().map(|event| (event.token == STOP, event.readable(), event.hung_up())).collect();
        tell(format!("{tokens:?} {}", server.listener.accept()?.is_some()))
    };
    let told = |client: &[Act]| {
        let graph = graph(serve, 0, client);
        let ends = graph.nodes.iter().filter_map(|node| node.end.clone());
        ends.map(|end| end.text).collect::<Vec<_>>()
    };
    assert_eq!(told(&[]), ["served, nothing left"]);
    assert_eq!(told(&[Act::Stop]), ["panic: [(true, true, false)] false"]);
    assert_eq!(told(&[Act::Connect]), ["panic: [(false, true, false)] true"]);
}

/// The first thread reads, and goes by it in its next step; the second changes what is read.
fn later(reads: impl FnOnce() -> bool + Send + 'static, changes: impl FnOnce() + Send + 'static) -> io::Result<Served> {
    let acts = move || {
        yield_now();
        let found = reads();
        yield_now();
        tell(found)
    };
    two(acts, move || {
        yield_now();
        changes();
    });
    served()
}

/// The same with something that they share. Its last owner is this thread in any order.
fn of<T: Send + Sync + 'static>(value: T, reads: fn(&T) -> bool, changes: fn(&T)) -> io::Result<Served> {
    let shared = Arc::new(value);
    let (one, other, _kept) = (shared.clone(), shared.clone(), shared);
    later(move || reads(&one), move || changes(&other))
}

fn of_a_flag(reads: fn(&AtomicBool) -> bool) -> io::Result<Served> {
    of(AtomicBool::new(false), reads, |flag| flag.store(true, ORDER))
}

fn of_a_number(reads: fn(&AtomicU64) -> bool) -> io::Result<Served> {
    of(AtomicU64::new(0), reads, |number| number.store(1, ORDER))
}

/// Both do the same with one socket, when its client has done all it does.
fn of_a_socket(server: Server, reads: fn(&Socket) -> bool) -> io::Result<Served> {
    let (socket, tasks) = (Arc::new(OnceLock::<Socket>::new()), Arc::new(Queue::new()));
    let (one, other) = ((socket.clone(), tasks.clone()), (socket.clone(), tasks.clone()));
    sync::spawn("worker-1", move || {
        one.1.pop();
        yield_now();
        let found = reads(one.0.get().expect("it is there"));
        yield_now();
        tell(found)
    });
    sync::spawn("worker-2", move || {
        other.1.pop();
        yield_now();
        reads(other.0.get().expect("it is there"));
    });
    let (epoll, once, mut events) = (Epoll::new()?, Interest::READ.one_shot(), Events::with_capacity(1));
    epoll.add(&server.listener, LISTENER, once)?;
    epoll.wait(&mut events)?;
    let accepted = server.listener.accept()?.expect("it waits");
    epoll.add(&accepted, 1, once)?;
    epoll.wait(&mut events)?;
    assert!(socket.set(accepted).is_ok());
    tasks.push(1_u64);
    tasks.push(2);
    Queue::<u64>::new().pop();
    served()
}

/// What a thread has read belongs to its past: it acts on it later, when the world no longer shows it.
#[test]
fn whatever_a_thread_can_read_makes_two_states_different() {
    let sends = || vec![Act::Connect, Act::Send(b"ab".to_vec())];
    let programs: [(&str, Serve, Vec<Act>); 22] = [
        ("a flag", |_| of_a_flag(|flag| flag.load(ORDER)), vec![]),
        ("a flag that is exchanged", |_| of_a_flag(|flag| flag.swap(true, ORDER)), vec![]),
        (
            "a flag that is compared",
            |_| of_a_flag(|flag| flag.compare_exchange(false, true, ORDER, ORDER).is_err()),
            vec![],
        ),
        ("a number", |_| of_a_number(|number| number.load(ORDER) == 1), vec![]),
        ("a number that is exchanged", |_| of_a_number(|number| number.swap(1, ORDER) == 1), vec![]),
        (
            "a number that is compared",
            |_| of_a_number(|number| number.compare_exchange(0, 1, ORDER, ORDER).is_err()),
            vec![],
        ),
        (
            "a lock that is tried",
            |_| of(Mutex::new(0_u64), |lock| lock.try_lock().is_some(), |lock| std::mem::forget(lock.lock())),
            vec![],
        ),
        ("what a lock guards", |_| of(Mutex::new(0_u64), |lock| *lock.lock() == 1, |lock| *lock.lock() = 1), vec![]),
        (
            "a task",
            |_| {
                let queue = Queue::new();
                queue.push(1_u64);
                queue.close();
                of(queue, |queue| queue.pop().is_some(), |queue| _ = queue.pop())
            },
            vec![],
        ),
        (
            "whether something has an owner",
            |_| {
                let session = Arc::new(0_u64);
                let weak = Arc::downgrade(&session);
                let reads = move || {
                    let found = weak.upgrade();
                    let is_there = found.is_some();
                    std::mem::forget(found);
                    is_there
                };
                later(reads, move || drop(session))
            },
            vec![],
        ),
        (
            "whether it was the last owner",
            |_| {
                thread_local! {
                    static DROPPED: Cell<bool> = const { Cell::new(false) };
                }
                struct Note;
                impl Drop for Note {
                    fn drop(&mut self) {
                        DROPPED.set(true);
                    }
                }
                let note = Arc::new(Note);
                let other = note.clone();
                let reads = move || {
                    drop(note);
                    DROPPED.get()
                };
                later(reads, move || drop(other))
            },
            vec![],
        ),
        (
            "whether its time is over",
            |_| {
                of(
                    (Condvar::new(), Mutex::new(0_u64)),
                    |(changed, lock)| changed.wait_timeout(lock.lock(), Duration::ZERO).1,
                    |(changed, _)| changed.notify_one(),
                )
            },
            vec![],
        ),
        (
            "a buffer",
            |_| {
                let buffer = Raw::new(Buffer::new(1));
                let other = buffer.clone();
                // SAFETY: one thread runs at a time.
                let reads = move || unsafe { &*buffer.get() }[0] == 1;
                // SAFETY: as above.
                later(reads, move || unsafe { (&mut *other.get().cast_mut())[0] = 1 })
            },
            vec![],
        ),
        (
            "a cell that it has entered before",
            |_| {
                let reads = |cell: &Shared| {
                    let at = cell.0.get();
                    yield_now();
                    // SAFETY: one thread runs at a time.
                    unsafe { *at == 1 }
                };
                // SAFETY: as above.
                of(Shared(UnsafeCell::new(0)), reads, |cell| unsafe { *cell.0.get() = 1 })
            },
            vec![],
        ),
        (
            "a cell that both have entered before",
            |_| {
                let cell = Arc::new(Shared(UnsafeCell::new(0)));
                let writes = |value| {
                    let cell = cell.clone();
                    move || {
                        let at = cell.0.get();
                        yield_now();
                        // SAFETY: one thread runs at a time.
                        unsafe { *at = value };
                    }
                };
                two(writes(1), writes(2));
                // SAFETY: as above.
                tell(unsafe { *cell.0.get() })
            },
            vec![],
        ),
        (
            "what a lock guards that is held over another",
            |_| {
                let outer = Arc::new(Mutex::new(0));
                let writes = |value| {
                    let (outer, inner) = (outer.clone(), Mutex::new(0_u64));
                    move || {
                        yield_now();
                        let mut guard = outer.lock();
                        drop(inner.lock());
                        *guard = value;
                    }
                };
                two(writes(1), writes(2));
                let last = *outer.lock();
                tell(last)
            },
            vec![],
        ),
        (
            "events",
            |server| {
                let epoll = Epoll::new()?;
                epoll.add(&server.stop, STOP, Interest::READ)?;
                let reads = |(epoll, _): &(Epoll, Stop)| {
                    let mut events = Events::with_capacity(1);
                    epoll.wait(&mut events).expect("it can wait");
                    events.iter().any(|event| event.token == STOP)
                };
                of((epoll, server.stop), reads, |(epoll, stop)| {
                    epoll.modify(stop, 1, Interest::READ).expect("it is there");
                })
            },
            vec![Act::Stop],
        ),
        (
            "whom it has accepted",
            |server| {
                let accepts = |listener: &Listener| {
                    let socket = listener.accept().expect("it can ask");
                    let is_there = socket.is_some();
                    std::mem::forget(socket);
                    is_there
                };
                of(server.listener, accepts, |listener| std::mem::forget(listener.accept()))
            },
            vec![Act::Connect],
        ),
        (
            "how much was there to read",
            |server| of_a_socket(server, |socket| socket.read(&mut [0; 2]).is_ok()),
            sends(),
        ),
        (
            "what was there to read",
            |server| {
                of_a_socket(server, |socket| {
                    let mut byte = [0];
                    socket.read(&mut byte).is_ok() && byte == *b"a"
                })
            },
            sends(),
        ),
        (
            "which error a write gives",
            |server| {
                of_a_socket(server, |socket| {
                    let error = socket.write(b"reply").expect_err("it was broken off");
                    error.kind() == io::ErrorKind::BrokenPipe
                })
            },
            vec![Act::Connect, Act::Reset],
        ),
        (
            "which error a read gives",
            |server| of_a_socket(server, |socket| socket.read(&mut [0; 2]).is_ok()),
            vec![Act::Connect, Act::Reset],
        ),
    ];
    for (what, serve, client) in programs {
        let mut scenario = Scenario::new(serve, 2, client);
        for without in [&[][..], &[Part::Cells], &[Part::Blocks]] {
            scenario.without = without.to_vec();
            let graph = explore(&scenario, 1_000).expect("it is small");
            let ends: BTreeSet<_> = graph.nodes.iter().filter_map(|node| Some(&node.end.as_ref()?.text)).collect();
            assert!(ends.len() > 1, "{what}: only {ends:?}");
            assert_eq!(replay_every_way(&scenario, &graph), Ok(()), "{what}, without {without:?}");
        }
    }
}

#[test]
fn a_socket_does_what_its_client_lets_it_do() {
    let serve = |server: Server| {
        let (epoll, mut events) = (Epoll::new()?, Events::with_capacity(1));
        epoll.add(&server.listener, LISTENER, Interest::READ)?;
        epoll.wait(&mut events)?;
        let socket = server.listener.accept()?.expect("it waits");
        epoll.delete(&server.listener)?;
        epoll.add(&socket, 1, Interest::HANG_UP)?;
        epoll.wait(&mut events)?;
        let mut buffer = [0; 8];
        let read = socket.read(&mut buffer)?;
        let end = socket.read(&mut buffer)?;
        let written = socket.write(b"reply")?;
        socket.shutdown_write();
        let refused = socket.write(b"reply").expect_err("it is shut").kind();
        epoll.wait(&mut events)?;
        let number = socket.number();
        tell(format!("{:?} {end} {written} {refused:?} {number}", &buffer[..read]))
    };
    // The second connection would be told of.
    let client = [Act::Connect, Act::Send(b"ab".to_vec()), Act::Fin];
    let graph = graph(serve, 0, &client);
    let ends: BTreeSet<_> = graph.nodes.iter().filter_map(|node| node.end.clone()).map(|end| end.text).collect();
    assert_eq!(ends, BTreeSet::from(["panic: [97, 98] 0 5 BrokenPipe 6".to_string()]));
}

#[test]
fn a_source_that_was_deleted_or_closed_is_not_reported() {
    fn waits_without_the_listener(server: Server, forget: fn(&Epoll, Listener)) -> io::Result<Served> {
        let epoll = Epoll::new()?;
        epoll.add(&server.listener, LISTENER, Interest::READ)?;
        epoll.add(&server.stop, STOP, Interest::READ)?;
        forget(&epoll, server.listener);
        epoll.wait(&mut Events::with_capacity(1))?;
        tell("woken")
    }
    let deletes: Serve = |server| {
        waits_without_the_listener(server, |epoll, listener| {
            epoll.delete(&listener).expect("it is there");
            std::mem::forget(listener);
        })
    };
    let closes: Serve = |server| waits_without_the_listener(server, |_, listener| drop(listener));
    for serve in [deletes, closes] {
        let graph = graph(serve, 0, &[Act::Connect]);
        let stands: BTreeSet<_> = graph.nodes.iter().map(|node| node.stands[1].as_str()).collect();
        assert_eq!(stands, BTreeSet::from(["sleeps in epoll_wait: there is no event"]));
    }
}

#[test]
fn a_buffer_is_not_used_after_it_was_freed() {
    let serve = |_: Server| {
        let mut buffer = std::mem::ManuallyDrop::new(Buffer::new(1));
        buffer[0] = 1;
        // SAFETY: none, which is what it is about; the bytes stay.
        unsafe { std::mem::ManuallyDrop::drop(&mut buffer) };
        tell(buffer[0])
    };
    let graph = graph(serve, 0, &[]);
    let ends: Vec<_> = graph.nodes.iter().filter_map(|node| Some(node.end.as_ref()?.text.as_str())).collect();
    assert_eq!(ends, ["use after free of buffer 1"]);
}

/// How often it has passed a point belongs to its past too, though it has read nothing there.
#[test]
fn who_comes_to_the_same_point_again_is_not_where_it_was() {
    let serve = |_: Server| {
        for _ in 0..2 {
            yield_now();
        }
        served()
    };
    let graph = graph(serve, 0, &[]);
    assert_eq!(graph.nodes.len(), 3);
    assert_eq!(replay_every_way(&Scenario::new(serve, 0, vec![]), &graph), Ok(()));
}

#[test]
fn nothing_is_upgraded_after_its_end() {
    let serve = |_: Server| {
        let weak: Weak<u64> = Arc::downgrade(&Arc::new(0));
        tell(weak.upgrade().is_some())
    };
    all_that_comes_of(serve, 0, &["false"]);
}

//! Which calls are steps: before each of them another thread may come in. Both checkers learn of a step by the same
//! tick, so a call that forgot its own would be seen too seldom by both, and their agreement would show nothing. Here
//! is how many each makes.

use crate::heap::Raw;
use crate::kernel::{Epoll, Events, Interest, Listener, Socket, Source, Stop, Timer, call, raise};
use crate::models::{Said, Test, test};
use crate::search::{self, Limits};
use crate::sync::{Arc, AtomicU64, Condvar, Duration, Handoff, Mutex, Ordering, Queue, UnsafeCell};
use crate::turn::{Checker, with_loom};
use crate::world::{self, Rules};

/// In a cell a second thread is looked for, so that to enter and to leave it are steps.
const RULES: Rules = Rules { two_inside: true, ..Rules::DEFAULT };

/// One execution of one thread, in which each call says its steps. Gives what is not as it should be.
fn each_call(checker: Checker) -> Vec<String> {
    let (loom, order) = (checker == Checker::Loom, Ordering::SeqCst);
    let mut wrong = Vec::new();
    let mut steps = |what: &str, wanted: u64, call: &mut dyn FnMut()| {
        let before = world::with(|world| world.steps);
        call();
        let made = world::with(|world| world.steps) - before;
        if made != wanted {
            wrong.push(format!("{what}: {made} steps, and not {wanted}"));
        }
    };

    let lock = Mutex::new(0_u64);
    let mut guard = None;
    steps("lock", 1, &mut || guard = Some(lock.lock()));
    steps("a lock that is held", 1, &mut || assert!(lock.try_lock().is_none()));
    steps("unlock", 1, &mut || guard = None);
    steps("a lock that is free, and its unlock", 2, &mut || assert!(lock.try_lock().is_some()));
    let changed = Condvar::new();
    // It gives the lock back, falls asleep, and takes the lock again.
    guard = Some(lock.lock());
    steps("wait, until its limit is over", 3, &mut || {
        let (again, over) = changed.wait_timeout(guard.take().expect("it is held"), Duration::from_secs(1));
        assert!(over);
        guard = Some(again);
    });
    drop(guard);
    steps("notify_one", 1, &mut || changed.notify_one());
    steps("notify_all", 1, &mut || changed.notify_all());

    let queue = Queue::new();
    steps("push", 1, &mut || queue.push(7));
    steps("pop", 1, &mut || assert_eq!(queue.pop(), Some(7)));
    steps("close of the queue", 1, &mut || queue.close());
    steps("pop of a closed queue", 1, &mut || assert_eq!(queue.pop(), None));

    let number = AtomicU64::new(0);
    // For loom the access itself is one more.
    let access = if loom { 2 } else { 1 };
    steps("load", access, &mut || _ = number.load(order));
    steps("store", access, &mut || number.store(1, order));
    steps("swap", access, &mut || _ = number.swap(2, order));
    steps("fetch_add", access, &mut || _ = number.fetch_add(1, order));
    steps("compare_exchange", access, &mut || _ = number.compare_exchange(3, 4, order, order));

    let share = Arc::new(());
    let mut other = None;
    steps("clone", u64::from(!loom), &mut || other = Some(share.clone()));
    steps("drop of a share", 1, &mut || other = None);
    let weak = Arc::downgrade(&share);
    steps("upgrade", 1, &mut || other = weak.upgrade());
    steps("drop of what was upgraded", 1, &mut || other = None);
    drop(share);
    steps("upgrade in vain", 1, &mut || assert!(weak.upgrade().is_none()));

    let handoff = Handoff::new(0);
    let mut inside = None;
    // SAFETY: there is one thread.
    steps("enter", 1, &mut || inside = Some(unsafe { handoff.enter() }));
    steps("leave", 1, &mut || inside = None);

    let mut block = Some(Raw::new(1_u64));
    // Nobody can have come in since the last access.
    let fresh = u64::from(!loom);
    steps("use of a block, again", fresh, &mut || _ = block.as_ref().expect("it is there").get());
    queue.close();
    steps("use of a block, later", 1, &mut || _ = block.as_ref().expect("it is there").get());
    // SAFETY: it is used no more.
    steps("free", 1, &mut || unsafe { block.take().expect("it is there").free() });

    let cell = UnsafeCell::new(0);
    steps("the address in a cell", 1, &mut || _ = cell.get());
    steps("pop by whoever is inside", 2, &mut || assert_eq!(queue.pop(), None));

    let ok = "the model's calls succeed";
    let mut listener = None;
    steps("listen", 1, &mut || listener = Some(Listener::open()));
    let listener = listener.expect("it was made");
    let mut epoll = None;
    steps("epoll_create", 1, &mut || epoll = Some(Epoll::new().expect(ok)));
    let epoll = epoll.expect("it was made");
    let client = call(|world| world.net.connect());
    let mut socket: Option<Socket> = None;
    steps("accept", 1, &mut || socket = listener.accept().expect(ok));
    steps("accept in vain", 1, &mut || assert!(listener.accept().expect(ok).is_none()));
    let socket = socket.expect("it was accepted");
    let mut events = Events::with_capacity(1);
    steps("EPOLL_CTL_ADD", 1, &mut || epoll.add(&socket, 7, Interest::READ).expect(ok));
    steps("EPOLL_CTL_MOD", 1, &mut || epoll.modify(&socket, 7, Interest::READ).expect(ok));
    steps("epoll_wait without a wait", 1, &mut || epoll.poll(&mut events).expect(ok));
    call(|world| world.net.send(client, b"sent"));
    steps("epoll_wait", 1, &mut || epoll.wait(&mut events).expect(ok));
    steps("FIONREAD", 1, &mut || assert_eq!(socket.unread().expect(ok), 4));
    steps("read", 1, &mut || assert_eq!(socket.read(&mut [0; 9]).expect(ok), 4));
    steps("write", 1, &mut || assert_eq!(socket.write(b"w").expect(ok), 1));
    steps("write, or the end", 1, &mut || assert!(socket.write_or_end(b"w")));
    steps("shutdown", 1, &mut || socket.shutdown_write());
    steps("EPOLL_CTL_DEL", 1, &mut || epoll.delete(&socket).expect(ok));
    let mut socket = Some(socket);
    steps("close", 1, &mut || socket = None);
    let mut stop = None;
    steps("eventfd", 1, &mut || stop = Some(Stop::open()));
    let stop = stop.expect("it was made");
    steps("write to an eventfd", 1, &mut || raise(stop.fd()));
    let mut timer = None;
    steps("timerfd", 1, &mut || timer = Some(Timer::after(1).expect(ok)));
    steps("close of a timer", 1, &mut || timer = None);
    wrong
}

fn every_call_is_a_step(checker: Checker) -> Said {
    let execute = move || {
        let wrong = each_call(checker);
        if !wrong.is_empty() {
            std::panic::panic_any(wrong.join("\n"));
        }
    };
    let said = match checker {
        Checker::Loom => {
            let (_, panic) = with_loom(None, move |_| {
                world::begin(RULES);
                execute();
                world::take_down(|| drop(world::end()));
            });
            let said = panic.map(|panic| text(&*panic));
            drop(world::end());
            said
        }
        Checker::Search => {
            let limits = Limits { cap: 1, merging: true, bound: None };
            search::check(limits, || world::begin(RULES), &execute, || (), text).1
        }
    };
    said.map_or(Ok(String::new()), Err)
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    panic.downcast_ref::<String>().cloned().unwrap_or("it panicked".to_string())
}

pub fn all() -> Vec<Test> {
    [Checker::Loom, Checker::Search]
        .into_iter()
        .map(|checker| test(&format!("steps_{checker:?}_every_call_is_one"), 1, move || every_call_is_a_step(checker)))
        .collect()
}

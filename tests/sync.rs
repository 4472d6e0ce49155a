//! The facades of `lab::sync`, watched: what they record, and how they wait where a director chooses who moves.

use std::panic::resume_unwind;
use std::sync::{Mutex as Plain, PoisonError, mpsc};

use lab::direct::director::{Direction, Director, GRACE};
use lab::direct::in_order::InOrder;
use lab::direct::outcome::{Evidence, Outcome, Step};
use lab::point::point;
use lab::record::blackbox::{Blackbox, MAIN, Mode};
use lab::record::event::{Kind, Record, Waiting};
use lab::schedule::{OPERATOR, Schedule};
use lab::sync::{self, Arc, AtomicBool, Condvar, Duration, JoinHandle, Mutex, Ordering::SeqCst, Weak};

const POINTS: [&str; 4] = ["first", "second", "third", "fourth"];

/// The box and its mode are the process's, so these tests come one after the other.
static WATCHED: Plain<()> = Plain::new(());

/// What `body` records, done by `main`.
fn recorded(body: impl FnOnce() + Send + 'static) -> Vec<Record> {
    let _alone = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let blackbox = Blackbox::new(1024).expect("there is a memfd");
    blackbox.install(Mode::Recorded);
    let done = std::thread::spawn(move || {
        Blackbox::register_current_thread(MAIN);
        body();
    });
    let done = done.join();
    blackbox.install(Mode::Off);
    done.unwrap_or_else(|panic| resume_unwind(panic));
    blackbox.records()
}

fn kinds(records: &[Record]) -> Vec<(Kind, u64)> {
    records.iter().map(|record| (record.kind, record.b)).collect()
}

struct Directed {
    steps: Vec<Step>,
    verdict: Direction,
    records: Vec<Record>,
}

impl Directed {
    /// For what the role of this step, counted from 1, waited when it was refused.
    fn waited(&self, step: usize) -> Option<Waiting> {
        match self.steps[step - 1].outcome {
            Outcome::Refused { waiting, .. } => Some(waiting),
            _ => None,
        }
    }

    fn passed(&self, step: usize) -> bool {
        self.steps[step - 1].outcome == Outcome::Passed
    }

    fn of(&self, kind: Kind) -> Vec<&Record> {
        self.records.iter().filter(|record| record.kind == kind).collect()
    }
}

/// Directs a server whose `main` starts the threads of `server` and waits for their end; `after` is done once the
/// points are open. The director goes on to the end where it is told to stop.
fn direct(order: &str, server: impl FnOnce() -> Vec<JoinHandle> + Send + 'static, after: impl FnOnce()) -> Directed {
    let _alone = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let blackbox = Blackbox::new(1024).expect("there is a memfd");
    let schedule = Schedule::parse(order, &POINTS, 2).expect("it is well formed");
    if schedule.stops() {
        blackbox.add_client(OPERATOR).expect("there is room");
    }
    blackbox.install(Mode::Directed);
    let main = std::thread::spawn(move || {
        Blackbox::register_current_thread(MAIN);
        server().into_iter().for_each(JoinHandle::join);
        // No step is its own: it stays until the points are open.
        point("first");
    });
    let (alive, limit): (&mut dyn FnMut() -> bool, _) = (&mut || true, Some(Duration::from_secs(10)));
    let (strategy, outside, stays) = (&mut InOrder::new(&schedule), schedule.outside(), schedule.stops());
    let mut director =
        Director { blackbox, strategy, outside, limit, alive, traced: &|| false, stays, stop: &|| (), grace: GRACE };
    let (steps, verdict) = director.run(&mut []);
    after();
    let joined = main.join();
    blackbox.install(Mode::Off);
    joined.unwrap_or_else(|panic| resume_unwind(panic));
    Directed { steps, verdict, records: blackbox.records() }
}

#[test]
fn what_reads_and_writes_a_flag_is_a_look_and_a_set_and_what_only_reads_is_a_look() {
    use Kind::{AtomicLoad, AtomicStore};
    let changes = |change: fn(&AtomicBool)| {
        let records = recorded(move || change(&AtomicBool::new(false)));
        assert!(records.iter().all(|record| record.file.ends_with("tests/sync.rs")), "{records:?}");
        kinds(&records)
    };
    assert_eq!(changes(|flag| assert!(!flag.load(SeqCst))), [(AtomicLoad, 0)]);
    assert_eq!(changes(|flag| flag.store(true, SeqCst)), [(AtomicStore, 1)]);
    assert_eq!(changes(|flag| assert!(!flag.swap(true, SeqCst))), [(AtomicLoad, 0), (AtomicStore, 1)]);
    let exchanged = |flag: &AtomicBool| assert_eq!(flag.compare_exchange(false, true, SeqCst, SeqCst), Ok(false));
    assert_eq!(changes(exchanged), [(AtomicLoad, 0), (AtomicStore, 1)]);
    let other = |flag: &AtomicBool| assert_eq!(flag.compare_exchange(true, false, SeqCst, SeqCst), Err(false));
    assert_eq!(changes(other), [(AtomicLoad, 0)]);
    let weak = |flag: &AtomicBool| assert_eq!(flag.compare_exchange_weak(true, false, SeqCst, SeqCst), Err(false));
    assert_eq!(changes(weak), [(AtomicLoad, 0)]);
    assert_eq!(changes(|flag| assert!(!flag.fetch_or(true, SeqCst))), [(AtomicLoad, 0), (AtomicStore, 1)]);
    assert_eq!(changes(|flag| assert!(!flag.fetch_and(true, SeqCst))), [(AtomicLoad, 0), (AtomicStore, 0)]);
    let stays_set = |flag: &AtomicBool| assert!(!flag.swap(true, SeqCst) && flag.fetch_or(false, SeqCst));
    assert_eq!(changes(stays_set), [(AtomicLoad, 0), (AtomicStore, 1), (AtomicLoad, 1), (AtomicStore, 1)]);
    let both_set = |flag: &AtomicBool| assert!(!flag.swap(true, SeqCst) && flag.fetch_or(true, SeqCst));
    assert_eq!(changes(both_set), [(AtomicLoad, 0), (AtomicStore, 1), (AtomicLoad, 1), (AtomicStore, 1)]);
    let is_cleared = |flag: &AtomicBool| assert!(!flag.swap(true, SeqCst) && flag.fetch_and(false, SeqCst));
    assert_eq!(changes(is_cleared), [(AtomicLoad, 0), (AtomicStore, 1), (AtomicLoad, 1), (AtomicStore, 0)]);
}

#[test]
fn a_lock_that_was_only_tried_is_recorded_if_it_was_free() {
    let records = recorded(|| {
        let lock = Mutex::new(0);
        let held = lock.try_lock().expect("it is free");
        assert!(lock.try_lock().is_none(), "it is held");
        drop(held);
    });
    assert_eq!(kinds(&records), [(Kind::Lock, 0), (Kind::Unlock, 0)]);
    assert!(records[0].file.ends_with("tests/sync.rs"), "{records:?}");
}

#[test]
fn only_who_owns_a_value_is_counted_and_who_comes_back_is_an_owner_more() {
    let records = recorded(|| {
        let owner = Arc::new(7);
        let (weak, nobody) = (Arc::downgrade(&owner), Weak::<u32>::new());
        assert!(nobody.upgrade().is_none());
        let again = weak.clone().upgrade().expect("there is an owner");
        assert_eq!(*again, 7);
        drop(owner);
        drop(again);
        assert!(weak.upgrade().is_none(), "the last owner has gone");
    });
    let of_value: Vec<_> = records.iter().map(|record| (record.kind, record.a == records[0].a, record.b)).collect();
    let (alloc, free) = ((Kind::Alloc, true, 4), (Kind::Free, true, 4));
    assert_eq!(of_value, [alloc, (Kind::ReferenceCount, true, 2), (Kind::ReferenceCount, true, 1), free]);
    assert!(records[1].file.ends_with("tests/sync.rs"), "{records:?}");
}

#[test]
fn a_sleep_that_the_clock_ends_is_recorded_as_that() {
    let records = recorded(|| {
        let (lock, changed) = (Mutex::new(()), Condvar::new());
        let (guard, is_over) = changed.wait_timeout(lock.lock(), Duration::ZERO);
        assert!(is_over);
        assert!(lock.try_lock().is_none(), "it has its lock again");
        drop(guard);
    });
    let (lock, woken) = ((Kind::Lock, 0), (Kind::Woken, 1));
    assert_eq!(kinds(&records), [lock, (Kind::Sleep, 0), (Kind::Unlock, 0), lock, woken, (Kind::Unlock, 0)]);
    assert!(records.iter().all(|record| record.file.ends_with("tests/sync.rs")), "{records:?}");
}

/// worker-1 tries the lock twice, worker-2 holds it at the first time, and comes again while worker-1 has it.
#[test]
fn who_tries_a_held_lock_does_not_wait_and_who_has_got_it_is_its_holder() {
    let (tell, told) = mpsc::channel();
    let run = direct(
        "worker-2 first\nworker-1 first\nworker-2 second\nworker-1 second\nworker-2 third\nworker-1 third\n\
         worker-2 fourth\n",
        || {
            let lock = Arc::new(Mutex::new(()));
            let tries = {
                let lock = lock.clone();
                sync::spawn("worker-1", move || {
                    point("first");
                    tell.send(lock.try_lock().is_some()).expect("the test listens");
                    point("second");
                    let held = lock.try_lock();
                    tell.send(held.is_some()).expect("the test listens");
                    point("third");
                    drop(held);
                    point("fourth");
                })
            };
            let locks = sync::spawn("worker-2", move || {
                point("first");
                let held = lock.lock();
                point("second");
                drop(held);
                point("third");
                drop(lock.lock());
                point("fourth");
            });
            vec![tries, locks]
        },
        || (),
    );
    assert_eq!(told.iter().collect::<Vec<_>>(), [false, true]);
    assert_eq!(run.verdict, Direction::Over);
    let refused = &run.steps[4].outcome;
    assert!(matches!(refused, Outcome::Refused { waiting: Waiting::Lock, holder: Some(2), .. }), "{refused:?}");
    assert!((1..=7).filter(|step| *step != 5).all(|step| run.passed(step)), "{:?}", run.steps);
    assert_eq!(run.of(Kind::Lock).iter().map(|lock| lock.role).collect::<Vec<_>>(), [3, 2, 3]);
}

/// worker-1 sleeps for `time` at most, and tells how it woke; worker-2, if it is there, notifies.
fn sleeper(
    time: Duration,
    is_notified: bool,
    tell: mpsc::Sender<bool>,
) -> impl FnOnce() -> Vec<JoinHandle> + Send + 'static {
    move || {
        let shared = Arc::new((Mutex::new(()), Condvar::new()));
        let sleeps = {
            let shared = shared.clone();
            sync::spawn("worker-1", move || {
                let (lock, changed) = &*shared;
                point("first");
                let (guard, is_over) = changed.wait_timeout(lock.lock(), time);
                drop(guard);
                tell.send(is_over).expect("the test listens");
                if !is_notified {
                    changed.notify_one();
                }
                point("second");
            })
        };
        let notifies = || {
            sync::spawn("worker-2", move || {
                point("first");
                shared.1.notify_one();
                point("second");
            })
        };
        std::iter::once(sleeps).chain(is_notified.then(notifies)).collect()
    }
}

/// By the clock its time is over at once: in a directed run that is not what ends it.
#[test]
fn a_time_that_is_over_by_the_clock_goes_on_until_the_order_wants_it_over() {
    let (tell, told) = mpsc::channel();
    let order = "worker-1 first\nworker-2 first\nworker-2 second\nworker-1 second\n";
    let run = direct(order, sleeper(Duration::ZERO, true, tell), || ());
    assert_eq!((told.recv(), &run.verdict), (Ok(false), &Direction::Over), "it was notified");
    assert_eq!((run.waited(1), run.passed(4)), (Some(Waiting::NoticeOrTime), true), "{:?}", run.steps);
    assert_eq!(run.of(Kind::Notify)[0].b, 1, "somebody slept");
    assert_eq!(run.of(Kind::Woken)[0].b, 0);
}

/// By the clock its time is never over. Who is notified after that is not this thread any more.
#[test]
fn a_time_is_over_when_the_next_step_is_of_who_waits_for_it() {
    let (tell, told) = mpsc::channel();
    let order = "worker-1 first\nworker-1 second\nworker-2 first\nworker-2 second\n";
    let run = direct(order, sleeper(Duration::MAX, true, tell), || ());
    assert_eq!((told.recv(), &run.verdict), (Ok(true), &Direction::Over));
    assert!((2..=4).all(|step| run.passed(step)), "{:?}", run.steps);
    assert_eq!((run.of(Kind::Woken)[0].b, run.of(Kind::Notify)[0].b), (1, 0));
}

#[test]
fn what_is_left_of_a_time_when_the_order_is_over_is_the_clocks() {
    let (tell, told) = mpsc::channel();
    let run = direct("worker-1 first\n", sleeper(Duration::from_millis(1), false, tell), || ());
    assert_eq!((told.recv(), &run.verdict), (Ok(true), &Direction::Over));
    assert_eq!(run.of(Kind::Notify)[0].b, 0, "it sleeps no more");
}

/// One thread that sleeps until it is notified, for a time or without an end, in a server that is told to stop.
fn stopped_while_asleep(time: Option<Duration>) -> Directed {
    let changed = Arc::new(Condvar::new());
    let (sleeps_in, after) = (changed.clone(), changed);
    let server = move || {
        vec![sync::spawn("worker-1", move || {
            let lock = Mutex::new(());
            point("first");
            match time {
                Some(time) => drop(sleeps_in.wait_timeout(lock.lock(), time)),
                None => drop(sleeps_in.wait(lock.lock())),
            }
        })]
    };
    direct("worker-1 first\noperator stop\n", server, move || after.notify_one())
}

#[test]
fn who_sleeps_for_a_time_is_not_stuck_and_who_sleeps_without_an_end_is() {
    assert_eq!(stopped_while_asleep(Some(Duration::MAX)).verdict, Direction::Over);
    let stuck = stopped_while_asleep(None).verdict;
    assert!(
        matches!(&stuck, Direction::Shown(Evidence::NeverStops(stuck)) if stuck.joins == Some((MAIN, 3))),
        "{stuck:?}"
    );
}

/// worker-2 spins for as long as the flag is set; worker-1, if it is there, clears it between its points.
fn spinner(spins: fn(), is_cleared: bool) -> (Arc<AtomicBool>, impl FnOnce() -> Vec<JoinHandle> + Send + 'static) {
    let flag = Arc::new(AtomicBool::new(true));
    let (cleared, spun) = (flag.clone(), flag.clone());
    let server = move || {
        let clears = || {
            sync::spawn("worker-1", move || {
                point("first");
                cleared.store(false, SeqCst);
                point("second");
            })
        };
        let clears = is_cleared.then(clears);
        let waits = sync::spawn("worker-2", move || {
            point("first");
            while spun.load(SeqCst) {
                spins();
            }
            point("second");
        });
        clears.into_iter().chain([waits]).collect()
    };
    (flag, server)
}

#[test]
fn who_spins_lets_the_others_move_and_goes_on_when_it_has_seen_what_it_waits_for() {
    for spins in [sync::spin_loop, sync::yield_now] {
        let (_, server) = spinner(spins, true);
        let run = direct("worker-2 first\nworker-2 second\nworker-1 first\nworker-1 second\n", server, || ());
        assert_eq!(run.verdict, Direction::Over);
        assert_eq!((run.waited(1), &run.steps[1].outcome), (Some(Waiting::Turn), &Outcome::HeldBack));
        assert!(run.passed(3) && run.passed(4), "{:?}", run.steps);
    }
}

/// Each look is recorded, so by the box somebody moves all the time.
#[test]
fn who_spins_for_ever_does_not_keep_the_director() {
    let (flag, server) = spinner(sync::spin_loop, false);
    let run = direct("worker-2 first\noperator stop\n", server, move || flag.store(false, SeqCst));
    assert_eq!(run.verdict, Direction::Over);
    assert!(run.of(Kind::AtomicLoad).len() < 1024);
}

#[test]
fn a_thread_that_gives_way_once_is_not_held() {
    let server = || {
        vec![sync::spawn("worker-1", || {
            point("first");
            sync::yield_now();
            point("second");
            sync::yield_now();
        })]
    };
    let run = direct("worker-1 first\nworker-1 second\n", server, || ());
    assert!(run.passed(1) && run.passed(2), "{:?}", run.steps);
}

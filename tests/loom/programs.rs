//! Programs that nobody wrote: a few threads, each a few calls on the facades, given to both checkers. They must agree
//! on everything that each thread can have seen, and on who hangs.
//!
//! Each program is explored by loom as the models are, by loom with every call about one world ([`Rules::independence`]
//! off), by the search, and by the search with no state taken for another. Where one of these would take more
//! executions than it may have, what it saw until then must be in what the search saw; how often that was is said. With
//! the memory orders that the program asks for, loom must see all of that, and may see more.
//!
//! `LAB_PROGRAMS=20000 cargo test --test loom programs` for more of them.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex as Plain};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::kernel::{Epoll, Events, Interest, Listener, Socket, call};
use crate::memory::outside;
use crate::models::{Said, Test, test};
use crate::search::{self, Limits};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Duration, Mutex, MutexGuard, Ordering, Queue, spawn};
use crate::turn::{self, Checker, with_loom};
use crate::world::{self, Defect, Home, Rules, What};

/// More executions than this, and one of the slow ways of exploring is cut off: in a plain test run, and when somebody
/// asks for more.
const CAP: [usize; 2] = [300, 1_000];

/// How many programs to try, and how far each way of exploring goes.
fn how_far() -> (u32, usize) {
    match std::env::var("LAB_PROGRAMS").ok().and_then(|text| text.parse().ok()) {
        None => (USUAL, CAP[0]),
        Some(count) => (count, CAP[1]),
    }
}

/// One call of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Lock(usize),
    TryLock(usize),
    /// Gives the lock back that was taken last, if one is held.
    Unlock,
    /// Writes to what the last lock guards, if one is held.
    Put(u64),
    /// Reads it.
    Get,
    /// Takes the lock, writes, and gives it back.
    LockedPut(usize, u64),
    /// Takes the lock, reads, and gives it back.
    LockedGet(usize),
    Push(u64),
    Pop,
    /// Of the first lock, if it is held and the last one taken.
    Wait,
    WaitTimeout,
    NotifyOne,
    NotifyAll,
    Look(Ordering),
    Set(bool, Ordering),
    Swap(bool, Ordering),
    Load(Ordering),
    Store(u64, Ordering),
    Add(u64, Ordering),
    Exchange(u64, u64, Ordering),
    Arm(usize),
    EpollWait,
    Poll,
    Read(usize),
    Write(usize),
    Send(usize),
    Fin(usize),
    Reset(usize),
    /// Ends the thread early if the last thing that it read was 0, or was not.
    ReturnIf(bool),
}

#[derive(Clone, Debug)]
struct Program {
    threads: Vec<Vec<Call>>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, calls) in self.threads.iter().enumerate() {
            let calls: Vec<_> = calls.iter().map(|call| format!("{call:?}")).collect();
            writeln!(f, "thread {}: {}", n + 1, calls.join("; "))?;
        }
        Ok(())
    }
}

/// What the threads share.
struct Shared {
    locks: [Mutex<u64>; 2],
    queue: Queue<u64>,
    changed: Condvar,
    flag: AtomicBool,
    number: AtomicU64,
    epoll: Epoll,
    sockets: Vec<Socket>,
    _listener: Listener,
}

// SAFETY: the threads of a model are coroutines of one thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

const ONCE: Interest = Interest::READ.edge_triggered().one_shot();

impl Shared {
    fn new(clients: usize) -> Shared {
        let (listener, epoll) = (Listener::open(), Epoll::new().expect("the model opens it"));
        let sockets: Vec<Socket> = (0..clients)
            .map(|_| {
                call(|world| world.net.connect());
                let socket = listener.accept().expect("the model accepts").expect("a client has come");
                epoll.add(&socket, 7, ONCE).expect("it is open");
                socket
            })
            .collect();
        Shared {
            locks: [Mutex::new(0), Mutex::new(0)],
            queue: Queue::new(),
            changed: Condvar::new(),
            flag: AtomicBool::new(false),
            number: AtomicU64::new(0),
            epoll,
            sockets,
            _listener: listener,
        }
    }
}

/// Plays the calls of one thread.
fn play(calls: &[Call], shared: &Shared) {
    let mut held: Vec<(usize, MutexGuard<'_, u64>)> = Vec::new();
    let mut last = 0_u64;
    let mut events = Events::with_capacity(4);
    let note = |value: u64| world::log(What::Count(Some(value), None));
    for &each in calls {
        match each {
            // A thread that takes a lock twice only waits for itself.
            Call::Lock(lock) | Call::TryLock(lock) if held.iter().any(|(other, _)| *other == lock) => {}
            Call::Lock(lock) => held.push((lock, shared.locks[lock].lock())),
            Call::TryLock(lock) => {
                let guard = shared.locks[lock].try_lock();
                last = u64::from(guard.is_some());
                note(last);
                held.extend(guard.map(|guard| (lock, guard)));
            }
            Call::Unlock => _ = held.pop(),
            Call::Put(value) => {
                if let Some((_, guard)) = held.last_mut() {
                    **guard = value;
                }
            }
            Call::Get => {
                if let Some((_, guard)) = held.last() {
                    last = **guard;
                    note(last);
                }
            }
            Call::LockedPut(lock, _) | Call::LockedGet(lock) if held.iter().any(|(other, _)| *other == lock) => {}
            Call::LockedPut(lock, value) => *shared.locks[lock].lock() = value,
            Call::LockedGet(lock) => {
                last = *shared.locks[lock].lock();
                note(last);
            }
            Call::Push(value) => shared.queue.push(value),
            Call::Pop => last = shared.queue.pop().unwrap_or(0),
            Call::Wait | Call::WaitTimeout => {
                if let Some((0, guard)) = held.pop_if(|(lock, _)| *lock == 0) {
                    let (guard, over) = match each {
                        Call::Wait => (shared.changed.wait(guard), false),
                        _ => shared.changed.wait_timeout(guard, Duration::from_millis(1)),
                    };
                    last = u64::from(over);
                    held.push((0, guard));
                }
            }
            Call::NotifyOne => shared.changed.notify_one(),
            Call::NotifyAll => shared.changed.notify_all(),
            Call::Look(order) => last = u64::from(shared.flag.load(order)),
            Call::Set(value, order) => shared.flag.store(value, order),
            Call::Swap(value, order) => last = u64::from(shared.flag.swap(value, order)),
            Call::Load(order) => last = shared.number.load(order),
            Call::Store(value, order) => shared.number.store(value, order),
            Call::Add(value, order) => last = shared.number.fetch_add(value, order),
            Call::Exchange(current, new, order) => {
                let found = shared.number.compare_exchange(current, new, order, Ordering::Relaxed);
                last = u64::from(found.is_ok());
            }
            Call::Arm(n) => shared.epoll.modify(&shared.sockets[n], 7, ONCE).expect("it is registered"),
            Call::EpollWait => {
                shared.epoll.wait(&mut events).expect("it is open");
                last = events.iter().count() as u64;
            }
            Call::Poll => {
                shared.epoll.poll(&mut events).expect("it is open");
                last = events.iter().count() as u64;
                note(last);
            }
            Call::Read(n) => last = shared.sockets[n].read(&mut [0; 2]).unwrap_or(9) as u64,
            Call::Write(n) => last = shared.sockets[n].write(b"w").unwrap_or(9) as u64,
            Call::Send(n) => call(|world| world.net.send(n, b"sent")),
            Call::Fin(n) => call(|world| world.net.fin(n)),
            Call::Reset(n) => call(|world| world.net.reset(n)),
            Call::ReturnIf(zero) if (last == 0) == zero => return,
            Call::ReturnIf(_) => {}
        }
    }
}

impl Program {
    fn clients(&self) -> usize {
        let of = |call: &Call| match call {
            Call::Arm(n) | Call::Read(n) | Call::Write(n) | Call::Send(n) | Call::Fin(n) | Call::Reset(n) => n + 1,
            _ => 0,
        };
        self.threads.iter().flatten().map(of).max().unwrap_or(0)
    }

    fn has_atomics(&self) -> bool {
        let is = |call: &Call| {
            matches!(
                call,
                Call::Look(_)
                    | Call::Set(..)
                    | Call::Swap(..)
                    | Call::Load(_)
                    | Call::Store(..)
                    | Call::Add(..)
                    | Call::Exchange(..)
            )
        };
        self.threads.iter().flatten().any(is)
    }

    /// One execution.
    fn execute(&self) {
        #[allow(clippy::arc_with_non_send_sync)]
        let shared = Arc::new(Shared::new(self.clients()));
        turn::explore();
        for (n, calls) in self.threads.iter().enumerate() {
            let (shared, calls) = (shared.clone(), calls.clone());
            spawn(&format!("thread-{}", n + 1), move || {
                let played = catch_unwind(AssertUnwindSafe(|| play(&calls, &shared)));
                if let Err(panic) = played
                    && panic.downcast_ref::<Home>().is_none()
                {
                    std::panic::resume_unwind(panic);
                }
                // The end of what they share is not what this is about.
                world::take_down(|| drop(shared));
            });
        }
        world::wait_until_quiet();
        turn::stop_exploring();
        outside(|| {
            let blocked = world::with(|world| world.blocked());
            let replies = world::with(|world| (0..self.clients()).map(|n| world.replies(n).len()).collect::<Vec<_>>());
            let all = format!("{}{blocked} {replies:?}", world::histories().concat());
            SEEN.with_borrow_mut(|seen| seen.push(all));
        });
        world::send_home();
        world::take_down(|| drop(shared));
    }

    /// What can be seen of it: each execution's histories, and who hangs at its end. The second value says whether that
    /// is all.
    fn seen_by_loom(&self, rules: Rules) -> Result<(BTreeSet<String>, bool), String> {
        let program = self.clone();
        SEEN.set(Vec::new());
        let (_, cap) = how_far();
        let (_, panic) = with_loom(None, move |number| {
            if number > cap {
                std::panic::resume_unwind(Box::new(search::CAPPED));
            }
            world::begin(rules);
            program.execute();
            drop(world::end());
        });
        let cut = panic.map(|panic| is_cut_off(&*panic));
        drop(world::end());
        seen(cut)
    }

    fn seen_by_search(&self, rules: Rules, merging: bool) -> Result<(BTreeSet<String>, bool), String> {
        SEEN.set(Vec::new());
        let cap = if merging { usize::MAX } else { how_far().1 };
        let (begin, execution) = (|| world::begin(rules), || self.execute());
        let limits = Limits { cap, merging, bound: None };
        let (_, cut) = search::check(limits, begin, &execution, || (), is_cut_off);
        seen(cut)
    }

    /// Both checkers, each in all its ways. Gives which of the slow ones were cut off.
    fn agrees(&self) -> Result<[bool; 4], String> {
        let sequential = Rules { sequential: true, ..Rules::DEFAULT };
        let (all, _) = self.seen_by_search(sequential, true)?;
        let reduced = same("loom", &all, self.seen_by_loom(sequential)?)?;
        let one_world = Rules { independence: false, ..sequential };
        let whole = same("loom, with every call about one world,", &all, self.seen_by_loom(one_world)?)?;
        let unmerged = same("the search that merges no states", &all, self.seen_by_search(sequential, false)?)?;
        let mut weak = false;
        if self.has_atomics() {
            let (seen, whole) = self.seen_by_loom(Rules::DEFAULT)?;
            weak = !whole;
            if let Some(lost) = all.difference(&seen).next().filter(|_| whole) {
                return Err(format!("loom, with the memory orders as they are, does not see:\n{lost}"));
            }
        }
        Ok([reduced, whole, unmerged, weak])
    }

    /// The checkers as they are against one that is wrong.
    fn shows(&self, defect: Defect) -> Result<(), String> {
        let sequential = Rules { sequential: true, ..Rules::DEFAULT };
        let wrong = Rules { defect: Some(defect), ..sequential };
        let (all, _) = self.seen_by_search(sequential, true)?;
        let seen = match defect.checker() {
            Checker::Loom => self.seen_by_loom(wrong)?,
            Checker::Search => self.seen_by_search(wrong, true)?,
        };
        same("the wrong one", &all, seen).map(|_| ())
    }
}

/// Whether what was seen is all, or as much of it as comes before it was cut off. Gives whether it was.
fn same(what: &str, all: &BTreeSet<String>, (seen, whole): (BTreeSet<String>, bool)) -> Result<bool, String> {
    let lost = if whole { all.difference(&seen).next() } else { None };
    match lost.or(seen.difference(all).next()) {
        None => Ok(!whole),
        Some(one) => {
            let way = if lost.is_some() { "does not see" } else { "alone sees" };
            Err(format!("{what} {way}:\n{one}"))
        }
    }
}

thread_local! {
    static SEEN: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Nothing worse is the matter than that there were too many executions; or what is.
fn is_cut_off(panic: &(dyn Any + Send)) -> Result<(), String> {
    if panic.downcast_ref::<&str>() == Some(&search::CAPPED) {
        return Ok(());
    }
    let verdict = world::look(|world| world.and_then(|world| world.verdict.clone()));
    let said = panic.downcast_ref::<String>().cloned();
    Err(verdict.map(|verdict| verdict.text).or(said).unwrap_or("a panic".to_string()))
}

/// What was seen, and whether that is all.
fn seen(cut: Option<Result<(), String>>) -> Result<(BTreeSet<String>, bool), String> {
    let whole = cut.is_none();
    cut.unwrap_or(Ok(()))?;
    Ok((SEEN.take().into_iter().collect(), whole))
}

/// What a call is about. A program is about one or two of these, so that its threads meet.
#[derive(Clone, Copy, Debug)]
enum Theme {
    Locks,
    Tasks,
    Notices,
    Atomics,
    Kernel,
}

fn a_call(theme: Theme) -> BoxedStrategy<Call> {
    let load = || prop_oneof![Just(Ordering::Relaxed), Just(Ordering::Acquire), Just(Ordering::SeqCst)];
    let store = || prop_oneof![Just(Ordering::Relaxed), Just(Ordering::Release), Just(Ordering::SeqCst)];
    let both = || prop_oneof![Just(Ordering::Relaxed), Just(Ordering::AcqRel), Just(Ordering::SeqCst)];
    let n = || prop_oneof![5 => Just(0_usize), 1 => Just(1)];
    match theme {
        Theme::Locks => prop_oneof![
            3 => n().prop_map(Call::Lock),
            1 => n().prop_map(Call::TryLock),
            3 => Just(Call::Unlock),
            1 => (1..4_u64).prop_map(Call::Put),
            1 => Just(Call::Get),
            6 => (n(), 1..9_u64).prop_map(|(lock, value)| Call::LockedPut(lock, value)),
            6 => n().prop_map(Call::LockedGet),
        ]
        .boxed(),
        Theme::Tasks => prop_oneof![(0..3_u64).prop_map(Call::Push), Just(Call::Pop)].boxed(),
        Theme::Notices => prop_oneof![
            2 => Just(Call::Lock(0)),
            1 => Just(Call::Unlock),
            2 => Just(Call::Wait),
            2 => Just(Call::WaitTimeout),
            1 => Just(Call::NotifyOne),
            1 => Just(Call::NotifyAll),
        ]
        .boxed(),
        Theme::Atomics => prop_oneof![
            load().prop_map(Call::Look),
            (any::<bool>(), store()).prop_map(|(value, order)| Call::Set(value, order)),
            (any::<bool>(), both()).prop_map(|(value, order)| Call::Swap(value, order)),
            load().prop_map(Call::Load),
            (1..4_u64, store()).prop_map(|(value, order)| Call::Store(value, order)),
            (1..4_u64, both()).prop_map(|(value, order)| Call::Add(value, order)),
            (0..3_u64, 1..4_u64, both()).prop_map(|(current, new, order)| Call::Exchange(current, new, order)),
        ]
        .boxed(),
        Theme::Kernel => prop_oneof![
            n().prop_map(Call::Arm),
            Just(Call::EpollWait),
            Just(Call::Poll),
            n().prop_map(Call::Read),
            n().prop_map(Call::Write),
            n().prop_map(Call::Send),
            n().prop_map(Call::Fin),
            n().prop_map(Call::Reset),
        ]
        .boxed(),
    }
}

/// Two threads of up to six calls, or three: of up to four, and sometimes of up to six.
fn a_program() -> impl Strategy<Value = Program> {
    let theme = || {
        prop_oneof![
            3 => Just(Theme::Locks),
            2 => Just(Theme::Tasks),
            2 => Just(Theme::Notices),
            2 => Just(Theme::Atomics),
            3 => Just(Theme::Kernel),
        ]
    };
    let size = prop_oneof![5 => Just((2, 6)), 4 => Just((3, 4)), 1 => Just((3, 6))];
    (theme(), theme(), size).prop_flat_map(|(one, other, (threads, calls))| {
        let call = prop_oneof![4 => a_call(one), 3 => a_call(other), 1 => any::<bool>().prop_map(Call::ReturnIf)];
        let thread = proptest::collection::vec(call, 1..=calls);
        proptest::collection::vec(thread, threads).prop_map(|threads| Program { threads })
    })
}

/// So many programs, always the same ones, until `agrees` is not so. Then the smallest that shows it.
fn try_programs(seed: u8, count: u32, agrees: impl Fn(&Program) -> Result<(), String>) -> Result<(), String> {
    // Without a word of its own about a shrinking that was cut short.
    let config =
        Config { cases: count, failure_persistence: None, max_shrink_iters: 200, verbose: 0, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let result = TestRunner::new_with_rng(config, rng)
        .run(&a_program(), |program| agrees(&program).map_err(TestCaseError::fail));
    match result {
        Ok(()) => Ok(()),
        Err(TestError::Fail(why, program)) => Err(format!("{program}{why}")),
        Err(TestError::Abort(why)) => Err(format!("it was given up: {why}")),
    }
}

/// How many programs a plain test run tries, in two halves, for two cores.
const USUAL: u32 = 500;
const SEEDS: [u8; 2] = [7, 11];

fn the_checkers_agree(seed: u8) -> Said {
    let (count, cap) = how_far();
    let count = count / SEEDS.len() as u32;
    let cut = Plain::new([0; 4]);
    try_programs(seed, count, |program| {
        let one = program.agrees()?;
        let mut cut = cut.lock().expect("one thread tries them");
        cut.iter_mut().zip(one).for_each(|(sum, one)| *sum += usize::from(one));
        Ok(())
    })?;
    let cut = cut.into_inner().expect("one thread tries them");
    let [reduced, whole, unmerged, weak] = cut.map(crate::thousands);
    let (count, cap) = (crate::thousands(count as usize), crate::thousands(cap));
    Ok(format!(
        "{count} programs, no difference. Cut off after {cap} executions, and compared as far: loom {reduced}, loom with every \
         call about one world {whole}, the search without merging {unmerged}, loom with the memory orders as they are {weak}\n"
    ))
}

/// A checker that is wrong in a known way is found out, and the smallest program that shows it is said.
fn a_wrong_checker_is_found_out(defect: Defect) -> Said {
    match try_programs(SEEDS[0], USUAL, |program| program.shows(defect)) {
        Ok(()) => Err(format!("{defect:?} was not found by {USUAL} programs")),
        Err(why) => Ok(format!("{defect:?} is found, by this program among others:\n{why}\n")),
    }
}

/// A program that loom by itself gets wrong: the second thread stores 1, the first reads that and makes it 2, and the
/// second reads the 2. 20,000 generated programs found it.
fn every_order_of_an_atomics_accesses_is_tried() -> Said {
    let order = Ordering::Relaxed;
    let first = vec![Call::Load(order), Call::Add(1, order)];
    let program = Program { threads: vec![first, vec![Call::Store(1, order), Call::Load(order)]] };
    program.agrees()?;
    let all = program.seen_by_search(Rules { sequential: true, ..Rules::DEFAULT }, true)?.0;
    let (seen, _) = program.seen_by_loom(Rules { defect: Some(Defect::AtomicsUnseen), ..Rules::DEFAULT })?;
    match all.difference(&seen).next() {
        Some(lost) => Ok(format!("loom by itself does not see:\n{lost}\n")),
        None => Err("loom by itself sees all: the step before each access can go".to_string()),
    }
}

/// Of two who sleep either may be woken, whoever slept first.
fn a_notification_wakes_any_sleeper() -> Said {
    let first = vec![Call::Lock(0), Call::Set(true, Ordering::SeqCst), Call::Wait, Call::Unlock];
    // It sleeps only if the first one slept before.
    let look = [Call::Lock(0), Call::Look(Ordering::SeqCst), Call::ReturnIf(true), Call::Wait, Call::Unlock];
    let program = Program { threads: vec![first, look.to_vec(), vec![Call::NotifyOne]] };
    let rules = Rules { sequential: true, ..Rules::DEFAULT };
    for seen in [program.seen_by_search(rules, true)?.0, program.seen_by_loom(rules)?.0] {
        for (sleeps, wakes) in [("thread-1", "thread-2"), ("thread-2", "thread-1")] {
            let waits = |history: &String, who| history.contains(&format!("{who} waits for a notification"));
            let is_it =
                |history: &&String| history.contains("Look(true)") && waits(history, sleeps) && !waits(history, wakes);
            if !seen.iter().any(|history| is_it(&history)) {
                return Err(format!("{wakes} is never woken before {sleeps}, of\n{seen:?}"));
            }
        }
    }
    Ok(String::new())
}

pub fn all() -> Vec<Test> {
    let mut tests = Vec::new();
    for seed in SEEDS {
        let name = format!("programs_that_nobody_wrote_are_the_same_to_both_checkers_{seed}");
        tests.push(test(&name, 10, move || the_checkers_agree(seed)));
    }
    let name = "programs_in_which_every_order_of_an_atomics_accesses_is_tried";
    tests.push(test(name, 1, every_order_of_an_atomics_accesses_is_tried));
    tests.push(test("programs_in_which_a_notification_wakes_any_sleeper", 1, a_notification_wakes_any_sleeper));
    for defect in Defect::FOUND {
        let name = format!("programs_find_a_checker_that_is_wrong_{defect:?}");
        tests.push(test(&name, 3, move || a_wrong_checker_is_found_out(defect)));
    }
    tests
}

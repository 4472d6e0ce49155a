//! The second checker: every state of the world, one call at a time, sequentially consistent.
//!
//! It shares with loom neither scheduler nor coroutines nor reduction. At each tick it looks which threads could go on,
//! and goes on with each of them in turn: depth first, and back to an earlier state by putting its [`memory`] back.
//!
//! # The one reduction: states that were met before
//!
//! Two states are the same if the shared world is the same and each thread knows the same ([`World::fingerprint`]). A
//! thread is deterministic: what it does next follows from its program and from the results that it was given, and
//! those are what it knows. So from one and the same state the same executions follow, and whatever could be found in
//! them is found behind the first. Plain memory behind a lock counts as what the last thread that could write to it
//! knew.
//!
//! The state is kept as a hash of 128 bits. Two states that are not the same have the same one with a probability of
//! less than n² / 2^129 for n states: below one in 10^24 for ten million.
//!
//! # A bound, for looking only
//!
//! With a bound on preemptions a thread goes on for as long as it can, but for so many times. Most bugs need few, and
//! are met long before every state was. What was searched with a bound is never said to be complete.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::memory::{self, Kept, Room, inside};
use crate::turn::{Checker, with_checker};
use crate::world::{self, CLIENT, Role};

type Thread = Coroutine<(), (), (), Room>;

/// One thread of the execution.
struct One {
    /// Not there while it runs.
    thread: Option<Thread>,
    /// Where it gives its turn back.
    yielder: Option<*const Yielder<(), ()>>,
    /// Of its stack.
    in_use: Range<usize>,
    /// Nothing was done since it was chosen: its next tick is that choice.
    chosen: bool,
    /// It has given way: it goes on when another has moved.
    gives_way: bool,
}

/// The threads of an execution, by role.
#[derive(Default)]
struct Threads {
    all: Vec<One>,
    /// Every order from here on, or one.
    explores: bool,
}

thread_local! {
    /// In the region, as the world, so that it is put back with the rest.
    static THREADS: RefCell<Option<Box<Threads>>> = const { RefCell::new(None) };
}

fn threads<R>(look: impl FnOnce(&mut Threads) -> R) -> R {
    THREADS.with_borrow_mut(|threads| look(threads.as_mut().expect("an execution has threads")))
}

fn own<R>(look: impl FnOnce(&mut One) -> R) -> R {
    let me = world::me();
    threads(|threads| look(&mut threads.all[me]))
}

/// From here on every order, or one.
pub fn explore(every: bool) {
    threads(|threads| threads.explores = every);
}

/// Another thread may come in here.
pub fn step() {
    if !own(|me| std::mem::take(&mut me.chosen)) {
        suspend();
        own(|me| me.chosen = false);
    }
}

/// Until it is woken, and then chosen.
pub fn sleep() {
    suspend();
}

/// Others go first, if any can.
pub fn give_way() {
    own(|me| {
        me.gives_way = true;
        me.chosen = false;
    });
    suspend();
}

fn suspend() {
    let in_use = Room(world::me()).in_use();
    let yielder = own(|me| {
        me.in_use = in_use;
        me.yielder.expect("it runs")
    });
    // SAFETY: a yielder lives on the stack of its coroutine, as long as that runs: and this is it.
    unsafe { (*yielder).suspend(()) };
}

/// A thread that plays `role`, the next one that there is.
pub fn spawn(role: Role, body: Box<dyn FnOnce()>) {
    let thread = Coroutine::with_stack(Room(role), move |yielder: &Yielder<(), ()>, ()| {
        own(|me| me.yielder = Some(yielder));
        body();
        world::with(|world| world.leave(role));
    });
    threads(|threads| {
        assert_eq!(role, threads.all.len(), "roles begin one after another");
        let in_use = Room(role).in_use_at_first();
        threads.all.push(One { thread: Some(thread), yielder: None, in_use, chosen: false, gives_way: false });
    });
}

/// Lets `role` go on until its next tick, or until it sleeps or has ended. Gives what it panicked with, if it did.
fn go(role: Role) -> Result<(), Box<dyn Any + Send>> {
    inside(|| {
        let mut thread = threads(|threads| {
            threads.all.iter_mut().for_each(|one| one.gives_way = false);
            threads.all[role].chosen = true;
            threads.all[role].thread.take().expect("who runs has not ended")
        });
        world::take_turn(role);
        let result = catch_unwind(AssertUnwindSafe(|| thread.resume(())));
        if matches!(result, Ok(CoroutineResult::Yield(()))) {
            threads(|threads| threads.all[role].thread = Some(thread));
        }
        result.map(|_| ())
    })
}

/// The whole state: the world's, and who gives way.
fn fingerprint() -> u128 {
    let bit = |(role, one): (Role, &One)| u128::from(one.gives_way) << role;
    world::with(|world| world.fingerprint()) ^ threads(|threads| threads.all.iter().enumerate().map(bit).sum::<u128>())
}

/// A fingerprint is as good a hash as any.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("the set has nothing but fingerprints in it");
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Who could go on. Who gives way only if nobody else can.
fn running() -> Vec<Role> {
    let all: Vec<Role> = world::with(|world| world.running().collect());
    let gives_way = |role: &Role| threads(|threads| threads.all[*role].gives_way);
    let first: Vec<Role> = all.iter().copied().filter(|role| !gives_way(role)).collect();
    if first.is_empty() { all } else { first }
}

/// What was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// States in which more than one thread could go on.
    pub states: usize,
    /// Executions, most of them only from a state in which there was a choice to a state that was known.
    pub executions: usize,
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// More states than this, and the search is cut off.
    pub cap: usize,
    /// States that were met before are not gone on from.
    pub merging: bool,
    /// No more preemptions than this in an execution.
    pub bound: Option<usize>,
}

/// Explores every order of the threads that `execution` starts, until one panics or there is none left. `begin` makes a
/// world; `execution` plays the script, and says when every order counts; `at_the_end` looks at each execution that
/// came to its end. Gives what was explored, and what `found` makes of the panic: the world is still there, and what it
/// gives must be its own.
///
/// With `merging` off no state is taken for another: every order is played to its end, for small programs only.
pub fn check<F>(
    limits: Limits,
    begin: impl Fn(),
    execution: &dyn Fn(),
    at_the_end: impl Fn(),
    found: impl FnOnce(&(dyn Any + Send)) -> F,
) -> (Explored, Option<F>) {
    let (mut found, mut finding) = (Some(found), None);
    let explored = explore_all(limits, &begin, execution, &at_the_end, &mut |panic| {
        finding = found.take().map(|found| found(panic));
    });
    (explored, finding)
}

fn explore_all(
    Limits { cap, merging, bound }: Limits,
    begin: &dyn Fn(),
    execution: &dyn Fn(),
    at_the_end: &dyn Fn(),
    found: &mut dyn FnMut(&(dyn Any + Send)),
) -> Explored {
    // SAFETY: the threads that call it are gone at the end of this function.
    let execution = unsafe { std::mem::transmute::<&dyn Fn(), &'static dyn Fn()>(execution) };
    with_checker(Checker::Search, || {
        memory::clear();
        inside(|| {
            THREADS.set(Some(Box::default()));
            begin();
            spawn(CLIENT, Box::new(execution));
        });
        let mut walk = Walk { merging, cap, bound, ..Walk::default() };
        if let Err(panic) = walk.explore(at_the_end) {
            found(&*panic);
            // What it points to lies in the region.
            std::mem::forget(panic);
        }
        // Nothing inside owns what is outside: so it all ends with the region.
        threads(|threads| {
            for one in &mut threads.all {
                // SAFETY: nothing on that stack is looked at again.
                one.thread.iter_mut().for_each(|thread| unsafe { thread.force_reset() });
            }
        });
        std::mem::forget(THREADS.take());
        std::mem::forget(world::end());
        walk.explored
    })
}

/// What the panic of a search that was cut off carries.
pub const CAPPED: &str = "capped";

/// A state in which several threads could go on, and not all of them have.
struct Node {
    memory: Kept,
    /// Who is still to go on from there, the next one last.
    untried: Vec<Role>,
    /// Who could have gone on, and how many preemptions there were before.
    last: Option<Role>,
    preemptions: usize,
}

#[derive(Default)]
struct Walk {
    merging: bool,
    cap: usize,
    bound: Option<usize>,
    /// Who moved last, and how many preemptions there were.
    last: Role,
    preemptions: usize,
    /// On the way to where it is.
    nodes: Vec<Node>,
    known: HashSet<u128, BuildHasherDefault<AsItIs>>,
    explored: Explored,
    /// Memory of nodes that are done with.
    spare: Vec<Kept>,
}

impl Walk {
    fn explore(&mut self, at_the_end: &dyn Fn()) -> Result<(), Box<dyn Any + Send>> {
        self.explored.executions = 1;
        loop {
            let running = running();
            let goes_on = running.iter().copied().find(|role| *role == self.last);
            let is_free =
                threads(|threads| threads.explores) && (goes_on.is_none() || self.bound != Some(self.preemptions));
            let next = match running[..] {
                [] => {
                    at_the_end();
                    None
                }
                [role] => Some(role),
                _ if is_free => self.branch(running, goes_on)?,
                _ => Some(goes_on.unwrap_or(running[0])),
            };
            match next.or_else(|| self.back()) {
                None => return Ok(()),
                Some(role) => {
                    self.last = role;
                    go(role)?;
                }
            }
        }
    }

    /// Who goes on from here first, if the state is new.
    fn branch(&mut self, mut running: Vec<Role>, last: Option<Role>) -> Result<Option<Role>, Box<dyn Any + Send>> {
        let preemptions = self.preemptions;
        // With a bound it matters who may go on for nothing, and how many are left.
        let state = fingerprint() ^ self.bound.map_or(0, |_| world::digest((last, preemptions)));
        if !self.known.insert(state) && self.merging {
            return Ok(None);
        }
        self.explored.states += 1;
        if self.explored.states > self.cap {
            return Err(Box::new(CAPPED));
        }
        let mut memory = self.spare.pop().unwrap_or_default();
        threads(|threads| {
            let alive = threads.all.iter().filter(|one| one.thread.is_some());
            memory::keep(&mut memory, alive.map(|one| one.in_use.clone()));
        });
        // Who was at it first, so that what is found has few preemptions.
        running.sort_by_key(|role| (Some(*role) != last, *role));
        running.reverse();
        self.nodes.push(Node { memory, untried: running, last, preemptions });
        Ok(self.go_on())
    }

    /// From the last node.
    fn go_on(&mut self) -> Option<Role> {
        let node = self.nodes.last_mut()?;
        let role = node.untried.pop()?;
        self.preemptions = node.preemptions + usize::from(node.last.is_some_and(|last| last != role));
        if node.untried.is_empty() {
            self.spare.extend(self.nodes.pop().map(|node| node.memory));
        }
        Some(role)
    }

    /// Goes back to the last state from which somebody is still to go on, and says who.
    fn back(&mut self) -> Option<Role> {
        memory::put_back(&self.nodes.last()?.memory);
        self.explored.executions += 1;
        self.go_on()
    }
}

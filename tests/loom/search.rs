//! The second checker: every state of the world, one call at a time, sequentially consistent.
//!
//! It shares with loom neither scheduler nor coroutines nor reduction. At each tick it looks which threads could go on, and goes
//! on with each of them in turn: depth first, and back to an earlier state by playing its execution once more from the start.
//!
//! # The one reduction: states that were met before
//!
//! Two states are the same if the shared world is the same and each thread knows the same ([`World::fingerprint`]). A thread is
//! deterministic: what it does next follows from its program and from the results that it was given, and those are what it
//! knows. So from one and the same state the same executions follow, and whatever could be found in them is found behind the
//! first. Plain memory behind a lock counts as what the last thread that could write to it knew.
//!
//! The state is kept as a hash of 128 bits. Two states that are not the same have the same one with a probability of less than
//! n² / 2^129 for n states: below one in 10^24 for ten million.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::turn::{Checker, with_checker};
use crate::world::{self, CLIENT, Role};

/// Room for a worker's read buffer, and for what an unoptimised test build puts beside it, in bytes.
const STACK: usize = 256 * 1024;

type Thread = Coroutine<(), (), (), DefaultStack>;

/// The threads of an execution.
#[derive(Default)]
struct Threads {
    /// By role. Not there while it runs.
    all: Vec<Option<Thread>>,
    /// Where each gives its turn back.
    yielders: Vec<Option<*const Yielder<(), ()>>>,
    /// Nothing was done since the thread was chosen: its next tick is that choice.
    chosen: Vec<bool>,
    /// It has given way: it goes on when another has moved.
    gives_way: Vec<bool>,
    spare: Vec<DefaultStack>,
}

thread_local! {
    static THREADS: RefCell<Threads> = RefCell::default();
    static EXPLORES: Cell<bool> = const { Cell::new(false) };
}

fn threads<R>(look: impl FnOnce(&mut Threads) -> R) -> R {
    THREADS.with_borrow_mut(look)
}

/// From here on every order, or one.
pub fn explore(every: bool) {
    EXPLORES.set(every);
}

/// Another thread may come in here.
pub fn step() {
    let me = world::me();
    if !threads(|threads| std::mem::take(&mut threads.chosen[me])) {
        suspend();
        threads(|threads| threads.chosen[me] = false);
    }
}

/// Until it is woken, and then chosen.
pub fn sleep() {
    suspend();
}

/// Others go first, if any can.
pub fn give_way() {
    let me = world::me();
    threads(|threads| {
        threads.gives_way[me] = true;
        threads.chosen[me] = false;
    });
    suspend();
}

fn suspend() {
    let me = world::me();
    let yielder = threads(|threads| threads.yielders[me]).expect("it runs");
    // SAFETY: a yielder lives on the stack of its coroutine, as long as that runs: and this is it.
    unsafe { (*yielder).suspend(()) };
}

/// A thread that plays `role`.
pub fn spawn(role: Role, body: impl FnOnce() + 'static) {
    threads(|threads| {
        let stack = threads.spare.pop().unwrap_or_else(|| DefaultStack::new(STACK).expect("memory for a stack"));
        let thread = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            self::threads(|threads| threads.yielders[role] = Some(yielder));
            body();
            world::with(|world| world.leave(role));
        });
        let room = role + 1;
        threads.all.resize_with(room.max(threads.all.len()), || None);
        threads.yielders.resize(room.max(threads.yielders.len()), None);
        threads.chosen.resize(room.max(threads.chosen.len()), false);
        threads.gives_way.resize(room.max(threads.gives_way.len()), false);
        threads.all[role] = Some(thread);
    });
}

/// Lets `role` go on until its next tick, or until it sleeps or has ended. Gives what it panicked with, if it did.
fn go(role: Role) -> Result<(), Box<dyn Any + Send>> {
    let mut thread = threads(|threads| {
        threads.chosen[role] = true;
        threads.gives_way.fill(false);
        threads.all[role].take().expect("who runs has not ended")
    });
    world::take_turn(role);
    let result = catch_unwind(AssertUnwindSafe(|| thread.resume(())));
    let ended = matches!(result, Ok(CoroutineResult::Return(())) | Err(_));
    threads(|threads| match ended {
        true => threads.spare.push(thread.into_stack()),
        false => threads.all[role] = Some(thread),
    });
    result.map(|_| ())
}

/// The whole state: the world's, and who gives way.
fn fingerprint() -> u128 {
    let (world, mut ways) = (world::with(|world| world.fingerprint()), DefaultHasher::new());
    threads(|threads| threads.gives_way.hash(&mut ways));
    world ^ u128::from(ways.finish())
}

/// Who could go on. Who gives way only if nobody else can.
fn running() -> Vec<Role> {
    let all: Vec<Role> = world::with(|world| world.running().collect());
    let first: Vec<Role> = threads(|threads| all.iter().copied().filter(|role| !threads.gives_way[*role]).collect());
    if first.is_empty() { all } else { first }
}

/// Nothing is left of the execution: what has not ended is unwound, and models nothing meanwhile.
fn clear() {
    for role in 0..threads(|threads| threads.all.len()) {
        if let Some(mut thread) = threads(|threads| threads.all[role].take()) {
            world::take_turn(role);
            world::take_down(|| thread.force_unwind());
            threads(|threads| threads.spare.push(thread.into_stack()));
        }
    }
    threads(|threads| {
        threads.all.clear();
        threads.yielders.clear();
        threads.chosen.clear();
        threads.gives_way.clear();
    });
}

/// A state in which several threads could go on.
struct Node {
    /// The one before, and who went on from there.
    before: Option<(usize, Role)>,
    state: u128,
}

/// What was explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// States in which more than one thread could go on.
    pub states: usize,
    /// Executions, most of them played only until a state that was known.
    pub executions: usize,
}

/// Explores every order of the threads that `execution` starts, until one panics or there is none left. `execution` begins a
/// world, plays the script, and says when every order counts; `at_the_end` looks at each execution that came to its end.
/// Gives what was explored, and the panic.
///
/// With `merging` off no state is taken for another: every order is played to its end, for small programs only.
///
/// # Panics
/// If the same choices lead to different states.
pub fn check(
    cap: usize,
    merging: bool,
    begin: impl Fn(),
    execution: impl Fn() + Clone + 'static,
    at_the_end: impl Fn(),
) -> (Explored, Option<Box<dyn Any + Send>>) {
    with_checker(Checker::Search, || {
        let mut walk = Walk { nodes: Vec::new(), known: HashSet::new(), untried: vec![None], merging };
        let mut explored = Explored::default();
        while let Some(next) = walk.untried.pop() {
            explored.executions += 1;
            begin();
            EXPLORES.set(false);
            spawn(CLIENT, execution.clone());
            let result = walk.play(next);
            explored.states = walk.nodes.len();
            match result {
                Ok(true) => at_the_end(),
                Ok(false) => {}
                Err(panic) => {
                    clear();
                    return (explored, Some(panic));
                }
            }
            clear();
            drop(world::end());
            if explored.states > cap {
                return (explored, Some(Box::new(CAPPED)));
            }
        }
        (explored, None)
    })
}

/// What the panic of a search that was cut off carries.
pub const CAPPED: &str = "capped";

struct Walk {
    nodes: Vec<Node>,
    known: HashSet<u128>,
    /// A state, and who goes on from there; `None` for the beginning.
    untried: Vec<Option<(usize, Role)>>,
    merging: bool,
}

impl Walk {
    /// One execution: the choices that lead to where `next` begins, and from there on whatever is new. Says whether it came to
    /// its end.
    fn play(&mut self, next: Option<(usize, Role)>) -> Result<bool, Box<dyn Any + Send>> {
        // The choices that lead to it, the last one first.
        let (mut choices, mut at) = (Vec::new(), next);
        while let Some((node, role)) = at {
            choices.push((node, role));
            at = self.nodes[node].before;
        }
        let (mut before, mut last) = (None, CLIENT);
        loop {
            let running = running();
            let role = match running[..] {
                [] => return Ok(true),
                [role] => role,
                _ if !EXPLORES.get() => {
                    if running.contains(&last) {
                        last
                    } else {
                        running[0]
                    }
                }
                _ => match choices.pop() {
                    Some((node, role)) => {
                        if choices.is_empty() {
                            let state = fingerprint();
                            assert_eq!(state, self.nodes[node].state, "the same choices, another state");
                        }
                        before = Some((node, role));
                        role
                    }
                    None => {
                        let state = fingerprint();
                        if !self.known.insert(state) && self.merging {
                            return Ok(false);
                        }
                        let node = self.nodes.len();
                        self.nodes.push(Node { before, state });
                        self.untried.extend(running[1..].iter().rev().map(|role| Some((node, *role))));
                        before = Some((node, running[0]));
                        running[0]
                    }
                },
            };
            last = role;
            go(role)?;
        }
    }
}

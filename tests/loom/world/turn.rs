//! Who goes next: the two checkers, behind one set of calls. They share the world and its facades, and no scheduler.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};

use crate::search::{self, Explored};
use crate::world::{self, Key};

/// Which checker explores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checker {
    /// loom: partial-order reduction over the memory model of C11.
    Loom,
    /// [`search`]: every state, one call at a time.
    Search,
}

thread_local! {
    static CHECKER: Cell<Option<Checker>> = const { Cell::new(None) };
}

/// Which checker explores on this thread of the system, if one does: then a panic is a verdict.
pub fn checker() -> Option<Checker> {
    CHECKER.get()
}

/// Explores with this one.
pub fn with_checker<R>(checker: Checker, explore: impl FnOnce() -> R) -> R {
    CHECKER.set(Some(checker));
    let result = explore();
    CHECKER.set(None);
    result
}

fn is_loom() -> bool {
    checker() == Some(Checker::Loom)
}

/// Something that calls are about: a lock, a queue, a block of memory, the kernel. For loom it is one atomic, which
/// each call reads and writes; for the search it is a name.
pub struct Object {
    pub key: Key,
    atomic: Option<AtomicUsize>,
}

impl Object {
    /// Made by the current thread: which no `Default` would say.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Object {
        Object { key: world::with(world::World::new_key), ..Object::nameless() }
    }

    /// There from the start.
    pub fn nameless() -> Object {
        Object { key: Key::NONE, atomic: is_loom().then(|| switching(|| AtomicUsize::new(0))) }
    }
}

/// loom switches only inside its own operations, and each of them is wrapped here: afterwards it is this thread's turn
/// again.
pub fn switching<R>(operation: impl FnOnce() -> R) -> R {
    let role = world::me();
    let result = operation();
    world::take_turn(role);
    result
}

/// Another thread may come in here, before what the caller is about to do with `object`. What it then does happens
/// after whatever was done with the object before: a call of the kernel, a lock, a queue are acquire and release.
pub fn step(object: &Object) {
    match &object.atomic {
        Some(atomic) => _ = switching(|| atomic.fetch_add(1, Ordering::AcqRel)),
        None => search::step(),
    }
}

/// As [`step`], but it orders no memory: what one thread wrote before it, another need not see after it.
pub fn step_without_order(object: &Object) {
    match &object.atomic {
        Some(atomic) => _ = switching(|| atomic.fetch_add(1, Ordering::Relaxed)),
        None => search::step(),
    }
}

/// What wakes a sleeper: for loom its thread, and for the search nothing, since it asks the world who runs.
#[derive(Default)]
pub struct Thread(Option<loom::thread::Thread>);

impl Thread {
    pub fn current() -> Thread {
        Thread(is_loom().then(loom::thread::current))
    }

    pub fn wake(&self) {
        if let Some(thread) = &self.0 {
            thread.unpark();
        }
    }
}

/// The current thread sleeps until it is woken.
pub fn sleep() {
    match checker() {
        Some(Checker::Loom) => switching(loom::thread::park),
        _ => search::sleep(),
    }
}

/// Lets others go first, for once.
pub fn give_way() {
    match checker() {
        Some(Checker::Loom) => switching(loom::thread::yield_now),
        _ => search::give_way(),
    }
}

/// Room for a worker's read buffer on a coroutine's stack, in words of loom's.
const STACK: usize = 0x4000;

/// A thread of the model. The body is in a box, so that the checkers are compiled once, and not for each stage.
pub fn spawn(name: &str, body: Box<dyn FnOnce() + Send>) -> world::Role {
    let role = world::add_role(name);
    let body: Box<dyn FnOnce() + Send> = Box::new(move || {
        world::start(role);
        body();
        world::finish();
    });
    match checker() {
        Some(Checker::Loom) => {
            let builder = loom::thread::Builder::new().name(name.to_string()).stack_size(STACK);
            switching(|| builder.spawn(body)).expect("loom has a thread to give");
        }
        _ => search::spawn(role, body),
    }
    role
}

/// From here on every order.
pub fn explore() {
    match checker() {
        Some(Checker::Loom) => loom::explore(),
        _ => search::explore(true),
    }
}

/// From here on one order will do.
pub fn stop_exploring() {
    match checker() {
        Some(Checker::Loom) => loom::stop_exploring(),
        _ => search::explore(false),
    }
}

/// Explores with loom: `execution`, which is told its number, until one panics or there is none left.
pub fn with_loom(
    bound: Option<usize>,
    execution: impl Fn(usize) + Send + Sync + 'static,
) -> (Explored, Option<Box<dyn Any + Send>>) {
    explore_with_loom(bound, Box::new(execution))
}

fn explore_with_loom(
    bound: Option<usize>,
    execution: Box<dyn Fn(usize) + Send + Sync>,
) -> (Explored, Option<Box<dyn Any + Send>>) {
    let executions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    // Each of these may be set from the environment, and then quietly cuts a run off.
    builder.max_threads = loom::MAX_THREADS;
    builder.max_branches = 4 * world::STEPS as usize;
    builder.max_permutations = None;
    builder.max_duration = None;
    builder.preemption_bound = bound;
    builder.checkpoint_file = None;
    builder.location = false;
    builder.log = false;
    builder.expect_explicit_explore = true;
    let counter = executions.clone();
    let result = with_checker(Checker::Loom, || {
        catch_unwind(AssertUnwindSafe(|| builder.check(move || execution(counter.fetch_add(1, Ordering::Relaxed) + 1))))
    });
    (Explored { executions: executions.load(Ordering::Relaxed), states: 0 }, result.err())
}

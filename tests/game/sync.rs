//! What threads share.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub use std::sync::atomic::Ordering;

use crate::heap::{Raw, type_label};
use crate::kernel::source_name;
use crate::world::{self, QUEUE, SESSION, State, Until, act, is_of_interest};

pub struct Arc<T> {
    inner: std::sync::Arc<T>,
    block: usize,
}

impl<T> Arc<T> {
    #[track_caller]
    pub fn new(value: T) -> Arc<T> {
        let inner = std::sync::Arc::new(value);
        let block = act(Until::Always, |state, role| state.allocate(role, type_label::<T>(), Some(1)));
        Arc { inner, block: block.unwrap_or_default() }
    }
}

impl<T> Clone for Arc<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        act(Until::Always, |state, _| change_owners(state, self.block, |owners| owners + 1));
        Arc { inner: self.inner.clone(), block: self.block }
    }
}

/// Gives how many owners there are now.
fn change_owners(state: &mut State, block: usize, change: impl FnOnce(usize) -> usize) -> usize {
    let owners = state.blocks[block].owners.as_mut().expect("shared memory has owners");
    *owners = change(*owners);
    *owners
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        act(Until::Always, |state, role| {
            let left = change_owners(state, self.block, |owners| owners - 1);
            if is_of_interest(state.blocks[self.block].label) {
                let name = state.blocks[self.block].name();
                state.say(match left {
                    0 => format!("gives up the last share of {name}"),
                    1 => format!("gives up a share of {name}: 1 owner left"),
                    _ => format!("gives up a share of {name}: {left} owners left"),
                });
            }
            state.seen(role, ("share", left == 0));
            if left == 0 {
                state.free(role, self.block);
            }
        });
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

#[allow(dead_code)]
impl<T> Arc<T> {
    /// Nothing that others can see.
    pub fn downgrade(this: &Arc<T>) -> Weak<T> {
        Weak { inner: std::sync::Arc::downgrade(&this.inner), block: this.block }
    }
}

/// A share that owns nothing.
#[allow(dead_code)]
pub struct Weak<T> {
    inner: std::sync::Weak<T>,
    block: usize,
}

#[allow(dead_code)]
impl<T> Weak<T> {
    /// An owner more, if there is one yet.
    #[track_caller]
    pub fn upgrade(&self) -> Option<Arc<T>> {
        let inner = act(Until::Always, |state, role| {
            let inner = self.inner.upgrade();
            if inner.is_some() {
                change_owners(state, self.block, |owners| owners + 1);
            }
            state.seen(role, ("upgrade", inner.is_some()));
            inner
        });
        Some(Arc { inner: inner.flatten()?, block: self.block })
    }
}

impl<T> Clone for Weak<T> {
    fn clone(&self) -> Self {
        Weak { inner: self.inner.clone(), block: self.block }
    }
}

/// A number without a lock. What a call found there is seen by its thread, as in the real world; orderings are not:
/// here everybody sees the last value.
pub struct AtomicU64(usize);

#[allow(dead_code)]
impl AtomicU64 {
    #[track_caller]
    pub fn new(value: u64) -> AtomicU64 {
        let number = act(Until::Always, |state, role| {
            state.numbers.push(value);
            state.seen(role, ("number", state.numbers.len()));
            state.numbers.len() - 1
        });
        AtomicU64(number.unwrap_or_default())
    }

    /// Puts there what `change` makes of the value, if anything, and gives the value.
    #[track_caller]
    fn update(&self, change: impl FnOnce(u64) -> Option<u64>) -> u64 {
        let found = act(Until::Always, |state, role| {
            let found = state.numbers[self.0];
            state.numbers[self.0] = change(found).unwrap_or(found);
            state.seen(role, ("found", found));
            found
        });
        found.unwrap_or_default()
    }

    #[track_caller]
    pub fn load(&self, _: Ordering) -> u64 {
        self.update(|_| None)
    }

    #[track_caller]
    pub fn store(&self, value: u64, _: Ordering) {
        act(Until::Always, |state, _| state.numbers[self.0] = value);
    }

    #[track_caller]
    pub fn swap(&self, value: u64, _: Ordering) -> u64 {
        self.update(|_| Some(value))
    }

    #[track_caller]
    pub fn fetch_add(&self, value: u64, _: Ordering) -> u64 {
        self.update(|found| Some(found.wrapping_add(value)))
    }

    #[track_caller]
    pub fn fetch_sub(&self, value: u64, _: Ordering) -> u64 {
        self.update(|found| Some(found.wrapping_sub(value)))
    }

    #[track_caller]
    pub fn compare_exchange(&self, current: u64, new: u64, _: Ordering, _: Ordering) -> Result<u64, u64> {
        let found = self.update(|found| (found == current).then_some(new));
        if found == current { Ok(found) } else { Err(found) }
    }
}

/// A cell without a lock: entering it is something that others can see.
#[allow(dead_code)]
pub struct UnsafeCell<T> {
    cell: usize,
    value: std::cell::UnsafeCell<T>,
}

#[allow(dead_code)]
impl<T> UnsafeCell<T> {
    #[track_caller]
    pub fn new(value: T) -> UnsafeCell<T> {
        let cell = act(Until::Always, |state, role| {
            let cell = state.new_cell();
            state.seen(role, ("cell", cell));
            cell
        });
        UnsafeCell { cell: cell.unwrap_or_default(), value: std::cell::UnsafeCell::new(value) }
    }

    #[track_caller]
    pub fn get(&self) -> *mut T {
        act(Until::Always, |state, role| {
            state.say("enters the session");
            state.enter(role, self.cell);
        });
        self.value.get()
    }
}

#[allow(dead_code)]
pub struct Mutex<T> {
    lock: usize,
    cell: usize,
    value: std::cell::UnsafeCell<T>,
}

// SAFETY: a lock gives the value to one thread at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

#[allow(dead_code)]
pub struct MutexGuard<'a, T>(&'a Mutex<T>);

#[allow(dead_code)]
impl<T> Mutex<T> {
    #[track_caller]
    pub fn new(value: T) -> Mutex<T> {
        let made = act(Until::Always, |state, role| {
            state.locks.push(None);
            state.seen(role, ("lock", state.locks.len()));
            state.lock_names.push(match type_label::<T>() {
                "Inbox" => SESSION,
                // What a stage that owns its queue keeps in it.
                "VecDeque" | "Tasks" => QUEUE,
                _ => "the table",
            });
            (state.locks.len() - 1, state.new_cell())
        });
        let (lock, cell) = made.unwrap_or_default();
        Mutex { lock, cell, value: std::cell::UnsafeCell::new(value) }
    }

    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        act(Until::Lock(self.lock), |state, role| self.take(state, role));
        MutexGuard(self)
    }

    fn take(&self, state: &mut State, role: usize) {
        let name = state.lock_names[self.lock];
        state.say(format!("locks {name}"));
        state.locks[self.lock] = Some(role);
        state.enter(role, self.cell);
    }

    /// Takes the lock if nobody has it.
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let taken = act(Until::Always, |state, role| {
            let free = state.locks[self.lock].is_none();
            if free {
                // That it was free is seen by what it enters.
                self.take(state, role);
            } else {
                state.say(format!("finds {} locked", state.lock_names[self.lock]));
            }
            free
        });
        // Not `then_some`: a guard that is not given would unlock as it goes.
        taken.unwrap_or_default().then(|| MutexGuard(self))
    }

    fn give_back(&self, state: &mut State, role: usize) {
        state.locks[self.lock] = None;
        state.leave(role, self.cell);
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        act(Until::Always, |state, role| {
            let name = state.lock_names[self.0.lock];
            state.say(format!("unlocks {name}"));
            self.0.give_back(state, role);
        });
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held, and the guard is borrowed exclusively.
        unsafe { &mut *self.0.value.get() }
    }
}

/// A condition variable. Nobody wakes there without having been notified.
#[allow(dead_code)]
pub struct Condvar(usize);

#[allow(dead_code)]
impl Condvar {
    #[track_caller]
    pub fn new() -> Condvar {
        let number = act(Until::Always, |state, role| {
            state.condvars += 1;
            state.seen(role, ("condvar", state.condvars));
            state.condvars
        });
        Condvar(number.unwrap_or_default())
    }

    /// Gives the lock back and falls asleep in one move.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.sleep(guard, Until::Notified).0
    }

    /// As [`Condvar::wait`], and wakes without having been notified when nobody else can move: no time passes here, so that
    /// is how a wait is too long. The second part says whether it was.
    #[track_caller]
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, _: Duration) -> (MutexGuard<'a, T>, bool) {
        self.sleep(guard, Until::NotifiedInTime)
    }

    #[track_caller]
    fn sleep<'a, T>(&self, guard: MutexGuard<'a, T>, until: fn(usize) -> Until) -> (MutexGuard<'a, T>, bool) {
        let mutex = guard.0;
        let me = act(Until::Always, |state, role| {
            state.say(format!("unlocks {}, and falls asleep", state.lock_names[mutex.lock]));
            mutex.give_back(state, role);
            state.sleepers.push((self.0, role));
            role
        });
        let mut late = None;
        if let Some(me) = me {
            // The lock was given back above.
            std::mem::forget(guard);
            late = act(until(me), |state, role| {
                let sleepers = state.sleepers.len();
                state.sleepers.retain(|(_, sleeper)| *sleeper != role);
                let late = state.sleepers.len() < sleepers;
                state.say(if late { "is awake: its time is over" } else { "is awake" });
                state.seen(role, ("woken", late));
                late
            });
        }
        (mutex.lock(), late.unwrap_or_default())
    }

    #[track_caller]
    pub fn notify_one(&self) {
        self.notify(1);
    }

    #[track_caller]
    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    #[track_caller]
    fn notify(&self, mut most: usize) {
        act(Until::Always, |state, _| {
            let before = state.sleepers.len();
            state.sleepers.retain(|(condvar, _)| {
                let stays = *condvar != self.0 || most == 0;
                most -= usize::from(!stays);
                stays
            });
            state.say(match before - state.sleepers.len() {
                0 => "notifies: nobody sleeps".to_string(),
                woken => format!("notifies: wakes {woken} of {before}"),
            });
        });
    }
}

/// A flag without a lock.
#[allow(dead_code)]
pub struct AtomicBool(usize);

#[allow(dead_code)]
impl AtomicBool {
    #[track_caller]
    pub fn new(value: bool) -> AtomicBool {
        let number = act(Until::Always, |state, role| {
            state.flags.push(value);
            state.seen(role, ("flag", state.flags.len()));
            state.flags.len() - 1
        });
        AtomicBool(number.unwrap_or_default())
    }

    #[track_caller]
    pub fn load(&self, _: Ordering) -> bool {
        self.update("looks at the flag", |_| None)
    }

    #[track_caller]
    pub fn store(&self, value: bool, _: Ordering) {
        act(Until::Always, |state, _| {
            state.say(if value { "sets the flag" } else { "clears the flag" });
            state.flags[self.0] = value;
        });
    }

    #[track_caller]
    pub fn swap(&self, value: bool, _: Ordering) -> bool {
        self.update("exchanges the flag", |_| Some(value))
    }

    #[track_caller]
    pub fn compare_exchange(&self, current: bool, new: bool, _: Ordering, _: Ordering) -> Result<bool, bool> {
        let found = self.update("exchanges the flag", |found| (found == current).then_some(new));
        if found == current { Ok(found) } else { Err(found) }
    }

    /// As with numbers.
    #[track_caller]
    fn update(&self, does: &str, change: impl FnOnce(bool) -> Option<bool>) -> bool {
        let found = act(Until::Always, |state, role| {
            let found = state.flags[self.0];
            state.flags[self.0] = change(found).unwrap_or(found);
            state.say(format!("{does}: {}", if found { "set" } else { "not set" }));
            state.seen(role, ("flag", found));
            found
        });
        found.unwrap_or_default()
    }
}

pub trait Task: Send {
    /// What it names.
    fn name(&self, state: &State) -> String;
}

impl<T: Send + Sync> Task for Arc<T> {
    fn name(&self, state: &State) -> String {
        state.blocks[self.block].name()
    }
}

impl<T> Task for Raw<T> {
    fn name(&self, state: &State) -> String {
        state.blocks[Raw::block(self)].name()
    }
}

/// A key.
impl Task for u64 {
    fn name(&self, _: &State) -> String {
        source_name(*self)
    }
}

/// A task queue; what it holds is known to the world too.
pub struct Queue<T> {
    queue: usize,
    tasks: std::sync::Mutex<VecDeque<T>>,
}

impl<T: Task> Queue<T> {
    #[track_caller]
    pub fn new() -> Queue<T> {
        let queue = act(Until::Always, |state, role| {
            state.queues.push(Vec::new());
            state.closed.push(false);
            state.seen(role, ("queue", state.queues.len()));
            state.queues.len() - 1
        });
        Queue { queue: queue.unwrap_or_default(), tasks: std::sync::Mutex::default() }
    }

    #[track_caller]
    pub fn push(&self, task: T) {
        act(Until::Always, |state, _| {
            let name = task.name(state);
            state.say(format!("queues {name}"));
            state.queues[self.queue].push(name);
            self.tasks.lock().expect("no panic in here").push_back(task);
        });
    }

    #[track_caller]
    pub fn pop(&self) -> Option<T> {
        let task = act(Until::Task(self.queue), |state, role| {
            let task = self.tasks.lock().expect("no panic in here").pop_front();
            if task.is_some() {
                let name = state.queues[self.queue].remove(0);
                state.say(format!("takes {name}"));
                state.seen(role, ("take", name));
            }
            task
        });
        task.flatten()
    }

    pub fn close(&self) {
        act(Until::Always, |state, _| state.closed[self.queue] = true);
    }
}

/// Lets others go first: a place to stand, and nothing else.
#[track_caller]
#[allow(dead_code)]
pub fn yield_now() {
    crate::point::point("yield");
    act(Until::Always, |_, _| ());
}

pub struct JoinHandle(usize);

pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle {
    JoinHandle(world::spawn(name, body))
}

impl JoinHandle {
    #[track_caller]
    pub fn join(self) {
        act(Until::Ended(self.0), |_, _| ());
    }
}

//! What threads share.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

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

/// Counters. What `fetch_add` found there is seen by its thread, as in the real world.
pub struct AtomicU64(std::sync::atomic::AtomicU64);

impl AtomicU64 {
    pub fn new(value: u64) -> AtomicU64 {
        AtomicU64(std::sync::atomic::AtomicU64::new(value))
    }

    #[track_caller]
    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        let found = act(Until::Always, |state, role| {
            let found = self.0.fetch_add(value, order);
            state.seen(role, ("add", found));
            found
        });
        found.unwrap_or_default()
    }

    #[track_caller]
    pub fn load(&self, order: Ordering) -> u64 {
        let found = act(Until::Always, |state, role| {
            let found = self.0.load(order);
            state.seen(role, ("load", found));
            found
        });
        found.unwrap_or_default()
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
        let cell = act(Until::Always, |state, _| state.new_cell());
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
        let made = act(Until::Always, |state, _| {
            state.locks.push(None);
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
        act(Until::Lock(self.lock), |state, role| {
            let name = state.lock_names[self.lock];
            state.say(format!("locks {name}"));
            state.locks[self.lock] = Some(role);
            state.enter(role, self.cell);
        });
        MutexGuard(self)
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        act(Until::Always, |state, role| {
            let name = state.lock_names[self.0.lock];
            state.say(format!("unlocks {name}"));
            state.locks[self.0.lock] = None;
            state.leave(role);
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
        let number = act(Until::Always, |state, _| {
            state.condvars += 1;
            state.condvars
        });
        Condvar(number.unwrap_or_default())
    }

    /// Gives the lock back and falls asleep in one move.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let mutex = guard.0;
        let me = act(Until::Always, |state, role| {
            state.say(format!("unlocks {}, and falls asleep", state.lock_names[mutex.lock]));
            state.locks[mutex.lock] = None;
            state.leave(role);
            state.sleepers.push((self.0, role));
            role
        });
        if let Some(me) = me {
            // The lock was given back above.
            std::mem::forget(guard);
            act(Until::Notified(me), |state, role| {
                state.say("is awake");
                state.seen(role, "woken");
            });
        }
        mutex.lock()
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
        let number = act(Until::Always, |state, _| {
            state.flags.push(value);
            state.flags.len() - 1
        });
        AtomicBool(number.unwrap_or_default())
    }

    #[track_caller]
    pub fn load(&self, _: Ordering) -> bool {
        let value = act(Until::Always, |state, role| {
            let value = state.flags[self.0];
            state.say(format!("looks at the flag: {}", if value { "set" } else { "not set" }));
            state.seen(role, ("flag", value));
            value
        });
        value.unwrap_or_default()
    }

    #[track_caller]
    pub fn store(&self, value: bool, _: Ordering) {
        act(Until::Always, |state, _| {
            state.say("sets the flag");
            state.flags[self.0] = value;
        });
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

/// The task queue; what it holds is known to the world too.
pub struct Queue<T>(std::sync::Mutex<VecDeque<T>>);

impl<T: Task> Queue<T> {
    pub fn new() -> Queue<T> {
        Queue(std::sync::Mutex::default())
    }

    #[track_caller]
    pub fn push(&self, task: T) {
        act(Until::Always, |state, _| {
            let name = task.name(state);
            state.say(format!("queues {name}"));
            state.queue.push(name);
            self.0.lock().expect("no panic in here").push_back(task);
        });
    }

    #[track_caller]
    pub fn pop(&self) -> Option<T> {
        let task = act(Until::Task, |state, role| {
            let task = self.0.lock().expect("no panic in here").pop_front();
            if task.is_some() {
                let name = state.queue.remove(0);
                state.say(format!("takes {name}"));
                state.seen(role, ("take", name));
            }
            task
        });
        task.flatten()
    }

    pub fn close(&self) {
        act(Until::Always, |state, _| state.closed = true);
    }
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

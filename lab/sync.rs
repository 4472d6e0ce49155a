//! What threads share: `Arc`, `Mutex`, atomics, a cell without a lock, the task queue, threads.
//!
//! Each is std's, with two things added for when somebody watches: owners, locks and tasks are recorded, and in a directed
//! run a wait is announced to the director instead of blocking in the kernel.

use std::collections::VecDeque;
use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::atomic::AtomicU32;
use std::sync::{Condvar, PoisonError, TryLockError};

pub use std::cell::UnsafeCell;
pub use std::sync::atomic::{AtomicU64, Ordering};

use crate::announce;
use crate::blackbox::{self, Blackbox, Kind, State, Waiting};
use crate::heap::{Raw, type_label};
use crate::point::{until, watched};

/// Shared ownership: the value is dropped with its last owner.
pub struct Arc<T> {
    /// There until the drop.
    inner: Option<std::sync::Arc<T>>,
}

impl<T> Arc<T> {
    /// One owner.
    #[track_caller]
    pub fn new(value: T) -> Arc<T> {
        let arc = Arc { inner: Some(std::sync::Arc::new(value)) };
        if watched() {
            let numbers = [arc.address(), size_of::<T>() as u64, 0];
            blackbox::note(Kind::Alloc, type_label::<T>(), Location::caller(), numbers);
        }
        arc
    }

    fn share(&self) -> &std::sync::Arc<T> {
        self.inner.as_ref().expect("it is there until the drop")
    }

    fn owners(&self) -> u64 {
        std::sync::Arc::strong_count(self.share()) as u64
    }

    fn address(&self) -> u64 {
        std::sync::Arc::as_ptr(self.share()) as u64
    }
}

impl<T> Clone for Arc<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        let arc = Arc { inner: self.inner.clone() };
        if watched() {
            blackbox::note(Kind::Owners, "", Location::caller(), [arc.address(), arc.owners(), 0]);
        }
        arc
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        if !watched() {
            if cfg!(lab_tsan) {
                drop(self.inner.take().and_then(announce::give_up));
            }
            return;
        }
        let (address, left) = (self.address(), self.owners() - 1);
        let (label, place) = (type_label::<T>(), blackbox::last_place());
        // Of several owners that go together, just one is told that it was the last.
        match self.inner.take().and_then(announce::give_up) {
            Some(value) => {
                blackbox::note(Kind::Free, label, place, [address, size_of::<T>() as u64, 0]);
                drop(value);
            }
            None => blackbox::note(Kind::Owners, label, place, [address, left, 0]),
        }
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.share()
    }
}

/// A lock around a value. A panic while it is held does not poison it: a panic ends the server.
pub struct Mutex<T> {
    /// The role that holds it, while somebody watches.
    holder: AtomicU32,
    inner: std::sync::Mutex<T>,
}

/// The lock is held for as long as this lives.
pub struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    inner: std::sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    /// Unlocked.
    pub fn new(value: T) -> Mutex<T> {
        Mutex { holder: AtomicU32::new(0), inner: std::sync::Mutex::new(value) }
    }

    /// Waits until nobody holds the lock, and takes it.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if !watched() {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            announce::acquired(&self.inner);
            return MutexGuard { lock: self, inner };
        }
        let directed = until(
            Waiting::Lock,
            self.address(),
            || self.holder.load(Ordering::Relaxed),
            || match self.inner.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            },
        );
        let inner = directed.unwrap_or_else(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner));
        announce::acquired(&self.inner);
        self.holder.store(Blackbox::role().unwrap_or(0) as u32, Ordering::Relaxed);
        blackbox::note(Kind::Lock, "", Location::caller(), [self.address(), 0, 0]);
        MutexGuard { lock: self, inner }
    }

    fn address(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if watched() {
            blackbox::note(Kind::Unlock, "", blackbox::last_place(), [self.lock.address(), 0, 0]);
        }
        announce::releasing(&self.lock.inner);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// A value that is handed from thread to thread without a lock: something else says whose turn it is.
pub struct Handoff<T> {
    inner: UnsafeCell<T>,
}

// SAFETY: who enters has promised that nobody else is inside, and that what the last one did happened before.
unsafe impl<T: Send> Sync for Handoff<T> {}

/// The value of a [`Handoff`] is this thread's for as long as this lives.
pub struct Inside<'a, T> {
    value: &'a mut T,
}

impl<T> Handoff<T> {
    /// Nobody is inside.
    pub fn new(value: T) -> Handoff<T> {
        Handoff { inner: UnsafeCell::new(value) }
    }

    /// Enters, without waiting and without looking whether somebody is inside.
    ///
    /// # Safety
    /// Until the result is dropped, nobody else enters; and whoever was inside before has left, in an order that this
    /// thread can rely on (his drop happened before this call).
    pub unsafe fn enter(&self) -> Inside<'_, T> {
        // SAFETY: the caller's promise.
        Inside { value: unsafe { &mut *self.inner.get() } }
    }
}

impl<T> Deref for Inside<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> DerefMut for Inside<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value
    }
}

/// Something that can wait in a queue, and what it names: an address, or a number.
pub trait Task: Send {
    /// For the record only.
    fn name(&self) -> u64;
}

impl<T: Send + Sync> Task for Arc<T> {
    fn name(&self) -> u64 {
        self.address()
    }
}

impl<T> Task for Raw<T> {
    fn name(&self) -> u64 {
        self.address()
    }
}

/// A key: the number by which a worker finds what its task is about.
impl Task for u64 {
    fn name(&self) -> u64 {
        *self
    }
}

/// The task queue between the reactor and the workers: first in, first out.
pub struct Queue<T> {
    state: std::sync::Mutex<QueueState<T>>,
    changed: Condvar,
}

struct QueueState<T> {
    tasks: VecDeque<T>,
    closed: bool,
    /// Threads in a wait. With nobody there, waking is a system call for nothing, and std's Condvar does not count them.
    sleeping: usize,
}

impl<T: Task> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Task> Queue<T> {
    /// Empty and open.
    pub fn new() -> Queue<T> {
        // Room from the start: growing would take memory in the middle of somebody's experiment.
        let state = QueueState { tasks: VecDeque::with_capacity(1024), closed: false, sleeping: 0 };
        Queue { state: std::sync::Mutex::new(state), changed: Condvar::new() }
    }

    /// Does `body` under the lock.
    fn locked<R>(&self, body: impl FnOnce(&mut QueueState<T>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        announce::acquired(&self.state);
        let result = body(&mut state);
        announce::releasing(&self.state);
        result
    }

    /// Adds a task at the end and wakes a worker.
    #[track_caller]
    pub fn push(&self, task: T) {
        let name = task.name();
        let at = Location::caller();
        let somebody_sleeps = self.locked(|state| {
            state.tasks.push_back(task);
            if watched() {
                blackbox::note(Kind::Push, "", at, [name, state.tasks.len() as u64, 0]);
            }
            state.sleeping > 0
        });
        if somebody_sleeps {
            self.changed.notify_one();
        }
    }

    /// Waits for a task and takes the first; `None` once the queue is closed and empty.
    #[track_caller]
    pub fn pop(&self) -> Option<T> {
        let at = Location::caller();
        let ready = |state: &mut QueueState<T>| {
            let task = state.tasks.pop_front();
            if let Some(task) = &task
                && watched()
            {
                blackbox::note(Kind::Pop, "", at, [task.name(), state.tasks.len() as u64, 0]);
            }
            (task.is_some() || state.closed).then_some(task)
        };
        if watched() {
            let directed = until(Waiting::Task, 0, || 0, || self.locked(ready));
            if let Some(result) = directed {
                return result;
            }
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        announce::acquired(&self.state);
        loop {
            if let Some(result) = ready(&mut state) {
                announce::releasing(&self.state);
                return result;
            }
            state.sleeping += 1;
            announce::releasing(&self.state);
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            announce::acquired(&self.state);
            state.sleeping -= 1;
        }
    }

    /// No more tasks come: workers finish what is there.
    pub fn close(&self) {
        self.locked(|state| state.closed = true);
        self.changed.notify_all();
    }
}

/// A thread that can be waited for.
pub struct JoinHandle {
    inner: std::thread::JoinHandle<()>,
    role: Option<usize>,
}

/// Starts a thread, which plays the role `name`.
///
/// # Panics
/// If the kernel has no thread to give.
#[track_caller]
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle {
    try_spawn(name, body).expect("the kernel has a thread to give")
}

/// As [`spawn`], for as many threads as there are clients. Threads beyond [`blackbox::MAX_ROLES`] play no role: nobody
/// records or directs them.
///
/// # Errors
/// `EAGAIN` when the kernel has no thread to give (`pthread_create(3)`).
#[track_caller]
pub fn try_spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle> {
    let at = Location::caller();
    let role = Blackbox::current().and_then(|blackbox| blackbox.add_role(name));
    let thread = std::thread::Builder::new().name(name.to_string()).spawn(move || {
        let watch = Blackbox::current().zip(role);
        if let Some((_, role)) = watch {
            Blackbox::play(role);
            blackbox::note(Kind::Begin, "", at, [0; 3]);
        }
        body();
        if let Some((blackbox, role)) = watch {
            blackbox::note(Kind::End, "", at, [0; 3]);
            blackbox.slot(role).set_state(State::Ended);
            blackbox.ring_doorbell();
        }
    });
    Ok(JoinHandle { inner: thread?, role })
}

impl JoinHandle {
    /// Waits for the end of the thread.
    ///
    /// # Panics
    /// If the thread panicked.
    pub fn join(self) {
        if let Some(role) = self.role
            && watched()
        {
            let ended = || {
                let state = Blackbox::current().map(|blackbox| blackbox.slot(role).state());
                (state == Some(State::Ended)).then_some(())
            };
            until(Waiting::Thread, role as u64, || role as u32, ended);
        }
        self.inner.join().expect("the thread has not panicked");
    }
}

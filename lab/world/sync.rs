//! What threads share: `Arc` and `Weak`, `Mutex`, `Condvar`, atomics, a cell without a lock, the task queue, threads.
//!
//! Each is std's, with two things added for when somebody watches: owners, locks and tasks are recorded, and in a
//! directed run a wait is announced to the director instead of blocking in the kernel.

use std::collections::VecDeque;
use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::sync::{PoisonError, TryLockError};
use std::time::Instant;

pub use std::cell::UnsafeCell;
/// Counters are not recorded: each step of a server counts something, and a box full of that tells nothing.
pub use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub use std::time::Duration;

use super::fault::{self, Call};
use super::tsan;
use crate::record::blackbox::{self, Blackbox, State};
use crate::record::event::{Kind, Waiting};
use crate::world::heap::{Raw, type_label};
use crate::world::point::{directed, give_way, tracing_enabled, try_or_park};

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
        if tracing_enabled() {
            let numbers = [arc.address(), size_of::<T>() as u64, 0];
            blackbox::note(Kind::Alloc, type_label::<T>(), Location::caller(), numbers);
        }
        arc
    }

    /// Knows of the value without owning it: it is dropped with its last owner all the same.
    pub fn downgrade(this: &Arc<T>) -> Weak<T> {
        Weak { inner: std::sync::Arc::downgrade(this.share()) }
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
        Arc::another(self.share().clone(), Location::caller())
    }
}

impl<T> Arc<T> {
    /// There is one owner more.
    fn another(share: std::sync::Arc<T>, at: &'static Location<'static>) -> Arc<T> {
        let arc = Arc { inner: Some(share) };
        if tracing_enabled() {
            blackbox::note(Kind::ReferenceCount, "", at, [arc.address(), arc.owners(), 0]);
        }
        arc
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        if !tracing_enabled() {
            if cfg!(lab_tsan) {
                drop(self.inner.take().and_then(tsan::give_up));
            }
            return;
        }
        let (address, left) = (self.address(), self.owners() - 1);
        let (label, place) = (type_label::<T>(), blackbox::last_place());
        // Of several owners that go together, just one is told that it was the last.
        match self.inner.take().and_then(tsan::give_up) {
            Some(value) => {
                blackbox::note(Kind::Free, label, place, [address, size_of::<T>() as u64, 0]);
                drop(value);
            }
            None => blackbox::note(Kind::ReferenceCount, label, place, [address, left, 0]),
        }
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.share()
    }
}

/// Knows of a value that [`Arc`]s own, and can become an owner as long as there is one.
pub struct Weak<T> {
    inner: std::sync::Weak<T>,
}

impl<T> Weak<T> {
    /// Knows of nothing.
    pub const fn new() -> Weak<T> {
        Weak { inner: std::sync::Weak::new() }
    }

    /// Becomes an owner; `None` if the last one has gone, or is just going.
    #[track_caller]
    pub fn upgrade(&self) -> Option<Arc<T>> {
        let at = Location::caller();
        self.inner.upgrade().map(|share| Arc::another(share, at))
    }
}

impl<T> Default for Weak<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Weak<T> {
    fn clone(&self) -> Self {
        Weak { inner: self.inner.clone() }
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
    /// There until the drop, or until [`Condvar::wait`] takes it.
    inner: Option<std::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// Unlocked.
    pub fn new(value: T) -> Mutex<T> {
        Mutex { holder: AtomicU32::new(0), inner: std::sync::Mutex::new(value) }
    }

    /// Waits until nobody holds the lock, and takes it.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.lock_at(Location::caller())
    }

    fn lock_at(&self, at: &'static Location<'static>) -> MutexGuard<'_, T> {
        if !tracing_enabled() {
            return self.taken(self.inner.lock().unwrap_or_else(PoisonError::into_inner), at);
        }
        let holder = || self.holder.load(Ordering::Relaxed);
        let directed = try_or_park(Waiting::Lock, self.address(), holder, || self.take_if_free());
        let inner = directed.unwrap_or_else(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner));
        self.taken(inner, at)
    }

    /// Takes the lock if nobody holds it, and does not wait. Recorded only if it was free.
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let at = Location::caller();
        self.take_if_free().map(|inner| self.taken(inner, at))
    }

    fn take_if_free(&self) -> Option<std::sync::MutexGuard<'_, T>> {
        match self.inner.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// This thread has the lock: whoever watches gets to know.
    fn taken<'a>(&'a self, inner: std::sync::MutexGuard<'a, T>, at: &'static Location<'static>) -> MutexGuard<'a, T> {
        tsan::acquired(&self.inner);
        if tracing_enabled() {
            self.holder.store(Blackbox::role().unwrap_or(0) as u32, Ordering::Relaxed);
            blackbox::note(Kind::Lock, "", at, [self.address(), 0, 0]);
        }
        MutexGuard { lock: self, inner: Some(inner) }
    }

    fn address(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if self.inner.is_some() && tracing_enabled() {
            blackbox::note(Kind::Unlock, "", blackbox::last_place(), [self.lock.address(), 0, 0]);
        }
        tsan::releasing(&self.lock.inner);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.inner.as_ref().expect("it is there until the drop")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.inner.as_mut().expect("it is there until the drop")
    }
}

/// A place to sleep until somebody says that a locked value has changed. Whoever waits gives the lock back and falls
/// asleep in one step; a notification that comes before that step is lost, and wakes nobody.
pub struct Condvar {
    inner: std::sync::Condvar,
    directed: Sleepers,
}

/// Who sleeps, in a directed run: there the box must know, and std's variable does not say.
#[derive(Default)]
struct Sleepers {
    /// One ticket for each, the oldest first; who is notified has none any more.
    tickets: std::sync::Mutex<(u64, VecDeque<u64>)>,
    /// For those who still sleep when nobody directs any more.
    bell: std::sync::Condvar,
}

impl Sleepers {
    fn tickets(&self) -> std::sync::MutexGuard<'_, (u64, VecDeque<u64>)> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `body` under the lock.
    fn locked<R>(&self, body: impl FnOnce(&mut (u64, VecDeque<u64>)) -> R) -> R {
        let mut tickets = self.tickets();
        tsan::acquired(&self.tickets);
        let result = body(&mut tickets);
        tsan::releasing(&self.tickets);
        result
    }

    fn enter(&self) -> u64 {
        self.locked(|tickets| {
            tickets.0 += 1;
            let ticket = tickets.0;
            tickets.1.push_back(ticket);
            ticket
        })
    }

    /// Sleeps until notified, or until the time is over; says whether it was that. The director says when; the clock
    /// does only once nobody directs any more, and counts from then.
    fn sleep(&self, ticket: u64, address: u64, time: Option<Duration>) -> bool {
        let waiting = if time.is_some() { Waiting::NoticeOrTime } else { Waiting::Notice };
        let is_notified = |tickets: &(u64, VecDeque<u64>)| !tickets.1.contains(&ticket);
        let is_told =
            || Blackbox::current().zip(Blackbox::role()).is_some_and(|(b, role)| b.slot(role).take_time_over());
        let directed = try_or_park(
            waiting,
            address,
            || 0,
            || {
                let is_over = is_told();
                self.locked(|tickets| {
                    let is_notified = is_notified(tickets);
                    tickets.1.retain(|one| !is_over || *one != ticket);
                    (is_notified || is_over).then_some(!is_notified)
                })
            },
        );
        if let Some(is_over) = directed {
            return is_over;
        }
        let end = time.and_then(|time| Instant::now().checked_add(time));
        let mut tickets = self.tickets();
        loop {
            tsan::acquired(&self.tickets);
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let (is_notified, is_over) = (is_notified(&tickets), left.is_some_and(|left| left.is_zero()));
            tickets.1.retain(|one| !is_over || *one != ticket);
            tsan::releasing(&self.tickets);
            if is_notified || is_over {
                return !is_notified;
            }
            tickets = match left {
                Some(left) => self.bell.wait_timeout(tickets, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.bell.wait(tickets).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Gives how many slept.
    fn notify(&self, most: usize) -> u64 {
        let slept = self.locked(|tickets| {
            let slept = tickets.1.len();
            tickets.1.drain(..slept.min(most));
            slept
        });
        self.bell.notify_all();
        slept as u64
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl Condvar {
    /// Nobody sleeps in it.
    pub fn new() -> Condvar {
        Condvar { inner: std::sync::Condvar::new(), directed: Sleepers::default() }
    }

    fn address(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }

    /// Gives the lock back and sleeps until notified, in one step; then takes the lock again. It may wake without a
    /// reason (`pthread_cond_wait(3)`), so the caller looks again at what it waits for.
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.sleep(guard, None, Location::caller()).0
    }

    /// As [`Condvar::wait`], for at most `time`; says whether it woke because that was over.
    ///
    /// In a directed run no clock decides: the time is over when the schedule's next step is one of this thread and
    /// nobody has notified it, and not before. Once the points are open to all, the clock counts again, and from then.
    #[track_caller]
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, time: Duration) -> (MutexGuard<'a, T>, bool) {
        self.sleep(guard, Some(time), Location::caller())
    }

    fn sleep<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        time: Option<Duration>,
        at: &'static Location<'static>,
    ) -> (MutexGuard<'a, T>, bool) {
        let lock = guard.lock;
        let inner = guard.inner.take().expect("it is there until the drop");
        // The guard's own drop tells of no unlock without it.
        drop(guard);
        if !tracing_enabled() {
            let (inner, is_over) = self.sleep_in_std(inner, time);
            return (lock.taken(inner, at), is_over);
        }
        // With the lock in hand: whoever notifies after it is given back finds this thread asleep.
        blackbox::note(Kind::Sleep, "", at, [self.address(), 0, 0]);
        blackbox::note(Kind::Unlock, "", at, [lock.address(), 0, 0]);
        let (guard, is_over) = if directed() {
            let ticket = self.directed.enter();
            drop(inner);
            let is_over = self.directed.sleep(ticket, self.address(), time);
            (lock.lock_at(at), is_over)
        } else {
            let (inner, is_over) = self.sleep_in_std(inner, time);
            (lock.taken(inner, at), is_over)
        };
        blackbox::note(Kind::Woken, "", at, [self.address(), u64::from(is_over), 0]);
        (guard, is_over)
    }

    fn sleep_in_std<'a, T>(
        &self,
        inner: std::sync::MutexGuard<'a, T>,
        time: Option<Duration>,
    ) -> (std::sync::MutexGuard<'a, T>, bool) {
        match time {
            None => (self.inner.wait(inner).unwrap_or_else(PoisonError::into_inner), false),
            Some(time) => {
                let woken = self.inner.wait_timeout(inner, time).unwrap_or_else(PoisonError::into_inner);
                (woken.0, woken.1.timed_out())
            }
        }
    }

    /// Wakes one who sleeps, if anybody does.
    #[track_caller]
    pub fn notify_one(&self) {
        self.notify(1, Location::caller());
    }

    /// Wakes all who sleep.
    #[track_caller]
    pub fn notify_all(&self) {
        self.notify(usize::MAX, Location::caller());
    }

    fn notify(&self, most: usize, at: &'static Location<'static>) {
        let all = u64::from(most > 1);
        if tracing_enabled() && directed() {
            let slept = self.directed.notify(most);
            blackbox::note(Kind::Notify, "", at, [self.address(), slept, all]);
            return;
        }
        if tracing_enabled() {
            blackbox::note(Kind::Notify, "", at, [self.address(), u64::MAX, all]);
        }
        match most {
            1 => self.inner.notify_one(),
            _ => self.inner.notify_all(),
        }
    }
}

/// A flag that is looked at and set without a lock. What does both is recorded as a look, and, if it wrote, as a set.
pub struct AtomicBool {
    inner: std::sync::atomic::AtomicBool,
}

impl AtomicBool {
    /// With this value.
    pub const fn new(value: bool) -> AtomicBool {
        AtomicBool { inner: std::sync::atomic::AtomicBool::new(value) }
    }

    #[track_caller]
    fn note(&self, kind: Kind, value: bool) {
        if tracing_enabled() {
            blackbox::note(kind, "", Location::caller(), [std::ptr::from_ref(self) as u64, u64::from(value), 0]);
        }
    }

    /// Its value now.
    #[track_caller]
    pub fn load(&self, order: Ordering) -> bool {
        let value = self.inner.load(order);
        self.note(Kind::AtomicLoad, value);
        value
    }

    /// Gives it a value.
    #[track_caller]
    pub fn store(&self, value: bool, order: Ordering) {
        self.inner.store(value, order);
        self.note(Kind::AtomicStore, value);
    }

    /// Gives it a value; returns the one before.
    #[track_caller]
    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        self.both(self.inner.swap(value, order), value)
    }

    /// Gives it the value `new` if it has the value `current`; the value before, as an error if it was another.
    ///
    /// # Errors
    /// The value, which is not `current`.
    #[track_caller]
    pub fn compare_exchange(&self, current: bool, new: bool, yes: Ordering, no: Ordering) -> Result<bool, bool> {
        self.exchanged(self.inner.compare_exchange(current, new, yes, no), new)
    }

    /// As [`AtomicBool::compare_exchange`], and it may fail for no reason.
    ///
    /// # Errors
    /// The value, which may be `current`.
    #[track_caller]
    pub fn compare_exchange_weak(&self, current: bool, new: bool, yes: Ordering, no: Ordering) -> Result<bool, bool> {
        self.exchanged(self.inner.compare_exchange_weak(current, new, yes, no), new)
    }

    /// Sets it if `value` is; returns the value before.
    #[track_caller]
    pub fn fetch_or(&self, value: bool, order: Ordering) -> bool {
        let before = self.inner.fetch_or(value, order);
        self.both(before, before | value)
    }

    /// Clears it unless `value` is set; returns the value before.
    #[track_caller]
    pub fn fetch_and(&self, value: bool, order: Ordering) -> bool {
        let before = self.inner.fetch_and(value, order);
        self.both(before, before & value)
    }

    #[track_caller]
    fn both(&self, before: bool, after: bool) -> bool {
        self.note(Kind::AtomicLoad, before);
        self.note(Kind::AtomicStore, after);
        before
    }

    #[track_caller]
    fn exchanged(&self, result: Result<bool, bool>, new: bool) -> Result<bool, bool> {
        match result {
            Ok(before) => Ok(self.both(before, new)),
            Err(before) => {
                self.note(Kind::AtomicLoad, before);
                Err(before)
            }
        }
    }
}

/// The thread waits for what another one does, and looks again after this: the kernel may give the core to another
/// meanwhile (`sched_yield(2)`).
///
/// In a directed run nobody else moves meanwhile, so the second time between two points the thread stands as if it
/// slept, and looks again each time that somebody else has moved. A loop that waits and says nothing would keep the
/// director waiting.
pub fn yield_now() {
    if !(tracing_enabled() && give_way()) {
        std::thread::yield_now();
    }
}

/// As [`yield_now`], for a wait that is short: the core is told, and the kernel is not asked.
pub fn spin_loop() {
    if !(tracing_enabled() && give_way()) {
        std::hint::spin_loop();
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
    /// thread can rely on (its drop happened before this call).
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
    changed: std::sync::Condvar,
}

struct QueueState<T> {
    tasks: VecDeque<T>,
    closed: bool,
    /// Threads in a wait. With nobody there, waking is a system call for nothing, and std's Condvar does not count
    /// them.
    sleeping: usize,
    /// One of them is being woken, and has not come yet. It will take a task and wake the next one if there are more,
    /// so that a burst of tasks does not wake everybody for what one can do.
    waking: bool,
}

impl<T> QueueState<T> {
    /// Whether the caller, once it has given the lock back, is to wake one who sleeps.
    fn begin_to_wake(&mut self) -> bool {
        let wakes = self.sleeping > 0 && !self.waking;
        self.waking |= wakes;
        wakes
    }
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
        let state = QueueState { tasks: VecDeque::with_capacity(1024), closed: false, sleeping: 0, waking: false };
        Queue { state: std::sync::Mutex::new(state), changed: std::sync::Condvar::new() }
    }

    /// Does `body` under the lock.
    fn locked<R>(&self, body: impl FnOnce(&mut QueueState<T>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        tsan::acquired(&self.state);
        let result = body(&mut state);
        tsan::releasing(&self.state);
        result
    }

    /// Adds a task at the end and wakes a worker.
    #[track_caller]
    pub fn push(&self, task: T) {
        let name = task.name();
        let at = Location::caller();
        let wakes = self.locked(|state| {
            state.tasks.push_back(task);
            if tracing_enabled() {
                blackbox::note(Kind::Push, "", at, [name, state.tasks.len() as u64, 0]);
            }
            state.begin_to_wake()
        });
        if wakes {
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
                && tracing_enabled()
            {
                blackbox::note(Kind::Pop, "", at, [task.name(), state.tasks.len() as u64, 0]);
            }
            let wakes = !state.tasks.is_empty() && state.begin_to_wake();
            (task.is_some() || state.closed).then_some((task, wakes))
        };
        let taken = |(task, wakes)| {
            if wakes {
                self.changed.notify_one();
            }
            task
        };
        if tracing_enabled() {
            let directed = try_or_park(Waiting::Task, 0, || 0, || self.locked(ready)).map(taken);
            if let Some(result) = directed {
                return result;
            }
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        tsan::acquired(&self.state);
        loop {
            if let Some(result) = ready(&mut state) {
                tsan::releasing(&self.state);
                drop(state);
                return taken(result);
            }
            state.sleeping += 1;
            tsan::releasing(&self.state);
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            tsan::acquired(&self.state);
            state.sleeping -= 1;
            state.waking = false;
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

/// Starts a thread, which plays the role `name`. If the kernel has none to give, this does not come back: the program
/// ends with a sentence that says so.
#[track_caller]
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle {
    try_spawn(name, body).unwrap_or_else(|error| refuse(error))
}

/// Gives `error` to whoever has called [`unless_refused`]: a thread was refused, without which there is no going on. It
/// unwinds past the panic hook, since nobody has made a mistake.
pub(crate) fn refuse(error: io::Error) -> ! {
    std::panic::resume_unwind(Box::new(error))
}

/// Does `body`.
///
/// # Errors
/// What it was refused: `EAGAIN` for a thread (`pthread_create(3)`).
pub(crate) fn unless_refused<R>(body: impl FnOnce() -> R) -> io::Result<R> {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    done.map_err(|panic| match panic.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Starts a thread that plays no role. Refused one, it does not come back, as [`spawn`].
pub(crate) fn spawn_scoped<'scope, R: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    body: impl FnOnce() -> R + Send + 'scope,
) -> std::thread::ScopedJoinHandle<'scope, R> {
    std::thread::Builder::new().spawn_scoped(scope, body).unwrap_or_else(|error| refuse(error))
}

/// As [`spawn`], for as many threads as there are clients. Threads beyond [`blackbox::MAX_ROLES`] play no role: nobody
/// records or directs them.
///
/// # Errors
/// `EAGAIN` when the kernel has no thread to give (`pthread_create(3)`).
#[track_caller]
pub fn try_spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle> {
    let at = Location::caller();
    fault::check(Call::Spawn, at)?;
    let role = Blackbox::current().and_then(|blackbox| blackbox.add_role(name));
    let thread = std::thread::Builder::new().name(name.to_string()).spawn(move || {
        let watch = Blackbox::current().zip(role);
        if let Some((_, role)) = watch {
            Blackbox::register_current_thread(role);
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
            && tracing_enabled()
        {
            let ended = || {
                let state = Blackbox::current().map(|blackbox| blackbox.slot(role).state());
                (state == Some(State::Ended)).then_some(())
            };
            try_or_park(Waiting::Thread, role as u64, || role as u32, ended);
        }
        self.inner.join().expect("the thread has not panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn while_one_is_being_woken_nobody_else_is() {
        let state = |sleeping, waking| QueueState::<u64> { tasks: VecDeque::new(), closed: false, sleeping, waking };
        for (mut state, wakes, waking) in
            [(state(0, false), false, false), (state(2, false), true, true), (state(2, true), false, true)]
        {
            assert_eq!((state.begin_to_wake(), state.waking), (wakes, waking));
        }
    }

    #[test]
    fn one_notification_is_for_one_and_the_other_kind_is_for_all() {
        const SLEEPERS: usize = 4;
        let (sleepers, woken, changed) = (Mutex::new(Vec::new()), AtomicU64::new(0), Condvar::new());
        // One that has given the lock back and does not sleep yet would wake with the one who is woken.
        let sleeps = |tid: &libc::pid_t| {
            let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).expect("it is there");
            status.contains("\nState:\tS")
        };
        std::thread::scope(|scope| {
            for _ in 0..SLEEPERS {
                scope.spawn(|| {
                    let mut guard = sleepers.lock();
                    // SAFETY: the call has no preconditions.
                    guard.push(unsafe { libc::gettid() });
                    drop(changed.wait(guard));
                    woken.fetch_add(1, Ordering::Relaxed);
                });
            }
            let until = |due: &dyn Fn() -> bool| {
                while !due() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            until(&|| {
                let sleepers = sleepers.lock();
                sleepers.len() == SLEEPERS && sleepers.iter().all(sleeps)
            });
            changed.notify_one();
            until(&|| woken.load(Ordering::Relaxed) > 0);
            // Time in which others would come.
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(woken.load(Ordering::Relaxed), 1);
            changed.notify_all();
        });
        assert_eq!(woken.into_inner(), SLEEPERS as u64);
    }

    /// Each of these tasks ends only when all are under way, so whoever takes one must see to the next.
    #[test]
    fn as_many_workers_wake_as_there_are_tasks_that_wait_for_each_other() {
        const WORKERS: usize = 4;
        for _ in 0..200 {
            let (queue, together) = (Queue::<u64>::new(), Barrier::new(WORKERS));
            let (done, ends) = std::sync::mpsc::channel();
            let came = std::thread::scope(|scope| {
                for _ in 0..WORKERS {
                    let (done, queue, together) = (done.clone(), &queue, &together);
                    scope.spawn(move || {
                        while queue.pop().is_some() {
                            together.wait();
                            done.send(()).expect("the test waits");
                        }
                    });
                }
                let limit = std::time::Duration::from_secs(20);
                let came = (0..5).all(|_| {
                    (0..WORKERS as u64).for_each(|task| queue.push(task));
                    (0..WORKERS).all(|_| ends.recv_timeout(limit).is_ok())
                });
                // It wakes all who still sleep, so the test ends, whatever became of it.
                queue.close();
                came
            });
            assert!(came, "a task waits, and so do workers");
        }
    }

    #[test]
    fn every_task_is_taken_once_whether_the_workers_sleep_or_not() {
        let (queue, sum) = (Queue::<u64>::new(), std::sync::atomic::AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some(task) = queue.pop() {
                        sum.fetch_add(task, Ordering::Relaxed);
                    }
                });
            }
            for task in 1..=20_000 {
                queue.push(task);
                if task % 16 == 0 {
                    std::thread::yield_now();
                }
            }
            queue.close();
        });
        assert_eq!(sum.into_inner(), 20_000 * 20_001 / 2);
    }

    #[test]
    fn a_lock_is_taken_by_trying_only_if_nobody_has_it() {
        let lock = Mutex::new(1);
        let held = lock.lock();
        assert!(std::thread::scope(|scope| scope.spawn(|| lock.try_lock().is_none()).join().expect("no panic")));
        drop(held);
        *lock.try_lock().expect("nobody has it") += 1;
        assert_eq!(*lock.try_lock().expect("it was given back"), 2);
    }

    #[test]
    fn a_timed_sleep_ends_by_the_clock_or_by_a_notification_and_says_which() {
        let (ready, changed) = (Mutex::new(false), Condvar::new());
        let (guard, is_over) = changed.wait_timeout(ready.lock(), Duration::ZERO);
        assert!(is_over && !*guard);
        assert!(ready.try_lock().is_none(), "it has its lock again");
        drop(guard);
        std::thread::scope(|scope| {
            let sleeps = scope.spawn(|| {
                let (mut guard, mut is_over) = (ready.lock(), false);
                while !*guard {
                    (guard, is_over) = changed.wait_timeout(guard, Duration::MAX);
                }
                is_over
            });
            *ready.lock() = true;
            changed.notify_one();
            assert!(!sleeps.join().expect("no panic"));
        });
    }

    #[test]
    fn who_knows_of_a_value_does_not_keep_it() {
        struct Counted<'a>(&'a AtomicU64);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let drops = AtomicU64::new(0);
        let owner = Arc::new(Counted(&drops));
        let weak = Arc::downgrade(&owner);
        let again = weak.upgrade().expect("there is an owner");
        drop(owner);
        assert_eq!((drops.load(Ordering::Relaxed), weak.upgrade().is_some()), (0, true));
        drop(again);
        assert_eq!((drops.load(Ordering::Relaxed), weak.upgrade().is_none()), (1, true));
        assert!(Weak::<u64>::new().upgrade().is_none());
    }

    #[test]
    fn a_flag_gives_back_what_it_was_and_becomes_what_std_says() {
        use Ordering::SeqCst;
        for (before, value) in [(false, false), (false, true), (true, false), (true, true)] {
            let both = || (AtomicBool::new(before), std::sync::atomic::AtomicBool::new(before));
            let same = |(ours, std): (AtomicBool, std::sync::atomic::AtomicBool)| {
                assert_eq!(ours.load(SeqCst), std.load(SeqCst))
            };
            let (ours, std) = both();
            assert_eq!(ours.swap(value, SeqCst), std.swap(value, SeqCst));
            same((ours, std));
            let (ours, std) = both();
            assert_eq!(ours.fetch_or(value, SeqCst), std.fetch_or(value, SeqCst));
            same((ours, std));
            let (ours, std) = both();
            assert_eq!(ours.fetch_and(value, SeqCst), std.fetch_and(value, SeqCst));
            same((ours, std));
            let (ours, std) = both();
            let exchanged = ours.compare_exchange(value, !value, SeqCst, SeqCst);
            assert_eq!(exchanged, std.compare_exchange(value, !value, SeqCst, SeqCst));
            same((ours, std));
            let ours = AtomicBool::new(before);
            // It may fail for no reason, but not for ever, and it succeeds only if the value is the one.
            let succeeds = (0..1000).any(|_| ours.compare_exchange_weak(value, !value, SeqCst, SeqCst).is_ok());
            assert_eq!((succeeds, ours.load(SeqCst)), (before == value, before ^ (before == value)));
        }
    }

    /// Without the exchange, or with one that does not look, both are inside at once.
    #[test]
    fn a_lock_that_is_made_of_a_flag_keeps_others_out() {
        let (taken, count) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for wait in [yield_now, spin_loop] {
                let (taken, count) = (&taken, &count);
                scope.spawn(move || {
                    for _ in 0..2_000 {
                        while taken.swap(true, Ordering::Acquire) {
                            wait();
                            std::thread::yield_now();
                        }
                        let seen = count.load(Ordering::Relaxed);
                        std::thread::yield_now();
                        count.store(seen + 1, Ordering::Relaxed);
                        taken.store(false, Ordering::Release);
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 4_000);
    }
}

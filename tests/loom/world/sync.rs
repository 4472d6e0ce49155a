//! What threads share, in the model. Each lock, queue and atomic is an [`Object`] of its own, which each call on it is about.
//!
//! What is generic here is compiled with each stage, a hundred times and without optimisation. So it does no more than hold the
//! value; what a call does is done by functions that are compiled once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

pub use std::sync::atomic::Ordering;
pub use std::time::Duration;

use crate::check::Check;
use crate::heap::{self, Raw};
use crate::test::{Said, Test, test};
use crate::turn::{self, Checker, Object, switching};
use crate::world::{self, Defect, Key, Role, What, Why, World};

/// One share more, which makes so many.
fn count_share(shares: &Object, count: usize) {
    world::with(|world| {
        world.shares += 1;
        world.put(shares.key, count);
    });
}

/// A share is cloned.
fn clone_share(shares: &Object) {
    if turn::checker() == Some(Checker::Search) || world::with(|world| !world.rules.independence) {
        world::tick_of(shares);
    }
}

/// One share fewer. How many there are is asked after the tick.
fn give_up_share(shares: &Object, count: &dyn Fn() -> usize) {
    if world::is_over() {
        return;
    }
    world::tick_of(shares);
    let left = count() - 1;
    world::with(|world| {
        world.shares -= 1;
        world.put(shares.key, left);
        // Whoever gives up the last share knows it by what goes with it.
        world.see(left == 0);
    });
}

/// Shared ownership.
///
/// To make a share needs one. So nobody sees in which order two are made, nor whether one is made before another is
/// given up: only the end of the last share, and the look of a [`Weak`] whether there is one, depend on that. These are
/// steps; for loom a `clone` is none.
pub struct Arc<T> {
    shares: std::sync::Arc<Object>,
    inner: ManuallyDrop<std::sync::Arc<T>>,
}

// SAFETY: the threads of a model are coroutines of one thread.
unsafe impl<T: Send + Sync> Send for Arc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Arc<T> {}

impl<T> Arc<T> {
    pub fn new(value: T) -> Arc<T> {
        #[allow(clippy::arc_with_non_send_sync)]
        Arc::counted(std::sync::Arc::new(Object::new()), std::sync::Arc::new(value))
    }

    /// A pointer that keeps nothing alive.
    pub fn downgrade(this: &Self) -> Weak<T> {
        Weak { shares: this.shares.clone(), inner: std::sync::Arc::downgrade(&this.inner) }
    }

    fn counted(shares: std::sync::Arc<Object>, inner: std::sync::Arc<T>) -> Arc<T> {
        count_share(&shares, std::sync::Arc::strong_count(&inner));
        Arc { shares, inner: ManuallyDrop::new(inner) }
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        clone_share(&self.shares);
        Arc::counted(self.shares.clone(), (*self.inner).clone())
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        give_up_share(&self.shares, &|| std::sync::Arc::strong_count(&self.inner));
        // SAFETY: nobody uses it after its drop.
        unsafe { ManuallyDrop::drop(&mut self.inner) };
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

/// A pointer to what others own.
pub struct Weak<T> {
    shares: std::sync::Arc<Object>,
    inner: std::sync::Weak<T>,
}

// SAFETY: the threads of a model are coroutines of one thread.
unsafe impl<T: Send + Sync> Send for Weak<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Weak<T> {}

impl<T> Weak<T> {
    /// A share, if there is still an owner.
    pub fn upgrade(&self) -> Option<Arc<T>> {
        world::tick_of(&self.shares);
        let share = self.inner.upgrade().map(|inner| Arc::counted(self.shares.clone(), inner));
        world::see(share.is_some());
        share
    }
}

impl<T> Clone for Weak<T> {
    fn clone(&self) -> Self {
        Weak { shares: self.shares.clone(), inner: self.inner.clone() }
    }
}

/// The atomics. In loom's hands each is loom's own, so that a load gives each value that C11 allows for its order. The
/// second checker, a model in steps from point to point, and `Rules::sequential` know one value at a time.
macro_rules! atomic {
    ($(#[$doc:meta])* $name:ident, $value:ty, $loom:ty, $std:ty, $log:expr, [$($arithmetic:ident),*]) => {
        $(#[$doc])*
        pub struct $name {
            object: Object,
            plain: $std,
            weak: Option<$loom>,
        }

        impl $name {
            pub fn new(value: $value) -> $name {
                let weak = is_weak().then(|| switching(|| <$loom>::new(value)));
                let atomic = $name { object: Object::new(), plain: <$std>::new(value), weak };
                atomic.keep();
                atomic
            }

            fn keep(&self) {
                let value = self.plain.load(Ordering::Relaxed);
                world::with(|world| world.put(self.object.key, value));
            }

            /// One access: of loom's atomic, or of the one value.
            fn access<R>(&self, weak: impl FnOnce(&$loom) -> R, plain: impl FnOnce(&$std) -> R) -> R {
                heap::touch(std::ptr::from_ref(self) as usize);
                match self.weak.as_ref().filter(|_| !world::is_over()) {
                    Some(atomic) => {
                        // loom by itself does not try every order of accesses to an atomic (`programs` has one that it
                        // misses): so each is a step of this world's first.
                        if !world::with(|world| world.has(Defect::AtomicsUnseen)) {
                            world::tick_without_order(&self.object);
                        }
                        world::step_by(|| switching(|| weak(atomic)))
                    }
                    None => {
                        world::tick_of(&self.object);
                        let result = plain(&self.plain);
                        self.keep();
                        result
                    }
                }
            }

            /// An access that may change it. Logs what it found, and what it left there.
            fn change(&self, weak: impl FnOnce(&$loom) -> $value, plain: impl FnOnce(&$std) -> $value, new: impl FnOnce($value) -> Option<$value>) -> $value {
                let found = self.access(weak, plain);
                let log: fn(Option<$value>, Option<$value>) = $log;
                log(Some(found), new(found));
                found
            }

            pub fn load(&self, order: Ordering) -> $value {
                self.change(|atomic| atomic.load(order), |atomic| atomic.load(order), |_| None)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                self.access(|atomic| atomic.store(value, order), |atomic| atomic.store(value, order));
                let log: fn(Option<$value>, Option<$value>) = $log;
                log(None, Some(value));
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.change(|atomic| atomic.swap(value, order), |atomic| atomic.swap(value, order), |_| Some(value))
            }

            pub fn compare_exchange(&self, current: $value, new: $value, success: Ordering, failure: Ordering) -> Result<$value, $value> {
                let found = self.change(
                    |atomic| atomic.compare_exchange(current, new, success, failure).unwrap_or_else(|found| found),
                    |atomic| atomic.compare_exchange(current, new, success, failure).unwrap_or_else(|found| found),
                    |found| (found == current).then_some(new),
                );
                if found == current { Ok(found) } else { Err(found) }
            }

            /// Here it never fails without a reason.
            pub fn compare_exchange_weak(&self, current: $value, new: $value, success: Ordering, failure: Ordering) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            $(
                pub fn $arithmetic(&self, value: $value, order: Ordering) -> $value {
                    let new = |found: $value| {
                        let cell = <$std>::new(found);
                        cell.$arithmetic(value, Ordering::Relaxed);
                        Some(cell.into_inner())
                    };
                    self.change(|atomic| atomic.$arithmetic(value, order), |atomic| atomic.$arithmetic(value, order), new)
                }
            )*
        }
    };
}

fn is_weak() -> bool {
    turn::checker() == Some(Checker::Loom) && world::with(|world| world.has_weak_memory())
}

/// A flag shows in a counterexample, as in the autopsy of a real run. A number does not, but is seen by its thread.
fn log_flag(found: Option<bool>, left: Option<bool>) {
    found.into_iter().for_each(|value| world::log(What::Look(value)));
    left.into_iter().for_each(|value| world::log(What::Set(value)));
}

fn log_number(found: Option<u64>, left: Option<u64>) {
    world::log(What::Count(found, left));
}

atomic!(
    /// A flag without a lock.
    AtomicBool, bool, loom::sync::atomic::AtomicBool, std::sync::atomic::AtomicBool, log_flag, [fetch_and, fetch_or]
);
atomic!(
    /// A number without a lock.
    AtomicU64, u64, loom::sync::atomic::AtomicU64, std::sync::atomic::AtomicU64, log_number,
    [fetch_add, fetch_sub, fetch_max]
);
atomic!(
    /// A number without a lock.
    AtomicUsize, usize, loom::sync::atomic::AtomicUsize, std::sync::atomic::AtomicUsize,
    |found, left| log_number(found.map(|n| n as u64), left.map(|n| n as u64)), [fetch_add, fetch_sub, fetch_max]
);

/// A fence between what this thread did and does, as `std::sync::atomic::fence`.
pub fn fence(order: Ordering) {
    match is_weak() {
        true => world::step_by(|| switching(|| loom::sync::atomic::fence(order))),
        false => world::see(()),
    }
}

/// Lets others go first, for once: a thread that spins until another has done something.
pub fn yield_now() {
    world::give_way();
}

/// As [`yield_now`]: here a spin without it would have no end.
pub fn spin_loop() {
    world::give_way();
}

/// A cell without a lock. Who takes the address is inside until it asks for its next task; where the rules say so, a
/// second thread inside is a finding.
pub struct UnsafeCell<T> {
    key: Key,
    inner: std::cell::UnsafeCell<T>,
}

impl<T> UnsafeCell<T> {
    pub fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell { key: new_cell(), inner: std::cell::UnsafeCell::new(value) }
    }

    pub fn get(&self) -> *mut T {
        heap::touch(std::ptr::from_ref(self) as usize);
        enter_cell(self.key);
        self.inner.get()
    }
}

fn new_cell() -> Key {
    world::with(|world| {
        world.is_racy = true;
        world.new_key()
    })
}

fn enter_cell(key: Key) {
    let two_inside = world::with(|world| world.rules.two_inside);
    if two_inside {
        world::tick_of(&world::with(|world| world.memory.clone()));
    }
    enter(key, two_inside.then_some(Check::TwoInACell));
}

/// The current thread is inside from now on. A finding where `check` says so and another is.
fn enter(cell: Key, check: Option<Check>) {
    let me = world::me();
    let other = world::with(|world| {
        let place = world.place();
        let other = world.inside.iter().find(|(other, role, _)| *other == cell && *role != me).copied();
        if check.is_some() {
            world.log(What::Inside(cell));
        }
        world.enter(cell, me, place);
        let (_, role, since) = other?;
        Some(format!("two threads inside one cell: {}, and {}", world.who(role, since), world.who(me, place)))
    });
    if let (Some(text), Some(check)) = (other, check) {
        world::refute(check, text);
    }
}

/// Who asks for a task has left every cell.
fn leave_cells() {
    let me = world::me();
    let two_inside = world::with(|world| {
        let inside = world.inside.iter().any(|(_, role, _)| *role == me);
        (inside && world.rules.two_inside).then(|| world.memory.clone())
    });
    if let Some(memory) = two_inside {
        world::tick_of(&memory);
    }
    world::with(|world| world.leave_cells(me, None));
}

/// A value that is handed from thread to thread. Who has entered is inside until its guard goes; a second thread inside
/// is a finding where the rules say so, and loom itself checks that what the last one did happened before.
pub struct Handoff<T> {
    object: Object,
    /// loom's check of what happens before what.
    order: Option<loom::cell::UnsafeCell<()>>,
    value: std::cell::UnsafeCell<T>,
}

// SAFETY: as the real one's.
unsafe impl<T: Send> Sync for Handoff<T> {}

/// The value is this thread's for as long as this lives.
pub struct Inside<'a, T> {
    cell: &'a Handoff<T>,
    _order: Option<loom::cell::MutPtr<()>>,
}

impl<T> Handoff<T> {
    pub fn new(value: T) -> Handoff<T> {
        let off = world::with(|world| world.rules.off == Some(Check::UnorderedHandoff));
        let order = turn::checker() == Some(Checker::Loom) && !off;
        Handoff {
            object: Object::new(),
            order: order.then(|| switching(|| loom::cell::UnsafeCell::new(()))),
            value: std::cell::UnsafeCell::new(value),
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// # Safety
    /// As for the real one.
    pub unsafe fn enter(&self) -> Inside<'_, T> {
        heap::touch(self.address());
        world::tick_without_order(&self.object);
        enter(self.object.key, world::with(|world| world.rules.two_inside).then_some(Check::TwoInAHandoff));
        Inside { cell: self, _order: self.order.as_ref().map(loom::cell::UnsafeCell::get_mut) }
    }
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        if world::is_over() {
            return;
        }
        let (cell, me) = (self.cell.object.key, world::me());
        heap::touch(self.cell.address());
        world::tick_without_order(&self.cell.object);
        world::with(|world| world.leave_cells(me, Some(cell)));
    }
}

impl<T> Deref for Inside<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: one coroutine runs at a time, and a second one inside is found out.
        unsafe { &*self.cell.value.get() }
    }
}

impl<T> DerefMut for Inside<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.cell.value.get() }
    }
}

/// A lock without what it guards.
struct Lock {
    object: Object,
    holder: Cell<Option<Role>>,
    /// What the last one knew that could write to the value: so what the value is.
    past: Cell<u128>,
}

impl Lock {
    fn new() -> Lock {
        let past = Cell::new(world::with(|world| world.knowledge()));
        let lock = Lock { object: Object::new(), holder: Cell::new(None), past };
        world::with(|world| lock.keep(world));
        lock
    }

    fn keep(&self, world: &mut World) {
        world.put(self.object.key, (self.holder.get(), self.past.get()));
    }

    fn lock(&self) {
        heap::touch(self.address());
        let waits = |_: &World| self.holder.get().is_some();
        world::when(&self.object, Why::Lock(self.object.key), waits, |world| self.take(world));
    }

    /// Whether it is the caller's.
    fn try_lock(&self) -> bool {
        heap::touch(self.address());
        world::tick_of(&self.object);
        let is_free = self.holder.get().is_none();
        world::see(is_free);
        if is_free {
            world::with(|world| self.take(world));
        }
        is_free
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    fn take(&self, world: &mut World) {
        self.holder.set(Some(world::me()));
        world.log(What::Lock(self.object.key));
        world.see(self.past.get());
        self.keep(world);
    }

    fn unlock(&self, wrote: bool) {
        if world::is_over() {
            return;
        }
        heap::touch(self.address());
        if !world::with(|world| world.has(Defect::UnlocksUnseen)) {
            world::tick_of(&self.object);
        }
        self.give_back(wrote);
    }

    /// Whoever waits for it goes on.
    fn give_back(&self, wrote: bool) {
        self.holder.set(None);
        world::with(|world| {
            if wrote && !world.has(Defect::ForgetsMemory) {
                self.past.set(world.knowledge());
            }
            self.keep(world);
            world.log(What::Unlock(self.object.key));
            let key = self.object.key;
            world.wake(|why| why == Why::Lock(key));
        });
    }
}

/// A lock, fair to nobody: whoever comes when it is free has it.
pub struct Mutex<T> {
    lock: Lock,
    value: std::cell::UnsafeCell<T>,
}

// SAFETY: the threads of a model are coroutines of one thread.
unsafe impl<T: Send> Sync for Mutex<T> {}

pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// It could write to the value.
    wrote: bool,
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex { lock: Lock::new(), value: std::cell::UnsafeCell::new(value) }
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.lock.lock();
        MutexGuard { mutex: self, wrote: false }
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.lock.try_lock().then(|| MutexGuard { mutex: self, wrote: false })
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.lock.unlock(self.wrote);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the lock is held, or the execution is being taken down, one thread after the other.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.wrote = true;
        // SAFETY: as above, and the guard is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

/// A condition variable. A notification wakes any one of those who sleep, and nobody is woken without a reason unless
/// the rules say so.
pub struct Condvar {
    object: Object,
    sleepers: RefCell<Sleepers>,
}

#[derive(Default, Hash)]
struct Sleepers {
    /// In the order in which they fell asleep.
    waiting: Vec<Role>,
    /// Notifications that nobody has taken: who slept when each came. Whichever of them moves first takes it, and the
    /// others sleep on.
    notices: Vec<Vec<Role>>,
    /// Those whose last sleep ended for no reason: the next one does not.
    startled: Vec<Role>,
}

impl Sleepers {
    /// Whether there is a notification for it; then it sleeps no more.
    fn take_notice(&mut self, role: Role) -> bool {
        let notice = self.notices.iter().position(|notice| notice.contains(&role));
        if let Some(notice) = notice {
            self.notices.remove(notice);
            self.leave(role);
        }
        notice.is_some()
    }

    fn leave(&mut self, role: Role) {
        self.waiting.retain(|other| *other != role);
        self.notices.iter_mut().for_each(|notice| notice.retain(|other| *other != role));
    }

    /// One of those who sleep is to wake, unless all of them will anyway.
    fn notify_one(&mut self) {
        if self.waiting.len() > self.notices.len() {
            self.notices.push(self.waiting.clone());
        }
    }

    fn notify_all(&mut self) {
        self.notices = self.waiting.iter().map(|role| vec![*role]).collect();
    }
}

/// A notification is for those who slept when it came, whatever they do later.
fn a_notification_is_for_those_who_slept() -> Said {
    let mut sleepers = Sleepers { waiting: vec![1, 2], ..Sleepers::default() };
    sleepers.notify_one();
    sleepers.notify_one();
    // No third one: both who sleep will wake.
    sleepers.notify_one();
    let woken = sleepers.take_notice(1);
    sleepers.waiting.push(1);
    let again = sleepers.take_notice(1);
    let other = sleepers.take_notice(2);
    match (woken, again, other, &sleepers.notices[..], &sleepers.waiting[..]) {
        (true, false, true, [], [1]) => Ok(String::new()),
        other => Err(format!("{other:?}")),
    }
}

pub fn tests() -> Vec<Test> {
    vec![test("a_notification_is_for_those_who_slept", 1, a_notification_is_for_those_who_slept)]
}

// SAFETY: the threads of a model are coroutines of one thread.
unsafe impl Sync for Condvar {}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl Condvar {
    pub fn new() -> Condvar {
        Condvar { object: Object::new(), sleepers: RefCell::default() }
    }

    fn keep(&self) {
        world::with(|world| world.put(self.object.key, &*self.sleepers.borrow()));
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.let_go(guard, Why::Notice(self.object.key)).0
    }

    /// As [`Condvar::wait`], with a limit, which is over when nobody else can move. Says whether it was over.
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, _: Duration) -> (MutexGuard<'a, T>, bool) {
        self.let_go(guard, Why::NoticeOrTime(self.object.key))
    }

    fn let_go<'a, T>(&self, guard: MutexGuard<'a, T>, why: Why) -> (MutexGuard<'a, T>, bool) {
        if world::is_over() {
            return (guard, false);
        }
        let (mutex, wrote) = (guard.mutex, guard.wrote);
        // The sleep gives it back.
        std::mem::forget(guard);
        let timed_out = self.sleep(&mutex.lock, wrote, why);
        (MutexGuard { mutex, wrote: false }, timed_out)
    }

    /// The lock is given back, and the thread falls asleep, in one step, which is about both: so both tick before it. Whoever
    /// comes in between the two ticks finds the lock held. Says whether the limit was over.
    fn sleep(&self, lock: &Lock, wrote: bool, why: Why) -> bool {
        let me = world::me();
        world::tick_of(&lock.object);
        world::tick_of(&self.object);
        lock.give_back(wrote);
        world::log(What::Sleep);
        let mut timed_out = false;
        if !self.wakes_for_no_reason() {
            self.sleepers.borrow_mut().waiting.push(me);
            self.keep();
            loop {
                timed_out = world::block(why);
                if timed_out {
                    // Time passes only when nobody else can move: so between the end of the limit and here there was
                    // nobody.
                    self.sleepers.borrow_mut().leave(me);
                    world::log(What::TimeOut);
                    break;
                }
                world::tick_of(&self.object);
                if world::is_over() || self.sleepers.borrow_mut().take_notice(me) {
                    break;
                }
            }
        }
        self.keep();
        lock.lock();
        world::log(What::Woken);
        timed_out
    }

    fn wakes_for_no_reason(&self) -> bool {
        let mut sleepers = self.sleepers.borrow_mut();
        let me = world::me();
        let again = sleepers.startled.contains(&me);
        sleepers.startled.retain(|role| *role != me);
        let wakes = world::with(|world| world.rules.spurious) && !again;
        if wakes {
            sleepers.startled.push(me);
        }
        wakes
    }

    pub fn notify_one(&self) {
        self.notify(Sleepers::notify_one);
    }

    pub fn notify_all(&self) {
        self.notify(Sleepers::notify_all);
    }

    fn notify(&self, how: fn(&mut Sleepers)) {
        world::tick_of(&self.object);
        let slept = {
            let mut sleepers = self.sleepers.borrow_mut();
            let slept = sleepers.waiting.len() - sleepers.notices.len();
            how(&mut sleepers);
            slept
        };
        self.keep();
        let key = self.object.key;
        world::with(|world| {
            world.log(What::Notify(slept));
            if slept > 0 {
                world.wake(|why| matches!(why, Why::Notice(of) | Why::NoticeOrTime(of) if of == key));
            }
        });
    }
}

/// Something that can wait in a queue.
pub trait Task: Send {
    /// What to call it.
    fn describe(&self) -> String;

    /// What tells it from others.
    fn identity(&self) -> u128;

    /// The number that it is, if it is no more than that.
    fn key(&self) -> Option<u64> {
        None
    }
}

impl<T: Send + Sync> Task for Arc<T> {
    fn describe(&self) -> String {
        let start = std::ptr::from_ref(&**self) as usize;
        world::with(|world| world.task(start, size_of::<T>()))
    }

    fn identity(&self) -> u128 {
        world::digest(self.shares.key)
    }
}

impl<T> Task for Raw<T> {
    fn describe(&self) -> String {
        let (start, size) = self.range();
        world::with(|world| world.task(start, size))
    }

    fn identity(&self) -> u128 {
        world::digest(self.key())
    }
}

/// A key.
impl Task for u64 {
    fn describe(&self) -> String {
        world::with(|world| World::token(*self, world.strangers.keys))
    }

    fn identity(&self) -> u128 {
        u128::from(*self)
    }

    fn key(&self) -> Option<u64> {
        Some(*self)
    }
}

/// The task queue: one step a push and a pop.
pub struct Queue<T> {
    line: Line,
    tasks: std::sync::Mutex<VecDeque<T>>,
}

impl<T: Task> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Task> Queue<T> {
    pub fn new() -> Queue<T> {
        let line = Line { object: Object::new(), state: std::sync::Mutex::default() };
        Queue { line, tasks: std::sync::Mutex::new(VecDeque::new()) }
    }

    pub fn push(&self, task: T) {
        world::tick_of(&self.line.object);
        let (name, identity) = (task.describe(), task.identity());
        plain(&self.tasks).push_back(task);
        self.line.push(name, identity);
    }

    /// The next task, once there is one; `None` once there is none and the queue is closed.
    pub fn pop(&self) -> Option<T> {
        self.line.pop();
        let task = plain(&self.tasks).pop_front();
        self.line.popped(task.as_ref().map(|task| (task.identity(), task.describe(), task.key())));
        task
    }

    pub fn close(&self) {
        self.line.close();
    }
}

fn plain<T>(lock: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.try_lock().expect("coroutines of one thread switch only where none of these is held")
}

/// What a queue is without its tasks: their identities, and whether it is closed.
struct Line {
    object: Object,
    state: std::sync::Mutex<(VecDeque<u128>, bool)>,
}

impl Line {
    fn keep(&self) {
        world::with(|world| world.put(self.object.key, &*plain(&self.state)));
    }

    /// All who wait are woken, whatever came: which allows more orders than waking one.
    fn wake(&self) {
        let key = self.object.key;
        world::with(|world| world.wake(|why| why == Why::Task(key)));
    }

    fn push(&self, name: String, identity: u128) {
        plain(&self.state).0.push_back(identity);
        self.keep();
        world::log(What::Push(name));
        self.wake();
    }

    /// Waits for a task, or for the end.
    fn pop(&self) {
        leave_cells();
        world::with(|world| world.leaves_tasks(world::me()));
        let waits = |_: &World| {
            let state = plain(&self.state);
            state.0.is_empty() && !state.1
        };
        let take = |_: &mut World| _ = plain(&self.state).0.pop_front();
        world::when(&self.object, Why::Task(self.object.key), waits, take);
        self.keep();
    }

    /// The caller has this task now: its identity, what it is called, its key.
    fn popped(&self, task: Option<(u128, String, Option<u64>)>) {
        let Some((identity, name, key)) = task else { return world::see(()) };
        world::see(identity);
        world::log(What::Pop(name));
        if let Some(key) = key {
            world::with(|world| world.takes_task(world::me(), key));
        }
    }

    fn close(&self) {
        world::tick_of(&self.object);
        plain(&self.state).1 = true;
        self.keep();
        world::log(What::Closed);
        self.wake();
    }
}

pub struct JoinHandle {
    role: Role,
}

pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle {
    JoinHandle { role: turn::spawn(name, Box::new(body)) }
}

impl JoinHandle {
    pub fn join(self) {
        world::wait_for_end(self.role);
    }
}

//! What threads share, in the model. Each lock and each queue has a loom atomic of its own, which ticks when it is used.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering::Relaxed;

use loom::sync::atomic::AtomicUsize;

pub use std::sync::atomic::Ordering;

use crate::heap::{self, Raw};
use crate::world::{self, Kind, Role, What, Why, World};

/// Shared ownership. std's stands behind it, or loom's own where the rules say so: then each clone and drop is a step.
pub struct Arc<T> {
    inner: ManuallyDrop<Inner<T>>,
}

enum Inner<T> {
    Std(std::sync::Arc<T>),
    Loom(loom::sync::Arc<T>),
}

impl<T> Arc<T> {
    pub fn new(value: T) -> Arc<T> {
        let loom = world::with(|world| {
            world.arcs += 1;
            world.rules.loom_arc
        });
        let inner = match loom {
            true => Inner::Loom(world::switching(|| loom::sync::Arc::new(value))),
            false => Inner::Std(std::sync::Arc::new(value)),
        };
        Arc { inner: ManuallyDrop::new(inner) }
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        let inner = match &*self.inner {
            Inner::Std(arc) => Inner::Std(arc.clone()),
            Inner::Loom(arc) => Inner::Loom(world::switching(|| arc.clone())),
        };
        world::with(|world| world.arcs += 1);
        Arc { inner: ManuallyDrop::new(inner) }
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        // loom's may not be dropped outside of an execution, where unwinding ends.
        if !world::is_over() {
            world::with(|world| world.arcs -= 1);
            // SAFETY: nobody uses it after its drop.
            let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
            world::switching(|| drop(inner));
        }
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        match &*self.inner {
            Inner::Std(arc) => arc,
            Inner::Loom(arc) => arc,
        }
    }
}

/// A counter. Adding gives nothing back: so the order of two additions cannot be seen, and needs no step.
pub struct AtomicU64 {
    value: std::sync::atomic::AtomicU64,
}

impl AtomicU64 {
    pub fn new(value: u64) -> AtomicU64 {
        AtomicU64 { value: std::sync::atomic::AtomicU64::new(value) }
    }

    pub fn fetch_add(&self, n: u64, _: Ordering) {
        self.value.fetch_add(n, Relaxed);
    }

    /// For the end, when whoever added has been joined.
    pub fn load(&self, _: Ordering) -> u64 {
        self.value.load(Relaxed)
    }
}

/// A cell without a lock. Who takes the address is inside until he asks for his next task; where the rules say so, a
/// second thread inside is a finding.
pub struct UnsafeCell<T> {
    inner: std::cell::UnsafeCell<T>,
}

impl<T> UnsafeCell<T> {
    pub fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell { inner: std::cell::UnsafeCell::new(value) }
    }

    pub fn get(&self) -> *mut T {
        let cell = std::ptr::from_ref(self) as usize;
        heap::touch(cell);
        let two_inside = world::with(|world| world.rules.two_inside);
        if two_inside {
            world::tick();
        }
        let other = world::with(|world| {
            let (me, place) = (world::me(), world.place());
            let other = world.inside.iter().find(|(other, role, _)| *other == cell && *role != me).copied();
            if two_inside {
                world.log(What::Inside(cell));
            }
            world.inside.push((cell, me, place));
            let (_, role, since) = other?;
            Some(format!("two threads inside one cell: {}, and {}", world.who(role, since), world.who(me, place)))
        });
        if let Some(text) = other.filter(|_| two_inside) {
            world::refute(Kind::TwoInside, text);
        }
        self.inner.get()
    }
}

/// A value that is handed from thread to thread. Who has entered is inside until his guard goes; a second thread inside is
/// a finding where the rules say so, and loom itself checks that what the last one did happened before.
pub struct Handoff<T> {
    tick: AtomicUsize,
    inner: loom::cell::UnsafeCell<T>,
}

// SAFETY: as the real one's.
unsafe impl<T: Send> Sync for Handoff<T> {}

/// The value is this thread's for as long as this lives.
pub struct Inside<'a, T> {
    cell: &'a Handoff<T>,
    value: loom::cell::MutPtr<T>,
}

impl<T> Handoff<T> {
    pub fn new(value: T) -> Handoff<T> {
        let tick = world::switching(|| AtomicUsize::new(0));
        Handoff { tick, inner: world::switching(|| loom::cell::UnsafeCell::new(value)) }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// # Safety
    /// As for the real one.
    pub unsafe fn enter(&self) -> Inside<'_, T> {
        heap::touch(self.address());
        world::tick_without_order(&self.tick);
        let (me, cell) = (world::me(), self.address());
        let other = world::with(|world| {
            let place = world.place();
            let other = world.inside.iter().find(|(other, role, _)| *other == cell && *role != me).copied();
            world.log(What::Inside(cell));
            world.inside.push((cell, me, place));
            let (_, role, since) = other.filter(|_| world.rules.two_inside)?;
            Some(format!("two threads inside one cell: {}, and {}", world.who(role, since), world.who(me, place)))
        });
        if let Some(text) = other {
            world::refute(Kind::TwoInside, text);
        }
        Inside { cell: self, value: self.inner.get_mut() }
    }
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        if world::is_over() {
            return;
        }
        let (cell, me) = (self.cell.address(), world::me());
        heap::touch(cell);
        world::tick_without_order(&self.cell.tick);
        world::with(|world| world.inside.retain(|(other, role, _)| (*other, *role) != (cell, me)));
    }
}

impl<T> Deref for Inside<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: loom has checked that nobody else is inside.
        unsafe { self.value.deref() }
    }
}

impl<T> DerefMut for Inside<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { self.value.deref() }
    }
}

/// A lock, fair to nobody: whoever comes when it is free has it.
pub struct Mutex<T> {
    tick: AtomicUsize,
    holder: std::sync::Mutex<Option<Role>>,
    inner: std::sync::Mutex<T>,
}

pub struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    /// There until the drop, or until [`Condvar::wait`] takes it.
    inner: Option<std::sync::MutexGuard<'a, T>>,
}

fn plain<T>(lock: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.try_lock().expect("coroutines of one thread switch only where none of these is held")
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex {
            tick: world::switching(|| AtomicUsize::new(0)),
            holder: std::sync::Mutex::new(None),
            inner: std::sync::Mutex::new(value),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        let address = std::ptr::from_ref(self) as usize;
        loop {
            heap::touch(address);
            world::sleep_if(Why::Lock(address), &self.tick, || plain(&self.holder).is_some());
            world::tick_of(&self.tick);
            let mut holder = plain(&self.holder);
            if holder.is_none() {
                *holder = Some(world::me());
                drop(holder);
                world::with(|world| {
                    world.log(What::Lock(address));
                    world.guests.push((address, world::me()));
                });
                return MutexGuard { lock: self, inner: Some(plain(&self.inner)) };
            }
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if world::is_over() || self.inner.is_none() {
            return;
        }
        heap::touch(std::ptr::from_ref(self.lock) as usize);
        world::tick_of(&self.lock.tick);
        self.lock.give_back();
    }
}

impl<T> Mutex<T> {
    /// Whoever waits for it goes on.
    fn give_back(&self) {
        let address = std::ptr::from_ref(self) as usize;
        *plain(&self.holder) = None;
        world::with(|world| {
            world.log(What::Unlock(address));
            world.wake(|why| why == Why::Lock(address));
        });
    }
}

/// A condition variable. It wakes the one who has slept longest, and nobody without a reason unless the rules say so.
pub struct Condvar {
    tick: AtomicUsize,
    /// The tickets of those who sleep, the oldest first.
    sleepers: std::sync::Mutex<VecDeque<u64>>,
    /// Those whose last sleep ended for no reason: the next one does not.
    startled: std::sync::Mutex<Vec<Role>>,
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl Condvar {
    pub fn new() -> Condvar {
        Condvar {
            tick: world::switching(|| AtomicUsize::new(0)),
            sleepers: std::sync::Mutex::default(),
            startled: std::sync::Mutex::default(),
        }
    }

    /// The lock is given back and the ticket taken in one step, which is about both: so both tick before it. Whoever comes in
    /// between the two ticks finds the lock held.
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let lock = guard.lock;
        world::tick_of(&lock.tick);
        world::tick_of(&self.tick);
        drop(guard.inner.take());
        lock.give_back();
        let ticket = world::with(|world| {
            world.tickets += 1;
            world.log(What::Sleep);
            world.tickets
        });
        if !self.wakes_for_no_reason() {
            plain(&self.sleepers).push_back(ticket);
        }
        while plain(&self.sleepers).contains(&ticket) {
            world::block(Why::Notice(ticket));
        }
        let guard = lock.lock();
        world::log(What::Woken);
        guard
    }

    fn wakes_for_no_reason(&self) -> bool {
        let mut startled = plain(&self.startled);
        let me = world::me();
        let again = startled.contains(&me);
        startled.retain(|role| *role != me);
        let wakes = world::with(|world| world.rules.spurious) && !again;
        if wakes {
            startled.push(me);
        }
        wakes
    }

    pub fn notify_one(&self) {
        self.notify(1);
    }

    pub fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    fn notify(&self, most: usize) {
        world::tick_of(&self.tick);
        let mut sleepers = plain(&self.sleepers);
        let slept = sleepers.len();
        let woken: Vec<u64> = sleepers.drain(..slept.min(most)).collect();
        drop(sleepers);
        world::with(|world| {
            world.log(What::Notify(slept));
            world.wake(|why| matches!(why, Why::Notice(ticket) if woken.contains(&ticket)));
        });
    }
}

/// A flag without a lock.
pub struct AtomicBool {
    tick: AtomicUsize,
    value: std::sync::atomic::AtomicBool,
}

impl AtomicBool {
    pub fn new(value: bool) -> AtomicBool {
        AtomicBool { tick: world::switching(|| AtomicUsize::new(0)), value: std::sync::atomic::AtomicBool::new(value) }
    }

    pub fn load(&self, _: Ordering) -> bool {
        world::tick_of(&self.tick);
        let value = self.value.load(Relaxed);
        world::log(What::Look(value));
        value
    }

    pub fn store(&self, value: bool, _: Ordering) {
        world::tick_of(&self.tick);
        self.value.store(value, Relaxed);
        world::log(What::Set(value));
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

/// Something that can wait in a queue.
pub trait Task: Send {
    /// What to call it.
    fn describe(&self) -> String;

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
}

impl<T> Task for Raw<T> {
    fn describe(&self) -> String {
        let (start, size) = self.range();
        world::with(|world| world.task(start, size))
    }
}

/// A key.
impl Task for u64 {
    fn describe(&self) -> String {
        world::with(|world| World::token(*self, world.strangers.keys))
    }

    fn key(&self) -> Option<u64> {
        Some(*self)
    }
}

/// The task queue: one read-modify-write a push and a pop.
pub struct Queue<T> {
    tick: AtomicUsize,
    state: std::sync::Mutex<(VecDeque<T>, bool)>,
}

impl<T: Task> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Task> Queue<T> {
    pub fn new() -> Queue<T> {
        let tick = world::switching(|| AtomicUsize::new(0));
        Queue { tick, state: std::sync::Mutex::new((VecDeque::new(), false)) }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self) as *const u8 as usize
    }

    /// Empty and open: who wants a task sleeps.
    fn is_empty(&self) -> bool {
        let state = plain(&self.state);
        state.0.is_empty() && !state.1
    }

    pub fn push(&self, task: T) {
        world::tick_of(&self.tick);
        let name = task.describe();
        plain(&self.state).0.push_back(task);
        world::with(|world| {
            world.log(What::Push(name));
            let queue = self.address();
            world.wake_for_task(queue);
        });
    }

    pub fn pop(&self) -> Option<T> {
        leave_cells();
        world::with(|world| world.leaves_tasks(world::me()));
        loop {
            world::sleep_if(Why::Task(self.address()), &self.tick, || self.is_empty());
            world::tick_of(&self.tick);
            let (task, closed) = {
                let mut state = plain(&self.state);
                (state.0.pop_front(), state.1)
            };
            if let Some(task) = task {
                world::log(What::Pop(task.describe()));
                if let Some(key) = task.key() {
                    world::with(|world| world.takes_task(world::me(), key));
                }
                return Some(task);
            }
            if closed {
                return None;
            }
        }
    }

    pub fn close(&self) {
        world::tick_of(&self.tick);
        plain(&self.state).1 = true;
        world::with(|world| {
            world.log(What::Closed);
            let queue = self.address();
            world.wake(|why| why == Why::Task(queue));
        });
    }
}

/// Who asks for a task has left every cell.
fn leave_cells() {
    let me = world::me();
    if world::tick_if_inside().is_some() {
        if world::with(|world| world.rules.two_inside && world.inside.iter().any(|(_, role, _)| *role == me)) {
            world::tick();
        }
        world::with(|world| {
            world.inside.retain(|(_, role, _)| *role != me);
            world.guests.retain(|(_, role)| *role != me);
        });
    }
}

pub struct JoinHandle {
    role: Role,
}

/// Room for a worker's read buffer on a coroutine's stack, in words.
const STACK: usize = 0x4000;

pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle {
    let role = world::add_role(name);
    let builder = loom::thread::Builder::new().name(name.to_string()).stack_size(STACK);
    world::switching(|| {
        builder.spawn(move || {
            world::start(role);
            body();
            world::finish();
        })
    })
    .expect("loom has a thread to give");
    JoinHandle { role }
}

impl JoinHandle {
    pub fn join(self) {
        world::wait_for_end(self.role);
    }
}

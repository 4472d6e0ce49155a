//! Named schedule points: the places where the order of events matters.
//!
//! A stage says `point("read")` before it does something that another thread can observe. With nobody watching, that is
//! a load, a test and a branch not taken. In a directed run the thread waits there until the director's schedule says
//! that it is its turn; in every recorded run the box notes that it passed.

use std::cell::Cell;
use std::panic::Location;
use std::sync::atomic::Ordering;

use crate::record::blackbox::{self, Blackbox, Mode, State};
use crate::record::event::{Kind, Waiting};

/// Whether anybody watches.
#[inline(always)]
pub(crate) fn tracing_enabled() -> bool {
    blackbox::mode() != Mode::Off as u8
}

/// Whether a director moves the threads of this process.
pub(crate) fn directed() -> bool {
    blackbox::mode() == Mode::Directed as u8
}

/// The thread is at the point `name`.
#[inline(always)]
#[track_caller]
pub fn point(name: &'static str) {
    if tracing_enabled() {
        pass(name, Location::caller());
    }
}

#[cold]
#[inline(never)]
fn pass(name: &'static str, at: &'static Location<'static>) {
    let (Some(blackbox), Some(role)) = (Blackbox::current(), Blackbox::role()) else { return };
    let occurrence = count(name);
    GAVE_WAY.set(false);
    if is_directed(blackbox) {
        blackbox.slot(role).set_point(name, occurrence);
        blackbox.slot(role).set_place(at);
        park(blackbox, role, State::Parked);
    }
    blackbox.record(role, Kind::Point, name, at, occurrence, 0, 0);
    blackbox::came_to(at);
}

fn is_directed(blackbox: &Blackbox) -> bool {
    directed() && !blackbox.is_open()
}

/// Sleeps until the director lets this role go on, or opens the points to everybody.
fn park(blackbox: &Blackbox, role: usize, state: State) {
    let slot = blackbox.slot(role);
    let seen = slot.grant.load(Ordering::Acquire);
    slot.set_state(state);
    blackbox.ring_doorbell();
    while slot.grant.load(Ordering::Acquire) == seen && !blackbox.is_open() {
        blackbox::futex_wait(&slot.grant, seen, None);
    }
}

/// In a directed run: tries `attempt` until it gives something, and between the tries parks this role as blocked.
/// `None` when nobody directs (any more): then the caller blocks in its own way.
pub(crate) fn try_or_park<T>(
    waiting: Waiting,
    address: u64,
    holder: impl Fn() -> u32,
    mut attempt: impl FnMut() -> Option<T>,
) -> Option<T> {
    let (Some(blackbox), Some(role)) = (Blackbox::current(), Blackbox::role()) else { return None };
    let slot = blackbox.slot(role);
    while is_directed(blackbox) {
        if let Some(value) = attempt() {
            return Some(value);
        }
        slot.waiting.store(waiting as u32, Ordering::Relaxed);
        slot.address.store(address, Ordering::Relaxed);
        slot.holder.store(holder(), Ordering::Relaxed);
        park(blackbox, role, State::Blocked);
    }
    None
}

/// In a directed run, a thread that waits for what another one does without a lock or a sleep lets it be known here,
/// between two looks. Nobody else moves while it looks: once it has looked again in vain since its last point, it
/// stands as blocked until it is asked to look again. Says whether this is so.
pub(crate) fn give_way() -> bool {
    let (Some(blackbox), Some(role)) = (Blackbox::current(), Blackbox::role()) else { return false };
    if !is_directed(blackbox) {
        return false;
    }
    if GAVE_WAY.replace(true) {
        let slot = blackbox.slot(role);
        slot.waiting.store(Waiting::Turn as u32, Ordering::Relaxed);
        slot.address.store(0, Ordering::Relaxed);
        park(blackbox, role, State::Blocked);
    }
    true
}

/// Whether in this directed run it is the kernel that chooses which thread to wake.
pub(crate) fn kernel_chooses_wakeups() -> bool {
    directed() && Blackbox::current().is_some_and(|blackbox| blackbox.is_in_the_kernel())
}

/// Does `call`, in which this role sleeps until the kernel wakes it. The director sees that it sleeps, and when it is
/// woken.
pub(crate) fn asleep<T>(call: impl FnOnce() -> T) -> T {
    let (Some(blackbox), Some(role)) = (Blackbox::current(), Blackbox::role()) else { return call() };
    let slot = blackbox.slot(role);
    slot.fall_asleep();
    blackbox.ring_doorbell();
    let result = call();
    slot.set_state(State::Running);
    result
}

/// How often this thread has been at each point: names are few, and nothing may be allocated here.
const NAMES: usize = 32;
thread_local! {
    /// Whether this thread has given way since its last point.
    static GAVE_WAY: Cell<bool> = const { Cell::new(false) };
    static COUNTS: std::cell::RefCell<[(&'static str, u64); NAMES]> = const { std::cell::RefCell::new([("", 0); NAMES]) };
}

fn count(name: &'static str) -> u64 {
    COUNTS.with_borrow_mut(|counts| {
        let known = counts.iter_mut().find(|(known, _)| *known == name || known.is_empty());
        let entry = known.expect("a thread has at most 32 different points");
        *entry = (name, entry.1 + 1);
        entry.1
    })
}

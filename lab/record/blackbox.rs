//! The black box: memory shared by the server's process and its parent, in which every thread of the server records
//! what it does, without a lock, so that it can be read after any death.
//!
//! It is a `memfd_create(2)` file mapped before the `fork(2)`. The child is the same program image, so an address of a
//! `'static` string means the same in both. Records are a ring: the newest are kept, and [`Blackbox::dropped`] says how
//! many were overwritten.

use std::cell::Cell;
use std::io;
use std::panic::Location;
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

pub use super::event::{CLIENT, MAIN};
use super::event::{Kind, Record, Waiting};
use super::wakeups::{Counts, Herd};

/// The most threads beside `main` that can have a role: workers, reactors, threads of connections.
pub const MAX_THREADS: usize = 78;
/// The most roles: those threads, `main`, the clients of a schedule, and the operator.
pub const MAX_ROLES: usize = MAX_THREADS + 5;
/// The most records that are kept, unless a test says otherwise.
pub const CAPACITY: usize = 1 << 16;

const WORDS: usize = 9;
const NAME: usize = 24;
const MESSAGE: usize = 240;

/// Who watches this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Nobody.
    Off = 0,
    /// The black box.
    Recorded = 1,
    /// The black box and a director.
    Directed = 2,
    /// Nobody, but a system call may be told to fail.
    Faults = 3,
}

static MODE: AtomicU8 = AtomicU8::new(Mode::Off as u8);

/// From here on each system call looks whether it is to fail; a box that watches goes on.
pub(crate) fn expect_faults() {
    let _ = MODE.compare_exchange(Mode::Off as u8, Mode::Faults as u8, Ordering::SeqCst, Ordering::SeqCst);
}

/// The [`Mode`] as a number. A load and no more: it stands at every point.
#[inline(always)]
pub(crate) fn mode() -> u8 {
    MODE.load(Ordering::Relaxed)
}

/// What a role is doing, as far as the director is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// On its way to a point.
    Running = 0,
    /// Parked at a point.
    Parked = 1,
    /// Its last attempt at something that would block did not succeed; it waits to be asked to try again.
    Blocked = 2,
    /// The thread is over.
    Ended = 3,
    /// It sleeps in the kernel, or is about to; only the kernel wakes it.
    Asleep = 4,
}

/// One thread's place in the box. Written by that thread, but for `grant`.
#[repr(C)]
pub(crate) struct Slot {
    name: [AtomicU8; NAME],
    state: AtomicU32,
    /// Raised by the director to let the thread go on; a futex.
    pub(crate) grant: AtomicU32,
    point: [AtomicU64; 2],
    /// Where that point is in the source: the address of a `Location`; 0 before the first.
    place: AtomicU64,
    pub(crate) occurrence: AtomicU64,
    /// The step of the schedule that the role is in, from 1; 0 before its first.
    step: AtomicU32,
    pub(crate) waiting: AtomicU32,
    pub(crate) address: AtomicU64,
    pub(crate) holder: AtomicU32,
    /// 1 when the director has said to a role that waits for a time that it is over.
    time_over: AtomicU32,
    /// The thread's number (`gettid(2)`); 0 until it has slept.
    thread: AtomicU32,
}

impl Slot {
    /// Says to this role, which waits for a time, that it is over. To be granted after that.
    pub(crate) fn end_time(&self) {
        self.time_over.store(1, Ordering::Release);
    }

    /// Whether that was said; it is said once.
    pub(crate) fn take_time_over(&self) -> bool {
        self.time_over.swap(0, Ordering::AcqRel) == 1
    }

    /// This thread, whose slot it is, is about to sleep in the kernel until there is an event.
    pub(crate) fn fall_asleep(&self) {
        // SAFETY: gettid(2) has no preconditions.
        self.thread.store(unsafe { libc::gettid() } as u32, Ordering::Relaxed);
        self.waiting.store(Waiting::Event as u32, Ordering::Relaxed);
        self.set_state(State::Asleep);
    }

    /// Whether the thread is [`State::Asleep`] and the kernel has not woken it: `S` in its `stat` (`proc_pid_stat(5)`).
    /// A wake-up ends that at once, long before the thread runs.
    pub(crate) fn sleeps(&self) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        let stat = std::fs::read_to_string(format!("/proc/{thread}/stat")).unwrap_or_default();
        // The name stands in brackets, and may have some of its own.
        let asleep = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'));
        // Looked at last: who was woken in between has said so.
        asleep && self.state() == State::Asleep
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            1 => State::Parked,
            2 => State::Blocked,
            3 => State::Ended,
            4 => State::Asleep,
            _ => State::Running,
        }
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u32, Ordering::Release);
    }

    pub(crate) fn set_place(&self, at: &'static Location<'static>) {
        self.place.store(ptr::from_ref(at) as u64, Ordering::Relaxed);
    }

    /// Where the point is at which it stands, or which it passed last.
    pub(crate) fn place(&self) -> Option<&'static Location<'static>> {
        let address = self.place.load(Ordering::Relaxed) as *const Location<'static>;
        // SAFETY: only addresses of `&'static Location` are stored, by this very program image or a fork of it.
        unsafe { address.as_ref() }
    }

    pub(crate) fn set_point(&self, name: &'static str, occurrence: u64) {
        self.point[0].store(name.as_ptr() as u64, Ordering::Relaxed);
        self.point[1].store(name.len() as u64, Ordering::Relaxed);
        self.occurrence.store(occurrence, Ordering::Relaxed);
    }

    pub(crate) fn point(&self) -> &'static str {
        text(self.point[0].load(Ordering::Relaxed), self.point[1].load(Ordering::Relaxed))
    }

    fn name(&self) -> String {
        let bytes: Vec<u8> = self.name.iter().map(|b| b.load(Ordering::Relaxed)).take_while(|b| *b != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// How the server's process ended by itself, if it did: what it counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedCounts {
    /// Bytes the server counted as received.
    pub received: u64,
    /// Replies the server counted as written.
    pub replies: u64,
}

/// What the fault handler stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The signal's number.
    pub signal: i32,
    /// `si_code` of `sigaction(2)`.
    pub code: i32,
    /// The faulting address; 0 where the signal has none.
    pub address: u64,
    /// The role that took the signal.
    pub role: usize,
}

#[repr(C)]
struct Layout {
    /// Raised whenever a role changes its state; a futex, on which the director sleeps.
    doorbell: AtomicU32,
    /// 1 when nobody directs (any more).
    open: AtomicU32,
    /// 1 when a directed thread waits for events in the kernel, and is woken by it.
    kernel_chooses_wakeups: AtomicU32,
    /// 1 once all steps of the schedule have been seen to.
    schedule_over: AtomicU32,
    roles: AtomicU32,
    port: AtomicU32,
    fault: [AtomicU64; 4],
    served: [AtomicU64; 3],
    /// How many of `herd` there are.
    reactors: AtomicU32,
    herd: [[AtomicU64; 5]; MAX_ROLES],
    message_length: AtomicUsize,
    message: [AtomicU8; MESSAGE],
    slots: [Slot; MAX_ROLES],
    capacity: AtomicU64,
    next: AtomicU64,
}

/// The box. The mapping lives as long as the process.
#[derive(Clone, Copy)]
pub struct Blackbox {
    layout: &'static Layout,
    ring: &'static [[AtomicU64; WORDS]],
    born: u64,
}

static CURRENT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ROLE: Cell<usize> = const { Cell::new(NO_ROLE) };
    static PLACE: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// Where a record is made.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    at: &'static Location<'static>,
    /// A drop has no caller to name, and has the place of what its thread did before.
    inherited: bool,
}

impl From<&'static Location<'static>> for Place {
    fn from(at: &'static Location<'static>) -> Place {
        Place { at, inherited: false }
    }
}

/// The last place in the source that this thread has recorded, for what has none of its own.
pub(crate) fn last_place() -> Place {
    Place { at: PLACE.get().unwrap_or(Location::caller()), inherited: true }
}

/// This thread has passed a point: in the file that it is in, that is the nearer place.
pub(crate) fn came_to(at: &'static Location<'static>) {
    if PLACE.get().is_some_and(|last| last.file() == at.file()) {
        PLACE.set(Some(at));
    }
}

const NO_ROLE: usize = usize::MAX;
fn text(address: u64, length: u64) -> &'static str {
    if address == 0 {
        return "";
    }
    // SAFETY: only addresses of `&'static str` are stored, by this very program image or a fork of it.
    unsafe { std::str::from_utf8_unchecked(std::slice::from_raw_parts(address as *const u8, length as usize)) }
}

fn nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes to the timespec it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Blackbox {
    /// Makes a box for the newest `capacity` records.
    ///
    /// # Errors
    /// Those of `memfd_create(2)`, `ftruncate(2)` and `mmap(2)`.
    pub fn new(capacity: usize) -> io::Result<Blackbox> {
        assert!(capacity > 0, "a box holds something");
        let size = size_of::<Layout>() + capacity * WORDS * 8;
        // SAFETY: plain system calls; the mapping is fresh, page-aligned, zeroed, and never unmapped. All-zero bytes
        // are a valid `Layout` and a valid ring of atomics.
        unsafe {
            let fd = libc::memfd_create(c"blackbox".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            if libc::ftruncate(fd, size as libc::off_t) != 0 {
                let error = io::Error::last_os_error();
                libc::close(fd);
                return Err(error);
            }
            let at = libc::mmap(ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0);
            let error = io::Error::last_os_error();
            libc::close(fd);
            if at == libc::MAP_FAILED {
                return Err(error);
            }
            let ring = std::slice::from_raw_parts(at.byte_add(size_of::<Layout>()).cast(), capacity);
            Ok(Blackbox { layout: &*at.cast::<Layout>(), ring, born: 0 }.begun())
        }
    }

    /// Empties it, for another server. Whoever has recorded into it must have ended.
    ///
    /// # Errors
    /// Those of `madvise(2)`.
    pub fn emptied(self) -> io::Result<Blackbox> {
        let (at, size) = (ptr::from_ref(self.layout), size_of::<Layout>() + size_of_val(self.ring));
        // SAFETY: the mapping is this box's own. A hole in shared memory reads as zeros, which are a valid box, and an atomic may
        // change at any time.
        if unsafe { libc::madvise(at.cast_mut().cast(), size, libc::MADV_REMOVE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(self.begun())
    }

    /// A box of zeros, at its beginning.
    fn begun(self) -> Blackbox {
        self.layout.capacity.store(self.ring.len() as u64, Ordering::Relaxed);
        let blackbox = Blackbox { born: nanos(), ..self };
        blackbox.add_role("client").expect("the box is empty");
        blackbox.add_role("main").expect("the box is empty");
        blackbox.slot(CLIENT).set_state(State::Ended);
        blackbox
    }

    /// Makes this the box of the process: from here on the facades record into it.
    pub fn install(self, mode: Mode) {
        let leaked: &'static Blackbox = Box::leak(Box::new(self));
        CURRENT.store(ptr::from_ref(leaked) as usize, Ordering::Release);
        MODE.store(mode as u8, Ordering::SeqCst);
    }

    /// The box of this process, if it has one.
    pub fn current() -> Option<&'static Blackbox> {
        let address = CURRENT.load(Ordering::Acquire);
        // SAFETY: only `install` stores here, and what it stores lives for ever.
        (address != 0).then(|| unsafe { &*(address as *const Blackbox) })
    }

    /// Adds a role; `None` if there is no room.
    pub fn add_role(&self, name: &str) -> Option<usize> {
        let role = self.layout.roles.load(Ordering::Relaxed) as usize;
        let slot = self.layout.slots.get(role)?;
        for (to, from) in slot.name.iter().zip(name.bytes().take(NAME - 1)) {
            to.store(from, Ordering::Relaxed);
        }
        slot.set_state(State::Running);
        // Only `main` and the parent add roles, one after the other, so this is no race.
        self.layout.roles.store(role as u32 + 1, Ordering::Release);
        Some(role)
    }

    /// Adds the role of another client, which is never the director's to grant; `None` if there is no room.
    pub fn add_client(&self, name: &str) -> Option<usize> {
        let role = self.add_role(name)?;
        self.slot(role).set_state(State::Ended);
        Some(role)
    }

    /// Says which role this thread plays.
    pub fn register_current_thread(role: usize) {
        ROLE.set(role);
    }

    /// The role of this thread, if it has one.
    pub fn role() -> Option<usize> {
        let role = ROLE.get();
        (role != NO_ROLE).then_some(role)
    }

    /// The names of the roles.
    pub fn roles(&self) -> Vec<String> {
        (0..self.role_count()).map(|role| self.slot(role).name()).collect()
    }

    pub(crate) fn role_count(&self) -> usize {
        self.layout.roles.load(Ordering::Acquire) as usize
    }

    pub(crate) fn slot(&self, role: usize) -> &'static Slot {
        &self.layout.slots[role]
    }

    pub(crate) fn doorbell(&self) -> &'static AtomicU32 {
        &self.layout.doorbell
    }

    /// Whether the points let everybody pass.
    pub(crate) fn is_open(&self) -> bool {
        self.layout.open.load(Ordering::Acquire) == 1
    }

    /// Lets everybody pass, and wakes those who wait. Who has just looked and is about to sleep finds that the word it
    /// would sleep on has changed: a wake-up alone would come too early for it.
    pub(crate) fn open(&self) {
        self.layout.open.store(1, Ordering::Release);
        for slot in &self.layout.slots {
            slot.grant.fetch_add(1, Ordering::AcqRel);
            futex_wake(&slot.grant);
        }
    }

    /// The director lets `role` go on with this step, counted from 1.
    pub(crate) fn begin_step(&self, role: usize, step: u32) {
        self.slot(role).step.store(step, Ordering::Relaxed);
    }

    /// All steps have been seen to; what comes now is of no step.
    pub(crate) fn end_schedule(&self) {
        self.layout.schedule_over.store(1, Ordering::Relaxed);
    }

    /// Whether a directed thread waits for events in the kernel, so that it is the kernel that chooses which thread to
    /// wake.
    pub(crate) fn is_in_the_kernel(&self) -> bool {
        self.layout.kernel_chooses_wakeups.load(Ordering::Acquire) == 1
    }

    pub(crate) fn let_the_kernel_choose_wakeups(&self) {
        self.layout.kernel_chooses_wakeups.store(1, Ordering::Release);
    }

    /// Records something on behalf of `role`. Takes no lock and allocates nothing.
    #[allow(clippy::too_many_arguments)]
    pub fn record(
        &self,
        role: usize,
        kind: Kind,
        label: &'static str,
        at: &'static Location<'static>,
        a: u64,
        b: u64,
        c: u64,
    ) {
        self.record_at(role, kind, label, at.into(), [a, b, c]);
    }

    fn record_at(&self, role: usize, kind: Kind, label: &'static str, place: Place, [a, b, c]: [u64; 3]) {
        let Place { at, inherited } = place;
        // Relaxed: what follows in one thread, or happens after, has the higher number all the same; and an order
        // between two threads that only the box had made would hide their race from a sanitizer.
        let number = self.layout.next.fetch_add(1, Ordering::Relaxed);
        let entry = &self.ring[(number % self.ring.len() as u64) as usize];
        // Not readable while it is written; the reader takes an entry only if it finds the same number in it twice.
        entry[0].store(0, Ordering::Release);
        let who = role as u64 & 0xff;
        let packed = kind as u64 | who << 8 | (label.len() as u64 & 0xffff) << 16 | u64::from(at.line()) << 32;
        let step = u64::from(self.slot(role).step.load(Ordering::Relaxed));
        let over = u64::from(self.layout.schedule_over.load(Ordering::Relaxed));
        let made = step | u64::from(inherited) << 32 | over << 33;
        let (label, at) = (label.as_ptr() as u64, ptr::from_ref(at) as u64);
        let words = [nanos().wrapping_sub(self.born), packed, made, label, at, a, b, c];
        for (to, word) in entry[1..].iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        entry[0].store(number + 1, Ordering::Release);
    }

    /// The records that are left, in order. Ones that a thread was just writing when it died are left out.
    pub fn records(&self) -> Vec<Record> {
        self.records_from(0)
    }

    /// The records that are left, from this number on.
    pub fn records_from(&self, number: u64) -> Vec<Record> {
        let next = self.layout.next.load(Ordering::Acquire);
        let first = next.saturating_sub(self.ring.len() as u64).max(number);
        (first..next).filter_map(|number| self.read(number)).collect()
    }

    fn read(&self, number: u64) -> Option<Record> {
        let entry = &self.ring[(number % self.ring.len() as u64) as usize];
        let before = entry[0].load(Ordering::Acquire);
        let [nanos, packed, made, label, at, a, b, c] = std::array::from_fn(|i| entry[i + 1].load(Ordering::Acquire));
        if before != number + 1 || entry[0].load(Ordering::Acquire) != before {
            return None;
        }
        let kind = Kind::from_u8(packed as u8)?;
        // SAFETY: `record` stored the address of a `&'static Location` of this program image.
        let at: &'static Location<'static> = unsafe { &*(at as *const Location<'static>) };
        Some(Record {
            number,
            nanos,
            role: (packed >> 8 & 0xff) as usize,
            kind,
            label: text(label, packed >> 16 & 0xffff),
            file: at.file(),
            line: (packed >> 32) as u32,
            column: at.column(),
            inherited: made >> 32 & 1 == 1,
            step: Some(made as u32 as usize).filter(|step| *step > 0 && made >> 33 & 1 == 0),
            over: made >> 33 & 1 == 1,
            a,
            b,
            c,
        })
    }

    /// How many records were overwritten because the ring went round.
    pub fn dropped(&self) -> u64 {
        self.layout.next.load(Ordering::Acquire).saturating_sub(self.ring.len() as u64)
    }

    /// How many records were ever made.
    pub fn written(&self) -> u64 {
        self.layout.next.load(Ordering::Acquire)
    }

    /// Says on which port of 127.0.0.1 the server listens.
    pub(crate) fn set_port(&self, port: u16) {
        self.layout.port.store(u32::from(port), Ordering::Release);
        self.ring_doorbell();
    }

    /// The port, once the server listens.
    pub(crate) fn port(&self) -> Option<u16> {
        u16::try_from(self.layout.port.load(Ordering::Acquire)).ok().filter(|port| *port != 0)
    }

    pub(crate) fn ring_doorbell(&self) {
        self.layout.doorbell.fetch_add(1, Ordering::AcqRel);
        futex_wake(&self.layout.doorbell);
    }

    /// Stores the fault. Called by the signal handler: only atomic stores.
    pub(crate) fn set_fault(&self, signal: i32, code: i32, address: u64) {
        let role = ROLE.try_with(Cell::get).unwrap_or(NO_ROLE);
        self.layout.fault[1].store(code as u32 as u64, Ordering::Relaxed);
        self.layout.fault[2].store(address, Ordering::Relaxed);
        self.layout.fault[3].store(role as u64, Ordering::Relaxed);
        self.layout.fault[0].store(signal as u64, Ordering::Release);
    }

    /// What the fault handler stored, if it ran.
    pub fn fault(&self) -> Option<Fault> {
        let signal = self.layout.fault[0].load(Ordering::Acquire) as i32;
        let [_, code, address, role] = std::array::from_fn(|i| self.layout.fault[i].load(Ordering::Relaxed));
        (signal != 0).then_some(Fault { signal, code: code as u32 as i32, address, role: role as usize })
    }

    /// Says that the server came to its end by itself.
    pub(crate) fn serve_ended(&self, counts: ServedCounts) {
        self.layout.served[1].store(counts.received, Ordering::Relaxed);
        self.layout.served[2].store(counts.replies, Ordering::Relaxed);
        self.layout.served[0].store(1, Ordering::Release);
    }

    /// What the server counted, if it came to its end by itself.
    pub fn served(&self) -> Option<ServedCounts> {
        let [ended, received, replies] = std::array::from_fn(|i| self.layout.served[i].load(Ordering::Acquire));
        (ended == 1).then_some(ServedCounts { received, replies })
    }

    /// Says what the reactors counted.
    pub(crate) fn set_herd(&self, herd: &Herd) {
        for (to, from) in self.layout.herd.iter().zip(&herd.reactors) {
            for (to, from) in to.iter().zip([from.woken, from.empty, from.accepted, from.exhausted, from.slept]) {
                to.store(from, Ordering::Relaxed);
            }
        }
        self.layout.reactors.store(herd.reactors.len().min(MAX_ROLES) as u32, Ordering::Release);
    }

    /// What the reactors counted, if there are any and the server came to its end by itself.
    pub fn herd(&self) -> Herd {
        let count = self.layout.reactors.load(Ordering::Acquire) as usize;
        let read = |row: &[AtomicU64; 5]| {
            let [woken, empty, accepted, exhausted, slept] = std::array::from_fn(|i| row[i].load(Ordering::Relaxed));
            Counts { woken, empty, accepted, exhausted, slept }
        };
        Herd { reactors: self.layout.herd[..count].iter().map(read).collect() }
    }

    /// Leaves a message for the parent: a panic's, or an error's. The first one stays.
    pub(crate) fn set_message(&self, message: &str) {
        let length = (0..=MESSAGE.min(message.len())).rev().find(|n| message.is_char_boundary(*n)).unwrap_or(0);
        // The length is taken first, so that of two threads that come together one is heard whole.
        if self.layout.message_length.compare_exchange(0, length, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            for (to, from) in self.layout.message.iter().zip(message.bytes().take(length)) {
                to.store(from, Ordering::Relaxed);
            }
        }
    }

    /// The message, if there is one.
    pub fn message(&self) -> Option<String> {
        let length = self.layout.message_length.load(Ordering::Acquire);
        let bytes: Vec<u8> = self.layout.message[..length].iter().map(|b| b.load(Ordering::Relaxed)).collect();
        (length > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Records for the role of this thread; nothing happens in a thread without one.
pub(crate) fn note(kind: Kind, label: &'static str, place: impl Into<Place>, numbers: [u64; 3]) {
    let place = place.into();
    PLACE.set(Some(place.at));
    if let (Some(blackbox), Some(role)) = (Blackbox::current(), Blackbox::role()) {
        blackbox.record_at(role, kind, label, place, numbers);
    }
}

/// Sleeps until `word` is no longer `seen`, at most `limit_ms` milliseconds (`futex(2)`); may wake early.
pub(crate) fn futex_wait(word: &AtomicU32, seen: u32, limit_ms: Option<u64>) {
    let limit = limit_ms
        .map(|ms| libc::timespec { tv_sec: (ms / 1000) as _, tv_nsec: (ms % 1000 * 1_000_000) as libc::c_long });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word is valid for the call; not FUTEX_PRIVATE, since another process may wake us.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, limit) };
}

/// Wakes everybody who sleeps on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn put(blackbox: &Blackbox, a: u64) {
        blackbox.record(MAIN, Kind::Point, "read", Location::caller(), a, a * 2, u64::MAX);
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let blackbox = Blackbox::new(4).expect("there is a memfd");
        put(&blackbox, 7);
        let records = blackbox.records();
        let record = records[0];
        assert_eq!((records.len(), record.number, record.role, record.kind), (1, 0, MAIN, Kind::Point));
        assert_eq!((record.label, record.a, record.b, record.c), ("read", 7, 14, u64::MAX));
        assert!(record.file.ends_with("blackbox.rs") && record.line > 0);
        assert_eq!(blackbox.roles(), ["client", "main"]);
    }

    #[test]
    fn a_full_box_keeps_the_newest_and_says_how_many_it_dropped() {
        let blackbox = Blackbox::new(8).expect("there is a memfd");
        for n in 0..8 {
            put(&blackbox, n);
        }
        assert_eq!(blackbox.dropped(), 0);
        for n in 8..20 {
            put(&blackbox, n);
        }
        let kept: Vec<u64> = blackbox.records().iter().map(|record| record.a).collect();
        assert_eq!(kept, (12..20).collect::<Vec<_>>());
        assert_eq!((blackbox.dropped(), blackbox.written()), (12, 20));
        assert_eq!(blackbox.records_from(18).len(), 2);
    }

    #[test]
    fn threads_that_write_together_lose_nothing() {
        let blackbox = Blackbox::new(4 * 500).expect("there is a memfd");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|n| put(&blackbox, n)));
            }
        });
        let records = blackbox.records();
        assert_eq!(records.len(), 2000);
        assert!(records.iter().all(|record| record.b == record.a * 2), "no record is made of two");
        assert_eq!(records.iter().map(|record| record.a).sum::<u64>(), 4 * (0..500).sum::<u64>());
    }

    #[test]
    fn the_box_is_read_after_its_writer_was_killed_in_the_middle() {
        let blackbox = Blackbox::new(64).expect("there is a memfd");
        // SAFETY: the child only stores to the box, which takes no lock, until it is killed.
        let child = unsafe { libc::fork() };
        if child == 0 {
            for n in 0.. {
                put(&blackbox, n);
            }
        }
        while blackbox.written() < 100_000 {
            std::thread::yield_now();
        }
        // SAFETY: the child was not waited for, so its number is its own.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, ptr::null_mut(), 0);
        }
        let records = blackbox.records();
        assert!(records.len() >= 63, "at most the record that was being written is missing: {}", records.len());
        assert!(records.iter().all(|record| record.a == record.number && record.b == record.a * 2));
        assert_eq!(blackbox.dropped(), blackbox.written() - 64);
    }

    #[test]
    fn who_looks_before_the_points_open_does_not_sleep_after() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        let grant = &blackbox.slot(MAIN).grant;
        // As a thread at a point does it: it looks, and then sleeps for as long as the word is what it saw.
        let seen = grant.load(Ordering::Acquire);
        assert!(!blackbox.is_open());
        blackbox.open();
        assert_ne!(grant.load(Ordering::Acquire), seen);
        futex_wait(grant, seen, None);
    }

    #[test]
    fn the_first_message_stays() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        assert_eq!(blackbox.message(), None);
        blackbox.set_message(&"é".repeat(MESSAGE));
        blackbox.set_message("later");
        assert_eq!(blackbox.message(), Some("é".repeat(MESSAGE / 2)));
    }

    #[test]
    fn every_event_goes_through_the_box_and_back() {
        let blackbox = Blackbox::new(Kind::ALL.len()).expect("there is a memfd");
        let place = Location::caller();
        for (n, kind) in (0..).zip(Kind::ALL) {
            blackbox.record(n as usize % MAX_ROLES, *kind, "label", place, n, u64::MAX - n, n << 40);
        }
        let records = blackbox.records();
        assert_eq!(records.len(), Kind::ALL.len());
        for ((n, kind), got) in (0..).zip(Kind::ALL).zip(&records) {
            let sent = Record {
                number: n,
                nanos: got.nanos,
                role: n as usize % MAX_ROLES,
                kind: *kind,
                label: "label",
                file: place.file(),
                line: place.line(),
                column: place.column(),
                inherited: false,
                step: None,
                over: false,
                a: n,
                b: u64::MAX - n,
                c: n << 40,
            };
            assert_eq!(*got, sent);
        }
    }

    #[test]
    fn every_reason_to_wait_goes_through_the_box_and_back() {
        let blackbox = Blackbox::new(Waiting::ALL.len()).expect("there is a memfd");
        for waiting in Waiting::ALL {
            blackbox.record(MAIN, Kind::Refused, "", Location::caller(), 1, *waiting as u64, 0);
            blackbox.slot(MAIN).waiting.store(*waiting as u32, Ordering::Relaxed);
            let stored = blackbox.slot(MAIN).waiting.load(Ordering::Relaxed);
            assert_eq!(Waiting::from_u8(stored as u8), Some(*waiting));
        }
        let back: Vec<_> = blackbox.records().iter().filter_map(|record| Waiting::from_u8(record.b as u8)).collect();
        assert_eq!(back, Waiting::ALL);
    }

    #[test]
    fn a_record_has_the_step_that_its_role_was_in() {
        let blackbox = Blackbox::new(8).expect("there is a memfd");
        put(&blackbox, 0);
        blackbox.begin_step(MAIN, 3);
        put(&blackbox, 1);
        blackbox.record(CLIENT, Kind::ClientFin, "", Location::caller(), 0, 0, 0);
        blackbox.begin_step(CLIENT, 4);
        put(&blackbox, 2);
        blackbox.end_schedule();
        put(&blackbox, 3);
        let made: Vec<_> = blackbox.records().iter().map(|record| (record.step, record.over)).collect();
        assert_eq!(made, [(None, false), (Some(3), false), (None, false), (Some(3), false), (None, true)]);
    }

    #[test]
    fn what_has_no_place_of_its_own_has_the_last_one_and_says_so() {
        let here = Location::caller();
        assert!(last_place().inherited && !Place::from(here).inherited);
        note(Kind::Use, "", here, [0; 3]);
        assert_eq!(last_place().at, here);
        // A point of this file is nearer.
        let point = point_of_this_file();
        came_to(point);
        assert_eq!(last_place().at, point);
        note(Kind::Close, "", last_place(), [0; 3]);
        assert_eq!(last_place().at, point);
    }

    #[track_caller]
    fn point_of_this_file() -> &'static Location<'static> {
        Location::caller()
    }

    #[test]
    fn a_number_that_is_no_event_and_no_reason_is_none() {
        assert_eq!((Kind::from_u8(0), Waiting::from_u8(0)), (None, None));
        let beyond = (Kind::ALL.len() as u8 + 1, Waiting::ALL.len() as u8 + 1);
        assert_eq!((Kind::from_u8(beyond.0), Waiting::from_u8(beyond.1)), (None, None));
    }

    #[test]
    fn every_role_is_its_own_up_to_the_last() {
        let blackbox = Blackbox::new(MAX_ROLES).expect("there is a memfd");
        for n in 2..MAX_ROLES {
            assert_eq!(blackbox.add_role(&format!("worker-{n}")), Some(n));
        }
        assert_eq!((blackbox.add_role("one too many"), blackbox.add_client("one too many")), (None, None));
        for role in 0..MAX_ROLES {
            blackbox.begin_step(role, 1000 + role as u32);
            blackbox.record(role, Kind::Use, "", Location::caller(), role as u64, 0, 0);
        }
        let made = |record: &Record| (record.role as u64, record.step) == (record.a, Some(1000 + record.a as usize));
        assert_eq!(blackbox.records().iter().filter(|record| made(record)).count(), MAX_ROLES);
        let names = blackbox.roles();
        assert_eq!((names.len(), names[64].as_str(), names[82].as_str()), (83, "worker-64", "worker-82"));
    }

    #[test]
    fn a_role_has_a_name_of_at_most_23_bytes_and_runs_unless_it_is_a_client() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        let (thread, client) = (blackbox.add_role(&"x".repeat(30)), blackbox.add_client("client-2"));
        assert_eq!((thread, client, blackbox.role_count()), (Some(2), Some(3), 4));
        assert_eq!(blackbox.roles()[2..], ["x".repeat(23), "client-2".to_string()]);
        let states = [CLIENT, MAIN, 2, 3].map(|role| blackbox.slot(role).state());
        assert_eq!(states, [State::Ended, State::Running, State::Running, State::Ended]);
    }

    #[test]
    fn every_state_goes_through_its_slot_and_back() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        for state in [State::Running, State::Parked, State::Blocked, State::Ended, State::Asleep] {
            blackbox.slot(MAIN).set_state(state);
            assert_eq!(blackbox.slot(MAIN).state(), state);
        }
        let slot = blackbox.slot(MAIN);
        assert_eq!(slot.point(), "");
        slot.set_point("read", 7);
        assert_eq!((slot.point(), slot.occurrence.load(Ordering::Relaxed)), ("read", 7));
        assert_eq!(slot.place(), None);
        let here = Location::caller();
        slot.set_place(here);
        assert_eq!(slot.place(), Some(here));
        assert!(!slot.take_time_over());
        slot.end_time();
        assert!(slot.take_time_over() && !slot.take_time_over(), "it is said once");
    }

    #[test]
    fn a_record_is_unpacked_into_the_numbers_that_it_was_made_of() {
        let blackbox = Blackbox::new(2).expect("there is a memfd");
        let label: &'static str = "x".repeat(0x1234).leak();
        blackbox.begin_step(MAIN, u32::MAX);
        let place = Place { at: Location::caller(), inherited: true };
        blackbox.record_at(MAIN, Kind::Stuck, label, place, [1, 2, 3]);
        let record = blackbox.records()[0];
        assert_eq!((record.label.len(), record.step, record.line), (0x1234, Some(u32::MAX as usize), place.at.line()));
        assert_eq!((record.inherited, record.over, record.kind), (true, false, Kind::Stuck));
        blackbox.end_schedule();
        blackbox.record_at(MAIN, Kind::Point, "", place.at.into(), [1, 2, 3]);
        let record = blackbox.records()[1];
        assert_eq!((record.inherited, record.over, record.step, record.kind), (false, true, None, Kind::Point));
        assert!(record.nanos >= blackbox.records()[0].nanos && record.nanos < 60_000_000_000, "since the box was made");
    }

    #[test]
    fn what_was_being_written_is_left_out() {
        let blackbox = Blackbox::new(4).expect("there is a memfd");
        (0..4).for_each(|n| put(&blackbox, n));
        blackbox.ring[1][0].store(0, Ordering::Relaxed);
        // Of another round of the ring.
        blackbox.ring[2][0].store(7, Ordering::Relaxed);
        assert_eq!(blackbox.records().iter().map(|record| record.number).collect::<Vec<_>>(), [0, 3]);
        assert_eq!((blackbox.written(), blackbox.dropped()), (4, 0));
        assert!(blackbox.records_from(4).is_empty() && blackbox.records_from(9).is_empty());
    }

    #[test]
    fn a_fault_is_kept_as_the_kernel_gave_it() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        assert_eq!(blackbox.fault(), None);
        std::thread::spawn(move || {
            Blackbox::register_current_thread(70);
            blackbox.set_fault(libc::SIGSEGV, -6, u64::MAX - 1);
        })
        .join()
        .expect("no panic");
        let fault = Fault { signal: libc::SIGSEGV, code: -6, address: u64::MAX - 1, role: 70 };
        assert_eq!(blackbox.fault(), Some(fault));
        std::thread::spawn(move || blackbox.set_fault(libc::SIGABRT, 1, 0)).join().expect("no panic");
        assert_eq!(blackbox.fault().map(|fault| (fault.code, fault.role)), Some((1, NO_ROLE)));
    }

    #[test]
    fn what_the_server_and_its_reactors_counted_is_read_back_in_its_places() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        assert_eq!((blackbox.served(), blackbox.port(), blackbox.herd()), (None, None, Herd::default()));
        blackbox.serve_ended(ServedCounts { received: 7, replies: 3 });
        assert_eq!(blackbox.served(), Some(ServedCounts { received: 7, replies: 3 }));
        let one = Counts { woken: 1, empty: 2, accepted: 3, exhausted: 4, slept: 5 };
        let herd = Herd { reactors: vec![one, Counts { woken: 9, ..one }] };
        blackbox.set_herd(&herd);
        assert_eq!(blackbox.herd(), herd);
        blackbox.set_herd(&Herd { reactors: vec![one; MAX_ROLES + 1] });
        assert_eq!(blackbox.herd().reactors.len(), MAX_ROLES);
        let rung = blackbox.doorbell().load(Ordering::Relaxed);
        blackbox.set_port(65_535);
        assert_eq!((blackbox.port(), blackbox.doorbell().load(Ordering::Relaxed)), (Some(65_535), rung + 1));
    }

    #[test]
    fn the_points_are_closed_until_they_are_opened_to_every_role() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        let grants =
            || (0..MAX_ROLES).map(|role| blackbox.slot(role).grant.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert!(!blackbox.is_open() && !blackbox.is_in_the_kernel() && grants().iter().all(|grant| *grant == 0));
        blackbox.let_the_kernel_choose_wakeups();
        assert!(blackbox.is_in_the_kernel() && !blackbox.is_open());
        blackbox.open();
        assert!(blackbox.is_open() && grants().iter().all(|grant| *grant == 1));
    }

    #[test]
    fn a_thread_sleeps_while_the_kernel_has_not_woken_it_and_it_has_not_said_so() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        let slot = blackbox.slot(MAIN);
        slot.fall_asleep();
        assert_eq!((slot.state(), slot.waiting.load(Ordering::Relaxed)), (State::Asleep, Waiting::Event as u32));
        assert!(!slot.sleeps(), "it runs, and looks at itself");
        let word = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                slot.fall_asleep();
                while word.load(Ordering::Acquire) == 0 {
                    futex_wait(&word, 0, None);
                }
            });
            while !slot.sleeps() {
                std::thread::yield_now();
            }
            slot.set_state(State::Running);
            assert!(!slot.sleeps(), "it has said that it is awake");
            word.store(1, Ordering::Release);
            futex_wake(&word);
        });
        // A thread whose work is over is still there for a moment, and may sleep for a lock of the C library's.
        let thread = format!("/proc/{}", slot.thread.load(Ordering::Relaxed));
        while std::path::Path::new(&thread).exists() {
            std::thread::yield_now();
        }
        slot.set_state(State::Asleep);
        assert!(!slot.sleeps(), "it is not there any more");
    }

    #[test]
    fn a_futex_is_slept_on_until_it_is_rung_or_the_time_is_over() {
        let word = AtomicU32::new(5);
        let start = std::time::Instant::now();
        futex_wait(&word, 4, None);
        futex_wait(&word, 5, Some(30));
        assert!((30..20_000).contains(&start.elapsed().as_millis()));
    }

    #[test]
    fn a_message_is_cut_between_two_characters() {
        for text in ["", "short", &"x".repeat(MESSAGE), &"x".repeat(MESSAGE + 5)] {
            let blackbox = Blackbox::new(1).expect("there is a memfd");
            blackbox.set_message(text);
            let kept = &text[..text.len().min(MESSAGE)];
            assert_eq!(blackbox.message().as_deref(), (!kept.is_empty()).then_some(kept));
        }
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        blackbox.set_message(&format!("x{}", "é".repeat(MESSAGE)));
        assert_eq!(blackbox.message(), Some(format!("x{}", "é".repeat(MESSAGE / 2 - 1))));
    }

    /// No unit test installs a box for the whole process.
    #[test]
    fn nobody_watches_until_a_box_is_installed() {
        assert_eq!((mode(), Blackbox::current().is_none()), (Mode::Off as u8, true));
    }
}

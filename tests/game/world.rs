//! The third world: real threads that are handed a baton. One of them runs at a time; at each point it stands still,
//! and whoever plays (the explorer, for the reader) says who goes on.
//!
//! A point is kept until the thread does something that another thread can see: what lies between is its own business.
//! So a role stands *before* what it is about to do, and whether it could do it (is there a task, is the lock free) can
//! be seen without trying.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::check::{Check, Part, Refusal};
use crate::net::{Fd, Net};

/// Everything that the threads share.
pub struct World {
    state: Mutex<State>,
    moved: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The state of the world, apart from what is on the threads' own stacks.
pub struct State {
    pub net: Net,
    /// The operator has told the server to stop.
    pub stopped: bool,
    pub roles: Vec<Role>,
    pub blocks: Vec<Block>,
    /// For each task queue: what each task names.
    pub queues: Vec<Vec<String>>,
    /// For each task queue: whether it is closed.
    pub closed: Vec<bool>,
    /// The holder of each lock.
    pub locks: Vec<Option<usize>>,
    /// What each lock is called.
    pub lock_names: Vec<&'static str>,
    /// For each piece of plain memory that threads share (what a lock guards, or should): its past, as one number.
    cells: Vec<u64>,
    /// Flags that no lock guards.
    pub flags: Vec<bool>,
    /// Numbers that no lock guards.
    pub numbers: Vec<u64>,
    /// Who sleeps in a condition variable, the longest first: which one, and the role.
    pub sleepers: Vec<(usize, usize)>,
    pub condvars: usize,
    /// Who sleeps in the kernel: the role, its epoll instance, and the room that it has for events.
    pub waits: Vec<(usize, Fd, usize)>,
    /// Whom a connection has woken from there.
    pub woken: Vec<usize>,
    /// Who has found nobody to accept.
    pub in_vain: Vec<usize>,
    pub verdict: Option<Refusal>,
    /// What is not looked for: the proof that it is this check which speaks.
    pub off: Option<Check>,
    /// By connection: the bytes that it is owed; empty where that is not what the play is about.
    pub owed: Vec<Vec<u8>>,
    /// The role that has the baton.
    turn: Option<usize>,
    /// The play is over: every thread goes home.
    over: bool,
    /// What the role with the baton did in this move.
    pub log: Vec<String>,
    pub memory: Vec<Memory>,
}

/// Bytes behind a block. They are there until the play is over, freed or not.
pub struct Memory {
    pub at: *mut u8,
    pub layout: std::alloc::Layout,
}

impl Memory {
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes were zeroed when they were allocated, and nobody else runs.
        unsafe { std::slice::from_raw_parts(self.at, self.layout.size()) }
    }
}

// SAFETY: one thread runs at a time, and the memory belongs to the world.
unsafe impl Send for Memory {}

/// One thread.
pub struct Role {
    pub name: String,
    pub stand: Stand,
    /// What it has seen so far: each result that the world gave it. Two states of the world are the same to a reader
    /// only if everybody in them has the same past to act on.
    seen: DefaultHasher,
    /// The plain memory that it may read and write, unseen by the world.
    inside: Vec<usize>,
    /// From which connection it has read last, since it asked for its task.
    pub read_from: Option<usize>,
    /// What the kernel has for it, from when its wait is over until it takes it: tokens and masks.
    events: Option<Vec<(u64, u32)>>,
}

/// Where a thread is.
#[derive(Clone, Copy, Debug)]
pub enum Stand {
    Running,
    /// Before the point of this name, or inside a call that waits.
    Parked {
        point: &'static str,
        at: &'static Location<'static>,
        until: Until,
        /// Inside a call, with its point passed.
        inside: bool,
    },
    Ended,
}

/// What a parked role needs before it can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Until {
    Always,
    /// There is an event in that epoll instance.
    Event(Fd),
    /// There is a task in that queue, or there will be none.
    Task(usize),
    Lock(usize),
    Ended(usize),
    /// This role has been notified.
    Notified(usize),
    /// The same, or nobody else can move: then its time is over.
    NotifiedInTime(usize),
    /// This role's wait in the kernel is over.
    Woken(usize),
}

/// A piece of memory of interest.
#[derive(Clone, Debug, Hash)]
pub struct Block {
    pub label: &'static str,
    /// Counted from 1 among those of its label.
    pub number: usize,
    /// Owners, for shared memory.
    pub owners: Option<usize>,
    /// Who freed it, at which point.
    pub freed: Option<(usize, &'static str)>,
}

impl Block {
    pub fn name(&self) -> String {
        format!("{} {}", self.label.to_lowercase(), self.number)
    }
}

/// Thrown through a thread when the play is over.
struct Home;

struct Me {
    world: Arc<World>,
    role: usize,
    /// The point that was announced and not yet acted on.
    pending: Option<(&'static str, &'static Location<'static>)>,
    /// The point that was passed last.
    last: &'static str,
    /// Where in the stage's own file this thread last did something.
    place: &'static Location<'static>,
}

thread_local! {
    static ME: RefCell<Option<Me>> = const { RefCell::new(None) };
}

pub fn point(name: &'static str, at: &'static Location<'static>) {
    ME.with_borrow_mut(|me| {
        if let Some(me) = me {
            // A drop has no caller to name.
            me.pending = Some((name, if is_of_a_stage(at) { at } else { me.place }));
        }
    });
}

/// Does something that others can see, once this role has the baton and `until` is met. `None` when the play is over
/// and this thread is on its way home.
#[track_caller]
pub fn act<T>(until: Until, what: impl FnOnce(&mut State, usize) -> T) -> Option<T> {
    if std::thread::panicking() {
        return None;
    }
    let at = Location::caller();
    let found = ME.with_borrow_mut(|me| {
        let me = me.as_mut()?;
        if is_of_a_stage(at) {
            me.place = at;
        }
        Some((me.world.clone(), me.role, me.pending.take(), me.last))
    });
    let (world, role, pending, last) = found?;
    let mut state = world.lock();
    let (point, at) = pending.unwrap_or((last, at));
    if pending.is_some() || !state.is_met(until) {
        state.roles[role].stand = Stand::Parked { point, at, until, inside: pending.is_none() };
        state.leave_traces(role);
        if let Until::Task(_) = until {
            // Who asks for the next task is done with the last one's session.
            state.roles[role].inside.clear();
            state.roles[role].read_from = None;
        }
        state = world.give_back(state, role);
        state.see_traces(role);
    }
    if let Some((point, _)) = pending {
        ME.with_borrow_mut(|me| me.as_mut().expect("it was there").last = point);
        state.roles[role].pass(point);
    }
    let result = what(&mut state, role);
    state.wake();
    if state.verdict.is_some() {
        state.roles[role].stand = Stand::Ended;
        drop(world.give_back(state, role));
        unreachable!("nobody goes on after a verdict");
    }
    Some(result)
}

fn is_of_a_stage(at: &Location<'_>) -> bool {
    at.file().contains("stages/")
}

pub fn role_of_this_thread() -> usize {
    ME.with_borrow(|me| me.as_ref().map_or(0, |me| me.role))
}

/// The point that this thread passed last.
pub fn last_point() -> &'static str {
    ME.with_borrow(|me| me.as_ref().map_or("", |me| me.last))
}

/// Starts a thread that plays `name`; it waits for the baton.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> usize {
    let world = ME.with_borrow(|me| me.as_ref().expect("a role spawns").world.clone());
    world.start(name, body)
}

impl World {
    pub fn new() -> Arc<World> {
        let state = State {
            net: Net::default(),
            stopped: false,
            roles: Vec::new(),
            blocks: Vec::new(),
            queues: Vec::new(),
            closed: Vec::new(),
            locks: Vec::new(),
            lock_names: Vec::new(),
            cells: Vec::new(),
            flags: Vec::new(),
            numbers: Vec::new(),
            sleepers: Vec::new(),
            condvars: 0,
            waits: Vec::new(),
            woken: Vec::new(),
            in_vain: Vec::new(),
            verdict: None,
            off: None,
            owed: Vec::new(),
            turn: None,
            over: false,
            log: Vec::new(),
            memory: Vec::new(),
        };
        Arc::new(World { state: Mutex::new(state), moved: Condvar::new(), threads: Mutex::new(Vec::new()) })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(self: &Arc<World>, name: &str, body: impl FnOnce() + Send + 'static) -> usize {
        let mut state = self.lock();
        let role = state.roles.len();
        state.roles.push(Role {
            name: name.to_string(),
            stand: Stand::Running,
            seen: DefaultHasher::new(),
            inside: Vec::new(),
            read_from: None,
            events: None,
        });
        drop(state);
        let world = self.clone();
        let play = move || {
            ME.set(Some(Me { world: world.clone(), role, pending: None, last: "", place: Location::caller() }));
            let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                drop(world.wait_for_turn(world.lock(), role));
                body();
            }));
            ME.set(None);
            let mut state = world.lock();
            state.leave_traces(role);
            state.roles[role].stand = Stand::Ended;
            if let Err(cause) = end
                && cause.downcast_ref::<Home>().is_none()
            {
                let text = cause.downcast_ref::<String>().cloned();
                let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| text.to_string()));
                state.refuse(Check::Panic, format!("panic: {}", text.unwrap_or_default()));
            }
            state.turn = None;
            world.moved.notify_all();
        };
        let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(play);
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread.expect("a thread"));
        role
    }

    fn wait_for_turn<'a>(&'a self, mut state: MutexGuard<'a, State>, role: usize) -> MutexGuard<'a, State> {
        loop {
            if state.over {
                drop(state);
                std::panic::resume_unwind(Box::new(Home));
            }
            if state.turn == Some(role) {
                state.roles[role].stand = Stand::Running;
                return state;
            }
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back<'a>(&'a self, mut state: MutexGuard<'a, State>, role: usize) -> MutexGuard<'a, State> {
        state.turn = None;
        self.moved.notify_all();
        self.wait_for_turn(state, role)
    }

    /// Hands the baton to `role` and waits until it stands again. Gives what it did.
    pub fn go(&self, role: usize) -> Vec<String> {
        let mut state = self.lock();
        state.turn = Some(role);
        self.moved.notify_all();
        while state.turn.is_some() {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut state.log)
    }

    /// Ends the play: every thread goes home.
    pub fn end(&self) {
        self.lock().over = true;
        self.moved.notify_all();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            thread.join().expect("it catches its own panics");
        }
        for memory in self.lock().memory.drain(..) {
            // SAFETY: allocated with this layout, and every thread that knew of it is gone.
            unsafe { std::alloc::dealloc(memory.at, memory.layout) };
        }
    }
}

impl Role {
    /// Whether it is in plain memory that threads share.
    pub fn is_inside(&self) -> bool {
        !self.inside.is_empty()
    }

    fn pass(&mut self, point: &'static str) {
        ("passed", point).hash(&mut self.seen);
    }
}

impl State {
    pub fn is_met(&self, until: Until) -> bool {
        match until {
            Until::Always => true,
            Until::Event(epoll) => self.net.has_event(epoll),
            Until::Task(queue) => !self.queues[queue].is_empty() || self.closed[queue],
            Until::Lock(lock) => self.locks[lock].is_none(),
            Until::Notified(role) | Until::NotifiedInTime(role) => {
                !self.sleepers.iter().any(|(_, sleeper)| *sleeper == role)
            }
            Until::Ended(role) => matches!(self.roles[role].stand, Stand::Ended),
            Until::Woken(role) => self.roles[role].events.is_some(),
        }
    }

    /// This role goes into a wait, and finds something there or falls asleep.
    pub fn go_in(&mut self, role: usize, epoll: Fd, room: usize) {
        let there = self.net.poll(epoll, room).unwrap_or_default();
        if there.is_empty() {
            self.say("falls asleep in epoll_wait");
            self.waits.push((role, epoll, room));
            self.net.asleep.push(epoll);
        } else {
            self.say("goes into epoll_wait, and need not sleep");
            self.roles[role].events = Some(there);
        }
    }

    pub fn come_out(&mut self, role: usize) -> Vec<(u64, u32)> {
        self.roles[role].events.take().unwrap_or_default()
    }

    /// Whoever sleeps in the kernel, and whose instance has heard of something, looks what it is: nobody else runs before it
    /// does. Gives who is woken by that.
    pub fn wake(&mut self) -> Vec<usize> {
        let mut woken = Vec::new();
        for (role, epoll, room) in std::mem::take(&mut self.waits) {
            let there = self.net.poll(epoll, room).unwrap_or_default();
            if there.is_empty() {
                self.waits.push((role, epoll, room));
            } else {
                self.net.asleep.retain(|other| *other != epoll);
                self.roles[role].events = Some(there);
                woken.push(role);
            }
        }
        woken
    }

    /// Whether this role sleeps in the kernel.
    pub fn is_in_a_wait(&self, role: usize) -> bool {
        self.waits.iter().any(|(other, ..)| *other == role)
    }

    /// Whether that role can move.
    pub fn can_move(&self, role: usize) -> bool {
        match self.roles[role].stand {
            Stand::Parked { until, .. } => self.verdict.is_none() && self.is_met(until),
            Stand::Running | Stand::Ended => false,
        }
    }

    /// This role has seen that: it may act on it from here on.
    pub fn seen(&mut self, role: usize, what: impl Hash) {
        what.hash(&mut self.roles[role].seen);
    }

    /// A lock of the session of that number: who has it.
    pub fn session_lock(&self, number: usize) -> Option<Option<usize>> {
        let locks = self.locks.iter().zip(&self.lock_names).filter(|(_, name)| **name == SESSION);
        locks.map(|(holder, _)| *holder).nth(number - 1)
    }

    /// A new piece of plain memory.
    pub fn new_cell(&mut self) -> usize {
        self.cells.push(0);
        self.cells.len() - 1
    }

    /// This role reads and writes that piece of plain memory from here on, until it leaves it or asks for the next
    /// task.
    pub fn enter(&mut self, role: usize, cell: usize) {
        let inside = &mut self.roles[role].inside;
        inside.retain(|other| *other != cell);
        inside.push(cell);
        self.seen(role, self.cells[cell]);
    }

    pub fn leave(&mut self, role: usize, cell: usize) {
        self.leave_traces(role);
        self.roles[role].inside.retain(|other| *other != cell);
    }

    /// What is in plain memory follows from who did what there, in which order; nobody need look into it.
    fn leave_traces(&mut self, role: usize) {
        for cell in self.roles[role].inside.clone() {
            let mut past = DefaultHasher::new();
            (self.cells[cell], role, self.roles[role].seen.finish()).hash(&mut past);
            self.cells[cell] = past.finish();
        }
    }

    fn see_traces(&mut self, role: usize) {
        for cell in self.roles[role].inside.clone() {
            self.seen(role, self.cells[cell]);
        }
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.log.push(text.into());
    }

    pub fn allocate(&mut self, role: usize, label: &'static str, owners: Option<usize>) -> usize {
        let number = self.blocks.iter().filter(|block| block.label == label).count() + 1;
        let block = Block { label, number, owners, freed: None };
        if is_of_interest(label) {
            self.say(format!("allocates {}", block.name()));
        }
        self.blocks.push(block);
        self.seen(role, ("allocate", self.blocks.len()));
        self.blocks.len() - 1
    }

    /// These bytes went out through `fd`: if its client is owed others, that is the end.
    pub fn answered(&mut self, fd: Fd, bytes: &[u8]) {
        let Some(connection) = self.net.stream_of(fd) else { return };
        let Some(owed) = self.owed.get(connection) else { return };
        let so_far = self.net.replies(connection).len() - bytes.len();
        if !owed.get(so_far..).is_some_and(|rest| rest.starts_with(bytes)) {
            let made_for = self.owed.iter().position(|owed| owed == bytes);
            let whose = made_for.map_or("nobody".to_string(), |other| format!("client {}", other + 1));
            self.refuse(Check::Stranger, format!("client {} gets the reply to {whose}", connection + 1));
        }
    }

    /// A block is freed: the second time is the end.
    pub fn free(&mut self, role: usize, block: usize) {
        let name = self.blocks[block].name();
        match self.blocks[block].freed {
            None => {
                self.blocks[block].freed = Some((role, last_point()));
                if is_of_interest(self.blocks[block].label) {
                    self.say(format!("frees {name}"));
                }
            }
            Some(first) => self.crash(Check::DoubleFree, "double free", &name, role, first),
        }
    }

    /// A block is used: if it was freed, that is the end.
    pub fn touch(&mut self, role: usize, block: usize) {
        if let Some(first) = self.blocks[block].freed {
            let name = self.blocks[block].name();
            self.crash(Check::UseAfterFree, "use after free", &name, role, first);
        }
    }

    fn crash(&mut self, check: Check, kind: &str, name: &str, role: usize, (first, point): (usize, &str)) {
        let does = if check == Check::DoubleFree { "frees" } else { "uses" };
        let first = if first == role { "it" } else { &self.roles[first].name };
        self.log.push(format!("{does} {name}, which {first} has freed at its point {point}"));
        self.refuse(check, format!("{kind} of {name}"));
    }

    /// The play ends here, unless this is not looked for.
    pub fn refuse(&mut self, check: Check, text: String) {
        if self.off != Some(check) {
            self.verdict = Some(Refusal { check, text });
        }
    }

    /// The world and everybody's past, as one number of 128 bits. A test leaves parts out, to see that each is needed.
    pub fn fingerprint(&self, without: &[Part]) -> u128 {
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            for part in Part::ALL.iter().filter(|part| !without.contains(part)) {
                self.hash_part(*part, &mut hasher);
            }
            hasher.finish()
        };
        u128::from(half(1)) << 64 | u128::from(half(2))
    }

    fn hash_part(&self, part: Part, hasher: &mut DefaultHasher) {
        match part {
            // A reader also sees what a source that is not armed once asked for.
            Part::Net => (&self.net, self.net.watched().collect::<Vec<_>>(), self.stopped).hash(hasher),
            Part::Blocks => self.blocks.hash(hasher),
            Part::Queues => self.queues.hash(hasher),
            Part::Closed => self.closed.hash(hasher),
            Part::Locks => self.locks.hash(hasher),
            Part::Cells => self.cells.hash(hasher),
            Part::Verdict => self.verdict.hash(hasher),
            Part::Flags => self.flags.hash(hasher),
            Part::Numbers => self.numbers.hash(hasher),
            Part::Sleepers => {
                (&self.sleepers, &self.waits, &self.woken, &self.in_vain).hash(hasher);
                self.roles.iter().for_each(|role| role.events.hash(hasher));
            }
            Part::Histories => self.roles.iter().for_each(|role| role.seen.finish().hash(hasher)),
            Part::Stands => self.roles.iter().for_each(|role| match role.stand {
                Stand::Running => 0.hash(hasher),
                Stand::Parked { point, at, until, inside } => (1, point, at, until, inside).hash(hasher),
                Stand::Ended => 2.hash(hasher),
            }),
            Part::Memory => self.memory.iter().for_each(|memory| memory.bytes().hash(hasher)),
            // The explorer's.
            Part::Client => {}
        }
    }
}

/// What the lock of a queue that a stage owns is called.
pub const QUEUE: &str = "the queue";

/// What the lock of a session is called.
pub const SESSION: &str = "the session";

/// Whether a reader wants to hear of such a block.
pub fn is_of_interest(label: &str) -> bool {
    label == "Session" || label == "Buffer"
}

//! The world of one execution: who runs, who waits for what, what has happened, and what went wrong.
//!
//! loom runs its threads as coroutines on one thread of the system, and decides who goes on only inside an operation on
//! one of its own objects. So the world is a thread-local of plain data, and a *tick*, one read-modify-write of a loom
//! atomic, is the only place where another thread comes in. A modelled call ticks, and then does all that it does at once.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};

use crate::heap::Slot;
use crate::net::{Client, Errno, Fd, Net};
use crate::strangers::Strangers;

/// A thread of the model: an index into [`World::roles`].
pub type Role = usize;
/// The thread that plays the script.
pub const CLIENT: Role = 0;
/// The reactor.
pub const MAIN: Role = 1;

/// How fine the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Every system call, lock, queue operation, use and free of memory may be followed by anybody's.
    Calls,
    /// As the director moves its roles: what a thread does from one point to its next is one step.
    Points,
    /// That, and anybody may come in after a wait too, and after a socket was armed: what is reported of a socket may be
    /// looked at when that is closed.
    Events,
}

/// How much is left out that changes nothing. Less than all of it is explored only to check that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduced {
    /// Nothing: a call that has to wait is a step too.
    Not,
    /// Who cannot go on sleeps without a step.
    Waits,
    /// That; a write is no step where no connection is broken off; worker-1 alone is woken for the first task.
    All,
}

/// What to look for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub grain: Grain,
    /// Two threads between taking the address in an `UnsafeCell` and asking for the next task are a finding.
    pub two_inside: bool,
    /// Two tasks from one arming of a one-shot socket are a finding.
    pub two_tasks: bool,
    /// A session that is closed while its client is still there is a finding, even if nothing is owed to that.
    pub keeps_sessions: bool,
    /// loom's own `Arc` stands behind the facade's, so that each clone and drop is a step.
    pub loom_arc: bool,
    /// No connection is broken off, so a write is no step: it always succeeds, and only its own stream's end could tell.
    pub no_reset: bool,
    pub reduced: Reduced,
    /// From the server's first step on, and not only once it is idle with a connection.
    pub whole_life: bool,
    /// Nothing but this kind of finding counts.
    pub only: Option<Kind>,
    /// A wake-up that found nobody to accept is a finding.
    pub in_vain: bool,
    /// Explored from when everybody sleeps and nobody has come, not from when the first connection is accepted.
    pub from_the_start: bool,
    /// The server is told to stop while the last connections are still on their way, not when nobody can move.
    pub stops_early: bool,
    /// Of the sleeps of a thread in a condition variable, every other one ends for no reason, as `pthread_cond_wait(3)` may.
    pub spurious: bool,
    /// A listener for each reactor.
    pub reuseport: bool,
    /// How a source is put on an interest list: its token, and what the stage asked for. For a stage that is wrong on purpose.
    pub registers: fn(u64, u32) -> u32,
}

/// What a finding is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    UseAfterFree,
    DoubleFree,
    TwoInside,
    ClosedDescriptor,
    Hang,
    Lost,
    Leak,
    /// A wake-up for a connection that somebody else had accepted.
    InVain,
    /// A client gets bytes that were made for another.
    Stranger,
    /// One arming of a one-shot socket, and two tasks.
    TwoTasks,
    /// The stage panicked, or loom did.
    Panic,
    /// More executions than the model may have: nothing is proved.
    Capped,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub kind: Kind,
    pub text: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a panic of a refuted execution carries.
pub struct Refuted;

/// Why a thread does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Event(Fd),
    Task(usize),
    Lock(usize),
    /// A notification: the ticket of a sleeper.
    Notice(u64),
    End(Role),
    /// The script's thread waits until nobody else can move.
    Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    Blocked(Why),
    Ended,
}

/// Where a thread is: its last point, and how often it has been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    pub point: &'static str,
    pub occurrence: u64,
}

struct Player {
    name: String,
    thread: Option<loom::thread::Thread>,
    state: State,
    place: Place,
    occurrences: Vec<(&'static str, u64)>,
    /// It has come to a point and done nothing since.
    fresh: bool,
    /// Goes up with each tick: what happens under one number happens at once.
    section: u64,
}

/// One thing that happened: the log's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub role: Role,
    pub place: Place,
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Connect,
    Send(usize),
    Fin,
    Reset,
    Wait(Vec<(u64, u32)>),
    Accept(Fd),
    Modify(Fd, u32),
    Read(Result<usize, Errno>),
    Write(Result<usize, Errno>),
    Shutdown(Fd),
    Close(Fd),
    Push(String),
    Pop(String),
    Closed,
    Lock(usize),
    Unlock(usize),
    Allocate(usize),
    Use(usize),
    Free(usize),
    Inside(usize),
    Look(bool),
    Set(bool),
    Sleep,
    Woken,
    /// How many slept.
    Notify(usize),
    /// The server is told to stop.
    Stop,
    /// The limit of the drain is over.
    Expire,
}

pub struct World {
    pub rules: Rules,
    pub net: Net,
    pub slots: Vec<Slot>,
    pub log: Vec<Entry>,
    pub verdict: Option<Verdict>,
    /// Address of a socket in its session, and the token that it was registered with.
    pub tokens: Vec<(usize, u64)>,
    /// Who is inside which cell, and since when.
    pub inside: Vec<(usize, Role, Place)>,
    /// Who has held a lock since he asked for his task: he may have kept a pointer to what it guards.
    pub guests: Vec<(usize, Role)>,
    /// Living shares of std's `Arc`.
    pub arcs: usize,
    /// The tick of what lies inside of a cell, or behind a lock, at that address.
    cells: Vec<(usize, Arc<AtomicUsize>)>,
    /// There was a task already.
    has_pushed: bool,
    pub strangers: Strangers,
    /// The time limit that runs, if one does.
    pub timer: Option<Fd>,
    /// What the sessions lost that were cut: bytes without an answer, replies not written.
    pub cuts: Vec<(u64, u64)>,
    /// The last ticket that a sleeper has taken.
    pub tickets: u64,
    /// What the server counted, when it came to its end.
    pub served: Option<real::runner::Served>,
    /// What its reactors counted.
    pub told: Vec<real::runner::Counts>,
    /// The tick of whatever is about the kernel.
    pub tick: Arc<AtomicUsize>,
    roles: Vec<Player>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    /// Whose turn it is. loom switches only inside its own operations, and each of them is wrapped here.
    static ROLE: Cell<Role> = const { Cell::new(CLIENT) };
}

/// Looks at the world. Nothing of loom's may be called meanwhile.
pub fn with<R>(look: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|world| look(world.as_mut().expect("an execution has a world")))
}

/// The world of a new execution.
pub fn begin(rules: Rules) {
    let world = World {
        rules,
        net: Net::default(),
        slots: Vec::new(),
        log: Vec::new(),
        verdict: None,
        tokens: Vec::new(),
        inside: Vec::new(),
        guests: Vec::new(),
        arcs: 0,
        has_pushed: false,
        strangers: Strangers::default(),
        timer: None,
        cuts: Vec::new(),
        tickets: 0,
        served: None,
        told: Vec::new(),
        cells: Vec::new(),
        tick: Arc::new(AtomicUsize::new(0)),
        roles: Vec::new(),
    };
    WORLD.set(Some(world));
    let client = add_role("client");
    assert_eq!(client, CLIENT);
    start(client);
}

/// Takes what is left of the last execution's world; with it goes all memory that the stage allocated.
pub fn end() -> Option<World> {
    WORLD.take()
}

/// Whether this thread is being unwound: then nothing is modelled any more.
pub fn is_over() -> bool {
    std::thread::panicking()
}

pub fn me() -> Role {
    ROLE.get()
}

pub fn add_role(name: &str) -> Role {
    with(|world| {
        world.roles.push(Player {
            name: name.to_string(),
            thread: None,
            state: State::Running,
            place: Place::default(),
            occurrences: Vec::new(),
            fresh: false,
            section: 0,
        });
        world.roles.len() - 1
    })
}

/// The current thread plays `role` from now on.
pub fn start(role: Role) {
    ROLE.set(role);
    let thread = loom::thread::current();
    with(|world| world.roles[role].thread = Some(thread));
}

/// An operation of loom's: whoever ran meanwhile, afterwards it is this thread's turn again.
pub fn switching<R>(operation: impl FnOnce() -> R) -> R {
    let role = me();
    let result = operation();
    ROLE.set(role);
    result
}

/// Another thread may come in here, before what the caller is about to do. `object` is what that is about; calls about
/// different objects commute, and loom need not try both orders.
pub fn tick_of(object: &AtomicUsize) {
    tick_with(object, Ordering::AcqRel);
}

/// As [`tick_of`], but it orders no memory: what one thread wrote before it, another need not see after it.
pub fn tick_without_order(object: &AtomicUsize) {
    tick_with(object, Ordering::Relaxed);
}

fn tick_with(object: &AtomicUsize, order: Ordering) {
    let role = me();
    let world_tick = with(|world| match world.rules.grain {
        Grain::Calls => None,
        Grain::Points | Grain::Events => Some(world.tick.clone()),
    });
    match world_tick {
        None => _ = switching(|| object.fetch_add(1, order)),
        Some(tick) => {
            // Between two points nobody comes in. All steps are about the world as a whole, since one may do much.
            if role != CLIENT && !with(|world| std::mem::take(&mut world.roles[role].fresh)) {
                return;
            }
            switching(|| tick.fetch_add(1, Ordering::AcqRel));
        }
    }
    with(|world| world.roles[role].section += 1);
}

/// As [`tick_of`], for what is about the kernel.
pub fn tick() {
    let tick = with(|world| world.tick.clone());
    tick_of(&tick);
}

/// The tick of what lies inside of the cell, or behind the lock, that the current thread has come to last.
pub fn tick_if_inside() -> Option<Arc<AtomicUsize>> {
    if is_over() {
        return None;
    }
    let me = me();
    let (cell, known) = with(|world| {
        let cells = world.inside.iter().filter(|(_, role, _)| *role == me).map(|(cell, ..)| *cell);
        let locks = world.guests.iter().filter(|(_, role)| *role == me).map(|(lock, _)| *lock);
        let cell = cells.chain(locks).last()?;
        Some((cell, world.cells.iter().find(|(other, _)| *other == cell).map(|(_, tick)| tick.clone())))
    })?;
    Some(known.unwrap_or_else(|| {
        let tick = Arc::new(AtomicUsize::new(0));
        with(|world| world.cells.push((cell, tick.clone())));
        tick
    }))
}

/// The section of the current thread: as long as it does not change, nobody else has run.
pub fn section() -> u64 {
    with(|world| world.roles[me()].section)
}

/// The thread has come to a point.
pub fn pass(point: &'static str) {
    with(|world| {
        let role = &mut world.roles[me()];
        let at = role.occurrences.iter().position(|(known, _)| *known == point).unwrap_or_else(|| {
            role.occurrences.push((point, 0));
            role.occurrences.len() - 1
        });
        role.occurrences[at].1 += 1;
        role.place = Place { point, occurrence: role.occurrences[at].1 };
        role.fresh = true;
    });
}

/// The current thread has armed a socket, or has been told of events.
pub fn come_in() {
    with(|world| {
        if world.rules.grain == Grain::Events {
            world.roles[me()].fresh = true;
        }
    });
}

/// Notes what the current thread has done.
pub fn log(what: What) {
    with(|world| world.log(what));
}

/// Sleeps until [`World::wake`]; the caller then looks again whether it can go on.
pub fn block(why: Why) {
    let role = me();
    let stuck = with(|world| {
        world.roles[role].state = State::Blocked(why);
        world.settle()
    });
    if let Some(text) = stuck {
        refute(Kind::Hang, text);
    }
    switching(loom::thread::park);
    // What it does after the sleep is a new step.
    with(|world| world.roles[role].fresh = true);
}

/// Before a call that may have to wait: sleeps if it `cannot` go on. To find nothing changes nothing, so it needs no tick
/// of its own. But who was woken must tick before it looks again: loom has to know what it was about to do, even where
/// another thread was faster. (Without that tick, executions in which both workers get a task are lost.)
pub fn sleep_if(why: Why, object: &AtomicUsize, cannot: impl Fn() -> bool) {
    if with(|world| world.rules.reduced == Reduced::Not) {
        tick_of(object);
    }
    if cannot() {
        block(why);
    }
}

/// What each role has seen, the workers in no order: two executions with the same are told apart by nobody.
pub fn observed() -> String {
    with(|world| {
        let seen = |entry: &&Entry| !matches!(entry.what, What::Lock(_) | What::Unlock(_) | What::Inside(_));
        let of = |role| world.log.iter().filter(move |entry| entry.role == role).filter(seen).map(|entry| &entry.what);
        let mut all: Vec<_> =
            (0..world.roles.len()).map(|role| format!("{:?}\n", of(role).collect::<Vec<_>>())).collect();
        all[MAIN + 1..].sort();
        all.concat()
    })
}

/// The thread has played its role.
pub fn finish() {
    if is_over() {
        return;
    }
    tick();
    let stuck = with(|world| {
        let role = me();
        world.roles[role].state = State::Ended;
        world.wake(|why| why == Why::End(role));
        world.settle()
    });
    if let Some(text) = stuck {
        refute(Kind::Hang, text);
    }
}

/// Waits for the end of a role.
pub fn wait_for_end(role: Role) {
    loop {
        with(|world| world.roles[me()].fresh = true);
        tick();
        if with(|world| world.roles[role].state == State::Ended) {
            return;
        }
        block(Why::End(role));
    }
}

/// Waits until nobody else can move.
pub fn wait_until_quiet() {
    block(Why::Quiet);
}

/// This execution shows that the stage is wrong. If nobody asked for this kind of finding, it goes on.
pub fn refute(kind: Kind, text: String) {
    if is_over() {
        return;
    }
    let counts = with(|world| {
        // With nobody left to run there is no going on.
        let counts = kind == Kind::Hang || world.rules.only.is_none_or(|only| only == kind);
        if counts {
            world.verdict = Some(Verdict { kind, text });
        }
        counts
    });
    if counts {
        std::panic::panic_any(Refuted);
    }
}

impl World {
    pub fn log(&mut self, what: What) {
        let role = me();
        self.log.push(Entry { role, place: self.roles[role].place, what });
    }

    pub fn place(&self) -> Place {
        self.roles[me()].place
    }

    pub fn name(&self, role: Role) -> &str {
        &self.roles[role].name
    }

    pub fn names(&self) -> Vec<String> {
        self.roles.iter().map(|role| role.name.clone()).collect()
    }

    /// `worker-1 at count`
    pub fn who(&self, role: Role, place: Place) -> String {
        match place.point {
            "" => self.name(role).to_string(),
            point => format!("{} at `{point}`", self.name(role)),
        }
    }

    /// Lets all threads that wait for this go on; who comes too late sleeps again. Waking only one would make it matter
    /// who sleeps already, and falling asleep is no step that loom sees.
    pub fn wake(&mut self, waits: impl Fn(Why) -> bool) {
        let blocked = self.roles.iter_mut().filter(|role| matches!(role.state, State::Blocked(why) if waits(why)));
        for role in blocked {
            role.state = State::Running;
            role.thread.as_ref().expect("who sleeps has begun").unpark();
        }
    }

    /// Lets the workers go on that wait for a task. Before the first task they are all alike and all asleep: so without
    /// loss of an order that differs in more than names, worker-1 alone is woken for that one.
    pub fn wake_for_task(&mut self, queue: usize) {
        let first = !std::mem::replace(&mut self.has_pushed, true);
        let mut left = if first && self.rules.reduced == Reduced::All { 1 } else { usize::MAX };
        for role in &mut self.roles {
            if role.state == State::Blocked(Why::Task(queue)) && left > 0 {
                left -= 1;
                role.state = State::Running;
                role.thread.as_ref().expect("who sleeps has begun").unpark();
            }
        }
    }

    /// Lets the reactor go on if there may be an event for it.
    pub fn wake_waiters(&mut self) {
        for role in 0..self.roles.len() {
            if let State::Blocked(Why::Event(epoll)) = self.roles[role].state
                && self.net.has_ready(epoll)
            {
                let player = &mut self.roles[role];
                player.state = State::Running;
                player.thread.as_ref().expect("who sleeps has begun").unpark();
            }
        }
    }

    /// If nobody can move: wakes the one who waits for just that, or says who hangs.
    fn settle(&mut self) -> Option<String> {
        if self.roles.iter().any(|role| role.state == State::Running) {
            return None;
        }
        if self.roles.iter().any(|role| role.state == State::Blocked(Why::Quiet)) {
            self.wake(|why| why == Why::Quiet);
            return None;
        }
        Some(format!("hang: {}", self.blocked()))
    }

    /// Who waits for what.
    pub fn blocked(&self) -> String {
        let waits = |role: &Player| match role.state {
            State::Blocked(Why::Event(_)) => Some(format!("{} waits for an event", role.name)),
            State::Blocked(Why::Task(_)) => Some(format!("{} waits for a task", role.name)),
            State::Blocked(Why::Lock(_)) => Some(format!("{} waits for a lock at `{}`", role.name, role.place.point)),
            State::Blocked(Why::Notice(_)) => Some(format!("{} waits for a notification", role.name)),
            State::Blocked(Why::End(other)) => {
                Some(format!("{} waits for the end of {}", role.name, self.roles[other].name))
            }
            _ => None,
        };
        self.roles.iter().filter_map(waits).collect::<Vec<_>>().join(", ")
    }

    /// The epoll instances in which somebody sleeps.
    pub fn asleep(&self) -> Vec<Fd> {
        let sleeps = |role: &Player| if let State::Blocked(Why::Event(fd)) = role.state { Some(fd) } else { None };
        self.roles.iter().filter_map(sleeps).collect()
    }

    /// Whether somebody waits for what will not come: for a lock whose holder sleeps.
    pub fn is_stuck(&self) -> bool {
        self.roles.iter().any(|role| matches!(role.state, State::Blocked(Why::Lock(_))))
    }

    /// `session 2`: what the token of an event stands for; `fd 4`, `fd 4 (gen 1)` where tokens are `keys`.
    pub fn token(token: u64, keys: bool) -> String {
        match token {
            real::runner::LISTENER => "listener".to_string(),
            real::runner::STOP => "stop".to_string(),
            key if keys && key >> 32 == 0 => format!("fd {key}"),
            key if keys => format!("fd {} (gen {})", key as u32, key >> 32),
            id => format!("session {id}"),
        }
    }

    /// What lies at an address: the session whose socket is between these two.
    pub fn task(&self, start: usize, size: usize) -> String {
        let token = self.tokens.iter().rev().find(|(at, _)| (start..start + size).contains(at));
        token.map_or("a task".to_string(), |(_, token)| Self::token(*token, self.strangers.keys))
    }

    pub fn replies(&self, client: Client) -> &[u8] {
        self.net.replies(client)
    }
}

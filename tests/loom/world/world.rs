//! The world of one execution: who runs, who waits for what, what has happened, and what went wrong.
//!
//! Threads are coroutines on one thread of the system. A checker ([`turn`](crate::turn)) decides which goes on, and
//! only at a *tick*. So the world is a thread-local of plain data. A modelled call ticks, and then does all that it
//! does at once.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::check::{Check, Kind};
use crate::heap::Slot;
use crate::net::{Client, Errno, Fd, Net};
use crate::strangers::Strangers;
use crate::terms::{Counts, LISTENER, STOP, Served};
use crate::turn::{self, Checker, Object};

/// A thread of the model: an index into [`World::roles`].
pub type Role = usize;
/// The thread that plays the script.
pub const CLIENT: Role = 0;
/// The reactor.
pub const MAIN: Role = 1;

/// So many ticks in one execution are a livelock. The longest execution of a script has a few hundred.
pub const STEPS: u64 = 4_000;

/// How fine the model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Every system call, lock, queue operation, use and free of memory may be followed by anybody's.
    Calls,
    /// As the director moves its roles: what a thread does from one point to its next is one step.
    Points,
    /// That, and anybody may come in after a wait too, and after a socket was armed: what is reported of a socket may
    /// be looked at when that is closed.
    Events,
}

/// What to look for, and how.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub grain: Grain,
    /// [`Check::TwoInACell`] counts.
    pub two_inside: bool,
    /// [`Check::ReportedTwice`] counts.
    pub two_tasks: bool,
    /// [`Check::Dismissed`] counts: a session is not closed while its client is there, even if nothing is owed to it.
    pub keeps_sessions: bool,
    /// [`Check::WokenInVain`] counts.
    pub in_vain: bool,
    /// Calls about different objects are independent, and loom need not try both orders. Without it every call is about
    /// the one world: a test compares the two.
    pub independence: bool,
    /// Atomics are sequentially consistent, whatever order they ask for. The second checker knows no other way.
    pub sequential: bool,
    /// From the server's first step on, and not only once it is idle with a connection.
    pub whole_life: bool,
    /// Explored from when everybody sleeps and nobody has come, not from when the first connection is accepted.
    pub from_the_start: bool,
    /// The server is told to stop while the last connections are still on their way, not when nobody can move.
    pub stops_early: bool,
    /// Of the sleeps of a thread in a condition variable, every other one ends for no reason, as `pthread_cond_wait(3)`
    /// may.
    pub spurious: bool,
    /// A listener for each reactor.
    pub reuseport: bool,
    /// Nothing but this kind of finding counts.
    pub only: Option<Kind>,
    /// This check is switched off: to see that something else then fails.
    pub off: Option<Check>,
    /// How a source is put on an interest list: its token, and what the stage asked for. For a stage that is wrong on
    /// purpose.
    pub registers: fn(u64, u32) -> u32,
    /// The checker is wrong in this way, to see that it is found out.
    pub defect: Option<Defect>,
}

/// A way in which a checker can be wrong. The generated programs (`programs.rs`) must find each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A call looks whether it has to wait before its tick, so an order in which it had to wait registers no access.
    /// The models of this project had this one, and a wrong server passed.
    LooksFirst,
    /// To unlock is no step.
    UnlocksUnseen,
    /// A write to a socket is no step, since it always succeeds.
    WritesUnseen,
    /// An access to an atomic is a step of loom's only. It takes some thousands of programs to meet this one, so that
    /// it has a program of its own.
    AtomicsUnseen,
    /// Two states count as one although a thread knows something else in them.
    ForgetsKnowledge,
    /// Two states count as one although a lock, a queue or an atomic holds something else in them.
    ForgetsObjects,
    /// Two states count as one although the network is another.
    ForgetsTheNetwork,
    /// Two states count as one although another thread sleeps in them.
    ForgetsWhoWaits,
    /// What lies behind a lock counts as the same after a write.
    ForgetsMemory,
}

impl Defect {
    /// Those that the generated programs of a plain test run find.
    pub const FOUND: [Defect; 8] = [
        Defect::LooksFirst,
        Defect::UnlocksUnseen,
        Defect::WritesUnseen,
        Defect::ForgetsKnowledge,
        Defect::ForgetsObjects,
        Defect::ForgetsTheNetwork,
        Defect::ForgetsWhoWaits,
        Defect::ForgetsMemory,
    ];

    /// Which checker has it.
    pub fn checker(self) -> Checker {
        match self {
            Defect::LooksFirst | Defect::UnlocksUnseen | Defect::WritesUnseen | Defect::AtomicsUnseen => Checker::Loom,
            Defect::ForgetsKnowledge
            | Defect::ForgetsObjects
            | Defect::ForgetsTheNetwork
            | Defect::ForgetsWhoWaits
            | Defect::ForgetsMemory => Checker::Search,
        }
    }
}

impl Rules {
    /// What the models use unless they say otherwise.
    pub const DEFAULT: Rules = Rules {
        grain: Grain::Calls,
        two_inside: false,
        two_tasks: false,
        keeps_sessions: false,
        in_vain: false,
        independence: true,
        sequential: false,
        whole_life: false,
        from_the_start: false,
        stops_early: false,
        spurious: false,
        reuseport: false,
        only: None,
        off: None,
        registers: |_, bits| bits,
        defect: None,
    };
}

impl Default for Rules {
    fn default() -> Self {
        Rules::DEFAULT
    }
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub check: Check,
    pub text: String,
}

impl Verdict {
    pub fn kind(&self) -> Kind {
        self.check.kind()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a panic of a refuted execution carries.
pub struct Refuted;

/// What the panic of a thread carries that is sent home: see [`send_home`].
pub struct Home;

/// Why a thread does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    Event(Fd),
    Task(Key),
    Lock(Key),
    /// A notification of this condition variable.
    Notice(Key),
    /// That, or the end of a time limit: which is when nobody else can move.
    NoticeOrTime(Key),
    End(Role),
    /// The script's thread waits until nobody else can move.
    Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// The name of a thing: who made it, and the how-manieth it was of that thread's. So it does not depend on what others
/// made meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    maker: Role,
    number: usize,
}

impl Key {
    /// Of an object that nothing is told apart by.
    pub const NONE: Key = Key { maker: usize::MAX, number: usize::MAX };
}

struct Player {
    name: String,
    thread: turn::Thread,
    state: State,
    place: Place,
    occurrences: Vec<(&'static str, u64)>,
    /// It has come to a point and done nothing since.
    fresh: bool,
    /// Goes up with each tick: what happens under one number happens at once.
    section: u64,
    /// All that it can know, as one number: each result that the world gave it.
    seen: u128,
    /// What the things that it made hold, as one number each.
    made: Vec<u128>,
    /// Its time limit was over, and this was the state of the world's progress.
    timed_out_at: Option<u64>,
    /// That is why it goes on.
    is_late: bool,
}

/// One thing that happened: the log's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub role: Role,
    pub place: Place,
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
    Lock(Key),
    Unlock(Key),
    Allocate(usize),
    Use(usize),
    Free(usize),
    Inside(Key),
    Look(bool),
    Set(bool),
    /// Of a number that threads share: what was found, what was left.
    Count(Option<u64>, Option<u64>),
    Sleep,
    Woken,
    /// Not notified: the time limit was over.
    TimeOut,
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
    pub inside: Vec<(Key, Role, Place)>,
    /// Somebody shares plain memory without a lock: from then on which buffer lies where may change at any moment.
    pub is_racy: bool,
    /// Living shares of `Arc`s.
    pub shares: usize,
    pub strangers: Strangers,
    /// The time limit that runs, if one does.
    pub timer: Option<Fd>,
    /// What the sessions lost that were cut: bytes without an answer, replies not written.
    pub cuts: Vec<(u64, u64)>,
    /// What the server counted, when it came to its end.
    pub served: Option<Served>,
    /// What its reactors counted.
    pub told: Vec<Counts>,
    /// Whatever is about the kernel.
    pub kernel: Rc<Object>,
    /// Whatever is about plain memory, once it is shared without a lock.
    pub memory: Rc<Object>,
    /// Whatever is a step at all, where calls are not told apart.
    pub everything: Rc<Object>,
    /// The execution is over, and who still waits goes home.
    is_left: bool,
    /// All ticks.
    pub steps: u64,
    /// How often something was changed that another thread could see.
    progress: u64,
    roles: Vec<Player>,
}

thread_local! {
    /// In a box, so that it lies where all that the execution allocates does.
    static WORLD: RefCell<Option<Box<World>>> = const { RefCell::new(None) };
    /// Whose turn it is.
    static ROLE: Cell<Role> = const { Cell::new(CLIENT) };
    static IS_OVER: Cell<bool> = const { Cell::new(false) };
}

/// Looks at the world. Nothing that lets another thread in may be called meanwhile.
pub fn with<R>(look: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|world| look(world.as_mut().expect("an execution has a world")))
}

/// Looks at the world, if there is one.
pub fn look<R>(look: impl FnOnce(Option<&World>) -> R) -> R {
    WORLD.with_borrow(|world| look(world.as_deref()))
}

/// The world of a new execution.
pub fn begin(rules: Rules) {
    let objects: Vec<_> = (0..3).map(|_| Rc::new(Object::nameless())).collect();
    let [kernel, memory, everything] = objects.try_into().ok().expect("three are made");
    let world = World {
        rules,
        net: Net::default(),
        slots: Vec::new(),
        log: Vec::new(),
        verdict: None,
        tokens: Vec::new(),
        inside: Vec::new(),
        is_racy: false,
        shares: 0,
        strangers: Strangers::default(),
        timer: None,
        cuts: Vec::new(),
        served: None,
        told: Vec::new(),
        kernel,
        memory,
        everything,
        is_left: false,
        steps: 0,
        progress: 0,
        roles: Vec::new(),
    };
    WORLD.set(Some(Box::new(world)));
    ROLE.set(CLIENT);
    let client = add_role("client");
    assert_eq!(client, CLIENT);
    start(client);
}

/// Takes what is left of the last execution's world; with it goes all memory that the stage allocated.
pub fn end() -> Option<Box<World>> {
    WORLD.take()
}

/// Whether this execution is being taken down: then nothing is modelled any more. A stage's own destructors still make
/// calls: nothing waits then, and each succeeds.
pub fn is_over() -> bool {
    std::thread::panicking() || IS_OVER.get()
}

/// Takes down what is left of an execution.
pub fn take_down(what: impl FnOnce()) {
    IS_OVER.set(true);
    what();
    IS_OVER.set(false);
}

pub fn me() -> Role {
    ROLE.get()
}

/// It is this role's turn.
pub fn take_turn(role: Role) {
    ROLE.set(role);
}

pub fn add_role(name: &str) -> Role {
    with(|world| {
        world.roles.push(Player {
            name: name.to_string(),
            thread: turn::Thread::default(),
            state: State::Running,
            place: Place::default(),
            occurrences: Vec::new(),
            fresh: false,
            section: 0,
            seen: 0,
            made: Vec::new(),
            timed_out_at: None,
            is_late: false,
        });
        world.roles.len() - 1
    })
}

/// The current thread plays `role` from now on.
pub fn start(role: Role) {
    ROLE.set(role);
    let thread = turn::Thread::current();
    with(|world| world.roles[role].thread = thread);
}

/// Another thread may come in here, before what the caller is about to do. `object` is what that is about. Calls about
/// different objects commute: what a call reads and writes belongs to its object alone, and neither lets the other
/// wait. `Rules::independence` is without that, and the generated programs compare.
pub fn tick_of(object: &Object) {
    // A step without a result is a step all the same.
    see(());
    let_others_in(object);
}

fn let_others_in(object: &Object) {
    enter_step(object, turn::step);
}

fn enter_step(object: &Object, step: fn(&Object)) {
    if is_over() {
        return;
    }
    count_step();
    let me = me();
    let (all, comes_in) = with(|world| {
        let role = &mut world.roles[me];
        // Between two points nobody comes in. All such steps are about the world as a whole, since one may do much.
        let comes_in = world.rules.grain == Grain::Calls || me == CLIENT || std::mem::take(&mut role.fresh);
        role.section += u64::from(comes_in);
        let all = !world.rules.independence || world.rules.grain != Grain::Calls;
        (all.then(|| world.everything.clone()), comes_in)
    });
    if comes_in {
        with(World::leave_traces);
        step(all.as_deref().unwrap_or(object));
        with(World::see_traces);
    }
}

fn count_step() {
    let too_many = with(|world| {
        world.steps += 1;
        world.steps > STEPS
    });
    if too_many {
        let who = with(|world| world.who(me(), world.place()));
        refute(Check::WithoutEnd, format!("livelock: {STEPS} calls in one execution, the last of them by {who}"));
    }
}

/// As [`tick_of`], but it orders no memory: what one thread wrote before it, another need not see after it.
pub fn tick_without_order(object: &Object) {
    see(());
    enter_step(object, turn::step_without_order);
}

/// A step that is loom's own: its operation is what others may come in before.
pub fn step_by<R>(operation: impl FnOnce() -> R) -> R {
    see(());
    count_step();
    with(|world| world.roles[me()].section += 1);
    operation()
}

/// As [`tick_of`], for what is about the kernel.
pub fn tick() {
    let kernel = with(|world| world.kernel.clone());
    tick_of(&kernel);
}

/// A call that may have to wait. Ticks, and then looks whether it can go on; if it has to wait, sleeps until it is
/// woken, and does both again. The tick comes first: to find that one has to wait is an access like any other, and
/// depends on the call that made it so. (This once looked before its tick, "since to find nothing changes nothing". The
/// orders in which a thread had to wait were then never reversed, and a wrong server passed.)
pub fn when<R>(object: &Object, why: Why, waits: impl Fn(&World) -> bool, go: impl FnOnce(&mut World) -> R) -> R {
    see(());
    loop {
        if with(|world| world.has(Defect::LooksFirst) && waits(world)) {
            block(why);
        }
        let_others_in(object);
        if is_over() || !with(|world| waits(world)) {
            return with(go);
        }
        block(why);
    }
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

/// The current thread has learnt this.
pub fn see(what: impl Hash) {
    with(|world| world.see(what));
}

/// Sleeps until [`World::wake`]; the caller then looks again whether it can go on. Says whether its time limit was
/// over.
pub fn block(why: Why) -> bool {
    if is_over() {
        return false;
    }
    let role = me();
    let stuck = with(|world| {
        world.roles[role].state = State::Blocked(why);
        world.settle()
    });
    if let Some((check, text)) = stuck {
        refute(check, text);
    }
    with(World::leave_traces);
    turn::sleep();
    if with(|world| world.is_left) && role != CLIENT {
        std::panic::resume_unwind(Box::new(Home));
    }
    with(World::see_traces);
    with(|world| {
        // What it does after the sleep is a new step.
        world.roles[role].fresh = true;
        std::mem::take(&mut world.roles[role].is_late)
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
    if let Some((check, text)) = stuck {
        refute(check, text);
    }
}

/// Lets others go first, for once. Nothing was done, and still it is a step: whoever does nothing else makes them
/// without end.
pub fn give_way() {
    see(());
    if !is_over() {
        count_step();
        turn::give_way();
    }
}

/// Waits for the end of a role.
pub fn wait_for_end(role: Role) {
    with(|world| world.roles[me()].fresh = true);
    let kernel = with(|world| world.kernel.clone());
    when(&kernel, Why::End(role), |world| world.roles[role].state != State::Ended, |_| ());
}

/// Whoever still waits need not wait any longer: each thread ends where it is, by a panic that its body catches. For a
/// program whose hang is a result like any other.
pub fn send_home() {
    let others = with(|world| {
        world.is_left = true;
        world.wake(|_| true);
        1..world.roles.len()
    });
    others.for_each(wait_for_end);
}

/// Waits until nobody else can move.
pub fn wait_until_quiet() {
    _ = block(Why::Quiet);
}

/// This execution shows that the stage is wrong. If nobody asked for this kind of finding, it goes on.
pub fn refute(check: Check, text: String) {
    if is_over() {
        return;
    }
    let counts = with(|world| {
        // With nobody left to run there is no going on, nor from a call that is made without end.
        let counts = match check {
            Check::NobodyMoves | Check::WithoutEnd => true,
            _ => world.rules.off != Some(check) && world.rules.only.is_none_or(|only| only == check.kind()),
        };
        if counts {
            world.verdict = Some(Verdict { check, text });
        }
        counts
    });
    if counts {
        std::panic::panic_any(Refuted);
    }
}

/// One number for all of these, of 128 bits, so that two that are not the same never have the same.
pub fn digest(parts: impl Hash) -> u128 {
    let mut hasher = SipHasher13::new();
    parts.hash(&mut hasher);
    hasher.finish128().as_u128()
}

impl Player {
    fn see(&mut self, what: impl Hash) {
        self.seen = digest((self.seen, what));
    }
}

/// Several numbers for one state would only make states out of one; one number for several states would hide an order.
/// So whatever a thread can act on is in here: what it has seen, and what it could see.
impl World {
    /// The current thread has learnt this.
    pub fn see(&mut self, what: impl Hash) {
        self.roles[me()].see(what);
    }

    pub fn has(&self, defect: Defect) -> bool {
        self.rules.defect == Some(defect)
    }

    /// What the current thread knows, as one number.
    pub fn knowledge(&self) -> u128 {
        self.roles[me()].seen
    }

    /// A name for what the current thread makes.
    pub fn new_key(&mut self) -> Key {
        let maker = me();
        let made = &mut self.roles[maker].made;
        made.push(0);
        Key { maker, number: made.len() - 1 }
    }

    /// What the thing of that name holds from now on.
    pub fn put(&mut self, key: Key, holds: impl Hash) {
        if key != Key::NONE {
            self.roles[key.maker].made[key.number] = digest(holds);
        }
    }

    /// The whole state: the threads, what they know and wait for, and everything that they share.
    pub fn fingerprint(&self) -> u128 {
        let mut hasher = SipHasher13::new();
        for role in &self.roles {
            if !self.has(Defect::ForgetsKnowledge) {
                role.seen.hash(&mut hasher);
            }
            if !self.has(Defect::ForgetsObjects) {
                role.made.hash(&mut hasher);
            }
            if !self.has(Defect::ForgetsWhoWaits) {
                role.state.hash(&mut hasher);
            }
            (role.timed_out_at == Some(self.progress), role.is_late).hash(&mut hasher);
        }
        if !self.has(Defect::ForgetsTheNetwork) {
            self.net.hash(&mut hasher);
        }
        for slot in &self.slots {
            (slot.key, slot.is_freed()).hash(&mut hasher);
        }
        for (cell, role, _) in &self.inside {
            (cell, role).hash(&mut hasher);
        }
        (&self.strangers, self.timer, &self.cuts, self.shares).hash(&mut hasher);
        hasher.finish128().as_u128()
    }

    /// The thread has ended, without a word to others.
    pub fn leave(&mut self, role: Role) {
        self.roles[role].state = State::Ended;
    }

    /// This thread reads and writes that piece of plain memory from here on, unseen by the world.
    pub fn enter(&mut self, cell: Key, role: Role, place: Place) {
        self.inside.push((cell, role, place));
        self.see_traces();
    }

    /// The thread leaves this cell, or all.
    pub fn leave_cells(&mut self, role: Role, only: Option<Key>) {
        self.leave_traces();
        self.inside.retain(|(cell, other, _)| *other != role || only.is_some_and(|only| only != *cell));
    }

    /// What lies in a cell follows from what those knew who were inside: whoever lets others in leaves it there.
    fn leave_traces(&mut self) {
        let me = me();
        for at in 0..self.inside.len() {
            let (cell, role, _) = self.inside[at];
            if role == me && cell != Key::NONE {
                let past = self.roles[cell.maker].made[cell.number];
                self.roles[cell.maker].made[cell.number] = digest((past, self.roles[me].seen));
            }
        }
    }

    /// And whoever goes on inside may find it changed.
    fn see_traces(&mut self) {
        let me = me();
        for at in 0..self.inside.len() {
            let (cell, role, _) = self.inside[at];
            if role == me && cell != Key::NONE {
                let past = self.roles[cell.maker].made[cell.number];
                self.see(past);
            }
        }
    }

    /// An atomic of loom's may give an old value: but not in steps that are coarser than a call.
    pub fn has_weak_memory(&self) -> bool {
        !self.rules.sequential && self.rules.grain == Grain::Calls
    }

    /// Who can move.
    pub fn running(&self) -> impl Iterator<Item = Role> + '_ {
        (0..self.roles.len()).filter(|role| self.roles[*role].state == State::Running)
    }
}

/// What each role has seen, the workers in no order: two executions with the same are told apart by nobody. Nor are
/// what is closed in a row: a stage may close what is left in the order of a `HashMap`, which is another in each
/// execution of loom's.
pub fn observed() -> String {
    let is_seen = |what: &What| !matches!(what, What::Lock(_) | What::Unlock(_) | What::Inside(_));
    let mut all: Vec<String> = of_each_role(is_seen).into_iter().map(in_no_order_of_closing).collect();
    all[MAIN + 1..].sort();
    all.concat()
}

fn in_no_order_of_closing(mut role: Vec<String>) -> String {
    let closes = |one: &String| one.starts_with("Close(");
    role.chunk_by_mut(|one, next| closes(one) && closes(next)).for_each(<[String]>::sort_unstable);
    role.join(", ") + "\n"
}

/// What each role has done and seen, in its order.
pub fn histories() -> Vec<String> {
    of_each_role(|_| true).into_iter().map(|role| role.join(", ") + "\n").collect()
}

fn of_each_role(is_seen: fn(&What) -> bool) -> Vec<Vec<String>> {
    with(|world| {
        let text = |what: &What| match what {
            // By its maker's count, since the order of two threads' allocations is nobody's to see.
            What::Allocate(slot) | What::Use(slot) | What::Free(slot) => {
                format!("{} {:?}", what.word(), world.slots[*slot].key)
            }
            what => format!("{what:?}"),
        };
        let of = |role| world.log.iter().filter(move |entry| entry.role == role && is_seen(&entry.what));
        (0..world.roles.len()).map(|role| of(role).map(|entry| text(&entry.what)).collect()).collect()
    })
}

impl What {
    fn word(&self) -> &'static str {
        match self {
            What::Allocate(_) => "allocate",
            What::Use(_) => "use",
            _ => "free",
        }
    }

    /// Whether it changes something that another thread could be waiting for.
    fn is_progress(&self) -> bool {
        !matches!(
            self,
            What::Lock(_)
                | What::Unlock(_)
                | What::Look(_)
                | What::Count(_, None)
                | What::Sleep
                | What::Woken
                | What::TimeOut
                | What::Use(_)
        )
    }
}

impl World {
    pub fn log(&mut self, what: What) {
        let role = me();
        self.progress += u64::from(what.is_progress());
        match what {
            // Told by key, see `observed`.
            What::Allocate(slot) | What::Use(slot) | What::Free(slot) => {
                let key = self.slots[slot].key;
                self.see((what.word(), key));
            }
            // What a lock guards is seen by whoever takes it.
            What::Lock(_) | What::Unlock(_) => {}
            ref what => self.see(what),
        }
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

    /// Lets all threads that wait for this go on; who comes too late sleeps again.
    pub fn wake(&mut self, waits: impl Fn(Why) -> bool) {
        for role in &mut self.roles {
            if matches!(role.state, State::Blocked(why) if waits(why)) {
                role.state = State::Running;
                role.thread.wake();
            }
        }
    }

    /// Lets the reactors go on for which there may be an event.
    pub fn wake_waiters(&mut self) {
        let ready: Vec<Fd> = self.asleep().into_iter().filter(|epoll| self.net.has_ready(*epoll)).collect();
        self.wake(|why| matches!(why, Why::Event(epoll) if ready.contains(&epoll)));
    }

    /// If nobody can move: time passes, then the one goes on who waits for just that, or it is said who hangs.
    fn settle(&mut self) -> Option<(Check, String)> {
        if self.roles.iter().any(|role| role.state == State::Running) {
            return None;
        }
        // A limit that is over a second time, with nothing changed since the first, would be over for ever.
        let progress = self.progress;
        for role in &mut self.roles {
            if matches!(role.state, State::Blocked(Why::NoticeOrTime(_))) && role.timed_out_at != Some(progress) {
                role.timed_out_at = Some(progress);
                role.is_late = true;
                role.state = State::Running;
                role.thread.wake();
                return None;
            }
        }
        if self.roles.iter().any(|role| role.state == State::Blocked(Why::Quiet)) {
            self.wake(|why| why == Why::Quiet);
            return None;
        }
        Some((Check::NobodyMoves, format!("hang: {}", self.blocked())))
    }

    /// Who waits for what.
    pub fn blocked(&self) -> String {
        let waits = |role: &Player| match role.state {
            State::Blocked(Why::Event(_)) => Some(format!("{} waits for an event", role.name)),
            State::Blocked(Why::Task(_)) => Some(format!("{} waits for a task", role.name)),
            State::Blocked(Why::Lock(_)) => Some(format!("{} waits for a lock at `{}`", role.name, role.place.point)),
            State::Blocked(Why::Notice(_) | Why::NoticeOrTime(_)) => {
                Some(format!("{} waits for a notification", role.name))
            }
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
            LISTENER => "listener".to_string(),
            STOP => "stop".to_string(),
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

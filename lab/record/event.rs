//! The events that the black box records. Each is one entry: what it means, its name and numbers in the trace, and how
//! it looks in a lane.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::names::{Block, Objects, is_of_interest, role_name};
use crate::words::{address, count, errno, mask, thousands};

/// The client's role: it is there from the start, in the parent.
pub const CLIENT: usize = 0;
/// The role of the reactor's thread.
pub const MAIN: usize = 1;

/// One entry of the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the order, from 0.
    pub number: u64,
    /// Nanoseconds since the box was made.
    pub nanos: u64,
    /// Who: an index into the roles.
    pub role: usize,
    /// What.
    pub kind: Kind,
    /// The name that goes with it, where there is one.
    pub label: &'static str,
    /// Where in the source.
    pub file: &'static str,
    /// The line in `file`.
    pub line: u32,
    /// The column in `line`, from 1.
    pub column: u32,
    /// Its place is that of what its thread did before: a drop has no caller to name.
    pub inherited: bool,
    /// The step of the schedule that its role was in, from 1; `None` before its first, after the last of all, and where
    /// nobody directed.
    pub step: Option<usize>,
    /// It was made when all steps of the schedule had been seen to.
    pub over: bool,
    /// See [`Kind`].
    pub a: u64,
    /// See [`Kind`].
    pub b: u64,
    /// See [`Kind`].
    pub c: u64,
}

/// Something that two threads can meet at, within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A descriptor, by its number.
    Fd(u64),
    /// What epoll knows a descriptor by.
    Token(u64),
    /// Memory, by its address: a block, a lock, a flag, a condition variable.
    Memory(u64),
    /// The queue of tasks.
    Queue,
}

/// A record among the others of its run.
pub struct Seen<'a> {
    /// All records.
    pub records: &'a [Record],
    /// Its index among them.
    pub at: usize,
    /// The names of the roles.
    pub roles: &'a [String],
    /// What the numbers stand for.
    pub objects: &'a Objects,
}

/// What stands beside an event's meaning.
struct Entry {
    /// Its name in the trace.
    name: &'static str,
    /// Its numbers in the trace, each by its key.
    numbers: fn(&Record, &Seen<'_>) -> Vec<(&'static str, Value)>,
    /// What it looks like in a lane; `None` where it is not to be seen.
    lane: fn(&Record, &Seen<'_>) -> Option<String>,
}

/// Makes [`Kind`] and its entries of one list.
macro_rules! events {
    ($($(#[$meaning:meta])+ $kind:ident $(= $code:literal)? { $name:literal, $numbers:expr, $lane:expr $(,)? })+) => {
        /// What a [`Record`] says. The meaning of its three numbers `a`, `b`, `c` stands beside it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$meaning])+ $kind $(= $code)?,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),+];

            fn entry(self) -> Entry {
                match self {
                    $(Kind::$kind => Entry { name: $name, numbers: $numbers, lane: $lane },)+
                }
            }
        }
    };
}

events! {
    /// A role passed the point `label`; a: its occurrence, counted from 1.
    Point = 1 { "point", |r, _| vec![("point", json!(r.label)), ("occurrence", json!(r.a))], |_, _| None }

    /// The director let step a pass (counted from 1). Written by the parent, on behalf of the role.
    Step { "step", |r, _| vec![("step", json!(r.a))], |_, _| None }

    /// Step a waits: b is a [`Waiting`], c the address it waits for.
    Refused {
        "refused",
        |r, s| {
            let waiting = Waiting::from_u8(r.b as u8).map(Waiting::name);
            let lock = (r.b == Waiting::Lock as u64).then(|| s.objects.lock(r.c, s.at));
            vec![("step", json!(r.a)), ("waiting_for", json!(waiting)), ("object", json!(lock))]
        },
        |r, s| {
            let waiting = Waiting::from_u8(r.b as u8)?;
            let holder = match waiting {
                Waiting::Lock => s.holder(r.c),
                Waiting::Thread => Some(r.c as usize),
                _ => None,
            };
            Some(waiting.named(r.c, holder, s.roles, s.objects, s.at))
        },
    }

    /// `epoll_wait(2)` gave a events.
    Wait {
        "epoll_wait",
        |r, _| vec![("count", json!(r.a))],
        |r, _| (r.a == 0).then(|| "epoll_wait: no event".to_string()),
    }

    /// One of them; a: its token, b: its event mask.
    Ready {
        "ready",
        |r, s| {
            vec![("token", json!(r.a as i64)), ("object", json!(s.objects.token(r.a, s.at))), ("events", bits(r.b))]
        },
        |r, s| {
            let source = s.objects.token(r.a, s.at);
            Some(match source.as_str() {
                "listener" | "stop" | "limit" => format!("epoll_wait: {source}"),
                _ => format!("epoll_wait: {source} {}", mask(r.b)),
            })
        },
    }

    /// `accept4(2)` gave the socket a.
    Accept { "accept", |r, _| vec![("fd", json!(r.a))], |r, _| Some(format!("accept fd {}", r.a)) }

    /// `read(2)` on fd a gave b (bytes, or a negated errno).
    Read {
        "read",
        |r, _| vec![("fd", json!(r.a)), result(r.b)],
        |r, s| Some(match r.b as i64 {
            0 => format!("read{}: end of stream", s.fd("from")),
            n @ 1.. => format!("read {}{}", count(n as u64, "byte"), s.fd("from")),
            error => format!("read{}: {}", s.fd("from"), errno(-error as i32)),
        }),
    }

    /// `write(2)` on fd a gave b (bytes, or a negated errno).
    Write {
        "write",
        |r, _| vec![("fd", json!(r.a)), result(r.b)],
        |r, s| Some(match r.b as i64 {
            n @ 0.. => format!("write {}{}", count(n as u64, "byte"), s.fd("to")),
            error => format!("write{}: {}", s.fd("to"), errno(-error as i32)),
        }),
    }

    /// `shutdown(2)` of fd a.
    Shutdown { "shutdown", |r, _| vec![("fd", json!(r.a))], |r, _| Some(format!("shut down fd {}", r.a)) }

    /// `epoll_ctl(2)` ADD of fd a, with token b and event mask c.
    Add { "epoll_add", |r, _| interest(r), |_, _| None }

    /// `epoll_ctl(2)` MOD of fd a, with token b and event mask c.
    Modify {
        "epoll_modify",
        |r, _| interest(r),
        |r, _| Some(match r.c {
            c if c & (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP) as u64 == 0 => {
                format!("watch fd {} for a break", r.a)
            }
            c if c & libc::EPOLLONESHOT as u64 != 0 => format!("re-arm fd {}", r.a),
            _ => format!("modify fd {}", r.a),
        }),
    }

    /// fd a was closed.
    Close { "close", |r, _| vec![("fd", json!(r.a))], |r, _| Some(format!("close fd {}", r.a)) }

    /// A task was queued; a: what it names (an address, or a number), b: tasks in the queue after it.
    Push { "push", task, |r, s| Some(format!("queue {}", s.objects.task(r.a, s.at))) }

    /// A task was taken; a and b as in `Push`.
    Pop { "pop", task, |r, s| Some(format!("take {}", s.objects.task(r.a, s.at))) }

    /// Memory was allocated at a, b bytes, for a `label`; c is 1 if it has pages of its own.
    Alloc {
        "allocate",
        |r, s| vec![s.block(), ("address", json!(address(r.a))), ("size", json!(r.b)), ("own_pages", json!(r.c == 1))],
        |r, s| is_of_interest(r.label).then(|| format!("allocate {}", s.objects.name(r.a, s.at))),
    }

    /// The memory at a is given back.
    Free {
        "free",
        |r, s| vec![s.block(), ("address", json!(address(r.a))), ("size", json!(r.b))],
        |r, s| is_of_interest(r.label).then(|| {
            let again = if s.is_freed() { " again" } else { "" };
            format!("free {}{again}", s.objects.name(r.a, s.at))
        }),
    }

    /// The memory at a is about to be used through a raw pointer.
    Use {
        "use",
        |r, s| vec![s.block(), ("address", json!(address(r.a)))],
        |r, s| s.is_freed().then(|| format!("use {}", s.objects.name(r.a, s.at))),
    }

    /// The owners of the shared memory at a are now b.
    ReferenceCount {
        "owners",
        |r, s| vec![s.block(), ("address", json!(address(r.a))), ("owners", json!(r.b))],
        |r, s| s.tells_of_a_share().then(|| {
            format!("give up {}: {} left", s.objects.name(r.a, s.at), count(r.b, "owner"))
        }),
    }

    /// The lock at a is taken.
    Lock { "lock", lock, |r, s| Some(format!("lock {}", s.objects.locked(r.a, s.at))) }

    /// The lock at a is given back.
    Unlock {
        "unlock",
        lock,
        |r, s| {
            s.is_waited_for().then(|| format!("unlock {}", s.objects.locked(r.a, s.at)))
        },
    }

    /// A thread began.
    Begin { "begin", |_, _| vec![], |_, _| None }

    /// A thread came to its end.
    End { "end", |_, _| vec![], |_, _| None }

    /// The client connected; a: its own port.
    ClientConnect { "client_connect", |r, _| vec![("port", json!(r.a))], |_, _| Some("connect".to_string()) }

    /// The client sent a bytes; b: all it has sent.
    ClientSend { "client_send", bytes, |r, _| Some(format!("send {}", count(r.a, "byte"))) }

    /// The client closed its sending side.
    ClientFin { "client_fin", |_, _| vec![], |_, _| Some("FIN".to_string()) }

    /// The client broke the connection off with an RST.
    ClientReset { "client_reset", |_, _| vec![], |_, _| Some("RST".to_string()) }

    /// The client received a bytes; b: all it has received.
    ClientReceive { "client_receive", bytes, |r, _| Some(format!("receive {}", count(r.a, "byte"))) }

    /// The client saw the end of the stream: a is 0, or an errno.
    ClientEnd {
        "client_end",
        |r, _| vec![("error", json!((r.a != 0).then(|| errno(r.a as i32))))],
        |r, _| Some(if r.a == 0 { "end of stream".to_string() } else { errno(r.a as i32) }),
    }

    /// Nobody can move any more: the client is owed a replies, and b bytes wait in the server's socket. Written by the
    /// parent.
    Hang {
        "hang",
        |r, _| vec![("owed", json!(r.a)), ("unread", json!(r.b))],
        |r, _| Some(match r.a {
            1 => "waits for its reply".to_string(),
            replies => format!("waits for {} replies", thousands(replies)),
        }),
    }

    /// `accept4(2)` on the listener a found nobody (`EAGAIN`). Only where the wake-ups are what it is about.
    AcceptEagain {
        "accept",
        |_, _| vec![("fd", Value::Null), ("error", json!(errno(libc::EAGAIN)))],
        |_, _| Some("accept: EAGAIN".to_string()),
    }

    /// The flag at a was looked at, and had the value b (0 or 1).
    AtomicLoad {
        "look",
        flag,
        |r, _| Some(format!("look at the flag: {}", if r.b == 1 { "set" } else { "not set" })),
    }

    /// The flag at a got the value b (0 or 1).
    AtomicStore {
        "set",
        flag,
        |r, _| Some(if r.b == 1 { "set the flag".to_string() } else { "clear the flag".to_string() }),
    }

    /// The condition variable at a: the thread gives its lock back, and sleeps until it is notified.
    Sleep {
        "sleep",
        |r, _| vec![("address", json!(address(r.a)))],
        |r, s| Some(format!("sleep in {}", s.objects.variable(r.a, s.at))),
    }

    /// The condition variable at a: the thread was notified, and has its lock again; b is 1 if instead its time was
    /// over.
    Woken {
        "woken",
        |r, _| {
            let time_over = (r.b == 1).then_some(("time_over", json!(true)));
            [("address", json!(address(r.a)))].into_iter().chain(time_over).collect()
        },
        |r, _| Some(if r.b == 1 { "its time is over".to_string() } else { "woken".to_string() }),
    }

    /// The condition variable at a was notified; b: how many threads slept in it, where that is known (a directed run),
    /// c is 1 if all of them are woken, and 0 for one.
    Notify {
        "notify",
        |r, _| {
            let slept = (r.b != u64::MAX).then_some(r.b);
            vec![("address", json!(address(r.a))), ("slept", json!(slept)), ("all", json!(r.c == 1))]
        },
        |r, _| Some(match r.b {
            u64::MAX => "notify who sleeps".to_string(),
            0 => "notify: nobody sleeps".to_string(),
            asleep => format!("notify: {} of {asleep} asleep", if r.c == 1 { asleep } else { 1 }),
        }),
    }

    /// The server was told to stop. Written by the parent.
    Stop { "stop", |_, _| vec![], |_, _| Some("tells the server to stop".to_string()) }

    /// fd a was given up before its client had all that it was owed: b bytes of the client were without an answer, c
    /// replies not written.
    ForcedClose {
        "cut",
        |r, _| vec![("fd", json!(r.a)), ("unanswered", json!(r.b)), ("replies", json!(r.c))],
        |r, _| Some(format!("cut fd {}", r.a)),
    }

    /// Nobody can move any more after the server was told to stop. Written by the parent, on behalf of the role that
    /// waits.
    Stuck {
        "stuck",
        |r, s| vec![("other", json!(role_name(s.roles, r.a as usize)))],
        |r, s| Some(format!("waits for the end of {}", role_name(s.roles, r.a as usize))),
    }
}

impl Kind {
    /// The inverse of `as u8`.
    pub fn from_u8(value: u8) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| *kind as u8 == value)
    }

    /// Whether it says what a thread of the server did, and not where it stood.
    pub fn is_a_deed(self) -> bool {
        !matches!(self, Kind::Step | Kind::Point | Kind::Refused)
    }
}

impl Record {
    /// What it is about.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        use Kind::*;
        let [first, second] = match self.kind {
            Accept | AcceptEagain | Read | Write | Shutdown | Close | ForcedClose => [Some(Object::Fd(self.a)), None],
            Add | Modify => [Some(Object::Fd(self.a)), Some(Object::Token(self.b))],
            Ready => [Some(Object::Token(self.a)), None],
            Push | Pop => [Some(Object::Queue), None],
            Alloc | Free | Use | ReferenceCount | Lock | Unlock | AtomicLoad | AtomicStore | Sleep | Woken | Notify => {
                [Some(Object::Memory(self.a)), None]
            }
            Point | Step | Refused | Wait | Begin | End | ClientConnect | ClientSend | ClientFin | ClientReset
            | ClientReceive | ClientEnd | Hang | Stop | Stuck => [None, None],
        };
        first.into_iter().chain(second)
    }
}

impl Seen<'_> {
    fn record(&self) -> &Record {
        &self.records[self.at]
    }

    /// Its name and its numbers in the trace.
    pub fn json(&self) -> (&'static str, Vec<(&'static str, Value)>) {
        let entry = self.record().kind.entry();
        (entry.name, (entry.numbers)(self.record(), self))
    }

    /// What it looks like in a lane; `None` if it is not to be seen there.
    pub fn lane(&self) -> Option<String> {
        (self.record().kind.entry().lane)(self.record(), self)
    }

    /// ` from fd 6`, where there is more than one connection.
    fn fd(&self, preposition: &str) -> String {
        match self.objects.many_connections {
            true => format!(" {preposition} fd {}", self.record().a),
            false => String::new(),
        }
    }

    /// The name of the block at `a`.
    fn block(&self) -> (&'static str, Value) {
        ("object", json!(self.objects.block(self.record().a, self.at).map(|block| block.name.as_str())))
    }

    /// Whether the block at `a` had been freed before.
    fn is_freed(&self) -> bool {
        let block = self.objects.block(self.record().a, self.at);
        block.is_some_and(|block| block.freed.iter().any(|free| *free < self.at))
    }

    /// The role that has taken the lock at this address and not given it back.
    fn holder(&self, address: u64) -> Option<usize> {
        let of_it = |record: &&Record| matches!(record.kind, Kind::Lock | Kind::Unlock) && record.a == address;
        let last = self.records[..self.at].iter().rev().find(of_it)?;
        (last.kind == Kind::Lock).then_some(last.role)
    }

    /// Whether the change of the number of owners is worth telling: a share is given up by the reactor's map, or
    /// after it.
    fn tells_of_a_share(&self) -> bool {
        let (records, at, record) = (self.records, self.at, self.record());
        let born = self.objects.block(record.a, at).map_or(0, |block| block.allocated);
        let by_the_map = |drop: &usize| (born..=at).contains(drop) && records[*drop].a == record.a;
        gives_up_a_share(record) && self.objects.map_releases.iter().any(by_the_map)
    }

    /// Whether somebody stands at the lock when it is given back.
    fn is_waited_for(&self) -> bool {
        let (records, at, record) = (self.records, self.at, self.record());
        self.objects.refused.iter().filter(|when| **when < at).any(|when| {
            let refused = &records[*when];
            let taken = |got: &Record| got.kind == Kind::Lock && got.a == record.a && got.role == refused.role;
            (refused.b, refused.c) == (Waiting::Lock as u64, record.a) && !records[*when..at].iter().any(taken)
        })
    }
}

/// A new share is recorded without a label.
fn gives_up_a_share(record: &Record) -> bool {
    record.kind == Kind::ReferenceCount && !record.label.is_empty() && is_of_interest(record.label)
}

impl Objects {
    /// What has a name in these records.
    pub fn new(records: &[Record]) -> Objects {
        let mut objects = Objects::default();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let (mut accepted, mut hangs) = (0, false);
        for (at, record) in records.iter().enumerate() {
            if record.role == MAIN && gives_up_a_share(record) {
                objects.map_releases.push(at);
            }
            match record.kind {
                Kind::Refused => objects.refused.push(at),
                Kind::Alloc => {
                    let count = counts.entry(record.label).or_default();
                    *count += 1;
                    objects.blocks.push(Block {
                        name: format!("{} {count}", record.label.to_lowercase()),
                        label: record.label,
                        address: record.a,
                        size: record.b,
                        own_pages: record.c == 1,
                        allocated: at,
                        freed: Vec::new(),
                    });
                }
                Kind::Free => {
                    if let Some(block) = objects.blocks.iter_mut().rev().find(|block| block.address == record.a) {
                        block.freed.push(at);
                    }
                }
                Kind::Lock if objects.block(record.a, at).is_none() && !objects.locks.contains(&record.a) => {
                    objects.locks.push(record.a);
                }
                Kind::Add => objects.tokens.push((at, record.b, record.a)),
                // Who connects after a hang is of the lab.
                Kind::Accept if !hangs => accepted += 1,
                Kind::Hang => hangs = true,
                _ => {}
            }
        }
        objects.many_connections = accepted > 1;
        objects
    }
}

/// What a call gave: its bytes, or the name of its error.
fn result(bytes: u64) -> (&'static str, Value) {
    match bytes as i64 {
        n @ 0.. => ("bytes", json!(n)),
        error => ("error", json!(errno(-error as i32))),
    }
}

fn bits(bits: u64) -> Value {
    json!(mask(bits & 0xff_ffff))
}

fn interest(r: &Record) -> Vec<(&'static str, Value)> {
    let one_shot = r.c & libc::EPOLLONESHOT as u64 != 0;
    let edge = r.c & libc::EPOLLET as u32 as u64 != 0;
    let exclusive = r.c & libc::EPOLLEXCLUSIVE as u64 != 0;
    vec![
        ("fd", json!(r.a)),
        ("token", json!(r.b as i64)),
        ("events", bits(r.c)),
        ("edge_triggered", json!(edge)),
        ("one_shot", json!(one_shot)),
        ("exclusive", json!(exclusive)),
    ]
}

fn task(r: &Record, s: &Seen<'_>) -> Vec<(&'static str, Value)> {
    vec![("object", json!(s.objects.task(r.a, s.at))), ("queued", json!(r.b))]
}

fn lock(r: &Record, s: &Seen<'_>) -> Vec<(&'static str, Value)> {
    vec![("address", json!(address(r.a))), ("object", json!(s.objects.lock(r.a, s.at)))]
}

fn bytes(r: &Record, _: &Seen<'_>) -> Vec<(&'static str, Value)> {
    vec![("bytes", json!(r.a)), ("total", json!(r.b))]
}

fn flag(r: &Record, _: &Seen<'_>) -> Vec<(&'static str, Value)> {
    vec![("address", json!(address(r.a))), ("set", json!(r.b == 1))]
}

/// Makes [`Waiting`] and what is said of each reason of one list.
macro_rules! reasons {
    ($($(#[$meaning:meta])+ $reason:ident $(= $code:literal)? { $name:literal, kernel: $kernel:literal, time: $time:literal, $text:expr })+) => {
        /// What a role that cannot go on is waiting for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Waiting {
            $($(#[$meaning])+ $reason $(= $code)?,)+
        }

        impl Waiting {
            /// All of them.
            pub const ALL: &'static [Waiting] = &[$(Waiting::$reason),+];

            /// Its name in the trace.
            pub fn name(self) -> &'static str {
                match self {
                    $(Waiting::$reason => $name,)+
                }
            }

            /// Whether a packet can end it, and not another thread.
            pub(crate) fn is_for_the_kernel(self) -> bool {
                match self {
                    $(Waiting::$reason => $kernel,)+
                }
            }

            /// Whether it ends by itself, or is no sleep: a thread that waits like that is never proved to hang.
            pub(crate) fn is_for_a_time(self) -> bool {
                match self {
                    $(Waiting::$reason => $time,)+
                }
            }

            /// `waits for bytes on fd 6`: for what is at `address`, and that `holder` has.
            pub fn text(self, address: u64, holder: Option<&str>) -> String {
                let text: fn(u64, Option<&str>) -> String = match self {
                    $(Waiting::$reason => $text,)+
                };
                text(address, holder)
            }
        }
    };
}

reasons! {
    /// A lock that another role holds.
    Lock = 1 {
        "lock", kernel: false, time: false,
        |_, holder| format!("waits for a lock that {} holds", holder.unwrap_or("a thread"))
    }
    /// A task in the queue.
    Task { "task", kernel: false, time: false, |_, _| "waits for a task".to_string() }
    /// An event on an epoll instance.
    Event { "event", kernel: true, time: false, |_, _| "waits for an event".to_string() }
    /// The end of another thread.
    Thread {
        "thread", kernel: false, time: false, |_, holder| format!("waits for the end of {}", holder.unwrap_or("a thread"))
    }
    /// Bytes from the server (the client's side only).
    Reply { "reply", kernel: false, time: false, |_, _| "waits for a reply".to_string() }
    /// A client that connects.
    Connection { "connection", kernel: true, time: false, |_, _| "waits for a connection".to_string() }
    /// Bytes of a client, in a read that blocks.
    Bytes { "bytes", kernel: true, time: false, |fd, _| format!("waits for bytes on fd {fd}") }
    /// Room in a socket, in a write that blocks.
    Room { "room", kernel: true, time: false, |fd, _| format!("waits for room in fd {fd}") }
    /// A notification on a condition variable.
    Notice { "notification", kernel: false, time: false, |_, _| "waits for a notification".to_string() }
    /// A notification on a condition variable, or the end of a time.
    NoticeOrTime {
        "notification or time", kernel: false, time: true, |_, _| "waits for a notification, for a time".to_string()
    }
    /// What another thread does: it has looked in vain, and looks again and again ([`crate::sync::spin_loop`]).
    Turn { "another thread", kernel: false, time: true, |_, _| "spins".to_string() }
}

impl Waiting {
    /// The inverse of `as u8`.
    pub fn from_u8(value: u8) -> Option<Waiting> {
        Waiting::ALL.iter().copied().find(|waiting| *waiting as u8 == value)
    }

    /// `waits for session 1's lock (worker-1 has it)`: the same with the names that things had when record `at` was
    /// made.
    pub fn named(self, address: u64, holder: Option<usize>, roles: &[String], objects: &Objects, at: usize) -> String {
        let holder = holder.map(|role| role_name(roles, role));
        match self {
            Waiting::Lock => {
                let holder = holder.map(|role| format!(" ({role} has it)")).unwrap_or_default();
                format!("waits for {}{holder}", objects.lock(address, at))
            }
            _ => self.text(address, holder),
        }
    }
}

#[cfg(test)]
mod tests;

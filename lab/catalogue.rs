//! The exhibits: what each stage shows, how it must end, and what to say about it.

use crate::server::{Flags, Threads};
use crate::world::heap::Heap;

/// One exhibit.
#[derive(Debug)]
pub struct Stage {
    /// The name of the binary; for a [`Variant`], with its flags.
    pub name: &'static str,
    /// Its number, which is also its chapter's.
    pub chapter: u32,
    /// One line: what this server does wrong, or right.
    pub title: &'static str,
    /// One line: the cause of death, or of survival.
    pub why: &'static str,
    /// How the exhibit must end.
    pub expect: Verdict,
    /// The binary to run after it.
    pub next: &'static str,
    /// The stage's own source.
    pub source: Text,
    /// The built-in schedule, shared with its twin.
    pub schedule: Text,
    /// The heap of a directed run, unless the reader says otherwise.
    pub heap: Heap,
    /// What the client of a wild run does.
    pub wild: Wild,
    /// Which threads it has besides `main`.
    pub threads: Threads,
    /// Whether it can be told to stop while there is work, and takes a limit for that.
    pub drains: bool,
    /// What the socket has lost in the hang that it shows.
    pub lost: Option<Lost>,
    /// Whether `lab caught` puts it under its tools.
    pub caught: bool,
    /// The feature of the package that it is built with.
    pub feature: Option<&'static str>,
    /// The same binary under flags of its own.
    pub variants: &'static [Variant],
}

/// A stage whose own flags make another exhibit of it.
#[derive(Debug)]
pub struct Variant {
    /// What the flags say.
    pub flags: Flags,
    /// What it shows then.
    pub stage: Stage,
}

/// A file of the repository, compiled in.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// From the root of the repository.
    pub path: &'static str,
    /// What is in it.
    pub text: &'static str,
}

/// How an exhibit must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The server dies of this signal; glibc says `text` on stderr first, if it is not empty.
    Signal {
        /// The signal's number.
        signal: i32,
        /// What glibc says.
        text: &'static str,
    },
    /// The server serves its client, counts every byte, and ends when it is told to.
    Serves,
    /// Nobody can move any more, and the client is owed a reply: exit status 1.
    Hangs,
    /// One connection wakes every reactor, and all but one find nobody to accept: exit status 1.
    Herds,
    /// A client gets bytes that were made for another one: exit status 1.
    Misdelivers,
    /// The server is told to stop, and nobody can move any more: exit status 1.
    NeverStops,
    /// Bytes that a client sent before its end are not counted, and not answered: exit status 1.
    Loses,
}

impl Verdict {
    /// Its name for programs.
    pub fn id(self) -> &'static str {
        match self {
            Verdict::Signal { .. } => "signal",
            Verdict::Serves => "serves",
            Verdict::Hangs => "hangs",
            Verdict::Herds => "herds",
            Verdict::Misdelivers => "misdelivers",
            Verdict::NeverStops => "never_stops",
            Verdict::Loses => "loses",
        }
    }
}

/// What a socket that hangs has lost; its place in the interest list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The edge: it is armed, and a new edge needs a new arrival.
    Edge,
    /// The re-arm: no event is asked for.
    Rearm,
}

/// What the client of a wild run does in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wild {
    /// Streams 10 MiB, and breaks the connection off while they are read.
    StreamAndReset,
    /// Uploads 10 MiB as a `POST`, and waits for the reply.
    Upload,
    /// Opens connections one after another, each with a `GET` and its reply, then as many at once.
    Arrivals,
    /// Sends a `GET` in two writes, one right after the other, and waits for the reply.
    InTwoWrites,
    /// Many clients at once, each with a `POST` of a length of its own: some break off, the others check their reply.
    Crowd,
    /// Gets the reply to a `GET`; then the server is told to stop, and must end. Each round has a server of its own.
    Stop,
    /// Sends a `GET` and closes its sending side at once, and waits for the reply.
    LastWords,
}

macro_rules! text {
    ($path:literal) => {
        Text { path: $path, text: include_str!(concat!("../", $path)) }
    };
}

const STAGE1: Stage = Stage {
    name: "stage1_blocking",
    chapter: 1,
    title: "a thread for every connection, and reads that block",
    why: "a read that sleeps holds up nobody but its own client; each client costs a thread",
    expect: Verdict::Serves,
    next: "stage2_reactor",
    source: text!("lab/stages/stage1_blocking.rs"),
    schedule: text!("lab/schedules/stage1.schedule"),
    heap: Heap::Malloc,
    wild: Wild::Upload,
    threads: Threads::PerConnection,
    drains: false,
    lost: None,
    caught: false,
    feature: None,
    variants: &[],
};

const STAGE2: Stage = Stage {
    name: "stage2_reactor",
    chapter: 2,
    title: "one thread, epoll, and reads until EAGAIN",
    why: "an edge is reported once; whoever reads until EAGAIN has left nothing behind it",
    expect: Verdict::Serves,
    next: "stage2_reactor -- --lose-edge",
    source: text!("lab/stages/stage2_reactor.rs"),
    schedule: text!("lab/schedules/stage2.schedule"),
    heap: Heap::Malloc,
    wild: Wild::Upload,
    threads: Threads::None,
    drains: false,
    lost: None,
    caught: false,
    feature: None,
    variants: &[],
};

/// The flags of stage 2, and what each makes of it.
const STAGE2_FLAGS: &[Variant] = &[
    Variant {
        flags: Flags { level: false, once: true, tail: false, reuseport: false },
        stage: Stage {
            name: "stage2_reactor --lose-edge",
            title: "one read an edge, and the edge is lost",
            why: "the edge was reported, one read did not empty the socket, and only a new arrival makes a new edge",
            expect: Verdict::Hangs,
            lost: Some(Lost::Edge),
            next: "stage2_reactor -- --lose-edge --level",
            ..STAGE2
        },
    },
    Variant {
        flags: Flags { level: true, once: true, tail: false, reuseport: false },
        stage: Stage {
            name: "stage2_reactor --lose-edge --level",
            title: "one read a level-triggered event",
            why: "a level is reported for as long as there is something to read, so each event brings the next read",
            next: "stage3_broken",
            ..STAGE2
        },
    },
    Variant {
        flags: Flags { level: true, once: false, tail: false, reuseport: false },
        stage: Stage {
            name: "stage2_reactor --level",
            title: "one thread, epoll level-triggered, and reads until EAGAIN",
            why: "a level is reported for as long as there is something to read; reading until EAGAIN ends it",
            next: "stage2_reactor -- --lose-edge --level",
            ..STAGE2
        },
    },
];

const STAGE3_BROKEN: Stage = Stage {
    name: "stage3_broken",
    chapter: 3,
    title: "sessions are raw pointers, and a hang-up frees them",
    why: "the map gave up the only owner while a task still held a copy of the pointer",
    expect: Verdict::Signal { signal: libc::SIGSEGV, text: "" },
    next: "stage3_fixed",
    source: text!("lab/stages/stage3_broken.rs"),
    schedule: text!("lab/schedules/stage3.schedule"),
    heap: Heap::Pages,
    wild: Wild::StreamAndReset,
    threads: Threads::Workers,
    drains: false,
    lost: None,
    caught: true,
    feature: None,
    variants: &[],
};

const STAGE3_FIXED: Stage = Stage {
    name: "stage3_fixed",
    title: "the map and every task own the session together (Arc)",
    why: "a hang-up takes the session out of the map; the task's share keeps it alive until the worker is done",
    expect: Verdict::Serves,
    next: "stage4_broken",
    source: text!("lab/stages/stage3_fixed.rs"),
    ..STAGE3_BROKEN
};

const STAGE4_BROKEN: Stage = Stage {
    name: "stage4_broken",
    chapter: 4,
    title: "EPOLLONESHOT is taken for a lock, and re-arming opens it early",
    why: "the socket was armed again before the worker had left the session, so a second worker came in",
    expect: Verdict::Signal { signal: libc::SIGABRT, text: "double free or corruption (!prev)" },
    next: "stage4_fixed",
    source: text!("lab/stages/stage4_broken.rs"),
    schedule: text!("lab/schedules/stage4.schedule"),
    heap: Heap::Malloc,
    wild: Wild::Upload,
    threads: Threads::Workers,
    drains: false,
    lost: None,
    caught: true,
    feature: None,
    variants: &[],
};

const STAGE4_FIXED: Stage = Stage {
    name: "stage4_fixed",
    title: "a worker holds the session's lock until it has left (Mutex)",
    why: "the second worker is called just as early, but waits at the lock until the first has left",
    expect: Verdict::Serves,
    next: "stage5_broken",
    source: text!("lab/stages/stage4_fixed.rs"),
    ..STAGE4_BROKEN
};

const STAGE4_HANDOFF: Stage = Stage {
    name: "stage4_handoff",
    title: "no lock: a worker arms the socket as the last thing it does",
    why: "nothing follows the re-arm, so the first worker was out before the kernel could call the second",
    expect: Verdict::Serves,
    next: "stage5_broken",
    source: text!("lab/stages/stage4_handoff.rs"),
    schedule: text!("lab/schedules/stage4_handoff.schedule"),
    ..STAGE4_BROKEN
};

const STAGE5_BROKEN: Stage = Stage {
    name: "stage5_broken",
    chapter: 5,
    title: "the descriptor's number is taken for the client's name",
    why: "the number was closed and given to the next client, and the worker's late look-up found that one",
    expect: Verdict::Misdelivers,
    next: "stage5_fixed",
    source: text!("lab/stages/stage5_broken.rs"),
    schedule: text!("lab/schedules/stage5.schedule"),
    heap: Heap::Malloc,
    wild: Wild::Crowd,
    threads: Threads::Workers,
    drains: false,
    lost: None,
    caught: true,
    feature: None,
    variants: &[],
};

const STAGE5_FIXED: Stage = Stage {
    name: "stage5_fixed",
    title: "a key is a slot and its generation, and means one client only",
    why: "the slot was given to the next client under another generation, so the worker's old key found nobody",
    expect: Verdict::Serves,
    next: "stage6_broken",
    source: text!("lab/stages/stage5_fixed.rs"),
    ..STAGE5_BROKEN
};

const STAGE6_BROKEN: Stage = Stage {
    name: "stage6_broken",
    chapter: 6,
    title: "an early return skips the re-arm: one client hangs",
    why: "a one-shot event switches the socket off; the worker left before it had armed it again, so nothing can come",
    expect: Verdict::Hangs,
    next: "stage6_fixed",
    source: text!("lab/stages/stage6_broken.rs"),
    schedule: text!("lab/schedules/stage6.schedule"),
    heap: Heap::Malloc,
    wild: Wild::InTwoWrites,
    threads: Threads::Workers,
    drains: false,
    lost: Some(Lost::Rearm),
    caught: true,
    feature: None,
    variants: &[],
};

const STAGE6_FIXED: Stage = Stage {
    name: "stage6_fixed",
    title: "a guard re-arms, whichever way a worker leaves (Drop)",
    why: "the same early return dropped the guard, so the socket was armed again before the lock was given back",
    expect: Verdict::Serves,
    next: "stage7_broken",
    source: text!("lab/stages/stage6_fixed.rs"),
    ..STAGE6_BROKEN
};

const STAGE7_BROKEN: Stage = Stage {
    name: "stage7_broken",
    chapter: 7,
    title: "told to stop between a worker's look and its sleep",
    why: "the flag was set without the lock of those who look at it, so the notification came before the worker slept",
    expect: Verdict::NeverStops,
    next: "stage7_broken -- --tail",
    source: text!("lab/stages/stage7_broken.rs"),
    schedule: text!("lab/schedules/stage7.schedule"),
    heap: Heap::Malloc,
    wild: Wild::Stop,
    threads: Threads::Workers,
    drains: true,
    lost: None,
    caught: true,
    feature: None,
    variants: &[],
};

/// The other half of stage 7: the same server, and a client that has said all it had to say.
const STAGE7_BROKEN_TAIL: &[Variant] = &[Variant {
    flags: Flags { tail: true, level: false, once: false, reuseport: false },
    stage: Stage {
        name: "stage7_broken --tail",
        title: "a hang-up is obeyed before the bytes in front of it are read",
        why: "input and its end came as one event, and the reactor closed the socket with the bytes still in it",
        expect: Verdict::Loses,
        next: "stage7_fixed",
        schedule: text!("lab/schedules/stage7-tail.schedule"),
        wild: Wild::LastWords,
        ..STAGE7_BROKEN
    },
}];

const STAGE7_FIXED: Stage = Stage {
    name: "stage7_fixed",
    title: "told to stop under the lock; last bytes read first",
    why: "the order to stop waited for the lock that the worker held until it slept, so the notification found it",
    expect: Verdict::Serves,
    next: "stage7_fixed -- --tail",
    source: text!("lab/stages/stage7_fixed.rs"),
    ..STAGE7_BROKEN
};

const STAGE7_FIXED_TAIL: &[Variant] = &[Variant {
    flags: Flags { tail: true, level: false, once: false, reuseport: false },
    stage: Stage {
        name: "stage7_fixed --tail",
        title: "what has come is read first, and then the end of it",
        why: "the event was a turn like any other: a worker read what was there, answered it, and only then came the end",
        next: "stage8_broken",
        schedule: text!("lab/schedules/stage7-tail.schedule"),
        wild: Wild::LastWords,
        ..STAGE7_FIXED
    },
}];

const STAGE8_FIXED: Stage = Stage {
    name: "stage8_fixed",
    chapter: 8,
    title: "the listener is waited for with EPOLLEXCLUSIVE",
    why: "of the instances that wait exclusively the kernel wakes one that sleeps, and goes on only past those that do not",
    expect: Verdict::Serves,
    next: "stage8_fixed -- --reuseport",
    source: text!("lab/stages/stage8_fixed.rs"),
    schedule: text!("lab/schedules/stage8.schedule"),
    heap: Heap::Malloc,
    wild: Wild::Arrivals,
    threads: Threads::Reactors,
    drains: false,
    lost: None,
    caught: false,
    feature: None,
    variants: &[],
};

/// The flag of stage 8, and what it makes of it.
const STAGE8_FLAGS: &[Variant] = &[Variant {
    flags: Flags { level: false, once: false, tail: false, reuseport: true },
    stage: Stage {
        name: "stage8_fixed --reuseport",
        title: "a listener for each reactor, on one port (SO_REUSEPORT)",
        why: "the kernel gives the connection to one listener, and one reactor alone waits there",
        next: "lab -- list",
        threads: Threads::Shards,
        ..STAGE8_FIXED
    },
}];

const STAGE8_BROKEN: Stage = Stage {
    name: "stage8_broken",
    title: "every reactor waits for the one listener",
    why: "each instance has its own place in the listener's wait queue, and a connection wakes everybody in it",
    expect: Verdict::Herds,
    next: "stage8_fixed",
    source: text!("lab/stages/stage8_broken.rs"),
    ..STAGE8_FIXED
};

const STAGE9: Stage = Stage {
    name: "stage9_sharded",
    chapter: 9,
    title: "a reactor for every core, and nothing between them",
    why: "no client ever meets a second thread, so there is nothing to lock, to queue or to arm again",
    expect: Verdict::Serves,
    next: "stage10_uring",
    source: text!("lab/stages/stage9_sharded.rs"),
    schedule: text!("lab/schedules/stage9.schedule"),
    heap: Heap::Malloc,
    wild: Wild::Upload,
    threads: Threads::Shards,
    drains: false,
    lost: None,
    caught: false,
    feature: None,
    variants: &[],
};

const STAGE10: Stage = Stage {
    name: "stage10_uring",
    chapter: 10,
    title: "a reactor for every core, on io_uring instead of epoll",
    why: "memory, socket and place of a request stay until its last answer has come, so no answer can meet a stranger",
    expect: Verdict::Serves,
    next: "lab -- list",
    source: text!("lab/stages/stage10_uring.rs"),
    schedule: text!("lab/schedules/stage10.schedule"),
    heap: Heap::Malloc,
    wild: Wild::Upload,
    threads: Threads::Shards,
    drains: false,
    lost: None,
    caught: false,
    feature: Some("uring"),
    variants: &[],
};

/// The stages, in the order of the book.
pub static STAGES: &[Stage] = &[
    STAGE1,
    Stage { variants: STAGE2_FLAGS, ..STAGE2 },
    STAGE3_BROKEN,
    STAGE3_FIXED,
    STAGE4_BROKEN,
    STAGE4_FIXED,
    STAGE4_HANDOFF,
    STAGE5_BROKEN,
    STAGE5_FIXED,
    STAGE6_BROKEN,
    STAGE6_FIXED,
    Stage { variants: STAGE7_BROKEN_TAIL, ..STAGE7_BROKEN },
    Stage { variants: STAGE7_FIXED_TAIL, ..STAGE7_FIXED },
    STAGE8_BROKEN,
    Stage { variants: STAGE8_FLAGS, ..STAGE8_FIXED },
    STAGE9,
    STAGE10,
];

/// All exhibits: each stage, and after it what its flags make of it.
pub fn exhibits() -> impl Iterator<Item = &'static Stage> {
    STAGES.iter().flat_map(|stage| std::iter::once(stage).chain(stage.variants.iter().map(|variant| &variant.stage)))
}

/// What to type to run an exhibit: a binary's name, with its flags.
pub fn command(exhibit: &str) -> String {
    let program = exhibit.split(' ').next().unwrap_or_default();
    let feature = find(program).and_then(|stage| stage.feature);
    let feature = feature.map(|feature| format!("--features {feature} ")).unwrap_or_default();
    format!("cargo run {feature}--bin {exhibit}")
}

/// The stage of that name.
pub fn find(name: &str) -> Option<&'static Stage> {
    STAGES.iter().find(|stage| stage.name == name)
}

/// The entry of a program of the reader's own: that of the first stage with its number, under its name. `stage3_mine`
/// is judged as `stage3_broken` is.
pub fn as_another(name: &str) -> Option<&'static Stage> {
    let (number, _) = name.strip_prefix("stage")?.split_once('_')?;
    let chapter: u32 = number.parse().ok()?;
    let stage = STAGES.iter().find(|stage| stage.chapter == chapter)?;
    // Its text is not here to be looked at.
    let source = Text { path: stage.source.path, text: "" };
    // One for the life of the program.
    Some(Box::leak(Box::new(Stage { name: Box::leak(name.into()), source, ..*stage })))
}

impl Stage {
    /// The exhibit that these flags make of it.
    pub fn with_flags(&'static self, flags: Flags) -> &'static Stage {
        self.variants.iter().find(|variant| variant.flags == flags).map_or(self, |variant| &variant.stage)
    }

    /// The binary.
    pub fn program(&self) -> &'static str {
        self.name.split(' ').next().unwrap_or_default()
    }

    /// The flags of the binary that make this exhibit of it.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        self.name.split(' ').skip(1)
    }

    /// Its name as a file's: `stage7_fixed_tail` for `stage7_fixed --tail`.
    pub fn file_name(&self) -> String {
        self.name.replace(" --", "_").replace('-', "_")
    }

    /// The stage that is this one with its bug mended; `None` for one without.
    pub fn twin(&self) -> Option<&'static Stage> {
        let fixed = self.name.replace("_broken", "_fixed");
        exhibits().find(|stage| fixed != self.name && stage.name == fixed)
    }

    /// The names of the points in this stage: those in its source, `free`, at which a buffer's drop stands,
    /// and with several reactors `woken`, at the end of a wait. Empty where the source is not known: that of a reader's own program.
    pub fn points(&self) -> Vec<&'static str> {
        if self.source.text.is_empty() {
            return Vec::new();
        }
        let named = self.source.text.split("point(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let several = matches!(self.threads, Threads::Reactors | Threads::Shards);
        let mut points: Vec<_> = named.chain(["free"]).chain(several.then_some("woken")).collect();
        points.sort_unstable();
        points.dedup();
        points
    }
}

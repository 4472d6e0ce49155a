//! The exhibits: what each stage shows, how it must end, and what to say about it.

use crate::heap::Heap;

/// One exhibit.
#[derive(Debug)]
pub struct Stage {
    /// The name of the binary.
    pub name: &'static str,
    /// Its number, which is also its chapter's.
    pub chapter: u32,
    /// One line: what this server does wrong, or right.
    pub title: &'static str,
    /// One line: the cause of death, or of survival.
    pub why: &'static str,
    /// How the exhibit must end.
    pub expect: Expect,
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
pub enum Expect {
    /// The server dies of this signal; glibc says `text` on stderr first, if it is not empty.
    Signal {
        /// The signal's number.
        signal: i32,
        /// What glibc says.
        text: &'static str,
    },
    /// The server serves its client, counts every byte, and ends when it is told to.
    Serves,
}

/// What the client of a wild run does in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wild {
    /// Streams 10 MiB, and breaks the connection off while they are read.
    StreamAndReset,
    /// Uploads 10 MiB as a `POST`, and waits for the reply.
    Upload,
}

macro_rules! text {
    ($path:literal) => {
        Text { path: $path, text: include_str!(concat!("../", $path)) }
    };
}

/// The stages, in the order of the book.
pub static STAGES: &[Stage] = &[
    Stage {
        name: "stage3_broken",
        chapter: 3,
        title: "sessions are raw pointers, and a hang-up frees them",
        why: "the map gave up the only owner while a task still held a copy of the pointer",
        expect: Expect::Signal { signal: libc::SIGSEGV, text: "" },
        next: "stage3_fixed",
        source: text!("lab/stages/stage3_broken.rs"),
        schedule: text!("lab/schedules/stage3.schedule"),
        heap: Heap::Pages,
        wild: Wild::StreamAndReset,
    },
    Stage {
        name: "stage3_fixed",
        chapter: 3,
        title: "the map and every task own the session together (Arc)",
        why: "a hang-up takes the session out of the map; the task's share keeps it alive until the worker is done",
        expect: Expect::Serves,
        next: "stage4_broken",
        source: text!("lab/stages/stage3_fixed.rs"),
        schedule: text!("lab/schedules/stage3.schedule"),
        heap: Heap::Pages,
        wild: Wild::StreamAndReset,
    },
    Stage {
        name: "stage4_broken",
        chapter: 4,
        title: "EPOLLONESHOT is taken for a lock, and re-arming opens it early",
        why: "the socket was armed again before the worker had left the session, so a second worker came in",
        expect: Expect::Signal { signal: libc::SIGABRT, text: "double free or corruption (!prev)" },
        next: "stage4_fixed",
        source: text!("lab/stages/stage4_broken.rs"),
        schedule: text!("lab/schedules/stage4.schedule"),
        heap: Heap::Malloc,
        wild: Wild::Upload,
    },
    Stage {
        name: "stage4_fixed",
        chapter: 4,
        title: "a worker holds the session's lock until it has left (Mutex)",
        why: "the second worker is called just as early, but waits at the lock until the first has left",
        expect: Expect::Serves,
        next: "lab -- list",
        source: text!("lab/stages/stage4_fixed.rs"),
        schedule: text!("lab/schedules/stage4.schedule"),
        heap: Heap::Malloc,
        wild: Wild::Upload,
    },
];

/// The stage of that name.
pub fn find(name: &str) -> Option<&'static Stage> {
    STAGES.iter().find(|stage| stage.name == name)
}

impl Stage {
    /// The names of the points in this stage: those in its source, and `free`, at which a buffer's drop stands.
    pub fn points(&self) -> Vec<&'static str> {
        let named = self.source.text.split("point(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let mut points: Vec<_> = named.chain(["free"]).collect();
        points.sort_unstable();
        points.dedup();
        points
    }
}

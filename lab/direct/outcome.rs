//! What the black box held, and what the parent saw, put together after a run.

use super::client::{ClientTotals, Misdelivery};
use crate::catalogue::{Stage, Verdict};
use crate::direct::quiescence::{Proof, Sleeper};
use crate::record::blackbox::{Blackbox, Fault, ServedCounts};
use crate::record::event::{Record, Waiting};
use crate::record::wakeups::Herd;
use crate::world::heap::Heap;

/// Everything that is known about one run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exhibit.
    pub stage: &'static Stage,
    /// The steps of the schedule and what became of them; empty when nobody directed.
    pub steps: Vec<Step>,
    /// Which heap the server used.
    pub heap: Heap,
    /// The names of the roles; records name them by their index.
    pub roles: Vec<String>,
    /// What the box held.
    pub records: Vec<Record>,
    /// How many older records had been overwritten.
    pub dropped: u64,
    /// What the server's fault handler stored.
    pub fault: Option<Fault>,
    /// How the server ended.
    pub ending: Ending,
    /// What the server's process wrote to stderr: glibc's last words, a panic.
    pub stderr: String,
    /// What the server counted.
    pub served: Option<ServedCounts>,
    /// What the client did.
    pub client: ClientTotals,
    /// Milliseconds from the start of the server's process to its end.
    pub millis: f64,
    /// What its reactors counted, where several share a port.
    pub herd: Herd,
    /// What was shown of it beyond how it ended, if anything was.
    pub evidence: Option<Evidence>,
}

/// What a verdict rests on that the director, the kernel or a client has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The server was told to stop after it.
    Hangs(Hang),
    /// The server was killed after it.
    NeverStops(Stuck),
    /// The server was told to stop after it.
    Misdelivers(Misdelivery),
    /// What a client lost.
    Loses(Loss),
}

impl Evidence {
    /// The verdict that it is the evidence for.
    pub fn verdict(&self) -> Verdict {
        match self {
            Evidence::Hangs(_) => Verdict::Hangs,
            Evidence::NeverStops(_) => Verdict::NeverStops,
            Evidence::Misdelivers(_) => Verdict::Misdelivers,
            Evidence::Loses(_) => Verdict::Loses,
        }
    }
}

/// A server that was told to stop, and in which nobody can move any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// What each thread of the server does: its name, and for what it waits.
    pub doing: Vec<(String, String)>,
    /// Who waits for whose end: two roles.
    pub joins: Option<(usize, usize)>,
    /// What the kernel says of its threads, once nobody directs any more; the first one is `main`.
    pub asleep: Vec<Sleeper>,
}

/// A client that did not get what it is owed: its stream ended before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The role of the client.
    pub client: usize,
    /// Replies that it is owed and did not get.
    pub owed: u64,
    /// How its stream ended: in order (0), or the number of the error.
    pub error: i32,
    /// Whether it had closed its sending side, in order.
    pub closed: bool,
}

/// A hang: nobody can move, and a client is owed a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hang {
    /// The session that waits: of the how-manieth connection; 0 if nobody has accepted it.
    pub session: u64,
    /// Its descriptor in the server.
    pub fd: u64,
    /// Bytes that wait in its socket and that nobody reads: what FIONREAD says there.
    pub unread: u64,
    /// Replies that the client is owed.
    pub owed: u64,
    /// What each thread of the server does: its name, and for what it waits.
    pub doing: Vec<(String, String)>,
    /// What the kernel says of it, once nobody directs any more.
    pub proof: Option<Proof>,
    /// Whether another client, who came then, was served.
    pub serves_another: bool,
}

impl Run {
    /// What the box of a server tells of its run, once that is over. Who directed it adds the rest.
    pub fn of(blackbox: &Blackbox, stage: &'static Stage, heap: Heap, ending: Ending) -> Run {
        Run {
            stage,
            steps: Vec::new(),
            heap,
            roles: blackbox.roles(),
            records: blackbox.records(),
            dropped: blackbox.dropped(),
            fault: blackbox.fault(),
            ending,
            stderr: String::new(),
            served: blackbox.served(),
            client: ClientTotals::default(),
            herd: blackbox.herd(),
            evidence: None,
            millis: 0.0,
        }
    }
}

/// One step of a schedule.
#[derive(Clone, Debug)]
pub struct Step {
    /// Who, by name.
    pub role: String,
    /// The rest of its line: `read 2`, `send 16384`.
    pub what: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed in its place.
    Passed,
    /// Its role could not go on, because it waited for something; it passed later, before step `before`
    /// (counted from 1), or after all of them.
    Refused {
        /// For what.
        waiting: Waiting,
        /// The address of it: a lock's.
        address: u64,
        /// The role that held it, where there is one.
        holder: Option<usize>,
    },
    /// Its role waited since an earlier step that was refused; it passed later.
    HeldBack,
    /// It never came; what its role was doing instead.
    Unmet(String),
    /// The server had died before.
    NotReached,
}

/// How the server's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By this signal.
    Signal(i32),
    /// By itself, with this exit code.
    Exit(i32),
}

#[cfg(test)]
mod tests;

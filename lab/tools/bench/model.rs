//! What is measured, and what comes of it.

use std::net::SocketAddr;
use std::ops::AddAssign;

use anyhow::Result;

use super::foreign::Foreign;
use super::system::{self, Cpu, Memory, Source};
use crate::tools::cost::Server;

/// How a client works.
#[derive(Clone, Copy)]
pub struct Work {
    pub connections: usize,
    pub threads: usize,
    pub pipeline: usize,
}

/// A server that runs.
pub struct Live {
    pub address: SocketAddr,
    pub pid: Option<u32>,
    pub process: Process,
}

/// Who runs a server.
pub enum Process {
    /// A stage of ours.
    Stage(Server),
    /// A program of the reader's that we have started.
    Foreign(Foreign),
    /// Somebody else: it goes on.
    Elsewhere,
}

impl Live {
    pub fn end(self) -> Result<()> {
        match self.process {
            Process::Stage(server) => server.stop(),
            Process::Foreign(server) => {
                drop(server);
                Ok(())
            }
            Process::Elsewhere => Ok(()),
        }
    }

    pub fn cpu(&self) -> Result<Option<Cpu>> {
        self.pid.map(system::cpu_seconds).transpose()
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Wrk,
    Embedded,
}

impl Client {
    pub fn name(self) -> &'static str {
        match self {
            Client::Wrk => "wrk",
            Client::Embedded => "embedded",
        }
    }
}

/// What went wrong, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Connections that could not be opened.
    pub connect: u64,
    /// Connections that broke off.
    pub lost: u64,
    /// Replies that took longer than 2 s.
    pub late: u64,
    /// Replies whose status is not 200 (wrk: not below 400).
    pub status: u64,
    /// Replies with another body than the first one's.
    pub body: u64,
}

impl AddAssign for Errors {
    fn add_assign(&mut self, more: Errors) {
        self.connect += more.connect;
        self.lost += more.lost;
        self.late += more.late;
        self.status += more.status;
        self.body += more.body;
    }
}

impl Errors {
    pub fn total(self) -> u64 {
        self.connect + self.lost + self.late + self.status + self.body
    }
}

/// What one run of a client gave.
#[derive(Clone, Debug)]
pub struct Load {
    /// Replies within the time.
    pub requests: u64,
    /// With those that came afterwards.
    pub answered: u64,
    pub seconds: f64,
    /// In microseconds: the quantiles of [`QUANTILES`], and the longest; `None` for what the client does not know.
    pub latency: [Option<u64>; 5],
    pub errors: Errors,
    /// Replies whose body was compared.
    pub checked: u64,
    /// The server's, if its process is known.
    pub cpu: Option<Cpu>,
}

/// Of a latency.
pub const QUANTILES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "max"];

impl Load {
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Requests for each second of the server's CPU; `None` also when it used less than can be counted.
    pub fn per_cpu_second(&self) -> Option<f64> {
        self.cpu.map(Cpu::total).filter(|seconds| *seconds > 0.0).map(|seconds| self.answered as f64 / seconds)
    }
}

/// A server and what was found out about it.
pub struct Subject {
    pub name: String,
    pub calls: Option<Calls>,
    pub idle: Option<Idle>,
}

/// A server under one client: a round each.
pub struct Row {
    /// Index of the subject.
    pub subject: usize,
    pub client: Client,
    pub rounds: Vec<Load>,
}

/// Everything that was measured.
pub struct Report {
    pub work: Work,
    pub seconds: u32,
    pub rounds: usize,
    /// Index of the subject that the ratios are to.
    pub base: usize,
    /// Both clients were measured: then the ratios are to wrk, on the same server.
    pub both: bool,
    pub subjects: Vec<Subject>,
    pub rows: Vec<Row>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl Report {
    /// The row that this one is compared with.
    pub fn base_of(&self, row: &Row) -> Option<&Row> {
        let is_base = |other: &&Row| match self.both {
            true => other.subject == row.subject && other.client == Client::Wrk,
            false => other.subject == self.base,
        };
        self.rows.iter().find(is_base)
    }

    /// Errors of all parts.
    pub fn errors(&self) -> u64 {
        let load = self.rows.iter().flat_map(|row| &row.rounds).map(|load| load.errors.total()).sum::<u64>();
        let calls =
            self.subjects.iter().filter_map(|subject| subject.calls.as_ref()).map(|calls| calls.errors).sum::<u64>();
        let idle = self.subjects.iter().filter_map(|subject| subject.idle.as_ref()).map(Idle::errors).sum::<u64>();
        load + calls + idle
    }
}

/// System calls that a load took.
pub struct Calls {
    /// Who counted.
    pub tool: &'static str,
    /// Replies meanwhile.
    pub requests: u64,
    /// Of all kinds.
    pub all: u64,
    /// Calls by their names, the most frequent first.
    pub by_name: Vec<(String, u64)>,
    /// Calls that could not be counted by their names: they are in the sum only.
    pub missing: Vec<&'static str>,
    pub errors: u64,
}

impl Calls {
    /// Of all kinds, for each request.
    pub fn per_request(&self) -> f64 {
        self.all as f64 / self.requests as f64
    }
}

/// What was seen of connections that were idle.
pub struct Idle {
    /// How many were wanted.
    pub connections: usize,
    /// How many were open at once.
    pub open: usize,
    /// How many of them were asked while all were open, and replied with the body that is due.
    pub answered: usize,
    /// Why one was not opened or not answered, the first time.
    pub why: Option<String>,
    /// What the server has more than without connections, in bytes: while they are idle, and after each was served.
    pub memory: Option<[Memory; 2]>,
    /// What the kernel has more, for both ends of the connections, in bytes.
    pub kernel: (i64, Source),
}

impl Idle {
    /// Connections that were not opened or not served.
    pub fn errors(&self) -> u64 {
        (self.connections - self.answered) as u64
    }
}

//! As much of the runner as a stage's `serve` needs.

use std::io;
use std::process::ExitCode;

use crate::kernel::{Listener, Socket, Stop};

pub const LISTENER: u64 = 0;
pub const STOP: u64 = u64::MAX;
#[allow(dead_code)]
pub const LIMIT: u64 = u64::MAX - 1;

pub struct Server {
    pub listener: Listener,
    pub stop: Stop,
    pub workers: usize,
    /// Milliseconds. In this world no time passes.
    #[allow(dead_code)]
    pub drain: u64,
}

/// Nobody is cut off here: no limit is ever over.
#[allow(dead_code)]
pub fn cut(_: &Socket, _: u64, _: u64) {}

#[allow(dead_code)]
pub struct Served {
    pub received: u64,
    pub replies: u64,
}

pub type Serve = fn(Server) -> io::Result<Served>;

pub fn main(_: &str, _: Serve) -> ExitCode {
    unreachable!("a model has no main")
}

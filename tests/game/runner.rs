//! As much of the runner as a stage's `serve` needs.

use std::io;
use std::process::ExitCode;

#[allow(unused_imports)]
pub use real::runner::Counts;
#[allow(unused_imports)]
pub use real::server::{Flags, LIMIT, LISTENER, STOP, Served};

use crate::kernel::{Listener, Socket, Stop};

pub struct Server {
    pub listener: Listener,
    pub stop: Stop,
    pub workers: usize,
    /// Milliseconds. In this world no time passes.
    #[allow(dead_code)]
    pub drain: u64,
    #[allow(dead_code)]
    pub flags: Flags,
}

/// What a reactor has counted: here it is seen in the moves.
pub fn tell(_: usize, _: Counts) {}

/// Nobody is cut off here: no limit is ever over.
#[allow(dead_code)]
pub fn cut(_: &Socket, _: u64, _: u64) {}

pub type Serve = fn(Server) -> io::Result<Served>;

pub fn main(_: &str, _: Serve) -> ExitCode {
    unreachable!("a model has no main")
}

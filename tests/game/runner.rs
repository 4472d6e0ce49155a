//! As much of the runner as a stage's `serve` needs.

use std::io;
use std::process::ExitCode;

use crate::kernel::{Listener, Stop};

pub const LISTENER: u64 = 0;
pub const STOP: u64 = u64::MAX;

pub struct Server {
    pub listener: Listener,
    pub stop: Stop,
    pub workers: usize,
}

#[allow(dead_code)]
pub struct Served {
    pub received: u64,
    pub replies: u64,
}

pub type Serve = fn(Server) -> io::Result<Served>;

pub fn main(_: &str, _: Serve) -> ExitCode {
    unreachable!("a model has no main")
}

//! What a stage is given in this world.

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    pub received: u64,
    pub replies: u64,
}

pub fn server() -> Server {
    Server { listener: Listener, stop: Stop, workers: 1 }
}

pub fn main(_: &str, _: fn(Server) -> io::Result<Served>) -> ExitCode {
    unreachable!("the test calls the stage itself")
}

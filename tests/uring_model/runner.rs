//! What a stage is given in this world.

use std::io;
use std::process::ExitCode;

pub use real::server::{LISTENER, STOP, Served};

use crate::kernel::{Listener, Stop};

pub struct Server {
    pub listener: Listener,
    pub stop: Stop,
    pub workers: usize,
}

pub fn server() -> Server {
    Server { listener: Listener, stop: Stop, workers: 1 }
}

pub fn main(_: &str, _: fn(Server) -> io::Result<Served>) -> ExitCode {
    unreachable!("the test calls the stage itself")
}

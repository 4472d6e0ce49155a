//! What a stage is given, and what it gives back. Nobody calls `main` here.

use std::io;
use std::process::ExitCode;

pub use real::runner::{LISTENER, STOP, Served};

use crate::kernel::{Listener, Stop};

pub struct Server {
    pub listener: Listener,
    pub stop: Stop,
    pub workers: usize,
}

pub type Serve = fn(Server) -> io::Result<Served>;

pub fn main(_: &str, _: Serve) -> ExitCode {
    unreachable!("the models call `serve`")
}

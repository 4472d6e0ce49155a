//! What a stage is given, and what it gives back. Nobody calls `main` here.

use std::io;
use std::process::ExitCode;

pub use real::runner::{Counts, LISTENER, Reading, STOP, Served};

use crate::kernel::{Listener, Stop};
use crate::world;

pub struct Server {
    pub listener: Listener,
    pub stop: Stop,
    pub workers: usize,
    pub reading: Reading,
}

pub type Serve = fn(Server) -> io::Result<Served>;

/// What a reactor has counted, at its end.
pub fn tell(_: usize, counts: Counts) {
    world::with(|world| world.told.push(counts));
}

pub fn main(_: &str, _: Serve) -> ExitCode {
    unreachable!("the models call `serve`")
}

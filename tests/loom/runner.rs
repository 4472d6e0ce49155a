//! What a stage is given, and what it gives back. Nobody calls `main` here.

use std::io;
use std::process::ExitCode;

pub use model_world::terms::{Counts, LIMIT, LISTENER, STOP, Served, TICK};
pub use real::runner::Flags;

use crate::kernel::{Listener, Socket, Stop};
use crate::world;

pub struct Server {
    pub listener: Listener,
    pub stop: Stop,
    pub workers: usize,
    pub flags: Flags,
    /// Milliseconds, which mean nothing here: the script, or the last one who can move, says when they are over.
    pub drain: u64,
}

pub type Serve = fn(Server) -> io::Result<Served>;

/// What a reactor has counted, at its end.
pub fn tell(_: usize, counts: Counts) {
    world::with(|world| world.told.push(counts));
}

pub fn cut(socket: &Socket, unanswered: u64, replies: u64) {
    let unanswered = unanswered + socket.unread().expect("it is open") as u64;
    world::with(|world| world.cuts.push((unanswered, replies)));
}

pub fn main(_: &str, _: Serve) -> ExitCode {
    unreachable!("the models call `serve`")
}

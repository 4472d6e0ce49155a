//! What stands around a stage: the command line, the server's process, the client, the report, the end.

use std::io;
use std::process::ExitCode;

use crate::kernel::{Listener, Stop};

/// The token of the listener's events.
pub const LISTENER: u64 = 0;
/// The token of the event that stops the server.
pub const STOP: u64 = u64::MAX;

/// What a stage is given.
pub struct Server {
    /// Where clients come from.
    pub listener: Listener,
    /// Readable when the server is to stop.
    pub stop: Stop,
    /// How many worker threads to start.
    pub workers: usize,
}

/// What a stage counted, when it came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Bytes received.
    pub received: u64,
    /// Replies written.
    pub replies: u64,
}

/// The whole of a stage's `main`: `path` is its `module_path!()`, `serve` its server.
pub fn main(path: &str, serve: fn(Server) -> io::Result<Served>) -> ExitCode {
    let _ = (path, serve);
    ExitCode::from(70)
}

//! epoll-autopsy: how an epoll server really breaks, on demand.
//!
//! A *stage* (`lab/stages/`) is one small server in one file. It reaches the outside only through four facades:
//!
//! - [`sync`]: `Arc`, `Mutex`, atomics, the task queue, threads
//! - [`kernel`]: epoll, the listener, sockets
//! - [`heap`]: memory that the programmer frees by hand
//! - [`point`]: named schedule points
//!
//! In this library the facades are the real world: std, libc, malloc. The model tests (`tests/loom/`) mount the same
//! stage files over a second set of facades, where loom chooses who runs next.
//!
//! A stage's `main` is one call of [`runner`], which puts the rest of the house around it:
//!
//! - [`schedule`]: an order of events, as a text file
//! - [`director`]: makes the threads of the server and the client keep that order
//! - [`client`]: the client's side of the order
//! - [`quiescence`]: whether a server can still move: the proof of a hang
//! - [`blackbox`]: shared memory in which the server's process records what it does
//! - [`trace`]: what the box held, put in order
//! - [`autopsy`]: the report
//! - [`catalogue`]: what each stage shows and how it must end
//! - [`herd`]: what several reactors count
//! - [`cost`]: what connections cost, counted
//! - [`caught`]: which tool would have caught which bug, measured
//! - [`bench`]: the load, measured side by side (its body only with the feature `bench`)
//!
//! [`http`] parses requests, in both worlds. With the feature `uring` there is one facade more, `uring`, for stage 10: the
//! kernel by way of io_uring.
#![warn(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "epoll-autopsy runs on Linux only, since epoll is Linux's: on another system use a Linux virtual machine, a container, \
     or WSL2"
);

#[cfg(target_os = "linux")]
mod announce;
#[cfg(target_os = "linux")]
pub mod autopsy;
#[cfg(target_os = "linux")]
pub mod bench;
#[cfg(target_os = "linux")]
pub mod blackbox;
#[cfg(target_os = "linux")]
pub mod catalogue;
#[cfg(target_os = "linux")]
pub mod caught;
#[cfg(target_os = "linux")]
pub mod client;
#[cfg(target_os = "linux")]
pub mod cost;
#[cfg(target_os = "linux")]
pub mod director;
#[cfg(target_os = "linux")]
pub mod heap;
#[cfg(target_os = "linux")]
pub mod herd;
#[cfg(target_os = "linux")]
pub mod http;
#[cfg(target_os = "linux")]
pub mod kernel;
#[cfg(target_os = "linux")]
pub mod point;
#[cfg(target_os = "linux")]
pub mod quiescence;
#[cfg(target_os = "linux")]
pub mod runner;
#[cfg(target_os = "linux")]
pub mod schedule;
#[cfg(target_os = "linux")]
pub mod sync;
#[cfg(target_os = "linux")]
pub mod trace;
#[cfg(all(target_os = "linux", feature = "uring"))]
pub mod uring;

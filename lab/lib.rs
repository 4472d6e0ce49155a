//! epoll-autopsy: how an epoll server really breaks, on demand.
//!
//! A *stage* (`lab/stages/`) is one small server in one file. It reaches the outside only through four facades, which
//! in this library are the real world ([`world`]): std, libc, malloc.
//!
//! - [`sync`]: `Arc`, `Mutex`, atomics, the task queue, threads
//! - [`kernel`]: epoll, the listener, sockets
//! - [`heap`]: memory that the programmer frees by hand
//! - [`point`]: named schedule points
//!
//! The model tests (`tests/loom/`) mount the same stage files over a second set of facades, where loom chooses who runs
//! next. With the feature `uring` there is one facade more, `uring`, for stage 10: the kernel by way of io_uring.
//!
//! The house is built in floors, and a floor knows only those below it (`tests/house/`), from the ground up:
//!
//! - [`words`], [`terms`] and [`http`]: numbers and errors as text; what a stage and its world say to each other; requests and
//!   replies
//! - [`record`]: the black box, in which the server's process records what it does
//! - [`world`]: the facades
//! - [`server`]: what a stage is given, and what it gives back
//! - [`catalogue`]: what each stage shows and how it must end
//! - [`direct`]: an order of events, the director that makes threads and clients keep it, and what came of it
//! - [`autopsy`]: the report
//! - [`runner`]: a stage's `main` is one call of it; it puts the rest of the house around the stage
//! - [`tools`]: what measures
#![warn(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "epoll-autopsy runs on Linux only, since epoll is Linux's: on another system use a Linux virtual machine, a container, \
     or WSL2"
);

#[cfg(target_os = "linux")]
pub mod autopsy;
#[cfg(target_os = "linux")]
pub mod catalogue;
#[cfg(target_os = "linux")]
pub mod direct;
#[cfg(target_os = "linux")]
pub mod http;
#[cfg(target_os = "linux")]
pub mod record;
#[cfg(target_os = "linux")]
pub mod runner;
#[cfg(target_os = "linux")]
pub mod server;
#[cfg(target_os = "linux")]
pub mod terms;
#[cfg(target_os = "linux")]
pub mod tools;
#[cfg(target_os = "linux")]
pub mod words;
#[cfg(target_os = "linux")]
pub mod world;

// The names by which a stage knows the facades.
#[cfg(target_os = "linux")]
pub use direct::schedule;
#[cfg(all(target_os = "linux", feature = "uring"))]
pub use world::uring;
#[cfg(target_os = "linux")]
pub use world::{heap, kernel, point, sync};

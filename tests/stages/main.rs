//! The stages as a reader runs them: real binaries on the real kernel. One program, so that all cores have work to the
//! end.
//!
//! - [`catalogue`]: each exhibit ends as its entry says, and all that belongs to a stage is there
//! - [`command_line`]: what each flag does, what a mistake is told, every exit code
//! - [`own`]: servers of the reader's own
//! - [`search`]: orders that nobody wrote
//! - [`director`]: orders of the reader's own, refusals, limits
//! - [`play`]: the reader as the scheduler, at a terminal and without one
//! - [`faults`]: system calls that fail, each at each line that makes it
//! - [`limits`]: no descriptor left, clients that read late, an order to stop in the middle of it
//! - [`crashes`], and a module for each stage after it: what its report says
//!
//! `cargo test --test stages stage7::` runs those of one module. Stage 10 has a program of its own, behind its feature.
#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod catalogue;
mod command_line;
mod crashes;
mod director;
mod faults;
mod handoff;
mod limits;
mod own;
mod play;
mod search;
mod stage5;
mod stage6;
mod stage7;
mod stage8;
mod stage9;
mod stages12;

//! The model world: the stage files of `lab/stages/`, unchanged, over a second set of facades in which a checker
//! chooses who runs next. What is explored here is what crashes on the screen.
//!
//! ```text
//! cargo test --test loom                                  every model
//! cargo test --test loom stage3                           those with `stage3` in their names
//! LAB_PREEMPTIONS=6 cargo test --test loom is_sound       loom goes further
//! LAB_LONG=1 cargo test --test loom stage7_fixed          the search takes the largest scripts too
//! LAB_PROGRAMS=20000 cargo test --test loom programs      more generated programs, and each further
//! LAB_RECORD=1 cargo test --test loom gallery             writes down what refutes which wrong fix
//! LAB_SCHEDULES=1 cargo test --test loom crashes          the counterexamples as schedules of the director
//! ```
//!
//! There are two checkers ([`turn`]). loom explores the C11 memory model up to a number of preemptions. The [`search`] visits
//! every state, one call at a time, sequentially consistent; where it ends it says `complete`. They share the world and the
//! facades, and no scheduler. A run that was cut off is a failure. All of these are a package, `model_world` in `world/`: there
//! is how a model runs, and here what is modelled.
//!
//! # What the model contains
//!
//! - The stage itself: its reactor, two workers (or two reactors), and clients that play a script (`d` sends a piece, `f` is a FIN,
//!   `r` an RST, `c` a new connection). `extern crate self as lab` and `#[path]` put it over the facades of `world/`; parsing
//!   is the library's own.
//! - [`kernel`]: epoll, a listener, TCP streams with real bytes. Its machine is [`net`], which says what it knows and what
//!   it leaves out; `tests/kernel_model.rs` compares it call by call with Linux.
//! - `strangers`: whose bytes a client gets, by connection and not by number.
//! - [`heap`]: memory that knows live from freed. [`sync`]: the queue, locks, atomics, threads. A queue wakes all who
//!   wait, which allows more orders than waking one.
//! - [`check`]: all that is looked for, one entry each.
//!
//! # What it leaves out
//!
//! - Signals, failing allocations, limits on descriptors, full socket buffers, pieces that arrive cut in two.
//! - More than two workers, longer scripts. Unless a script says so, exploration begins when the workers are idle
//!   and the first connection is accepted, and ends when nobody can move any more.
//! - The bodies of the facades: the real queue's Mutex and Condvar, the real `Arc`, are taken for correct.
//!
//! # The reductions, and what could refute them
//!
//! - **Independence**, for loom: calls about different objects commute ([`world::tick_of`]). A call that has to wait is
//!   an access like any other ([`world::when`]). A `clone` of an `Arc` is no step ([`sync::Arc`]); two accesses to one
//!   block with nothing in between are one ([`heap`]).
//! - **States that were met before**, for the search.
//!
//! `programs` gives generated programs to each checker with and without its reduction and compares what each thread can
//! have seen; `steps` counts the steps of each call, which both checkers learn of in the same way;
//! `the_reductions_lose_nothing_*` does so with the smallest scripts of stages 3 and 4. `trips` has a program for each
//! check that it must refuse, `gallery` the wrong fixes that a model must refuse.
//!
//! # loom, and where it is incomplete
//!
//! loom explores the C11 memory model with gaps: a load does not read from a store that comes later in its own thread's
//! future (no load buffering), and `SeqCst` counts as `AcqRel`. A stage's atomics are loom's own, with the orders that
//! it asks for; a server that hands a cell over by a relaxed flag is refused, and the same with release and acquire
//! passes (`faulty`). A modelled system call is acquire and release as a whole, since the kernel takes a lock in each.
//! Plain memory in a broken stage's `UnsafeCell` is not seen by loom: there the model ticks for every use of a buffer
//! inside, and looks for two threads inside. So a broken stage's finding is real, and a silence about one would prove
//! nothing.
//!
//! `stage4_handoff` does depend on an order of memory, through the kernel: its cell ([`sync::Handoff`]) has loom's own
//! beside it, so that an entry that does not happen after the last exit is found, even where the two did not meet.
//!
//! loom's bounded search keeps to its own account of preemptions: the smallest bound that shows a bug is a fact about
//! this model, not about the program.
//!
//! # From a counterexample to a crash
//!
//! `*_crashes_in_the_order_that_loom_found_*` searches once more in steps from point to point, which is how the
//! director moves its roles, writes what it finds as a schedule ([`translate`] says how), and runs the real binaries
//! with it.
#![allow(dead_code)]
// The wrong fixes are not judged by their style.
#![allow(clippy::ptr_arg)]

extern crate lab as real;
extern crate self as lab;

pub mod runner;
pub use model_world::{heap, kernel, point, sync};
pub use real::http;

use model_world::{check, memory, net, search, strangers, test, turn, world};

mod checks;
mod crash;
mod faulty;
mod gallery;
mod game;
mod handoff;
mod harness;
mod model;
mod models;
mod programs;
mod sharded;
mod stage5;
mod stage6;
mod stage7;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod translate;
mod trips;

mod herd;
mod half {
    pub mod lock_without_ownership;
    pub mod ownership_without_lock;
    pub mod rearm_apart_from_the_lock;
}

#[path = "../../lab/stages/stage3_broken.rs"]
mod stage3_broken;
#[path = "../../lab/stages/stage3_fixed.rs"]
mod stage3_fixed;
#[path = "../../lab/stages/stage4_broken.rs"]
mod stage4_broken;
#[path = "../../lab/stages/stage4_fixed.rs"]
mod stage4_fixed;
#[path = "../../lab/stages/stage4_handoff.rs"]
mod stage4_handoff;
#[path = "../../lab/stages/stage5_broken.rs"]
mod stage5_broken;
#[path = "../../lab/stages/stage5_fixed.rs"]
mod stage5_fixed;
#[path = "../../lab/stages/stage6_broken.rs"]
mod stage6_broken;
#[path = "../../lab/stages/stage6_fixed.rs"]
mod stage6_fixed;
#[path = "../../lab/stages/stage7_broken.rs"]
mod stage7_broken;
#[path = "../../lab/stages/stage7_fixed.rs"]
mod stage7_fixed;
#[path = "../../lab/stages/stage8_broken.rs"]
mod stage8_broken;
#[path = "../../lab/stages/stage8_fixed.rs"]
mod stage8_fixed;
#[path = "../../lab/stages/stage9_sharded.rs"]
mod stage9_sharded;

fn main() -> std::process::ExitCode {
    harness::main(models::all())
}

/// `16,384`
fn thousands(number: usize) -> String {
    real::words::thousands(number as u64)
}

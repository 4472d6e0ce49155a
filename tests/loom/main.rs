//! The model world: the stage files of `lab/stages/`, unchanged, over a second set of facades in which loom chooses who
//! runs next. What is explored here is what crashes on the screen.
//!
//! ```text
//! cargo test --test loom                                  every model, under a minute on two cores
//! cargo test --test loom stage3                           those with `stage3` in their names
//! LAB_PREEMPTIONS=6 cargo test --test loom is_sound       the larger scripts further
//! LAB_SCHEDULES=1 cargo test --test loom crashes          the counterexamples as schedules of the director
//! ```
//!
//! A passed model says exactly this: *every execution of this model under loom* was explored and nothing was found.
//! `complete` means without any bound. `up to 5 preemptions` means that a thread that could have gone on was interrupted
//! at most five times in an execution. A run that was cut off in another way is a failure.
//!
//! # What the model contains
//!
//! - The stage itself: its reactor, two workers (or two reactors), and a client that plays a script (`d` sends a piece, `f` is a FIN, `r` an
//!   RST, `c` a new connection). `extern crate self as lab` and `#[path]` put it over the facades of this folder; parsing
//!   is the library's own.
//! - [`kernel`]: epoll, a listener, TCP streams with real bytes. Its machine is [`net`], which says what it knows and what
//!   it leaves out; `tests/kernel_model.rs` compares it call by call with Linux.
//! - `strangers`: whose bytes a client gets, by connection and not by number.
//! - [`heap`]: memory that knows live from freed. [`sync`]: the queue, locks, threads. A queue wakes all who wait, which
//!   allows more orders than waking one.
//! - Findings: use after free, double free, two threads inside one `UnsafeCell`, a closed descriptor, a hang (nobody can
//!   move, and bytes or an ended session wait), bytes or replies lost, bytes for a stranger, two tasks from one one-shot event, a leak of memory, descriptors or shares.
//!
//! - Stage 8 is explored from another moment on: both reactors sleep, and nobody has come. There it matters who sleeps, so
//!   falling asleep is a step.
//!
//! # What it leaves out
//!
//! - Signals, failing allocations, limits on descriptors, full socket buffers, pieces that arrive cut in two.
//! - More than two workers, more than one client at a time, longer scripts. Exploration begins when the workers are idle
//!   and the first connection is accepted, and ends when nobody can move any more: start and stop happen in one order only.
//! - The bodies of the facades: the real queue's Mutex and Condvar, the real `Arc`, are taken for correct. The counters do
//!   not tick: adding to one gives nothing back here, so no thread can see in which order two did it.
//!
//! # Fewer executions, and the same histories
//!
//! Each call ticks once ([`world`]), and calls about different things commute. A call that has to wait is no step until
//! it can go on. Where no script breaks a connection off, a write is no step. Before the first task the workers are alike,
//! so worker-1 alone is woken for it. `the_reductions_lose_nothing_*` explores a stage without any of these and with all
//! of them, and compares what each role can have seen: on the smallest scripts with none of them, on the next larger ones
//! (which do not end within minutes with none) with only the first.
//!
//! # loom, and where it is incomplete
//!
//! loom explores the C11 memory model with gaps: a load does not read from a store that comes later in its own thread's
//! future (no load buffering), and `SeqCst` counts as `AcqRel`. A fixed stage does not depend on either: it has no
//! `unsafe`, and its threads share data only through the facades' locks, queue and `Arc`, all of them acquire and release;
//! its own atomics are counters, which order nothing. A modelled system call is acquire and release as a whole, since the
//! kernel takes a lock in each. Plain memory in a broken stage's `UnsafeCell` is not seen by loom: there the model ticks
//! for every use of a buffer inside, and looks for two threads inside. So a broken stage's finding is real, and a silence
//! about one would prove nothing.
//!
//! `stage4_handoff` does depend on an order of memory, through the kernel: its cell ([`sync::Handoff`]) is loom's own, so that
//! an entry that does not happen after the last exit is found, even where the two did not meet.
//!
//! std's `Arc` stands behind the facade, and hides from loom in which order two threads drop their shares; so one model of
//! each fixed stage runs on loom's own. loom's bounded search keeps to its own account of preemptions: the smallest bound
//! that shows a bug is a fact about this model, not about the program.
//!
//! # From a counterexample to a crash
//!
//! `*_crashes_in_the_order_that_loom_found_*` searches once more in steps from point to point, which is how the director
//! moves its roles, writes what it finds as a schedule ([`translate`] says how), and runs the real binaries with it.
#![allow(dead_code)]

extern crate lab as real;
extern crate self as lab;

pub mod heap;
pub mod kernel;
pub mod point;
pub mod runner;
pub mod sync;
pub use real::http;

mod check;
mod checks;
mod crash;
mod faulty;
mod gallery;
mod game;
mod handoff;
mod harness;
mod model;
mod models;
mod net;
mod programs;
mod search;
mod sharded;
mod stage5;
mod stage6;
mod stage7;
mod strangers;
#[path = "../support/mod.rs"]
mod support;
mod translate;
mod trips;
mod turn;
mod world;

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

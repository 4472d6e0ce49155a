//! Stage 10 over a ring of its own: the stage's file, unchanged, and a kernel that answers in whatever order a seed
//! says.
//!
//! On the real ring (`tests/stage10.rs`) most answers come in one order. Here receives end early, sends go in pieces,
//! the listener runs out of descriptors, clients reset, and the last answers for somebody who has gone come when his
//! place is taken. [`world`] is that kernel, and the clients.
//!
//! What must hold for every seed: each client is sent the replies to its own requests, in order, and nothing else;
//! nobody waits for ever; of a client that leaves its replies untaken no more is received; every byte and reply is
//! counted.

extern crate lab as real;
extern crate self as lab;

#[macro_use]
#[path = "../support/listed.rs"]
mod listed;

mod check;
pub mod kernel;
pub mod runner;
pub mod sync;
pub mod uring;
pub use real::http;
pub mod point {
    pub fn point(_: &str) {}
}

#[path = "../../lab/stages/stage10_uring.rs"]
#[allow(dead_code)]
mod stage10_uring;
mod world;
mod wrong;

use std::io;

use lab::http::Timeouts;
use lab::uring::Room;
use runner::Served;
use world::{Play, Seen, clients, play, slow_clients};

/// As long as no client has to be let go of.
const PATIENT: Timeouts = Timeouts { idle: 1_000_000, request: 1_000_000 };
/// Shorter than a play.
const HASTY: Timeouts = Timeouts { idle: 5, request: 3 };

fn serve(timeouts: Timeouts) -> io::Result<Served> {
    stage10_uring::serve_in(runner::server(), Room::default(), timeouts)
}

#[test]
fn every_client_gets_its_own_replies_in_whatever_order_the_kernel_answers() {
    let mut seen = Seen::default();
    for seed in 0..1_000 {
        let play = play(seed, clients(seed), Play::ToTheEnd, None, || serve(PATIENT));
        seen.add(&play.unwrap_or_else(|refusal| panic!("seed {seed}: {refusal:?}")));
    }
    assert_eq!(seen.is_enough(None), Ok(()));
}

#[test]
fn who_sends_nothing_is_let_go_of_and_who_sends_half_a_request_is_told() {
    for seed in 0..200 {
        let play = play(seed, slow_clients(), Play::Slow, None, || serve(HASTY));
        play.unwrap_or_else(|refusal| panic!("seed {seed}: {refusal:?}"));
    }
}

#[test]
fn a_stop_at_any_moment_leaves_nobody_without_the_replies_to_what_had_arrived() {
    let mut seen = Seen::default();
    for seed in 0..1_000 {
        let play = play(seed, clients(seed), Play::Stopped(1 + seed as usize % 97), None, || serve(PATIENT));
        seen.add(&play.unwrap_or_else(|refusal| panic!("seed {seed}: {refusal:?}")));
    }
    assert!(seen.served_at_stop > 1_000, "{seen:?}");
}

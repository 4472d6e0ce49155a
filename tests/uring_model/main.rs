//! Stage 10 over a ring of its own: the stage's file, unchanged, and a kernel that answers in whatever order a seed says.
//!
//! On the real ring (`tests/stage10.rs`) most answers come in one order. Here receives end early, sends go in pieces, the
//! listener runs out of descriptors, clients reset, and the last answers for somebody who has gone come when his place is
//! taken. [`world`] is that kernel, and the clients.
//!
//! What must hold for every seed: each client is sent the replies to its own requests, in order, and nothing else; nobody
//! waits for ever; of a client that leaves its replies untaken no more is received; every byte and reply is counted.

extern crate lab as real;
extern crate self as lab;

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

use lab::http::Timeouts;
use lab::uring::Room;

/// As long as no client has to be let go of.
const PATIENT: Timeouts = Timeouts { idle: 1_000_000, request: 1_000_000 };

#[test]
fn every_client_gets_its_own_replies_in_whatever_order_the_kernel_answers() {
    let mut seen = world::Seen::default();
    for seed in 0..1_000 {
        world::begin(seed, world::clients(seed));
        let served = stage10_uring::serve_in(runner::server(), Room::default(), PATIENT).expect("it serves");
        seen.add(&world::end(seed, served));
    }
    // What was to happen did happen, many times over.
    assert!(seen.partial_sends > 1_000, "{seen:?}");
    assert!(seen.stalls > 1_000, "{seen:?}");
    assert!(seen.stops > 500, "{seen:?}");
    assert!(seen.refused_accepts > 500, "{seen:?}");
    assert!(seen.answers_for_the_gone > 500, "{seen:?}");
    assert!(seen.answers_after_the_place_was_taken > 50, "{seen:?}");
}

#[test]
fn who_sends_nothing_is_let_go_of_and_who_sends_half_a_request_is_told() {
    for seed in 0..200 {
        world::begin(seed, world::slow_clients());
        let timeouts = Timeouts { idle: 5, request: 3 };
        let served = stage10_uring::serve_in(runner::server(), Room::default(), timeouts).expect("it serves");
        world::end_of_the_slow(served);
    }
}

#[test]
fn a_stop_at_any_moment_leaves_nobody_without_the_replies_to_what_had_arrived() {
    for seed in 0..1_000 {
        world::begin_and_stop(seed, world::clients(seed), 1 + seed as usize % 97);
        stage10_uring::serve_in(runner::server(), Room::default(), PATIENT).expect("it stops");
        world::end_of_the_stopped(seed);
    }
}

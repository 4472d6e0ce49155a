//! Stage 8: two reactors at one port, explored from when both sleep and nobody has come.
//!
//! Here it matters who sleeps when a connection arrives, so falling asleep is a step, and nothing is reduced.

use crate::check::Kind;
use crate::model::{Model, Script};
use crate::models::{Sound, Test, bound, model, refuted, requests, sound, test, tests_of};
use crate::runner::{LISTENER, STOP, Serve};
use crate::world::Rules;
use crate::{stage8_broken, stage8_fixed};

pub const RULES: Rules = Rules { from_the_start: true, ..Rules::DEFAULT };
/// The larger scripts are explored up to so many preemptions, or as many as `LAB_PREEMPTIONS` says.
const BOUND: usize = 3;

pub fn herd(name: &'static str, serve: Serve, rules: Rules, script: Script) -> Model {
    Model { rules, ..model(name, serve, script) }
}

/// Clients who come and say nothing.
pub fn crowd(name: &'static str, more: &'static str) -> Script {
    requests(name, more)
}

/// As the stage asks, but edge-triggered.
fn on_an_edge(token: u64, bits: u32) -> u32 {
    if token == LISTENER { bits | libc::EPOLLET as u32 } else { bits }
}

/// The stop is not to wake everybody either.
fn stop_exclusively(token: u64, bits: u32) -> u32 {
    match token {
        STOP => bits & !(libc::EPOLLRDHUP as u32) | libc::EPOLLEXCLUSIVE as u32,
        _ => bits,
    }
}

/// What must be sound where the reactors share a listener, or where each has its own.
pub fn models(serve: Serve, reuseport: bool) -> Vec<Sound> {
    let rules = Rules { reuseport, ..RULES };
    let early = Rules { stops_early: true, ..rules };
    let name = if reuseport { "stage8_fixed --reuseport" } else { "stage8_fixed" };
    let fixed = |rules: Rules, script| herd(name, serve, rules, script);
    let bounded = |model: Model| Model { bound: Some(bound(BOUND)), ..model };
    vec![
        ("a_request", 2, fixed(rules, requests("data, FIN", "df"))),
        ("two_clients", 2, bounded(fixed(rules, requests("data, FIN, twice", "dfcdf")))),
        ("three_connections", 2, bounded(fixed(rules, crowd("three connections", "cc")))),
        ("a_stop_while_a_client_comes", 2, bounded(fixed(early, crowd("a connection, then the stop", "")))),
        ("a_stop_while_three_wait", 2, bounded(fixed(early, crowd("three connections, then the stop", "cc")))),
        ("what_had_come_before_the_stop", 2, bounded(fixed(early, requests("data, then the stop", "d")))),
    ]
}

pub fn all() -> Vec<Test> {
    let mut tests = tests_of("stage8_exclusive_is_sound_for", models(stage8_fixed::serve, false));
    tests.extend(tests_of("stage8_reuseport_is_sound_for", models(stage8_fixed::serve, true)));
    let (exclusive, own) = (RULES, Rules { reuseport: true, ..RULES });
    let fixed = |rules: Rules, script| {
        let name = if rules.reuseport { "stage8_fixed --reuseport" } else { "stage8_fixed" };
        herd(name, stage8_fixed::serve, rules, script)
    };
    let broken = |rules, script| herd("stage8_broken", stage8_broken::serve, rules, script);
    let bounded = |model: Model| Model { bound: Some(bound(BOUND)), ..model };
    // Wasteful, but it loses nobody.
    let model = bounded(broken(RULES, crowd("three connections", "cc")));
    tests.push(test("stage8_broken_loses_no_connection", 2, move || sound(&model)));

    let in_vain = |rules: Rules| Rules { in_vain: true, ..rules };
    let model = broken(in_vain(RULES), crowd("one connection", ""));
    tests.push(test("stage8_broken_wakes_in_vain", 1, move || Ok(refuted(&model, Kind::InVain)?.0)));
    let model = fixed(in_vain(exclusive), crowd("one connection", ""));
    tests.push(test("stage8_exclusive_wakes_one_of_all_who_sleep", 1, move || sound(&model)));
    // One or more, not exactly one: who is awake anyway does not count.
    let model = fixed(in_vain(exclusive), crowd("two connections", "c"));
    tests.push(test("stage8_exclusive_may_wake_in_vain", 1, move || Ok(refuted(&model, Kind::InVain)?.0)));
    let model = fixed(in_vain(own), crowd("two connections", "c"));
    tests.push(test("stage8_reuseport_never_wakes_in_vain", 1, move || sound(&model)));

    let edge = Rules { registers: on_an_edge, ..exclusive };
    let model = fixed(edge, crowd("three connections, edge-triggered", "cc"));
    tests.push(test("stage8_one_accept_an_edge_loses_a_connection", 1, move || Ok(refuted(&model, Kind::Hang)?.0)));
    let stop = Rules { registers: stop_exclusively, ..exclusive };
    let model = fixed(stop, crowd("one connection, exclusive stop", ""));
    tests.push(test("stage8_an_exclusive_stop_leaves_a_reactor_asleep", 1, move || Ok(refuted(&model, Kind::Hang)?.0)));
    tests
}

//! Stage 9: two reactors that share nothing but the event that stops them. What is explored is their end: the stop
//! reaches both, whatever they are in the middle of, nobody is left asleep or unanswered, and nothing stays open.

use crate::check::Kind;
use crate::model::{Model, Script};
use crate::models::{Sound, Test, bound, model, refuted, requests, test, tests_of, upload};
use crate::runner::{STOP, Serve};
use crate::stage9_sharded;
use crate::world::Rules;

/// Everything is a step, from when both reactors sleep and nobody has come; a connection goes to the next listener in
/// turn.
pub const RULES: Rules = Rules { from_the_start: true, reuseport: true, ..Rules::DEFAULT };
/// The stop is raised when the script is over, whoever is still at work.
pub const EARLY: Rules = Rules { stops_early: true, ..RULES };
/// The larger scripts are explored up to so many preemptions, or as many as `LAB_PREEMPTIONS` says.
const BOUND: usize = 2;

pub fn sharded(serve: Serve, rules: Rules, script: Script) -> Model {
    Model { rules, ..model("stage9_sharded", serve, script) }
}

/// The stop wakes one reactor only, as if it were a task for one of them.
fn stop_exclusively(token: u64, bits: u32) -> u32 {
    match token {
        STOP => bits & !(libc::EPOLLRDHUP as u32) | libc::EPOLLEXCLUSIVE as u32,
        _ => bits,
    }
}

pub fn models(serve: Serve) -> Vec<Sound> {
    let bounded = |model: Model| Model { bound: Some(bound(BOUND)), ..model };
    let sharded = |rules, script| sharded(serve, rules, script);
    vec![
        ("serves_a_client", 2, sharded(RULES, requests("data, FIN", "df"))),
        ("serves_two_clients_at_two_reactors", 2, bounded(sharded(RULES, requests("data, FIN, twice", "dfcdf")))),
        ("stops_when_nobody_has_spoken", 2, bounded(sharded(EARLY, requests("a connection, then the stop", "")))),
        ("answers_what_had_come_before_the_stop", 2, bounded(sharded(EARLY, requests("data, then the stop", "d")))),
        ("stops_around_a_fin", 2, bounded(sharded(EARLY, requests("data, FIN, then the stop", "df")))),
        ("stops_around_an_rst", 2, bounded(sharded(EARLY, requests("data, RST, then the stop", "dr")))),
        ("answers_an_upload_before_the_stop", 2, bounded(sharded(EARLY, upload("an upload, then the stop", "dd")))),
        ("stops_both_reactors_at_work", 2, bounded(sharded(EARLY, requests("two clients, then the stop", "dcd")))),
    ]
}

pub fn all() -> Vec<Test> {
    let mut tests = tests_of("stage9", models(stage9_sharded::serve));
    let one = Rules { registers: stop_exclusively, ..RULES };
    let model = sharded(stage9_sharded::serve, one, requests("one connection, exclusive stop", ""));
    let name = "stage9_a_stop_that_wakes_one_reactor_leaves_the_other_asleep";
    tests.push(test(name, 1, move || Ok(refuted(&model, Kind::Hang)?.0)));
    tests
}

//! Any text is a schedule or has a line that is not; and a schedule that is written is read back as the same.
#![no_main]

use lab::schedule::{Plan, Schedule};
use lab::server::Threads;
use libfuzzer_sys::fuzz_target;

const POINTS: [&str; 5] = ["wait", "queue", "read", "write", "rearm"];

fuzz_target!(|input: (u8, u8, &str)| {
    let (workers, threads, text) = input;
    let threads = [Threads::Workers, Threads::PerConnection, Threads::None, Threads::Reactors, Threads::Shards]
        [usize::from(threads) % 5];
    let workers = usize::from(workers % 8);
    let schedule = match Schedule::parse_for(text, &POINTS, threads, workers) {
        Ok(schedule) => schedule,
        Err(error) => {
            assert!((1..=text.lines().count().max(1)).contains(&error.line), "{error} of {text:?}");
            return;
        }
    };
    let written = schedule.to_string();
    let again = Schedule::parse_for(&written, &POINTS, threads, workers).expect("what is written can be read");
    let steps = |schedule: &Schedule| -> Vec<_> {
        schedule.steps.iter().map(|step| (step.role.clone(), step.action.clone())).collect()
    };
    assert_eq!(steps(&again), steps(&schedule), "{written:?}");
    // A client that is named and does nothing is not written.
    let plans = |schedule: &Schedule| -> Vec<Plan> {
        let mut plans = schedule.plans.clone();
        plans.resize(3, Plan::Raw);
        plans
    };
    assert_eq!(plans(&again), plans(&schedule), "{written:?}");
    assert_eq!(again.to_string(), written);
    let outside: usize = schedule.outside().iter().map(|(_, actions)| actions.len()).sum();
    assert!(outside <= schedule.steps.len());
    assert_eq!(schedule.stops(), again.stops());
});

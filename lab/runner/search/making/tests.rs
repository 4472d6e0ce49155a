//! What a run is said to have shown, and whether its order showed it.

use std::ops::Range;
use std::panic::Location;

use super::*;
use crate::catalogue::find;
use crate::direct::client::Misdelivery;
use crate::direct::outcome::{Evidence, Loss, Outcome};
use crate::direct::strategy::{Choice, Last, Now, Standing};
use crate::record::blackbox::{MAIN, State};
use crate::record::event::{Kind, Waiting};
use crate::runner::cli::parse;

/// What becomes of a server that is made up.
pub enum Came {
    Lives,
    Dies(i32),
    /// It uses freed memory, and lives.
    Abuses,
    /// The lab fails, once the order is over.
    Fails,
}

/// Who does nothing of itself, in a script.
pub fn nobody() -> Schedule {
    Schedule { steps: Vec::new(), plans: vec![crate::direct::schedule::Plan::Raw] }
}

/// A lab whose server is made up: `main` passes `wait` and `queue`, `worker-1` passes `take`, waits for the task that
/// `main` queues, and passes `read`. In the runs `otherwise`, counted from 1, the first point of `main` is a `queue` too.
///
/// `came` says what becomes of it: asked after each pass with all of them so far, `main wait, worker-1 take`, and once
/// more when the order is over and all are free.
pub fn lab<'a>(script: &'a Schedule, otherwise: Range<u64>, mut came: impl FnMut(&str, bool) -> Came + 'a) -> Lab<'a> {
    let stage = find("stage3_broken").expect("it is in the catalogue");
    let options = parse(stage, ["program", "--search"].map(Into::into));
    let serve = |_| unreachable!("no server is started");
    let mut lab = Lab::new(stage, serve, &options, script).expect("there is a memfd");
    let mut runs = 0;
    lab.direct = Box::new(move |plan, blackbox, strategy| {
        runs += 1;
        let first = if otherwise.contains(&runs) { "queue" } else { "wait" };
        Ok(directed(plan, blackbox, strategy, first, &mut came))
    });
    lab
}

/// One run of that server.
fn directed(
    plan: &Plan<'_>,
    blackbox: Blackbox,
    strategy: &mut dyn Strategy,
    first: &'static str,
    came: &mut dyn FnMut(&str, bool) -> Came,
) -> (Run, Direction) {
    let worker = blackbox.add_role("worker-1").expect("there is room");
    let mut done: [Vec<&str>; 2] = Default::default();
    let (mut passed, mut last, mut died) = (String::new(), None, None);
    let note = |role, kind| blackbox.record(role, kind, "", Location::caller(), 7, 0, 0);
    let task = || Outcome::Refused { waiting: Waiting::Task, address: 0, holder: None };
    let standing = |role: usize, name: String, done: &[Vec<&str>; 2]| {
        let at = usize::from(role == worker);
        let nobody = Standing { name, state: State::Ended, point: "", occurrence: 0, waits: None, next: None };
        match done[at].len() {
            _ if role != MAIN && role != worker => nobody,
            1 if role == worker && done[0].len() < 2 => {
                Standing { state: State::Blocked, waits: Some(task()), ..nobody }
            }
            n @ 0..=1 => {
                let point = [[first, "queue"], ["take", "read"]][at][n];
                let occurrence = 1 + done[at].iter().filter(|before| **before == point).count() as u64;
                Standing { state: State::Parked, point, occurrence, ..nobody }
            }
            _ => nobody,
        }
    };
    let now = |done: &_, last: &Option<Last>, is_alive| {
        let roles = blackbox.roles().into_iter().enumerate().map(|(role, name)| standing(role, name, done));
        Now { roles: roles.collect(), last: last.clone(), is_alive }
    };
    while died.is_none() {
        let now = now(&done, &last, true);
        let on_the_way = |role: &Standing| role.state == State::Parked && strategy.is_on_the_way(role);
        let role = match now.roles.iter().position(on_the_way) {
            Some(role) => role,
            None => {
                let Choice::Role(moved) = strategy.choose(&now) else { break };
                let waits = moved.role == worker && done[1].is_empty() && done[0].len() < 2;
                last = Some(Last { moved, refused: waits.then(task) });
                moved.role
            }
        };
        note(role, Kind::Point);
        let point = now.roles[role].point;
        done[usize::from(role == worker)].push(point);
        passed += if passed.is_empty() { "" } else { ", " };
        passed += &format!("{} {point}", now.roles[role].name);
        match came(&passed, false) {
            Came::Dies(signal) => died = Some(signal),
            Came::Abuses => [Kind::Free, Kind::Use].into_iter().for_each(|kind| note(role, kind)),
            Came::Lives | Came::Fails => {}
        }
    }
    let steps = strategy.steps(&now(&done, &last, died.is_none()));
    blackbox.end_schedule();
    let over = if died.is_some() { Came::Lives } else { came(&passed, true) };
    let mut verdict = if died.is_some() { Direction::Died } else { Direction::Over };
    match over {
        Came::Dies(signal) => {
            note(MAIN, Kind::Point);
            died = Some(signal);
        }
        Came::Fails => verdict = Direction::Failed("a limit".to_string()),
        Came::Lives | Came::Abuses => {}
    }
    let ending = died.map_or(Ending::Exit(0), Ending::Signal);
    (Run { steps, ..Run::of(&blackbox, plan.stage, plan.setup.heap, ending) }, verdict)
}

/// Whether the worker read, and had asked for its task before there was one: `take` before `queue`.
pub fn asked_too_early(passed: &str) -> bool {
    passed.ends_with("worker-1 read") && passed.find("take") < passed.find("queue")
}

/// A run that ended so; `after`: whether a thread still did something when the steps were over.
pub(crate) fn made(ending: Ending, end: End, evidence: Option<Evidence>, after: bool) -> Made {
    let blackbox = Blackbox::new(64).expect("there is a memfd");
    let note = |role| blackbox.record(role, Kind::Close, "", Location::caller(), 7, 0, 0);
    note(MAIN);
    blackbox.end_schedule();
    // What the lab's own client does then is no thread's.
    note(crate::record::blackbox::CLIENT);
    if after {
        note(MAIN);
    }
    let stage = find("stage4_broken").expect("it is in the catalogue");
    let run = Run { evidence, ..Run::of(&blackbox, stage, stage.heap, ending) };
    Made { run, end, stayed: false }
}

const ABORT: i32 = libc::SIGABRT;

fn loss() -> Option<Evidence> {
    Some(Evidence::Loses(Loss { client: 0, owed: 1, error: 0, closed: true }))
}

#[test]
fn each_end_is_told_as_what_it_shows() {
    let shown = |ending, end, evidence| made(ending, end, evidence, false).shown();
    let lived = Ending::Exit(0);
    assert_eq!(shown(lived, End::Code(0), None), None);
    assert_eq!(shown(lived, End::Unmet("main wait".into()), None), None, "a schedule that does not fit shows nothing");
    assert_eq!(shown(lived, End::Failed("a limit".into()), None), None, "nor does a lab that failed");
    assert_eq!(
        shown(Ending::Signal(libc::SIGSEGV), End::Signal(libc::SIGSEGV), None),
        Some(Shown::Died(libc::SIGSEGV, None))
    );
    let mut aborted = made(Ending::Signal(ABORT), End::Signal(ABORT), None, false);
    aborted.run.stderr = "hello\ndouble free or corruption (!prev)\n".to_string();
    assert_eq!(aborted.shown(), Some(Shown::Died(ABORT, Some("double free or corruption (!prev)".to_string()))));
    assert_eq!(shown(lived, End::Code(1), loss()), Some(Shown::Verdict(Verdict::Loses)));
    let wrong = Misdelivery { client: 0, got: vec![], due: vec![], made_for: None };
    assert_eq!(
        shown(lived, End::Code(1), Some(Evidence::Misdelivers(wrong))),
        Some(Shown::Verdict(Verdict::Misdelivers))
    );
    assert_eq!(shown(lived, End::Code(1), None), Some(Shown::Verdict(Verdict::Herds)));
    let said = || End::Said(1, "why".to_string());
    assert_eq!(shown(Ending::Exit(PANICKED), said(), None), Some(Shown::Panicked));
    assert_eq!(shown(Ending::Signal(libc::SIGKILL), said(), None), Some(Shown::Restless));
    assert_eq!(shown(lived, said(), None), Some(Shown::Verdict(Verdict::Herds)));
    assert_eq!(shown(lived, End::Said(0, "it survived".into()), None), None);
}

#[test]
fn what_is_said_of_it_names_it() {
    let text = |shown: Shown| shown.text();
    assert_eq!(text(Shown::Died(ABORT, Some("free(): x".into()))), "SIGABRT: free(): x");
    assert_eq!(text(Shown::Died(libc::SIGSEGV, None)), "SIGSEGV");
    use Verdict::{Hangs, Herds, Loses, Misdelivers, NeverStops};
    let verdicts = [Hangs, Misdelivers, NeverStops, Loses, Herds].map(|verdict| text(Shown::Verdict(verdict)));
    let all: std::collections::BTreeSet<_> = verdicts.iter().collect();
    assert!(all.len() == 5 && verdicts.iter().all(|text| text.contains(' ')), "{verdicts:?}");
    // Each verdict that there is has words of its own.
    for stage in crate::catalogue::exhibits() {
        let id = stage.expect.id();
        assert!(["signal", "serves"].contains(&id) || Shown::Verdict(stage.expect).text() != id, "{id}");
    }
}

#[test]
fn a_death_when_the_steps_are_over_is_not_the_orders() {
    let died = |after| made(Ending::Signal(ABORT), End::Signal(ABORT), None, after).is_directed();
    assert_eq!([died(false), died(true)], [true, false]);
    // What a director who stays sees is in his hands.
    let lost = |stayed, after| Made { stayed, ..made(Ending::Exit(0), End::Code(1), loss(), after) }.is_directed();
    assert_eq!([lost(true, true), lost(false, true), lost(false, false)], [true, false, true]);
    assert!(made(Ending::Exit(0), End::Code(1), None, true).is_directed(), "a herd is counted to the end");
    let died = Made { stayed: true, ..made(Ending::Signal(ABORT), End::Signal(ABORT), None, true) };
    assert!(!died.is_directed(), "he has let go of everybody by then");
}

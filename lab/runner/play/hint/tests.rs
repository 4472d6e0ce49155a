//! Which step of a schedule is the next one, wherever the reader has got to, and which one leads on.

use std::slice::from_ref;

use super::super::super::search::making::tests::{Came, asked_too_early, lab, nobody};
use super::*;
use crate::catalogue::exhibits;

fn step(role: &str, point: &str, occurrence: u64) -> Step {
    let action = Action::Pass { point: point.to_string(), occurrence: Some(occurrence) };
    Step { role: role.to_string(), action, line: 0 }
}

fn connect() -> Step {
    Step { role: "client".to_string(), action: Action::Connect, line: 0 }
}

fn follow(text: &str) -> Follow {
    Follow::new(&Schedule::parse(text, &["wait", "queue", "read"], 2).expect("it is well formed"))
}

fn picked(follow: &mut Follow, ready: &[Step]) -> usize {
    let chosen = follow.pick(ready, None);
    follow.moves(ready, chosen);
    chosen
}

#[test]
fn the_steps_are_made_in_their_order_by_whoever_can() {
    let mut order = follow("client connect\nmain queue\nworker-1 read 2\nmain wait\n");
    let [wait, queue, read] = [step("main", "wait", 1), step("main", "queue", 1), step("worker-1", "read", 1)];
    // Both threads go on to the points of their steps first.
    let ready = [wait.clone(), read.clone(), connect()];
    assert_eq!(picked(&mut order, &ready), 0);
    assert_eq!(picked(&mut order, &[queue.clone(), read, connect()]), 1);
    let second = step("worker-1", "read", 2);
    assert_eq!(picked(&mut order, &[queue.clone(), second.clone(), connect()]), 2);
    // main cannot move, and its turn waits for it.
    assert_eq!(picked(&mut order, &[second]), 0);
    assert_eq!(picked(&mut order, &[queue]), 0);
    assert_eq!(picked(&mut order, &[wait]), 0);
    assert!(order.steps.is_empty());
}

#[test]
fn what_the_reader_has_done_is_not_done_again() {
    let mut order = follow("client connect\nmain wait\nworker-1 read\n");
    let ready = [step("main", "wait", 1), step("worker-1", "read", 1), connect()];
    order.moves(&ready, 1);
    order.moves(&ready[..1], 0);
    assert_eq!(order.steps.len(), 1);
    assert_eq!(picked(&mut order, &[step("main", "wait", 2), connect()]), 1);
    // Then it is calm: a thread before a client.
    assert_eq!(picked(&mut order, &[step("main", "wait", 2), connect()]), 0);
}

#[test]
fn each_exhibit_has_a_question() {
    for stage in exhibits() {
        let asked = question(stage);
        assert!(asked.ends_with('?') && asked.len() < 160, "{}: {asked}", stage.name);
    }
}

/// The step that is named, from there, in runs of a server of which this becomes; and how many runs that took.
fn looked(prefix: &[Step], own: &str, came: impl FnMut(&str, bool) -> Came) -> (Option<String>, u64) {
    let script = nobody();
    let mut lab = lab(&script, 0..0, came);
    let own = Schedule::parse(own, &[], 2).expect("it is well formed");
    let found = next_step(&mut lab, prefix, &own).expect("nothing is missing");
    (found.map(|step| format!("{} {}", step.role, step.action)), lab.runs())
}

fn named(prefix: &[Step], own: &str, came: impl FnMut(&str, bool) -> Came) -> Option<String> {
    looked(prefix, own, came).0
}

/// What the stage is there to show.
fn dies(passed: &str, _: bool) -> Came {
    if asked_too_early(passed) { Came::Dies(libc::SIGSEGV) } else { Came::Lives }
}

#[test]
fn a_step_that_leads_to_the_aim_is_named_where_there_is_one() {
    let own = "worker-1 take\nmain queue\nworker-1 read\n";
    let [wait, queue] = [step("main", "wait", 1), step("main", "queue", 1)];
    let [take, read] = [step("worker-1", "take", 1), step("worker-1", "read", 1)];
    // (The choices so far, the step that leads on from them.)
    let cases: [(&[Step], Option<&str>); 6] = [
        (&[], Some("main wait 1")),
        (from_ref(&wait), Some("worker-1 take 1")),
        (from_ref(&take), Some("main wait 1")),
        (&[wait.clone(), take.clone(), queue.clone()], Some("worker-1 read 1")),
        // It is too late.
        (&[wait.clone(), queue.clone()], None),
        // They do not come like this.
        (&[wait.clone(), read], None),
    ];
    for (prefix, named_step) in cases {
        assert_eq!(named(prefix, own, dies).as_deref(), named_step, "{prefix:?}");
    }
}

#[test]
fn where_its_own_schedule_does_not_lead_to_it_others_are_tried() {
    let own = "main wait\nmain queue\nworker-1 take\nworker-1 read\n";
    let [wait, take] = [step("main", "wait", 1), step("worker-1", "take", 1)];
    let (step, runs) = looked(from_ref(&wait), own, dies);
    assert_eq!((step.as_deref(), runs), (Some("worker-1 take 1"), 2));
    // The choices so far are made first, whatever comes then.
    let (step, runs) = looked(&[wait, take], own, dies);
    assert_eq!((step.as_deref(), runs), (Some("main queue 1"), 1));
}

#[test]
fn nothing_leads_to_what_is_not_the_aim_or_comes_by_chance() {
    let own = "worker-1 take\nmain queue\nworker-1 read\n";
    let aborts = |passed: &str, _| if asked_too_early(passed) { Came::Dies(libc::SIGABRT) } else { Came::Lives };
    assert_eq!(named(&[], own, aborts), None);
    let by_chance = |_: &str, is_over| if is_over { Came::Dies(libc::SIGSEGV) } else { Came::Lives };
    assert_eq!(named(&[], own, by_chance), None);
    assert_eq!(named(&[], own, |_, _| Came::Lives), None);
}

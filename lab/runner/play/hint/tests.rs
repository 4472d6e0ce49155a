//! Which step of a schedule is the next one, wherever the reader has got to.

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

//! Which runs come, and what is said of them.

use super::super::tests::{pass, record, taken};
use super::*;
use crate::record::event::Kind;

/// Lets each run that comes be this one, and says which came.
fn all(depth: usize, of: impl Fn(&Delayed) -> Vec<Taken>, records: &[Record]) -> (Vec<Vec<usize>>, Bounded) {
    let mut bounded = Bounded::new(depth);
    let mut came = Vec::new();
    while let Some(run) = bounded.take_next() {
        came.push(run.at.clone());
        bounded.made(&run, &of(&run), records);
    }
    (came, bounded)
}

/// Three choices, and between them a step that is none.
fn run(_: &Delayed) -> Vec<Taken> {
    ["a", "b", "c", "d"].iter().zip([2, 1, 3, 2]).map(|(role, ready)| taken(pass(role, "p", 1), ready)).collect()
}

#[test]
fn the_calm_run_comes_first_then_each_delay_then_each_pair() {
    let (came, bounded) = all(0, run, &[]);
    assert_eq!(came, [Vec::<usize>::new()]);
    assert_eq!(bounded.bounds(), Bounds { complete: Some(0), orders: 1, begun: 0, of: 0 });
    let (came, bounded) = all(1, run, &[]);
    assert_eq!(came, [Vec::<usize>::new(), vec![0], vec![1], vec![2]]);
    assert_eq!(bounded.bounds(), Bounds { complete: Some(1), orders: 4, begun: 0, of: 0 });
    let (came, bounded) = all(2, run, &[]);
    let pairs = [vec![0, 0], vec![0, 1], vec![0, 2], vec![1, 1], vec![1, 2], vec![2, 2]];
    assert_eq!(came[4..], pairs);
    assert_eq!(bounded.bounds(), Bounds { complete: Some(2), orders: 10, begun: 0, of: 0 });
    assert_eq!(bounded.diverged(), None);
    assert_eq!(all(3, run, &[]).0.len(), 20);
}

#[test]
fn a_bound_is_complete_when_its_last_run_was_made_and_not_before() {
    let mut bounded = Bounded::new(2);
    assert_eq!(bounded.bounds().complete, None);
    for (made, complete) in [(1, Some(0)), (2, Some(0)), (3, Some(0)), (4, Some(1)), (9, Some(1)), (10, Some(2))] {
        while bounded.before + bounded.done < made {
            let next = bounded.take_next().expect("there are ten");
            bounded.made(&next, &run(&next), &[]);
        }
        assert_eq!(bounded.bounds().complete, complete, "{made}");
    }
    assert!(bounded.take_next().is_none());
    let mut bounded = Bounded::new(2);
    for _ in 0..6 {
        let next = bounded.take_next().expect("there are ten");
        bounded.made(&next, &run(&next), &[]);
    }
    assert_eq!(bounded.bounds(), Bounds { complete: Some(1), orders: 4, begun: 2, of: 6 });
}

#[test]
fn pairs_that_meet_at_an_object_come_first() {
    // b, the third role to have a choice, touches what a does when it goes on.
    let run = |run: &Delayed| match run.at[..] {
        // a is delayed at the first choice, and goes on last.
        [0] => ["b", "c", "a"].iter().zip([2, 2, 1]).map(|(role, ready)| taken(pass(role, "p", 1), ready)).collect(),
        _ => ["a", "b", "c"]
            .iter()
            .zip([3, 2, 1])
            .map(|(role, ready)| taken(pass(role, "p", 1), ready))
            .collect::<Vec<_>>(),
    };
    // Of the run with the delay: c and a meet.
    let records = [record(1, Kind::Read, 1), record(2, Kind::Close, 5), record(3, Kind::Write, 5)];
    let (came, _) = all(2, run, &records);
    assert_eq!(came[..3], [Vec::<usize>::new(), vec![0], vec![1]]);
    assert_eq!(came[3..], [vec![0, 1], vec![0, 0], vec![1, 1]]);
    // Two roles that are one do not meet.
    let alone = |_: &Delayed| vec![taken(pass("a", "p", 1), 2), taken(pass("a", "p", 2), 2)];
    let (came, _) = all(2, alone, &[record(1, Kind::Write, 5), record(2, Kind::Write, 5)]);
    assert_eq!(came, [Vec::<usize>::new(), vec![0], vec![1], vec![0, 0], vec![0, 1], vec![1, 1]]);
}

#[test]
fn a_run_that_leaves_what_it_repeats_is_noticed() {
    let mut bounded = Bounded::new(1);
    let calm = bounded.take_next().expect("the calm run");
    bounded.made(&calm, &run(&calm), &[]);
    let _ = bounded.take_next();
    let second = bounded.take_next().expect("a delay at the second choice");
    assert!(Bounded::keeps(&second, &run(&second)));
    // What comes from the delay on may be anything.
    let mut other = run(&second);
    other[2] = taken(pass("x", "p", 1), 2);
    assert!(Bounded::keeps(&second, &other));
    other[1] = taken(pass("b", "p", 2), 1);
    assert!(!Bounded::keeps(&second, &other));
    assert!(!Bounded::keeps(&second, &run(&second)[..1]), "it ended too early");
    bounded.made(&second, &other, &[]);
    assert_eq!(bounded.diverged(), Some(&(1, pass("b", "p", 2))));
    let third = bounded.take_next().expect("a delay at the third choice");
    bounded.made(&third, &run(&third)[..2], &[]);
    assert_eq!(bounded.diverged(), Some(&(2, pass("b", "p", 2))), "the first one is named");
}

//! Keys that outlived what they stood for, in records that were made by hand.

use super::*;
use crate::catalogue;
use crate::direct::outcome::{Ending, Run};
use crate::record::blackbox::Blackbox;
use crate::world::heap::Heap;

const MAIN: usize = 1;
const ONE: usize = 2;
const TWO: usize = 3;
const FD: u64 = 9;
const TABLE: u64 = 0x1000;
/// Sessions of one slot, under a generation each.
const FIRST: u64 = 1 << 32 | FD;
const SECOND: u64 = 2 << 32 | FD;

/// What happened: who, what, to which descriptor or key, and the key that goes with it.
type Deed = (usize, Kind, u64, u64);

fn run(deeds: &[Deed]) -> Run {
    let stage = catalogue::find("stage5_broken").expect("it is in the catalogue");
    let mut run = Run::of(&Blackbox::new(64).expect("memory"), stage, Heap::Malloc, Ending::Exit(0));
    run.roles = ["client", "main", "worker-1", "worker-2"].map(String::from).to_vec();
    let record = |(number, &(role, kind, a, b)): (usize, &Deed)| {
        let (number, line) = (number as u64, number as u32);
        Record {
            number,
            nanos: number,
            role,
            kind,
            label: "",
            file: "lab/stages/made_up.rs",
            line,
            column: 1,
            inherited: false,
            step: None,
            over: false,
            a,
            b,
            c: 0,
        }
    };
    run.records = deeds.iter().enumerate().map(record).collect();
    run
}

fn found(deeds: &[Deed]) -> Option<Stale> {
    let run = run(deeds);
    stale(&Timeline::new(&run))
}

/// worker-1 takes a task of the first client; `main` closes its socket, and accepts another under the same number.
fn until_reused(old: u64, new: u64) -> Vec<Deed> {
    vec![
        (MAIN, Kind::Accept, FD, 0),
        (MAIN, Kind::Add, FD, old),
        (ONE, Kind::Pop, old, 0),
        (ONE, Kind::Lock, TABLE, 0),
        (MAIN, Kind::Close, FD, 0),
        (MAIN, Kind::Accept, FD, 0),
        (MAIN, Kind::Add, FD, new),
    ]
}

fn numbers(places: &[Place]) -> Vec<u64> {
    places.iter().map(|place| place.number).collect()
}

#[test]
fn a_late_look_up_that_opens_the_next_session_is_told_with_all_its_places() {
    let mut deeds = until_reused(FD, FD);
    deeds.extend([
        (MAIN, Kind::Ready, FD, 1),
        (ONE, Kind::Lock, TABLE, 0),
        (ONE, Kind::Write, FD, 57),
        (ONE, Kind::Modify, FD, FD),
        (MAIN, Kind::Ready, FD, 1),
    ]);
    let stale = found(&deeds).expect("the key is stale");
    assert!(stale.did_harm());
    assert_eq!((stale.role, stale.fd, stale.sessions, stale.keys), (ONE, FD, [1, 2], [FD, FD]));
    assert_eq!(numbers(&[stale.taken, stale.closed, stale.reused, stale.returned]), [2, 4, 5, 8]);
    assert_eq!((stale.written.map(|at| at.number), stale.rearmed.map(|at| at.number)), (Some(9), Some(10)));
    assert_eq!(stale.reported.map(|both| numbers(&both)), Some(vec![7, 11]), "one arming, two reports");
}

#[test]
fn a_key_that_is_turned_away_does_no_harm() {
    let mut deeds = until_reused(FIRST, SECOND);
    // The second client's own worker writes and arms; worker-1 goes on to its next task, which is that client's too.
    deeds.extend([
        (ONE, Kind::Lock, TABLE, 0),
        (TWO, Kind::Write, FD, 57),
        (TWO, Kind::Modify, FD, SECOND),
        (ONE, Kind::Pop, SECOND, 0),
        (ONE, Kind::Write, FD, 57),
        (ONE, Kind::Modify, FD, SECOND),
    ]);
    let stale = found(&deeds).expect("the key is stale");
    assert!(!stale.did_harm());
    assert_eq!((stale.keys, stale.returned.number), ([FIRST, SECOND], 7));
    assert!(stale.written.is_none() && stale.rearmed.is_none() && stale.reported.is_none());
}

#[test]
fn an_arming_by_its_own_worker_in_between_is_no_second_report_of_one_arming() {
    let mut deeds = until_reused(FD, FD);
    deeds.extend([
        (MAIN, Kind::Ready, FD, 1),
        (TWO, Kind::Modify, FD, FD),
        (ONE, Kind::Lock, TABLE, 0),
        (ONE, Kind::Modify, FD, FD),
        (MAIN, Kind::Ready, FD, 1),
    ]);
    let stale = found(&deeds).expect("the key is stale");
    assert_eq!((stale.rearmed.map(|at| at.number), stale.reported.is_none()), (Some(10), true));
}

#[test]
fn what_comes_before_the_reuse_and_what_has_another_number_is_not_stale() {
    // The worker is back before the number is given out again.
    let early = [
        (MAIN, Kind::Accept, FD, 0),
        (MAIN, Kind::Add, FD, FD),
        (ONE, Kind::Pop, FD, 0),
        (ONE, Kind::Lock, TABLE, 0),
        (ONE, Kind::Pop, FD + 1, 0),
        (MAIN, Kind::Close, FD, 0),
        (MAIN, Kind::Accept, FD, 0),
        (MAIN, Kind::Add, FD, FD),
        (ONE, Kind::Lock, TABLE, 0),
        (ONE, Kind::Write, FD, 57),
    ];
    assert!(found(&early).is_none());
    let mut other = until_reused(FD, FD);
    other[5].2 = FD + 1;
    other[6] = (MAIN, Kind::Add, FD + 1, FD + 1);
    other.extend([(ONE, Kind::Lock, TABLE, 0), (ONE, Kind::Write, FD + 1, 57)]);
    assert!(found(&other).is_none());
}

#[test]
fn a_key_that_did_harm_is_told_before_one_that_did_not() {
    let mut deeds = until_reused(FD, FD);
    // worker-2 has the first client's key too, and comes back first, to nothing.
    deeds.insert(2, (TWO, Kind::Pop, FD, 0));
    deeds.extend([(TWO, Kind::Lock, TABLE, 0), (ONE, Kind::Lock, TABLE, 0), (ONE, Kind::Write, FD, 57)]);
    let stale = found(&deeds).expect("a key is stale");
    assert_eq!((stale.role, stale.written.map(|at| at.number)), (ONE, Some(10)));
}

/// The number goes to a second client, which leaves too, and to a third: it is the third that the old key opens.
#[test]
fn a_number_that_went_through_three_sessions_is_the_last_ones() {
    let mut deeds = until_reused(FD, FD);
    let again = [
        (MAIN, Kind::Close, FD, 0),
        (MAIN, Kind::Accept, FD, 0),
        (MAIN, Kind::Add, FD, FD),
        (ONE, Kind::Lock, TABLE, 0),
        (ONE, Kind::Write, FD, 57),
        (ONE, Kind::Modify, FD, FD),
    ];
    deeds.extend(again);
    let stale = found(&deeds).expect("the key is stale");
    assert_eq!((stale.role, stale.sessions), (ONE, [1, 3]));
    assert_eq!(numbers(&[stale.taken, stale.closed, stale.reused, stale.returned]), [2, 4, 8, 10]);
    assert_eq!((stale.written.map(|at| at.number), stale.rearmed.map(|at| at.number)), (Some(11), Some(12)));
    // It comes back in the second one's time already, and to nothing; what it does to the third is of another look-up.
    deeds.insert(7, (ONE, Kind::Lock, TABLE, 0));
    let stale = found(&deeds).expect("the key is stale");
    assert_eq!((stale.sessions, stale.written.map(|at| at.number)), ([1, 3], Some(12)));
    // A fourth client's report is none of the third one's.
    deeds.insert(11, (MAIN, Kind::Ready, FD, 1));
    let closed = [(MAIN, Kind::Close, FD, 0), (MAIN, Kind::Accept, FD, 0), (MAIN, Kind::Ready, FD, 1)];
    deeds.extend(closed);
    assert!(found(&deeds).is_some_and(|stale| stale.rearmed.is_some() && stale.reported.is_none()));
}

//! What is taken out of a box after a run.

use super::*;
use std::panic::Location;

use crate::catalogue::find;
use crate::record::blackbox::MAIN;
use crate::record::event::Kind;
use crate::record::wakeups::Counts;

#[test]
fn each_evidence_is_of_its_own_verdict() {
    let hang = Hang { session: 0, fd: 0, unread: 0, owed: 0, doing: vec![], proof: None, serves_another: false };
    let wrong = Misdelivery { client: 0, got: vec![], due: vec![], made_for: None };
    assert_eq!(Evidence::Hangs(hang).verdict(), Verdict::Hangs);
    assert_eq!(
        Evidence::NeverStops(Stuck { doing: vec![], joins: None, asleep: vec![] }).verdict(),
        Verdict::NeverStops
    );
    assert_eq!(Evidence::Misdelivers(wrong).verdict(), Verdict::Misdelivers);
    assert_eq!(Evidence::Loses(Loss { client: 0, owed: 0, error: 0, closed: true }).verdict(), Verdict::Loses);
}

#[test]
fn a_run_has_all_that_its_box_has() {
    let (blackbox, stage) = (Blackbox::new(2).expect("there is a memfd"), find("stage4_broken").expect("it is there"));
    blackbox.add_role("worker-1").expect("there is room");
    for fd in 0..3 {
        blackbox.record(MAIN, Kind::Close, "", Location::caller(), fd, 0, 0);
    }
    let counts = Counts { woken: 1, empty: 2, accepted: 3, exhausted: 4, slept: 5 };
    blackbox.set_herd(&Herd { reactors: vec![counts] });
    blackbox.serve_ended(ServedCounts { received: 7, replies: 8 });
    blackbox.set_fault(libc::SIGBUS, 2, 9);
    let run = Run::of(&blackbox, stage, Heap::Pages, Ending::Signal(libc::SIGBUS));
    assert_eq!((run.stage.name, run.heap, run.ending), ("stage4_broken", Heap::Pages, Ending::Signal(libc::SIGBUS)));
    assert_eq!(run.roles, ["client", "main", "worker-1"]);
    assert_eq!((run.records.iter().map(|record| record.a).collect::<Vec<_>>(), run.dropped), (vec![1, 2], 1));
    assert_eq!((run.herd.reactors, run.served), (vec![counts], Some(ServedCounts { received: 7, replies: 8 })));
    assert_eq!(run.fault.map(|fault| (fault.signal, fault.code, fault.address)), Some((libc::SIGBUS, 2, 9)));
    // Who directed it adds the rest.
    assert!(run.steps.is_empty() && run.stderr.is_empty() && run.evidence.is_none());
    assert_eq!((run.client, run.millis), (ClientTotals::default(), 0.0));
}

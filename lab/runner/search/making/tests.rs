//! What a run is said to have shown, and whether its order showed it.

use std::panic::Location;

use super::*;
use crate::catalogue::find;
use crate::direct::client::Misdelivery;
use crate::direct::outcome::{Evidence, Loss};
use crate::record::blackbox::MAIN;
use crate::record::event::Kind;

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

//! How short an order becomes, and how often it holds.

use std::process::Command;

use super::super::campaign::tests::{found, one_delay};
use super::super::campaign::{Campaign, Looked};
use super::super::making::listen_to_signals;
use super::super::making::tests::{Came, asked_too_early, lab, nobody};
use super::*;
use crate::catalogue::find;
use crate::record::event::Waiting;

const SEGV: i32 = libc::SIGSEGV;

/// What is found with this server, and what is made of it; with the runs of the lab before that.
fn shortened(came: impl FnMut(&str, bool) -> Came) -> (Schedule, Shorter, u64) {
    let script = nobody();
    let mut lab = lab(&script, 0..0, came);
    let found = found(Campaign::new(&one_delay()).run(&mut lab).expect("nothing is missing"));
    let (before, order) = (lab.runs(), found.order(&script));
    let shorter = shorten(&mut lab, &found, &order, &found.without_waits(&script)).expect("nothing is missing");
    assert_eq!(lab.runs() - before, shorter.runs);
    (order, shorter, before)
}

#[test]
fn an_order_is_as_short_as_it_can_be_and_is_run_twenty_times() {
    let (_, shorter, before) =
        shortened(|passed, _| if asked_too_early(passed) { Came::Dies(SEGV) } else { Came::Lives });
    assert_eq!(before, 2);
    // The worker waits once in it. To make it shorter it waited twice, and each shorter one waits no more often.
    assert_eq!(shorter.order.to_string(), "worker-1  read\nmain      queue\n");
    assert_eq!((shorter.held, shorter.of), (20, 20));
    let made = shorter.made.expect("it held");
    assert_eq!(made.shown(), Some(Shown::Died(SEGV, None)));
}

#[test]
fn what_comes_by_chance_does_not_make_an_order_shorter_that_shows_it_each_time() {
    let (_, shorter, _) = shortened(|passed, is_over| match is_over {
        true if passed.starts_with("worker-1 take") => Came::Dies(SEGV),
        false if asked_too_early(passed) => Came::Dies(SEGV),
        _ => Came::Lives,
    });
    assert_eq!(shorter.order.to_string(), "worker-1  read\nmain      queue\n");
}

#[test]
fn what_came_when_all_were_free_may_come_so_again() {
    let (_, shorter, before) = shortened(|passed, is_over| match is_over {
        true if asked_too_early(passed) => Came::Dies(SEGV),
        _ => Came::Lives,
    });
    assert_eq!((before, shorter.order.to_string().as_str()), (5, "worker-1  read\nmain      queue\n"));
    assert_eq!((shorter.held, shorter.of), (20, 20));
}

/// Dies of asking too early, but in one run.
fn but_in(lives_in: u64) -> impl FnMut(&str, bool) -> Came {
    let mut run = 0;
    move |passed, is_over| {
        let is_first = !is_over && !passed.contains(',');
        run += u64::from(is_first);
        if asked_too_early(passed) && run != lives_in { Came::Dies(SEGV) } else { Came::Lives }
    }
}

#[test]
fn where_the_shorter_one_does_not_hold_the_order_that_was_found_is_kept() {
    let (_, always, before) = shortened(but_in(0));
    // Its replays come last.
    let (order, kept, _) = shortened(but_in(before + always.runs - 10));
    assert_ne!(order, always.order);
    assert_eq!((kept.order, kept.held, kept.of), (order, 20, 20));
    assert_eq!(kept.runs, always.runs + 20);
}

#[test]
fn a_step_that_passed_late_came_and_one_that_never_came_did_not() {
    let refused = Outcome::Refused { waiting: Waiting::Task, address: 0, holder: None };
    // (What became of a step, whether it came, whether it waited.)
    let cases = [
        (Outcome::Passed, true, 0),
        (refused, true, 1),
        (Outcome::HeldBack, true, 1),
        (Outcome::NotReached, true, 0),
        (Outcome::Unmet("has ended".to_string()), false, 0),
    ];
    let script = nobody();
    let mut lab = lab(&script, 0..0, |_, _| Came::Lives);
    let order = Schedule::parse("main wait\nmain queue\n", &[], 2).expect("it is well formed");
    let mut run = lab.ordered(&order).expect("nothing is missing").run;
    assert_eq!((all_came(&run), waits(&run)), (true, 0));
    for (outcome, came, waited) in cases {
        run.steps[1].outcome = outcome;
        assert_eq!((all_came(&run), waits(&run)), (came, waited), "{:?}", run.steps[1]);
    }
}

#[test]
fn an_order_that_cannot_be_read_back_is_none() {
    let stage = find("stage3_broken").expect("it is in the catalogue");
    let script = nobody();
    let setup = lab(&script, 0..0, |_, _| Came::Lives).plan.setup;
    let is = |text: &str| {
        let order = Schedule::parse(text, &[], 9).expect("it is well formed where all is known");
        is_well_formed(stage, setup, &order)
    };
    assert!(is("main wait\nworker-2 take 3\n"));
    assert!(!is("worker-3 take\n"), "there are two workers");
    assert!(!is("main sleep\n"), "there is no such point");
}

/// Set for a process that is to be told to end.
const IS_TOLD: &str = "LAB_TEST_IS_TOLD";

/// No test by itself: what the next one starts.
#[test]
fn it_is_told_to_end_where_it_says_so() {
    if std::env::var_os(IS_TOLD).is_none() {
        return;
    }
    // SAFETY: raise(3) has no preconditions.
    let tell = |signal| assert_eq!(unsafe { libc::raise(signal) }, 0);
    let (script, mut is_last) = (nobody(), false);
    let is_told = std::cell::Cell::new(false);
    let mut lab = lab(&script, 0..0, |passed, _| {
        if is_told.get() && !std::mem::replace(&mut is_last, true) {
            tell(libc::SIGTERM);
            return Came::Dies(libc::SIGTERM);
        }
        if asked_too_early(passed) { Came::Dies(SEGV) } else { Came::Lives }
    });
    let found = found(Campaign::new(&one_delay()).run(&mut lab).expect("nothing is missing"));
    listen_to_signals();
    assert_eq!(told(), None);
    is_told.set(true);
    let mut campaign = Campaign::new(&one_delay());
    let looked = campaign.run(&mut lab).expect("nothing is missing");
    assert!(matches!(looked, Looked::Nothing), "the server was told by whoever told this");
    assert_eq!((told(), campaign.runs()), (Some(libc::SIGTERM), 0));
    let order = found.order(&script);
    let shorter = shorten(&mut lab, &found, &order, &order).expect("nothing is missing");
    assert_eq!((shorter.order, shorter.held, shorter.of, shorter.runs), (order, 1, 1, 1));
    tell(libc::SIGINT);
    unreachable!("told twice, it ends at once");
}

#[test]
fn told_to_end_it_leaves_it_at_what_there_is_and_told_again_it_ends() {
    let mut command = Command::new(std::env::current_exe().expect("it is known"));
    let name = "runner::search::shorten::tests::it_is_told_to_end_where_it_says_so";
    command.args(["--exact", name, "--nocapture"]).env(IS_TOLD, "1");
    let output = command.output().expect("it starts");
    assert_eq!(output.status.code(), Some(128 + libc::SIGINT), "{}", String::from_utf8_lossy(&output.stderr));
}

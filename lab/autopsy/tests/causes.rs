//! Who did what, where, in which step: each of them is named rightly, and nobody else who was near.

use super::super::findings::{kept_alive, left_early, refusals};
use super::super::timeline::Timeline;
use super::super::verdicts::{self, cause, first_mistake};
use super::*;
use crate::record::names::Block;

/// A second session, and its lock.
const OTHER: u64 = SESSION + 0x1000;
const LOCK: u64 = SESSION + 8;
const OTHERS_LOCK: u64 = OTHER + 8;
const INPUT: u64 = libc::EPOLLIN as u64;

fn on(run: &Run) -> Timeline<'_> {
    Timeline::new(run)
}

/// The steps are only counted here.
fn run_of(records: &Records, stage: &str, ending: Ending) -> Run {
    let steps =
        [("main", "wait"), ("worker-1", "enter"), ("worker-2", "enter"), ("worker-1", "rearm"), ("main", "remove")];
    records.run(stage, &steps, ending)
}

// ---- left early

type Deed = (usize, Kind, [u64; 3]);

/// worker-1 takes a task, looks, and arms the socket on its way, in its lock.
fn early() -> Vec<Deed> {
    vec![
        (MAIN, Kind::Alloc, [SESSION, 64, 0]),
        (ONE, Kind::Pop, [SESSION, 0, 0]),
        (ONE, Kind::Lock, [LOCK, 0, 0]),
        (ONE, Kind::Read, [7, 10, 0]),
        (ONE, Kind::Modify, [7, 1, ONE_SHOT | INPUT]),
        (ONE, Kind::Unlock, [LOCK, 0, 0]),
    ]
}

fn records(deeds: &[Deed]) -> Records {
    let mut records = Records::default();
    for (role, kind, numbers) in deeds {
        records.add(*role, *kind, if *kind == Kind::Alloc { "Session" } else { "" }, *numbers);
    }
    records
}

fn left(deeds: &[Deed]) -> Option<(u64, usize, String)> {
    let run = run_of(&records(deeds), "stage6_fixed", Ending::Exit(0));
    left_early(&on(&run)).map(|left| (left.rearmed.number, left.rearmed.role, left.lock))
}

#[test]
fn who_arms_the_socket_on_its_way_and_in_which_lock() {
    let lock = "session 1's lock".to_string();
    assert_eq!(left(&early()), Some((4, ONE, lock.clone())));
    // A reply of the turn before, or another worker's, is none of this turn's.
    let mut before = early();
    before.insert(1, (ONE, Kind::Write, [7, 52, 0]));
    before.insert(4, (TWO, Kind::Write, [8, 52, 0]));
    assert_eq!(left(&before), Some((6, ONE, lock.clone())));
    // The lock that is taken last is the one that it stands in.
    let mut two = early();
    two.insert(1, (MAIN, Kind::Alloc, [OTHER, 64, 0]));
    two.insert(3, (ONE, Kind::Lock, [OTHERS_LOCK, 0, 0]));
    assert_eq!(left(&two), Some((6, ONE, lock.clone())));
    // The first one who leaves early is told, of two.
    let twice = [&early()[..], &early()[1..]].concat();
    assert_eq!(left(&twice), Some((4, ONE, lock)));
}

#[test]
fn who_writes_a_reply_or_arms_outside_of_its_lock_has_not_left_early() {
    let changed = |at: usize, deed: Deed| {
        let mut deeds = early();
        deeds[at] = deed;
        left(&deeds)
    };
    assert_eq!(changed(3, (ONE, Kind::Write, [7, 52, 0])), None, "it has answered");
    for asked in [0, INPUT, ONE_SHOT, ONE_SHOT | libc::EPOLLRDHUP as u64] {
        assert_eq!(changed(4, (ONE, Kind::Modify, [7, 1, asked])), None, "{asked:#x}: not armed for input once");
    }
    assert_eq!(changed(4, (ONE, Kind::Add, [7, 1, ONE_SHOT | INPUT])), None);
    assert_eq!(changed(4, (TWO, Kind::Modify, [7, 1, ONE_SHOT | INPUT])), None, "another one, without a lock");
    assert_eq!(changed(2, (TWO, Kind::Lock, [LOCK, 0, 0])), None, "another one's lock");
    assert_eq!(changed(5, (ONE, Kind::Unlock, [OTHERS_LOCK, 0, 0])), None, "it never gives it back");
    assert_eq!(changed(5, (TWO, Kind::Unlock, [LOCK, 0, 0])), None);
    assert_eq!(changed(5, (ONE, Kind::Lock, [LOCK, 0, 0])), None);
    let mut given_back = early();
    given_back.insert(4, (ONE, Kind::Unlock, [LOCK, 0, 0]));
    assert_eq!(left(&given_back), None, "the lock was given back before");
}

#[test]
fn whoever_left_early_after_the_schedule_or_at_a_server_that_drains_shows_nothing() {
    let mut after = Records::default();
    after.step(MAIN, 1).point(MAIN, "wait").end();
    for (role, kind, numbers) in early() {
        after.add(role, kind, "Session", numbers);
    }
    let run = run_of(&after, "stage6_fixed", Ending::Exit(0));
    assert!(left_early(&on(&run)).is_none());
    let run = run_of(&records(&early()), "stage7_fixed", Ending::Exit(0));
    assert!(left_early(&on(&run)).is_none());
}

#[test]
fn the_report_of_one_who_left_early_has_the_worker_the_step_the_place_and_the_lock() {
    let mut records = Records::default();
    records.step(MAIN, 1).session(SESSION).step(ONE, 2);
    for (role, kind, numbers) in &early()[1..] {
        records.add(*role, *kind, "", *numbers);
    }
    let run = run_of(&records, "stage6_fixed", Ending::Exit(0));
    let said = "re-armed worker-1 left without a reply, and armed the socket on its way (step 2, \
                lab/stages/made_up.rs:60), still holding session 1's lock";
    contains(&report(&run, 100, false), &[said, run.stage.why]);
    let value = json(&run);
    assert_eq!(
        (&value["left_early"]["holding"], &value["left_early"]["rearmed"]["line"]),
        (&"session 1's lock".into(), &60.into())
    );
    assert_eq!(value["left_early"]["rearmed"]["role"], "worker-1");
}

// ---- refusals

/// Two sessions, and both workers at both locks; worker-2 has to wait for the first one's, which worker-1 has had
/// before too.
fn at_two_locks() -> Run {
    let mut records = Records::default();
    records.step(MAIN, 1).session(SESSION).session(OTHER);
    // Another step's refusal, long before.
    records.add(TWO, Kind::Refused, "", [9, Waiting::Lock as u64, LOCK]);
    records.add(TWO, Kind::Lock, "", [LOCK, 0, 0]).add(TWO, Kind::Unlock, "", [LOCK, 0, 0]);
    records.step(ONE, 2).add(ONE, Kind::Lock, "", [LOCK, 0, 0]).add(ONE, Kind::Unlock, "", [LOCK, 0, 0]);
    records.step(ONE, 4).add(ONE, Kind::Lock, "", [LOCK, 0, 0]).add(ONE, Kind::Lock, "", [OTHERS_LOCK, 0, 0]);
    // Another role's refusal of the same number is none of this one's.
    records.add(MAIN, Kind::Refused, "", [3, Waiting::Task as u64, 0]);
    records.step(TWO, 3).add(TWO, Kind::Refused, "", [3, Waiting::Lock as u64, LOCK]);
    records.add(ONE, Kind::Unlock, "", [OTHERS_LOCK, 0, 0]).add(TWO, Kind::Lock, "", [OTHERS_LOCK, 0, 0]);
    records.step(MAIN, 5).add(ONE, Kind::Unlock, "", [LOCK, 0, 0]).add(ONE, Kind::Lock, "", [LOCK, 0, 0]);
    records.add(TWO, Kind::Lock, "", [LOCK, 0, 0]).step(MAIN, 6);
    let mut run = run_of(&records, "stage4_fixed", Ending::Exit(0));
    run.steps[2].outcome = Outcome::Refused { waiting: Waiting::Lock, address: LOCK, holder: Some(ONE) };
    run
}

#[test]
fn a_refusal_is_of_its_own_lock_its_last_holder_and_the_step_in_which_that_took_it() {
    let run = at_two_locks();
    let timeline = on(&run);
    let found = refusals(&timeline);
    assert_eq!(found.len(), 1);
    let one = &found[0];
    assert_eq!((one.step, one.role, one.what.as_str(), one.lock.as_str()), (3, TWO, "enter", "session 1's lock"));
    assert_eq!((one.holder, one.held_since, one.passed_after), (Some(ONE), Some(4), Some(5)));
    let got = run.records.iter().rposition(|record| record.kind == Kind::Lock && record.role == TWO);
    assert_eq!(one.place.map(|place| Some(place.number as usize)), Some(got));
    let text = report(&run, 100, false);
    contains(
        &text,
        &[
            "step 3 (worker-2 enter) waited for session 1's lock, which worker-1 had held since step 4, and got it in step 5",
        ],
    );
}

#[test]
fn a_refusal_without_a_record_begins_at_its_step_and_one_without_a_role_is_none() {
    let mut run = at_two_locks();
    run.records.retain(|record| record.kind != Kind::Refused);
    for (at, record) in run.records.iter_mut().enumerate() {
        record.number = at as u64;
    }
    let found = refusals(&on(&run));
    assert_eq!((found.len(), found[0].held_since, found[0].passed_after), (1, Some(4), Some(5)));
    run.steps[2].role = "worker-9".to_string();
    assert!(refusals(&on(&run)).is_empty());
    let mut other = at_two_locks();
    for waiting in [Waiting::Task, Waiting::Event, Waiting::Notice, Waiting::Thread] {
        other.steps[2].outcome = Outcome::Refused { waiting, address: LOCK, holder: Some(ONE) };
        assert!(refusals(&on(&other)).is_empty(), "{waiting:?} is no lock");
    }
    other.steps[2].outcome = Outcome::HeldBack;
    assert!(refusals(&on(&other)).is_empty());
}

#[test]
fn a_lock_that_nobody_ever_gets_has_no_place_and_one_that_nobody_held_no_holder() {
    let mut run = at_two_locks();
    let last =
        run.records.iter().rposition(|record| record.kind == Kind::Lock && record.role == TWO).expect("it is there");
    run.records.truncate(last);
    let one = &refusals(&on(&run))[0];
    assert!(one.place.is_none() && one.passed_after.is_none() && one.held_since == Some(4));
    run.steps[2].outcome = Outcome::Refused { waiting: Waiting::Lock, address: LOCK, holder: None };
    let one = &refusals(&on(&run))[0];
    assert_eq!((one.holder, one.held_since), (None, None));
    contains(&report(&run, 100, false), &["step 3 (worker-2 enter) waited for session 1's lock\n"]);
    run.steps[2].outcome = Outcome::Refused { waiting: Waiting::Lock, address: LOCK, holder: Some(MAIN) };
    contains(&report(&run, 100, false), &["waited for session 1's lock, which main held\n"]);
}

// ---- kept alive

fn shares(owners: u64, after: bool) -> Run {
    let mut records = Records::default();
    records.step(MAIN, 1).session(OTHER).session(SESSION).add(ONE, Kind::ReferenceCount, "Session", [SESSION, 3, 0]);
    if after {
        records.end();
    }
    records.step(MAIN, 5).add(MAIN, Kind::ReferenceCount, "Session", [SESSION, owners, 0]);
    records.add(MAIN, Kind::ReferenceCount, "Session", [OTHER, 1, 0]);
    records.step(ONE, 2).add(ONE, Kind::Free, "Session", [SESSION, 16, 1]);
    run_of(&records, "stage3_fixed", Ending::Exit(0))
}

#[test]
fn the_first_share_that_the_map_gives_up_is_told_with_its_block_and_who_is_left() {
    let run = shares(2, false);
    let timeline = on(&run);
    let kept = kept_alive(&timeline).expect("it is kept alive");
    assert_eq!((kept.block.name.as_str(), kept.owners_left), ("session 2", 2));
    assert_eq!((kept.given_up.role, kept.given_up.step, kept.given_up.number), (MAIN, Some(5), 5));
    let freed = kept.freed.expect("somebody freed it");
    assert_eq!((freed.role, freed.step, freed.number), (ONE, Some(2), 8));
    let said = [
        "main gave up its share of session 2 in step 5 (lab/stages/made_up.rs:50); 2 owners left, so nothing was freed",
    ];
    contains(&report(&run, 100, false), &said);
    contains(&report(&run, 100, false), &["freed worker-1 was the last owner, in step 2 (lab/stages/made_up.rs:80)"]);
    let value = json(&run);
    assert_eq!((&value["kept_alive"]["object"], &value["kept_alive"]["owners_left"]), (&"session 2".into(), &2.into()));
    assert_eq!(
        (&value["kept_alive"]["given_up"]["role"], &value["kept_alive"]["freed"]["role"]),
        (&"main".into(), &"worker-1".into())
    );
}

#[test]
fn that_a_fixed_server_serves_is_borne_out_by_a_refusal_or_a_share_and_where_it_drains_by_a_refusal_alone() {
    let is_explained = |run: &Run| verdicts::why(&on(run)).is_some();
    let of = |mut run: Run, stage: &str| {
        run.stage = crate::catalogue::find(stage).expect("it is in the catalogue");
        run
    };
    assert!(is_explained(&shares(2, false)) && !is_explained(&shares(2, true)));
    assert!(is_explained(&at_two_locks()));
    assert!(is_explained(&of(at_two_locks(), "stage7_fixed")));
    assert!(!is_explained(&of(shares(2, false), "stage7_fixed")), "a share is no reason of a server that drains");
    let mut free = at_two_locks();
    free.steps[2].outcome = Outcome::Passed;
    assert!(!is_explained(&free) && !is_explained(&of(free, "stage7_fixed")), "nobody was held up");
}

#[test]
fn a_share_given_up_after_the_schedule_shows_nothing() {
    assert!(kept_alive(&on(&shares(2, true))).is_none());
    // The very first record after it.
    let mut first = Records::default();
    first.step(MAIN, 1).session(SESSION).end().add(MAIN, Kind::ReferenceCount, "Session", [SESSION, 1, 0]);
    assert!(kept_alive(&on(&run_of(&first, "stage3_fixed", Ending::Exit(0)))).is_none());
    let mut run = shares(2, false);
    run.records.retain(|record| record.kind != Kind::Free);
    assert!(kept_alive(&on(&run)).is_some_and(|kept| kept.freed.is_none()));
    // Freed twice: the first one was the last owner's.
    let mut twice = shares(2, false);
    let free = *twice.records.last().expect("it was freed");
    twice.records.push(Record { number: free.number + 1, role: TWO, ..free });
    let freed = kept_alive(&on(&twice)).and_then(|kept| kept.freed);
    assert_eq!(freed.map(|at| (at.role, at.number)), Some((ONE, free.number)));
    // Who gives one up is the map, in main.
    let mut other = shares(2, false);
    other.records.retain(|record| record.role != MAIN || record.kind != Kind::ReferenceCount);
    assert!(kept_alive(&on(&other)).is_none());
}

// ---- mistakes with memory

/// Two sessions; main frees the first one, worker-2 uses the other one, worker-1 the first.
fn two_sessions() -> Records {
    let mut records = Records::default();
    records.step(MAIN, 1).session(SESSION).session(OTHER);
    records.step(ONE, 2).add(ONE, Kind::Use, "", [SESSION, 0, 0]);
    records.step(MAIN, 5).add(MAIN, Kind::Free, "Session", [SESSION, 16, 1]);
    records.step(TWO, 3).add(TWO, Kind::Use, "", [OTHER, 0, 0]);
    records.step(ONE, 4).add(ONE, Kind::Use, "", [SESSION, 0, 0]);
    records
}

fn caused(run: &Run) -> Option<(&'static str, String, [u64; 3], bool)> {
    let timeline = on(run);
    let found = cause(&timeline)?;
    let numbers = [found.allocated, found.freed, found.last].map(|place| place.number);
    Some((found.mistake.name(), found.block.name.clone(), numbers, found.exact))
}

#[test]
fn a_fault_is_explained_by_the_block_that_its_address_is_in_and_the_last_use_of_its_thread() {
    let mut run = run_of(&two_sessions(), "stage3_broken", Ending::Exit(0));
    fault(&mut run, libc::SIGSEGV, SESSION + 15, ONE);
    let used = |at, exact| Some(("use after free", "session 1".to_string(), [1, 6, at], exact));
    assert_eq!(caused(&run), used(10, true));
    let place =
        |run: &Run| cause(&on(run)).map(|found| (found.last.role, found.last.step, found.freed.role, found.freed.step));
    assert_eq!(place(&run), Some((ONE, Some(4), MAIN, Some(5))));
    fault(&mut run, libc::SIGBUS, SESSION, ONE);
    assert_eq!(caused(&run), used(10, true));
    // Taken by a thread that has not recorded such a use: what it did last is all that is known.
    fault(&mut run, libc::SIGSEGV, SESSION, TWO);
    assert_eq!(caused(&run), used(8, false));
    fault(&mut run, libc::SIGSEGV, SESSION, MAIN);
    assert_eq!(caused(&run), used(6, false));
    // Outside of it by one byte, in a block that lives, of another signal: none of these is that mistake.
    for (signal, address) in
        [(libc::SIGSEGV, SESSION + 16), (libc::SIGSEGV, OTHER), (libc::SIGILL, SESSION), (libc::SIGABRT, 0)]
    {
        fault(&mut run, signal, address, ONE);
        assert_eq!(caused(&run), None, "{signal} at {address:#x}");
    }
    fault(&mut run, libc::SIGSEGV, SESSION, ONE);
    run.ending = Ending::Signal(libc::SIGBUS);
    assert_eq!(caused(&run), None, "the handler stored another signal");
    run.ending = Ending::Exit(0);
    assert_eq!(caused(&run), None);
}

/// worker-1 and worker-2 free one buffer, and before that worker-2 another.
fn two_buffers() -> Records {
    let mut records = Records::default();
    records.step(MAIN, 1).buffer(BUFFER).buffer(BUFFER + 0x2000);
    records.step(TWO, 3).add(TWO, Kind::Free, "Buffer", [BUFFER + 0x2000, 4096, 0]);
    records.step(ONE, 2).add(ONE, Kind::Free, "Buffer", [BUFFER, 4096, 0]);
    records.step(ONE, 4).add(TWO, Kind::Free, "Buffer", [BUFFER, 4096, 0]);
    records
}

#[test]
fn an_abort_is_explained_by_the_second_free_of_its_thread_and_the_first_of_that_block() {
    let mut run = run_of(&two_buffers(), "stage4_broken", Ending::Exit(0));
    fault(&mut run, libc::SIGABRT, 0, TWO);
    let freed = Some(("double free", "buffer 1".to_string(), [1, 6, 8], true));
    assert_eq!(caused(&run), freed);
    let who = cause(&on(&run)).map(|found| (found.freed.role, found.last.role));
    assert_eq!(who, Some((ONE, TWO)));
    fault(&mut run, libc::SIGSEGV, BUFFER + 1, TWO);
    assert_eq!(caused(&run), freed, "on pages of its own the second free faults");
    // The fault is in another block than the one that it freed twice.
    fault(&mut run, libc::SIGSEGV, BUFFER + 0x2000, TWO);
    assert_eq!(caused(&run).map(|found| (found.0, found.1)), Some(("use after free", "buffer 2".to_string())));
    fault(&mut run, libc::SIGABRT, 0, ONE);
    assert_eq!(caused(&run), None, "its free was the first");
    // Where it stood, and what it had to wait for, is nothing that it did.
    let mut records = two_buffers();
    records.point(TWO, "count").add(TWO, Kind::Refused, "", [9, 1, 0]).step(TWO, 9);
    let mut run = run_of(&records, "stage4_broken", Ending::Exit(0));
    fault(&mut run, libc::SIGABRT, 0, TWO);
    assert_eq!(caused(&run), freed);
}

#[test]
fn the_first_mistake_is_the_earliest_whichever_it_is() {
    let first = |records: &Records| {
        let run = records.run("stage3_broken", &[], Ending::Exit(0));
        let timeline = on(&run);
        first_mistake(&timeline)
            .map(|found| (found.mistake.name(), found.block.name.clone(), found.freed.number, found.last.number))
    };
    assert_eq!(first(&two_sessions()), Some(("use after free", "session 1".to_string(), 6, 10)));
    assert_eq!(first(&two_buffers()), Some(("double free", "buffer 1".to_string(), 6, 8)));
    let mut both = two_buffers();
    both.add(ONE, Kind::Use, "", [BUFFER + 0x2000, 0, 0]);
    assert_eq!(first(&both).map(|found| found.0), Some("double free"));
    both.list.swap(8, 9);
    assert_eq!(first(&both).map(|found| (found.0, found.1)), Some(("use after free", "buffer 2".to_string())));
    // Used before it was freed, or when it was another's already: no mistake.
    let mut right = Records::default();
    right.session(SESSION).add(ONE, Kind::Use, "", [SESSION, 0, 0]).add(MAIN, Kind::Free, "Session", [SESSION, 16, 1]);
    right.session(SESSION).add(ONE, Kind::Use, "", [SESSION, 0, 0]);
    assert_eq!(first(&right), None);
}

#[test]
fn the_death_is_told_with_its_block_and_its_offset_and_what_is_not_its_cause() {
    let told = |signal, address, role| {
        let mut run = run_of(&two_sessions(), "stage3_broken", Ending::Exit(0));
        fault(&mut run, signal, address, role);
        report(&run, 100, false)
    };
    contains(
        &told(libc::SIGSEGV, SESSION, ONE),
        &["SIGSEGV at 0x7f0000000000: at the start of session 1 (16 bytes, on pages of its own"],
    );
    contains(
        &told(libc::SIGSEGV, SESSION + 1, ONE),
        &["1 byte into session 1", "used worker-1 step 4 lab/stages/made_up.rs:100\n"],
    );
    contains(&told(libc::SIGSEGV, SESSION + 1, TWO), &["used worker-2 step 3 lab/stages/made_up.rs:80, or after it"]);
    contains(
        &told(libc::SIGSEGV, OTHER + 4, TWO),
        &["in session 2 (16 bytes), which was not freed", "last seen worker-2 step 3 lab/stages/made_up.rs:80"],
    );
    contains(&told(libc::SIGILL, 0, ONE), &["died of SIGILL\n", "before, there was a use after free of session 1"]);
    // A role that the box does not know has not been seen.
    assert!(!told(libc::SIGILL, 0, 99).contains("last seen"));
}

#[test]
fn the_last_words_are_the_first_six_lines_and_how_many_more() {
    let mut run = run_of(&Records::default(), "stage3_fixed", Ending::Exit(101));
    let lines = |n| (1..=n).map(|n| format!("line {n}\n\n")).collect::<String>();
    run.stderr = lines(6);
    let text = report(&run, 100, false);
    contains(&text, &["it said    line 1\n", "             line 6\n"]);
    assert!(!text.contains("more line"), "{text}");
    run.stderr = lines(8);
    contains(&report(&run, 100, false), &["             line 6\n", "... and 2 lines more"]);
}

#[test]
fn an_abort_is_told_in_its_last_words_and_a_fault_is_not() {
    let mut run = run_of(&two_buffers(), "stage4_broken", Ending::Exit(0));
    run.stderr = "first\n  double free or corruption (!prev)  \n \n".to_string();
    fault(&mut run, libc::SIGABRT, 0, TWO);
    contains(&report(&run, 100, false), &["died of    SIGABRT: double free or corruption (!prev)\n"]);
    run.fault = None;
    run.ending = Ending::Signal(libc::SIGFPE);
    contains(&report(&run, 100, false), &["died of    SIGFPE; its fault handler could not say where\n"]);
    run.ending = Ending::Signal(libc::SIGTERM);
    contains(&report(&run, 100, false), &["died of    SIGTERM, which came from outside\n"]);
}

#[test]
fn a_death_is_borne_out_by_the_mistake_that_its_chapter_is_about() {
    let why = |records: &Records, stage: &str, signal, address, role| {
        let mut run = run_of(records, stage, Ending::Exit(0));
        fault(&mut run, signal, address, role);
        verdicts::why(&on(&run)).is_some()
    };
    assert!(why(&two_sessions(), "stage3_broken", libc::SIGSEGV, SESSION, ONE));
    assert!(!why(&two_sessions(), "stage4_broken", libc::SIGSEGV, SESSION, ONE));
    assert!(why(&two_buffers(), "stage4_broken", libc::SIGABRT, 0, TWO));
    assert!(!why(&two_buffers(), "stage3_broken", libc::SIGABRT, 0, TWO));
    assert!(!why(&two_sessions(), "stage3_fixed", libc::SIGSEGV, SESSION, ONE), "it was to serve");
    // What the server needs for itself is not what a chapter is about.
    let mut household = two_sessions();
    household.list.iter_mut().for_each(|record| record.label = record.label.replace("Session", "Queue").leak());
    assert!(!why(&household, "stage3_broken", libc::SIGSEGV, SESSION, ONE));
}

#[test]
fn the_finding_in_the_json_has_each_of_its_numbers() {
    let mut run = run_of(&two_sessions(), "stage3_broken", Ending::Exit(0));
    fault(&mut run, libc::SIGSEGV, SESSION + 3, ONE);
    let value = json(&run);
    let finding = &value["finding"];
    let block = serde_json::json!({
        "name": "session 1", "type": "Session", "address": "0x7f0000000000", "size": 16, "own_pages": true, "offset": 3
    });
    assert_eq!(finding["block"], block);
    for (key, role, step, record) in [("allocated", "main", 1, 1), ("freed", "main", 5, 6), ("used", "worker-1", 4, 10)]
    {
        let at = serde_json::json!({
            "role": role, "step": step, "file": FILE, "line": 10 * record, "record": record
        });
        assert_eq!(finding[key], at);
    }
    assert_eq!((&finding["exact"], &value["recognised"]), (&true.into(), &true.into()));
    // By luck: the address of a fault there was none of.
    (run.ending, run.fault) = (Ending::Exit(0), None);
    let value = json(&run);
    assert_eq!((&value["finding"]["block"]["offset"], &value["recognised"]), (&serde_json::Value::Null, &false.into()));
    assert_eq!(value["why"], serde_json::Value::Null);
}

#[test]
fn a_block_reaches_from_its_first_byte_to_its_last() {
    let mut records = Records::default();
    records.session(SESSION).add(MAIN, Kind::Alloc, "Buffer", [BUFFER, 0, 0]);
    let objects = Objects::new(&records.list);
    let name = |address| objects.block(address, 5).map(|block: &Block| block.name.clone());
    assert_eq!(
        (name(SESSION - 1), name(SESSION), name(SESSION + 15), name(SESSION + 16)),
        (None, Some("session 1".into()), Some("session 1".into()), None)
    );
    assert_eq!(
        (name(BUFFER), name(BUFFER + 1)),
        (Some("buffer 1".to_string()), None),
        "an empty one has an address too"
    );
}

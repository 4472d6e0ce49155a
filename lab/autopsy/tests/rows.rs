//! The rows of a timeline: which step, which mark, what is folded.

use super::super::timeline::{Event, Timeline};
use super::*;

/// Each row: its step, its role, its text, its mark.
type Line = (Option<usize>, usize, String, Option<String>);

fn line(event: &Event) -> Line {
    (event.row.number, event.row.role, event.row.text.clone(), event.row.mark.clone())
}

fn rows(run: &Run) -> Vec<Line> {
    Timeline::new(run).rows().iter().map(line).collect()
}

fn short(run: &Run) -> Vec<Line> {
    Timeline::new(run).short_rows().iter().map(line).collect()
}

fn plain(number: impl Into<Option<usize>>, role: usize, text: &str) -> Line {
    (number.into(), role, text.to_string(), None)
}

fn marked(number: impl Into<Option<usize>>, role: usize, text: &str, mark: &str) -> Line {
    (number.into(), role, text.to_string(), Some(mark.to_string()))
}

const STEPS: [(&str, &str); 4] = [("main", "wait"), ("worker-1", "take"), ("worker-2", "take"), ("main", "queue")];

#[test]
fn a_step_has_its_number_on_its_first_row_and_its_name_where_there_is_nothing_to_see() {
    let mut records = Records::default();
    records.add(MAIN, Kind::Close, "", [3, 0, 0]);
    records.step(MAIN, 1).point(MAIN, "wait").add(MAIN, Kind::Close, "", [7, 0, 0]).add(
        MAIN,
        Kind::Close,
        "",
        [8, 0, 0],
    );
    records.step(ONE, 2).point(ONE, "take").step(MAIN, 4).point(MAIN, "queue").add(ONE, Kind::Close, "", [9, 0, 0]);
    records.step(TWO, 3).step(MAIN, 5);
    let run = records.run("stage3_fixed", &STEPS, Ending::Exit(0));
    let wanted = [
        plain(1, MAIN, "close fd 7"),
        plain(None, MAIN, "close fd 8"),
        plain(4, MAIN, "queue"),
        plain(2, ONE, "close fd 9"),
        marked(3, TWO, "take", "late"),
        plain(5, MAIN, "?"),
    ];
    assert_eq!(rows(&run), wanted);
    // The row that stands for a step was made at its point, and else at the step itself.
    let made: Vec<_> = Timeline::new(&run).rows().iter().map(|event| event.record).collect();
    assert_eq!(made, [Some(3), Some(4), Some(8), Some(9), Some(10), Some(11)]);
}

#[test]
fn after_the_schedule_a_row_is_of_no_step() {
    let mut records = Records::default();
    records.step(MAIN, 1).end().add(MAIN, Kind::Close, "", [7, 0, 0]);
    let run = records.run("stage3_fixed", &STEPS[..1], Ending::Signal(libc::SIGKILL));
    assert_eq!(rows(&run), [plain(1, MAIN, "wait"), plain(None, MAIN, "close fd 7")]);
    let timeline = Timeline::new(&run);
    assert_eq!((timeline.schedule_end, timeline.step(0), timeline.step(1)), (1, Some(1), None));
    // That nobody can move is said of the schedule itself.
    let mut records = Records::default();
    records.step(MAIN, 1).end().add(MAIN, Kind::Stuck, "", [ONE as u64, 0, 0]).add(MAIN, Kind::Close, "", [7, 0, 0]);
    let run = records.run("stage7_broken", &STEPS[..1], Ending::Signal(libc::SIGKILL));
    assert_eq!(Timeline::new(&run).schedule_end, 2);
    assert_eq!(rows(&run), [marked(1, MAIN, "waits for the end of worker-1", "never stops")]);
}

#[test]
fn allocations_of_one_role_in_a_row_are_one_row() {
    let mut records = Records::default();
    records.step(MAIN, 1).session(SESSION).buffer(BUFFER).add(ONE, Kind::Alloc, "Session", [SESSION + 64, 16, 1]);
    records.buffer(BUFFER + 0x2000).add(MAIN, Kind::Close, "", [7, 0, 0]).buffer(BUFFER + 0x4000);
    let run = records.run("stage3_fixed", &STEPS[..1], Ending::Exit(0));
    let wanted = [
        plain(1, MAIN, "allocate session 1, buffer 1"),
        plain(None, ONE, "allocate session 2"),
        plain(None, MAIN, "allocate buffer 2"),
        plain(None, MAIN, "close fd 7"),
        plain(None, MAIN, "allocate buffer 3"),
    ];
    assert_eq!(rows(&run), wanted);
}

#[test]
fn four_reads_of_one_role_in_a_row_are_one_row_and_three_are_three() {
    let reads = |n: u64, more: fn(&mut Records)| {
        let mut records = Records::default();
        records.step(ONE, 1);
        (1..=n).for_each(|bytes| {
            records.add(ONE, Kind::Read, "", [7, bytes, 0]);
        });
        more(&mut records);
        short(&records.run("stage4_fixed", &STEPS[..1], Ending::Signal(libc::SIGKILL)))
    };
    assert_eq!(reads(4, |_| ()), [plain(1, ONE, "4 reads, 10 bytes")]);
    assert_eq!(reads(3, |_| ()).len(), 3);
    // An end, an error, and another role's are not of them.
    let end = |records: &mut Records| {
        records.add(ONE, Kind::Read, "", [7, 0, 0]);
    };
    assert_eq!(reads(4, end), [plain(1, ONE, "4 reads, 10 bytes"), plain(None, ONE, "read: end of stream")]);
    assert_eq!(reads(3, end).len(), 4);
    let other = |records: &mut Records| {
        records.add(TWO, Kind::Read, "", [7, 9, 0]).add(ONE, Kind::Read, "", [7, 9, 0]);
    };
    assert_eq!(reads(4, other)[1..], [plain(None, TWO, "read 9 bytes"), plain(None, ONE, "read 9 bytes")]);
    // A step begins a row of its own.
    let step = |records: &mut Records| {
        records.step(ONE, 2).add(ONE, Kind::Read, "", [7, 9, 0]);
    };
    assert_eq!(reads(5, step), [plain(1, ONE, "5 reads, 15 bytes"), plain(2, ONE, "read 9 bytes")]);
}

#[test]
fn refusals_that_left_no_record_have_a_row_before_the_step_that_came_instead() {
    let mut records = Records::default();
    records.step(MAIN, 1).step(MAIN, 4).step(ONE, 2);
    let mut run = records.run("stage3_fixed", &STEPS, Ending::Exit(0));
    let refused = |waiting, holder| Outcome::Refused { waiting, address: 0, holder };
    run.steps[1].outcome = refused(Waiting::Task, None);
    run.steps[2].outcome = refused(Waiting::Thread, Some(ONE));
    let wanted = [
        plain(1, MAIN, "wait"),
        marked(2, ONE, "waits for a task", "refused"),
        marked(3, TWO, "waits for the end of worker-1", "refused"),
        plain(4, MAIN, "queue"),
        marked(2, ONE, "take", "late"),
    ];
    assert_eq!(rows(&run), wanted);
    // What has a record, has passed, or is of nobody has none.
    let mut records = Records::default();
    records.step(MAIN, 1).step(ONE, 2).add(ONE, Kind::Refused, "", [2, Waiting::Task as u64, 0]).step(MAIN, 4);
    let mut run = records.run("stage3_fixed", &STEPS, Ending::Exit(0));
    run.steps[1].outcome = refused(Waiting::Task, None);
    run.steps[2].outcome = Outcome::HeldBack;
    let wanted = [plain(1, MAIN, "wait"), marked(2, ONE, "waits for a task", "refused"), plain(4, MAIN, "queue")];
    assert_eq!(rows(&run), wanted);
    run.steps[2].outcome = refused(Waiting::Task, None);
    run.steps[2].role = "worker-9".to_string();
    assert_eq!(rows(&run), wanted);
}

#[test]
fn the_signal_is_at_the_last_row_of_the_thread_that_took_it() {
    let mut records = Records::default();
    records.step(MAIN, 1).add(MAIN, Kind::Close, "", [7, 0, 0]).step(ONE, 2).add(ONE, Kind::Close, "", [8, 0, 0]);
    records.add(TWO, Kind::Close, "", [9, 0, 0]).add(MAIN, Kind::Close, "", [6, 0, 0]);
    let base = records.run("stage3_broken", &STEPS, Ending::Exit(0));
    let marks = |role| {
        let mut run = base.clone();
        fault(&mut run, libc::SIGSEGV, 0, role);
        rows(&run).into_iter().filter(|row| row.3.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(marks(ONE), [marked(2, ONE, "close fd 8", "SIGSEGV")]);
    assert_eq!(marks(MAIN), [marked(None, MAIN, "close fd 6", "SIGSEGV")]);
    assert_eq!(marks(CLIENT), [marked(None, CLIENT, "takes the signal", "SIGSEGV")], "of which nothing was seen");
    assert_eq!(marks(99), [], "nobody knows it");
    // It came to a point, and nothing of what it did then was recorded.
    let mut records = Records::default();
    records.step(ONE, 2).point(ONE, "take").add(ONE, Kind::Close, "", [8, 0, 0]).end().point(ONE, "read");
    let mut run = records.run("stage3_broken", &STEPS, Ending::Exit(0));
    fault(&mut run, libc::SIGSEGV, 0, ONE);
    assert_eq!(rows(&run), [plain(2, ONE, "close fd 8"), marked(None, ONE, "after point read", "SIGSEGV")]);
    // Its step already has a row with nothing else in it.
    let mut records = Records::default();
    records.step(ONE, 2).point(ONE, "take");
    let mut run = records.run("stage3_broken", &STEPS, Ending::Exit(0));
    fault(&mut run, libc::SIGABRT, 0, ONE);
    assert_eq!(rows(&run), [marked(2, ONE, "take", "SIGABRT")]);
}

/// One step, then this many more rows.
fn long(n: u64, steps: &[(&str, &str)], ending: Ending) -> Run {
    let mut records = Records::default();
    if !steps.is_empty() {
        records.step(MAIN, 1);
    }
    records.end();
    for fd in 1..=n {
        records.add(ONE, Kind::Close, "", [fd, 0, 0]);
    }
    records.run("stage3_broken", steps, ending)
}

#[test]
fn of_what_comes_after_the_schedule_the_last_twelve_rows_are_shown() {
    const ACROSS: usize = usize::MAX;
    let died = Ending::Signal(libc::SIGKILL);
    let rows = short(&long(13, &STEPS[..1], died));
    assert_eq!(
        rows[..3],
        [
            plain(1, MAIN, "wait"),
            plain(None, ACROSS, "the schedule is over; everybody goes on"),
            plain(None, ONE, "close fd 2")
        ]
    );
    assert_eq!((rows.len(), rows.last()), (14, Some(&plain(None, ONE, "close fd 13"))));
    let rows = short(&long(12, &STEPS[..1], died));
    assert_eq!(
        rows[1..3],
        [plain(None, ACROSS, "the schedule is over; everybody goes on:"), plain(None, ONE, "close fd 1")]
    );
    assert_eq!(short(&long(0, &STEPS[..1], died)), [plain(1, MAIN, "wait")]);
    // A server that lived: what it did then is nobody's order.
    let rows = short(&long(3, &STEPS[..1], Ending::Exit(0)));
    assert_eq!(rows[1..], [plain(None, ACROSS, "the schedule is over; everybody goes on")]);
    // Without a schedule there are twenty-five.
    let rows = short(&long(27, &[], Ending::Exit(0)));
    assert_eq!(
        (rows.len(), &rows[0], &rows[1]),
        (26, &plain(None, ACROSS, "before: 2 events"), &plain(None, ONE, "close fd 3"))
    );
    assert_eq!(short(&long(25, &[], Ending::Exit(0))).len(), 25);
}

#[test]
fn what_is_left_out_is_counted_and_what_is_shown_is_not() {
    let mut records = Records::default();
    records.add(ONE, Kind::Pop, "", [1, 0, 0]).add(ONE, Kind::Read, "", [7, 100, 0]).add(
        TWO,
        Kind::Read,
        "",
        [7, 20, 0],
    );
    records.add(ONE, Kind::Read, "", [7, 0, 0]).add(ONE, Kind::Write, "", [7, 52, 0]);
    records.add(ONE, Kind::Write, "", [7, -libc::EPIPE as i64 as u64, 0]);
    for fd in 0..25 {
        records.add(ONE, Kind::Close, "", [fd, 0, 0]);
    }
    records.list.insert(10, Record { kind: Kind::Pop, ..records.list[0] });
    let run = records.run("stage3_broken", &[], Ending::Exit(0));
    let rows = short(&run);
    assert_eq!(rows[0].2, "before: 1 task, 2 reads of 120 bytes, 1 write");
    let mut directed = run.clone();
    directed.steps = records.run("stage3_broken", &STEPS[..1], Ending::Exit(0)).steps;
    directed.records.iter_mut().for_each(|record| record.over = true);
    assert_eq!(short(&directed)[0].2, "the schedule is over; everybody goes on: 120 bytes read, 1 write");
}

#[test]
fn a_row_with_a_mark_is_never_folded() {
    let mut run = long(40, &STEPS[..1], Ending::Exit(0));
    fault(&mut run, libc::SIGSEGV, 0, MAIN);
    run.records[5] = Record { role: TWO, ..run.records[5] };
    run.fault = Some(Fault { signal: libc::SIGSEGV, code: 1, address: 0, role: TWO });
    let rows = short(&run);
    assert!(rows.contains(&marked(None, TWO, "close fd 5", "SIGSEGV")), "{rows:?}");
    assert_eq!(rows.len(), 1 + 1 + 1 + 12);
}

#[test]
fn a_stranger_bytes_are_the_last_ones_that_their_client_got() {
    let mut records = Records::default();
    let got = |records: &mut Records, role, n| {
        records.add(role, Kind::ClientReceive, "", [n, n, 0]);
    };
    got(&mut records, CLIENT, 52);
    got(&mut records, CLIENT, 57);
    got(&mut records, ONE, 58);
    let mut run = records.run("stage5_broken", &[], Ending::Exit(0));
    run.roles = ["client", "main", "client-2"].map(String::from).to_vec();
    run.evidence =
        Some(Evidence::Misdelivers(Misdelivery { client: CLIENT, got: vec![], due: vec![], made_for: None }));
    let strange = [
        plain(None, CLIENT, "receive 52 bytes"),
        marked(None, CLIENT, "receive 57 bytes", "not its own"),
        plain(None, ONE, "receive 58 bytes"),
    ];
    assert_eq!(rows(&run), strange);
    run.evidence = None;
    assert!(rows(&run).iter().all(|row| row.3.is_none()));
}

#[test]
fn the_outcome_of_each_step_is_told_once() {
    let refused = |waiting, holder| Outcome::Refused { waiting, address: SESSION + 8, holder };
    let told = |outcome: Outcome, ending| {
        let mut run = Records::default().run("stage3_fixed", &STEPS, ending);
        run.steps[1].outcome = outcome;
        report(&run, 100, false)
    };
    let (lived, died) = (Ending::Exit(0), Ending::Signal(libc::SIGKILL));
    contains(
        &told(refused(Waiting::Task, None), lived),
        &["refused step 2 (worker-1 take): worker-1 waits for a task"],
    );
    contains(
        &told(refused(Waiting::Lock, Some(TWO)), died),
        &["step 2 (worker-1 take): worker-1 waits for the lock at 0x7f0000000008 (worker-2 has it)"],
    );
    for waiting in [Waiting::Notice, Waiting::NoticeOrTime] {
        assert!(!told(refused(waiting, None), lived).contains("(worker-1 take)"));
        contains(
            &told(refused(waiting, None), died),
            &["refused step 2 (worker-1 take): worker-1 waits for a notification"],
        );
    }
    contains(
        &told(Outcome::HeldBack, lived),
        &["held back step 2 (worker-1 take) came late, since an earlier step of worker-1 was refused"],
    );
    contains(&told(Outcome::Unmet(String::new()), lived), &["unmet step 2 (worker-1 take)\n"]);
    contains(&told(Outcome::NotReached, died), &["step 2: the server was gone"]);
    assert!(!told(Outcome::Passed, lived).contains("(worker-1 take)"));
}

#[test]
fn the_accounts_are_of_what_was_sent_and_what_was_counted() {
    let told = |sent, client_replies, served: Option<(u64, u64)>, directed: bool| {
        let mut run = Records::default().run("stage4_fixed", if directed { &STEPS } else { &[] }, Ending::Exit(0));
        run.client = ClientTotals { sent, received: 0, replies: client_replies };
        run.served = served.map(|(received, replies)| ServedCounts { received, replies });
        report(&run, 100, true).replace("\x1b[2m", "").replace("\x1b[0m", "")
    };
    contains(&told(10, 0, Some((10, 0)), true), &["bytes 10 sent, and the server counted every one"]);
    contains(&told(10, 0, Some((9, 0)), true), &["bytes \x1b[1;31m10 sent, 9 counted: 1 are missing"]);
    contains(&told(10, 0, Some((11, 0)), true), &["bytes \x1b[1;31m10 sent, and 11 counted"]);
    contains(&told(10, 2, Some((10, 2)), true), &["replies 2 written, 2 received whole"]);
    contains(&told(10, 1, Some((10, 2)), true), &["replies \x1b[1;31m2 written, 1 received whole"]);
    contains(&told(10, 1, Some((10, 0)), true), &["replies \x1b[1;31m0 written, 1 received whole"]);
    contains(&told(0, 0, Some((10, 2)), false), &["served 10 bytes, 2 replies"]);
    contains(&told(0, 0, Some((10, 0)), true), &["0 sent, and 10 counted"]);
    for text in [told(0, 0, Some((0, 0)), true), told(10, 0, None, true)] {
        assert!(!text.contains("counted") && !text.contains("bytes "), "{text}");
    }
    assert!(!told(10, 0, Some((10, 0)), true).contains("replies "));
}

#[test]
fn how_the_run_was_made_and_what_the_box_has_lost() {
    let told = |steps: &[(&str, &str)], dropped| {
        let mut run = Records::default().run("stage4_fixed", steps, Ending::Exit(0));
        run.dropped = dropped;
        report(&run, 100, false)
    };
    contains(&told(&[], 0), &["order nobody directed"]);
    contains(&told(&STEPS[..1], 1), &["order forced by the director, 1 step\n", "1 older record was overwritten"]);
    contains(&told(&STEPS, 2), &["order forced by the director, 4 steps\n", "2 older records were overwritten"]);
    assert!(!told(&STEPS, 0).contains("overwritten"));
}

#[test]
fn the_json_has_each_outcome_with_what_goes_with_it() {
    let mut run = Records::default().run("stage3_fixed", &STEPS, Ending::Exit(7));
    run.steps[0].outcome = Outcome::Refused { waiting: Waiting::Lock, address: SESSION, holder: Some(TWO) };
    run.steps[1].outcome = Outcome::HeldBack;
    run.steps[2].outcome = Outcome::Unmet("has ended".to_string());
    run.steps[3].outcome = Outcome::NotReached;
    run.steps.push(Step { role: "client".to_string(), what: "fin".to_string(), outcome: Outcome::Passed });
    run.client = ClientTotals { sent: 1, received: 2, replies: 3 };
    run.served = Some(ServedCounts { received: 4, replies: 5 });
    (run.dropped, run.stderr) = (6, "words".to_string());
    for value in [json(&run), trace_json(&run)] {
        let steps = &value["steps"];
        let waits = "waits for the lock at 0x7f0000000000 (worker-2 has it)";
        let wanted = serde_json::json!([
            {"number": 1, "role": "main", "what": "wait", "waiting_for": "lock", "held_by": "worker-2", "outcome": "refused",
             "detail": waits},
            {"number": 2, "role": "worker-1", "what": "take", "outcome": "held back", "detail": null},
            {"number": 3, "role": "worker-2", "what": "take", "outcome": "unmet", "detail": "has ended"},
            {"number": 4, "role": "main", "what": "queue", "outcome": "not reached", "detail": null},
            {"number": 5, "role": "client", "what": "fin", "outcome": "passed", "detail": null},
        ]);
        assert_eq!(*steps, wanted);
        assert_eq!(value["client"], serde_json::json!({"sent": 1, "received": 2, "replies": 3}));
        assert_eq!(value["served"], serde_json::json!({"received": 4, "replies": 5}));
        assert_eq!(value["ending"], serde_json::json!({"how": "exit", "code": 7}));
        assert_eq!((&value["dropped"], &value["stderr"], &value["millis"]), (&6.into(), &"words".into(), &1.5.into()));
        assert_eq!(
            (&value["stage"], &value["chapter"], &value["heap"]),
            (&"stage3_fixed".into(), &3.into(), &"pages".into())
        );
    }
    assert_eq!(json(&run)["directed"], true);
    assert_eq!(json(&Records::default().run("stage3_fixed", &[], Ending::Exit(0)))["directed"], false);
}

#[test]
fn a_signal_in_the_json_has_what_its_handler_stored_and_an_abort_has_no_address() {
    let ended = |signal, stored| {
        let mut run = Records::default().run("stage3_broken", &[], Ending::Exit(0));
        fault(&mut run, signal, 0x10, ONE);
        run.ending = Ending::Signal(stored);
        json(&run)["ending"].clone()
    };
    let value = |signal: &str, number: i32, code: Option<i32>, address: Option<&str>, role: Option<&str>| serde_json::json!({"how": "signal", "signal": signal, "number": number, "code": code, "address": address, "role": role});
    let one = Some("worker-1");
    assert_eq!(ended(libc::SIGSEGV, libc::SIGSEGV), value("SIGSEGV", 11, Some(2), Some("0x10"), one));
    assert_eq!(ended(libc::SIGABRT, libc::SIGABRT), value("SIGABRT", 6, Some(2), None, one));
    assert_eq!(ended(libc::SIGSEGV, libc::SIGKILL), value("SIGKILL", 9, None, None, None), "it is of another signal");
}

#[test]
fn a_record_in_the_trace_says_whose_it_is_and_in_which_step() {
    let mut records = Records::default();
    records.step(ONE, 3).add(ONE, Kind::Alloc, "Buffer", [BUFFER, 4096, 0]).end().add(99, Kind::Close, "", [7, 0, 0]);
    records.list[1].inherited = true;
    let value = trace_json(&records.run("stage3_fixed", &STEPS, Ending::Exit(0)));
    let wanted = serde_json::json!({
        "number": 1, "nanos": 100, "role": "worker-1", "kind": "allocate", "label": "Buffer", "file": FILE, "line": 10,
        "inherited": true, "in_step": 3, "object": "buffer 1", "address": "0x550000001000", "size": 4096, "own_pages": false
    });
    assert_eq!(value["records"][1], wanted);
    let last = &value["records"][2];
    assert_eq!((&last["role"], &last["in_step"]), (&"a thread without a role".into(), &serde_json::Value::Null));
    let block = serde_json::json!({
        "name": "buffer 1", "type": "Buffer", "address": "0x550000001000", "size": 4096, "own_pages": false, "allocated": 1,
        "freed": []
    });
    assert_eq!(value["objects"], serde_json::json!([block]));
    assert_eq!(value["roles"][2], "worker-1");
}

//! The autopsy of runs that were made by hand.

use std::collections::HashMap;

mod causes;
mod perfetto;
mod rows;
mod shown;
mod words;

use super::timeline::Timeline;
use super::*;
use crate::catalogue;
use crate::direct::client::{ClientTotals, Misdelivery};
use crate::direct::outcome::{Ending, Evidence, Hang, Outcome, Run, Step};
use crate::record::blackbox::{Fault, ServedCounts};
use crate::record::event::{Kind, Record, Waiting};
use crate::record::names::Objects;
use crate::server::{Flags, LISTENER, STOP};
use crate::words::{count, mask, thousands};
use crate::world::heap::Heap;

const CLIENT: usize = 0;
const MAIN: usize = 1;
const ONE: usize = 2;
const TWO: usize = 3;
const FILE: &str = "lab/stages/made_up.rs";
const SESSION: u64 = 0x7f00_0000_0000;
const BUFFER: u64 = 0x5500_0000_1000;
const ONE_SHOT: u64 = libc::EPOLLONESHOT as u64;

/// Records one after the other; the line of each is ten times its number.
#[derive(Default)]
struct Records {
    list: Vec<Record>,
    /// Which step each role is in.
    steps: HashMap<usize, usize>,
    /// The director has seen to all steps.
    over: bool,
}

impl Records {
    fn add(&mut self, role: usize, kind: Kind, label: &'static str, [a, b, c]: [u64; 3]) -> &mut Records {
        let number = self.list.len() as u64;
        let line = 10 * number as u32;
        let (inherited, over) = (false, self.over);
        if kind == Kind::Step {
            self.steps.insert(role, a as usize);
        }
        let step = self.steps.get(&role).copied().filter(|_| !over);
        let nanos = number * 100;
        self.list.push(Record {
            number,
            nanos,
            role,
            kind,
            label,
            file: FILE,
            line,
            column: 9,
            inherited,
            step,
            over,
            a,
            b,
            c,
        });
        self
    }

    /// What comes from here on is of no step.
    fn end(&mut self) -> &mut Records {
        self.over = true;
        self
    }

    fn step(&mut self, role: usize, number: u64) -> &mut Records {
        self.add(role, Kind::Step, "", [number, 0, 0])
    }

    fn point(&mut self, role: usize, name: &'static str) -> &mut Records {
        self.add(role, Kind::Point, name, [1, 0, 0])
    }

    fn session(&mut self, address: u64) -> &mut Records {
        self.add(MAIN, Kind::Alloc, "Session", [address, 16, 1])
    }

    fn buffer(&mut self, address: u64) -> &mut Records {
        self.add(MAIN, Kind::Alloc, "Buffer", [address, 4096, 0])
    }

    fn run(&self, stage: &str, steps: &[(&str, &str)], ending: Ending) -> Run {
        let step = |(role, what): &(&str, &str)| Step {
            role: role.to_string(),
            what: what.to_string(),
            outcome: Outcome::Passed,
        };
        Run {
            stage: catalogue::find(stage).expect("it is in the catalogue"),
            steps: steps.iter().map(step).collect(),
            heap: Heap::Pages,
            roles: ["client", "main", "worker-1", "worker-2"].map(String::from).to_vec(),
            records: self.list.clone(),
            dropped: 0,
            fault: None,
            ending,
            stderr: String::new(),
            served: None,
            client: ClientTotals::default(),
            millis: 1.5,
            evidence: None,
            herd: Default::default(),
        }
    }
}

fn fault(run: &mut Run, signal: i32, address: u64, role: usize) {
    run.ending = Ending::Signal(signal);
    run.fault = Some(Fault { signal, code: 2, address, role });
}

/// Wherever the lines are broken.
fn contains(text: &str, wanted: &[&str]) {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in wanted {
        let found = text.contains(wanted) || squeezed(text).contains(&squeezed(wanted));
        assert!(found, "no `{wanted}` in:\n{text}");
    }
}

/// main frees a session, worker-1 uses it.
fn use_after_free() -> Run {
    let mut records = Records::default();
    records.step(MAIN, 1).point(MAIN, "wait").session(SESSION);
    records.add(MAIN, Kind::Push, "", [SESSION, 1, 0]);
    records.step(ONE, 2).point(ONE, "take").add(ONE, Kind::Pop, "", [SESSION, 0, 0]);
    records.step(MAIN, 3).point(MAIN, "remove").add(MAIN, Kind::Free, "Session", [SESSION, 16, 1]);
    records.step(ONE, 4).point(ONE, "count").add(ONE, Kind::Use, "", [SESSION, 0, 0]);
    let steps = [("main", "wait"), ("worker-1", "take"), ("main", "remove"), ("worker-1", "count")];
    let mut run = records.run("stage3_broken", &steps, Ending::Exit(0));
    fault(&mut run, libc::SIGSEGV, SESSION + 8, ONE);
    run
}

/// Two workers free one buffer.
fn double_free() -> Run {
    let mut records = Records::default();
    records.step(MAIN, 1).point(MAIN, "wait").buffer(BUFFER);
    records.step(ONE, 2).point(ONE, "free").add(ONE, Kind::Free, "Buffer", [BUFFER, 4096, 0]);
    records.step(TWO, 3).point(TWO, "free").add(TWO, Kind::Free, "Buffer", [BUFFER, 4096, 0]);
    let steps = [("main", "wait"), ("worker-1", "free"), ("worker-2", "free")];
    let mut run = records.run("stage4_broken", &steps, Ending::Exit(0));
    fault(&mut run, libc::SIGABRT, 0, TWO);
    run.stderr = "double free or corruption (!prev)\n".to_string();
    run
}

/// worker-2 finds the session's lock taken; after it come one step that is held back, and one that passes.
fn refused() -> Run {
    let mut records = Records::default();
    let lock = SESSION + 8;
    records.step(MAIN, 1).point(MAIN, "wait").session(SESSION);
    records.step(ONE, 2).point(ONE, "enter").add(ONE, Kind::Lock, "", [lock, 0, 0]);
    records.step(TWO, 3).point(TWO, "enter");
    records.add(TWO, Kind::Refused, "", [3, Waiting::Lock as u64, lock]);
    records.step(ONE, 5).point(ONE, "rearm").add(ONE, Kind::Modify, "", [7, 1, ONE_SHOT | libc::EPOLLIN as u64]);
    records.add(ONE, Kind::Unlock, "", [lock, 0, 0]).add(TWO, Kind::Lock, "", [lock, 0, 0]);
    records.step(TWO, 4).point(TWO, "read").add(TWO, Kind::Read, "", [7, 2048, 0]);
    let names = [("main", "wait"), ("worker-1", "enter"), ("worker-2", "enter"), ("worker-2", "read")];
    let steps: Vec<_> = names.into_iter().chain([("worker-1", "rearm")]).collect();
    let mut run = records.run("stage4_fixed", &steps, Ending::Exit(0));
    run.steps[2].outcome = Outcome::Refused { waiting: Waiting::Lock, address: lock, holder: Some(ONE) };
    run.steps[3].outcome = Outcome::HeldBack;
    run.client = ClientTotals { sent: 2048, received: 52, replies: 1 };
    run.served = Some(ServedCounts { received: 2048, replies: 1 });
    run
}

#[test]
fn a_step_that_no_schedule_has_is_told_without_its_name() {
    let mut records = Records::default();
    records.step(MAIN, 0).step(MAIN, u64::MAX).step(ONE, 1).point(ONE, "read");
    let run = records.run("stage4_broken", &[("worker-1", "read")], Ending::Exit(0));
    let told: Vec<_> =
        trace_json(&run)["rows"].as_array().expect("rows").iter().map(|row| row["text"].clone()).collect();
    assert_eq!(told, ["?", "?", "read"]);
}

#[test]
fn a_use_after_free_is_told_with_all_who_took_part() {
    assert_eq!(
        report(&use_after_free(), 100, false),
        "\
stage3_broken: sessions are raw pointers, and a hang-up frees them                         chapter 3

  died of    SIGSEGV at 0x7f0000000008: 8 bytes into session 1 (16 bytes, on pages of its own, taken
             away when it was freed)
  allocated  main      step 1  lab/stages/made_up.rs:20
  freed      main      step 3  lab/stages/made_up.rs:90
  used       worker-1  step 4  lab/stages/made_up.rs:120
  why        the map gave up the only owner while a task still held a copy of the pointer

  #  main                worker-1
  1  allocate session 1
     queue session 1
  2                      take session 1
  3  free session 1
  4                      use session 1   <- SIGSEGV

  order      forced by the director, 4 steps
  chapter    chapters/stage3.md
  next       cargo run --bin stage3_fixed
"
    );
    assert_eq!(ending(libc::SIGSEGV), "  ending as the server did: SIGSEGV (11)\n");
}

#[test]
fn a_double_free_is_told_with_both_who_freed() {
    let text = report(&double_free(), 80, false);
    contains(
        &text,
        &[
            "free buffer 1 again  <- SIGABRT\n",
            "  died of    SIGABRT: double free or corruption (!prev)\n",
            "  block      buffer 1 (4,096 bytes, malloc), freed twice\n",
            "  freed      worker-1  step 2  lab/stages/made_up.rs:50\n",
            "  again      worker-2  step 3  lab/stages/made_up.rs:80\n",
            "  why        the socket was armed again",
        ],
    );
}

#[test]
fn on_pages_of_its_own_a_double_free_is_a_fault_and_still_a_double_free() {
    let mut run = double_free();
    fault(&mut run, libc::SIGSEGV, BUFFER, TWO);
    contains(
        &report(&run, 80, false),
        &["SIGSEGV at 0x550000001000: at the start of buffer 1", "freed twice", "armed again"],
    );
}

/// As musl has it: its free finds that its own notes make no sense.
#[test]
fn a_fault_inside_the_second_free_is_a_double_free_too() {
    let mut run = double_free();
    run.stderr.clear();
    fault(&mut run, libc::SIGSEGV, 0x10, TWO);
    let text = report(&run, 80, false);
    contains(&text, &["SIGSEGV at 0x10: inside the second free of buffer 1", "freed twice", "armed again"]);
    assert_eq!(json(&run)["recognised"], true);
    // It went on after it: then the fault is another's.
    let later = Record { number: 9, kind: Kind::Read, ..*run.records.last().expect("it is there") };
    run.records.push(later);
    contains(&report(&run, 80, false), &["SIGSEGV at 0x10, which is in no block", "not recognised for certain"]);
}

#[test]
fn an_abort_is_quoted_in_glibcs_last_words_whatever_else_was_said() {
    let mut run = double_free();
    let died_of = |run: &Run| {
        let text = report(run, 80, false);
        text.lines().find_map(|line| line.strip_prefix("  died of    SIGABRT: ")).unwrap_or_default().to_string()
    };
    for (stderr, quoted) in [
        (
            "free(): invalid pointer\ndouble free or corruption (!prev)\nAborted\n\n",
            "double free or corruption (!prev)",
        ),
        ("double free or corruption (!prev)\nfree(): invalid size\n", "free(): invalid size"),
        ("a hook: goodbye\n  <jemalloc>: assertion failed\n", "<jemalloc>: assertion failed"),
    ] {
        run.stderr = stderr.to_string();
        assert_eq!(died_of(&run), quoted);
    }
}

#[test]
fn what_the_records_do_not_bear_out_is_not_said() {
    // The address is in no block that was freed.
    let mut run = use_after_free();
    fault(&mut run, libc::SIGSEGV, 0x10, ONE);
    let text = report(&run, 80, false);
    contains(&text, &["SIGSEGV at 0x10, which is in no block that the box knows", "not recognised for certain"]);
    assert!(!text.contains(run.stage.why), "{text}");
    assert_eq!(json(&run)["recognised"], false);
    assert_eq!(json(&run)["why"], serde_json::Value::Null);

    // The block was never freed.
    let mut run = use_after_free();
    run.records.retain(|record| record.kind != Kind::Free);
    let text = report(&run, 80, false);
    contains(&text, &["in session 1 (16 bytes), which was not freed", "the cause was not recognised"]);

    // An abort, but not in a second free.
    let mut run = double_free();
    run.records.pop();
    contains(&report(&run, 80, false), &["the cause was not recognised", "it said    double free or corruption"]);

    // The thread went on after its second free: what it aborted of came later.
    let mut run = double_free();
    let later = Record { number: 9, kind: Kind::Read, ..*run.records.last().expect("it is there") };
    run.records.push(later);
    let text = report(&run, 80, false);
    contains(&text, &["not recognised for certain; but before, there was a double free of buffer 1"]);
    assert!(!text.contains(run.stage.why), "{text}");

    // A use after free is not what chapter 4 is about.
    let mut run = use_after_free();
    run.stage = catalogue::find("stage4_broken").expect("it is there");
    contains(&report(&run, 80, false), &["used       worker-1", "why        not the death that the chapter explains"]);
}

#[test]
fn an_address_that_is_used_again_belongs_to_the_newest_block() {
    let mut records = Records::default();
    records.session(SESSION).add(MAIN, Kind::Free, "Session", [SESSION, 16, 1]).session(SESSION).buffer(BUFFER);
    let objects = Objects::new(&records.list);
    assert_eq!(objects.name(SESSION + 15, 1), "session 1");
    assert_eq!(objects.name(SESSION + 15, 3), "session 2");
    assert_eq!(objects.name(SESSION + 16, 3), format!("{:#x}", SESSION + 16));
    assert_eq!(objects.name(BUFFER + 4095, 3), "buffer 1");
    assert_eq!(objects.name(BUFFER, 2), format!("{BUFFER:#x}"), "it was not there yet");
    assert_eq!(objects.lock(SESSION + 8, 3), "session 2's lock");
    assert_eq!((objects.task(SESSION, 3).as_str(), objects.task(7, 3).as_str()), ("session 2", "task 7"));
    // Freed and allocated again, then freed: that is no double free.
    let run = records.add(ONE, Kind::Free, "Session", [SESSION, 16, 1]).run("stage3_fixed", &[], Ending::Exit(0));
    contains(&report(&run, 80, false), &["survived   served its client"]);
}

#[test]
fn a_refused_step_names_the_lock_and_its_holder() {
    let text = report(&refused(), 80, false);
    contains(
        &text,
        &[
            "  3                                        waits for session 1's\n",
            "lock (worker-1 has it)   <- refused\n",
            "  5                      re-arm fd 7\n",
            "  refused    step 3 (worker-2 enter) waited for session 1's lock, which\n",
            "             worker-1 had held since step 2, and got it in step 5\n",
            "  held back  step 4 (worker-2 read) came late",
            "  why        the second worker is called just as early",
            "  bytes      2,048 sent, and the server counted every one\n",
            "  replies    1 written, 1 received whole\n",
        ],
    );
    let late = text.lines().find(|line| line.starts_with("  4 ")).expect("the late step has a row");
    contains(late, &["read 2,048 bytes", "<- late"]);
    let value = json(&refused());
    assert_eq!(value["refused"][0]["held_by"], "worker-1");
    assert_eq!(value["refused"][0]["passed_after_step"], 5);
    assert_eq!(value["steps"][3]["outcome"], "held back");
}

#[test]
fn a_step_that_was_refused_before_its_point_has_a_row_in_its_place() {
    let mut records = Records::default();
    records.step(MAIN, 1).point(MAIN, "wait").step(MAIN, 3).point(MAIN, "queue");
    let steps = [("main", "wait"), ("worker-1", "take"), ("main", "queue")];
    let mut run = records.run("stage3_fixed", &steps, Ending::Exit(0));
    run.steps[1].outcome = Outcome::Refused { waiting: Waiting::Task, address: 0, holder: None };
    let text = report(&run, 80, false);
    contains(
        &text,
        &[
            "  1  wait\n  2         waits for a task  <- refused\n  3  queue\n",
            "(worker-1 take): worker-1 waits for a task",
        ],
    );
}

#[test]
fn a_share_that_was_given_up_in_time_is_harmless() {
    let mut records = Records::default();
    records.step(MAIN, 1).point(MAIN, "wait").session(SESSION).add(MAIN, Kind::ReferenceCount, "", [SESSION, 2, 0]);
    records.step(MAIN, 2).point(MAIN, "remove").add(MAIN, Kind::ReferenceCount, "Session", [SESSION, 1, 0]);
    // The drop has no caller: the box gives it the place that its thread came to before, its point.
    let drop = records.list.last_mut().expect("it is there");
    (drop.line, drop.inherited) = (50, true);
    records.step(ONE, 3).point(ONE, "count").end().point(ONE, "read");
    records.add(ONE, Kind::Free, "Session", [SESSION, 16, 0]);
    let steps = [("main", "wait"), ("main", "remove"), ("worker-1", "count")];
    let run = records.run("stage3_fixed", &steps, Ending::Exit(0));
    let text = report(&run, 100, false);
    contains(
        &text,
        &[
            "  2  give up session 1: 1 owner left\n",
            "  3                                   count\n",
            "main gave up its share of session 1 in step 2 (lab/stages/made_up.rs:50); 1 owner left",
            run.stage.why,
        ],
    );
    assert_eq!(json(&run)["kept_alive"]["freed"]["role"], "worker-1");
    let died = records.run("stage3_fixed", &steps, Ending::Signal(libc::SIGTERM));
    assert!(json(&died)["kept_alive"].is_null(), "it was of no use");
}

#[test]
fn steps_that_never_came_are_named_with_what_their_role_did() {
    let mut run = use_after_free();
    run.ending = Ending::Exit(0);
    run.records.truncate(4);
    run.steps[1].outcome = Outcome::Unmet("waits for a task".to_string());
    contains(&report(&run, 80, false), &["  unmet      step 2 (worker-1 take): worker-1 waits for a task\n"]);

    let mut run = use_after_free();
    for name in ["read", "write"] {
        let outcome = Outcome::NotReached;
        run.steps.push(Step { role: "worker-1".to_string(), what: name.to_string(), outcome });
    }
    contains(&report(&run, 80, false), &["  not reached\n             steps 5 to 6: the server was gone\n"]);
}

#[test]
fn survival_by_luck_is_called_that() {
    let mut run = use_after_free();
    (run.ending, run.fault) = (Ending::Exit(0), None);
    let text = report(&run, 80, false);
    contains(&text, &["survived   by luck: session 1 was used after it was freed", "used       worker-1  step 4"]);
    assert!(!text.contains(run.stage.why), "{text}");
    assert_eq!(json(&run)["finding"]["mistake"], "use after free");
}

#[test]
fn other_ends_are_told_as_they_were() {
    let mut run = use_after_free();
    (run.ending, run.fault) = (Ending::Signal(libc::SIGKILL), None);
    run.records.truncate(4);
    let text = report(&run, 80, false);
    contains(&text, &["died of    SIGKILL, which came from outside"]);
    assert!(!text.contains("not recognised"), "{text}");
    run.ending = Ending::Signal(libc::SIGSEGV);
    contains(&report(&run, 80, false), &["died of    SIGSEGV; its fault handler", "not recognised"]);
    run.ending = Ending::Exit(101);
    run.stderr = "thread 'main' panicked at lab/x.rs:1:\nno more\n".to_string();
    contains(
        &report(&run, 80, false),
        &["ended      the server's process ended with status 101", "it said    thread 'main' panicked", "no more\n"],
    );
    run.dropped = 1_234;
    contains(&report(&run, 80, false), &["1,234 older records were overwritten"]);
    run.ending = Ending::Signal(35);
    contains(&report(&run, 80, false), &["died of    signal 35"]);
}

#[test]
fn a_thread_that_dies_past_a_point_is_pointed_at_there() {
    let mut run = use_after_free();
    run.records.pop();
    contains(&report(&run, 80, false), &["  4                      count           <- SIGSEGV\n", ", or after it\n"]);
}

#[test]
fn missing_bytes_are_counted() {
    let mut run = refused();
    run.served = Some(ServedCounts { received: 2000, replies: 1 });
    contains(&report(&run, 80, false), &["bytes      2,048 sent, 2,000 counted: 48 are missing\n"]);
}

#[test]
fn events_have_the_names_of_their_sockets() {
    let mut records = Records::default();
    records.add(MAIN, Kind::Add, "", [4, LISTENER, 1]).step(MAIN, 1).point(MAIN, "wait");
    records.add(MAIN, Kind::Wait, "", [3, 0, 0]).add(MAIN, Kind::Ready, "", [LISTENER, 1, 0]);
    records.add(MAIN, Kind::Accept, "", [7, 0, 0]).add(MAIN, Kind::Add, "", [7, 1, 1]);
    records.add(MAIN, Kind::Ready, "", [1, 0x2019, 0]).add(MAIN, Kind::Ready, "", [9, 1, 0]);
    records.add(MAIN, Kind::Ready, "", [STOP, 1, 0]).add(MAIN, Kind::Wait, "", [0, 0, 0]);
    records.add(MAIN, Kind::Read, "", [7, -libc::ECONNRESET as i64 as u64, 0]).add(MAIN, Kind::Read, "", [7, 0, 0]);
    records.add(MAIN, Kind::Write, "", [7, 52, 0]).add(MAIN, Kind::Close, "", [7, 0, 0]);
    records.add(CLIENT, Kind::ClientReset, "", [0; 3]).add(CLIENT, Kind::ClientEnd, "", [104, 0, 0]);
    let run = records.run("stage3_fixed", &[("main", "wait")], Ending::Signal(libc::SIGKILL));
    let value = trace_json(&run);
    let texts: Vec<_> = value["rows"].as_array().expect("rows").iter().map(|row| row["text"].as_str()).collect();
    let wanted = [
        "epoll_wait: listener",
        "accept fd 7",
        "epoll_wait: fd 7 IN RDHUP HUP ERR",
        "epoll_wait: token 9 IN",
        "epoll_wait: stop",
        "epoll_wait: no event",
        "read: ECONNRESET",
        "read: end of stream",
        "write 52 bytes",
        "close fd 7",
        "RST",
        "ECONNRESET",
    ];
    assert_eq!(texts, wanted.map(Some));
    assert_eq!(value["rows"][0]["step"], 1);
    assert_eq!(value["rows"][1]["step"], serde_json::Value::Null);
}

#[test]
fn long_stretches_are_folded_and_the_trace_has_them_whole() {
    let mut records = Records::default();
    for n in 0..100 {
        records.add(ONE + n % 2, Kind::Pop, "", [SESSION, 0, 0]).add(ONE, Kind::Read, "", [7, 4096, 0]);
    }
    for _ in 0..6 {
        records.add(ONE, Kind::Read, "", [7, 1000, 0]);
    }
    let run = records.run("stage4_broken", &[], Ending::Signal(libc::SIGKILL));
    let text = report(&run, 80, false);
    contains(&text, &["before: 88 tasks, 87 reads of 356,352 bytes\n", "7 reads, 10,096 bytes\n", "nobody directed"]);
    assert_eq!(trace_json(&run)["rows"].as_array().map(Vec::len), Some(206));

    // After a schedule that all survived, nothing of it is in the lanes.
    let mut records = Records::default();
    records.step(MAIN, 1).point(MAIN, "wait").end().point(ONE, "take");
    records.list.extend(run.records.iter().map(|record| Record { over: true, ..*record }));
    let run = records.run("stage4_fixed", &[("main", "wait")], Ending::Exit(0));
    let text = report(&run, 80, false);
    contains(&text, &["  1  wait\n", "everybody goes on: 415,600 bytes read\n"]);
    assert!(!text.contains("worker-1"), "{text}");
}

#[test]
fn no_line_of_a_report_is_wider_than_the_terminal() {
    let mut odd = use_after_free();
    fault(&mut odd, libc::SIGSEGV, 0x10, ONE);
    odd.stderr = "word ".repeat(200);
    odd.dropped = 5;
    for run in [use_after_free(), double_free(), refused(), odd] {
        for width in 1..140 {
            let text = report(&run, width, false);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= width, "{widest} > {width}:\n{text}");
        }
        assert!(!report(&run, 80, false).contains('\x1b'));
        assert!(report(&run, 80, true).contains("\x1b[1;31m"));
    }
}

/// A report whose lines are those of this file.
#[test]
fn the_guilty_lines_are_shown_and_come_before_the_lanes() {
    let (line, column) = (line!(), column!());
    let mut run = double_free();
    for record in &mut run.records {
        (record.file, record.line, record.column) = (file!(), line, column);
    }
    let text = report(&run, 90, false);
    // Allocated, freed and freed again in one line: it is shown once.
    let caret = " ".repeat("let (line, column) = (line!(), ".len()) + "^";
    let shown = format!("{line:>13} | let (line, column) = (line!(), column!());\n              | {caret}\n");
    assert_eq!(text.matches(&shown).count(), 1, "{text}");
    let order = ["died of", "again      worker-2", &shown, "why", "#  main", "order"].map(|part| text.find(part));
    assert!(order.is_sorted() && order[0].is_some(), "{text}");
    for width in 1..140 {
        let text = report(&run, width, false);
        assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
    }
    let target = super::source::link(file!());
    let linked = format!("\x1b]8;;{target}\x1b\\{}:{line}\x1b]8;;\x1b\\", file!());
    assert_eq!(report(&run, 90, true).matches(&linked).count(), 3);
    // A drop is not the line's.
    run.records.iter_mut().for_each(|record| record.inherited = true);
    let text = report(&run, 90, false);
    assert!(text.contains("| here or later: a drop has no line of its own\n") && !text.contains("|  "), "{text}");
}

#[test]
fn the_json_says_what_the_report_says() {
    let value = json(&use_after_free());
    assert_eq!(value["format"], "epoll-autopsy/autopsy");
    assert_eq!(value["ending"]["signal"], "SIGSEGV");
    assert_eq!(value["ending"]["number"], 11);
    assert_eq!(value["ending"]["address"], "0x7f0000000008");
    assert_eq!(value["ending"]["role"], "worker-1");
    assert_eq!(value["finding"]["block"]["name"], "session 1");
    assert_eq!(value["finding"]["block"]["offset"], 8);
    assert_eq!(value["finding"]["freed"]["role"], "main");
    assert_eq!(value["finding"]["used"]["line"], 120);
    assert_eq!(value["why"], use_after_free().stage.why);
    assert_eq!(value["rows"][4]["mark"], "SIGSEGV");
    assert_eq!(value["rows"][4]["step"], 4);
    assert_eq!(json(&double_free())["finding"]["freed_again"]["step"], 3);
}

#[test]
fn the_trace_has_every_record_under_speaking_keys() {
    let run = use_after_free();
    let value = trace_json(&run);
    let records = value["records"].as_array().expect("records");
    assert_eq!(records.len(), run.records.len());
    assert_eq!(value["version"], VERSION);
    assert_eq!(records[2]["kind"], "allocate");
    assert_eq!(records[2]["object"], "session 1");
    assert_eq!(records[2]["address"], "0x7f0000000000");
    assert_eq!((&records[1]["point"], &records[1]["occurrence"]), (&"wait".into(), &1.into()));
    assert_eq!((&records[6]["kind"], &records[6]["object"]), (&"pop".into(), &"session 1".into()));
    assert_eq!(value["objects"][0]["freed"], serde_json::json!([9]));
    assert_eq!(value["steps"][2]["what"], "remove");
    // A row points to its record.
    let last = value["rows"].as_array().and_then(|rows| rows.last()).expect("a row");
    assert_eq!(last["record"], records.last().expect("a record")["number"]);
}

#[test]
fn bytes_that_were_made_for_a_third_client_are_said_to_be_its() {
    const THREE: usize = 4;
    let mut records = Records::default();
    records.add(CLIENT, Kind::ClientReceive, "", [57, 57, 0]).add(THREE, Kind::ClientReceive, "", [57, 57, 0]).add(
        ONE,
        Kind::ClientReceive,
        "",
        [57, 57, 0],
    );
    let mut run = records.run("stage5_broken", &[], Ending::Exit(0));
    run.roles = ["client", "main", "client-2", "worker-1", "client-3"].map(String::from).to_vec();
    let wrong = |client, made_for| Misdelivery { client, got: b"4 bytes".into(), due: b"8 bytes".into(), made_for };
    run.evidence = Some(Evidence::Misdelivers(wrong(ONE, Some(THREE))));
    let text = report(&run, 100, false);
    let (stranger, due) = ("client-2 received 7 bytes, which are the reply to client-3", "it is owed   b\"8 bytes\"");
    contains(&text, &[stranger, due]);
    assert_eq!(
        (text.matches("<- not its own").count(), &json(&run)["misdelivery"]["made_for"]),
        (1, &"client-3".into())
    );
    run.evidence = Some(Evidence::Misdelivers(wrong(THREE, Some(CLIENT))));
    let text = report(&run, 100, false);
    contains(&text, &["client-3 received 7 bytes, which are the reply to client\n"]);
    let value = json(&run);
    assert_eq!(
        (&value["misdelivery"]["client"], &value["misdelivery"]["made_for"]),
        (&"client-3".into(), &"client".into())
    );
}

#[test]
fn a_sleep_whose_time_is_over_is_told_as_that() {
    let mut records = Records::default();
    records.add(ONE, Kind::Sleep, "", [7, 0, 0]).add(ONE, Kind::Woken, "", [7, 1, 0]);
    records.add(TWO, Kind::Sleep, "", [7, 0, 0]).add(TWO, Kind::Woken, "", [7, 0, 0]);
    let run = records.run("stage7_fixed", &[], Ending::Exit(0));
    let records = trace_json(&run)["records"].clone();
    assert_eq!((&records[1]["time_over"], &records[3]["time_over"]), (&true.into(), &serde_json::Value::Null));
    let texts: Vec<_> =
        trace_json(&run)["rows"].as_array().expect("a list").iter().map(|row| row["text"].clone()).collect();
    assert!(texts.contains(&"its time is over".into()) && texts.contains(&"woken".into()), "{texts:?}");
}

#[test]
fn numbers_and_masks_are_written_for_people() {
    assert_eq!(
        ["0", "999", "1,000", "10,485,760"],
        [0, 999, 1000, 10_485_760].map(thousands).each_ref().map(|s| &s[..])
    );
    assert_eq!((count(1, "byte"), count(2, "reply")), ("1 byte".to_string(), "2 replies".to_string()));
    assert_eq!((mask(0x2019), mask(4), mask(0)), ("IN RDHUP HUP ERR".into(), "OUT".into(), "0x0".to_string()));
}

#[test]
fn a_hang_names_the_connection_the_bytes_that_wait_and_what_each_thread_does() {
    let mut records = Records::default();
    records
        .add(CLIENT, Kind::Step, "", [1, 0, 0])
        .add(CLIENT, Kind::ClientConnect, "", [50_000, 0, 0])
        .add(MAIN, Kind::Step, "", [2, 0, 0])
        .add(MAIN, Kind::Point, "wait", [1, 0, 0])
        .add(MAIN, Kind::Refused, "", [2, Waiting::Event as u64, 5])
        .add(CLIENT, Kind::Hang, "", [1, 4096, 0])
        .add(MAIN, Kind::Close, "", [6, 0, 0]);
    let mut run = records.run("stage2_reactor", &[("client", "connect"), ("main", "wait")], Ending::Exit(0));
    let lost = Flags { once: true, ..Flags::default() };
    run.stage = run.stage.with_flags(lost);
    run.client.sent = 8192;
    run.served = Some(ServedCounts { received: 4096, replies: 0 });
    let doing = vec![("main".to_string(), "waits for an event".to_string())];
    run.evidence = Some(Evidence::Hangs(Hang {
        session: 1,
        fd: 6,
        unread: 4096,
        owed: 1,
        doing,
        proof: None,
        serves_another: true,
    }));
    let text = report(&run, 80, false);
    let hangs = "hangs session 1 (fd 6): 4,096 bytes wait in its socket (FIONREAD), and nobody reads";
    let proof = "main waits for an event, asked again, and there is none; the client is owed 1 reply";
    contains(&text, &[hangs, proof, "waits for its reply", "<- hangs", run.stage.why]);
    // What the lab does to stop the server is none of the run.
    let rows = trace_json(&run)["rows"].as_array().expect("a list").clone();
    assert_eq!(rows.last().expect("there are rows")["mark"], "hangs", "{text}");
    for value in [json(&run), trace_json(&run)] {
        assert_eq!((&value["hang"]["unread"], &value["hang"]["fd"]), (&4096.into(), &6.into()));
        assert_eq!(value["hang"]["threads"][0]["role"], "main");
    }
    // Nothing unread: a hang all the same, but not the one that the chapter explains.
    let Some(Evidence::Hangs(hang)) = &mut run.evidence else { unreachable!("set above") };
    hang.unread = 0;
    assert!(!report(&run, 80, false).contains("the edge was reported"));
}

#[test]
fn what_a_server_that_came_to_its_end_has_not_freed_has_leaked() {
    let leaked = |ending, served| {
        let mut records = Records::default();
        records.session(SESSION).buffer(BUFFER).add(MAIN, Kind::Free, "Buffer", [BUFFER, 4096, 0]);
        let run = Run { served, ..records.run("stage3_fixed", &[], ending) };
        findings::leaked(&Timeline::new(&run)).iter().map(|block| block.address).collect::<Vec<_>>()
    };
    let served = Some(ServedCounts { received: 0, replies: 0 });
    assert_eq!(leaked(Ending::Exit(0), served), [SESSION]);
    for (ending, served) in [(Ending::Exit(70), served), (Ending::Exit(0), None), (Ending::Signal(9), served)] {
        assert!(leaked(ending, served).is_empty(), "it may not have come so far");
    }
}

#[test]
fn a_block_whose_address_was_handed_out_twice_has_not_leaked() {
    let left = |addresses: &[u64], freed: &[u64]| {
        let mut records = Records::default();
        records.step(MAIN, 1).point(MAIN, "wait");
        addresses.iter().for_each(|address| _ = records.buffer(*address));
        freed.iter().for_each(|address| _ = records.add(MAIN, Kind::Free, "Buffer", [*address, 4096, 0]));
        let run = records.run("stage4_broken", &[("main", "wait")], Ending::Exit(0));
        let run = Run { served: Some(ServedCounts { received: 0, replies: 0 }), ..run };
        findings::leaked(&Timeline::new(&run)).iter().map(|block| block.name.clone()).collect::<Vec<_>>()
    };
    let other = BUFFER + 4096;
    assert!(left(&[BUFFER, other, BUFFER], &[BUFFER, other]).is_empty());
    assert_eq!(
        left(&[BUFFER, other, BUFFER], &[other]),
        ["buffer 3"],
        "memory leaks once, whatever it was handed out as"
    );
    assert_eq!(left(&[BUFFER, other], &[BUFFER]), ["buffer 2"]);
}

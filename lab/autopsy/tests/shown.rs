//! What the director, the kernel or a client has shown: each report names who and where, and says no more than was
//! shown.

use super::super::timeline::Timeline;
use super::super::verdicts;
use super::*;
use crate::direct::client::SocketQueues;
use crate::direct::outcome::{Loss, Stuck};
use crate::direct::quiescence::{Armed, Proof, Sleeper};
use crate::record::wakeups::{Counts, Herd};

const FLAG: u64 = 0x1000;
const QUEUE: u64 = 0x2000;

fn is_explained(run: &Run) -> bool {
    verdicts::why(&Timeline::new(run)).is_some()
}

fn doing(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(role, doing)| (role.to_string(), doing.to_string())).collect()
}

// ---- a server that never stops

/// worker-1 looks at the flag, main sets it and notifies, worker-1 falls asleep.
fn lost_wakeup(stage: &str, change: impl FnOnce(&mut Vec<Record>)) -> Run {
    let mut records = Records::default();
    records.step(ONE, 1).point(ONE, "take");
    // An earlier look, and the sleep after it, are not the ones.
    records.add(ONE, Kind::AtomicLoad, "", [FLAG, 0, 0]).add(ONE, Kind::Sleep, "", [QUEUE, 0, 0]);
    records.add(MAIN, Kind::Notify, "", [QUEUE, 1, 0]).add(ONE, Kind::Woken, "", [QUEUE, 0, 0]);
    records.add(ONE, Kind::AtomicLoad, "", [FLAG, 0, 0]).step(MAIN, 2);
    records.add(MAIN, Kind::AtomicStore, "", [FLAG, 1, 0]).step(MAIN, 3);
    records.add(MAIN, Kind::Notify, "", [QUEUE, 0, 1]).add(TWO, Kind::Notify, "", [QUEUE + 1, 7, 1]);
    records.step(ONE, 4).add(TWO, Kind::Sleep, "", [QUEUE, 0, 0]).add(ONE, Kind::Sleep, "", [QUEUE, 0, 0]);
    records.end().add(MAIN, Kind::Stuck, "", [ONE as u64, 0, 0]);
    change(&mut records.list);
    let steps = [("worker-1", "take"), ("main", "close"), ("main", "notify"), ("worker-1", "sleep")];
    let mut run = records.run(stage, &steps, Ending::Signal(libc::SIGKILL));
    let doing = doing(&[
        ("main", "waits for the end of worker-1"),
        ("worker-1", "waits for a notification"),
        ("worker-2", "has ended"),
    ]);
    run.evidence = Some(Evidence::NeverStops(Stuck { doing, joins: Some((MAIN, ONE)), asleep: vec![] }));
    run
}

fn lost(change: impl FnOnce(&mut Vec<Record>)) -> Option<[u64; 4]> {
    let value = json(&lost_wakeup("stage7_broken", change));
    let lost = &value["lost_wakeup"];
    (!lost.is_null())
        .then(|| ["looked", "set", "notified", "slept"].map(|key| lost[key]["record"].as_u64().expect("a number")))
}

#[test]
fn a_lost_wakeup_is_the_last_look_and_the_last_sleep_and_what_came_between() {
    assert_eq!(lost(|_| ()), Some([6, 8, 10, 14]));
    let run = lost_wakeup("stage7_broken", |_| ());
    let value = json(&run);
    assert_eq!(
        (&value["lost_wakeup"]["role"], &value["lost_wakeup"]["set"]["role"]),
        (&"worker-1".into(), &"main".into())
    );
    assert_eq!(value["lost_wakeup"]["slept"]["step"], 4);
    assert!(is_explained(&run));
    let text = report(&run, 100, false);
    let said = [
        "no end main waits for the end of worker-1, which sleeps, and nobody is left to wake it",
        "looked worker-1 step 1 lab/stages/made_up.rs:60: not set",
        "set main step 2 lab/stages/made_up.rs:80",
        "notified main step 3 lab/stages/made_up.rs:100: nobody slept",
        "slept worker-1 step 4 lab/stages/made_up.rs:140",
        "main waits for the end of worker-1; worker-1 waits for a notification; worker-2 has ended, asked again, and nothing",
        "<- never stops",
        run.stage.why,
    ];
    contains(&text, &said);
    let value = &trace_json(&run)["stuck"];
    assert_eq!(value["waits_for_the_end_of"], serde_json::json!({"role": "main", "other": "worker-1"}));
    assert_eq!(value["threads"][1], serde_json::json!({"role": "worker-1", "doing": "waits for a notification"}));
}

#[test]
fn without_each_of_its_parts_there_is_no_lost_wakeup() {
    let without = |at: usize| move |list: &mut Vec<Record>| list[at].kind = Kind::Use;
    // The flag was set before it looked, or never; nobody notified; it never slept.
    for at in [8, 10, 14] {
        assert_ne!(lost(without(at)), Some([6, 8, 10, 14]), "without record {at}");
    }
    assert_eq!((lost(without(8)), lost(without(10))), (None, None));
    let changed = |at: usize, change: fn(&mut Record)| lost(move |list| change(&mut list[at]));
    assert_eq!(changed(6, |look| look.b = 1), None, "it saw that the flag was set");
    assert_eq!(changed(8, |store| store.b = 0), None, "it was cleared");
    assert_eq!(changed(8, |store| store.a += 1), None, "another flag");
    assert_eq!(changed(10, |notify| notify.a += 1), None, "another condition variable");
    assert_eq!(changed(14, |sleep| sleep.role = TWO), None, "it did not sleep again");
    // Notified once more when it slept: then it was woken.
    assert_eq!(changed(15, |stuck| (stuck.kind, stuck.a) = (Kind::Notify, QUEUE)), None);
    assert_eq!(changed(15, |stuck| (stuck.kind, stuck.a) = (Kind::Notify, QUEUE + 1)), Some([6, 8, 10, 14]));
    // Of two notifications between, the later one is the one that it missed.
    assert_eq!(changed(11, |notify| notify.a = QUEUE), Some([6, 8, 11, 14]));
}

#[test]
fn who_was_asleep_when_it_was_notified_was_another() {
    let run = lost_wakeup("stage7_broken", |list| list[10].b = 2);
    contains(&report(&run, 100, false), &["made_up.rs:100: it did not sleep\n"]);
    let mut nobody = lost_wakeup("stage7_broken", |_| ());
    let Some(Evidence::NeverStops(stuck)) = &mut nobody.evidence else { unreachable!("set above") };
    stuck.joins = None;
    let text = report(&nobody, 100, false);
    contains(&text, &["no end nobody can move any more"]);
    assert!(!text.contains(nobody.stage.why), "{text}");
}

#[test]
fn a_server_that_was_killed_after_the_proof_has_not_died_of_it() {
    let text = report(&lost_wakeup("stage7_broken", |_| ()), 100, false);
    assert!(!text.contains("died of"), "{text}");
    // Killed without one, it has.
    let mut run = lost_wakeup("stage7_broken", |_| ());
    run.evidence = None;
    contains(&report(&run, 100, false), &["died of    SIGKILL, which came from outside"]);
    assert!(!is_explained(&run));
    assert_eq!(json(&run)["stuck"], serde_json::Value::Null);
}

// ---- a hang

fn hang(stage: &str, armed: Option<Option<u32>>, unread: u64) -> Run {
    let mut run =
        Records::default().run(stage.split(' ').next().unwrap_or_default(), &[("main", "wait")], Ending::Exit(0));
    run.stage = catalogue::exhibits().find(|one| one.name == stage).expect("it is in the catalogue");
    let connection = SocketQueues { unread, untaken: 0, inode: 1 };
    let proof = armed.map(|armed| Proof { threads: vec![], connection, fd: Some(6), armed: armed.map(Armed) });
    let doing =
        doing(&[("main", "waits for an event"), ("worker-1", "waits for a task"), ("worker-2", "waits for a task")]);
    run.evidence =
        Some(Evidence::Hangs(Hang { session: 2, fd: 6, unread, owed: 2, doing, proof, serves_another: false }));
    run
}

#[test]
fn a_hang_is_the_chapters_only_if_bytes_wait_and_the_socket_is_armed_as_it_says() {
    const EDGE: u32 = 0x8000_2001;
    const LEVEL: u32 = 0x2001;
    const DISARMED: u32 = 0xc000_0000;
    for (stage, armed, explained) in [
        ("stage2_reactor --lose-edge", None, true),
        ("stage2_reactor --lose-edge", Some(Some(EDGE)), true),
        ("stage2_reactor --lose-edge", Some(Some(LEVEL)), false),
        ("stage2_reactor --lose-edge", Some(Some(DISARMED)), false),
        ("stage2_reactor --lose-edge", Some(None), false),
        ("stage6_broken", None, true),
        ("stage6_broken", Some(Some(DISARMED)), true),
        ("stage6_broken", Some(Some(EDGE)), false),
        ("stage6_broken", Some(None), false),
        ("stage5_broken", Some(Some(DISARMED)), false),
    ] {
        assert_eq!(is_explained(&hang(stage, armed, 19)), explained, "{stage} {armed:x?}");
        assert!(!is_explained(&hang(stage, armed, 0)), "{stage}: nothing waits");
    }
    let mut none = hang("stage6_broken", None, 19);
    none.evidence = None;
    assert!(!is_explained(&none));
}

#[test]
fn what_the_socket_is_armed_for_is_said_in_words() {
    let said = |armed| report(&hang("stage6_broken", Some(armed), 19), 100, false);
    contains(&said(None), &["armed it is on no interest list"]);
    contains(&said(Some(0xc000_0000)), &["armed c0000000 (/proc/PID/fdinfo): no event is asked for"]);
    contains(&said(Some(0x8000_2001)), &["armed 80002001 (/proc/PID/fdinfo): edge-triggered, and the edge was told"]);
    contains(&said(Some(0x2001)), &["armed 00002001 (/proc/PID/fdinfo)\n"]);
    assert!(!report(&hang("stage6_broken", None, 19), 100, false).contains("  armed "));
}

#[test]
fn a_hang_is_told_with_its_session_its_bytes_and_who_waits_for_what() {
    let text = report(&hang("stage6_broken", None, 19), 100, false);
    contains(
        &text,
        &[
            "hangs session 2 (fd 6): 19 bytes wait in its socket (FIONREAD), and nobody reads",
            "main waits for an event; worker-1, worker-2 wait for a task, asked again, and there is none; the client is owed 2 \
             replies and waits",
        ],
    );
    assert!(!text.contains("another client came"), "{text}");
    contains(&report(&hang("stage6_broken", None, 1), 100, false), &["1 byte waits in its socket"]);
    let mut run = hang("stage6_broken", Some(None), 19);
    let Some(Evidence::Hangs(hang)) = &mut run.evidence else { unreachable!("set above") };
    hang.serves_another = true;
    contains(
        &report(&run, 100, false),
        &["meanwhile another client came, and was served", "0 threads asleep, none woke"],
    );
    let value = json(&run)["hang"].clone();
    let numbers = ["session", "fd", "unread", "owed"].map(|key| value[key].as_u64());
    assert_eq!(numbers, [Some(2), Some(6), Some(19), Some(2)]);
    assert_eq!((&value["serves_another"], &value["armed"]), (&true.into(), &serde_json::Value::Null));
}

#[test]
fn a_hang_is_told_with_where_its_socket_was_last_reported_and_read() {
    let told = |change: fn(&mut Records)| {
        let mut records = Records::default();
        // Another connection had the number before, and its token is another.
        records.step(MAIN, 1).add(MAIN, Kind::Add, "", [6, 1, 1]).add(MAIN, Kind::Ready, "", [1, 1, 0]);
        records.add(ONE, Kind::Read, "", [6, 1, 0]).add(MAIN, Kind::Close, "", [6, 0, 0]);
        records.step(MAIN, 2).add(MAIN, Kind::Add, "", [6, 9, 1]);
        change(&mut records);
        records.end().add(MAIN, Kind::Ready, "", [9, 4, 0]).add(ONE, Kind::Read, "", [6, 7, 0]);
        let mut run = records.run("stage6_broken", &[("main", "wait")], Ending::Exit(0));
        run.evidence = hang("stage6_broken", None, 19).evidence;
        let text = report(&run, 100, false);
        let row = |key: &str| text.lines().find(|line| line.starts_with(&format!("  {key}"))).map(str::to_string);
        (row("reported"), row("last read"))
    };
    assert_eq!(told(|_| {}), (None, None), "what was before it is another's");
    let (reported, read) = told(|records| {
        records.add(MAIN, Kind::Ready, "", [9, 1, 0]).add(ONE, Kind::Read, "", [6, 10, 0]);
        records.add(MAIN, Kind::Ready, "", [8, 1, 0]).add(ONE, Kind::Read, "", [5, 3, 0]);
    });
    assert_eq!(reported.as_deref(), Some("  reported   main      step 2  lab/stages/made_up.rs:70: IN"));
    assert_eq!(read.as_deref(), Some("  last read  worker-1          lab/stages/made_up.rs:80: 10 bytes"));
    let read = |result: i64| {
        let mut records = Records::default();
        records.add(MAIN, Kind::Add, "", [6, 9, 1]).add(ONE, Kind::Read, "", [6, result as u64, 0]);
        let mut run = records.run("stage6_broken", &[("main", "wait")], Ending::Exit(0));
        run.evidence = hang("stage6_broken", None, 19).evidence;
        report(&run, 100, false)
    };
    contains(&read(0), &["last read worker-1 lab/stages/made_up.rs:10: end of stream"]);
    contains(&read(-i64::from(libc::EAGAIN)), &["last read worker-1 lab/stages/made_up.rs:10: EAGAIN"]);
}

// ---- lost bytes

/// A client's last bytes and its end come as one event on fd 7; fd 8 is another's.
fn tail(stage: &str, reads: bool, change: impl FnOnce(&mut Vec<Record>)) -> Run {
    let both = (libc::EPOLLIN | libc::EPOLLRDHUP) as u64;
    let mut records = Records::default();
    records.step(MAIN, 1).add(MAIN, Kind::Add, "", [8, 2, 1]).add(MAIN, Kind::Add, "", [7, 1, 1]);
    records.add(CLIENT, Kind::ClientSend, "", [29, 29, 0]).add(CLIENT, Kind::ClientFin, "", [0; 3]);
    records.step(MAIN, 2).add(MAIN, Kind::Ready, "", [1, both, 0]);
    records.add(ONE, Kind::Read, "", [8, 100, 0]);
    records.step(ONE, 3).add(ONE, if reads { Kind::Read } else { Kind::Use }, "", [7, 20, 0]);
    records.add(ONE, if reads { Kind::Read } else { Kind::Use }, "", [7, 9, 0]);
    records.add(ONE, Kind::Read, "", [7, -libc::EAGAIN as i64 as u64, 0]).add(MAIN, Kind::Close, "", [8, 0, 0]);
    records.step(MAIN, 4).add(MAIN, Kind::Close, "", [7, 0, 0]).add(ONE, Kind::Read, "", [7, 1000, 0]);
    change(&mut records.list);
    let mut run = records.run(stage, &[("main", "wait")], Ending::Exit(0));
    run.stage =
        catalogue::exhibits().find(|one| one.name == format!("{stage} --tail")).expect("it is in the catalogue");
    run.client.sent = 29;
    run
}

/// Its descriptor, its report, its bytes, where they were read, where it was closed.
type Found = (u64, u64, u64, Option<u64>, Option<u64>);

fn tail_of(run: &Run) -> Option<Found> {
    let value = json(run)["tail"].clone();
    let number = |value: &serde_json::Value| value.as_u64();
    let (fd, reported) = (number(&value["fd"])?, number(&value["reported"]["record"])?);
    Some((fd, reported, number(&value["bytes"])?, number(&value["read"]["record"]), number(&value["closed"]["record"])))
}

#[test]
fn a_tail_is_of_its_own_socket_until_that_is_closed() {
    assert_eq!(tail_of(&tail("stage7_fixed", true, |_| ())), Some((7, 6, 29, Some(9), Some(14))));
    assert_eq!(tail_of(&tail("stage7_broken", false, |_| ())), Some((7, 6, 0, None, Some(14))));
    let run = tail("stage7_fixed", true, |_| ());
    assert!(is_explained(&run));
    contains(
        &report(&run, 100, false),
        &[
            "the tail 29 bytes came in one event with the end of the input, and were read first:",
            "reported main step 2 lab/stages/made_up.rs:60",
            "read worker-1 step 3 lab/stages/made_up.rs:90",
            "closed main step 4 lab/stages/made_up.rs:140",
        ],
    );
    // After the schedule it is chance which owner closes it: that is not told, and neither is its line.
    let late = report(&tail("stage7_fixed", true, |list| list[14].step = None), 100, false);
    assert!(late.contains("read       worker-1") && !late.contains("closed"), "{late}");
    assert!(!is_explained(&tail("stage7_fixed", false, |_| ())), "nobody has read it");
    // It stays open: what comes later is of it too.
    let open = tail_of(&tail("stage7_fixed", true, |list| list[14].kind = Kind::Use));
    assert_eq!(open, Some((7, 6, 1029, Some(9), None)));
}

#[test]
fn an_end_without_bytes_in_front_of_it_is_no_tail() {
    let without = |change: fn(&mut Vec<Record>)| tail_of(&tail("stage7_fixed", true, change));
    assert_eq!(without(|list| list[3].kind = Kind::ClientFin), None, "nothing was sent");
    assert_eq!(without(|list| list[5].kind = Kind::Read), None, "all was read before");
    for bits in [libc::EPOLLIN as u64, libc::EPOLLRDHUP as u64, 0] {
        let run = tail("stage7_fixed", true, |list| list[6].b = bits);
        assert_eq!(tail_of(&run), None, "{bits:#x}");
    }
    assert_eq!(without(|list| list[6].a = 9), None, "the token of no socket");
    // Of two such events the last one.
    let again = |list: &mut Vec<Record>| list[7] = Record { number: 7, ..list[6] };
    assert_eq!(tail_of(&tail("stage7_fixed", true, again)).map(|tail| tail.1), Some(7));
}

#[test]
fn a_loss_names_the_client_what_it_saw_and_that_nothing_was_read() {
    let mut run = tail("stage7_broken", false, |_| ());
    run.evidence = Some(Evidence::Loses(Loss { client: CLIENT, owed: 1, error: libc::ECONNRESET, closed: true }));
    assert!(is_explained(&run));
    let text = report(&run, 100, false);
    contains(
        &text,
        &[
            "loses client sent 29 bytes, closed its side, and got ECONNRESET; it is owed 1 reply",
            "reported main step 2 lab/stages/made_up.rs:60: with its end",
            "closed main step 4 lab/stages/made_up.rs:140: nothing was read",
        ],
    );
    let value = json(&run)["loss"].clone();
    assert_eq!(value, serde_json::json!({"client": "client", "owed": 1, "error": "ECONNRESET"}));
    let mut run = tail("stage7_broken", true, |_| ());
    run.evidence = Some(Evidence::Loses(Loss { client: CLIENT, owed: 2, error: 0, closed: true }));
    assert!(!is_explained(&run), "its bytes were read");
    let text = report(&run, 100, false);
    contains(&text, &["and got the end of the stream; it is owed 2 replies", "read worker-1 step 3"]);
    assert!(!text.contains("nothing was read"), "{text}");
    assert_eq!(json(&run)["loss"]["error"], serde_json::Value::Null);
    // Never closed, or no client that lost anything.
    let mut run = tail("stage7_broken", false, |list| list[14].kind = Kind::Use);
    run.evidence = Some(Evidence::Loses(Loss { client: CLIENT, owed: 1, error: 0, closed: true }));
    assert!(!is_explained(&run));
    assert!(!is_explained(&tail("stage7_broken", false, |_| ())));
}

#[test]
fn who_was_cut_is_told_with_what_it_lost() {
    let mut records = Records::default();
    records.add(MAIN, Kind::ForcedClose, "", [7, 10, 0]).add(MAIN, Kind::ForcedClose, "", [9, 0, 2]);
    records.add(MAIN, Kind::ForcedClose, "", [8, 0, 0]).add(MAIN, Kind::Close, "", [6, 1, 1]);
    let run = records.run("stage7_fixed", &[], Ending::Exit(0));
    let text = report(&run, 100, true);
    let cut = |fd, bytes, replies| {
        format!("fd {fd} at the limit of the drain: {bytes} without an answer, {replies} not written")
    };
    let red = |text: String| format!("\x1b[1;31m{text}");
    assert!(text.contains(&red(cut(7, "10 bytes", "0 replies"))), "{text}");
    assert!(text.contains(&red(cut(9, "0 bytes", "2 replies"))), "{text}");
    assert!(
        text.contains(&cut(8, "0 bytes", "0 replies")) && !text.contains(&red(cut(8, "0 bytes", "0 replies"))),
        "{text}"
    );
    let value = json(&run)["cut"].clone();
    assert_eq!(value.as_array().map(Vec::len), Some(3));
    assert_eq!(value[1], serde_json::json!({"fd": 9, "unanswered": 0, "replies": 2}));
}

// ---- herds

fn herd(stage: &str, counts: &[(u64, u64, u64)]) -> Run {
    let steps: Vec<_> = ["reactor-1", "reactor-2", "reactor-3"].map(|role| (role, "woken")).to_vec();
    let mut run = Records::default().run(stage, &steps, Ending::Exit(0));
    run.roles = ["client", "main", "reactor-1", "reactor-2", "reactor-3"].map(String::from).to_vec();
    let one = |&(woken, empty, accepted)| Counts { woken, empty, accepted, exhausted: 0, slept: 5 };
    run.herd = Herd { reactors: counts.iter().map(one).collect() };
    run
}

#[test]
fn a_herd_is_told_by_who_was_woken_in_vain() {
    let run = herd("stage8_broken", &[(1, 1, 0), (1, 0, 1), (2, 2, 0)]);
    assert!(is_explained(&run));
    let text = report(&run, 100, false);
    contains(
        &text,
        &["herd 3.00 wake-ups in vain a connection: 4 for 1 connection", "in vain reactor-1 1, reactor-3 2"],
    );
    let value = json(&run)["herd"].clone();
    let third =
        serde_json::json!({"role": "reactor-3", "woken": 2, "empty": 2, "accepted": 0, "exhausted": 0, "slept": 5});
    assert_eq!(value[2], third);
    let run = herd("stage8_broken", &[(1, 0, 1), (0, 0, 0), (0, 0, 0)]);
    assert!(!is_explained(&run));
    let text = report(&run, 100, false);
    contains(&text, &["herd none in this run: 1 for 1 connection"]);
    assert!(!text.contains("in vain reactor"), "{text}");
    assert!(is_explained(&herd("stage8_fixed", &[(1, 0, 1), (0, 0, 0)])));
    assert!(!is_explained(&herd("stage8_fixed", &[(1, 0, 1), (1, 1, 0)])), "a fixed server has no herd");
}

#[test]
fn a_herd_is_one_only_if_everybody_slept_when_its_client_came() {
    let of = |points: &[(usize, &'static str)]| {
        let mut records = Records::default();
        for (role, name) in points {
            records.point(*role, name);
        }
        records.add(CLIENT, Kind::ClientConnect, "", [1, 0, 0]);
        // Whoever looks later has not slept then.
        records.point(TWO, "wait");
        let mut run = herd("stage8_broken", &[(1, 0, 1), (1, 1, 0)]);
        run.roles = ["client", "main", "reactor-1", "reactor-2"].map(String::from).to_vec();
        run.records = records.list.clone();
        is_explained(&run)
    };
    assert!(of(&[(ONE, "wait"), (TWO, "wait")]));
    assert!(!of(&[(ONE, "wait")]), "reactor-2 had not come to its wait");
    assert!(!of(&[(ONE, "wait"), (TWO, "wait"), (TWO, "woken")]), "reactor-2 was awake");
    assert!(!of(&[(ONE, "wait"), (TWO, "woken")]), "it stood elsewhere");
}

#[test]
fn calls_of_the_same_name_are_counted_together_in_the_proof_of_a_hang() {
    let mut run = hang("stage6_broken", Some(None), 19);
    let Some(Evidence::Hangs(hang)) = &mut run.evidence else { unreachable!("set above") };
    let asleep = |call| Sleeper { name: "worker".to_string(), call, switches: 1 };
    hang.proof.as_mut().expect("it has one").threads =
        vec![asleep("futex"), asleep("epoll_wait"), asleep("futex"), asleep("")];
    contains(&report(&run, 100, false), &["4 threads asleep (2 in futex, 1 in epoll_wait), none woke"]);
}

#[test]
fn a_reactor_that_the_kernel_left_asleep_has_missed_nothing() {
    let mut run = herd("stage8_fixed", &[(1, 0, 1), (0, 0, 0), (1, 0, 0)]);
    for step in &mut run.steps {
        step.outcome = Outcome::Refused { waiting: Waiting::Event, address: 0, holder: None };
    }
    let text = report(&run, 100, false);
    contains(&text, &["not woken  reactor-2: nothing was reported to them\n", "wake-ups", "accepted"]);
    assert!(!text.contains("step 2 (reactor-2"), "{text}");
    contains(&text, &["refused step 1 (reactor-1 woken): reactor-1 waits for an event", "step 3 (reactor-3 woken)"]);
    // The director went past its step, which left no record.
    let mut records = Records::default();
    records.step(4, 3).add(4, Kind::AcceptEagain, "", [5, 0, 0]);
    run.records = records.list;
    run.steps[0].outcome = Outcome::Refused { waiting: Waiting::Task, address: 0, holder: None };
    let rows = trace_json(&run)["rows"].clone();
    let row = |n: usize| serde_json::json!(["step", "role", "text", "mark"].map(|key| rows[n][key].clone()));
    assert_eq!(row(0), serde_json::json!([1, "reactor-1", "waits for a task", "refused"]));
    assert_eq!(row(1), serde_json::json!([2, "reactor-2", "sleeps on", "not woken"]));
    assert_eq!(row(2), serde_json::json!([3, "reactor-3", "accept: EAGAIN", null]));
}

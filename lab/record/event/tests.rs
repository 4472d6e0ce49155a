//! Each kind of event in the trace and in a lane: which number stands under which key, and in which words.

use super::*;
use serde_json::json;

const SESSION: u64 = 0x7f00_0000_0000;

fn record(kind: Kind, label: &'static str, [a, b, c]: [u64; 3]) -> Record {
    let (number, nanos, role, line) = (0, 0, 2, 1);
    Record {
        number,
        nanos,
        role,
        kind,
        label,
        file: "x.rs",
        line,
        column: 1,
        inherited: false,
        step: None,
        over: false,
        a,
        b,
        c,
    }
}

/// A record after others: its lane, and its numbers as an object.
fn after(before: &[Record], last: Record) -> (Option<String>, Value) {
    let records = [before, &[last]].concat();
    let objects = Objects::new(&records);
    let roles = ["client", "main", "worker-1", "worker-2"].map(String::from);
    let seen = Seen { records: &records, at: records.len() - 1, roles: &roles, objects: &objects };
    let (name, numbers) = seen.json();
    let numbers = numbers.into_iter().map(|(key, value)| (key.to_string(), value));
    let all = std::iter::once(("kind".to_string(), json!(name))).chain(numbers);
    (seen.lane(), Value::Object(all.collect()))
}

/// The same by itself.
fn alone(kind: Kind, label: &'static str, numbers: [u64; 3]) -> (Option<String>, Value) {
    after(&[], record(kind, label, numbers))
}

#[track_caller]
fn is(found: (Option<String>, Value), lane: &str, value: Value) {
    assert_eq!(found, ((!lane.is_empty()).then(|| lane.to_string()), value));
}

const AGAIN: u64 = -libc::EAGAIN as i64 as u64;

#[test]
fn what_the_director_and_the_kernel_did() {
    is(alone(Kind::Point, "read", [3, 8, 9]), "", json!({"kind": "point", "point": "read", "occurrence": 3}));
    is(alone(Kind::Step, "", [3, 8, 9]), "", json!({"kind": "step", "step": 3}));
    is(alone(Kind::Wait, "", [3, 8, 9]), "", json!({"kind": "epoll_wait", "count": 3}));
    is(alone(Kind::Wait, "", [0, 8, 9]), "epoll_wait: no event", json!({"kind": "epoll_wait", "count": 0}));
    is(alone(Kind::Accept, "", [7, 8, 9]), "accept fd 7", json!({"kind": "accept", "fd": 7}));
    is(
        alone(Kind::AcceptEagain, "", [7, 8, 9]),
        "accept: EAGAIN",
        json!({"kind": "accept", "fd": null, "error": "EAGAIN"}),
    );
    is(alone(Kind::Read, "", [7, 12, 0]), "read 12 bytes", json!({"kind": "read", "fd": 7, "bytes": 12}));
    is(alone(Kind::Read, "", [7, 0, 0]), "read: end of stream", json!({"kind": "read", "fd": 7, "bytes": 0}));
    is(alone(Kind::Read, "", [7, AGAIN, 0]), "read: EAGAIN", json!({"kind": "read", "fd": 7, "error": "EAGAIN"}));
    is(alone(Kind::Write, "", [7, 1, 0]), "write 1 byte", json!({"kind": "write", "fd": 7, "bytes": 1}));
    is(alone(Kind::Write, "", [7, 0, 0]), "write 0 bytes", json!({"kind": "write", "fd": 7, "bytes": 0}));
    is(alone(Kind::Write, "", [7, AGAIN, 0]), "write: EAGAIN", json!({"kind": "write", "fd": 7, "error": "EAGAIN"}));
    is(alone(Kind::Shutdown, "", [7, 0, 0]), "shut down fd 7", json!({"kind": "shutdown", "fd": 7}));
    is(alone(Kind::Close, "", [7, 8, 9]), "close fd 7", json!({"kind": "close", "fd": 7}));
    is(
        alone(Kind::ForcedClose, "", [7, 8, 9]),
        "cut fd 7",
        json!({"kind": "cut", "fd": 7, "unanswered": 8, "replies": 9}),
    );
}

#[test]
fn a_socket_on_the_list_is_told_with_how_it_is_armed() {
    let (input, once, edge) = (libc::EPOLLIN as u64, libc::EPOLLONESHOT as u64, libc::EPOLLET as u32 as u64);
    let value = |kind: &str, events: &str, edge_triggered: bool, one_shot: bool| json!({"kind": kind, "fd": 7, "token": 8, "events": events, "edge_triggered": edge_triggered, "one_shot": one_shot, "exclusive": false});
    is(alone(Kind::Add, "", [7, 8, input | edge]), "", value("epoll_add", "IN", true, false));
    let exclusive = alone(Kind::Add, "", [7, 8, input | libc::EPOLLEXCLUSIVE as u64]).1;
    assert_eq!((&exclusive["events"], &exclusive["exclusive"]), (&json!("IN"), &json!(true)));
    is(alone(Kind::Modify, "", [7, 8, input | once]), "re-arm fd 7", value("epoll_modify", "IN", false, true));
    is(alone(Kind::Modify, "", [7, 8, input]), "modify fd 7", value("epoll_modify", "IN", false, false));
    for asked in [libc::EPOLLOUT, libc::EPOLLRDHUP] {
        let (lane, _) = alone(Kind::Modify, "", [7, 8, asked as u64]);
        assert_eq!(lane.as_deref(), Some("modify fd 7"));
    }
    let broken = libc::EPOLLHUP as u64 | once | edge;
    is(alone(Kind::Modify, "", [7, 8, broken]), "watch fd 7 for a break", value("epoll_modify", "HUP", true, true));
    let stop = alone(Kind::Add, "", [7, u64::MAX, 1]).1;
    assert_eq!(stop["token"], -1);
}

#[test]
fn an_event_is_told_by_the_socket_that_its_token_stood_for() {
    let add = |fd, token| record(Kind::Add, "", [fd, token, 1]);
    let ready = |before: &[Record], token, bits| after(before, record(Kind::Ready, "", [token, bits, 0]));
    let value = |token: i64, object: &str, events: &str| json!({"kind": "ready", "token": token, "object": object, "events": events});
    is(ready(&[add(6, 9), add(7, 9)], 9, 1), "epoll_wait: fd 7 IN", value(9, "fd 7", "IN"));
    is(ready(&[add(6, 8)], 9, 4), "epoll_wait: token 9 OUT", value(9, "token 9", "OUT"));
    let key = 2 << 32 | 7;
    is(ready(&[add(7, key)], key, 1), "epoll_wait: fd 7 (gen 2) IN", value(key as i64, "fd 7 (gen 2)", "IN"));
    is(ready(&[add(8, key)], key, 1), "epoll_wait: fd 8 IN", value(key as i64, "fd 8", "IN"));
    is(ready(&[], 0, 1), "epoll_wait: listener", value(0, "listener", "IN"));
    is(ready(&[], u64::MAX, 1), "epoll_wait: stop", value(-1, "stop", "IN"));
    is(ready(&[], u64::MAX - 1, 1), "epoll_wait: limit", value(-2, "limit", "IN"));
    // The bits that say how are none of the event's.
    is(ready(&[add(7, 9)], 9, 0x8000_0001), "epoll_wait: fd 7 IN 0x80000000", value(9, "fd 7", "IN"));
}

#[test]
fn a_descriptor_is_named_where_there_are_several_connections() {
    let two = [record(Kind::Accept, "", [6, 0, 0]), record(Kind::Accept, "", [7, 0, 0])];
    let lane = |before: &[Record], kind, b| after(before, record(kind, "", [7, b, 0])).0.expect("it is to be seen");
    assert_eq!(lane(&two, Kind::Read, 9), "read 9 bytes from fd 7");
    assert_eq!(lane(&two, Kind::Read, 0), "read from fd 7: end of stream");
    assert_eq!(lane(&two, Kind::Write, 9), "write 9 bytes to fd 7");
    assert_eq!(lane(&two, Kind::Write, AGAIN), "write to fd 7: EAGAIN");
    assert_eq!(lane(&two[..1], Kind::Read, 9), "read 9 bytes");
    // Who connects after a hang is the lab's.
    let after_a_hang = [two[0], record(Kind::Hang, "", [1, 0, 0]), two[1]];
    assert_eq!(lane(&after_a_hang, Kind::Read, 9), "read 9 bytes");
}

#[test]
fn memory_is_told_by_its_name_and_what_became_of_it() {
    let alloc = |label, a| record(Kind::Alloc, label, [a, 64, 1]);
    let free = record(Kind::Free, "Session", [SESSION, 64, 1]);
    let (address, size) = ("0x7f0000000000", 64);
    is(
        after(&[], alloc("Session", SESSION)),
        "allocate session 1",
        json!({"kind": "allocate", "object": "session 1", "address": address, "size": size, "own_pages": true}),
    );
    assert_eq!(alone(Kind::Alloc, "Session", [SESSION, 64, 0]).1["own_pages"], false);
    for household in ["Epoll", "Queue", "Totals", "Table", "Listener"] {
        assert_eq!(after(&[], alloc(household, SESSION)).0, None, "{household}");
        assert_eq!(after(&[alloc(household, SESSION)], record(Kind::Free, household, [SESSION, 64, 1])).0, None);
    }
    let two = [alloc("Session", SESSION), alloc("Session", SESSION + 64)];
    let value = json!({"kind": "free", "object": "session 1", "address": address, "size": size});
    is(after(&two, free), "free session 1", value.clone());
    is(after(&[two[0], two[1], free], free), "free session 1 again", value);
    let used = record(Kind::Use, "", [SESSION + 64, 0, 0]);
    let value = json!({"kind": "use", "object": "session 2", "address": "0x7f0000000040"});
    is(after(&[two[0], two[1], free], used), "", value);
    let used = record(Kind::Use, "", [SESSION, 0, 0]);
    assert_eq!(after(&[two[0], free], used).0.as_deref(), Some("use session 1"));
    assert_eq!(after(&[two[0], free, alloc("Session", SESSION)], used).0, None, "it is another's now");
}

#[test]
fn a_share_is_told_once_the_map_has_given_up_its_own() {
    let alloc = record(Kind::Alloc, "Session", [SESSION, 64, 0]);
    let share = |role, label, owners| Record { role, ..record(Kind::ReferenceCount, label, [SESSION, owners, 0]) };
    let lane = |before: &[Record], last| after(before, last).0;
    let by_the_map = share(MAIN, "Session", 2);
    is(
        after(&[alloc], by_the_map),
        "give up session 1: 2 owners left",
        json!({"kind": "owners", "object": "session 1", "address": "0x7f0000000000", "owners": 2}),
    );
    assert_eq!(lane(&[alloc], share(2, "Session", 2)), None, "not the map's");
    assert_eq!(lane(&[alloc, by_the_map], share(2, "Session", 1)).as_deref(), Some("give up session 1: 1 owner left"));
    assert_eq!(lane(&[alloc, by_the_map], share(2, "", 3)), None, "a new share");
    assert_eq!(lane(&[alloc, by_the_map, alloc], share(2, "Session", 1)), None, "the map still has the next one");
    assert_eq!(lane(&[record(Kind::Alloc, "Queue", [SESSION, 64, 0])], share(MAIN, "Queue", 1)), None);
}

#[test]
fn a_lock_is_told_by_what_it_is_a_part_of() {
    let alloc = |label| record(Kind::Alloc, label, [SESSION, 64, 0]);
    let lock = |kind| record(kind, "", [SESSION + 8, 0, 0]);
    let value = |kind: &str, object: &str| json!({"kind": kind, "address": "0x7f0000000008", "object": object});
    is(after(&[alloc("Session")], lock(Kind::Lock)), "lock session 1", value("lock", "session 1's lock"));
    is(after(&[alloc("Table")], lock(Kind::Lock)), "lock the table", value("lock", "the table's lock"));
    is(after(&[alloc("Queue")], lock(Kind::Lock)), "lock the queue", value("lock", "the queue's lock"));
    let first = record(Kind::Lock, "", [5, 0, 0]);
    is(after(&[first], lock(Kind::Lock)), "lock 2", value("lock", "lock 2"));
    is(after(&[], lock(Kind::Unlock)), "", value("unlock", "the lock at 0x7f0000000008"));
}

#[test]
fn who_gives_a_lock_back_is_seen_if_somebody_waits_for_it() {
    let lock = |kind, role, a| Record { role, ..record(kind, "", [a, 0, 0]) };
    let refused = |role, waiting, a| Record { role, ..record(Kind::Refused, "", [3, waiting as u64, a]) };
    let alloc = record(Kind::Alloc, "Session", [8, 64, 0]);
    let lane = |before: &[Record]| after(&[&[alloc], before].concat(), lock(Kind::Unlock, 2, 8)).0;
    let (taken, waits) = (lock(Kind::Lock, 2, 8), refused(3, Waiting::Lock, 8));
    assert_eq!(lane(&[taken, waits]).as_deref(), Some("unlock session 1"));
    assert_eq!(lane(&[taken]), None);
    assert_eq!(lane(&[taken, refused(3, Waiting::Lock, 9)]), None, "another lock");
    assert_eq!(lane(&[taken, refused(3, Waiting::Task, 8)]), None, "not for a lock");
    assert_eq!(lane(&[waits, lock(Kind::Lock, 3, 8), taken]), None, "it has had it since");
    assert_eq!(lane(&[waits, taken]).as_deref(), Some("unlock session 1"), "another one has had it since");
}

#[test]
fn a_refusal_names_what_is_waited_for_and_who_has_it() {
    let refused = |waiting, address| record(Kind::Refused, "", [3, waiting as u64, address]);
    let alloc = record(Kind::Alloc, "Session", [SESSION, 64, 0]);
    let lock = |kind, role| Record { role, ..record(kind, "", [SESSION, 0, 0]) };
    let value =
        |waiting: &str, object: Value| json!({"kind": "refused", "step": 3, "waiting_for": waiting, "object": object});
    let locked = value("lock", json!("session 1's lock"));
    let at = refused(Waiting::Lock, SESSION);
    is(after(&[alloc, lock(Kind::Lock, 3)], at), "waits for session 1's lock (worker-2 has it)", locked.clone());
    is(after(&[alloc, lock(Kind::Lock, 3), lock(Kind::Unlock, 3)], at), "waits for session 1's lock", locked.clone());
    let other = Record { a: SESSION + 64, ..lock(Kind::Lock, 1) };
    is(after(&[alloc, lock(Kind::Lock, 3), other], at), "waits for session 1's lock (worker-2 has it)", locked);
    is(after(&[], refused(Waiting::Thread, 3)), "waits for the end of worker-2", value("thread", Value::Null));
    is(
        after(&[], refused(Waiting::Thread, 99)),
        "waits for the end of a thread without a role",
        value("thread", Value::Null),
    );
    is(after(&[], refused(Waiting::Bytes, 7)), "waits for bytes on fd 7", value("bytes", Value::Null));
    is(
        after(&[], record(Kind::Refused, "", [3, 200, 0])),
        "",
        json!({"kind": "refused", "step": 3, "waiting_for": null, "object": null}),
    );
}

#[test]
fn tasks_are_told_by_the_session_the_socket_or_the_number() {
    let alloc = record(Kind::Alloc, "Session", [SESSION, 64, 0]);
    let value = |kind: &str, object: &str| json!({"kind": kind, "object": object, "queued": 4});
    let task = |kind, a| record(kind, "", [a, 4, 0]);
    is(after(&[alloc], task(Kind::Push, SESSION)), "queue session 1", value("push", "session 1"));
    is(after(&[alloc], task(Kind::Pop, SESSION)), "take session 1", value("pop", "session 1"));
    is(after(&[], task(Kind::Pop, 7)), "take task 7", value("pop", "task 7"));
    is(after(&[], task(Kind::Pop, 0xffff)), "take task 65535", value("pop", "task 65535"));
    is(after(&[], task(Kind::Pop, 0x1_0000)), "take 0x10000", value("pop", "0x10000"));
    let key = 3 << 32 | 7;
    let add = |fd| record(Kind::Add, "", [fd, key, 1]);
    is(after(&[add(7)], task(Kind::Pop, key)), "take fd 7 (gen 3)", value("pop", "fd 7 (gen 3)"));
    is(after(&[add(8)], task(Kind::Pop, key)), "take 0x300000007", value("pop", "0x300000007"));
}

#[test]
fn what_a_client_did() {
    is(alone(Kind::ClientConnect, "", [5000, 8, 9]), "connect", json!({"kind": "client_connect", "port": 5000}));
    is(alone(Kind::ClientSend, "", [1, 20, 0]), "send 1 byte", json!({"kind": "client_send", "bytes": 1, "total": 20}));
    is(
        alone(Kind::ClientReceive, "", [2, 20, 0]),
        "receive 2 bytes",
        json!({"kind": "client_receive", "bytes": 2, "total": 20}),
    );
    is(alone(Kind::ClientFin, "", [0; 3]), "FIN", json!({"kind": "client_fin"}));
    is(alone(Kind::ClientReset, "", [0; 3]), "RST", json!({"kind": "client_reset"}));
    is(alone(Kind::ClientEnd, "", [0; 3]), "end of stream", json!({"kind": "client_end", "error": null}));
    is(alone(Kind::ClientEnd, "", [104, 0, 0]), "ECONNRESET", json!({"kind": "client_end", "error": "ECONNRESET"}));
    is(alone(Kind::Hang, "", [1, 20, 0]), "waits for its reply", json!({"kind": "hang", "owed": 1, "unread": 20}));
    is(alone(Kind::Hang, "", [2, 20, 0]), "waits for 2 replies", json!({"kind": "hang", "owed": 2, "unread": 20}));
    is(alone(Kind::Stop, "", [0; 3]), "tells the server to stop", json!({"kind": "stop"}));
    is(
        alone(Kind::Stuck, "", [3, 0, 0]),
        "waits for the end of worker-2",
        json!({"kind": "stuck", "other": "worker-2"}),
    );
    is(alone(Kind::Begin, "", [0; 3]), "", json!({"kind": "begin"}));
    is(alone(Kind::End, "", [0; 3]), "", json!({"kind": "end"}));
}

#[test]
fn flags_and_notifications() {
    let flag = |kind: &str, set: bool| json!({"kind": kind, "address": "0x8", "set": set});
    is(alone(Kind::AtomicLoad, "", [8, 1, 0]), "look at the flag: set", flag("look", true));
    is(alone(Kind::AtomicLoad, "", [8, 0, 0]), "look at the flag: not set", flag("look", false));
    is(alone(Kind::AtomicStore, "", [8, 1, 0]), "set the flag", flag("set", true));
    is(alone(Kind::AtomicStore, "", [8, 0, 0]), "clear the flag", flag("set", false));
    let queue = record(Kind::Alloc, "Queue", [8, 64, 0]);
    is(
        after(&[queue], record(Kind::Sleep, "", [8, 0, 0])),
        "sleep in the queue",
        json!({"kind": "sleep", "address": "0x8"}),
    );
    is(alone(Kind::Sleep, "", [8, 0, 0]), "sleep in 0x8", json!({"kind": "sleep", "address": "0x8"}));
    let session = record(Kind::Alloc, "Session", [8, 64, 0]);
    assert_eq!(after(&[session], record(Kind::Sleep, "", [8, 0, 0])).0.as_deref(), Some("sleep in session 1"));
    is(alone(Kind::Woken, "", [8, 0, 0]), "woken", json!({"kind": "woken", "address": "0x8"}));
    is(
        alone(Kind::Woken, "", [8, 1, 0]),
        "its time is over",
        json!({"kind": "woken", "address": "0x8", "time_over": true}),
    );
    let notify = |slept: Value, all: bool| json!({"kind": "notify", "address": "0x8", "slept": slept, "all": all});
    is(alone(Kind::Notify, "", [8, u64::MAX, 0]), "notify who sleeps", notify(Value::Null, false));
    is(alone(Kind::Notify, "", [8, 0, 1]), "notify: nobody sleeps", notify(json!(0), true));
    is(alone(Kind::Notify, "", [8, 3, 0]), "notify: 1 of 3 asleep", notify(json!(3), false));
    is(alone(Kind::Notify, "", [8, 3, 1]), "notify: 3 of 3 asleep", notify(json!(3), true));
}

#[test]
fn where_a_thread_stood_is_no_deed() {
    for kind in Kind::ALL {
        assert_eq!(kind.is_a_deed(), ![Kind::Step, Kind::Point, Kind::Refused].contains(kind), "{kind:?}");
    }
}

#[test]
fn each_reason_to_wait_has_its_words_and_who_can_end_it() {
    use Waiting::*;
    let kernel = [Event, Connection, Bytes, Room];
    for waiting in Waiting::ALL {
        assert_eq!(waiting.is_for_the_kernel(), kernel.contains(waiting), "{waiting:?}");
        assert_eq!(waiting.is_for_a_time(), [NoticeOrTime, Turn].contains(waiting), "{waiting:?}");
    }
    let text = |waiting: Waiting, holder| waiting.text(7, holder);
    assert_eq!(text(Lock, Some("main")), "waits for a lock that main holds");
    assert_eq!(text(Lock, None), "waits for a lock that a thread holds");
    assert_eq!(text(Thread, Some("main")), "waits for the end of main");
    assert_eq!(text(Thread, None), "waits for the end of a thread");
    let all = [
        (Task, "a task"),
        (Event, "an event"),
        (Reply, "a reply"),
        (Connection, "a connection"),
        (Bytes, "bytes on fd 7"),
    ];
    let more = [(Room, "room in fd 7"), (Notice, "a notification"), (NoticeOrTime, "a notification, for a time")];
    for (waiting, what) in all.into_iter().chain(more) {
        assert_eq!(text(waiting, None), format!("waits for {what}"));
    }
    assert_eq!(
        (text(Turn, None), Turn.name(), NoticeOrTime.name()),
        ("spins".to_string(), "another thread", "notification or time")
    );
}

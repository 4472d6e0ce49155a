//! Stage 6: the lost re-arm. The hang is proved by quiescence, directed and in the wild; its fixed twin arms the socket
//! whichever way a worker leaves, and before it gives the session's lock back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use crate::support::{Output, command, finish, normalised, on_one_core, run, schedule};
use serde_json::Value;

/// `EPOLLET | EPOLLONESHOT`: what is left of a mask when its one-shot event was told.
const TOLD: &str = "c0000000";

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.all()))
}

/// The whole run, as `--trace` writes it.
fn trace(name: &str, arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("trace.json");
    let path = path.to_str().expect("a path is text");
    let output = run(name, &[arguments, &["--trace", path]].concat());
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{error}: {}", output.all()));
    serde_json::from_str(&text).expect("a trace is JSON")
}

fn records(trace: &Value) -> &[Value] {
    trace["records"].as_array().expect("there are records")
}

#[test]
fn the_lost_rearm_hangs_and_the_report_proves_it() {
    let output = run("stage6_broken", &[]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert_eq!(output.stderr, "");
    insta::assert_snapshot!("stage6_broken", normalised(&output.stdout));
}

#[test]
fn the_guard_arms_the_socket_in_the_same_order() {
    let output = run("stage6_fixed", &[]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    insta::assert_snapshot!("stage6_fixed", normalised(&output.stdout));
}

/// No limit is set, so there is no clock that could have judged.
#[test]
fn the_proof_is_what_the_kernel_says_of_threads_packets_and_the_interest_list() {
    for bare in [false, true] {
        let mut arguments = vec!["--json", "--limit", "0", "--workers", "3"];
        arguments.extend(bare.then_some("--bare"));
        let output = run("stage6_broken", &arguments);
        assert_eq!(output.code(), Some(1), "{}", output.all());
        let json = json(&output);
        let hang = &json["hang"];
        assert_eq!((&hang["session"], &hang["unread"], &hang["owed"]), (&1.into(), &19.into(), &1.into()), "{json}");
        assert_eq!(hang["armed"], TOLD, "{json}");
        assert_eq!(hang["serves_another"], true, "{json}");
        let calls: Vec<_> = hang["asleep"].as_array().expect("threads").iter().map(|thread| &thread["call"]).collect();
        assert_eq!(calls, ["epoll_wait", "futex", "futex", "futex"], "{json}");
        assert!(json["why"].as_str().is_some_and(|why| why.contains("one-shot")), "{json}");
        // The client that came after the hang is not in the accounts.
        assert_eq!((&json["client"]["sent"], &json["served"]["received"]), (&29.into(), &10.into()), "{json}");
    }
}

/// The descriptor is found by its inode, and the session by its place in the order of connections, not by being the
/// last.
#[test]
fn the_connection_that_waits_is_named_though_another_came_later() {
    let (_folder, path) = schedule(
        "client plan GET 1\nclient-2 plan GET 1\nclient connect\nclient send 10\nmain wait\nmain queue\nworker-1 take\n\
         worker-1 read\nworker-1 take\nclient send 19\nmain wait\nclient-2 connect\nclient-2 send 29\n",
    );
    let output = run("stage6_broken", &["--json", "--schedule", &path]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    let hang = &json(&output)["hang"];
    assert_eq!((&hang["session"], &hang["unread"]), (&1.into(), &19.into()), "{}", output.all());
    assert_eq!(hang["armed"], TOLD, "{}", output.all());
}

/// A FIN counts in the order of the bytes, and is none of those that wait.
#[test]
fn the_end_of_the_input_is_no_byte_that_waits() {
    let (_folder, path) = schedule(
        "client plan GET 1\nclient connect\nclient send 10\nmain wait\nmain queue\nworker-1 take\nworker-1 read\n\
         worker-1 take\nclient send 19\nclient fin\nmain wait\n",
    );
    let output = run("stage6_broken", &["--json", "--schedule", &path]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert_eq!(json(&output)["hang"]["unread"], 19, "{}", output.all());
}

#[test]
fn an_order_in_which_the_request_arrives_whole_is_served_by_both() {
    let (_folder, path) = schedule(
        "client plan GET 1\nclient connect\nclient send 10\nclient send 19\nmain wait\nmain queue\nworker-1 take\n",
    );
    for name in ["stage6_broken", "stage6_fixed"] {
        let output = run(name, &["--json", "--schedule", &path]);
        assert_eq!(output.code(), Some(0), "{name}: {}", output.all());
        assert_eq!(json(&output)["client"]["replies"], 1, "{name}: {}", output.all());
    }
}

/// Between taking and giving back the session's lock stands each re-arm of the fixed stage, on every way out.
#[test]
fn the_fixed_twin_arms_each_session_before_it_gives_its_lock_back() {
    let (_folder, path) = schedule(
        "client plan GET 2\nclient connect\nclient send 10\nmain wait\nmain queue\nworker-1 take\nworker-1 read\n\
         worker-1 take\nclient send 19\nmain wait\nmain queue\nworker-1 take\nclient send 29\nclient fin\n",
    );
    let trace = trace("stage6_fixed", &["--schedule", &path]);
    let mut rearms = 0;
    let records = records(&trace);
    for (at, rearm) in records.iter().enumerate().filter(|(_, record)| record["kind"] == "epoll_modify") {
        rearms += 1;
        let own = |record: &&Value| record["role"] == rearm["role"];
        let is_lock = |record: &&Value| record["kind"] == "lock" || record["kind"] == "unlock";
        let before = records[..at].iter().rev().filter(own).find(is_lock);
        let after = records[at..].iter().filter(own).find(is_lock);
        let kinds = [before, after].map(|record| record.map(|record| (&record["kind"], &record["address"])));
        let [Some((lock, taken)), Some((unlock, given_back))] = kinds else { panic!("{kinds:?} around {rearm}") };
        assert_eq!((lock, unlock), (&"lock".into(), &"unlock".into()), "around {rearm}");
        assert_eq!(taken, given_back, "around {rearm}");
    }
    assert!(rearms >= 3, "half a request, its rest, the end: {rearms} times armed");
    let armed = |record: &Value| record["kind"] == "epoll_modify" || record["kind"] == "epoll_add";
    let popped = records.iter().filter(|record| record["kind"] == "pop").count();
    assert_eq!(
        rearms,
        popped,
        "one re-arm for each task: {:?}",
        records.iter().filter(|r| armed(r)).collect::<Vec<_>>()
    );
}

#[test]
fn all_of_it_holds_on_one_core_and_without_a_parent() {
    for (name, code) in [("stage6_broken", 1), ("stage6_fixed", 0)] {
        let mut on_one = command(name);
        on_one_core(&mut on_one);
        let output = finish(on_one);
        assert_eq!(output.code(), Some(code), "{name}: {}", output.all());
        assert_eq!(normalised(&output.stdout), normalised(&run(name, &[]).stdout), "{name}");
        let output = run(name, &["--bare"]);
        assert_eq!(output.code(), Some(code), "{name}: {}", output.all());
    }
}

#[test]
fn each_of_fourteen_runs_ends_as_it_must_in_every_environment() {
    for name in ["stage6_broken", "stage6_fixed"] {
        let output = run(name, &["--repeat", "14", "--json"]);
        assert_eq!(output.code(), Some(0), "{name}: {}", output.all());
        let json = json(&output);
        let rows = json["environments"].as_array().expect("rows");
        assert_eq!(rows.iter().filter_map(|row| row["right"].as_u64()).sum::<u64>(), 14, "{name}: {json}");
    }
}

/// A hang in the wild is proved as in the exhibit; each round is either that or survived, and both count.
#[test]
fn in_the_wild_a_hang_is_proved_and_not_timed() {
    let output = run("stage6_broken", &["--wild", "--rounds", "40", "--seconds", "50", "--json"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let broken = json(&output);
    let hangs: u64 = broken["ends"].as_object().expect("ends").values().filter_map(Value::as_u64).sum();
    assert_eq!(broken["survived"].as_u64().unwrap_or(0) + hangs, 40, "{broken}");
    for end in broken["ends"].as_object().expect("ends").keys() {
        assert!(end.starts_with("hang: all asleep, bytes wait, the socket is not armed (c0000000)"), "{broken}");
        assert!(end.ends_with("another client is served"), "{broken}");
    }
    let output = run("stage6_fixed", &["--wild", "--rounds", "40", "--seconds", "50", "--json"]);
    assert_eq!(json(&output)["survived"], 40, "{}", output.all());
}

/// Stage 2 loses an edge in every upload: there the socket is armed, and nothing comes all the same.
#[test]
fn a_lost_edge_in_the_wild_is_proved_too() {
    let output = run("stage2_reactor", &["--lose-edge", "--wild", "--rounds", "3", "--json"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let ends = json(&output)["ends"].clone();
    let end = "hang: all asleep, bytes wait, the socket is armed for a new edge (80002019); another client is served";
    assert_eq!(ends[end], 3, "{ends}");
}

/// A server that is only slow is asleep too, between two packets of its client: no look may take that for a hang.
#[test]
fn a_slow_client_is_no_hang() {
    let mut server = command("stage6_fixed");
    server.args(["--serve", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut child = server.spawn().expect("it starts");
    let mut said = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
    std::io::BufRead::read_line(&mut out, &mut said).expect("it says where it listens");
    let address = said.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).expect("an address");
    let mut client = TcpStream::connect(address.trim_end_matches(';')).expect("it listens");
    client.set_nodelay(true).expect("a socket has the option");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has the option");
    // One byte a write: nearly every read finds half a request.
    for byte in b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n".repeat(3) {
        client.write_all(&[byte]).expect("it takes a byte");
    }
    let mut replies = [0; 3 * 52];
    client.read_exact(&mut replies).expect("three replies come");
    assert!(replies.ends_with(b"Hello, World!"));
    // SAFETY: the child was not waited for, so its number is its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    assert!(child.wait().expect("it ends").success());
}

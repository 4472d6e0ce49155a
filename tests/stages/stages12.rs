//! Stages 1 and 2: they serve, they end when they are told to, and the reactor hangs when it loses an edge.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Output, Server, binary, command, finish, forbid, limit_files, run, schedule};
use serde_json::Value;

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";
/// Each of the two servers, and each way in which the second can wait and still serve.
const SERVING: [(&str, &[&str]); 4] = [
    ("stage1_blocking", &[]),
    ("stage2_reactor", &[]),
    ("stage2_reactor", &["--level"]),
    ("stage2_reactor", &["--lose-edge", "--level"]),
];

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.all()))
}

fn one_sentence(output: &Output, says: &str) {
    assert_eq!(output.code(), Some(2), "{}", output.all());
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.all());
    assert!(output.stderr.contains(says), "{}", output.all());
}

/// The longest wait for a server: a safety net.
const PATIENCE: Duration = Duration::from_secs(20);

fn get(mut stream: &TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("it takes a request");
    let mut reply = vec![0; HELLO.len()];
    stream.read_exact(&mut reply).expect("it replies");
    assert_eq!(reply, HELLO);
}

fn within_seconds(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn stage1_shows_a_thread_that_sleeps_in_its_read_and_serves() {
    let output = run("stage1_blocking", &["--json"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let json = json(&output);
    let refused = |step: usize| (&json["steps"][step]["outcome"], &json["steps"][step]["waiting_for"]);
    assert_eq!(json["steps"][2]["role"], "conn-1");
    assert_eq!(refused(2), (&"refused".into(), &"bytes".into()), "{json}");
    assert_eq!(refused(3), (&"refused".into(), &"connection".into()), "{json}");
    assert_eq!(refused(5), (&"refused".into(), &"bytes".into()), "{json}");
    assert_eq!(json["client"]["replies"], 2);
    assert_eq!(json["served"]["received"], 58);
}

#[test]
fn stage2_reads_until_eagain_and_serves() {
    let output = run("stage2_reactor", &[]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    for line in ["read: EAGAIN", "8,192 sent, and the server counted every one", "1 written, 1 received whole"] {
        assert!(output.stdout.contains(line), "{line}: {}", output.all());
    }
}

#[test]
fn a_lost_edge_is_a_hang_every_time_and_the_report_says_whose_and_how_many_bytes_wait() {
    for _ in 0..10 {
        let output = run("stage2_reactor", &["--lose-edge"]);
        assert_eq!(output.code(), Some(1), "{}", output.all());
        for part in ["session 1 (fd ", "4,096 bytes wait", "<- hangs", "main waits for an event", "a new edge"] {
            assert!(output.stdout.contains(part), "{part}: {}", output.all());
        }
        assert_eq!(output.stderr, "");
    }
}

/// No limit is set, so there is no clock that could have judged.
#[test]
fn the_hang_is_judged_by_quiescence_and_counted_in_the_kernel() {
    let (_folder, path) = schedule("client plan POST 12000\nclient connect\nclient send 12059\nmain read\n");
    let output = run("stage2_reactor", &["--lose-edge", "--limit", "0", "--json", "--schedule", &path]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    let json = json(&output);
    assert_eq!(json["client"]["sent"], 12_059);
    assert_eq!(json["served"]["received"], 4_096, "{json}");
    assert_eq!(json["hang"]["unread"], 12_059 - 4_096, "{json}");
    assert_eq!((&json["hang"]["owed"], &json["hang"]["session"]), (&1.into(), &1.into()), "{json}");
    assert_eq!(json["hang"]["threads"][0]["doing"], "waits for an event", "{json}");
}

#[test]
fn a_whole_upload_hangs_too_when_each_edge_brings_one_read() {
    let (_folder, path) = schedule("client plan POST 10485760\nclient connect\nclient send 8192\nmain read\n");
    let output = run("stage2_reactor", &["--lose-edge", "--json", "--schedule", &path]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert!(json(&output)["hang"]["unread"].as_u64() > Some(4_096), "{}", output.all());
}

/// One read that takes everything leaves no edge to lose: the flag alone is no verdict.
#[test]
fn what_fits_in_one_read_is_served_even_so() {
    let (_folder, path) = schedule("client plan GET 2\nclient connect\nclient send 29\nmain read\n");
    let output = run("stage2_reactor", &["--lose-edge", "--json", "--schedule", &path]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    assert_eq!(json(&output)["hang"], Value::Null);
    assert_eq!(json(&output)["client"]["replies"], 2, "{}", output.all());
}

#[test]
fn level_triggered_survives_the_same_reading_in_the_same_order() {
    let output = run("stage2_reactor", &["--lose-edge", "--level", "--json"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let json = json(&output);
    assert_eq!(json["steps"][5]["outcome"], "passed", "the level brings another event: {json}");
    assert_eq!(json["served"]["received"], 8_192);
    assert_eq!(run("stage2_reactor", &["--level"]).code(), Some(0));
}

#[test]
fn all_of_it_holds_on_one_core_and_without_a_parent() {
    for (name, flags, code) in [
        ("stage1_blocking", vec![], 0),
        ("stage2_reactor", vec![], 0),
        ("stage2_reactor", vec!["--lose-edge"], 1),
        ("stage2_reactor", vec!["--lose-edge", "--level"], 0),
    ] {
        let mut on_one = Command::new("taskset");
        on_one.args(["-c", "0"]).arg(binary(name)).args(&flags);
        on_one.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if Command::new("taskset").arg("-V").output().is_ok() {
            let output = finish(on_one);
            assert_eq!(output.code(), Some(code), "{name} {flags:?}: {}", output.all());
        } else {
            assert!(std::env::var_os("CI").is_none(), "taskset is missing");
        }
        let bare: Vec<_> = flags.into_iter().chain(["--bare"]).collect();
        let output = run(name, &bare);
        assert_eq!(output.code(), Some(code), "{name} {bare:?}: {}", output.all());
    }
}

#[test]
fn repeat_counts_a_hang_as_the_end_that_must_be() {
    for arguments in [vec!["--lose-edge"], vec!["--lose-edge", "--level"], vec![]] {
        let all: Vec<_> = arguments.into_iter().chain(["--repeat", "7", "--json"]).collect();
        let output = run("stage2_reactor", &all);
        assert_eq!(output.code(), Some(0), "{all:?}: {}", output.all());
    }
    let output = run("stage1_blocking", &["--repeat", "7"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
}

#[test]
fn wild_rounds_are_survived() {
    for (name, flags) in SERVING {
        let all: Vec<_> = flags.iter().copied().chain(["--wild", "--rounds", "3", "--json"]).collect();
        let output = run(name, &all);
        assert_eq!(output.code(), Some(0), "{name} {flags:?}: {}", output.all());
        assert_eq!(json(&output)["survived"], 3, "{name} {flags:?}: {}", output.all());
    }
}

#[test]
fn a_client_of_ones_own_is_served_and_sigterm_ends_what_is_open() {
    for (name, flags) in SERVING {
        let server = Server::start(command(name), flags, PATIENCE);
        let idle = server.connect();
        let mut half = server.connect();
        half.write_all(b"GET / HT").expect("it takes a part");
        let mut stream = server.connect();
        get(&stream);
        get(&stream);
        stream
            .write_all(b"POST /u HTTP/1.1\r\nHost: lab\r\nContent-Length: 10485760\r\n\r\n")
            .expect("it takes the head");
        stream.write_all(&vec![b'x'; 10 * 1024 * 1024]).expect("it takes the body");
        let mut reply = [0; 256];
        let n = stream.read(&mut reply).expect("it replies");
        assert!(reply[..n].ends_with(b"10485760 bytes stored\n"), "{}", String::from_utf8_lossy(&reply[..n]));
        // The other clients have waited, and lost nothing.
        half.write_all(b"TP/1.1\r\nHost: lab\r\n\r\n").expect("it takes the rest");
        half.read_exact(&mut [0; HELLO.len()]).expect("it replies");
        half.write_all(b"GET").expect("it takes a part");
        // All bytes are read before the end.
        get(&stream);
        let last = server.stop();
        assert!(last.ends_with(", 5 replies\n"), "{name} {flags:?}: {last}");
        for mut open in [idle, half, stream] {
            let end = open.read(&mut [0; 1]);
            assert!(
                matches!(&end, Ok(0)) || matches!(&end, Err(error) if error.kind() == ErrorKind::ConnectionReset),
                "{name} {flags:?}: {end:?}"
            );
        }
    }
}

#[test]
fn a_refused_request_and_a_half_closed_client_end_the_connection() {
    for (name, flags) in SERVING {
        let server = Server::start(command(name), flags, PATIENCE);
        let mut refused = server.connect();
        refused.write_all(b"BREW / HTTP/1.1\r\nHost: lab\r\n\r\n").expect("it takes the request");
        let mut text = String::new();
        refused.read_to_string(&mut text).expect("it replies and ends the stream");
        assert!(text.starts_with("HTTP/1.1 501 Not Implemented\r\n"), "{name} {flags:?}: {text}");
        // More than one read takes, and the end of the stream right behind it.
        let mut half_closed = server.connect();
        half_closed
            .write_all(b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 9000\r\n\r\n")
            .expect("it takes the head");
        half_closed.write_all(&[b'x'; 9000]).expect("it takes the body");
        half_closed.shutdown(Shutdown::Write).expect("the connection is there");
        let mut text = String::new();
        half_closed.read_to_string(&mut text).expect("it replies and closes");
        assert!(text.ends_with("9000 bytes stored\n"), "{name} {flags:?}: {text}");
        server.stop();
    }
}

/// What a lost edge left in the socket is found by the next arrival: a new edge.
#[test]
fn one_more_byte_frees_a_client_whose_edge_was_lost() {
    let server = Server::start(command("stage2_reactor"), &["--lose-edge"], PATIENCE);
    let mut stream = server.connect();
    let head = b"POST /u HTTP/1.1\r\nHost: lab\r\nContent-Length: 8000\r\n\r\n";
    stream.write_all(&[head, [b'x'; 8000].as_slice()].concat()).expect("it takes the request");
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let nothing = stream.read(&mut [0; 1]).expect_err("it hangs");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    // Others are served meanwhile.
    get(&server.connect());
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(b"G").expect("it takes one byte");
    let mut reply = [0; 256];
    let n = stream.read(&mut reply).expect("it replies");
    assert!(reply[..n].ends_with(b"8000 bytes stored\n"));
    server.stop();
}

#[test]
fn stage1_has_a_thread_for_every_open_connection_and_joins_the_others() {
    let server = Server::start(command("stage1_blocking"), &[], PATIENCE);
    let before = server.descriptors();
    for _ in 0..3 {
        let clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
        clients.iter().for_each(get);
        assert_eq!(server.status("Threads"), 51);
        assert_eq!(server.descriptors(), before + 50);
        drop(clients);
        within_seconds("threads and descriptors stay", || {
            server.status("Threads") == 1 && server.descriptors() == before
        });
    }
    // A thread that is over keeps its stack until it is joined, which is when the next client comes.
    get(&server.connect());
    let stacks = fs::read_to_string(format!("/proc/{}/maps", server.child.id())).expect("it is alive");
    // The C library keeps some 20 of them for the next threads (and a stack is two mappings, with its guard).
    assert!(stacks.lines().count() < 200, "the stacks of 150 threads are still mapped:\n{stacks}");
    assert!(server.stop().ends_with(", 151 replies\n"));
}

#[test]
fn stage2_has_one_thread_whoever_comes() {
    let server = Server::start(command("stage2_reactor"), &["--workers", "9"], PATIENCE);
    let first = server.connect();
    get(&first);
    let before = server.descriptors();
    let clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    clients.iter().for_each(get);
    assert_eq!(server.status("Threads"), 1);
    drop(clients);
    within_seconds("descriptors stay", || server.descriptors() == before);
    server.stop();
}

#[test]
fn stage2_lets_a_client_go_that_takes_no_replies() {
    let server = Server::start(command("stage2_reactor"), &[], PATIENCE);
    let first = server.connect();
    get(&first);
    let before = server.descriptors();
    let mut greedy = server.connect();
    greedy.set_write_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let requests = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n".repeat(1000);
    let refused = (0..10_000).any(|_| greedy.write_all(&requests).is_err());
    assert!(refused, "it took 10 million requests without a place for the replies");
    within_seconds("the connection stays", || server.descriptors() == before);
    get(&first);
    server.stop();
}

/// A limit on memory would be met by whoever asks next, a thread that has just begun too; so the kernel refuses the
/// thread.
#[test]
fn stage1_without_a_thread_to_give_says_so_and_ends() {
    let mut command = command("stage1_blocking");
    for call in [libc::SYS_clone3, libc::SYS_clone] {
        forbid(&mut command, call, libc::EAGAIN);
    }
    let mut server = Server::start(command, &[], PATIENCE);
    let clients: Vec<_> = (0..100).map_while(|_| TcpStream::connect(&server.address).ok()).collect();
    let status = server.child.wait().expect("it is our child");
    let mut stderr = String::new();
    server.child.stderr.take().expect("it is piped").read_to_string(&mut stderr).expect("it can be read");
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("the kernel gives no more threads"), "{stderr}");
    drop(clients);
}

#[test]
fn a_schedule_knows_the_threads_of_its_stage() {
    for (name, text, says) in [
        ("stage1_blocking", "client connect\ncnn-1 read\n", "line 2: no such role: `cnn-1`; did you mean `conn-1`?"),
        ("stage1_blocking", "worker-1 read\n", "line 1: no such role: `worker-1`"),
        ("stage1_blocking", "conn-1 raed\n", "line 1: this stage has no point `raed`; did you mean `read`?"),
        ("stage2_reactor", "worker-1 read\n", "(this server has one thread)"),
    ] {
        let (_folder, path) = schedule(text);
        one_sentence(&run(name, &["--schedule", &path]), says);
    }
    let (_folder, path) = schedule("client plan GET 1\nclient connect\nconn-2 read\n");
    let output = run("stage1_blocking", &["--schedule", &path]);
    assert_eq!(output.code(), Some(70), "{}", output.all());
    assert!(output.stdout.contains("conn-2 is not there"), "{}", output.all());
}

#[test]
fn help_says_what_is_of_no_effect_and_what_the_flags_of_stage_2_do() {
    for name in ["stage1_blocking", "stage2_reactor"] {
        let help = run(name, &["--help"]).stdout;
        assert!(help.contains("Of no effect here"), "{help}");
        assert_eq!(help.contains("--lose-edge"), name == "stage2_reactor", "{help}");
        assert_eq!(help.contains("conn-1"), name == "stage1_blocking", "{help}");
    }
    assert_eq!(run("stage3_fixed", &["--lose-edge"]).code(), Some(2));
    assert_eq!(run("stage1_blocking", &["--level"]).code(), Some(2));
}

#[test]
fn cost_counts_the_threads_and_the_memory_of_both_servers() {
    let output = run("lab", &["cost", "--connections", "20,100"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let rows: Vec<Vec<_>> = output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |name: &str, connections: &str| {
        rows.iter()
            .find(|row| row.len() > 5 && row[0] == name && row[1] == connections)
            .unwrap_or_else(|| panic!("no row for {name}: {}", output.all()))
    };
    for (connections, threads) in [("20", "21"), ("100", "101")] {
        let (blocking, reactor) = (row("stage1_blocking", connections), row("stage2_reactor", connections));
        assert_eq!((blocking[2], reactor[2]), (threads, "1"), "{}", output.stdout);
        let resident = |row: &[&str]| row[3].replace(',', "").parse::<i64>().expect("a number");
        assert!(resident(blocking) > resident(reactor), "{}", output.stdout);
    }
    assert!(output.stdout.contains("100 connections: 101 threads against 1, and "), "{}", output.stdout);
    assert!(output.stdout.lines().all(|line| line.chars().count() <= 80), "{}", output.stdout);
}

#[test]
fn cost_beyond_the_limits_is_one_sentence() {
    let mut few = command("lab");
    few.args(["cost", "--connections", "500"]);
    limit_files(&mut few, 64);
    one_sentence(&finish(few), "500 connections need 532 open files, and the hard limit is 64");

    // Another name of the same file: a copy could not be run (`ETXTBSY`) while a child that another test has just forked still has
    // the descriptor that it was written through.
    let beside = binary("lab").with_file_name("");
    let folder = tempfile::tempdir_in(beside).expect("there is room");
    let alone = folder.path().join("lab");
    fs::hard_link(binary("lab"), &alone).expect("it is the same file system");
    let mut command = Command::new(alone);
    command.arg("cost").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    one_sentence(&finish(command), "build the stages first");
    assert_eq!(run("lab", &["cost", "--connections", "0"]).code(), Some(2));
}

//! Stage 7: the server that does not stop, the bytes that are dropped with a hang-up, and the drain of the fixed twin,
//! in which every byte and every reply is accounted for.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Output, command, finish, normalised, on_one_core, run, schedule};
use serde_json::Value;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";
/// A safety net for what must come.
const PATIENCE: Duration = Duration::from_secs(50);

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.all()))
}

fn run_on_one_core(name: &str, arguments: &[&str]) -> Output {
    let mut command = command(name);
    command.args(arguments);
    on_one_core(&mut command);
    finish(command)
}

#[test]
fn the_lost_wakeup_is_reported_with_its_proof() {
    let output = run("stage7_broken", &["--workers", "2"]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert_eq!(output.stderr, "");
    insta::assert_snapshot!("stage7_broken", without_the_rest(&normalised(&output.stdout)));
}

#[test]
fn the_fixed_twin_stops_in_the_same_order() {
    let output = run("stage7_fixed", &["--workers", "2"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    insta::assert_snapshot!("stage7_fixed", without_the_rest(&normalised(&output.stdout)));
}

#[test]
fn the_dropped_tail_is_reported_with_what_is_missing() {
    let output = run("stage7_broken", &["--tail"]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    insta::assert_snapshot!("stage7_broken_tail", without_the_rest(&normalised(&output.stdout)));
}

#[test]
fn the_fixed_twin_reads_the_tail_first() {
    let output = run("stage7_fixed", &["--tail"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let json = json(&run("stage7_fixed", &["--tail", "--json"]));
    assert_eq!((&json["served"]["received"], &json["client"]["sent"]), (&29.into(), &29.into()), "{json}");
    assert_eq!((&json["served"]["replies"], &json["client"]["replies"]), (&1.into(), &1.into()), "{json}");
    assert_eq!((&json["tail"]["bytes"], &json["loss"]), (&29.into(), &Value::Null), "{json}");
    assert!(json["why"].as_str().is_some_and(|why| why.contains("a turn like any other")), "{json}");
}

/// A worker that came free after the schedule may be any of them.
fn without_the_rest(text: &str) -> String {
    text.replace("  lab/stages", " lab/stages")
}

/// No limit is set, so there is no clock that could have judged.
#[test]
fn the_proof_says_who_waits_for_whom_and_what_came_first() {
    for arguments in [&["--json", "--limit", "0"][..], &["--json", "--limit", "0", "--bare"]] {
        let output = run("stage7_broken", arguments);
        assert_eq!(output.code(), Some(1), "{}", output.all());
        let json = json(&output);
        let stuck = &json["stuck"];
        assert_eq!(stuck["waits_for_the_end_of"]["role"], "main", "{json}");
        assert_eq!(stuck["waits_for_the_end_of"]["other"], "worker-1", "{json}");
        let doing = stuck["threads"].as_array().expect("threads");
        let of = |role: &str| doing.iter().find(|thread| thread["role"] == role).map(|thread| &thread["doing"]);
        assert_eq!(of("worker-1"), Some(&"waits for a notification".into()), "{json}");
        assert_eq!(of("worker-2"), Some(&"has ended".into()), "{json}");
        let asleep = stuck["asleep"].as_array().expect("threads");
        assert_eq!(asleep.len(), 2, "main and worker-1 are left: {json}");
        assert!(asleep.iter().all(|thread| thread["call"] == "futex"), "{json}");
        let lost = &json["lost_wakeup"];
        let order = ["looked", "set", "notified", "slept"].map(|what| lost[what]["record"].as_u64().expect("a record"));
        assert!(order.is_sorted(), "{json}");
        assert_eq!((&lost["role"], &lost["set"]["role"]), (&"worker-1".into(), &"main".into()), "{json}");
    }
}

#[test]
fn an_order_to_stop_that_finds_the_worker_asleep_wakes_it_in_both() {
    let (_folder, path) =
        schedule("worker-1 take\nworker-1 sleep\noperator stop\nmain wait\nmain close\nmain notify\n");
    for name in ["stage7_broken", "stage7_fixed"] {
        let output = run(name, &["--schedule", &path, "--json"]);
        assert_eq!(output.code(), Some(0), "{name}: {}", output.all());
        assert_eq!(json(&output)["stuck"], Value::Null, "{name}: {}", output.all());
    }
}

#[test]
fn a_tail_that_was_read_before_its_end_came_is_answered_by_both() {
    let (_folder, path) = schedule(
        "client plan GET 1\nclient connect\nmain wait\nclient send 29\nmain wait\nmain queue\nworker-1 take\nworker-1 write\n\
         client receive\nclient fin\n",
    );
    for name in ["stage7_broken", "stage7_fixed"] {
        let output = run(name, &["--tail", "--schedule", &path, "--json"]);
        assert_eq!(output.code(), Some(0), "{name}: {}", output.all());
        assert_eq!(json(&output)["served"]["replies"], 1, "{name}: {}", output.all());
    }
}

#[test]
fn each_exhibit_ends_as_it_must_on_one_core_and_in_every_environment() {
    for (name, arguments, code) in [
        ("stage7_broken", &[][..], 1),
        ("stage7_broken", &["--tail"], 1),
        ("stage7_fixed", &[], 0),
        ("stage7_fixed", &["--tail"], 0),
    ] {
        let output = run_on_one_core(name, arguments);
        assert_eq!(output.code(), Some(code), "{name} {arguments:?}: {}", output.all());
        let output = run(name, &[arguments, &["--repeat", "7"]].concat());
        assert_eq!(output.code(), Some(0), "{name} {arguments:?}: {}", output.all());
    }
}

/// The fixed twin survives every round of both scenarios; of the broken one each round is counted, however it ends.
#[test]
fn in_the_wild_the_fixed_twin_survives_every_round() {
    for arguments in [&[][..], &["--tail"]] {
        let wild = ["--wild", "--rounds", "10", "--seconds", "50", "--json"];
        let output = run("stage7_fixed", &[arguments, &wild].concat());
        let odds = json(&output);
        assert_eq!((&odds["survived"], &odds["rounds"]), (&10.into(), &10.into()), "{arguments:?}: {}", output.all());
        let odds = json(&run("stage7_broken", &[arguments, &wild].concat()));
        let ends: u64 = odds["ends"].as_object().expect("ends").values().filter_map(Value::as_u64).sum();
        assert_eq!(odds["survived"].as_u64().unwrap_or(0) + ends, 10, "{odds}");
    }
}

/// A server for clients of this test.
struct Served {
    child: Child,
    out: BufReader<ChildStdout>,
    address: SocketAddr,
}

/// What it said at its end.
#[derive(Debug, PartialEq, Eq)]
struct Accounts {
    received: u64,
    replies: u64,
    /// Sessions, bytes without an answer, replies not written.
    cut: [u64; 3],
}

impl Served {
    fn start(drain: &str) -> Served {
        Served::start_with(drain, &[])
    }

    fn start_with(drain: &str, more: &[&str]) -> Served {
        let mut command = command("stage7_fixed");
        command.args(["--serve", "127.0.0.1:0", "--workers", "3", "--drain", drain]).args(more).process_group(0);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut said = String::new();
        out.read_line(&mut said).expect("it says where it listens");
        let address = said.split_whitespace().find_map(|word| word.trim_end_matches(';').parse().ok());
        Served { child, out, address: address.expect("an address") }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("it listens");
        client.set_nodelay(true).expect("a socket has the option");
        client.set_read_timeout(Some(PATIENCE)).expect("a socket has the option");
        client
    }

    fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the child was not waited for, so its number is its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// Waits until nobody new is let in: then the drain has begun.
    fn wait_until_it_refuses(&self) {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_ok() {
            assert!(start.elapsed() < PATIENCE, "it was told to stop, and takes new clients");
            std::thread::yield_now();
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(mut self) -> Accounts {
        let mut said = String::new();
        self.out.read_to_string(&mut said).expect("it can be read");
        assert!(self.child.wait().expect("it is our child").success(), "{said}");
        let numbers = |line: &str| -> Vec<u64> { line.split(' ').filter_map(|word| word.parse().ok()).collect() };
        let mut accounts = Accounts { received: 0, replies: 0, cut: [0; 3] };
        for line in said.lines() {
            match (line.split(' ').next(), &numbers(line)[..]) {
                (Some("served"), [received, replies]) => (accounts.received, accounts.replies) = (*received, *replies),
                (Some("cut"), [sessions, bytes, replies]) => accounts.cut = [*sessions, *bytes, *replies],
                other => panic!("{other:?}"),
            }
        }
        accounts
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one request after another until the server ends the stream. Returns the bytes sent and the replies received
/// whole.
fn ask_until_the_end(mut client: TcpStream, which: usize, begun: &Barrier, all: &AtomicU64) -> (u64, u64) {
    let request = match which % 4 {
        3 => [b"POST /upload HTTP/1.1\r\nHost: lab\r\nContent-Length: 20000\r\n\r\n".to_vec(), vec![b'x'; 20_000]]
            .concat(),
        _ => GET.to_vec(),
    };
    let reply = match which % 4 {
        3 => b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n20000 bytes stored\n".to_vec(),
        _ => HELLO.to_vec(),
    };
    let depth = if which % 4 == 2 { 5 } else { 1 };
    let (mut sent, mut replies, mut buffer) = (0, 0, vec![0; reply.len()]);
    loop {
        for _ in 0..depth {
            // In two writes where the client is of that kind: the server sees half a request.
            let cut = if which % 4 == 1 { request.len() / 2 } else { request.len() };
            for piece in [&request[..cut], &request[cut..]] {
                client.write_all(piece).expect("the server reads to the end");
                sent += piece.len() as u64;
            }
        }
        for _ in 0..depth {
            match client.read_exact(&mut buffer) {
                Ok(()) => assert_eq!(buffer, reply),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    // What came in front of the end was not a part of a reply.
                    return (sent, replies);
                }
                Err(error) => panic!("client {which}: {error}"),
            }
            replies += 1;
            all.fetch_add(1, Ordering::Relaxed);
        }
        if replies == depth {
            begun.wait();
        }
    }
}

/// Many clients, each in the middle of something, and SIGTERM. Whatever a client sent was counted, and each reply that
/// was counted has arrived, and the other way round.
#[test]
fn every_byte_and_every_reply_is_counted_when_it_is_told_to_stop_in_the_middle() {
    const CLIENTS: usize = 16;
    for round in 0..12 {
        let server = Served::start("60000");
        let (begun, all) = (Barrier::new(CLIENTS + 1), AtomicU64::new(0));
        let clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
        let (sent, replies) = std::thread::scope(|scope| {
            let ask = |(which, client)| {
                let (begun, all) = (&begun, &all);
                scope.spawn(move || ask_until_the_end(client, which, begun, all))
            };
            let clients: Vec<_> = clients.into_iter().enumerate().map(ask).collect();
            begun.wait();
            // Not at the same moment in every round: after some more replies.
            let start = Instant::now();
            let more = all.load(Ordering::Relaxed) + round * 37;
            while all.load(Ordering::Relaxed) < more && start.elapsed() < PATIENCE {
                std::thread::yield_now();
            }
            server.terminate();
            let ends = clients.into_iter().map(|client| client.join().expect("no client panics"));
            ends.fold((0, 0), |(sent, replies), end| (sent + end.0, replies + end.1))
        });
        let accounts = server.end();
        assert_eq!(accounts, Accounts { received: sent, replies, cut: [0; 3] }, "round {round}");
    }
}

/// The same with real black-box records: `--json` has the same counts.
#[test]
fn what_is_under_way_is_finished_and_nobody_new_is_taken() {
    let server = Served::start("60000");
    let mut half = server.connect();
    half.write_all(&GET[..10]).expect("it takes bytes");
    let mut idle = server.connect();
    idle.write_all(GET).expect("it takes bytes");
    let mut reply = [0; HELLO.len()];
    idle.read_exact(&mut reply).expect("its reply comes");
    server.terminate();
    server.wait_until_it_refuses();
    // Who had nothing under way gets the end of the stream.
    assert_eq!(idle.read(&mut reply).expect("an end is no error"), 0);
    // And whoever had, still gets its reply, and then the end.
    half.write_all(&GET[10..]).expect("it takes bytes");
    half.read_exact(&mut reply).expect("its reply comes");
    assert_eq!(reply, HELLO);
    assert_eq!(half.read(&mut reply).expect("an end is no error"), 0);
    // A request that comes after that end is read and counted, and not answered.
    half.write_all(GET).expect("it takes bytes");
    half.shutdown(Shutdown::Write).expect("it is connected");
    drop((half, idle));
    assert_eq!(server.end(), Accounts { received: 87, replies: 2, cut: [0; 3] });
}

/// Sends requests and reads nothing, until its bytes do not fit even after the server had time to take some: then its
/// replies do not fit either. Says how many bytes went; the socket does not block any more.
fn send_until_full(stream: &mut TcpStream) -> u64 {
    stream.set_nonblocking(true).expect("a socket has the option");
    let requests = GET.repeat(1000);
    let (mut sent, mut full) = (0, 0);
    while full < 50 {
        match stream.write(&requests[sent as usize % GET.len()..]) {
            Ok(n) => (sent, full) = (sent + n as u64, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                full += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

/// A client that reads nothing until the server stops: its replies do not fit, are tried again, and are still counted
/// once.
#[test]
fn a_reply_that_had_to_wait_for_room_is_counted_once() {
    let server = Served::start("60000");
    let mut late = server.connect();
    let mut sent = send_until_full(&mut late);
    server.terminate();
    server.wait_until_it_refuses();
    late.set_nonblocking(false).expect("a socket has the option");
    // The request that did not fit whole is finished: it is under way.
    let rest = &GET[sent as usize % GET.len()..];
    let mut got = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| (&late).write_all(rest).expect("the server reads to the end"));
        (&late).read_to_end(&mut got).expect("the stream ends in order");
    });
    sent += rest.len() as u64;
    drop(late);
    assert!(got.chunks(HELLO.len()).all(|reply| reply == HELLO));
    assert_eq!(server.end(), Accounts { received: sent, replies: (got.len() / HELLO.len()) as u64, cut: [0; 3] });
}

/// However much a client sends, no turn with it is longer than 64 reads: a worker can be told to end between two turns.
#[test]
fn a_client_that_always_has_more_does_not_keep_its_worker() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("trace.json");
    let mut command = command("stage7_fixed");
    command.args(["--serve", "127.0.0.1:0", "--workers", "1", "--json", "--trace"]).arg(&trace);
    let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let mut err = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut said = String::new();
    err.read_line(&mut said).expect("it says where it listens");
    let address = said.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).expect("an address");
    let mut client = TcpStream::connect(address.trim_end_matches(';')).expect("it listens");
    // It is in the socket's buffers faster than anybody reads it out in pieces of 4,096 bytes.
    client.write_all(b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 8000000\r\n\r\n").expect("it takes bytes");
    client.write_all(&vec![b'x'; 8_000_000]).expect("it takes bytes");
    client.shutdown(Shutdown::Write).expect("it is connected");
    client.read_to_end(&mut Vec::new()).expect("the reply, and the end");
    // SAFETY: the child was not waited for, so its number is its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    assert!(child.wait().expect("it is our child").success());
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&trace).expect("a trace")).expect("JSON");
    let (mut turns, mut reads) = (Vec::new(), 0);
    for record in trace["records"].as_array().expect("records") {
        match (record["kind"].as_str(), record["point"].as_str()) {
            (Some("point"), Some("find")) => reads = 0,
            (Some("point"), Some("read")) => reads += 1,
            (Some("point"), Some("rearm")) => turns.push(reads),
            _ => {}
        }
    }
    assert_eq!(turns.iter().max(), Some(&64), "{turns:?}");
}

/// Neither a client that never ends its request, nor one that never reads, nor one that never leaves keeps the server.
#[test]
fn slow_clients_do_not_hold_up_the_end_and_the_report_says_what_was_cut() {
    let server = Served::start("100");
    let mut half = server.connect();
    half.write_all(&GET[..10]).expect("it takes bytes");
    let mut idle = server.connect();
    idle.write_all(GET).expect("it takes bytes");
    let mut reply = [0; HELLO.len()];
    idle.read_exact(&mut reply).expect("its reply comes");
    let mut deaf = server.connect();
    let sent = send_until_full(&mut deaf);
    server.terminate();
    // All three stay, and wait for nothing: only the limit can end this.
    let accounts = server.end();
    let [cut, unanswered, unwritten] = accounts.cut;
    assert_eq!(cut, 3, "{accounts:?}");
    assert!(unwritten > 0, "the deaf client left no room: {accounts:?}");
    // Each byte was counted, waits unanswered in the accounts, or had not arrived.
    assert!(accounts.received <= 10 + GET.len() as u64 + sent, "{accounts:?}");
    assert!(unanswered >= 10, "{accounts:?}");
    // What the deaf client has got is in the count, and so is the idle one's reply.
    deaf.set_nonblocking(false).expect("a socket has the option");
    let mut got = Vec::new();
    let _ = deaf.read_to_end(&mut got);
    assert!(got.chunks_exact(HELLO.len()).all(|reply| reply == HELLO));
    let got = (got.len() / HELLO.len()) as u64;
    assert!(got > 0 && got < accounts.replies, "{got} replies received: {accounts:?}");
    drop((half, idle));
}

/// A client that says nothing holds the drain for a day; whoever asks for the second time does not wait for it.
#[test]
fn a_second_signal_ends_a_drain_at_once() {
    use libc::{SIGINT, SIGTERM};
    for more in [&[][..], &["--trace=/dev/null"]] {
        for (first, second) in [(SIGTERM, SIGTERM), (SIGINT, SIGINT), (SIGTERM, SIGINT), (SIGINT, SIGTERM)] {
            let mut server = Served::start_with("86400000", more);
            let mut client = server.connect();
            client.write_all(&GET[..10]).expect("it takes bytes");
            server.signal(first);
            server.wait_until_it_refuses();
            assert!(server.child.try_wait().expect("it is our child").is_none(), "it drains");
            server.signal(second);
            let end = server.wait();
            assert_eq!(end.signal(), Some(second), "{more:?}: {end}");
            // The server of a recorded run goes with its parent.
            let mut rest = Vec::new();
            let end = client.read_to_end(&mut rest);
            assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        }
    }
}

/// The terminal sends SIGINT to the whole group, and so to the server of a recorded run too.
#[test]
fn ctrl_c_in_a_terminal_ends_it_in_order() {
    for more in [&[][..], &["--trace=/dev/null"]] {
        let mut server = Served::start_with("86400000", more);
        // SAFETY: the child was not waited for, so its number, and its group's, is its own.
        unsafe { libc::kill(-(server.child.id() as libc::pid_t), libc::SIGINT) };
        let end = server.wait();
        assert_eq!(end.code(), Some(0), "{more:?}: {end}");
    }
}

/// With no time at all nobody is waited for, and the report of a recorded server names who was cut.
#[test]
fn the_report_names_the_cut_session() {
    let mut command = command("stage7_fixed");
    command.args(["--serve", "127.0.0.1:0", "--drain", "0", "--json"]).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut err = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut said = String::new();
    err.read_line(&mut said).expect("it says where it listens");
    let address = said.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).expect("an address");
    let mut client = TcpStream::connect(address.trim_end_matches(';')).expect("it listens");
    client.write_all(&[GET, &GET[..10]].concat()).expect("it takes bytes");
    let mut reply = [0; HELLO.len()];
    client.read_exact(&mut reply).expect("its reply comes");
    // SAFETY: the child was not waited for, so its number is its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    let mut text = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut text).expect("it can be read");
    assert!(child.wait().expect("it is our child").success());
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let cut = json["cut"].as_array().expect("a list");
    assert_eq!(cut.len(), 1, "{text}");
    assert_eq!((&cut[0]["unanswered"], &cut[0]["replies"]), (&10.into(), &0.into()), "{text}");
}

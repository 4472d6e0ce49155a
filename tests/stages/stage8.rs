//! Stage 8 as a reader runs it: which thread a connection wakes, who gets it, and what happens when descriptors run
//! out.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use crate::support::{command, limit_files, normalised, run, schedule};
use serde_json::Value;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";
/// A safety net, no measure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The variants of the fixed stage.
const FIXED: [&[&str]; 2] = [&[], &["--reuseport"]];

fn json(stage: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(stage, &[arguments, &["--json"]].concat());
    let value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.all()));
    (output.code(), value)
}

/// What each reactor counted: woken, empty, accepted.
fn counts(report: &Value) -> Vec<[u64; 3]> {
    let one = |one: &Value| ["woken", "empty", "accepted"].map(|key| one[key].as_u64().expect("a number"));
    report["herd"].as_array().expect("there are reactors").iter().map(one).collect()
}

#[test]
fn one_connection_wakes_every_reactor_and_all_but_one_in_vain() {
    for workers in [2, 4, 9] {
        let (code, report) = json("stage8_broken", &["--workers", &workers.to_string()]);
        let mut wanted = vec![[1, 1, 0]; workers];
        wanted[0] = [1, 0, 1];
        assert_eq!((code, counts(&report)), (Some(1), wanted));
        assert_eq!((&report["served"]["received"], &report["served"]["replies"]), (&29.into(), &1.into()));
    }
}

#[test]
fn both_fixes_wake_one_reactor_for_one_connection() {
    for variant in FIXED {
        for workers in [2, 4, 9] {
            let (code, report) = json("stage8_fixed", &[variant, &["--workers", &workers.to_string()]].concat());
            let mut wanted = vec![[0, 0, 0]; workers];
            wanted[0] = [1, 0, 1];
            assert_eq!((code, counts(&report)), (Some(0), wanted), "{variant:?}");
            assert_eq!(report["served"]["replies"], 1, "{variant:?}");
        }
    }
}

#[test]
fn one_reactor_is_no_herd() {
    let (code, report) = json("stage8_broken", &["--workers", "1"]);
    assert_eq!((code, counts(&report)), (Some(0), vec![[1, 0, 1]]));
}

#[test]
fn the_reports_say_who_was_woken() {
    insta::assert_snapshot!("stage8_broken", normalised(&run("stage8_broken", &[]).stdout));
    insta::assert_snapshot!("stage8_exclusive", normalised(&run("stage8_fixed", &[]).stdout));
    insta::assert_snapshot!("stage8_reuseport", normalised(&run("stage8_fixed", &["--reuseport"]).stdout));
}

#[test]
fn it_is_so_on_one_core_and_under_load_too() {
    for (stage, variant) in [("stage8_broken", FIXED[0]), ("stage8_fixed", FIXED[0]), ("stage8_fixed", FIXED[1])] {
        let output = run(stage, &[variant, &["--repeat", "14"]].concat());
        assert_eq!(output.code(), Some(0), "{}", output.all());
    }
}

/// `EPOLLEXCLUSIVE` wakes one of those who sleep, and the kernel goes past those who do not: they hear of it too.
#[test]
fn exclusive_wakes_one_or_more() {
    // reactor-1 does not sleep when the client comes, and reactor-2 does.
    let order = "client plan GET 1\nreactor-2 wait\nclient connect\nclient send 29\nreactor-2 woken\n\
                 reactor-1 wait\nreactor-1 woken\nreactor-2 accept\nreactor-1 accept\n";
    let (_folder, path) = schedule(order);
    let (code, report) = json("stage8_fixed", &["--workers", "3", "--schedule", &path]);
    assert_eq!((code, counts(&report)), (Some(0), vec![[1, 1, 0], [1, 0, 1], [0, 0, 0]]));
    // With a listener of its own for each, the connection is the first one's, which finds it once it looks.
    let order = "client plan GET 1\nreactor-2 wait\nclient connect\nclient send 29\n\
                 reactor-1 wait\nreactor-1 woken\nreactor-1 accept\n";
    let (_folder, path) = schedule(order);
    let (code, report) = json("stage8_fixed", &["--reuseport", "--workers", "3", "--schedule", &path]);
    assert_eq!((code, counts(&report)), (Some(0), vec![[1, 0, 1], [0, 0, 0], [0, 0, 0]]));
}

#[test]
fn a_line_for_all_reactors_stands_for_one_of_each() {
    let (_folder, path) = schedule("client connect\nreactors wait\nmain wait\n");
    let output = run("stage8_fixed", &["--schedule", &path, "--workers", "2"]);
    assert_eq!(output.code(), Some(70), "main has no such point: {}", output.all());
    let (_folder, path) = schedule("client connect\nreactor wait\n");
    let output = run("stage8_fixed", &["--schedule", &path, "--workers", "2"]);
    assert_eq!(output.code(), Some(2));
    let wanted = "(there are 2 reactors, and `reactors` for each of them)";
    assert!(output.stderr.contains("line 2: no such role: `reactor`"), "{}", output.all());
    assert!(output.stderr.contains(wanted), "{}", output.all());
}

#[test]
fn nobody_is_lost_when_nobody_directs() {
    for (stage, variant) in [("stage8_broken", FIXED[0]), ("stage8_fixed", FIXED[0]), ("stage8_fixed", FIXED[1])] {
        let output = run(stage, &[variant, &["--wild", "--rounds", "10", "--json"]].concat());
        let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.all()));
        assert_eq!((&report["rounds"], &report["survived"]), (&10.into(), &10.into()), "{stage} {variant:?}");
        let counts = counts(&report);
        let sum = |at: usize| counts.iter().map(|one| one[at]).sum::<u64>();
        let (woken, empty, accepted) = (sum(0), sum(1), sum(2));
        assert_eq!((accepted, woken), (640, 640 + empty), "{stage} {variant:?}");
        if variant == FIXED[1] {
            // Promised, not probable: nobody else waits there.
            assert_eq!(empty, 0, "{stage} {variant:?}");
        }
    }
}

/// A server for clients of the test's own.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    /// With at most so many descriptors, if there is a limit.
    fn start(stage: &str, variant: &[&str], files: Option<u64>) -> Server {
        let mut command = command(stage);
        command.args(["--serve", "127.0.0.1:0"]).args(variant);
        if let Some(files) = files {
            limit_files(&mut command, files);
        }
        let mut child = command.spawn().expect("the program starts");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("it says where it listens");
        let address = line.split_whitespace().nth(if variant.is_empty() { 3 } else { 4 }).expect("an address");
        let address = address.trim_end_matches(';').to_string();
        Server { child, out, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option");
        stream
    }

    /// Whether all of its threads sleep.
    fn is_asleep(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it is there");
        let stats = tasks
            .map(|task| std::fs::read_to_string(task.expect("a thread").path().join("stat")).expect("it is there"));
        stats.into_iter().all(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S')))
    }

    /// Tells it to stop; its last line.
    fn stop(mut self) -> String {
        // SAFETY: it is our child, and was not waited for.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let mut last = String::new();
        self.out.read_to_string(&mut last).expect("it says what it served");
        assert!(self.child.wait().expect("it ends").success(), "{last}");
        last
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(REQUEST).expect("it takes the request");
}

fn take(stream: &mut TcpStream) {
    let mut reply = vec![0; REPLY.len()];
    stream.read_exact(&mut reply).expect("the reply");
    assert_eq!(reply, REPLY);
}

/// Whether there is something to read, now.
fn has_reply(stream: &TcpStream) -> bool {
    let mut poll = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}

/// `n` of `n times`, `n for` and so on, in the server's last line.
fn number_before(text: &str, words: &str) -> Option<u64> {
    text.split(words)
        .next()
        .filter(|before| before.len() < text.len())?
        .rsplit(' ')
        .next()?
        .replace(',', "")
        .parse()
        .ok()
}

/// The descriptors run out. Whoever waits is served once somebody leaves, and until then no reactor spins.
#[test]
fn who_finds_no_descriptor_left_waits_and_nobody_spins() {
    for variant in FIXED {
        let start = Instant::now();
        let server = Server::start("stage8_fixed", variant, Some(48));
        let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(ask);
        // A client is served: with it the time until the server is full, and then some, is counted in requests.
        let served = |clients: &[TcpStream]| clients.iter().position(has_reply);
        while served(&clients).is_none() {
            assert!(start.elapsed() < PATIENCE, "nobody is served");
            std::thread::yield_now();
        }
        let first = served(&clients).expect("it was looked for");
        take(&mut clients[first]);
        for _ in 0..2000 {
            ask(&mut clients[first]);
            take(&mut clients[first]);
        }
        let waiting = clients.iter().filter(|client| !has_reply(client)).count();
        assert!(waiting > 10, "the limit was not reached: only {waiting} of 60 wait");
        // One after another leaves, and all get their reply in the end.
        let mut left = clients.len() - 1;
        drop(clients.swap_remove(first));
        while left > 0 {
            assert!(start.elapsed() < PATIENCE, "{left} clients wait for ever");
            match served(&clients) {
                Some(next) => {
                    take(&mut clients[next]);
                    drop(clients.swap_remove(next));
                    left -= 1;
                }
                None => std::thread::yield_now(),
            }
        }
        let seconds = start.elapsed().as_secs();
        let last = server.stop();
        let exhausted =
            number_before(&last, " found no descriptor left").unwrap_or_else(|| panic!("not reached: {last}"));
        // Each of the four reactors asks again when a client of its own has left, and once a second. A spin would ask
        // as often as it can: hundreds of times for each of the 2,000 requests.
        let most = 60 + 4 * (seconds + 2);
        assert!(exhausted <= most, "{exhausted} wake-ups in vain, and at most {most} have a reason: {last}");
        assert_eq!(number_before(&last, " connections"), Some(60), "{last}");
    }
}

/// `LAB_CONNECTIONS=10000 cargo test --test stages stage8 at_once` opens as many at once.
#[test]
fn many_connections_at_once_are_all_served() {
    let wanted = std::env::var("LAB_CONNECTIONS").ok().and_then(|text| text.parse().ok());
    let count: usize = wanted.unwrap_or(500);
    for variant in FIXED {
        let server = Server::start("stage8_fixed", variant, None);
        let mut clients: Vec<_> = (0..count).map(|_| server.connect()).collect();
        for _ in 0..2 {
            clients.iter_mut().for_each(ask);
            clients.iter_mut().for_each(take);
        }
        drop(clients);
        let last = server.stop();
        assert!(
            last.starts_with(&format!("served {} bytes, {} replies", 2 * count * REQUEST.len(), 2 * count)),
            "{last}"
        );
        let word = if count == 1 { " connection" } else { " connections" };
        assert_eq!(number_before(&last, word), Some(count as u64), "{last}");
    }
}

/// Far more replies than the sockets hold: what a client does not take waits for `EPOLLOUT`, it is read no further, and
/// nobody spins: the whole server falls asleep.
#[test]
fn a_client_who_asks_much_and_reads_late_gets_every_reply() {
    const REQUESTS: usize = 400_000;
    let server = Server::start("stage8_fixed", &[], None);
    let mut client = server.connect();
    client.set_nonblocking(true).expect("an option");
    let requests = REQUEST.repeat(REQUESTS);
    let (start, mut sent) = (Instant::now(), 0);
    loop {
        match client.write(&requests[sent..]) {
            Ok(n) => sent += n,
            // No room, and nobody at work who could make some.
            Err(error) if error.kind() == ErrorKind::WouldBlock && server.is_asleep() => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(start.elapsed() < PATIENCE, "the server does not come to rest: {sent} bytes");
    }
    assert!(sent < requests.len(), "it was never read slower than it was sent to");
    client.set_nonblocking(false).expect("an option");
    let mut writer = client.try_clone().expect("there is a descriptor");
    let writing = std::thread::spawn(move || writer.write_all(&requests[sent..]).expect("it takes the rest"));
    let mut replies = vec![0; REPLY.len() * 1000];
    for _ in 0..REQUESTS / 1000 {
        client.read_exact(&mut replies).expect("the replies");
        assert!(replies.chunks(REPLY.len()).all(|reply| reply == REPLY));
    }
    writing.join().expect("it wrote everything");
    drop(client);
    let last = server.stop();
    assert!(last.contains(&format!(" {REQUESTS} replies")), "{last}");
}

/// The last words of a client that closes its side at once are answered, and a refused one is told and let go.
#[test]
fn every_way_to_leave_ends_the_session() {
    let server = Server::start("stage8_fixed", &["--reuseport"], None);
    let mut client = server.connect();
    ask(&mut client);
    client.shutdown(std::net::Shutdown::Write).expect("it is connected");
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("the reply and the end");
    assert_eq!(all, REPLY);

    let mut client = server.connect();
    client.write_all(b"nonsense\r\n\r\n").expect("it takes it");
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("the reply and the end");
    assert!(all.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&all));

    // Broken off in the middle of a body.
    let mut client = server.connect();
    client.write_all(b"POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 100\r\n\r\nhalf").expect("it takes it");
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option is read from a linger of its own size.
    unsafe {
        let size = size_of::<libc::linger>() as libc::socklen_t;
        let fd = client.as_raw_fd();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size);
    }
    drop(client);
    let mut client = server.connect();
    ask(&mut client);
    take(&mut client);
    drop(client);
    let last = server.stop();
    assert_eq!(number_before(&last, " connections"), Some(4), "{last}");
}

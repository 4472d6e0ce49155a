//! Stage 10 on the real io_uring. Where the kernel has none to give, only the refusal is tested.
//!
//! ```text
//! cargo test --features uring --test stage10
//! ```

use std::fs;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use lab::http::{Connection, HELLO, MAX_PENDING, Timeouts};
use lab::kernel::{Listener, Stop};
use lab::runner::{Served, Server};
use lab::uring::{Ring, Room};

mod support;
use support::{Server as Process, normalised};

/// The stage's own file once more, to run it with rings of other sizes.
#[path = "../lab/stages/stage10_uring.rs"]
#[allow(dead_code)]
mod stage10_uring;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
/// A ring so small that everything runs out all the time: requests, completions, buffers.
const TINY: Room = Room { requests: 2, completions: 4, buffers: 2, buffer: 64 };
const PATIENT: Timeouts = Timeouts { idle: 1_000, request: 1_000 };

/// Whether there is an io_uring to test. In CI there must be one.
fn offered() -> bool {
    match Ring::new(TINY) {
        Ok(_) => true,
        Err(error) => {
            assert!(std::env::var_os("LAB_URING").is_none(), "{error}");
            eprintln!("skipped: {error}");
            false
        }
    }
}

fn command() -> Command {
    support::command("stage10_uring")
}

fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().expect("it starts")
}

/// The stage in a thread of this process.
struct Inside {
    address: SocketAddr,
    stop: Stop,
    thread: thread::JoinHandle<std::io::Result<Served>>,
}

impl Inside {
    fn start(room: Room, timeouts: Timeouts, workers: usize) -> Inside {
        let listener = Listener::bind_shared("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = Stop::new().expect("an eventfd");
        let ours = stop.try_clone().expect("a descriptor");
        let server = Server { listener, stop, workers, flags: Default::default(), drain: 0 };
        let thread = thread::spawn(move || stage10_uring::serve_in(server, room, timeouts));
        Inside { address, stop: ours, thread }
    }

    fn stop(self) -> Served {
        self.stop.raise();
        self.thread.join().expect("it does not panic").expect("it serves")
    }
}

/// The longest wait for a server: a safety net.
const PATIENCE: Duration = Duration::from_secs(30);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn get(mut stream: &TcpStream) {
    stream.write_all(GET).expect("it takes a request");
    let mut reply = vec![0; HELLO.len()];
    stream.read_exact(&mut reply).expect("it replies");
    assert_eq!(reply, HELLO);
}

/// What a stream of requests is answered.
fn replies_to(requests: &[u8]) -> Vec<u8> {
    let mut replies = Vec::new();
    Connection::new(0).receive(requests, 0, &mut replies);
    replies
}

/// So many requests use each buffer of a ring.
const WARM: usize = 2 * 1024;

/// So that all of the fixed memory is there before something is measured.
fn use_every_buffer(server: &Process) {
    assert!(WARM >= usize::from(Room::default().buffers));
    let stream = server.connect();
    (0..WARM).for_each(|_| get(&stream));
}

fn within_seconds(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Some of everything, and the last request ends the connection.
fn conversation() -> Vec<u8> {
    let mut requests = Vec::new();
    for length in [0, 1, 5_000, 100_000] {
        requests.extend_from_slice(GET);
        requests.extend_from_slice(b"HEAD /nothing HTTP/1.1\r\nHost: lab\r\n\r\n");
        requests
            .extend_from_slice(format!("POST /u HTTP/1.1\r\nHost: lab\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        requests.resize(requests.len() + length, b'x');
        requests.extend_from_slice(&GET.repeat(40));
    }
    requests.extend_from_slice(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
    requests
}

#[test]
fn pieces_of_any_size_are_answered_like_the_whole() {
    if !offered() {
        return;
    }
    let server = Process::start(command(), &["--workers", "2"], PATIENCE);
    let requests = conversation();
    for piece in [7_001, 1_400, requests.len(), 331] {
        let mut stream = server.connect();
        let mut writer = stream.try_clone().expect("a descriptor");
        let sent = requests.clone();
        let sender =
            thread::spawn(move || sent.chunks(piece).for_each(|part| writer.write_all(part).expect("it reads")));
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("it replies and ends the stream");
        sender.join().expect("it sends");
        assert!(said == replies_to(&requests), "pieces of {piece}: {} bytes", said.len());
    }
    // Each conversation: 4 times (a GET, a HEAD, a POST, 40 GETs), and the last GET.
    let last = server.stop();
    assert!(last.ends_with(&format!("served {} bytes, {} replies\n", 4 * requests.len(), 4 * (4 * 43 + 1))), "{last}");
}

#[test]
fn a_tiny_ring_runs_out_of_everything_and_loses_nothing() {
    if !offered() {
        return;
    }
    let server = Inside::start(TINY, PATIENT, 1);
    let (requests, address) = (conversation(), server.address);
    let expected = replies_to(&requests);
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let (requests, expected) = (requests.clone(), expected.clone());
            thread::spawn(move || {
                let mut stream = connect(address);
                let mut writer = stream.try_clone().expect("a descriptor");
                let sender = thread::spawn(move || writer.write_all(&requests).expect("it reads"));
                let mut said = Vec::new();
                stream.read_to_end(&mut said).expect("it replies and ends the stream");
                sender.join().expect("it sends");
                assert!(said == expected, "{} bytes of {}", said.len(), expected.len());
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("it is served"));
    let served = server.stop();
    assert_eq!((served.received, served.replies), (40 * requests.len() as u64, 40 * (4 * 43 + 1)));
}

/// A client that sends requests without end and reads nothing: at 64 KiB of replies the server stops receiving, and the
/// kernel's own buffers fill. Then the client reads, and has them all.
#[test]
fn who_takes_no_replies_is_received_no_more_and_gets_all_of_them_later() {
    if !offered() {
        return;
    }
    const REQUESTS: usize = 400_000;
    let server = Process::start(command(), &["--workers", "1"], PATIENCE);
    use_every_buffer(&server);
    let before = server.status("VmHWM");
    let mut stream = server.connect();
    let small = 65_536_i32;
    // SAFETY: setsockopt(2) reads an int.
    let done = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const small).cast(), 4)
    };
    assert_eq!(done, 0);
    let requests = GET.repeat(REQUESTS);
    stream.set_nonblocking(true).expect("it can");
    let mut sent = 0;
    while sent < requests.len() {
        match stream.write(&requests[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut room = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
                // SAFETY: poll(2) reads and writes the struct.
                if unsafe { libc::poll(&mut room, 1, 1_000) } == 0 {
                    break;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent < requests.len(), "the server has taken all {sent} bytes");
    // Others are served meanwhile.
    get(&server.connect());
    let more = (server.status("VmHWM") - before) * 1024;
    assert!(more < 1024 * 1024, "{more} bytes for {MAX_PENDING} that may wait");
    stream.set_nonblocking(false).expect("it can");
    let mut writer = stream.try_clone().expect("a descriptor");
    let rest = requests[sent..].to_vec();
    let sender = thread::spawn(move || writer.write_all(&rest).expect("it reads again"));
    let (mut got, mut reply) = (0, vec![0; HELLO.len()]);
    let mut reader = BufReader::new(stream);
    while got < REQUESTS {
        reader.read_exact(&mut reply).expect("it replies");
        assert_eq!(reply, HELLO, "reply {got}");
        got += 1;
    }
    sender.join().expect("it sends");
    let last = server.stop();
    assert!(last.ends_with(&format!(", {} replies\n", REQUESTS + 1 + WARM)), "{last}");
}

/// Clients break off with replies in the kernel's hands, and others come at once, into their slots and descriptors.
#[test]
fn a_connection_that_breaks_with_sends_in_flight_leaves_nothing_to_the_next() {
    if !offered() {
        return;
    }
    let server = Process::start(command(), &["--workers", "1"], PATIENCE);
    get(&server.connect());
    let before = server.descriptors();
    let uploads = GET.repeat(20_000);
    for round in 0..30 {
        let broken: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for mut stream in &broken {
            stream.set_nonblocking(true).expect("it can");
            // As much as goes: replies that nobody reads.
            while stream.write(&uploads).is_ok() {}
        }
        // Unread replies make the close an RST.
        let mut next: Vec<TcpStream> = Vec::new();
        for stream in broken {
            drop(stream);
            next.push(server.connect());
        }
        for mut stream in next {
            let name = format!("POST /{round} HTTP/1.1\r\nHost: lab\r\nContent-Length: 7\r\n\r\nnothing");
            stream.write_all(name.as_bytes()).expect("it takes a request");
            stream.shutdown(Shutdown::Write).expect("it is there");
            let mut said = String::new();
            stream.read_to_string(&mut said).expect("it replies, and closes");
            assert!(said.ends_with("\r\n\r\n7 bytes stored\n") && said.matches("HTTP").count() == 1, "{said}");
        }
    }
    within_seconds("descriptors stay open", || server.descriptors() == before - 1 || server.descriptors() == before);
    server.stop();
}

#[test]
fn a_stop_answers_what_has_arrived() {
    if !offered() {
        return;
    }
    let server = Process::start(command(), &["--workers", "2"], PATIENCE);
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    clients.iter().for_each(get);
    // Nobody looks now: what follows arrives together with the signal.
    server.signal(libc::SIGSTOP);
    for client in &mut clients {
        client.write_all(&GET.repeat(200)).expect("there is room");
    }
    server.signal(libc::SIGTERM);
    server.signal(libc::SIGCONT);
    for client in &mut clients {
        let mut said = Vec::new();
        client.read_to_end(&mut said).expect("it replies, and closes");
        assert!(said == HELLO.repeat(200), "{} bytes", said.len());
    }
    let last = server.end();
    assert!(last.ends_with(&format!(", {} replies\n", 50 * 201)), "{last}");
}

#[test]
fn silence_and_half_a_request_are_waited_for_no_longer_than_the_limits_say() {
    if !offered() {
        return;
    }
    let server = Inside::start(Room::default(), Timeouts { idle: 2, request: 1 }, 1);
    let (mut silent, mut half) = (connect(server.address), connect(server.address));
    get(&silent);
    half.write_all(b"GET / HT").expect("it takes a part");
    let mut said = String::new();
    half.read_to_string(&mut said).expect("it says so, and closes");
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{said}");
    assert_eq!(silent.read(&mut [0; 1]).expect("it closes"), 0);
    server.stop();
}

/// With no descriptor left nobody new is served, and who is there still is; when one has gone, another comes in.
#[test]
fn without_a_descriptor_a_client_waits_until_another_has_gone() {
    if !offered() {
        return;
    }
    let server = Process::start(support::limited("stage10_uring", 40), &["--workers", "1"], PATIENCE);
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(GET).expect("there is room");
    }
    within_seconds("it takes as many as it can", || server.descriptors() == 40);
    // In the order in which they came.
    for mut client in clients {
        client.read_exact(&mut vec![0; HELLO.len()]).expect("it replies, sooner or later");
        drop(client);
    }
    // At the limit again, and each comes before the one before it has gone: a second for each would be too long.
    let idle: Vec<_> = (0..40).map(|_| server.connect()).collect();
    within_seconds("it takes as many as it can", || server.descriptors() == 40);
    drop(idle);
    let mut before: Vec<_> = (0..40).map(|_| server.connect()).collect();
    for _ in 0..200 {
        let next = server.connect();
        let mut first = before.remove(0);
        first.write_all(GET).expect("there is room");
        first.read_exact(&mut vec![0; HELLO.len()]).expect("it replies");
        drop(first);
        before.push(next);
    }
    let last = server.stop();
    assert!(last.ends_with(", 260 replies\n"), "{last}");
}

/// As many connections at once as the file limit allows, up to 10,000; each is served, and costs little while it is
/// idle.
#[test]
fn ten_thousand_connections_are_served_and_an_idle_one_costs_at_most_256_bytes() {
    if !offered() {
        return;
    }
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes, and setrlimit(2) reads, the struct.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut files);
        files.rlim_cur = files.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &files);
    }
    let count = (files.rlim_max as usize).saturating_sub(200).min(10_000);
    let server = Process::start(command(), &["--workers", "1"], PATIENCE);
    use_every_buffer(&server);
    let before = server.status("VmRSS");
    let clients: Vec<_> = (0..count).map(|_| server.connect()).collect();
    clients.iter().for_each(get);
    clients.iter().for_each(get);
    let each = (server.status("VmRSS") - before) * 1024 / count as u64;
    eprintln!("{count} connections, {each} bytes each");
    assert!(each <= 256, "{each} bytes for each of {count}");
    let last = server.stop();
    assert!(last.ends_with(&format!(", {} replies\n", 2 * count + WARM)), "{last}");
}

#[test]
fn the_exhibit_and_its_repetitions_serve() {
    if !offered() {
        return;
    }
    let output = run(&[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in ["87 sent, and the server counted every one", "3 written, 3 received whole"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(run(&["--repeat", "7"]).status.code(), Some(0));
    let odds = run(&["--wild", "--rounds", "5", "--json"]);
    assert!(String::from_utf8_lossy(&odds.stdout).contains("\"survived\": 5"));
}

#[test]
fn each_connection_is_in_the_trace_from_its_accept_to_its_close() {
    if !offered() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("trace.json");
    let flag = format!("--trace={}", trace.display());
    let server = Process::start(command(), &[&flag], Duration::from_secs(20));
    for _ in 0..3 {
        get(&server.connect());
    }
    server.stop();
    let trace: serde_json::Value =
        serde_json::from_slice(&fs::read(trace).expect("it is written")).expect("it is JSON");
    let records = trace["records"].as_array().expect("records");
    let of = |kind: &str| {
        let these = records.iter().filter(|record| record["kind"] == kind);
        let mut fds: Vec<_> = these.map(|record| record["fd"].as_u64().expect("a descriptor")).collect();
        fds.sort_unstable();
        fds
    };
    assert_eq!((of("accept").len(), of("close")), (3, of("accept")), "{records:?}");
    assert!(of("read").len() >= 3 && of("write").len() == 3, "{records:?}");
}

/// Real refusals: a seccomp filter, as containers have one, answers io_uring_setup(2) with this error.
fn refusing(errno: i32) -> Command {
    let mut command = command();
    support::forbid(&mut command, libc::SYS_io_uring_setup, errno);
    command
}

#[test]
fn a_kernel_that_refuses_is_told_in_one_sentence_with_status_3() {
    for (errno, words) in
        [(libc::EPERM, "is forbidden here"), (libc::ENOSYS, "has no io_uring"), (libc::EINVAL, "too old")]
    {
        for arguments in [
            &["--serve", "127.0.0.1:0"][..],
            &["--serve", "127.0.0.1:0", "--json"],
            &["--wild", "--rounds", "2"],
            &["--bare"],
            &[],
        ] {
            let output = refusing(errno).args(arguments).output().expect("it starts");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
            let sentence = said.lines().last().unwrap_or_default();
            let start = "stage10_uring: this cannot happen on this machine: the kernel refuses: ";
            assert!(sentence.starts_with(start) && sentence.contains(words), "{arguments:?}: {said}");
            let told = said.lines().filter(|line| !line.contains(" listens on ")).count();
            assert_eq!(told, 1, "{arguments:?}: {said}");
        }
    }
}

/// What the chapter shows. `LAB_RECORD=1` writes it anew.
#[test]
fn the_chapter_shows_what_it_says() {
    if !offered() {
        return;
    }
    let refused = refusing(libc::EPERM).output().expect("it starts");
    for (name, bytes) in [("stage10_uring", run(&[]).stdout), ("stage10_refused", refused.stderr)] {
        let (path, said) = (format!("chapters/recorded/{name}.txt"), String::from_utf8_lossy(&bytes).into_owned());
        let recorded = fs::read_to_string(&path).unwrap_or_default();
        if std::env::var_os("LAB_RECORD").is_some() {
            if normalised(&recorded) != normalised(&said) {
                fs::write(&path, said).expect("it can be written");
            }
            continue;
        }
        let advice =
            "if the program is right, `LAB_RECORD=1 cargo test --features uring --test stage10` records it anew";
        assert_eq!(normalised(&recorded), normalised(&said), "{path}: {advice}");
    }
}

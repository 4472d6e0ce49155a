//! Servers at their limits: no descriptor left, a client that reads late, and the order to stop in the middle of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::catalogue::{self, Stage, Verdict};
use lab::http::HELLO;

use crate::support::{Server, command, limited, narrow};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
/// A safety net.
const PATIENCE: Duration = Duration::from_secs(60);

/// The exhibits that serve, each with its flags; stage 10 has tests of its own.
fn servers() -> impl Iterator<Item = &'static Stage> {
    catalogue::exhibits().filter(|stage| stage.expect == Verdict::Serves && stage.feature.is_none())
}

fn start(stage: &Stage, command: Command) -> Server {
    Server::start(command, &stage.flags().collect::<Vec<_>>(), PATIENCE)
}

fn get(stream: &mut TcpStream) {
    stream.write_all(GET).expect("it takes a request");
    let mut reply = [0; HELLO.len()];
    stream.read_exact(&mut reply).expect("it replies");
    assert_eq!(reply, HELLO);
}

/// Reads to the end of the stream: what came, and whether it ended in order.
fn rest(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    match stream.read_to_end(&mut got) {
        Ok(_) => (got, true),
        Err(error) => {
            assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "a client waits for ever");
            (got, false)
        }
    }
}

#[test]
fn without_a_descriptor_clients_wait_and_are_served_when_others_have_gone() {
    for stage in servers() {
        let server = start(stage, limited(stage.program(), 40));
        let clients: Vec<TcpStream> = (0..80).map(|_| server.connect()).collect();
        // Whoever is in is served, and goes; so every one of them comes in, in whatever order.
        std::thread::scope(|scope| {
            clients.into_iter().for_each(|mut client| _ = scope.spawn(move || get(&mut client)))
        });
        assert_eq!(server.finish().0, Some(0), "{}", stage.name);
    }
}

#[test]
fn told_to_stop_at_the_limit_it_stops() {
    for stage in servers() {
        let server = start(stage, limited(stage.program(), 40));
        let mut first = server.connect();
        get(&mut first);
        let room = 40 - (server.descriptors() - 1);
        drop(first);
        let mut clients: Vec<TcpStream> = (0..80).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.write_all(GET).expect("the kernel takes it"));
        // Whoever could be taken in has its reply: so the next one was asked for, and there was no descriptor for it.
        let has_reply = |client: &&TcpStream| {
            client.set_nonblocking(true).expect("a socket has the option");
            client.peek(&mut [0; HELLO.len()]).is_ok_and(|n| n == HELLO.len())
        };
        let start = Instant::now();
        while clients.iter().filter(has_reply).count() < room {
            assert!(start.elapsed() < PATIENCE, "{}: not {room} replies", stage.name);
            std::thread::sleep(Duration::from_millis(1));
        }
        server.signal(libc::SIGTERM);
        // Stage 7 waits for its clients to come to their end; the others are at their limit until they have stopped.
        if stage.chapter == 7 {
            clients.iter().for_each(|client| _ = client.shutdown(Shutdown::Write));
        }
        let (code, said) = server.wait();
        assert_eq!(code, Some(0), "{}: {said}", stage.name);
    }
}

/// Sends so many requests at once, waits until the server takes no more or has taken all, and only then reads.
fn late_reader(server: &Server, requests: usize) -> (Vec<u8>, bool) {
    let mut reader = narrow(server.address);
    reader.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut writer = reader.try_clone().expect("a descriptor");
    let sent = Arc::new(AtomicUsize::new(0));
    let so_far = sent.clone();
    let thread = std::thread::spawn(move || {
        for piece in GET.repeat(requests).chunks(16 * 1024) {
            if writer.write_all(piece).is_err() {
                break;
            }
            so_far.fetch_add(piece.len(), Ordering::Relaxed);
        }
        so_far.store(usize::MAX, Ordering::Relaxed);
        _ = writer.shutdown(Shutdown::Write);
    });
    // How long it is waited for changes what is tested, not what must hold.
    let mut before = 0;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = sent.load(Ordering::Relaxed);
        if now == usize::MAX || (now > 0 && now == before) {
            break;
        }
        before = now;
    }
    let got = rest(&mut reader);
    thread.join().expect("it sends");
    got
}

/// More replies than the kernel holds for a client with hardly any room that does not read.
const REQUESTS: usize = 100_000;

#[test]
fn a_client_that_reads_late_gets_whole_replies_and_then_the_end() {
    // Stage 3 answers what arrives whole, and so much does not.
    for stage in servers().filter(|stage| stage.chapter != 3) {
        let server = start(stage, command(stage.program()));
        let (got, _) = late_reader(&server, REQUESTS);
        let owed = HELLO.repeat(REQUESTS);
        assert!(owed.starts_with(&got), "{}: what is not owed, in {} bytes", stage.name, got.len());
        // From chapter 7 on the rest waits for room. Stage 1 has a thread that waits for it.
        if stage.chapter == 1 || stage.chapter >= 7 {
            assert_eq!(got.len(), owed.len(), "{}", stage.name);
        }
        get(&mut server.connect());
        server.stop();
    }
}

#[test]
fn told_to_stop_it_answers_what_had_been_sent() {
    // Those of chapter 7 and after promise it.
    for stage in catalogue::STAGES.iter().filter(|stage| stage.chapter >= 8 && stage.feature.is_none()) {
        for variant in [&[][..], &["--reuseport"]] {
            if !variant.is_empty() && stage.name != "stage8_fixed" {
                continue;
            }
            let more = [variant, &["--workers", "2"]].concat();
            let server = Server::start(command(stage.program()), &more, PATIENCE);
            // It is up: it has answered somebody.
            get(&mut server.connect());
            // The server stands still: what comes meanwhile comes before the order to stop.
            server.signal(libc::SIGSTOP);
            let mut clients: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
            for client in &mut clients {
                client.write_all(&GET.repeat(500)).expect("the kernel takes it");
            }
            server.signal(libc::SIGTERM);
            server.signal(libc::SIGCONT);
            for client in &mut clients {
                let (got, in_order) = rest(client);
                assert_eq!((got.len() / HELLO.len(), in_order), (500, true), "{}", stage.name);
                assert!(HELLO.repeat(500).starts_with(&got), "{}", stage.name);
            }
            assert_eq!(server.wait().0, Some(0), "{}", stage.name);
        }
    }
}

/// More than the kernel takes at once for a client with hardly any room: the replies go out long after the order to
/// stop.
#[test]
fn told_to_stop_it_waits_for_a_client_that_reads_late() {
    const REQUESTS: usize = 2_000;
    for stage in catalogue::exhibits().filter(|stage| stage.chapter >= 8 && stage.feature.is_none()) {
        if stage.expect != Verdict::Serves {
            continue;
        }
        let more: Vec<&str> = stage.flags().chain(["--workers", "2"]).collect();
        let server = Server::start(command(stage.program()), &more, PATIENCE);
        get(&mut server.connect());
        let mut client = narrow(server.address);
        server.signal(libc::SIGSTOP);
        client.write_all(&GET.repeat(REQUESTS)).expect("the kernel takes it");
        server.signal(libc::SIGTERM);
        server.signal(libc::SIGCONT);
        let (got, in_order) = rest(&mut client);
        assert_eq!((got.len(), in_order), (REQUESTS * HELLO.len(), true), "{}", stage.file_name());
        assert!(HELLO.repeat(REQUESTS).starts_with(&got), "{}", stage.file_name());
        let (code, said) = server.wait();
        assert_eq!(code, Some(0), "{}: {said}", stage.file_name());
    }
}

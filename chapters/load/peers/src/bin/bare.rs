//! What the kernel takes for a request and its reply when nobody else is there: both ends of a connection in one thread, so
//! no wake-up, no wait, and nothing read that is not there yet. Prints the median of each of the four calls in nanoseconds,
//! and that of a call that does nothing, with that of looking at the clock taken off. `bare`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use peers::{HELLO, pin};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const ROUNDS: usize = 100_000;

fn main() {
    pin(0);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut client = TcpStream::connect(listener.local_addr().expect("it has one")).expect("it listens");
    let (mut server, _) = listener.accept().expect("somebody has connected");
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("it is a socket");
    }
    let mut buffer = [0; 4096];
    let mut took: [Vec<u64>; 6] = std::array::from_fn(|_| Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        let moments = [
            Instant::now(),
            Instant::now(),
            after(|| client.write_all(GET).expect("there is room")),
            after(|| server.read_exact(&mut buffer[..GET.len()]).expect("it is there")),
            after(|| server.write_all(HELLO).expect("there is room")),
            after(|| client.read_exact(&mut buffer[..HELLO.len()]).expect("it is there")),
            // SAFETY: it takes nothing, and cannot fail.
            after(|| assert!(unsafe { libc::getppid() } >= 0)),
        ];
        for (part, pair) in took.iter_mut().zip(moments.windows(2)) {
            part.push((pair[1] - pair[0]).as_nanos() as u64);
        }
    }
    let [clock, ask, recv, send, take, nothing] = took.map(|mut all| {
        all.sort_unstable();
        all[ROUNDS / 2]
    });
    for (name, took) in [
        ("the client's send", ask),
        ("the server's recv", recv),
        ("the server's send", send),
        ("the client's recv", take),
        ("getppid", nothing),
    ] {
        println!("{name:<17} {:>6} ns", took.saturating_sub(clock));
    }
}

fn after(call: impl FnOnce()) -> Instant {
    call();
    Instant::now()
}

//! The least that an epoll server can do for a request: one `recv`, one `send`, and its share of an `epoll_wait`. It does
//! not look at what it receives: it counts bytes, since all requests of a load test are as long as the first. No limits, no
//! time limits, no back-pressure, and whoever sends anything else is lost. `floor PORT`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use peers::{HELLO, run};

const BATCH: usize = 64;

fn main() {
    run(serve);
}

struct Client {
    stream: TcpStream,
    /// Bytes of a request whose rest is to come.
    part: usize,
}

fn serve(listener: TcpListener) {
    listener.set_nonblocking(true).expect("it is a socket");
    // SAFETY: no pointer goes in.
    let epoll = unsafe { libc::epoll_create1(0) };
    let watch = |fd: i32, token: u64| {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: the kernel copies the event.
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) };
    };
    watch(listener.as_raw_fd(), u64::MAX);
    let many = HELLO.repeat(512);
    let (mut clients, mut length, mut due) = (Vec::<Option<Client>>::new(), 0, Vec::new());
    let mut buffer = vec![0; 16 * 1024];
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
    loop {
        // SAFETY: there is room for so many events.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), BATCH as i32, -1) };
        for event in &events[..count.max(0) as usize] {
            let token = event.u64;
            if token == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).expect("it is a socket");
                    let at = clients.iter().position(Option::is_none).unwrap_or(clients.len());
                    watch(stream.as_raw_fd(), at as u64);
                    let client = Some(Client { stream, part: 0 });
                    if at < clients.len() { clients[at] = client } else { clients.push(client) }
                }
                continue;
            }
            let Some(client) = &mut clients[token as usize] else { continue };
            let Ok(got @ 1..) = client.stream.read(&mut buffer) else {
                clients[token as usize] = None;
                continue;
            };
            if length == 0 {
                length =
                    4 + buffer[..got].windows(4).position(|four| four == b"\r\n\r\n").expect("a whole request first");
            }
            let all = client.part + got;
            client.part = all % length;
            due.push((token as usize, all / length));
        }
        for (at, count) in due.drain(..) {
            if let Some(client) = &mut clients[at] {
                _ = client.stream.write(&many[..HELLO.len() * count.min(512)]);
            }
        }
    }
}

//! The server's side of a connection, as the kernel's tables have it.
//!
//! The kernel is asked for that one socket (`sock_diag(7)`). Where it does not answer (the module is not there, a
//! sandbox), `/proc/net/tcp` decides, which has the same numbers (`proc_net(5)`); to read it takes milliseconds on a
//! machine with much memory, whose table is long even where it is empty.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The states of a socket (`tcp_states.h`).
pub const ESTABLISHED: u8 = 1;
/// Closed, and still there.
pub const CLOSED: u8 = 7;
/// The other side has closed its end.
pub const CLOSE_WAIT: u8 = 8;

/// What the kernel says of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// One of `tcp_states.h`.
    pub state: u8,
    /// Bytes received and not read, a FIN counting as one after [`CLOSE_WAIT`].
    pub received: u64,
    /// Bytes written and not acknowledged.
    pub written: u64,
    /// Its inode.
    pub inode: u64,
}

/// The server's side of the connection between these ports of 127.0.0.1.
///
/// # Errors
/// Those of reading `/proc/net/tcp`.
pub fn server_side(server: u16, client: u16) -> io::Result<Option<Socket>> {
    match by_diag(server, client) {
        Some(answer) => Ok(answer),
        None => by_proc(server, client),
    }
}

/// `inet_diag_sockid` of `linux/inet_diag.h`; the ports in network order.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SocketId {
    source_port: [u8; 2],
    destination_port: [u8; 2],
    source: [[u8; 4]; 4],
    destination: [[u8; 4]; 4],
    interface: u32,
    cookie: [u32; 2],
}

/// A `nlmsghdr` (`netlink(7)`) with the `inet_diag_req_v2` behind it.
#[repr(C)]
struct Request {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    protocol: u8,
    extensions: u8,
    pad: u8,
    states: u32,
    id: SocketId,
}

/// A `nlmsghdr` with the `inet_diag_msg` behind it.
#[repr(C)]
#[derive(Default)]
struct Answer {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    state: u8,
    timer: u8,
    retransmissions: u8,
    id: SocketId,
    expires: u32,
    receive_queue: u32,
    write_queue: u32,
    user: u32,
    inode: u32,
}

/// `None` if the kernel does not say. That there is no such connection it says by giving the listener in its place;
/// without a listener its error is the same as without the module, and counts as no answer.
fn by_diag(server: u16, client: u16) -> Option<Option<Socket>> {
    // linux/sock_diag.h; libc does not have it.
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let home = [Ipv4Addr::LOCALHOST.octets(), [0; 4], [0; 4], [0; 4]];
    let (source_port, destination_port) = (server.to_be_bytes(), client.to_be_bytes());
    let id = SocketId { source_port, destination_port, source: home, destination: home, interface: 0, cookie: [!0; 2] };
    let request = Request {
        length: size_of::<Request>() as u32,
        kind: SOCK_DIAG_BY_FAMILY,
        flags: libc::NLM_F_REQUEST as u16,
        sequence: 0,
        port: 0,
        family: libc::AF_INET as u8,
        protocol: libc::IPPROTO_TCP as u8,
        extensions: 0,
        pad: 0,
        states: !0,
        id,
    };
    let mut answer = Answer::default();
    // SAFETY: the results are checked, nobody else owns the new descriptor, and the kernel reads and writes the structs
    // and no more. An error is a shorter message of another kind.
    let length = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        let fd = libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG);
        if fd < 0 {
            return None;
        }
        let socket = OwnedFd::from_raw_fd(fd);
        let sent = libc::send(socket.as_raw_fd(), (&raw const request).cast(), size_of::<Request>(), 0);
        if sent < 0 {
            return None;
        }
        // The answer was put into the queue by send(2).
        libc::recv(socket.as_raw_fd(), (&raw mut answer).cast(), size_of::<Answer>(), libc::MSG_DONTWAIT)
    };
    let Answer { kind, state, receive_queue, write_queue, inode, .. } = answer;
    if length != size_of::<Answer>() as isize || kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let (received, written, inode) = (receive_queue.into(), write_queue.into(), inode.into());
    let is_it = answer.id.destination_port == destination_port;
    Some(is_it.then_some(Socket { state, received, written, inode }))
}

fn by_proc(server: u16, client: u16) -> io::Result<Option<Socket>> {
    Ok(in_table(&std::fs::read_to_string("/proc/net/tcp")?, server, client))
}

fn in_table(table: &str, server: u16, client: u16) -> Option<Socket> {
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap_or_default(), 16).ok();
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    table.lines().skip(1).find_map(|row| {
        let mut words = row.split_whitespace().skip(1);
        let (local, remote, state, queues) = (words.next()?, words.next()?, words.next()?, words.next()?);
        if (port(local), port(remote)) != (Some(server), Some(client)) {
            return None;
        }
        let (written, received) = queues.split_once(':')?;
        let (written, received, state) = (number(written)?, number(received)?, number(state)? as u8);
        // After the queues: timer, retransmissions, user, probes.
        Some(Socket { state, received, written, inode: words.nth(4)?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    /// Once both say the same, this.
    fn both(server: u16, client: u16, what: impl Fn(&Socket) -> bool) -> Socket {
        let start = Instant::now();
        loop {
            let by_proc = by_proc(server, client).expect("there is /proc");
            if let Some(socket) = by_proc.filter(&what)
                && by_diag(server, client) == Some(Some(socket))
            {
                return socket;
            }
            let seen = by_diag(server, client);
            assert!(start.elapsed() < Duration::from_secs(20), "{by_proc:?}, but {seen:?}");
        }
    }

    #[test]
    fn the_kernel_says_the_same_when_it_is_asked_and_in_its_table() {
        if !has_diag() {
            return eprintln!("skipped: this kernel does not answer sock_diag(7)");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let server = listener.local_addr().expect("it is bound").port();
        let mut stream = TcpStream::connect(("127.0.0.1", server)).expect("it listens");
        let client = stream.local_addr().expect("it is connected").port();
        let (mut other, _) = listener.accept().expect("somebody has connected");
        let fresh = both(server, client, |socket| socket.state == ESTABLISHED);
        assert_eq!((fresh.received, fresh.written), (0, 0));
        stream.write_all(&[0; 1000]).expect("there is room");
        assert_eq!(both(server, client, |socket| socket.received > 0).received, 1000);
        other.set_nonblocking(true).expect("a socket has the option");
        while other.write(&[0; 65_536]).is_ok() {}
        assert!(both(server, client, |socket| socket.written > 0).inode > 0);
        stream.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(both(server, client, |socket| socket.state == CLOSE_WAIT).received, 1001);
    }

    #[test]
    fn the_row_of_a_connection_is_found_by_both_of_its_ports() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0 100 0 0 10 0
   1: 0100007F:C350 0100007F:1F90 01 00000001:00000002 00:00000000 00000000  1000        0 22 1 0 20 4 30 10 -1
   2: 0100007F:1F90 0100007F:C351 01 00000003:00000004 00:00000000 00000000  1000        0 33 1 0 20 4 30 10 -1
   3: 0100007F:1F90 0100007F:C350 08 0000000A:00000010 00:00000000 00000000  1000        0 44 1 0 20 4 30 10 -1
";
        let found = in_table(table, 8080, 50_000);
        assert_eq!(found, Some(Socket { state: CLOSE_WAIT, received: 16, written: 10, inode: 44 }));
        let open = in_table(table, 8080, 50_001);
        assert_eq!(open, Some(Socket { state: ESTABLISHED, received: 4, written: 3, inode: 33 }));
        assert_eq!(in_table(table, 50_000, 8080).map(|row| row.inode), Some(22), "the other direction is another row");
        assert!(in_table(table, 8080, 50_002).is_none() && in_table(table, 8081, 50_000).is_none());
    }

    #[test]
    fn a_listener_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let server = listener.local_addr().expect("it is bound").port();
        let said = has_diag().then_some(None);
        assert_eq!((by_diag(server, 1), server_side(server, 1).expect("there is /proc")), (said, None));
    }

    #[test]
    fn a_connection_outlives_its_listener_and_what_nobody_says_is_looked_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let server = listener.local_addr().expect("it is bound").port();
        let stream = TcpStream::connect(("127.0.0.1", server)).expect("it listens");
        let client = stream.local_addr().expect("it is connected").port();
        let accepted = listener.accept().expect("somebody has connected");
        drop(listener);
        assert!(server_side(server, client).expect("there is /proc").is_some());
        assert_eq!(by_diag(server, 1), None, "an error is no answer");
        assert_eq!(server_side(server, 1).expect("there is /proc"), None);
        drop(accepted);
    }

    fn has_diag() -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let server = listener.local_addr().expect("it is bound").port();
        let stream = TcpStream::connect(("127.0.0.1", server)).expect("it listens");
        by_diag(server, stream.local_addr().expect("it is connected").port()).flatten().is_some()
    }
}

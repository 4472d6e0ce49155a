//! What the servers share with stages 9 and 10: a listener for each core, connections dealt out by core, threads that
//! are bound to their cores, and the 52 bytes of the reply.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

pub const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";

/// Has `serve` serve for ever on the port of the command line: a thread a core, bound to it, with a listener of its own.
pub fn run(serve: fn(TcpListener)) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let port = std::env::args().nth(1).and_then(|word| word.parse().ok()).expect("the first argument is a port");
    let start = |(core, listener)| {
        std::thread::spawn(move || {
            pin(core);
            serve(listener);
        })
    };
    let threads: Vec<_> = (0..).zip(listeners(port, cores)).map(start).collect();
    for thread in threads {
        thread.join().expect("it serves for ever");
    }
}

/// So many listeners on one port. A connection whose packets arrive on core `n` goes to the one of that number.
fn listeners(port: u16, count: usize) -> Vec<TcpListener> {
    let listener = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a socket");
        socket.set_reuse_address(true).expect("SO_REUSEADDR");
        socket.set_reuse_port(true).expect("SO_REUSEPORT");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).expect("the port is free");
        socket.listen(4096).expect("it is bound");
        TcpListener::from(socket)
    };
    let listeners: Vec<TcpListener> = (0..count).map(|_| listener()).collect();
    // A = the core; A %= count; return A.
    let (cpu, count) = ((libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32, count as u32);
    let instruction = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let mut filter = [
        instruction((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, cpu),
        instruction((libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16, count),
        instruction((libc::BPF_RET | libc::BPF_A) as u16, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let (fd, size) = (listeners[0].as_raw_fd(), size_of_val(&program) as libc::socklen_t);
    // SAFETY: the kernel copies the program, which outlives the call.
    let done = unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, (&raw const program).cast(), size)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    listeners
}

/// Binds the calling thread to a core, and lets it be woken as batch work, as the stages are when they serve.
pub fn pin(core: usize) {
    // SAFETY: both calls read structs of their own size; 0 is the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
        let batch: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &batch);
    }
}

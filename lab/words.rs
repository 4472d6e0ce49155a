//! Numbers, errors, signals and event masks, as text.

/// `IN RDHUP HUP ERR`: the bits of `epoll_event.events`.
pub fn mask(bits: u64) -> String {
    let names = [
        (libc::EPOLLIN, "IN"),
        (libc::EPOLLPRI, "PRI"),
        (libc::EPOLLOUT, "OUT"),
        (libc::EPOLLRDHUP, "RDHUP"),
        (libc::EPOLLHUP, "HUP"),
        (libc::EPOLLERR, "ERR"),
    ];
    let known: u64 = names.iter().map(|(bit, _)| *bit as u64).sum();
    let mut words: Vec<String> =
        names.iter().filter(|(bit, _)| bits & *bit as u64 != 0).map(|(_, name)| name.to_string()).collect();
    if bits & !known != 0 || bits == 0 {
        words.push(format!("{:#x}", bits & !known));
    }
    words.join(" ")
}

/// `16,384`
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 byte`, `2 bytes`
pub fn count(number: u64, one: &str) -> String {
    let noun = match (number, one.strip_suffix('y')) {
        (1, _) => one.to_string(),
        (_, Some(stem)) => format!("{stem}ies"),
        _ => format!("{one}s"),
    };
    format!("{} {noun}", thousands(number))
}

/// An address, as a debugger writes it. As a string it fits where a JSON reader's numbers are too small.
pub fn address(address: u64) -> String {
    format!("{address:#x}")
}

/// The name of an errno.
pub fn errno(number: i32) -> String {
    let name = match number {
        libc::EAGAIN => "EAGAIN",
        libc::EBADF => "EBADF",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ECONNRESET => "ECONNRESET",
        libc::EFAULT => "EFAULT",
        libc::EINVAL => "EINVAL",
        libc::EIO => "EIO",
        libc::EMFILE => "EMFILE",
        libc::ENOENT => "ENOENT",
        libc::ENOTCONN => "ENOTCONN",
        libc::EPIPE => "EPIPE",
        libc::ETIMEDOUT => "ETIMEDOUT",
        other => return format!("errno {other}"),
    };
    name.to_string()
}

/// What a machine lacks whose system calls fail with this errno, and what to do about it; `None` for an error that says
/// nothing about the machine.
pub fn remedy(number: i32) -> Option<&'static str> {
    Some(match number {
        libc::EMFILE | libc::ENFILE => "the limit on open files is reached; raise it (`ulimit -n 65536`)",
        libc::ENOMEM | libc::ENOBUFS => "the kernel has no memory for it; raise the limit (`ulimit -v`, memory.max)",
        libc::ENETUNREACH | libc::ENETDOWN => "the loopback interface is down; start it (`ip link set lo up`)",
        libc::EADDRNOTAVAIL => {
            "no port of 127.0.0.1 is free; allow more (`net.ipv4.ip_local_port_range`), or wait a minute"
        }
        _ => return None,
    })
}

/// The name of a signal that programs die of.
pub fn signal_name(signal: i32) -> String {
    match signal {
        libc::SIGSEGV => "SIGSEGV".to_string(),
        libc::SIGABRT => "SIGABRT".to_string(),
        libc::SIGBUS => "SIGBUS".to_string(),
        libc::SIGILL => "SIGILL".to_string(),
        libc::SIGFPE => "SIGFPE".to_string(),
        libc::SIGKILL => "SIGKILL".to_string(),
        libc::SIGTERM => "SIGTERM".to_string(),
        libc::SIGINT => "SIGINT".to_string(),
        other => format!("signal {other}"),
    }
}

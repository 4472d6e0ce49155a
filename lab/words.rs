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

/// If none of `runs` came to something: at a confidence of 95% at most one of so many does. For many runs it is about a third of them.
///
/// ```
/// assert_eq!(lab::words::at_most_one_in(2000), 668);
/// ```
pub fn at_most_one_in(runs: u64) -> u64 {
    (1.0 / highest_share(0, runs)).floor() as u64
}

/// The shares of runs, lowest and highest, that `hits` of `runs` agree with at a confidence of 95% (Clopper, Pearson: The use of
/// confidence or fiducial limits, Biometrika 1934). Where there was none, or nothing else, only the other end is a bound.
///
/// ```
/// let (low, high) = lab::words::share(0, 7);
/// assert_eq!((low, (high * 100.0).round()), (0.0, 35.0));
/// ```
pub fn share(hits: u64, runs: u64) -> (f64, f64) {
    (1.0 - highest_share(runs - hits, runs), highest_share(hits, runs))
}

/// A share in per cent, to two figures.
///
/// ```
/// assert_eq!([0.348, 0.0348, 0.00348, 1.0].map(lab::words::percent), ["35%", "3.5%", "0.35%", "100%"]);
/// ```
pub fn percent(share: f64) -> String {
    let decimals = if share == 0.0 { 0 } else { (1.0 - (share * 100.0).log10()).ceil().clamp(0.0, 4.0) as usize };
    format!("{:.decimals$}%", share * 100.0)
}

/// The share at which as few hits as these are just likely enough.
fn highest_share(hits: u64, runs: u64) -> f64 {
    if hits == runs {
        return 1.0;
    }
    // One end is left to chance where the other cannot be, else each has half of it.
    let chance: f64 = if hits == 0 { 0.05 } else { 0.025 };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        match at_most(hits, runs, middle) > chance {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

/// How likely at most `hits` of `runs` are, if each is one with that probability.
fn at_most(hits: u64, runs: u64, probability: f64) -> f64 {
    let (odds, n) = ((probability / (1.0 - probability)).ln(), runs as f64);
    let mut term = n * (-probability).ln_1p();
    let mut sum = term.exp();
    for k in 1..=hits {
        term += ((n - k as f64 + 1.0) / k as f64).ln() + odds;
        sum += term.exp();
    }
    sum
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

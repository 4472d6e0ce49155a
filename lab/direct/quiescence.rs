//! Whether a server can still move by itself: judged by what its kernel says of it, never by a stopwatch.
//!
//! A server that is slow and a server that hangs look alike from outside. They differ in this: whatever can wake a
//! thread of the one is under way, and of the other there is nothing. So [`look`] asks, of a moment in which nobody
//! directs:
//!
//! - Is every thread asleep, the client's too? `State` in `/proc/PID/task/TID/status` says so. Three looks with the
//!   same count of context switches, and a black box in which nothing was written meanwhile, say that none of them woke
//!   in between, so there was a moment in which all of them slept. None of these servers sleeps for a time; so from
//!   then on only a packet can wake somebody.
//! - Is a packet under way? What was sent and is neither acknowledged nor held back (`SIOCOUTQ` less `SIOCOUTQNSD`,
//!   `tcp(7)`) is.
//! - What waits? The bytes in the server's socket (`sock_diag(7)`), the same as FIONREAD says there. For what that
//!   socket is armed stands in the interest list (`/proc/PID/fdinfo/EPFD`, `proc_pid_fdinfo(5)`).

use std::fmt;
use std::fs;
use std::io;

use crate::direct::client::{ConnectionProbe, SocketQueues};
use crate::record::blackbox::Blackbox;

/// A thread of a process, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// The process.
    pub pid: libc::pid_t,
    /// The thread.
    pub tid: libc::pid_t,
}

impl Thread {
    /// The calling thread.
    pub fn current() -> Thread {
        // SAFETY: neither call has preconditions.
        unsafe { Thread { pid: libc::getpid(), tid: libc::gettid() } }
    }

    /// What is in a file of its folder in `/proc`.
    fn file(self, name: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/task/{}/{name}", self.pid, self.tid))
    }
}

/// A thread that sleeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sleeper {
    /// Its name, as the kernel keeps it: at most 15 bytes.
    pub name: String,
    /// The system call it sleeps in: `epoll_wait`, `futex`; empty where the kernel does not say.
    pub call: &'static str,
    /// How often it has given up a core since it began.
    pub switches: u64,
}

/// The mask with which a socket is on an interest list: the bits of `epoll_event.events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed(pub u32);

/// The bits that say how events are told, not which (`EPOLLWAKEUP` and `EPOLLEXCLUSIVE` among them).
const HOW: u32 = (libc::EPOLLET | libc::EPOLLONESHOT | libc::EPOLLWAKEUP | libc::EPOLLEXCLUSIVE) as u32;

impl Armed {
    /// Whether nothing is asked for, not even a hang-up: a one-shot event was told, and nobody has armed the socket
    /// again.
    pub fn is_empty(self) -> bool {
        self.0 & !HOW == 0
    }

    /// Whether an event is told when something changes, and not while it lasts.
    pub fn is_edge(self) -> bool {
        self.0 & libc::EPOLLET as u32 != 0
    }
}

/// As `/proc/PID/fdinfo` writes it: `c0000000`.
impl fmt::Display for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The proof that nobody can move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The server's threads; the first one is `main`.
    pub threads: Vec<Sleeper>,
    /// What waits in the two queues of the server's socket.
    pub connection: SocketQueues,
    /// Its descriptor in the server; `None` where the kernel does not say.
    pub fd: Option<u64>,
    /// For what it is armed; `None` if it is on no interest list, or where the kernel does not say.
    pub armed: Option<Armed>,
}

/// Who might move.
pub struct ObservedProcess<'a> {
    /// The server's box, in which each of its threads writes what it does.
    pub blackbox: Blackbox,
    /// The server's process.
    pub server: libc::pid_t,
    /// The client's connection.
    pub wire: &'a ConnectionProbe,
    /// The client's thread, where that is not the one that looks.
    pub client: Option<Thread>,
}

/// Looks once; `None` if somebody moved, or may yet.
///
/// # Errors
/// Those of reading `/proc`, and of asking the client's socket.
pub fn look(room: &ObservedProcess<'_>) -> io::Result<Option<Proof>> {
    // Most looks end here: a thread that runs is cheaper to find than a row in the kernel's table.
    if asleep(room)?.is_none() {
        return Ok(None);
    }
    let outside = || Ok((room.wire.connection()?, room.blackbox.written()));
    let Some(((threads, _), (Some(connection), _))) = unchanged(outside, || asleep(room))? else { return Ok(None) };
    if is_under_way(connection, room.wire.in_flight()?) {
        return Ok(None);
    }
    let fd = descriptor(room.server, connection.inode);
    let armed = fd.and_then(|fd| armed(room.server, fd));
    Ok(Some(Proof { threads, connection, fd, armed }))
}

/// Whether a packet is on its way: `in_flight` bytes to the server, or what it has written and its client has not got.
fn is_under_way(connection: SocketQueues, in_flight: i32) -> bool {
    in_flight > 0 || connection.untaken > 0
}

/// What three looks see, and what was `outside` before and after them, if it was the same each time.
fn unchanged<T: PartialEq, O: PartialEq>(
    outside: impl Fn() -> io::Result<O>,
    mut look: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<(T, O)>> {
    let before = outside()?;
    let Some(first) = look()? else { return Ok(None) };
    for _ in 0..2 {
        if look()?.as_ref() != Some(&first) {
            return Ok(None);
        }
    }
    Ok((outside()? == before).then_some((first, before)))
}

/// Looks once at a server whose threads wait for each other only: its threads, if all of them sleep in `futex(2)`, so
/// that no packet and no time can wake one; `None` if somebody moved, or may yet.
///
/// # Errors
/// Those of reading `/proc`.
pub fn find_futex_deadlock(blackbox: Blackbox, server: libc::pid_t) -> io::Result<Option<Vec<Sleeper>>> {
    Ok(at_rest(blackbox, server)?.filter(|threads| is_futex_deadlock(threads)))
}

fn is_futex_deadlock(threads: &[Sleeper]) -> bool {
    threads.iter().all(|thread| thread.call == "futex")
}

/// Looks once at a server whose threads all sleep, whatever may wake them: these threads; `None` if somebody moved.
///
/// # Errors
/// Those of reading `/proc`.
pub fn at_rest(blackbox: Blackbox, server: libc::pid_t) -> io::Result<Option<Vec<Sleeper>>> {
    let asleep = unchanged(|| Ok(blackbox.written()), || threads(server, None))?;
    Ok(asleep.map(|(threads, _)| threads).filter(|threads| !threads.is_empty()))
}

/// The same of a server without a black box, whose clients do nothing meanwhile: what it does by itself, its start above
/// all, is over. Three looks alone see no thread that woke and slept again at once.
///
/// # Errors
/// Those of reading `/proc`.
pub fn at_rest_unrecorded(server: libc::pid_t) -> io::Result<Option<Vec<Sleeper>>> {
    let asleep = unchanged(|| Ok(()), || threads(server, None))?;
    Ok(asleep.map(|(threads, ())| threads).filter(|threads| !threads.is_empty()))
}

/// The server's threads and the client's, if all of them are asleep.
fn asleep(room: &ObservedProcess<'_>) -> io::Result<Option<(Vec<Sleeper>, Option<Sleeper>)>> {
    let Some(server) = threads(room.server, room.client)? else { return Ok(None) };
    let client = match room.client.map(sleeper).transpose()? {
        Some(None) => return Ok(None),
        client => client.flatten(),
    };
    Ok(Some((server, client)))
}

/// The threads of a process, if all of them are asleep; without the client's, where that is one of them.
fn threads(server: libc::pid_t, client: Option<Thread>) -> io::Result<Option<Vec<Sleeper>>> {
    let mut tids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{server}/task"))? {
        tids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<libc::pid_t>().ok()));
    }
    // Where server, director and client share a process, who looks is awake, and is none of the server's.
    asleep_but([Some(Thread::current()), client], server, tids, sleeper)
}

/// These threads of a process, its first one first, if all of them but the `others` are asleep.
fn asleep_but(
    others: [Option<Thread>; 2],
    pid: libc::pid_t,
    mut tids: Vec<libc::pid_t>,
    sleeper: impl Fn(Thread) -> io::Result<Option<Sleeper>>,
) -> io::Result<Option<Vec<Sleeper>>> {
    tids.sort_by_key(|tid| (*tid != pid, *tid));
    let threads = tids.into_iter().map(|tid| Thread { pid, tid });
    threads.filter(|thread| !others.contains(&Some(*thread))).map(sleeper).collect()
}

/// `None` if it is awake, or sleeps for a time only.
fn sleeper(thread: Thread) -> io::Result<Option<Sleeper>> {
    let status = thread.file("status")?;
    Ok(sleeper_of(&status, &thread.file("syscall").unwrap_or_default()))
}

/// The same of what `status` and `syscall` say, in `/proc/PID/task/TID`.
fn sleeper_of(status: &str, line: &str) -> Option<Sleeper> {
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    let count = |key| value(key).parse::<u64>().unwrap_or_default();
    let switches = count("voluntary_ctxt_switches") + count("nonvoluntary_ctxt_switches");
    let call = call(line);
    let for_a_time = call == Some("nanosleep") || (call == Some("futex") && is_timed_futex(line));
    let sleeps = value("State").starts_with('S') && !for_a_time;
    sleeps.then(|| Sleeper { name: value("Name").to_string(), call: call.unwrap_or_default(), switches })
}

/// The system call of a line of `/proc/PID/task/TID/syscall`, of those that these programs sleep in.
fn call(line: &str) -> Option<&'static str> {
    let number: libc::c_long = line.split(' ').next()?.parse().ok()?;
    let known = [
        (libc::SYS_futex, "futex"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_epoll_wait, "epoll_wait"),
        (libc::SYS_epoll_pwait, "epoll_wait"),
        (libc::SYS_read, "read"),
        (libc::SYS_recvfrom, "recv"),
        (libc::SYS_write, "write"),
        (libc::SYS_sendto, "send"),
        (libc::SYS_accept4, "accept"),
        (libc::SYS_ppoll, "poll"),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_poll, "poll"),
        (libc::SYS_nanosleep, "nanosleep"),
        (libc::SYS_clock_nanosleep, "nanosleep"),
    ];
    known.into_iter().find(|(known, _)| *known == number).map(|(_, name)| name)
}

/// Whether a wait in `futex(2)`, of such a line, has a limit: its fourth argument is the address of one.
fn is_timed_futex(line: &str) -> bool {
    line.split(' ').nth(4).is_some_and(|limit| limit != "0x0")
}

/// The descriptor that a process has for the socket of that inode.
fn descriptor(pid: libc::pid_t, inode: u64) -> Option<u64> {
    let wanted = format!("socket:[{inode}]");
    let mut files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.filter_map(Result::ok);
    let file = files.find(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))?;
    file.file_name().to_str()?.parse().ok()
}

/// The mask with which `fd` is on an interest list of that process.
pub fn armed(pid: libc::pid_t, fd: u64) -> Option<Armed> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).ok()?.filter_map(Result::ok);
    files.filter_map(|file| fs::read_to_string(file.path()).ok()).find_map(|text| mask(&text, fd))
}

/// `tfd:        7 events: c0000019 data:                1 ...`
fn mask(fdinfo: &str, fd: u64) -> Option<Armed> {
    fdinfo.lines().filter(|line| line.starts_with("tfd:")).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (target, _, events) = (words.next()?, words.next()?, words.next()?);
        (target.parse() == Ok(fd)).then(|| u32::from_str_radix(events, 16).ok().map(Armed))?
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use std::sync::atomic::Ordering;

    use crate::direct::client::Client;
    use crate::direct::schedule::Plan;
    use crate::record::blackbox::futex_wait;

    /// A process in the place of a server, and a connection whose two ends are here.
    pub(crate) struct TestProcess {
        pub(crate) blackbox: Blackbox,
        pub(crate) child: Child,
        pub(crate) client: Client,
        pub(crate) server: TcpStream,
        pub(crate) listener: TcpListener,
    }

    impl Drop for TestProcess {
        fn drop(&mut self) {
            self.child.kill().expect("it is our child");
            self.child.wait().expect("it is our child");
        }
    }

    impl TestProcess {
        pub(crate) fn new(program: &str) -> TestProcess {
            TestProcess::with(program, Plan::Raw)
        }

        pub(crate) fn with(program: &str, plan: Plan) -> TestProcess {
            TestProcess::spawn(program, plan, |_| Stdio::inherit())
        }

        /// A process that has the server's end of the connection open, as its descriptor 2.
        pub(crate) fn holding(program: &str, plan: Plan) -> TestProcess {
            TestProcess::spawn(program, plan, |server| Stdio::from(OwnedFd::from(server)))
        }

        fn spawn(program: &str, plan: Plan, stderr: impl FnOnce(TcpStream) -> Stdio) -> TestProcess {
            let blackbox = Blackbox::new(64).expect("there is a memfd");
            let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
            let port = listener.local_addr().expect("it is bound").port();
            let mut client = Client::new(blackbox, port, plan, Duration::from_secs(20));
            client.connect().expect("it listens");
            let (server, _) = listener.accept().expect("somebody has connected");
            let mut command = Command::new("sh");
            command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::null());
            command.stderr(stderr(server.try_clone().expect("a descriptor is left")));
            dies_with_us(&mut command);
            TestProcess { blackbox, child: command.spawn().expect("there is a shell"), client, server, listener }
        }

        pub(crate) fn pid(&self) -> libc::pid_t {
            self.child.id() as libc::pid_t
        }

        fn look(&self, client: Option<Thread>) -> Option<Proof> {
            let wire = self.client.wire().expect("it is connected");
            let server = self.child.id() as libc::pid_t;
            look(&ObservedProcess { blackbox: self.blackbox, server, wire: &wire, client }).expect("/proc can be read")
        }

        /// The proof, once there is one.
        fn proof(&self) -> Proof {
            let start = Instant::now();
            loop {
                if let Some(proof) = self.look(None) {
                    return proof;
                }
                assert!(start.elapsed() < Duration::from_secs(20), "nobody moves, and there is no proof");
            }
        }

        fn is_never_still(&self) -> bool {
            (0..200).all(|_| self.look(None).is_none())
        }
    }

    #[test]
    fn who_sleeps_in_a_call_without_an_end_is_still() {
        let mut scene = TestProcess::new("exec cat");
        let proof = scene.proof();
        assert_eq!(proof.threads.len(), 1);
        assert_eq!((proof.threads[0].name.as_str(), proof.threads[0].call), ("cat", "read"));
        assert_eq!((proof.connection.unread, proof.fd, proof.armed), (0, None, None), "the socket is not its own");
        scene.client.send(10).expect("there is room");
        assert_eq!(scene.proof().connection.unread, 10);
    }

    #[test]
    fn who_computes_is_not_still_and_neither_is_who_sleeps_for_a_time() {
        assert!(TestProcess::new("while :; do :; done").is_never_still());
        assert!(TestProcess::new("exec sleep 1000").is_never_still());
    }

    #[test]
    fn a_client_that_is_awake_may_still_move() {
        let scene = TestProcess::new("exec cat");
        scene.proof();
        let busy = TestProcess::new("while :; do :; done");
        let pid = busy.child.id() as libc::pid_t;
        assert!((0..200).all(|_| scene.look(Some(Thread { pid, tid: pid })).is_none()));
    }

    /// One writes into a pipe, the other reads: each of them sleeps at many looks, and never both at once.
    #[test]
    fn two_who_keep_each_other_awake_are_not_still() {
        use std::io::Write;
        use std::sync::atomic::{AtomicBool, Ordering};
        let mut scene = TestProcess::new("exec cat");
        scene.proof();
        let mut pipe = scene.child.stdin.take().expect("it is piped");
        let stop = AtomicBool::new(false);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                tell.send(Thread::current()).expect("somebody asks");
                while !stop.load(Ordering::Relaxed) {
                    pipe.write_all(&[0; 4096]).expect("it reads");
                }
            });
            let writer = told.recv().expect("it says who it is");
            let still = (0..500).filter(|_| scene.look(Some(writer)).is_some()).count();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(still, 0);
        });
    }

    #[test]
    fn bytes_that_the_client_has_not_acknowledged_are_under_way() {
        use std::io::Write;
        let mut scene = TestProcess::new("exec cat");
        scene.proof();
        scene.server.set_nonblocking(true).expect("a socket has the option");
        // More than the client's window has room for: the rest stays with the server.
        while scene.server.write(&[0; 65_536]).is_ok() {}
        assert!((0..20).all(|_| scene.look(None).is_none()));
    }

    #[test]
    fn who_sleeps_in_a_futex_for_a_time_is_not_still() {
        use std::sync::{Condvar, Mutex};
        assert!(is_timed_futex("202 0x5 0x189 0x0 0x7f52 0x0 0xffffffff 0x1 0x2"));
        assert!(!is_timed_futex("202 0x5 0x189 0x0 0x0 0x0 0xffffffff 0x1 0x2"));
        let (lock, changed) = (Mutex::new(true), Condvar::new());
        let still = std::thread::scope(|scope| {
            let still = [None, Some(Duration::from_secs(1000))].map(|time| {
                let (tell, told) = std::sync::mpsc::channel();
                let (lock, changed) = (&lock, &changed);
                scope.spawn(move || {
                    tell.send(Thread::current()).expect("somebody asks");
                    let mut waits = lock.lock().expect("no panic");
                    while *waits {
                        waits = match time {
                            Some(time) => changed.wait_timeout(waits, time).expect("no panic").0,
                            None => changed.wait(waits).expect("no panic"),
                        };
                    }
                });
                let thread = told.recv().expect("it says who it is");
                let line = || thread.file("syscall").expect("it is there");
                // In the wait itself, and not in the lock.
                let is_in = |line: &str| call(line) == Some("futex") && is_timed_futex(line) == time.is_some();
                while !is_in(&line()) || !thread.file("status").expect("it is there").contains("State:\tS") {
                    std::thread::yield_now();
                }
                sleeper(thread).expect("/proc can be read").is_some()
            });
            *lock.lock().expect("no panic") = false;
            changed.notify_all();
            still
        });
        assert_eq!(still, [true, false]);
    }

    #[test]
    fn the_interest_list_is_with_flags_the_kernel_writes_it() {
        let text = "pos:\t0\nflags:\t02\ntfd:        8 events: c0002019 data: 1  pos:0\n\
                    tfd:        7 events: c0000000 data: ffffffffffffffff  pos:0 ino:1 sdev:8\n";
        assert_eq!(mask(text, 7), Some(Armed(0xc000_0000)));
        assert_eq!(mask(text, 8), Some(Armed(0xc000_2019)));
        assert_eq!(mask(text, 9), None);
        assert!(Armed(0xc000_0000).is_empty() && !Armed(0xc000_0018).is_empty() && !Armed(0x2019).is_edge());
        assert_eq!(Armed(0x19).to_string(), "00000019");
    }

    #[test]
    fn a_one_shot_event_empties_the_mask_and_a_modify_fills_it() {
        use crate::world::kernel::{Epoll, Events, Interest};
        use std::os::fd::AsRawFd;
        let (epoll, mut scene) = (Epoll::new().expect("there is epoll"), TestProcess::new("exec cat"));
        let once = Interest::READ.edge_triggered().one_shot();
        let mask = |scene: &TestProcess| armed(std::process::id() as libc::pid_t, scene.server.as_raw_fd() as u64);
        epoll.add(&scene.server, 1, once).expect("it is not on the list yet");
        assert_eq!(mask(&scene), Some(Armed(0xc000_2019)));
        scene.client.send(1).expect("there is room");
        epoll.wait(&mut Events::with_capacity(1)).expect("there is an event");
        assert_eq!(mask(&scene), Some(Armed(0xc000_0000)));
        epoll.modify(&scene.server, 1, once).expect("it is on the list");
        assert_eq!(mask(&scene), Some(Armed(0xc000_2019)));
    }

    fn status(state: &str) -> String {
        format!("Name:\tworker-1\nState:\t{state}\nvoluntary_ctxt_switches:\t10\nnonvoluntary_ctxt_switches:\t7\n")
    }

    const FOR_EVER: &str = "202 0x5 0x189 0x0 0x0 0x0 0xffffffff 0x1 0x2";
    const FOR_A_TIME: &str = "202 0x5 0x189 0x0 0x7f52 0x0 0xffffffff 0x1 0x2";

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn who_sleeps_without_an_end_is_a_sleeper_with_its_name_its_call_and_its_switches() {
        let worker = |call| Some(Sleeper { name: "worker-1".to_string(), call, switches: 17 });
        assert_eq!(sleeper_of(&status("S (sleeping)"), FOR_EVER), worker("futex"));
        assert_eq!(sleeper_of(&status("S (sleeping)"), "0 0x3 0x7f 0x400"), worker("read"));
        assert_eq!(sleeper_of(&status("S (sleeping)"), "232 0x4 0x7f 0x10 0xffffffff"), worker("epoll_wait"));
        // A kernel that does not say in which call it sleeps.
        assert_eq!(sleeper_of(&status("S (sleeping)"), ""), worker(""));
        assert_eq!(sleeper_of(&status("S (sleeping)"), "999999 0x1"), worker(""));
        for state in ["R (running)", "D (disk sleep)", "T (stopped)", "t (tracing stop)", "Z (zombie)", ""] {
            assert_eq!(sleeper_of(&status(state), FOR_EVER), None, "{state}");
        }
        for timed in [FOR_A_TIME, "35 0x7f 0x0", "230 0x0 0x0 0x7f 0x7f"] {
            assert_eq!(sleeper_of(&status("S (sleeping)"), timed), None, "{timed}");
        }
    }

    #[test]
    fn all_threads_must_sleep_and_not_just_one() {
        let main = Thread { pid: 50, tid: 50 };
        let named = |thread: Thread| Sleeper { name: format!("{}", thread.tid), call: "futex", switches: 0 };
        let seen = |awake: &[libc::pid_t], others| {
            let sleeper = |thread: Thread| Ok((!awake.contains(&thread.tid)).then(|| named(thread)));
            let asleep = asleep_but(others, 50, vec![70, 9, 50, 60], sleeper).expect("nothing fails");
            asleep.map(|all| all.into_iter().map(|one| one.name).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(seen(&[], [None, None]).as_deref(), Some("50 9 60 70"), "the first one first");
        for awake in [50, 9, 60, 70] {
            assert_eq!(seen(&[awake], [None, None]), None, "{awake} may still move");
        }
        // Who looks is awake, and so may the client be; both are none of the server's.
        let other = |tid| Some(Thread { tid, ..main });
        assert_eq!(seen(&[60], [other(60), None]).as_deref(), Some("50 9 70"));
        assert_eq!(seen(&[60, 9], [other(60), other(9)]).as_deref(), Some("50 70"));
        assert_eq!(seen(&[60, 9], [other(60), None]), None);
        assert_eq!(seen(&[60], [Some(Thread { pid: 51, tid: 60 }), None]), None, "of another process");
        let fails = asleep_but([None, None], 50, vec![50], |_| Err(io::ErrorKind::NotFound.into()));
        assert!(fails.is_err(), "what cannot be read proves nothing");
    }

    #[test]
    fn threads_wait_for_each_other_only_if_all_of_them_sleep_in_futex() {
        let all = |calls: &[&'static str]| {
            let one = |call: &&'static str| Sleeper { name: String::new(), call, switches: 0 };
            is_futex_deadlock(&calls.iter().map(one).collect::<Vec<_>>())
        };
        assert!(all(&["futex"]) && all(&["futex", "futex"]));
        for calls in [["futex", "epoll_wait"], ["read", "futex"], ["futex", ""], ["accept", "accept"]] {
            assert!(!all(&calls), "{calls:?}: a packet may wake one");
        }
    }

    #[test]
    fn it_takes_three_looks_that_see_the_same_while_nothing_changes_outside() {
        let looks = |seen: &[Option<u32>], outside: [u32; 2]| {
            let (mut next, asked) = (seen.iter().copied(), std::cell::Cell::new(0));
            let outside = || Ok(outside[asked.replace(asked.get() + 1)]);
            let result =
                unchanged(outside, || Ok(next.next().expect("three looks are enough"))).expect("nothing fails");
            (result, next.len())
        };
        assert_eq!(looks(&[Some(1), Some(1), Some(1)], [7, 7]), (Some((1, 7)), 0));
        assert_eq!(looks(&[Some(1), Some(1), Some(1)], [7, 8]), (None, 0));
        assert_eq!(looks(&[Some(1), Some(1), Some(2)], [7, 7]), (None, 0));
        assert_eq!(looks(&[Some(1), Some(2), Some(1)], [7, 7]).0, None);
        assert_eq!(looks(&[Some(1), Some(1), None], [7, 7]).0, None);
        assert_eq!(looks(&[None, Some(1), Some(1)], [7, 7]).0, None);
        let fails = || Err::<Option<u32>, _>(io::ErrorKind::NotFound.into());
        assert!(unchanged(|| Ok(7), fails).is_err() && unchanged(fails, || Ok(Some(7))).is_err());
    }

    #[test]
    fn a_packet_is_under_way_in_either_direction() {
        let queues = |untaken| SocketQueues { unread: 4096, untaken, inode: 1 };
        assert!(!is_under_way(queues(0), 0), "what waits in the server's socket has arrived");
        assert!(is_under_way(queues(1), 0) && is_under_way(queues(0), 1));
    }

    /// No process stays behind where this one is killed.
    pub(crate) fn dies_with_us(command: &mut Command) {
        // SAFETY: one system call, between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
    }

    /// A process all of whose threads, its one, sleep in `futex(2)`.
    pub(crate) struct FutexSleeper(pub(crate) libc::pid_t);

    impl FutexSleeper {
        pub(crate) fn new(blackbox: Blackbox) -> FutexSleeper {
            // SAFETY: the child does nothing but system calls on memory that it shares, until it is killed.
            match unsafe { libc::fork() } {
                0 => {
                    // SAFETY: as above. Without the second call it would keep the sockets of all other tests open.
                    unsafe {
                        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
                    }
                    loop {
                        futex_wait(blackbox.doorbell(), blackbox.doorbell().load(Ordering::Relaxed), None);
                    }
                }
                pid => FutexSleeper(pid),
            }
        }
    }

    impl Drop for FutexSleeper {
        fn drop(&mut self) {
            // SAFETY: the child is ours; where it was waited for already, its number is not given out again so soon.
            unsafe {
                libc::kill(self.0, libc::SIGKILL);
                libc::waitpid(self.0, std::ptr::null_mut(), 0);
            }
        }
    }

    #[test]
    fn a_server_that_sleeps_in_futex_is_in_a_deadlock() {
        let blackbox = Blackbox::new(1).expect("there is a memfd");
        let sleeper = FutexSleeper::new(blackbox);
        let start = Instant::now();
        let found = loop {
            match find_futex_deadlock(blackbox, sleeper.0).expect("/proc can be read") {
                Some(found) => break found,
                None => assert!(start.elapsed() < Duration::from_secs(20), "it sleeps, and there is no proof"),
            }
        };
        assert_eq!(found.iter().map(|thread| thread.call).collect::<Vec<_>>(), ["futex"]);
    }

    #[test]
    fn the_proof_names_the_descriptor_that_the_server_has() {
        let scene = TestProcess::holding("exec cat", Plan::Raw);
        assert_eq!(scene.proof().fd, Some(2));
    }

    #[test]
    fn a_server_that_sleeps_in_a_read_is_at_rest_and_in_no_deadlock() {
        let scene = TestProcess::new("exec cat");
        scene.proof();
        let threads = at_rest(scene.blackbox, scene.pid()).expect("/proc can be read").expect("it sleeps");
        assert_eq!(threads.iter().map(|thread| thread.call).collect::<Vec<_>>(), ["read"]);
        assert_eq!(find_futex_deadlock(scene.blackbox, scene.pid()).expect("/proc can be read"), None);
        let busy = TestProcess::new("while :; do :; done");
        assert!((0..50).all(|_| at_rest(busy.blackbox, busy.pid()).is_ok_and(|rest| rest.is_none())));
        assert!(at_rest(scene.blackbox, libc::pid_t::MAX).is_err(), "there is no such process");
        let threads = at_rest_unrecorded(scene.pid()).expect("/proc can be read").expect("it sleeps");
        assert_eq!(threads.iter().map(|thread| thread.call).collect::<Vec<_>>(), ["read"]);
        assert!((0..50).all(|_| at_rest_unrecorded(busy.pid()).is_ok_and(|rest| rest.is_none())));
        assert!(at_rest_unrecorded(libc::pid_t::MAX).is_err(), "there is no such process");
    }

    #[test]
    fn a_connection_that_is_gone_proves_nothing() {
        let mut scene = TestProcess::new("exec cat");
        let wire = scene.client.wire().expect("it is connected");
        scene.proof();
        scene.client.send(10).expect("there is room");
        // Closed with bytes unread: that breaks the connection off.
        scene.server = TcpStream::connect(scene.listener.local_addr().expect("it is bound")).expect("it listens");
        // Another test may be between a fork and its exec, and have the socket open for so long.
        let start = Instant::now();
        while wire.connection().expect("/proc can be read").is_some() {
            assert!(start.elapsed() < Duration::from_secs(20), "it was closed");
        }
        let server = scene.pid();
        let room = ObservedProcess { blackbox: scene.blackbox, server, wire: &wire, client: None };
        assert_eq!(look(&room).expect("/proc can be read"), None);
    }

    #[test]
    fn the_socket_and_what_it_is_armed_for_are_found_in_the_server() {
        use crate::world::kernel::{Epoll, Interest};
        use std::os::fd::AsRawFd;
        let mut scene = TestProcess::new("exec cat");
        let inode = scene.client.connection().expect("it is there").inode;
        let me = std::process::id() as libc::pid_t;
        let fd = scene.server.as_raw_fd() as u64;
        assert_eq!((descriptor(me, inode), descriptor(me, u64::MAX)), (Some(fd), None));
        assert_eq!(descriptor(scene.pid(), inode), None, "another process has no such socket");
        let epoll = Epoll::new().expect("there is epoll");
        assert_eq!(armed(me, fd), None);
        epoll.add(&scene.server, 1, Interest::READ).expect("it is not on the list yet");
        assert!(armed(me, fd).is_some_and(|armed| !armed.is_empty() && !armed.is_edge()));
        scene.client.fin().expect("it is connected");
    }

    #[test]
    fn a_mask_that_only_says_how_asks_for_nothing() {
        let bits = |bits: i32| Armed(bits as u32);
        for how in [libc::EPOLLET, libc::EPOLLONESHOT, libc::EPOLLWAKEUP, libc::EPOLLEXCLUSIVE, 0] {
            assert!(bits(how).is_empty());
            assert_eq!(bits(how).is_edge(), how == libc::EPOLLET);
        }
        for what in [libc::EPOLLIN, libc::EPOLLOUT, libc::EPOLLRDHUP, libc::EPOLLHUP, libc::EPOLLERR] {
            assert!(!bits(what | libc::EPOLLONESHOT).is_empty());
        }
    }

    #[test]
    fn the_calls_are_known_by_their_numbers() {
        let named = |number: libc::c_long| call(&format!("{number} 0x1 0x2"));
        for (number, name) in [
            (libc::SYS_futex, "futex"),
            (libc::SYS_epoll_pwait, "epoll_wait"),
            (libc::SYS_read, "read"),
            (libc::SYS_recvfrom, "recv"),
            (libc::SYS_write, "write"),
            (libc::SYS_sendto, "send"),
            (libc::SYS_accept4, "accept"),
            (libc::SYS_ppoll, "poll"),
            (libc::SYS_clock_nanosleep, "nanosleep"),
        ] {
            assert_eq!(named(number), Some(name));
        }
        assert_eq!((named(libc::SYS_getpid), call("running"), call("")), (None, None, None));
    }
}

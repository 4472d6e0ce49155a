//! The server's process: a fork that records into the black box, and that dies with its parent.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::end::explain;
use crate::direct::outcome::Ending;
use crate::record::blackbox::{Blackbox, CAPACITY, MAIN, Mode, ServedCounts, State, futex_wait, futex_wake};
use crate::server::{self, Flags, Serve, Served, Server, Threads, listen};
use crate::world::heap::{self, Heap};
use crate::world::kernel::Stop;
use crate::world::sync::unless_refused;

/// The exit code of a server that panicked.
pub const PANICKED: i32 = 70;
/// The exit code of a server that could not go on: the machine's fault.
pub const UNABLE: i32 = 2;
/// The exit code of a server whose kernel does not offer what it is about.
pub const IMPOSSIBLE: i32 = 3;

/// Whether an error says so: it, or one that it came from, is [`io::ErrorKind::Unsupported`] with a sentence of our
/// own.
pub fn is_impossible(error: &anyhow::Error) -> bool {
    let unsupported = |error: &io::Error| error.kind() == io::ErrorKind::Unsupported && error.raw_os_error().is_none();
    error.chain().any(|cause| cause.downcast_ref().is_some_and(unsupported))
}

/// The reason of a server that could not go on, if this is how it ended.
///
/// # Errors
/// Just that reason.
pub fn check(ending: Ending, blackbox: &Blackbox) -> Result<()> {
    let message = || blackbox.message().unwrap_or_default();
    match ending {
        Ending::Exit(UNABLE) => bail!("{}", message()),
        Ending::Exit(IMPOSSIBLE) => Err(io::Error::new(io::ErrorKind::Unsupported, message()).into()),
        _ => Ok(()),
    }
}

/// How to run a server.
#[derive(Clone, Copy)]
pub struct Setup {
    pub serve: Serve,
    pub workers: usize,
    pub flags: Flags,
    pub threads: Threads,
    /// See [`Server::drain`].
    pub drain: u64,
    pub heap: Heap,
    pub mode: Mode,
    pub address: SocketAddr,
    /// Whether a core dump may be written, if the reader's limit allows one.
    pub core: bool,
    /// Whether what it writes to standard error is passed on to the reader.
    pub aloud: bool,
}

/// A server in a process of its own.
pub struct Process {
    pid: libc::pid_t,
    started: Instant,
    ended: Option<(Ending, Duration)>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    blackbox: Blackbox,
    stop: Stop,
}

/// What a child's death rings: the doorbell of the box.
static DOORBELL: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

extern "C" fn on_child(_: libc::c_int) {
    // SAFETY: the pointer is null or a doorbell, which is never unmapped. An atomic add and a futex(2) are all it does.
    if let Some(doorbell) = unsafe { DOORBELL.load(Ordering::Acquire).as_ref() } {
        doorbell.fetch_add(1, Ordering::AcqRel);
        futex_wake(doorbell);
    }
}

/// Sets what a signal does (`sigaction(2)`). A handler calls nothing that is not in `signal-safety(7)`.
pub fn handle(signal: libc::c_int, handler: libc::sighandler_t, flags: libc::c_int) {
    // SAFETY: a zeroed sigaction is valid, and `handler` is a function for a signal, SIG_DFL or SIG_IGN.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

impl Process {
    /// Forks a server. The caller has no other thread.
    pub fn start(setup: Setup, blackbox: Blackbox) -> Result<Process> {
        let stop = Stop::new().context("no eventfd(2) to stop the server with")?;
        let mut ends = [0; 2];
        // SAFETY: pipe2(2) writes two descriptors, which nobody else owns.
        let (read, write) = unsafe {
            if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
                return Err(io::Error::last_os_error()).context("no pipe for the server's standard error");
            }
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        DOORBELL.store(ptr::from_ref(blackbox.doorbell()).cast_mut(), Ordering::Release);
        handle(libc::SIGCHLD, on_child as *const () as libc::sighandler_t, libc::SA_NOCLDSTOP);
        // SAFETY: getpid(2) has no preconditions.
        let parent = unsafe { libc::getpid() };
        let started = Instant::now();
        // SAFETY: the process has one thread, so no lock can be left held in the child.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(explain(io::Error::last_os_error(), "no process for the server"));
        }
        if pid == 0 {
            drop(read);
            in_child(setup, blackbox, stop, parent, &write);
        }
        drop(write);
        // Whatever comes now, its drop sees to the server's end.
        let mut process = Process { pid, started, ended: None, stderr: None, blackbox, stop };
        let to: Box<dyn Write + Send> = if setup.aloud { Box::new(io::stderr()) } else { Box::new(io::sink()) };
        let thread = std::thread::Builder::new().spawn(move || pass_on(File::from(read), to));
        process.stderr = Some(thread.map_err(|error| explain(error, "nobody can read what the server says"))?);
        Ok(process)
    }

    /// Its process id.
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Whether it is still there.
    pub fn is_alive(&mut self) -> bool {
        if self.ended.is_none() {
            let mut status = 0;
            // SAFETY: waitpid(2) writes an int.
            if unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) } == self.pid {
                self.ended = Some((ending_of(status), self.started.elapsed()));
            }
        }
        self.ended.is_none()
    }

    /// Waits until `done` says so, the process has ended, or the time is over; says whether `done` did.
    pub fn wait_for(&mut self, limit: Duration, mut done: impl FnMut(&Blackbox) -> bool) -> bool {
        let start = Instant::now();
        loop {
            let seen = self.blackbox.doorbell().load(Ordering::Acquire);
            if done(&self.blackbox) {
                return true;
            }
            if !self.is_alive() || start.elapsed() > limit {
                return false;
            }
            futex_wait(self.blackbox.doorbell(), seen, Some(50));
        }
    }

    /// The port that it listens on; `None` if it ended before, or if the time is over.
    pub fn port(&mut self, limit: Duration) -> Option<u16> {
        self.wait_for(limit, |blackbox| blackbox.port().is_some());
        self.blackbox.port()
    }

    /// The port that it listens on.
    ///
    /// # Errors
    /// Its own reason, if it could not come up.
    pub fn listening(&mut self, limit: Duration) -> Result<u16> {
        self.port(limit).ok_or_else(|| {
            self.end(Duration::ZERO);
            anyhow::Error::msg(self.blackbox.message().unwrap_or_else(|| "the server did not come up".to_string()))
        })
    }

    /// What tells it to stop.
    pub fn stop_event(&self) -> &Stop {
        &self.stop
    }

    /// Tells it to stop.
    pub fn stop(&self) {
        self.stop.raise();
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if self.is_alive() {
            // SAFETY: the process is our child and was not waited for, so the number is still its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
    }

    /// Waits for its end; killed when the time is over (then `false` comes with the ending).
    pub fn end(&mut self, limit: Duration) -> (Ending, bool) {
        self.wait_for(limit, |_| false);
        let in_time = !self.is_alive();
        self.kill();
        loop {
            if let (false, Some((ending, _))) = (self.is_alive(), self.ended) {
                return (ending, in_time);
            }
            self.wait_for(Duration::from_secs(1), |_| false);
        }
    }

    /// Milliseconds from start to end.
    pub fn millis(&self) -> f64 {
        self.ended.map_or(0.0, |(_, after)| millis(after))
    }

    /// What it wrote to standard error. To be called after its end.
    pub fn stderr(&mut self) -> String {
        let bytes = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
        self.stderr();
    }
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What a status of `waitpid(2)` says, whether or not a core was dumped.
fn ending_of(status: libc::c_int) -> Ending {
    if libc::WIFSIGNALED(status) {
        Ending::Signal(libc::WTERMSIG(status))
    } else {
        Ending::Exit(libc::WEXITSTATUS(status))
    }
}

/// Copies what comes to our own standard error, which is `to`, and keeps it.
fn pass_on(mut from: File, mut to: impl Write) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let _ = to.write_all(&buffer[..n]);
        kept.extend_from_slice(&buffer[..n]);
    }
    kept
}

/// The child's whole life.
fn in_child(setup: Setup, blackbox: Blackbox, stop: Stop, parent: libc::pid_t, stderr: &OwnedFd) -> ! {
    // SAFETY: plain system calls on numbers and on locals.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(PANICKED);
        }
        libc::dup2(stderr.as_raw_fd(), libc::STDERR_FILENO);
        libc::close(stderr.as_raw_fd());
    }
    handle(libc::SIGCHLD, libc::SIG_DFL, 0);
    // Ctrl-C is sent to both. What it means is the parent's to say, with whom this process dies.
    handle(libc::SIGINT, libc::SIG_IGN, 0);
    // Out of memory, the kernel is to kill this process and not the parent, which can still say so
    // (`proc_pid_oom_score_adj(5)`).
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    if !setup.core {
        no_core_dump();
    }
    let fault = on_fault as *const () as libc::sighandler_t;
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
        handle(signal, fault, libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND);
    }
    let code = match serve_here(setup, blackbox, stop) {
        Ok(()) => 0,
        Err(error) => {
            let impossible = is_impossible(&error);
            blackbox.set_message(&if impossible { error.root_cause().to_string() } else { format!("{error:#}") });
            if impossible { IMPOSSIBLE } else { UNABLE }
        }
    };
    // SAFETY: _exit(2) ends the process, without running what the parent had registered.
    unsafe { libc::_exit(code) }
}

/// Runs a stage's server.
///
/// # Errors
/// Why it could not go on.
pub fn serve(serve: Serve, server: Server) -> Result<Served> {
    let served = unless_refused(|| serve(server)).and_then(|served| served);
    served.map_err(|error| explain(error, "the server could not go on"))
}

/// Runs the server in this process, to its end.
pub fn serve_here(setup: Setup, blackbox: Blackbox, stop: Stop) -> Result<()> {
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.to_string();
        blackbox.set_message(&text);
        eprintln!("{text}");
        // SAFETY: as above. A server that panicked has nothing more to say.
        unsafe { libc::_exit(PANICKED) }
    }));
    heap::choose(setup.heap);
    Blackbox::register_current_thread(MAIN);
    blackbox.install(setup.mode);
    if setup.mode == Mode::Directed && matches!(setup.threads, Threads::Reactors | Threads::Shards) {
        blackbox.let_the_kernel_choose_wakeups();
    }
    let listener =
        listen(setup.threads, setup.address).with_context(|| format!("cannot listen on {}", setup.address))?;
    let port = listener.local_addr().context("the listener has no address")?.port();
    blackbox.set_port(port);
    let server = Server { listener, stop, workers: setup.workers, flags: setup.flags, drain: setup.drain };
    let served = serve(setup.serve, server)?;
    blackbox.set_herd(&server::told());
    blackbox.serve_ended(ServedCounts { received: served.received, replies: served.replies });
    blackbox.slot(MAIN).set_state(State::Ended);
    blackbox.ring_doorbell();
    Ok(())
}

/// Stores what happened, and lets the signal through: with the handler reset, returning runs the faulting instruction
/// again, and this time it kills.
extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo. Everything below is an atomic store or a system call.
    unsafe {
        let code = (*info).si_code;
        let address = if code > 0 { (*info).si_addr() as u64 } else { 0 };
        if let Some(blackbox) = Blackbox::current() {
            blackbox.set_fault(signal, code, address);
        }
        // A signal that somebody sent does not come again by itself.
        if code <= 0 {
            libc::raise(signal);
        }
    }
}

/// A limit of one byte, not of none: a core handler behind a pipe takes no notice of 0 (`core(5)`).
pub fn no_core_dump() {
    let limit = libc::rlimit { rlim_cur: 1, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: setrlimit(2) reads the struct. Lowering the soft limit needs no privilege, but keeping the hard one does.
    unsafe {
        let mut now = limit;
        if libc::getrlimit(libc::RLIMIT_CORE, &mut now) == 0 && now.rlim_max >= 1 {
            now.rlim_cur = 1;
            libc::setrlimit(libc::RLIMIT_CORE, &now);
        }
    }
}

/// Whether a debugger traces this process (`proc(5)`, `TracerPid`).
pub fn is_traced(pid: libc::pid_t) -> bool {
    has_tracer(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default())
}

fn has_tracer(status: &str) -> bool {
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}

/// A box, or the sentence that says why there is none.
pub fn new_blackbox() -> Result<Blackbox> {
    Blackbox::new(CAPACITY).context(
        "no shared memory for the black box: it needs memfd_create(2), which Linux has since 3.17 and which a sandbox may \
         forbid; run the lab outside of it",
    )
}

#[cfg(test)]
pub(crate) mod tests;

//! What stands around a stage: the command line, the server's process, the client, the report, the end.

mod cli;
mod crowd;
mod exhibit;
mod judge;
pub(crate) mod process;
mod repeat;
mod serve;
mod wild;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::panic::Location;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};

use crate::autopsy;
use crate::blackbox::{self, Kind};
use crate::catalogue::{self, Threads};
pub use crate::herd::{Counts, tell};
use crate::kernel::{Listener, Socket, Stop, raise_file_limit};
use crate::point::watched;
use crate::trace::Run;
use cli::{Options, What};
pub use crowd::CROWD;

/// Listens as a server with these threads does: one listener for all, or the first of several.
fn listen(threads: Threads, address: SocketAddr) -> io::Result<Listener> {
    if threads == Threads::Shards { Listener::bind_shared(address) } else { Listener::bind(address) }
}

/// The token of the listener's events.
pub const LISTENER: u64 = 0;
/// The token of the event that stops the server.
pub const STOP: u64 = u64::MAX;
/// The token of the event that says that the limit of a drain is over.
pub const LIMIT: u64 = u64::MAX - 1;
/// The token of the event that says that another second is over.
pub const TICK: u64 = u64::MAX - 2;

/// What a stage is given.
pub struct Server {
    /// Where clients come from.
    pub listener: Listener,
    /// Readable when the server is to stop.
    pub stop: Stop,
    /// How many worker threads to start.
    pub workers: usize,
    /// How to wait and read, where the reader has a choice: stages 2 and 8.
    pub reading: Reading,
    /// How long the sessions that are open may take once the server is told to stop, in milliseconds: stage 7 only.
    pub drain: u64,
}

/// The sessions that used up the limit of a drain, and what they lost by that: connections, bytes without an answer, replies
/// not written.
static CUT: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Says that a session is given up with its client not served: so many bytes that it read are of a request without an answer,
/// and so many replies are not written. What waits in the socket is without an answer too.
#[track_caller]
pub fn cut(socket: &Socket, unanswered: u64, replies: u64) {
    let unanswered = unanswered + socket.unread().unwrap_or(0) as u64;
    if watched() {
        blackbox::note(Kind::Cut, "", Location::caller(), [socket.number() as u64, unanswered, replies]);
    }
    for (count, more) in CUT.iter().zip([1, unanswered, replies]) {
        count.fetch_add(more, Ordering::Relaxed);
    }
}

/// The reader's choice between edge and level, and between reading until `EAGAIN` and reading once. The default is what a
/// server should do under edge-triggered epoll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Level-triggered, not edge-triggered.
    pub level: bool,
    /// One read for each event, not until `EAGAIN`.
    pub once: bool,
    /// A listener for each reactor, on the same port (`SO_REUSEPORT`), not one for all.
    pub reuseport: bool,
    /// Stage 7: the exhibit of the last bytes, and not that of the lost wake-up. The server is the same.
    pub tail: bool,
}

/// What a stage counted, when it came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Bytes received.
    pub received: u64,
    /// Replies written.
    pub replies: u64,
}

/// A stage's server: runs until it is told to stop.
pub type Serve = fn(Server) -> io::Result<Served>;

/// How the program ends.
enum End {
    Code(u8),
    /// By the signal that the server died of.
    Signal(i32),
    /// With status 3: not on this machine.
    Impossible(String),
    /// With status 70: this step of the schedule never came.
    Unmet(String),
    /// With status 70: the lab itself failed.
    Failed(String),
}

/// The whole of a stage's `main`: `path` is its `module_path!()`, `serve` its server.
pub fn main(path: &str, serve: Serve) -> ExitCode {
    let name = path.rsplit("::").next().unwrap_or(path);
    let stage = catalogue::find(name).expect("every stage is in the catalogue");
    let options = cli::parse(stage, std::env::args_os());
    let stage = stage.read_as(options.reading);
    let end = check_machine(&options).and_then(|()| match options.what {
        What::Exhibit => exhibit::run(stage, serve, &options),
        What::Wild { rounds, seconds } => wild::run(stage, serve, &options, rounds, seconds),
        What::Repeat(times) => repeat::run(stage, &options, times),
        What::Serve(address) => serve::run(stage, serve, &options, address),
    });
    match end {
        Ok(End::Code(code)) => ExitCode::from(code),
        Ok(End::Signal(signal)) => die_of(signal),
        Ok(End::Impossible(why)) => {
            complain(&format!("{name}: this cannot happen on this machine: {why}"));
            ExitCode::from(3)
        }
        Ok(End::Unmet(step)) => {
            complain(&format!(
                "{name}: a step of the schedule never came: {step}; the report says what happened instead"
            ));
            ExitCode::from(70)
        }
        Ok(End::Failed(why)) => {
            complain(&format!("{name}: the lab itself failed: {why}"));
            ExitCode::from(70)
        }
        Err(error) if process::is_impossible(&error) => {
            complain(&format!("{name}: this cannot happen on this machine: {}", error.root_cause()));
            ExitCode::from(3)
        }
        Err(error) => {
            complain(&format!("{name}: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Ends as the server did. No core dump: the server's own is the interesting one.
fn die_of(signal: i32) -> ExitCode {
    // SAFETY: plain system calls. Rust's own handler would swallow a first SIGSEGV, so it is taken away.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    // Still here: process 1 of a container takes no signal that it does not handle.
    ExitCode::from(128 + signal as u8)
}

/// The name of a signal that programs die of.
pub(crate) fn signal_name(signal: i32) -> String {
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

/// Writes to standard output; a reader who has gone (`| head -1`) is no error.
pub(crate) fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The width of the terminal in columns; 80 where there is none.
fn width() -> usize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a winsize.
    let known = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) } == 0;
    if known && size.ws_col > 0 { usize::from(size.ws_col) } else { 80 }
}

fn colour() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !forbidden
}

/// Writes what the reader asked for: the report or its JSON, and the trace.
fn publish(run: &Run, options: &Options) -> Result<()> {
    if let Some(path) = &options.trace {
        let text = format!("{:#}\n", autopsy::trace_json(run));
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.json {
        say(&format!("{:#}\n", autopsy::json(run)));
    } else {
        say(&autopsy::report(run, width(), colour()));
    }
    Ok(())
}

/// A system call's error, with what to do about it where that is known.
fn explain(error: io::Error, what: &str) -> anyhow::Error {
    let limit = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
    let threads = error.raw_os_error() == Some(libc::EAGAIN);
    let error = anyhow::Error::new(error);
    if limit {
        return error.context(format!("{what}: the limit on open files is reached; raise it (`ulimit -n 65536`)"));
    }
    // pthread_create(3) is the only call whose EAGAIN comes up to here.
    if threads {
        let why = "the kernel gives no more threads; serve fewer clients, or raise the limit (`ulimit -u`, `ulimit -v`, pids.max)";
        return error.context(format!("{what}: {why}"));
    }
    error.context(what.to_string())
}

/// The lowest limit on open files that the exhibits can do with.
const FILES: libc::rlim_t = 32;

/// What every run needs from the machine.
fn check_machine(options: &Options) -> Result<()> {
    let files = raise_file_limit(FILES);
    if files.rlim_cur < FILES {
        let now = files.rlim_cur;
        anyhow::bail!("the limit on open files is {now}, and the lab needs {FILES}; raise it (`ulimit -n 1024`)");
    }
    let alone = matches!(options.what, What::Serve(_));
    if !alone && !std::path::Path::new("/proc/net/tcp").exists() {
        anyhow::bail!(
            "there is no /proc/net/tcp, where the lab sees whether a packet has arrived; mount it \
             (`mount -t proc proc /proc`)"
        );
    }
    Ok(())
}

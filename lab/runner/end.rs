//! How a program ends, and what it says on the way.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::cli::Options;
use crate::autopsy;
use crate::direct::outcome::Run;

/// How the program ends.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
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

/// Ends as the server did. No core dump: the server's own is the interesting one.
pub fn die_of(signal: i32) -> ExitCode {
    // SAFETY: plain system calls. Rust's own handler would swallow a first SIGSEGV, so it is taken away.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    // Still here: process 1 of a container takes no signal that it does not handle.
    ExitCode::from(128 + signal as u8)
}

/// Writes to standard output; a reader who has gone (`| head -1`) is no error.
pub fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The width of the terminal in columns; 80 where there is none.
pub fn width() -> usize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a winsize.
    let known = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) } == 0;
    if known && size.ws_col > 0 { usize::from(size.ws_col) } else { 80 }
}

pub fn colour() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !forbidden
}

/// A system call's error, with what to do about it where that is known.
pub fn explain(error: io::Error, what: &str) -> anyhow::Error {
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

/// Writes what the reader asked for: the report or its JSON, and the trace.
pub fn publish(run: &Run, options: &Options) -> Result<()> {
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

#[cfg(test)]
mod tests;

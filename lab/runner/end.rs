//! How a program ends, and what it says on the way.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};

use crate::autopsy;
use crate::direct::outcome::Run;
use crate::words::remedy;

/// How the program ends.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Code(u8),
    /// By the signal that the server died of.
    Signal(i32),
    /// With this status, and a sentence: what came of it is not what was to be shown.
    Said(u8, String),
    /// With status 3: not on this machine.
    Impossible(String),
    /// With status 70: this step of the schedule never came.
    Unmet(String),
    /// With status 70: the lab itself failed.
    Failed(String),
}

/// How a sentence begins that ends with status 3.
pub const NOT_HERE: &str = "this cannot happen on this machine: ";

impl End {
    /// The exit status, and the sentence that goes with it.
    pub fn told(&self) -> (u8, Option<String>) {
        match self {
            End::Code(code) => (*code, None),
            // As a shell has it.
            End::Signal(signal) => (128 + *signal as u8, None),
            End::Said(code, what) => (*code, Some(what.clone())),
            End::Impossible(why) => (3, Some(format!("{NOT_HERE}{why}"))),
            End::Unmet(step) => {
                let more = "the report says what happened instead";
                (70, Some(format!("a step of the schedule never came: {step}; {more}")))
            }
            End::Failed(why) => (70, Some(format!("the lab itself failed: {why}"))),
        }
    }
}

/// Ends as the server did. No core dump: the server's own is the interesting one. Process 1 of a container comes back from
/// here: it takes no signal that it does not handle.
pub fn die_of(signal: i32) {
    // SAFETY: plain system calls. Rust's own handler would swallow a first SIGSEGV, so it is taken away.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Writes to standard output; a reader who has gone (`| head -1`) is no error.
///
/// # Errors
/// Those of `write(2)`, without `EPIPE`: `ENOSPC` on a full disk.
pub fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// The last line of a run that ends by itself: with which signal or exit status. The other ends have a sentence of their own.
pub fn say_ending(end: &End) -> Result<()> {
    match end {
        End::Signal(signal) => say(&autopsy::ending(*signal)),
        End::Code(code) => say(&format!("  ending with exit status {code}\n")),
        _ => Ok(()),
    }
}

/// Reads a command line. Help that was asked for is said, and ends the program; so does a mistake, with status 2.
pub fn read_arguments(command: Command, arguments: impl IntoIterator<Item = OsString>) -> ArgMatches {
    let name = command.get_name().to_string();
    command.try_get_matches_from(arguments).unwrap_or_else(|answer| {
        if answer.use_stderr() {
            answer.exit();
        }
        std::process::exit(say_all(&name, &answer.render().to_string()).into())
    })
}

/// Writes all that the program `name` has to say, and gives its exit status.
pub fn say_all(name: &str, text: &str) -> u8 {
    say(text).map_or_else(|error| refuse(name, &error), |()| 0)
}

/// Says why a program cannot go on, and gives its exit status.
pub fn refuse(name: &str, error: &anyhow::Error) -> u8 {
    complain(&format!("{name}: {error:#}"));
    2
}

pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The width of the terminal in columns; 80 where there is none.
pub fn width() -> usize {
    width_of(libc::STDOUT_FILENO)
}

fn width_of(terminal: libc::c_int) -> usize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a winsize.
    let known = unsafe { libc::ioctl(terminal, libc::TIOCGWINSZ, &mut size) } == 0;
    if known && size.ws_col > 0 { usize::from(size.ws_col) } else { 80 }
}

/// Whether standard output takes colour: a terminal, and nobody has set NO_COLOR (<https://no-color.org>).
pub fn colour() -> bool {
    takes_colour(io::stdout().is_terminal(), std::env::var_os("NO_COLOR"))
}

fn takes_colour(is_terminal: bool, no_color: Option<OsString>) -> bool {
    is_terminal && no_color.is_none_or(|value| value.is_empty())
}

/// A system call's error, with what to do about it where that is known.
pub fn explain(error: io::Error, what: &str) -> anyhow::Error {
    let number = error.raw_os_error().unwrap_or(0);
    let error = anyhow::Error::new(error);
    if let Some(why) = remedy(number) {
        return error.context(format!("{what}: {why}"));
    }
    // pthread_create(3) and fork(2) are the only calls whose EAGAIN comes up to here.
    if number == libc::EAGAIN {
        let why = "the kernel gives no more threads; do with fewer (`--workers`, clients), or raise the limit (`ulimit -u`, `ulimit -v`, pids.max)";
        return error.context(format!("{what}: {why}"));
    }
    error.context(what.to_string())
}

/// Where the trace goes, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub path: PathBuf,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The lab's own.
    Json,
    /// What Perfetto opens.
    Perfetto,
}

/// Writes what the reader asked for: the report, or its JSON, and the trace.
pub fn publish(run: &Run, trace: Option<&Trace>, as_json: bool) -> Result<()> {
    write_trace(run, trace)?;
    if as_json { say(&format!("{:#}\n", autopsy::json(run))) } else { say(&autopsy::report(run, width(), colour())) }
}

/// Writes the trace, if the reader asked for one.
pub fn write_trace(run: &Run, trace: Option<&Trace>) -> Result<()> {
    let Some(Trace { path, format }) = trace else { return Ok(()) };
    let trace = match format {
        Format::Json => autopsy::trace_json(run),
        Format::Perfetto => autopsy::perfetto_json(run),
    };
    let text = format!("{trace:#}\n");
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;

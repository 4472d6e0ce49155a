//! What stands around a stage: the command line, the server's process, the client, the report, the end.

mod arrivals;
mod cli;
mod end;
mod exhibit;
mod game;
mod play;
pub(crate) mod process;
mod repeat;
mod search;
mod serve;
mod wild;

use std::process::ExitCode;

use anyhow::Result;

use crate::catalogue;
pub use crate::record::wakeups::Counts;
pub use crate::server::{Flags, LIMIT, LISTENER, STOP, Serve, Served, Server, TICK, cut, tell};
use crate::world::kernel::raise_file_limit;
use crate::world::sync::unless_refused;
use cli::{Options, What};
use end::{End, complain, die_of};
pub use end::{colour, read_arguments, refuse, say_all};
pub(crate) use end::{explain, say};

/// The whole of a stage's `main`: `path` is its `module_path!()`, `serve` its server.
pub fn main(path: &str, serve: Serve) -> ExitCode {
    let name = path.rsplit("::").next().unwrap_or(path);
    let Some(stage) = catalogue::find(name).or_else(|| catalogue::as_another(name)) else {
        complain(&format!(
            "{name}: the catalogue has no such stage; call the program after the one that it is like, as `stage3_mine`, or \
             give it an entry (CONTRIBUTING.md)"
        ));
        return ExitCode::from(2);
    };
    let options = cli::parse(stage, std::env::args_os());
    let stage = stage.with_flags(options.flags);
    let run = || {
        check_machine(&options)?;
        match options.what {
            What::Exhibit => exhibit::run(stage, serve, &options),
            What::Wild { rounds, seconds } => wild::run(stage, serve, &options, rounds, seconds),
            What::Search(ref search) => search::run(stage, serve, &options, search),
            What::Play(ref visitors) => play::run(stage, serve, &options, visitors),
            What::Repeat(times) => repeat::run(stage, &options, times),
            What::Serve(address) => serve::run(stage, serve, &options, address),
        }
    };
    let end = unless_refused(run).unwrap_or_else(|error| Err(explain(error, "the lab could not go on")));
    let end = end.unwrap_or_else(|error| end_of(&error));
    let (status, words) = end.told();
    if let Some(words) = words {
        complain(&format!("{name}: {words}"));
    }
    if let End::Signal(signal) = end {
        die_of(signal);
    }
    ExitCode::from(status)
}

/// How a run ends that could not go on.
fn end_of(error: &anyhow::Error) -> End {
    if process::is_impossible(error) {
        return End::Impossible(error.root_cause().to_string());
    }
    End::Said(2, format!("{error:#}"))
}

/// The lowest limit on open files that the exhibits can do with.
const FILES: libc::rlim_t = 32;
/// The memory that every run needs beside the program's own, in MiB, and that of a thread: its stack, and what it
/// allocates.
const MEMORY: usize = 11;
const MEMORY_OF_A_THREAD: usize = 3;

/// What every run needs from the machine.
fn check_machine(options: &Options) -> Result<()> {
    check_files(raise_file_limit(FILES).rlim_cur)?;
    // A process that gets so far and no further fails at any place, and not at each can it say why.
    let mebibytes = mebibytes(options.workers);
    if !has_room_for(mebibytes << 20) {
        anyhow::bail!("the lab needs {mebibytes} MiB of memory, and gets less; raise the limit (`ulimit -v`)");
    }
    if matches!(options.what, What::Serve(_)) {
        return Ok(());
    }
    if !std::path::Path::new("/proc/net/tcp").exists() {
        anyhow::bail!(
            "there is no /proc/net/tcp, where the lab sees whether a packet has arrived; mount it \
             (`mount -t proc proc /proc`)"
        );
    }
    // In the /proc of another PID namespace this process has another number, and so has the server's.
    let this = std::fs::read_link("/proc/self");
    if this.is_ok_and(|this| this.as_os_str() != std::process::id().to_string().as_str()) {
        anyhow::bail!(
            "/proc is that of another PID namespace, and does not show the server under its number; mount this one's \
             (`mount -t proc proc /proc`, `unshare --mount-proc`)"
        );
    }
    Ok(())
}

fn check_files(now: libc::rlim_t) -> Result<()> {
    if now < FILES {
        anyhow::bail!("the limit on open files is {now}, and the lab needs {FILES}; raise it (`ulimit -n 1024`)");
    }
    Ok(())
}

/// The memory that a run needs.
fn mebibytes(workers: usize) -> usize {
    MEMORY + workers * MEMORY_OF_A_THREAD
}

/// Whether so many bytes of addresses can be had (`RLIMIT_AS` of `getrlimit(2)`).
fn has_room_for(bytes: usize) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a mapping of its own, which nobody touches, is made and taken away.
    unsafe {
        let room = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
        room != libc::MAP_FAILED && libc::munmap(room, bytes) == 0
    }
}

#[cfg(test)]
pub(crate) mod tests;

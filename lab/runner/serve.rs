//! `--serve`: the stage as a plain server, for a client of the reader's own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use std::os::fd::{AsFd, AsRawFd};

use super::cli::Options;
use super::end::{End, complain, publish, say, say_ending};
use super::process::{self, Process, Setup, handle};
use crate::catalogue::Stage;
use crate::direct::outcome::{Ending, Run};
use crate::record::blackbox::Mode;
use crate::record::wakeups::Herd;
use crate::server::{CUT, Serve, Served, Server, listen, told};
use crate::world::fault;
use crate::world::heap::{self, Heap};
use crate::world::kernel::{self, Stop, raise_fd, raise_file_limit};

/// `--serve` has no limit but the reader's patience.
const FOR_EVER: Duration = Duration::from_secs(u64::MAX / 4);

static STOP_FD: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_stop(signal: libc::c_int) {
    match STOP_FD.swap(-1, Ordering::Relaxed) {
        // SAFETY: all three may be called in a handler (signal-safety(7)).
        -1 => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
            // Process 1 of a container takes no signal that it does not handle.
            libc::_exit(128 + signal)
        },
        fd => raise_fd(fd),
    }
}

/// The first SIGINT or SIGTERM raises `stop`, which the caller keeps open. The second kills, whatever is still under
/// way.
fn stop_on_signals(stop: &Stop) {
    STOP_FD.store(stop.as_fd().as_raw_fd(), Ordering::Relaxed);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // Not deferred, so that it can be raised in its own handler.
        handle(signal, on_stop as *const () as libc::sighandler_t, libc::SA_RESTART | libc::SA_NODEFER);
    }
}

/// Serves until it is told to stop.
pub fn run(stage: &'static Stage, serve: Serve, options: &Options, address: SocketAddr) -> Result<End> {
    let heap = options.heap.unwrap_or(Heap::Malloc);
    // A server has a descriptor for each client. What the limit then is, `accept` will say when it is reached.
    raise_file_limit(libc::rlim_t::MAX);
    if options.trace.is_some() || options.json {
        let (workers, flags, drain) = (options.workers, options.flags, options.drain);
        let threads = stage.threads;
        let setup = Setup {
            serve,
            workers,
            flags,
            drain,
            threads,
            heap,
            mode: Mode::Recorded,
            address,
            core: true,
            aloud: true,
        };
        return recorded(stage, setup, options);
    }
    if let Some(faults) = &options.faults {
        fault::plan(faults.clone());
    }
    heap::choose(heap);
    heap::raise_trim_threshold();
    kernel::set_sched_batch();
    let listener = listen(stage.threads, address)
        .with_context(|| format!("cannot listen on {address}; choose another address, or port 0 for any"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    let stop = Stop::new().context("no eventfd(2) to stop the server with")?;
    let kept = stop.try_clone().context("no descriptor is left")?;
    stop_on_signals(&kept);
    say(&format!("{} listens on {address}; Ctrl-C ends it\n", stage.name))?;
    let (workers, flags, drain) = (options.workers, options.flags, options.drain);
    let served = process::serve(serve, Server { listener, stop, workers, flags, drain })?;
    say(&account(&served, &told(), CUT.each_ref().map(|count| count.load(Ordering::Relaxed))))?;
    for (call, line, count) in fault::made() {
        say(&format!("{call}:{line}: {count}\n"))?;
    }
    Ok(End::Code(0))
}

/// What the server counted; `cut`: see [`CUT`].
fn account(served: &Served, herd: &Herd, cut: [u64; 3]) -> String {
    let herd = match herd.reactors.len() {
        0 => String::new(),
        _ => format!("; wake-ups: {}; slept: {}; accepted: {}", herd.wakeups(), herd.sleeps(), herd.spread()),
    };
    let mut text = format!("served {} bytes, {} replies{herd}\n", served.received, served.replies);
    let [cut, unanswered, replies] = cut;
    if cut > 0 {
        text +=
            &format!("cut {cut} at the limit: {unanswered} bytes without an answer, {replies} replies not written\n");
    }
    text
}

/// The same with a parent that keeps the black box.
fn recorded(stage: &'static Stage, setup: Setup, options: &Options) -> Result<End> {
    let blackbox = process::new_blackbox()?;
    let mut process = Process::start(setup, blackbox)?;
    stop_on_signals(process.stop_event());
    let port = process.listening(Duration::from_secs(10))?;
    let address = SocketAddr::new(setup.address.ip(), port);
    let listens = format!("{} listens on {address}; Ctrl-C ends it\n", stage.name);
    if options.json {
        complain(listens.trim_end());
    } else {
        say(&listens)?;
    }
    let (ending, _) = process.end(FOR_EVER);
    process::check(ending, &blackbox)?;
    let run = Run::of(&blackbox, stage, setup.heap, ending);
    let run = Run { millis: process.millis(), stderr: process.stderr(), ..run };
    publish(&run, options.trace.as_ref(), options.json)?;
    let end = match ending {
        Ending::Exit(0) => End::Code(0),
        Ending::Exit(_) => End::Failed(blackbox.message().unwrap_or_default()),
        Ending::Signal(signal) => End::Signal(signal),
    };
    if !options.json {
        say_ending(&end)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests;

//! How a process ended, whatever it was.

use super::*;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::direct::quiescence::tests::dies_with_us;
use crate::runner::tests::{self, alone_and_well};

const LONG: Duration = Duration::from_secs(20);

/// A shell in the place of a server, which is waited for as a server is.
#[expect(clippy::zombie_processes)]
pub(crate) fn process(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stderr(Stdio::piped());
    dies_with_us(&mut command);
    let started = Instant::now();
    let mut child = command.spawn().expect("there is a shell");
    let said = child.stderr.take().expect("it is piped");
    let stderr = Some(std::thread::spawn(move || pass_on(File::from(OwnedFd::from(said)), io::sink())));
    let blackbox = Blackbox::new(8).expect("there is a memfd");
    let stop = Stop::new().expect("there is an eventfd");
    Process { pid: child.id() as libc::pid_t, started, ended: None, stderr, blackbox, stop }
}

#[test]
fn a_status_is_an_exit_code_or_a_signal_with_or_without_a_core() {
    for code in [0, 1, 2, 3, 70, 127, 139, 255] {
        assert_eq!(ending_of(code << 8), Ending::Exit(code));
    }
    for signal in [libc::SIGSEGV, libc::SIGABRT, libc::SIGKILL, libc::SIGHUP] {
        assert_eq!([ending_of(signal), ending_of(signal | 0x80)], [Ending::Signal(signal); 2]);
    }
}

#[test]
fn a_process_that_ends_by_itself_is_not_killed() {
    for (script, ending) in [
        ("exit 0", Ending::Exit(0)),
        ("exit 7", Ending::Exit(7)),
        ("kill -SEGV $$", Ending::Signal(libc::SIGSEGV)),
        ("kill -KILL $$", Ending::Signal(libc::SIGKILL)),
    ] {
        let mut process = process(script);
        assert_eq!(process.end(LONG), (ending, true), "{script}");
        assert!(!process.is_alive() && process.millis() > 0.0);
        // It stays what it was.
        assert_eq!(process.end(Duration::ZERO), (ending, true));
        process.kill();
    }
}

#[test]
fn a_process_that_does_not_end_in_time_is_killed_and_that_is_said() {
    let mut process = process("exec sleep 1000");
    assert!(process.is_alive() && process.millis() == 0.0);
    assert_eq!(process.end(Duration::from_millis(10)), (Ending::Signal(libc::SIGKILL), false));
    assert!(process.millis() >= 10.0);
    let mut killed = self::process("exec sleep 1000");
    killed.kill();
    assert_eq!(killed.end(LONG), (Ending::Signal(libc::SIGKILL), true));
}

#[test]
fn what_it_wrote_is_kept_whole_and_given_once() {
    let mut process = process("i=0; while [ $i -lt 300 ]; do echo line $i >&2; i=$((i+1)); done");
    process.end(LONG);
    let said = process.stderr();
    assert_eq!(
        (said.lines().count(), said.lines().next(), said.lines().last()),
        (300, Some("line 0"), Some("line 299"))
    );
    assert_eq!(process.stderr(), "");
}

#[test]
fn what_comes_is_passed_on_as_it_is() {
    let (read, mut write) = std::io::pipe().expect("there are pipes");
    let (mut passed_on, said) = (Vec::new(), "a long line ".repeat(200));
    write.write_all(said.as_bytes()).expect("there is room");
    drop(write);
    let kept = pass_on(File::from(OwnedFd::from(read)), &mut passed_on);
    assert!(kept == said.as_bytes() && passed_on == said.as_bytes());
}

#[test]
fn it_is_waited_for_until_it_is_done_or_has_ended_or_the_time_is_over() {
    let mut gone = process("exit 0");
    gone.end(LONG);
    assert!(gone.wait_for(LONG, |_| true), "what is done is done");
    assert!(!gone.wait_for(LONG, |_| false));
    let mut stays = process("exec sleep 1000");
    assert!(!stays.wait_for(Duration::from_millis(1), |_| false));
    let mut looks = 0;
    assert!(stays.wait_for(LONG, |_| {
        looks += 1;
        looks == 3
    }));
}

#[test]
fn it_listens_once_the_box_has_its_port_and_else_says_why_not() {
    let mut stays = process("exec sleep 1000");
    assert_eq!(stays.port(Duration::from_millis(1)), None);
    stays.blackbox.set_port(4711);
    assert_eq!((stays.port(LONG), stays.listening(LONG).ok()), (Some(4711), Some(4711)));
    assert!(stays.is_alive());
    let why = |process: &mut Process| process.listening(Duration::from_millis(1)).map_err(|error| error.to_string());
    let mut silent = process("exit 1");
    assert_eq!(why(&mut silent), Err("the server did not come up".to_string()));
    let mut says = process("exec sleep 1000");
    says.blackbox.set_message("the port is taken");
    assert_eq!(why(&mut says), Err("the port is taken".to_string()));
    assert!(!says.is_alive(), "it is of no use");
}

#[test]
fn it_is_told_to_stop_by_its_event() {
    use std::os::fd::AsFd;
    let process = process("exec sleep 1000");
    let is_raised = || {
        let mut poll = libc::pollfd { fd: process.stop_event().as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: poll(2) reads and writes the one pollfd.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    };
    assert!(!is_raised());
    process.stop();
    assert!(is_raised());
    assert_eq!(process.pid(), process.pid);
}

#[test]
fn a_server_that_could_not_go_on_says_why_and_whether_it_ever_can() {
    let blackbox = Blackbox::new(1).expect("there is a memfd");
    for ending in [Ending::Exit(0), Ending::Exit(1), Ending::Exit(PANICKED), Ending::Signal(UNABLE)] {
        assert!(check(ending, &blackbox).is_ok(), "{ending:?}");
    }
    blackbox.set_message("io_uring is switched off");
    let unable = check(Ending::Exit(UNABLE), &blackbox).expect_err("it could not go on");
    assert_eq!((unable.to_string(), is_impossible(&unable)), ("io_uring is switched off".to_string(), false));
    let impossible = check(Ending::Exit(IMPOSSIBLE), &blackbox).expect_err("it cannot be");
    assert_eq!((impossible.to_string(), is_impossible(&impossible)), ("io_uring is switched off".to_string(), true));
}

#[test]
fn impossible_is_what_our_own_sentence_says_and_not_what_an_errno_does() {
    let own = || io::Error::new(io::ErrorKind::Unsupported, "not on this kernel");
    assert!(is_impossible(&own().into()));
    assert!(is_impossible(&anyhow::Error::new(own()).context("the server could not go on")), "wherever it came from");
    let errno = io::Error::from_raw_os_error(libc::ENOSYS);
    assert_eq!(errno.kind(), io::ErrorKind::Unsupported);
    assert!(!is_impossible(&errno.into()));
    assert!(!is_impossible(&io::Error::new(io::ErrorKind::NotFound, "not here").into()));
    assert!(!is_impossible(&anyhow::anyhow!("not on this kernel")));
}

#[test]
fn a_tracer_is_whoever_has_a_number() {
    let status = |tracer: &str| format!("Name:\tcat\nState:\tS (sleeping)\nTracerPid:\t{tracer}\nUid:\t0\t0\t0\t0\n");
    assert!(has_tracer(&status("4711")) && has_tracer(&status("10")));
    assert!(!has_tracer(&status("0")) && !has_tracer("Name:\tcat\nPid:\t7\n") && !has_tracer(""));
}

#[test]
fn a_process_under_a_tracer_is_traced() {
    let mut traced = Command::new("true");
    // SAFETY: one system call, between fork and exec.
    unsafe {
        traced.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    // A sandbox may forbid it.
    let Ok(mut child) = traced.spawn() else { return };
    assert!(is_traced(child.id() as libc::pid_t), "it has stopped at its exec");
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    assert!(!is_traced(libc::pid_t::MAX), "there is no such process");
}

/// The limit of one byte keeps a core handler behind a pipe quiet too; the hard limit stays.
#[test]
fn no_core_is_dumped_and_the_readers_own_limit_stays() {
    let mut command = Command::new("cat");
    // SAFETY: system calls on locals, between fork and exec.
    unsafe {
        command.arg("/proc/self/limits").pre_exec(|| {
            no_core_dump();
            Ok(())
        });
    }
    let output = command.output().expect("there is a cat");
    let limits = String::from_utf8(output.stdout).expect("it is text");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("there is such a limit");
    let words: Vec<_> = core.split_whitespace().skip(4).collect();
    let mut own = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes an rlimit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut own) }, 0);
    let hard = if own.rlim_max == libc::RLIM_INFINITY { "unlimited".to_string() } else { own.rlim_max.to_string() };
    let soft = if own.rlim_max == 0 { "0" } else { "1" };
    assert_eq!(words[..2], [soft, &hard], "{core}");
}

#[test]
fn a_server_is_not_left_behind() {
    let process = process("exec sleep 1000");
    let pid = process.pid();
    // SAFETY: the signal 0 is none.
    let is_there = || unsafe { libc::kill(pid, 0) } == 0;
    assert!(is_there());
    drop(process);
    assert!(!is_there());
}

#[test]
fn a_time_is_told_in_milliseconds() {
    for (time, told) in [(Duration::ZERO, 0.0), (Duration::from_micros(1500), 1.5), (Duration::from_secs(2), 2000.0)] {
        assert_eq!(millis(time), told);
    }
}

/// Starts a server, and waits for its end.
fn life_of(setup: Setup) -> (Process, Ending) {
    let mut process = Process::start(setup, new_blackbox().expect("there is a memfd")).expect("it starts");
    process.listening(LONG).expect("it listens");
    let (ending, in_time) = process.end(LONG);
    assert!(in_time);
    (process, ending)
}

#[test]
fn whatever_end_a_server_comes_to_it_is_told_as_it_was() {
    alone_and_well("runner::process::tests::whatever_end_a_server_comes_to_it_is_told_as_it_was", || {
        let counts = Some(ServedCounts { received: 7, replies: 3 });
        let full = format!("the server could not go on: {}", io::Error::from_raw_os_error(libc::ENOSPC));
        // Of a fault: whether it is the processor's, and has an address.
        for (serve, ending, served, message, fault) in [
            (tests::ends as Serve, Ending::Exit(0), counts, "", None),
            (tests::panics, Ending::Exit(PANICKED), None, "a mistake", None),
            (tests::gives_up, Ending::Exit(UNABLE), None, &full, None),
            (tests::cannot_be, Ending::Exit(IMPOSSIBLE), None, "io_uring is switched off", None),
            (tests::faults, Ending::Signal(libc::SIGSEGV), None, "", Some((libc::SIGSEGV, true, true))),
            (tests::is_sent_a_fault, Ending::Signal(libc::SIGSEGV), None, "", Some((libc::SIGSEGV, false, false))),
            (tests::aborts, Ending::Signal(libc::SIGABRT), None, "", Some((libc::SIGABRT, false, false))),
            (tests::is_killed, Ending::Signal(libc::SIGKILL), None, "", None),
        ] {
            let (mut process, ended) = life_of(tests::setup("stage4_fixed", serve));
            let (blackbox, said) = (process.blackbox, process.blackbox.message().unwrap_or_default());
            assert_eq!((ended, blackbox.served()), (ending, served), "{said}");
            let found = blackbox.fault().map(|fault| (fault.signal, fault.code > 0, fault.address != 0));
            assert_eq!(found, fault, "{ending:?}");
            match ending {
                // The place stands before it, and it is on standard error too.
                Ending::Exit(PANICKED) => assert!(said.contains(message) && process.stderr().contains(&said), "{said}"),
                _ => assert_eq!((said.as_str(), process.stderr().as_str()), (message, ""), "{ending:?}"),
            }
        }
    });
}

#[test]
fn a_signal_that_is_handled_rings_at_the_box() {
    alone_and_well("runner::process::tests::a_signal_that_is_handled_rings_at_the_box", || {
        let doorbell = AtomicU32::new(0);
        let rings = || {
            // SAFETY: raise(3) has no preconditions, and returns when the signal is handled.
            unsafe { libc::raise(libc::SIGUSR1) };
            doorbell.load(Ordering::Acquire)
        };
        handle(libc::SIGUSR1, on_child as *const () as libc::sighandler_t, 0);
        assert_eq!(rings(), 0, "there is no box yet");
        DOORBELL.store(ptr::from_ref(&doorbell).cast_mut(), Ordering::Release);
        assert_eq!([rings(), rings()], [1, 2]);
    });
}

#[test]
fn the_kernel_chooses_whom_it_wakes_where_several_wait_and_somebody_directs() {
    let name = "runner::process::tests::the_kernel_chooses_whom_it_wakes_where_several_wait_and_somebody_directs";
    alone_and_well(name, || {
        for (mode, threads, chooses) in [
            (Mode::Directed, Threads::Reactors, true),
            (Mode::Directed, Threads::Shards, true),
            (Mode::Directed, Threads::Workers, false),
            (Mode::Directed, Threads::PerConnection, false),
            (Mode::Directed, Threads::None, false),
            (Mode::Recorded, Threads::Reactors, false),
            (Mode::Recorded, Threads::Workers, false),
        ] {
            let (process, ending) = life_of(Setup { mode, threads, ..tests::setup("stage4_fixed", tests::ends) });
            assert_eq!(ending, Ending::Exit(0));
            assert_eq!(process.blackbox.is_in_the_kernel(), chooses, "{mode:?} {threads:?}");
        }
    });
}

/// Its limit on core dumps, in place of what it has received.
fn core_limit(_: Server) -> io::Result<Served> {
    Ok(Served { received: limit_on_cores().rlim_cur, replies: 0 })
}

fn limit_on_cores() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes an rlimit.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) }, 0);
    limit
}

#[test]
fn a_server_dumps_its_core_only_where_that_is_wanted() {
    alone_and_well("runner::process::tests::a_server_dumps_its_core_only_where_that_is_wanted", || {
        let hard = limit_on_cores().rlim_max;
        let limit = libc::rlimit { rlim_cur: hard, rlim_max: hard };
        // SAFETY: setrlimit(2) reads an rlimit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) }, 0);
        for (core, limit) in [(true, hard), (false, hard.min(1))] {
            let (process, _) = life_of(Setup { core, ..tests::setup("stage4_fixed", core_limit) });
            assert_eq!(process.blackbox.served().map(|counts| counts.received), Some(limit), "{core}");
        }
    });
}

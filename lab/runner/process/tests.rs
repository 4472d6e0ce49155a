//! How a process ended, whatever it was.

use super::*;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::direct::quiescence::tests::dies_with_us;

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

//! What a run needs and how one ends that cannot be; and what the tests of this folder need: a process of their own, and
//! servers that are good or bad.

use std::io::{self, Write};
use std::panic::Location;
use std::process::{Command, Output, Stdio};

use super::process::Setup;
use super::*;
use crate::catalogue::Stage;
use crate::direct::schedule::Plan;
use crate::record::blackbox::{Mode, note};
use crate::record::event::Kind;
use crate::world::kernel::{Stream, any_port};
use crate::world::point::point;

/// Names the test that is alone in its process.
const ALONE: &str = "LAB_TEST_ALONE";

/// What the test `name`, which is to be the caller, says in a process of its own, and how that ends; `None` to who is in it.
pub(crate) fn alone(name: &str) -> Option<Output> {
    alone_and_told(name, "")
}

/// The same with something to read from standard input.
pub(crate) fn alone_and_told(name: &str, told: &str) -> Option<Output> {
    if std::env::var_os(ALONE).is_some_and(|alone| alone == name) {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().expect("a test knows its program"));
    command.args(["--exact", name, "--nocapture"]).env(ALONE, name);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // It need not read all of it.
    let _ = child.stdin.take().expect("it is piped").write_all(told.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    assert!(text(&output.stdout).contains("running 1 test"), "no test has this name: {name}");
    Some(output)
}

/// Fails unless all went well in that process.
pub(crate) fn went_well(output: &Output) {
    assert!(output.status.success(), "{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
}

/// Does `body` in a process of its own, where `name` is the test that calls this, and fails unless all went well there.
pub(crate) fn alone_and_well(name: &str, body: impl FnOnce()) {
    match alone(name) {
        None => body(),
        Some(output) => went_well(&output),
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn stage(name: &str) -> &'static Stage {
    catalogue::exhibits().find(|stage| stage.name == name).expect("it is in the catalogue")
}

/// What the command line of a stage says.
pub(crate) fn options(name: &str, flags: &[&str]) -> Options {
    cli::parse(stage(name), [&["program"], flags].concat().into_iter().map(Into::into))
}

pub(crate) fn setup(name: &str, serve: Serve) -> Setup {
    let (stage, flags) = (stage(name), options(name, &[]).flags);
    let (threads, heap, mode, address) = (stage.threads, stage.heap, Mode::Directed, any_port());
    Setup { serve, workers: 2, flags, threads, drain: 0, heap, mode, address, core: false, aloud: false }
}

/// A request, and its reply.
pub(crate) const GET: Plan = Plan::Get(1);

/// One client after the other: `answer` is called for each request, until it says that the client is to go.
fn one_by_one(server: &Server, mut answer: impl FnMut(&Stream) -> io::Result<bool>) -> io::Result<Served> {
    let request = GET.length().expect("it has an end");
    let mut served = Served { received: 0, replies: 0 };
    loop {
        point("accept");
        let Some(client) = server.listener.accept_or_stop(&server.stop)? else { return Ok(served) };
        loop {
            point("read");
            let Ok(n @ 1..) = client.read(&mut [0; 64]) else { break };
            served.received += n as u64;
            if served.received.is_multiple_of(request) {
                if answer(&client)? {
                    break;
                }
                served.replies += 1;
            }
        }
    }
}

/// A server as it should be.
pub(crate) fn serves(server: Server) -> io::Result<Served> {
    one_by_one(&server, |client| client.write_all(&GET.reply()).map(|()| false))
}

/// Nothing comes of it, but it frees twice what it has not.
pub(crate) fn frees_twice(server: Server) -> io::Result<Served> {
    one_by_one(&server, |client| {
        (0..2).for_each(|_| note(Kind::Free, "", Location::caller(), [1, 0, 0]));
        client.write_all(&GET.reply()).map(|()| false)
    })
}

/// Its second client is too much for it.
pub(crate) fn panics_at_the_second(server: Server) -> io::Result<Served> {
    let mut replies = 0;
    one_by_one(&server, |client| {
        replies += 1;
        assert!(replies < 2, "two are too many");
        client.write_all(&GET.reply()).map(|()| false)
    })
}

pub(crate) fn never_answers(server: Server) -> io::Result<Served> {
    one_by_one(&server, |_| Ok(false))
}

pub(crate) fn answers_wrong(server: Server) -> io::Result<Served> {
    one_by_one(&server, |client| client.write_all(b"a stranger's").map(|()| false))
}

pub(crate) fn dismisses(server: Server) -> io::Result<Served> {
    one_by_one(&server, |_| Ok(true))
}

/// It ends, and serves nobody.
pub(crate) fn ends(_: Server) -> io::Result<Served> {
    Ok(Served { received: 7, replies: 3 })
}

pub(crate) fn panics(_: Server) -> io::Result<Served> {
    panic!("a mistake")
}

pub(crate) fn gives_up(_: Server) -> io::Result<Served> {
    Err(io::Error::from_raw_os_error(libc::ENOSPC))
}

pub(crate) fn cannot_be(_: Server) -> io::Result<Served> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring is switched off"))
}

/// Reads where nothing is.
pub(crate) fn faults(_: Server) -> io::Result<Served> {
    // SAFETY: a page of its own that nobody may read: that is the fault.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0);
        Ok(Served { received: u64::from(page.cast::<u8>().read_volatile()), replies: 0 })
    }
}

fn raises(signal: libc::c_int) -> io::Result<Served> {
    // SAFETY: raise(3) has no preconditions.
    unsafe { libc::raise(signal) };
    ends_anyway()
}

fn ends_anyway() -> io::Result<Served> {
    Ok(Served { received: 0, replies: 0 })
}

pub(crate) fn is_sent_a_fault(_: Server) -> io::Result<Served> {
    raises(libc::SIGSEGV)
}

pub(crate) fn aborts(_: Server) -> io::Result<Served> {
    raises(libc::SIGABRT)
}

pub(crate) fn is_killed(_: Server) -> io::Result<Served> {
    raises(libc::SIGKILL)
}

/// Told to stop, it sleeps, and nobody is there who could wake it.
pub(crate) fn never_stops(server: Server) -> io::Result<Served> {
    serves(server)?;
    let nobody = std::sync::atomic::AtomicU32::new(0);
    loop {
        crate::record::blackbox::futex_wait(&nobody, 0, None);
    }
}

fn never(_: Server) -> io::Result<Served> {
    unreachable!("nobody serves here")
}

#[test]
fn a_program_without_a_stage_is_refused_and_says_what_to_do() {
    let Some(output) = alone("runner::tests::a_program_without_a_stage_is_refused_and_says_what_to_do") else {
        assert_eq!(format!("{:?}", main("lab::nostage", never)), format!("{:?}", ExitCode::from(2)));
        return;
    };
    went_well(&output);
    let said = text(&output.stderr);
    assert!(
        said.starts_with("nostage: the catalogue has no such stage; call the program after the one that"),
        "{said}"
    );
}

#[test]
fn an_error_is_the_machines_where_it_says_so_and_else_is_told_with_all_that_led_to_it() {
    let own = io::Error::new(io::ErrorKind::Unsupported, "io_uring is switched off");
    let led_to = |error: io::Error| anyhow::Error::new(error).context("the server could not go on");
    assert_eq!(end_of(&led_to(own)), End::Impossible("io_uring is switched off".to_string()));
    let full = io::Error::from_raw_os_error(libc::ENOSPC);
    let words = format!("the server could not go on: {full}");
    assert_eq!(end_of(&led_to(full)), End::Said(2, words));
    assert_eq!(end_of(&anyhow::anyhow!("no such file")), End::Said(2, "no such file".to_string()));
}

#[test]
fn so_many_files_are_enough_and_one_less_is_not() {
    for (now, enough) in [(0, false), (FILES - 1, false), (FILES, true), (FILES + 1, true), (libc::rlim_t::MAX, true)] {
        assert_eq!(check_files(now).is_ok(), enough, "{now}");
    }
    let error = check_files(31).expect_err("it is too few").to_string();
    assert_eq!(error, "the limit on open files is 31, and the lab needs 32; raise it (`ulimit -n 1024`)");
}

#[test]
fn memory_is_needed_once_and_by_each_worker_and_is_either_there_or_named() {
    assert_eq!([1, 2, 4, 16].map(mebibytes), [14, 17, 23, 59]);
    // This process has room, and shows itself under its number in /proc.
    let parsed = |flags: &[&str]| options("stage4_fixed", flags);
    for flags in [&[][..], &["--serve", "127.0.0.1:0"]] {
        assert!(check_machine(&parsed(flags)).is_ok(), "{:?}", check_machine(&parsed(flags)));
    }
    // No address space has so much.
    let error = check_machine(&Options { workers: 1 << 28, ..parsed(&[]) }).expect_err("it is too much");
    let words = "the lab needs 805306379 MiB of memory, and gets less; raise the limit (`ulimit -v`)";
    assert_eq!(error.to_string(), words);
}

#[test]
fn the_limit_on_files_is_raised_as_far_as_it_goes_and_never_lowered() {
    let name = "runner::tests::the_limit_on_files_is_raised_as_far_as_it_goes_and_never_lowered";
    let Some(output) = alone(name) else {
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 128 };
        // SAFETY: the kernel reads the struct.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        for (wanted, now) in [(10, 64), (64, 64), (100, 100), (50, 100), (1_000, 128)] {
            let files = raise_file_limit(wanted);
            assert_eq!((files.rlim_cur, files.rlim_max), (now, 128), "{wanted}");
        }
        return;
    };
    went_well(&output);
}

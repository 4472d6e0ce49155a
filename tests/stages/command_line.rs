//! The command line: what each flag does, what a mistake is told, and every exit code.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{
    Output, command, finish, finish_in_namespace, forbid, in_network, in_pid_namespace, limit_files, run, schedule,
    with_threads,
};
use lab::autopsy::verdicts;
use lab::catalogue::{self, STAGES, Stage, Verdict};
use lab::server::Threads;

/// The stages that are built without a feature.
fn built() -> impl Iterator<Item = &'static Stage> {
    STAGES.iter().filter(|stage| stage.feature.is_none())
}

fn with_workers() -> impl Iterator<Item = &'static Stage> {
    built().filter(|stage| stage.threads == Threads::Workers)
}

/// Exactly one line on stderr, and exit code 2: a sentence that says what to do.
fn one_sentence(arguments: &[&str], says: &str) {
    let output = run("stage3_fixed", arguments);
    assert_eq!(output.code(), Some(2), "{}", output.all());
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.all());
    assert!(output.stderr.contains(says), "{}", output.all());
    assert_eq!(output.stdout, "");
}

fn kill(child: &Child, signal: i32) {
    // SAFETY: the child was not waited for, so its number is its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

/// A stage under `--serve`, and where it listens.
fn serve(name: &str, more: &[&str]) -> (Child, String, BufReader<std::process::ChildStdout>) {
    let mut command = command(name);
    let mut child = command.args(["--serve", "127.0.0.1:0"]).args(more).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("it says where it listens");
    let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).expect("an address");
    (child, address.trim_end_matches(';').to_string(), lines)
}

#[test]
fn an_unknown_flag_is_a_usage_error_with_the_nearest_flag() {
    let output = run("stage3_broken", &["--wildd"]);
    assert_eq!(output.code(), Some(2), "{}", output.all());
    assert!(output.stderr.contains("--wild"), "{}", output.stderr);
    assert_eq!(run("lab", &["lst"]).code(), Some(2));
}

#[test]
fn flags_that_exclude_each_other_are_a_usage_error() {
    for pair in [["--wild", "--bare"], ["--wild", "--serve=127.0.0.1:0"], ["--repeat=3", "--bare"]] {
        assert_eq!(run("stage4_fixed", &pair).code(), Some(2), "{pair:?}");
    }
    assert_eq!(run("stage4_fixed", &["--rounds", "3"]).code(), Some(2), "--rounds belongs to --wild");
    assert_eq!(run("stage4_fixed", &["--workers", "0"]).code(), Some(2));
    assert_eq!(run("stage4_fixed", &["--workers", "1000"]).code(), Some(2));
    assert_eq!(run("stage4_fixed", &["--serve", "nowhere"]).code(), Some(2));
}

#[test]
fn help_of_every_stage_teaches_its_points_and_how_it_ends() {
    for stage in built() {
        let name = stage.name;
        let output = run(name, &["--help"]);
        assert_eq!(output.code(), Some(0));
        let text = output.stdout.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let ends = verdicts::case(stage.expect).in_help();
        let taught = stage.points().into_iter().chain([ends.as_str(), "--repeat", "exit status", stage.schedule.path]);
        for word in taught {
            assert!(text.contains(&word.to_lowercase()), "{name}: {word}");
        }
    }
}

#[test]
fn the_list_says_of_every_stage_what_to_type() {
    let list = run("lab", &["list"]).stdout;
    for stage in STAGES {
        let typed = format!("{}\n", catalogue::command(stage.name));
        assert!(list.contains(&typed), "{list}");
    }
}

#[test]
fn a_schedule_that_cannot_be_kept_is_told_by_file_line_and_reason() {
    one_sentence(&["--schedule", "/nowhere/at.all"], "cannot read /nowhere/at.all");
    for (text, reason) in [
        ("client connect\nmain wiat\n", "line 2: this stage has no point `wiat`; did you mean `wait`?"),
        ("worker-9 read\n", "line 1: no such role: `worker-9`"),
        ("client connect\nclient send 99999\n", "line 2: `send 99999`"),
        ("", "there is no step in it"),
    ] {
        let (_folder, path) = schedule(text);
        one_sentence(&["--schedule", &path], reason);
        one_sentence(&["--schedule", &path], &path);
    }
    let (_folder, path) = schedule("client connect\nworker-3 read\n");
    one_sentence(&["--schedule", &path, "--workers", "2"], "no such role: `worker-3`");
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("binary");
    std::fs::write(&path, [0xff, 0xfe, 0]).expect("it can be written");
    one_sentence(&["--schedule", path.to_str().expect("it is UTF-8")], "cannot read");
}

#[test]
fn an_address_in_use_is_one_sentence() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = taken.local_addr().expect("it has one").to_string();
    one_sentence(&["--serve", &address], &format!("cannot listen on {address}"));
    one_sentence(&["--serve", &address, "--json"], &format!("cannot listen on {address}"));
}

/// A server that shares its port among its own reactors shares it with nobody else; who comes after it gets it at once.
#[test]
fn a_shared_port_that_another_has_is_one_sentence() {
    for (name, more) in [("stage8_fixed", &["--reuseport"][..]), ("stage9_sharded", &[])] {
        let (mut child, address, _rest) = serve(name, more);
        for arguments in [&["--serve", &address][..], &["--serve", &address, "--trace=/dev/null"]] {
            let output = run(name, &[arguments, more].concat());
            is_one_sentence(&output, &format!("cannot listen on {address}"));
            assert_eq!(output.stdout, "");
        }
        // The server ends the connection first, and so the port is not forgotten for a minute.
        let mut client = TcpStream::connect(&address).expect("it listens");
        client.write_all(b"BREW / HTTP/1.1\r\n\r\n").expect("it reads");
        client.read_to_string(&mut String::new()).expect("it closes after an error");
        kill(&child, libc::SIGTERM);
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
        let mut command = command(name);
        let mut child = command.args(["--serve", &address]).args(more).spawn().expect("the program starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says where it listens");
        assert!(line.contains("listens on"), "{name}: {line}");
        kill(&child, libc::SIGTERM);
        child.wait().expect("it ends");
    }
}

#[test]
fn a_file_limit_that_is_too_low_is_one_sentence() {
    for (limit, arguments, says) in
        [(8, vec![], "raise it (`ulimit -n 1024`)"), (8, vec!["--wild"], "raise it (`ulimit -n 1024`)")]
    {
        let mut command = command("stage4_fixed");
        command.args(arguments);
        limit_files(&mut command, limit);
        let output = finish(command);
        assert_eq!(output.code(), Some(2), "{}", output.all());
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.all());
        assert!(output.stderr.contains(says), "{}", output.all());
    }
}

fn is_one_sentence(output: &Output, says: &str) {
    assert_eq!(output.code(), Some(2), "{}", output.all());
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.all());
    assert!(output.stderr.contains(says), "{says}: {}", output.all());
}

/// The process itself, the server's, the thread that passes on what that says, and its workers: with each of them
/// refused, and also the threads of clients that come at once.
#[test]
fn a_refused_thread_is_one_sentence() {
    let threaded = || built().filter(|stage| !matches!(stage.threads, Threads::None | Threads::PerConnection));
    let exhibits = threaded().flat_map(|stage| (1..=6).map(|count| (stage.name, vec![], count)));
    let served = ["--serve", "127.0.0.1:0", "--workers", "4"];
    let servers = threaded().flat_map(|stage| [1, 2].map(|count| (stage.name, served.to_vec(), count)));
    let others = [
        ("stage5_fixed", vec!["--wild", "--rounds", "1"], 6),
        ("stage5_fixed", vec!["--wild", "--rounds", "1"], 10),
        ("stage6_broken", vec![], 7),
        ("stage4_fixed", vec!["--bare"], 1),
        ("stage4_fixed", vec!["--bare", "--limit", "0"], 2),
        ("stage4_fixed", vec!["--trace=/dev/null", "--serve", "127.0.0.1:0"], 4),
        // The first client, and one in the middle.
        ("lab", vec!["soak", "--stage", "stage2_reactor", "--clients", "8"], 2),
        ("lab", vec!["soak", "--stage", "stage2_reactor", "--clients", "8"], 6),
    ];
    for (name, arguments, count) in exhibits.chain(servers).chain(others) {
        let mut command = command(name);
        command.args(&arguments);
        with_threads(&mut command, count);
        let Some(output) = finish_in_namespace(command) else { return };
        is_one_sentence(&output, "the kernel gives no more threads");
        assert!(!output.stdout.contains("survived"), "{}", output.all());
    }
}

/// In such a network nothing can be shown of a server, and so nothing is said of one.
fn in_a_network(name: &str, arguments: &[&str], is_up: bool, settings: &[(&str, &str)], says: &str) {
    let mut command = command(name);
    command.args(arguments);
    in_network(&mut command, is_up, settings);
    let Some(output) = finish_in_namespace(command) else { return };
    is_one_sentence(&output, says);
    assert_eq!(output.stdout, "", "{name} {arguments:?}");
}

/// The runs of a stage in which a client comes.
fn with_a_client(stage: &Stage) -> impl Iterator<Item = &'static [&'static str]> {
    let exhibit: Option<&[&str]> = stage.schedule.text.contains("connect").then_some(&[]);
    exhibit.into_iter().chain([&["--wild", "--rounds", "2"][..]])
}

#[test]
fn a_loopback_that_is_down_is_one_sentence() {
    for stage in built() {
        for arguments in with_a_client(stage) {
            in_a_network(stage.name, arguments, false, &[], "ip link set lo up");
        }
    }
    in_a_network("stage3_broken", &["--bare"], false, &[], "ip link set lo up");
    in_a_network("stage6_broken", &["--repeat", "7"], false, &[], "ip link set lo up");
}

/// There is one port, and the server has it.
#[test]
fn no_port_for_a_client_is_one_sentence() {
    for stage in built() {
        for arguments in with_a_client(stage) {
            in_a_network(stage.name, arguments, true, &[("ip_local_port_range", "40000 40000")], "ip_local_port_range");
        }
    }
}

/// Of 16 KiB that a client sends in one step, 8 KiB of room takes less: it would wait until the server reads, which
/// stands still.
#[test]
fn no_room_for_a_step_is_one_sentence() {
    for (name, arguments) in
        [("stage3_broken", [].as_slice()), ("stage3_fixed", &["--limit", "0"]), ("stage3_fixed", &["--bare"])]
    {
        in_a_network(name, arguments, true, &[("tcp_rmem", "4096 8192 8192")], "tcp_rmem");
    }
}

fn with_memory(name: &str, mebibytes: u64) -> Output {
    let mut command = command(name);
    // SAFETY: one system call on a local, between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: mebibytes << 20, rlim_max: mebibytes << 20 };
            libc::setrlimit(libc::RLIMIT_AS, &limit);
            Ok(())
        });
    }
    finish(command)
}

#[test]
fn too_little_memory_is_one_sentence() {
    for stage in built() {
        for mebibytes in [16, 20, 24] {
            let output = with_memory(stage.name, mebibytes);
            is_one_sentence(&output, "raise the limit (`ulimit -v`)");
            assert_eq!(output.stdout, "");
        }
    }
    assert_eq!(with_memory("stage4_fixed", 64).code(), Some(0));
}

/// Who was killed from outside has not shown anything. The kernel does so when memory runs out.
#[test]
fn a_server_that_is_killed_from_outside_is_one_sentence() {
    // It may be over before the signal comes; then nothing was seen.
    let killed = (0..100).any(|_| {
        let child = command("stage4_fixed").spawn().expect("the program starts");
        wait_until("it has a server", || !children(child.id()).is_empty() || !is_running(child.id() as i32));
        // SAFETY: kill(2) has no preconditions; the parent has not ended, so the number is the server's own or nobody's.
        children(child.id()).iter().for_each(|server| assert!(unsafe { libc::kill(*server, libc::SIGKILL) } <= 0));
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let status = output.status;
        assert!(matches!(status.code(), Some(0 | 2)), "{status}: {said}");
        status.code() == Some(2) && said.contains("killed from outside") && output.stdout.is_empty()
    });
    assert!(killed);
}

#[test]
fn the_proc_of_another_pid_namespace_is_one_sentence() {
    for (name, arguments) in
        [("stage8_broken", [].as_slice()), ("stage4_broken", &[]), ("stage6_broken", &["--wild", "--rounds=1"])]
    {
        let mut command = command(name);
        command.args(arguments);
        in_pid_namespace(&mut command);
        let Some(output) = finish_in_namespace(command) else { return };
        is_one_sentence(&output, "mount -t proc proc /proc");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn no_memfd_is_one_sentence() {
    let mut command = command("stage3_broken");
    forbid(&mut command, libc::SYS_memfd_create, libc::ENOSYS);
    let output = finish(command);
    assert_eq!(output.code(), Some(2), "{}", output.all());
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.all());
    assert!(output.stderr.contains("memfd_create(2)"), "{}", output.all());
}

#[test]
fn no_proc_is_one_sentence() {
    let mut command = command("stage3_broken");
    // SAFETY: system calls on literals, between fork and exec. Both namespaces are the child's own.
    unsafe {
        command.pre_exec(|| {
            let namespaces = libc::CLONE_NEWNS | if libc::geteuid() == 0 { 0 } else { libc::CLONE_NEWUSER };
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let empty = std::ptr::null::<libc::c_char>();
            if libc::unshare(namespaces) != 0
                || libc::mount(c"none".as_ptr(), c"/".as_ptr(), empty, private, empty.cast()) != 0
                || libc::mount(c"none".as_ptr(), c"/proc".as_ptr(), c"tmpfs".as_ptr(), 0, empty.cast()) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let output = match command.spawn() {
        Ok(child) => child.wait_with_output().expect("it ends"),
        Err(error) => {
            eprintln!("skipped: this machine lends no mount namespace ({error})");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("mount -t proc proc /proc"), "{said}");
}

#[test]
fn a_get_is_answered_with_the_origins_52_bytes_and_sigterm_ends_it_cleanly() {
    for stage in with_workers() {
        let name = stage.name;
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let (mut child, address, mut rest) = serve(name, &[]);
            let mut client = TcpStream::connect(&address).expect("it listens");
            client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
            for _ in 0..2 {
                client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
                let mut reply = [0; 52];
                client.read_exact(&mut reply).expect("it answers");
                assert_eq!(&reply[..], lab::http::HELLO);
            }
            kill(&child, signal);
            assert_eq!(child.wait().expect("it ends").code(), Some(0), "{name}");
            let mut said = String::new();
            rest.read_to_string(&mut said).expect("it can be read");
            let (served, more) = said.split_once('\n').expect("a line");
            assert_eq!(served, "served 54 bytes, 2 replies", "{name}");
            // Of the client that is still there, a stage that waits for it says so.
            assert_eq!(more.is_empty(), !stage.drains, "{name}: {more}");
        }
    }
}

#[test]
fn stage4_takes_the_10_mib_upload_in_any_pieces_and_says_what_it_took() {
    for name in ["stage4_broken", "stage4_fixed"] {
        // One worker: the broken stage has its race only with two.
        let (mut child, address, _rest) = serve(name, &["--workers", "1"]);
        let mut client = TcpStream::connect(&address).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
        for piece in [b"POST /u HTTP/1.1\r\nHost: lab\r\nCont".as_slice(), b"ent-Length: 10485760\r\n", b"\r\n"] {
            client.write_all(piece).expect("it reads");
        }
        client.write_all(&vec![b'x'; 10 * 1024 * 1024]).expect("it reads");
        client.write_all(b"BREW / HTTP/1.1\r\nHost: lab\r\n\r\n").expect("it reads");
        let mut said = String::new();
        client.read_to_string(&mut said).expect("it answers and closes after an error");
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{name}: {said}");
        assert!(said.contains("\r\n\r\n10485760 bytes stored\nHTTP/1.1 501 Not Implemented\r\n"), "{name}: {said}");
        kill(&child, libc::SIGTERM);
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
    }
}

/// The size of a chunk comes in two pieces, and framing lies wherever the server's buffer ends.
#[test]
fn every_stage_takes_an_upload_in_chunks_and_says_what_it_took() {
    for name in [
        "stage1_blocking",
        "stage2_reactor",
        "stage4_fixed",
        "stage4_handoff",
        "stage5_fixed",
        "stage6_fixed",
        "stage7_fixed",
        "stage8_fixed",
        "stage9_sharded",
    ] {
        let (mut child, address, _rest) = serve(name, &[]);
        let mut client = TcpStream::connect(&address).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
        client.write_all(b"POST /u HTTP/1.1\r\nHost: lab\r\nTransfer-Encoding: chunked\r\n\r\n1").expect("it reads");
        let chunk = format!("7;x=y\r\n{}\r\n", "x".repeat(0x17));
        let body = format!("{chunk}{}0\r\nX: y\r\n\r\n", format!("1{chunk}").repeat(500));
        client.write_all(body.as_bytes()).expect("it reads");
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it reads");
        let mut said = String::new();
        client.read_to_string(&mut said).expect("it answers and closes after an error");
        let stored = format!("\r\n\r\n{} bytes stored\nHTTP/1.1 400 Bad Request\r\n", 501 * 0x17);
        assert!(said.contains(&stored), "{name}: {said}");
        kill(&child, libc::SIGTERM);
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{name}");
    }
}

#[test]
fn a_closed_pipe_ends_the_report_quietly() {
    let mut command = command("stage3_fixed");
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut said).expect("it can be read");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(said, "");
}

#[test]
fn a_closed_pipe_changes_no_end() {
    for (name, arguments, end) in [
        ("stage3_broken", [].as_slice(), (None, Some(libc::SIGSEGV))),
        ("stage3_broken", &["--help"], (Some(0), None)),
        ("lab", &["list"], (Some(0), None)),
    ] {
        let mut child = command(name).args(arguments).spawn().expect("the program starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.status.signal(), said.as_str()), (end.0, end.1, ""), "{name}");
    }
}

/// What nobody could write was not said: neither a death nor a success of the lab's may stand for it.
#[test]
fn a_full_disk_is_one_sentence() {
    let short = ["--wild", "--rounds=1"];
    let served = ["--serve=127.0.0.1:0"];
    for (name, arguments) in [
        ("stage3_broken", [].as_slice()),
        ("stage3_broken", &["--json"]),
        ("stage3_broken", &["--help"]),
        ("stage3_fixed", &[]),
        ("stage3_fixed", &short),
        ("stage3_fixed", &[&short[..], &["--json"]].concat()),
        ("stage3_fixed", &["--repeat=1"]),
        ("stage3_fixed", &["--repeat=1", "--json"]),
        ("stage3_fixed", &served),
        ("stage3_fixed", &[&served[..], &["--trace=/dev/null"]].concat()),
        ("stage7_broken", &["--bare"]),
        ("lab", &[]),
        ("lab", &["list"]),
        ("lab", &["cost", "--help"]),
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("there is /dev/full");
        let output = command(name).args(arguments).stdout(full).output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{name} {arguments:?}: {said}");
        assert!(said.starts_with(name) && said.contains("cannot write to standard output"), "{said}");
    }
}

/// The process ids of the children of `parent` (`proc(5)`).
pub fn children(parent: u32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the process is there and is not only waiting to be collected.
pub fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn the_server_dies_with_its_parent_even_of_sigkill() {
    for arguments in [["--wild", "--seconds=60", "--rounds=1000000"].as_slice(), &["--serve=127.0.0.1:0", "--json"]] {
        let mut command = command("stage4_fixed");
        let mut child = command.args(arguments).spawn().expect("the program starts");
        wait_until("it has a server", || !children(child.id()).is_empty());
        let servers = children(child.id());
        kill(&child, libc::SIGKILL);
        child.wait().expect("it ends");
        wait_until("the server is gone", || servers.iter().all(|pid| !is_running(*pid)));
    }
}

#[test]
fn sigint_to_a_recorded_server_ends_it_with_its_report() {
    let folder = tempfile::tempdir().expect("there is room");
    let trace = folder.path().join("trace.json");
    let (mut child, address, mut rest) = serve("stage4_fixed", &["--trace", trace.to_str().expect("it is UTF-8")]);
    let mut client = TcpStream::connect(&address).expect("it listens");
    client.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n").expect("it reads");
    let mut reply = [0; 52];
    client.read_exact(&mut reply).expect("it answers");
    kill(&child, libc::SIGINT);
    let mut said = String::new();
    rest.read_to_string(&mut said).expect("it can be read");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{said}");
    let trace: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&trace).expect("it was written")).expect("it is JSON");
    assert!(trace.to_string().contains("accept"), "{trace}");
}

#[test]
fn the_box_is_read_after_a_sigkill() {
    let (mut child, address, mut rest) = serve("stage4_fixed", &["--trace", "/dev/null"]);
    let mut client = TcpStream::connect(&address).expect("it listens");
    // Two: a write is recorded after it, so the last may be missing.
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n").expect("it reads");
        let mut reply = [0; 52];
        client.read_exact(&mut reply).expect("it answers");
    }
    let server = children(child.id())[0];
    // SAFETY: the server is alive, and its parent waits for it, so the number is its own.
    assert_eq!(unsafe { libc::kill(server, libc::SIGKILL) }, 0);
    let mut said = String::new();
    rest.read_to_string(&mut said).expect("it can be read");
    let status = child.wait().expect("it ends");
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{said}");
    for words in ["read 29 bytes", "write 52 bytes", "SIGKILL"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn wild_reports_odds_and_exits_with_0_whatever_they_are() {
    for stage in with_workers() {
        let name = stage.name;
        let output = run(name, &["--wild", "--rounds", "3", "--seconds", "600", "--json"]);
        assert_eq!(output.code(), Some(0), "{}", output.all());
        let odds: serde_json::Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
        let died: u64 = odds["ends"].as_object().expect("a map").values().filter_map(|n| n.as_u64()).sum();
        assert_eq!(odds["rounds"], 3, "{odds}");
        assert_eq!(odds["survived"].as_u64().expect("a number") + died, 3, "{odds}");
        if stage.expect == Verdict::Serves {
            assert_eq!(odds["survived"], 3, "{odds}");
            assert_eq!(odds["used_freed_memory"], 0, "{odds}");
        }
    }
}

#[test]
fn wild_on_pages_kills_stage3_at_the_first_use_of_a_freed_session() {
    let output = run("stage3_broken", &["--wild", "--rounds", "10", "--seconds", "600", "--heap", "pages", "--json"]);
    let odds: serde_json::Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let died = odds["ends"]["SIGSEGV"].as_u64().unwrap_or(0);
    assert_eq!(odds["survived"].as_u64().expect("a number") + died, 10, "{odds}");
}

#[test]
fn a_trace_is_json_with_roles_points_and_source_lines() {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("trace.json");
    let output = run("stage3_broken", &["--trace", path.to_str().expect("it is UTF-8")]);
    assert_eq!(output.signal(), Some(libc::SIGSEGV), "{}", output.all());
    let text = std::fs::read_to_string(&path).expect("it was written");
    let trace: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    for word in ["worker-1", "remove", "lab/stages/stage3_broken.rs", "SIGSEGV"] {
        assert!(trace.to_string().contains(word), "{word} is not in the trace");
    }
    let output = run("stage3_fixed", &["--trace", "/nowhere/at/all.json"]);
    assert_eq!(output.code(), Some(2), "{}", output.all());
}

#[test]
fn json_is_the_whole_of_stdout() {
    for name in built().map(|stage| stage.name) {
        let output = run(name, &["--json"]);
        let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
        assert_eq!(json["stage"], name);
    }
}

//! Stage 9, and what `--serve` promises to real clients.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Output, Server, binary, command, finish, limited, narrow, run};
use lab::http::HELLO;
use lab::kernel::Listener;
use serde_json::Value;

const STAGE: &str = "stage9_sharded";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output.all()))
}

/// The longest wait for a server: a safety net.
const PATIENCE: Duration = Duration::from_secs(60);

/// The interest list of each of its epoll instances, the stop's included: the masks.
fn lists(server: &Server) -> Vec<Vec<u64>> {
    let folder = fs::read_dir(format!("/proc/{}/fdinfo", server.child.id())).expect("it is alive");
    let texts = folder.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let mask = |line: &str| line.split("events:").nth(1)?.split_whitespace().next().map(str::to_string);
    let number = |line: &str| u64::from_str_radix(&mask(line)?, 16).ok();
    let lists = texts.map(|text| text.lines().filter(|line| line.starts_with("tfd:")).filter_map(number).collect());
    lists.filter(|list: &Vec<_>| !list.is_empty()).collect()
}

fn masks(server: &Server) -> Vec<u64> {
    lists(server).concat()
}

fn watched(server: &Server) -> usize {
    masks(server).len()
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(GET).expect("it takes a request");
}

fn take(stream: &mut TcpStream) {
    let mut reply = [0; HELLO.len()];
    stream.read_exact(&mut reply).expect("it replies");
    assert_eq!(reply, HELLO);
}

fn get(stream: &mut TcpStream) {
    ask(stream);
    take(stream);
}

fn soon(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn three_requests_at_once_are_one_read_and_one_write_at_one_reactor() {
    for flags in [&["--json"][..], &["--json", "--workers", "1"], &["--json", "--workers", "9"], &["--json", "--bare"]]
    {
        let output = run(STAGE, flags);
        assert_eq!(output.code(), Some(0), "{flags:?}: {}", output.all());
        let json = json(&output);
        assert_eq!(json["client"]["replies"], 3, "{json}");
        assert_eq!(json["served"]["received"], 87, "{json}");
    }
    let output = run(STAGE, &[]);
    for line in ["read 87 bytes", "write 156 bytes", "3 written, 3 received whole"] {
        assert_eq!(output.stdout.matches(line).count(), 1, "{line}: {}", output.all());
    }
}

#[test]
fn it_serves_on_one_core_in_every_environment_and_undirected() {
    if Command::new("taskset").arg("-V").output().is_ok() {
        let mut on_one = Command::new("taskset");
        on_one.args(["-c", "0"]).arg(binary(STAGE));
        on_one.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = finish(on_one);
        assert_eq!(output.code(), Some(0), "{}", output.all());
    }
    let output = run(STAGE, &["--repeat", "7"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let output = run(STAGE, &["--wild", "--rounds", "3", "--json"]);
    assert_eq!(json(&output)["survived"], 3, "{}", output.all());
}

#[test]
fn a_reactor_for_every_core_unless_it_is_told_how_many() {
    let cores = std::thread::available_parallelism().expect("there is one").get() as u64;
    let server = Server::start(command(STAGE), &[], PATIENCE);
    get(&mut server.connect());
    soon("there are not as many reactors as cores", || server.status("Threads") == cores + 1);
    server.stop();
    let server = Server::start(command(STAGE), &["--workers", "5"], PATIENCE);
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(get);
    soon("there are not five reactors", || server.status("Threads") == 6);
    assert!(server.stop().ends_with(" 200 replies\n"));
}

#[test]
fn a_pipeline_an_upload_and_a_half_closed_client_are_served() {
    let server = Server::start(command(STAGE), &[], PATIENCE);
    let mut stream = server.connect();
    stream.write_all(&GET.repeat(1000)).expect("it takes them");
    (0..1000).for_each(|_| take(&mut stream));
    stream
        .write_all(b"POST /u HTTP/1.1\r\nHost: lab\r\nExpect: 100-continue\r\nContent-Length: 10485760\r\n\r\n")
        .expect("it is taken");
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).expect("it asks for the body");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&vec![b'x'; 10 << 20]).expect("it takes the body");
    ask(&mut stream);
    stream.shutdown(Shutdown::Write).expect("it is open");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("it replies, and closes in turn");
    let (stored, hello) = rest.split_at(rest.len() - HELLO.len());
    assert!(stored.ends_with("\r\n\r\n10485760 bytes stored\n"), "{rest}");
    assert_eq!(hello.as_bytes(), HELLO);
    // The last reply is not lost where the client says more than it should.
    let mut last = server.connect();
    last.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").expect("it is taken");
    last.write_all(&[b'x'; 100_000]).expect("it is taken");
    let mut text = String::new();
    last.read_to_string(&mut text).expect("it replies, and ends its side");
    assert!(text.ends_with("Hello, World!") && text.contains("Connection: close"), "{text}");
    assert!(server.stop().ends_with(" 1003 replies\n"));
}

#[test]
fn a_head_that_does_not_go_on_is_refused_by_itself() {
    let server = Server::start(command(STAGE), &[], PATIENCE);
    let mut slow = server.connect();
    slow.write_all(b"GET / HT").expect("it takes a part");
    let mut text = String::new();
    slow.read_to_string(&mut text).expect("it ends the stream");
    assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text}");
    server.stop();
}

/// More than three reads take, all of it there when the stop is raised, and a client with hardly any room for the
/// replies.
#[test]
fn told_to_stop_it_still_answers_what_had_come() {
    const REQUESTS: usize = 2000;
    let server = Server::start(command(STAGE), &[], PATIENCE);
    let idle = server.connect();
    let mut stream = narrow(server.address);
    server.signal(libc::SIGSTOP);
    stream.write_all(&GET.repeat(REQUESTS)).expect("there is room for it");
    let unacknowledged = || {
        let mut bytes = 0;
        // SAFETY: TIOCOUTQ writes an int.
        assert_eq!(unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) }, 0);
        bytes
    };
    soon("the requests do not arrive", || unacknowledged() == 0);
    server.signal(libc::SIGTERM);
    server.signal(libc::SIGCONT);
    let mut replies = Vec::new();
    stream.read_to_end(&mut replies).expect("it replies, and closes");
    assert_eq!(replies.len(), REQUESTS * HELLO.len());
    assert!(replies.chunks(HELLO.len()).all(|reply| reply == HELLO));
    assert!(server.end().ends_with(&format!(" {REQUESTS} replies\n")));
    drop(idle);
}

#[test]
fn who_never_reads_costs_little_and_holds_up_nobody() {
    let server = Server::start(command(STAGE), &["--workers", "1"], PATIENCE);
    let mut other = server.connect();
    get(&mut other);
    let before = server.status("RssAnon");
    let mut greedy = narrow(server.address);
    let requests = GET.repeat(10_000);
    // A write that takes nothing for a second, while others are served: its replies have no place left.
    greedy.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let stuck = (0..1000).any(|_| greedy.write_all(&requests).is_err());
    assert!(stuck, "it took 290 MB of requests without a place for the replies");
    get(&mut other);
    // It is asked whether there is room, and not again and again what there is to read.
    assert_eq!(
        masks(&server).iter().filter(|mask| **mask & 5 == libc::EPOLLOUT as u64).count(),
        1,
        "{:x?}",
        masks(&server)
    );
    let kib = server.status("RssAnon") - before;
    assert!(kib < 1024, "{kib} KiB for one client");
    drop(greedy);
    server.stop();
}

#[test]
fn without_a_descriptor_to_spare_clients_wait_and_nobody_spins() {
    let server = Server::start(limited(STAGE, 32), &["--workers", "1"], PATIENCE);
    soon("it does not watch the listener, the stop and the clock", || watched(&server) == 3);
    let room = 32 - server.descriptors();
    let mut clients: Vec<_> = (0..room + 10).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(ask);
    clients[..room].iter_mut().for_each(take);
    // The listener is off the list: it is readable, and would be reported again and again.
    soon("the listener is still watched", || server.descriptors() == 32 && watched(&server) == 2 + room);
    // Those who leave make room for those who wait.
    let mut rest = clients.split_off(10);
    drop(clients);
    rest[room - 10..].iter_mut().for_each(take);
    rest.iter_mut().for_each(get);
    drop(rest.pop());
    soon("the listener is forgotten", || watched(&server) == 3 + room - 1);
    get(&mut server.connect());
    server.stop();
}

/// While the server is stopped all of them send, so one wait brings them together. In turn they ask for different
/// things.
#[test]
fn a_batch_gives_each_client_his_own_replies() {
    let server = Server::start(command(STAGE), &["--workers", "1"], PATIENCE);
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(get);
    let requests = |n: usize| match n % 3 {
        0 => String::from_utf8_lossy(GET).repeat(n + 1),
        1 => "HEAD /nowhere HTTP/1.1\r\nHost: lab\r\n\r\n".to_string(),
        _ => format!("POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: {n}\r\n\r\n{}", "x".repeat(n)),
    };
    let replies = |n: usize| match n % 3 {
        0 => String::from_utf8_lossy(HELLO).repeat(n + 1),
        1 => "HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\n".to_string(),
        _ => {
            let text = format!("{n} bytes stored\n");
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
        }
    };
    together(&server, || {
        for (n, client) in clients.iter_mut().enumerate() {
            client.write_all(requests(n).as_bytes()).expect("it takes them");
        }
    });
    for (n, client) in clients.iter_mut().enumerate() {
        let mut got = vec![0; replies(n).len()];
        client.read_exact(&mut got).expect("it replies");
        assert_eq!(String::from_utf8_lossy(&got), replies(n), "client {n}");
    }
    assert!(server.stop().ends_with("replies\n"));
}

/// 60 reads of 16 KiB bring 1.7 MiB of replies, which are not all put off to the end of the batch.
#[test]
fn what_a_batch_puts_off_is_bounded() {
    let server = Server::start(command(STAGE), &["--workers", "1"], PATIENCE);
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(get);
    let (before, count) = (server.status("VmHWM"), 16 * 1024 / GET.len());
    together(&server, || {
        clients.iter_mut().for_each(|client| client.write_all(&GET.repeat(count)).expect("it takes them"))
    });
    for client in &mut clients {
        (0..count).for_each(|_| take(client));
    }
    let more = server.status("VmHWM") - before;
    assert!(more < 800, "{more} KiB more");
    server.stop();
}

/// Does it while the server is stopped (`SIGSTOP`).
fn together(server: &Server, sends: impl FnOnce()) {
    server.signal(libc::SIGSTOP);
    soon("it is stopped", || threads(server, "State:").iter().all(|(_, state)| state.starts_with('T')));
    sends();
    server.signal(libc::SIGCONT);
}

/// The clock comes every second, whoever is there, and is taken back each time: otherwise every wait would end at once.
#[test]
fn between_two_ticks_of_the_clock_it_sleeps() {
    let server = Server::start(command(STAGE), &["--workers", "2"], PATIENCE);
    let mut client = server.connect();
    get(&mut client);
    // Two ticks or more.
    std::thread::sleep(Duration::from_millis(2500));
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.child.id())).expect("it is alive");
    let fields: Vec<_> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let used: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    assert!(used < 50, "idle, it has used {used} hundredths of a second");
    get(&mut client);
    server.stop();
}

/// A thread that stays on a core sends its packets from there, and on the loopback interface that is where they arrive.
#[test]
fn a_connection_goes_to_the_listener_of_its_core() {
    let first = Listener::bind_shared("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let second = first.sibling().expect("it is shared");
    first.steer_by_cpu(2).expect("the kernel takes the program");
    let address = first.local_addr().expect("it listens");
    let count = |listener: &Listener| std::iter::from_fn(|| listener.accept().expect("it accepts")).count();
    for core in cores() {
        let clients = std::thread::spawn(move || {
            stay_on(core);
            (0..20).map(|_| TcpStream::connect(address).expect("it listens")).collect::<Vec<_>>()
        });
        let _clients = clients.join().expect("it connects");
        let due = if core % 2 == 0 { [20, 0] } else { [0, 20] };
        assert_eq!([count(&first), count(&second)], due, "from core {core}");
    }
}

/// The names of its threads, each with what stands behind `field` in its status (`proc(5)`).
fn threads(server: &Server, field: &str) -> Vec<(String, String)> {
    let folder = fs::read_dir(format!("/proc/{}/task", server.child.id())).expect("it is alive");
    let texts = folder.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("status")).ok());
    let value = |text: &str, name| Some(text.lines().find_map(|line| line.strip_prefix(name))?.trim().to_string());
    texts.filter_map(|text| Some((value(&text, "Name:")?, value(&text, field)?))).collect()
}

/// A core that nobody may use is nobody's, and who has none is free.
#[test]
fn a_reactor_stays_on_the_cores_that_it_is_dealt_from() {
    let server = Server::start(command(STAGE), &["--workers", "2"], PATIENCE);
    let list =
        |n: usize| cores().into_iter().filter(|core| core % 2 == n).map(|core| core.to_string()).collect::<Vec<_>>();
    for n in [0, 1] {
        let due = if list(n).is_empty() { list(1 - n) } else { list(n) };
        let due = (format!("reactor-{}", n + 1), due.join(","));
        soon("it is there", || threads(&server, "Cpus_allowed_list:").contains(&due));
    }
    server.stop();
}

#[test]
fn the_clients_of_one_core_have_one_reactor() {
    for core in cores() {
        let server = Server::start(command(STAGE), &["--workers", "2"], PATIENCE);
        // It says where it listens before it has all its listeners; once its threads run, it has dealt.
        soon("both reactors run", || threads(&server, "State:").iter().any(|(name, _)| name == "reactor-2"));
        let address = server.address;
        let clients = std::thread::spawn(move || {
            stay_on(core);
            (0..20).map(|_| TcpStream::connect(address).expect("it listens")).collect::<Vec<_>>()
        });
        let clients = clients.join().expect("it connects");
        // A reactor watches its listener, its timer and the stop.
        let is_one = |all: Vec<Vec<u64>>| all.len() == 2 && all.iter().any(|list| list.len() == 3);
        soon("all 20 are on one list", || watched(&server) == 2 * 3 + 20 && is_one(lists(&server)));
        drop(clients);
        server.stop();
    }
}

/// Those that this thread may use.
fn cores() -> Vec<usize> {
    // SAFETY: all zeroes is an empty set, and the call writes just that.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect()
    }
}

/// This thread, and only it.
fn stay_on(core: usize) {
    // SAFETY: all zeroes is an empty set, and the call reads just that.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set), 0);
    }
}

/// Nobody runs until everybody has come, and the stop is raised with them: more than one batch waits to be accepted.
#[test]
fn told_to_stop_it_accepts_and_answers_whoever_is_waiting() {
    let server = Server::start(command(STAGE), &["--workers", "1"], PATIENCE);
    get(&mut server.connect());
    server.signal(libc::SIGSTOP);
    let mut clients: Vec<_> = (0..700).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(ask);
    server.signal(libc::SIGTERM);
    server.signal(libc::SIGCONT);
    clients.iter_mut().for_each(take);
    assert!(server.end().ends_with(" 701 replies\n"));
}

/// As many as this process may have open, of 10,000.
fn ten_thousand() -> usize {
    let mut files = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit(2) writes, and setrlimit(2) reads, the struct.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut files), 0);
        files.rlim_cur = files.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &files), 0);
    }
    (files.rlim_cur as usize).saturating_sub(1000).min(10_000)
}

#[test]
fn ten_thousand_clients_are_served_at_once_without_an_error() {
    let count = ten_thousand();
    for name in ["stage2_reactor", "stage4_fixed", "stage8_fixed", STAGE] {
        let server = Server::start(command(name), &[], PATIENCE);
        let warm: Vec<_> = (0..32).map(|_| server.connect()).collect();
        warm.into_iter().for_each(|mut client| get(&mut client));
        let before = server.status("RssAnon");
        let mut clients: Vec<_> = (0..count).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(ask);
        clients.iter_mut().for_each(take);
        clients.iter_mut().rev().for_each(get);
        let each = (server.status("RssAnon").saturating_sub(before)) * 1024 / count as u64;
        println!("{name}: {count} clients, {each} bytes each");
        if name == STAGE && count == 10_000 {
            assert!(each <= 128, "{each} bytes for an idle client");
        }
        drop(clients);
        let said = server.stop();
        assert!(said.contains(&format!(" {} replies", 32 + 2 * count)), "{name}: {said}");
    }
}

#[test]
fn curl_is_served() {
    if Command::new("curl").arg("-V").output().is_err() {
        return println!("skipped: there is no curl");
    }
    let server = Server::start(command(STAGE), &[], PATIENCE);
    let url = format!("http://{}", server.address);
    let folder = tempfile::tempdir().expect("there is room");
    let upload = folder.path().join("upload");
    fs::write(&upload, vec![b'x'; 10 << 20]).expect("there is room");
    let data = format!("@{}", upload.display());
    let long = format!("X: {}", "x".repeat(9000));
    let code = "\n%{http_code} %{num_connects}\n";
    for (arguments, says) in [
        (vec![url.as_str(), url.as_str()], "Hello, World!\n200 1\nHello, World!\n200 0\n"),
        (vec!["--http1.0", &url], "Hello, World!\n200 1\n"),
        (vec!["--head", "-o", "/dev/null", &url], "\n200 1\n"),
        (vec!["--data-binary", &data, &url], "10485760 bytes stored\n\n200 1\n"),
        (vec!["-H", "Transfer-Encoding: chunked", "-d", "x", &url], "1 bytes stored\n\n200 1\n"),
        (vec!["-H", &long, &url], "431 Request Header Fields Too Large\n\n431 1\n"),
        (vec!["--get", "-d", "q=1", &url], "Hello, World!\n200 1\n"),
    ] {
        let output = Command::new("curl").args(["-sS", "-w", code]).args(&arguments).output().expect("it runs");
        let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((said.as_ref(), failed.as_ref()), (says, ""), "{arguments:?}");
    }
    server.stop();
}

/// Every byte that the kernel is given has a value.
#[test]
fn valgrind_finds_no_fault_in_its_calls() {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "valgrind is missing (Debian: apt install valgrind)"
        );
        return println!("skipped: valgrind is missing (Debian: apt install valgrind)");
    }
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--error-exitcode=9", "--quiet"]).arg(binary(STAGE)).args(["--bare", "--limit", "0"]);
    valgrind.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(valgrind);
    assert_eq!(output.code(), Some(0), "{}", output.all());
}

//! Faults by construction: every stage that must serve, every line of it that makes a system call, every answer that
//! the manual page of the call knows. However the call ends, no client waits for ever, none gets a byte that it is not
//! owed, the others are served, and nothing is left open. A server that is refused what it needs to begin ends with a
//! sentence.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::catalogue::{self, Stage, Verdict};
use lab::http::HELLO;
use lab::server::Threads;
use lab::world::fault::{Answer, Call, Fault};

use crate::support::{Server, command, finish};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 16\r\n\r\n0123456789abcdef";
const STORED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n16 bytes stored\n";
/// So long without a byte is for ever: a safety net.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests of the client that sends them all at once.
const PIPELINED: usize = 40;

/// The first write of each line finds no room (`EAGAIN`).
const NO_ROOM: &str = "write:0:1:11";

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Served,
    /// The server has ended the connection before all was said.
    Cut,
}

/// One client: what it sends next, and all that it is owed for that.
struct Client {
    stream: TcpStream,
    is_cut: bool,
    got: Vec<u8>,
    owed: Vec<u8>,
}

impl Client {
    fn new(server: &Server) -> Result<Client, String> {
        let stream = TcpStream::connect(server.address).map_err(|error| format!("nobody listens any more: {error}"))?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Ok(Client { stream, is_cut: false, got: Vec::new(), owed: Vec::new() })
    }

    fn send(&mut self, bytes: &[u8], owed: &[u8]) {
        self.owed.extend_from_slice(owed);
        // A server that has cut the connection refuses it.
        _ = self.stream.write_all(bytes);
    }

    fn fin(&mut self) {
        _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads what is owed, or until the server ends it.
    fn take(&mut self) -> Result<End, String> {
        let mut buffer = [0; 4096];
        while !self.is_cut && self.got.len() < self.owed.len() {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.is_cut = true,
                Ok(n) => {
                    self.got.extend_from_slice(&buffer[..n]);
                    if self.owed.starts_with(&self.got) {
                        continue;
                    }
                    return Err(format!("a client got what it is not owed: {:?}", String::from_utf8_lossy(&self.got)));
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(format!(
                        "a client waits for ever: it has {} of {} bytes",
                        self.got.len(),
                        self.owed.len()
                    ));
                }
                Err(_) => self.is_cut = true,
            }
        }
        Ok(if self.is_cut { End::Cut } else { End::Served })
    }

    /// Reads to the end of the stream, which must come.
    fn take_end(&mut self) -> Result<End, String> {
        let end = self.take()?;
        if self.is_cut {
            return Ok(end);
        }
        let mut more = [0; 1];
        match self.stream.read(&mut more) {
            Ok(1..) => Err("a client got more than it is owed".to_string()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err("a client's connection is never closed".to_string())
            }
            Ok(_) | Err(_) => Ok(end),
        }
    }
}

/// What the clients do, and how many of them were cut.
fn play(server: &Server, stage: &Stage) -> Result<usize, String> {
    // Stage 3 keeps nothing between two reads, so what it is sent must arrive in one.
    let in_pieces = stage.chapter != 3;
    let mut cuts = Vec::new();
    let mut idle = Client::new(server)?;
    idle.send(GET, HELLO);
    cuts.push(idle.take()?);
    if in_pieces {
        let mut upload = Client::new(server)?;
        let (head, body) = POST.split_at(POST.len() - 9);
        upload.send(head, b"");
        // Another client's whole conversation comes in between.
        let mut other = Client::new(server)?;
        other.send(GET, HELLO);
        cuts.push(other.take()?);
        upload.send(body, STORED);
        upload.fin();
        cuts.push(upload.take_end()?);
        let mut many = Client::new(server)?;
        many.send(&GET.repeat(PIPELINED), &HELLO.repeat(PIPELINED));
        many.fin();
        cuts.push(many.take_end()?);
    }
    let mut last = Client::new(server)?;
    last.send(GET, HELLO);
    last.fin();
    cuts.push(last.take_end()?);
    // The first client is still there.
    let was_served = cuts[0] == End::Served;
    idle.send(GET, HELLO);
    let again = idle.take()?;
    cuts.push(if was_served { again } else { End::Served });
    idle.fin();
    cuts.push(if again == End::Served { idle.take_end()? } else { End::Served });
    Ok(cuts.into_iter().filter(|end| *end == End::Cut).count())
}

/// A line of a stage that makes a system call, and how often it does while [`play`] plays.
#[derive(Clone, Copy, Debug)]
struct Site {
    call: Call,
    line: u32,
    made: u64,
}

fn flags<'a>(stage: &'a Stage, fault: &'a str) -> Vec<&'a str> {
    let mut more: Vec<&str> = stage.flags().collect();
    more.extend(["--fault", fault]);
    if fault.starts_with("modify") && waits_for_room(stage) {
        more.extend(["--fault", NO_ROOM]);
    }
    if matches!(stage.threads, Threads::Workers | Threads::Reactors | Threads::Shards) {
        more.extend(["--workers", "2"]);
    }
    more
}

/// Whether it changes an entry of its interest list only where a client leaves no room.
fn waits_for_room(stage: &Stage) -> bool {
    stage.chapter >= 8 && stage.feature.is_none()
}

fn start(stage: &Stage, fault: &str) -> Server {
    Server::start(command(stage.program()), &flags(stage, fault), PATIENCE)
}

/// How many io_urings the server has.
fn rings(server: &Server) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).expect("it is alive").flatten();
    files.filter_map(|file| file.path().read_link().ok()).filter(|to| to.ends_with("anon_inode:[io_uring]")).count()
}

/// And how many descriptors it has open without a client.
fn sites(stage: &Stage, fault: &str) -> (Vec<Site>, usize) {
    let server = start(stage, fault);
    let mut first = Client::new(&server).expect("it listens");
    first.send(GET, HELLO);
    assert_eq!(first.take(), Ok(End::Served));
    // Each of the two reactors makes its ring itself, and the other one may have served that client.
    let begun = Instant::now();
    while stage.feature.is_some() && rings(&server) < 2 {
        assert!(begun.elapsed() < PATIENCE, "{}: a reactor has no ring", stage.name);
        std::thread::sleep(Duration::from_millis(1));
    }
    let open = server.descriptors() - 1;
    drop(first);
    assert_eq!(play(&server, stage), Ok(0), "{}: without a fault", stage.name);
    let said = server.stop();
    let site = |line: &str| {
        let mut words = line.split(':').map(str::trim);
        let (name, line, made) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let (call, _) = Call::ALL.into_iter().find(|(_, known)| *known == name)?;
        Some(Site { call, line, made })
    };
    let sites: Vec<Site> = said.lines().filter_map(site).collect();
    // The order to stop is an eventfd with another descriptor, and each of the two can be refused.
    let of = |call| sites.iter().filter(|site| site.call == call).count();
    assert!(of(Call::Listen) >= 1 && of(Call::Event) >= 2, "{}: {said}", stage.name);
    (sites, open)
}

/// How many clients this fault may cost their connection.
fn victims(fault: Fault) -> usize {
    match (fault.call, fault.answer) {
        (Call::Accept | Call::Accepted | Call::Wait | Call::Poll, _) => 0,
        (_, Answer::Errno(libc::EINTR)) | (Call::Read, Answer::Short) => 0,
        // Off the list goes the listener, or the order to stop.
        (Call::Delete, _) => 0,
        (Call::Add | Call::Modify | Call::Read | Call::Write, _) => 1,
        // The drain's, when all have gone.
        (Call::Timer, _) => 0,
        (Call::Listen | Call::Epoll | Call::Event | Call::Spawn | Call::Ring, _) => unreachable!("there is no server"),
    }
}

/// Whether without this there is no server: it is done before the first client comes.
fn is_for_the_start(stage: &Stage, site: Site, sites: &[Site]) -> bool {
    // The timer of a drain is made, and armed, when the server is told to stop.
    let drain = sites.iter().find(|site| site.call == Call::Timer && stage.drains);
    if drain.is_some_and(|drain| (drain.line..=drain.line + 1).contains(&site.line)) {
        return false;
    }
    match site.call {
        Call::Listen | Call::Epoll | Call::Event | Call::Timer | Call::Ring => true,
        Call::Spawn => stage.threads != Threads::PerConnection,
        // What is put on the interest list once in a server's life, by each of two reactors.
        Call::Add => site.made <= 2,
        Call::Accept | Call::Accepted | Call::Modify | Call::Delete | Call::Wait | Call::Poll => false,
        Call::Read | Call::Write => false,
    }
}

/// A server that is refused what it needs ends by itself, with one sentence.
fn judge_start(stage: &Stage, fault: Fault) -> Result<(), String> {
    let mut command = command(stage.program());
    command.args(["--serve", "127.0.0.1:0"]).args(flags(stage, &fault.to_string()));
    let output = finish(command);
    let begins = format!("{}: ", stage.name);
    let is_said = output.stderr.lines().count() == 1 && output.stderr.starts_with(&begins);
    if output.code() == Some(2) && is_said { Ok(()) } else { Err(format!("it did not say why: {}", output.all())) }
}

/// Stage 1 ends when a client's thread is refused. All that it has written before is right, and nobody waits for ever.
fn judge_end(server: Server, stage: &Stage) -> Result<(), String> {
    match play(&server, stage) {
        Err(why) if !why.starts_with("nobody listens any more") => return Err(why),
        _ => {}
    }
    match server.wait() {
        (Some(2), _) => Ok(()),
        (code, said) => Err(format!("it ended with {code:?}: {said}")),
    }
}

/// One run with one fault.
fn judge(stage: &Stage, fault: Fault, open: usize) -> Result<(), String> {
    let server = start(stage, &fault.to_string());
    if fault.call == Call::Spawn {
        return judge_end(server, stage);
    }
    let cut = play(&server, stage)?;
    if cut > victims(fault) {
        return Err(format!("{cut} clients were cut"));
    }
    let start = Instant::now();
    while server.descriptors() != open {
        if start.elapsed() > PATIENCE {
            return Err(format!("{} descriptors are open, and not {open}", server.descriptors()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    match server.finish() {
        (Some(0), _) => Ok(()),
        // Who cannot say how long it may take to stop does not try.
        (Some(2), _) if stage.drains && matches!(fault.call, Call::Timer | Call::Add | Call::Delete) => Ok(()),
        (code, said) => Err(format!("it ended with {code:?}: {said}")),
    }
}

/// Whether a stage holds the kernel to its word at this line: Linux allocates nothing where it changes an entry of an
/// interest list, or takes it off, and so has no error for one that is there (`ep_modify`, `ep_remove`).
fn must_succeed(stage: &Stage, site: Site) -> bool {
    let path = format!("{}/lab/stages/{}.rs", env!("CARGO_MANIFEST_DIR"), stage.program());
    let source = std::fs::read_to_string(path).expect("the stage is there");
    let line = source.lines().nth(site.line as usize - 1).expect("it has the line");
    matches!(site.call, Call::Modify | Call::Delete) && line.contains(".expect(")
}

/// Which numbers of a call are tried: the first, and one in the middle of the service.
fn numbers(site: Site) -> Vec<u64> {
    let mut numbers = vec![1, site.made / 2 + 1];
    numbers.dedup();
    numbers
}

#[test]
fn no_answer_of_a_system_call_hurts_any_other_client() {
    let is_built = |stage: &Stage| stage.feature.is_none() || (cfg!(feature = "uring") && has_uring(stage));
    let must_serve = |stage: &&Stage| stage.expect == Verdict::Serves && is_built(stage);
    let mut faults = Vec::new();
    for stage in catalogue::STAGES.iter().filter(must_serve) {
        let (mut sites, open) = self::sites(stage, "none");
        if waits_for_room(stage) {
            sites.extend(self::sites(stage, NO_ROOM).0.into_iter().filter(|site| site.call == Call::Modify));
        }
        for &site in sites.iter().filter(|site| !must_succeed(stage, **site)) {
            let is_start = is_for_the_start(stage, site, &sites);
            for number in numbers(site) {
                for &answer in site.call.answers() {
                    // It keeps nothing between two reads, and so cannot answer what arrives in pieces.
                    if stage.chapter == 3 && answer == Answer::Short && site.call == Call::Read {
                        continue;
                    }
                    if stage.feature.is_some() && !is_of_a_ring(site.call, answer) {
                        continue;
                    }
                    let fault = Fault { call: site.call, line: site.line, number, answer };
                    faults.push((stage, fault, (!is_start).then_some(open)));
                }
            }
        }
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some((stage, fault, open)) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(why) = open.map_or_else(|| judge_start(stage, *fault), |open| judge(stage, *fault, open)) {
                wrong.push(format!("{} --fault {fault}: {why}", stage.name));
            }
        }
        wrong
    };
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let wrong = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it judges")).collect::<Vec<_>>()
    });
    let starts = faults.iter().filter(|(_, _, open)| open.is_none()).count();
    println!("{} faults, {starts} of them before the first client", faults.len());
    assert!(faults.len() > 600 && starts > 150, "there are only {} faults, {starts} at the start", faults.len());
    for (call, name) in Call::ALL {
        let is_walked = faults.iter().any(|(_, fault, _)| fault.call == call);
        let is_of_a_ring = matches!(call, Call::Ring | Call::Accepted);
        assert!(is_walked || (is_of_a_ring && !cfg!(feature = "uring")), "no {name} was walked");
    }
    assert!(wrong.is_empty(), "{} of {} faults:\n{}", wrong.len(), faults.len(), wrong.join("\n"));
}

/// Whether a completion can have this answer: a ring waits instead of being interrupted, and takes a buffer full.
fn is_of_a_ring(call: Call, answer: Answer) -> bool {
    answer != Answer::Errno(libc::EINTR) && (call, answer) != (Call::Read, Answer::Short)
}

/// Whether the kernel has io_uring, and lets it be used.
fn has_uring(stage: &Stage) -> bool {
    let mut command = command(stage.program());
    command.args(["--serve", "127.0.0.1:0"]).args(flags(stage, "ring:0:1:12"));
    let has = finish(command).code() != Some(3);
    if !has {
        eprintln!("skipped: {}: the kernel has no io_uring", stage.name);
    }
    has
}

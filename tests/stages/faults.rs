//! Faults by construction: every stage that must serve, every line of it that makes a system call, every answer that the manual
//! page of the call knows. However the call ends, no client waits for ever, none gets a byte that it is not owed, the others
//! are served, and nothing is left open.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lab::catalogue::{self, Stage, Verdict};
use lab::http::HELLO;
use lab::server::Threads;
use lab::world::fault::{Answer, Call, Fault};

use crate::support::{Server, command};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 16\r\n\r\n0123456789abcdef";
const STORED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n16 bytes stored\n";
/// So long without a byte is for ever: a safety net.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests of the client that sends them all at once.
const PIPELINED: usize = 40;

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

fn start(stage: &Stage, fault: &str) -> Server {
    let mut more: Vec<&str> = stage.flags().collect();
    more.extend(["--fault", fault]);
    if matches!(stage.threads, Threads::Workers | Threads::Reactors | Threads::Shards) {
        more.extend(["--workers", "2"]);
    }
    Server::start(command(stage.program()), &more, PATIENCE)
}

/// And how many descriptors it has open without a client.
fn sites(stage: &Stage) -> (Vec<Site>, usize) {
    let server = start(stage, "none");
    let mut first = Client::new(&server).expect("it listens");
    first.send(GET, HELLO);
    assert_eq!(first.take(), Ok(End::Served));
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
    (said.lines().filter_map(site).collect(), open)
}

/// How many clients this fault may cost their connection.
fn victims(fault: Fault) -> usize {
    match (fault.call, fault.answer) {
        (Call::Accept | Call::Wait, _) => 0,
        (_, Answer::Errno(libc::EINTR)) | (Call::Read, Answer::Short) => 0,
        (Call::Add | Call::Read | Call::Write, _) => 1,
    }
}

/// One run with one fault.
fn judge(stage: &Stage, fault: Fault, open: usize) -> Result<(), String> {
    let server = start(stage, &fault.to_string());
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
        (code, said) => Err(format!("it ended with {code:?}: {said}")),
    }
}

/// Which numbers of a call are tried: the first, and one in the middle of the service.
fn numbers(site: Site) -> Vec<u64> {
    let mut numbers = vec![1, site.made / 2 + 1];
    numbers.dedup();
    numbers
}

#[test]
fn no_answer_of_a_system_call_hurts_any_other_client() {
    // io_uring's answers are completions.
    let must_serve = |stage: &&Stage| stage.expect == Verdict::Serves && stage.feature.is_none();
    let mut triples = Vec::new();
    for stage in catalogue::STAGES.iter().filter(must_serve) {
        let (sites, open) = sites(stage);
        for site in sites {
            // What is put on the interest list once in a server's life is there before its clients: without it there is no server.
            if site.call == Call::Add && site.made <= 2 {
                continue;
            }
            for number in numbers(site) {
                for &answer in site.call.answers() {
                    // It keeps nothing between two reads, and so cannot answer what arrives in pieces.
                    if stage.chapter == 3 && answer == Answer::Short && site.call == Call::Read {
                        continue;
                    }
                    triples.push((stage, Fault { call: site.call, line: site.line, number, answer }, open));
                }
            }
        }
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some((stage, fault, open)) = triples.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(why) = judge(stage, *fault, *open) {
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
    println!("{} faults", triples.len());
    assert!(triples.len() > 300, "there are only {} faults", triples.len());
    assert!(wrong.is_empty(), "{} of {} faults:\n{}", wrong.len(), triples.len(), wrong.join("\n"));
}

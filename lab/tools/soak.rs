//! `lab soak`: a stage under a mixed load for as long as somebody likes. Every byte of every reply is compared; memory
//! and descriptors are sampled, and the server must end as small as it began.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};

use super::cost::{Server, field, thousands};
use crate::catalogue::{self, Stage, Verdict};
use crate::direct::client::break_off;
use crate::direct::quiescence::at_rest_unrecorded;
use crate::http::HELLO;
use crate::runner::{explain, say};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n";
/// The width of the plot, in columns.
const COLUMNS: usize = 60;
/// How long the server may take to come to rest, and to close what its clients have left.
const PATIENCE: Duration = Duration::from_secs(10);
/// Two looks that are so far apart say that other work keeps servers and clients waiting.
const STALL: Duration = Duration::from_secs(3);
/// Resident memory that may come on top before it counts as growth, in KiB.
const SLACK: u64 = 1024;

/// The verb's command line.
pub fn command() -> Command {
    let number = |name: &'static str, default: &'static str, help: &'static str| {
        let parser = value_parser!(u64).range(1..);
        Arg::new(name).long(name).value_name("N").value_parser(parser).default_value(default).help(help)
    };
    Command::new("soak")
        .about("Keep a stage under a mixed load: every byte is compared, memory and descriptors are watched")
        .long_about(
            "Starts a stage with --serve and plays many clients against it: requests one by one and many at once, uploads in \
             pieces, half-closed and broken connections, clients that say nothing and clients that read late. Each reply is \
             compared byte by byte. Once a second it reads the server's resident memory and counts its descriptors. Status 1 \
             if a client got a wrong byte or waited for ever, if memory grew, if a descriptor is left, or if the server did not \
             end in order.",
        )
        .arg(Arg::new("stage").long("stage").value_name("NAME").default_value("stage9_sharded").help("Which stage"))
        .arg(number("seconds", "60", "How long"))
        .arg(number("clients", "32", "How many at a time"))
        .arg(number("seed", "1", "What the clients do follows from it"))
}

/// Soaks and prints; status 1 if something was wrong, 2 if this machine does not allow it.
pub fn run(matches: &ArgMatches) -> ExitCode {
    let number = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let name = matches.get_one::<String>("stage").expect("it has a default");
    let (seconds, clients, seed) = (number("seconds"), number("clients"), number("seed"));
    let soaked = soak(name, Duration::from_secs(seconds), clients, seed).and_then(|soaked| {
        let wrong = soaked.wrong();
        say(&soaked.report(name, &wrong))?;
        Ok(wrong.is_empty())
    });
    match soaked {
        Ok(is_right) => ExitCode::from(u8::from(!is_right)),
        Err(error) => {
            let _ = writeln!(io::stderr(), "lab soak: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What a client does in one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Manner {
    OneByOne,
    AtOnce,
    Upload,
    HalfClosed,
    Broken,
    Silent,
    HalfAHead,
    ReadsLate,
}

impl Manner {
    const ALL: [(Manner, &str); 8] = [
        (Manner::OneByOne, "requests one by one"),
        (Manner::AtOnce, "many requests at once"),
        (Manner::Upload, "an upload in pieces"),
        (Manner::HalfClosed, "a request and a FIN"),
        (Manner::Broken, "an RST in the middle"),
        (Manner::Silent, "nothing said"),
        (Manner::HalfAHead, "half a head, and gone"),
        (Manner::ReadsLate, "many requests, read late"),
    ];

    /// Whether a stage promises to serve such a client. Stage 3 answers what arrives whole; until chapter 7 a client
    /// that leaves its replies untaken may be cut.
    fn suits(self, stage: &Stage) -> bool {
        match self {
            Manner::AtOnce | Manner::Upload => stage.chapter != 3,
            Manner::ReadsLate => stage.chapter >= 7 || stage.chapter == 1,
            _ => true,
        }
    }
}

/// A small generator of numbers (xorshift64): the same seed, the same clients.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    /// Conversations that went as they must.
    right: BTreeMap<Manner, u64>,
    replies: u64,
    bytes: u64,
    /// Those that did not, and why.
    wrong: Vec<String>,
}

impl Seen {
    fn add(&mut self, other: Seen) {
        for (manner, count) in other.right {
            *self.right.entry(manner).or_default() += count;
        }
        self.replies += other.replies;
        self.bytes += other.bytes;
        self.wrong.extend(other.wrong);
    }
}

/// What a process has open: each descriptor, and what `/proc/PID/fd` says that it leads to.
type Descriptors = BTreeSet<(u32, String)>;

/// One look at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// Resident memory, in KiB.
    resident: u64,
    descriptors: u64,
}

struct Soaked {
    seen: Seen,
    samples: Vec<Sample>,
    took: Duration,
    /// The longest time between two looks at the server, which are to be a second apart.
    gap: Duration,
    /// Before the first client and after the last.
    idle: [Descriptors; 2],
    /// How the server ended, if not in order.
    end: Option<String>,
}

fn soak(name: &str, time: Duration, clients: u64, seed: u64) -> Result<Soaked> {
    let stage = catalogue::find(name).with_context(|| format!("there is no stage `{name}`; see `lab list`"))?;
    ensure!(stage.expect == Verdict::Serves, "{name} does not serve; choose a fixed stage");
    let manners: Vec<Manner> = Manner::ALL.into_iter().map(|(manner, _)| manner).filter(|m| m.suits(stage)).collect();
    let server = Server::start(name, &[])?;
    let mut seen = Seen::default();
    let before = before_the_first(&server, &mut seen)?;
    let (is_over, start) = (AtomicBool::new(false), Instant::now());
    let (samples, took, gap) = std::thread::scope(|scope| {
        let play = |n: u64| {
            let mut numbers = Numbers(seed.wrapping_mul(1_000_003).wrapping_add(n + 1) | 1);
            let mut seen = Seen::default();
            while !is_over.load(Ordering::Relaxed) && seen.wrong.is_empty() {
                let manner = manners[numbers.below(manners.len() as u64) as usize];
                match converse(&server, manner, &mut numbers, &mut seen) {
                    Ok(()) => *seen.right.entry(manner).or_default() += 1,
                    Err(error) => seen.wrong.push(format!("{manner:?}: {error:#}")),
                }
            }
            seen
        };
        let start_client = |n| std::thread::Builder::new().spawn_scoped(scope, move || play(n));
        let threads: io::Result<Vec<_>> = (0..clients).map(start_client).collect();
        let threads = threads.map_err(|error| {
            // Those that have begun end, and the scope with them.
            is_over.store(true, Ordering::Relaxed);
            explain(error, "not every client got a thread")
        })?;
        let (mut samples, mut last, mut gap) = (Vec::new(), start.elapsed(), Duration::ZERO);
        while start.elapsed() < time && threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_secs(1).min(time.saturating_sub(start.elapsed())));
            samples.extend(look(&server));
            let now = start.elapsed();
            gap = gap.max(now - last);
            last = now;
        }
        is_over.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| seen.add(thread.join().expect("a client does not panic")));
        anyhow::Ok((samples, last, gap))
    })?;
    // The last connections are closed when the server has read their ends.
    let after = descriptors_once(&server, |now| *now == before)?;
    let end = server.stop().err().map(|error| format!("{error:#}"));
    Ok(Soaked { seen, samples, took, gap, idle: [before, after], end })
}

/// What the server has open when it has served one client, and has come to rest: the first reply may come from one of its
/// threads while another has yet to open what it needs.
fn before_the_first(server: &Server, seen: &mut Seen) -> Result<Descriptors> {
    let first = server.connect(0)?;
    server.get(&first)?;
    let start = Instant::now();
    while at_rest_unrecorded(server.pid() as libc::pid_t)?.is_none() {
        ensure!(start.elapsed() < PATIENCE, "the server does not come to rest after its first client");
        std::thread::sleep(Duration::from_millis(10));
    }
    let with_one = descriptors(server)?;
    drop(first);
    let without = descriptors_once(server, |now| now.len() < with_one.len())?;
    if without.len() >= with_one.len() {
        seen.wrong.push("the first client has gone, and its descriptor is left".to_string());
    }
    Ok(without)
}

/// What the server has open as soon as it `is_due`, or after [`PATIENCE`].
fn descriptors_once(server: &Server, is_due: impl Fn(&Descriptors) -> bool) -> Result<Descriptors> {
    let start = Instant::now();
    loop {
        let now = descriptors(server)?;
        if is_due(&now) || start.elapsed() >= PATIENCE {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn descriptors(server: &Server) -> Result<Descriptors> {
    let path = format!("/proc/{}/fd", server.pid());
    let entries = fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?;
    let named = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        // One that is closed in between is none.
        let leads_to = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, leads_to.display().to_string()))
    });
    Ok(named.collect())
}

fn look(server: &Server) -> Result<Sample> {
    let path = format!("/proc/{}", server.pid());
    let status = fs::read_to_string(format!("{path}/status")).with_context(|| format!("cannot read {path}/status"))?;
    let resident = field(&status, "VmRSS").context("the kernel does not count VmRSS")? as u64;
    let descriptors = fs::read_dir(format!("{path}/fd")).with_context(|| format!("cannot read {path}/fd"))?.count();
    Ok(Sample { resident, descriptors: descriptors as u64 })
}

fn take(stream: &mut TcpStream, owed: &[u8], seen: &mut Seen) -> Result<()> {
    let mut got = vec![0; owed.len()];
    stream.read_exact(&mut got).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow::anyhow!("it waits for ever"),
        _ => anyhow::Error::new(error).context("it was cut"),
    })?;
    ensure!(got == owed, "it got {:?}", String::from_utf8_lossy(&got[..got.len().min(200)]));
    seen.replies += 1;
    seen.bytes += owed.len() as u64;
    Ok(())
}

fn take_end(stream: &mut TcpStream) -> Result<()> {
    match stream.read(&mut [0; 1]) {
        Ok(0) => Ok(()),
        Ok(_) => bail!("it got more than it is owed"),
        Err(error) => Err(error).context("its stream did not end"),
    }
}

/// One connection, from its first byte to its last.
fn converse(server: &Server, manner: Manner, numbers: &mut Numbers, seen: &mut Seen) -> Result<()> {
    let mut stream = server.connect(0)?;
    match manner {
        Manner::OneByOne => {
            for _ in 0..1 + numbers.below(20) {
                stream.write_all(GET)?;
                take(&mut stream, HELLO, seen)?;
            }
        }
        Manner::AtOnce => {
            let count = 2 + numbers.below(50) as usize;
            stream.write_all(&GET.repeat(count))?;
            for _ in 0..count {
                take(&mut stream, HELLO, seen)?;
            }
        }
        Manner::Upload => {
            let length = 1 + numbers.below(100_000) as usize;
            let mut left = format!("POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: {length}\r\n\r\n").into_bytes();
            left.resize(left.len() + length, b'x');
            let mut left = &left[..];
            while !left.is_empty() {
                let (piece, rest) = left.split_at(left.len().min(1 + numbers.below(20_000) as usize));
                stream.write_all(piece)?;
                left = rest;
            }
            let body = format!("{length} bytes stored\n");
            let owed = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            take(&mut stream, owed.as_bytes(), seen)?;
        }
        Manner::HalfClosed => {
            stream.write_all(GET)?;
            stream.shutdown(Shutdown::Write)?;
            take(&mut stream, HELLO, seen)?;
            take_end(&mut stream)?;
        }
        Manner::Broken => {
            let length = 1 + numbers.below(2 * GET.len() as u64) as usize;
            stream.write_all(&GET.repeat(2)[..length])?;
            break_off(stream)?;
        }
        Manner::Silent => {}
        Manner::HalfAHead => stream.write_all(&GET[..1 + numbers.below(GET.len() as u64 - 1) as usize])?,
        Manner::ReadsLate => {
            let count = 500 + numbers.below(500) as usize;
            stream.write_all(&GET.repeat(count))?;
            std::thread::sleep(Duration::from_millis(numbers.below(50)));
            for _ in 0..count {
                take(&mut stream, HELLO, seen)?;
            }
        }
    }
    Ok(())
}

/// Whether memory has grown: from the second quarter, when the server has met all its clients once, to the last.
fn has_grown(samples: &[Sample]) -> Option<(u64, u64)> {
    let quarter = samples.len() / 4;
    let mean = |part: &[Sample]| part.iter().map(|sample| sample.resident).sum::<u64>() / part.len().max(1) as u64;
    let (before, after) = (mean(&samples[quarter..2 * quarter]), mean(&samples[samples.len() - quarter..]));
    (quarter > 0 && after > before + before / 10 + SLACK).then_some((before, after))
}

/// The highest value of each of [`COLUMNS`] parts, as a line of blocks, with the least and the most.
fn plot(values: &[u64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (least, most) = (values.iter().min().copied().unwrap_or(0), values.iter().max().copied().unwrap_or(0));
    let columns = COLUMNS.min(values.len());
    let part = |n: usize| &values[n * values.len() / columns..(n + 1) * values.len() / columns];
    let block = |value: u64| BLOCKS[((value - least) * 7 / (most - least).max(1)) as usize];
    let line: String = (0..columns).map(|n| block(part(n).iter().max().copied().unwrap_or(least))).collect();
    format!("{line}  {} to {}", thousands(least as i64), thousands(most as i64))
}

impl Soaked {
    /// What was not as it must be.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = self.seen.wrong.clone();
        if let Some((before, after)) = has_grown(&self.samples) {
            wrong.push(format!("memory grew from {before} to {after} KiB"));
        }
        let [before, after] = &self.idle;
        wrong.extend(after.difference(before).map(|(fd, what)| format!("descriptor {fd} is left: {what}")));
        wrong.extend(before.difference(after).map(|(fd, what)| format!("descriptor {fd} is gone: {what}")));
        wrong.extend(self.end.clone());
        wrong
    }

    fn report(&self, name: &str, wrong: &[String]) -> String {
        let mut text = format!("{name}, {:.0} s\n\n", self.took.as_secs_f64());
        for (manner, what) in Manner::ALL {
            if let Some(count) = self.seen.right.get(&manner) {
                let _ = writeln!(text, "  {:<26} {:>14}", what, thousands(*count as i64));
            }
        }
        let (replies, bytes) = (thousands(self.seen.replies as i64), thousands(self.seen.bytes as i64));
        let _ = writeln!(text, "\n  {replies} replies, {bytes} bytes, each compared\n");
        let series = |of: fn(&Sample) -> u64| plot(&self.samples.iter().map(of).collect::<Vec<_>>());
        let _ = writeln!(text, "  KiB          {}", series(|sample| sample.resident));
        let _ = writeln!(text, "  descriptors  {}\n", series(|sample| sample.descriptors));
        match wrong {
            [] => text += "  nothing wrong\n",
            wrong => wrong.iter().for_each(|one| text += &format!("  WRONG: {one}\n")),
        }
        if self.gap > STALL {
            let gap = self.gap.as_secs();
            let _ = writeln!(
                text,
                "  This machine had no time: {gap} s between two looks that are a second apart. A stage gives a request ten,\n  \
                 and a client that is kept waiting itself is told so (408)."
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Stdio;

    use super::*;

    fn samples(resident: impl Iterator<Item = u64>) -> Vec<Sample> {
        resident.map(|resident| Sample { resident, descriptors: 9 }).collect()
    }

    fn soaked(samples: Vec<Sample>) -> Soaked {
        let (took, gap) = (Duration::from_millis(40_400), Duration::from_secs(1));
        Soaked { seen: Seen::default(), samples, took, gap, idle: [open(9), open(9)], end: None }
    }

    fn open(count: u32) -> Descriptors {
        (0..count).map(|fd| (fd, format!("socket:[{fd}]"))).collect()
    }

    #[test]
    fn a_leak_is_growth_and_a_warm_server_is_not() {
        assert_eq!(has_grown(&samples((0..100).map(|n| 10_000 + 50 * n))), Some((11_850, 14_350)));
        // It has come to its size in the first quarter, and moves a little.
        assert_eq!(has_grown(&samples((0..100).map(|n| 4_000 + 200 * u64::min(n, 25) + n % 7))), None);
        assert_eq!(has_grown(&samples(0..3)), None);
    }

    #[test]
    fn whatever_is_wrong_is_said() {
        let clean = || soaked(samples([5_000; 40].into_iter()));
        assert_eq!(clean().wrong(), Vec::<String>::new());
        let cases = [
            Soaked { idle: [open(9), open(10)], ..clean() },
            Soaked { idle: [open(9), open(8)], ..clean() },
            Soaked { end: Some("status 101".to_string()), ..clean() },
            Soaked { seen: Seen { wrong: vec!["it waits for ever".to_string()], ..Seen::default() }, ..clean() },
            soaked(samples((0..40).map(|n| 5_000 + 200 * n))),
        ];
        for wrong in cases {
            assert_eq!(wrong.wrong().len(), 1);
            assert!(wrong.report("stage", &wrong.wrong()).contains("WRONG: "));
        }
        let said = |gap| Soaked { gap: Duration::from_secs(gap), ..clean() }.report("stage", &[]);
        assert!(said(1).starts_with("stage, 40 s\n") && !said(1).contains("no time"));
        assert!(said(12).contains("no time: 12 s between two looks"));
    }

    #[test]
    fn a_descriptor_that_is_left_is_named_and_so_is_another_in_the_place_of_one_that_is_gone() {
        let mut after = open(9);
        after.remove(&(4, "socket:[4]".to_string()));
        after.insert((4, "/dev/null".to_string()));
        let wrong = Soaked { idle: [open(9), after], ..soaked(Vec::new()) }.wrong();
        assert_eq!(wrong, ["descriptor 4 is left: /dev/null", "descriptor 4 is gone: socket:[4]"]);
    }

    /// It answers while it still has something to open, as a server does whose threads start one after the other.
    #[test]
    fn what_a_server_opens_after_its_first_reply_is_not_left_by_a_client() {
        let script = "exec 8</dev/null; i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; exec 7</dev/null; read x; \
                      exec 8<&-; read x";
        let mut command = std::process::Command::new("sh");
        let mut process = command.args(["-c", script]).stdin(Stdio::piped()).spawn().expect("there is a shell");
        let mut client_is_gone = process.stdin.take().expect("it is piped");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Server::of(process, listener.local_addr().expect("it has one"));
        let mut seen = Seen::default();
        let before = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("it comes");
                stream.read_exact(&mut [0; GET.len()]).expect("it asks");
                stream.write_all(HELLO).expect("there is room");
                assert_eq!(stream.read(&mut [0; 1]).expect("it closes"), 0);
                client_is_gone.write_all(b"\n").expect("it reads");
            });
            before_the_first(&server, &mut seen).expect("it comes to rest")
        });
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        let numbers: Vec<u32> = before.iter().map(|(fd, _)| *fd).collect();
        assert!(numbers.contains(&7) && !numbers.contains(&8), "{before:?}");
    }

    #[test]
    fn the_plot_has_the_highest_of_each_part() {
        assert_eq!(plot(&[1, 8]), "▁█  1 to 8");
        assert_eq!(plot(&[5, 5, 5]), "▁▁▁  5 to 5");
        let mut many = vec![0; 600];
        many[299] = 7;
        let line = plot(&many);
        assert_eq!(line.chars().position(|block| block == '█'), Some(29), "{line}");
    }

    #[test]
    fn a_wrong_reply_a_cut_and_silence_are_told_apart() {
        for (said, why) in [(&b"HTTP/1.1 200 OK"[..], "it was cut"), (&[b'x'; HELLO.len()][..], "it got")] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let mut client = TcpStream::connect(listener.local_addr().expect("it has one")).expect("it listens");
            let (mut server, _) = listener.accept().expect("it comes");
            server.write_all(said).expect("there is room");
            drop(server);
            let error = take(&mut client, HELLO, &mut Seen::default()).expect_err("it is wrong");
            assert!(error.to_string().starts_with(why), "{error:#}");
        }
    }
}

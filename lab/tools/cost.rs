//! `lab cost`: what a thread for every connection costs, against one thread for all. Starts the two servers, opens idle
//! connections to each, and reads what the kernel counts. No times: threads, bytes, and their ratio.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command as Program, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::http::HELLO;
use crate::runner::say;

const STAGES: [&str; 2] = ["stage1_blocking", "stage2_reactor"];
/// Every so many connections one is asked a GET, whose reply says that all before it are accepted.
const SAMPLE: usize = 50;
/// Connections from one address: an address has some 28,000 ports for them (`ip_local_port_range`).
const FROM_ONE_ADDRESS: usize = 20_000;
/// Descriptors besides the connections.
const SPARE: libc::rlim_t = 32;
/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The verb's command line.
pub fn command() -> Command {
    Command::new("cost")
        .about("Measure what 1,000 connections cost stage 1 and stage 2: threads and memory")
        .long_about(
            "Starts stage1_blocking and stage2_reactor with --serve, one after the other, opens idle connections to each, \
             asks a GET on one of every fifty, and reads what the kernel counts: threads, resident memory (VmRSS) and page \
             tables (VmPTE) from /proc/PID/status, kernel stacks (KernelStack) from /proc/meminfo. Each figure is the \
             difference to the same server without a connection. What the kernel keeps for a socket is the same for both \
             and not counted.",
        )
        .after_help(
            "Build the stages first: cargo build --release --bins. Each connection takes a descriptor here and one in the \
             server; the limit on open files is raised as far as it goes.",
        )
        .arg(
            Arg::new("connections")
                .long("connections")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=1_000_000))
                .value_delimiter(',')
                .default_value("1000")
                .help("How many connections; several numbers with commas: 1000,10000"),
        )
}

/// Measures and prints the table; one sentence and status 2 if this machine does not allow it.
pub fn run(matches: &ArgMatches) -> ExitCode {
    let counts: Vec<usize> =
        matches.get_many::<u32>("connections").expect("it has a default").map(|n| *n as usize).collect();
    match measure_all(&counts).and_then(|table| say(&table)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "lab cost: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// What the kernel counts for a server; memory in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    threads: i64,
    resident: i64,
    page_tables: i64,
    /// Of the whole machine.
    kernel_stacks: i64,
}

/// One line of the table.
struct CostRow {
    stage: &'static str,
    connections: usize,
    asked: usize,
    /// In all.
    threads: i64,
    /// More than without a connection.
    more: Counts,
}

impl CostRow {
    /// KiB in all.
    fn memory(&self) -> i64 {
        self.more.resident + self.more.page_tables + self.more.kernel_stacks
    }
}

fn measure_all(counts: &[usize]) -> Result<String> {
    let most = counts.iter().copied().max().unwrap_or_default();
    raise_file_limit(most)?;
    let mut rows = Vec::new();
    for connections in counts {
        for stage in STAGES {
            rows.push(measure(stage, *connections).with_context(|| format!("{stage} with {connections} connections"))?);
        }
    }
    Ok(table(&rows))
}

/// The limit on open files, for this process and the servers that it starts.
pub(crate) fn raise_file_limit(connections: usize) -> Result<()> {
    let need = connections as libc::rlim_t + SPARE;
    let files = crate::world::kernel::raise_file_limit(need);
    ensure!(
        files.rlim_cur >= need,
        "{} connections need {} open files, and the hard limit is {}; ask for fewer, or raise it (`ulimit -Hn {need}`, \
         as root)",
        thousands(connections as i64),
        thousands(need as i64),
        thousands(files.rlim_max as i64)
    );
    Ok(())
}

fn measure(stage: &'static str, connections: usize) -> Result<CostRow> {
    let mut server = Server::start(stage, &[])?;
    server.get(&server.connect(0)?)?;
    let before = server.settled(None)?;
    let (mut streams, mut asked) = (Vec::with_capacity(connections), 0);
    for index in 0..connections {
        let stream = server.connect(index)?;
        // A server that accepts slowly would lose the next one: its queue is short.
        if index % SAMPLE == SAMPLE - 1 || index + 1 == connections {
            server.get(&stream)?;
            asked += 1;
        }
        streams.push(stream);
    }
    let after = server.settled((stage == STAGES[0]).then_some(connections as i64 + 1))?;
    drop(streams);
    server.stop()?;
    let more = Counts {
        threads: after.threads - before.threads,
        resident: after.resident - before.resident,
        page_tables: after.page_tables - before.page_tables,
        // Of the whole machine: what a server without a new thread shows there is not its own.
        kernel_stacks: if after.threads > before.threads { after.kernel_stacks - before.kernel_stacks } else { 0 },
    };
    Ok(CostRow { stage, connections, asked, threads: after.threads, more })
}

/// A stage under `--serve`. It is killed when this is dropped, or when this process dies.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a stage with flags of its own.
    pub(crate) fn start(stage: &str, flags: &[&str]) -> Result<Server> {
        let program = beside_this_program(stage)?;
        let mut command = Program::new(&program);
        command.args(flags).args(["--serve", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: one system call, between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut process = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        let mut line = String::new();
        let out = process.stdout.take().expect("it is piped");
        let mut server = Server { process, address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into() };
        BufReader::new(out).read_line(&mut line).context("the server says nothing")?;
        let address = line.split([' ', ';']).find_map(|word| word.parse().ok());
        let Some(address) = address else {
            let status = server.process.wait().context("the server is not to be waited for")?;
            bail!("the server does not say where it listens, and ends: {status}");
        };
        server.address = address;
        Ok(server)
    }

    /// A process that listens there, of whoever started it.
    #[cfg(test)]
    pub(crate) fn of(process: Child, address: SocketAddr) -> Server {
        Server { process, address }
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A connection, from the next address when one has no ports left.
    pub(crate) fn connect(&self, index: usize) -> Result<TcpStream> {
        let from =
            Ipv4Addr::new(127, 0, (index / FROM_ONE_ADDRESS / 250) as u8, (index / FROM_ONE_ADDRESS % 250) as u8 + 1);
        let stream = connect_from(from, self.address).with_context(|| format!("connection {} failed", index + 1))?;
        stream.set_read_timeout(Some(PATIENCE)).context("no read timeout")?;
        Ok(stream)
    }

    /// Asks for the reply, and takes it.
    pub(crate) fn get(&self, mut stream: &TcpStream) -> Result<()> {
        let mut reply = vec![0; HELLO.len()];
        stream.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n").and_then(|()| stream.read_exact(&mut reply)).context(
            "a GET was not answered: the server may be at a limit of its own (threads: `ulimit -u`, pids.max)",
        )?;
        ensure!(reply == HELLO, "a GET got another reply than the one that is due");
        Ok(())
    }

    /// What is counted once nothing changes any more, and there are so many `threads`.
    fn settled(&mut self, threads: Option<i64>) -> Result<Counts> {
        let start = Instant::now();
        let mut last = self.read()?;
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.read()?;
            let same = (now.threads, now.resident) == (last.threads, last.resident);
            if same && threads.is_none_or(|threads| threads == now.threads) {
                return Ok(now);
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "the server has {} threads and {} KiB, and does not settle",
                now.threads,
                now.resident
            );
            last = now;
        }
    }

    fn read(&self) -> Result<Counts> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let machine = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
        let number =
            |text: &str, name: &str| field(text, name).with_context(|| format!("the kernel does not count {name}"));
        Ok(Counts {
            threads: number(&status, "Threads")?,
            resident: number(&status, "VmRSS")?,
            page_tables: number(&status, "VmPTE")?,
            kernel_stacks: number(&machine, "KernelStack")?,
        })
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(mut self) -> Result<()> {
        // SAFETY: the child was not waited for, so the number is its own.
        unsafe { libc::kill(self.process.id() as libc::pid_t, libc::SIGTERM) };
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().context("the server is not to be waited for")? {
                ensure!(status.success(), "the server ended badly: {status}, signal {:?}", status.signal());
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "the server did not end in {PATIENCE:?} after SIGTERM");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn beside_this_program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe().context("cannot find this program itself")?.with_file_name(name);
    if !path.exists() {
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        bail!("there is no {}; build the stages first (`cargo build{profile} --bins`)", path.display());
    }
    Ok(path)
}

/// Connects from an address of this machine. The port is chosen at connect(2), not at bind(2), so that it need only be
/// free towards this server (`IP_BIND_ADDRESS_NO_PORT`, `ip(7)`).
pub(crate) fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let check = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    let SocketAddr::V4(to) = to else { return Err(ErrorKind::Unsupported.into()) };
    let name = |address: Ipv4Addr, port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    let (from, to, yes) = (name(from, 0), name(*to.ip(), to.port()), 1 as libc::c_int);
    let length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the new descriptor has one owner from the start; the kernel reads the locals, of their true sizes.
    unsafe {
        let socket = check(libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
        let stream = TcpStream::from(OwnedFd::from_raw_fd(socket));
        let fd = stream.as_raw_fd();
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        check(libc::setsockopt(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, (&raw const yes).cast(), size))?;
        check(libc::bind(fd, (&raw const from).cast(), length))?;
        check(libc::connect(fd, (&raw const to).cast(), length))?;
        Ok(stream)
    }
}

/// The number behind `name:` in a file of /proc.
pub(crate) fn field(text: &str, name: &str) -> Option<i64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// `12,345`.
pub(crate) fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_string() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn table(rows: &[CostRow]) -> String {
    let mut text = "idle connections; memory in KiB, more than without a connection\n\n".to_string();
    text += "  server           connections  threads    VmRSS   VmPTE  KernelStack       each\n";
    for row in rows {
        let _ = writeln!(
            text,
            "  {:<15}  {:>11}  {:>7}  {:>7}  {:>6}  {:>11}  {:>5.1} KiB",
            row.stage,
            thousands(row.connections as i64),
            thousands(row.threads),
            thousands(row.more.resident),
            thousands(row.more.page_tables),
            thousands(row.more.kernel_stacks),
            row.memory() as f64 / row.connections as f64,
        );
    }
    text.push('\n');
    for pair in rows.chunks_exact(STAGES.len()) {
        let _ = writeln!(
            text,
            "  {} connections: {} threads against {}, and {:.1} times the memory",
            thousands(pair[0].connections as i64),
            thousands(pair[0].threads),
            thousands(pair[1].threads),
            pair[0].memory() as f64 / pair[1].memory().max(1) as f64,
        );
    }
    let asked = rows.iter().map(|row| row.asked).sum::<usize>();
    let _ = writeln!(
        text,
        "\n  {} connections were asked a GET, and each replied. KernelStack is the whole\n  machine's: what others \
         start meanwhile shows there.",
        thousands(asked as i64)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_count_of_proc_is_found_by_its_whole_name() {
        let status = "VmPeak:\t  99 kB\nVmRSS:\t   1234 kB\nThreads:\t5\n";
        assert_eq!(field(status, "VmRSS"), Some(1234));
        assert_eq!(field(status, "Threads"), Some(5));
        assert_eq!(field(status, "Vm"), None);
    }

    #[test]
    fn a_connection_comes_from_the_address_that_was_asked_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let from = Ipv4Addr::new(127, 0, 0, 2);
        let stream = connect_from(from, listener.local_addr().expect("it has one")).expect("it listens");
        assert_eq!(stream.local_addr().expect("it is bound").ip(), from);
        let (_, seen) = listener.accept().expect("it is there");
        assert_eq!(seen.ip(), from);
    }

    #[test]
    fn thousands_are_parted() {
        let text: Vec<_> = [0, 999, 1000, 1_234_567, -1000].into_iter().map(thousands).collect();
        assert_eq!(text, ["0", "999", "1,000", "1,234,567", "-1,000"]);
    }
}

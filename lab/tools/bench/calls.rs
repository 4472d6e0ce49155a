//! System calls for each request, in a run of its own: counted by `perf stat`, which hardly slows the server down, or
//! else by `strace -c`, which stops it twice at each call. A server that is slowed down finds more in its sockets at
//! each read and more events in each wait, so what strace counts is a lower bound.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::embedded::{Crowd, Expected};
use super::model::{Calls, Live, Work};
use super::system;

/// How long the server is watched under load.
const TIME: Duration = Duration::from_secs(1);
/// How long a tool may take to attach to all threads.
const PATIENCE: Duration = Duration::from_secs(20);
/// The tracepoint of every system call.
const ALL: &str = "raw_syscalls:sys_enter";
/// Where the kernel says which system calls have a tracepoint of their own.
const FOLDERS: [&str; 2] = ["/sys/kernel/tracing/events/syscalls", "/sys/kernel/debug/tracing/events/syscalls"];
/// The calls that perf is to count by name, the likeliest first; the rest is in the sum.
const NAMES: [&str; 24] = [
    "recvfrom",
    "sendto",
    "read",
    "write",
    "epoll_wait",
    "epoll_ctl",
    "futex",
    "io_uring_enter",
    "epoll_pwait",
    "readv",
    "writev",
    "recvmsg",
    "sendmsg",
    "accept4",
    "close",
    "shutdown",
    "poll",
    "ppoll",
    "sched_yield",
    "clock_nanosleep",
    "timerfd_settime",
    "mmap",
    "munmap",
    "brk",
];

/// Counts, with perf if it may, else with strace. The connections are open before, and closed after.
///
/// # Errors
/// If neither is there and may look into the process; the sentence names them.
pub fn count(live: &Live, work: &Work, expected: &Expected) -> Result<Calls> {
    let pid = live.pid.context("its process is not known; say --pid")?;
    let mut crowd = Crowd::connect(work, live.address, expected)?;
    let (perf, why) = match Perf::start(pid) {
        Ok(perf) => (Some(perf), None),
        Err(error) => (None, Some(error)),
    };
    let (tool, load, counts) = match perf {
        Some(perf) => ("perf", crowd.ask_for(TIME)?, perf.end()?),
        None => {
            let strace = Strace::start(pid).map_err(|error| match &why {
                Some(why) => error.context(format!("{why:#}")),
                None => error,
            })?;
            ("strace", crowd.ask_for(TIME)?, strace.end()?)
        }
    };
    ensure!(load.answered > 0, "not one request was answered meanwhile");
    let Counts { all, by_name, missing } = counts;
    ensure!(all > 0, "{tool} counted nothing");
    Ok(Calls { tool, requests: load.answered, all, by_name, missing, errors: load.errors.total() })
}

/// What a tool has counted.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    all: u64,
    /// The most frequent first.
    by_name: Vec<(String, u64)>,
    /// Of [`NAMES`], those that it could not count: they are in the sum only.
    missing: Vec<&'static str>,
}

/// A file of ours that is gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("lab-bench-{}.{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A running `perf stat`: it counts for as long as its command runs, and that waits for the end of its input.
struct Perf {
    child: Child,
    table: Scratch,
    /// What it is to count by name.
    names: Vec<&'static str>,
}

impl Perf {
    fn start(pid: u32) -> Result<Perf> {
        let table = Scratch::new("perf");
        let folder = tracepoints();
        let known = |name: &&str| folder.is_none_or(|folder| folder.join(format!("sys_enter_{name}")).exists());
        let names: Vec<&str> = NAMES.into_iter().filter(known).collect();
        // perf opens a descriptor for each of them and each thread, and ends at a name that the kernel does not have.
        let most = if folder.is_none() { 0 } else { (file_limit() / threads(pid).max(1)).saturating_sub(2) };
        let named = names.iter().take(most).map(|name| format!(",syscalls:sys_enter_{name}")).collect::<String>();
        let pids: Vec<String> = system::tree(pid).iter().map(u32::to_string).collect();
        let mut command = Command::new("perf");
        command.args(["stat", "-x,", "-e", &format!("{ALL}{named}"), "-p", &pids.join(","), "-o"]).arg(&table.0);
        command.args(["--", "sh", "-c", "echo counting; cat"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut perf =
            Perf { child: child.context("perf is not installed (Debian: `apt install linux-perf`)")?, table, names };
        let mut line = String::new();
        let out = perf.child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).context("perf says nothing")?;
        if line.trim() != "counting" {
            let said = perf.child.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
            let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it ended").trim();
            bail!("perf may not count system calls: {first}");
        }
        Ok(perf)
    }

    fn end(mut self) -> Result<Counts> {
        drop(self.child.stdin.take());
        self.child.wait().context("perf is not to be waited for")?;
        let table = fs::read_to_string(&self.table.0).context("perf wrote nothing")?;
        Ok(parse_perf(&table, &self.names))
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        // The command ends with its input, and perf with the command.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The folder of the tracepoints. Where nobody has mounted it, perf does on its first use.
fn tracepoints() -> Option<&'static Path> {
    let find = || FOLDERS.iter().map(Path::new).find(|folder| folder.exists());
    find().or_else(|| {
        let mut first = Command::new("perf");
        first.args(["stat", "-e", ALL, "--", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        first.status().ok().and_then(|_| find())
    })
}

/// The table of `perf stat -x,`: count, unit, event. In the place of a count it may say why there is none.
fn parse_perf(table: &str, names: &[&'static str]) -> Counts {
    let count = |event: &str| {
        let rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        rows.filter(|row| row.get(2) == Some(&event)).find_map(|row| row[0].parse::<u64>().ok())
    };
    let (mut by_name, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match count(&format!("syscalls:sys_enter_{name}")) {
            Some(0) => {}
            Some(count) => by_name.push((name.to_string(), count)),
            None => missing.push(*name),
        }
    }
    by_name.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Counts { all: count(ALL).unwrap_or(0), by_name, missing }
}

/// A running strace; killed when this is dropped, which lets the server go on.
struct Strace {
    child: Child,
    table: Scratch,
}

impl Strace {
    /// Attached to every thread of the server.
    fn start(pid: u32) -> Result<Strace> {
        let table = Scratch::new("strace");
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-qq", "-o"]).arg(&table.0);
        for pid in system::tree(pid) {
            command.args(["-p", &pid.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut strace =
            Strace { child: child.context("strace is not installed (Debian: `apt install strace`)")?, table };
        strace.attach(pid)?;
        Ok(strace)
    }

    fn attach(&mut self, pid: u32) -> Result<()> {
        let start = Instant::now();
        while !traced(pid) {
            if let Some(status) = self.child.try_wait()? {
                let said = self.child.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
                bail!("strace may not attach to it ({status}): {}", said.lines().next().unwrap_or_default());
            }
            ensure!(start.elapsed() < PATIENCE, "strace does not attach to it");
            std::thread::sleep(Duration::from_millis(5));
        }
        // A thread that is taken hold of is not stopped yet: strace is through with all of them when it sleeps.
        let (tracer, mut last) = (self.child.id(), 0.0);
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let used = system::cpu_seconds(tracer)?.total();
            if used == last || start.elapsed() > PATIENCE {
                return Ok(());
            }
            last = used;
        }
    }

    /// SIGINT: it detaches and writes its table.
    fn end(mut self) -> Result<Counts> {
        // SAFETY: the child was not waited for, so the number is its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGINT) };
        self.child.wait().context("strace is not to be waited for")?;
        let table = fs::read_to_string(&self.table.0).context("strace wrote nothing")?;
        let by_name = parse_strace(&table);
        Ok(Counts { all: by_name.iter().map(|(_, count)| count).sum(), by_name, missing: Vec::new() })
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many threads a process and its descendants have.
fn threads(pid: u32) -> usize {
    let count = |pid| fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    system::tree(pid).into_iter().map(count).sum()
}

/// The limit on open files that a child of ours may use up.
fn file_limit() -> usize {
    crate::world::kernel::raise_file_limit(0).rlim_max as usize
}

/// Whether somebody traces each thread of a process and its descendants.
fn traced(pid: u32) -> bool {
    system::tree(pid).into_iter().all(|pid| {
        let mut threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.all(|thread| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            crate::tools::cost::field(&status, "TracerPid").is_none_or(|tracer| tracer != 0)
        })
    })
}

/// The table of `strace -c`: share, seconds, each, calls, errors (or nothing), name.
fn parse_strace(table: &str) -> Vec<(String, u64)> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = fields.last().filter(|name| **name != "total")?;
        fields.first()?.parse::<f64>().ok()?;
        Some((name.to_string(), fields.get(3)?.parse().ok()?))
    };
    let mut rows: Vec<(String, u64)> = table.lines().filter_map(row).collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfs_table_is_read_with_the_sum_apart_and_what_has_no_count_is_missing() {
        let table = "# started on Sun\n\n300,,raw_syscalls:sys_enter,5,100.00,,\n100,,syscalls:sys_enter_read,5,100.00,,\n\
                     150,,syscalls:sys_enter_sendto,5,100.00,,\n0,,syscalls:sys_enter_brk,5,100.00,,\n\
                     <not counted>,,syscalls:sys_enter_poll,0,100.00,,\n";
        let by_name = vec![("sendto".to_string(), 150), ("read".to_string(), 100)];
        let counts = parse_perf(table, &["read", "brk", "poll", "sendto", "mmap"]);
        assert_eq!(counts, Counts { all: 300, by_name, missing: vec!["poll", "mmap"] });
        let nothing = "<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n";
        assert_eq!(parse_perf(nothing, &[]), Counts { all: 0, by_name: Vec::new(), missing: Vec::new() });
    }

    #[test]
    fn straces_table_is_read_with_and_without_errors_in_a_row() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     \x20 60.00    0.003000           3      1000       500 read\n\
                     \x20 40.00    0.002000           1      2000           sendto\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.005000           1      3000       500 total\n";
        assert_eq!(parse_strace(table), [("sendto".to_string(), 2000), ("read".to_string(), 1000)]);
        assert!(parse_strace("strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n").is_empty());
    }
}

//! System calls for each request: the server under `strace -c`, in a run of its own, since each call then stops the server
//! and costs many times what it does otherwise. So the counts are the server's, and the speed is not: where one wait brings
//! many events, it brings more of them to a server that is slowed down.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::embedded::{Crowd, Expected};
use super::measure::{Live, Work};
use super::system;

/// How long the server is traced under load.
const TIME: Duration = Duration::from_secs(1);
/// How long strace may take to attach to all threads.
const PATIENCE: Duration = Duration::from_secs(20);

/// System calls that a load took.
pub struct Calls {
    /// Replies under the trace.
    pub requests: u64,
    /// Calls by their names, the most frequent first.
    pub by_name: Vec<(String, u64)>,
    pub errors: u64,
}

impl Calls {
    /// Of all kinds, for each request.
    pub fn per_request(&self) -> f64 {
        self.by_name.iter().map(|(_, count)| count).sum::<u64>() as f64 / self.requests as f64
    }
}

/// Counts. The connections are open before, and closed after.
///
/// # Errors
/// If `strace` is missing or may not look into the process; the sentence names it.
pub fn count(live: &Live, work: &Work, expected: &Expected) -> Result<Calls> {
    let pid = live.pid.context("its process is not known; say --pid")?;
    let mut crowd = Crowd::connect(work, live.address, expected)?;
    let file = std::env::temp_dir().join(format!("lab-bench-{}.strace", std::process::id()));
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-qq", "-o"]).arg(&file);
    for pid in system::tree(pid) {
        command.args(["-p", &pid.to_string()]);
    }
    let tracer = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut tracer = Tracer(tracer.context("strace is not installed (Debian: `apt install strace`)")?);
    tracer.attach(pid)?;
    let load = crowd.ask_for(TIME)?;
    tracer.detach()?;
    drop(crowd);
    let table = fs::read_to_string(&file).context("strace wrote nothing")?;
    let _ = fs::remove_file(&file);
    ensure!(load.answered > 0, "not one request was answered under the trace");
    let by_name = parse(&table);
    ensure!(!by_name.is_empty(), "strace counted nothing");
    Ok(Calls { requests: load.answered, by_name, errors: load.errors.total() })
}

/// A running strace; killed when this is dropped, which lets the server go on.
struct Tracer(Child);

impl Tracer {
    /// Until every thread of the server is traced.
    fn attach(&mut self, pid: u32) -> Result<()> {
        let start = Instant::now();
        while !traced(pid) {
            if let Some(status) = self.0.try_wait()? {
                let said = self.0.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
                bail!("strace may not attach to it ({status}): {}", said.lines().next().unwrap_or_default());
            }
            ensure!(start.elapsed() < PATIENCE, "strace does not attach to it");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// SIGINT: it detaches and writes its table.
    fn detach(mut self) -> Result<()> {
        // SAFETY: the child was not waited for, so the number is its own.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGINT) };
        self.0.wait().context("strace is not to be waited for")?;
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether somebody traces each thread of a process and its descendants.
fn traced(pid: u32) -> bool {
    system::tree(pid).into_iter().all(|pid| {
        let mut threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.all(|thread| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            crate::cost::field(&status, "TracerPid").is_none_or(|tracer| tracer != 0)
        })
    })
}

/// The table of `strace -c`: share, seconds, each, calls, errors (or nothing), name.
fn parse(table: &str) -> Vec<(String, u64)> {
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
    fn the_table_is_read_with_and_without_errors_in_a_row() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     \x20 60.00    0.003000           3      1000       500 read\n\
                     \x20 40.00    0.002000           1      2000           sendto\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.005000           1      3000       500 total\n";
        assert_eq!(parse(table), [("sendto".to_string(), 2000), ("read".to_string(), 1000)]);
        assert!(parse("strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n").is_empty());
    }
}

//! `--repeat`: the exhibit many times, in environments that change malloc, the cores and the load.

use std::io::{self, IsTerminal, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::cli::Options;
use super::end::{End, NOT_HERE, say};
use super::process;
use crate::autopsy::verdicts;
use crate::catalogue::Stage;
use crate::words::signal_name;
use crate::world::kernel;
use crate::world::sync::spawn_scoped;

/// An environment to run in.
struct Environment {
    name: &'static str,
    variable: Option<(&'static str, &'static str)>,
    one_core: bool,
    busy: bool,
}

const PLAIN: Environment = Environment { name: "plain", variable: None, one_core: false, busy: false };

const ENVIRONMENTS: [Environment; 7] = [
    PLAIN,
    Environment { name: "one core", one_core: true, ..PLAIN },
    Environment { name: "two busy loops", busy: true, ..PLAIN },
    Environment { name: "MALLOC_ARENA_MAX=1", variable: Some(("MALLOC_ARENA_MAX", "1")), ..PLAIN },
    Environment { name: "MALLOC_PERTURB_=165", variable: Some(("MALLOC_PERTURB_", "165")), ..PLAIN },
    Environment { name: "tcache_count=0", variable: Some(("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")), ..PLAIN },
    Environment { name: "MALLOC_TOP_PAD_=1000000", variable: Some(("MALLOC_TOP_PAD_", "1000000")), ..PLAIN },
];

/// The exit status of a lab that failed: no end of a server.
const LAB_FAILED: i32 = 70;

/// What came of one environment.
#[derive(Clone, Default)]
struct Row {
    right: u64,
    /// How the others ended.
    wrong: Vec<String>,
    millis: Vec<f64>,
}

/// Runs the exhibit `times` times.
pub fn run(stage: &'static Stage, options: &Options, times: u64) -> Result<End> {
    let program = std::env::current_exe().context("cannot find this program itself")?;
    let (rows, first) = runs(&program, stage, options, times)?;
    if options.json {
        say(&format!("{:#}\n", to_json(stage, &rows, times, first.as_deref())))?;
    } else {
        say(&table(stage, &rows, times, first.as_deref()))?;
    }
    Ok(end_of(&rows, times))
}

/// What came of so many runs in each environment, and how the first ended under an order of the reader's own.
fn runs(program: &Path, stage: &Stage, options: &Options, times: u64) -> Result<(Vec<Row>, Option<String>)> {
    let mut rows = vec![Row::default(); ENVIRONMENTS.len()];
    let mut first = None;
    for index in 0..times {
        let which = (index % ENVIRONMENTS.len() as u64) as usize;
        let (end, millis) = once(program, stage, options, &ENVIRONMENTS[which], &mut first)?;
        match end {
            None => rows[which].right += 1,
            Some(end) => rows[which].wrong.push(end),
        }
        rows[which].millis.push(millis);
        let mut err = io::stderr();
        if err.is_terminal() {
            let _ = write!(err, "\r{} of {times}\x1b[K\r", index + 1);
        }
    }
    Ok((rows, first))
}

/// All of them must have ended as they must.
fn end_of(rows: &[Row], times: u64) -> End {
    let right: u64 = rows.iter().map(|row| row.right).sum();
    if right == times {
        return End::Code(0);
    }
    End::Said(1, format!("{} of {times} runs did not end as they must", times - right))
}

/// Its drop ends the busy loops, whichever way the run is left.
struct Rest<'a>(&'a AtomicBool);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// One run: `None` if it ended as it must, else how it ended; and how many milliseconds it took. `first`: how the first run ended
/// under an order of the reader's own, which is how all must.
fn once(
    program: &Path,
    stage: &Stage,
    options: &Options,
    environment: &Environment,
    first: &mut Option<String>,
) -> Result<(Option<String>, f64)> {
    let mut command = Command::new(program);
    command.args(["--workers", &options.workers.to_string()]);
    let flags = options.flags;
    for (asked, flag) in [
        (flags.level, "--level"),
        (flags.once, "--lose-edge"),
        (flags.tail, "--tail"),
        (flags.reuseport, "--reuseport"),
    ] {
        command.args(asked.then_some(flag));
    }
    if let Some(heap) = options.heap {
        command.args(["--heap", heap.name()]);
    }
    if let Some(schedule) = &options.schedule {
        command.arg("--schedule").arg(schedule);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(environment.variable);
    let one_core = environment.one_core;
    // SAFETY: only system calls on locals, between fork and exec.
    unsafe {
        command.pre_exec(move || {
            process::no_core_dump();
            if one_core {
                let mut found = false;
                kernel::pin_to_cores(|_| !std::mem::replace(&mut found, true))?;
            }
            Ok(())
        });
    }
    let busy = AtomicBool::new(environment.busy);
    std::thread::scope(|scope| {
        let _rest = Rest(&busy);
        if environment.busy {
            for _ in 0..2 {
                spawn_scoped(scope, || {
                    while busy.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
        }
        let start = Instant::now();
        let output = command.output();
        let took = start.elapsed();
        let output = output.with_context(|| format!("cannot run {}", program.display()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        check(stage, output.status, &stderr)?;
        Ok((wrong_end(stage, options, first, output.status, &stderr), process::millis(took)))
    })
}

/// What holds for the machine need not be seen so many times: such a run ends all.
fn check(stage: &Stage, status: ExitStatus, stderr: &str) -> Result<()> {
    let said = stderr.lines().last().unwrap_or_default();
    let said = said.strip_prefix(stage.program()).and_then(|said| said.strip_prefix(": ")).unwrap_or(said);
    match status.code() {
        Some(process::UNABLE) => bail!("{said}"),
        Some(process::IMPOSSIBLE) => {
            let why = said.strip_prefix(NOT_HERE).unwrap_or(said).to_string();
            Err(io::Error::new(io::ErrorKind::Unsupported, why).into())
        }
        _ => Ok(()),
    }
}

/// How the run ended, if not as it must.
fn wrong_end(
    stage: &Stage,
    options: &Options,
    first: &mut Option<String>,
    status: ExitStatus,
    stderr: &str,
) -> Option<String> {
    let end = match (status.signal(), status.code()) {
        (Some(signal), _) => signal_name(signal),
        (None, Some(code)) => format!("exit {code}"),
        (None, None) => "no end".to_string(),
    };
    let end = format!("{end} {}", stderr.lines().last().unwrap_or_default()).trim_end().to_string();
    let right = match options.schedule {
        Some(_) => status.code() != Some(LAB_FAILED) && *first.get_or_insert_with(|| end.clone()) == end,
        None => verdicts::case(stage.expect).is_met(stage, options.heap.unwrap_or(stage.heap), status, stderr),
    };
    (!right).then_some(end)
}

pub fn median(millis: &[f64]) -> f64 {
    let mut sorted = millis.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn max(millis: &[f64]) -> f64 {
    millis.iter().copied().fold(0.0, f64::max)
}

/// How each run must end.
fn must(stage: &Stage, first: Option<&str>) -> String {
    first.map_or_else(|| verdicts::case(stage.expect).in_table(), |first| format!("{first}, as the first"))
}

fn table(stage: &Stage, rows: &[Row], times: u64, first: Option<&str>) -> String {
    let mut text = format!("{} --repeat {times}: each run must end by {}\n\n", stage.name, must(stage, first));
    text += "  environment               runs   right    median       max\n";
    let line = |name: &str, right: u64, millis: &[f64]| {
        let (runs, median, max) = (millis.len(), median(millis), max(millis));
        format!("  {name:<24} {runs:>5}  {right:>6}  {median:>5.1} ms  {max:>5.1} ms\n")
    };
    for (environment, row) in ENVIRONMENTS.iter().zip(rows).filter(|(_, row)| !row.millis.is_empty()) {
        text += &line(environment.name, row.right, &row.millis);
    }
    let all: Vec<f64> = rows.iter().flat_map(|row| row.millis.iter().copied()).collect();
    text += &line("all", rows.iter().map(|row| row.right).sum(), &all);
    for (environment, row) in ENVIRONMENTS.iter().zip(rows) {
        for end in row.wrong.iter().take(5) {
            text += &format!("\n  not as it must ({}): {end}\n", environment.name);
        }
    }
    text
}

fn to_json(stage: &Stage, rows: &[Row], times: u64, first: Option<&str>) -> serde_json::Value {
    let rows: Vec<_> = ENVIRONMENTS
        .iter()
        .zip(rows)
        .map(|(environment, row)| {
            json!({
                "environment": environment.name,
                "runs": row.millis.len(),
                "right": row.right,
                "wrong": row.wrong,
                "median_ms": median(&row.millis),
                "max_ms": max(&row.millis),
            })
        })
        .collect();
    json!({ "stage": stage.name, "runs": times, "must_end_by": must(stage, first), "environments": rows })
}

#[cfg(test)]
mod tests;

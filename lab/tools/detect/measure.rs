//! One cell: builds the program as the tool wants it, runs it, and counts the runs in which the tool reported
//! something.

use std::collections::BTreeMap;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::reports::{self, Kinds, MARKER};
use super::{Cell, Order, Tool, is_correct};
use crate::catalogue::Stage;
use crate::runner::process;
use crate::words::signal_name;

/// A run that has not ended after so many seconds never will: a safety net, since under valgrind a run takes seconds.
const LIMIT: u32 = 600;

/// The most runs of a search.
const SEARCHED: u64 = 300;
/// A correct program is searched from one seed where a broken one is from so many.
const CONTROL: u64 = 10;

/// What clippy knows of locks, threads and ownership beyond its default lints. (The rest of `pedantic` and `nursery` is
/// about documentation and style, and has something to say of every file.)
const LINTS: [&str; 6] = [
    "clippy::non_send_fields_in_send_ty",
    "clippy::significant_drop_tightening",
    "clippy::significant_drop_in_scrutinee",
    "clippy::mutex_atomic",
    "clippy::rc_mutex",
    "clippy::mem_forget",
];

/// How much to measure for a cell.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many runs.
    pub runs: u64,
    /// How many rounds of the scenario in a run under stress.
    pub rounds: u64,
}

/// The version of a tool; `Err` names what is missing, and how to get it.
pub fn version(tool: Tool) -> Result<String, String> {
    let nightly = "a nightly compiler is missing: rustup toolchain install nightly";
    let (program, arguments, missing): (&str, &[&str], &str) = match tool {
        Tool::Rustc | Tool::Nothing => ("rustc", &["--version"], "rustc is missing"),
        Tool::Clippy => ("cargo", &["clippy", "--version"], "clippy is missing: rustup component add clippy"),
        Tool::Models => return Ok(loom_version()),
        _ if tool.is_search() => return Ok(concat!("epoll-autopsy ", env!("CARGO_PKG_VERSION")).to_string()),
        Tool::Address | Tool::Thread | Tool::ThreadAlone => ("rustc", &["+nightly", "--version"], nightly),
        _ => ("valgrind", &["--version"], "valgrind is missing: apt install valgrind, or your system's own"),
    };
    let output = clean(program).args(arguments).output().map_err(|_| missing.to_string())?;
    if !output.status.success() {
        return Err(missing.to_string());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The version of loom that the models are built with.
fn loom_version() -> String {
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = lock.split_once("name = \"loom\"\nversion = \"").and_then(|(_, rest)| rest.split('"').next());
    format!("loom {}", version.unwrap_or("of an unknown version"))
}

/// A command with nothing in its environment that changes how a tool or malloc works.
fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let tool = ["ASAN_", "TSAN_", "LSAN_", "MALLOC_", "VALGRIND_"].iter().any(|start| text.starts_with(start));
        let one = ["GLIBC_TUNABLES", "LD_PRELOAD", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC"];
        // What `cargo run` sets for a program would make another `cargo` build everything anew.
        let cargo = text.starts_with("CARGO_PKG_") || text == "CARGO_MANIFEST_DIR" || text == "CARGO";
        if tool || cargo || one.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Measures one cell.
///
/// # Errors
/// If the program does not build as the tool wants it, or a run ends in a way that says nothing about the tool.
pub fn measure(stage: &'static Stage, tool: Tool, order: Order, settings: Settings) -> Result<Cell> {
    let (program, flags) = stage.name.split_once(' ').unwrap_or((stage.name, ""));
    let mut cell = Cell::new(stage.name, tool, order);
    match tool {
        Tool::Rustc | Tool::Clippy => {
            let mut command = clean("cargo");
            command.arg(if tool == Tool::Rustc { "check" } else { "clippy" });
            command.args(["--quiet", "--message-format=json", "--bin", program]);
            if tool == Tool::Clippy {
                command.arg("--").args(LINTS.iter().flat_map(|lint| ["-W", lint]));
            }
            let output = command.output().context("cargo does not run")?;
            let kinds = reports::compiler(&text(&output.stdout), program);
            ensure!(output.status.success() || !kinds.is_empty(), "{}", text(&output.stderr));
            cell.add(kinds);
        }
        Tool::Models => {
            let output = clean("cargo").args(["test", "--quiet", "--test", "loom", "--", program]).output();
            let output = output.context("cargo does not run")?;
            let said = text(&output.stdout);
            let models = reports::models(&said, program)
                .map_err(|name| anyhow::anyhow!("the model {name} fails: cargo test --test loom -- {name}"))?;
            ensure!(!models.is_empty(), "there is no model of it\n{said}{}", text(&output.stderr));
            for (_, kind) in models {
                cell.add(kind.into_iter().collect());
            }
        }
        _ if tool.is_search() => {
            let built = build(program, tool)?;
            // A correct program is under as many seeds as a control needs.
            let seeds = if is_correct(stage) { settings.runs.div_ceil(CONTROL) } else { settings.runs };
            for seed in 0..seeds {
                search(&mut cell, clean(&built).args(flags.split_whitespace()), seed)?;
            }
        }
        _ => {
            let built = build(program, tool)?;
            for _ in 0..settings.runs {
                let mut command = under(&built, tool);
                command.args(flags.split_whitespace());
                match order {
                    Order::Stress => {
                        let rounds = settings.rounds.to_string();
                        command.args(["--wild", "--json", "--seconds", "600", "--rounds", &rounds])
                    }
                    // No tool: the exhibit as it is. The tools watch malloc.
                    _ if tool == Tool::Nothing => &mut command,
                    _ => command.args(["--heap", "malloc", "--limit", "300"]),
                };
                one_run(&mut cell, stage, &mut command)?;
            }
        }
    }
    Ok(cell)
}

/// Lets the program search once, from a seed of its own, and puts what it found into the cell, and in which run.
fn search(cell: &mut Cell, command: &mut Command, seed: u64) -> Result<()> {
    let (runs, seed) = (SEARCHED.to_string(), (1 + seed * SEARCHED).to_string());
    command.args(["--search", "--strategy", cell.tool.id(), "--depth", if cell.tool == Tool::Pct { "3" } else { "2" }]);
    command.args(["--runs", &runs, "--seed", &seed, "--seconds", "600", "--output", "/dev/null", "--json"]);
    let (output, _) = finish(command)?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("no JSON from {command:?}: {}\n{}", output.status, text(&output.stderr)))?;
    let found = said["search"]["found"].as_str();
    if found.is_some() {
        let run = said["search"]["run"].as_u64().context("no number of the run")?;
        // The calm run comes before the orders that are drawn.
        cell.tries.push(if cell.tool == Tool::Delays { run } else { run.saturating_sub(1) });
    }
    cell.add(found.map(str::to_string).into_iter().collect());
    Ok(())
}

/// The folder of the builds for the tools.
fn folder() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into())).join("caught")
}

/// Builds `program` for `tool`; where it is.
fn build(program: &str, tool: Tool) -> Result<PathBuf> {
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = clean("cargo");
    let (name, flags) = match tool {
        Tool::Address => ("asan", "-Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer"),
        Tool::Thread => ("tsan", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg lab_tsan"),
        Tool::ThreadAlone => ("tsan-alone", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"),
        _ => ("plain", ""),
    };
    let release = tool == Tool::Nothing || tool.is_search();
    let target = folder().join(name);
    if !flags.is_empty() {
        command.arg("+nightly").env("RUSTFLAGS", flags);
    }
    command.args(["build", "--quiet", "--bin", program, "--target", &machine]).arg("--target-dir").arg(&target);
    command.args(release.then_some("--release"));
    let output = command.output().context("cargo does not run")?;
    ensure!(output.status.success(), "it does not build:\n{}", text(&output.stderr));
    Ok(target.join(machine).join(if release { "release" } else { "debug" }).join(program))
}

/// The command that runs `program` under `tool`.
fn under(program: &Path, tool: Tool) -> Command {
    let which = match tool {
        Tool::Memcheck => "memcheck",
        Tool::Helgrind => "helgrind",
        Tool::Drd => "drd",
        Tool::Address | Tool::Thread | Tool::ThreadAlone => {
            // With much randomness in the address space (vm.mmap_rnd_bits above 28), sanitizers may not start.
            let machine = std::env::consts::ARCH;
            let fixed =
                clean("setarch").args([machine, "-R", "true"]).output().is_ok_and(|output| output.status.success());
            let mut command = if fixed { clean("setarch") } else { clean(program) };
            if fixed {
                command.args([machine, "-R"]).arg(program);
            }
            // Kinds are counted, and no frames.
            command.envs([("ASAN_OPTIONS", "symbolize=0"), ("TSAN_OPTIONS", "symbolize=0")]);
            return command;
        }
        _ => return clean(program),
    };
    let mut command = clean("valgrind");
    command.arg(format!("--tool={which}")).arg(format!("--error-markers={MARKER},lab-caught-end"));
    command.args((tool == Tool::Memcheck).then_some("--leak-check=no"));
    command.arg(program);
    command
}

/// Runs it once, and puts what the tool said, and how the program ended, into the cell.
fn one_run(cell: &mut Cell, stage: &Stage, command: &mut Command) -> Result<()> {
    let (output, parent) = finish(command)?;
    let stderr = text(&output.stderr);
    let mut kinds = match cell.tool {
        Tool::Nothing => Kinds::new(),
        Tool::Memcheck | Tool::Helgrind | Tool::Drd => reports::valgrind(&stderr, parent),
        _ => reports::sanitizer(&stderr, parent),
    };
    let mut ends = BTreeMap::new();
    if cell.order == Order::Stress {
        let odds: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("no odds from {command:?}: {}\n{stderr}", output.status))?;
        cell.rounds += odds["rounds"].as_u64().context("no number of rounds")?;
        for (end, count) in odds["ends"].as_object().into_iter().flatten() {
            *ends.entry(reports::end(end)).or_insert(0) += count.as_u64().unwrap_or(0);
        }
    } else {
        ends.insert(how_it_ended(&output), 1);
    }
    if reports::valgrind_failed(&stderr) {
        ends.insert("valgrind itself failed".to_string(), 1);
    }
    // A lab that fails says nothing about a tool: a usage error, a panic, a step that never came. But a broken program
    // that a tool has interfered with may well leave its order.
    let failed: &[&str] = match cell.tool {
        Tool::Nothing => &["exit status 2", "exit status 3", "exit status 70", "exit status 101"],
        _ if is_correct(stage) => &["exit status 2", "exit status 70", "exit status 101"],
        _ => &["exit status 2", "exit status 101"],
    };
    if let Some(end) = failed.iter().find(|end| kinds.is_empty() && ends.contains_key(**end)) {
        bail!("{end}\n{stderr}");
    }
    if cell.tool == Tool::Nothing {
        // Nobody reports: what can be noticed is the end.
        let good = |end: &str| cell.order == Order::Directed && end == "exit status 0";
        kinds.extend(ends.keys().filter(|end| !good(end)).cloned());
        ensure!(
            !is_correct(stage) || cell.order == Order::Stress || kinds.is_empty(),
            "a correct program does not end as it must: {kinds:?}\n{stderr}"
        );
    } else {
        for (end, count) in ends.into_iter().filter(|(end, _)| end.starts_with("valgrind")) {
            *cell.ends.entry(end).or_insert(0) += count;
        }
    }
    cell.add(kinds);
    Ok(())
}

fn how_it_ended(output: &Output) -> String {
    match (output.status.signal(), output.status.code()) {
        (Some(signal), _) => signal_name(signal),
        (None, code) => format!("exit status {}", code.unwrap_or_default()),
    }
}

/// Runs a command to its end; its output, and its process id.
fn finish(command: &mut Command) -> Result<(Output, u32)> {
    // SAFETY: only system calls on locals, between fork and exec. An alarm outlives exec(2), and the server dies with
    // its parent.
    unsafe {
        command.pre_exec(|| {
            process::no_core_dump();
            libc::alarm(LIMIT);
            Ok(())
        });
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.with_context(|| format!("cannot run {command:?}"))?;
    let pid = child.id();
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {command:?}"))?;
    ensure!(output.status.signal() != Some(libc::SIGALRM), "it did not end in {LIMIT} s: {command:?}");
    Ok((output, pid))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

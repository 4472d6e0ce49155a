//! What "A core dump, read" shows: gdb on the cores of two broken stages.
//!
//! The words of a frame below the stage are gdb's, the compiler's and the C library's, so they are compared only where
//! all three are those of the recording. What the page says rests on the lines of the stages, and these must hold
//! wherever gdb is.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::text::{assert_same, normal};
use crate::{binary, command, compiler, read, recordings, root};

/// The stages whose cores are read, by the script `chapters/core/STAGE.gdb`.
const STAGES: [&str; 2] = ["stage3", "stage4"];

/// The names of the recordings.
pub fn names() -> impl Iterator<Item = String> {
    STAGES.into_iter().map(name)
}

fn name(stage: &str) -> String {
    format!("core_{stage}")
}

/// gdb's version, if it is installed. In CI it must be.
fn gdb() -> Option<String> {
    match command("gdb").arg("--version").output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().next().and_then(|line| line.rsplit(' ').next()).map(|version| format!("gdb {version}"))
        }
        Err(_) => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "gdb is missing: apt-get install gdb");
            eprintln!("skipped: gdb is not installed");
            None
        }
    }
}

/// Whether the kernel writes a core as a file into the folder of the process (`core(5)`), and no handler takes it.
fn cores_are_files_here() -> bool {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    !pattern.trim().is_empty() && !pattern.contains(['|', '/'])
}

/// A core of the server of an exhibit, in this folder: the kernel's, or, where that goes elsewhere, one that gdb takes
/// at the same moment.
fn core(stage: &str, folder: &Path) -> PathBuf {
    let program = binary(&format!("{stage}_broken"));
    if cores_are_files_here() {
        let mut exhibit = command(&program);
        exhibit.current_dir(folder);
        // SAFETY: system calls on a local, between fork and exec.
        unsafe {
            exhibit.pre_exec(|| {
                let mut limit: libc::rlimit = std::mem::zeroed();
                libc::getrlimit(libc::RLIMIT_CORE, &mut limit);
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(libc::RLIMIT_CORE, &limit);
                Ok(())
            });
        }
        exhibit.output().expect("the exhibit runs");
        let mut files = std::fs::read_dir(folder).expect("the folder is there");
        if let Some(core) = files.find_map(|file| Some(file.ok()?.path())) {
            return core;
        }
    }
    let core = folder.join("core");
    let mut taking = command("gdb");
    taking.args(["-q", "-batch", "-ex", "set follow-fork-mode child", "-ex", "run", "-ex"]);
    taking.arg(format!("gcore {}", core.display())).args(["-ex", "kill"]).arg(&program);
    let output = taking.output().expect("gdb runs");
    assert!(core.exists(), "{stage}: no core: {}", String::from_utf8_lossy(&output.stderr));
    core
}

/// What gdb says about a core of the stage, without its words about itself; and who said it.
fn report(stage: &str, gdb: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let core = core(stage, folder.path());
    let mut reading = command("gdb");
    reading.args(["-q", "-batch", "-x"]).arg(format!("chapters/core/{stage}.gdb"));
    let output = reading.arg(binary(&format!("{stage}_broken"))).arg(core).output().expect("gdb runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text
        .lines()
        .skip_while(|line| !line.starts_with("Program terminated"))
        .filter(|line| !["warning", "[Current thread", "[Switching"].iter().any(|start| line.starts_with(start)));
    // The frame that gdb shows by itself, before the script, comes again in the script's own form.
    let mut lines: Vec<String> = Vec::new();
    let mut in_script = false;
    for line in said {
        in_script |= line.is_empty();
        if in_script || line.starts_with("Program terminated") {
            lines.push(without_hash(line));
        }
    }
    format!("{}\n\n{gdb}, {}, {}\n", lines.join("\n"), recordings::libc_version(), compiler::version())
}

/// A symbol of Rust's without the hash that each build gives it.
fn without_hash(line: &str) -> String {
    let Some((before, after)) = line.rsplit_once("::h") else { return line.to_string() };
    let digits = after.bytes().take_while(u8::is_ascii_hexdigit).count();
    if digits == 16 { format!("{before}{}", &after[16..]) } else { line.to_string() }
}

/// What must hold with any gdb: the signal, and each line of the stage that a thread has come to.
fn facts(stage: &str, report: &str) -> BTreeSet<String> {
    let source = format!("{stage}_broken.rs:");
    let place = |line: &str| Some(format!("at {source}{}", line.split_once(&source)?.1));
    let facts = report.lines().filter_map(|line| match line.starts_with("Program terminated") {
        true => Some(line.to_string()),
        false => place(line),
    });
    facts.collect()
}

/// The threads of a core stand in the order in which they came to rest, and whoever is on its way to sleep has a frame
/// more or less below it: the lines in an order of their own, without the numbers of the frames.
fn sorted(report: &str) -> String {
    let unnumbered =
        |line: &str| line.trim_start_matches('#').trim_start_matches(|c: char| c.is_ascii_digit()).to_string();
    let frame = |line: &str| if line.starts_with('#') { unnumbered(line) } else { line.to_string() };
    let mut lines: Vec<String> = report.lines().filter(|line| !line.is_empty()).map(frame).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Writes the recordings, where gdb is there.
pub fn record() {
    let Some(gdb) = gdb() else { return };
    for stage in STAGES {
        let (now, path) = (report(stage, &gdb), format!("chapters/recorded/{}.txt", name(stage)));
        let known = std::fs::read_to_string(root().join(path));
        if !known.is_ok_and(|old| sorted(&normal(&old)) == sorted(&normal(&now))) {
            recordings::write(&name(stage), &now);
        }
    }
}

#[test]
fn gdb_says_of_the_cores_what_was_recorded() {
    recordings::ready();
    let Some(gdb) = gdb() else { return };
    for stage in STAGES {
        let path = format!("chapters/recorded/{}.txt", name(stage));
        let (recorded, now) = (read(&path), report(stage, &gdb));
        assert_eq!(facts(stage, &recorded), facts(stage, &now), "{path}:\n{now}");
        // With the C library's own debugging symbols, or without.
        let same_symbols = recorded.contains("malloc.c") == now.contains("malloc.c");
        if recorded.lines().last() == now.lines().last() && same_symbols {
            assert_same(
                &path,
                &sorted(&normal(&recorded)),
                &sorted(&normal(&now)),
                "`LAB_RECORD=core cargo test --test book core` records it",
            );
        }
    }
}

/// The page's point: whoever freed first has left no trace in the core.
#[test]
fn the_recorded_core_of_a_double_free_names_the_second_free_only() {
    recordings::ready();
    let (core, report) = (read("chapters/recorded/core_stage4.txt"), read("chapters/recorded/stage4_broken.txt"));
    let line = report.lines().find_map(|line| line.trim().strip_prefix("freed ")?.split("stage4_broken.rs:").nth(1));
    let freed = format!("stage4_broken.rs:{}", line.expect("the report says where"));
    assert_eq!(core.matches(&freed).count(), 1, "{freed}");
    assert_eq!(core.matches("point(\"take\")").count(), 3, "the other workers, the first one who freed among them");
}

#[test]
fn another_line_of_the_stage_is_another_fact() {
    let report = "Program terminated with signal SIGABRT, Aborted.\n#8  handle () at stage4_broken.rs:141\n";
    assert_ne!(facts("stage4", report), facts("stage4", &report.replace("141", "142")));
    assert_ne!(facts("stage4", report), facts("stage4", &report.replace("SIGABRT", "SIGSEGV")));
    assert_eq!(without_hash("a::b::h85f2dc1503d88f9f () at c.rs:1"), "a::b () at c.rs:1");
}

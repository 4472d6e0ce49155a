//! What the chapters show of runs.
//!
//! Most recordings must match what the programs print now, but for addresses, ports and times. Odds and timings are
//! different every time: of them only the shape is checked, and they say where they were taken. (The reports of the C++
//! twins, `cpp_*`, are kept by a test of their own.)

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use lab::catalogue;

use crate::text::{assert_same, diff, normal, printed};
use crate::{binary, command, compiler, lesson, models, read, root};

/// How to record, for messages.
const ADVICE: &str = "if the program is right, `LAB_RECORD=1 cargo test --test book` records it anew";

/// A recording, without its folder and `.txt`, and the run that makes it.
type Recording = (String, Box<dyn Fn() -> String>);

/// The recordings that a run must match.
fn exact() -> Vec<Recording> {
    let mut list: Vec<Recording> = Vec::new();
    let mut add = |name: &str, make: Box<dyn Fn() -> String>| list.push((name.to_string(), make));
    let shown = shown();
    for stage in catalogue::exhibits().filter(|stage| stage.feature.is_none()) {
        let name = stage.file_name();
        let report = move || stdout(stage.program(), &stage.flags().collect::<Vec<_>>());
        if shown.contains(&name) {
            add(&name, Box::new(report));
        }
        if shown.contains(&format!("{name}_lanes")) {
            add(&format!("{name}_lanes"), Box::new(move || lanes(&report())));
        }
    }
    add("stage4_broken_stderr", Box::new(|| stderr("stage4_broken", &[])));
    for (name, program, arguments) in STAGE8 {
        add(name, Box::new(move || stdout(program, arguments)));
    }
    add("stage2_lose_edge", Box::new(|| stdout("stage2_reactor", &["--lose-edge"])));
    add("stage2_level", Box::new(|| stdout("stage2_reactor", &["--lose-edge", "--level"])));
    add("stage3_on_malloc", Box::new(|| stdout("stage3_broken", &["--heap", "malloc"])));
    add("stage4_on_pages", Box::new(|| stdout("stage4_broken", &["--heap", "pages"])));
    add("list", Box::new(|| stdout("lab", &["list"])));
    add("help", Box::new(|| stdout("stage3_broken", &["--help"])));
    for order in ["stage3_late_hangup", "stage4_early_free", "stage6_in_time"] {
        let stage = format!("{}_broken", order.split('_').next().unwrap_or_default());
        let file = format!("chapters/exercises/{order}.schedule");
        add(order, Box::new(move || stdout(&stage, &["--schedule", &file])));
    }
    for stage in lesson::pairs() {
        add(&format!("{stage}_diff"), {
            let stage = stage.clone();
            Box::new(move || {
                let (broken, fixed) = lesson::twins(&stage);
                let (broken, fixed) = (lesson::without_anchors(&broken), lesson::without_anchors(&fixed));
                printed(&diff(&broken, &fixed), 1)
            })
        });
    }
    for name in ["shared", "unseen"] {
        add(&format!("compiler_{name}"), Box::new(move || compiler::run("compiler", name, &[])));
    }
    add("double_free", Box::new(|| format!("{}\n{}\n", compiler::run("heap", "double_free", &[]), libc_version())));
    list
}

/// The recordings that the chapters show, by name.
fn shown() -> BTreeSet<String> {
    let files = std::fs::read_dir(root().join("chapters")).expect("the folder is there");
    let pages =
        files.map(|file| file.expect("it can be read").path()).filter(|path| path.extension() == Some("md".as_ref()));
    let texts: Vec<_> = pages.map(|path| std::fs::read_to_string(path).expect("a page is text")).collect();
    let names = texts.iter().flat_map(|text| text.split("{{#include recorded/").skip(1));
    names.filter_map(|rest| Some(rest.split_once(".txt")?.0.to_string())).collect()
}

/// The other exhibit of stage 8, and the order in which one reactor does not sleep.
const STAGE8: [(&str, &str, &[&str]); 2] = [
    ("stage8_reuseport", "stage8_fixed", &["--reuseport"]),
    ("stage8_one_awake", "stage8_fixed", &["--schedule", "chapters/exercises/stage8_one_awake.schedule"]),
];

/// Odds and timings, and the command that gives them.
const MEASURED: [(&str, &str); 22] = [
    ("cost_of_sharing", "rustc -O --edition 2024 -o /tmp/sharing chapters/cost/sharing.rs"),
    ("point_cost", "cargo run --release --bin lab -- point-cost"),
    ("cost", "cargo run --release --bin lab -- cost --connections 1000,10000"),
    ("wild_stage3_broken", "cargo run --release --bin stage3_broken -- --wild --rounds 100000"),
    ("wild_stage3_fixed", "cargo run --release --bin stage3_fixed -- --wild --rounds 100000"),
    (
        "wild_stage4_broken",
        "cargo run --release --bin stage4_broken -- --wild --workers 16 --seconds 60 --rounds 100000",
    ),
    ("wild_stage4_fixed", "cargo run --release --bin stage4_fixed -- --wild --rounds 100000"),
    ("wild_stage8_broken", "cargo run --release --bin stage8_broken -- --wild --rounds 500"),
    ("wild_stage8_fixed", "cargo run --release --bin stage8_fixed -- --wild --rounds 500"),
    ("wild_stage8_reuseport", "cargo run --release --bin stage8_fixed -- --reuseport --wild --rounds 500"),
    ("repeat_stage3_broken", "cargo run --release --bin stage3_broken -- --repeat 210"),
    ("repeat_stage4_broken", "cargo run --release --bin stage4_broken -- --repeat 210"),
    ("wild_stage5_broken", "cargo run --release --bin stage5_broken -- --wild --rounds 200 --seconds 100"),
    ("wild_stage5_fixed", "cargo run --release --bin stage5_fixed -- --wild --rounds 200 --seconds 100"),
    ("wild_stage7_broken", "cargo run --release --bin stage7_broken -- --wild --rounds 200"),
    ("wild_stage7_tail", "cargo run --release --bin stage7_broken -- --tail --wild --rounds 200"),
    ("wild_stage6_broken", "cargo run --release --bin stage6_broken -- --wild --rounds 300 --seconds 100"),
    ("wild_stage6_fixed", "cargo run --release --bin stage6_fixed -- --wild --rounds 300 --seconds 100"),
    ("repeat_stage6_broken", "cargo run --release --bin stage6_broken -- --repeat 210"),
    ("search_stage4_broken", "cargo run --release --bin stage4_broken -- --search --output /tmp/s4"),
    ("search_stage5_broken", "cargo run --release --bin stage5_broken -- --search --output /tmp/s5"),
    ("search_stage4_fixed", "cargo run --release --bin stage4_fixed -- --search"),
];

fn path(name: &str) -> String {
    format!("chapters/recorded/{name}.txt")
}

fn stdout(program: &str, arguments: &[&str]) -> String {
    let output = command(binary(program)).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8(output.stdout).expect("it prints text")
}

fn stderr(program: &str, arguments: &[&str]) -> String {
    let output = command(binary(program)).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8(output.stderr).expect("it prints text")
}

/// The lanes of a report: from their heading to the next empty line. Where there are too many for the page, its list of steps.
fn lanes(report: &str) -> String {
    let begins = |line: &str| ["# ", "1 "].iter().any(|first| line.trim_start().starts_with(first));
    let lanes = report.lines().skip_while(|line| !begins(line));
    lanes.take_while(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

/// The machine in a few words: `2-core virtual machine, Linux 6.18, glibc 2.36`.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let virtual_ = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" hypervisor"));
    let kind = if virtual_ { "virtual machine" } else { "machine" };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release: Vec<&str> = release.trim().split(['.', '-']).take(2).collect();
    format!("{cores}-core {kind}, Linux {}, {}", release.join("."), libc_version())
}

#[cfg(target_env = "gnu")]
pub fn libc_version() -> String {
    // SAFETY: gnu_get_libc_version(3) returns a string that is never freed.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", version.to_string_lossy())
}

#[cfg(not(target_env = "gnu"))]
pub fn libc_version() -> String {
    let _ = CStr::from_bytes_until_nul(b"\0");
    "not glibc".to_string()
}

/// With `LAB_RECORD=1`, writes all recordings before the first test looks at one; with `LAB_RECORD=reports` it keeps
/// the odds and timings that are there, since they take some minutes and are never the same. `LAB_RECORD=core`: gdb's
/// words alone.
pub fn ready() {
    static RECORDED: OnceLock<()> = OnceLock::new();
    let wanted = std::env::var("LAB_RECORD").unwrap_or_default();
    if wanted == "1" || wanted == "reports" {
        RECORDED.get_or_init(|| {
            record();
            crate::core_dump::record();
            if root().join("tests/loom").exists() {
                explore();
            }
            let new = |name: &str| wanted == "1" || !root().join(path(name)).exists();
            measure(MEASURED.into_iter().filter(|(name, _)| new(name)).collect());
            fill_the_readme();
            std::fs::write(root().join(crate::terminal::PICTURE), crate::terminal::picture())
                .expect("the picture can be written");
        });
    }
    if wanted == "core" {
        RECORDED.get_or_init(crate::core_dump::record);
    }
}

/// Writes the recordings that a run must match, and the compiler's messages. What would only change in addresses and
/// times is left as it is.
fn record() {
    for (name, make) in exact() {
        let now = make();
        let known = std::fs::read_to_string(root().join(path(&name))).is_ok_and(|old| normal(&old) == normal(&now));
        if !known {
            write(&name, &now);
        }
    }
    for name in compiler::programs().into_iter().filter(|name| !compiler::promised(name).is_empty()) {
        write(&format!("compiler_{name}"), &compiler::message(&name));
    }
}

/// Explores the models, all of them.
fn explore() {
    // With the features of this run: others would build the models once more.
    let features: &[&str] = if cfg!(feature = "uring") { &["--features", "uring"] } else { &[] };
    let mut build = command(env!("CARGO"));
    let built = build.args(["test", "--test", "loom", "--no-run"]).args(features).status().expect("cargo runs");
    assert!(built.success(), "the models build");
    let program = models::program().expect("the models' program is there");
    for (name, filter, part) in models::PARTS {
        let now = models::say(&program, filter, part);
        let known = std::fs::read_to_string(root().join(path(name)))
            .is_ok_and(|old| unfolded(&normal(&old)) == unfolded(&normal(&now)));
        if !known {
            write(name, &now);
        }
    }
}

/// Takes odds and timings, with a release build.
fn measure(wanted: Vec<(&str, &str)>) {
    if wanted.is_empty() {
        return;
    }
    write("machine", &format!("{}\n", machine()));
    let built = command(env!("CARGO")).args(["build", "--release", "--bins"]).status().expect("cargo runs");
    assert!(built.success(), "the release build is there");
    let release = binary("lab").parent().and_then(Path::parent).expect("a target folder").join("release");
    for (name, line) in wanted {
        let mut text = match line.strip_prefix("cargo run --release --bin ") {
            None => compiler::run("cost", "sharing", &["-O"]),
            Some(run) => {
                let (program, arguments) = run.split_once(" -- ").expect("a program and its arguments");
                let mut command = command(release.join(program));
                let output = command.args(arguments.split(' ')).output().expect("the program runs");
                String::from_utf8(output.stdout).expect("it prints text")
            }
        };
        let _ = write!(text, "\ntaken by {line}\non a {}\n", machine());
        write(name, &text);
    }
}

/// Puts the recordings into the blocks of the README that follow `<!-- recorded: NAME -->`.
fn fill_the_readme() {
    let Ok(text) = std::fs::read_to_string(root().join("README.md")) else { return };
    let mut parts = text.split("<!-- recorded: ");
    let mut filled = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (name, rest) = part.split_once(" -->").expect("the mark is closed");
        let (before, rest) = rest.split_once("```text\n").expect("a text block follows");
        let (_, after) = rest.split_once("```").expect("it is closed");
        let recorded = read(&path(name.trim()));
        let _ = write!(filled, "<!-- recorded: {name} -->{before}```text\n{recorded}```{after}");
    }
    std::fs::write(root().join("README.md"), filled).expect("the README can be written");
}

pub fn write(name: &str, text: &str) {
    std::fs::write(root().join(path(name)), text).unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn each_recording_is_what_the_program_prints() {
    ready();
    for (name, make) in exact() {
        // What glibc says of a broken heap is glibc's own.
        if name.starts_with("stage4_broken") && !cfg!(target_env = "gnu") {
            eprintln!("{name}: skipped, this is not glibc");
            continue;
        }
        let recorded = std::fs::read_to_string(root().join(path(&name))).unwrap_or_default();
        if name == "double_free" && recorded.lines().last() != Some(&libc_version()) {
            eprintln!("{name}: skipped, it was recorded with another C library");
            continue;
        }
        assert_same(&path(&name), &normal(&recorded), &normal(&make()), ADVICE);
    }
}

#[test]
fn odds_and_timings_add_up_and_say_where_they_were_taken() {
    ready();
    for (name, line) in MEASURED {
        let text = read(&path(name));
        assert!(text.contains(&format!("\ntaken by {line}\non a ")), "{name}: taken where?");
        let numbers = |row: &str| -> Vec<u64> { row.split_whitespace().filter_map(|word| word.parse().ok()).collect() };
        if name.starts_with("wild_") {
            let rounds = text.split(" rounds").next().and_then(|head| head.rsplit(' ').next());
            let rounds: u64 =
                rounds.and_then(|number| number.replace(',', "").parse().ok()).expect("a number of rounds");
            // The rows of the table: a number, and how so many rounds ended. It comes first, and an empty line ends it.
            let table = text.split("\n\n").nth(1).expect("a table");
            let ended: u64 = table.lines().filter_map(|row| numbers(row).first().copied()).sum();
            assert_eq!(ended, rounds, "{name}: the rounds and how they ended");
            assert!(rounds > 50, "{name}: too few rounds to speak of odds");
            // What the chapter says of the tables.
            match name {
                "wild_stage3_broken" => assert!(text.contains(" used freed memory"), "{name}: nothing was seen"),
                "wild_stage4_broken" => assert!(table.lines().count() > 2, "{name}: one cause, several symptoms"),
                "wild_stage5_broken" => assert!(table.contains("a wrong reply"), "{name}: a stranger's bytes"),
                "wild_stage7_tail" => assert!(table.contains("the client failed"), "{name}: bytes are dropped"),
                "wild_stage6_broken" => assert!(table.contains("(c0000000)"), "{name}: hangs, and for this reason"),
                _ => assert_eq!(table.lines().count(), 1, "{name}: the fixed stage survives every round"),
            }
        } else if name.starts_with("repeat_") {
            let rows = text.lines().filter(|row| row.ends_with(" ms"));
            for row in rows {
                let counts = numbers(row);
                let (runs, right) = (counts[counts.len() - 2], counts[counts.len() - 1]);
                assert_eq!(runs, right, "{name}: every run ended as it must: {row}");
            }
            assert!(text.contains("\n  all "), "{name}: the sum of all");
        } else if name.starts_with("search_") {
            let bound = |bound: u64| format!(", bound {bound}; shrunk to ");
            let is_told = match name {
                // One delay, and two, as the chapter says.
                "search_stage4_broken" => {
                    text.contains(&bound(1)) && text.contains("SIGABRT: double free or corruption")
                }
                "search_stage5_broken" => text.contains(&bound(2)) && text.contains("bytes that are not its own"),
                _ => {
                    text.contains("\nnothing found: bound 2 complete, ")
                        && text.contains("0 of 29: at 95% at most 1 in 10")
                }
            };
            assert!(is_told, "{name}: {text}");
            assert!(name.ends_with("_fixed") || text.contains("show it in 20 of 20 runs"), "{name}: {text}");
        } else if name == "point_cost" || name == "cost_of_sharing" {
            assert!(text.contains(" ns"), "{name}: nanoseconds");
        } else {
            // One thread each and `main`, against one for all; and what a connection costs.
            for (connections, threads) in [("1,000", "1,001"), ("10,000", "10,001")] {
                let row = |server: &str, threads: &str| {
                    let mut rows = text.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
                    rows.any(|row| row.starts_with(&[server, connections, threads]) && row.ends_with(&["KiB"]))
                };
                assert!(row("stage1_blocking", threads) && row("stage2_reactor", "1"), "{name}: {connections}");
            }
        }
    }
}

/// The lines of a text without their numbers.
fn words(text: &str) -> BTreeSet<String> {
    let number = |word: &str| word.chars().any(|c| c.is_ascii_digit());
    let masked = |word| if number(word) { "N" } else { word };
    let lines = text.lines().map(|line| line.split_whitespace().map(masked).collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

/// The figures of a measurement are others every time; the words around them are the program's.
#[test]
fn the_words_around_the_cost_are_what_the_program_prints() {
    ready();
    let recorded = read(&path("cost"));
    let (recorded, _) = recorded.split_once("\ntaken by ").expect("it says where it was taken");
    let (recorded, now) = (words(recorded), words(&stdout("lab", &["cost", "--connections", "20"])));
    let other: Vec<_> = recorded.symmetric_difference(&now).collect();
    assert!(other.is_empty(), "{other:#?}");
}

#[test]
fn another_word_in_a_measurement_is_seen_and_another_figure_is_not() {
    assert_eq!(words("  440 connections, 8.2 times\n"), words("21 connections,  9 times\n"));
    assert_ne!(words("440 connections were asked"), words("440 of the connections were asked"));
}

#[test]
fn the_models_say_what_was_recorded() {
    ready();
    let Some(program) = models::program() else {
        eprintln!("skipped: the models are not built; `cargo test` builds them");
        return;
    };
    for (name, filter, part) in models::PARTS {
        let recorded = read(&path(name));
        if filter == models::SOUND {
            let each = recorded.split("stage").skip(1).map(unfolded);
            let wrong = each.clone().find(|said| {
                !said.ends_with(": nothing found") || !(said.contains(" executions") || said.contains(" states"))
            });
            assert_eq!(wrong, None, "{name}: every model of a fixed stage was explored, and nothing found");
            assert!(each.count() > 5, "{name}: hardly a model");
        } else {
            let now = models::say(&program, filter, part);
            // A time of another length may have folded the line at another place.
            let same = unfolded(&normal(&recorded)) == unfolded(&normal(&now));
            assert!(same, "{} ({ADVICE}):\n{}", path(name), printed(&diff(&recorded, &now), 1));
        }
    }
}

fn unfolded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names of all recordings, as a chapter includes them.
pub fn names() -> Vec<String> {
    let failing = compiler::programs().into_iter().filter(|name| !compiler::promised(name).is_empty());
    exact()
        .into_iter()
        .map(|(name, _)| name)
        .chain(MEASURED.iter().map(|(name, _)| name.to_string()))
        .chain(failing.map(|name| format!("compiler_{name}")))
        .chain(models::PARTS.iter().map(|(name, ..)| name.to_string()))
        .chain(crate::load::names().chain(crate::load::soaks()))
        .chain(crate::core_dump::names())
        .chain(["machine", crate::load::BARE].map(str::to_string))
        .collect()
}

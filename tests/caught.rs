//! "Who would have caught it": the recorded table is made from its data, has every program under every tool, and still
//! says what is true.
//!
//! With `CI=true` some cells under AddressSanitizer and valgrind are measured again; otherwise this would cost a build
//! for each in every test run.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use lab::catalogue::{self, Stage};
use lab::tools::detect::{
    Cell, Data, Order, SEARCHES, Settings, Tool, Verdict, is_correct, load, measure, programs, version,
};

const DATA: &str = "chapters/recorded/caught.json";
const TABLE: &str = "chapters/recorded/caught.md";
const ADVICE: &str = "`cargo run --bin lab -- caught --into chapters/recorded/caught.json` measures it anew; if the data is right, \
                      `LAB_RECORD=tables cargo test --test caught the_table` makes the tables from it";

fn data() -> Data {
    load(Path::new(DATA)).unwrap_or_else(|error| panic!("{error:#}"))
}

fn in_ci() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

fn cell<'a>(data: &'a Data, stage: &Stage, tool: Tool, order: Order) -> &'a Cell {
    let (name, id) = (stage.name, tool.id());
    data.cell(name, tool, order).unwrap_or_else(|| panic!("{name} was not under {id} {}; {ADVICE}", order.id()))
}

fn broken() -> impl Iterator<Item = &'static Stage> {
    programs().into_iter().filter(|stage| !is_correct(stage))
}

fn correct() -> impl Iterator<Item = &'static Stage> {
    programs().into_iter().filter(|stage| is_correct(stage))
}

#[test]
fn the_table_is_made_from_the_data() {
    // Only what is made from the data: nothing is measured.
    if std::env::var("LAB_RECORD").as_deref() == Ok("tables") {
        std::fs::write(TABLE, data().page()).expect("the table can be written");
        std::fs::write(Path::new(TABLE).with_file_name(SEARCHES), data().searches()).expect("so can the other");
    }
    let table = std::fs::read_to_string(TABLE).unwrap_or_default();
    assert!(table == data().page(), "{TABLE} is not the table of {DATA}; {ADVICE}");
    let searches = std::fs::read_to_string(Path::new(TABLE).with_file_name(SEARCHES)).unwrap_or_default();
    assert!(searches == data().searches(), "{SEARCHES} is not of {DATA}; {ADVICE}");
}

#[test]
fn every_program_has_been_under_every_tool_or_the_tool_is_named_as_missing() {
    let data = data();
    for tool in Tool::ALL {
        let version = data.tools.get(&tool).unwrap_or_else(|| panic!("{} was not asked; {ADVICE}", tool.id()));
        for order in tool.orders() {
            for stage in programs() {
                if version.is_ok() {
                    let cell = cell(&data, stage, tool, *order);
                    assert!(cell.runs > 0 && cell.reported <= cell.runs, "{}", cell.line());
                    let kinds = cell.kinds.values().all(|runs| (1..=cell.runs).contains(runs));
                    assert!(kinds && cell.kinds.is_empty() == (cell.reported == 0), "{}", cell.line());
                    assert_eq!(cell.rounds > 0, *order == Order::Stress, "{}", cell.line());
                } else {
                    assert!(data.cell(stage.name, tool, *order).is_none(), "{} is missing, and measured?", tool.id());
                }
            }
        }
    }
    let known: BTreeSet<&str> = programs().iter().map(|stage| stage.name).collect();
    let measured: BTreeSet<&str> = data.cells.iter().map(|cell| cell.program.as_str()).collect();
    assert_eq!(measured.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new(), "no such program any more");
}

/// What the chapter says in words.
#[test]
fn the_data_says_what_the_chapter_says() {
    let data = data();
    for stage in broken() {
        let verdict = |tool, order| data.verdict(cell(&data, stage, tool, order));
        let every_run = |tool, order| {
            let runs = cell(&data, stage, tool, order).runs;
            verdict(tool, order) == Verdict::Found { runs, amid_false_alarms: false }
        };
        let name = stage.name;
        let dies = matches!(stage.expect, catalogue::Verdict::Signal { .. });
        assert_eq!(verdict(Tool::Rustc, Order::None), Verdict::Silent, "{name}: the compiler");
        assert!(!matches!(verdict(Tool::Clippy, Order::None), Verdict::Found { .. }), "{name}: clippy");
        assert!(
            matches!(verdict(Tool::Models, Order::None), Verdict::Found { amid_false_alarms: false, .. }),
            "{name}: models"
        );
        assert!(every_run(Tool::Nothing, Order::Directed), "{name}: the exhibit shows it every time");
        assert!(every_run(Tool::Delays, Order::None), "{name}: within two delays");
        for tool in Tool::ALL.into_iter().filter(|tool| tool.is_search()) {
            let cell = cell(&data, stage, tool, Order::None);
            assert_eq!(cell.tries.len() as u64, cell.reported, "{}", cell.line());
        }
        for tool in [Tool::Address, Tool::Thread, Tool::ThreadAlone, Tool::Memcheck] {
            if data.tools[&tool].is_err() {
                continue;
            }
            if dies && tool != Tool::ThreadAlone {
                assert!(every_run(tool, Order::Directed), "{name}: {} in the order that is wrong", tool.id());
            }
            for order in [Order::Directed, Order::Stress] {
                let found = matches!(verdict(tool, order), Verdict::Found { .. });
                assert!(!found || dies, "{name}: {} has nothing to see there", tool.id());
            }
        }
    }
    for stage in correct() {
        let searches = Tool::ALL.into_iter().filter(|tool| tool.is_search());
        let others = [Tool::Rustc, Tool::Models, Tool::Nothing, Tool::Address, Tool::Memcheck];
        for tool in searches.chain(others) {
            for order in tool.orders().iter().filter(|_| data.tools[&tool].is_ok()) {
                let cell = cell(&data, stage, tool, *order);
                assert_eq!(cell.reported, 0, "a false alarm: {}", cell.line());
            }
        }
    }
    for tool in [Tool::Helgrind, Tool::Drd].into_iter().filter(|tool| data.tools[tool].is_ok()) {
        let alarms = correct().filter(|stage| cell(&data, stage, tool, Order::Directed).reported > 0).count();
        assert_eq!(alarms, correct().count(), "{} reports every correct program", tool.id());
    }
}

#[test]
fn the_compiler_and_clippy_still_say_what_was_recorded() {
    let data = data();
    let once = Settings { runs: 1, rounds: 1 };
    for tool in [Tool::Rustc, Tool::Clippy] {
        let here = version(tool);
        if here.is_err() || data.tools.get(&tool) != Some(&here) {
            assert!(here.is_ok() || !in_ci(), "{here:?}");
            eprintln!("skipped: {} is not the one that was recorded: {here:?}", tool.id());
            continue;
        }
        for stage in programs() {
            let now = measure(stage, tool, Order::None, once).unwrap_or_else(|error| panic!("{error:#}"));
            assert_eq!(&now, cell(&data, stage, tool, Order::None), "{ADVICE}");
        }
    }
}

/// In the order that is wrong, these tools speak up about the broken program and not about a correct one.
#[test]
fn in_ci_the_directed_cells_hold() {
    if !in_ci() {
        eprintln!("skipped: these cells are measured again with CI=true");
        return;
    }
    let once = Settings { runs: 1, rounds: 1 };
    let cells = [
        (Tool::Memcheck, "stage3_broken", "invalid read"),
        (Tool::Memcheck, "stage3_fixed", ""),
        (Tool::Memcheck, "stage4_broken", "invalid free"),
        (Tool::Memcheck, "stage4_handoff", ""),
        (Tool::Address, "stage3_broken", "heap-use-after-free"),
        (Tool::Address, "stage3_fixed", ""),
        (Tool::Address, "stage4_broken", "double-free"),
        (Tool::Address, "stage4_handoff", ""),
        (Tool::Thread, "stage3_broken", "heap-use-after-free"),
        (Tool::Thread, "stage4_broken", "data race"),
        (Tool::Thread, "stage4_fixed", ""),
    ];
    for (tool, name, kind) in cells {
        if let Err(missing) = version(tool) {
            assert!(tool != Tool::Memcheck, "{missing}");
            eprintln!("skipped: {} {name}: {missing}", tool.id());
            continue;
        }
        let stage = programs().into_iter().find(|stage| stage.name == name).expect("it is in the catalogue");
        let now = measure(stage, tool, Order::Directed, once).unwrap_or_else(|error| panic!("{error:#}"));
        let holds = if kind.is_empty() { now.kinds.is_empty() } else { now.kinds.contains_key(kind) };
        assert!(holds, "{}", now.line());
    }
}

fn lab(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).arg("caught").args(arguments).current_dir(folder).output();
    let output = output.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_table_of_a_file_is_printed_and_what_is_no_such_file_is_told_in_a_sentence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (code, table, _) = lab(&["--from", DATA], root);
    assert_eq!((code, table), (Some(0), data().markdown()));
    for (arguments, said) in [
        (["--from", "Cargo.toml"], "lab caught: Cargo.toml is not a table of `lab caught`"),
        (["--from", "no/such/file"], "lab caught: cannot read no/such/file"),
    ] {
        let (code, _, stderr) = lab(&arguments, root);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.starts_with(said) && stderr.lines().count() == 1, "{stderr}");
    }
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let (code, _, stderr) = lab(&["--tool", "rustc"], elsewhere.path());
    assert_eq!(
        (code, stderr.as_str()),
        (Some(2), "lab caught: it builds the stages: run it in the root of the repository\n")
    );
}

//! The rules of the house: a floor knows only those below it, a stage reaches the outside only through the facades, and
//! `unsafe` stays where it is the lesson.

mod arrows;

use std::path::Path;

use arrows::{Arrow, Crate, circles};

use lab::catalogue::STAGES;

/// The floors of `lab/`, from the ground up. What stands on one line does not know each other.
const FLOORS: [&[&str]; 11] = [
    &["words", "terms", "http"],
    &["record"],
    &["world"],
    &["server"],
    &["catalogue"],
    &["direct"],
    &["autopsy"],
    &["runner"],
    &["tools"],
    &["stages", "main"],
    // The roof: what the crate as a whole is to others.
    &["lib"],
];

fn floor(file: &str) -> usize {
    let room = room(file);
    let found = FLOORS.iter().position(|rooms| rooms.contains(&room));
    found.unwrap_or_else(|| panic!("lab/{file} is in no room of the house: give `{room}` a floor"))
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// The arrows that do not lead down, and not to the same room.
fn upward(arrows: &[Arrow]) -> Vec<String> {
    let up = |arrow: &&Arrow| room(&arrow.from) != room(&arrow.to) && floor(&arrow.to) >= floor(&arrow.from);
    arrows.iter().filter(up).map(|arrow| format!("{}:{} uses {}", arrow.from, arrow.line, arrow.to)).collect()
}

/// The files of `lab/`, by their path from there.
fn lab() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab");
    let name = |file: &Path| file.strip_prefix(&root).expect("it is in there").display().to_string();
    let rust = sources(&root).into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|file| (name(&file), std::fs::read_to_string(&file).expect("it is text"))).collect()
}

#[test]
fn a_floor_knows_only_those_below_it() {
    let arrows = Crate::new(&lab(), "lab").arrows();
    assert!(arrows.len() > 200, "hardly any import was seen: {}", arrows.len());
    assert_eq!(upward(&arrows), Vec::<String>::new());
    assert_eq!(circles(&arrows), Vec::new(), "these files cannot be read one after another");
}

/// A line that is planted in a file of `lab/`, and what is then said of it.
fn planted(file: &str, line: &str) -> Vec<String> {
    let mut files = lab();
    let (_, text) = files.iter_mut().find(|(name, _)| name == file).unwrap_or_else(|| panic!("there is no {file}"));
    *text = format!("{line}\n{text}");
    upward(&Crate::new(&files, "lab").arrows())
}

#[test]
fn an_import_that_leads_up_is_noticed() {
    for (file, line, to) in [
        ("record/wakeups.rs", "use crate::autopsy::report;", "autopsy/text.rs"),
        ("record/blackbox.rs", "pub use crate::world::point;", "world/point.rs"),
        ("words.rs", "use crate::{http, record::blackbox::{self, Kind}};", "record/blackbox.rs"),
        ("world/kernel.rs", "fn f() { crate::server::told(); }", "server.rs"),
        ("direct/client.rs", "use super::super::runner;", "runner/mod.rs"),
        ("http/connection.rs", "use crate::words::count;", "words.rs"),
        ("autopsy/lanes.rs", "use crate::tools;", "tools/mod.rs"),
        // By another name, which the roof passes on.
        ("record/blackbox.rs", "use crate::schedule::Plan;", "direct/schedule.rs"),
        ("server.rs", "use crate::runner::Flags as R; use crate::runner::say;", "runner/end.rs"),
    ] {
        let line = line.replace("; use", ";\nuse");
        let said = planted(file, &line);
        assert!(said.iter().any(|said| said.ends_with(&format!("uses {to}"))), "{file}: {line}: {said:?}");
    }
    assert_eq!(planted("runner/cli.rs", "// use crate::tools::cost;"), Vec::<String>::new());
    assert_eq!(planted("runner/cli.rs", "const A: &str = \"crate::tools::cost\";"), Vec::<String>::new());
    assert_eq!(planted("runner/cli.rs", "use crate::runner::Served;"), Vec::<String>::new());
}

#[test]
fn a_circle_of_files_is_noticed() {
    let files = |back: &str| {
        let text = [("a.rs", "use crate::b::one;"), ("b.rs", "use crate::c::{self, two};"), ("c.rs", back)];
        text.map(|(name, text)| (name.to_string(), text.to_string()))
    };
    let circle = |back: &str| circles(&Crate::new(&files(back), "lab").arrows());
    assert_eq!(circle("fn two() {}"), Vec::new());
    let all = ["a.rs", "b.rs", "c.rs"].map(str::to_string).into();
    assert_eq!(circle("fn two() { crate::a::three(); }"), [all]);
}

/// What would escape the model.
const FORBIDDEN: [&str; 5] = ["std::sync", "std::thread", "std::cell", "std::time", "libc"];

/// The lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines().map(|line| line.split("//").next().unwrap_or_default()))
}

/// The lines that reach past the facades, also through a braced import or a glob of `std`.
fn escapes(text: &str) -> Vec<usize> {
    let modules = FORBIDDEN.map(|path| path.trim_start_matches("std::"));
    let reaches = |line: &str| {
        let braced = line.split_once("use std::{").is_some_and(|(_, names)| {
            names
                .split([',', '{', '}', ';', ' '])
                .any(|name| modules.contains(&name.split("::").next().unwrap_or(name)))
        });
        braced || line.contains("std::*") || FORBIDDEN.iter().any(|path| line.contains(path))
    };
    code(text).filter(|(_, line)| reaches(line)).map(|(number, _)| number).collect()
}

fn unsafe_lines(text: &str) -> Vec<usize> {
    code(text).filter(|(_, line)| line.contains("unsafe")).map(|(number, _)| number).collect()
}

#[test]
fn a_stage_uses_only_the_facades() {
    for stage in STAGES {
        assert_eq!(escapes(stage.source.text), [0; 0], "{} reaches past the facades", stage.source.path);
    }
}

#[test]
fn reaching_past_the_facades_is_noticed() {
    for line in [
        "use std::sync::Arc;",
        "    std::thread::yield_now();",
        "use std::{io, time::Instant};",
        "use std::{cell, io};",
        "use std::*;",
        "unsafe { libc::close(3) };",
    ] {
        assert_eq!(escapes(&format!("use std::io;\n{line}\n")), [2], "{line}");
    }
    assert_eq!(escapes("use std::io; // not std::sync\nuse std::collections::HashMap;\n"), [0; 0]);
}

#[test]
fn only_broken_stages_3_and_4_and_the_hand_off_have_unsafe() {
    for stage in STAGES {
        // The hand-off is what the fixed stage 4 is measured against: sound, but by its order alone.
        let is_lesson = matches!(stage.name, "stage3_broken" | "stage4_broken" | "stage4_handoff");
        assert_eq!(!unsafe_lines(stage.source.text).is_empty(), is_lesson, "{}", stage.source.path);
    }
}

/// Outside of the stages, each `unsafe` block or impl in the library has its reason on the spot.
#[test]
fn unsafe_in_the_library_has_a_reason_on_the_spot() {
    let mut missing = Vec::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("lab")) {
        let text = std::fs::read_to_string(&file).expect("it is text");
        if file.components().any(|part| part.as_os_str() == "stages") {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in code(&text) {
            let is_block = line.contains("unsafe {") || line.contains("unsafe impl");
            let reason = lines[number.saturating_sub(8)..number].iter().any(|line| line.contains("SAFETY:"));
            if is_block && !reason {
                missing.push(format!("{}:{number}", file.display()));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

//! A broken stage and its twin differ by the lesson and nothing else.

use crate::text::{Line, changed, diff};
use crate::{read, root};

/// The longest lesson, in changed lines.
const LONGEST: usize = 30;

/// The stages that have a twin: `stage3`, ...
pub fn pairs() -> Vec<String> {
    let mut pairs: Vec<String> = std::fs::read_dir(root().join("lab/stages"))
        .expect("the stages are there")
        .filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix("_broken.rs")?.to_string()))
        .filter(|stage| root().join(format!("lab/stages/{stage}_fixed.rs")).exists())
        .collect();
    pairs.sort();
    pairs
}

/// The two files of a pair.
pub fn twins(stage: &str) -> (String, String) {
    (read(&format!("lab/stages/{stage}_broken.rs")), read(&format!("lab/stages/{stage}_fixed.rs")))
}

/// The text without the lines that only mark anchors: what a chapter shows.
pub fn without_anchors(text: &str) -> String {
    let is_mark = |line: &str| line.trim_start().starts_with("// ANCHOR");
    text.lines().filter(|line| !is_mark(line)).map(|line| format!("{line}\n")).collect()
}

/// The text with each lesson taken out.
fn outside(text: &str) -> String {
    let (mut inside, mut out) = (false, String::new());
    for line in text.lines() {
        match line.trim() {
            "// ANCHOR: lesson" => inside = true,
            "// ANCHOR_END: lesson" => inside = false,
            _ if inside => continue,
            _ => {}
        }
        out += &format!("{line}\n");
    }
    out
}

/// Whether a diff is a lesson: the number of its changed lines, or the first thing that is wrong with it.
fn check(broken: &str, fixed: &str) -> Result<usize, String> {
    let (plain_broken, plain_fixed) = (outside(broken), outside(fixed));
    if let Some(line) = diff(&plain_broken, &plain_fixed).into_iter().find(|line| !matches!(line, Line::Same(_))) {
        return Err(format!("a line outside the lesson differs: {line:?}"));
    }
    let (broken, fixed) = (without_anchors(broken), without_anchors(fixed));
    match changed(&diff(&broken, &fixed)) {
        count if count > LONGEST => Err(format!("{count} lines differ, and a lesson has at most {LONGEST}")),
        count => Ok(count),
    }
}

#[test]
fn the_twins_differ_by_the_lesson_and_nothing_else() {
    assert!(!pairs().is_empty());
    for stage in pairs() {
        let (broken, fixed) = twins(&stage);
        let count = check(&broken, &fixed).unwrap_or_else(|why| panic!("{stage}: {why}"));
        assert!(count > 0, "{stage}: the twins are the same");
    }
}

#[test]
fn a_difference_outside_the_lesson_is_noticed() {
    for stage in pairs() {
        let (broken, fixed) = twins(&stage);
        let planted = fixed.replacen("module_path!(), serve", "\"planted\", serve", 1);
        assert_ne!(planted, fixed, "{stage}: nothing was planted");
        assert!(check(&broken, &planted).is_err_and(|why| why.contains("runner::main")), "{stage}");
        let planted = format!("{broken}\nfn extra() {{}}\n");
        assert!(check(&planted, &fixed).is_err_and(|why| why.contains("outside")), "{stage}");
    }
}

#[test]
fn a_lesson_that_is_too_long_is_noticed() {
    let lesson = |body: &str| format!("a\n// ANCHOR: lesson\n{body}// ANCHOR_END: lesson\nb\n");
    let (short, long) = (lesson(&"x\n".repeat(30)), lesson(&"x\n".repeat(31)));
    assert_eq!(check(&lesson(""), &short), Ok(30));
    assert!(check(&lesson(""), &long).is_err_and(|why| why.contains("31 lines")));
}

#[test]
fn a_lesson_without_an_end_hides_nothing() {
    // An anchor that is opened in one twin only leaves the rest of the other one outside.
    let (closed, open) = ("// ANCHOR: lesson\n1\n// ANCHOR_END: lesson\nrest\n", "// ANCHOR: lesson\n2\nrest\n");
    assert!(check(closed, open).is_err());
}

//! What loom says about the models (`tests/loom/`), as the chapters show it. The models are a test target of their own:
//! here its program is run again, as far as it is quick, and compared with what was recorded.

use std::path::{Path, PathBuf};

use crate::command;

/// Recordings: the name, (parts of) the names of the models whose words it has, and which of their lines.
pub const PARTS: [(&str, &str, Part); 12] = [
    ("loom_fixed", SOUND, Part::All),
    ("loom_broken", "stage3_broken_uses stage4_broken_lets stage4_broken_frees", Part::Verdicts),
    (
        "loom_stage8",
        "stage8_broken_wakes stage8_exclusive_wakes may_wake never_wakes one_accept exclusive_stop",
        Part::Verdicts,
    ),
    ("loom_stage7", "stage7_broken_never_stops_in stage7_broken_never_stops_from stage7_broken_loses", Part::Verdicts),
    ("loom_stage9", "stage9_", Part::Verdicts),
    ("loom_halves", "without", Part::All),
    ("loom_reductions", "the_reductions", Part::All),
    ("loom_orders", "order_that_loom_found_dd", Part::All),
    ("loom_stage3_order", "stage3_broken_uses_a_freed_session_df", Part::Lanes),
    ("loom_stage4_order", "stage4_broken_frees_a_buffer_twice_ddf", Part::Lanes),
    ("loom_stage6", "stage6_broken_loses stage6_broken_hangs a_guard_that", Part::Verdicts),
    ("loom_stage6_order", "stage6_broken_loses_the_rearm_dd", Part::Lanes),
];

/// The models of the fixed stages, which take more than a moment: in a plain test run they are not explored again.
pub const SOUND: &str = "_is_sound_";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything that a model says.
    All,
    /// Without the lanes of a counterexample.
    Verdicts,
    /// Just these.
    Lanes,
}

/// The newest program of the models beside this one.
pub fn program() -> Option<PathBuf> {
    let here = std::env::current_exe().expect("a test knows its program");
    let files = std::fs::read_dir(here.parent()?).ok()?.filter_map(|file| Some(file.ok()?.path()));
    let programs = files.filter(|file| {
        file.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("loom-") && !name.contains('.'))
    });
    programs.max_by_key(|file| file.metadata().and_then(|data| data.modified()).ok())
}

/// What the models of these names say.
pub fn say(program: &Path, names: &str, part: Part) -> String {
    let output = command(program).args(names.split(' ')).output().expect("the models run");
    let text = String::from_utf8(output.stdout).expect("they print text");
    assert!(output.status.success(), "{text}");
    let mut models: Vec<&str> = text.split("\ntest ").skip(1).filter(|model| model.contains(" ... ok\n")).collect();
    models.sort_unstable();
    let mut out = String::new();
    for model in models {
        let mut in_lanes = false;
        let said = model.lines().skip(1).take_while(|line| line.starts_with("    ")).map(|line| &line[4..]);
        for line in said {
            in_lanes |= line.trim_start().starts_with("# ");
            let wanted = match part {
                Part::All => true,
                Part::Verdicts => !in_lanes,
                Part::Lanes => in_lanes,
            };
            if wanted && !line.trim().is_empty() {
                out += &if in_lanes { format!("{line}\n") } else { folded(line) };
            }
        }
    }
    assert!(!out.is_empty(), "no model called {names}");
    out
}

/// The line, folded where it is wider than a page.
fn folded(line: &str) -> String {
    const WIDTH: usize = 84;
    let indent = line.len() - line.trim_start().len();
    let (mut out, mut width) = (String::new(), 0);
    for word in line.split_whitespace() {
        if width > 0 && width + 1 + word.len() > WIDTH {
            out += &format!("\n{:indent$}    {word}", "");
            width = indent + 4 + word.len();
        } else if width > 0 {
            out += &format!(" {word}");
            width += 1 + word.len();
        } else {
            out += &format!("{:indent$}{word}", "");
            width = indent + word.len();
        }
    }
    out + "\n"
}

#[test]
fn a_line_is_folded_between_words_and_keeps_its_indent() {
    let line = format!("  {}", "word ".repeat(20));
    let folded = folded(&line);
    assert!(folded.lines().count() == 2 && folded.lines().all(|line| line.len() <= 84), "{folded}");
    assert!(folded.starts_with("  word") && folded.contains("\n      word"), "{folded}");
}

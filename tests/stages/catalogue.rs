//! The gate of the catalogue: each exhibit ends as its entry says, and all that belongs to a stage is there.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::support::{command, finish};
use lab::autopsy::verdicts;
use lab::catalogue::{self, STAGES, Stage, Verdict};
use lab::server::Threads;

/// What a stage's name may end in: a pair, or a stage that stands alone.
const PAIR: [&str; 2] = ["_broken", "_fixed"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of a folder with this extension, in their order: paths from the root.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let files = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    let names = files.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned());
    let mut paths: Vec<_> =
        names.filter(|name| name.ends_with(extension)).map(|name| format!("{folder}/{name}")).collect();
    paths.sort();
    paths
}

/// The exhibits that are built without a feature.
fn built() -> impl Iterator<Item = &'static Stage> {
    catalogue::exhibits().filter(|stage| stage.feature.is_none())
}

fn is_broken(stage: &Stage) -> bool {
    stage.expect != Verdict::Serves
}

/// Runs an exhibit, and says what is wrong with how it ended.
fn ends_otherwise(stage: &Stage, more: &[&str]) -> Option<String> {
    let mut command = command(stage.program());
    command.args(stage.flags()).args(more);
    let output = finish(command);
    let met = verdicts::case(stage.expect).is_met(stage, stage.heap, output.status, &output.stderr);
    // And it says with what it ends.
    let told = match output.status.code() {
        Some(code) => format!("\n  ending with exit status {code}\n"),
        None => format!(" ({})\n", output.status.signal().unwrap_or_default()),
    };
    (!met || !output.stdout.ends_with(&told)).then(|| format!("{}: {}", stage.name, output.all()))
}

#[test]
fn each_exhibit_ends_as_its_entry_says_and_its_report_gives_the_entrys_reason() {
    for stage in built() {
        assert_eq!(ends_otherwise(stage, &[]), None);
        let mut command = command(stage.program());
        command.args(stage.flags()).arg("--json");
        let output = finish(command);
        let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
        // A stage that stands alone need not be saved by anything.
        if is_broken(stage) || PAIR.iter().any(|end| stage.program().ends_with(end)) {
            assert_eq!(json["why"], stage.why, "{}: {}", stage.name, output.all());
        }
    }
}

#[test]
fn each_broken_stage_has_a_fixed_twin_that_lives_through_the_same_order() {
    for stage in STAGES.iter().filter(|stage| is_broken(stage)) {
        let twin = stage.twin().unwrap_or_else(|| panic!("{} has no fixed twin", stage.name));
        assert_eq!(twin.expect, Verdict::Serves, "{}", twin.name);
        assert_eq!((twin.schedule.path, twin.heap, twin.chapter), (stage.schedule.path, stage.heap, stage.chapter));
        assert_eq!(ends_otherwise(twin, &["--schedule", stage.schedule.path]), None);
        for (broken, fixed) in stage.variants.iter().filter_map(|variant| Some((&variant.stage, variant.stage.twin()?)))
        {
            assert_eq!(broken.schedule.path, fixed.schedule.path, "{}", fixed.name);
            assert_eq!(ends_otherwise(fixed, &["--schedule", broken.schedule.path]), None);
        }
    }
}

#[test]
fn each_stage_has_its_binary_source_schedule_chapter_and_model() {
    let manifest = read("Cargo.toml");
    let summary = read("chapters/SUMMARY.md");
    let pages: String = files("chapters", ".md").iter().map(|path| read(path)).collect();
    let models: String =
        [files("tests/loom", ".rs"), files("tests/uring_model", ".rs")].concat().iter().map(|p| read(p)).collect();
    for stage in STAGES {
        let (name, source) = (stage.name, format!("lab/stages/{}.rs", stage.name));
        assert_eq!(stage.source.path, source, "{name}: its source");
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"{source}\"\n")), "{name}: no binary");
        // Where each client has one thread to itself there is no order to explore.
        let shares = !matches!(stage.threads, Threads::None | Threads::PerConnection);
        let mounted = models.contains(&format!("#[path = \"../../{source}\"]"));
        assert!(mounted || !shares, "{name}: no model mounts {source}");
        let page = format!("stage{}.md", stage.chapter);
        assert!(summary.contains(&format!("({page})")), "{name}: chapters/{page} is not in the summary");
        assert!(pages.contains(name), "{name}: no chapter speaks of it");
    }
    for exhibit in catalogue::exhibits() {
        let said = [exhibit.name, exhibit.title, exhibit.why];
        assert!(said.iter().all(|text| !text.is_empty()), "{}: something is not said", exhibit.name);
        let next = exhibit.next.split(' ').next().unwrap_or_default();
        assert!(next == "lab" || catalogue::find(next).is_some(), "{}: no program {next} comes next", exhibit.name);
    }
}

#[test]
fn each_source_and_each_schedule_is_a_stages() {
    let sources: BTreeSet<_> = STAGES.iter().map(|stage| stage.source.path.to_string()).collect();
    assert_eq!(sources, files("lab/stages", ".rs").into_iter().collect());
    let schedules: BTreeSet<_> = catalogue::exhibits().map(|stage| stage.schedule.path.to_string()).collect();
    assert_eq!(schedules, files("lab/schedules", ".schedule").into_iter().collect());
    let names: BTreeSet<_> = catalogue::exhibits().map(|stage| stage.name).collect();
    assert_eq!(names.len(), catalogue::exhibits().count(), "two exhibits have one name");
}

/// A chapter shows what its pair does: how each twin ends, and the run of each in the player.
#[test]
fn the_chapter_of_a_pair_shows_the_report_of_each_twin() {
    for stage in STAGES.iter().filter(|stage| is_broken(stage)) {
        let page = read(&format!("chapters/stage{}.md", stage.chapter));
        for twin in [Some(stage), stage.twin()].into_iter().flatten() {
            let (name, include) = (twin.name, format!("{{{{#include recorded/{}.txt}}}}", twin.file_name()));
            assert!(page.contains(&include), "{name}: chapters/stage{}.md has no {include}", stage.chapter);
            let player = format!("data-trace=\"traces/{}.js\"", twin.file_name());
            // The rows of a player are those of threads that share sessions.
            if twin.caught {
                assert!(page.contains(&player), "{name}: chapters/stage{}.md has no {player}", stage.chapter);
            }
        }
    }
}

/// A line a stage, in a width that every terminal has; and a stage's name in the wrong place is understood.
#[test]
fn the_tour_names_every_stage_in_a_line_and_a_stage_taken_for_a_command_is_told() {
    let lab = |arguments: &[&str]| {
        let mut command = command("lab");
        command.args(arguments);
        finish(command)
    };
    let tour = lab(&[]).stdout;
    let lines: Vec<_> = tour.lines().filter(|line| line.starts_with("  stage")).collect();
    let names = lines.iter().map(|line| line.split_whitespace().next().unwrap_or_default());
    assert_eq!(names.collect::<Vec<_>>(), STAGES.iter().map(|stage| stage.name).collect::<Vec<_>>());
    assert!(lines.iter().zip(STAGES).all(|(line, stage)| line.ends_with(stage.title)), "{tour}");
    assert!(tour.lines().all(|line| line.chars().count() <= 80), "{tour}");
    for (name, told) in [
        ("stage3_broken", "lab: a stage is a program of its own: cargo run --bin stage3_broken\n"),
        ("stage10_uring", "lab: a stage is a program of its own: cargo run --features uring --bin stage10_uring\n"),
        ("stage7_borken", "lab: there is no stage7_borken; did you mean cargo run --bin stage7_broken?\n"),
    ] {
        let refused = lab(&[name]);
        assert_eq!((refused.status.code(), refused.stderr.as_str()), (Some(2), told));
    }
}

/// Whatever reads the list gets what is in the catalogue.
#[test]
fn the_list_for_programs_and_the_list_for_shells_are_the_catalogue() {
    let said = |argument: &str| {
        let mut command = command("lab");
        command.args(["list", argument]);
        finish(command).stdout
    };
    let json: serde_json::Value = serde_json::from_str(&said("--json")).expect("it is JSON");
    let listed = json.as_array().expect("a list").iter().map(|one| (one["name"].clone(), one["verdict"].clone()));
    let known = catalogue::exhibits().map(|stage| (stage.name.into(), stage.expect.id().into()));
    assert_eq!(listed.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    let names = said("--names");
    let built = STAGES.iter().filter(|stage| stage.feature.is_none()).map(|stage| stage.name);
    assert_eq!(names.lines().collect::<Vec<_>>(), built.collect::<Vec<_>>());
}

//! From proof to crash: the order that loom has just found kills the real binary on the real kernel, and its fixed twin
//! lives through the same order.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use real::catalogue;
use real::schedule::Schedule;

use crate::model::WORKERS;
use crate::models::{Said, Test, drawn, for_the_director, refuted, test};
use crate::support::{self, Output};
use crate::translate;

pub fn all() -> Vec<Test> {
    let crash = |stage: &'static str, letters: &'static str, signal: i32| {
        let name = format!("{stage}_crashes_in_the_order_that_loom_found_{letters}");
        test(&name, 2, move || crash(stage, letters, signal))
    };
    let mut tests = vec![test("crash_another_end_is_noticed", 1, another_end_is_noticed)];
    for letters in ["dr", "df", "ddf", "ddr"] {
        tests.push(crash("stage3_broken", letters, libc::SIGSEGV));
    }
    if cfg!(target_env = "gnu") {
        for letters in ["ddf", "ddr"] {
            tests.push(crash("stage4_broken", letters, libc::SIGABRT));
        }
    }
    tests
}

fn crash(stage: &'static str, letters: &'static str, signal: i32) -> Said {
    let (model, kind) = for_the_director(stage, letters);
    let (said, outcome) = refuted(&model, kind)?;
    let finding = outcome.finding.as_ref().expect("it is refuted");
    let schedule = translate::schedule(finding).map_err(|finer| finer.to_string())?;
    let text = schedule.to_string();
    let points = catalogue::find(stage).expect("it is in the catalogue").points();
    let read = Schedule::parse(&text, &points, WORKERS).map_err(|error| format!("{error}\n{text}"))?;
    if read.to_string() != text {
        return Err(format!("it is read back as something else:\n{text}\n{read}"));
    }
    // The scripts of the game's scenarios.
    if matches!((stage, letters), ("stage3_broken", "dr") | ("stage4_broken", "ddf")) {
        crate::game::agrees(stage, &schedule, kind)?;
        keep(stage, &text)?;
    }
    let run = |name: &str| {
        let (_folder, path) = support::schedule(&text);
        support::run(name, &["--schedule", &path, "--workers", &WORKERS.to_string()])
    };
    let (broken, fixed) = (run(stage), run(&stage.replace("broken", "fixed")));
    ended(&broken, &fixed, signal).map_err(|why| format!("{stage}: {why}\nin this order:\n{text}"))?;
    Ok(format!(
        "{said}  as a schedule, on the real kernel: signal {signal}; the fixed twin serves\n{}",
        indent(&text, &drawn(&outcome))
    ))
}

/// The broken stage must die of the signal, and its twin serve.
fn ended(broken: &Output, fixed: &Output, signal: i32) -> Result<(), String> {
    if broken.status.signal() != Some(signal) {
        return Err(format!("it ended otherwise: {}", broken.all()));
    }
    if fixed.status.code() != Some(0) {
        return Err(format!("the fixed twin does not live through it: {}", fixed.all()));
    }
    Ok(())
}

fn another_end_is_noticed() -> Said {
    let output = |raw| Output { status: ExitStatus::from_raw(raw), stdout: String::new(), stderr: String::new() };
    let (segv, abrt, served, failed) = (output(libc::SIGSEGV), output(libc::SIGABRT), output(0), output(70 << 8));
    ended(&segv, &served, libc::SIGSEGV)?;
    for (broken, fixed) in [(&abrt, &served), (&served, &served), (&failed, &served), (&segv, &failed), (&segv, &segv)]
    {
        if ended(broken, fixed, libc::SIGSEGV).is_ok() {
            return Err(format!("{} and {} pass", broken.status, fixed.status));
        }
    }
    Ok(String::new())
}

/// The book plays this order: the file that it plays is what loom found. `LAB_RECORD=1` writes it anew.
pub fn keep(stage: &str, text: &str) -> Result<(), String> {
    let path = format!("{}/chapters/exercises/loom_{stage}.schedule", env!("CARGO_MANIFEST_DIR"));
    let head = format!("# What loom found for {stage}, as a schedule of the director. Two workers.\n\n");
    let text = format!("{head}{text}");
    if std::env::var_os("LAB_RECORD").is_some() {
        return std::fs::write(&path, text).map_err(|error| format!("{path}: {error}"));
    }
    match std::fs::read_to_string(&path) {
        Ok(kept) if kept == text => Ok(()),
        _ => Err(format!("{path} is not what loom found: `LAB_RECORD=1 cargo test --test loom crashes`\n{text}")),
    }
}

pub fn indent(schedule: &str, lanes: &str) -> String {
    if std::env::var_os("LAB_SCHEDULES").is_some() { format!("{schedule}\n{lanes}") } else { String::new() }
}

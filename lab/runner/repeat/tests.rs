//! `--repeat` with runs that end as they must not.

use super::*;
use crate::catalogue::{Verdict, exhibits, find};
use crate::runner::cli::parse;
use crate::world::heap::Heap;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitStatus;

fn stage(name: &str) -> &'static Stage {
    exhibits().find(|stage| stage.name == name).expect("it is in the catalogue")
}

fn options(name: &str, flags: &[&str]) -> Options {
    let stage = find(name.split(' ').next().unwrap_or_default()).expect("it is in the catalogue");
    let more: Vec<_> = name.split(' ').skip(1).collect();
    parse(stage, [&["program"], &more[..], flags].concat().into_iter().map(Into::into))
}

const EXIT: fn(i32) -> ExitStatus = |code| ExitStatus::from_raw(code << 8);
const SIGNAL: fn(i32) -> ExitStatus = ExitStatus::from_raw;
/// The signal's number, and the bit that says that a core was dumped.
const WITH_CORE: fn(i32) -> ExitStatus = |signal| ExitStatus::from_raw(signal | 0x80);

/// How it ended, if that is wrong.
fn wrong(name: &str, flags: &[&str], status: ExitStatus, stderr: &str) -> Option<String> {
    wrong_end(stage(name), &options(name, flags), &mut None, status, stderr)
}

#[test]
fn a_stage_that_serves_must_end_with_0() {
    assert_eq!(wrong("stage3_fixed", &[], EXIT(0), ""), None);
    assert_eq!(wrong("stage3_fixed", &[], EXIT(0), "glibc has something to say"), None);
    for code in [1, 2, 3, 70, 139] {
        assert_eq!(wrong("stage3_fixed", &[], EXIT(code), "first\nlast\n"), Some(format!("exit {code} last")));
    }
    assert_eq!(wrong("stage3_fixed", &[], SIGNAL(libc::SIGSEGV), ""), Some("SIGSEGV".to_string()));
}

#[test]
fn a_stage_with_a_verdict_of_its_own_must_end_with_1() {
    for stage in exhibits().filter(|stage| !matches!(stage.expect, Verdict::Signal { .. } | Verdict::Serves)) {
        let case = verdicts::case(stage.expect);
        let is_met = |status| case.is_met(stage, stage.heap, status, "");
        assert!(is_met(EXIT(1)), "{}", stage.name);
        for code in [0, 2, 3, 70] {
            assert!(!is_met(EXIT(code)), "{}: {code}", stage.name);
        }
        assert!(!is_met(SIGNAL(libc::SIGHUP)), "{}: a signal has no exit code", stage.name);
    }
    assert_eq!(wrong("stage7_broken", &[], EXIT(0), ""), Some("exit 0".to_string()));
}

#[test]
fn a_stage_that_dies_must_die_of_just_its_signal() {
    assert_eq!(wrong("stage3_broken", &[], SIGNAL(libc::SIGSEGV), ""), None);
    assert_eq!(wrong("stage3_broken", &[], WITH_CORE(libc::SIGSEGV), ""), None);
    for signal in [libc::SIGABRT, libc::SIGBUS, libc::SIGKILL] {
        assert!(wrong("stage3_broken", &[], SIGNAL(signal), "").is_some());
    }
    for code in [0, 1, libc::SIGSEGV, 128 + libc::SIGSEGV] {
        assert_eq!(
            wrong("stage3_broken", &[], EXIT(code), ""),
            Some(format!("exit {code}")),
            "no signal, but a number"
        );
    }
    assert_eq!(wrong("stage3_broken", &[], SIGNAL(libc::SIGABRT), "x\n\n"), Some("SIGABRT".to_string()));
}

#[cfg(target_env = "gnu")]
#[test]
fn a_double_free_must_be_told_in_glibcs_own_words() {
    let Verdict::Signal { signal, text } = stage("stage4_broken").expect else { panic!("it dies") };
    assert_eq!(signal, libc::SIGABRT);
    assert_eq!(wrong("stage4_broken", &[], SIGNAL(signal), &format!("before\n{text}\n")), None);
    for other in ["", "free(): invalid pointer\n", "free(): double free detected in tcache 2\n", &text[1..]] {
        let said = wrong("stage4_broken", &[], SIGNAL(signal), other);
        assert_eq!(said, Some(format!("SIGABRT {}", other.trim_end()).trim_end().to_string()));
    }
    assert!(wrong("stage4_broken", &[], SIGNAL(libc::SIGSEGV), text).is_some());
}

#[test]
fn on_pages_that_are_not_its_own_choice_a_double_free_is_a_fault() {
    let pages = ["--heap", "pages"];
    assert_eq!(wrong("stage4_broken", &pages, SIGNAL(libc::SIGSEGV), ""), None);
    let text = "double free or corruption (!prev)\n";
    assert!(wrong("stage4_broken", &pages, SIGNAL(libc::SIGABRT), text).is_some());
    // Stage 3 is on pages anyway; on malloc it must still die of its own signal.
    assert_eq!(stage("stage3_broken").heap, Heap::Pages);
    assert_eq!(wrong("stage3_broken", &pages, SIGNAL(libc::SIGSEGV), ""), None);
    assert!(wrong("stage3_broken", &["--heap", "malloc"], EXIT(0), "").is_some());
}

/// What comes of a program that is this script.
fn with_program<T>(script: &str, mut run: impl FnMut(&Path) -> Result<T>) -> T {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    // Another test may have forked while the file was open for writing (ETXTBSY).
    let started = std::iter::repeat_with(|| run(&path)).take(1000).find(|result| result.is_ok());
    started.and_then(Result::ok).expect("it starts")
}

/// A program that says how it was started, and ends with this status.
fn once_in(environment: &Environment, flags: &[&str], name: &str, code: i32) -> Option<String> {
    let says = "$* core=$(ulimit -c) cores=$(nproc) $MALLOC_ARENA_MAX$MALLOC_PERTURB_$GLIBC_TUNABLES$MALLOC_TOP_PAD_";
    let (end, millis) = with_program(&format!("echo \"{says}\" >&2; exit {code}"), |path| {
        once(path, stage(name), &options(name, flags), environment, &mut None)
    });
    assert!(millis > 0.0 && millis < 60_000.0);
    end
}

#[test]
fn a_program_is_started_with_the_flags_that_the_reader_gave() {
    let end = |name, flags: &[&str]| once_in(&PLAIN, flags, name, 9).expect("it ends with 9");
    assert!(end("stage3_fixed", &[]).starts_with("exit 9 --workers 4 core="));
    let more = ["--heap", "malloc", "--workers", "7"];
    assert!(end("stage3_fixed", &more).starts_with("exit 9 --workers 7 --heap malloc core="));
    assert!(end("stage3_fixed", &["--heap", "pages"]).starts_with("exit 9 --workers 4 --heap pages core="));
    assert!(end("stage2_reactor --lose-edge", &[]).starts_with("exit 9 --workers 4 --lose-edge core="));
    assert!(end("stage2_reactor --level", &[]).starts_with("exit 9 --workers 4 --level core="));
    assert!(end("stage7_fixed --tail", &[]).starts_with("exit 9 --workers 4 --tail core="));
    assert!(end("stage8_fixed --reuseport", &[]).starts_with("exit 9 --workers 4 --reuseport core="));
}

#[test]
fn each_environment_is_what_its_name_says() {
    for environment in &ENVIRONMENTS {
        let said = once_in(environment, &[], "stage3_fixed", 9).expect("it ends with 9");
        let name = environment.name;
        assert!(said.contains(" core=0 "), "{name}: {said}");
        if name == "one core" {
            assert!(said.contains(" cores=1"), "{said}");
        }
        let variable = said.split(" cores=").nth(1).and_then(|rest| rest.split_once(' ')).map_or("", |(_, rest)| rest);
        let wanted = match name {
            "MALLOC_ARENA_MAX=1" => "1",
            "MALLOC_PERTURB_=165" => "165",
            "tcache_count=0" => "glibc.malloc.tcache_count=0",
            "MALLOC_TOP_PAD_=1000000" => "1000000",
            _ => "",
        };
        assert_eq!(variable, wanted, "{name}: {said}");
    }
    assert_eq!(ENVIRONMENTS.iter().filter(|one| one.one_core).count(), 1);
    assert_eq!(ENVIRONMENTS.iter().filter(|one| one.busy).map(|one| one.name).collect::<Vec<_>>(), ["two busy loops"]);
    assert_eq!(once_in(&PLAIN, &[], "stage3_fixed", 0), None);
    let nowhere =
        once(std::path::Path::new("/nowhere"), stage("stage3_fixed"), &options("stage3_fixed", &[]), &PLAIN, &mut None);
    assert!(nowhere.is_err_and(|error| error.to_string() == "cannot run /nowhere"));
}

/// Says which cores it may use, as `2-5,7`.
const CORES: &str = "grep Cpus_allowed_list /proc/self/status >&2; exit 9";

#[test]
fn one_core_is_the_first_that_this_process_may_use() {
    let cores = |environment: &Environment| {
        let once =
            |path: &Path| once(path, stage("stage3_fixed"), &options("stage3_fixed", &[]), environment, &mut None);
        let end = with_program(CORES, once).0.expect("it ends with 9");
        end.rsplit(['\t', ' ']).next().expect("there are cores").to_string()
    };
    let all = cores(&PLAIN);
    assert_eq!(Some(cores(&ENVIRONMENTS[1]).as_str()), all.split(['-', ',']).next(), "of {all}");
}

#[test]
fn a_run_that_says_what_the_machine_lacks_ends_all_and_any_other_is_counted() {
    let stage = stage("stage3_fixed");
    let lacks = "the server could not go on: the limit on open files is reached";
    let never = "io_uring is switched off";
    let here = format!("stage3_fixed: {NOT_HERE}{never}\n");
    for (status, stderr, why) in [
        (EXIT(0), "", None),
        (EXIT(1), "stage3_fixed: it broke\n", None),
        (EXIT(LAB_FAILED), "stage3_fixed: the lab itself failed: a limit\n", None),
        (SIGNAL(2), "", None),
        (SIGNAL(3), "", None),
        (EXIT(2), &format!("before\nstage3_fixed: {lacks}\n"), Some((lacks, false))),
        // Of another program it is told with its name.
        (EXIT(2), "sh: not found\n", Some(("sh: not found", false))),
        (EXIT(2), "", Some(("", false))),
        (EXIT(3), &here, Some((never, true))),
        (EXIT(3), "stage3_fixed: not so\n", Some(("not so", true))),
    ] {
        let checked = check(stage, status, stderr).map_err(|error| (error.to_string(), process::is_impossible(&error)));
        assert_eq!(checked.err(), why.map(|(why, never)| (why.to_string(), never)), "{status} {stderr:?}");
    }
    // So it is with a whole run.
    let (name, script) = ("stage3_fixed", "echo 'stage3_fixed: no memory' >&2; exit 2");
    let error = with_program(script, |path| match once(path, stage, &options(name, &[]), &PLAIN, &mut None) {
        Err(error) if error.to_string().contains("cannot run") => Err(error),
        other => Ok(other.map(|_| ())),
    });
    assert_eq!(error.expect_err("it ends all").to_string(), "no memory");
}

#[test]
fn the_environments_take_turns_and_each_has_its_own_count() {
    let name = "stage3_fixed";
    for (code, right) in [(0, true), (9, false)] {
        let script = format!("exit {code}");
        let (rows, first) = with_program(&script, |path| runs(path, stage(name), &options(name, &[]), 9));
        let counts: Vec<_> = rows.iter().map(|row| (row.millis.len(), row.right, row.wrong.len())).collect();
        let wanted = [2, 2, 1, 1, 1, 1, 1].map(|n| if right { (n, n as u64, 0) } else { (n, 0, n) });
        assert_eq!((counts.as_slice(), first), (&wanted[..], None));
    }
}

fn rows() -> Vec<Row> {
    let mut rows = vec![Row::default(); ENVIRONMENTS.len()];
    rows[0] = Row { right: 3, wrong: vec![], millis: vec![30.0, 10.0, 20.0] };
    rows[2] = Row { right: 1, wrong: (1..=6).map(|n| format!("exit {n}")).collect(), millis: vec![5.0; 7] };
    rows
}

#[test]
fn one_run_that_ended_wrong_is_a_failure_of_the_lab() {
    assert_eq!(end_of(&rows(), 10), End::Said(1, "6 of 10 runs did not end as they must".to_string()));
    assert_eq!(end_of(&rows()[..1], 3), End::Code(0));
    assert_eq!(end_of(&rows()[..1], 4), End::Said(1, "1 of 4 runs did not end as they must".to_string()));
}

#[test]
fn the_table_has_a_row_for_each_environment_that_was_run_and_the_first_five_wrong_ends() {
    assert_eq!(
        table(stage("stage3_fixed"), &rows(), 10, None),
        "stage3_fixed --repeat 10: each run must end by exit 0

  environment               runs   right    median       max
  plain                        3       3   20.0 ms   30.0 ms
  two busy loops               7       1    5.0 ms    5.0 ms
  all                         10       4    5.0 ms   30.0 ms

  not as it must (two busy loops): exit 1

  not as it must (two busy loops): exit 2

  not as it must (two busy loops): exit 3

  not as it must (two busy loops): exit 4

  not as it must (two busy loops): exit 5
"
    );
}

#[test]
fn the_json_has_all_environments() {
    let value = to_json(stage("stage3_broken"), &rows(), 10, None);
    assert_eq!(
        (&value["stage"], &value["runs"], &value["must_end_by"]),
        (&"stage3_broken".into(), &10.into(), &"SIGSEGV".into())
    );
    let environments = value["environments"].as_array().expect("a list");
    assert_eq!(environments.len(), ENVIRONMENTS.len());
    let plain = json!({"environment": "plain", "runs": 3, "right": 3, "wrong": [], "median_ms": 20.0, "max_ms": 30.0});
    assert_eq!(environments[0], plain);
    assert_eq!((&environments[2]["right"], environments[2]["wrong"].as_array().map(Vec::len)), (&1.into(), Some(6)));
    assert_eq!(environments[1]["median_ms"], 0.0);
}

#[test]
fn a_median_is_the_one_in_the_middle() {
    assert_eq!((median(&[]), median(&[3.0]), median(&[9.0, 1.0, 5.0]), max(&[1.0, 7.0, 3.0])), (0.0, 3.0, 5.0, 7.0));
}

#[test]
fn under_an_order_of_the_readers_own_all_must_end_as_the_first() {
    let own = options("stage4_fixed", &["--schedule", "own.schedule"]);
    let stage = stage("stage4_fixed");
    let mut first = None;
    let text = "double free or corruption (!prev)\n";
    let mut ends = |status, stderr: &str| wrong_end(stage, &own, &mut first, status, stderr);
    assert_eq!(ends(SIGNAL(libc::SIGABRT), text), None);
    assert_eq!(ends(WITH_CORE(libc::SIGABRT), text), None);
    assert_eq!(ends(EXIT(0), ""), Some("exit 0".to_string()));
    assert_eq!(ends(SIGNAL(libc::SIGABRT), "munmap_chunk(): x\n"), Some("SIGABRT munmap_chunk(): x".to_string()));
    assert_eq!(must(stage, first.as_deref()), "SIGABRT double free or corruption (!prev), as the first");
    // The lab's own failure is no end, also if it comes each time.
    let mut first = None;
    assert!((0..2).all(|_| wrong_end(stage, &own, &mut first, EXIT(LAB_FAILED), "").is_some()));
    let started =
        once_in(&PLAIN, &["--schedule", "own.schedule"], "stage4_fixed", LAB_FAILED).expect("it ends with 70");
    assert!(started.starts_with("exit 70 --workers 4 --schedule own.schedule core="), "{started}");
}

#[test]
fn each_environment_has_a_name_of_its_own_and_what_that_says() {
    let names: std::collections::BTreeSet<_> = ENVIRONMENTS.iter().map(|one| one.name).collect();
    assert_eq!((names.len(), ENVIRONMENTS[0].name), (ENVIRONMENTS.len(), "plain"));
    for Environment { name, variable, one_core, busy } in &ENVIRONMENTS {
        let says = variable.map(|(variable, value)| match variable {
            "GLIBC_TUNABLES" => value.trim_start_matches("glibc.malloc.").to_string(),
            _ => format!("{variable}={value}"),
        });
        assert_eq!(says.is_some(), name.contains('='), "{name}");
        assert!(says.is_none_or(|says| says == *name), "{name}");
        assert_eq!((*one_core, *busy), (*name == "one core", *name == "two busy loops"));
    }
}

#[test]
fn the_json_says_how_each_run_must_end() {
    for (name, ends) in [("stage3_fixed", "exit 0"), ("stage6_broken", "exit 1, a hang")] {
        assert_eq!(to_json(stage(name), &rows(), 10, None)["must_end_by"], ends);
    }
}

#[test]
fn of_all_ends_just_one_is_right_for_a_stage_and_the_table_names_it() {
    let double_free = "double free or corruption (!prev)";
    let ends = [
        ("exit 0", EXIT(0), ""),
        ("exit 1", EXIT(1), "stage: it broke"),
        ("exit 2", EXIT(2), ""),
        ("exit 3", EXIT(3), ""),
        ("exit 70", EXIT(LAB_FAILED), ""),
        ("exit 139", EXIT(128 + libc::SIGSEGV), ""),
        ("SIGSEGV", SIGNAL(libc::SIGSEGV), ""),
        ("SIGABRT", SIGNAL(libc::SIGABRT), double_free),
        ("SIGKILL", SIGNAL(libc::SIGKILL), ""),
    ];
    for (name, right, must_end_by) in [
        ("stage2_reactor", "exit 0", "exit 0"),
        ("stage3_fixed", "exit 0", "exit 0"),
        ("stage7_fixed --tail", "exit 0", "exit 0"),
        ("stage3_broken", "SIGSEGV", "SIGSEGV"),
        #[cfg(target_env = "gnu")]
        ("stage4_broken", "SIGABRT", "SIGABRT double free or corruption (!prev)"),
        ("stage5_broken", "exit 1", "exit 1, a stranger's bytes"),
        ("stage6_broken", "exit 1", "exit 1, a hang"),
        ("stage7_broken", "exit 1", "exit 1, it does not stop"),
        ("stage7_broken --tail", "exit 1", "exit 1, bytes missing"),
        ("stage8_broken", "exit 1", "exit 1, a herd"),
    ] {
        for (end, status, stderr) in &ends {
            let told = (*end != right).then(|| format!("{end} {stderr}").trim_end().to_string());
            assert_eq!(wrong(name, &[], *status, stderr), told, "{name}");
        }
        assert_eq!(must(stage(name), None), must_end_by, "{name}");
    }
}

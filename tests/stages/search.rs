//! `--search`: an order is found, made shorter, kept and run again; nothing is found where there is nothing; and what that is worth.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::own::{build_own, build_text, run_program};
use crate::support::{Output, command, finish, normalised, run};

/// Searches in a folder of its own.
fn search_in(folder: &Path, name: &str, arguments: &[&str]) -> Output {
    let mut words = name.split(' ');
    let mut command = command(words.next().expect("a name"));
    command.args(words).arg("--search").args(arguments).current_dir(folder);
    finish(command)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for a folder")
}

/// The numbers of `found in run R of N, bound B; shrunk to S steps; written to FILE`.
#[derive(Debug)]
struct Found {
    run: u64,
    by: String,
    steps: usize,
    file: String,
}

fn found(output: &Output) -> Found {
    let last = output.stdout.lines().last().unwrap_or_default();
    let parse = || {
        let rest = last.strip_prefix("found in run ")?;
        let (run, rest) = rest.split_once(", ")?;
        let (by, rest) = rest.split_once("; shrunk to ")?;
        let (steps, file) = rest.split_once(" steps; written to ")?;
        let run = run.split(' ').next()?.parse().ok()?;
        Some(Found { run, by: by.to_string(), steps: steps.parse().ok()?, file: file.to_string() })
    };
    parse().unwrap_or_else(|| panic!("{}", output.all()))
}

/// The steps of a schedule's text: neither comments nor plans.
fn steps(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty() && !line.contains(" plan ")).count()
}

#[test]
fn every_bug_of_the_book_is_found_within_its_bound_and_the_order_shows_it_again() {
    for (name, bound, runs, code, signal) in [
        ("stage2_reactor --lose-edge", 1, 100, Some(1), None),
        ("stage3_broken", 1, 100, None, Some(libc::SIGSEGV)),
        ("stage4_broken", 1, 100, None, Some(libc::SIGABRT)),
        ("stage5_broken", 2, 250, Some(1), None),
        ("stage6_broken", 1, 100, Some(1), None),
        ("stage7_broken", 1, 100, Some(1), None),
        ("stage7_broken --tail", 1, 100, Some(1), None),
        ("stage8_broken", 1, 100, Some(1), None),
    ] {
        let folder = folder();
        let output = search_in(folder.path(), name, &[]);
        assert_eq!((output.code(), output.signal()), (code, signal), "{name}: {}", output.all());
        let found = found(&output);
        let in_bound = (0..=bound).any(|bound| found.by == format!("bound {bound}"));
        assert!(found.run <= runs && in_bound, "{name}: {found:?}");
        assert!(output.stdout.contains("show it in 20 of 20 runs"), "{name}: {}", output.all());
        let order = std::fs::read_to_string(folder.path().join(&found.file)).expect("it was written");
        let built_in = lab::catalogue::exhibits().find(|stage| stage.name == name).expect("an exhibit").schedule.text;
        assert_eq!(steps(&order), found.steps, "{order}");
        assert!(found.steps <= steps(built_in), "{name}: {order}");
        assert!(order.starts_with(&format!("# {name}: ")) && order.contains("# Found by --search in run "), "{order}");
        // As an ordinary schedule it shows the same.
        let mut words = name.split(' ');
        let mut again = command(words.next().expect("a name"));
        again.args(words).args(["--workers", "2", "--schedule", &found.file]).current_dir(folder.path());
        let again = finish(again);
        assert_eq!((again.code(), again.signal()), (code, signal), "{name}: {order}{}", again.all());
    }
}

/// Times as `T`, since they are different each time.
fn without_times(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let is_time = |at: usize| {
        let unit = words.get(at + 1).is_some_and(|unit| ["s,", "s", "ms"].contains(unit));
        unit && words[at].parse::<f64>().is_ok()
    };
    (0..words.len()).map(|at| if is_time(at) { "T" } else { words[at] }).collect::<Vec<_>>().join(" ")
}

/// What a search says, for eyes to compare: of what it has found, and of what it has not. (Where chance may show something
/// when the order is over, as in stage 4, it says so now and then.)
#[test]
fn a_search_says_what_it_said_when_it_was_looked_at() {
    for (name, arguments) in [
        ("stage3_broken", ""),
        ("stage6_broken", "--strategy pct"),
        ("stage3_fixed", "--runs 40"),
        ("stage6_fixed", "--strategy delays --depth 1"),
    ] {
        let folder = folder();
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let output = search_in(folder.path(), name, &arguments);
        let found = std::fs::read_to_string(folder.path().join(format!("{name}.found.schedule"))).unwrap_or_default();
        insta::assert_snapshot!(
            format!("search_{name}"),
            format!("{}\n--- the schedule that was written\n{found}", without_times(&normalised(&output.stdout)))
        );
    }
}

#[test]
fn nothing_is_found_where_there_is_nothing_and_the_bound_is_said() {
    for stage in lab::catalogue::exhibits().filter(|stage| stage.expect == lab::catalogue::Verdict::Serves) {
        if stage.feature.is_some() {
            continue;
        }
        let folder = folder();
        let output = search_in(folder.path(), stage.name, &["--strategy", "delays", "--depth", "1"]);
        assert_eq!(output.code(), Some(0), "{}: {}", stage.name, output.all());
        let last = output.stdout.lines().last().unwrap_or_default();
        let runs = last.strip_prefix("nothing found: bound 1 complete, ").and_then(|rest| rest.split(' ').next());
        let runs: u64 = runs.and_then(|runs| runs.parse().ok()).unwrap_or_else(|| panic!("{}", output.all()));
        let said = format!("every order with at most one delay: {runs} of {runs}");
        assert!(output.stdout.contains(&said), "{}", output.all());
        assert!(runs > 1 && std::fs::read_dir(folder.path()).expect("it is there").next().is_none());
        assert!(!output.stdout.contains("\nluck "), "{}", output.all());
    }
}

#[test]
fn freed_memory_that_malloc_lets_be_used_is_told_where_nothing_is_found() {
    let delays = ["--heap", "malloc", "--strategy", "delays", "--depth", "1"];
    let output = search_in(folder().path(), "stage3_broken", &delays);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let luck = output.stdout.lines().find_map(|line| line.strip_prefix("luck      ")).unwrap_or_default();
    let said =
        " runs used freed memory, or freed it again, and survived: the black box saw it; --heap pages faults at it";
    assert!(luck.ends_with(said), "{}", output.all());
    let used = |name: &str| -> Option<u64> {
        let output = search_in(folder().path(), name, &[&delays[..], &["--json"]].concat());
        let json: serde_json::Value = serde_json::from_str(&output.stdout).ok()?;
        json["search"]["used_freed_memory"].as_u64()
    };
    assert!(used("stage3_broken") > Some(0));
    assert_eq!(used("stage3_fixed"), Some(0));
}

#[test]
fn random_orders_find_it_too_and_say_their_seed_which_is_that_order() {
    for strategy in ["random", "pct", "pos", "surw"] {
        let folder = folder();
        let output = search_in(folder.path(), "stage7_broken", &["--strategy", strategy, "--runs", "200"]);
        assert_eq!(output.code(), Some(1), "{strategy}: {}", output.all());
        let found = found(&output);
        let seed = found.by.strip_prefix(&format!("{strategy}, seed ")).unwrap_or_else(|| panic!("{found:?}"));
        let again = ["--strategy", strategy, "--runs", "1", "--seed", seed, "--output", "again"];
        let again = search_in(folder.path(), "stage7_broken", &again);
        assert_eq!(again.code(), Some(1), "{strategy}, seed {seed}: {}", again.all());
    }
    // The calm run, which fails here, is none of them.
    let output = search_in(folder().path(), "stage3_broken", &["--strategy", "random"]);
    assert!(found(&output).by.starts_with("random, seed "), "{}", output.all());
    let none = search_in(folder().path(), "stage6_fixed", &["--strategy", "pct", "--runs", "40", "--seed", "100"]);
    assert_eq!(none.code(), Some(0), "{}", none.all());
    assert!(none.stdout.contains("pct       0 of 40: at 95% at most 1 in 13, under this strategy"), "{}", none.all());
    assert!(none.stdout.ends_with("nothing found: 41 runs\n"), "{}", none.all());
}

#[test]
fn the_same_seed_is_the_same_order_a_hundred_times() {
    let folder = folder();
    let order = |seed: u64| {
        let arguments = ["--strategy", "random", "--runs", "1", "--seed", &seed.to_string(), "--json"];
        let output = search_in(folder.path(), "stage5_fixed", &arguments);
        let json: serde_json::Value =
            serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.all()));
        json["search"]["last_order"].as_str().unwrap_or_else(|| panic!("{json:#}")).to_string()
    };
    let first = order(7);
    assert!(first.lines().count() > 20, "{first}");
    assert!((1..100).all(|_| order(7) == first));
    assert_ne!(order(8), first);
}

#[test]
fn clients_of_the_readers_own_are_the_ones_that_come() {
    let folder = folder();
    let clients = ["--client", "plan GET 2; send 29; send 29; receive", "--client", "plan POST 100; send 50; fin"];
    let output = search_in(folder.path(), "stage7_fixed", &[&clients[..], &["--runs", "12", "--stop"]].concat());
    assert_eq!(output.code(), Some(0), "{}", output.all());
    // Bytes without a plan are what stage 3's own client sends, and they are counted.
    let raw = ["--client", "send 2048; send 2048; reset", "--depth", "1"];
    assert_eq!(search_in(folder.path(), "stage3_fixed", &raw).code(), Some(0));
    // Where one client breaks off, what another gets may be its.
    let two = ["--client", "plan POST 1024; send 1082; reset", "--client", "plan POST 2048; send 2106; receive"];
    let output = search_in(folder.path(), "stage5_broken", &[&two[..], &["--runs", "250"]].concat());
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert!(output.stdout.contains("a client gets bytes that are not its own"), "{}", output.all());
}

#[test]
fn what_cannot_be_searched_is_one_sentence() {
    for (name, arguments, says) in [
        (
            "stage3_broken",
            &["--client", "send 2048; jump"][..],
            "--client, client, step 2 (`jump`): a client cannot `jump`",
        ),
        (
            "stage4_fixed",
            &["--client", "plan GET 1; send 99"],
            "step 2 (`send 99`): the plan has not so many bytes left",
        ),
        ("stage4_fixed", &["--client", "connect; connect"], "step 2 (`connect`): the client is connected already"),
        ("stage6_fixed", &["--client", "send 2048"], "bytes without a plan are owed no reply"),
        (
            "stage3_broken",
            &["--client", "fin", "--client", "fin", "--client", "fin", "--client", "fin"],
            "at most 3 clients",
        ),
        ("stage3_broken", &["--depth", "0"], "'0'"),
        ("stage3_broken", &["--runs", "0"], "'0'"),
        ("stage3_broken", &["--strategy", "luck"], "'luck'"),
        ("stage3_broken", &["--schedule", "x"], "cannot be used with"),
        ("stage3_broken", &["--wild"], "cannot be used with"),
        ("stage3_broken", &["--repeat", "2"], "cannot be used with"),
        ("stage3_broken", &["--bare"], "cannot be used with"),
    ] {
        let output = search_in(folder().path(), name, arguments);
        assert_eq!((output.code(), output.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", output.all());
        assert!(output.stderr.contains(says), "{arguments:?}: {}", output.all());
        assert!(!output.stderr.contains("panicked"), "{}", output.all());
    }
    // A limit that is none is one.
    let output = search_in(folder().path(), "stage7_fixed", &["--seconds", "18446744073709551615", "--depth", "1"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    for alone in ["--strategy", "--runs", "--depth", "--seed", "--client", "--output"] {
        let output = run("stage3_broken", &[alone, "1"]);
        assert_eq!(output.code(), Some(2), "{alone} says nothing without --search: {}", output.all());
    }
}

#[test]
fn an_order_that_cannot_be_written_goes_to_standard_output() {
    let output = search_in(folder().path(), "stage7_broken", &["--output", "/nowhere/at/all"]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert!(output.stderr.contains("cannot write the order to /nowhere/at/all"), "{}", output.all());
    assert_eq!(found(&output).file, "standard output");
    assert!(output.stdout.contains("\noperator  stop\n"), "{}", output.all());
    // Also where this folder takes no file.
    let folder = folder();
    let closed = folder.path().join("closed");
    std::fs::write(&closed, "").expect("there is room");
    let output = search_in(folder.path(), "stage7_broken", &["--output", "closed/order"]);
    assert!(output.code() == Some(1) && output.stdout.contains("\noperator  stop\n"), "{}", output.all());
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let folder = folder();
    for name in ["stage7_broken.found.schedule", "stage7_broken.found-2.schedule", "stage7_broken.found-3.schedule"] {
        assert_eq!(found(&search_in(folder.path(), "stage7_broken", &[])).file, name);
    }
}

#[test]
fn told_to_end_it_says_how_far_it_came_and_leaves_nothing_behind() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let folder = folder();
        let mut command: Command = command("stage5_fixed");
        command.args(["--search", "--runs", "1000000", "--seconds", "1000", "--depth", "3"]).current_dir(folder.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("it starts");
        let pid = child.id() as libc::pid_t;
        // It has a server by now, or soon.
        let start = Instant::now();
        while std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "no server");
        }
        // SAFETY: the process is our child, and was not waited for.
        unsafe { libc::kill(pid, signal) };
        let output = child.wait_with_output().expect("it is our child");
        use std::os::unix::process::ExitStatusExt;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.signal(), Some(signal), "{said}");
        let name = if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" };
        assert!(
            said.lines().last().is_some_and(|last| last.starts_with(&format!("nothing found before {name}: "))),
            "{said}"
        );
    }
}

#[test]
fn told_to_end_while_it_makes_an_order_shorter_it_keeps_what_it_has() {
    let folder = folder();
    let mut command: Command = command("stage6_broken");
    command.args(["--search", "--output", "order"]).current_dir(folder.path());
    let child = command.spawn().expect("it starts");
    let start = Instant::now();
    let written = || std::fs::read_to_string(folder.path().join("order")).unwrap_or_default();
    while !written().contains("client") {
        assert!(start.elapsed() < Duration::from_secs(50), "nothing was written");
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: the process is our child, and was not waited for.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
    let output = child.wait_with_output().expect("it is our child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.lines().last().is_some_and(|last| last.starts_with("found in run ")), "{said}");
    let mut again = crate::support::command("stage6_broken");
    again.args(["--workers", "2", "--schedule", "order"]).current_dir(folder.path());
    assert_eq!(finish(again).code(), Some(1), "{}", written());
}

#[test]
fn the_json_has_all_that_the_text_says() {
    let folder = folder();
    let output = search_in(folder.path(), "stage7_broken", &["--json", "--trace", "trace.json"]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("it is JSON");
    let search = &json["search"];
    assert_eq!(search["found"], "told to stop, the server never ends");
    assert_eq!((search["replays"]["showed_it"].as_u64(), search["replays"]["of"].as_u64()), (Some(20), Some(20)));
    let file = search["file"].as_str().expect("a path");
    assert_eq!(
        std::fs::read_to_string(folder.path().join(file)).expect("it was written"),
        search["schedule"].as_str().unwrap_or("")
    );
    assert_eq!(json["run"]["stage"], "stage7_broken", "{json:#}");
    assert!(std::fs::read_to_string(folder.path().join("trace.json")).is_ok_and(|trace| trace.starts_with('{')));
    let none = search_in(folder.path(), "stage7_fixed", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&none.stdout).expect("it is JSON");
    assert_eq!(
        (json["search"]["found"].is_null(), json["search"]["bound_complete"].as_u64()),
        (true, Some(2)),
        "{json:#}"
    );
}

#[allow(dead_code)]
#[path = "../loom/wrong/patch.rs"]
mod patch;

/// What clients may do, besides what they do in the stage's own schedule.
const SCRIPTS: [&[&str]; 6] = [
    &[],
    &["--client", "plan GET 3; send 20; send 38; send 29; receive"],
    &["--client", "plan GET 2; send 58; fin; receive"],
    &["--client", "plan POST 6000; send 3000; send 3059; receive"],
    &["--client", "plan GET 1; send 29; reset", "--client", "plan GET 1; send 10; send 19; receive"],
    &["--client", "plan GET 2; send 29; send 29; receive", "--client", "plan GET 1; send 29; fin", "--stop"],
];

/// A wrong fix of the gallery: its stage, the program, and what it said of each script until one found something.
fn search_wrong(folder: &Path, path: &Path, runs: &str) -> (String, Option<(usize, Output)>) {
    let text = std::fs::read_to_string(path).expect("a patch is text");
    let patch = patch::Patch::parse(&text).expect("it is a patch");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("lab/stages/{}.rs", patch.stage));
    let source = std::fs::read_to_string(source).expect("the stage is there");
    let program = build_text(folder, &patch.stage, &patch.apply(&source).expect("it fits"));
    let found = SCRIPTS.iter().enumerate().find_map(|(script, clients)| {
        // The two clients of stage 7 are two exhibits.
        let flags: &[&[&str]] = if patch.stage == "stage7_fixed" { &[&[], &["--tail"]] } else { &[&[]] };
        flags.iter().find_map(|flags| {
            let arguments = [flags, &["--search", "--runs", runs, "--output", "order"][..], clients].concat();
            let output = run_program(&program, &arguments);
            let said = output.stdout.lines().last().unwrap_or_default();
            assert!(said.starts_with("found in run ") || said.starts_with("nothing found: "), "{}", output.all());
            said.starts_with("found in run ").then_some((script, output))
        })
    });
    (patch.stage, found)
}

/// Wrong fixes that the search finds on the real kernel: each with what is shown of it, and by which of [`SCRIPTS`].
/// Two workers that run freely in one session end it in one way or another.
const FOUND: [(&str, usize, &[&str]); 5] = [
    ("stage3/read_unwrapped", 0, &["the server panics"]),
    ("stage4/edge_is_once", 0, &["SIGABRT: double free or corruption", "the server panics"]),
    ("stage4/new_buffer_after_the_rearm", 0, &["SIGABRT: double free or corruption"]),
    ("stage5/checked_once", 0, &["a client gets bytes that are not its own"]),
    ("stage7/join_before_close", 0, &["told to stop, the server never ends"]),
];

/// Those that take longer, since each of their runs waits: only with `LAB_LONG=1`.
const FOUND_SLOWLY: [(&str, usize, &[&str]); 4] = [
    ("stage3/join_before_close", 0, &["told to stop, the server never ends"]),
    ("stage4/rearm_first", 0, &["SIGABRT: double free or corruption"]),
    ("stage4/try_lock_goes_home", 0, &["a client waits, and nobody can move"]),
    ("stage5/bumped_when_occupied", 0, &["a client gets bytes that are not its own"]),
];

fn wrong_fixes_are_found(stage: &str) {
    let gallery = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loom/wrong");
    let slowly = FOUND_SLOWLY.into_iter().filter(|_| std::env::var_os("LAB_LONG").is_some());
    for (name, script, says) in FOUND.into_iter().chain(slowly).filter(|(name, ..)| name.starts_with(stage)) {
        let folder = folder();
        let (_, found) = search_wrong(folder.path(), &gallery.join(format!("{name}.patch")), "120");
        let (by, output) = found.unwrap_or_else(|| panic!("{name}: nothing found"));
        assert!(says.iter().any(|says| output.stdout.contains(says)), "{name}: {}", output.all());
        assert_eq!(by, script, "{name}");
    }
}

// Each in a test of its own, so that they run beside each other.
#[test]
fn wrong_fixes_of_stage_3_are_found() {
    wrong_fixes_are_found("stage3");
}

#[test]
fn wrong_fixes_of_stage_4_are_found() {
    wrong_fixes_are_found("stage4");
}

#[test]
fn wrong_fixes_of_stage_5_are_found() {
    wrong_fixes_are_found("stage5");
}

#[test]
fn wrong_fixes_of_stage_7_are_found() {
    wrong_fixes_are_found("stage7");
}

#[test]
fn a_server_that_is_not_to_wake_everybody_and_does_is_found() {
    let folder = folder();
    let change = [("Interest::READ.exclusive()", "Interest::READ")];
    let program = build_own(folder.path(), "stage8_fixed", "stage8_fixed", &change);
    let output = run_program(&program, &["--search", "--output", "order"]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert!(output.stdout.contains("one connection wakes everybody"), "{}", output.all());
    assert!(output.stderr.contains("the fixed server woke everybody for one connection"), "{}", output.all());
}

#[test]
fn a_way_out_without_the_rearm_is_found() {
    let folder = folder();
    let change = [("        point(\"rearm\");\n", "        return;\n")];
    let program = build_own(folder.path(), "stage6_fixed", "stage6_fixed", &change);
    let output = run_program(&program, &["--search", "--output", "order"]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert!(output.stdout.contains("a client waits, and nobody can move"), "{}", output.all());
}

#[test]
fn a_server_that_comes_to_no_rest_is_found() {
    let folder = folder();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loom/wrong/stage5/input_after_the_end.patch");
    let text = std::fs::read_to_string(path).expect("a patch is text");
    let patch = patch::Patch::parse(&text).expect("it is a patch");
    let source = lab::catalogue::find(&patch.stage).expect("a stage").source.text;
    let program = build_text(folder.path(), &patch.stage, &patch.apply(source).expect("it fits"));
    let client = "plan POST 1024; send 1082; fin";
    let output = run_program(&program, &["--search", "--runs", "2", "--client", client, "--output", "order"]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert!(output.stderr.contains("the server never comes to rest"), "{}", output.all());
    assert!(!output.stderr.contains("the lab itself failed"), "{}", output.all());
}

/// `LAB_LONG=1 cargo test --test stages search::the_whole_gallery -- --nocapture`: a line for each.
#[test]
fn the_whole_gallery() {
    if std::env::var_os("LAB_LONG").is_none() {
        eprintln!("skipped: it takes some twenty minutes; LAB_LONG=1 has it run");
        return;
    }
    let gallery = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loom/wrong");
    let stages = std::fs::read_dir(gallery).expect("it is there").filter_map(|entry| Some(entry.ok()?.path()));
    let mut patches: Vec<_> = stages
        .filter(|path| path.is_dir())
        .flat_map(|stage| std::fs::read_dir(stage).expect("a folder").filter_map(|entry| Some(entry.ok()?.path())))
        .collect();
    patches.sort();
    let mut count = 0;
    for path in &patches {
        let folder = folder();
        let (stage, found) = search_wrong(folder.path(), path, "300");
        let name = path.file_stem().expect("a name").to_string_lossy();
        let said = found.map(|(script, output)| {
            let shown = output.stdout.lines().next().unwrap_or_default().to_string();
            format!("script {script}: {shown}")
        });
        count += usize::from(said.is_some());
        println!("{stage} {name}: {}", said.unwrap_or("nothing".to_string()));
    }
    println!("{count} of {} found", patches.len());
    assert!(count >= FOUND.len() + FOUND_SLOWLY.len(), "those were found by themselves");
}

#[test]
fn a_server_of_the_readers_own_needs_neither_a_schedule_nor_known_points() {
    let folder = folder();
    let renamed = [("point(\"read\")", "point(\"drain\")"), ("point(\"remove\")", "point(\"give_up\")")];
    let program = build_own(folder.path(), "stage3_mine", "stage3_broken", &renamed);
    let order = folder.path().join("order").display().to_string();
    let output = run_program(&program, &["--search", "--client", "send 2048; send 2048; reset", "--output", &order]);
    assert_eq!(output.signal(), Some(libc::SIGSEGV), "{}", output.all());
    let text = std::fs::read_to_string(&order).expect("it was written");
    assert!(text.contains("drain") || text.contains("give_up"), "{text}");
    let again = run_program(&program, &["--workers", "2", "--schedule", &order]);
    assert_eq!(again.signal(), Some(libc::SIGSEGV), "{text}{}", again.all());
}

#[test]
fn a_panic_is_the_servers_and_is_found() {
    let folder = folder();
    let change = [(
        "Ok(_) | Err(_) => break,",
        "Ok(_) => break, Err(error) if error.kind() == ErrorKind::WouldBlock => break, Err(error) => panic!(\"{error}\"),",
    )];
    let program = build_own(folder.path(), "stage3_fixed", "stage3_fixed", &change);
    let output = run_program(&program, &["--search", "--output", "order"]);
    assert_eq!(output.code(), Some(1), "{}", output.all());
    assert!(output.stderr.contains("stage3_fixed: the server panicked: panicked at "), "{}", output.all());
    assert!(!output.stderr.contains("the lab itself failed"), "{}", output.all());
    found(&output);
}

#[test]
fn a_trace_for_perfetto_has_the_arrows_that_the_report_tells_of() {
    let folder = folder();
    for (name, arrow) in [
        ("stage3_broken", "free to use"),
        ("stage4_broken", "free to free"),
        ("stage4_fixed", "unlock to lock"),
        ("stage7_fixed", "notify to woken"),
    ] {
        let mut command = command(name);
        command.args(["--trace", "trace.json", "--format", "perfetto"]).current_dir(folder.path());
        finish(command);
        let text = std::fs::read_to_string(folder.path().join("trace.json")).expect("it was written");
        let trace: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let events = trace["traceEvents"].as_array().expect("it has events");
        let count = |ph: &str| events.iter().filter(|event| event["ph"] == ph).count();
        assert!(count("X") > 20 && count("s") == count("f"), "{name}");
        let tracks = events.iter().filter(|event| event["name"] == "thread_name");
        let tracks: Vec<&str> = tracks.filter_map(|event| event["args"]["name"].as_str()).collect();
        assert_eq!(tracks[..2], ["client", "main"], "{name}");
        assert!(events.iter().any(|event| event["ph"] == "s" && event["name"] == arrow), "{name}: no {arrow}");
    }
    let output = run("stage3_broken", &["--format", "perfetto"]);
    assert_eq!(output.code(), Some(2), "a format of what? {}", output.all());
}

//! `--search`: an order is found, made shorter, kept and run again; nothing is found where there is nothing; and what that is worth.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::own::{build_own, run_program};
use crate::support::{Output, command, finish, run};

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
    }
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
    let output = search_in(folder.path(), "stage7_fixed", &[&clients[..], &["--runs", "40", "--stop"]].concat());
    assert_eq!(output.code(), Some(0), "{}", output.all());
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

/// Wrong fixes that somebody could write, of which each is found on the real kernel: the change, what its clients do, and what is said.
const WRONG: [(&str, &[(&str, &str)], &[&str], &str); 2] = [
    (
        "stage4_handoff",
        &[("Interest::READ.edge_triggered().one_shot()", "Interest::READ.edge_triggered()")],
        &[],
        "double free or corruption",
    ),
    ("stage6_fixed", &[("        point(\"rearm\");\n", "        return;\n")], &[], "a client waits"),
];

#[test]
fn wrong_fixes_are_found() {
    for (stage, changes, clients, says) in WRONG {
        let folder = folder();
        let program = build_own(folder.path(), stage, stage, changes);
        let mut arguments = vec!["--search", "--output", "order"];
        arguments.extend(clients.iter().flat_map(|client| ["--client", client]));
        let output = run_program(&program, &arguments);
        assert!(output.stdout.contains(says) && output.stdout.contains("\nfound in run "), "{stage}: {}", output.all());
    }
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

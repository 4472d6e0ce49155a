//! The exhibits: each broken stage dies as it must and the report explains it; each fixed twin lives through the same
//! order.

use crate::support::{command, finish, normalised, on_one_core, run, schedule};

pub const GLIBC: bool = cfg!(target_env = "gnu");

fn report(name: &str) -> String {
    normalised(&run(name, &[]).stdout)
}

#[test]
fn stage3_broken_dies_of_sigsegv_and_the_autopsy_names_who_freed_and_who_used() {
    let output = run("stage3_broken", &[]);
    assert_eq!(output.signal(), Some(libc::SIGSEGV), "{}", output.all());
    insta::assert_snapshot!("stage3_broken", normalised(&output.stdout));
}

#[test]
fn stage4_broken_dies_of_sigabrt_in_glibcs_own_words_and_the_autopsy_names_both_frees() {
    let output = run("stage4_broken", &[]);
    if GLIBC {
        assert_eq!(output.signal(), Some(libc::SIGABRT), "{}", output.all());
        assert_eq!(output.stderr.lines().last(), Some("double free or corruption (!prev)"), "{}", output.all());
        insta::assert_snapshot!("stage4_broken", normalised(&output.stdout));
    } else {
        assert!(output.signal().is_some() || output.code() == Some(3), "{}", output.all());
    }
}

#[test]
fn stage3_fixed_lives_through_the_order_that_kills_its_twin() {
    let output = run("stage3_fixed", &[]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    insta::assert_snapshot!("stage3_fixed", normalised(&output.stdout));
}

#[test]
fn stage4_fixed_refuses_the_second_worker_and_serves_the_upload_to_its_last_byte() {
    let output = run("stage4_fixed", &[]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    insta::assert_snapshot!("stage4_fixed", normalised(&output.stdout));
}

#[test]
fn twenty_of_twenty_end_as_they_must_in_every_environment() {
    for name in ["stage3_broken", "stage3_fixed", "stage4_broken", "stage4_fixed"] {
        let output = run(name, &["--repeat", "20", "--json"]);
        assert_eq!(output.code(), Some(0), "{name}: {}", output.all());
        let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
        let right: u64 =
            json["environments"].as_array().expect("rows").iter().filter_map(|e| e["right"].as_u64()).sum();
        assert_eq!(right, 20, "{}", output.stdout);
    }
}

#[test]
fn the_report_says_the_same_on_one_core() {
    for name in ["stage3_broken", "stage3_fixed", "stage4_broken", "stage4_fixed"] {
        let mut command = command(name);
        on_one_core(&mut command);
        assert_eq!(normalised(&finish(command).stdout), report(name));
    }
}

/// The same order without the fatal step: the broken server is not broken by itself.
#[test]
fn stage3_broken_survives_an_order_without_the_race() {
    let (_folder, path) = schedule(
        "client connect\nclient send 100\nmain wait\nmain queue\nworker-1 take\nworker-1 count\nworker-1 read\nclient reset\nmain remove\n",
    );
    let output = run("stage3_broken", &["--schedule", &path, "--heap", "malloc"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
}

#[test]
fn stage4_on_pages_faults_at_the_second_free() {
    let output = run("stage4_broken", &["--heap", "pages"]);
    assert_eq!(output.signal(), Some(libc::SIGSEGV), "{}", output.all());
}

#[test]
fn stage3_on_malloc_uses_freed_memory_and_nothing_notices() {
    let output = run("stage3_broken", &["--heap", "malloc"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    assert!(output.stdout.contains("use session 1"), "but the box saw it: {}", output.all());
}

#[test]
fn without_a_parent_the_server_dies_by_itself() {
    assert_eq!(run("stage3_broken", &["--bare"]).signal(), Some(libc::SIGSEGV));
    let output = run("stage4_broken", &["--bare"]);
    assert!(!GLIBC || output.signal() == Some(libc::SIGABRT), "{}", output.all());
    for fixed in ["stage3_fixed", "stage4_fixed"] {
        let output = run(fixed, &["--bare"]);
        assert_eq!(output.code(), Some(0), "{}", output.all());
    }
}

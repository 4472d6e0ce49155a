//! The director, on the real servers: orders of the reader's own, refusals, limits, steps that never come.

mod support;

use support::{run, schedule};

#[test]
fn a_step_that_never_comes_is_named_with_what_its_thread_was_doing() {
    let (_folder, path) = schedule("client connect\nmain wait\nworker-1 read\nmain queue\n");
    let output = run("stage3_fixed", &["--schedule", &path]);
    assert_eq!(output.code(), Some(70), "{}", output.all());
    assert!(output.stderr.contains("a step of the schedule never came: worker-1 read"), "{}", output.all());
    assert!(output.stdout.contains("waits for a task"), "{}", output.all());
    assert!(output.stdout.contains("waits for an event"), "{}", output.all());
}

#[test]
fn a_death_is_told_as_it_was_even_if_a_step_is_left() {
    let (_folder, path) = schedule(
        "client connect\nclient send 10\nmain wait\nmain queue\nmain remove\nworker-1 take\nworker-1 read\nclient reset\n",
    );
    let output = run("stage3_broken", &["--schedule", &path]);
    assert_eq!(output.signal(), Some(libc::SIGSEGV), "{}", output.all());
}

#[test]
fn a_worker_beyond_the_tasks_waits_and_is_named() {
    let (_folder, path) = schedule(
        "client connect\nclient send 10\nmain wait\nmain queue\nworker-1 take\nworker-2 take\nworker-2 read\nworker-1 read\nclient reset\n",
    );
    let output = run("stage3_fixed", &["--schedule", &path, "--workers", "2"]);
    assert_eq!(output.code(), Some(70), "{}", output.all());
    assert!(output.stderr.contains("worker-2 read"), "{}", output.all());
}

/// `worker-2` has no step: it may not steal the task, though it was there first.
#[test]
fn a_role_without_a_step_waits_at_its_first_point() {
    let (_folder, path) = schedule(
        "client connect\nclient send 10\nmain wait\nmain queue\nworker-3 take\nworker-3 read\nworker-3 count\nclient reset\nmain remove\n",
    );
    for _ in 0..10 {
        let output = run("stage3_fixed", &["--schedule", &path]);
        assert_eq!(output.code(), Some(0), "{}", output.all());
    }
}

#[test]
fn a_refused_step_names_the_lock_and_its_holder_and_passes_later() {
    let output = run("stage4_fixed", &["--json"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
    let text = json["steps"].to_string();
    assert!(text.contains("refused") && text.contains("worker-1") && text.contains("lock"), "{text}");
    assert_eq!(json["client"]["sent"], 10_485_822, "{json}");
}

/// The occurrence counts from the thread's beginning: the third read of worker-1 is its second task's.
#[test]
fn an_occurrence_chooses_among_the_passes_of_one_point() {
    let (_folder, path) = schedule(
        "client connect\nclient send 10\nmain wait\nmain queue\nworker-1 take\nworker-1 read 2\nclient send 10\nmain wait\nmain queue\nworker-1 read 3\nclient reset\n",
    );
    let output = run("stage3_fixed", &["--schedule", &path, "--json"]);
    assert_eq!(output.code(), Some(0), "{}", output.all());
    let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
    assert_eq!(json["served"]["received"], 20, "{json}");
}

#[test]
fn the_client_sends_the_rest_of_its_plan_and_gets_every_reply_unless_it_closed_its_side() {
    let order = "client plan GET 3\nclient connect\nclient send 29\nmain wait\nmain queue\nworker-1 take\nworker-1 read\nworker-1 write\nclient receive\n";
    for (more, replies) in [("", 3), ("client fin\n", 1)] {
        let (_folder, path) = schedule(&format!("{order}{more}"));
        let output = run("stage4_fixed", &["--schedule", &path, "--json"]);
        assert_eq!(output.code(), Some(0), "{}", output.all());
        let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
        assert_eq!(json["client"]["replies"], replies, "{json}");
    }
}

/// The schedules of the house, on one worker more and less than they name.
#[test]
fn an_order_does_not_depend_on_the_number_of_workers() {
    for workers in ["1", "2", "9", "78"] {
        let output = run("stage3_broken", &["--workers", workers]);
        assert_eq!(output.signal(), Some(libc::SIGSEGV), "{workers} workers: {}", output.all());
    }
}

//! The director, on the real servers: orders of the reader's own, refusals, limits, steps that never come.

use crate::support::{command, finish_in_namespace, in_network, run, schedule};

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

fn json(name: &str, arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output = run(name, &[arguments, &["--json"]].concat());
    let value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("not JSON: {}", output.all()));
    (output.code(), value)
}

const THREE_PLANS: &str = "client plan GET 2\nclient-2 plan POST 9\nclient-3 plan GET 1\n";

/// They come in an order of their own; what is left of each plan is sent after the steps.
#[test]
fn three_clients_are_served_by_one_thread_and_by_workers() {
    let one_thread = "client-3 connect\nmain wait\nclient connect\nclient-2 connect\nmain wait\nclient send 10\n\
                      client-2 send 64\nmain wait\nmain read\nmain read 2\nmain write\nclient-2 receive\nclient-3 send 29\n\
                      main wait\nclient-3 receive\nclient-2 fin\n";
    let workers = "client-3 connect\nclient connect\nclient-2 connect\nmain wait\nclient-2 send 64\nmain wait\nmain queue\n\
                   client send 29\nclient-3 send 29\nmain wait\nmain queue\nmain queue\nworker-3 take\nworker-2 take\n\
                   worker-1 take\nworker-1 find\nworker-3 find\nworker-2 find\nclient-3 fin\nworker-2 return\n\
                   worker-3 return\nworker-1 return\nworker-3 take\nworker-2 take\nworker-1 take\nclient-2 receive\n";
    for (stage, steps) in [("stage2_reactor", one_thread), ("stage5_fixed", workers)] {
        let (_folder, path) = schedule(&format!("{THREE_PLANS}{steps}"));
        let (code, json) = json(stage, &["--schedule", &path]);
        assert_eq!((code, &json["misdelivery"]), (Some(0), &serde_json::Value::Null), "{stage}: {json:#}");
        assert_eq!(
            (&json["client"]["replies"], &json["served"]["replies"]),
            (&4.into(), &4.into()),
            "{stage}: {json:#}"
        );
        assert_eq!(
            (&json["client"]["sent"], &json["served"]["received"]),
            (&151.into(), &151.into()),
            "{stage}: {json:#}"
        );
        let lanes = run(stage, &["--schedule", &path]).stdout;
        let words: Vec<&str> = lanes.split_whitespace().collect();
        assert!(["client", "client-2", "client-3"].iter().all(|client| words.contains(client)), "{lanes}");
    }
}

#[test]
fn a_fourth_client_is_refused_in_one_sentence() {
    let (_folder, path) = schedule(&format!("{THREE_PLANS}client connect\nclient-4 connect\n"));
    let output = run("stage5_fixed", &["--schedule", &path]);
    assert_eq!(output.code(), Some(2), "{}", output.all());
    let said = "line 5: no such role: `client-4`; at most 3 clients can come: `client`, `client-2`, `client-3`";
    assert!(output.stderr.contains(said), "{}", output.all());
}

/// All who can have a role at once: 78 workers, `main`, three clients and the operator.
#[test]
fn the_last_of_the_workers_is_directed_beside_three_clients() {
    let (_folder, path) = schedule(
        "client-3 plan GET 1\nclient-3 connect\nclient-3 send 29\nmain wait\nmain queue\nworker-78 take\nworker-78 find\n\
         worker-78 return\nworker-78 rearm\nclient-3 receive\nclient connect\nclient-2 connect\noperator stop\n",
    );
    let (code, json) = json("stage5_fixed", &["--schedule", &path, "--workers", "78"]);
    assert_eq!(code, Some(0), "{json:#}");
    let outcomes = json["steps"].as_array().expect("a list").iter().map(|step| step["outcome"].clone());
    assert!(outcomes.clone().all(|outcome| outcome == "passed"), "{json:#}");
}

/// 20,000 replies have no room in buffers of 64 KiB: the server reads on only when the client takes them.
#[test]
fn a_client_takes_its_replies_while_it_sends() {
    for (name, first) in [("stage9_sharded", "reactor-1"), ("stage7_fixed", "main")] {
        let (_folder, path) = schedule(&format!("client plan GET 20000\nclient connect\n{first} wait\n"));
        let mut command = command(name);
        command.args(["--json", "--schedule", &path]);
        let room = "4096 65536 65536";
        in_network(&mut command, true, &[("tcp_rmem", room), ("tcp_wmem", room)]);
        let Some(output) = finish_in_namespace(command) else { return };
        assert_eq!(output.code(), Some(0), "{}", output.all());
        let json: serde_json::Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
        assert_eq!((&json["client"]["replies"], &json["served"]["replies"]), (&20000.into(), &20000.into()), "{name}");
    }
}

/// In one sentence of a reasonable length, and without a byte that a terminal would obey.
#[test]
fn a_file_that_is_no_schedule_is_told_in_a_line() {
    let refused = |arguments: &[&str], says: &str| {
        let output = run("stage3_fixed", arguments);
        assert_eq!((output.code(), output.stdout.as_str()), (Some(2), ""), "{}", output.all());
        let said = output.stderr.strip_suffix('\n').expect("a line");
        assert!(said.contains(says) && said.chars().count() < 400, "{said}");
        assert!(!said.contains(char::is_control), "{said:?}");
    };
    refused(&["--schedule", "/dev/zero"], "/dev/zero: a schedule has at most 1,048,576 bytes");
    let long = "x".repeat(500_000);
    for (text, says) in [
        (format!("main {long}\n"), "line 1: this stage has no point `xxxx"),
        (format!("{long} wait\n"), "line 1: no such role: `xxxx"),
        (format!("client connect\nclient {long}\n"), "line 2: a client cannot `xxxx"),
        (format!("client send {long}\n"), "line 1: `send xxxx"),
        (format!("operator {long} {long}\n"), "line 1: an operator can only `stop`"),
        (format!("main wait {long}\n"), "line 1: `xxxx"),
        (format!("client plan GET {long}\n"), "line 1: `xxxx"),
        ("main \u{1b}[31m\u{7}\u{202e}wait\n".to_string(), r"no point `\u{1b}[31m\u{7}\u{202e}wait`"),
        ("client plan GET 1000000000000\n".to_string(), "line 1: a plan has at most 1000000 requests"),
        ("\u{feff}# an editor's mark\nmain wiat\n".to_string(), "line 2: this stage has no point `wiat`"),
    ] {
        let (_folder, path) = schedule(&text);
        refused(&["--schedule", &path], says);
    }
    let (_folder, path) = schedule("\u{feff}client connect\nmain wait\n");
    assert_eq!(run("stage3_fixed", &["--schedule", &path]).code(), Some(0), "a byte order mark is skipped");
    let (_folder, path) = schedule(&format!("client connect\nmain wait\n#{long}"));
    assert_eq!(run("stage3_fixed", &["--schedule", &path]).code(), Some(0), "there is room for long comments");
}

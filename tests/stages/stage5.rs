//! Stage 5: a client gets a stranger's bytes, every time, and the report shows both byte for byte; the fixed twin turns
//! the old key away in the same order.

use crate::support::{command, finish, run, schedule};
use serde_json::Value;

fn json(name: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(name, &[arguments, &["--json"]].concat());
    let value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("not JSON: {}", output.all()));
    (output.code(), value)
}

fn reply(bytes: u64) -> String {
    let body = format!("{bytes} bytes stored\n");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_client_gets_the_reply_that_was_made_for_another_byte_for_byte() {
    let (code, json) = json("stage5_broken", &[]);
    assert_eq!(code, Some(1), "{json:#}");
    let wrong = &json["misdelivery"];
    assert_eq!((&wrong["client"], &wrong["made_for"]), (&"client-2".into(), &"client".into()));
    assert_eq!((&wrong["got"], &wrong["due"]), (&reply(1024).into(), &reply(2048).into()));
    let stale = &json["stale_key"];
    assert_eq!((&stale["role"], &stale["sessions"]), (&"worker-1".into(), &serde_json::json!([1, 2])));
    let step = |key: &str| stale[key]["step"].as_u64();
    let order = ["taken", "closed", "reused", "returned"].map(step);
    assert!(order.is_sorted() && order.iter().all(Option::is_some), "{stale:#}");
    assert_eq!((step("written"), step("rearmed")), (step("returned"), step("returned")), "{stale:#}");
    assert_eq!(stale["reported"].as_array().map(Vec::len), Some(2), "one arming, two reports: {stale:#}");
    assert_eq!(json["why"].as_str().map(|why| why.contains("given to the next client")), Some(true));
}

#[test]
fn the_fixed_twin_turns_the_old_key_away_in_the_same_order() {
    let (code, json) = json("stage5_fixed", &[]);
    assert_eq!((code, &json["misdelivery"]), (Some(0), &Value::Null), "{json:#}");
    let stale = &json["stale_key"];
    assert_eq!((&stale["written"], &stale["rearmed"], &stale["reported"]), (&Value::Null, &Value::Null, &Value::Null));
    let keys = [0, 1].map(|n| stale["keys"][n].as_str().expect("a key").to_string());
    let slot = stale["fd"].as_u64().expect("a descriptor");
    assert_eq!(keys, [format!("{:#x}", 1 << 32 | slot), format!("{:#x}", 2_u64 << 32 | slot)]);
    // The client that broke off is owed nothing, the other one has its own reply, and every byte was counted.
    assert_eq!((&json["client"]["replies"], &json["served"]["replies"]), (&1.into(), &1.into()));
    assert_eq!((&json["client"]["sent"], &json["served"]["received"]), (&3188.into(), &3188.into()));
}

#[test]
fn the_report_names_both_sessions_the_number_and_both_faces() {
    let text = run("stage5_broken", &[]).stdout;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "client-2 received 57 bytes, which are the reply to client",
        r#"it got b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n1024 bytes stored\n""#,
        r#"it is owed b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n2048 bytes stored\n""#,
        "was session 1's, and is session 2's",
        "session 2's EPOLLONESHOT was reported twice",
        "<- not its own",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    let fixed = run("stage5_fixed", &[]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(fixed.contains("generation 1") && fixed.contains("it has generation 2 now"), "{fixed}");
}

/// The descriptors of the clients stay out of the way, so that the number is reused in one process too.
#[test]
fn without_a_parent_it_is_the_same() {
    assert_eq!(run("stage5_broken", &["--bare"]).code(), Some(1));
    assert_eq!(run("stage5_fixed", &["--bare"]).code(), Some(0));
}

#[test]
fn seven_of_seven_end_as_they_must_in_every_environment() {
    for name in ["stage5_broken", "stage5_fixed"] {
        let (code, json) = json(name, &["--repeat", "7"]);
        let rows = json["environments"].as_array().expect("rows").iter();
        let right: u64 = rows.filter_map(|row| row["right"].as_u64()).sum();
        assert_eq!((code, right), (Some(0), 7), "{json:#}");
    }
}

/// The broken server is not broken by itself: without a reuse in between, each client has its own.
#[test]
fn the_broken_one_serves_an_order_without_a_reuse() {
    let (_folder, path) = schedule(
        "client plan POST 1024\nclient-2 plan POST 2048\nclient connect\nclient send 1082\nmain wait\nmain queue\n\
         worker-1 take\nworker-1 find\nworker-1 leave\nclient-2 connect\nmain wait\nworker-1 return\nworker-1 take\n\
         client receive\n",
    );
    let (code, json) = json("stage5_broken", &["--schedule", &path]);
    assert_eq!((code, &json["stale_key"]), (Some(0), &Value::Null), "{json:#}");
    assert_eq!(json["client"]["replies"], 2, "{json:#}");
}

/// A client that has closed its sending side is still owed its reply, and gets it; then the session goes.
#[test]
fn a_client_that_says_no_more_gets_its_reply() {
    for name in ["stage5_broken", "stage5_fixed"] {
        let (_folder, path) = schedule(
            "client plan GET 1\nclient connect\nclient send 29\nclient fin\nmain wait\nmain queue\nworker-1 take\n\
             worker-1 leave\nworker-1 return\nworker-1 rearm\nclient receive\nmain remove\n",
        );
        let (code, json) = json(name, &["--schedule", &path]);
        assert_eq!((code, &json["client"]["replies"]), (Some(0), &1.into()), "{name}: {json:#}");
    }
}

#[test]
fn a_crowd_leaves_every_client_of_the_fixed_one_with_its_own_reply() {
    let (code, json) = json("stage5_fixed", &["--wild", "--rounds", "2"]);
    assert_eq!((code, &json["survived"], &json["rounds"]), (Some(0), &2.into(), &2.into()), "{json:#}");
}

#[test]
fn a_second_client_is_only_there_where_a_schedule_names_one() {
    let mut command = command("stage4_fixed");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let trace = folder.path().join("trace.json");
    command.arg("--trace").arg(&trace);
    assert_eq!(finish(command).code(), Some(0));
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&trace).expect("it was written")).expect("JSON");
    assert!(!trace["roles"].as_array().expect("a list").contains(&"client-2".into()), "{}", trace["roles"]);
}

/// The third client breaks off and its number goes to the second; the first one, who has the same plan as the second,
/// has its own number and its own reply.
#[test]
fn the_reply_to_a_third_client_is_named_as_its() {
    let order = "client plan POST 2048\nclient-2 plan POST 2048\nclient-3 plan POST 1024\nclient connect\nmain wait\n\
                 client-3 connect\nmain wait\nclient-3 send 1082\nmain wait\nmain queue\nworker-1 take\nworker-1 find\n\
                 worker-1 leave\nclient-3 reset\nmain wait\nmain remove\nclient-2 connect\nmain wait\nclient-2 send 2106\n\
                 main wait\nmain queue\nworker-2 take\nworker-1 return\nworker-1 take 2\nclient-2 receive\nclient receive\n";
    let (_folder, path) = schedule(order);
    let (code, value) = json("stage5_broken", &["--schedule", &path]);
    let wrong = &value["misdelivery"];
    assert_eq!(
        (code, &wrong["client"], &wrong["made_for"]),
        (Some(1), &"client-2".into(), &"client-3".into()),
        "{wrong}"
    );
    assert_eq!((&wrong["got"], &wrong["due"]), (&reply(1024).into(), &reply(2048).into()));
    assert_eq!(value["stale_key"]["sessions"], serde_json::json!([2, 3]));
    let text = run("stage5_broken", &["--schedule", &path]).stdout;
    assert!(text.contains("client-2 received 57 bytes, which are the reply to client-3"), "{text}");
    let (code, value) = json("stage5_fixed", &["--schedule", &path]);
    assert_eq!((code, &value["misdelivery"]), (Some(0), &Value::Null), "{value:#}");
    assert_eq!((&value["client"]["replies"], &value["served"]["replies"]), (&2.into(), &2.into()), "{value:#}");
}

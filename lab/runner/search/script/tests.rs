//! What the command line makes the clients do.

use super::*;
use crate::catalogue::find;
use crate::runner::cli::parse;

/// The script as text, or why there is none.
fn script(stage: &str, clients: &[&str], stops: bool) -> Result<String, String> {
    let stage = find(stage).expect("it is in the catalogue");
    let options = parse(stage, ["program", "--search"].map(Into::into));
    let clients = clients.iter().map(|client| client.to_string()).collect();
    let script = of(stage, &options, &Visitors { clients, stops });
    script.map(|script| script.to_string()).map_err(|error| error.to_string())
}

#[test]
fn who_says_nothing_gets_the_clients_of_the_stages_own_schedule_and_no_thread() {
    let own = "client    plan POST 10485760\nclient    connect\nclient    send 2048\nclient    send 2048\n";
    assert_eq!(script("stage4_broken", &[], false).as_deref(), Ok(own));
}

#[test]
fn a_client_connects_first_and_says_what_is_between_its_semicolons() {
    let cases: [(&[&str], bool, &str); 5] = [
        (&["send 5"], false, "client    connect\nclient    send 5\n"),
        (&["connect; ;\n send 5;"], false, "client    connect\nclient    send 5\n"),
        (&["plan GET 1; send 5"], false, "client    plan GET 1\nclient    connect\nclient    send 5\n"),
        (&["plan GET 1; connect"], true, "client    plan GET 1\nclient    connect\noperator  stop\n"),
        (
            &["fin", "reset", "send 1"],
            false,
            "client    connect\nclient    fin\nclient-2  connect\nclient-2  reset\nclient-3  connect\nclient-3  send 1\n",
        ),
    ];
    for (clients, stops, text) in cases {
        assert_eq!(script("stage4_broken", clients, stops).as_deref(), Ok(text), "{clients:?}");
    }
}

#[test]
fn a_mistake_is_named_by_its_client_and_its_step() {
    let cases: [(&[&str], &str); 4] = [
        (&["send 5; dance"], "--client, client, step 2 (`dance`): "),
        (&["connect; send 5; dance"], "--client, client, step 3 (`dance`): "),
        (&["fin", "plan GET 1; fin; fin"], "--client, client-2, step 3 (`fin`): "),
        (&["fin", "fin", "fin", "fin"], "--client: at most 3 clients can come"),
    ];
    for (clients, start) in cases {
        let error = script("stage4_broken", clients, false).expect_err("it is a mistake");
        assert!(error.starts_with(start), "{clients:?}: {error}");
    }
}

#[test]
fn bytes_that_are_owed_nothing_are_sent_only_where_something_else_could_go_wrong() {
    // (The stage, what its client does, whether it is told to stop, whether that will do.)
    let cases = [
        ("stage4_fixed", "send 5", false, false),
        ("stage4_fixed", "plan GET 1; send 5", false, true),
        ("stage4_fixed", "send 5", true, true),
        // It may die of a signal.
        ("stage4_broken", "send 5", false, true),
        // The reactors count.
        ("stage8_broken", "send 5", false, true),
        // Its own client sends such bytes, and they are counted.
        ("stage3_fixed", "send 5", false, true),
        ("stage5_broken", "send 5", false, false),
    ];
    for (stage, client, stops, is_enough) in cases {
        let script = script(stage, &[client], stops);
        assert_eq!(script.is_ok(), is_enough, "{stage}, {client}: {script:?}");
    }
}

//! What a schedule may say, line by line.

use super::*;

const POINTS: [&str; 2] = ["wait", "read"];

fn parsed(text: &str) -> Result<Schedule, String> {
    Schedule::parse(text, &POINTS, 2).map_err(|error| error.to_string())
}

fn refused(text: &str) -> String {
    parsed(text).expect_err("it is malformed")
}

#[test]
fn after_its_end_a_client_says_nothing_more_but_may_listen() {
    let closed = "line 3: the client has closed its side already";
    assert_eq!(
        [refused("client connect\nclient fin\nclient send 1"), refused("client connect\nclient fin\nclient fin")],
        [closed; 2]
    );
    assert!(parsed("client connect\nclient fin\nclient receive\nclient reset").is_ok());
    let broken = "line 3: the client has broken the connection off already";
    for step in ["send 1", "fin", "reset", "receive"] {
        assert_eq!(refused(&format!("client connect\nclient reset\nclient {step}")), broken);
    }
    for step in ["send 1", "fin", "reset", "receive"] {
        assert_eq!(refused(&format!("client {step}")), "line 1: the client connects first: `client connect`");
    }
    assert_eq!(refused("client connect\nclient fin\nclient connect"), "line 3: the client is connected already");
}

#[test]
fn a_plan_is_not_to_be_overdrawn_by_several_sends() {
    let sends = |first, second| format!("client plan GET 2\nclient connect\nclient send {first}\nclient send {second}");
    assert!(parsed(&sends(30, 28)).is_ok());
    assert_eq!(refused(&sends(30, 29)), "line 4: the plan has not so many bytes left: see `client plan`");
    assert!(parsed("client connect\nclient send 16384\nclient send 16384").is_ok(), "without a plan there is no end");
}

#[test]
fn a_send_is_of_1_to_16384_bytes_however_it_is_written() {
    let step =
        |bytes: &str| parsed(&format!("client connect\nclient send {bytes}")).map(|all| all.steps[1].action.clone());
    assert_eq!(step("1"), Ok(Action::Send(1)));
    assert_eq!([step("16384"), step("16,384"), step("16_384")], [(); 3].map(|()| Ok(Action::Send(MAX_SEND))));
    for bytes in ["0", "16385", "-1", "x"] {
        assert!(
            step(bytes)
                .is_err_and(|why| why.starts_with(&format!("line 2: `send {bytes}`: a directed send is 1 to 16384")))
        );
    }
    assert_eq!(refused("client connect\nclient send"), "line 2: `send` takes a number of bytes: `client send 16384`");
    assert_eq!(
        refused("client connect\nclient send 1 2"),
        "line 2: `send` takes a number of bytes: `client send 16384`"
    );
    assert_eq!(refused("client connect\nclient fin 1"), "line 2: too many words after `client fin`");
}

#[test]
fn a_plan_is_a_get_or_a_post_of_what_the_server_takes() {
    let plan = |text: &str| parsed(&format!("client plan {text}\nclient connect")).map(|all| all.plans[0]);
    assert_eq!((plan("GET 3"), plan("POST 10,485,760")), (Ok(Plan::Get(3)), Ok(Plan::Post(10_485_760))));
    assert!(plan("POST 10485761").is_err());
    for text in ["", "GET", "PUT 3", "GET 3 4"] {
        let why = "line 1: a plan is `GET` and how many, or `POST` and how many bytes of body".to_string();
        assert_eq!(plan(text), Err(why), "{text}");
    }
}

#[test]
fn what_stands_outside_has_its_steps_in_their_order() {
    let text = "client connect\nmain wait\nclient-3 connect\nclient send 7\noperator stop\nclient fin\n";
    let schedule = parsed(text).expect("it is well formed");
    let outside = schedule.outside();
    let names: Vec<_> = outside.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["client", "client-2", "client-3", OPERATOR]);
    let actions = |at: usize| outside[at].1.iter().cloned().collect::<Vec<_>>();
    assert_eq!(actions(0), [Action::Connect, Action::Send(7), Action::Fin]);
    assert_eq!((actions(1), actions(2), actions(3)), (vec![], vec![Action::Connect], vec![Action::Stop]));
    let lines: Vec<_> = schedule.steps.iter().map(|step| step.line).collect();
    assert_eq!((lines, schedule.plans.len()), (vec![1, 2, 3, 4, 5, 6], 3));
}

#[test]
fn reactors_stands_for_each_of_them_where_there_are_any() {
    let of = |threads| Schedule::parse_for("reactors wait 2\n", &POINTS, threads, 3).map(|all| all.steps);
    for threads in [Threads::Reactors, Threads::Shards] {
        let steps = of(threads).expect("it is well formed");
        let action = Action::Pass { point: "wait".to_string(), occurrence: Some(2) };
        assert_eq!(
            steps.iter().map(|step| step.role.as_str()).collect::<Vec<_>>(),
            ["reactor-1", "reactor-2", "reactor-3"]
        );
        assert!(steps.iter().all(|step| step.action == action && step.line == 1));
    }
    for threads in [Threads::Workers, Threads::PerConnection, Threads::None] {
        assert!(of(threads).is_err_and(|error| error.reason.starts_with("no such role: `reactors`")));
    }
}

#[test]
fn a_plan_asks_for_its_replies_and_knows_each() {
    assert_eq!([Plan::Raw, Plan::Get(3), Plan::Post(7)].map(Plan::replies), [0, 3, 1]);
    assert_eq!([Plan::Raw, Plan::Get(3), Plan::Post(7)].map(Plan::length), [None, Some(87), Some(55 + 7)]);
    assert_eq!((Plan::Get(3).reply(), Plan::Raw.reply()), (http::HELLO.to_vec(), http::HELLO.to_vec()));
    let stored = String::from_utf8(Plan::Post(7).reply()).expect("it is text");
    assert!(stored.starts_with("HTTP/1.1 200 OK\r\n") && stored.ends_with("\r\n\r\n7 bytes stored\n"), "{stored}");
    let mut bytes = [0; 4];
    Plan::Post(7).fill(53, &mut bytes);
    assert_eq!(&bytes, b"\r\nxx");
    Plan::Get(2).fill(27, &mut bytes);
    assert_eq!(&bytes, b"\r\nGE");
    Plan::Raw.fill(1 << 40, &mut bytes);
    assert_eq!(&bytes, b"xxxx");
}

#[test]
fn a_plans_bytes_are_the_same_in_whatever_pieces_they_are_asked_for() {
    for plan in [Plan::Raw, Plan::Get(40), Plan::Post(500)] {
        let head = plan.head().into_bytes();
        let due: Vec<u8> = match plan {
            Plan::Get(_) => head.iter().copied().cycle().take(700).collect(),
            _ => head.iter().copied().chain(std::iter::repeat(b'x')).take(700).collect(),
        };
        for offset in 0..200 {
            for length in (0..100).chain(400..500) {
                let mut piece = vec![0; length];
                plan.fill(offset as u64, &mut piece);
                assert_eq!(piece, due[offset..offset + length], "{plan:?} from {offset}, {length} bytes");
            }
        }
    }
}

#[test]
fn who_is_a_thread_is_no_client_and_not_the_operator() {
    for (name, client) in [("client", Some(0)), ("client-2", Some(1)), ("client-3", Some(2)), (OPERATOR, None)] {
        assert_eq!((client_of(name), is_thread(name)), (client, false));
    }
    for name in ["main", "worker-1", "conn-1", "reactor-1", "client-4"] {
        assert_eq!((client_of(name), is_thread(name)), (None, true));
    }
}

#[test]
fn a_word_is_shown_as_it_stands_but_for_what_a_terminal_would_obey() {
    assert_eq!(shown("don't \\ \"so\" ~"), "don't \\ \"so\" ~");
    assert_eq!(shown("세션 é"), "세션 é");
    // Escape, delete, a mark that turns the text round, and an accent that would join what stands before it.
    assert_eq!(shown("\x1b\x7f\u{202e}\u{301}"), "\\u{1b}\\u{7f}\\u{202e}\\u{301}");
}

//! Where an order leads in a graph.

use serde_json::json;

use super::*;
use crate::catalogue::find;

/// `main` waits and queues. The worker is woken once the client is there and `main` has waited, and reads twice.
fn small() -> Value {
    json!({
        "head": { "roles": ["client", "main", "worker-1"], "plans": ["client    plan GET 1"], "start": 0 },
        "texts": ["client    connect", "main      wait", "main      queue", "worker-1  read", "client    fin"],
        "nodes": [
            [0, 0, [[1, 1, 0, 0, 2], [0, 0, 0, 0, 1]]],
            [0, 0, [[1, 1, 0, 0, 3], [0, 4, 0, 0, 9]]],
            [0, 0, [[0, 0, 0, 0, 3]]],
            [0, 0, [[1, 2, 0, 0, 8], [2, null, 0, 0, 4]]],
            [0, 0, [[1, 2, 0, 0, 7], [2, 3, 0, 0, 5]]],
            [0, 0, [[1, 2, 0, 0, 8], [2, 3, 0, 0, 6]]],
            [0, 0, [[1, 2, 0, 0, 8], [0, null, 0, 0, 8]]],
            [0, 0, [[2, 3, 0, 0, 8]]],
            [0, 0, []],
            [0, 0, [[1, 1, 0, 0, 8]]]
        ]
    })
}

fn led(stage: &str, text: &str, workers: usize) -> Option<String> {
    let schedule = Schedule::parse(text, &[], 2).expect("it is well formed");
    moves(&small(), find(stage).expect("it is in the catalogue"), &schedule, workers)
}

#[test]
fn an_order_leads_by_the_moves_of_its_steps_and_by_those_that_are_made_on_the_way() {
    // (The order, the roles that move.) Who is woken goes on by itself.
    let cases = [
        ("client connect\nmain wait\n", Some("0,1,2")),
        ("main wait\nclient connect\n", Some("1,0,2")),
        ("client connect\nmain wait\nworker-1 read\n", Some("0,1,2,2")),
        ("client connect\nmain wait\nworker-1 read 1\n", Some("0,1,2,2")),
        // It passes its first `read` on the way, and then the client goes on by itself.
        ("client connect\nmain wait\nworker-1 read 2\n", Some("0,1,2,2,2,0")),
        ("client connect\nmain wait\nworker-1 read\nmain queue\n", Some("0,1,2,2,1")),
        // main goes through its `wait` on the way, at once.
        ("client connect\nmain queue\n", Some("1,0,2,1")),
        ("client connect\nclient fin\nmain wait\n", Some("0,0,1")),
        // There is no such move.
        ("client connect\nworker-1 read\n", None),
        ("client connect\nmain wait\nworker-1 read 3\n", None),
    ];
    for (text, led_by) in cases {
        let text = format!("client plan GET 1\n{text}");
        assert_eq!(led("stage4_broken", &text, 2).as_deref(), led_by, "{text}");
    }
}

#[test]
fn a_game_with_other_clients_or_with_another_number_of_reactors_shows_nothing() {
    let order = "client plan GET 1\nclient connect\nmain wait\n";
    // (The stage, the order, its workers, whether it is shown.)
    let cases = [
        ("stage4_broken", order, 5, true),
        ("stage8_broken", order, 1, true),
        ("stage8_broken", order, 2, false),
        ("stage4_broken", "client plan GET 2\nclient connect\n", 2, false),
        ("stage4_broken", "client connect\n", 2, false),
        ("stage4_broken", "client plan GET 1\nclient connect\nclient-2 plan GET 1\nclient-2 connect\n", 2, false),
    ];
    for (stage, text, workers, is_shown) in cases {
        assert_eq!(led(stage, text, workers).is_some(), is_shown, "{stage} with {workers}: {text}");
    }
}

#[test]
fn a_plan_is_named_as_a_line_of_a_schedule_where_there_is_one() {
    let of = |text: &str| plans(&Schedule::parse(text, &[], 2).expect("it is well formed"));
    assert_eq!(of("client connect\n"), [""; 0]);
    let text = "client connect\nclient-2 plan GET 2\nclient-2 connect\nclient-3 plan POST 9\nclient-3 connect\n";
    assert_eq!(of(text), ["client-2  plan GET 2", "client-3  plan POST 9"]);
}

#[test]
fn the_books_own_games_are_linked() {
    let link = |name: &str| {
        let stage = find(name).expect("it is in the catalogue");
        let own = Schedule::parse_for(stage.schedule.text, &stage.points(), stage.threads, 4);
        link(stage, &own.expect("it is well formed"), 4)
    };
    let linked = link("stage3_broken").expect("the book has its game");
    let moves = linked.strip_prefix("stage3.html#game:stage3_broken:").expect("it names the page and the game");
    assert!(moves.split(',').all(|role| role.parse::<usize>().is_ok_and(|role| role < 4)), "{moves}");
    assert_eq!(link("stage1_blocking"), None);
}

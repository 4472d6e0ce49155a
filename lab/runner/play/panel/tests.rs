//! What is shown of who could move and of who waits, and what becomes of lines that have no room.

use super::super::game::Mark;
use super::super::game::tests::{options, pass};
use super::super::terminal::Reader;
use super::*;
use crate::catalogue::{Stage, Text, find};
use crate::direct::outcome::{Ending, Outcome};
use crate::direct::schedule::Schedule;
use crate::direct::strategy::Standing;
use crate::record::blackbox::MAIN;
use crate::record::event::{Kind, Waiting};

#[test]
fn a_text_is_cut_to_its_columns() {
    for (width, cut_to) in [(0, ""), (1, "…"), (3, "ab…"), (4, "abcd"), (9, "abcd")] {
        assert_eq!(cut("abcd", width), cut_to);
    }
    assert_eq!(cut("äöüß", 3), "äö…");
}

#[test]
fn who_has_no_room_is_counted() {
    let lines = || ["a", "b", "c"].map(str::to_string).to_vec();
    assert_eq!(fold(lines(), 3), ["a", "b", "c"]);
    assert_eq!(fold(lines(), 2), ["a", "    and 2 more"]);
    assert_eq!(fold(lines(), 1), ["    and 3 more"]);
    assert_eq!(fold(lines(), 0), ["a", "b", "c"], "what has no room at all is left to the screen's end");
}

#[test]
fn the_newest_lanes_stand_under_their_heads() {
    let coloured = "  \x1b[2m#\x1b[0m  main\n  1  a\n  2  b\n  3  c\n";
    assert_eq!(newest(coloured, 3), ["  \x1b[2m#\x1b[0m  main", "  2  b", "  3  c"]);
    let lanes = "  #  main\n  1  a\n  2  b\n";
    assert_eq!(newest(lanes, 3), ["  #  main", "  1  a", "  2  b"]);
    assert_eq!(newest(lanes, 2), ["  #  main", "  2  b"]);
    assert_eq!(newest(lanes, 1), ["  2  b"]);
    assert_eq!(newest(lanes, 0), [""; 0]);
    // Folded into one, they have none.
    assert_eq!(newest("  1  main  a\n  2  main  b\n  3  main  c\n", 2), ["  2  main  b", "  3  main  c"]);
}

/// A stage whose source is this file.
fn stage() -> &'static Stage {
    let source = Text { path: "lab/runner/play/panel/tests.rs", text: include_str!("tests.rs") };
    let known = find("stage3_broken").expect("it is in the catalogue");
    Box::leak(Box::new(Stage { source, ..*known }))
}

#[track_caller]
fn here() -> &'static Location<'static> {
    Location::caller()
}

/// Points of that stage.
fn places() -> [&'static Location<'static>; 2] {
    let queue = here();

    // What a point stands in front of is its code.
    let take = here();
    [queue, take]
}

/// The client's first step, and all of them.
fn script() -> Schedule {
    let text = "client connect\nclient send 5\nclient fin\n";
    Schedule::parse(text, &[], 2).expect("it is well formed")
}

/// `main` stands, the first worker waits, the second has ended; and a client is there.
fn now() -> (Now, Blackbox) {
    let blackbox = Blackbox::new(64).expect("there is a memfd");
    let [queue, take] = places();
    for (role, place) in [("worker-1", take), ("worker-2", take)] {
        blackbox.slot(blackbox.add_role(role).expect("there is room")).set_place(place);
    }
    blackbox.slot(MAIN).set_place(queue);
    let ended = |name: &str| {
        let (name, state) = (name.to_string(), State::Ended);
        Standing { name, state, point: "take", occurrence: 1, waits: None, next: None }
    };
    let task = Outcome::Refused { waiting: Waiting::Task, address: 0, holder: None };
    let roles = vec![
        Standing { next: Some(Action::Connect), ..ended("client") },
        Standing { state: State::Parked, point: "queue", ..ended("main") },
        Standing { state: State::Blocked, waits: Some(task), ..ended("worker-1") },
        ended("worker-2"),
    ];
    (Now { roles, last: None, is_alive: true }, blackbox)
}

fn ready() -> [Step; 2] {
    [pass("main", "queue"), script().steps.remove(0)]
}

fn game<'a>(stage: &'static Stage, script: &'a Schedule) -> Game<'a> {
    Game::new(stage, &options(), script, Reader::Lines(Default::default()))
}

/// A run in which `main` has done so much.
fn run(stage: &'static Stage, blackbox: &Blackbox, done: u64) -> Run {
    for fd in 0..done {
        blackbox.record(MAIN, Kind::Accept, "", here(), fd, 0, 0);
    }
    Run::of(blackbox, stage, stage.heap, Ending::Exit(0))
}

#[test]
fn who_could_move_is_shown_with_its_place_and_its_code_and_who_waits_with_what_it_passed() {
    let (stage, script, ready) = (stage(), script(), ready());
    let (game, (now, blackbox)) = (game(stage, &script), now());
    let run = run(stage, &blackbox, 0);
    let view = |width| {
        let shown = Shown::Choices { now: &now, ready: &ready, blackbox };
        View { game: &game, run: &run, shown, message: "" }.below(width, false)
    };
    let [queue, take] = places().map(|place| place.line());
    let lines = [
        format!(" 1  main    queue 1  tests.rs:{queue}  let take = here();"),
        format!(" 2  client  connect  {:1$}  then send 5, fin", "", format!("tests.rs:{queue}").len()),
        format!("    worker-1  waits for a task   (past tests.rs:{take})"),
        "    worker-2  has ended".to_string(),
    ];
    assert_eq!(view(200), lines);
    assert_eq!(view(12), [" 1  main   …", " 2  client …", "    worker-…", "    worker-…"]);
    assert!(view(30).iter().all(|line| length(line) <= 30));
}

#[test]
fn a_line_of_a_source_that_is_not_the_stages_is_not_shown() {
    let (stage, script) = (find("stage3_broken").expect("it is in the catalogue"), script());
    let (game, (_, blackbox)) = (game(stage, &script), now());
    let (run, shown) = (run(stage, &blackbox, 0), Shown::Over { over: "", red: false });
    assert_eq!(View { game: &game, run: &run, shown, message: "" }.code_at(here()), "");
}

#[test]
fn what_a_client_does_then_is_what_it_has_not_done_yet() {
    let (stage, script) = (stage(), script());
    let (now, blackbox) = now();
    let run = run(stage, &blackbox, 0);
    let mut game = game(stage, &script);
    // (The steps so far, what comes after the next one.)
    let cases = [(vec![], "then send 5, fin"), (vec![0], "then fin"), (vec![0, 1], ""), (vec![0, 1, 2], "")];
    for (done, then) in cases {
        // What others have done is none of it.
        game.order = done.iter().map(|at: &usize| script.steps[*at].clone()).chain([pass("main", "queue")]).collect();
        let view = View { game: &game, run: &run, shown: Shown::Over { over: "", red: false }, message: "" };
        assert_eq!(view.does_then(&now, "client"), then, "{done:?}");
        assert_eq!(view.does_then(&Now { roles: vec![], ..now.clone() }, "client"), "", "it is not there");
    }
}

#[test]
fn a_screen_has_a_head_the_newest_lanes_the_choices_a_message_and_the_keys() {
    let (stage, script, ready) = (stage(), script(), ready());
    let (mut game, (now, blackbox)) = (game(stage, &script), now());
    game.marks = vec![Mark { at: 0, is_rest: false }];
    let run = run(stage, &blackbox, 9);
    let lines = |height, message| {
        let shown = Shown::Choices { now: &now, ready: &ready, blackbox };
        let text = View { game: &game, run: &run, shown, message }.draw((80, height), false);
        text.lines().map(str::to_string).collect::<Vec<_>>()
    };
    let tall = lines(24, "a message");
    let (head, rest) = tall.split_at(3);
    assert_eq!(head[0], format!("stage3_broken: {}", stage.title));
    assert_eq!(head[1..], ["aim: make it die of SIGSEGV   (1 choice so far)", ""]);
    // The name of its lane, and what it did.
    let (lanes, rest) = rest.split_at(10);
    assert_eq!([&lanes[0], &lanes[1], &lanes[9]].map(|line| line.trim()), ["main", "accept fd 0", "accept fd 8"]);
    let [choices @ .., gap, message, keys] = rest else { panic!("{tall:?}") };
    let starts: Vec<_> = choices.iter().map(|line| line.get(..6).unwrap_or(line)).collect();
    assert_eq!(starts, ["", " 1  ma", " 2  cl", "    wo", "    wo"]);
    assert_eq!([gap, message], ["", "a message"]);
    assert_eq!(keys, "number: goes next  u back  h hint  a rest  s save  ? keys  q leave");

    // Of fewer rows the lanes keep four, and who has no room below them is counted.
    let low = [head, &lanes[6..], &choices[..2], &["    and 3 more".to_string()], &rest[5..]].concat();
    assert_eq!(lines(13, "a message"), low);

    // A message that fills its line is left as it is, and a longer one goes on in the next.
    let full = "ab".repeat(40);
    assert_eq!(lines(24, &full)[19..], [full.as_str(), keys]);
    assert_eq!(lines(24, &format!("{} c", &full[1..]))[19..], [&full[1..], "  c", keys]);
}

#[test]
fn at_the_end_of_a_run_the_screen_says_how_it_ended() {
    let (stage, script) = (stage(), script());
    let (game, (_, blackbox)) = (game(stage, &script), now());
    let run = run(stage, &blackbox, 0);
    for (red, colour, over) in [(true, true, "\x1b[1;31mit is\x1b[0m"), (false, true, "it is"), (true, false, "it is")]
    {
        let view = View { game: &game, run: &run, shown: Shown::Over { over: "it is", red }, message: "" };
        assert_eq!(view.below(80, colour), [over]);
        assert!(view.draw((80, 24), colour).contains("any other key: the autopsy"));
    }
}

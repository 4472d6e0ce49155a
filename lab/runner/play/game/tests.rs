//! What is taken back, and what a hint says.

use super::super::super::search::making::tests::nobody;
use super::super::terminal::Reader;
use super::*;
use crate::catalogue;
use crate::direct::schedule::Action;
use crate::server::Flags;
use crate::world::kernel::any_port;

pub fn options() -> Options {
    let (flags, limit) = (Flags::default(), None);
    let what = crate::runner::cli::What::Serve(any_port());
    let none = (None, None, None);
    Options {
        what,
        workers: 2,
        flags,
        drain: 0,
        heap: None,
        schedule: none.0,
        trace: none.1,
        json: false,
        bare: false,
        faults: none.2,
        limit,
    }
}

pub fn pass(role: &str, point: &str) -> Step {
    let action = Action::Pass { point: point.to_string(), occurrence: Some(1) };
    Step { role: role.to_string(), action, line: 0 }
}

/// A game of that stage, with nothing in it yet. Nobody is at the other end of standard input in a test.
pub fn game<'a>(name: &str, script: &'a Schedule) -> Game<'a> {
    let stage = catalogue::find(name).expect("it is in the catalogue");
    Game::new(stage, &options(), script, Reader::Lines(Default::default()))
}

#[test]
fn a_rest_is_taken_back_as_a_whole_and_is_no_choice_of_the_readers() {
    let script = nobody();
    let mut game = game("stage3_broken", &script);
    game.order = vec![pass("worker-1", "take"), pass("main", "queue"), pass("main", "wait")];
    game.marks = vec![Mark { at: 0, is_rest: false }, Mark { at: 1, is_rest: true }];
    assert_eq!((game.choices(), game.rest_ran()), (1, true));
    assert!(game.take_back());
    assert_eq!((game.order.len(), game.choices(), game.rest_ran(), game.taken_back), (1, 1, false, 1));
    assert!(game.take_back() && !game.take_back());
    assert_eq!((game.order.len(), game.taken_back), (0, 2));
    assert_eq!(game.message, "there is nothing to take back");
}

#[test]
fn the_first_hint_is_a_question_the_next_looks_and_the_others_say_ever_more() {
    let script = nobody();
    let ready = [pass("main", "wait"), pass("worker-1", "take")];
    let mut game = game("stage3_broken", &script);
    assert!(!game.hint(&ready));
    assert_eq!(game.message, question(game.stage));
    assert!(game.hint(&ready), "it is to be looked for");
    assert_eq!((game.message.as_str(), game.hints), ("looking for an order from here ...", 1));
    game.found = Some(Some(ready[1].clone()));
    // (What is said, how many hints that are.) The last one is said again, and is no other.
    for (said, hints) in [("look at worker-1", 2), ("2: worker-1 take 1", 3), ("2: worker-1 take 1", 3)] {
        assert!(!game.hint(&ready));
        assert_eq!((game.message.as_str(), game.hints), (said, hints));
    }
    // Elsewhere it is asked anew.
    game.moved();
    assert_eq!((game.message.as_str(), game.found.is_none(), game.grade), ("", true, 0));
    assert!(!game.hint(&ready));
    assert_eq!((game.message.as_str(), game.hints), (question(game.stage), 4));
    game.found = Some(None);
    assert!(!game.hint(&ready));
    assert_eq!(game.message, "no order was found from here that does it; u takes a choice back");
}

#[test]
fn of_a_server_that_nothing_breaks_no_order_is_looked_for() {
    let script = nobody();
    let mut game = game("stage3_fixed", &script);
    for said in [question(game.stage), "no order is known that breaks this one"] {
        assert!(!game.hint(&[]));
        assert_eq!(game.message, said);
    }
}

#[test]
fn an_order_without_a_step_is_not_written() {
    let script = nobody();
    let mut game = game("stage3_broken", &script);
    game.save();
    assert_eq!(game.message, "there is no order to write yet");
}

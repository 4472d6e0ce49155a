//! An order that does not come again, and what is kept of it.

use super::*;
use crate::catalogue;
use crate::direct::schedule::{Action, Plan};
use crate::direct::strategy::{Move, Standing};
use crate::record::blackbox::State;
use crate::world::kernel::any_port;

fn options() -> Options {
    let (flags, limit) = (crate::server::Flags::default(), None);
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

fn standing(name: &str, point: &'static str) -> Standing {
    let state = State::Parked;
    Standing { name: name.to_string(), state, point, occurrence: 1, waits: None, next: None }
}

fn now(main: &'static str) -> Now {
    let roles = vec![standing("client", ""), standing("main", main), standing("worker-1", "take")];
    Now { roles, last: None, is_alive: true }
}

fn pass(role: &str, point: &str) -> Step {
    let action = Action::Pass { point: point.to_string(), occurrence: Some(1) };
    Step { role: role.to_string(), action, line: 0 }
}

#[test]
fn an_order_is_played_again_up_to_the_step_that_does_not_come() {
    let stage = catalogue::find("stage3_broken").expect("it is in the catalogue");
    let script = Schedule { steps: Vec::new(), plans: vec![Plan::Raw] };
    // Nobody is at the other end of standard input in a test: the rest is calm.
    let mut game = Game::new(stage, &options(), &script, Reader::Lines(Default::default()));
    game.order = vec![pass("worker-1", "take"), pass("main", "queue"), pass("main", "wait")];
    game.marks = (0..3).map(|at| Mark { at, is_rest: false }).collect();
    let mut player = Player::new(&mut game, Blackbox::new(16).expect("there is a memfd"));
    assert_eq!(player.choose(&now("queue")), Choice::Role(Move { role: 2, step: 1, is_late: false }));
    assert_eq!(player.again(&[pass("main", "wait"), pass("worker-1", "take")]), None);
    assert_eq!((player.game.order.len(), player.game.marks.len()), (1, 1));
    assert_eq!(player.game.message, "`main queue 1` did not come again: the kernel chose otherwise");
}

#[test]
fn a_rest_is_taken_back_as_a_whole_and_is_no_choice_of_the_readers() {
    let stage = catalogue::find("stage3_broken").expect("it is in the catalogue");
    let script = Schedule { steps: Vec::new(), plans: vec![Plan::Raw] };
    let mut game = Game::new(stage, &options(), &script, Reader::Lines(Default::default()));
    game.order = vec![pass("worker-1", "take"), pass("main", "queue"), pass("main", "wait")];
    game.marks = vec![Mark { at: 0, is_rest: false }, Mark { at: 1, is_rest: true }];
    assert_eq!((game.choices(), game.rest_ran()), (1, true));
    assert!(game.take_back());
    assert_eq!((game.order.len(), game.choices(), game.rest_ran(), game.taken_back), (1, 1, false, 1));
    assert!(game.take_back() && !game.take_back());
    assert_eq!((game.order.len(), game.taken_back), (0, 2));
    assert_eq!(game.message, "there is nothing to take back");
}

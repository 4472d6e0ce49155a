//! An order that does not come again.

use super::super::game::tests::{options, pass};
use super::super::terminal::Reader;
use super::*;
use crate::catalogue;
use crate::direct::schedule::{Plan, Schedule};
use crate::direct::strategy::{Move, Standing};
use crate::record::blackbox::State;

fn standing(name: &str, point: &'static str) -> Standing {
    let state = State::Parked;
    Standing { name: name.to_string(), state, point, occurrence: 1, waits: None, next: None }
}

fn now(main: &'static str) -> Now {
    let roles = vec![standing("client", ""), standing("main", main), standing("worker-1", "take")];
    Now { roles, last: None, is_alive: true }
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

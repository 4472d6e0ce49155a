//! What is taken back.

use super::super::terminal::Reader;
use super::*;
use crate::catalogue;
use crate::direct::schedule::{Action, Plan};
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

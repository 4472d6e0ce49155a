//! What each key does, and an order that does not come again.

use super::super::super::search::making::tests::nobody;
use super::super::game::tests::{game, pass};
use super::*;
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

fn choose_three(game: &mut Game<'_>) {
    game.order = vec![pass("worker-1", "take"), pass("main", "queue"), pass("main", "wait")];
    game.marks = (0..3).map(|at| Mark { at, is_rest: false }).collect();
}

#[test]
fn an_order_is_played_again_up_to_the_step_that_does_not_come() {
    let script = nobody();
    let mut game = game("stage3_broken", &script);
    choose_three(&mut game);
    let mut player = Player::new(&mut game, Blackbox::new(16).expect("there is a memfd"));
    assert_eq!(player.choose(&now("queue")), Choice::Role(Move { role: 2, step: 1, is_late: false }));
    assert_eq!(player.again(&[pass("main", "wait"), pass("worker-1", "take")]), None);
    assert_eq!((player.game.order.len(), player.game.marks.len()), (1, 1));
    assert_eq!(player.game.message, "`main queue 1` did not come again: the kernel chose otherwise");
}

/// `main` and the worker stand, in the order in which they are shown.
fn ready() -> (Vec<usize>, Vec<Step>) {
    (vec![1, 2], vec![pass("main", "queue"), pass("worker-1", "take")])
}

#[test]
fn a_number_moves_who_has_it_and_is_a_choice_of_the_readers() {
    let script = nobody();
    let mut game = game("stage3_broken", &script);
    game.grade = 2;
    let mut player = Player::new(&mut game, Blackbox::new(16).expect("there is a memfd"));
    for key in [Key::Number(0), Key::Number(3), Key::Other] {
        assert_eq!(player.pressed(key, &ready()), None);
        assert_eq!(player.game.message, "that is no key here; ? explains them");
    }
    assert_eq!((player.game.grade, player.game.order.len()), (2, 0));
    let moved = Choice::Role(Move { role: 2, step: 1, is_late: false });
    assert_eq!(player.pressed(Key::Number(2), &ready()), Some(moved));
    assert_eq!((player.game.grade, player.game.message.as_str(), player.game.choices()), (0, "", 1));
    let moved = Choice::Role(Move { role: 1, step: 2, is_late: false });
    assert_eq!(player.pressed(Key::Number(1), &ready()), Some(moved));
    assert_eq!(player.game.order, [pass("worker-1", "take"), pass("main", "queue")]);
    assert_eq!(
        player.game.marks.iter().map(|mark| (mark.at, mark.is_rest)).collect::<Vec<_>>(),
        [(0, false), (1, false)]
    );
    assert_eq!(player.wants(), None);
    let said: Vec<_> = player.steps(&now("wait")).into_iter().map(|step| (step.role, step.what)).collect();
    assert_eq!(said, [("worker-1", "take 1"), ("main", "queue 1")].map(|(role, what)| (role.into(), what.into())));
    assert!(player.goes_on_without_a_client());
}

#[test]
fn a_run_is_left_for_a_choice_taken_back_for_a_hint_and_for_good() {
    let script = nobody();
    // (The key, whether there is a choice to take back, the hints before, what it wants.)
    let cases = [
        (Key::Undo, true, 0, Some(Wants::Again)),
        (Key::Undo, false, 0, None),
        (Key::Hint, true, 0, None),
        (Key::Hint, true, 1, Some(Wants::Hint)),
        (Key::Help, true, 0, None),
        (Key::Quit, false, 0, Some(Wants::Quit)),
    ];
    for (key, has_chosen, grade, wants) in cases {
        let mut game = game("stage3_broken", &script);
        game.grade = grade;
        game.marks.extend(has_chosen.then_some(Mark { at: 0, is_rest: false }));
        let mut player = Player::new(&mut game, Blackbox::new(16).expect("there is a memfd"));
        assert_eq!(player.pressed(key, &ready()), wants.map(|_| Choice::Leave), "{key:?}");
        assert_eq!((player.wants(), player.rest.is_some()), (wants, false), "{key:?}");
    }
}

#[test]
fn the_step_that_was_looked_for_is_told_once() {
    let script = nobody();
    // (How many hints there were, what was found, what is said.)
    let cases = [
        (1, Some(Some(pass("worker-1", "take"))), "look at worker-1"),
        (2, Some(Some(pass("worker-1", "take"))), "before"),
        (1, None, "before"),
    ];
    for (grade, found, said) in cases {
        let mut game = game("stage3_broken", &script);
        (game.grade, game.found, game.message) = (grade, found, "before".to_string());
        let mut player = Player::new(&mut game, Blackbox::new(16).expect("there is a memfd"));
        // Nobody is asked.
        player.rest = Some(Box::new(Delays::new(&[])));
        assert!(matches!(player.choose(&now("queue")), Choice::Role(_)));
        assert_eq!(player.game.message, said);
    }
}

#[test]
fn the_rest_is_nobodys_choice() {
    let script = nobody();
    for key in [Key::Rest, Key::Random, Key::End] {
        let mut game = game("stage3_broken", &script);
        let mut player = Player::new(&mut game, Blackbox::new(16).expect("there is a memfd"));
        assert_eq!(player.pressed(key, &ready()), None);
        assert!(player.rest.is_some() && player.wants().is_none());
        assert_eq!((player.game.choices(), player.game.rest_ran(), player.game.message.as_str()), (0, true, ""));
    }
}

#[test]
fn what_was_chosen_before_a_step_that_does_not_come_is_kept() {
    let script = nobody();
    let mut game = game("stage3_broken", &script);
    choose_three(&mut game);
    let mut player = Player::new(&mut game, Blackbox::new(16).expect("there is a memfd"));
    let moved = Choice::Role(Move { role: 2, step: 1, is_late: false });
    assert_eq!(player.choose(&now("queue")), moved);
    assert_eq!(player.choose(&now("queue")), Choice::Role(Move { role: 1, step: 2, is_late: false }));
    assert_eq!(player.again(&[pass("main", "queue")]), None);
    assert_eq!(player.game.marks.iter().map(|mark| mark.at).collect::<Vec<_>>(), [0, 1]);
}

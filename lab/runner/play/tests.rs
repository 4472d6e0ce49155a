//! What came of a game, in words, and what the reader may still do at its end.

use super::game::Mark;
use super::*;
use crate::direct::outcome::Ending;
use crate::direct::schedule::{Plan, Schedule};
use crate::runner::cli::What;
use crate::runner::search::making::tests::made;
use crate::runner::tests::{self, alone_and_told, options, stage, text, went_well};

const LIVED: Ending = Ending::Exit(0);

fn died(signal: i32) -> Made {
    made(Ending::Signal(signal), End::Signal(signal), None, false)
}

fn lived() -> Made {
    made(LIVED, End::Code(0), None, false)
}

/// A game after so many choices of the reader's own.
fn game<'a>(name: &str, script: &'a Schedule, choices: usize, rest: bool) -> Game<'a> {
    let mut game = Game::new(stage(name), &options(name, &[]), script, Reader::Lines(Default::default()));
    game.marks = (0..choices).map(|at| Mark { at, is_rest: false }).collect();
    game.marks.extend(rest.then_some(Mark { at: choices, is_rest: true }));
    game
}

#[test]
fn it_is_told_whether_that_was_the_aim_and_in_how_many_choices() {
    let script = Schedule { steps: Vec::new(), plans: vec![Plan::Raw] };
    let (aim, other) = (libc::SIGABRT, libc::SIGSEGV);
    let see = stage("stage4_broken").schedule.path;
    for (name, made, choices, rest, told) in [
        ("stage4_broken", died(aim), 2, false, "you did it, in 2 choices".to_string()),
        ("stage4_broken", died(aim), 1, false, "you did it, in 1 choice".to_string()),
        ("stage4_broken", died(aim), 2, true, "it broke as it was to, in 2 choices, and the rest ran by itself".into()),
        ("stage4_broken", died(other), 2, false, "it broke in another way (SIGSEGV), in 2 choices".into()),
        (
            "stage4_broken",
            died(other),
            1,
            true,
            "it broke in another way (SIGSEGV), in 1 choice, and the rest ran by itself".into(),
        ),
        ("stage4_broken", lived(), 3, false, format!("it held this time, in 3 choices; see {see}")),
        ("stage4_fixed", lived(), 3, false, "it held, as it must, in 3 choices".into()),
        ("stage4_fixed", lived(), 0, true, "it held, as it must, in 0 choices, and the rest ran by itself".into()),
        ("stage4_fixed", died(aim), 3, false, "it broke, and must not (SIGABRT), in 3 choices".into()),
    ] {
        let mut game = game(name, &script, choices, rest);
        assert_eq!(result(stage(name), &made, &game), told);
        for (taken_back, hints, more) in
            [(1, 0, "; taken back: 1"), (0, 2, "; hints: 2"), (3, 1, "; taken back: 3; hints: 1")]
        {
            (game.taken_back, game.hints) = (taken_back, hints);
            assert_eq!(result(stage(name), &made, &game), format!("{told}{more}"));
        }
    }
}

#[test]
fn only_what_is_the_servers_own_is_a_result() {
    let why = || "why".to_string();
    for (end, told) in [
        (End::Code(0), true),
        (End::Code(1), true),
        (End::Signal(libc::SIGSEGV), true),
        (End::Said(1, why()), true),
        (End::Impossible(why()), false),
        (End::Unmet(why()), false),
        (End::Failed(why()), false),
    ] {
        assert_eq!(is_told(&end), told, "{end:?}");
    }
}

#[test]
fn at_the_end_a_choice_may_be_taken_back_and_any_other_key_leaves() {
    let name = "runner::play::tests::at_the_end_a_choice_may_be_taken_back_and_any_other_key_leaves";
    let Some(output) = alone_and_told(name, "u\nq\nu\ns\nx\n") else {
        let script = Schedule { steps: Vec::new(), plans: vec![Plan::Raw] };
        let mut game = game("stage4_broken", &script, 1, false);
        game.message = "said before".to_string();
        let back = |game: &mut Game<'_>, made: &Made| goes_back(game, made).expect("it is read");
        assert!(back(&mut game, &died(libc::SIGABRT)));
        assert_eq!((game.choices(), game.taken_back), (0, 1));
        assert!(!back(&mut game, &lived()));
        // There is nothing to take back any more.
        assert!(!back(&mut game, &lived()));
        // The order could be written, if there were one; then it is asked again.
        let words = |game: &Game<'_>| game.message.clone();
        assert!(!back(&mut game, &lived()));
        assert_eq!(words(&game), "there is no order to write yet");
        return;
    };
    went_well(&output);
    let said = text(&output.stdout);
    assert!(!said.contains("said before"), "{said}");
    assert_eq!(said.matches("it is over: SIGABRT").count(), 1, "{said}");
    assert_eq!(said.matches("it is over: served, and ended as it was told to").count(), 4, "{said}");
    assert!(said.contains("you did it, in 1 choice") && said.contains("there is no order to write yet\n"), "{said}");
}

#[test]
fn a_game_is_played_until_the_reader_leaves_it() {
    let name = "runner::play::tests::a_game_is_played_until_the_reader_leaves_it";
    // A rest that is taken back; one that is looked at; and nobody who is asked anything.
    for (told, says, silent) in [
        ("q\n", &["left after 0 choices; nothing is said of the server\n"][..], &["it is over", "it held"][..]),
        ("a\nu\nq\n", &["it is over: served", "left after 0 choices; nothing is"], &["exit status 0"]),
        (
            "1\na\nq\n",
            &[
                "it is over: served",
                "\nit held, as it must, in 1 choice, and the rest ran by itself\n",
                "exit status 0",
            ],
            &["left after"],
        ),
        ("", &["\nit held, as it must, in 0 choices, and the rest ran by itself\n", "exit status 0"], &["it is over"]),
    ] {
        let Some(output) = alone_and_told(name, told) else {
            let options = options("stage4_fixed", &["--play", "--client", "plan GET 1; send 29; receive"]);
            let What::Play(visitors) = &options.what else { panic!("it is played") };
            let end = run(stage("stage4_fixed"), tests::serves, &options, visitors).expect("it goes on");
            assert_eq!(end, End::Code(0));
            return;
        };
        went_well(&output);
        let said = text(&output.stdout);
        assert!(says.iter().all(|says| said.contains(says)), "{told:?}: {said}");
        assert!(!silent.iter().any(|silent| said.contains(silent)), "{told:?}: {said}");
    }
}

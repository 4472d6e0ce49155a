//! Who can move, and what each is said to do.

use super::*;

fn standing(name: &str, state: State, waits: Option<Outcome>, next: Option<Action>) -> Standing {
    Standing { name: name.to_string(), state, point: "read", occurrence: 3, waits, next }
}

fn refused(waiting: Waiting, address: u64, holder: Option<usize>) -> Option<Outcome> {
    Some(Outcome::Refused { waiting, address, holder })
}

fn now(roles: Vec<Standing>) -> Now {
    Now { roles, last: None, is_alive: true }
}

#[test]
fn who_stands_at_a_point_can_move_and_so_can_whose_time_may_run_out() {
    for state in [State::Running, State::Parked, State::Blocked, State::Ended, State::Asleep] {
        let thread = standing("main", state, None, None);
        assert_eq!(thread.can_move(), state == State::Parked, "{state:?}");
    }
    for waiting in Waiting::ALL {
        let thread = standing("worker-1", State::Blocked, refused(*waiting, 0, None), None);
        assert_eq!((thread.waiting(), thread.can_move()), (Some(*waiting), *waiting == Waiting::NoticeOrTime));
    }
    assert_eq!(standing("main", State::Blocked, Some(Outcome::HeldBack), None).waiting(), None);
}

#[test]
fn who_is_outside_can_move_as_long_as_it_has_something_to_do() {
    for name in ["client", "client-2", "client-3", "operator"] {
        // The state of its slot says nothing: it is no thread of the server.
        for state in [State::Parked, State::Ended] {
            assert!(standing(name, state, None, Some(Action::Fin)).can_move());
            assert!(!standing(name, state, None, None).can_move());
        }
    }
    assert!(!standing("worker-1", State::Ended, None, Some(Action::Fin)).can_move());
}

#[test]
fn roles_are_found_by_their_names_and_listed_by_their_numbers() {
    let now = now(vec![
        standing("client", State::Ended, None, Some(Action::Connect)),
        standing("main", State::Ended, None, None),
        standing("worker-1", State::Parked, None, None),
    ]);
    assert_eq!((now.role("worker-1"), now.role("main"), now.role("worker-2")), (Some(2), Some(1), None));
    assert_eq!(now.movable().collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn what_a_thread_does_is_said_of_each_state() {
    let doing = |state, waits| {
        now(vec![standing("main", State::Ended, None, None), standing("worker-1", state, waits, None)]).doing(1)
    };
    assert_eq!(doing(State::Running, None), "runs, past its point `read`");
    assert_eq!(doing(State::Parked, None), "stands at its point `read` (occurrence 3)");
    assert_eq!(doing(State::Ended, None), "has ended");
    assert_eq!(doing(State::Asleep, refused(Waiting::Event, 0, None)), "sleeps in epoll_wait");
    assert_eq!(doing(State::Blocked, None), "waits for a thread");
    assert_eq!(doing(State::Blocked, refused(Waiting::Lock, 9, Some(0))), "waits for a lock that main holds");
    assert_eq!(doing(State::Blocked, refused(Waiting::Thread, 0, Some(1))), "waits for the end of worker-1");
    assert_eq!(doing(State::Blocked, refused(Waiting::Bytes, 7, None)), "waits for bytes on fd 7");
}

#[test]
fn a_strategy_that_does_not_say_otherwise_has_no_points_on_the_way() {
    struct Any;
    impl Strategy for Any {
        fn choose(&mut self, _: &Now) -> Choice {
            Choice::End
        }

        fn steps(&mut self, _: &Now) -> Vec<Step> {
            Vec::new()
        }
    }
    assert!(!Any.is_on_the_way(&standing("main", State::Parked, None, None)));
}

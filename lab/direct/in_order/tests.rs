//! A schedule's choices, of moments that were made by hand.

use super::*;
use crate::direct::strategy::Last;

const POINTS: [&str; 3] = ["wait", "read", "write"];

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text, &POINTS, 3).expect("it is well formed")
}

/// The roles: `client`, `main`, `worker-1`, `worker-2`; all have ended.
fn all() -> Now {
    let role = |name: &str| Standing {
        name: name.to_string(),
        state: State::Ended,
        point: "",
        occurrence: 0,
        waits: None,
        next: None,
    };
    Now { roles: ["client", "main", "worker-1", "worker-2"].map(role).to_vec(), last: None, is_alive: true }
}

const CLIENT: usize = 0;
const MAIN: usize = 1;
const ONE: usize = 2;
const TWO: usize = 3;

impl Now {
    fn at(mut self, role: usize, point: &'static str, occurrence: u64) -> Now {
        self.roles[role] =
            Standing { state: State::Parked, point, occurrence, waits: None, ..self.roles[role].clone() };
        self
    }

    fn waits(mut self, role: usize, waiting: Waiting) -> Now {
        let waits = Some(refused(waiting));
        self.roles[role] = Standing { state: State::Blocked, waits, ..self.roles[role].clone() };
        self
    }

    fn asleep(self, role: usize) -> Now {
        let mut now = self.waits(role, Waiting::Event);
        now.roles[role].state = State::Asleep;
        now
    }

    fn after(mut self, moved: Move, refused: Option<Outcome>) -> Now {
        self.last = Some(Last { moved, refused });
        self
    }
}

fn refused(waiting: Waiting) -> Outcome {
    Outcome::Refused { waiting, address: 7, holder: Some(MAIN) }
}

fn step(role: usize, step: usize) -> Choice {
    Choice::Role(Move { role, step, is_late: false })
}

fn late(role: usize, step: usize) -> Choice {
    Choice::Role(Move { role, step, is_late: true })
}

fn outcomes(order: &mut InOrder<'_>, now: &Now) -> Vec<Outcome> {
    order.steps(now).into_iter().map(|step| step.outcome).collect()
}

#[test]
fn a_step_is_of_its_role_at_its_point_and_its_occurrence() {
    let schedule = schedule("worker-1 read 2\n");
    let ready = |now: &Now| InOrder::new(&schedule).choose(now) == step(ONE, 1);
    assert!(ready(&all().at(ONE, "read", 2)));
    assert!(!ready(&all().at(ONE, "read", 1)) && !ready(&all().at(ONE, "read", 3)), "another pass of it");
    assert!(!ready(&all().at(ONE, "write", 2)), "another point");
    assert!(!ready(&all().at(TWO, "read", 2)) && !ready(&all().at(MAIN, "read", 2)), "another role");
    let mut running = all().at(ONE, "read", 2);
    for state in [State::Running, State::Blocked, State::Ended, State::Asleep] {
        running.roles[ONE].state = state;
        assert!(!ready(&running), "{state:?}: it has passed that point");
    }
    let any = self::schedule("worker-1 read\n");
    assert_eq!(InOrder::new(&any).choose(&all().at(ONE, "read", 9)), step(ONE, 1));
}

#[test]
fn steps_pass_one_after_the_other_to_the_end() {
    let schedule = schedule("main wait\nclient connect\nworker-1 read\n");
    let mut order = InOrder::new(&schedule);
    let now = all().at(MAIN, "wait", 1).at(ONE, "read", 1);
    assert_eq!([0; 4].map(|_| order.choose(&now)), [step(MAIN, 1), step(CLIENT, 2), step(ONE, 3), Choice::End]);
    let steps = order.steps(&now);
    let said: Vec<_> =
        steps.iter().map(|step| (step.role.as_str(), step.what.as_str(), step.outcome.clone())).collect();
    let passed = || Outcome::Passed;
    assert_eq!(said, [("main", "wait", passed()), ("client", "connect", passed()), ("worker-1", "read", passed())]);
}

#[test]
fn a_step_that_waits_is_refused_and_comes_late_before_any_other() {
    let schedule = schedule("worker-1 read\nmain wait\nmain read\nworker-1 write\n");
    let mut order = InOrder::new(&schedule);
    let now = all().waits(ONE, Waiting::Lock).at(MAIN, "wait", 1);
    assert_eq!(order.choose(&now), step(MAIN, 2), "the order goes on without it");
    let now = all().at(ONE, "read", 1).at(MAIN, "read", 1);
    assert_eq!(order.choose(&now), late(ONE, 1));
    assert_eq!(order.choose(&all().at(ONE, "write", 1).at(MAIN, "read", 1)), step(MAIN, 3));
    assert_eq!(order.choose(&all().at(ONE, "write", 1)), step(ONE, 4));
    assert_eq!(order.choose(&all()), Choice::End);
    assert_eq!(
        outcomes(&mut order, &all()),
        [refused(Waiting::Lock), Outcome::Passed, Outcome::Passed, Outcome::Passed]
    );
}

#[test]
fn what_follows_a_refused_step_of_the_same_role_is_held_back() {
    let schedule = schedule("worker-1 read\nworker-1 write\nworker-2 write\nmain wait\n");
    let mut order = InOrder::new(&schedule);
    // worker-2 waits too, for itself.
    let now = all().waits(ONE, Waiting::Lock).waits(TWO, Waiting::Task).at(MAIN, "wait", 1);
    assert_eq!(order.choose(&now), step(MAIN, 4));
    assert_eq!(order.choose(&all().at(ONE, "write", 1)), Choice::End, "its first step comes first");
    let now = all().at(ONE, "write", 1).waits(TWO, Waiting::Task);
    let mut dead = now.clone();
    dead.is_alive = false;
    let held = [refused(Waiting::Lock), Outcome::HeldBack, refused(Waiting::Task), Outcome::Passed];
    assert_eq!(outcomes(&mut order, &dead), held);
    let at = |role| Outcome::Unmet(now.doing(role));
    assert_eq!(outcomes(&mut order, &now), [at(ONE), at(ONE), at(TWO), Outcome::Passed]);
}

/// It passed its point, and only then had to wait: that is known when the next choice is to be made.
#[test]
fn a_step_that_ended_in_a_wait_is_refused_and_is_done_all_the_same() {
    let schedule = schedule("worker-1 read\nworker-1 write\nmain wait\n");
    let mut order = InOrder::new(&schedule);
    assert_eq!(order.choose(&all().at(ONE, "read", 1)), step(ONE, 1));
    let moved = Move { role: ONE, step: 1, is_late: false };
    let now = all().waits(ONE, Waiting::Lock).at(MAIN, "wait", 1).after(moved, Some(refused(Waiting::Lock)));
    assert_eq!(order.choose(&now), step(MAIN, 3));
    assert_eq!(order.choose(&all().at(ONE, "write", 1)), late(ONE, 2), "it is not to pass its first point again");
    assert_eq!(outcomes(&mut order, &all()), [refused(Waiting::Lock), Outcome::HeldBack, Outcome::Passed]);
    // The last of all may be told only at the end.
    let mut order = InOrder::new(&schedule);
    order.choose(&all().at(ONE, "read", 1));
    let now = all().after(moved, Some(refused(Waiting::Lock)));
    assert_eq!(outcomes(&mut order, &now)[0], refused(Waiting::Lock));
}

#[test]
fn a_role_that_waits_for_the_kernel_is_given_time_once() {
    let schedule = schedule("worker-1 read\nmain wait\n");
    for waiting in [Waiting::Event, Waiting::Connection, Waiting::Bytes, Waiting::Room] {
        let mut order = InOrder::new(&schedule);
        let now = all().waits(ONE, waiting).at(MAIN, "wait", 1);
        assert_eq!([order.choose(&now), order.choose(&now)], [step(ONE, 1), step(MAIN, 2)], "{waiting:?}");
    }
    for waiting in [Waiting::Lock, Waiting::Task, Waiting::Thread, Waiting::Notice, Waiting::Turn, Waiting::Reply] {
        let mut order = InOrder::new(&schedule);
        let now = all().waits(ONE, waiting).at(MAIN, "wait", 1);
        assert_eq!(order.choose(&now), step(MAIN, 2), "{waiting:?}: no time will help it");
    }
    // It came: then it passes in its place.
    let mut order = InOrder::new(&schedule);
    let now = all().at(MAIN, "wait", 1);
    assert_eq!(order.choose(&now.clone().waits(ONE, Waiting::Event)), step(ONE, 1));
    assert_eq!(order.choose(&now.at(ONE, "read", 1)), step(ONE, 1));
    assert_eq!(outcomes(&mut order, &all())[0], Outcome::Passed);
}

#[test]
fn each_step_has_its_own_time() {
    let schedule = schedule("worker-1 read\nworker-2 read\nmain wait\n");
    let mut order = InOrder::new(&schedule);
    let now = all().waits(ONE, Waiting::Event).waits(TWO, Waiting::Event).at(MAIN, "wait", 1);
    assert_eq!([0; 3].map(|_| order.choose(&now)), [step(ONE, 1), step(TWO, 2), step(MAIN, 3)]);
}

#[test]
fn after_the_kernels_time_comes_its_own_and_no_third() {
    let schedule = schedule("worker-1 read\nmain wait\n");
    let mut order = InOrder::new(&schedule);
    let main = all().at(MAIN, "wait", 1);
    assert_eq!(order.choose(&main.clone().waits(ONE, Waiting::Event)), step(ONE, 1));
    assert_eq!(order.choose(&main.clone().waits(ONE, Waiting::NoticeOrTime)), step(ONE, 1));
    assert_eq!(order.choose(&main.clone().waits(ONE, Waiting::Event)), step(MAIN, 2), "it has had both");
    let mut order = InOrder::new(&schedule);
    let waits = main.clone().waits(ONE, Waiting::NoticeOrTime);
    assert_eq!([order.choose(&waits), order.choose(&waits)], [step(ONE, 1), step(MAIN, 2)]);
    // The time is of the step that is its role's next: not of one that is held back.
    let schedule = self::schedule("worker-1 read\nworker-1 write\nmain wait\n");
    let mut order = InOrder::new(&schedule);
    assert_eq!([0; 2].map(|_| order.choose(&waits)), [step(ONE, 1), step(MAIN, 3)]);
}

#[test]
fn a_late_step_waits_while_the_turn_is_given_to_another() {
    let schedule = schedule("worker-1 read\nworker-2 read\nmain wait\n");
    let mut order = InOrder::new(&schedule);
    let main = all().at(MAIN, "wait", 1);
    assert_eq!(order.choose(&main.clone().waits(ONE, Waiting::Lock).waits(TWO, Waiting::Event)), step(TWO, 2));
    let now = main.at(ONE, "read", 1).at(TWO, "read", 1);
    assert_eq!([0; 3].map(|_| order.choose(&now)), [step(TWO, 2), late(ONE, 1), step(MAIN, 3)]);
}

#[test]
fn what_the_next_step_of_a_role_does_not_name_is_on_the_way() {
    let schedule = schedule("worker-1 read 2\nmain wait\nworker-1 write\n");
    let mut order = InOrder::new(&schedule);
    let on_the_way = |order: &InOrder<'_>, now: &Now, role: usize| order.is_on_the_way(&now.roles[role]);
    assert!(on_the_way(&order, &all().at(ONE, "read", 1), ONE) && on_the_way(&order, &all().at(ONE, "write", 1), ONE));
    assert!(!on_the_way(&order, &all().at(ONE, "read", 2), ONE));
    assert!(!on_the_way(&order, &all().at(TWO, "read", 1), TWO), "who has no step waits where it stands");
    assert_eq!(order.choose(&all().at(ONE, "read", 2)), step(ONE, 1));
    assert!(on_the_way(&order, &all().at(ONE, "read", 2), ONE) && !on_the_way(&order, &all().at(ONE, "write", 1), ONE));
    let now = all().at(MAIN, "wait", 1).at(ONE, "write", 1);
    assert_eq!([0; 2].map(|_| order.choose(&now)), [step(MAIN, 2), step(ONE, 3)]);
    assert!(!on_the_way(&order, &all().at(ONE, "read", 3), ONE), "it has had its last");
}

#[test]
fn what_never_came_is_told_with_what_its_role_does_instead() {
    let schedule = schedule("worker-1 read\nworker-3 read\nclient connect\n");
    let mut order = InOrder::new(&schedule);
    let now = all().at(ONE, "wait", 4);
    order.choose(&now);
    let unmet = |text: &str| Outcome::Unmet(text.to_string());
    let stands = unmet("stands at its point `wait` (occurrence 4)");
    assert_eq!(outcomes(&mut order, &now)[..2], [stands, unmet("is not there")]);
    // Of a server that has died nobody says what it does.
    let mut order = InOrder::new(&schedule);
    let dead = Now { is_alive: false, ..all() };
    assert_eq!(outcomes(&mut order, &dead), [Outcome::NotReached, Outcome::NotReached, Outcome::NotReached]);
    // What a client had left is no thread's doing.
    let mut order = InOrder::new(&schedule);
    assert_eq!(outcomes(&mut order, &all())[2], unmet("is not there"));
}

#[test]
fn who_sleeps_in_the_kernel_is_refused_and_not_missing() {
    let schedule = schedule("worker-1 read\nworker-1 write\nworker-2 read\nmain wait\n");
    let mut order = InOrder::new(&schedule);
    let now = all().asleep(ONE).at(MAIN, "wait", 1);
    assert_eq!([0; 3].map(|_| order.choose(&now)), [step(ONE, 1), step(ONE, 2), step(MAIN, 4)]);
    let ended = Outcome::Unmet("has ended".to_string());
    assert_eq!(outcomes(&mut order, &now), [refused(Waiting::Event), Outcome::HeldBack, ended, Outcome::Passed]);
    // Who sleeps, and was never refused, has not come.
    let mut order = InOrder::new(&schedule);
    assert_eq!(outcomes(&mut order, &now)[0], Outcome::Unmet("sleeps in epoll_wait".to_string()));
}

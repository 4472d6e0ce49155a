//! What each scheduler chooses, in a game of roles that have so many steps each; and what is written down of it.

use std::collections::{BTreeMap, BTreeSet};

use super::delays::Delays;
use super::pct::Pct;
use super::pos::Pos;
use super::random::{Surw, Walk};
use super::touches::{Touches, of_each};
use super::*;
use crate::direct::schedule::CLIENTS;
use crate::direct::strategy::Last;
use crate::record::event::{Kind, Object, Record, Waiting};

pub fn pass(role: &str, point: &str, occurrence: u64) -> Step {
    let action = Action::Pass { point: point.to_string(), occurrence: Some(occurrence) };
    Step { role: role.to_string(), action, line: 0 }
}

pub fn taken(step: Step, ready: usize) -> Taken {
    Taken { step, ready, outcome: Outcome::Passed, went_on: None }
}

/// Roles that never wait for each other, each with its number of steps.
fn play(scheduler: &mut dyn Scheduler, roles: &[(&str, usize)]) -> String {
    let mut done = vec![0; roles.len()];
    let (mut last, mut order) = (None, String::new());
    loop {
        let ready: Vec<usize> = (0..roles.len()).filter(|role| done[*role] < roles[*role].1).collect();
        let steps: Vec<Step> = ready.iter().map(|role| pass(roles[*role].0, "p", done[*role] as u64 + 1)).collect();
        if steps.is_empty() {
            return order;
        }
        let before = last.and_then(|role| ready.iter().position(|ready| *ready == role));
        let chosen = if steps.len() == 1 { 0 } else { scheduler.pick(&steps, before) };
        scheduler.moves(&steps, chosen);
        let role = ready[chosen];
        done[role] += 1;
        last = Some(role);
        order.push_str(&roles[role].0[..1]);
    }
}

const TWO: [(&str, usize); 2] = [("a", 3), ("b", 3)];

#[test]
fn a_calm_run_lets_each_go_on_and_a_delay_puts_it_behind_all_others() {
    let delayed = |at: &[usize]| play(&mut Delays::new(at), &[("a", 3), ("b", 2), ("x", 1)]);
    assert_eq!(delayed(&[]), "aaabbx");
    assert_eq!(delayed(&[0]), "bbxaaa");
    assert_eq!(delayed(&[1]), "abbxaa");
    assert_eq!(delayed(&[2]), "aabbxa");
    // At the fourth choice it is b that was to go on.
    assert_eq!(delayed(&[3]), "aaaxbb");
    // Who was delayed later comes later.
    assert_eq!(delayed(&[0, 0]), "xaaabb");
    assert_eq!(delayed(&[0, 1]), "bxaaab");
    assert_eq!(delayed(&[0, 0, 0]), "aaabbx");
    // A choice that does not come delays nobody.
    assert_eq!(delayed(&[99]), "aaabbx");
}

#[test]
fn clients_wait_until_no_thread_can_move() {
    let mut calm = Delays::new(&[]);
    let (client, thread) = (Step { role: "client".into(), action: Action::Fin, line: 0 }, pass("main", "wait", 1));
    // Also one that has just moved.
    assert_eq!(calm.pick(&[thread.clone(), client.clone()], Some(1)), 0);
    let mut delayed = Delays::new(&[0]);
    assert_eq!(delayed.pick(&[thread.clone(), client.clone()], None), 1);
    assert_eq!(delayed.pick(&[thread.clone(), client.clone()], None), 1, "a delay lasts");
    assert_eq!(delayed.pick(&[thread.clone(), pass("worker-1", "take", 1), client], None), 1);
}

/// How often each order came up, of so many seeds.
fn orders(seeds: u64, roles: &[(&str, usize)], of: impl Fn(u64) -> Box<dyn Scheduler>) -> BTreeMap<String, u64> {
    let mut orders = BTreeMap::new();
    for seed in 0..seeds {
        *orders.entry(play(&mut *of(seed), roles)).or_default() += 1;
    }
    orders
}

#[test]
fn a_seed_is_an_order_and_another_seed_mostly_another() {
    let earlier: Vec<Taken> = ["a", "a", "a", "b", "b", "b"].iter().map(|role| taken(pass(role, "p", 1), 2)).collect();
    type Of = Box<dyn Fn(u64) -> Box<dyn Scheduler>>;
    let all: [(&str, Of); 4] = [
        ("walk", Box::new(|seed| Box::new(Walk::new(seed)))),
        ("surw", Box::new(move |seed| Box::new(Surw::new(seed, &earlier)))),
        ("pct", Box::new(|seed| Box::new(Pct::new(seed, 3, 6)))),
        ("pos", Box::new(|seed| Box::new(Pos::new(seed, Touches::default())))),
    ];
    for (name, of) in &all {
        for seed in 0..100 {
            assert_eq!(play(&mut *of(seed), &TWO), play(&mut *of(seed), &TWO), "{name}, seed {seed}");
        }
        let orders = orders(2000, &TWO, of);
        // Twenty orders there are; PCT of depth 3 cannot make those with more changes.
        let least = if *name == "pct" { 10 } else { 20 };
        assert!(orders.len() >= least && orders.len() <= 20, "{name}: {orders:?}");
    }
}

#[test]
fn a_walk_favours_the_orders_in_which_the_short_role_is_done_first_and_weights_do_not() {
    // a has one step, b five: a can stand at six places.
    let roles = [("a", 1), ("b", 5)];
    let place = |orders: BTreeMap<String, u64>| -> Vec<u64> {
        let at = |place: usize| orders.iter().filter(|(order, _)| order.find('a') == Some(place)).map(|(_, n)| n).sum();
        (0..6).map(at).collect()
    };
    let walk = place(orders(6000, &roles, |seed| Box::new(Walk::new(seed))));
    assert!(walk[0] > 2800 && walk[5] < 300, "a half at the first place, a 32nd at the last: {walk:?}");
    let earlier: Vec<Taken> = "abbbbb".chars().map(|role| taken(pass(&role.to_string(), "p", 1), 2)).collect();
    let surw = place(orders(6000, &roles, |seed| Box::new(Surw::new(seed, &earlier))));
    assert!(surw.iter().all(|n| (850..1150).contains(n)), "a sixth at each: {surw:?}");
}

#[test]
fn without_a_fall_pct_runs_each_to_its_end_and_with_one_it_changes_once() {
    let orders = |depth| orders(1000, &TWO, move |seed| Box::new(Pct::new(seed, depth, 6)));
    assert_eq!(orders(1).into_keys().collect::<Vec<_>>(), ["aaabbb", "bbbaaa"]);
    let changes = |order: &str| order.as_bytes().windows(2).filter(|pair| pair[0] != pair[1]).count();
    let two = orders(2);
    assert!(two.keys().all(|order| changes(order) <= 2), "{two:?}");
    assert!(two.contains_key("abbbaa") && two.contains_key("aabbba") && two.contains_key("baaabb"), "{two:?}");
    assert!(orders(3).keys().any(|order| changes(order) == 3));
}

#[test]
fn every_order_of_priorities_is_drawn_and_who_falls_later_falls_deeper() {
    let roles = [("a", 1), ("b", 1), ("c", 1)];
    let drawn = orders(200, &roles, |seed| Box::new(Pct::new(seed, 1, 3)));
    assert_eq!(drawn.len(), 6, "{drawn:?}");
    for seed in 0..100 {
        // Two falls, both at the first choice: it is the third's.
        let mut pct = Pct::new(seed, 3, 1);
        let steps = ["a", "b", "c"].map(|role| pass(role, "p", 1));
        let mut calm = Pct::new(seed, 3, 1);
        let highest = calm.highest(&steps);
        let third = pct.pick(&steps, None);
        assert_ne!(third, highest, "seed {seed}");
        let second = (0..3).find(|at| *at != third && *at != highest).expect("three");
        for pair in [[highest, second], [second, highest]] {
            let ready = pair.map(|at| steps[at].clone());
            assert_eq!(pair[pct.pick(&ready, None)], highest, "seed {seed}: it fell first");
        }
    }
}

#[test]
fn orders_that_touch_nothing_in_common_are_no_likelier_for_being_many() {
    // Ten steps of c touch nothing that a and b do, whose one step each meets: which of them is first is even.
    let object = |role: &str| if role == "c" { Object::Fd(1) } else { Object::Queue };
    let known: Vec<Taken> = (0..12)
        .map(|n| taken(if n < 10 { pass("c", "p", n + 1) } else { pass(["a", "b"][n as usize - 10], "p", 1) }, 2))
        .collect();
    let records: Vec<Record> = (0..12)
        .map(|n| match object(&known[n].step.role) {
            Object::Queue => record(n + 1, Kind::Push, 0),
            _ => record(n + 1, Kind::Read, 1),
        })
        .collect();
    let touches = Touches::of(&known, &records);
    assert!(touches.may_meet(&pass("a", "p", 1), &pass("b", "p", 1)));
    assert!(!touches.may_meet(&pass("a", "p", 1), &pass("c", "p", 3)));
    assert!(touches.may_meet(&pass("a", "p", 1), &pass("c", "p", 11)), "nobody knows that one");
    let orders = orders(2000, &[("a", 1), ("b", 1), ("c", 10)], |seed| Box::new(Pos::new(seed, touches.clone())));
    let first: u64 = orders.iter().filter(|(order, _)| order.find('a') < order.find('b')).map(|(_, n)| n).sum();
    assert!((900..1100).contains(&first), "{first}");
}

pub fn record(step: usize, kind: Kind, a: u64) -> Record {
    Record {
        number: 0,
        nanos: 0,
        role: 1,
        kind,
        label: "",
        file: "",
        line: 0,
        column: 0,
        inherited: false,
        step: Some(step),
        over: false,
        a,
        b: 7,
        c: 0,
    }
}

#[test]
fn a_step_touches_what_its_records_are_about() {
    let mut late = record(2, Kind::Close, 3);
    late.step = None;
    let records = [
        record(1, Kind::Accept, 5),
        record(1, Kind::Add, 5),
        record(2, Kind::Free, 0x10),
        record(2, Kind::Pop, 1),
        late,
        record(9, Kind::Close, 3),
        record(2, Kind::Wait, 1),
    ];
    let set = |objects: &[Object]| objects.iter().copied().collect::<BTreeSet<_>>();
    let touched = of_each(3, &records);
    assert_eq!(touched[0], set(&[Object::Fd(5), Object::Token(7)]));
    assert_eq!(touched[1], set(&[Object::Memory(0x10), Object::Queue]));
    assert_eq!(touched[2], set(&[]));
}

fn standing(name: &str, state: State, next: Option<Action>) -> Standing {
    Standing { name: name.to_string(), state, point: "read", occurrence: 2, waits: None, next }
}

fn now(roles: Vec<Standing>, last: Option<Last>) -> Now {
    Now { roles, last, is_alive: true }
}

struct First;

impl Scheduler for First {
    fn pick(&mut self, ready: &[Step], _: Option<usize>) -> usize {
        assert!(ready.len() > 1, "where one can move nobody is asked");
        0
    }
}

#[test]
fn those_who_could_move_stand_in_one_order_however_they_came() {
    struct Seen(Vec<String>);
    impl Scheduler for Seen {
        fn pick(&mut self, ready: &[Step], _: Option<usize>) -> usize {
            self.0 = ready.iter().map(|step| step.role.clone()).collect();
            ready.len() - 1
        }
    }
    let mut seen = Seen(Vec::new());
    let mut exploration = Exploration::new(&mut seen);
    let parked = |name| standing(name, State::Parked, None);
    let client = |at: usize| standing(CLIENTS[at], State::Ended, Some(Action::Fin));
    let choice = exploration.choose(&now(
        vec![
            client(0),
            parked("main"),
            standing(OPERATOR, State::Ended, Some(Action::Stop)),
            client(1),
            parked("worker-10"),
            parked("worker-2"),
            standing("worker-1", State::Blocked, None),
            standing("worker-3", State::Asleep, None),
            standing("worker-4", State::Ended, None),
            standing(CLIENTS[2], State::Ended, None),
        ],
        None,
    ));
    assert_eq!(choice, Choice::Role(Move { role: 2, step: 1, is_late: false }));
    assert_eq!(exploration.into_taken()[0].step.action, Action::Stop);
    assert_eq!(seen.0, ["main", "worker-2", "worker-10", "client", "client-2", "operator"]);
}

#[test]
fn who_waits_is_noted_and_when_it_goes_on_and_the_order_has_it_there() {
    let mut scheduler = First;
    let mut exploration = Exploration::new(&mut scheduler);
    let client = || standing("client", State::Ended, Some(Action::Connect));
    let main = |state| standing("main", state, None);
    let worker = |state| standing("worker-1", state, None);
    let chosen = |role, step| Choice::Role(Move { role, step, is_late: false });
    let last = |role, step, waits| {
        let refused = Outcome::Refused { waiting: Waiting::Event, address: 0, holder: None };
        Some(Last { moved: Move { role, step, is_late: false }, refused: Some(refused).filter(|_| waits) })
    };
    let all = |m, w| vec![client(), main(m), worker(w)];
    use State::{Blocked, Parked};
    assert_eq!(exploration.choose(&now(all(Parked, Parked), None)), chosen(1, 1));
    assert_eq!(exploration.choose(&now(all(Blocked, Parked), last(1, 1, true))), chosen(2, 2));
    assert_eq!(exploration.choose(&now(all(Blocked, Blocked), last(2, 2, true))), chosen(0, 3));
    // The client has woken main.
    assert_eq!(exploration.choose(&now(all(Parked, Blocked), last(0, 3, false))), chosen(1, 4));
    let over = now(vec![main(Blocked), worker(Blocked)], last(1, 4, false));
    assert_eq!(exploration.choose(&over), Choice::End);
    let steps = exploration.steps(&over);
    assert_eq!(
        steps.iter().map(|step| step.what.as_str()).collect::<Vec<_>>(),
        ["read 2", "read 2", "connect", "read 2"]
    );
    assert!(matches!(steps[0].outcome, Outcome::Refused { .. }) && steps[3].outcome == Outcome::Passed);
    let taken = exploration.into_taken();
    assert_eq!(taken.iter().map(|taken| taken.went_on).collect::<Vec<_>>(), [Some(2), None, None, None]);
    assert_eq!(taken.iter().map(|taken| taken.ready).collect::<Vec<_>>(), [3, 2, 1, 2]);
    let script = Schedule { steps: vec![], plans: vec![crate::direct::schedule::Plan::Get(1)] };
    let roles = |order: &Schedule| order.steps.iter().map(|step| step.role.clone()).collect::<Vec<_>>();
    assert_eq!(roles(&order(&taken, &script)), ["main", "worker-1", "client", "main"]);
    // main comes when there is something to come for; worker-1, who waits to the end, does not come.
    assert_eq!(roles(&without_waits(&taken, &script)), ["client", "main", "main"]);
    assert_eq!(order(&taken, &script).plans, script.plans);
}

#[test]
fn a_scheduler_is_told_of_every_step_also_where_it_had_no_choice() {
    struct Told(Vec<String>);
    impl Scheduler for Told {
        fn pick(&mut self, ready: &[Step], last: Option<usize>) -> usize {
            assert_eq!(last, self.0.last().and_then(|role| ready.iter().position(|step| step.role == *role)));
            ready.len() - 1
        }

        fn moves(&mut self, ready: &[Step], moved: usize) {
            self.0.push(ready[moved].role.clone());
        }
    }
    let mut told = Told(Vec::new());
    let mut exploration = Exploration::new(&mut told);
    let parked = |names: &[&str]| now(names.iter().map(|name| standing(name, State::Parked, None)).collect(), None);
    for names in [&["main"][..], &["main", "worker-1"], &["worker-1"], &["main", "worker-1", "worker-2"]] {
        exploration.choose(&parked(names));
    }
    assert_eq!(told.0, ["main", "worker-1", "worker-1", "worker-2"]);
}

#[test]
fn a_run_without_an_end_is_given_one() {
    let mut scheduler = First;
    let mut exploration = Exploration::new(&mut scheduler);
    let spins = now(vec![standing("main", State::Parked, None)], None);
    for _ in 0..MAX_STEPS {
        assert_ne!(exploration.choose(&spins), Choice::End);
    }
    assert_eq!(exploration.choose(&spins), Choice::End);
}

#[test]
fn numbers_below_are_all_of_them_and_no_others() {
    let mut numbers = Numbers::new(7);
    let mut seen = [0; 5];
    for _ in 0..5000 {
        seen[numbers.below(5)] += 1;
    }
    assert!(seen.iter().all(|n| (900..1100).contains(n)), "{seen:?}");
    // The first numbers of the generator's authors for this seed.
    let mut known = Numbers::new(1_234_567);
    assert_eq!([known.draw(), known.draw()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
}

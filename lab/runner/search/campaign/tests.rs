//! Which run comes next, and what is made of it.

use super::super::making::tests::{Came, asked_too_early, lab, nobody};
use super::*;
use crate::direct::outcome::Outcome;
use crate::direct::schedule::Action;
use crate::runner::cli::Visitors;

fn search(which: Which, runs: u64) -> Search {
    Search { which, runs, seconds: 1000, seed: 5, depth: 2, visitors: Visitors::default(), output: None }
}

/// A run with three choices.
fn taken() -> Vec<Taken> {
    let step = |role: &str| Step { role: role.to_string(), action: Action::Fin, line: 0 };
    let one = |role: &str| Taken { step: step(role), ready: 2, outcome: Outcome::Passed, went_on: None };
    ["a", "b", "c"].map(one).to_vec()
}

/// The runs that come, as if each were made and showed nothing: the delays, or the strategy and its seed.
fn runs(search: &Search) -> (Vec<String>, Campaign) {
    let mut campaign = Campaign::new(search);
    let mut came = Vec::new();
    while let Some(next) = campaign.next() {
        came.push(match &next {
            Next::Delayed(run) => format!("{:?}", run.at),
            Next::Sampled(kind, seed) => format!("{} {seed}", kind.name()),
        });
        campaign.runs += 1;
        match &next {
            Next::Delayed(run) => campaign.bounded.made(run, &taken(), &[]),
            Next::Sampled(kind, _) => campaign.sampled[*kind as usize] += 1,
        }
    }
    (came, campaign)
}

#[test]
fn single_delays_come_all_and_then_pairs_and_random_orders_in_turn() {
    let (came, campaign) = runs(&search(Which::Several, 300));
    assert_eq!(came[..4], ["[]", "[0]", "[1]", "[2]"]);
    assert_eq!(came[4..10], ["pct 5", "[0, 0]", "pos 5", "[0, 1]", "surw 5", "[0, 2]"]);
    assert_eq!(came[10..], ["random 5", "[1, 1]", "pct 6", "[1, 2]", "pos 6", "[2, 2]", "surw 6"]);
    assert_eq!(campaign.bounds().and_then(|bounds| bounds.complete), Some(2), "it ends when all pairs were made");
    assert_eq!(campaign.of(), None, "of a number that has random orders in it nothing is said");
    assert_eq!(
        campaign.sampled().map(|(kind, n)| (kind.name(), n)).collect::<Vec<_>>(),
        [("pct", 2), ("pos", 2), ("surw", 2), ("random", 1)]
    );
}

#[test]
fn delays_alone_have_no_random_orders_and_say_of_how_many() {
    let (came, campaign) = runs(&search(Which::Delays, 300));
    assert_eq!((came.len(), campaign.of()), (10, Some(10)));
    let (came, campaign) = runs(&search(Which::Delays, 6));
    assert_eq!((came.len(), campaign.of()), (6, Some(10)));
    let bounds = campaign.bounds().expect("these are delays");
    assert_eq!((bounds.complete, bounds.orders, bounds.begun, bounds.of), (Some(1), 4, 2, 6));
    let (_, campaign) = runs(&search(Which::Delays, 3));
    assert_eq!((campaign.bounds().and_then(|bounds| bounds.complete), campaign.of()), (Some(0), Some(4)));
}

#[test]
fn random_orders_come_after_a_calm_one_which_does_not_count_each_with_the_next_seed() {
    for kind in Kind::ALL {
        let (came, campaign) = runs(&search(Which::Sampled(kind), 3));
        let name = kind.name();
        assert_eq!(came, ["[]".to_string(), format!("{name} 5"), format!("{name} 6"), format!("{name} 7")]);
        assert!(campaign.bounds().is_none());
    }
}

#[test]
fn when_the_time_is_over_no_other_run_is_begun_but_the_first() {
    let (came, _) = runs(&Search { seconds: 0, ..search(Which::Several, 300) });
    assert_eq!(came, ["[]"]);
}

#[test]
fn two_orders_are_one_if_the_same_roles_do_the_same() {
    let (one, mut other) = (taken(), taken());
    other[1].outcome = Outcome::HeldBack;
    assert_eq!(fingerprint(&one), fingerprint(&other));
    other[1].step.action = Action::Reset;
    assert_ne!(fingerprint(&one), fingerprint(&other));
    other = taken();
    other.swap(0, 1);
    assert_ne!(fingerprint(&one), fingerprint(&other));
}

/// What comes of a campaign with the made-up server, the campaign, and how many runs the lab has made.
pub fn looked(
    search: &Search,
    otherwise: std::ops::Range<u64>,
    came: impl FnMut(&str, bool) -> Came,
) -> (Looked, Campaign, u64) {
    let script = nobody();
    let mut lab = lab(&script, otherwise, came);
    let mut campaign = Campaign::new(search);
    let looked = campaign.run(&mut lab).expect("nothing is missing");
    (looked, campaign, lab.runs())
}

/// All orders with one delay: three, and the worker asks too early in the second and the third.
pub fn one_delay() -> Search {
    Search { depth: 1, ..search(Which::Delays, 300) }
}

pub fn found(looked: Looked) -> Found {
    match looked {
        Looked::Found(found) => *found,
        Looked::Nothing => panic!("nothing was found"),
        Looked::Cannot(end) => panic!("it came to {end:?}"),
    }
}

const SEGV: i32 = libc::SIGSEGV;

#[test]
fn a_server_that_holds_is_counted_in_runs_and_in_orders() {
    let (looked, campaign, made) = looked(&search(Which::Delays, 300), 0..0, |_, _| Came::Lives);
    assert!(matches!(looked, Looked::Nothing));
    // To delay both is no order of its own.
    assert_eq!((campaign.runs(), campaign.orders(), made), (5, 3, 5));
    assert_eq!((campaign.by_chance(), campaign.abused(), campaign.diverged()), (0, 0, None));
    let last = "main      wait 1\nmain      queue 1\nworker-1  take 1\nworker-1  read 1\n";
    assert_eq!(campaign.last_order(&nobody()).to_string(), last);
}

#[test]
fn what_the_box_saw_and_malloc_did_not_is_counted() {
    let came = |passed: &str, _| if asked_too_early(passed) { Came::Abuses } else { Came::Lives };
    let (looked, campaign, _) = looked(&one_delay(), 0..0, came);
    assert!(matches!(looked, Looked::Nothing));
    assert_eq!((campaign.runs(), campaign.abused()), (3, 2));
}

#[test]
fn what_comes_in_an_order_is_found_in_the_first_run_that_has_it() {
    // One that nobody told to end may die of SIGTERM too.
    for signal in [SEGV, libc::SIGTERM] {
        let came = move |passed: &str, _| if asked_too_early(passed) { Came::Dies(signal) } else { Came::Lives };
        let (looked, campaign, made) = looked(&one_delay(), 0..0, came);
        let found = found(looked);
        assert_eq!((found.run, found.by(), &found.shown), (2, "bound 1".to_string(), &Shown::Died(signal, None)));
        assert_eq!((campaign.runs(), campaign.by_chance(), made), (2, 0, 2));
        let order = "worker-1  take 1\nmain      wait 1\nmain      queue 1\nworker-1  read 1\n";
        assert_eq!(found.order(&nobody()).to_string(), order);
        let better = "main      wait 1\nmain      queue 1\nworker-1  take 1\nworker-1  read 1\n";
        assert_eq!(found.without_waits(&nobody()).to_string(), better);
    }
}

#[test]
fn what_comes_when_all_are_free_is_an_orders_if_it_comes_each_time() {
    // (In which runs it dies, the run of the finding, the runs of the campaign, those by chance, the runs of the lab.)
    let each_time: &[u64] = &[2, 3, 4, 5];
    let cases = [(each_time, 2, 2, 0, 5), (&[2], 2, 3, 1, 4), (&[2, 3, 4], 2, 3, 1, 6), (&[2, 4], 2, 3, 2, 5)];
    for (dies, found_in, runs, by_chance, made_in_all) in cases {
        let mut run = 0;
        let came = |_: &str, is_over| {
            run += u64::from(is_over);
            if is_over && dies.contains(&run) { Came::Dies(SEGV) } else { Came::Lives }
        };
        let (looked, campaign, made) = looked(&one_delay(), 0..0, came);
        assert_eq!(found(looked).run, found_in, "{dies:?}");
        assert_eq!((campaign.runs(), campaign.by_chance(), made), (runs, by_chance, made_in_all), "{dies:?}");
    }
}

#[test]
fn what_comes_once_while_all_are_directed_is_found() {
    let mut came_once = false;
    let came = |passed: &str, _| {
        let now = asked_too_early(passed) && !std::mem::replace(&mut came_once, true);
        if now { Came::Dies(SEGV) } else { Came::Lives }
    };
    let (looked, campaign, made) = looked(&one_delay(), 0..0, came);
    assert_eq!((found(looked).run, campaign.runs(), campaign.by_chance(), made), (2, 2, 0, 2));
}

#[test]
fn a_random_order_is_named_by_its_seed_and_the_calm_run_before_it_finds_nothing() {
    let came = |passed: &str, _| if passed.ends_with("read") { Came::Dies(SEGV) } else { Came::Lives };
    let (looked, campaign, _) = looked(&search(Which::Sampled(Kind::Walk), 3), 0..0, came);
    let found = found(looked);
    assert_eq!((found.run, found.by(), campaign.runs()), (2, "random, seed 5".to_string(), 2));
}

#[test]
fn a_lab_that_fails_ends_the_search_unless_its_run_does_not_count() {
    for (which, runs) in [(Which::Delays, 1), (Which::Sampled(Kind::Walk), 2)] {
        let came = |_: &str, is_over| if is_over { Came::Fails } else { Came::Lives };
        let (looked, campaign, _) = looked(&search(which, 3), 0..0, came);
        assert!(matches!(looked, Looked::Cannot(End::Failed(why)) if why == "a limit"));
        assert_eq!(campaign.runs(), runs);
    }
}

#[test]
fn a_run_that_leaves_its_order_is_made_again_and_told_if_it_leaves_it_each_time() {
    let (_, campaign, made) = looked(&one_delay(), 3..5, |_, _| Came::Lives);
    assert_eq!((campaign.runs(), made, campaign.diverged()), (3, 5, None));
    let (_, campaign, made) = looked(&one_delay(), 3..9, |_, _| Came::Lives);
    let (runs, first) = campaign.diverged().expect("it left it three times");
    assert_eq!((campaign.runs(), made, *runs), (3, 5, 1));
    assert_eq!((first.role.as_str(), first.action.to_string().as_str()), ("main", "queue 1"));
}

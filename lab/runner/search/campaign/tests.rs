//! Which run comes next.

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

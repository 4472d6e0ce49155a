//! Orders whose need is known are shrunk to just that.

use super::super::tests::pass;
use super::*;
use crate::direct::schedule::Plan;

fn order(text: &str) -> Schedule {
    let step = |word: &str| {
        let (role, number) = word.split_at(1);
        let role = if role == "c" { "client" } else { role };
        match role {
            "client" => {
                Step { role: role.to_string(), action: Action::Send(number.parse().expect("a number")), line: 0 }
            }
            _ => pass(role, "p", number.parse().expect("a number")),
        }
    };
    Schedule { steps: text.split_whitespace().map(step).collect(), plans: vec![Plan::Raw] }
}

fn text(order: &Schedule) -> String {
    let one = |step: &Step| match &step.action {
        Action::Pass { occurrence: Some(n), .. } => format!("{}{n}", step.role),
        Action::Pass { occurrence: None, .. } => format!("{}_", step.role),
        Action::Send(bytes) => format!("c{bytes}"),
        other => panic!("{other}"),
    };
    order.steps.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Shrinks by this rule, and says what came of it and how many orders were tried.
fn shrunk(from: &str, shows: impl Fn(&str) -> bool) -> (String, usize) {
    let mut tried = 0;
    let mut asked = |order: &Schedule| {
        tried += 1;
        Some(shows(&text(order)))
    };
    let order = order(from);
    (text(&shrink(&order, &order, &mut asked)), tried)
}

/// Whether these steps are there, in this order.
fn has(order: &str, needs: &[&str]) -> bool {
    let mut rest = order.split(' ');
    needs.iter().all(|need| rest.any(|step| step == *need))
}

#[test]
fn what_is_needed_is_left_and_nothing_else() {
    let long = "a1 c1 b1 a2 b2 c2 a3 b3 a4 c3 b4 a5 b5";
    for needs in [vec!["a3"], vec!["a1", "b5"], vec!["c1", "c2", "c3"], vec!["b1", "a2", "c3", "a5"]] {
        let (short, _) = shrunk(long, |order| has(order, &needs));
        assert_eq!(short, needs.join(" "));
    }
    // Nothing can be left out of an order that needs all of it.
    assert_eq!(shrunk("a1 b1 a2 b2", |order| order == "a1 b1 a2 b2").0, "a1 b1 a2 b2");
}

#[test]
fn no_single_step_of_the_shorter_order_can_be_left_out() {
    // An odd rule: an even number of a, and at least one b after the first.
    let rule = |order: &str| {
        let steps: Vec<&str> = order.split(' ').collect();
        let count = steps.iter().filter(|step| step.starts_with('a')).count();
        count > 0 && count % 2 == 0 && has(order, &["a1"]) && steps.iter().skip(1).any(|step| step.starts_with('b'))
    };
    let (short, _) = shrunk("a1 b1 a2 b2 a3 b3 a4 b4", rule);
    let steps: Vec<&str> = short.split(' ').collect();
    assert!(rule(&short));
    for without in 0..steps.len() {
        let mut fewer = steps.clone();
        fewer.remove(without);
        assert!(!rule(&fewer.join(" ")), "{short}");
    }
}

#[test]
fn passes_in_a_row_say_only_when_a_role_goes_on_and_how_far_at_last() {
    let mut best = order("a1 a2 a3 b1 b2 a4 a5 a6 b3 b4 c1 c2");
    let mut keep = |steps: Vec<Step>, best: &mut Schedule| {
        best.steps = steps;
        Some(true)
    };
    fewer_passes(&mut best, &mut keep).expect("nobody stops it");
    assert_eq!(text(&best), "a1 b1 a4 a6 b3 b4 c1 c2");
}

#[test]
fn who_can_go_on_at_once_does() {
    let mut best = order("a1 b1 a2 b2 a3");
    // a3 must come after b2, and a2 need not.
    let mut keep = |steps: Vec<Step>, best: &mut Schedule| {
        let tried = Schedule { steps, plans: vec![] };
        let shows = has(&text(&tried), &["b2", "a3"]);
        if shows {
            *best = tried;
        }
        Some(shows)
    };
    fewer_switches(&mut best, &mut keep).expect("nobody stops it");
    assert_eq!(text(&best), "a1 b1 b2 a2 a3");
}

#[test]
fn numbers_that_say_nothing_are_left_out() {
    // Any first pass of a will do, of b only the second.
    let (short, _) = shrunk("a1 b1 b2", |order| (order.contains("a1") || order.contains("a_")) && order.contains("b2"));
    assert_eq!(short, "a_ b2");
}

#[test]
fn a_better_order_is_taken_if_it_shows_the_same_and_only_then() {
    let (raw, better) = (order("a1 b1 a2"), order("b1 a1 a2"));
    for shows_too in [true, false] {
        let mut first = None;
        let mut shows = |order: &Schedule| {
            first.get_or_insert_with(|| text(order));
            Some(shows_too && text(order) == "b1 a1 a2")
        };
        let short = shrink(&raw, &better, &mut shows);
        assert_eq!(text(&short), if shows_too { "b1 a1 a2" } else { "a1 b1 a2" });
        assert_eq!(first.as_deref(), Some("b1 a1 a2"));
    }
}

#[test]
fn told_to_stop_it_gives_the_shortest_so_far() {
    let mut left = 9;
    let mut shows = |order: &Schedule| {
        left -= 1;
        (left >= 0).then(|| has(&text(order), &["a3"]))
    };
    let long = order("a1 b1 a2 b2 a3 b3 a4");
    let short = shrink(&long, &long, &mut shows);
    assert!(has(&text(&short), &["a3"]) && short.steps.len() < 7, "{}", text(&short));
}

#[test]
fn a_long_order_that_shows_it_early_is_cut_there_first() {
    let long: Vec<String> = (1..=5000).map(|n| format!("{}{n}", ["a", "b"][n % 2])).collect();
    let (short, tried) = shrunk(&long.join(" "), |order| has(order, &["b5", "a10"]));
    assert_eq!(short, "b5 a10");
    assert!(tried < 60, "{tried}");
}

#[test]
fn it_does_not_take_many_tries() {
    let long: Vec<String> = (1..=60).map(|n| format!("{}{n}", ["a", "b", "c"][n % 3])).collect();
    let (short, tried) = shrunk(&long.join(" "), |order| has(order, &["a3", "b31", "a57"]));
    assert_eq!(short, "a3 b31 a57");
    assert!(tried < 200, "{tried}");
}

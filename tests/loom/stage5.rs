//! The models of stage 5: two clients, the second of which gets the number of the first one's descriptor.
//!
//! Every call may be followed by anybody's. The broken stage is searched in steps from point to point, as the director
//! moves its roles: so what is found is a schedule.

use real::catalogue;
use real::schedule::{Action, CLIENTS, Plan, Schedule, Step};

use crate::check::Kind;
use crate::crash::{indent, keep};
use crate::model::{Model, Script, WORKERS};
use crate::models::{Said, Sound, Test, bound, drawn, model, refuted, test, tests_of, with_lanes};
use crate::runner::Serve;
use crate::world::{Grain, Rules};
use crate::{stage5_broken, stage5_fixed, support, translate};

/// The first client uploads, the second one too, and the lengths of the bodies tell the replies apart. Each sends its
/// request in one piece.
pub fn two_uploads(name: &'static str, letters: &str) -> Script {
    let (first, second) = (Plan::Post(16), Plan::Post(8));
    let whole = |plan: Plan| plan.length().expect("it has an end");
    let (before, _) = letters.split_once('c').unwrap_or((letters, ""));
    let pieces = if before.contains('d') { vec![whole(first), whole(second)] } else { vec![whole(second)] };
    let clients = 1 + letters.matches('c').count();
    let plans = [first, second, Plan::Post(4)][..clients].to_vec();
    Script { plans, ..Script::new(name, first, &pieces, letters) }
}

pub fn rules(grain: Grain) -> Rules {
    Rules { grain, two_tasks: true, ..Rules::default() }
}

/// The broken stage, in steps from point to point, and nothing but this kind of finding.
fn broken(kind: Kind, letters: &'static str) -> Model {
    let name = match letters {
        "drc" => "request, RST, a second client",
        "drcd" => "request, RST, a second client's request",
        _ => "RST, a second client's request",
    };
    let rules = Rules { only: Some(kind), ..rules(Grain::Points) };
    Model { rules, ..model("stage5_broken", stage5_broken::serve, two_uploads(name, letters)) }
}

/// The broken stage reports a session twice.
pub fn two_tasks() -> Model {
    broken(Kind::TwoTasks, "rcd")
}

pub fn models(serve: Serve) -> Vec<Sound> {
    let mut models = Vec::new();
    let mut add = |name, weight, usual, is_searched, rules: Rules, script: (&'static str, &str)| {
        let script = two_uploads(script.0, script.1);
        let model = Model { rules, bound: Some(bound(usual)), is_searched, ..model("stage5_fixed", serve, script) };
        models.push((name, weight, model));
    };
    // Two clients who both speak have millions of states, call by call.
    let (here, long) = (true, false);
    let calls = Rules { keeps_sessions: true, ..rules(Grain::Calls) };
    add("is_sound_for_a_request_and_rst", 3, 3, here, calls, ("request, RST", "dr"));
    add("is_sound_for_a_request_and_fin", 1, 3, here, calls, ("request, FIN", "df"));
    add("is_sound_for_a_second_client", 4, 2, here, calls, ("request, RST, a second client", "drc"));
    let both = ("request, RST, a second client's request", "drcd");
    add("is_sound_for_a_second_clients_request", 4, 2, long, calls, both);
    // Coarser steps, and more of them.
    let (points, events) = (Grain::Points, Grain::Events);
    let points = Rules { grain: points, ..calls };
    let both = ("request, RST, a second client's request, in steps from point to point", "drcd");
    add("is_sound_for_a_second_clients_request_from_point_to_point", 4, 2, here, points, both);
    let events = Rules { grain: events, ..calls };
    let silent = ("request, RST, a second client, and a wait or an arming is a step", "drc");
    add("dismisses_nobody_for_a_strangers_break", 4, 3, here, events, silent);
    let three = ("RST, a second client, RST, a third one", "rcrc");
    add("is_sound_for_a_third_client", 4, 1, long, points, three);
    models
}

pub fn all() -> Vec<Test> {
    let mut tests = tests_of("stage5_fixed", models(stage5_fixed::serve));
    for letters in ["drc", "drcd"] {
        let name = format!("stage5_broken_answers_a_stranger_in_the_order_that_loom_found_{letters}");
        tests.push(test(&name, 2, move || answers_a_stranger(letters)));
    }
    tests.push(test("stage5_broken_makes_two_tasks_of_one_event_rcd", 3, || {
        Ok(with_lanes(refuted(&two_tasks(), Kind::TwoTasks)?))
    }));
    tests
}

/// What loom finds happens on the real kernel too, with the real clients and the bytes that they see; the fixed twin
/// turns the old key away in the same order.
fn answers_a_stranger(letters: &'static str) -> Said {
    let (said, outcome) = refuted(&broken(Kind::Stranger, letters), Kind::Stranger)?;
    let finding = outcome.finding.as_ref().expect("it is refuted");
    let mut schedule = translate::schedule(finding).map_err(|finer| finer.to_string())?;
    go_on(&mut schedule)?;
    let text = schedule.to_string();
    let points = catalogue::find("stage5_broken").expect("it is in the catalogue").points();
    let read = Schedule::parse(&text, &points, WORKERS).map_err(|error| format!("{error}\n{text}"))?;
    if read.to_string() != text {
        return Err(format!("it is read back as something else:\n{text}\n{read}"));
    }
    if letters == "drcd" {
        keep("stage5_broken", &text)?;
    }
    let run = |name: &str| {
        let (_folder, path) = support::schedule(&text);
        support::run(name, &["--schedule", &path, "--workers", &WORKERS.to_string()])
    };
    let (broken, fixed) = (run("stage5_broken"), run("stage5_fixed"));
    if broken.status.code() != Some(1) || !broken.stdout.contains("which are the reply to client") {
        return Err(format!("stage5_broken ended otherwise in this order:\n{text}\n{}", broken.all()));
    }
    if fixed.status.code() != Some(0) || !fixed.stdout.contains("kept out") {
        return Err(format!("the fixed twin does not keep the old key out in this order:\n{text}\n{}", fixed.all()));
    }
    Ok(format!(
        "{said}  as a schedule, on the real kernel: a stranger's bytes; the fixed twin serves\n{}",
        indent(&text, &drawn(&outcome))
    ))
}

/// The finding ends with a write that the fixed twin has not in it. So that one order does for both, the worker is to
/// go on to its next task instead, which the broken one comes to by way of the write; then the second client looks.
fn go_on(schedule: &mut Schedule) -> Result<(), String> {
    let last = schedule.steps.pop().expect("a counterexample has a step");
    let pass = |point: &str, occurrence| Action::Pass { point: point.to_string(), occurrence };
    if last.action != pass("write", None) {
        return Err(format!("it does not end with a write, but with: {} {}", last.role, last.action));
    }
    let line = last.line;
    schedule.steps.push(Step { action: pass("take", None), ..last });
    schedule.steps.push(Step { role: CLIENTS[1].to_string(), action: Action::Receive, line: line + 1 });
    Ok(())
}

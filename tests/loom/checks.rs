//! The models' own tests: that each kind of finding is found, that a run that was cut off fails, that the reductions
//! lose nothing, and that a log becomes the right schedule.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use real::schedule::Plan;

use crate::check::{Check, Kind};
use crate::model::{Finding, Model};
use crate::models::{self, Said, Test, model, requests, test, upload};
use crate::runner::Serve;
use crate::translate::{self, Finer};
use crate::turn::Checker;
use crate::world::{CLIENT, Defect, Entry, MAIN, Place, Rules, Verdict, What};
use crate::{stage3_broken, stage3_fixed, stage4_fixed};

pub fn all() -> Vec<Test> {
    let mut tests = vec![
        test("a_run_that_was_cut_off_is_a_failure", 1, a_run_that_was_cut_off_is_a_failure),
        test("a_wrong_answer_is_noticed", 1, a_wrong_answer_is_noticed),
        test("the_first_line_of_a_point_is_a_step", 1, the_first_line_of_a_point_is_a_step),
        test(
            "a_log_that_is_finer_than_the_points_is_no_schedule",
            1,
            a_log_that_is_finer_than_the_points_is_no_schedule,
        ),
    ];
    for letters in ["r", "f"] {
        for (stage, serve) in [("stage3", stage3_fixed::serve as Serve), ("stage4", stage4_fixed::serve)] {
            // Without the reduction stage 4 has half a million executions.
            if stage == "stage4" && !models::is_long() {
                continue;
            }
            let name = format!("the_reductions_lose_nothing_{stage}_{letters}");
            tests.push(test(&name, 2, move || the_reductions_lose_nothing(stage, serve, letters)));
        }
    }
    tests
}

fn a_run_that_was_cut_off_is_a_failure() -> Said {
    let model = Model { cap: 10, ..model("stage3_fixed", stage3_fixed::serve, requests("data, RST", "dr")) };
    let outcome = model.explore();
    match (&outcome.finding, outcome.refutation()) {
        (Some(finding), None) if finding.verdict.kind() == Kind::Capped => Ok(String::new()),
        other => Err(format!("it passed for a whole one, or for a refuted one: {other:?}")),
    }
}

/// What a model says of a stage is itself judged: by a broken stage for a sound one, by another finding than the one
/// that is asked for, and by a search that merges states that differ.
fn a_wrong_answer_is_noticed() -> Said {
    let broken = model("stage3_broken", stage3_broken::serve, requests("data, RST", "dr"));
    let forgetful = Rules { defect: Some(Defect::ForgetsKnowledge), ..Rules::DEFAULT };
    let fixed = model("stage4_fixed", stage4_fixed::serve, upload("data, FIN", "ddf"));
    let forgetful = Model { rules: forgetful, ..fixed };
    let wrong: [(&str, Said); 3] = [
        ("a broken stage is sound", models::sound(&broken)),
        ("a use after free is a hang", models::refuted(&broken, Kind::Hang).map(|(said, _)| said)),
        ("a search that forgets sees what loom sees", models::sound(&forgetful)),
    ];
    for (what, said) in wrong {
        if let Ok(said) = said {
            return Err(format!("{what}: {said}"));
        }
    }
    models::refuted(&broken, Kind::UseAfterFree).map(|(said, _)| said)
}

/// What everybody can have seen with fewer reductions, and what everybody sees with all of them, must be the same, but
/// for the names of the workers.
fn the_reductions_lose_nothing(stage: &'static str, serve: Serve, letters: &'static str) -> Said {
    let script = if stage == "stage3" { requests(letters, letters) } else { upload(letters, letters) };
    let explore = |checker: Checker, independence: bool| {
        let observed = Arc::new(Mutex::new(BTreeSet::new()));
        let model = Model {
            rules: Rules { independence, ..Rules::default() },
            checker,
            bound: None,
            observed: Some(observed.clone()),
            ..model(stage, serve, script.clone())
        };
        let outcome = model.explore();
        let seen = std::mem::take(&mut *observed.lock().expect("nobody else has it"));
        (outcome, seen)
    };
    let ((whole, all), (reduced, some)) = (explore(Checker::Loom, false), explore(Checker::Loom, true));
    let (searched, other) = explore(Checker::Search, true);
    if let Some(finding) = whole.finding.or(reduced.finding).or(searched.finding) {
        return Err(finding.verdict.to_string());
    }
    for some in [some, other] {
        if all != some {
            let lost: Vec<_> = all.symmetric_difference(&some).collect();
            return Err(format!("{} of {} are different, the first: {}", lost.len(), all.len(), lost[0]));
        }
    }
    let (whole, reduced) = (crate::thousands(whole.executions), crate::thousands(reduced.executions));
    Ok(format!(
        "{stage}_fixed, `{letters}`: {} histories, in {whole} executions and in {reduced}; {} states\n",
        all.len(),
        searched.states
    ))
}

fn finding(lines: &[(usize, &'static str, u64, What)]) -> Finding {
    let entry = |(role, point, occurrence, what): &(usize, &'static str, u64, What)| Entry {
        role: *role,
        place: Place { point, occurrence: *occurrence },
        what: what.clone(),
    };
    Finding {
        verdict: Verdict { check: Check::UsedAfterFree, text: String::new() },
        roles: ["client", "main", "worker-1"].map(String::from).to_vec(),
        log: lines.iter().map(entry).collect(),
        blocks: vec!["session 1".to_string()],
        plans: vec![Plan::Get(1)],
        keys: false,
    }
}

fn the_first_line_of_a_point_is_a_step() -> Said {
    let worker = 2;
    let finding = finding(&[
        // Before its first point: no step.
        (MAIN, "", 0, What::Accept(9)),
        (CLIENT, "", 0, What::Connect),
        // Two lines of one point: one step.
        (MAIN, "wait", 1, What::Wait(vec![(0, 1)])),
        (MAIN, "wait", 1, What::Accept(3)),
        (CLIENT, "", 0, What::Send(5)),
        (MAIN, "wait", 2, What::Wait(vec![(1, 1)])),
        // Its second `read`, and nothing was seen of the first: the number is needed.
        (worker, "read", 2, What::Read(Ok(5))),
        (worker, "read", 3, What::Use(0)),
    ]);
    let text = translate::schedule(&finding).map_err(|finer| finer.to_string())?.to_string();
    let right = "client    plan GET 1\nclient    connect\nmain      wait\nclient    send 5\nmain      wait\n\
                 worker-1  read 2\nworker-1  read\n";
    if text != right {
        return Err(format!("not\n{right}but\n{text}"));
    }
    let numbers: Vec<_> = translate::rows(&finding).into_iter().map(|row| row.number).collect();
    if numbers != [Some(1), Some(2), None, Some(3), Some(4), Some(5), Some(6)] {
        return Err(format!("the lanes are numbered {numbers:?}"));
    }
    Ok(String::new())
}

fn a_log_that_is_finer_than_the_points_is_no_schedule() -> Said {
    let finding = finding(&[
        (CLIENT, "", 0, What::Connect),
        (2, "read", 1, What::Read(Ok(5))),
        (MAIN, "remove", 1, What::Free(0)),
        (2, "read", 1, What::Use(0)),
    ]);
    match translate::schedule(&finding) {
        Err(Finer { point: "read", .. }) => Ok(String::new()),
        other => Err(format!("{other:?}")),
    }
}

//! The models: which stage, which script, how far, and what must come of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use real::autopsy::lanes;
use real::schedule::Plan;

use crate::check::Kind;
use crate::half::{lock_without_ownership, ownership_without_lock};
use crate::model::{Model, Outcome, Script};
use crate::runner::Serve;
pub use crate::test::{Said, Test, test};
use crate::turn::Checker;
use crate::world::{Grain, Rules};
use crate::{stage3_broken, stage3_fixed, stage4_broken, stage4_fixed, thousands, translate};

/// loom explores larger scripts up to so many preemptions.
const BOUND: usize = 2;
/// And smaller ones up to so many.
const SMALL: usize = 3;
/// More executions, or states, than any model here needs: who comes to it has not finished.
pub const CAP: usize = 200_000_000;
/// Where a broken stage is searched no further.
const MOST: usize = 5;

/// Requests, each in one piece.
pub fn requests(name: &'static str, letters: &str) -> Script {
    let (one, count) = (Plan::Get(1).head().len() as u64, letters.matches('d').count());
    Script::new(name, Plan::Get(count as u64), &vec![one; count], letters)
}

/// An upload in two pieces: its head and the first half of its body, and the rest.
pub fn upload(name: &'static str, letters: &str) -> Script {
    let plan = Plan::Post(16);
    Script::new(name, plan, &[plan.head().len() as u64 + 8, 8], letters)
}

/// An upload whose head comes in two pieces: what has arrived of it waits in the session.
pub fn split(name: &'static str, letters: &str) -> Script {
    let plan = Plan::Post(16);
    let length = plan.head().len() as u64 + 16;
    Script::new(name, plan, &[20, length - 20], letters)
}

pub fn model(stage: &'static str, serve: Serve, script: Script) -> Model {
    Model {
        stage,
        serve,
        script,
        rules: Rules::default(),
        checker: Checker::Loom,
        is_searched: true,
        bound: Some(bound(SMALL)),
        looks: false,
        cap: CAP,
        observed: None,
    }
}

/// A fixed stage: nothing may be found, by neither checker. Whatever loom comes to see, the search must have seen.
pub fn sound(model: &Model) -> Said {
    let (mut said, name) = (String::new(), format!("{}, {}", model.stage, model.script.name));
    let explore = |checker: Checker, how_far: &str| {
        let observed = Arc::new(Mutex::new(BTreeSet::new()));
        let outcome = Model { checker, observed: Some(observed.clone()), ..model.clone() }.explore();
        let line = format!("{name}: {how_far}: {outcome}");
        let seen = std::mem::take(&mut *observed.lock().expect("nobody else has it"));
        match &outcome.finding {
            None => Ok((format!("{line}: nothing found\n"), seen)),
            Some(finding) => Err(format!("{line}: {}\n{}", finding.verdict, drawn(&outcome))),
        }
    };
    let mut all = None;
    if model.is_searched || is_long() {
        let (line, seen) = explore(Checker::Search, "every state of this model, one call at a time, complete")?;
        said += &line;
        all = Some(seen);
    }
    let how_far = match model.bound {
        None => "complete".to_string(),
        Some(bound) => format!("up to {bound} preemptions"),
    };
    let (line, seen) = explore(Checker::Loom, &format!("every execution of this model under loom, {how_far}"))?;
    said += &line;
    if let Some(lost) = all.as_ref().and_then(|all| seen.difference(all).next()) {
        return Err(format!("{said}the search does not see what loom sees:\n{lost}"));
    }
    Ok(said)
}

/// A broken stage: this kind of finding, at the smallest bound that shows one.
pub fn refuted(model: &Model, kind: Kind) -> Result<(String, Outcome), String> {
    let (bound, outcome) = model.search(MOST);
    let name = format!("{}, {}", model.stage, model.script.name);
    let preemptions = if bound == 1 { "preemption" } else { "preemptions" };
    match &outcome.finding {
        None => Err(format!("{name}: not found up to {bound} preemptions: {outcome}")),
        Some(finding) if finding.verdict.kind() != kind => Err(format!("{name}: not that, but: {}", finding.verdict)),
        Some(finding) => {
            let number = thousands(outcome.executions);
            let seconds = outcome.took.as_secs_f64();
            let verdict = &finding.verdict;
            let said =
                format!("{name}: {verdict}\n  at execution {number}, up to {bound} {preemptions}: {seconds:.1} s\n");
            Ok((said, outcome))
        }
    }
}

pub fn drawn(outcome: &Outcome) -> String {
    outcome
        .finding
        .as_ref()
        .map_or(String::new(), |finding| lanes::draw(&finding.roles, &translate::rows(finding), 100, false))
}

pub fn with_lanes((said, outcome): (String, Outcome)) -> String {
    format!("{said}{}", drawn(&outcome))
}

/// The end of a test's name, its weight, and what must be sound.
pub type Sound = (&'static str, u32, Model);

/// A test for each.
pub fn tests_of(stage: &str, models: Vec<Sound>) -> Vec<Test> {
    let test = |(name, weight, model)| test(&format!("{stage}_{name}"), weight, move || sound(&model));
    models.into_iter().map(test).collect()
}

pub fn stage3_fixed(serve: Serve) -> Vec<Sound> {
    shared("stage3_fixed", serve, requests)
}

pub fn stage4_fixed(serve: Serve) -> Vec<Sound> {
    let mut models = shared("stage4_fixed", serve, split);
    let like = models[2].2.clone();
    let gets = Model { script: requests("two requests, FIN", "ddf"), ..like };
    models.push(("is_sound_for_two_requests_and_fin", 5, gets));
    models
}

/// What stages 3 and 4 have in common.
fn shared(stage: &'static str, serve: Serve, script: fn(&'static str, &str) -> Script) -> Vec<Sound> {
    // Safe code has no such cell, so this costs nothing; whoever takes a lock away has one.
    let rules = Rules { two_inside: true, ..Rules::default() };
    let whole = |name, letters| Model { rules, ..model(stage, serve, script(name, letters)) };
    let bounded = |name, letters| Model { bound: Some(bound(BOUND)), ..whole(name, letters) };
    vec![
        ("is_sound_for_data_and_rst", 1, whole("data, RST", "dr")),
        ("is_sound_for_data_and_fin", 1, whole("data, FIN", "df")),
        ("is_sound_for_two_chunks_and_fin", 5, bounded("two chunks, FIN", "ddf")),
        ("is_sound_for_two_chunks_and_rst", 5, bounded("two chunks, RST", "ddr")),
        ("is_sound_for_a_reconnect", 9, bounded("RST, a second connection, FIN", "rcf")),
    ]
}

/// Every test, in the order of the report.
pub fn all() -> Vec<Test> {
    let mut tests = Vec::new();
    tests.extend(tests_of("stage3_fixed", stage3_fixed(stage3_fixed::serve)));
    tests.extend(tests_of("stage4_fixed", stage4_fixed(stage4_fixed::serve)));
    for (letters, name) in
        [("dr", "data, RST"), ("df", "data, FIN"), ("ddf", "two chunks, FIN"), ("ddr", "two chunks, RST")]
    {
        let model = model("stage3_broken", stage3_broken::serve, requests(name, letters));
        let test_name = format!("stage3_broken_uses_a_freed_session_{letters}");
        let show = letters == "df";
        tests.push(test(&test_name, 1, move || {
            let found = refuted(&model, Kind::UseAfterFree)?;
            Ok(if show { with_lanes(found) } else { found.0 })
        }));
    }
    for (letters, name) in
        [("dr", "data, RST"), ("df", "data, FIN"), ("ddf", "two chunks, FIN"), ("ddr", "two chunks, RST")]
    {
        let model = model("stage4_broken", stage4_broken::serve, requests(name, letters));
        let inside = Model { rules: Rules { two_inside: true, ..Rules::default() }, ..model.clone() };
        tests.push(test(&format!("stage4_broken_lets_two_workers_in_{letters}"), 1, move || {
            Ok(refuted(&inside, Kind::TwoInside)?.0)
        }));
        if letters.starts_with("dd") {
            let show = letters == "ddf";
            tests.push(test(&format!("stage4_broken_frees_a_buffer_twice_{letters}"), 1, move || {
                let found = refuted(&model, Kind::DoubleFree)?;
                Ok(if show { with_lanes(found) } else { found.0 })
            }));
        }
    }
    let half = model("ownership without the lock", ownership_without_lock::serve, requests("two chunks, FIN", "ddf"));
    tests.push(test("ownership_without_the_lock_is_refuted", 1, move || {
        let inside = Model { rules: Rules { two_inside: true, ..Rules::default() }, ..half.clone() };
        let (said, _) = refuted(&inside, Kind::TwoInside)?;
        let double = Model { rules: Rules { only: Some(Kind::DoubleFree), ..Rules::default() }, ..half.clone() };
        Ok(said + &refuted(&double, Kind::DoubleFree)?.0)
    }));
    let half = model("the lock without ownership", lock_without_ownership::serve, upload("data, RST", "dr"));
    tests.push(test("the_lock_without_ownership_is_refuted", 1, move || Ok(refuted(&half, Kind::UseAfterFree)?.0)));
    tests.extend(crate::handoff::all());
    tests.extend(crate::stage5::all());
    tests.extend(crate::stage6::all());
    tests.extend(crate::stage7::all());
    tests.extend(crate::crash::all());
    tests.extend(crate::herd::all());
    tests.extend(crate::sharded::all());
    tests.extend(crate::checks::all());
    tests.extend(crate::programs::all());
    tests.extend(crate::steps::all());
    tests.extend(crate::trips::all());
    tests.extend(crate::sync::tests());
    tests.extend(crate::strangers::tests());
    tests.extend(crate::gallery::all());
    tests.push(test("harness_a_failed_test_fails_the_run", 1, crate::harness::a_failed_test_fails_the_run));
    tests.extend(crate::harness::failing());
    tests.push(test("harness_a_stack_that_is_kept_fits_whoever_gets_it", 1, crate::harness::a_kept_stack_fits));
    tests
}

/// The preemption bound of the larger scripts: as usual, or what `LAB_PREEMPTIONS` says.
pub fn bound(usual: usize) -> usize {
    std::env::var("LAB_PREEMPTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Whether somebody has asked for the largest scripts too, which take longer than a test run may.
pub fn is_long() -> bool {
    std::env::var_os("LAB_LONG").is_some()
}

/// For a counterexample that the director can run: the same search, in steps from point to point.
pub fn for_the_director(stage: &'static str, letters: &'static str) -> (Model, Kind) {
    let (serve, script, kind) = match stage {
        "stage3_broken" => (stage3_broken::serve as Serve, requests(letters, letters), Kind::UseAfterFree),
        _ => (stage4_broken::serve as Serve, upload(letters, letters), Kind::DoubleFree),
    };
    let rules = Rules { grain: Grain::Points, only: Some(kind), ..Rules::default() };
    (Model { rules, ..model(stage, serve, script) }, kind)
}

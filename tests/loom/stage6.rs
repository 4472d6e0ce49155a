//! Stage 6: a lost re-arm is no race between threads, but between a client and a worker that has already looked. loom
//! finds it as a hang; with the guard there is none. What loom found is then played on the real kernel.

use real::catalogue;
use real::schedule::{Plan, Schedule};

use crate::check::Kind;
use crate::crash::{indent, keep};
use crate::half::rearm_apart_from_the_lock;
use crate::model::{Model, Script, WORKERS};
use crate::models::{Said, Sound, Test, bound, drawn, model, refuted, requests, sound, test, tests_of, with_lanes};
use crate::runner::Serve;
use crate::world::{Grain, Rules};
use crate::{stage6_broken, stage6_fixed, support, translate};

/// A request in two pieces: its first third, and the rest.
pub fn pieces(name: &'static str, letters: &str) -> Script {
    let plan = Plan::Get(1);
    Script::new(name, plan, &[10, plan.head().len() as u64 - 10], letters)
}

/// Two requests, the second of which comes in two pieces.
pub fn one_and_pieces(name: &'static str, letters: &str) -> Script {
    let (plan, one) = (Plan::Get(2), Plan::Get(1).head().len() as u64);
    Script::new(name, plan, &[one + 10, one - 10], letters)
}

pub fn models(serve: Serve) -> Vec<Sound> {
    let fixed = |script| model("stage6_fixed", serve, script);
    let bounded = |script| Model { bound: Some(bound(2)), ..fixed(script) };
    vec![
        ("data_and_rst", 1, fixed(requests("data, RST", "dr"))),
        ("half_a_request_and_fin", 1, fixed(pieces("half a request, FIN", "df"))),
        ("half_a_request_and_rst", 1, fixed(pieces("half a request, RST", "dr"))),
        ("a_request_in_two_pieces_and_fin", 3, bounded(pieces("a request in two pieces, FIN", "ddf"))),
        ("a_request_in_two_pieces_and_rst", 3, bounded(pieces("a request in two pieces, RST", "ddr"))),
        ("one_request_and_two_pieces", 3, bounded(one_and_pieces("a request, and one in two pieces, FIN", "ddf"))),
        ("a_reconnect", 5, Model { bound: Some(bound(2)), ..fixed(requests("RST, a second connection, FIN", "rcf")) }),
    ]
}

pub fn all() -> Vec<Test> {
    let mut tests = tests_of("stage6_fixed_is_sound_for", models(stage6_fixed::serve));
    for (letters, name) in [("dd", "a request in two pieces"), ("ddf", "a request in two pieces, FIN")] {
        let broken = model("stage6_broken", stage6_broken::serve, pieces(name, letters));
        let show = letters == "dd";
        tests.push(test(&format!("stage6_broken_loses_the_rearm_{letters}"), 1, move || {
            let found = refuted(&broken, Kind::Hang)?;
            Ok(if show { with_lanes(found) } else { found.0 })
        }));
    }
    let apart = |name, serve| model(name, serve, pieces("a request in two pieces", "dd"));
    let first = apart("the guard goes before the lock that it needs", rearm_apart_from_the_lock::serve::<true>);
    tests.push(test("a_guard_that_waits_for_its_own_lock_is_refuted", 1, move || Ok(refuted(&first, Kind::Hang)?.0)));
    let after = apart("the guard goes after the lock", rearm_apart_from_the_lock::serve::<false>);
    tests.push(test("a_guard_that_goes_after_the_lock_is_sound", 1, move || sound(&after)));
    for letters in ["dd", "ddf"] {
        tests.push(test(&format!("stage6_broken_hangs_as_loom_found_{letters}"), 2, move || hangs(letters)));
    }
    tests
}

/// The order that loom has just found hangs the real binary on the real kernel, and its fixed twin lives through it.
fn hangs(letters: &'static str) -> Said {
    let rules = Rules { grain: Grain::Points, only: Some(Kind::Hang), ..Rules::default() };
    let model = Model { rules, ..model("stage6_broken", stage6_broken::serve, pieces(letters, letters)) };
    let (said, outcome) = refuted(&model, Kind::Hang)?;
    let finding = outcome.finding.as_ref().expect("it is refuted");
    let schedule = translate::schedule(finding).map_err(|finer| finer.to_string())?;
    let text = schedule.to_string();
    let points = catalogue::find("stage6_broken").expect("it is in the catalogue").points();
    let read = Schedule::parse(&text, &points, WORKERS).map_err(|error| format!("{error}\n{text}"))?;
    if read.to_string() != text {
        return Err(format!("it is read back as something else:\n{text}\n{read}"));
    }
    // The script of the game's scenario.
    if letters == "ddf" {
        crate::game::agrees("stage6_broken", &schedule, Kind::Hang)?;
        keep("stage6_broken", &text)?;
    }
    let (_folder, path) = support::schedule(&text);
    let run = |name: &str| support::run(name, &["--json", "--schedule", &path, "--workers", &WORKERS.to_string()]);
    let (broken, fixed) = (run("stage6_broken"), run("stage6_fixed"));
    let hang = serde_json::from_str::<serde_json::Value>(&broken.stdout).map(|json| json["hang"].clone());
    let proved = hang.is_ok_and(|hang| hang["armed"] == "c0000000" && hang["unread"] == 19);
    if broken.code() != Some(1) || !proved {
        return Err(format!("stage6_broken ended otherwise in this order:\n{text}\n{}", broken.all()));
    }
    if fixed.code() != Some(0) {
        return Err(format!("the fixed twin does not live through this order:\n{text}\n{}", fixed.all()));
    }
    Ok(format!(
        "{said}  as a schedule, on the real kernel: a hang, exit status 1; the fixed twin serves\n{}",
        indent(&text, &drawn(&outcome))
    ))
}

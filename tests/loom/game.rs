//! The book's game plays on graphs that another model of the same files has made (`tests/game`). What loom has found
//! must be an order of that graph too, and end there in the same way.

use std::path::Path;

use real::schedule::{Action, Schedule};
use serde_json::Value;

use crate::check::Kind;

/// The graph, out of the script that the book loads.
fn graph(stage: &str) -> Result<Value, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("chapters/traces/{stage}.game.js"));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let object = text.find(", {").zip(text.rfind(");")).map(|(from, to)| &text[from + 2..to]);
    serde_json::from_str(object.unwrap_or_default()).map_err(|error| format!("{}: {error}", path.display()))
}

/// What a step does, in a word: how many bytes a client sends differs between the two models.
fn word(action: &Action) -> String {
    action.to_string().split(' ').next().unwrap_or_default().to_string()
}

/// Goes through the graph of `stage` as the director would: a role runs from the point of its step to that of its next.
pub fn agrees(stage: &str, schedule: &Schedule, kind: Kind) -> Result<(), String> {
    let graph = graph(stage)?;
    let text = |at: &Value| graph["texts"][at.as_u64().unwrap_or(u64::MAX) as usize].as_str().unwrap_or_default();
    let node = |at: &Value| &graph["nodes"][at.as_u64().unwrap_or(u64::MAX) as usize];
    // In the game the client of stage 3 sends bytes that are no request, so nobody answers.
    let answered =
        graph["nodes"].as_array().into_iter().flatten().flat_map(|node| node[2].as_array().into_iter().flatten());
    // The step that a move is in a schedule: `worker-1  write`; none where it is a step's continuation.
    let step = |chosen: &Value| text(&chosen[1]).split_whitespace().nth(1).unwrap_or_default().to_string();
    let answered = answered.into_iter().any(|chosen| step(chosen) == "write");
    let steps: Vec<_> = schedule.steps.iter().map(|step| (step.role.as_str(), word(&step.action))).collect();
    let steps: Vec<_> = steps.into_iter().filter(|(_, what)| answered || what != "write").collect();
    let mut here = node(&graph["head"]["start"]);
    for (at, (role, what)) in steps.iter().enumerate() {
        let next_of = |here: &Value| {
            let moves = here[2].as_array()?;
            let name = |chosen: &Value| &graph["head"]["roles"][chosen[0].as_u64().unwrap_or(u64::MAX) as usize];
            let of_role = |chosen: &&Value| name(chosen) == role;
            moves.iter().find(of_role).map(|chosen| (step(chosen), chosen[4].clone()))
        };
        match next_of(here) {
            Some((next, to)) if next == *what => here = node(&to),
            other => {
                return Err(format!(
                    "the game's graph of {stage} has no `{role} {what}` in step {}: {other:?}",
                    at + 1
                ));
            }
        }
        let goal = steps[at + 1..].iter().find(|(other, _)| other == role).map(|(_, goal)| goal);
        while let (Some(goal), true) = (goal, !matches!(*role, "client" | "operator")) {
            match next_of(here) {
                Some((next, to)) if next != *goal => here = node(&to),
                _ => break,
            }
        }
    }
    // Told to stop, a server goes on after the last step: in any order, and to the same end.
    while kind == Kind::Hang
        && here[3].is_null()
        && let Some(chosen) = here[2].get(0)
    {
        here = node(&chosen[4]);
    }
    // A hang says so by its kind, a crash in its text.
    let end = match here[3][0].as_str().unwrap_or_default() {
        "crash" => text(&here[3][1]),
        kind => kind,
    };
    let expected = match kind {
        Kind::DoubleFree => "double free",
        Kind::Hang if steps.iter().any(|(role, _)| *role == "operator") => "never stops",
        Kind::Hang => "hang",
        _ => "use after free",
    };
    if end.starts_with(expected) {
        Ok(())
    } else {
        Err(format!("in the game's graph of {stage} the order ends in: `{end}`"))
    }
}

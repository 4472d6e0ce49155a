//! The book's game of a stage: the link under which it shows where an order leads.
//!
//! Its graph is a file of the book, which `tests/game/` writes and `chapters/player/game.js` plays: every move that
//! there is in every state. An order is gone through there as [`InOrder`](crate::direct::in_order::InOrder) has the
//! director go through it.

use std::fs;

use serde_json::Value;

use crate::catalogue::Stage;
use crate::direct::schedule::{Action, CLIENTS, Plan, Schedule, Step};
use crate::server::Threads;

/// `stage4.html#game:stage4_broken:0,0,1`: where the order ends, in the book's game of this stage. `None` where the game
/// cannot show it: it has other clients, fewer threads or no such move; or the book is not in this folder.
pub fn link(stage: &Stage, schedule: &Schedule, workers: usize) -> Option<String> {
    let moves = moves(&graph(stage)?, stage, schedule, workers)?;
    Some(format!("stage{}.html#game:{}:{moves}", stage.chapter, stage.name))
}

/// The graph of all orders of this stage, as the book has it.
fn graph(stage: &Stage) -> Option<Value> {
    let script = fs::read_to_string(format!("chapters/traces/{}.game.js", stage.name)).ok()?;
    let data = &script[script.find(", {")? + 2..script.rfind(");")?];
    serde_json::from_str(data).ok()
}

/// The moves that lead there: `0,0,1`.
fn moves(graph: &Value, stage: &Stage, schedule: &Schedule, workers: usize) -> Option<String> {
    let head = &graph["head"];
    let count = head["roles"].as_array()?.len();
    // A reactor more is one more that a client may wake. A worker more has nothing to do.
    if plans(schedule) != *head["plans"].as_array()? || (stage.threads == Threads::Reactors && workers + 2 != count) {
        return None;
    }
    let mut walk = Walk { graph, at: &head["start"], moves: Vec::new() };
    walk.settle(&schedule.steps)?;
    for (at, step) in schedule.steps.iter().enumerate() {
        let chosen = walk.possible()?.iter().find(|chosen| walk.is(chosen, step))?;
        walk.take(chosen)?;
        walk.settle(&schedule.steps[at + 1..])?;
    }
    let moves: Vec<_> = walk.moves.iter().map(|chosen| chosen[0].to_string()).collect();
    Some(moves.join(","))
}

/// What the clients send, as the game has it.
fn plans(schedule: &Schedule) -> Vec<String> {
    let plans = CLIENTS.iter().zip(&schedule.plans).filter(|(_, plan)| **plan != Plan::Raw);
    plans.map(|(client, plan)| format!("{client:<9} plan {plan}")).collect()
}

struct Walk<'a> {
    graph: &'a Value,
    /// The number of the state.
    at: &'a Value,
    /// Each is a list: who moves, the step that this is, a line, what it does, the next state.
    moves: Vec<&'a Value>,
}

impl<'a> Walk<'a> {
    fn possible(&self) -> Option<&'a [Value]> {
        Some(self.graph["nodes"][self.at.as_u64()? as usize][2].as_array()?)
    }

    fn take(&mut self, chosen: &'a Value) -> Option<()> {
        self.moves.push(chosen);
        self.at = chosen.get(4)?;
        Some(())
    }

    /// As a line of a schedule; `None` for a move that is no step: who waits inside a call goes on by itself.
    fn step(&self, chosen: &Value) -> Option<&'a str> {
        self.graph["texts"][chosen[1].as_u64()? as usize].as_str()
    }

    /// Whether this move is that step.
    fn is(&self, chosen: &Value, step: &Step) -> bool {
        let (what, occurrence) = match &step.action {
            Action::Pass { point, occurrence } => (point.clone(), *occurrence),
            other => (other.to_string(), None),
        };
        let line = format!("{:<9} {what}", step.role);
        let passed = self.moves.iter().filter(|before| self.step(before) == Some(&line)).count() as u64;
        self.step(chosen) == Some(&line) && occurrence.is_none_or(|n| n == passed + 1)
    }

    /// Until nobody goes on by itself: who stands at a point that is not in its next step, and then who waits inside a
    /// call and need not any more. Each such move is made at once in a directed run.
    fn settle(&mut self, rest: &[Step]) -> Option<()> {
        loop {
            let on_the_way = |chosen: &&Value| {
                let role = self.graph["head"]["roles"][chosen[0].as_u64().unwrap_or_default() as usize].as_str();
                let next = rest.iter().find(|step| chosen[0] != 0 && Some(step.role.as_str()) == role);
                next.is_some_and(|next| !self.is(chosen, next))
            };
            let possible = self.possible()?;
            let by_itself = |chosen: &&Value| chosen[1].is_null();
            match possible.iter().find(on_the_way).or_else(|| possible.iter().find(by_itself)) {
                Some(chosen) => self.take(chosen)?,
                None => return Some(()),
            }
        }
    }
}

#[cfg(test)]
mod tests;

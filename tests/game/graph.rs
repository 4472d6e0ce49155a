//! A graph as the book loads it: states that look alike and lead to alike states are one, and every text is there once.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::explore::{End, Graph, Node};
use crate::goals::{self, Goal, Step};

/// Texts, rows and panels, each kept once and named by its place.
#[derive(Default)]
struct Table {
    places: HashMap<String, usize>,
    items: Vec<Value>,
}

impl Table {
    fn place(&mut self, item: Value) -> usize {
        let key = item.to_string();
        *self.places.entry(key).or_insert_with(|| {
            self.items.push(item);
            self.items.len() - 1
        })
    }
}

/// The states so that each comes after those it leads to. No play comes back to a state: every role's past grows.
fn last_first(nodes: &[Node]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut seen = vec![false; nodes.len()];
    let mut stack = vec![(0, 0)];
    seen[0] = true;
    while let Some((node, at)) = stack.pop() {
        match nodes[node].moves.get(at) {
            None => order.push(node),
            Some(chosen) => {
                stack.push((node, at + 1));
                if !seen[chosen.to] {
                    seen[chosen.to] = true;
                    stack.push((chosen.to, 0));
                }
            }
        }
    }
    order
}

/// A goal's bits in a move: its checkpoints, then the two guilty moves.
fn bits(goal: &Goal) -> usize {
    goal.checkpoints.len() + goal.guilty.len()
}

/// Which checkpoints and guilty moves of the goals this move is: a bit for each, the first goal's lowest.
fn marks(goals: &[Goal], step: &Step<'_>) -> u64 {
    let of = |goal: &Goal| {
        let checkpoints = goal.checkpoints.iter().map(|checkpoint| checkpoint.holds);
        let holds: Vec<_> = checkpoints.chain(goal.guilty.iter().map(|guilty| guilty.holds)).collect();
        holds.into_iter().map(|holds| holds(step)).collect::<Vec<_>>()
    };
    goals.iter().flat_map(of).enumerate().map(|(bit, holds)| u64::from(holds) << bit).sum()
}

/// For each goal and each number of its checkpoints passed: by state, the fewest moves to its end. Where none leads there it
/// is below 0, and says which checkpoint is the first that no order comes to: -1 for the first one, and so on; past the last
/// one, the end.
/// `moves`: of each merged state, where each move leads, and its marks. Whoever is led to comes first.
fn distances(goals: &[Goal], ends: &[Option<End>], moves: &[Vec<(usize, u64)>]) -> Vec<Vec<Vec<i64>>> {
    let mut first = 0;
    let mut all = Vec::new();
    for goal in goals {
        let count = goal.checkpoints.len();
        let mut far = vec![vec![0; ends.len()]; count + 1];
        for state in 0..ends.len() {
            for passed in 0..=count {
                let onward = moves[state].iter().map(|(to, marks)| {
                    let next = (passed..count).find(|at| marks >> (first + at) & 1 == 0).unwrap_or(count);
                    far[next][*to]
                });
                let onward: Vec<_> = onward.collect();
                far[passed][state] = match &ends[state] {
                    Some(end) if passed == count && (goal.is_reached)(end) => 0,
                    Some(_) => -(passed as i64) - 1,
                    None => match onward.iter().filter(|far| **far >= 0).min() {
                        Some(fewest) => fewest + 1,
                        None => *onward.iter().min().expect("who has no end can move"),
                    },
                };
            }
        }
        first += bits(goal);
        all.push(far);
    }
    all
}

/// The graph as a script that hands it to the player.
pub fn script(stage: &str, path: &str, graph: &Graph) -> String {
    let goals = goals::goals(stage);
    let (mut texts, mut panels, mut stands) = (Table::default(), Table::default(), Table::default());
    let mut states = Table::default();
    let count = graph.nodes.len();
    // By state: its place among the merged ones, and how many orders there are from it.
    let (mut places, mut orders) = (vec![0; count], vec![0_u128; count]);
    // By merged state.
    let (mut ends, mut onward) = (Vec::new(), Vec::new());
    for at in last_first(&graph.nodes) {
        let node = &graph.nodes[at];
        orders[at] = node.moves.iter().map(|chosen| orders[chosen.to]).sum::<u128>().max(1);
        let rows = |rows: &[(String, String, &str)]| {
            rows.iter().map(|(name, detail, tone)| json!([name, detail, tone])).collect::<Vec<_>>()
        };
        let panel = panels.place(json!(node.panel.0.iter().map(|section| rows(section)).collect::<Vec<_>>()));
        let stand = node.stands.iter().zip(&node.lines).map(|(text, line)| json!([texts.place(json!(text)), line]));
        let stand = json!(stand.collect::<Vec<_>>());
        let stand = stands.place(stand);
        let moves: Vec<_> = node
            .moves
            .iter()
            .map(|chosen| {
                let step = chosen.step.as_ref().map(|step| texts.place(json!(step)));
                let did = texts.place(json!(chosen.did));
                let marks = marks(&goals, &Step { before: node, chosen, after: &graph.nodes[chosen.to] });
                json!([chosen.role, step, chosen.line, did, places[chosen.to], marks])
            })
            .collect();
        let end = node.end.as_ref().map(|end| {
            let kind = goals::kind(end);
            let text = end.text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&end.text);
            json!([kind, texts.place(json!(text)), end.crash])
        });
        places[at] = states.place(json!([panel, stand, moves, end]));
        if places[at] == ends.len() {
            ends.push(node.end.clone());
            let to = moves.iter().map(|chosen| (chosen[4].as_u64().unwrap_or_default() as usize, chosen[5].as_u64()));
            onward.push(to.map(|(to, marks)| (to, marks.unwrap_or_default())).collect());
        }
    }
    let far = distances(&goals, &ends, &onward);
    let start = places[0];
    let goals = goals.iter().zip(&far).map(|(goal, far)| {
        json!({
            "name": goal.name,
            "text": goal.text,
            "checkpoints": goal.checkpoints.iter().map(|one| json!([one.text, one.how])).collect::<Vec<_>>(),
            "end": goal.end,
            "guilty": goal.guilty.iter().map(|one| one.text).collect::<Vec<_>>(),
            "fewest": far[0][start],
        })
    });
    let (file, command) = goals::command(stage);
    let head = json!({
        "stage": stage,
        "roles": graph.roles,
        "sections": graph.sections,
        "file": path,
        "start": start,
        "states": count,
        "orders": orders[0].to_string(),
        "goals": goals.collect::<Vec<_>>(),
        "plans": graph.plans,
        "schedule": file,
        "command": command,
    });
    let list = |items: &[Value]| items.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n");
    format!(
        "labData({}, {{\n\"head\":{head},\n\"texts\":[\n{}\n],\n\"panels\":[\n{}\n],\n\"stands\":[\n{}\n],\n\"far\":{},\n\"nodes\":[\n{}\n]}});\n",
        json!(format!("{stage}.game")),
        list(&texts.items),
        list(&panels.items),
        list(&stands.items),
        json!(far),
        list(&states.items),
    )
}

//! A graph as the book loads it: states that look alike and lead to alike states are one, and every text is there once.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::explore::{Graph, Node, SECTIONS};

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

/// The graph as a script that hands it to the player.
pub fn script(stage: &str, path: &str, graph: &Graph) -> String {
    let (mut texts, mut panels, mut states) = (Table::default(), Table::default(), Table::default());
    let count = graph.nodes.len();
    // By state: its place among the merged ones, the fewest moves to a crash, and how many orders there are from it.
    let (mut places, mut fewest, mut orders) = (vec![0; count], vec![None; count], vec![0_u128; count]);
    for at in last_first(&graph.nodes) {
        let node = &graph.nodes[at];
        let nearest = node.moves.iter().filter_map(|chosen| fewest[chosen.to]).min();
        fewest[at] = match &node.end {
            Some(end) => end.crash.then_some(0_u32),
            None => nearest.map(|moves: u32| moves + 1),
        };
        orders[at] = node.moves.iter().map(|chosen| orders[chosen.to]).sum::<u128>().max(1);
        let rows = |rows: &[(String, String, &str)]| {
            rows.iter().map(|(name, detail, tone)| json!([name, detail, tone])).collect::<Vec<_>>()
        };
        let panel = panels.place(json!(node.panel.0.iter().map(|section| rows(section)).collect::<Vec<_>>()));
        let stands: Vec<_> = node.stands.iter().map(|stand| texts.place(json!(stand))).collect();
        let moves: Vec<_> = node
            .moves
            .iter()
            .map(|chosen| {
                let (next, did) = (texts.place(json!(chosen.next)), texts.place(json!(chosen.did)));
                json!([chosen.role, next, chosen.line, did, places[chosen.to]])
            })
            .collect();
        let end = node.end.as_ref().map(|end| texts.place(json!(end.text)));
        places[at] = states.place(json!([panel, stands, moves, end, fewest[at]]));
    }
    let head = json!({
        "stage": stage,
        "roles": graph.roles,
        "sections": SECTIONS,
        "file": path,
        "start": places[0],
        "fewest": fewest[0],
        "states": count,
        "orders": orders[0].to_string(),
    });
    let list = |items: &[Value]| items.iter().map(Value::to_string).collect::<Vec<_>>().join(",\n");
    format!(
        "labData({}, {{\n\"head\":{head},\n\"texts\":[\n{}\n],\n\"panels\":[\n{}\n],\n\"nodes\":[\n{}\n]}});\n",
        json!(format!("{stage}.game")),
        list(&texts.items),
        list(&panels.items),
        list(&states.items),
    )
}

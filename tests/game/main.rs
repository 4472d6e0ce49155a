//! "You are the scheduler": the graphs behind the book's game, and their verdicts.
//!
//! The stages' own files are mounted over a third set of facades, in which real threads are handed a baton. So every
//! order of the moves of a small scenario can be played, and the book need not know a single rule.

extern crate self as lab;

mod explore;
mod heap;
mod kernel;
mod net;
mod point;
mod runner;
mod sync;
mod world;
#[allow(dead_code)]
#[path = "../../lab/http.rs"]
mod http;
#[path = "../../lab/stages/stage3_broken.rs"]
#[allow(dead_code)]
mod stage3_broken;
#[path = "../../lab/stages/stage3_fixed.rs"]
#[allow(dead_code)]
mod stage3_fixed;
#[path = "../../lab/stages/stage4_broken.rs"]
#[allow(dead_code)]
mod stage4_broken;
#[path = "../../lab/stages/stage4_fixed.rs"]
#[allow(dead_code)]
mod stage4_fixed;

use explore::{Act, Scenario, explore};

fn upload(sends: &[usize]) -> Vec<Vec<u8>> {
    let total: usize = sends.iter().sum();
    let head = |body: usize| format!("POST /upload HTTP/1.1\r\nHost: lab\r\nContent-Length: {body}\r\n\r\n");
    let body = (0..total).rev().find(|body| head(*body).len() + body <= total).expect("room for a head");
    let mut bytes = head(body).into_bytes();
    bytes.resize(total, b'x');
    sends.iter().map(|count| bytes.drain(..*count).collect()).collect()
}

#[test]
fn sizes() {
    let raw = || vec![Act::Connect, Act::Send(vec![b'x'; 16384]), Act::Reset];
    let up = |fin: bool| {
        let mut acts = vec![Act::Connect];
        acts.extend(upload(&[2048, 2048]).into_iter().map(Act::Send));
        if fin {
            acts.push(Act::Fin);
        }
        acts
    };
    let list: [(&str, runner::Serve, Vec<Act>); 6] = [
        ("3b", stage3_broken::serve, raw()),
        ("3f", stage3_fixed::serve, raw()),
        ("4b", stage4_broken::serve, up(false)),
        ("4f", stage4_fixed::serve, up(false)),
        ("4b fin", stage4_broken::serve, up(true)),
        ("4f fin", stage4_fixed::serve, up(true)),
    ];
    for (name, serve, client) in list {
        let start = std::time::Instant::now();
        let graph = explore(&Scenario { serve, workers: 2, client }, 30_000);
        let mut ends = std::collections::BTreeMap::new();
        for node in &graph.nodes {
            if let Some(end) = &node.end {
                *ends.entry(end.text.clone()).or_insert(0) += 1;
            }
        }
        let edges: usize = graph.nodes.iter().map(|n| n.moves.len()).sum();
        println!("{name}: {} nodes {edges} edges {:?} {ends:#?}", graph.nodes.len(), start.elapsed());
    }
}

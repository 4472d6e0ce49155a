//! "You are the scheduler": the graphs behind the book's game, and their verdicts.
//!
//! The stages' own files are mounted over a third set of facades, in which real threads are handed a baton. So every
//! order of the moves of a small scenario can be played, and the book need not know a single rule.

extern crate lab as real;
extern crate self as lab;

#[macro_use]
#[path = "../support/listed.rs"]
mod listed;

mod check;
mod explore;
mod facades;
mod goals;
mod graph;
mod heap;
mod kernel;
#[path = "../support/net.rs"]
mod net;
mod parts;
mod point;
mod runner;
mod schedules;
mod sync;
mod tables;
mod world;
mod wrong;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libc::SIGSEGV;
use real::catalogue::{self, Stage, Verdict, Wild};
/// Parsing is the same in every world.
use real::http;
use real::schedule::Plan;
use real::server::Threads;

use check::Refusal;
use explore::{ALONE, Act, Graph, LATE, Node, Scenario, replay};

/// Mounts the stages that can be played, and lists them with their servers.
macro_rules! stages {
    ($($name:ident $path:literal)*) => {
        $(#[path = $path] #[allow(dead_code)] mod $name;)*
        const STAGES: &[(&str, runner::Serve)] = &[$((stringify!($name), $name::serve)),*];
    };
}

stages! {
    stage3_broken "../../lab/stages/stage3_broken.rs"
    stage3_fixed "../../lab/stages/stage3_fixed.rs"
    stage4_broken "../../lab/stages/stage4_broken.rs"
    stage4_fixed "../../lab/stages/stage4_fixed.rs"
    stage5_broken "../../lab/stages/stage5_broken.rs"
    stage5_fixed "../../lab/stages/stage5_fixed.rs"
    stage6_broken "../../lab/stages/stage6_broken.rs"
    stage6_fixed "../../lab/stages/stage6_fixed.rs"
    stage7_broken "../../lab/stages/stage7_broken.rs"
    stage7_fixed "../../lab/stages/stage7_fixed.rs"
    stage8_broken "../../lab/stages/stage8_broken.rs"
    stage8_fixed "../../lab/stages/stage8_fixed.rs"
}

/// More than any of them needs; a scenario that grows past it is too large for a reader.
const LIMIT: usize = 20_000;

/// The verdict on a state in which nobody can move, and something waits.
const HANG: &str = "hang: something waits, and nobody will move";

/// The verdict on a state in which nobody can move, and a client that has all it is owed stays connected.
const CONNECTED: &str = "served; the session waits for more";
/// The verdict on a server that has woken everybody for its one client.
const HERD: &str = "herd: one connection wakes every reactor, and all but one for nothing";

/// The verdict on a server that was told to stop and in which nobody can move.
const NEVER: &str = "never stops: nobody is left who could wake anybody";

fn names() -> impl Iterator<Item = &'static str> {
    STAGES.iter().map(|(name, _)| *name)
}

fn entry(stage: &str) -> &'static Stage {
    catalogue::find(stage).expect("it is in the catalogue")
}

/// The scenario of a stage: what its client does in the wild, in small.
fn scenario(stage: &str) -> Scenario {
    let (_, serve) = STAGES.iter().find(|(name, _)| *name == stage).expect("a stage with a game");
    let in_two = |plan: Plan, first: usize| {
        let mut bytes = bytes_of(plan);
        let second = bytes.split_off(first);
        (vec![Act::Connect, Act::Send(bytes), Act::Send(second), Act::Fin], vec![plan])
    };
    let (client, plans) = match entry(stage).wild {
        Wild::Crowd => return strangers(*serve),
        Wild::StreamAndReset => (vec![Act::Connect, Act::Send(vec![b'x'; 16 * 1024]), Act::Reset], Vec::new()),
        // The lost wake-up needs no client.
        Wild::Stop => (vec![Act::Stop], Vec::new()),
        Wild::InTwoWrites => in_two(Plan::Get(1), 10),
        // Head and body are 4,096 bytes: the buffer.
        Wild::Upload | Wild::LastWords => in_two(Plan::Post(4038), 2048),
        Wild::Arrivals => (vec![Act::Connect], Vec::new()),
    };
    Scenario { plans, ..Scenario::new(*serve, workers(stage), client) }
}

/// How many threads a server has beside `main`: of those that wait for one listener, enough for a herd.
fn workers(stage: &str) -> usize {
    if entry(stage).threads == Threads::Reactors { 3 } else { 2 }
}

/// All that such a client sends.
fn bytes_of(plan: Plan) -> Vec<u8> {
    let mut bytes = vec![0; plan.length().expect("it has an end") as usize];
    plan.fill(0, &mut bytes);
    bytes
}

/// How the plays of a stage end: well, and in the way that its exhibit ends.
fn ends(stage: &str) -> Vec<&'static str> {
    let well = match entry(stage).wild {
        Wild::Crowd => CONNECTED,
        Wild::Stop => "the server has stopped",
        Wild::Arrivals => ALONE,
        _ => "served, nothing left",
    };
    let crash = match entry(stage).expect {
        Verdict::Serves => None,
        Verdict::Signal { signal: SIGSEGV, .. } => Some("use after free of session 1"),
        Verdict::Signal { .. } => Some("double free of buffer 1"),
        Verdict::Misdelivers => Some("client 2 gets the reply to client 1"),
        Verdict::Hangs => Some(HANG),
        Verdict::NeverStops => Some(NEVER),
        Verdict::Herds => Some(HERD),
        Verdict::Loses => unreachable!("{stage}: nothing in this world ends so"),
    };
    // Who asks by itself may come too late, with `EPOLLEXCLUSIVE` too.
    let late = (entry(stage).wild == Wild::Arrivals).then_some(LATE);
    let mut ends: Vec<_> = crash.into_iter().chain([well]).chain(late).collect();
    ends.sort_unstable();
    ends
}

/// Two clients, one after the other: the first one breaks off. Their uploads differ in length, and so do their replies.
fn strangers(serve: runner::Serve) -> Scenario {
    let plans = [Plan::Post(16), Plan::Post(8)];
    let [first, second] = plans.map(|plan| Act::Send(bytes_of(plan)));
    let client = vec![Act::Connect, first, Act::Reset, Act::Connect, second];
    Scenario { plans: plans.to_vec(), owed: plans.map(Plan::reply).to_vec(), ..Scenario::new(serve, 1, client) }
}

/// Its graph, explored once.
fn graph(stage: &str) -> &'static Graph {
    static GRAPHS: [OnceLock<Graph>; STAGES.len()] = [const { OnceLock::new() }; STAGES.len()];
    let at = names().position(|other| other == stage).expect("a stage with a game");
    GRAPHS[at].get_or_init(|| match explore::explore(&scenario(stage), LIMIT) {
        Ok(graph) => graph,
        Err(refusal) => panic!("{stage}: {refusal:?}"),
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn recording(stage: &str) -> PathBuf {
    root().join("chapters/traces").join(format!("{stage}.game.js"))
}

fn verdicts(graph: &Graph) -> Vec<&str> {
    let mut verdicts: Vec<_> = graph.nodes.iter().filter_map(|node| Some(node.end.as_ref()?.text.as_str())).collect();
    verdicts.sort_unstable();
    verdicts.dedup();
    verdicts
}

#[test]
fn some_order_of_a_broken_stage_crashes_for_the_reason_that_loom_finds_and_no_order_of_a_fixed_one_does() {
    for stage in names() {
        let graph = graph(stage);
        assert_eq!(verdicts(graph), ends(stage), "{stage}");
    }
}

/// The steps of a stage's built-in schedule, the one that the binary dies of: roles, and what they do.
fn built_in_steps(stage: &str) -> Vec<(String, String)> {
    let lines = entry(stage).schedule.text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let steps = lines.filter_map(|line| line.split_once(char::is_whitespace));
    let steps = steps.map(|(role, what)| (role.to_string(), what.trim().to_string()));
    steps.filter(|(_, what)| !what.starts_with("plan")).collect()
}

/// Goes through the graph as the director goes through its schedule: a role runs from the point of its step to the
/// point of its next one.
fn directed<'a>(graph: &'a Graph, steps: &[(String, String)]) -> &'a Node {
    let mut node = &graph.nodes[0];
    for (at, (role, what)) in steps.iter().enumerate() {
        let next_of = |node: &'a Node| node.moves.iter().find(|chosen| graph.roles[chosen.role] == *role);
        let chosen = next_of(node).filter(|chosen| chosen.next == *what);
        node = &graph.nodes[chosen.unwrap_or_else(|| panic!("step {}: no {role} {what}", at + 1)).to];
        let Some((_, goal)) = steps[at + 1..].iter().find(|(other, _)| other == role) else { continue };
        while role != "client"
            && role != "operator"
            && let Some(chosen) = next_of(node).filter(|chosen| chosen.next != *goal)
        {
            node = &graph.nodes[chosen.to];
        }
    }
    node
}

#[test]
fn the_order_that_kills_a_binary_crashes_its_model_for_the_same_reason() {
    for (stage, verdict) in [
        ("stage3_broken", "use after free of session 1"),
        ("stage4_broken", "double free of buffer 1"),
        ("stage7_broken", NEVER),
    ] {
        let graph = graph(stage);
        let mut node = directed(graph, &built_in_steps(stage));
        // After the schedule everybody goes on, in any order.
        while let Some(chosen) = node.moves.first() {
            node = &graph.nodes[chosen.to];
        }
        let end = node.end.as_ref().map(|end| (end.crash, end.text.as_str()));
        assert_eq!(end, Some((true, verdict)), "{stage}");
    }
}

/// The order of the chapter, played by one worker; in it the fixed twin serves the second client.
#[test]
fn the_order_of_stage_5_gives_a_client_a_strangers_reply_and_the_fixed_twin_has_none_for_it() {
    let order = "client client main main main worker-1 worker-1 worker-1 worker-1 worker-1 client client main main \
                 worker-1 worker-1";
    let play = |stage: &str| {
        let graph = graph(stage);
        let mut node = &graph.nodes[0];
        for role in order.split_whitespace() {
            let Some(chosen) = node.moves.iter().find(|chosen| graph.roles[chosen.role] == role) else {
                return format!("no {role}");
            };
            node = &graph.nodes[chosen.to];
        }
        node.end.as_ref().map_or("goes on".to_string(), |end| end.text.clone())
    };
    assert_eq!(play("stage5_broken"), "client 2 gets the reply to client 1");
    // Its key finds nobody: it asks for its next task, and there is none.
    assert_eq!(play("stage5_fixed"), "no worker-1");
}

/// For each way into a state but the first: the moves (which of the possible ones) that lead there.
fn other_ways(graph: &Graph) -> Vec<Vec<usize>> {
    let mut first: Vec<Option<Vec<usize>>> = vec![None; graph.nodes.len()];
    first[0] = Some(Vec::new());
    let (mut queue, mut others) = (VecDeque::from([0]), Vec::new());
    while let Some(node) = queue.pop_front() {
        for (at, chosen) in graph.nodes[node].moves.iter().enumerate() {
            let mut way = first[node].clone().expect("it was queued");
            way.push(at);
            if first[chosen.to].is_some() {
                others.push(way);
            } else {
                first[chosen.to] = Some(way);
                queue.push_back(chosen.to);
            }
        }
    }
    others
}

/// Each way into a state that is not the first, and then on at random to the end.
fn replay_every_way(scenario: &Scenario, graph: &Graph) -> Result<(), Refusal> {
    let mut random = 1_u64;
    for way in other_ways(graph) {
        let mut way = way.into_iter();
        replay(scenario, graph, |count| {
            // A linear congruential generator, with Knuth's factor: the same orders in every run.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            way.next().unwrap_or((random >> 33) as usize % count)
        })?;
    }
    Ok(())
}

/// Two states that were taken for one, and are not, would show here: in another next move, deed, state or end.
#[test]
fn whichever_way_a_state_is_reached_the_play_goes_on_as_the_graph_says() {
    for stage in names() {
        if let Err(refusal) = replay_every_way(&scenario(stage), graph(stage)) {
            panic!("{stage}: {refusal:?}");
        }
    }
}

#[test]
fn the_graphs_of_the_game_are_what_the_model_does() {
    for stage in names() {
        let now = graph::script(stage, &format!("lab/stages/{stage}.rs"), graph(stage));
        assert!(now.len() < 300_000, "{stage}: {} bytes are too many to load", now.len());
        if std::env::var_os("LAB_RECORD").is_some() {
            std::fs::write(recording(stage), now).expect("chapters/traces can be written to");
            continue;
        }
        let kept = std::fs::read_to_string(recording(stage)).unwrap_or_default();
        let differs = kept.lines().zip(now.lines()).position(|(kept, now)| kept != now);
        assert!(
            kept == now,
            "{} no longer matches the model from line {}: `LAB_RECORD=1 cargo test --test game`, and read the diff",
            recording(stage).display(),
            differs.unwrap_or(0) + 1
        );
    }
}

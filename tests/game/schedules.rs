//! The orders that the page hands out as schedules: the real binaries, on the real kernel, come to the end that the
//! page has shown.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use real::catalogue::Verdict;
use real::schedule::Schedule;
use real::server::Threads;
use serde_json::Value;

use crate::explore::Act;
use crate::{entry, graph, names, root};

/// A graph as the page has it.
struct Page(Value);

impl Page {
    fn of(stage: &str) -> Page {
        let script = graph::script(stage, &format!("lab/stages/{stage}.rs"), super::graph(stage));
        let from = script.find(", {").expect("a call with the graph") + 2;
        let data = script[from..].trim_end().strip_suffix(");").expect("a call");
        Page(serde_json::from_str(data).expect("it is JSON"))
    }

    fn goals(&self) -> &[Value] {
        self.0["head"]["goals"].as_array().expect("a list")
    }

    /// The fewest moves to the end of a goal, with so many checkpoints passed. Below 0 no order leads there.
    fn far(&self, goal: usize, passed: usize, state: &Value) -> Option<u64> {
        self.0["far"][goal][passed][state.as_u64()? as usize].as_u64()
    }

    fn checkpoints(&self, goal: usize) -> usize {
        self.goals()[goal]["checkpoints"].as_array().expect("a list").len()
    }

    fn moves(&self, state: &Value) -> &[Value] {
        self.0["nodes"][state.as_u64().expect("a number") as usize][2].as_array().expect("a list")
    }

    /// The state that these roles come to, one after the other.
    fn after(&self, roles: &[u64]) -> Option<Value> {
        let mut state = self.0["head"]["start"].clone();
        for role in roles {
            let chosen = self.moves(&state).iter().find(|chosen| chosen[0] == *role)?;
            state = chosen[4].clone();
        }
        Some(state)
    }

    /// A play that reaches the goal: of the moves that can still lead there, each time the one that `choose` takes (of
    /// so many, which; they are sorted by how near they lead).
    fn play(&self, goal: usize, mut choose: impl FnMut(usize) -> usize) -> Vec<&Value> {
        let first: usize = (0..goal)
            .map(|goal| self.checkpoints(goal) + self.goals()[goal]["guilty"].as_array().map_or(0, Vec::len))
            .sum();
        let (mut state, mut passed, mut play) = (&self.0["head"]["start"], 0, Vec::new());
        loop {
            let moves = self.moves(state);
            if moves.is_empty() {
                return play;
            }
            let mut open: Vec<_> = moves
                .iter()
                .filter_map(|chosen| {
                    let marks = chosen[5].as_u64()? >> first;
                    let count = self.checkpoints(goal);
                    let next = (passed..count).find(|at| marks >> at & 1 == 0).unwrap_or(count);
                    Some((self.far(goal, next, &chosen[4])?, next, chosen))
                })
                .collect();
            open.sort_by_key(|(far, ..)| *far);
            let (_, next, chosen) = open[choose(open.len())];
            (state, passed) = (&chosen[4], next);
            play.push(chosen);
        }
    }

    /// What the page writes into the file.
    fn schedule(&self, play: &[&Value]) -> String {
        let plans = self.0["head"]["plans"].as_array().expect("a list").iter();
        let steps = play.iter().filter_map(|chosen| Some(&self.0["texts"][chosen[1].as_u64()? as usize]));
        plans.chain(steps).map(|line| format!("{}\n", line.as_str().expect("a text"))).collect()
    }
}

fn binary(stage: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(stage)
}

/// What the program says of it, in the folder of the book.
fn run_with(stage: &str, schedule: &str, flags: &[&str]) -> Result<Output, String> {
    let mut file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    file.write_all(schedule.as_bytes()).map_err(|error| error.to_string())?;
    let mut command = Command::new(binary(stage));
    let count = crate::workers(stage).to_string();
    if entry(stage).threads == Threads::Reactors && !flags.contains(&"--workers") {
        command.args(["--workers", &count]);
    }
    let output = command.arg("--schedule").arg(file.path()).args(flags).current_dir(root()).output();
    output.map_err(|error| error.to_string())
}

/// What comes of it: how the program ends, and its report.
fn report(stage: &str, schedule: &str) -> Result<(Output, Value), String> {
    let output = run_with(stage, schedule, &["--json"])?;
    let report = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output, report))
}

/// How many wake-ups the reactors have counted.
fn heard(report: &Value) -> u64 {
    report["herd"].as_array().into_iter().flatten().filter_map(|reactor| reactor["woken"].as_u64()).sum()
}

/// Runs it, and says what is wrong with how it ended.
fn run(stage: &str, goal: &str, schedule: &str) -> Result<(), String> {
    let of = entry(stage);
    let workers = crate::workers(stage);
    Schedule::parse_for(schedule, &of.points(), of.threads, workers).map_err(|error| error.to_string())?;
    let (output, report) = report(stage, schedule)?;
    let is_as_shown = match (goal, of.expect) {
        // Nobody has heard of the client but the one that it has.
        ("survive", Verdict::Herds) => output.status.success() && heard(&report) == 1,
        (_, Verdict::Herds) => output.status.code() == Some(1) && heard(&report) == workers as u64,
        ("survive", _) => output.status.success() && report["finding"].is_null(),
        (_, Verdict::Signal { signal, .. }) => output.status.signal() == Some(signal) && report["recognised"] == true,
        (_, Verdict::Misdelivers) => output.status.code() == Some(1) && report["misdelivery"].is_object(),
        (_, Verdict::Hangs) => output.status.code() == Some(1) && report["hang"].is_object(),
        (_, Verdict::NeverStops) => output.status.code() == Some(1) && report["stuck"].is_object(),
        (_, other) => return Err(format!("no game is about {other:?}")),
    };
    // The step in which it dies may have no outcome.
    let steps = report["steps"].as_array().expect("a list");
    let missed: Vec<_> =
        steps.iter().filter(|step| !["passed", "refused"].contains(&step["outcome"].as_str().unwrap_or(""))).collect();
    if is_as_shown && missed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}, finding {}, misdelivery {}, missed {missed:?}",
        output.status, report["finding"], report["misdelivery"]
    ))
}

/// A client of a longer plan would go on after the order.
#[test]
fn the_plans_of_a_schedule_are_what_the_clients_of_the_game_send() {
    for stage in names() {
        let scenario = super::scenario(stage);
        let sent = scenario.client.iter().map(|act| if let Act::Send(bytes) = act { bytes.len() as u64 } else { 0 });
        let planned: Option<u64> = scenario.plans.iter().map(|plan| plan.length()).sum();
        // Without a plan the bytes have no meaning, and the steps say how many there are.
        assert!(scenario.plans.is_empty() || planned == Some(sent.sum()), "{stage}: {:?}", scenario.plans);
    }
}

#[test]
fn the_schedule_of_a_won_game_brings_the_real_binary_to_the_same_end() {
    for stage in names() {
        let page = Page::of(stage);
        for (goal, name) in page.goals().iter().map(|goal| goal["name"].as_str().expect("a name")).enumerate() {
            let mut plays = vec![page.play(goal, |_| 0)];
            assert_eq!(Some(plays[0].len() as u64), page.goals()[goal]["fewest"].as_u64(), "{stage}, {name}");
            // Knuth's generator: the same orders in every run.
            let mut random = 1_u64;
            for _ in 0..20 {
                plays.push(page.play(goal, |count| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 33) as usize % count
                }));
            }
            for play in plays {
                let schedule = page.schedule(&play);
                if let Err(error) = run(stage, name, &schedule) {
                    panic!("{stage}, {name}: {error}\n{schedule}");
                }
            }
        }
    }
}

/// The link to the game that a run of this order ends with: who moves.
fn linked(stage: &str, schedule: &str, flags: &[&str]) -> Option<Vec<u64>> {
    let output = run_with(stage, schedule, flags).expect("it runs");
    let text = String::from_utf8(output.stdout).expect("it is text");
    let link = text.lines().find_map(|line| line.trim_start().strip_prefix("play it in the book: "))?;
    let before = format!("stage{}.html#game:{stage}:", entry(stage).chapter);
    let moves = link.strip_prefix(&before).unwrap_or_else(|| panic!("{link}"));
    Some(moves.split(',').map(|role| role.parse().unwrap_or_else(|_| panic!("{link}"))).collect())
}

/// The file that the page hands out leads back to it.
#[test]
fn the_schedule_of_a_won_game_is_linked_to_where_it_was_won() {
    for stage in names() {
        let page = Page::of(stage);
        for goal in 0..page.goals().len() {
            // Knuth's generator: the same orders in every run.
            let mut random = 1_u64;
            for _ in 0..5 {
                let play = page.play(goal, |count| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 33) as usize % count
                });
                let schedule = page.schedule(&play);
                let roles = linked(stage, &schedule, &[]).unwrap_or_else(|| panic!("{stage}: no link\n{schedule}"));
                let won = play.last().expect("it has moves")[4].clone();
                assert_eq!(page.after(&roles), Some(won), "{stage}\n{schedule}");
            }
        }
    }
}

/// Not every point need be named: who stands at another one than its next step has goes on.
#[test]
fn an_order_is_linked_if_the_game_has_its_moves() {
    for (stage, verdict) in
        [("stage3_broken", "use after free"), ("stage4_broken", "double free"), ("stage7_broken", "never stops")]
    {
        let page = Page::of(stage);
        // The upload of the game is one that ends.
        let schedule = entry(stage).schedule.text.replace("POST 10485760", "POST 4038");
        let roles = linked(stage, &schedule, &[]).unwrap_or_else(|| panic!("{stage}: no link"));
        let mut state = page.after(&roles).expect("each move is possible");
        // After the schedule everybody goes on, in any order.
        while let Some(chosen) = page.moves(&state).first() {
            state = chosen[4].clone();
        }
        let end = &page.0["nodes"][state.as_u64().expect("a number") as usize][3];
        let text = page.0["texts"][end[1].as_u64().expect("a number") as usize].as_str().expect("a text");
        assert!(text.starts_with(verdict) || end[0] == verdict, "{stage}: {end} {text}");
    }
    let not_linked = |stage: &str, schedule: &str, flags: &[&str]| {
        assert_eq!(linked(stage, schedule, flags), None, "{stage} {flags:?}: {schedule}");
    };
    // Its client says something, and the game's does not.
    not_linked("stage8_broken", entry("stage8_broken").schedule.text, &[]);
    let herd = "reactors wait\nclient connect\nreactors woken\nreactors accept\n";
    let roles = linked("stage8_broken", herd, &[]).expect("the game has it");
    assert_eq!(roles, [2, 3, 4, 0, 2, 3, 4, 2, 3, 4]);
    // More bytes, another request, a step that cannot be, and an order that is only the reader's to see.
    not_linked("stage3_broken", &entry("stage3_broken").schedule.text.replace("send 16384", "send 16383"), &[]);
    not_linked("stage4_broken", entry("stage4_broken").schedule.text, &[]);
    not_linked("stage8_fixed", "reactors wait\nclient connect\nreactor-2 woken\n", &[]);
    not_linked("stage8_broken", "reactor-1 wait 2\nclient connect\n", &[]);
    let of_three = "reactor-1 wait\nreactor-2 wait\nreactor-3 wait\nclient connect\n";
    assert_eq!(linked("stage8_broken", of_three, &[]), Some(vec![2, 3, 4, 0]));
    not_linked("stage8_broken", of_three, &["--workers", "4"]);
    not_linked("stage8_broken", herd, &["--json"]);
}

/// Whom a connection wakes is the kernel's choice. In any order, well or not, Linux makes the one that the game has shown:
/// each reactor hears of the client, accepts it or comes too late as its moves say.
#[test]
fn linux_wakes_in_any_order_whom_the_game_wakes() {
    for stage in names().filter(|stage| entry(stage).threads == Threads::Reactors) {
        let graph = graph(stage);
        // Knuth's generator: the same orders in every run.
        let mut random = 1_u64;
        for _ in 0..60 {
            let (mut node, mut steps, mut told) = (&graph.nodes[0], String::new(), vec![[0; 3]; graph.roles.len()]);
            while !node.moves.is_empty() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let chosen = &node.moves[(random >> 33) as usize % node.moves.len()];
                steps.extend(chosen.step.iter().map(|step| format!("{step}\n")));
                let did = ["epoll_wait: the listener", "accepts fd", "accept says EAGAIN"]
                    .map(|did| chosen.did.contains(did));
                told[chosen.role].iter_mut().zip(did).for_each(|(count, did)| *count += u64::from(did));
                node = &graph.nodes[chosen.to];
            }
            let (_, report) = report(stage, &steps).unwrap_or_else(|error| panic!("{stage}: {error}\n{steps}"));
            let counts = report["herd"].as_array().expect("a list").iter();
            let counted: Vec<_> = counts
                .map(|one| ["woken", "accepted", "empty"].map(|key| one[key].as_u64().unwrap_or(u64::MAX)))
                .collect();
            // The client and `main` come before them.
            assert_eq!(counted, told[2..], "{stage}\n{steps}");
        }
    }
}

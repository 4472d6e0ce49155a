//! The tour guide: what there is to see, and what to type.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Arg, ArgAction, Command};
use lab::autopsy::lanes::{GREEN, RED, paint};
use lab::autopsy::verdicts;
use lab::catalogue::{self, STAGES, Stage, Verdict};
use lab::point::point;
use lab::runner::{colour, read_arguments, refuse, say_all};
use lab::schedule::Schedule;
use serde_json::{Value, json};

fn command() -> Command {
    Command::new("lab")
        .about("How an epoll server really breaks: the tour guide")
        .long_about(
            "How an epoll server really breaks, on demand: a lab of small servers, broken and fixed, with an autopsy of \
             each death. Without a command, this shows the tour.",
        )
        .subcommand(
            Command::new("list")
                .about("The stages: what each shows, how it ends, what to type")
                .arg(flag("json", "All exhibits as JSON, those of a stage's flags too"))
                .arg(flag("names", "Only the programs that are built without a feature, one a line").conflicts_with("json")),
        )
        .subcommand(Command::new("point-cost").about("Measure what a schedule point costs when nobody directs").long_about(
            "Measures what a schedule point costs when nobody directs: a loop of a hundred million points against the \
             same loop without. Build with --release for a figure that means something.",
        ))
        .subcommand(lab::tools::cost::command())
        .subcommand(lab::tools::detect::command())
        .subcommand(lab::tools::bench::command())
        .subcommand(lab::tools::soak::command())
        .after_help("A stage is a program of its own: cargo run --bin stage3_broken -- --help")
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(name) = arguments.get(1).and_then(|name| name.to_str()).filter(|name| name.starts_with("stage")) {
        return ExitCode::from(refuse("lab", &anyhow::anyhow!(a_stage_is_no_command(name))));
    }
    let matches = read_arguments(command(), arguments);
    let text = match matches.subcommand() {
        None => tour(colour()),
        Some(("list", matches)) if matches.get_flag("json") => list_json(),
        Some(("list", matches)) if matches.get_flag("names") => names(),
        Some(("list", _)) => list(),
        Some(("point-cost", _)) => point_cost(),
        Some(("cost", matches)) => return lab::tools::cost::run(matches),
        Some(("caught", matches)) => return lab::tools::detect::run(matches),
        Some(("bench", matches)) => return lab::tools::bench::run(matches),
        Some(("soak", matches)) => return lab::tools::soak::run(matches),
        Some((other, _)) => unreachable!("clap knows no `{other}`"),
    };
    ExitCode::from(say_all("lab", &text))
}

/// What `cargo run stage3_broken` meant, or the name that is most like it.
fn a_stage_is_no_command(name: &str) -> String {
    if catalogue::find(name).is_some() {
        return format!("a stage is a program of its own: {}", catalogue::command(name));
    }
    let likeness = |stage: &&Stage| strsim::jaro_winkler(name, stage.name);
    let nearest = STAGES.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).expect("there are stages");
    format!("there is no {name}; did you mean {}?", catalogue::command(nearest.name))
}

fn list() -> String {
    let mut text = String::new();
    for stage in STAGES {
        let ends = verdicts::case(stage.expect).in_list();
        let _ = writeln!(text, "  {:<15} {}", stage.name, stage.title);
        let _ = writeln!(text, "  {:<15} ends: {ends}", "");
        let _ = writeln!(text, "  {:<15} {}\n", "", catalogue::command(stage.name));
    }
    text
}

/// For programs: the browser's checks read it.
fn list_json() -> String {
    let exhibits = catalogue::exhibits().map(|stage| {
        // With as many workers as an exhibit has.
        let order = Schedule::parse_for(stage.schedule.text, &stage.points(), stage.threads, 4);
        json!({
            "name": stage.name,
            "file_name": stage.file_name(),
            "program": stage.program(),
            "flags": stage.flags().collect::<Vec<_>>(),
            "feature": stage.feature,
            "chapter": stage.chapter,
            "title": stage.title,
            "verdict": stage.expect.id(),
            "stops": order.is_ok_and(|order| order.stops()),
            "ends": verdicts::case(stage.expect).in_list(),
        })
    });
    format!("{:#}\n", exhibits.collect::<Value>())
}

/// For shells: `.ci/run` reads it.
fn names() -> String {
    let built = STAGES.iter().filter(|stage| stage.feature.is_none());
    built.map(|stage| format!("{}\n", stage.name)).collect()
}

fn tour(colour: bool) -> String {
    format!(
        "epoll-autopsy: how an epoll server really breaks\n\n\
         Each stage is one small server in one file (lab/stages/). The broken ones\n\
         die of a real race, every time, in an order that a director forces; the\n\
         fixed ones live through the same order.\n\n{}\n  \
         run one                           cargo run --bin stage3_broken\n  \
         how each ends                     cargo run -- list\n\n\
         Every stage has --wild (nobody directs: the odds), --repeat N, --serve ADDR,\n\
         --schedule FILE, --trace FILE and --help.\n\n  \
         the models that prove the fixes   cargo test --test loom\n  \
         the book                          mdbook serve --open\n",
        stages(colour)
    )
}

/// A line a stage: its name, in green where it serves and in red where it does not.
fn stages(colour: bool) -> String {
    let line = |stage: &Stage| {
        let style = if stage.expect == Verdict::Serves { GREEN } else { RED };
        format!("  {} {}\n", paint(&format!("{:<15}", stage.name), style, colour), stage.title)
    };
    STAGES.iter().map(line).collect()
}

/// The loop whose disassembly shows what a point is.
#[inline(never)]
fn with_points(count: u64) -> u64 {
    let mut sum = 0;
    for n in 0..count {
        point("measured");
        sum += black_box(n);
    }
    sum
}

#[inline(never)]
fn without_points(count: u64) -> u64 {
    let mut sum = 0;
    for n in 0..count {
        sum += black_box(n);
    }
    sum
}

fn point_cost() -> String {
    const COUNT: u64 = 100_000_000;
    const ROUNDS: usize = 5;
    let nanos = |body: fn(u64) -> u64| {
        let start = Instant::now();
        black_box(body(black_box(COUNT)));
        start.elapsed().as_secs_f64() * 1e9 / COUNT as f64
    };
    let mut text = format!("{ROUNDS} rounds of {COUNT} points; nobody directs, nothing is recorded\n\n");
    let mut costs: Vec<f64> = Vec::new();
    for round in 1..=ROUNDS {
        let (without, with) = (nanos(without_points), nanos(with_points));
        costs.push(with - without);
        let _ = writeln!(text, "  round {round}: {with:.2} ns with a point, {without:.2} ns without");
    }
    costs.sort_by(f64::total_cmp);
    let _ = writeln!(text, "\n  a point costs {:.2} ns (median)", costs[ROUNDS / 2]);
    text
}

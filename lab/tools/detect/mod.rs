//! `lab caught`: who would have caught it. Each broken stage under each tool, and as a control every correct one, since
//! a tool that reports a correct program has not found the bug of a broken one.
//!
//! - [`measure`]: builds the programs as a tool wants them, runs them under it, and counts
//! - `reports`: what kinds of reports a tool has printed
//! - `table`: the cells as data, what they mean together, and the table of the book

mod measure;
mod reports;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::catalogue::{self, Stage};
use crate::runner::say;
pub use measure::{Settings, measure, version};
pub use table::{Cell, Data, SEARCHES, Verdict};

/// Who might have caught it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// The compiler's errors and warnings.
    Rustc,
    /// Clippy: its default lints, and those on locks, threads and ownership that one has to ask for.
    Clippy,
    /// The models under loom (`tests/loom/`).
    Models,
    /// `--search`, all orders with up to two delays.
    Delays,
    /// `--search`, random walks.
    Random,
    /// `--search`, PCT.
    Pct,
    /// `--search`, POS.
    Pos,
    /// `--search`, SURW.
    Surw,
    /// Nothing but the program itself, and somebody who looks at how it ends.
    Nothing,
    /// AddressSanitizer.
    Address,
    /// ThreadSanitizer, which is told what std's locks do (`lab/world/tsan.rs`).
    Thread,
    /// ThreadSanitizer with std as it comes: compiled without it.
    ThreadAlone,
    /// valgrind's memcheck.
    Memcheck,
    /// valgrind's helgrind.
    Helgrind,
    /// valgrind's drd.
    Drd,
}

/// In which order things happen while the tool looks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// The program does not run, or a model runs in every order, or a search chooses it.
    None,
    /// The order of the exhibit's schedule, forced by the director.
    Directed,
    /// Nobody directs: the scenario of `--wild`.
    Stress,
}

impl Tool {
    /// All, in the order of the table.
    pub const ALL: [Tool; 15] = [
        Tool::Rustc,
        Tool::Clippy,
        Tool::Models,
        Tool::Delays,
        Tool::Random,
        Tool::Pct,
        Tool::Pos,
        Tool::Surw,
        Tool::Nothing,
        Tool::Address,
        Tool::Thread,
        Tool::ThreadAlone,
        Tool::Memcheck,
        Tool::Helgrind,
        Tool::Drd,
    ];

    /// Its name on the command line and in the data.
    pub fn id(self) -> &'static str {
        match self {
            Tool::Rustc => "rustc",
            Tool::Clippy => "clippy",
            Tool::Models => "models",
            Tool::Delays => "delays",
            Tool::Random => "random",
            Tool::Pct => "pct",
            Tool::Pos => "pos",
            Tool::Surw => "surw",
            Tool::Nothing => "none",
            Tool::Address => "asan",
            Tool::Thread => "tsan",
            Tool::ThreadAlone => "tsan-alone",
            Tool::Memcheck => "memcheck",
            Tool::Helgrind => "helgrind",
            Tool::Drd => "drd",
        }
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Rustc => "the compiler",
            Tool::Clippy => "clippy, with its lints on locks",
            Tool::Models => "the models (loom)",
            Tool::Delays => "a search: delays, at most two",
            Tool::Random => "a search: random walks",
            Tool::Pct => "a search: PCT, depth 3",
            Tool::Pos => "a search: POS",
            Tool::Surw => "a search: SURW",
            Tool::Nothing => "no tool",
            Tool::Address => "AddressSanitizer",
            Tool::Thread => "ThreadSanitizer, told of std's locks",
            Tool::ThreadAlone => "ThreadSanitizer as it comes",
            Tool::Memcheck => "valgrind, memcheck",
            Tool::Helgrind => "valgrind, helgrind",
            Tool::Drd => "valgrind, drd",
        }
    }

    /// In which orders it looks on.
    pub fn orders(self) -> &'static [Order] {
        match self {
            Tool::Rustc | Tool::Clippy | Tool::Models => &[Order::None],
            _ if self.is_search() => &[Order::None],
            // They are slow, and have said all that they can say once they have reported a correct program.
            Tool::Helgrind | Tool::Drd => &[Order::Directed],
            _ => &[Order::Directed, Order::Stress],
        }
    }

    /// How many runs a cell has, and how many rounds of the scenario a run under stress has, unless the reader says
    /// otherwise: valgrind is slow.
    fn effort(self) -> (u64, u64) {
        match self {
            Tool::Rustc | Tool::Clippy | Tool::Models | Tool::Delays => (1, 1),
            // Seeds.
            Tool::Random | Tool::Pct | Tool::Pos | Tool::Surw => (20, 1),
            Tool::Nothing => (3, 100),
            Tool::Address | Tool::Thread | Tool::ThreadAlone => (3, 10),
            Tool::Memcheck => (2, 1),
            Tool::Helgrind | Tool::Drd => (1, 1),
        }
    }

    /// Whether it is `--search`, by the strategy of that name.
    pub fn is_search(self) -> bool {
        matches!(self, Tool::Delays | Tool::Random | Tool::Pct | Tool::Pos | Tool::Surw)
    }

    fn of(id: &str) -> Option<Tool> {
        Tool::ALL.into_iter().find(|tool| tool.id() == id)
    }
}

impl Order {
    /// Its name on the command line, in the data and in the table.
    pub fn id(self) -> &'static str {
        match self {
            Order::None => "",
            Order::Directed => "directed",
            Order::Stress => "stress",
        }
    }

    fn of(id: &str) -> Option<Order> {
        [Order::None, Order::Directed, Order::Stress].into_iter().find(|order| order.id() == id)
    }
}

/// The programs of the table, with flags where these make another exhibit.
pub fn programs() -> Vec<&'static Stage> {
    catalogue::exhibits().filter(|stage| stage.caught).collect()
}

/// The chapters that they are in: the first and the last.
fn chapters() -> (u32, u32) {
    let chapters = || programs().into_iter().map(|stage| stage.chapter);
    (chapters().min().unwrap_or_default(), chapters().max().unwrap_or_default())
}

/// Whether a program is a control: nothing is wrong with it.
pub fn is_correct(stage: &Stage) -> bool {
    stage.expect == catalogue::Verdict::Serves
}

/// The verb's command line.
pub fn command() -> Command {
    let (first, last) = chapters();
    Command::new("caught")
        .about("Measure which tool catches which bug: compiler, clippy, models, searches, sanitizers, valgrind")
        .long_about(format!(
            "Runs the stages of chapters {first} to {last} under each tool, the broken ones and, as controls, the correct \
             ones; directed (the order of the exhibit) and under stress (nobody directs). A cell counts the runs in which \
             the tool has reported something. Prints the table. What a tool needs and this machine does not have is named, \
             and its cells stay empty.",
        ))
        .after_help(
            "Run it in the repository. The sanitizers need a nightly compiler (rustup toolchain install nightly), the \
             last three valgrind. The builds go to target/caught. All cells take the better part of an hour.",
        )
        .arg(
            Arg::new("stage")
                .long("stage")
                .value_name("N")
                .value_parser(value_parser!(u32).range(i64::from(first)..=i64::from(last)))
                .action(ArgAction::Append)
                .help("Only the programs of this chapter; may be given again"),
        )
        .arg(
            Arg::new("program")
                .long("program")
                .value_name("NAME")
                .value_parser(programs().iter().map(|stage| stage.name).collect::<Vec<_>>())
                .action(ArgAction::Append)
                .help("Only this program; may be given again"),
        )
        .arg(
            Arg::new("tool")
                .long("tool")
                .value_name("TOOL")
                .value_parser(Tool::ALL.map(Tool::id))
                .action(ArgAction::Append)
                .help("Only this tool; may be given again"),
        )
        .arg(
            Arg::new("order")
                .long("order")
                .value_name("ORDER")
                .value_parser(["directed", "stress"])
                .help("Only in this order"),
        )
        .arg(
            Arg::new("runs")
                .long("runs")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("Runs for each cell [default: 3; memcheck 2, helgrind and drd 1]"),
        )
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("Rounds of the scenario in a run under stress [default: 100; sanitizers 10, valgrind 1]"),
        )
        .arg(
            Arg::new("into")
                .long("into")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Put the cells into this JSON file, beside those that it has, and the table into the .md beside it"),
        )
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with_all(["stage", "program", "tool", "order", "runs", "rounds", "into"])
                .help("Measure nothing: print the table of this JSON file"),
        )
}

/// Measures and prints the table; one sentence and status 2 if that cannot be done here.
pub fn run(matches: &ArgMatches) -> ExitCode {
    let result = match matches.get_one::<PathBuf>("from") {
        Some(path) => load(path).and_then(|data| say(&data.markdown())),
        None => take(matches),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "lab caught: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The data in a file.
///
/// # Errors
/// If it cannot be read, or is not such data.
pub fn load(path: &Path) -> Result<Data> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Data::from_json(&text).with_context(|| format!("{} is not a table of `lab caught`", path.display()))
}

/// The cells that the reader asked for.
fn take(matches: &ArgMatches) -> Result<()> {
    ensure!(Path::new("lab/stages").is_dir(), "it builds the stages: run it in the root of the repository");
    let chosen = |name: &str| matches.get_many::<String>(name).map(|all| all.cloned().collect::<Vec<_>>());
    let (names, tools) = (chosen("program"), chosen("tool"));
    let chapters = matches.get_many::<u32>("stage").map(|all| all.copied().collect::<Vec<_>>());
    let order = matches.get_one::<String>("order").and_then(|id| Order::of(id));
    let programs = programs().into_iter().filter(|stage| {
        names.as_ref().is_none_or(|names| names.iter().any(|name| name == stage.name))
            && chapters.as_ref().is_none_or(|chapters| chapters.contains(&stage.chapter))
    });
    let programs: Vec<_> = programs.collect();
    let into = matches.get_one::<PathBuf>("into");
    let mut data = match into {
        Some(path) if path.exists() => load(path)?,
        _ => Data::default(),
    };
    let mut failed = 0;
    for tool in
        Tool::ALL.into_iter().filter(|tool| tools.as_ref().is_none_or(|ids| ids.iter().any(|id| id == tool.id())))
    {
        let version = version(tool);
        let missing = version.as_ref().err().cloned();
        data.tools.insert(tool, version);
        if let Some(missing) = missing {
            let _ = writeln!(io::stderr(), "{}: not measured: {missing}", tool.id());
            data.cells.retain(|cell| cell.tool != tool);
            continue;
        }
        let (runs, rounds) = tool.effort();
        let asked = |name: &str, default| matches.get_one::<u64>(name).copied().unwrap_or(default);
        let settings = Settings { runs: asked("runs", runs), rounds: asked("rounds", rounds) };
        for order in
            tool.orders().iter().copied().filter(|o| *o == Order::None || order.is_none_or(|order| order == *o))
        {
            for stage in &programs {
                let cell = match measure(stage, tool, order, settings) {
                    Ok(cell) => cell,
                    Err(error) => {
                        let _ = writeln!(io::stderr(), "{} {} {}: {error:#}", stage.name, tool.id(), order.id());
                        failed += 1;
                        continue;
                    }
                };
                let _ = writeln!(io::stderr(), "{}", cell.line());
                data.put(cell);
                // What is measured is kept, whatever comes later.
                if let Some(path) = into {
                    data.save(path)?;
                }
            }
        }
    }
    if let Some(path) = into {
        data.save(path)?;
    }
    say(&data.markdown())?;
    ensure!(failed == 0, "{failed} cells could not be measured; why is said above");
    Ok(())
}

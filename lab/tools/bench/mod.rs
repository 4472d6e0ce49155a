//! `lab bench`: the load. Servers side by side in interleaved rounds: requests a second, latency, requests for each
//! second of the server's CPU, system calls for each request, memory for each connection, errors.
//!
//! - `measure`: the rounds
//! - `embedded`, `wrk`: the two clients
//! - `calls`: system calls, counted by `perf stat` or `strace`
//! - `start`, `foreign`: servers of other people, and the commands that start them
//! - `idle`: many connections open at once, and what each costs
//! - `system`: what `/proc` says
//! - `report`, `plot`: text, JSON, SVG
//!
//! Only the command line is here without the feature `bench`: the packages behind it would make every build slower.

#[cfg(feature = "bench")]
mod calls;
#[cfg(feature = "bench")]
mod embedded;
#[cfg(feature = "bench")]
mod foreign;
#[cfg(feature = "bench")]
mod idle;
#[cfg(feature = "bench")]
mod measure;
#[cfg(feature = "bench")]
mod model;
#[cfg(feature = "bench")]
mod plot;
#[cfg(feature = "bench")]
mod report;
mod start;
#[cfg(feature = "bench")]
mod system;
#[cfg(feature = "bench")]
mod wrk;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// The longest pipeline: so many requests fit into the smallest send buffer.
const DEEPEST: i64 = 256;

/// The verb's command line.
pub fn command() -> Command {
    let number = |name: &'static str, default: &'static str, most: i64| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .value_parser(value_parser!(u32).range(1..=most))
            .default_value(default)
    };
    let file = |name: &'static str| Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf));
    Command::new("bench")
        .about("Measure servers side by side: requests/s, latency, CPU, system calls, memory, errors")
        .long_about(
            "Measures servers side by side, in rounds: each round takes every server in turn, and the order is turned \
             round from one to the next, so that whatever else the machine does meets all of them. Ratios are medians of \
             the ratios within the rounds, with the lowest and the highest; a difference that the rounds do not resolve is \
             called so.\n\n\
             Three parts: `load` (the rounds), `calls` (system calls for each request: a short run under perf or strace) and \
             `idle` (as many connections open at once, each one asked while all are open; memory for each).",
        )
        .after_help(
            "Build the stages first: cargo build --release --bins. The client shares the machine with the server, so the \
             column to compare is requests for each second of the server's CPU. Exit status 1 if a connection failed or a \
             reply was wrong or late; 2 if something is missing, with one sentence about it.",
        )
        .arg(Arg::new("servers").value_name("SERVER").action(ArgAction::Append).help(
            "Stages, each with flags of its own if it is quoted ('stage4_fixed --workers 2') [default: every stage that \
             serves and is built]",
        ))
        .arg(
            Arg::new("address")
                .long("address")
                .value_name("HOST:PORT")
                .action(ArgAction::Append)
                .help("A server of your own, which runs already"),
        )
        .arg(
            Arg::new("pid")
                .long("pid")
                .value_name("PID")
                .action(ArgAction::Append)
                .requires("address")
                .value_parser(value_parser!(u32).range(1..))
                .help("Its process, for the columns about CPU, system calls and memory; one for each --address"),
        )
        .arg(
            Arg::new("start")
                .long("start")
                .value_name("NAME=COMMAND")
                .action(ArgAction::Append)
                .value_parser(start::parse)
                .help("A server of your own, started for each measurement; `{port}` is where it is to listen"),
        )
        .arg(number("connections", "1000", 1_000_000).help("How many connections"))
        .arg(number("seconds", "3", 3600).value_name("S").help("How long each server is measured in a round"))
        .arg(number("rounds", "7", 1000).help("How many rounds"))
        .arg(number("pipeline", "1", DEEPEST).help("How many requests are sent before the first reply is awaited"))
        .arg(
            Arg::new("threads")
                .long("threads")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=1024))
                .help("Threads of the client [default: one for each core]"),
        )
        .arg(Arg::new("base").long("base").value_name("SERVER").help("What the ratios are to [default: the first server]"))
        .arg(
            Arg::new("client")
                .long("client")
                .value_name("CLIENT")
                .value_parser(["wrk", "embedded", "both"])
                .help("Who asks [default: wrk if it is installed, else the lab's own]")
                .long_help(
                    "Who asks: `wrk`, or the lab's own closed loop (`embedded`). Default: wrk if it is installed. With \
                     `both`, each server meets both in every round, and the ratio says how far they agree.",
                ),
        )
        .arg(
            Arg::new("parts")
                .long("parts")
                .value_name("PART")
                .value_delimiter(',')
                .value_parser(["load", "calls", "idle"])
                .default_value("load,calls,idle")
                .help("What to measure"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("The report as JSON"))
        .arg(file("save").help("Write the report as JSON into a file too"))
        .arg(file("svg").help("Write a plot of the rounds into a file"))
}

/// Measures and prints the report.
#[cfg(feature = "bench")]
pub fn run(matches: &ArgMatches) -> ExitCode {
    match measure::run(&measure::Options::read(matches)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => refuse(&format!("{error:#}")),
    }
}

/// Says in one sentence how to build it.
#[cfg(not(feature = "bench"))]
pub fn run(_: &ArgMatches) -> ExitCode {
    refuse("this build is without it; type `cargo run --release --features bench --bin lab -- bench`")
}

fn refuse(why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "lab bench: {why}");
    ExitCode::from(2)
}

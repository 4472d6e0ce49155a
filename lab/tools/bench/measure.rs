//! What is measured, and in which order.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ArgMatches;
use indicatif::{ProgressBar, ProgressStyle};

use super::embedded::{Crowd, Expected, Sampler};
use super::foreign::Foreign;
use super::model::{Client, Live, Load, Process, Report, Row, Subject, Work};
use super::{calls, idle, plot, report, wrk};
use crate::catalogue::{self, Verdict};
use crate::runner::say;
use crate::tools::cost::{Server, beside_this_program, raise_file_limit, thousands};

/// What the reader asked for.
pub struct Options {
    specs: Vec<Spec>,
    /// Nobody was named.
    by_default: bool,
    pub work: Work,
    pub seconds: u32,
    pub rounds: usize,
    base: Option<String>,
    client: Option<String>,
    parts: Vec<String>,
    json: bool,
    save: Option<PathBuf>,
    svg: Option<PathBuf>,
}

/// A server to measure.
#[derive(Clone)]
enum Spec {
    /// A stage and its flags; started for each measurement.
    Stage(String),
    /// A program of the reader's and its command; started for each measurement.
    Foreign { name: String, command: String },
    /// It runs already.
    Address { name: String, pid: Option<u32> },
}

impl Options {
    /// From the command line.
    pub fn read(matches: &ArgMatches) -> Options {
        let words = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned();
        let number = |name: &str| *matches.get_one::<u32>(name).expect("it has a default");
        let mut specs: Vec<Spec> = words("servers").map(Spec::Stage).collect();
        let mut pids = matches.get_many::<u32>("pid").into_iter().flatten().copied();
        let foreign = matches.get_many::<(String, String)>("start").into_iter().flatten().cloned();
        specs.extend(foreign.map(|(name, command)| Spec::Foreign { name, command }));
        specs.extend(words("address").map(|name| Spec::Address { name, pid: pids.next() }));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let by_default = specs.is_empty();
        if by_default {
            let serving = catalogue::STAGES.iter().filter(|stage| stage.expect == Verdict::Serves);
            specs.extend(serving.map(|stage| Spec::Stage(stage.name.to_string())));
        }
        Options {
            specs,
            by_default,
            work: Work {
                connections: number("connections") as usize,
                threads: matches.get_one::<u32>("threads").map_or(cores, |threads| *threads as usize),
                pipeline: number("pipeline") as usize,
            },
            seconds: number("seconds"),
            rounds: number("rounds") as usize,
            base: matches.get_one("base").cloned(),
            client: matches.get_one("client").cloned(),
            parts: words("parts").collect(),
            json: matches.get_flag("json"),
            save: matches.get_one("save").cloned(),
            svg: matches.get_one("svg").cloned(),
        }
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.iter().any(|wanted| wanted == part)
    }

    /// The clients, in the order of a round.
    fn clients(&self) -> Result<Vec<Client>> {
        let installed = wrk::is_installed();
        let clients = match self.client.as_deref() {
            Some("embedded") => vec![Client::Embedded],
            None if !installed => vec![Client::Embedded],
            Some("both") => vec![Client::Wrk, Client::Embedded],
            _ => vec![Client::Wrk],
        };
        if self.wants("load") && clients.contains(&Client::Wrk) {
            ensure!(
                installed,
                "wrk is not installed; install it (Debian: `apt install wrk`), or take --client embedded"
            );
            let ports = ports();
            ensure!(
                self.work.connections <= ports,
                "wrk connects from one address, which has {} ports (ip_local_port_range); take --client embedded for {} \
                 connections",
                thousands(ports as i64),
                thousands(self.work.connections as i64)
            );
        }
        Ok(clients)
    }
}

/// How many ports an address has for connections that it opens.
fn ports() -> usize {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ends: Vec<usize> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    if let [first, last] = ends[..] { (last + 1).saturating_sub(first) } else { 28_232 }
}

impl Spec {
    fn name(&self) -> &str {
        match self {
            Spec::Stage(name) | Spec::Foreign { name, .. } | Spec::Address { name, .. } => name,
        }
    }

    fn start(&self) -> Result<Live> {
        match self {
            Spec::Stage(line) => {
                let (stage, flags) = words(line)?;
                let server = Server::start(stage, &flags)?;
                wait_for(server.address)?;
                Ok(Live { address: server.address, pid: Some(server.pid()), process: Process::Stage(server) })
            }
            Spec::Foreign { command, .. } => {
                let server = Foreign::start(command, |address| Expected::learn(address).map(|_| ()))?;
                Ok(Live { address: server.address, pid: Some(server.pid()), process: Process::Foreign(server) })
            }
            Spec::Address { name, pid } => {
                let mut found = name.to_socket_addrs().with_context(|| format!("`{name}` is no address: HOST:PORT"))?;
                let address = found.next().with_context(|| format!("`{name}` has no address"))?;
                Ok(Live { address, pid: *pid, process: Process::Elsewhere })
            }
        }
    }
}

/// Until a server that has just been started answers. One that opens more listeners on its port, and closes its first,
/// may reset who comes in that moment.
fn wait_for(address: SocketAddr) -> Result<()> {
    for _ in 0..TRIES {
        if Expected::learn(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Expected::learn(address).map(|_| ())
}

/// How often a server that has just been started is asked whether it is there.
const TRIES: u32 = 100;

/// A stage and its flags.
fn words(line: &str) -> Result<(&str, Vec<&str>)> {
    let mut words = line.split_whitespace();
    let stage = words.next().context("a server has a name")?;
    ensure!(
        catalogue::find(stage).is_some(),
        "there is no stage `{stage}`; `cargo run --bin lab -- list` shows them, and --address takes a server of your own"
    );
    Ok((stage, words.collect()))
}

/// Measures, prints and writes; `false` if there were errors.
///
/// # Errors
/// If something is missing, or a server could not be measured at all.
pub fn run(options: &Options) -> Result<bool> {
    let report = measure(options)?;
    let json = format!("{:#}\n", report::json(&report));
    if let Some(path) = &options.save {
        std::fs::write(path, &json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &options.svg {
        ensure!(!report.rows.is_empty(), "there is nothing to plot without the part `load`");
        std::fs::write(path, plot::svg(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say(&if options.json { json } else { report::text(&report) })?;
    Ok(report.errors() == 0)
}

fn measure(options: &Options) -> Result<Report> {
    let clients = options.clients()?;
    raise_file_limit(options.work.connections)?;
    let mut notes = Vec::new();
    let (mut specs, mut expected) = (Vec::new(), Vec::new());
    for spec in &options.specs {
        match known(spec) {
            Ok(reply) => {
                if !reply.is_constant() {
                    notes.push(format!("{}: its body changes from reply to reply, so none was compared", spec.name()));
                }
                specs.push(spec);
                expected.push(reply);
            }
            Err(error) if options.by_default => notes.push(format!("left out: {}: {error:#}", spec.name())),
            Err(error) => return Err(error.context(spec.name().to_string())),
        }
    }
    ensure!(!specs.is_empty(), "there is no server to measure: {}", notes.join("; "));
    let base = match &options.base {
        None => 0,
        Some(name) => {
            let at = specs.iter().position(|spec| spec.name() == name);
            at.with_context(|| format!("--base {name}: it is none of the servers that are measured"))?
        }
    };
    let subject = |spec: &&Spec| Subject { name: spec.name().to_string(), calls: None, idle: None };
    let mut subjects: Vec<Subject> = specs.iter().map(subject).collect();
    let mut rows = Vec::new();
    if options.wants("load") {
        let row = |subject, client| Row { subject, client, rounds: Vec::new() };
        rows.extend((0..specs.len()).flat_map(|subject| clients.iter().map(move |client| row(subject, *client))));
    }
    let steps = rows.len() * options.rounds
        + specs.len() * (usize::from(options.wants("calls")) + usize::from(options.wants("idle")));
    // Drawn on standard error, and only on a terminal.
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").expect("the template is right"));
    for round in 0..options.rounds {
        let mut order: Vec<&mut Row> = rows.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for row in order {
            let spec = specs[row.subject];
            bar.set_message(format!("round {}: {}, {}", round + 1, spec.name(), row.client.name()));
            let load = measure_round(spec, row.client, options, &expected[row.subject]);
            row.rounds.push(load.with_context(|| format!("{}, {}", spec.name(), row.client.name()))?);
            bar.inc(1);
        }
    }
    for (at, subject) in subjects.iter_mut().enumerate() {
        let name = subject.name.clone();
        if options.wants("calls") {
            bar.set_message(format!("system calls: {name}"));
            let live = specs[at].start().with_context(|| name.clone())?;
            match calls::count(&live, &options.work, &expected[at]) {
                Ok(calls) => subject.calls = Some(calls),
                Err(error) => notes.push(format!("{name}: system calls were not counted: {error:#}")),
            }
            // Who was traced may have been left without a last reply; it ends all the same.
            live.end().with_context(|| name.clone())?;
            bar.inc(1);
        }
        if options.wants("idle") {
            bar.set_message(format!("idle connections: {name}"));
            let live = specs[at].start().with_context(|| name.clone())?;
            subject.idle =
                Some(idle::measure(&live, options.work.connections, &expected[at]).with_context(|| name.clone())?);
            live.end().with_context(|| name.clone())?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let Options { work, seconds, rounds, .. } = *options;
    Ok(Report { work, seconds, rounds, base, both: clients.len() > 1, subjects, rows, notes })
}

/// Starts a server for a moment, and learns what it replies.
fn known(spec: &Spec) -> Result<Expected> {
    if let Spec::Stage(line) = spec {
        beside_this_program(words(line)?.0)?;
    }
    let live = spec.start()?;
    let expected = Expected::learn(live.address)?;
    live.end()?;
    Ok(expected)
}

/// Before each measurement, so that caches, pools and the congestion window are as they are under load.
const WARM_UP: u32 = 1;

fn measure_round(spec: &Spec, client: Client, options: &Options, expected: &Expected) -> Result<Load> {
    let live = spec.start()?;
    let (work, to) = (&options.work, live.address);
    let around = |run: &mut dyn FnMut() -> Result<Load>| {
        let before = live.cpu()?;
        let load = run()?;
        // Below 0 where a descendant has ended since, with all that it had used: then nothing is known.
        let cpu = live.cpu()?.zip(before).map(|(after, before)| after - before).filter(|used| used.total() >= 0.0);
        Ok(Load { cpu, ..load })
    };
    let load = match client {
        Client::Wrk => {
            wrk::run(work, to, WARM_UP)?;
            Sampler::beside(to, expected, || around(&mut || wrk::run(work, to, options.seconds)))?
        }
        Client::Embedded => {
            let mut crowd = Crowd::connect(work, to, expected)?;
            let warm = crowd.ask_for(Duration::from_secs(WARM_UP.into()))?;
            let mut load = around(&mut || crowd.ask_for(Duration::from_secs(options.seconds.into())))?;
            // A connection that failed before the time began has failed all the same.
            load.errors += warm.errors;
            load
        }
    };
    live.end()?;
    if load.requests == 0 {
        bail!("not one request was answered ({:?})", load.errors);
    }
    Ok(load)
}

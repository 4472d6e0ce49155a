//! The command line that all stages share.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};

use super::end::{Format, Trace, read_arguments};
use crate::autopsy::verdicts;
use crate::catalogue::Stage;
use crate::direct::explore::which::Which;
use crate::record::blackbox::MAX_THREADS;
use crate::server::{Flags, Threads};
use crate::world::fault::Fault;
use crate::world::heap::Heap;

/// What the reader asked for.
#[derive(Clone, Debug)]
pub struct Options {
    pub what: What,
    pub workers: usize,
    pub flags: Flags,
    /// See [`super::Server::drain`].
    pub drain: u64,
    pub heap: Option<Heap>,
    pub schedule: Option<PathBuf>,
    pub trace: Option<Trace>,
    pub json: bool,
    pub bare: bool,
    /// With `--serve`: system calls that fail; `None` if not even their calls are counted.
    pub faults: Option<Vec<Fault>>,
    /// The longest wait for a step; `None` for no limit.
    pub limit: Option<Duration>,
}

/// Which of the things a stage can do.
#[derive(Clone, Debug)]
pub enum What {
    Exhibit,
    Wild { rounds: u64, seconds: u64 },
    Repeat(u64),
    Serve(SocketAddr),
    Search(Search),
    Play(Visitors),
}

/// Who comes to a server, where nobody wrote an order.
#[derive(Clone, Debug, Default)]
pub struct Visitors {
    /// What each client does; empty for what those of the stage's own schedule do.
    pub clients: Vec<String>,
    /// Whether somebody tells the server to stop.
    pub stops: bool,
}

/// How to look for an order in which the server fails.
#[derive(Clone, Debug)]
pub struct Search {
    pub which: Which,
    /// The most runs.
    pub runs: u64,
    /// The most seconds.
    pub seconds: u64,
    /// Of the first random order.
    pub seed: u64,
    /// The most delays, and the depth of PCT.
    pub depth: usize,
    pub visitors: Visitors,
    /// Where the order goes that was found.
    pub output: Option<PathBuf>,
}

fn command(stage: &Stage) -> Command {
    let ends = verdicts::case(stage.expect).in_help();
    let server = match stage.threads {
        Threads::Workers => "a reactor and its workers",
        Threads::PerConnection => "a thread for every connection",
        Threads::None => "one thread",
        Threads::Reactors => "several reactors, and one listener for all",
        Threads::Shards => "several reactors, each with a listener of its own",
    };
    let exhibit = format!(
        "Stage {}: {}.\n\nWithout a flag the exhibit runs: the server ({server}) in a process of its \
         own, a client, and a director that lets them move only in the order of {}. How it ends: {ends}. \
         Then comes the autopsy.",
        stage.chapter, stage.title, stage.schedule.path
    );
    let ends = "How it ends (exit status):\n  \
        SIGSEGV, SIGABRT  the server died of it, and this program ends by the same signal (139, 134 in a shell)\n  \
        0   served and ended; or --wild has given its odds, whatever they are; or a broken server \
            survived its order, and one sentence says why\n  \
        1   the verdict of a broken stage that has no signal to die of; or not all runs of --repeat ended as they must\n  \
        2   the command line, a schedule, or the machine: one sentence says what to do\n  \
        3   this cannot happen on this machine; one sentence says why\n  \
        70  the lab itself failed: a panic, a limit reached, a step that never came\n\n\
        Standard output has the report; progress and the C library's own words go to standard error. \
        NO_COLOR is honoured.";
    let command = Command::new(stage.name)
        .about(format!("Stage {}: {}", stage.chapter, stage.title))
        .long_about(exhibit)
        .after_long_help(ends)
        .arg(
            Arg::new("wild")
                .long("wild")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["repeat", "serve", "search", "schedule", "bare", "trace"])
                .help("Nobody directs: play the scenario again and again, and report the odds")
                .long_help(
                    "Nobody directs, and memory is malloc's own: a client plays the scenario with 10 MiB again and \
                     again. A server that dies is started anew. At the end come the odds: rounds survived, and how the \
                     others ended. No core dumps are written.",
                ),
        )
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .requires("wild")
                .value_parser(value_parser!(u64).range(1..))
                .default_value("100")
                .help("With --wild: at most so many rounds"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("S")
                .requires("many")
                .value_parser(value_parser!(u64).range(1..))
                .default_value("20")
                .help("With --wild or --search: at most so many seconds [default with --search: 60]"),
        )
        .args(search())
        .arg(play())
        .group(ArgGroup::new("chosen").args(["search", "play"]))
        .group(ArgGroup::new("many").args(["wild", "search"]))
        .arg(
            Arg::new("repeat")
                .long("repeat")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .conflicts_with_all(["serve", "bare", "trace", "search"])
                .help("Run the exhibit N times, in several environments, and count how it ended")
                .long_help(
                    "Run the exhibit N times, in turn in each of these environments: plain; on one core; with two busy \
                     loops beside it; MALLOC_ARENA_MAX=1; MALLOC_PERTURB_=165; \
                     GLIBC_TUNABLES=glibc.malloc.tcache_count=0; MALLOC_TOP_PAD_=1000000. A table says how the runs ended \
                     and how long they took. Exit status 0 only if all ended as they must. No core dumps are written.",
                ),
        )
        .arg(
            Arg::new("serve")
                .long("serve")
                .value_name("ADDR")
                .value_parser(value_parser!(SocketAddr))
                .conflicts_with_all(["schedule", "search"])
                .help("Only serve, for a client of your own: 127.0.0.1:8080, or port 0 for any")
                .long_help(
                    "Only serve, for a client of your own, until SIGINT or SIGTERM: 127.0.0.1:8080, or port 0 for any. \
                     A second signal ends it at once, with whatever is under way (130, 143 in a shell). Nothing is \
                     recorded, unless --trace or --json asks for it.",
                ),
        )
        .arg(
            Arg::new("fault")
                .long("fault")
                .value_name("CALL:LINE:N:ERRNO")
                .value_parser(|text: &str| if text == "none" { Ok(None) } else { text.parse::<Fault>().map(Some) })
                .action(ArgAction::Append)
                .requires("serve")
                .conflicts_with_all(["trace", "json"])
                .help("With --serve: let a system call fail, the Nth of that line of the stage")
                .long_help(
                    "With --serve: let a system call fail, the Nth of that line of the stage (0 for any line): \
                     `write:154:2:105` is ENOBUFS at the second write of line 154, `write:154:2:short` writes one byte. CALL \
                     is accept, accepted (of a ring), add, modify or delete (epoll_ctl), wait, poll, read, write, listen, \
                     epoll, event, timer, spawn or ring. May be given several times. At the end it says how often each \
                     call was made; with `none` that is all.",
                ),
        )
        .arg(
            Arg::new("schedule")
                .long("schedule")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Direct an order of your own")
                .long_help(format!(
                    "Direct an order of your own. One step a line: a role ({}), the point that it \
                     passes, and where it matters the occurrence (`worker-1 read 2`). A client's steps are `connect`, \
                     `send BYTES`, `receive`, `fin` and `reset`; `client plan GET 3` or `client plan POST 10485760` says \
                     what it has to send in all. The points of this stage: {}. See {} for one.",
                    match stage.threads {
                        Threads::Workers => "client, main, worker-1 ...",
                        Threads::PerConnection => "client, main, and conn-1 for the first connection's thread",
                        Threads::None => "client, main",
                        Threads::Reactors | Threads::Shards => "client, main, reactor-1 ..., or `reactors` for each of them",
                    },
                    match stage.points() {
                        none if none.is_empty() => "those in its source".to_string(),
                        points => points.join(", "),
                    },
                    stage.schedule.path
                )),
        )
        .arg(
            Arg::new("trace")
                .long("trace")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write the run as JSON: roles, points, results, allocations, source lines, the end"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser(["json", "perfetto"])
                .default_value("json")
                .requires("trace")
                .help("With --trace: `json`, the lab's own, or `perfetto`, which https://ui.perfetto.dev opens"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("The report as JSON"))
        .arg(
            Arg::new("bare")
                .long("bare")
                .action(ArgAction::SetTrue)
                .help("One process and no parent, for gdb and valgrind")
                .long_help(
                    "One process and no parent: the server, the director and the client are threads of it. For gdb \
                     and valgrind. If the server dies, so does everything, and there is no report.",
                ),
        )
        .arg(
            Arg::new("heap")
                .long("heap")
                .value_name("HEAP")
                .value_parser(["pages", "malloc"])
                .help(format!("Where the stage's memory comes from [default when directed: {}]", stage.heap.name()))
                .long_help(format!(
                    "Where the memory comes from that the stage frees by hand. `pages`: each block on pages of its own, \
                     and no access once it is freed, so that the first use of it faults. `malloc`: as everybody has it; a \
                     freed block usually stays readable. [default when directed: {}; otherwise malloc]",
                    stage.heap.name()
                )),
        )
        .arg(
            Arg::new("workers")
                .long("workers")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=MAX_THREADS as u64))
                .default_value("4")
                .help(match stage.threads {
                    Threads::Workers => "How many worker threads",
                    Threads::PerConnection => "Of no effect here: there is a thread for every connection",
                    Threads::None => "Of no effect here: there is one thread",
                    Threads::Reactors | Threads::Shards => "How many reactors",
                }),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("S")
                .value_parser(value_parser!(u64))
                .default_value("10")
                .help("Seconds to wait for one step before the lab gives up; 0 for ever; not under a debugger"),
        );
    let has = |flag: fn(&Flags) -> bool| stage.variants.iter().any(|variant| flag(&variant.flags));
    if stage.drains {
        return command.arg(tail()).arg(drain());
    }
    if has(|flags| flags.reuseport) {
        return command.arg(
            Arg::new("reuseport")
                .long("reuseport")
                .action(ArgAction::SetTrue)
                .help("A listener for each reactor (SO_REUSEPORT), not EPOLLEXCLUSIVE on one for all")
                .long_help(
                    "A listener for each reactor on the same port (SO_REUSEPORT), not EPOLLEXCLUSIVE on one for all. The \
                     kernel chooses a listener by a hash of the client's address and port, and wakes its reactor alone. In a \
                     directed run it always chooses the first.",
                ),
        );
    }
    if !has(|flags| flags.level || flags.once) {
        return command;
    }
    command
        .arg(
            Arg::new("level")
                .long("level")
                .action(ArgAction::SetTrue)
                .help("Level-triggered, not edge-triggered")
                .long_help(
                    "Level-triggered, not edge-triggered: a socket is reported for as long as there is something to \
                     read. With --lose-edge too, the same reading survives.",
                ),
        )
        .arg(
            Arg::new("lose-edge")
                .long("lose-edge")
                .action(ArgAction::SetTrue)
                .help("Stop reading before EAGAIN: one read for each event, and the connection hangs")
                .long_help(
                    "Stop reading before EAGAIN: one read for each event. What one read leaves in the socket is not \
                     reported again, and the connection hangs. The lab lets everybody go on until nobody can move, counts \
                     the bytes that wait, and ends with status 1.",
                ),
        )
}

/// `--search`, and what goes with it.
fn search() -> Vec<Arg> {
    let number = |name: &'static str, value, default| {
        Arg::new(name)
            .long(name)
            .value_name(value)
            .requires("search")
            .value_parser(value_parser!(u64))
            .default_value(default)
    };
    vec![
        Arg::new("search")
            .long("search")
            .action(ArgAction::SetTrue)
            .conflicts_with_all(["schedule", "bare"])
            .help("Look for an order in which the server fails, make it shorter, and write it down")
            .long_help(
                "Look for an order in which the server fails: the clients do what they do in the stage's own schedule, and who \
                 goes next is tried out. What is found is made shorter, run 20 times, and written as a schedule. The last line \
                 says what came of it. Exit status 0 if nothing was found, else as for that schedule. No core dumps are written.",
            ),
        Arg::new("strategy")
            .long("strategy")
            .value_name("NAME")
            .requires("search")
            .value_parser(Which::all().map(|(name, _)| name).collect::<Vec<_>>())
            .default_value("several")
            .help("With --search: how the orders are chosen")
            .long_help(
                "With --search: how the orders are chosen. `delays`: a calm run, in which whoever moves goes on until it cannot; \
                 then the same run with somebody delayed at one point, for each of its points; then at two, and so on up to \
                 --depth. Random orders: `random` (each choice for itself), `pct` (random priorities, which change at a few \
                 points), `pos` (random priorities of steps), `surw` (by the steps that are left). `several`: all single \
                 delays, and then pairs of them and random orders in turn.",
            ),
        number("runs", "N", "300")
            .value_parser(value_parser!(u64).range(1..))
            .help("With --search: at most so many runs"),
        number("seed", "S", "1")
            .help("With --search: the seed of the first random order; the next has the next")
            .long_help(
                "With --search: the seed of the first random order; the next has the next. The same seed gives the same order: \
                 `--strategy pct --seed 17 --runs 1` is that run.",
            ),
        number("depth", "D", "2")
            .value_parser(value_parser!(u64).range(1..=8))
            .help("With --search: at most so many delays, and for `pct` one priority less that changes"),
        Arg::new("client")
            .long("client")
            .value_name("STEPS")
            .requires("chosen")
            .action(ArgAction::Append)
            .help("With --search or --play: what a client does, as \"plan GET 2; send 58; receive\"; once for each client")
            .long_help(
                "With --search or --play: what a client does, as \"plan GET 2; send 29; send 29; receive\", instead of what those of the \
                 stage's own schedule do. Its steps are those of a schedule, and it connects first. May be given for up to three \
                 clients.",
            ),
        Arg::new("stop")
            .long("stop")
            .action(ArgAction::SetTrue)
            .requires("client")
            .help("With --client: somebody tells the server to stop, at any moment"),
        Arg::new("output")
            .long("output")
            .value_name("FILE")
            .requires("search")
            .value_parser(value_parser!(PathBuf))
            .help("With --search: where the order goes that was found [default: a new file in this folder]"),
    ]
}

/// `--play`.
fn play() -> Arg {
    Arg::new("play")
        .long("play")
        .action(ArgAction::SetTrue)
        .conflicts_with_all(["wild", "repeat", "serve", "search", "schedule", "bare", "json"])
        .help("You are the scheduler: say who goes next, and make it break")
        .long_help(
            "You are the scheduler. Whenever everybody stands, the screen shows the lanes so far, who could move, where each \
             stands and what comes there, and who waits for what; a number lets one of them go on. `u` takes a choice back, `h` \
             gives a hint, `s` writes the order to a file, `a` lets the rest run, `?` explains the keys. The clients do what they \
             do in the stage's own schedule. Without a terminal, choices are read from standard input, and when there are no more \
             the rest runs calmly. Exit status as for that schedule; 0 if you leave before the end. No core dumps are written.",
        )
}

fn visitors(matches: &ArgMatches) -> Visitors {
    let clients = matches.get_many("client").into_iter().flatten().cloned().collect();
    Visitors { clients, stops: matches.get_flag("stop") }
}

fn by_default(matches: &ArgMatches, name: &str) -> bool {
    matches.value_source(name) == Some(ValueSource::DefaultValue)
}

/// How many cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS))
}

/// The other exhibit of stage 7.
fn tail() -> Arg {
    Arg::new("tail")
        .long("tail")
        .action(ArgAction::SetTrue)
        .help("The other exhibit: a client that sends its last bytes and hangs up")
        .long_help(
            "The other exhibit: a client sends a request and closes its sending side, and both are there when the reactor \
             looks. The server is the same; with --wild, --repeat or --schedule this flag chooses the client.",
        )
}

/// The limit of stage 7.
fn drain() -> Arg {
    Arg::new("drain")
        .long("drain")
        .value_name("MS")
        .value_parser(value_parser!(u64))
        .default_value("5000")
        .help("Told to stop: milliseconds for the sessions that are open; 0 for none")
        .long_help(
            "Told to stop, the server takes nobody new, answers what is under way, and waits so many milliseconds for its \
             clients to come to their end. Who is left then is cut, and the report says what that loses. 0 for no time at all.",
        )
}

/// Reads the command line; on a mistake, says so and ends with status 2.
pub fn parse(stage: &Stage, arguments: impl IntoIterator<Item = OsString>) -> Options {
    let matches = read_arguments(command(stage), arguments);
    let number = |matches: &ArgMatches, name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let what = if matches.get_flag("wild") {
        What::Wild { rounds: number(&matches, "rounds"), seconds: number(&matches, "seconds") }
    } else if let Some(times) = matches.get_one("repeat") {
        What::Repeat(*times)
    } else if let Some(address) = matches.get_one("serve") {
        What::Serve(*address)
    } else if matches.get_flag("search") {
        let name = matches.get_one::<String>("strategy").expect("it has a default");
        let which = Which::all().find(|(known, _)| known == name).expect("no other is taken").1;
        What::Search(Search {
            which,
            runs: number(&matches, "runs"),
            seconds: if by_default(&matches, "seconds") { 60 } else { number(&matches, "seconds") },
            seed: number(&matches, "seed"),
            depth: number(&matches, "depth") as usize,
            visitors: visitors(&matches),
            output: matches.get_one("output").cloned(),
        })
    } else if matches.get_flag("play") {
        What::Play(visitors(&matches))
    } else {
        What::Exhibit
    };
    // Not every stage has each of them.
    let has = |name: &str| matches.ids().any(|id| id == name);
    let flag = |name: &str| has(name) && matches.get_flag(name);
    let flags =
        Flags { level: flag("level"), once: flag("lose-edge"), tail: flag("tail"), reuseport: flag("reuseport") };
    Options {
        flags,
        workers: match &what {
            // Nobody directs, so there is no order that counts on a number of them.
            What::Serve(_) if stage.threads == Threads::Shards && by_default(&matches, "workers") => cores(),
            // The fewer there are, the fewer orders; and one beside another is enough for a race.
            What::Search(_) | What::Play(_) if by_default(&matches, "workers") => 2,
            _ => number(&matches, "workers") as usize,
        },
        what,
        drain: if has("drain") { number(&matches, "drain") } else { 0 },
        heap: matches.get_one::<String>("heap").map(|name| match name.as_str() {
            "pages" => Heap::Pages,
            _ => Heap::Malloc,
        }),
        schedule: matches.get_one("schedule").cloned(),
        trace: matches.get_one("trace").cloned().map(|path| Trace {
            path,
            format: match matches.get_one::<String>("format").map(String::as_str) {
                Some("perfetto") => Format::Perfetto,
                _ => Format::Json,
            },
        }),
        json: matches.get_flag("json"),
        bare: matches.get_flag("bare"),
        faults: matches.get_many::<Option<Fault>>("fault").map(|faults| faults.flatten().copied().collect()),
        limit: Some(number(&matches, "limit")).filter(|s| *s > 0).map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests;

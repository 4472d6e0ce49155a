//! What the chapter "The load" shows: tables of `lab bench`. They are different every time, and take a quiet machine
//! and some ten minutes, so they are recorded apart:
//!
//! ```text
//! LAB_RECORD=load cargo test --test book the_load
//! LAB_RECORD=load LAB_ONLY=bench_clients cargo test --test book the_load
//! ```
//!
//! So are the soaks of "On your machine", which take ten minutes: `LAB_RECORD=soak`.

use std::process::Stdio;
use std::sync::OnceLock;

use lab::catalogue;

use crate::{binary, command, read, recordings, root};

/// Stages that serve as many clients as come, if they are there.
const SERVERS: [&str; 5] = ["stage2_reactor", "stage4_fixed", "stage8_fixed", "stage9_sharded", "stage10_uring"];

/// A recording: its name, which servers, and the rest of the command.
struct Table {
    name: &'static str,
    servers: Servers,
    /// Of other people, or started in another way: `NAME=COMMAND`.
    others: &'static [&'static str],
    /// Where the client may run: `taskset -c` and this.
    cores: Option<&'static str>,
    flags: &'static str,
}

/// The peers of the chapter "Where the time goes", which has the command that builds them.
const PEERS: [&str; 2] =
    ["epoll-floor=target/peers/release/floor {port}", "monoio=target/peers/release/hello_monoio {port}"];

/// The least that a server on io_uring can do, and the same with what is said to be quicker.
const RINGS: [&str; 6] = [
    "ring=target/peers/release/ring_floor {port}",
    "plain=target/peers/release/ring_floor {port} plain",
    "direct=target/peers/release/ring_floor {port} direct",
    "skip=target/peers/release/ring_floor {port} skip",
    "registered=target/peers/release/ring_floor {port} registered",
    "reno=target/peers/release/ring_floor {port} reno",
];

/// The same, and how it waits.
const WAITS: [&str; 3] = [
    "ring=target/peers/release/ring_floor {port}",
    "linger=target/peers/release/ring_floor {port} linger",
    "yield=target/peers/release/ring_floor {port} yield",
];

/// One reactor each, on a core of its own.
const ALONE: [&str; 3] = [
    "epoll-floor=taskset -c 0 target/peers/release/floor {port}",
    "stage9_sharded=taskset -c 0 target/release/stage9_sharded --workers 1 --serve 127.0.0.1:{port}",
    "stage10_uring=taskset -c 0 target/release/stage10_uring --workers 1 --serve 127.0.0.1:{port}",
];

/// What the calls of a request take when nobody else is there.
pub const BARE: &str = "bare";
const BARE_LINE: &str = "target/peers/release/bare";

/// The servers that were kept under a mixed load, for so many seconds.
const SOAKS: [(&str, &str, u64); 2] = [("soak_stage9", "stage9_sharded", 600), ("soak_stage10", "stage10_uring", 600)];

const STAGES_9_AND_10: Servers = Servers::These(&["stage9_sharded", "stage10_uring"]);

enum Servers {
    /// A thread per connection too.
    All,
    Many,
    These(&'static [&'static str]),
}

const TABLES: [Table; 12] = [
    Table {
        name: "bench_1000",
        servers: Servers::All,
        others: &[],
        cores: None,
        flags: "--base stage4_fixed --connections 1000 --rounds 7 --seconds 3 --parts load,calls \
                --save chapters/load/1000.json --svg chapters/load/1000.svg",
    },
    Table {
        name: "bench_10000",
        servers: Servers::Many,
        others: &[],
        cores: None,
        flags: "--base stage4_fixed --connections 10000 --client embedded --rounds 7 --seconds 3 --parts load",
    },
    Table {
        name: "bench_c10k",
        servers: Servers::Many,
        others: &[],
        cores: None,
        flags: "--connections 10000 --parts idle",
    },
    Table {
        name: "bench_safety",
        servers: Servers::These(&["stage4_fixed", "stage4_handoff"]),
        others: &[],
        cores: None,
        flags: "--connections 1000 --rounds 9 --seconds 2 --parts load",
    },
    Table {
        name: "bench_clients",
        servers: Servers::These(&["stage2_reactor", "stage4_fixed"]),
        others: &[],
        cores: None,
        flags: "--client both --connections 64 --rounds 9 --seconds 2 --parts load",
    },
    Table {
        name: "peers_1000",
        servers: STAGES_9_AND_10,
        others: &PEERS,
        cores: None,
        flags: "--base epoll-floor --connections 1000 --rounds 15 --seconds 3 --parts load",
    },
    Table {
        name: "peers_64",
        servers: STAGES_9_AND_10,
        others: &PEERS,
        cores: None,
        flags: "--base epoll-floor --connections 64 --rounds 15 --seconds 3 --parts load",
    },
    Table {
        name: "peers_pipelined",
        servers: STAGES_9_AND_10,
        others: &PEERS,
        cores: None,
        flags: "--base epoll-floor --connections 64 --pipeline 16 --rounds 15 --seconds 3 --parts load",
    },
    Table {
        name: "peers_apart",
        servers: Servers::These(&[]),
        others: &ALONE,
        cores: Some("1"),
        flags: "--connections 1000 --threads 1 --rounds 9 --seconds 3 --parts load",
    },
    Table {
        name: "ring_flags",
        servers: Servers::These(&[]),
        others: &RINGS,
        cores: None,
        flags: "--base ring --connections 1000 --rounds 11 --seconds 3 --parts load",
    },
    Table {
        name: "ring_waits_64",
        servers: Servers::These(&[]),
        others: &WAITS,
        cores: None,
        flags: "--base ring --connections 64 --rounds 25 --seconds 2 --parts load",
    },
    Table {
        name: "ring_waits_1000",
        servers: Servers::These(&[]),
        others: &WAITS,
        cores: None,
        flags: "--base ring --connections 1000 --rounds 11 --seconds 3 --parts load",
    },
];

impl Table {
    fn servers(&self) -> Vec<&'static str> {
        let many = SERVERS.into_iter().filter(|name| catalogue::find(name).is_some());
        match self.servers {
            Servers::All => std::iter::once("stage1_blocking").chain(many).collect(),
            Servers::Many => many.collect(),
            Servers::These(names) => names.to_vec(),
        }
    }

    /// What its rows are called.
    fn names(&self) -> Vec<&'static str> {
        let others = self.others.iter().map(|other| other.split_once('=').expect("it is NAME=COMMAND").0);
        self.servers().into_iter().chain(others).collect()
    }

    /// The arguments of `lab`.
    fn arguments(&self) -> Vec<&'static str> {
        let others = self.others.iter().flat_map(|other| ["--start", other]);
        ["bench"].into_iter().chain(self.servers()).chain(others).chain(self.flags.split(' ')).collect()
    }

    /// The command that a reader types.
    fn line(&self) -> String {
        let quoted = |word: &str| if word.contains(' ') { format!("'{word}'") } else { word.to_string() };
        let arguments = self.arguments().into_iter().map(quoted).collect::<Vec<_>>().join(" ");
        let cores = self.cores.map_or(String::new(), |cores| format!("taskset -c {cores} "));
        format!("{cores}cargo run --release --features {} --bin lab -- {arguments}", features(&self.names()))
    }

    fn record(&self) {
        let program = binary("lab").with_file_name("../release/lab");
        let mut run = match self.cores {
            None => command(program),
            Some(cores) => {
                let mut run = command("taskset");
                run.args(["-c", cores]).arg(program);
                run
            }
        };
        let output = run.args(self.arguments()).output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        // Status 1: measured, with errors. The test below finds them in the table.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {} {said}", self.name, output.status);
        let text = String::from_utf8(output.stdout).expect("it prints text");
        recordings::write(self.name, &format!("{text}\ntaken by {}\non a {}\n", self.line(), recordings::machine()));
    }
}

/// The features that a bench of these servers needs.
fn features(servers: &[&str]) -> &'static str {
    if servers.contains(&"stage10_uring") { "bench,uring" } else { "bench" }
}

/// The names of the tables.
pub fn names() -> impl Iterator<Item = String> {
    TABLES.iter().map(|table| table.name.to_string())
}

/// The names of the soaks.
pub fn soaks() -> impl Iterator<Item = String> {
    SOAKS.iter().map(|(name, ..)| name.to_string())
}

fn soak_line(stage: &str, seconds: u64) -> String {
    format!("cargo run --release --features uring --bin lab -- soak --stage {stage} --seconds {seconds}")
}

/// Side by side, since they are long.
fn record_soaks(wanted: impl Fn(&str) -> bool) {
    let program = binary("lab").with_file_name("../release/lab");
    let start = |(name, stage, seconds): &(&'static str, &'static str, u64)| {
        let mut run = command(&program);
        run.args(["soak", "--stage", stage, "--seconds", &seconds.to_string()]).stdout(Stdio::piped());
        (*name, soak_line(stage, *seconds), run.spawn().expect("the program runs"))
    };
    let started: Vec<_> = SOAKS.iter().filter(|(name, ..)| wanted(name)).map(start).collect();
    for (name, line, run) in started {
        let output = run.wait_with_output().expect("it ends");
        // Status 1: something was wrong. The test below finds it in the recording.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{name}: {}", output.status);
        let text = String::from_utf8(output.stdout).expect("it prints text");
        recordings::write(name, &format!("{text}\ntaken by {line}\non a {}\n", recordings::machine()));
    }
}

/// With `LAB_RECORD=load`, measures anew; with `LAB_RECORD=soak`, the soaks.
pub fn ready() {
    static RECORDED: OnceLock<()> = OnceLock::new();
    let wanted = std::env::var("LAB_RECORD").unwrap_or_default();
    if !["load", "soak"].contains(&wanted.as_str()) {
        return;
    }
    RECORDED.get_or_init(|| {
        let needed = TABLES.iter().map(|table| features(&table.names()));
        let needed = needed.max_by_key(|features| features.len()).unwrap_or("bench");
        let built = command(env!("CARGO")).args(["build", "--release", "--bins", "--features", needed]).status();
        assert!(built.expect("cargo runs").success(), "the release build is there");
        let only = std::env::var("LAB_ONLY").ok();
        let is_wanted = |name: &str| only.as_ref().is_none_or(|only| only == name);
        if wanted == "soak" {
            return record_soaks(is_wanted);
        }
        TABLES.iter().filter(|table| is_wanted(table.name)).for_each(Table::record);
        if is_wanted(BARE) {
            let output = command(root().join(BARE_LINE)).output().expect("the peers are built");
            let text = String::from_utf8(output.stdout).expect("it prints text");
            recordings::write(BARE, &format!("{text}\ntaken by {BARE_LINE}\non a {}\n", recordings::machine()));
        }
    });
}

fn numbers(line: &str) -> Vec<String> {
    let is_number = |word: &&str| word.chars().all(|c| c.is_ascii_digit() || c == ',') && *word != ",";
    line.split_whitespace().filter(is_number).map(|word| word.replace(',', "")).collect()
}

/// The rows of a part of a table: from the line that begins with `title` to the next empty line.
fn part<'a>(text: &'a str, title: &str) -> Vec<&'a str> {
    let from = text.lines().skip_while(|line| !line.trim_start().starts_with(title)).skip(1);
    from.take_while(|line| !line.is_empty()).collect()
}

#[test]
fn the_load_was_measured_without_an_error_and_says_where() {
    ready();
    for table in TABLES {
        let (name, text) = (table.name, read(&format!("chapters/recorded/{}.txt", table.name)));
        let unfolded = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&format!("\ntaken by {}\non a ", table.line())), "{name}: not by this command");
        assert!(
            text.lines().filter(|line| !line.starts_with("taken by ")).all(|line| line.chars().count() <= 100),
            "{name}"
        );
        for server in table.names() {
            let row = |title: &str| {
                let rows = part(&text, title).into_iter();
                rows.filter(|row| row.split([' ', ',']).any(|word| word == server)).collect::<Vec<_>>()
            };
            if table.flags.contains("load") {
                for row in row("latency in ms") {
                    let counts = numbers(row);
                    let [.., errors, compared] = &counts[..] else { panic!("{name}: {row}") };
                    assert_eq!(errors, "0", "{name}: {row}");
                    assert_ne!(compared, "0", "{name}: {row}");
                }
                assert!(!row("requests/s").is_empty() && !row("requests per CPU").is_empty(), "{name}: {server}");
            }
            if table.flags.contains("calls") {
                assert_eq!(row("system calls per request").len(), 1, "{name}: {server}");
            }
            if table.flags.contains("idle") {
                assert_eq!(row("idle connections").len(), 1, "{name}: {server}");
                assert_eq!(numbers(row("idle connections")[0])[..2], ["10000", "10000"], "{name}: all served");
            }
            if name == "bench_clients" {
                // Nine rounds may be too few to say that they agree, and must not say that they do not.
                let verdict = format!("embedded client agrees with wrk to within 5% on {server}: ");
                assert!(unfolded.contains(&verdict), "{name}: {verdict}");
            }
        }
        assert!(!text.contains("left out"), "{name}: a server was left out");
    }
}

/// What is not as it must be in what a soak of `stage` for so long has printed.
fn wrong_in_soak(text: &str, stage: &str, seconds: u64) -> Vec<&'static str> {
    let number = |line: &str| numbers(line).first().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    // It ends with the first look after that time.
    let long = text.lines().next().is_some_and(|line| {
        line.strip_prefix(&format!("{stage}, "))
            .is_some_and(|rest| (seconds..=seconds + seconds / 20).contains(&number(rest)))
    });
    let row = |what: &str| text.lines().find(|line| line.contains(what)).map_or(0, number);
    let manners = ["one by one", "at once", "an upload", "a FIN", "an RST", "nothing said", "half a head", "read late"];
    [
        (long, "the time"),
        (manners.into_iter().all(|manner| row(manner) > 0), "a kind of client"),
        (row(" replies, ") > 0, "the replies"),
        (text.contains("\n  nothing wrong\n") && !text.contains("WRONG"), "the verdict"),
        (text.contains(&format!("\ntaken by {}\non a ", soak_line(stage, seconds))), "the command"),
    ]
    .into_iter()
    .filter_map(|(is_right, what)| (!is_right).then_some(what))
    .collect()
}

#[test]
fn the_load_for_long_left_nothing_behind() {
    ready();
    for (name, stage, seconds) in SOAKS {
        let text = read(&format!("chapters/recorded/{name}.txt"));
        assert_eq!(wrong_in_soak(&text, stage, seconds), [""; 0], "{name}");
        let replies = text.lines().find(|line| line.contains(" replies, ")).expect("the count");
        for (planted, wrong) in [
            (text.replace("nothing wrong", "WRONG: descriptor 14 is left: socket:[7]"), "the verdict"),
            (text.replace(&format!("--seconds {seconds}"), "--seconds 60"), "the command"),
            (text.replacen(", ", ", 1", 1), "the time"),
            (text.replacen(", 6", ", ", 1), "the time"),
            (text.replace("an RST in the middle", "an RST"), ""),
            (text.replace("half a head", "a whole head"), "a kind of client"),
            (text.replace(replies, "  0 replies, 0 bytes, each compared"), "the replies"),
        ] {
            let expected: Vec<&str> = [wrong].into_iter().filter(|wrong| !wrong.is_empty()).collect();
            assert_eq!(wrong_in_soak(&planted, stage, seconds), expected, "{name}");
        }
    }
}

#[test]
fn the_plot_is_of_the_run_that_the_table_is_of() {
    ready();
    let report: serde_json::Value = serde_json::from_str(&read("chapters/load/1000.json")).expect("it is JSON");
    let (table, plot) = (read("chapters/recorded/bench_1000.txt"), read("chapters/load/1000.svg"));
    let rows = report["load"].as_array().expect("rows");
    assert!(!rows.is_empty() && report["errors"] == 0);
    for row in rows {
        let median = row["requests_per_second"]["median"].as_f64().expect("a median");
        let median = lab::words::thousands(median.round() as u64);
        let server = row["server"].as_str().expect("a name");
        let shown = part(&table, "requests/s").into_iter().any(|line| line.contains(server) && line.contains(&median));
        assert!(shown, "{server}: {median} is not in the table");
        assert!(plot.contains(&format!(">{median}</text>")) && plot.contains(&format!(">{server}</text>")), "{server}");
    }
    assert!(root().join("chapters/load/1000.svg").is_file());
}

/// Where the microseconds of a request go, to scale: what each server uses for one with 1,000 connections, and of the
/// kernel's part of stage 9 what the two calls take when nobody else is there.
fn drawing() -> String {
    let (run, bare) = (read("chapters/recorded/peers_1000.txt"), read("chapters/recorded/bare.txt"));
    let of = |line: &str| -> Vec<u64> {
        numbers(line).iter().map(|number| number.parse().expect("it was told from a word")).collect()
    };
    let call = |name: &str| of(bare.lines().find(|line| line.starts_with(name)).expect("it was measured"))[0];
    let (recv, send) = (call("the server's recv"), call("the server's send"));
    let mut bars = Vec::new();
    for line in part(&run, "CPU per request in ns") {
        let name = line.split_whitespace().next().expect("a server");
        let [user, kernel] = of(line)[..] else { panic!("{line}") };
        bars.push((
            name,
            match name {
                "stage9_sharded" => {
                    vec![("user", user), ("recv", recv), ("send", send), ("the rest", kernel - recv - send)]
                }
                _ => vec![("user", user), ("kernel", kernel)],
            },
        ));
    }
    let longest = bars.iter().map(|(_, parts)| parts.iter().map(|part| part.1).sum::<u64>()).max().expect("a bar");
    let mut said = Vec::new();
    let mut shapes = String::new();
    for (at, (name, parts)) in bars.iter().enumerate() {
        let (top, mut left) = (at * 62, 4.0);
        shapes += &format!("  <text class=\"name\" x=\"4\" y=\"{}\">{name}</text>\n", top + 14);
        for (at, (_, ns)) in parts.iter().enumerate() {
            let (class, wide) = (if at == 0 { " class=\"full\"" } else { "" }, *ns as f64 * 352.0 / longest as f64);
            let place = format!("x=\"{left:.1}\" y=\"{}\" width=\"{wide:.1}\"", top + 20);
            shapes += &format!("  <rect{class} {place} height=\"16\"/>\n");
            left += wide;
        }
        let words: Vec<String> =
            parts.iter().map(|(name, ns)| format!("{name} {}", lab::words::thousands(*ns))).collect();
        shapes += &format!("  <text x=\"4\" y=\"{}\">{} ns</text>\n", top + 50, words.join(", "));
        said.push(format!("{name}: {} ns", words.join(", ")));
    }
    format!(
        "<svg class=\"drawing\" role=\"img\" viewBox=\"0 0 360 {}\" aria-labelledby=\"limit-request-title\" \
         aria-describedby=\"limit-request-desc\">\n  <title id=\"limit-request-title\">Where a request's nanoseconds \
         go</title>\n  <desc id=\"limit-request-desc\">{}.</desc>\n{shapes}</svg>\n",
        bars.len() * 62,
        said.join(". ")
    )
}

#[test]
fn the_drawing_of_a_request_is_of_the_recordings() {
    ready();
    let path = root().join("chapters/drawings/limit_request.svg");
    if std::env::var("LAB_RECORD").is_ok_and(|wanted| ["load", "tables"].contains(&wanted.as_str())) {
        std::fs::write(&path, drawing()).expect("it can be written");
    }
    assert_eq!(std::fs::read_to_string(path).expect("it is there"), drawing());
}

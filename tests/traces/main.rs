//! The traces that the book's player plays: recorded from real runs, with the state of the world after each row.
//!
//! `LAB_RECORD=1 cargo test --test traces` writes them anew; without it, a recording that no longer matches what the
//! binary does is a failure.

mod herd;
mod state;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lab::catalogue::{self, Stage, Verdict};
use serde_json::{Value, json};
use state::World;

/// A run to be played.
struct Played {
    /// The name of its recording.
    name: String,
    exhibit: &'static Stage,
    /// The order, if it is not the built-in one: what loom found, on the real kernel.
    schedule: Option<String>,
}

/// The runs that the chapters play, of all that could be.
fn played() -> Vec<Played> {
    let shown = shown();
    let runs = catalogue::exhibits().flat_map(|exhibit| {
        let (name, found) = (exhibit.file_name(), format!("loom_{}", exhibit.file_name()));
        let order = format!("chapters/exercises/{found}.schedule");
        [Played { name, exhibit, schedule: None }, Played { name: found, exhibit, schedule: Some(order) }]
    });
    let played: Vec<_> = runs.filter(|run| shown.contains(&run.name)).collect();
    let known: BTreeSet<_> = played.iter().map(|run| run.name.clone()).collect();
    assert_eq!(known, shown, "a chapter plays what no exhibit is");
    played
}

/// The names of the recordings that a player in a chapter asks for.
fn shown() -> BTreeSet<String> {
    named_after("data-trace=\"", ".js\"")
}

/// The stages whose source a player or a game shows, or whose lines a page numbers.
fn sources() -> BTreeSet<String> {
    let programs = played().into_iter().map(|run| run.exhibit.program().to_string());
    let graphs = named_after("data-graphs=\"", ".game.js").into_iter().chain(named_after(".game.js ", ".game.js\""));
    let numbered =
        named_after("data-sources=\"", ".source.js").into_iter().chain(named_after(".source.js ", ".source.js\""));
    programs.chain(graphs).chain(numbered).collect()
}

/// What the chapters say between `before`, with the folder of the traces, and `after`.
fn named_after(before: &str, after: &str) -> BTreeSet<String> {
    let before = format!("{before}traces/");
    let files = std::fs::read_dir(root().join("chapters")).expect("the chapters are there");
    let pages = files.map(|file| file.expect("a file").path()).filter(|path| path.extension() == Some("md".as_ref()));
    let texts: Vec<_> = pages.map(|path| std::fs::read_to_string(path).expect("a page is text")).collect();
    let names = texts.iter().flat_map(|text| text.split(&before).skip(1));
    names.filter_map(|rest| Some(rest.split_once(after)?.0.to_string())).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs an exhibit: its autopsy, and its trace.
fn record(played: &Played) -> (Value, Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("trace.json");
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name(played.exhibit.program()));
    command.args(played.exhibit.flags()).arg("--json").arg("--trace").arg(&trace);
    if let Some(schedule) = &played.schedule {
        command.arg("--workers=2").arg("--schedule").arg(root().join(schedule));
    }
    let output = command.output().expect("the stage runs");
    let autopsy = serde_json::from_slice(&output.stdout).expect("the autopsy is JSON");
    let text = std::fs::read_to_string(&trace).expect("the trace was written");
    (autopsy, serde_json::from_str(&text).expect("the trace is JSON"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What the player shows: the rows of the autopsy, up to the end of the schedule (what comes after it is in no order).
fn play(stage: &str, autopsy: &Value, trace: &Value) -> Value {
    let records = trace["records"].as_array().expect("there are records");
    let all = autopsy["rows"].as_array().expect("there are rows");
    let directed = all.iter().position(|row| row["role"].is_null()).unwrap_or(all.len());
    let path = format!("lab/stages/{stage}.rs");
    let mut rows = Vec::new();
    let mut world = World::new(records);
    let mut told = 0;
    let number = |value: &Value, key: &str| value[key].as_u64();
    for (at, row) in all[..directed].iter().enumerate() {
        // A row stands for its record and for those up to the next row's, or up to where somebody comes to a point.
        let own = number(row, "record");
        let next = all[at + 1..].iter().find_map(|row| number(row, "record")).unwrap_or(u64::MAX);
        while own.is_some() && told < records.len() {
            let record = &records[told];
            let after = number(record, "number") > own;
            if after && (number(record, "number") >= Some(next) || matches!(text(&record["kind"]), "step" | "point")) {
                break;
            }
            world.tell(record);
            told += 1;
        }
        let line = own.and_then(|own| line(records, own, &path));
        rows.push(json!([row["step"], row["role"], row["text"], row["mark"], line, world.panel(), world.arrows()]));
    }
    let steps = autopsy["steps"].as_array().expect("there are steps");
    let seen = |step: &&Value| !all[..directed].iter().any(|row| row["step"] == step["number"]);
    if directed < all.len() {
        // The last step's first visible deed may lie after the end of the schedule; its point does not.
        for step in steps.iter().filter(seen) {
            let of_it = |record: &&Value| record["kind"] == "step" && record["step"] == step["number"];
            let from = records.iter().position(|record| of_it(&record)).unwrap_or(0);
            let point = records[from..].iter().find(|r| r["kind"] == "point" && r["role"] == step["role"]);
            let line = point.map(|point| point["line"].clone());
            rows.push(json!([step["number"], step["role"], step["what"], null, line, world.panel(), world.arrows()]));
        }
        let stopped = autopsy["client"]["sent"] == 0;
        let herd = autopsy["herd"].as_array().into_iter().flatten();
        let in_vain = herd.clone().filter(|reactor| reactor["empty"] != 0).count();
        let herded = format!(
            "the schedule is over; the client is served, and {in_vain} of {} reactors were woken for nothing",
            herd.count()
        );
        let (end, mark) = match autopsy["hang"].is_null() {
            _ if in_vain > 0 => (herded.as_str(), Some("a herd")),
            _ if !autopsy["misdelivery"].is_null() => {
                ("the schedule is over; the second client has what was made for the first", None)
            }
            _ if !autopsy["stuck"].is_null() => (
                "the schedule is over; nobody is left who could wake anybody: the server never stops",
                Some("never stops"),
            ),
            _ if !autopsy["loss"].is_null() => (
                "the schedule is over; the server has closed with bytes unread, and the client gets no reply",
                Some("lost"),
            ),
            true if stopped => ("the schedule is over; everybody goes on, and the server stops", None),
            true => ("the schedule is over; everybody goes on, and the client is served to the end", None),
            false => ("the schedule is over; nobody can go on, and the client waits for its reply", Some("hangs")),
        };
        if mark == Some("lost") {
            // What was lost, and with what: of the rest, only that is in the same order every time.
            let gone = |record: &&Value| matches!(text(&record["kind"]), "free" | "close");
            records[told..].iter().filter(gone).for_each(|record| world.tell(record));
        }
        rows.push(json!([null, null, end, mark, null, world.panel(), world.arrows()]));
    }
    let lanes = |role: &&Value| rows.iter().any(|row| row[1] == **role);
    let roles: Vec<_> = trace["roles"].as_array().expect("there are roles").iter().filter(lanes).collect();
    json!({
        "stage": stage,
        "title": trace["title"],
        "signal": trace["ending"]["signal"],
        "roles": roles,
        "sections": world.sections(),
        "file": path,
        "rows": rows,
        "flows": flows(&all[..directed], trace),
    })
}

/// What leads from one row to a later one: both, counted from 0, and what it is called.
fn flows(rows: &[Value], trace: &Value) -> Vec<Value> {
    let records = trace["records"].as_array().expect("there are records");
    let role = |number: &Value| records.iter().find(|record| record["number"] == *number).map(|record| &record["role"]);
    let of = |flow: &Value| {
        let to = rows.iter().position(|row| row["record"] == flow["to"])?;
        // An unlock that nobody waits for has no row: it follows what its role did last.
        let before = |row: &Value| row["record"].as_u64().is_some_and(|at| at <= flow["from"].as_u64().unwrap_or(0));
        let from = rows.iter().rposition(|row| before(row) && Some(&row["role"]) == role(&flow["from"]))?;
        Some(json!([from, to, flow["name"]]))
    };
    trace["flows"].as_array().expect("there are flows").iter().filter_map(of).collect()
}

/// The line of the stage's file at which a record was made.
fn line(records: &[Value], number: u64, path: &str) -> Option<u64> {
    let at = records.iter().position(|record| record["number"] == number)?;
    let mut record = &records[at];
    if record["kind"] == "step" {
        // Nothing was seen of the step but its point, which its role passes when the director has let it go.
        let points = |next: &&Value| next["kind"] == "point" && next["role"] == record["role"];
        record = records[at..].iter().find(points)?;
    }
    record["line"].as_u64().filter(|_| record["file"] == path)
}

/// One value a line where it matters, so that a change is easy to read.
fn script(name: &str, value: &Value) -> String {
    let mut text = format!("labData({}, {{\n", json!(name));
    let object = value.as_object().expect("an object");
    for (key, value) in object {
        match value {
            Value::Array(items) if items.len() > 4 => {
                let items: Vec<_> = items.iter().map(Value::to_string).collect();
                text += &format!("{}:[\n{}\n],\n", json!(key), items.join(",\n"));
            }
            _ => text += &format!("{}:{value},\n", json!(key)),
        }
    }
    text + "});\n"
}

/// Descriptors have the numbers that were free when the server began.
fn normalised(script: &str) -> String {
    let mut out = String::new();
    for part in script.split_inclusive("fd ") {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        out += if out.ends_with("fd ") { &part[digits..] } else { part };
    }
    out
}

fn recording(stage: &str) -> PathBuf {
    root().join("chapters/traces").join(format!("{stage}.js"))
}

/// The source of a stage, or of its C++ twin (`cpp_` and its name), as a script: a file of its own, since several traces
/// and a graph have the same one.
fn source(stage: &str) -> String {
    let file = match stage.strip_prefix("cpp_") {
        Some(twin) => format!("chapters/cpp/{twin}.cpp"),
        None => format!("lab/stages/{stage}.rs"),
    };
    let text = std::fs::read_to_string(root().join(file)).expect("a stage has a source");
    let lines: Vec<_> = text.lines().map(|line| json!(line).to_string()).collect();
    format!("labData({}, [\n{}\n]);\n", json!(format!("{stage}.source")), lines.join(",\n"))
}

/// The trace of each run that is played. With `LAB_RECORD` they are written, before any test looks at one.
fn traces() -> &'static [(String, String)] {
    static TRACES: OnceLock<Vec<(String, String)>> = OnceLock::new();
    TRACES.get_or_init(|| {
        let trace = |run: Played| {
            let (autopsy, trace) = record(&run);
            let now = script(&run.name, &play(run.exhibit.program(), &autopsy, &trace));
            (run.name, now)
        };
        let traces: Vec<_> = played().into_iter().map(trace).collect();
        if std::env::var_os("LAB_RECORD").is_some() {
            for (name, text) in &traces {
                // What would only change in its descriptors is left as it is.
                let known =
                    std::fs::read_to_string(recording(name)).is_ok_and(|kept| normalised(&kept) == normalised(text));
                if !known {
                    std::fs::write(recording(name), text).expect("chapters/traces can be written to");
                }
            }
            for stage in sources() {
                let path = recording(&format!("{stage}.source"));
                std::fs::write(path, source(&stage)).expect("chapters/traces can be written to");
            }
        }
        traces
    })
}

#[test]
fn a_source_is_there_once_and_is_the_stages() {
    traces();
    for stage in sources() {
        let kept = std::fs::read_to_string(recording(&format!("{stage}.source"))).unwrap_or_default();
        assert!(kept == source(&stage), "{stage}: `LAB_RECORD=1 cargo test --test traces` writes its source anew");
    }
    let files = std::fs::read_dir(root().join("chapters/traces")).expect("the traces are there");
    for file in files.map(|file| file.expect("it can be read").path()) {
        let text = std::fs::read_to_string(&file).expect("a trace is text");
        let own = text.starts_with("labData(\"") && text.lines().next().is_some_and(|line| line.contains(".source\""));
        let is_program = ["runner::main(", "int main("].iter().any(|main| text.contains(main));
        assert_eq!(is_program, own, "{}: a copy of a source", file.display());
    }
}

#[test]
fn the_players_traces_are_what_the_binaries_do() {
    for (name, now) in traces() {
        let path = recording(name);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = normalised(&kept).lines().zip(normalised(now).lines()).position(|(kept, now)| kept != now);
        if normalised(&kept) != normalised(now) {
            let line = differs.unwrap_or(0);
            panic!(
                "{} no longer matches {name} from line {}: `LAB_RECORD=1 cargo test --test traces`, and read the diff\n\
                 kept: {:?}\nnow:  {:?}",
                path.display(),
                line + 1,
                kept.lines().nth(line),
                now.lines().nth(line)
            );
        }
    }
}

#[test]
fn the_broken_ones_end_at_their_crash_and_the_fixed_ones_are_served() {
    traces();
    for Played { name: stage, exhibit, .. } in played() {
        let text = std::fs::read_to_string(recording(&stage)).expect("it was recorded");
        let serves = exhibit.expect == Verdict::Serves;
        let marks =
            ["\"SIGSEGV\"", "\"SIGABRT\"", "\"hangs\"", "\"never stops\"", "\"lost\"", "\"not its own\"", "\"a herd\""];
        let crash = marks.into_iter().any(|mark| text.contains(mark));
        assert_eq!(crash, !serves, "{stage}");
        let well = ["served to the end", "goes on, and the server stops"].into_iter().any(|end| text.contains(end));
        assert_eq!(well, serves, "{stage}");
    }
}

fn rows_of(text: &str) -> Vec<Value> {
    let rows = text.lines().skip_while(|line| *line != "\"rows\":[").skip(1).take_while(|line| *line != "],");
    rows.map(|row| serde_json::from_str(row.trim_end_matches(',')).expect("a row is JSON")).collect()
}

/// The arrows after each row of a recording: its text, and who leads where.
fn arrows(name: &str) -> Vec<(String, Vec<String>)> {
    traces();
    let text = std::fs::read_to_string(recording(name)).expect("it was recorded");
    let arrow =
        |arrow: &Value| arrow.as_array().expect("three words").iter().map(text_of).collect::<Vec<_>>().join(" ");
    rows_of(&text)
        .into_iter()
        .map(|row| (text_of(&row[2]), row[6].as_array().expect("arrows").iter().map(arrow).collect()))
        .collect()
}

/// What leads where in a recording, by the texts of the rows: `main: queue session 1 > worker-1: take session 1`.
fn led(name: &str) -> Vec<String> {
    traces();
    let text = std::fs::read_to_string(recording(name)).expect("it was recorded");
    let (_, flows) = text.split_once("\"flows\":").expect("it has flows");
    let (flows, _) = flows.split_once("],\n\"").expect("they end");
    let flows: Value = serde_json::from_str(&format!("{flows}]")).expect("flows are JSON");
    let rows = rows_of(&text);
    let row = |at: &Value| {
        let row = &rows[at.as_u64().expect("a row") as usize];
        format!("{}: {}", text_of(&row[1]), text_of(&row[2]))
    };
    let flow = |flow: &Value| format!("{}, {} > {}", text_of(&flow[2]), row(&flow[0]), row(&flow[1]));
    flows.as_array().expect("a list").iter().map(flow).collect()
}

#[test]
fn what_leads_from_lane_to_lane_is_what_the_run_did() {
    assert_eq!(
        led("stage3_broken"),
        [
            "queue to take, main: queue session 1 > worker-1: take session 1",
            "free to use, main: free session 1 > worker-1: use session 1",
        ]
    );
    assert_eq!(
        led("stage4_broken"),
        [
            "queue to take, main: queue session 1 > worker-1: take session 1",
            "queue to take, main: queue session 1 > worker-2: take session 1",
            "free to free, worker-1: free buffer 1 > worker-2: free buffer 1 again",
        ]
    );
    for run in played() {
        let red = led(&run.name).iter().any(|flow| flow.starts_with("free"));
        let dies = matches!(run.exhibit.expect, Verdict::Signal { .. });
        assert_eq!(red, dies, "{}", run.name);
    }
    let locks = |flow: &String| flow.starts_with("unlock to lock, worker-1: ") && flow.contains(" > worker-2: lock ");
    assert!(led("stage4_fixed").iter().any(locks), "{:?}", led("stage4_fixed"));
}

fn text_of(value: &Value) -> String {
    text(value).to_string()
}

#[test]
fn an_arrow_dangles_where_a_session_was_freed_under_its_pointer() {
    let rows = arrows("stage3_broken");
    let after = |text: &str| rows.iter().rev().find(|row| row.0 == text).map(|row| row.1.clone()).unwrap_or_default();
    assert_eq!(after("allocate session 1"), ["map session 1 on"]);
    assert_eq!(after("take session 1"), ["map session 1 on", "worker-1 session 1 on"]);
    assert_eq!(after("queue session 1"), ["map session 1 on", "queue 1 session 1 on", "worker-1 session 1 on"]);
    assert_eq!(after("free session 1"), ["queue 1 session 1 bad", "worker-1 session 1 bad"]);
    for fixed in ["stage3_fixed", "stage4_fixed", "stage6_fixed"] {
        let rows = arrows(fixed);
        assert!(rows.iter().any(|row| row.1.iter().any(|arrow| arrow.starts_with("worker-1 "))), "{fixed}: {rows:?}");
        assert!(rows.iter().all(|row| row.1.iter().all(|arrow| !arrow.ends_with(" bad"))), "{fixed}: {rows:?}");
    }
}

#[test]
fn a_number_leads_to_the_next_client_and_a_generation_does_not() {
    let of_worker = |name: &str| {
        let mut led: Vec<String> = arrows(name)
            .into_iter()
            .map(|row| row.1.into_iter().find(|arrow| arrow.starts_with("worker-1 ")).unwrap_or_default())
            .collect();
        led.dedup();
        led
    };
    let broken = ["", "worker-1 session 1 key", "", "worker-1 session 2 key"];
    assert_eq!(of_worker("stage5_broken")[..4], broken);
    let fixed = of_worker("stage5_fixed");
    assert!(fixed.contains(&broken[1].to_string()) && !fixed.contains(&broken[3].to_string()), "{fixed:?}");
}

/// A connection wakes everybody who sleeps at the listener, and all but one for nothing; with `EPOLLEXCLUSIVE` it wakes one.
#[test]
fn an_arrow_leads_from_the_listener_to_whom_a_connection_has_woken() {
    let after = |name: &str, text: &str| {
        let rows = arrows(name);
        let row = rows.iter().rev().find(|row| row.0.starts_with(text));
        row.unwrap_or_else(|| panic!("{name} has no row `{text}`")).1.clone()
    };
    let arrow = |reactor: u32, tone: &str| format!("listener reactor-{reactor} {tone}");
    let of_all = |tones: [&str; 4]| (1..).zip(tones).map(|(n, tone)| arrow(n, tone)).collect::<Vec<_>>();
    for name in ["stage8_broken", "stage8_fixed"] {
        assert!(after(name, "wait").is_empty(), "{name}: they sleep");
    }
    assert_eq!(after("stage8_broken", "connect"), of_all(["on"; 4]));
    assert_eq!(after("stage8_broken", "accept fd"), of_all(["on"; 4]));
    for text in ["accept: EAGAIN", "the schedule is over"] {
        assert_eq!(after("stage8_broken", text), of_all(["on", "bad", "bad", "bad"]));
    }
    for text in ["connect", "sleeps on", "the schedule is over"] {
        assert_eq!(after("stage8_fixed", text), [arrow(1, "on")]);
    }
}

//! The run in the Trace Event Format, which <https://ui.perfetto.dev> and `chrome://tracing` open: a track for each role, and
//! arrows from queue to take, from free to use, from unlock to lock, from a notification to who is woken by it.

use serde_json::{Value, json};

use super::flows::{Flow, flows};
use super::timeline::Timeline;
use crate::direct::outcome::Run;
use crate::record::event::{Kind, Record};

/// All of it is one process.
const PROCESS: u64 = 1;
/// The shortest slice, in nanoseconds.
const SHORTEST: u64 = 100;

/// The run as a trace that Perfetto imports. Times are microseconds since the black box was made.
pub fn perfetto_json(run: &Run) -> Value {
    let timeline = Timeline::new(run);
    let starts = starts(&run.records);
    let named = |what: &str, track: u64, name: &str| json!({ "ph": "M", "name": what, "pid": PROCESS, "tid": track, "args": { "name": name } });
    let mut events = vec![named("process_name", 0, run.stage.name)];
    for (role, name) in run.roles.iter().enumerate() {
        events.push(named("thread_name", track(role), name));
        // In the order of the lanes, and not by name.
        let place = json!({ "sort_index": role });
        events
            .push(json!({ "ph": "M", "name": "thread_sort_index", "pid": PROCESS, "tid": track(role), "args": place }));
    }
    events.extend((0..run.records.len()).map(|at| slice(&timeline, at, &starts)));
    for (id, Flow { name, from, to }) in (1..).zip(flows(&run.records)) {
        let end = |ph: &str, at: usize| {
            json!({
                "ph": ph, "name": name, "cat": "arrow", "id": id, "ts": micros(starts[at]), "pid": PROCESS,
                "tid": track(run.records[at].role),
            })
        };
        events.push(end("s", from));
        let mut to = end("f", to);
        // It points at the slice in which it ends, and not at the next one.
        to["bp"] = json!("e");
        events.push(to);
    }
    json!({
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": { "stage": run.stage.name, "title": run.stage.title, "chapter": run.stage.chapter.to_string() },
    })
}

/// A track has a number from 1.
fn track(role: usize) -> u64 {
    role as u64 + 1
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

/// When each record begins: no earlier than the one before it ends, since they were made one after another.
fn starts(records: &[Record]) -> Vec<u64> {
    let mut free = 0;
    let start = |record: &Record| {
        let start = record.nanos.max(free);
        free = start + SHORTEST;
        start
    };
    records.iter().map(start).collect()
}

/// A record, to the next one of anybody.
fn slice(timeline: &Timeline<'_>, at: usize, starts: &[u64]) -> Value {
    let record = &timeline.run.records[at];
    let seen = timeline.seen(at);
    let (kind, numbers) = seen.json();
    let name = match record.kind {
        Kind::Point => format!("passes {}", record.label),
        _ => seen.lane().unwrap_or_else(|| kind.to_string()),
    };
    let end = starts.get(at + 1).copied().unwrap_or(starts[at] + SHORTEST);
    let mut args = json!({ "kind": kind, "at": format!("{}:{}", record.file, record.line), "step": record.step });
    for (key, number) in numbers {
        args[key] = number;
    }
    json!({
        "ph": "X", "name": name, "cat": if record.kind.is_a_deed() { "deed" } else { "order" }, "ts": micros(starts[at]),
        "dur": micros(end - starts[at]), "pid": PROCESS, "tid": track(record.role), "args": args,
    })
}

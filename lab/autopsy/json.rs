//! The autopsy, and the whole run, as JSON. The formats are described in the module above.

use serde_json::{Map, Value, json};

use super::flows::flows;
use super::timeline::{Event, Timeline};
use super::verdicts;
use crate::direct::outcome::{Ending, Outcome, Run};
use crate::words::{address, signal_name};

/// Raised when a key changes its meaning or goes away; not when one is added.
pub const VERSION: u32 = 1;

/// The autopsy: what the report says, for programs.
pub fn json(run: &Run) -> Value {
    let timeline = Timeline::new(run);
    let cause = verdicts::cause(&timeline);
    let mistake = cause.clone().or_else(|| verdicts::first_mistake(&timeline));
    let why = match run.ending {
        Ending::Exit(_) if mistake.is_some() => None,
        _ => verdicts::why(&timeline),
    };
    let mut value = json!({
        "format": "epoll-autopsy/autopsy",
        "version": VERSION,
        "stage": run.stage.name,
        "title": run.stage.title,
        "chapter": run.stage.chapter,
        "next": run.stage.next,
        "directed": !run.steps.is_empty(),
        "heap": run.heap.name(),
        "millis": run.millis,
        "ending": ending(run),
        "recognised": cause.is_some(),
        "finding": mistake.map(|found| verdicts::finding_json(&timeline, &found)),
        "why": why,
        "steps": steps(&timeline),
        "rows": rows(&timeline, &timeline.short_rows()),
        "client": client(run),
        "served": served(run),
        "dropped": run.dropped,
        "stderr": run.stderr,
    });
    extend(&mut value, verdicts::in_both(&timeline));
    extend(&mut value, verdicts::in_autopsy(&timeline));
    value
}

fn extend(value: &mut Value, keys: verdicts::Keys) {
    for (key, more) in keys {
        value[key] = more;
    }
}

/// The run: every record, for other tools.
pub fn trace_json(run: &Run) -> Value {
    let timeline = Timeline::new(run);
    let mut value = json!({
        "format": "epoll-autopsy/trace",
        "version": VERSION,
        "stage": run.stage.name,
        "title": run.stage.title,
        "chapter": run.stage.chapter,
        "heap": run.heap.name(),
        "millis": run.millis,
        "roles": run.roles,
        "objects": timeline.objects.blocks.iter().map(|block| json!({
            "name": block.name,
            "type": block.label,
            "address": address(block.address),
            "size": block.size,
            "own_pages": block.own_pages,
            "allocated": run.records[block.allocated].number,
            "freed": block.freed.iter().map(|at| run.records[*at].number).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "steps": steps(&timeline),
        "records": (0..run.records.len()).map(|at| record(&timeline, at)).collect::<Vec<_>>(),
        "rows": rows(&timeline, &timeline.rows()),
        "flows": flows(&run.records).into_iter().map(|flow| json!({
            "name": flow.name,
            "from": run.records[flow.from].number,
            "to": run.records[flow.to].number,
        })).collect::<Vec<_>>(),
        "client": client(run),
        "served": served(run),
        "ending": ending(run),
        "dropped": run.dropped,
        "stderr": run.stderr,
    });
    extend(&mut value, verdicts::in_both(&timeline));
    value
}

fn ending(run: &Run) -> Value {
    match run.ending {
        Ending::Exit(code) => json!({ "how": "exit", "code": code }),
        Ending::Signal(signal) => {
            let fault = run.fault.filter(|fault| fault.signal == signal);
            json!({
                "how": "signal",
                "signal": signal_name(signal),
                "number": signal,
                "code": fault.map(|fault| fault.code),
                "address": fault.filter(|_| signal != libc::SIGABRT).map(|fault| address(fault.address)),
                "role": fault.and_then(|fault| run.roles.get(fault.role)),
            })
        }
    }
}

fn steps(timeline: &Timeline<'_>) -> Vec<Value> {
    let run = timeline.run;
    let one = |(n, step): (usize, &crate::direct::outcome::Step)| {
        let mut value = json!({ "number": n + 1, "role": step.role, "what": step.what });
        let (outcome, detail) = match &step.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Refused { waiting, address, holder } => {
                value["waiting_for"] = json!(waiting.name());
                value["held_by"] = json!(holder.map(|role| timeline.role(role)));
                ("refused", Some(timeline.waits(*waiting, *address, *holder, run.records.len())))
            }
            Outcome::HeldBack => ("held back", None),
            Outcome::Unmet(doing) => ("unmet", Some(doing.clone())),
            Outcome::NotReached => ("not reached", None),
        };
        value["outcome"] = json!(outcome);
        value["detail"] = json!(detail);
        value
    };
    run.steps.iter().enumerate().map(one).collect()
}

fn rows(timeline: &Timeline<'_>, rows: &[Event]) -> Vec<Value> {
    let one = |event: &Event| {
        json!({
            "step": event.row.number,
            "role": timeline.run.roles.get(event.row.role),
            "text": event.row.text,
            "mark": event.row.mark,
            "record": event.record.map(|at| timeline.run.records[at].number),
        })
    };
    rows.iter().map(one).collect()
}

fn client(run: &Run) -> Value {
    json!({ "sent": run.client.sent, "received": run.client.received, "replies": run.client.replies })
}

fn served(run: &Run) -> Value {
    json!(run.served.map(|served| json!({ "received": served.received, "replies": served.replies })))
}

fn record(timeline: &Timeline<'_>, at: usize) -> Value {
    let record = &timeline.run.records[at];
    let (kind, numbers) = timeline.seen(at).json();
    let mut value = Map::new();
    value.insert("number".into(), json!(record.number));
    value.insert("nanos".into(), json!(record.nanos));
    value.insert("role".into(), json!(timeline.role(record.role)));
    value.insert("kind".into(), json!(kind));
    value.insert("label".into(), json!(record.label));
    value.insert("file".into(), json!(record.file));
    value.insert("line".into(), json!(record.line));
    value.insert("inherited".into(), json!(record.inherited));
    value.insert("in_step".into(), json!(record.step));
    value.extend(numbers.into_iter().map(|(key, number)| (key.to_string(), number)));
    Value::Object(value)
}

//! The trace for Perfetto: what its importer asks of an event, and which arrows there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::perfetto_json;
use super::*;

/// What the Trace Event Format asks of each event, and what the importer drops an arrow for.
pub fn check(trace: &Value) -> Result<(), String> {
    let events = trace["traceEvents"].as_array().ok_or("no traceEvents")?;
    // Of each track the slices, and of each arrow its ends.
    let mut slices: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    let mut ends: BTreeMap<u64, Vec<(String, u64, f64)>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for event in events {
        let wrong = |what: &str| format!("{what}: {event}");
        let text = |key: &str| event[key].as_str().ok_or_else(|| wrong(key));
        let number = |key: &str| event[key].as_f64().filter(|number| *number >= 0.0).ok_or_else(|| wrong(key));
        let (ph, name) = (text("ph")?, text("name")?);
        let (_, tid) = (number("pid")?, number("tid")? as u64);
        if name.is_empty() {
            return Err(wrong("name"));
        }
        match ph {
            "M" if name == "thread_name" => drop(named.insert(tid)),
            "M" => {}
            "X" => {
                text("cat")?;
                let (ts, dur) = (number("ts")?, number("dur")?);
                if dur == 0.0 || !event["args"].is_object() {
                    return Err(wrong("dur"));
                }
                slices.entry(tid).or_default().push((ts, ts + dur));
            }
            "s" | "f" => {
                text("cat")?;
                if ph == "f" && event["bp"] != "e" {
                    return Err(wrong("bp"));
                }
                let id = event["id"].as_u64().ok_or_else(|| wrong("id"))?;
                ends.entry(id).or_default().push((ph.to_string(), tid, number("ts")?));
            }
            _ => return Err(wrong("ph")),
        }
    }
    for (track, slices) in &slices {
        if !named.contains(track) {
            return Err(format!("track {track} has no name"));
        }
        // Slices of a track lie in each other or apart; these lie apart.
        if slices.windows(2).any(|pair| pair[0].1 > pair[1].0 + 1e-9) {
            return Err(format!("slices of track {track} overlap"));
        }
    }
    for (id, ends) in &ends {
        let [(first, from, left), (second, to, came)] = &ends[..] else {
            return Err(format!("arrow {id} has no two ends"));
        };
        let is_in =
            |track: &u64, ts: &f64| slices.get(track).is_some_and(|all| all.iter().any(|s| s.0 <= *ts && *ts < s.1));
        if (first.as_str(), second.as_str()) != ("s", "f") || left >= came || !is_in(from, left) || !is_in(to, came) {
            return Err(format!("arrow {id}: {ends:?}"));
        }
    }
    Ok(())
}

fn trace(records: &Records) -> Value {
    perfetto_json(&records.run("stage3_broken", &[], Ending::Exit(0)))
}

/// Each arrow: its name, and the numbers of its two records.
fn arrows(trace: &Value) -> Vec<(String, u64, u64)> {
    let events = trace["traceEvents"].as_array().expect("there are events");
    let slices: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    let at = |end: &Value| {
        let here = |slice: &&Value| slice["ts"] == end["ts"] && slice["tid"] == end["tid"];
        slices.iter().position(here).expect("an arrow begins and ends with a slice") as u64
    };
    let ends = |ph: &str| events.iter().filter(|event| event["ph"] == ph).collect::<Vec<_>>();
    let pairs = ends("s").into_iter().zip(ends("f"));
    pairs.map(|(from, to)| (from["name"].as_str().unwrap_or("").to_string(), at(from), at(to))).collect()
}

#[test]
fn each_role_has_a_track_and_each_record_a_slice_with_its_place() {
    let mut records = Records::default();
    records.step(MAIN, 1).point(MAIN, "wait").add(MAIN, Kind::Close, "", [7, 0, 0]).point(ONE, "take");
    let trace = trace(&records);
    check(&trace).expect("it is well formed");
    let events = trace["traceEvents"].as_array().expect("there are events");
    let names: Vec<&str> = events
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .filter_map(|e| e["args"]["name"].as_str())
        .collect();
    assert_eq!(names[..3], ["client", "main", "worker-1"]);
    let slices: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    let said: Vec<_> = slices.iter().map(|slice| (slice["name"].as_str().unwrap_or(""), &slice["cat"])).collect();
    assert_eq!(
        said,
        [
            ("step", &"order".into()),
            ("passes wait", &"order".into()),
            ("close fd 7", &"deed".into()),
            ("passes take", &"order".into())
        ]
    );
    assert_eq!(slices[2]["args"]["at"], format!("{FILE}:20"));
    assert_eq!((&slices[2]["args"]["step"], &slices[2]["args"]["fd"]), (&1.into(), &7.into()));
    assert_eq!((slices[2]["ts"].as_f64(), slices[2]["tid"].as_u64()), (Some(0.2), Some(MAIN as u64 + 1)));
}

#[test]
fn arrows_lead_from_what_one_did_to_what_another_does_with_it() {
    let mut records = Records::default();
    records
        .add(MAIN, Kind::Push, "", [SESSION, 1, 0]) // 0
        .add(MAIN, Kind::Push, "", [SESSION, 2, 0]) // 1
        .add(MAIN, Kind::Push, "", [BUFFER, 3, 0]) // 2
        .add(ONE, Kind::Pop, "", [SESSION, 2, 0]) // 3
        .add(TWO, Kind::Pop, "", [SESSION, 1, 0]) // 4
        .add(ONE, Kind::Pop, "", [4711, 0, 0]) // 5: nobody queued it
        .add(MAIN, Kind::Free, "Session", [SESSION, 16, 0]) // 6
        .add(ONE, Kind::Use, "Session", [SESSION, 0, 0]) // 7
        .add(ONE, Kind::Free, "Session", [SESSION, 16, 0]) // 8
        .add(ONE, Kind::Alloc, "Session", [SESSION, 16, 0]) // 9
        .add(ONE, Kind::Use, "Session", [SESSION, 0, 0]) // 10: another block
        .add(ONE, Kind::Lock, "", [BUFFER, 0, 0]) // 11
        .add(ONE, Kind::Unlock, "", [BUFFER, 0, 0]) // 12
        .add(ONE, Kind::Lock, "", [BUFFER, 0, 0]) // 13: its own
        .add(ONE, Kind::Unlock, "", [BUFFER, 0, 0]) // 14
        .add(TWO, Kind::Lock, "", [BUFFER, 0, 0]) // 15
        .add(MAIN, Kind::Notify, "", [64, 1, 1]) // 16
        .add(ONE, Kind::Woken, "", [64, 0, 0]) // 17
        .add(TWO, Kind::Woken, "", [64, 1, 0]); // 18: its time was over
    let trace = trace(&records);
    check(&trace).expect("it is well formed");
    let arrow = |name: &str, from, to| (name.to_string(), from, to);
    assert_eq!(
        arrows(&trace),
        [
            arrow("queue to take", 0, 3),
            arrow("queue to take", 1, 4),
            arrow("free to use", 6, 7),
            arrow("free to free", 6, 8),
            arrow("unlock to lock", 14, 15),
            arrow("notify to woken", 16, 17),
        ]
    );
}

#[test]
fn records_of_one_moment_lie_one_after_another() {
    let mut records = Records::default();
    records.add(MAIN, Kind::Push, "", [SESSION, 1, 0]).add(ONE, Kind::Pop, "", [SESSION, 0, 0]);
    records.list.iter_mut().for_each(|record| record.nanos = 5);
    check(&trace(&records)).expect("it is well formed");
    // A thread may have looked at the clock before the record in front of its own was made.
    records.list[0].nanos = 5000;
    check(&trace(&records)).expect("it is well formed");
}

#[test]
fn a_trace_that_the_importer_would_not_take_is_noticed() {
    let mut records = Records::default();
    records.add(MAIN, Kind::Push, "", [SESSION, 1, 0]).add(ONE, Kind::Pop, "", [SESSION, 0, 0]);
    let good = trace(&records);
    let spoilt = |spoil: &dyn Fn(&mut Value)| {
        let mut trace = good.clone();
        let events = trace["traceEvents"].as_array_mut().expect("there are events");
        events.iter_mut().for_each(spoil);
        check(&trace)
    };
    check(&good).expect("it is well formed");
    assert!(check(&serde_json::json!({})).is_err());
    let only = |ph: &'static str, change: fn(&mut Value)| {
        move |event: &mut Value| {
            if event["ph"] == ph {
                change(event);
            }
        }
    };
    assert!(spoilt(&only("X", |event| event["ts"] = "0.1".into())).is_err());
    assert!(spoilt(&only("X", |event| event["dur"] = 1000.0.into())).is_ok_and(|()| true), "one slice a track");
    assert!(spoilt(&only("X", |event| event["dur"] = 0.0.into())).is_err());
    assert!(spoilt(&only("X", |event| event["tid"] = 99.into())).is_err());
    assert!(spoilt(&only("X", |event| event["name"] = "".into())).is_err());
    assert!(spoilt(&only("X", |event| event["ts"] = 7.0.into())).is_err(), "arrows begin in slices");
    assert!(spoilt(&only("f", |event| event["bp"] = Value::Null)).is_err());
    assert!(spoilt(&only("f", |event| event["id"] = 9.into())).is_err());
    assert!(spoilt(&only("f", |event| event["ts"] = 0.0.into())).is_err());
    assert!(spoilt(&only("s", |event| event["tid"] = 4.into())).is_err());
    assert!(spoilt(&only("M", |event| event["ph"] = "Q".into())).is_err());
}

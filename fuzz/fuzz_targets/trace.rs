//! Any run, however mad its records, has a report, an autopsy and a trace, and these are JSON that says which run it was.
#![no_main]

use lab::autopsy;
use lab::catalogue;
use lab::direct::client::{ClientTotals, Misdelivery};
use lab::direct::outcome::{Ending, Evidence, Loss, Outcome, Run, Step, Stuck};
use lab::record::blackbox::{Fault, ServedCounts};
use lab::record::event::{Kind, Record, Waiting};
use lab::record::wakeups::Herd;
use lab::world::heap::Heap;
use libfuzzer_sys::{arbitrary, fuzz_target};

const LABELS: [&str; 8] = ["", "read", "remove", "write", "count", "closed", "Session", "Buffer"];
const ROLES: [&str; 5] = ["client", "main", "worker-1", "worker-2", "operator"];

#[derive(arbitrary::Arbitrary, Debug)]
struct Input {
    stage: u8,
    roles: u8,
    records: Vec<Made>,
    steps: Vec<(u8, u8, u8, u8, u8)>,
    fault: Option<(u8, u8, u64, u8)>,
    signal: Option<u8>,
    served: Option<(u64, u64)>,
    evidence: u8,
    bytes: Vec<u8>,
    dropped: u64,
    width: u8,
    colour: bool,
    stderr: String,
}

#[derive(arbitrary::Arbitrary, Debug)]
struct Made {
    role: u8,
    kind: u8,
    label: u8,
    step: u8,
    over: bool,
    /// Small numbers meet each other more often than large ones.
    small: [u8; 3],
    large: Option<[u64; 3]>,
}

fuzz_target!(|input: Input| {
    let stages: Vec<_> = catalogue::exhibits().collect();
    let stage = stages[usize::from(input.stage) % stages.len()];
    let roles: Vec<String> = ROLES[..2 + usize::from(input.roles) % 4].iter().map(|role| role.to_string()).collect();
    let role = |role: u8| usize::from(role) % roles.len();
    let steps: Vec<Step> = input
        .steps
        .iter()
        .map(|(who, what, outcome, waiting, other)| Step {
            role: roles[role(*who)].clone(),
            what: LABELS[usize::from(*what) % LABELS.len()].to_string(),
            outcome: match outcome % 5 {
                0 => Outcome::Passed,
                1 => Outcome::Refused {
                    waiting: Waiting::from_u8(*waiting).unwrap_or(Waiting::Lock),
                    address: u64::from(*other),
                    holder: (other % 2 == 0).then(|| role(*other)),
                },
                2 => Outcome::HeldBack,
                3 => Outcome::Unmet("is elsewhere".to_string()),
                _ => Outcome::NotReached,
            },
        })
        .collect();
    let made = input.records.iter().filter_map(|made| Some((made, Kind::from_u8(made.kind)?)));
    let records: Vec<Record> = (0..)
        .zip(made)
        .map(|(number, (made, kind))| {
            let [a, b, c] = made.large.unwrap_or(made.small.map(u64::from));
            Record {
                number,
                nanos: number * 10,
                role: role(made.role),
                kind,
                label: LABELS[usize::from(made.label) % LABELS.len()],
                file: "lab/stages/made_up.rs",
                line: number as u32,
                column: u32::from(made.over),
                inherited: made.role >= 128,
                step: (usize::from(made.step) <= steps.len() && made.step > 0).then_some(made.step.into()),
                over: made.over,
                a,
                b,
                c,
            }
        })
        .collect();
    let evidence = match input.evidence % 4 {
        0 => None,
        1 => Some(Evidence::NeverStops(Stuck {
            doing: roles.iter().map(|role| (role.clone(), "waits".to_string())).collect(),
            joins: (input.evidence > 128).then(|| (role(input.evidence), role(input.roles))),
            asleep: Vec::new(),
        })),
        2 => Some(Evidence::Misdelivers(Misdelivery {
            client: role(input.evidence),
            got: input.bytes.clone(),
            due: input.bytes.iter().rev().copied().collect(),
            made_for: (input.evidence > 128).then(|| role(input.roles)),
        })),
        _ => Some(Evidence::Loses(Loss {
            client: role(input.evidence),
            owed: input.dropped,
            error: input.roles.into(),
            closed: input.evidence > 128,
        })),
    };
    let run = Run {
        stage,
        steps,
        heap: if input.colour { Heap::Malloc } else { Heap::Pages },
        fault: input.fault.map(|(signal, code, address, who)| Fault {
            signal: signal.into(),
            code: code.into(),
            address,
            role: who.into(),
        }),
        records,
        roles,
        dropped: input.dropped,
        ending: input.signal.map_or(Ending::Exit(0), |signal| Ending::Signal(signal.into())),
        stderr: input.stderr,
        served: input.served.map(|(received, replies)| ServedCounts { received, replies }),
        client: ClientTotals::default(),
        millis: 1.5,
        herd: Herd::default(),
        evidence,
    };
    for (format, value) in [("trace", autopsy::trace_json(&run)), ("autopsy", autopsy::json(&run))] {
        let again: serde_json::Value = serde_json::from_str(&value.to_string()).expect("it is JSON");
        assert_eq!(again, value);
        assert_eq!(again["format"], format!("epoll-autopsy/{format}"));
        assert_eq!(again["stage"], stage.name);
    }
    assert_eq!(autopsy::trace_json(&run)["records"].as_array().map(Vec::len), Some(run.records.len()));
    let width = usize::from(input.width).max(40);
    let report = autopsy::report(&run, width, input.colour);
    assert!(!report.is_empty());
});

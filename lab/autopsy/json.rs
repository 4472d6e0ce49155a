//! The autopsy, and the whole run, as JSON. The formats are described in the module above.

use serde_json::{Map, Value, json};

use super::findings::{self, Finding, Mistake};
use super::stale::{Stale, stale};
use super::stop;
use super::story::{Event, Place, Story};
use crate::direct::outcome::{Ending, Outcome, Run};
use crate::direct::quiescence::Sleeper;
use crate::record::wakeups::{Counts, Herd};
use crate::words::{address, errno, signal_name};

/// Raised when a key changes its meaning or goes away; not when one is added.
pub const VERSION: u32 = 1;

/// The autopsy: what the report says, for programs.
pub fn json(run: &Run) -> Value {
    let story = Story::new(run);
    let cause = findings::cause(&story);
    let mistake = cause.clone().or_else(|| findings::first_mistake(&story));
    let kept = findings::kept_alive(&story).filter(|_| run.ending == Ending::Exit(0) && mistake.is_none());
    let refusals = findings::refusals(&story).into_iter().map(|refusal| {
        json!({
            "step": refusal.step,
            "role": story.role(refusal.role),
            "what": refusal.what,
            "waiting_for": refusal.lock,
            "held_by": refusal.holder.map(|role| story.role(role)),
            "held_since_step": refusal.held_since,
            "passed_after_step": refusal.passed_after,
            "at": refusal.place.map(|at| place(&story, at)),
        })
    });
    let why = match run.ending {
        Ending::Signal(_) => findings::why(&story, cause.as_ref()),
        Ending::Exit(_) if mistake.is_some() => None,
        Ending::Exit(_) => findings::why(&story, None),
    };
    json!({
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
        "finding": mistake.map(|found| finding(&story, &found)),
        "why": why,
        "refused": refusals.collect::<Vec<_>>(),
        "kept_alive": kept.map(|kept| json!({
            "object": kept.block.name,
            "owners_left": kept.owners_left,
            "given_up": place(&story, kept.given_up),
            "freed": kept.freed.map(|at| place(&story, at)),
        })),
        "left_early": findings::left_early(&story).map(|left| json!({
            "rearmed": place(&story, left.rearmed),
            "holding": left.lock,
        })),
        "steps": steps(&story),
        "rows": rows(&story, &story.short_rows()),
        "client": client(run),
        "served": served(run),
        "hang": hang(run),
        "herd": herd(&run.herd),
        "misdelivery": misdelivery(&story),
        "stale_key": stale(&story).map(|found| stale_key(&story, &found)),
        "lost_wakeup": stop::missed(&story).map(|missed| json!({
            "role": story.role(missed.role),
            "looked": place(&story, missed.looked),
            "set": place(&story, missed.set),
            "notified": place(&story, missed.notified),
            "slept": place(&story, missed.slept),
        })),
        "tail": stop::tail(&story).map(|tail| json!({
            "fd": tail.fd,
            "reported": place(&story, tail.reported),
            "bytes": tail.read.map_or(0, |(bytes, _)| bytes),
            "read": tail.read.map(|(_, at)| place(&story, at)),
            "closed": tail.closed.map(|at| place(&story, at)),
        })),
        "cut": stop::cuts(&story).iter().map(|cut| json!({
            "fd": cut.fd,
            "unanswered": cut.unanswered,
            "replies": cut.replies,
        })).collect::<Vec<_>>(),
        "stuck": stuck(run),
        "loss": loss(run),
        "dropped": run.dropped,
        "stderr": run.stderr,
    })
}

/// What each reactor counted; `null` where there are none of that kind.
pub fn herd(herd: &Herd) -> Value {
    let one = |(n, one): (usize, &Counts)| {
        json!({
            "role": format!("reactor-{n}"),
            "woken": one.woken,
            "empty": one.empty,
            "accepted": one.accepted,
            "exhausted": one.exhausted,
            "slept": one.slept,
        })
    };
    match herd.reactors.is_empty() {
        true => Value::Null,
        false => (1..).zip(&herd.reactors).map(one).collect(),
    }
}

/// The run: every record, for other tools.
pub fn trace_json(run: &Run) -> Value {
    let story = Story::new(run);
    json!({
        "format": "epoll-autopsy/trace",
        "version": VERSION,
        "stage": run.stage.name,
        "title": run.stage.title,
        "chapter": run.stage.chapter,
        "heap": run.heap.name(),
        "millis": run.millis,
        "roles": run.roles,
        "objects": story.objects.blocks.iter().map(|block| json!({
            "name": block.name,
            "type": block.label,
            "address": address(block.address),
            "size": block.size,
            "own_pages": block.own_pages,
            "allocated": run.records[block.allocated].number,
            "freed": block.freed.iter().map(|at| run.records[*at].number).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "steps": steps(&story),
        "records": (0..run.records.len()).map(|at| record(&story, at)).collect::<Vec<_>>(),
        "rows": rows(&story, &story.rows()),
        "client": client(run),
        "served": served(run),
        "hang": hang(run),
        "herd": herd(&run.herd),
        "misdelivery": misdelivery(&story),
        "stuck": stuck(run),
        "loss": loss(run),
        "ending": ending(run),
        "dropped": run.dropped,
        "stderr": run.stderr,
    })
}

fn place(story: &Story<'_>, place: Place) -> Value {
    json!({
        "role": story.role(place.role),
        "step": place.step,
        "file": place.file,
        "line": place.line,
        "record": place.number,
    })
}

fn finding(story: &Story<'_>, found: &Finding<'_>) -> Value {
    let last = match found.mistake {
        Mistake::UseAfterFree => "used",
        Mistake::DoubleFree => "freed_again",
    };
    let fault = story.run.fault.and_then(|fault| fault.address.checked_sub(found.block.address));
    json!({
        "mistake": found.mistake.name(),
        "block": {
            "name": found.block.name,
            "type": found.block.label,
            "address": address(found.block.address),
            "size": found.block.size,
            "own_pages": found.block.own_pages,
            "offset": fault.filter(|offset| *offset < found.block.size.max(1)),
        },
        "allocated": place(story, found.allocated),
        "freed": place(story, found.freed),
        last: place(story, found.last),
        "exact": found.exact,
    })
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

fn steps(story: &Story<'_>) -> Vec<Value> {
    let run = story.run;
    let one = |(n, step): (usize, &crate::direct::outcome::Step)| {
        let mut value = json!({ "number": n + 1, "role": step.role, "what": step.what });
        let (outcome, detail) = match &step.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Refused { waiting, address, holder } => {
                value["waiting_for"] = json!(waiting.name());
                value["held_by"] = json!(holder.map(|role| story.role(role)));
                ("refused", Some(story.waits(*waiting, *address, *holder, run.records.len())))
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

fn rows(story: &Story<'_>, rows: &[Event]) -> Vec<Value> {
    let one = |event: &Event| {
        json!({
            "step": event.row.number,
            "role": story.run.roles.get(event.row.role),
            "text": event.row.text,
            "mark": event.row.mark,
            "record": event.record.map(|at| story.run.records[at].number),
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

fn hang(run: &Run) -> Value {
    json!(run.hang.as_ref().map(|hang| json!({
        "session": hang.session,
        "fd": hang.fd,
        "unread": hang.unread,
        "owed": hang.owed,
        "armed": hang.proof.as_ref().and_then(|proof| proof.armed).map(|armed| armed.to_string()),
        "asleep": hang.proof.as_ref().map(|proof| asleep(&proof.threads)),
        "serves_another": hang.serves_another,
        "threads": doing(&hang.doing),
    })))
}

/// What each thread does in the director's hands.
fn doing(threads: &[(String, String)]) -> Value {
    threads.iter().map(|(role, doing)| json!({ "role": role, "doing": doing })).collect()
}

/// What the kernel says of each thread.
fn asleep(threads: &[Sleeper]) -> Value {
    threads.iter().map(|thread| json!({ "thread": thread.name, "call": thread.call })).collect()
}

fn stuck(run: &Run) -> Value {
    let role = |role: usize| run.roles.get(role);
    json!(run.stuck.as_ref().map(|stuck| json!({
        "threads": doing(&stuck.doing),
        "waits_for_the_end_of": stuck.joins.map(|(who, whom)| json!({ "role": role(who), "other": role(whom) })),
        "asleep": asleep(&stuck.asleep),
    })))
}

fn loss(run: &Run) -> Value {
    json!(run.loss.as_ref().map(|loss| json!({
        "client": run.roles.get(loss.client),
        "owed": loss.owed,
        "error": (loss.error != 0).then(|| errno(loss.error)),
    })))
}

fn misdelivery(story: &Story<'_>) -> Value {
    json!(story.run.misdelivery.as_ref().map(|wrong| json!({
        "client": story.role(wrong.client),
        "made_for": wrong.made_for.map(|role| story.role(role)),
        "got": String::from_utf8_lossy(&wrong.got),
        "due": String::from_utf8_lossy(&wrong.due),
    })))
}

fn stale_key(story: &Story<'_>, found: &Stale) -> Value {
    let at = |at: Place| place(story, at);
    json!({
        "role": story.role(found.role),
        "fd": found.fd,
        "sessions": found.sessions,
        "keys": found.keys.map(address),
        "taken": at(found.taken),
        "closed": at(found.closed),
        "reused": at(found.reused),
        "returned": at(found.returned),
        "written": found.written.map(at),
        "rearmed": found.rearmed.map(at),
        "reported": found.reported.map(|both| both.map(at)),
    })
}

fn record(story: &Story<'_>, at: usize) -> Value {
    let record = &story.run.records[at];
    let (kind, numbers) = story.seen(at).json();
    let mut value = Map::new();
    value.insert("number".into(), json!(record.number));
    value.insert("nanos".into(), json!(record.nanos));
    value.insert("role".into(), json!(story.role(record.role)));
    value.insert("kind".into(), json!(kind));
    value.insert("label".into(), json!(record.label));
    value.insert("file".into(), json!(record.file));
    value.insert("line".into(), json!(record.line));
    value.extend(numbers.into_iter().map(|(key, number)| (key.to_string(), number)));
    Value::Object(value)
}

//! Bytes that reach another client than the one they were made for, by a key that outlived what it stood for: a worker
//! takes a task, the descriptor of its session is closed and its number given to the next client, and the worker comes
//! back with its old key.

use serde_json::{Value, json};

use super::super::lanes::RED;
use super::super::page::{Page, places};
use super::super::timeline::{Place, Timeline};
use super::super::verdict::{Case, Keys};
use crate::direct::client::Misdelivery;
use crate::direct::outcome::{Evidence, Run};
use crate::record::event::{Kind, Record};
use crate::record::names::number_of;
use crate::words::{address, count};

/// A client gets bytes that were made for another one.
pub struct Misdelivers;

impl Case for Misdelivers {
    fn in_help(&self) -> String {
        "a client gets the reply that was made for another one".to_string()
    }

    fn in_list(&self) -> String {
        "a stranger's bytes, exit status 1".to_string()
    }

    fn in_table(&self) -> String {
        "exit 1, a stranger's bytes".to_string()
    }

    fn in_search(&self) -> String {
        "a client gets bytes that are not its own".to_string()
    }

    fn is_borne_out(&self, timeline: &Timeline<'_>) -> bool {
        of(timeline.run).is_some() && stale(timeline).is_some_and(|stale| stale.written.is_some())
    }

    fn report(&self, page: &mut Page, timeline: &Timeline<'_>) {
        if let Some(wrong) = of(timeline.run) {
            misdelivery(page, timeline, wrong);
        }
    }

    fn absent(&self) -> Option<&'static str> {
        Some("in this run every client got its own replies")
    }

    fn in_both(&self, timeline: &Timeline<'_>) -> Keys {
        vec![("misdelivery", misdelivery_json(timeline))]
    }

    fn in_autopsy(&self, timeline: &Timeline<'_>) -> Keys {
        vec![("stale_key", json!(stale(timeline).map(|found| stale_key(timeline, &found))))]
    }
}

fn of(run: &Run) -> Option<&Misdelivery> {
    match &run.evidence {
        Some(Evidence::Misdelivers(wrong)) => Some(wrong),
        _ => None,
    }
}

/// A key that came back late.
#[derive(Clone, Debug)]
pub struct Stale {
    /// Who came back.
    pub role: usize,
    pub fd: u64,
    /// Whose the number was, and whose it is: the how-manieth connections, from 1.
    pub sessions: [usize; 2],
    /// The keys of the two: the tokens of their events.
    pub keys: [u64; 2],
    /// Where the task was taken.
    pub taken: Place,
    pub closed: Place,
    /// Where the number was given to the next client.
    pub reused: Place,
    /// Where the key was looked up again.
    pub returned: Place,
    /// Where bytes were written to the next client.
    pub written: Option<Place>,
    /// Where the next client's socket was armed.
    pub rearmed: Option<Place>,
    /// Where the next client's one-shot was reported before and after that, with nobody else arming it between.
    pub reported: Option<[Place; 2]>,
}

impl Stale {
    /// Whether the old key opened the next client's session.
    pub fn did_harm(&self) -> bool {
        self.written.is_some() || self.rearmed.is_some()
    }
}

/// The first coming back of a run; one that did harm before one that did not.
pub fn stale(timeline: &Timeline<'_>) -> Option<Stale> {
    let records = &timeline.run.records;
    let accepted: Vec<usize> = (0..records.len()).filter(|at| records[*at].kind == Kind::Accept).collect();
    let mut harmless = None;
    for (n, second) in accepted.iter().copied().enumerate() {
        let fd = records[second].a;
        let of_fd = |kind: Kind| move |record: &Record| record.kind == kind && record.a == fd;
        let closes = |accept: usize| (accept..records.len()).find(|at| of_fd(Kind::Close)(&records[*at]));
        let key = |accept: usize| records[accept..].iter().find(|record| of_fd(Kind::Add)(record)).map(|add| add.b);
        // What is done once the second is closed too, is done to whoever has the number then.
        let closed_too = closes(second).unwrap_or(records.len());
        // The latest first; the number may have been others' in between.
        for m in (0..n).rev().filter(|m| records[accepted[*m]].a == fd) {
            let first = accepted[m];
            let Some(closed) = closes(first).filter(|closed| *closed < second) else { continue };
            let (Some(old), Some(new)) = (key(first), key(second)) else { continue };
            for taken in (first..closed).filter(|at| records[*at].kind == Kind::Pop && records[*at].a == old) {
                let role = records[taken].role;
                let own = |kind: Kind| move |at: &usize| records[*at].role == role && records[*at].kind == kind;
                let next = (taken + 1..records.len()).find(own(Kind::Pop)).unwrap_or(records.len());
                let end = next.min(closed_too);
                // Looking a key up takes the table's lock.
                let Some(returned) = (second..end).find(own(Kind::Lock)) else { continue };
                let on_fd = |kind: Kind| (returned..end).filter(own(kind)).find(|at| records[*at].a == fd);
                let (written, rearmed) = (on_fd(Kind::Write), on_fd(Kind::Modify));
                let found = Stale {
                    role,
                    fd,
                    sessions: [m + 1, n + 1],
                    keys: [old, new],
                    taken: timeline.place(taken),
                    closed: timeline.place(closed),
                    reused: timeline.place(second),
                    returned: timeline.place(returned),
                    written: written.map(|at| timeline.place(at)),
                    rearmed: rearmed.map(|at| timeline.place(at)),
                    reported: rearmed.and_then(|rearmed| reported(timeline, new, [second, closed_too], rearmed)),
                };
                if found.did_harm() {
                    return Some(found);
                }
                harmless.get_or_insert(found);
            }
        }
    }
    harmless
}

/// The reports of the session `key`, which is there from record `accepted` to `closed`, around record `rearmed`, if
/// nobody else armed it between them.
fn reported(timeline: &Timeline<'_>, key: u64, [accepted, closed]: [usize; 2], rearmed: usize) -> Option<[Place; 2]> {
    let records = &timeline.run.records;
    let is_report = |at: &usize| records[*at].kind == Kind::Ready && records[*at].a == key;
    let before = (accepted..rearmed).rev().find(is_report)?;
    let after = (rearmed..closed).find(is_report)?;
    let arms = |at: usize| records[at].kind == Kind::Modify && records[at].a == number_of(key) && at != rearmed;
    (!(before..after).any(arms)).then(|| [timeline.place(before), timeline.place(after)])
}

/// Bytes that went to the wrong client: which, to which client, and by which key.
fn misdelivery(page: &mut Page, timeline: &Timeline<'_>, wrong: &Misdelivery) {
    let client = timeline.role(wrong.client);
    let made_for = match wrong.made_for {
        Some(owner) => format!("which are the reply to {}", timeline.role(owner)),
        None => "which are not due to it".to_string(),
    };
    let bytes = count(wrong.got.len() as u64, "byte");
    page.entry_in("stranger", &format!("{client} received {bytes}, {made_for}"), RED);
    page.entry("it got", &quoted(&wrong.got));
    page.entry("it is owed", &quoted(&wrong.due));
    let Some(stale) = stale(timeline) else { return };
    let [first, second] = stale.sessions;
    let fd = stale.fd;
    page.entry("the number", &format!("fd {fd} was session {first}'s, and is session {second}'s"));
    let mut list = vec![("taken", stale.taken, ""), ("closed", stale.closed, ""), ("reused", stale.reused, "")];
    list.extend(stale.written.map(|place| ("written", place, "")));
    list.extend(stale.rearmed.map(|place| ("re-armed", place, "")));
    places(page, timeline, &list);
    if let Some(reported) = stale.reported {
        let text = format!("session {second}'s EPOLLONESHOT was reported twice, and its worker has not armed it:");
        page.entry("two tasks", &text);
        places(page, timeline, &reported.map(|place| ("reported", place, "")));
    }
}

/// Bytes as a literal of Rust, and of most languages.
fn quoted(bytes: &[u8]) -> String {
    format!("b\"{}\"", bytes.escape_ascii())
}

fn misdelivery_json(timeline: &Timeline<'_>) -> Value {
    json!(of(timeline.run).map(|wrong| json!({
        "client": timeline.role(wrong.client),
        "made_for": wrong.made_for.map(|role| timeline.role(role)),
        "got": String::from_utf8_lossy(&wrong.got),
        "due": String::from_utf8_lossy(&wrong.due),
    })))
}

fn stale_key(timeline: &Timeline<'_>, found: &Stale) -> Value {
    let at = |at: Place| timeline.json(at);
    json!({
        "role": timeline.role(found.role),
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

#[cfg(test)]
mod tests;

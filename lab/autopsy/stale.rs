//! Keys that outlive what they stood for: a worker takes a task, the descriptor of its session is closed and its number
//! given to the next client, and the worker comes back with its old key.

use super::story::{Place, Story};
use crate::record::event::{Kind, Record};
use crate::record::names::number_of;

/// One such coming back.
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
pub fn stale(story: &Story<'_>) -> Option<Stale> {
    let records = &story.run.records;
    let accepted: Vec<usize> = (0..records.len()).filter(|at| records[*at].kind == Kind::Accept).collect();
    let mut harmless = None;
    for (n, second) in accepted.iter().copied().enumerate() {
        let fd = records[second].a;
        let Some(m) = (0..n).rev().find(|m| records[accepted[*m]].a == fd) else { continue };
        let first = accepted[m];
        let of_fd = |kind: Kind| move |record: &Record| record.kind == kind && record.a == fd;
        let Some(closed) = (first..second).rev().find(|at| of_fd(Kind::Close)(&records[*at])) else { continue };
        let key = |accept: usize| records[accept..].iter().find(|record| of_fd(Kind::Add)(record)).map(|add| add.b);
        let (Some(old), Some(new)) = (key(first), key(second)) else { continue };
        for taken in (first..closed).filter(|at| records[*at].kind == Kind::Pop && records[*at].a == old) {
            let role = records[taken].role;
            let own = |kind: Kind| move |at: &usize| records[*at].role == role && records[*at].kind == kind;
            let end = (taken + 1..records.len()).find(own(Kind::Pop)).unwrap_or(records.len());
            // Looking a key up takes the table's lock.
            let Some(returned) = (second..end).find(own(Kind::Lock)) else { continue };
            let on_fd = |kind: Kind| (returned..end).filter(own(kind)).find(|at| records[*at].a == fd);
            let (written, rearmed) = (on_fd(Kind::Write), on_fd(Kind::Modify));
            let found = Stale {
                role,
                fd,
                sessions: [m + 1, n + 1],
                keys: [old, new],
                taken: story.place(taken),
                closed: story.place(closed),
                reused: story.place(second),
                returned: story.place(returned),
                written: written.map(|at| story.place(at)),
                rearmed: rearmed.map(|at| story.place(at)),
                reported: rearmed.and_then(|rearmed| reported(story, new, second, rearmed)),
            };
            if found.did_harm() {
                return Some(found);
            }
            harmless.get_or_insert(found);
        }
    }
    harmless
}

/// The reports of the session `key` around record `rearmed`, if nobody else armed it between them.
fn reported(story: &Story<'_>, key: u64, accepted: usize, rearmed: usize) -> Option<[Place; 2]> {
    let records = &story.run.records;
    let is_report = |at: &usize| records[*at].kind == Kind::Ready && records[*at].a == key;
    let before = (accepted..rearmed).rev().find(is_report)?;
    let after = (rearmed..records.len()).find(is_report)?;
    let arms = |at: usize| records[at].kind == Kind::Modify && records[at].a == number_of(key) && at != rearmed;
    (!(before..after).any(arms)).then(|| [story.place(before), story.place(after)])
}

#[cfg(test)]
#[path = "tests_stale.rs"]
mod tests;

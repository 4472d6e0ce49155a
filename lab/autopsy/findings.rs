//! What the records say about the cause of a survival.

use super::story::{Place, Story};
use crate::direct::outcome::Outcome;
use crate::record::event::{Kind, Record, Waiting};
use crate::record::names::Block;

/// A worker that left a session without a reply, and armed its socket again on the way out: there the broken twin does not.
#[derive(Clone, Debug)]
pub struct LeftEarly {
    pub rearmed: Place,
    /// The lock that it held then, and gave back afterwards: `session 1's lock`.
    pub lock: String,
}

/// See [`LeftEarly`]; only while the schedule was kept.
pub fn left_early(story: &Story<'_>) -> Option<LeftEarly> {
    let records = &story.run.records;
    if story.run.stage.drains {
        return None;
    }
    let armed_for_input = (libc::EPOLLONESHOT | libc::EPOLLIN) as u64;
    (0..story.over).find_map(|at| {
        let rearm = &records[at];
        if rearm.kind != Kind::Modify || rearm.c & armed_for_input != armed_for_input {
            return None;
        }
        let own = |record: &&Record| record.role == rearm.role;
        let turn: Vec<_> =
            records[..at].iter().rev().filter(own).take_while(|record| record.kind != Kind::Pop).collect();
        if turn.iter().any(|record| record.kind == Kind::Write) {
            return None;
        }
        // The newest first: a lock that was given back comes as its unlock.
        let mut locks = turn.iter().filter(|record| matches!(record.kind, Kind::Lock | Kind::Unlock));
        let lock = locks.next().filter(|record| record.kind == Kind::Lock)?;
        let unlocks = |record: &&Record| record.kind == Kind::Unlock && record.a == lock.a;
        records[at..].iter().filter(own).find(unlocks)?;
        Some(LeftEarly { rearmed: story.place(at), lock: story.objects.lock(lock.a, at) })
    })
}

/// A step that had to wait for a lock.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Counted from 1.
    pub step: usize,
    pub role: usize,
    /// What stood in the schedule.
    pub what: String,
    /// `session 1's lock`
    pub lock: String,
    pub holder: Option<usize>,
    /// The step in which the holder had taken the lock.
    pub held_since: Option<usize>,
    /// Where the role tried to take it, once it had it.
    pub place: Option<Place>,
    /// The last step that passed before it had it.
    pub passed_after: Option<usize>,
}

/// The steps that were refused because of a lock, while the schedule was kept.
pub fn refusals(story: &Story<'_>) -> Vec<Refusal> {
    let run = story.run;
    let mut refusals = Vec::new();
    for (n, step) in run.steps.iter().enumerate() {
        let Outcome::Refused { waiting: Waiting::Lock, address, holder } = step.outcome else { continue };
        let Some(role) = run.roles.iter().position(|role| *role == step.role) else { continue };
        let number = n as u64 + 1;
        let about = |kind: Kind| {
            run.records.iter().position(move |record| record.kind == kind && record.a == number && record.role == role)
        };
        let when = about(Kind::Refused).or_else(|| about(Kind::Step)).unwrap_or(0);
        let took = |at: &usize, who: usize| {
            let record = &run.records[*at];
            record.kind == Kind::Lock && record.a == address && record.role == who
        };
        let got = (when..run.records.len()).find(|at| took(at, role));
        let held = holder.and_then(|holder| (0..when).rev().find(|at| took(at, holder)));
        let steps_before = |at: usize| run.records[..at].iter().rev().find(|record| record.kind == Kind::Step);
        refusals.push(Refusal {
            step: n + 1,
            role,
            what: step.what.clone(),
            lock: story.objects.lock(address, when.max(held.unwrap_or(0))),
            holder,
            held_since: held.and_then(|at| story.step(at)),
            place: got.map(|at| story.place(at)),
            passed_after: got.and_then(steps_before).map(|record| record.a as usize),
        });
    }
    refusals
}

/// The moment in which the reactor's map gave up its share of a session, and others still had theirs: there the broken
/// twin frees it.
#[derive(Clone, Debug)]
pub struct KeptAlive<'a> {
    pub block: &'a Block,
    pub owners_left: u64,
    pub given_up: Place,
    /// Where the last owner freed it.
    pub freed: Option<Place>,
}

/// See [`KeptAlive`]; only while the schedule was kept, since it is the schedule's order that kills the twin.
pub fn kept_alive<'a>(story: &'a Story<'_>) -> Option<KeptAlive<'a>> {
    let at = story.objects.map_drops.iter().copied().find(|at| *at < story.over)?;
    let record = &story.run.records[at];
    let block = story.objects.block(record.a, at)?;
    let freed = block.freed.first().map(|free| story.place(*free));
    Some(KeptAlive { block, owners_left: record.b, given_up: story.place(at), freed })
}

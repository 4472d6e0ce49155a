//! What the records say about the cause of a survival.

use super::timeline::{Place, Timeline};
use crate::direct::outcome::{Ending, Outcome};
use crate::record::event::{Kind, Record, Waiting};
use crate::record::names::Block;

/// A worker that left a session without a reply, and armed its socket again on the way out: there the broken twin does
/// not.
#[derive(Clone, Debug)]
pub struct LeftEarly {
    pub rearmed: Place,
    /// The lock that it held then, and gave back afterwards: `session 1's lock`.
    pub lock: String,
}

/// See [`LeftEarly`]; only while the schedule was kept.
pub fn left_early(timeline: &Timeline<'_>) -> Option<LeftEarly> {
    let records = &timeline.run.records;
    if timeline.run.stage.drains {
        return None;
    }
    let armed_for_input = (libc::EPOLLONESHOT | libc::EPOLLIN) as u64;
    (0..timeline.schedule_end).find_map(|at| {
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
        Some(LeftEarly { rearmed: timeline.place(at), lock: timeline.objects.lock(lock.a, at) })
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
pub fn refusals(timeline: &Timeline<'_>) -> Vec<Refusal> {
    let run = timeline.run;
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
            lock: timeline.objects.lock(address, when.max(held.unwrap_or(0))),
            holder,
            held_since: held.and_then(|at| timeline.step(at)),
            place: got.map(|at| timeline.place(at)),
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
pub fn kept_alive<'a>(timeline: &'a Timeline<'_>) -> Option<KeptAlive<'a>> {
    let at = timeline.objects.map_releases.iter().copied().find(|at| *at < timeline.schedule_end)?;
    let record = &timeline.run.records[at];
    let block = timeline.objects.block(record.a, at)?;
    let freed = block.freed.first().map(|free| timeline.place(*free));
    Some(KeptAlive { block, owners_left: record.b, given_up: timeline.place(at), freed })
}

/// The sessions and buffers that a server has not freed when it came to its end.
pub fn leaked<'a>(timeline: &'a Timeline<'_>) -> Vec<&'a Block> {
    let has_ended = timeline.run.ending == Ending::Exit(0) && timeline.run.served.is_some();
    let blocks = &timeline.objects.blocks;
    // After a second free a malloc may hand out one address twice, and the one free of it is then the later block's.
    let is_handed_out_again =
        |block: &Block| blocks.iter().any(|later| later.allocated > block.allocated && later.address == block.address);
    let is_left = |block: &&Block| block.is_of_interest() && block.freed.is_empty() && !is_handed_out_again(block);
    blocks.iter().filter(|block| has_ended && is_left(block)).collect()
}

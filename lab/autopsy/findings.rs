//! What the records say about the cause of a death.

use super::stale::stale;
use super::stop;
use super::story::{Place, Story};
use crate::catalogue::{Expect, Wild};
use crate::direct::outcome::{Ending, Hang, Outcome};
use crate::direct::quiescence::Armed;
use crate::record::event::{Kind, Record, Waiting};
use crate::record::names::Block;

/// A mistake with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    UseAfterFree,
    DoubleFree,
}

impl Mistake {
    /// Its name in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Mistake::UseAfterFree => "use after free",
            Mistake::DoubleFree => "double free",
        }
    }
}

/// A mistake, and who took which part in it.
#[derive(Clone, Debug)]
pub struct Finding<'a> {
    pub mistake: Mistake,
    pub block: &'a Block,
    pub allocated: Place,
    pub freed: Place,
    /// The use, or the second free.
    pub last: Place,
    /// `false` where the use itself left no record, and `last` is what that thread recorded before.
    pub exact: bool,
}

/// The finding that a signal is explained by, if the records have one.
///
/// A SIGSEGV must have its address in a block that was freed; a SIGABRT must have come in a second free of a block.
pub fn cause<'a>(story: &'a Story<'_>) -> Option<Finding<'a>> {
    let run = story.run;
    let Ending::Signal(signal) = run.ending else { return None };
    let fault = run.fault.filter(|fault| fault.signal == signal)?;
    let end = run.records.len();
    let last = run.records.iter().rposition(|record| record.role == fault.role && record.kind.is_a_deed())?;
    // The very last thing that the thread did: was it a second free?
    let freed_again = || {
        let record = &run.records[last];
        let block = story.objects.block(record.a, last).filter(|_| record.kind == Kind::Free)?;
        let before = block.freed.iter().copied().find(|free| *free < last)?;
        Some(finding(story, Mistake::DoubleFree, block, before, last, true))
    };
    match signal {
        libc::SIGABRT => freed_again(),
        libc::SIGSEGV | libc::SIGBUS => {
            let block = story.objects.block(fault.address, end)?;
            if let Some(found) = freed_again().filter(|found| found.block.allocated == block.allocated) {
                return Some(found);
            }
            let freed = *block.freed.first()?;
            let is_use = |at: &usize| {
                let record = &run.records[*at];
                record.kind == Kind::Use && record.role == fault.role && record.a == block.address
            };
            let used = (freed..end).rev().find(is_use);
            Some(finding(story, Mistake::UseAfterFree, block, freed, used.unwrap_or(last), used.is_some()))
        }
        _ => None,
    }
}

/// The first mistake in the records, whether or not anybody noticed it.
pub fn first_mistake<'a>(story: &'a Story<'_>) -> Option<Finding<'a>> {
    let second_free = |block: &'a Block| Some((*block.freed.get(1)?, Mistake::DoubleFree, block));
    let late_use = |block: &'a Block| {
        let freed = *block.freed.first()?;
        let records = story.run.records.iter().enumerate().skip(freed);
        let mut uses = records.filter(|(_, record)| record.kind == Kind::Use && record.a == block.address);
        let (at, _) = uses.next()?;
        let still_his = story.objects.block(block.address, at)?.allocated == block.allocated;
        still_his.then_some((at, Mistake::UseAfterFree, block))
    };
    let blocks = &story.objects.blocks;
    let all = blocks.iter().filter_map(second_free).chain(blocks.iter().filter_map(late_use));
    let (at, mistake, block) = all.min_by_key(|(at, ..)| *at)?;
    Some(finding(story, mistake, block, block.freed[0], at, true))
}

fn finding<'a>(
    story: &'a Story<'_>,
    mistake: Mistake,
    block: &'a Block,
    freed: usize,
    last: usize,
    exact: bool,
) -> Finding<'a> {
    let place = |at: usize| story.place(at);
    Finding { mistake, block, allocated: place(block.allocated), freed: place(freed), last: place(last), exact }
}

/// The catalogue's cause, if the records bear it out.
pub fn why(story: &Story<'_>, found: Option<&Finding<'_>>) -> Option<&'static str> {
    let run = story.run;
    let borne_out = match (run.stage.expect, run.ending) {
        (Expect::Signal { signal, .. }, Ending::Signal(_)) => {
            let mistake = if signal == libc::SIGABRT { Mistake::DoubleFree } else { Mistake::UseAfterFree };
            found.is_some_and(|found| found.mistake == mistake && found.block.is_of_interest())
        }
        (Expect::Herds, Ending::Exit(0)) => run.herd.is_stampede(),
        (Expect::Serves, Ending::Exit(0)) if run.herd.total().accepted > 0 => !run.herd.is_stampede(),
        (Expect::Hangs, Ending::Exit(0)) => {
            run.hang.as_ref().is_some_and(|hang| hangs_as_told(run.stage.chapter, hang))
        }
        (Expect::Misdelivers, Ending::Exit(0)) => {
            run.misdelivery.is_some() && stale(story).is_some_and(|stale| stale.written.is_some())
        }
        (Expect::NeverStops, _) => run.stuck.is_some() && stop::missed(story).is_some(),
        (Expect::Loses, Ending::Exit(0)) => {
            run.loss.is_some() && stop::tail(story).is_some_and(|tail| tail.read.is_none() && tail.closed.is_some())
        }
        // Each of the two exhibits has a reason of its own.
        (Expect::Serves, Ending::Exit(0)) if run.stage.drains() => match run.stage.wild {
            Wild::LastWords => stop::tail(story).is_some_and(|tail| tail.read.is_some()),
            _ => !refusals(story).is_empty(),
        },
        (Expect::Serves, Ending::Exit(0)) => {
            !refusals(story).is_empty()
                || kept_alive(story).is_some()
                || left_early(story).is_some()
                || stale(story).is_some_and(|stale| !stale.did_harm())
        }
        _ => false,
    };
    borne_out.then_some(run.stage.why)
}

/// Whether the hang is the one that this chapter explains: bytes wait, and the socket is armed as its story has it.
fn hangs_as_told(chapter: u32, hang: &Hang) -> bool {
    let armed = hang.proof.as_ref().map(|proof| proof.armed);
    hang.unread > 0
        && match (chapter, armed) {
            (2, Some(armed)) => armed.is_some_and(|armed| armed.is_edge() && !armed.is_empty()),
            (6, Some(armed)) => armed.is_some_and(Armed::is_empty),
            _ => true,
        }
}

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
    if story.run.stage.drains() {
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

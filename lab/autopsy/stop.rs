//! How a server stops, and how it does not: the notification that came before the sleep, the last bytes of a client, and the
//! sessions that were cut at the limit.

use super::story::{Place, Story};
use crate::record::event::{Kind, Record};

/// A lost wake-up: a thread looked at a flag, and fell asleep after the one notification that told of its change.
#[derive(Clone, Debug)]
pub struct Missed {
    /// Who sleeps.
    pub role: usize,
    /// Where it looked, and found the flag not set.
    pub looked: Place,
    /// Where the flag was set meanwhile.
    pub set: Place,
    /// Where those were woken who slept: it did not.
    pub notified: Place,
    /// How many slept then; `u64::MAX` where that is not known.
    pub asleep: u64,
    /// Where it fell asleep.
    pub slept: Place,
}

/// See [`Missed`].
pub fn missed(story: &Story<'_>) -> Option<Missed> {
    let run = story.run;
    let (_, role) = run.stuck.as_ref()?.joins?;
    let records = &run.records;
    let last_own = |kind: Kind| records.iter().rposition(|record| record.kind == kind && record.role == role);
    let (looked, slept) = (last_own(Kind::Look)?, last_own(Kind::Sleep)?);
    let look = &records[looked];
    let set =
        (looked..slept).find(|at| records[*at].kind == Kind::Set && (records[*at].a, records[*at].b) == (look.a, 1))?;
    let of_it = |record: &Record| record.kind == Kind::Notify && record.a == records[slept].a;
    let notified = (set..slept).rev().find(|at| of_it(&records[*at]))?;
    let told_later = records[slept..].iter().any(of_it);
    let at = |at: usize| story.place(at);
    let missed = Missed {
        role,
        looked: at(looked),
        set: at(set),
        notified: at(notified),
        asleep: records[notified].b,
        slept: at(slept),
    };
    (look.b == 0 && !told_later).then_some(missed)
}

/// Input, and the end of it, as one event.
#[derive(Clone, Debug)]
pub struct Tail {
    pub fd: u64,
    /// The event.
    pub reported: Place,
    /// How many bytes were read of it, and where the first of them.
    pub read: Option<(u64, Place)>,
    /// Where the descriptor was closed.
    pub closed: Option<Place>,
}

/// See [`Tail`]; the last one of the run.
pub fn tail(story: &Story<'_>) -> Option<Tail> {
    let records = &story.run.records;
    let both = (libc::EPOLLIN | libc::EPOLLRDHUP) as u64;
    let is_end = |record: &Record| record.kind == Kind::Ready && record.b & both == both;
    // With nothing in front of it, an end is no tail: the client sent nothing since the last read.
    let ends = records.iter().enumerate().filter(|(_, record)| is_end(record));
    ends.rev().find_map(|(at, ready)| {
        let added = records[..at].iter().rev().find(|record| record.kind == Kind::Add && record.b == ready.a)?;
        let fd = added.a;
        let of_fd = |kind: Kind| move |record: &&Record| record.kind == kind && record.a == fd;
        let closed = records[at..].iter().position(|record| record.kind == Kind::Close && record.a == fd);
        let until = closed.map_or(records.len(), |closed| at + closed);
        let reads = records[at..until].iter().filter(of_fd(Kind::Read)).filter(|record| record.b as i64 > 0);
        let bytes: u64 = reads.map(|record| record.b).sum();
        let first = (at..until).find(|at| {
            let record = &records[*at];
            record.kind == Kind::Read && record.a == fd && record.b as i64 > 0
        });
        let sent = records[..at].iter().rev().take_while(|record| record.kind != Kind::Read);
        let sent = sent.filter(|record| record.kind == Kind::ClientSend).count() > 0;
        sent.then(|| Tail {
            fd,
            reported: story.place(at),
            read: first.map(|first| (bytes, story.place(first))),
            closed: closed.map(|closed| story.place(at + closed)),
        })
    })
}

/// A session that used up the limit of a drain.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub fd: u64,
    /// Bytes of the client without an answer.
    pub unanswered: u64,
    /// Replies that were not written.
    pub replies: u64,
}

/// The sessions that were cut.
pub fn cuts(story: &Story<'_>) -> Vec<Cut> {
    let cuts = story.run.records.iter().filter(|record| record.kind == Kind::Cut);
    cuts.map(|record| Cut { fd: record.a, unanswered: record.b, replies: record.c }).collect()
}

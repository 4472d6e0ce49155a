//! Bytes of a client that are lost with its connection: its last ones, and those of the sessions that are cut at the
//! limit.

use serde_json::{Value, json};

use super::super::lanes::RED;
use super::super::page::{Page, places};
use super::super::timeline::{Place, Timeline};
use super::super::verdict::{Case, Keys};
use crate::direct::outcome::{Evidence, Loss, Run};
use crate::record::event::{Kind, Record};
use crate::words::{count, errno};

/// Bytes that a client sent before its end are not counted, and not answered.
pub struct Loses;

impl Case for Loses {
    fn in_help(&self) -> String {
        "bytes of its client are missing".to_string()
    }

    fn in_list(&self) -> String {
        "bytes missing, exit status 1".to_string()
    }

    fn in_table(&self) -> String {
        "exit 1, bytes missing".to_string()
    }

    fn in_search(&self) -> String {
        "a client loses what it is owed".to_string()
    }

    fn is_borne_out(&self, timeline: &Timeline<'_>) -> bool {
        of(timeline.run).is_some() && tail(timeline).is_some_and(|tail| tail.read.is_none() && tail.closed.is_some())
    }

    fn report(&self, page: &mut Page, timeline: &Timeline<'_>) {
        if let Some(found) = of(timeline.run) {
            loss(page, timeline, found);
        }
    }

    fn absent(&self) -> Option<&'static str> {
        Some("in this run its client got all that it is owed")
    }

    fn in_both(&self, timeline: &Timeline<'_>) -> Keys {
        vec![("loss", loss_json(timeline.run))]
    }

    fn in_autopsy(&self, timeline: &Timeline<'_>) -> Keys {
        let tail = tail(timeline).map(|tail| {
            json!({
                "fd": tail.fd,
                "reported": timeline.json(tail.reported),
                "bytes": tail.read.map_or(0, |(bytes, _)| bytes),
                "read": tail.read.map(|(_, at)| timeline.json(at)),
                "closed": tail.closed.map(|at| timeline.json(at)),
            })
        });
        let cut = |cut: &Cut| json!({ "fd": cut.fd, "unanswered": cut.unanswered, "replies": cut.replies });
        vec![("tail", json!(tail)), ("cut", cut_sessions(timeline).iter().map(cut).collect())]
    }
}

fn of(run: &Run) -> Option<&Loss> {
    match &run.evidence {
        Some(Evidence::Loses(loss)) => Some(loss),
        _ => None,
    }
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
pub fn tail(timeline: &Timeline<'_>) -> Option<Tail> {
    let records = &timeline.run.records;
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
            reported: timeline.place(at),
            read: first.map(|first| (bytes, timeline.place(first))),
            closed: closed.map(|closed| timeline.place(at + closed)),
        })
    })
}

/// A session that used up the limit of a drain.
#[derive(Clone, Copy, Debug)]
struct Cut {
    pub fd: u64,
    /// Bytes of the client without an answer.
    pub unanswered: u64,
    /// Replies that were not written.
    pub replies: u64,
}

/// The sessions that were cut.
fn cut_sessions(timeline: &Timeline<'_>) -> Vec<Cut> {
    let cuts = timeline.run.records.iter().filter(|record| record.kind == Kind::ForcedClose);
    cuts.map(|record| Cut { fd: record.a, unanswered: record.b, replies: record.c }).collect()
}

/// A client that was not served.
fn loss(page: &mut Page, timeline: &Timeline<'_>, loss: &Loss) {
    let client = timeline.role(loss.client);
    let (owed, sent) = (count(loss.owed, "reply"), count(timeline.run.client.sent, "byte"));
    let saw = match loss.error {
        0 => "the end of the stream".to_string(),
        error => errno(error),
    };
    let closed = if loss.closed { ", closed its side" } else { "" };
    page.entry_in("loses", &format!("{client} sent {sent}{closed}, and got {saw}; it is owed {owed}"), RED);
    if let Some(tail) = tail(timeline) {
        let mut list = vec![("reported", tail.reported, ": with its end")];
        list.extend(tail.read.map(|(_, place)| ("read", place, "")));
        list.extend(
            tail.closed.map(|place| ("closed", place, if tail.read.is_none() { ": nothing was read" } else { "" })),
        );
        places(page, timeline, &list);
    }
}

/// Who used up the limit of a drain.
pub fn cuts(page: &mut Page, timeline: &Timeline<'_>) {
    for cut in cut_sessions(timeline) {
        let (bytes, replies) = (count(cut.unanswered, "byte"), count(cut.replies, "reply"));
        let text = format!("fd {} at the limit of the drain: {bytes} without an answer, {replies} not written", cut.fd);
        let style = if cut.unanswered > 0 || cut.replies > 0 { RED } else { "" };
        page.entry_in("cut", &text, style);
    }
}

fn loss_json(run: &Run) -> Value {
    json!(of(run).map(|loss| json!({
        "client": run.roles.get(loss.client),
        "owed": loss.owed,
        "error": (loss.error != 0).then(|| errno(loss.error)),
    })))
}

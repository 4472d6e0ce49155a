//! A hang: nobody can move, and a client is owed a reply.

use serde_json::{Value, json};

use super::super::lanes::RED;
use super::super::page::{Page, places};
use super::super::timeline::{Place, Timeline};
use super::super::verdict::{Case, Keys};
use crate::catalogue::Lost;
use crate::direct::outcome::{Evidence, Hang, Run};
use crate::direct::quiescence::{Armed, Sleeper};
use crate::record::event::{Kind, Record};
use crate::words::{count, errno, mask};

/// Nobody can move any more, and the client is owed a reply.
pub struct Hangs;

impl Case for Hangs {
    fn in_help(&self) -> String {
        "it hangs, and the lab proves it".to_string()
    }

    fn in_list(&self) -> String {
        "hangs, exit status 1".to_string()
    }

    fn in_table(&self) -> String {
        "exit 1, a hang".to_string()
    }

    fn in_search(&self) -> String {
        "a client waits, and nobody can move".to_string()
    }

    fn needs_rest(&self) -> bool {
        true
    }

    fn is_borne_out(&self, timeline: &Timeline<'_>) -> bool {
        of(timeline.run).is_some_and(|hang| hangs_as_told(timeline.run.stage.lost, hang))
    }

    fn report(&self, page: &mut Page, timeline: &Timeline<'_>) {
        if let Some(hang) = of(timeline.run) {
            hanging(page, timeline, hang);
        }
    }

    fn absent(&self) -> Option<&'static str> {
        Some("yes: in this run nothing was left waiting")
    }

    fn in_both(&self, timeline: &Timeline<'_>) -> Keys {
        vec![("hang", hang(timeline.run))]
    }
}

fn of(run: &Run) -> Option<&Hang> {
    match &run.evidence {
        Some(Evidence::Hangs(hang)) => Some(hang),
        _ => None,
    }
}

/// Whether the hang is the one that the chapter explains: bytes wait, and the socket is armed as the chapter has it.
fn hangs_as_told(lost: Option<Lost>, hang: &Hang) -> bool {
    let armed = hang.proof.as_ref().map(|proof| proof.armed);
    hang.unread > 0
        && match (lost, armed) {
            (Some(Lost::Edge), Some(armed)) => armed.is_some_and(|armed| armed.is_edge() && !armed.is_empty()),
            (Some(Lost::Rearm), Some(armed)) => armed.is_some_and(Armed::is_empty),
            _ => true,
        }
}

/// Nobody can move: which connection waits, for how much, and how that is known.
fn hanging(page: &mut Page, timeline: &Timeline<'_>, hang: &Hang) {
    let (session, fd) = (hang.session, hang.fd);
    let unread = count(hang.unread, "byte");
    let wait = if hang.unread == 1 { "waits" } else { "wait" };
    let how = format!("session {session} (fd {fd}): {unread} {wait} in its socket (FIONREAD), and nobody reads");
    page.entry_in("hangs", &how, RED);
    let seen = last_seen(timeline, hang.fd);
    let seen: Vec<_> = seen.iter().map(|(key, place, remark)| (*key, *place, remark.as_str())).collect();
    places(page, timeline, &seen);
    if let Some(armed) = hang.proof.as_ref().map(|proof| proof.armed) {
        page.entry("armed", &armed_for(armed));
    }
    let owed = count(hang.owed, "reply");
    let doing = together(&hang.doing);
    let proof = format!("{doing}, asked again, and there is none; the client is owed {owed} and waits");
    page.entry("proved by", &proof);
    if let Some(proof) = &hang.proof {
        let mut calls: Vec<(&str, u64)> = Vec::new();
        for thread in &proof.threads {
            match calls.iter_mut().find(|(call, _)| *call == thread.call) {
                Some((_, count)) => *count += 1,
                None => calls.push((thread.call, 1)),
            }
        }
        let calls: Vec<_> = calls.iter().filter(|(call, _)| !call.is_empty()).collect();
        let calls: Vec<_> = calls.iter().map(|(call, count)| format!("{count} in {call}")).collect();
        let calls = if calls.is_empty() { String::new() } else { format!(" ({})", calls.join(", ")) };
        let threads = count(proof.threads.len() as u64, "thread");
        let text = format!(
            "then, nobody directing: {threads} asleep{calls}, none woke between three looks, no packet under way"
        );
        page.entry("", &text);
    }
    if hang.serves_another {
        page.entry("meanwhile", "another client came, and was served");
    }
}

/// Where its descriptor was last reported and last read, while the schedule was kept.
fn last_seen(timeline: &Timeline<'_>, fd: u64) -> Vec<(&'static str, Place, String)> {
    let records = &timeline.run.records[..timeline.schedule_end];
    let last = |is_it: &dyn Fn(&Record) -> bool| records.iter().rposition(is_it);
    let added = last(&|record| record.kind == Kind::Add && record.a == fd);
    let reported = added.and_then(|added| {
        let token = records[added].b;
        last(&|record| record.kind == Kind::Ready && record.a == token).filter(|at| *at > added)
    });
    let read = last(&|record| record.kind == Kind::Read && record.a == fd).filter(|at| added < Some(*at));
    let said = |at: usize| match records[at].b as i64 {
        0 => ": end of stream".to_string(),
        bytes @ 1.. => format!(": {}", count(bytes as u64, "byte")),
        error => format!(": {}", errno(-error as i32)),
    };
    let reported = reported.map(|at| ("reported", timeline.place(at), format!(": {}", mask(records[at].b))));
    let read = read.map(|at| ("last read", timeline.place(at), said(at)));
    reported.into_iter().chain(read).collect()
}

/// What is still asked of the socket in the interest list.
fn armed_for(armed: Option<Armed>) -> String {
    match armed {
        None => "it is on no interest list (/proc/PID/fdinfo)".to_string(),
        Some(armed) if armed.is_empty() => {
            format!("{armed} (/proc/PID/fdinfo): no event is asked for, since the one-shot one was told")
        }
        Some(armed) if armed.is_edge() => {
            format!("{armed} (/proc/PID/fdinfo): edge-triggered, and the edge was told; a new one needs a new arrival")
        }
        Some(armed) => format!("{armed} (/proc/PID/fdinfo)"),
    }
}

/// `main waits for an event; worker-1, worker-2 wait for a task`
pub fn together(doing: &[(String, String)]) -> String {
    let mut groups: Vec<(Vec<&str>, &str)> = Vec::new();
    for (role, doing) in doing {
        match groups.iter_mut().find(|(_, same)| same == doing) {
            Some((roles, _)) => roles.push(role),
            None => groups.push((vec![role], doing)),
        }
    }
    let text = groups.iter().map(|(roles, doing)| match roles.len() {
        1 => format!("{} {doing}", roles[0]),
        _ => {
            let doing = doing.replacen("waits ", "wait ", 1).replacen("has ", "have ", 1);
            format!("{} {doing}", roles.join(", "))
        }
    });
    text.collect::<Vec<_>>().join("; ")
}

fn hang(run: &Run) -> Value {
    json!(of(run).map(|hang| json!({
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
pub fn doing(threads: &[(String, String)]) -> Value {
    threads.iter().map(|(role, doing)| json!({ "role": role, "doing": doing })).collect()
}

/// What the kernel says of each thread.
pub fn asleep(threads: &[Sleeper]) -> Value {
    threads.iter().map(|thread| json!({ "thread": thread.name, "call": thread.call })).collect()
}

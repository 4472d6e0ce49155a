//! From what loom found to what the director can do, and to what a reader can read.
//!
//! **The grain.** The director moves a role from one point to its next. A model of grain [`Calls`](crate::world::Grain)
//! also lets others in between two calls that stand after the same point, and no schedule can say that. So:
//!
//! 1. A line of the log belongs to the last point that its thread had come to. The first line of a point is the step
//!    `role point`: up to then the thread stood before that point, in the model as in the director's hands.
//! 2. A call that had to wait is logged when it could go on, so its step is there, and not where the wait began.
//! 3. A point after which nothing was logged is no step: its thread passes it on the way to the next.
//! 4. If somebody else's line stands between two lines of one point, the log is finer than any schedule: [`Finer`].
//!    An exploration of grain [`Points`](crate::world::Grain) never writes such a log.
//!    Who sleeps in a condition variable is the exception: the step is where it falls asleep, and once it is notified
//!    it goes on by itself, in the director's hands too.
//! 5. The number of an occurrence is left out where it is the role's next of that name.
//! 6. What was done before a thread's first point is done before the schedule begins, by the real threads too.

use std::collections::HashMap;
use std::fmt;

use real::autopsy::lanes::Row;
use real::schedule::{Action, CLIENTS, OPERATOR, Plan, Schedule, Step};

use crate::check::Kind;
use crate::model::Finding;
use crate::world::{CLIENT, Entry, Place, Role, What, World};

/// A log that no schedule can say.
#[derive(Debug, PartialEq, Eq)]
pub struct Finer {
    pub role: String,
    pub point: &'static str,
}

impl fmt::Display for Finer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "somebody comes in between what {} does at its point `{}`", self.role, self.point)
    }
}

/// The log with the step of the schedule that each line begins, if it begins one.
fn steps(finding: &Finding) -> Result<Vec<(Option<Step>, &Entry)>, Finer> {
    let mut current: HashMap<Role, (Place, usize)> = HashMap::new();
    let mut listed: HashMap<(Role, &str), u64> = HashMap::new();
    let mut lines: Vec<(Option<Step>, &Entry)> = Vec::new();
    let (mut count, mut connections, mut client) = (0, 0, CLIENTS[0]);
    // Where nobody connects, the order begins with the threads.
    let connects = finding.log.iter().any(|entry| entry.what == What::Connect);
    let start = finding.log.iter().position(|entry| entry.role == CLIENT && connects);
    let start = start.unwrap_or(if connects { finding.log.len() } else { 0 });
    for (at, entry) in finding.log.iter().enumerate().skip(start) {
        // What is counted is not shown.
        if matches!(entry.what, What::Count(..)) {
            continue;
        }
        let action = match &entry.what {
            What::Connect => {
                client = CLIENTS[connections.min(CLIENTS.len() - 1)];
                connections += 1;
                Some(Action::Connect)
            }
            What::Send(bytes) => Some(Action::Send(*bytes as u64)),
            What::Fin => Some(Action::Fin),
            What::Reset => Some(Action::Reset),
            What::Stop => Some(Action::Stop),
            // The real clock is nobody's to direct.
            What::Expire => None,
            _ if entry.place.point.is_empty() => None,
            _ => match current.insert(entry.role, (entry.place, at)) {
                Some((place, last)) if place == entry.place => {
                    let wakes = finding.log[last].what == What::Sleep;
                    if !wakes && finding.log[last..at].iter().any(|other| other.role != entry.role) {
                        return Err(Finer { role: finding.roles[entry.role].clone(), point: place.point });
                    }
                    None
                }
                _ => {
                    let Place { point, occurrence } = entry.place;
                    let before = listed.insert((entry.role, point), occurrence).unwrap_or(0);
                    let occurrence = (occurrence != before + 1).then_some(occurrence);
                    Some(Action::Pass { point: point.to_string(), occurrence })
                }
            },
        };
        let step = action.map(|action| {
            count += 1;
            let role = if action == Action::Stop {
                OPERATOR
            } else if entry.role == CLIENT {
                client
            } else {
                &finding.roles[entry.role]
            };
            Step { role: role.to_string(), action, line: count }
        });
        lines.push((step, entry));
    }
    Ok(lines)
}

/// The counterexample as a schedule of the director.
pub fn schedule(finding: &Finding) -> Result<Schedule, Finer> {
    let steps = steps(finding)?.into_iter().filter_map(|(step, _)| step).collect();
    let plans = finding.plans.iter().map(|plan| if plan.length() == Some(0) { Plan::Raw } else { *plan });
    Ok(Schedule { steps, plans: plans.collect() })
}

/// The counterexample as lanes; the numbers are the schedule's, where there is one.
pub fn rows(finding: &Finding) -> Vec<Row> {
    let lines = steps(finding);
    let lines = lines.unwrap_or_else(|_| finding.log.iter().map(|entry| (None, entry)).collect());
    let (mut rows, mut connections): (Vec<Row>, _) = (Vec::new(), 0);
    for (step, entry) in lines {
        let number = step.map(|step| step.line);
        connections += usize::from(entry.what == What::Connect);
        // The clients after the first stand behind the threads.
        let threads = finding.roles.len() - (finding.plans.len() - 1);
        let client = connections.min(finding.plans.len());
        let role = if entry.role == CLIENT && client > 1 { threads + client - 2 } else { entry.role };
        for (n, text) in texts(finding, &entry.what).into_iter().enumerate() {
            rows.push(Row { number: number.filter(|_| n == 0), role, text, mark: None });
        }
    }
    if let Some(last) = rows.last_mut() {
        last.mark = Some(mark(finding.verdict.kind()).to_string());
    }
    rows
}

fn mark(kind: Kind) -> &'static str {
    match kind {
        Kind::UseAfterFree => "use after free",
        Kind::DoubleFree => "double free",
        Kind::TwoInside => "two inside",
        Kind::ClosedDescriptor => "closed",
        Kind::Hang => "hang",
        Kind::Lost => "lost",
        Kind::Leak => "leak",
        Kind::Stranger => "not its own",
        Kind::TwoTasks => "two tasks",
        Kind::Livelock => "livelock",
        Kind::Panic => "panic",
        Kind::Capped => "capped",
        Kind::InVain => "in vain",
    }
}

/// The lines of a lane, in the words of the autopsy.
fn texts(finding: &Finding, what: &What) -> Vec<String> {
    let bytes = |n: usize| match n {
        1 => "1 byte".to_string(),
        n => format!("{} bytes", crate::thousands(n)),
    };
    let errno = |error: i32| match error {
        libc::EAGAIN => "EAGAIN",
        libc::ECONNRESET => "ECONNRESET",
        libc::EPIPE => "EPIPE",
        libc::EBADF => "EBADF",
        _ => "an error",
    };
    let block = |slot: &usize| finding.blocks[*slot].clone();
    vec![match what {
        What::Connect => "connect".to_string(),
        What::Send(n) => format!("send {}", bytes(*n)),
        What::Fin => "FIN".to_string(),
        What::Reset => "RST".to_string(),
        What::Wait(events) => {
            let line = |(token, mask): &(u64, u32)| match World::token(*token, finding.keys).as_str() {
                other @ ("listener" | "stop") => format!("epoll_wait: {other}"),
                session => format!("epoll_wait: {session} {}", names(*mask)),
            };
            return events.iter().map(line).collect();
        }
        What::Accept(fd) => format!("accept fd {fd}"),
        What::Modify(fd, mask) if mask & (libc::EPOLLIN | libc::EPOLLRDHUP) as u32 == 0 => {
            format!("watch fd {fd} for a break")
        }
        What::Modify(fd, mask) if mask & libc::EPOLLONESHOT as u32 != 0 => format!("re-arm fd {fd}"),
        What::Modify(fd, _) => format!("modify fd {fd}"),
        What::Read(Ok(0)) => "read: end of stream".to_string(),
        What::Read(Ok(n)) => format!("read {}", bytes(*n)),
        What::Read(Err(error)) => format!("read: {}", errno(*error)),
        What::Write(Ok(n)) => format!("write {}", bytes(*n)),
        What::Write(Err(error)) => format!("write: {}", errno(*error)),
        What::Shutdown(fd) => format!("shut down fd {fd}"),
        What::Close(fd) => format!("close fd {fd}"),
        What::Push(task) => format!("queue {task}"),
        What::Pop(task) => format!("take {task}"),
        What::Closed => "close the queue".to_string(),
        What::Lock(_) => "lock".to_string(),
        What::Unlock(_) => "unlock".to_string(),
        What::Allocate(slot) => format!("allocate {}", block(slot)),
        What::Use(slot) => format!("use {}", block(slot)),
        What::Free(slot) => format!("free {}", block(slot)),
        What::Inside(_) => "enter the cell".to_string(),
        What::Look(true) => "look at the flag: set".to_string(),
        What::Look(false) => "look at the flag: not set".to_string(),
        What::Set(_) => "set the flag".to_string(),
        What::Count(..) => return vec![],
        What::TimeOut => "the limit is over".to_string(),
        What::Sleep => "sleep".to_string(),
        What::Woken => "woken".to_string(),
        What::Notify(0) => "notify: nobody sleeps".to_string(),
        What::Notify(slept) => format!("notify: {slept} asleep"),
        What::Stop => "tells the server to stop".to_string(),
        What::Expire => "the limit is over".to_string(),
    }]
}

/// `IN RDHUP`
fn names(mask: u32) -> String {
    let known = [(libc::EPOLLIN, "IN"), (libc::EPOLLRDHUP, "RDHUP"), (libc::EPOLLHUP, "HUP"), (libc::EPOLLERR, "ERR")];
    let words = known.into_iter().filter(|(bit, _)| mask & *bit as u32 != 0).map(|(_, name)| name);
    words.collect::<Vec<_>>().join(" ")
}
